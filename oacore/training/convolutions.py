"""Convolutions whose gradients PyTorch's oneDNN gets wrong on a CPU, found before they are used.

Seen with torch 2.13: a stride-2 7x7x7 convolution of a volume 5 to 7 voxels thick (AVX-512) ends
the process or gives gradients of 1e18 times their size; bf16 leaves gradients of thin volumes
unwritten; a strided 1x1 convolution of few channels (AVX2) writes where it should not. Which layers
are hit depends on sizes, threads and processor. So each layer of a network is computed once on
random numbers, in a process of its own that may die of it, and the layers that fail are computed
without oneDNN.
"""

from __future__ import annotations

import copy
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from oacore.errors import InputError
from oacore.models.heads import by_voxel
from oacore.training import probe
from oacore.training.probe import onednn
from oacore.training.remembered import Layer, keep, recalled

#: Seconds after which a layer that has not come to an end is given up.
PATIENCE = 900
#: What is known in this process of layers.
_KNOWN: dict[Layer, str] = {}
#: Ways in which a layer itself ends a process. Others, such as the system's want of memory, say
#: nothing of it on another day.
_OF_THE_LAYER = frozenset(
    (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)
)


def secure_convolutions(
    model: nn.Module, shapes: Iterable[tuple[int, ...]], *, bf16: bool, of_input: bool = False
) -> tuple[str, ...]:
    """Probe a network's convolutions on a CPU; change those that fail, and say so.

    Takes a start of Python (about 3 s) and the time of a training step or two; layers that were
    met before on this machine take nothing (:mod:`.remembered`).

    Parameters
    ----------
    model : Module
        Its `encoder` reads volumes. Changed in place: a layer that fails is computed in 32 bits
        and without oneDNN, the others as before.
    shapes : iterable of tuple of int
        Batches that it will be given, each (batch, 1, D, H, W).
        It may be called again with others; layers that were changed stay so.
    bf16 : bool
        Whether it will run under autocast to bfloat16.
    of_input : bool
        Whether the gradient of the volume is asked for, too.

    Returns
    -------
    tuple of str
        Names of the layers that are computed without oneDNN.

    Raises
    ------
    InputError
        If a layer is wrong without oneDNN as well.
    """
    layers = [one for shape in dict.fromkeys(shapes) for one in _met(model, shape, bf16, of_input)]
    found = faults(layer for _, layer in layers)
    wrong: dict[str, str] = {}
    for (name, _), fault in zip(layers, found, strict=True):
        if fault:
            wrong.setdefault(name, fault)
    if not wrong:
        return ()
    plain = [
        (name, {**layer, "onednn": False, "dtype": "float32"})
        for name, layer in layers
        if name in wrong
    ]
    for (name, layer), fault in zip(plain, faults(layer for _, layer in plain), strict=True):
        if fault:
            raise InputError(
                f"{name}: on this processor {fault}, with oneDNN and without, for a batch of "
                f"{layer['x'][0]}; choose another grid or batch size, or a GPU"
            )
    for name in wrong:
        _without_onednn(model.get_submodule(name))
    # It may stand in a page, where a warning would name its own file.
    said = "; ".join(f"{name}: {fault}" for name, fault in wrong.items())
    print(
        f"oacore: PyTorch's oneDNN is wrong on this processor: {said}. These layers are computed "
        "without it, in 32 bits: right, and more slowly",
        file=sys.stderr,
        flush=True,
    )
    return tuple(wrong)


def faults(layers: Iterable[dict[str, Any]]) -> list[str]:
    """What is wrong with each of some layers, see :func:`.probe.fault`; "" where nothing is."""
    threads = torch.get_num_threads()
    asked = [(threads, json.dumps(layer)) for layer in layers]
    new = [key for key in dict.fromkeys(asked) if key not in _KNOWN]
    for key in [key for key in new if _overruns(json.loads(key[1]))]:
        _KNOWN[key] = "it writes beyond its memory"
        new.remove(key)
    if new:
        before = recalled()
        _KNOWN.update({key: before[key] for key in new if key in before})
        new = [key for key in new if key not in before]
    learned: dict[Layer, str] = {}
    try:
        while new:
            said, end, lasting = _probed(threads, [text for _, text in new])
            results = dict(zip(new, map(json.loads, said[1::2]), strict=False))
            _KNOWN.update(results)
            learned |= results
            new = new[len(results) :]
            if len(said) % 2:  # a number went out and no result: that layer ended the process
                key = new.pop(0)
                _KNOWN[key] = f"it {end}"
                if lasting:
                    learned[key] = _KNOWN[key]
            elif new:
                raise InputError(f"convolutions could not be probed: Python {end}; run it again")
    finally:
        if learned:
            keep(learned)
    return [_KNOWN[key] for key in asked]


def _probed(threads: int, layers: list[str]) -> tuple[list[str], str, bool]:
    """Lines that a process wrote about some layers, how it ended, and whether it would again."""
    lines = "\n".join([str(threads), *layers])
    try:
        done = subprocess.run(
            [sys.executable, "-P", probe.__file__],
            input=lines, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        out = (late.stdout or b"").decode()
        return out.split("\n")[:-1], f"does not end within {PATIENCE} s", False
    if done.returncode > 0:
        raise InputError(f"convolutions could not be probed: {done.stderr.strip()[-300:]}")
    number = -done.returncode
    return done.stdout.splitlines(), f"ends the process (signal {number})", number in _OF_THE_LAYER


def _overruns(layer: dict[str, Any]) -> bool:
    """Whether a layer is one whose fault shows by chance alone (torch 2.13, AVX2).

    oneDNN's ``brgconv_strided:avx2`` computes the input gradient of a strided 1x1 convolution
    rightly, and spoils the heap where channels do not fill its registers; the process may die of it
    at once, later, or not at all.
    """
    return (
        layer["onednn"]
        and layer["input_grad"]
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
        and set(layer["w"][0][2:]) == {1}
        and max(layer["stride"]) > 1
        and layer["w"][0][1] < 8
    )


def _met(
    model: nn.Module, shape: tuple[int, ...], bf16: bool, of_input: bool
) -> list[tuple[str, dict[str, Any]]]:
    """Convolutions, by name, as a batch of a shape meets them; nothing is computed."""
    found: list[tuple[str, dict[str, Any]]] = []

    def note(name: str, weight: torch.Tensor) -> Callable[..., None]:
        def hook(conv: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            x = inputs[0]
            layer = {
                "x": (tuple(x.shape), x.stride()),
                "w": (tuple(weight.shape), weight.stride()),
                "bias": conv.bias is not None,
                "input_grad": x.requires_grad,
                **{key: getattr(conv, key) for key in ("stride", "padding", "dilation", "groups")},
                "dtype": "bfloat16" if torch.is_autocast_enabled("cpu") else "float32",
                "onednn": True,
            }
            found.append((name, layer))

        return hook

    net = copy.deepcopy(model).to("meta").eval()
    for name, module in net.named_modules():
        done = "_conv_forward" in vars(module)  # computed without oneDNN by now
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and not done:
            weight = model.get_submodule(name).weight
            module.register_forward_pre_hook(note(name, weight))  # type: ignore[arg-type]
    x = by_voxel(torch.empty(shape, device="meta")).requires_grad_(of_input)
    with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
        net(x)
    return found


def _without_onednn(conv: Any) -> None:
    """Have a layer computed in 32 bits by PyTorch's own kernels, forwards and backwards."""
    how = conv.stride, conv.padding, conv.dilation
    groups = conv.groups

    def forward(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            given = [None if t is None else t.float() for t in (x, weight, bias)]
            return _Plain.apply(*given, how, groups)

    conv._conv_forward = forward


class _Plain(torch.autograd.Function):
    """A convolution for whose two directions oneDNN is switched off."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, how: Any, groups: int) -> Any:
        ctx.save_for_backward(x, weight)
        ctx.bias, ctx.how, ctx.groups = bias, how, groups
        with onednn(False):
            return torch.ops.aten.convolution(
                x, weight, bias, *how, False, [0] * len(how[0]), groups
            )

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight = ctx.saved_tensors
        sizes = None if ctx.bias is None else list(ctx.bias.shape)
        mask = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.bias is not None]
        with onednn(False):
            found = torch.ops.aten.convolution_backward(
                gradients[0], x, weight, sizes, *ctx.how, False, [0] * len(ctx.how[0]),
                ctx.groups, mask,
            )  # fmt: skip
        return *found, None, None
