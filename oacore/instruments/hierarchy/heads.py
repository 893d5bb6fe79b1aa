"""The two heads of an arm: what they begin with, what they answer, their loss, and what they say.

All of it is for networks trained side by side as for a single one: answers are (..., n, outputs)
for n knees, and leading dimensions are networks, of which the last one is of arms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from oacore.instruments.hierarchy.arms import TaskArm
from oacore.instruments.hierarchy.losses import (
    GRADINGS,
    binary,
    cross_entropy,
    hierarchical,
    inconsistency,
    probabilities,
    uncertain,
)

#: Logits of the grade and of the second label; None without such a head.
Logits = tuple[torch.Tensor | None, torch.Tensor | None]


def initial_layer(
    inputs: int, outputs: int, biases: int, entropy: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Weight (inputs, outputs) and bias: uniform between -+1 / sqrt(inputs), as in PyTorch."""
    rng = np.random.default_rng(entropy)
    bound = inputs**-0.5
    return rng.uniform(-bound, bound, (inputs, outputs)), rng.uniform(-bound, bound, biases)


def initial_heads(
    arm: TaskArm, features: int, entropy: Mapping[str, Sequence[int]]
) -> dict[str, np.ndarray]:
    """Weights that heads begin with.

    Parameters
    ----------
    arm : TaskArm
    features : int
        Of the encoder.
    entropy : mapping of "grade" and "second" to a sequence of int
        Of each head's random numbers.

    Returns
    -------
    dict of str to float array
        "grade_weight" (inputs, outputs), "grade_bias" and "second_weight", "second_bias" for the
        heads that there are; "log_variance" (2,) where they are weighted by it. Arms have the same
        head wherever it has the same inputs, outputs and entropy.
    """
    sizes = {}
    if arm.grading:
        one_score = arm.grading == "coral"  # and a threshold for each output
        sizes["grade"] = (features, 1 if one_score else arm.grade_outputs, arm.grade_outputs)
    if arm.second:
        inputs = arm.grade_outputs if arm.joint == "cascaded" else features
        sizes["second"] = (inputs, arm.second_outputs, arm.second_outputs)
    weights = {}
    for name, size in sizes.items():
        weights[f"{name}_weight"], weights[f"{name}_bias"] = initial_layer(*size, entropy[name])
    if arm.uncertain:
        weights["log_variance"] = np.zeros(2)
    return weights


def answer(arm: TaskArm, weights: Mapping[str, torch.Tensor], z: torch.Tensor) -> Logits:
    """Logits of both heads from features.

    Parameters
    ----------
    arm : TaskArm
    weights : mapping
        See :func:`initial_heads`.
    z : Tensor, (..., n, features)

    Returns
    -------
    tuple of two Tensors, (..., n, outputs)
    """
    grade = second = None
    if arm.grading:
        of_grade = z.detach() if arm.stopped == "grade" else z
        # One score with a bias for each threshold ("coral") spreads over the outputs.
        grade = of_grade @ weights["grade_weight"] + weights["grade_bias"]
    if arm.second:
        of_second = z.detach() if arm.stopped == "second" else z
        if arm.joint == "cascaded":
            assert grade is not None
            of_second = grade
        second = of_second @ weights["second_weight"] + weights["second_bias"]
    return grade, second


def loss_of(
    arms: Sequence[TaskArm],
    weights: Mapping[str, torch.Tensor],
    logits: Logits,
    grades: torch.Tensor,
    told: torch.Tensor | None,
) -> torch.Tensor:
    """Sum of the losses of all networks.

    Parameters
    ----------
    arms : sequence of A TaskArm
        Of one form.
    weights : mapping
        Those of which "log_variance" (..., 2) is one, where an arm's losses are weighted by it.
    logits : tuple of two Tensors, (..., A, n, outputs)
        See :func:`answer`.
    grades : Tensor of int64, (..., A, n)
    told : Tensor of int64, (..., A, n), or None
        The second head's labels.
    """
    (grade, second), arm, parts = logits, arms[0], []
    if grade is not None:
        if arm.joint == "product":
            assert second is not None
            grade = hierarchical(second, grade)
        parts.append(_each(arms, "scale", grade) * GRADINGS[arm.grading](grade, grades))
    if second is not None and arm.joint != "product":
        assert told is not None
        of_second = cross_entropy if arm.second_outputs > 1 else binary
        parts.append(_each(arms, "weight", second) * of_second(second, told))
    if arm.uncertain:
        variances = weights["log_variance"].unbind(-1)
        parts = [uncertain(one, s) for one, s in zip(parts, variances, strict=True)]
    if arm.consistency:
        assert grade is not None and second is not None
        parts.append(_each(arms, "consistency", grade) * inconsistency(second, grade))
    return torch.stack(parts).sum()


def _each(arms: Sequence[TaskArm], name: str, like: torch.Tensor) -> torch.Tensor:
    """A number of each arm, (A,)."""
    numbers = [getattr(arm, name) for arm in arms]
    return torch.tensor(numbers, dtype=like.dtype, device=like.device)


def said(arm: TaskArm, logits: Logits) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """What heads say, in 64 bits.

    Parameters
    ----------
    arm : TaskArm
    logits : tuple of two Tensors, (..., n, outputs)
        See :func:`answer`.

    Returns
    -------
    grade : Tensor, (..., n, 5), or None
        Probabilities of the grades; None without such a head.
    second : Tensor, (..., n), or None
        Probability that the second head gives its label; None without one, or where it grades.
    """
    grade, second = (None if one is None else one.double() for one in logits)
    yes = None
    if second is not None and arm.second_outputs == 1:
        yes = second.sigmoid().squeeze(-1)
    if grade is None:
        return None, yes
    if arm.joint == "product":
        assert second is not None
        grade = hierarchical(second, grade)
    return probabilities(arm.grading, grade), yes
