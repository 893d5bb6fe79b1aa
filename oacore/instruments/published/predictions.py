"""Reading a folder of predictions: the paper's released files, or anyone's in the tidy format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from oacore.data.sources import missing_files
from oacore.errors import InputError
from oacore.instruments.published.published import FILES, read_published
from oacore.metrics.predictions import COLUMNS, MODEL, check_one_model

_WORDS = ("backbone", "supervision", "split", "case_id")


def read_predictions(folder: str | Path) -> pd.DataFrame:
    """Read a folder of predictions, the release's or anyone's, into one tidy table.

    Parameters
    ----------
    folder : path-like
        Holds the nine released files (:mod:`.published.published`); or, anywhere below it, files
        ``predictions.csv`` in the tidy format (:mod:`.metrics.predictions`); or, directly in it,
        other ``*.csv`` in that format.

    Returns
    -------
    DataFrame
        Tidy predictions, the test split alone.

    Raises
    ------
    InputError
        If there are none, a file is not in the format, or two hold the same model.
    """
    folder = Path(folder)
    if len(missing_files("published", folder)) < len(FILES):
        return read_published(folder)  # it names the files that an incomplete folder lacks
    files = sorted(folder.rglob("predictions.csv")) or sorted(folder.glob("*.csv"))
    if not files:
        raise InputError(
            f"{folder}: holds no predictions; name a folder with predictions.csv in or below it "
            "(`oacore train` writes them), or get the published ones with `oacore fetch published`"
        )
    tables: list[pd.DataFrame] = []
    found: dict[tuple[Any, ...], Path] = {}
    for path in files:
        tables.append(_read_tidy(path))
        for model in tables[-1][MODEL].drop_duplicates().itertuples(index=False, name=None):
            if model in found:
                raise InputError(
                    f"{found[model]} and {path} both hold {' '.join(map(str, model))}; name a "
                    "folder with only one of them in it"
                )
            found[model] = path
    return pd.concat(tables, ignore_index=True)


def _read_tidy(path: Path) -> pd.DataFrame:
    """Test rows of one file in the tidy format."""
    cure = "its columns must be those of the book's tidy table: " + ", ".join(COLUMNS)
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable CSV file ({error}); {cure}") from error
    if lacking := [column for column in COLUMNS if column not in table.columns]:
        raise InputError(f"{path} lacks the columns {', '.join(lacking)}; {cure}")
    table = table.loc[table["split"] == "test", COLUMNS].reset_index()
    if table.empty:
        raise InputError(f"{path} has no row whose split is test; name the split of the rows so")
    for column in (name for name in COLUMNS if name not in _WORDS):
        numbers = pd.to_numeric(table[column], errors="coerce")
        wrong = table[column].notna() & numbers.isna()
        if not column.startswith("prob"):
            wrong |= numbers % 1 > 0
        if wrong.any():
            what = "a number" if column.startswith("prob") else "a whole number"
            row = table["index"][wrong.to_numpy()].iloc[0] + 1
            raise InputError(f"{path}, data row {row}: {column} is not {what}; correct the row")
        table[column] = numbers
    table = table.drop(columns="index").astype({"pred_kl": "Int64"})
    for _, model in table.groupby(MODEL, sort=False, dropna=False):
        try:
            check_one_model(model)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    return table
