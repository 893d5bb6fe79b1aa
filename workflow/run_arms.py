"""Train arms of the experiment on hierarchy on a build's cohort: a job of the build graph.

A finished run of today's code, settings and knees stays as it is. Last of all comes the job's mark
(:mod:`workflow.jobs`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from oacore.data.cohort import graded, read_cohort, require_trainable
from oacore.instruments.hierarchy.grid import arms_asked, arms_folder, configurations
from oacore.instruments.hierarchy.runs import cohort_of, forget_stale, run, run_path
from oacore.instruments.hierarchy.volumes import plan_of, volumes_cohort
from oacore.profile import Profile, load_profile
from oacore.training.device import choose_accelerator
from workflow.jobs import add_part, do, mark, write_mark


def job(backbone: str, part: int) -> str:
    """What the mark of a job is called."""
    return f"arms.{backbone}.{part}"


def run_part(
    backbone: str,
    part: int,
    arms: tuple[str, ...],
    *,
    profile: Profile,
    cohort: Path,
    build: Path,
    threads: int = 1,
) -> Path:
    """Do one job, and leave its mark.

    Parameters
    ----------
    backbone : str
        Of the profile.
    part : int
        Of :func:`.grid.configurations`.
    arms : tuple of str
    profile : Profile
    cohort, build : Path
        The knees; and the folder with the ``cache``.
    threads : int

    Returns
    -------
    Path
        The mark.

    Raises
    ------
    InputError
        If something cannot be used; what was finished before stays.
    """
    require_trainable(graded(read_cohort(cohort)))
    recipe, folder = profile.recipe(backbone), arms_folder(build, backbone)
    places = (cohort, build / "cache", recipe.grid, recipe.resample)
    table = configurations(profile, arms)
    own = table[(table["backbone"] == backbone) & (table["part"] == part)]
    made = []
    for arm, seed in zip(own["arm"], own["seed"], strict=True):
        plan = plan_of(recipe, [arm], [seed])
        forget_stale(plan, cohort_of(volumes_cohort, places), folder)
        run(
            *(plan, volumes_cohort, places, folder),
            device=choose_accelerator("auto"),
            threads=threads,
        )
        made.append(run_path(folder, plan.network.cell, arm, seed))
    file = mark(build, job(backbone, part))
    write_mark(file, made, build)
    return file


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone")
    add_part(parser)
    parser.add_argument("--arms", required=True)
    given = parser.parse_args(words)
    return do(
        given.build,
        job(given.backbone, given.part),
        lambda: run_part(
            *(given.backbone, given.part, arms_asked(given.arms)),
            profile=load_profile(given.profile),
            cohort=given.cohort,
            build=given.build,
            threads=given.threads,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
