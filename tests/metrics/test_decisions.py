"""Net benefit against its definition, its intervals against those of statsmodels and Newcombe."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import confusion_matrix
from statsmodels.stats.proportion import proportion_confint

from oacore.instruments.published.predictions import read_published
from oacore.metrics import decisions
from tests.helpers import model


def test_net_benefit_is_that_of_vickers_and_elkin():
    table = model(0, n=80)
    curves = decisions.decision_curves(table)
    assert len(curves) == len(decisions.THRESHOLDS) == 19
    share = table["oa"].mean()
    for row in curves.itertuples():
        t = row.threshold
        called = table["prob_oa"] >= t
        (_, fp), (_, tp) = confusion_matrix(table["oa"], called, labels=[0, 1])
        assert_allclose(row.value, tp / 80 - fp / 80 * t / (1 - t), atol=1e-12)
        assert_allclose(row.treat_all, share - (1 - share) * t / (1 - t), atol=1e-12)
        assert_allclose(row.gain, row.value - max(row.treat_all, 0), atol=1e-12)
        assert row.low <= row.value <= row.high
        assert row.gain_low <= row.gain <= row.gain_high


def test_with_one_share_alone_the_interval_is_its_own():
    """At a threshold near 0 healthy cases cost nothing: the benefit is the share of the sick."""
    value, low, high = decisions.net_benefit(30, 20, 98, 1e-12)
    assert_allclose([value, low, high], [30 / 98, *proportion_confint(30, 98, method="wilson")])
    left = decisions.net_benefit(30, 20, 98, 1e-12, left=True)
    assert_allclose(left, [-value, -high, -low])


def test_at_one_half_the_interval_is_newcombes_of_a_paired_difference():
    """His method 10 without continuity correction, written as he does, for shares that exclude."""
    b, c, n = 14, 5, 98
    (l1, u1), (l2, u2) = (proportion_confint(k, n, method="wilson") for k in (b, c))
    p1, p2 = b / n, c / n
    phi = -np.sqrt(p1 * p2 / ((1 - p1) * (1 - p2)))  # correlation of two counts of a multinomial
    down = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    up = (u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2
    expected = p1 - p2, p1 - p2 - np.sqrt(down), p1 - p2 + np.sqrt(up)
    assert_allclose(decisions.net_benefit(b, c, n, 0.5), expected)


@pytest.mark.parametrize("left", [False, True])
def test_the_interval_covers_where_few_cases_count(left):
    """98 cases, of which one sick in a hundred and six healthy ones lie on the side that counts."""
    rng, t, shares = np.random.default_rng(5), 0.1, np.array([0.01, 0.06, 0.93])
    sign = -1 if left else 1
    true = sign * (shares[0] - shares[1] / 9)
    held = 0
    for sick, healthy, _ in rng.multinomial(98, shares, size=1000):
        _, low, high = decisions.net_benefit(sick, healthy, 98, t, left)
        held += low <= true <= high
    assert 920 <= held <= 985


def test_perfect_and_useless_models():
    kl = np.arange(50) % 5
    table = model(0, n=50, kl=kl)
    perfect = decisions.decision_curves(table.assign(prob_oa=table["oa"].astype(float)))
    assert_allclose(perfect["value"], 0.6)
    assert decisions.no_better(perfect, 0.3).empty
    constant = decisions.decision_curves(table.assign(prob_oa=0.6))
    assert (constant["gain"] <= 1e-12).all()
    assert len(decisions.no_better(constant, 0.3)) == len(decisions.no_better(constant, 0.7)) == 1


def test_six_of_nine_published_models_are_worth_no_more_than_treating_all(shared):
    predictions = read_published(shared / "real/published_predictions")
    curves = decisions.decision_curves(predictions)
    worse = decisions.no_better(curves, 0.3)
    assert len(worse) == 6
    # As an independent review found them, beside .519 of treating all.
    assert_allclose(sorted(worse["value"].round(3)), [0.430, 0.485, 0.491, 0.493, 0.512, 0.519])
    assert_allclose(worse["treat_all"], 0.519, atol=5e-4)
