"""Volumes as networks see them: canonical axes, z-scored, resized, cached in 16 bits.

The first use reads every NIfTI file once and leaves a memory-mapped array; from then on no
NIfTI is opened. A cache is named after the content of its files and its settings, and comes
into place by one rename, so a half-written one is never read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.lib.format import open_memmap
from tqdm import tqdm

from oacore.errors import InputError

LABELS = {
    1: "femur",
    2: "femoral cartilage",
    3: "tibia",
    4: "medial tibial cartilage",
    5: "lateral tibial cartilage",
}


@dataclass(frozen=True)
class Volumes:
    """A cohort's volumes on one grid, row for row.

    Attributes
    ----------
    case_id : ndarray of int, shape (n,)
    images : ndarray of float16, shape (n, D, H, W)
        z-scored; axes are left-right, posterior-anterior, inferior-superior.
    masks : ndarray of uint8, shape (n, D, H, W)
        `LABELS`, 0 elsewhere and where a case has no mask.
    spacing : ndarray of float32, shape (n, 3)
        Voxel sizes in mm on this grid.
    label_cm3 : ndarray of float64, shape (n, 5)
        Volume of each of `LABELS`, measured on the mask's own grid.
    key : str
        Digest of the files' content and the settings.
    """

    case_id: np.ndarray
    images: np.ndarray
    masks: np.ndarray
    spacing: np.ndarray
    label_cm3: np.ndarray
    key: str

    def rows(self, case_ids: np.ndarray | pd.Series) -> np.ndarray:
        """Row of each case."""
        row = pd.Series(np.arange(len(self.case_id)), index=self.case_id)
        return row.loc[np.asarray(case_ids)].to_numpy()


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
    tensor = torch.from_numpy(np.ascontiguousarray(array))[None, None]
    kind = tensor.dtype
    return F.interpolate(tensor.float(), size=grid, mode=resample)[0, 0].to(kind).numpy()


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
        if full.shape != array.shape or not np.allclose(mask_affine, affine, atol=0.01):
            raise InputError(
                f"{mask}: has shape {full.shape} and voxels of "
                f"{voxel_sizes(mask_affine).round(3)} mm, its image {array.shape} and "
                f"{voxel_sizes(affine).round(3)} mm, or the two lie apart; "
                "an image and its mask share one grid: fetch both again"
            )
        full = full.astype(np.uint8)
        labels = resize(full, grid, "nearest-exact")
        voxels = np.bincount(full.ravel(), minlength=len(LABELS) + 1)
        cm3 = voxels[list(LABELS)] * voxel_sizes(affine).prod() / 1000
    small = resize(z_score(array), grid, resample).astype(np.float16)
    return small, labels, _spacing(affine, array.shape, grid), cm3


def _spacing(affine: np.ndarray, shape: tuple[int, ...], grid: tuple[int, ...]) -> np.ndarray:
    """Voxel sizes in mm after a resize."""
    return voxel_sizes(affine) * np.asarray(shape) / np.asarray(grid)


def cached_volumes(
    cases: pd.DataFrame,
    grid: tuple[int, int, int],
    resample: str,
    folder: str | Path,
    workers: int = 1,
) -> Volumes:
    """Volumes of a cohort, from the cache if it is there, else read once and cached.

    Parameters
    ----------
    cases : DataFrame
        Rows of :func:`oacore.cohort.read_cohort`.
    grid, resample
        See :func:`resize`.
    folder : path-like
        Where caches are kept; several can lie side by side.
    workers : int
        Threads that read files.

    Raises
    ------
    InputError
        If a file cannot be used, or the disk is too full.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    key = _key(cases, grid, resample, folder, workers)
    place = folder / key[:16]
    if not (place / "index.json").exists():
        _write(cases, grid, resample, place, key, workers)
    index = json.loads((place / "index.json").read_text())
    return Volumes(
        case_id=np.asarray(index["case_id"]),
        images=np.load(place / "images.npy", mmap_mode="r"),
        masks=np.load(place / "masks.npy", mmap_mode="r"),
        spacing=np.asarray(index["spacing"], dtype=np.float32),
        label_cm3=np.asarray(index["label_cm3"]),
        key=index["key"],
    )


def cartilage_volumes(volumes: Volumes, cases: pd.DataFrame) -> pd.DataFrame:
    """Cartilage volume of each case and region, a tidy table.

    Returns
    -------
    DataFrame
        case_id, kl, region, volume_cm3; cases without a mask are left out.
    """
    regions = {label: name for label, name in LABELS.items() if "cartilage" in name}
    measured = volumes.label_cm3[volumes.rows(cases["case_id"])]
    wide = pd.DataFrame(measured, columns=list(LABELS))[list(regions)].rename(columns=regions)
    wide[["case_id", "kl"]] = cases[["case_id", "kl"]].to_numpy()
    wide = wide[measured.sum(axis=1) > 0]
    return wide.melt(["case_id", "kl"], var_name="region", value_name="volume_cm3")


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


def _in_threads(work: Callable[[int], None], count: int, workers: int, label: str) -> None:
    """Call `work` on 0 to count - 1 with a progress bar; the first error stops it all."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, row) for row in range(count)]
        try:
            for future in tqdm(as_completed(futures), total=count, desc=label, unit="file"):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _paths(cases: pd.DataFrame) -> list[tuple[str, str | None]]:
    """Image and mask of each case; None where it has no mask."""
    return [
        (image, None if pd.isna(mask) else mask)
        for image, mask in zip(cases["image"], cases["mask"], strict=True)
    ]


def _key(
    cases: pd.DataFrame, grid: tuple[int, int, int], resample: str, folder: Path, workers: int
) -> str:
    """Digest of all that the cached arrays follow from."""
    files = [path for pair in _paths(cases) for path in pair if path is not None]
    memo_file = folder / "fingerprints.json"
    memo = json.loads(memo_file.read_text()) if memo_file.exists() else {}
    known = {}
    for path in files:
        try:
            stat = os.stat(path)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; fetch the cohort again") from None
        # A file of the same size and time is taken as unread-since, so that opening a
        # cache costs no more than looking at the folder.
        stamp = f"{stat.st_size} {stat.st_mtime_ns}"
        digest = memo[path][1] if path in memo and memo[path][0] == stamp else None
        known[path] = [stamp, digest]
    new = [path for path in files if known[path][1] is None]

    def fingerprint(row: int) -> None:
        with open(new[row], "rb") as file:
            known[new[row]][1] = hashlib.file_digest(file, "blake2b").hexdigest()

    if new:
        _in_threads(fingerprint, len(new), workers, "fingerprints")
        _write_text(memo_file, json.dumps({**memo, **known}))
    content = [
        [int(case_id), known[image][1], None if mask is None else known[mask][1]]
        for case_id, (image, mask) in zip(cases["case_id"], _paths(cases), strict=True)
    ]
    settings = {"grid": list(grid), "resample": resample, "layout": 1, "content": content}
    return hashlib.blake2b(json.dumps(settings).encode()).hexdigest()


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text)
    os.replace(part, path)


def _allocate(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    array = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    # Without its blocks reserved, a disk that fills up kills the process at a later write.
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _write(
    cases: pd.DataFrame,
    grid: tuple[int, int, int],
    resample: str,
    place: Path,
    key: str,
    workers: int,
) -> None:
    shape = (len(cases), *grid)
    need, free = 3 * int(np.prod(shape)), shutil.disk_usage(place.parent).free
    full = (
        f"{place.parent}: the cache of {len(cases)} volumes needs {need / 2**30:.3g} GiB and the "
        f"disk has {free / 2**30:.3g} GiB free; free some space or choose another folder"
    )
    if need > free:
        raise InputError(full)
    part = place.with_name(f"{place.name}.{os.getpid()}.part")
    part.mkdir()
    try:
        images = _allocate(part / "images.npy", np.float16, shape)
        masks = _allocate(part / "masks.npy", np.uint8, shape)
        spacing = np.zeros((len(cases), 3), dtype=np.float32)
        label_cm3 = np.zeros((len(cases), len(LABELS)))
        paths = _paths(cases)

        def work(row: int) -> None:
            image, mask = paths[row]
            images[row], masks[row], spacing[row], label_cm3[row] = preprocess(
                image, mask, grid, resample
            )

        _in_threads(work, len(cases), workers, "volumes")
        images.flush()
        masks.flush()
        index = {
            "case_id": cases["case_id"].tolist(),
            "spacing": spacing.tolist(),
            "label_cm3": label_cm3.tolist(),
            "key": key,
        }
        (part / "index.json").write_text(json.dumps(index))
        # Another process may have been quicker; its cache holds the same.
        if not (place / "index.json").exists():
            os.replace(part, place)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise InputError(full) from error
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
