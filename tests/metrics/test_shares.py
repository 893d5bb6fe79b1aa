"""Intervals of a share against statsmodels and scipy, and where a mean stands in for a share."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from statsmodels.stats.proportion import proportion_confint

from oacore.metrics.shares import exact, share, wilson


@pytest.mark.parametrize("n", [1, 3, 8, 42, 98])
def test_both_intervals_are_those_of_statsmodels_and_scipy(n):
    for k in range(n + 1):
        got = wilson(k / n, n)
        assert got == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)
        limits = binomtest(k, n).proportion_ci(0.95, "exact")
        assert exact(k, n) == pytest.approx((limits.low, limits.high), abs=1e-12)
        assert got[0] < got[1] and exact(k, n)[0] < exact(k, n)[1]


def test_wilsons_limits_lie_so_many_standard_errors_away():
    for p, n, level in ((0.3, 12, 0.9), (0.0, 5, 0.99), (0.8, 98, 0.5)):
        z = norm.ppf((1 + level) / 2)
        for limit in wilson(p, n, z):
            assert abs(p - limit) == pytest.approx(z * np.sqrt(limit * (1 - limit) / n), abs=1e-9)
        counted = proportion_confint(round(p * n), n, alpha=1 - level, method="wilson")
        if round(p * n) == p * n:
            assert wilson(p, n, z) == pytest.approx(counted, abs=1e-12)


def test_a_share_is_counted_and_none_of_none():
    value, low, high, n = share(np.arange(98) < 65)
    assert (value, n) == (65 / 98, 98)
    assert (low, high) == pytest.approx(proportion_confint(65, 98, method="beta"), abs=1e-12)
    nothing = share(np.zeros(0))
    assert np.isnan(nothing[:3]).all() and nothing[3] == 0


def test_the_interval_of_a_mean_probability_is_wide_rather_than_narrow():
    for a, b in ((1, 1), (0.3, 0.3), (2, 0.2), (0.1, 0.02)):
        rng = np.random.default_rng(0)
        ends = [share(rng.beta(a, b, 12))[1:3] for _ in range(400)]
        assert np.mean([low <= a / (a + b) <= high for low, high in ends]) >= 0.95
