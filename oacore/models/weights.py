"""Weight files of others: opened as tensors only, so that no code in them runs, and fitted whole.

Each encoder that can start from such a file says what it renames or leaves out in between.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from oacore.errors import InputError, refusal

#: Keys under which a checkpoint keeps its tensors.
WRAPPERS = ("state_dict", "model_state_dict", "model")
#: What wrappers put before the names of a network's tensors.
PREFIXES = ("_orig_mod.", "module.", "model.", "encoder.", "backbone.")


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
        If there is no such file, it holds something else than named tensors, or one of them
        has values that are not finite.
    """
    try:
        content: Any = (
            load_file(path)
            if Path(path).suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of {what}") from None
    except OSError as error:
        if not (said := refusal(error, str(path))):
            raise  # not about this file: a library that cannot be loaded
        raise InputError(said) from error
    except UnpicklingError as error:
        # PyTorch's own words advise to load it with code and all.
        raise InputError(
            f"{path}: not a weight file: it holds something else than tensors, or is damaged, "
            f"and is not opened, since code in it could run; give {what}"
        ) from error
    except Exception as error:  # torch raises many kinds for a file that is not a checkpoint
        raise InputError(f"{path}: not a weight file, or a damaged one; give {what}") from error
    state = content
    while isinstance(state, dict) and (inner := [key for key in WRAPPERS if key in state]):
        state = state[inner[0]]
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items())
    ):
        raise InputError(f"{path}: holds no dictionary of tensors, so it is not {what}")
    for name, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(
                f"{path}: {name} has values that are no finite numbers; the training that wrote "
                f"it went wrong or the file is damaged: give another copy of {what}"
            )
    return state


def fitted(
    net: nn.Module, state: dict[str, torch.Tensor], left_out: tuple[str, ...] = ()
) -> dict[str, torch.Tensor]:
    """Tensors under the names that a network calls them by.

    Names begin with what they were wrapped in when they were saved: ``_orig_mod.`` by
    `torch.compile`, ``module.`` by parallel training, ``model.`` or ``encoder.`` by an author's own
    class. What all tensors but those outside the network share of these is taken away.

    Parameters
    ----------
    net : Module
    state : dict of Tensor
    left_out : tuple of str
        Beginnings of names of layers that are no part of the network, such as a classifier; these
        tensors are dropped.
    """
    own = net.state_dict().keys()
    found = dict(state)
    while not own & found.keys():
        begin = [p for p in PREFIXES if any(name.startswith(p) for name in found)]
        if not begin:
            break
        of_net = {k: v for k, v in found.items() if k.startswith(begin[0])}
        rest = {k: v for k, v in found.items() if k not in of_net}
        # What stands outside the wrapper stays, to be left out or named as unknown.
        found = {k.removeprefix(begin[0]): v for k, v in of_net.items()} | rest
    return {k: v for k, v in found.items() if not k.startswith(left_out)} if left_out else found


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
    if unknown and not missing and not shapes:
        cure = "it has these besides all that the network has: take them out of the file"
    if missing or unknown or shapes:
        raise InputError(
            f"{path} does not fit this network: {len(missing)} tensors missing {missing[:2]}, "
            f"{len(unknown)} unknown {unknown[:2]}, {len(shapes)} of another shape {shapes[:2]}; "
            f"{cure}"
        )
    net.load_state_dict(state, strict=True)
