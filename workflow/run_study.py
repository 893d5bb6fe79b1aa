"""Train what is missing of a build's study of radiographs: a job of the build graph.

A finished run of today's code, settings and pictures stays as it is, and one that was interrupted
goes on from its last epoch. Last of all comes the job's mark (:mod:`workflow.jobs`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from oacore.instruments.radiographs.arms import run_folder, study_folder, study_of
from oacore.instruments.radiographs.public import require_radiographs
from oacore.instruments.radiographs.study import run_study
from oacore.training.device import choose_accelerator
from workflow.jobs import do, mark, write_mark


def run(
    profile: str, build: Path, drawn: Path, *, real: str = "", oarsi: str = "", workers: int = 1
) -> Path:
    """Do the job, and leave its mark.

    Parameters
    ----------
    profile : str
        See :func:`.arms.study_of`.
    build : Path
        Gets the runs, in :func:`.arms.study_folder`.
    drawn : Path
        Drawn radiographs: what is trained on, unless there are real ones.
    real : str
        A user's own; empty for none.
    oarsi : str
        OAI's table, which is joined where the real ones are laid out as the public set; empty for
        none.
    workers : int
        Processes; on a GPU one run is trained at a time.

    Returns
    -------
    Path
        The mark.

    Raises
    ------
    InputError
        If something cannot be used; what was finished before stays.
    """
    study, folder = study_of(profile), study_folder(build, real)
    joined = bool(real and oarsi) and require_radiographs(real)
    run_study(
        *(study.name, real or drawn, folder),
        1 if choose_accelerator("auto") == "cuda" else workers,
        oarsi=oarsi if joined else None,
        drawn=drawn,
        renew=True,
    )
    runs = (run_folder(folder, arm, seed) for seed in study.seeds for arm in study.arms)
    file = mark(build, folder.name)
    write_mark(file, runs, build)
    return file


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drawn", type=Path)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--real", default="")
    parser.add_argument("--oarsi", default="")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(words)
    own = {"real": given.real, "oarsi": given.oarsi, "workers": given.workers}
    return do(
        given.build,
        study_folder(given.build, given.real).name,
        lambda: run(given.profile, given.build, given.drawn, **own),
    )


if __name__ == "__main__":
    sys.exit(main())
