"""Readers of any noise, drawn knees, and the cells of the noise study."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from oacore.errors import InputError
from oacore.hierarchy import reader_table
from oacore.instruments.hierarchy import noise
from oacore.instruments.hierarchy import noise_map as drawn
from oacore.instruments.hierarchy.arms import ARMS
from oacore.instruments.hierarchy.batched import Fit, Network, train
from oacore.instruments.hierarchy.noise import (
    FEATURES,
    LEVELS,
    NoisePlan,
    answered,
    drawn_knees,
    noise_answers,
    noisy_knees,
    readings_at,
    run_noise,
)
from oacore.instruments.hierarchy.noise_map import learning_curves, noise_map
from oacore.instruments.hierarchy.noise_scores import noise_adds, noise_tables

NET = Network(hidden=8, batch=8)
PLAN = NoisePlan(
    NET, levels=("none", "fine alone"), sizes=(40, 48), seeds=(0, 1, 2),
    arms=("single_kl", "dual", "two_kl"), tested=60,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "STEPS", 20)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("noise")
    run_noise(PLAN, place, quiet=True)
    return place


def test_readers_are_the_measured_table_and_what_is_made_of_it():
    table = reader_table().to_numpy()
    np.testing.assert_allclose(readings_at(0, 0), np.eye(5))
    np.testing.assert_allclose(readings_at(1, 1), table)
    np.testing.assert_allclose(readings_at(2, 2), table @ table)
    np.testing.assert_allclose(readings_at(0.5, 0.5), (np.eye(5) + table) / 2)
    for coarse, fine in LEVELS.values():
        np.testing.assert_allclose(readings_at(coarse, fine).sum(axis=1), 1)
    oa = np.arange(5) >= 2
    across = oa[:, None] != oa
    for fine in (1, 2):  # a clean coarse label
        assert (readings_at(0, fine)[across] == 0).all()
    assert (readings_at(1, 0)[~across & ~np.eye(5, dtype=bool)] == 0).all()
    with pytest.raises(InputError, match="numbers from 0 to 2"):
        readings_at(2.5, 1)


def test_knees_have_the_papers_proportions_and_follow_the_seed():
    knees = drawn_knees(383, 5)
    assert knees["kl"].value_counts().sort_index().tolist() == [82, 46, 86, 111, 58]
    assert len(drawn_knees(40, 5)) == 40
    assert list(knees.columns) == [*FEATURES, "kl"]
    pd.testing.assert_frame_equal(knees, drawn_knees(383, 5))
    assert not knees.equals(drawn_knees(383, 6))


def test_a_reader_reads_as_the_table_says_and_test_knees_are_true():
    plan = NoisePlan(NET, seeds=(0,), tested=4000)
    knees = noisy_knees(plan, "as measured", 8000)
    truth = drawn_knees(8000, [noise._KNEES, 8000, 0])["kl"]
    read = knees.cases.loc[knees.cases["seed"] == 0, "kl"].to_numpy()
    found = pd.crosstab(truth.to_numpy(), read, normalize="index").to_numpy()
    np.testing.assert_allclose(found, reader_table().to_numpy(), atol=0.03)
    true = drawn_knees(4000, [noise._TEST_KNEES, 0])
    assert (knees.cases.loc[knees.tested, "kl"].to_numpy() == true["kl"].to_numpy()).all()
    found = pd.crosstab(true["kl"], knees.read, normalize="index").to_numpy()
    np.testing.assert_allclose(found, reader_table().to_numpy(), atol=0.05)
    error = knees.x[knees.tested] - true[list(FEATURES)].to_numpy()
    ratio = error.std(axis=0) / true[list(FEATURES)].std(ddof=0).to_numpy()
    np.testing.assert_allclose(ratio, noise.ERROR, rtol=0.05)
    assert (noisy_knees(plan, "none", 64).read == true["kl"].to_numpy()).all()


def test_cells_share_test_knees_and_seeds_have_their_own():
    one, other = noisy_knees(PLAN, "none", 40), noisy_knees(PLAN, "fine alone", 48)
    np.testing.assert_array_equal(one.x[one.tested], other.x[other.tested])
    assert not np.allclose(one.x[one.cases["seed"] == 0], one.x[one.cases["seed"] == 1])
    assert one.cases["seed"].value_counts().to_dict() == {-1: 60, 0: 40, 1: 40, 2: 40}


def test_a_network_sees_the_knees_of_its_seed_alone():
    knees = noisy_knees(PLAN, "fine alone", 40)
    said = answered(PLAN, knees, 40)
    assert list(said) == list(PLAN.arms) and said["dual"].shape == (3, 60, 5)
    own = (knees.cases["seed"] == 1) | knees.tested
    alone = knees.cases[own].reset_index(drop=True)
    fit = Fit(1, 0, (alone["seed"] == 1).to_numpy())
    wanted = train(PLAN.of(40), [ARMS["dual"]], knees.x[own], alone, [fit])
    np.testing.assert_allclose(said["dual"][1], wanted.grade[0, 0][alone["seed"] == -1], atol=1e-5)


def test_steps_do_not_depend_on_the_number_of_knees():
    plan = NoisePlan()
    assert plan.of(40).epochs == noise.STEPS and plan.of(1000).epochs == round(noise.STEPS / 31)
    with pytest.raises(InputError, match="fewer than a batch"):
        plan.of(20)


def test_a_finished_cell_is_not_trained_again_and_a_foreign_one_refused(folder, monkeypatch):
    cells = [(level, size) for level, size, _ in noise_answers(PLAN, folder)]
    assert cells == [(level, size) for size in PLAN.sizes for level in PLAN.levels]
    with monkeypatch.context() as patch:
        patch.setattr(noise, "answered", lambda *_: pytest.fail("it trained"))
        run_noise(PLAN, folder, quiet=True)
    monkeypatch.setattr(noise, "ERROR", 2.0)
    with pytest.raises(InputError, match="made by other settings: name another"):
        run_noise(PLAN, folder, quiet=True)


def test_a_damaged_cell_is_named(tmp_path):
    few = NoisePlan(NET, levels=("none",), sizes=(40,), seeds=(0, 1), arms=("dual",), tested=20)
    run_noise(few, tmp_path, quiet=True)
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(InputError, match="damaged"):
        run_noise(few, tmp_path, quiet=True)


def test_tables_are_scikit_learns_and_the_map_shows_them(folder):
    scores, contrasts = noise_tables(PLAN, folder, 30)
    assert len(scores) == 4 * 2 * 3 * 2 and len(contrasts) == 4 * 2 * 2 * 2
    level, size, said = next(noise_answers(PLAN, folder))
    knees = noisy_knees(PLAN, level, size)
    kl = knees.cases.loc[knees.tested, "kl"].to_numpy()
    rows = scores.query("level == @level and size == @size and against == 'truth'")
    rows = rows[rows["arm"] == "dual"].set_index("measure")["value"]
    auc = [roc_auc_score(kl, one / one.sum(1, keepdims=True), multi_class="ovr")
           for one in said["dual"].astype(float)]  # fmt: skip
    assert rows["kl_auc"] == pytest.approx(np.mean(auc), abs=1e-6)
    kappa = [cohen_kappa_score(kl, one.argmax(1), weights="quadratic") for one in said["dual"]]
    assert rows["kl_kappa"] == pytest.approx(np.mean(kappa), abs=1e-9)
    fig = noise_map(contrasts, "kl_auc")
    assert len(fig.data) == 2 and np.shape(fig.data[0].z) == (2, 2)
    assert fig.layout.xaxis.type == fig.layout.xaxis2.type == "category"
    scale = fig.layout.coloraxis
    assert scale.colorscale[-1][1] == "rgb(5,48,97)" and scale.cmax > 0  # a gain is blue
    own = contrasts.query(
        "level == 'fine alone' and size == 48 and against == 'truth' and reference == 'two_kl'"
        " and measure == 'kl_auc'"
    )
    assert fig.data[1].z[1][1] == pytest.approx(own["value"].item())
    curves = learning_curves(scores, "kl_kappa", ["none", "fine alone"])
    assert len(curves.data) == 2 * 3 and curves.data[0].y.shape == (2,)


def test_without_a_finished_cell_there_is_no_table(tmp_path):
    with pytest.raises(InputError, match="no cell"):
        noise_tables(PLAN, tmp_path, 10)


def cells(found, q=0.01):
    """A small map: what was found in the cells of two levels, against the truth."""
    rows = [
        {"measure": "kl_auc", "against": "truth", "level": level, "size": 40, "q_value": q,
         "reference": reference, "found": one, "value": value, "low": value - 0.01,
         "high": value + 0.01}
        for level, its in found.items()
        for reference, (one, value) in zip(("single_kl", "two_kl"), its, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_dual_anchors_where_it_beats_both():
    gain, none, loss = ("gain", 0.03), ("none", 0.001), ("loss", -0.04)
    table = cells({"none": (gain, none), "fine alone": (gain, gain), "coarse alone": (loss, gain)})
    assert drawn.anchored(table, "kl_auc") == [("fine alone", 40)]
    lines = drawn.in_sentences(table, "kl_auc").splitlines()
    assert lines[0].startswith(
        "- **Dual minus Single-KL**, 3 cells: a gain in 2, a loss in 1. Largest: -0.040 [-0.050, "
    )
    assert "2 are above zero and 1 below (q < 0.05)" in lines[0]
    assert lines[2] == (
        "- **By the design Dual anchors the grade in 1 cell**: “fine alone”, 40 knees."
    )
    without = cells({"none": (gain, none)}, q=0.3)
    assert "no cell in which Dual anchors" in drawn.in_sentences(without, "kl_auc")
    assert "0 are above zero and 0 below" in drawn.in_sentences(without, "kl_auc")
    said = drawn.by_noise(table, "kl_auc")
    assert said.startswith("- **40 knees**: +0.030 [+0.020, +0.040] without noise; +0.030")
    assert said.endswith("with errors across the boundary of OA alone.")
    more = pd.concat([table, table.assign(size=1000, value=0.5)])
    assert drawn.by_noise(more, "kl_auc").splitlines()[1].startswith("- **1,000 knees**: +0.500")
    wide = drawn.effects_table(table, "kl_auc", "two_kl")
    assert wide.index.tolist() == ["none", "fine alone", "coarse alone"]
    assert wide.loc["coarse alone", 40] == "+0.030 [+0.020, +0.040]"


def test_what_noise_adds_is_a_difference_of_differences(folder):
    adds = noise_adds(PLAN, folder, 25)
    _, contrasts = noise_tables(PLAN, folder, 25)
    assert len(adds) == 2 * 2 and set(adds["level"]) == {"fine alone"}
    own = contrasts[(contrasts["against"] == "truth") & (contrasts["reference"] == "single_kl")]
    gain = own.set_index(["measure", "level", "size"])["value"]
    for row in adds.to_dict("records"):
        wanted = gain[row["measure"], "fine alone", row["size"]]
        wanted -= gain[row["measure"], "none", row["size"]]
        assert row["value"] == pytest.approx(wanted)
    assert drawn.added(adds, "kl_auc").shape == (1, 2)
    alone = NoisePlan(NET, ("none",), PLAN.sizes, PLAN.seeds, PLAN.arms, PLAN.tested)
    with pytest.raises(InputError, match="no cell with noise"):
        noise_adds(alone, folder, 5)


def test_whether_noise_is_why_is_said_of_each_kind():
    rows = [
        {"level": level, "size": size, "measure": "kl_auc", "value": value, "low": value - 0.002,
         "high": value + 0.002, "q_value": q}
        for level, its in {
            "fine alone": ((40, 0.001, 0.4), (80, -0.004, 0.01)), "coarse alone": ((40, 0.0, 0.9),),
        }.items() for size, value, q in its
    ]  # fmt: skip
    lines = drawn.is_noise_why(pd.DataFrame(rows), "kl_auc").splitlines()
    assert lines[0] == (
        "- Dual's gain with errors of the fine grade alone, minus that without noise: less with 80 "
        "knees (q < 0.05); largest -0.004 [-0.006, -0.002], with 80 knees."
    )
    assert "no clear change (q < 0.05)" in lines[1] and len(lines) == 2


def test_readers_are_shown_with_what_they_read_right():
    shown, table = drawn.readers_table(), reader_table().to_numpy()
    assert list(shown.index) == list(LEVELS)
    assert shown.loc["as measured", "KL 2 right"] == pytest.approx(table[2, 2])
    sides = [*table[:2, :2].sum(axis=1), *table[2:, 2:].sum(axis=1)]
    assert shown.loc["as measured", "OA right, least"] == pytest.approx(min(sides))
    clean = shown.loc[["none", "fine alone", "fine alone, twice"], "OA right, least"]
    np.testing.assert_allclose(clean, 1)
