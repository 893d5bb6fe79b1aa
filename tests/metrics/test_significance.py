"""Tests and intervals against their definitions, SciPy, and resampling."""

from itertools import chain, combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from statsmodels.stats import contingency_tables
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from oacore.metrics import significance as s


def right_and_wrong(both, only_first, only_second, neither):
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return np.array(first), np.array(second)


# ---- McNemar


@pytest.mark.parametrize(("b", "c"), [(8, 6), (14, 7), (0, 1), (3, 3), (24, 0), (0, 0)])
def test_few_discordant_pairs_are_a_binomial(b, c):
    got = s.mcnemar(*right_and_wrong(40, b, c, 5))
    assert (got.only_first, got.only_second, got.test) == (b, c, "mcnemar_exact")
    tail = stats.binom.cdf(min(b, c), b + c, 0.5)
    assert_allclose(got.p_value, min(1, 2 * tail), rtol=1e-12)


@pytest.mark.parametrize(("b", "c"), [(13, 18), (25, 0), (13, 12), (20, 20), (0, 60)])
def test_many_discordant_pairs_are_chi_square_with_correction(b, c):
    got = s.mcnemar(*right_and_wrong(3, b, c, 7))
    assert got.test == "mcnemar_chi2+continuity"
    half = (b + c) / 2
    # Each of b and c against their half, half a case nearer (b = c would pass it by as much).
    statistic = sum((abs(k - half) - 0.5) ** 2 / half for k in (b, c))
    assert_allclose(got.p_value, stats.chi2.sf(statistic, 1), rtol=1e-12)


def test_mid_p_counts_half_of_what_is_as_uneven():
    """Every sequence of tosses of a fair coin, one by one."""
    for n in range(1, 13):
        heads = np.array([bin(tosses).count("1") for tosses in range(2**n)])
        apart = np.abs(heads - n / 2)
        for b in range(n + 1):
            seen = abs(b - n / 2)
            expected = (apart > seen).mean() + (apart == seen).mean() / 2
            got = s.mcnemar(*right_and_wrong(4, b, n - b, 2))
            assert_allclose(got.mid_p, expected, rtol=1e-12)
            assert got.mid_p < got.p_value  # always below the exact one
    assert s.mcnemar(*right_and_wrong(4, 0, 0, 2)).mid_p == 1


@pytest.mark.parametrize(("b", "c"), [(3, 9), (0, 5), (14, 7), (30, 12)])
def test_mid_p_is_statsmodels_exact_test_less_half_of_the_split_seen(b, c):
    table = [[5, b], [c, 5]]
    exact = contingency_tables.mcnemar(table, exact=True).pvalue
    assert_allclose(s.mcnemar_mid_p(b, c), exact - stats.binom.pmf(b, b + c, 0.5), rtol=1e-9)


def test_mid_p_keeps_to_its_level_better_than_the_exact_test():
    """Chance of p <= .05 among 98 cases, of which equally good models share out some."""

    def called(test):
        """By the number of discordant pairs."""
        return [
            sum(p for b, p in enumerate(stats.binom.pmf(np.arange(n + 1), n, 0.5))
                if test(b, n - b) <= 0.05)
            for n in range(99)
        ]  # fmt: skip

    def exact(b, c):
        return stats.binomtest(b, b + c).pvalue if b + c else 1

    level_of_mid, level_of_exact = called(s.mcnemar_mid_p), called(exact)
    for share in (0.1, 0.2, 0.3, 0.4):
        pairs = stats.binom.pmf(np.arange(99), 98, share)
        assert pairs @ level_of_exact < 0.035 < 0.041 <= round(pairs @ level_of_mid, 3) <= 0.05


def test_mcnemar_looks_at_both_sides_and_not_at_concordant_pairs():
    first, second = right_and_wrong(50, 9, 2, 0)
    assert s.mcnemar(first, second).p_value == s.mcnemar(second, first).p_value
    assert s.mcnemar(first, second).only_first == s.mcnemar(second, first).only_second == 9
    assert s.mcnemar(*right_and_wrong(1, 9, 2, 80)).p_value == s.mcnemar(first, second).p_value


def test_mcnemar_is_that_of_statsmodels():
    for b in range(0, 40, 3):
        for c in range(0, 40, 4):
            got = s.mcnemar(*right_and_wrong(17, b, c, 6))
            theirs = mcnemar([[17, b], [c, 6]], exact=b + c < 25, correction=True)
            assert_allclose(got.p_value, theirs.pvalue, rtol=1e-12)


# ---- DeLong


def by_definition(label, reference, other):
    """AUCs and the variance of their difference as DeLong et al. 1988 write them."""
    aucs, v10, v01 = [], [], []
    for score in (reference, other):
        psi = np.array([[(x > y) + (x == y) / 2 for y in score[~label]] for x in score[label]])
        aucs.append(psi.mean())
        v10.append(psi.mean(axis=1))  # X components, one for each positive
        v01.append(psi.mean(axis=0))  # Y components, one for each negative
    S = np.cov(v10) / label.sum() + np.cov(v01) / (~label).sum()
    contrast = np.array([-1, 1])
    return aucs, contrast @ S @ contrast


@pytest.mark.parametrize("digits", [0, 1, 8])  # from many ties to none
@pytest.mark.parametrize(("m", "n"), [(65, 33), (4, 3), (9, 2)])
def test_delong_equals_its_definition(digits, m, n):
    rng = np.random.default_rng([digits, m])
    label = rng.permutation(np.arange(m + n) < m)
    reference = (rng.normal(size=m + n) + label).round(digits)
    other = (reference + rng.normal(size=m + n)).round(digits)
    got = s.delong(label, reference, other)
    aucs, variance = by_definition(label, reference, other)
    assert_allclose([got.auc_reference, got.auc_other], aucs, rtol=0, atol=1e-12)
    assert_allclose(got.se, np.sqrt(variance), rtol=1e-9)
    assert_allclose(got.value, aucs[1] - aucs[0], rtol=0, atol=1e-12)
    assert_allclose(got.z, got.value / got.se)
    assert_allclose(got.p_value, 2 * stats.norm.sf(abs(got.z)))
    assert_allclose([got.low, got.high], got.value + 1.959964 * got.se * np.array([-1, 1]),
                    atol=1e-7)  # fmt: skip


def test_delongs_error_and_p_are_those_of_resampling():
    rng = np.random.default_rng(3)
    label = np.arange(300) < 160
    reference = rng.normal(size=300) + label
    other = reference + rng.normal(size=300) + 0.6 * label
    got = s.delong(label, reference, other)

    def delta(one, two, cases=slice(None)):
        aucs = []
        for score in (one[cases], two[cases]):
            y = label[cases]
            aucs.append(stats.mannwhitneyu(score[y], score[~y]).statistic / y.sum() / (~y).sum())
        return aucs[1] - aucs[0]

    drawn = [
        np.concatenate([rng.integers(0, 160, 160), rng.integers(160, 300, 140)]) for _ in range(400)
    ]
    assert_allclose(np.std([delta(reference, other, cases) for cases in drawn]), got.se, rtol=0.12)
    # Under the null hypothesis the two scores of a case, as ranks, can change places.
    ranks = stats.rankdata(reference), stats.rankdata(other)
    swapped = []
    for _ in range(400):
        turn = rng.random(300) < 0.5
        swapped.append(abs(delta(np.where(turn, *ranks), np.where(turn, *ranks[::-1]))))
    share = np.mean(np.array(swapped) >= abs(got.value))
    assert 0.02 < got.p_value < 0.98
    assert share == pytest.approx(got.p_value, abs=0.08)


def test_delong_without_spread():
    label = np.array([0, 0, 0, 1, 1, 1]) == 1
    score = np.array([0.1, 0.2, 0.7, 0.3, 0.6, 0.9])
    same = s.delong(label, score, np.exp(score))  # ranks alike
    assert (same.value, same.se, same.low, same.high) == (0, 0, 0, 0)
    assert (same.z, same.p_value) == (0, 1)
    apart = s.delong(label, np.full(6, 0.5), label.astype(float))  # constant against perfect
    assert (apart.auc_reference, apart.auc_other, apart.se) == (0.5, 1, 0)
    assert np.isnan([apart.low, apart.high, apart.z, apart.p_value]).all()
    one = s.delong(label[2:4], score[2:4], -score[2:4])  # one positive: no variance
    assert (one.auc_reference, one.auc_other) == (0, 1) and np.isnan([one.se, one.p_value]).all()
    none = s.delong(label[:3], score[:3], score[:3])
    assert np.isnan([none.auc_reference, none.value, none.p_value]).all()


def test_delong_of_single_precision():
    rng = np.random.default_rng(0)
    label = np.arange(40) % 2 == 1
    scores = rng.random((2, 40)).astype(np.float32)
    assert s.delong(label, *scores) == s.delong(label, *scores.astype(np.float64))


# ---- bootstrap


@pytest.mark.parametrize(
    ("delta", "p"),
    [
        ([1, 2, 3], 2 / 4),  # none at or below 0: not 0
        ([-1, 1, 2, 3, 4, 5, 6], 2 * 2 / 8),
        ([0, 1, 2, 3, 4, 5, 6], 2 * 2 / 8),  # a 0 counts on both sides
        ([-1, 1], 1),  # 4 / 3
        ([0, 0, 0], 1),
        ([np.nan, *[1] * 999], 2 / 1000),
    ],
)
def test_bootstrap_p(delta, p):
    assert s.bootstrap_p(delta) == s.bootstrap_p(-np.array(delta)) == p


def test_nothing_defined_nothing_said():
    none = [np.nan, np.nan]
    assert np.isnan(s.bootstrap_p(none))
    assert np.isnan(s.percentile_interval(none)).all()
    assert np.isnan(s.bca_interval(0.5, none, none)).all()
    assert np.isnan(s.bootstrap_se(none)) and np.isnan(s.bootstrap_se([0.3, np.nan]))


def test_too_many_undefined_resamples_say_nothing():
    resampled = np.random.default_rng(0).normal(size=1000)
    at_limit = int(1000 * s.UNDEFINED_LIMIT)
    for undefined, silent in ((at_limit, False), (at_limit + 1, True)):
        resampled[:undefined] = np.nan
        found = [s.bootstrap_p(resampled), s.bootstrap_se(resampled)]
        found += [*s.percentile_interval(resampled), *s.bca_interval(0.0, resampled, range(5))]
        assert np.isnan(found).all() == np.isnan(found).any() == silent


def test_the_standard_error_is_scipys_of_the_defined_resamples():
    rng = np.random.default_rng(0)
    scipys = stats.bootstrap((rng.normal(size=25),), np.mean, n_resamples=300, random_state=rng)
    resampled = scipys.bootstrap_distribution
    assert_allclose(s.bootstrap_se(resampled), scipys.standard_error, rtol=1e-12)
    assert s.bootstrap_se([*resampled, np.nan]) == s.bootstrap_se(resampled)


def statistic(x, axis=-1):
    return np.exp(x).mean(axis=axis)  # skewed: z0 and a matter


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_bca_is_scipys(level):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=25)
        scipys = stats.bootstrap(
            (x,), statistic, n_resamples=500, confidence_level=level, method="BCa", random_state=rng
        )
        left_out = [statistic(np.delete(x, i)) for i in range(25)]
        got = s.bca_interval(statistic(x), scipys.bootstrap_distribution, left_out, level)
        assert_allclose(got, scipys.confidence_interval, rtol=1e-9)
        plain = s.percentile_interval(scipys.bootstrap_distribution, level)
        assert abs(got[1] - plain[1]) > 1e-3


def test_bca_counts_ties_with_the_estimate_by_half_as_scipy_does():
    rng = np.random.default_rng(1)
    right = rng.random(30) < 0.7  # an accuracy takes 31 values
    scipys = stats.bootstrap(
        (right.astype(float),), np.mean, n_resamples=400, method="BCa", random_state=rng
    )
    resampled = scipys.bootstrap_distribution
    assert np.mean(np.isclose(resampled, right.mean())) > 0.1
    left_out = [np.delete(right, i).mean() for i in range(30)]
    got = s.bca_interval(right.mean(), resampled, left_out)
    assert_allclose(got, scipys.confidence_interval, rtol=1e-9)


def test_bca_of_what_has_no_spread_or_one_side():
    assert s.bca_interval(0.25, np.full(9, 0.25), np.full(4, 0.25)) == (0.25, 0.25)
    assert s.bca_interval(0.25, [*[0.25] * 999, np.nan], [np.nan] * 4) == (0.25, 0.25)
    assert np.isnan(s.bca_interval(0.0, [1, 2, 3], [0, 1, 2])).all()
    # Leaving a case out changes nothing: a is 0, and z0 alone shifts.
    resampled = np.random.default_rng(0).normal(size=999)
    got = s.bca_interval(0.3, resampled, [0.3] * 20)
    z0 = stats.norm.ppf((resampled < 0.3).mean())
    levels = stats.norm.cdf(2 * z0 + np.array([-1.959964, 1.959964]))
    assert_allclose(got, np.quantile(resampled, levels), atol=1e-6)
    # Undefined values are left out of both.
    holes = s.bca_interval(0.3, [*resampled, np.nan], [1.0, np.nan, 2, 4])
    assert holes == s.bca_interval(0.3, resampled, [1.0, 2, 4])


# ---- families


def families():
    rng = np.random.default_rng(5)
    for size in (1, 2, 4, 6):
        for _ in range(5):
            yield rng.random(size).round(1) ** 2  # with ties, zeros and ones


@pytest.mark.parametrize("p", list(families()))
def test_holm_is_the_closed_test_of_bonferroni(p):
    members = range(p.size)
    subsets = list(chain.from_iterable(combinations(members, k + 1) for k in members))
    # A hypothesis falls if every intersection that it belongs to does.
    expected = [
        max(min(1, len(S) * min(p[j] for j in S)) for S in subsets if i in S) for i in members
    ]
    assert_allclose(s.holm(p), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("p", list(families()))
def test_benjamini_hochberg_by_its_definition(p):
    got = s.benjamini_hochberg(p)
    for rate in (0.013, 0.051, 0.203, 0.507, 0.953):
        ranked = np.sort(p)
        passing = [k for k in range(1, p.size + 1) if ranked[k - 1] <= k / p.size * rate]
        limit = ranked[max(passing) - 1] if passing else -1
        # Away from equality, which rounding decides.
        assert_array_equal(got <= rate + 1e-12, p <= limit + 1e-12)


@pytest.mark.parametrize(("adjust", "method"), [(s.holm, "holm"),
                                                (s.benjamini_hochberg, "fdr_bh")])  # fmt: skip
def test_families_are_adjusted_as_statsmodels_does(adjust, method):
    rng = np.random.default_rng(6)
    for size in (1, 2, 18, 45, 200):
        for digits in (1, 2, 9):  # from many ties to none
            p = rng.beta(0.4, 1, size).round(digits)
            assert_allclose(adjust(p), multipletests(p, method=method)[1], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("adjust", [s.holm, s.benjamini_hochberg])
def test_undefined_p_values_are_no_members(adjust):
    p = np.array([0.01, np.nan, 0.04, np.nan, 0.03])
    got = adjust(p)
    assert_array_equal(np.isnan(got), np.isnan(p))
    assert_array_equal(got[[0, 2, 4]], adjust(p[[0, 2, 4]]))
    assert np.isnan(adjust([np.nan])).all() and adjust([]).size == 0
