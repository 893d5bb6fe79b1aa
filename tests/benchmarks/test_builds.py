"""What a build took: measured in a clone, kept beside older versions, read for the chapter."""

import subprocess
import sys

import pandas as pd
import pytest

from benchmarks import builds
from oacore.errors import InputError
from oacore.instruments.evidence.performance import (
    BUILDS,
    BUILDS_COLUMNS,
    builds_by_rule,
    read_builds,
)
from tests.helpers import ROOT

#: Stands for the real one: works for a while at first, and leaves what its jobs took.
MAKE_BOOK = """
import sys, time
from pathlib import Path
times = Path("build/smoke/times")
if not times.exists():
    times.mkdir(parents=True)
    (times / "train.12").write_text("0m0.1s 0m0.0s\\n1m2.5s 0m1.5s\\n")
    (times / "train.13").write_text("0m0.0s 0m0.0s\\n0m1.0s 0m0.0s\\n")
    (times / "book.14").write_text("0m0.0s 0m0.0s\\n0m0.5s 0m0.0s\\n")
    end = time.process_time() + 1
    while time.process_time() < end:
        pass
assert sys.argv[1:] == ["--profile=smoke", "--fetch=no"], sys.argv
"""


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def book(tmp_path, monkeypatch):
    folder = tmp_path / "repository"
    (folder / "workflow").mkdir(parents=True)
    (folder / "workflow/__init__.py").write_text("")
    (folder / "workflow/make_book.py").write_text(MAKE_BOOK)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "one")
    monkeypatch.setattr(builds, "ROOT", folder)
    return folder


def test_both_builds_are_measured_by_processor_time_and_by_rule(book):
    rows = builds.measure("smoke")
    assert list(rows) == BUILDS_COLUMNS
    at = rows.set_index(["build", "rule"])["processor"]
    assert 1 <= at["from nothing", "all"] < 10
    assert at["nothing changed", "all"] < at["from nothing", "all"]
    assert at["from nothing", "train"] == pytest.approx(65.1)
    assert at["from nothing", "book"] == pytest.approx(0.5)
    whole = rows[rows["rule"] == "all"]
    assert (whole["wall"] > 0).all() and (whole["others"] >= 0).all()
    assert not (book / "build").exists(), "the build is the clone's"


def test_a_build_that_fails_is_not_recorded(book, tmp_path, capsys, monkeypatch):
    (book / "workflow/make_book.py").write_text("raise SystemExit(3)")
    git(book, "commit", "--quiet", "-am", "two")
    monkeypatch.setattr(builds, "RECORDED", tmp_path)
    assert builds.main(["smoke", "--record"]) == 2
    assert "failed, so there is nothing to record" in capsys.readouterr().err
    assert not (tmp_path / BUILDS).exists()


def test_a_record_keeps_older_versions_and_replaces_its_own(book, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(builds, "RECORDED", tmp_path)
    assert builds.main(["smoke", "--record"]) == 0
    first = read_builds(tmp_path)
    assert builds.main(["smoke", "--record"]) == 0
    again = read_builds(tmp_path)
    assert len(again) == len(first) == 4 and set(again["commit"]) == set(first["commit"])
    git(book, "commit", "--quiet", "--allow-empty", "-m", "two")
    assert builds.main(["smoke", "--record"]) == 0
    both = read_builds(tmp_path)
    assert len(both) == 8 and both["commit"].nunique() == 2
    pd.testing.assert_frame_equal(both[:4], again)
    wide = builds_by_rule(both)
    assert list(wide.columns) == [f"smoke, {commit}" for commit in both["commit"].unique()]
    assert wide.loc["train"].eq(1.1).all()


def test_an_unknown_profile_and_a_damaged_record_end_in_one_line(tmp_path, capsys):
    assert builds.main(["bench"]) == 2
    assert "there is no profile 'bench'" in capsys.readouterr().err
    (tmp_path / BUILDS).write_text("profile,commit\nlaptop,abc\n")
    with pytest.raises(InputError, match=r"builds\.csv: is damaged .* benchmarks\.builds"):
        read_builds(tmp_path)
    assert read_builds(tmp_path / "none").empty


def test_the_books_own_record_can_be_shown():
    table = read_builds(ROOT / "benchmarks/recorded")
    assert not table.empty and table["processor"].gt(0).all()
    assert builds_by_rule(table).loc["all"].notna().all()


def test_a_commit_may_look_like_a_number(tmp_path):
    row = {**dict.fromkeys(BUILDS_COLUMNS, 1.0), "commit": "12345e6", "build": "from nothing"}
    pd.DataFrame([row]).to_csv(tmp_path / BUILDS, index=False)
    assert list(read_builds(tmp_path)["commit"]) == ["12345e6"]


def test_time_of_others_is_counted():
    before = builds.elsewhere()
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    assert builds.elsewhere() > before
