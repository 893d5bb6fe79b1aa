"""Tests and intervals for two models that judged the same cases, and for families of tests.

Differences are always other minus reference. Nothing here knows of knees: arrays in, numbers
out. An undefined resample (NaN: it lacks a class) is left out, and where too many are
(:data:`UNDEFINED_LIMIT`) nothing is said; an undefined p-value (NaN) is left out of its family, and
stays NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, binomtest, chi2, false_discovery_control, norm, rankdata

#: Fewer discordant pairs than this, and McNemar's test is exact.
EXACT_BELOW = 25
#: Greatest share of undefined resamples at which the others are still believed. Of two equally good
#: networks on 98 knees a test at .05 rejects .03 to .06 with four or five knees of one grade (.006
#: to .034 undefined), .09 with three (.05 and .09), .15 with two (.13) and .4 with one (.37):
#: ``workflow/coverage_undefined.py``.
UNDEFINED_LIMIT = 0.04


@dataclass(frozen=True)
class McNemar:
    """McNemar's test.

    Attributes
    ----------
    only_first, only_second : int
        Discordant pairs: cases that only the first, or only the second model gets right.
    p_value : float
        Two-sided.
    test : str
        "mcnemar_exact" or "mcnemar_chi2+continuity".
    mid_p : float
        Two-sided mid-p value (:func:`mcnemar_mid_p`), whichever the test.
    """

    only_first: int
    only_second: int
    p_value: float
    test: str
    mid_p: float


@dataclass(frozen=True)
class DeLong:
    """DeLong's test of two AUCs on the same cases.

    Attributes
    ----------
    auc_reference, auc_other : float
    value, se : float
        Other minus reference, and its standard error.
    low, high : float
        95% interval of the difference.
    z, p_value : float
        value / se, and its two-sided p-value.
    """

    auc_reference: float
    auc_other: float
    value: float
    se: float
    low: float
    high: float
    z: float
    p_value: float


def mcnemar(right: npt.ArrayLike, right_other: npt.ArrayLike) -> McNemar:
    """Test whether two models are right equally often, on the cases where just one of them is.

    Cases that both get right, or both wrong, say nothing of the difference. Under the null
    hypothesis each of the others falls to either model with probability one half.

    Parameters
    ----------
    right, right_other : (n,) bool arrays
        Whether each model is right on each case.

    Returns
    -------
    McNemar
        Exact (binomial) with fewer than 25 discordant pairs, p = 1 with none; otherwise
        chi-square with one degree of freedom and Edwards' continuity correction.

    Notes
    -----
    McNemar 1947, doi:10.1007/BF02295996; Edwards 1948, doi:10.1007/BF02289261. A correction can
    carry past the centre; as in common software it is not stopped there, so that b = c gives
    chi-square 1 / (b + c).
    """
    first, second = np.asarray(right, dtype=bool), np.asarray(right_other, dtype=bool)
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    if b + c < EXACT_BELOW:
        p = float(binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0
        return McNemar(b, c, p, "mcnemar_exact", mcnemar_mid_p(b, c))
    p = float(chi2.sf((abs(b - c) - 1) ** 2 / (b + c), df=1))
    return McNemar(b, c, p, "mcnemar_chi2+continuity", mcnemar_mid_p(b, c))


def mcnemar_mid_p(only_first: int, only_second: int) -> float:
    """McNemar's exact test with half the chance of the very split that was seen.

    The exact test counts all of that chance. Since splits come in steps, it then rejects less
    often than its level says: at .05, .02 to .034 of tables of 98 cases in which equally good
    models differ on a tenth to two fifths. With half of that chance it rejects .041 to .048.

    Parameters
    ----------
    only_first, only_second : int
        Discordant pairs, as in :class:`McNemar`.

    Returns
    -------
    float
        The chance of a split by a fair coin that is more uneven, either way, and half of that of
        one as uneven. 1 with no discordant pair.

    Notes
    -----
    Fagerland, Lydersen and Laake 2013, doi:10.1186/1471-2288-13-91.
    """
    n, fewer = only_first + only_second, min(only_first, only_second)
    if not n:
        return 1.0
    as_uneven = float(binom.pmf(fewer, n, 0.5)) * (1 if 2 * fewer == n else 2)
    more_uneven = 2 * float(binom.cdf(fewer - 1, n, 0.5))
    return more_uneven + as_uneven / 2


def delong(label: npt.ArrayLike, reference: npt.ArrayLike, other: npt.ArrayLike) -> DeLong:
    """Compare the AUCs of two scores of the same cases.

    An AUC is the mean of the positives' placements (the share of negatives that each outscores,
    ties half), and as well the mean of the negatives'. So is the difference of two AUCs the mean
    of differences of placements, case by case, and their spread gives its standard error.

    Parameters
    ----------
    label : (n,) bool array
        True for the positives.
    reference, other : (n,) float arrays
        Higher means more positive.

    Returns
    -------
    DeLong
        Where all differences of placements are equal, the standard error is 0. Then p is 1 if
        the AUCs are equal (two scores that rank alike); if not (say a perfect score against a
        constant one) z, p and the interval are NaN: no spread was seen, and the normal
        approximation says nothing. With fewer than two positives or two negatives the standard
        error is NaN, and with none of either the AUCs are.

    Notes
    -----
    DeLong, DeLong and Clarke-Pearson 1988, doi:10.2307/2531595; placements by mid-ranks: Sun and
    Xu 2014, doi:10.1109/LSP.2014.2337313.
    """
    positive = np.asarray(label, dtype=bool)
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return DeLong(*[np.nan] * 8)
    wins_of_positives, wins_over_negatives = [], []  # for each score
    for score in (np.asarray(reference), np.asarray(other)):
        ranks = rankdata(score)
        # A rank among all less the rank among one's own: how many of the others lie below.
        above = ranks[positive] - rankdata(score[positive])  # (m,) of n negatives
        below = ranks[~positive] - rankdata(score[~positive])  # (n,) of m positives
        wins_of_positives.append(above)
        wins_over_negatives.append(m - below)
    first, second = (float(wins.sum() / (m * n)) for wins in wins_of_positives)
    difference = second - first
    if m < 2 or n < 2:
        return DeLong(first, second, difference, *[np.nan] * 5)
    of_positives = (wins_of_positives[1] - wins_of_positives[0]) / n
    of_negatives = (wins_over_negatives[1] - wins_over_negatives[0]) / m
    # Var = S10 / m + S01 / n, their equation 7 for the contrast (-1, 1).
    se = float(np.sqrt(np.var(of_positives, ddof=1) / m + np.var(of_negatives, ddof=1) / n))
    if np.ptp(of_positives) == 0 and np.ptp(of_negatives) == 0:
        same = difference == 0
        low = high = 0.0 if same else np.nan
        return DeLong(first, second, difference, 0.0, low, high, low, 1.0 if same else np.nan)
    z = difference / se
    half = float(norm.ppf(0.975)) * se
    p = float(2 * norm.sf(abs(z)))
    return DeLong(first, second, difference, se, difference - half, difference + half, z, p)


def bootstrap_p(difference: npt.ArrayLike) -> float:
    """Two-sided p-value of a difference from its bootstrap distribution.

    Twice the smaller share of resamples on one side of 0, capped at 1. One is added to both
    counts, so that B resamples never claim a p below 2 / (B + 1) (Davison and Hinkley 1997,
    doi:10.1017/CBO9780511802843, section 4.2).

    Parameters
    ----------
    difference : (B,) float array
        Differences; undefined ones (NaN) do not count.

    Returns
    -------
    float
        NaN if none is defined.
    """
    defined = enough_defined(difference)
    if not defined.size:
        return np.nan
    # A difference of 0 counts on both sides.
    fewer = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (fewer + 1) / (defined.size + 1))


def bootstrap_se(resampled: npt.ArrayLike) -> float:
    """Standard error: the standard deviation of a bootstrap distribution.

    Undefined resamples (NaN) do not count; NaN if fewer than two are defined.
    """
    defined = enough_defined(resampled)
    return float(defined.std(ddof=1)) if defined.size > 1 else np.nan


def percentile_interval(resampled: npt.ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Middle share `level` of a bootstrap distribution; NaN if no resample is defined."""
    defined = enough_defined(resampled)
    if not defined.size:
        return np.nan, np.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bca_interval(
    estimate: float,
    resampled: npt.ArrayLike,
    left_out: npt.ArrayLike,
    level: float = 0.95,
) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval.

    Takes other percentiles than those of the middle: shifted by z0, how far the median of the
    resamples lies from the estimate, and by a, how the standard error changes with the value.

    Parameters
    ----------
    estimate : float
        The value on the cases themselves.
    resampled : (B,) float array
        Values on the resamples.
    left_out : (n,) float array
        Values with one case left out each.
    level : float
        Coverage aimed at.

    Returns
    -------
    float, float
        The value itself, twice, if all resamples have one value. NaN if no resample is defined,
        or all lie on one side of the estimate: then z0 is infinite. a is 0 where leaving a case
        out changes nothing; values undefined (NaN) in either array do not count.

    Notes
    -----
    Efron 1987, doi:10.1080/01621459.1987.10478410. scipy.stats.bootstrap has it too, and the
    tests compare with that; it gives NaN for a constant and cannot leave values out.
    """
    values, jackknife = enough_defined(resampled), np.asarray(left_out, dtype=np.float64)
    jackknife = jackknife[~np.isnan(jackknife)]
    if not values.size:
        return np.nan, np.nan
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    below = ((values < estimate).mean() + (values <= estimate).mean()) / 2  # ties half
    if not 0 < below < 1:
        return np.nan, np.nan
    z0, a = norm.ppf(below), 0.0
    if jackknife.size and np.ptp(jackknife) > 0:
        apart = jackknife.mean() - jackknife
        a = (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)
    z = z0 + norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(values, norm.cdf(z0 + z / (1 - a * z)))
    return float(low), float(high)


def benjamini_hochberg(p: npt.ArrayLike) -> np.ndarray:
    """Values q that control the false discovery rate: the least rate at which each test passes.

    Parameters
    ----------
    p : (tests,) float array
        A family's p-values.

    Returns
    -------
    (tests,) float array

    Notes
    -----
    Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    return _of_family(p, lambda p: false_discovery_control(p, method="bh"))


def holm(p: npt.ArrayLike) -> np.ndarray:
    """P-values adjusted so that the chance of even one false claim in the family is controlled.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none may be less than the
    one before it, and none more than 1. Holds whatever the dependence between the tests.

    Parameters
    ----------
    p : (tests,) float array
        A family's p-values.

    Returns
    -------
    (tests,) float array

    Notes
    -----
    Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """

    def step_down(p: np.ndarray) -> np.ndarray:
        order = np.argsort(p, kind="stable")
        adjusted = np.empty_like(p)
        adjusted[order] = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
        return np.minimum(adjusted, 1.0)

    return _of_family(p, step_down)


def _of_family(p: npt.ArrayLike, adjust: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Adjust the defined p-values among themselves; the others stay NaN."""
    family = np.asarray(p, dtype=np.float64)
    adjusted, defined = np.full(family.shape, np.nan), ~np.isnan(family)
    if defined.any():
        adjusted[defined] = adjust(family[defined])
    return adjusted


def enough_defined(values: npt.ArrayLike) -> np.ndarray:
    """Resamples that are defined; none where more than `UNDEFINED_LIMIT` of them are not (NaN).

    A resample is undefined where it lacks a class. What is left always has the few knees of that
    class, hardly varies in them, and so claims to know more than it does.
    """
    array = np.asarray(values, dtype=np.float64)
    undefined = np.isnan(array)
    return array[:0] if undefined.sum() > UNDEFINED_LIMIT * array.size else array[~undefined]
