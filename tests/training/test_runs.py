"""All runs of a backbone from two folders; features before training."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from oacore.data.cache import Volumes
from oacore.models.heads import build_model
from oacore.names import BACKBONE_NAMES
from oacore.profile import load_profile
from oacore.training.records import read_runs
from oacore.training.runs import (
    experiment,
    first_run,
    load_trained,
    train_all,
    untrained_features,
)
from tests.helpers import write_cohort


@pytest.mark.parametrize("backbone", BACKBONE_NAMES)
def test_features_are_the_bare_encoders(backbone):
    recipe = load_profile("smoke").backbones[backbone]
    recipe = dataclasses.replace(recipe, batch_size=2)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, *recipe.grid)).astype(np.float16)
    volumes = Volumes(np.array([7, 3, 5]), images, np.zeros(images.shape, np.uint8),
                      np.ones((3, 3), np.float32), np.zeros((3, 5)), "")  # fmt: skip
    cases = pd.DataFrame({"case_id": [3, 5, 7], "split": "test", "kl": [0, 1, 2]})
    found = untrained_features(recipe, cases, volumes, seed=4, accelerator="cpu")
    encoder = build_model(backbone, "single_kl", 4, recipe.encoder).encoder.eval()
    with torch.no_grad():
        wanted = encoder(torch.from_numpy(images[[1, 2, 0]]).float()[:, None]).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)
    other = untrained_features(recipe, cases, volumes, seed=5, accelerator="cpu")
    assert not np.allclose(found, other, rtol=1e-2)


def test_an_experiment_trains_what_is_missing_and_finds_its_runs(tmp_path):
    torch.set_num_threads(1)
    write_cohort(tmp_path / "cohort")
    one = experiment("resnet3d", "smoke", tmp_path / "cohort", tmp_path / "build")
    assert one.recipe == load_profile("smoke").backbones["resnet3d"]
    assert list(one.cases["kl"]) == [0, 3, 1, 4, 2] * 2
    assert one.volumes.images.shape == (10, *one.recipe.grid)
    recipe = dataclasses.replace(one.recipe, epochs=1, supervisions=("single_kl", "dual"))
    one = dataclasses.replace(one, recipe=dataclasses.replace(recipe, seeds=(2, 5)))
    train_all(one)
    table = read_runs(tmp_path / "build" / "runs")
    found = table[["model", "supervision", "seed"]].drop_duplicates()
    pairs = [("single_kl", 2), ("single_kl", 5), ("dual", 2), ("dual", 5)]
    assert sorted(found.itertuples(index=False)) == sorted(("resnet3d", *pair) for pair in pairs)
    assert first_run(one, "dual").name == "seed2"
    written = (first_run(one, "dual") / "done.json").stat().st_mtime_ns
    train_all(one)
    assert (first_run(one, "dual") / "done.json").stat().st_mtime_ns == written
    assert list(load_trained(first_run(one, "single_kl")).heads) == ["kl"]
