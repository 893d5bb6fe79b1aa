"""Public reference data beside the phantom: a real mean knee, label map, landmarks, grades.

None of it is part of this package. A user asks for it (``oacore fetch references``), and each
file comes from the commit and with the SHA-256 that `oacore/data/references.csv` names.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
from nibabel.affines import voxel_sizes

from oacore.data.download import fetch_files
from oacore.data.volumes import grid_gap, read_canonical
from oacore.errors import InputError

TEMPLATE = "CLAIR-Knee-103R_template_64x128x128.nii.gz"
TEMPLATE_LABELS = "CLAIR-Knee-103R_segmentation_64x128x128.nii.gz"
LANDMARKS = "bf_landmarks_1_0.3.csv"
GRADES = "kxr_sq_bu00.xlsx"

TERMS = """\
Reference files of others, 5 MB, each under its own terms. Two are tables of the Osteoarthritis
Initiative (OAI data) with a row for each knee: its data-use terms apply to them as well
(https://nda.nih.gov/oai), so no attempt to identify a participant.
"""

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


def references_table() -> pd.DataFrame:
    """What can be fetched.

    Returns
    -------
    DataFrame
        One row a file: ``file``, ``repository``, ``commit``, ``path``, ``sha256``, ``licence``,
        ``credit``.
    """
    with resources.as_file(resources.files("oacore.data") / "references.csv") as path:
        return pd.read_csv(path, comment="#")


def references_cache() -> Path:
    """Folder in which `fetch_references` keeps the files unless given another one.

    Returns
    -------
    Path
        In the user's cache; need not exist.
    """
    return Path(pooch.os_cache("oacore")) / "references"


def fetch_references(
    folder: Path | str | None = None, *, base_url: str = "https://raw.githubusercontent.com"
) -> Path:
    """Print the licences, then download the reference files that are not there already.

    Parameters
    ----------
    folder : path, optional
        Where to; `references_cache` if not given. A file there with other content is replaced.
    base_url : str
        Where from; a mirror must hold the same bytes under repository, commit and path.

    Returns
    -------
    Path
        The folder that holds the files, each of the SHA-256 named in `references_table`.

    Raises
    ------
    InputError
        If a file can't be downloaded, or is not the one named.
    """
    rows = references_table().to_dict("records")
    print(TERMS)
    for row in rows:
        print(f"  {row['file']}\n    {row['licence']}\n    {row['credit']}")
    base = base_url.rstrip("/")
    return fetch_files(
        Path(folder) if folder is not None else references_cache(),
        {
            row["file"]: (
                "/".join([base, row["repository"], row["commit"], row["path"]]),
                row["sha256"],
            )
            for row in rows
        },
        "run `oacore fetch references` again. A build works without these files.",
    )


def has_template(folder: Path | str) -> bool:
    """Whether a folder holds the mean knee's image and labels."""
    return all((Path(folder) / name).is_file() for name in (TEMPLATE, TEMPLATE_LABELS))


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
    if not has_template(folder):
        raise InputError(
            f"{folder}: {TEMPLATE} and {TEMPLATE_LABELS} are not both there; get them with "
            "`oacore fetch references`"
        )
    image, affine = read_canonical(Path(folder) / TEMPLATE)
    labels, labels_affine = read_canonical(Path(folder) / TEMPLATE_LABELS)
    if gap := grid_gap((image.shape, affine), (labels.shape, labels_affine)):
        raise InputError(f"{folder}: the template and its labels do not fit ({gap}); fetch again")
    x, y, z = (round(float(edge), 4) for edge in voxel_sizes(affine))
    return image.astype(np.float32), labels.astype(np.uint8), (x, y, z)


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
        rows = pd.read_excel(path, usecols=["READPRJ", *COLUMNS])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; get it with `oacore fetch references`") from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not OAI's table of readings ({error}); fetch it again"
        ) from error
    read = rows.loc[rows["READPRJ"] == PROJECT, list(COLUMNS)].dropna().astype(int)
    patterns = read.rename(columns=COLUMNS)
    return patterns.groupby(list(COLUMNS.values())).size().reset_index(name="count")
