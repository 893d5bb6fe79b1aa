"""The job that trains a build's study: nothing is done twice, and what is lost is made again."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import workflow.run_study as module
from oacore.errors import InputError
from oacore.instruments.coherence.patterns import GRADES, SIZES
from oacore.instruments.radiographs import study as studies
from oacore.instruments.radiographs.arms import load_study, run_folder, study_folder, study_status
from oacore.instruments.radiographs.collect import collect
from oacore.instruments.radiographs.drawn import write_radiographs
from oacore.instruments.radiographs.study import study_cases
from oacore.training.pictures import train
from oacore.training.progress import failures
from tests.instruments.radiographs import sets
from workflow.check_build import forget_lost, main, make_again, run_faults
from workflow.jobs import mark
from workflow.run_study import run

STUDY = load_study("smoke")
RUNS = [(arm, seed) for seed in STUDY.seeds for arm in STUDY.arms]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return sets.graded_set(tmp_path_factory.mktemp("drawn") / "radiographs")


@pytest.fixture(scope="module")
def finished(drawn):
    build = drawn.parent / "build"
    run("smoke", build, drawn)
    return build


@pytest.fixture
def build(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "build"))


def times(build, folder="study"):
    return {path: path.stat().st_mtime_ns for path in (build / folder).glob("runs/*/*/done.json")}


def test_a_finished_study_has_a_mark_and_is_left_alone(build, drawn, monkeypatch):
    marked = mark(build, "study").read_text()
    wanted = {str(run_folder("study", arm, seed)) for arm, seed in RUNS}
    assert set(json.loads(marked)) == wanted
    before = times(build)
    assert len(before) == len(RUNS)
    monkeypatch.setattr(studies, "train", lambda *_, **__: pytest.fail("trained again"))
    run("smoke", build, drawn)
    assert times(build) == before and mark(build, "study").read_text() == marked
    forget_lost(build)
    assert mark(build, "study").exists() and not [*run_faults(build)]


def test_the_cases_of_a_study_are_kept_without_pictures(build, drawn):
    cases = study_cases(build / "study")
    wanted = studies.read_study(STUDY, drawn).cases
    pd.testing.assert_frame_equal(cases, wanted)
    scores = collect(STUDY, build / "study", cases, n_resamples=2, seed=0)["scores"]
    assert set(scores["arm"]) == set(STUDY.arms)
    path = build / "study/cases.csv"
    path.write_text(path.read_text().replace("knee_01", "knee_0l"))
    with pytest.raises(InputError, match="cases.csv: is damaged"):
        study_cases(build / "study")
    path.unlink()
    with pytest.raises(InputError, match="holds no study"):
        study_cases(build / "study")


@pytest.mark.parametrize(
    "lost", ["runs/proposed/seed1", "cases.csv", "landmarks.json", "landmarks.safetensors"]
)
def test_what_is_lost_is_made_again_and_nothing_else(build, drawn, lost):
    path, before = build / "study" / lost, times(build)
    landmarks = (build / "study/landmarks.safetensors").read_bytes()
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    make_again(build)
    assert not mark(build, "study").exists()
    run("smoke", build, drawn)
    after = times(build)
    changed = {file.parent for file in before if after[file] != before[file]}
    assert changed == ({path} if path.is_dir() else set())
    assert (build / "study/landmarks.safetensors").read_bytes() == landmarks
    assert mark(build, "study").exists()


def test_landmarks_that_are_damaged_are_found_again(build, drawn):
    path = build / "study/landmarks.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + bytes(8))
    run("smoke", build, drawn)
    assert path.read_bytes() == whole


def test_a_killed_job_goes_on_and_does_nothing_twice(drawn, tmp_path, monkeypatch):
    begun = []

    def killed(config, pictures, folder, *given, **words):
        if len(begun) == 2:
            raise KeyboardInterrupt
        begun.append(folder)
        return train(config, pictures, folder, *given, **words)

    with monkeypatch.context() as patch:
        patch.setattr(studies, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            run("smoke", tmp_path, drawn)
    assert not mark(tmp_path, "study").exists()
    (said,) = study_status(tmp_path, "smoke")
    assert said == "Study smoke on drawn radiographs: 2 of 4 runs trained"
    before = times(tmp_path)
    landmarks = (tmp_path / "study/landmarks.json").stat().st_mtime_ns
    run("smoke", tmp_path, drawn)
    assert before.items() < times(tmp_path).items() and len(before) == 2
    assert (tmp_path / "study/landmarks.json").stat().st_mtime_ns == landmarks


@pytest.mark.parametrize("change", ["settings", "labels", "code", "code of a loss"])
def test_runs_of_other_settings_labels_or_code_are_trained_again(
    change, build, drawn, tmp_path, monkeypatch
):
    source, known = drawn, studies.fingerprint
    if change == "settings":
        other = replace(STUDY, training={**STUDY.training, "lr": 0.5})
        monkeypatch.setattr(studies, "load_study", lambda name: other)
    elif change == "labels":
        source = Path(shutil.copytree(drawn, tmp_path / "other"))
        table = pd.read_csv(source / "table.csv")
        table.loc[0, "kl"] = 4 - table.loc[0, "kl"]
        table.to_csv(source / "table.csv", index=False)
    else:
        of = "training.pictures" if change == "code" else "instruments.coherence.joint"
        monkeypatch.setattr(
            studies, "fingerprint", lambda *names: "x" if f"oacore.{of}" in names else known(*names)
        )
    before = times(build)
    run("smoke", build, source)
    after = times(build)
    again = {file.parents[1].name for file in before if after[file] != before[file]}
    assert again == ({"proposed"} if change == "code of a loss" else set(STUDY.arms))


def test_a_damaged_run_is_named_before_a_build(build):
    path = build / "study/runs/global/seed0/predictions.csv"
    path.write_text(path.read_text().replace("kl", "lk", 1))
    (fault,) = run_faults(build)
    assert fault.remove == (path.parent,)
    with pytest.raises(InputError, match=r"rm -r .*study/runs/global/seed0"):
        make_again(build)


def test_a_drawn_picture_that_is_lost_or_changed_is_drawn_again(tmp_path, monkeypatch, capsys):
    words = {"train": (1, 0, 0, 0, 0), "val": (0,) * 5, "test": (1, 0, 0, 0, 0), "size": 64}
    folder = tmp_path / "radiographs"
    for harm in (Path.unlink, lambda path: path.write_bytes(b"x" * path.stat().st_size)):
        write_radiographs(folder, **words)
        make_again(tmp_path)
        assert folder.is_dir()
        harm(folder / "images/drawn_0002.png")
        monkeypatch.setattr("sys.argv", ["check_build", str(tmp_path)])
        assert main() == 1 and "drawn_0002.png: is" in capsys.readouterr().err
        make_again(tmp_path)
        assert "drawn_0002.png: is" in capsys.readouterr().out and not folder.exists()


# A user's own radiographs


def test_real_radiographs_have_a_study_of_their_own(build, drawn, tmp_path):
    real = sets.graded_set(tmp_path / "real", seed=1)
    link = build / "real-radiographs"
    link.symlink_to(real)
    own = study_folder(build, link)
    assert own == study_folder(build, real) != study_folder(build, drawn) != study_folder(build)
    assert "real" not in own.name
    before = times(build)
    file = run("smoke", build, drawn, real=str(link))
    assert file == mark(build, own.name) and file.exists()
    assert times(build) == before and len(times(build, own.name)) == len(RUNS)
    said = study_status(build, "smoke")
    assert said == [
        "Study smoke on drawn radiographs: 4 of 4 runs trained",
        f"Study smoke on real radiographs ({own.name}): 4 of 4 runs trained",
    ]
    shutil.rmtree(own / "runs/global")
    make_again(build)
    assert not file.exists() and mark(build, "study").exists()


def test_the_public_set_gets_landmarks_by_drawn_ones_and_grades_by_oais_table(tmp_path):
    drawn, public = tmp_path / "radiographs", tmp_path / "kneeKL224"
    write_radiographs(drawn, (2, 2, 2, 1, 1), (0,) * 5, (1, 0, 0, 0, 0), seed=1)
    cases = sets.drawn_public(public)
    rng = np.random.default_rng(0)
    for name in GRADES[1:]:
        cases[name] = rng.permutation(np.arange(len(cases)) % SIZES[name])
    table = sets.write_oai(sets.oai_table(cases), tmp_path / "kxr_sq_bu00.txt")
    build = tmp_path / "build"
    with pytest.raises(InputError, match="no training case has osteophyte_fl, .*fetch references"):
        run("smoke", build, drawn, real=str(public))
    run("smoke", build, drawn, real=str(public), oarsi=str(table))
    folder = study_folder(build, public)
    kept = study_cases(folder).set_index("case").loc[cases["case"]]
    assert (kept[list(GRADES)] == cases[list(GRADES)].to_numpy()).all(axis=None)
    detectors = [
        (place / "detector.safetensors").read_bytes() for place in (folder, folder / "drawn")
    ]
    assert detectors[0] == detectors[1]
    # A folder of one's own has its grades in its table: OAI's is not joined.
    own = sets.graded_set(tmp_path / "own")
    assert run("smoke", build, drawn, real=str(own), oarsi=str(table)).exists()


def test_a_job_that_fails_leaves_its_reason_until_it_succeeds(drawn, tmp_path, capsys):
    words = [str(tmp_path / "none"), "--profile", "smoke", "--build", str(tmp_path / "build")]
    assert module.main(words) == 2
    assert "none: no such folder" in capsys.readouterr().err
    (said,) = failures(tmp_path / "build")
    assert said.startswith("study: ") and "none: no such folder" in said
    assert module.main([str(drawn), *words[1:]]) == 0
    assert not list(failures(tmp_path / "build"))


def test_processes_are_as_many_as_asked_for_and_one_on_a_gpu(tmp_path, monkeypatch):
    asked = []

    def spied(*words, **_):
        asked.append(words[3])
        raise InputError("enough")

    monkeypatch.setattr(module, "run_study", spied)
    for device in ("cpu", "cuda"):
        monkeypatch.setattr(module, "choose_accelerator", lambda _, device=device: device)
        with pytest.raises(InputError, match="enough"):
            run("smoke", tmp_path, tmp_path, workers=5)
    assert asked == [5, 1]
