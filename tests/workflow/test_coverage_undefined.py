"""The limit of undefined resamples, in small; the docstring of the limit quotes more repeats."""

import pytest

from oacore.metrics.significance import UNDEFINED_LIMIT
from workflow.coverage_undefined import rejections


@pytest.mark.parametrize("sizes", [(24, 1, 24, 25, 25), (97, 1)])
def test_beyond_the_limit_equally_good_models_are_called_different(sizes):
    found = rejections(sizes, repeats=60, seed=1, n_resamples=500)
    assert found["undefined"] == pytest.approx((1 - 1 / sum(sizes)) ** sum(sizes), abs=0.01)
    assert found["undefined"] > UNDEFINED_LIMIT and found["rejected"] > 0.2


@pytest.mark.parametrize("sizes", [(24, 4, 24, 25, 25), (5, 5, 5, 5, 5), (94, 4)])
def test_within_the_limit_a_test_keeps_its_level(sizes):
    found = rejections(sizes, repeats=100, seed=1, n_resamples=500)
    assert 0 < found["undefined"] <= UNDEFINED_LIMIT
    # Of 100 repeats a share of .05 has a standard deviation of .022.
    assert found["rejected"] <= 0.12


@pytest.mark.parametrize("measure", ["f1", "kappa"])
@pytest.mark.parametrize("few", [1, 2, 3])
def test_what_stays_defined_without_a_grade_keeps_its_level(measure, few):
    found = rejections((24, few, 24, 25, 25), 150, seed=1, n_resamples=500, measure=measure)
    assert found["undefined"] == 0
    # Of 150 repeats a share of .05 has a standard deviation of .018.
    assert 0 < found["rejected"] <= 0.12


def test_one_knee_with_oa_leaves_a_sensitivity_undefined_beyond_the_limit():
    found = rejections((97, 1), repeats=60, seed=1, n_resamples=500, measure="sensitivity")
    assert found["undefined"] > UNDEFINED_LIMIT and found["rejected"] > 0.1
