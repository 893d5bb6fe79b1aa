"""What becomes of attenuation: closed forms where all faults are off, and each fault alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from oacore.instruments.radiographs.film import Film, draw_film, expose

SIDE, PIXEL = 160, 0.5
PLACES = torch.from_numpy(((SIDE - 1) / 2 - np.arange(SIDE)) * PIXEL).float()
U, V = PLACES[None, :], PLACES[:, None]
RAMP = torch.linspace(3.0, 4.0, SIDE).expand(SIDE, SIDE).contiguous()
NOTHING = torch.zeros(SIDE, SIDE)
CLEAN = Film(
    photons=1e9, scatter=0.0, blur=0.01, texture=0.0, sharpen=0.0, flatten=0.0, grey=128.0,
    contrast=60.0, diaphragm=None, metal=(),
)  # fmt: skip


def shot(film, attenuation=RAMP, sponge=NOTHING, seed=0):
    return expose(attenuation, sponge, U, V, film, np.random.default_rng(seed)).astype(float)


def test_grey_is_linear_in_attenuation():
    picture = shot(CLEAN)
    middle = RAMP[0, SIDE // 6 : -(SIDE // 6)].numpy()
    low, high = np.quantile(middle, [0.05, 0.95])
    expected = 128 + 60 * (RAMP[0].numpy() - np.median(middle)) / (high - low)
    assert np.abs(picture - expected).max() < 1.3  # rounding, and quantiles of a sample


def spread(film):
    """Standard deviation about the ramp, in units of attenuation."""
    picture = shot(film)
    slope = np.polyfit(np.arange(SIDE), picture.mean(0), 1)
    rest = picture - np.polyval(slope, np.arange(SIDE))
    return rest[:, 40:-40].std() / (slope[0] / (1 / (SIDE - 1)))


def test_noise_is_that_of_counted_photons():
    """Behind the middle, n photons a pixel make a noise of 1 / sqrt(n) in the logarithm."""
    for photons in (2000.0, 8000.0):
        expected = 1 / np.sqrt(photons * PIXEL**2)
        assert spread(replace(CLEAN, photons=photons)) == pytest.approx(expected, rel=0.06)


def test_scatter_takes_contrast_from_what_is_small():
    attenuation = RAMP.clone()
    attenuation[70:90, 70:90] += 0.3

    def depth(scatter):
        picture = shot(replace(CLEAN, scatter=scatter), attenuation)
        rise = picture[:40, 150].mean() - picture[:40, 10].mean()
        return (picture[75:85, 75:85].mean() - picture[20:40, 75:85].mean()) / rise

    # A square of 10 mm and a ramp of 80: scatter, blurred by 18 mm, follows the ramp alone.
    assert depth(0.0) == pytest.approx(0.3 * 159 / 140, rel=0.1)
    assert depth(0.4) < 0.97 * depth(0.0)


def test_blur_widens_an_edge():
    step = torch.where(U > 0, 3.0, 3.5).expand(SIDE, SIDE).contiguous()
    steepest = [
        np.abs(np.diff(shot(replace(CLEAN, blur=sd), step)[80])).max() for sd in (0.01, 0.6)
    ]
    # A step blurred by 0.6 mm rises by pixel / (sqrt(2 pi) 0.6) of itself from pixel to pixel.
    whole = steepest[0]
    assert steepest[1] / whole == pytest.approx(PIXEL / (np.sqrt(2 * np.pi) * 0.6), rel=0.12)


def test_struts_run_up_and_down():
    sponge = torch.full((SIDE, SIDE), 60.0)
    picture = shot(replace(CLEAN, texture=0.02), sponge=sponge)
    picture = picture - picture.mean(0)
    across, down = (np.diff(picture, axis=axis) ** 2 for axis in (1, 0))
    assert across.mean() > 2 * down.mean()
    assert np.array_equal(shot(replace(CLEAN, texture=0.02)), shot(CLEAN))  # none without sponge


def test_beyond_the_diaphragm_there_is_nothing():
    for beyond in (0.0, 1.0):
        picture = shot(replace(CLEAN, diaphragm=(0.0, 0.8, beyond)))
        assert (picture[:, :15] == 255 * beyond).all()  # u points left
        assert np.array_equal(picture[:, 20:], shot(CLEAN)[:, 20:])


def test_metal_is_brightest_and_where_it_is_said_to_be():
    picture = shot(replace(CLEAN, metal=((20.0, 10.0, -20.0, 10.0, 1.5),)))
    rows, columns = np.nonzero(picture > 240)
    assert np.abs(V.numpy()[rows, 0] - 10).max() < 1.8
    assert np.abs(U.numpy()[0, columns]).max() < 22
    assert len(rows) > 0.8 * 40 * 3 / PIXEL**2 * 0.7


def test_drawn_films_differ_and_few_have_metal_or_an_edge():
    rng = np.random.default_rng(1)
    films = [draw_film(rng) for _ in range(2000)]
    assert 0.01 < np.mean([len(film.metal) > 0 for film in films]) < 0.03
    assert 0.045 < np.mean([film.diaphragm is not None for film in films]) < 0.075
    assert all(0 < film.scatter < 1 for film in films)
    assert len({film.grey for film in films}) == len(films)
