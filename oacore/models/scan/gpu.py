"""Triton backend of the selective scan (Gu and Dao 2023, arXiv:2312.00752, algorithm 2).

For each batch, channel and state, with the decay a_t = exp(d_t A)::

    h_t = a_t h_{t-1} + d_t B_t u_t          y_t = sum over states of C_t h_t + D u_t.

A GPU is busy only if the length is split too, so it is cut into chunks of `CHUNK` steps.

(a) Every chunk at once: the state it ends with if it starts from zero, and its sum of d,
    for the decay of a whole chunk is exp(A sum of d).
(b) Over the chunks in order: the true state each of them starts from.
(c) Every chunk at once: all h_t from that start, by an associative scan of the pairs
    (decay, input), and from them out.

Backward, the adjoint g_t = C_t dy_t + a_{t+1} g_{t+1} goes through the same three steps from
the end to the start, and (c) recomputes the states of its chunk in registers. Nothing is ever
divided by a decay, which may be zero. What programs share is summed by torch afterwards, in a
fixed order.
"""

# Kernels take pointers, for which there is no annotation; shapes stand in comments instead.
# mypy: allow-untyped-defs, allow-incomplete-defs

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from triton.language import constexpr

from oacore.errors import InputError

# Powers of two. A tile (K, Q) is CHANNELS x CHUNK values in 32 x WARPS threads.
CHUNK = 128  # steps of a chunk
CHANNELS = 16  # channels of a program; fewer mean more partial sums for dB and dC
WARPS = 16  # one for each channel, so that no scan has to cross warps
CARRY_CHUNKS = 64  # chunks that step (b) scans at a time
CARRY_LANES = 16  # pairs of channel and state in a program of step (b)


@triton.jit
def _then(decay1, input1, decay2, input2):
    """The map h -> decay1 h + input1 and then h -> decay2 h + input2, as one such map."""
    return decay1 * decay2, decay2 * input1 + input2


@triton.jit
def _decay(x):
    """Evaluate exp(x) so that a product of many is right, too.

    The hardware's exp may be off by two units in the last place, the same way at every step
    of equal d. That only adds up where the decay is slow, so a series serves near zero.
    """
    near = 1.0 + x * (1.0 + x * (1.0 / 2 + x * (1.0 / 6 + x * (1.0 / 24 + x * (1.0 / 120)))))
    return tl.where(tl.abs(x) < 0.125, near, tl.exp(x))


@triton.jit
def _softplus(x):
    """log(1 + exp(x)) with full relative precision where it is small, as log1p has."""
    v = tl.exp(-tl.abs(x))
    s = v / (2.0 + v)  # log1p(v) = 2 artanh(s), s <= 1/3: its series to s^15
    q = s * s
    series = 1.0 / 9 + q * (1.0 / 11 + q * (1.0 / 13 + q * (1.0 / 15)))
    series = 1.0 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * series)))
    return tl.maximum(x, 0.0) + 2.0 * s * series


@triton.jit
def _step_size(delta, bias, at, mask, softplus: constexpr):
    """Read d (K, Q) from `delta` and bias (K, 1); 0, a decay of 1, where the mask is off."""
    d = tl.load(delta + at, mask, 0.0) + bias
    if softplus:
        d = _softplus(d)
    return tl.where(mask, d, 0.0)


@triton.jit
def _place(chunk, channels, chunks, delta_bias, Q: constexpr, K: constexpr):
    """A program's batch, channels c (K,), steps t (Q,), offsets and mask (K, Q), bias (K, 1)."""
    batch = tl.program_id(2).to(tl.int64)  # 64 bits: batch * channels * length may exceed 2^31
    c = tl.program_id(1) * K + tl.arange(0, K)
    t = chunk * Q + tl.arange(0, Q)
    at = ((batch * channels + c) * (chunks * Q))[:, None] + t[None, :]
    bias = tl.zeros([K], tl.float32)
    if delta_bias is not None:
        bias += tl.load(delta_bias + c, c < channels, 0.0)
    return batch, c, t, at, (c < channels)[:, None], bias[:, None]


@triton.jit
def _chunk_kernel(
    x, delta, A, M, z, delta_bias,  # forward: x is u, M is B; backward: x is grad_out, M is C
    carried, total,  # out: (batch, chunks, channels, states) and (batch, chunks, channels)
    channels, chunks, N: constexpr, Q: constexpr, K: constexpr, softplus: constexpr,
    backward: constexpr,
):  # fmt: skip
    """Step (a): what a chunk hands to the next one, and backward to the one before it.

    forward:  sum over t of exp(A (sum of d after t))        d_t u_t B_t
    backward: sum over t of exp(A (sum of d up to and at t)) dy_t    C_t
    """
    chunk = tl.program_id(0)  # the last chunk hands nothing on, the first nothing back
    if backward:
        chunk += 1
    batch, c, t, at, mask, bias = _place(chunk, channels, chunks, delta_bias, Q, K)
    d = _step_size(delta, bias, at, mask, softplus)  # (K, Q)
    value = tl.load(x + at, mask, 0.0)
    if backward:
        receiver = chunk - 1
        span = tl.cumsum(d, 1)
        if z is not None:
            gate = tl.load(z + at, mask, 0.0)
            value *= gate * tl.sigmoid(gate)  # dy from grad_out
    else:
        receiver = chunk + 1
        later = mask & (t % Q < Q - 1)[None, :]  # has a step after it in this chunk
        span = tl.cumsum(_step_size(delta, bias, at + 1, later, softplus), 1, reverse=True)
        value *= d
    row = (batch * chunks + receiver) * channels + c
    tl.store(total + row, tl.sum(d, 1), c < channels)
    for n in range(N):
        a = tl.load(A + (c * N + n)[:, None], mask, 0.0)  # (K, 1)
        m = tl.load(M + ((batch * N + n) * (chunks * Q) + t)[None, :])  # (1, Q)
        end = tl.sum(tl.exp(a * span) * value * m, 1)
        tl.store(carried + row * N + n, end, c < channels)


@triton.jit
def _carry_kernel(
    carried, total, A,  # carried, in place: from what each chunk receives to what it starts from
    channels, chunks, N: constexpr, G: constexpr, J: constexpr, backward: constexpr,
):  # fmt: skip
    """Step (b): start_k = exp(A total_k) start_{k-1} + received_k; backward from the end."""
    batch = tl.program_id(1).to(tl.int64)
    lane = tl.program_id(0) * J + tl.arange(0, J)  # (J,) channel * N + state
    inside = lane < channels * N
    a = tl.load(A + lane, inside, 0.0)[None, :]
    start = tl.zeros([J], tl.float32)
    first = 0
    while first < chunks:
        i = first + tl.arange(0, G)
        k = chunks - 1 - i if backward else i
        mask = (i < chunks)[:, None] & inside[None, :]
        row = ((batch * chunks + k) * channels)[:, None]
        d = tl.load(total + row + (lane // N)[None, :], mask, 0.0)  # (G, J)
        here = carried + row * N + lane[None, :]
        received = tl.load(here, mask, 0.0)
        decay, state = tl.associative_scan((_decay(a * d), received), 0, _then)
        state += decay * start[None, :]
        tl.store(here, state, mask)
        start = tl.sum(tl.where((i == first + G - 1)[:, None], state, 0.0), 0)  # its last row
        first += G


@triton.jit
def _output_kernel(
    u, delta, A, B, C, D, z, delta_bias, starts, out,
    channels, chunks, N: constexpr, Q: constexpr, K: constexpr, softplus: constexpr,
):  # fmt: skip
    """Step (c) forward: out (batch, channels, length) from the starts."""
    chunk = tl.program_id(0)
    batch, c, t, at, mask, bias = _place(chunk, channels, chunks, delta_bias, Q, K)
    d = _step_size(delta, bias, at, mask, softplus)  # (K, Q)
    x = tl.load(u + at, mask, 0.0)
    y = tl.zeros([K, Q], tl.float32)
    if D is not None:
        y += tl.load(D + c, c < channels, 0.0)[:, None] * x
    row = ((batch * chunks + chunk) * channels + c)[:, None]
    for n in range(N):
        a = tl.load(A + (c * N + n)[:, None], mask, 0.0)  # (K, 1)
        start = tl.load(starts + row * N + n, mask, 0.0)
        series = ((batch * N + n) * (chunks * Q) + t)[None, :]
        given = d * x * tl.load(B + series)
        decay, h = tl.associative_scan((_decay(a * d), given), 1, _then)  # (K, Q)
        y += (h + decay * start) * tl.load(C + series)
    if z is not None:
        gate = tl.load(z + at, mask, 0.0)
        y *= gate * tl.sigmoid(gate)
    tl.store(out + at, y, mask)


@triton.jit
def _gradient_kernel(
    grad_out, u, delta, A, B, C, D, z, delta_bias, starts, ends,
    du, ddelta, dz,  # (batch, channels, length)
    dA, dD, dbias,  # per chunk: (batch, chunks, channels, states), (batch, chunks, channels)
    dB, dC,  # per block of channels: (batch, blocks, states, length)
    channels, chunks, N: constexpr, Q: constexpr, K: constexpr, softplus: constexpr,
):  # fmt: skip
    """Step (c) backward: all gradients, `ends` being a_{t+1} g_{t+1} after each chunk.

    past_t = a_t h_{t-1} is scanned rather than h_t: h_t - d_t B_t u_t would cancel.
    """
    chunk = tl.program_id(0)
    batch, c, t, at, mask, bias = _place(chunk, channels, chunks, delta_bias, Q, K)
    has_earlier = (t % Q > 0)[None, :]  # in this chunk
    later = mask & (t % Q < Q - 1)[None, :]
    d = _step_size(delta, bias, at, mask, softplus)  # all tiles (K, Q)
    d_later = _step_size(delta, bias, at + 1, later, softplus)
    dx_earlier = _step_size(delta, bias, at - 1, mask & has_earlier, softplus)
    dx_earlier *= tl.load(u + at - 1, mask & has_earlier, 0.0)
    x = tl.load(u + at, mask, 0.0)
    dy = tl.load(grad_out + at, mask, 0.0)
    if z is not None:
        gate = tl.load(z + at, mask, 0.0)
        dy *= gate * tl.sigmoid(gate)
    y = tl.zeros([K, Q], tl.float32)
    gx = tl.zeros([K, Q], tl.float32)  # gradient of u
    gd = tl.zeros([K, Q], tl.float32)  # gradient of d
    row = (batch * chunks + chunk) * channels + c
    if D is not None:
        skip = tl.load(D + c, c < channels, 0.0)[:, None]
        gx += skip * dy
        y += skip * x
        tl.store(dD + row, tl.sum(dy * x, 1), c < channels)
    for n in range(N):
        a = tl.load(A + (c * N + n)[:, None], mask, 0.0)  # (K, 1)
        start = tl.load(starts + (row * N + n)[:, None], mask, 0.0)
        end = tl.load(ends + (row * N + n)[:, None], mask, 0.0)
        series = ((batch * N + n) * (chunks * Q) + t)[None, :]
        b, m = tl.load(B + series), tl.load(C + series)  # (1, Q)
        given = dx_earlier * tl.load(B + series - 1, has_earlier, 0.0)
        # past_t = a_t (past_{t-1} + d_{t-1} B_{t-1} u_{t-1})
        decay = _decay(a * d)
        decay, past = tl.associative_scan((decay, decay * given), 1, _then)
        past += decay * start
        h = past + d * x * b
        # g_t = C_t dy_t + a_{t+1} g_{t+1}
        decay, g = tl.associative_scan((_decay(a * d_later), dy * m), 1, _then, reverse=True)
        g += decay * end
        y += h * m
        gx += g * b * d
        gd += g * (b * x + a * past)
        tl.store(dA + row * N + n, tl.sum(g * past * d, 1), c < channels)
        part = ((batch * tl.num_programs(1) + tl.program_id(1)) * N + n) * (chunks * Q) + t
        tl.store(dB + part, tl.sum(g * d * x, 0))
        tl.store(dC + part, tl.sum(dy * h, 0))
    if softplus:  # d softplus(x) / dx = sigmoid(x)
        gd *= tl.sigmoid(tl.load(delta + at, mask, 0.0) + bias)
    if delta_bias is not None:
        tl.store(dbias + row, tl.sum(gd, 1), c < channels)
    tl.store(du + at, gx, mask)
    tl.store(ddelta + at, gd, mask)
    if z is not None:
        gate = tl.load(z + at, mask, 0.0)
        s = tl.sigmoid(gate)  # d silu(z) / dz = s (1 + z (1 - s))
        y *= tl.load(grad_out + at, mask, 0.0)
        tl.store(dz + at, y * s * (1 + gate * (1 - s)), mask)


def _whole_chunks(*series: Any, mode: str = "replicate") -> list[Any]:
    """Pad the length of (batch, rows, length) or None to whole chunks.

    Added steps change none before them. Repeating the last one keeps d positive, which a
    zero plus bias need not be.
    """
    extra = -series[0].shape[-1] % CHUNK
    return [x if x is None or extra == 0 else F.pad(x, (0, extra), mode) for x in series]


def _options(A: Tensor, delta_softplus: bool) -> dict[str, Any]:
    sizes = {"N": A.shape[1], "Q": CHUNK, "K": CHANNELS, "softplus": delta_softplus}
    return sizes | {"num_warps": WARPS, "enable_fp_fusion": True}


def _carried(x, delta, A, M, z, delta_bias, delta_softplus: bool, backward: bool) -> Tensor:
    """Steps (a) and (b): what each chunk starts from, (batch, chunks, channels, states)."""
    batch, channels, length = x.shape
    chunks = length // CHUNK
    carried = x.new_zeros(batch, chunks, channels, A.shape[1])
    total = x.new_zeros(batch, chunks, channels)
    if chunks > 1:
        _chunk_kernel[chunks - 1, triton.cdiv(channels, CHANNELS), batch](
            x, delta, A, M, z, delta_bias, carried, total, channels, chunks,
            backward=backward, **_options(A, delta_softplus),
        )  # fmt: skip
        _carry_kernel[triton.cdiv(A.numel(), CARRY_LANES), batch](
            carried, total, A, channels, chunks, N=A.shape[1], G=CARRY_CHUNKS, J=CARRY_LANES,
            backward=backward, enable_fp_fusion=True,
        )  # fmt: skip
    return carried


def scan_forward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None, z: Tensor | None, delta_bias: Tensor | None, delta_softplus: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Selective scan, as :func:`.selective.selective_scan`, of contiguous float32.

    Returns
    -------
    out : Tensor, shape (batch, channels, length)
    boundary_states : Tensor, shape (batch, chunks, channels, states)
        The state each chunk of `CHUNK` steps starts from, for :func:`scan_backward`.

    Raises
    ------
    InputError
        If the numbers are not float32.
    """
    if u.dtype != torch.float32:
        raise InputError(f"the Triton scan is in float32, not {u.dtype}: take backend 'torch'")
    length = u.shape[-1]
    u, delta, B, C, z = _whole_chunks(u, delta, B, C, z)
    out = torch.empty_like(u)
    with torch.cuda.device_of(u):
        starts = _carried(u, delta, A, B, None, delta_bias, delta_softplus, backward=False)
        batch, chunks, channels, _ = starts.shape
        _output_kernel[chunks, triton.cdiv(channels, CHANNELS), batch](
            u, delta, A, B, C, D, z, delta_bias, starts, out, channels, chunks,
            **_options(A, delta_softplus),
        )  # fmt: skip
    return out[..., :length].contiguous(), starts


def scan_backward(
    grad_out: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None, z: Tensor | None, delta_bias: Tensor | None, delta_softplus: bool,
    boundary_states: Tensor,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Gradients of sum(grad_out * out), from what :func:`scan_forward` took and returned.

    Returns
    -------
    du, ddelta, dA, dB, dC, dD, dz, ddelta_bias : Tensor or None
        Each of the shape of its argument; None where that is None.
    """
    length = u.shape[-1]
    u, delta, B, C, z = _whole_chunks(u, delta, B, C, z)
    (grad_out,) = _whole_chunks(grad_out, mode="constant")  # zeros: added steps count nothing
    batch, chunks, channels, N = boundary_states.shape
    blocks, each = triton.cdiv(channels, CHANNELS), (batch, chunks, channels)
    du, ddelta, dz = (x if x is None else torch.empty_like(x) for x in (u, delta, z))
    dB, dC = (x.new_empty(batch, blocks, N, x.shape[-1]) for x in (B, C))
    dA = torch.empty_like(boundary_states)
    dD, dbias = (x if x is None else x.new_empty(each) for x in (D, delta_bias))
    with torch.cuda.device_of(u):
        ends = _carried(grad_out, delta, A, C, z, delta_bias, delta_softplus, backward=True)
        _gradient_kernel[chunks, blocks, batch](
            grad_out, u, delta, A, B, C, D, z, delta_bias, boundary_states, ends, du, ddelta, dz,
            dA, dD, dbias, dB, dC, channels, chunks, **_options(A, delta_softplus),
        )  # fmt: skip
    gA, gD, gbias = (  # float64, for sums as long as the sequence
        x if x is None else x.sum((0, 1), dtype=torch.float64).float() for x in (dA, dD, dbias)
    )
    gu, gdelta, gB, gC, gz = (
        x if x is None else x[..., :length].contiguous()
        for x in (du, ddelta, dB.sum(1), dC.sum(1), dz)
    )
    return gu, gdelta, gA, gB, gC, gD, gz, gbias
