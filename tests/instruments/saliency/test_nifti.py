"""Maps over their images: nibabel's own world coordinates decide."""

import gzip
import os
import re

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from nibabel.processing import resample_from_to

from oacore.data.volumes import read_canonical, resize
from oacore.errors import InputError
from oacore.instruments.saliency import nifti as maps
from oacore.instruments.saliency.nifti import write_map
from tests.helpers import canonical

SHAPE = (6, 9, 12)  # canonical: left-right, posterior-anterior, inferior-superior
MARKED = "oaizib_MARKED_subject_9000123"


def stored_image(path, codes="RAS", oblique=False, dtype=np.int16):
    """An image in some orientation, all header texts filled with a marked identifier."""
    affine = np.diag([2.5, 0.7, 0.4, 1.0])
    affine[:3, 3] = -31, 12, 40
    if oblique:
        turn = np.deg2rad(12)
        affine[:3, :3] = (
            np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
            @ affine[:3, :3]
        )
    ras = np.random.default_rng(0).integers(0, 400, SHAPE).astype(dtype)
    change = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    array = nib.orientations.apply_orientation(ras, change)
    image = nib.Nifti1Image(array, affine @ inv_ornt_aff(change, SHAPE))
    for field in ("descrip", "db_name", "intent_name", "aux_file"):
        image.header[field] = MARKED.encode()[: image.header[field].dtype.itemsize]
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", MARKED.encode()))
    nib.save(image, path)
    assert nib.aff2axcodes(image.affine) == tuple(codes)
    return path


ORIENTATIONS = ["RAS", "LPS", "PIR", "ASL", "SRP", "LAI"]


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_a_marked_corner_lies_where_the_image_has_it(tmp_path, codes, oblique, kind):
    image = stored_image(tmp_path / "image.nii.gz", codes, oblique)
    seen, affine = read_canonical(image)
    assert seen.shape == SHAPE
    values = np.zeros(SHAPE, np.float32)
    values[0, -1, 2] = 1  # left-most, most anterior, third from below
    path = write_map(values, image, tmp_path / "map.nii.gz", kind)
    written, stored = nib.load(path), nib.load(image)
    assert written.shape == stored.shape
    np.testing.assert_allclose(written.affine, stored.affine, atol=1e-5)
    voxel = np.argwhere(written.get_fdata() > 0.99)
    assert len(voxel) == 1
    # The same point of the patient, by the map's own header and by the image's canonical axes.
    point = apply_affine(written.affine, voxel[0])
    np.testing.assert_allclose(point, apply_affine(affine, [0, SHAPE[1] - 1, 2]), atol=1e-4)
    # And the image's own voxel there is the one that the network saw at that place.
    assert stored.get_fdata()[tuple(voxel[0])] == seen[0, -1, 2]
    np.testing.assert_allclose(canonical(path), values, atol=1e-6)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_from_a_coarse_grid_as_nibabel_resamples(tmp_path, codes):
    image = stored_image(tmp_path / "image.nii.gz", codes)
    grid = (3, 3, 4)  # voxels of 2 x 3 x 3 of the image's
    values = np.random.default_rng(1).random(grid).astype(np.float32)
    path = write_map(values, image, tmp_path / "map.nii.gz")
    # The coarse grid as a NIfTI of its own, over the same field of view.
    _, affine = read_canonical(image)
    step = np.array(SHAPE) / grid
    coarse = affine @ np.diag([*step, 1])
    coarse[:3, 3] = apply_affine(affine, (step - 1) / 2)
    expected = resample_from_to(nib.Nifti1Image(values, coarse), nib.load(image), 1, "nearest")
    np.testing.assert_allclose(nib.load(path).get_fdata(), expected.get_fdata(), atol=1e-5)


def test_there_and_back_again(tmp_path):
    image = stored_image(tmp_path / "image.nii.gz", "PIR")
    smooth = np.add.outer(np.add.outer(np.arange(3.0), np.arange(3.0)), np.arange(4.0))
    path = write_map(smooth, image, tmp_path / "map.nii.gz")
    back = resize(canonical(path), smooth.shape, "area")
    # Linear in the middle; the outermost half voxel is held constant.
    np.testing.assert_allclose(back[1, 1, 1:3], smooth[1, 1, 1:3], atol=1e-5)
    assert np.corrcoef(back.ravel(), smooth.ravel())[0, 1] > 0.99


def test_eight_bits_are_good_to_half_a_step(tmp_path):
    image = stored_image(tmp_path / "image.nii.gz", "LPS")
    values = np.random.default_rng(2).random(SHAPE).astype(np.float32) * 3
    values[0] = 0
    path = write_map(values, image, tmp_path / "map.nii.gz", "uint8")
    back = canonical(path)
    assert nib.load(path).get_data_dtype() == np.uint8
    assert abs(back - values).max() <= 1.001 * values.max() / 255 / 2
    assert (back[0] == 0).all() and back.max() == pytest.approx(values.max(), rel=1e-6)
    nothing = write_map(np.zeros(SHAPE), image, tmp_path / "nothing.nii.gz", "uint8")
    assert (canonical(nothing) == 0).all()


@pytest.mark.parametrize("codes", ["RAS", "PIR"])
def test_viewers_that_read_either_form_agree(tmp_path, codes):
    image = stored_image(tmp_path / "image.nii.gz", codes, oblique=True)
    header = nib.load(write_map(np.ones(SHAPE), image, tmp_path / "map.nii.gz")).header
    np.testing.assert_allclose(header.get_sform(), nib.load(image).affine, atol=1e-5)
    np.testing.assert_allclose(header.get_qform(), nib.load(image).affine, atol=1e-4)
    assert header["sform_code"] == header["qform_code"] == 2  # the image's, aligned
    assert header.get_xyzt_units()[0] == "mm"


def test_an_affine_that_shears_has_one_form(tmp_path):
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[0, 1] = 0.3
    nib.Nifti1Image(np.ones(SHAPE, np.int16), affine).to_filename(tmp_path / "image.nii")
    header = nib.load(
        write_map(np.ones(SHAPE), tmp_path / "image.nii", tmp_path / "map.nii.gz")
    ).header
    np.testing.assert_allclose(header.get_best_affine(), affine, atol=1e-6)
    assert header["qform_code"] == 0


@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_nothing_of_the_image_or_the_computer_gets_out(tmp_path, kind):
    folder = tmp_path / MARKED
    folder.mkdir()
    image = stored_image(folder / f"{MARKED}.nii.gz")
    path = write_map(np.ones(SHAPE), image, folder / f"{MARKED}_map.nii.gz", kind)
    packed = path.read_bytes()
    for data in (packed, gzip.decompress(packed)):
        assert not re.search(rb"MARKED|9000123|oaizib|pytest", data)
    assert packed[3] == 0 and packed[4:8] == bytes(4)  # no name and no time in gzip's header
    header = nib.load(path).header
    assert all(header[key].item() == b"" for key in ("descrip", "db_name", "aux_file"))
    assert not header.extensions
    again = write_map(np.ones(SHAPE), image, folder / "again.nii.gz", kind)
    assert again.read_bytes() == packed


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    image = stored_image(tmp_path / "image.nii.gz")
    path = write_map(np.ones(SHAPE), image, tmp_path / "map.nii.gz")
    before = path.read_bytes()

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_map(np.zeros(SHAPE), image, path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image.nii.gz", "map.nii.gz"]


@pytest.mark.parametrize(
    ("values", "name", "kind", "message"),
    [
        (np.full(SHAPE, np.nan), "map.nii.gz", "float32", "finite values >= 0"),
        (np.full(SHAPE, -1.0), "map.nii.gz", "float32", "finite values >= 0"),
        (np.ones((1, *SHAPE)), "map.nii.gz", "float32", "three dimensions"),
        (np.ones(SHAPE), "map.nii", "float32", r"ends in .nii.gz"),
        (np.ones(SHAPE), "map.nii.gz", "int8", "kind is 'int8'"),
    ],
)
def test_what_is_no_map(tmp_path, values, name, kind, message):
    image = stored_image(tmp_path / "image.nii.gz")
    with pytest.raises(InputError, match=message):
        write_map(values, image, tmp_path / name, kind)
    assert [p.name for p in tmp_path.iterdir()] == ["image.nii.gz"]


def test_a_map_over_no_image_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        write_map(np.ones(SHAPE), tmp_path / "none.nii.gz", tmp_path / "map.nii.gz")
    assert set(maps.KINDS) == {"float32", "uint8"}
