"""How long Table 3's overlaps take, beside a full argpartition for each threshold.

Run from the repository's root: ``python -m benchmarks.overlap``. On one thread, on simulated maps
of 160 x 256 x 256 voxels, one case at a time on both sides. The peer does what the released script
does once a map is read: in 32 bits, three times ``np.argpartition`` of all voxels, which gives 64
bits for each, and a mask for each. Both must give the same counts, and the same mass to 1e-5 (the
peer sums in 32 bits), before anything is timed; then they take turns. It takes about half a
minute, prints a table, and with ``--out`` writes a record that the book's chapter on speed can
read.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.measure import Row, alternate
from benchmarks.speed import on_one_thread
from oacore.instruments.saliency.overlap import LEAST_SUM, MEASURES, overlap

SEED = 0
CPU = torch.device("cpu")
TOPS = (0.01, 0.05, 0.10)


@dataclass(frozen=True)
class Setting:
    """Sizes of what is timed; the defaults are those that get recorded.

    Attributes
    ----------
    grid : tuple of int
        Voxels of a map.
    cases : int
        Maps in one turn.
    repeats : int
        Turns.
    aim : float
        Least ratio.
    """

    grid: tuple[int, int, int] = (160, 256, 256)
    cases: int = 4
    repeats: int = 3
    aim: float = 5


def simulated(setting: Setting) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Maps like absolute gradients, and a thin shell as the region, under 1% of the voxels."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in setting.grid), indexing="ij")
    radius = np.sqrt((z / 0.8) ** 2 + y**2 + x**2)
    mask = (np.abs(radius - 0.45) < 0.025) & (x > -0.18)
    # Strongest around the shell, and coarser than single voxels.
    strength = np.exp(-4 * (radius - 0.45) ** 2 + np.sin(9 * y) * np.cos(7 * z))
    maps = []
    for case in range(setting.cases):
        noise = np.random.default_rng([SEED, case]).standard_normal(setting.grid, np.float32)
        values = np.abs(noise) * strength.astype(np.float32)
        maps.append(values / values.max())
    return maps, [mask] * setting.cases


def released_way(maps: list[np.ndarray], masks: list[np.ndarray]) -> np.ndarray:
    """The four measures of each case, (cases, 4), by sorting places for each threshold."""
    found = []
    for values, mask in zip(maps, masks, strict=True):
        positive = np.maximum(values, 0.0)
        inside = mask.astype(np.float32)
        row = [float((positive * inside).sum()) / (float(positive.sum()) + LEAST_SUM)]
        flat, wanted = positive.reshape(-1), inside.reshape(-1) > 0.5
        for q in TOPS:
            k = max(math.ceil(q * flat.size), 1)
            salient = np.zeros(flat.size, dtype=bool)
            salient[np.argpartition(flat, -k)[-k:]] = True
            both = np.logical_and(salient, wanted).sum()
            row.append(both / k if len(row) == 1 else 2 * both / (k + wanted.sum()))
        found.append(row)
    return np.array(found)


def our_way(maps: list[np.ndarray], masks: list[np.ndarray]) -> np.ndarray:
    """The same by :func:`.overlap.overlap`."""
    values = overlap(maps, masks, range(len(maps)))["value"].to_numpy()
    return values.reshape(len(maps), len(MEASURES))


def rows(setting: Setting) -> Iterator[Row]:
    """One row: all four measures of all maps."""
    maps, masks = simulated(setting)
    theirs, ours = released_way(maps, masks), our_way(maps, masks)
    gaps = np.abs(theirs / ours - 1).max(axis=0)  # (4,)
    if not (gaps[0] <= 1e-5 and gaps[1:].max() <= 1e-12):
        raise RuntimeError(
            f"the overlaps of ours and of the peer differ by {gaps.max():.1e} of their value; a "
            "comparison of their speed would mean nothing"
        )
    calls = {"peer": lambda: released_way(maps, masks), "ours": lambda: our_way(maps, masks)}
    taken = alternate(calls, CPU, setting.repeats, patience=60)
    grid = " x ".join(map(str, setting.grid))
    yield Row(
        "overlap", "Saliency and cartilage, 4 measures: time",
        "argpartition for each threshold", "oacore.instruments.saliency.overlap",
        taken["peer"], taken["ours"], "s",
        aim=setting.aim, note=f"{setting.cases} maps of {grid} voxels, {masks[0].mean():.2%} of "
        "them in the region",
    )  # fmt: skip


def main(arguments: list[str] | None = None, setting: Setting | None = None) -> int:
    """Measure, print, and record where asked."""
    return on_one_thread("overlap", __doc__, rows, setting or Setting(), SEED, arguments)


if __name__ == "__main__":
    sys.exit(main())
