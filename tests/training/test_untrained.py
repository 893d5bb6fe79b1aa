"""Features of a network before training are those of its initial weights."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from oacore.data.cache import Volumes
from oacore.models.heads import build_model
from oacore.profile import load_profile
from oacore.training.untrained import untrained_features


@pytest.mark.parametrize("backbone", ["resnet3d", "m3t", "nnmamba"])
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
