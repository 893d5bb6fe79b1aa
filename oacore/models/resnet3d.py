"""ResNet3D: the 3D residual encoder of Med3D (Chen, Ma and Zheng 2019, arXiv:1904.00625).

MONAI's ResNet has Med3D's layers and parameter names but not its geometry: Med3D keeps
the last two stages at one eighth of the input's resolution and dilates their convolutions.
That is put right here, so Med3D's weights compute what they were trained to compute.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.nets.resnet import ResNet, ResNetBlock, ResNetBottleneck
from torch import nn

from oacore.errors import InputError
from oacore.models.weights import fitted, load_strictly, read_tensors

#: As it is written in prose and figures.
NAME = "ResNet3D"


class ResidualBlock(ResNetBlock):
    """Two convolutions, whose result is added to the block's own input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, in_planes, D, H, W) -> (batch, planes, D/stride, H/stride, W/stride)``."""
        y = self.act(self.bn1(self.conv1(x)))  # (batch, planes, D/stride, H/stride, W/stride)
        y = self.bn2(self.conv2(y))  # the same shape
        shortcut = x if self.downsample is None else self.downsample(x)  # the same shape
        y += shortcut
        return self.act(y)


# depth: (block, blocks in each stage, shortcut)
STAGES: dict[int, tuple[type[ResNetBlock | ResNetBottleneck], list[int], str]] = {
    10: (ResidualBlock, [1, 1, 1, 1], "B"),
    18: (ResidualBlock, [2, 2, 2, 2], "A"),
    34: (ResidualBlock, [3, 4, 6, 3], "A"),
    50: (ResNetBottleneck, [3, 4, 6, 3], "B"),
}


class ResNet3D(ResNet):
    """Volume to feature vector: ``(batch, 1, D, H, W) -> (batch, n_features)``.

    Parameters
    ----------
    depth : {10, 18, 34, 50}
    width : int
        Channels of the first stage; later stages have 2, 4 and 8 times as many.
        Med3D's is 64.
    shortcut : {"A", "B"}, optional
        A subsamples and pads with zero channels, B is a 1x1x1 convolution with batch
        normalisation. Med3D's own by default: A for 18 and 34, B for 10 and 50.
    weights : path-like, optional
        A Med3D file to start from, see :func:`load_med3d`; random weights without one.
    cut_gradient : bool
        Keep the fault of Med3D's shortcut A, through which no gradient flows back. Only for an
        exact replication: gradients, and gradient saliency with them, are wrong with it.

    Attributes
    ----------
    n_features : int
        Length of the pooled feature vector.
    """

    cam_layer = "layer4"

    def __init__(
        self,
        depth: int = 18,
        width: int = 64,
        shortcut: str | None = None,
        weights: str | Path | None = None,
        cut_gradient: bool = False,
    ) -> None:
        if depth not in STAGES:
            raise InputError(f"ResNet3D comes in depths {sorted(STAGES)}, not {depth}")
        block, stages, med3d_shortcut = STAGES[depth]
        planes = [width, 2 * width, 4 * width, 8 * width]
        shortcut = shortcut or med3d_shortcut
        if cut_gradient and shortcut != "A":
            raise InputError("only shortcut A can cut the gradient: shortcut B is a convolution")
        super().__init__(
            block=block,
            layers=stages,
            block_inplanes=planes,
            n_input_channels=1,
            conv1_t_stride=2,
            shortcut_type=shortcut,
            bias_downsample=False,
            feed_forward=False,
        )
        self.cut_gradient = cut_gradient
        _dilate(self.layer3, 2)
        _dilate(self.layer4, 4)
        self.n_features: int = self.in_planes
        if weights is not None:
            load_med3d(self, weights)

    @staticmethod
    def settled(settings: dict[str, Any]) -> dict[str, Any]:
        """Settings with Med3D's own shortcut in place of None."""
        return {**settings, "shortcut": settings["shortcut"] or STAGES[settings["depth"]][2]}

    def features(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """The globally averaged output of the last stage, ``{"pooled": (batch, n_features)}``."""
        return {"pooled": self(x)}

    def _downsample_basic_block(
        self, x: torch.Tensor, planes: int, stride: int, spatial_dims: int = 3
    ) -> torch.Tensor:
        # Overrides MONAI's shortcut A, which (like MedicalNet's) concatenates `out.data` and so
        # cuts the gradient: training and gradient saliency would both miss this path.
        x = x[:, :, ::stride, ::stride, ::stride]  # (batch, channels, D/stride, H/stride, W/stride)
        if self.cut_gradient:
            x = x.detach()
        return F.pad(x, (0, 0, 0, 0, 0, 0, 0, planes - x.shape[1]))  # (batch, planes, ...)


def _dilate(stage: nn.Module, dilation: int) -> None:
    """Trade a stage's stride for dilation, as Med3D does to keep resolution."""
    for module in stage.modules():
        if isinstance(module, nn.Conv3d):
            module.stride = (1, 1, 1)
            if module.kernel_size == (3, 3, 3):
                module.dilation = module.padding = (dilation, dilation, dilation)
        # Shortcut A is a function of the stride, not a convolution.
        shortcut = getattr(module, "downsample", None)
        if isinstance(shortcut, partial):
            shortcut.keywords["stride"] = 1


def load_med3d(encoder: ResNet3D, path: str | Path) -> None:
    """Load a Med3D weight file (``resnet_{depth}.pth``) into an encoder, strictly.

    Parameters
    ----------
    encoder : ResNet3D
    path : path-like
        A file of ``TencentMedicalNet/MedicalNet-Resnet{10,18,34,50}``; it is opened as
        tensors only, so no code from the file can run.

    Raises
    ------
    InputError
        If the file is no such weight file, or of another depth, width or shortcut.
    """
    state = read_tensors(path, "a Med3D resnet_*.pth")
    state = fitted(encoder, state, left_out=("conv_seg.", "fc."))
    cure = "build the encoder with the file's depth, width 64 and Med3D's own shortcut"
    load_strictly(encoder, state, path, cure)


ENCODER = ResNet3D
