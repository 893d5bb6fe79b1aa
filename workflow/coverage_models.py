"""Simple models of knees and networks, on which intervals are tried (`workflow.coverage`).

A knee has a severity and a grade that is a noisy reading of it; a network answers with its own
noisy reading, which part of it owes to the knee (all networks see the same picture), part to the
backbone and part to the seed, and whose sharpness differs from seed to seed by `spread`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from oacore.metrics.predictions import COLUMNS, PROB_KL

#: Share of each grade in the paper's test split.
GRADES = np.array([21, 12, 22, 28, 15]) / 98
#: Severity above which a reader gives each grade.
CUTS = np.array([-0.79, -0.42, 0.15, 1.02])
#: How differently the seeds of a network turn out: SD of the sharpness of its reading, which is 1.
SPREADS = (0.0, 0.15, 0.3, 0.65)


def knees(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Severity, grade, and what all networks see alike, of n knees; (n,) each."""
    severity = rng.normal(size=n)
    kl = np.searchsorted(CUTS, severity + 0.3 * rng.normal(size=n))
    return severity, kl, 0.5 * rng.normal(size=n)


def network(
    severity: np.ndarray, picture: np.ndarray, seeds: int, spread: float, rng: np.random.Generator
) -> np.ndarray:
    """Readings (S, n) of one network under S seeds."""
    sharpness = 1 + spread * rng.normal(size=(seeds, 1))
    own = 0.3 * rng.normal(size=severity.size)
    return sharpness * severity + picture + own + 0.5 * rng.normal(size=(seeds, severity.size))


def answers(readings: np.ndarray, kl: np.ndarray, **said: Any) -> pd.DataFrame:
    """Tidy predictions of a network from its readings (S, n)."""
    tables = []
    for seed, reading in enumerate(readings):
        above = expit(2.5 * (reading[:, None] - CUTS))  # P(grade > k)
        ends = np.column_stack([np.ones(len(kl)), above, np.zeros(len(kl))])
        grades = ends[:, :-1] - ends[:, 1:]
        prob_oa = above[:, 1]
        table = pd.DataFrame(grades, columns=PROB_KL).assign(
            backbone="resnet3d", supervision="dual", seed=seed, split="test",
            case_id=np.arange(len(kl)), kl=kl, oa=(kl >= 2).astype(int), prob_oa=prob_oa,
            pred_oa=(prob_oa >= 0.5).astype(int), prob_oa_from_kl=prob_oa,
            pred_kl=grades.argmax(axis=1),
        )  # fmt: skip
        tables.append(table.assign(**said)[COLUMNS])
    return pd.concat(tables, ignore_index=True)


def by_scikit_learn(table: pd.DataFrame) -> dict[str, float]:
    """Table 1's metrics on more knees than the book's own lines, made for resamples, can take."""
    oa, kl = table["oa"], table["kl"]
    return {
        "oa_auc": roc_auc_score(oa, table["prob_oa"]),
        "oa_acc": accuracy_score(oa, table["pred_oa"]),
        "oa_f1": f1_score(oa, table["pred_oa"]),
        "kl_auc": roc_auc_score(kl, table[PROB_KL], multi_class="ovr"),
        "kl_acc": accuracy_score(kl, table["pred_kl"]),
        "kl_f1": f1_score(kl, table["pred_kl"], average="macro"),
    }


def auc_sd(spread: float, seed: int, seeds: int = 200, n: int = 20_000) -> float:
    """Standard deviation of a network's true AUC of OA between seeds: on very many knees."""
    rng = np.random.default_rng(seed)
    severity, kl, picture = knees(n, rng)
    readings = network(severity, picture, seeds, spread, rng)
    return float(np.std([roc_auc_score(kl >= 2, reading) for reading in readings], ddof=1))
