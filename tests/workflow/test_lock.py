"""One process at a time in a build, whichever command began it."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from oacore.errors import InputError
from oacore.seals import SEAL, seal
from tests.helpers import copy_project, make
from workflow import lock
from workflow.check_build import main as check_build
from workflow.lock import clean, take


def free(*held: list[int]) -> None:
    for descriptor in sum(held, []):
        os.close(descriptor)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A project in which something was built, from a folder that is not its own."""
    (tmp_path / "knees").mkdir()
    (tmp_path / "knees/subInfo_train.csv").touch()
    for folder in ("build/smoke/runs", "build/laptop", ".snakemake/metadata"):
        (tmp_path / "project" / folder).mkdir(parents=True)
    (tmp_path / "project/build/smoke/cohort").symlink_to(tmp_path / "knees")
    return tmp_path / "project"


def test_a_build_has_one_process_and_two_builds_have_two(tmp_path):
    first = take("build/smoke", tmp_path)
    with pytest.raises(InputError, match=r"another make book or snakemake .* in build/smoke"):
        take("build/smoke", tmp_path)
    other = take("build/laptop", tmp_path)
    free(first)
    free(take("build/smoke", tmp_path), other)


def test_clean_and_builds_exclude_each_other(built):
    held = take("build/smoke", built)
    before = sorted(built.rglob("*"))
    with pytest.raises(InputError, match=r"is at work in build"):
        clean(built)
    assert sorted(built.rglob("*")) == before
    free(held)
    cleaning = [os.open(built / "build/.lock", os.O_RDWR)]
    fcntl.flock(cleaning[0], fcntl.LOCK_EX)
    with pytest.raises(InputError, match="make clean is at work"):
        take("build/smoke", built)
    free(cleaning)
    clean(built)
    assert list(built.iterdir()) == []
    assert (built.parent / "knees/subInfo_train.csv").is_file()
    clean(built)  # again, where there is nothing


def test_a_build_at_work_is_not_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["check_build", "--profile", "smoke"])
    assert check_build() == 1 and "no such build" in capsys.readouterr().err
    held = take("build/smoke", tmp_path)
    assert check_build() == 1 and "is at work in build/smoke" in capsys.readouterr().err
    free(held)
    assert check_build() == 0


def test_clean_leaves_what_a_link_leads_to(tmp_path, capsys):
    (tmp_path / "scratch/smoke").mkdir(parents=True)
    (tmp_path / "project").mkdir()
    (tmp_path / "project/build").symlink_to(tmp_path / "scratch")
    held = take("build/smoke", tmp_path / "project")
    with pytest.raises(InputError):
        clean(tmp_path / "project")
    free(held)
    clean(tmp_path / "project")
    assert list((tmp_path / "project").iterdir()) == []
    assert (tmp_path / "scratch/smoke").is_dir()
    assert f"stays in {tmp_path / 'scratch'}" in capsys.readouterr().out


def test_a_lock_that_clean_removed_meanwhile_is_made_anew(tmp_path, monkeypatch):
    removed = []

    def flock(descriptor, kind):
        if not removed:
            removed.append(descriptor)
            (tmp_path / "build/.lock").unlink()
            (tmp_path / "build").rmdir()

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", flock)
        share, own = take("build/smoke", tmp_path)
    for descriptor, path in ((share, "build/.lock"), (own, "build/smoke/.lock")):
        assert os.path.samestat(os.fstat(descriptor), os.stat(tmp_path / path))
    free([share, own])


def test_a_folder_that_cannot_be_written_gets_one_line(tmp_path, monkeypatch):
    (tmp_path / "build").touch()
    with pytest.raises(InputError, match=r"build: .*rename or remove it$"):
        take("build/smoke", tmp_path)
    (tmp_path / "build").unlink()
    (tmp_path / "build").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"build: .*rename or remove it$"):
        take("build/smoke", tmp_path)
    (tmp_path / "build").unlink()
    for number, cure in {
        errno.EROFS: "make build a link",
        errno.EACCES: "make it yours",
        errno.ENOSPC: "free some space",
        errno.EMFILE: "ulimit -n",
        errno.ENOLCK: "its disk locks no files: make build a link",
        errno.ENOSYS: "its disk locks no files",
    }.items():

        def fails(*_, number=number, **__):
            raise OSError(number, os.strerror(number))

        for name in ("os.open", "fcntl.flock", "pathlib.Path.mkdir"):
            with monkeypatch.context() as patched:
                patched.setattr(name, fails)
                with pytest.raises(InputError) as caught:
                    take("build/smoke", tmp_path)
            said = str(caught.value)
            assert os.strerror(number) in said and cure in said and "\n" not in said


def test_snakemake_make_book_and_make_clean_wait_for_each_other(tmp_path):
    project = copy_project(tmp_path / "project")
    command = [sys.executable, "-m", "snakemake", "--nocolor", "--cores", "1"]
    command += ["--config", "profile=smoke"]

    def run(*words: str, **options) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *words], cwd=project, capture_output=True, text=True, **options
        )

    held = take("build/smoke", project)
    (project / "build/smoke/cohort").mkdir()
    refused = run("--", "build/smoke/cohort")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert refused.stderr.strip().splitlines()[-1] == (
        "snakemake: another make book or snakemake is at work in build/smoke; "
        "wait for it, or end it first"
    )
    assert (project / "build/smoke/cohort").is_dir()
    for words in (("book", "PROFILE=smoke"), ("clean",)):
        done = make(*words, root=project)
        assert done.returncode != 0 and "is at work in build" in done.stdout
    # Who only looks is let in; so is the one whom the lock was handed to.
    assert run("--list-rules").returncode == 0
    handed = {**os.environ, lock.HANDED: str(held[-1])}
    assert run("--touch", "--", "build/smoke/cohort").returncode == 1
    done = run("--touch", "--", "build/smoke/cohort", env=handed, pass_fds=held)
    assert done.returncode == 0, done.stderr
    # The word alone, as a job of that build has it, opens nothing.
    assert run("--touch", "--", "build/smoke/cohort", env=handed).returncode == 1
    free(held)
    assert make("clean", root=project).returncode == 0
    assert not (project / "build").exists() and not (project / ".snakemake").exists()


def test_snakemake_looks_for_damage_before_it_begins_as_make_book_does(tmp_path):
    """It said "Nothing to be done" over runs whose files were not what had been written."""
    project = copy_project(tmp_path / "project")
    run = project / "build/smoke/runs/resnet3d/dual/seed0"
    run.mkdir(parents=True)
    for name in ("weights.safetensors", "done.json"):
        (run / name).write_text(name)
    seal(run / SEAL, [run / "weights.safetensors", run / "done.json"])
    (run / "weights.safetensors").write_text("half")
    (project / "build/smoke/measured.csv").write_text("never sealed")
    command = [sys.executable, "-m", "snakemake", "--nocolor", "--config", "profile=smoke"]

    def build(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *words], cwd=project, capture_output=True, text=True)

    looked = build("--list-rules")
    assert looked.returncode == 0 and "seal" not in looked.stdout + looked.stderr
    assert (project / "build/smoke/measured.csv").exists()
    refused = build("--cores", "1", "--", "build/smoke/measured.csv")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "snakemake: 1 of the build's parts are not what was written" in refused.stderr
    assert refused.stderr.strip().endswith("rm -r build/smoke/runs/resnet3d/dual/seed0")
    assert (run / "weights.safetensors").exists()
