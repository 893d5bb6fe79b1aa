"""The study of the artefact: its runs against the core's loop, its plan against the design."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from oacore.errors import InputError
from oacore.instruments.hierarchy import artefact
from oacore.instruments.hierarchy.artefact import (
    CANDIDATES,
    CELLS,
    LEARNED,
    PAIR,
    PILOT_SEEDS,
    ArtefactPlan,
    finished_run,
    in_groups,
    knees_at,
    pilot,
    run_artefact,
    trained_by_steps,
    trained_by_the_loop,
    whole_batches,
)
from oacore.models.heads import build_model
from oacore.profile import load_profile
from tests.helpers import ROOT, make_cohort, small_phantom

SMALL = ArtefactPlan(
    grid=(8, 16, 16), encoder={"depth": 10, "width": 4}, epochs=1, lr=1e-3, seeds=(0, 1)
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return small_phantom(tmp_path_factory.mktemp("artefact") / "cohort")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    knees_at.cache_clear()


@pytest.mark.parametrize("arm", PAIR)
@pytest.mark.parametrize("cell", ["batch-constant", "batch-cosine"])
def test_single_steps_with_batch_normalisation_are_the_loop_to_the_bit(cell, arm, tmp_path):
    cases, volumes = make_cohort()
    config = replace(SMALL, epochs=2).config(cell, 3, arm)
    loop = trained_by_the_loop(config, cases, volumes, tmp_path / "run")
    steps = trained_by_steps(config, "batch", cases, volumes)
    # The loop's are read from a file of text.
    np.testing.assert_allclose(loop["running"], steps, rtol=0, atol=1e-12)
    assert np.abs(loop["re-estimated"] - steps).max() > 1e-3
    np.testing.assert_allclose(steps.sum(axis=1), 1)
    other = trained_by_steps(config, "group", cases, volumes)
    assert np.abs(other - steps).max() > 1e-3


def test_group_normalisation_replaces_every_layer_and_no_weight():
    batch, group = (build_model("resnet3d", "dual", 5, {"depth": 10, "width": 8}) for _ in "ab")
    in_groups(group)
    kinds = [type(module) for module in group.modules()]
    found = [module for module in group.modules() if isinstance(module, nn.GroupNorm)]
    norms = [module for module in batch.modules() if isinstance(module, nn.BatchNorm3d)]
    assert nn.BatchNorm3d not in kinds and len(found) == len(norms) > 5
    assert [one.num_channels for one in found] == [one.num_features for one in norms]
    assert {one.num_channels // one.num_groups for one in found} == {8}
    kept = dict(group.named_parameters())
    for name, weight in batch.named_parameters():
        torch.testing.assert_close(kept[name], weight, rtol=0, atol=0)
    assert not [name for name, _ in group.named_buffers()]
    x = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    group.train()
    trained = group(x)["kl"]
    # One knee is answered alike alone and beside another, in training and in evaluation.
    torch.testing.assert_close(group.eval()(x[:1])["kl"], trained[:1], rtol=1e-4, atol=1e-5)


def test_every_batch_holds_two():
    kl = [0, 1, 1, 2, 3, 3, 3, 4, 4]
    cases = pd.DataFrame({"case_id": range(9), "kl": kl, "split": ["train"] * 7 + ["test"] * 2})
    left = whole_batches(cases)
    assert left["case_id"].tolist() == [0, 1, 2, 3, 4, 5, 7, 8]  # the last of the commonest grade
    pd.testing.assert_frame_equal(whole_batches(left), left)
    recipe = load_profile("record")
    assert sum(recipe.train) - sum(recipe.train) % 2 == 190 and sum(recipe.test) == 1000


def test_the_plan_is_the_designs():
    plan, design = ArtefactPlan(), (ROOT / "book/hierarchy-design.md").read_text()
    text = " ".join(
        design.partition("(sec-artefact-design)=")[2].partition("## The noise")[0].split()
    )
    assert plan.seeds == tuple(range(20)) and not set(PILOT_SEEDS) & set(plan.seeds)
    config = plan.config("batch-constant", 7, "dual")
    assert (config.batch_size, config.schedule, config.statistics) == (2, "constant", "running")
    assert (config.heads, config.weight_decay, config.seed) == ("parallel", 1e-4, 7)
    assert plan.config("batch-cosine", 7, "dual").schedule == "cosine"
    assert list(CELLS)[0] == "batch-constant" and CELLS["group-constant"] == ("group", "constant")
    assert f"depth {plan.encoder['depth']} and width {plan.encoder['width']}" in text
    assert "{} x {} x {} voxels".format(*plan.grid) in text
    assert len(list(plan.runs())) == 120
    rates = [float(one) for one in re.findall(r"\.0*[13]\b", text.partition("Rates of")[2])][:4]
    assert tuple((lr, epochs) for lr in rates for epochs in (8, 16)) == CANDIDATES
    assert f"answers {LEARNED:g}".replace("0.", ".") in text
    assert (plan.lr, plan.epochs) in CANDIDATES
    model = build_model(config.backbone, "dual", 0, plan.encoder)
    momenta = {m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm3d)}
    assert momenta == {0.1}  # the paper's, and PyTorch's default


def test_runs_are_kept_one_by_one_and_never_made_again(drawn, tmp_path, monkeypatch):
    places = (drawn, tmp_path / "cache", tmp_path / "runs")
    plan = replace(SMALL, seeds=(0,), cells=("batch-constant", "group-constant"))
    knees = knees_at(*places[:2], plan.grid)
    monkeypatch.setattr(artefact, "train", broken := Broken(artefact.train, after=1))
    with pytest.raises(KeyboardInterrupt):
        run_artefact(plan, *places)
    found = [finished_run(plan, knees, places[2], one) is not None for one in plan.runs()]
    assert found == [True, False, False, False]
    broken.after = 2
    run_artefact(plan, *places)
    broken.after = 0
    run_artefact(plan, *places)  # all are there
    assert not list((tmp_path / "runs/unfinished").rglob("*.*"))
    for one in plan.runs():
        said = finished_run(plan, knees, places[2], one)
        kinds = {"running", "re-estimated"} if one[0] == "batch-constant" else {"none"}
        assert set(said) == {*kinds, "seconds"}
        for kind in kinds:
            assert said[kind].shape == (len(knees[0]), 5)
            np.testing.assert_allclose(said[kind].sum(axis=1), 1, rtol=1e-5)
    others = replace(plan, lr=2e-3)
    with pytest.raises(InputError, match="was made by other settings"):
        run_artefact(others, *places)
    cases = knees[0].assign(kl=(knees[0]["kl"] + 1) % 5)
    with pytest.raises(InputError, match="was made by other images or labels"):
        finished_run(plan, (cases, knees[1]), places[2], ("batch-constant", 0, "dual"))


class Broken:
    """A function that is interrupted after some calls."""

    def __init__(self, function, after):
        self.function, self.after = function, after

    def __call__(self, *args, **kwargs):
        self.after -= 1
        if self.after < 0:
            raise KeyboardInterrupt
        return self.function(*args, **kwargs)


def test_a_cohort_without_a_split_is_one_clear_error(tmp_path, monkeypatch):
    cases = pd.DataFrame({"kl": [0, 1], "split": ["train", "train"]})
    monkeypatch.setattr(artefact, "read_cohort", lambda _: cases)
    with pytest.raises(InputError, match="no graded knee to test on; draw some with"):
        knees_at(Path("there"), tmp_path, (8, 16, 16))


def test_a_pilot_stops_at_the_first_that_learns(monkeypatch, tmp_path):
    kl = np.array([0, 1, 2, 3, 4, 0])
    cases = pd.DataFrame({"kl": kl, "split": ["train"] * 5 + ["test"]})
    monkeypatch.setattr(artefact, "knees_at", lambda *_: (cases, None))
    asked = []
    monkeypatch.setattr(artefact, "run_artefact", lambda plan, *_: asked.append(plan))

    def said(plan, knees, place, one):
        assert one[0] == "batch-constant" and one[1] in PILOT_SEEDS
        # Of five training knees Dual gets one right with each candidate more, Single-KL one less.
        n = min(5, len(asked) - (one[2] == "single_kl"))
        wrong = (kl + 1) % 5
        answer = np.where(np.arange(6) < n, kl, wrong)
        # The test knee and running statistics, which the rule must not look at, are all right.
        return {"re-estimated": np.eye(5)[answer], "running": np.eye(5)[kl], "seconds": 3.0}

    monkeypatch.setattr(artefact, "finished_run", said)
    table = pilot("cohort", "cache", tmp_path)
    assert list(zip(table["lr"], table["epochs"], strict=True)) == list(CANDIDATES[:4])
    np.testing.assert_allclose(table["single_kl"], [0, 0.2, 0.4, 0.6])
    np.testing.assert_allclose(table["dual"], [0.2, 0.4, 0.6, 0.8])
    assert [plan.lr for plan in asked] == table["lr"].tolist()
    assert {plan.seeds for plan in asked} == {PILOT_SEEDS}
