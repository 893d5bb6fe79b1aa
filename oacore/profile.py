"""Profiles: how large a build is, from a smoke test to the paper's protocol."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib.resources import files
from typing import Any

import yaml

from oacore.errors import InputError


@dataclass(frozen=True)
class Profile:
    """Settings of one profile; ``profiles.yml`` says what each of them means."""

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]
    ungraded: tuple[int, int]
    cohort_seed: int
    shape: tuple[int, int, int]
    grid: tuple[int, int, int]
    resample: str
    seeds: tuple[int, ...]
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    precision: str
    n_resamples: int
    backbones: dict[str, dict[str, Any]]


def load_profile(name: str) -> Profile:
    """Read one profile from ``oacore/profiles.yml``.

    Parameters
    ----------
    name : str
        "smoke", "laptop", "study" or "paper".

    Raises
    ------
    InputError
        If there is no profile of that name, or a setting is missing or unknown.
    """
    profiles = yaml.safe_load((files("oacore") / "profiles.yml").read_text())
    if name not in profiles:
        raise InputError(f"there is no profile {name!r}: choose one of {', '.join(profiles)}")
    settings = profiles[name]
    expected = {field.name for field in fields(Profile)} - {"name"}
    if wrong := expected ^ set(settings):
        raise InputError(
            f"oacore/profiles.yml, profile {name}: missing or unknown {', '.join(sorted(wrong))}; "
            f"each profile has {', '.join(sorted(expected))}"
        )
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    return Profile(name=name, **plain)
