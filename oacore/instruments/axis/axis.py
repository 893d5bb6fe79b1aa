"""The severity axis: the first principal component of a model's features, against the grade.

Section 3.5.2 and Table 2 of arXiv:2605.00718, under two protocols:

- "as printed": features of the test knees alone, PCA without scaling, judged on the same knees.
  A resample of the knees gets an axis of its own, for the axis is part of what they give;
- "train-fit": features scaled, PCA and the probe of OA fitted on the training split and read on
  the test split, as in the authors' later re-analysis. The axis stays as it is in every resample
  of test knees, for it owes nothing to them.

The sign of a principal component is arbitrary, and Table 2 prints it as it came. Here PC1 points
to where the grade rises on the training split (Spearman's correlation), under both protocols, so
that a negative correlation on the test knees means something.

Four distances between five centroids have only 11 rank correlations with their order
(:func:`.ranks.attainable_rhos`), and by chance ``|rho|`` is 0.8 or more in a third of all
orders. :mod:`oacore.instruments.axis.shape` has measures that five centroids cannot fake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.linalg import eigh
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES, oa_from_kl
from oacore.instruments.axis.ranks import spearman
from oacore.instruments.axis.spread import (
    DISTANCES,
    by_name,
    centroid_distances,
    less_mean,
    variance,
)
from oacore.metrics.predictions import MODEL
from oacore.metrics.resampling import draw_cases, estimates
from oacore.metrics.scores import auc
from oacore.names import in_order
from oacore.training.records import finished, run_features

#: The protocols, and the split on which each fits the axis.
PROTOCOLS = {"train-fit": "train", "as printed": "test"}
MEASURES = ("evr_pc1", "rho_kl", "rho_oa", "oa_auc", *DISTANCES, "rho_d_adj")


@dataclass(frozen=True)
class Axis:
    """Knees in the space where distances are taken, and along its principal components.

    Attributes
    ----------
    points : (n, n_features) array
        Features as the protocol scales them, centred on the knees that it fits.
    scores : (n, k) array
        Principal components; the first rises with the grade of the training knees.
    share : float
        Of PC1 in the variance of the fitted knees; NaN where no feature varies.
    """

    points: np.ndarray
    scores: np.ndarray
    share: float


def severity_geometry(
    features: np.ndarray,
    kl: npt.ArrayLike,
    test: npt.ArrayLike,
    protocol: str = "train-fit",
    *,
    n_resamples: int = 2000,
    seed: int,
) -> pd.DataFrame:
    """Table 2 for one model, with 95% intervals over test knees.

    Parameters
    ----------
    features, kl, test
        As in :func:`fit_axis`.
    protocol : {"train-fit", "as printed"}
    n_resamples, seed : int
        Of the bootstrap. Models that are given the same knees in the same order and the same seed
        see the same resamples.

    Returns
    -------
    DataFrame
        `measure`, `value`, `low`, `high`, `n_undefined`, a row for each of `MEASURES`
        (:func:`geometry_values`). Under "train-fit" also two of the training knees, on which the
        axis and the probe were fitted: `evr_pc1_fit`, the share of their variance, as PCA reports
        it, and `oa_auc_fit`, the probe's AUROC. No test knee is in them, and they have no interval
        (NaN). A paper that fits and judges on the same knees prints these two.

    Notes
    -----
    Centroids of few knees lie apart by chance: the expected squared distance grows by the variance
    within each grade over its number of knees, and once more in a resample. So intervals of
    distances lie high. Those of a refitted share do as well: repeated knees fill fewer dimensions.
    """
    axis = fit_axis(features, kl, test, protocol)
    if np.all(test):
        raise InputError("severity_geometry: no training knee; PC1 takes its sign from them")
    counts = draw_cases(int(np.sum(test)), n_resamples, seed)
    values = geometry_values(features, kl, test, counts, protocol)
    if protocol == "train-fit":
        values["evr_pc1_fit"] = np.array([axis.share])
        values["oa_auc_fit"] = np.array([_fitted_auc(axis, kl, test)])
    return estimates(values)


def geometry_values(
    features: np.ndarray,
    kl: npt.ArrayLike,
    test: npt.ArrayLike,
    counts: np.ndarray,
    protocol: str = "train-fit",
) -> dict[str, np.ndarray]:
    """Table 2 for one model, on B resamples of its m test knees.

    Parameters
    ----------
    features, kl, test
        As in :func:`fit_axis`.
    counts : (B, m) array
        Occurrences of each test knee, in their order, in each resample.
    protocol : {"train-fit", "as printed"}

    Returns
    -------
    dict of str to (B,) array
        - `evr_pc1`: share of PC1 in the variance of the test knees;
        - `rho_kl`, `rho_oa`: Spearman's correlation of PC1 with the grade and with OA;
        - `oa_auc`: AUROC of a logistic probe of OA on PC1 alone;
        - `d_01` to `d_34`: Euclidean distances between centroids of neighbouring grades;
        - `rho_d_adj`: Spearman's correlation of these four with their order.

        NaN where a value is undefined: no variance, a grade or a class that a resample lacks.
    """
    axis = fit_axis(features, kl, test, protocol)
    kl, test = np.asarray(kl, dtype=int), np.asarray(test, dtype=bool)
    points, pc1 = axis.points[test], axis.scores[:, 0]
    if protocol == "train-fit":
        return _judge(points, pc1[test], kl[test], _slope(pc1[~test], kl[~test]), counts)
    inner = axis.points @ points.T  # (n, m)
    parts = []
    for drawn in counts:  # (m,)
        pc1 = _own_axis(inner, test, drawn)  # (n,)
        pc1 *= _direction(pc1[~test], kl[~test])
        again = np.repeat(np.arange(len(points)), drawn.astype(int))
        slope = _slope(pc1[test][again], kl[test][again])
        parts.append(_judge(points, pc1[test], kl[test], slope, drawn[None]))
    return {name: np.concatenate([part[name] for part in parts]) for name in MEASURES}


def fit_axis(
    features: np.ndarray,
    kl: npt.ArrayLike,
    test: npt.ArrayLike,
    protocol: str = "train-fit",
    n_components: int = 1,
) -> Axis:
    """Principal components of a model's features under one of the two protocols.

    Parameters
    ----------
    features : ndarray, shape (n, n_features)
        One row a knee.
    kl, test : array_like of int and of bool, shape (n,)
        Grades, 0 to 4, and which knees are of the test split.
    protocol : {"train-fit", "as printed"}
    n_components : int
        k, at most as many as there are features.

    Returns
    -------
    Axis
        All zeros, with a share of NaN, where no feature varies among the fitted knees.

    Raises
    ------
    InputError
        On another protocol, features that are not finite, grades outside 0 to 4, lengths that
        differ, or fewer than two knees to fit.
    """
    x, grade, test = _checked(features, kl, test)
    if protocol not in PROTOCOLS:
        raise InputError(f"fit_axis: protocol is {protocol!r}; give one of {[*PROTOCOLS]}")
    if n_components > x.shape[1]:
        raise InputError(f"fit_axis: {n_components} components of {x.shape[1]} features; give more")
    split = PROTOCOLS[protocol]
    fitted = test if split == "test" else ~test
    if fitted.sum() < 2:
        raise InputError(f"fit_axis: {fitted.sum()} {split} knees; PCA needs at least two")
    if not np.ptp(x[fitted], axis=0).any():
        return Axis(np.zeros_like(x), np.zeros((len(x), n_components)), np.nan)
    points = StandardScaler(with_std=protocol == "train-fit").fit(x[fitted]).transform(x)
    pca = PCA(n_components, svd_solver="full").fit(points[fitted])
    scores = pca.transform(points)
    scores[:, 0] *= _direction(scores[~test, 0], grade[~test])
    return Axis(points, scores, float(pca.explained_variance_ratio_[0]))


def pc_scores(
    features: np.ndarray, kl: npt.ArrayLike, test: npt.ArrayLike, protocol: str = "train-fit"
) -> np.ndarray:
    """PC1 and PC2 of all knees, to draw them; arguments as in :func:`fit_axis`.

    Returns
    -------
    (n, 2) array
        PC1 rises with the grade of the training knees. The sign of PC2 means nothing.
    """
    return fit_axis(features, kl, test, protocol, n_components=2).scores


def severity_axis(
    features: np.ndarray, kl: npt.ArrayLike, test: npt.ArrayLike, fit: str
) -> dict[str, float]:
    """First principal axis of the features, judged on the test knees, without its sign.

    Parameters
    ----------
    features, kl, test
        As in :func:`fit_axis`.
    fit : {"train", "test"}
        On which knees the axis is fitted: "train" is the protocol "train-fit", "test" is
        "as printed".

    Returns
    -------
    dict
        `pc1_share` of the variance of the knees it is fitted on, `rho_kl` (absolute Spearman
        correlation) and `oa_auc`; NaN where no feature varies.
    """
    if fit not in PROTOCOLS.values():
        raise InputError(f'severity_axis: fit is {fit!r}; give "train" or "test"')
    protocol = next(name for name, split in PROTOCOLS.items() if split == fit)
    axis = fit_axis(features, kl, test, protocol)
    once = np.ones((1, int(np.sum(test))))
    values = geometry_values(features, kl, test, once, protocol)
    return {
        "pc1_share": axis.share,
        "rho_kl": abs(values["rho_kl"].item()),
        "oa_auc": values["oa_auc"].item(),
    }


def severity_axes(runs: str | Path, cases: pd.DataFrame, fit: str) -> pd.DataFrame:
    """First principal axis of every finished run of a folder, a row each.

    Parameters
    ----------
    runs, cases, fit
        As in :func:`read_features` and :func:`severity_axis`.

    Returns
    -------
    DataFrame
        backbone, supervision, seed, and what :func:`severity_axis` returns.
    """
    return pd.DataFrame(
        {**run, **severity_axis(features, own["kl"].to_numpy(int), own["split"] == "test", fit)}
        for run, features, own in read_features(runs, cases)
    )


def read_features(
    runs: str | Path, cases: pd.DataFrame
) -> Iterator[tuple[dict[str, str | int], np.ndarray, pd.DataFrame]]:
    """Penultimate features of every finished run of a folder, with the knees that they are of.

    Backbones and supervisions come in the paper's order, and their seeds in that of numbers.

    Parameters
    ----------
    runs : path-like
    cases : DataFrame
        ``case_id``, ``kl``, ``split`` of the cohort on which the runs were trained.

    Yields
    ------
    run : dict
        backbone, supervision, seed.
    features : (n, n_features) array
    own : DataFrame
        The n rows of `cases` in the order of `features`, indexed by case_id.
    """
    paths = finished(runs)
    found = pd.DataFrame([path.parts[-3:] for path in paths], columns=MODEL)
    found["path"] = [str(path) for path in paths]
    found["seed"] = found["seed"].str.removeprefix("seed").astype(int)
    for row in in_order(found.sort_values("seed")).to_dict("records"):
        features, own = run_features(row.pop("path"), cases)
        yield {str(name): value for name, value in row.items()}, features["features"], own


def _judge(
    points: np.ndarray, pc1: np.ndarray, kl: np.ndarray, slope: float, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """Values of `MEASURES` on B resamples of m test knees.

    points (m, d), pc1 and kl (m,), counts (B, m); slope: the sign of the probe's.
    """
    oa = oa_from_kl(kl) == 1
    total, along = variance(counts, points), variance(counts, pc1[:, None])
    return {
        "evr_pc1": along / np.where(total > 0, total, np.nan),
        "rho_kl": spearman(counts, pc1, kl),
        "rho_oa": spearman(counts, pc1, oa),
        "oa_auc": np.where(along > 0, auc(counts, oa, slope * pc1), np.nan),
        **by_name(centroid_distances(counts, points, kl)),
    }


def _own_axis(inner: np.ndarray, test: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """PC1 of all n knees, fitted on the m test knees, each `weights` times; inner (n, m).

    The axis is a combination of the fitted knees, so that their inner products are enough: as
    fast for 512 features as for 32. The scores miss their mean only, which no measure needs.
    """
    share = weights / weights.sum()
    centred, root = less_mean(inner[test], share), np.sqrt(weights)
    last = len(share) - 1
    value, vector = eigh(root[:, None] * centred * root, subset_by_index=[last, last])
    if value[0] <= 0:
        return np.zeros(len(inner))
    return inner @ (root * vector[:, 0]) / np.sqrt(value[0])


def _direction(pc1: np.ndarray, kl: np.ndarray) -> float:
    """-1 where a score falls with the grade of the given knees, else 1."""
    return -1.0 if len(kl) and spearman(np.ones((1, len(kl))), pc1, kl)[0] < 0 else 1.0


def _slope(pc1: np.ndarray, kl: np.ndarray) -> float:
    """Sign of a logistic probe of OA on one score, which is all that its AUROC depends on.

    It is the sign of their covariance: the gradient of the loss where the slope is zero.
    """
    oa = oa_from_kl(kl)
    return float(np.sign(((pc1 - pc1.mean()) * (oa - oa.mean())).sum()))


def _fitted_auc(axis: Axis, kl: npt.ArrayLike, test: npt.ArrayLike) -> float:
    """AUROC of the probe on the training knees, on which it is fitted."""
    train = ~np.asarray(test, dtype=bool)
    pc1, grade = axis.scores[train, 0], np.asarray(kl, dtype=int)[train]
    if np.isnan(axis.share):
        return np.nan
    score = _slope(pc1, grade) * pc1
    return float(auc(np.ones((1, len(grade))), oa_from_kl(grade) == 1, score).item())


def _checked(
    features: npt.ArrayLike, kl: npt.ArrayLike, test: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features as float64, grades as int and the split as bool; refuse what cannot be used."""
    x, held_out = np.asarray(features, dtype=np.float64), np.asarray(test, dtype=bool)
    grade = pd.Series(kl).to_numpy(dtype=np.float64, na_value=np.nan)
    if x.ndim != 2 or not len(x) == len(grade) == len(held_out):
        shapes = f"{x.shape}, {grade.shape} and {held_out.shape}"
        raise InputError(f"features, grades and split have shapes {shapes}; give a row a knee")
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).any(axis=1).sum())
        raise InputError(f"features of {bad} knees are not finite; train that model again")
    if not np.isin(grade, np.arange(N_GRADES)).all():
        raise InputError("a knee has no KL grade of 0 to 4; leave such knees out")
    return x, grade.astype(int), held_out
