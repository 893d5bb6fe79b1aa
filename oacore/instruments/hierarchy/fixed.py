"""What arms answer on a cohort with a fixed split, measured; and what heads are told of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from oacore.hierarchy import oa_from_kl
from oacore.instruments.hierarchy.analysis import Values, over_seeds
from oacore.instruments.hierarchy.arms import ARMS, TaskArm, second_label
from oacore.instruments.hierarchy.runs import SplitPlan, answers, draw_people
from oacore.instruments.hierarchy.split import SplitCohort


def tested(cohort: SplitCohort) -> pd.DataFrame:
    """Cases of the test split, in the order of the answers."""
    return cohort.cases.iloc[cohort.rows("test")].reset_index(drop=True)


def fixed_values(
    plan: SplitPlan, cohort: SplitCohort, folder: Path | str, n_resamples: int, seed: int
) -> tuple[Values, float]:
    """Measures of all that is finished, and the processor seconds that it took.

    Parameters
    ----------
    plan, cohort, folder
        See :func:`.runs.answers`.
    n_resamples, seed : int
        Of people, or of knees where none has two, see :func:`.runs.draw_people`.

    Returns
    -------
    values : dict
        As :func:`.analysis.collected` gives it.
    seconds : float
    """
    cases = tested(cohort)
    kl = cases["kl"].to_numpy(np.int64)
    counts = draw_people(cases, n_resamples, seed)
    values, seconds = {}, 0.0
    for cell, name, said in answers(plan, cohort, folder):
        second = said["second"] if told_oa(name) else None
        values[cell, name] = over_seeds(counts, kl, said["grade"], second)
        seconds += float(said["seconds"].sum())
    return values, seconds


def told_oa(name: str) -> bool:
    """Whether an arm's second head is told OA, so that its answer can be scored by OA."""
    return name in ARMS and ARMS[name].second == "OA"


def told_of(plan: SplitPlan, cohort: SplitCohort) -> pd.DataFrame:
    """What second heads of a plan are told of the training cases, and how it goes with OA.

    Returns
    -------
    DataFrame
        `label`; `share` of training cases told 1; `agrees`, the share told what OA says; `phi`,
        the correlation with OA; means over seeds.
    """
    cases = cohort.cases.iloc[cohort.rows("train")].reset_index(drop=True)
    kl, every = cases["kl"].to_numpy(np.int64), np.ones(len(cases), dtype=bool)
    told = dict.fromkeys(ARMS[name].second for name in plan.arms)
    rows = [
        {"label": label, **agreement(second_label(arm, cases, every, seed, 0), kl)}
        for label in told if label not in ("", "grade")
        for arm in [TaskArm("", "", label)]
        for seed in plan.seeds
    ]  # fmt: skip
    return pd.DataFrame(rows).groupby("label", sort=False).mean().reset_index()


def agreement(told: np.ndarray, kl: np.ndarray) -> dict[str, float]:
    """Share told 1, share told what OA says, and the correlation of the two."""
    oa, yes = oa_from_kl(kl) == 1, told == 1
    return {"share": yes.mean(), "agrees": (yes == oa).mean(), "phi": np.corrcoef(yes, oa)[0, 1]}
