"""Measurements of knees, against shapes of known size, other methods, and real label maps."""

import gzip

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import voxel_sizes
from scipy.ndimage import distance_transform_edt

from oacore.data.cohort import read_cohort
from oacore.data.volumes import read_canonical
from oacore.errors import InputError
from oacore.instruments.phantom.measure import measure_cohort, measure_knee

HALF_WIDTH, HALF_DEPTH = 40.0, 28.0  # mm, of the model's elliptical tibia
RADIUS = 25.0  # mm, of the model's condyles
# The central parts in the model: an ellipse's standard deviation is half its semi-axis.
CENTRES = {"medial": (-1.13 * 20, 0.0), "lateral": (0.99 * 20, -0.32 * 14)}
HALVES = {"medial": (0.38 * 20, 0.97 * 14), "lateral": (0.42 * 20, 0.78 * 14)}
SIDES = tuple(CENTRES)
VOXELS = {
    "as released": (0.7, 0.3646, 0.3646),
    "fine phantom": (2.0, 1.0, 1.0),
    "laptop phantom": (2.8, 1.4583, 1.4583),
}


def model_knee(
    voxel, tilt=(5, 3), femoral=2.2, tibial=(2.4, 2.9), gap=(6.0, 7.0), bare=0.0, seed=0
):
    """Two spheres over a tilted elliptical plateau, each with a layer of known thickness.

    `gap` is the smallest vertical distance of the bones in mm (medial, lateral); within `bare` mm
    of the contact there is no cartilage. The grid is shifted at random by up to half a voxel.
    """
    voxel = np.array(voxel)
    shift = np.random.default_rng(seed).uniform(-0.5, 0.5, 3)
    n = np.ceil(np.array([112, 110, 90]) / voxel).astype(int)
    axes = [(np.arange(k) - (k - 1) / 2 + s) * v for k, v, s in zip(n, voxel, shift, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    slope_x, slope_y = np.tan(np.radians(tilt))
    cosine = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    above = (z - slope_x * x - slope_y * y) * cosine
    tibia = (x / HALF_WIDTH) ** 2 + (y / HALF_DEPTH) ** 2 <= 1
    labels = np.zeros(n, np.uint8)
    for place, (side, (x0, y0)) in enumerate(CENTRES.items()):
        z0 = slope_x * x0 + slope_y * y0 + RADIUS / cosine + gap[place]
        radius = np.sqrt((x - x0) ** 2 + (y - y0) ** 2 + (z - z0) ** 2)
        here = ((x < 0) == (side == "medial")) & ((x - x0) ** 2 + (y - y0) ** 2 > bare**2)
        labels[(radius <= RADIUS + femoral) & here] = 2
        labels[(above > 0) & (above <= tibial[place]) & tibia & here] = 4 + place
        labels[radius <= RADIUS] = 1
    labels[(above <= 0) & tibia] = 3
    return labels


def mean_of_models(voxel, n, **changes):
    """Mean measurement over n placements of the grid."""
    found = [measure_knee(model_knee(voxel, seed=seed, **changes), voxel) for seed in range(n)]
    return pd.DataFrame(found).mean()


@pytest.fixture(scope="module")
def real(shared):
    """A manual segmentation of a right knee: all its labels, turned to RAS, and voxel sizes."""
    raw = (shared / "real/knee_labels/knee_right_dess_labels.nrrd").read_bytes()
    _, _, packed = raw.partition(b"\n\n")
    stored = np.frombuffer(gzip.decompress(packed), np.uint8).reshape((384, 384, 160), order="F")
    # Its axes run to the back, down, and to the right (`space directions` of the header).
    labels = stored.transpose(2, 0, 1)[:, ::-1, ::-1]
    return np.ascontiguousarray(labels), (0.7, 0.36458333, 0.36458333)


@pytest.fixture(scope="module")
def real_labels(real):
    """The same with OAIZIB-CM's labels."""
    table = np.zeros(11, np.uint8)
    table[[5, 1, 6, 2, 3]] = 1, 2, 3, 4, 5
    return table[real[0]], real[1]


@pytest.fixture(scope="module")
def template(shared):
    """Labels, voxel sizes and image of the mean of 103 knees of KL 0."""
    name = "real/knee_template/CLAIR-Knee-103R_{}_64x128x128.nii.gz"
    labels, affine = read_canonical(shared / name.format("segmentation"))
    image, _ = read_canonical(shared / name.format("template"))
    return labels.astype(np.uint8), voxel_sizes(affine), image


# Tilts as knees have them. Seen exactly level, a layer measures whole voxels, whatever its depth.
@pytest.mark.parametrize("tilt", [(5, 3), (-8, 10), (2, 15)])
@pytest.mark.parametrize(
    ("voxel", "n", "thickness_tolerance", "gap_tolerance"),
    # Relative, and mm: three standard errors of the mean over n placements, which scatter by
    # .005, .04 and .09 mm in thickness of 2.2 to 2.9 mm, and by .02, .15 and .35 mm in the gap.
    [
        ("as released", 1, 0.015, 0.06),
        ("fine phantom", 4, 0.03, 0.25),
        ("laptop phantom", 6, 0.05, 0.45),
    ],
)
def test_layers_and_gaps_of_known_size(voxel, n, thickness_tolerance, gap_tolerance, tilt):
    found = mean_of_models(VOXELS[voxel], n, tilt=tilt)
    for name, size in {
        "femur_medial": 2.2, "femur_lateral": 2.2, "tibia_medial": 2.4, "tibia_lateral": 2.9,
    }.items():  # fmt: skip
        assert found[f"thickness_{name}_mm"] == pytest.approx(size, rel=thickness_tolerance), name
        assert found[f"denuded_{name}"] == 0
    for side, gap in zip(SIDES, (6, 7), strict=True):
        assert found[f"joint_space_{side}_mm"] == pytest.approx(gap, abs=gap_tolerance), side
    # A width is a number of voxels.
    step = VOXELS[voxel]
    assert found["tibia_width_mm"] == pytest.approx(2 * HALF_WIDTH, abs=step[0])
    assert found["tibia_depth_mm"] == pytest.approx(2 * HALF_DEPTH, abs=2 * step[1])
    left, right = CENTRES["medial"][0] - RADIUS, CENTRES["lateral"][0] + RADIUS
    assert found["femur_width_mm"] == pytest.approx(right - left, abs=step[0] + 0.5)


@pytest.mark.parametrize("voxel", VOXELS)
def test_thickness_follows_down_to_thin_layers(voxel):
    sizes = np.array([0.3, 0.6, 1.2, 2.4])
    n = 1 if voxel == "as released" else 6
    found = [mean_of_models(VOXELS[voxel], n, femoral=d, tibial=(d, d)) for d in sizes]
    for name in ("femur_medial", "tibia_lateral"):
        measured = [row[f"thickness_{name}_mm"] for row in found]
        # No offset: a bias of a part of a voxel would show most in the thinnest layer.
        np.testing.assert_allclose(measured, sizes, atol=0.1, err_msg=name)


@pytest.mark.parametrize("bare", [3.0, 5.0])
def test_bare_bone_counts_as_thickness_zero(bare):
    found = measure_knee(model_knee(VOXELS["as released"], bare=bare), VOXELS["as released"])
    for side, tibial in zip(SIDES, (2.4, 2.9), strict=True):
        # The disc lies within the ellipse, so the share is the ratio of their areas; columns of
        # .7 mm follow the edge of a disc of 3 mm to 5%.
        share = bare**2 / np.prod(HALVES[side])
        assert found[f"denuded_tibia_{side}"] == pytest.approx(share, rel=0.05)
        expected = tibial * (1 - share)
        assert found[f"thickness_tibia_{side}_mm"] == pytest.approx(expected, rel=0.02)
        # The sphere's pole, where there is none, is flatter than its flank: a smaller share.
        assert 0.85 * share < found[f"denuded_femur_{side}"] < 1.02 * share


def test_a_plate_without_cartilage_is_still_found():
    whole = model_knee(VOXELS["as released"])
    bare = whole.copy()
    bare[np.isin(bare, (2, 4))] = 0
    before, after = (measure_knee(labels, VOXELS["as released"]) for labels in (whole, bare))
    for plate in ("femur_medial", "tibia_medial"):
        assert after[f"thickness_{plate}_mm"] == 0
        assert after[f"denuded_{plate}"] == 1
    for unchanged in ("joint_space_medial_mm", "thickness_tibia_lateral_mm", "tibia_width_mm"):
        assert after[unchanged] == before[unchanged]


def test_osteophytes_widen_the_bone_and_leave_the_rest():
    voxel = VOXELS["as released"]
    labels = model_knee(voxel)
    rows, columns, levels = np.nonzero(labels == 3)
    first, top = rows.min(), levels[rows < rows.min() + 10].max()
    reach, along, deep = int(6 / 0.7), int(10 / 0.3646), int(6 / 0.3646)
    middle = round(columns.mean())
    grown = labels.copy()
    lip = np.s_[first - reach : first + 8, middle - along : middle + along, top - deep : top]
    grown[lip][grown[lip] == 0] = 3
    before, after = (measure_knee(part, voxel) for part in (labels, grown))
    assert after["tibia_width_mm"] - before["tibia_width_mm"] == pytest.approx(
        reach * 0.7, abs=0.71
    )
    for name in before:
        if name.startswith("thickness"):
            assert after[name] == pytest.approx(before[name], rel=0.01), name
        if name.startswith("joint_space"):
            assert after[name] == pytest.approx(before[name], abs=0.1), name


def test_a_stray_voxel_is_no_bone():
    labels = model_knee(VOXELS["fine phantom"])
    stray = labels.copy()
    stray[0, 0, 60:62], stray[-1, -1, 30:32] = 1, 3
    widths = [f"{bone}_{way}_mm" for bone in ("femur", "tibia") for way in ("width", "depth")]
    before, after = (measure_knee(part, VOXELS["fine phantom"]) for part in (labels, stray))
    assert [before[name] for name in widths] == [after[name] for name in widths]


def test_a_left_knee_is_the_mirror_image(real_labels):
    labels, voxel = real_labels
    assert measure_knee(labels[::-1], voxel, side="left") == measure_knee(labels, voxel)


def test_real_knees_have_the_sizes_of_the_facts(real_labels, template):
    # Means and standard deviations of OAIZIB-CM: both knees within two of them.
    for labels, voxel in (real_labels, template[:2]):
        found = measure_knee(labels, voxel)
        for name, mean, deviation in (
            ("femur_width_mm", 83, 6), ("femur_depth_mm", 66, 4.5),
            ("tibia_width_mm", 80, 6), ("tibia_depth_mm", 57, 4.4),
            ("femoral_cartilage_cm3", 15.1, 3.2), ("medial_cartilage_cm3", 2.09, 0.5),
            ("lateral_cartilage_cm3", 2.4, 0.67),
        ):  # fmt: skip
            assert found[name] == pytest.approx(mean, abs=2 * deviation), name
        assert found["joint_space_medial_mm"] == pytest.approx(4.7, abs=1.5)
        assert found["joint_space_lateral_mm"] == pytest.approx(5.5, abs=1.5)
        assert max(value for name, value in found.items() if name.startswith("denuded")) < 0.02


def test_thickness_of_real_knees_is_that_of_kl_0(real_labels, template):
    facts = {"femur_medial": 2.22, "tibia_medial": 2.23, "tibia_lateral": 2.91}
    # A mean of 103 knees: 20% for another choice of the central part. One knee: two standard
    # deviations between healthy knees, of about 15%.
    for (labels, voxel), tolerance in ((template[:2], 0.2), (real_labels, 0.3)):
        found = measure_knee(labels, voxel)
        for name, mean in facts.items():
            assert found[f"thickness_{name}_mm"] == pytest.approx(mean, rel=tolerance), name


def test_medial_is_away_from_the_fibula(real):
    labels, _ = real
    x = {label: np.nonzero((labels == label).any((1, 2)))[0].mean() for label in (2, 3, 8)}
    assert x[2] < x[3] < x[8]  # the file's medial and lateral cartilage, and the fibula


def test_thickness_agrees_with_a_distance_transform(real_labels):
    labels, voxel = real_labels
    found = measure_knee(labels, voxel)
    for side, label in (("medial", 4), ("lateral", 5)):
        cartilage = labels == label
        box = tuple(slice(i.min() - 12, i.max() + 13) for i in np.nonzero(cartilage))
        part, cartilage = labels[box], cartilage[box]
        to_bone = distance_transform_edt(part != 3, sampling=voxel)
        surface = cartilage & (np.roll(part, -1, 2) != label)
        x, y, z = np.nonzero(surface)
        x, y = ((i - i.mean()) / np.ptp(i) for i in (x, y))
        central = x**2 + y**2 < 0.3**2
        # From voxel centre to voxel centre, each half a voxel inside its own tissue.
        depth = to_bone[surface][central].mean()
        # Another central part (about the cartilage's own centroid), and shortest distances, which
        # fall below the layer's depth where it is uneven.
        assert found[f"thickness_tibia_{side}_mm"] == pytest.approx(depth, rel=0.1), side


def test_joint_space_agrees_with_whole_voxels(real_labels):
    labels, voxel = real_labels
    found = measure_knee(labels, voxel)
    femur, tibia = labels == 1, labels == 3
    top = labels.shape[2] - tibia[:, :, ::-1].argmax(2)
    gap = np.where(femur.any(2) & tibia.any(2), femur.argmax(2) - top, 1000) * voxel[2]
    for side, label in (("medial", 4), ("lateral", 5)):
        x, y = np.nonzero((labels == label).any(2))
        middle = [slice(*np.percentile(i, (30, 70)).astype(int)) for i in (x, y)]
        lowest = gap[tuple(middle)].min()
        # The smallest of many whole voxels is too small by about one; the middle is narrower here.
        assert lowest - 0.4 < found[f"joint_space_{side}_mm"] < lowest + 2 * voxel[2], side


@pytest.mark.parametrize("skip", [2, 3])
def test_coarser_voxels_change_little(real_labels, skip):
    labels, voxel = real_labels
    fine = measure_knee(labels, voxel)
    coarse = measure_knee(labels[1::skip, 1::skip, 1::skip], np.array(voxel) * skip)
    for name, value in fine.items():
        if name.startswith("thickness"):
            assert coarse[name] == pytest.approx(value, rel=0.1), name
        if name.startswith("joint_space"):
            assert coarse[name] == pytest.approx(value, abs=0.3), name
        if name.endswith(("width_mm", "depth_mm")):
            assert coarse[name] == pytest.approx(value, abs=2.1), name


def test_signal_and_its_ratios():
    voxel = VOXELS["laptop phantom"]
    labels = model_knee(voxel)
    image = np.array([7, 40, 180, 42, 154, 160])[labels]
    found = measure_knee(labels, voxel, image=image)
    assert found["signal_femur"] == 40
    assert found["signal_lateral_cartilage"] == 160
    assert found["contrast_femoral_cartilage_to_femur"] == 4.5
    assert found["contrast_tibia_to_femur"] == 1.05
    assert found["contrast_medial_cartilage_to_femoral_cartilage"] == pytest.approx(154 / 180)
    assert found["image_mean"] == image.mean()
    assert found["image_p50"] == np.median(image)
    shares = np.bincount(labels.ravel()) / labels.size
    assert found["cartilage_share"] == pytest.approx(shares[[2, 4, 5]].sum())
    assert found["tibia_cm3"] == pytest.approx(shares[3] * labels.size * np.prod(voxel) / 1000)


def test_sizes_of_lesions():
    labels = np.zeros((10, 12, 14), np.uint8)
    labels[:, :, :4], labels[:, :, 10:] = 3, 1
    lesions = np.zeros_like(labels)
    lesions[0, :3, 0], lesions[1, :2, 0], lesions[2, 0, 0], lesions[9, :4, 13] = 1, 2, 3, 4
    lesions[2:5, 2:4, 8:10] = 5  # six columns below the femur, two deep
    lesions[6, 6, 4] = 5  # one on the tibia
    lesions[:5, :5, :2][lesions[:5, :5, :2] == 0] = 7
    found = measure_knee(labels, (2, 1, 0.5), lesions=lesions)
    assert [found[f"osteophyte_{name}_mm3"] for name in ("fl", "fm", "tl", "tm")] == [3, 2, 1, 4]
    assert found["denuded_femur_mm2"] == 6 * 2
    assert found["denuded_tibia_mm2"] == 2
    assert found["marrow_lesion_cm3"] == pytest.approx((50 - 6) / 1000)


def test_what_is_absent_is_not_a_number():
    labels = model_knee(VOXELS["laptop phantom"])
    joint = ["thickness_femur_medial_mm", "denuded_tibia_lateral", "joint_space_medial_mm"]
    for bone, name in ((1, "femur"), (3, "tibia")):
        found = measure_knee(np.where(labels == bone, 0, labels), VOXELS["laptop phantom"])
        assert np.isnan([found[key] for key in (*joint, f"{name}_width_mm")]).all()
        assert found[f"{name}_cm3"] == 0
    nothing = measure_knee(np.zeros_like(labels), (1, 1, 1), image=np.ones(labels.shape))
    assert np.isnan(nothing["contrast_tibia_to_femur"])
    assert list(nothing) == list(measure_knee(labels, (1, 1, 1), image=np.ones(labels.shape)))


def test_wrong_input_is_named():
    labels = np.zeros((8, 8, 8), np.uint8)
    with pytest.raises(InputError, match="image has shape"):
        measure_knee(labels, (1, 1, 1), image=np.zeros((8, 8, 9)))
    with pytest.raises(InputError, match="lesions has shape"):
        measure_knee(labels, (1, 1, 1), lesions=np.zeros((4, 8, 8), np.uint8))
    with pytest.raises(InputError, match="upper"):
        measure_knee(labels, (1, 1, 1), side="upper")


@pytest.fixture
def cohort(tmp_path):
    """Three model knees on disk: one with lesions, one without a mask, one stored mirrored."""
    voxel = VOXELS["laptop phantom"]
    table = pd.DataFrame({"CMT-ID": [1, 2], "KneeSide": 1, "KLGrade": [0, 3], "Gender": 1})
    table = table.assign(Age=60, BMI=28)
    table.to_csv(tmp_path / "subInfo_train.csv", index=False)
    table.iloc[:1].assign(**{"CMT-ID": 3}).to_csv(tmp_path / "subInfo_test.csv", index=False)
    for case_id, end in ((1, "Tr"), (2, "Tr"), (3, "Ts")):
        labels = model_knee(voxel, seed=case_id)
        affine = np.diag([*voxel, 1])
        volumes = {"images": (labels * 10).astype(np.int16), "labels": labels}
        if case_id == 1:
            volumes["lesions"] = np.where(labels == 3, 7, 0).astype(np.uint8)
        if case_id == 2:
            del volumes["labels"]
        for kind, array in volumes.items():
            (tmp_path / f"{kind}{end}").mkdir(exist_ok=True)
            name = f"{kind}{end}/oaizib_{case_id:03d}{'_0000' * (kind == 'images')}.nii.gz"
            nifti = nib.Nifti1Image(array, affine)
            if case_id == 3:  # the same knee in another order of axes
                nifti = nifti.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
            nib.save(nifti, tmp_path / name)
    return tmp_path


def test_a_cohort_is_measured_case_by_case(cohort):
    cases = read_cohort(cohort)
    found = measure_cohort(cases)
    assert found["case_id"].tolist() == [1, 3]
    assert found["split"].tolist() == ["train", "test"]
    voxel = VOXELS["laptop phantom"]
    for row, seed in zip(found.to_dict("records"), (1, 3), strict=True):
        labels = model_knee(voxel, seed=seed)
        for name, value in measure_knee(labels, voxel, image=labels * 10).items():
            assert row[name] == pytest.approx(value, rel=1e-4, nan_ok=True), name
    assert found["marrow_lesion_cm3"][0] == pytest.approx(found["tibia_cm3"][0], rel=1e-6)
    assert np.isnan(found["marrow_lesion_cm3"][1])
    pd.testing.assert_frame_equal(measure_cohort(cases, workers=2), found)


def test_a_cohort_that_cannot_be_measured(cohort):
    cases = read_cohort(cohort)
    with pytest.raises(InputError, match="workers"):
        measure_cohort(cases, workers=0)
    with pytest.raises(InputError, match="no case has a mask"):
        measure_cohort(cases.assign(mask=None))
    small = nib.Nifti1Image(np.zeros((5, 5, 5), np.int16), np.eye(4))
    nib.save(small, cohort / "imagesTr/oaizib_001_0000.nii.gz")
    with pytest.raises(InputError, match="imagesTr.*grid"):
        measure_cohort(cases)
