"""What the arms answer that a build trained on its own cohort, backbone by backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from oacore.errors import InputError
from oacore.instruments.hierarchy.analysis import contrasts
from oacore.instruments.hierarchy.fixed import fixed_values
from oacore.instruments.hierarchy.grid import arms_folder
from oacore.instruments.hierarchy.volumes import plan_of, volumes_cohort
from oacore.profile import Profile


def trained_contrasts(
    profile: Profile, arms: Sequence[str], cohort: str | Path, build: str | Path
) -> pd.DataFrame:
    """Contrasts of the arms that were trained, on the cohort's test knees.

    Parameters
    ----------
    profile : Profile
    arms : sequence of str
        See :func:`.grid.arms_asked`.
    cohort, build : path-like
        The knees; and the folder with the runs and the ``cache``.

    Returns
    -------
    DataFrame
        Rows of :func:`.analysis.contrasts` for each backbone, with a column `backbone`. Knees are
        drawn with seed 0. With one seed an interval is over knees alone.

    Raises
    ------
    InputError
        If no two arms are trained; or see :func:`.runs.answers`.
    """
    tables = []
    for backbone, recipe in profile.backbones.items():
        plan = plan_of(recipe, arms, recipe.seeds)
        knees = volumes_cohort(cohort, Path(build, "cache"), recipe.grid, recipe.resample)
        folder = arms_folder(build, backbone)
        values, _ = fixed_values(plan, knees, folder, profile.n_resamples, 0)
        if {"single_kl", "dual"} & {name for _, name in values} and len(values) > 1:
            tables.append(contrasts(values, plan.network.cell).assign(backbone=backbone))
    if not tables:
        raise InputError(
            f"arms {', '.join(arms)}: nothing to set beside each other; name at least two of them, "
            "Single-KL (single_kl) or Dual (dual) among them"
        )
    return pd.concat(tables, ignore_index=True)
