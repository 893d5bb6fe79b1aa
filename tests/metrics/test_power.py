"""Detectable differences and equivalence, against statsmodels and against simulation."""

import numpy as np
import pytest
from scipy.stats import norm, t
from statsmodels.stats.power import TTestPower, normal_power
from statsmodels.stats.weightstats import DescrStatsW

from oacore.metrics.power import detectable, equivalence_interval


@pytest.mark.parametrize(("n", "tolerance"), [(2, 0.15), (3, 0.06), (6, 0.01), (31, 0.001)])
def test_detectable_is_what_statsmodels_solves_for(n, tolerance):
    theirs = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8, alternative="two-sided")
    ours = float(detectable(1 / np.sqrt(n), n - 1))  # n values of standard deviation 1
    assert ours == pytest.approx(theirs, rel=tolerance)


def test_without_a_limit_on_the_degrees_of_freedom_it_is_the_normal_rule():
    assert detectable(0.03, np.inf) == pytest.approx(0.03 * (norm.ppf(0.975) + norm.ppf(0.8)))
    assert normal_power(float(detectable(1.0, np.inf)), 1, 0.05) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize("df", [4, 12, np.inf])
def test_a_difference_of_that_size_is_found_four_times_in_five(df):
    rng = np.random.default_rng(0)
    value = rng.normal(float(detectable(1.0, df)), 1, 40_000)
    se = np.sqrt(rng.chisquare(df, len(value)) / df) if np.isfinite(df) else np.ones(len(value))
    found = np.abs(value) > t.ppf(0.975, df) * se
    assert found.mean() == pytest.approx(0.8, abs=0.02)


def test_nothing_can_be_said_where_no_spread_was_seen():
    assert np.isnan(detectable([0.0, np.nan, -1.0], 5)).all()
    assert np.isnan(detectable(0.1, np.nan))
    assert np.isnan(equivalence_interval(0.0, 0.0, np.inf)).all()
    seen = detectable([0.1, 0.2], [np.inf, 2])
    assert seen.shape == (2,) and seen[1] > 2 * seen[0]


@pytest.mark.parametrize("margin", [0.2, 0.4, 0.7])
def test_inside_the_margin_is_statsmodels_two_one_sided_tests(margin):
    verdicts = set()
    for seed in range(40):
        x = np.random.default_rng(seed).normal(0.1, 1, 30)
        low, high = equivalence_interval(x.mean(), x.std(ddof=1) / np.sqrt(30), 29)
        p, _, _ = DescrStatsW(x).ttost_mean(-margin, margin)
        assert (low > -margin and high < margin) == (p < 0.05)
        verdicts.add(p < 0.05)
    assert margin == 0.2 or verdicts == {True, False}
