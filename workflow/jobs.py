"""What a job of the build graph that trains or explains leaves: a mark of its runs, or why not.

Snakemake sees the mark alone: with a job that is not finished it would remove runs that are. The
mark comes last of all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from oacore.__main__ import INTERRUPTED, in_one_line
from oacore.errors import InputError, refusal
from oacore.files import write
from oacore.seals import SEAL
from oacore.training.progress import JOBS, failure


def mark(build: str | Path, job: str) -> Path:
    """Where the mark of a job is."""
    return Path(build, JOBS, f"{job}.json")


def write_mark(file: Path, made: Iterable[Path], build: Path) -> None:
    """Write a job's mark: what its runs are, so that another mark is of other runs.

    Parameters
    ----------
    file : Path
        See :func:`mark`.
    made : iterable of Path
        Folders, which a seal stands for, or files.
    build : Path
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    digests = {}
    for one in made:
        content = (one / SEAL if one.is_dir() else one).read_bytes()
        digests[str(one.relative_to(build))] = hashlib.sha256(content).hexdigest()
    write(file, json.dumps(digests, indent=1) + "\n")


def add_part(parser: argparse.ArgumentParser) -> None:
    """Give a command what says which part of a build's training it does, and on what."""
    parser.add_argument("part", type=int)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)


def in_words(work: Callable[[], str | None], place: str = "") -> int:
    """Work for whoever typed a command: print what came of it, or in one line why nothing did.

    Parameters
    ----------
    work : callable
        Gives what is printed; None for nothing.
    place : str
        What it writes to, where a full disk or a missing right is to be said as that.

    Returns
    -------
    int
        The exit status.
    """
    try:
        if said := work():
            print(said)
    except InputError as error:
        print(f"\n{error}\n", file=sys.stderr)
        return 1
    except OSError as error:
        if not (place and (said := refusal(error, place))):
            raise
        print(f"\n{said}\n", file=sys.stderr)
        return 1
    return 0


def do(build: Path, job: str, work: Callable[[], object]) -> int:
    """Do a job; what it says if it fails is kept for ``oacore status``, until it succeeds.

    Parameters
    ----------
    build : Path
    job : str
        What its mark is called.
    work : callable

    Returns
    -------
    int
        The exit status, see :func:`oacore.__main__.in_one_line`.
    """
    failed = failure(build, job)
    failed.unlink(missing_ok=True)

    def command() -> int:
        work()
        return 0

    def say(said: str) -> None:
        print(said, file=sys.stderr)
        failed.parent.mkdir(parents=True, exist_ok=True)
        write(failed, said + "\n")

    status = in_one_line(command, str(build), say)
    if status == INTERRUPTED:
        failed.unlink(missing_ok=True)
    return status
