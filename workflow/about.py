"""The page that says how the book one looks at came to be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from oacore.data.disclosure import asked_for
from oacore.profile import Profile, load_profile
from oacore.provenance import of_this_machine
from oacore.training.progress import duration
from oacore.training.records import finished, run_record
from oacore.training.records import run_table as read_table
from workflow.knees import knees_of

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
    source = {
        "Commit": commit_in_words(here),
        "oacore": plain(here["oacore"]),
        "Rendered on": plain(f"{here['platform']}, {here['device']}, at {here['finished']}"),
    }
    knees = knees_of(build)
    kind = (
        "A **synthetic phantom**: no patient is in it, and nothing measured on it is clinical."
        if knees.phantom
        else "A folder given by the one who built this; pages do not tell its name."
    )
    if not knees.phantom:
        given = notebooks["notebooks/03-cohort"].metadata.papermill.parameters
        kind = f"{kind} {knees.mixed}".strip()
        kind += " Single knees are " + (
            "shown, at that person's request (`IMAGES=yes`)."
            if asked_for(given.get("images", ""))
            else "not shown: figures hold aggregates of groups alone."
        )
    settings = {
        key: plain(listed(value))
        for key, value in asdict(load_profile(profile)).items()
        if key not in ("backbones", "variants", "controls")
    }
    versions = {"python": here["python"], **here["versions"]}
    return PAGE.format(
        source=table(source, "What", "Which"),
        cohort=kind,
        cases=case_counts(knees.cases),
        times=chapter_times(notebooks),
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


def list_table(rows: list[list[str]], widths: list[int]) -> str:
    """A MyST table whose first row is its head; cells are MyST.

    Raises ``ValueError`` where a row has not one cell for each width: Sphinx would refuse it
    only when the whole book is built.
    """
    if any(len(row) != len(widths) for row in rows):
        counts = sorted({len(row) for row in rows})
        raise ValueError(f"rows of {counts} cells, {len(widths)} widths")
    lines = ["```{list-table}", ":header-rows: 1", f":widths: {' '.join(map(str, widths))}"]
    # Sentences in the last column stand below the other cells on a phone (oacore.css).
    lines += [":class: oa-stacked", ""] if len(widths) > 2 and widths[-1] == max(widths) else [""]
    for row in rows:
        for i, cell in enumerate(row):
            lines.append(f"{'* - ' if i == 0 else '  - '}{cell}".rstrip())
    return "\n".join([*lines, "```"])


def fill(template: str, words: Mapping[str, str]) -> str:
    """Put a build's words where a template has their names in braces.

    MyST's own roles, such as ``{ref}`` before a backtick, stay as they are. Any other name that the
    build has no word for is a ``KeyError``: it would stand on the page.
    """

    def word(found: re.Match[str]) -> str:
        name, tick = found.groups()
        return found[0] if tick and name not in words else words[name] + tick

    return re.sub(r"\{(\w+)\}(`?)", word, template)


def commit_in_words(here: Mapping[str, Any]) -> str:
    """The commit that a machine works from (:func:`.of_this_machine`), and whether it is that."""
    state = {True: "no file differed from it", False: "with changes on top", None: "unknown"}
    return f"`{here['commit']}` ({state[here['clean']]})" if here["commit"] else "unknown"


def chapter_times(notebooks: Mapping[str, Any]) -> str:
    """How long each chapter ran; notebooks: executed ones by their pages."""
    times = {
        f"{{doc}}`/{page}`": duration(nb.metadata.papermill.duration)
        for page, nb in notebooks.items()
    }
    return table(times, "Chapter", "Run time")


def plain(words: Any) -> str:
    """Words from outside in MyST: what would be markup, of Markdown's or of HTML, is shown as is.

    Names of devices and data sets, and what a record of a download says, are not ours.
    """
    return re.sub(r"([\\`*_{}\[\]<>$&|#!~^])", r"\\\1", " ".join(str(words).split()))


def listed(value: Any) -> str:
    """A setting as one would say it; of several values, one after another."""
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def case_counts(cases: pd.DataFrame) -> str:
    """Knees by split and grade in Markdown."""
    grade = cases["kl"].map(lambda kl: f"KL {kl}", na_action="ignore").fillna("no grade")
    counts = pd.crosstab(cases["split"], grade).loc[lambda rows: rows.index.isin(["train", "test"])]
    rows = [[split, *row] for split, row in counts[::-1].iterrows()]
    return markdown([["Split", *counts.columns], *rows], "l" + "r" * len(counts.columns))


def recipe_table(profile: Profile) -> str:
    """Write how each model of a profile is trained, a column each, in Markdown."""
    names = (*profile.backbones, *profile.variants, *profile.controls)
    recipes = {name: asdict(profile.recipe(name)) for name in names}
    rows = [["Model", *recipes]]
    for key in next(iter(recipes.values())):
        values = [recipe[key] for recipe in recipes.values()]
        if key == "encoder":
            values = [", ".join(f"{k} {v}" for k, v in value.items()) for value in values]
        rows.append([key, *(plain(listed(value)) for value in values)])
    return markdown(rows, "l" * len(rows[0]))


def run_table(build: Path) -> str:
    """Trained models, with their time and device, in Markdown."""
    rows = [["Run", "Epochs", "Time", "Device", "Precision"]]
    kinds = ("runs", "variants", "controls")
    for folder in chain.from_iterable(finished(build / kind) for kind in kinds):
        run, history = run_record(folder), read_table(folder, "history")
        rows.append(
            [
                plain(f"{folder.parents[1].name} {run['supervision']}, seed {run['seed']}"),
                str(len(history)),
                duration(history["seconds"].sum()),
                plain(run["provenance"]["device"]),
                plain(run["precision used"]),
            ]
        )
    return markdown(rows, "lrrll")
