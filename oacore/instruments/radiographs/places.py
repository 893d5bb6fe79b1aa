"""The 16 landmarks of a radiograph: what each is, on which bone and side, in whose compartment."""

from __future__ import annotations

import pandas as pd

from oacore.instruments.phantom.grades import OSTEOPHYTES
from oacore.instruments.radiographs.words import POINTS

_BONES = {"t": "tibia", "f": "femur"}
#: Between the spines, and in the notch: of neither side. What comes before them is lateral.
_MIDDLE = {"t": 4, "f": 3}
_WHAT = dict(
    zip(
        POINTS,
        (
            *("outer corner", "between corner and spine", "foot of the spine", "tip of the spine"),
            "lowest point between the spines",
            *("tip of the spine", "foot of the spine", "between spine and corner", "outer corner"),
            *("outer corner", "condyle, outer part", "condyle, inner part"),
            "top of the notch",
            *("condyle, inner part", "condyle, outer part", "outer corner"),
        ),
        strict=True,
    )
)


def landmark_table() -> pd.DataFrame:
    """What the landmarks are.

    Returns
    -------
    DataFrame
        A row each, in the order of :data:`.words.POINTS`: `point`, `bone`, `side` ("lateral",
        "medial" or "middle"), `what`, and `compartment` ("FL", "FM", "TL", "TM", or empty).
    """
    rows = []
    for point, what in _WHAT.items():
        bone, place = point[0], int(point[1:]) - _MIDDLE[point[0]]
        side = "lateral" if place < 0 else "medial" if place > 0 else "middle"
        compartment = f"{bone}{side[0]}".upper() if place else ""
        rows.append((point, _BONES[bone], side, what, compartment))
    return pd.DataFrame(rows, columns=["point", "bone", "side", "what", "compartment"])


def compartment_points() -> dict[str, list[int]]:
    """Places among the landmarks of those of each compartment: "FL", "FM", "TL", "TM"."""
    names = [name.rpartition("_")[2].upper() for name in OSTEOPHYTES]
    own = landmark_table()["compartment"]
    return {name: own.index[own == name].tolist() for name in names}
