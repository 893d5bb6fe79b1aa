"""Make the record of the study over time: whether the severity axis rises within a drawn knee.

`python -m workflow.record_visits COHORT FOLDER` draws the knees at their visits, trains what
networks FOLDER lacks on the training knees of COHORT, which ``oacore phantom COHORT --profile
record`` draws, and reads them at the visits; FOLDER lies outside the repository. It goes on where
it was stopped, and puts tables of aggregates into `book/record/22-a-knee-over-time`. ``--collect``
makes nothing and records what is finished.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from oacore import record
from oacore.instruments.hierarchy.visit_axes import (
    BACKBONE,
    UNTRAINED,
    VisitPlan,
    experiment_of,
    read_at_visits,
    run_visits,
)
from oacore.instruments.hierarchy.visit_scores import VISIT_MARGINS, visit_tables
from oacore.instruments.hierarchy.visits import COURSES, SHARES
from oacore.profile import load_profile
from oacore.provenance import of_this_machine
from workflow.jobs import in_words
from workflow.record import code_of, put

CHAPTER = "22-a-knee-over-time"
#: Of the resamples of knees.
SEED, RESAMPLES = 0, 1000
#: What the recorded tables follow from.
ENTRIES = (
    "instruments/hierarchy/visit_scores",
    "instruments/phantom/cohort",
    f"models/{BACKBONE}",
)


def code() -> dict[str, str]:
    """Digests of the code behind the tables, by file."""
    return code_of(*ENTRIES)


def write_record(plan: VisitPlan, cohort: Path, folder: Path, there: Path) -> Path:
    """Put the tables of what is finished in place of a record; it stays if anything is wrong."""
    read = read_at_visits(plan, cohort, folder)
    trained = [name for name in read if name != UNTRAINED]
    own = experiment_of(plan.profile, cohort, folder)
    said: dict[str, Any] = {
        "command": "python -m workflow.record_visits COHORT FOLDER",
        "plan": asdict(plan),
        "settings": asdict(load_profile(plan.profile).recipe(BACKBONE)),
        "courses": {"stages": COURSES, "shares": SHARES},
        "margins": VISIT_MARGINS,
        "resamples": {"seed": SEED, "of knees": RESAMPLES},
        "inputs": {"volumes": own.volumes.key},
        "code": code(),
        "provenance": of_this_machine(),
        "runs": {
            "models": len(trained),
            "seeds": min(len(read[name]["pc1"]) for name in read),
            "training knees": len(own.cases),
            "test knees": plan.knees,
        },
    }
    return put(there, visit_tables(plan.table(), read, RESAMPLES, SEED), said)


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort", type=Path, help="a phantom of the profile record")
    parser.add_argument("folder", type=Path, help="of what is made; outside the repository")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, help="of the record; default: its place in the book")
    parser.add_argument("--collect", action="store_true", help="draw and train nothing")
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    plan = VisitPlan()

    def work() -> str:
        if not given.collect:
            run_visits(plan, given.cohort, given.folder, given.workers)
        there = given.out or record.RECORDS / CHAPTER
        return f"{write_record(plan, given.cohort, given.folder, there)} is made"

    return in_words(work)


if __name__ == "__main__":
    sys.exit(main())
