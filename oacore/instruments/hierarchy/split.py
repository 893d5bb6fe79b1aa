"""One arm, trained with one seed on a cohort whose split is fixed, by a convolutional encoder.

One code for pictures and volumes. What arms are told and by which loss is :mod:`.hierarchy.arms`;
what they share is as in :mod:`.hierarchy.batched`: all arms of a seed begin with the same encoder,
see the same batches and the same augmentation, and any head with the same outputs begins alike.

The last epoch is what counts, so that a run selects nothing. Batch normalisation then gets the
statistics of the training images, not augmented, under the final weights, as in
:mod:`.training.normalisation`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

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
from oacore.models.heads import by_voxel
from oacore.models.resnet2d import ResNet2D
from oacore.models.resnet3d import ResNet3D
from oacore.training.augmentation import moved, standardised
from oacore.training.convolutions import secure_convolutions

#: Encoders by their names, and the dimensions of an array of what each reads.
ENCODERS: dict[str, tuple[type[ResNet2D | ResNet3D], int]] = {
    "resnet2d": (ResNet2D, 3),
    "resnet3d": (ResNet3D, 4),
}
SCHEDULES = ("constant", "cosine")
#: Streams of random numbers, beside seed and the arm's start: none follows from another.
_STREAMS = {"encoder": 4001, "grade": 4002, "second": 4003, "order": 4004, "moved": 4005}
#: Rows of one batch, and four numbers between -1 and 1 for each: shift along x and y, turn, scale.
Batch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class SplitCohort:
    """Images and labels of a cohort whose split is fixed.

    Attributes
    ----------
    images : (n, H, W) array of uint8, or (n, D, H, W) array of float
        Pictures, or volumes as networks see them, with mean 0 and standard deviation 1.
    cases : DataFrame
        n rows: ``case``; ``split``, "train", "test" or "val"; ``kl``, 0 to 4; ``person`` where
        several cases can be one person's; and where they are known what labels are of: ``male``
        (0 or 1), ``age`` (years).
    """

    images: np.ndarray
    cases: pd.DataFrame

    def __post_init__(self) -> None:
        """Refuse what nothing can be trained on."""
        if lacking := sorted({"case", "split", "kl"} - set(self.cases)):
            raise InputError(f"cohort: its table has no column {lacking[0]!r}")
        if len(self.images) != len(self.cases):
            raise InputError(f"cohort: {len(self.images)} images of {len(self.cases)} cases")
        if (ungraded := self.cases["kl"].isna()).any():
            first = self.cases.loc[ungraded, "case"].iloc[0]
            raise InputError(f"cohort: case {first} has no KL grade; grade it or leave it out")

    def rows(self, split: str) -> np.ndarray:
        """Rows of a split.

        Raises
        ------
        InputError
            If it has none.
        """
        rows = np.flatnonzero(self.cases["split"] == split)
        if not len(rows):
            raise InputError(f"cohort: no case is of the split {split!r}")
        return rows

    def digest(self) -> str:
        """SHA-256 of all of it."""
        found = hashlib.sha256(f"{self.images.dtype} {self.images.shape}".encode())
        found.update(np.ascontiguousarray(self.images).ravel().view(np.uint8).data)
        found.update(self.cases.sort_index(axis=1).to_csv(index=False).encode())
        return found.hexdigest()


@dataclass(frozen=True)
class ImageNetwork:
    """Settings that all arms share.

    Attributes
    ----------
    encoder : {"resnet2d", "resnet3d"}
        Of pictures, or of volumes.
    options : dict
        Passed to the encoder, :class:`.resnet2d.ResNet2D` or :class:`.resnet3d.ResNet3D`.
    epochs, batch : int
        The last batch of an epoch may be smaller.
    learning_rate, weight_decay : float
        Of AdamW.
    schedule : {"constant", "cosine"}
        Cosine falls from the rate along half a cosine, epoch by epoch.
    shift, turn, scale : float
        A picture is shifted by up to so many pixels along both axes, turned by up to so many
        degrees, and scaled by 1 - `scale` to 1 + `scale`.
    """

    encoder: str
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 12
    batch: int = 48
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    schedule: str = "cosine"
    shift: float = 0.0
    turn: float = 0.0
    scale: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no network has."""
        for value, known, what in (
            (self.encoder, ENCODERS, "encoder"),
            (self.schedule, SCHEDULES, "schedule"),
        ):
            if value not in known:
                raise InputError(f"network: {what} is {value!r}: choose one of {', '.join(known)}")
        if self.augments and self.encoder != "resnet2d":
            raise InputError("network: volumes are not augmented; leave out shift, turn and scale")

    @property
    def augments(self) -> bool:
        """Whether training pictures are moved."""
        return bool(self.shift or self.turn or self.scale)

    @property
    def cell(self) -> str:
        """Normalisation and schedule, as :func:`.repeats.cell_name` has them."""
        return f"{self.options.get('norm', 'batch')}-{self.schedule}"

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch; the first is 0."""
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


class ArmNet(nn.Module):
    """An encoder with the heads of an arm, as it begins.

    Parameters
    ----------
    network : ImageNetwork
    arm : TaskArm
    seed : int
    """

    def __init__(self, network: ImageNetwork, arm: TaskArm, seed: int) -> None:
        super().__init__()
        self.arm = arm
        self.encoder = initial_encoder(network, seed, arm.start)
        n_features: Any = self.encoder.n_features
        first = initial_heads(arm, n_features, seed)
        self.heads = nn.ParameterDict(
            {name: torch.tensor(values, dtype=torch.float32) for name, values in first.items()}
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """What both heads answer for images (batch, 1, ...): (batch, outputs); None without one."""
        z, arm = self.encoder(x), self.arm  # (batch, n_features)
        grade = second = None
        if arm.grading:
            grade = self._head("grade", z.detach() if arm.stopped == "grade" else z)
        if arm.second:
            of_second = z.detach() if arm.stopped == "second" else z
            if arm.joint == "cascaded":
                assert grade is not None
                of_second = grade
            second = self._head("second", of_second)
        return grade, second

    def _head(self, name: str, z: torch.Tensor) -> torch.Tensor:
        # One score with a bias for each threshold ("coral") spreads over the outputs.
        return z @ self.heads[f"{name}_weight"] + self.heads[f"{name}_bias"]


def initial_encoder(network: ImageNetwork, seed: int, start: int) -> nn.Module:
    """The encoder that all arms of a seed begin with, whose `start` is the same."""
    with torch.random.fork_rng(devices=[]):
        entropy = np.random.SeedSequence([_STREAMS["encoder"], seed, start])
        torch.manual_seed(int(entropy.generate_state(1)[0]))
        encoder = ENCODERS[network.encoder][0](**network.options)
    # Pictures take a third less time with the channels of each pixel side by side.
    if network.encoder == "resnet2d":
        few = any(_strides_few_channels(module) for module in encoder.modules())
        layout = torch.contiguous_format if few else torch.channels_last
        return encoder.to(memory_format=layout)  # type: ignore[call-overload]
    for module in encoder.modules():
        if isinstance(module, nn.Conv3d):
            module.weight.data = by_voxel(module.weight.data)
    return encoder


def _strides_few_channels(module: nn.Module) -> bool:
    """Whether oneDNN may write beyond memory with the channels of each pixel side by side.

    Seen with torch 2.13: the input gradient of a strided 1x1 convolution ends the process, or
    spoils the heap, where channels do not fill a register, which holds 16 numbers at the most.
    """
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels < 16
    )


def initial_heads(arm: TaskArm, features: int, seed: int) -> dict[str, np.ndarray]:
    """Weights that heads begin with: uniform between -+1 / sqrt(inputs), as in PyTorch.

    Parameters
    ----------
    arm : TaskArm
    features : int
        Of the encoder.
    seed : int

    Returns
    -------
    dict of str to float array
        "grade_weight" (inputs, outputs), "grade_bias" and "second_weight", "second_bias" for the
        heads that there are; "log_variance" (2,) where they are weighted by it.
    """
    sizes = {}
    if arm.grading:
        one_score = arm.grading == "coral"  # and a threshold for each output
        sizes["grade"] = (features, 1 if one_score else arm.grade_outputs, arm.grade_outputs)
    if arm.second:
        inputs = arm.grade_outputs if arm.joint == "cascaded" else features
        sizes["second"] = (inputs, arm.second_outputs, arm.second_outputs)
    weights = {}
    for name, (inputs, out, biases) in sizes.items():
        rng = np.random.default_rng([_STREAMS[name], seed, arm.start])
        bound = inputs**-0.5
        weights[f"{name}_weight"] = rng.uniform(-bound, bound, (inputs, out))
        weights[f"{name}_bias"] = rng.uniform(-bound, bound, biases)
    if arm.uncertain:
        weights["log_variance"] = np.zeros(2)
    return weights


def draws(
    network: ImageNetwork, arm: TaskArm, training: np.ndarray, seed: int
) -> Iterator[list[Batch]]:
    """Batches of each epoch, and once more those by which batch normalisation is settled.

    Parameters
    ----------
    network, arm
    training : int array
        Rows of the training cases.
    seed : int
    """
    order = np.random.default_rng([_STREAMS["order"], seed, arm.start])
    chance = np.random.default_rng([_STREAMS["moved"], seed, arm.start])
    for _ in range(network.epochs + 1):
        rows = order.permutation(training)
        drawn = chance.uniform(-1, 1, (len(rows), 4)).astype(np.float32)
        firsts = range(0, len(rows), network.batch)
        yield [(rows[i : i + network.batch], drawn[i : i + network.batch]) for i in firsts]


def loss_of(
    net: ArmNet,
    answer: tuple[torch.Tensor | None, torch.Tensor | None],
    kl: torch.Tensor,
    told: torch.Tensor | None,
) -> torch.Tensor:
    """Loss of a batch.

    Parameters
    ----------
    net : ArmNet
    answer : (Tensor or None, Tensor or None)
        What its heads answer.
    kl : Tensor of int64, (batch,)
    told : Tensor of int64, (batch,), or None
        The second head's labels.
    """
    arm, parts = net.arm, []
    # The losses' leading dimension is of networks: here there is one.
    grade, second = (None if one is None else one[None] for one in answer)
    if grade is not None:
        if arm.joint == "product":
            assert second is not None
            grade = hierarchical(second, grade)
        parts.append(arm.scale * GRADINGS[arm.grading](grade, kl[None]))
    if second is not None and arm.joint != "product":
        assert told is not None
        of_second = cross_entropy if arm.second_outputs > 1 else binary
        parts.append(arm.weight * of_second(second, told[None]))
    if arm.uncertain:
        variances = net.heads["log_variance"].unbind()
        parts = [uncertain(one, s) for one, s in zip(parts, variances, strict=True)]
    if arm.consistency:
        assert grade is not None and second is not None
        parts.append(arm.consistency * inconsistency(second, grade))
    return torch.stack(parts).sum()


def train(
    network: ImageNetwork, arm: TaskArm, cohort: SplitCohort, seed: int, split: str = "test"
) -> dict[str, np.ndarray]:
    """Train an arm on the training cases, and ask it about those of another split.

    Parameters
    ----------
    network : ImageNetwork
    arm : TaskArm
    cohort : SplitCohort
    seed : int
    split : {"test", "val"}
        Settings are chosen on "val", and results are of "test".

    Returns
    -------
    dict
        "grade", (n, 5) probabilities of the grades, NaN without such a head; "second", (n,)
        probability that the second head gives its label, NaN without one, or where it grades.

    Raises
    ------
    InputError
        If the cohort has not what the encoder reads, no such split, or not what a label is of.
    FloatingPointError
        If the loss is not finite.
    """
    if cohort.images.ndim != ENCODERS[network.encoder][1]:
        raise InputError(
            f"network: {network.encoder} does not read images of shape {cohort.images.shape[1:]}"
        )
    training, asked = cohort.rows("train"), cohort.rows(split)
    kl, told = _labels(arm, cohort, training, seed)
    net = ArmNet(network, arm, seed)
    if network.encoder == "resnet3d":
        sizes = {min(network.batch, len(training)), len(training) % network.batch} - {0}
        shapes = [(size, 1, *cohort.images.shape[1:]) for size in sorted(sizes)]
        secure_convolutions(net, shapes, bf16=False)
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=network.learning_rate, weight_decay=network.weight_decay, fused=True
    )
    *epochs, last = draws(network, arm, training, seed)
    net.train()
    for epoch, batches in enumerate(epochs):
        for group in optimiser.param_groups:
            group["lr"] = network.rate(epoch)
        total = torch.zeros(())
        for rows, chance in batches:
            x = _augmented(network, _inputs(cohort.images, rows), torch.from_numpy(chance))
            loss = loss_of(net, net(x), kl[rows], None if told is None else told[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach()
        if not torch.isfinite(total):
            raise FloatingPointError(
                f"{arm.says}, seed {seed}: the loss became {float(total)} in epoch {epoch + 1}; "
                f"lower the learning rate ({network.learning_rate})"
            )
    update_bn((_inputs(cohort.images, rows) for rows, _ in last), net.encoder)
    return _answers(net, cohort.images, asked, network.batch)


def _labels(
    arm: TaskArm, cohort: SplitCohort, training: np.ndarray, seed: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Grades, and what the second head is told, by row; training cases alone decide of it."""
    kl = torch.tensor(cohort.cases["kl"].to_numpy(np.int64))
    if not arm.second:
        return kl, None
    own = cohort.cases.iloc[training].reset_index(drop=True)
    told = torch.zeros(len(kl), dtype=torch.int64)
    label = second_label(arm, own, np.ones(len(own), dtype=bool), seed, 0)
    told[training] = torch.from_numpy(label)
    return kl, told


def _inputs(images: np.ndarray, rows: np.ndarray) -> torch.Tensor:
    """Images of some rows as networks see them: (batch, 1, ...)."""
    if images.ndim == 3:
        return standardised(torch.from_numpy(images[rows]))
    return by_voxel(torch.from_numpy(images[rows].astype(np.float32)).unsqueeze(1))


def _augmented(network: ImageNetwork, x: torch.Tensor, chance: torch.Tensor) -> torch.Tensor:
    if not network.augments:
        return x
    shift, turn = network.shift * chance[:, :2], network.turn * chance[:, 2]
    return moved(x, x.new_zeros(len(x), 0, 2), shift, turn, 1 + network.scale * chance[:, 3])[0]


@torch.no_grad()
def _answers(
    net: ArmNet, images: np.ndarray, asked: np.ndarray, batch: int
) -> dict[str, np.ndarray]:
    """What a trained network says of some rows, see :func:`train`."""
    net.eval()
    said = torch.full((len(asked), N_GRADES), torch.nan, dtype=torch.float64)
    yes = torch.full((len(asked),), torch.nan, dtype=torch.float64)
    for first in range(0, len(asked), batch):
        here = slice(first, first + batch)
        grade, second = (
            None if one is None else one.double() for one in net(_inputs(images, asked[here]))
        )
        if grade is not None:
            if net.arm.joint == "product":
                assert second is not None
                grade = hierarchical(second, grade)
            said[here] = probabilities(net.arm.grading, grade)
        if second is not None and net.arm.second_outputs == 1:
            yes[here] = second.sigmoid().squeeze(-1)
    return {"grade": said.numpy(), "second": yes.numpy()}
