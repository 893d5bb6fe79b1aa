"""All that can be learned of a GPU in eight minutes: `make gpu-check`.

First the tests that only a GPU can run, then the other unit tests under that machine's Python, then
the speed rows at the paper's setting, then one short run of each backbone. After each step one JSON
file is written anew, so that a check that is cut off leaves what it found; the book's chapter on
speed reads it. Nothing is asked, and a step that fails stops none that follows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import torch

from benchmarks.speed import RECORDED, default_out
from oacore.files import write
from oacore.profile import load_profile
from oacore.provenance import provenance

ROOT = Path(__file__).resolve().parent.parent
#: Tests that run on a GPU and nowhere else.
ON_A_GPU = (
    "tests/training/test_cuda.py",
    "tests/models/scan/test_gpu.py",
    "tests/instruments/phantom/test_knee.py",
)
#: The others, but for those of whole builds, of browsers, and of what these steps measure.
OTHERS = ("tests", "--ignore=tests/workflow", "--ignore=tests/benchmarks")
BEGIN = "check-"
"""What the names of the files of these checks begin with."""


@dataclass(frozen=True)
class Step:
    """One step of a check.

    Attributes
    ----------
    name : str
        In words.
    seconds : float
        After which it is cut off.
    run : callable
        Takes `seconds`; returns what it found, with "ok".
    """

    name: str
    seconds: float
    run: Callable[[float], dict[str, Any]]


def steps(device: torch.device, profile: str, speed: list[str], build: Path) -> Iterator[Step]:
    """The steps of a check, in the order in which a cut leaves the most.

    Parameters
    ----------
    device : torch.device
    profile : str
        Of the short runs.
    speed : list of str
        Arguments of ``benchmarks.speed``.
    build : Path
        Folder of the short runs, and of the knees that they are trained on.
    """
    several = str(max(1, min(12, (os.cpu_count() or 1) - 2)))
    yield Step("tests that need a GPU", 100, lambda limit: tests(ON_A_GPU, limit))
    yield Step("the other unit tests", 150, lambda limit: tests((*OTHERS, "-n", several), limit))
    yield Step("speed, beside the usual tools", 200, lambda limit: called(
        ["-m", "benchmarks.speed", "--device", device.type, *speed], limit
    ))  # fmt: skip
    for backbone in load_profile(profile).backbones:
        yield Step(
            f"a short run of {backbone}",
            40,
            lambda limit, b=backbone: trained(b, profile, build, limit),
        )


def called(words: list[str], limit: float) -> dict[str, Any]:
    """Run Python with some words; whether it ended well, and what it said last."""
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=alone, text=True, timeout=limit,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"ok": False, "said": f"cut off after {limit:.0f} s"}
    last = done.stdout.strip().splitlines()[-1:] or [""]
    return {"ok": done.returncode == 0, "said": last[0]}


def tests(words: tuple[str, ...], limit: float) -> dict[str, Any]:
    """Run some tests: how many passed, failed and were skipped, and which failed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tests.xml")
        found = called(["-m", "pytest", "-q", f"--junitxml={file}", *words], limit)
        if not file.exists():  # cut off, or it could not begin
            return found
        cases = list(ElementTree.parse(file).iter("testcase"))
    failed = [
        f"{case.get('classname')}.{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    count = {"passed": len(cases) - len(failed) - skipped, "failed": len(failed)}
    return {**found, **count, "skipped": skipped, "which": failed[:20]}


def trained(backbone: str, profile: str, build: Path, limit: float) -> dict[str, Any]:
    """Draw a cohort, once, and train a backbone on it: its last loss and its seconds an epoch."""
    words = ["-m", "oacore"]
    if not (build / "cohort").exists():
        drawn = called([*words, "phantom", str(build / "cohort"), "--profile", profile], limit)
        if not drawn["ok"]:
            return drawn
    run = build / backbone
    words += ["train", "--backbone", backbone, "--supervision", "dual", "--profile", profile]
    words += ["--cohort", str(build / "cohort"), "--cache", str(build / "cache")]
    found = called([*words, "--out", str(run)], limit)
    if not found["ok"]:
        return found
    history = pd.read_csv(run / "history.csv")
    record = json.loads((run / "done.json").read_text())
    return {
        **found,
        "said": f"loss {history['loss'].iloc[0]:.3f} to {history['loss'].iloc[-1]:.3f} "
        f"in {len(history)} epochs of {history['seconds'].median():.2f} s, "
        f"{record['precision used']}, {record['kernel']}",
    }


def check(out: Path, device: torch.device, found: Iterator[Step]) -> list[dict[str, Any]]:
    """Do all steps, and write the file after each.

    Parameters
    ----------
    out : Path
        A JSON file; its folder is made.
    device : torch.device
    found : iterator of Step
    """
    start, done = time.perf_counter(), []
    out.parent.mkdir(parents=True, exist_ok=True)
    for step in found:
        begun = time.perf_counter()
        result = step.run(step.seconds)
        seconds = round(time.perf_counter() - begun, 1)
        done.append({"step": step.name, **result, "seconds": seconds})
        print(f"{'ok  ' if result['ok'] else 'FAIL'} {step.name} ({seconds} s): {result['said']}")
        for name in result.get("which", []):
            print(f"       {name}")
        sys.stdout.flush()
        minutes = round((time.perf_counter() - start) / 60, 1)
        said = {**provenance(device), "cores": os.cpu_count(), "minutes": minutes}
        write(out, json.dumps({**said, "rows": [], "checks": done}, indent=1) + "\n")
    return done


def main(words: list[str] | None = None) -> int:
    """Command line; 0 if every step ended well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    there = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=["cpu", "cuda"], default=there)
    parser.add_argument("--profile", default="laptop", help="of the short runs")
    parser.add_argument("--only", nargs="+", default=[], help="speed rows, of benchmarks.speed")
    parser.add_argument("--out", type=Path, help="default: check-DEVICE.json in recorded/")
    options = parser.parse_args(words)
    device = torch.device(options.device)
    out = options.out or RECORDED / f"{BEGIN}{default_out(device).name}"
    speed = ["--only", *options.only] if options.only else []
    with tempfile.TemporaryDirectory() as build:
        done = check(out, device, steps(device, options.profile, speed, Path(build)))
    print(f"recorded in {out}")
    return 0 if all(step["ok"] for step in done) else 1


if __name__ == "__main__":
    sys.exit(main())
