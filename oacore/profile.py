"""Profiles: how large a build is, from a smoke test to the paper's protocol."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib.resources import files
from typing import Any

import yaml

from oacore.errors import InputError

#: How the learning rate goes with the epochs.
SCHEDULES = ("constant", "cosine")
#: What a network is told of the training knees: their grades, or these shuffled among them.
GRADES = ("as read", "permuted")
#: Statistics of batch normalisation that a trained model can be evaluated with.
STATISTICS = ("running", "re-estimated")


@dataclass(frozen=True)
class Recipe:
    """Settings by which one model is trained; ``profiles.yml`` says what each means."""

    backbone: str
    encoder: dict[str, Any]
    heads: str
    grades: str
    supervisions: tuple[str, ...]
    grid: tuple[int, int, int]
    resample: str
    seeds: tuple[int, ...]
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    schedule: str
    statistics: str
    precision: str


@dataclass(frozen=True)
class Profile:
    """Settings of one profile: its phantom cohort, and a recipe for each model.

    Attributes
    ----------
    jobs : int
        Processes, at the most, among which the runs of one model are divided.
    backbones : dict of Recipe
        The models that the book compares, by backbone.
    variants : dict of Recipe
        Models that change one thing of a backbone's recipe, by a name of their own.
    controls : dict of Recipe
        Backbones trained on permuted grades, by a name of their own. Nothing but the saliency of
        the run that shares backbone, supervision and seed is held against one.
    """

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]
    ungraded: tuple[int, int]
    cohort_seed: int
    shape: tuple[int, int, int]
    n_resamples: int
    jobs: int
    backbones: dict[str, Recipe]
    variants: dict[str, Recipe]
    controls: dict[str, Recipe]

    def recipe(self, model: str) -> Recipe:
        """The recipe of a backbone, a variant or a control.

        Raises
        ------
        InputError
            If the profile has none of that name.
        """
        recipes = {**self.backbones, **self.variants, **self.controls}
        if model not in recipes:
            raise InputError(
                f"profile {self.name} has no backbone or variant {model!r}: choose one of "
                f"{', '.join(recipes)}"
            )
        return recipes[model]

    def parts(self, model: str) -> list[list[tuple[str, int]]]:
        """Runs of a backbone, a variant or a control, as its jobs share them.

        Returns
        -------
        list of list of (str, int)
            For each job its supervisions and seeds. Jobs are as long as each other, and one that
            has several supervisions takes them seed by seed.
        """
        recipe = self.recipe(model)
        runs = [(word, seed) for seed in recipe.seeds for word in recipe.supervisions]
        jobs = min(self.jobs, len(runs))
        return [runs[job::jobs] for job in range(jobs)]

    def control(self, backbone: str, supervision: str, seed: int) -> str | None:
        """Name of the control of one run: its twin on permuted grades, if it has one."""
        for name, recipe in self.controls.items():
            if (
                recipe.backbone == backbone
                and supervision in recipe.supervisions
                and seed in recipe.seeds
            ):
                return name
        return None


def load_profile(name: str) -> Profile:
    """Read one profile from ``oacore/profiles.yml``.

    Parameters
    ----------
    name : str
        "smoke", "laptop", "record", "changes", "study", "paper" or "text".

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
    changed = {
        kind: {
            key: _changed(backbones, change, f"{key} of {name}")
            for key, change in settings.pop(kind).items()
        }
        for kind in ("variants", "controls")
    }
    return Profile(
        name=name,
        backbones={key: _recipe(own, f"{name}, {key}") for key, own in backbones.items()},
        variants={key: _recipe(own, f"{name}, {key}") for key, own in changed["variants"].items()},
        controls={
            key: _recipe(own, f"{name}, {key}", "permuted")
            for key, own in changed["controls"].items()
        },
        **{key: _plain(value) for key, value in settings.items()},
    )


def _changed(
    backbones: dict[str, dict[str, Any]], change: dict[str, Any], where: str
) -> dict[str, Any]:
    """Settings of a backbone with some of them changed."""
    base = backbones.get(change.get("backbone", ""))
    if base is None:
        raise InputError(f"oacore/profiles.yml, {where}: names no backbone of this profile")
    encoder = {**base.get("encoder", {}), **change.get("encoder", {})}
    return {**base, **change, "encoder": encoder}


def _recipe(settings: dict[str, Any], where: str, grades: str = "as read") -> Recipe:
    """A recipe; only controls are trained on permuted grades, so that no chapter takes one."""
    expected = {field.name for field in fields(Recipe)}
    _check(settings, expected, f"profile {where}")
    if settings["grades"] != grades:
        raise InputError(
            f"oacore/profiles.yml, profile {where}: has grades {settings['grades']!r}; write "
            f"'grades: {grades}' here: what is trained on permuted ones is named below "
            "`controls`, and nothing else is"
        )
    return Recipe(**{key: _plain(value) for key, value in settings.items()})


def _check(settings: dict[str, Any], expected: set[str], where: str) -> None:
    if wrong := expected ^ set(settings):
        raise InputError(
            f"oacore/profiles.yml, {where}: missing or unknown {', '.join(sorted(wrong))}; "
            f"there must be {', '.join(sorted(expected))}"
        )


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
