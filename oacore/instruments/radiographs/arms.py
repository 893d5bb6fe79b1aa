"""The second paper's experiment as tables of arms, one for each study (``studies.yml``).

Nothing here needs PyTorch, so that the build graph can read it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from oacore.errors import InputError

if TYPE_CHECKING:
    from oacore.training.pictures import PictureConfig

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
#: In a study's folder: the detector, the landmarks that it found, how far off they are, the cases
#: that were trained on, and which code their losses of coherence are of.
DETECTOR, LANDMARKS, ERRORS = "detector.safetensors", "landmarks.safetensors", "landmarks.json"
CASES, LOSSES = "cases.csv", "losses.txt"
#: Which study each profile of ``oacore/profiles.yml`` runs; any other profile runs the laptop's.
OF_PROFILE = {
    "smoke": "smoke",
    "laptop": "laptop",
    "record": "laptop",
    "study": "real",
    "paper": "paper",
    "text": "paper",
}


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
    drawn : dict
        What is drawn for it where nobody names real radiographs: `train`, `val` and `test`, knees
        of KL 0 to 4 each, and `seed`, as :func:`.drawn.write_radiographs` takes them.
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
    drawn: dict[str, Any] = field(default_factory=dict)

    def config(self, arm: Arm, seed: int) -> PictureConfig:
        """Settings of one run."""
        from oacore.instruments.coherence.patterns import SIZES
        from oacore.training.pictures import PictureConfig

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
        drawn={
            key: tuple(value) if isinstance(value, list) else value
            for key, value in given["drawn"].items()
        },
    )


def study_of(profile: str) -> Study:
    """The study that a profile of ``oacore/profiles.yml`` runs; see `OF_PROFILE`."""
    return load_study(OF_PROFILE.get(profile, "laptop"))


def arm_table(study: Study) -> pd.DataFrame:
    """The arms of a study as a table, a row each."""
    return pd.DataFrame([asdict(arm) for arm in study.arms.values()])


def study_folder(build: str | Path, radiographs: str | Path = "") -> Path:
    """Where a build keeps the runs of its study.

    Parameters
    ----------
    build : path-like
        Folder of the build.
    radiographs : path-like
        Real ones that a user named, or the link to them in the build; empty for the drawn ones.

    Returns
    -------
    Path
        One for the drawn radiographs, and one for each place where real ones lie, so that naming
        others costs no finished run. A digest stands for the place: pages do not tell it.
    """
    if not radiographs:
        return Path(build, "study")
    place = os.fsencode(Path(radiographs).expanduser().resolve())
    return Path(build, f"study-{hashlib.sha256(place).hexdigest()[:8]}")


def run_folder(folder: str | Path, arm: str, seed: int) -> Path:
    """Where a run lies in a study's folder."""
    return Path(folder, "runs", arm, f"seed{seed}")


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


def study_status(build: str | Path, profile: str) -> list[str]:
    """Say how far the studies of a build are, a line each.

    Parameters
    ----------
    build : path-like
        Folder of the build.
    profile : str
        See :func:`study_of`.

    Returns
    -------
    list of str
        One for the drawn radiographs, and one for each user's own that the build was given.
    """
    study = study_of(profile)
    others = sorted(path for path in Path(build).glob("study-*") if path.is_dir())
    return [_said(study, folder) for folder in (study_folder(build), *others)]


def _said(study: Study, folder: Path) -> str:
    """How far the runs of a study in one folder are."""
    runs = progress_of(study, folder)
    begun = runs[~runs["finished"] & (runs["epochs"] > 0)].itertuples()
    parts = [f"{runs['finished'].sum()} of {len(runs)} runs trained"]
    parts += [f"{run.arm} seed {run.seed}: {run.epochs} of {run.of} epochs" for run in begun]
    on = "drawn radiographs" if folder.name == "study" else f"real radiographs ({folder.name})"
    return f"Study {study.name} on {on}: {'; '.join(parts)}"
