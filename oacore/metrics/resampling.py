"""Resamples of knees and of seeds, as counts."""

from __future__ import annotations

import numpy as np

from oacore.errors import InputError


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
