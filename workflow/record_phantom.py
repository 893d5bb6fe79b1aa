"""Make the record of the phantom's models: more seeds and more knees than a build has time for.

`python -m workflow.record_phantom` trains and explains the models of profile `record`, a night on
two cores, and goes on where it was stopped. It runs the chapters that compare them and puts the
tables that the book shows into `book/record/<chapter>`, with `record.json`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oacore import record
from oacore.errors import InputError
from oacore.fingerprint import ROOT, code_digest, code_files
from oacore.profile import load_profile
from oacore.provenance import of_this_machine
from oacore.results import kept
from oacore.training.records import finished, run_record, run_records
from workflow.graph import build_folder
from workflow.record import NO_NUMBERS, PHANTOM, code, replace

COMMAND = "python -m workflow.record_phantom"
#: What draws the knees, trains and explains; encoders are imported by their names.
MADE_BY = (
    *("oacore/instruments/phantom/cohort.py", "oacore/data/cache.py", "oacore/training/loop.py"),
    *("oacore/models/resnet3d.py", "oacore/models/m3t.py", "oacore/models/nnmamba.py"),
    "oacore/instruments/saliency/explain.py",
)


def make(cores: int) -> None:
    """Train what is missing, run the chapters, and put their tables into the record.

    Parameters
    ----------
    cores : int
        Jobs side by side.

    Raises
    ------
    InputError
        If a job fails, or the models were trained by other code than today's; the record stays.
    """
    build = build_folder(record.PROFILE)
    targets = [f"{build}/notebooks/{chapter}.ipynb" for chapter in PHANTOM]
    words = ["--cores", str(cores), "--config", f"profile={record.PROFILE}", "--", *targets]
    if subprocess.run(
        [sys.executable, "-m", "snakemake", *words], check=False, cwd=ROOT
    ).returncode:
        raise InputError(f"{build} is not finished, see above; the same command goes on from there")
    results = ROOT / build / "results"
    for chapter, names in PHANTOM.items():
        if missing := [name for name in names if kept(ROOT / build, f"{chapter}/{name}") is None]:
            raise InputError(f"{build}: chapter {chapter} kept no {', '.join(missing)}")
    said = about(ROOT / build)
    for chapter, names in PHANTOM.items():
        tables = [results / chapter / f"{name}.csv" for name in names]
        sums = {path.stem: {"sha256": record.content_digest(path)} for path in tables}
        of_code = {**code(chapter), **digests(training_code(), ROOT)}
        of_chapter = {**said, "tables": sums, "code": dict(sorted(of_code.items()))}
        replace(record.RECORDS / chapter, tables, of_chapter)


def about(build: Path) -> dict[str, Any]:
    """What a record of these runs says of them, but for its tables and code.

    Raises
    ------
    InputError
        If code that makes runs has changed since some of them were made.
    """
    profile = load_profile(record.PROFILE)
    runs = run_records(build / "runs")
    made_at = {run_record(folder)["provenance"]["commit"] for folder in finished(build / "runs")}
    require_same_code(made_at)
    return {
        "command": COMMAND,
        "profile": record.PROFILE,
        "settings": asdict(profile),
        "runs": {
            "models": len(runs.groupby(["backbone", "supervision"])),
            "seeds": int(runs.groupby(["backbone", "supervision"]).size().min()),
            "training knees": sum(profile.train),
            "test knees": sum(profile.test),
            "cohort seed": profile.cohort_seed,
            "volumes": sorted({run_record(f)["volumes"] for f in finished(build / "runs")}),
            "training minutes": round(float(runs["training minutes"].sum()), 1),
            "commits": sorted(made_at),
        },
        "provenance": of_this_machine(),
    }


def training_code() -> list[str]:
    """Files of the code that draws, trains and explains, but for what changes no number."""
    return [name for name in code_files(*MADE_BY) if not name.startswith(NO_NUMBERS)]


def digests(files: Iterable[str], root: Path) -> dict[str, str]:
    """Digests of what files do, by their names."""
    return {name: code_digest(root / name) for name in files}


def require_same_code(commits: Iterable[str]) -> None:
    """Refuse runs whose code did something else than today's.

    Raises
    ------
    InputError
        If it did; the files are named.
    """
    today = digests(training_code(), ROOT)
    for commit in commits:
        with tempfile.TemporaryDirectory() as folder:
            for name in today:
                words = ["git", "show", f"{commit}:{name}"]
                shown = subprocess.run(words, cwd=ROOT, capture_output=True, check=False)
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / name).write_bytes(shown.stdout)
            was = digests(today, Path(folder))
        if others := [name for name in today if today[name] != was[name]]:
            raise InputError(
                f"runs were made at commit {commit[:10]}, since when {', '.join(others)} changed: "
                f"remove {build_folder(record.PROFILE)}, and run the same command again"
            )


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", type=int, default=2)
    try:
        make(parser.parse_args(words).cores)
    except InputError as error:
        print(f"\n{error}\n", file=sys.stderr)
        return 1
    print("The record of the phantom is made.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
