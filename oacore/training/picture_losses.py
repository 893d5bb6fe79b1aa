"""Losses of pictures that are graded several times, each of whose grades may be missing.

A missing grade is -1. It adds nothing to a loss, and reaches no network: networks are given
pictures alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F

#: A grade that was not read.
MISSING = -1
#: Of :func:`effective_prevalence`: a hundred pictures or more of a class count as a hundred.
BETA = 0.99
#: From probabilities (batch, classes) by grade to a loss for each picture, (batch,).
Coherence = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]


def inverse_prevalence(grades: np.ndarray, classes: int) -> np.ndarray:
    """Weight of each class: one over its share, so that all classes weigh the same together.

    Parameters
    ----------
    grades : (n,) int array
        Grades of the labelled training pictures; `MISSING` ones do not count.
    classes : int
        K.

    Returns
    -------
    (K,) float array
        n / (K' n_k) for a class of n_k of the n graded pictures, where K' classes occur; 0 for one
        that does not. The mean of the weights over the graded pictures is 1.

    Notes
    -----
    arXiv:2112.09177 weighs its cross-entropy by prevalence and gives no formula. This is
    scikit-learn's "balanced".
    """
    counts = np.bincount(grades[grades != MISSING], minlength=classes)
    there = counts > 0
    weights = np.zeros(classes)
    weights[there] = counts.sum() / (there.sum() * counts[there])
    return weights


def effective_prevalence(grades: np.ndarray, classes: int, beta: float = BETA) -> np.ndarray:
    """Weight of each class: one over its effective number of pictures, milder than its share.

    Parameters
    ----------
    grades, classes
        See :func:`inverse_prevalence`.
    beta : float
        From 0, where all classes weigh the same, to below 1, near which they weigh as by
        :func:`inverse_prevalence`.

    Returns
    -------
    (K,) float array
        In proportion to (1 - beta) / (1 - beta^n_k) for a class of n_k pictures, 0 for one that
        does not occur; their mean over the graded pictures is 1.

    Notes
    -----
    Cui and others 2019, arXiv:1901.05555, equation (10).
    """
    counts = np.bincount(grades[grades != MISSING], minlength=classes)
    there = counts > 0
    weights = np.zeros(classes)
    weights[there] = (1 - beta) / (1 - beta ** counts[there])
    return weights * counts.sum() / (weights @ counts)


def cross_entropies(
    logits: Mapping[str, torch.Tensor],
    grades: Mapping[str, torch.Tensor],
    weights: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """Cross-entropy of each grade, a mean over the pictures that have it.

    Parameters
    ----------
    logits : mapping of str to Tensor, (batch, classes)
    grades : mapping of str to Tensor of int64, (batch,)
        `MISSING` where a grade is not there.
    weights : mapping of str to Tensor, (classes,), optional
        Of the classes. Their sum over a batch is not divided by: a batch with a rare class weighs
        as much more as the class does, so that batches add up to the weighted mean over all.

    Returns
    -------
    dict of str to Tensor, scalar
        0 for a grade that no picture of the batch has.
    """
    losses = {}
    for name, logit in logits.items():
        weight = None if weights is None else weights[name]
        total = F.cross_entropy(logit, grades[name], weight, ignore_index=MISSING, reduction="sum")
        losses[name] = total / _count(grades[name])
    return losses


def squared_errors(
    scores: Mapping[str, torch.Tensor], grades: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Mean squared error of each grade as a number, over the pictures that have it.

    The auxiliary regression of Antony and others 2017, arXiv:1703.09856.

    Parameters
    ----------
    scores : mapping of str to Tensor, (batch,)
    grades : mapping of str to Tensor of int64, (batch,)
        `MISSING` where a grade is not there.

    Returns
    -------
    dict of str to Tensor, scalar
        0 for a grade that no picture of the batch has.
    """
    losses = {}
    for name, score in scores.items():
        error = (score - grades[name]) ** 2  # (batch,)
        losses[name] = error.where(grades[name] != MISSING, 0).sum() / _count(grades[name])
    return losses


def _count(grades: torch.Tensor) -> torch.Tensor:
    """Number of pictures that have a grade, at least 1."""
    return (grades != MISSING).sum().clamp_min(1)
