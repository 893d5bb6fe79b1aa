"""The selective scan of Mamba (Gu and Dao 2023, arXiv:2312.00752, Algorithm 2).

A linear recurrence along the sequence, whose coefficients depend on the input::

    h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t        equations (2a) and (4)
    y_t = C_t . h_t + D u_t                               equation (2b)

:func:`sequential_scan` is this, one step a line. :func:`selective_scan` gives the same numbers
without ever holding all the states, which would be (batch, channels, states, length) numbers,
and has three ways to get them: ``oacore.models.scan.reference`` (anywhere),
``oacore.models.scan.cpu`` (CPU)
and ``oacore.models.scan.gpu`` (CUDA). Each is a pair ``scan_forward``, ``scan_backward``.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from oacore.errors import InputError
from oacore.models.scan import reference as scan_torch

#: The device type that a backend is made for; "torch" runs on any.
BACKENDS: dict[str, str | None] = {"torch": None, "numba": "cpu", "triton": "cuda"}

SEQUENCE, COEFFICIENTS = ("batch", "channels", "length"), ("batch", "states", "length")
AXES: dict[str, tuple[str, ...]] = {
    "u": SEQUENCE,
    "delta": SEQUENCE,
    "A": ("channels", "states"),
    "B": COEFFICIENTS,
    "C": COEFFICIENTS,
    "D": ("channels",),
    "z": SEQUENCE,
    "delta_bias": ("channels",),
}
OPTIONAL = ("D", "z", "delta_bias")


def sequential_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
) -> Tensor:
    """The scan as the paper writes it: short, slow, and differentiated by autograd.

    Arguments and result are those of :func:`selective_scan`; any floating dtype.
    """
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    h = u.new_zeros(u.shape[0], *A.shape)  # (batch, channels, states)
    ys = []
    for u_t, delta_t, B_t, C_t in zip(*(x.unbind(2) for x in (u, delta, B, C)), strict=True):
        a = torch.exp(delta_t[:, :, None] * A)  # equation (4), A made discrete
        b = delta_t[:, :, None] * B_t[:, None, :]  # B made discrete, as Mamba's code does it
        h = a * h + b * u_t[:, :, None]  # equation (2a), (batch, channels, states)
        ys.append((C_t[:, None, :] * h).sum(dim=2))  # equation (2b), (batch, channels)
    y = torch.stack(ys, dim=2) if ys else torch.zeros_like(u)  # (batch, channels, length)
    if D is not None:
        y = y + D[:, None] * u
    if z is not None:
        y = y * F.silu(z)
    return y


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    backend: str | None = None,
) -> Tensor:
    """Selective scan, differentiable once with respect to every tensor.

    Memory is that of a few tensors of `u`'s size: the backward pass keeps the inputs and the
    state at the start of each chunk, and computes the other states again.

    Parameters
    ----------
    u : Tensor, (batch, channels, length)
        The sequence.
    delta : Tensor, (batch, channels, length)
        Step sizes, 0 or more once bias and softplus are applied.
    A : Tensor, (channels, states)
        Decay rates, negative.
    B, C : Tensor, (batch, states, length)
        Input and output coefficients.
    D : Tensor, (channels,), optional
        Weight of `u` itself in the output.
    z : Tensor, (batch, channels, length), optional
        Gate: the output is multiplied by silu(z).
    delta_bias : Tensor, (channels,), optional
        Added to `delta`.
    delta_softplus : bool
        Whether softplus is applied to `delta`, after the bias.
    backend : {"torch", "numba", "triton"}, optional
        By default that of :func:`default_backend`; "torch" for float64 on CUDA.

    Returns
    -------
    Tensor, (batch, channels, length)
        In `u`'s dtype. The sums are in float64 if `u` is, and else in float32, also under
        autocast and for 16-bit inputs.

    Raises
    ------
    InputError
        If a shape, dtype or device does not fit, or the backend is not there.

    References
    ----------
    Gu and Dao 2023, arXiv:2312.00752, Algorithm 2 and section 3.3.2.
    """
    tensors = (u, delta, A, B, C, D, z, delta_bias)
    _check(*tensors)
    if u.is_meta:  # a shape is asked for, and no number
        return torch.empty_like(u)
    # The Triton kernel knows 32 bits only.
    default = "torch" if u.is_cuda and u.dtype == torch.float64 else default_backend(u.device)
    module = _backend(backend or default, u.device)
    return _SelectiveScan.apply(module, delta_softplus, *tensors)


def default_backend(device: torch.device | str) -> str:
    """The backend that :func:`selective_scan` takes for tensors on a device.

    "numba" on a CPU and "triton" on CUDA where they are installed, and else "torch".
    """
    for name, made_for in BACKENDS.items():
        if made_for == torch.device(device).type and _module(name) is not None:
            return name
    return "torch"


class _SelectiveScan(torch.autograd.Function):
    """Calls a backend's pair of functions with contiguous tensors of one dtype.

    `torch.amp.custom_fwd` would do the casting for one device type only, fixed when the class
    is made, and would keep 32-bit copies of 16-bit inputs until the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, module: ModuleType, delta_softplus: bool, *tensors: Tensor | None
    ) -> Tensor:
        u: Any = tensors[0]
        if u.numel() == 0:
            module = scan_torch  # which has nothing to do, but the gradients' shapes
        dtype = torch.promote_types(u.dtype, torch.float32)
        with torch.autocast(u.device.type, enabled=False):
            out, states = module.scan_forward(*_ready(tensors, dtype), delta_softplus)
        ctx.module, ctx.delta_softplus = module, delta_softplus
        ctx.save_for_backward(*tensors, states)
        return out.to(u.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, states = ctx.saved_tensors
        with torch.autocast(grad_out.device.type, enabled=False):
            grad, *ready = _ready([grad_out, *tensors], states.dtype)
            grads = ctx.module.scan_backward(grad, *ready, ctx.delta_softplus, states)
        needed = ctx.needs_input_grad[2:]
        return (
            None,
            None,
            *(
                g.to(t.dtype) if need and t is not None else None
                for g, t, need in zip(grads, tensors, needed, strict=True)
            ),
        )


def _ready(tensors: Any, dtype: torch.dtype) -> list[Tensor | None]:
    return [None if t is None else t.detach().to(dtype).contiguous() for t in tensors]


@cache
def _module(name: str) -> ModuleType | None:
    """A backend's module, None where what it is written with is not installed."""
    if name == "torch":
        return scan_torch
    if find_spec(name) is None:
        return None
    # Imports by name, so that the build graph sees which code a run follows from.
    if name == "numba":
        from oacore.models.scan import cpu as scan_numba

        return scan_numba
    from oacore.models.scan import gpu as scan_triton

    return scan_triton


def _backend(name: str, device: torch.device) -> ModuleType:
    if name not in BACKENDS:
        raise InputError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")
    made_for = BACKENDS[name]
    if made_for not in (None, device.type):
        raise InputError(
            f"backend {name!r} runs on {made_for} and the tensors are on {device.type}: "
            "move them, or leave `backend` out"
        )
    module = _module(name)
    if module is None:
        raise InputError(f"backend {name!r} needs {name}: install it, or leave `backend` out")
    return module


def _check(*tensors: Any) -> None:
    """Refuse, by name, what does not fit the others."""
    u, A = tensors[0], tensors[2]
    for name, x, form in (("u", u, "(batch, channels, length)"), ("A", A, "(channels, states)")):
        if not isinstance(x, Tensor) or x.ndim != form.count(",") + 1:
            raise InputError(f"{name} must be a tensor {form}, not {_describe(x)}")
    if A.numel() == 0:
        raise InputError(f"A needs at least one channel and one state, and is {_describe(A)}")
    size = dict(zip(("batch", "channels", "length"), u.shape, strict=True), states=A.shape[1])
    for (name, axes), x in zip(AXES.items(), tensors, strict=True):
        if x is None and name in OPTIONAL:
            continue
        expected = tuple(size[axis] for axis in axes)
        if not isinstance(x, Tensor) or x.shape != expected:
            raise InputError(
                f"{name} must have shape ({', '.join(axes)}) = {expected}, not {_describe(x)}"
            )
        if not x.is_floating_point():
            raise InputError(f"{name} must be of a floating-point dtype, not {x.dtype}")
        if x.device != u.device:
            raise InputError(f"{name} is on {x.device}, but u on {u.device}: move one of them")


def _describe(x: Any) -> str:
    return str(tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__
