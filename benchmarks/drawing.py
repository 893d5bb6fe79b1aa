"""How long a drawn radiograph takes, and where the time goes.

Run from the repository's root: ``python -m benchmarks.drawing``. Processor time of one picture on
one thread at two sizes, over knees of all grades, beside the time that SciPy takes for one
Gaussian blur of the same picture. Then the parts of the larger one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from oacore.instruments.phantom.anatomy import draw_anatomy
from oacore.instruments.phantom.subjects import sample_subjects
from oacore.instruments.radiographs.drawing import FIELD, SIZE, draw_radiograph
from oacore.instruments.radiographs.film import draw_film, expose
from oacore.instruments.radiographs.shadows import cast, draw_view, seat

SIZES = (160, SIZE)


def seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """Least processor time of a call."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)


def parts(subject: dict[Any, Any]) -> dict[str, float]:
    """Processor time of what a picture of `SIZE` is made of."""
    rng = np.random.default_rng(0)
    knee, view, film = draw_anatomy(subject, rng), draw_view(rng), draw_film(rng)
    aims = {side: float(subject[f"joint_space_{side}_mm"]) for side in ("medial", "lateral")}
    places = ((SIZE - 1) / 2 - np.arange(SIZE)) * (FIELD / SIZE)
    shell, grey = torch.ones(SIZE, SIZE), torch.full((SIZE, SIZE), 3.0)
    u = torch.from_numpy(places).float()
    return {
        "anatomy": seconds(lambda: draw_anatomy(subject, rng)),
        "seat": seconds(lambda: seat(knee.bones, view, aims)),
        "femur": seconds(lambda: cast("femur", knee.bones, view, places, places, (shell, 7.0))),
        "tibia": seconds(lambda: cast("tibia", knee.bones, view, places, places, (shell, 7.0))),
        "film": seconds(lambda: expose(grey, grey, u[None, :], u[:, None], film, rng)),
    }


def main() -> None:
    """Print the two tables."""
    torch.set_num_threads(1)
    table = sample_subjects((2,) * 5, (0,) * 5, ungraded=(0, 0))
    subjects = [
        {str(name): value for name, value in row.items()} for row in table.to_dict("records")
    ]
    print(f"{'pixels':10s} {'mean, s':>8s} {'least, s':>9s} {'blurs':>6s}")
    for size in SIZES:
        spent = [seconds(partial(draw_radiograph, one, 0, size), 3) for one in subjects]
        picture = draw_radiograph(subjects[0], 0, size).picture.astype(np.float32)
        blurs = min(spent) / seconds(partial(gaussian_filter, picture, 1.0))
        print(f"{size:4d}x{size:<5d} {np.mean(spent):8.3f} {min(spent):9.3f} {blurs:6.1f}")
    for name, spent_here in parts(subjects[0]).items():
        print(f"{name:10s} {spent_here:8.3f}")


if __name__ == "__main__":
    main()
