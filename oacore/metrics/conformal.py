"""Sets of grades that hold the label as often as promised: split-conformal prediction."""

from __future__ import annotations

import numpy as np
import pandas as pd

from oacore.metrics.predictions import GRADES, MODEL, PROB_KL, each_model, has_kl

#: How the limit is set: by all calibration knees, or for each grade by the knees of that grade.
WAYS = ("one limit", "a limit for each grade")


def limit(scores: np.ndarray, level: float) -> float:
    """Score that a further case stays below, or at, with at least a given probability.

    Parameters
    ----------
    scores : (m,) float array
        Of cases that are exchangeable with the further one.
    level : float
        Probability aimed at.

    Returns
    -------
    float
        The k-th smallest score, k = ceil((m + 1) level); infinite where k > m. A further case is
        not above it with probability k / (m + 1), if no scores tie, and with more if they do.

    Notes
    -----
    Vovk, Gammerman and Shafer 2005, doi:10.1007/b106715; Lei and others 2018,
    doi:10.1080/01621459.2017.1307116.
    """
    k = int(np.ceil((scores.size + 1) * level - 1e-9))
    return float(np.sort(scores)[k - 1]) if k <= scores.size else np.inf


def grade_sets(
    probability: np.ndarray, label: np.ndarray, new: np.ndarray, level: float, by_grade: bool
) -> np.ndarray:
    """Grades that the calibration cases do not rule out for each new case.

    Parameters
    ----------
    probability : (m, K) float array
        Of each grade, for the calibration cases.
    label : (m,) int array
        Their grades.
    new : (n, K) float array
        Probabilities of the new cases.
    level : float
        Share of new cases whose set should hold the label.
    by_grade : bool
        Whether that should be so within each grade. Each grade then has a limit of its own, set
        by the cases of that grade (Mondrian), and one with too few is in every set.

    Returns
    -------
    (n, K) bool array
        Whether a grade is in a case's set: its score, 1 - probability, is not above the limit.

    Notes
    -----
    Sadinle, Lei and Wasserman 2019, doi:10.1080/01621459.2017.1395341.
    """
    scores = 1 - probability[np.arange(len(label)), label]
    grades = range(probability.shape[1])
    if by_grade:
        limits = np.array([limit(scores[label == grade], level) for grade in grades])
    else:
        limits = np.full(len(grades), limit(scores, level))
    return 1 - new <= limits


def conformal_table(
    predictions: pd.DataFrame, *, level: float = 0.9, n_halves: int = 500, seed: int
) -> pd.DataFrame:
    """What conformal sets of grades hold, on repeated halves of the cases.

    One half sets the limits, the other is given sets. What the limits promise is an average over
    halves; a single half may have more or less.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, any number of models and seeds; those without grades are
        left out.
    level : float
        Share of cases whose set should hold the label.
    n_halves, seed : int
        How often, and how, the cases are halved by chance, the same for all models.

    Returns
    -------
    DataFrame
        A row for each model, `limits` (:data:`WAYS`) and `kl` (a grade, or "all"): `covered`, the
        share of sets that hold the label, and `size`, the mean number of grades in a set, both over
        all halves; `n` cases of that grade. No interval: the halves are of the same cases.

    Raises
    ------
    InputError
        If columns or values are missing, or the rows are of several splits.
    """
    rows = []
    for model, table in each_model(predictions):
        if not has_kl(table):
            continue
        kl = table["kl"].to_numpy(int)
        probability = table[PROB_KL].to_numpy(float)
        for way in WAYS:
            rng = np.random.default_rng(seed)
            covered, size, given = (np.zeros(len(kl)) for _ in range(3))
            for _ in range(n_halves):
                first, second = np.array_split(rng.permutation(len(kl)), 2)
                sets = grade_sets(
                    probability[first], kl[first], probability[second], level, way == WAYS[1]
                )
                covered[second] += sets[np.arange(second.size), kl[second]]
                size[second] += sets.sum(axis=1)
                given[second] += 1
            groups = {"all": np.ones(len(kl), dtype=bool)}
            groups |= {str(grade): kl == grade for grade in GRADES if (kl == grade).any()}
            for name, here in groups.items():
                total = given[here].sum()
                shares = covered[here].sum() / total, size[here].sum() / total
                rows.append((*model, way, name, *shares, int(here.sum())))
    return pd.DataFrame(rows, columns=[*MODEL, "limits", "kl", "covered", "size", "n"])
