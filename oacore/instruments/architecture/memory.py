"""What a selective scan keeps for its backward pass, and how far back a token still counts."""

from __future__ import annotations

from collections.abc import Callable

import torch

from oacore.models.nnmamba import NNMamba


def kept_per_token(
    scan: Callable[..., torch.Tensor], inner: int, states: int, length: int
) -> float:
    """Bytes that a scan keeps for its backward pass, for each token.

    Parameters
    ----------
    scan : function
        As :func:`.selective.selective_scan` takes its arguments.
    inner, states, length : int
        Channels, states of each channel, tokens of the one sequence that is scanned.
    """
    sizes: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    # What is kept depends on shapes alone.
    u, delta, z = torch.full((3, 1, inner, length), 0.5).unbind()
    B, C = torch.full((2, 1, states, length), 0.5).unbind()
    A = torch.full((inner, states), -0.5)
    for tensor in (u, delta, z, A, B, C):
        tensor.requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        # Clones, since what unbind gives shares one storage.
        scan(u.clone(), delta.clone(), A, B.clone(), C.clone(), z=z.clone())
    return sum(sizes.values()) / length


def influence(encoder: NNMamba, x: torch.Tensor, length: int) -> torch.Tensor:
    """Influence of a token on a later one in nnMamba's loop, by the distance of the two.

    Parameters
    ----------
    encoder : NNMamba
        In evaluation mode.
    x : Tensor
        One volume of shape (1, 1, D, H, W); its first eight windows of tokens are looked at.
    length : int
        Tokens of a window.

    Returns
    -------
    Tensor
        Of shape (length,): root mean square of the derivatives of the last token's channels with
        respect to all channels of the token at each distance before it, 1 at distance 0.
    """
    with torch.no_grad():
        sequence = encoder.mamba.before(encoder.stem(x)).flatten(2)  # (1, channels, tokens)
    windows = sequence[0].unfold(1, length, length)[:, :8].transpose(0, 1)
    windows = windows.contiguous().requires_grad_()  # (8, channels, length)
    last = encoder.mamba.block(windows)[:, :, -1].sum(dim=0)  # (channels,)
    squares = torch.zeros_like(windows)
    for channel in last:
        (slope,) = torch.autograd.grad(channel, windows, retain_graph=True)
        squares += slope**2
    by_distance = squares.sum(dim=1).mean(dim=0).sqrt().flip(0)
    return by_distance / by_distance[0]
