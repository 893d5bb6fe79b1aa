"""Runs on a fixed split: made once, found again, and refused where they are of something else."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.instruments.hierarchy import runs
from oacore.instruments.hierarchy.runs import (
    SplitPlan,
    answers,
    cohort_of,
    draw_people,
    run,
    run_path,
)
from oacore.instruments.hierarchy.split import ImageNetwork, SplitCohort
from oacore.instruments.radiographs.collect import by_person

NET = ImageNetwork("resnet2d", {"depth": 10, "width": 2})
PLAN = SplitPlan(NET, ("single_kl", "dual", "single_oa"), (0, 1, 2))
SPLITS = np.repeat(["train", "test"], [6, 4])


def drawn(seed=0, grade=0):
    rng = np.random.default_rng(seed)
    cases = pd.DataFrame({"case": list("abcdefghij"), "split": SPLITS, "kl": np.arange(10) % 5})
    cases.loc[3, "kl"] = grade
    return SplitCohort(rng.integers(0, 255, (10, 4, 4)).astype(np.uint8), cases)


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """The runs that were trained; one answers with its seed and arm."""
    cohort_of.cache_clear()
    done = []

    def train(network, arm, cohort, seed, device):
        done.append((seed, arm.says))
        rng = np.random.default_rng([seed, len(arm.says)])
        grade = rng.dirichlet(np.ones(5), 4) if arm.grading else np.full((4, 5), np.nan)
        return {"grade": grade, "second": rng.random(4)}

    monkeypatch.setattr(runs, "train", train)
    return done


def found(plan, folder):
    return {name: said for _, name, said in answers(plan, drawn(), folder)}


def test_complete_seeds_come_first_and_nothing_is_trained_twice(tmp_path, trained):
    run(replace(PLAN, seeds=(0, 1)), drawn, (), tmp_path)
    every = [(seed, says) for seed in (0, 1) for says in ("Single-KL", "Dual", "Single-OA")]
    assert trained == every
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert len(times) == 6 and not list(tmp_path.rglob("part-*"))
    trained.clear()
    run(PLAN, drawn, (), tmp_path)
    assert trained == [(2, "Single-KL"), (2, "Dual"), (2, "Single-OA")]
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    said = found(PLAN, tmp_path)
    assert list(said) == list(PLAN.arms)
    assert [cell for cell, *_ in answers(PLAN, drawn(), tmp_path)] == 3 * ["batch-cosine"]
    dual = said["dual"]
    np.testing.assert_array_equal(dual["seeds"], [0, 1, 2])
    assert dual["grade"].shape == (3, 4, 5) and dual["second"].shape == (3, 4)
    wanted = np.random.default_rng([2, 4]).dirichlet(np.ones(5), 4)
    np.testing.assert_allclose(dual["grade"][2], wanted, atol=1e-6)
    assert np.isnan(said["single_oa"]["grade"]).all() and (dual["seconds"] >= 0).all()


def test_an_arm_counts_up_to_the_first_seed_that_is_missing(tmp_path, trained):
    run(PLAN, drawn, (), tmp_path)
    run_path(tmp_path, NET.cell, "dual", 1).unlink()
    run_path(tmp_path, NET.cell, "single_kl", 0).unlink()
    said = found(PLAN, tmp_path)
    assert list(said) == ["dual", "single_oa"]
    np.testing.assert_array_equal(said["dual"]["seeds"], [0])
    trained.clear()
    run(PLAN, drawn, (), tmp_path)
    assert trained == [(0, "Single-KL"), (1, "Dual")]


def test_a_run_of_something_else_is_refused_and_says_of_what(tmp_path, monkeypatch):
    few = replace(PLAN, arms=("dual",), seeds=(0,))
    run(few, drawn, (), tmp_path)
    for plan, places, what in (
        (replace(few, network=replace(NET, epochs=3)), (), "settings"),
        (few, (1,), "images or labels"),
        (few, (0, 4), "images or labels"),
    ):
        with pytest.raises(InputError, match=f"seed000.npz was made by other {what}: name another"):
            run(plan, drawn, places, tmp_path)
        with pytest.raises(InputError, match=f"other {what}"):
            list(answers(plan, drawn(*places), tmp_path))
    monkeypatch.setattr(runs, "_code", lambda encoder: "another")
    with pytest.raises(InputError, match="made by other code: name another folder, or remove"):
        run(few, drawn, (), tmp_path)
    monkeypatch.undo()
    path = run_path(tmp_path, NET.cell, "dual", 0)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"seed000.npz is damaged .* remove it"):
        run(few, drawn, (), tmp_path)


def test_the_code_of_a_run_is_all_that_trains_it():
    files = runs.code_files("oacore/instruments/hierarchy/split.py")
    rooms = {"oacore/models/resnet2d.py", "oacore/instruments/hierarchy/heads.py",
             "oacore/training/augmentation.py", "oacore/instruments/hierarchy/arms.py",
             "oacore/instruments/hierarchy/losses.py"}  # fmt: skip
    assert rooms < set(files)
    assert not [name for name in files if "analysis" in name or "runs" in name]
    # Of the backbones, the one that is trained alone.
    assert not [name for name in files if name.endswith(("resnet3d.py", "m3t.py"))]
    found = {runs._code(encoder) for encoder in ("resnet2d", "resnet3d", "m3t")}
    assert len(found) == 3 and {len(one) for one in found} == {64}


def test_work_travels_to_other_processes(tmp_path, monkeypatch, trained):
    asked = []

    def elsewhere(work, items, workers, label, unit, done):
        asked.append((workers, done, len(items)))
        for item in items:
            pickle.loads(pickle.dumps(work))(item)

    monkeypatch.setattr(runs, "in_processes", elsewhere)
    run(replace(PLAN, seeds=(0,)), drawn, (0,), tmp_path, workers=2)
    run(PLAN, drawn, (0,), tmp_path, workers=2)
    assert asked == [(2, 0, 3), (2, 3, 6)] and len(trained) == 9
    assert cohort_of.cache_info().misses == 1


def test_both_knees_of_a_person_are_drawn_together():
    cases = pd.DataFrame({"case": list("abcdef"), "person": ["p", "q", "p", "r", "q", "s"]})
    counts = draw_people(cases, 50, 3)
    np.testing.assert_array_equal(counts, by_person(cases, 50, 3))
    np.testing.assert_array_equal(counts[:, 0], counts[:, 2])
    assert counts.shape == (51, 6) and (counts[0] == 1).all()
    # Four people are drawn, of whom two have two knees.
    assert set(counts[:, [0, 1, 3, 5]].sum(axis=1)) == {4}
    alone = draw_people(cases[["case"]], 50, 3)
    assert set(alone.sum(axis=1)) == {6} and (alone[:, 0] != alone[:, 2]).any()
