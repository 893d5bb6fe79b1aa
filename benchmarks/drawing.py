"""How long a drawn radiograph takes, and where the time goes.

Run from the repository's root: ``python -m benchmarks.drawing``. Processor time of one picture on
one thread at two sizes, over knees of all grades. Then the parts of the larger one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Row
from benchmarks.speed import on_one_thread
from oacore.instruments.phantom.anatomy import draw_anatomy
from oacore.instruments.phantom.subjects import sample_subjects
from oacore.instruments.radiographs.drawing import FIELD, SIZE, draw_radiograph
from oacore.instruments.radiographs.film import draw_film, expose
from oacore.instruments.radiographs.shadows import cast, draw_view, seat

SEED = 0


@dataclass(frozen=True)
class Setting:
    """Sizes of what is timed; the defaults are those that get recorded.

    Attributes
    ----------
    sizes : tuple of int
        Pixels of a side.
    knees : int
        Of each KL grade.
    repeats : int
        Of which the least counts.
    at_most : float
        Seconds that a picture may take.
    """

    sizes: tuple[int, ...] = (160, SIZE)
    knees: int = 2
    repeats: int = 3
    at_most: float = 0.15


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


def rows(setting: Setting) -> Iterator[Row]:
    """A row for each size, and one for each part of the larger picture."""
    table = sample_subjects((setting.knees,) * 5, (0,) * 5, ungraded=(0, 0), seed=SEED)
    subjects = [
        {str(name): value for name, value in row.items()} for row in table.to_dict("records")
    ]
    for size in setting.sizes:
        spent = [
            seconds(partial(draw_radiograph, one, SEED, size), setting.repeats) for one in subjects
        ]
        yield Row(
            "drawing", f"A drawn radiograph, {size} x {size}: processor time",
            "", "oacore.instruments.radiographs.drawing", (), tuple(spent), "s",
            at_most=setting.at_most, note=f"{len(subjects)} knees of KL 0 to 4",
        )  # fmt: skip
    for name, spent_here in parts(subjects[0]).items():
        yield Row(
            "drawing", f"Of a drawn radiograph, {name}", "", "oacore.instruments.radiographs",
            (), (spent_here,), "s",
        )  # fmt: skip


def main(arguments: list[str] | None = None, setting: Setting | None = None) -> int:
    """Measure, print, and record where asked."""
    return on_one_thread("drawing", __doc__, rows, setting or Setting(), SEED, arguments)


if __name__ == "__main__":
    sys.exit(main())
