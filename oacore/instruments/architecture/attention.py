"""What M3T's tokens are, and how much its class token attends to each of them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from oacore.data.cache import Volumes
from oacore.models.m3t import M3T, Layer
from oacore.training.batches import load_batch

_KNEES = 4  # at a time


def token_table(size: int, planes: tuple[str, ...]) -> pd.DataFrame:
    """Tokens of an M3T in the order of the sequence, and what each of them is.

    Parameters
    ----------
    size : int
        S, slices of each plane.
    planes : tuple of str
        In the order of their tokens, as an M3T's `planes`.

    Returns
    -------
    DataFrame
        3S + 4 rows, numbered by token: kind ("class", "separator" or a plane) and slice (0 to
        S - 1; missing where the token is no slice).
    """
    rows: list[tuple[str, int | None]] = [("class", None)]
    for plane in planes:
        rows += [(plane, number) for number in range(size)]
        rows += [("separator", None)]
    table = pd.DataFrame(rows, columns=["kind", "slice"])
    return table.astype({"slice": "Int64"}).rename_axis("token")


def token_sequence(encoder: M3T, x: torch.Tensor) -> torch.Tensor:
    """What the transformer is given: a token for each slice, and those between them.

    Parameters
    ----------
    encoder : M3T
    x : Tensor
        Volumes of shape (batch, 1, S, S, S).

    Returns
    -------
    Tensor
        Of shape (batch, 3S + 4, width), in the order of :func:`token_table`.
    """
    return encoder.tokens(encoder.project(encoder.slices(encoder.stem(x))))


def queries_keys_values(layer: Layer, z: torch.Tensor) -> torch.Tensor:
    """Queries, keys and values of a layer's attention, as the layer computes them.

    Parameters
    ----------
    layer : Layer
        Of an M3T's transformer.
    z : Tensor
        Tokens of shape (batch, T, width), as ``layer.attention`` takes them: normalised.

    Returns
    -------
    Tensor
        Of shape (3, batch, heads, T, width/heads).
    """
    batch, tokens, _ = z.shape
    qkv = layer.qkv(z).reshape(batch, tokens, 3, layer.heads, -1)  # (B, T, 3, heads, width/heads)
    return qkv.permute(2, 0, 3, 1, 4)


def attention_weights(layer: Layer, z: torch.Tensor) -> torch.Tensor:
    """Attention of each token to each other one: softmax(q k), as the layer computes it.

    Parameters
    ----------
    layer : Layer
        Of an M3T's transformer.
    z : Tensor
        Tokens of shape (batch, T, width), as ``layer.attention`` takes them: normalised.

    Returns
    -------
    Tensor
        Of shape (batch, heads, T, T); each row adds up to 1. What "as released" divides by
        sqrt(width) afterwards is not these weights but what they weigh.
    """
    q, k, _ = queries_keys_values(layer, z)  # each (batch, heads, T, width/heads)
    scale = 1.0 if layer.after_softmax else q.shape[-1] ** -0.5
    return (scale * q @ k.mT).softmax(dim=-1)


@torch.no_grad()
def class_attention(encoder: M3T, x: torch.Tensor) -> torch.Tensor:
    """Attention of the class token to each token, in every layer and head.

    Parameters
    ----------
    encoder : M3T
        In the mode, training or evaluation, in which it is to be looked at.
    x : Tensor
        Volumes of shape (batch, 1, S, S, S).

    Returns
    -------
    Tensor
        Of shape (layers, batch, heads, 3S + 4); adds up to 1 over the tokens, which
        :func:`token_table` names.
    """
    rows: list[torch.Tensor] = []

    def note(layer: Any, inputs: tuple[torch.Tensor]) -> None:
        rows.append(attention_weights(layer, layer.norm1(inputs[0]))[:, :, 0])

    hooks = [layer.register_forward_pre_hook(note) for layer in encoder.transformer]
    try:
        encoder(x)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(rows)


def mean_class_attention(encoder: M3T, volumes: Volumes, case_id: pd.Series) -> torch.Tensor:
    """Attention of the class token, a mean over knees and heads.

    Parameters
    ----------
    encoder : M3T
        In evaluation mode, on the CPU.
    volumes : Volumes
        On the encoder's grid.
    case_id : Series
        The knees.

    Returns
    -------
    Tensor
        Of shape (layers, 3S + 4); each row adds up to 1.
    """
    total, device = torch.zeros(()), torch.device("cpu")
    rows = volumes.rows(case_id)
    for start in range(0, len(rows), _KNEES):
        knees = load_batch(volumes, rows[start : start + _KNEES], device)
        total = total + class_attention(encoder, knees).mean(dim=2).sum(dim=1)  # (layers, 3S + 4)
    return total / len(rows)
