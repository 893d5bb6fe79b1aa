"""Features of a network that has learned nothing: the control for what a trained one's show.

Random convolutions already tell volumes apart, by their brightness, size and texture. What can be
read off them is owed to the architecture and the images, not to training.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from lightning_fabric import Fabric

from oacore.data.cache import Volumes
from oacore.models.heads import build_model
from oacore.profile import Recipe
from oacore.training.loop import predict, run_config


def untrained_features(
    recipe: Recipe, cases: pd.DataFrame, volumes: Volumes, *, seed: int, accelerator: str = "auto"
) -> np.ndarray:
    """Features of a backbone with its initial weights, computed as a finished run computes its own.

    Parameters
    ----------
    recipe : Recipe
    cases : DataFrame
        Graded cases, see :func:`.cohort.graded`.
    volumes : Volumes
        Of these cases, on the recipe's grid.
    seed : int
        Of the weights. A run of this seed started from the same encoder, under any supervision.
    accelerator : str
        As in :func:`.loop.train`.

    Returns
    -------
    (n, n_features) float32 array
        In the order of `cases`.

    Notes
    -----
    Batch normalisation has its initial statistics, mean 0 and variance 1: it has seen no knee.
    """
    config = run_config(recipe, "dual", seed)  # the heads are not asked
    model = build_model(recipe.backbone, "dual", seed, recipe.encoder, recipe.heads)
    fabric = Fabric(accelerator=accelerator, devices=1, precision="32-true")
    _, features = predict(fabric, model.to(fabric.device), config, cases, volumes)
    return features["features"]
