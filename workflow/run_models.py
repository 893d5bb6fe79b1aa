"""Train, or explain, some runs of a model in one process: a job of the build graph.

Loading PyTorch and MONAI takes as long as some runs. What is finished already, by today's code and
settings, stays as it is; so a job that was killed, or is given one seed more, goes on from there.
Last of all comes the job's mark, which names its runs (:mod:`workflow.jobs`).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import torch

from oacore.data.cache import cached_volumes
from oacore.data.cohort import graded, is_phantom, read_cohort, require_trainable
from oacore.instruments.saliency.explain import METHODS, explain
from oacore.profile import Profile, load_profile
from oacore.training.config import run_config
from oacore.training.device import choose_accelerator
from oacore.training.loop import code_of, settings_of, train
from oacore.training.records import run_folder
from oacore.training.resuming import is_of
from workflow.jobs import add_part, do, mark, write_mark


def run_all(
    kind: str, model: str, part: int, *, profile: Profile, cohort: Path, build: Path
) -> None:
    """Do one job, and leave its mark.

    Parameters
    ----------
    kind : {"runs", "variants", "controls", "explained"}
        What is trained; or "explained", the runs whose saliency is measured.
    model : str
        Of the profile.
    part : int
        Which of its :meth:`.profile.Profile.parts`.
    profile : Profile
    cohort, build : Path
        The knees; and the folder with the ``cache``.

    Raises
    ------
    InputError
        If something cannot be used; what was finished before stays.
    """
    recipe = profile.recipe(model)
    cases = graded(read_cohort(cohort))
    volumes = cached_volumes(cases, recipe.grid, recipe.resample, build / "cache")
    folders = []
    for supervision, seed in profile.parts(model)[part]:
        folder = run_folder(build / kind, model, supervision, seed)
        if kind == "explained":
            control = profile.control(model, supervision, seed)
            explain(
                run_folder(build / "runs", model, supervision, seed),
                cases,
                volumes,
                folder,
                lesions=is_phantom(cohort),
                # The released method takes eight passes; the first seed speaks for the others.
                methods=METHODS if seed == recipe.seeds[0] else METHODS[:1],
                permuted=control and run_folder(build / "controls", control, supervision, seed),
                device=choose_accelerator("auto"),
            )
        else:
            require_trainable(cases)
            config = run_config(recipe, supervision, seed)
            now = {**settings_of(config, cases, volumes), "code": code_of(config.backbone)}
            if (folder / "done.json").exists() and not is_of(folder / "done.json", now):
                shutil.rmtree(folder)  # a finished run of other settings or code
            train(config, cases, volumes, folder)
        folders.append(folder)
    write_mark(mark(build, f"{kind}.{model}.{part}"), folders, build)


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["runs", "variants", "controls", "explained"])
    parser.add_argument("model")
    add_part(parser)
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    return do(
        options.build,
        f"{options.kind}.{options.model}.{options.part}",
        lambda: run_all(
            *(options.kind, options.model, options.part),
            profile=load_profile(options.profile),
            cohort=options.cohort,
            build=options.build,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
