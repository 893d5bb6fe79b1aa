"""Public reference data beside the phantom: a real mean knee, label map, landmarks, grades.

None of it is part of this package: ``oacore fetch references`` gets it (:mod:`.data.sources`).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes

from oacore.data.sources import missing_files
from oacore.data.volumes import grid_gap, read_canonical, read_labels
from oacore.errors import InputError, unread
from oacore.tables import numbers, seen

TEMPLATE = "CLAIR-Knee-103R_template_64x128x128.nii.gz"
TEMPLATE_LABELS = "CLAIR-Knee-103R_segmentation_64x128x128.nii.gz"
LANDMARKS = "bf_landmarks_1_0.3.csv"
GRADES = "kxr_sq_bu00.xlsx"

# What the readings are called in OAI's table, and here; lateral before medial.
COLUMNS = {
    "V00XRKL": "KL",
    "V00XROSFL": "FL",
    "V00XROSFM": "FM",
    "V00XROSTL": "TL",
    "V00XROSTM": "TM",
    "V00XRJSL": "JL",
    "V00XRJSM": "JM",
}
# Of three reading projects the one that read all knees, centrally.
PROJECT = 15
# What stands for a missing reading, beside an empty cell.
MISSING = ("NA", ".", "nan")


def read_template(
    folder: Path | str,
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Read the mean of 103 real right knees without osteoarthritis (CLAIR-Knee-103R).

    Parameters
    ----------
    folder : path
        Holds both files under their public names.

    Returns
    -------
    image : ndarray, float32, shape (64, 128, 128)
        0 to 1, background 0; axes left-right, back-front, bottom-top (RAS; lateral is high x).
    labels : ndarray, uint8, same shape
        As in `oacore.data.volumes.LABELS`.
    spacing : tuple of float
        Voxel edges in mm, about 1.4 x 0.73 x 0.73.

    Raises
    ------
    InputError
        If a file is missing or damaged, or the two are not on one grid.
    """
    if lacking := missing_files("references", folder):
        raise InputError(
            f"{folder}: lacks {', '.join(lacking)}; get the files with `oacore fetch references`"
        )
    image, affine = read_canonical(Path(folder) / TEMPLATE)
    labels, labels_affine = read_labels(Path(folder) / TEMPLATE_LABELS)
    if gap := grid_gap((image.shape, affine), (labels.shape, labels_affine)):
        raise InputError(f"{folder}: the template and its labels do not fit ({gap}); fetch again")
    x, y, z = (round(float(edge), 4) for edge in voxel_sizes(affine))
    return image.astype(np.float32), labels, (x, y, z)


def read_grade_patterns(folder: Path | str) -> pd.DataFrame:
    """Count the patterns of KL and OARSI grades in the real baseline readings.

    Parameters
    ----------
    folder : path
        Holds ``kxr_sq_bu00.xlsx``.

    Returns
    -------
    DataFrame
        One row a pattern that occurs: ``KL`` (0-4); osteophytes ``FL``, ``FM``, ``TL``, ``TM`` and
        joint space narrowing ``JL``, ``JM`` (0-3; femur/tibia, lateral/medial); ``count``. Knees
        with a reading missing are left out, and with them most of KL 0. No participant is named.

    Raises
    ------
    InputError
        If the table is missing or is another one.
    """
    path = Path(folder) / GRADES
    try:
        # Without its filter for missing values only a spreadsheet's errors are NaN.
        rows = pd.read_excel(path, usecols=["READPRJ", *COLUMNS], dtype=object, na_filter=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; get it with `oacore fetch references`") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        if said := unread(error, str(path)):
            raise InputError(said) from error
        raise InputError(
            f"{path}: not OAI's table of readings ({error}); fetch it again"
        ) from error
    values = rows.apply(lambda cells: numbers(cells.map(lambda cell: seen(str(cell)))))
    for column in rows:
        blank = rows[column].map(lambda cell: seen(str(cell)) == "" or cell in MISSING)
        wrong = (values[column] % 1 != 0) & ~blank
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise InputError(
                f"{path}, row {row + 2}: {column} is no reading; correct it, leave the cell empty, "
                "or get the table with `oacore fetch references`"
            )
    read = values.loc[values["READPRJ"] == PROJECT, list(COLUMNS)].dropna().astype(int)
    patterns = read.rename(columns=COLUMNS)
    return patterns.groupby(list(COLUMNS.values())).size().reset_index(name="count")
