"""Carry records over a change of code that changes no number, once that is shown.

`python -m workflow.carry` takes each record that is stale and finds the last commit that holds the
code by which it was made. What changed since must be answered for by checks: scripts that the tree
of then and that of now both run, each filling a folder. Where both folders hold the same bytes, the
record gets the digests of today's code, and says under "carried" what was compared. Where anything
differs, or a file has no check, it stays stale. Tables are left alone in any case.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from oacore import record
from oacore.errors import InputError
from oacore.files import write
from oacore.fingerprint import ROOT, code_digest
from oacore.provenance import of_this_machine
from workflow.jobs import in_words
from workflow.record import closures

#: Runs a script on the package of a tree, and on no other that is installed.
START = """
import runpy, sys
from pathlib import Path
import oacore
script, folder, tree = sys.argv[1:]
if Path(oacore.__file__).resolve().parents[1] != Path(tree).resolve():
    sys.exit(f"{oacore.__file__} is imported, which is not in {tree}")
sys.argv = [script, folder]
runpy.run_path(script, run_name="__main__")
"""


@dataclass(frozen=True)
class Check:
    """A script that shows of some files whether they do the same in two trees.

    Attributes
    ----------
    script : Path
        Gets a folder to fill; it uses only what both trees have.
    answers_for : tuple of str
        Files below the project of which all that reaches a record shows in the folder.
    """

    script: Path
    answers_for: tuple[str, ...]


_DRAWN_BY = ("readers", "grades", "subjects", "bones", "anatomy", "image", "knee", "cohort")
CHECKS = {
    "drawing": Check(
        Path(__file__).with_name("carry_drawing.py"),
        (
            *(f"oacore/instruments/phantom/{name}.py" for name in _DRAWN_BY),
            *(f"oacore/instruments/hierarchy/{name}.py" for name in ("courses", "visits")),
            "oacore/instruments/radiographs/drawn.py",
        ),
    ),
    "cohort": Check(Path(__file__).with_name("carry_cohort.py"), ("oacore/data/cohort.py",)),
    "means": Check(
        Path(__file__).with_name("carry_means.py"), ("oacore/instruments/saliency/means.py",)
    ),
    "slicer": Check(
        Path(__file__).with_name("carry_slicer.py"),
        tuple(f"oacore/instruments/slicer/{name}.py" for name in ("cases", "kernel")),
    ),
}


def carry(
    root: Path,
    records: Mapping[Path, Callable[[], Mapping[str, str]]],
    checks: Mapping[str, Check],
    machine: Mapping[str, Any],
) -> dict[Path, str]:
    """Carry the records that are stale and may be.

    Parameters
    ----------
    root : Path
        The project, in Git.
    records : mapping
        By the folder of a record: what gives digests of the code behind it today, by file.
    checks : mapping of str to Check
    machine : mapping
        Where the checks run, for the record.

    Returns
    -------
    dict of Path to str
        Of the records that were stale: why one stays so, "" for one that was carried.

    Raises
    ------
    InputError
        If something is not committed, or a check fails or writes nothing. No record changes then.
    """
    if _git(root, "status", "--porcelain"):
        raise InputError(f"{root}: holds changes that are not committed; commit them first")
    head = _git(root, "rev-parse", "HEAD").decode().strip()
    why, notes = {}, {}
    for folder, behind in records.items():
        made = json.loads((folder / record.MADE).read_text(encoding="utf-8"))
        was, today = made["code"], dict(behind())
        if not (changed := _changed(root, was, today)):
            continue
        own = {name: one for name, one in checks.items() if set(one.answers_for) & set(changed)}
        rest = set(changed).difference(*(one.answers_for for one in own.values()))
        if rest:
            why[folder] = f"no check answers for {', '.join(sorted(rest))}"
        elif (commit := holding(root, was)) is None:
            why[folder] = f"no commit holds {', '.join(changed)} as it was recorded"
        else:
            found = {name: compare(root, one, commit, head) for name, one in own.items()}
            why[folder] = "; ".join(
                f"{', '.join(sorted(set(changed) & set(own[name].answers_for)))}: by the check "
                f"{name} {apart[0]} differs, one of {len(apart)} that do"
                for name, (_, apart) in found.items()
                if apart
            )
            note = {"from": commit, "to": head, "files": changed, "machine": dict(machine)}
            note["checks"] = {name: {"files alike": number} for name, (number, _) in found.items()}
            notes[folder] = {**made, "code": today, "carried": [*made.get("carried", []), note]}
    for folder in (folder for folder, said in why.items() if not said):
        write(folder / record.MADE, json.dumps(notes[folder], indent=1) + "\n")
    return why


def _git(root: Path, *words: str) -> bytes:
    done = subprocess.run(["git", "-C", str(root), *words], check=False, capture_output=True)
    if done.returncode:
        raise InputError(f"{root}: git {words[0]} failed: {done.stderr.decode().strip()}")
    return done.stdout


def _changed(root: Path, was: Mapping[str, str], today: Mapping[str, str]) -> list[str]:
    """Files that do something else now, are new behind a record, or are gone."""
    here = {name: code_digest(root / name) for name in was if (root / name).is_file()}
    now = {**here, **today}  # a file that is no longer behind the record has not changed by that
    return sorted(name for name in {*was, *today} if was.get(name) != now.get(name))


def holding(root: Path, code: Mapping[str, str]) -> str | None:
    """The last commit at which files had these digests, as :func:`.fingerprint.code_digest` gives.

    Equal digests are equal code, so it need not be the commit at which a record was made, which a
    rebase may have left behind. None if there is none.
    """
    for commit in _git(root, "rev-list", "HEAD").decode().split():
        listed = _git(root, "ls-tree", "-r", commit, "--", *code).decode().splitlines()
        blobs = {line.partition("\t")[2]: line.split()[2] for line in listed}
        if set(blobs) == set(code) and all(
            _digest(root, blobs[name], Path(name).suffix) == digest for name, digest in code.items()
        ):
            return commit
    return None


@cache
def _digest(root: Path, blob: str, suffix: str) -> str:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, f"file{suffix}")
        path.write_bytes(_git(root, "cat-file", "blob", blob))
        return code_digest(path)


@cache
def compare(root: Path, check: Check, then: str, now: str) -> tuple[int, list[str]]:
    """How many files a check writes at one commit, and which are not the same at another.

    Raises
    ------
    InputError
        If the script fails, or writes nothing.
    """
    with tempfile.TemporaryDirectory(prefix="oacore-carry-") as place:
        with ThreadPoolExecutor(2) as pool:
            both = list(
                pool.map(lambda at: _filled(root, check.script, at, Path(place, at)), (then, now))
            )
        old, new = (
            {str(path.relative_to(one)): path.read_bytes() for path in _files(one)} for one in both
        )
    if not new:
        raise InputError(f"{check.script}: wrote nothing, which shows nothing")
    return len(new), sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _filled(root: Path, script: Path, commit: str, place: Path) -> Path:
    """The folder that a script fills in the tree of a commit."""
    tree, folder, packed = place / "tree", place / "made", place / "tree.tar"
    folder.mkdir(parents=True)
    _git(root, "archive", "--output", str(packed), commit)
    with tarfile.open(packed) as archive:
        archive.extractall(tree, filter="data")
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    alone = {**os.environ, **one, "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
    words = [sys.executable, "-c", START, str(script), str(folder), str(tree)]
    if subprocess.run(words, check=False, cwd=tree, env=alone).returncode:
        raise InputError(f"{script} failed in the tree of {commit}, see above")
    return folder


def main(words: list[str] | None = None) -> int:
    """Command line."""
    argparse.ArgumentParser(description=__doc__).parse_args(words)
    machine = of_this_machine()
    short = {key: machine[key] for key in ("python", "versions", "platform", "device")}
    short["begun"] = machine["finished"]
    folders = {record.RECORDS / chapter: behind for chapter, behind in closures().items()}
    there = {one: behind for one, behind in folders.items() if (one / record.MADE).is_file()}

    def work() -> str:
        why = carry(ROOT, there, CHECKS, short)
        said = "\n".join(
            f"{one.relative_to(record.RECORDS)}: {f'stays, for {said}' if said else 'carried'}"
            for one, said in why.items()
        )
        if any(why.values()):
            raise InputError(said)
        return said or "The records are of this code."

    return in_words(work)


if __name__ == "__main__":
    sys.exit(main())
