"""What M3T's tokens are, and how much its class token attends to each of them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from oacore.models.m3t import M3T, Layer

#: In the order in which their slices stand in the sequence.
TOKEN_PLANES = ("coronal", "sagittal", "axial")


def token_table(size: int) -> pd.DataFrame:
    """Tokens of an M3T in the order of the sequence, and what each of them is.

    Parameters
    ----------
    size : int
        S, slices of each plane.

    Returns
    -------
    DataFrame
        3S + 4 rows, numbered by token: kind ("class", "separator" or a plane) and slice (0 to
        S - 1; missing where the token is no slice).
    """
    rows: list[tuple[str, int | None]] = [("class", None)]
    for plane in TOKEN_PLANES:
        rows += [(plane, number) for number in range(size)]
        rows += [("separator", None)]
    table = pd.DataFrame(rows, columns=["kind", "slice"])
    return table.astype({"slice": "Int64"}).rename_axis("token")


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
    batch, tokens, width = z.shape
    qkv = layer.qkv(z).reshape(batch, tokens, 3, layer.heads, -1)  # (B, T, 3, heads, width/heads)
    q, k, _ = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, width/heads)
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
