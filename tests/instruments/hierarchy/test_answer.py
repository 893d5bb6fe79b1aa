"""What a page says of the contrasts, held to the rows it is made of."""

import numpy as np
import pandas as pd
import pytest

from oacore.instruments.hierarchy import answer
from oacore.instruments.hierarchy.analysis import (
    MARGINS,
    REFERENCES,
    components,
    knees_needed,
    verdicts,
)
from oacore.instruments.hierarchy.arms import ARMS
from oacore.record import RECORDS, read


def row(arm, reference, measure="kl_auc", value=0.001, found="none", cell="layer-constant"):
    first = arm == "dual" and reference in REFERENCES and cell == "layer-constant"
    return {
        "cell": cell, "arm": arm, "reference": reference, "primary": first, "measure": measure,
        "value": value, "low": value - 0.004, "high": value + 0.004, "none_low": value - 0.003,
        "none_high": value + 0.003, "margin": MARGINS[measure], "p_value": 0.04, "q_value": 0.3,
        "better": 0.7, "better_low": 0.4, "better_high": 0.9, "found": found,
    }  # fmt: skip


@pytest.fixture
def table():
    rows = [row("dual", one, measure) for measure in MARGINS for one in REFERENCES]
    rows += [row("sex", "single_kl", value=-0.03, found="loss"), row("cut1", "single_kl")]
    rows += [row("corn", "single_kl", value=0.025, found="gain")]
    rows += [row("dual", one, value=0.002, cell="batch-cosine") for one in REFERENCES]
    rows += [row(one, "single_kl") for one in ("again", "permuted", "random")]
    return pd.DataFrame(rows)


def test_arms_are_named_with_what_they_are_told():
    said = answer.arms_table(["control", "null"])["second head"]
    assert len(said) == sum(arm.kind in ("control", "null") for arm in ARMS.values())
    assert said["Sex"] == "sex" and said["Single-KL again"] == "none"
    assert said["Cut at KL >= 3"] == "KL >= 3" and said["Two KL heads"] == "the grade again"


def test_the_answer_has_a_line_for_each_outcome(table):
    lines = answer.sentences(verdicts(table), table).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("- **KL macro-AUC: There is no effect to explain that would matter.")
    assert "Dual minus Single-KL +0.001 [-0.003, +0.005] (none), minus Shuffled" in lines[0]
    shown = answer.primary(table.iloc[::-1])
    assert shown.index.get_level_values(0).tolist() == [*["KL macro-AUC"] * 3,
                                                        *["KL quadratic kappa"] * 3]  # fmt: skip
    assert len(shown) == 6 and set(shown["found"]) == {"none"}
    assert shown["90% interval"].iloc[0] == "[-0.002, +0.004]"


def test_each_cohort_answers_for_itself(table):
    found = verdicts(table)
    own = table.assign(seeds=10)
    worse = own.assign(value=own["value"] - 0.5)
    said = answer.conclusion({"Some": (found, own, 1234), "Others": (found, worse, 5)})
    some, its, others, theirs = said.split("\n\n")
    assert some == "**Some** (1,234 test knees, 10 seeds):"
    assert others == "**Others** (5 test knees, 10 seeds):"
    assert its == answer.sentences(found, own) and theirs == answer.sentences(found, worse)
    assert "+0.001" in its and "+0.001" not in theirs and "-0.499" in theirs


def test_arms_stand_where_they_were_found(table):
    said = answer.by_finding(table, "kl_auc", "single_kl", ["paper", "control"], "layer-constant")
    kinds = said.splitlines()
    assert kinds[0].startswith("- **Within the margin** (4 of 5): Dual +0.001; Cut at KL >= 1")
    assert kinds[1] == "- **Worse** (1 of 5): Sex -0.030."
    said = answer.by_finding(table, "kl_auc", "single_kl", ["remedy"], "layer-constant")
    assert said == "- **Better** (1 of 1): CORN +0.025."


def test_networks_nulls_and_repeats(table):
    wide = answer.by_network(table, "kl_auc")
    assert wide.index.tolist() == [("by batch", "cosine"), ("by layer", "constant")]
    assert wide.columns.tolist()[0] == "minus Single-KL"
    nulls = answer.null_arms(table, "layer-constant")
    assert nulls["p below .05"].tolist() == [1, 1, 1] and nulls["q below .05"].sum() == 0
    some = answer.null_arms(table[table["arm"] != "random"], "layer-constant")
    assert some.index.tolist() == nulls.index.tolist()[:2]
    assert answer.repeats_won(table).iloc[0, 0] == "0.70 [0.40, 0.90]"


def test_peers_stand_beside_the_networks():
    rows = [
        {"cell": cell, "arm": arm, "measure": "kl_auc", "value": 0.8, "low": 0.7, "high": 0.9,
         "seed_low": 0.79, "seed_high": 0.81}
        for cell, arm in (("c", "single_kl"), ("c", "dual"), ("c", "sex"), ("peers", "logistic"))
    ]  # fmt: skip
    wide = answer.beside_peers(pd.DataFrame(rows), "c", ["kl_auc"])
    assert len(wide) == 3 and wide.columns.tolist() == ["KL macro-AUC"]
    assert (wide["KL macro-AUC"] == "0.800 [0.700, 0.900]").all()


def test_knees_that_would_do():
    rows = [
        {"reference": "shuffled", "measure": "kl_auc", "effect": name, "size": 0.02, "power": 0.5,
         "power_98": power, "knees": knees, "seeds": seeds}
        for name, power, knees, seeds in (
            ("margin", 0.1234, 1234.0, 1050), ("m3t", 0.9, 3.0, 2),
            ("tiny", 0.1234, float("inf"), float("inf")), ("huge", 0.9999, 10.0, 2),
        )
    ]  # fmt: skip
    names = {"margin": "the margin", "tiny": "a tiny one", "huge": "a huge one"}
    said = answer.knees_for(pd.DataFrame(rows), names)
    assert said["test knees for 80%"].tolist() == ["1,234", "no number will do", "10 or fewer"]
    assert said["or seeds"].tolist() == ["1,050", "no number will do", "2"]
    assert said["with 98 test knees"].tolist() == ["12%", "12%", "over 99%"]
    assert said.index[0] == ("KL macro-AUC", "Shuffled hierarchy", "the margin, 0.020")


def test_no_number_of_knees_is_tried_below_the_fewest():
    parts = components(np.full((5, 40), 0.5) + np.arange(40) * 1e-6, 100)
    assert knees_needed(parts, 1.0, 5) == answer._FEWEST


def test_coverage_is_a_mean_over_measures_and_settings():
    simulated = read(RECORDS / "coverage.csv")
    shown = answer.covered(simulated)
    assert list(shown.index) == list(answer.SIMULATED)
    own = simulated[(simulated["interval"] == "difference of arms") & (simulated["seeds"] == 3)]
    assert shown.loc["difference of arms", "3 seeds"] == pytest.approx(np.mean(own["covered"]))
    assert shown["promised"].value_counts().to_dict() == {0.95: 8, 0.9: 2}
    assert shown.filter(like="seeds").columns.tolist()[:2] == ["2 seeds", "3 seeds"]


def test_all_cohorts_stand_beside_each_other_each_with_what_its_interval_is_over(table):
    tables = {name: read(RECORDS / name) for name in (
        "09-published-record/stats.csv", "08-comparison/effects.csv",
        "23-when-would-it-help/contrasts.csv",
    )}  # fmt: skip
    published, volumes, drawn = tables.values()
    own = table.assign(seeds=30, over="seeds and knees")
    tested = {"features": 7, "pictures": 8, "arms": 1000, "drawn": 1234}
    shown = answer.across(published, own, own, volumes, own, drawn, tested)
    over = shown["interval over"].groupby(level=0).unique().map(list).to_dict()
    assert over.pop("published predictions, real knees") == ["knees alone"]
    assert list(over.values()) == [["seeds and knees"]] * 4
    assert shown.loc["radiomics, real knees", "test knees"].tolist() == ["7"]
    assert shown.loc["radiographs, real knees", "test knees"].tolist() == ["8"]
    assert shown.loc[("drawn volumes", "ResNet3D, with controls"), "test knees"] == "1,000"
    assert len(shown.loc["drawn volumes"]) == 4
    assert shown.loc["drawn measurements", "test knees"].tolist() == ["1,234"] * 2
    assert (shown.loc["published predictions, real knees", "seeds"] == 1).all()
