"""What chapter 2 draws: sections, masks, one person's grades, an image in steps, two joints."""

import numpy as np
import pytest

from oacore.instruments.phantom.figures import bone_outlines
from oacore.instruments.phantom.image import LESIONS, NOISE, TISSUES
from oacore.instruments.phantom.knee import draw_knee
from oacore.instruments.phantom.pictures import (
    BLOCK,
    frontal_sections,
    image_in_steps,
    joints,
    lesion_masks,
    one_person,
    tissue_masks,
)
from oacore.instruments.phantom.subjects import sample_subjects
from oacore.names import PLANES


@pytest.fixture(scope="module")
def knees():
    return sample_subjects([12, 8, 14, 16, 10], [5] * 5, seed=1)


def test_the_mean_sections_are_as_wide_as_the_mean_knee_and_apart():
    x, z = np.arange(-60.0, 60.5, 0.5), np.arange(-40.0, 40.5, 0.5)
    femur, tibia = frontal_sections({"mean": 0}, x, z)["mean"]
    widths = [np.ptp(x[(bone < 0).any(axis=1)]) for bone in (femur, tibia)]
    assert widths == pytest.approx([83.7, 76], abs=4)  # the template's, at its widest
    assert not ((femur < 0) & (tibia < 0)).any()
    assert z[np.nonzero(femur < 0)[1]].mean() > 0 > z[np.nonzero(tibia < 0)[1]].mean()


def test_outlines_and_coronal_slices_have_medial_on_the_same_side(knees):
    x, z = np.arange(-60.0, 61.0), np.arange(-40.0, 41.0)
    drawn = bone_outlines(frontal_sections({"mean": 0}, x, z), x, z)
    assert drawn.layout.xaxis.autorange == "reversed"  # so high x, lateral, is on the left
    coronal = next(plane for plane in PLANES.values() if plane.axis == 1)
    assert coronal.across == 0 and coronal.edges[0] == "R"  # high x of a right knee: lateral
    labels = draw_knee(knees.iloc[0], (32, 40, 40), seed=1).labels
    medial, lateral = (np.nonzero(labels == label)[0].mean() for label in (4, 5))
    assert medial < lateral


def test_the_first_mode_bends_to_both_sides_of_the_mean():
    x, z = np.arange(-60.0, 61.0), np.arange(-40.0, 41.0)
    found = frontal_sections({"less": -2, "mean": 0, "more": 2}, x, z)
    less, mean, more = (np.array(found[name]) for name in ("less", "mean", "more"))
    near = np.abs(mean) < 5
    assert np.corrcoef((less - mean)[near], (more - mean)[near])[0, 1] < -0.8


def test_each_tissue_lies_in_one_mask_and_cartilage_holds_the_cohorts_labels(knees):
    drawn = draw_knee(knees.iloc[0], (24, 48, 48), seed=0)
    masks = tissue_masks(drawn.tissues)
    assert np.max(np.sum(list(masks.values()), axis=0)) == 1
    assert masks["cartilage"][np.isin(drawn.labels, (2, 4, 5))].all()
    assert masks["bone"][np.isin(drawn.labels, (1, 3))].all()
    left = np.unique(drawn.tissues[~np.any(list(masks.values()), axis=0)])
    assert {TISSUES[code] for code in left} == {"background", "fat and skin"}


def test_osteophytes_of_all_margins_are_one_kind():
    codes = np.arange(len(LESIONS), dtype=np.uint8)
    masks = lesion_masks(codes)
    assert {name: list(np.flatnonzero(mask)) for name, mask in masks.items()} == {
        "cartilage lost down to bone": [5],
        "cartilage thinned": [6],
        "marrow lesion": [7],
        "osteophyte": [1, 2, 3, 4],
    }


def test_one_person_keeps_the_size_and_gets_the_disease(knees):
    stages = one_person(knees, (2, 3, 4))
    assert list(stages) == ["KL 0", "KL 2", "KL 3", "KL 4"]
    assert [stage["kl_true"] for stage in stages.values()] == [0, 2, 3, 4]
    for name in ("size", "sex", "side", "shape_1"):
        assert len({stage[name] for stage in stages.values()}) == 1
    narrowing = [stage["joint_space_medial_mm"] for stage in stages.values()]
    assert narrowing[3] < narrowing[2] < narrowing[0]


def test_each_step_adds_what_it_says(knees):
    steps = image_in_steps(knees.iloc[0], seed=3)
    assert all(step.shape == BLOCK for step in steps.values())
    sharp, partial, ghost, noisy = steps.values()
    jumps = [
        np.abs(np.diff(one.astype(float), axis=1)).max() / one.std() for one in (sharp, partial)
    ]
    assert jumps[1] < jumps[0], "voxels at an edge hold shares of two tissues"
    up = np.linspace(-1, 1, BLOCK[2])
    brighter = (ghost.astype(float) / np.maximum(partial, 1)).mean(axis=(0, 1))
    assert np.corrcoef(up, brighter)[0, 1] > 0.9, "the coil shines from above"
    bright = ghost > 10 * NOISE  # where Rice's distribution is a normal one
    added = noisy[bright].astype(float) - ghost[bright]
    assert added.std() == pytest.approx(NOISE, rel=0.05)
    assert added.mean() == pytest.approx(0, abs=0.5)


def test_boxes_hold_the_same_place_of_each_joint():
    first = np.zeros((30, 30, 30), np.uint8)
    first[12:17, 10:15, 14] = 4
    labels = {"one": first, "other": np.roll(first, (3, -2, 4), axis=(0, 1, 2))}
    boxes = joints(labels, (10, 12, 8))
    inside = {name: labels[name][box] for name, box in boxes.items()}
    assert inside["one"].shape == (10, 12, 8)
    np.testing.assert_array_equal(inside["one"], inside["other"])
    assert (inside["one"] == 4).sum() == (first == 4).sum()


def test_a_box_stays_inside_a_knee_whose_joint_is_near_the_edge():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[1, 1, 18] = 5
    (box,) = joints({"only": labels}, (8, 8, 8)).values()
    assert [(one.start, one.stop) for one in box] == [(0, 8), (0, 8), (12, 20)]
