"""Claims are judged by the rule that the page states."""

import pandas as pd
import pytest

from oacore.instruments.evidence import claims as module
from oacore.instruments.evidence.claims import FAILS, HOLDS, OPEN, PARTLY, judge, judge_effects
from oacore.instruments.published.predictions import compare_table1, read_published
from oacore.instruments.published.protocol import released_protocol
from oacore.metrics.scores import METRICS
from oacore.names import BACKBONE_NAMES


def effects(**clear_and_delta):
    rows = [
        {"backbone": "resnet3d", "metric": metric, "value": delta, "low": delta - 0.1,
         "high": delta + 0.1, "clear": clear, "also": "q = 0.010"}
        for metric, (clear, delta) in clear_and_delta.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def says(word, *metrics, backbone="resnet3d"):
    return {"backbone": backbone, "metrics": list(metrics), "says": word}


@pytest.mark.parametrize(
    ("found", "same_data", "verdict"),
    [
        ({"kl_auc": (True, 0.1), "kl_acc": (True, 0.2)}, True, HOLDS),
        ({"kl_auc": (True, 0.1), "kl_acc": (False, 0.2)}, True, PARTLY),
        ({"kl_auc": (False, 0.1), "kl_acc": (False, 0.2)}, True, FAILS),
        ({"kl_auc": (False, 0.1), "kl_acc": (False, 0.2)}, False, OPEN),
        ({"kl_auc": (True, -0.1), "kl_acc": (False, 0.2)}, False, FAILS),
        ({"kl_auc": (True, 0.1), "kl_acc": (True, 0.2)}, False, HOLDS),
    ],
)
def test_a_claimed_gain(found, same_data, verdict):
    claim = says("gain", "kl_auc", "kl_acc")
    assert judge_effects(claim, effects(**found), same_data=same_data).verdict == verdict


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({"oa_auc": (False, 0.1), "oa_acc": (False, -0.2)}, HOLDS),
        ({"oa_auc": (True, 0.1), "oa_acc": (False, -0.2)}, FAILS),
    ],
)
def test_a_claim_of_no_change(found, verdict):
    finding = judge_effects(says("none", "oa_auc", "oa_acc"), effects(**found), same_data=True)
    assert finding.verdict == verdict
    assert ("not the same as zero" in finding.because) == (verdict == HOLDS)


def test_any_backbone_will_do_and_an_absent_one_is_not_measured():
    found = effects(kl_auc=(True, 0.1), kl_acc=(False, 0.2))
    claim = says("gain", "kl_auc", "kl_acc", backbone="any")
    assert judge_effects(claim, found, same_data=True).verdict == PARTLY
    other = effects(kl_auc=(True, 0.1), kl_acc=(True, 0.2)).assign(backbone="m3t")
    both = pd.concat([found, other], ignore_index=True)
    assert judge_effects(claim, both, same_data=True).verdict == HOLDS
    absent = judge_effects(says("gain", "kl_auc", backbone="m3t"), found, same_data=True)
    assert absent.verdict == module.ABSENT


def test_the_list_names_what_there_is():
    table = module.claims()
    for claim in table["effects"].dropna():
        assert set(claim["metrics"]) <= set(METRICS)
        assert claim["backbone"] in (*BACKBONE_NAMES, "any")
        assert claim["says"] in ("gain", "none")
    kinds = set(table["kind"].dropna())
    assert kinds <= {*module.JUDGES, *module.PRINTED}
    assert (table["effects"].notna() ^ table["kind"].notna()).all()


def test_what_the_paper_prints_for_its_claims_is_in_the_paper(shared):
    text = (shared / "papers/paper_2605.00718_hierarchical_labels.txt").read_text()
    for printed in module.claims()["printed"]:
        figures = [word.strip("(),;+-<>= ") for word in printed.split()]
        for figure in figures:
            if figure.replace(".", "", 1).isdigit() and "." in figure:
                assert figure in text, figure


def test_verdicts_on_the_published_predictions(shared):
    predictions = read_published(shared / "real/published_predictions")
    found = {
        "effects": module.published_effects(released_protocol(predictions)),
        "table1": compare_table1(predictions),
    }
    got = {
        name: judge(claim, found, same_data=True).verdict
        for name, claim in module.claims().iterrows()
    }
    told = module.judged(found, same_data=True)
    assert len(told) == 8 and "Table 1" in told["claim"].iloc[0]
    assert told["verdict"].tolist().count(FAILS) == 1
    # Four of eighteen survive: ResNet3D's three on KL, M3T's OA AUC (released q-values).
    expected = {
        "table1": HOLDS, "gain": HOLDS, "resnet3d_kl": HOLDS, "resnet3d_oa": HOLDS,
        "m3t_oa_auc": HOLDS, "m3t_kl": FAILS, "m3t_none": HOLDS, "nnmamba_none": HOLDS,
    }  # fmt: skip
    assert {name: got[name] for name in expected} == expected


def interaction(*limits):
    metrics = ("kl_auc", "kl_acc", "kl_f1")
    return pd.DataFrame(
        {"reference": "resnet3d", "backbone": "nnmamba", "metric": metrics,
         "value": [(low + high) / 2 for low, high in limits],
         "low": [low for low, _ in limits], "high": [high for _, high in limits]}
    )  # fmt: skip


def test_an_effect_depends_on_the_backbone_where_differences_exclude_zero():
    clear, open_ = (-0.3, -0.1), (-0.3, 0.1)
    judged = [
        module.judge_interaction(interaction(*rows)).verdict
        for rows in ([clear] * 3, [clear, open_, open_], [open_] * 3)
    ]
    assert judged == [HOLDS, PARTLY, OPEN]
    other = interaction(clear, clear, clear).assign(backbone="m3t")
    assert module.judge_interaction(other).verdict == module.ABSENT


def axis_rows(deltas, half=0.05):
    """deltas: (backbone, reference) -> delta of rho(PC1, KL)."""
    return pd.DataFrame(
        [
            {"backbone": b, "reference": r, "measure": "rho_kl", "n_seeds": 2, "value": d,
             "low": d - half, "high": d + half}
            for (b, r), d in deltas.items()
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("resnet3d", "m3t", "verdict"),
    [
        ((0.1, 0.1), (0.1, 0.1), "holds"),
        ((0.1, 0.1), (0.1, 0.0), "holds in part"),
        ((0.1, 0.0), (0.0, 0.1), "cannot say"),
        ((0.1, -0.1), (0.0, 0.1), "does not hold"),
    ],
)
def test_the_axis_is_judged_by_differences(resnet3d, m3t, verdict):
    deltas = {
        (b, r): d
        for b, pair in (("resnet3d", resnet3d), ("m3t", m3t))
        for r, d in zip(("single_oa", "single_kl"), pair, strict=True)
    }
    deltas["nnmamba", "single_kl"] = -0.5  # no part of the claim
    found = module.judge_axis(axis_rows(deltas))
    assert found.verdict == verdict and "nnMamba" not in found.because


def test_printed_figures_alone_decide_nothing():
    found = pd.DataFrame(
        {"table": ["Table 2", "Table 2"], "row": ["M3T Dual", "M3T Single-OA"],
         "check": "rho-auroc", "verdict": ["inconsistent", "consistent"]}
    )  # fmt: skip
    finding = judge({"effects": None, "kind": "axis"}, {"audit": found})
    assert finding.verdict == OPEN and "rho-auroc: M3T Dual" in finding.because
    assert "M3T Single-OA" not in finding.because
    none_wrong = judge({"effects": None, "kind": "saliency"}, {"audit": found})
    assert none_wrong.verdict == OPEN and "none of 0 checks" in none_wrong.because


def test_saliency_is_judged_over_both_heads_and_all_measures():
    rows = [
        {"backbone": backbone, "head": head, "measure": measure, "value": 0.02, "low": 0.01,
         "high": 0.03, "q_value": 0.01}
        for backbone in ("resnet3d", "m3t", "nnmamba")
        for head in ("oa", "kl")
        for measure in ("mass", "dice5")
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    assert module.judge_saliency(table).verdict == HOLDS
    loss = (table["backbone"] == "nnmamba").map({True: -0.02, False: 0.02})
    assert module.judge_saliency(table.assign(value=loss)).verdict == HOLDS  # not of the claim
    q = table["q_value"].where(table["head"] == "oa", 0.3)
    partly = module.judge_saliency(table.assign(q_value=q))
    assert partly.verdict == PARTLY and "4 gains, 0 losses" in partly.because
    assert "ResNet3D OA head +0.0200 [+0.0100, +0.0300]" in partly.because
    assert module.judge_saliency(table.assign(value=-0.02)).verdict == FAILS
    assert module.judge_saliency(table.assign(q_value=0.3)).verdict == OPEN
    none = table[table["backbone"] == "nnmamba"]
    assert module.judge_saliency(none).verdict == module.ABSENT


def test_a_benchmark_is_beaten_where_the_interval_says_so():
    paired = pd.DataFrame(
        {"metric": ["oa_auc", "kl_acc", "kl_f1"], "value": 0.1, "low": [-1, 0.01, -0.02],
         "high": 0.2}
    )  # fmt: skip
    assert module.judge_benchmark(paired).verdict == PARTLY
    assert module.judge_benchmark(paired.assign(low=0.01)).verdict == HOLDS
    assert module.judge_benchmark(paired.assign(low=-0.1)).verdict == OPEN


def test_runs_are_corrected_as_the_published_tests_are():
    table = pd.DataFrame(
        {"backbone": "resnet3d", "metric": list(METRICS), "n_seeds": 1, "value": 0.1, "low": 0.01,
         "high": 0.2, "p_value": [0.04, 0.001, 0.5, 0.6, 0.7, 0.8]}
    )  # fmt: skip
    got = module.run_effects(table)
    assert got["clear"].tolist() == [False, True, False, False, False, False]
    # Benjamini and Hochberg by hand: 6 x 0.001 / 1, and 6 x 0.04 / 2.
    assert got["also"].iloc[1] == "q = 0.006, 1 seed" and "q = 0.120" in got["also"].iloc[0]
