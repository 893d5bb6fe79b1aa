"""What trainers of arms have in common of an optimiser's settings."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi

from oacore.errors import InputError


def require_known(**settings: tuple[str, Sequence[str]]) -> None:
    """Refuse a setting that is none of those there are.

    Raises
    ------
    InputError
    """
    for what, (value, known) in settings.items():
        if value not in known:
            raise InputError(f"network: {what} is {value!r}: choose one of {', '.join(known)}")


def rate_at(schedule: str, rate: float, step: int, steps: int) -> float:
    """Learning rate of one of all steps, the first is 0: the same, or half a cosine down to 0."""
    if schedule == "constant":
        return rate
    return rate * (1 + cos(pi * step / steps)) / 2
