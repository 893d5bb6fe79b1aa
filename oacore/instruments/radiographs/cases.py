"""Knee radiographs on disk as a table of cases, pictures hung alike, and landmarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from oacore.data.cohort import Fault
from oacore.errors import InputError
from oacore.instruments.radiographs.oai import oarsi_of
from oacore.instruments.radiographs.own_layout import own_cases, own_landmarks
from oacore.instruments.radiographs.pictures import look
from oacore.instruments.radiographs.public_layout import public_cases, public_root
from oacore.instruments.radiographs.resampling import Grid, mirror, require_sizes, resample
from oacore.instruments.radiographs.source import OBTAIN, Files, open_files
from oacore.instruments.radiographs.words import OARSI, POINTS


@dataclass(frozen=True)
class Radiographs:
    """Radiographs of knees, one row of each part a knee.

    Attributes
    ----------
    cases : DataFrame
        Sorted by `case`, index 0 to n - 1: `case`, `person` (str; of the public set these are OAI's
        numbers, which no page shows), `side` ("right", "left"), `split` ("train", "val", "test"),
        `GRADES` (Int64: `kl` 0 to 4, the six of `OARSI` 0 to 3; <NA> where not read); and where
        the source has them `sex` ("female", "male"), `age` (years), `weight` (of the case in
        averages), `mm_per_pixel_x` and `mm_per_pixel_y` (of `pictures`; NaN where not known).
    pictures : ndarray of uint8, shape (n, height, width)
        Bone bright; as a right knee seen from the front, its lateral side on the left.
    landmarks : ndarray of float32, shape (n, 16, 2)
        x and y of `POINTS` in pixels of `pictures`, whose centres are at whole numbers; NaN where
        there are none. A crop leaves points outside it where they are.
    """

    cases: pd.DataFrame
    pictures: np.ndarray
    landmarks: np.ndarray


@dataclass(frozen=True)
class Scan:
    """What names of files and tables say, before a picture is opened.

    Attributes
    ----------
    root : str or None
        Of the public set's layout: the folder of the splits in the source, "" or ending in a
        slash. None for one's own layout.
    cases : DataFrame
        As of :class:`Radiographs`, with millimetres of the pictures as they lie there, and
        `inverted` (Int64: what a table says of it), `file` (in the source), `where` (of its row).
    landmarks : ndarray of float64, shape (n, 16, 2)
        In pixels of the pictures as they lie there.
    faults : list of Fault
    """

    root: str | None
    cases: pd.DataFrame
    landmarks: np.ndarray
    faults: list[Fault]


def read_radiographs(
    source: str | Path,
    *,
    height: int,
    width: int,
    crop: tuple[float, float] = (1.0, 1.0),
    oarsi: str | Path | None = None,
) -> Radiographs:
    """Read radiographs whole, hung alike, in the size that is asked for.

    Negatives are turned, so that bone is bright, and left knees mirrored, so that the lateral
    side is on the left.

    Parameters
    ----------
    source : path-like
        The public set (Chen 2018, doi:10.17632/56rmx5bjcr.1), as a folder or the zip:
        ``kneeKL224/{train,val,test}/{0..4}/*.png``; its folder auto_test is not read. Or one's own
        folder: ``table.csv`` (columns case, person or subject, side, split, kl, and where there
        are any the OARSI grades, sex, age, weight, inverted), ``images/<case>.png`` and, where
        there are any, ``landmarks.csv`` (case, t0x, t0y and so on to f6y, and
        two_fit_disagreement_px, of which rows above `MOST_APART` are left out).
    height, width : int
        Pixels; each is the mean of the area that it covers.
    crop : (float, float)
        Shares of height and width to keep, in the middle; above 0, at most 1. Rounded so that as
        many whole pixels go on either side.
    oarsi : path-like, optional
        OAI's table kxr_sq_bu00 (text with bars, tabs or commas, or .xlsx), for OARSI grades of the
        public set.

    Returns
    -------
    Radiographs

    Raises
    ------
    InputError
        If the source is neither, or `oacore check` would find an error in it.
    """
    new = (height, width)
    require_sizes(new, crop)
    with open_files(source) as files:
        scan = scan_cases(files, oarsi)
        raise_first(files, scan.faults)
        n = len(scan.cases)
        pictures = np.empty((n, height, width), np.uint8)
        landmarks = np.empty((n, len(POINTS), 2), np.float32)
        scale = np.empty((n, 2))
        known: dict[bytes, str] = {}
        for place, (case, seen_at) in enumerate(
            zip(scan.cases.to_dict("records"), scan.landmarks, strict=True)
        ):
            data = files.read(case["file"])
            found = look(data, case, seen_at, scan.root is not None, known)
            raise_first(files, found.faults)
            pictures[place] = resample(found.upright, height, width, crop)
            grid = Grid(found.size, new, crop)
            points = mirror(seen_at, found.size[1]) if case["side"] == "left" else seen_at
            landmarks[place] = grid.moved(points)
            scale[place] = grid.scale
    words = ("case", "person", "side", "split")
    cases = scan.cases.drop(columns=["inverted", "file", "where"]).astype(dict.fromkeys(words, str))
    for column, pixels in zip(("mm_per_pixel_x", "mm_per_pixel_y"), scale.T, strict=True):
        if column in cases:
            cases[column] = cases[column] / pixels
    return Radiographs(cases, pictures, landmarks)


def raise_first(files: Files, faults: Sequence[Fault]) -> None:
    """Raise InputError for the first error among faults, if there is one."""
    errors = [fault for fault in faults if fault.severity == "error"]
    if errors:
        more = f" ({len(errors) - 1} more: see `oacore check`)" if errors[1:] else ""
        raise InputError(errors[0].message(files.source) + more)


def scan_cases(files: Files, oarsi: str | Path | None = None) -> Scan:
    """All that names and tables say of the cases, with all that is wrong with it.

    Parameters
    ----------
    files : Files
    oarsi : path-like, optional
        OAI's table, as :func:`read_radiographs` takes it.

    Raises
    ------
    InputError
        If the source holds neither layout, or a table cannot be read.
    """
    faults: list[Fault] = []
    if (root := public_root(files)) is not None:
        cases = public_cases(files, root, faults)
        if oarsi is not None and len(cases):
            cases[list(OARSI)] = oarsi_of(cases, oarsi, faults)
        faults += _person_faults(cases)
        return Scan(root, cases, np.full((len(cases), len(POINTS), 2), np.nan), faults)
    if "table.csv" not in files.names or not files.source.is_dir():
        raise InputError(f"{files.source} holds no radiographs; {OBTAIN}")
    if oarsi is not None:
        raise InputError(
            f"{oarsi} is for the public set, whose names are OAI's numbers; write the OARSI "
            f"grades of {files.source} into its table.csv"
        )
    cases = own_cases(files, faults)
    faults += _person_faults(cases)
    return Scan(None, cases, own_landmarks(files, cases, faults), faults)


def _person_faults(cases: pd.DataFrame) -> Iterator[Fault]:
    """Yield people of two splits."""
    splits = cases.groupby("person")["split"].nunique()
    for person in splits.index[splits > 1]:
        rows = cases[cases["person"] == person]
        first = rows.iloc[0]
        other = rows[rows["split"] != first["split"]].iloc[0]
        what, cure = "a person in two splits", "keep all pictures of a person in one split"
        detail = f"{other['split']}; also {first['where']}, {first['split']}"
        yield Fault("error", what, str(other["where"]), detail, cure)
