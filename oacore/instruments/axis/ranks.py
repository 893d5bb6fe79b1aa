"""Rank correlations of cases and of resamples of them, which hold a case several times."""

from __future__ import annotations

import numpy as np


def spearman(counts: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation in B resamples; NaN where `a` or `b` has one value only.

    Parameters
    ----------
    counts : (B, n) array
        Occurrences of each case in each resample.
    a, b : (n,) or (B, n) float arrays

    Returns
    -------
    (B,) float array in [-1, 1]
    """
    total = counts.sum(axis=1)
    x, y = (_mid_ranks(counts, value) - (total[:, None] + 1) / 2 for value in (a, b))
    spread = (counts * x**2).sum(axis=1) * (counts * y**2).sum(axis=1)
    return (counts * x * y).sum(axis=1) / np.sqrt(np.where(spread > 0, spread, np.nan))


def partial_spearman(
    counts: np.ndarray, a: np.ndarray, b: np.ndarray, given: np.ndarray
) -> np.ndarray:
    """Spearman's correlation of `a` and `b` with the ranks of a third number held fixed.

    That of the residuals, when the ranks of both are regressed linearly on those of `given`; in
    closed form ``(r_ab - r_ag r_bg) / sqrt((1 - r_ag^2) (1 - r_bg^2))``. What depends on `given`
    in another way than along a line of ranks is not taken out.

    Parameters
    ----------
    counts : (B, n) array
    a, b, given : (n,) float arrays

    Returns
    -------
    (B,) float array in [-1, 1]
        NaN where `given` leaves nothing of `a` or of `b`.
    """
    ab, ag, bg = spearman(counts, a, b), spearman(counts, a, given), spearman(counts, b, given)
    left = (1 - ag**2) * (1 - bg**2)
    return (ab - ag * bg) / np.sqrt(np.where(left > 1e-12, left, np.nan))


def spearman_within(
    counts: np.ndarray, a: np.ndarray, b: np.ndarray, group: np.ndarray
) -> np.ndarray:
    """Spearman's correlation of `a` and `b` within groups: ranks less their mean in each group.

    The partial correlation given the group, whatever its relation to the two: about zero where
    `a` and `b` have nothing in common but the group.

    Parameters
    ----------
    counts : (B, n) array
    a, b : (n,) float arrays
    group : (n,) array

    Returns
    -------
    (B,) float array in [-1, 1]
        NaN where nothing of `a` or of `b` differs within groups.
    """
    member = (group == np.unique(group)[:, None]).astype(float)  # (groups, n)
    size = counts @ member.T  # (B, groups)

    def centred(values: np.ndarray) -> np.ndarray:
        ranks = _mid_ranks(counts, values)
        mean = ((counts * ranks) @ member.T) / np.maximum(size, 1)
        return ranks - mean @ member

    x, y = centred(a), centred(b)
    spread = (counts * x**2).sum(axis=1) * (counts * y**2).sum(axis=1)
    return (counts * x * y).sum(axis=1) / np.sqrt(np.where(spread > 1e-9, spread, np.nan))


def _mid_ranks(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rank of each case in each resample, (B, n): equal values share the mean of their places."""
    values = np.broadcast_to(values, counts.shape)
    order = np.argsort(values, axis=1, kind="stable")
    v, c = (np.take_along_axis(array, order, axis=1) for array in (values, counts))
    upto = np.cumsum(c, axis=1)
    n = counts.shape[1]
    starts = np.ones(counts.shape, dtype=bool)  # of a run of equal values
    starts[:, 1:] = v[:, 1:] != v[:, :-1]
    ends = np.roll(starts, -1, axis=1)
    first = np.maximum.accumulate(np.where(starts, np.arange(n), 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, np.arange(n), n - 1)[:, ::-1], axis=1)[:, ::-1]
    below = np.take_along_axis(upto - c, first, axis=1)
    with_equals = np.take_along_axis(upto, last, axis=1)
    ranks = np.empty(counts.shape)
    np.put_along_axis(ranks, order, (below + with_equals + 1) / 2, axis=1)
    return ranks
