"""Table 1's metrics and their paired bootstrap, written once for both.

Every metric takes ``counts`` of shape (B, n): how often each of the n cases
occurs in each of B resamples. Counts of one give the value on the cases
themselves, so the point estimate and its interval come from the same lines, and
B resamples cost a few matrix products rather than B calls.

What happens when a resample lacks a class, or scores do not differ:

- an AUC compares cases with non-cases, so it is undefined (NaN) where one of the
  two is absent; scikit-learn warns and gives NaN;
- the macro AUC averages over the grades that occur among the cases, the same
  grades in every resample; where a resample lacks one of them it is NaN.
  scikit-learn's ``roc_auc_score(multi_class="ovr")`` stops with an error there;
- F1 is 0 where no case is a true positive, and macro-F1 averages over the grades
  that a resample has as label or prediction: scikit-learn's defaults;
- a tie between a positive and a negative counts one half, so a constant score has
  an AUC of 1/2. A resample repeats cases, and so ties, but a case is never compared
  with itself: it has one label;
- scores are compared as they are: those of single precision tie where they are equal
  in single precision;
- an interval leaves the undefined resamples out, and says how many they were; where
  they are too many to leave out (:data:`.significance.UNDEFINED_LIMIT`), there is no
  interval and no p-value. Where all others are equal (two models that answer alike),
  both limits are that value.

An AUC, accuracy or F1 here is one division of exact sums, so that two models which tie
differ by exactly 0. scikit-learn adds up the steps of a ROC curve, which rounds: a tie
can come out as 1e-16 there, and a p-value that counts ties can differ by as many.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import numpy as np
import pandas as pd

from oacore.metrics.predictions import (
    GRADES,
    MODEL,
    PROB_KL,
    check_one_model,
    each_model,
    has_kl,
    pair,
)
from oacore.metrics.resampling import (
    estimate,
    left_out_in_parts,
    resamples_in_parts,
    undefined,
)
from oacore.metrics.significance import bca_interval, bootstrap_p, bootstrap_se
from oacore.names import METRIC_NAMES

#: Occurrences that an AUC has in hand at once, so that they stay in a processor's cache.
_AT_ONCE = 2**16


def auc(counts: np.ndarray, label: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: how often a positive outscores a negative, ties half.

    Parameters
    ----------
    counts : (B, n) array
        Occurrences of each case in each resample.
    label : (n,) bool array
        True for the positives.
    score : (n,) float array
        Higher means more positive.

    Returns
    -------
    (B,) float array
        NaN where a resample has no positive or no negative.

    Notes
    -----
    Mann and Whitney, doi:10.1214/aoms/1177730491: each positive wins against the negatives below
    it, and half against those level with it. Sorted once, the negatives are counted up in every
    resample, so that work grows with n log n + B n. Occurrences are whole numbers, and so are
    twice the wins: these sums are exact.
    """
    counts = np.asarray(counts, dtype=np.float64)
    label, score = np.asarray(label, dtype=bool), np.asarray(score)
    negatives = np.flatnonzero(~label)
    negatives = negatives[np.argsort(score[negatives], kind="stable")]
    below, not_above = (
        np.searchsorted(score[negatives], score[label], side) for side in ("left", "right")
    )
    twice_wins, pairs = np.empty((2, len(counts)))
    step = max(1, _AT_ONCE // max(1, len(label)))
    for first in range(0, len(counts), step):
        some = slice(first, first + step)
        drawn = counts[some].T  # (n, resamples)
        up_to = np.zeros((1 + len(negatives), drawn.shape[1]))
        np.cumsum(drawn[negatives], axis=0, out=up_to[1:])
        positives = drawn[label]
        twice_wins[some] = (positives * (up_to[below] + up_to[not_above])).sum(axis=0)
        pairs[some] = positives.sum(axis=0) * up_to[-1]
    return _ratio(twice_wins, 2 * pairs, np.nan)


def accuracy(counts: np.ndarray, label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Share of cases whose predicted class is their label.

    Parameters
    ----------
    counts : (B, n) array
    label, predicted : (n,) int arrays

    Returns
    -------
    (B,) float array in [0, 1]
    """
    counts = np.asarray(counts, dtype=np.float64)
    right = counts @ (label == predicted).astype(np.float64)
    return _ratio(right, counts.sum(axis=1), np.nan)


def f1(counts: np.ndarray, label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """F1 of one class: 2 TP / (2 TP + FP + FN); 0 where that is 0 / 0.

    Parameters
    ----------
    counts : (B, n) array
    label, predicted : (n,) bool arrays

    Returns
    -------
    (B,) float array in [0, 1]
    """
    true_positive, total = _f1_parts(counts, label, predicted)
    return _ratio(2 * true_positive, total, 0.0)


def macro_auc(counts: np.ndarray, label: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Mean of the one-versus-rest AUCs over the grades that occur in `label`.

    Parameters
    ----------
    counts : (B, n) array
    label : (n,) int array of grades
    scores : (n, 5) float array, probability of each grade

    Returns
    -------
    (B,) float array in [0, 1], NaN where a resample lacks one of those grades
    """
    per_grade = [auc(counts, label == grade, scores[:, grade]) for grade in np.unique(label)]
    return np.mean(per_grade, axis=0)


def macro_f1(counts: np.ndarray, label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Mean F1 over the grades that a resample has as label or prediction.

    Parameters
    ----------
    counts : (B, n) array
    label, predicted : (n,) int arrays of grades

    Returns
    -------
    (B,) float array in [0, 1]
    """
    parts = [_f1_parts(counts, label == grade, predicted == grade) for grade in GRADES]
    values = np.array([_ratio(2 * true_positive, total, 0.0) for true_positive, total in parts])
    present = np.array([total > 0 for _, total in parts])
    return _ratio((values * present).sum(axis=0), present.sum(axis=0), np.nan)


def oa_auc(predictions: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of the probability of OA."""
    return auc(counts, _is_oa(predictions, "oa"), predictions["prob_oa"].to_numpy(dtype=float))


def oa_acc(predictions: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
    """Accuracy of the OA answer."""
    return accuracy(counts, _is_oa(predictions, "oa"), _is_oa(predictions, "pred_oa"))


def oa_f1(predictions: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
    """F1 of OA."""
    return f1(counts, _is_oa(predictions, "oa"), _is_oa(predictions, "pred_oa"))


def kl_auc(predictions: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
    """Macro-AUC of the probabilities of the grades."""
    return macro_auc(counts, _grade(predictions, "kl"), predictions[PROB_KL].to_numpy(dtype=float))


def kl_acc(predictions: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
    """Accuracy of the predicted grade."""
    return accuracy(counts, _grade(predictions, "kl"), _grade(predictions, "pred_kl"))


def kl_f1(predictions: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
    """Macro-F1 of the predicted grade."""
    return macro_f1(counts, _grade(predictions, "kl"), _grade(predictions, "pred_kl"))


def _is_oa(predictions: pd.DataFrame, column: str) -> np.ndarray:
    return predictions[column].to_numpy() == 1


def _grade(predictions: pd.DataFrame, column: str) -> np.ndarray:
    return predictions[column].to_numpy(dtype=int)


#: The metrics of Table 1 in its order, each with the function above that has its name: from the
#: checked predictions of one model, n rows, and counts (B, n) to an array (B,).
METRICS: dict[str, Callable[[pd.DataFrame, np.ndarray], np.ndarray]] = {
    name: globals()[name] for name in METRIC_NAMES
}
#: Those that judge the answer to OA, and those that judge the grade.
OA_METRICS, KL_METRICS = (
    tuple(name for name in METRICS if name.startswith(label)) for label in ("oa_", "kl_")
)


def metrics_of(predictions: pd.DataFrame) -> tuple[str, ...]:
    """Names of the metrics that a model has: `METRICS`, or those of OA if it grades no knee."""
    return tuple(METRICS) if has_kl(predictions) else OA_METRICS


def model_metrics(predictions: pd.DataFrame, counts: np.ndarray) -> dict[str, np.ndarray]:
    """All of Table 1's metrics that one model has, for B resamples at once.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one model, n rows.
    counts : (B, n) array
        Occurrences of each row in each resample.

    Returns
    -------
    dict of str to (B,) float array
        OA metrics, and KL metrics where the model predicts a grade.

    Raises
    ------
    InputError
        On a table that is not one model's complete predictions of one split.
    """
    check_one_model(predictions)
    return {metric: METRICS[metric](predictions, counts) for metric in metrics_of(predictions)}


def table1(predictions: pd.DataFrame) -> pd.DataFrame:
    """Compute the paper's Table 1 from tidy predictions.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, any number of models and seeds.

    Returns
    -------
    DataFrame
        One row per backbone, supervision and seed, in the order of `predictions`, a column
        for each of `METRICS`: `oa_auc`, `oa_acc`, `oa_f1`, `kl_auc`, `kl_acc`, `kl_f1` in
        [0, 1] (macro averages for KL; NaN where a model predicts no grade).

    Raises
    ------
    InputError
        If columns or values are missing, or the rows are of several splits.
    """
    rows = []
    for model, table in each_model(predictions):
        once = np.ones((1, len(table)))
        values = {metric: METRICS[metric](table, once).item() for metric in metrics_of(table)}
        rows.append(dict(zip(MODEL, model, strict=True)) | values)
    return pd.DataFrame(rows, columns=[*MODEL, *METRICS])


def paired_bootstrap(
    reference: pd.DataFrame,
    other: pd.DataFrame,
    *,
    n_resamples: int = 2000,
    seed: int | np.random.Generator,
) -> pd.DataFrame:
    """Difference between two models on the same cases, with 95% intervals and p-values.

    Both models see the same resamples of cases (Efron and Tibshirani,
    doi:10.1201/9780429246593): what makes a knee hard for both cancels out of the
    difference.

    Parameters
    ----------
    reference, other : DataFrame
        Tidy predictions of one model each, of the same cases in any order.
    n_resamples : int
        Number of resamples B.
    seed : int or Generator
        Of the resamples.

    Returns
    -------
    DataFrame
        One row per `metric` that both models have: `value_reference`, `value_other`,
        `value` (other minus reference), its `low`, `high` (percentiles) and
        `bca_low`, `bca_high` (:func:`.significance.bca_interval`), two-sided `p_value`
        (:func:`.significance.bootstrap_p`), `se` (their standard deviation), `knees` (n), and
        `n_undefined`, the resamples left out because the metric is undefined there. With more of
        them than :data:`.significance.UNDEFINED_LIMIT` limits, `p_value` and `se` are NaN.

    Raises
    ------
    InputError
        If the two tables do not hold the same cases with the same labels.
    """
    reference, other = pair(reference, other)
    n = len(reference)
    shared = [m for m in metrics_of(reference) if m in metrics_of(other)]
    # The sample itself; B resamples; n samples that leave one case out, for BCa.
    parts = chain(
        [np.ones((1, n))],
        resamples_in_parts(n, n_resamples, np.random.default_rng(seed)),
        left_out_in_parts(n),
    )
    values = np.concatenate(
        [
            [[METRICS[metric](one, counts) for one in (reference, other)] for metric in shared]
            for counts in parts
        ],
        axis=2,
    )  # (metrics, 2, 1 + B + n)
    rows = []
    for metric, (of_reference, of_other) in zip(shared, values, strict=True):
        difference, left_out = np.split(of_other - of_reference, [1 + n_resamples])
        found = estimate(difference)
        bca_low, bca_high = bca_interval(found["value"], difference[1:], left_out)
        rows.append(
            {
                "metric": metric,
                "value_reference": of_reference[0],
                "value_other": of_other[0],
                **found,
                "bca_low": bca_low,
                "bca_high": bca_high,
                "p_value": bootstrap_p(difference[1:]),
                "se": bootstrap_se(difference[1:]),
                "knees": n,
                "n_undefined": undefined(difference),
            }
        )
    return pd.DataFrame(rows)


def _ratio(numerator: np.ndarray, denominator: np.ndarray, undefined: float) -> np.ndarray:
    out = np.full(numerator.shape, undefined)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def _f1_parts(
    counts: np.ndarray, label: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count true positives, and label plus predicted positives, of each resample."""
    counts = np.asarray(counts, dtype=np.float64)
    masks = np.stack([label & predicted, label, predicted], axis=1).astype(np.float64)
    true_positive, labelled, positive = (counts @ masks).T
    return true_positive, labelled + positive
