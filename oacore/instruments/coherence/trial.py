"""How well each measure of coherence tells true grades from false ones, and whom it taxes.

Distributions are fitted to one half of the knees and tried on the other. A good measure tells true
grades from corrupted ones; as a loss it should not ask less of a healthy knee than of a diseased
one, nor of a vague answer than of a right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from oacore.errors import InputError
from oacore.instruments.coherence.joint import fit_joint, given_kl, levelled
from oacore.instruments.coherence.mixture import fit_mixture, incoherence
from oacore.instruments.coherence.patterns import (
    CORRUPTIONS,
    GRADES,
    all_shuffled,
    blurred,
    by_head,
    one_hot,
    readings,
)
from oacore.instruments.phantom.grades import kl_from_oarsi

#: From grades (n, 7) to how coherent they are, (n,).
Score = Callable[[np.ndarray], np.ndarray]

SPEARMAN = "Spearman with KL"
"""Of the score of true grades: 0 where a measure asks as much of every grade of KL."""

TAU = 0.5
"""The paper's temperature."""

BLUR = 0.3
"""Share of each head's answer that is spread evenly where true grades are blurred."""


def halves(grades: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of some knees: to fit to, and to try on."""
    order = np.random.default_rng(seed).permutation(len(grades))
    cut = len(grades) // 2
    return grades[order[:cut]], grades[order[cut:]]


def by_rule(grades: np.ndarray) -> np.ndarray:
    """Minus the distance of KL from what :func:`.grades.kl_from_oarsi` reads off the others."""
    table = pd.DataFrame(grades, columns=list(GRADES))
    return -np.abs(kl_from_oarsi(table) - grades[:, 0]).astype(float)


def fitted_scores(grades: np.ndarray, seed: int) -> dict[str, Score]:
    """All measures of coherence that are tried, fitted to the same knees, by what they are called.

    Parameters
    ----------
    grades : ndarray of int, shape (n, 7)
    seed : int
        Of the mixture.
    """
    mixture = fit_mixture(grades, seed=seed)
    joint, ruled = fit_joint(grades, rule=0), fit_joint(grades)
    return {
        "Gaussian mixture": lambda tried: mixture.score(one_hot(tried)),
        "exact joint": joint.score,
        "joint x rule": ruled.score,
        "joint x rule, given KL": given_kl(ruled).score,
        "joint x rule, levelled": levelled(ruled).score,
        "KL rule alone": by_rule,
        "KL given the other six": joint.kl_score,
    }


def held_out(
    patterns: pd.DataFrame,
    *,
    seeds: Iterable[int],
    scores: Callable[[np.ndarray, int], dict[str, Score]] = fitted_scores,
) -> pd.DataFrame:
    """AUC at telling true grades from false ones, and rank correlation with severity.

    Parameters
    ----------
    patterns : DataFrame
        As :func:`.patterns.pattern_counts` gives it.
    seeds : iterable of int
        Each gives two halves, and false grades for the second.
    scores : callable
        From knees to fit to, and a seed, to measures of coherence.

    Returns
    -------
    DataFrame
        ``seed``, ``score``, ``measure``, ``value``: the AUC for each of
        :data:`.patterns.CORRUPTIONS`, and `SPEARMAN` (NaN where all scores are the same).

    Raises
    ------
    InputError
        If no seed is given.
    """
    rows = []
    for seed in _some(seeds):
        fitted_to, tried = halves(readings(patterns), seed)
        wrong = {name: corrupt(tried, seed) for name, corrupt in CORRUPTIONS.items()}
        label = np.repeat([1, 0], len(tried))
        for name, score in scores(fitted_to, seed).items():
            true = score(tried)
            for how, false in wrong.items():
                auc = roc_auc_score(label, np.concatenate([true, score(false)]))
                rows.append((seed, name, how, auc))
            same = true.min() == true.max()
            rho = np.nan if same else spearmanr(true, tried[:, 0]).statistic
            rows.append((seed, name, SPEARMAN, rho))
    return pd.DataFrame(rows, columns=["seed", "score", "measure", "value"])


def loss_by_grade(patterns: pd.DataFrame, *, seeds: Iterable[int]) -> pd.DataFrame:
    """What each loss takes for the true grades of held-out knees, by KL, and for blurred ones.

    Parameters
    ----------
    patterns : DataFrame
        As :func:`.patterns.pattern_counts` gives it.
    seeds : iterable of int
        Of the halves.

    Returns
    -------
    DataFrame
        ``seed``, ``loss``, ``kl``, ``knees``, and mean losses: ``true`` of answers that are sure
        of the true grades, ``blurred`` of the same with a share `BLUR` spread evenly. The
        mixture's is that of `TAU`; others are in nats.

    Raises
    ------
    InputError
        If no seed is given.
    """
    rows = []
    for seed in _some(seeds):
        fitted_to, tried = halves(readings(patterns), seed)
        mixture, ruled = fit_mixture(fitted_to, seed=seed), fit_joint(fitted_to)
        joints = {
            "exact joint": fit_joint(fitted_to, rule=0),
            "joint x rule": ruled,
            "joint x rule, given KL": given_kl(ruled),
            "joint x rule, levelled": levelled(ruled),
        }
        # Knees of one pattern lose the same: one row for each is enough.
        unique, count = np.unique(tried, axis=0, return_counts=True)
        sure = one_hot(unique)
        vague = blurred(sure, BLUR)
        losses = {"Gaussian mixture": [incoherence(mixture.score(p), TAU) for p in (sure, vague)]}
        losses |= {name: [one.loss(by_head(p)) for p in (sure, vague)]
                   for name, one in joints.items()}  # fmt: skip
        for name, both in losses.items():
            for kl in np.unique(unique[:, 0]):
                at = unique[:, 0] == kl
                means = [np.average(loss[at], weights=count[at]) for loss in both]
                rows.append((seed, name, kl, count[at].sum(), *means))
    return pd.DataFrame(rows, columns=["seed", "loss", "kl", "knees", "true", "blurred"])


def g_by_sigma(patterns: pd.DataFrame, sigmas: Sequence[float], *, seed: int) -> pd.DataFrame:
    """The range of g on the knees that a mixture was fitted to, for each noise.

    Parameters
    ----------
    patterns : DataFrame
        As :func:`.patterns.pattern_counts` gives it.
    sigmas : sequence of float
    seed : int
        Of the mixtures, and of the shuffled grades.

    Returns
    -------
    DataFrame
        ``sigma``; ``least``, ``p5``, ``median`` and ``most``: quantiles of g on true grades;
        ``shuffled``: the median on grades of which every column is shuffled; ``even``: g where
        all heads answer that every grade is as likely.
    """
    grades = readings(patterns)
    even = blurred(one_hot(grades[:1]), 1)
    rows = []
    for sigma in sigmas:
        mixture = fit_mixture(grades, sigma=sigma, seed=seed)
        shuffled = mixture.score(one_hot(all_shuffled(grades, seed)))
        true = np.quantile(mixture.score(one_hot(grades)), [0, 0.05, 0.5, 1])
        rows.append((sigma, *true, np.median(shuffled), mixture.score(even)[0]))
    columns = ["sigma", "least", "p5", "median", "most", "shuffled", "even"]
    return pd.DataFrame(rows, columns=columns)


def _some(seeds: Iterable[int]) -> list[int]:
    if not (found := list(seeds)):
        raise InputError("coherence: no seed is given; give at least one")
    return found
