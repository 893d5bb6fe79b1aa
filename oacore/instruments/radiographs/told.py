"""What a run may look at of the grades, and the loss that is fitted to them.

What belongs together is learned from the grades of the labelled training pictures that have all
seven; nothing else is known of hidden grades, by any arm.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.instruments.coherence.joint import fit_joint, given_kl, joint_loss, levelled
from oacore.instruments.coherence.mixture import fit_mixture, mixture_loss
from oacore.instruments.coherence.patterns import GRADES, SIZES
from oacore.instruments.radiographs.arms import Arm
from oacore.training.picture_losses import Coherence
from oacore.training.pictures import Pictures


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
