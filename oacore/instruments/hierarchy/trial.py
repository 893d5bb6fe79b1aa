"""A small experiment on hierarchy, trained while one waits: some arms, a few seeds, no folder.

Its knees are those of a build, by what was measured on their masks, or those of the radiomics; or
drawn ones, where a build's cannot serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES
from oacore.instruments.hierarchy.analysis import Values, collected
from oacore.instruments.hierarchy.arms import ARMS
from oacore.instruments.hierarchy.batched import Network
from oacore.instruments.hierarchy.noise import NoisePlan, noisy_knees
from oacore.instruments.hierarchy.repeats import NETWORK, Knees, cell_name, folds_of, held_out
from oacore.instruments.phantom.baseline import FEATURES, feature_table
from oacore.metrics.resampling import draw_cases

#: Columns that are features: what the disease changes, and how much cartilage there is.
MEASURED = (
    *FEATURES["thickness, joint space, osteophyte volume"],
    *FEATURES["cartilage volume"],
)
#: Folds of a trial.
FOLDS = 5
#: Knees that are drawn where a cohort cannot serve, and how well they are read.
DRAWN, READ = 400, "half"


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
    knees = _measured(cases, measured)
    if knees.cases.empty:
        raise InputError("no graded knee of this cohort was measured; its masks are missing")
    return knees


def knees_here(cases: pd.DataFrame, measured: pd.DataFrame | None) -> tuple[Knees, str]:
    """Knees for a trial: those of a cohort, or drawn ones where it has too few that were measured.

    Parameters
    ----------
    cases, measured
        See :func:`measured_knees`; None where nothing was measured.

    Returns
    -------
    Knees
        Drawn ones are of :mod:`.hierarchy.noise`: what was drawn of a knee, with an error of
        measurement, and a reading of its grade.
    why : str
        Why they are drawn, in a sentence; "" where they are the cohort's.
    """
    why = "This cohort has no masks to measure"
    if measured is not None and len(measured):
        knees = _measured(cases, measured)
        if (fewest := _fewest(knees)) >= FOLDS:
            return knees, ""
        why = f"A grade has {fewest} measured knees in this cohort, fewer than {FOLDS} folds"
    plan = NoisePlan(levels=(READ,), sizes=(DRAWN,), seeds=(0,), tested=DRAWN)
    drawn = noisy_knees(plan, READ, DRAWN)
    own = ~drawn.tested
    graded = drawn.cases.loc[own, ["kl"]].reset_index(drop=True)
    return Knees(drawn.x[own], graded), f"{why}: the knees of this section are drawn ones."


def trial(
    knees: Knees,
    names: Sequence[str],
    seeds: Sequence[int],
    n_resamples: int,
    network: Network = NETWORK,
    folds: int = FOLDS,
) -> Values:
    """Train arms by repeated cross-validation, and measure what they answer.

    Batches are those of `network`, or the next smaller ones that fit all folds: as many steps in
    each, and one at least.

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
    if (fewest := _fewest(knees)) < folds:
        raise InputError(f"a grade has {fewest} knees here, fewer than {folds} folds; take fewer")
    network = replace(network, batch=_batch(network.batch, len(kl), folds))
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


def _measured(cases: pd.DataFrame, measured: pd.DataFrame) -> Knees:
    """The knees of :func:`measured_knees`; there may be none."""
    table = feature_table(cases, measured)
    features = table[list(MEASURED)].dropna(axis=1, how="all")
    whole = features.notna().all(axis=1) & (len(features.columns) > 0)
    rows = table.loc[whole, ["kl", "male", "age"]].reset_index(drop=True)
    return Knees(features[whole].to_numpy(float), rows.astype({"kl": int}))


def _fewest(knees: Knees) -> int:
    """Knees of the rarest grade."""
    return int(np.bincount(knees.cases["kl"], minlength=N_GRADES).min())


def _batch(most: int, knees: int, folds: int) -> int:
    """The largest batch up to `most` of which all folds' training knees make as many."""
    held = knees // folds, -(-knees // folds)  # folds differ by one knee at most
    training = [knees - one for one in held]
    batch = min(most, *training)
    while len({one // batch for one in training}) > 1:
        batch -= 1
    return batch
