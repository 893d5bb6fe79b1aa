"""What the pages that a build writes say of its knees: read once, not by each page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from oacore.data.cohort import drawn_among_real, is_phantom, read_tables


@dataclass(frozen=True)
class Knees:
    """A build's knees.

    Attributes
    ----------
    phantom : bool
        Whether all of them are drawn.
    mixed : str
        See :func:`.cohort.drawn_among_real`.
    cases : DataFrame
        See :func:`.cohort.read_tables`; not to be changed.
    """

    phantom: bool
    mixed: str
    cases: pd.DataFrame


def knees_of(build: Path) -> Knees:
    """The knees of a build.

    Raises
    ------
    InputError
        If its cohort is none, or cannot be read.
    """
    cohort = build / "cohort"
    tables = [file.stat() for where in ("", "info/") for file in cohort.glob(f"{where}subInfo_*")]
    return _read(cohort, tuple((table.st_mtime_ns, table.st_size) for table in tables))


@lru_cache(maxsize=1)
def _read(cohort: Path, _state: tuple[tuple[int, int], ...]) -> Knees:
    return Knees(is_phantom(cohort), drawn_among_real(cohort), read_tables(cohort))
