"""Pictures and their landmarks in another size, cropped or mirrored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array

from oacore.errors import InputError


def resample(
    picture: np.ndarray, height: int, width: int, crop: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """The middle of a picture in another size; each pixel is the mean of the area it covers.

    Sums are of whole numbers and exact, so that every machine rounds alike (halves up).

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns)
    height, width : int
    crop : (float, float)
        Shares of height and width to keep.

    Returns
    -------
    ndarray of uint8, shape (height, width)

    Raises
    ------
    InputError
        If a size is below 1 or a share not above 0 and at most 1, or nothing is left.
    """
    new = (height, width)
    require_sizes(new, crop)
    size = (picture.shape[0], picture.shape[1])
    high, wide = Grid(size, new, crop).cut
    middle = picture[high : size[0] - high, wide : size[1] - wide]
    if not middle.size:
        raise InputError(f"of {size[1]} x {size[0]} pixels the crop leaves none; keep more of them")
    sums = area_sums(middle, new).astype(np.int64)
    area = middle.size
    return ((2 * sums + area) // (2 * area)).astype(np.uint8)


@dataclass(frozen=True)
class Grid:
    """How a picture of an old size becomes its middle in a new size; heights before widths.

    Attributes
    ----------
    old, new : (int, int)
        Pixels.
    crop : (float, float)
        Shares of height and width to keep.
    """

    old: tuple[int, int]
    new: tuple[int, int]
    crop: tuple[float, float]

    @property
    def cut(self) -> tuple[int, int]:
        """Pixels that go above and below, and on the left and on the right."""
        high, wide = (
            round(length * (1 - share) / 2)
            for length, share in zip(self.old, self.crop, strict=True)
        )
        return high, wide

    @property
    def scale(self) -> np.ndarray:
        """New pixels for one old one, in x and y."""
        kept = np.array(self.old) - 2 * np.array(self.cut)
        return (np.array(self.new) / kept)[::-1]

    def moved(self, landmarks: np.ndarray) -> np.ndarray:
        """Landmarks, shape (..., 2), in pixels of the new size."""
        return (landmarks + 0.5 - self.cut[::-1]) * self.scale - 0.5


def require_sizes(new: tuple[int, int], crop: tuple[float, float]) -> None:
    """Refuse a height or width below 1, and a share that is not above 0 and at most 1.

    Raises
    ------
    InputError
    """
    if min(new) < 1 or not all(0 < share <= 1 for share in crop):
        raise InputError(
            f"height {new[0]}, width {new[1]}, crop {crop[0]:g} and {crop[1]:g}; give pixels of 1 "
            "or more, and shares above 0, at most 1"
        )


def mirror(landmarks: np.ndarray, width: int) -> np.ndarray:
    """Landmarks of the mirrored picture: x becomes width - 1 - x.

    Parameters
    ----------
    landmarks : ndarray, shape (..., 2)
    width : int
        Of the picture, in pixels.

    Returns
    -------
    ndarray of float64, shape (..., 2)
    """
    return landmarks * [-1.0, 1.0] + [width - 1.0, 0.0]


def area_sums(picture: np.ndarray, new: tuple[int, int]) -> np.ndarray:
    """Sum what lies in each new pixel, in parts of one old pixel by 1 / (rows x columns).

    Parameters
    ----------
    picture : ndarray, shape (height, width)
    new : (int, int)
        Rows and columns.

    Returns
    -------
    ndarray of float64, shape (rows, columns)
        Whole numbers, and exact, for a picture of such.
    """
    rows, columns = (_overlaps(*lengths) for lengths in zip(picture.shape, new, strict=True))
    return (columns @ (rows @ picture.astype(np.float64)).T).T


@lru_cache(maxsize=64)
def _overlaps(old: int, new: int) -> csr_array:
    """How much of each old pixel (columns) lies in each new one (rows), in parts of 1 / new."""
    ends = np.arange(1, new + 1)[:, None] * old, np.arange(1, old + 1)[None] * new
    starts = ends[0] - old, ends[1] - new
    part = np.clip(np.minimum(*ends) - np.maximum(*starts), 0, None)
    return csr_array(part.astype(np.float64))
