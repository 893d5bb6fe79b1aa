"""Dual against single supervision in the geometry of their features, over knees and seeds.

The intervals are those of :mod:`.metrics.crossed`, for the measures of :mod:`.axis.axis`: every
model is judged on the same resamples of the test knees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.instruments.axis.axis import geometry_values
from oacore.metrics.crossed import crossed_difference
from oacore.metrics.resampling import draw_cases
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
        :func:`.axis.geometry_values`: the columns of :func:`.crossed.crossed_difference`,
        `value_other` being Dual's, and `knees`. Backbones and supervisions in the paper's order; a
        pair without a common seed is left out.

    Raises
    ------
    InputError
        If the models are not of the same knees, or no pair has a seed in common.

    Notes
    -----
    The sign of PC1 is that of the grade on the training knees, for every model by itself, so that
    differences of correlations have a meaning. Distances depend on the number of features and on
    their scale; they are compared within a backbone alone.
    """
    if not models:
        raise InputError("compare_axes: there is no model; train some with `oacore train`")
    own = models[0][2]
    for run, _, other in models:
        if not (own.index.equals(other.index) and own["kl"].equals(other["kl"])):
            raise InputError(f"compare_axes: {_name(run)} is of other knees; give runs of one set")
    kl, test = own["kl"].to_numpy(int), (own["split"] == "test").to_numpy()
    counts = draw_cases(int(test.sum()), n_resamples, seed)
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
                        **crossed_difference(first, second),
                        "knees": int(test.sum()),
                    }
                )
    if not rows:
        raise InputError("compare_axes: no Dual model has a seed in common with a single one")
    return pd.DataFrame(rows)


def _name(run: dict[str, str | int]) -> str:
    return f"{run['backbone']} {run['supervision']} seed {run['seed']}"
