"""Dual against single, backbone against backbone, head against head, over several seeds."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from oacore.errors import InputError
from oacore.metrics.compare import (
    against_truth,
    compare_backbones,
    compare_effects,
    compare_supervisions,
    contradictions,
    effects_by_statistics,
    truth_minus_label,
)
from oacore.metrics.scores import METRICS, table1
from oacore.metrics.seeds import compare_by_seed, mean_over_seeds, seed_and_knee_interval

GRADES = [f"prob_kl_{k}" for k in range(5)]


def make_predictions(supervision, seed, n=60):
    rng = np.random.default_rng(seed)
    kl = np.arange(n) % 5
    prob = rng.dirichlet(np.ones(5), n) + 0.3 * np.eye(5)[kl]
    prob /= prob.sum(1, keepdims=True)
    table = pd.DataFrame({"case_id": np.arange(n), "kl": kl, "oa": (kl >= 2).astype(int)})
    table["prob_oa"] = np.clip(rng.normal(0.4 + 0.2 * table["oa"], 0.2), 0, 1)
    table["pred_oa"] = (table["prob_oa"] >= 0.5).astype(int)
    table["prob_oa_from_kl"] = prob[:, 2:].sum(1)
    table[GRADES] = prob
    table["pred_kl"] = pd.array(prob.argmax(1), dtype="Int64")
    if supervision == "single_oa":
        table[["prob_oa_from_kl", *GRADES]] = np.nan
        table["pred_kl"] = pd.array([pd.NA] * n, dtype="Int64")
    return table.assign(backbone="resnet3d", supervision=supervision, seed=0, split="test")


@pytest.fixture
def predictions():
    names = ["single_oa", "single_kl", "dual"]
    return pd.concat([make_predictions(name, i) for i, name in enumerate(names)])


def test_differences_are_dual_minus_the_single_of_the_same_task(predictions):
    table = compare_supervisions(predictions, n_resamples=300, seed=0).set_index("metric")
    assert len(table) == 6
    single_oa, single_kl, dual = (
        predictions[predictions["supervision"] == s] for s in ("single_oa", "single_kl", "dual")
    )
    auc = [roc_auc_score(m["oa"], m["prob_oa"]) for m in (single_oa, dual)]
    assert table.loc["oa_auc", "value"] == pytest.approx(auc[1] - auc[0], abs=1e-12)
    accuracy = [accuracy_score(m["kl"], m["pred_kl"].astype(int)) for m in (single_kl, dual)]
    assert table.loc["kl_acc", "value"] == pytest.approx(accuracy[1] - accuracy[0], abs=1e-12)
    assert table.loc["oa_auc", "comparison"] == "Dual minus Single-OA"
    assert table.loc["kl_acc", "comparison"] == "Dual minus Single-KL"
    assert (table["low"] < table["value"]).all() and (table["value"] < table["high"]).all()


def test_effects_by_statistics_are_those_of_each_set_of_answers(predictions):
    other = pd.concat(
        [make_predictions(name, 10 + i) for i, name in enumerate(["single_kl", "dual"])]
    )
    both = pd.concat(
        [predictions.assign(statistics="re-estimated"), other.assign(statistics="running")]
    )
    alone = make_predictions("dual", 20).assign(statistics="running", model="alone")
    both = pd.concat([both.assign(model="resnet3d"), alone])
    table = effects_by_statistics(both, n_resamples=200, seed=0)
    assert set(table["model"]) == {"resnet3d"} and len(table) == 6
    for statistics, rows in table.groupby("statistics"):
        part = both[(both["statistics"] == statistics) & (both["model"] == "resnet3d")]
        single, dual = (part[part["supervision"] == name] for name in ("single_kl", "dual"))
        f1 = [f1_score(m["kl"], m["pred_kl"].astype(int), average="macro") for m in (single, dual)]
        value = rows.set_index("metric").loc["kl_f1", "value"]
        assert value == pytest.approx(f1[1] - f1[0], abs=1e-12)


def test_a_missing_supervision_is_named(predictions):
    with pytest.raises(InputError, match="no predictions of single_kl"):
        compare_supervisions(predictions.query("supervision != 'single_kl'"), seed=0)
    called = predictions.replace({"supervision": {"dual": "Dual"}})
    with pytest.raises(InputError, match=r"no predictions of dual \(there are of Dual: is one"):
        compare_supervisions(called, seed=0)


def test_contradictions_are_counted_by_hand():
    dual = make_predictions("dual", 0, n=5)
    dual["pred_oa"], dual["pred_kl"] = [0, 0, 1, 1, 1], pd.array([0, 2, 1, 2, 4], dtype="Int64")
    table = contradictions(dual)
    assert table["contradicting"].item() == 2 and table["share"].item() == pytest.approx(0.4)


def test_scores_against_the_truth_use_the_true_grade(predictions):
    true_kl = pd.Series((np.arange(60) + 1) % 5, index=np.arange(60))
    table = against_truth(predictions, true_kl).set_index(["scored against", "supervision"])
    dual = predictions[predictions["supervision"] == "dual"]
    expected = accuracy_score(true_kl, dual["pred_kl"].astype(int))
    assert table.loc[("true grade", "dual"), "kl_acc"] == pytest.approx(expected)
    auc = roc_auc_score(true_kl >= 2, dual["prob_oa"])
    assert table.loc[("true grade", "dual"), "oa_auc"] == pytest.approx(auc)
    expected = accuracy_score(dual["kl"], dual["pred_kl"].astype(int))
    assert table.loc[("label as read", "dual"), "kl_acc"] == pytest.approx(expected)


def test_truth_minus_label_is_the_difference_of_the_two_tables_with_its_own_interval():
    runs = pd.concat([over_seeds("single_oa", (0, 1)), over_seeds("dual", (0, 1), start=5)])
    rng = np.random.default_rng(1)
    kl = np.arange(60) % 5
    true_kl = pd.Series(np.where(rng.random(60) < 0.3, (kl + 1) % 5, kl), index=np.arange(60))
    found = truth_minus_label(runs, true_kl, n_resamples=300, seed=0)
    assert len(found) == 3 + 6 and found["seeds"].eq(2).all()
    means = against_truth(runs, true_kl).groupby(["supervision", "scored against"])
    means = means[list(METRICS)].mean()
    for row in found.itertuples():
        of_model = means.loc[row.supervision][row.metric]
        expected = of_model["true grade"] - of_model["label as read"]
        assert row.value == pytest.approx(expected, abs=1e-12)
        assert row.low <= row.value <= row.high
    same = truth_minus_label(runs, pd.Series(kl, index=np.arange(60)), n_resamples=50, seed=0)
    assert (same[["value", "low", "high"]] == 0).all(axis=None)


# Several seeds


def over_seeds(supervision, seeds, backbone="resnet3d", start=0, n=60):
    tables = [make_predictions(supervision, start + s, n).assign(seed=s) for s in seeds]
    return pd.concat(tables).assign(backbone=backbone)


def by_scikit_learn(table):
    """Table 1's metrics of one model, cases possibly repeated."""
    oa, kl, given = table["oa"], table["kl"], table["pred_oa"]
    values = [roc_auc_score(oa, table["prob_oa"]), accuracy_score(oa, given), f1_score(oa, given)]
    if table["pred_kl"].notna().all():
        grade = table["pred_kl"].astype(int)
        scores = [roc_auc_score(kl == k, table[f"prob_kl_{k}"]) for k in range(5)]
        values += [np.mean(scores), accuracy_score(kl, grade)]
        values.append(f1_score(kl, grade, average="macro"))
    return np.array(values)


def plain_loop(reference, other, knees):
    """Difference on each draw of knees and under each seed, (draws, seeds, metrics)."""
    seeds = sorted(set(reference["seed"]))
    one, two = (
        [model[model["seed"] == s].sort_values("case_id") for s in seeds]
        for model in (reference, other)
    )
    return np.array(
        [
            [
                by_scikit_learn(b.iloc[k]) - by_scikit_learn(a.iloc[k])
                for a, b in zip(one, two, strict=True)
            ]
            for k in knees
        ]
    )


def limits(values):
    return np.percentile(values, [2.5, 97.5], axis=0).T


def test_the_interval_over_seeds_and_knees_is_that_of_a_plain_loop():
    reference = over_seeds("single_kl", (0, 1, 2))
    other = over_seeds("dual", (2, 0, 1), start=50).sample(frac=1, random_state=0)
    table = seed_and_knee_interval(reference, other, n_resamples=15, seed=3).set_index("metric")
    knees = np.random.default_rng(3).integers(0, 60, (15, 60))
    loop = plain_loop(reference, other, knees)  # (draws, seeds, metrics)
    found = table[["knees_low", "knees_high"]].to_numpy()
    np.testing.assert_allclose(found, limits(loop.mean(axis=1)), atol=1e-12)
    own = plain_loop(reference, other, [np.arange(60)])[0]
    for place, metric in enumerate(table.index):
        covariances = np.cov(loop[:, :, place].T)
        pairs = covariances[np.triu_indices(3, 1)].mean()
        spread = own[:, place].var(ddof=1)
        variance = spread / 3 + max(pairs, 0)
        assert table.loc[metric, "se"] == pytest.approx(np.sqrt(variance))
        freedom = variance**2 / ((spread / 3) ** 2 / 2)
        half = student.ppf(0.975, freedom) * np.sqrt(variance)
        found = table.loc[metric, ["low", "high"]].astype(float)
        np.testing.assert_allclose(found, own[:, place].mean() + np.array([-half, half]))
    sample = plain_loop(reference, other, [np.arange(60)])[0].mean(axis=0)
    np.testing.assert_allclose(table["value"], sample, atol=1e-12)
    assert (table["seeds"] == 3).all() and (table["knees"] == 60).all()
    assert list(table.index) == list(METRICS)


def test_an_undefined_resample_is_left_out_of_the_interval_over_seeds():
    reference, other = over_seeds("single_kl", (0, 1), n=25), over_seeds("dual", (0, 1), 9, n=25)
    table = seed_and_knee_interval(reference, other, n_resamples=300, seed=0).set_index("metric")
    knees = np.random.default_rng(0).integers(0, 25, (300, 25))
    lacking = sum(len(set(drawn % 5)) < 5 for drawn in knees)
    assert table.loc["kl_auc", "n_undefined"] == lacking > 0
    assert np.isfinite(table.loc["kl_auc", ["low", "high"]].astype(float)).all()
    assert table.loc["kl_acc", "n_undefined"] == 0


def test_seeds_that_agree_add_nothing_and_seeds_that_differ_widen_the_interval():
    one, two = make_predictions("single_oa", 1), make_predictions("dual", 2)
    same = [pd.concat([model.assign(seed=s) for s in (0, 1)]) for model in (one, two)]
    alike = seed_and_knee_interval(*same, n_resamples=200, seed=0)
    alone = seed_and_knee_interval(one, two, n_resamples=200, seed=0)
    assert (alone["low"] == alone["knees_low"]).all() and alone["p_value"].isna().all()
    np.testing.assert_allclose(alike["se"], alone["se"])
    assert (alike["df"] > 1e6).all()
    assert list(alone["seeds"]) == [1] * 3 and list(alike["seeds"]) == [2] * 3

    # Two seeds, one always right and one always wrong: all that varies is the seed.
    right, wrong = (one.assign(seed=s, pred_oa=abs(one["oa"] - s)) for s in (0, 1))
    other = pd.concat([right, wrong.assign(pred_oa=wrong["oa"])])
    table = seed_and_knee_interval(pd.concat([right, wrong]), other, n_resamples=200, seed=0)
    row = table.set_index("metric").loc["oa_acc"]
    assert row["knees_low"] == row["knees_high"] == row["value"] == 0.5
    half = student.ppf(0.975, 1) * 0.5
    assert (row["low"], row["high"]) == pytest.approx((0.5 - half, 0.5 + half))


def test_supervisions_over_seeds_keep_each_metric_with_its_task(predictions):
    second = pd.concat([make_predictions(s, 9 + i).assign(seed=1) for i, s in enumerate(
        ["single_oa", "single_kl", "dual"])])  # fmt: skip
    both = pd.concat([predictions, second])
    by_seed = compare_supervisions(both, n_resamples=50, seed=0)
    table = compare_supervisions(both, n_resamples=50, seed=0, over_seeds=True)
    assert list(table["metric"]) == list(METRICS) and (table["seeds"] == 2).all()
    means = by_seed.groupby("metric")["value"].mean()
    np.testing.assert_allclose(table["value"], means[list(METRICS)], atol=1e-12)
    single = by_seed[(by_seed["seed"] == 1) & (by_seed["metric"] == "kl_f1")]["value"].item()
    dual, kl = (second[second["supervision"] == s] for s in ("dual", "single_kl"))
    assert single == pytest.approx(by_scikit_learn(dual)[5] - by_scikit_learn(kl)[5])


def test_one_supervision_missing_for_one_seed_is_named(predictions):
    lone = make_predictions("dual", 5).assign(seed=1)
    with pytest.raises(InputError, match="resnet3d, seed 1: .* single_kl, single_oa"):
        compare_supervisions(pd.concat([predictions, lone]), seed=0, over_seeds=True)


def test_backbones_are_compared_on_the_seeds_that_both_have():
    first = over_seeds("dual", (0, 1, 2), "resnet3d")
    second = over_seeds("dual", (1, 2, 3), "m3t", start=20)
    oa = over_seeds("single_oa", (0,), "m3t", start=40)
    table = compare_backbones(pd.concat([oa, first, second]), n_resamples=50, seed=0)
    assert set(table["seed"]) == {1, 2} and set(table["supervision"]) == {"dual"}
    assert set(table["reference"]) == {"m3t"} and set(table["backbone"]) == {"resnet3d"}
    row = table[(table["seed"] == 2) & (table["metric"] == "kl_auc")].iloc[0]
    one, two = (by_scikit_learn(t[t["seed"] == 2]) for t in (first, second))
    assert row["value"] == pytest.approx(one[3] - two[3])
    pooled = compare_backbones(pd.concat([first, second]), n_resamples=50, seed=0, over_seeds=True)
    assert set(pooled["reference"]) == {"resnet3d"} and (pooled["seeds"] == 2).all()
    # A seed that takes no part may be of other knees, which do not count.
    lone = over_seeds("dual", (7,), "resnet3d", n=80)
    table = seed_and_knee_interval(pd.concat([first, lone]), second, n_resamples=50, seed=0)
    assert (table["knees"] == 60).all()


def test_backbones_that_cannot_be_compared_are_refused():
    first = over_seeds("dual", (0,), "resnet3d")
    with pytest.raises(InputError, match="one backbone"):
        compare_backbones(first, seed=0)
    other = over_seeds("dual", (1,), "m3t")
    with pytest.raises(InputError, match=r"no seed in common \(\[0\] and \[1\]\)"):
        compare_backbones(pd.concat([first, other]), seed=0)
    elsewhere = over_seeds("dual", (0,), "m3t").assign(case_id=lambda t: t["case_id"] + 1)
    with pytest.raises(InputError, match="different cases"):
        compare_by_seed(first, elsewhere, seed=0)
    second = elsewhere.assign(seed=1)  # both models have other knees under another seed
    with pytest.raises(InputError, match="different cases"):
        seed_and_knee_interval(*(pd.concat([first, second]),) * 2, n_resamples=5, seed=0)


def three(backbone, start, seeds=(0,)):
    names = ["single_oa", "single_kl", "dual"]
    return pd.concat([over_seeds(s, seeds, backbone, start + i) for i, s in enumerate(names)])


def test_the_difference_of_two_effects_is_that_of_a_plain_loop():
    one, two = three("resnet3d", 0), three("m3t", 30)
    table = compare_effects(pd.concat([one, two]), n_resamples=12, seed=5).set_index("metric")
    knees = np.random.default_rng(5).integers(0, 60, (12, 60))
    effects = []
    for runs in (one, two):
        models = dict(list(runs.groupby("supervision")))
        oa = plain_loop(models["single_oa"], models["dual"].assign(pred_kl=pd.NA), knees)[:, 0]
        kl = plain_loop(models["single_kl"], models["dual"], knees)[:, 0, 3:]
        effects.append(np.hstack([oa, kl]))
    found = table[["low", "high"]].to_numpy()
    np.testing.assert_allclose(found, limits(effects[1] - effects[0]), atol=1e-12)
    assert (table["reference"] == "resnet3d").all() and (table["backbone"] == "m3t").all()
    single = compare_supervisions(two, n_resamples=1, seed=0).set_index("metric")["value"]
    np.testing.assert_allclose(table["value_other"], single[table.index])
    np.testing.assert_allclose(table["value"], table["value_other"] - table["value_reference"])


def test_equal_effects_differ_by_nothing_but_their_seeds():
    one = three("resnet3d", 0)
    table = compare_effects(pd.concat([one, one.assign(backbone="m3t")]), n_resamples=50, seed=0)
    assert (table[["value", "low", "high"]] == 0).all().all()  # the same knees for both
    several = three("resnet3d", 0, (0, 1, 2))
    both = pd.concat([several, several.assign(backbone="m3t")])
    table = compare_effects(both, n_resamples=50, seed=0)
    assert (table["value"] == 0).all() and (table["low"] < table["high"]).all()
    assert (table["p_value"] == 1).all() and (table["p_adjusted"] == 1).all()


def test_effects_on_different_knees_are_not_compared():
    other = three("m3t", 0).assign(case_id=lambda t: t["case_id"] + 1)
    with pytest.raises(InputError, match="different cases"):
        compare_effects(pd.concat([three("resnet3d", 0), other]), seed=0)


def test_means_and_ranges_over_seeds():
    runs = pd.concat([over_seeds("dual", (0, 1, 2)), over_seeds("single_oa", (0,))])
    table = mean_over_seeds(table1(runs)).set_index(["supervision", "metric"])
    values = [by_scikit_learn(runs[(runs["supervision"] == "dual") & (runs["seed"] == s)])[4]
              for s in range(3)]  # fmt: skip
    row = table.loc[("dual", "kl_acc")]
    expected = [3, np.mean(values), min(values), max(values)]
    assert list(row[["seeds", "value", "seed_low", "seed_high"]]) == pytest.approx(expected)
    assert ("single_oa", "kl_acc") not in table.index and len(table) == 9
