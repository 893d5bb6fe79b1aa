"""What the parts of an encoder make of a volume: shapes, without computing a number."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import nn

Shape = tuple[int, ...]


def shapes(encoder: nn.Module, grid: Sequence[int]) -> dict[str, Shape]:
    """Shape of what each module of an encoder makes of one volume, by the module's name.

    A copy of the encoder runs on tensors that have a shape and no memory, so the paper's grid
    takes no longer than a small one.

    Parameters
    ----------
    encoder : Module
    grid : sequence of int
        Shape of the volume.

    Returns
    -------
    dict of tuple
        Shapes in the order of use, the batch first; "volume" is what goes in, "output" what comes
        out.
    """
    found: dict[str, Shape] = {"volume": (1, 1, *grid)}

    def note(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            found[name or "output"] = tuple(output.shape)

        return hook

    net = copy.deepcopy(encoder).to("meta").eval()
    for name, module in net.named_modules():
        module.register_forward_hook(note(name))
    with torch.no_grad():
        net(torch.empty(found["volume"], device="meta"))
    return found


def stages(encoder: nn.Module, grid: Sequence[int]) -> pd.DataFrame:
    """Table of what each part of an encoder makes of a volume, and how many weights it has.

    Parameters
    ----------
    encoder : Module
    grid : sequence of int
        Shape of the volume.

    Returns
    -------
    DataFrame
        A row for each direct child that is used, in the order of use: stage, output (channels and
        voxels), parameters.
    """
    parts = dict(encoder.named_children())
    rows = [
        {
            "stage": name,
            "output": " x ".join(map(str, shape[1:])),
            "parameters": sum(weight.numel() for weight in parts[name].parameters()),
        }
        for name, shape in shapes(encoder, grid).items()
        if name in parts
    ]
    return pd.DataFrame(rows).set_index("stage")


def last_volume(encoder: nn.Module, grid: Sequence[int]) -> str | None:
    """Name of the last child whose output still has voxels; None if there is none."""
    parts = dict(encoder.named_children())
    made = [name for name, shape in shapes(encoder, grid).items() if len(shape) == 5]
    return next((name for name in reversed(made) if name in parts), None)
