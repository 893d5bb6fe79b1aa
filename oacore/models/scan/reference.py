"""The selective scan in plain PyTorch, in blocks small enough for the processor's cache.

A block of the sequence is cut into K chunks of Q steps. The Q steps are taken one after
another, in all chunks at once, as if each chunk began in the state 0::

    h'_q = a_q h'_(q-1) + b_q,      p_q = a_q p_(q-1),      a = exp(delta A),   b = delta u B

The recurrence is linear, so h_q = h'_q + p_q h_in, and h_in, the state in which a chunk begins,
follows from the last steps of the chunks before it. Only h_in is kept for the backward pass,
which computes the rest again and takes the same steps in reverse for::

    g_q = dL/dh_q = C_q dL/dy_q + a_(q+1) g_(q+1).

Tensors of a block are (Q, states, channels, K). None with states is as long as the sequence.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 16  # Q: few, so that the product of Q decays seldom underflows
CHUNKS = 64  # K, at most
ELEMENTS = 1 << 15  # states x channels x K, at most: larger tensors fall out of the cache
SMALLEST = 1e-30  # a state below it is 0: left to decay, it would become a (slow) denormal
LEAST_EXPONENT = -80.0  # exp of less is 0, for the same reason


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
    """Output (batch, channels, length), and h_in (batch, states, channels, chunks)."""
    out = torch.empty_like(u)
    h_in = u.new_empty(u.shape[0], A.shape[1], A.shape[0], -(-u.shape[2] // STEPS))
    memory = _memory(2, u, A)
    for i, rows in _parts(u, A):
        A_, bias = A[rows].t().unsqueeze(2), _rows(delta_bias, rows)  # (states, channels, 1)
        state = torch.zeros_like(A_[..., 0])
        for block, chunks in _blocks(u):
            dt, u_ = _positive(delta[i, rows, block], bias, delta_softplus), u[i, rows, block]
            dtq, xq = (_chunked(t).unsqueeze(1) for t in (dt, dt * u_))  # (Q, 1, channels, K)
            Bq, Cq = (_chunked(t[i, :, block]).unsqueeze(2) for t in (B, C))  # (Q, states, 1, K)
            a, h = _scratch(memory, dtq, Bq)  # (Q, states, channels, K)
            torch.mul(xq, Bq, out=h)
            _decay(dtq, A_, out=a)
            ps, hs = a.unbind(), h.unbind()
            for q in range(1, STEPS):
                hs[q].addcmul_(ps[q], hs[q - 1])  # h'
                ps[q].mul_(ps[q - 1])
            first = _carry(hs[-1], ps[-1], state)
            state = hs[-1][..., -1].clone()
            h[:-1].addcmul_(a[:-1], first)
            h_in[i, :, rows, chunks] = first
            y = _unchunked(torch.mul(h, Cq, out=a).sum(1), dt.shape[1])  # (channels, steps)
            if D is not None:
                y = y.addcmul(D[rows, None], u_)
            if z is not None:
                y = y * F.silu(z[i, rows, block])
            out[i, rows, block] = y
    return out, h_in


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
    h_in: Tensor,
) -> tuple[Tensor | None, ...]:
    """Gradients of u, delta, A, B, C, D, z and delta_bias, None for what is absent."""
    du, ddelta = torch.empty_like(u), torch.empty_like(delta)
    dA, dB, dC = torch.zeros_like(A), torch.zeros_like(B), torch.zeros_like(C)
    dD, dz, dbias = (None if t is None else torch.zeros_like(t) for t in (D, z, delta_bias))
    memory = _memory(4, u, A)
    for i, rows in _parts(u, A):
        A_, bias = A[rows].t().unsqueeze(2), _rows(delta_bias, rows)  # (states, channels, 1)
        state = torch.zeros_like(A_[..., 0])  # a g of the first step of the block after this one
        for block, chunks in reversed(_blocks(u)):
            raw, u_, gy = delta[i, rows, block], u[i, rows, block], grad_out[i, rows, block]
            dt = _positive(raw, bias, delta_softplus)  # (channels, steps)
            dtq, xq = (_chunked(t).unsqueeze(1) for t in (dt, dt * u_))  # (Q, 1, channels, K)
            Bq, Cq = (_chunked(t[i, :, block]).unsqueeze(2) for t in (B, C))  # (Q, states, 1, K)
            a, h, ah, g = _scratch(memory, dtq, Bq)  # (Q, states, channels, K)

            # The states again: h = ah + b, ah = a_q h_(q-1).
            torch.mul(xq, Bq, out=h)
            _decay(dtq, A_, out=a)
            as_, hs, ahs, gs = a.unbind(), h.unbind(), ah.unbind(), g.unbind()
            before = h_in[i, :, rows, chunks]
            for q in range(STEPS):
                torch.mul(as_[q], before, out=ahs[q])
                before = hs[q].add_(ahs[q])

            # Back through the gate, y silu(z), and D u.
            if z is not None and dz is not None:
                y = _unchunked(torch.mul(h, Cq, out=g).sum(1), dt.shape[1])
                if D is not None:
                    y.addcmul_(D[rows, None], u_)
                z_ = z[i, rows, block]
                sigmoid = torch.sigmoid(z_)
                dz[i, rows, block] = gy * y * sigmoid * (1 + z_ * (1 - sigmoid))
                gy = gy * z_ * sigmoid
            gyq = _chunked(gy).unsqueeze(1)  # (Q, 1, channels, K)

            # Back through y = C . h ...
            dC[i, :, block] += _unchunked(h.mul_(gyq).sum(2), dt.shape[1])
            torch.mul(gyq, Cq, out=g)
            # ... and h = a h + b: g, first as if nothing came from the chunk after.
            for q in reversed(range(STEPS - 1)):
                gs[q].addcmul_(as_[q + 1], gs[q + 1])
            ag = as_[0] * gs[0]
            for q in reversed(range(STEPS - 1)):
                as_[q].mul_(as_[q + 1])  # a becomes the product of the decays from q on
            last = _carry(ag, as_[0], state, reverse=True)
            state = ag[..., 0].clone()
            g[:-1].addcmul_(a[1:], last)
            gs[-1].add_(last)

            # Back through b = x B, x = delta u ...
            dB[i, :, block] += _unchunked(torch.mul(g, xq, out=h).sum(2), dt.shape[1])
            dx = _unchunked(torch.mul(g, Bq, out=h).sum(1), dt.shape[1])
            # ... and a = exp(delta A).
            power = ah.mul_(g)  # dL/d(delta A) = g_q a_q h_(q-1)
            dA[rows] += torch.mul(power, dtq, out=h).sum((0, 3)).t()
            ddt = _unchunked(torch.mul(power, A_, out=h).sum(1), dt.shape[1]).addcmul_(dx, u_)
            if delta_softplus:
                ddt *= torch.sigmoid(raw if bias is None else raw + bias)
            ddelta[i, rows, block] = ddt
            du_ = dx * dt
            if D is not None and dD is not None:
                dD[rows] += (gy * u_).sum(1)
                du_.addcmul_(D[rows, None], gy)
            du[i, rows, block] = du_
            if dbias is not None:
                dbias[rows] += ddt.sum(1)
    return du, ddelta, dA, dB, dC, dD, dz, dbias


def _group(A: Tensor) -> int:
    """How many channels are taken at a time: as many as fit with all states and K chunks."""
    return min(A.shape[0], max(1, ELEMENTS // (CHUNKS * A.shape[1])))


def _memory(n: int, u: Tensor, A: Tensor) -> Tensor:
    """Room for n tensors of a block, taken once: fresh memory costs more than the sums in it."""
    chunks = min(CHUNKS, -(-u.shape[2] // STEPS))
    return u.new_empty(n, STEPS * A.shape[1] * _group(A) * chunks)


def _scratch(memory: Tensor, dtq: Tensor, Bq: Tensor) -> Iterator[Tensor]:
    """The tensors of one block, (Q, states, channels, K), in that room."""
    shape = torch.broadcast_shapes(dtq.shape, Bq.shape)
    return (row[: shape.numel()].view(shape) for row in memory)


def _parts(u: Tensor, A: Tensor) -> Iterator[tuple[int, slice]]:
    """Batch elements, and groups of channels."""
    group = _group(A)
    for i in range(u.shape[0]):
        for row in range(0, u.shape[1], group):
            yield i, slice(row, min(row + group, u.shape[1]))


def _blocks(u: Tensor) -> list[tuple[slice, slice]]:
    """Blocks of the sequence: their steps, and their chunks."""
    length, block = u.shape[2], STEPS * CHUNKS
    return [
        (slice(t, min(t + block, length)), slice(t // STEPS, -(-min(t + block, length) // STEPS)))
        for t in range(0, length, block)
    ]


def _rows(x: Tensor | None, rows: slice) -> Tensor | None:
    return None if x is None else x[rows, None]


def _positive(delta: Tensor, bias: Tensor | None, softplus: bool) -> Tensor:
    delta = delta if bias is None else delta + bias
    return F.softplus(delta) if softplus else delta


def _decay(dt: Tensor, A: Tensor, out: Tensor) -> None:
    """exp(delta A), without denormal numbers."""
    torch.mul(dt, A, out=out)
    F.threshold(out, LEAST_EXPONENT, -torch.inf, inplace=True).exp_()


def _chunked(x: Tensor) -> Tensor:
    """(rows, steps) to (Q, rows, K); the steps added at the end have delta 0 and change nothing."""
    if x.shape[1] % STEPS:
        x = F.pad(x, (0, -x.shape[1] % STEPS))
    return x.unflatten(1, (-1, STEPS)).permute(2, 0, 1).contiguous()


def _unchunked(x: Tensor, steps: int) -> Tensor:
    """(Q, rows, K) to (rows, steps)."""
    return x.permute(1, 2, 0).flatten(1)[:, :steps]


def _carry(ends: Tensor, decays: Tensor, state: Tensor, reverse: bool = False) -> Tensor:
    """Add to the ends of the chunks what came from before; return what each began with."""
    state = before = F.hardshrink(state, SMALLEST)
    pairs = list(zip(ends.unbind(-1), decays.unbind(-1), strict=True))
    for end, decay in reversed(pairs) if reverse else pairs:
        before = end.addcmul_(decay, before)
    state = state.unsqueeze(-1)
    return torch.cat((ends[..., 1:], state) if reverse else (state, ends[..., :-1]), dim=-1)
