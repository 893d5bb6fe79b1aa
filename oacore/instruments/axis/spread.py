"""How knees spread in the space of a model's features: about their mean, and by their grades.

Everything takes ``counts`` of shape (B, m), how often each of m knees occurs in each of B
resamples, as in :mod:`oacore.metrics.scores`.
"""

from __future__ import annotations

import numpy as np

from oacore.hierarchy import N_GRADES
from oacore.instruments.axis.ranks import spearman

DISTANCES = tuple(f"d_{k}{k + 1}" for k in range(N_GRADES - 1))


def class_centroids(counts: np.ndarray, points: np.ndarray, kl: np.ndarray) -> np.ndarray:
    """Mean point of each grade's knees in each resample.

    Parameters
    ----------
    counts : (B, m) array
    points : (m, n_features) array
    kl : (m,) int array

    Returns
    -------
    (B, 5, n_features) array
        NaN where a resample lacks the grade.
    """
    weight = counts[:, None, :] * (kl == np.arange(N_GRADES)[:, None])  # (B, 5, m)
    size = weight.sum(axis=2, keepdims=True)
    return (weight @ points) / np.where(size > 0, size, np.nan)


def centroid_distances(counts: np.ndarray, points: np.ndarray, kl: np.ndarray) -> np.ndarray:
    """Euclidean distances between centroids of neighbouring grades, (B, 4).

    Parameters and missing grades as for :func:`class_centroids`.
    """
    return np.linalg.norm(np.diff(class_centroids(counts, points, kl), axis=1), axis=2)


def by_name(distances: np.ndarray) -> dict[str, np.ndarray]:
    """Table 2's figures of the distances, (B, 4): each, and how they follow the grades.

    Returns
    -------
    dict of str to (B,) array
        `d_01` to `d_34`, and `rho_d_adj`, Spearman's correlation of the four with their order; NaN
        where one of them is.
    """
    rho = spearman(np.ones_like(distances), distances, np.arange(len(DISTANCES)))
    rho = np.where(np.isnan(distances).any(axis=1), np.nan, rho)
    return {**dict(zip(DISTANCES, distances.T, strict=True)), "rho_d_adj": rho}


def variance(counts: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Total variance of m points (m, n_features) in B resamples, (B,)."""
    share = counts / counts.sum(axis=1, keepdims=True)
    centred = points - points.mean(axis=0)  # so that the difference below is of small numbers
    return share @ (centred**2).sum(axis=1) - ((share @ centred) ** 2).sum(axis=1)


def less_mean(inner: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Inner products (m, m) of knees less the mean of a resample.

    Parameters
    ----------
    inner : (m, m) array
        Inner products of the knees' points, from whichever origin.
    share : (m,) array
        Of each knee in the resample; they sum to 1.
    """
    centred = inner - share @ inner
    return centred - (centred @ share)[:, None]
