"""How often intervals over people with two knees hold the truth (`workflow.coverage`).

Every person here has two knees, which are alike, as real ones are. Chapter 17 and the hierarchy's
runs on radiographs draw people with seeds; chapter 16 draws people alone. True differences are
zero, since arms are alike; a true score is that of very many knees and seeds.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from oacore.instruments.coherence.patterns import SIZES
from oacore.instruments.hierarchy.runs import draw_people
from oacore.instruments.radiographs.collect import METRICS, by_person, measured
from oacore.metrics.crossed import crossed, crossed_difference
from oacore.metrics.resampling import estimate
from oacore.metrics.scores import accuracy, auc
from workflow.coverage_hierarchy import intervals_of, measured_by, true_scores
from workflow.coverage_models import ALIKE, CUTS, SPREADS, knees, population, probabilities, twins

N_RESAMPLES = 200
SEEDS = (2, 3, 5, 10)
#: Severities above which an OARSI grade is 1, 2 and 3.
OARSI_CUTS = (0.0, 0.8, 1.6)
#: Share of the knees of KL 0 and 1 whose other grades nobody has read.
UNREAD = 0.6
#: How much a knee counts by its KL grade, where knees are to be as frequent as in nature.
NATURAL = np.array([1.5, 1.2, 1.0, 0.7, 0.5])
#: Heads and metrics whose intervals chapter 17 prints.
HEADS = ("kl", "oarsi")
SHOWN = ("accuracy", "rmse", "kappa", "mean_recall")
#: People in the smaller groups of chapter 16, and the AUC of what is judged there.
FEW, TRUE_AUC = (6, 24), 0.85


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def of_arms_over_people(
    seeds: int, spread: float, n: int, rng: np.random.Generator
) -> pd.DataFrame:
    """The hierarchy's intervals where its resamples are of n people with two knees each."""
    severity, kl, picture = knees(2 * n, rng, ALIKE)
    counts = draw_people(pd.DataFrame({"person": np.arange(2 * n) // 2}), N_RESAMPLES, _seed(rng))
    readings = twins(severity, picture, seeds, spread, rng, alike=ALIKE)
    pair = (measured_by(counts, kl, own) for own in readings)
    return intervals_of(pair, true_scores(spread), " over people").assign(knees=2 * n)


# Chapter 17


def _read(severity: np.ndarray, kl: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Seven grades of each knee; the six of OARSI are missing where nobody has read them."""
    unread = (kl < 2) & (rng.random(kl.size) < UNREAD)
    table = {"kl": kl.astype(float)}
    for name in SIZES:
        if name != "kl":
            grade = np.searchsorted(OARSI_CUTS, severity + 0.5 * rng.normal(size=kl.size))
            table[name] = np.where(unread, np.nan, grade)
    return pd.DataFrame(table)


def _answers(readings: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Probabilities (S, n, K) of each head of one network; heads differ by noise of their own."""
    return {
        name: probabilities(readings)
        if name == "kl"
        else probabilities(readings + 0.3 * rng.normal(size=readings.shape), OARSI_CUTS)
        for name in SIZES
    }


def _by_grade(
    counts: np.ndarray, kl: np.ndarray, grades: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """By KL grade the share that is found, and the mean of a loss, here the cross-entropy."""
    found = {}
    for grade in np.unique(kl):
        own = kl == grade
        drawn = counts[:, own]
        shares = [accuracy(drawn, kl[own], one[own].argmax(1)) for one in grades]
        losses = -np.log(grades[:, own, grade].clip(1e-12))
        found["share found over people", f"KL {grade}"] = np.stack(shares)
        n = drawn.sum(axis=1)
        mean = np.divide(
            losses @ drawn.T, n, out=np.full((len(grades), len(n)), np.nan), where=n > 0
        )
        found["mean loss over people", f"KL {grade}"] = mean
    return found


@cache
def true_grading(spread: float) -> dict[tuple[str, str], float]:
    """Means over very many seeds and knees: by head and metric, and by grade as `_by_grade`."""
    rng = np.random.default_rng(round(1000 * spread))
    rows = []
    for severity, kl, reading in population(spread, rng, seeds=60):
        cases = _read(severity, kl, rng)
        once = np.ones((1, kl.size))
        answers = _answers(reading[None], rng)
        complete = cases.notna().all(axis=1).to_numpy()
        rows.append(measured(cases, answers, once * complete))
        rows[-1] |= _by_grade(once, kl, answers["kl"])
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def of_grading(seeds: int, spread: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Chapter 17's intervals, of n people with two knees each, judged where all grades were read.

    Two arms with all labels, and their twins with fewer, which read worse.
    """
    severity, kl, picture = knees(2 * n, rng, ALIKE)
    cases = _read(severity, kl, rng).assign(person=np.arange(2 * n) // 2)
    counts = by_person(cases, N_RESAMPLES, _seed(rng))
    complete = cases.notna().all(axis=1).to_numpy()
    readings = twins(severity, picture, seeds, spread, rng, arms=4, alike=ALIKE)
    readings[2:] += 0.5 * rng.normal(size=(2, seeds, 2 * n))
    answers = [_answers(own, rng) for own in readings]
    values = [measured(cases, own, counts * complete) for own in answers]
    truth = true_grading(spread)
    rows: list[dict[str, Any]] = []

    def add(interval: str, name: str, found: dict[str, Any], true: float = 0.0) -> None:
        rows.append({"interval": interval, "measure": name, "truth": true} | found)

    for metric in SHOWN:
        measure, within = METRICS[metric]
        for head in HEADS:
            one, two, few, same = (of_arm[head, metric] for of_arm in values)
            name = f"{head}, {metric}"
            add("score in grading", name, crossed(two, within), truth[head, metric])
            add("difference in grading", name, crossed_difference(one, two))
            add("gain with few labels", name, crossed_difference(two - one, same - few))
        one, two = (
            np.stack([measure(counts * NATURAL[kl], kl, p) for p in of_arm["kl"]])
            for of_arm in answers[:2]
        )
        add("difference in grading", f"kl, {metric}, as in nature", crossed_difference(one, two))
    for (interval, name), value in _by_grade(counts, kl, answers[1]["kl"]).items():
        within = (0, 1 if interval.startswith("share") else np.inf)
        add(interval, name, crossed(value, within), truth[interval, name])
    return pd.DataFrame(rows).assign(knees=2 * n)


# Chapter 16


def of_likeness(_: int, __: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Means, AUCs and a difference of AUCs of given models, over people alone.

    A score is normal in either class, so its AUC is that of two normal distributions.
    """
    apart = norm.ppf(TRUE_AUC) * np.sqrt(2)
    rows = []
    for people in (*FEW, n):
        size = 2 * people
        counts = by_person(pd.DataFrame({"person": np.arange(size) // 2}), N_RESAMPLES, _seed(rng))
        shared, _kl, picture = knees(size, rng, ALIKE)
        skewed = np.exp(0.5 * shared)
        for kind, value, true in (("normal", shared, 0.0), ("skewed", skewed, np.exp(1 / 8))):
            found = estimate(counts @ value / counts.sum(axis=1))
            rows.append(("mean over people", kind, size, found, true))
        if people in FEW[:1]:
            continue  # some resamples of so few lack a class
        ill = shared > CUTS[1]
        noise = 2 * picture  # alike in the two knees of a person
        both = [
            auc(counts, ill, apart * ill + (noise + own) / np.sqrt(2))
            for own in rng.normal(size=(2, size))
        ]
        rows.append(("AUC over people", f"true AUC {TRUE_AUC}", size, estimate(both[0]), TRUE_AUC))
        found = estimate(both[1] - both[0])
        rows.append(("difference of AUCs over people", "two models", size, found, 0.0))
    columns = ["interval", "measure", "knees", "found", "truth"]
    table = pd.DataFrame(rows, columns=columns)
    limits = pd.DataFrame(table.pop("found").tolist())
    table = table.assign(low=limits["low"], high=limits["high"])
    return table.assign(over="people alone", seeds=1, spread=np.nan)


#: What is simulated, as in :data:`workflow.coverage.SIMULATIONS`.
PEOPLE = {
    "arms-over-people": (of_arms_over_people, SEEDS, SPREADS[:3]),
    "grading": (of_grading, SEEDS[:3], SPREADS[1:3]),
    "likeness": (of_likeness, (1,), (0.0,)),
}
