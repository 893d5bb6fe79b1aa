"""Tables that a chapter leaves beside the build, for the report and for whoever wants them.

A chapter computes, shows, and keeps what the report page quotes, so that no number there is typed.
The build empties a chapter's folder before it runs it: nothing in it is older than its chapter.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

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
    write_csv(table, _path(build, name))


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table without its index; the file appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        table.to_csv(part, index=False)


def kept(build: str | Path, name: str) -> pd.DataFrame | None:
    """Read a table that a chapter kept; None where this build's chapter kept none.

    A chapter keeps nothing where it lacks what it needs, such as files that were not fetched.
    """
    path = _path(build, name)
    return pd.read_csv(path) if path.is_file() else None


def _path(build: str | Path, name: str) -> Path:
    return Path(build) / "results" / f"{name}.csv"
