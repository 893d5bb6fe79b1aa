"""Predictions in files: the paper's nine as released, or anyone's; and the paper's Table 1.

The nine were released with arXiv:2605.00718 in the repository jukieCheung/coarse2fine-oa-mri, one
for each backbone and supervision, 98 test knees each. They come without a licence, so they are
fetched (``oacore fetch published``), never shipped.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oacore.data.sources import missing_files
from oacore.errors import InputError
from oacore.instruments.audit.printed import read_printed
from oacore.metrics.predictions import (
    COLUMNS,
    GRADED,
    MODEL,
    PROB_KL,
    check_both_classes,
    check_predictions,
)
from oacore.metrics.scores import METRICS, table1
from oacore.names import SUPERVISION_NAMES
from oacore.seals import SEAL
from oacore.tables import CLOSED, TableError, is_error, is_no_value, numbers, read_cells
from oacore.training.records import intact

# The release spells nnMamba "mamba".
BACKBONES = {"resnet3d": "resnet3d", "m3t": "m3t", "nnmamba": "mamba"}
# Table 1 spells supervisions as this book does.
SETTINGS = {name: supervision for supervision, name in SUPERVISION_NAMES.items()}
FILES = {
    (backbone, supervision): f"{stem}_{supervision}_preds.csv"
    for backbone, stem in BACKBONES.items()
    for supervision in SUPERVISION_NAMES
}
N_TEST = 98
CURE = "get the files with `oacore fetch published`"

#: The release's names of columns, and ours.
_CALLED = {"CMT_ID": "case_id", "label_kl": "kl", "label_oa": "oa"}
_PREDICTED = {
    "single_oa": ["prob_oa", "pred_oa"],
    "single_kl": ["prob_oa", "pred_oa", *PROB_KL, "pred_kl"],
    "dual": ["prob_oa", "pred_oa", *PROB_KL, "pred_kl", "prob_oa_from_kl"],
}
_WORDS = ("backbone", "supervision", "split", "case_id")


def read_published(folder: Path | str) -> pd.DataFrame:
    """Read the nine released prediction files into one tidy table.

    Parameters
    ----------
    folder : path
        Holds the nine ``*_preds.csv``.

    Returns
    -------
    DataFrame
        98 rows for each of nine models: `backbone`, `supervision`, `seed` (0; the release
        names none), `split` ("test"), `case_id`, `kl`, `oa`, `prob_oa`, `pred_oa`,
        `prob_oa_from_kl`, `prob_kl_0` to `prob_kl_4`, `pred_kl`. For Single-KL `prob_oa`
        is the sum of the probabilities of grades 2 to 4, as released.

    Raises
    ------
    InputError
        If a file is missing or is not what was released: columns, 98 knees, the same
        knees and labels as in the other files, answers that a model can have given.
    """
    if lacking := missing_files("published", folder):
        raise InputError(f"{str(folder)!r} lacks {', '.join(lacking)}: {CURE}")
    tables = [
        _read_one(Path(folder) / name, backbone, supervision)
        for (backbone, supervision), name in FILES.items()
    ]
    labels = ["case_id", "kl", "oa"]
    for name, table in zip(FILES.values(), tables, strict=True):
        differ = (table[labels] != tables[0][labels]).any(axis=1)
        if differ.any():
            row = int(differ.to_numpy().argmax())
            raise InputError(
                f"{Path(folder) / name}, data row {row + 1}: another CMT_ID or label than in "
                f"{next(iter(FILES.values()))}; the files do not belong together: {CURE}"
            )
    return pd.concat(tables, ignore_index=True)


def read_predictions(folder: str | Path) -> pd.DataFrame:
    """Read a folder of predictions, the release's or anyone's, into one tidy table.

    Parameters
    ----------
    folder : path-like
        Holds the nine released files (:func:`read_published`); or, anywhere below it, files
        ``predictions.csv`` in the tidy format (:mod:`.metrics.predictions`); or, directly in it,
        other ``*.csv`` in that format.

    Returns
    -------
    DataFrame
        Tidy predictions, the test split alone.

    Raises
    ------
    InputError
        If there are none, a file is not in the format or not what training wrote, two hold the
        same model, or a row is not what its model can have answered
        (:func:`.metrics.predictions.check_predictions`).
    """
    folder = Path(folder)
    if len(missing_files("published", folder)) < len(FILES):
        return read_published(folder)  # it names the files that an incomplete folder lacks
    for settings in folder.rglob("config.json"):
        if (settings.parent / "done.json").exists():
            intact(settings.parent, "predictions.csv")  # a run that lost it is not left out
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
    _require_alike(dict(zip(files, tables, strict=True)))
    return pd.concat(tables, ignore_index=True)


def printed_table1() -> pd.DataFrame:
    """Table 1 as arXiv:2605.00718 prints it.

    Returns
    -------
    DataFrame
        Nine rows: `backbone`, `supervision`, `oa_auc`, `oa_acc`, `oa_f1`, `kl_auc`,
        `kl_acc`, `kl_f1`, to 4 decimals; NaN where the paper prints nothing (45 figures).
    """
    printed = read_printed(
        str(files("oacore.instruments.audit") / "printed" / "table1.csv")
    ).figures
    rows = [row.rsplit(" ", 1) for row in printed.index]
    model = pd.DataFrame(
        [(backbone.lower(), SETTINGS[setting]) for backbone, setting in rows],
        columns=["backbone", "supervision"],
    )
    figures = printed.reset_index(drop=True).apply(pd.to_numeric)  # "" becomes NaN
    return model.join(figures[[metric for metric in METRICS if metric in figures]])


def compare_table1(predictions: pd.DataFrame) -> pd.DataFrame:
    """Set each printed figure of Table 1 beside the one that the predictions give.

    Parameters
    ----------
    predictions : DataFrame
        From `read_published`.

    Returns
    -------
    DataFrame
        45 rows: `backbone`, `supervision`, `metric`, `printed`, `recomputed` (unrounded)
        and `agrees`, true where `recomputed` rounds to `printed` at its 4 decimals.

    Raises
    ------
    InputError
        If `predictions` do not hold exactly the nine models, once each.
    """
    model = ["backbone", "supervision"]
    recomputed = table1(predictions)
    if sorted(zip(recomputed["backbone"], recomputed["supervision"], strict=True)) != sorted(FILES):
        raise InputError(
            "Table 1 compares nine models (resnet3d, m3t, nnmamba under single_oa, single_kl, "
            f"dual), one seed each; these predictions hold {len(recomputed)}: "
            + ", ".join(sorted(set(recomputed["backbone"] + " " + recomputed["supervision"])))
        )
    long = printed_table1().melt(model, var_name="metric", value_name="printed").dropna()
    table = long.merge(
        recomputed.melt(model, list(METRICS), "metric", "recomputed"), on=[*model, "metric"]
    )
    # A printed figure stands for half a unit of its last digit to either side.
    table["agrees"] = (table["recomputed"] - table["printed"]).abs() <= 5e-5 + 1e-12
    order = {model: place for place, model in enumerate(FILES)}
    place = [order[key] for key in zip(table["backbone"], table["supervision"], strict=True)]
    return table.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)


def _read_one(path: Path, backbone: str, supervision: str) -> pd.DataFrame:
    heads = _PREDICTED[supervision]
    raw = _cells(path, [*_CALLED, *heads], CURE)
    if len(raw) != N_TEST or raw["CMT_ID"].nunique() != N_TEST:
        raise InputError(
            f"{path} has {len(raw)} rows of {raw['CMT_ID'].nunique()} knees instead of {N_TEST} "
            f"test knees: {CURE}"
        )
    # img_path, a path on the authors' computer, is left behind here.
    raw = raw.apply(numbers)
    table = raw.rename(columns=_CALLED).reindex(columns=COLUMNS)
    if supervision == "single_kl":
        table["prob_oa_from_kl"] = table[PROB_KL[2:]].sum(axis=1)
    table = table.assign(backbone=backbone, supervision=supervision, seed=0, split="test")
    check_predictions(table, str(path), CURE, {ours: theirs for theirs, ours in _CALLED.items()})
    table = table.sort_values("case_id").reset_index(drop=True)
    return table.astype({"case_id": int, "kl": int, "oa": int, "pred_oa": int, "pred_kl": "Int64"})


def _cells(path: Path, columns: list[str], cure: str) -> pd.DataFrame:
    """Columns of a prediction file as text; the index counts its rows from 0, blank ones too."""
    try:
        cells = read_cells(path, columns)
    except TableError as error:
        if error.what == CLOSED:
            raise
        # Released files are fetched again; with others, only columns that lack are about ours.
        if cure != CURE and not error.what.endswith("is missing"):
            cure = error.cure
        detail = f" ({error.detail})" if error.detail else ""
        if error.what.startswith("cannot be read"):
            raise InputError(f"{path} is not a readable CSV file{detail}: {cure}") from error
        raise InputError(f"{path}: {error.what}{detail}; {cure}") from error
    cells.index -= 2
    return cells


def _whole_ids(cells: pd.Series) -> pd.Series:
    """Names of cases as numbers if all are whole ones: 7, 007 and 7.0 are one case.

    Digit by digit, since floats take long numbers that differ for one.
    """
    digits = cells.astype(str).str.extract(r"^([+-]?[0-9]{1,18})(?:\.0*)?$")[0]
    return cells if digits.isna().any() else digits.map(int).astype("int64")


def _whole_number(cell: str) -> int | None:
    """A whole number to its last digit, of which a float keeps 15; None where there is none."""
    digits = re.fullmatch(r"([+-]?[0-9]+)(?:\.0*)?", cell)
    value = int(digits[1]) if digits else numbers(pd.Series([cell]))[0]  # R writes 1e+05
    return int(value) if value % 1 == 0 and -(2**63) <= value < 2**63 else None


def _require_alike(tables: dict[Path, pd.DataFrame]) -> None:
    """Raise InputError where the case_id of some files are numbers and those of others text."""
    numeric = {p: pd.api.types.is_numeric_dtype(t["case_id"]) for p, t in tables.items()}
    if len(set(numeric.values())) > 1:
        text = next(path for path, so in numeric.items() if not so)
        other = next(path for path, so in numeric.items() if so)
        ids = tables[text]["case_id"].astype(str)
        odd = ids[pd.to_numeric(ids, errors="coerce").isna()]
        raise InputError(
            f"{text}: case_id {', '.join(odd[:1])} is text, and in {other} all case_id are "
            "numbers; write the same knees alike in all files"
        )


def _read_tidy(path: Path) -> pd.DataFrame:
    """Test rows of one file in the tidy format."""
    cure = "its columns must be those of the book's tidy table: " + ", ".join(COLUMNS)
    if (path.parent / SEAL).exists():
        intact(path.parent, path.name)
    table = _cells(path, COLUMNS, cure)
    table = table[table["split"] == "test"]  # its index still counts the file's rows
    if table.empty:
        raise InputError(f"{path} has no row whose split is test; name the split of the rows so")
    for column in COLUMNS:
        cells = table[column]
        errors = cells.map(is_error).astype(bool)
        # R and NumPy write a word where there is no value; a backbone may be called NA.
        words = cells.map(is_no_value).astype(bool) & ~errors
        if column in _WORDS:
            wrong, what = cells.str.startswith("#"), "a name, but a spreadsheet's error"
            empty = (cells == "") | (words & (column == "case_id"))
            if column == "case_id" and not wrong.any():
                wrong, what = numbers(cells) % 1 > 0, "a whole number"
            table = table.assign(**{column: cells.mask(empty, None)})
        elif column == "seed":
            read = cells.map(_whole_number)
            wrong, what = (cells != "") & read.isna(), "a whole number of 64 bits"
            table = table.assign(seed=read)
        else:
            read = numbers(cells)
            wrong = (cells != "") & read.isna() & ~(words & (column in GRADED))
            what = "a number"
            if not column.startswith("prob"):
                wrong, what = wrong | (read % 1 > 0), "a whole number"
            table = table.assign(**{column: read})
        if wrong.any():
            row = int(cells.index[wrong][0])
            raise InputError(
                f"{path}, data row {row + 1}: {column} is not {what} ({cells[row]!r}); correct the "
                "row, or leave the cell empty where there is no value"
            )
    table = table.astype({"pred_kl": "Int64"}).assign(case_id=_whole_ids(table["case_id"]))
    check_predictions(table, str(path))
    check_both_classes(table, str(path))
    whole = ["seed", "kl", "oa", "pred_oa"]
    return table.astype(dict.fromkeys(whole, int)).reset_index(drop=True)
