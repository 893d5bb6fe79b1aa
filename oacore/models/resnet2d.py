"""ResNet2D: the residual encoder of He and others (2016, arXiv:1512.03385) for grey pictures.

MONAI's ResNet with two spatial dimensions and one channel. Shortcuts are convolutions throughout
("B"): MONAI's other kind cuts the gradient. And every layer gets the normalisation that is asked
for: MONAI passes its own setting to the stem alone.

Every layer with a stride has an odd kernel and half of it as padding, so cell i of a map is centred
on pixel ``stride * i`` of the picture, which is not how pictures are resized or sampled by default.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.nets.resnet import ResNet, ResNetBlock, ResNetBottleneck
from torch import nn

from oacore.errors import InputError

# depth: (block, blocks in each stage)
STAGES: dict[int, tuple[type[ResNetBlock | ResNetBottleneck], list[int]]] = {
    10: (ResNetBlock, [1, 1, 1, 1]),
    18: (ResNetBlock, [2, 2, 2, 2]),
    34: (ResNetBlock, [3, 4, 6, 3]),
    50: (ResNetBottleneck, [3, 4, 6, 3]),
}
#: Kinds of normalisation; groups are of so many channels.
NORMS = ("batch", "group")
GROUP = 8


class ResNet2D(ResNet):
    """Picture to feature vector: ``(batch, 1, H, W) -> (batch, n_features)``.

    Parameters
    ----------
    depth : {10, 18, 34, 50}
    width : int
        Channels of the first stage; later stages have 2, 4 and 8 times as many, and with depth 50
        all have four times that. He's is 64.
    stages : {3, 4}
        How many there are. Features at keypoints come from the third.
    stem_kernel, stem_stride : int
        Of the first convolution; He's are 7 and 2.
    max_pool : bool
        Whether the first convolution is followed by He's max-pooling of stride 2. Small pictures
        keep twice the resolution without it.
    norm : {"batch", "group"}
        Batch normalisation, or group normalisation (Wu and He 2018, arXiv:1803.08494) in groups of
        `GROUP` channels, which has no statistics that could be stale.

    Attributes
    ----------
    n_features : int
        Length of the pooled feature vector.
    channels, strides : tuple of int
        Of the map after each stage: how many channels; pixels from the centre of one cell to that
        of the next.
    """

    def __init__(
        self,
        depth: int = 18,
        width: int = 64,
        stages: int = 4,
        stem_kernel: int = 7,
        stem_stride: int = 2,
        max_pool: bool = True,
        norm: str = "batch",
    ) -> None:
        if depth not in STAGES:
            raise InputError(f"ResNet2D comes in depths {sorted(STAGES)}, not {depth}")
        if stages not in (3, 4):
            raise InputError(f"ResNet2D has 3 or 4 stages, not {stages}")
        if norm not in NORMS:
            raise InputError(f"unknown norm {norm!r}: choose one of {', '.join(NORMS)}")
        if norm == "group" and width % GROUP:
            raise InputError(f"width is {width}; norm group needs a multiple of {GROUP}")
        if stem_kernel % 2 == 0:
            raise InputError(f"stem_kernel is {stem_kernel}; an even one has no middle")
        block, blocks = STAGES[depth]
        self.norm = norm  # before MONAI's own __init__ makes the layers
        super().__init__(
            block=block,
            layers=blocks,
            block_inplanes=[width, 2 * width, 4 * width, 8 * width],
            spatial_dims=2,
            n_input_channels=1,
            conv1_t_size=stem_kernel,
            conv1_t_stride=stem_stride,
            no_max_pool=not max_pool,
            shortcut_type="B",
            bias_downsample=False,
            feed_forward=False,
            norm=_layer(norm, width),
        )
        # Made and then dropped, so that the other stages' first weights do not hang on it.
        if stages == 3:
            del self.layer4
        first = stem_stride * (2 if max_pool else 1)
        self.strides = tuple(first * 2**stage for stage in range(stages))
        self.channels = tuple(width * 2**stage * block.expansion for stage in range(stages))
        self.n_features: int = self.channels[-1]

    @property
    def cam_layer(self) -> str:
        """Name of the last stage, which Grad-CAM looks at."""
        return f"layer{len(self.strides)}"

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The map after each stage, ``(batch, channels[i], H / strides[i], W / strides[i])``.

        Sizes are rounded up.
        """
        x = self.act(self.bn1(self.conv1(x)))  # (batch, width, H / stem_stride, ...)
        if not self.no_max_pool:
            x = self.maxpool(x)
        found = []
        for stage in range(len(self.strides)):
            x = getattr(self, f"layer{stage + 1}")(x)
            found.append(x)
        return found

    def features(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """The globally averaged output of the last stage, ``{"pooled": (batch, n_features)}``."""
        return {"pooled": self.maps(x)[-1].mean(dim=(2, 3))}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Feature vectors of pictures."""
        return self.features(x)["pooled"]

    def _make_layer(self, block: Any, planes: int, *rest: Any, **more: Any) -> nn.Sequential:
        # Overrides MONAI's, which is called without the normalisation.
        more["norm"] = _layer(self.norm, planes)
        return super()._make_layer(block, planes, *rest, **more)


def _layer(norm: str, channels: int) -> str | tuple[str, dict[str, int]]:
    """Normalisation as MONAI names it."""
    return norm if norm == "batch" else ("group", {"num_groups": channels // GROUP})
