"""Make the records of the experiment on hierarchy: what its arms answer on three cohorts.

`python -m workflow.record_hierarchy radiomics SOURCE FOLDER` trains what is missing on the files
that ``oacore fetch radiomics`` leaves in SOURCE, keeps the answers in FOLDER, which belongs outside
the repository since it holds one for each knee, and goes on there where it was stopped. What the
arms answer is put into `book/record/20-is-it-the-hierarchy/radiomics`, or what ``--out`` names:
tables of aggregates, none of a person. `radiographs SOURCE FOLDER` does the same on real
radiographs, which ``oacore check`` can read, and `phantom COHORT FOLDER` on the knees that ``oacore
phantom COHORT --profile record`` draws, and `phantom-second` on the same knees with the new seeds
that the design names; their records lie beside it. ``--collect`` trains nothing
and records what is finished. ``--tune`` compares settings, of radiomics on inner folds and of
radiographs on the split "val", prints them, and records nothing. ``--same`` keeps the record of
radiomics where code has changed that trains, if its first seeds come out the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from oacore import record
from oacore.errors import InputError
from oacore.instruments.hierarchy.analysis import (
    MARGINS,
    Values,
    collected,
    contrasts,
    power_table,
    scores,
    verdicts,
)
from oacore.instruments.hierarchy.arms import ARMS, LABELS, TaskArm, second_label
from oacore.instruments.hierarchy.fixed import (
    agreement,
    fixed_values,
    tested,
    told_oa,
    told_of,
)
from oacore.instruments.hierarchy.phantom import phantom_cohort, phantom_plan
from oacore.instruments.hierarchy.radiographs import pilot, radiographs_cohort, radiographs_plan
from oacore.instruments.hierarchy.repeats import (
    BLOCK,
    GRID,
    PEER_CELL,
    TUNING_SEED,
    Knees,
    Plan,
    answers,
    cell_name,
    folds_of,
    primary_mean,
    radiomics_knees,
    run,
    tune,
)
from oacore.instruments.hierarchy.runs import Reader, SplitPlan, cohort_of
from oacore.instruments.hierarchy.runs import run as run_split
from oacore.instruments.hierarchy.split import SplitCohort
from oacore.metrics.clinical import KAPPA
from oacore.metrics.resampling import draw_cases
from oacore.provenance import of_this_machine
from workflow.jobs import in_words
from workflow.record import (
    RELATIVE,
    code_of,
    digests,
    other_than_released,
    put,
)
from workflow.record import replace as put_in_place

#: Where the record of each cohort lies.
CHAPTER = "20-is-it-the-hierarchy"
PHANTOMS = ("phantom", "phantom-second")
CHAPTERS = {name: f"{CHAPTER}/{name}" for name in ("radiomics", "radiographs", *PHANTOMS)}
#: Of the second run on the phantom.
NEW_SEEDS = tuple(range(100, 110))
#: Where the paper's effects on its 98 knees are.
PUBLISHED = "09-published-record"
#: Of the resamples of knees or people.
SEED, RESAMPLES = 0, 1000
#: What the recorded tables follow from.
_OF_PHANTOMS = (
    *("instruments/hierarchy/phantom", "instruments/hierarchy/fixed"),
    *("instruments/phantom/cohort", "models/resnet3d"),
)
ENTRIES = {
    "radiomics": ("instruments/hierarchy/repeats", "instruments/hierarchy/analysis"),
    "radiographs": ("instruments/hierarchy/radiographs", "instruments/hierarchy/fixed"),
    **dict.fromkeys(PHANTOMS, _OF_PHANTOMS),
}


@dataclass(frozen=True)
class Fixed:
    """A cohort whose split is fixed, as a command names it.

    Attributes
    ----------
    name : {"radiographs", "phantom", "phantom-second"}
    plan : SplitPlan
    cohort : SplitCohort
    """

    name: str
    plan: SplitPlan
    cohort: SplitCohort


def paper_effects() -> dict[str, dict[str, float]]:
    """The sizes whose power is asked: by outcome, the paper's effects, half of them, the margin."""
    stats = record.read(record.RECORDS / PUBLISHED / "stats.csv")
    clinical = record.read(record.RECORDS / PUBLISHED / "clinical.csv")
    aucs = stats[(stats["metric"] == "kl_auc")].set_index("backbone")["value"]
    kappa = clinical[clinical["measure"] == KAPPA].pivot(
        index="backbone", columns="supervision", values="value"
    )
    found = {"kl_auc": aucs, "kl_kappa": kappa["dual"] - kappa["single_kl"]}
    sizes: dict[str, dict[str, float]] = {}
    for measure, its in found.items():
        sizes[measure] = {"margin": MARGINS[measure]}
        for backbone, size in its.abs().items():
            sizes[measure] |= {f"{backbone}": float(size), f"half of {backbone}": float(size) / 2}
    return sizes


def shares(plan: Plan, knees: Knees) -> pd.DataFrame:
    """What second heads are told: the share of training knees, and how it goes with OA.

    Returns
    -------
    DataFrame
        `label`; `share` of training knees told 1; `agrees`, the share told what OA says; `phi`,
        the correlation with OA; means over seeds, of each the networks that leave out the first
        fold. The other knees' labels do not count: no head is told them.
    """
    kl = knees.cases["kl"].to_numpy(np.int64)
    rows = []
    for label in (name for name in LABELS if name != "grade"):
        for seed in plan.seeds:
            training = folds_of(kl, seed, plan.folds) != 0
            told = second_label(TaskArm("", "", label), knees.cases, training, seed, 0)
            rows.append({"label": label, **agreement(told[training], kl[training])})
    return pd.DataFrame(rows).groupby("label", sort=False).mean().reset_index()


def values_of(plan: Plan, knees: Knees, folder: Path) -> Values:
    """Measures of all that is finished.

    Raises
    ------
    InputError
        If nothing is.
    """
    kl = knees.cases["kl"].to_numpy(np.int64)
    counts = draw_cases(len(kl), RESAMPLES, SEED)
    values = collected(
        answers(plan, knees, folder), kl, counts,
        lambda seed: folds_of(kl, seed, plan.folds), told_oa,
    )  # fmt: skip
    return _some(values, folder)


def _some(values: Values, folder: Path) -> Values:
    if not values:
        raise InputError(f"{folder}: nothing of this plan is finished; leave out --collect")
    return values


def tables(plan: Plan, knees: Knees, values: Values) -> dict[str, pd.DataFrame]:
    """All recorded tables of a cross-validation."""
    return {
        **judged(plan.seeds, values, cell_name(plan.network), len(knees.cases)),
        "labels": shares(plan, knees),
        "knees": knees.cases.groupby("kl").size().rename("knees").reset_index(),
    }


def fixed_tables(fixed: Fixed, values: Values) -> dict[str, pd.DataFrame]:
    """All recorded tables of a fixed split."""
    cases = fixed.cohort.cases
    counts = cases.groupby(["split", "kl"])
    named = {"knees": ("case", "size")}
    if "person" in cases:
        named["people"] = ("person", "nunique")
    return {
        **judged(fixed.plan.seeds, values, fixed.plan.network.cell, len(tested(fixed.cohort))),
        "labels": told_of(fixed.plan, fixed.cohort),
        "knees": counts.agg(**named).reset_index(),
    }


def judged(seeds: Sequence[int], values: Values, main: str, knees: int) -> dict[str, pd.DataFrame]:
    """Scores and contrasts; verdicts and power where all primary contrasts are there.

    Parameters
    ----------
    seeds : sequence of int
    values : dict
        See :func:`.analysis.scores`.
    main : str
        The cell of all arms.
    knees : int
        On which the values are.
    """
    found = {
        "scores": scores(values),
        "contrasts": contrasts(values, main, PEER_CELL),
        "by_seed": by_seed(seeds, values),
    }
    if found["contrasts"]["primary"].sum() == 3 * len(MARGINS):
        found["verdicts"] = verdicts(found["contrasts"])
        found["power"] = power_table(values, main, knees, paper_effects())
    return found


def by_seed(seeds: Sequence[int], values: Values) -> pd.DataFrame:
    """Each seed's value in the primary outcomes: `cell`, `arm`, `measure`, `seed`, `value`."""
    rows = [
        {"cell": cell, "arm": arm, "measure": measure, "seed": seed, "value": value}
        for (cell, arm), measures in values.items()
        for measure in MARGINS
        if measure in measures
        for seed, value in zip(seeds, measures[measure][:, 0], strict=False)
    ]
    return pd.DataFrame(rows)


def code(name: str) -> dict[str, str]:
    """Digests of the code behind the tables of a cohort, by file."""
    return code_of(*ENTRIES[name])


def write_record(
    plan: Plan, knees: Knees, folder: Path, there: Path, inputs: Mapping[str, Any]
) -> Path:
    """Put the tables of what is finished in place of a record; it stays if anything is wrong."""
    said: dict[str, Any] = {
        **_said("radiomics", plan),
        "runs": {
            "models": sum(len(names) for _, names in plan.cells().values()),
            "seeds": len(plan.seeds),
            "test knees": len(knees.cases),
        },
        "resamples": {"seed": SEED, "of knees": RESAMPLES},
        "inputs": dict(inputs),
        "other than released": other_than_released(inputs),
    }
    return put(there, tables(plan, knees, values_of(plan, knees, folder)), said)


def write_fixed_record(fixed: Fixed, folder: Path, there: Path) -> Path:
    """As :func:`write_record`, of a fixed split."""
    values, seconds = fixed_values(fixed.plan, fixed.cohort, folder, RESAMPLES, SEED)
    _some(values, folder)
    drawn = "of people" if "person" in fixed.cohort.cases else "of knees"
    said: dict[str, Any] = {
        **_said(fixed.name, fixed.plan),
        "resamples": {"seed": SEED, drawn: RESAMPLES},
        "inputs": {"images and labels": fixed.cohort.digest()},
        "runs": {
            "models": len(values),
            "seeds": min(len(one) for its in values.values() for one in its.values()),
            "test knees": len(tested(fixed.cohort)),
        },
        "processor seconds": round(seconds),
    }
    return put(there, fixed_tables(fixed, values), said)


def kept_record(plan: Plan, knees: Knees, folder: Path, there: Path) -> Path:
    """Keep the record of radiomics though what trains has changed, if it trains the same networks.

    Its first block of seeds is trained by today's code, and each value must be the recorded one.

    Raises
    ------
    InputError
        If one is not, or if what measures and compares has changed as well.
    """
    said = json.loads((there / record.MADE).read_text(encoding="utf-8"))
    today = code("radiomics")
    changed = {file for file in today if said["code"].get(file) != today[file]}
    judges = set(code_of(*ENTRIES["radiomics"][1:])) - set(code_of(ENTRIES["radiomics"][0]))
    if others := sorted(changed & judges):
        raise InputError(
            f"{there}: {', '.join(others)} changed too; leave out --same and record it anew"
        )
    few = replace(plan, seeds=plan.seeds[:BLOCK], peer_seeds=plan.peer_seeds[:BLOCK])
    run(few, knees, folder)
    places = ["cell", "arm", "measure", "seed"]
    now = by_seed(few.seeds, values_of(few, knees, folder)).set_index(places)["value"]
    was = record.read(there / "by_seed.csv").set_index(places)["value"].reindex(now.index)
    if apart := list(now.index[~np.isclose(now, was, rtol=RELATIVE, atol=0)]):
        raise InputError(
            f"{there}: today's code makes something else of {len(apart)} of {len(now)} values, "
            f"{', '.join(map(str, apart[0]))} for one; leave out --same and record it anew"
        )
    again = {**of_this_machine(), "seeds": list(few.seeds)}
    said |= {"code": today, "made again with the same results": again}
    put_in_place(there, sorted(there.glob("*.csv")), said)
    return there


def _said(name: str, plan: Plan | SplitPlan) -> dict[str, Any]:
    """What is said of every record."""
    source = "COHORT" if name in PHANTOMS else "SOURCE"
    return {
        "command": f"python -m workflow.record_hierarchy {name} {source} FOLDER",
        "plan": asdict(plan),
        "arms": {arm: asdict(ARMS[arm]) for arm in plan.arms},
        "margins": MARGINS,
        "code": code(name),
        "provenance": of_this_machine(),
    }


def record_radiomics(given: argparse.Namespace) -> Path:
    """Do what the command says on radiomics."""
    plan, knees = Plan(), radiomics_knees(given.source)
    if given.seeds is not None:
        seeds = tuple(range(given.seeds))
        plan = replace(plan, seeds=seeds, peer_seeds=seeds[: len(plan.peer_seeds)])
    if not (given.collect or given.same):
        run(plan, knees, given.folder)
    if given.same:
        return kept_record(plan, knees, given.folder, given.out)
    inputs = {"radiomics": digests("radiomics", str(given.source))}
    return write_record(plan, knees, given.folder, given.out, inputs)


def record_fixed(given: argparse.Namespace) -> Path:
    """Do what the command says on radiographs or the phantom."""
    read: Reader
    plan, read = radiographs_plan(), radiographs_cohort
    places: tuple[Path, ...] = (given.source,)
    if given.cohort in PHANTOMS:
        plan, read = phantom_plan(), phantom_cohort
        places = (given.source, given.folder / "cache")
    if given.cohort == "phantom-second":
        plan = replace(plan, seeds=NEW_SEEDS)
    if given.seeds is not None:
        first = plan.seeds[0]
        plan = replace(plan, seeds=tuple(range(first, first + given.seeds)))
    if not given.collect:
        run_split(plan, read, places, given.folder, given.workers)
    fixed = Fixed(given.cohort, plan, cohort_of(read, places))
    return write_fixed_record(fixed, given.folder, given.out)


def settings_compared(given: argparse.Namespace) -> str:
    """How settings compare, as a table to print."""
    if given.cohort == "radiographs":
        found = pilot(given.source)
    else:
        found = tune(radiomics_knees(given.source), GRID, primary_mean, seed=TUNING_SEED)
    return found.to_string(index=False)


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort", choices=list(CHAPTERS))
    parser.add_argument("source", type=Path, help="the released files, radiographs, or a phantom")
    parser.add_argument("folder", type=Path, help="of the answers; outside the repository")
    parser.add_argument("--out", type=Path, help="of the record; default: its place in the book")
    parser.add_argument("--seeds", type=int, help="how many; default: the plan's")
    parser.add_argument("--workers", type=int, default=1, help="processes; not for radiomics")
    parser.add_argument("--collect", action="store_true", help="train nothing")
    parser.add_argument("--tune", action="store_true", help="compare settings, record nothing")
    parser.add_argument(
        "--same", action="store_true",
        help="of radiomics: keep the record if today's code trains the same first seeds",
    )  # fmt: skip
    given = parser.parse_args(words)
    if given.cohort in PHANTOMS and given.tune:
        parser.error("settings of the phantom are those of the profile record")
    if given.cohort != "radiomics" and given.same:
        parser.error("--same is of radiomics")
    if given.cohort == "radiomics" and given.workers != 1:
        parser.error("radiomics trains many networks at once, in one process")
    given.out = given.out or record.RECORDS / CHAPTERS[given.cohort]
    torch.set_num_threads(1)  # what is batched is so small that threads wait for each other
    if given.tune:
        return in_words(lambda: settings_compared(given))
    make = record_radiomics if given.cohort == "radiomics" else record_fixed
    return in_words(lambda: f"{make(given)} is made")


if __name__ == "__main__":
    sys.exit(main())
