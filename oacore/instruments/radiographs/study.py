"""All runs of a study, each of which is an arm with a seed (:mod:`.radiographs.arms`).

A study's arms are trained with several seeds on one set of radiographs; they differ in nothing but
what their row says. ``python -m oacore.instruments.radiographs.study NAME SOURCE FOLDER --workers
N`` trains what is missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import torch
from safetensors.numpy import load_file

from oacore.errors import InputError
from oacore.files import in_processes
from oacore.instruments.radiographs.arms import Arm, Study, load_study, run_folder
from oacore.instruments.radiographs.cases import Radiographs, read_radiographs
from oacore.instruments.radiographs.detected import LANDMARKS, find_landmarks
from oacore.instruments.radiographs.told import as_frequent, coherence_loss, readings_of, told_of
from oacore.training.pictures import Pictures, settings_of, train
from oacore.training.resuming import is_finished


def read_study(study: Study, source: str | Path) -> Radiographs:
    """The radiographs of a study in its size."""
    return read_radiographs(source, height=study.height, width=study.width, crop=study.crop)


def train_arm(
    study: Study, arm: Arm, seed: int, pictures: Pictures, folder: str | Path, quiet: bool = False
) -> Path:
    """Train one arm with one seed, or find it done: see :func:`.pictures.train`.

    Parameters
    ----------
    study, arm, seed
    pictures : Pictures
        Of the study, with landmarks.
    folder : path-like
        Of the run.
    quiet : bool
    """
    own = told_of(arm, seed, pictures)
    loss = None
    if arm.coherence != "none":
        grades = readings_of(own.cases)
        if arm.coherence == "reweighted mixture":
            grades = as_frequent(grades, own.cases, seed)
        loss = coherence_loss(arm, grades, seed)
    return train(study.config(arm, seed), own, folder, loss, quiet=quiet)


def run_study(
    name: str,
    source: str | Path,
    folder: str | Path,
    workers: int = 1,
    detector: str | Path | None = None,
    seeds: Sequence[int] | None = None,
    arms: Sequence[str] | None = None,
) -> None:
    """Train all runs of a study that are not finished, in processes of one thread each.

    Parameters
    ----------
    name : str
        See :func:`load_study`.
    source : path-like
        The radiographs, see :func:`.cases.read_radiographs`.
    folder : path-like
        Of the study.
    workers : int
        Processes.
    detector : path-like, optional
        See :func:`find_landmarks`.
    seeds : sequence of int, optional
        Of the study's; all by default.
    arms : sequence of str, optional
        Likewise.

    Raises
    ------
    InputError
        If the study has no such arm, or the folder holds a finished run of other settings or
        pictures, or a damaged one.

    Notes
    -----
    Seeds go one after another, each through all arms, so that what is finished when one stops it
    can be compared. The bar tells how many runs are done and how long the rest will take.
    """
    torch.set_num_threads(1)  # by which the detector's landmarks are the same to the bit
    study = load_study(name)
    if unknown := sorted(set(arms or ()) - set(study.arms)):
        known = ", ".join(study.arms)
        raise InputError(f"study {name} has no arm {', '.join(unknown)}: choose of {known}")
    radiographs = read_study(study, source)
    landmarks = find_landmarks(study, radiographs, folder, detector)
    pictures = Pictures(radiographs.cases, radiographs.pictures, landmarks)
    runs = [(arm, seed) for seed in seeds or study.seeds for arm in arms or study.arms]
    waiting = []
    for name_of_arm, seed in runs:
        arm = study.arms[name_of_arm]
        settings = settings_of(study.config(arm, seed), told_of(arm, seed, pictures))
        if not is_finished(run_folder(folder, arm.name, seed), settings):
            waiting.append((arm.name, seed))
    work = partial(_run, name, str(source), str(folder))
    in_processes(work, waiting, workers, f"study {name}", "run", done=len(runs) - len(waiting))


def _run(name: str, source: str, folder: str, run: tuple[str, int]) -> None:
    """One run, in a process that has read the pictures once."""
    torch.set_num_threads(1)
    arm, seed = run
    study = load_study(name)
    pictures = _pictures(name, source, folder)
    train_arm(study, study.arms[arm], seed, pictures, run_folder(folder, arm, seed), quiet=True)


@lru_cache(maxsize=1)
def _pictures(name: str, source: str, folder: str) -> Pictures:
    """What the runs of a study are given; its landmarks are there."""
    radiographs = read_study(load_study(name), source)
    landmarks = load_file(Path(folder, LANDMARKS))["landmarks"]
    return Pictures(radiographs.cases, radiographs.pictures, landmarks)


def main(arguments: list[str] | None = None) -> int:
    """Command line: train a study's runs."""
    parser = argparse.ArgumentParser(
        prog="python -m oacore.instruments.radiographs.study", description=__doc__
    )
    parser.add_argument("name", help="a study of studies.yml")
    parser.add_argument("source", help="the radiographs: the public set, or a folder of one's own")
    parser.add_argument("folder", help="where detector, landmarks and runs go")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--detector", help="weights of a detector that was trained before")
    parser.add_argument("--seeds", type=int, nargs="+", help="some of the study's (default: all)")
    parser.add_argument("--arms", nargs="+", help="some of the study's (default: all)")
    given = parser.parse_args(arguments)
    try:
        run_study(
            *(given.name, given.source, given.folder, given.workers, given.detector),
            seeds=given.seeds,
            arms=given.arms,
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
