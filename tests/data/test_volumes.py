"""Volumes against nibabel, NumPy and MONAI, and the cache against interruption."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from monai.transforms import Resize
from torch.nn.functional import adaptive_avg_pool3d, interpolate

import oacore.data.cache as cache_module
from oacore.data.cache import cached_volumes, cartilage_volumes
from oacore.data.volumes import (
    RELEASED_GRID,
    as_shown,
    preprocess,
    read_canonical,
    resize,
    view,
    z_score,
)
from oacore.errors import InputError

SHAPE = (6, 10, 8)


def write_case(folder, case_id, rng, affine=None, shape=SHAPE):
    affine = np.diag([2.0, 1.0, 1.5, 1]) if affine is None else affine
    image = rng.integers(0, 400, shape).astype(np.int16)
    mask = rng.integers(0, 6, shape).astype(np.uint8)
    paths = [folder / f"image_{case_id}.nii.gz", folder / f"mask_{case_id}.nii.gz"]
    nib.Nifti1Image(image, affine).to_filename(paths[0])
    nib.Nifti1Image(mask, affine).to_filename(paths[1])
    return {"case_id": case_id, "image": str(paths[0]), "mask": str(paths[1])}


@pytest.fixture
def cases(tmp_path):
    rng = np.random.default_rng(0)
    return pd.DataFrame([write_case(tmp_path, i, rng) for i in (3, 1, 7, 4)])


def test_orientation_follows_the_affine_not_the_axes(tmp_path):
    ras = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    stored = ras.transpose(2, 0, 1)[::-1]  # axes: superior to inferior, right, anterior
    affine = np.array([[0, 2.0, 0, 0], [0, 0, 1.0, 0], [-1.5, 0, 0, 10.5], [0, 0, 0, 1]])
    nib.Nifti1Image(stored, affine).to_filename(tmp_path / "turned.nii")
    array, turned = read_canonical(tmp_path / "turned.nii")
    assert np.array_equal(array, ras)
    assert turned == pytest.approx(np.diag([2.0, 1.0, 1.5, 1.0]))


def test_z_score_leaves_zero_mean_and_unit_deviation():
    scored = z_score(np.random.default_rng(0).integers(0, 500, (20, 20, 20)))
    assert scored.mean() == pytest.approx(0, abs=1e-5)
    assert scored.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("mode", "grid"), [("area", (4, 10, 16)), ("trilinear", (4, 10, 16)), ("trilinear", (5, 9, 8))]
)
def test_resize_equals_monai(mode, grid):
    array = np.random.default_rng(0).normal(size=(12, 20, 16)).astype(np.float32)
    expected = Resize(grid, mode=mode)(array[None])[0].numpy()
    assert resize(array, grid, mode) == pytest.approx(expected, abs=1e-6)


def test_area_by_whole_factors_is_pytorchs_adaptive_mean():
    array = np.random.default_rng(0).normal(size=(12, 20, 18)).astype(np.float32)
    for grid in ((4, 10, 18), (12, 5, 6), (3, 4, 2), (1, 1, 1)):
        expected = adaptive_avg_pool3d(torch.from_numpy(array)[None], grid)[0].numpy()
        assert resize(array, grid, "area") == pytest.approx(expected, abs=1e-6)


# Reductions by 1.25, 1.5, 2.5 and other factors that are not whole.
@pytest.mark.parametrize("grid", [(32, 64, 64), (32, 32, 32), (24, 24, 24), (17, 41, 77)])
def test_area_moves_nothing_and_keeps_the_mean(grid):
    shape = (40, 96, 80)
    for axis, (old, new) in enumerate(zip(shape, grid, strict=True)):
        along = [1, 1, 1]
        along[axis] = -1
        ramp = np.broadcast_to(np.arange(old, dtype=np.float32).reshape(along), shape)
        centres = (np.arange(new) + 0.5) * old / new - 0.5  # of new voxels, in old ones
        found = np.moveaxis(resize(ramp, grid, "area"), axis, 0).reshape(new, -1)
        assert np.ptp(found, axis=1).max() < 1e-4
        off = found[:, 0] - centres
        # A voxel that is cut in two counts on both sides as if its middle were there: at most an
        # eighth of it over the factor, once to the left and once to the right.
        assert np.abs(off).max() <= 0.125 * new / old + 1e-4 and abs(off.mean()) < 1e-4
        assert old % new or np.abs(off).max() < 1e-4
    noise = np.random.default_rng(0).normal(3, 1, size=shape).astype(np.float32)
    assert resize(noise, grid, "area").mean(dtype=float) == pytest.approx(
        noise.mean(dtype=float), abs=1e-5
    )
    assert resize(np.ones(shape, np.float32), grid, "area") == pytest.approx(1, abs=1e-6)


def test_area_counts_a_voxel_for_the_part_of_it_that_is_covered():
    array = np.array([0, 0, 0, 6, 0, 12], dtype=np.float32).reshape(6, 1, 1)
    # New voxels span 0 to 1.5, 1.5 to 3, 3 to 4.5 and 4.5 to 6.
    assert resize(array, (4, 1, 1), "area").ravel() == pytest.approx([0, 0, 4, 8])
    assert resize(array.astype(np.int16), (4, 1, 1), "area").dtype == np.int16


@pytest.mark.parametrize("resample", ["area", "trilinear", "as released"])
@pytest.mark.parametrize("grid", [(32, 64, 64), (32, 32, 32), (20, 32, 48)])
def test_image_and_mask_agree_to_half_a_voxel(tmp_path, resample, grid):
    shape = (40, 96, 96)
    for axis in range(3):
        place = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)])
        edge = shape[axis] // 2 + 3
        solid = np.broadcast_to(place >= edge, shape)
        for name in ("image", "mask"):
            nib.Nifti1Image(solid.astype(np.uint8), np.eye(4)).to_filename(tmp_path / f"{name}.nii")
        image, mask, _, _ = preprocess(
            str(tmp_path / "image.nii"), str(tmp_path / "mask.nii"), grid, resample
        )
        # Where each goes from outside to inside, in new voxels from the edge of the volume; a
        # mean half way between the two values is a border in the middle of a voxel.
        inside, low, high = image.astype(float), float(image.min()), float(image.max())
        filled = ((inside - low) / (high - low)).mean(axis=tuple({0, 1, 2} - {axis}))
        labelled = mask.mean(axis=tuple({0, 1, 2} - {axis}))
        borders = [grid[axis] - part.sum() for part in (filled, labelled)]
        assert abs(borders[0] - borders[1]) <= 0.5 + 1e-3
        exact = 1e-2 if resample == "area" else 0.5  # 16 bits; PyTorch's own area is off by more
        assert borders[0] == pytest.approx(edge * grid[axis] / shape[axis], abs=exact)


def test_as_released_is_two_trilinear_steps_and_two_z_scores():
    array = np.random.default_rng(0).integers(0, 400, (40, 384, 96)).astype(np.int16)
    x = torch.from_numpy(array.astype(np.float32))[None, None]
    first = interpolate((x - x.mean()) / x.std(correction=0), RELEASED_GRID, mode="trilinear")
    first = (first - first.mean()) / first.std(correction=0)
    for grid in ((128, 128, 128), RELEASED_GRID):  # M3T's, and that of the other two
        expected = interpolate(first, grid, mode="trilinear")[0, 0].numpy()
        found = as_shown(array, grid, "as released")
        assert np.abs(found - expected).max() < 1e-5
        once = as_shown(array, grid, "trilinear")
        assert np.abs(found - once).mean() > 0.1
    assert RELEASED_GRID == (160, 256, 256)


def test_one_step_to_a_third_reads_every_third_voxel_alone():
    noise = np.random.default_rng(0).normal(size=(8, 96, 96)).astype(np.float32)
    found = resize(noise, (8, 32, 32), "trilinear")
    assert found == pytest.approx(noise[:, 1::3, 1::3], abs=1e-6)


def test_cache_holds_what_preprocessing_gives(cases, tmp_path):
    volumes = cached_volumes(cases, (3, 5, 4), "area", tmp_path / "cache", workers=2)
    assert volumes.images.dtype == np.float16 and volumes.masks.dtype == np.uint8
    assert volumes.case_id.tolist() == [3, 1, 7, 4]
    assert volumes.rows(pd.Series([7, 3])).tolist() == [2, 0]
    image = nib.load(cases["image"][2]).get_fdata()
    expected = ((image - image.mean()) / image.std()).reshape(3, 2, 5, 2, 4, 2).mean((1, 3, 5))
    assert volumes.images[2] == pytest.approx(expected, abs=2e-3)  # 16 bits keep 3 digits
    assert volumes.spacing[0] == pytest.approx([4.0, 2.0, 3.0])
    labels = np.asarray(nib.load(cases["mask"][2]).dataobj)
    assert np.array_equal(volumes.masks[2], resize(labels, (3, 5, 4), "nearest-exact"))
    # 3 mm3 a voxel, counted on the mask as stored.
    assert volumes.label_cm3[2] == pytest.approx([(labels == k).sum() * 3e-3 for k in range(1, 6)])


def test_cartilage_table_has_a_row_for_each_case_and_region(cases, tmp_path):
    cases["kl"] = [0, 1, 2, 3]
    cases.loc[3, "mask"] = None
    volumes = cached_volumes(cases, (3, 5, 4), "area", tmp_path / "cache")
    table = cartilage_volumes(volumes, cases)
    assert len(table) == 9 and set(table["case_id"]) == {3, 1, 7}
    medial = table[(table["case_id"] == 7) & (table["region"] == "medial tibial cartilage")]
    assert medial["volume_cm3"].item() == pytest.approx(volumes.label_cm3[2, 3])
    assert medial["kl"].item() == 2


def test_a_view_is_reduced_to_what_a_page_can_carry(cases):
    image, overlays, spacing = view(cases.iloc[0], longest=8)
    assert image.shape == (6, 8, 8) and spacing == pytest.approx([2.0, 1.25, 1.5])
    assert sum(m.astype(int) for m in overlays.values()).max() == 1 and len(overlays) == 5
    full, _, _ = view(cases.iloc[0])
    assert np.array_equal(full, nib.load(cases["image"][0]).get_fdata())


def test_a_second_use_opens_no_nifti(cases, tmp_path, monkeypatch):
    first = cached_volumes(cases, (3, 5, 4), "area", tmp_path / "cache")
    monkeypatch.setattr(nib, "load", lambda path: pytest.fail(f"opened {path}"))
    again = cached_volumes(cases, (3, 5, 4), "area", tmp_path / "cache")
    assert np.array_equal(first.images, again.images)


def test_changed_content_or_settings_are_another_cache(cases, tmp_path):
    cache = tmp_path / "cache"
    keys = [cached_volumes(cases, (3, 5, 4), "area", cache).key]
    keys.append(cached_volumes(cases, (3, 5, 4), "trilinear", cache).key)
    keys.append(cached_volumes(cases, (3, 5, 4), "as released", cache).key)
    keys.append(cached_volumes(cases, (6, 5, 4), "area", cache).key)
    write_case(tmp_path, 7, np.random.default_rng(9))
    keys.append(cached_volumes(cases, (3, 5, 4), "area", cache).key)
    assert len(set(keys)) == 5


def test_changed_code_is_another_cache(cases, tmp_path, monkeypatch):
    first = cached_volumes(cases, (3, 5, 4), "area", tmp_path / "cache")
    monkeypatch.setattr(cache_module, "fingerprint", lambda *modules: "of other code")
    second = cached_volumes(cases, (3, 5, 4), "area", tmp_path / "cache")
    assert first.key != second.key


def test_fingerprints_follow_the_file_not_its_spelling(cases, tmp_path, monkeypatch):
    first = cached_volumes(cases, (3, 5, 4), "area", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    for column in ("image", "mask"):
        cases[column] = [os.path.relpath(path) for path in cases[column]]
    monkeypatch.setattr(cache_module, "_digest", lambda *a: pytest.fail("read again"))
    assert cached_volumes(cases, (3, 5, 4), "area", tmp_path / "cache").key == first.key


def test_damaged_fingerprints_are_taken_again(cases, tmp_path):
    first = cached_volumes(cases, (3, 5, 4), "area", tmp_path / "cache")
    (tmp_path / "cache/fingerprints.json").write_text("{")
    assert cached_volumes(cases, (3, 5, 4), "area", tmp_path / "cache").key == first.key


def test_a_case_without_a_mask_has_an_empty_one(cases, tmp_path):
    cases.loc[1, "mask"] = None
    volumes = cached_volumes(cases, SHAPE, "area", tmp_path / "cache")
    assert volumes.masks[1].max() == 0 and volumes.masks[0].max() == 5


def test_an_interrupted_write_is_never_read(cases, tmp_path):
    cache = tmp_path / "cache"
    cases.to_csv(tmp_path / "cases.csv")
    code = f"""
import time, pandas as pd, oacore.data.cache as v
honest = v.preprocess
def slow(image, *rest):
    if "image_4" in image:
        print("waiting", flush=True); time.sleep(60)
    return honest(image, *rest)
v.preprocess = slow
v.cached_volumes(pd.read_csv({str(tmp_path / "cases.csv")!r}), (3, 5, 4), "area", {str(cache)!r})
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"waiting\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert [p.suffix for p in cache.iterdir() if p.is_dir()] == [".part"]
    volumes = cached_volumes(cases, (3, 5, 4), "area", cache)
    assert np.abs(volumes.images[3]).max() > 0
    assert not list(cache.glob("*.part")), "what the killed writer left is still there"


def test_a_truncated_file_is_named(cases, tmp_path):
    path = Path(cases["image"][1])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"image_1\.nii\.gz.*fetch this file again"):
        cached_volumes(cases, (3, 5, 4), "area", tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_truncated_file_without_compression_is_named(tmp_path):
    path = tmp_path / "whole.nii"
    nib.Nifti1Image(np.ones((20, 20, 20), np.float32), np.eye(4)).to_filename(path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(InputError, match=r"whole\.nii: cannot be read"):
        read_canonical(path)


def test_a_full_disk_is_one_clear_error(cases, tmp_path):
    with pytest.raises(InputError, match="GiB free; free some space"):
        cached_volumes(cases, (40_000, 4_000, 4_000), "area", tmp_path / "cache")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_or_quota_that_fills_up_meanwhile_is_the_same_error(
    cases, tmp_path, monkeypatch, number
):
    def full(*arguments):
        raise OSError(number, "full")

    monkeypatch.setattr(cache_module, "seal", full)
    with pytest.raises(InputError, match="GiB free; free some space"):
        cached_volumes(cases, (4, 4, 4), "area", tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.part"))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full(SHAPE, 7.0), r"every voxel is 7\.0, so it shows no knee"),
        (np.full(SHAPE, np.nan), "not finite"),
        (np.zeros((*SHAPE, 2)), "it holds 2 volumes"),
    ],
)
def test_an_image_that_shows_nothing_is_refused(tmp_path, array, message):
    nib.Nifti1Image(array.astype(np.float32), np.eye(4)).to_filename(tmp_path / "bad.nii.gz")
    with pytest.raises(InputError, match=message):
        preprocess(str(tmp_path / "bad.nii.gz"), None, (3, 5, 4), "area")


def test_a_mask_of_another_shape_is_named(tmp_path):
    rng = np.random.default_rng(0)
    case = write_case(tmp_path, 1, rng)
    other = write_case(tmp_path, 2, rng, shape=(6, 10, 9))
    with pytest.raises(InputError, match="mask_2"):
        preprocess(case["image"], other["mask"], (3, 5, 4), "area")
    moved = write_case(tmp_path, 3, rng, affine=np.diag([2.0, 1.0, 1.6, 1]))
    with pytest.raises(InputError, match=r"mask_3.*image's grid \(corners up to"):
        preprocess(case["image"], moved["mask"], (3, 5, 4), "area")


def test_an_affine_without_orientation_is_refused(tmp_path):
    image = nib.Nifti1Image(np.ones(SHAPE, np.float32), None)
    image.header.set_sform(np.diag([0, 1, 1, 1]), code=1)
    image.to_filename(tmp_path / "flat.nii.gz")
    with pytest.raises(InputError, match="gives an axis no direction"):
        read_canonical(tmp_path / "flat.nii.gz")


@pytest.mark.parametrize("wrong", [-1, 2.5, 6, 300])
def test_a_label_of_no_tissue_is_refused(tmp_path, wrong):
    case = write_case(tmp_path, 1, np.random.default_rng(0))
    labels = np.zeros(SHAPE, np.float32)
    labels[0, 0, 0] = wrong
    nib.Nifti1Image(labels, np.diag([2.0, 1.0, 1.5, 1])).to_filename(case["mask"])
    with pytest.raises(InputError, match="mask_1.*labels other than 0 to 5"):
        preprocess(case["image"], case["mask"], (3, 5, 4), "area")
