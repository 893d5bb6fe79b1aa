"""Figures of a study: each number at its place, with its interval, under its name."""

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.instruments.coherence.mixture import loss_curves
from oacore.instruments.radiographs.arms import arm_table, load_study
from oacore.instruments.radiographs.beside import beside_printed
from oacore.instruments.radiographs.collect import READERS
from oacore.instruments.radiographs.study_figures import (
    beside_panels,
    by_grade,
    difference_panels,
    label_shares,
    loss_where_readings_lie,
    score_panels,
    shares_of,
    tau_sweep,
    taus_of,
)

HEADS, METRICS = ("kl", "oarsi"), ("accuracy", "rmse", "kappa")


def numbered(**columns):
    """A table of all combinations, each with a number of its own and an interval of +- .01."""
    table = pd.MultiIndex.from_product(columns.values(), names=columns).to_frame(index=False)
    table["value"] = np.arange(1.0, len(table) + 1) / 100
    return table.assign(low=table["value"] - 0.01, high=table["value"] + 0.01)


def panels(fig):
    """Titles of the panels, from above."""
    return [one.text for one in fig.layout.annotations]


def trace(fig, name, row=0):
    """What is drawn of a series in the panel of a row."""
    axes = sorted({int(t.yaxis[1:] or 1) for t in fig.data})
    (found,) = [t for t in fig.data if t.name == name and int(t.yaxis[1:] or 1) == axes[row]]
    return found


def test_scores_stand_by_metric_arm_and_head():
    table = numbered(arm=["a", "b", "c"], head=HEADS, metric=METRICS)
    fig = score_panels(table, ["c", "a", "absent"], metrics=["rmse", "accuracy"])
    assert panels(fig) == ["RMSE", "accuracy"]
    assert list(fig.layout.yaxis.ticktext) == ["c", "a"]
    drawn = trace(fig, "OARSI, mean of six", row=1)
    at = table.set_index(["arm", "head", "metric"])["value"]
    assert list(drawn.x) == [at["c", "oarsi", "accuracy"], at["a", "oarsi", "accuracy"]]
    np.testing.assert_allclose(drawn.error_x.array, 0.01)
    assert not fig.layout.shapes
    with pytest.raises(InputError, match="no row"):
        score_panels(table, ["absent"])


def test_differences_stand_by_pair_beside_zero():
    table = numbered(reference=["a", "b"], other=["c"], head=HEADS, metric=METRICS)
    fig = difference_panels(table, [("b", "c"), ("a", "c"), ("a", "b")], METRICS)
    assert panels(fig) == ["c minus b", "c minus a"]
    at = table.set_index(["reference", "head", "metric"])["value"]
    assert list(trace(fig, "KL").x) == [at["b", "kl", metric] for metric in METRICS]
    assert sum(shape.x0 == 0 for shape in fig.layout.shapes) == 2


def test_a_collapse_is_seen_recall_falls_while_the_loss_does():
    grades = range(5)
    recall = numbered(arm=["sound", "collapsed"], head=["kl", "jsn_medial"], grade=grades)
    one = (recall["arm"] == "collapsed") & (recall["head"] == "kl")
    recall.loc[one, "value"] = (recall.loc[one, "grade"] == 2).astype(float)
    loss = numbered(arm=["sound", "collapsed", READERS], measure=["mixture", "joint"],
                    kl=[*map(str, grades), "all"])  # fmt: skip
    fig = by_grade(recall, loss, ["sound", "collapsed"], losses=["mixture"])
    assert panels(fig) == ["share of the grade that is found", "paper's loss"]
    assert list(trace(fig, "collapsed").y) == [0, 0, 1, 0, 0]
    assert [round(x) for x in trace(fig, "collapsed").x] == [*grades]
    below = trace(fig, "collapsed", row=1)
    wanted = loss.query("arm == 'collapsed' and measure == 'mixture' and kl != 'all'")["value"]
    assert list(below.y) == list(wanted)
    readers = trace(fig, READERS, row=1)
    assert readers.line.dash == "dash" and list(readers.x) == [*grades]
    assert not any(t.name == READERS for t in fig.data if t.yaxis == "y")
    wide = loss.assign(high=loss["high"] + 100)
    fig = by_grade(recall, wide, ["sound", "collapsed"], losses=["mixture"])
    drawn = wide[(wide["measure"] == "mixture") & (wide["kl"] != "all")]["value"]
    assert fig.layout.yaxis2.range == pytest.approx([0, 2.1 * drawn.max()])
    assert fig.layout.yaxis.range == pytest.approx([0, 1.05])
    with pytest.raises(InputError, match="6 series"):
        by_grade(numbered(arm=list("abcdef"), head=["kl"], grade=grades), loss, list("abcdef"))


def test_shares_of_labels_are_those_of_the_twins():
    runs = arm_table(load_study("real"))
    runs = runs.assign(arm=runs["name"])
    found = shares_of(runs, ["global", "proposed", "absent"])
    assert found == {
        "global": {0.2: "global-20", 0.4: "global-40", 1.0: "global"},
        "proposed": {0.2: "proposed-20", 0.4: "proposed-40", 1.0: "proposed"},
    }
    taus = {0.25: "tau-0.25", 0.5: "proposed", 0.75: "tau-0.75", 1.0: "tau-1", 1.5: "tau-1.5"}
    assert taus_of(runs, "proposed") == taus and taus_of(runs, "absent") == {}
    table = numbered(arm=list(runs["arm"]), head=HEADS, metric=METRICS)
    fig = label_shares(table, found)
    assert panels(fig)[:2] == ["KL: accuracy", "KL: RMSE"] and len(panels(fig)) == 4
    at = table.set_index(["arm", "head", "metric"])["value"]
    drawn = trace(fig, "proposed", row=1)
    arms = ["proposed-20", "proposed-40", "proposed"]
    assert list(drawn.y) == [at[arm, "kl", "rmse"] for arm in arms]
    assert np.abs(np.array(drawn.x) - [20, 40, 100]).max() < 5
    assert list(fig.layout.xaxis4.tickvals) == [20, 40, 100]


def test_printed_figures_stand_beside_ours_without_an_interval():
    taus = {0.25: "tau-0.25", 0.5: "proposed"}
    table = numbered(arm=["keypoints", *taus.values()], head=HEADS, metric=METRICS)
    table["frequency"] = "as sampled"
    beside = beside_printed(table, "2112.09177 supplement Table 1", "as sampled")
    fig = tau_sweep(table, taus, beside, "keypoints")
    assert list(trace(fig, "printed").y) == [0.721, 0.727]
    assert trace(fig, "printed").error_y.visible is False
    at = table.set_index(["arm", "head", "metric"])["value"]
    assert list(trace(fig, "ours").y) == [at[arm, "kl", "accuracy"] for arm in taus.values()]
    lines = [shape.y0 for shape in fig.layout.shapes]
    assert lines == [at["keypoints", head, m] for head in HEADS for m in ("accuracy", "rmse")]


def test_gains_stand_beside_each_other_in_two_lines():
    gains = numbered(gain=["Prop. minus R-50", "A minus B"], head=HEADS, metric=METRICS)
    fig = beside_panels(gains.assign(printed=0.5))
    assert list(fig.layout.yaxis.ticktext) == ["Prop.<br>− R-50", "A<br>− B"]
    assert list(trace(fig, "printed").x) == [0.5, 0.5]
    assert np.isnan(np.array(trace(fig, "printed").error_x.array, float)).all()
    at = gains.set_index(["gain", "head", "metric"])["value"]
    assert list(trace(fig, "ours", row=2).x) == [
        at["Prop. minus R-50", "oarsi", "accuracy"], at["A minus B", "oarsi", "accuracy"]
    ]  # fmt: skip
    assert fig.layout.margin.l < 20 + 7 * len("Prop.<br>− R-50")  # of a line, not of both


def test_readings_are_marked_on_both_curves():
    noise = pd.DataFrame(
        {"sigma": [0.1, 0.2], "p5": [4.0, -4.0], "median": [20.0, 9.0], "shuffled": [-20.0, -9.0]}
    )
    fig = loss_where_readings_lie(loss_curves([0.5, 1], [-10, 0, 10]), noise, 0.2)
    lines = [(one.x0, one.yref) for one in fig.layout.shapes]
    assert {x for x, _ in lines} == {-4, 9, -9} and len(lines) == 6
    assert {place for _, place in lines} == {"y domain", "y2 domain"}
    words = [one.text for one in fig.layout.annotations if one.text]
    assert words == ["shuffled", "readings, 5%", "readings, median"]
    with pytest.raises(InputError, match="sigma 0.3; choose one of 0.1, 0.2"):
        loss_where_readings_lie(loss_curves([0.5], [0, 1]), noise, 0.3)
