"""One model for all three supervisions: an encoder and one or two linear heads.

An encoder is a module with the attribute `n_features` and the method `features`, which maps
volumes to feature vectors by name, in the order of computation; the heads read the last.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import nn

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES, SUPERVISIONS
from oacore.names import BACKBONE_NAMES

#: How a Dual model's two heads are joined.
HEADS = ("parallel", "cascaded")


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
        n_features: Any = encoder.n_features
        self.encoder = encoder
        self.cascaded = heads == "cascaded" and supervision == "dual"
        # The released cascade has two OA outputs, "no" and "yes", under cross-entropy.
        oa = nn.Linear(N_GRADES, 2) if self.cascaded else nn.Linear(n_features, 1)
        heads_by_name = {"oa": oa, "kl": nn.Linear(n_features, N_GRADES)}
        self.heads = nn.ModuleDict(
            {name: heads_by_name[name] for name in SUPERVISIONS[supervision]}
        )

    def classify(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits from features: "oa" of shape (batch,), "kl" of shape (batch, 5)."""
        if self.cascaded:
            kl = self.heads["kl"](z)  # (batch, 5)
            no, yes = self.heads["oa"](kl).unbind(1)
            # Cross-entropy over two logits is binary cross-entropy of their difference.
            return {"oa": yes - no, "kl": kl}
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


def encoder_class(backbone: str) -> Callable[..., nn.Module]:
    """What ``oacore/models/<backbone>.py`` calls its ENCODER; no other encoder is imported.

    Raises
    ------
    InputError
        If there is no such backbone.
    """
    if backbone not in BACKBONE_NAMES:
        known = ", ".join(BACKBONE_NAMES)
        raise InputError(f"unknown backbone {backbone!r}: choose one of {known}")
    return importlib.import_module(f"oacore.models.{backbone}").ENCODER


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
        A key of :data:`.names.BACKBONE_NAMES`.
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
    if heads not in HEADS:
        raise InputError(f"unknown heads {heads!r}: choose one of {', '.join(HEADS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HierarchicalNet(encoder_class(backbone)(**(settings or {})), supervision, heads)
