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

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES
from oacore.instruments.hierarchy import heads
from oacore.instruments.hierarchy.arms import TaskArm, second_label
from oacore.instruments.hierarchy.schedule import rate_at, require_known
from oacore.profile import SCHEDULES

NORMS = ("none", "layer", "group", "batch")
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
        require_known(norm=(self.norm, NORMS), schedule=(self.schedule, SCHEDULES))
        if self.norm == "group" and self.hidden % GROUPS:
            raise InputError(f"network: {self.hidden} hidden units do not divide by {GROUPS}")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of one of all steps."""
        return rate_at(self.schedule, self.learning_rate, step, steps)


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
        "trunk_weight" (features, hidden), "trunk_bias"; "norm_weight", "norm_bias" (hidden,) with
        a norm; and those of :func:`.heads.initial_heads`. Arms with one `start` have the same
        hidden layer, and the same head wherever it has the same outputs.
    """
    units = network.hidden
    entropy = {name: (_STREAMS[name], seed, fold, arm.start) for name in _STREAMS}
    weight, bias = heads.initial_layer(features, units, units, entropy["trunk"])
    weights = {"trunk_weight": weight, "trunk_bias": bias}
    if network.norm != "none":
        weights |= {"norm_weight": np.ones(units), "norm_bias": np.zeros(units)}
    return weights | heads.initial_heads(arm, units, entropy)


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
        If the arms differ in form, or the runs in their number of steps; or if knees are fewer
        than a batch.
    """
    if len({arm.form for arm in arms}) != 1:
        raise InputError("batched training: these arms differ in more than labels and weights")
    steps = {int(run.training.sum()) // network.batch for run in runs}
    if len(steps) != 1:
        raise InputError("batched training: these runs differ in their number of steps")
    if 0 in steps:
        fewest = min(int(run.training.sum()) for run in runs)
        raise InputError(f"{fewest} training knees are fewer than a batch, {network.batch}")
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
            if name == "trunk_weight":
                stacked = stacked.swapaxes(1, 2)  # (M, features, A, hidden): one product
            elif name != "log_variance" and not name.endswith("_weight") or name == "norm_weight":
                stacked = stacked[:, :, None]  # (M, A, 1, ...): the same for all knees
            tensor = torch.tensor(stacked, dtype=dtype).contiguous()
            self.weights[name] = tensor.requires_grad_()
        trunk = self.weights["trunk_weight"]
        trunk.grad = torch.zeros_like(trunk)
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
        trunk = self.weights["trunk_weight"]
        for name, weight in self.weights.items():
            if name != "trunk_weight":
                weight.grad = None
        made = self.made(x).requires_grad_()
        loss = self.loss(self.answer(made, kept, learning=True), grades, told, rows)
        loss.backward()
        # Almost all weights are in the first layer: its gradient is written where the last one
        # was, since asking the system for new memory takes as long as the product itself.
        assert trunk.grad is not None and made.grad is not None
        torch.bmm(x.transpose(1, 2), made.grad, out=trunk.grad.flatten(2))

    @torch.no_grad()
    def made(self, x: torch.Tensor) -> torch.Tensor:
        """What the first layer makes of inputs (M, batch, features): (M, batch, A hidden)."""
        return torch.bmm(x, self.weights["trunk_weight"].flatten(2))

    def answer(self, made: torch.Tensor, kept: torch.Tensor | None, learning: bool) -> heads.Logits:
        """Logits of both heads, (M, A, batch, outputs), from what the first layer made."""
        own, network = self.weights, self.network
        made = made.unflatten(2, (len(self.arms), network.hidden)).transpose(1, 2)
        z = self._normalised(made + own["trunk_bias"], learning).relu()  # (M, A, batch, hidden)
        if kept is not None:
            z = z * (kept[:, None].to(z.dtype) / (1 - network.dropout))
        return heads.answer(self.arm, own, z)

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
        return made * own["norm_weight"] + own["norm_bias"]

    def loss(
        self,
        logits: heads.Logits,
        grades: torch.Tensor,
        told: torch.Tensor | None,
        rows: torch.Tensor,
    ) -> torch.Tensor:
        """Sum of the losses of all networks; `grades`, `rows` (M, batch), `told` (M, A, n)."""
        every = (len(grades), len(self.arms), grades.shape[1])
        labels = None if told is None else told.gather(2, rows[:, None].expand(every))
        grades = grades[:, None].expand(every)
        return heads.loss_of(self.arms, self.weights, logits, grades, labels)

    @torch.no_grad()
    def answers(self, inputs: torch.Tensor) -> Answers:
        """Probabilities of all knees, (M, n, features), by all networks."""
        logits = self.answer(self.made(inputs), None, learning=False)
        grade, second = heads.said(self.arm, logits)
        shape = (len(inputs), len(self.arms), inputs.shape[1])
        if grade is None:
            grade = torch.full((*shape, N_GRADES), torch.nan, dtype=torch.float64)
        if second is None:
            second = torch.full(shape, torch.nan, dtype=torch.float64)
        return Answers(grade.transpose(0, 1).numpy(), second.transpose(0, 1).numpy())
