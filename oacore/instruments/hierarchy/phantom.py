"""The experiment on the phantom: the cohort, its settings, and what is run.

Settings are those of ResNet3D in the profile ``record``, whose knees these are too:
``oacore phantom COHORT --profile record`` draws them.
"""

from __future__ import annotations

from pathlib import Path

from oacore.errors import InputError
from oacore.instruments.hierarchy.grid import MAIN
from oacore.instruments.hierarchy.runs import SplitPlan
from oacore.instruments.hierarchy.split import SplitCohort
from oacore.instruments.hierarchy.volumes import plan_of, volumes_cohort
from oacore.profile import Recipe, load_profile

#: Fewest test knees that the design asks for.
TEST_KNEES = 1000
_PROFILE = "record"


def phantom_cohort(folder: str | Path, cache: str | Path) -> SplitCohort:
    """A phantom's graded knees as ResNet3D sees them; see :func:`.volumes.volumes_cohort`.

    Raises
    ------
    InputError
        If a file cannot be used, or there are fewer test knees than `TEST_KNEES`.
    """
    recipe = _recipe()
    cohort = volumes_cohort(folder, cache, recipe.grid, recipe.resample)
    if (tested := int((cohort.cases["split"] == "test").sum())) < TEST_KNEES:
        raise InputError(
            f"{folder}: has {tested} graded test knees, and the design asks for {TEST_KNEES:,}; "
            f"draw them with `oacore phantom FOLDER --profile {_PROFILE}`"
        )
    return cohort


def phantom_plan() -> SplitPlan:
    """What is run on the phantom."""
    return plan_of(_recipe(), MAIN, range(5))


def _recipe() -> Recipe:
    return load_profile(_PROFILE).recipe("resnet3d")
