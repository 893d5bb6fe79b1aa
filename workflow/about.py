"""The page that says how the book one looks at came to be."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from oacore.data.cohort import is_phantom, read_tables
from oacore.profile import Profile, load_profile
from oacore.provenance import of_this_machine

PAGE = """\
(sec-about-this-build)=
# About this build

This page is written anew with each build.

## Source

{source}

## Cohort

{cohort}

{cases}

## Time for each chapter

{times}

## Training runs

{runs}

## Settings of profile `{profile}`

{settings}

{recipes}

## Versions

{versions}
"""


def about_this_build(build: Path, profile: str, notebooks: dict[str, Any]) -> str:
    """Write the page in MyST.

    Parameters
    ----------
    build : Path
        Folder of the build.
    profile : str
    notebooks : dict
        Executed notebooks by their pages.

    Returns
    -------
    str
    """
    here = of_this_machine()
    state = {True: "no file differed from it", False: "with changes on top", None: "unknown"}
    commit = f"`{here['commit']}` ({state[here['clean']]})" if here["commit"] else "unknown"
    source = {
        "Commit": commit,
        "oacore": here["oacore"],
        "Rendered on": f"{here['platform']}, {here['device']}, at {here['finished']}",
    }
    cohort = build / "cohort"
    kind = (
        "A **synthetic phantom**: no patient is in it, and nothing measured on it is clinical."
        if is_phantom(cohort)
        else f"The folder `{cohort.resolve().name}`, given by the one who built this."
    )
    if not is_phantom(cohort):
        asked = notebooks["notebooks/03-cohort"].metadata.papermill.parameters.get("images")
        kind += " Single knees are " + (
            "shown, at that person's request (`IMAGES=yes`)."
            if asked
            else "not shown: figures hold aggregates of groups alone."
        )
    times = {
        f"{{doc}}`/{page}`": in_words(nb.metadata.papermill.duration)
        for page, nb in notebooks.items()
    }
    settings = {
        key: f"`{value}`"
        for key, value in asdict(load_profile(profile)).items()
        if key not in ("backbones", "variants")
    }
    versions = {"python": here["python"], **here["versions"]}
    return PAGE.format(
        source=table(source, "What", "Which"),
        cohort=kind,
        cases=case_counts(read_tables(cohort)),
        times=table(times, "Chapter", "Run time"),
        runs=run_table(build),
        profile=profile,
        settings=table(settings, "Setting", "Value"),
        recipes=recipe_table(load_profile(profile)),
        versions=table(versions, "Package", "Version"),
    )


def table(rows: dict[str, Any], left: str, right: str) -> str:
    """Two columns in Markdown."""
    return markdown([[left, right], *rows.items()], "ll")


def markdown(rows: Iterable[Iterable[Any]], align: str) -> str:
    """A table whose first row is its head; each column is aligned left (l) or right (r)."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    sides = {"l": ":--", "r": "--:"}
    lines.insert(1, f"| {' | '.join(sides[one] for one in align)} |")
    return "\n".join(lines)


def in_words(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def case_counts(cases: pd.DataFrame) -> str:
    """Knees by split and grade in Markdown."""
    grade = cases["kl"].map(lambda kl: f"KL {kl}", na_action="ignore").fillna("no grade")
    counts = pd.crosstab(cases["split"], grade).loc[lambda rows: rows.index.isin(["train", "test"])]
    rows = [[split, *row] for split, row in counts[::-1].iterrows()]
    return markdown([["Split", *counts.columns], *rows], "l" + "r" * len(counts.columns))


def recipe_table(profile: Profile) -> str:
    """Write how each model of a profile is trained, a column each, in Markdown."""
    names = (*profile.backbones, *profile.variants)
    recipes = {name: asdict(profile.recipe(name)) for name in names}
    rows = [["Model", *recipes]]
    for key in next(iter(recipes.values())):
        values = [recipe[key] for recipe in recipes.values()]
        if key == "encoder":
            values = [", ".join(f"{k} {v}" for k, v in value.items()) for value in values]
        rows.append([key, *(f"`{value}`" for value in values)])
    return markdown(rows, "l" * len(rows[0]))


def run_table(build: Path) -> str:
    """Trained models, with their time and device, in Markdown."""
    rows = [["Run", "Epochs", "Time", "Device", "Precision"]]
    found = (sorted(build.glob(f"{kind}/*/*/*/done.json")) for kind in ("runs", "variants"))
    for done in chain.from_iterable(found):
        run = json.loads(done.read_text(encoding="utf-8"))
        history = pd.read_csv(done.parent / "history.csv")
        rows.append(
            [
                f"{done.parents[2].name} {run['supervision']}, seed {run['seed']}",
                str(len(history)),
                in_words(history["seconds"].sum()),
                run["provenance"]["device"],
                run["precision used"],
            ]
        )
    return markdown(rows, "lrrll")
