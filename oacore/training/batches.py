"""Volumes of a cohort as batches on a device, in an order that follows from seed and epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch

from oacore.data.cache import Volumes
from oacore.models.heads import by_voxel

#: Gives the volumes of some rows as a (batch, 1, D, H, W) float32 tensor.
Reader = Callable[[np.ndarray], torch.Tensor]


def epoch_batches(
    n: int, batch_size: int, seed: int, epoch: int, rank: int = 0, world: int = 1
) -> list[np.ndarray]:
    """Rows of each batch of an epoch, reshuffled by seed and epoch.

    Since the order follows from its arguments alone, a resumed run sees the batches that an
    uninterrupted one would have seen. With several processes each batch is split between them.
    """
    order = np.random.default_rng([seed, epoch]).permutation(n)
    batches = in_order(order, batch_size)
    # A last batch too small to share out would leave a process without work.
    batches = [batch for batch in batches if len(batch) >= world]
    return [batch[rank::world] for batch in batches]


def in_order(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Rows in batches, in the order in which they are."""
    return [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]


def load_batch(volumes: Volumes, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """Volumes of some rows as a (batch, 1, D, H, W) float32 tensor."""
    batch = torch.from_numpy(np.stack([volumes.images[row] for row in rows]))
    if device.type == "cuda":
        batch = batch.pin_memory()
    return by_voxel(batch.to(device, non_blocking=True).float().unsqueeze(1))


def volume_reader(volumes: Volumes, device: torch.device) -> Reader:
    """Give a reader of a cohort's volumes for a device.

    A GPU keeps the whole cohort, in 16 bits, where this takes less than half of its free memory:
    no step then waits for a copy. The rest is for the network.
    """
    if device.type == "cuda" and 2 * volumes.images.nbytes < torch.cuda.mem_get_info(device)[0]:
        return resident_reader(torch.from_numpy(np.array(volumes.images)).to(device))
    return lambda rows: load_batch(volumes, rows, device)


def resident_reader(cohort: torch.Tensor) -> Reader:
    """Give a reader of volumes (n, D, H, W) that lie on the device."""

    def read(rows: np.ndarray) -> torch.Tensor:
        at = torch.from_numpy(rows).to(cohort.device, non_blocking=True)
        return by_voxel(cohort[at].float().unsqueeze(1))

    return read


def graded_batches(
    cases: pd.DataFrame, volumes: Volumes, read: Reader, batches: list[np.ndarray]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Volumes (batch, 1, D, H, W) and grades (batch,) of batches of cases.

    Parameters
    ----------
    cases : DataFrame
        Graded cases.
    volumes : Volumes
        That hold them.
    read : Reader
        Of these volumes.
    batches : list of ndarray of int
        Rows of `cases`.
    """
    rows = volumes.rows(cases["case_id"])
    kl = cases["kl"].to_numpy(np.int64)
    for batch in batches:
        x = read(rows[batch])
        yield x, torch.from_numpy(kl[batch]).to(x.device, non_blocking=True)
