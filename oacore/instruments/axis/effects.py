"""Dual against single supervision in the geometry of their features, over knees and seeds.

The intervals are those of :mod:`.metrics.seeds`, for the measures of :mod:`.axis.axis`: seeds
and test knees are drawn apart, and every model is judged on the same knees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.instruments.axis.axis import geometry_values
from oacore.metrics.resampling import resample_counts
from oacore.metrics.seeds import draw_seeds, interval
from oacore.metrics.significance import bootstrap_p
from oacore.names import BACKBONE_NAMES, SUPERVISION_NAMES

#: A finished run, its features, and its knees, as :func:`.axis.read_features` gives them.
Model = tuple[dict[str, str | int], np.ndarray, pd.DataFrame]


def compare_axes(
    models: Sequence[Model], protocol: str = "train-fit", *, n_resamples: int = 2000, seed: int
) -> pd.DataFrame:
    """Table 2's measures of Dual minus those of each single supervision, over all seeds.

    Parameters
    ----------
    models : sequence of (run, features, own)
        From :func:`.axis.read_features`; all of the same knees in the same order.
    protocol : {"train-fit", "as printed"}
    n_resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        A row for each backbone, `reference` ("single_oa", "single_kl") and `measure` of
        :func:`.axis.geometry_values`: `n_seeds`, `value_reference`, `value_dual` and
        `delta` (Dual minus reference), means over the seeds that both have; `knees_low`,
        `knees_high`, the 95% interval of `delta` with the seeds as they are; `ci_low`, `ci_high`
        and `p_value` over seeds and knees. With one seed the two intervals are one. Backbones and
        supervisions in the paper's order; a pair without a common seed is left out.

    Raises
    ------
    InputError
        If the models are not of the same knees, or no pair has a seed in common.

    Notes
    -----
    The sign of PC1 is that of the grade on the training knees, for every model by itself, so that
    differences of correlations have a meaning. Distances depend on the number of features and on
    their scale; they are compared within a backbone alone. As in
    :func:`.seeds.seed_and_knee_interval`, S seeds show (S - 1)/S of the variance between
    seeds: for few seeds the interval is too short.
    """
    if not models:
        raise InputError("compare_axes: there is no model; train some with `oacore train`")
    own = models[0][2]
    for run, _, other in models:
        if not (own.index.equals(other.index) and own["kl"].equals(other["kl"])):
            raise InputError(f"compare_axes: {_name(run)} is of other knees; give runs of one set")
    kl, test = own["kl"].to_numpy(int), (own["split"] == "test").to_numpy()
    rng = np.random.default_rng(seed)
    m = int(test.sum())
    counts = np.vstack([np.ones((1, m)), resample_counts(m, n_resamples, rng)])
    values = {
        (run["backbone"], run["supervision"], run["seed"]): geometry_values(
            features, kl, test, counts, protocol
        )
        for run, features, _ in models
    }
    rows = []
    for backbone in BACKBONE_NAMES:
        for reference in (name for name in SUPERVISION_NAMES if name != "dual"):
            seeds = sorted(
                {s for b, k, s in values if (b, k) == (backbone, "dual")}
                & {s for b, k, s in values if (b, k) == (backbone, reference)}
            )
            if not seeds:
                continue
            drawn = draw_seeds(len(seeds), n_resamples, rng)  # (1 + B, S)
            for measure in values[backbone, "dual", seeds[0]]:
                first, second = (
                    np.stack([values[backbone, k, s][measure] for s in seeds])
                    for k in (reference, "dual")
                )  # (S, 1 + B)
                rows.append(
                    {
                        "backbone": backbone,
                        "reference": reference,
                        "measure": measure,
                        **_difference(first, second, drawn),
                    }
                )
    if not rows:
        raise InputError("compare_axes: no Dual model has a seed in common with a single one")
    return pd.DataFrame(rows)


def _difference(first: np.ndarray, second: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
    """Mean over S seeds of second minus first, both (S, 1 + B), and its intervals."""
    delta = second - first
    both = (drawn * delta.T).sum(axis=1)
    knees_low, knees_high, _ = interval(delta.mean(axis=0)[1:])
    ci_low, ci_high, _ = interval(both[1:])
    return {
        "n_seeds": len(delta),
        "value_reference": first[:, 0].mean(),
        "value_dual": second[:, 0].mean(),
        "delta": delta[:, 0].mean(),
        "knees_low": knees_low,
        "knees_high": knees_high,
        "ci_low": ci_low,
        "ci_high": ci_high,
        "p_value": bootstrap_p(both[1:]),
    }


def _name(run: dict[str, str | int]) -> str:
    return f"{run['backbone']} {run['supervision']} seed {run['seed']}"
