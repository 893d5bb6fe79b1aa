"""Tables computed where their inputs are, and read from this project's record where they are not.

A record is a folder ``book/record/<chapter>``, or one below it: small tables of aggregates that a
chapter computed from files which cannot be shipped, and ``record.json``, which says from what, when
and by which code. ``python -m workflow.record`` makes it, ``python -m workflow.record --check``
compares it with the code. Another kind of record takes hours: of the phantom's models with more
seeds and on more knees than a build trains while one waits. ``python -m workflow.record_phantom``
makes that, and chapters show it beside what they computed.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from oacore.errors import InputError
from oacore.files import write
from oacore.fingerprint import ROOT, code_digest
from oacore.results import folders, keep, kept, kept_in

RECORDS = ROOT / "book/record"
#: What is said of a record, beside its tables.
MADE = "record.json"
#: Where a build keeps tables that were read and not computed, below those of their chapter.
READ = "recorded"
#: The profile by which the phantom's record was made.
PROFILE = "record"


def recorded(
    build: str | Path,
    chapter: str,
    inputs: str,
    name: str,
    compute: Callable[..., pd.DataFrame],
    *args: Any,
    **kwargs: Any,
) -> pd.DataFrame:
    """A table, computed where its inputs are given and read from the record where they are not.

    Parameters
    ----------
    build : path
        Folder of the build. A computed table is kept there as ``results/<chapter>/<name>.csv``
        (see :func:`.results.folders`), one from the record as
        ``results/<chapter>/recorded/<name>.csv``; :func:`found` reads both.
    chapter : str
        Name of the chapter's file, ``"09-published-record"``.
    inputs : str
        Folder of the files that the table follows from; empty where they are absent.
    name : str
    compute : callable
        Gives aggregates alone: no row may belong to a single knee. Its index is not kept.
    *args, **kwargs
        For `compute`, which is called only where the inputs are given.

    Returns
    -------
    DataFrame
        As read from a file in either case: an empty text is NaN.

    Raises
    ------
    InputError
        If neither the inputs nor such a table in the record is there, or that table was altered.
    """
    place = f"{chapter}/{name}"
    if inputs:
        keep(compute(*args, **kwargs), build, place)
        path = folders(build)[0] / f"{place}.csv"
        write(path.with_suffix(".json"), json.dumps(_call(compute, args, kwargs)))
        return read(path)
    return from_record(build, chapter, name)


def from_record(build: str | Path, chapter: str, name: str, shown_in: str = "") -> pd.DataFrame:
    """A table of the record, of which the build keeps a copy as :func:`recorded` says.

    Parameters
    ----------
    build : path
        Folder of the build.
    chapter, name : str
        As in :func:`recorded`. A chapter with several records has a folder for each,
        ``"20-is-it-the-hierarchy/radiomics"``.
    shown_in : str
        The chapter that keeps the copy, where it shows the record of another. It lies in the folder
        of that chapter then, ``results/<shown_in>/recorded/<chapter>/<name>.csv``: each chapter
        writes to its own alone.

    Raises
    ------
    InputError
        If the record has no such table, or it was altered.
    """
    path = RECORDS / chapter / f"{name}.csv"
    tables = made(chapter)["tables"]
    if name not in tables or not path.is_file():
        raise InputError(
            f"{path}: the record has no such table; give the files that it follows from (`oacore "
            "fetch`), or make the record anew with `python -m workflow.record`"
        )
    if content_digest(path) != tables[name]["sha256"]:
        raise InputError(
            f"{path}: is not the table that was recorded; restore it (`git checkout {chapter}` in "
            f"{RECORDS}), or make the record anew with `python -m workflow.record`"
        )
    table = read(path)
    place = f"{shown_in}/{READ}/{chapter}" if shown_in else f"{chapter}/{READ}"
    keep(table, build, f"{place}/{name}")
    return table


def content_digest(path: Path) -> str:
    """SHA-256 of a table's text, however its lines end: Git may have turned them."""
    return hashlib.sha256(path.read_text(encoding="utf-8").encode()).hexdigest()


def read(path: Path) -> pd.DataFrame:
    """Read a table of a record, or what is to become one."""
    # pandas would take a group called "none" for no value.
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def found(build: str | Path, name: str) -> tuple[pd.DataFrame | None, bool]:
    """A table that a chapter has shown, and whether it comes from the record.

    Parameters
    ----------
    build : path
    name : str
        Chapter and table, ``"09-published-record/stats"``.

    Returns
    -------
    DataFrame or None, bool
        None and False where the chapter has no such table.

    Raises
    ------
    InputError
        If the table is not what the chapter kept.
    """
    chapter, _, rest = name.rpartition("/")
    for folder in folders(build):
        for was_read, place in enumerate((name, f"{chapter}/{READ}/{rest}")):
            if (table := kept_in(folder, place)) is not None:
                return table, bool(was_read)
    return None, False


def need(build: str | Path, name: str) -> tuple[pd.DataFrame, bool]:
    """A table as :func:`found` gives it, of a chapter that must have shown one.

    Raises
    ------
    InputError
        If it has not; or if the table is not what the chapter kept.
    """
    table, was_read = found(build, name)
    if table is None:
        chapter = name.partition("/")[0]
        raise InputError(
            f"this build lacks {name}: run the chapter {chapter} first (`make book` does)"
        )
    return table, was_read


def beside(build: str | Path, name: str) -> pd.DataFrame | None:
    """A table that a chapter has shown from the record; None where it has shown none.

    Parameters
    ----------
    build, name
        As in :func:`found`.
    """
    chapter, _, rest = name.rpartition("/")
    return kept(build, f"{chapter}/{READ}/{rest}")


def stands_beside(chapter: str, phantom: bool, profile: str) -> bool:
    """Whether a chapter of a build shows the phantom's record beside what it computes.

    It does where the build's knees are a phantom's, unless its models are the record's own; and
    where that record has been made.
    """
    return phantom and profile != PROFILE and (RECORDS / chapter / MADE).is_file()


def made(chapter: str) -> dict[str, Any]:
    """What a record says of itself: command, inputs, code, provenance.

    Raises
    ------
    InputError
        If there is no such record.
    """
    path = RECORDS / chapter / MADE
    if not path.is_file():
        raise InputError(f"{path}: no such record; make it with `python -m workflow.record`")
    return json.loads(path.read_text(encoding="utf-8"))


def changed(chapter: str, root: Path = ROOT) -> list[str]:
    """Files of the code behind a record that do something else now, or are gone.

    Parameters
    ----------
    chapter : str
    root : Path
        Folder that holds the code.

    Returns
    -------
    list of str
        Empty where the record was made by this code.
    """
    return [
        name
        for name, digest in made(chapter)["code"].items()
        if not (root / name).is_file() or code_digest(root / name) != digest
    ]


def origin(chapter: str, inputs: str) -> str:
    """Say in a sentence or two whether tables were computed in this build, or are the record's.

    Parameters
    ----------
    chapter, inputs : str
        As in :func:`recorded`.
    """
    if inputs:
        return "Computed in this build, from the files that it was given."
    said = made(chapter)
    commit, day = _when(said)
    return _of_which_code(
        chapter,
        "Read from this project's record, since this build was not given the files: "
        f"“{said['command']}” computed it from them on {day}, at commit {commit}",
    )


def trained(chapter: str, knees: str = "phantom knees") -> str:
    """Say in a sentence or two of which models and knees a record of trained networks is.

    Parameters
    ----------
    chapter : str
        As in :func:`recorded`.
    knees : str
        What they were tested on.
    """
    said = made(chapter)
    commit, day = _when(said)
    runs = said["runs"]
    return _of_which_code(
        chapter,
        f"Read from this project's record, and not computed in this build: “{said['command']}” "
        f"trained {runs['models']} models with {runs['seeds']} seeds each and tested them on "
        f"{runs['test knees']:,} {knees}; it was done on {day}, at commit {commit}",
    )


def compared(chapter: str) -> str:
    """Say in a sentence or two of how many drawn and real knees a record is.

    Parameters
    ----------
    chapter : str
        As in :func:`recorded`.
    """
    said = made(chapter)
    commit, day = _when(said)
    knees = said["knees"]
    return _of_which_code(
        chapter,
        f"Read from this project's record, and not computed in this build: “{said['command']}” "
        f"set {knees['drawn']:,} drawn knees beside {knees['real']:,} real ones; it was done on "
        f"{day}, at commit {commit}",
    )


def _when(said: dict[str, Any]) -> tuple[str, str]:
    """Commit, in short, and day of a record."""
    return str(said["provenance"]["commit"])[:10], said["provenance"]["finished"][:10]


def _of_which_code(chapter: str, words: str) -> str:
    if not changed(chapter):
        return f"{words}."
    return f"{words}. It was made by an earlier version of this code."


def _call(compute: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
    """Which function gave a table, and the settings among its arguments, defaults included."""
    bound = inspect.signature(compute).bind(*args, **kwargs)
    bound.apply_defaults()
    simple = (bool, int, float, str)
    settings = {
        name: value
        for name, value in bound.arguments.items()
        if isinstance(value, simple)
        or (isinstance(value, list | tuple) and all(isinstance(one, simple) for one in value))
    }
    return {"function": f"{compute.__module__}.{compute.__qualname__}", "settings": settings}
