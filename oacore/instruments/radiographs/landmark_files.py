"""Landmarks out of the files of BoneFinder and of KNEEL.

BoneFinder (University of Manchester) writes a .pts file a picture. KNEEL (Tiulpin, Melekhov,
Saarakkala 2019, arXiv:1907.12237) has one table, ``annotations/bf_landmarks_1_0.3.csv``, made of
BoneFinder's points and corrected by hand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.instruments.coherence.patterns import SIZES
from oacore.instruments.radiographs.cases import POINTS, SIDES, mirror
from oacore.tables import TableError, numbers, read_cells

#: Of BoneFinder's 74 points of a knee the ones that KNEEL takes, counted from 0: nine of the
#: tibial plateau, then seven of the femoral condyles.
KNEEL_CHOICE = (*range(47, 64, 2), *range(12, 25, 2))
#: KNEEL's pictures: pixels of a side, and millimetres of a pixel.
KNEEL_SIZE, KNEEL_MM = 466, 0.3
_N_TIBIA = sum(name.startswith("t") for name in POINTS)


def read_pts(path: str | Path) -> np.ndarray:
    """Read the points of a .pts file.

    Parameters
    ----------
    path : path-like
        Lines ``version: 1`` and ``n_points: N``, then N lines of x and y in braces.

    Returns
    -------
    ndarray of float64, shape (N, 2)
        x and y as they stand there.

    Raises
    ------
    InputError
        If it is no such file, or holds more or fewer points than it says.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text; name a .pts file of BoneFinder") from error
    form = r"\s*version:\s*\S+\s+n_points:\s*(?P<n>\d+)\s*\{(?P<body>[^{}]*)\}\s*"
    if (found := re.fullmatch(form, text)) is None:
        raise InputError(
            f"{path} is no .pts file: a line version, a line n_points, and points in braces; save "
            "it from BoneFinder again"
        )
    rows = [line.split() for line in found["body"].splitlines() if line.strip()]
    values = np.array([numbers(pd.Series((row + [""])[:2])) for row in rows]).reshape(-1, 2)
    for row, value in zip(rows, values, strict=True):
        if len(row) != 2 or np.isnan(value).any():
            raise InputError(
                f"{path}: {' '.join(row)!r} is not a point, x and y with a blank between them; "
                "save it from BoneFinder again"
            )
    if len(rows) != int(found["n"]):
        raise InputError(
            f"{path} says n_points: {found['n']} and holds {len(rows)}; save it from BoneFinder "
            "again"
        )
    return values


def read_bonefinder(
    paths: Sequence[str | Path],
    *,
    sides: Sequence[str],
    widths: Sequence[int],
    points: Sequence[int] | None = None,
    mm_per_pixel: float = 1.0,
) -> np.ndarray:
    """Read landmarks out of BoneFinder's files, one a knee.

    Parameters
    ----------
    paths : sequence of path-like
    sides : sequence of str
        "right" or "left" of each, as its picture lies there; left ones are mirrored.
    widths : sequence of int
        Pixels of each picture.
    points : sequence of int, optional
        Which 16 points of a file, counted from 0, stand for `POINTS`; `KNEEL_CHOICE` for
        BoneFinder's own model of the knee. May be left out for files of 16.
    mm_per_pixel : float
        Of the pictures, where the files are in millimetres, as BoneFinder writes them for DICOM;
        1 where they are in pixels.

    Returns
    -------
    ndarray of float32, shape (n, 16, 2)
        x and y in pixels of the pictures hung as right knees.

    Raises
    ------
    InputError
        If a file is none, has not the points asked for, or a knee's first point is not lateral.
    """
    if not len(paths) == len(sides) == len(widths):
        raise InputError(
            f"{len(paths)} files, {len(sides)} sides and {len(widths)} widths; give one of each "
            "for each knee"
        )
    if mm_per_pixel <= 0:
        raise InputError(f"mm_per_pixel is {mm_per_pixel:g}; give millimetres of a pixel, above 0")
    found = np.empty((len(paths), len(POINTS), 2), np.float32)
    for place, (path, side, width) in enumerate(zip(paths, sides, widths, strict=True)):
        if side not in SIDES.values():
            raise InputError(f"{path}: its side is {side!r}; give right or left")
        landmarks = _chosen(path, read_pts(path), points) / mm_per_pixel
        landmarks = mirror(landmarks, width) if side == "left" else landmarks
        _require_lateral_first(str(path), landmarks)
        found[place] = landmarks
    return found


def _chosen(path: str | Path, there: np.ndarray, points: Sequence[int] | None) -> np.ndarray:
    if points is None:
        if len(there) != len(POINTS):
            raise InputError(
                f"{path} has {len(there)} points; name which {len(POINTS)} of them stand for "
                f"{POINTS[0]} to {POINTS[-1]} (KNEEL_CHOICE for BoneFinder's own model)"
            )
        return there
    if len(set(points)) != len(POINTS) or len(points) != len(POINTS):
        raise InputError(
            f"points names {len(set(points))} different ones; name {len(POINTS)}, from "
            f"{POINTS[0]} to {POINTS[-1]}"
        )
    if min(points) < 0 or max(points) >= len(there):
        raise InputError(
            f"{path} has {len(there)} points, counted from 0; it has none of number "
            f"{max(points) if min(points) >= 0 else min(points)}: name others"
        )
    return there[list(points)]


def read_kneel(path: str | Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Read KNEEL's table of landmarks.

    Parameters
    ----------
    path : path-like
        Columns subject_id (or knee, where it was renumbered), side, kl, tibia and femur ("x,y,x,y"
        and so on).

    Returns
    -------
    knees : DataFrame
        One row a knee, as in the file: `person` (str), `side`, `kl` (Int64).
    landmarks : ndarray of float32, shape (n, 16, 2)
        x and y in pixels of `KNEEL_MM` in KNEEL's square pictures of `KNEEL_SIZE` pixels. Left
        knees were mirrored there, x to 466 - x, which is a pixel more than in a mirrored picture.

    Raises
    ------
    InputError
        If the file is another table, or a row has not nine and seven points, lateral first.
    """
    raw = read_cells(path, ["side", "kl", "tibia", "femur"], ["subject_id", "knee"])
    person = next((name for name in ("subject_id", "knee") if name in raw), "")
    if not person:
        what, cure = "column subject_id is missing", "name KNEEL's bf_landmarks_1_0.3.csv"
        raise TableError(path, what, "", cure)
    found = np.empty((len(raw), len(POINTS), 2), np.float32)
    wanted = {"tibia": _N_TIBIA, "femur": len(POINTS) - _N_TIBIA}
    kl = numbers(raw["kl"])
    for place, (row, cells) in enumerate(zip(raw.index, raw.to_dict("records"), strict=True)):
        where = f"{path} row {row}"
        if cells["side"].lower() not in SIDES or kl[row] not in range(SIZES["kl"]):
            raise InputError(
                f"{where}: side {cells['side']!r}, kl {cells['kl']!r}; give R or L, and 0 to 4"
            )
        parts = []
        for bone, n in wanted.items():
            values = numbers(pd.Series(cells[bone].split(","))).to_numpy()
            if len(values) != 2 * n or np.isnan(values).any():
                raise InputError(
                    f"{where}: {bone} is not {n} points, {2 * n} numbers with commas; get KNEEL's "
                    "table again"
                )
            parts.append(values.reshape(-1, 2))
        found[place] = np.concatenate(parts)
        _require_lateral_first(where, found[place])
    sides = [SIDES[side.lower()] for side in raw["side"]]
    knees = pd.DataFrame({"person": raw[person].to_numpy(str), "side": sides, "kl": kl.to_numpy()})
    return knees.astype({"kl": "Int64"}), found


def _require_lateral_first(where: str, landmarks: np.ndarray) -> None:
    """As a right knee is hung, the lateral side is on the left."""
    x = landmarks[:, 0]
    if x[0] >= x[_N_TIBIA - 1] or x[_N_TIBIA] >= x[-1]:
        raise InputError(
            f"{where}: its first points are not lateral, on the left of a right knee; correct its "
            "side, or the order of the points"
        )
