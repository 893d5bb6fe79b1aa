"""One model for all three supervisions: an encoder and one or two linear heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES, SUPERVISIONS
from oacore.resnet3d import ResNet3D

#: Encoders by name. An encoder maps (batch, 1, D, H, W) to (batch, n_features).
BACKBONES: dict[str, Callable[..., nn.Module]] = {"resnet3d": ResNet3D}

BACKBONE_NAMES = {"resnet3d": "ResNet3D", "m3t": "M3T", "nnmamba": "nnMamba"}
SUPERVISION_NAMES = {"single_oa": "Single-OA", "single_kl": "Single-KL", "dual": "Dual"}


class HierarchicalNet(nn.Module):
    """Shared encoder f, and the heads g and h of equation (2) in parallel on its features.

    Parameters
    ----------
    encoder : Module
        Maps (batch, 1, D, H, W) to (batch, n_features), and has `n_features`.
    supervision : {"single_oa", "single_kl", "dual"}
    """

    def __init__(self, encoder: nn.Module, supervision: str) -> None:
        super().__init__()
        outputs = {"oa": 1, "kl": N_GRADES}
        self.encoder = encoder
        self.heads = nn.ModuleDict(
            {name: nn.Linear(encoder.n_features, outputs[name]) for name in SUPERVISIONS[supervision]}
        )

    def classify(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits from features: "oa" of shape (batch,), "kl" of shape (batch, 5)."""
        logits = {name: head(z) for name, head in self.heads.items()}
        if "oa" in logits:
            logits["oa"] = logits["oa"].squeeze(1)
        return logits

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits from volumes of shape (batch, 1, D, H, W)."""
        return self.classify(self.encoder(x))


def build_model(
    backbone: str, supervision: str, seed: int, settings: dict[str, Any] | None = None
) -> HierarchicalNet:
    """A freshly initialised model; the same seed gives the same encoder weights.

    Parameters
    ----------
    backbone : str
        A key of `BACKBONES`.
    supervision : {"single_oa", "single_kl", "dual"}
    seed : int
    settings : dict, optional
        Passed to the encoder, for example ``{"depth": 10, "width": 16}``.
    """
    if backbone not in BACKBONES:
        raise InputError(f"unknown backbone {backbone!r}: choose one of {', '.join(BACKBONES)}")
    if supervision not in SUPERVISIONS:
        raise InputError(
            f"unknown supervision {supervision!r}: choose one of {', '.join(SUPERVISIONS)}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HierarchicalNet(BACKBONES[backbone](**(settings or {})), supervision)
