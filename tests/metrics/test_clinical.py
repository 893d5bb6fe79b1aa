"""Clinical measures against scikit-learn, exact intervals against the binomial."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import beta
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    brier_score_loss,
    cohen_kappa_score,
    confusion_matrix,
    mean_absolute_error,
)

from oacore.errors import InputError
from oacore.instruments.published.predictions import read_published
from oacore.metrics import clinical
from oacore.metrics.predictions import MODEL, PROB_KL
from oacore.metrics.resampling import resample_counts
from tests.helpers import drawn_cases, model


def exact(k, n):
    """Clopper-Pearson limits by the beta distribution."""
    low = beta.ppf(0.025, k, n - k + 1) if k else 0.0
    return low, beta.ppf(0.975, k + 1, n - k) if k < n else 1.0


def ece(probability, happened, bins=10):
    """Bin by bin."""
    edges, total = np.linspace(0, 1, bins + 1), 0.0
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        here = (probability > low) & (probability <= high) | (low == 0) & (probability == 0)
        if here.any():
            total += here.mean() * abs(probability[here].mean() - happened[here].mean())
    return total


# ---- one measure


def test_kappa_is_scikit_learns_on_every_resample():
    checked = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(4, 60))
        label = rng.integers(0, 5, n)
        predicted = np.clip(label + rng.integers(-2, 2, n), 0, 4)
        counts = resample_counts(n, 12, rng)
        for row, value in zip(
            counts, clinical.weighted_kappa(counts, label, predicted), strict=True
        ):
            cases = drawn_cases(row)
            if len({*label[cases], *predicted[cases]}) == 1:
                assert np.isnan(value)
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                expected = cohen_kappa_score(
                    label[cases], predicted[cases], weights="quadratic", labels=range(5)
                )
            assert_allclose(value, expected, rtol=0, atol=1e-9)
            checked += 1
    assert checked > 100


def test_kappa_at_its_ends():
    label = np.arange(5)
    ones = np.ones((1, 5))
    assert clinical.weighted_kappa(ones, label, label) == 1
    assert clinical.weighted_kappa(ones, label, label[::-1]) == -1
    assert clinical.weighted_kappa(ones, label, np.full(5, 2)) == 0
    assert np.isnan(clinical.weighted_kappa(ones, np.full(5, 2), np.full(5, 2)))


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_calibration_error_bin_by_bin(bins, monkeypatch):
    monkeypatch.setattr(clinical, "BINS", bins)
    rng = np.random.default_rng(bins)
    probability = rng.random(50).round(1)  # limits of bins, 0 and 1 among them
    happened = rng.random(50) < probability**2
    counts = resample_counts(50, 10, rng)
    values = clinical.calibration_error(counts, probability, happened)
    for row, value in zip(counts, values, strict=True):
        cases = drawn_cases(row)
        expected = ece(probability[cases], happened[cases], bins)
        assert_allclose(value, expected, rtol=0, atol=1e-9)


# ---- the table


@pytest.fixture(scope="module")
def both():
    return pd.concat([model(0, n=80), model(1, n=80, supervision="single_oa")])


@pytest.fixture(scope="module")
def table(both):
    return clinical.clinical_table(both, n_resamples=300, seed=4)


def of(table, supervision="dual"):
    return table[table["supervision"] == supervision].set_index("measure")


def test_rows_of_each_model(table):
    assert list(table.columns) == clinical.COLUMNS
    assert tuple(of(table).index) == clinical.ORDER
    assert tuple(of(table, "single_oa").index) == (
        "sensitivity for OA",
        "specificity for OA",
        "expected calibration error, OA probability",
        "Brier score, OA probability",
    )
    assert table[MODEL].drop_duplicates().to_numpy().tolist() == [
        ["resnet3d", "dual", 0],
        ["resnet3d", "single_oa", 1],
    ]
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()


def test_values_are_scikit_learns(both, table):
    dual = both[both["supervision"] == "dual"]
    kl, pred_kl = dual["kl"].to_numpy(), dual["pred_kl"].to_numpy(dtype=int)
    got = of(table)["value"]
    confidence = dual[PROB_KL].to_numpy()[np.arange(80), pred_kl]
    expected = {
        clinical.KAPPA: cohen_kappa_score(kl, pred_kl, weights="quadratic"),
        clinical.WITHIN_ONE: np.diag(confusion_matrix(kl, pred_kl), 0).sum() / 80
        + sum(np.diag(confusion_matrix(kl, pred_kl), k).sum() for k in (-1, 1)) / 80,
        clinical.GRADE_ERROR: mean_absolute_error(kl, pred_kl),
        clinical.OA_ECE: ece(dual["prob_oa"].to_numpy(), dual["oa"].to_numpy()),
        clinical.OA_BRIER: brier_score_loss(dual["oa"], dual["prob_oa"]),
        clinical.KL_ECE: ece(confidence, kl == pred_kl),
    }
    for name, value in expected.items():
        assert_allclose(got[name], value, rtol=0, atol=1e-12, err_msg=name)


def test_sensitivity_and_specificity_have_exact_intervals(both, table):
    for supervision, rows in both.groupby("supervision"):
        (tn, fp), (fn, tp) = confusion_matrix(rows["oa"], rows["pred_oa"])
        for name, k, n in (
            (clinical.SENSITIVITY, tp, tp + fn),
            (clinical.SPECIFICITY, tn, tn + fp),
        ):
            got = of(table, supervision).loc[name]
            assert (got["value"], got["n"]) == (k / n, n)
            assert_allclose([got["low"], got["high"]], exact(k, n), rtol=1e-9)


def test_intervals_are_percentiles_of_the_resamples(both, table):
    dual = both[both["supervision"] == "dual"]
    drawn = [dual.iloc[drawn_cases(row)] for row in resample_counts(80, 300, seed=4)]
    kappa = [
        cohen_kappa_score(t["kl"], t["pred_kl"].astype(int), weights="quadratic") for t in drawn
    ]
    got = of(table).loc[clinical.KAPPA]
    assert_allclose([got["low"], got["high"]], np.percentile(kappa, [2.5, 97.5]), atol=1e-9)
    errors = [ece(t["prob_oa"].to_numpy(), t["oa"].to_numpy()) for t in drawn]
    got = of(table).loc[clinical.OA_ECE]
    reflected = 2 * got["value"] - np.percentile(errors, [97.5, 2.5])
    assert_allclose([got["low"], got["high"]], np.maximum(reflected, 0), atol=1e-9)


def test_the_interval_of_a_calibration_error_knows_its_bias():
    """Probabilities a little too bold: an error of .05, of which 98 cases show .11."""
    covered, percentiles = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        probability = rng.random(98)
        true = 0.5 + 0.8 * (probability - 0.5)
        gap = pd.Series(probability - true).groupby(np.ceil(10 * probability)).sum()
        error = gap.abs().sum() / 98
        counts = np.vstack([np.ones((1, 98)), resample_counts(98, 200, rng)])
        values = clinical.calibration_error(counts, probability, rng.random(98) < true)
        _, low, high = clinical._with_interval(clinical.OA_ECE, values)
        covered.append(low <= error <= high)
        low, high = np.percentile(values[1:], [2.5, 97.5])
        percentiles.append(low <= error <= high)
    assert np.mean(covered) > 0.75 > 0.3 > np.mean(percentiles)


def test_every_case_positive_and_every_answer_one_grade():
    flat = model(0, n=12, kl=np.full(12, 3)).assign(pred_kl=pd.array([3] * 12, dtype="Int64"))
    got = of(clinical.clinical_table(flat, n_resamples=20, seed=0))
    assert got.loc[clinical.SPECIFICITY, "n"] == 0
    assert got.loc[clinical.SPECIFICITY, ["value", "low", "high"]].isna().all()
    assert got.loc[clinical.KAPPA, ["value", "low", "high"]].isna().all()
    assert got.loc[clinical.GRADE_ERROR, ["value", "low", "high"]].tolist() == [0, 0, 0]


def test_order_of_rows_does_not_matter(both, table):
    shuffled = clinical.clinical_table(
        pd.concat([t.sample(frac=1, random_state=0) for _, t in both.groupby(MODEL, sort=False)]),
        n_resamples=300,
        seed=4,
    )
    pd.testing.assert_frame_equal(shuffled, table)


def test_the_published_models(shared):
    got = clinical.clinical_table(
        read_published(shared / "real/published_predictions"), n_resamples=100, seed=0
    )
    assert len(got) == 3 * (4 + 8 + 8)
    # The facts file's tables: Single-OA TP 57, FN 8, TN 21, FP 12; KL of Single-KL and Dual.
    resnet = got[got["backbone"] == "resnet3d"].set_index(["supervision", "measure"])["value"]
    assert resnet["single_oa", clinical.SENSITIVITY] == 57 / 65
    assert resnet["single_oa", clinical.SPECIFICITY] == 21 / 33
    matrix = np.array([[15, 0, 6, 0, 0], [4, 0, 8, 0, 0], [4, 1, 17, 0, 0], [3, 9, 12, 2, 2],
                       [2, 5, 4, 2, 2]])  # fmt: skip
    distance = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    assert_allclose(resnet["single_kl", clinical.GRADE_ERROR], (matrix * distance).sum() / 98)
    assert_allclose(resnet["single_kl", clinical.WITHIN_ONE], matrix[distance < 2].sum() / 98)


# ---- reliability


@pytest.mark.parametrize("bins", [5, 10])
def test_reliability_is_scikit_learns_curve(both, bins):
    got = clinical.reliability(both, bins=bins)
    for supervision, rows in both.groupby("supervision"):
        here = got[(got["supervision"] == supervision) & (got["of"] == "OA probability")]
        observed, predicted = calibration_curve(rows["oa"], rows["prob_oa"], n_bins=bins)
        assert_allclose(here["observed"], observed)
        assert_allclose(here["predicted"], predicted)
        assert here["n"].sum() == 80
        for row in here.itertuples():
            assert row.bin_low - 1e-12 <= row.predicted <= row.bin_high + 1e-12
            limits = exact(round(row.observed * row.n), row.n)
            assert_allclose([row.low, row.high], limits, rtol=1e-9)
    assert set(got["of"][got["supervision"] == "single_oa"]) == {"OA probability"}


def test_reliability_of_the_grade_and_the_error_are_one_thing(both, table):
    got = clinical.reliability(both)
    for name, kind in ((clinical.KL_ECE, "KL confidence"), (clinical.OA_ECE, "OA probability")):
        here = got[(got["supervision"] == "dual") & (got["of"] == kind)]
        error = (here["n"] * (here["predicted"] - here["observed"]).abs()).sum() / 80
        assert_allclose(of(table).loc[name, "value"], error, atol=1e-12)


def test_limits_belong_to_the_bin_below():
    places = clinical._bin_of(np.array([0, 0.25, 0.2500001, 0.5, 1]), 4)
    assert_array_equal(places, [0, 0, 1, 1, 3])


@pytest.mark.parametrize("call", [clinical.clinical_table, clinical.reliability])
def test_unusable_tables(call, both):
    words = {"seed": 0} if call is clinical.clinical_table else {}
    with pytest.raises(InputError, match="mix the splits"):
        call(both.assign(split=["train", "test"] * 80), **words)
    with pytest.raises(InputError, match="prob_oa is not a probability"):
        call(both.assign(prob_oa=2.0), **words)
