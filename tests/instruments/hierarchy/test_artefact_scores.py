"""The artefact's scores against counts by hand, scipy, scikit-learn; its verdicts, case by case."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, roc_auc_score

from oacore.errors import InputError
from oacore.instruments.hierarchy import artefact_scores as module
from oacore.instruments.hierarchy.artefact import ArtefactPlan
from oacore.instruments.hierarchy.artefact_scores import (
    ADDED,
    artefact_tables,
    bias_verdict,
    collapse_table,
    differences,
    is_collapsed,
    luck_verdict,
    reached,
)

PLAN = replace(ArtefactPlan(), seeds=(0, 1, 2), cells=("batch-constant", "group-constant"))


def runs(told, cell="batch-constant", accuracies=None):
    """Runs of pairs: for each seed (Single-KL running, anew, Dual running, anew)."""
    rows = []
    for seed, four in enumerate(told):
        for place, (arm, statistics) in enumerate(
            (arm, stat) for arm in ("single_kl", "dual") for stat in ("running", "re-estimated")
        ):
            acc = four[place] if accuracies is None else accuracies[seed][place]
            rows.append((cell, arm, seed, statistics, four[place], acc, 0.5 + acc / 10))
    return pd.DataFrame(
        rows, columns=["cell", "arm", "seed", "statistics", "told", "kl_acc", "kl_auc"]
    )


@pytest.mark.parametrize(
    ("running", "anew", "is_one"),
    [(0.29, 0.6, True), (0.3, 0.6, False), (0.31, 0.6, False), (0.6, 0.6, False),
     (0.9, 0.6, False), (0.0, 0.1, True), (0.0, 0.0, False)],
)  # fmt: skip
def test_a_run_collapses_below_half(running, anew, is_one):
    assert is_collapsed(running, anew) is is_one


def test_collapsed_runs_are_counted_with_exact_intervals_and_mcnemars_test():
    up, down = (0.8, 0.8), (0.2, 0.8)
    told = [(*down, *up)] * 6 + [(*up, *down)] + [(*down, *down)] * 2 + [(*up, *up)] * 11
    table = collapse_table(runs(told)).set_index("arm")
    assert table["collapsed"].to_dict() == {"single_kl": 8, "dual": 3}
    assert table["alone"].to_dict() == {"single_kl": 6, "dual": 1} and set(table["runs"]) == {20}
    for hits, row in ((8, table.loc["single_kl"]), (3, table.loc["dual"])):
        exact = binomtest(hits, 20).proportion_ci(method="exact")
        assert (row["low"], row["high"]) == pytest.approx((exact.low, exact.high))
        assert row["share"] == hits / 20
        assert row["told_running"] == pytest.approx((0.2 * hits + 0.8 * (20 - hits)) / 20)
        assert row["told_anew"] == pytest.approx(0.8)
    assert table["p_value"].tolist() == pytest.approx([binomtest(1, 7).pvalue] * 2)


def test_a_cell_without_statistics_has_no_collapsed_runs():
    some = runs([(0.1, 0.8, 0.8, 0.8)] * 2)
    none = some[some["statistics"] == "running"].assign(cell="group-constant", statistics="none")
    table = collapse_table(pd.concat([some, none]))
    assert set(table["cell"]) == {"batch-constant"}
    found = differences(pd.concat([none, some]))
    own = found.set_index(["cell", "statistics"])
    assert list(dict.fromkeys(own.index)) == [
        ("batch-constant", "running"), ("batch-constant", "re-estimated"),
        ("group-constant", "none"),
    ]  # fmt: skip
    assert set(own.loc["batch-constant", "collapsed"]) == {"Single-KL"}
    assert set(own.loc["group-constant", "collapsed"]) == {"neither"}
    np.testing.assert_allclose(own.loc["group-constant", "kl_acc"], 0.7)


def test_pairs_that_reach_an_effect_are_counted_on_either_side():
    told = [(0.8, 0.8, 0.8, 0.8)] * 4
    accuracies = [(0.1, 0.4, 0.4, 0.4), (0.2, 0.4, 0.4, 0.45), (0.4, 0.4, 0.15, 0.4), (0.3,) * 4]
    table = reached(runs(told, accuracies=accuracies), 0.2).set_index("statistics")
    row = table.loc["running"]
    assert (row["pairs"], row["dual_ahead"], row["single_kl_ahead"]) == (4, 2, 1)
    assert (row["least"], row["most"]) == pytest.approx((-0.25, 0.3))
    exact = binomtest(2, 4).proportion_ci(method="exact")
    assert (row["low"], row["high"]) == pytest.approx((exact.low, exact.high))
    assert table.loc["re-estimated", ["dual_ahead", "single_kl_ahead"]].tolist() == [0, 0]
    collapsed = differences(runs([(0.1, 0.8, 0.1, 0.8), (0.8, 0.8, 0.1, 0.8)]))
    assert collapsed["collapsed"].tolist() == ["both", "Dual"] * 2


@pytest.mark.parametrize(
    ("running", "anew", "added", "said"),
    [
        ("gain", "none", "gain", "enough"), ("gain", "none", "undecided", "enough"),
        ("none", "none", "none", "not"), ("loss", "none", "loss", "not"),
        ("none", "undecided", "undecided", "not"), ("gain", "gain", "none", "not"),
        ("undecided", "gain", "loss", "not"), ("gain", "gain", "gain", "undecided"),
        ("gain", "undecided", "undecided", "undecided"),
        ("undecided", "none", "undecided", "undecided"),
    ],
)  # fmt: skip
def test_the_verdict_of_a_bias_is_the_designs(running, anew, added, said):
    found = {"running": running, "re-estimated": anew, ADDED: added}
    rows = [
        {"cell": cell, "measure": measure, "statistics": name, "found": one}
        for cell, measure in (("batch-constant", "kl_acc"), ("batch-constant", "kl_auc"),
                              ("batch-cosine", "kl_acc"))
        for name, one in found.items()
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    others = (table["cell"] != "batch-constant") | (table["measure"] != "kl_acc")
    table.loc[others, "found"] = "loss"  # which the verdict is not about
    assert bias_verdict(table) == said


@pytest.mark.parametrize(
    ("running", "anew", "said"),
    [((1, 0), (0, 0), "enough"), ((0, 2), (0, 0), "enough"), ((0, 0), (0, 0), "not"),
     ((0, 0), (1, 0), "not"), ((2, 0), (0, 1), "undecided")],
)  # fmt: skip
def test_the_verdict_of_luck_is_the_designs(running, anew, said):
    rows = [("batch-constant", "running", *running), ("batch-constant", "re-estimated", *anew)]
    rows += [("batch-cosine", "running", 9, 9), ("batch-cosine", "re-estimated", 9, 9)]
    columns = ["cell", "statistics", "dual_ahead", "single_kl_ahead"]
    assert luck_verdict(pd.DataFrame(rows, columns=columns)) == said


@pytest.fixture
def told_knees(monkeypatch):
    """Forty training and sixty test knees, and what invented networks answer for them."""
    kl = np.resize(np.arange(5), 100)
    cases = pd.DataFrame({"kl": kl, "split": ["train"] * 40 + ["test"] * 60})

    def answer(plan, knees, folder, one):
        cell, seed, arm = one
        if folder == "empty" or (folder == "half" and seed == 1 and arm == "dual"):
            return None
        rng = np.random.default_rng([len(cell), seed, len(arm)])
        sure = np.eye(5)[kl] * (1 + (arm == "dual")) + rng.random((100, 5)) * 2
        blind = np.eye(5)[(kl + 1) % 5] + rng.random((100, 5)) / 9  # none is right
        grade = {"running": blind if arm == "single_kl" and not seed else sure}
        grade["re-estimated"] = sure
        if cell == "group-constant":
            grade = {"none": sure}
        return {k: v / v.sum(axis=1, keepdims=True) for k, v in grade.items()} | {"seconds": 1.0}

    monkeypatch.setattr(module, "finished_run", answer)
    return (cases, None), answer


def test_all_tables_follow_from_the_answers(told_knees):
    knees, answer = told_knees
    tables = artefact_tables(PLAN, knees, "here", 40)
    kl = knees[0]["kl"].to_numpy()
    said = tables["runs"].set_index(["cell", "statistics", "arm", "seed"]).sort_index()
    assert len(said) == 3 * 2 * 2 + 3 * 2
    for (cell, statistics, arm, seed), row in said.iterrows():
        grade = answer(PLAN, knees, "here", (cell, seed, arm))[statistics]
        assert row["told"] == accuracy_score(kl[:40], grade[:40].argmax(axis=1))
        assert row["kl_acc"] == accuracy_score(kl[40:], grade[40:].argmax(axis=1))
        area = roc_auc_score(kl[40:], grade[40:], multi_class="ovr")
        assert row["kl_auc"] == pytest.approx(area)
    assert tables["collapse"]["collapsed"].tolist() == [1, 0]
    scores = tables["scores"].set_index(["cell", "statistics", "arm", "measure"])
    of_one = said.loc[("batch-constant", "running", "single_kl"), "kl_acc"]
    assert scores.loc[("batch-constant", "running", "single_kl", "kl_acc"), "value"] == (
        pytest.approx(of_one.mean())
    )
    contrasts = tables["contrasts"].set_index(["cell", "statistics", "measure"])
    assert len(contrasts) == (3 + 1) * 2
    gain = said["kl_acc"].unstack("arm").pipe(lambda t: t["dual"] - t["single_kl"])
    for statistics in ("running", "re-estimated"):
        row, own = contrasts.loc[("batch-constant", statistics, "kl_acc")], gain["batch-constant"]
        assert row["value"] == pytest.approx(own[statistics].mean())
        assert row["margin"] == 0.03
        # Knees add to what the seeds alone would say.
        assert row["se"] >= own[statistics].std(ddof=1) / 3**0.5 * (1 - 1e-9)
    added = contrasts.loc[("batch-constant", ADDED, "kl_acc")]
    apart = gain["batch-constant"]["running"] - gain["batch-constant"]["re-estimated"]
    assert added["value"] == pytest.approx(apart.mean())
    assert added["se"] >= apart.std(ddof=1) / 3**0.5 * (1 - 1e-9)
    assert contrasts.loc[("batch-constant", "running", "kl_auc"), "margin"] == 0.02
    assert (contrasts["q_value"] >= contrasts["p_value"]).all()
    assert set(contrasts["found"]) <= {"none", "gain", "loss", "undecided"}


def test_seeds_count_in_pairs_and_without_any_it_is_one_clear_error(told_knees):
    knees, _ = told_knees
    half = artefact_tables(PLAN, knees, "half", 5)["runs"]
    assert set(half["seed"]) == {0, 2}
    with pytest.raises(InputError, match="empty: no pair of runs of the artefact is finished"):
        artefact_tables(PLAN, knees, "empty", 5)
