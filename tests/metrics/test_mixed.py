"""The mixed model, held against the variance components of a two-way table and against crossed."""

import numpy as np
import pytest

from oacore.errors import InputError
from oacore.metrics.crossed import crossed
from oacore.metrics.mixed import mixed_difference
from oacore.metrics.resampling import draw_cases


def two_way(rng, seeds, n, sd_seed, sd_knee, sd_rest):
    of_seed, of_knee = rng.normal(size=(seeds, 1)), rng.normal(size=(1, n))
    return 0.1 + sd_seed * of_seed + sd_knee * of_knee + sd_rest * rng.normal(size=(seeds, n))


def test_the_components_are_those_of_a_balanced_two_way_table():
    y = two_way(np.random.default_rng(3), 6, 80, 0.1, 0.3, 0.4)
    found = mixed_difference(y)
    # Mean squares of the table; of a balanced one REML is their solution where none is negative.
    seeds, n = y.shape
    by_seed, by_knee = y.mean(axis=1), y.mean(axis=0)
    rest = y - by_seed[:, None] - by_knee + y.mean()
    ms_rest = (rest**2).sum() / ((seeds - 1) * (n - 1))
    of_seed = by_seed.var(ddof=1) - ms_rest / n
    of_knee = by_knee.var(ddof=1) - ms_rest / seeds
    assert min(of_seed, of_knee) > 0
    assert found["value"] == pytest.approx(y.mean())
    assert found["sd_seeds"] == pytest.approx(np.sqrt(of_seed), rel=0.01)
    assert found["sd_knees"] == pytest.approx(np.sqrt(of_knee), rel=0.01)
    assert found["sd_rest"] == pytest.approx(np.sqrt(ms_rest), rel=0.01)
    variance = of_seed / seeds + of_knee / n + ms_rest / (seeds * n)
    assert found["se"] == pytest.approx(np.sqrt(variance), rel=0.01)


def test_it_agrees_with_seeds_as_readers():
    y = two_way(np.random.default_rng(1), 5, 98, 0.08, 0.3, 0.3)
    counts = draw_cases(98, 4000, 0)
    readers = crossed(y @ (counts / 98).T)
    found = mixed_difference(y)
    assert found["value"] == pytest.approx(readers["value"])
    assert found["se"] == pytest.approx(readers["se"], rel=0.05)


def test_seeds_that_do_not_differ_have_no_variance():
    rng = np.random.default_rng(2)
    y = two_way(rng, 3, 60, 0, 0.5, 0.3)
    y -= y.mean(axis=1, keepdims=True) - y.mean()
    assert mixed_difference(y)["sd_seeds"] == pytest.approx(0, abs=0.01)
    assert mixed_difference(np.full((2, 5), 0.25))["se"] == 0


def test_one_seed_and_missing_values_are_refused():
    y = np.zeros((2, 5))
    y[0, 3] = np.nan
    for wrong in (np.zeros((1, 5)), y):
        with pytest.raises(InputError, match="at least two seeds"):
            mixed_difference(wrong)
