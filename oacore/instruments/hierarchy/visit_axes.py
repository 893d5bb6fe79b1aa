"""The severity axis of networks that saw each knee once, read at several visits of others.

Networks are trained across knees by :mod:`.training.loop`, as a profile has them. What is read off
them at a visit is the score on PC1 of their features, fitted on the training knees
(:mod:`.axis.axis`), and the grade that the KL head expects. Networks without training are read
too: what random convolutions make of a knee owes nothing to a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from oacore.data.cache import cached_volumes
from oacore.data.cohort import graded, read_cohort
from oacore.errors import InputError
from oacore.files import in_processes
from oacore.fingerprint import fingerprint
from oacore.hierarchy import N_GRADES
from oacore.instruments.axis.axis import fit_axis
from oacore.instruments.hierarchy.finished import read_finished, write_finished
from oacore.instruments.hierarchy.visits import sample_visits, shown_visits
from oacore.models.heads import HierarchicalNet, build_model, by_voxel, channels_last
from oacore.profile import load_profile
from oacore.training.config import run_config
from oacore.training.loop import train
from oacore.training.records import run_features, run_folder
from oacore.training.runs import Experiment, load_trained

#: Of all networks.
BACKBONE = "resnet3d"
#: Networks with their initial weights, beside the supervisions.
UNTRAINED = "untrained"
#: What is read at a visit.
AXES = {"pc1": "PC1", "grade": "expected grade"}
#: By axis the scores (S, knees, visits) of S networks.
Read = dict[str, np.ndarray]


@dataclass(frozen=True)
class VisitPlan:
    """What is drawn, trained and read.

    Attributes
    ----------
    profile : str
        Whose cohort the training knees are, and whose settings of :data:`BACKBONE` the networks'.
    networks : tuple of str
        :data:`UNTRAINED`, or supervisions.
    seeds : tuple of int
        Of the networks.
    knees, visits, visit_seed : int
        See :func:`.visits.sample_visits`.
    """

    profile: str = "record"
    networks: tuple[str, ...] = (UNTRAINED, "single_kl", "dual")
    seeds: tuple[int, ...] = tuple(range(10))
    knees: int = 120
    visits: int = 5
    visit_seed: int = 22

    def table(self) -> pd.DataFrame:
        """Knees and visits, as :func:`.visits.sample_visits` gives them."""
        return _sampled(self.knees, self.visits, self.visit_seed).copy()


#: Once in a process: every knee that is drawn asks for it.
_sampled = lru_cache(maxsize=1)(sample_visits)


def run_visits(plan: VisitPlan, cohort: Path, folder: Path, workers: int = 1) -> None:
    """Draw, train and read what a folder lacks, in processes of one thread each.

    Parameters
    ----------
    plan : VisitPlan
    cohort : path
        Of the training knees, see :func:`.cohort.read_cohort`.
    folder : path
        Of all that is made, outside the repository: ``runs`` and ``cache`` as a build has them,
        ``drawn``, a file for each knee, and ``axes``, one for each network.
    workers : int

    Raises
    ------
    InputError
        If the cohort or the folder cannot be used.
    """
    drawn = [knee for knee in range(1, plan.knees + 1) if _drawn(plan, folder, knee) is None]
    in_processes(
        partial(_draw, plan, folder), drawn, workers, "visits", "knee", plan.knees - len(drawn)
    )
    volumes = experiment_of(plan.profile, cohort, folder).volumes.key
    every = [(network, seed) for seed in plan.seeds for network in plan.networks]
    missing = [one for one in every if _axes(plan, folder, volumes, *one) is None]
    work = partial(_train_and_read, plan, cohort, folder, volumes)
    in_processes(work, missing, workers, "axes", "network", len(every) - len(missing))


def read_at_visits(plan: VisitPlan, cohort: Path, folder: Path) -> dict[str, Read]:
    """What is finished, by network: of the first seeds, up to the first that is missing.

    Raises
    ------
    InputError
        If nothing is.
    """
    volumes = experiment_of(plan.profile, cohort, folder).volumes.key
    found = {}
    for network in plan.networks:
        parts = []
        for seed in plan.seeds:
            if (part := _axes(plan, folder, volumes, network, seed)) is None:
                break
            parts.append(part)
        if parts:
            axes = [axis for axis in AXES if not any(np.isnan(part[axis]).any() for part in parts)]
            found[network] = {axis: np.stack([part[axis] for part in parts]) for axis in axes}
    if not found:
        raise InputError(f"{folder}: no network has been read at the visits; leave out --collect")
    return found


def read_build(own: Experiment, table: pd.DataFrame, images: np.ndarray) -> dict[str, Read]:
    """The axes of a build's own networks, those that have a KL head.

    Parameters
    ----------
    own : Experiment
        Its runs are finished.
    table : DataFrame
        Rows of :func:`.visits.sample_visits`.
    images : (rows, D, H, W) array
        Of these, see :func:`.visits.shown_visits`.
    """
    found = {}
    for name in own.recipe.supervisions:
        if name == "single_oa":
            continue
        parts = [_read_run(own, name, seed, table, images) for seed in own.recipe.seeds]
        found[name] = {axis: np.stack([part[axis] for part in parts]) for axis in AXES}
    return found


@lru_cache(maxsize=1)
def experiment_of(profile: str, cohort: Path, folder: Path) -> Experiment:
    """The backbone of a profile on the training knees of a cohort, read once by each process."""
    cases = graded(read_cohort(cohort))
    cases = cases[cases["split"] == "train"].reset_index(drop=True)
    recipe = load_profile(profile).recipe(BACKBONE)
    volumes = cached_volumes(cases, recipe.grid, recipe.resample, folder / "cache")
    return Experiment(BACKBONE, recipe, cases, volumes, folder / "runs")


def answers(net: HierarchicalNet, images: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of images, and the grade that is expected of them.

    Parameters
    ----------
    net : HierarchicalNet
    images : (n, D, H, W) array
    batch : int
        How many are answered at once.

    Returns
    -------
    features : (n, length) array
        Those that the heads read.
    grade : (n,) array
        0 to 4, the mean over the KL head's probabilities; NaN without one.
    """
    features, grades = [], []
    encoder: Any = net.encoder
    net.eval()
    with torch.no_grad():
        for first in range(0, len(images), batch):
            some = torch.from_numpy(np.asarray(images[first : first + batch], dtype=np.float32))
            z = next(reversed(encoder.features(by_voxel(some.unsqueeze(1))).values()))
            features.append(z)
            if (kl := net.classify(z).get("kl")) is not None:
                grades.append(kl.double().softmax(dim=1) @ torch.arange(N_GRADES).double())
    grade = torch.cat(grades).numpy() if grades else np.full(len(images), np.nan)
    return torch.cat(features).double().numpy(), grade


def _read_run(
    own: Experiment, network: str, seed: int, table: pd.DataFrame, images: np.ndarray
) -> dict[str, np.ndarray]:
    """Axes (knees, visits) of one network; NaN where it has none."""
    training, batch = own.cases[own.cases["split"] == "train"], own.recipe.batch_size
    if network == UNTRAINED:
        net = build_model(BACKBONE, "dual", seed, own.recipe.encoder, own.recipe.heads)
        images_seen = own.volumes.images[own.volumes.rows(training["case_id"])]
        fitted, _ = answers(channels_last(net), images_seen, batch)
        kl = training["kl"]
    else:
        folder = run_folder(own.runs, BACKBONE, network, seed)
        features, cases = run_features(folder, own.cases)
        at = (cases["split"] == "train").to_numpy()
        net, fitted, kl = load_trained(folder), features["features"][at], cases["kl"][at]
    asked, grade = answers(net, images, batch)
    both = np.vstack([fitted, asked])
    grades = [*kl.to_numpy(int), *table["kl_true"]]  # those of visits play no part in the axis
    held_out = np.arange(len(both)) >= len(fitted)
    pc1 = fit_axis(both, grades, held_out).scores[held_out, 0]
    if network == UNTRAINED:
        grade = np.full(len(pc1), np.nan)
    return {"pc1": by_knee(table, pc1), "grade": by_knee(table, grade)}


def by_knee(table: pd.DataFrame, values: np.ndarray | pd.Series) -> np.ndarray:
    """What there is a number of for each row of visits, as (knees, visits)."""
    return np.asarray(values).reshape(table["knee"].nunique(), -1)


def _train_and_read(
    plan: VisitPlan, cohort: Path, folder: Path, volumes: str, one: tuple[str, int]
) -> None:
    """One network, in a process that has read cohort and visits once."""
    torch.set_num_threads(1)
    network, seed = one
    own = experiment_of(plan.profile, cohort, folder)
    if network != UNTRAINED:
        place = run_folder(own.runs, BACKBONE, network, seed)
        train(run_config(own.recipe, network, seed), own.cases, own.volumes, place)
    table, images = _all_drawn(plan, folder)
    write_finished(
        _axes_path(folder, network, seed),
        _axes_key(plan, volumes, network, seed),
        _read_run(own, network, seed, table, images),
    )


@lru_cache(maxsize=1)
def _all_drawn(plan: VisitPlan, folder: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Visits and their images, in 16 bits."""
    parts = []
    for knee in range(1, plan.knees + 1):
        if (part := _drawn(plan, folder, knee)) is None:
            raise InputError(f"{folder}: knee {knee} is not drawn; leave out --collect")
        parts.append(part["images"].astype(np.float16))
    return plan.table(), np.concatenate(parts)


def _draw(plan: VisitPlan, folder: Path, knee: int) -> None:
    """Draw the visits of one knee."""
    torch.set_num_threads(1)
    table = plan.table()
    settings = load_profile(plan.profile)
    recipe = settings.recipe(BACKBONE)
    images = shown_visits(
        table[table["knee"] == knee], settings.shape, recipe.grid, recipe.resample, plan.visit_seed
    )
    write_finished(_drawn_path(folder, knee), _drawn_key(plan), {"images": images})


def _drawn(plan: VisitPlan, folder: Path, knee: int) -> dict[str, np.ndarray] | None:
    return read_finished(_drawn_path(folder, knee), _drawn_key(plan))


def _drawn_path(folder: Path, knee: int) -> Path:
    return folder / "drawn" / f"knee{knee:03d}.npz"


def _drawn_key(plan: VisitPlan) -> dict[str, Any]:
    """What the images of a knee follow from."""
    settings = load_profile(plan.profile)
    recipe = settings.recipe(BACKBONE)
    grid = {"shape": settings.shape, "grid": recipe.grid, "resample": recipe.resample}
    return {
        "settings": {**_visits_of(plan), **grid},
        "code": fingerprint("oacore.instruments.hierarchy.visits"),
    }


def _visits_of(plan: VisitPlan) -> Mapping[str, int]:
    return {"knees": plan.knees, "visits": plan.visits, "visit_seed": plan.visit_seed}


def _axes(
    plan: VisitPlan, folder: Path, volumes: str, network: str, seed: int
) -> dict[str, np.ndarray] | None:
    key = _axes_key(plan, volumes, network, seed)
    return read_finished(_axes_path(folder, network, seed), key)


def _axes_path(folder: Path, network: str, seed: int) -> Path:
    return folder / "axes" / network / f"seed{seed:03d}.npz"


def _axes_key(plan: VisitPlan, volumes: str, network: str, seed: int) -> dict[str, Any]:
    """What the axes of a network follow from."""
    recipe = load_profile(plan.profile).recipe(BACKBONE)
    config = asdict(run_config(recipe, network, seed))
    return {
        "settings": {**_visits_of(plan), **config},
        "cohort": volumes,
        "code": fingerprint(__name__, f"oacore.models.{BACKBONE}"),
    }
