"""Radiomics of OAIZIB-CM's 507 knees: 107 numbers for each of five regions, and the grades.

Published with arXiv:2603.02367 (Chen et al. 2026): PyRadiomics features of the MR image inside
masks that an nnU-Net drew. The files carry no licence and are no part of this package:
``oacore fetch radiomics`` gets them (:mod:`.data.sources`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from oacore.data.sources import missing_files
from oacore.errors import InputError
from oacore.tables import CLOSED, TableError, numbers, read_cells

KNEES = {"train": 404, "test": 103}  # graded: 383 and 98
#: roi_name in the files, and OAIZIB-CM's label of that number.
REGIONS = {
    "roi_1": "femur",
    "roi_2": "femoral cartilage",
    "roi_3": "tibia",
    "roi_4": "medial tibial cartilage",
    "roi_5": "lateral tibial cartilage",
}
N_FEATURES = 107  # of one region
PERSON = ["male", "age", "bmi"]
VOLUMES = [f"{region} shape_VoxelVolume" for region in REGIONS.values()]
# What is read of a subject table; the columns that identify a participant are not among it.
COLUMNS = {"CMT-ID": "case_id", "KLGrade": "kl", "Gender": "male", "Age": "age", "BMI": "bmi"}
CURE = "get the files with `oacore fetch radiomics`"


def read_radiomics(folder: Path | str) -> pd.DataFrame:
    """Read features and labels of the graded knees.

    Parameters
    ----------
    folder : path
        Holds the four files.

    Returns
    -------
    DataFrame
        One row a graded knee, 383 of the training split before 98 of the test split, each by
        ``case_id`` (OAIZIB-CM's number of the knee): ``case_id``, ``split``, ``kl`` (0 to 4),
        ``oa`` (KL >= 2), ``male`` (0 or 1), ``age`` (years), ``bmi`` (kg/m2, may be missing), and
        535 features named region and feature, as "tibia shape_Sphericity". Lengths in mm; the
        units of the rest are PyRadiomics'. No subject identifier is read.

    Raises
    ------
    InputError
        If a file is missing, unreadable, or not what was released: 507 knees, five regions,
        107 features, all finite, and the grades of the same knees.
    """
    if lacking := missing_files("radiomics", folder):
        raise InputError(f"{str(folder)!r} lacks {', '.join(lacking)}: {CURE}")
    splits = [_read_split(Path(folder), split) for split in KNEES]
    return pd.concat(splits, ignore_index=True)


def feature_columns(table: pd.DataFrame, region: str = "") -> list[str]:
    """Names of the features in a table of :func:`read_radiomics`, all or one region's."""
    starts = tuple(f"{one} " for one in ([region] if region else REGIONS.values()))
    names = [str(name) for name in table if str(name).startswith(starts)]
    if not names:
        raise InputError(f"no feature of {region!r}: the regions are {', '.join(REGIONS.values())}")
    return names


def grade_correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of each feature with the KL grade.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`read_radiomics`; the training split, if anything is chosen by the result.

    Returns
    -------
    DataFrame
        A row a feature, the strongest first: ``region``, ``family`` ("shape", "firstorder" or a
        matrix of texture), ``feature``, ``rho`` (-1 to 1).
    """
    names = feature_columns(table)
    # Spearman's rho is Pearson's r of the ranks, ties sharing their mean rank.
    ranks = table[names].rank()
    rho = ranks.corrwith(table["kl"].rank()).to_numpy()
    # "medial tibial cartilage shape_Sphericity": the last word is family and feature.
    parts = [(*name.rsplit(" ", 1)[:1], *name.rsplit(" ", 1)[1].split("_", 1)) for name in names]
    rows = pd.DataFrame(parts, columns=["region", "family", "feature"]).assign(rho=rho)
    strongest = rows["rho"].abs().sort_values(ascending=False, kind="stable").index
    return rows.loc[strongest].reset_index(drop=True)


def _read_split(folder: Path, split: str) -> pd.DataFrame:
    labels_path = folder / ("subInfo_train.xlsx" if split == "train" else "subInfo_test.xlsx")
    path = folder / ("radiomics_train.csv" if split == "train" else "radiomics_test.csv")
    features, labels = _read_features(path, KNEES[split]), _read_labels(labels_path)
    if list(features.index) != sorted(labels.index):
        apart = sorted(set(features.index) ^ set(labels.index)) or ["(a row twice)"]
        raise InputError(
            f"{labels_path}: its knees are not those of {path.name}, e.g. {apart[0]}: {CURE}"
        )
    graded = labels[labels["kl"].notna()].sort_index().astype({"kl": int})
    graded.insert(0, "split", split)
    graded.insert(2, "oa", (graded["kl"] >= 2).astype(int))
    return graded.join(features).reset_index()


def _read_features(path: Path, knees: int) -> pd.DataFrame:
    """Features of one split: index case_id, ascending, a column a region and feature."""
    try:
        raw = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable CSV file ({error}): {CURE}") from error
    lacking = [name for name in ("case_id", "roi_name") if name not in raw]
    names = [str(name) for name in raw if str(name).startswith("original_")]
    if twice := [name for name in ("case_id", "roi_name") if f"{name}.1" in raw]:
        raise InputError(f"{path} has the column {twice[0]} twice: {CURE}")
    if lacking or len(names) != N_FEATURES:
        what = f"the column {lacking[0]}" if lacking else f"{N_FEATURES} features ({len(names)})"
        raise InputError(f"{path} lacks {what}: {CURE}")
    case_id = pd.to_numeric(raw["case_id"].astype(str).str.extract(r"(\d+)$")[0], errors="coerce")
    keys = pd.DataFrame({"case_id": case_id, "region": raw["roi_name"].map(REGIONS)})
    whole = len(REGIONS) * knees
    if len(raw) != whole or keys.isna().to_numpy().any() or keys.duplicated().any():
        raise InputError(
            f"{path} has {len(raw)} rows of {raw['case_id'].nunique()} knees instead of "
            f"{len(REGIONS)} regions of each of {knees} knees: {CURE}"
        )
    values = raw[names].apply(pd.to_numeric, errors="coerce")
    wrong = ~np.isfinite(values.to_numpy(dtype=float))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise InputError(f"{path}, data row {row + 1}: {names[column]} is not a number: {CURE}")
    values.columns = [name.removeprefix("original_") for name in names]
    regions = dict(list(values.assign(case_id=keys["case_id"].astype(int)).groupby(keys["region"])))
    tables = [
        regions[region].set_index("case_id").sort_index().add_prefix(f"{region} ")
        for region in REGIONS.values()
    ]
    return pd.concat(tables, axis=1)


def _read_labels(path: Path) -> pd.DataFrame:
    """Grade, sex, age and BMI of one split: index case_id; a grade may be missing."""
    try:
        raw = read_cells(path, COLUMNS)
    except TableError as error:
        if error.what == CLOSED:
            raise
        raise InputError(f"{path} is not OAIZIB-CM's subject table ({error}): {CURE}") from error
    table, empty = raw.apply(numbers).rename(columns=COLUMNS), raw == ""
    for column, valid, what in (
        ("CMT-ID", table["case_id"] % 1 == 0, "a whole number"),
        ("KLGrade", table["kl"].isin(range(5)) | empty["KLGrade"], "a grade from 0 to 4, or empty"),
        ("Gender", table["male"].isin([1, 2]), "1 (male) or 2 (female)"),
        ("Age", table["age"].notna() | empty["Age"], "a number, or empty"),
        ("BMI", table["bmi"].notna() | empty["BMI"], "a number, or empty"),
    ):
        if not valid.all():
            row = int(raw.index[~valid][0]) - 1
            raise InputError(f"{path}, data row {row}: {column} is not {what}: {CURE}")
    table["male"] = (table["male"] == 1).astype(int)
    return table.astype({"case_id": int}).set_index("case_id")[["kl", *PERSON]]
