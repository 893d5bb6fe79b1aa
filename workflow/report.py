"""The reproducibility report: for each claim of two papers what each kind of evidence shows.

Every number on the page comes from a file of the build: tables that chapters kept, records of
runs, the executed notebooks' times.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from oacore.data.download import RECORD
from oacore.data.sources import sources_table
from oacore.instruments.evidence import coherence_claims
from oacore.instruments.evidence.claims import margins
from oacore.instruments.evidence.verdicts import ABSENT, FAILS, HOLDS, OPEN, PARTLY
from oacore.metrics.references import REFERENCE
from oacore.metrics.scores import METRICS
from oacore.metrics.seeds import mean_over_seeds
from oacore.names import METRIC_NAMES, NAMES, written
from oacore.profile import load_profile
from oacore.provenance import of_this_machine
from oacore.record import changed, made
from oacore.results import kept
from oacore.training.checks import doubts
from oacore.training.records import run_records
from workflow.about import (
    case_counts,
    chapter_times,
    commit_in_words,
    fill,
    list_table,
    plain,
    recipe_table,
    run_table,
    table,
)
from workflow.claims_by_source import (
    CHAPTERS,
    CONTROLS,
    KEPT,
    SECOND_CHAPTERS,
    SECOND_SOURCES,
    SOURCES,
    evidence,
    second_evidence,
)
from workflow.knees import knees_of
from workflow.reporting import facts

_OF_CONTROLS = [its["hierarchy"][1] for its in KEPT.values() if "hierarchy" in its]
CHECKLIST = Path(__file__).with_name("checklist.yml")

SIGNS = {HOLDS: "✓", PARTLY: "◐", FAILS: "✗", OPEN: "?", ABSENT: "–"}
KIND = {
    True: "**A result on the phantom tests a method; it is never a clinical one.**",
    False: (
        "*Real images* are those of the cohort that this build was given, on which all of its own "
        "runs were trained."
    ),
}
#: What the checklist says of this build's data.
DATA = {
    True: {
        "obtained": "the phantom is drawn from a seed; `oacore fetch` gets what is public",
        "new_data": "the phantom: {ref}`sec-building-a-knee`",
    },
    False: {
        "obtained": "the cohort from its owner; `oacore fetch` gets what is public",
        "new_data": "no new data: the cohort was given",
    },
}

PAGE = """\
(sec-report)=
# Reproducibility report

This page is written anew with each build, for whoever wants one page to read, to print or to
cite. It takes the claims of Zhang {{cite}}`zhang2026` one by one and says what each of five kinds
of evidence shows; then {{ref}}`those of a second paper <sec-second-claims>`, on radiographs. {kind}

{source}

## The claims at a glance

{glance}

{recorded}

*Holds*: all that the claim names is borne out. *Holds in part*: some of it, and nothing against
it. *Does not hold*: the source contradicts it, or, for the paper's own predictions, none of the
gains called significant can be distinguished from zero. *Cannot say*: elsewhere, it cannot be
distinguished from zero, or one seed is all there is, or nothing there could decide. *Not
measured*: the reason stands below.

A difference is *clear*, distinguished from zero, where q < 0.05 (Benjamini and Hochberg, over all
differences between Dual and single of that source; for the axis and the benchmark over those of
the claim), or p adjusted for all pairs of backbones where two effects are compared. Of runs with
one seed there is neither.

That a change is *not significant* is true of every test that is small enough. So a claim of no
change holds where each 90% interval, which is two one-sided tests at 0.05, lies within a margin
named beforehand; of a claim of no gain the upper limit must. A clear change, however small, is
against it. The margins:

{margins}

Whether it is the hierarchy is judged by arms that have all of Dual but the hierarchy, with the
margins, Holm's p-values and the sentences of {{ref}}`sec-hierarchy-design`. It does not hold where
these say of no outcome that it is the hierarchy, and leave none undecided.

Beside each difference stands what it could have seen: the least true difference that such a
comparison calls clear four times out of five (*80% power*, before any correction).
{{ref}}`sec-98-knees` says what follows from it for a test set of the paper's size.

## The claims one by one

{claims}

(sec-second-claims)=
## The second paper's claims at a glance

Zheng et al. {{cite}}`zheng2021coherence` grade radiographs by networks that pool features at
keypoints, and that learn which grades belong together. Each claim is judged by differences between
arms of a study of small networks ({{ref}}`sec-keypoints`), and q is over all
differences that these claims name. A gain in RMSE is a smaller one.

{second_glance}

{second_recorded}

{second_margins}

## The second paper's claims one by one

{second_claims}

## Scores of this build's models, beside what costs nothing

{scores}

## Runs that did not learn what they seem to

{doubtful}

## What the printed tables say of themselves

{audit}

## Where this book departs from the paper

The paper's text and its released code differ, and this book has to follow one of them, or neither.
{{ref}}`sec-text-and-code` takes the differences one at a time.

{deviations}

## Data

{cohort}

{cases}

{provenance}

## Environment, seeds and hardware

{versions}

{runs}

{recipes}

## Time for each chapter

{times}

## The reproducibility checklist

The machine-learning reproducibility checklist {{cite}}`pineau2021`, filled in for the paper with
its released code, and for this build. Three of clinical reporting: {{ref}}`sec-reporting`.

{checklist}
"""


def report(build: Path, profile: str, notebooks: Mapping[str, Any]) -> str:
    """Write the page in MyST.

    Parameters
    ----------
    build : Path
        Folder of the build.
    profile : str
    notebooks : mapping
        Executed notebooks by their pages.
    """
    knees = knees_of(build)
    phantom = knees.phantom
    here = of_this_machine()
    found = evidence(build, phantom)
    second = second_evidence(build)
    versions = {"Python": here["python"], **here["versions"]}
    return PAGE.format(
        kind=f"{KIND[phantom]} {knees.mixed}".strip(),
        source=table(
            {
                "Commit": commit_in_words(here),
                "Profile": f"`{profile}`",
                "Rendered on": plain(
                    f"{here['platform']}, {here['device']}, at {here['finished']}"
                ),
            },
            "This build",
            "",
        ),  # fmt: skip
        glance=glance(found),
        recorded=recorded_in_words(found),
        margins=margins_in_words(),
        claims=one_by_one(found),
        second_glance=glance(second, SECOND_SOURCES),
        second_recorded=recorded_in_words(second, SECOND_SOURCES, SECOND_CHAPTERS),
        second_margins=second_margins_in_words(),
        second_claims=one_by_one(second, SECOND_SOURCES, "The second paper"),
        scores=scores_in_words(kept(build, "08-comparison/table1")),
        doubtful=doubts_in_words(
            kept(build, "08-comparison/gaps"), kept(build, "08-comparison/collapsed")
        ),
        audit=audit_in_words(kept(build, "10-printed-tables/audit")),
        deviations=deviations_in_words(kept(build, "07-text-and-code/deviations")),
        cohort=cohort_in_words(build, phantom),
        cases=case_counts(knees.cases),
        provenance=origins(build),
        versions=table(versions, "Package", "Version"),
        runs=run_table(build),
        recipes=recipe_table(load_profile(profile)),
        times=chapter_times(notebooks),
        checklist=checklist(build, profile, here["device"], phantom),
    )


def glance(found: pd.DataFrame, sources: Mapping[str, str] = SOURCES) -> str:
    """Verdicts in a square of claims and sources."""
    rows = [["Claim", *sources.values()]]
    for claim, of_claim in found.groupby("claim", sort=False):
        rows.append([str(claim), *(f"{SIGNS[v]} {v}".strip() for v in of_claim["verdict"])])
    return list_table(rows, [40, *(60 // len(sources) for _ in sources)])


def recorded_in_words(
    found: pd.DataFrame,
    sources: Mapping[str, str] = SOURCES,
    chapters: Mapping[str, str] = CHAPTERS,
) -> str:
    """Which columns were computed in this build, and which come from the project's record."""
    said = []
    spoke = found[found["label"] != ""]
    controls = spoke["label"].str.removesuffix("-record").isin(_OF_CONTROLS)
    for source, chapter in chapters.items():
        own = spoke.loc[(spoke["source"] == source) & ~controls, "recorded"]
        said.append(f"*{sources[source]}*: {_how(own, chapter)}.")
    for source, chapter in CONTROLS.items():
        own = spoke.loc[(spoke["source"] == source) & controls, "recorded"]
        if len(own):
            said.append(f"*{sources[source]}, with controls*: {_how(own, chapter)}.")
    return "\n".join(said)


def _how(recorded: pd.Series, chapter: str) -> str:
    """Whether what a chapter says was computed in this build, or is from the record."""
    if not len(recorded):
        return "not measured in this build"
    if not recorded.any():
        return "computed in this build"
    record = made(chapter)
    commit, day = (record["provenance"][key] for key in ("commit", "finished"))
    how = (
        f"read from this project's record, which `{record['command']}` made on "
        f"{day[:10]} at commit `{str(commit)[:10]}`, and not computed in this build"
    )
    if changed(chapter):
        how += "; it was made by an earlier version of this code"
    if not recorded.all():
        how += ", but for what is linked as computed"
    return how


def margins_in_words() -> str:
    """The margins of metrics, and why they are what they are."""
    rows = [["Metrics", "Margin", "Why"]]
    for (margin, reason), family in margins().groupby(["margin", "reason"], sort=False):
        names = ", ".join(METRIC_NAMES[str(metric)] for metric in family.index)
        rows.append([names, f"{margin:g}", str(reason)])
    return list_table(rows, [25, 12, 63])


def second_margins_in_words() -> str:
    """The margins of the second paper's claims of no change, and why they are what they are."""
    rows = [["Claim of no change, or no gain", "Margin", "Why"]]
    for _, claim in coherence_claims.claims().query("says != 'gain'").iterrows():
        each = ", ".join(
            f"{coherence_claims.WORDS[name]} {value:g}" for name, value in claim["margin"].items()
        )
        rows.append([claim["claim"], each, claim["reason"]])
    return list_table(rows, [35, 20, 45])


def one_by_one(
    found: pd.DataFrame, sources: Mapping[str, str] = SOURCES, paper: str = "The paper"
) -> str:
    """A heading and a table for each claim."""
    parts = []
    for claim, of_claim in found.groupby("claim", sort=False):
        first = of_claim.iloc[0]
        printed = f"; it prints: {first['printed']}" if first["printed"] else ""
        rows = [["Evidence", "Verdict", "What it shows"]]
        for row in of_claim.to_dict("records"):
            how = "From the record, shown here" if row["recorded"] else "Computed here"
            link = f" {{ref}}`{how} <{row['label']}>`." if row["label"] else ""
            because = row["because"].rstrip(".").replace("; ", ";<br>")  # an estimate a line
            rows.append([sources[row["source"]], row["verdict"], f"{because}.{link}"])
        parts.append(
            f"### {claim}\n\n{paper}, {first['where']}{printed}.\n\n"
            + list_table(rows, [20, 15, 65])
        )
    return "\n\n".join(parts)


def scores_in_words(scores: pd.DataFrame | None) -> str:
    """Table 1's metrics of each model, means over its seeds, and of the references below them."""
    if scores is None:
        return "The chapter kept no scores."
    rows = [["Model", *(METRIC_NAMES[metric] for metric in METRICS)]]
    for model, of_model in scores.groupby(["backbone", "supervision"], sort=False):
        own = mean_over_seeds(of_model).set_index("metric")
        cells = written(own).reindex(list(METRICS)).fillna("–")
        words = model[1:] if model[0] == REFERENCE else model
        rows.append([" ".join(NAMES.get(str(word), str(word)) for word in words), *cells])
    return (
        "On the test knees: means over the seeds, with the lowest and the highest. The last rows "
        "are no networks but what a score must beat ({ref}`computed here <cell-references>`).\n\n"
        + list_table(rows, [23, *(11 for _ in METRICS)])
    )


def doubts_in_words(gaps: pd.DataFrame | None, collapsed: pd.DataFrame | None) -> str:
    """Runs with a gap between training and evaluation, and those with one answer for nearly all."""
    if gaps is None or collapsed is None:
        return "The chapter kept no check of its runs."
    said = "\n".join(f"- {sentence}" for sentence in doubts(gaps, collapsed))
    return f"What each is looked through for: {{ref}}`sec-normalisation`.\n\n{said}"


def audit_in_words(found: pd.DataFrame | None) -> str:
    """The inconsistent findings, all of them, and the counts of the others."""
    if found is None:
        return "The chapter kept no audit."
    counts = found["verdict"].value_counts()
    wrong = found[found["verdict"] == "inconsistent"].fillna("")
    rows = [["Where", "Check", "Printed", "Implied"]]
    rows += [
        [f"{row['table']}, {row['row']}", row["check"], str(row["printed"]), str(row["implied"])]
        for row in wrong.to_dict("records")
    ]
    said = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    return (
        f"Of {len(found)} checks ({said}), those that cannot be, in both papers "
        "({ref}`the audit <cell-audit>`; 2112.09177 is the second one "
        "{cite}`zheng2021coherence`):\n\n" + list_table(rows, [22, 13, 32, 33])
    )


def deviations_in_words(listed: pd.DataFrame | None) -> str:
    """Each difference: text, code, this book, and what it changes."""
    if listed is None:
        return "The chapter kept no list."

    rows = [["Difference", "Text, code, and this book", "What it changes"]]
    for row in listed.to_dict("records"):
        text, code, book = (plain(row[key]) for key in ("text", "code", "book"))
        three = f"*Text:* {text}. *Code:* {code}. *Book:* {book}."
        effect = f"{plain(row['effect'])} *Evidence: {plain(row['evidence'])}.*"
        rows.append([plain(row["what"]), three, effect])
    return list_table(rows, [15, 45, 40])


def cohort_in_words(build: Path, phantom: bool) -> str:
    """Say what the cohort is, and where it comes from."""
    cohort = build / "cohort"
    if phantom:
        truth = hashlib.sha256((cohort / "truth.csv").read_bytes()).hexdigest()
        return (
            "The cohort is a **synthetic phantom**, drawn from the profile's seed. Knees by split "
            f"and grade are below; SHA-256 of its `truth.csv`: `{truth}`."
        )
    words = "The cohort is a folder given by the one who built this."
    words = f"{words} {knees_of(build).mixed}".strip()
    record = cohort / RECORD
    if record.is_file():
        fetched = json.loads(record.read_text(encoding="utf-8"))
        words += (
            f" It was fetched as {plain(fetched['dataset'])}, revision "
            f"{plain(fetched['revision'])}, under {plain(fetched['licence'])}."
        )
    return words


def origins(build: Path) -> str:
    """Files of others: commit, SHA-256, and whether this build, or the record, has them so."""
    rows = [["File", "SHA-256", "In this build"]]
    behind = [made(CHAPTERS[source])["inputs"] for source in ("published", "radiomics")]
    tables = [sources_table(source).assign(source=source) for source in ("published", "radiomics")]
    for _, folder, name, digest in pd.concat(tables)[["source", "file", "sha256"]].itertuples():
        path = build / folder / name
        if not path.is_file():
            known = {inputs[folder][name] for inputs in behind if name in inputs.get(folder, {})}
            state = "not fetched"
            if known:
                same = "it as released" if known == {digest} else "a copy of another content"
                state += f"; the record is of {same}"
        elif hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            state = "as released"
        else:
            state = "another content"
        rows.append([f"`{name}`", f"`{digest[:16]}…`", state])
    commits = ", ".join(f"`{table['commit'].iloc[0][:10]}`" for table in tables)
    return (
        "Public files, never part of this project: the paper's predictions "
        "(jukieCheung/coarse2fine-oa-mri) and the radiomics (YaxiiC/YaxiiC-OA_KLG_Retrieval), at "
        f"commits {commits}. Neither names a licence.\n\n" + list_table(rows, [45, 30, 25])
    )


def checklist(build: Path, profile: str, device: str, phantom: bool) -> str:
    """The checklist, with the words in braces filled in from the build's records."""
    runs = run_records(build / "runs")
    words = facts(build, profile) | DATA[phantom]
    words |= {
        "chosen_on": (
            "phantom cohorts: schedules of `laptop` on seeds 2 and 3, grids and widths on seed 1; "
            "other profiles have older settings or the paper's"
        ),
        "n_controls": str(len(list((build / "controls").glob("*/*/*/done.json")))),
        "minutes": f"{runs['training minutes'].sum():.0f}",
        "device": plain(device),
    }
    groups = yaml.safe_load(CHECKLIST.read_text(encoding="utf-8"))
    parts = []
    for group, items in groups.items():
        rows = [[group, "The paper and its release", "This build"]]
        for item in items:
            rows.append([item["item"], item["paper"], fill(item["book"], words)])
        parts.append(list_table(rows, [34, 30, 36]))
    return "\n\n".join(parts)
