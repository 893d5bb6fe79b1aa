"""The first principal axis, on features that are made to have a known one."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from oacore.severity import severity_axes, severity_axis


def made(seed=0, n=120):
    rng = np.random.default_rng(seed)
    kl = rng.integers(0, 5, n)
    along = kl + rng.normal(0, 0.5, n)
    features = np.outer(along, [3.0, 2.0, -1.0]) + rng.normal(0, 0.1, (n, 3))
    return features, kl, np.arange(n) >= 80, along


@pytest.mark.parametrize("fit", ["train", "test"])
def test_an_axis_that_is_there_is_found(fit):
    features, kl, test, along = made()
    axis = severity_axis(features, kl, test, fit)
    assert axis["rho_kl"] == pytest.approx(spearmanr(along[test], kl[test]).statistic, abs=0.02)
    assert axis["oa_auc"] == pytest.approx(roc_auc_score(kl[test] >= 2, along[test]), abs=0.02)
    if fit == "test":
        assert axis["pc1_share"] > 0.99


def test_axes_of_a_folder_of_runs_are_those_of_its_features(tmp_path):
    cases = pd.DataFrame({"case_id": np.arange(120)[::-1]})
    expected = {}
    for seed in (0, 1):
        features, kl, test, _ = made(seed)
        if seed == 0:
            order = cases["case_id"].to_numpy()
            cases["kl"], cases["split"] = kl[order], np.where(test[order], "test", "train")
            labels = kl, test
        folder = tmp_path / f"resnet3d/dual/seed{seed}"
        folder.mkdir(parents=True)
        np.savez(folder / "features.npz", case_id=np.arange(120), features=features)
        expected[seed] = severity_axis(features, *labels, "train")
    axes = severity_axes(tmp_path, cases, "train")
    assert axes[["backbone", "supervision", "seed"]].to_numpy().tolist() == [
        ["resnet3d", "dual", 0],
        ["resnet3d", "dual", 1],
    ]
    for row in axes.to_dict("records"):
        for key, value in expected[row["seed"]].items():
            assert row[key] == pytest.approx(value, abs=1e-12)
