"""Grades shuffled among the training knees, and runs on them, which no chapter takes for others."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from oacore.errors import InputError
from oacore.hierarchy import oa_from_kl
from oacore.profile import load_profile
from oacore.training.config import run_config
from oacore.training.grades import told
from oacore.training.loop import train
from oacore.training.records import read_runs, run_features, run_records
from oacore.training.runs import experiment
from tests.helpers import reseal, write_cohort


def made(n=60):
    kl = np.random.default_rng(0).integers(0, 5, 2 * n)
    split = np.repeat(["train", "test"], n)
    table = {"case_id": np.arange(2 * n), "split": split, "kl": kl, "oa": oa_from_kl(kl)}
    return pd.DataFrame(table).sample(frac=1, random_state=1)


def test_training_knees_swap_grades_and_test_knees_keep_them():
    cases = made()
    shuffled = told(cases, "permuted", 3)
    train, test = cases["split"] == "train", cases["split"] == "test"
    assert shuffled[test].equals(cases[test])
    assert sorted(shuffled.loc[train, "kl"]) == sorted(cases.loc[train, "kl"])
    same = (shuffled.loc[train, "kl"] == cases.loc[train, "kl"]).mean()
    assert same < 0.5  # a fifth, but for chance
    assert (shuffled["oa"] == oa_from_kl(shuffled["kl"])).all()
    others = ["case_id", "split"]
    assert shuffled[others].equals(cases[others])


def test_the_seed_decides_and_as_read_changes_nothing():
    cases = made()
    assert told(cases, "as read", 3) is cases
    assert told(cases, "permuted", 3).equals(told(cases, "permuted", 3))
    assert not told(cases, "permuted", 3).equals(told(cases, "permuted", 4))
    with pytest.raises(InputError, match="'shuffled': choose one of as read, permuted"):
        told(cases, "shuffled", 0)


def test_a_run_on_permuted_grades_says_so_and_is_read_as_no_other(tmp_path):
    torch.set_num_threads(1)
    write_cohort(tmp_path / "cohort")
    one = experiment("resnet3d", "smoke", tmp_path / "cohort", tmp_path / "build")
    recipe = dataclasses.replace(one.recipe, epochs=1)
    folders = {}
    for kind, grades in (("runs", "as read"), ("controls", "permuted")):
        config = run_config(dataclasses.replace(recipe, grades=grades), "dual", 0)
        folders[grades] = tmp_path / f"build/{kind}/resnet3d/dual/seed0"
        train(config, one.cases, one.volumes, folders[grades], "cpu")
    folder = folders["permuted"]
    assert json.loads((folder / "done.json").read_text())["grades"] == "permuted"
    rows = read_runs(tmp_path / "build/controls", grades="permuted").set_index("case_id")
    expected = told(one.cases, "permuted", 0).set_index("case_id")
    assert (rows["kl"] == expected.loc[rows.index, "kl"]).all()
    assert (rows["kl"] != one.cases.set_index("case_id").loc[rows.index, "kl"]).any()
    for read in (
        lambda: read_runs(tmp_path / "build/controls"),
        lambda: run_records(tmp_path / "build/controls"),
        lambda: run_features(folder, one.cases),
    ):
        with pytest.raises(InputError, match="seed0: was trained on grades permuted, not as read"):
            read()
    with pytest.raises(InputError, match="was trained on grades as read, not permuted"):
        read_runs(tmp_path / "build/runs", grades="permuted")
    # The same folder never holds both, one after the other.
    config = run_config(recipe, "dual", 0)
    with pytest.raises(InputError, match="holds a finished run with other settings"):
        train(config, one.cases, one.volumes, folder, "cpu")


def test_a_record_from_before_there_was_a_choice_is_of_grades_as_read(tmp_path):
    write_cohort(tmp_path / "cohort")
    one = experiment("resnet3d", "smoke", tmp_path / "cohort", tmp_path / "build")
    config = run_config(dataclasses.replace(one.recipe, epochs=1), "dual", 0)
    folder = tmp_path / "build/runs/resnet3d/dual/seed0"
    train(config, one.cases, one.volumes, folder, "cpu")
    record = json.loads((folder / "done.json").read_text())
    record.pop("grades")
    (folder / "done.json").write_text(json.dumps(record))
    reseal(folder)
    before = (folder / "done.json").stat().st_mtime_ns
    assert train(config, one.cases, one.volumes, folder, "cpu") == folder
    assert (folder / "done.json").stat().st_mtime_ns == before
    assert len(read_runs(tmp_path / "build/runs"))
    with pytest.raises(InputError, match="other settings"):
        permuted = dataclasses.replace(config, grades="permuted")
        train(permuted, one.cases, one.volumes, folder, "cpu")


def test_a_profiles_controls_are_its_only_recipes_on_permuted_grades():
    for name in ("smoke", "laptop", "record", "study", "paper", "text"):
        profile = load_profile(name)
        told = {key: profile.recipe(key).grades for key in (*profile.backbones, *profile.variants)}
        assert set(told.values()) == {"as read"}
        assert all(recipe.grades == "permuted" for recipe in profile.controls.values())
