"""Seeds and knees at once: means over seeds, their differences, and intervals that cover.

Every seed of a model is judged on the same knees, as every reader of a radiology study reads the
same cases, and a result owes something to both. So seeds are treated as readers are: by the model
of Obuchowski and Rockette (1995, doi:10.1080/03610919508813243) with the degrees of freedom of
Hillis (2007, doi:10.1002/sim.2532; compared with others in Hillis and others 2005,
doi:10.1002/sim.2024). What seeds add is read from their spread; what knees add, and cannot be
averaged away by more seeds, from the covariance of two seeds over resamples of the knees.

A measure comes as an array (S, 1 + B): a row for each seed, its value on the knees themselves, and
on B resamples of them, which are the same for all seeds and models (:mod:`.metrics.resampling`).
With one seed nothing is known of another training: the interval is then over the knees alone, says
so, and has no p-value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import t as student

from oacore.metrics.significance import bootstrap_se, enough_defined, percentile_interval

#: What an interval is over.
BOTH, KNEES = "seeds and knees", "knees alone"
#: What :func:`crossed` gives, in this order.
COLUMNS = (
    *("value", "low", "high", "se", "df", "p_value", "over", "seeds", "knees_low", "knees_high"),
    "n_undefined",
)


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, and what varies about it.

    Attributes
    ----------
    value : float
    of_seeds : float
        What the spread of the seeds gives the mean as its variance, MS / S; NaN with one seed.
    of_knees : float
        Covariance of two seeds on the same knees, which the mean keeps however many seeds there
        are; with one seed its own variance over the knees.
    on_resamples : (B,) array
        The mean over the seeds on each resample of the knees, NaN where a seed has none.
    seeds : int
    """

    value: float
    of_seeds: float
    of_knees: float
    on_resamples: np.ndarray
    seeds: int


def mean_of(values: np.ndarray) -> Mean:
    """Read a mean and its two variances from a measure of S seeds, (S, 1 + B).

    Resamples in which the measure of any seed is undefined (NaN) are left out; what knees add is
    undefined where these are too many (:func:`.significance.enough_defined`).
    """
    seeds = len(values)
    own, resamples = values[:, 0], values[:, 1:]
    on_resamples = resamples.mean(axis=0)
    defined = resamples[:, ~np.isnan(on_resamples)]
    of_knees = bootstrap_se(on_resamples) ** 2
    if seeds > 1 and not np.isnan(of_knees):
        # The variance of a mean of S is (that of one + (S - 1) covariances) / S.
        alone = defined.var(axis=1, ddof=1).mean()
        of_knees = (seeds * of_knees - alone) / (seeds - 1)
    of_seeds = own.var(ddof=1) / seeds if seeds > 1 else np.nan
    return Mean(float(own.mean()), float(of_seeds), float(of_knees), on_resamples, seeds)


def crossed(
    values: np.ndarray, within: tuple[float, float] = (-np.inf, np.inf)
) -> dict[str, float | int | str]:
    """Mean over the seeds with its 95% interval over seeds and knees.

    Parameters
    ----------
    values : (S, 1 + B) float array
        A measure, or the difference of two models in it, of each seed.
    within : (float, float)
        The measure's range, at whose ends the interval is cut: nothing lies beyond.

    Returns
    -------
    dict
        `value`, `low`, `high`; `se` and `df`, Hillis's degrees of freedom, of which the interval
        is value +- t(df) se; `p_value`, two-sided, against zero; `over`, "seeds and knees";
        `seeds`; `knees_low`, `knees_high`, the percentile interval over knees with the seeds as
        they are; `n_undefined`, the resamples in which the measure of a seed is undefined.

        With one seed `over` is "knees alone": `low` and `high` are `knees_low` and `knees_high`,
        `se` the standard deviation over the resamples, `df` infinite and `p_value` NaN. Without a
        value, or with fewer than two resamples in which it is defined, or more undefined ones than
        :data:`.significance.UNDEFINED_LIMIT`, limits, `se` and `p_value` are NaN.

    Notes
    -----
    How often such intervals hold the truth is simulated by ``workflow.coverage``; chapter 8 has the
    table. The spread of two seeds has one degree of freedom and can come out small by chance: then
    the interval may even be narrower than over knees alone, and it holds the truth less often than
    it says. From three seeds on it keeps its word; to force it wider there makes it hold too often.
    """
    mean = mean_of(values)
    return _read(mean.value, _total((mean,), mean.of_knees), (mean,), mean.on_resamples, within)


def crossed_difference(reference: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """Compare two models over the seeds that both have: other minus reference.

    Parameters
    ----------
    reference, other : (S, 1 + B) float arrays
        One measure of each model; row i of both is the same seed, column j the same knees.

    Returns
    -------
    dict
        `value_reference`, `value_other`, and what :func:`crossed` gives of their difference.
    """
    return {
        "value_reference": reference[:, 0].mean(),
        "value_other": other[:, 0].mean(),
        **crossed(other - reference),
    }


def independent_difference(reference: Mean, other: Mean) -> dict[str, Any]:
    """Compare two means whose seeds have nothing to do with each other: other minus reference.

    Parameters
    ----------
    reference, other : Mean
        On the same resamples of the same knees; the seeds may differ in number.

    Returns
    -------
    dict
        As :func:`crossed_difference`; `seeds` is the smaller number. The degrees of freedom are
        Satterthwaite's over both spreads (doi:10.2307/3002019).
    """
    both = (reference, other)
    resamples = other.on_resamples - reference.on_resamples
    return {
        "value_reference": reference.value,
        "value_other": other.value,
        **_read(
            other.value - reference.value, _total(both, _between(*both)), both, resamples,
            (-np.inf, np.inf),
        ),
    }  # fmt: skip


def max_t(
    means: Mapping[str, Mean], *, fixed: bool = False, n_draws: int = 20_000, seed: int
) -> dict[tuple, float]:
    """p-values of all pairs of several means, adjusted for having looked at every pair.

    Parameters
    ----------
    means : mapping of a name to a Mean
        All on the same resamples of the same knees, each with seeds of its own.
    fixed : bool
        Whether the question is about these very networks, as of a published record, and not about
        their training: then seeds are as they are, and knees alone vary.
    n_draws, seed : int
        Of the draws without any difference.

    Returns
    -------
    dict of (name, name) to float
        For each pair the share of draws in which the largest of all statistics
        abs(difference) / se reaches this pair's. The smallest of them is the p-value of the
        omnibus question whether the means differ at all. NaN for all where one of the means is
        undefined, or has one seed alone and is not fixed.

    Notes
    -----
    Single-step max-T (Westfall and Young 1993; Hothorn and others 2008,
    doi:10.1002/bimj.200810425), with draws from the fitted model: means over knees normal with
    their covariance, means over seeds normal, and the spread of each group of seeds chi-squared,
    so that few seeds count as few.
    """
    pairs = list(combinations(means, 2))
    groups = list(means.values())
    of_seeds = np.array([0.0 if fixed else mean.of_seeds for mean in groups])
    freedom = np.array([max(mean.seeds - 1, 1) for mean in groups])
    knees = np.array([[_covariance(a, b, fixed) for b in groups] for a in groups])  # (k, k)
    if np.isnan([*of_seeds, *(mean.value for mean in groups), *knees.ravel()]).any():
        return dict.fromkeys(pairs, np.nan)
    rng = np.random.default_rng(seed)
    k = len(groups)
    values, vectors = np.linalg.eigh(knees)
    root = vectors * np.sqrt(np.maximum(values, 0))  # one made from estimates may be no covariance
    drawn = rng.normal(size=(n_draws, k)) @ root.T
    drawn += rng.normal(size=(n_draws, k)) * np.sqrt(of_seeds)
    spread = of_seeds * rng.chisquare(freedom, size=(n_draws, k)) / freedom
    largest = np.zeros(n_draws)
    observed = {}
    places = dict(zip(means, range(k), strict=True))
    for one, other in pairs:
        i, j = places[one], places[other]
        shared = max(knees[i, i] + knees[j, j] - 2 * knees[i, j], 0.0)
        largest = np.maximum(
            largest,
            _ratio(np.abs(drawn[:, i] - drawn[:, j]), spread[:, i] + spread[:, j] + shared),
        )
        difference = abs(groups[i].value - groups[j].value)
        observed[one, other] = float(_ratio(difference, of_seeds[i] + of_seeds[j] + shared))
    return {
        names: float((1 + (largest >= t).sum()) / (1 + n_draws)) for names, t in observed.items()
    }


def _ratio(difference: Any, variance: Any) -> Any:
    """A difference over its standard error; without either there is no difference."""
    difference, variance = np.asarray(difference, float), np.asarray(variance, float)
    out = np.where(difference > 0, np.inf, 0.0)
    return np.divide(difference, np.sqrt(variance), out=out, where=variance > 0)


def _covariance(one: Mean, other: Mean, fixed: bool = False) -> float:
    """Covariance of two means over the knees; of fixed seeds with itself its whole variance."""
    if one is other and not fixed:
        return 0.0 if one.of_knees < 0 else one.of_knees
    both = one.on_resamples + other.on_resamples
    if enough_defined(both).size < 2:
        return np.nan
    defined = ~np.isnan(both)
    return float(np.cov(one.on_resamples[defined], other.on_resamples[defined])[0, 1])


def _between(one: Mean, other: Mean) -> float:
    """Variance over the knees of the difference of two means."""
    return one.of_knees + other.of_knees - 2 * _covariance(one, other)


def _total(means: tuple[Mean, ...], of_knees: float) -> float:
    """Variance of a mean, or of a difference of means; of knees an estimate below zero is none."""
    # np.fmax would turn an undefined variance into none.
    return sum(mean.of_seeds for mean in means) + (0.0 if of_knees < 0 else of_knees)


def _read(
    value: float,
    variance: float,
    means: tuple[Mean, ...],
    resamples: np.ndarray,
    within: tuple[float, float],
) -> dict[str, Any]:
    """The columns of an estimate from its variance, and from its resamples over the knees."""
    knees_low, knees_high = np.clip(percentile_interval(resamples), *within)
    seeds = min(mean.seeds for mean in means)
    n_undefined = int(np.isnan(resamples).sum())
    if seeds == 1:
        se = bootstrap_se(resamples)
        low, high, df, p_value, over = knees_low, knees_high, np.inf, np.nan, KNEES
    else:
        se = float(np.sqrt(variance))
        of_seeds = sum(mean.of_seeds**2 / (mean.seeds - 1) for mean in means)
        df = variance**2 / of_seeds if of_seeds > 0 else np.inf
        half = student.ppf(0.975, df) * se
        low, high = np.clip((value - half, value + half), *within)
        # Without any spread but that of rounding there is no test, as DeLong's has none.
        tested = se > 1e-12 * abs(value) or (value == 0 and se >= 0)
        p_value = float(2 * student.sf(_ratio(abs(value), variance), df)) if tested else np.nan
        over = BOTH
    found = (value, low, high, se, df, p_value, over, seeds, knees_low, knees_high, n_undefined)
    return dict(zip(COLUMNS, found, strict=True))
