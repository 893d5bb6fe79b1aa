"""One knee looked at in several ways: against geometry, sums, and counting statistics."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from oacore.instruments.phantom.knee import FIELD_OF_VIEW, draw_knee
from oacore.instruments.radiographs import beam
from oacore.instruments.radiographs.drawing import (
    CORTEX,
    FAT,
    FIELD,
    LEG,
    draw_radiograph,
    draw_stand,
    project,
)
from oacore.instruments.radiographs.film import draw_film
from tests.instruments.radiographs.sets import healthy

SIZE, SEED = 160, 4


@pytest.fixture(scope="module")
def stand_and_film():
    rng = np.random.default_rng(SEED)
    return draw_stand(healthy(), rng), draw_film(rng)


@pytest.fixture(scope="module")
def met(stand_and_film):
    return project(stand_and_film[0], SIZE, FIELD)


@pytest.fixture(scope="module")
def knee():
    return draw_knee(healthy(), (64, 24, 64), SEED)


def test_slices_come_from_their_depths_with_lateral_left_and_top_up(knee):
    found = beam.coronal_slices(knee, {"behind": 0.0, "in front": 1.0}, labels=True)
    tibial = np.isin(knee.labels, (4, 5))
    depths = np.flatnonzero(tibial.any(axis=(0, 2)))
    for name, y in (("behind", depths[0]), ("in front", depths[-1])):
        one = found[name]
        assert one.shape == (64, 64) and set(np.unique(one)) <= {0, 130, 255}
        x, z = np.nonzero(np.isin(knee.labels[:, y], (2, 4, 5)))
        rows, columns = np.nonzero(one == 255)
        assert sorted(zip(63 - z, 63 - x, strict=True)) == sorted(zip(rows, columns, strict=True))
    # Medial cartilage is on the right, femur above tibia.
    y = depths[len(depths) // 2]
    lateral, medial = (np.nonzero((knee.labels[:, y] == code).T[::-1, ::-1])[1] for code in (5, 4))
    assert lateral.max() < medial.min()
    image = beam.coronal_slices(knee, {"middle": 0.5})["middle"]
    assert (
        spearmanr(
            image.ravel(), knee.image[:, round((depths[0] + depths[-1]) / 2)].T[::-1, ::-1].ravel()
        )[0]
        > 0.99
    )


def test_the_middle_of_a_radiograph_is_as_wide_as_a_volume():
    wide = beam.as_wide(np.tile(np.arange(320), (4, 1)))
    assert wide.shape[1] * FIELD / 320 == pytest.approx(FIELD_OF_VIEW[0], abs=FIELD / 320)
    assert wide[0, 0] + wide[0, -1] == 319


def test_a_beam_that_falls_shows_what_is_in_front_further_up(stand_and_film):
    """A point at depth s moves by s sin(tilt); the patella is the only bone far in front."""
    stand, _ = stand_and_film
    rows = []
    for tilt in (0.0, 10.0):
        part = project(beam.tilted(stand, tilt), SIZE, FIELD).parts["patella and fibula"]
        across = slice(SIZE // 3, 2 * SIZE // 3)  # the fibula is beside it
        weight = part[:, across].sum(1).numpy()
        rows.append(weight @ np.arange(SIZE) / weight.sum())
    moved = (rows[0] - rows[1]) * FIELD / SIZE  # up
    depth = float(stand.knee.nature["patella"][1]) * stand.knee.bones.size
    assert moved == pytest.approx(depth * np.sin(np.deg2rad(10)), rel=0.35)
    turned = beam.tilted(beam.tilted(stand, 10), -10)
    np.testing.assert_allclose(turned.view.turn, stand.view.turn, atol=1e-12)


def test_in_its_own_beam_it_is_the_same_knee():
    pictures, landmarks, table = beam.in_tilted_beams(healthy(), SEED, (-8, 0, 8), SIZE)
    drawn = draw_radiograph(healthy(), SEED, SIZE)
    assert pictures.shape == (3, SIZE, SIZE) and pictures.dtype == np.uint8
    np.testing.assert_array_equal(landmarks[1], drawn.landmarks)
    spaces = table.pivot(index="tilt", columns="side", values="space")
    assert spaces.loc[0].to_dict() == drawn.spaces
    for side in ("medial", "lateral"):
        assert drawn.spaces[side] == pytest.approx(healthy()[f"joint_space_{side}_mm"], abs=0.3)
        assert spaces.loc[[-8, 8], side].min() < spaces.loc[0, side] - 0.3
    # The same exposure: beside the leg, where no bone moves, nothing changes but by noise.
    corner = np.s_[:, -20:, :6]
    assert np.abs(np.diff(pictures[corner].astype(int), axis=0)).mean() < 3


def test_losses_add_up_to_what_the_beam_meets(met):
    table = beam.along_rows(met, (0, 25), step=2)
    sums = table.groupby(["height", "across"], sort=False)["attenuation"].sum()
    row = round(float(met.landmarks[[14, 7], 1].mean()))
    np.testing.assert_allclose(sums.loc[0], met.attenuation[row, ::2], rtol=1e-5)
    above = row - round(25 * SIZE / FIELD)
    np.testing.assert_allclose(sums.loc[25], met.attenuation[above, ::2], rtol=1e-5)
    # In the gap nothing but soft tissue, which is no more than a leg of muscle.
    gap = table[(table["height"] == 0) & table["across"].between(-24, -18)]
    means = gap.groupby("part")["attenuation"].mean()
    assert means["femur"] < 0.1 > means["tibia"]
    assert FAT * LEG[1] < means["soft tissue"] < 2.5 * LEG[1] * 0.0255
    shaft = table[table["height"] == 25]
    most = shaft[shaft["part"] == "femur"].groupby("across")["attenuation"].sum().max()
    assert CORTEX < most < CORTEX * 84


def test_each_step_of_a_film_changes_the_picture_and_scatter_takes_contrast(met, stand_and_film):
    film = replace(stand_and_film[1], scatter=0.4, sharpen=0.6)
    steps = beam.film_steps(met, film, seed=1)
    names = list(steps)
    assert len(names) == 4
    x, y = met.landmarks[7].astype(int)

    def edge(picture):  # from the gap into the plateau, by the spread of grey about it
        inside, gap = picture[y + 2 : y + 5, x - 3 : x + 4], picture[y - 4 : y - 2, x - 3 : x + 4]
        return float(inside.mean() - gap.mean())

    assert edge(steps[names[0]]) > 1.2 * edge(steps[names[1]])
    assert edge(steps[names[3]]) > edge(steps[names[2]])
    again = beam.film_steps(met, film, seed=1)
    assert all(np.array_equal(steps[name], again[name]) for name in names)


def test_noise_falls_with_the_root_of_the_photons(met, stand_and_film):
    film = replace(stand_and_film[1], photons=2000.0)
    table = beam.noise_of(met, film, (0.25, 1.0, 4.0))
    assert table["photons"].tolist() == [500, 2000, 8000]
    # Rounding to whole grey values adds a twelfth to the variance.
    bare = np.sqrt(table["noise"] ** 2 - 1 / 12)
    assert bare[0] / bare[1] == pytest.approx(2, rel=0.1)
    assert bare[1] / bare[2] == pytest.approx(2, rel=0.1)


def test_worn_cartilage_is_seen_in_the_volume_alone(knee):
    worn = healthy()
    for bone in ("femur", "tibia"):
        worn[f"thickness_{bone}_medial_mm"] *= 0.1
    other = draw_knee(worn, (64, 24, 64), SEED)
    lost = (knee.labels == 4).sum() - (other.labels == 4).sum()
    assert lost > 0.2 * (knee.labels == 4).sum()
    pictures = [draw_radiograph(row, SEED, SIZE).picture for row in (healthy(), worn)]
    np.testing.assert_array_equal(*pictures)
