"""The two cohorts with a fixed split: what is read of them, and the settings of their plans."""

from dataclasses import replace

import numpy as np
import pytest

from oacore.errors import InputError
from oacore.instruments.hierarchy import phantom, radiographs
from oacore.instruments.hierarchy.arms import ARMS
from oacore.instruments.hierarchy.phantom import phantom_cohort, phantom_plan
from oacore.instruments.hierarchy.radiographs import (
    CANDIDATES,
    CROP,
    PILOT_SEED,
    pilot,
    radiographs_cohort,
    radiographs_plan,
)
from oacore.instruments.radiographs.arms import load_study
from oacore.instruments.radiographs.cases import read_radiographs
from oacore.profile import load_profile
from tests.helpers import write_cohort
from tests.instruments.radiographs.sets import own_table, write_own


@pytest.fixture
def source(tmp_path):
    table = own_table(12).assign(sex=["M", "M", "F", "F"] * 3, age=60)
    return write_own(tmp_path / "own", table)


def test_radiographs_are_those_of_the_study(source):
    cohort = radiographs_cohort(source, 80, 112)
    study = load_study("real")
    assert (study.height, study.width, study.crop) == (80, 112, CROP)
    read = read_radiographs(source, height=80, width=112, crop=study.crop)
    np.testing.assert_array_equal(cohort.images, read.pictures)
    cases = cohort.cases
    for name in ("case", "person", "split", "kl", "age"):
        assert cases[name].tolist() == read.cases[name].tolist()
    assert cases["male"].tolist() == (read.cases["sex"] == "male").tolist()
    assert radiographs_cohort(source, 40, 56).images.shape == (12, 40, 56)


def test_without_sex_there_is_no_such_label(tmp_path):
    cohort = radiographs_cohort(write_own(tmp_path / "own", own_table(6)))
    assert not {"male", "age"} & set(cohort.cases)
    table = own_table(6).astype({"kl": object})
    table.loc[2, "kl"] = None
    with pytest.raises(InputError, match="case knee_2 has no KL grade"):
        radiographs_cohort(write_own(tmp_path / "ungraded", table))


def test_the_plan_of_radiographs_is_the_designs():
    plan = radiographs_plan()
    assert plan.seeds == tuple(range(10)) and PILOT_SEED not in plan.seeds
    assert set(plan.arms) <= set(ARMS) and len(set(plan.arms)) == len(plan.arms) == 11
    kinds = {ARMS[name].kind for name in plan.arms}
    assert kinds == {"paper", "control", "remedy", "null"}
    assert plan.network in [network for _, network in CANDIDATES]


def test_a_pilot_sees_the_split_for_choosing_alone(source, monkeypatch):
    asked = []

    def train(network, arm, cohort, seed, split):
        asked.append((network, arm.says, cohort.images.shape[1:], seed, split))
        kl = cohort.cases["kl"].to_numpy(int)[cohort.rows(split)]
        return {"grade": np.eye(5)[kl] if arm.second else np.full((len(kl), 5), 0.2)}

    monkeypatch.setattr(radiographs, "train", train)
    table = pilot(source)
    assert len(table) == len(CANDIDATES)
    assert asked == [
        (network, says, size, PILOT_SEED, "val")
        for size, network in CANDIDATES for says in ("Single-KL", "Dual")
    ]  # fmt: skip
    # Who always says grade 0 has an area of a half and no kappa; who knows all has 1 of either.
    assert table["dual"].tolist() == [1] * len(table)
    assert table["single_kl"].tolist() == [0.25] * len(table)
    assert table["both"].tolist() == [0.625] * len(table) and (table["seconds"] >= 0).all()


def test_the_phantom_has_the_profiles_settings():
    plan, recipe = phantom_plan(), load_profile("record").backbones["resnet3d"]
    network = plan.network
    assert (network.encoder, network.options) == ("resnet3d", recipe.encoder)
    assert (network.epochs, network.batch) == (recipe.epochs, recipe.batch_size)
    assert (network.learning_rate, network.weight_decay) == (recipe.lr, recipe.weight_decay)
    assert network.schedule == recipe.schedule == "cosine" and not network.augments
    assert recipe.statistics == "re-estimated" and sum(load_profile("record").test) >= 1000
    assert plan.seeds == tuple(range(5)) and set(plan.arms) <= set(ARMS)


def test_a_phantoms_knees_are_read_as_the_profile_has_them(tmp_path, monkeypatch):
    write_cohort(tmp_path / "cohort", train=(0, 1, None, 4), test=(2, 3))
    with pytest.raises(InputError, match=r"has 2 graded test knees, .* 1,000; draw them with"):
        phantom_cohort(tmp_path / "cohort", tmp_path / "cache")
    monkeypatch.setattr(phantom, "TEST_KNEES", 2)
    recipe = replace(load_profile("record").backbones["resnet3d"], grid=(4, 8, 8))
    monkeypatch.setattr(phantom, "_recipe", lambda: recipe)
    cohort = phantom_cohort(tmp_path / "cohort", tmp_path / "cache")
    assert cohort.images.shape == (5, 4, 8, 8)
    np.testing.assert_allclose(cohort.images.astype(float).mean((1, 2, 3)), 0, atol=0.2)
    cases = cohort.cases
    assert cases["case"].tolist() == ["1", "2", "4", "5", "6"] and "person" not in cases
    assert cases["kl"].tolist() == [0, 1, 4, 2, 3]
    assert cases["split"].tolist() == ["train"] * 3 + ["test"] * 2
    assert cases["male"].tolist() == [1, 0, 0, 1, 0] and cases["age"].tolist()[0] == 50
