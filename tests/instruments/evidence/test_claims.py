"""The list of claims, and what its judges are given."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from oacore.instruments.evidence import claims as module
from oacore.instruments.evidence.claims import judge
from oacore.instruments.evidence.verdicts import ABSENT, ALONE, FAILS, HOLDS, OPEN
from oacore.instruments.published.predictions import compare_table1, read_published
from oacore.instruments.published.protocol import released_protocol
from oacore.metrics.scores import METRICS
from oacore.names import BACKBONE_NAMES


def test_the_list_names_what_there_is():
    table = module.claims()
    assert list(table["name"]) == list(table.index)
    for claim in table["effects"].dropna():
        assert set(claim["metrics"]) <= set(METRICS)
        assert claim["backbone"] in (*BACKBONE_NAMES, "any")
        assert claim["says"] in ("gain", "none", "no gain")
        # "Any" backbone is enough for a gain; that none changes would need them all.
        assert claim["says"] == "gain" or claim["backbone"] != "any"
    kinds = set(table["kind"].dropna())
    assert kinds == {*module.JUDGES, *module.PRINTED, "interaction"}
    assert (table["effects"].notna() ^ table["kind"].notna()).all()


def test_each_metric_has_one_margin_and_it_is_below_what_the_paper_calls_a_gain():
    margins = module.margins()
    assert margins.index.is_unique
    for claim in module.claims()["effects"].dropna():
        assert set(claim["metrics"]) <= set(margins.index)
    least = {"auc": 0.0544, "acc": 0.2149, "f1": 0.1075}  # section 4.1, called significant
    for metric, margin in margins["margin"].items():
        assert 0 < margin < least[metric.split("_")[1]]


def test_what_the_paper_prints_for_its_claims_is_in_the_paper(shared):
    text = (shared / "papers/paper_2605.00718_hierarchical_labels.txt").read_text()
    reasons = module.margins()["reason"].unique()
    assert len(reasons) == 3 and all("section 4.1" in reason for reason in reasons)
    found = 0
    for printed in [*module.claims()["printed"], *reasons]:
        figures = [word.strip("(),;+-<>= ") for word in printed.split()]
        for figure in (word for word in figures if word.replace(".", "", 1).isdigit()):
            if "." in figure.rstrip("."):
                found += 1
                assert figure in text, figure
    assert found > 25


@pytest.fixture(scope="module")
def published(shared):
    predictions = read_published(shared / "real/published_predictions")
    return {
        "effects": module.published_effects(released_protocol(predictions)),
        "table1": compare_table1(predictions),
    }


def test_verdicts_on_the_published_predictions(published):
    got = {
        name: judge(claim, published, same_data=True).verdict
        for name, claim in module.claims().iterrows()
    }
    told = module.judged(published, same_data=True)
    assert len(told) == 8 and "Table 1" in told["claim"].iloc[0]
    # Four of eighteen survive: ResNet3D's three on KL, M3T's OA AUC (released q-values). None of
    # the eighteen 90% intervals is within .05 of zero, so no claim of no change is borne out.
    expected = {
        "table1": HOLDS, "gain": HOLDS, "resnet3d_kl": HOLDS, "m3t_oa_auc": HOLDS, "m3t_kl": FAILS,
        "resnet3d_oa": OPEN, "m3t_none": OPEN, "nnmamba_none": OPEN,
    }  # fmt: skip
    assert {name: got[name] for name in expected} == expected


def test_reasons_on_the_published_predictions_show_their_evidence(published):
    told = module.judged(published, same_data=True).set_index("claim")["because"]
    gain = told["With ResNet3D, Dual raises KL macro-AUC, accuracy and macro-F1 over Single-KL. "
                "(section 4.1)"]  # fmt: skip
    assert gain.startswith("clear gains 3, clear losses 0, of 3: KL macro-AUC +0.122 [+0.051, ")
    assert "q = 0.006, 80% power from 0.1" in gain
    assert gain.endswith(
        "On 98 knees, one training of each network: these networks on these knees; says nothing "
        "of another"
    )
    none = told["With ResNet3D, Dual changes no OA metric significantly. (section 4.1)"]
    assert none.startswith(
        "clear gains 0, clear losses 0, of 3; 90% intervals within the margin: 0: "
    )
    assert none.count("], margin 0.05, q = ") == 3
    assert (told.str.count("\n") == 0).all()


def test_a_source_without_a_table_is_not_measured():
    for _, claim in module.claims().iterrows():
        assert judge(claim, {}).verdict == ABSENT
    assert module.judged({}).empty


def runs(**columns):
    return pd.DataFrame(
        {"backbone": "resnet3d", "metric": list(METRICS), "over": "seeds and knees", "seeds": 3,
         "knees": 98, "value": 0.1, "low": 0.01, "high": 0.2, "se": 0.05, "df": 8.0,
         "p_value": [0.04, 0.001, 0.5, 0.6, 0.7, 0.8], **columns}
    )  # fmt: skip


def test_runs_are_corrected_as_the_published_tests_are():
    got = module.run_effects(runs())
    assert got["clear"].tolist() == [False, True, False, False, False, False]
    # Benjamini and Hochberg by hand: 6 x 0.001 / 1, and 6 x 0.04 / 2.
    assert got["q_value"].tolist()[:2] == pytest.approx([0.12, 0.006])


def test_one_seed_is_no_member_of_the_family_and_never_clear():
    over = ["seeds and knees", ALONE, *["seeds and knees"] * 4]
    got = module.run_effects(runs(over=over, seeds=[3, 1, 3, 3, 3, 3]))
    assert np.isnan(got["q_value"][1]) and not got["clear"].any()
    assert got["q_value"][0] == pytest.approx(5 * 0.04)
    alone = module.run_effects(runs(over=ALONE, seeds=1, p_value=1e-6))
    for _, claim in module.claims().iterrows():
        finding = judge(claim, {"effects": alone})
        assert finding.verdict in (OPEN, ABSENT)
        assert finding.verdict == ABSENT or "one seed gives no verdict" in finding.because


def test_every_kind_of_table_reaches_its_judge(published):
    found = pd.DataFrame(
        {"table": ["Table 2"], "row": ["M3T Dual"], "check": ["claim-table"], "claim": ["axis"],
         "printed": ["x"], "implied": ["y"], "verdict": ["inconsistent"]}
    )  # fmt: skip
    axis, saliency = (module.claims().loc[name] for name in ("axis", "saliency"))
    assert judge(axis, {"audit": found}).verdict == FAILS
    assert judge(saliency, {"audit": found}).verdict == OPEN
    assert judge(module.claims().loc["table1"], published).verdict == HOLDS


def test_the_list_loads_without_networks():
    code = (
        "import sys, oacore.instruments.evidence.claims as c; c.claims(); c.margins()\n"
        "assert not {'torch', 'statsmodels', 'plotly'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
