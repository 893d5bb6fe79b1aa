"""How long the phantom takes, and how much memory.

Run from the repository's root: ``python -m benchmarks.phantom``. One knee on one thread at the
grids of the profiles, its peak memory in a process of its own, beside the time that SciPy takes
for one Gaussian blur of the same array, which is the least a user would do to any volume. Then
a laptop cohort on all cores.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from oacore.files import end_with_parent
from oacore.instruments.phantom.cohort import write_phantom
from oacore.instruments.phantom.knee import draw_knee
from oacore.instruments.phantom.subjects import sample_subjects
from oacore.profile import load_profile

SHAPES = {"smoke": (32, 72, 72), "laptop": (40, 96, 96), "study": (80, 192, 192)}
SHAPES["paper"] = (160, 384, 384)


def one_knee(shape: tuple[int, int, int], repeats: int) -> tuple[float, float, float]:
    """Best seconds of drawing and of one blur, and peak memory in GiB."""
    torch.set_num_threads(1)
    subject = sample_subjects((0, 0, 0, 0, 1), (0,) * 5, ungraded=(0, 0)).iloc[0].to_dict()
    draw_knee(subject, (16, 32, 32), 0)
    draw, blur = [], []
    for seed in range(repeats):
        start = time.perf_counter()
        knee = draw_knee(subject, shape, seed)
        draw.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    for _ in range(repeats):
        start = time.perf_counter()
        gaussian_filter(knee.image.astype(np.float32), 1.0)
        blur.append(time.perf_counter() - start)
    return min(draw), min(blur), peak


def main() -> None:
    """Print the two tables."""
    print(f"{'profile':8s} {'voxels':14s} {'draw, s':>8s} {'blurs':>6s} {'GiB':>6s}")
    for name, shape in SHAPES.items():
        with ProcessPoolExecutor(1, get_context("spawn"), end_with_parent) as pool:
            draw, blur, peak = pool.submit(one_knee, shape, 3).result()
        voxels = "x".join(map(str, shape))
        print(f"{name:8s} {voxels:14s} {draw:8.2f} {draw / blur:6.1f} {peak:6.2f}")
    profile, workers = load_profile("laptop"), os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        truth = write_phantom(
            Path(folder) / "cohort",
            train=profile.train,
            test=profile.test,
            ungraded=profile.ungraded,
            shape=profile.shape,
            seed=profile.cohort_seed,
            workers=workers,
        )
        seconds = time.perf_counter() - start
    print(f"laptop cohort: {len(truth)} knees, {workers} workers, {seconds:.1f} s")


if __name__ == "__main__":
    main()
