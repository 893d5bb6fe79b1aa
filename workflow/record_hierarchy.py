"""Make the record of the experiment on hierarchy: what its arms answer on real features.

`python -m workflow.record_hierarchy radiomics SOURCE FOLDER` trains what is missing on the files
that ``oacore fetch radiomics`` leaves in SOURCE, keeps the answers in FOLDER, which belongs outside
the repository since it holds one for each knee, and goes on there where it was stopped. What the
arms answer is put into `book/record/18-is-it-the-hierarchy`, or what ``--out`` names: tables of
aggregates, none of a person. ``--collect`` trains nothing and records what is finished. ``--tune``
compares the settings of :data:`.repeats.GRID` on inner folds, prints them, and records nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from oacore import record
from oacore.errors import InputError
from oacore.fingerprint import ROOT, code_digest, code_files
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
from oacore.instruments.hierarchy.repeats import (
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
from oacore.metrics.clinical import KAPPA
from oacore.metrics.resampling import draw_cases
from oacore.provenance import of_this_machine
from workflow.record import NO_NUMBERS, digests, other_than_released
from workflow.record import replace as put

CHAPTER = "18-is-it-the-hierarchy"
#: Where the paper's effects on its 98 knees are.
PUBLISHED = "09-published-record"
#: Of the resamples of knees.
SEED, RESAMPLES = 0, 1000
#: What the recorded tables follow from.
ENTRIES = ("repeats", "analysis")


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
    """What second heads are told: the share of knees, and how it goes with OA.

    Returns
    -------
    DataFrame
        `label`; `share` of knees told 1; `agrees`, the share told what OA says; `phi`, the
        correlation with OA; means over seeds, in the first fold of each.
    """
    kl = knees.cases["kl"].to_numpy(np.int64)
    oa = kl >= 2
    rows = []
    for label in (name for name in LABELS if name != "grade"):
        for seed in plan.seeds:
            training = folds_of(kl, seed, plan.folds) != 0
            told = second_label(TaskArm("", "", label), knees.cases, training, seed, 0) == 1
            row = {"share": told.mean(), "agrees": (told == oa).mean()}
            rows.append({"label": label, **row, "phi": np.corrcoef(told, oa)[0, 1]})
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
        lambda seed: folds_of(kl, seed, plan.folds),
        lambda name: name in ARMS and ARMS[name].second == "OA",
    )  # fmt: skip
    if not values:
        raise InputError(f"{folder}: nothing of this plan is finished; leave out --collect")
    return values


def tables(plan: Plan, knees: Knees, values: Values) -> dict[str, pd.DataFrame]:
    """All recorded tables."""
    main = cell_name(plan.network)
    found = {
        "scores": scores(values),
        "contrasts": contrasts(values, main, PEER_CELL),
        "by_seed": by_seed(plan, values),
        "labels": shares(plan, knees),
        "knees": knees.cases.groupby("kl").size().rename("knees").reset_index(),
    }
    if found["contrasts"]["primary"].sum() == 3 * len(MARGINS):
        found["verdicts"] = verdicts(found["contrasts"])
        found["power"] = power_table(values, main, len(knees.cases), paper_effects())
    return found


def by_seed(plan: Plan, values: Values) -> pd.DataFrame:
    """Each seed's value in the primary outcomes: `cell`, `arm`, `measure`, `seed`, `value`."""
    rows = [
        {"cell": cell, "arm": arm, "measure": measure, "seed": seed, "value": value}
        for (cell, arm), measures in values.items()
        for measure in MARGINS
        if measure in measures
        for seed, value in zip(plan.seeds, measures[measure][:, 0], strict=False)
    ]
    return pd.DataFrame(rows)


def code() -> dict[str, str]:
    """Digests of the code behind the tables, by file."""
    entries = [f"oacore/instruments/hierarchy/{name}.py" for name in ENTRIES]
    files = [file for file in code_files(*entries) if not file.startswith(NO_NUMBERS)]
    return {file: code_digest(ROOT / file) for file in files}


def write_record(
    plan: Plan, knees: Knees, folder: Path, there: Path, inputs: Mapping[str, Any]
) -> Path:
    """Put the tables of what is finished in place of a record; it stays if anything is wrong."""
    said: dict[str, Any] = {
        "command": "python -m workflow.record_hierarchy radiomics SOURCE FOLDER",
        "plan": asdict(plan),
        "arms": {name: asdict(ARMS[name]) for name in plan.arms},
        "runs": {
            "models": sum(len(names) for _, names in plan.cells().values()),
            "seeds": len(plan.seeds),
            "test knees": len(knees.cases),
        },
        "margins": MARGINS,
        "resamples": {"seed": SEED, "of knees": RESAMPLES},
        "inputs": dict(inputs),
        "other than released": other_than_released(inputs),
        "code": code(),
        "provenance": of_this_machine(),
    }
    with tempfile.TemporaryDirectory() as place:
        paths = []
        for name, table in tables(plan, knees, values_of(plan, knees, folder)).items():
            path = Path(place) / f"{name}.csv"
            table.to_csv(path, index=False, float_format="%.7g")
            paths.append(path)
        said["tables"] = {path.stem: {"sha256": record.content_digest(path)} for path in paths}
        put(there, paths, said)
    return there


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort", choices=["radiomics"])
    parser.add_argument("source", type=Path, help="the released files")
    parser.add_argument("folder", type=Path, help="of the answers; outside the repository")
    parser.add_argument("--out", type=Path, help="of the record; default: its place in the book")
    parser.add_argument("--seeds", type=int, help="how many; default: the plan's")
    parser.add_argument("--collect", action="store_true", help="train nothing")
    parser.add_argument("--tune", action="store_true", help="compare settings, record nothing")
    given = parser.parse_args(words)
    torch.set_num_threads(1)  # what is batched is so small that threads wait for each other
    try:
        knees = radiomics_knees(given.source)
        if given.tune:
            table = tune(knees, GRID, primary_mean, seed=TUNING_SEED)
            print(table.to_string(index=False))
            return 0
        plan = Plan()
        if given.seeds is not None:
            seeds = tuple(range(given.seeds))
            plan = replace(plan, seeds=seeds, peer_seeds=seeds[: len(plan.peer_seeds)])
        if not given.collect:
            run(plan, knees, given.folder)
        there = given.out or record.RECORDS / CHAPTER
        inputs = {"radiomics": digests("radiomics", str(given.source))}
        print(f"{write_record(plan, knees, given.folder, there, inputs)} is made")
    except InputError as error:
        print(f"\n{error}\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
