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
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from oacore.backbones import BACKBONE_NAMES
from oacore.errors import InputError
from oacore.hierarchy import N_GRADES
from oacore.instruments.hierarchy import heads
from oacore.instruments.hierarchy.arms import TaskArm, second_label
from oacore.instruments.hierarchy.schedule import rate_at, require_known
from oacore.models.heads import by_voxel, channels_last, encoder_class
from oacore.models.resnet2d import ResNet2D
from oacore.profile import SCHEDULES
from oacore.training.augmentation import moved, standardised
from oacore.training.convolutions import secure_convolutions

#: The encoder of pictures; those of volumes are the backbones.
PICTURES = "resnet2d"
#: Streams of random numbers, beside seed and the arm's start: none follows from another.
_STREAMS = {
    **{"encoder": 4001, "grade": 4002, "second": 4003, "order": 4004, "moved": 4005},
    "dropout": 4006,
}
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
    encoder : str
        :data:`PICTURES`, or of volumes, a key of :data:`.backbones.BACKBONE_NAMES`.
    options : dict
        Passed to the encoder.
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
        known = [PICTURES, *BACKBONE_NAMES]
        require_known(encoder=(self.encoder, known), schedule=(self.schedule, SCHEDULES))
        if self.augments and self.encoder != PICTURES:
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
        return rate_at(self.schedule, self.learning_rate, epoch, self.epochs)


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
        entropy = {name: (_STREAMS[name], seed, arm.start) for name in ("grade", "second")}
        first = heads.initial_heads(arm, n_features, entropy)
        self.heads = nn.ParameterDict(
            {name: torch.tensor(values, dtype=torch.float32) for name, values in first.items()}
        )

    def forward(self, x: torch.Tensor) -> heads.Logits:
        """What both heads answer for images (batch, 1, ...): (batch, outputs); None without one."""
        return heads.answer(self.arm, self.heads, self.encoder(x))  # type: ignore[arg-type]


def initial_encoder(network: ImageNetwork, seed: int, start: int) -> nn.Module:
    """The encoder that all arms of a seed begin with, whose `start` is the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_entropy("encoder", seed, start))
        if network.encoder == PICTURES:
            encoder: nn.Module = ResNet2D(**network.options)
        else:
            encoder = encoder_class(network.encoder)(**network.options)
    if network.encoder != PICTURES:
        return channels_last(encoder)  # type: ignore[arg-type]
    # Pictures take a third less time with the channels of each pixel side by side.
    few = any(_strides_few_channels(module) for module in encoder.modules())
    layout = torch.contiguous_format if few else torch.channels_last
    return encoder.to(memory_format=layout)  # type: ignore[call-overload]


def _entropy(stream: str, seed: int, start: int) -> int:
    """A seed of PyTorch's random numbers."""
    return int(np.random.SeedSequence([_STREAMS[stream], seed, start]).generate_state(1)[0])


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


def train(
    network: ImageNetwork,
    arm: TaskArm,
    cohort: SplitCohort,
    seed: int,
    split: str = "test",
    device: str = "cpu",
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
    device : str
        As PyTorch names it.

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
    if cohort.images.ndim != (3 if network.encoder == PICTURES else 4):
        raise InputError(
            f"network: {network.encoder} does not read images of shape {cohort.images.shape[1:]}"
        )
    training, asked = cohort.rows("train"), cohort.rows(split)
    kl, told = _labels(arm, cohort, training, seed)
    net = ArmNet(network, arm, seed)
    if network.encoder != PICTURES and device == "cpu":
        sizes = {min(network.batch, len(training)), len(training) % network.batch} - {0}
        shapes = [(size, 1, *cohort.images.shape[1:]) for size in sorted(sizes)]
        secure_convolutions(net, shapes, bf16=False)
    net.to(device)
    kl = kl.to(device)
    told = None if told is None else told.to(device)
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=network.learning_rate, weight_decay=network.weight_decay, fused=True
    )
    *epochs, last = draws(network, arm, training, seed)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if device != "cpu" else []):
        torch.manual_seed(_entropy("dropout", seed, arm.start))
        net.train()
        for epoch, batches in enumerate(epochs):
            for group in optimiser.param_groups:
                group["lr"] = network.rate(epoch)
            loss = _epoch(network, net, optimiser, cohort.images, kl, told, batches)
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"{arm.says}, seed {seed}: the loss became {loss} in epoch {epoch + 1}; "
                    f"lower the learning rate ({network.learning_rate})"
                )
        update_bn((_inputs(cohort.images, rows).to(device) for rows, _ in last), net.encoder)
    return _answers(net, cohort.images, asked, network.batch)


def _epoch(
    network: ImageNetwork,
    net: ArmNet,
    optimiser: torch.optim.Optimizer,
    images: np.ndarray,
    kl: torch.Tensor,
    told: torch.Tensor | None,
    batches: list[Batch],
) -> float:
    """One pass over the training cases; the sum of its losses."""
    total = torch.zeros((), device=kl.device)
    for rows, chance in batches:
        x = _augmented(network, _inputs(images, rows), torch.from_numpy(chance)).to(kl.device)
        here = torch.from_numpy(rows).to(kl.device)
        of_rows = None if told is None else told[here]
        loss = heads.loss_of([net.arm], net.heads, net(x), kl[here], of_rows)  # type: ignore[arg-type]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.detach()
    return float(total)


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
    device = next(net.parameters()).device
    said = torch.full((len(asked), N_GRADES), torch.nan, dtype=torch.float64)
    yes = torch.full((len(asked),), torch.nan, dtype=torch.float64)
    for first in range(0, len(asked), batch):
        here = slice(first, first + batch)
        grade, second = heads.said(net.arm, net(_inputs(images, asked[here]).to(device)))
        if grade is not None:
            said[here] = grade.cpu()
        if second is not None:
            yes[here] = second.cpu()
    return {"grade": said.numpy(), "second": yes.numpy()}
