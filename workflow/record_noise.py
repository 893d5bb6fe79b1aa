"""Make the record of the noise study: when a coarse label helps, on drawn knees.

`python -m workflow.record_noise FOLDER` trains the cells that FOLDER lacks, outside the repository
and resumable, and puts tables of scores and contrasts into
`book/record/23-when-would-it-help`. ``--collect`` trains nothing and records what is finished.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from oacore import record
from oacore.instruments.hierarchy.analysis import MARGINS
from oacore.instruments.hierarchy.noise import ERROR, LEVELS, STEPS, NoisePlan, run_noise
from oacore.instruments.hierarchy.noise_scores import noise_adds, noise_tables
from oacore.provenance import of_this_machine
from workflow.jobs import in_words
from workflow.record import code_of, put

CHAPTER = "23-when-would-it-help"
#: Of the resamples of test knees, drawn with seed 0.
RESAMPLES = 200
#: What the recorded tables follow from.
ENTRIES = ("instruments/hierarchy/noise", "instruments/hierarchy/noise_scores")


def code() -> dict[str, str]:
    """Digests of the code behind the tables, by file."""
    return code_of(*ENTRIES)


def write_record(plan: NoisePlan, folder: Path, there: Path) -> Path:
    """Put the tables of the finished cells in place of a record; it stays if anything is wrong."""
    scores, contrasts = noise_tables(plan, folder, RESAMPLES)
    adds = noise_adds(plan, folder, RESAMPLES)
    said: dict[str, Any] = {
        "command": "python -m workflow.record_noise FOLDER",
        "plan": asdict(plan),
        "levels": LEVELS,
        "steps": STEPS,
        "error": ERROR,
        "margins": MARGINS,
        "resamples": {"seed": 0, "of knees": RESAMPLES},
        "inputs": {},
        "code": code(),
        "provenance": of_this_machine(),
        "runs": {
            "models": len(scores[["level", "size", "arm"]].drop_duplicates()),
            "seeds": len(plan.seeds),
            "test knees": plan.tested,
        },
    }
    tables = {"scores": scores, "contrasts": contrasts, "adds": adds}
    return put(there, tables, said)


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the answers; outside the repository")
    parser.add_argument("--out", type=Path, help="of the record; default: its place in the book")
    parser.add_argument("--collect", action="store_true", help="train nothing")
    given = parser.parse_args(words)
    torch.set_num_threads(1)  # networks are so small that threads wait for each other
    plan = NoisePlan()

    def make() -> str:
        if not given.collect:
            run_noise(plan, given.folder)
        there = given.out or record.RECORDS / CHAPTER
        return f"{write_record(plan, given.folder, there)} is made"

    return in_words(make)


if __name__ == "__main__":
    sys.exit(main())
