"""Make the record of the phantom's models: more seeds and more knees than a build has time for.

`python -m workflow.record_phantom` trains and explains the models of profile `record`, an hour or
two on two cores, and goes on where it was stopped. It runs the chapters that compare them and puts
the tables that the book shows into `book/record/<chapter>`, with `record.json`. Where code that
trains has changed since, it draws the knees again and makes one run of each backbone again, and
goes on if all is the same to the byte.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from oacore import record
from oacore.data.cache import cached_volumes
from oacore.data.cohort import graded, read_cohort
from oacore.errors import InputError
from oacore.files import write
from oacore.fingerprint import ROOT, code_digest, code_files
from oacore.profile import Profile, Recipe, load_profile
from oacore.provenance import commit, of_this_machine
from oacore.results import kept
from oacore.training.records import finished, run_folder, run_record, run_records
from workflow.graph import build_folder
from workflow.jobs import mark, write_mark
from workflow.record import NO_NUMBERS, PHANTOM, code, replace
from workflow.run_models import run_all

COMMAND = "python -m workflow.record_phantom"
SAME = "same-results.json"
"""In the build, the runs that were made again by changed code, with the same results."""

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
        If a job fails, or today's code would train other models; the record stays.
    """
    build = build_folder(record.PROFILE)
    adopt(Path(build), cores)
    targets = [f"{build}/notebooks/{chapter}.ipynb" for chapter in PHANTOM]
    if snakemake(["--cores", str(cores)], targets):
        raise InputError(f"{build} is not finished, see above; the same command goes on from there")
    results = ROOT / build / "results"
    for chapter, names in PHANTOM.items():
        if missing := [name for name in names if kept(ROOT / build, f"{chapter}/{name}") is None]:
            raise InputError(f"{build}: chapter {chapter} kept no {', '.join(missing)}")
    said = about(ROOT / build)
    for chapter, names in PHANTOM.items():
        tables = [results / chapter / f"{name}.csv" for name in names]
        sums = {path.stem: {"sha256": record.content_digest(path)} for path in tables}
        of_chapter = {**said, "tables": sums, "code": code_behind(chapter)}
        replace(record.RECORDS / chapter, tables, of_chapter)


def snakemake(words: list[str], targets: list[str], profile: str = record.PROFILE) -> int:
    """Call Snakemake for files of a profile's build; its exit status."""
    # The build's own lock is the Snakefile's matter; Snakemake's would outlive a kill.
    words = ["--nolock", *words, "--config", f"profile={profile}", "--", *targets]
    command = [sys.executable, "-m", "snakemake", *words]
    return subprocess.run(command, check=False, cwd=ROOT).returncode


def adopt(build: Path, cores: int) -> None:
    """Keep the runs of a finished build though the code has changed, if it makes the same ones.

    Parameters
    ----------
    build : Path
        As the build graph names it. Nothing is done to one that is not finished, or of this code.
    cores : int
        Processes that draw.

    Raises
    ------
    InputError
        If the code makes other runs now, see :func:`require_same_results`.
    """
    profile, there = load_profile(record.PROFILE), ROOT / build
    kinds = {
        "runs": profile.backbones,
        "controls": profile.controls,
        "explained": profile.backbones,
    }
    jobs = {
        mark(build, f"{kind}.{model}.{part}"): [
            run_folder(there / kind, model, *run) for run in runs
        ]
        for kind, its in kinds.items()
        for model in its
        for part, runs in enumerate(profile.parts(model))
    }
    folders = [folder for runs in jobs.values() for folder in runs]
    if not all((folder / "done.json").exists() for folder in folders):
        return
    made_at = {run_record(folder)["provenance"]["commit"] for folder in finished(there / "runs")}
    if not (changed := since(made_at)):
        return
    said = same(there)
    if not said or since([said["commit"]]):
        print(f"Since these runs were made, {', '.join(changed)} changed: some are made again")
        again = require_same_results(there, cores)
        write(there / SAME, json.dumps({**commit(), "runs": again}))
    for file, runs in jobs.items():
        write_mark(ROOT / file, runs, there)
    caches = [f"{build}/cache/{backbone}.txt" for backbone in profile.backbones]
    targets = [f"{build}/cohort", *caches, *map(str, jobs)]
    if snakemake(["--touch", "--cores", "1"], targets):
        raise InputError(f"{build} could not be adopted, see above")


def about(build: Path) -> dict[str, Any]:
    """What a record of these runs says of them, but for its tables and code."""
    profile = load_profile(record.PROFILE)
    runs = run_records(build / "runs")
    made_at = {run_record(folder)["provenance"]["commit"] for folder in finished(build / "runs")}
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
            "made again with the same results": same(build),
        },
        "provenance": of_this_machine(),
    }


def same(build: Path) -> dict[str, Any]:
    """Which runs were made again by changed code, with the same results, and at which commit."""
    return json.loads((build / SAME).read_text()) if (build / SAME).exists() else {}


def training_code() -> list[str]:
    """Files of the code that draws, trains and explains, but for what changes no number."""
    return [name for name in code_files(*MADE_BY) if not name.startswith(NO_NUMBERS)]


def code_behind(chapter: str) -> dict[str, str]:
    """Digests of the code behind a chapter's tables, by file: of its own, and of what trains."""
    return dict(sorted({**code(chapter), **digests(training_code(), ROOT)}.items()))


def digests(files: Iterable[str], root: Path) -> dict[str, str]:
    """Digests of what files do, by their names."""
    return {name: code_digest(root / name) for name in files}


def since(commits: Iterable[str]) -> list[str]:
    """Files of the training code that did something else at one of these commits."""
    today = digests(training_code(), ROOT)
    others: set[str] = set()
    for one in commits:
        with tempfile.TemporaryDirectory() as folder:
            for name in today:
                words = ["git", "show", f"{one}:{name}"]
                shown = subprocess.run(words, cwd=ROOT, capture_output=True, check=False)
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / name).write_bytes(shown.stdout)
            was = digests(today, Path(folder))
        others |= {name for name in today if today[name] != was[name]}
    return sorted(others)


def require_same_results(build: Path, cores: int) -> list[str]:
    """Refuse runs that today's code would not make, after making some of them again.

    Parameters
    ----------
    build : Path
        Finished.
    cores : int
        Processes that draw.

    Returns
    -------
    list of str
        The runs that were made again, and came out the same, byte for byte.

    Raises
    ------
    InputError
        If one did not, or the knees did not.
    """
    profile = load_profile(record.PROFILE)
    torch.set_num_threads(1)  # as the graph does
    with tempfile.TemporaryDirectory(dir=build) as temporary:
        again = Path(temporary)
        for name in ("cache", "controls"):
            (again / name).symlink_to((build / name).resolve())
        words = [str(again / "cohort"), "--profile", profile.name, "--workers", str(cores)]
        subprocess.run([sys.executable, "-m", "oacore", "phantom", *words], check=True, cwd=ROOT)
        apart = unlike(build, again, "cohort/*/*.nii.gz")
        cases = graded(read_cohort(again / "cohort"))
        apart += [name for name, recipe in grids(profile) if not read_alike(cases, recipe, again)]
        made = []
        for backbone, recipe in profile.backbones.items():
            one = replace_fields(recipe, supervisions=("dual",), seeds=recipe.seeds[:1])
            few = replace_fields(profile, backbones={backbone: one})
            for kind in ("runs", "explained"):
                run_all(kind, backbone, 0, profile=few, cohort=again / "cohort", build=again)
                apart += unlike(build, again, f"{kind}/{backbone}/*/*/*.csv")
            made.append(f"{backbone} dual seed {one.seeds[0]}")
    if apart:
        raise InputError(
            f"{build}: today's code makes something else of {', '.join(apart[:3])}"
            f"{f' and {len(apart) - 3} more' if len(apart) > 3 else ''}: remove it, and run the "
            "same command again"
        )
    return made


def grids(profile: Profile) -> list[tuple[str, Recipe]]:
    """A backbone for each way in which the volumes of a profile are read, with its recipe."""
    recipes = {(r.grid, r.resample): (f"cache of {b}", r) for b, r in profile.backbones.items()}
    return list(recipes.values())


def read_alike(cases: pd.DataFrame, recipe: Recipe, build: Path) -> bool:
    """Whether volumes are read now as the cache has them, but for the last bit of the 16.

    Volumes are averaged by a product of matrices, which adds up in another order with another
    number of threads. Runs that are to be the same to the byte need the cache itself.
    """
    there = cached_volumes(cases, recipe.grid, recipe.resample, build / "cache")
    with tempfile.TemporaryDirectory(dir=build) as place:
        now = cached_volumes(cases, recipe.grid, recipe.resample, place)
        return np.array_equal(now.masks, there.masks) and np.allclose(
            np.asarray(now.images, np.float32), there.images, rtol=2**-9, atol=2**-9
        )


def unlike(one: Path, other: Path, pattern: str) -> list[str]:
    """Files of a pattern below `other` that are not the same below `one`; times do not count.

    Raises
    ------
    InputError
        If there is none.
    """
    names = sorted(path.relative_to(other) for path in other.glob(pattern))
    if not names:
        raise InputError(f"{other}: holds no {pattern}; nothing can be compared")
    return [
        str(name)
        for name in names
        if not (one / name).is_file() or content(one / name) != content(other / name)
    ]


def content(path: Path) -> bytes:
    """What a file holds, without how long that took."""
    if path.name != "history.csv":
        return path.read_bytes()
    return pd.read_csv(path).drop(columns="seconds").to_csv(index=False).encode()


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
