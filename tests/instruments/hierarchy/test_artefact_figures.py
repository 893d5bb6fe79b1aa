"""Figures and sentences of the artefact: what is drawn, and what is said of which result."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from oacore.errors import InputError
from oacore.instruments.hierarchy import artefact_figures as figures
from oacore.instruments.hierarchy.artefact_scores import (
    ADDED,
    collapse_table,
    differences,
    reached,
)

EFFECT = 0.2


@pytest.fixture
def runs():
    """Three seeds; Single-KL collapses in the first of them, in the paper's cell alone."""
    rows = []
    for cell in ("batch-constant", "batch-cosine", "group-constant"):
        for seed in range(3):
            for arm in ("single_kl", "dual"):
                for statistics in ("running", "re-estimated"):
                    fell = (cell, arm, statistics, seed) == (
                        "batch-constant", "single_kl", "running", 0,
                    )  # fmt: skip
                    told, acc = (0.2, 0.12) if fell else (0.8, 0.4 + 0.01 * seed)
                    rows.append((cell, arm, seed, statistics, told, acc, 0.5 + acc / 10))
    columns = ["cell", "arm", "seed", "statistics", "told", "kl_acc", "kl_auc"]
    table = pd.DataFrame(rows, columns=columns)
    group = table["cell"] == "group-constant"
    table = table[~group | (table["statistics"] == "running")]
    return table.assign(statistics=table["statistics"].where(~group, "none"))


@pytest.fixture
def contrasts(runs):
    found = differences(runs).groupby(["cell", "statistics"], sort=False)[["kl_acc", "kl_auc"]]
    rows = [
        {"cell": cell, "statistics": statistics, "measure": measure, "value": row[measure]}
        for (cell, statistics), row in found.mean().iterrows()
        for measure in ("kl_acc", "kl_auc")
    ]
    rows.append(
        {"cell": "batch-constant", "statistics": ADDED, "measure": "kl_acc", "value": 0.0933}
    )
    table = pd.DataFrame(rows)
    return table.assign(
        low=table["value"] - 0.01, high=table["value"] + 0.01, margin=0.03, q_value=0.5,
        found="none",
    )  # fmt: skip


def test_cells_stand_by_what_was_found_and_what_statistics_add_does_not(contrasts):
    contrasts.loc[contrasts["cell"] == "batch-cosine", "found"] = "gain"
    said = figures.by_finding(contrasts, "kl_auc").splitlines()
    assert len(said) == 2
    within, better = said
    assert within.startswith("- **Within the margin** (3 of 5): batch norm, constant rate, running")
    assert within.endswith(
        "; group norm, constant rate, no statistics kept, +0.000 [-0.010, +0.010]."
    )
    assert better.startswith(
        "- **Better** (2 of 5): batch norm, cosine, running statistics, +0.000"
    )
    assert figures.STATISTICS_NAMES[ADDED] not in within


def test_every_run_stands_in_its_panel_by_both_accuracies(runs):
    fig = figures.told_twice(runs)
    points = [trace for trace in fig.data if trace.mode == "markers"]
    assert [trace.name for trace in points] == ["Single-KL", "Dual"] * 2
    assert list(points[0].x) == [0.8] * 3 and list(points[0].y) == [0.2, 0.8, 0.8]
    assert all(list(trace.y) == [0.8] * 3 for trace in points[1:])
    shade = next(trace for trace in fig.data if trace.name == "collapsed")
    # The edge of the shade is the rule: half of what is on the other axis.
    assert (list(shade.x), list(shade.y)) == ([0, 1, 1], [0, 0.5, 0])
    titles = [one.text for one in fig.layout.annotations]
    assert titles == [figures.CELL_NAMES[cell] for cell in ("batch-constant", "batch-cosine")]


def test_every_pair_is_drawn_once_in_its_row_and_by_who_collapsed(runs, contrasts):
    fig = figures.pairs_of_runs(runs, contrasts, EFFECT)
    by_name = {trace.name: trace for trace in fig.data}
    fell = by_name["collapsed: Single-KL"]
    # The pair of seed 0 of the paper's cell, with either statistics.
    np.testing.assert_allclose(fell.x, [0.28, 0])
    assert [round(y) for y in fell.y] == [0, 1]
    assert "collapsed: both" not in by_name and "collapsed: Dual" not in by_name
    rest = by_name["collapsed: neither"]
    assert len(rest.x) + len(fell.x) == len(differences(runs)) == 15
    assert [round(y) for y in rest.y] == [0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    np.testing.assert_allclose(by_name["mean"].x, [0.28 / 3, 0, 0, 0, 0], atol=1e-12)
    assert len(fig.layout.yaxis.ticktext) == 5 and "the paper" not in fig.layout.yaxis.ticktext[0]
    lines = {shape.x0 for shape in fig.layout.shapes}
    assert lines == {0, EFFECT} and "published +0.200" in fig.layout.annotations[0].text
    with pytest.raises(InputError, match="lacks the column 'low'"):
        figures.pairs_of_runs(runs, contrasts.drop(columns="low"), EFFECT)


def test_tables_of_the_page_say_what_was_counted(runs, contrasts):
    counted = figures.collapse_counts(collapse_table(runs))
    paper, cosine = (figures.CELL_NAMES[cell] for cell in ("batch-constant", "batch-cosine"))
    assert counted.loc[(paper, "Single-KL"), "collapsed"] == "1 of 3"
    assert counted.loc[(paper, "Single-KL"), "share (95%)"].startswith("0.33 [0.01, ")
    assert counted.loc[(cosine, "Dual"), "collapsed"] == "0 of 3"
    pairs = figures.pairs_that_reach(reached(runs, EFFECT))
    assert pairs["Dual ahead by it"].tolist() == [1, 0, 0, 0, 0]
    assert pairs["differences"].iloc[0] == "+0.000 to +0.280"
    said = figures.effects_by_cell(contrasts)
    assert said.index.get_level_values("statistics")[4] == "what running ones add"
    assert said["difference"].iloc[0] == "+0.093 [+0.083, +0.103]"
    scores = runs.groupby(["cell", "statistics", "arm"], sort=False)["kl_acc"].mean().reset_index()
    scores = scores.assign(value=scores["kl_acc"], measure="kl_acc")
    wide = figures.scores_on_test_knees(scores.assign(low=0.1, high=0.9))
    assert list(wide) == ["Single-KL, KL accuracy", "Dual, KL accuracy"]
    assert wide.iloc[0, 1] == "0.410 [0.100, 0.900]"


@pytest.mark.parametrize(
    ("running", "anew", "added", "words"),
    [
        ("gain", "none", "gain", "are enough for an effect on average"),
        ("none", "none", "none", "are not enough for an effect on average"),
        ("undecided", "none", "undecided", "make an effect on average is undecided"),
    ],
)
def test_the_sentences_are_the_verdicts(runs, contrasts, running, anew, added, words):
    found = {"running": running, "re-estimated": anew, ADDED: added}
    table = contrasts.assign(found=contrasts["statistics"].map(found))
    fell, first, second = figures.in_sentences(table, runs, EFFECT).splitlines()
    assert "1 of 3 of Single-KL and 0 of 3 of Dual" in fell
    most = binomtest(1, 3).proportion_ci(method="exact").high
    assert f"reach up to {most:.0%} of runs" in fell
    assert words in first and f"+0.093 [+0.083, +0.103] ({running})" in first
    assert "In a single pair of runs they are enough" in second
    pattern = r"of 3 pairs, .* 1 \(Dual ahead\) and 0 \(Single-KL ahead\); .* 0 \(Dual ahead\)"
    assert re.search(pattern, second)
    few = figures.in_sentences(table, runs, 0.5).splitlines()[2]
    assert "In no pair of runs" in few and "statistics 0 (Dual ahead)" in few


def test_the_course_of_a_run_has_a_line_for_each_way_of_asking():
    asked = ("in training", "running", "re-estimated")
    table = pd.DataFrame(
        [{"rate": rate, "epoch": e, "asked": name, "accuracy": rate + e / 10 + i / 100}
         for rate in (0.1, 0.3) for e in (1, 2) for i, name in enumerate(asked)]
    )  # fmt: skip
    fig = figures.course(table)
    assert [trace.name for trace in fig.data] == [*asked, *asked]
    assert [one.text for one in fig.layout.annotations] == ["rate 0.1", "rate 0.3"]
    assert len({trace.line.dash for trace in fig.data}) == 3
    assert [trace.showlegend for trace in fig.data] == [True] * 3 + [False] * 3
    for place, trace in enumerate(fig.data):
        row, i = divmod(place, 3)
        np.testing.assert_allclose(trace.y, [(0.2, 0.4)[row] + i / 100, (0.3, 0.5)[row] + i / 100])
        assert trace.yaxis == ("y", "y2")[row]
