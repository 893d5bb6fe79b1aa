"""Knees drawn to be looked at: bones cut through, one person ill and well, an image in steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from oacore.instruments.phantom.anatomy import describe, draw_anatomy
from oacore.instruments.phantom.bones import N_MODES, SITES, Bones
from oacore.instruments.phantom.image import LESIONS, TISSUES, acquire, compose, draw_scanner

BEHIND = 5.0  # mm behind the middle, where a frontal plane cuts both plateaus
#: What makes a person's knee apart from disease, in a table of subjects.
PERSON = ["sex", "age", "bmi", "side", "size", *(f"shape_{mode}" for mode in range(1, 5))]
#: Size and directions, in mm, of the block in which an image is shown step by step.
BLOCK, VOXEL, CENTRE = (22, 84, 72), (3.0, 0.75, 0.75), (-22, 2, 2)


def frontal_sections(
    first_mode: Mapping[str, float], x: Sequence[float], z: Sequence[float]
) -> dict[str, list[np.ndarray]]:
    """Cut femur and tibia of the mean knee, bent by the first mode of shape, from side to side.

    Parameters
    ----------
    first_mode : mapping of a name to a score
        In standard deviations; 0 is the mean knee.
    x, z : sequence of float
        Places of the samples in mm, to the lateral side and upwards.

    Returns
    -------
    dict of the names to two arrays (len(x), len(z))
        Signed distances in mm to the femur and to the tibia, negative inside.
    """
    none = dict.fromkeys(SITES, 0.0)
    even = dict.fromkeys(("femur", "tibia"), np.zeros((0, 5)))
    mean = Bones(1.0, 1.0, np.zeros(N_MODES), even, osteophytes=none, seats=none)
    across, up = torch.meshgrid(
        torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(z, dtype=torch.float32),
        indexing="ij",
    )  # fmt: skip
    sections = {}
    for name, score in first_mode.items():
        bones = replace(mean, scores=np.array([score, *[0.0] * (N_MODES - 1)]))
        planes = (bones.smooth(bone, across, 0 * across - BEHIND, up) for bone in even)
        sections[name] = [plane.numpy() for plane in planes]
    return sections


def tissue_masks(tissues: np.ndarray) -> dict[str, np.ndarray]:
    """Masks of bone, of cartilage, and of what lies around them.

    Parameters
    ----------
    tissues : ndarray of uint8
        Of a :class:`.knee.DrawnKnee`.
    """
    groups = {
        "bone": ["femur", "tibia", "patella", "fibula"],
        "cartilage": [name for name in TISSUES if "cartilage" in name],
        **{name: [name] for name in TISSUES[9:14]},
    }
    return {
        name: np.isin(tissues, [TISSUES.index(part) for part in parts])
        for name, parts in groups.items()
    }


def lesion_masks(lesions: np.ndarray) -> dict[str, np.ndarray]:
    """Masks of what the disease changed, a kind each: all osteophytes are one.

    Parameters
    ----------
    lesions : ndarray of uint8
        Of a :class:`.knee.DrawnKnee`.
    """
    kinds = sorted({what.split(",")[0] for what in LESIONS[1:]})
    codes = {kind: [i for i, what in enumerate(LESIONS) if what.startswith(kind)] for kind in kinds}
    return {kind: np.isin(lesions, codes[kind]) for kind in kinds}


def one_person(knees: pd.DataFrame, grades: Sequence[int]) -> dict[str, pd.Series]:
    """Give the most ordinary healthy knee the medial disease of others.

    Parameters
    ----------
    knees : DataFrame
        Rows of :func:`.subjects.sample_subjects`.
    grades : sequence of int
        True KL grades of those whose disease is taken: of the five most alike in size, the one
        furthest on within its grade.

    Returns
    -------
    dict of "KL 0", "KL 2", ... to a row
        Size, shape and side are the healthy person's throughout.
    """
    well = knees[knees["kl_true"] == 0]
    like = well[["size", "joint_space_medial_mm", "thickness_femur_medial_mm"]]
    unlike = ((like / like.mean() - 1) ** 2).sum(axis=1)
    person = well.iloc[int(unlike.to_numpy().argmin())]
    stages = {"KL 0": person}
    for grade in grades:
        some = knees[(knees["kl_true"] == grade) & (knees["diseased"] == "medial")]
        alike = (some["size"] - person["size"]).abs().nsmallest(5).index
        near = some.loc[alike]
        donor = near.iloc[int(near["severity"].to_numpy().argmax())]
        stages[f"KL {grade}"] = pd.concat([donor.drop(PERSON), person[PERSON]])
    return stages


def image_in_steps(subject: Mapping[str, Any], seed: int) -> dict[str, np.ndarray]:
    """Draw one block of a knee as pure tissues, and then with each fault of an image added.

    The ghost and the coil's field are stronger than in most knees of a cohort, to be seen.

    Parameters
    ----------
    subject : mapping
        A row of :func:`.subjects.sample_subjects`.
    seed : int

    Returns
    -------
    dict of a step's name to an image of `BLOCK` voxels, of `VOXEL` mm each
    """
    rng = np.random.default_rng(seed)
    anatomy, scanner = draw_anatomy(subject, rng), draw_scanner(rng)
    still = replace(scanner, contrast=1.0, ghost=(0.0, 1, 0.3))
    moved = replace(scanner, ghost=(0.05, 1, 0.3))
    axes = zip(BLOCK, VOXEL, CENTRE, strict=True)
    places = [(torch.arange(n) - n / 2) * step + centre for n, step, centre in axes]
    x, y, z = torch.meshgrid(*places, indexing="ij")
    fields, even = describe(anatomy, x, y, z), torch.ones_like(x)
    coil = torch.exp(0.15 * z / 35 + 0.1 * y / 35)
    silence = torch.zeros(2, *x.shape)
    noise = torch.randn(silence.shape, generator=torch.Generator().manual_seed(0))
    sharp = compose(dict(fields), 0.01, still, even)["signal"]
    edge = float(np.sqrt(np.mean(np.square(VOXEL))))  # a voxel at an edge holds both tissues
    partial = compose(dict(fields), edge, still, even)["signal"]
    plane = VOXEL[1], VOXEL[2]
    steps = {
        "tissues": sharp,
        "+ partial volume": acquire(partial, still, even, plane, silence),
        "+ coil and ghost": acquire(partial, moved, coil, plane, silence),
        "+ noise": acquire(partial, moved, coil, plane, noise),
    }
    return {name: step.numpy() for name, step in steps.items()}


def joints(labels: Mapping[str, np.ndarray], size: Sequence[int]) -> dict[str, tuple[slice, ...]]:
    """Boxes of one size around the joint of several knees, each at the same place of its joint.

    Parameters
    ----------
    labels : mapping of a knee's name to its labels (X, Y, Z)
        1 femur to 5 lateral tibial cartilage; the box has to fit into the first, around the
        middle of the tibial cartilage, and is moved with that middle in the others.
    size : three ints
        Of the box, in voxels.
    """
    box = np.asarray(size)
    middles = {
        name: np.argwhere(np.isin(one, (4, 5))).mean(0).round().astype(int)
        for name, one in labels.items()
    }
    name, first = next(iter(labels.items()))
    start = np.clip(middles[name] - box // 2, 0, first.shape - box)
    found = {}
    for other, one in labels.items():
        there = np.clip(start + middles[other] - middles[name], 0, one.shape - box)
        found[other] = tuple(slice(a, a + n) for a, n in zip(there, box, strict=True))
    return found
