"""Predictions in files: the paper's nine as released, or anyone's; and the paper's Table 1.

The nine were released with arXiv:2605.00718 in the repository jukieCheung/coarse2fine-oa-mri, one
for each backbone and supervision, 98 test knees each. They come without a licence, so they are
fetched (``oacore fetch published``), never shipped.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oacore.data.sources import missing_files
from oacore.errors import InputError
from oacore.instruments.audit.printed import read_printed
from oacore.metrics.predictions import COLUMNS, MODEL, PROB_KL, check_one_model
from oacore.metrics.scores import METRICS, table1
from oacore.names import SUPERVISION_NAMES

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

_LABELS = ["CMT_ID", "label_kl", "label_oa"]
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
        knees and labels as in the other files, probabilities.
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
    try:
        raw = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable CSV file ({error}): {CURE}") from error
    heads = _PREDICTED[supervision]
    lacking = [column for column in [*_LABELS, *heads] if column not in raw.columns]
    if lacking:
        raise InputError(f"{path} lacks the columns {', '.join(lacking)}: {CURE}")
    if len(raw) != N_TEST or raw["CMT_ID"].nunique() != N_TEST:
        raise InputError(
            f"{path} has {len(raw)} rows of {raw['CMT_ID'].nunique()} knees instead of {N_TEST} "
            f"test knees: {CURE}"
        )
    # img_path, a path on the authors' computer, is left behind here.
    raw = raw[[*_LABELS, *heads]].apply(pd.to_numeric, errors="coerce")
    _check_values(path, raw)
    raw = raw.rename(columns={"CMT_ID": "case_id", "label_kl": "kl", "label_oa": "oa"})
    if supervision == "single_kl":
        raw["prob_oa_from_kl"] = raw[PROB_KL[2:]].sum(axis=1)
    table = raw.assign(backbone=backbone, supervision=supervision, seed=0, split="test")
    table = table.sort_values("case_id").reset_index(drop=True).reindex(columns=COLUMNS)
    return table.astype({"pred_kl": "Int64"})


def _check_values(path: Path, raw: pd.DataFrame) -> None:
    """Reject values out of range; without this a wrong file would only give a wrong table."""
    for column in raw.columns:
        if column.startswith("prob"):
            # Sums in single precision can pass 1 by a rounding.
            wrong, what = ~raw[column].between(0, 1 + 1e-6), "a probability"
        elif column == "CMT_ID":
            wrong, what = ~(raw[column] % 1 == 0), "a whole number"
        else:
            top = 4 if column.endswith("kl") else 1
            wrong, what = ~raw[column].isin(range(top + 1)), f"a whole number from 0 to {top}"
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise InputError(f"{path}, data row {row + 1}: {column} is not {what}: {CURE}")
    if (raw["label_oa"] != (raw["label_kl"] >= 2)).any():
        row = int((raw["label_oa"] != (raw["label_kl"] >= 2)).to_numpy().argmax())
        raise InputError(f"{path}, data row {row + 1}: label_oa is not KL >= 2: {CURE}")
    if PROB_KL[0] in raw and ((total := raw[PROB_KL].sum(axis=1)) - 1).abs().max() > 1e-5:
        row = int((total - 1).abs().to_numpy().argmax())
        raise InputError(
            f"{path}, data row {row + 1}: the KL probabilities sum to {total[row]:.4f}: {CURE}"
        )


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
