"""A small experiment on hierarchy, trained while one waits: some arms, a few seeds, no folder.

Its knees are those of a build, by what was measured on their masks, or those of the radiomics.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.instruments.hierarchy.analysis import Values, collected
from oacore.instruments.hierarchy.arms import ARMS
from oacore.instruments.hierarchy.batched import Network
from oacore.instruments.hierarchy.repeats import NETWORK, Knees, cell_name, folds_of, held_out
from oacore.instruments.phantom.baseline import FEATURES, feature_table
from oacore.metrics.resampling import draw_cases

#: Columns that are features: what the disease changes, and how much cartilage there is.
MEASURED = (
    *FEATURES["thickness, joint space, osteophyte volume"],
    *FEATURES["cartilage volume"],
)


def measured_knees(cases: pd.DataFrame, measured: pd.DataFrame) -> Knees:
    """Graded knees of a cohort, both splits as one, by what was measured on their masks.

    Parameters
    ----------
    cases : DataFrame
        As :func:`oacore.data.cohort.read_cohort` gives it.
    measured : DataFrame
        As :func:`oacore.instruments.phantom.measure.measure_cohort` gives it.

    Returns
    -------
    Knees
        Of the knees of which all was measured: `MEASURED` as far as any knee has it; ``kl``,
        ``male``, ``age`` (years).

    Raises
    ------
    InputError
        If there is no such knee.
    """
    table = feature_table(cases, measured)
    features = table[list(MEASURED)].dropna(axis=1, how="all")
    whole = features.notna().all(axis=1) & (len(features.columns) > 0)
    if not whole.any():
        raise InputError("no graded knee of this cohort was measured; its masks are missing")
    rows = table.loc[whole, ["kl", "male", "age"]].reset_index(drop=True)
    return Knees(features[whole].to_numpy(float), rows.astype({"kl": int}))


def trial(
    knees: Knees,
    names: Sequence[str],
    seeds: Sequence[int],
    n_resamples: int,
    network: Network = NETWORK,
    folds: int = 5,
) -> Values:
    """Train arms by repeated cross-validation, and measure what they answer.

    Parameters
    ----------
    knees : Knees
    names : sequence of str
        Of :data:`.arms.ARMS`.
    seeds : sequence of int
        Repeats; see :mod:`.hierarchy.repeats`.
    n_resamples : int
        Of knees, drawn with seed 0.
    network : Network
    folds : int

    Returns
    -------
    dict
        As :func:`.analysis.collected` gives it, in the one cell of `network`.

    Raises
    ------
    InputError
        If a grade has fewer knees than there are folds, so that a network would never see it.
    """
    kl = knees.cases["kl"].to_numpy(np.int64)
    fewest = np.bincount(kl, minlength=5).min()
    if fewest < folds:
        raise InputError(f"a grade has {fewest} knees here, fewer than {folds} folds; take fewer")
    answers = (
        (
            cell_name(network),
            name,
            {
                "seeds": np.array(seeds),
                **{
                    head: said[0]
                    for head, said in held_out(knees, network, [name], seeds, folds).items()
                },
            },
        )
        for name in names
    )
    return collected(
        answers,
        kl,
        draw_cases(len(kl), n_resamples, 0),
        lambda seed: folds_of(kl, seed, folds),
        lambda name: ARMS[name].second == "OA",
    )
