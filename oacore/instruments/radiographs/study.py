"""All runs of a study, each of which is an arm with a seed (:mod:`.radiographs.arms`).

A study's arms are trained with several seeds on one set of radiographs; they differ in nothing but
what their row says. ``python -m oacore.instruments.radiographs.study NAME SOURCE FOLDER --workers
N`` trains what is missing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.numpy import load_file

from oacore.errors import InputError
from oacore.files import in_processes, write
from oacore.fingerprint import ROOT, code_digest, fingerprint
from oacore.instruments.coherence.patterns import GRADES
from oacore.instruments.radiographs.arms import (
    CASES,
    LANDMARKS,
    LOSSES,
    Arm,
    Study,
    load_study,
    run_folder,
)
from oacore.instruments.radiographs.cases import Radiographs, read_radiographs
from oacore.instruments.radiographs.detected import (
    detector_of_drawn,
    find_landmarks,
    to_learn_from,
)
from oacore.instruments.radiographs.told import as_frequent, coherence_loss, readings_of, told_of
from oacore.seals import SEAL, require, seal
from oacore.training.pictures import Pictures, settings_of, train
from oacore.training.resuming import is_finished, is_of


def read_study(study: Study, source: str | Path, oarsi: str | Path | None = None) -> Radiographs:
    """The radiographs of a study in its size; see :func:`.cases.read_radiographs`."""
    return read_radiographs(
        source, height=study.height, width=study.width, crop=study.crop, oarsi=oarsi
    )


def study_cases(folder: str | Path) -> pd.DataFrame:
    """The cases that a study was trained on, without their pictures.

    Parameters
    ----------
    folder : path-like
        Of the study.

    Returns
    -------
    DataFrame
        As the `cases` of :class:`.cases.Radiographs`.

    Raises
    ------
    InputError
        If there is no study yet, or this table of it is damaged.
    """
    path = Path(folder, CASES)
    if not path.is_file():
        raise InputError(f"{folder}: holds no study; `make book` trains it")
    require(f"{path}.{SEAL}", CASES, cure=f"remove {path} and run make book again")
    words = dict.fromkeys(("case", "person", "side", "split"), "str")
    kinds = {**words, **dict.fromkeys(GRADES, "Int64")}
    return pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])


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
    *,
    oarsi: str | Path | None = None,
    drawn: str | Path | None = None,
    renew: bool = False,
) -> None:
    """Train all runs of a study that are not finished, in processes of one thread each.

    Parameters
    ----------
    name : str
        See :func:`.arms.load_study`.
    source : path-like
        The radiographs, see :func:`.cases.read_radiographs`.
    folder : path-like
        Of the study.
    workers : int
        Processes.
    detector : path-like, optional
        See :func:`.detected.find_landmarks`.
    seeds : sequence of int, optional
        Of the study's; all by default.
    arms : sequence of str, optional
        Likewise.
    oarsi : path-like, optional
        OAI's table, as :func:`.cases.read_radiographs` takes it.
    drawn : path-like, optional
        Drawn radiographs, on which a detector is trained where `source` has no landmarks.
    renew : bool
        Whether a finished run of other settings, pictures or code is trained again; otherwise it is
        an error, or of other code taken as it is.

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
    study, folder = load_study(name), Path(folder)
    if unknown := sorted(set(arms or ()) - set(study.arms)):
        known = ", ".join(study.arms)
        raise InputError(f"study {name} has no arm {', '.join(unknown)}: choose of {known}")
    radiographs = read_study(study, source, oarsi)
    _require_grades(radiographs.cases, source)
    if detector is None and drawn is not None and not to_learn_from(radiographs).any():
        detector = detector_of_drawn(study, drawn, folder / "drawn")
    landmarks = find_landmarks(study, radiographs, folder, detector)
    write(folder / CASES, radiographs.cases.to_csv(index=False))
    seal(folder / f"{CASES}.{SEAL}", [folder / CASES])
    if renew:
        _forget_other_losses(study, folder)
    pictures = Pictures(radiographs.cases, radiographs.pictures, landmarks)
    runs = [(arm, seed) for seed in seeds or study.seeds for arm in arms or study.arms]
    waiting = []
    for name_of_arm, seed in runs:
        arm, place = study.arms[name_of_arm], run_folder(folder, name_of_arm, seed)
        settings = settings_of(study.config(arm, seed), told_of(arm, seed, pictures))
        if renew:
            _forget_another(place, settings)
        if not is_finished(place, settings):
            waiting.append((arm.name, seed))
    work = partial(_run, name, str(source), str(folder), oarsi)
    if workers == 1:  # this process has read the pictures
        work = partial(_train_one, study, pictures, folder)
    in_processes(work, waiting, workers, f"study {name}", "run", done=len(runs) - len(waiting))


def _require_grades(cases: pd.DataFrame, source: str | Path) -> None:
    """Stop where nobody read one of the seven grades: there is a head for each."""
    train = cases[cases["split"] == "train"]
    if lacking := [name for name in GRADES if train[name].isna().all()]:
        raise InputError(
            f"{source}: no training case has {', '.join(lacking)}, and a study is of all seven "
            "grades; those of the public set are in OAI's table kxr_sq_bu00, which `oacore fetch "
            "references` gets"
        )


def _forget_another(run: Path, settings: dict[str, Any]) -> None:
    """Remove a finished run of other settings, pictures or code, to be trained again."""
    now = {**settings, "code": fingerprint("oacore.training.pictures")}
    if (run / "done.json").exists() and not is_of(run / "done.json", now):
        shutil.rmtree(run)


def _forget_other_losses(study: Study, folder: Path) -> None:
    """Remove runs with a loss of coherence of other code, of which no run keeps a fingerprint."""
    # Not all that `told` imports: a further arm changes no other's loss.
    losses = [f"oacore.instruments.coherence.{name}" for name in ("mixture", "joint")]
    told = code_digest(ROOT / "oacore/instruments/radiographs/told.py")
    now, record = f"{fingerprint(*losses)} {told}", folder / LOSSES
    if record.exists() and record.read_text() != now:
        for arm in (arm for arm in study.arms.values() if arm.coherence != "none"):
            shutil.rmtree(folder / "runs" / arm.name, ignore_errors=True)
    write(record, now)


def _train_one(study: Study, pictures: Pictures, folder: Path, run: tuple[str, int]) -> None:
    """One run, by the name of its arm and its seed."""
    arm, seed = run
    train_arm(study, study.arms[arm], seed, pictures, run_folder(folder, arm, seed), quiet=True)


def _run(
    name: str, source: str, folder: str, oarsi: str | Path | None, run: tuple[str, int]
) -> None:
    """One run, in a process that has read the pictures once."""
    torch.set_num_threads(1)
    _train_one(load_study(name), _pictures(name, source, folder, oarsi), Path(folder), run)


@lru_cache(maxsize=1)
def _pictures(name: str, source: str, folder: str, oarsi: str | Path | None) -> Pictures:
    """What the runs of a study are given; its landmarks are there."""
    radiographs = read_study(load_study(name), source, oarsi)
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
