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
from monai.networks.nets.resnet import ResNet
from torch import nn

from oacore.errors import InputError

#: As it is written in prose and figures.
NAME = "ResNet3D"

# depth: (block, blocks in each stage, shortcut)
STAGES: dict[int, tuple[str, list[int], str]] = {
    10: ("basic", [1, 1, 1, 1], "B"),
    18: ("basic", [2, 2, 2, 2], "A"),
    34: ("basic", [3, 4, 6, 3], "A"),
    50: ("bottleneck", [3, 4, 6, 3], "B"),
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

    def features(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """The globally averaged output of the last stage, ``{"pooled": (batch, n_features)}``."""
        return {"pooled": self(x)}

    def _downsample_basic_block(
        self, x: torch.Tensor, planes: int, stride: int, spatial_dims: int = 3
    ) -> torch.Tensor:
        # Overrides MONAI's shortcut A, which (like MedicalNet's) concatenates `out.data` and so
        # cuts the gradient: training and gradient saliency would both miss this path.
        x = x[:, :, ::stride, ::stride, ::stride]
        if self.cut_gradient:
            x = x.detach()
        return F.pad(x, (0, 0, 0, 0, 0, 0, 0, planes - x.shape[1]))


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
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of a Med3D resnet_*.pth") from None
    except Exception as error:  # torch raises many kinds for a file that is not a checkpoint
        raise InputError(f"{path}: not a PyTorch weight file ({error})") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no `state_dict` of tensors, so it is no Med3D file")
    state = {key.removeprefix("module."): value for key, value in state.items()}
    state = {key: value for key, value in state.items() if not key.startswith("conv_seg")}
    own = encoder.state_dict()
    # Files saved by early PyTorch have no batch counters; nothing in evaluation uses them.
    for key in own:
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, own[key])
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [k for k in sorted(own.keys() & state.keys()) if own[k].shape != state[k].shape]
    if missing or unknown or shapes:
        raise InputError(
            f"{path} does not fit this encoder: {len(missing)} tensors missing {missing[:2]}, "
            f"{len(unknown)} unknown {unknown[:2]}, {len(shapes)} of another shape {shapes[:2]}; "
            "build the encoder with the file's depth, width 64 and Med3D's own shortcut"
        )
    encoder.load_state_dict(state, strict=True)


ENCODER = ResNet3D
