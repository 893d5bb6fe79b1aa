"""Make the record of how like real radiographs the drawn ones are.

`python -m workflow.record_likeness SOURCE` draws knees, sets them beside radiographs that are not
this project's to pass on (:mod:`oacore.instruments.radiographs.likeness`; some three minutes of
one core), and puts the figures of the two sets into `book/record/16-picture-of-a-joint`: a table of
aggregates, none of a person.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path
from typing import Any

from oacore import record
from oacore.errors import InputError
from oacore.instruments.coherence.patterns import GRADES
from oacore.instruments.radiographs.cases import Radiographs, read_radiographs
from oacore.instruments.radiographs.drawn import draw_radiographs
from oacore.instruments.radiographs.likeness import RESAMPLES, joint_gaps, likeness
from oacore.instruments.radiographs.public_layout import PUBLIC_SIZE
from oacore.provenance import of_this_machine
from workflow.jobs import in_words
from workflow.record import code_of, put

CHAPTER = "16-picture-of-a-joint"
COMMAND = "python -m workflow.record_likeness SOURCE"
#: Knees by KL 0 to 4: half as many as the study `real` has pictures, so in its proportions.
DRAWN: dict[str, Any] = {
    "train": (204, 135, 186, 122, 54),
    "val": (0, 0, 0, 0, 0),
    "test": (131, 62, 93, 52, 14),
    "seed": 1611,
}
#: Of crops, folds and resamples.
SEED = 0
#: What the recorded table follows from.
ENTRIES = ("instruments/radiographs/likeness", "instruments/radiographs/drawn")


def code() -> dict[str, str]:
    """Digests of the code behind the table, by file."""
    return code_of(*ENTRIES)


def digests(real: Radiographs) -> dict[str, str]:
    """SHA-256 of what the table is computed from."""
    columns = ["person", "split", *GRADES, "mm_per_pixel_x", "mm_per_pixel_y"]
    parts = {
        "pictures": real.pictures.tobytes(),
        "landmarks": real.landmarks.tobytes(),
        "cases": real.cases[columns].to_csv(index=False).encode(),
    }
    return {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}


def make(source: str | Path) -> Path:
    """Draw, compare, and put the table into the record; the old one stays if anything is wrong.

    Parameters
    ----------
    source : path-like
        Real radiographs with landmarks, millimetres and all seven grades, see
        :func:`.cases.read_radiographs`.

    Returns
    -------
    Path
        The record's folder.

    Raises
    ------
    InputError
        If they cannot be read, or have no landmarks or no scale.
    """
    began = time.process_time()
    height, width = PUBLIC_SIZE
    real = read_radiographs(source, height=height, width=width)
    if joint_gaps(real).isna().all(axis=None):
        raise InputError(
            f"{source}: no picture has landmarks and millimetres, by which joint gaps are known; "
            "give landmarks.csv, with mm_per_px_x and mm_per_px_y"
        )
    provenance = of_this_machine()  # before a file of ours makes the project unclean
    drawn = draw_radiographs(**DRAWN)
    table = likeness(drawn, real, SEED)
    said = {
        "command": COMMAND,
        "drawn": DRAWN,
        "seed": SEED,
        "resamples": {"of people": RESAMPLES},
        "knees": {"drawn": len(drawn.cases), "real": len(real.cases)},
        "inputs": digests(real),
        "code": code(),
        "provenance": provenance,
        "processor seconds": round(time.process_time() - began),
    }
    return put(record.RECORDS / CHAPTER, {"likeness": table}, said)


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="real radiographs with landmarks, see `oacore check`")
    given = parser.parse_args(words)
    return in_words(lambda: f"{make(given.source)} is made")


if __name__ == "__main__":
    sys.exit(main())
