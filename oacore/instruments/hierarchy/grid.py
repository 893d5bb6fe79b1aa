"""The arms that a build trains on its own cohort: each backbone, arm and seed asked for.

PyTorch, which takes seconds to load, is not needed for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from oacore.errors import InputError
from oacore.instruments.hierarchy.arms import ARMS, arm_of
from oacore.profile import Profile

#: The arms of the primary contrasts, and Single-KL once more, which tells what a seed does.
MAIN = ("single_kl", "dual", "shuffled", "two_kl", "again")
#: What no cohort of volumes has, and so no arm of it.
_LACKING = ("quality",)


def arms_asked(text: str) -> tuple[str, ...]:
    """Arms as one writes them: "" for none, "main", "all", or names between commas or spaces.

    Raises
    ------
    InputError
        If there is no such arm, or one is of something that no table of a cohort has.
    """
    names = tuple(dict.fromkeys(text.replace(",", " ").split()))
    if names == ("main",):
        return MAIN
    if names == ("all",):
        return tuple(name for name, arm in ARMS.items() if arm.second not in _LACKING)
    for name in names:
        if arm_of(name).second in _LACKING:
            raise InputError(f"the arm {name!r} needs radiomics; leave it out")
    return names


def configurations(profile: Profile, arms: Sequence[str]) -> pd.DataFrame:
    """Everything that is trained, a row a run.

    Parameters
    ----------
    profile : Profile
    arms : sequence of str
        Keys of :data:`.arms.ARMS`.

    Returns
    -------
    DataFrame
        `backbone`, `seed`, `arm`, and `part`, the job that trains it: as many for each backbone as
        the profile divides runs among. Seeds before arms, so that what is finished is comparable.
    """
    rows = []
    for backbone, recipe in profile.backbones.items():
        runs = [(seed, name) for seed in recipe.seeds for name in arms]
        jobs = min(profile.jobs, len(runs))
        rows += [
            {"backbone": backbone, "seed": seed, "arm": name, "part": place % jobs}
            for place, (seed, name) in enumerate(runs)
        ]
    return pd.DataFrame(rows, columns=["backbone", "seed", "arm", "part"])


def arms_folder(build: str | Path, backbone: str) -> Path:
    """Where a build keeps the runs of a backbone's arms."""
    return Path(build, "arms", backbone)


def arms_status(build: str | Path, profile: Profile) -> list[str]:
    """Say how many runs of arms a build has, a line a backbone; none if it has none."""
    said = []
    for backbone in profile.backbones:
        runs = list(arms_folder(build, backbone).glob("*/*/seed*.npz"))
        arms = {path.parent.name for path in runs}
        if runs:
            said.append(f"Arms of {backbone}: {len(runs)} runs of {len(arms)} arms trained")
    return said
