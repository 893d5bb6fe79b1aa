"""Choose each backbone's schedule on knees that no chapter reports.

``python -m workflow.choose_schedule FOLDER OUT.csv`` trains the candidates of one or all backbones
on phantom cohorts of other seeds than the profile's, or with ``--cohort DIR`` on inner splits of a
cohort's training knees, so that its test knees are never looked at. What is trained lies in FOLDER
and is found again; OUT.csv has a row for each candidate.

The rule. A candidate's score is the mean over cohorts and supervisions of the AUC of OA and the
macro-AUC of KL, of what the supervision trains. Among the candidates whose score is less than one
standard error below the best one's, the one with the fewest epochs is chosen, and of several such
the one with the best score. The standard error is that of the best one's score over cohorts and
supervisions: the one-standard-error rule (Hastie, Tibshirani and Friedman 2009, The Elements of
Statistical Learning, section 7.10).

The rule was written down before any candidate was trained, but for one word: its standard error
was that of the difference from the best. On these cohorts that favoured a candidate of nnMamba for
being erratic (a score .06 below the best one's, give or take .06), so it was replaced, before any
network had been trained on the knees that are reported. The other two backbones' choices are the
same by both.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedShuffleSplit

from oacore.data.cache import cached_volumes
from oacore.data.cohort import graded, read_cohort
from oacore.errors import InputError
from oacore.files import end_with_parent, write
from oacore.fingerprint import fingerprint
from oacore.instruments.phantom.cohort import write_phantom
from oacore.metrics.scores import table1
from oacore.profile import Profile, Recipe, load_profile
from oacore.provenance import of_this_machine
from oacore.results import write_csv
from oacore.training.config import run_config
from oacore.training.loop import train
from oacore.training.records import run_table

#: Phantom cohorts to choose on; a profile's ``cohort_seed`` is none of them.
COHORT_SEEDS = (2, 3)
#: Test knees of such a cohort, as a multiple of the paper's.
TEST = (42, 24, 44, 56, 30)
SUPERVISIONS = ("single_kl", "dual")
#: Schedule, its epochs and its rate, as shares of those the search starts from.
CANDIDATES = (("constant", 1, 1), ("cosine", 1 / 2, 1), ("cosine", 1 / 2, 2))
#: Epochs and rate from which the search starts.
START = {"resnet3d": (15, 2e-4), "m3t": (10, 5e-4), "nnmamba": (14, 7e-4)}


def candidates(recipe: Recipe) -> Iterator[Recipe]:
    """All schedules that are compared for a backbone."""
    epochs, lr = START[recipe.backbone]
    for schedule, share, factor in CANDIDATES:
        yield replace(
            recipe, schedule=schedule, epochs=round(epochs * share), lr=lr * factor, seeds=(0,)
        )


def cohorts(
    folder: Path, profile: Profile, cohort: Path | None, workers: int
) -> Iterator[tuple[str, Path]]:
    """Name and folder of each cohort that is chosen on, drawn where it is not there."""
    for seed in COHORT_SEEDS:
        if cohort is not None:
            yield f"inner split {seed}", cohort
            continue
        if seed == profile.cohort_seed:
            raise InputError(f"cohort seed {seed} is the one that profile {profile.name} reports")
        # Of other code or another shape it would be another cohort.
        code, shape = (
            fingerprint("oacore.instruments.phantom.cohort"),
            "x".join(map(str, profile.shape)),
        )
        place = folder / f"cohort{seed}-{shape}-{code}"
        if not place.exists():  # it appears whole
            write_phantom(
                place, train=profile.train, test=TEST, ungraded=(0, 0), shape=profile.shape,
                seed=seed, workers=workers,
            )  # fmt: skip
        yield f"phantom {seed}", place


def cases_of(name: str, cohort: Path) -> pd.DataFrame:
    """Graded cases to choose on; of a cohort that is reported, its training knees split anew."""
    cases = graded(read_cohort(cohort))
    if name.startswith("phantom"):
        return cases
    inner = cases[cases["split"] == "train"].reset_index(drop=True)
    splitter = StratifiedShuffleSplit(1, test_size=0.25, random_state=int(name.split()[-1]))
    _, held = next(splitter.split(inner, inner["kl"]))
    inner.loc[held, "split"] = "test"
    return inner


def scores(
    folder: Path, name: str, cohort: Path, recipe: Recipe, seed: int = 0
) -> list[dict[str, object]]:
    """Scores of one candidate on one cohort, under each supervision."""
    torch.set_num_threads(1)
    cases = cases_of(name, cohort)
    volumes = cached_volumes(cases, recipe.grid, recipe.resample, folder / "cache")
    said = {key: getattr(recipe, key) for key in ("backbone", "schedule", "epochs", "lr")}
    rows: list[dict[str, object]] = []
    for supervision in SUPERVISIONS:
        settings = f"{recipe.backbone}-{recipe.schedule}-{recipe.epochs}-{recipe.lr:g}"
        place = folder / "runs" / name.replace(" ", "-") / settings / supervision
        train(run_config(recipe, supervision, seed), cases, volumes, place, accelerator="auto")
        predictions = run_table(place).astype({"pred_kl": "Int64"})
        metrics = ["oa_auc", "kl_auc"] if supervision == "dual" else ["kl_auc"]
        found = table1(predictions[predictions["split"] == "test"])[metrics].iloc[0]
        seconds = run_table(place, "history")["seconds"].sum()
        rows.append(
            {
                **{**said, "cohort": name, "supervision": supervision},
                **{str(metric): value for metric, value in found.items()},
                **{"score": found.mean(), "seconds": seconds},
            }
        )
    return rows


def choose(runs: pd.DataFrame) -> pd.DataFrame:
    """Each candidate's score and which one the rule of this module takes.

    Parameters
    ----------
    runs : DataFrame
        Of :func:`scores`: `backbone`, `schedule`, `epochs`, `lr`, `cohort`, `supervision`, `score`.

    Returns
    -------
    DataFrame
        `backbone`, `schedule`, `epochs`, `lr`, `score`, `below` (the best), `error` (of the best
        one's score), `chosen`.
    """
    by = ["schedule", "epochs", "lr"]
    tables = []
    for backbone, of_one in runs.groupby("backbone", sort=False):
        wide = of_one.pivot_table(index=["cohort", "supervision"], columns=by, values="score")
        table = wide.mean().rename("score").reset_index()
        table["below"] = table["score"].max() - table["score"]
        table["error"] = wide[wide.mean().idxmax()].sem()
        near = table[table["below"] <= table["error"]]
        first = near.sort_values(["epochs", "score"], ascending=[True, False]).index[0]
        table["chosen"] = table.index == first
        table.insert(0, "backbone", backbone)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def main() -> int:
    """Command line: FOLDER OUT.csv [--cohort DIR] [--profile NAME] [--workers N]."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cohort", type=Path)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    words = parser.parse_args()
    try:
        profile = load_profile(words.profile)
        places = list(cohorts(words.folder, profile, words.cohort, words.workers))
        for name, place in places:  # once, before workers ask for it at the same time
            for recipe in profile.backbones.values():
                cached_volumes(
                    cases_of(name, place), recipe.grid, recipe.resample, words.folder / "cache",
                    words.workers,
                )  # fmt: skip
        tasks = [
            (words.folder, name, place, candidate)
            for recipe in profile.backbones.values()
            for candidate in candidates(recipe)
            for name, place in places
        ]
        with ProcessPoolExecutor(words.workers, get_context("spawn"), end_with_parent) as pool:
            found = list(pool.map(scores, *zip(*tasks, strict=True)))
    except InputError as error:
        print(f"choose_schedule: {error}", file=sys.stderr)
        return 2
    runs = pd.DataFrame([row for rows in found for row in rows])
    cost = runs.groupby(["backbone", "schedule", "epochs", "lr"], sort=False)["seconds"].mean()
    table = choose(runs).merge(cost.reset_index(), how="left").round({"seconds": 1})
    table = table.round(dict.fromkeys(["score", "below", "error"], 4))
    write_csv(table, words.out)
    origin = {
        "cohorts": [name for name, _ in places],
        "test knees": int(np.sum(TEST)) if words.cohort is None else "a quarter of the training",
        "recipes": {name: asdict(recipe) for name, recipe in profile.backbones.items()},
        "provenance": of_this_machine(),
    }
    write(words.out.with_suffix(".json"), json.dumps(origin, indent=1))
    print(table.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
