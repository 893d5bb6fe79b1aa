"""Geometry of a model's features that five centroids cannot fake, measured on single knees.

Table 2 of arXiv:2605.00718 sums up how the grades are ordered in four distances, whose rank
correlation with their order has 11 values (:func:`.ranks.attainable_rhos`). The
measures here look at every knee:

- triplets: of two knees, is the one that is nearer in grade nearer in the features too?
- isotonic fit: how much of the grade is a rising function of PC1?
- probes: can the grade be read off, by planes or from the nearest neighbours?
- dimension: how many directions do the features fill, and how many does a neighbourhood?
- :func:`follows`: where the truth is known, does the axis follow it, or the reader's label?

Two models' features are compared by :mod:`oacore.instruments.axis.cka`.

All that is fitted is fitted on training knees and read on test knees, in the features as the
protocol "train-fit" scales them. ``counts`` of shape (B, m) say how often each of m test knees
occurs in each resample, as in :mod:`oacore.metrics.scores`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import chi2
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES, oa_from_kl
from oacore.instruments.axis.axis import fit_axis
from oacore.instruments.axis.ranks import partial_spearman, spearman, spearman_within
from oacore.instruments.axis.spread import by_name, centroid_distances, less_mean, variance
from oacore.metrics.resampling import draw_cases, estimates
from oacore.metrics.scores import accuracy, auc, macro_auc

#: Neighbours of the probe: about half of OAIZIB-CM's rarest training grade (46 knees).
N_NEIGHBOURS = 20


def structure(
    features: np.ndarray,
    kl: npt.ArrayLike,
    test: np.ndarray,
    *,
    n_resamples: int = 2000,
    seed: int,
) -> pd.DataFrame:
    """Measures of one model's features that do not rest on centroids, with 95% intervals.

    Parameters
    ----------
    features, kl, test
        As in :func:`.axis.fit_axis`.
    n_resamples, seed : int
        Of the bootstrap over test knees.

    Returns
    -------
    DataFrame
        `measure`, `value`, `low`, `high`, `n_undefined`, a row for each of

        - `triplets`: :func:`triplet_accuracy` of the grade, chance 1/2;
        - `isotonic_r2`: :func:`isotonic_r2` of the grade on PC1;
        - `linear_kl_auc`, `linear_kl_acc`, `linear_oa_auc`, `linear_oa_acc` and the same with
          `knn`: :func:`probes`;
        - `participation`: :func:`participation_ratio` of the test knees;
        - `two_nn`: :func:`two_nn` of the test knees, whose interval is not a bootstrap.
    """
    axis = fit_axis(features, kl, test)
    kl, test = np.asarray(kl, dtype=int), np.asarray(test, dtype=bool)
    points = axis.points[test]
    counts = draw_cases(len(points), n_resamples, seed)
    table = estimates(
        {
            "triplets": triplet_accuracy(counts, points, kl[test]),
            "isotonic_r2": isotonic_r2(counts, axis.scores[:, 0], kl, test),
            **probes(counts, axis.points, kl, test),
            "participation": participation_ratio(counts, points),
        }
    )
    dimension = pd.DataFrame([["two_nn", *two_nn(points), 0]], columns=table.columns)
    return pd.concat([table, dimension], ignore_index=True)


def shuffled_distances(
    points: np.ndarray, kl: npt.ArrayLike, *, n_shuffles: int = 1000, seed: int
) -> dict[str, np.ndarray]:
    """Table 2's distances between centroids when the grades are dealt out to the knees at random.

    Centroids of few knees lie apart though nothing tells the grades from each other: the expected
    squared distance is the total variance times 1/n_k + 1/n_k+1. Grades of unequal size so have
    an order of their own, and its correlation with 1 to 4 is not zero on average.

    Parameters
    ----------
    points : (m, n_features) array
    kl : (m,) int array
        Their grades, of which the shuffles keep the counts.
    n_shuffles, seed : int

    Returns
    -------
    dict of str to (n_shuffles,) array
        `d_01` to `d_34` and `rho_d_adj`, as in :func:`.axis.geometry_values`; NaN where
        no knee has a grade.
    """
    rng, grade = np.random.default_rng(seed), np.asarray(kl, dtype=int)
    once = np.ones((1, len(grade)))
    shuffles = (rng.permutation(grade) for _ in range(n_shuffles))
    return by_name(np.concatenate([centroid_distances(once, points, kl) for kl in shuffles]))


def triplet_accuracy(counts: np.ndarray, points: np.ndarray, severity: npt.ArrayLike) -> np.ndarray:
    """Share of triplets of knees whose distances agree with their severities.

    A triplet is a knee i and two others j, k with ``|s_i - s_j| < |s_i - s_k|``; it agrees if j is
    nearer to i than k is (Euclidean), and counts one half if both are equally far. Pairs that are
    equally far in severity make no triplet. Features without any order have 1/2.

    Parameters
    ----------
    counts : (B, m) array
    points : (m, n_features) array
    severity : (m,) array
        Grades, or a continuous severity.

    Returns
    -------
    (B,) float array in [0, 1]
        NaN where a resample has no triplet. A resample repeats knees, but a triplet is always of
        three different ones.
    """
    s = np.asarray(severity, dtype=float)
    apart = cdist(points, points)  # (m, m)
    # Halves and whole numbers below 2^23, for up to 2,896 knees: 32 bits hold them exactly.
    drawn = counts.astype(np.float32)
    agree, all_of_them = np.zeros(len(counts)), np.zeros(len(counts))
    for value in np.unique(s):
        gap = np.abs(s - value)
        nearer = gap[:, None] < gap  # (m, m), j by k
        same = counts[:, s == value]
        pairs = ((drawn @ nearer.astype(np.float32)) * drawn).sum(axis=1)
        # Of these pairs of j and k, those with j = i: it is nearest to itself.
        itself = (same**2).sum(axis=1) * counts[:, s != value].sum(axis=1)
        all_of_them += same.sum(axis=1) * pairs - itself
        for i in np.flatnonzero(s == value):
            d = apart[i]
            right = nearer * ((d[:, None] < d) + np.float32(0.5) * (d[:, None] == d))
            right[i] = 0
            agree += counts[:, i] * ((drawn @ right) * drawn).sum(axis=1)
    return agree / np.where(all_of_them > 0, all_of_them, np.nan)


def isotonic_r2(
    counts: np.ndarray, pc1: np.ndarray, severity: npt.ArrayLike, test: np.ndarray
) -> np.ndarray:
    """Share of the severity's variance that a rising function of PC1 explains.

    The function is that of least squares among all that never fall, fitted on the training knees
    (sklearn.isotonic; beyond their range it stays level) and read on the test knees.

    Parameters
    ----------
    counts : (B, m) array
    pc1 : (n,) array
        Of all knees, rising with the grade of the training knees.
    severity : (n,) array
        Grades, or a continuous severity.
    test : (n,) bool array

    Returns
    -------
    (B,) float array
        At most 1; below 0 where the mean of the test knees would have been nearer. NaN where
        the severity has one value.
    """
    s = np.asarray(severity, dtype=float)
    rising = IsotonicRegression(out_of_bounds="clip").fit(pc1[~test], s[~test])
    share = counts / counts.sum(axis=1, keepdims=True)
    y = s[test]
    error = share @ (y - rising.predict(pc1[test])) ** 2
    spread = variance(counts, y[:, None])
    return 1 - error / np.where(spread > 1e-12, spread, np.nan)


def probes(
    counts: np.ndarray, points: np.ndarray, kl: np.ndarray, test: np.ndarray
) -> dict[str, np.ndarray]:
    """AUROC of KL and OA read off the features, by planes and by neighbours.

    Linear: logistic regression (scikit-learn's L2 penalty, C = 1). Neighbours: the shares of each
    class among the 20 nearest training knees. Both trained on labels, whatever the model was
    trained on: a Single-OA model gets a probe of KL as well.

    Parameters
    ----------
    counts : (B, m) array
    points : (n, n_features) array
        Scaled features of all knees.
    kl : (n,) int array
    test : (n,) bool array

    Returns
    -------
    dict of str to (B,) float array
        `linear_kl_auc` (macro, one versus rest), `linear_kl_acc`, `linear_oa_auc`,
        `linear_oa_acc`; the same with `knn`.
    """
    values = {}
    train = ~test
    neighbours = min(N_NEIGHBOURS, int(train.sum()))
    for name, probe in (
        ("linear", LogisticRegression(max_iter=10_000)),
        ("knn", KNeighborsClassifier(neighbours)),
    ):
        for label in ("kl", "oa"):
            target = kl if label == "kl" else oa_from_kl(kl)
            classes = np.unique(target[train])
            if len(classes) < 2:
                raise InputError(f"probes: all training knees have one {label} label; add others")
            probe.fit(points[train], target[train])
            prob = np.zeros((int(test.sum()), N_GRADES))  # a grade never trained stays at 0
            prob[:, classes] = probe.predict_proba(points[test])
            of_label = (
                macro_auc(counts, kl[test], prob)
                if label == "kl"
                else auc(counts, target[test] == 1, prob[:, 1])
            )
            values[f"{name}_{label}_auc"] = of_label
            said = prob.argmax(axis=1)  # on a tie the lower grade, as scikit-learn has it
            values[f"{name}_{label}_acc"] = accuracy(counts, target[test], said)
    return values


def participation_ratio(counts: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Number of directions that the variance fills: (sum of eigenvalues)^2 / sum of their squares.

    d for equal variances in d directions, 1 on a line. Few knees and repeated ones fill fewer.

    Parameters
    ----------
    counts : (B, m) array
    points : (m, n_features) array

    Returns
    -------
    (B,) float array
        NaN where nothing varies.
    """
    centred = points - points.mean(axis=0)
    inner = centred @ centred.T  # (m, m), whose eigenvalues are those of the scatter matrix
    out = np.full(len(counts), np.nan)
    for b, drawn in enumerate(counts):
        share = drawn / drawn.sum()
        own = less_mean(inner, share)
        trace = share @ np.diag(own)
        squares = share @ own**2 @ share  # sum of squared eigenvalues of the covariance
        if squares > 0:
            out[b] = trace**2 / squares
    return out


def two_nn(points: np.ndarray) -> tuple[float, float, float]:
    """Intrinsic dimension from the two nearest neighbours of each knee, with its 95% interval.

    With r1 < r2 their distances, mu = r2 / r1 has density ``d mu^(-d - 1)`` where points are
    spread evenly over a d-dimensional neighbourhood, whatever the density (Facco et al. 2017,
    doi:10.1038/s41598-017-11873-y). So log(mu) is exponential with rate d: the unbiased estimate
    is (N - 1) / sum(log mu), and 2 d sum(log mu) is chi-square with 2 N degrees of freedom (Denti
    et al. 2022, doi:10.1038/s41598-022-20991-1). Facco fits a line instead, without the largest
    tenth of the ratios.

    Parameters
    ----------
    points : (m, n_features) array
        Identical points count once: a bootstrap, which repeats them, cannot be used here.

    Returns
    -------
    dimension, low, high : float
        NaN with fewer than three different points. In a space of many dimensions few points cannot
        tell: the estimate is then too low. The interval takes the knees for independent, but they
        share neighbours: among 100 points in a square 87% of the 95% intervals hold the 2.
    """
    distinct = np.unique(np.asarray(points, dtype=float), axis=0)
    n = len(distinct)
    if n < 3:
        return np.nan, np.nan, np.nan
    nearest = np.partition(cdist(distinct, distinct), 2, axis=1)  # 0, r1, r2, the others
    total = np.log(nearest[:, 2] / nearest[:, 1]).sum()
    if total == 0:  # a regular grid
        return np.nan, np.nan, np.nan
    low, high = chi2.ppf(np.array([1 - 0.95, 1 + 0.95]) / 2, 2 * n) / (2 * total)
    return float((n - 1) / total), float(low), float(high)


def follows(
    pc1: np.ndarray,
    severity: np.ndarray,
    true_grade: np.ndarray,
    label: np.ndarray,
    *,
    n_resamples: int = 2000,
    seed: int,
) -> pd.DataFrame:
    """Correlations of an axis with the true severity and with the reader's label, on phantom knees.

    The reader's errors are in no image. So an axis that was learned from noisy labels, but shows
    what the images show, is uncorrelated with the label once the truth is known; on training
    knees a network can have learned the errors by heart.

    Parameters
    ----------
    pc1 : (n,) array
        Of the knees in question, rising with severity.
    severity, true_grade, label : (n,) arrays
        Continuous true severity; the true grade, which is that rounded; the grade as read.
    n_resamples, seed : int
        Of the bootstrap over these knees.

    Returns
    -------
    DataFrame
        `measure`, `value`, `low`, `high`: Spearman's correlations of PC1

        - `rho_severity`, `rho_true_grade`, `rho_label`;
        - `grade_minus_label`: the second minus the third. A grade has ties, so that a correlation
          with it cannot reach 1: the continuous severity is not compared with the label;
        - `severity_given_label`, `label_given_severity`: partial ones, along lines of ranks
          (:func:`.ranks.partial_spearman`);
        - `severity_within_label`, `label_within_grade`: among knees of one label, or of one true
          grade (:func:`.ranks.spearman_within`). The last is zero, but for chance, for any
          axis that shows the images alone, however it bends along the truth.

    Raises
    ------
    InputError
        On lengths that differ, or a value that is not finite.
    """
    values = [np.asarray(v, dtype=float) for v in (pc1, severity, true_grade, label)]
    if {v.shape for v in values} != {values[0].shape} or values[0].ndim != 1:
        raise InputError(f"follows: shapes {[v.shape for v in values]}; give a number a knee")
    if not all(np.isfinite(v).all() for v in values):
        raise InputError("follows: a value is missing or not finite; leave that knee out")
    axis, truth, grade, read = values
    counts = draw_cases(len(axis), n_resamples, seed)
    of_grade, of_label = spearman(counts, axis, grade), spearman(counts, axis, read)
    return estimates(
        {
            "rho_severity": spearman(counts, axis, truth),
            "rho_true_grade": of_grade,
            "rho_label": of_label,
            "grade_minus_label": of_grade - of_label,
            "severity_given_label": partial_spearman(counts, axis, truth, read),
            "label_given_severity": partial_spearman(counts, axis, read, truth),
            "severity_within_label": spearman_within(counts, axis, truth, read),
            "label_within_grade": spearman_within(counts, axis, read, grade),
        }
    )


def embed(features: np.ndarray, seed: int, perplexity: float = 30) -> np.ndarray:
    """Map of the knees by t-SNE, for the eye alone: distances and sizes in it mean nothing.

    Parameters
    ----------
    features : (n, n_features) array
        Scaled to unit variance here, all knees together.
    seed : int
        Of t-SNE, which starts from the first two principal components.
    perplexity : float
        About how many neighbours each knee keeps; at most a third of the other knees is taken.

    Returns
    -------
    (n, 2) array

    Notes
    -----
    van der Maaten and Hinton 2008, https://jmlr.org/papers/v9/vandermaaten08a.html.
    """
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or len(x) < 4 or x.shape[1] < 2 or not np.isfinite(x).all():
        raise InputError(
            f"embed: features of shape {x.shape}; give finite ones, at least 2 of at least 4 knees"
        )
    tsne = TSNE(
        perplexity=min(perplexity, (len(x) - 1) / 3), init="pca", random_state=seed, n_jobs=1
    )
    return tsne.fit_transform(StandardScaler().fit_transform(x)).astype(np.float64)
