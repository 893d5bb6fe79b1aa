"""Pictures of radiographs as they are found, and hung alike."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from oacore.data.cohort import Fault
from oacore.instruments.radiographs.public_layout import PUBLIC_SIZE
from oacore.instruments.radiographs.resampling import area_sums
from oacore.instruments.radiographs.source import AGAIN

#: Part of a picture's edge by which a landmark may lie outside: crops cut the outer ends of some.
OUTSIDE = 0.1
#: Correlation with the mean knee. Of the 8,260 pictures of the public set the negatives are below
#: -.7 and all others above +.18; what lies between these two shows no knee.
NEGATIVE, KNEE = -0.5, 0.15
#: Pixels of a side of the mean knee, and pixels that a picture may have.
_GRID, _MOST_PIXELS = 16, 2**25


@dataclass(frozen=True)
class Look:
    """One picture as it was found.

    Attributes
    ----------
    upright : ndarray of uint8, shape (height, width)
        Bone bright, lateral side on the left; empty where it cannot be read.
    size : (int, int)
        Height and width in pixels; (0, 0) where it cannot be read.
    likeness : float
        Correlation with the mean knee, as it lies there but hung as a right knee; -1 to 1.
    negative : bool
        Whether it was turned.
    faults : list of Fault
    """

    upright: np.ndarray
    size: tuple[int, int]
    likeness: float
    negative: bool
    faults: list[Fault]


def look(
    data: bytes,
    case: dict[Hashable, Any],
    landmarks: np.ndarray,
    public: bool,
    known: dict[bytes, str],
) -> Look:
    """Open one picture and hang it as the others: negatives are turned, left knees mirrored.

    Parameters
    ----------
    data : bytes
        Of the file.
    case : dict
        A row of the `cases` of a :class:`.cases.Scan`.
    landmarks : ndarray, shape (16, 2)
        In pixels of the picture as it lies there; NaN where there are none.
    public : bool
        Whether it must have the public set's size.
    known : dict
        Digests of the pictures that were looked at before, and their files; this one is added.
    """
    file = case["file"]
    try:
        pixels = grey_pixels(data)
    except ValueError as error:
        cure = AGAIN if public else "save it as an 8-bit grey PNG"
        fault = Fault("error", "is no 8-bit grey picture", file, str(error), cure)
        return Look(np.empty((0, 0), np.uint8), (0, 0), np.nan, False, [fault])
    faults = []
    if public and pixels.shape != PUBLIC_SIZE:
        what, detail = (
            "has not the size of the public set's pictures",
            f"{pixels.shape[1]} x {pixels.shape[0]}",
        )
        faults.append(Fault("error", what, file, f"{detail} instead of 224 x 224", AGAIN))
    hung = pixels[:, ::-1] if case["side"] == "left" else pixels
    likeness = correlation_with_mean_knee(hung)
    told = case["inverted"]
    negative = likeness < NEGATIVE
    if NEGATIVE <= likeness < KNEE:
        what, cure = "shows no knee", "take it out, or crop it with the joint in its middle"
        detail = f"correlation with the mean knee {likeness:.2f}"
        faults.append(Fault("error", what, file, detail, cure))
    elif not pd.isna(told) and bool(told) != negative:
        what = "inverted is not what the picture shows"
        detail = f"{case['where']} says {told}, correlation with the mean knee {likeness:.2f}"
        faults.append(Fault("error", what, file, detail, "correct it, or leave the cell empty"))
    upright = 255 - hung if negative else hung
    digest = hashlib.sha256(repr(upright.shape).encode() + upright.tobytes()).digest()
    if (first := known.setdefault(digest, file)) != file:
        what, cure = "the same picture as another case's", "keep one of the two"
        faults.append(Fault("error", what, file, first, cure))
    if not np.isnan(landmarks).all():
        bounds = np.array(pixels.shape[::-1], float)
        low, high = -OUTSIDE * bounds, (1 + OUTSIDE) * bounds
        if ((landmarks < low) | (landmarks > high)).any():
            what, cure = "landmarks lie outside the picture", "give them in its pixels"
            detail = f"landmarks.csv, case {case['case']}"
            faults.append(Fault("error", what, file, detail, cure))
    return Look(upright, pixels.shape, likeness, negative, faults)


def grey_pixels(data: bytes) -> np.ndarray:
    """Pixels of an 8-bit grey PNG.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    ndarray of uint8, shape (height, width)

    Raises
    ------
    ValueError
        If it is anything else.
    """
    why = "not a whole PNG"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # that an image is far too large is but warned of
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                why = _MODES.get(image.mode, why)
                if image.width * image.height > _MOST_PIXELS:
                    why = f"{image.width} x {image.height} pixels"
                elif image.mode == "L":
                    return np.asarray(image)
    except MemoryError:
        raise
    except Exception as error:  # whatever a parser makes of damaged bytes
        raise ValueError(why) from error
    raise ValueError(why)


_MODES = {
    "I;16": "16-bit",
    "I": "16-bit",
    "RGB": "RGB",
    "RGBA": "RGB with transparency",
    "LA": "grey with transparency",
    "P": "a palette of colours",
    "1": "1-bit",
}


def correlation_with_mean_knee(picture: np.ndarray) -> float:
    """Correlation of a picture with the mean knee, both on a grid of 16 x 16.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width)
        Hung as a right knee.

    Returns
    -------
    float
        -1 to 1; 0 for a picture of one grey.
    """
    small = area_sums(picture, (_GRID, _GRID))
    small = small - small.mean()
    length = np.sqrt((small**2).sum())
    return float((small * mean_knee()).sum() / length) if length > 0 else 0.0


@cache
def mean_knee() -> np.ndarray:
    """Mean of real knees hung as right ones, on a grid of 16 x 16.

    Returns
    -------
    ndarray of float64, shape (16, 16)
        Shifted and scaled to a mean of 0 and a length of 1. Of 1,374 training pictures of the
        public set that are no negatives.
    """
    path = package_files("oacore.instruments.radiographs") / "mean_picture.csv"
    with path.open(encoding="utf-8") as file:
        grid = pd.read_csv(file, comment="#", header=None).to_numpy(float)
    grid = grid - grid.mean()
    return grid / np.sqrt((grid**2).sum())
