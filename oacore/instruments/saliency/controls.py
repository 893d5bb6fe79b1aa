"""What an overlap must be held against before it says anything about a trained network.

A map can lie on cartilage because the network learned to look there, or because every network does,
trained or not, or because cartilage is bright and has edges. Each control takes one of these away.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.metrics.regression import SSIMMetric
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr

from oacore.data.volumes import read_labels, resize
from oacore.errors import InputError
from oacore.instruments.saliency.methods import scaled
from oacore.models.heads import HierarchicalNet

BONES = (1, 3)
"""Labels of femur and tibia."""

LESIONS = {"osteophytes": (1, 2, 3, 4), "denuded bone": (5,), "marrow lesions": (7,)}
"""Labels of what the disease changed in a phantom's image; 6 is cartilage that grew thinner."""


def randomised(
    model: HierarchicalNet, fresh: HierarchicalNet
) -> Iterator[tuple[str, HierarchicalNet]]:
    """Copies of a model that lose what they learned, stage by stage from the heads downwards.

    The cascading randomisation of Adebayo et al. 2018 (arXiv:1810.03292, section 3): a map that
    stays the same shows the image, not what the model learned.

    Parameters
    ----------
    model : HierarchicalNet
        Stays as it is.
    fresh : HierarchicalNet
        The same architecture, untrained: :func:`.heads.build_model` with another seed.

    Yields
    ------
    str, HierarchicalNet
        The stage that was lost last, and a copy without it and all above it. The last copy
        answers as `fresh` does.
    """
    trained, untrained = model.state_dict(), fresh.state_dict()
    shapes = [{key: value.shape for key, value in each.items()} for each in (trained, untrained)]
    if shapes[0] != shapes[1]:
        raise InputError("randomised: the two models differ in their layers; build both alike")
    stages = [f"encoder.{name}" for name, _ in model.encoder.named_children()]
    lost: dict[str, torch.Tensor] = {}
    for stage in ["heads", *reversed(stages)]:
        # With a stage goes its running mean and variance: these were learned from images too.
        own = {key: untrained[key] for key in untrained if key.startswith(f"{stage}.")}
        if not own:
            continue  # activations and pooling
        lost |= own
        changed = copy.deepcopy(model)
        changed.load_state_dict({**trained, **lost})
        yield stage.removeprefix("encoder."), changed


def map_similarity(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Likeness of two maps of one volume.

    Parameters
    ----------
    one, other : ndarray, shape (D, H, W)
        Scaled to [0, 1], each side at least 11 voxels.

    Returns
    -------
    dict
        `spearman`, the rank correlation over all voxels, NaN if a map is constant; `ssim`, the
        structural similarity in three dimensions, with a Gaussian window of 11 voxels.
    """
    if one.shape != other.shape or one.ndim != 3 or min(one.shape) < 11:
        raise InputError(
            f"map_similarity: maps have shapes {one.shape} and {other.shape}; give two of one "
            "shape with at least 11 voxels a side"
        )
    varied = all(each.min() < each.max() for each in (one, other))
    rho = spearmanr(one, other, axis=None).statistic if varied else np.nan
    tensors = [torch.from_numpy(np.asarray(each, np.float32))[None, None] for each in (one, other)]
    ssim: Any = SSIMMetric(spatial_dims=3, data_range=1.0)(*tensors)
    return {"spearman": float(rho), "ssim": float(ssim)}


def agreement(maps: Sequence[np.ndarray], seeds: Sequence[int]) -> pd.DataFrame:
    """Likeness of the maps that models of several seeds give of one volume.

    Returns
    -------
    DataFrame
        A row for each pair: `seed`, `other`, `spearman`, `ssim`.
    """
    return pd.DataFrame(
        [
            {"seed": seed, "other": other, **map_similarity(one, two)}
            for (seed, one), (other, two) in combinations(zip(seeds, maps, strict=True), 2)
        ]
    )


def input_map(volumes: np.ndarray) -> np.ndarray:
    """The absolute volume alone as a map (n, D, H, W), scaled to [0, 1]: no network at all."""
    return scaled(np.abs(np.asarray(volumes, dtype=np.float32)))


def other_knees(n: int, seed: int) -> np.ndarray:
    """For each of n knees the row of another one, whose mask it gets; each row once.

    A map that overlaps as much with another knee's cartilage found where cartilage usually is.
    """
    if n < 2:
        raise InputError(f"other_knees: {n} knees; give 2 or more")
    order = np.random.default_rng(seed).permutation(n)
    rows = np.empty(n, dtype=int)
    rows[order] = np.roll(order, 1)  # one ring through all knees, so that none keeps its own
    return rows


def distance_profile(
    values: np.ndarray, mask: np.ndarray, spacing: Sequence[float], edges: Sequence[float]
) -> pd.DataFrame:
    """Share of a map's mass by the distance from a region.

    Parameters
    ----------
    values : ndarray, shape (D, H, W)
        Not negative.
    mask : ndarray of bool, shape (D, H, W)
    spacing : sequence of float
        Voxel sizes in mm.
    edges : sequence of float
        Ends of the bands in mm, rising from above 0, such as (2, 5, 10, 20).

    Returns
    -------
    DataFrame
        A row for each band: `above` and `up_to` in mm, between voxel centres; `mass` and
        `voxels`, shares of all; `enrichment`, mass over voxels. The first row is the region
        itself, the last has no end.
    """
    values, mask = np.asarray(values, dtype=np.float64), np.asarray(mask)
    if mask.dtype != bool or mask.shape != values.shape or not mask.any() or len(spacing) != 3:
        raise InputError(
            f"distance_profile: a map of shape {values.shape} with a mask of {mask.dtype}, shape "
            f"{mask.shape}; give a mask of bool on the same voxels that is not empty"
        )
    if not (np.isfinite(values).all() and values.min() >= 0 and values.sum() > 0):
        raise InputError("distance_profile: give a map with finite values >= 0, not all of them 0")
    if not edges or edges[0] <= 0 or np.any(np.diff(edges) <= 0):
        raise InputError(f"distance_profile: edges are {edges}; give rising ones above 0 mm")
    distance = distance_transform_edt(~mask, sampling=spacing)  # 0 in the region
    ends = np.array([0.0, *edges, np.inf])
    band = np.searchsorted(ends, distance.ravel())  # (n,): 0 the region, i for ends i-1 to i
    voxels = np.bincount(band, minlength=len(ends)) / band.size
    mass = np.bincount(band, weights=values.ravel(), minlength=len(ends)) / values.sum()
    table = pd.DataFrame({"above": [np.nan, *ends[:-1]], "up_to": ends, "mass": mass})
    table["voxels"] = voxels
    table["enrichment"] = table["mass"] / table["voxels"].where(table["voxels"] > 0)
    return table


def bone_surface(labels: np.ndarray, spacing: Sequence[float], width: float) -> np.ndarray:
    """Voxels within `width` mm of the surface of femur or tibia, on either side; bool.

    Distances go from a voxel's centre to the centre of the nearest one across the surface.
    """
    bone = np.isin(labels, BONES)
    if not bone.any() or bone.all():
        raise InputError("bone_surface: the labels show no bone, or nothing else; give other ones")
    inside, outside = (distance_transform_edt(m, sampling=spacing) for m in (bone, ~bone))
    band = np.where(bone, inside, outside) <= width
    if not band.any():
        raise InputError(
            f"bone_surface: no voxel lies within {width} mm of the surface; give a voxel's side at "
            f"least, {min(spacing):.2f} mm"
        )
    return band


def read_lesions(image: str | Path, grid: tuple[int, int, int]) -> np.ndarray:
    """Read what the disease changed in an image of the phantom, on the network's grid.

    Parameters
    ----------
    image : path-like
        Of a cohort from :func:`.cohort.write_phantom`.
    grid : tuple of int

    Returns
    -------
    ndarray of uint8
        `LESIONS`, 6 for thinned cartilage, 0 elsewhere; voxels are taken from the nearest, as
        those of the cohort's masks, so that a lesion of a voxel or two may be gone.

    Raises
    ------
    InputError
        If there is no such file: no other cohort has one.
    """
    image = Path(image)
    folder = image.parent.with_name(image.parent.name.replace("images", "lesions"))
    path = folder / image.name.replace("_0000.nii", ".nii")
    if folder == image.parent or not path.is_file():
        raise InputError(f"{image}: no lesions beside it; give an image of `oacore phantom`")
    labels, _ = read_labels(path, most=7)
    return resize(labels, grid, "nearest-exact")
