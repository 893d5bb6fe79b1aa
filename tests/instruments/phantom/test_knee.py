"""Single knees as drawn, measured back from their voxels."""

import numpy as np
import pandas as pd
import pytest
import torch

from oacore.instruments.phantom.anatomy import _depth_of, draw_anatomy
from oacore.instruments.phantom.image import FEMUR, LESIONS, NOISE, Scanner, acquire
from oacore.instruments.phantom.knee import FIELD_OF_VIEW, draw_knee, scan
from oacore.instruments.phantom.measure import measure_knee
from oacore.instruments.phantom.subjects import PLATES, sample_subjects

SHAPE = (24, 48, 48)
FINE = (56, 140, 140)  # voxels of 2 x 1 x 1 mm
VOXEL = np.array(FIELD_OF_VIEW) / FINE


@pytest.fixture(scope="module")
def subjects():
    """Eight subjects a grade, without reading errors."""
    return sample_subjects((8,) * 5, (0,) * 5, ungraded=(0, 0), seed=31, reader_noise=0)


@pytest.fixture(scope="module")
def measured(subjects):
    """What they measure, drawn at 2 x 1 x 1 mm."""
    found = []
    for row in subjects.to_dict("records"):
        knee = draw_knee(row, FINE, [31, row["case_id"]])
        found.append(measure_knee(knee.labels, VOXEL, knee.image, knee.lesions))
    return pd.DataFrame(found)


@pytest.fixture(scope="module")
def worst(subjects):
    """A knee of KL 4, medial."""
    rows = subjects[(subjects["kl_true"] == 4) & (subjects["diseased"] == "medial")]
    return rows.sort_values("severity").iloc[-1].to_dict()


def test_same_seed_same_knee_and_another_seed_another(subjects):
    row = subjects.iloc[0].to_dict()
    one, same, other = (draw_knee(row, SHAPE, seed) for seed in ([0, 1], [0, 1], [0, 2]))
    for name in ("image", "labels", "tissues", "lesions"):
        assert np.array_equal(getattr(one, name), getattr(same, name))
    assert (one.image != other.image).mean() > 0.5
    assert 0 < (one.labels != other.labels).mean() < 0.3


def test_a_knee_scanned_again_is_the_same_knee_in_another_image(subjects):
    knee = draw_anatomy(subjects.iloc[0].to_dict(), np.random.default_rng(2))
    one, other = (scan(knee, FINE, np.random.default_rng(seed)) for seed in (3, 4))
    assert (one.image != other.image).mean() > 0.5
    assert (one.labels != other.labels).any()  # it lies elsewhere
    for cartilage in (2, 4, 5):
        sizes = [(taken.labels == cartilage).sum() for taken in (one, other)]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.05) and sizes[0] > 1000


def test_threads_do_not_change_a_knee(subjects):
    row = subjects.iloc[-1].to_dict()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = draw_knee(row, SHAPE, 3)
        torch.set_num_threads(2)
        two = draw_knee(row, SHAPE, 3)
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(one.image, two.image)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_draws_the_same_knee(subjects):
    row = subjects.iloc[-1].to_dict()
    one, two = draw_knee(row, SHAPE, 3), draw_knee(row, SHAPE, 3, "cuda")
    assert (one.labels != two.labels).mean() < 1e-4
    assert np.abs(one.image.astype(int) - two.image).mean() < 0.5


def test_a_finer_grid_shows_the_same_knee(worst):
    coarse, fine = draw_knee(worst, FINE, 5), draw_knee(worst, tuple(2 * n for n in FINE), 5)
    for label in range(1, 6):
        share = (fine.labels == label).mean() / (coarse.labels == label).mean()
        # Thin layers lose and gain voxels at their edges: a tenth.
        assert share == pytest.approx(1, abs=0.1), label
    blocks = fine.labels.reshape(56, 2, 140, 2, 140, 2)[:, 0, :, 0, :, 0]
    assert (blocks != coarse.labels).mean() < 0.03


def test_a_left_knee_is_the_right_one_mirrored(worst):
    right, left = draw_knee(worst, SHAPE, 2), draw_knee({**worst, "side": "left"}, SHAPE, 2)
    assert np.array_equal(left.image, right.image[::-1])
    assert np.array_equal(left.labels, right.labels[::-1])
    assert np.array_equal(left.lesions, right.lesions[::-1])


def test_medial_is_towards_the_left_in_a_right_knee(subjects):
    knee = draw_knee(subjects.iloc[0].to_dict(), FINE, 0)
    where = {label: np.argwhere(knee.labels == label).mean(0) for label in range(1, 6)}
    assert where[4][0] < where[5][0]  # medial, lateral tibial cartilage
    assert where[1][2] > where[2][2] > where[3][2]  # femur over its cartilage over the tibia
    patella, fibula = (np.argwhere(knee.tissues == code).mean(0) for code in (6, 8))
    assert patella[1] > where[1][1]  # in front
    assert fibula[0] > where[3][0]  # lateral
    assert fibula[1] < where[3][1]  # and behind


def test_tissues_and_labels_agree_and_all_are_there(worst):
    knee = draw_knee(worst, FINE, 0)
    # The brightest voxels of OAIZIB-CM reach about 460; gain varies by 10% here too.
    assert 200 < np.percentile(knee.image, 99.99) < 550
    grey = [np.median(knee.image[knee.tissues == code]) for code in (2, 11, 9)]
    assert grey[1] / grey[0] == pytest.approx(0.9, abs=0.12)  # muscle to cartilage
    assert grey[2] / grey[0] == pytest.approx(0.5, abs=0.12)  # meniscus to cartilage
    assert set(np.unique(knee.tissues)) == set(range(15))
    five = knee.tissues <= 5
    assert np.array_equal(knee.labels, np.where(five, knee.tissues, 0))


def test_voxels_show_the_thickness_and_joint_space_of_the_row(measured, subjects):
    columns = [f"thickness_{plate}_mm" for plate in PLATES]
    columns += [f"joint_space_{side}_mm" for side in ("medial", "lateral")]
    for column in columns:
        miss = measured[column] - subjects[column]
        # A millimetre voxel; single knees of known shape measure to .1 to .2 mm.
        assert abs(miss.mean()) < 0.15, column
        assert miss.abs().mean() < 0.25, column
        assert measured[column].corr(subjects[column]) > 0.95, column


def test_denuded_bone_from_kl_3_on_and_not_before(measured, subjects):
    bare = measured["denuded_femur_medial"].groupby(subjects["kl_true"]).mean()
    # 0, .2, 1.9, 12.5 and 42% in OAI knees; the standard error of eight knees is .04 to .12.
    assert bare[[0, 1, 2]].max() < 0.01
    assert bare[3] == pytest.approx(0.125, abs=0.1)
    assert bare[4] == pytest.approx(0.42, abs=0.25)
    early = subjects["kl_true"] <= 2
    assert (measured.loc[early, "denuded_tibia_mm2"] == 0).all()
    assert (measured.loc[early, "denuded_femur_mm2"] == 0).all()


def test_osteophytes_are_as_large_as_their_grades(measured, subjects):
    for site in ("fl", "fm", "tl", "tm"):
        volume = measured[f"osteophyte_{site}_mm3"]
        grade = subjects[f"osteophyte_{site}"]
        assert (volume[grade == 0] == 0).all()
        by_grade = volume.groupby(grade).mean()
        assert by_grade.is_monotonic_increasing, site


def test_signal_follows_the_facts(measured):
    # Means over OAIZIB-CM; three standard errors of forty knees are .2 of the first.
    for column, fact, tolerance in (
        ("contrast_femoral_cartilage_to_femur", 4.3, 0.2),
        ("contrast_tibia_to_femur", 1.06, 0.04),
        ("contrast_medial_cartilage_to_femoral_cartilage", 0.86, 0.04),
        ("signal_femur", 42.5, 2.5),
        ("signal_femoral_cartilage", 181.9, 12),
    ):
        assert measured[column].mean() == pytest.approx(fact, abs=tolerance), column
    for side in ("medial", "lateral"):  # 3.6 to 4.0 in OAIZIB-CM
        contrast = measured[f"contrast_{side}_cartilage_to_tibia"].mean()
        assert 3.6 - 0.2 < contrast < 4.0 + 0.2
    femoral = measured["contrast_femoral_cartilage_to_femur"]
    assert femoral.between(2.98, 5.81).mean() > 0.95  # the range seen in OAIZIB-CM
    # Standard deviations over knees: 6.1 and 19.5 grey values.
    assert measured["signal_femur"].std() == pytest.approx(6.1, abs=2)
    assert measured["signal_femoral_cartilage"].std() == pytest.approx(19.5, abs=10)


def test_sizes_follow_the_facts(measured, subjects):
    for column, mean, deviation in (
        ("femur_width_mm", 83, 6),
        ("femur_depth_mm", 66, 4.5),
        ("tibia_width_mm", 80, 6),
        ("tibia_depth_mm", 57, 4.4),
        ("femoral_cartilage_cm3", 15.1, 3.2),
        ("medial_cartilage_cm3", 2.09, 0.5),
        ("lateral_cartilage_cm3", 2.4, 0.67),
    ):
        # Means over 507 knees; within .7 of their standard deviation, as the grades, a fifth
        # each here, are not OAIZIB-CM's.
        assert measured[column].mean() == pytest.approx(mean, abs=0.7 * deviation), column
        assert measured[column].std() < 2 * deviation, column
    male = subjects["sex"] == "male"
    early = subjects["kl_true"] <= 2  # before osteophytes widen the bones
    for column, men, women, tolerance in (
        ("femur_width_mm", 88.6, 78.5, 3.5),
        ("femoral_cartilage_cm3", 17.3, 12.8, 2.0),
    ):
        assert measured.loc[male & early, column].mean() == pytest.approx(men, abs=tolerance)
        assert measured.loc[~male & early, column].mean() == pytest.approx(women, abs=tolerance)
    # 19.6 cm3 in 2195 cm3 of image: .89%, and .78% of femoral and medial tibial alone.
    assert measured["cartilage_share"].mean() == pytest.approx(0.0089, abs=0.0015)
    assert measured["cartilage_share_2_4"].mean() == pytest.approx(0.0078, abs=0.0015)


def test_lesions_lie_where_the_row_puts_them(worst):
    knee = draw_knee(worst, FINE, 1)
    x = np.argwhere(knee.lesions == LESIONS.index("cartilage lost down to bone"))[:, 0]
    middle = np.argwhere(knee.labels == 3)[:, 0].mean()
    assert len(x) > 50
    assert (x < middle).mean() > 0.95  # medial
    bone = np.isin(knee.labels, (1, 3))
    for code in (1, 2, 3, 4, 7):
        assert bone[knee.lesions == code].all()
    for code, side in ((1, 1), (2, -1), (3, 1), (4, -1)):
        x = np.argwhere(knee.lesions == code)[:, 0]
        site = ("fl", "fm", "tl", "tm")[code - 1]
        assert (len(x) > 0) == (worst[f"osteophyte_{site}"] > 0)
        assert ((x - middle) * side > 0).mean() > 0.9 if len(x) else True
    assert (knee.labels[knee.lesions == 6] != 2).mean() > 0.5  # thinned: fluid where it was


def test_a_healthy_knee_has_no_lesion(subjects):
    row = subjects[subjects["kl_true"] == 0].iloc[0].to_dict()
    row |= {f"marrow_lesion_{plate}_mm": 0.0 for plate in PLATES}
    assert not draw_knee(row, FINE, 1).lesions.any()


@pytest.mark.parametrize("lost", [0.05, 0.2, 0.44, 0.7, 0.86, 0.95, 0.999, 1.0])
def test_a_defect_takes_the_share_of_the_bearing_area_that_it_is_asked_to(lost):
    depth = _depth_of(lost)
    # Monte-Carlo over the ellipse, where p^2 + q^2 is uniform on 0 to 1.
    r2 = np.random.default_rng(0).random(400_000)
    taken = np.minimum(depth * np.exp(-2.5 * r2), 1)
    assert taken.mean() == pytest.approx(lost, abs=0.004)


def test_noise_is_rician():
    # Far from zero a Rician is a normal of the same width; at zero it is a Rayleigh.
    shape = (8, 100, 100)
    noise = torch.randn((2, *shape), generator=torch.Generator().manual_seed(0))
    scanner = Scanner(FEMUR, 1.0, (0.0,) * 6, (1.0, 0.0, 1.0, 0.0, 0.0), 1.0, 1.0, (0.0, 1, 0.3))
    for signal, mean, deviation in (
        (4.0, 4 * FEMUR + NOISE**2 / (8 * FEMUR), NOISE),
        (0.0, NOISE * np.sqrt(np.pi / 2), NOISE * np.sqrt(2 - np.pi / 2)),
    ):
        image = acquire(torch.full(shape, signal), scanner, torch.ones(1), (0.36, 0.36), noise)
        grey = image.numpy().astype(float)
        assert grey.mean() == pytest.approx(mean, abs=0.15)
        assert grey.std() == pytest.approx(deviation, abs=0.15)


def test_point_spread_keeps_the_sum_and_ghosts_add_to_it():
    dot = torch.zeros(1, 41, 41)
    dot[0, 20, 20] = 100.0
    still = Scanner(FEMUR, 1.0, (0.0,) * 6, (1.0, 0.0, 1.0, 0.0, 0.0), 1.0, 1.0, (0.0, 1, 0.25))
    moved = Scanner(FEMUR, 1.0, (0.0,) * 6, (1.0, 0.0, 1.0, 0.0, 0.0), 1.0, 1.0, (0.05, 1, 0.25))
    quiet = torch.zeros(2, 1, 41, 41)
    image = acquire(dot, still, torch.ones(1), (0.3646, 0.3646), quiet).numpy()
    assert image.sum() == pytest.approx(100 * FEMUR, rel=0.01)
    assert 0 < image[0, 20, 21] < image[0, 20, 20]
    variance = image[0, 20] @ (np.arange(41) - 20) ** 2 / image[0, 20].sum() * 0.3646**2
    assert np.sqrt(variance) == pytest.approx(0.25, abs=0.01)
    ghost = acquire(dot, moved, torch.ones(1), (0.3646, 0.3646), quiet).numpy()
    assert ghost[0, 30, 20] == pytest.approx(0.05 * image[0, 20, 20], abs=1)
