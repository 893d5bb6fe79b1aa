"""The selective scan on a CPU, compiled by Numba.

LANES channels are taken side by side, one in each lane of the processor's vector registers:
every loop over `lane` below becomes a few instructions, and sums over states stay in their lane.
Of the states, forward keeps those at the start of each tile of STEPS steps. Backward goes
through the tiles from the last to the first, computes a tile's states again, and then takes its
steps in reverse::

    g_t = dL/dh_t = C_t dL/dy_t + a_(t+1) g_(t+1),      a = exp(delta A).

B and C belong to all channels. Each group of LANES channels therefore has its own sums for their
gradients; these are added up in the order of the groups after every SPAN steps, so the result
does not depend on the number of threads.
"""

# Compiled functions take arrays, whose shapes stand in comments instead of annotations.
# mypy: allow-untyped-defs, allow-incomplete-defs

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit, types
from numba.extending import overload
from torch import Tensor

LANES = 16  # fewer, and the compiler unrolls the loops over lanes instead of using vectors
STEPS = 128  # more, and a tile's states fall out of the cache
SPAN = 4096  # more, and the groups' sums for B and C take as much memory as u
SMALLEST = 1e-30  # a state below it is 0: left to decay, it would become a (slow) denormal

# Rows of a tile, (rows, STEPS + 1, LANES), of a table, (states, rows, LANES), and of the past,
# (STEPS, states, rows, LANES). Few arrays of constant inner shape, because the compiled loops
# have to make sure, each time, that the arrays they write to do not overlap the others.
RAW, DT, U, X, Y, GY, DX, DDT = range(8)
RATE, H, G, DA = range(4)
BEFORE, AFTER, DECAY = range(3)

# Multiply-add in one instruction, but no reordering: it would undo the care taken in _exp.
OPTIONS: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Compiled at the first call, which takes seconds, and kept on disk for the next process."""
    options = {**OPTIONS, **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        return njit(**options)(function)


def _exp(x):
    """exp; in float32 without a branch or a call, so that it works on all lanes at once."""


@overload(_exp, jit_options=OPTIONS)
def _exp_of(x):
    if x != types.float32:
        return lambda x: np.exp(x)
    f = np.float32
    # Cephes' expf: x = k log 2 + r, log 2 in two parts so that r is exact, and a polynomial.
    per_log2, log2_high, log2_low = f(1.44269504088896341), f(0.693359375), f(-2.12194440e-4)
    c7, c6, c5 = f(1.9875691500e-4), f(1.3981999507e-3), f(8.3334519073e-3)
    c4, c3, c2 = f(4.1665795894e-2), f(1.6666665459e-1), f(5.0000001201e-1)
    shift, one = f(12582912), f(1)  # 1.5 * 2^23: added to a number, it rounds it
    zero, huge, least, most = f(0), f(3e38), f(-80), f(88)  # 0 below -80, before denormals
    to_exponent = np.int32(23)

    def impl(x):
        shifted = x * per_log2 + shift  # its last bits are those of k
        k = shifted - shift
        r = (x - k * log2_high) - k * log2_low
        p = ((((c7 * r + c6) * r + c5) * r + c4) * r + c3) * r + c2
        p = p * (r * r) + r + one  # exp(r)
        power = np.float32(shifted).view(np.int32) << to_exponent
        y = np.int32(np.float32(p).view(np.int32) + power).view(np.float32)  # 2^k exp(r)
        return zero if x < least else (y if x <= most else x * huge)

    return impl


def _log1p(x):
    """log(1 + x) for 0 <= x <= 1, likewise."""


@overload(_log1p, jit_options=OPTIONS)
def _log1p_of(x):
    if x != types.float32:
        return lambda x: np.log1p(x)
    one, two = np.float32(1), np.float32(2)
    c3, c5, c7, c9, c11, c13 = (np.float32(1 / k) for k in (3, 5, 7, 9, 11, 13))

    def impl(x):
        s = x / (two + x)  # log(1 + x) = 2 artanh(s), s <= 1/3, by its series
        q = s * s
        return two * s * ((((((c13 * q + c11) * q + c9) * q + c7) * q + c5) * q + c3) * q + one)

    return impl


@_compiled
def _read(x, i, first, t, lanes, steps, tile, row):
    """Into a row of a tile: channels `first` on, steps t on, of x (batch, channels, length)."""
    for lane in range(lanes):
        for s in range(steps):
            tile[row, s, lane] = x[i, first + lane, t + s]


@_compiled
def _write(x, i, first, t, lanes, steps, tile, row):
    for lane in range(lanes):
        for s in range(steps):
            x[i, first + lane, t + s] = tile[row, s, lane]


@_compiled
def _step_sizes(tile, bias, softplus, steps):
    """RAW becomes delta + bias, and DT that or its softplus."""
    zero = tile.dtype.type(0)
    for s in range(steps):
        for lane in range(LANES):
            tile[RAW, s, lane] += bias[lane]
            tile[DT, s, lane] = tile[RAW, s, lane]
        if softplus:
            for lane in range(LANES):
                raw = tile[RAW, s, lane]
                tile[DT, s, lane] = max(raw, zero) + _log1p(_exp(-abs(raw)))


@_compiled
def _flush(table, row):
    smallest = table.dtype.type(SMALLEST)
    for n in range(table.shape[0]):
        for lane in range(LANES):
            if abs(table[n, row, lane]) < smallest:
                table[n, row, lane] = 0


@_compiled
def _forward(u, delta, A, B, C, D, z, bias, softplus, gated, i, group, out, starts):
    """All steps of one group of channels; arrays as in scan_forward."""
    states, length, first = A.shape[1], u.shape[2], group * LANES
    lanes = min(LANES, u.shape[1] - first)
    tile = np.zeros((8, STEPS + 1, LANES), u.dtype)
    table = np.zeros((states, 4, LANES), u.dtype)
    table[:, RATE] = A[group]
    one = u.dtype.type(1)
    for t in range(0, length, STEPS):
        steps = min(STEPS, length - t)
        _flush(table, H)
        starts[i, group, t // STEPS] = table[:, H]
        _read(delta, i, first, t, lanes, steps, tile, RAW)
        _read(u, i, first, t, lanes, steps, tile, U)
        _step_sizes(tile, bias[group], softplus, steps)
        for s in range(steps):
            for lane in range(LANES):
                tile[X, s, lane] = tile[DT, s, lane] * tile[U, s, lane]
                tile[Y, s, lane] = D[group, lane] * tile[U, s, lane]
            for n in range(states):
                b, c = B[i, t + s, n], C[i, t + s, n]
                for lane in range(LANES):
                    decay = _exp(tile[DT, s, lane] * table[n, RATE, lane])
                    h = decay * table[n, H, lane] + b * tile[X, s, lane]
                    table[n, H, lane] = h
                    tile[Y, s, lane] += c * h
        if gated:
            _read(z, i, first, t, lanes, steps, tile, X)
            for s in range(steps):
                for lane in range(LANES):
                    gate = tile[X, s, lane]
                    tile[Y, s, lane] *= gate / (one + _exp(-gate))
        _write(out, i, first, t, lanes, steps, tile, Y)


def _sum_lanes(past, steps, t, dB, dC):
    """Sums over the channels of a group, into (length, states)."""
    for s in range(steps):
        for n in range(past.shape[1]):
            b, c = past.dtype.type(0), past.dtype.type(0)
            for lane in range(LANES):
                b += past[s, n, DECAY, lane]
                c += past[s, n, AFTER, lane]
            dB[t + s, n], dC[t + s, n] = b, c


_sum_lanes = _compiled(_sum_lanes, fastmath={"contract", "nsz", "reassoc"})


@_compiled
def _backward(
    grad, u, delta, A, B, C, D, z, bias, softplus, gated, i, group, t0, t1, starts,
    g, du, ddelta, dA, dB, dC, dD, dz, dbias,
):  # fmt: skip
    """Steps t1 back to t0 of one group of channels; arrays as in scan_backward.

    g (states, LANES) is a_(t+1) g_(t+1) of the step after, and then that of the first.
    """
    states, first = A.shape[1], group * LANES
    lanes = min(LANES, u.shape[1] - first)
    tile = np.zeros((8, STEPS + 1, LANES), u.dtype)
    table = np.zeros((states, 4, LANES), u.dtype)
    past = np.empty((STEPS, states, 3, LANES), u.dtype)
    sums = np.empty((2, LANES), u.dtype)
    table[:, RATE] = A[group]
    table[:, G] = g
    one, zero = u.dtype.type(1), u.dtype.type(0)
    for t in range(t0 + (t1 - t0 - 1) // STEPS * STEPS, t0 - 1, -STEPS):
        steps = min(STEPS, t1 - t)
        _read(delta, i, first, t, lanes, steps, tile, RAW)
        _read(u, i, first, t, lanes, steps, tile, U)
        _read(grad, i, first, t, lanes, steps, tile, GY)
        _step_sizes(tile, bias[group], softplus, steps)

        # The states again.
        table[:, H] = starts[i, group, t // STEPS]
        for s in range(steps):
            for lane in range(LANES):
                tile[X, s, lane] = tile[DT, s, lane] * tile[U, s, lane]
            for n in range(states):
                b = B[i, t + s, n]
                for lane in range(LANES):
                    decay = _exp(tile[DT, s, lane] * table[n, RATE, lane])
                    before = table[n, H, lane]
                    after = decay * before + b * tile[X, s, lane]
                    past[s, n, DECAY, lane] = decay
                    past[s, n, BEFORE, lane] = before
                    past[s, n, AFTER, lane] = after
                    table[n, H, lane] = after

        # Back through the gate, y silu(z).
        if gated:
            _read(z, i, first, t, lanes, steps, tile, DX)
            for s in range(steps):
                for lane in range(LANES):
                    tile[Y, s, lane] = D[group, lane] * tile[U, s, lane]
                for n in range(states):
                    c = C[i, t + s, n]
                    for lane in range(LANES):
                        tile[Y, s, lane] += c * past[s, n, AFTER, lane]
                for lane in range(LANES):
                    gate, gy = tile[DX, s, lane], tile[GY, s, lane]
                    sigmoid = one / (one + _exp(-gate))
                    slope = sigmoid * (one + gate * (one - sigmoid))
                    tile[DX, s, lane] = gy * tile[Y, s, lane] * slope
                    tile[GY, s, lane] = gy * gate * sigmoid
            _write(dz, i, first, t, lanes, steps, tile, DX)

        # Back through y = C . h and h = a h + B x, x = delta u.
        _flush(table, G)
        table[:, DA] = zero
        for s in range(steps - 1, -1, -1):
            for lane in range(LANES):
                tile[DX, s, lane] = zero
                tile[DDT, s, lane] = zero
            for n in range(states):
                b, c = B[i, t + s, n], C[i, t + s, n]
                for lane in range(LANES):
                    g_ = table[n, G, lane] + c * tile[GY, s, lane]
                    carry = g_ * past[s, n, DECAY, lane]
                    table[n, G, lane] = carry
                    past[s, n, DECAY, lane] = g_ * tile[X, s, lane]  # this channel's part of dB
                    past[s, n, AFTER, lane] *= tile[GY, s, lane]  # and of dC
                    tile[DX, s, lane] += g_ * b
                    power = carry * past[s, n, BEFORE, lane]  # dL/d(delta A): a = exp(delta A)
                    tile[DDT, s, lane] += power * table[n, RATE, lane]
                    table[n, DA, lane] += power * tile[DT, s, lane]
        dA += table[:, DA]
        _sum_lanes(past, steps, t - t0, dB, dC)

        # Back through x = delta u, D u, the softplus and the bias.
        sums[:] = zero
        for s in range(steps):
            for lane in range(LANES):
                gy, dx, u_ = tile[GY, s, lane], tile[DX, s, lane], tile[U, s, lane]
                slope = tile[DDT, s, lane] + dx * u_
                if softplus:
                    slope /= one + _exp(-tile[RAW, s, lane])
                sums[0, lane] += gy * u_
                sums[1, lane] += slope
                tile[DDT, s, lane] = slope
                tile[DX, s, lane] = dx * tile[DT, s, lane] + D[group, lane] * gy
        dD += sums[0]
        dbias += sums[1]
        _write(ddelta, i, first, t, lanes, steps, tile, DDT)
        _write(du, i, first, t, lanes, steps, tile, DX)
    g[:] = table[:, G]


def scan_forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> tuple[Tensor, Tensor]:
    """Output, and the state before each tile, (batch, groups, tiles, states, LANES)."""
    batch, _, length = u.shape
    groups = -(-u.shape[1] // LANES)
    out = torch.empty_like(u)
    starts = u.new_empty(batch, groups, -(-length // STEPS), A.shape[1], LANES)
    inputs = _arrays(u, delta, A, B, C, D, z, delta_bias)
    results = out.numpy(), starts.numpy()

    def part(i: int, group: int) -> None:
        _forward(*inputs, delta_softplus, z is not None, i, group, *results)

    _run(part, batch, groups)
    return out, starts


def scan_backward(
    grad_out: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    starts: Tensor,
) -> tuple[Tensor | None, ...]:
    """Gradients of u, delta, A, B, C, D, z and delta_bias, None for what is absent."""
    batch, channels, length = u.shape
    groups, states = -(-channels // LANES), A.shape[1]
    inputs = _arrays(u, delta, A, B, C, D, z, delta_bias)
    grad, starts_ = grad_out.numpy(), starts.numpy()
    du, ddelta, dB, dC = (torch.empty_like(t) for t in (u, delta, B, C))
    dz = None if z is None else torch.empty_like(z)
    du_, ddelta_, dz_ = (t.numpy() for t in (du, ddelta, du if dz is None else dz))
    # Sums over the whole length are kept in double precision.
    dA = np.zeros((batch, groups, states, LANES))
    dD, dbias = np.zeros((2, batch, groups, LANES))
    g = np.zeros((batch, groups, states, LANES), grad.dtype)
    dB_, dC_ = np.empty((2, batch, groups, min(SPAN, length), states), grad.dtype)

    for t0 in reversed(range(0, length, SPAN)):
        t1 = min(t0 + SPAN, length)

        def part(i: int, group: int, t0: int = t0, t1: int = t1) -> None:
            _backward(
                grad, *inputs, delta_softplus, z is not None, i, group, t0, t1, starts_,
                g[i, group], du_, ddelta_, dA[i, group], dB_[i, group], dC_[i, group],
                dD[i, group], dz_, dbias[i, group],
            )  # fmt: skip

        _run(part, batch, groups)
        for total, of_group in ((dB, dB_), (dC, dC_)):
            sums = of_group[:, :, : t1 - t0].sum(axis=1)  # (batch, steps, states)
            total[:, :, t0:t1] = torch.from_numpy(sums).transpose(1, 2)

    def per_channel(x: np.ndarray) -> Tensor:
        """(batch, groups, ..., LANES) to (..., channels)."""
        flat = np.moveaxis(x.sum(axis=0), 0, -2).reshape(*x.shape[2:-1], groups * LANES)
        return torch.from_numpy(flat[..., :channels]).to(A.dtype)

    dA_ = per_channel(dA).t().contiguous()
    dD_ = None if D is None else per_channel(dD)
    dbias_ = None if delta_bias is None else per_channel(dbias)
    return du, ddelta, dA_, dB, dC, dD_, dz, dbias_


def _arrays(u, delta, A, B, C, D, z, bias):
    """The tensors as compiled code takes them.

    A is (groups, states, LANES), B and C (batch, length, states), D and bias (groups, LANES) and
    zero where absent; an absent z is u, and not read.
    """
    D, bias = (A.new_zeros(A.shape[0]) if x is None else x for x in (D, bias))
    A, D, bias = (
        F.pad(x, (0, -x.shape[-1] % LANES)).unflatten(-1, (-1, LANES)).movedim(-2, 0)
        for x in (A.t(), D, bias)
    )
    B, C, z = B.transpose(1, 2), C.transpose(1, 2), u if z is None else z
    return [x.contiguous().numpy() for x in (u, delta, A, B, C, D, z, bias)]


def _run(part: Callable[[int, int], None], batch: int, groups: int) -> None:
    """Call part for all, in as many threads as PyTorch uses: compiled code holds no lock."""
    parts = [(i, group) for i in range(batch) for group in range(groups)]
    threads = min(torch.get_num_threads(), len(parts))
    if threads <= 1:
        for i, group in parts:
            part(i, group)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(part, i, group) for i, group in parts]:
            done.result()
