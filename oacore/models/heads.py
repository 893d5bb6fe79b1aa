"""One model for all three supervisions: an encoder and one or two linear heads.

An encoder is a module with the attribute `n_features` and the method `features`, which maps
volumes to feature vectors by name, in the order of computation; the heads read the last. It may
also have

- `cam_layer`, the name of the module that Grad-CAM looks at; else its last child that makes a
  volume;
- `kernel(device)`, the name of the kernel that it chooses there, for the record of a run;
- `settled(settings)`, its settings with those defaults filled in that hang on others.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from oacore.backbones import BACKBONE_NAMES
from oacore.errors import InputError
from oacore.hierarchy import N_GRADES, SUPERVISIONS
from oacore.profile import Recipe

#: How a Dual model's two heads are joined.
HEAD_JOINTS = ("parallel", "cascaded")


class HierarchicalNet(nn.Module):
    """Shared encoder f, and the heads g and h of equation (2) on its features.

    Parameters
    ----------
    encoder : Module
        Maps (batch, 1, D, H, W) to (batch, n_features), and has `n_features`.
    supervision : {"single_oa", "single_kl", "dual"}
    heads : {"parallel", "cascaded"}
        Of a Dual model: parallel, both on the features, as the paper's section 3.3 has it; or
        cascaded, as its released code has it: the OA head reads nothing but the five KL
        logits, so the OA loss reaches the encoder only through them.
    """

    def __init__(self, encoder: nn.Module, supervision: str, heads: str = "parallel") -> None:
        super().__init__()
        self.encoder = encoder
        n_features: Any = encoder.n_features
        self.cascaded = heads == "cascaded" and supervision == "dual"
        # The released cascade has two OA outputs, "no" and "yes", under cross-entropy.
        oa = nn.Linear(N_GRADES, 2) if self.cascaded else nn.Linear(n_features, 1)
        both = {"oa": oa, "kl": nn.Linear(n_features, N_GRADES)}
        self.heads = nn.ModuleDict({name: both[name] for name in SUPERVISIONS[supervision]})

    def classify(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits from features: "oa" of shape (batch,), "kl" of shape (batch, 5)."""
        if self.cascaded:
            kl = self.heads["kl"](z)  # (batch, 5)
            no, yes = self.heads["oa"](kl).unbind(1)  # each (batch,)
            # Cross-entropy over two logits is binary cross-entropy of their difference.
            return {"oa": yes - no, "kl": kl}
        logits = {name: head(z) for name, head in self.heads.items()}
        if "oa" in logits:
            logits["oa"] = logits["oa"].squeeze(1)  # (batch, 1) -> (batch,)
        return logits

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits from volumes of shape (batch, 1, D, H, W)."""
        z = self.encoder(x)  # (batch, n_features), f(x) in equation (2)
        return self.classify(z)


def channels_last(model: HierarchicalNet) -> HierarchicalNet:
    """Lay the channels of each voxel side by side in a model's weights, as convolutions like it."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.weight.data = by_voxel(module.weight.data)
    return model


def by_voxel(x: torch.Tensor) -> torch.Tensor:
    """Lay the channels of each voxel of an (n, channels, D, H, W) tensor side by side.

    With one channel there is nothing to move, and `contiguous` leaves strides as they are. A
    convolution then takes the tensor for one laid out channel by channel, and so does every layer
    after it: at the stem, where tensors are largest.
    """
    n, c, d, h, w = x.shape
    x = x.contiguous(memory_format=torch.channels_last_3d)
    return x.as_strided(x.shape, (c * d * h * w, 1, c * h * w, c * w, c))


def encoder_class(backbone: str) -> Callable[..., nn.Module]:
    """Get what ``oacore/models/<backbone>.py`` calls its ENCODER; no other encoder is imported.

    Raises
    ------
    InputError
        If there is no such backbone.
    """
    if backbone not in BACKBONE_NAMES:
        known = ", ".join(BACKBONE_NAMES)
        raise InputError(f"unknown backbone {backbone!r}: choose one of {known}")
    return importlib.import_module(f"oacore.models.{backbone}").ENCODER


def all_settings(backbone: str, given: dict[str, Any]) -> dict[str, Any]:
    """Settings of an encoder, those that are not given by their defaults.

    A default that hangs on other settings is filled in by the encoder's own ``settled``.
    """
    encoder = encoder_class(backbone)
    parameters = inspect.signature(encoder).parameters
    settings = {name: one.default for name, one in parameters.items()} | given
    settled: Callable[..., dict[str, Any]] = getattr(encoder, "settled", dict)
    return settled(settings)


def build_model(
    backbone: str,
    supervision: str,
    seed: int,
    settings: dict[str, Any] | None = None,
    heads: str = "parallel",
) -> HierarchicalNet:
    """A freshly initialised model; the same seed gives the same encoder weights.

    Parameters
    ----------
    backbone : str
        A key of :data:`.backbones.BACKBONE_NAMES`.
    supervision : {"single_oa", "single_kl", "dual"}
    seed : int
    settings : dict, optional
        Passed to the encoder, for example ``{"depth": 10, "width": 16}``.
    heads : {"parallel", "cascaded"}
        See :class:`HierarchicalNet`.
    """
    if supervision not in SUPERVISIONS:
        raise InputError(
            f"unknown supervision {supervision!r}: choose one of {', '.join(SUPERVISIONS)}"
        )
    if heads not in HEAD_JOINTS:
        raise InputError(f"unknown heads {heads!r}: choose one of {', '.join(HEAD_JOINTS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HierarchicalNet(encoder_class(backbone)(**(settings or {})), supervision, heads)


def count_parameters(recipe: Recipe, supervision: str = "dual") -> int:
    """Number of weights of a recipe's model."""
    model = build_model(recipe.backbone, supervision, 0, recipe.encoder, recipe.heads)
    return sum(weight.numel() for weight in model.parameters())
