"""How often two equally good models are called different where some resamples are undefined.

``python -m workflow.coverage_undefined`` prints the table that
:data:`oacore.metrics.significance.UNDEFINED_LIMIT` was chosen from. Few knees of a grade make an
AUC undefined in some resamples, and the rest hardly vary: what those few knees add to the
uncertainty is not in them. Knees and networks are :mod:`workflow.coverage_models`'s; the true
difference is zero, so a test at .05 is to reject in a twentieth of the repeats.

``--measure`` asks the same of what stays defined where a resample lacks a grade: macro-F1, which
averages over the grades that are there, and kappa, which weighs each knee alike.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from scipy.special import expit

from oacore.metrics.clinical import weighted_kappa
from oacore.metrics.resampling import resample_counts
from oacore.metrics.scores import auc, macro_auc, macro_f1
from oacore.metrics.significance import bootstrap_p
from workflow.coverage_models import CUTS, knees, network

RESAMPLES = 1000
#: Knees of each grade: few of all, few of one, few of two at the ends.
GRADES = (
    *((few,) * 5 for few in (1, 2, 3, 4, 5, 6, 10)),
    *((24, few, 24, 25, 25) for few in (1, 2, 3, 4, 5, 6, 8, 12)),
    *((few, 30, 30, 34, few) for few in (1, 2, 3, 4, 5, 6, 8, 12)),
)
#: Knees without OA and with it.
CLASSES = tuple((98 - few, few) for few in (1, 2, 3, 4, 5, 6, 8, 12))


def _grades(above: np.ndarray) -> np.ndarray:
    """Probabilities of the grades (n, 5), from those of a higher grade than 0 to 3 (n, 4)."""
    ends = np.column_stack([np.ones(len(above)), above, np.zeros(len(above))])
    return ends[:, :-1] - ends[:, 1:]


def _sensitivity(counts: np.ndarray, oa: np.ndarray, answered: np.ndarray) -> np.ndarray:
    sick = counts @ oa
    out = np.full(len(counts), np.nan)
    return np.divide(counts @ (oa & answered), sick, out=out, where=sick > 0)


#: Of counts (B, n), labels (n,) and P(grade > k) (n, 4), by how many groups of knees there are.
MEASURES: dict[str, dict[int, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]]] = {
    "auc": {
        5: lambda counts, label, above: macro_auc(counts, label, _grades(above)),
        2: lambda counts, label, above: auc(counts, label >= 2, above[:, 1]),
    },
    "f1": {5: lambda counts, label, above: macro_f1(counts, label, _grades(above).argmax(1))},
    "kappa": {
        5: lambda counts, label, above: weighted_kappa(counts, label, _grades(above).argmax(1))
    },
    "sensitivity": {
        2: lambda counts, label, above: _sensitivity(counts, label >= 2, above[:, 1] >= 0.5)
    },
}


def rejections(
    sizes: tuple[int, ...],
    repeats: int,
    seed: int,
    n_resamples: int = RESAMPLES,
    measure: str = "auc",
) -> dict[str, float]:
    """Test two networks without a true difference many times, whatever is undefined.

    Parameters
    ----------
    sizes : tuple of int
        Knees of each of the five grades, for the measures of grades; or of the two classes, for
        the AUC and the sensitivity.
    repeats : int
        Draws of knees and networks.
    seed, n_resamples : int
        Of the draws and of the bootstrap.
    measure : str
        One of `MEASURES`; "auc" is the macro AUC where there are five sizes.

    Returns
    -------
    dict
        `undefined`, the mean share of undefined resamples, and `rejected`, the share of repeats
        whose p-value, of the defined ones alone and by no limit, is below .05.
    """
    rng = np.random.default_rng(seed)
    undefined, rejected = [], 0
    for _ in range(repeats):
        severity, label, picture = _chosen(sizes, rng)
        counts = resample_counts(len(label), n_resamples, rng)
        values = []
        for _ in range(2):
            (reading,) = network(severity, picture, 1, 0.0, rng)
            above = expit(2.5 * (reading[:, None] - CUTS))  # P(grade > k)
            judge = MEASURES[measure][len(sizes)]
            values.append(judge(counts, label, above))
        difference = values[1] - values[0]
        undefined.append(np.isnan(difference).mean())
        rejected += bootstrap_p(difference[~np.isnan(difference)]) < 0.05
    return {"undefined": float(np.mean(undefined)), "rejected": rejected / repeats}


def _chosen(
    sizes: tuple[int, ...], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Knees as :func:`.coverage.knees` draws them, so many of each grade or class."""
    severity, label, picture = knees(20 * sum(sizes) + 500, rng)
    group = label if len(sizes) == 5 else (label >= 2).astype(int)
    chosen = np.concatenate([np.flatnonzero(group == k)[:size] for k, size in enumerate(sizes)])
    return severity[chosen], label[chosen], picture[chosen]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--measure", choices=MEASURES, default="auc")
    words = parser.parse_args()
    for sizes in (*GRADES, *CLASSES):
        if len(sizes) not in MEASURES[words.measure]:
            continue
        found = rejections(sizes, words.repeats, words.seed, measure=words.measure)
        knees_of_each = " ".join(map(str, sizes))
        print(f"{knees_of_each:>16} {found['undefined']:.4f} {found['rejected']:.3f}", flush=True)


if __name__ == "__main__":
    main()
