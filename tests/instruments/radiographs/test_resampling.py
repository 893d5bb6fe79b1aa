"""Pictures and landmarks in another size: against brute force, and by hand."""

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.instruments.radiographs.cases import read_radiographs
from oacore.instruments.radiographs.pictures import correlation_with_mean_knee
from oacore.instruments.radiographs.resampling import mirror, resample
from oacore.instruments.radiographs.words import POINTS
from tests.instruments.radiographs import against, sets


@pytest.mark.parametrize("size", [(80, 112), (224, 224), (320, 320), (37, 301), (1, 1)])
def test_each_pixel_is_the_mean_of_its_area(size):
    picture = np.random.default_rng(0).integers(0, 256, (224, 200)).astype(np.uint8)
    against.same_pictures(resample(picture, *size), against.area_mean(picture, *size))
    middle = resample(picture, *size, crop=(0.5, 0.8))
    against.same_pictures(middle, against.area_mean(picture[56:168, 20:180], *size))


def test_halves_are_rounded_up_and_the_same_size_is_the_same_picture():
    picture = np.array([[1, 2], [2, 1]], np.uint8)
    assert resample(picture, 1, 1).tolist() == [[2]]
    picture = np.random.default_rng(0).integers(0, 256, (31, 17)).astype(np.uint8)
    assert (resample(picture, 31, 17) == picture).all()
    assert (resample(picture[:, ::-1], 10, 9) == resample(picture, 10, 9)[:, ::-1]).all()


@pytest.mark.parametrize(
    ("size", "crop"), [((0, 5), (1, 1)), ((5, 5), (0, 1)), ((5, 5), (1, 1.1)), ((5, 5), (1e-9, 1))]
)
def test_sizes_that_cannot_be_are_refused(size, crop):
    with pytest.raises(InputError, match="shares above 0|keep more"):
        resample(np.zeros((8, 8), np.uint8), *size, crop)


@pytest.mark.parametrize("side", ["R", "left"])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(
    ("size", "crop"),
    [((672, 448), (1, 1)), ((480, 672), (160 / 224, 1)), ((224, 168), (0.5, 0.75))],
)
def test_a_landmark_stays_on_its_bright_pixel(side, inverted, size, crop, tmp_path):
    """In whole multiples of the old size a pixel's light is centred where its landmark is."""
    row, column = 101, 57
    rows = sets.own_table(1).assign(side=side)
    found = []
    for name, light in (("dark", 0), ("bright", 200)):
        pixels = np.minimum(sets.knee(3), 55)  # dark enough to be lit further
        assert correlation_with_mean_knee(pixels) > 0.3
        pixels = pixels[:, ::-1].copy() if side == "left" else pixels.copy()
        pixels[row, column] += light
        pixels = 255 - pixels if inverted else pixels
        folder = sets.write_own(tmp_path / name, rows, {"knee_0": pixels})
        points = {f"{point}{axis}": [place] for point in POINTS
                  for axis, place in (("x", column), ("y", row))}  # fmt: skip
        pd.DataFrame({"case": "knee_0", **points}).to_csv(folder / "landmarks.csv", index=False)
        found.append(read_radiographs(folder, height=size[0], width=size[1], crop=crop))
    dark, bright = found
    light = bright.pictures[0].astype(float) - dark.pictures[0]
    y, x = (light.sum(axis) @ np.arange(light.shape[1 - axis]) for axis in (1, 0))
    centre = np.array([x, y]) / light.sum()
    assert np.abs(bright.landmarks[0] - centre).max() < 1e-4
    # By hand: the middle of the pixel, from the crop's edge, in new pixels.
    from_left = 223 - column if side == "left" else column
    cut = (224 - 224 * np.array(crop)) / 2
    scale = np.array(size) / (224 - 2 * cut)
    wanted = (from_left + 0.5 - cut[1]) * scale[1] - 0.5, (row + 0.5 - cut[0]) * scale[0] - 0.5
    np.testing.assert_allclose(bright.landmarks[0, 0], wanted, atol=1e-4)


def test_mirroring_twice_is_nothing_and_once_is_numpys():
    points = np.random.default_rng(0).integers(0, 9, (5, 2)).astype(float)
    np.testing.assert_array_equal(mirror(mirror(points, 9), 9), points)
    line = np.arange(9)[::-1]
    assert (line[mirror(points, 9)[:, 0].astype(int)] == points[:, 0]).all()
