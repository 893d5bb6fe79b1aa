"""Profiles: how large a build is, from a smoke test to the paper's protocol."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib.resources import files
from typing import Any

import yaml

from oacore.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """Settings by which one model is trained; ``profiles.yml`` says what each means."""

    backbone: str
    encoder: dict[str, Any]
    heads: str
    supervisions: tuple[str, ...]
    grid: tuple[int, int, int]
    resample: str
    seeds: tuple[int, ...]
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    precision: str


@dataclass(frozen=True)
class Profile:
    """Settings of one profile: its phantom cohort, and a recipe for each model.

    Attributes
    ----------
    backbones : dict of Recipe
        The models that the book compares, by backbone.
    variants : dict of Recipe
        Models that change one thing of a backbone's recipe, by a name of their own.
    """

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]
    ungraded: tuple[int, int]
    cohort_seed: int
    shape: tuple[int, int, int]
    n_resamples: int
    backbones: dict[str, Recipe]
    variants: dict[str, Recipe]

    def recipe(self, model: str) -> Recipe:
        """The recipe of a backbone or a variant.

        Raises
        ------
        InputError
            If the profile has neither of that name.
        """
        recipes = {**self.backbones, **self.variants}
        if model not in recipes:
            raise InputError(
                f"profile {self.name} has no backbone or variant {model!r}: choose one of "
                f"{', '.join(recipes)}"
            )
        return recipes[model]


def load_profile(name: str) -> Profile:
    """Read one profile from ``oacore/profiles.yml``.

    Parameters
    ----------
    name : str
        "smoke", "laptop", "study", "paper" or "text".

    Raises
    ------
    InputError
        If there is no profile of that name, or a setting is missing or unknown.
    """
    profiles = yaml.safe_load((files("oacore") / "profiles.yml").read_text())
    if name not in profiles:
        raise InputError(f"there is no profile {name!r}: choose one of {', '.join(profiles)}")
    settings = profiles[name]
    expected = {field.name for field in fields(Profile)} - {"name"} | {"training"}
    _check(settings, expected, f"profile {name}")
    training = settings.pop("training")
    backbones = {
        backbone: {**training, **own, "backbone": backbone}
        for backbone, own in settings.pop("backbones").items()
    }
    variants = {}
    for variant, change in settings.pop("variants").items():
        base = backbones.get(change.get("backbone"))
        if base is None:
            raise InputError(f"oacore/profiles.yml, variant {variant}: names no backbone of {name}")
        encoder = {**base.get("encoder", {}), **change.get("encoder", {})}
        variants[variant] = {**base, **change, "encoder": encoder}
    return Profile(
        name=name,
        backbones={key: _recipe(own, f"{name}, {key}") for key, own in backbones.items()},
        variants={key: _recipe(own, f"{name}, {key}") for key, own in variants.items()},
        **{key: _plain(value) for key, value in settings.items()},
    )


def _recipe(settings: dict[str, Any], where: str) -> Recipe:
    expected = {field.name for field in fields(Recipe)}
    _check(settings, expected, f"profile {where}")
    return Recipe(**{key: _plain(value) for key, value in settings.items()})


def _check(settings: dict[str, Any], expected: set[str], where: str) -> None:
    if wrong := expected ^ set(settings):
        raise InputError(
            f"oacore/profiles.yml, {where}: missing or unknown {', '.join(sorted(wrong))}; "
            f"there must be {', '.join(sorted(expected))}"
        )


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
