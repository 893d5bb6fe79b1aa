"""The same knees at several visits: who they are stays, what they have does not recede."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from oacore.data.volumes import preprocess
from oacore.errors import InputError
from oacore.instruments.hierarchy import visits
from oacore.instruments.hierarchy.visits import (
    COURSES,
    FIRST,
    IDENTITY,
    LAST,
    draw_visit,
    sample_visits,
    shown_visits,
)
from oacore.instruments.phantom.grades import NARROWINGS, OSTEOPHYTES
from oacore.instruments.phantom.knee import FIELD_OF_VIEW
from oacore.instruments.phantom.subjects import PLATES

SMALL = (16, 24, 20)
SIDES = ("medial", "lateral")
#: What goes with the disease: up, and down.
UP = [
    *("kl_true", "severity", "stage", "effusion_mm"), *OSTEOPHYTES, *NARROWINGS,
    *(f"{name}_mm" for name in OSTEOPHYTES), *(f"marrow_lesion_{plate}_mm" for plate in PLATES),
    *(f"sclerosis_{side}" for side in SIDES), *(f"extrusion_{side}_mm" for side in SIDES),
]  # fmt: skip
DOWN = [
    *(f"joint_space_{side}_mm" for side in SIDES), *(f"thickness_{plate}_mm" for plate in PLATES)
]  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return sample_visits(160, 5, 1)


def test_a_knee_keeps_who_it_is_and_its_disease_never_recedes(table):
    by = table.groupby("knee")
    assert table["visit"].tolist() == [1, 2, 3, 4, 5] * 160
    assert (by[[*IDENTITY, "course"]].nunique() == 1).all(axis=None)
    for sign, names in ((1, UP), (-1, DOWN)):
        for name in names:
            assert (sign * by[name].diff().dropna() >= 0).all(), name
    moving = table[table["course"] != "stable"]
    steps = moving.groupby("knee")["severity"].diff().dropna()
    assert (steps > 0).mean() > 0.98  # the rest are steps too short for four digits
    # None lost where the grades say so: there what remains is the whole.
    early = table[(table[NARROWINGS] < 2).all(axis=1)]
    for plate in PLATES:
        assert (early[f"thickness_{plate}_mm"] == early[f"whole_{plate}_mm"]).all()
        assert (table[f"thickness_{plate}_mm"] <= table[f"whole_{plate}_mm"]).all()


def test_courses_are_what_they_are_called(table):
    ends = table.groupby("knee").agg(
        course=("course", "first"), first=("stage", "first"), last=("stage", "last")
    )
    assert ends["course"].value_counts().to_dict() == {"stable": 40, "slow": 60, "fast": 60}
    for name, (low, high) in COURSES.items():
        rise = (ends["last"] - ends["first"])[ends["course"] == name]
        assert rise.between(low - 2e-4, high + 2e-4).all()
    assert ends["first"].min() >= FIRST and ends["last"].max() <= LAST
    stable = table[table["course"] == "stable"].drop(columns="visit")
    assert len(stable.drop_duplicates()) == 40  # a row a knee: the same at each visit
    # Which course a knee has says nothing of who it is.
    assert abs(table.groupby("course")["size"].mean() - table["size"].mean()).max() < 0.02
    assert set(table["kl_true"]) == {0, 1, 2, 3, 4}


def test_visits_follow_the_seed_and_few_knees_are_shared_out():
    one = sample_visits(6, 3, 4)
    assert one.equals(sample_visits(6, 3, 4)) and not one.equals(sample_visits(6, 3, 5))
    assert one.groupby("course")["knee"].nunique().to_dict() == {"fast": 2, "slow": 2, "stable": 2}
    for knees, times in ((0, 3), (3, 1)):
        with pytest.raises(InputError, match="give 1 knee and 2 visits, or more"):
            sample_visits(knees, times, 0)


def test_each_visit_has_its_own_scan(table):
    stable = table[table["course"] == "stable"]
    first, second = stable.iloc[0].to_dict(), stable.iloc[1].to_dict()
    image = draw_visit(first, SMALL, 3)
    np.testing.assert_array_equal(image, draw_visit(first, SMALL, 3))
    for other, seed in ((second, 3), (first, 4)):
        assert not np.array_equal(image, draw_visit(other, SMALL, seed))
    left = draw_visit({**first, "side": "left"}, SMALL, 3)
    np.testing.assert_array_equal(left[::-1], image)


def test_a_knee_has_its_anatomy_at_every_visit(table, monkeypatch):
    """What the row does not fix (relief, soft tissue, texture) is the knee's, not the visit's."""
    drawn = []

    def keep(knee, shape, rng):
        drawn.append((knee, rng.random()))
        return SimpleNamespace(image=np.zeros(shape, np.int16))

    monkeypatch.setattr(visits, "scan", keep)
    for row in table[table["knee"] <= 2].to_dict("records"):
        draw_visit(row, SMALL, 3)
    texture = np.stack([knee.nature["texture"].ravel() for knee, _ in drawn])
    relief = np.stack([knee.bones.relief["femur"].ravel() for knee, _ in drawn])
    for of_nature in (texture, relief):
        assert len(np.unique(of_nature, axis=0)) == 2
        assert (of_nature[:5] == of_nature[0]).all() and (of_nature[5:] == of_nature[5]).all()
    assert len({knee.nature["muscle"] for knee, _ in drawn}) == 2
    assert len({number for _, number in drawn}) == 10  # pose, scanner and noise come of these


def test_networks_are_shown_what_a_cache_would_hold(table, tmp_path):
    rows, grid = table.iloc[[3, 12]], (8, 12, 12)
    found = shown_visits(rows, SMALL, grid, "area", 3)
    voxel = np.array(FIELD_OF_VIEW) / SMALL
    for row, image in zip(rows.to_dict("records"), found, strict=True):
        path = tmp_path / "knee.nii.gz"
        nib.save(nib.Nifti1Image(draw_visit(row, SMALL, 3), np.diag([*voxel, 1.0])), path)
        np.testing.assert_array_equal(image, preprocess(str(path), None, grid, "area")[0])
