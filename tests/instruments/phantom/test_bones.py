"""The bones, held against the mean knee they were fitted to and against what a row asks for."""

import nibabel as nib
import numpy as np
import pytest
import torch

from oacore.instruments.phantom.bones import (
    SITES,
    Bones,
    draw_waves,
    mean_femur,
    mean_knee,
    mean_tibia,
    smooth_min,
)
from workflow.fit_bones import LIMITS, ORIGIN

STILL = {bone: np.zeros((0, 5)) for bone in ("femur", "tibia")}


def bones(**change):
    """The mean knee's bones, or with something changed."""
    nothing = dict.fromkeys(SITES, 0.0)
    settings = {"size": 1.0, "depth": 1.0, "scores": np.zeros(4), "relief": STILL}
    return Bones(**{**settings, "osteophytes": nothing, "seats": nothing, **change})


def grid(low, high, step):
    """Points of a box in mm."""
    axes = [torch.arange(a, b, step) for a, b in zip(low, high, strict=True)]
    return torch.meshgrid(*axes, indexing="ij")


@pytest.fixture(scope="module")
def template(shared):
    """Labels of the mean of 103 knees, and its points in the bones' frame."""
    path = shared / "real/knee_template/CLAIR-Knee-103R_segmentation_64x128x128.nii.gz"
    image = nib.as_closest_canonical(nib.load(path))
    spacing = image.header.get_zooms()
    axes = [
        torch.tensor((np.arange(n) + 0.5) * h - o, dtype=torch.float32)
        for n, h, o in zip(image.shape, spacing, ORIGIN, strict=True)
    ]
    return np.asarray(image.dataobj), torch.meshgrid(*axes, indexing="ij")


@pytest.mark.parametrize(
    ("bone", "label", "form"), [("femur", 1, mean_femur), ("tibia", 3, mean_tibia)]
)
def test_formulas_fit_the_mean_of_103_knees(template, bone, label, form):
    labels, points = template
    drawn = (form(mean_knee()[bone], *points) < 0).numpy()
    z = points[2].numpy()
    seen = (z > LIMITS[bone][0]) & (z < LIMITS[bone][1])
    real = (labels == label) & seen
    drawn = drawn & seen
    dice = 2 * (drawn & real).sum() / (drawn.sum() + real.sum())
    # A surface .8 mm off all round a bone this size is a Dice of .96.
    assert dice > 0.95


@pytest.mark.parametrize("bone", ["femur", "tibia"])
def test_distances_are_distances_near_the_surface(bone):
    x, y, z = grid((-45, -35, -25), (45, 45, 35), 1.5)
    points = [axis.clone().requires_grad_() for axis in (x, y, z)]
    distance = bones().smooth(bone, *points)
    slope = torch.stack(torch.autograd.grad(distance.sum(), points)).norm(dim=0)
    near = (distance.abs() < 1.5).detach()
    # Partial volume reads a distance off the value, so the slope there must be near one.
    assert slope[near].median().item() == pytest.approx(1, abs=0.1)
    assert (slope[near] < 1.6).float().mean() > 0.97


def test_size_scales_all_lengths():
    x, y, z = grid((-50, -40, -30), (50, 50, 40), 2.0)
    small = bones().smooth("femur", x, y, z)
    large = bones(size=1.1).smooth("femur", 1.1 * x, 1.1 * y, 1.1 * z)
    torch.testing.assert_close(large, 1.1 * small, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("site", SITES)
def test_an_osteophyte_grows_on_its_own_margin_by_what_it_reaches(site):
    x, y, z = grid((-50, -30, -15), (50, 30, 25), 0.5)
    ill = bones(osteophytes={**dict.fromkeys(SITES, 0.0), site: 5.0})
    bone = "femur" if site[0] == "f" else "tibia"
    before = ill.smooth(bone, x, y, z)
    after = ill.whole(bone, x, y, z, before)
    lateral = site[1] == "l"
    side = x > 0 if lateral else x < 0
    reach = {}
    for name, distance in (("before", before), ("after", after)):
        inside = (distance < 0) & side & (z.abs() < 12)
        reach[name] = x[inside].abs().max().item()
    # The grid is half a millimetre, and the surface is raised along its own normal, which is not
    # quite the left-right axis: a quarter of the reach.
    assert reach["after"] - reach["before"] == pytest.approx(5, abs=1.25)
    assert (after <= before).all()
    grown = (after < 0) & (before > 0)
    assert (side[grown]).float().mean() > 0.95
    bearing = ((x.abs() - 22).abs() < 5) & ((y + 5).abs() < 10)
    raised = (before - after)[bearing & (before.abs() < 1)]
    assert raised.max() < 0.3  # at the margin, not where the weight bears


def test_no_osteophyte_no_change():
    x, y, z = grid((-50, -30, -15), (50, 30, 25), 2.0)
    smooth = bones().smooth("tibia", x, y, z)
    assert torch.equal(bones().whole("tibia", x, y, z, smooth), smooth)


def test_first_shape_mode_widens_the_joint_as_the_landmarks_do():
    x, y, z = grid((-50, -5, -8), (50, 5, 12), 0.5)
    widths = {}
    for score in (-3.0, 3.0):
        for bone in ("femur", "tibia"):
            distance = bones(scores=np.array([score, 0, 0, 0])).smooth(bone, x, y, z)
            widths[bone, score] = np.ptp(x[distance < 0].numpy())
    for bone in ("femur", "tibia"):
        assert widths[bone, 3.0] > widths[bone, -3.0] + 1


def test_lift_raises_the_femur_alone():
    x, y, z = grid((-40, -20, -10), (40, 20, 20), 2.0)
    raised = bones(lift=(3.0, 0.0))
    torch.testing.assert_close(
        raised.smooth("femur", x, y, z + 3), bones().smooth("femur", x, y, z)
    )
    assert torch.equal(raised.smooth("tibia", x, y, z), bones().smooth("tibia", x, y, z))


def test_smooth_union_is_a_union_away_from_the_seam():
    a, b = torch.tensor([0.0, 10.0, 1.0]), torch.tensor([10.0, 0.0, 1.0])
    assert smooth_min(a, b, 4.0).tolist() == [0.0, 0.0, 0.0]  # and a fillet of k / 4 at it


def test_waves_have_the_length_and_height_asked_for():
    table = draw_waves(np.random.default_rng(0), 200, 20, 30, 0.4)
    lengths = 2 * np.pi / np.linalg.norm(table[:, :3], axis=1)
    assert table.shape == (200, 5)
    assert 20 <= lengths.min() < 21
    assert 29 < lengths.max() <= 30
    assert (table[:, 4] == 0.4).all()
