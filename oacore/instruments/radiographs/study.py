"""The second paper's experiment: which arms there are, and all of their runs.

A study is a table of arms (``studies.yml``), each trained with several seeds on one set of
radiographs; arms differ in nothing but what their row says. ``python -m
oacore.instruments.radiographs.study NAME SOURCE FOLDER --workers N`` trains what is missing.

Every picture gets its landmarks from a detector, training and test pictures alike, as in the paper.
What belongs together is learned from the grades of the labelled training pictures that have all
seven; nothing else is known of hidden grades, by any arm.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from safetensors.numpy import load_file, save_file

from oacore.errors import InputError
from oacore.files import in_processes, saving, whole, write
from oacore.fingerprint import fingerprint
from oacore.instruments.coherence.joint import fit_joint, given_kl, joint_loss, levelled
from oacore.instruments.coherence.mixture import fit_mixture, mixture_loss
from oacore.instruments.coherence.patterns import GRADES, SIZES
from oacore.instruments.radiographs.cases import Radiographs, read_radiographs
from oacore.instruments.radiographs.detector import (
    detect,
    fit_detector,
    landmark_errors,
    read_detector,
    save_detector,
)
from oacore.training.picture_losses import Coherence
from oacore.training.pictures import PictureConfig, Pictures, settings_of, train
from oacore.training.resuming import is_finished

#: Landmarks of the compartment that an osteophyte is graded in; KL and narrowing have all of them.
#: t4, between the two spines, and f3, in the notch between the condyles, belong to neither side.
COMPARTMENTS = {
    "osteophyte_fl": [9, 10, 11],
    "osteophyte_fm": [13, 14, 15],
    "osteophyte_tl": [0, 1, 2, 3],
    "osteophyte_tm": [5, 6, 7, 8],
}
#: Losses of grades that do not belong together: none; the paper's; the paper's with readings as
#: frequent as their KL is in training; the exact joint distribution's with the KL rule; the same
#: given KL; and that in proportion to what is usual there.
COHERENCES = ("none", "mixture", "reweighted mixture", "joint", "given kl", "levelled")
#: In the study's folder: the detector, the landmarks that it found, and how far off they are.
DETECTOR, LANDMARKS, ERRORS = "detector.safetensors", "landmarks.safetensors", "landmarks.json"


@dataclass(frozen=True)
class Arm:
    """One row of a study's table.

    Attributes
    ----------
    name : str
    depth : int
        Of the residual network.
    pooling : {"global", "keypoints"}
    coherence : str
        One of `COHERENCES`.
    tau : float
        Temperature of the paper's loss.
    weight : float
        Of the loss of coherence beside the seven cross-entropies; the paper names none.
    warm_up : int
        Epochs before the loss of coherence sets in.
    labelled : float
        Share of the training people whose grades are looked at.
    regression : float
        Weight of a scalar beside each grade; 0 is without.
    """

    name: str
    depth: int
    pooling: str = "global"
    coherence: str = "none"
    tau: float = 0.5
    weight: float = 1.0
    warm_up: int = 1
    labelled: float = 1.0
    regression: float = 0.0


@dataclass(frozen=True)
class Study:
    """A set of arms on pictures of one size.

    Attributes
    ----------
    name : str
    height, width : int
        Of the pictures, in pixels.
    crop : (float, float)
        Shares of height and width that are kept.
    seeds : tuple of int
    detector : dict
        `epochs` and `seed` of the landmark detector.
    encoder : dict
        Settings of the network that all arms share.
    training : dict
        Settings of :class:`.pictures.PictureConfig` that all arms share.
    arms : dict of str to Arm
    """

    name: str
    height: int
    width: int
    crop: tuple[float, float]
    seeds: tuple[int, ...]
    detector: dict[str, int]
    encoder: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    arms: dict[str, Arm] = field(default_factory=dict)

    def config(self, arm: Arm, seed: int) -> PictureConfig:
        """Settings of one run."""
        keypoints = arm.pooling == "keypoints"
        coherence: dict[str, Any] = {}
        if arm.coherence != "none":
            coherence = {"kind": arm.coherence}
            if arm.coherence.endswith("mixture"):
                coherence["tau"] = arm.tau
        return PictureConfig(
            seed=seed,
            heads=dict(SIZES),
            encoder={**self.encoder, "depth": arm.depth, "stages": 3 if keypoints else 4},
            pooling=arm.pooling,
            compartments=COMPARTMENTS if keypoints else {},
            regression=arm.regression,
            coherence=coherence,
            coherence_weight=arm.weight,
            warm_up=arm.warm_up,
            **self.training,
        )


def load_study(name: str) -> Study:
    """Read one study from ``studies.yml``.

    Parameters
    ----------
    name : str
        "smoke", "laptop", "real" or "paper".

    Raises
    ------
    InputError
        If there is no such study, or an arm has a setting that no arm has.
    """
    text = (files("oacore.instruments.radiographs") / "studies.yml").read_text(encoding="utf-8")
    studies = yaml.safe_load(text)
    if name not in studies:
        raise InputError(f"there is no study {name!r}: choose one of {', '.join(studies)}")
    given = studies[name]
    known = {one.name for one in fields(Arm)}
    arms = {}
    for arm, row in given["arms"].items():
        if strange := sorted(set(row) - known):
            raise InputError(f"studies.yml, {name}: arm {arm} has the unknown {strange[0]!r}")
        arms[arm] = Arm(**{"name": arm, "depth": given["depth"], **row})
        if arms[arm].coherence not in COHERENCES:
            raise InputError(
                f"studies.yml, {name}: arm {arm} has the coherence {arms[arm].coherence!r}; choose "
                f"one of {', '.join(COHERENCES)}"
            )
    training = dict(given["training"])
    if "halved_after" in training:
        training["halved_after"] = tuple(training["halved_after"])
    return Study(
        name=name,
        height=given["height"],
        width=given["width"],
        crop=tuple(given["crop"]),
        seeds=tuple(given["seeds"]),
        detector=given["detector"],
        encoder=given["encoder"],
        training=training,
        arms=arms,
    )


def arm_table(study: Study) -> pd.DataFrame:
    """The arms of a study as a table, a row each."""
    return pd.DataFrame([asdict(arm) for arm in study.arms.values()])


def run_folder(folder: str | Path, arm: str, seed: int) -> Path:
    """Where a run lies in a study's folder."""
    return Path(folder, "runs", arm, f"seed{seed}")


def read_study(study: Study, source: str | Path) -> Radiographs:
    """The radiographs of a study in its size."""
    return read_radiographs(source, height=study.height, width=study.width, crop=study.crop)


def find_landmarks(
    study: Study, radiographs: Radiographs, folder: str | Path, detector: str | Path | None = None
) -> np.ndarray:
    """Landmarks of all pictures, detected once for all runs of a study.

    Parameters
    ----------
    study : Study
    radiographs : Radiographs
        In its size.
    folder : path-like
        Of the study. Gets the detector, the landmarks, and their errors against the reference's by
        split; what is there of the same pictures and settings is taken as it is.
    detector : path-like, optional
        Weights of one that was trained before. Without it one is trained on the training pictures
        that have landmarks.

    Returns
    -------
    (n, 16, 2) array of float32

    Raises
    ------
    InputError
        If no training picture has landmarks, and no detector is named.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    given = None if detector is None else _digest(Path(detector).read_bytes())
    key = {
        "pictures": _digest(radiographs.pictures.tobytes() + radiographs.landmarks.tobytes()),
        "detector": study.detector if given is None else given,
        "code": fingerprint("oacore.instruments.radiographs.detector"),
    }
    record = folder / ERRORS
    if record.exists() and json.loads(record.read_text())["key"] == key:
        return load_file(folder / LANDMARKS)["landmarks"]
    if detector is None:
        there = ~np.isnan(radiographs.landmarks).any(axis=(1, 2))
        rows = there & (radiographs.cases["split"] == "train").to_numpy()
        if not rows.any():
            raise InputError(
                "no training picture has landmarks, so no detector can be trained; name one that "
                "was trained on others (--detector FILE)"
            )
        model = fit_detector(
            radiographs.pictures[rows], radiographs.landmarks[rows], **study.detector
        )
    else:
        model = read_detector(detector)
    save_detector(model, folder / DETECTOR)
    found = detect(model, radiographs.pictures)
    with saving(folder / LANDMARKS), whole(folder / LANDMARKS) as part:
        save_file({"landmarks": found}, part)
    errors = {
        split: landmark_errors(*_of_split(radiographs, found, split)).to_dict("records")
        for split in radiographs.cases["split"].unique()
    }
    write(record, json.dumps({"key": key, "errors": errors}, indent=1))
    return found


def labelled_rows(cases: pd.DataFrame, share: float, seed: int) -> np.ndarray:
    """Which cases' grades may be looked at: all of a share of the training people.

    Parameters
    ----------
    cases : DataFrame
        `person`, `split`.
    share : float
        Above 0, at most 1. The people of a smaller share are among those of a larger one.
    seed : int

    Returns
    -------
    (n,) bool array
        True for all cases of other splits.
    """
    people = np.sort(cases.loc[cases["split"] == "train", "person"].unique())
    order = np.random.default_rng([seed, len(people)]).permutation(people)
    told = order[: max(1, round(share * len(people)))]
    return (cases["person"].isin(told) | (cases["split"] != "train")).to_numpy()


def readings_of(cases: pd.DataFrame) -> np.ndarray:
    """Grades of the labelled training cases that have all seven, (n, 7), in the order of `GRADES`.

    Raises
    ------
    InputError
        If there is none.
    """
    told = cases[(cases["split"] == "train") & cases["labelled"]]
    complete = told[list(GRADES)].dropna()
    if complete.empty:
        raise InputError(
            "no labelled training case has all seven grades, so nothing tells which belong together"
        )
    return complete.to_numpy(np.int64)


def as_frequent(grades: np.ndarray, cases: pd.DataFrame, seed: int) -> np.ndarray:
    """As many readings, drawn so that KL is as frequent as among all labelled training cases.

    Readings with all seven grades are not: osteophytes are read only in people who have KL 2 or
    more at some visit, so that KL 0 is rare among them.

    Parameters
    ----------
    grades : ndarray of int, shape (n, 7)
        See :func:`readings_of`.
    cases : DataFrame
        `split`, `labelled`, `kl`.
    seed : int

    Returns
    -------
    ndarray of int, shape (n, 7)
    """
    told = cases[(cases["split"] == "train") & cases["labelled"]]["kl"].to_numpy(np.int64)
    own = grades[:, list(GRADES).index("kl")]
    wanted, there = (np.bincount(kl, minlength=SIZES["kl"]) for kl in (told, own))
    chance = (wanted / np.maximum(there, 1))[own]
    rng = np.random.default_rng(seed)
    return grades[rng.choice(len(grades), len(grades), p=chance / chance.sum())]


def coherence_loss(arm: Arm, grades: np.ndarray, seed: int) -> Coherence | None:
    """The loss of an arm for grades that do not belong together, fitted to some readings."""
    if arm.coherence == "none":
        return None
    if arm.coherence.endswith("mixture"):
        return mixture_loss(fit_mixture(grades, seed=seed), arm.tau)
    joint = fit_joint(grades)
    changed = {"joint": lambda one: one, "given kl": given_kl, "levelled": levelled}
    return joint_loss(changed[arm.coherence](joint))


def told_of(arm: Arm, seed: int, pictures: Pictures) -> Pictures:
    """The pictures as a run is given them: with the grades that it may look at."""
    labelled = labelled_rows(pictures.cases, arm.labelled, seed)
    return Pictures(pictures.cases.assign(labelled=labelled), pictures.images, pictures.points)


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


def progress_of(study: Study, folder: str | Path) -> pd.DataFrame:
    """How far each run of a study is: `arm`, `seed`, `epochs` done of `of`, `finished`."""
    rows = []
    for seed in study.seeds:
        for arm in study.arms:
            run = run_folder(folder, arm, seed)
            history = run / "history.csv"
            done = len(pd.read_csv(history)) if history.exists() else 0
            finished = (run / "done.json").exists()
            rows.append((arm, seed, done, study.training["epochs"], finished))
    return pd.DataFrame(rows, columns=["arm", "seed", "epochs", "of", "finished"])


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


def _of_split(
    radiographs: Radiographs, found: np.ndarray, split: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Detected and reference landmarks of a split, and millimetres a pixel where they are known."""
    rows = (radiographs.cases["split"] == split).to_numpy()
    mm = None
    columns = ["mm_per_pixel_x", "mm_per_pixel_y"]
    if set(columns) <= set(radiographs.cases):
        mm = radiographs.cases.loc[rows, columns].to_numpy(float)
    return found[rows], radiographs.landmarks[rows], mm


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


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
