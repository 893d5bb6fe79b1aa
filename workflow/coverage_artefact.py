"""How often chapter 21's intervals hold the truth where runs collapse (`workflow.coverage`).

The same networks answer twice: with statistics estimated anew, and with running ones, under which
a run may collapse and answer by chance. Arms are alike, so they collapse as often, and all
differences between them are zero in truth.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

from oacore.instruments.hierarchy.analysis import Values, contrast, scores
from oacore.instruments.hierarchy.artefact_scores import ANEW, ARTEFACT_MARGINS, RUNNING
from oacore.metrics.resampling import draw_cases
from oacore.metrics.scores import accuracy, macro_auc
from workflow.coverage_models import SPREADS, knees, population, probabilities, twins

N_RESAMPLES = 200
SEEDS = (3, 5, 20)
#: Share of the runs that collapse.
WORLDS = {"no run collapses": 0.0, "a fifth of the runs collapses": 0.2}
#: How much running statistics shake a reading that has not collapsed.
SHAKEN = 0.1


def measured(counts: np.ndarray, kl: np.ndarray, readings: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy and macro-AUC of S runs from their readings (S, n): (S, 1 + B) each."""
    grades = probabilities(readings)
    return {
        "kl_acc": np.stack([accuracy(counts, kl, one.argmax(axis=1)) for one in grades]),
        "kl_auc": np.stack([macro_auc(counts, kl, one) for one in grades]),
    }


def running(readings: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """What running statistics make of readings (..., S, n): some runs know nothing of the knee."""
    fallen = rng.random((*readings.shape[:-1], 1)) < share
    shaken = readings + SHAKEN * rng.normal(size=readings.shape)
    return np.where(fallen, 1 + rng.normal(size=readings.shape), shaken)


@cache
def true_with(statistics: str, share: float, spread: float) -> dict[str, float]:
    """Mean score over very many seeds and knees, collapsed runs among them."""
    rng = np.random.default_rng(round(1000 * spread))
    rows = []
    for _, kl, reading in population(spread, rng):
        both = [reading[None]]
        if statistics == RUNNING:
            both = [running(reading[None], one, rng) for one in (0.0, 1.0)]
        once = np.ones((1, kl.size))
        rows.append([measured(once, kl, own) for own in both])
    stands, *falls = (
        {name: np.mean([own[place][name] for own in rows]) for name in ARTEFACT_MARGINS}
        for place in range(len(rows[0]))
    )
    # Whether a run collapses is drawn apart from all else.
    return {
        name: float(value + sum(share * (fallen[name] - value) for fallen in falls))
        for name, value in stands.items()
    }


def of_artefact(seeds: int, spread: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Scores of an arm, Dual minus Single-KL, and what running statistics add to that."""
    size = 2 * n
    severity, kl, picture = knees(size, rng)
    counts = draw_cases(size, N_RESAMPLES, int(rng.integers(2**31)))
    readings = twins(severity, picture, seeds, spread, rng)
    anew = [measured(counts, kl, own) for own in readings]
    parts = []
    for world, share in WORLDS.items():
        said = [measured(counts, kl, own) for own in running(readings, share, rng)]
        parts += [
            part.assign(measure=part["measure"] + f", {world}")
            for part in (
                _scored(said[1], true_with(RUNNING, share, spread)),
                _apart("difference with running statistics", *said),
                _apart("what running statistics add", _gain(anew), _gain(said)),
            )
        ]
    parts.append(_apart(f"difference with {ANEW} statistics", *anew))
    return pd.concat(parts, ignore_index=True).assign(knees=size)


def _gain(pair: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: pair[1][name] - pair[0][name] for name in pair[0]}


def _scored(own: dict[str, np.ndarray], truth: dict[str, float]) -> pd.DataFrame:
    values: Values = {("paper", "dual"): own}
    table = scores(values)
    true = table["measure"].map(truth)
    return table.assign(interval="score with running statistics", truth=true)


def _apart(
    interval: str, reference: dict[str, np.ndarray], other: dict[str, np.ndarray]
) -> pd.DataFrame:
    return contrast(reference, other).assign(interval=interval, truth=0.0)


#: What is simulated, as in :data:`workflow.coverage.SIMULATIONS`.
ARTEFACT = {"artefact": (of_artefact, SEEDS, SPREADS[1:2])}
