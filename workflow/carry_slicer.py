"""What the slicer is given of small networks, in files: run by :mod:`workflow.carry`.

A drawn cohort, networks of every backbone, variant and supervision of a profile, trained and
explained; then the packed cases, and single maps with the passes that were reported.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oacore.data.cache import cached_volumes
from oacore.data.cohort import graded, read_cohort
from oacore.hierarchy import SUPERVISIONS
from oacore.instruments.phantom.cohort import read_truth, write_phantom
from oacore.instruments.saliency.explain import explain
from oacore.instruments.slicer.cases import pack_cases
from oacore.instruments.slicer.kernel import (
    Run,
    compute_map,
    finished_runs,
    passes,
    read_knee,
)
from oacore.profile import load_profile
from oacore.training.config import run_config
from oacore.training.loop import train
from oacore.training.records import read_runs

PROFILE = "smoke"
KINDS = ("runs", "explained")
METHODS = ("gradient", "grad-cam")


def trained(place: Path) -> pd.DataFrame:
    """Fill a folder with a cohort, runs and their maps; the cohort's cases."""
    settings = load_profile(PROFILE)
    sizes: dict[str, Any] = {"train": (2, 2, 2, 2, 2), "test": (2, 1, 2, 1, 2), "ungraded": (0, 1)}
    write_phantom(place / "cohort", **sizes, shape=settings.shape, seed=5)
    cases = graded(read_cohort(place / "cohort"))
    for model in (*settings.backbones, *settings.variants):
        recipe = settings.recipe(model)
        volumes = cached_volumes(cases, recipe.grid, recipe.resample, place / "cache")
        for supervision in recipe.supervisions:
            run, seen = (place / kind / model / supervision / "seed0" for kind in KINDS)
            train(run_config(recipe, supervision, 0), cases, volumes, run, accelerator="cpu")
            explain(run, cases, volumes, seen, lesions=True, methods=METHODS)
    return cases


def wanted(runs: list[Run]) -> Iterator[tuple[Run, str, str, str]]:
    """What is asked for as single maps."""
    for run, method, weights in product(runs, METHODS, ("trained", "random")):
        for head in SUPERVISIONS[run.supervision]:
            yield run, head, method, weights


def main(folder: Path) -> None:
    """Fill a folder with packed cases, and single maps."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        cases = trained(place)
        table = read_truth(place / "cohort")
        truth = dict(zip(table["case_id"].tolist(), table["kl_true"].tolist(), strict=True))
        answers = read_runs(place / "runs")
        runs = finished_runs(place / "runs", PROFILE, 0)
        explained = place / "explained"
        pack_cases(folder / "two", cases, explained, answers, seed=0, per_grade=2, untrained=runs,
                   true_kl=truth)  # fmt: skip
        pack_cases(folder / "bare", cases, explained, answers, seed=0)
        case = cases[cases["split"] == "test"].iloc[-1]
        for run, head, method, weights in wanted(runs):
            said: list[tuple[int, int]] = []
            values = compute_map(
                run, case["image"], head, method, lambda *one, said=said: said.append(one), weights
            )
            name = f"{run.model}-{run.supervision}-{head}-{method}-{weights}"
            np.save(folder / f"{name}.npy", values)
            expected = passes(head, method, run.recipe.grid)
            (folder / f"{name}.json").write_text(json.dumps([expected, said]))
        knee = read_knee(case, phantom=True)
        np.savez(folder / "knee.npz", grey=knee.grey, bits=knee.bits, spacing=knee.spacing)
        (folder / "masks.json").write_text(json.dumps(knee.masks))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
