"""Many small networks trained at once: seeds, folds and arms as dimensions of one tensor.

A network of one hidden layer on a few hundred knees is so small that one step of it is mostly
waiting: for Python, for kernels to start, for an optimiser to walk through its tensors. Here the
weights of M runs (a seed and a fold) of A arms are one tensor, their hidden layers one batched
matrix product, and one optimiser updates them all. Each network still has its own weights, batches,
dropout and loss; the gradient of a sum of losses is each one's own. ``benchmarks/hierarchy.py``
compares it with training one after another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, pi

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES
from oacore.instruments.hierarchy.arms import TaskArm, second_label
from oacore.instruments.hierarchy.losses import (
    GRADINGS,
    binary,
    cross_entropy,
    hierarchical,
    inconsistency,
    probabilities,
    uncertain,
)

NORMS = ("none", "layer", "group", "batch")
SCHEDULES = ("constant", "cosine")
#: Groups of hidden units for "group", and the momentum of running statistics for "batch".
GROUPS, MOMENTUM = 8, 0.1
_EPS = 1e-5
#: Streams of random numbers, beside seed, fold and the arm's start: none follows from another.
_STREAMS = {"trunk": 3001, "grade": 3002, "second": 3003, "order": 3004, "dropout": 3005}


@dataclass(frozen=True)
class Network:
    """Settings that all arms share.

    Attributes
    ----------
    hidden : int
        Units of the one hidden layer.
    norm : {"none", "layer", "group", "batch"}
        What stands between the linear layer and its ReLU.
    dropout : float
        Share of hidden units that a step leaves out, 0 to below 1.
    epochs, batch : int
        Knees left over by the last whole batch of an epoch wait for the next one's order.
    learning_rate, weight_decay : float
        Of AdamW.
    schedule : {"constant", "cosine"}
        Cosine falls from the rate to 0 over all steps.
    """

    hidden: int = 64
    norm: str = "layer"
    dropout: float = 0.5
    epochs: int = 20
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1.0
    schedule: str = "constant"

    def __post_init__(self) -> None:
        """Refuse what no network has."""
        for value, known, what in (
            (self.norm, NORMS, "norm"),
            (self.schedule, SCHEDULES, "schedule"),
        ):
            if value not in known:
                raise InputError(f"network: {what} is {value!r}: choose one of {', '.join(known)}")
        if self.norm == "group" and self.hidden % GROUPS:
            raise InputError(f"network: {self.hidden} hidden units do not divide by {GROUPS}")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of one of all steps."""
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (1 + cos(pi * step / steps)) / 2


@dataclass(frozen=True)
class Fit:
    """One network of every arm.

    Attributes
    ----------
    seed, fold : int
    training : (n,) bool array
        Knees that it is trained on, and standardised by.
    """

    seed: int
    fold: int
    training: np.ndarray


@dataclass(frozen=True)
class Answers:
    """What networks say of all knees, those of training too.

    Attributes
    ----------
    grade : (A, M, n, 5) float array
        Probabilities of the grades; NaN where an arm has no head of the grade.
    second : (A, M, n) float array
        Probability that the second head gives its label; NaN without one, or where it grades.
    """

    grade: np.ndarray
    second: np.ndarray


def initial_weights(
    network: Network, arm: TaskArm, features: int, seed: int, fold: int
) -> dict[str, np.ndarray]:
    """Weights that one network starts from: uniform between -+1 / sqrt(inputs), as in PyTorch.

    Parameters
    ----------
    network, arm
    features : int
        Of a knee.
    seed, fold : int

    Returns
    -------
    dict of str to float array
        "trunk.weight" (features, hidden), "trunk.bias"; "norm.weight", "norm.bias" (hidden,) with
        a norm; "grade.weight", "grade.bias" and "second.weight", "second.bias" for the heads that
        there are; "log_variance" (2,) where they are weighted by it. Arms with one `start` have
        the same hidden layer, and the same head wherever it has the same outputs.
    """
    units = network.hidden
    sizes = {"trunk": (features, units, units)}
    if arm.grading:
        one_score = arm.grading == "coral"  # and a threshold for each output
        sizes["grade"] = (units, 1 if one_score else arm.grade_outputs, arm.grade_outputs)
    if arm.second:
        inputs = arm.grade_outputs if arm.joint == "cascaded" else units
        sizes["second"] = (inputs, arm.second_outputs, arm.second_outputs)
    weights = {}
    for name, (inputs, out, biases) in sizes.items():
        rng = np.random.default_rng([_STREAMS[name], seed, fold, arm.start])
        bound = inputs**-0.5
        weights[f"{name}.weight"] = rng.uniform(-bound, bound, (inputs, out))
        weights[f"{name}.bias"] = rng.uniform(-bound, bound, biases)
    if network.norm != "none":
        weights |= {"norm.weight": np.ones(units), "norm.bias": np.zeros(units)}
    if arm.uncertain:
        weights["log_variance"] = np.zeros(2)
    return weights


def draws(
    network: Network, arm: TaskArm, run: Fit, seed: int, fold: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """What the steps of one network draw, epoch by epoch.

    Yields
    ------
    rows : (steps, batch) int array
        Knees of each step.
    kept : (steps, batch, hidden) bool array, or None without dropout
        Hidden units that stay.
    """
    order = np.random.default_rng([_STREAMS["order"], seed, fold, arm.start])
    dropout = np.random.default_rng([_STREAMS["dropout"], seed, fold, arm.start])
    training = np.flatnonzero(run.training)
    steps = len(training) // network.batch
    for _ in range(network.epochs):
        rows = order.permutation(training)[: steps * network.batch]
        kept = None
        if network.dropout:
            size = (steps, network.batch, network.hidden)
            kept = dropout.random(size, dtype=np.float32) >= network.dropout
        yield rows.reshape(steps, network.batch), kept


def standardised(x: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Features with mean 0 and standard deviation 1 over the training knees; constant ones 0.

    Parameters
    ----------
    x : (n, features) float array
    training : (n,) bool array
    """
    mean, sd = x[training].mean(axis=0), x[training].std(axis=0)
    return (x - mean) / np.where(sd > 1e-12 * np.abs(mean), sd, np.inf)


def train(
    network: Network,
    arms: Sequence[TaskArm],
    x: np.ndarray,
    cases: pd.DataFrame,
    runs: Sequence[Fit],
    dtype: torch.dtype = torch.float32,
) -> Answers:
    """Train M runs of A arms as one batched model, and ask them about all knees.

    Parameters
    ----------
    network : Network
    arms : sequence of A Arms
        Of one form (:attr:`.arms.TaskArm.form`).
    x : (n, features) float array
        Not standardised: that is done by each run's training knees.
    cases : DataFrame
        n rows: ``kl``, and what the arms' labels are of.
    runs : sequence of M Runs
    dtype : torch.dtype

    Raises
    ------
    InputError
        If the arms differ in form, or the runs in their number of steps.
    """
    if len({arm.form for arm in arms}) != 1:
        raise InputError("batched training: these arms differ in more than labels and weights")
    if len({int(run.training.sum()) // network.batch for run in runs}) != 1:
        raise InputError("batched training: these runs differ in their number of steps")
    model = _Model(network, arms, x.shape[1], runs, dtype)
    xs = np.stack([standardised(x, run.training) for run in runs])
    inputs = torch.tensor(xs, dtype=dtype)  # (M, n, features)
    grades = torch.tensor(cases["kl"].to_numpy(np.int64))
    told = _told(arms, cases, runs)  # (M, A, n)
    # Fused: one pass over weights and moments, which is most of what a step of AdamW costs.
    optimiser = torch.optim.AdamW(
        model.weights.values(), lr=network.learning_rate, weight_decay=network.weight_decay,
        fused=True,
    )  # fmt: skip
    flat = inputs.flatten(0, 1)
    first = inputs.shape[1] * torch.arange(len(runs))[:, None]  # row of each run's first knee
    streams = [draws(network, arms[0], run, run.seed, run.fold) for run in runs]
    done = 0
    for epoch in zip(*streams, strict=True):
        rows = torch.from_numpy(np.stack([one for one, _ in epoch], axis=1))  # (steps, M, batch)
        kept = [one for _, one in epoch]
        for step, here in enumerate(rows):
            for group in optimiser.param_groups:
                group["lr"] = network.rate(done, network.epochs * len(rows))
            stay = None
            if network.dropout:
                stay = torch.from_numpy(np.stack([one[step] for one in kept if one is not None]))
            model.learn(flat[here + first], stay, grades[here], told, here)
            optimiser.step()
            done += 1
    return model.answers(inputs)


def _told(arms: Sequence[TaskArm], cases: pd.DataFrame, runs: Sequence[Fit]) -> torch.Tensor | None:
    """What second heads are told of each knee, (M, A, n)."""
    if not arms[0].second:
        return None
    labels = [
        [second_label(arm, cases, run.training, run.seed, run.fold) for arm in arms] for run in runs
    ]
    return torch.tensor(np.array(labels))


class _Model:
    """Weights (M, A, ...) of M runs of A arms, and what follows from them."""

    def __init__(
        self,
        network: Network,
        arms: Sequence[TaskArm],
        features: int,
        runs: Sequence[Fit],
        dtype: torch.dtype,
    ) -> None:
        self.network, self.arms, self.arm = network, arms, arms[0]
        first = [
            [initial_weights(network, arm, features, run.seed, run.fold) for arm in arms]
            for run in runs
        ]
        self.weights = {}
        for name in first[0][0]:
            stacked = np.stack([[own[name] for own in row] for row in first])  # (M, A, ...)
            if name == "trunk.weight":
                stacked = stacked.swapaxes(1, 2)  # (M, features, A, hidden): one product
            elif name != "log_variance" and not name.endswith(".weight") or name == "norm.weight":
                stacked = stacked[:, :, None]  # (M, A, 1, ...): the same for all knees
            tensor = torch.tensor(stacked, dtype=dtype).contiguous()
            self.weights[name] = tensor.requires_grad_()
        trunk = self.weights["trunk.weight"]
        trunk.grad = torch.zeros_like(trunk)
        self.weight, self.scale, self.consistency = (
            torch.tensor([getattr(arm, name) for arm in arms], dtype=dtype)
            for name in ("weight", "scale", "consistency")
        )
        shape = (len(runs), len(arms), 1, network.hidden)
        self.mean, self.variance = torch.zeros(shape, dtype=dtype), torch.ones(shape, dtype=dtype)

    def learn(
        self,
        x: torch.Tensor,
        kept: torch.Tensor | None,
        grades: torch.Tensor,
        told: torch.Tensor | None,
        rows: torch.Tensor,
    ) -> None:
        """Put the gradients of one step where the optimiser looks for them."""
        trunk = self.weights["trunk.weight"]
        for name, weight in self.weights.items():
            if name != "trunk.weight":
                weight.grad = None
        made = self.made(x).requires_grad_()
        loss = self.loss(*self.answer(made, kept, learning=True), grades, told, rows)
        loss.backward()
        # Almost all weights are in the first layer: its gradient is written where the last one
        # was, since asking the system for new memory takes as long as the product itself.
        assert trunk.grad is not None and made.grad is not None
        torch.bmm(x.transpose(1, 2), made.grad, out=trunk.grad.flatten(2))

    @torch.no_grad()
    def made(self, x: torch.Tensor) -> torch.Tensor:
        """What the first layer makes of inputs (M, batch, features): (M, batch, A hidden)."""
        return torch.bmm(x, self.weights["trunk.weight"].flatten(2))

    def answer(
        self, made: torch.Tensor, kept: torch.Tensor | None, learning: bool
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Logits of both heads, (M, A, batch, outputs), from what the first layer made."""
        own, arm, network = self.weights, self.arm, self.network
        made = made.unflatten(2, (len(self.arms), network.hidden)).transpose(1, 2)
        z = self._normalised(made + own["trunk.bias"], learning).relu()  # (M, A, batch, hidden)
        if kept is not None:
            z = z * (kept[:, None].to(z.dtype) / (1 - network.dropout))
        grade = second = None
        if arm.grading:
            of_grade = z.detach() if arm.stopped == "grade" else z
            grade = of_grade @ own["grade.weight"] + own["grade.bias"]
        if arm.second:
            of_second = z.detach() if arm.stopped == "second" else z
            if arm.joint == "cascaded":
                assert grade is not None
                of_second = grade
            second = of_second @ own["second.weight"] + own["second.bias"]
        return grade, second

    def _normalised(self, made: torch.Tensor, learning: bool) -> torch.Tensor:
        norm, own = self.network.norm, self.weights
        if norm == "none":
            return made
        if norm == "batch":
            mean, variance = self.mean, self.variance
            if learning:
                mean, n = made.mean(2, keepdim=True), made.shape[2]
                variance = made.var(2, unbiased=False, keepdim=True)
                with torch.no_grad():
                    self.mean.lerp_(mean, MOMENTUM)
                    self.variance.lerp_(variance * n / (n - 1), MOMENTUM)
            made = (made - mean) * torch.rsqrt(variance + _EPS)
        else:
            groups = GROUPS if norm == "group" else 1
            parts = made.unflatten(-1, (groups, made.shape[-1] // groups))
            made = F.layer_norm(parts, parts.shape[-1:], eps=_EPS).flatten(-2)
        return made * own["norm.weight"] + own["norm.bias"]

    def loss(
        self,
        grade: torch.Tensor | None,
        second: torch.Tensor | None,
        grades: torch.Tensor,
        told: torch.Tensor | None,
        rows: torch.Tensor,
    ) -> torch.Tensor:
        """Sum of the losses of all networks; `grades`, `rows` (M, batch), `told` (M, A, n)."""
        arm, parts = self.arm, []
        every = (len(grades), len(self.arms), grades.shape[1])
        if grade is not None:
            if arm.joint == "product":
                assert second is not None
                grade = hierarchical(second, grade)
            of_grade = GRADINGS[arm.grading](grade, grades[:, None].expand(every))  # (M, A)
            parts.append(self.scale * of_grade)
        if second is not None and arm.joint != "product":
            assert told is not None
            labels = told.gather(2, rows[:, None].expand(every))
            of_second = (cross_entropy if arm.second_outputs > 1 else binary)(second, labels)
            parts.append(self.weight * of_second)
        if arm.uncertain:
            variances = self.weights["log_variance"].unbind(-1)
            parts = [uncertain(one, s) for one, s in zip(parts, variances, strict=True)]
        if arm.consistency:
            assert grade is not None and second is not None
            parts.append(self.consistency * inconsistency(second, grade))
        return torch.stack(parts).sum()

    @torch.no_grad()
    def answers(self, inputs: torch.Tensor) -> Answers:
        """Probabilities of all knees, (M, n, features), by all networks."""
        grade, second = self.answer(self.made(inputs), None, learning=False)
        shape = (len(inputs), len(self.arms), inputs.shape[1])
        said = torch.full((*shape, N_GRADES), torch.nan, dtype=torch.float64)
        yes = torch.full(shape, torch.nan, dtype=torch.float64)
        if grade is not None:
            if self.arm.joint == "product":
                assert second is not None
                grade = hierarchical(second.double(), grade.double())
            said = probabilities(self.arm.grading, grade.double())
        if second is not None and self.arm.second_outputs == 1:
            yes = second.double().sigmoid().squeeze(-1)
        return Answers(said.transpose(0, 1).numpy(), yes.transpose(0, 1).numpy())
