"""How long a training step takes with features at keypoints, beside one with global pooling.

Run from the repository's root: ``python -m benchmarks.keypoints``. On one thread. Both sides are
ResNet-50 with the seven heads, on the same pictures of 320 pixels; a step is forwards, backwards
and Adam. Global pooling is that of the last stage, as in the paper's baseline, and in a second row
that of the third stage, where features at keypoints come from, so that only the pooling differs.
Before anything is timed, features at points on the centres of cells must be those cells, to 1e-4.
Then the two sides take turns. It takes a minute or two, prints a table, and with ``--out`` writes
a record that the book's chapter on speed can read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from benchmarks.measure import Row, alternate
from benchmarks.speed import on_one_thread
from oacore.instruments.coherence.patterns import SIZES
from oacore.instruments.radiographs.arms import COMPARTMENTS
from oacore.models.keypoints import SAMPLED, GradingNet, sample_at
from oacore.models.resnet2d import ResNet2D

SEED = 0
CPU = torch.device("cpu")
POINTS = 16


@dataclass(frozen=True)
class Setting:
    """Sizes of what is timed; the defaults are those that get recorded.

    Attributes
    ----------
    depth, width : int
        Of the network.
    side : int
        Pixels of a picture.
    batch : int
        Pictures in a step.
    repeats : int
        Turns.
    aim : float
        Least ratio: a step at keypoints takes at most 1.1 times as long.
    """

    depth: int = 50
    width: int = 64
    side: int = 320
    batch: int = 2
    repeats: int = 5
    aim: float = 1 / 1.1


def network(setting: Setting, pooling: str, stages: int) -> GradingNet:
    """A network with the seven heads."""
    torch.manual_seed(SEED)
    encoder = ResNet2D(setting.depth, setting.width, stages=stages)
    if pooling == "global":
        return GradingNet(encoder, SIZES)
    return GradingNet(encoder, SIZES, pooling, COMPARTMENTS, POINTS)


def step_of(
    net: GradingNet, pictures: torch.Tensor, points: torch.Tensor
) -> Callable[[], torch.Tensor]:
    """One step of training."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    grades = torch.zeros(len(pictures), dtype=torch.int64)

    def step() -> torch.Tensor:
        logits = net(pictures, points).logits.values()
        losses = [cross_entropy(one, grades) for one in logits]
        loss = torch.stack(losses).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def check(net: GradingNet, pictures: torch.Tensor) -> None:
    """Stop unless points on the centres of cells are given those cells."""
    with torch.no_grad():
        maps = net.encoder.maps(pictures)[SAMPLED]
        stride = net.encoder.strides[SAMPLED]
        cells = torch.arange(min(maps.shape[2:]))
        points = (stride * cells)[None, :, None].expand(len(maps), -1, 2).float()
        found = sample_at(maps, points, stride)
        wanted = maps[:, :, cells, cells].transpose(1, 2)
    gap = float((found - wanted).norm() / wanted.norm())
    if not gap <= 1e-4:
        raise RuntimeError(
            f"features at the centres of cells differ from those cells by {gap:.1e} of their norm; "
            "a comparison of their speed would mean nothing"
        )


def rows(setting: Setting) -> Iterator[Row]:
    """One row for each stage that global pooling may come from."""
    torch.manual_seed(SEED)
    pictures = torch.randn(setting.batch, 1, setting.side, setting.side)
    points = setting.side * torch.rand(setting.batch, POINTS, 2)
    ours = network(setting, "keypoints", 3)
    check(ours, pictures)
    for stages, word in ((4, "last"), (3, "third")):
        peer = network(setting, "global", stages)
        calls = {
            "peer": step_of(peer, pictures, points),
            "ours": step_of(ours, pictures, points),
        }
        for call in calls.values():
            call()
        taken = alternate(calls, CPU, setting.repeats, patience=60)
        yield Row(
            "keypoints", f"Step at keypoints, beside global pooling of the {word} stage: time",
            f"global pooling of the {word} stage", "oacore.models.keypoints",
            taken["peer"], taken["ours"], "s",
            aim=setting.aim, note=f"ResNet-{setting.depth} of width {setting.width}, "
            f"{setting.batch} pictures of {setting.side} pixels, {POINTS} points",
        )  # fmt: skip


def main(arguments: list[str] | None = None, setting: Setting | None = None) -> int:
    """Measure, print, and record where asked."""
    return on_one_thread("keypoints", __doc__, rows, setting or Setting(), SEED, arguments)


if __name__ == "__main__":
    sys.exit(main())
