"""What a chapter leaves in the build: tables for the report, and files beside its page.

A chapter computes, shows, and keeps what the report page quotes, so that no number there is typed.
The build empties a chapter's folder before it runs it: nothing in it is older than its chapter.
What a person runs in a notebook goes to ``by-hand/`` instead, so that a trial changes no page;
whoever reads in a notebook finds it there first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from oacore import seals
from oacore.files import whole

#: Of the environment of a kernel in which the build runs a chapter.
CHAPTER_OF_BUILD = "OACORE_CHAPTER_OF_BUILD"


def by_hand() -> bool:
    """Whether this is a notebook that a person runs, not the build."""
    shell = sys.modules.get("IPython")  # which takes its time to load, and only notebooks have
    return bool(shell and shell.get_ipython()) and CHAPTER_OF_BUILD not in os.environ


def folders(build: str | Path) -> list[Path]:
    """Where results are: they are written to the first folder, and looked for in this order."""
    own = [Path(build) / "by-hand"] if by_hand() else []
    return [*own, Path(build) / "results"]


def keep(table: pd.DataFrame, build: str | Path, name: str) -> None:
    """Write a table to ``results/<name>.csv`` of a build, or ``by-hand/<name>.csv``.

    Parameters
    ----------
    table : DataFrame
        Aggregates alone: no row of it may belong to a single knee. Its index is not written.
    build : path
        Folder of the build.
    name : str
        Chapter and table, ``"08-comparison/effects"``.
    """
    path = folders(build)[0] / f"{name}.csv"
    write_csv(table, path)
    seals.add(path.with_name(seals.SEAL), path)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table without its index; the file appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        table.to_csv(part, index=False)


def made_once(path: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table of a CSV file, which is made and written first where it does not lie there.

    Parameters
    ----------
    path : Path
        Its name must tell all that the table follows from.
    make : callable
        Gives the table.
    """
    if not path.exists():
        write_csv(make(), path)
    return pd.read_csv(path)


def kept(build: str | Path, name: str) -> pd.DataFrame | None:
    """Read a table that a chapter kept; None where this build's chapter kept none.

    A chapter keeps nothing where it lacks what it needs, such as files that were not fetched.

    Raises
    ------
    InputError
        If the table is not what the chapter kept.
    """
    found = (kept_in(folder, name) for folder in folders(build))
    return next((table for table in found if table is not None), None)


def kept_in(folder: Path, name: str) -> pd.DataFrame | None:
    """Read a table from one of :func:`folders`; None where it holds none."""
    path = folder / f"{name}.csv"
    record = path.with_name(seals.SEAL)
    if not (path.is_file() or seals.holds(record, path)):
        return None
    again = "run its chapter" if folder.name == "by-hand" else "run `make book`"
    seals.require(record, path.name, cure=f"remove {path.parent} and {again} again")
    return pd.read_csv(path)


def measured(build: str | Path) -> pd.DataFrame | None:
    """Read what `oacore measure` found on a build's masks; None where the build has not measured.

    Raises
    ------
    InputError
        If the table is not what was written.
    """
    path = Path(build) / "measured.csv"
    record = Path(f"{path}.{seals.SEAL}")
    if not (path.is_file() or record.exists()):
        return None
    seals.require(record, path.name, cure=f"remove {path} and {record}, and run `make book` again")
    return pd.read_csv(path)


def beside_page(build: str | Path, name: str) -> tuple[Path, str]:
    """Where a file lies that a chapter publishes with its page, and its address from that page.

    By hand the address leads from the notebook's folder to the file itself.

    Parameters
    ----------
    build : path
        Folder of the build.
    name : str
        Chapter and file or folder, ``"14-saliency/slicer"``.
    """
    chapter, _, rest = name.partition("/")
    path = folders(build)[0] / chapter / "public" / rest
    return path, Path(os.path.relpath(path)).as_posix() if by_hand() else f"../_static/{name}"
