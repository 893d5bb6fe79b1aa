"""Each check against somebody else's arithmetic: enumeration, scipy, scikit-learn, real masks."""

from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from oacore.instruments.audit import counts
from oacore.instruments.audit import overlap as audit_overlap
from oacore.instruments.audit import ranks as audit_ranks
from oacore.instruments.audit import sums as audit_sums
from oacore.instruments.audit.counts import TwoByTwo
from oacore.instruments.audit.printed import Interval, rounded

KNEES = (21, 12, 22, 28, 15)


def point(value, reach=0):
    return Interval(Fraction(value) - Fraction(reach), Fraction(value) + Fraction(reach))


@pytest.mark.parametrize("n", [1, 7, 98])
def test_an_accuracy_is_a_share(n):
    reachable = {f"{k / n:.4f}" for k in range(n + 1)}
    for printed in (f"{v / 10000:.4f}" for v in range(0, 10001, 3)):
        assert (counts.accuracy_count(printed, n).verdict == "consistent") == (printed in reachable)


def test_an_auc_is_a_count_of_pairs():
    reachable = {f"{k / 4290:.4f}" for k in range(4291)}
    found = {
        f"{v / 10000:.4f}"
        for v in range(10001)
        if counts.auc_count(f"{v / 10000:.4f}", 65, 33).verdict == "consistent"
    }
    # A closed interval also has its ends: ties of rounding, which k / 4290 cannot be here.
    assert found == reachable
    assert 0.42 < len(found) / 10001 < 0.44  # the rates in the docstring
    assert counts.auc_count("0.938", 65, 33).verdict == "undetermined"
    assert counts.auc_count("1.001", 65, 33).verdict == "inconsistent"
    assert counts.auc_count("1.000", 65, 33).verdict == "undetermined"
    assert counts.macro_auc_count("0.6725", KNEES).verdict == "undetermined"
    assert counts.macro_auc_count("1.0001", KNEES).verdict == "inconsistent"


def test_half_pairs_are_written():
    assert counts.auc_count(f"{3509 / 4290:.4f}", 65, 33).implied == "1754.5 of 2145 pairs"


@pytest.mark.parametrize("places", [2, 3, 4])
def test_2x2_tables_against_scikit_learn(places):
    positive, negative = 9, 6
    label = np.repeat([1, 0], [positive, negative])
    every = {}
    for tp, tn in product(range(positive + 1), range(negative + 1)):
        said = np.repeat([1, 0, 1, 0], [tp, positive - tp, negative - tn, tn])
        scores = accuracy_score(label, said), f1_score(label, said, zero_division=0)
        every[TwoByTwo(tp, positive - tp, negative - tn, tn)] = scores
    for accuracy, score in every.values():
        printed = f"{accuracy:.{places}f}", f"{score:.{places}f}"
        half = 0.5 * 10.0**-places + 1e-12
        expected = [
            table
            for table, (a, f) in every.items()
            if abs(a - float(printed[0])) <= half and abs(f - float(printed[1])) <= half
        ]
        assert counts.two_by_two(*printed, positive, negative) == expected
        finding = counts.confusion(*printed, positive, negative)
        assert finding.verdict == "consistent"
        assert str(expected[0]) in finding.implied or f"{len(expected)} tables" in finding.implied
    assert counts.confusion("0.6000", "0.9999", positive, negative).verdict == "inconsistent"


def test_discordant_pairs_are_those_of_actual_knees():
    rng = np.random.default_rng(0)
    label = np.repeat([True, False], [65, 33])
    for _ in range(200):
        right = rng.random((2, 98)) < rng.uniform(0.5, 0.95, (2, 1))
        tables = [
            TwoByTwo(
                int((label & r).sum()), int((label & ~r).sum()),
                int((~label & ~r).sum()), int((~label & r).sum()),
            )
            for r in right
        ]  # fmt: skip
        pair = (int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum()))
        assert pair in counts.discordant_pairs(*tables)


@pytest.mark.parametrize(
    ("first", "second"),
    [((2, 1, 1, 1), (1, 2, 0, 2)), ((3, 1, 0, 2), (3, 1, 1, 1)), ((4, 0, 0, 3), (2, 2, 1, 2))],
)
def test_discordant_pairs_by_enumeration(first, second):
    def orders(right, wrong):
        return set(permutations([1] * right + [0] * wrong))

    first, second = TwoByTwo(*first), TwoByTwo(*second)
    seen = set()
    for a, b in product(orders(first.tp, first.fn), orders(second.tp, second.fn)):
        for c, d in product(orders(first.tn, first.fp), orders(second.tn, second.fp)):
            one, two = np.array([*a, *c], bool), np.array([*b, *d], bool)
            seen.add((int((one & ~two).sum()), int((two & ~one).sum())))
    assert counts.discordant_pairs(first, second) == sorted(seen)


def test_mcnemar_tests_are_those_of_statsmodels_and_scipy():
    from scipy.stats import binom
    from statsmodels.stats.contingency_tables import mcnemar

    for b, c in product(range(30), repeat=2):
        if b == c:
            continue
        p = counts.mcnemar_variants(b, c)
        table = [[0, b], [c, 0]]
        exact = mcnemar(table, exact=True).pvalue
        assert p["exact"] == pytest.approx(exact)
        assert p["mid-p"] == pytest.approx(exact - binom.pmf(min(b, c), b + c, 0.5))
        for name, corrected in (("chi-square", False), ("corrected chi-square", True)):
            expected = mcnemar(table, exact=False, correction=corrected).pvalue
            assert p[name] == pytest.approx(expected)


def test_another_mcnemar_test_is_no_contradiction():
    # 5 knees that only one model gets right, none that only the other does: exact p = 0.0625,
    # mid-p 0.031.
    first, second = TwoByTwo(10, 0, 0, 10), TwoByTwo(5, 5, 0, 10)
    finding = counts.mcnemar_range(first, second, "significant")
    assert finding.verdict == "undetermined" and "mid-p" in finding.implied
    # 9 against none: p = 0.004, significant by every test, but not corrected for a dozen of them.
    second = TwoByTwo(1, 9, 0, 10)
    finding = counts.mcnemar_range(first, second, "not significant")
    assert finding.verdict == "undetermined" and "several tests" in finding.implied
    assert counts.mcnemar_range(first, second, "significant").verdict == "consistent"
    # 3 against none: p = 0.25, by no test below 0.05.
    second = TwoByTwo(7, 3, 0, 10)
    assert counts.mcnemar_range(first, second, "significant").verdict == "inconsistent"


def test_mcnemar_verdicts():
    same = TwoByTwo(60, 5, 3, 30)
    worse = TwoByTwo(10, 55, 30, 3)
    assert counts.mcnemar_range(same, worse, "significant").verdict == "consistent"
    assert counts.mcnemar_range(same, worse, "not significant").verdict == "inconsistent"
    assert counts.mcnemar_range(same, worse).verdict == "undetermined"
    assert counts.mcnemar_range(same, same, "not significant").verdict == "consistent"


@pytest.mark.parametrize("seed", range(20))
def test_rho_and_auroc_are_tied(seed):
    rng = np.random.default_rng(seed)
    positive, negative = rng.integers(2, 70, 2)
    label = np.repeat([1, 0], [positive, negative])
    score = label * rng.normal() + rng.normal(size=len(label))
    rho = spearmanr(score, label).statistic
    auroc = roc_auc_score(label, score)
    implied = audit_ranks.implied_auroc(rho, positive, negative)
    assert implied == pytest.approx(max(auroc, 1 - auroc), abs=1e-12)
    tied = np.round(score)  # ties only take the AUROC nearer to 1/2 for the same rho
    if len(set(tied)) > 1:
        auroc = roc_auc_score(label, tied)
        rho = spearmanr(tied, label).statistic
        implied = audit_ranks.implied_auroc(rho, positive, negative)
        assert implied >= max(auroc, 1 - auroc) - 1e-12


def test_few_knees_are_judged_by_the_same_formula():
    rng = np.random.default_rng(0)
    for _ in range(100):
        positive, negative = rng.integers(2, 5, 2)
        label = np.repeat([1, 0], [positive, negative])
        score = label * rng.normal() + rng.normal(size=len(label))
        rho = f"{spearmanr(score, label).statistic:.4f}"
        auroc = f"{roc_auc_score(label, score):.4f}"
        finding = audit_ranks.rho_auroc(rho, auroc, int(positive), int(negative))
        assert finding.verdict == "consistent", (rho, auroc, finding)


def test_verdicts_of_rho_and_auroc():
    implied = audit_ranks.implied_auroc(0.6, 65, 33)  # 0.8665
    assert audit_ranks.rho_auroc("0.600", "0.866", 65, 33).verdict == "consistent"
    assert audit_ranks.rho_auroc("-0.600", "0.134", 65, 33).verdict == "consistent"
    assert f"{implied:.4f}" == "0.8665"
    assert audit_ranks.rho_auroc("0.600", "0.868", 65, 33).verdict == "undetermined"
    assert audit_ranks.rho_auroc("0.600", "0.869", 65, 33).verdict == "inconsistent"
    below = audit_ranks.rho_auroc("0.600", "0.864", 65, 33)
    assert below.verdict == "undetermined" and "ties in the score would explain it" in below.implied
    beyond = audit_ranks.rho_auroc("0.900", "1.000", 65, 33)  # as a score of two values has it
    assert beyond.verdict == "undetermined"
    assert beyond.implied.startswith("no untied score has |rho| above 0.8186")
    assert "mean over folds" in audit_ranks.rho_auroc("0.600", "0.869", 65, 33).implied
    off = audit_ranks.rho_auroc("0.610", "1.000", 65, 33).implied
    assert "off by 271.6 of 2145 knee pairs" in off
    # In pairs: 0.9995 is the least that rounds to 1.000, and rho at most 0.6105.
    gap = 0.9995 - audit_ranks.implied_auroc(0.6105, 65, 33)
    assert gap * 2145 == pytest.approx(271.6, abs=0.05)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_attainable_rhos_are_scipys(n):
    expected = sorted({round(spearmanr(range(n), p).statistic, 9) for p in permutations(range(n))})
    np.testing.assert_allclose([float(rho) for rho in audit_ranks.attainable_rhos(n)], expected)
    if n == 4:
        assert len(expected) == 11
        for tenth in range(-10, 11):
            allowed = audit_ranks.distance_rho(f"{tenth / 10:.3f}").verdict == "consistent"
            assert allowed == (tenth % 2 == 0)


def test_range_of_rho_kl_by_enumeration():
    knees = (2, 1, 1, 2, 1)
    kl = np.repeat(np.arange(5), knees)
    seen = {}
    for order in set(permutations(range(1, 8))):
        rho = spearmanr(order, kl >= 2).statistic.round(9)
        seen.setdefault(rho, []).append(spearmanr(order, kl).statistic)
        if len(seen) > 12 or sum(map(len, seen.values())) > 1500:
            break
    for rho, both in seen.items():
        low, high = audit_ranks.rho_kl_range(point(float(rho), 1e-9), knees)
        assert low - 1e-6 <= min(both) and max(both) <= high + 1e-6


def test_ends_of_the_range_of_rho_kl_are_met():
    # With rho(PC1,OA) at its largest, the order within OA-negative and -positive knees is free.
    kl = np.repeat(np.arange(5), KNEES)
    rng = np.random.default_rng(0)
    tie = rng.random(98) * 0.1
    best, worst = kl + tie, 10 * (kl >= 2) - kl + tie
    rho = spearmanr(best, kl >= 2).statistic
    low, high = audit_ranks.rho_kl_range(point(rho, 1e-6), KNEES)
    assert high == pytest.approx(spearmanr(best, kl).statistic, abs=1e-4)
    assert low == pytest.approx(spearmanr(worst, kl).statistic, abs=1e-4)
    assert audit_ranks.rho_kl_range(point(0.9), KNEES) is None
    assert audit_ranks.rho_joint("0.500", "0.900", KNEES).verdict == "inconsistent"
    tied = audit_ranks.rho_joint("0.860", "0.900", KNEES)
    assert tied.verdict == "undetermined" and "ties would explain it" in tied.implied
    assert audit_ranks.rho_joint("-0.500", "0.600", KNEES).verdict == "inconsistent"


def test_correlations_of_tied_scores_lie_in_the_wider_range():
    rng = np.random.default_rng(2)
    kl = np.repeat(np.arange(5), (4, 2, 3, 5, 2))
    outside = 0
    for _ in range(300):
        score = np.clip(np.round((kl + rng.normal(0, 2, 16)) / rng.choice([1, 3])), 0, 2)
        if len(set(score)) > 1:
            rho, value = spearmanr(score, kl >= 2).statistic, spearmanr(score, kl).statistic
            low, high = audit_ranks.tied_rho_kl_range(point(float(rho), 1e-9), (4, 2, 3, 5, 2))
            assert low - 1e-6 <= value <= high + 1e-6
            untied = audit_ranks.rho_kl_range(point(float(rho), 1e-9), (4, 2, 3, 5, 2))
            outside += untied is None or not untied[0] <= value <= untied[1]
    assert outside  # or the wider range would not be needed


def test_distances_that_are_equal_have_other_correlations():
    for distances in product(range(4), repeat=4):
        if len(set(distances)) > 1:
            printed = f"{spearmanr(range(4), distances).statistic:.3f}"
            untied = len(set(distances)) == 4
            verdict = audit_ranks.distance_rho(printed).verdict
            assert verdict == "consistent" if untied else verdict != "inconsistent"
    assert audit_ranks.distance_rho("0.316").verdict == "undetermined"
    assert audit_ranks.distance_rho("0.700").verdict == "inconsistent"


def test_dice_ceiling_is_met_and_never_passed():
    rng = np.random.default_rng(0)
    voxels = 2000
    for _ in range(200):
        region = np.zeros(voxels, bool)
        region[: rng.integers(1, 90)] = True
        share = Fraction(int(region.sum()), voxels)
        for top in audit_overlap.TOP.values():
            salient = np.zeros(voxels, bool)
            salient[rng.permutation(voxels)[: int(top * voxels)]] = True
            dice = 2 * (salient & region).sum() / (salient.sum() + region.sum())
            assert dice <= audit_overlap.largest_dice(share, top)
            salient = np.arange(voxels) < int(top * voxels)  # the region and more
            dice = 2 * (salient & region).sum() / (salient.sum() + region.sum())
            assert dice == pytest.approx(float(audit_overlap.largest_dice(share, top)))


def test_chance_is_the_mean_over_random_maps():
    rng = np.random.default_rng(0)
    region = np.arange(2000) < 40
    share, top = Fraction(40, 2000), Fraction(5, 100)
    dice = [2 * region[rng.permutation(2000)[:100]].sum() / 140 for _ in range(3000)]
    expected = float(audit_overlap.chance_dice(share, top))
    assert np.mean(dice) == pytest.approx(expected, abs=4 * np.std(dice) / 3000**0.5)


def test_ceilings_of_the_papers_regions():
    for share, *known in [("0.0078", 0.271, 0.145), ("0.0089", 0.303, 0.164)]:  # facts
        for ceiling, top in zip(known, audit_overlap.TOP.values(), strict=True):
            ends = rounded(share)
            low, high = (audit_overlap.largest_dice(s, top) for s in (ends.low, ends.high))
            assert low - 0.0005 <= ceiling <= high + 0.0005
    finding = audit_overlap.dice_ceiling("0.3100", Fraction(5, 100), ["0.0078", "0.0089"])
    assert finding.verdict == "inconsistent" and "at most 0.3036" in finding.implied
    assert "0.0135 by chance" in finding.implied
    assert audit_overlap.topk_ceiling("0.8950", ["0.0089"]).verdict == "consistent"
    assert audit_overlap.topk_ceiling("0.8960", ["0.0089"]).verdict == "undetermined"
    assert audit_overlap.topk_ceiling("0.9100", ["0.0089"]).verdict == "inconsistent"
    # Of two knees, one whose region is the top 5% itself can have a Dice of 1.
    finding = audit_overlap.dice_ceiling("0.9000", Fraction(5, 100), ["0.1000"])
    assert finding.verdict == "consistent"


def test_bounds_between_overlaps_hold_for_means_of_unequal_knees():
    rng = np.random.default_rng(0)
    voxels, tightest = 1000, [1.0, 1.0]
    for _ in range(300):
        knees = []
        for _ in range(rng.integers(1, 6)):
            region = np.zeros(voxels, bool)
            region[: rng.integers(1, 60)] = True
            inside = int(region.sum())
            one = rng.integers(0, min(10, inside) + 1)
            five = rng.integers(one, min(50, inside) + 1) if rng.random() < 0.5 else one
            ten = rng.integers(five, min(100, inside) + 1) if rng.random() < 0.5 else five
            knees.append((one / 10, 2 * five / (50 + inside), 2 * ten / (100 + inside), inside))
        top1, dice5, dice10, inside = (Fraction(v) for v in np.mean(knees, axis=0))
        margins = (
            dice5 - audit_overlap.least_dice5(top1, inside / voxels),
            dice10 - audit_overlap.least_dice10(dice5),
        )
        tightest = [min(a, float(b)) for a, b in zip(tightest, margins, strict=True)]
    assert min(tightest) > -1e-12 and max(tightest) < 0.02  # never passed, nearly met


def test_verdicts_of_nested_overlaps():
    def verdict(*figures):
        return audit_overlap.overlap_nested(*figures, ["0.0089"]).verdict

    assert verdict("0.2000", "0.2000", "0.1053") == "consistent"  # 2 x 0.2 / 3.8 = 0.10526
    assert verdict("0.2000", "0.2000", "0.1045") == "undetermined"  # with ties
    assert verdict("0.2000", "0.2000", "0.0100") == "inconsistent"
    assert verdict("0.9000", "0.3004", "0.1700") == "consistent"
    assert verdict("0.9000", "0.2900", "0.1700") == "undetermined"
    assert verdict("0.9000", "0.0080", "0.1700") == "inconsistent"


def test_overlaps_with_ties_stay_above_the_wider_bounds():
    rng = np.random.default_rng(1)
    met = False
    for _ in range(300):
        region = rng.random(400) < rng.uniform(0.005, 0.2)
        region[0] = True
        saliency = np.maximum(rng.integers(0, 3, 400) - 1, 0) + region * rng.integers(0, 2)
        found = []
        for top in (4, 20, 40):  # all that tie at the threshold are called salient
            salient = saliency >= np.sort(saliency)[-top]
            size = salient.sum()
            found.append((salient & region).sum() / np.array([size, (size + region.sum()) / 2]))
        figures = f"{found[0][0]:.4f}", f"{found[1][1]:.4f}", f"{found[2][1]:.4f}"
        verdict = audit_overlap.overlap_nested(*figures, [f"{region.mean():.4f}"]).verdict
        assert verdict != "inconsistent", figures
        met |= verdict == "undetermined"
    assert met


def test_an_average_by_its_corners():
    parts = ["0.893", "0.857", "0.676", "0.763", "0.791", "0.758"]
    for printed in (f"{v / 1000:.3f}" for v in range(780, 800)):
        ends = [sum(rounded(p).low for p in parts) / 6, sum(rounded(p).high for p in parts) / 6]
        half = Fraction(1, 2000)
        possible = ends[0] <= Fraction(printed) + half and Fraction(printed) - half <= ends[1]
        finding = audit_sums.average(parts, printed)
        assert (finding.verdict == "consistent") == possible
        assert (finding.verdict == "undetermined") == (printed == "0.791")  # cut off parts
    assert audit_sums.average(parts, "0.776").verdict == "inconsistent"
    touching = audit_sums.average(["0.1", "0.1"], "0.2")
    assert touching.verdict == "undetermined" and "both only if exactly 0.15" in touching.implied


def test_an_average_by_other_means():
    parts = ["0.500", "0.700", "0.900"]
    root = (sum(float(part) ** 2 for part in parts) / 3) ** 0.5
    assert audit_sums.average(parts, f"{root:.3f}").verdict == "inconsistent"
    assert audit_sums.average(parts, f"{root:.3f}", roots=True).verdict == "undetermined"
    rng = np.random.default_rng(0)
    for _ in range(100):
        weights, rows = rng.dirichlet(np.ones(3)), rng.random((5, 3))
        printed = [([f"{v:.3f}" for v in row], f"{row @ weights:.3f}") for row in rows]
        assert audit_sums.some_weights(printed)
        beyond = f"{max(rows[0]) + 0.01:.3f}"
        assert not audit_sums.some_weights([(printed[0][0], beyond), *printed[1:]])
    # Two rows that no common weights satisfy: the same parts, two averages.
    twice = [(["0.200", "0.400"], "0.250"), (["0.200", "0.400"], "0.350")]
    assert audit_sums.some_weights(twice[:1]) and not audit_sums.some_weights(twice)


def test_grade_sums():
    cells = {f"grade_{k}": str(n) for k, n in enumerate(KNEES)}
    sums = {"total": "98", "oa_negative": "33", "oa_positive": "65"}
    assert audit_sums.grade_sum(cells | sums).verdict == "consistent"
    for name in sums:
        wrong = cells | sums | {name: "97"}
        assert audit_sums.grade_sum(wrong).verdict == "inconsistent"


def test_percentages_of_grades_are_rounded():
    shares = ["21.4", "12.2", "22.4", "28.6", "15.3"]  # of 98 knees: 99.9
    cells = {f"grade_{k}": share for k, share in enumerate(shares)} | {"total": "100.0"}
    assert audit_sums.grade_sum(cells).verdict == "consistent"
    assert audit_sums.grade_sum(cells | {"grade_0": "23.4"}).verdict == "inconsistent"
    cells = {f"grade_{k}": f"{float(share):.0f}" for k, share in enumerate(shares)}
    sums = {"oa_negative": "34", "oa_positive": "66"}  # 33.7 and 66.3
    assert audit_sums.grade_sum(cells | sums).verdict == "undetermined"
    assert audit_sums.grade_sum(cells | sums | {"total": "98"}).verdict == "inconsistent"


def test_repeats_and_differences():
    assert audit_sums.repeated_figure("0.753", "0.753", "T").verdict == "consistent"
    assert audit_sums.repeated_figure("0.75", "0.753", "T").verdict == "consistent"
    assert audit_sums.repeated_figure("0.752", "0.753", "T").verdict == "undetermined"
    assert audit_sums.repeated_figure("0.703", "0.705", "T").verdict == "inconsistent"
    assert audit_sums.difference("0.1255", "0.9175", "0.7921").verdict == "consistent"
    assert audit_sums.difference("0.1257", "0.9175", "0.7921").verdict == "undetermined"


def test_macro_f1_of_two_classes_is_at_most_the_accuracy():
    rng = np.random.default_rng(0)
    largest = -1.0
    for _ in range(300):
        label, said = rng.random((2, 30)) < rng.uniform(0.05, 0.95, (2, 1))
        if len(set(label)) == 2:
            score = f1_score(label, said, average="macro", zero_division=0)
            largest = max(largest, score - accuracy_score(label, said))
    assert -0.01 < largest <= 1e-12
    assert audit_sums.macro_f1_bound("0.70", "0.87").verdict == "inconsistent"
    assert audit_sums.macro_f1_bound("0.70", "0.75").verdict == "undetermined"
    largest = -1.0
    for _ in range(2000):  # the other macro-F1, by its definition
        label, said = rng.random((2, 20)) < rng.uniform(0.05, 0.95, (2, 1))
        if len(set(label)) == 2:
            p, r = (
                score(label, said, average="macro", zero_division=0)
                for score in (precision_score, recall_score)
            )
            right = accuracy_score(label, said)
            largest = max(largest, 2 * p * r / (p + r) - 1 / (2 - right) if p + r else -1)
    assert -0.02 < largest <= 1e-12
    assert audit_sums.macro_f1_bound("0.70", "0.71").verdict == "consistent"  # both may be 0.705


def test_rmse_and_accuracy():
    rng = np.random.default_rng(0)
    for _ in range(300):
        label, said = rng.integers(0, 5, (2, 40))
        said = np.where(rng.random(40) < rng.random(), label, said)
        rmse = np.sqrt(((label - said) ** 2).mean())
        finding = audit_sums.rmse_accuracy(f"{(label == said).mean():.3f}", f"{rmse:.3f}", 4)
        assert finding.verdict == "consistent"
    assert audit_sums.rmse_accuracy("0.750", "0.500", 4).verdict == "consistent"
    assert audit_sums.rmse_accuracy("0.750", "0.498", 4).verdict == "undetermined"  # cut off
    # Expected grades: nothing from below, from above half a grade's range for right ones too.
    for rmse, largest, verdict in [
        ("0.496", 4, "undetermined"),
        ("2.004", 4, "undetermined"),
        ("2.645", 4, "undetermined"),  # root of (.25 x 16 + .75 x 4) = 2.6458
        ("2.648", 4, "inconsistent"),
        ("1.600", 3, "undetermined"),
        ("1.987", 3, "inconsistent"),  # 1.9843
        ("-0.100", 4, "inconsistent"),
    ]:
        assert audit_sums.rmse_accuracy("0.750", rmse, largest).verdict == verdict
    # As means: two folds without an error, two with nothing but errors of one grade.
    assert audit_sums.rmse_accuracy("0.500", "0.500", 4, means=True).verdict == "consistent"
    assert audit_sums.rmse_accuracy("0.500", "0.500", 4).verdict == "undetermined"
    assert audit_sums.rmse_accuracy("0.500", "0.497", 4, means=True).verdict == "undetermined"


def test_errors_of_expected_grades_are_not_accused():
    rng = np.random.default_rng(1)
    below, above = 0, 0
    for _ in range(400):
        probability = rng.dirichlet(rng.choice([0.05, 0.3, 1, 5]) * np.ones(5), 40)
        likeliest = probability.argmax(axis=1)
        # The truth is what is said, or the other end, or what makes the error small.
        expected = probability @ np.arange(5)
        other = {0: likeliest, 1: np.where(likeliest > 1, 0, 4), 2: expected.round().astype(int)}
        label = other[int(rng.integers(3))]
        label = np.where(rng.random(40) < rng.random(), likeliest, label)
        rmse, right = np.sqrt(((label - expected) ** 2).mean()), (label == likeliest).mean()
        below += rmse < np.sqrt(1 - right) - 1e-3
        above += rmse > 4 * np.sqrt(1 - right) + 1e-3
        finding = audit_sums.rmse_accuracy(f"{right:.3f}", f"{rmse:.3f}", 4)
        assert finding.verdict != "inconsistent"
    assert below > 20 and above > 20  # the bounds of whole grades would have accused these
    worst = np.array([0.5, 0, 0, 0, 0.5]) @ np.arange(5)  # right at 0, and off by 2
    assert audit_sums.rmse_accuracy("1.000", f"{worst:.3f}", 4).verdict == "undetermined"


@pytest.mark.parametrize("percent", ["79.59", "20", "100.0", "12.5"])
def test_a_percentage_for_a_share_accuses_nobody(percent):
    share, top = ["0.0089"], Fraction(5, 100)
    grades = dict(zip([f"grade_{k}" for k in range(5)], ["21.4", "12.2", "22.4", "28.6", "15.3"],
                      strict=True))  # fmt: skip
    findings = [
        counts.accuracy_count(percent, 98),
        counts.auc_count(percent, 65, 33),
        counts.macro_auc_count(percent, KNEES),
        audit_overlap.dice_ceiling(percent, top, share),
        audit_overlap.topk_ceiling(percent, share),
        audit_overlap.overlap_nested("10.5", "12.5", "2.25", share),
        audit_ranks.rho_auroc("74.8", "0.900", 65, 33),
        audit_ranks.distance_rho("80.0"),
        audit_sums.rmse_accuracy("79.59", "0.500", 4),
        audit_sums.rmse_accuracy("0.750", "50.0", 4),
        audit_sums.macro_f1_bound("0.750", "79.59"),
        audit_sums.difference("2.04", "0.7959", "0.7755"),
        audit_sums.grade_sum(grades | {"total": "98"}),
    ]
    assert {finding.verdict for finding in findings} == {"undetermined"}
