"""Fit the bone-shape modes of the phantom knee to landmarks of real radiographs.

``python -m workflow.fit_shape LANDMARKS.csv`` writes `shape_modes.csv` and `shape_scores.csv` in
`oacore/instruments/phantom` anew. The landmarks are those that ``oacore fetch references``
downloads (Tiulpin et al. 2019, doi:10.1109/ICCVW.2019.00046).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.files import write

PIXEL_MM = 0.3
MODES = 4
POINTS = [f"T{i}" for i in range(9)] + [f"F{i}" for i in range(7)]
TIBIA, FEMUR = slice(0, 9), slice(9, 16)
PLATEAU = [0, 1, 2, 6, 7, 8]  # without the two spines and the notch between them
SPINES = [3, 5]
# Among the femur's points the lowest of both condyles; among the tibia's those below them.
CONDYLES, BELOW = [1, 5], [1, 7]
DATA = Path(__file__).parent.parent / "oacore/instruments/phantom"

SOURCE = """\
# Bone shape of the knee in the frontal plane: {what}
# Fitted by workflow/fit_shape.py to 16 landmarks of {knees} radiographed knees of the
# Osteoarthritis Initiative (Tiulpin, Melekhov & Saarakkala 2019: KNEEL,
# doi:10.1109/ICCVW.2019.00046; Oulu-IMEDS/KNEEL, annotations/bf_landmarks_1_0.3.csv; to be
# cited, not for commercial use).
"""
MODES_HEADER = """\
# Millimetres; x > 0 lateral, z > 0 up; origin at the height of the joint line, between the spines.
# Tibia T0-T3 lateral, T4 notch, T5-T8 medial; femur F0-F2 lateral, F3 notch, F4-F6 medial.
# x_mm, z_mm: mean; x_k, z_k: displacement for a score of 1 in mode k.
# Mode 1: direction of the mean change with KL; 2-4: principal components of what is left.
# Their shares of the variance of shape: {shares}.
"""
SCORES_HEADER = """\
# Mean score of each mode by KL, about the mean of the five grades. Scores are in standard
# deviations within a grade.
"""


@dataclass(frozen=True)
class Shape:
    """Outline of the two bones: mean, modes and how they go with KL.

    Attributes
    ----------
    modes : DataFrame
        One row a landmark: ``point``, ``x_mm``, ``z_mm`` (mean), then ``x_k``, ``z_k``: mm for a
        score of 1, that is one standard deviation within a KL grade, k = 1..4.
    scores : DataFrame
        One row a grade: ``kl``, ``score_1`` to ``score_4``: mean standardised scores, about the
        mean of the five grades.
    shares : tuple of float
        Shares of the variance of shape that the modes explain, 0-1.
    """

    modes: pd.DataFrame
    scores: pd.DataFrame
    shares: tuple[float, ...]


def bone_outlines(landmarks: pd.DataFrame) -> np.ndarray:
    """Landmarks in millimetres, lateral and up positive.

    Parameters
    ----------
    landmarks : DataFrame
        Columns ``tibia`` and ``femur``: nine and seven points as "x,y,x,y,..." in pixels,
        rows downwards, the lateral side on the left (as in the released file).

    Returns
    -------
    ndarray
        Complex, of shape (knees, 16): x + iz of the points in the order of `POINTS`.

    Raises
    ------
    InputError
        If a column is missing, or a knee has not its 9 + 7 points.
    """
    try:
        text = landmarks["tibia"] + "," + landmarks["femur"]
        pixels = np.array([row.split(",") for row in text], dtype=float)
        # Both axes are turned: lateral is on the left, and rows go down.
        return -PIXEL_MM * pixels.reshape(len(text), len(POINTS), 2) @ np.array([1, 1j])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"landmarks: not 9 tibial and 7 femoral points a knee in columns `tibia` and `femur` "
            f"({error}). Use annotations/bf_landmarks_1_0.3.csv of Oulu-IMEDS/KNEEL."
        ) from error


def align(outlines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take place, size and rotation from outlines of one bone (Procrustes).

    Parameters
    ----------
    outlines : ndarray
        Complex, (knees, points).

    Returns
    -------
    mean : ndarray
        (points,), about its centre; its width, from first to last point, is that of the outlines'
        plain mean.
    aligned : ndarray
        (knees, points). What each knee differs by is orthogonal to the mean, and to the mean
        turned by a right angle: to first order it neither grows nor turns.
    """
    centred = outlines - outlines.mean(1, keepdims=True)
    mean = centred.mean(0)
    width = np.abs(mean[-1] - mean[0])
    # Align all with the mean, take their mean again: it settles in a few rounds.
    for _ in range(50):
        # A complex factor is a rotation and a scale; this one makes <mean, aligned> = |mean|^2.
        factor = (np.abs(mean) ** 2).sum() / (centred @ mean.conj())
        aligned = factor[:, None] * centred
        mean = aligned.mean(0)
        mean *= width / np.abs(mean[-1] - mean[0])
    return mean, aligned


def fit_shape(landmarks: pd.DataFrame) -> Shape:
    """Fit the mean outline, four modes of shape, and their mean scores by KL.

    Femur and tibia are aligned each by a similarity of its own, so that joint space and varus
    or valgus are in no mode. Mode 1 is the direction in which the mean shape changes with KL
    (linear regression); the others are the principal components of what is left, and so have no
    linear relation with KL.

    Parameters
    ----------
    landmarks : DataFrame
        One row a knee: ``kl`` (0-4), ``tibia``, ``femur`` (see `bone_outlines`).

    Returns
    -------
    Shape
        Rounded to 0.0001 mm and 0.001 standard deviations.

    Raises
    ------
    InputError
        If the table is not one of landmarks, or a KL grade is missing.
    """
    outlines = bone_outlines(landmarks)
    kl = landmarks["kl"].to_numpy()
    if set(kl) != {0, 1, 2, 3, 4}:
        raise InputError("landmarks: column `kl` must hold each of the grades 0 to 4, and no other")
    tibia, tibiae = align(outlines[:, TIBIA])
    femur, femora = align(outlines[:, FEMUR])
    # The plateau is turned level, and the condyles until both gaps are alike.
    turn = np.exp(-1j * _slope(tibia[PLATEAU]))
    femur_turn = np.exp(1j * (_slope(turn * tibia[BELOW]) - _slope(femur[CONDYLES])))
    shapes = np.concatenate([turn * tibiae, femur_turn * femora], 1)
    # The femur stands above the tibia as in the mean radiograph.
    apart = outlines[:, FEMUR].mean() - outlines[:, TIBIA].mean()
    mean = np.concatenate([turn * tibia, femur_turn * femur + turn * apart])
    joint_line = np.concatenate([mean[TIBIA][BELOW], mean[FEMUR][CONDYLES]]).imag.mean()
    mean -= mean[SPINES].real.mean() + 1j * joint_line

    coordinates = np.stack([shapes.real, shapes.imag], -1).reshape(len(kl), -1)
    deviations = coordinates - coordinates.mean(0)
    axes = _axes(deviations, kl)
    scores = deviations @ axes.T
    by_kl = np.array([scores[kl == grade].mean(0) for grade in range(5)])
    spread = np.sqrt(((scores - by_kl[kl]) ** 2).sum(0) / (len(kl) - 5))
    steps = (axes * spread[:, None]).reshape(MODES, len(POINTS), 2)
    modes = pd.DataFrame({"point": POINTS, "x_mm": mean.real, "z_mm": mean.imag})
    for mode, step in enumerate(steps, start=1):
        modes[[f"x_{mode}", f"z_{mode}"]] = step
    names = [f"score_{mode + 1}" for mode in range(MODES)]
    means = pd.DataFrame((by_kl - by_kl.mean(0)) / spread, columns=names)
    means.insert(0, "kl", range(5))
    shares = tuple((scores.var(0) / deviations.var(0).sum()).tolist())
    return Shape(modes.round(4), means.round(3), shares)


def _slope(points: np.ndarray) -> float:
    """Angle in radians of the straight line through points given from lateral to medial."""
    return float(np.arctan(np.polyfit(points.real, points.imag, 1)[0]))


def _axes(deviations: np.ndarray, kl: np.ndarray) -> np.ndarray:
    """Four orthonormal directions, (4, coordinates): the change with KL, then the rest's PCA."""
    change = (kl - kl.mean()) @ deviations
    change /= np.linalg.norm(change)
    rest = deviations - np.outer(deviations @ change, change)
    components = np.linalg.svd(rest, full_matrices=False)[2][: MODES - 1]
    # The sign of a component is arbitrary: its largest coordinate is made positive.
    largest = np.abs(components).argmax(1)
    components *= np.sign(components[np.arange(len(components)), largest])[:, None]
    return np.vstack([change, components])


def main(path: str) -> None:
    """Fit to the file at `path` and write both tables."""
    landmarks = pd.read_csv(path)
    shape = fit_shape(landmarks)
    shares = ", ".join(f"{share:.3f}" for share in shape.shares)
    for name, what, columns, table in [
        ("shape_modes.csv", "mean and modes.", MODES_HEADER.format(shares=shares), shape.modes),
        ("shape_scores.csv", "scores of the modes.", SCORES_HEADER, shape.scores),
    ]:
        header = SOURCE.format(what=what, knees=len(landmarks)) + columns
        write(DATA / name, header + table.to_csv(index=False))


if __name__ == "__main__":
    main(sys.argv[1])
