"""The training objective: equation (3) of arXiv:2605.00718, section 3.1."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric

from oacore.hierarchy import FIRST_OA_GRADE


def hierarchical_loss(
    logits: dict[str, torch.Tensor],
    kl: torch.Tensor,
    weights: dict[str, float] | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Training objective, equation (3), over the heads that are there.

    Binary cross-entropy with logits for OA and cross-entropy for KL (section 3.4).
    With one head this is the loss of Single-OA or of Single-KL.

    Parameters
    ----------
    logits : dict of str to Tensor
        "oa" of shape (batch,), "kl" of shape (batch, 5), equation (2).
    kl : Tensor of int64, shape (batch,)
        Grades, 0 to 4; the OA target follows from them.
    weights : dict of str to float, optional
        The two lambdas; 1 where not given, as in the released code.

    Returns
    -------
    total : Tensor, scalar
    parts : dict of str to Tensor
        The unweighted loss of each head.
    """
    parts: dict[str, torch.Tensor] = {}
    if "oa" in logits:
        target = (kl >= FIRST_OA_GRADE).to(logits["oa"].dtype)
        parts["oa"] = F.binary_cross_entropy_with_logits(logits["oa"], target)
    if "kl" in logits:
        parts["kl"] = F.cross_entropy(logits["kl"], kl)
    weights = weights or {}
    total = torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()
    return total, parts


class LossSums:
    """Losses of an epoch, added up where they are: reading one at each step makes a GPU wait."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.sums: dict[str, torch.Tensor] = {}
        self.cases = 0

    def record(self, loss: torch.Tensor, parts: dict[str, torch.Tensor], cases: int) -> None:
        """Add the mean losses of one step over so many cases."""
        for key, value in {"loss": loss, **{f"loss_{k}": v for k, v in parts.items()}}.items():
            before = self.sums.get(key, torch.zeros((), device=self.fabric.device))
            self.sums[key] = before + value.detach() * cases
        self.cases += cases

    def means(self) -> dict[str, float]:
        """Mean losses over the cases of all devices."""
        cases = torch.tensor(float(self.cases), device=self.fabric.device)
        reduced: Any = self.fabric.all_reduce(
            torch.stack([*self.sums.values(), cases]), reduce_op="sum"
        )
        *losses, total = reduced.tolist()
        return {key: loss / total for key, loss in zip(self.sums, losses, strict=True)}
