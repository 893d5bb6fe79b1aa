"""Paths of drawn knees through their grades, and what the phantom draws of them."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from oacore.errors import InputError
from oacore.instruments.hierarchy.courses import (
    SIGNS,
    STAGES,
    at_stages,
    continuous,
    draw_paths,
    rows,
)
from oacore.instruments.phantom.grades import dominant_side, kl_from_oarsi, sample_grades
from oacore.instruments.phantom.subjects import draw_traits, sample_subjects

NOBODY = {"test": (0,) * 5, "ungraded": (0, 0)}


@pytest.fixture(scope="module")
def paths():
    return draw_paths(1500, 3)


@pytest.mark.parametrize("seed", [5, 6])
def test_at_the_grades_of_a_drawn_knee_lies_that_knee(seed):
    """KL, severity, places and all that follows are read off the six continuous grades alone."""
    table = sample_subjects((30, 20, 40, 40, 30), **NOBODY, seed=seed)
    streams = list(map(np.random.default_rng, np.random.SeedSequence([seed, 0]).spawn(7)))
    grades = sample_grades(table["kl_true"].to_numpy(), streams[3])
    traits = draw_traits(table["size"].to_numpy(), streams[4], streams[5])
    found = rows(continuous(grades), traits)
    assert len(found.columns) == 36
    pd.testing.assert_frame_equal(found, table[list(found)], check_dtype=False)


def test_along_a_path_nothing_falls_and_each_stage_has_its_grade(paths):
    assert paths.shape == (1500, len(STAGES), 6)
    assert paths.min() == 0 and paths.max() < 4 and (np.diff(paths, axis=1) >= 0).all()
    for kl in range(5):
        table = pd.DataFrame(np.floor(paths[:, kl + 1]).astype(int), columns=SIGNS)
        assert (kl_from_oarsi(table) == kl).all()
    np.testing.assert_array_equal(draw_paths(500, 3), paths[:500])
    assert not np.array_equal(draw_paths(500, 4), paths[:500])
    with pytest.raises(InputError, match="n is 0"):
        draw_paths(0, 1)


def test_between_two_stages_a_knee_is_between_them_in_proportion(paths):
    stages = np.array([-1, 0.25, 3, 4.5, 5])
    found = at_stages(paths[:5], stages)
    for knee, stage in enumerate(stages):
        for site in range(6):
            assert found[knee, site] == pytest.approx(
                np.interp(stage, STAGES, paths[knee, :, site])
            )
    with pytest.raises(InputError, match="outside -1 to 5"):
        at_stages(paths[:1], np.array([5.1]))


def test_knees_of_a_grade_look_like_the_phantoms(paths):
    """Means within a third of a standard deviation, distributions near, at each true grade."""
    n = len(paths)
    drawn = sample_subjects((n // 5,) * 5, **NOBODY, seed=11, reader_noise=0)
    size = sample_subjects((0, 0, n, 0, 0), **NOBODY, seed=12, reader_noise=0)["size"].to_numpy()
    traits = draw_traits(size, np.random.default_rng(1), np.random.default_rng(2))
    stages = np.random.default_rng(0).uniform(-0.5, 4.5, n)
    side = dominant_side(np.floor(paths[:, -1, 4:]).astype(int))
    found = rows(at_stages(paths, stages), traits, side)
    lengths = [name for name in found if name.endswith("_mm")]
    lengths += ["sclerosis_medial", "sclerosis_lateral", "shape_1", "shape_2"]
    unlike = []
    for kl in range(5):
        there, here = drawn[drawn["kl_true"] == kl], found[found["kl_true"] == kl]
        assert len(here) > 200
        for name in lengths:
            spread = there[name].std() or 1.0
            off = abs(here[name].mean() - there[name].mean()) / spread
            apart = ks_2samp(here[name], there[name]).statistic
            if off > 1 / 3 or apart > 0.2:
                unlike.append((kl, name, round(off, 2), round(apart, 2)))
    assert unlike == []
