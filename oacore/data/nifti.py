"""One NIfTI file as one volume of numbers, in millimetres.

nibabel leaves three things to its callers: the unit of lengths, axes of length 1 behind the third,
and the order of bytes. A file may place its voxels twice, by its qform and by its sform, and
readers choose differently; nibabel takes the sform.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from nibabel.spatialimages import HeaderDataError

#: Millimetres in the units of lengths that a NIfTI header knows: metre, millimetre, micrometre.
_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
#: What says where a volume's voxels lie, all of it.
_PLACE = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip
_APART = 0.1  # mm, at a corner


class NoVolumeError(ValueError):
    """A file that is whole and holds something else than one volume of numbers.

    Parameters
    ----------
    what, cure : str
        What is there, and what to do about it.
    """

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.what, self.cure = what, cure


def load_whole(path: str | Path) -> Any:
    """Load an image once its file has been read to the end.

    nibabel stops at the last voxel, ahead of gzip's checksum, and so takes a file in which a bit
    has changed for a sound one.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    nibabel image

    Raises
    ------
    Exception
        Of whatever kind nibabel, gzip or zlib has for a damaged file.
    """
    # Opened here first: nibabel does not say what the system refused.
    with open(path, "rb") as file:
        raw = file.read() if str(path).lower().endswith(".gz") else None
    image: Any = nib.load(path)
    return image if raw is None else type(image).from_bytes(gzip.decompress(raw))


def as_volume(image: Any) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of an image, with its axes as stored, and its affine.

    Parameters
    ----------
    image : nibabel image
        Axes of length 1 behind the third are dropped, as nilearn does.

    Returns
    -------
    array : ndarray, three-dimensional
        Integers or floats (of 64 bits at most) in this machine's order of bytes.
    affine : ndarray, shape (4, 4)
        From voxels to mm, whatever unit the header names; one that names none is taken for mm.

    Raises
    ------
    NoVolumeError
        If it is not one 3D volume of numbers.
    ValueError
        If an axis has no direction.
    """
    shape = list(image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    _require_volume(image, shape)
    affine = in_mm(image.header, image.affine)
    if not np.isfinite(affine).all() or None in nib.aff2axcodes(affine):
        raise ValueError("its affine gives an axis no direction")
    array = np.asanyarray(image.dataobj).reshape(shape)
    if array.dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # what is lost becomes infinite, and is found
            array = array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False), affine


def _require_volume(image: Any, shape: list[int]) -> None:
    """Raise NoVolumeError unless an image, its trailing axes of length 1 dropped, is a volume."""
    kind = image.header.get_data_dtype()
    if kind.names:
        raise NoVolumeError(
            f"its voxels are colours ({', '.join(kind.names)})",
            "write the image before it was coloured, or one of its channels, as grey values",
        )
    if kind.kind == "c":
        raise NoVolumeError(
            f"its voxels are complex numbers ({kind})", "write their magnitude (numpy.abs)"
        )
    said = "x".join(map(str, image.shape))
    if 0 in shape:
        raise NoVolumeError(f"it has no voxels (its shape is {said})", "write or fetch it again")
    if len(shape) < 3:
        raise NoVolumeError(f"it is one slice ({said})", "write the whole volume, of three axes")
    if len(shape) > 3 and shape[3] == 1:  # NIfTI keeps what is not time on the fifth axis
        raise NoVolumeError(
            f"it has {math.prod(shape[4:])} numbers in each voxel ({said})",
            "write the one that is wanted as a volume of three axes",
        )
    if len(shape) > 3:
        raise NoVolumeError(
            f"it holds {math.prod(shape[3:])} volumes, one behind the other ({said})",
            "write the one that is wanted as a volume of three axes",
        )


def to_canonical(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn a volume to the RAS axes that lie nearest to its own; its affine goes along."""
    turn = io_orientation(affine)
    return apply_orientation(array, turn), affine @ inv_ornt_aff(turn, array.shape)


def in_mm(header: Any, affine: np.ndarray) -> np.ndarray:
    """Turn an affine of a header's unit into one of mm."""
    factor = _MM.get(int(header["xyzt_units"]) & 7, 1.0)
    return np.diag([factor, factor, factor, 1.0]) @ affine


def storage_step(image: Any) -> float:
    """Distance between neighbouring values, where values are stored as scaled integers; else 0."""
    slope = abs(float(getattr(image.dataobj, "slope", 1.0)))
    integers = image.header.get_data_dtype().kind in "iu"
    return slope if integers and slope != 1 else 0.0


def forms_apart(image: Any) -> str:
    """Say in words how a header contradicts itself on where the voxels lie; "" if it does not."""
    header, shape = image.header, np.array(image.shape[:3])
    corners = np.array(np.meshgrid(*((0, side - 1) for side in shape))).reshape(3, -1).T
    if header["sform_code"] > 0 and header["qform_code"] > 0:
        try:
            forms = [in_mm(header, form) for form in (header.get_qform(), header.get_sform())]
        except (ValueError, HeaderDataError) as error:
            return f"its qform cannot be read: {error}"
        one, other = (apply_affine(form, corners) for form in forms)
        furthest = float(np.linalg.norm(one - other, axis=1).max())
        axes = ["".join(map(str, nib.aff2axcodes(form))) for form in forms]
        turned = "" if axes[0] == axes[1] else f"qform {axes[0]}, sform {axes[1]}, "
        return "" if furthest <= _APART else f"{turned}corners up to {furthest:.1f} mm apart"
    sizes, stated = voxel_sizes(image.affine), np.abs(header["pixdim"][1:4].astype(float))
    if np.allclose(sizes, stated, rtol=0.01):
        return ""
    words = [" x ".join(f"{size:.4g}" for size in three) for three in (stated, sizes)]
    return f"pixdim {words[0]}, voxels of the affine {words[1]}"


def place_like(image: Any, dtype: type) -> Any:
    """Header of a volume that lies on an image's voxels, for readers of either form.

    Where the image has both forms, each is copied as it is, and so is a unit; where it has one, the
    other is made to say the same, if it can; where it has none, neither has the copy, and each
    reader takes for both what it takes for the image.

    Returns
    -------
    nibabel.Nifti1Header
        With nothing of the image's own beside where its voxels lie.
    """
    old, new = image.header, nib.Nifti1Header()
    new.set_data_dtype(dtype)
    new.set_data_shape(image.shape[:3])
    for field in _PLACE:
        new[field] = old[field]
    new["pixdim"][:4] = old["pixdim"][:4]
    unit = int(old["xyzt_units"]) & 7
    new["xyzt_units"] = unit if unit in _MM else 2
    has_qform, has_sform = old["qform_code"] > 0, old["sform_code"] > 0
    if has_sform and not has_qform:
        new.set_qform(image.affine, code=int(old["sform_code"]))
        if not np.allclose(new.get_qform(), image.affine, atol=1e-3):  # an affine that shears
            new.set_qform(None, code="unknown")
    if has_qform and not has_sform:
        new.set_sform(image.affine, code=int(old["qform_code"]))
    return new
