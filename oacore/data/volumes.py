"""Volumes as networks see them: canonical axes, z-scored, resized."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.affines import apply_affine, voxel_sizes

from oacore.data.nifti import NoVolumeError, as_volume, load_whole, storage_step, to_canonical
from oacore.errors import InputError, unread

RELEASED_GRID = (160, 256, 256)
"""Voxels of the volumes that the code released with arXiv:2605.00718 starts from, RAS axes."""

LABELS = {
    1: "femur",
    2: "femoral cartilage",
    3: "tibia",
    4: "medial tibial cartilage",
    5: "lateral tibial cartilage",
}


AGAIN = "fetch this file again (a phantom has none to fetch: remove it and write it again)"
"""What to do about a damaged file of a cohort."""

#: A label may be off its whole number by this, and by half a step of its storage up to the second.
_LABEL_OFF, _LABEL_STEP = 1e-3, 0.02
#: Grey values by which 16 bits still show an image.
_LEVELS = 64


def read_canonical(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a NIfTI volume and turn it to RAS axes by its affine.

    Returns
    -------
    array : ndarray, shape (left-right, posterior-anterior, inferior-superior)
    affine : ndarray, shape (4, 4)
        From voxels to mm, whatever unit the file's header names.

    Raises
    ------
    InputError
        If the file is missing, truncated, not NIfTI, or not three-dimensional.
    """
    return _read(path)[:2]


def read_labels(path: str | Path, most: int = max(LABELS)) -> tuple[np.ndarray, np.ndarray]:
    """Read a label map as :func:`read_canonical` reads a volume, and make its labels whole.

    Parameters
    ----------
    path : path-like
    most : int
        The greatest label; that of `LABELS`, unless the map is of something else.

    Returns
    -------
    array : ndarray of uint8
        Labels from 0 to `most`.
    affine : ndarray, shape (4, 4)

    Raises
    ------
    InputError
        As :func:`read_canonical`, or if another label is there.
    """
    array, affine, step = _read(path)
    whole, wrong = whole_labels(array, step, most)
    if wrong:
        raise InputError(
            f"{path}: holds labels other than 0 to {most} ({wrong}); map them to OAIZIB-CM's five "
            "tissues, as whole numbers (`oacore check` lists them)"
        )
    return whole, affine


def whole_labels(
    array: np.ndarray, step: float = 0.0, most: int = max(LABELS)
) -> tuple[np.ndarray, str]:
    """Labels as whole numbers, and in words those that do not lie from 0 to `most`.

    Parameters
    ----------
    array : ndarray
    step : float
        Of :func:`.nifti.storage_step`: a label that is stored as a scaled integer can be off by
        half a step. Only up to a hundredth or two is that taken for the storage's doing.

    Returns
    -------
    labels : ndarray of uint8
        0 where another label stands.
    wrong : str
        "" if all are as expected; else the first of them, with their digits.
    """
    if array.dtype.kind in "iu":
        near, good = array, (array >= 0) & (array <= most)
    else:
        finite = np.where(np.isfinite(array), array, -1)
        near, off = np.rint(finite), _LABEL_OFF + min(step / 2, _LABEL_STEP)
        good = (near >= 0) & (near <= most) & (np.abs(finite - near) <= off)
    labels = np.where(good, near, 0).astype(np.uint8)
    if good.all():
        return labels, ""
    wrong = np.unique(array[~good])
    words = ", ".join(f"{float(value):.10g}" for value in wrong[:9])
    more = ", ..." if len(wrong) > 9 else ""
    return labels, words + more + (f"; stored in steps of {step:.4g}" if step else "")


def _read(path: str | Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Voxels on RAS axes, affine in mm, step of storage."""
    try:
        image = load_whole(path)
        return *to_canonical(*as_volume(image)), storage_step(image)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; fetch the cohort again") from None
    except NoVolumeError as error:
        raise InputError(f"{path}: cannot be used: {error.what}; {error.cure}") from error
    except Exception as error:  # whatever nibabel makes of a damaged file
        if said := unread(error, str(path)):
            raise InputError(said) from error
        why = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read ({why}); {AGAIN}") from error


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
    """Subtract a volume's mean and divide by its standard deviation (section 3.4).

    Both are of 64 bits, and the result is of 32: a distant offset costs no grey value. Half the
    memory of 64 bits throughout, since it goes slab by slab.
    """
    slow = int(np.argmax(np.abs(array.strides)))
    scored = np.empty_like(array, dtype=np.float32, subok=False)
    slabs, out = np.moveaxis(array, slow, 0), np.moveaxis(scored, slow, 0)
    peak = max(abs(float(array.min())), abs(float(array.max()))) or 1.0  # so that squares stay low
    mean = sum(float((slab / peak).sum(dtype=float)) for slab in slabs) / array.size
    squares = sum(float(((slab.astype(float) / peak - mean) ** 2).sum()) for slab in slabs)
    deviation = (squares / array.size) ** 0.5
    with np.errstate(divide="ignore", invalid="ignore"):  # a constant has no z-score: NaN
        for slab, place in zip(slabs, out, strict=True):
            place[...] = (slab.astype(float) / peak - mean) / deviation
    return scored


def shows_nothing(array: np.ndarray) -> tuple[str, str]:
    """Say why an image's values are of no use to a network, and what to do; "" twice if they are.

    They are looked at as they are cached: a value far from all others, such as one that fills what
    was not scanned, leaves 16 bits of nothing to the rest.
    """
    if bad := int(array.size - np.isfinite(array).sum()):
        return f"{bad} voxels are not finite", AGAIN
    low, high = float(array.min()), float(array.max())
    if low == high:
        return f"every voxel is {array.flat[0]}", AGAIN
    cure = "set what fills or marks it to a grey value of its own, or divide all by a constant"
    if max(-low, high) > float(np.finfo(np.float32).max):
        return f"its voxels, from {low:.3g} to {high:.3g}, pass the range of 32 bits", cure
    scored = z_score(array)
    thinned = scored.ravel(order="K")[:: max(1, scored.size // 2**17)]
    if len(np.unique(thinned.astype(np.float16))) >= _LEVELS:
        return "", ""
    kept, all_of_them = len(np.unique(scored.astype(np.float16))), len(np.unique(array))
    if kept >= _LEVELS or all_of_them < 2 * kept:
        return "", ""
    why = f"between {low:.3g} and {high:.3g}, 16 bits keep {kept} of its {all_of_them} grey values"
    return why, cure


def resize(array: np.ndarray, grid: tuple[int, int, int], resample: str) -> np.ndarray:
    """Resize a volume to a grid; its centre and its edges stay where they are.

    Parameters
    ----------
    array : ndarray, shape (D, H, W)
    grid : tuple of int
    resample : {"area", "trilinear", "nearest-exact"}
        "area" averages what falls into a voxel, so strong reductions do not alias;
        "trilinear" is the paper's; "nearest-exact" is for label maps.
    """
    if resample == "area":
        return _by_area(array, grid)
    # Here rather than above: whoever only reads a volume need not wait for PyTorch.
    import torch
    from torch.nn.functional import interpolate

    tensor = torch.from_numpy(np.ascontiguousarray(array))[None, None]
    kind = tensor.dtype
    return interpolate(tensor.float(), size=grid, mode=resample)[0, 0].to(kind).numpy()


def _by_area(array: np.ndarray, grid: tuple[int, int, int]) -> np.ndarray:
    """Mean of what each new voxel covers; an old one that it covers in part counts for that part.

    PyTorch's "area" counts a voxel that is covered in part in full, and so moves what it averages
    wherever the factor is not whole.
    """
    mean = array.astype(np.float32)
    for axis, new in enumerate(grid):
        if (old := array.shape[axis]) != new:
            weights = _covered(old, new).astype(np.float32)
            mean = np.moveaxis(np.tensordot(weights, mean, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(mean, dtype=array.dtype)


def _covered(old: int, new: int) -> np.ndarray:
    """Share of each new voxel that each old one fills, (new, old); each row adds up to 1."""
    edges = np.arange(new + 1) * old / new  # of the new voxels, in old ones
    start, end = edges[:-1, None], edges[1:, None]
    voxel = np.arange(old)
    overlap = np.minimum(end, voxel + 1) - np.maximum(start, voxel)
    return overlap.clip(min=0) * new / old


def as_shown(array: np.ndarray, grid: tuple[int, int, int], resample: str) -> np.ndarray:
    """Bring an image as it is stored to what a network is shown: z-scored, on its grid.

    Parameters
    ----------
    array : ndarray, shape (D, H, W)
        RAS axes.
    grid : tuple of int
    resample : {"area", "trilinear", "as released"}
        "as released" takes the steps of the code released with arXiv:2605.00718: z-score, to
        `RELEASED_GRID`, z-score again, to `grid`, each time trilinear. How the first two were
        done is not released; they are taken to be like the last two.
    """
    if resample == "as released":
        array, resample = resize(z_score(array), RELEASED_GRID, "trilinear"), "trilinear"
    return resize(z_score(array), grid, resample)


def preprocess(
    image: str, mask: str | None, grid: tuple[int, int, int], resample: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One case as the network sees it: image, mask, voxel sizes (mm), label volumes (cm3).

    The image goes the way that `resample` names, see :func:`as_shown`; the mask goes straight to
    the grid. Every way keeps the centres of voxels, so the two agree.
    """
    array, affine = read_canonical(image)
    why, cure = shows_nothing(array)
    if why:
        raise InputError(f"{image}: {why}, so it shows no knee; {cure}")
    labels, cm3 = np.zeros(grid, dtype=np.uint8), np.zeros(len(LABELS))
    if mask is not None:
        full, mask_affine = read_labels(mask)
        if gap := grid_gap((array.shape, affine), (full.shape, mask_affine)):
            raise InputError(f"{mask}: does not share its image's grid ({gap}); fetch both again")
        labels = resize(full, grid, "nearest-exact")
        voxels = np.bincount(full.ravel(), minlength=len(LABELS) + 1)
        cm3 = voxels[list(LABELS)] * voxel_sizes(affine).prod() / 1000
    small = as_shown(array, grid, resample).astype(np.float16)
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
        Less a constant where 32 bits could not tell its values apart.
    overlays : dict of str to ndarray of bool
        A mask for each of `LABELS` that the case has.
    spacing : ndarray, shape (3,)
        Voxel sizes in mm.
    """
    array, affine = read_canonical(case["image"])
    grid = tuple(min(n, longest) for n in array.shape)
    image = resize(_in_32_bits(array), grid, "area")
    overlays = {}
    if not pd.isna(case["mask"]):
        labels = resize(read_labels(case["mask"])[0], grid, "nearest-exact")
        overlays = {name: labels == label for label, name in LABELS.items()}
    return image, overlays, _spacing(affine, array.shape, grid)


def _in_32_bits(array: np.ndarray) -> np.ndarray:
    """Values as floats of 32 bits; less the least of them where an offset would blur them."""
    low, high = float(array.min()), float(array.max())
    if np.spacing(np.float32(max(-low, high))) * 4096 > high - low > 0:
        return (array.astype(float) - low).astype(np.float32)
    return array.astype(np.float32)


def _spacing(affine: np.ndarray, shape: tuple[int, ...], grid: tuple[int, ...]) -> np.ndarray:
    """Voxel sizes in mm after a resize."""
    return voxel_sizes(affine) * np.asarray(shape) / np.asarray(grid)
