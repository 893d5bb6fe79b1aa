"""Resamples of knees, and what is read from them.

An array of 1 + B values begins with that of the sample itself, and B resamples follow. Knees are
drawn once for all models and seeds, which are judged on the same ones. Where seeds count as well,
:mod:`.metrics.crossed` goes on from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.metrics.significance import UNDEFINED_LIMIT, percentile_interval

#: Occurrences that are drawn at once: some tens of megabytes.
_AT_ONCE = 2**21


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
    return np.vstack(list(resamples_in_parts(n_cases, n_resamples, np.random.default_rng(seed))))


def resamples_in_parts(
    n_cases: int, n_resamples: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Draw what :func:`resample_counts` draws, some resamples at a time.

    Yields
    ------
    (b, n) float array
        The next of B resamples, as many as fit a bounded memory.
    """
    if n_resamples < 1:
        raise InputError(f"{n_resamples} resamples: give 1 or more")
    step = max(1, _AT_ONCE // max(1, n_cases))
    for first in range(0, n_resamples, step):
        b = min(step, n_resamples - first)
        drawn = rng.integers(0, n_cases, size=(b, n_cases))
        drawn += np.arange(b)[:, None] * n_cases
        counts = np.bincount(drawn.ravel(), minlength=b * n_cases)
        yield counts.reshape(b, n_cases).astype(np.float64)


def left_out_in_parts(n_cases: int) -> Iterator[np.ndarray]:
    """Samples that leave one case out each, in the order of the cases, some at a time.

    Yields
    ------
    (b, n) float array
        The next of n rows.
    """
    cases = np.arange(n_cases)
    step = max(1, _AT_ONCE // max(1, n_cases))
    for first in range(0, n_cases, step):
        yield 1.0 - (cases[first : first + step, None] == cases)


def draw_cases(n_cases: int, n_resamples: int, seed: int | np.random.Generator) -> np.ndarray:
    """Count each case in the sample itself, then in resamples, as :func:`resample_counts` draws.

    Returns
    -------
    (1 + B, n) float array
        Row 0, all ones, is the sample.
    """
    return np.vstack([np.ones((1, n_cases)), resample_counts(n_cases, n_resamples, seed)])


def estimate(values: np.ndarray) -> dict[str, float]:
    """Read an estimate from 1 + B values: `value`, and `low`, `high`, its 95% percentile interval.

    Undefined resamples (NaN) are left out; the limits are NaN without resamples, or where too many
    are undefined (:data:`.significance.UNDEFINED_LIMIT`).
    """
    low, high = percentile_interval(values[1:])
    return {"value": float(values[0]), "low": low, "high": high}


def estimates(values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Estimates of several measures: `measure`, `value`, `low`, `high` (95%), `n_undefined`.

    Parameters
    ----------
    values : mapping of str to (1 + B,) array
        As for :func:`estimate`. For a difference between two models subtract their arrays.
    """
    rows = [
        {"measure": name, **estimate(of_measure), "n_undefined": undefined(of_measure)}
        for name, of_measure in values.items()
    ]
    return pd.DataFrame(rows, columns=["measure", "value", "low", "high", "n_undefined"])


def undefined(values: np.ndarray) -> int:
    """Number of undefined (NaN) resamples: all values but the first."""
    return int(np.isnan(values[1:]).sum())


def why_silent(n_undefined: int, n_resamples: int) -> str:
    """Say in words why resamples give no interval and no p-value; "" where they give them."""
    share = n_undefined / n_resamples
    if share <= UNDEFINED_LIMIT:
        return ""
    return (
        f"cannot say: {share:.1%} of the resamples lack a class or grade that has few knees, more "
        f"than {UNDEFINED_LIMIT:.1%}"
    )
