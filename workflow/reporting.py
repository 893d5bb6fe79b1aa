"""Reporting guidelines, filled in for a build: which item is answered, by what, and where.

TRIPOD+AI, STARD-AI and CLAIM ask what a reader of a study has to know. ``reporting.yml`` holds
their items in our words and an answer for each, which may differ between a phantom and a real
cohort. Every number in an answer comes from the build.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from oacore.backbones import BACKBONE_NAMES
from oacore.data.cohort import graded, named_subset
from oacore.data.download import RECORD
from oacore.hierarchy import N_GRADES
from oacore.names import in_order
from oacore.profile import load_profile
from oacore.training.records import run_records
from workflow.about import fill, list_table, markdown, plain
from workflow.knees import knees_of

GUIDELINES = Path(__file__).with_suffix(".yml")
ANSWERS = ("yes", "partly", "no", "not applicable")

PAGE = """\
(sec-reporting)=
# Reporting checklists

Editors ask authors to fill in a list of what a reader has to know. Here are three, filled in by the
build as if this book were the report of one study: {models} models, developed and tested on
{cohort}. {{ref}}`sec-report` has the checklist of machine learning, beside the paper's own answers.

{caution}

{counts}

*Yes*: it is reported, though it may be bad news. *Partly*: some of it. *No*: it is not, and could
be. *Not applicable*: there is nothing to report. What each item asks is told in our own words; the
guidelines have the full text.

{lists}
"""
CAUTION = {
    True: (
        "**A phantom is no clinical study.** No person was examined, so much is not applicable "
        "that a study of patients has to answer, and a *yes* says that the method is reported, not "
        "that anything is known of patients."
    ),
    False: (
        "The cohort is a folder: what its owner knows of how people were chosen, examined and "
        "asked for their consent is not in it, and stays *no* here until someone says it."
    ),
}


@dataclass(frozen=True)
class Item:
    """One row of a guideline, answered.

    Attributes
    ----------
    number : str
        As the guideline has it, such as "12c".
    section, topic, asks : str
        Where it stands, and what it wants to know, in our words.
    answer : str
        One of `ANSWERS`.
    says : str
        A sentence without its full stop.
    where : str
        A label of the book, or a page as a path without ending.
    """

    number: str
    section: str
    topic: str
    asks: str
    answer: str
    says: str
    where: str

    def link(self) -> str:
        """A link to the place in MyST."""
        if "/" in self.where:
            return f"{{doc}}`/{self.where}`"
        if self.where.startswith("cell-"):
            return f"{{ref}}`computed here <{self.where}>`"
        return f"{{ref}}`{self.where}`"


def reporting(build: Path, profile: str, notebooks: Any) -> str:
    """Write the page of the checklists in MyST.

    Parameters
    ----------
    build : Path
        Folder of the build.
    profile : str
    notebooks : mapping
        Executed notebooks by their pages; not used.
    """
    knees = knees_of(build)
    phantom = knees.phantom
    words = facts(build, profile)
    lists, rows = [], [["Guideline", *(answer.capitalize() for answer in ANSWERS), "In all"]]
    for guideline in guidelines():
        items = filled(guideline, phantom, words)
        given = pd.Series([item.answer for item in items]).value_counts()
        counts = [*(given.get(answer, 0) for answer in ANSWERS), len(items)]
        rows.append([guideline["name"], *map(str, counts)])
        lists.append(
            f"## {guideline['name']}: {guideline['full']}\n\n"
            f"{{cite:t}}`{guideline['cite']}`. {guideline['numbering']}\n\n{as_table(items)}"
        )
    return PAGE.format(
        models=words["models"],
        cohort="knees that this project drew" if phantom else "a cohort that was given",
        caution=f"{CAUTION[phantom]} {knees.mixed}".strip(),
        counts=markdown(rows, "l" + "r" * (len(ANSWERS) + 1)),
        lists="\n\n".join(lists),
    )


def guidelines() -> list[dict[str, Any]]:
    """The guidelines with their items, as ``reporting.yml`` has them."""
    return _file()["guidelines"]


def filled(guideline: dict[str, Any], phantom: bool, words: dict[str, str]) -> list[Item]:
    """Answer each item of a guideline for one kind of cohort.

    Raises
    ------
    ValueError
        If an answer does not begin with one of `ANSWERS`.
    """
    answers = _file()["answers"]
    items = []
    for number, section, topic, asks, name in guideline["items"]:
        own = answers[name]
        text = own["all"] if "all" in own else own["phantom" if phantom else "cohort"]
        answer, _, says = text.partition(": ")
        if answer not in ANSWERS or not says:
            raise ValueError(f"{GUIDELINES.name}, answer {name}: “{text}” begins with no answer")
        said = fill(says, words)
        items.append(Item(number, section, topic, asks, answer, said, own["where"]))
    return items


def as_table(items: list[Item]) -> str:
    """A row for each item: number, what it asks, the answer, and where the book has it."""
    rows = [["", "Asks for", "Answer", "In this build"]]
    for item in items:
        asks = f"*{item.section}, {item.topic.lower()}*: {item.asks}"
        if item.section == item.topic:
            asks = f"*{item.section}*: {item.asks}"
        said = f"{item.says[0].upper()}{item.says[1:]}. {item.link()}"
        rows.append([item.number, asks, item.answer, said])
    return list_table(rows, [6, 36, 13, 45])


def facts(build: Path, profile: str) -> dict[str, str]:
    """What the answers quote of a build: numbers of knees and of runs, its source."""
    knees = knees_of(build)
    cases = knees.cases
    known = graded(cases)
    runs = in_order(run_records(build / "runs"))
    seeds = runs.groupby("backbone", sort=False)["seed"].unique()
    words = {
        "cohort_seed": str(load_profile(profile).cohort_seed),
        "ungraded": str(len(cases) - len(known)),
        "subset": str(len(named_subset(known))),
        "models": str(len(runs[["backbone", "supervision"]].drop_duplicates())),
        "n_runs": str(len(runs)),
        "n_variants": str(len(list((build / "variants").glob("*/*/*/done.json")))),
        "seeds": "; ".join(
            f"{BACKBONE_NAMES[str(name)]} {', '.join(map(str, sorted(own)))}"
            for name, own in seeds.to_dict().items()
        ),
        "sizes_from": "profile" if knees.phantom else "folder",
        "origin": "drawn anew by one command" if knees.phantom else origin(build),
    }
    for split, of_split in known.groupby("split"):
        grades = of_split["kl"].value_counts().sort_index()
        words[str(split)] = str(len(of_split))
        words[f"{split}_oa"] = str(int(of_split["oa"].sum()))
        words[f"{split}_grades"] = ", ".join(str(grades.get(kl, 0)) for kl in range(N_GRADES))
    return words


def origin(build: Path) -> str:
    """Where a cohort that was given comes from, as far as its folder says."""
    record = build / "cohort" / RECORD
    if not record.is_file():
        return "where it comes from is not in it"
    fetched = json.loads(record.read_text(encoding="utf-8"))
    return (
        f"fetched as {plain(fetched['dataset'])}, revision {plain(fetched['revision'])}, "
        f"{plain(fetched['licence'])}"
    )


def _file() -> dict[str, Any]:
    return yaml.safe_load(GUIDELINES.read_text(encoding="utf-8"))
