"""M3T: slices of three planes through one 2D network, then a transformer.

Jang and Hwang, CVPR 2022, doi 10.1109/CVPR52688.2022.02006, written from the paper's
description; there is no official code. Equation numbers are the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from monai.networks.nets.resnet import ResNet
from torch import nn

from oacore.errors import InputError
from oacore.models.weights import fitted, load_strictly, read_tensors

#: As it is written in prose and figures.
NAME = "M3T"

# depth of the 2D network: (block, blocks in each stage, channels out per channel of the block)
STAGES_2D: dict[int, tuple[str, list[int], int]] = {
    18: ("basic", [2, 2, 2, 2], 1),
    50: ("bottleneck", [3, 4, 6, 3], 4),
}
# planes in the order in which their slices stand in the sequence of tokens, by variant
PLANES: dict[str, tuple[str, str, str]] = {
    "as described": ("coronal", "sagittal", "axial"),
    "as released": ("sagittal", "coronal", "axial"),
}
SMALLEST = 16  # voxels along an axis: the 2D network divides by up to 32


class M3T(nn.Module):
    """Volume to feature vector: ``(batch, 1, S, S, S) -> (batch, n_features)``.

    Axes 2, 3, 4 of the input are sagittal, coronal and axial slice index, the axes of a volume
    in canonical (RAS) orientation. The code released with arXiv:2605.00718 calls the slices along
    axis 2 coronal and those along axis 3 sagittal, whatever they show. Here they are called what
    they are; a drawing of attention under the release's own weights has to know of it.

    Parameters
    ----------
    size : int
        S, voxels along each axis, at least 16. The paper's is 128.
    channels : int
        Of the 3D stem.
    depth2d : {18, 50}
        Of the 2D residual network.
    width2d : int
        Channels of its first stage; 64 is the standard network.
    width : int
        Length of a token.
    layers, heads : int
        Of the transformer.
    mlp : int, optional
        Hidden units of each transformer layer's perceptron; twice the width by default. The
        paper writes "hidden size and MLP size 768". Its count of 29.2 million parameters fits
        an MLP of 512; with 768 there are 30.3 million. 768 = 3 x 256 is then the width of
        query, key and value together.
    variant : {"as described", "as released"}
        "as described" is the paper's, with a layer normalisation after the last layer, as
        pre-norm transformers have it. "as released" is the model of the code released with
        arXiv:2605.00718. It computes something else: the stem's features are squared before
        slicing; attention is divided by sqrt(width) after the softmax, instead of scaled by
        1/sqrt(width/heads) before it; nothing is normalised after the last layer. It starts
        elsewhere: class token, separator and embeddings have standard deviation 1, not .02; the
        transformer and the first 2D convolution have PyTorch's default weights. And it counts
        otherwise: the tokens of the slices along axes 2, 3, 4 stand in this order.
    weights2d : path-like, optional
        ImageNet weights of the 2D network, see :func:`load_imagenet`. "as released" does not take
        the first convolution from them.
    checkpoint : bool
        Keep only what stands between the network's stages for the backward pass, and compute
        the rest again. Results are the same; it saves memory and costs time.

    Attributes
    ----------
    n_features : int
        Length of the feature vector, equal to the width.
    planes : tuple of str
        Names of the planes in the order of their tokens.
    """

    cam_layer = "stem"  # beyond it there are slices, and then tokens

    def __init__(
        self,
        size: int,
        channels: int = 32,
        depth2d: int = 50,
        width2d: int = 64,
        width: int = 256,
        layers: int = 8,
        heads: int = 8,
        mlp: int | None = None,
        variant: str = "as described",
        weights2d: str | Path | None = None,
        checkpoint: bool = False,
    ) -> None:
        if size < SMALLEST:
            raise InputError(f"M3T needs at least {SMALLEST} voxels along each axis, not {size}")
        if variant not in PLANES:
            raise InputError(f"M3T has the variants {', '.join(PLANES)}, not {variant!r}")
        if width % heads:
            raise InputError(f"M3T's width {width} must be a multiple of its {heads} heads")
        super().__init__()
        self.size = size
        self.planes = PLANES[variant]
        released = variant == "as released"
        self.square = released
        self.checkpoint = checkpoint
        self.n_features: int = width
        self.stem = nn.Sequential(
            nn.Conv3d(1, channels, 5, padding=2),
            nn.BatchNorm3d(channels),
            nn.ReLU(inplace=True),
            nn.Conv3d(channels, channels, 5, padding=2),
            nn.BatchNorm3d(channels),
            nn.ReLU(inplace=True),
        )
        self.slices = SliceNet(depth2d, channels, width2d, self.planes, checkpoint)
        if released:
            self.slices.conv1.reset_parameters()  # a Conv2d that the release puts in its place
        self.project = nn.Sequential(
            nn.Linear(self.slices.n_features, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )
        self.tokens = Tokens(size, width, sd=1.0 if released else 0.02)
        self.transformer = nn.Sequential(
            *(Layer(width, heads, mlp or 2 * width, variant) for _ in range(layers))
        )
        self.norm = nn.Identity() if released else nn.LayerNorm(width)
        # Channels last in memory: a training step takes two thirds of the time on a CPU.
        self.stem.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.slices.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if weights2d is not None:
            load_imagenet(self.slices, weights2d, own_first=released)

    def features(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """The vector that the heads read: ``{"cls": (batch, width)}``."""
        self._require_cubes(x)  # (B, 1, S, S, S)
        x = run(self.stem, x, self.checkpoint)  # (B, C, S, S, S), Eq. 1: X = D3d(I)
        if self.square:  # as released
            x = x * x
        s = self.slices(x)  # (B, 3S, C2d), slicing and Eq. 4: D2d of each slice
        t = self.project(s)  # (B, 3S, width)
        z = self.tokens(t)  # (B, 3S + 4, width), Eq. 6
        z = self.transformer(z)  # (B, 3S + 4, width), Eq. 7 and 8
        return {"cls": self.norm(z[:, 0])}  # (B, width); as released, no norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The class token of volumes of shape (batch, 1, S, S, S)."""
        return self.features(x)["cls"]

    def _require_cubes(self, x: torch.Tensor) -> None:
        S = self.size
        if x.ndim != 5 or x.shape[1:] != (1, S, S, S):
            raise InputError(
                f"this M3T reads volumes of shape (batch, 1, {S}, {S}, {S}), not "
                f"{tuple(x.shape)}; give a cubic grid in the profile, and its side as M3T's size"
            )


class SliceNet(ResNet):
    """One 2D ResNet for the slices of all planes: ``(B, C, S, S, S) -> (B, 3S, n_features)``.

    MONAI's network with torchvision's geometry and names: the first convolution is 7 x 7 with
    stride 2, each later stage but the first halves the resolution, shortcuts are 1 x 1
    convolutions without bias.
    """

    def __init__(
        self, depth: int, channels: int, width: int, planes: tuple[str, ...], checkpoint: bool
    ) -> None:
        if depth not in STAGES_2D:
            raise InputError(f"M3T's 2D ResNet comes in depths {sorted(STAGES_2D)}, not {depth}")
        block, stages, expansion = STAGES_2D[depth]
        super().__init__(
            block=block,
            layers=stages,
            block_inplanes=[width, 2 * width, 4 * width, 8 * width],
            spatial_dims=2,
            n_input_channels=channels,
            conv1_t_size=7,
            conv1_t_stride=2,
            shortcut_type="B",
            bias_downsample=False,
            feed_forward=False,
        )
        self.n_features = 8 * width * expansion
        self.planes = planes
        self.checkpoint = checkpoint

    def first(self, x: torch.Tensor) -> torch.Tensor:
        """Slices and the layers before layer1: ``(B, C, S, S, S) -> (B 3S, width, S/4, S/4)``."""
        x = three_planes(x, self.planes).flatten(0, 1)  # (B 3S, C, S, S)
        x = self.act(self.bn1(self.conv1(x)))  # (B 3S, width, S/2, S/2)
        return self.maxpool(x)  # (B 3S, width, S/4, S/4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A vector for each slice of each plane, in the order of `planes`."""
        batch = len(x)
        # Batch normalisation takes its mean over all slices of all planes, so they go together.
        x = run(self.first, x, self.checkpoint, self)  # (B 3S, width, S/4, S/4)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = run(stage, x, self.checkpoint)  # at last (B 3S, n_features, S/32, S/32)
        return self.avgpool(x).reshape(batch, -1, self.n_features)  # (B, 3S, n_features)


def three_planes(x: torch.Tensor, planes: tuple[str, ...]) -> torch.Tensor:
    """All slices of a volume: ``(B, C, S, S, S) -> (B, 3S, C, S, S)``.

    First the S slices of the first plane, then those of the second and the third. Rows and
    columns of a slice are the two axes left, in their order in the volume.
    """
    slices = {
        "sagittal": x.permute(0, 2, 3, 4, 1),  # (B, S, coronal, axial, C)
        "coronal": x.permute(0, 3, 2, 4, 1),  # (B, S, sagittal, axial, C)
        "axial": x.permute(0, 4, 2, 3, 1),  # (B, S, sagittal, coronal, C)
    }
    # Channels stay last in memory, as the 2D network wants them: this is the only copy.
    return torch.cat([slices[plane] for plane in planes], dim=1).permute(0, 1, 4, 2, 3)


class Tokens(nn.Module):
    """Class token, separators and embeddings (Eq. 6): ``(B, 3S, width) -> (B, 3S + 4, width)``.

    One learned separator stands at all three places. `sd` is the standard deviation with which
    all of them start.
    """

    def __init__(self, size: int, width: int, sd: float) -> None:
        super().__init__()
        self.cls = nn.Parameter(sd * torch.randn(1, 1, width))
        self.sep = nn.Parameter(sd * torch.randn(1, 1, width))
        self.plane = nn.Parameter(sd * torch.randn(3, width))  # in the order of the slices
        self.position = nn.Parameter(sd * torch.randn(3 * size + 4, width))

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """The transformer's input from the projected slices."""
        first, second, third = t.chunk(3, dim=1)  # planes, each (B, S, width)
        cls, sep = (token.expand(len(t), 1, -1) for token in (self.cls, self.sep))
        z = torch.cat([cls, first, sep, second, sep, third, sep], dim=1)  # (B, 3S + 4, width)
        S = first.shape[1]
        spans = (S + 2, S + 1, S + 1)  # tokens of a plane; the class token goes with the first
        plane = torch.cat([p.expand(n, -1) for p, n in zip(self.plane, spans, strict=True)])
        return z + plane + self.position  # both (3S + 4, width), the same for every volume


class Layer(nn.Module):
    """Pre-norm transformer layer: ``(B, T, width) -> (B, T, width)``."""

    def __init__(self, width: int, heads: int, mlp: int, variant: str) -> None:
        super().__init__()
        self.heads = heads
        self.after_softmax = variant == "as released"
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp), nn.GELU(), nn.Linear(mlp, width))
        if self.after_softmax:
            return  # the release leaves its linear layers as PyTorch makes them
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def attention(self, z: torch.Tensor) -> torch.Tensor:
        """Every token's mean of all tokens' values, weighted by softmax(q k)."""
        B, T, width = z.shape
        qkv = self.qkv(z).reshape(B, T, 3, self.heads, -1)  # (B, T, 3, heads, width/heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, width/heads)
        if self.after_softmax:
            a = F.scaled_dot_product_attention(q, k, v, scale=1.0) / math.sqrt(width)
        else:
            a = F.scaled_dot_product_attention(q, k, v)  # scaled by 1/sqrt(width/heads)
        return self.out(a.transpose(1, 2).reshape(B, T, width))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Attention, then the perceptron, each added to its input."""
        z = z + self.attention(self.norm1(z))  # Eq. 7
        return z + self.mlp(self.norm2(z))  # Eq. 8


def run(
    stage: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    again: bool,
    net: nn.Module | None = None,
) -> torch.Tensor:
    """``stage(x)``, a stage of `net`; with `again`, the backward pass computes it once more.

    Then only x is kept, and nothing of what the stage computes on the way. A stage that is a
    module needs no `net`.
    """
    if not again or not torch.is_grad_enabled():
        return stage(x)
    # The second time, running statistics have already seen this batch.
    return torch.utils.checkpoint.checkpoint(
        stage,
        x,
        use_reentrant=False,
        preserve_rng_state=False,  # no stage draws random numbers
        context_fn=lambda: (nullcontext(), _statistics_kept(stage if net is None else net)),
    )


@contextmanager
def _statistics_kept(module: Any) -> Iterator[None]:
    """Batch normalisation computes as ever, but leaves its running statistics alone."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def load_imagenet(net: SliceNet, path: str | Path, own_first: bool) -> None:
    """Load torchvision's ImageNet weights (``resnet18`` or ``resnet50``), strictly.

    The classification layer `fc` is left out. The first convolution reads 3 colours, ours as
    many channels as the stem has: each channel gets the mean of the 3 colours' kernels times
    3/channels, so that equal channels give what equal colours gave.

    Parameters
    ----------
    net : SliceNet
    path : path-like
        torchvision's ``.pth``, opened as tensors only so that no code from the file can run, or
        the same tensors as ``.safetensors``.
    own_first : bool
        Leave the first convolution as it is, as the release does, which puts a new one in its
        place.

    Raises
    ------
    InputError
        If the file is no such weight file, or of another depth or width.
    """
    state = read_tensors(path, "a torchvision resnet weight file")
    state = fitted(net, state, left_out=("fc.",))
    colours = state.get("conv1.weight")
    if colours is not None and colours.ndim == 4 and colours.shape[1] == 3:
        channels = net.conv1.in_channels
        mean = colours.mean(dim=1, keepdim=True)  # (width, 1, 7, 7)
        folded = mean.repeat(1, channels, 1, 1) * 3 / channels
        state["conv1.weight"] = net.conv1.weight.detach() if own_first else folded
    load_strictly(net, state, path, "build M3T with the file's depth2d and width2d 64")


ENCODER = M3T
