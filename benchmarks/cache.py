"""How much faster an epoch's volumes come from the cache than from what one would use instead.

Run from the repository's root: ``python -m benchmarks.cache COHORT``. The alternative is MONAI's
usual pipeline (LoadImage, Orientation, NormalizeIntensity, Resize), which opens every NIfTI in
every epoch, and its PersistentDataset, which keeps each transformed volume in a file of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable

import numpy as np
from monai.data import Dataset, PersistentDataset
from monai.transforms import (
    Compose,
    EnsureChannelFirst,
    LoadImage,
    NormalizeIntensity,
    Orientation,
    Resize,
)

from oacore.data.cache import cached_volumes
from oacore.data.cohort import graded, read_cohort
from oacore.profile import load_profile


def epoch(read: Callable[[int], object], n: int) -> float:
    """Seconds that reading all volumes once takes."""
    start = time.perf_counter()
    for row in np.random.default_rng(0).permutation(n):
        read(int(row))
    return time.perf_counter() - start


def main() -> None:
    """Print seconds of a second epoch, and their ratio to the cache's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort")
    parser.add_argument("--profile", default="laptop")
    words = parser.parse_args()
    profile = load_profile(words.profile)
    cases = graded(read_cohort(words.cohort))
    paths = cases["image"].tolist()
    recipe = profile.backbones["resnet3d"]
    transform = Compose(
        [
            LoadImage(image_only=True),
            EnsureChannelFirst(),
            Orientation("RAS", labels=None),
            NormalizeIntensity(),
            Resize(recipe.grid, mode="trilinear"),
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        volumes = cached_volumes(cases, recipe.grid, "trilinear", f"{folder}/cache")
        persistent = PersistentDataset(paths, transform, cache_dir=f"{folder}/monai")
        plain = Dataset(paths, transform)
        readers: dict[str, Callable[[int], object]] = {
            "oacore cache": lambda row: np.array(volumes.images[row]),
            "MONAI PersistentDataset": persistent.__getitem__,
            "MONAI Dataset": plain.__getitem__,
        }
        first = np.asarray(plain[0])[0]
        assert np.allclose(volumes.images[0], first, atol=0.02), "the pipelines differ"
        seconds = {}
        for name, read in readers.items():
            epoch(read, len(paths))  # the first epoch fills caches, the disk's too
            seconds[name] = epoch(read, len(paths))
    base = seconds["oacore cache"]
    for name, value in seconds.items():
        print(f"{name:26s}{value:9.3f} s  {value / base:8.1f}x")


if __name__ == "__main__":
    main()
