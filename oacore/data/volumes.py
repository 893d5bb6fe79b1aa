"""Volumes as networks see them: canonical axes, z-scored, resized."""

from __future__ import annotations

import zlib
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from oacore.errors import InputError

LABELS = {
    1: "femur",
    2: "femoral cartilage",
    3: "tibia",
    4: "medial tibial cartilage",
    5: "lateral tibial cartilage",
}


def read_canonical(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a NIfTI volume and turn it to RAS axes by its affine.

    Returns
    -------
    array : ndarray, shape (left-right, posterior-anterior, inferior-superior)
    affine : ndarray, shape (4, 4)
        From voxels to mm.

    Raises
    ------
    InputError
        If the file is missing, truncated, not NIfTI, or not three-dimensional.
    """
    try:
        stored: Any = nib.load(path)
        oriented = None not in nib.aff2axcodes(stored.affine)
        image = nib.as_closest_canonical(stored) if oriented else stored
        array = np.asanyarray(image.dataobj)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; fetch the cohort again") from None
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise InputError(f"{path}: cannot be read ({error}); fetch this file again") from error
    if not oriented:
        raise InputError(f"{path}: its affine gives no orientation; fetch this file again")
    if array.ndim != 3:
        raise InputError(f"{path}: has shape {array.shape}; one 3D volume is expected")
    return array, image.affine


def grid_gap(
    image: tuple[tuple[int, ...], np.ndarray], mask: tuple[tuple[int, ...], np.ndarray]
) -> str:
    """Say in words how the grids of two canonical volumes differ.

    Parameters
    ----------
    image, mask : (shape, affine)

    Returns
    -------
    str
        Empty if the shapes are equal and the corners agree to 0.1 mm.
    """
    if image[0] != mask[0]:
        return f"image {_times(image[0])}, mask {_times(mask[0])} voxels"
    corners = np.array(list(product(*((0, size - 1) for size in image[0]))))
    apart = apply_affine(image[1], corners) - apply_affine(mask[1], corners)
    furthest = float(np.linalg.norm(apart, axis=1).max())
    return "" if furthest <= 0.1 else f"corners up to {furthest:.1f} mm apart"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def z_score(array: np.ndarray) -> np.ndarray:
    """Subtract a volume's mean and divide by its standard deviation (section 3.4)."""
    array = array.astype(np.float32)
    return (array - array.mean()) / array.std()


def resize(array: np.ndarray, grid: tuple[int, int, int], resample: str) -> np.ndarray:
    """Resize a volume to a grid.

    Parameters
    ----------
    array : ndarray, shape (D, H, W)
    grid : tuple of int
    resample : {"area", "trilinear", "nearest-exact"}
        "area" averages what falls into a voxel, so strong reductions do not alias;
        "trilinear" is the paper's; "nearest-exact" is for label maps.
    """
    # Here rather than above: whoever only reads a volume need not wait for PyTorch.
    import torch
    from torch.nn.functional import interpolate

    tensor = torch.from_numpy(np.ascontiguousarray(array))[None, None]
    kind = tensor.dtype
    return interpolate(tensor.float(), size=grid, mode=resample)[0, 0].to(kind).numpy()


def preprocess(
    image: str, mask: str | None, grid: tuple[int, int, int], resample: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One case as the network sees it: image, mask, voxel sizes (mm), label volumes (cm3)."""
    array, affine = read_canonical(image)
    if not np.isfinite(array).all():
        raise InputError(f"{image}: holds values that are not finite; fetch this file again")
    if array.min() == array.max():
        raise InputError(f"{image}: is constant, so it shows no knee; fetch this file again")
    labels, cm3 = np.zeros(grid, dtype=np.uint8), np.zeros(len(LABELS))
    if mask is not None:
        full, mask_affine = read_canonical(mask)
        if gap := grid_gap((array.shape, affine), (full.shape, mask_affine)):
            raise InputError(f"{mask}: does not share its image's grid ({gap}); fetch both again")
        if not np.isin(full, [0, *LABELS]).all():
            raise InputError(
                f"{mask}: holds labels other than 0 to {max(LABELS)}; map them to OAIZIB-CM's five "
                "tissues (`oacore check` lists them)"
            )
        full = full.astype(np.uint8)
        labels = resize(full, grid, "nearest-exact")
        voxels = np.bincount(full.ravel(), minlength=len(LABELS) + 1)
        cm3 = voxels[list(LABELS)] * voxel_sizes(affine).prod() / 1000
    small = resize(z_score(array), grid, resample).astype(np.float16)
    return small, labels, _spacing(affine, array.shape, grid), cm3


def view(
    case: pd.Series, longest: int = 128
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """A case for looking at: nearly as stored, reduced where a page could not carry it.

    Parameters
    ----------
    case : Series
        A row of the table of cases.
    longest : int
        Voxels along an axis, at the most.

    Returns
    -------
    image : ndarray of float32, RAS axes
    overlays : dict of str to ndarray of bool
        A mask for each of `LABELS` that the case has.
    spacing : ndarray, shape (3,)
        Voxel sizes in mm.
    """
    array, affine = read_canonical(case["image"])
    grid = tuple(min(n, longest) for n in array.shape)
    image = resize(array.astype(np.float32), grid, "area")
    overlays = {}
    if not pd.isna(case["mask"]):
        labels = resize(read_canonical(case["mask"])[0].astype(np.uint8), grid, "nearest-exact")
        overlays = {name: labels == label for label, name in LABELS.items()}
    return image, overlays, _spacing(affine, array.shape, grid)


def _spacing(affine: np.ndarray, shape: tuple[int, ...], grid: tuple[int, ...]) -> np.ndarray:
    """Voxel sizes in mm after a resize."""
    return voxel_sizes(affine) * np.asarray(shape) / np.asarray(grid)
