"""How often the book's 95% intervals hold the truth: simulated where the truth is known.

``python -m workflow.coverage FOLDER OUT.csv`` draws many data sets from simple models of networks
and knees (:mod:`workflow.coverage_models`), lets the book's own functions make their intervals, and
counts. Settings that are done lie in FOLDER and are found again. With ``--only NAME ...`` it makes
the rows of these simulations alone, and leaves all others in OUT.csv as they are.

A row of OUT.csv is an interval in one setting: `nominal`, `covered` (the share of repeats whose
interval held the truth), its exact 95% interval `low`, `high`, `width`, the median width, and
`auc_sd`, the standard deviation of the true AUC between the seeds of such networks. OUT.json says
how, and of which code, in a list: rows that were made in one go name each other's intervals.

Here are networks of several seeds. Two networks to be compared are drawn alike, so that the true
difference over knees and seeds is zero. :mod:`workflow.coverage_means` has scores by themselves,
:mod:`workflow.coverage_single` what is made of one network, or of a cohort,
:mod:`workflow.coverage_clinical` chapter 9's clinical measures,
:mod:`workflow.coverage_hierarchy` the intervals of chapters 20 and 23,
:mod:`workflow.coverage_artefact` those of chapter 21 and :mod:`workflow.coverage_visits` those of
chapter 22, :mod:`workflow.coverage_people` those over people with two knees, and
:mod:`workflow.coverage_pictures` those over pictures. ``workflow/intervals.csv`` lists what gives
the intervals of every chapter, and which rows hold it to its word.

What the book prints besides is made by the same functions: chapter 7's variants and chapter 11's
radiomics are compared as scores are, chapter 14's maps with their controls as overlaps are, and
the shares of a reliability curve are exact shares.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from tqdm import tqdm

from oacore.files import end_with_parent
from oacore.fingerprint import fingerprint
from oacore.instruments.axis.axis import geometry_values
from oacore.instruments.axis.effects import compare_axes
from oacore.instruments.axis.shape import structure
from oacore.instruments.saliency.means import dual_minus_single, overlap_means
from oacore.metrics.compare import compare_effects
from oacore.metrics.resampling import draw_cases, estimates
from oacore.metrics.scores import paired_bootstrap
from oacore.metrics.seeds import seed_and_knee_interval
from oacore.metrics.significance import delong
from oacore.provenance import of_this_machine
from oacore.results import made_once
from workflow.coverage_artefact import ARTEFACT
from workflow.coverage_clinical import simulate_calibration
from workflow.coverage_hierarchy import HIERARCHY
from workflow.coverage_means import MEANS
from workflow.coverage_models import SPREADS, answers, auc_sd, by_scikit_learn, knees, network
from workflow.coverage_people import PEOPLE
from workflow.coverage_pictures import PICTURES
from workflow.coverage_record import counted, keep_rows
from workflow.coverage_single import SINGLE
from workflow.coverage_visits import VISITS

SEEDS = (1, 2, 3, 5, 10)
N_RESAMPLES = 200
#: Training knees, on which an axis is fitted.
TRAIN = 200
#: Test knees on which a network's own features are taken for the truth.
MANY = 2000


def of_scores(seeds: int, spread: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Differences of two networks in the metrics of Table 1, over seeds and knees."""
    severity, kl, picture = knees(n, rng)
    pair = [answers(network(severity, picture, seeds, spread, rng), kl) for _ in range(2)]
    table = seed_and_knee_interval(*pair, n_resamples=N_RESAMPLES, seed=int(rng.integers(2**31)))
    return table.assign(interval="difference of scores", measure=table["metric"], truth=0.0)


def of_interactions(seeds: int, spread: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Differences between the effects of Dual in two backbones."""
    severity, kl, picture = knees(n, rng)
    tables = [
        answers(
            network(severity, picture, seeds, spread, rng), kl,
            backbone=backbone, supervision=supervision,
        )
        for backbone in ("resnet3d", "m3t")
        for supervision in ("single_oa", "single_kl", "dual")
    ]  # fmt: skip
    table = compare_effects(
        pd.concat(tables, ignore_index=True),
        n_resamples=N_RESAMPLES, seed=int(rng.integers(2**31)),
    )  # fmt: skip
    return table.assign(interval="difference of effects", measure=table["metric"], truth=0.0)


def of_axes(seeds: int, spread: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Differences of two networks in the measures of Table 2, features of eight dimensions."""
    severity, kl, picture = knees(TRAIN + n, rng)
    own = pd.DataFrame({"kl": kl, "split": ["train"] * TRAIN + ["test"] * n})
    models = []
    for supervision in ("single_oa", "single_kl", "dual"):
        for seed, reading in enumerate(network(severity, picture, seeds, spread, rng)):
            direction = rng.normal(size=8)
            features = np.outer(reading, direction) + rng.normal(size=(TRAIN + n, 8))
            run = {"backbone": "resnet3d", "supervision": supervision, "seed": seed}
            models.append((run, features.astype(np.float32), own))
    table = compare_axes(models, n_resamples=N_RESAMPLES, seed=int(rng.integers(2**31)))
    table = table[(table["reference"] == "single_kl") & (table["measure"] != "rho_oa")]
    return table.assign(interval="difference of axes", truth=0.0)


def of_overlaps(seeds: int, spread: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Means of an overlap, and differences of two networks in it, for each of two heads."""
    case = np.arange(n)
    rows = []
    knee = 0.02 * rng.normal(size=n)
    for supervision, heads in {
        "single_oa": ["oa"],
        "single_kl": ["kl"],
        "dual": ["oa", "kl"],
    }.items():
        for head in heads:
            network_own = 0.01 * rng.normal(size=n)
            for seed in range(seeds):
                level = 0.08 + 0.05 * spread * rng.normal()
                value = level + knee + network_own + 0.01 * rng.normal(size=n)
                rows.append(
                    pd.DataFrame(
                        {
                            "backbone": "resnet3d", "supervision": supervision, "head": head,
                            "method": "gradient", "weights": "trained", "mask": "own",
                            "region": "cartilage", "measure": "dice5", "seed": seed,
                            "case_id": case, "value": value, "chance": 0.02, "ceiling": 1.0,
                        }
                    )
                )  # fmt: skip
    overlaps = pd.concat(rows, ignore_index=True)
    n_resamples, seed = N_RESAMPLES, int(rng.integers(2**31))
    of_dual = overlaps[overlaps["supervision"] == "dual"]
    means = overlap_means(of_dual, n_resamples=n_resamples, seed=seed)
    differences = dual_minus_single(overlaps, n_resamples=n_resamples, seed=seed)
    return pd.concat(
        [
            means.assign(interval="mean overlap", truth=0.08),
            differences.assign(interval="difference of overlaps", truth=0.0),
        ]
    )


def of_fixed_networks(seeds: int, spread: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Difference of two given networks, one run each, over knees: bootstrap and DeLong's.

    The truth is theirs on 20,000 knees, to which the n belong.
    """
    many = 20_000
    severity, kl, picture = knees(many, rng)
    readings = [network(severity, picture, 1, spread, rng)[0] for _ in range(2)]
    everyone = [answers(reading[None], kl) for reading in readings]
    own = rng.choice(many, size=n, replace=False)
    pair = [table.iloc[own] for table in everyone]
    on_all = [by_scikit_learn(table) for table in everyone]
    truth = {metric: on_all[1][metric] - on_all[0][metric] for metric in on_all[0]}
    table = paired_bootstrap(*pair, n_resamples=2000, seed=int(rng.integers(2**31)))
    table = table.assign(interval="difference over knees", measure=table["metric"])
    oa, scores = pair[0]["oa"], [one["prob_oa"] for one in pair]
    test = delong(oa, *scores)
    row = {
        "interval": "DeLong's difference",
        "measure": "oa_auc",
        "low": test.low,
        "high": test.high,
    }
    table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
    return table.assign(truth=table["measure"].map(truth), over="knees alone", seeds=seeds)


@lru_cache
def _many_knees(spread: float) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Features and grades of training knees and `MANY` test knees of one network, and the truth."""
    rng = np.random.default_rng(round(1000 * spread))
    severity, kl, picture = knees(TRAIN + MANY, rng)
    reading = network(severity, picture, 1, spread, rng)[0]
    features = np.outer(reading, rng.normal(size=8)) + rng.normal(size=(kl.size, 8))
    features = features.astype(np.float32)
    table = _measures(features, kl, 1, 0)
    return features, kl, dict(zip(table["measure"], table["value"], strict=True))


def _measures(features: np.ndarray, kl: np.ndarray, n_resamples: int, seed: int) -> pd.DataFrame:
    """All measures of chapter 13 for one network, the knees after the training knees being test."""
    test = np.arange(len(kl)) >= TRAIN
    counts = draw_cases(int(test.sum()), n_resamples, seed)
    return pd.concat(
        [
            estimates(geometry_values(features, kl, test, counts)),
            structure(features, kl, test, n_resamples=n_resamples, seed=seed),
        ],
        ignore_index=True,
    )


def of_fixed_features(seeds: int, spread: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Measures of one given network's features, over knees; the truth is theirs on `MANY`."""
    features, kl, truth = _many_knees(spread)
    own = np.r_[:TRAIN, TRAIN + rng.choice(MANY, size=n, replace=False)]
    table = _measures(features[own], kl[own], N_RESAMPLES, int(rng.integers(2**31)))
    return table.assign(
        interval="measure of features", truth=table["measure"].map(truth), over="knees alone"
    )


#: What is simulated, for which numbers of seeds and which spreads of them.
SIMULATIONS = {
    "scores": (of_scores, SEEDS, SPREADS),
    "interactions": (of_interactions, (3,), SPREADS),
    "axes": (of_axes, (2, 3, 5), SPREADS),
    "overlaps": (of_overlaps, SEEDS, SPREADS),
    "networks": (of_fixed_networks, (1,), SPREADS[2:3]),
    "features": (of_fixed_features, (1,), SPREADS[2:3]),
    # Where a simulation stands in this order seeds its draws.
    "means": MEANS["means"],
    **SINGLE,
    **MEANS,
    **HIERARCHY,
    **PEOPLE,
    **VISITS,
    **ARTEFACT,
    **PICTURES,
}
CLINICAL = "clinical"
NAMES = (*SIMULATIONS, CLINICAL)
#: All whose code a row can follow from.
MODULES = (
    "workflow.coverage", "workflow.coverage_artefact", "workflow.coverage_clinical",
    "workflow.coverage_hierarchy", "workflow.coverage_means", "workflow.coverage_models",
    "workflow.coverage_people", "workflow.coverage_pictures", "workflow.coverage_record",
    "workflow.coverage_single", "workflow.coverage_visits",
)  # fmt: skip


def simulate(name: str, seeds: int, spread: float, n: int, repeats: int, seed: int) -> pd.DataFrame:
    """Count, over repeats of one setting, how often each interval holds the truth.

    Parameters
    ----------
    name : str
        One of `SIMULATIONS`.
    seeds, n : int
        Of each network; knees of the test split.
    spread : float
        How differently the seeds turn out, as in `SPREADS`.
    repeats, seed : int

    Returns
    -------
    DataFrame
        As :func:`.coverage_record.counted` gives it.
    """
    make, _, _ = SIMULATIONS[name]
    place = [*SIMULATIONS].index(name)
    found = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, place, seeds, round(1000 * spread), n, repeat])
        found.append(make(seeds, spread, n, rng))
    said = pd.concat(found, ignore_index=True)
    setting = {"seeds": seeds, "spread": spread, "knees": n}
    # A simulation says itself what it has of another number, such as the knees of a group.
    return counted(said.assign(**{k: v for k, v in setting.items() if k not in said}))


def settings(n: int) -> Iterator[tuple[Any, ...]]:
    """All that is simulated: name, seeds and spread (not of the clinical measures), knees."""
    for name, (_, numbers, spreads) in SIMULATIONS.items():
        for seeds in numbers:
            for spread in spreads:
                yield name, seeds, spread, n
    yield CLINICAL, n


def clinical(n: int, repeats: int, seed: int) -> pd.DataFrame:
    """What the intervals of the chapter's clinical measures hold, in the columns of `simulate`."""
    found = simulate_calibration(n, repeats, seed).rename(columns={"n": "knees"})
    named = found["interval"].str.extract(r"^(?P<interval>.*?)(?P<measure>(?:,| of \d| at \d).*)?$")
    found = found.assign(
        interval=named["interval"], measure=named["measure"].fillna("").str.strip(", "),
        over="knees alone", seeds=1,
    )  # fmt: skip
    held = (found["covered"] * found["repeats"]).round().astype(int)
    exact = [
        binomtest(k, int(m)).proportion_ci(method="exact")
        for k, m in zip(held, found["repeats"], strict=True)
    ]
    return found.assign(low=[e.low for e in exact], high=[e.high for e in exact])


def kept(folder: Path, code: str, name: str, *setting: Any) -> pd.DataFrame:
    """Simulate a setting, or find what an earlier call kept of it, by the same code."""
    path = folder / f"{code}-{name}-{'-'.join(map(str, setting))}.csv"
    simulated = clinical if name == CLINICAL else partial(simulate, name)
    return made_once(path, lambda: simulated(*setting))


def main() -> int:
    """Command line: FOLDER OUT.csv [--only NAME ...] [--repeats N] [--knees N] [--workers N]."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--repeats", type=int, default=600)
    parser.add_argument("--knees", type=int, default=98)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    words = parser.parse_args()
    code = fingerprint(*MODULES)
    chosen = words.only or NAMES
    tasks = [
        (words.folder, code, *one, words.repeats, words.seed)
        for one in settings(words.knees)
        if one[0] in chosen
    ]
    words.folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(words.workers, get_context("spawn"), end_with_parent) as pool:
        jobs = [pool.submit(kept, *task) for task in tasks]
        tables = [job.result() for job in tqdm(jobs, "settings")]
    table = pd.concat(tables, ignore_index=True)
    table["auc_sd"] = table["spread"].map(
        {s: auc_sd(s, words.seed) for s in table["spread"].dropna().unique()}
    )
    origin = {
        "simulations": [*chosen],
        "repeats": words.repeats,
        "resamples": N_RESAMPLES,
        "seed": words.seed,
        "code": code,
        "provenance": of_this_machine(),
    }
    keep_rows(table, origin, words.out, renew=not words.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
