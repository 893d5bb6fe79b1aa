"""Clinical measures against scikit-learn, exact intervals against the binomial."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import (
    brier_score_loss,
    cohen_kappa_score,
    confusion_matrix,
    mean_absolute_error,
)
from statsmodels.stats.proportion import proportion_confint

from oacore.instruments.published.predictions import read_published
from oacore.metrics import clinical
from oacore.metrics.predictions import MODEL, PROB_KL
from oacore.metrics.resampling import resample_counts
from tests.helpers import drawn_cases, measures, model, two_models

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


def ranked(label, probability):
    """One case, threshold by threshold: Brier scores of "at most this grade", averaged."""
    total = 0.0
    for grade in range(4):
        said = sum(probability[: grade + 1])
        total += (said - (1 if label <= grade else 0)) ** 2
    return total / 4


def test_ranked_probability_score_by_its_definition_on_every_resample():
    rng = np.random.default_rng(3)
    label, probability = rng.integers(0, 5, 40), rng.dirichlet(np.ones(5) / 2, 40)
    counts = resample_counts(40, 12, rng)
    values = clinical.ranked_probability_score(counts, label, probability)
    skills = clinical.ranked_probability_skill(counts, label, probability)
    train = np.array([0.1, 0.2, 0.3, 0.3, 0.1])
    given = clinical.ranked_probability_skill(counts, label, probability, train)
    for row, value, skill, known in zip(counts, values, skills, given, strict=True):
        cases = drawn_cases(row)
        score = np.mean([ranked(label[i], probability[i]) for i in cases])
        assert_allclose(value, score, rtol=0, atol=1e-12)
        rates = np.bincount(label[cases], minlength=5) / 40
        for base, got in ((rates, skill), (train, known)):
            of_base = np.mean([ranked(label[i], base) for i in cases])
            assert_allclose(got, 1 - score / of_base, rtol=0, atol=1e-9)


def test_ranked_probability_score_at_its_ends():
    ones, sure = np.ones((1, 5)), np.eye(5)
    label = np.arange(5)
    assert clinical.ranked_probability_score(ones, label, sure) == 0
    assert clinical.ranked_probability_skill(ones, label, sure) == 1
    assert clinical.ranked_probability_score(np.ones((1, 1)), np.array([0]), sure[4:]) == 1
    # A miss by one grade costs a quarter of one by four.
    assert clinical.ranked_probability_score(np.ones((1, 1)), np.array([0]), sure[1:2]) == 0.25
    even = np.full((5, 5), 0.2)
    assert_allclose(clinical.ranked_probability_skill(ones, label, even), 0, atol=1e-12)
    assert np.isnan(clinical.ranked_probability_skill(ones, np.full(5, 2), even))


# ---- the table


@pytest.fixture(scope="module")
def both():
    return two_models()


@pytest.fixture(scope="module")
def table(both):
    return clinical.clinical_table(both, n_resamples=300, seed=4)


def test_rows_of_each_model(table):
    assert list(table.columns) == clinical.COLUMNS
    assert tuple(measures(table).index) == clinical.ORDER
    assert tuple(measures(table, "single_oa").index) == (
        "sensitivity for OA",
        "specificity for OA",
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
    got = measures(table)["value"]
    score = np.mean([ranked(*pair) for pair in zip(kl, dual[PROB_KL].to_numpy(), strict=True)])
    expected = {
        clinical.KAPPA: cohen_kappa_score(kl, pred_kl, weights="quadratic"),
        clinical.WITHIN_ONE: np.diag(confusion_matrix(kl, pred_kl), 0).sum() / 80
        + sum(np.diag(confusion_matrix(kl, pred_kl), k).sum() for k in (-1, 1)) / 80,
        clinical.GRADE_ERROR: mean_absolute_error(kl, pred_kl),
        clinical.OA_BRIER: brier_score_loss(dual["oa"], dual["prob_oa"]),
        clinical.RPS: score,
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
            got = measures(table, supervision).loc[name]
            assert (got["value"], got["n"]) == (k / n, n)
            assert_allclose(
                [got["low"], got["high"]], proportion_confint(k, n, method="beta"), rtol=1e-9
            )


def test_the_share_within_one_grade_has_an_exact_interval(both, table):
    dual = both[both["supervision"] == "dual"]
    near = ((dual["kl"] - dual["pred_kl"].astype(int)).abs() <= 1).sum()
    got = measures(table).loc[clinical.WITHIN_ONE]
    assert_allclose(
        [got["low"], got["high"]], proportion_confint(near, 80, method="beta"), rtol=1e-9
    )
    assert got["n"] == 80


def test_intervals_are_percentiles_of_the_resamples(both, table):
    dual = both[both["supervision"] == "dual"]
    drawn = [dual.iloc[drawn_cases(row)] for row in resample_counts(80, 300, seed=4)]
    kappa = [
        cohen_kappa_score(t["kl"], t["pred_kl"].astype(int), weights="quadratic") for t in drawn
    ]
    got = measures(table).loc[clinical.KAPPA]
    assert_allclose([got["low"], got["high"]], np.percentile(kappa, [2.5, 97.5]), atol=1e-9)


def test_every_case_positive_and_every_answer_one_grade():
    flat = model(0, n=12, kl=np.full(12, 3)).assign(pred_kl=pd.array([3] * 12, dtype="Int64"))
    got = measures(clinical.clinical_table(flat, n_resamples=20, seed=0))
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
    assert len(got) == 3 * (3 + 8 + 8)
    # The facts file's tables: Single-OA TP 57, FN 8, TN 21, FP 12; KL of Single-KL and Dual.
    resnet = got[got["backbone"] == "resnet3d"].set_index(["supervision", "measure"])["value"]
    assert resnet["single_oa", clinical.SENSITIVITY] == 57 / 65
    assert resnet["single_oa", clinical.SPECIFICITY] == 21 / 33
    matrix = np.array([[15, 0, 6, 0, 0], [4, 0, 8, 0, 0], [4, 1, 17, 0, 0], [3, 9, 12, 2, 2],
                       [2, 5, 4, 2, 2]])  # fmt: skip
    distance = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    assert_allclose(resnet["single_kl", clinical.GRADE_ERROR], (matrix * distance).sum() / 98)
    assert_allclose(resnet["single_kl", clinical.WITHIN_ONE], matrix[distance < 2].sum() / 98)


def test_undefined_resamples_are_counted_and_too_many_leave_no_interval():
    """Kappa lacks a value where one grade is all that was read and answered."""
    kl = np.array([3] * 11 + [2])
    rare = model(0, n=12, kl=kl).assign(pred_kl=pd.array([3] * 12, dtype="Int64"))
    got = measures(clinical.clinical_table(rare, n_resamples=400, seed=0))
    counts = resample_counts(12, 400, 0)
    lacking = int((counts[:, 11] == 0).sum())
    assert got.loc[clinical.KAPPA, "n_undefined"] == lacking > 100
    assert got.loc[clinical.KAPPA, ["low", "high"]].isna().all()
    assert got.loc[clinical.RPS_SKILL, "n_undefined"] == lacking
    others = got.drop([clinical.KAPPA, clinical.RPS_SKILL])
    assert (others["n_undefined"] == 0).all() and got["n_undefined"].dtype == int
