"""Seeds and knees: held against the tables of an analysis of variance, and against simulation."""

import numpy as np
import pytest
from scipy.stats import f, norm, studentized_range, ttest_ind

from oacore.metrics.crossed import (
    BOTH,
    COLUMNS,
    KNEES,
    crossed,
    crossed_difference,
    independent_difference,
    max_t,
    mean_of,
)
from oacore.metrics.resampling import draw_cases


def standardised(rng, shape):
    """Normal numbers whose rows have mean 0 and variance 1 exactly."""
    drawn = rng.normal(size=shape)
    drawn -= drawn.mean(axis=-1, keepdims=True)
    return drawn / drawn.std(axis=-1, ddof=1, keepdims=True)


def test_the_figures_printed_for_van_dykes_five_readers_are_found():
    # Obuchowski-Rockette of Van Dyke's MRI study as the literature and R's RJafroc print it.
    ms_tr, covariances, difference = 0.00055103062, 0.00034407483 - 0.00023902858, -0.04380032
    rng = np.random.default_rng(0)
    own = difference + standardised(rng, 5) * np.sqrt(2 * ms_tr)
    shared = standardised(rng, 4000) * np.sqrt(2 * covariances)
    found = crossed(np.column_stack([own, np.tile(shared, (5, 1))]))
    assert found["value"] == pytest.approx(-0.04380032)
    assert found["se"] == pytest.approx(0.020748618, rel=1e-6)
    assert found["df"] == pytest.approx(15.259675, rel=1e-5)
    assert found["p_value"] == pytest.approx(0.051665686, rel=1e-5)
    assert found["low"] == pytest.approx(-0.087959499, rel=1e-5)
    assert found["high"] == pytest.approx(0.00035884444, rel=1e-3)
    assert found["over"] == BOTH and found["seeds"] == 5 and list(found) == list(COLUMNS)


@pytest.mark.parametrize("seeds", [2, 3, 7])
def test_the_test_is_that_of_the_analysis_of_variance(seeds):
    rng = np.random.default_rng(10 + seeds)
    knees = rng.normal(size=(2, 1, 400)) * 0.03 + rng.normal(size=(2, seeds, 400)) * 0.01
    own = np.array([0.7, 0.75])[:, None, None] + rng.normal(size=(2, seeds, 1)) * 0.2
    values = np.concatenate([own, own + knees], axis=2)  # (model, seed, 1 + B)
    # Textbook: two treatments t, readers r; mean squares and the covariances of Hillis 2007.
    means = own[:, :, 0]
    ms_t = seeds * means.mean(axis=1).var(ddof=1)
    rest = means - means.mean(axis=1, keepdims=True) - means.mean(axis=0) + means.mean()
    ms_tr = (rest**2).sum() / (seeds - 1)
    cov = np.cov(values[:, :, 1:].reshape(2 * seeds, -1))
    model, reader = np.divmod(np.arange(2 * seeds), seeds)
    apart = reader[:, None] != reader
    cov2 = cov[apart & (model[:, None] == model)].mean()
    cov3 = cov[apart & (model[:, None] != model)].mean()
    error = ms_tr + max(seeds * (cov2 - cov3), 0)
    freedom = error**2 / (ms_tr**2 / (seeds - 1))
    found = crossed_difference(*values)
    assert found["df"] == pytest.approx(freedom)
    assert found["p_value"] == pytest.approx(f.sf(ms_t / error, 1, freedom))
    assert found["value"] == pytest.approx(found["value_other"] - found["value_reference"])


def test_one_seed_gives_an_interval_over_knees_that_says_so_and_no_p_value():
    values = np.random.default_rng(0).normal(0.5, 0.1, size=(1, 501))
    found = crossed(values)
    assert found["over"] == KNEES and found["seeds"] == 1
    np.testing.assert_allclose(
        (found["low"], found["high"]), np.percentile(values[0, 1:], [2.5, 97.5])
    )
    assert found["se"] == pytest.approx(values[0, 1:].std(ddof=1))
    assert np.isnan(found["p_value"]) and np.isinf(found["df"])
    other = mean_of(np.random.default_rng(1).normal(0.5, 0.1, size=(4, 501)))
    found = independent_difference(mean_of(values), other)
    assert found["over"] == KNEES and np.isnan(found["p_value"])


def test_seeds_that_agree_add_nothing_and_no_difference_is_no_difference():
    knees = np.random.default_rng(0).normal(0.5, 0.1, size=1001)
    alone, thrice = crossed(knees[None]), crossed(np.tile(knees, (3, 1)))
    assert thrice["se"] == pytest.approx(alone["se"]) and thrice["df"] > 1e6
    same = crossed_difference(np.tile(knees, (3, 1)), np.tile(knees, (3, 1)))
    assert (same["value"], same["low"], same["high"], same["p_value"]) == (0, 0, 0, 1)
    # Knees that all seeds see alike, and models that differ by one constant: nothing to test by.
    apart = crossed_difference(np.tile(knees, (3, 1)), np.tile(knees, (3, 1)) + 0.1)
    assert np.isnan(apart["p_value"]) and apart["low"] == pytest.approx(0.1)


@pytest.mark.parametrize(("seeds", "least"), [(2, 0.86), (3, 0.92), (5, 0.93), (10, 0.93)])
@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
def test_the_interval_holds_the_truth_as_often_as_it_says(seeds, least, spread):
    # A measure that is a mean over 60 knees; seeds differ by `spread` times what knees contribute.
    rng = np.random.default_rng(int(seeds + spread))
    repeats, n = 500, 60
    counts = draw_cases(n, 200, 1) / n
    held = 0
    for _ in range(repeats):
        of_knees = rng.normal(size=n) + 0.5 * rng.normal(size=(seeds, n))
        of_seeds = spread / np.sqrt(n) * rng.normal(size=(seeds, 1))
        found = crossed((of_knees + of_seeds) @ counts.T)
        held += found["low"] <= 0 <= found["high"]
    # 500 repeats of a share of .95 have a standard deviation of .01.
    assert least <= held / repeats <= 0.985


def test_a_constant_difference_is_not_tested():
    found = crossed(np.full((3, 501), 0.2))
    assert (found["value"], found["low"], found["high"]) == pytest.approx((0.2, 0.2, 0.2))
    assert np.isnan(found["p_value"])


def test_undefined_resamples_are_left_out_and_counted():
    values = np.random.default_rng(0).normal(0.5, 0.1, size=(3, 401))
    values[1, 1:4] = np.nan
    found, without = crossed(values), crossed(np.delete(values, np.s_[1:4], axis=1))
    assert found["n_undefined"] == 3 and without["n_undefined"] == 0
    assert {**found, "n_undefined": 0} == without
    values[1, 1:] = np.nan
    nothing = crossed(values)
    assert np.isnan([nothing["se"], nothing["low"], nothing["high"], nothing["p_value"]]).all()
    assert nothing["value"] == pytest.approx(values[:, 0].mean())
    unknown = crossed(np.full((3, 20), np.nan))
    assert np.isnan([unknown["value"], unknown["low"], unknown["p_value"]]).all()


def test_an_interval_ends_where_its_measure_ends():
    values = np.random.default_rng(0).normal(0.98, 0.02, size=(2, 401))
    assert crossed(values, within=(0, 1))["high"] == 1 < crossed(values)["high"]


def test_two_groups_of_seeds_are_those_of_welch_where_knees_say_nothing():
    rng = np.random.default_rng(4)
    one, two = rng.normal(0, 1, size=3), rng.normal(1, 2, size=6)
    still = [np.repeat(own[:, None], 11, axis=1) for own in (one, two)]
    found = independent_difference(*(mean_of(values) for values in still))
    welch = ttest_ind(two, one, equal_var=False)
    assert found["p_value"] == pytest.approx(welch.pvalue) and found["seeds"] == 3
    assert found["df"] == pytest.approx(welch.df)
    interval = welch.confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))


def test_max_t_is_tukeys_test_where_it_is_exact():
    # Many seeds of equal spread in each group, and knees that say nothing.
    rng = np.random.default_rng(0)
    groups = {
        name: mean_of(np.repeat((shift + standardised(rng, 400))[:, None], 3, axis=1))
        for name, shift in (("a", 0.0), ("b", 0.1), ("c", 0.2))
    }
    found = max_t(groups, n_draws=100_000, seed=1)
    for pair, difference in {("a", "b"): 0.1, ("b", "c"): 0.1, ("a", "c"): 0.2}.items():
        q = difference / np.sqrt(1 / 400)
        assert found[pair] == pytest.approx(studentized_range.sf(q, 3, np.inf), abs=0.008)


def test_max_t_rejects_no_difference_as_often_as_it_says():
    rng = np.random.default_rng(7)
    smallest, n = [], 400
    for _ in range(n):
        shared = rng.normal(size=(1, 201)) * 0.03  # knees, alike for all models and seeds
        means = {}
        for name in "abc":
            knees = shared + rng.normal(size=(1, 201)) * 0.02
            seeds = rng.normal(size=(3, 1)) * 0.04
            # The knees at hand are one draw of them, which all seeds share.
            means[name] = mean_of(0.7 + seeds + knees + rng.normal(size=(3, 201)) * 0.01)
        smallest.append(min(max_t(means, n_draws=2000, seed=0).values()))
    assert 0.02 < np.mean(np.array(smallest) < 0.05) < 0.085


def test_max_t_says_nothing_of_one_seed_and_more_of_two_alone_than_of_the_pair():
    rng = np.random.default_rng(2)
    one, two, three = (mean_of(rng.normal(m, 0.1, size=(4, 301))) for m in (0.5, 0.7, 0.6))
    lone = mean_of(rng.normal(0.5, 0.1, size=(1, 301)))
    assert np.isnan(list(max_t({"a": one, "b": lone}, seed=0).values())).all()
    # Of two fixed networks there is a p-value, the normal one over the knees.
    other = mean_of(rng.normal(0.8, 0.1, size=(1, 301)))
    z = (other.value - lone.value) / (other.on_resamples - lone.on_resamples).std(ddof=1)
    found = max_t({"a": lone, "b": other}, fixed=True, seed=0)["a", "b"]
    assert found == pytest.approx(2 * norm.sf(abs(z)), abs=0.01)
    pair = max_t({"a": one, "b": two}, seed=0)["a", "b"]
    assert pair == pytest.approx(independent_difference(one, two)["p_value"], abs=0.02)
    assert max_t({"a": one, "b": two, "c": three}, seed=0)["a", "b"] > pair
