"""How often chapter 16's percentile intervals hold the truth at few pictures (`workflow.coverage`).

Drawn radiographs and real ones are given, and so is a classifier: pictures alone vary. Each is one
person's; :mod:`workflow.coverage_people` has people with two. Means are of a normal and of a skewed
number; an AUC is of scores that are normal in either class, or of the readings of a network.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm

from oacore.metrics.resampling import draw_cases, estimate
from oacore.metrics.scores import auc, macro_auc
from workflow.coverage_hierarchy import true_scores
from workflow.coverage_models import knees, probabilities, twins

N_RESAMPLES = 500
#: Pictures of a set, or of a grade in it.
SIZES = (12, 48, 196)
#: True AUCs of a question, from a usual one to sets that are told apart nearly always.
AUCS = (0.85, 0.99)
#: True mean of exp(z / 2), of a standard normal z.
SKEWED = float(np.exp(1 / 8))


def of_pictures(_: int, __: float, ___: int, rng: np.random.Generator) -> pd.DataFrame:
    """Means, AUCs and macro-AUCs of given classifiers, and differences of two, over pictures."""
    rows = []
    for n in SIZES:
        counts = draw_cases(n, N_RESAMPLES, rng)
        z = rng.normal(size=n)
        for kind, value, true in (("normal", z, 0.0), ("skewed", np.exp(z / 2), SKEWED)):
            mean = estimate(counts @ value / n)
            rows.append(("mean over pictures", kind, n, mean, true))
        half = rng.permutation(n) < n // 2
        noise = rng.normal(size=(2, n))
        for true in AUCS:
            apart = norm.ppf(true) * np.sqrt(2) * half
            own, other = (auc(counts, half, apart + one) for one in noise)
            named = f"true AUC {true}"
            rows.append(("AUC over pictures", named, n, estimate(own), true))
            rows.append(("difference of AUCs over pictures", named, n, estimate(own - other), 0.0))
        if n == SIZES[0]:
            continue  # most resamples of so few lack a grade
        severity, kl, picture = knees(n, rng)
        pair = probabilities(twins(severity, picture, 1, 0.0, rng)[:, 0])
        own, other = (macro_auc(counts, kl, grades) for grades in pair)
        true = true_scores(0.0)["kl_auc"]
        rows.append(("AUC over pictures", "KL macro-AUC", n, estimate(own), true))
        gap = estimate(own - other)
        rows.append(("difference of AUCs over pictures", "KL macro-AUC", n, gap, 0.0))
    columns = ["interval", "measure", "knees", "found", "truth"]
    table = pd.DataFrame(rows, columns=columns)
    limits = pd.DataFrame(table.pop("found").tolist())
    table = table.assign(low=limits["low"], high=limits["high"])
    return table.assign(over="pictures alone", seeds=1, spread=np.nan)


#: What is simulated, as in :data:`workflow.coverage.SIMULATIONS`.
PICTURES = {"pictures": (of_pictures, (1,), (0.0,))}
