"""The first principal axis, on features that are made to have a known one."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, spearmanr
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from oacore.errors import InputError
from oacore.instruments.axis.axis import (
    MEASURES,
    PROTOCOLS,
    fit_axis,
    geometry_values,
    pc_scores,
    read_features,
    severity_axes,
    severity_axis,
    severity_geometry,
)
from oacore.instruments.axis.spread import DISTANCES, class_centroids
from oacore.metrics.resampling import estimates, resample_counts
from tests.helpers import reseal


def made(seed=0, n=120):
    rng = np.random.default_rng(seed)
    kl = rng.integers(0, 5, n)
    along = kl + rng.normal(0, 0.5, n)
    features = np.outer(along, [3.0, 2.0, -1.0]) + rng.normal(0, 0.1, (n, 3))
    return features, kl, np.arange(n) >= 80, along


def noisy(seed=0, n=150, n_features=7):
    rng = np.random.default_rng(seed)
    kl = rng.permutation(np.arange(n) % 5)
    features = rng.normal(size=(n, n_features)) * [5, 1, 1, 1, 1, 1, 1]
    features[:, 1:5] += kl[:, None]
    return features, kl, np.arange(n) >= 90


def once(n):
    return np.ones((1, n))


# As the chapters call it


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
        (folder / "done.json").write_text("{}")
        reseal(folder)
        expected[seed] = severity_axis(features, *labels, "train")
    axes = severity_axes(tmp_path, cases, "train")
    assert axes[["backbone", "supervision", "seed"]].to_numpy().tolist() == [
        ["resnet3d", "dual", 0],
        ["resnet3d", "dual", 1],
    ]
    for row in axes.to_dict("records"):
        for key, value in expected[row["seed"]].items():
            assert row[key] == pytest.approx(value, abs=1e-12)
    run, features, own = next(iter(read_features(tmp_path, cases)))
    assert run == {"backbone": "resnet3d", "supervision": "dual", "seed": 0}
    assert own.index.tolist() == list(range(120)) and features.shape == (120, 3)


# The two protocols, written out with scikit-learn


def written_out(features, kl, test, protocol):
    """Table 2's figures by scikit-learn and scipy, a step a line."""
    fitted = test if protocol == "as printed" else ~test
    values = features
    if protocol == "train-fit":
        values = StandardScaler().fit(features[fitted]).transform(features)
    pca = PCA(1, svd_solver="full").fit(values[fitted])
    pc1 = pca.transform(values)[:, 0].round(10)  # so that a knee drawn twice ties with itself
    pc1 = pc1 * np.sign(spearmanr(pc1[~test], kl[~test]).statistic)
    probe = LogisticRegression().fit(pc1[fitted, None], kl[fitted] >= 2)
    centroids = np.array([values[test & (kl == k)].mean(axis=0) for k in range(5)])
    apart = np.linalg.norm(np.diff(centroids, axis=0), axis=1)
    return {
        "evr_pc1": pc1[test].var() / values[test].var(axis=0).sum(),
        "rho_kl": spearmanr(pc1[test], kl[test]).statistic,
        "rho_oa": spearmanr(pc1[test], kl[test] >= 2).statistic,
        "oa_auc": roc_auc_score(kl[test] >= 2, probe.decision_function(pc1[test, None])),
        **dict(zip(DISTANCES, apart, strict=True)),
        "rho_d_adj": spearmanr(np.arange(4), apart).statistic,
    }, pca.explained_variance_ratio_[0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_both_protocols_are_those_of_scikit_learn(protocol, seed):
    features, kl, test = noisy(seed)
    expected, share = written_out(features, kl, test, protocol)
    found = geometry_values(features, kl, test, once(60), protocol)
    assert list(found) == list(MEASURES)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, abs=1e-9), name
    assert fit_axis(features, kl, test, protocol).share == pytest.approx(share)
    if protocol == "as printed":
        assert found["evr_pc1"].item() == pytest.approx(share)


def test_the_protocols_differ_where_one_feature_is_large():
    features, kl, test = noisy()
    features[:, 0] *= 20  # about nothing
    printed, ours = (
        geometry_values(features, kl, test, once(60), name)["rho_kl"].item()
        for name in ("as printed", "train-fit")
    )
    assert ours > 0.8 > 0.5 > printed


@pytest.mark.parametrize("n_features", [7, 200])
def test_a_resample_as_printed_is_the_analysis_of_its_own_knees(n_features):
    features, kl, test = noisy()
    extra = np.random.default_rng(5).normal(size=(150, n_features - 7))
    features = np.hstack([features, extra])
    counts = resample_counts(60, 4, 0)
    found = geometry_values(features, kl, test, counts, "as printed")
    for b, drawn in enumerate(counts):
        again = np.repeat(np.flatnonzero(test), drawn.astype(int))
        order = np.concatenate([np.flatnonzero(~test), again])
        expected, _ = written_out(features[order], kl[order], np.arange(150) >= 90, "as printed")
        for name, value in expected.items():
            assert found[name][b] == pytest.approx(value, abs=1e-8), name


def test_a_resample_under_train_fit_keeps_the_axis():
    features, kl, test = noisy()
    counts = resample_counts(60, 5, 0)
    found = geometry_values(features, kl, test, counts)
    pc1 = pc_scores(features, kl, test)[test, 0]
    for b, drawn in enumerate(counts.astype(int)):
        score, grade = np.repeat(pc1, drawn), np.repeat(kl[test], drawn)
        assert found["rho_kl"][b] == pytest.approx(spearmanr(score, grade).statistic)
        assert found["oa_auc"][b] == pytest.approx(roc_auc_score(grade >= 2, score))


# Closed forms


def test_share_rho_and_auroc_of_a_gaussian_are_those_of_their_formulas():
    # OA shifts one of four independent features by delta; its share and AUROC are known.
    rng = np.random.default_rng(0)
    n, delta = 4_000, 3.0
    kl = rng.choice([1, 2], n)
    features = rng.normal(size=(n, 4))
    features[:, 2] += delta * (kl == 2)
    test = np.arange(n) >= n // 2
    features = np.vstack([features, features[-3:]])  # one knee of each other grade
    kl, test = np.append(kl, [0, 3, 4]), np.append(test, [True] * 3)
    once_each = once(int(test.sum()))
    once_each[:, -3:] = 0
    found = geometry_values(features, kl, test, once_each, "as printed")
    variance = 1 + delta**2 / 4
    assert found["evr_pc1"].item() == pytest.approx(variance / (variance + 3), abs=0.02)
    auroc = norm.cdf(delta / np.sqrt(2))
    assert found["oa_auc"].item() == pytest.approx(auroc, abs=0.01)
    # Spearman's rho with a halved binary label: sqrt(3) (AUROC - 1/2).
    assert found["rho_oa"].item() == pytest.approx(np.sqrt(3) * (auroc - 0.5), abs=0.02)
    assert found["d_12"].item() == pytest.approx(delta, abs=0.1)
    assert np.isnan(found["d_01"]).all() and np.isnan(found["rho_d_adj"]).all()


@pytest.mark.parametrize(
    ("steps", "rho"), [((1, 2, 3, 4), 1), ((4, 3, 2, 1), -1), ((2, 1, 4, 3), 0.6), ((1,) * 4, None)]
)
def test_centroids_at_given_distances(steps, rho):
    rng = np.random.default_rng(0)
    kl = np.tile(np.arange(5), 60)
    within = rng.normal(0, 0.3, size=(60, 1, 3))
    within = within - within.mean(axis=0)  # each grade's knees lie about its place
    places = np.concatenate([[0], np.cumsum(steps)])[:, None] * np.array([2, 1, 2]) / 3
    features = (places[None] + within).reshape(-1, 3)
    test = np.arange(300) >= 150
    features[~test] = features[test]
    features[test] -= 7
    found = geometry_values(features, kl, test, once(150), "as printed")
    at = np.stack([features[test & (kl == k)].mean(axis=0) for k in range(5)])
    np.testing.assert_allclose(class_centroids(once(150), features[test], kl[test])[0], at)
    expected = np.linalg.norm(np.diff(at, axis=0), axis=1)
    np.testing.assert_allclose([found[name].item() for name in DISTANCES], expected)
    np.testing.assert_allclose(expected, steps, atol=1e-9)
    if rho is not None:
        assert found["rho_d_adj"].item() == pytest.approx(rho)


# Signs


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_sign_is_that_of_the_training_split(protocol):
    features, kl, test = noisy()
    as_it_is = geometry_values(features, kl, test, once(60), protocol)
    turned = geometry_values(-features, kl, test, once(60), protocol)
    for name in MEASURES:
        assert turned[name].item() == pytest.approx(as_it_is[name].item()), name
    assert as_it_is["rho_kl"].item() > 0
    # Severity shows the other way round in the test knees: the correlation says so.
    features, kl, test, _ = made()
    mirrored = np.where(test[:, None], -features, features)
    assert geometry_values(mirrored, kl, test, once(40), protocol)["rho_kl"].item() < -0.5
    pc = pc_scores(features, kl, test, protocol)
    assert pc.shape == (120, 2) and spearmanr(pc[~test, 0], kl[~test]).statistic > 0


def test_a_probe_fitted_on_training_knees_can_be_worse_than_a_coin():
    features, kl, test, _ = made()
    mirrored = np.where(test[:, None], -features, features)
    assert geometry_values(mirrored, kl, test, once(40))["oa_auc"].item() < 0.3
    assert geometry_values(mirrored, kl, test, once(40), "as printed")["oa_auc"].item() > 0.7


# Intervals


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_figure_has_its_interval(protocol):
    features, kl, test = noisy()
    table = severity_geometry(features, kl, test, protocol, n_resamples=100, seed=0)
    assert list(table.columns) == ["measure", "value", "low", "high", "n_undefined"]
    found = table.set_index("measure")
    expected, share = written_out(features, kl, test, protocol)
    of_measures = found["value"].drop(["evr_pc1_fit", "oa_auc_fit"], errors="ignore")
    assert of_measures.to_dict() == pytest.approx(expected)
    limits = found.loc[list(MEASURES), ["low", "high"]]
    assert (limits["low"] < limits["high"]).all()
    if protocol == "train-fit":
        assert found.loc["evr_pc1_fit", "value"] == pytest.approx(share)
        axis = make_pipeline(StandardScaler(), PCA(1), LogisticRegression())
        axis.fit(features[~test], kl[~test] >= 2)
        fitted = roc_auc_score(kl[~test] >= 2, axis.decision_function(features[~test]))
        assert found.loc["oa_auc_fit", "value"] == pytest.approx(fitted)
        limits = found.loc[["evr_pc1_fit", "oa_auc_fit"], ["low", "high"]]
        assert limits.isna().all(axis=None)
    else:
        assert not {"evr_pc1_fit", "oa_auc_fit"} & set(found.index)
    again = severity_geometry(features, kl, test, protocol, n_resamples=100, seed=0)
    pd.testing.assert_frame_equal(table, again)
    other = severity_geometry(features, kl, test, protocol, n_resamples=100, seed=1)
    assert (other["value"].dropna() == table["value"].dropna()).all()
    assert not other["low"].equals(table["low"])


def test_intervals_are_the_middle_of_the_resamples_and_models_can_be_subtracted():
    features, kl, test = noisy()
    counts = np.vstack([once(60), resample_counts(60, 300, 0)])
    one, other = (geometry_values(noisy(seed)[0], kl, test, counts) for seed in (0, 4))
    table = estimates({"rho_kl": other["rho_kl"] - one["rho_kl"]})
    drawn = (other["rho_kl"] - one["rho_kl"])[1:]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert table.loc[0, ["low", "high"]].tolist() == pytest.approx([low, high])
    assert table.loc[0, "value"] == other["rho_kl"][0] - one["rho_kl"][0]


# Input at its limits


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_constant_feature_changes_nothing_and_no_variance_gives_no_axis(protocol):
    features, kl, test = noisy()
    found = geometry_values(features, kl, test, once(60), protocol)
    with_constant = np.hstack([features, np.full((150, 1), 0.1)])
    for name, value in geometry_values(with_constant, kl, test, once(60), protocol).items():
        assert value.item() == pytest.approx(found[name].item())
    dead = geometry_values(np.full((150, 3), 0.1), kl, test, once(60), protocol)
    for name in ("evr_pc1", "rho_kl", "rho_oa", "oa_auc", "rho_d_adj"):
        assert np.isnan(dead[name]).all()
    assert not pc_scores(np.full((150, 3), 0.1), kl, test, protocol).any()
    assert np.isnan(severity_axis(np.full((150, 3), 0.1), kl, test, "train")["pc1_share"])
    table = severity_geometry(np.full((150, 3), 0.1), kl, test, protocol, n_resamples=1, seed=0)
    assert table.loc[table["measure"].str.endswith("_fit"), "value"].isna().all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_missing_grade_leaves_the_rest(protocol):
    features, kl, test = noisy()
    kl = np.where(test & (kl == 3), 2, kl)
    table = severity_geometry(features, kl, test, protocol, n_resamples=50, seed=0)
    found = table.set_index("measure")["value"]
    assert np.isnan(found[["d_23", "d_34", "rho_d_adj"]]).all()
    assert np.isfinite(found[["evr_pc1", "rho_kl", "rho_oa", "oa_auc", "d_01", "d_12"]]).all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_knee_a_grade_is_enough(protocol):
    features, kl, _ = noisy()
    test = np.arange(150) >= 145
    kl[test] = [3, 1, 4, 0, 2]
    found = severity_geometry(features, kl, test, protocol, n_resamples=50, seed=0)
    values = found.set_index("measure")["value"]
    scale = features[~test].std(axis=0) if protocol == "train-fit" else 1
    points = features[test][np.argsort(kl[test])] / scale
    np.testing.assert_allclose(
        values[list(DISTANCES)], np.linalg.norm(np.diff(points, axis=0), axis=1)
    )
    assert np.isfinite(values).all()


def test_input_that_cannot_be_used_is_refused_by_name():
    features, kl, test = noisy()
    broken = features.copy()
    broken[3, 2] = np.nan
    with pytest.raises(InputError, match="features of 1 knees are not finite"):
        severity_geometry(broken, kl, test, seed=0)
    with pytest.raises(InputError, match="no KL grade of 0 to 4"):
        severity_geometry(features, pd.array([None, *kl[1:]], dtype="Int64"), test, seed=0)
    with pytest.raises(InputError, match="no KL grade of 0 to 4"):
        severity_geometry(features, kl + 1, test, seed=0)
    with pytest.raises(InputError, match="give a row a knee"):
        severity_geometry(features[1:], kl, test, seed=0)
    with pytest.raises(InputError, match="protocol is 'printed'"):
        severity_geometry(features, kl, test, "printed", seed=0)
    with pytest.raises(InputError, match="no training knee"):
        severity_geometry(features, kl, np.ones(150, bool), "as printed", seed=0)
    with pytest.raises(InputError, match="0 train knees"):
        severity_geometry(features, kl, np.ones(150, bool), seed=0)
    with pytest.raises(InputError, match="2 components of 1 features"):
        pc_scores(features[:, :1], kl, test)
