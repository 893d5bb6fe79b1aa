"""Measures one knee from its label map, real or synthetic, in millimetres.

The same lines measure a manual segmentation of 160 x 384 x 384 voxels and a phantom of
40 x 96 x 96. Two rules keep the voxel out of the figures. Cartilage is its volume over the area
of its bone: voxel centres fall into a layer in proportion to its thickness, however thin. Bone
surfaces are local quadratics fitted to some square centimetre of voxels, so that neither their
distance nor their tilt is a multiple of a voxel.

Where a compartment lies follows from the tibia alone: worn cartilage does not move it, and an
osteophyte hardly, since centroid and spread of the bone seen from above place it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes
from scipy.ndimage import correlate1d, gaussian_filter

from oacore.data.volumes import grid_gap, read_canonical, read_labels, shows_nothing
from oacore.errors import InputError
from oacore.files import in_processes

#: Labels of OAIZIB-CM as they stand in the names of columns.
NAMES = {
    1: "femur",
    2: "femoral_cartilage",
    3: "tibia",
    4: "medial_cartilage",
    5: "lateral_cartilage",
}
#: Signal ratios: numerator and denominator.
CONTRASTS = ((2, 1), (4, 3), (5, 3), (4, 2), (3, 1))
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
#: Codes of a phantom's maps of lesions.
OSTEOPHYTES = {1: "fl", 2: "fm", 3: "tl", 4: "tm"}
DENUDED, MARROW_LESION = 5, 7
# Centre and half width of the central 60% of each plateau, left-right and back-front, in standard
# deviations of the tibia seen from above. The plateau is where the cartilage is in the template
# of 103 knees (CLAIR-Knee-103R) and in a manual segmentation (gattia/pymskt); the two agree to .1.
CENTRAL = {
    "medial": ((-1.13, 0.38), (0.0, 0.97)),
    "lateral": ((0.99, 0.42), (-0.32, 0.78)),
}
EPIPHYSIS = {1: 40.0, 3: 30.0}  # mm of femur and tibia, from the joint, whose extent is measured
SLICE = 20.0  # mm2: a slice with less bone is a spike or a stray voxel
REACH = 4.0  # mm, standard deviation of the weights of the local quadratics
BARE = 0.35  # mm: see `measure_knee`
VOXEL, VOLUME = 20.0, 5.0  # mm: the longest voxel, and the shortest volume, that are measured
SAME_SURFACE = 15.0  # mm: a column further from the median shows the notch or the bone's flank


def _local_quadratic(
    values: np.ndarray, known: np.ndarray, spacing: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value and slopes at each pixel of a quadratic fitted to its neighbourhood (loess).

    Parameters
    ----------
    values : ndarray, shape (X, Y)
    known : ndarray of bool, shape (X, Y)
        Pixels that take part.
    spacing : ndarray, shape (2,)
        mm

    Returns
    -------
    value, slope_x, slope_y : ndarray, shape (X, Y)

    Notes
    -----
    Cleveland and Devlin, doi:10.1080/01621459.1988.10478639. Moments of all neighbourhoods are
    convolutions, so the fits are one batch of 6 x 6 systems.
    """
    powers = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
    kernels = []
    for step in spacing / REACH:
        steps = np.ceil(3 / step)
        u = np.arange(-steps, steps + 1) * step
        bell = np.exp(-u * u / 2)
        kernels.append([bell * u**p / bell.sum() for p in range(5)])

    def moment(image: np.ndarray, p: int, q: int) -> np.ndarray:
        along = correlate1d(image, kernels[0][p], axis=0, mode="constant")
        return correlate1d(along, kernels[1][q], axis=1, mode="constant")

    weight = known.astype(float)
    offset = values[known].mean()
    centred = np.where(known, values - offset, 0.0)
    unique = {(p, q): moment(weight, p, q) for p in range(5) for q in range(5 - p)}
    left = [[unique[a + c, b + d] for c, d in powers] for a, b in powers]
    right = [moment(centred, a, b) for a, b in powers]
    matrix = np.moveaxis(np.array(left), (0, 1), (-2, -1)) + 1e-6 * np.eye(len(powers))
    solved = np.linalg.solve(matrix, np.moveaxis(np.array(right), 0, -1)[..., None])[..., 0]
    return solved[..., 0] + offset, solved[..., 1] / REACH, solved[..., 2] / REACH


def _plateau(tibia: np.ndarray) -> int:
    """Level of the tibial plateaus, as a voxel: the highest slice with half the largest area."""
    area = tibia.sum((0, 1))
    return int(np.nonzero(area >= area.max() / 2)[0].max())


def _extent(bone: np.ndarray, spacing: np.ndarray, axis: int) -> tuple[int, int]:
    """First and last slice of a bone along an axis, as a range; (0, 0) if there is none."""
    others = [other for other in range(3) if other != axis]
    area = bone.sum(tuple(others)) * spacing[others].prod()
    slices = np.nonzero(area >= SLICE)[0]
    return (int(slices[0]), int(slices[-1]) + 1) if len(slices) else (0, 0)


def _widths(masks: dict[int, np.ndarray], spacing: np.ndarray) -> dict[str, float]:
    """Left-right and back-front extent of both epiphyses."""
    found: dict[str, float] = {}
    for label, length in EPIPHYSIS.items():
        bone, depth = masks[label], round(length / spacing[2])
        if label == 1:
            bone = bone[:, :, : _extent(bone, spacing, 2)[0] + depth]
        elif bone.any():
            bone = bone[:, :, max(0, _plateau(bone) - depth) :]
        for axis, name in enumerate(("width", "depth")):
            first, end = _extent(bone, spacing, axis)
            found[f"{NAMES[label]}_{name}_mm"] = (end - first) * spacing[axis] or np.nan
    return found


def _joint(labels: np.ndarray, tibia: np.ndarray, spacing: np.ndarray) -> dict[str, float]:
    """Thickness, denuded share and joint space of both compartments of a right knee."""
    found: dict[str, float] = {}
    for side in CENTRAL:
        for bone in ("femur", "tibia"):
            found |= {f"thickness_{bone}_{side}_mm": np.nan, f"denuded_{bone}_{side}": np.nan}
        found[f"joint_space_{side}_mm"] = np.nan
    if not tibia.any():
        return found
    level = _plateau(tibia)
    low, high = (max(0, round(level + mm / spacing[2])) for mm in (-25, 45))
    seen = tibia[:, :, max(0, round(level - 10 / spacing[2])) :].any(2)
    points = np.argwhere(seen) * spacing[:2]
    centre, spread = points.mean(0), points.std(0)
    for side, bands in CENTRAL.items():
        near, off = [], []
        for axis, (middle, half) in enumerate(bands):
            at = np.arange(labels.shape[axis]) * spacing[axis]
            away = at - centre[axis] - middle * spread[axis]
            near.append(np.nonzero(np.abs(away) <= half * spread[axis] + 3 * REACH)[0])
            off.append(away[near[axis]] / (half * spread[axis]))
        inside = np.add.outer(off[0] ** 2, off[1] ** 2) <= 1
        found |= _compartment(labels[np.ix_(*near)][:, :, low:high], spacing, inside, side)
    return found


def _compartment(
    labels: np.ndarray, spacing: np.ndarray, inside: np.ndarray, side: str
) -> dict[str, float]:
    """Thickness, denuded share and joint space of one compartment.

    Parameters
    ----------
    labels : ndarray, shape (X, Y, Z)
        The compartment's central part and `3 * REACH` mm round it.
    inside : ndarray of bool, shape (X, Y)
        The central part.
    """
    femur, tibia = labels == 1, labels == 3
    upper, lower = femur.argmax(2), labels.shape[2] - 1 - tibia[:, :, ::-1].argmax(2)
    both = femur.any(2) & tibia.any(2) & (upper > lower)
    inside = inside & both
    if not inside.any():
        return {}
    # The edge of a bone lies, on average, half a voxel beyond its outermost voxel's centre.
    raw = {"femur": (upper - 0.5) * spacing[2], "tibia": (lower + 0.5) * spacing[2]}
    surface = both
    for edge in raw.values():
        surface = surface & (np.abs(edge - np.median(edge[inside])) < SAME_SURFACE)
    inside = inside & surface
    height, area = {}, {}
    for bone, edge in raw.items():
        height[bone], *slopes = _local_quadratic(edge, surface, spacing[:2])
        area[bone] = np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2)
    z = np.arange(labels.shape[2])
    between = (z > lower[:, :, None]) & (z < upper[:, :, None])
    found: dict[str, float] = {}
    for bone, label in (("femur", 2), ("tibia", 4 if side == "medial" else 5)):
        depth = ((labels == label) & between).sum(2) * spacing[2]
        whole = area[bone][inside].sum()
        found[f"thickness_{bone}_{side}_mm"] = float(depth[inside].sum() / whole)
        smooth = gaussian_filter(depth / area[bone], 0.7 * spacing[2])
        bare = inside & (depth == 0) & (smooth < BARE)
        found[f"denuded_{bone}_{side}"] = float(area[bone][bare].sum() / whole)
    found[f"joint_space_{side}_mm"] = float((height["femur"] - height["tibia"])[inside].min())
    return found


def _lesions(
    lesions: np.ndarray, masks: dict[int, np.ndarray], spacing: np.ndarray
) -> dict[str, float]:
    """Sizes of what a phantom's map of lesions holds."""
    voxel = float(spacing.prod())
    found: dict[str, float] = {
        f"osteophyte_{name}_mm3": np.count_nonzero(lesions == code) * voxel
        for code, name in OSTEOPHYTES.items()
    }
    bare = lesions == DENUDED
    for bone, touching in (
        ("femur", bare[:, :, :-1] & masks[1][:, :, 1:]),
        ("tibia", bare[:, :, 1:] & masks[3][:, :, :-1]),
    ):
        found[f"denuded_{bone}_mm2"] = np.count_nonzero(touching) * float(spacing[:2].prod())
    found["marrow_lesion_cm3"] = np.count_nonzero(lesions == MARROW_LESION) * voxel / 1000
    return found


def measure_knee(
    labels: np.ndarray,
    spacing: Sequence[float],
    image: np.ndarray | None = None,
    lesions: np.ndarray | None = None,
    side: str = "right",
) -> dict[str, float]:
    """Measure one knee.

    Parameters
    ----------
    labels : ndarray of uint8, shape (left-right, back-front, bottom-top)
        1 femur, 2 femoral cartilage, 3 tibia, 4 medial, 5 lateral tibial cartilage.
    spacing : three float
        Voxel sizes in mm.
    image : ndarray, same shape, optional
        Adds the signal.
    lesions : ndarray of uint8, same shape, optional
        A phantom's map of lesions; adds their sizes.
    side : {"right", "left"}
        In a right knee medial is towards low indices.

    Returns
    -------
    dict of str to float
        NaN where the bone or tissue is absent.

        - `{femur,tibia}_{width,depth}_mm`: extent of the epiphysis, left to right and back to
          front; steps of a voxel.
        - `*_cm3` of the five labels; `cartilage_share` of labels 2, 4 and 5 in all voxels, and
          `cartilage_share_2_4`.
        - `thickness_{femur,tibia}_{medial,lateral}_mm`: cartilage volume over bone area, so that
          bare bone counts as 0 (ThC.tAB of Eckstein et al., doi:10.1016/j.joca.2006.03.005), in
          an ellipse that spans the central 60% of the plateau both ways, and above it.
        - `denuded_*`: the share of that bone area without cartilage. A layer thinner than a
          voxel leaves some columns empty, so those count only where their neighbourhood is
          thinner than .35 mm on average. Good to .1 at 1 mm; coarser voxels show large areas only.
        - `joint_space_{medial,lateral}_mm`: smallest vertical distance of the bones there.
        - With `image`: `signal_*`, medians of the labels, and `contrast_*_to_*`, their ratios;
          `image_mean`, `image_sd` and `image_p1` to `image_p99`, percentiles, of all voxels.
        - With `lesions`: `osteophyte_{fl,fm,tl,tm}_mm3`, `denuded_{femur,tibia}_mm2` (seen from
          above) and `marrow_lesion_cm3`.

    Raises
    ------
    InputError
        If the shapes differ, `side` is neither, or so large or small a volume holds no knee.
    """
    for name, other in (("image", image), ("lesions", lesions)):
        if other is not None and other.shape != labels.shape:
            raise InputError(
                f"{name} has shape {other.shape}, labels {labels.shape}; give equal ones"
            )
    if labels.ndim != 3 or side not in ("right", "left"):
        raise InputError(
            f"a label map of shape {labels.shape}, side {side}; give 3D, right or left"
        )
    step = np.asarray(spacing, dtype=float)
    size = np.array(labels.shape) * step
    if step.max() > VOXEL or size.max() < VOLUME:
        words = " x ".join(f"{side:.3g}" for side in size)
        raise InputError(
            f"a volume of {words} mm shows no knee that can be measured; correct its voxel sizes, "
            "or the unit that its header names (xyzt_units)"
        )
    if side == "left":
        labels = labels[::-1]
    masks = {label: labels == label for label in NAMES}
    found = _widths(masks, step)
    counts = {label: int(np.count_nonzero(mask)) for label, mask in masks.items()}
    for label, name in NAMES.items():
        found[f"{name}_cm3"] = counts[label] * step.prod() / 1000
    for name, parts in (("cartilage_share", (2, 4, 5)), ("cartilage_share_2_4", (2, 4))):
        found[name] = sum(counts[label] for label in parts) / labels.size
    found |= _joint(labels, masks[3], step)
    if image is not None:
        image = image[::-1] if side == "left" else image
        signal = {
            label: float(np.median(image[mask])) if counts[label] else np.nan
            for label, mask in masks.items()
        }
        found |= {f"signal_{NAMES[label]}": value for label, value in signal.items()}
        for over, under in CONTRASTS:
            ratio = signal[over] / signal[under] if signal[under] else np.nan
            found[f"contrast_{NAMES[over]}_to_{NAMES[under]}"] = ratio
        found |= {"image_mean": float(image.mean()), "image_sd": float(image.std())}
        for percent, value in zip(PERCENTILES, np.percentile(image, PERCENTILES), strict=True):
            found[f"image_p{percent}"] = float(value)
    if lesions is not None:
        found |= _lesions(lesions[::-1] if side == "left" else lesions, masks, step)
    return found


def measure_cohort(cases: pd.DataFrame, workers: int = 1) -> pd.DataFrame:
    """Measure all knees of a cohort that have a mask.

    Parameters
    ----------
    cases : DataFrame
        Rows of :func:`.cohort.read_cohort`. A phantom's maps of lesions are read where they lie
        beside the masks (lesionsTr beside labelsTr).
    workers : int
        Processes.

    Returns
    -------
    DataFrame
        One row a case with a mask, in their order: case_id, split and what `measure_knee` gives.

    Raises
    ------
    InputError
        If no case has a mask, or a file cannot be read or does not share its mask's grid.
    """
    rows = cases[cases["mask"].notna()].to_dict("records")
    if not rows:
        raise InputError("no case has a mask to measure; add labelsTr and labelsTs to the cohort")
    return pd.DataFrame(in_processes(_measure_case, rows, workers, "measure", "knee"))


def _measure_case(case: dict[Any, Any]) -> dict[str, Any]:
    """Read and measure one case."""
    labels, affine = read_labels(case["mask"])
    volumes = {}
    mask = Path(case["mask"])
    lesions = mask.parent.with_name(mask.parent.name.replace("labels", "lesions")) / mask.name
    for name, path in (("image", Path(case["image"])), ("lesions", lesions)):
        if not path.is_file():
            continue
        read = partial(read_labels, most=MARROW_LESION) if name == "lesions" else read_canonical
        volumes[name], other = read(path)
        if gap := grid_gap((labels.shape, affine), (volumes[name].shape, other)):
            raise InputError(f"{path}: does not share its mask's grid ({gap}); fetch both again")
    why, cure = shows_nothing(volumes["image"]) if "image" in volumes else ("", "")
    if why:
        raise InputError(f"{case['image']}: {why}; {cure}")
    side = case["side"] if case["side"] in ("right", "left") else "right"
    try:
        found = measure_knee(labels, voxel_sizes(affine), **volumes, side=side)
    except InputError as error:
        raise InputError(f"{mask}: {error}") from error
    return {"case_id": case["case_id"], "split": case["split"], **found}
