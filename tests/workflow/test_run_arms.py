"""Arms on a build's own knees: each trained once, anew where something changed, and compared."""

import json
from dataclasses import replace

import numpy as np
import pytest

from oacore.data.cache import cached_volumes
from oacore.data.cohort import graded, read_cohort
from oacore.errors import InputError
from oacore.instruments.hierarchy import answer, runs
from oacore.instruments.hierarchy.arms import ARMS
from oacore.instruments.hierarchy.split import SplitCohort, train
from oacore.instruments.hierarchy.trained import trained_contrasts
from oacore.instruments.hierarchy.volumes import plan_of, volumes_cohort
from oacore.profile import load_profile
from tests.helpers import small_phantom
from workflow.check_build import forget_lost
from workflow.run_arms import main, run_part

SMOKE = load_profile("smoke")
RECIPE = replace(SMOKE.backbones["resnet3d"], seeds=(0, 1), encoder={"depth": 10, "width": 2})
PROFILE = replace(SMOKE, backbones={"resnet3d": RECIPE}, n_resamples=50)
NAMES = ("single_kl", "dual")


@pytest.fixture(scope="module")
def knees(tmp_path_factory):
    return small_phantom(tmp_path_factory.mktemp("arms") / "cohort")


@pytest.fixture(scope="module")
def build(tmp_path_factory, knees):
    folder = tmp_path_factory.mktemp("arms") / "build"
    run_part("resnet3d", 0, NAMES, profile=PROFILE, cohort=knees, build=folder)
    return folder


def made(build):
    return {path: path.stat().st_mtime_ns for path in build.glob("arms/**/*.npz")}


def test_a_job_leaves_its_runs_and_a_mark_of_them(build, knees):
    mark = json.loads((build / "jobs/arms.resnet3d.0.json").read_text())
    assert sorted(mark) == sorted(str(path.relative_to(build)) for path in made(build))
    assert len(mark) == 4
    before = made(build)
    run_part("resnet3d", 0, NAMES, profile=PROFILE, cohort=knees, build=build)
    assert made(build) == before


def test_a_run_is_what_its_arm_answers_on_these_knees(build, knees):
    cases = graded(read_cohort(knees))
    volumes = cached_volumes(cases, RECIPE.grid, RECIPE.resample, build / "cache")
    cohort = volumes_cohort(knees, build / "cache", RECIPE.grid, RECIPE.resample)
    np.testing.assert_array_equal(cohort.images, volumes.images)
    assert cohort.cases["male"].tolist() == (cases["sex"] == "male").tolist()
    plan = plan_of(RECIPE, NAMES, RECIPE.seeds)
    said = {name: own for _, name, own in runs.answers(plan, cohort, build / "arms/resnet3d")}
    again = train(plan.network, ARMS["dual"], SplitCohort(volumes.images, cohort.cases), 1)
    np.testing.assert_array_equal(said["dual"]["grade"][1], again["grade"].astype(np.float32))


def test_what_is_lost_stale_or_damaged_is_trained_again_and_nothing_else(build, knees, monkeypatch):
    before = made(build)
    lost, damaged = sorted(before)[:2]
    lost.unlink()
    damaged.write_bytes(b"x")
    forget_lost(build)
    assert not (build / "jobs/arms.resnet3d.0.json").exists()
    run_part("resnet3d", 0, NAMES, profile=PROFILE, cohort=knees, build=build)
    after = made(build)
    assert {path for path in after if after[path] != before[path]} == {lost, damaged}
    monkeypatch.setattr(runs, "_code", lambda encoder: "another")
    run_part("resnet3d", 0, ("dual",), profile=PROFILE, cohort=knees, build=build)
    changed = {path for path, time in made(build).items() if time != after[path]}
    assert {path.parent.name for path in changed} == {"dual"} and len(changed) == 2
    monkeypatch.undo()
    run_part("resnet3d", 0, NAMES, profile=PROFILE, cohort=knees, build=build)


def test_arms_stand_side_by_side(build, knees):
    found = trained_contrasts(PROFILE, NAMES, knees, build)
    assert set(found["backbone"]) == {"resnet3d"}
    (row,) = found[found["primary"] & (found["measure"] == "kl_auc")].to_dict("records")
    assert (row["arm"], row["reference"], row["seeds"]) == ("dual", "single_kl", 2)
    said = answer.by_backbone(found, "kl_auc")
    assert said.index.tolist() == ["Dual"] and "ResNet3D, seeds and knees" in said
    single = trained_contrasts(
        replace(PROFILE, backbones={"resnet3d": replace(RECIPE, seeds=(0,))}), NAMES, knees, build
    )
    assert set(single["over"]) == {"knees alone"} and single["p_value"].isna().all()
    with pytest.raises(InputError, match="name at least two"):
        trained_contrasts(PROFILE, ("dual",), knees, build)


def test_a_job_that_fails_says_why(tmp_path, knees, capsys):
    words = ["resnet3d", "0", "--profile", "smoke", "--cohort", str(knees), "--threads", "1"]
    build = tmp_path / "build"
    assert main([*words, "--build", str(build), "--arms", "duel"]) == 2
    assert "there is no arm 'duel'" in capsys.readouterr().err
    assert "no arm" in (build / "jobs/failed/arms.resnet3d.0.txt").read_text()
