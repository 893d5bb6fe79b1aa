"""Measures of the features' geometry, on features that are made to have known values."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import skdim
from scipy.stats import rankdata, spearmanr
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from oacore.errors import InputError
from oacore.instruments.axis import shape as geometry
from oacore.instruments.axis.axis import fit_axis
from oacore.instruments.axis.cka import cka_matrix, cka_pairs, linear_cka, supervision_test
from oacore.instruments.axis.ranks import partial_spearman, spearman, spearman_within
from oacore.metrics.resampling import resample_counts


def once(n):
    return np.ones((1, n))


def repeated(values, counts):
    return np.repeat(values, counts.astype(int), axis=0)


def graded_features(seed=0, n=300, n_features=6):
    rng = np.random.default_rng(seed)
    kl = rng.permutation(np.arange(n) % 5)
    features = rng.normal(size=(n, n_features))
    features[:, :3] += 0.8 * kl[:, None]
    return features, kl, np.arange(n) >= 200


# Ranks


def test_rank_correlations_of_resamples_are_those_of_repeated_cases():
    rng = np.random.default_rng(0)
    a, b, group = rng.integers(0, 12, 40), rng.integers(0, 5, 40), rng.integers(0, 3, 40)
    counts = resample_counts(40, 20, 1)
    whole = spearman(counts, a, b)
    partial = partial_spearman(counts, a, b, group)
    within = spearman_within(counts, a, b, group)
    for i, drawn in enumerate(counts):
        x, y, z = (repeated(v, drawn) for v in (a, b, group))
        assert whole[i] == pytest.approx(spearmanr(x, y).statistic)
        rx, ry, rz = (rankdata(v) for v in (x, y, z))
        dummies = (z[:, None] == np.arange(3)).astype(float)
        for found, design in ((partial[i], rz[:, None]), (within[i], dummies)):
            left = [r - LinearRegression().fit(design, r).predict(design) for r in (rx, ry)]
            assert found == pytest.approx(np.corrcoef(*left)[0, 1])


def test_a_constant_has_no_rank_correlation():
    a, b, same = np.arange(6.0), np.array([1.0, 0, 2, 3, 5, 4]), np.zeros(6)
    assert np.isnan(spearman(once(6), a, same))[0]
    assert np.isnan(partial_spearman(once(6), a, b, a))[0]
    assert np.isnan(spearman_within(once(6), a, b, np.arange(6)))[0]
    assert spearman_within(once(6), a, b, same) == pytest.approx(spearmanr(a, b).statistic)


# Triplets


def triplets_by_brute_force(points, severity):
    right, n = 0.0, 0
    for i, j, k in permutations(range(len(points)), 3):
        if abs(severity[i] - severity[j]) < abs(severity[i] - severity[k]):
            near, far = (np.linalg.norm(points[i] - points[o]) for o in (j, k))
            right, n = right + (near < far) + 0.5 * (near == far), n + 1
    return right / n


def test_triplets_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    points = rng.integers(0, 4, size=(16, 1)).astype(float)  # on a line, with ties
    kl, severity = rng.integers(0, 5, 16), rng.uniform(0, 4, 16)
    for s in (kl, severity):
        found = geometry.triplet_accuracy(once(16), points, s)
        assert found == pytest.approx(triplets_by_brute_force(points, s), abs=1e-12)


def test_triplets_of_a_resample_weigh_three_different_knees():
    rng = np.random.default_rng(1)
    points, kl = rng.normal(size=(9, 3)), rng.integers(0, 5, 9)
    counts = resample_counts(9, 3, 0)
    for found, drawn in zip(geometry.triplet_accuracy(counts, points, kl), counts, strict=True):
        right = n = 0.0
        for i, j, k in permutations(range(9), 3):
            if abs(kl[i] - kl[j]) < abs(kl[i] - kl[k]):
                weight = drawn[i] * drawn[j] * drawn[k]
                near, far = (np.linalg.norm(points[i] - points[o]) for o in (j, k))
                right, n = right + weight * (near < far), n + weight
        assert found == pytest.approx(right / n)


def test_triplets_are_all_right_on_a_line_and_half_right_in_noise():
    kl = np.arange(100) % 5
    assert geometry.triplet_accuracy(once(100), 3.0 * kl[:, None], kl) == 1
    noise = np.random.default_rng(0).normal(size=(100, 8))
    assert geometry.triplet_accuracy(once(100), noise, kl)[0] == pytest.approx(0.5, abs=0.03)
    assert geometry.triplet_accuracy(once(100), np.zeros((100, 8)), kl) == 0.5
    assert np.isnan(geometry.triplet_accuracy(once(100), noise, np.zeros(100)))[0]


def test_folded_grades_have_rising_distances_but_not_the_triplets():
    # The neighbours' distances are 1, 2, 3, 4: rho(k, d_adj) is 1, and 4 lies opposite to 3.
    kl = np.arange(50) % 5
    folded = np.array([0.0, 1, -1, 2, -2])[kl][:, None]
    share = geometry.triplet_accuracy(once(50), folded, kl)[0]
    assert share == pytest.approx(triplets_by_brute_force(folded, kl)) and share < 0.7


# Isotonic fit


def test_isotonic_fit_is_that_of_scikit_learn_read_on_the_test_knees():
    features, kl, test = graded_features()
    pc1 = fit_axis(features, kl, test).scores[:, 0]
    counts = np.vstack([once(100), resample_counts(100, 4, 0)])
    fit = IsotonicRegression(increasing=True, out_of_bounds="clip").fit(pc1[~test], kl[~test])
    found = geometry.isotonic_r2(counts, pc1, kl, test)
    for value, drawn in zip(found, counts, strict=True):
        y, said = repeated(kl[test], drawn), repeated(fit.predict(pc1[test]), drawn)
        assert value == pytest.approx(r2_score(y, said))
    assert 0.3 < found[0] < 0.9


def test_any_rising_function_is_a_perfect_isotonic_fit_and_a_falling_one_is_none():
    severity = np.random.default_rng(0).uniform(0, 4, 400)
    test = np.arange(400) >= 200
    assert geometry.isotonic_r2(once(200), np.exp(severity), severity, test) > 0.999
    assert geometry.isotonic_r2(once(200), -severity, severity, test) < 0.05
    assert np.isnan(geometry.isotonic_r2(once(200), severity, np.ones(400), test))[0]


# Probes


def test_probes_are_those_of_scikit_learn():
    features, kl, test = graded_features()
    found = geometry.probes(once(100), fit_axis(features, kl, test).points, kl, test)
    own = {"linear": LogisticRegression(max_iter=10_000), "knn": KNeighborsClassifier(20)}
    for name, probe in own.items():
        pipe = make_pipeline(StandardScaler(), probe)
        pipe.fit(features[~test], kl[~test])
        prob = pipe.predict_proba(features[test])
        assert found[f"{name}_kl_auc"] == pytest.approx(
            roc_auc_score(kl[test], prob, multi_class="ovr")
        )
        assert found[f"{name}_kl_acc"] == accuracy_score(kl[test], pipe.predict(features[test]))
        pipe.fit(features[~test], kl[~test] >= 2)
        prob = pipe.predict_proba(features[test])[:, 1]
        assert found[f"{name}_oa_auc"] == pytest.approx(roc_auc_score(kl[test] >= 2, prob))
        assert found[f"{name}_oa_acc"] == accuracy_score(
            kl[test] >= 2, pipe.predict(features[test])
        )


def test_a_grade_that_was_never_trained_is_never_predicted():
    features, kl, test = graded_features()
    keep = test | (kl != 3)
    found = geometry.probes(once(100), features[keep], kl[keep], test[keep])
    assert found["linear_kl_acc"] <= (kl[test] != 3).mean()
    assert np.isfinite(found["knn_kl_auc"])
    with pytest.raises(InputError, match="one oa label"):
        geometry.probes(once(100), features, np.where(test, 4, kl % 2), test)


# Dimension


def test_participation_ratio_of_a_known_spectrum():
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(60, 4))
    orthogonal = np.linalg.qr(drawn - drawn.mean(axis=0))[0]  # centred, orthonormal
    spread = np.array([2.0, 1.0, 1.0, 0.5])
    eigenvalues = spread**2
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert geometry.participation_ratio(once(60), 5 + orthogonal * spread) == pytest.approx(
        expected
    )
    points, counts = rng.normal(size=(30, 5)), resample_counts(30, 3, 0)
    for found, drawn in zip(geometry.participation_ratio(counts, points), counts, strict=True):
        values = np.linalg.eigvalsh(np.cov(repeated(points, drawn).T))
        assert found == pytest.approx(values.sum() ** 2 / (values**2).sum())
    assert np.isnan(geometry.participation_ratio(once(30), np.ones((30, 2))))[0]


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_two_nn_finds_the_dimension_of_a_cube(dimension):
    rng = np.random.default_rng(dimension)
    flat = np.zeros((1500, 8))
    flat[:, :dimension] = rng.uniform(size=(1500, dimension))
    turned = flat @ np.linalg.qr(rng.normal(size=(8, 8)))[0]
    found, low, high = geometry.two_nn(turned)
    assert low < found < high
    assert found == pytest.approx(dimension, rel=0.1)
    assert geometry.two_nn(np.vstack([turned, turned]))[0] == found


def flat(rng, d):
    return rng.uniform(size=(800, d)) @ rng.normal(size=(d, 12))


def sphere(rng, d):
    x = rng.normal(size=(800, d + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def swiss_roll(rng, d):
    t, height = 1.5 * np.pi * (1 + 2 * rng.random(800)), 21 * rng.random((800, d - 1))
    return np.column_stack([t * np.cos(t), t * np.sin(t), height])


@pytest.mark.parametrize(("manifold", "d"), [(flat, 1), (flat, 2), (flat, 5), (sphere, 2),
                                             (sphere, 4), (swiss_roll, 2)])  # fmt: skip
def test_two_nn_is_that_of_scikit_dimension(manifold, d):
    points = manifold(np.random.default_rng(d), d)
    found, low, high = geometry.two_nn(points)
    # Theirs is the slope of a line, after Facco et al., without the largest tenth of the ratios;
    # without discarding any, and by another estimator, they agree to what sampling leaves open.
    facco = skdim.id.TwoNN().fit(points).dimension_
    likelihood = skdim.id.MLE(K=20).fit(points).dimension_
    assert found == pytest.approx(facco, rel=0.08)
    assert found == pytest.approx(likelihood, rel=0.15)
    assert found == pytest.approx(d, rel=0.15) and low < found < high


def test_the_interval_of_two_nn_is_a_little_too_short():
    rng = np.random.default_rng(0)
    held = [low < 2 < high for _, low, high in
            (geometry.two_nn(rng.uniform(size=(100, 2))) for _ in range(300))]  # fmt: skip
    assert 0.8 < np.mean(held) < 0.93  # as its notes say: knees share their neighbours
    assert np.isnan(geometry.two_nn(np.zeros((9, 3)))).all()


# CKA


def test_cka_knows_rotated_and_scaled_features():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6)) * [3, 2, 1, 1, 1, 1]
    y = 7 * x @ np.linalg.qr(rng.normal(size=(6, 6)))[0] + 4
    other = rng.normal(size=(40, 200))
    for debiased in (True, False):
        assert linear_cka(x, y, debiased) == pytest.approx(1)
        assert linear_cka(x, other, debiased) == pytest.approx(linear_cka(other, x, debiased))
    assert abs(linear_cka(x, other)) < 0.2 and linear_cka(x, other, debiased=False) > 0.2


def test_cka_is_that_of_its_definitions():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 4))
    y[:, 0] += x[:, 0]
    a, b = x - x.mean(0), y - y.mean(0)
    plain = np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert linear_cka(x, y, debiased=False) == pytest.approx(plain)

    def hsic(k, t):  # the U-statistic: the mean over four different knees
        total = 0.0
        for i, j, q, r in permutations(range(9), 4):
            total += k[i, j] * (t[i, j] + t[q, r] - 2 * t[i, q])
        return total

    k, t = x @ x.T, y @ y.T
    expected = hsic(k, t) / np.sqrt(hsic(k, k) * hsic(t, t))
    assert linear_cka(x, y) == pytest.approx(expected)


@pytest.mark.parametrize("constant", [0, 1 / 3, 0.1, 1000.1, -7.7e-9, 3e15, np.float32(0.1)])
@pytest.mark.parametrize("debiased", [True, False])
def test_features_that_do_not_vary_are_like_nothing(constant, debiased):
    x = np.random.default_rng(0).normal(size=(30, 4))
    for n in (4, 30):
        same = np.full((n, 3), constant)
        rows = np.tile(np.array([0.1, 1 / 3, constant]), (n, 1))
        for one, other in ((same, same), (same, rows), (same, x[:n]), (x[:n], rows)):
            assert np.isnan(linear_cka(one, other, debiased))


@pytest.mark.parametrize("scale", [1e-200, 1e-9, 1.0, 1e9, 1e150])
@pytest.mark.parametrize("constant", [0.1, 1000.1, 1 / 3])
def test_neither_scale_nor_constants_beside_change_cka(scale, constant):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 30, 4))
    beside = np.hstack([scale * x, np.full((30, 2), scale * constant)])
    for debiased in (True, False):
        assert linear_cka(beside, y, debiased) == pytest.approx(linear_cka(x, y, debiased))


def invented_runs(rng, n_seeds, effect, labels=("single_oa", "single_kl", "dual")):
    """Features whose seeds share something, and whose supervisions share `effect` of their own."""
    common, own = rng.normal(size=(20, 3)), {k: rng.normal(size=(20, 3)) for k in labels}
    return [
        ({"backbone": "m3t", "supervision": k, "seed": s},
         common + effect * own[k] + rng.normal(size=(20, 3)))
        for s in range(n_seeds) for k in labels
    ]  # fmt: skip


def test_a_supervision_that_shapes_features_is_found_as_surely_as_the_seeds_allow():
    rng = np.random.default_rng(0)
    for n_seeds, ways in ((2, 6), (3, 36), (4, 216)):
        runs = invented_runs(rng, n_seeds, effect=3)
        row = supervision_test(runs, seed=0).iloc[0]
        assert (row["seeds"], row["ways"]) == (n_seeds, ways)
        assert row["p_value"] == pytest.approx(1 / ways)
        means = cka_pairs(runs).groupby("differ")["cka"].mean()
        assert row["value"] == pytest.approx(means["seed"] - means["both"])
    row = supervision_test(invented_runs(rng, 1, effect=3), seed=0).iloc[0]
    assert row["seeds"] == 1 and np.isnan(row[["value", "p_value"]].to_numpy(float)).all()
    many = supervision_test(invented_runs(rng, 6, effect=3), seed=0).iloc[0]
    assert many["ways"] == 5000 and many["p_value"] < 0.01


def test_supervisions_that_do_nothing_are_seldom_told_apart():
    rng = np.random.default_rng(1)
    p = [supervision_test(invented_runs(rng, 3, 0), seed=0)["p_value"][0] for _ in range(80)]
    assert np.mean(np.array(p) <= 0.1) < 0.2 and np.mean(np.array(p) <= 0.5) < 0.65


def test_cka_of_all_models_is_a_symmetric_matrix():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(30, 4))
    matrix = cka_matrix({"a": x, "b": x[:, :2], "c": np.ones((30, 3))})
    assert list(matrix.columns) == ["a", "b", "c"]
    assert matrix.loc["a", "b"] == matrix.loc["b", "a"] == pytest.approx(linear_cka(x, x[:, :2]))
    assert matrix.loc["a", "a"] == pytest.approx(1) and matrix["c"].isna().all()
    with pytest.raises(InputError, match="30 and 29 knees"):
        cka_matrix({"a": x, "b": x[1:]})


def test_pairs_of_models_are_told_apart_by_what_differs():
    rng = np.random.default_rng(3)
    models = [
        ({"backbone": b, "supervision": k, "seed": seed}, rng.normal(size=(12, 3)))
        for b in ("m3t", "nnmamba") for k in ("single_kl", "dual") for seed in (0, 1)
    ]  # fmt: skip
    table = cka_pairs(models)
    counted = table.groupby(["backbone", "differ"]).size()
    assert counted["m3t"].to_dict() == {"seed": 2, "supervision": 2, "both": 2}
    assert len(table) == 12 and counted["nnmamba"].sum() == 6
    of = table[table["backbone"] == "m3t"].groupby("differ")["cka"].apply(list)
    x = [features for _, features in models[:4]]  # single_kl 0 and 1, dual 0 and 1
    assert of["seed"] == pytest.approx([linear_cka(x[0], x[1]), linear_cka(x[2], x[3])])
    assert of["supervision"] == pytest.approx([linear_cka(x[0], x[2]), linear_cka(x[1], x[3])])
    assert of["both"] == pytest.approx([linear_cka(x[0], x[3]), linear_cka(x[1], x[2])])
    with pytest.raises(InputError, match="comes twice"):
        cka_pairs([models[0], models[0]])


# Centroids by chance


def test_shuffled_distances_are_what_chance_leaves():
    rng = np.random.default_rng(0)
    sizes = [5, 40, 10, 80, 40]
    kl = np.repeat(np.arange(5), sizes)
    points = rng.normal(size=(len(kl), 4)) * [1, 2, 3, 1]
    found = geometry.shuffled_distances(points, kl, n_shuffles=2000, seed=0)
    spread = points.var(axis=0, ddof=1).sum()
    for k in range(4):
        squared = spread * (1 / sizes[k] + 1 / sizes[k + 1])  # sampling without replacement
        assert (found[f"d_{k}{k + 1}"] ** 2).mean() == pytest.approx(squared, rel=0.05)
    one = [found[f"d_{k}{k + 1}"][7] for k in range(4)]
    assert found["rho_d_adj"][7] == pytest.approx(spearmanr(range(4), one).statistic)
    # The first distance is the longest by chance and the last the shortest.
    assert found["rho_d_adj"].mean() < -0.5
    lacking = geometry.shuffled_distances(points[kl > 0], kl[kl > 0], n_shuffles=3, seed=0)
    assert np.isnan(lacking["rho_d_adj"]).all() and np.isfinite(lacking["d_12"]).all()


# Truth or label


def test_an_axis_follows_what_it_is_made_of():
    rng = np.random.default_rng(0)
    severity = rng.uniform(-0.5, 4.5, 600)
    grade = severity.round().clip(0, 4)
    label = (grade + rng.choice([-1, 0, 1], 600, p=[0.2, 0.6, 0.2])).clip(0, 4)

    def of(axis):
        table = geometry.follows(axis, severity, grade, label, n_resamples=300, seed=0)
        return table.set_index("measure")

    truth = of(np.exp(severity) + rng.normal(0, 0.5, 600))  # bent, and noisy
    by_heart = of(label + rng.normal(0, 0.5, 600))
    assert truth.loc["rho_true_grade", "value"] > truth.loc["rho_label", "value"]
    assert truth.loc["grade_minus_label", "low"] > 0 > by_heart.loc["grade_minus_label", "high"]
    assert truth.loc["label_within_grade", "low"] < 0 < truth.loc["label_within_grade", "high"]
    assert by_heart.loc["label_within_grade", "low"] > 0.4
    assert truth.loc["severity_within_label", "low"] > 0.5
    assert by_heart.loc["severity_within_label", "high"] < 0.2
    assert by_heart.loc["label_given_severity", "low"] > 0.5
    assert truth.loc["severity_given_label", "low"] > 0.5
    axis = np.exp(severity)
    exact = of(axis)["value"]
    assert exact["rho_severity"] == pytest.approx(1)
    assert exact["rho_label"] == pytest.approx(spearmanr(axis, label).statistic)
    assert exact["rho_true_grade"] == pytest.approx(spearmanr(axis, grade).statistic)


def test_what_follows_is_asked_of_whole_numbers_of_knees():
    good = np.arange(5.0)
    with pytest.raises(InputError, match="a number a knee"):
        geometry.follows(good, good, good, good[1:], seed=0)
    with pytest.raises(InputError, match="not finite"):
        geometry.follows(good, good, good, np.array([0, 1, 2, 3, np.nan]), seed=0)


# All of it


def test_structure_brings_all_measures_with_their_intervals():
    features, kl, test = graded_features()
    table = geometry.structure(features, kl, test, n_resamples=100, seed=0)
    assert list(table.columns) == ["measure", "value", "low", "high", "n_undefined"]
    found = table.set_index("measure")
    assert (found["low"] <= found["high"]).all() and len(found) == 12
    inside = found.drop(index="participation")  # repeated knees fill fewer directions
    assert ((inside["low"] <= inside["value"]) & (inside["value"] <= inside["high"])).all()
    points = StandardScaler().fit(features[~test]).transform(features)[test]
    of_two_nn = found.loc["two_nn", ["value", "low", "high"]]
    assert of_two_nn.tolist() == pytest.approx(geometry.two_nn(points))
    assert found.loc["triplets", "value"] == pytest.approx(
        geometry.triplet_accuracy(once(100), points, kl[test])[0]
    )
    again = geometry.structure(features, kl, test, n_resamples=100, seed=0)
    pd.testing.assert_frame_equal(table, again)


def test_a_map_is_the_same_twice_and_keeps_clusters_apart():
    rng = np.random.default_rng(0)
    group = np.arange(60) % 2
    features = rng.normal(size=(60, 5)) + 12 * group[:, None]
    spots = geometry.embed(features, seed=3, perplexity=10)
    assert spots.shape == (60, 2)
    assert np.array_equal(spots, geometry.embed(features, seed=3, perplexity=10))
    nearest = KNeighborsClassifier(2).fit(spots, group).score(spots, group)
    assert nearest == 1
    assert geometry.embed(features[:5], seed=0).shape == (5, 2)
    with pytest.raises(InputError, match="at least 4 knees"):
        geometry.embed(features[:3], seed=0)
