"""Drawn radiographs, measured back from their pixels and landmarks."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from oacore.errors import InputError
from oacore.instruments.phantom.grades import SIDES
from oacore.instruments.phantom.subjects import sample_subjects
from oacore.instruments.radiographs.drawing import FIELD, SIZE, draw_radiograph

MM = FIELD / SIZE


@pytest.fixture(scope="module")
def subjects():
    """Eight subjects a grade, without reading errors."""
    return sample_subjects((8,) * 5, (0,) * 5, ungraded=(0, 0), seed=5, reader_noise=0)


@pytest.fixture(scope="module")
def drawn(subjects):
    return [draw_radiograph(row, [5, row["case_id"]]) for row in subjects.to_dict("records")]


@pytest.fixture(scope="module")
def well(subjects):
    """A knee of KL 0."""
    return subjects[subjects["kl_true"] == 0].iloc[0].to_dict()


def test_joint_space_is_what_the_row_says(subjects, drawn):
    spaces = pd.DataFrame([one.spaces for one in drawn])
    for side in SIDES:
        error = spaces[side] - subjects[f"joint_space_{side}_mm"]
        assert error.abs().max() < 0.3
        assert abs(error.mean()) < 0.05


def dark_width(picture, landmarks, femur, tibia):
    """Millimetres between the bright edges of both bones, read off the picture alone.

    In each column near the middle of the compartment: from the steepest fall of grey to the
    steepest rise, in a window about the landmarks; then the narrowest tenth.
    """
    (x, top), (_, bottom) = landmarks[femur], landmarks[tibia]
    low, high = int(top) - 7, int(bottom) + 8
    columns = np.arange(int(x) - 16, int(x) + 17)
    window = picture[low:high, columns].astype(float)
    window = (window[:, :-2] + window[:, 1:-1] + window[:, 2:]) / 3
    slope = np.diff(window, axis=0)
    middle = (len(slope) - 1) // 2
    falls, rises = slope[: middle + 1].argmin(0), middle + slope[middle:].argmax(0)
    return np.quantile(rises - falls, 0.1) * MM


def test_the_picture_shows_that_joint_space(subjects, drawn):
    """Measured on the pixels, with no use of the outlines but to know where to look."""
    for side, femur, tibia in (("medial", 14, 7), ("lateral", 10, 1)):
        seen = [dark_width(one.picture, one.landmarks, femur, tibia) for one in drawn]
        truth = subjects[f"joint_space_{side}_mm"]
        assert spearmanr(seen, truth)[0] > 0.75
        narrow, wide = truth < 2.5, truth > 4.5
        assert np.median(np.array(seen)[wide]) - np.median(np.array(seen)[narrow]) > 1.5


def test_landmarks_lie_in_order(drawn):
    points = np.stack([one.landmarks for one in drawn])
    assert points.dtype == np.float32 and points.shape == (len(drawn), 16, 2)
    assert (points > 0).all() and (points < SIZE - 1).all()
    t, f = points[:, :9], points[:, 9:]
    assert (np.diff(t[..., 0]) > 0).all()  # lateral, on the left, to medial
    assert (np.diff(f[..., 0]) > 0).all()
    for tip in (3, 5):  # tips of the spines are above the valley and above their feet
        assert (t[:, tip, 1] < t[:, 4, 1]).all()
    assert (t[:, 3, 1] < t[:, 2, 1]).all() and (t[:, 5, 1] < t[:, 6, 1]).all()
    for point in (1, 2, 4, 5):  # the notch is the highest point between the condyles
        assert (f[:, 3, 1] < f[:, point, 1]).all()
    # The 748 real knees: t0 to t8 76 mm at KL 0 and 83 at KL 4, spines 10 mm above the plateau.
    width = (t[:, 8, 0] - t[:, 0, 0]) * MM
    assert abs(width[:8].mean() - 76.3) < 6 and abs(width[-8:].mean() - 83) < 7
    height = (t[:, [1, 7], 1].mean(1) - t[:, [3, 5], 1].mean(1)) * MM
    assert abs(height.mean() - 10.9) < 1.5


@pytest.mark.parametrize(("point", "bone"), [(1, 1), (7, 1), (10, -1), (14, -1)])
def test_landmarks_lie_on_the_bones_edge(drawn, point, bone):
    """Grey rises from soft tissue to bone within a pixel of the point, in the mean over knees."""
    reach = 8
    profiles = []
    for one in drawn[:24]:  # KL 0 to 2, where bones do not touch
        x, y = one.landmarks[point]
        rows = y + bone * np.arange(-reach, reach + 1)  # from the gap into the bone
        column = one.picture[:, int(x) - 1 : int(x) + 2].astype(float).mean(1)
        profile = np.interp(rows, np.arange(SIZE), column)
        profiles.append((profile - profile.mean()) / profile.std())
    rise = np.diff(np.mean(profiles, axis=0))
    assert abs(rise.argmax() + 0.5 - reach) <= 1.5
    assert np.mean(profiles, axis=0)[reach + 3] > np.mean(profiles, axis=0)[reach - 3]


@pytest.mark.parametrize(
    ("site", "point", "side"), [("tm", 8, 1), ("tl", 0, -1), ("fm", 15, 1), ("fl", 9, -1)]
)
def test_an_osteophyte_moves_its_corner_outwards(well, site, point, side):
    grown = {**well, f"osteophyte_{site}_mm": 5.5}
    before, after = (draw_radiograph(row, 3).landmarks for row in (well, grown))
    moved = side * (after[:, 0] - before[:, 0]) * MM
    assert moved[point] > 2.0
    opposite = {8: 0, 0: 8, 15: 9, 9: 15}[point]
    assert abs(moved[opposite]) < 0.6


def test_sclerosis_brightens_the_plateau_of_its_side(well):
    def excess(row):
        one = draw_radiograph(row, 8)
        under = []
        for point in (7, 1):
            x, y = one.landmarks[point].astype(int)
            under.append(one.picture[y + 2 : y + 8, x - 6 : x + 7].astype(float).mean())
        return under[0] - under[1]

    assert excess({**well, "sclerosis_medial": 0.9}) > excess({**well, "sclerosis_medial": 0.0}) + 3


def test_the_lateral_side_is_on_the_left(well):
    """Beside the tibia's shaft there is another, the fibula's, on one side alone."""
    uneven = []
    for seed in range(8):
        one = draw_radiograph(well, seed)
        row, middle = (int(at) for at in one.landmarks[4, ::-1] + [52 / MM, 0])
        profile = one.picture[row - 8 : row + 9].astype(float).mean(0)
        for side in (-1, 1):
            part = profile[middle + side * np.arange(int(22 / MM), int(42 / MM))]
            bend = np.polynomial.Polynomial.fit(np.arange(len(part)), part, 2)
            uneven.append(np.std(part - bend(np.arange(len(part)))))
    lateral, medial = np.reshape(uneven, (-1, 2)).T
    assert np.median(lateral / medial) > 1.5


def test_the_same_seed_draws_the_same_picture_in_any_size(well):
    first, again, other = (draw_radiograph(well, seed) for seed in (4, 4, 5))
    assert np.array_equal(first.picture, again.picture)
    assert not np.array_equal(first.picture, other.picture)
    small = draw_radiograph(well, 4, size=160)
    assert small.picture.shape == (160, 160) and small.picture.dtype == np.uint8
    # Pixel centres of the small picture lie between those of the large one. The tips of the
    # spines are flat: they are found to a pixel sideways.
    error = np.abs((small.landmarks + 0.5) * 2 - (first.landmarks + 0.5)) * MM
    assert error[:, 1].max() < 0.8
    assert np.median(error) < 0.25


def test_what_cannot_be_drawn(well):
    with pytest.raises(InputError, match="size is 32; give 64 pixels or more"):
        draw_radiograph(well, 0, size=32)
    with pytest.raises(InputError, match="field is 60; give 110 to 200 mm"):
        draw_radiograph(well, 0, field=60)
