"""The three verdicts, and how a printed figure's rounding decides among them.

Nobody says how a table was rounded. So each check is made twice: once with what half a unit of the
last digit leaves open, and where that fails once more with what any usual rule leaves open
(:func:`.printed.loose`). Only what fits neither way is called inconsistent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from oacore.instruments.audit.printed import Interval, between, loose, rounded, show

CONSISTENT = "consistent"
INCONSISTENT = "inconsistent"
UNDETERMINED = "undetermined"

OUTSIDE = "no share lies outside 0 to 1"
NO_CORRELATION = "no correlation lies outside -1 to 1"
PERCENT = "far above 1: a percentage, which is to be written as a share"
CUT_OFF = "only if a figure was cut off, or rounded twice"

Read = Callable[[str], Interval]
"""What a printed figure stands for: :func:`.printed.rounded` or :func:`.printed.loose`."""


class Finding(NamedTuple):
    """Outcome of a check: `implied` in words, and one of the three verdicts."""

    implied: str
    verdict: str


def weigh(implied: str, fits: Callable[[Read], bool]) -> Finding:
    """Give the verdict of a check that is made with one reading of the figures after the other.

    Parameters
    ----------
    implied : str
    fits : callable
        Takes :func:`.printed.rounded` or :func:`.printed.loose`; whether the figures, so read, can
        stand together.
    """
    if fits(rounded):
        return Finding(implied, CONSISTENT)
    if fits(loose):
        return Finding(f"{implied}; {CUT_OFF}", UNDETERMINED)
    return Finding(implied, INCONSISTENT)


def outside(printed: str, said: str = OUTSIDE) -> Finding:
    """Outcome for a figure that is no share; one from 2 up has another unit, no contradiction."""
    if rounded(printed).magnitude().low >= 2:
        return Finding(PERCENT, UNDETERMINED)
    return Finding(said, INCONSISTENT)


def overlap(values: Callable[[Read], Interval], printed: str, places: int, implied: str) -> Finding:
    """Compare what is implied with what is printed, as intervals.

    Two that have only one point in common are undetermined: there is a value that both round to,
    but just one, and it would have been rounded up here and down there.
    """
    here, there = values(rounded), rounded(printed)
    said = f"{implied} {between(here, places)}".strip()
    if here.gap(there) == 0 and here.low < here.high and there.low < there.high:
        point = show(max(here.low, there.low), places)
        return Finding(f"{said}: both only if exactly {point}", UNDETERMINED)
    return weigh(said, lambda read: values(read).gap(read(printed)) <= 0)
