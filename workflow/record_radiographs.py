"""Make the record of the second paper's experiment on real radiographs.

`python -m workflow.record_radiographs SOURCE FOLDER` trains what is missing of the study `real` on
radiographs that are not this project's to pass on (:mod:`oacore.instruments.radiographs.study`; it
takes an hour and more on two cores, and goes on where it was stopped), and puts what its arms
answer into `book/record/17-keypoints`: tables of aggregates, none of a person.
`--collect` trains nothing, and records the arms of which all seeds are finished.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from oacore import record
from oacore.instruments.coherence.patterns import GRADES
from oacore.instruments.radiographs.arms import ERRORS, Study, load_study
from oacore.instruments.radiographs.collect import COMPLETE, collect
from oacore.instruments.radiographs.study import read_study, run_study
from oacore.provenance import of_this_machine
from workflow.jobs import in_words
from workflow.record import code_of, put

CHAPTER = "17-keypoints"
STUDY = "real"
#: Of the resamples of people.
SEED, RESAMPLES = 0, 1000
#: What the recorded tables follow from.
ENTRIES = tuple(f"instruments/radiographs/{name}" for name in ("study", "collect", "beside"))
#: Heads whose scores and differences are recorded; and those of which both kinds are, where all
#: seven grades were read.
_HEADS, _KINDS = ("kl", "oarsi"), ("osteophytes", "narrowings")


def tables(study: Study, cases: pd.DataFrame, folder: Path) -> dict[str, pd.DataFrame]:
    """All recorded tables of the finished arms of a study."""
    found = collect(study, folder, cases, n_resamples=RESAMPLES, seed=SEED)
    del found["by_seed"]
    found["recall"] = found["recall"].query("head == 'kl'")
    for name in ("scores", "differences", "fewer"):
        found[name] = _fewer_rows(found[name])
    errors = json.loads((folder / ERRORS).read_text())["errors"]
    rows = [{"split": split, **row} for split, its in errors.items() for row in its]
    found["landmarks"] = pd.DataFrame(rows).query("landmark == 'all'")
    found["pictures"] = counted(cases)
    return found


def _fewer_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that are recorded of a table by head and frequency."""
    kinds = table["head"].isin(_KINDS) & (table["frequency"] == COMPLETE)
    return table[table["head"].isin(_HEADS) | kinds]


def counted(cases: pd.DataFrame) -> pd.DataFrame:
    """Knees and people by `split` and `kl`, and how many of the knees are `complete`: all read."""
    complete = cases[list(GRADES)].notna().all(axis=1)
    counts = cases.assign(complete=complete).groupby(["split", "kl"])
    return counts.agg(
        knees=("case", "size"), people=("person", "nunique"), complete=("complete", "sum")
    ).reset_index()


def code() -> dict[str, str]:
    """Digests of the code behind the tables, by file."""
    return code_of(*ENTRIES)


def write_record(study: Study, cases: pd.DataFrame, folder: Path) -> Path:
    """Collect a study's tables into the record; the old one stays if anything is wrong.

    Raises
    ------
    InputError
        If no arm is finished, or a run is damaged.
    """
    found = tables(study, cases, folder)
    runs = found["runs"]
    said: dict[str, Any] = {
        "command": "python -m workflow.record_radiographs SOURCE FOLDER",
        "study": asdict(study),
        "resamples": {"seed": SEED, "of people": RESAMPLES},
        "inputs": {"pictures": json.loads((folder / ERRORS).read_text())["key"]["pictures"]},
        "code": code(),
        "provenance": of_this_machine(),
        "runs": {
            "models": len(runs),
            "seeds": int(runs["seeds"].max()),
            "test knees": int((cases["split"] == "test").sum()),
        },
        "processor seconds": round(float((runs["seeds"] * runs["processor_seconds"]).sum())),
    }
    return put(record.RECORDS / CHAPTER, found, said)


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="the radiographs, see `oacore check`")
    parser.add_argument("folder", type=Path, help="of the runs; outside the repository")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--collect", action="store_true", help="train nothing")
    given = parser.parse_args(words)
    study = load_study(STUDY)

    def make() -> str:
        if not given.collect:
            run_study(STUDY, given.source, given.folder, given.workers)
        cases = read_study(study, given.source).cases
        return f"{write_record(study, cases, given.folder)} is made"

    return in_words(make)


if __name__ == "__main__":
    sys.exit(main())
