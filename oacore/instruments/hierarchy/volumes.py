"""A cohort of volumes under the arms: what is read of it, and the plan of a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oacore.data.cache import cached_volumes
from oacore.data.cohort import graded, read_cohort
from oacore.instruments.hierarchy.runs import SplitPlan
from oacore.instruments.hierarchy.split import ImageNetwork, SplitCohort
from oacore.profile import Recipe


def plan_of(recipe: Recipe, arms: Sequence[str], seeds: Sequence[int]) -> SplitPlan:
    """Arms in place of a recipe's supervisions, with its encoder and its protocol.

    All arms are computed in 32 bits, and evaluated with statistics of batch normalisation that are
    re-estimated: else a difference of arms could be one of stale statistics.
    """
    network = ImageNetwork(
        recipe.backbone, recipe.encoder, recipe.epochs, recipe.batch_size, recipe.lr,
        recipe.weight_decay, recipe.schedule,
    )  # fmt: skip
    return SplitPlan(network, tuple(arms), tuple(seeds))


def volumes_cohort(
    folder: str | Path, cache: str | Path, grid: tuple[int, int, int], resample: str
) -> SplitCohort:
    """The graded knees of a cohort as a backbone sees them.

    Parameters
    ----------
    folder : path-like
        Of the cohort, see :func:`.cohort.read_cohort`.
    cache : path-like
        Where its volumes are cached, see :func:`.cache.cached_volumes`.
    grid, resample
        See :func:`.cache.cached_volumes`.

    Returns
    -------
    SplitCohort
        Its cases have ``male`` and ``age`` (years).

    Raises
    ------
    InputError
        If a file cannot be used.
    """
    cases = graded(read_cohort(folder))
    volumes = cached_volumes(cases, grid, resample, cache)
    table = cases[["split", "kl", "age"]].assign(
        case=cases["case_id"].astype(str), male=cases["sex"].map({"female": 0, "male": 1})
    )
    return SplitCohort(volumes.images, table)
