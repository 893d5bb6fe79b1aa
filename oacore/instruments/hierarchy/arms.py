"""The arms of the experiment: what each head is told, and by which loss; nothing else differs.

An arm is one line of :data:`ARMS`. ``book/hierarchy-design.md`` says what each is for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import log

import numpy as np
import numpy.typing as npt
import pandas as pd

from oacore.errors import InputError
from oacore.hierarchy import FIRST_OA_GRADE, N_GRADES, oa_from_kl

#: Dual's loss beside Single-KL's where neither knows anything: ln 2 + ln 5 over ln 5.
DUAL_SCALE = (log(2) + log(N_GRADES)) / log(N_GRADES)
#: Losses of the grade that ask "above this grade?", once for each but the last.
THRESHOLDS = ("corn", "coral")
#: Cuts that a shuffled hierarchy is drawn from: those nearest to OA in their share of knees.
NEAREST = 4
#: Streams of random numbers, beside seed and fold: none of them follows from another.
_CUT, _PERMUTED, _COIN = 2001, 2002, 2003


@dataclass(frozen=True)
class TaskArm:
    """What a network is told.

    Attributes
    ----------
    says : str
        As it is written in tables and figures.
    kind : {"paper", "control", "remedy", "null"}
    second : str
        Label of the second head, of :data:`LABELS`; "" without one.
    grading : str
        Loss of the grade, of :data:`.losses.GRADINGS`; "" for no head of the grade.
    weight : float
        Of the second head's loss.
    scale : float
        Of the grade's loss.
    joint : {"parallel", "cascaded", "product"}
        Whether the second head reads the features, or the grade's logits; as "product" it has no
        loss of its own, and the grade's probability is the product of both
        (:func:`.losses.hierarchical`).
    stopped : {"", "second", "grade"}
        The head whose gradient stops at the features.
    consistency : float
        Weight of :func:`.losses.inconsistency`.
    uncertain : bool
        Whether the two losses are weighted by learned variances.
    start : int
        Which initial weights and batches a seed means: 0 for all arms but the null one.
    """

    says: str
    kind: str
    second: str = ""
    grading: str = "softmax"
    weight: float = 1.0
    scale: float = 1.0
    joint: str = "parallel"
    stopped: str = ""
    consistency: float = 0.0
    uncertain: bool = False
    start: int = 0

    @property
    def grade_outputs(self) -> int:
        """Numbers that the grade's head answers for a knee; 0 without one."""
        if not self.grading:
            return 0
        return N_GRADES - 1 if self.grading in THRESHOLDS else N_GRADES

    @property
    def second_outputs(self) -> int:
        """Numbers that the second head answers; 0 without one."""
        if not self.second:
            return 0
        return N_GRADES if self.second == "grade" else 1

    @property
    def form(self) -> tuple[object, ...]:
        """What two arms must share to be trained as one batch: all but labels and weights."""
        return (
            *(self.grading, self.second_outputs, self.joint, self.stopped),
            *(self.consistency > 0, self.uncertain, self.start),
        )


def _control(says: str, second: str) -> TaskArm:
    return TaskArm(says, "control", second)


#: All arms, in the order of tables.
ARMS: dict[str, TaskArm] = {
    "single_oa": TaskArm("Single-OA", "paper", "OA", grading=""),
    "single_kl": TaskArm("Single-KL", "paper"),
    "dual": TaskArm("Dual", "paper", "OA"),
    "cascaded": TaskArm("Dual, cascaded", "paper", "OA", joint="cascaded"),
    "shuffled": _control("Shuffled hierarchy", "shuffled"),
    "cut1": _control("Cut at KL >= 1", "KL >= 1"),
    "cut3": _control("Cut at KL >= 3", "KL >= 3"),
    "cut4": _control("Cut at KL >= 4", "KL >= 4"),
    "permuted": _control("OA permuted", "permuted"),
    "random": _control("Random label", "random"),
    "sex": _control("Sex", "sex"),
    "age": _control("Age", "age"),
    "quality": _control("Image quality", "quality"),
    "two_kl": _control("Two KL heads", "grade"),
    "oa_stopped": TaskArm("OA head stopped", "control", "OA", stopped="second"),
    "kl_stopped": TaskArm("KL head stopped", "control", "OA", stopped="grade"),
    "scaled": TaskArm("Single-KL, scaled", "control", scale=DUAL_SCALE),
    "dual0.1": TaskArm("Dual, weight 0.1", "control", "OA", weight=0.1),
    "dual0.3": TaskArm("Dual, weight 0.3", "control", "OA", weight=0.3),
    "dual3": TaskArm("Dual, weight 3", "control", "OA", weight=3.0),
    "dual10": TaskArm("Dual, weight 10", "control", "OA", weight=10.0),
    "again": TaskArm("Single-KL again", "null", start=1),
    "coral": TaskArm("CORAL", "remedy", grading="coral"),
    "corn": TaskArm("CORN", "remedy", grading="corn"),
    "soft": TaskArm("Soft grades", "remedy", grading="soft"),
    "smoothed": TaskArm("Neighbour smoothing", "remedy", grading="smoothed"),
    "earth_mover": TaskArm("Earth mover", "remedy", grading="earth mover"),
    "consistency": TaskArm("Consistency", "remedy", "OA", consistency=1.0),
    "product": TaskArm("Hierarchical softmax", "remedy", "OA", "hierarchical", joint="product"),
    "uncertainty": TaskArm("Uncertainty weighting", "remedy", "OA", uncertain=True),
}


def arm_of(name: str) -> TaskArm:
    """One arm by its key.

    Raises
    ------
    InputError
        If there is no such arm.
    """
    if name not in ARMS:
        raise InputError(f"there is no arm {name!r}: choose of {', '.join(ARMS)}")
    return ARMS[name]


# What the second head is told


def shuffled_cuts(kl: np.ndarray) -> list[tuple[int, ...]]:
    """Cuts of the grades that have OA's shape and nothing of its order, the nearest to OA first.

    Parameters
    ----------
    kl : (n,) int array
        Grades of a cohort.

    Returns
    -------
    list of tuples of three grades
        `NEAREST` of the groups of three grades that no threshold cuts off, neither as the upper
        nor as the lower part, by how near their share of knees is to that of OA.
    """
    thresholds = {tuple(range(N_GRADES))[cut:] for cut in range(N_GRADES)}
    thresholds |= {tuple(range(N_GRADES))[:cut] for cut in range(N_GRADES)}
    size = N_GRADES - FIRST_OA_GRADE
    cuts = [cut for cut in combinations(range(N_GRADES), size) if cut not in thresholds]
    share = (kl >= FIRST_OA_GRADE).mean()
    return sorted(cuts, key=lambda cut: abs(np.isin(kl, cut).mean() - share))[:NEAREST]


def nearest_cut(values: np.ndarray, share: float) -> float:
    """The least of some values at or above which a share of them is nearest to a given one.

    Parameters
    ----------
    values : (n,) float array
        Missing ones (NaN) do not count.
    share : float
    """
    known = values[~np.isnan(values)]
    cuts = np.unique(known)
    shares = 1 - np.searchsorted(np.sort(known), cuts) / known.size
    return float(cuts[np.abs(shares - share).argmin()])


def _column(cases: pd.DataFrame, name: str, label: str) -> np.ndarray:
    if name not in cases:
        raise InputError(f"this cohort has no column {name!r}, which the label {label!r} is of")
    return cases[name].to_numpy(float)


def _shuffled(cases: pd.DataFrame, training: np.ndarray, seed: int, fold: int) -> np.ndarray:
    kl = cases["kl"].to_numpy(np.int64)
    cuts = shuffled_cuts(kl)  # of the cohort, so that all folds of a seed have the same
    return np.isin(kl, cuts[np.random.default_rng([_CUT, seed]).integers(len(cuts))])


def _permuted(cases: pd.DataFrame, training: np.ndarray, seed: int, fold: int) -> np.ndarray:
    told = oa_from_kl(cases["kl"])
    rows = np.flatnonzero(training)
    told[rows] = told[np.random.default_rng([_PERMUTED, seed, fold]).permutation(rows)]
    return told


def _random(cases: pd.DataFrame, training: np.ndarray, seed: int, fold: int) -> np.ndarray:
    share = oa_from_kl(cases["kl"]).mean()
    return np.random.default_rng(_COIN).random(len(cases)) < share


def _sex(cases: pd.DataFrame, training: np.ndarray, seed: int, fold: int) -> np.ndarray:
    return _column(cases, "male", "sex") == 1


def _as_frequent(column: str, label: str) -> Callable[..., np.ndarray]:
    """Whether a number is at or above the cut whose share of training knees is nearest to OA's."""

    def told(cases: pd.DataFrame, training: np.ndarray, seed: int, fold: int) -> np.ndarray:
        values = _column(cases, column, label)
        share = oa_from_kl(cases["kl"])[training].mean()
        known = values[training]
        # A missing value is on the side of the training knees' median.
        values = np.where(np.isnan(values), np.nanmedian(known), values)
        return values >= nearest_cut(known, share)

    return told


def _cut_at(first: int) -> Callable[..., np.ndarray]:
    def told(cases: pd.DataFrame, training: np.ndarray, seed: int, fold: int) -> np.ndarray:
        return cases["kl"].to_numpy(np.int64) >= first

    return told


#: What a second head can be told: from the knees, which of them are for training, seed and fold
#: to a label of each knee. Labels of the other knees are never trained on.
LABELS: dict[str, Callable[[pd.DataFrame, np.ndarray, int, int], npt.NDArray]] = {
    "OA": _cut_at(FIRST_OA_GRADE),
    "shuffled": _shuffled,
    "KL >= 1": _cut_at(1),
    "KL >= 3": _cut_at(3),
    "KL >= 4": _cut_at(4),
    "permuted": _permuted,
    "random": _random,
    "sex": _sex,
    "age": _as_frequent("age", "age"),
    "quality": _as_frequent("quality", "quality"),
    "grade": lambda cases, training, seed, fold: cases["kl"].to_numpy(np.int64),
}


def second_label(
    arm: TaskArm, cases: pd.DataFrame, training: np.ndarray, seed: int, fold: int
) -> np.ndarray:
    """What an arm's second head is told of each knee.

    Parameters
    ----------
    arm : TaskArm
        With a second head.
    cases : DataFrame
        ``kl``, and what the label is of: ``male``, ``age`` (years), ``quality``.
    training : (n,) bool array
        Knees that are trained on.
    seed, fold : int

    Returns
    -------
    (n,) int64 array
        0 or 1; grades 0 to 4 for two KL heads.

    Raises
    ------
    InputError
        If the cohort does not have what the label is of.
    """
    return LABELS[arm.second](cases, training, seed, fold).astype(np.int64)
