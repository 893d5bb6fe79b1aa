"""The phantom's record: its tables whole, of runs that today's code would make."""

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from oacore import record
from oacore.errors import InputError
from oacore.profile import load_profile
from oacore.results import keep
from oacore.seals import SEAL, seal
from oacore.training.records import run_folder
from workflow import record_phantom as made
from workflow.record import PHANTOM, stale

THERE = list(PHANTOM)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A finished build of the record's profile, in a project that has no record yet."""
    monkeypatch.setattr(made, "ROOT", tmp_path)
    monkeypatch.setattr(record, "RECORDS", tmp_path / "book/record")
    monkeypatch.setattr(made, "about", lambda build: {"command": made.COMMAND, "runs": {}})
    monkeypatch.setattr(made, "code", lambda chapter: {f"notebooks/{chapter}.ipynb": "1"})
    monkeypatch.setattr(made, "training_code", list)
    asked = []

    def run(words, **options):
        asked.append(words)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(made.subprocess, "run", run)
    for chapter, names in PHANTOM.items():
        for name in names:
            keep(pd.DataFrame({"value": [1 / 3]}), tmp_path / "build/record", f"{chapter}/{name}")
    return asked


def test_the_record_has_every_table_of_its_chapters(project, tmp_path):
    assert made.main(["--cores", "3"]) == 0
    (words,) = project
    assert words[words.index("--cores") + 1] == "3" and "profile=record" in words
    assert words[-3:] == [f"build/record/notebooks/{chapter}.ipynb" for chapter in PHANTOM]
    for chapter, names in PHANTOM.items():
        said = record.made(chapter)
        assert set(said["tables"]) == set(names) and said["command"] == made.COMMAND
        for name in names:
            table = record.from_record(tmp_path / "other", chapter, name)
            assert table["value"].tolist() == [1 / 3]
            assert record.beside(tmp_path / "other", f"{chapter}/{name}").equals(table)


def test_a_build_that_is_not_finished_leaves_the_record_alone(project, tmp_path, capsys):
    (tmp_path / "build/record/results/14-saliency/learned.csv").unlink()
    assert made.main([]) == 1
    assert "learned" in capsys.readouterr().err and not record.RECORDS.exists()


def test_a_job_that_fails_leaves_the_record_alone(project, monkeypatch, capsys):
    failed = SimpleNamespace(returncode=1)
    monkeypatch.setattr(made.subprocess, "run", lambda *words, **options: failed)
    assert made.main([]) == 1
    assert "goes on from there" in capsys.readouterr().err and not record.RECORDS.exists()


def test_code_that_did_something_else_is_found_and_a_comment_is_not(tmp_path, monkeypatch):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)
        return done.stdout.decode().strip()

    monkeypatch.setattr(made, "ROOT", tmp_path)
    monkeypatch.setattr(made, "training_code", lambda: ["loop.py"])
    git("init", "-q")
    commits = []
    for text in ("x = 1\n", "x = 1  # why\n", "x = 2\n"):
        (tmp_path / "loop.py").write_text(text)
        git("add", ".")
        git("commit", "-qm", "a")
        commits.append(git("rev-parse", "HEAD"))
    assert made.since(commits[2:]) == []
    assert made.since(commits[1:]) == ["loop.py"]
    (tmp_path / "loop.py").write_text("x = 1\n")
    assert made.since(commits[:2]) == []


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """All finished runs of the record's build; what is called of Snakemake."""
    monkeypatch.setattr(made, "ROOT", tmp_path)
    profile = load_profile(record.PROFILE)
    kinds = {"runs": profile.backbones, "controls": profile.controls,
             "explained": profile.backbones}  # fmt: skip
    for kind, models in kinds.items():
        for model in models:
            for run in (run for part in profile.parts(model) for run in part):
                folder = run_folder(tmp_path / "build/record" / kind, model, *run)
                folder.mkdir(parents=True)
                done = json.dumps({"provenance": {"commit": "abc"}})
                (folder / "done.json").write_text(done)
                seal(folder / SEAL, [folder / "done.json"])
    called = []
    monkeypatch.setattr(made, "snakemake", lambda *words: called.append(words) or 0)
    monkeypatch.setattr(made, "since", lambda commits: ["loop.py"] if set(commits) else [])
    return called


def test_runs_stay_though_code_changed_if_it_makes_the_same_ones(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(made, "require_same_results", lambda build, cores: ["m3t dual seed 0"])
    build = tmp_path / "build/record"
    made.adopt(Path("build/record"), 2)
    marks = sorted(path.name for path in (build / "jobs").iterdir())
    assert marks == [
        "controls.resnet3d-permuted.0.json",
        *(f"{kind}.{model}.0.json" for kind in ("explained", "runs")
          for model in ("m3t", "nnmamba", "resnet3d")),
    ]  # fmt: skip
    assert len(json.loads((build / "jobs/runs.m3t.0.json").read_text())) == 15
    assert made.same(build)["runs"] == ["m3t dual seed 0"]
    ((words, targets),) = trained
    assert "--touch" in words
    assert {"build/record/cohort", "build/record/jobs/runs.m3t.0.json"} <= set(targets)


def test_runs_that_were_made_again_once_are_not_made_again_by_the_same_code(
    trained, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        made, "require_same_results", lambda build, cores: asked.append(build) or ["one"]
    )
    monkeypatch.setattr(made, "commit", lambda: {"commit": "now", "clean": True})
    monkeypatch.setattr(made, "since", lambda commits: [] if "now" in commits else ["loop.py"])
    for _ in range(2):
        made.adopt(Path("build/record"), 2)
    assert len(asked) == 1 and len(trained) == 2


def test_runs_that_todays_code_would_not_make_are_refused(trained, tmp_path, monkeypatch):
    """The tables would be said to be of code that no run has seen."""

    def other(build, cores):
        raise InputError("today's code makes something else")

    monkeypatch.setattr(made, "require_same_results", other)
    with pytest.raises(InputError, match="something else"):
        made.adopt(Path("build/record"), 2)
    assert not (tmp_path / "build/record/jobs").exists() and not trained


def test_nothing_is_made_again_of_todays_code_or_of_an_unfinished_build(
    trained, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(made, "since", lambda commits: [])
        made.adopt(Path("build/record"), 2)
    (tmp_path / "build/record/explained/m3t/dual/seed4/done.json").unlink()
    made.adopt(Path("build/record"), 2)
    assert not trained and not (tmp_path / "build/record/jobs").exists()


HARMED = ("cohort/labelsTr/1.nii.gz", "cache of resnet3d", "runs/m3t/dual/seed0/history.csv",
          "explained/nnmamba/dual/seed0/overlap.csv")  # fmt: skip


@pytest.mark.parametrize("harm", ["", *HARMED])
def test_knees_and_a_run_of_each_backbone_are_made_again_and_compared(harm, tmp_path, monkeypatch):
    build = tmp_path / "record"
    made_again = []

    def files(root, *names):
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            never = len(made_again) if "history" in name else 0  # the same seconds
            (root / name).write_text(f"loss,seconds\n0.{len(name)},{never}\n")

    def of(kind, model):
        tables = ("history",) if kind == "runs" else ("overlap", "twins")
        return [f"{kind}/{model}/dual/seed0/{table}.csv" for table in tables]

    def run_all(kind, model, part, *, profile, cohort, build):
        made_again.append((kind, model, profile.parts(model)))
        files(build, *of(kind, model))

    def draw(words, **options):
        files(Path(words[-5]).parent, "cohort/labelsTr/1.nii.gz")

    backbones = list(load_profile(record.PROFILE).backbones)
    files(build, "controls/x", "cache/x", "cohort/labelsTr/1.nii.gz")
    for model in backbones:
        files(build, *of("runs", model), *of("explained", model))
    monkeypatch.setattr(made, "run_all", run_all)
    monkeypatch.setattr(made, "read_cohort", lambda cohort: None)
    monkeypatch.setattr(made, "graded", lambda cases: cases)
    monkeypatch.setattr(made, "read_alike", lambda *given: harm != "cache of resnet3d")
    monkeypatch.setattr(made.subprocess, "run", draw)
    if harm:
        if "/" in harm:
            (build / harm).write_text("loss,seconds\n0.5,1\n")
        with pytest.raises(InputError, match=f"something else of {harm}[^/]*: remove it"):
            made.require_same_results(build, 2)
    else:
        assert made.require_same_results(build, 2) == [f"{m} dual seed 0" for m in backbones]
    assert [(kind, model) for kind, model, _ in made_again] == [
        (kind, model) for model in backbones for kind in ("runs", "explained")
    ]
    assert all(parts == [[("dual", 0)]] for _, _, parts in made_again)
    assert not list(build.glob("tmp*"))


def test_what_trains_is_among_the_code_and_what_draws_pages_is_not():
    files = made.training_code()
    for name in ("training/loop", "models/m3t", "data/volumes", "instruments/phantom/knee"):
        assert f"oacore/{name}.py" in files
    assert not [name for name in files if name.startswith(("oacore/plots", "oacore/errors"))]


@pytest.mark.parametrize("chapter", THERE)
def test_the_record_is_of_todays_settings(chapter):
    said, profile = record.made(chapter), load_profile(record.PROFILE)
    settings = asdict(profile)
    assert pd.Series(said["settings"]).to_json() == pd.Series(settings).to_json()
    assert said["runs"]["models"] == 9 and said["runs"]["seeds"] >= 5
    assert said["runs"]["test knees"] >= 1000
    assert set(said["tables"]) == set(PHANTOM[chapter])
    for name, table in said["tables"].items():
        path = record.RECORDS / chapter / f"{name}.csv"
        assert record.content_digest(path) == table["sha256"]


def test_a_record_of_earlier_code_is_named_with_its_command(project, monkeypatch):
    assert made.main([]) == 0
    monkeypatch.setattr("workflow.record.CHAPTERS", {})
    assert any("08-comparison" in said and made.COMMAND in said for said in stale())
