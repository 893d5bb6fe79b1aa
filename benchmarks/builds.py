"""How long the book takes from nothing, and again when nothing has changed.

Run from the repository's root: ``python -m benchmarks.builds laptop``. Builds what is committed, in
a clone of its own with this environment, offline, twice. What counts is processor time, of all
processes and by rule of the graph; the time that other programs took meanwhile stands beside, since
they lengthen the wait. With ``--record`` the rows go to `benchmarks/recorded/builds.csv`, which
keeps those of older versions, and which the book's chapter on speed shows.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from benchmarks.speed import RECORDED, processor
from oacore.errors import InputError
from oacore.files import write
from oacore.instruments.evidence.performance import BUILDS, BUILDS_COLUMNS
from oacore.profile import load_profile
from workflow.times import by_rule

ROOT = Path(__file__).resolve().parent.parent


def elsewhere() -> float:
    """Seconds of processor time that the whole machine has spent since it was started."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, idle, waiting, *interrupts = map(int, file.readline().split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def processor_time() -> float:
    """Seconds of processor time of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(command: list[str], folder: Path) -> dict[str, float]:
    """Run a command in a folder; what it took, and what others took meanwhile, in seconds.

    Raises
    ------
    InputError
        If the command fails.
    """
    wall, own, everyone = time.perf_counter(), processor_time(), elsewhere()
    if subprocess.run(command, cwd=folder, check=False).returncode:
        raise InputError(f"{' '.join(command)}: failed, so there is nothing to record")
    own = processor_time() - own
    return {
        "processor": own,
        "wall": time.perf_counter() - wall,
        "others": max(0.0, elsewhere() - everyone - own),
    }


def measure(profile: str) -> pd.DataFrame:
    """Build a profile from nothing and once more; a row for each build, and for each rule."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "book"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        head = ["git", "-C", str(clone), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(head, check=True, capture_output=True, text=True).stdout.strip()
        make = [sys.executable, "-m", "workflow.make_book", f"--profile={profile}", "--fetch=no"]
        rows = []
        for what in ("from nothing", "nothing changed"):
            rows.append({"build": what, "rule": "all", **timed(make, clone)})
            if what == "from nothing":
                took = by_rule(clone / "build" / profile)
                rows += [{"build": what, "rule": r, "processor": s} for r, s in took.items()]
    about = {
        "profile": profile,
        "commit": commit,
        "cores": os.cpu_count(),
        "device": f"cpu: {processor()}",
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "note": "",
    }
    return pd.DataFrame([{**about, **row} for row in rows])[BUILDS_COLUMNS]


def record(rows: pd.DataFrame, path: Path) -> None:
    """Add rows to those of older versions; the same version's of the profile give way."""
    if path.exists():
        old = pd.read_csv(path, keep_default_na=False, dtype=str)
        now = rows[["profile", "commit"]].drop_duplicates()
        again = old[["profile", "commit"]].apply(tuple, axis=1).isin(now.apply(tuple, axis=1))
        rows = pd.concat([old[~again], rows])
    write(path, rows.to_csv(index=False))


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and record where asked; 0 done, 2 unusable input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.builds", description=__doc__)
    parser.add_argument("profile")
    parser.add_argument("--record", action="store_true", help=f"in {BUILDS}")
    given = parser.parse_args(arguments)
    try:
        load_profile(given.profile)
        rows = measure(given.profile).round({"processor": 1, "wall": 1, "others": 1})
    except InputError as error:
        print(f"benchmarks.builds: {error}", file=sys.stderr)
        return 2
    print(rows[["build", "rule", "processor", "wall", "others"]].to_string(index=False))
    if given.record:
        record(rows, RECORDED / BUILDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
