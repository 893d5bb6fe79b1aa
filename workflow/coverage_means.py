"""How often intervals of scores by themselves, and not of differences, hold the truth.

See :mod:`workflow.coverage`. True scores are those of very many seeds and knees.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

from oacore.hierarchy import FIRST_OA_GRADE
from oacore.instruments.radiomics.models import score_intervals
from oacore.metrics.compare import truth_minus_label
from workflow.coverage_models import (
    CUTS,
    SPREADS,
    answers,
    by_scikit_learn,
    knees,
    network,
    population,
)

N_RESAMPLES = 200
#: Chapter 11's score that Table 1 does not have.
MACRO_F1 = "oa_macro_f1"


@cache
def _true_means(spread: float) -> dict[str, float]:
    """Mean of each metric of Table 1 over very many seeds and knees."""
    rng = np.random.default_rng(round(1000 * spread))
    found = []
    for _ in range(100):
        severity, kl, picture = knees(2000, rng)
        found.append(by_scikit_learn(answers(network(severity, picture, 1, spread, rng), kl)))
    return {str(name): float(mean) for name, mean in pd.DataFrame(found).mean().items()}


def of_mean_scores(seeds: int, spread: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Mean scores of one network, as chapter 11 has them: not differences."""
    severity, kl, picture = knees(n, rng)
    table = answers(network(severity, picture, seeds, spread, rng), kl)
    table = score_intervals(table, n_resamples=N_RESAMPLES, seed=int(rng.integers(2**31)))
    table = table[table["metric"] != MACRO_F1]
    truth = table["metric"].map(_true_means(spread))
    return table.assign(interval="mean score", measure=table["metric"], truth=truth)


@cache
def true_gains(spread: float) -> dict[str, float]:
    """Scores against true grades minus those against labels, over very many seeds and knees."""
    rng = np.random.default_rng(round(1000 * spread))
    rows = []
    for severity, kl, reading in population(spread, rng):
        as_read = answers(reading[None], kl)
        true = np.searchsorted(CUTS, severity)
        as_true = as_read.assign(kl=true, oa=(true >= FIRST_OA_GRADE).astype(int))
        more, less = (by_scikit_learn(table) for table in (as_true, as_read))
        rows.append({metric: more[metric] - less[metric] for metric in less})
    return {str(name): float(mean) for name, mean in pd.DataFrame(rows).mean().items()}


def of_truth_minus_label(
    seeds: int, spread: float, n: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Chapter 8's scores against true grades less those against labels, over seeds and knees."""
    severity, kl, picture = knees(n, rng)
    table = answers(network(severity, picture, seeds, spread, rng), kl)
    true_kl = pd.Series(np.searchsorted(CUTS, severity))
    table = truth_minus_label(
        table, true_kl, n_resamples=N_RESAMPLES, seed=int(rng.integers(2**31))
    )
    truth = table["metric"].map(true_gains(spread))
    return table.assign(
        interval="truth minus label over seeds", measure=table["metric"], truth=truth
    )


@cache
def true_macro_f1() -> float:
    """Macro-F1 of OA of networks that differ by noise alone."""
    rng = np.random.default_rng(0)
    tables = [answers(reading[None], kl) for _, kl, reading in population(0.0, rng, seeds=20)]
    table = pd.concat(tables)
    return float(f1_score(table["oa"], table["pred_oa"], average="macro"))


def of_macro_f1(seeds: int, spread: float, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Chapter 11's macro-F1 of OA, of a given model."""
    severity, kl, picture = knees(n, rng)
    table = answers(network(severity, picture, seeds, spread, rng), kl)
    table = score_intervals(table, n_resamples=N_RESAMPLES, seed=int(rng.integers(2**31)))
    table = table[table["metric"] == MACRO_F1]
    return table.assign(interval="macro-F1", measure=table["metric"], truth=true_macro_f1())


#: What is simulated, as in :data:`workflow.coverage.SIMULATIONS`.
MEANS = {
    "means": (of_mean_scores, (1, 3, 5), SPREADS[::2]),
    "macro-f1": (of_macro_f1, (1,), (0.0,)),
    "truth-over-seeds": (of_truth_minus_label, (2, 3, 5), SPREADS[1:2]),
}
