"""Gradients looked at: what reaches a model's features, and whether an input gradient is right."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from oacore.models.heads import HierarchicalNet
from oacore.training.losses import hierarchical_loss

Function = Callable[[torch.Tensor], torch.Tensor]


def gradient_path(model: HierarchicalNet, z: np.ndarray, kl: Sequence[int]) -> dict[str, float]:
    """Along how many directions the losses of a Dual model pull at its features.

    Parameters
    ----------
    model : HierarchicalNet
        Under Dual supervision.
    z : ndarray, shape (n, n_features)
        Features of knees.
    kl : sequence of int, length n
        Their grades.

    Returns
    -------
    dict
        `oa`, `kl`, `both`: rank of the loss's gradients with respect to the features of all
        knees. `oa_seen_by_kl`: share of the OA gradient's squared length that lies in the span of
        the KL head's five rows; 1 in the cascade, where nothing else leads to the features.
    """
    model = copy.deepcopy(model).double()
    features = torch.as_tensor(np.asarray(z), dtype=torch.float64).requires_grad_()
    total, parts = hierarchical_loss(model.classify(features), torch.as_tensor(np.asarray(kl)))
    losses = {**parts, "both": total}
    gradients = {
        name: torch.autograd.grad(loss, features, retain_graph=True)[0]  # (n, n_features)
        for name, loss in losses.items()
    }
    ranks = {name: int(torch.linalg.matrix_rank(each)) for name, each in gradients.items()}
    kl_head: Any = model.heads["kl"]
    span, _ = torch.linalg.qr(kl_head.weight.detach().T)  # (n_features, 5), orthonormal
    seen = (gradients["oa"] @ span).square().sum() / gradients["oa"].square().sum()
    return {**ranks, "oa_seen_by_kl": float(seen)}


def gradient_gap(whole: Function, cut: Function, x: torch.Tensor, seed: int) -> dict[str, float]:
    """Compare an input gradient with another one and with finite differences.

    Parameters
    ----------
    whole, cut : function of a volume
        Two networks' logit, shape (1,), in evaluation mode and float64; their values are the
        same, their gradients may differ.
    x : Tensor of float64, shape (1, 1, D, H, W)
    seed : int
        Of the direction along which both are set beside the finite difference.

    Returns
    -------
    dict
        `values`: difference of the two logits. `relative`: length of the gradients' difference
        over that of `whole`'s gradient. `cosine` between them. `along_whole`, `along_cut`,
        `along_difference`: derivative along one random direction, by either and by central
        differences of `whole`.
    """
    direction = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(seed))
    gradients, values = [], []
    for logit in (whole, cut):
        volume = x.clone().requires_grad_()
        value = logit(volume)
        gradients.append(torch.autograd.grad(value.sum(), volume)[0])
        values.append(float(value.detach()))
    right, wrong = (gradient.flatten() for gradient in gradients)
    step = 1e-6
    with torch.no_grad():
        ends = [whole(x + sign * step * direction).item() for sign in (1, -1)]
    return {
        "values": abs(values[0] - values[1]),
        "relative": float((wrong - right).norm() / right.norm()),
        "cosine": float(torch.cosine_similarity(right, wrong, dim=0)),
        "along_whole": float(right @ direction.flatten()),
        "along_cut": float(wrong @ direction.flatten()),
        "along_difference": (ends[0] - ends[1]) / (2 * step),
    }
