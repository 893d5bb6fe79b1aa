"""One model for all three supervisions: an encoder and one or two linear heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import nn

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES, SUPERVISIONS
from oacore.resnet3d import ResNet3D

#: Encoders by name. An encoder maps (batch, 1, D, H, W) to (batch, n_features).
BACKBONES: dict[str, Callable[..., nn.Module]] = {"resnet3d": ResNet3D}


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
        n_features: Any = encoder.n_features
        self.encoder = encoder
        self.heads = nn.ModuleDict(
            {name: nn.Linear(n_features, outputs[name]) for name in SUPERVISIONS[supervision]}
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


def stages(encoder: nn.Module, grid: tuple[int, int, int]) -> pd.DataFrame:
    """What each part of an encoder makes of a volume.

    Parameters
    ----------
    encoder : Module
    grid : tuple of int
        Shape of the volume.

    Returns
    -------
    DataFrame
        A row for each direct child, in the order of use: stage, output (channels and voxels),
        parameters.
    """
    rows: list[dict[str, Any]] = []

    def note(name: str, module: nn.Module) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            shape = " x ".join(map(str, output.shape[1:]))
            count = sum(parameter.numel() for parameter in module.parameters())
            rows.append({"stage": name, "output": shape, "parameters": count})

        return hook

    hooks = [m.register_forward_hook(note(name, m)) for name, m in encoder.named_children()]
    training = encoder.training
    with torch.no_grad():
        encoder.eval()(torch.zeros(1, 1, *grid))
    encoder.train(training)
    for hook in hooks:
        hook.remove()
    return pd.DataFrame(rows).set_index("stage")


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
