"""Table 1's metrics against scikit-learn, their intervals against SciPy."""

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import bootstrap
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from oacore.errors import InputError
from oacore.metrics import scores as metrics
from oacore.metrics.predictions import MODEL, PROB_KL, of_model
from oacore.metrics.resampling import resample_counts
from tests.helpers import drawn_cases, model


def sklearn_metric(table, metric):
    prob_kl = table[PROB_KL].to_numpy()
    oa, pred_oa, kl = table["oa"], table["pred_oa"], table["kl"]
    pred_kl = table["pred_kl"].astype(int)
    return {
        "oa_auc": lambda: roc_auc_score(oa, table["prob_oa"]),
        "oa_acc": lambda: accuracy_score(oa, pred_oa),
        "oa_f1": lambda: f1_score(oa, pred_oa, zero_division=0),
        "kl_auc": lambda: np.mean([roc_auc_score(kl == g, prob_kl[:, g]) for g in np.unique(kl)]),
        "kl_acc": lambda: accuracy_score(kl, pred_kl),
        "kl_f1": lambda: f1_score(kl, pred_kl, average="macro", zero_division=0),
    }[metric]()


def test_every_metric_equals_scikit_learn_on_every_resample():
    table = model(n=60)
    counts = resample_counts(60, 20, seed=1)
    ours = metrics.model_metrics(table, counts)
    for b, row in enumerate(counts):
        drawn = table.loc[table.index.repeat(row.astype(int))]
        for metric in metrics.METRICS:
            expected = sklearn_metric(drawn, metric)
            assert_allclose(ours[metric][b], expected, rtol=0, atol=1e-9, err_msg=metric)


def test_macro_auc_is_scikit_learns_ovr():
    table = model(n=60)
    prob = table[PROB_KL].to_numpy() + 1e-3
    prob /= prob.sum(axis=1, keepdims=True)
    expected = roc_auc_score(table["kl"], prob, multi_class="ovr", average="macro")
    got = metrics.macro_auc(np.ones((1, 60)), table["kl"].to_numpy(), prob)
    assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_constant_and_perfect_scores():
    label = np.array([0, 0, 1, 1, 1]) == 1
    ones = np.ones((1, 5))
    assert metrics.auc(ones, label, np.full(5, 0.3)) == 0.5
    assert metrics.auc(ones, label, label.astype(float)) == 1.0
    assert metrics.auc(ones, label, 1.0 - label) == 0.0


def test_resample_without_a_class():
    label = np.array([0, 0, 1, 2])
    predicted = np.array([0, 1, 1, 2])
    scores = np.eye(5)[predicted]
    # Resamples: all cases; no grade 1 (and none predicted); no positive of the OA label.
    counts = np.array([[1, 1, 1, 1], [2, 0, 0, 2], [2, 1, 1, 0]])
    assert np.isnan(metrics.auc(counts, label == 2, scores[:, 2])[2])
    macro = metrics.macro_auc(counts, label, scores)
    assert_array_equal(np.isnan(macro), [False, True, True])
    # F1 is defined throughout, as in scikit-learn, which drops the absent grade.
    cases = np.repeat(np.arange(4), counts[1])
    expected = f1_score(label[cases], predicted[cases], average="macro")
    assert_allclose(metrics.macro_f1(counts, label, predicted)[1], expected)
    assert metrics.f1(counts, label == 2, predicted == 2)[2] == 0


def test_f1_of_a_class_never_predicted_counts_as_zero():
    label, predicted = np.array([0, 1, 2, 3, 4, 1]), np.array([0, 0, 2, 3, 3, 2])
    got = metrics.macro_f1(np.ones((1, 6)), label, predicted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = f1_score(label, predicted, average="macro", zero_division=0)
    assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_cohort_that_lacks_a_grade_is_averaged_over_the_others():
    kl = np.arange(40) % 4
    table = model(n=40, kl=kl)
    row = metrics.table1(table).iloc[0]
    assert_allclose(row["kl_auc"], sklearn_metric(table, "kl_auc"), rtol=0, atol=1e-12)


def test_table1_has_a_row_per_model_and_seed():
    table = pd.concat([model(0), model(1), model(1, supervision="single_oa")])
    got = metrics.table1(table)
    assert got[MODEL].to_numpy().tolist() == [
        ["resnet3d", "dual", 0],
        ["resnet3d", "dual", 1],
        ["resnet3d", "single_oa", 1],
    ]
    assert got.loc[2, list(metrics.KL_METRICS)].isna().all()
    assert_allclose(got.loc[1, "oa_auc"], sklearn_metric(model(1), "oa_auc"), atol=1e-12)


def test_resamples_are_the_sequence_of_single_draws():
    # One generator running through single draws: how the paper's release resamples.
    rng, one_by_one = np.random.default_rng(42), []
    for _ in range(50):
        one_by_one.append(np.bincount(rng.integers(0, 98, size=98), minlength=98))
    generator = np.random.default_rng(42)
    together = [resample_counts(98, b, generator) for b in (20, 30)]
    assert_array_equal(np.vstack(together), one_by_one)


@pytest.mark.parametrize("metric", ["kl_acc", "oa_auc"])
def test_interval_equals_scipys_percentile_bootstrap(metric):
    reference, other = model(0), model(7, kl=model(0)["kl"])
    got = metrics.paired_bootstrap(reference, other, n_resamples=300, seed=3)
    got = got.set_index("metric").loc[metric]

    def delta(cases):
        pair = [sklearn_metric(table.iloc[cases.astype(int)], metric)
                for table in (reference, other)]  # fmt: skip
        return pair[1] - pair[0]

    expected = bootstrap(
        (np.arange(60),), delta, n_resamples=300, method="percentile", vectorized=False,
        rng=np.random.default_rng(3),
    )  # fmt: skip
    limits = expected.confidence_interval
    assert_allclose([got["low"], got["high"]], limits, rtol=0, atol=1e-9)
    assert_allclose(got["se"], expected.standard_error, rtol=1e-9)
    assert_allclose(got["value"], delta(np.arange(60)), rtol=0, atol=1e-12)
    assert (got["n_undefined"], got["knees"]) == (0, 60)


def test_rows_pair_by_case_id_whatever_their_order():
    reference, other = model(0), model(7, kl=model(0)["kl"])
    straight = metrics.paired_bootstrap(reference, other, n_resamples=50, seed=0)
    shuffled = metrics.paired_bootstrap(
        reference.sample(frac=1, random_state=1), other.iloc[::-1], n_resamples=50, seed=0
    )
    pd.testing.assert_frame_equal(straight, shuffled)
    itself = metrics.paired_bootstrap(reference, reference, n_resamples=50, seed=0)
    assert (itself[["value", "low", "high"]] == 0).all(axis=None)


@pytest.mark.parametrize(("most", "silent"), [(5, False), (1, True)])
def test_undefined_resamples_are_counted_and_left_out_or_end_it(most, silent):
    kl = [0, 1, 2, 3] * 5 + [4] * most  # grade 4 once: absent from about a third
    reference, other = (model(seed, n=len(kl), kl=kl) for seed in (0, 1))
    got = metrics.paired_bootstrap(reference, other, n_resamples=900, seed=0)
    got = got.set_index("metric")
    drawn = resample_counts(len(kl), 900, seed=0)
    lacking = sum(bool(set(range(5)) - set(np.repeat(kl, row.astype(int)))) for row in drawn)
    assert got.loc["kl_auc", "n_undefined"] == lacking > (200 if silent else 0)
    said = got.loc["kl_auc", ["low", "high", "bca_low", "bca_high", "p_value", "se"]].astype(float)
    assert np.isnan(said).all() == np.isnan(said).any() == silent
    assert got.loc["kl_f1", "n_undefined"] == 0


def test_a_single_case_has_no_auc_and_no_interval_for_it():
    one = model(0, n=1, kl=[3])
    got = metrics.paired_bootstrap(one, one, n_resamples=5, seed=0).set_index("metric")
    assert np.isnan(got.loc["oa_auc", ["value", "low", "high"]].astype(float)).all()
    assert got.loc["oa_auc", "n_undefined"] == 5


def test_single_oa_is_compared_on_oa_alone():
    reference, other = model(0, supervision="single_oa"), model(0)
    got = metrics.paired_bootstrap(reference, other, n_resamples=5, seed=0)
    assert tuple(got["metric"]) == metrics.OA_METRICS


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.iloc[2:], "case_id 405, 406 occurs in only one"),
        (lambda t: t.assign(kl=t["kl"].where(t.index != 3, 4 - t["kl"])), "408"),
        (lambda t: t.assign(prob_oa=t["prob_oa"].where(t.index != 1)), "prob_oa .* 406"),
        (lambda t: t.assign(prob_kl_2=1.5), "prob_kl_2 is not a probability"),
        (lambda t: t.assign(kl=t["kl"].where(t.index != 0, 7)), "kl is not one of .* 405"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "second row of this case in case_id 405"),
        (lambda t: pd.concat([t, t.assign(seed=9)]), "2 models"),
        (lambda t: t.assign(split=["train"] + ["test"] * 59), "mix the splits"),
        (lambda t: t.drop(columns="pred_oa"), "lack the columns pred_oa"),
        (lambda t: t.iloc[:0], "no rows"),
    ],
)
def test_tables_that_cannot_be_compared(spoil, message):
    with pytest.raises(InputError, match=message):
        metrics.paired_bootstrap(model(0), spoil(model(0)), n_resamples=5, seed=0)


@pytest.mark.parametrize("digits", [0, 1, 8])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_auc_is_scikit_learns_whatever_the_ties_and_precision(digits, precision):
    for seed in range(15):
        rng = np.random.default_rng([seed, digits])
        n = int(rng.integers(3, 40))
        label = rng.permutation(np.arange(n) < rng.integers(1, n))
        score = rng.random(n).round(digits).astype(precision)
        counts = resample_counts(n, 20, rng)
        got = metrics.auc(counts, label, score)
        for value, cases in zip(got, map(drawn_cases, counts), strict=True):
            if label[cases].all() or not label[cases].any():
                assert np.isnan(value)
            else:
                expected = roc_auc_score(label[cases], score[cases])
                assert_allclose(value, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("digits", [1, 3, 12])
def test_auc_of_many_cases_is_scikit_learns_with_weights_and_every_pair_compared(digits):
    rng = np.random.default_rng(digits)
    n = 3000
    label, score = rng.random(n) < 0.2, rng.normal(size=n).round(digits)
    counts = resample_counts(n, 60, rng)  # more than are in hand at once
    got = metrics.auc(counts, label, score)
    for row, value in zip(counts[::10], got[::10], strict=True):
        expected = roc_auc_score(label, score, sample_weight=row)
        assert_allclose(value, expected, rtol=0, atol=1e-12)
    above = score[label][:, None] - score[~label][None, :]
    kernel = (above > 0) + 0.5 * (above == 0)
    positives, negatives = counts[:, label], counts[:, ~label]
    wins = ((positives @ kernel) * negatives).sum(axis=1)
    assert_array_equal(got, wins / (positives.sum(axis=1) * negatives.sum(axis=1)))


def test_auc_needs_little_beyond_its_counts():
    rng = np.random.default_rng(0)
    n = 6000
    label, score, counts = rng.random(n) < 0.5, rng.random(n), resample_counts(n, 40, rng)
    tracemalloc.start()
    metrics.auc(counts, label, score)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20  # all 9 million pairs would take 72 MB as numbers


def test_scores_tie_in_their_own_precision():
    label, score = np.array([True, False]), np.array([0.1 + 1e-12, 0.1])
    ones = np.ones((1, 2))
    assert metrics.auc(ones, label, score) == 1
    assert metrics.auc(ones, label, score.astype(np.float32)) == 0.5


def test_all_metrics_on_small_cohorts_whose_resamples_lack_classes():
    seen = {"lacking": 0, "whole": 0}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(5, 16))
        table = model(seed, n=n, kl=rng.integers(0, 5, n))
        if seed % 3 == 0:
            table[PROB_KL] = 0.2  # constant scores
            table["prob_oa"] = 0.5
        counts = resample_counts(n, 12, rng)
        got = metrics.model_metrics(table, counts)
        grades = set(table["kl"])
        for b, row in enumerate(counts):
            drawn = table.iloc[drawn_cases(row)]
            whole = set(drawn["kl"]) == grades
            seen["whole" if whole else "lacking"] += 1
            for metric in metrics.METRICS:
                value = got[metric][b]
                if (metric == "kl_auc" and (not whole or len(grades) < 2)) or (
                    metric == "oa_auc" and drawn["oa"].nunique() < 2
                ):
                    assert np.isnan(value), metric
                    continue
                expected = sklearn_metric(drawn, metric)
                assert_allclose(value, expected, rtol=0, atol=1e-9, err_msg=metric)
            if seed % 3 == 0 and drawn["oa"].nunique() == 2:
                assert got["oa_auc"][b] == 0.5
    assert min(seen.values()) > 15


def test_where_macro_auc_is_undefined_scikit_learn_stops():
    table = model(n=40)
    prob = (table[PROB_KL].to_numpy() + 1e-3) / (table[PROB_KL].sum(axis=1) + 5e-3).to_numpy()[
        :, None
    ]
    lacking = np.where(table["kl"] == 4, 0.0, 1.0)[None]
    assert np.isnan(metrics.macro_auc(lacking, table["kl"].to_numpy(), prob))
    here = table["kl"] < 4
    with pytest.raises(ValueError, match="[Nn]umber of classes"):
        roc_auc_score(table["kl"][here], prob[here], multi_class="ovr", average="macro")


def test_one_metric_is_that_of_all():
    table = model(n=30)
    counts = resample_counts(30, 10, seed=0)
    for metric, values in metrics.model_metrics(table, counts).items():
        assert_array_equal(metrics.METRICS[metric](table, counts), values)
    assert metrics.metrics_of(table) == tuple(metrics.METRICS)
    assert metrics.metrics_of(model(supervision="single_oa")) == metrics.OA_METRICS


@pytest.mark.parametrize("metric", ["kl_f1", "oa_auc"])
def test_bca_interval_and_p_value_of_a_difference(metric):
    reference, other = model(0), model(7, kl=model(0)["kl"])
    got = metrics.paired_bootstrap(reference, other, n_resamples=200, seed=3)
    got = got.set_index("metric").loc[metric]

    def delta(cases):
        cases = cases.astype(int)
        pair = [sklearn_metric(table.iloc[cases], metric) for table in (reference, other)]
        return pair[1] - pair[0]

    scipys = bootstrap(
        (np.arange(60),), delta, n_resamples=200, method="BCa", vectorized=False,
        rng=np.random.default_rng(3),
    )  # fmt: skip
    expected = scipys.confidence_interval
    assert_allclose([got["bca_low"], got["bca_high"]], expected, rtol=0, atol=1e-9)
    below = np.sum(scipys.bootstrap_distribution <= 1e-12)
    above = np.sum(scipys.bootstrap_distribution >= -1e-12)
    assert_allclose(got["p_value"], min(1, 2 * (min(below, above) + 1) / 201))


def test_models_that_answer_alike_differ_by_nothing():
    table = model(0, n=60)
    itself = metrics.paired_bootstrap(table, table, n_resamples=50, seed=0)
    limits = ["value", "low", "high", "bca_low", "bca_high"]
    assert (itself[limits] == 0).all(axis=None) and (itself["p_value"] == 1).all()
    # Scores that rank alike tie in every resample, exactly.
    squared = table.assign(prob_oa=table["prob_oa"] ** 2)
    got = metrics.paired_bootstrap(table, squared, n_resamples=50, seed=0).iloc[0]
    assert got["metric"] == "oa_auc" and (got[limits] == 0).all() and got["p_value"] == 1


def test_no_resamples_are_refused():
    with pytest.raises(InputError, match="0 resamples"):
        resample_counts(5, 0, seed=0)


def test_rows_of_one_model_in_the_order_of_cases():
    table = pd.concat([model(0).iloc[::-1], model(1, supervision="single_oa")])
    rows = of_model(table, "resnet3d", "dual")
    pd.testing.assert_frame_equal(rows, model(0))
    assert of_model(table, "m3t", "dual").empty
