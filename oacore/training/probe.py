"""One convolution, computed once on random numbers, and what is wrong with what came out.

This file is also a program of its own, run by :mod:`.convolutions`: what it looks for may end it.
It needs PyTorch alone. A layer comes in as a line of JSON on standard input; its number goes out
before it is computed, and what was found after it.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

#: What rounding may do to a check, as a share of the gradient's norm, by precision; it does
#: a tenth of that.
ROUNDING = {"float32": 1e-4, "bfloat16": 2e-2}


def fault(layer: dict[str, Any]) -> str:
    """What is wrong with a convolution's result or gradients, "" if nothing.

    A convolution is linear in its input x and in its weights w, so with gradients gx and gw for
    any g at its output y, ``<g, y> = <gx, x> = <gw, w>``. With random numbers no error of a size
    that matters keeps both equations, and nothing has to be computed a second time.

    Parameters
    ----------
    layer : dict
        `x`, `w`: (shape, strides); `bias`, `input_grad`: bool; `stride`, `padding`, `dilation`,
        `groups`; `dtype`: a key of `ROUNDING`; `onednn`: bool.
    """
    torch.manual_seed(0)
    dtype = getattr(torch, layer["dtype"])
    x, w = (
        torch.empty_strided(*layer[name], dtype=dtype).normal_().requires_grad_(needed)
        for name, needed in (("x", layer["input_grad"]), ("w", True))
    )
    bias = torch.zeros(len(w), dtype=dtype, requires_grad=True) if layer["bias"] else None
    how = [layer[name] for name in ("stride", "padding", "dilation")]
    rest = (False, [0] * len(how[0]), layer["groups"])
    sources = {"its input": x} if layer["input_grad"] else {}
    sources |= {"its weights": w} | ({} if bias is None else {"its bias": bias})
    with onednn(layer["onednn"]):
        y = torch.ops.aten.convolution(x, w, bias, *how, *rest)
        g = torch.randn_like(y)
        gradients = dict(zip(sources, torch.autograd.grad(y, [*sources.values()], g), strict=True))
    y, g = y.detach().double(), g.double()
    for name, gradient in gradients.items():
        if name == "its bias":
            wanted = g.transpose(0, 1).flatten(1).sum(1)
            off = float((gradient - wanted).norm())
        else:
            off = float(gradient.double().mul(sources[name].detach()).sum() - g.mul(y).sum())
        share = abs(off) / max(float(gradient.double().norm()), float(y.norm()))
        if not share <= ROUNDING[layer["dtype"]]:  # NaN is not either
            return f"the gradient of {name} is wrong"
    return ""


@contextmanager
def onednn(enabled: bool) -> Iterator[None]:
    """Allow PyTorch oneDNN's kernels in a block, or not."""
    before = bool(torch.backends.mkldnn.enabled)
    torch.backends.mkldnn.enabled = enabled  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before  # type: ignore[assignment]


def _fill_new_memory() -> None:
    """Have glibc fill what it hands out with bytes 0x7f: floats of 3.4e38."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(-6, 0x80)  # M_PERTURB of malloc.h; memory gets the complement


def main() -> None:
    """Probe the layers of standard input; the first line is the number of threads.

    What a kernel leaves unwritten, or adds to, looks right on a fresh page of zeros. So new memory
    is filled with what is far from right.
    """
    torch.set_num_threads(json.loads(sys.stdin.readline()))
    _fill_new_memory()
    for number, line in enumerate(sys.stdin):
        print(number, flush=True)
        print(json.dumps(fault(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
