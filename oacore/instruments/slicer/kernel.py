"""What the kernel computes for the slicer: finished runs, a case's picture, a map with progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from nibabel.affines import voxel_sizes

from oacore.data.volumes import LABELS, grid_gap, preprocess, read_canonical, read_labels
from oacore.errors import InputError
from oacore.hierarchy import SUPERVISIONS
from oacore.instruments.saliency.controls import BONES, LESIONS, read_lesions
from oacore.instruments.saliency.explain import UNTRAINED
from oacore.instruments.saliency.methods import METHODS, saliency_map
from oacore.models.heads import HierarchicalNet, by_voxel
from oacore.names import ordered
from oacore.plots.sheets import grey_levels, mask_bits
from oacore.profile import Recipe, load_profile
from oacore.training.convolutions import secure_convolutions
from oacore.training.records import finished, require_grades, run_record, run_table
from oacore.training.runs import build_like, load_trained

#: What a run's record and the recipe that it was trained by have in common.
TRAINED_BY = ("backbone", "encoder", "heads", "epochs", "batch_size", "lr", "precision")

CARTILAGE = tuple(label for label, name in LABELS.items() if "cartilage" in name)


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, how it was trained, its predictions by case_id."""

    folder: Path
    model: str
    supervision: str
    recipe: Recipe
    predictions: pd.DataFrame


@dataclass(frozen=True)
class Knee:
    """One case as seen: uint8 (X, Y, Z), canonical axes; masks are bits, in their order."""

    grey: np.ndarray
    bits: np.ndarray
    masks: list[str]
    spacing: list[float]  # mm


def finished_runs(runs: str | Path, profile: str, seed: int) -> list[Run]:
    """Finished runs of one seed, in the order of :mod:`oacore.names`, variants last.

    Raises
    ------
    InputError
        If there is none, or one was trained by other settings than the profile's.
    """
    settings, found = load_profile(profile), []
    for folder in (one for one in finished(runs) if one.name == f"seed{seed}"):
        model, supervision = folder.parts[-3:-1]
        recipe, record = settings.recipe(model), run_record(folder)
        require_grades(folder, record, "as read")
        if differ := [key for key in TRAINED_BY if record[key] != getattr(recipe, key)]:
            raise InputError(
                f"{folder}: was not trained by profile {profile} ({', '.join(differ)} "
                "differ); name the profile that it was trained by"
            )
        predictions = run_table(folder).set_index("case_id")
        found.append(Run(folder, model, supervision, recipe, predictions))
    if not found:
        raise InputError(f"{runs}: holds no finished run of seed {seed}; train with `make book`")
    models = ordered([*settings.backbones, *settings.variants])
    supervisions = ordered(SUPERVISIONS)
    found.sort(key=lambda run: (models.index(run.model), supervisions.index(run.supervision)))
    return found


def read_knee(case: pd.Series, phantom: bool) -> Knee:
    """A case as stored, in 8 bits, with cartilage, bones and, on the phantom, its lesions.

    Parameters
    ----------
    case : Series
        A row of the table of cases.
    phantom : bool

    Raises
    ------
    InputError
        If a file cannot be read, or image and mask do not share a grid.
    """
    array, affine = read_canonical(case["image"])
    if not np.isfinite(array).all():
        raise InputError(f"{case['image']}: holds values that are not finite; fetch it again")
    masks: dict[str, np.ndarray] = {}
    if not pd.isna(case["mask"]):
        labels, mask_affine = read_labels(case["mask"])
        if gap := grid_gap((array.shape, affine), (labels.shape, mask_affine)):
            raise InputError(f"{case['mask']}: does not share its image's grid ({gap})")
        masks["cartilage"] = np.isin(labels, CARTILAGE)
        masks |= {LABELS[label]: labels == label for label in BONES}
    if phantom:
        drawn = read_lesions(case["image"], array.shape)
        masks |= {name: np.isin(drawn, labels) for name, labels in LESIONS.items()}
    return Knee(
        grey=grey_levels(array, (1.0, 99.7)),
        bits=mask_bits(masks, array.shape),
        masks=list(masks),
        spacing=[float(side) for side in voxel_sizes(affine)],
    )


def passes(head: str, method: str, grid: tuple[int, int, int]) -> int:
    """Number of passes of a volume through the network that a method takes by default."""
    default = {name: one.default for name, one in signature(METHODS[method]).parameters.items()}
    first = 1 if head == "kl" else 0  # asks which grade is predicted
    if "parts" in default:
        blocks = [max(1, side // default["parts"]) for side in grid]
        steps = [max(1, block // 2) for block in blocks]
        places = [
            -(-(side - block) // step) + 1
            for side, block, step in zip(grid, blocks, steps, strict=True)
        ]
        return first + 1 + math.prod(places)
    return first + default.get("samples", default.get("steps", 1))


def compute_map(
    run: Run,
    image: str,
    head: str,
    method: str,
    report: Callable[[int, int], None] = lambda done, of: None,
    weights: str = "trained",
) -> np.ndarray:
    """Saliency of one case, on the volume that the run saw.

    Parameters
    ----------
    run : Run
    image : str
        Path of the image as stored.
    head, method : str
        See :func:`.methods.saliency_map`.
    report : function of passes done and their number, optional
        Is called before the first pass and at each; what it raises ends the computation.
    weights : {"trained", "random"}
        Of the run, or those of its untrained twin, with which :func:`.explain.explain` compares it.

    Returns
    -------
    ndarray of float32, shape (D, H, W)
        In [0, 1], on the network's grid.
    """
    model = network(run, weights)
    total, done = passes(head, method, run.recipe.grid), 0
    report(done, total)
    volumes = seen_by(run, image)
    secure_convolutions(model, [tuple(volumes.shape)], bf16=False, of_input=True)

    def count(*_: object) -> None:
        nonlocal done
        done += 1
        report(done, total)

    model.register_forward_hook(count)
    return saliency_map(model, volumes, head, method)[0]


def untrained_maps(run: Run, seen: Mapping[int, torch.Tensor]) -> dict[tuple[int, str], np.ndarray]:
    """The gradient's maps of several cases, each the one that :func:`compute_map` gives of them.

    The untrained network is built once for all, which takes longer than a map.

    Parameters
    ----------
    run : Run
    seen : mapping of case_id to tensor
        What :func:`seen_by` gives of the cases.

    Returns
    -------
    dict
        By case_id and head: float32 array (D, H, W) in [0, 1], on the network's grid.
    """
    model = network(run, "random")
    shapes = dict.fromkeys(tuple(volume.shape) for volume in seen.values())
    secure_convolutions(model, shapes, bf16=False, of_input=True)
    return {
        (case, head): saliency_map(model, volume, head, "gradient")[0]
        for case, volume in seen.items()
        for head in SUPERVISIONS[run.supervision]
    }


def network(run: Run, weights: str) -> HierarchicalNet:
    """A run's network, or its untrained twin, see :func:`compute_map`."""
    if weights != "random":
        return load_trained(run.folder)
    record = run_record(run.folder)
    return build_like(record, record["seed"] + UNTRAINED).eval()


def seen_by(run: Run, image: str) -> torch.Tensor:
    """A stored image as a run's network sees it, float32 (1, 1, D, H, W)."""
    small, *_ = preprocess(image, None, run.recipe.grid, run.recipe.resample)  # float16, as cached
    return by_voxel(torch.from_numpy(small)[None, None].float())  # as in training
