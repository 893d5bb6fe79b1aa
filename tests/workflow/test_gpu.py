"""One GPU for each job: what nvidia-smi lists, what is seen, what is taken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from workflow.gpu import VISIBLE, gpus, take


@pytest.fixture
def listing(tmp_path, monkeypatch):
    """A machine whose nvidia-smi lists so many GPUs."""
    monkeypatch.delenv(VISIBLE, raising=False)

    def machine(number: int, status: int = 0) -> None:
        place = tmp_path / "bin"
        place.mkdir(exist_ok=True)
        lines = "".join(f"echo 'GPU {i}: NVIDIA H200 (UUID: GPU-{i})'\n" for i in range(number))
        (place / "nvidia-smi").write_text(f"#!/bin/sh\n{lines}exit {status}\n")
        (place / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")

    return machine


def test_gpus_are_those_that_are_seen(listing, monkeypatch):
    listing(3)
    assert gpus() == ["0", "1", "2"]
    monkeypatch.setenv(VISIBLE, "2,GPU-b")
    assert gpus() == ["2", "GPU-b"]
    monkeypatch.setenv(VISIBLE, "")
    assert gpus() == []
    monkeypatch.delenv(VISIBLE)
    listing(1, status=9)  # a driver that does not answer
    assert gpus() == []


def test_each_job_takes_a_gpu_of_its_own_until_it_ends(listing, tmp_path):
    listing(2)
    script = f"import os, sys; print(os.environ[{VISIBLE!r}], flush=True); sys.stdin.read()"
    command = [sys.executable, "-m", "workflow.gpu", str(tmp_path / "build")]
    command += [sys.executable, "-c", script]

    def job():
        words = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
        process = subprocess.Popen(command, **words)
        return process, process.stdout.readline().strip()

    (first, one), (second, other) = job(), job()
    assert (one, other) == ("0", "1")
    first.communicate("")
    third, again = job()
    fourth, shared = job()
    assert (again, shared) == ("0", "0")  # none is free: as without a choice
    for process in (second, third, fourth):
        process.communicate("")
        assert process.returncode == 0


@pytest.mark.parametrize("number", [0, 1])
def test_without_a_choice_the_command_runs_as_it_is(listing, number, tmp_path):
    listing(number)
    script = f"import os, sys; sys.exit({VISIBLE!r} in os.environ)"
    command = [sys.executable, "-m", "workflow.gpu", str(tmp_path), sys.executable, "-c", script]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    assert not list(tmp_path.glob("jobs"))


def test_a_gpu_is_named_as_cuda_names_it(tmp_path):
    assert take(tmp_path, ["MIG-a/1/0", "MIG-a/2/0"]) == "MIG-a/1/0"
    assert [Path(path).name for path in tmp_path.glob("jobs/.*")] == [".gpu-MIG-a-1-0"]
