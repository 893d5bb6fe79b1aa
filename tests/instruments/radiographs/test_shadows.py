"""Rays through bodies whose lengths are known, and what a knee's shadows measure."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from oacore.instruments.phantom.bones import BENDING
from oacore.instruments.radiographs.shadows import (
    HIGHEST,
    SOURCE,
    View,
    cast,
    crossing,
    draw_view,
)

CENTRE, RADIUS, SHELL, LAYER = (12.0, 3.0, -32.0), 14.0, 2.0, 5.0
PIXEL = 0.5
PLACES = (np.arange(200)[::-1] - 99.5) * PIXEL


def ball_for_a_tibia():
    """A body with the bones' interface: a ball well below the spines, which stay."""
    x0, y0, z0 = CENTRE
    n = int(BENDING) + 1
    return SimpleNamespace(
        size=1.0,
        bending={"tibia": torch.zeros(1, 2, n, n)},
        smooth=lambda _, x, y, z: ((x - x0) ** 2 + (y - y0) ** 2 + (z - z0) ** 2).sqrt() - RADIUS,
        whole=lambda _, x, y, z, distance: distance,
    )


def chord(radius, u, v):
    """Length of a ray in the ball, by the distance of the ray from its centre in space."""
    source = np.array([0.0, -SOURCE, 0.0])
    ray = np.stack([u, np.zeros_like(u), v], axis=-1) - source
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    to_centre = np.array(CENTRE) - source
    along = ray @ to_centre
    off = np.sum(to_centre**2) - along**2
    return 2 * np.sqrt(np.clip(radius**2 - off, 0, None))


def test_lengths_in_a_ball_are_its_chords():
    view = View(0.0, np.eye(3), np.zeros((3, 2)))
    shells = (torch.full((200, 200), SHELL), LAYER)
    shadow = cast("tibia", ball_for_a_tibia(), view, PLACES, PLACES, shells)
    assert shadow.v.max() <= HIGHEST and shadow.v.min() == PLACES.min()
    below = shadow.v < -14  # above are the spines
    u, v = np.meshgrid(shadow.u, shadow.v[below])
    for length, depth in zip(shadow.lengths, (0, SHELL, SHELL + LAYER), strict=True):
        error = length.numpy()[below] - chord(RADIUS - depth, u, v)
        # A chord rises steeply at a ball's rim, where the least error of place counts most.
        inside = chord(RADIUS - depth, u, v) > 8
        assert np.abs(error).mean() < 0.05 and np.abs(error).max() < 3.0
        assert np.abs(error[inside]).max() < 0.35  # steps of 2.5 mm cut a ball short
        assert length.numpy()[below].max() == pytest.approx(2 * (RADIUS - depth), abs=0.15)


def test_the_beam_diverges():
    """A ball nearer to the detector throws the larger shadow."""
    reach = {}
    for depth in (-20.0, 20.0):
        ball = ball_for_a_tibia()
        ball.smooth = lambda _, x, y, z, at=depth: (
            ((x - 30) ** 2 + (y - at) ** 2 + (z + 32) ** 2).sqrt() - 8.0
        )
        shells = (torch.ones(200, 200), 1.0)
        view = View(0.0, np.eye(3), np.zeros((3, 2)))
        shadow = cast("tibia", ball, view, PLACES, PLACES, shells)
        row = np.abs(shadow.v + 32).argmin()
        # Outermost, between two pixels, where the distance along the ray passes zero.
        inside = shadow.nearest[row] < 0
        first = inside.argmax()
        reach[depth] = shadow.u[first] - shadow.nearest[row, first]
    # Similar triangles: (30 + 8) (1 - 20 / SOURCE) against (30 + 8) (1 + ...), about.
    assert reach[-20.0] - reach[20.0] == pytest.approx(38 * 40 / SOURCE, abs=0.2)


def test_crossings_of_a_line_lie_on_it():
    v = np.arange(-10.0, 10.0, 0.7)
    slope = np.linspace(-4, 4, 9)
    below = v[:, None] - slope[None, :]  # bone under a sloping line
    np.testing.assert_allclose(crossing(below, v, last=True), slope, atol=1e-12)
    np.testing.assert_allclose(crossing(-below, v, last=False), slope, atol=1e-12)
    assert np.isnan(crossing(np.ones((5, 3)), np.arange(5.0), last=True)).all()


def test_views_vary_and_turn_without_stretching():
    rng = np.random.default_rng(0)
    views = [draw_view(rng) for _ in range(300)]
    turns = np.stack([view.turn for view in views])
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.eye(3)[None].repeat(300, 0),
                               atol=1e-12)  # fmt: skip
    flexion = np.array([view.flexion for view in views])
    assert 10 < flexion.mean() < 14 and 3 < flexion.std() < 5
