"""The second paper's claims: the list against its text, and verdicts either way."""

import numpy as np
import pandas as pd
import pytest

from oacore.instruments.evidence import coherence_claims as module
from oacore.instruments.evidence.coherence_claims import claims, judged, named
from oacore.instruments.evidence.verdicts import ABSENT, ALONE, FAILS, HOLDS, OPEN, PARTLY
from oacore.instruments.radiographs.arms import load_study
from oacore.instruments.radiographs.collect import COMPLETE, contrasts, twins
from oacore.metrics.crossed import BOTH


def test_the_list_names_arms_that_are_compared():
    study = load_study("real")
    pairs = {frozenset(pair[:2]) for pair in contrasts(study)}
    shares = {(one, other, share) for one, other, _, _, share in twins(study)}
    for name, claim in claims().iterrows():
        assert claim["says"] in ("gain", "none", "no gain"), name
        for row in named(claim).itertuples():
            assert row.head in ("kl", "oarsi") and row.metric in ("accuracy", "rmse", "kappa")
            if row.labelled == 1:
                assert frozenset((row.reference, row.other)) in pairs, name
            else:
                assert (row.reference, row.other, row.labelled) in shares, name
        margins = claim["margin"] if claim["says"] != "gain" else {}
        assert set(margins) == (set(named(claim)["metric"]) if margins else set())
        assert isinstance(claim["reason"], str) == bool(margins), name
    assert module.FREQUENCY == COMPLETE


def test_what_the_paper_prints_for_its_claims_is_in_the_paper(shared):
    text = (shared / "papers/paper_2112.09177_coherence_keypoint.txt").read_text()
    table = claims()
    found = 0
    for said in [*table["printed"], *table["reason"].dropna()]:
        for figure in (word.strip("(),;") for word in said.split()):
            if figure.startswith("0.") and figure[2:].isdigit():
                found += 1
                assert figure in text, figure
    assert found > 60


def test_margins_are_below_what_the_paper_calls_a_change_or_above_what_it_calls_none():
    table = claims()
    assert table.loc["keypoints_kl", "margin"]["accuracy"] < 0.723 - 0.708
    own = table.loc["coherence_oarsi", "margin"]
    assert own["accuracy"] < 0.761 - 0.752 and own["rmse"] < 0.585 - 0.563
    assert table.loc["few_labels", "margin"]["accuracy"] > 0.708 - 0.684


def differences(values, **columns):
    """Rows as :func:`.collect.collect` gives them; by (reference, other) a gain in everything."""
    rows = [
        {"reference": one, "other": other, "head": head, "metric": metric,
         "frequency": frequency, "value": gain * (-1 if metric == "rmse" else 1)}
        for (one, other), gain in values.items()
        for head in ("kl", "oarsi") for metric in ("accuracy", "rmse", "kappa")
        for frequency in ("as sampled", "all grades read")
    ]  # fmt: skip
    table = pd.DataFrame(rows).assign(
        se=0.002, df=20.0, over=BOTH, seeds=5, cases=438, n_undefined=0
    )
    table = table.assign(low=table["value"] - 0.004, high=table["value"] + 0.004, p_value=1e-4)
    flat = table["value"].abs() < 0.004
    return table.assign(p_value=table["p_value"].mask(flat, 0.9)).assign(**columns)


PAIRS = [
    ("global", "keypoints"), ("global", "coherence"), ("global", "proposed"),
    ("keypoints", "proposed"), ("coherence", "proposed"), ("global", "proposed-20"),
    ("global", "proposed-40"), ("global", "tau-0.25"), ("global", "tau-0.75"),
    ("global", "tau-1"), ("global", "tau-1.5"), ("global", "global-regression"),
    ("proposed", "proposed-regression"),
]  # fmt: skip
FEW = {"labelled": 0.2}


def test_a_table_that_supports_every_claimed_gain():
    tables = {
        "differences": differences(dict.fromkeys(PAIRS, 0.05)),
        "fewer": differences({("global", "proposed"): 0.05}, **FEW),
    }
    found = judged(tables)
    gains = claims()["says"] != "none"
    assert set(found.loc[gains, "verdict"]) == {HOLDS}
    # What changes clearly, for the better too, did not stay as it was.
    assert set(found.loc[~gains, "verdict"]) == {FAILS}
    said = found.loc["keypoints", "because"]
    assert said.startswith("clear gains 3, clear losses 0, of 3: OARSI accuracy, keypoints minus")
    assert "KL RMSE, global minus keypoints +0.050 [+0.046, +0.054], q = 0.0001" in said
    assert said.endswith("On 438 knees, 5 seeds")
    few = found.loc["few_labels", "because"]
    assert "clear losses 2" in few and "KL accuracy, global minus proposed-20 -0.050" in few
    assert "with 20% of the labels minus with all" in found.loc["less_demanding", "because"]


def test_a_table_that_refutes_them():
    tables = {
        "differences": differences(dict.fromkeys(PAIRS, -0.05)),
        "fewer": differences({("global", "proposed"): -0.05}, **FEW),
    }
    found = judged(tables)
    assert set(found["verdict"]) == {FAILS}


def test_where_nothing_changes_claims_of_no_change_hold_and_gains_stay_open():
    tables = {
        "differences": differences(dict.fromkeys(PAIRS, 0.0)),
        "fewer": differences({("global", "proposed"): 0.0}, **FEW),
    }
    found = judged(tables)["verdict"]
    says = claims()["says"]
    assert set(found[says == "gain"]) == {OPEN}
    assert set(found[says == "no gain"]) == {HOLDS} == set(found[says == "none"])
    wide = judged({"differences": differences(dict.fromkeys(PAIRS, 0.0), se=0.1)})["verdict"]
    assert set(wide[says != "gain"]) == {
        OPEN
    }  # not to see a change is not to see that there is none


def test_one_gain_of_several_holds_in_part_and_one_loss_refutes():
    values = dict.fromkeys(PAIRS, 0.05) | {("keypoints", "proposed"): 0.0}
    assert judged({"differences": differences(values)})["verdict"]["both"] == PARTLY
    values[("keypoints", "proposed")] = -0.05
    assert judged({"differences": differences(values)})["verdict"]["both"] == FAILS


def test_what_a_source_lacks_is_not_measured_or_counts_as_missing():
    assert set(judged({})["verdict"]) == {ABSENT}
    found = judged({"differences": differences({("global", "proposed"): 0.05})})
    assert found["verdict"]["baseline"] == HOLDS and found["verdict"]["keypoints"] == ABSENT
    assert found["verdict"]["both"] == PARTLY
    assert "named by the claim, but not measured: 8" in found["because"]["both"]
    assert found["verdict"]["less_demanding"] == ABSENT


def test_one_seed_gives_no_verdict():
    table = differences(dict.fromkeys(PAIRS, 0.05), over=ALONE, seeds=1, p_value=np.nan)
    found = judged({"differences": table}).query("verdict != @ABSENT")
    assert set(found["verdict"]) == {OPEN}
    assert found["because"].str.endswith("one seed gives no verdict").all()


def test_q_is_over_the_differences_that_are_named():
    """Benjamini and Hochberg by hand: a family of the three that `keypoints` and its twin name."""
    table = differences({("global", "keypoints"): 0.05})
    p = {("oarsi", "accuracy"): 0.03, ("oarsi", "rmse"): 0.01, ("kl", "rmse"): 0.5,
         ("kl", "accuracy"): 0.9}  # fmt: skip
    table["p_value"] = [p.get((row.head, row.metric), 1e-9) for row in table.itertuples()]
    said = judged({"differences": table})["because"]["keypoints"]
    assert "OARSI RMSE, global minus keypoints +0.050 [+0.046, +0.054], q = 0.040" in said
    assert "OARSI accuracy, keypoints minus global +0.050 [+0.046, +0.054], q = 0.060" in said
    assert "q = 0.667" in said and judged({"differences": table})["verdict"]["keypoints"] == PARTLY


@pytest.mark.parametrize("name", ["differences", "fewer"])
def test_only_cases_with_all_grades_decide(name):
    table = differences({("global", "proposed"): 0.05}, **(FEW if name == "fewer" else {}))
    table = table[table["frequency"] == "as sampled"]
    assert set(judged({name: table})["verdict"]) == {ABSENT}
