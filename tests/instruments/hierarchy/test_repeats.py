"""Repeats on drawn features: folds, held-out answers, and blocks that are made once."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from oacore.errors import InputError
from oacore.instruments.hierarchy import repeats
from oacore.instruments.hierarchy.batched import Network
from oacore.instruments.hierarchy.peers import PEERS, peer_of
from oacore.instruments.hierarchy.repeats import (
    Block,
    Knees,
    Plan,
    answers,
    blocks,
    folds_of,
    held_out,
    primary_mean,
    run,
    tune,
)

NET = Network(hidden=8, epochs=2, batch=8)
PLAN = Plan(
    network=NET, arms=("single_kl", "dual", "shuffled", "again"), crossed=("single_kl",),
    peers=("logistic",), seeds=(0, 1, 2), peer_seeds=(0, 1), folds=3,
)  # fmt: skip


def drawn(n=90, seed=0):
    rng = np.random.default_rng(seed)
    kl = np.resize(np.arange(5), n)
    x = kl[:, None] * 0.4 + rng.normal(size=(n, 6))
    table = pd.DataFrame({"kl": kl, "male": rng.integers(0, 2, n), "age": rng.normal(60, 9, n)})
    return Knees(x, table.assign(quality=rng.normal(size=n)))


@pytest.fixture(scope="module")
def knees():
    return drawn()


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(repeats, "BLOCK", 2)


def test_folds_are_scikit_learns_and_follow_the_seed(knees):
    kl = knees.cases["kl"].to_numpy()
    fold = folds_of(kl, 4, 3)
    parts = StratifiedKFold(3, shuffle=True, random_state=4).split(kl, kl)
    for number, (_, held) in enumerate(parts):
        np.testing.assert_array_equal(np.flatnonzero(fold == number), held)
    assert (folds_of(kl, 5, 3) != fold).any()


def test_every_knee_is_answered_by_the_network_that_did_not_see_it(knees):
    seeds = (3, 4)
    both = held_out(knees, NET, ["dual", "shuffled"], seeds, 3)
    assert both["grade"].shape == (2, 2, 90, 5) and both["second"].shape == (2, 2, 90)
    np.testing.assert_allclose(both["grade"].sum(-1), 1)
    # Another grade of one knee changes no answer about it, and those about others.
    other = Knees(
        knees.x, knees.cases.assign(kl=knees.cases["kl"].where(knees.cases.index != 7, 0))
    )
    kl = knees.cases["kl"].to_numpy()
    fold = {seed: folds_of(kl, seed, 3) for seed in seeds}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "folds_of", lambda _, seed, folds: fold[seed])
        again = held_out(other, NET, ["dual", "shuffled"], seeds, 3)["grade"]
    np.testing.assert_allclose(again[0, :, 7], both["grade"][0, :, 7], atol=1e-6)
    assert np.abs(again[0] - both["grade"][0]).max() > 1e-4


def test_blocks_of_a_plan(small_blocks):
    every = list(blocks(PLAN))
    cells = PLAN.cells()
    assert next(iter(cells)) == "layer-constant" and len(cells) == 6
    assert len(every) == 2 * (4 + 5) + 1
    assert Block("batch-cosine", "single_kl", (2,)) in every
    assert Block("peers", "logistic", (0, 1)) in every


def test_what_is_finished_is_found_and_never_made_again(knees, tmp_path, small_blocks, monkeypatch):
    run(PLAN, knees, tmp_path, quiet=True)
    found = {(cell, name): said for cell, name, said in answers(PLAN, knees, tmp_path)}
    assert len(found) == 10
    dual = found["layer-constant", "dual"]
    np.testing.assert_array_equal(dual["seeds"], PLAN.seeds)
    alone = held_out(knees, NET, ["dual"], (2,), 3)
    np.testing.assert_allclose(dual["grade"][2], alone["grade"][0, 0], atol=1e-5)
    again = found["layer-constant", "again"]["grade"]
    assert np.abs(again - found["layer-constant", "single_kl"]["grade"]).max() > 1e-3
    assert found["peers", "logistic"]["grade"].shape == (2, 90, 5)

    monkeypatch.setattr(repeats, "train", lambda *_: pytest.fail("trained again"))
    run(PLAN, knees, tmp_path, quiet=True)
    monkeypatch.undo()
    monkeypatch.setattr(repeats, "BLOCK", 2)

    # One block is lost: its arm counts up to there, and that block alone is made again.
    lost = Block("layer-constant", "dual", (2,)).path(tmp_path)
    lost.unlink()
    left = {name: said for cell, name, said in answers(PLAN, knees, tmp_path)
            if cell == "layer-constant"}  # fmt: skip
    np.testing.assert_array_equal(left["dual"]["seeds"], [0, 1])
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    run(PLAN, knees, tmp_path, quiet=True)
    assert lost.exists()
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_other_settings_code_knees_and_damage_are_refused(knees, tmp_path, monkeypatch):
    few = replace(PLAN, arms=("single_kl",), crossed=(), peers=(), seeds=(0,))
    run(few, knees, tmp_path, quiet=True)
    for plan, its, what in (
        (replace(few, network=replace(NET, epochs=3)), knees, "settings"),
        (few, drawn(seed=1), "knees"),
    ):
        with pytest.raises(InputError, match=f"made by other {what}: name another folder"):
            run(plan, its, tmp_path, quiet=True)
    with monkeypatch.context() as other, pytest.raises(InputError, match="made by other code"):
        other.setattr(repeats, "_code", lambda module: "another")
        run(few, knees, tmp_path, quiet=True)
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="damaged"):
        run(few, knees, tmp_path, quiet=True)


def test_tuning_looks_at_inner_folds_alone(knees, monkeypatch):
    sizes = []

    def seen(inner, network, names, seeds, folds):
        sizes.append(len(inner.cases))
        said = np.eye(5)[inner.cases["kl"]] if network.epochs == 2 else np.full((60, 5), 0.2)
        return {"grade": said[None, None]}

    monkeypatch.setattr(repeats, "held_out", seen)
    table = tune(knees, [replace(NET, epochs=1), NET], primary_mean, seed=9, folds=3, quiet=True)
    assert set(sizes) == {60} and len(sizes) == 2 * 3 * 2
    assert list(table["epochs"]) == [2, 1] and table["score"].iloc[0] == 1


def test_primary_mean_is_scikit_learns(knees):
    rng = np.random.default_rng(0)
    prob = rng.dirichlet(np.ones(5), 90)
    kl = knees.cases["kl"].to_numpy()
    kappa = cohen_kappa_score(kl, prob.argmax(1), weights="quadratic")
    area = roc_auc_score(kl, prob, multi_class="ovr")
    assert primary_mean(kl, prob) == pytest.approx((area + kappa) / 2)


@pytest.mark.parametrize("name", list(PEERS))
def test_peers_answer_with_probabilities_and_learn(knees, name):
    kl = knees.cases["kl"].to_numpy()
    said = peer_of(name)(knees.x[:60], kl[:60], knees.x[60:], 0)
    np.testing.assert_allclose(said.sum(axis=1), 1)
    assert roc_auc_score(kl[60:], said, multi_class="ovr") > 0.6
    without = kl[:60] != 1  # a grade that no training knee has gets nothing
    said = peer_of(name)(knees.x[:60][without], kl[:60][without], knees.x[60:], 0)
    assert (said[:, 1] == 0).all()


def test_ordinal_regression_of_two_grades_is_logistic():
    # With two grades proportional odds are a logistic regression without a penalty.
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 3))
    kl = (x[:, 0] + rng.normal(size=200) > 0).astype(int)
    said = peer_of("ordinal")(x, kl, x[:5], 0)[:, 1]
    plain = LogisticRegression(C=np.inf, tol=1e-8).fit(x, kl).predict_proba(x[:5])[:, 1]
    np.testing.assert_allclose(said, plain, atol=1e-3)


def test_no_such_peer():
    with pytest.raises(InputError, match="no peer 'svm'"):
        peer_of("svm")
