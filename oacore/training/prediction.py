"""What a trained model answers and computes, case by case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from oacore.data.cache import Volumes
from oacore.hierarchy import oa_from_kl, prob_oa_from_kl
from oacore.models.heads import HierarchicalNet
from oacore.training.batches import Reader, in_order


@torch.no_grad()
def predict(
    fabric: Fabric,
    model: HierarchicalNet,
    cases: pd.DataFrame,
    volumes: Volumes,
    read: Reader,
    batch_size: int,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Per-case predictions and features of a trained model.

    Parameters
    ----------
    fabric : Fabric
        Gives the precision.
    model : HierarchicalNet
    cases : DataFrame
        Graded cases.
    volumes : Volumes
        That hold them.
    read : Reader
        Of these volumes, see :func:`.batches.volume_reader`.
    batch_size : int

    Returns
    -------
    predictions : DataFrame
        One row a case: split, case_id, the labels kl and oa, and prob_oa, pred_oa,
        prob_oa_from_kl, prob_kl_0 to prob_kl_4, pred_kl. Without an OA head prob_oa is equation
        (4); without a KL head its columns are empty.
    features : dict of ndarray of float32, each of shape (n, length)
        In the order of the rows: what the encoder computes on the way, by its own names, and
        "features", the last of them, which the heads read.
    """
    model.eval()
    encoder: Any = model.encoder
    dtype = next(encoder.parameters()).dtype
    rows = volumes.rows(cases["case_id"])
    logits: dict[str, list[torch.Tensor]] = {}
    features: dict[str, list[torch.Tensor]] = {}
    for some in in_order(rows, batch_size):
        batch = read(some)
        with fabric.autocast():
            named = encoder.features(batch.to(dtype))
            answers = model.classify(next(reversed(named.values())))
        *before, (_, z) = named.items()
        for name, values in [*before, ("features", z)]:
            features.setdefault(name, []).append(values.float().cpu())
        for name, answer in answers.items():
            logits.setdefault(name, []).append(answer.float().cpu())
    joined = {name: torch.cat(parts).double() for name, parts in logits.items()}
    table = _prediction_table(cases, joined)
    return table, {name: torch.cat(parts).numpy() for name, parts in features.items()}


def _prediction_table(cases: pd.DataFrame, logits: dict[str, torch.Tensor]) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "split": cases["split"].to_numpy(),
            "case_id": cases["case_id"].to_numpy(),
            "kl": cases["kl"].to_numpy(np.int64),
        }
    )
    table["oa"] = oa_from_kl(table["kl"])
    prob_kl = np.full((len(table), 5), np.nan)
    pred_kl = pd.array([pd.NA] * len(table), dtype="Int64")
    if "kl" in logits:
        prob_kl = logits["kl"].softmax(dim=1).numpy()  # (n, 5)
        pred_kl = pd.array(prob_kl.argmax(axis=1), dtype="Int64")
    from_kl = prob_oa_from_kl(prob_kl)  # (n,)
    prob_oa = logits["oa"].sigmoid().numpy() if "oa" in logits else from_kl
    table["prob_oa"], table["pred_oa"] = prob_oa, (prob_oa >= 0.5).astype(int)
    table["prob_oa_from_kl"] = from_kl
    for grade in range(5):
        table[f"prob_kl_{grade}"] = prob_kl[:, grade]
    table["pred_kl"] = pred_kl
    return table
