"""Choose the settings of chapter 11's small network on the training knees alone.

``python -m workflow.tune_radiomics FOLDER OUT.csv`` reads the files that ``oacore fetch radiomics``
leaves in FOLDER, compares all of :data:`.radiomics.models.GRID` by cross-validation, and writes
each setting with its score, the best first.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from oacore.errors import InputError
from oacore.instruments.radiomics.models import GRID, Settings, tune
from oacore.instruments.radiomics.table import read_radiomics
from oacore.results import write_csv

SEED = 0  # of the folds, and of the run in each


def main() -> int:
    """Command line: FOLDER OUT.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    words = parser.parse_args()
    torch.set_num_threads(1)  # the network is so small that threads only wait for each other
    try:
        knees = read_radiomics(words.folder)
        table = tune(knees[knees["split"] == "train"].reset_index(drop=True), GRID, seed=SEED)
    except InputError as error:
        print(f"tune_radiomics: {error}", file=sys.stderr)
        return 2
    write_csv(table, words.out)
    scores = table.set_index([name for name in table if name != "score"])["score"]
    default = scores[tuple(vars(Settings()).values())]
    place = int((scores > default).sum()) + 1
    print(f"{words.out}: {len(table)} settings; chapter 11's is number {place}, {default:.4f}")
    print(table.head(3).to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
