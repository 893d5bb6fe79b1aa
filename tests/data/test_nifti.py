"""One NIfTI file as one volume in mm: nibabel's own reading, and its header's unit, decide."""

import errno
import gzip
from itertools import permutations, product
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import apply_affine
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from oacore.data.check import check_cohort
from oacore.data.cohort import read_cohort
from oacore.data.nifti import as_volume, forms_apart
from oacore.data.volumes import (
    preprocess,
    read_canonical,
    read_labels,
    shows_nothing,
    view,
    z_score,
)
from oacore.errors import InputError
from oacore.instruments.phantom.measure import measure_cohort
from oacore.instruments.saliency.nifti import write_map
from tests.helpers import SHAPE, refuse, write_cohort

AFFINE = np.diag([0.7, 0.36, 0.36, 1.0])
UNITS = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
AXES = ["".join(codes) for order in permutations(("LR", "PA", "IS")) for codes in product(*order)]


def save(path, array, affine=AFFINE, unit="unknown", endian="<", slope=None, kind=nib.Nifti1Image):
    """A volume whose lengths are written in some unit, in some order of bytes."""
    header = kind.header_class(endianness=endian)
    header.set_data_dtype(array.dtype.newbyteorder(endian) if slope is None else slope[0])
    if slope is not None:
        array = np.rint(
            array / slope[1]
        )  # nibabel writes what it is given, and the slope beside it
    image = kind(array, np.diag([1 / UNITS[unit]] * 3 + [1]) @ affine, header)
    image.header.set_xyzt_units(unit)
    if slope is not None:
        image.header.set_slope_inter(slope[1], 0)
    Path(path).parent.mkdir(exist_ok=True, parents=True)
    nib.save(image, path)
    return str(path)


def labels():
    return (np.arange(np.prod(SHAPE)) % 6).reshape(SHAPE).astype(np.uint8)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "i8", "f4", "f8"]),
    st.sampled_from("<>"),
    st.sampled_from(list(UNITS)),
    st.sampled_from(AXES),
    st.sampled_from([(), (1,), (1, 1)]),
    st.sampled_from([None, 0.5, 5 / 255]),
    st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
    st.sampled_from([".nii", ".nii.gz"]),
)
def test_a_volume_in_mm_is_nibabels(dtype, endian, unit, codes, more, slope, kind, end):
    ras = np.random.default_rng(0).integers(0, 100, (3, 4, 5))
    change = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    array = nib.orientations.apply_orientation(ras, change)
    affine = AFFINE @ inv_ornt_aff(change, ras.shape)
    affine[:3, 3] += -31, 12, 40
    scaled = None if slope is None or dtype[0] == "f" else (np.dtype(endian + dtype), slope)
    array = array.reshape(*array.shape, *more).astype(dtype if scaled is None else float)
    with TemporaryDirectory() as folder:
        path = save(f"{folder}/v{end}", array, affine, unit, endian, scaled, kind)
        found, here = read_canonical(path)
        stored = nib.load(path)
        assert stored.header.endianness == endian
        expected = nib.as_closest_canonical(nib.funcs.squeeze_image(stored))
        np.testing.assert_allclose(found, expected.get_fdata(), rtol=1e-7)
    assert found.dtype.isnative and found.ndim == 3
    mm = np.diag([UNITS[unit]] * 3 + [1]) @ expected.affine
    np.testing.assert_allclose(here, mm, rtol=1e-6)
    assert abs(np.linalg.det(here[:3, :3])) == pytest.approx(0.7 * 0.36 * 0.36, rel=1e-5)


@pytest.mark.parametrize("unit", UNITS)
def test_a_cohort_in_any_unit_has_the_same_millimetres(tmp_path, unit):
    write_cohort(tmp_path)
    for path in tmp_path.glob("*T[rs]/*.nii.gz"):
        save(path, np.asarray(nib.load(path).dataobj), AFFINE, unit)
    report = check_cohort(tmp_path)
    assert report.faults.empty
    np.testing.assert_allclose(report.cases["image_spacing"][0], (0.7, 0.36, 0.36), rtol=1e-5)
    case = read_cohort(tmp_path).iloc[0]
    _, _, spacing, cm3 = preprocess(case["image"], case["mask"], SHAPE, "area")
    np.testing.assert_allclose(spacing, (0.7, 0.36, 0.36), rtol=1e-5)
    voxels = np.bincount(np.asarray(nib.load(case["mask"]).dataobj).ravel())[1:]
    np.testing.assert_allclose(cm3, voxels * 0.7 * 0.36 * 0.36 / 1000, rtol=1e-5)


def test_an_image_and_a_mask_in_different_units_share_a_grid(tmp_path):
    image = save(tmp_path / "i.nii", np.arange(384).reshape(SHAPE).astype(np.int16), unit="micron")
    mask = save(tmp_path / "m.nii", labels(), unit="meter")
    assert preprocess(image, mask, SHAPE, "area")[3].sum() > 0


@pytest.mark.parametrize("factor", [1000.0, 1e-3])
def test_lengths_that_no_knee_has_are_refused(tmp_path, factor):
    write_cohort(tmp_path)
    for path in tmp_path.glob("*T[rs]/oaizib_001*"):  # micrometres or metres, and no unit
        image = nib.load(path)
        save(path, np.asarray(image.dataobj), np.diag([factor] * 3 + [1]) @ AFFINE)
    faults = check_cohort(tmp_path).faults
    wrong = faults[faults["what"] == "is no volume of a knee's size"]
    assert list(wrong["severity"]) == ["error"] * 2 and "unit" in wrong["cure"].iloc[0]
    with pytest.raises(InputError, match=r"oaizib_001\.nii\.gz: a volume of .* mm .*xyzt_units"):
        measure_cohort(read_cohort(tmp_path).head(1))


def test_one_foreign_file_ends_no_check(tmp_path, monkeypatch):
    write_cohort(tmp_path)
    save(tmp_path / "labelsTr/oaizib_001.nii.gz", labels().astype(np.float32), endian=">")
    save(tmp_path / "imagesTr/oaizib_002_0000.nii.gz",
         np.arange(384).reshape(SHAPE).astype(np.int16), endian=">")  # fmt: skip
    assert check_cohort(tmp_path).faults.empty
    path = tmp_path / "imagesTr/oaizib_003_0000.nii.gz"
    save(path, np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    honest = nib.load

    def load(path):
        if "oaizib_004" in str(path):
            raise KeyError("what nobody thought of")
        return honest(path)

    monkeypatch.setattr(nib, "load", load)
    faults = check_cohort(tmp_path).faults
    assert [where.split("/")[1][:10] for where in faults["where"]] == ["oaizib_003"] + [
        "oaizib_004"
    ] * 2
    assert set(faults["severity"]) == {"error"}


def test_a_bit_that_only_the_checksum_tells_of_is_noticed(tmp_path):
    """nibabel reads to the last voxel and no further."""
    voxels = np.arange(32**3).reshape(32, 32, 32)
    image = save(tmp_path / "i.nii.gz", voxels.astype(np.int16))
    mask = save(tmp_path / "m.nii.gz", (voxels % 6).astype(np.uint8))
    whole = preprocess(image, mask, SHAPE, "area")
    for path in map(Path, (image, mask)):
        stored = gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=0)
        path.write_bytes(stored)
        same = preprocess(image, mask, SHAPE, "area")
        assert all(np.array_equal(one, other) for one, other in zip(same, whole, strict=True))
        for place in (len(stored) // 2, len(stored) - 6):  # in a voxel; in the checksum
            data = bytearray(stored)
            data[place] ^= 1
            path.write_bytes(data)
            assert nib.load(path).get_fdata().shape == voxels.shape
            with pytest.raises(InputError, match=f"{path.name}: cannot be read.*fetch.*phantom"):
                preprocess(image, mask, SHAPE, "area")
        path.write_bytes(stored)


def test_a_volume_that_was_cut_off_is_one_line(tmp_path):
    path = Path(save(tmp_path / "i.nii", labels()))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"i\.nii: cannot be read .*could the file") as caught:
        read_canonical(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_a_file_that_may_not_be_read_is_no_damaged_one(tmp_path, monkeypatch, end):
    write_cohort(tmp_path, end=end)
    where = f"imagesTr/oaizib_001_0000{end}"
    with monkeypatch.context() as patched:
        refuse(patched, tmp_path / where)
        with pytest.raises(InputError, match=rf"{where}: Permission denied; give yourself"):
            read_canonical(tmp_path / where)
        (fault,) = check_cohort(tmp_path).faults.itertuples()
        assert (fault.what, fault.where) == ("this image cannot be read", where)
        assert fault.detail == "Permission denied" and fault.cure.startswith("give yourself")
        refuse(patched, tmp_path / where, errno.EMFILE)
        assert "ulimit -n" in check_cohort(tmp_path).faults["cure"].iloc[0]

    def too_large(*_):
        raise MemoryError

    monkeypatch.setattr("oacore.data.volumes.as_volume", too_large)
    with pytest.raises(InputError, match=rf"{where}: there is not the memory to read it; end"):
        read_canonical(tmp_path / where)


@pytest.mark.parametrize("more", [(1,), (1, 1)])
def test_axes_of_length_one_behind_the_third_are_none(tmp_path, more):
    write_cohort(tmp_path)
    for path in tmp_path.glob("*T[rs]/*.nii.gz"):
        array = np.asarray(nib.load(path).dataobj)
        save(path, array.reshape(*SHAPE, *more))
    report = check_cohort(tmp_path)
    assert report.faults.empty and report.cases["image_shape"].tolist() == [SHAPE] * 10
    case = read_cohort(tmp_path).iloc[0]
    assert preprocess(case["image"], case["mask"], SHAPE, "area")[0].shape == SHAPE
    assert nib.load(write_map(np.ones(SHAPE), case["image"], tmp_path / "m.nii.gz")).shape == SHAPE


@pytest.mark.parametrize("slope", [5 / 255, 5 / 254, 0.5, 1e-4])
def test_labels_from_scaled_storage_are_whole(tmp_path, slope):
    write_cohort(tmp_path)
    kind = np.uint16 if slope < 1e-3 else np.uint8
    for path in tmp_path.glob("labelsT[rs]/*.nii.gz"):
        save(path, labels().astype(float), slope=(kind, slope))
    stored = np.asarray(nib.load(path).dataobj)
    assert slope == 0.5 or not np.isin(stored, range(6)).all()
    assert np.array_equal(read_labels(path)[0], labels())
    report = check_cohort(tmp_path)
    assert report.faults.empty
    assert report.cases["mask_labels"][0] == ("0", "1", "2", "3", "4", "5")
    case = read_cohort(tmp_path).iloc[0]
    assert np.array_equal(preprocess(case["image"], case["mask"], SHAPE, "area")[1], labels())


def test_a_label_between_two_is_shown_with_its_digits(tmp_path):
    write_cohort(tmp_path)
    path = tmp_path / "labelsTr/oaizib_001.nii.gz"
    for wrong in (2.04, 1.998, 5.5, -1, np.nan):
        array = labels().astype(np.float32)
        array[0, 0, 0] = wrong
        save(path, array)
        (detail,) = check_cohort(tmp_path).faults.query("severity == 'error'")["detail"]
        assert f"{np.float32(wrong):.10g}" in detail
        with pytest.raises(InputError, match="oaizib_001.*labels other than 0 to 5"):
            read_labels(path)


def test_one_distant_value_is_refused_and_a_distant_offset_is_not(tmp_path):
    write_cohort(tmp_path)
    rng = np.random.default_rng(0)
    knee = rng.integers(0, 2151, (16, 16, 16)).astype(float)
    spoilt = {}
    for case, value in enumerate([3e38, -3.4e38, 1e30], start=1):
        spoilt[case] = knee.astype(np.float32)
        spoilt[case][3, 3, 3] = value
    spoilt[4] = knee * 1e300
    spoilt[5] = np.where(knee > 1000, knee, -9e36)  # a fill value in half of it
    for case, array in spoilt.items():
        split = "Tr"
        path = save(tmp_path / f"images{split}/oaizib_00{case}_0000.nii.gz", array)
        with pytest.raises(InputError, match=rf"oaizib_00{case}_0000.*(grey values|32 bits).*set"):
            preprocess(path, None, (8, 8, 8), "area")
    report = check_cohort(tmp_path)
    unusable = report.faults[report.faults["what"] == "this image cannot be used"]
    assert [where[16:19] for where in unusable["where"]] == ["001", "002", "003", "004", "005"]
    for good in (knee + 1e9, knee * 1e30, knee - 3e4, knee):
        assert shows_nothing(good) == ("", "")
        path = save(tmp_path / "good.nii", good)
        cached = preprocess(path, None, (16, 16, 16), "area")[0].astype(float)
        expected = (knee - knee.mean()) / knee.std()
        np.testing.assert_allclose(cached, expected, atol=2e-3)
        assert len(np.unique(z_score(good))) == len(np.unique(knee))


def test_a_distant_offset_blurs_no_picture(tmp_path):
    knee = np.random.default_rng(0).integers(0, 2151, SHAPE).astype(float)
    case = pd.Series({"image": save(tmp_path / "i.nii", knee + 1e9), "mask": None})
    assert np.array_equal(np.diff(view(case)[0], axis=2), np.diff(knee, axis=2))


def both_forms(path, qform, sform):
    image = nib.Nifti1Image(np.arange(384).reshape(SHAPE).astype(np.int16), None)
    image.header.set_qform(qform, code=1)
    image.header.set_sform(sform, code=2)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(exist_ok=True)
    nib.save(image, path)
    return path


def test_forms_that_disagree_are_named_and_kept_by_a_map(tmp_path):
    write_cohort(tmp_path)
    mirrored = np.diag([-1, 1, 1, 1]) @ AFFINE
    path = both_forms(tmp_path / "imagesTr/oaizib_001_0000.nii.gz", mirrored, AFFINE)
    report = check_cohort(tmp_path)
    (fault,) = report.faults.itertuples()
    assert fault.severity == "warning" and fault.where == "imagesTr/oaizib_001_0000.nii.gz"
    assert "qform LAS, sform RAS, corners up to 7.0 mm apart" in fault.detail
    values = np.zeros(SHAPE, np.float32)
    values[0, 2, 3] = 1
    image, over = nib.load(path), nib.load(write_map(values, path, tmp_path / "map.nii.gz"))
    voxel = np.argwhere(over.get_fdata() > 0.99)[0]
    for form in ("get_qform", "get_sform"):
        one, other = (getattr(volume.header, form)() for volume in (image, over))
        np.testing.assert_allclose(apply_affine(one, voxel), apply_affine(other, voxel), atol=1e-5)
    for field in ("qform_code", "sform_code"):
        assert image.header[field] == over.header[field]


def test_forms_that_agree_are_no_fault(tmp_path):
    turn = np.deg2rad(12)
    oblique = AFFINE.copy()
    oblique[1:3, 1:3] = [[0.36 * np.cos(turn), -0.36 * np.sin(turn)],
                         [0.36 * np.sin(turn), 0.36 * np.cos(turn)]]  # fmt: skip
    assert forms_apart(nib.load(both_forms(tmp_path / "a/i.nii", oblique, oblique))) == ""
    sizes = nib.load(save(tmp_path / "s.nii", labels()))
    sizes.header["pixdim"][1:4] = 1
    assert "pixdim 1 x 1 x 1, voxels of the affine 0.7 x 0.36 x 0.36" in forms_apart(sizes)


@pytest.mark.parametrize("unit", ["micron", "meter", "mm"])
def test_a_map_has_its_images_unit(tmp_path, unit):
    path = save(tmp_path / "i.nii.gz", np.arange(384).reshape(SHAPE).astype(np.int16), unit=unit)
    over = nib.load(write_map(np.ones(SHAPE), path, tmp_path / "map.nii.gz"))
    assert over.header.get_xyzt_units()[0] == unit
    np.testing.assert_allclose(as_volume(over)[1], AFFINE, rtol=1e-5)


def test_lesions_of_cases_are_part_of_the_layout_and_strays_are_named(tmp_path):
    write_cohort(tmp_path)
    for case in range(1, 11):
        save(tmp_path / f"lesionsT{'r' if case < 6 else 's'}/oaizib_{case:03d}.nii.gz", labels())
    assert check_cohort(tmp_path).faults.empty
    save(tmp_path / "lesionsTr/oaizib_006.nii.gz", labels())  # a test case's
    save(tmp_path / "lesionsTs/oaizib_099.nii.gz", labels())
    stray = check_cohort(tmp_path).faults
    assert list(stray["where"]) == ["lesionsTr/oaizib_006.nii.gz", "lesionsTs/oaizib_099.nii.gz"]
    assert set(stray["what"]) == {"no row of the table uses this file"}


RGB = [("R", "u1"), ("G", "u1"), ("B", "u1")]
NO_VOLUMES = {
    "colours": (np.zeros(SHAPE, RGB), r"its voxels are colours \(R, G, B\)", "as grey values"),
    "complex": (np.ones(SHAPE, "c8"), "complex numbers .complex64.", "their magnitude"),
    "two": (np.ones((*SHAPE, 2), "i2"), "holds 2 volumes.*6x8x8x2", "the one that is wanted"),
    "vectors": (np.ones((*SHAPE, 1, 3), "f4"), "3 numbers in each voxel", "the one that is wanted"),
    "a slice": (np.ones(SHAPE[:2], "i2"), "is one slice .6x8.", "the whole volume"),
}  # fmt: skip


@pytest.mark.parametrize("there", NO_VOLUMES)
def test_a_whole_file_of_something_else_is_told_from_a_damaged_one(tmp_path, there):
    array, what, cure = NO_VOLUMES[there]
    write_cohort(tmp_path)
    image, mask = tmp_path / "imagesTr/oaizib_001_0000.nii.gz", tmp_path / "labelsTr/oaizib_001"
    for path in (image, f"{mask}.nii.gz"):
        save(path, array)
        for read in (read_canonical, read_labels):
            with pytest.raises(InputError, match=f"cannot be used: .*{what}.*; write .*{cure}"):
                read(path)
    faults = check_cohort(tmp_path).faults
    assert list(faults["what"]) == ["this image cannot be used", "this mask cannot be used"]
    assert faults["detail"].str.contains(what).all() and faults["cure"].str.contains(cure).all()
    assert not faults["cure"].str.contains("fetch").any()
