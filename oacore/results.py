"""What a chapter leaves in the build: tables for the report, and files beside its page.

A chapter computes, shows, and keeps what the report page quotes, so that no number there is typed.
The build empties a chapter's folder before it runs it: nothing in it is older than its chapter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from oacore import seals
from oacore.files import whole


def keep(table: pd.DataFrame, build: str | Path, name: str) -> None:
    """Write a table to ``results/<name>.csv`` of a build.

    Parameters
    ----------
    table : DataFrame
        Aggregates alone: no row of it may belong to a single knee. Its index is not written.
    build : path
        Folder of the build.
    name : str
        Chapter and table, ``"08-comparison/effects"``.
    """
    path = _path(build, name)
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
    path = _path(build, name)
    record = path.with_name(seals.SEAL)
    if not (path.is_file() or seals.holds(record, path)):
        return None
    cure = f"remove {path.parent} and run `make book` again"
    seals.require(record, path.name, cure=cure)
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

    Parameters
    ----------
    build : path
        Folder of the build.
    name : str
        Chapter and file or folder, ``"14-saliency/slicer"``.
    """
    chapter, _, rest = name.partition("/")
    return Path(build) / "results" / chapter / "public" / rest, f"../_static/{name}"


def _path(build: str | Path, name: str) -> Path:
    return Path(build) / "results" / f"{name}.csv"
