"""Watch running statistics lag: one small network, asked after each epoch in three ways."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import nn

from oacore.errors import InputError
from oacore.instruments.hierarchy.artefact import BACKBONE, BATCH, ArtefactPlan
from oacore.instruments.hierarchy.schedule import rate_at
from oacore.instruments.phantom.knee import draw_knee
from oacore.instruments.phantom.subjects import sample_subjects
from oacore.models.heads import build_model
from oacore.training.batches import epoch_batches
from oacore.training.losses import hierarchical_loss
from oacore.training.normalisation import re_estimate

#: Voxels of a drawn volume on this page, of which four make one that the network sees.
SHAPE = (16, 64, 64)


def drawn_volumes(each: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a few knees of every grade, coarse and quickly.

    Parameters
    ----------
    each : int
        Of each grade.
    seed : int

    Returns
    -------
    (n, 1, 16, 32, 32) float tensor
        z-scored volumes.
    (n,) int tensor
        Grades as read.
    """
    table = sample_subjects((each,) * 5, (0,) * 5, ungraded=(0, 0), seed=seed)
    rows: list[Any] = table.drop(columns=["kl", "reader2"]).to_dict("records")
    drawn = [draw_knee(row, SHAPE, [seed, int(row["case_id"])]).image for row in rows]
    x = torch.from_numpy(np.stack(drawn).astype(np.float32)).unsqueeze(1)
    x = nn.functional.avg_pool3d(x, (1, 2, 2))
    mean, sd = x.mean(dim=(1, 2, 3, 4), keepdim=True), x.std(dim=(1, 2, 3, 4), keepdim=True)
    return (x - mean) / sd, torch.from_numpy(table["kl"].to_numpy(np.int64))


def lagging(
    x: torch.Tensor,
    kl: torch.Tensor,
    *,
    rate: float,
    epochs: int,
    seed: int,
    supervision: str = "single_kl",
    schedule: str = "constant",
) -> pd.DataFrame:
    """Train a network in batches of two, and ask it for its own training knees after each epoch.

    Parameters
    ----------
    x : (n, 1, D, H, W) float tensor
        An even number of volumes.
    kl : (n,) int tensor
    rate : float
        Of AdamW.
    epochs, seed : int
    supervision : {"single_kl", "dual"}
    schedule : {"constant", "cosine"}

    Returns
    -------
    DataFrame
        `rate`; `epoch`, from 1; `asked`; `accuracy`, the share answered as told. A network is asked
        "in training": each pair of knees is normalised by its own statistics; "running": in
        evaluation mode, by those that the layers remember; and "re-estimated": by the mean
        statistics of all pairs under the weights as they are.

    Raises
    ------
    InputError
        If the volumes do not fill the batches.
    """
    if len(x) % BATCH:
        raise InputError(f"{len(x)} volumes do not make batches of {BATCH}: give an even number")
    model = build_model(BACKBONE, supervision, seed, ArtefactPlan().encoder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
    fabric = Fabric(accelerator="cpu", devices=1)
    rows = []
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(schedule, rate, epoch, epochs)
        model.train()
        for batch in epoch_batches(len(x), BATCH, seed, epoch):
            loss, _ = hierarchical_loss(model(x[batch]), kl[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        pairs = epoch_batches(len(x), BATCH, seed, epochs + epoch)
        # A copy is asked, since a forward pass in training mode changes what layers remember. What
        # it says while it is re-estimated, over all pairs in that mode, is the first answer.
        anew = copy.deepcopy(model)
        heard = _heard(anew)
        re_estimate(fabric, anew, (x[batch] for batch in pairs))
        told = kl[np.concatenate(pairs)]
        right = {"in training": torch.cat(heard) == told}
        with torch.no_grad():  # in evaluation mode a knee's answer does not depend on the others
            right["running"] = _grades(model.eval()(x)) == kl
            right["re-estimated"] = _grades(anew.eval()(x)) == kl
        for name, hits in right.items():
            share = hits.sum().item() / len(x)
            rows.append({"rate": rate, "epoch": epoch + 1, "asked": name, "accuracy": share})
    return pd.DataFrame(rows)


def _heard(model: nn.Module) -> list[torch.Tensor]:
    """A list that gets the grades of all that a network answers from now on, in order."""
    answers: list[torch.Tensor] = []
    model.register_forward_hook(lambda _model, _given, said: answers.append(_grades(said)))
    return answers


def _grades(said: dict[str, torch.Tensor]) -> torch.Tensor:
    return said["kl"].argmax(dim=1)
