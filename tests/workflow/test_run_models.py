"""Jobs of several runs in one process: the numbers of single ones, and nothing done twice."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import workflow.run_models as module
from oacore.data.cache import cached_volumes
from oacore.data.cohort import graded, read_cohort
from oacore.errors import InputError
from oacore.instruments.saliency.explain import explain
from oacore.profile import load_profile
from oacore.training.config import run_config
from oacore.training.loop import train
from oacore.training.progress import failures, progress, status
from tests.helpers import small_phantom
from workflow.check_build import forget_lost
from workflow.jobs import mark
from workflow.run_models import run_all

SMOKE = load_profile("smoke")
RECIPE = replace(SMOKE.backbones["resnet3d"], supervisions=("single_oa", "dual"), seeds=(0, 1))
PROFILE = replace(
    SMOKE,
    backbones={"resnet3d": RECIPE},
    variants={},
    controls={"resnet3d-permuted": replace(SMOKE.controls["resnet3d-permuted"])},
)
RUNS = [("single_oa", 0), ("dual", 0), ("single_oa", 1), ("dual", 1)]


@pytest.fixture(scope="module")
def knees(tmp_path_factory):
    return small_phantom(tmp_path_factory.mktemp("jobs") / "cohort")


def do(kind, build, cohort, model="resnet3d", part=0, profile=PROFILE):
    run_all(kind, model, part, profile=profile, cohort=cohort, build=build)
    return mark(build, f"{kind}.{model}.{part}")


@pytest.fixture(scope="module")
def finished(knees):
    """A build of all its jobs."""
    build = knees.parent / "finished"
    do("controls", build, knees, "resnet3d-permuted")
    do("runs", build, knees)
    do("explained", build, knees)
    return build


@pytest.fixture
def build(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "build"))


def times(build, kind="runs"):
    return {path: path.stat().st_mtime_ns for path in sorted(build.glob(f"{kind}/*/*/*/done.json"))}


def test_runs_are_divided_seed_by_seed_among_the_jobs():
    assert PROFILE.parts("resnet3d") == [RUNS]
    three = replace(PROFILE, jobs=3).parts("resnet3d")
    assert three == [[RUNS[0], RUNS[3]], [RUNS[1]], [RUNS[2]]]
    assert replace(PROFILE, jobs=8).parts("resnet3d") == [[run] for run in RUNS]


def test_a_job_gives_the_numbers_of_runs_by_themselves(finished, knees, tmp_path):
    """Which network was trained before in the same process changes nothing."""
    cases = graded(read_cohort(knees))
    volumes = cached_volumes(cases, RECIPE.grid, RECIPE.resample, tmp_path / "cache")
    alone = train(run_config(RECIPE, "dual", 1), cases, volumes, tmp_path / "run")
    its = finished / "runs/resnet3d/dual/seed1"
    for name in ("predictions.csv", "weights.safetensors"):
        assert (alone / name).read_bytes() == (its / name).read_bytes()
    words = {"lesions": True, "methods": ["gradient"]}
    measured = explain(alone, cases, volumes, tmp_path / "explained", **words)
    its = finished / "explained/resnet3d/dual/seed1"
    for name in ("overlap.csv", "profile.csv", "cascade.csv"):
        assert (measured / name).read_bytes() == (its / name).read_bytes()


def test_the_first_seed_is_seen_by_every_method_and_by_its_twin(finished):
    table = pd.read_csv(finished / "explained/resnet3d/dual/seed0/overlap.csv")
    assert {"released", "grad-cam"} < set(table["method"])
    assert "permuted" in set(table["weights"])
    other = pd.read_csv(finished / "explained/resnet3d/dual/seed1/overlap.csv")
    assert set(other["method"]) == {"gradient", "input alone"}
    assert "permuted" not in set(other["weights"])


def test_a_killed_job_goes_on_and_does_nothing_twice(knees, tmp_path, monkeypatch):
    begun = []

    def killed(config, *given):
        if (config.supervision, config.seed) == RUNS[2]:
            raise KeyboardInterrupt
        begun.append((config.supervision, config.seed))
        return train(config, *given)

    with monkeypatch.context() as patch:
        patch.setattr(module, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            do("runs", tmp_path, knees)
    assert begun == RUNS[:2] and not mark(tmp_path, "runs.resnet3d.0").exists()
    before = times(tmp_path)
    made = json.loads(do("runs", tmp_path, knees).read_text())
    assert list(made) == [f"runs/resnet3d/{word}/seed{seed}" for word, seed in RUNS]
    assert before.items() < times(tmp_path).items()


def test_another_seed_leaves_finished_runs_alone(build, knees):
    before = times(build), times(build, "explained")
    mark_before = mark(build, "runs.resnet3d.0").read_text()
    more = replace(PROFILE, backbones={"resnet3d": replace(RECIPE, seeds=(0, 1, 2))})
    for kind in ("runs", "explained"):
        do(kind, build, knees, profile=more)
    assert before[0].items() < times(build).items()
    assert before[1].items() < times(build, "explained").items()
    assert mark(build, "runs.resnet3d.0").read_text() != mark_before


@pytest.mark.parametrize("change", ["code", "settings", "labels"])
def test_runs_of_other_code_settings_or_labels_are_trained_again(
    change, build, knees, tmp_path, monkeypatch
):
    profile, cohort = PROFILE, knees
    if change == "code":
        monkeypatch.setattr("oacore.training.loop.code_of", lambda backbone: "other")
        monkeypatch.setattr(module, "code_of", lambda backbone: "other")
    elif change == "settings":
        profile = replace(PROFILE, backbones={"resnet3d": replace(RECIPE, lr=1e-4)})
    else:
        cohort = tmp_path / "cohort"
        shutil.copytree(knees, cohort)
        (path,) = cohort.glob("subInfo_train.*")
        table = pd.read_excel(path)
        table.loc[0, "KLGrade"] = 4 - table.loc[0, "KLGrade"]
        table.to_excel(path, index=False)
    before, maps = times(build), times(build, "explained")
    for kind in ("runs", "explained"):
        do(kind, build, cohort, profile=profile)
    assert not before.items() & times(build).items()
    if change != "code":  # the same weights, so the same maps
        assert not maps.items() & times(build, "explained").items()


def test_a_lost_run_is_trained_again_and_a_lost_map_measured(build):
    shutil.rmtree(build / "runs/resnet3d/dual/seed1")
    forget_lost(build)
    there = sorted(path.name for path in (build / "jobs").glob("*.json"))
    assert there == ["controls.resnet3d-permuted.0.json", "explained.resnet3d.0.json"]


def test_a_job_that_fails_leaves_its_reason_until_it_succeeds(knees, tmp_path, monkeypatch, capsys):
    def explode(config, *given):
        raise FloatingPointError("the loss became nan; lower the learning rate")

    words = ["runs", "resnet3d", "0", "--profile", "smoke", "--threads", "1"]
    words += ["--cohort", str(knees), "--build", str(tmp_path)]
    monkeypatch.setattr(module, "load_profile", lambda name: PROFILE)
    with monkeypatch.context() as patch:
        patch.setattr(module, "train", explode)
        assert module.main(words) == 2
    assert "lower the learning rate" in capsys.readouterr().err
    (said,) = failures(tmp_path)
    assert said == "runs.resnet3d.0: the loss became nan; lower the learning rate"
    assert f"failed: {said}" in status(tmp_path, PROFILE)
    assert module.main(words) == 0
    assert not list(failures(tmp_path))


def test_how_far_a_build_is(build):
    """Of four runs one is finished, one killed after an epoch, one begun, and one not."""
    folders = [build / f"runs/resnet3d/{word}/seed{seed}" for word, seed in RUNS]
    for folder in folders[1:]:
        (folder / "done.json").unlink()
    for folder, epochs, seconds in zip(folders, (2, 1), (10.0, 40.0), strict=False):
        history = pd.read_csv(folder / "history.csv").head(epochs).assign(seconds=seconds)
        history.to_csv(folder / "history.csv", index=False)
    (folders[2] / "history.csv").unlink()
    shutil.rmtree(folders[3])
    shutil.rmtree(build / "explained/resnet3d/dual/seed1")
    table = progress(build, PROFILE)
    of_runs = table[table["kind"] == "runs"]
    assert of_runs["state"].tolist() == ["done", "begun", "begun", "waiting"]
    assert of_runs["done"].tolist() == [2, 1, 0, 0]
    assert of_runs["left"].tolist() == [0.0, 20.0, 40.0, 40.0]  # 60 s for three epochs so far
    assert of_runs["explained"].tolist() == [True, True, True, False]
    said = status(build, PROFILE)
    assert (
        "resnet3d: 1 of 4 runs trained; saliency of 3 measured; Dual seed 0: 1 of 2 epochs, "
        in said
    )
    assert "resnet3d-permuted: 1 of 1 runs trained\n" in said
    assert said.endswith(
        "Left to do: 3 runs, 1 min 40 s of training for one process; the saliency of 1 runs."
    )


def test_of_what_has_no_epoch_yet_nobody_says_how_long_it_takes(tmp_path):
    said = status(tmp_path, PROFILE)
    assert "Left to do: 5 runs (not counting resnet3d, resnet3d-permuted, of which no epoch" in said
    with pytest.raises(InputError, match="no such build"):
        status(tmp_path / "none", PROFILE)
