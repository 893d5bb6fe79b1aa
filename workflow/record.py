"""Make the records of chapters whose inputs cannot be shipped, and compare them with the code.

`python -m workflow.record published --published FOLDER --radiomics FOLDER` runs chapter 9 on the
released files, in a folder of its own, and puts the tables that it computed into
`book/record/09-published-record`, with `record.json`; `radiomics` does the same for chapter 11, and
`grades --references FOLDER` for chapter 15. A record appears whole or not at all.
`python -m workflow.record --check` says which records were made by another version of the code;
given folders, it runs the chapters again that need no others, and says what differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oacore import record
from oacore.data.sources import needed_files, sources_table
from oacore.errors import InputError
from oacore.fingerprint import ROOT, code_digest, code_files, imported_files
from oacore.provenance import of_this_machine
from workflow.graph import code_cells
from workflow.jobs import in_words

#: What draws tables, judges by them, or carries them to disk, and changes no number in them.
NO_NUMBERS = (
    *("oacore/plots/", "oacore/instruments/evidence/", "oacore/errors.py", "oacore/files.py"),
    *("oacore/fingerprint.py", "oacore/record.py", "oacore/results.py", "oacore/seals.py"),
    *("oacore/training/records.py", "oacore/data/sources"),
)
CHAPTERS = {
    "published": "09-published-record",
    "radiomics": "11-radiomics",
    "grades": "15-seven-grades",
}
#: Sources that each is computed from, and the files of theirs that it reads; those that a build
#: needs where none is named.
SOURCES: dict[str, dict[str, tuple[str, ...]]] = {
    "published": {"published": (), "radiomics": ()},
    "radiomics": {"published": (), "radiomics": ()},
    "grades": {"references": ("kxr_sq_bu00.xlsx",)},
}
#: Chapters that show the phantom's record (workflow.record_phantom) beside their own results, and
#: their tables in it.
PHANTOM = {
    "08-comparison": ("table1", "effects", "interaction"),
    "13-severity-axis": ("differences", "likeness", "supervision-test"),
    "14-saliency": ("differences", "learned", "seeds"),
}
#: Ten seeds of the small network; no other of its settings concerns these chapters.
PROFILE = "laptop"
#: Two numbers are alike where they differ by so much of the recorded one at the most, or by so
#: little in all: other processors add up in another order, and what is 0 there is 1e-17 here.
RELATIVE, LEAST = 1e-6, 1e-9
#: Tables of fitted models, whose solvers stop where they are near enough: absolute. Networks are
#: trained by seeds, but each machine rounds in its own way, which training makes larger.
NETWORKS = 0.02
ABSOLUTE = {
    "11-radiomics": {
        **dict.fromkeys(["ladder", "folds", "two-numbers", "benchmark"], 2e-3),
        **dict.fromkeys(["network", "spread", "effects"], NETWORKS),
    }
}
#: What follows from how far the seeds of networks lie apart swings more than what it is computed
#: from: it may differ by so much of the number, and as much again.
SWINGING = {"df": 0.75, "p_value": 0.1}


def make(name: str, folders: Mapping[str, str]) -> Path:
    """Run a chapter on the released files and put what it computed into the record.

    Parameters
    ----------
    name : {"published", "radiomics", "grades"}
    folders : mapping
        Folders of the released files, by source; at least those that the chapter is computed from.

    Returns
    -------
    Path
        The record's folder.

    Raises
    ------
    InputError
        If a file is not there, or the chapter fails. The old record stays.
    """
    chapter = CHAPTERS[name]
    folders = {source: folders.get(source, "") for source in SOURCES[name]}
    inputs = {
        source: digests(source, folder, SOURCES[name][source]) for source, folder in folders.items()
    }
    there = record.RECORDS / chapter
    results, seconds = run(chapter, folders)
    try:
        tables = sorted(results.glob("*.csv"))
        words = " ".join(f"--{source} FOLDER" for source in folders)
        said = {
            "command": f"python -m workflow.record {name} {words}",
            "profile": PROFILE,
            "tables": {
                path.stem: {
                    **json.loads(path.with_suffix(".json").read_text()),
                    "sha256": record.content_digest(path),
                }
                for path in tables
            },
            "inputs": inputs,
            "other than released": other_than_released(inputs),
            "code": code(chapter),
            "processor seconds": round(seconds),
            # Before a file of ours makes the project unclean.
            "provenance": {**of_this_machine(), "threads": 1},
        }
        replace(there, tables, said)
    finally:
        shutil.rmtree(results.parents[1])
    return there


def replace(there: Path, tables: list[Path], said: dict[str, Any]) -> None:
    """Put tables and what is said of them in place of a record; all of them, or none."""
    there.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="part-", dir=there.parent) as part:
        new, old = Path(part) / "new", Path(part) / "old"
        new.mkdir()
        for path in tables:
            shutil.copyfile(path, new / path.name)
        (new / record.MADE).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
        if there.exists():
            os.replace(there, old)
        try:
            os.replace(new, there)
        except OSError:
            if old.exists():
                os.replace(old, there)
            raise


def put(there: Path, tables: Mapping[str, pd.DataFrame], said: Mapping[str, Any]) -> Path:
    """Put tables by their names, in seven digits, in place of a record, with what is said of them.

    Returns
    -------
    Path
        `there`, the record's folder.
    """
    with tempfile.TemporaryDirectory() as place:
        paths = []
        for name, table in tables.items():
            path = Path(place) / f"{name}.csv"
            table.to_csv(path, index=False, float_format="%.7g")
            paths.append(path)
        sums = {path.stem: {"sha256": record.content_digest(path)} for path in paths}
        replace(there, paths, {**said, "tables": sums})
    return there


def digests(source: str, folder: str, names: Sequence[str] = ()) -> dict[str, str]:
    """SHA-256 of a source's files by their names: of those named, or of those that a build needs.

    Raises
    ------
    InputError
        If one is not there.
    """
    found = {}
    for name in names or needed_files(source):
        path = Path(folder) / name
        if not folder or not path.is_file():
            raise InputError(f"{path}: no such file; get it with `oacore fetch {source}`")
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def other_than_released(inputs: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Names of the files that are not, byte for byte, those that were released.

    A subject table without the columns that identify a participant is one: nothing reads them.
    """
    others = []
    for source, found in inputs.items():
        released = sources_table(source)
        known = dict(zip(released["file"], released["sha256"], strict=True))
        others += [name for name, digest in found.items() if digest != known.get(name)]
    return others


def run(chapter: str, folders: Mapping[str, str]) -> tuple[Path, float]:
    """Run a chapter on the files, in a build of its own outside the project, on one thread.

    Returns
    -------
    Path, float
        The folder of the tables that it computed, two below the build's; processor seconds.

    Raises
    ------
    InputError
        If a cell fails; nothing stays then.
    """
    build = Path(tempfile.mkdtemp(prefix="oacore-record-"))
    given = [f"{source}={Path(folder).resolve()}" for source, folder in folders.items()]
    words = [f"profile={PROFILE}", f"cohort={build / 'cohort'}", f"build={build}", *given]
    source, output = f"notebooks/{chapter}.ipynb", build / f"notebooks/{chapter}.ipynb"
    before = _processor_seconds()
    command = [sys.executable, "-m", "workflow.run_notebook", source, str(output), *words]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # sums do not depend on how many there are
    if subprocess.run(command, check=False, cwd=ROOT, env=alone).returncode:
        shutil.rmtree(build)
        raise InputError(f"{source} failed, see above; the record is as it was")
    return build / "results" / chapter, _processor_seconds() - before


def code(chapter: str) -> dict[str, str]:
    """Digests of the code behind a chapter's tables, by file."""
    notebook = f"notebooks/{chapter}.ipynb"
    entries = {
        file
        for file in imported_files(code_cells(ROOT / notebook), notebook, ROOT)
        if not file.startswith(NO_NUMBERS) and not file.endswith("/figures.py")
    }
    files = [file for file in code_files(*entries) if not file.startswith(NO_NUMBERS)]
    return {file: code_digest(ROOT / file) for file in [notebook, *files]}


def code_of(*entries: str) -> dict[str, str]:
    """Digests of the code behind tables, by file: of modules of ``oacore`` and all they import.

    Parameters
    ----------
    entries : str
        Paths below ``oacore``, without ".py".
    """
    files = code_files(*(f"oacore/{entry}.py" for entry in entries))
    numbers = [file for file in files if not file.startswith(NO_NUMBERS)]
    return {file: code_digest(ROOT / file) for file in numbers}


def differences(
    recorded: Path, computed: Path, absolute: Mapping[str, float] | None = None
) -> list[str]:
    """In what computed tables differ from those of a record.

    Parameters
    ----------
    recorded, computed : Path
        Folders of tables.
    absolute : mapping, optional
        How far numbers of a table may lie apart; `RELATIVE` holds of the others.

    Returns
    -------
    list of str
        A sentence for each difference: a table in one folder alone, another shape, another text,
        a number too far off.
    """
    names = {path.name for folder in (recorded, computed) for path in folder.glob("*.csv")}
    said = []
    for name in sorted(names):
        missing = [folder for folder in (recorded, computed) if not (folder / name).is_file()]
        if missing:
            where = "record" if missing[0] == recorded else "computed tables"
            said.append(f"{name} is not among the {where}")
            continue
        here, there = record.read(computed / name), record.read(recorded / name)
        tolerance = (absolute or {}).get(Path(name).stem, 0.0)
        said += [f"{name}: {what}" for what in _apart(there, here, tolerance)]
    return said


def _apart(recorded: pd.DataFrame, computed: pd.DataFrame, absolute: float) -> list[str]:
    if list(recorded.columns) != list(computed.columns) or len(recorded) != len(computed):
        return [f"{recorded.shape} rows and columns in the record, {computed.shape} computed"]
    said = []
    for column in recorded:
        was, now = recorded[column], computed[column]
        if pd.api.types.is_numeric_dtype(was) and pd.api.types.is_numeric_dtype(now):
            swings = absolute == NETWORKS and column in SWINGING
            share = SWINGING[str(column)] if swings else 0.0 if absolute else RELATIVE
            alike = np.isclose(
                now.to_numpy(float), was.to_numpy(float),
                rtol=share, atol=max(share, absolute) if absolute else LEAST, equal_nan=True,
            )  # fmt: skip
        else:
            alike = (was.fillna("").astype(str) == now.fillna("").astype(str)).to_numpy()
        said += [
            f"row {row + 1}, {column} was {was.iloc[row]}, is {now.iloc[row]}"
            for row in np.flatnonzero(~alike)
        ]
    return said


def others() -> dict[str, Callable[[], dict[str, str]]]:
    """Records that commands of their own make, by chapter: what says which code is behind them."""
    from workflow import (  # which import this module
        record_artefact,
        record_changes,
        record_hierarchy,
        record_likeness,
        record_noise,
        record_radiographs,
        record_visits,
    )

    alone = (
        *(record_likeness, record_radiographs, record_noise, record_artefact),
        *(record_visits, record_changes),
    )
    return {one.CHAPTER: one.code for one in alone} | {
        chapter: partial(record_hierarchy.code, name)
        for name, chapter in record_hierarchy.CHAPTERS.items()
    }


def closures() -> dict[str, Callable[[], dict[str, str]]]:
    """All records that there may be, by chapter: what says which code is behind them today."""
    from workflow import record_phantom  # which imports this module

    return (
        {chapter: partial(code, chapter) for chapter in CHAPTERS.values()}
        | {chapter: partial(record_phantom.code_behind, chapter) for chapter in PHANTOM}
        | others()
    )


def stale() -> list[str]:
    """Which records were made by code that does something else now, and what makes them anew."""
    said = []
    for chapter, behind in closures().items():
        if not (record.RECORDS / chapter / record.MADE).is_file():
            continue
        made = record.made(chapter)
        # What has changed or is gone, and what is behind it since.
        files = record.changed(chapter) + sorted(set(behind()) - set(made["code"]))
        if files:
            said.append(
                f"the record {chapter} was made by an earlier version of {', '.join(files)}: "
                f"`{made['command']}`"
            )
    return said


def compared(folders: Mapping[str, str]) -> list[str]:
    """Run the chapters again that these folders are for, and say in what their tables differ.

    Raises
    ------
    InputError
        If a file is not there, or a chapter fails.
    """
    names = [name for name, sources in SOURCES.items() if any(folders.get(s) for s in sources)]
    for name in names:
        for source, files in SOURCES[name].items():
            digests(source, folders.get(source, ""), files)
    said = []
    for name in names:
        chapter = CHAPTERS[name]
        results, _ = run(chapter, {source: folders[source] for source in SOURCES[name]})
        try:
            found = differences(record.RECORDS / chapter, results, ABSOLUTE.get(chapter))
        finally:
            shutil.rmtree(results.parents[1])
        said += [f"{chapter}/{what}" for what in found]
    return said


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", choices=list(CHAPTERS))
    parser.add_argument("--published", default="", metavar="FOLDER")
    parser.add_argument("--radiomics", default="", metavar="FOLDER")
    parser.add_argument("--references", default="", metavar="FOLDER")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(words)
    sources = ("published", "radiomics", "references")
    folders: dict[str, str] = {source: getattr(given, source) for source in sources}
    if bool(given.name) == given.check:
        parser.error("name one record to make, or --check all of them")
    if not given.check:
        return in_words(lambda: f"{make(given.name, folders)} is made")
    try:
        said = [*stale(), *(compared(folders) if any(folders.values()) else [])]
    except InputError as error:
        print(f"\n{error}\n", file=sys.stderr)
        return 1
    print("\n".join(said) or "The records are of this code.")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
