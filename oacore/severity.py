"""The severity axis: the first principal component of a model's features, against the grade."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from oacore.errors import InputError
from oacore.hierarchy import oa_from_kl


def severity_axis(
    features: np.ndarray, kl: np.ndarray, test: np.ndarray, fit: str
) -> dict[str, float]:
    """First principal axis of the features, judged on the test knees (section 3.5.2).

    Parameters
    ----------
    features : ndarray, shape (n, n_features)
    kl : ndarray of int, shape (n,)
        Grades.
    test : ndarray of bool, shape (n,)
        Which knees are of the test split.
    fit : {"train", "test"}
        On which knees the axis is fitted: "train" scales the features and is the released
        re-analysis, "test" is the paper's text, where an axis is judged on its own knees.

    Returns
    -------
    dict
        `pc1_share` of the variance of the knees it is fitted on, `rho_kl` (absolute Spearman
        correlation) and `oa_auc`; NaN where no feature varies. A logistic probe on one number has
        its AUC up to the sign, and the sign is that of the covariance on the fitted knees.
    """
    if fit not in ("train", "test"):
        raise InputError(f'severity_axis: fit is {fit!r}; give "train" or "test"')
    fitted = test if fit == "test" else ~test
    if not features[fitted].std(axis=0).any():
        return {"pc1_share": np.nan, "rho_kl": np.nan, "oa_auc": np.nan}
    pca = PCA(n_components=1, svd_solver="full")
    axis = pca if fit == "test" else make_pipeline(StandardScaler(), pca)
    values = axis.fit(features[fitted].astype(float)).transform(features.astype(float))[:, 0]
    oa = oa_from_kl(kl)
    sign = np.sign(np.cov(values[fitted], oa[fitted])[0, 1])
    return {
        "pc1_share": float(pca.explained_variance_ratio_[0]),
        "rho_kl": abs(float(spearmanr(values[test], kl[test]).statistic)),
        "oa_auc": float(roc_auc_score(oa[test], sign * values[test])),
    }
