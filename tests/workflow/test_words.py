"""What the one who builds says: from make's command line to Snakemake, as it was typed."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import namedtuple
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
from snakemake.cli import parse_config
from snakemake.common.configfile import load_configfile

from oacore.errors import InputError
from tests.helpers import ROOT, copy_project
from tests.instruments.radiographs import sets
from workflow import graph, lock, make_book, serve
from workflow.graph import (
    WORDS,
    build_folder,
    image_listing,
    older_builds,
    only_looks,
    place_radiographs,
    place_source,
    radiograph_tables,
    words,
)

ODD = (
    "John's knees",
    'the "good" knees',
    "a$b",
    "a$(HOME)b$$c",
    "knees #2",
    "knees: left",
    "x; touch ran; '; touch ran; '",
    "$(touch ran)`touch ran`",
    "$(shell touch ran)",
    "Knie-Größe 膝",
    "a\\b %s {x} [y] *",
    "-x",
    "--help",
    "ends in a blank ",
    "2024",
    "1e3",
    "null",
    "True",
    "[a, b]",
    "&a !!str |",
    "~",
)
FOLDERS = ("COHORT", "PUBLISHED", "RADIOMICS", "REFERENCES", "RADIOGRAPHS")


def call_make(root: Path, *words: str, **environment: str) -> str:
    """Call a copy of the Makefile with a stand-in for Python, which keeps what it is given."""
    python = root / "John's $env #1/bin/python"
    if not python.exists():
        shutil.copy2(ROOT / "Makefile", root)
        python.parent.mkdir(parents=True)
        python.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\" > given\n")
        python.chmod(0o755)
    return subprocess.run(
        ["make", "VENV=John's $env #1", *words],
        cwd=root,
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout


def given(root: Path) -> dict[str, str]:
    """What the stand-in was given last, by word."""
    entries = [word.partition("=") for word in (root / "given").read_text().split("\0")]
    (root / "given").unlink()
    return {key.removeprefix("--").upper(): text for key, _, text in entries}


@pytest.mark.parametrize("target", ["book", "serve"])
def test_make_pastes_no_word_into_a_shell(tmp_path, target):
    names = (
        (*FOLDERS, "PROFILE", "IMAGES", "FETCH", "CORES")
        if target == "book"
        else ("COHORT", "PORT")
    )
    for first in range(len(ODD)):
        texts = {name: ODD[(first + shift) % len(ODD)] for shift, name in enumerate(names)}
        call_make(tmp_path, target, *(f"{name}={text}" for name, text in texts.items()))
        assert given(tmp_path).items() >= texts.items()
        texts[names[0]] = f" {texts[names[0]]}"  # of a command line, make drops leading blanks
        call_make(tmp_path, target, **texts)
        assert given(tmp_path).items() >= texts.items()
    assert not (tmp_path / "ran").exists()


def test_make_shows_words_as_they_were_typed(tmp_path):
    for text in ODD:
        said = call_make(tmp_path, "help", f"PROFILE={text}", f"CORES={text}", f"PORT={text}")
        assert said.count(f"{text})\n") == 3
    assert not (tmp_path / "ran").exists()


def test_an_interpreter_that_is_none_is_not_run_by_a_shell(tmp_path):
    call_make(tmp_path, "help")
    (tmp_path / "requirements.lock").touch()
    said = call_make(tmp_path, ".venv/packages", "PYTHON=no'; touch ran; '", found="python3")
    assert "This needs Python 3.11 or 3.12" in said
    assert not (tmp_path / "ran").exists() and not (tmp_path / ".venv").exists()


def test_snakemake_reads_what_make_book_was_given(tmp_path, monkeypatch):
    read = []

    class Process(nullcontext):
        """Stands for Snakemake: reads its settings, and whether it is given the lock."""

        def __init__(self, command, *, cwd, env, pass_fds):
            super().__init__(self)
            assert "--config" not in command and str(pass_fds[-1]) == env[lock.HANDED]
            file = cwd / command[command.index("--configfile") + 1]
            read.append(words(load_configfile(str(file))))

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(make_book, "ROOT", tmp_path)
    monkeypatch.setattr(make_book, "take", lambda build: lock.take(build, tmp_path))
    monkeypatch.setattr(subprocess, "Popen", Process)
    for text in ODD:
        config = {name: f"/data/{text}" for name in WORDS}
        assert make_book.snakemake("build/smoke", 1, config) == 0
        assert read.pop() == config
    os.close(lock.take("build/smoke", tmp_path)[-1])  # it was let go


def test_other_readings_of_a_word_are_refused():
    for text in ("/d/knees", "knees", "John's knees", "a$b", "Knie-Größe", "yes", "no"):
        typed = [f"cohort={text}", "profile=smoke"]
        read = words(parse_config(typed), typed)
        assert (read["cohort"], read["profile"], read["published"]) == (text, "smoke", "")
    wrong = ("/d/knees #2", "/d/knees: left", "2024", "1e3", "True", "'/d/knees'", " /d/knees ",
             "[a, b]", "~x #", "/d/a # b")  # fmt: skip
    for key in WORDS:
        for text in wrong:
            typed = [f"{key}={text}"]
            with pytest.raises(InputError, match=f"^{key}=.*--configfile FILE") as caught:
                words(parse_config(typed), typed)
            assert f"{key}: {json.dumps(text)}" in str(caught.value)
    with pytest.raises(InputError, match='cohort: "2024"'):
        words({"cohort": 2024})
    assert words({"cohort": None, "profile": "smoke"})["cohort"] == ""


def test_the_cure_that_is_named_works(tmp_path):
    for text in ODD:
        for config in ({"cohort": text},):
            with_cure = f"cohort: {json.dumps(text, ensure_ascii=False)}\n"
            (tmp_path / "knees.yaml").write_text(with_cure, encoding="utf-8")
            assert words(load_configfile(str(tmp_path / "knees.yaml"))) == {
                **dict.fromkeys(WORDS, ""),
                **config,
            }


@pytest.fixture(scope="module")
def odd_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("words") / "John's $project #1")


def test_a_dry_run_takes_the_folder_that_was_named_and_changes_nothing(odd_project):
    knee = {"KLGrade": [0], "Gender": [1], "Age": [60], "BMI": [25], "KneeSide": [1]}
    for name in ("knees", "knees #2"):
        (odd_project.parent / name).mkdir()
        for number, split in enumerate(("train", "test"), start=1):
            table = pd.DataFrame({"CMT-ID": [number], **knee})
            table.to_csv(odd_project.parent / name / f"subInfo_{split}.csv", index=False)
    cohort = str(odd_project.parent / "knees #2")
    (odd_project / "build/smoke").mkdir(parents=True)
    stale = odd_project / "build/smoke/published"
    stale.symlink_to(odd_project)
    before = sorted((odd_project / "build").rglob("*"))
    settings = odd_project.parent / "settings.json"
    homeless = {**os.environ, "HOME": "/dev/null"}  # Snakemake's cache of rules would lie there
    homeless.pop("XDG_CACHE_HOME", None)
    for config in ({"profile": "smoke"}, {"profile": "smoke", "cohort": cohort}):
        settings.write_text(json.dumps(config))
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--nocolor", "-np", "--configfile", settings],
            cwd=odd_project,
            env=homeless,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        assert sorted((odd_project / "build").rglob("*")) == before
        assert stale.is_symlink() and stale.resolve() == odd_project.resolve()
    assert f"oacore measure {cohort} --workers" in done.stdout
    assert f"--out {build_folder('smoke', cohort)}/measured.csv" in done.stdout


def test_an_older_versions_build_of_the_cohort_is_named_and_left(tmp_path, monkeypatch, capsys):
    """Builds were called after the cohort's folder: such a one lies there, and nobody reads it."""
    mine, other = tmp_path / "my knees", tmp_path / "other/my knees"
    for folder in (mine, other):
        folder.mkdir(parents=True)
    now = build_folder("smoke", str(mine))
    for build, cohort in {now: mine, "build/smoke-a": other, "build/laptop-my-knees": mine}.items():
        (tmp_path / build).mkdir(parents=True)
        (tmp_path / build / "cohort").symlink_to(cohort)
    (tmp_path / "build/smoke-b/cohort").mkdir(parents=True)
    assert older_builds("smoke", str(mine), tmp_path) == older_builds("smoke", "", tmp_path) == []
    older = tmp_path / "build/smoke-my knees"
    older.mkdir()
    (older / "cohort").symlink_to(mine)
    assert older_builds("smoke", str(mine), tmp_path) == ["build/smoke-my knees"]

    monkeypatch.setattr(make_book, "older_builds", lambda *words: older_builds(*words, tmp_path))
    monkeypatch.setattr(make_book, "is_phantom", lambda folder: False)
    monkeypatch.setattr(make_book, "snakemake", lambda *words: 0)
    monkeypatch.setattr("sys.argv", ["make_book", "--profile", "smoke", "--cohort", str(mine)])
    assert make_book.main() == 0
    said = capsys.readouterr().out
    assert said.count("older version's build") == 1 and "rm -r 'build/smoke-my knees'\n" in said
    assert older.is_dir()


def test_whoever_only_looks_is_known():
    for line in ("-n", "-np", "--dry-run --cores 2", "--summary", "--dag", "--list-rules",
                 "--lint", "--unlock", "-n --config cohort=x"):  # fmt: skip
        assert only_looks(line.split()), line
    for line in ("--cores 2", "--cores 2 --config cohort=n", "--touch -c1", "--delete-all-output"):
        assert not only_looks(line.split()), line


def test_files_of_others_are_placed_but_not_by_one_who_looks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(graph, "missing_files", lambda *_: ["one"])  # none were fetched
    (tmp_path / "theirs").mkdir()
    (tmp_path / "older").mkdir()
    theirs = str((tmp_path / "theirs").resolve())
    link = tmp_path / "build/smoke/published"
    assert place_source("published", "theirs", "build/smoke", look=True) == theirs
    assert not (tmp_path / "build").exists()
    assert place_source("published", "older", "build/smoke") == "build/smoke/published"
    assert place_source("published", "theirs", "build/smoke", look=True) == theirs
    assert place_source("published", "", "build/smoke", look=True) == ""
    assert link.resolve() == (tmp_path / "older").resolve()
    assert place_source("published", "older", "build/smoke", look=True) == "build/smoke/published"
    assert place_source("published", "", "build/smoke") == "" and not link.is_symlink()
    with pytest.raises(InputError, match="nowhere: no such folder"):
        place_source("published", "nowhere", "build/smoke", look=True)


# A user's own radiographs


def test_radiographs_are_placed_once_names_and_tables_are_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = sets.graded_set(tmp_path / "my $knees #1")
    public = tmp_path / "kneeKL224"
    sets.drawn_public(public)
    archive = sets.zipped(public, tmp_path / "KneeXrayData.zip", "KneeXrayData/kneeKL224/")
    link = tmp_path / "build/smoke/real-radiographs"
    assert place_radiographs(str(own), "build/smoke", [], look=True) == str(own)
    assert not (tmp_path / "build").exists()
    with pytest.raises(InputError, match=r"KL grades alone.*oacore fetch references"):
        place_radiographs(str(archive), "build/smoke", [])
    for source in (own, archive, public):
        placed = place_radiographs(str(source), "build/smoke", ["kxr_sq_bu00.xlsx"])
        assert placed == "build/smoke/real-radiographs" and link.resolve() == source
    assert radiograph_tables("build/smoke/real-radiographs") == []
    assert place_radiographs("", "build/smoke", [], look=True) == "" and link.is_symlink()
    assert place_radiographs("", "build/smoke", []) == "" and not link.is_symlink()
    assert radiograph_tables(str(archive)) == [str(archive)]
    tables = [Path(name).name for name in radiograph_tables(str(own))]
    assert tables == ["landmarks.csv", "table.csv"]


def test_a_picture_that_changes_is_seen(tmp_path):
    own = sets.graded_set(tmp_path / "own")
    before = image_listing(str(own), "**/*.png")
    assert image_listing(str(own), "**/*.png") == before
    (own / "images/knee_00.png").touch()
    assert image_listing(str(own), "**/*.png") != before


def spoilt(folder: Path) -> dict[str, str]:
    """Radiographs that no study can be trained on, and what is said of each."""
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("no zip")
    named = sets.graded_set(folder / "lacking")
    (named / "images/knee_03.png").unlink()
    table = pd.read_csv(sets.graded_set(folder / "untested") / "table.csv")
    table["split"] = table["split"].replace("test", "val")
    table.to_csv(folder / "untested/table.csv", index=False)
    table.assign(split=["train", "val"] * 20).to_csv(
        sets.graded_set(folder / "split") / "table.csv", index=False
    )
    copy = folder / "OSAIL_KL_Dataset"
    sets.drawn_public(copy)
    (copy / "val").rename(copy / "other")
    return {
        "nowhere": "no such folder or file; name the folder or zip",
        "empty": "holds no radiographs; name the folder or zip",
        "notes.txt": "is no zip; name",
        "lacking": "knee_03.png: the picture of a case is missing",
        "untested": "has no case of the split test",
        "split": "a person in two splits",
        "OSAIL_KL_Dataset/other": "is no set of its own",
    }


def test_radiographs_that_will_not_do_end_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_book, "snakemake", lambda *_: pytest.fail("it ran"))
    for name, message in spoilt(tmp_path).items():
        said = run_make_book(monkeypatch, capsys, f"--radiographs={tmp_path / name}")
        assert said.startswith(f"make book: RADIOGRAPHS={tmp_path / name}") and message in said
        with pytest.raises(InputError, match=message):
            place_radiographs(str(tmp_path / name), str(tmp_path / "build"), [])


# What make book finds on a machine


def run_make_book(monkeypatch, capsys, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["make_book", "--profile", "smoke", *arguments])
    assert make_book.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("make book: ") and said.count("\n") == 1
    return said


@pytest.mark.parametrize("cores", ["0", "-1", "abc", "1.5", " ", "²"])
def test_cores_that_are_none_get_one_line(monkeypatch, capsys, cores):
    said = run_make_book(monkeypatch, capsys, f"--cores={cores}")
    assert f"CORES={cores}: give the number of jobs side by side, 1 or more" in said


def test_too_few_open_files_get_one_line_or_are_allowed(monkeypatch, capsys):
    allowed = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: allowed.append(limits))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    assert "only 64 files may be open at once" in run_make_book(monkeypatch, capsys)
    assert not allowed
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, resource.RLIM_INFINITY))
    make_book._require_open_files()
    assert allowed == [(make_book.OPEN_FILES, resource.RLIM_INFINITY)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    make_book._require_open_files()
    assert len(allowed) == 1


def test_a_build_of_another_user_gets_one_line(tmp_path, monkeypatch, capsys):
    runs = tmp_path / "build/smoke/runs"
    runs.mkdir(parents=True)
    monkeypatch.setattr(make_book, "ROOT", tmp_path)
    monkeypatch.setattr(make_book, "take", lambda build: [])
    # As root may write anywhere, the system's answer is put in its mouth.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != runs)
    said = run_make_book(monkeypatch, capsys)
    assert f"{runs}: Permission denied; make it yours" in said


def test_a_disk_that_is_full_is_named_at_the_end(tmp_path, monkeypatch, capsys):
    (tmp_path / "build/smoke").mkdir(parents=True)
    monkeypatch.setattr(make_book, "ROOT", tmp_path)
    monkeypatch.setattr(make_book, "snakemake", lambda *_: 1)
    monkeypatch.setattr(sys, "argv", ["make_book", "--profile", "smoke"])
    usage = namedtuple("usage", "total used free")
    for free, full in ((1e6, True), (1e9, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage(1e9, 0, free))
        assert make_book.main() == 1
        said = capsys.readouterr().err
        assert ("The disk of build/smoke is full (1.0 MB are free)" in said) == full
        assert "not finished" in said


# make serve


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "build/smoke/html").mkdir(parents=True)
    (tmp_path / "build/smoke/html/index.html").write_text("<h1>The book</h1>")
    monkeypatch.setattr(serve, "ROOT", tmp_path)
    return "build/smoke/html"


def test_a_book_is_served_on_this_machine_only(book):
    with serve.listen(book, "0") as server:
        assert server.server_address[0] == "127.0.0.1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/") as page:
            assert b"The book" in page.read()
        server.shutdown()


def test_ports_that_cannot_be_had_get_one_line(book, monkeypatch, capsys):
    def said(port: str, profile: str = "smoke") -> str:
        monkeypatch.setattr(sys, "argv", ["serve", f"--profile={profile}", f"--port={port}"])
        assert serve.main() == 1
        text = capsys.readouterr().err
        assert text.startswith("make serve: ") and text.count("\n") == 1
        return text

    for port in ("abc", "-1", "65536", "", "8000; ls", "²"):
        assert f"PORT={port}: give a number" in said(port)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"PORT={port}" in said(port) and "choose another" in said(port)
    assert "no book in build/laptop/html yet" in said("0", "laptop")
    assert "there is no profile 'huge'" in said("0", "huge")
