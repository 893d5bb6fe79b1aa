"""Every rule can hold, and can fail; what cannot be told is not told."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, t

from oacore.instruments.evidence import judges as module
from oacore.instruments.evidence.claims import published_effects, run_effects
from oacore.instruments.evidence.verdicts import (
    ABSENT,
    ALONE,
    FAILS,
    HOLDS,
    OPEN,
    PARTLY,
    marked,
)
from oacore.instruments.published.predictions import printed_table1

MARGINS = pd.Series(0.05, ["oa_auc", "oa_acc", "oa_f1", "kl_auc", "kl_acc", "kl_f1"])
BOTH = "seeds and knees"


def differences(keys, values, se=0.01, df=6.0, over=BOTH, **more):
    """Rows of a comparison over seeds and knees; t intervals and p-values of value / se."""
    table = pd.DataFrame(keys).assign(value=values, se=se, df=df, over=over, knees=98, **more)
    table["seeds"] = np.where(table["over"] == ALONE, 1, 3)
    half = t.ppf(0.975, table["df"]) * table["se"]
    table["low"], table["high"] = table["value"] - half, table["value"] + half
    alone = table["over"] == ALONE
    p = 2 * t.sf((table["value"] / table["se"]).abs(), table["df"])
    return table.assign(p_value=np.where(alone, np.nan, p))


# A clear gain, a clear loss, something that cannot be told, an effect that is as good as none.
GAIN, LOSS, DARK, NONE = (0.2, 0.01), (-0.2, 0.01), (0.04, 0.06), (0.001, 0.01)


def effects(*found, backbone="resnet3d", metrics=("kl_auc", "kl_acc", "kl_f1"), **more):
    """One backbone's effects, marked; found: (value, se) of each metric."""
    keys = {"backbone": backbone, "metric": list(metrics[: len(found)])}
    values, errors = (list(column) for column in zip(*found, strict=True))
    return run_effects(differences(keys, values, errors, **more))


def says(word, *metrics, backbone="resnet3d"):
    return {"backbone": backbone, "metrics": list(metrics), "says": word}


def judge(word, found, *, backbone="resnet3d", same_data=False):
    claim = says(word, "kl_auc", "kl_acc", "kl_f1", backbone=backbone)
    return module.judge_effects(claim, found, MARGINS, same_data=same_data)


@pytest.mark.parametrize(
    ("found", "elsewhere", "on_the_same_data"),
    [
        ([GAIN, GAIN, GAIN], HOLDS, HOLDS),
        ([GAIN, DARK, GAIN], PARTLY, PARTLY),
        ([DARK, DARK, DARK], OPEN, FAILS),
        ([GAIN, GAIN, LOSS], FAILS, FAILS),
        ([DARK, DARK, LOSS], FAILS, FAILS),
        ([GAIN, GAIN], PARTLY, PARTLY),  # the third is not measured
        ([DARK, DARK], OPEN, OPEN),
        ([GAIN, GAIN, (np.nan, 0.01)], PARTLY, PARTLY),
        ([GAIN, GAIN, (0.2, 0.0)], PARTLY, PARTLY),  # no spread was seen
        ([DARK, DARK, (np.nan, np.nan)], OPEN, OPEN),
    ],
)
def test_a_claimed_gain(found, elsewhere, on_the_same_data):
    table = effects(*found)
    assert judge("gain", table).verdict == elsewhere
    assert judge("gain", table, same_data=True).verdict == on_the_same_data


@pytest.mark.parametrize(
    ("found", "none", "no_gain"),
    [
        ([NONE, NONE, NONE], HOLDS, HOLDS),
        ([NONE, NONE, DARK], OPEN, OPEN),
        ([NONE, NONE, GAIN], FAILS, FAILS),
        ([NONE, NONE, LOSS], FAILS, HOLDS),  # a loss is no gain, but a change
        ([NONE, NONE, (0.02, 0.003)], FAILS, FAILS),  # clear, however small
        ([NONE, NONE, (-0.05, 0.03)], OPEN, HOLDS),
        ([NONE, NONE, (np.nan, 0.01)], OPEN, OPEN),
        ([NONE, NONE, (0.0, 0.0)], OPEN, OPEN),
        ([(np.nan, np.nan)] * 3, OPEN, OPEN),
        ([NONE, NONE], OPEN, OPEN),  # the third is not measured
    ],
)
def test_a_claim_of_no_change_and_one_of_no_gain(found, none, no_gain):
    table = effects(*found)
    assert judge("none", table).verdict == none
    assert judge("no gain", table).verdict == no_gain


def test_nothing_clear_in_a_wide_interval_is_no_evidence_of_no_change():
    loss = effects(NONE, NONE, LOSS)
    assert "clear losses 1" in judge("no gain", loss).because
    wide = effects((0.0, 0.2), (0.0, 0.2), (0.0, 0.2))
    finding = judge("none", wide)
    assert finding.verdict == OPEN and "90% intervals within the margin: 0" in finding.because


def test_the_interval_of_equivalence_is_the_90_percent_one():
    # At 6 degrees of freedom the 90% interval reaches 1.943 se, the 95% one 2.447 se.
    at = 0.05 / 2.2
    table = effects(*[(0.0, at)] * 3)
    assert table["high"].iloc[0] > 0.05 and judge("none", table).verdict == HOLDS
    assert judge("none", effects(*[(0.0, 0.05 / 1.9)] * 3)).verdict == OPEN


def test_all_undefined_is_never_a_verdict():
    table = effects(GAIN, GAIN, GAIN).assign(low=np.nan, high=np.nan, q_value=np.nan)
    table = marked(table, table["q_value"], same_data=False)
    for word in ("gain", "none", "no gain"):
        for same_data in (True, False):
            assert judge(word, table, same_data=same_data).verdict == OPEN


def test_one_seed_gives_no_verdict_in_runs_that_could_have_more():
    for found in ([GAIN] * 3, [LOSS] * 3, [NONE] * 3):
        table = effects(*found, over=ALONE, df=np.inf)
        for word in ("gain", "none", "no gain"):
            finding = judge(word, table)
            assert finding.verdict == OPEN, (found, word)
            assert finding.because.endswith("98 knees, 1 seed, and one seed gives no verdict")
    mixed = effects(GAIN, GAIN, GAIN, over=[BOTH, BOTH, ALONE])
    assert judge("gain", mixed).verdict == PARTLY
    assert "1 to 3 seeds" in judge("gain", mixed).because


def test_of_any_backbone_one_will_do_and_a_loss_elsewhere_does_not_matter():
    def verdict(*tables, same_data=False):
        both = pd.concat(tables, ignore_index=True)
        return judge("gain", both, backbone="any", same_data=same_data).verdict

    gain, loss = effects(GAIN, GAIN, GAIN), effects(LOSS, LOSS, LOSS, backbone="m3t")
    dark = effects(DARK, DARK, DARK, backbone="m3t")
    assert verdict(gain, loss) == verdict(gain, dark) == HOLDS
    assert verdict(effects(GAIN, DARK, DARK), loss) == PARTLY
    assert verdict(effects(DARK, DARK, DARK), loss) == OPEN
    # Where one backbone of the paper's is missing, it may be the one.
    worse = effects(LOSS, DARK, DARK)
    third = effects(DARK, DARK, DARK, backbone="nnmamba")
    assert verdict(worse, loss) == verdict(worse, loss, third) == OPEN
    assert verdict(worse, loss, effects(LOSS, LOSS, DARK, backbone="nnmamba")) == FAILS
    assert verdict(effects(DARK, DARK, DARK), loss, same_data=True) == OPEN
    assert verdict(effects(DARK, DARK, DARK), loss, third, same_data=True) == FAILS
    # Half of a gain in one network and half in another are no whole gain.
    halves = effects(GAIN, DARK, DARK), effects(DARK, GAIN, GAIN, backbone="m3t")
    assert verdict(*halves) == PARTLY
    assert judge("gain", gain, backbone="m3t").verdict == ABSENT


def test_published_effects_are_judged_by_the_protocols_q():
    stats = differences({"backbone": "resnet3d", "metric": ["kl_auc", "kl_acc", "kl_f1"]}, 0.2)
    found = published_effects(stats.drop(columns=["over", "df", "seeds"]).assign(q_value=0.01))
    assert judge("gain", found, same_data=True).verdict == HOLDS
    assert np.isinf(found["df"]).all()
    above = published_effects(stats.assign(q_value=0.06))
    assert judge("gain", above, same_data=True).verdict == FAILS
    undefined = published_effects(stats.assign(q_value=[0.01, 0.01, np.nan]))
    assert judge("gain", undefined, same_data=True).verdict == PARTLY


def test_the_evidence_stands_in_one_line():
    because = judge("none", effects(NONE, DARK, GAIN)).because
    assert because.startswith(
        "clear gains 1, clear losses 0, of 3; 90% intervals within the margin: 1: "
    )
    # By hand: .001 -+ 2.447 x .01, .001 -+ 1.943 x .01, and (2.447 + .906) x .01.
    limits = "KL macro-AUC +0.001 [-0.023, +0.025], 90% [-0.018, +0.020], margin 0.05, "
    assert limits in because
    assert "q = 0.924, 80% power from 0.034; KL accuracy +0.040" in because
    assert because.endswith("On 98 knees, 3 seeds") and "\n" not in because
    undefined = judge("none", effects(NONE, DARK, (0.0, np.nan))).because
    assert "90% undefined, margin 0.05" in undefined and "nan" not in undefined.lower()
    lacking = effects(GAIN, GAIN, (0.2, np.nan)).assign(n_undefined=[0, 0, 80])
    assert judge("gain", lacking).verdict == PARTLY
    assert judge("gain", lacking).because.endswith("lack a class or grade for a verdict")
    assert "q = undefined" in judge("gain", lacking).because
    missing = judge("gain", effects(GAIN)).because
    assert "named by the claim, but not measured: 2: KL macro-AUC" in missing


# ---- interaction


def interaction(*found, reference="resnet3d", backbone="nnmamba", pairs=3, **more):
    """Backbone minus reference in the KL metrics; p adjusted by Bonferroni."""
    keys = {"reference": reference, "backbone": backbone, "metric": ["kl_auc", "kl_acc", "kl_f1"]}
    values, errors = (list(column) for column in zip(*found, strict=True))
    table = differences(keys, values, errors, **more)
    return table.assign(p_adjusted=(table["p_value"] * pairs).clip(upper=1))


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([LOSS, LOSS, LOSS], HOLDS),  # nnMamba gains less than ResNet3D: as the paper says
        ([LOSS, DARK, DARK], PARTLY),
        ([DARK, DARK, DARK], OPEN),
        ([GAIN, GAIN, GAIN], FAILS),  # the other way round
        ([LOSS, LOSS, GAIN], FAILS),
        ([NONE, NONE, NONE], FAILS),  # shown to be as good as none
        ([NONE, NONE, DARK], OPEN),
        ([(-0.2, np.nan)] * 3, OPEN),
    ],
)
def test_the_effect_depends_on_the_backbone_in_the_papers_direction(found, verdict):
    table = interaction(*found)
    assert module.judge_interaction(table, MARGINS).verdict == verdict
    turned = interaction(
        *[(-value, se) for value, se in found], reference="nnmamba", backbone="resnet3d"
    )
    one, other = (module.judge_interaction(rows, MARGINS) for rows in (table, turned))
    assert one.because == other.because  # both are told as ResNet3D minus nnMamba


def test_an_interaction_needs_both_ends_more_than_one_seed_and_all_its_metrics():
    clear = interaction(LOSS, LOSS, LOSS)
    other = clear.assign(backbone="m3t")
    assert module.judge_interaction(other, MARGINS).verdict == ABSENT
    oa = clear.assign(metric=["oa_auc", "oa_acc", "oa_f1"])
    assert module.judge_interaction(oa, MARGINS).verdict == ABSENT
    assert module.judge_interaction(clear[:2], MARGINS).verdict == PARTLY
    alone = interaction(LOSS, LOSS, LOSS, over=ALONE, df=np.inf)
    assert module.judge_interaction(alone, MARGINS).verdict == OPEN
    claimed = alone.assign(p_adjusted=1e-9)  # not to be believed of one seed
    assert module.judge_interaction(claimed, MARGINS).verdict == OPEN
    undefined = clear.assign(p_adjusted=np.nan)
    assert module.judge_interaction(undefined, MARGINS).verdict == OPEN


def test_published_networks_are_compared_over_knees_with_all_pairs_corrected():
    def verdict(z):
        """Three pairs, of which the named one has the effect z standard errors apart."""
        named = interaction(*[(-z * 0.1, 0.1)] * 3, over=ALONE, df=np.inf)
        assert named["p_adjusted"].isna().all()
        pairs = [named, named.assign(backbone="m3t"), named.assign(reference="m3t")]
        table = pd.concat(pairs, ignore_index=True)
        return module.judge_interaction(table, MARGINS, same_data=True).verdict

    bonferroni = norm.isf(0.05 / 2 / 3)  # 2.39
    assert verdict(bonferroni + 0.01) == HOLDS
    assert verdict(bonferroni - 0.01) == OPEN
    assert verdict(-bonferroni - 0.01) == FAILS
    # What the comparison itself adjusted comes first.
    given = interaction(*[(-0.2, 0.1)] * 3, over=ALONE, df=np.inf).assign(p_adjusted=0.04)
    assert module.judge_interaction(given, MARGINS, same_data=True).verdict == HOLDS
    flat = interaction(*[(-0.2, 0.0)] * 3, over=ALONE, df=np.inf)
    assert module.judge_interaction(flat, MARGINS, same_data=True).verdict == OPEN


# ---- Table 1


@pytest.mark.parametrize(
    ("off", "verdict"),
    [
        ([0.0, 4e-5, -5e-5], HOLDS),
        ([0.0, 0.0, 9e-5], PARTLY),  # cut off instead of rounded
        ([0.0, 0.0, 3e-4], FAILS),  # another figure
        ([9e-5, 9e-5, 9e-5], FAILS),  # 0 of 3
        ([0.0, 0.0, np.nan], OPEN),
    ],
)
def test_table_1_by_its_recomputation(off, verdict):
    table = table_1(15 * off)
    finding = module.judge_table1(table)
    assert finding.verdict == verdict
    agree = 15 * sum(abs(x) < 6e-5 for x in off)
    assert finding.because.startswith(f"{agree} of 45 figures")


def table_1(off):
    """Printed figures, and recomputed ones that are off by so much."""
    table = pd.DataFrame({"printed": np.linspace(0.5, 0.9, len(off)).round(4)})
    table["recomputed"] = table["printed"] + off
    return table.assign(agrees=(table["recomputed"] - table["printed"]).abs() <= 5e-5 + 1e-12)


@pytest.mark.parametrize("figures", [0, 1, 44])
def test_a_part_of_table_1_shows_nothing(figures):
    finding = module.judge_table1(table_1([0.0] * figures))
    assert finding.verdict == OPEN
    assert finding.because.startswith(f"{figures} of 45 figures")


def test_table_1_has_as_many_figures_as_are_judged():
    assert printed_table1().iloc[:, 2:].notna().sum().sum() == module.TABLE1_FIGURES


# ---- axis


def axis(resnet3d, m3t, **more):
    """(Single-OA, Single-KL) differences in rho(PC1, KL) of each backbone, as (value, se)."""
    keys = [
        {"backbone": backbone, "reference": reference, "measure": "rho_kl"}
        for backbone in ("resnet3d", "m3t")
        for reference in ("single_oa", "single_kl")
    ]
    values, errors = zip(*resnet3d, *m3t, strict=True)
    return differences(keys, list(values), list(errors), **more)


@pytest.mark.parametrize(
    ("resnet3d", "m3t", "verdict"),
    [
        ([GAIN, GAIN], [GAIN, GAIN], HOLDS),
        ([GAIN, GAIN], [GAIN, DARK], PARTLY),
        ([DARK, DARK], [DARK, DARK], OPEN),
        ([GAIN, GAIN], [LOSS, GAIN], FAILS),
        ([GAIN, GAIN], [GAIN, (np.nan, 0.01)], PARTLY),
    ],
)
def test_the_axis_is_judged_by_differences(resnet3d, m3t, verdict):
    table = axis(resnet3d, m3t)
    others = [
        table.assign(backbone="nnmamba", value=-0.5),  # no part of the claim
        table.assign(measure="rho_oa", value=-0.5),
    ]
    finding = module.judge_axis(pd.concat([table, *others]))
    assert finding.verdict == verdict and "nnMamba" not in finding.because
    assert module.judge_axis(others[0]).verdict == ABSENT


def test_the_axis_of_one_backbone_or_of_one_seed():
    table = axis([GAIN, GAIN], [GAIN, GAIN])
    one = module.judge_axis(table[table["backbone"] == "m3t"])
    assert one.verdict == PARTLY and "but not measured: 2" in one.because
    alone = axis([GAIN, GAIN], [LOSS, GAIN], over=ALONE, df=np.inf)
    assert module.judge_axis(alone).verdict == OPEN
    assert module.judge_axis(alone.assign(p_value=1e-9)).verdict == OPEN


# ---- printed figures


def findings(**columns):
    return pd.DataFrame(
        {"table": "Table 2", "row": ["M3T Dual", "M3T Single-OA"], "check": "rho-auroc",
         "printed": "0.938", "implied": "at most 0.915",
         "verdict": ["inconsistent", "consistent"], **columns}
    )  # fmt: skip


def test_figures_that_contradict_each_other_decide_nothing():
    finding = module.judge_audit(findings(), "Table 2", "axis")
    assert finding.verdict == OPEN and "rho-auroc: M3T Dual" in finding.because
    assert "M3T Single-OA" not in finding.because
    none_wrong = module.judge_audit(findings(), "Table 3", "saliency")
    assert none_wrong.verdict == OPEN and "none of 0 checks" in none_wrong.because


def test_print_refutes_a_claim_by_the_check_made_for_it():
    claim = {"check": ["claim-table", "rho-auroc"], "table": ["section 4.2", "Table 2"]}
    refuted = module.judge_audit(findings(**claim, claim=["axis", np.nan]), "Table 2", "axis")
    assert refuted.verdict == FAILS and "M3T Dual: 0.938; at most 0.915" in refuted.because
    another = findings(**claim, claim=["saliency", np.nan])
    assert module.judge_audit(another, "Table 2", "axis").verdict == OPEN
    borne_out = findings(**claim, claim=["axis", ""], verdict="consistent")
    assert module.judge_audit(borne_out, "Table 2", "axis").verdict == OPEN
    of_other_check = findings(claim=["axis", "axis"])
    assert module.judge_audit(of_other_check, "Table 2", "axis").verdict == OPEN


# ---- saliency


def saliency(**columns):
    keys = [
        {"backbone": backbone, "head": head, "measure": measure}
        for backbone in ("resnet3d", "m3t", "nnmamba")
        for head in ("oa", "kl")
        for measure in module.OVERLAPS
    ]
    return differences(keys, 0.02, 0.004).assign(q_value=0.01, **columns)


def test_saliency_is_judged_over_both_heads_and_all_measures():
    table = saliency()
    assert module.judge_saliency(table).verdict == HOLDS
    nnmamba = table["backbone"] == "nnmamba"
    loss = np.where(nnmamba, -0.02, 0.02)
    assert module.judge_saliency(table.assign(value=loss)).verdict == HOLDS  # not of the claim
    q = table["q_value"].where(table["head"] == "oa", 0.3)
    partly = module.judge_saliency(table.assign(q_value=q))
    assert partly.verdict == PARTLY and partly.because.startswith("clear gains 8, clear losses 0, ")
    assert "Dice@5 ResNet3D OA head +0.0200 [+0.0102, +0.0298], q = 0.010" in partly.because
    one_gain = table.assign(value=np.where(table.index == 0, 0.02, -0.02))
    finding = module.judge_saliency(one_gain)
    assert finding.verdict == FAILS and "clear gains 1, clear losses 15, of 16" in finding.because
    assert module.judge_saliency(table.assign(q_value=0.3)).verdict == OPEN
    assert module.judge_saliency(table.assign(q_value=np.nan)).verdict == OPEN
    assert module.judge_saliency(table.assign(over=ALONE, seeds=1)).verdict == OPEN
    assert module.judge_saliency(table[nnmamba]).verdict == ABSENT
    assert module.judge_saliency(table[table["backbone"] == "m3t"]).verdict == PARTLY
    assert module.judge_saliency(table[table["measure"] == "mass"]).verdict == PARTLY


# ---- benchmark


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([GAIN, GAIN], HOLDS),
        ([GAIN, DARK], PARTLY),
        ([DARK, DARK], OPEN),
        ([LOSS, LOSS], FAILS),
        ([GAIN, LOSS], FAILS),
        ([GAIN, (np.nan, 0.01)], PARTLY),
        ([(np.nan, np.nan)] * 2, OPEN),
    ],
)
def test_a_benchmark_is_beaten_or_beats(found, verdict):
    values, errors = (list(column) for column in zip(*found, strict=True))
    table = differences({"metric": ["kl_acc", "kl_f1"]}, values, errors)
    table = table.drop(columns=["df", "over", "seeds"])
    another = table.iloc[:1].assign(metric="kl_auc", value=-1.0)  # not of the claim
    finding = module.judge_benchmark(pd.concat([table, another], ignore_index=True))
    assert finding.verdict == verdict and "macro-AUC" not in finding.because
    assert module.judge_benchmark(another).verdict == ABSENT


def contrasts(**found):
    """Primary contrasts, each outcome with what Dual minus its three references found."""
    rows = [
        {"primary": True, "measure": measure, "reference": reference, "found": one,
         "value": 0.03, "low": 0.01, "high": 0.05, "margin": 0.02}
        for measure, three in found.items()
        for reference, one in zip(("single_kl", "shuffled", "two_kl"), three, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("auc", "kappa", "expected"),
    [
        (("gain",) * 3, ("gain",) * 3, HOLDS),
        (("gain",) * 3, ("none",) * 3, PARTLY),
        (("none",) * 3, ("none",) * 3, FAILS),
        (("gain", "none", "gain"), ("loss", "none", "none"), FAILS),
        (("none",) * 3, ("undecided", "none", "none"), OPEN),
        (("gain", "undecided", "gain"), ("none",) * 3, OPEN),
    ],
)
def test_the_hierarchy_is_judged_by_arms_that_have_all_but_it(auc, kappa, expected):
    finding = module.judge_hierarchy(contrasts(kl_auc=auc, kl_kappa=kappa))
    assert finding.verdict == expected
    assert finding.because.startswith("KL macro-AUC, margin 0.02: ")
    assert f"minus two KL heads +0.030 [+0.010, +0.050] ({auc[2]})" in finding.because


def test_a_hierarchy_without_all_its_contrasts_is_not_judged():
    whole = contrasts(kl_auc=("gain",) * 3, kl_kappa=("gain",) * 3)
    assert module.judge_hierarchy(whole.iloc[:5]).verdict == ABSENT
    assert module.judge_hierarchy(whole[whole["measure"] == "kl_auc"]).verdict == ABSENT
    assert module.judge_hierarchy(whole.assign(primary=False)).verdict == ABSENT
