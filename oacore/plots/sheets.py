"""Volumes as pictures: grey levels, bits for masks, and all slices on one sheet."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from oacore.errors import InputError

TILE = 8  # px, JPEG's block: padding slices to it keeps one from bleeding into the next
_MASKS = 8  # bits of a byte


def grey_levels(image: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Intensities as bytes, black and white at two percentiles.

    Parameters
    ----------
    image : ndarray (X, Y, Z)
    window : two floats
        Percentiles, 0 to 100.

    Raises
    ------
    InputError
        If it is not one finite volume.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.size == 0:
        raise InputError(f"the image has shape {image.shape}: give one 3D volume.")
    if not np.isfinite(image).all():
        raise InputError("the image has values that are not finite.")
    black, white = np.percentile(image, window)
    scaled = (image.astype(np.float32) - black) / max(white - black, 1e-12)
    return (np.clip(scaled, 0, 1) * 255).round().astype(np.uint8)


def mask_bits(masks: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Masks, which may overlap, as the bits of one volume: the first is bit 0."""
    if len(masks) > _MASKS:
        raise InputError(f"{len(masks)} masks, at most {_MASKS} are shown: join some.")
    bits = np.zeros(shape, np.uint8)
    for place, (name, mask) in enumerate(masks.items()):
        if np.shape(mask) != shape:
            raise InputError(
                f"mask {name!r} has shape {np.shape(mask)}, the image {shape}: bring "
                "both to one grid."
            )
        bits |= (np.asarray(mask) > 0).astype(np.uint8) << place
    return bits


def check_spacing(spacing: Sequence[float]) -> None:
    """Raise InputError unless the sides of a voxel are three lengths."""
    if len(spacing) != 3 or not all(s > 0 and np.isfinite(s) for s in spacing):
        raise InputError(f"spacing {spacing} is not three lengths in mm above 0.")


def sagittal(array: np.ndarray) -> np.ndarray:
    """Slices of a volume (X, Y, Z) as they are seen: (X, Z downwards, Y from front to back)."""
    return array.transpose(0, 2, 1)[:, ::-1, ::-1]


def tiles(slices: np.ndarray) -> tuple[np.ndarray, int]:
    """Slices (n, height, width) side by side in one picture, and how many there are in a row.

    Each is padded to multiples of `TILE`; there are about as many in a row as rows.
    """
    n, columns = len(slices), int(np.ceil(np.sqrt(len(slices))))
    rows = -(-n // columns)
    pad = [(0, rows * columns - n), *((0, -size % TILE) for size in slices.shape[1:])]
    padded = np.pad(slices, pad, mode="edge")
    _, height, width = padded.shape
    grid = padded.reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
    return grid.reshape(rows * height, columns * width), columns


def encoded(picture: np.ndarray, quality: int) -> tuple[str, str]:
    """A picture as base64, and its type: JPEG of that quality, or PNG if it is 0."""
    buffer, kind = io.BytesIO(), "jpeg" if quality else "png"
    options = {"quality": quality} if quality else {}
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.save(buffer, kind, optimize=True, **options)
    return base64.b64encode(buffer.getvalue()).decode(), f"image/{kind}"


def packed(array: np.ndarray, quality: int, tops: Sequence[int] = ()) -> dict[str, Any]:
    """A volume as the viewer takes it: a sheet of its sagittal slices, of which it cuts the rest.

    Parameters
    ----------
    array : ndarray of uint8 (X, Y, Z)
    quality : int
        See :func:`encoded`.
    tops : sequence of int
        Of a map, the code from which on the top so many % of its voxels lie.
    """
    data, kind = encoded(tiles(sagittal(array))[0], quality)
    return {"type": kind, "shape": list(array.shape), "tops": list(tops), "data": data}


def packed_pictures(pictures: np.ndarray, quality: int) -> dict[str, Any]:
    """Pictures as a viewer takes them, which decodes them as it does the slices of a volume.

    Parameters
    ----------
    pictures : ndarray of uint8, shape (n, height, width)
    quality : int
        See :func:`encoded`.
    """
    n, height, width = pictures.shape
    data, kind = encoded(tiles(pictures)[0], quality)
    return {"type": kind, "shape": [n, width, height], "tops": [], "data": data}


def unpack(sheet: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The volume (X, Y, Z) that a sheet of sagittal slices holds: what the viewer does, too."""
    n, wide, high = shape
    width, height = (-(-size // TILE) * TILE for size in (wide, high))
    columns = sheet.shape[1] // width
    rows = sheet.reshape(-1, height, columns, width).transpose(0, 2, 1, 3)
    slices = rows.reshape(-1, height, width)[:n, :high, :wide]
    return slices[:, ::-1, ::-1].transpose(0, 2, 1)
