"""The model card and the datasheet of a build: what its models and its knees are for, and not for.

Sections are those that Mitchell et al. (2019, doi:10.1145/3287560.3287596) and Gebru et al. (2021,
doi:10.1145/3458723) propose; the rows stand in ``cards.yml``, the numbers come from the build.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from oacore.backbones import BACKBONE_NAMES
from oacore.data.cohort import SPLITS, graded
from oacore.instruments.phantom.cohort import read_truth
from oacore.names import in_order
from oacore.profile import load_profile
from oacore.results import kept
from oacore.training.records import run_records
from workflow.about import case_counts, fill, list_table, markdown, plain
from workflow.knees import knees_of
from workflow.report import scores_in_words
from workflow.reporting import facts

CARDS = Path(__file__).with_suffix(".yml")

PAGE = """\
# Model card and datasheet

Two forms that say what a model and a data set are for, filled in by this build.

(sec-model-card)=
## Model card

After {{cite:t}}`mitchell2019`, for all models of this build together. **They are for research on
methods, and for no use on patients.**

{model_card}

### Quantitative analyses

{scores}

(sec-datasheet)=
## Datasheet of the knees

After {{cite:t}}`gebru2021`. {kind}

{datasheet}

### The knees by split

{people}

{counts}
"""
KIND = {
    True: "The knees are a **phantom**: a program drew them, and nobody is in them.",
    False: "The cohort was **given**: what its folder does not say, this page cannot know.",
}


def cards(build: Path, profile: str, notebooks: Any) -> str:
    """Write the page in MyST.

    Parameters
    ----------
    build, profile, notebooks
        As for :func:`.reporting.reporting`.
    """
    knees = knees_of(build)
    phantom, cases = knees.phantom, knees.cases
    words = facts(build, profile) | of_models(build, profile) | of_knees(build, cases)
    words["profile"] = profile
    file = yaml.safe_load(CARDS.read_text(encoding="utf-8"))
    return PAGE.format(
        model_card=sections(file["model card"], phantom, words),
        scores=scores_in_words(kept(build, "08-comparison/table1")),
        kind=f"{KIND[phantom]} {knees.mixed}".strip(),
        datasheet=sections(file["datasheet"], phantom, words),
        people=people_table(cases),
        counts=case_counts(cases),
    )


def sections(card: dict[str, list[list[str]]], phantom: bool, words: dict[str, str]) -> str:
    """One table for each section: questions, and what this build answers."""
    parts = []
    for section, rows in card.items():
        filled = [[question, fill(said[0 if phantom else -1], words)] for question, *said in rows]
        parts.append(list_table([[section, ""], *filled], [25, 75]))
    return "\n\n".join(parts)


def of_models(build: Path, profile: str) -> dict[str, str]:
    """What the model card quotes: encoders, grids, training, and what became of the runs."""
    runs = in_order(run_records(build / "runs"))
    recipes = load_profile(profile).backbones
    first = runs.drop_duplicates("backbone").to_dict("records")
    training = [
        f"{BACKBONE_NAMES[row['backbone']]} {row['epochs']} epochs at rate {row['lr']:g}, "
        f"{row['schedule']}, batches of {row['batch_size']}"
        for row in first
    ]
    gaps, collapsed = kept(build, "08-comparison/gaps"), kept(build, "08-comparison/collapsed")
    doubtful = "not known: the chapter kept no check of its runs"
    if gaps is not None and collapsed is not None:
        keys = ["model", "supervision", "seed"]
        bad = pd.concat([gaps[gaps["gap"]], collapsed[collapsed["collapsed"]]])[keys]
        doubtful = f"{len(bad.drop_duplicates())} of {len(gaps[keys].drop_duplicates())} runs"
    seeds = runs.groupby("backbone")["seed"].nunique()
    return {
        "encoders": "; ".join(
            f"{BACKBONE_NAMES[row['backbone']]} ({row['encoder']})" for row in first
        ),
        "grids": "; ".join(
            f"{BACKBONE_NAMES[name]} {' x '.join(map(str, recipe.grid))}"
            for name, recipe in recipes.items()
        ),
        "training": "; ".join(training),
        "commit": ", ".join(f"`{commit}`" for commit in sorted(set(runs["commit"]))),
        "device": plain(", ".join(sorted(set(runs["device"])))),
        "finished": str(runs["finished"].max()),
        "doubtful": doubtful,
        "n_seeds": " to ".join(dict.fromkeys([str(seeds.min()), str(seeds.max())])),
    }


def of_knees(build: Path, cases: pd.DataFrame) -> dict[str, str]:
    """What the datasheet quotes: how many knees, their sides, errors of the label, known faults."""
    known = graded(cases)
    words = {
        "all": str(len(cases)),
        "graded": str(len(known)),
        "sides": ", ".join(f"{n} {side}" for side, n in cases["side"].value_counts().items()),
        "faults": known_faults(cases),
        "label_errors": "an unknown number",
        "digest": "",
    }
    truth = build / "cohort/truth.csv"
    if truth.is_file():
        drawn = read_truth(truth.parent).dropna(subset=["kl"])
        words["label_errors"] = str(int((drawn["kl"] != drawn["kl_true"]).sum()))
        words["digest"] = hashlib.sha256(truth.read_bytes()).hexdigest()[:16]
    return words


def known_faults(cases: pd.DataFrame) -> str:
    """Faults of subject tables that can be seen from the tables alone."""
    said = []
    for split in SPLITS:
        grades = graded(cases[cases["split"] == split]).sort_values("case_id")["kl"]
        if len(grades) > 1 and grades.is_monotonic_increasing:
            said.append(
                f"the {split} split is sorted by grade, so that a case number tells the label"
            )
    for column, word in (("kl", "a grade"), ("age", "an age"), ("bmi", "a BMI")):
        if missing := int(cases[column].isna().sum()):
            said.append(f"knees without {word}: {missing}")
    return "; ".join(said) or "none that the subject tables show"


def people_table(cases: pd.DataFrame) -> str:
    """Size, outcome, sex, age and BMI of the graded knees of each split, in Markdown."""
    rows = [["Split", "Knees", "With OA", "Women", "Age, years", "BMI, kg/m²"]]
    for split in SPLITS:
        own = graded(cases[cases["split"] == split])
        rows.append(
            [
                split,
                str(len(own)),
                _share(own["oa"] == 1),
                _share(own["sex"] == "female"),
                _spread(own["age"]),
                _spread(own["bmi"]),
            ]
        )
    return markdown(rows, "l" + "r" * 5) + "\n\nAge and BMI: mean ± standard deviation."


def _share(which: pd.Series) -> str:
    return f"{which.sum()} ({which.mean():.0%})"


def _spread(values: pd.Series) -> str:
    return f"{values.mean():.1f} ± {values.std():.1f}" if values.count() > 1 else "–"
