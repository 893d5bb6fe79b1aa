"""How often the intervals of chapters 20 and 23 hold the truth (`workflow.coverage`).

Arms are compared that differ in nothing but chance, so that all differences between them are zero
in truth; a true score is that of very many knees and seeds. The same intervals over people with two
knees are in :mod:`workflow.coverage_people`.

An interval over seeds and knees speaks of other seeds and of other knees to be judged on. Chapter
20's networks are trained on the very knees that judge them, dealt anew to five folds by each seed.
What those knees have by chance is the same under every seed: `of_folds` asks what that costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from oacore.hierarchy import FIRST_OA_GRADE
from oacore.instruments.hierarchy.analysis import contrast, over_seeds, scores, share_better
from oacore.metrics.clinical import weighted_kappa
from oacore.metrics.crossed import crossed, crossed_difference
from oacore.metrics.resampling import draw_cases
from oacore.metrics.scores import macro_auc
from workflow.coverage_models import CUTS, SPREADS, knees, population, probabilities, twins

N_RESAMPLES = 200
SEEDS = (2, 3, 5, 10, 30)
#: Measures of which chapters 20 and 23 print intervals, and the ranked probability score.
MEASURES = ("kl_auc", "kl_kappa", "kl_acc", "kl_rps")
#: Seeds by which it is known how often one arm beats another on the same knees.
MANY_SEEDS = 500
#: Features of a knee and random units of a network in `of_folds`, and the folds.
FEATURES, UNITS, FOLDS = 10, 32, 5
#: Data sets, and new knees of each, by which a cross-validated network's true score is known.
TRAININGS, NEW = 400, 3000
#: Measures of S networks on resamples: (S, 1 + B) each.
Values = dict[str, np.ndarray]


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def measured_by(counts: np.ndarray, kl: np.ndarray, readings: np.ndarray) -> Values:
    """`MEASURES` of an arm from its readings (S, n), by the function of chapter 20."""
    found = over_seeds(counts, kl, probabilities(readings))
    return {name: found[name] for name in MEASURES}


@cache
def true_scores(spread: float) -> dict[str, float]:
    """Mean of each of `MEASURES` over very many seeds and knees."""
    rng = np.random.default_rng(round(1000 * spread))
    rows = [
        measured_by(np.ones((1, kl.size)), kl, reading[None])
        for _, kl, reading in population(spread, rng)
    ]
    return {name: float(np.mean([row[name] for row in rows])) for name in MEASURES}


def intervals_of(pair: Iterable[Values], truth: Mapping[str, float], suffix: str) -> pd.DataFrame:
    """Scores of the second of two arms and their differences, as chapter 20 makes intervals."""
    reference, other = pair
    scored = scores({("main", "dual"): other})
    apart = contrast(reference, other)
    # Where a margin was fixed, the chapter holds the 90% interval against it.
    narrow = apart.dropna(subset=["margin"])
    narrow = narrow.assign(low=narrow["none_low"], high=narrow["none_high"], nominal=0.9)
    parts = [
        scored.assign(interval=f"score of an arm{suffix}", truth=scored["measure"].map(truth)),
        apart.assign(interval=f"difference of arms{suffix}", truth=0.0),
        narrow.assign(interval=f"90% interval of arms{suffix}", truth=0.0),
    ]
    columns = ["interval", "measure", "over", "seeds", "low", "high", "truth", "nominal"]
    return pd.concat(parts, ignore_index=True)[columns]


def of_arms(seeds: int, spread: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Chapter 20's intervals of scores and differences, on n knees, or four times as many too."""
    parts = []
    # Where seeds are many, four times the knees would take most of the time.
    for size in (n, 4 * n) if seeds <= 5 else (n,):
        severity, kl, picture = knees(size, rng)
        counts = draw_cases(size, N_RESAMPLES, _seed(rng))
        readings = twins(severity, picture, seeds, spread, rng)
        pair = (measured_by(counts, kl, own) for own in readings)
        parts.append(intervals_of(pair, true_scores(spread), "").assign(knees=size))
    return pd.concat(parts, ignore_index=True)


def of_repeats_won(seeds: int, spread: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """In which share of repeats one arm beats another: Wilson's interval over the seeds.

    The chapter asks it of the same knees, so the truth is what very many seeds would give on these
    knees. On other knees it is one half, which such an interval does not speak of.
    """
    severity, kl, picture = knees(n, rng)
    readings = twins(severity, picture, seeds + MANY_SEEDS, spread, rng)
    oa = kl >= FIRST_OA_GRADE
    first, second = rankdata(readings, axis=2)[..., oa].sum(2)  # each ordered as its AUC is
    fewer, more = ((readings >= CUTS[1]) == oa).mean(2)
    rows = []
    for measure, difference in (("oa_auc", second - first), ("oa_acc", more - fewer)):
        found = share_better(difference[:seeds])
        limits = {"low": found["better_low"], "high": found["better_high"], "measure": measure}
        on_these = share_better(difference[seeds:])["better"]
        rows.append({**limits, "interval": "share of repeats won", "truth": on_these})
        rows.append({**limits, "interval": "share of repeats won, other knees", "truth": 0.5})
    return pd.DataFrame(rows).assign(over="seeds alone")


def _auc_and_kappa(counts: np.ndarray, kl: np.ndarray, grades: np.ndarray) -> Values:
    """The primary outcomes of S networks from their probabilities (S, n, 5)."""
    return {
        "kl_auc": np.stack([macro_auc(counts, kl, one) for one in grades]),
        "kl_kappa": np.stack([weighted_kappa(counts, kl, one.argmax(1)) for one in grades]),
    }


def of_added(seeds: int, spread: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Chapter 23's difference of two differences: a gain with noise minus the gain without.

    Networks that learned from noisy readings read worse, and all four share what a seed does.
    """
    size = 2 * n
    severity, kl, picture = knees(size, rng)
    counts = draw_cases(size, N_RESAMPLES, _seed(rng))
    readings = twins(severity, picture, seeds, spread, rng, arms=4)
    readings[2:] += 0.5 * rng.normal(size=(2, seeds, size))
    values = [_auc_and_kappa(counts, kl, probabilities(own)) for own in readings]
    rows = [
        {"measure": name}
        | crossed_difference(
            values[1][name] - values[0][name], values[3][name] - values[2][name]
        )
        for name in values[0]
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(interval="what noise adds", truth=0.0, knees=size)


# Repeated cross-validation


def _cohort(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Severity (n,), grade (n,) and measured features (n, `FEATURES`) of some knees."""
    severity, kl, _ = knees(n, rng)
    strength = np.linspace(0.2, 0.6, FEATURES)
    return severity, kl, severity[:, None] * strength + rng.normal(size=(n, FEATURES))


def _told(severity: np.ndarray, kl: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What two arms are told of each knee, (n, 2): the mean of the grade and a reading of its own.

    The readings are equally good, so neither arm is better than the other.
    """
    noisy = severity[:, None] + 0.6 * rng.normal(size=(severity.size, 2))
    return (kl[:, None] + np.searchsorted(CUTS, noisy)) / 2


def _fitted(x: np.ndarray, told: np.ndarray, x_test: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Severity on the scale of the grades, (n, 2), as one random layer and ridge regression say."""
    hidden, tested = (np.maximum(one @ weights[:-1] + weights[-1], 0) for one in (x, x_test))
    centre, mean = hidden.mean(axis=0), told.mean(axis=0)
    hidden, tested = hidden - centre, tested - centre
    gram = hidden.T @ hidden + 30 * np.eye(UNITS)
    return tested @ np.linalg.solve(gram, hidden.T @ (told - mean)) + mean


def _first_weights(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(FEATURES + 1, UNITS)) / np.sqrt(FEATURES)


def _as_grades(said: np.ndarray) -> np.ndarray:
    return probabilities(said, np.arange(4) + 0.5)


@cache
def true_of_folds(n: int) -> dict[str, float]:
    """Mean score on new knees of networks that learned from as many as four folds of n hold."""
    rng = np.random.default_rng(n)
    at = n - n // FOLDS
    once = np.ones((1, NEW))
    rows = []
    for _ in range(TRAININGS):
        severity, kl, x = _cohort(at + NEW, rng)
        told = _told(severity[:at], kl[:at], rng)
        said = _fitted(x[:at], told, x[at:], _first_weights(rng))
        rows.append(_auc_and_kappa(once, kl[at:], _as_grades(said.T)))
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def of_folds(seeds: int, _: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Repeated cross-validation: each seed deals the knees to folds and fits both arms five times.

    What an arm is told beside the grade is read once, and the same under all seeds; or, for
    comparison, read anew for each.
    """
    size = 4 * n
    severity, kl, x = _cohort(size, rng)
    counts = draw_cases(size, N_RESAMPLES, _seed(rng))
    once = _told(severity, kl, rng)
    rows: list[dict[str, Any]] = []
    for anew in (False, True):
        said = np.empty((2, seeds, size))
        for seed in range(seeds):
            told = _told(severity, kl, rng) if anew else once
            weights, fold = _first_weights(rng), rng.permutation(size) % FOLDS
            for one in range(FOLDS):
                kept, held = fold != one, fold == one
                said[:, seed, held] = _fitted(x[kept], told[kept], x[held], weights).T
        reference, other = (_auc_and_kappa(counts, kl, _as_grades(own)) for own in said)
        apart = f"difference by cross-validation{', labels anew' if anew else ''}"
        for name, own in other.items():
            found = crossed_difference(reference[name], own)
            rows.append({"interval": apart, "measure": name, "truth": 0.0} | found)
            if not anew:
                named = {"interval": "score by cross-validation", "measure": name}
                rows.append(named | {"truth": true_of_folds(size)[name]} | crossed(own))
    return pd.DataFrame(rows).assign(spread=np.nan, knees=size)


#: What is simulated, as in :data:`workflow.coverage.SIMULATIONS`.
HIERARCHY = {
    "arms": (of_arms, SEEDS, SPREADS[:3:2]),
    "repeats-won": (of_repeats_won, SEEDS, SPREADS[:3:2]),
    "added": (of_added, SEEDS, SPREADS[1:2]),
    "folds": (of_folds, SEEDS, (0.0,)),
}
