"""Scores of all arms in the cells of the noise study, and Dual beside each other arm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.instruments.hierarchy.analysis import contrast, finding
from oacore.instruments.hierarchy.noise import LEVELS, NoisePlan, noise_answers, noisy_knees
from oacore.metrics.clinical import weighted_kappa
from oacore.metrics.crossed import crossed, crossed_difference
from oacore.metrics.resampling import draw_cases
from oacore.metrics.scores import macro_auc
from oacore.metrics.significance import benjamini_hochberg


def noise_tables(
    plan: NoisePlan, folder: Path | str, n_resamples: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of all arms, and Dual minus each other, in every finished cell.

    Parameters
    ----------
    plan : NoisePlan
    folder : path
        See :func:`.noise.run_noise`.
    n_resamples : int
        Of test knees, drawn with seed 0.

    Returns
    -------
    scores : DataFrame
        level, coarse, fine, size, against ("truth" or "reading"), arm, measure, and the columns
        of :func:`.crossed.crossed`.
    contrasts : DataFrame
        The same for Dual minus `reference`, with the columns of :func:`.analysis.contrast`;
        `q_value`, which controls the false discovery rate over all rows; and `found`.
    """
    scored, compared = [], []
    for level, size, said in noise_answers(plan, folder):
        knees = noisy_knees(plan, level, size)
        coarse, fine = LEVELS[level]
        where = {"level": level, "coarse": coarse, "fine": fine, "size": size}
        true = knees.cases.loc[knees.tested, "kl"].to_numpy()
        counts = draw_cases(len(true), n_resamples, 0)
        for against, kl in (("truth", true), ("reading", knees.read)):
            here = where | {"against": against}
            values = {name: _measures(counts, kl, own) for name, own in said.items()}
            for name, measures in values.items():
                scored += [
                    {**here, "arm": name, "measure": measure}
                    | crossed(own, (-1, 1) if "kappa" in measure else (0, 1))
                    for measure, own in measures.items()
                ]
            for name in plan.arms:
                if name != "dual":
                    rows = contrast(values[name], values["dual"])
                    compared.append(rows.assign(**here, reference=name))  # type: ignore[arg-type]
    if not compared:
        raise InputError(f"{folder}: no cell of the noise study is finished")
    found = pd.concat(compared, ignore_index=True)
    found = found.assign(q_value=benjamini_hochberg(found["p_value"]))
    return pd.DataFrame(scored), found.assign(
        found=[finding(row) for row in found.to_dict("records")]
    )


def noise_adds(plan: NoisePlan, folder: Path | str, n_resamples: int) -> pd.DataFrame:
    """What noise adds to Dual minus Single-KL against the truth: each level minus no noise.

    A seed has the same training knees at all levels, and all have the same test knees, so that
    the difference of the two differences is paired by both.

    Parameters
    ----------
    plan, folder, n_resamples
        As in :func:`noise_tables`.

    Returns
    -------
    DataFrame
        level, size, measure, the columns of :func:`.crossed.crossed_difference`, and `q_value`
        over all rows.
    """
    gains: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    counts = draw_cases(plan.tested, n_resamples, 0)
    for level, size, said in noise_answers(plan, folder):
        knees = noisy_knees(plan, level, size)
        true = knees.cases.loc[knees.tested, "kl"].to_numpy()
        both = [_measures(counts, true, said[name]) for name in ("single_kl", "dual")]
        gains[level, size] = {name: both[1][name] - both[0][name] for name in both[0]}
    rows = [
        {"level": level, "size": size, "measure": measure}
        | crossed_difference(gains["none", size][measure], own)
        for (level, size), measures in gains.items()
        if level != "none" and ("none", size) in gains
        for measure, own in measures.items()
    ]
    if not rows:
        raise InputError(f"{folder}: no cell with noise is finished beside one without")
    found = pd.DataFrame(rows)
    return found.assign(q_value=benjamini_hochberg(found["p_value"]))


def _measures(counts: np.ndarray, kl: np.ndarray, said: np.ndarray) -> dict[str, np.ndarray]:
    """The primary outcomes of one arm, (S, 1 + B)."""
    each = said.astype(float)
    return {
        "kl_auc": np.stack([macro_auc(counts, kl, one) for one in each]),
        "kl_kappa": np.stack([weighted_kappa(counts, kl, one.argmax(axis=1)) for one in each]),
    }
