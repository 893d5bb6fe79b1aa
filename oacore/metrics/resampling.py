"""Resamples of knees and of seeds, and what is read from them.

All of the book's intervals come through here. An array of 1 + B values begins with that of the
sample itself, and B resamples follow. Knees and seeds are crossed, not nested: every seed is judged
on the same knees, so knees are drawn once for all models, and seeds apart from that (the pigeonhole
bootstrap, Owen 2007, doi:10.1214/07-AOAS122).

With S seeds resampling finds, on average, (S - 1)/S of the variance between seeds: half of it with
two, two thirds with three. For few seeds the intervals are too short.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.metrics.significance import bootstrap_p, percentile_interval


def resample_counts(n_cases: int, n_resamples: int, seed: int | np.random.Generator) -> np.ndarray:
    """Draw bootstrap resamples of cases, as counts.

    Parameters
    ----------
    n_cases, n_resamples : int
        n and B, both at least 1.
    seed : int or Generator
        A generator continues where it stands, so that several draws can share one.

    Returns
    -------
    (B, n) float array
        Each row sums to n. Resample b is the b-th draw of ``rng.integers(0, n, size=n)``.

    Raises
    ------
    InputError
        If there are to be no resamples.
    """
    if n_resamples < 1:
        raise InputError(f"{n_resamples} resamples: give 1 or more")
    drawn = np.random.default_rng(seed).integers(0, n_cases, size=(n_resamples, n_cases))
    offset = np.arange(n_resamples)[:, None] * n_cases
    counts = np.bincount((drawn + offset).ravel(), minlength=n_resamples * n_cases)
    return counts.reshape(n_resamples, n_cases).astype(np.float64)


def draw_cases(n_cases: int, n_resamples: int, seed: int | np.random.Generator) -> np.ndarray:
    """Count each case in the sample itself, then in resamples, as :func:`resample_counts` draws.

    Returns
    -------
    (1 + B, n) float array
        Row 0, all ones, is the sample.
    """
    return np.vstack([np.ones((1, n_cases)), resample_counts(n_cases, n_resamples, seed)])


def draw_seeds(n_seeds: int, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Weigh each seed in each resample: rows add up to 1, and row 0 weighs all alike.

    Returns
    -------
    (1 + B, S) float array
    """
    return draw_cases(n_seeds, n_resamples, rng) / n_seeds


def mean_of_drawn(values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Mean over the seeds, in each resample those that it drew.

    Parameters
    ----------
    values : (S, 1 + B) float array
        Of each seed on the cases that each resample drew.
    drawn : (1 + B, S) float array
        From :func:`draw_seeds`.

    Returns
    -------
    (1 + B,) float array
    """
    return (drawn * values.T).sum(axis=1)


def estimate(values: np.ndarray) -> dict[str, float]:
    """Read an estimate from 1 + B values: `value`, and `low`, `high`, its 95% percentile interval.

    Undefined resamples (NaN) are left out; the limits are NaN without resamples.
    """
    low, high = percentile_interval(values[1:])
    return {"value": float(values[0]), "low": low, "high": high}


def estimates(values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Estimates of several measures as a table: `measure`, `value`, `low`, `high` (95%).

    Parameters
    ----------
    values : mapping of str to (1 + B,) array
        As for :func:`estimate`. For a difference between two models subtract their arrays.
    """
    rows = [{"measure": name, **estimate(of_measure)} for name, of_measure in values.items()]
    return pd.DataFrame(rows, columns=["measure", "value", "low", "high"])


def crossed_difference(
    reference: np.ndarray, other: np.ndarray, drawn: np.ndarray
) -> dict[str, float]:
    """Compare two models over seeds and cases: other minus reference, a mean over the seeds.

    Parameters
    ----------
    reference, other : (S, 1 + B) float arrays
        One measure of each model under each seed that both have, on the cases that each resample
        drew, the same for both models.
    drawn : (1 + B, S) float array
        From :func:`draw_seeds`.

    Returns
    -------
    dict
        `n_seeds`; `value_reference`, `value_other` and `value`, their difference; `knees_low`,
        `knees_high`, its interval with the seeds as they are; over seeds and cases `low`, `high`,
        `p_value` (:func:`.significance.bootstrap_p`) and `n_undefined`, the resamples in which the
        measure is undefined. With one seed the two intervals are one.
    """
    difference = other - reference
    knees_low, knees_high = percentile_interval(difference.mean(axis=0)[1:])
    both = mean_of_drawn(difference, drawn)
    low, high = percentile_interval(both[1:])
    return {
        "n_seeds": len(difference),
        "value_reference": reference[:, 0].mean(),
        "value_other": other[:, 0].mean(),
        "value": difference[:, 0].mean(),
        "knees_low": knees_low,
        "knees_high": knees_high,
        "low": low,
        "high": high,
        "n_undefined": undefined(both),
        "p_value": bootstrap_p(both[1:]),
    }


def undefined(values: np.ndarray) -> int:
    """Number of undefined (NaN) resamples: all values but the first."""
    return int(np.isnan(values[1:]).sum())
