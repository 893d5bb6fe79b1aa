"""The joint distribution of the seven grades, cell by cell, and losses that follow from it exactly.

Seven grades have 5 x 4^6 = 20,480 patterns, few enough to give each its probability: no mixture, no
noise and no regulariser are needed. What a network answers, p, makes pattern y with probability
prod_i p_i(y_i); the semantic loss (Xu et al. 2018, arXiv:1711.11157) is minus the logarithm of how
probable such a draw is.

Only what is differentiated needs PyTorch, which is imported there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES
from oacore.instruments.coherence.mixture import Buffers, GradesLoss, in_order
from oacore.instruments.coherence.patterns import GRADES, SIZES, WIDTH
from oacore.instruments.phantom.grades import kl_from_oarsi

if TYPE_CHECKING:
    from torch import Tensor

SHAPE = tuple(SIZES.values())
"""(5, 4, 4, 4, 4, 4, 4): the axes are `GRADES`."""

STRENGTH = 1000.0
"""Knees that the smooth distribution counts for beside the counted ones; see `likelihoods`."""

RULE = 4.0
"""Weight of the KL rule: a pattern that obeys it is e^4 = 55 times as likely as by its count."""

FLOOR = 0.01
"""Share of knees whose patterns are taken to be anything, so that nothing is impossible."""

_LEAST = 1e-30
"""Probabilities below it count as this, so that their logarithm is a number."""


@dataclass(frozen=True)
class Joint:
    """A weight for each pattern of grades.

    Attributes
    ----------
    weight : ndarray, float64, shape (5, 4, 4, 4, 4, 4, 4)
        Above 0. P(y), which adds up to 1; or by :func:`given_kl` P(y given its KL), of which
        each KL's adds up to 1; or by :func:`levelled` that times e^entropy.
    """

    weight: np.ndarray

    def score(self, grades: np.ndarray) -> np.ndarray:
        """Logarithm of the weight of each knee's pattern.

        Parameters
        ----------
        grades : ndarray of int, shape (n, 7)
            In the order of `GRADES`.

        Returns
        -------
        ndarray, shape (n,)
            In nats; minus the semantic loss of a network that is sure of these grades.
        """
        return np.log(self.weight[tuple(grades.T)])

    def kl_score(self, grades: np.ndarray) -> np.ndarray:
        """Logarithm of the probability of each knee's KL, given its other six grades; (n,)."""
        of_all = self.weight[(slice(None), *grades.T[1:])]  # (5, n)
        return self.score(grades) - np.log(of_all.sum(axis=0))

    def loss(self, probabilities: Mapping[str, np.ndarray]) -> np.ndarray:
        """The semantic loss in float64, without gradients: see :func:`joint_loss`.

        Parameters
        ----------
        probabilities : mapping of str to ndarray, shape (n, 5) or (n, 4)

        Returns
        -------
        ndarray, shape (n,)
        """
        drawn = np.einsum("...abc,nc->n...ab", self.weight, probabilities[GRADES[-1]])
        for name in GRADES[-2::-1]:
            drawn = np.einsum("n...a,na->n...", drawn, probabilities[name])
        return -np.log(drawn)


def rule_holds() -> np.ndarray:
    """Whether a pattern's KL is the one that :func:`.grades.kl_from_oarsi` reads off the others.

    Returns
    -------
    ndarray of bool, shape (5, 4, 4, 4, 4, 4, 4)
    """
    others = np.indices(SHAPE[1:]).reshape(len(SHAPE) - 1, -1).T  # (4096, 6)
    by_rule = kl_from_oarsi(pd.DataFrame(others, columns=list(GRADES[1:])))  # (4096,)
    return (by_rule == np.arange(N_GRADES)[:, None]).reshape(SHAPE)


def fit_joint(
    grades: np.ndarray, *, strength: float = STRENGTH, rule: float = RULE, floor: float = FLOOR
) -> Joint:
    """Estimate how probable each pattern is, from counts.

    P is proportional to (n(y) + `strength` Q(y)) exp(`rule` [KL is the rule's]), where n are the
    counts and Q has the six grades independent given KL, each with its own frequencies there (and
    half a knee more in each grade). Last, P takes a share `floor` of the same for all.

    So a pattern is never less probable than `floor` / 20,480, whatever was counted: that bounds
    the losses. Without the rule the distribution fits readings better, since these break it in 7
    of 100 knees, and the counts know it already; with it, wrong KL grades are told better.

    Parameters
    ----------
    grades : ndarray of int, shape (n, 7)
        Of single knees, in the order of `GRADES`.
    strength : float
        Knees that Q counts for, above 0. The default was chosen among 30, 100, 300, 1,000 and
        3,000 by :func:`likelihoods` on halves of the real readings.
    rule : float
        Weight of the rule; 0 leaves it out. Its default comes from the same readings: the best of
        four tried.
    floor : float
        Above 0, below 1.

    Returns
    -------
    Joint

    Raises
    ------
    InputError
        If there is no knee, or a setting lies outside its range.
    """
    if len(grades) == 0:
        raise InputError("joint distribution: no knee is given; give at least one")
    if not (strength > 0 and 0 < floor < 1):
        raise InputError(
            f"joint distribution: strength is {strength} and floor {floor}; give a strength above "
            "0, and a floor between 0 and 1"
        )
    counts = np.zeros(SHAPE)
    np.add.at(counts, tuple(grades.T), 1)
    weight = counts + strength * _independent(counts)
    weight *= np.exp(rule * rule_holds())
    return Joint((1 - floor) * weight / weight.sum() + floor / weight.size)


def _independent(counts: np.ndarray) -> np.ndarray:
    """The six grades independent given KL, from counts of the patterns; adds up to 1."""
    kl = counts.reshape(N_GRADES, -1).sum(axis=1) + 0.5
    smooth = np.broadcast_to((kl / kl.sum()).reshape(-1, *[1] * 6), SHAPE)
    for axis in range(1, len(SHAPE)):
        others = tuple(i for i in range(1, len(SHAPE)) if i != axis)
        own = counts.sum(axis=others, keepdims=True) + 0.5  # (5, 1, ..., 4, ..., 1)
        smooth = smooth * (own / own.sum(axis=axis, keepdims=True))
    return smooth


def given_kl(joint: Joint) -> Joint:
    """P(y given its KL): no KL grade is rarer than another.

    Its semantic loss is -log sum_k p(k) sum_{y of k} P(y given k) prod p_i(y_i), over the grades
    k of KL: that of a joint distribution in which all KL grades are as frequent. For a network that
    is sure of y it is -log P(y given KL). The sum stands inside the logarithm, because outside
    it, as sum_k p(k) (-log ...), each picture would pay for grades of KL that it is not sure of,
    and be pushed to be sure of the cheapest.

    A network whose six other answers are vague is pulled to no KL. One that is sure is still taxed
    by severity: knees of KL 0 are nearly all of one pattern, those of KL 4 of hundreds, so that
    true grades of KL 4 cost more. :func:`levelled` mends that, and gives up the former.
    """
    return Joint(joint.weight / _of_each_kl(joint.weight))


def levelled(joint: Joint) -> Joint:
    """P(y given its KL) in proportion to what is usual at that KL.

    Weights P(y given k) exp(H_k), where H_k is the entropy of the patterns of KL k. Knees drawn
    from the distribution lose nothing on average, -log P(y given k) - H_k, whatever their KL: a
    network that is sure gains nothing by calling a knee healthy. The loss of single knees may lie
    below 0, by the largest H_k at most.

    It is the semantic loss, up to a constant, of a joint distribution in which a KL grade is as
    frequent as it has patterns to show. So a network whose six other answers are vague is pulled
    to high KL: mind it before the first epochs have made answers of them.
    """
    weight = given_kl(joint).weight
    entropy = -_of_each_kl(weight * np.log(weight))  # (5, 1, ..., 1)
    return Joint(weight * np.exp(entropy))


def _of_each_kl(values: np.ndarray) -> np.ndarray:
    """Sums over the patterns of each KL, (5, 1, 1, 1, 1, 1, 1)."""
    return values.sum(axis=tuple(range(1, values.ndim)), keepdims=True)


def likelihoods(
    grades: np.ndarray, strengths: Sequence[float], *, rule: float = 0.0, seed: int
) -> pd.Series:
    """How probable one half of some knees is by the other's distribution, for each strength.

    Parameters
    ----------
    grades : ndarray of int, shape (n, 7)
        Those that a distribution may be fitted to; the knees that judge it take no part.
    strengths : sequence of float
    rule : float
        See :func:`fit_joint`.
    seed : int
        Of the halves, which are swapped as well.

    Returns
    -------
    Series
        Mean of log P in nats, by strength; more is better.
    """
    order = np.random.default_rng(seed).permutation(len(grades))
    first, second = grades[order[::2]], grades[order[1::2]]
    found = {}
    for strength in strengths:
        both = [
            fit_joint(fitted, strength=strength, rule=rule).score(held)
            for fitted, held in ((first, second), (second, first))
        ]
        found[strength] = float(np.concatenate(both).mean())
    return pd.Series(found, name="log_likelihood").rename_axis("strength")


def semantic_loss(probabilities: Mapping[str, Tensor], joint: Joint) -> Tensor:
    """Minus the logarithm of the mean weight of what a network's answers draw, one a picture.

    See :func:`joint_loss`, which is for many calls.
    """
    return joint_loss(joint)(probabilities)


def joint_loss(joint: Joint) -> GradesLoss:
    """The semantic loss of a joint distribution: -log sum_y weight(y) prod_i p_i(y_i).

    Bounds. As each head's p adds up to 1, the sum is a mean of weights, never below the smallest:
    no logarithm of zero, no underflow that matters, and a loss of at most -log min weight, which
    is 14.5 nats for the joint distribution with its floor of 1%. Let q_i be the probabilities of
    head i once patterns are drawn in proportion to weight(y) prod p_i(y_i). The gradient in the
    *logits* of head i is p_i - q_i: each element lies between -1 and 1, and their absolute values
    add up to 2 at most, as for cross-entropy with q_i as its target. In p_i it is -q_i / p_i, and
    between -(max weight / min weight) and 0; a p_i below 1e-30 gets 0, which no logit feels.

    Parameters
    ----------
    joint : Joint

    Returns
    -------
    callable
        From the softmax probabilities of each head, (batch, 5) or (batch, 4), by its name, to the
        loss, (batch,), in nats. It computes in float32, or in float64 where the probabilities are.
    """
    # Rows: two tibial osteophytes and two JSN; columns: KL and two femoral osteophytes.
    weight = joint.weight.reshape(80, 256).T
    members = np.concatenate([_members(GRADES[:3]), _members(GRADES[3:])], axis=1)  # (29, 336)
    buffers = Buffers(weight=weight, members=members)

    def loss(probabilities: Mapping[str, Tensor]) -> Tensor:
        import torch

        heads = in_order(probabilities)
        with torch.autocast(heads[0].device.type, enabled=False):
            own = buffers.like(heads[0])
            logs = torch.cat(heads, dim=1).clamp_min(_LEAST).log()  # (batch, 29)
            # How probable each way of three grades is, and of the other four: sums of logarithms.
            three, four = (logs @ own["members"]).exp().split((80, 256), dim=1)
            # One product with the weights sums over four grades for all pictures.
            return -((four @ own["weight"]) * three).sum(dim=1).log()

    return loss


def _members(heads: Sequence[str]) -> np.ndarray:
    """Which of the 29 grades make up each pattern of some heads: 0 or 1, (29, patterns)."""
    first = dict(zip(GRADES, np.cumsum([0, *SHAPE[:-1]]), strict=True))
    ways = np.indices([SIZES[name] for name in heads]).reshape(len(heads), -1)
    members = np.zeros((WIDTH, ways.shape[1]))
    for name, grade in zip(heads, ways, strict=True):
        members[first[name] + grade, np.arange(len(grade))] = 1
    return members
