"""The second paper's experiment as tables of arms, one for each study (``studies.yml``).

Nothing here needs PyTorch, so that the build graph can read it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from oacore.errors import InputError
from oacore.instruments.coherence.patterns import SIZES

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
        from oacore.training.pictures import PictureConfig  # PyTorch comes with it

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
