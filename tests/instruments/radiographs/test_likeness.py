"""Figures of two sets: on pictures whose answer is known, and on real radiographs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem
from sklearn.metrics import roc_auc_score

from oacore.errors import InputError
from oacore.instruments.radiographs.cases import Radiographs, read_radiographs
from oacore.instruments.radiographs.drawn import draw_radiographs
from oacore.instruments.radiographs.framing import as_public
from oacore.instruments.radiographs.likeness import (
    APART,
    gradient_histograms,
    grey_statistics,
    joint_gaps,
    likeness,
)
from oacore.metrics.scores import auc


@pytest.fixture(scope="module")
def drawn():
    counts = ((14, 8, 10, 10, 10), (0,) * 5, (4, 4, 4, 4, 4))
    return draw_radiographs(*counts, seed=7, size=256)


def test_crops_show_the_same_place(drawn):
    crops = as_public(drawn, seed=1)
    assert crops.pictures.shape == (len(drawn.cases), 224, 224)
    width = crops.landmarks[:, 8, 0] - crops.landmarks[:, 0, 0]
    assert width.mean() == pytest.approx(181, abs=3)
    for k in (0, 20, 40):
        for point in (1, 4, 7, 12, 14):  # the same grey where a landmark lies, before and after
            here = crops.landmarks[k, point].round().astype(int)
            was = (here - crops.landmarks[k, 4]) * (
                crops.cases[["mm_per_pixel_x", "mm_per_pixel_y"]].to_numpy()[k]
                / drawn.cases[["mm_per_pixel_x", "mm_per_pixel_y"]].to_numpy()[k]
            ) + drawn.landmarks[k, 4]
            x, y = was.round().astype(int)
            around = drawn.pictures[k, y - 1 : y + 2, x - 1 : x + 2]
            assert around.min() - 1 <= crops.pictures[k, here[1], here[0]] <= around.max() + 1
    same = as_public(drawn, seed=1)
    assert np.array_equal(same.pictures, crops.pictures)


def test_gaps_do_not_depend_on_the_crop(drawn):
    """What a crop scales, its millimetres scale back."""
    before, after = joint_gaps(drawn), joint_gaps(as_public(drawn, seed=2))
    np.testing.assert_allclose(before, after, atol=1e-3)


def test_a_gap_of_two_lines():
    points = np.zeros((1, 16, 2), np.float32)
    points[0, :9, 0] = np.arange(9) * 20
    points[0, :9, 1] = 100
    points[0, 9:, 0] = np.linspace(0, 160, 7)
    points[0, 9:, 1] = [90, 92, 80, 60, 80, 91, 95]
    cases = pd.DataFrame({"mm_per_pixel_x": [0.4], "mm_per_pixel_y": [0.5]})
    gaps = joint_gaps(Radiographs(cases, np.zeros((1, 9, 9), np.uint8), points))
    # Lateral: over t0 to t2 the femur is lowest at f1, x 26.7; medial: at f6, x 160.
    np.testing.assert_allclose(gaps, [[2.5, 4.0]], atol=0.05)
    unknown = Radiographs(cases[[]], np.zeros((1, 9, 9), np.uint8), points)
    assert joint_gaps(unknown).isna().all(axis=None)


def test_grey_statistics_of_known_pictures():
    side = 224
    x = np.arange(side)
    waves = 100 + 40 * np.sin(2 * np.pi * 22 * x / side)
    across = np.broadcast_to(waves, (side, side))
    table = grey_statistics(
        np.stack([across, across.T, np.full((side, side), 77)]).astype(np.uint8)
    )
    bands = [name for name in table if name.startswith("power_")]
    assert table.loc[0, bands].astype(float).idxmax() == "power_16"
    assert table["upright"][0] > 100 and table["upright"][1] < 0.01
    assert table["mean"][2] == 77 and table["sd"][2] == 0
    assert table["sd"][0] == pytest.approx(40 / np.sqrt(2), abs=0.5)


def test_noise_has_no_slope():
    noise = np.random.default_rng(0).normal(128, 20, (8, 224, 224)).clip(0, 255).astype(np.uint8)
    assert abs(grey_statistics(noise)["slope"].mean()) < 0.1


def test_histograms_tell_directions():
    picture = np.zeros((2, 56, 56), np.uint8)
    picture[0] = np.arange(56) * 4  # grey rises to the right
    picture[1] = picture[0].T
    found = gradient_histograms(picture).reshape(2, 4, 8)
    assert (found.argmax(2) == [[0], [4]]).all()
    np.testing.assert_allclose(gradient_histograms(picture // 2), found.reshape(2, -1), atol=0.02)


def test_two_drawn_sets_are_alike_and_noise_is_not(drawn):
    other = as_public(draw_radiographs((10, 8, 8, 8, 8), (0,) * 5, (4,) * 5, seed=8), seed=3)
    table = likeness(drawn, other).set_index(["measure", "group"])
    assert 0.25 < table.loc[("told_apart", "all"), "drawn"] < 0.75
    assert table.loc[("oa_auc", "trained on drawn"), "real"] > 0.6
    assert table.loc[("mean", "mean"), "n_drawn"] == 52
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, other.pictures.shape).astype(np.uint8)
    table = likeness(drawn, replace(other, pictures=noise)).set_index(["measure", "group"])
    assert table.loc[("told_apart", "all"), "drawn"] > 0.99
    with pytest.raises(InputError, match=r"read them as \(224, 224\)"):
        likeness(drawn, drawn)


def test_intervals_are_as_wide_as_theory_says(drawn):
    """Of 52 people, from scipy's standard errors; both knees of a person count as one."""
    crops = as_public(drawn, 0)
    table = likeness(drawn, crops).set_index(["measure", "group"])
    train = (crops.cases["split"] == "train").to_numpy()
    grey = grey_statistics(crops.pictures[train])
    for name in ("mean", "q05", "slope"):
        row = table.loc[(name, "mean")]
        assert row["drawn"] == pytest.approx(grey[name].mean())
        assert table.loc[(name, "sd"), "real"] == pytest.approx(grey[name].std())
        width = 2 * 1.96 * sem(grey[name])
        assert row["drawn_high"] - row["drawn_low"] == pytest.approx(width, rel=0.15)
    for measure in ("oa_auc", "kl_auc"):
        rows = table.loc[measure]
        apart = rows.loc["trained on drawn"] - rows.loc["trained on real"]
        np.testing.assert_allclose(rows.loc[APART, ["drawn", "real"]], apart[["drawn", "real"]])
        assert (rows["drawn_low"].dropna() <= rows["drawn"][rows["drawn_low"].notna()]).all()
    # Every picture twice, of one person: twice the knees, and no more is known than before.
    twice = np.tile(np.arange(len(crops.cases)), 2)
    doubled = Radiographs(
        crops.cases.iloc[twice].reset_index(drop=True), crops.pictures[twice],
        crops.landmarks[twice],
    )  # fmt: skip
    other = likeness(drawn, doubled).set_index(["measure", "group"]).loc[("mean", "mean")]
    assert other["n_real"] == 2 * other["n_drawn"] == 104
    width = other["real_high"] - other["real_low"]
    assert width == pytest.approx(2 * 1.96 * sem(grey["mean"]), rel=0.15)


@pytest.fixture(scope="module")
def real(shared):
    return read_radiographs(shared / "real/radiographs", height=224, width=224)


def test_gaps_of_real_knees_are_those_found_before(real):
    """Smallest medial gap by JSN 0 to 3: 4.94 4.24 2.86 1.03 mm; lateral 5.69 3.99 2.50 1.42."""
    gaps = joint_gaps(real)
    for side, expected, within in (
        ("medial", [4.94, 4.24, 2.86, 1.03], 0.12),
        ("lateral", [5.69, 3.99, 2.50, 1.42], 0.4),  # few lateral knees, and other ones
    ):
        found = gaps[side].groupby(real.cases[f"jsn_{side}"].to_numpy(dtype=int)).mean()
        np.testing.assert_allclose(found, expected, atol=within)


def test_drawn_beside_real(drawn, real):
    table = likeness(drawn, real).set_index(["measure", "group"])
    for jsn in (0, 1, 2, 3):
        row = table.loc[("gap_medial", f"JSN {jsn}")]
        assert abs(row["drawn"] - row["real"]) < 0.8, jsn  # a dozen knees or fewer at JSN 2 and 3
    for name, within in (("mean", 15), ("q50", 15), ("power_8", 0.3), ("power_32", 0.3),
                         ("slope", 0.3)):  # fmt: skip
        row = table.loc[(name, "mean")]
        assert abs(row["drawn"] - row["real"]) < within, name
    # What a network would see: they are told apart, and little is carried over.
    assert table.loc[("told_apart", "all"), "drawn"] > 0.9
    assert table.loc[("oa_auc", "trained on real"), "real"] > 0.75


def test_the_auc_is_the_usual_one(drawn):
    """The figure in the table is scikit-learn's of the same scores."""
    score = gradient_histograms(as_public(drawn, 0).pictures)[:, 0]
    label = drawn.cases["kl"].to_numpy(dtype=int) >= 2
    found = auc(np.ones((1, len(label))), label, score)[0]
    assert found == pytest.approx(roc_auc_score(label, score))
