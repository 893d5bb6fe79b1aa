"""Modes of bone shape: the committed tables against the real landmarks."""

import re
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import procrustes
from scipy.stats import spearmanr
from sklearn.decomposition import PCA

from oacore.errors import InputError
from workflow.fit_shape import FEMUR, POINTS, TIBIA, align, bone_outlines, fit_shape

DATA = resources.files("oacore.instruments.phantom")


def committed(name):
    with resources.as_file(DATA / name) as path:
        return pd.read_csv(path, comment="#")


@pytest.fixture(scope="module")
def landmarks(shared):
    return pd.read_csv(shared / "real/radiograph_landmarks/landmarks.csv")


@pytest.fixture(scope="module")
def modes():
    return committed("shape_modes.csv").set_index("point")


def outline(modes, x="x_mm", z="z_mm"):
    return modes[x].to_numpy() + 1j * modes[z].to_numpy()


def steps(modes):
    """The four displacements, (4, 32) in mm."""
    columns = [[f"x_{mode}", f"z_{mode}"] for mode in range(1, 5)]
    return np.array([modes[pair].to_numpy().ravel() for pair in columns])


def deviations(landmarks, modes):
    """What each knee differs by from the mean outline, in mm: (knees, 32)."""
    mean, parts = outline(modes), []
    for bone in (TIBIA, FEMUR):
        centre = mean[bone] - mean[bone].mean()
        about, aligned = align(bone_outlines(landmarks)[:, bone])
        # align() leaves the bone as it lay in the radiographs; the table has it turned.
        turn = np.vdot(about, centre) / np.vdot(about, about)
        parts.append(turn * aligned - centre)
    both = np.concatenate(parts, 1)
    return np.stack([both.real, both.imag], -1).reshape(len(both), -1)


@pytest.fixture(scope="module")
def scores(landmarks, modes):
    return np.linalg.lstsq(steps(modes).T, deviations(landmarks, modes).T, rcond=None)[0].T


def test_refit_gives_the_committed_tables_in_any_order_of_rows(landmarks):
    fitted = fit_shape(landmarks.sample(frac=1, random_state=0))
    # One unit of the last digit: sums are rounded, and linear algebra differs by machine.
    pd.testing.assert_frame_equal(fitted.modes, committed("shape_modes.csv"), rtol=0, atol=1.01e-4)
    pd.testing.assert_frame_equal(
        fitted.scores, committed("shape_scores.csv"), rtol=0, atol=1.01e-3
    )
    header = (DATA / "shape_modes.csv").read_text(encoding="utf-8")
    (printed,) = re.findall(r"shares of the variance of shape: (.*)\.\n", header)
    assert [float(share) for share in printed.split(", ")] == pytest.approx(fitted.shares, abs=1e-3)


def test_mean_outline_stands_in_the_frame_that_the_header_names(modes, shared):
    assert list(modes.index) == POINTS
    x, z = modes["x_mm"], modes["z_mm"]
    assert x["T0"] > x["T1"] > x["T2"] > x["T3"] > x["T4"] > x["T5"] > x["T6"] > x["T7"] > x["T8"]
    assert (z["F0":"F6"] > 0).all() and z["T4"] < min(z["T3"], z["T5"]) and z["F3"] == z.max()
    assert x["T3"] + x["T5"] == pytest.approx(0, abs=2e-4)
    plateau = ["T0", "T1", "T2", "T6", "T7", "T8"]
    assert np.polyfit(x[plateau], z[plateau], 1)[0] == pytest.approx(0, abs=2e-5)  # 0.0001 mm in 80
    gaps = z["F1"] - z["T1"], z["F5"] - z["T7"]
    assert gaps[0] == pytest.approx(gaps[1], abs=0.02)
    assert z["F1"] + z["T1"] == pytest.approx(-z["F5"] - z["T7"], abs=2e-4)
    # Widths of the mean over five grades; the table below was made without this code. Its
    # grades count 149 or 150 knees each, which moves a width by less than 0.01 mm.
    by_kl = pd.read_csv(shared / "real/radiograph_landmarks/mean_shape_by_kl.csv")
    mean = by_kl.groupby("point")[["x_mm", "y_mm"]].mean()
    for first, last in (("T0", "T8"), ("F0", "F6")):
        here = np.hypot(x[first] - x[last], z[first] - z[last])
        there = np.hypot(*(mean.loc[first] - mean.loc[last]))
        assert here == pytest.approx(there, abs=0.02)
    # In the radiographs lateral is on the left, and rows go down.
    assert np.corrcoef(x, mean["x_mm"].reindex(POINTS))[0, 1] < -0.99
    assert np.corrcoef(z["F0":"F6"], mean["y_mm"].reindex(POINTS)[9:])[0, 1] < -0.99


@pytest.mark.parametrize("bone", [TIBIA, FEMUR])
def test_place_size_and_rotation_are_taken_out(landmarks, bone):
    points = bone_outlines(landmarks)[:, bone]
    mean, aligned = align(points)
    # Another knee position, angle and magnification for each: the same shapes, but for one common
    # factor (the outlines' mean width).
    draw = np.random.default_rng(0)
    factor = draw.uniform(0.7, 1.4, len(points)) * np.exp(1j * draw.uniform(-0.5, 0.5, len(points)))
    place = 50 * (draw.normal(size=len(points)) + 1j * draw.normal(size=len(points)))
    moved_mean, moved = align(factor[:, None] * points + place[:, None])
    common = moved_mean[0] / mean[0]
    np.testing.assert_allclose(moved / common, aligned, atol=1e-6)
    # scipy's fit of unit-sized outlines leaves sin^2 of the angle between them; ours, tan^2.
    for knee in range(0, len(points), 50):
        ours = (np.abs(aligned[knee] - mean) ** 2).sum() / (np.abs(mean) ** 2).sum()
        pairs = [np.column_stack([p.real, p.imag]) for p in (mean, points[knee])]
        assert procrustes(*pairs)[2] == pytest.approx(ours / (1 + ours), rel=1e-6)


def test_no_mode_moves_turns_or_grows_a_bone(modes):
    for bone in (TIBIA, FEMUR):
        mean = outline(modes)[bone] - outline(modes)[bone].mean()
        for mode in range(1, 5):
            step = outline(modes, f"x_{mode}", f"z_{mode}")[bone]
            assert abs(step.mean()) < 1e-4
            # Real part: growth per SD; imaginary part: turn in radians. Both under 0.0002%.
            assert abs(np.vdot(mean, step) / np.vdot(mean, mean)) < 2e-6


def test_modes_are_orthogonal(modes):
    unit = steps(modes) / np.linalg.norm(steps(modes), axis=1, keepdims=True)
    np.testing.assert_allclose(unit @ unit.T, np.eye(4), atol=2e-4)


def test_four_modes_rebuild_the_outlines_nearly_as_well_as_any_four(landmarks, modes, scores):
    shape = deviations(landmarks, modes)
    left = shape - scores @ steps(modes)
    explained = 1 - (left**2).sum() / ((shape - shape.mean(0)) ** 2).sum()
    best = PCA(4).fit(shape).explained_variance_ratio_.sum()
    # The first axis is chosen for KL, not for variance; it may cost a little.
    assert best - 0.03 < explained <= best + 1e-6
    assert explained == pytest.approx(sum(fit_shape(landmarks).shares), abs=1e-3)
    # Millimetres left at a landmark; a pixel is 0.3 mm, and the outlines vary by 1.3.
    assert np.sqrt((left.reshape(-1, 16, 2) ** 2).sum(-1).mean()) < 0.9


def test_scores_are_standardised_and_centred_as_the_table_says(landmarks, scores):
    kl = landmarks["kl"].to_numpy()
    table = committed("shape_scores.csv").set_index("kl")
    means = np.array([scores[kl == grade].mean(0) for grade in range(5)])
    np.testing.assert_allclose(means - means.mean(0), table.to_numpy(), atol=2e-3)
    residuals = scores - means[kl]
    np.testing.assert_allclose(np.sqrt((residuals**2).sum(0) / (len(kl) - 5)), 1, atol=2e-3)


def test_first_mode_follows_kl_and_the_others_do_not(landmarks, scores):
    kl = landmarks["kl"]
    rho = [spearmanr(score, kl).statistic for score in scores.T]
    assert rho[0] == pytest.approx(0.52, abs=0.02)
    # Their linear relation is nil by construction; ranks add noise of 1/sqrt(748) = 0.037.
    assert np.abs(rho[1:]).max() < 0.075
    table = committed("shape_scores.csv")
    assert (np.diff(table["score_1"][1:]) > 0.3).all()
    assert abs(table["score_1"][1] - table["score_1"][0]) < 0.12  # SE of a difference of two means


def test_the_disease_direction_holds_on_knees_it_was_not_fitted_to(landmarks):
    halves = landmarks[::2], landmarks[1::2]
    for fitted, other in (halves, halves[::-1]):
        modes = fit_shape(fitted).modes.set_index("point")
        found = np.linalg.lstsq(steps(modes).T, deviations(other, modes).T, rcond=None)[0][0]
        # .52 in all; 374 knees have a standard error of .04.
        assert spearmanr(found, other["kl"]).statistic > 0.4


def test_disease_widens_the_margins_and_narrows_the_notch(modes):
    """Known signs of the disease: marginal growth, notch stenosis, spiking of the spines."""
    x = modes["x_1"]
    for bone in ("T0", "F0"):
        assert x[bone] > 0
    for bone in ("T8", "F6"):
        assert x[bone] < 0
    assert modes["z_1"]["F3"] < 0
    assert x["F2"] - x["F4"] < 0 and x["T3"] - x["T5"] < 0


def test_other_tables_are_refused(landmarks):
    with pytest.raises(InputError, match="tibia"):
        fit_shape(landmarks.drop(columns="femur"))
    with pytest.raises(InputError, match="9 tibial and 7 femoral"):
        fit_shape(landmarks.assign(femur="1,2,3,4"))
    with pytest.raises(InputError, match="0 to 4"):
        fit_shape(landmarks[landmarks["kl"] < 4])
