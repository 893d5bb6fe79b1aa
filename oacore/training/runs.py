"""All runs of a backbone, trained where they are missing, and their networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightning_fabric import Fabric
from torch import nn

from oacore.data.cache import Volumes, cached_volumes
from oacore.data.cohort import graded, read_cohort
from oacore.errors import InputError
from oacore.models.heads import HierarchicalNet, build_model
from oacore.models.weights import load_strictly, read_tensors
from oacore.profile import Recipe, load_profile
from oacore.training.batches import volume_reader
from oacore.training.config import run_config
from oacore.training.device import choose_accelerator
from oacore.training.loop import train
from oacore.training.prediction import predict
from oacore.training.records import intact, require_grades, run_folder, run_record


@dataclass(frozen=True)
class Experiment:
    """One backbone of a build: how it is trained, on what, and where its runs lie.

    Attributes
    ----------
    backbone : str
    recipe : Recipe
        The profile's.
    cases : DataFrame
        Graded cases of both splits, see :func:`.cohort.graded`.
    volumes : Volumes
        Of these cases, on the recipe's grid.
    runs : Path
        Folder of all runs of the build.
    """

    backbone: str
    recipe: Recipe
    cases: pd.DataFrame
    volumes: Volumes
    runs: Path


def experiment(backbone: str, profile: str, cohort: str | Path, build: str | Path) -> Experiment:
    """One backbone of a build, from the name of its profile and two folders.

    Parameters
    ----------
    backbone : str
        A key of :data:`.backbones.BACKBONE_NAMES` that the profile trains.
    profile : str
        See :func:`.profile.load_profile`.
    cohort, build : path-like
        The knees; and the folder with the build's ``cache`` and ``runs``.
    """
    recipe = load_profile(profile).recipe(backbone)
    cases = graded(read_cohort(cohort))
    volumes = cached_volumes(cases, recipe.grid, recipe.resample, Path(build) / "cache")
    return Experiment(backbone, recipe, cases, volumes, Path(build) / "runs")


def train_all(experiment: Experiment) -> None:
    """Train a backbone under each supervision with each seed; finished runs are found."""
    recipe = experiment.recipe
    for supervision in recipe.supervisions:
        for seed in recipe.seeds:
            config = run_config(recipe, supervision, seed)
            folder = run_folder(experiment.runs, experiment.backbone, supervision, seed)
            train(config, experiment.cases, experiment.volumes, folder)


def first_run(experiment: Experiment, supervision: str) -> Path:
    """Folder of the first seed's run under a supervision."""
    first = experiment.recipe.seeds[0]
    return run_folder(experiment.runs, experiment.backbone, supervision, first)


def trained_encoder(experiment: Experiment, supervision: str) -> nn.Module:
    """The encoder of the first seed's run, see :func:`load_trained`."""
    return load_trained(first_run(experiment, supervision)).encoder


def load_trained(folder: str | Path) -> HierarchicalNet:
    """The model of a finished run with its trained weights, on the CPU, in evaluation mode.

    Parameters
    ----------
    folder : path-like
        As :func:`.records.run_folder` gives it.

    Raises
    ------
    InputError
        If the folder holds no finished run, or a damaged one.
    """
    folder, run = intact(folder, "weights.safetensors"), run_record(folder)
    net = build_like(run, run["seed"])
    path = folder / "weights.safetensors"
    state = read_tensors(path, "the weights of a finished run")
    load_strictly(net, state, path, "remove the run's folder and train it again")
    return net.eval()


def build_like(record: Mapping[str, Any], seed: int) -> HierarchicalNet:
    """A network that is built as a run's was, with the initial weights of a seed.

    Files that the run's encoder was started from need not be there any more, and are not used.

    Parameters
    ----------
    record : mapping
        Of the run, see :func:`.records.run_record`.
    seed : int
    """
    encoder = {k: v for k, v in record["encoder"].items() if k not in ("weights", "weights2d")}
    return build_model(record["backbone"], record["supervision"], seed, encoder, record["heads"])


def load_trained_on(folder: str | Path, volumes: Volumes) -> tuple[HierarchicalNet, dict[str, Any]]:
    """The model of a finished run and its record, once it is sure which knees it has seen.

    Parameters
    ----------
    folder : path-like
        As :func:`.records.run_folder` gives it.
    volumes : Volumes
        Those that it should have been trained on.

    Returns
    -------
    HierarchicalNet
        As :func:`load_trained` gives it.
    dict
        As :func:`.records.run_record` gives it.

    Raises
    ------
    InputError
        If the run is not finished, was trained on other volumes or on permuted grades.
    """
    record = run_record(folder)
    require_grades(Path(folder), record, "as read")
    if record["volumes"] != volumes.key:
        raise InputError(f"{folder}: was trained on other volumes; give the cohort that it is of")
    return load_trained(folder), record


def untrained_features(
    recipe: Recipe, cases: pd.DataFrame, volumes: Volumes, *, seed: int, accelerator: str = "auto"
) -> np.ndarray:
    """Features of a backbone with its initial weights, computed as a finished run computes its own.

    The control for what a trained network's features show: random convolutions already tell
    volumes apart, by their brightness, size and texture, and what can be read off them is owed to
    the architecture and the images, not to training.

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
    model = build_model(recipe.backbone, "dual", seed, recipe.encoder, recipe.heads)
    kind = choose_accelerator(accelerator)
    fabric = Fabric(accelerator=kind, devices=1, precision="32-true")
    read = volume_reader(volumes, fabric.device)
    given = cases, volumes, read, recipe.batch_size
    _, features = predict(fabric, model.to(fabric.device), *given)
    return features["features"]
