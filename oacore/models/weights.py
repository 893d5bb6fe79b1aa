"""Weight files of others: opened as tensors only, so that no code in them runs, and fitted whole.

Each encoder that can start from such a file says what it renames or leaves out in between.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from oacore.errors import InputError


def read_tensors(path: str | Path, what: str) -> dict[str, torch.Tensor]:
    """Tensors of a weight file by name; those of its ``state_dict``, where it has one.

    Parameters
    ----------
    path : path-like
        What `torch.save` wrote, or a ``.safetensors`` file.
    what : str
        The kind of file that is looked for, for messages: "a Med3D resnet_*.pth".

    Raises
    ------
    InputError
        If there is no such file, or it holds something else than named tensors.
    """
    try:
        content: Any = (
            load_file(path)
            if Path(path).suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of {what}") from None
    except Exception as error:  # torch raises many kinds for a file that is not a checkpoint
        raise InputError(f"{path}: not a weight file ({error}); give {what}") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no dictionary of tensors, so it is not {what}")
    return state


def load_strictly(
    net: nn.Module, state: dict[str, torch.Tensor], path: str | Path, cure: str
) -> None:
    """Load tensors into a network, each in its place and none left over.

    Parameters
    ----------
    net : Module
    state : dict of Tensor
        Named as the network's own.
    path : path-like
        Where they came from, for the message.
    cure : str
        What to do if they do not fit.

    Raises
    ------
    InputError
        If a tensor is missing, unknown, or of another shape.
    """
    own = net.state_dict()
    # Files saved by early PyTorch have no batch counters; nothing in evaluation uses them.
    counters = {key: own[key] for key in own if key.endswith("num_batches_tracked")}
    state = counters | state
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [k for k in sorted(own.keys() & state.keys()) if own[k].shape != state[k].shape]
    if missing or unknown or shapes:
        raise InputError(
            f"{path} does not fit this network: {len(missing)} tensors missing {missing[:2]}, "
            f"{len(unknown)} unknown {unknown[:2]}, {len(shapes)} of another shape {shapes[:2]}; "
            f"{cure}"
        )
    net.load_state_dict(state, strict=True)
