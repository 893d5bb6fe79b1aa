"""Make the record of the artefact: what running statistics do to Dual minus Single-KL.

`python -m workflow.record_artefact COHORT FOLDER` trains the runs that FOLDER lacks, outside the
repository and resumable, on a phantom that `oacore phantom COHORT --profile record` has drawn,
and puts tables of aggregates and of runs into `book/record/21-could-it-be-the-artefact`.
``--collect`` trains nothing and records what is finished; ``--tune`` compares settings, on another
cohort, and records nothing.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from oacore import record
from oacore.instruments.hierarchy.artefact import (
    BACKBONE,
    BATCH,
    CELLS,
    PAIR,
    ArtefactPlan,
    SeenKnees,
    knees_at,
    pilot,
    run_artefact,
)
from oacore.instruments.hierarchy.artefact_scores import (
    ARTEFACT_MARGINS,
    COLLAPSE,
    artefact_tables,
)
from oacore.provenance import of_this_machine
from workflow.jobs import in_words
from workflow.record import code_of, put

CHAPTER = "21-could-it-be-the-artefact"
#: Of the resamples of test knees, drawn with seed 0.
RESAMPLES = 500
#: What the recorded tables follow from; the encoder is imported by its name at run time.
ENTRIES = (
    "instruments/hierarchy/artefact",
    "instruments/hierarchy/artefact_scores",
    f"models/{BACKBONE}",
)


def code() -> dict[str, str]:
    """Digests of the code behind the tables, by file."""
    return code_of(*ENTRIES)


def write_record(plan: ArtefactPlan, knees: SeenKnees, folder: Path, there: Path) -> Path:
    """Put the tables of the finished runs in place of a record; it stays if anything is wrong."""
    tables = artefact_tables(plan, knees, folder, RESAMPLES)
    cases, volumes = knees
    split = cases["split"].value_counts()
    said: dict[str, Any] = {
        "command": "python -m workflow.record_artefact COHORT FOLDER",
        "plan": asdict(plan),
        "cells": {cell: CELLS[cell] for cell in plan.cells},
        "of every run": {
            key: value
            for key, value in asdict(plan.config(plan.cells[0], plan.seeds[0], PAIR[0])).items()
            if key not in ("supervision", "seed", "schedule")
        },
        "collapse below": COLLAPSE,
        "margins": ARTEFACT_MARGINS,
        "resamples": {"seed": 0, "of knees": RESAMPLES},
        "inputs": {"volumes": volumes.key},
        "code": code(),
        "provenance": of_this_machine(),
        "runs": {
            "models": len(tables["runs"][["cell", "arm"]].drop_duplicates()),
            "seeds": int(tables["runs"]["seed"].nunique()),
            "batch": BATCH,
            "training knees": int(split["train"]),
            "test knees": int(split["test"]),
        },
    }
    return put(there, tables, said)


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort", type=Path, help="a phantom by the profile record")
    parser.add_argument("folder", type=Path, help="of the answers; outside the repository")
    parser.add_argument("--out", type=Path, help="of the record; default: its place in the book")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--collect", action="store_true", help="train nothing")
    parser.add_argument("--tune", action="store_true", help="compare settings, record nothing")
    given = parser.parse_args(words)
    torch.set_num_threads(1)  # networks are so small that threads wait for each other
    plan = ArtefactPlan()
    places = given.cohort, given.folder / "cache"

    def work() -> str:
        if given.tune:
            return pilot(*places, given.folder, given.workers).to_string(index=False)
        if not given.collect:
            run_artefact(plan, *places, given.folder, given.workers)
        there = given.out or record.RECORDS / CHAPTER
        knees = knees_at(*places, plan.grid)
        return f"{write_record(plan, knees, given.folder, there)} is made"

    return in_words(work)


if __name__ == "__main__":
    sys.exit(main())
