"""How often two equally good models are called different where some resamples are undefined.

``python -m workflow.coverage_undefined`` prints the table that
:data:`oacore.metrics.significance.UNDEFINED_LIMIT` was chosen from. Few knees of a grade make an
AUC undefined in some resamples, and the rest hardly vary: what those few knees add to the
uncertainty is not in them. Knees and networks are :mod:`workflow.coverage_models`'s; the true
difference is zero, so a test at .05 is to reject in a twentieth of the repeats.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import expit

from oacore.metrics.resampling import resample_counts
from oacore.metrics.scores import auc, macro_auc
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


def rejections(
    sizes: tuple[int, ...], repeats: int, seed: int, n_resamples: int = RESAMPLES
) -> dict[str, float]:
    """Test two networks without a true difference many times, whatever is undefined.

    Parameters
    ----------
    sizes : tuple of int
        Knees of each of the five grades, for the macro AUC; or of the two classes, for the AUC.
    repeats : int
        Draws of knees and networks.
    seed, n_resamples : int
        Of the draws and of the bootstrap.

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
            if len(sizes) == 2:
                values.append(auc(counts, label >= 2, above[:, 1]))
                continue
            ends = np.column_stack([np.ones(len(label)), above, np.zeros(len(label))])
            values.append(macro_auc(counts, label, ends[:, :-1] - ends[:, 1:]))
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
    words = parser.parse_args()
    rows = []
    for sizes in (*GRADES, *CLASSES):
        found = rejections(sizes, words.repeats, words.seed)
        rows.append({"knees": " ".join(map(str, sizes)), **found})
        print(
            f"{rows[-1]['knees']:>16} {found['undefined']:.4f} {found['rejected']:.3f}", flush=True
        )


if __name__ == "__main__":
    main()
