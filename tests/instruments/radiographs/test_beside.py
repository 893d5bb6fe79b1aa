"""Printed figures of the second paper beside ours."""

import numpy as np
import pandas as pd
import pytest

from oacore.instruments.radiographs.arms import load_study
from oacore.instruments.radiographs.beside import (
    GAINS,
    STANDS_FOR,
    beside_printed,
    gains_beside,
    side_by_side,
)
from oacore.instruments.radiographs.collect import contrasts


def scores(arms):
    rows = [
        {"arm": arm, "head": head, "metric": metric, "frequency": frequency, "value": number,
         "low": number - 1, "high": number + 1}
        for frequency, shift in (("as sampled", 0.0), ("natural", 100.0))
        for number, (arm, head, metric) in enumerate(
            ((a, h, m) for a in arms for h in ("kl", "oarsi", "narrowings")
             for m in ("accuracy", "rmse", "kappa", "macro_auc")), start=1)
        for number in [number + shift]
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("name", STANDS_FOR)
def test_every_row_stands_for_one_of_the_paper(name):
    arms = set(STANDS_FOR[name].values())
    table = beside_printed(scores(arms), name, "as sampled")
    assert list(dict.fromkeys(table["row"])) == list(STANDS_FOR[name])
    assert len(table) == len(STANDS_FOR[name]) * 2 * 3 and (table["value"] < 100).all()
    assert arms <= set(load_study("real").arms)
    assert (beside_printed(scores(arms), name, "natural")["value"] > 100).all()


def test_figures_are_those_printed():
    arms = STANDS_FOR["2112.09177 Table 2"].values()
    table = beside_printed(scores(arms), "2112.09177 Table 2", "as sampled")
    at = table.set_index(["row", "head", "metric"])["printed"]
    assert at["Proposed", "kl", "accuracy"] == 0.727 and at["ResNet-50", "oarsi", "rmse"] == 0.585
    assert at["ResNet-18", "oarsi", "kappa"] == 0.776
    third = beside_printed(scores(arms), "2112.09177 Table 3", "as sampled")
    assert np.isnan(third.set_index(["row", "head", "metric"])["printed"]["neither", "kl", "kappa"])


def test_an_arm_that_is_not_finished_is_left_out():
    table = beside_printed(scores(["global"]), "2112.09177 Table 3", "as sampled")
    assert set(table["row"]) == {"neither"} and len(table) == 6


@pytest.mark.parametrize("name", STANDS_FOR)
def test_printed_figures_are_in_the_paper(name, shared):
    text = (shared / "papers/paper_2112.09177_coherence_keypoint.txt").read_text()
    arms = set(STANDS_FOR[name].values())
    printed = beside_printed(scores(arms), name, "as sampled")["printed"].dropna()
    assert len(printed) >= 4 * len(STANDS_FOR[name])
    assert all(f"{figure:.3f}" in text for figure in printed)


def test_every_gain_of_the_paper_has_arms_that_are_compared():
    pairs = {pair[:2] for pair in contrasts(load_study("real"))}
    assert GAINS.keys() == STANDS_FOR.keys()
    for name, gains in GAINS.items():
        arms = STANDS_FOR[name]
        assert {(arms[one], arms[other]) for one, other in gains} <= pairs


def differences(pairs, frequency="all grades read"):
    rows = [
        {"reference": one, "other": other, "head": head, "metric": metric, "frequency": frequency,
         "value": number, "low": number - 1, "high": number + 1}
        for number, (one, other, head, metric) in enumerate(
            ((*pair, h, m) for pair in pairs for h in ("kl", "oarsi", "osteophytes")
             for m in ("accuracy", "rmse", "kappa", "macro_auc")), start=1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_gains_are_differences_of_the_printed_figures():
    table = differences([("global-20", "proposed-20"), ("global", "proposed-40")])
    found = gains_beside(table, "2112.09177 Table 4", "all grades read")
    assert len(found) == 2 * 4  # no kappa in that table, and the other pairs have no row
    at = found.set_index(["gain", "head", "metric"])
    first = at.loc[("Proposed 20% minus ResNet-50 20%", "kl", "accuracy")]
    assert (first["printed"], first["value"], first["low"]) == (0.022, 1, 0)  # .684 - .662
    second = at.loc[("Proposed 40% minus ResNet-50 100%", "oarsi", "rmse")]
    assert second["printed"] == -0.015 and second["other"] == "proposed-40"  # .570 - .585
    assert gains_beside(table, "2112.09177 Table 4", "natural").empty
    both = gains_beside(
        differences([("proposed", "proposed-regression")]), "2112.09177 supplement Table 2",
        "all grades read",
    )  # fmt: skip
    assert set(both["gain"]) == {"Prop. w. [2] minus Prop."}
    assert both.set_index(["head", "metric"])["printed"]["oarsi", "accuracy"] == 0.006


def test_figures_stand_side_by_side_as_they_are_printed():
    arms = STANDS_FOR["2112.09177 Table 3"].values()
    wide = side_by_side(beside_printed(scores(arms), "2112.09177 Table 3", "as sampled"))
    assert list(wide.index) == [
        ("neither", "global"), ("KPN", "keypoints"), ("CL", "coherence"),
        ("KPN and CL", "proposed"),
    ]  # fmt: skip
    figures = ["KL accuracy", "KL RMSE", "OARSI accuracy", "OARSI RMSE"]
    assert list(wide.columns) == [(name, of) for name in figures for of in ("printed", "ours")]
    assert wide.loc[("CL", "coherence"), ("OARSI accuracy", "printed")] == "0.750"
    assert wide.loc[("neither", "global"), ("KL accuracy", "ours")] == "1.00 [0.00, 2.00]"
