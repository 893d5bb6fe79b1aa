"""The severity axis: the first principal component of a model's features, against the grade."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
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


def severity_axes(runs: str | Path, cases: pd.DataFrame, fit: str) -> pd.DataFrame:
    """First principal axis of every finished run of a folder, a row each.

    Parameters
    ----------
    runs : path-like
    cases : DataFrame
        ``case_id``, ``kl``, ``split`` of the cohort on which the runs were trained.
    fit : {"train", "test"}
        As in :func:`severity_axis`.

    Returns
    -------
    DataFrame
        backbone, supervision, seed, and what :func:`severity_axis` returns.
    """
    by_case = cases.set_index("case_id")
    rows = []
    for path in sorted(Path(runs).glob("*/*/seed*/features.npz")):
        backbone, supervision, seed = path.parts[-4:-1]
        with np.load(path) as file:
            features, own = file["features"], by_case.loc[file["case_id"]]
        test = (own["split"] == "test").to_numpy()
        axis = severity_axis(features, own["kl"].to_numpy(int), test, fit)
        place = {"backbone": backbone, "supervision": supervision}
        rows.append({**place, "seed": int(seed.removeprefix("seed")), **axis})
    return pd.DataFrame(rows)
