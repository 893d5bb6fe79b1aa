"""A cohort's volumes, cached once in 16 bits.

The first use reads every NIfTI file once and leaves a memory-mapped array; from then on no
NIfTI is opened. A cache is named after the content of its files, its settings and the code that
made it, and comes into place by one rename, so a half-written one is never read; one that is not
what was written (:mod:`oacore.seals`) is made again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.lib.format import open_memmap

from oacore.data.volumes import LABELS, preprocess
from oacore.errors import FULL, InputError
from oacore.files import in_threads, write
from oacore.fingerprint import fingerprint
from oacore.seals import SEAL, damage, read_sealed, seal, sealed_text

FILES = ("index.json", "images.npy", "masks.npy")
"""What a cache holds, besides its seal."""


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


def cached_volumes(
    cases: pd.DataFrame,
    grid: tuple[int, int, int],
    resample: str,
    folder: str | Path,
    workers: int = 1,
) -> Volumes:
    """Volumes of a cohort, from the cache if it is there and whole, else read and cached.

    A damaged cache is made again, and a line on standard error says so.

    Parameters
    ----------
    cases : DataFrame
        Rows of :func:`.cohort.read_cohort`.
    grid, resample
        See :func:`.volumes.as_shown`.
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
    if place.exists():
        _remove_damaged(place)
    if not place.exists():
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


def _paths(cases: pd.DataFrame) -> list[tuple[str, str | None]]:
    """Image and mask of each case; None where it has no mask."""
    return [
        (os.path.realpath(image), None if pd.isna(mask) else os.path.realpath(mask))
        for image, mask in zip(cases["image"], cases["mask"], strict=True)
    ]


def _key(
    cases: pd.DataFrame, grid: tuple[int, int, int], resample: str, folder: Path, workers: int
) -> str:
    """Digest of all that the cached arrays follow from."""
    paths = _paths(cases)
    files = [path for pair in paths for path in pair if path is not None]
    memo_file = folder / "fingerprints.json"
    memo = _read_memo(memo_file)
    known = {}
    for path in files:
        try:
            stamp = _stamp(path)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; fetch the cohort again") from None
        # A file of the same size and time is taken as unread-since, so that opening a
        # cache costs no more than looking at the folder.
        digest = memo[path][1] if path in memo and memo[path][0] == stamp else None
        known[path] = [stamp, digest]
    new = [path for path in files if known[path][1] is None]

    if new:
        digests = in_threads(_digest, new, workers, "fingerprints", "file")
        for path, digest in zip(new, digests, strict=True):
            known[path][1] = digest
        write(memo_file, sealed_text({**memo, **known}))
    content = [
        [int(case_id), known[image][1], None if mask is None else known[mask][1]]
        for case_id, (image, mask) in zip(cases["case_id"], paths, strict=True)
    ]
    # Volumes that other code had made are other volumes.
    code = fingerprint("oacore.data.volumes")
    settings = {"grid": list(grid), "resample": resample, "code": code, "content": content}
    return hashlib.blake2b(json.dumps(settings).encode()).hexdigest()


def _read_memo(path: Path) -> dict[str, list[str]]:
    """Fingerprints taken before; a damaged file is no loss, as they are taken again."""
    return read_sealed(path) or {}


def changed_files(folder: str | Path) -> Iterator[Path]:
    """Volumes whose content is not what a folder of caches was made of, though size and time are.

    Nothing else notices these: a file of the same size and time is not read again.

    Parameters
    ----------
    folder : path-like
        As in :func:`cached_volumes`; every volume named there that has not been changed, moved or
        removed since is read.
    """
    memo: dict[str, list[str]] = _read_memo(Path(folder) / "fingerprints.json")
    for path, (stamp, digest) in memo.items():
        if os.path.exists(path) and _stamp(path) == stamp and _digest(path) != digest:
            yield Path(path)


def _stamp(path: str) -> str:
    """Size and time of a file."""
    stat = os.stat(path)
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


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
    _remove_leftovers(place)
    part = Path(tempfile.mkdtemp(prefix=f"{place.name}.", suffix=".part", dir=place.parent))
    lock = open(part / "lock", "w")  # noqa: SIM115 (held until the folder is done with)
    fcntl.flock(lock, fcntl.LOCK_EX)
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

        in_threads(work, range(len(cases)), workers, "volumes", "file")
        images.flush()
        masks.flush()
        index = {
            "case_id": cases["case_id"].tolist(),
            "spacing": spacing.tolist(),
            "label_cm3": label_cm3.tolist(),
            "key": key,
        }
        (part / "index.json").write_text(json.dumps(index))
        seal(part / SEAL, [part / name for name in FILES])
        os.replace(part, place)
    except OSError as error:
        if error.errno in FULL:
            raise InputError(full) from error
        # Another process may have been quicker; its cache holds the same.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    finally:
        lock.close()
        shutil.rmtree(part, ignore_errors=True)


def _remove_damaged(place: Path) -> None:
    """Remove a cache that is not what was written; who reads it now keeps what is mapped."""
    if damage(place / SEAL) is None:
        return
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # what another has made again since stays
        if place.exists() and (said := damage(place / SEAL)):
            found = said.replace(f"{place}{os.sep}", "")
            print(f"oacore: cache {place.name} is made again: {found}", file=sys.stderr, flush=True)
            part = place.with_name(f"{place.name}.{uuid.uuid4().hex}.part")
            os.replace(place, part)
            shutil.rmtree(part, ignore_errors=True)  # or the next writer does
    finally:
        os.close(folder)


def _remove_leftovers(place: Path) -> None:
    """Remove what killed writers left, of this cache or another: folders that nobody locks."""
    for part in (path for path in place.parent.glob("*.part") if path.is_dir()):
        with open(part / "lock", "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its writer is at work
            shutil.rmtree(part)
