"""The phantom's record: its tables whole, of runs that today's code would make."""

import subprocess
from dataclasses import asdict
from types import SimpleNamespace

import pandas as pd
import pytest

from oacore import record
from oacore.errors import InputError
from oacore.profile import load_profile
from oacore.results import keep
from workflow import record_phantom as made
from workflow.record import PHANTOM, stale

THERE = [chapter for chapter in PHANTOM if (record.RECORDS / chapter).is_dir()]


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


def test_runs_of_other_code_are_refused(tmp_path, monkeypatch):
    """The tables would be said to be of code that no run has seen."""

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
    made.require_same_code(commits[2:])
    with pytest.raises(InputError, match=r"since when loop\.py changed: remove build/record"):
        made.require_same_code(commits[1:])
    (tmp_path / "loop.py").write_text("x = 1\n")
    made.require_same_code(commits[:2])  # a comment computes nothing


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
