"""The detector on pictures whose landmarks are known, its places and its errors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from oacore.errors import InputError
from oacore.instruments.radiographs.detector import (
    detect,
    fit_detector,
    landmark_errors,
    read_detector,
    reduced,
    save_detector,
)


def spots(n, height=40, width=56, seed=0):
    """Pictures of three spots of different brightness and size, and where they are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    shift = rng.uniform(-5, 5, (n, 1, 2))
    points = np.array([[14, 14], [40, 12], [28, 28]]) + shift + rng.uniform(-2, 2, (n, 3, 2))
    images = np.zeros((n, height, width))
    for spot, (bright, size) in enumerate([(220, 3), (140, 4), (180, 2)]):
        away = (x - points[:, spot, 0, None, None]) ** 2 + (y - points[:, spot, 1, None, None]) ** 2
        images += bright * np.exp(-away / (2 * size**2))
    images += rng.normal(20, 4, images.shape)
    return images.clip(0, 255).astype(np.uint8), points.astype(np.float32)


@pytest.fixture(scope="module")
def trained():
    return fit_detector(*spots(96), epochs=12, seed=0)


def test_it_finds_the_spots_of_other_pictures(trained):
    images, points = spots(40, seed=1)
    found = detect(trained, images)
    assert found.shape == points.shape and found.dtype == np.float32
    guess = np.linalg.norm(points.mean(0) - points, axis=2)
    assert np.median(np.linalg.norm(found - points, axis=2)) < 0.8 < 3 < np.median(guess)


def test_larger_pictures_are_looked_at_smaller_and_told_in_their_own_pixels(trained, monkeypatch):
    images, points = spots(10, seed=2)
    large = np.repeat(np.repeat(images, 3, axis=1), 3, axis=2)
    monkeypatch.setattr("oacore.instruments.radiographs.detector.WIDTH", 56)
    np.testing.assert_allclose(reduced(large), images)
    # A pixel becomes three, whose middle one is in the place of the first.
    np.testing.assert_allclose(detect(trained, large), detect(trained, images) * 3 + 1, atol=1e-3)


def test_pictures_are_reduced_by_means():
    images = np.random.default_rng(0).integers(0, 256, (2, 320, 320), dtype=np.uint8)
    wanted = F.adaptive_avg_pool2d(torch.from_numpy(images).float()[:, None], (112, 112))[:, 0]
    torch.testing.assert_close(reduced(images), wanted)


def test_the_same_seed_gives_the_same_detector():
    images, points = spots(16)
    one, two, other = (fit_detector(images, points, epochs=1, seed=s) for s in (3, 3, 4))
    assert torch.equal(one.last.weight, two.last.weight)
    assert not torch.equal(one.last.weight, other.last.weight)


def test_a_detector_is_kept_whole(trained, tmp_path):
    path = tmp_path / "detector.safetensors"
    save_detector(trained, path)
    images, _ = spots(4)
    np.testing.assert_array_equal(detect(read_detector(path), images), detect(trained, images))
    with pytest.raises(InputError, match="no such file"):
        read_detector(tmp_path / "other.safetensors")


def test_errors_are_distances_in_pixels_and_millimetres():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 50, (6, 4, 2))
    found = points + rng.normal(size=points.shape)
    points[5] = np.nan
    mm = np.tile([0.5, 0.25], (6, 1))
    table = landmark_errors(found, points, mm).set_index("landmark")
    apart = found[:5] - points[:5]
    assert table.loc["all", "median_px"] == pytest.approx(np.median(np.hypot(*apart.T)))
    in_mm = np.hypot(apart[..., 0] / 2, apart[..., 1] / 4)
    assert table.loc[2, "p90_mm"] == pytest.approx(np.quantile(in_mm[:, 2], 0.9))
    assert (table["n"] == 5).all() and len(table) == 5


def test_what_cannot_be_learned_from_is_refused():
    images, points = spots(3)
    with pytest.raises(InputError, match="no training picture"):
        fit_detector(images[:0], points[:0], epochs=1, seed=0)
    points[1, 0] = np.nan
    with pytest.raises(InputError, match="missing"):
        fit_detector(images, points, epochs=1, seed=0)
