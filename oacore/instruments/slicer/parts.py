"""Volumes as small scripts: sheets of sagittal slices that the slicer's page asks for.

A part is a script that calls ``oacoreSlicer.put(key, {...})`` with a picture in base64, because a
page opened from disk may run a script that lies beside it, but may neither fetch a file nor read
the pixels of a picture. Its name is a hash of its content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oacore.errors import InputError
from oacore.plots.sheets import packed

TOPS = (0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100)
"""Percent of the voxels that a threshold shows."""

# How maps are stored, the first at which all of a case fit: cells are averaged over so many
# voxels of the map's grid each way; quality 0 is PNG, which loses nothing more.
_LADDER = ((1, 0), (1, 90), (2, 0), (2, 90), (2, 75), (2, 60), (3, 75), (4, 75), (4, 50))


def pack_maps(
    maps: Mapping[tuple[str, ...], np.ndarray],
    box: list[list[int]],
    shape: tuple[int, ...],
    limit: int,
) -> dict[tuple[str, ...], tuple[bytes, dict[str, Any]]]:
    """Store maps, all at the first rung of `_LADDER` at which they fit the limit.

    Parameters
    ----------
    maps : mapping of a tuple of words to an ndarray of float32 in [0, 1]
        Backbone, supervision, head, method, weights.
    box : first and one-past-last voxel of the image, along each axis, that are stored
    shape : tuple of int
        Of the image.
    limit : int
        Bytes.

    Returns
    -------
    dict
        Of each map its part, and its place: see `pack_map`.

    Raises
    ------
    InputError
        If the maps do not fit even at the last rung.
    """
    for step, quality in _LADDER:
        packed, total = {}, 0
        for key, values in maps.items():
            packed[key] = pack_map(values, box, shape, step, quality)
            total += len(packed[key][0])
            if total > limit:
                break  # this rung is too fine
        else:
            return packed
    raise InputError(
        f"pack_case: {len(maps)} maps do not fit into {limit:,} bytes, even averaged: give fewer."
    )


def pack_map(
    values: np.ndarray, box: list[list[int]], shape: tuple[int, ...], step: int, quality: int
) -> tuple[bytes, dict[str, Any]]:
    """Store a map's cells within the image's box.

    Returns
    -------
    bytes
        The part, whose bytes are 255 times the square root of the cells' means.
    dict
        `grid`, the map's shape; `step`, voxels averaged into a cell each way; `box`, the first
        and one-past-last cell along each axis.
    """
    codes, tops, where = map_codes(values, box, shape, step)
    return part_of(codes, quality, tops), where


def map_codes(
    values: np.ndarray, box: list[list[int]], shape: tuple[int, ...], step: int
) -> tuple[np.ndarray, list[int], dict[str, Any]]:
    """A map's cells within the image's box as bytes, and the code of each of `TOPS`.

    The third is the place, as :func:`pack_map` returns it.
    """
    cells = _block_mean(values, step)  # float32 (X/step, Y/step, Z/step), the last ones partial
    # Saliency has a long tail: bytes of the root keep 1/255 steps where most values lie.
    codes = (np.sqrt(cells) * 255).round().astype(np.uint8)
    # Along an axis cell c spans c * step to (c + 1) * step of n voxels over the field of view.
    place = []
    for (low, high), n, size in zip(box, values.shape, shape, strict=True):
        first = int(low / size * n // step)
        last = int(-(-(high * n) // (size * step)))
        place.append([first, min(max(last, first + 1), -(-n // step))])
    inside = codes[tuple(slice(low, high) for low, high in place)]
    return inside, _tops(codes), {"grid": list(values.shape), "step": step, "box": place}


def _block_mean(values: np.ndarray, step: int) -> np.ndarray:
    """Means over cells of step voxels each way; cells at the far edges may hold fewer."""
    for axis in range(3 if step > 1 else 0):
        starts = np.arange(0, values.shape[axis], step)
        counts = np.diff([*starts, values.shape[axis]])
        sums = np.add.reduceat(values, starts, axis=axis)
        values = sums / np.expand_dims(counts, [a for a in range(3) if a != axis])
    return values


def _tops(codes: np.ndarray) -> list[int]:
    """The least code among the top so many % of all cells, for each of `TOPS`; at least 1."""
    ordered = np.sort(codes, axis=None)[::-1]
    last = [int(np.ceil(percent / 100 * ordered.size)) - 1 for percent in TOPS]
    return [max(int(ordered[i]), 1) for i in last]


def part_of(array: np.ndarray, quality: int, tops: Sequence[int] = ()) -> bytes:
    """A script that hands over a volume, see :func:`.sheets.packed`."""
    text = json.dumps(packed(array, quality, tops), separators=(",", ":"))
    key = hashlib.sha256(text.encode()).hexdigest()[:20]
    return f'oacoreSlicer.put("{key}",{text});\n'.encode()


def name_of(part: bytes) -> str:
    """File name of a part: the key that it carries, a hash of its content."""
    return part[18:38].decode() + ".js"
