"""A detector of the sixteen landmarks, for pictures that have none.

A small residual network whose three maps are added up from coarse to fine, as in a feature pyramid
(Lin and others 2017, arXiv:1612.03144). Each landmark gets a map of its own; its place is the mean
under the softmax of that map (integral regression, Sun and others 2018, arXiv:1711.08229), which
tells places between cells and needs no target maps. Pictures are looked at in `WIDTH` columns, and
places come back in pixels of their own.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm

from oacore.errors import InputError
from oacore.files import saving, whole
from oacore.models.resnet2d import ResNet2D
from oacore.models.weights import load_strictly, read_tensors
from oacore.training.augmentation import moved, standardised

#: Columns of pixels of what the network sees, where a picture has more.
WIDTH = 112
#: Settings of the network, and channels of its maps once they are added up. Group normalisation
#: has no statistics that could be stale.
ENCODER: dict[str, Any] = {
    **{"depth": 10, "width": 16, "stages": 3, "stem_kernel": 3, "max_pool": False},
    "norm": "group",
}
CHANNELS = 32
#: Pictures in a step, and the first rate; it falls along half a cosine.
BATCH, LR = 16, 2e-3
#: Pixels, degrees and share by which pictures are shifted, turned and scaled in training.
SHIFT, TURN, SCALE = 8.0, 8.0, 0.1
#: Pictures that are detected at once.
AT_ONCE = 100


class PointNet(nn.Module):
    """Pictures to places: ``(batch, 1, H, W) -> (batch, n_points, 2)``, x and y in pixels.

    Parameters
    ----------
    n_points : int
    """

    def __init__(self, n_points: int) -> None:
        super().__init__()
        self.encoder = ResNet2D(**ENCODER)
        self.sides = nn.ModuleList(nn.Conv2d(c, CHANNELS, 1) for c in self.encoder.channels)
        self.mixed = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU())
        self.last = nn.Conv2d(CHANNELS, n_points, 1)
        # Faster than with the channels first.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """A map of each point on the finest grid, (batch, n_points, H / 2, W / 2)."""
        found = [side(one) for side, one in zip(self.sides, self.encoder.maps(x), strict=True)]
        summed = found.pop()
        while found:
            fine = found.pop()
            doubled = summed.repeat_interleave(2, 2).repeat_interleave(2, 3)
            summed = fine + doubled[:, :, : fine.shape[2], : fine.shape[3]]
        return self.last(self.mixed(summed))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Places of the points."""
        maps = self.maps(x)  # (batch, n_points, h, w)
        shares = maps.flatten(2).softmax(2).view_as(maps)
        stride = self.encoder.strides[0]
        rows, columns = (
            stride * torch.arange(n, device=maps.device, dtype=maps.dtype) for n in maps.shape[2:]
        )
        return torch.stack([shares.sum(2) @ columns, shares.sum(3) @ rows], dim=2)


def fit_detector(images: np.ndarray, points: np.ndarray, *, epochs: int, seed: int) -> PointNet:
    """Train a detector on pictures with landmarks.

    Parameters
    ----------
    images : (n, H, W) array of uint8
        Of people of the training split alone.
    points : (n, points, 2) array of float
        x and y in pixels, none missing.
    epochs : int
    seed : int
        Of first weights, order and augmentation.

    Returns
    -------
    PointNet
        In evaluation mode, on the CPU.

    Raises
    ------
    InputError
        If a landmark is missing, or there are no pictures.
    """
    if not len(images):
        raise InputError("no training picture has landmarks; a detector cannot be trained")
    if np.isnan(points).any():
        raise InputError("a landmark is missing (NaN); give the pictures that have all of them")
    small = reduced(images)
    there = torch.from_numpy((points + 0.5) * ratio(images) - 0.5).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PointNet(points.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    model.train()
    for epoch in tqdm(range(epochs), "landmark detector", unit="epoch"):
        for group in optimizer.param_groups:
            group["lr"] = LR * (1 + math.cos(math.pi * epoch / epochs)) / 2
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(small))
        for first in range(0, len(order), BATCH):
            rows = torch.from_numpy(order[first : first + BATCH])
            chance = torch.from_numpy(rng.uniform(-1, 1, (len(rows), 4)).astype(np.float32))
            x, wanted = moved(
                standardised(small[rows]), there[rows],
                SHIFT * chance[:, :2], TURN * chance[:, 2], 1 + SCALE * chance[:, 3],
            )  # fmt: skip
            loss = F.l1_loss(model(x), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def detect(model: PointNet, images: np.ndarray) -> np.ndarray:
    """Landmarks of pictures, (n, points, 2) float32, x and y in their own pixels."""
    found = [model(standardised(part)) for part in reduced(images).split(AT_ONCE)]
    return ((torch.cat(found).numpy() + 0.5) / ratio(images) - 0.5).astype(np.float32)


def save_detector(model: PointNet, path: str | Path) -> None:
    """Write a detector's weights as safetensors, whole or not at all."""
    path = Path(path)
    with saving(path), whole(path) as part:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, part)


def read_detector(path: str | Path) -> PointNet:
    """Read what :func:`save_detector` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, or holds something else.
    """
    state = read_tensors(path, "a landmark detector's safetensors file")
    if "last.bias" not in state:
        raise InputError(f"{path}: holds no landmark detector; train one (see find_landmarks)")
    model = PointNet(len(state["last.bias"]))
    load_strictly(model, state, path, "train a detector again with this version")
    return model.eval()


def reduced(images: np.ndarray) -> torch.Tensor:
    """Pictures of `WIDTH` columns, (n, h, WIDTH), each pixel the mean of what it covers.

    Narrower pictures stay as they are.
    """
    if images.shape[2] <= WIDTH:
        return torch.from_numpy(np.ascontiguousarray(images)).float()
    size = round(images.shape[1] * WIDTH / images.shape[2]), WIDTH
    parts = torch.from_numpy(np.ascontiguousarray(images)).split(AT_ONCE)
    return torch.cat(
        [F.interpolate(part.float().unsqueeze(1), size, mode="area").squeeze(1) for part in parts]
    )


def ratio(images: np.ndarray) -> np.ndarray:
    """Columns and rows of :func:`reduced` over those of the pictures."""
    there = np.array(images.shape[:0:-1])
    small = np.array([WIDTH, round(there[1] * WIDTH / there[0])])
    return np.ones(2) if there[0] <= WIDTH else small / there


def landmark_errors(
    found: np.ndarray, points: np.ndarray, mm: np.ndarray | None = None
) -> pd.DataFrame:
    """How far detected landmarks lie from the reference's, a row a landmark and one for all.

    Parameters
    ----------
    found, points : (n, points, 2) arrays
        In pixels; pictures without reference (NaN) are left out.
    mm : (n, 2) array, optional
        Millimetres a pixel along x and y.

    Returns
    -------
    DataFrame
        `landmark` (its number, or "all"), `n` pictures, and the median and 90th percentile of the
        distance: `median_px`, `p90_px`, and with `mm` also `median_mm`, `p90_mm`.
    """
    there = ~np.isnan(points).any(axis=(1, 2))
    apart = (found - points)[there]  # (n, points, 2)
    distances = {"px": np.linalg.norm(apart, axis=2)}
    if mm is not None:
        distances["mm"] = np.linalg.norm(apart * mm[there][:, None], axis=2)
    rows = []
    for name in [*range(points.shape[1]), "all"]:
        row: dict[str, object] = {"landmark": name, "n": int(there.sum())}
        for unit, distance in distances.items():
            some = distance if name == "all" else distance[:, int(name)]
            row |= {f"median_{unit}": np.median(some), f"p90_{unit}": np.quantile(some, 0.9)}
        rows.append(row)
    return pd.DataFrame(rows)
