"""What we are compared with: mambapy's scan, plain eager training, a loader that opens files.

The loader does what the script released with arXiv:2605.00718 does, written anew from its
description: four workers, pinned memory; for each case and epoch, nibabel decodes the NIfTI, the
volume is z-scored, turned from (H, W, D) to (D, H, W), and resized trilinearly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import oacore.models.nnmamba
from oacore.errors import InputError
from oacore.models.heads import build_model
from oacore.models.scan.selective import selective_scan
from oacore.profile import Recipe
from oacore.training.losses import hierarchical_loss


def require_mambapy() -> None:
    """Raise an InputError where the scan's peer is not installed."""
    if find_spec("mambapy") is None:
        raise InputError(
            "the scan is compared with mambapy, which is not installed here: install the `dev` "
            "extra (`make setup`, or pip install -e '.[dev]')"
        )


def mambapy_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
) -> Tensor:
    """Parallel scan of mambapy behind the arguments of :func:`.selective.selective_scan`.

    mambapy's own method makes exp(delta A) and delta B u, of shape (batch, length, channels,
    states), and calls its `pscan`.
    """
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    y = _mambapy(*_mambapy_order(u, delta, A, B, C, D)).mT
    return y if z is None else y * F.silu(z)


def _mambapy(*tensors: Tensor) -> Tensor:
    from mambapy.mamba import MambaBlock

    return MambaBlock.selective_scan(None, *tensors)  # makes no use of the block itself


def _mambapy_order(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> list[Tensor]:
    """Sequences as mambapy's block has them: (batch, length, ...), u and delta as mere views."""
    return [u.mT, delta.mT, A, B.mT.contiguous(), C.mT.contiguous(), D]


def scan_inputs(
    size: tuple[int, int, int, int], method: str, device: torch.device, seed: int
) -> list[Tensor]:
    """Give u, delta, A, B, C, D and the output's gradient; for mambapy as its block has them.

    `size` is batch, channels, length, states. Values are those with which Mamba starts: step
    sizes about .001 to .1, decay rates 1 to the number of states.
    """
    batch, channels, length, states = size
    random = torch.Generator().manual_seed(seed)
    step = torch.rand(batch, channels, length, generator=random) * 4.6 - 6.9  # log of .001 to .1
    A = -torch.arange(1.0, states + 1).repeat(channels, 1)
    u, grad = (torch.randn(batch, channels, length, generator=random) for _ in range(2))
    B, C = (torch.randn(batch, states, length, generator=random) for _ in range(2))
    tensors = [u, step.exp_(), A, B, C, torch.ones(channels), grad]
    if method == "mambapy":
        tensors = [*_mambapy_order(*tensors[:-1]), grad.mT.contiguous()]
    return [t.to(device) for t in tensors]


def scan_pass(method: str, inputs: list[Tensor]) -> dict[str, Tensor]:
    """Output and gradients of one scan by "mambapy" or one of our backends, forward and back."""
    *tensors, grad = inputs
    leaves: Any = [t.detach().requires_grad_() for t in tensors]
    y = _mambapy(*leaves) if method == "mambapy" else selective_scan(*leaves, backend=method)
    y.backward(grad)
    results = dict(zip(("u", "delta", "A", "B", "C", "D"), (t.grad for t in leaves), strict=True))
    return {"y": y.detach(), **results}


@contextmanager
def nnmamba_with(scan: Callable[..., Tensor] | None) -> Iterator[None]:
    """NNMamba computes with another scan inside this context; with its own for None."""
    own = oacore.models.nnmamba.selective_scan
    oacore.models.nnmamba.selective_scan = own if scan is None else scan
    try:
        yield
    finally:
        oacore.models.nnmamba.selective_scan = own


class Plain:
    """A Dual model in fp32, channels first, with AdamW as PyTorch has it by default.

    Parameters
    ----------
    recipe : Recipe
    device : torch.device
    seed : int
    scan : callable, optional
        What nnMamba scans with instead of its own.
    """

    how = "fp32, AdamW"

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        seed: int,
        scan: Callable[..., Tensor] | None = None,
    ) -> None:
        self.scan, self.seed = scan, seed
        self.model = build_model(recipe.backbone, "dual", seed, recipe.encoder, recipe.heads)
        self.model.to(device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )

    def step(self, x: Tensor, kl: Tensor) -> float:
        """One training step; like the released script, it reads the loss each time."""
        torch.manual_seed(self.seed)  # of dropout: the same masks in all models
        self.optimizer.zero_grad()
        with nnmamba_with(self.scan):
            loss, _ = hierarchical_loss(self.model(x), kl)
        loss.backward()
        self.optimizer.step()
        return loss.item()


class OpenedFiles(Dataset[tuple[Tensor, int]]):
    """Cases that are read from their NIfTI files each time; labels are made up.

    Parameters
    ----------
    files : list of str
        Volumes stored as (H, W, D).
    grid : (int, int, int)
        D, H, W of the volumes given.
    length : int, optional
        Cases of an epoch; the files are gone through again and again.
    """

    def __init__(
        self, files: list[str], grid: tuple[int, int, int], length: int | None = None
    ) -> None:
        self.files, self.grid, self.length = files, grid, length or len(files)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, case: int) -> tuple[Tensor, int]:
        stored: Any = nib.load(self.files[case % len(self.files)])
        array = stored.get_fdata().astype(np.float32)
        array = (array - array.mean()) / max(array.std(), 1e-6)
        volume = torch.from_numpy(array).permute(2, 0, 1)[None, None]  # (1, 1, D, H, W)
        volume = F.interpolate(volume, self.grid, mode="trilinear", align_corners=False)
        return volume[0], case % 5


def opened_files(
    files: list[str],
    grid: tuple[int, int, int],
    batch_size: int,
    workers: int,
    seed: int,
    pin: bool = False,
    length: int | None = None,
) -> DataLoader[tuple[Tensor, int]]:
    """Give a shuffled loader of :class:`OpenedFiles`."""
    return DataLoader(
        OpenedFiles(files, grid, length),
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        pin_memory=pin,
        generator=torch.Generator().manual_seed(seed),
    )
