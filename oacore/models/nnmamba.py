"""nnMamba's classifier (Gong et al. 2024, arXiv:2402.03526): convolutions and one Mamba block.

Convolutions see a neighbourhood; the Mamba block (Gu and Dao 2023, arXiv:2312.00752) passes
over all voxels of the half-resolution volume as one sequence, so that a voxel can draw on
every voxel before it. Sequences are (batch, channels, length) throughout: a volume becomes one
by a mere `flatten`, and nothing that long is ever transposed or copied without need.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from monai.networks.nets.resnet import ResNetBlock
from torch import nn

from oacore.errors import InputError
from oacore.models.scan.selective import default_backend, selective_scan

#: As it is written in prose and figures.
NAME = "nnMamba"


class MambaBlock(nn.Module):
    """Sequence to sequence, causal: ``(batch, dim, length) -> (batch, dim, length)``.

    Section 3.4 and figure 3 of Mamba (arXiv:2312.00752). Parameters have the names, shapes and
    initial values of mamba_ssm's ``Mamba``, so weights of the one load into the other; only
    the sequence's axes are swapped.

    Parameters
    ----------
    dim : int
        Channels of the sequence.
    states : int
        Size N of each channel's hidden state.
    conv : int
        Tokens that the convolution sees: the present one and those just before it.
    expand : int
        Channels inside the block, as a multiple of `dim`.
    """

    def __init__(self, dim: int, states: int = 8, conv: int = 4, expand: int = 2) -> None:
        super().__init__()
        inner = expand * dim
        self.states, self.dt_rank = states, math.ceil(dim / 16)
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, conv, groups=inner, padding=conv - 1)
        self.x_proj = nn.Linear(inner, self.dt_rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, inner)
        # The paper's code decays A_log, D and dt_proj.bias like all its parameters (AdamW,
        # 1e-4), and so does training here; mamba_ssm would leave A_log and D out of it.
        self.A_log = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, dim, bias=False)

        # Section 3.6: step sizes softplus(bias) start log-uniform between 0.001 and 0.1.
        bound = self.dt_rank**-0.5
        nn.init.uniform_(self.dt_proj.weight, -bound, bound)
        step = torch.exp(torch.rand(inner) * math.log(0.1 / 0.001) + math.log(0.001))
        with torch.no_grad():
            self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))  # inverse softplus

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        """Mix a sequence of shape (batch, dim, length) along its length."""
        length = sequence.shape[-1]
        # Two products, not one cut in two: each half then lies in one piece for the scan.
        x, z = (_project(half, sequence) for half in self.in_proj.weight.chunk(2))
        # x and z are (batch, inner, length). The convolution is padded on both sides and its
        # result cut on the right, so token t sees tokens t - conv + 1 to t.
        x = F.silu(self.conv1d(x)[..., :length])  # (batch, inner, length)

        # The selection (section 3.2): step size, B and C follow from the token itself.
        parts = [self.dt_rank, self.states, self.states]
        dt, B, C = _project(self.x_proj.weight, x).split(parts, dim=1)  # (batch, part, length)
        dt = _project(self.dt_proj.weight, dt)  # (batch, inner, length)
        A = -torch.exp(self.A_log)  # (inner, states); negative, so that states decay

        # delta_t = softplus(dt_t + bias)
        # h_t = exp(delta_t A) h_{t-1} + delta_t B_t x_t, for each channel of its own
        # y_t = (C_t . h_t + D x_t) silu(z_t)
        bias = self.dt_proj.bias
        y = selective_scan(x, dt, A, B, C, self.D, z=z, delta_bias=bias, delta_softplus=True)
        return _project(self.out_proj.weight, y)  # (batch, dim, length)


def _project(weight: torch.Tensor, sequence: torch.Tensor) -> torch.Tensor:
    """Apply a Linear's weight to each token of a sequence (batch, channels, length)."""
    # `weight @ sequence` would transpose and copy the sequence; so this is 2 to 3 times faster.
    return torch.bmm(weight.expand(len(sequence), -1, -1), sequence)


class MambaLayer(nn.Module):
    """A Mamba block over all voxels of a volume, between two 1x1x1 convolutions."""

    def __init__(self, channels: int, states: int, conv: int, expand: int) -> None:
        super().__init__()
        self.before = nn.Sequential(
            nn.Conv3d(channels, channels, 1, bias=False),
            nn.BatchNorm3d(channels),
            nn.ReLU(inplace=True),
        )
        self.block = MambaBlock(channels, states, conv, expand)
        self.after = nn.Sequential(
            nn.Conv3d(channels, channels, 1, bias=False),
            nn.BatchNorm3d(channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Volumes of shape (batch, channels, D, H, W) to the same shape."""
        sequence = self.before(volume).flatten(2)  # (batch, channels, D*H*W), W fastest
        mixed = sequence + self.block(sequence)  # (batch, channels, D*H*W)
        return self.after(mixed.view_as(volume))  # (batch, channels, D, H, W)


class NNMamba(nn.Module):
    """Volume to feature vector: ``(batch, 1, D, H, W) -> (batch, n_features)``.

    Parameters
    ----------
    channels : int
        Channels of the stem; the stages have 2, 4 and 8 times as many. nnMamba's is 32.
    blocks : int
        Residual blocks in each stage.
    hidden : int, optional
        Length of the feature vector; `channels` without one.
    states, conv, expand : int
        See :class:`MambaBlock`.
    dropout : float
        Share of the feature vector that training sets to zero.

    Attributes
    ----------
    n_features : int
        Length of the feature vector.
    """

    cam_layer = "stage2"  # of the three stages, all of which are pooled, the finest

    def __init__(
        self,
        channels: int = 32,
        blocks: int = 3,
        hidden: int | None = None,
        states: int = 8,
        conv: int = 4,
        expand: int = 2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.n_features = channels if hidden is None else hidden
        sizes = {"channels": channels, "blocks": blocks, "hidden": self.n_features}
        sizes |= {"states": states, "conv": conv, "expand": expand}
        for name, size in sizes.items():
            if size < 1:
                raise InputError(f"NNMamba: {name} is {size}; give at least 1")
        self.stem = nn.Sequential(
            nn.Conv3d(1, channels, 3, stride=2, padding=1),
            nn.BatchNorm3d(channels),
            nn.ReLU(inplace=True),
            nn.Conv3d(channels, channels, 3, padding=1),
            nn.BatchNorm3d(channels),
            nn.ReLU(inplace=True),
        )
        self.mamba = MambaLayer(channels, states, conv, expand)
        self.stage2 = _stage(channels, 2 * channels, blocks)
        self.stage3 = _stage(2 * channels, 4 * channels, blocks)
        self.stage4 = _stage(4 * channels, 8 * channels, blocks)
        self.hidden = nn.Sequential(
            nn.Linear(14 * channels, self.n_features), nn.ReLU(), nn.Dropout(dropout)
        )

    def kernel(self, device: torch.device) -> str:
        """Name the backend that computes the scan on a device, for the record of a run."""
        return f"{default_backend(device)} scan"

    def features(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """All that can be called the penultimate features; the last entry is what heads read.

        Parameters
        ----------
        x : Tensor
            Volumes of shape (batch, 1, D, H, W).

        Returns
        -------
        dict of Tensor
            "pooled" of shape (batch, 14 * channels), 448 by default, and "hidden" of shape
            (batch, n_features), 32 by default. The released re-analysis reads "hidden".
        """
        c1 = self.stem(x)  # (batch, channels, D/2, H/2, W/2)
        c1 = c1 + self.mamba(c1)  # the same shape
        c2 = _run(self.stage2, c1)  # (batch, 2 channels, D/4, H/4, W/4)
        c3 = _run(self.stage3, c2)  # (batch, 4 channels, D/8, H/8, W/8)
        c4 = _run(self.stage4, c3)  # (batch, 8 channels, D/16, H/16, W/16)
        # Global average of each stage: (2 + 4 + 8) * channels numbers a volume.
        pooled = torch.cat([c.mean(dim=(2, 3, 4)) for c in (c2, c3, c4)], dim=1)
        return {"pooled": pooled, "hidden": self.hidden(pooled)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Feature vectors (batch, n_features) of volumes (batch, 1, D, H, W)."""
        return self.features(x)["hidden"]


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    """Residual blocks, the first of which halves the resolution.

    Its shortcut is a 1x1x1 convolution with stride 2 and batch normalisation.
    """
    shortcut = nn.Sequential(
        nn.Conv3d(inputs, outputs, 1, stride=2, bias=False), nn.BatchNorm3d(outputs)
    )
    first = ResNetBlock(inputs, outputs, stride=2, downsample=shortcut)
    return nn.Sequential(first, *(ResNetBlock(outputs, outputs) for _ in range(blocks - 1)))


def _run(stage: nn.Module, volume: torch.Tensor) -> torch.Tensor:
    """Apply a stage, on a CPU without autocast where a side of its output is 1 or 2 voxels."""
    # There the weight gradients of bf16 convolutions are memory that oneDNN never wrote
    # (seen with torch 2.13: two slices and a kernel of three).
    if min(volume.shape[2:]) > 4 or not torch.is_autocast_enabled("cpu"):
        return stage(volume)
    with torch.autocast("cpu", enabled=False):
        return stage(volume.float())


ENCODER = NNMamba
