"""Simple models of knees and networks, on which intervals are tried (`workflow.coverage`).

A knee has a severity and a grade that is a noisy reading of it; a network answers with its own
noisy reading, which part of it owes to the knee (all networks see the same picture), part to the
backbone and part to the seed, and whose sharpness differs from seed to seed by `spread`.

Both knees of a person can be alike, and so can networks that share a seed: whatever they share, the
distribution of a knee, and of a network, is the same, and with it the true scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from oacore.metrics.predictions import COLUMNS, PROB_KL

#: Share of each grade in the paper's test split.
GRADES = np.array([21, 12, 22, 28, 15]) / 98
#: Severity above which a reader gives each grade.
CUTS = np.array([-0.79, -0.42, 0.15, 1.02])
#: How differently the seeds of a network turn out: SD of the sharpness of its reading, which is 1.
SPREADS = (0.0, 0.15, 0.3, 0.65)
#: Correlation of the two knees of a person, in severity and in how a picture of them misleads.
ALIKE = 0.7


def knees(
    n: int, rng: np.random.Generator, alike: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Severity, grade, and what all networks see alike, of n knees; (n,) each.

    With `alike` above 0 knees 0 and 1 are one person's, 2 and 3 another's, and n is even.
    """
    severity = _normal(n, rng, alike)
    kl = np.searchsorted(CUTS, severity + 0.3 * rng.normal(size=n))
    return severity, kl, 0.5 * _normal(n, rng, alike)


def _normal(n: int, rng: np.random.Generator, alike: float) -> np.ndarray:
    """A standard normal number for each knee, of which those of a person correlate by `alike`."""
    own = rng.normal(size=n)
    if not alike:
        return own
    person = rng.normal(size=n // 2).repeat(2)
    return np.sqrt(alike) * person + np.sqrt(1 - alike) * own


def network(
    severity: np.ndarray, picture: np.ndarray, seeds: int, spread: float, rng: np.random.Generator
) -> np.ndarray:
    """Readings (S, n) of one network under S seeds."""
    sharpness = 1 + spread * rng.normal(size=(seeds, 1))
    own = 0.3 * rng.normal(size=severity.size)
    return sharpness * severity + picture + own + 0.5 * rng.normal(size=(seeds, severity.size))


def twins(
    severity: np.ndarray,
    picture: np.ndarray,
    seeds: int,
    spread: float,
    rng: np.random.Generator,
    arms: int = 2,
    alike: float = 0.0,
) -> np.ndarray:
    """Readings (A, S, n) of arms of one kind, each as :func:`network` has them.

    Two arms share half of what a seed does, as of first weights and batches, and half of what is a
    network's own. So all differences between them are zero in truth.
    """

    def halves(shared: np.ndarray, own: np.ndarray) -> np.ndarray:
        return (shared + own) / np.sqrt(2)

    n = severity.size
    draw = rng.normal
    sharpness = 1 + spread * halves(draw(size=(seeds, 1)), draw(size=(arms, seeds, 1)))
    each = np.stack([_normal(n, rng, alike) for _ in range(arms)])[:, None]
    own = 0.3 * halves(_normal(n, rng, alike), each)
    noise = 0.5 * halves(draw(size=(seeds, n)), draw(size=(arms, seeds, n)))
    return sharpness * severity + picture + own + noise


def population(
    spread: float, rng: np.random.Generator, seeds: int = 100, n: int = 4000
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Severity, grade and reading (n,) of many knees by each of many seeds.

    The seeds lie evenly in the distribution of their sharpness, so that a mean over them is that of
    all seeds, and every one reads other knees.
    """
    for sharpness in 1 + spread * norm.ppf((np.arange(seeds) + 0.5) / seeds):
        severity, kl, picture = knees(n, rng)
        yield severity, kl, network(sharpness * severity, picture, 1, 0.0, rng)[0]


def probabilities(readings: np.ndarray, cuts: npt.ArrayLike = CUTS) -> np.ndarray:
    """Probabilities (..., n, K) of the grades that K - 1 cuts make, from readings (..., n)."""
    above = expit(2.5 * (readings[..., None] - np.asarray(cuts)))  # P(grade > k)
    ends = np.ones((*readings.shape, 1))
    ends = np.concatenate([ends, above, 0 * ends], axis=-1)
    return ends[..., :-1] - ends[..., 1:]


def answers(readings: np.ndarray, kl: np.ndarray, **said: Any) -> pd.DataFrame:
    """Tidy predictions of a network from its readings (S, n)."""
    tables = []
    for seed, reading in enumerate(readings):
        grades = probabilities(reading)
        prob_oa = expit(2.5 * (reading - CUTS[1]))
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
