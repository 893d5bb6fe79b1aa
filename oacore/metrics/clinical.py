"""What a clinician asks of a classifier: agreement in grades, errors in sick and healthy.

Like :mod:`oacore.metrics.scores`, everything takes ``counts`` of shape (B, n), how often each case
occurs in each of B resamples, so that a value and its bootstrap interval come from the same lines.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from oacore.metrics.predictions import GRADES, MODEL, PROB_KL, each_model, has_kl
from oacore.metrics.resampling import draw_cases, estimate, undefined
from oacore.metrics.shares import share

KAPPA = "quadratic-weighted kappa"
WITHIN_ONE = "share within one grade"
GRADE_ERROR = "mean absolute grade error"
RPS = "ranked probability score"
RPS_SKILL = "ranked probability skill"
SENSITIVITY = "sensitivity for OA"
SPECIFICITY = "specificity for OA"
OA_BRIER = "Brier score, OA probability"
COLUMNS = [*MODEL, "measure", "value", "low", "high", "n", "n_undefined"]


def weighted_kappa(counts: np.ndarray, label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Cohen's kappa of two readings of grades, a disagreement weighing its distance squared.

    Parameters
    ----------
    counts : (B, n) array
    label, predicted : (n,) int arrays of grades

    Returns
    -------
    (B,) float array
        1 - (mean squared distance) / (that of readings drawn apart, with the same shares of
        grades). At most 1; 0 at chance; NaN where both give one and the same grade throughout.

    Notes
    -----
    Cohen 1968, doi:10.1037/h0026256.
    """
    grades = np.arange(len(GRADES))
    n = counts.sum(axis=1)
    labelled = counts @ (label[:, None] == grades)  # (B, 5), the margins of the 5 x 5 table
    graded = counts @ (predicted[:, None] == grades)  # (B, 5)
    distance = (grades[:, None] - grades) ** 2.0  # (5, 5)
    observed = counts @ (label - predicted) ** 2.0 / n
    expected = ((labelled @ distance) * graded).sum(axis=1) / n**2
    out = np.full(observed.shape, np.nan)
    return 1 - np.divide(observed, expected, out=out, where=expected > 0)


def ranked_probability_score(
    counts: np.ndarray, label: np.ndarray, probability: np.ndarray
) -> np.ndarray:
    """How far the probabilities of grades lie from the label, a miss weighing more the farther.

    Parameters
    ----------
    counts : (B, n) array
    label : (n,) int array of grades
    probability : (n, K) float array
        Of each grade, a row a case.

    Returns
    -------
    (B,) float array
        Mean over cases of the sum over grades g of (P(grade <= g) - [label <= g]) squared, divided
        by K - 1: 0 for certainty of the right grade, 1 for that of one end where the other is
        right.

    Notes
    -----
    Epstein 1969, doi:10.1175/1520-0450(1969)008<0985:ASSFPF>2.0.CO;2, as Murphy 1971 writes it,
    doi:10.1175/1520-0450(1971)010<0155:ANOTRP>2.0.CO;2.
    """
    below = np.cumsum(probability, axis=1)[:, :-1]  # the last is 1 for both
    happened = label[:, None] <= np.arange(probability.shape[1] - 1)
    return counts @ ((below - happened) ** 2).mean(axis=1) / counts.sum(axis=1)


def ranked_probability_skill(
    counts: np.ndarray,
    label: np.ndarray,
    probability: np.ndarray,
    base_rates: np.ndarray | None = None,
) -> np.ndarray:
    """Share of the ranked probability score of base rates that a model does away with.

    Parameters
    ----------
    counts, label, probability
        As for :func:`ranked_probability_score`.
    base_rates : (K,) float array, optional
        Shares of the grades, such as those of the training knees. By default those of each
        resample itself, which no forecast of one and the same shares can beat.

    Returns
    -------
    (B,) float array
        1 - score / (score of the base rates, given to every case). At most 1; 0 for a model that
        tells no more than how frequent the grades are, below 0 for one that tells less; NaN where
        all cases are of one grade, and the base rates say so.
    """
    reached = label[:, None] <= np.arange(probability.shape[1] - 1)  # (n, K - 1)
    share_reached = counts @ reached / counts.sum(axis=1)[:, None]  # (B, K - 1)
    rate = share_reached if base_rates is None else np.cumsum(base_rates)[:-1]
    # The mean of (rate - 0 or 1) squared over the cases.
    of_rates = (rate**2 * (1 - share_reached) + (1 - rate) ** 2 * share_reached).mean(axis=1)
    score = ranked_probability_score(counts, label, probability)
    out = np.full(score.shape, np.nan)
    return 1 - np.divide(score, of_rates, out=out, where=of_rates > 0)


def clinical_table(
    predictions: pd.DataFrame, *, n_resamples: int = 2000, seed: int
) -> pd.DataFrame:
    """Agreement of grades, errors in sick and healthy, and scores of probabilities, with intervals.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, any number of models and seeds.
    n_resamples, seed : int
        Of the bootstrap; every model sees the same resamples.

    Returns
    -------
    DataFrame
        A row for each model and `measure`: `value`, its 95% interval `low`, `high`, `n`, the cases
        it rests on, and `n_undefined`, the resamples in which the measure is undefined: kappa and
        the skill, where all cases are of one grade. With too many of them there is no interval
        (:data:`.significance.UNDEFINED_LIMIT`); exact intervals need no resamples.

        For the grades (models that predict them): quadratic-weighted kappa, share within one grade,
        mean absolute grade error, ranked probability score and its skill beside the shares of the
        grades among the same cases. For the OA answer: sensitivity (of the `n` with OA) and
        specificity (of the `n` without), NaN with none, and the Brier score of the probability.

        Intervals of shares (within one grade, sensitivity, specificity) are exact (Clopper and
        Pearson 1934, doi:10.1093/biomet/26.4.404), which cover .95 or more; the others are
        bootstrap percentiles over cases. In 1,000 simulated tables of 98 cases
        (``workflow/coverage_clinical.py``) those cover .941 (kappa), .936 (grade error), .933
        (ranked probability score), .938 (its skill) and .946 (Brier score).

    Raises
    ------
    InputError
        If columns or values are missing, or the rows are of several splits.
    """
    rows = []
    for model, table in each_model(predictions):
        n = len(table)
        counts = draw_cases(n, n_resamples, seed)
        oa = table["oa"].to_numpy() == 1
        prob_oa = table["prob_oa"].to_numpy(dtype=float)
        measured, exact = {}, {}
        if has_kl(table):
            kl, pred_kl = (table[column].to_numpy(dtype=int) for column in ("kl", "pred_kl"))
            distance = np.abs(kl - pred_kl)
            exact[WITHIN_ONE] = share((distance <= 1).astype(float))
            measured[KAPPA] = weighted_kappa(counts, kl, pred_kl)
            measured[GRADE_ERROR] = counts @ distance / n
            prob_kl = table[PROB_KL].to_numpy(dtype=float)
            measured[RPS] = ranked_probability_score(counts, kl, prob_kl)
            measured[RPS_SKILL] = ranked_probability_skill(counts, kl, prob_kl)
        right = table["pred_oa"].to_numpy() == table["oa"].to_numpy()
        for name, among in ((SENSITIVITY, oa), (SPECIFICITY, ~oa)):
            exact[name] = share(right[among].astype(float))
        measured[OA_BRIER] = counts @ (prob_oa - oa) ** 2 / n
        found = {name: (*estimate(v).values(), n, undefined(v)) for name, v in measured.items()}
        found |= {name: (*interval, 0) for name, interval in exact.items()}
        rows += [(*model, name, *found[name]) for name in ORDER if name in found]
    return pd.DataFrame(rows, columns=COLUMNS)


#: Rows of a model, in this order.
ORDER = (
    KAPPA, WITHIN_ONE, GRADE_ERROR, RPS, RPS_SKILL, SENSITIVITY, SPECIFICITY, OA_BRIER,
)  # fmt: skip
