"""All runs of a backbone from two folders; features before training."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from oacore.data.cache import Volumes
from oacore.errors import InputError
from oacore.models.heads import build_model
from oacore.names import BACKBONE_NAMES
from oacore.profile import load_profile
from oacore.training.records import build_run, read_runs, run_features
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
    folder = build_run(tmp_path / "build", "resnet3d", "dual", 5)
    shuffled = one.cases.iloc[::-1]
    features, own = run_features(folder, shuffled)
    predicted = pd.read_csv(folder / "predictions.csv").set_index("case_id")
    with torch.no_grad():
        heads = load_trained(folder).classify(torch.from_numpy(features["features"]))
    oa = heads["oa"].sigmoid().numpy()
    assert set(own.index) == set(one.cases["case_id"]) and "case_id" not in features
    np.testing.assert_allclose(oa, predicted.loc[own.index, "prob_oa"], atol=1e-5)
    assert list(predicted.loc[own.index, "kl"]) == list(own["kl"])


def test_variants_have_a_folder_of_their_own_and_what_is_not_there_is_said(tmp_path):
    folder = build_run(tmp_path, "resnet3d-cascaded", "dual", 1)
    assert folder == tmp_path / "variants/resnet3d-cascaded/dual/seed1"
    with pytest.raises(InputError, match="seed1: holds no finished run; train"):
        run_features(folder, pd.DataFrame({"case_id": [1]}))
