"""The experiment on the phantom: the cohort, its settings, and what is run.

Settings are those of ResNet3D in the profile ``record``, whose knees these are too:
``oacore phantom COHORT --profile record`` draws them.
"""

from __future__ import annotations

from pathlib import Path

from oacore.data.cache import cached_volumes
from oacore.data.cohort import graded, read_cohort
from oacore.errors import InputError
from oacore.instruments.hierarchy.runs import SplitPlan
from oacore.instruments.hierarchy.split import ImageNetwork, SplitCohort
from oacore.profile import Recipe, load_profile

#: Arms of the design for this cohort.
ARMS_ON_PHANTOM = ("single_kl", "dual", "shuffled", "two_kl", "again")
#: Fewest test knees that the design asks for.
TEST_KNEES = 1000
_PROFILE = "record"


def phantom_cohort(folder: str | Path, cache: str | Path) -> SplitCohort:
    """A phantom's graded knees as ResNet3D sees them.

    Parameters
    ----------
    folder : path-like
        Of the cohort, see :func:`.cohort.read_cohort`.
    cache : path-like
        Where its volumes are cached, see :func:`.cache.cached_volumes`.

    Returns
    -------
    SplitCohort
        Its cases have ``male`` and ``age`` (years).

    Raises
    ------
    InputError
        If a file cannot be used, or there are fewer test knees than `TEST_KNEES`.
    """
    cases = graded(read_cohort(folder))
    if (tested := int((cases["split"] == "test").sum())) < TEST_KNEES:
        raise InputError(
            f"{folder}: has {tested} graded test knees, and the design asks for {TEST_KNEES:,}; "
            f"draw them with `oacore phantom FOLDER --profile {_PROFILE}`"
        )
    recipe = _recipe()
    volumes = cached_volumes(cases, recipe.grid, recipe.resample, cache)
    table = cases[["split", "kl", "age"]].assign(
        case=cases["case_id"].astype(str), male=cases["sex"].map({"female": 0, "male": 1})
    )
    return SplitCohort(volumes.images, table)


def phantom_plan() -> SplitPlan:
    """What is run on the phantom."""
    recipe = _recipe()
    network = ImageNetwork(
        recipe.backbone, recipe.encoder, recipe.epochs, recipe.batch_size, recipe.lr,
        recipe.weight_decay, recipe.schedule,
    )  # fmt: skip
    return SplitPlan(network, ARMS_ON_PHANTOM, tuple(range(5)))


def _recipe() -> Recipe:
    return load_profile(_PROFILE).recipe("resnet3d")
