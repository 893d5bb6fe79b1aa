"""Each check against somebody else's arithmetic: enumeration, scipy, scikit-learn, real masks."""

from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

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
    assert 0.42 < len(found) / 10001 < 0.44  # the rate in the docstring
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
    assert audit_ranks.rho_auroc("0.600", "0.864", 65, 33).verdict == "inconsistent"
    assert audit_ranks.rho_auroc("0.900", "1.000", 65, 33).implied == "|rho| cannot pass 0.8186"
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
    assert audit_ranks.rho_joint("-0.500", "0.600", KNEES).verdict == "inconsistent"


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
    assert audit_overlap.topk_ceiling("0.8960", ["0.0089"]).verdict == "inconsistent"


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
    assert verdict("0.2000", "0.2000", "0.1051") == "inconsistent"
    assert verdict("0.9000", "0.3004", "0.1700") == "consistent"
    assert verdict("0.9000", "0.3001", "0.1700") == "inconsistent"


def test_an_average_by_its_corners():
    parts = ["0.893", "0.857", "0.676", "0.763", "0.791", "0.758"]
    for printed in (f"{v / 1000:.3f}" for v in range(780, 800)):
        ends = [sum(rounded(p).low for p in parts) / 6, sum(rounded(p).high for p in parts) / 6]
        half = Fraction(1, 2000)
        possible = ends[0] <= Fraction(printed) + half and Fraction(printed) - half <= ends[1]
        finding = audit_sums.average(parts, printed)
        assert (finding.verdict == "inconsistent") == (not possible)
    assert audit_sums.average(parts, "0.776").verdict == "inconsistent"
    touching = audit_sums.average(["0.1", "0.1"], "0.2")
    assert touching.verdict == "undetermined" and "both only if exactly 0.15" in touching.implied


def test_grade_sums():
    cells = {f"grade_{k}": str(n) for k, n in enumerate(KNEES)}
    sums = {"total": "98", "oa_negative": "33", "oa_positive": "65"}
    assert audit_sums.grade_sum(cells | sums).verdict == "consistent"
    for name in sums:
        wrong = cells | sums | {name: "97"}
        assert audit_sums.grade_sum(wrong).verdict == "inconsistent"


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
    assert audit_sums.macro_f1_bound("0.70", "0.75").verdict == "inconsistent"
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
    assert audit_sums.rmse_accuracy("0.750", "0.498", 4).verdict == "inconsistent"
    assert audit_sums.rmse_accuracy("0.750", "2.003", 4).verdict == "inconsistent"
    assert audit_sums.rmse_accuracy("0.750", "1.600", 3).verdict == "inconsistent"
