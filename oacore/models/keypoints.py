"""Grades of a picture from one encoder: pooled over all of it, or sampled at its landmarks.

Keypoint pooling is that of arXiv:2112.09177, section 2.1: the map after the third stage is sampled
bilinearly at anatomical points; heads of a compartment read the features of its own points, heads
of the whole knee those of all. The regression head is that of its supplement (Antony and others
2017, arXiv:1703.09856): a scalar beside the classes of each grade.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from oacore.errors import InputError
from oacore.models.resnet2d import ResNet2D

#: How a picture becomes a vector.
POOLINGS = ("global", "keypoints")
#: The stage whose map is sampled; the first is 0.
SAMPLED = 2


def sample_at(maps: torch.Tensor, points: torch.Tensor, stride: float) -> torch.Tensor:
    """Sample maps bilinearly at points of the pictures that they were made from.

    Parameters
    ----------
    maps : Tensor, (batch, channels, H, W)
        Cell (i, j) is centred on pixel (stride * i, stride * j) of the picture, as in a network
        whose strided layers have odd kernels padded by half of them.
    points : Tensor, (batch, points, 2)
        x and y in pixels of the picture, pixel centres at whole numbers.
    stride : float
        Pixels from one cell's centre to the next one's.

    Returns
    -------
    Tensor, (batch, points, channels)
        Differentiable in `maps` and in `points`. A point outside the outermost centres is given
        the nearest place between them.

    Raises
    ------
    InputError
        If a coordinate is missing (NaN): the message names its row in the batch.

    Notes
    -----
    The place in cells is x / stride. `grid_sample` scales by the size of the map instead, from the
    outer edges or the outermost centres, as if the map covered the picture evenly. At 320 pixels
    and stride 16 that is off by 7.5 pixels everywhere, or by more and more to 14 at the far edge.
    So the place is put into its coordinates in such a way that it comes out again.
    """
    missing = torch.isnan(points).flatten(1).any(1)
    if missing.any():
        row = int(missing.nonzero()[0])
        raise InputError(
            f"row {row} of the batch has a landmark without a place (NaN); give every picture "
            "landmarks, detected ones if there are no others"
        )
    height, width = maps.shape[2:]
    size = points.new_tensor([width, height])
    grid = (2 * points / stride + 1) / size - 1  # (batch, points, 2)
    sampled = F.grid_sample(
        maps, grid.unsqueeze(1).to(maps.dtype), padding_mode="border", align_corners=False
    )  # (batch, channels, 1, points)
    return sampled.squeeze(2).transpose(1, 2)


class Answer(NamedTuple):
    """What a network says of a batch of pictures, by the names of its heads.

    Attributes
    ----------
    logits : dict of str to Tensor, (batch, classes)
    scores : dict of str to Tensor, (batch,)
        Grades as numbers, of the regression heads; empty without them.
    """

    logits: dict[str, torch.Tensor]
    scores: dict[str, torch.Tensor]


class GradingNet(nn.Module):
    """An encoder and a linear head for each grade.

    Parameters
    ----------
    encoder : ResNet2D
        For keypoints, stages after the third are not needed.
    heads : mapping of str to int
        Number of classes by the name of a grade.
    pooling : {"global", "keypoints"}
        "global", the mean of the last stage; "keypoints", the third stage at the points.
    compartments : mapping of str to sequence of int
        For keypoints, the points by the name of a grade that belongs to a part of the picture;
        other heads read all points.
    n_points : int
        For keypoints, how many there are.
    regression : bool
        Whether each grade has a scalar beside its classes.
    """

    def __init__(
        self,
        encoder: ResNet2D,
        heads: Mapping[str, int],
        pooling: str = "global",
        compartments: Mapping[str, Sequence[int]] | None = None,
        n_points: int = 0,
        regression: bool = False,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise InputError(f"unknown pooling {pooling!r}: choose one of {', '.join(POOLINGS)}")
        if pooling == "keypoints" and n_points < 1:
            raise InputError("pooling at keypoints needs n_points, the number of them")
        compartments = compartments or {}
        if strange := sorted(set(compartments) - set(heads)):
            raise InputError(f"compartments name {strange[0]!r}, of which there is no head")
        self.encoder, self.pooling = encoder, pooling
        self.points_of = {
            name: list(compartments.get(name, range(n_points))) if pooling == "keypoints" else []
            for name in heads
        }
        for name, points in self.points_of.items():
            if points and not 0 <= min(points) <= max(points) < n_points:
                raise InputError(f"compartment {name!r} has a point that is none of {n_points}")
        channels = encoder.channels[SAMPLED] if n_points else encoder.n_features
        sizes = {
            name: encoder.n_features if pooling == "global" else channels * len(points)
            for name, points in self.points_of.items()
        }
        self.heads = nn.ModuleDict({name: nn.Linear(sizes[name], n) for name, n in heads.items()})
        self.regressors = nn.ModuleDict(
            {name: nn.Linear(sizes[name], 1) for name in heads} if regression else {}
        )

    def features(
        self, x: torch.Tensor, points: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """What each head reads, ``(batch, length)``, by the head's name.

        Parameters
        ----------
        x : Tensor, (batch, 1, H, W)
        points : Tensor, (batch, n_points, 2), optional
            Needed for keypoints, and not looked at otherwise.
        """
        if self.pooling == "global":
            return dict.fromkeys(self.points_of, self.encoder(x))
        if points is None:
            raise InputError("pooling at keypoints needs points; none are given")
        stage = self.encoder.maps(x)[SAMPLED]
        sampled = sample_at(stage, points, self.encoder.strides[SAMPLED])  # (batch, points, ch.)
        return {name: sampled[:, own].flatten(1) for name, own in self.points_of.items()}

    def forward(self, x: torch.Tensor, points: torch.Tensor | None = None) -> Answer:
        """Logits and scores of pictures; see `features` for what is given."""
        z = self.features(x, points)
        logits = {name: head(z[name]) for name, head in self.heads.items()}
        scores = {name: head(z[name]).squeeze(1) for name, head in self.regressors.items()}
        return Answer(logits, scores)
