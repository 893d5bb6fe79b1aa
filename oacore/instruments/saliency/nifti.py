"""Maps as NIfTI over the image they belong to, so that a viewer shows the one upon the other.

A network sees a case on canonical axes and on its own grid; a map of it goes back to the voxels
and the axes of the image as stored.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    io_orientation,
    ornt_transform,
)

from oacore.data.nifti import in_mm, place_like
from oacore.data.volumes import read_canonical, resize
from oacore.errors import InputError
from oacore.files import write

KINDS = {"float32": np.float32, "uint8": np.uint8}


def write_map(
    values: np.ndarray, image: str | Path, path: str | Path, kind: str = "float32"
) -> Path:
    """Write a map on the voxels of its image, with the image's qform, sform and unit.

    The header holds the grid and nothing of the image's own, such as a name, a date or a device.

    Parameters
    ----------
    values : ndarray, shape (D, H, W)
        Of one case, on the network's grid or any other that covers the image, canonical axes; not
        negative, finite. Between voxels it is interpolated trilinearly.
    image : path-like
        The image as stored, in any orientation.
    path : path-like
        Ends in ``.nii.gz``; appears whole or not at all.
    kind : {"float32", "uint8"}
        How a voxel is stored; "uint8" has 256 steps from 0 to the greatest value.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the image cannot be read, or values are negative, not finite or not three-dimensional.
    """
    path = Path(path)
    if kind not in KINDS:
        raise InputError(f"write_map: kind is {kind!r}; choose one of {', '.join(KINDS)}")
    if not path.name.endswith(".nii.gz"):
        raise InputError(f"{path}: give a name that ends in .nii.gz")
    values = np.asarray(values, dtype=np.float32)
    if values.ndim != 3 or not np.isfinite(values).all() or values.min() < 0:
        raise InputError(
            f"{path}: a map of shape {values.shape}; give three dimensions and finite values >= 0"
        )
    array, _ = read_canonical(image)
    stored: Any = nib.load(image)
    full = resize(values, array.shape, "trilinear")  # canonical axes, the image's voxels
    back = ornt_transform(axcodes2ornt("RAS"), io_orientation(in_mm(stored.header, stored.affine)))
    data = apply_orientation(full, back)  # axes as stored
    slope = 1.0
    if kind == "uint8":
        slope = float(data.max()) / 255 or 1.0
        data = np.rint(data / slope)
    data = np.ascontiguousarray(data, dtype=KINDS[kind])
    # The header, with no affine beside it, so that both forms stay as the image has them.
    nifti = nib.Nifti1Image(data, None, place_like(stored, KINDS[kind]))
    nifti.header.set_slope_inter(slope, 0)
    # Python's gzip would note the file's name and the time in its own header.
    write(path, gzip.compress(nifti.to_bytes(), compresslevel=6, mtime=0))
    return path
