"""Recalibration against statsmodels, calibration errors bin by bin, intervals against the beta."""

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit
from scipy.stats import chi2, ttest_1samp
from sklearn.calibration import calibration_curve
from statsmodels.stats.proportion import proportion_confint

from oacore.instruments.published.predictions import read_published
from oacore.metrics import calibration, recalibration
from oacore.metrics.predictions import MODEL, PROB_KL
from oacore.metrics.resampling import resample_counts
from tests.helpers import drawn_cases, measures, model, two_models


def ece(probability, happened, bins=10):
    """Bin by bin."""
    edges, total = np.linspace(0, 1, bins + 1), 0.0
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        here = (probability > low) & (probability <= high) | (low == 0) & (probability == 0)
        if here.any():
            total += here.mean() * abs(probability[here].mean() - happened[here].mean())
    return total


def drawn(seed, n=98, slope=0.4, spread=3.0):
    rng = np.random.default_rng(seed)
    probability = expit(rng.normal(0.5, spread, n))
    return probability, rng.random(n) < expit(0.3 + slope * logit(probability))


def fitted(y, *columns, offset=None):
    binomial = sm.families.Binomial()
    return sm.GLM(y.astype(float), np.column_stack(columns), family=binomial, offset=offset).fit()


# ---- recalibration


@pytest.mark.parametrize("seed", range(8))
def test_slope_and_its_interval_are_those_of_statsmodels_likelihood(seed):
    probability, y = drawn(seed)
    x, ones = logit(probability.clip(1e-6, 1 - 1e-6)), np.ones(98)
    got, full = recalibration.calibration_slope(probability, y), fitted(y, ones, x)
    assert_allclose(got.value, full.params[1], rtol=1e-7)
    for end in (got.low, got.high):  # the likelihood with the slope held there
        lost = full.llf - fitted(y, ones, offset=end * x).llf
        assert_allclose(2 * lost, chi2.ppf(0.95, 1), rtol=1e-6)
    wald = full.conf_int()[1]
    assert_allclose([got.low, got.high], wald, atol=0.12)  # near it, and not the same


@pytest.mark.parametrize("seed", range(8))
def test_calibration_in_the_large_is_statsmodels_and_its_ends_are_those_of_a_t_test(seed):
    probability, y = drawn(seed)
    x = logit(probability.clip(1e-6, 1 - 1e-6))
    got = recalibration.calibration_in_the_large(probability, y)
    assert_allclose(got.value, fitted(y, np.ones(98), offset=x).params[0], atol=1e-7)
    for end in (got.low, got.high):
        assert_allclose(ttest_1samp(y - expit(end + x), 0).pvalue, 0.05, rtol=1e-6)


def test_logits_twice_too_large_have_half_the_slope():
    probability, y = drawn(1)
    bold = expit(2 * logit(probability))
    one, two = (recalibration.calibration_slope(p, y, clip=1e-12) for p in (probability, bold))
    assert_allclose([two.value, two.low, two.high], np.array([one.value, one.low, one.high]) / 2)
    shifted = expit(logit(probability) - 1)
    before, after = (
        recalibration.calibration_in_the_large(p, y, clip=1e-12) for p in (probability, shifted)
    )
    assert_allclose([after.value, after.low, after.high],
                    np.array([before.value, before.low, before.high]) + 1)  # fmt: skip


@pytest.mark.parametrize(
    ("probability", "happened", "why"),
    [
        ([0.2, 0.4, 0.6], [1, 1, 1], "one class"),
        ([0.2, 0.4, 0.6], [0, 0, 0], "one class"),
        ([0.3, 0.3, 0.3], [0, 1, 0], "one probability"),
        ([0.2, 0.4, 0.6, 0.8], [0, 0, 1, 1], "separates"),
        ([0.2, 0.4, 0.4, 0.8], [0, 0, 1, 1], "separates"),  # but for a tie
        ([0.2, 0.4, 0.6, 0.8], [1, 1, 0, 0], "separates"),  # the wrong way round
        ([0, 0, 1, 1], [0, 0, 1, 1], "separates"),
    ],
)
def test_no_slope_has_a_reason(probability, happened, why):
    got = recalibration.calibration_slope(np.array(probability, float), np.array(happened, bool))
    assert np.isnan([got.value, got.low, got.high]).all()
    assert why in got.why
    large = recalibration.calibration_in_the_large(np.array(probability), np.array(happened, bool))
    assert (large.why != "") == (why == "one class") == bool(np.isnan(large.value))


def test_a_shift_with_few_of_a_class_has_no_end_on_one_side():
    got = recalibration.calibration_in_the_large(np.full(40, 0.9), np.arange(40) > 0)
    assert np.isfinite([got.value, got.low]).all() and got.high == np.inf


def test_where_zeros_and_ones_are_cut_matters_to_them_alone():
    probability, y = drawn(3, spread=2)
    free = [recalibration.calibration_slope(probability, y, clip).value for clip in (1e-4, 1e-9)]
    assert_allclose(free[0], free[1])
    probability[:20] = np.repeat([0.0, 1.0], 10)
    values = {
        c: recalibration.calibration_slope(probability, y, c).value for c in (1e-3, 1e-6, 1e-9)
    }
    assert values[1e-3] > values[1e-6] > values[1e-9] > 0
    x = logit(probability.clip(1e-3, 1 - 1e-3))
    assert_allclose(values[1e-3], fitted(y, np.ones(98), x).params[1], rtol=1e-7)


def test_intervals_of_recalibration_cover():
    """200 tables each; the whole measurement is workflow/coverage_clinical.py's."""
    held = {"slope": 0, "large": 0}
    shift = 1.3105  # of logits in a line with slope .1, on 200,000 cases
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = rng.normal(1, 6, 98).clip(-13.8, 13.8)
        y = rng.random(98) < expit(0.54 + 0.1 * x)
        slope = recalibration.calibration_slope(expit(x), y)
        large = recalibration.calibration_in_the_large(expit(x), y)
        held["slope"] += slope.low <= 0.1 <= slope.high
        held["large"] += large.low <= shift <= large.high
    assert all(178 <= n <= 198 for n in held.values()), held


# ---- calibration error


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_calibration_error_bin_by_bin(bins, monkeypatch):
    monkeypatch.setattr(calibration, "BINS", bins)
    rng = np.random.default_rng(bins)
    probability = rng.random(50).round(1)  # limits of bins, 0 and 1 among them
    happened = rng.random(50) < probability**2
    counts = resample_counts(50, 10, rng)
    values = calibration.calibration_error(counts, probability, happened)
    for row, value in zip(counts, values, strict=True):
        cases = drawn_cases(row)
        expected = ece(probability[cases], happened[cases], bins)
        assert_allclose(value, expected, rtol=0, atol=1e-9)


def test_chance_is_that_of_a_model_that_is_right():
    """With two cases in two bins the four outcomes can be written down."""
    probability = np.array([0.2, 0.7])
    got = calibration.chance_error(probability, 40_000, seed=1)
    outcomes = {  # error: how likely
        (0.2 + 0.7) / 2: 0.8 * 0.3, (0.8 + 0.7) / 2: 0.2 * 0.3,
        (0.2 + 0.3) / 2: 0.8 * 0.7, (0.8 + 0.3) / 2: 0.2 * 0.7,
    }  # fmt: skip
    for error, likely in outcomes.items():
        assert_allclose(np.isclose(got, error).mean(), likely, atol=0.01)
    assert_array_equal(got[:9], calibration.chance_error(probability, 40_000, seed=1)[:9])


def test_the_test_of_the_error_rejects_a_true_model_in_one_of_twenty_and_a_bold_one_always():
    rejected = {"true": 0, "bold": 0}
    for seed in range(200):
        probability, right = drawn(seed, slope=1.0, spread=1.5)
        right = np.random.default_rng(900 + seed).random(98) < probability
        for name, given in (("true", probability), ("bold", expit(4 * logit(probability)))):
            value = calibration.calibration_error(np.ones((1, 98)), given, right)[0]
            chance = calibration.chance_error(given, 200, seed)
            rejected[name] += value > np.quantile(chance, 0.95)
    assert 3 <= rejected["true"] <= 18
    assert rejected["bold"] >= 198


# ---- the tables


@pytest.fixture(scope="module")
def both():
    return two_models()


@pytest.fixture(scope="module")
def table(both):
    return calibration.calibration_table(both, n_draws=200, seed=4)


def test_rows_of_each_model(table):
    assert list(table.columns) == calibration.COLUMNS
    names = (calibration.SLOPE, calibration.INTERCEPT, calibration.OA_ECE)
    assert tuple(measures(table).index) == (*names, calibration.KL_ECE)
    assert tuple(measures(table, "single_oa").index) == names
    errors = table["measure"].isin([calibration.OA_ECE, calibration.KL_ECE])
    assert table.loc[errors, ["low", "high"]].isna().all(axis=None)
    assert table.loc[~errors, ["chance", "chance_95", "p_value"]].isna().all(axis=None)
    assert table.loc[errors, ["chance", "chance_95", "p_value"]].notna().all(axis=None)


def test_values_are_those_of_the_functions(both, table):
    dual = both[both["supervision"] == "dual"]
    probability, oa = dual["prob_oa"].to_numpy(), dual["oa"].to_numpy() == 1
    pred_kl = dual["pred_kl"].to_numpy(dtype=int)
    confidence = dual[PROB_KL].to_numpy()[np.arange(80), pred_kl]
    got = measures(table)
    slope = recalibration.calibration_slope(probability, oa)
    assert tuple(got.loc[calibration.SLOPE, ["value", "low", "high"]]) == (
        slope.value, slope.low, slope.high,
    )  # fmt: skip
    assert_allclose(got.loc[calibration.OA_ECE, "value"], ece(probability, oa))
    right = dual["kl"].to_numpy() == pred_kl
    assert_allclose(got.loc[calibration.KL_ECE, "value"], ece(confidence, right))
    chance = calibration.chance_error(np.clip(confidence, 0, 1), 200, 4)
    row = got.loc[calibration.KL_ECE]
    assert_allclose(row["chance_95"], np.quantile(chance, 0.95))
    assert_allclose(row["p_value"], (1 + (chance >= row["value"] - 1e-12).sum()) / 201)


def test_one_class_alone_says_why():
    flat = calibration.calibration_table(model(0, n=12, kl=np.full(12, 3)), n_draws=20, seed=0)
    got = measures(flat)
    assert np.isnan(got.loc[calibration.SLOPE, "value"])
    assert got.loc[calibration.SLOPE, "why"] == "all cases are of one class"
    assert not calibration.overconfident(flat).any()


def test_the_published_models(shared):
    """Slopes of .10 to .57, and shifts of -7.3 to 1.4, as an independent review found them."""
    predictions = read_published(shared / "real/published_predictions")
    table = calibration.calibration_table(predictions, n_draws=50, seed=0)
    slopes = table[table["measure"] == calibration.SLOPE]["value"]
    assert len(slopes) == 9
    assert_allclose([slopes.min(), slopes.max()], [0.10, 0.57], atol=0.006)
    shifts = table[table["measure"] == calibration.INTERCEPT]["value"]
    assert_allclose([shifts.min(), shifts.max()], [-7.3, 1.4], atol=0.06)
    for clip in (1e-3, 1e-6, 1e-9):
        again = calibration.calibration_table(predictions, n_draws=2, seed=0, clip=clip)
        assert calibration.overconfident(again).sum() == 9


# ---- reliability


@pytest.mark.parametrize("bins", [5, 10])
def test_reliability_is_scikit_learns_curve(both, bins):
    got = calibration.reliability(both, bins=bins)
    for supervision, rows in both.groupby("supervision"):
        here = got[(got["supervision"] == supervision) & (got["of"] == "OA probability")]
        observed, predicted = calibration_curve(rows["oa"], rows["prob_oa"], n_bins=bins)
        assert_allclose(here["observed"], observed)
        assert_allclose(here["predicted"], predicted)
        assert here["n"].sum() == 80
        for row in here.itertuples():
            assert row.bin_low - 1e-12 <= row.predicted <= row.bin_high + 1e-12
            limits = proportion_confint(round(row.observed * row.n), row.n, method="beta")
            assert_allclose([row.low, row.high], limits, rtol=1e-9)
    assert set(got["of"][got["supervision"] == "single_oa"]) == {"OA probability"}


def test_reliability_of_the_grade_and_the_error_are_one_thing(both, table):
    got = calibration.reliability(both)
    kinds = {calibration.KL_ECE: "KL confidence", calibration.OA_ECE: "OA probability"}
    for name, kind in kinds.items():
        here = got[(got["supervision"] == "dual") & (got["of"] == kind)]
        error = (here["n"] * (here["predicted"] - here["observed"]).abs()).sum() / 80
        assert_allclose(measures(table).loc[name, "value"], error, atol=1e-12)


def test_limits_belong_to_the_bin_below():
    places = calibration._bin_of(np.array([0, 0.25, 0.2500001, 0.5, 1]), 4)
    assert_array_equal(places, [0, 0, 1, 1, 3])


def test_what_is_said_of_each_grade(both):
    got = calibration.by_grade(both)
    said = both.groupby([*MODEL, "kl"], sort=False)[["prob_oa", "pred_oa"]].mean()
    for row in got.itertuples():
        column = {"mean probability of OA": "prob_oa", "share called OA": "pred_oa"}[row.of]
        place = (row.backbone, row.supervision, row.seed, row.kl)
        assert_allclose(row.value, said.loc[place, column])
        assert row.n == 16
        if column == "pred_oa":
            limits = proportion_confint(round(row.value * 16), 16, method="beta")
            assert_allclose([row.low, row.high], limits)
        assert row.low <= row.value <= row.high
    assert len(got) == 2 * 5 * 2
