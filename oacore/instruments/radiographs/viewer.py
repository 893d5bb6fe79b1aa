"""A picture of a joint to look at: landmarks, compartments, grades, and maps of each head.

The counterpart of the viewer of slices in two dimensions, out of the same parts: sheets of bytes
that travel in the page, painted on a canvas. It asks no host and no kernel for anything.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.instruments.coherence.patterns import GRADES, SIZES
from oacore.instruments.radiographs.figures import COMPARTMENT_COLOURS
from oacore.instruments.radiographs.places import compartment_points, landmark_table
from oacore.instruments.radiographs.truth import AS_DRAWN
from oacore.plots.page import Html
from oacore.plots.sheets import packed_pictures
from oacore.plots.viewer import KEYS, viewer_text

#: Heads as the menu and the table call them.
HEAD_NAMES = dict(
    zip(
        GRADES,
        (
            *("KL", "Osteophyte FL", "Osteophyte FM", "Osteophyte TL", "Osteophyte TM"),
            *("JSN medial", "JSN lateral"),
        ),
        strict=True,
    )
)
_QUALITY, _MAP_QUALITY = 82, 80  # JPEG's
_OWN = ("joint.html", "joint.css", "joint.js")
_HINT = f"Keys, in the picture: {KEYS}. What lies under the pointer is said below the picture."


def joint_viewer(
    pictures: np.ndarray,
    landmarks: np.ndarray | None,
    cases: pd.DataFrame,
    maps: Mapping[str, np.ndarray] | None = None,
    answers: Mapping[str, pd.DataFrame] | None = None,
    *,
    title: str = "A picture of a joint",
    alt: str = "",
    thing: str = "Case",
    on: Sequence[str] = ("points",),
    opens: int = 0,
) -> Html:
    """Radiographs to step through, with their landmarks, grades, and what networks say of them.

    Parameters
    ----------
    pictures : ndarray of uint8, shape (n, height, width)
        As in :class:`.cases.Radiographs`.
    landmarks : ndarray, shape (n, 16, 2), or None
        x and y in their pixels; NaN where a picture has none.
    cases : DataFrame
        A row a picture. Columns that are looked at, none of which must be there: `GRADES` (as
        read, <NA> where not); the same as drawn (:func:`.truth.with_truth`); `case` (to find its
        answers by; it is not shown); `label` (else "Case 1" and so on) and `note` (a sentence).
    maps : mapping of a name to an ndarray, shape (n, 7, rows, columns), optional
        Saliency in [0, 1] of each of `GRADES`, of the same field as the pictures, whatever its
        number of pixels: :func:`.attribution.run_maps`.
    answers : mapping of a network's name to a DataFrame, optional
        Probabilities: `case`, `head`, `p0`, `p1`, ..., as a run's predictions are; other cases
        than these may be among them.
    title, alt : str
        Heading, and what the pictures show, for those who cannot see them.
    thing : str
        What one steps through.
    on : sequence of str
        What is drawn at first: of "points", "names", "FL", "FM", "TL", "TM".
    opens : int
        Row of the picture that is shown first.

    Raises
    ------
    InputError
        If shapes do not fit each other, a map is outside 0 to 1, or a network does not answer.
    """
    n = len(cases)
    if not n or pictures.dtype != np.uint8 or pictures.ndim != 3 or len(pictures) != n:
        raise InputError(
            f"joint_viewer: pictures are {pictures.dtype} of shape {pictures.shape}; give uint8 of "
            f"shape ({n}, height, width), and at least one"
        )
    table = landmark_table()
    if landmarks is not None and np.shape(landmarks) != (n, len(table), 2):
        raise InputError(
            f"joint_viewer: landmarks have shape {np.shape(landmarks)}; give ({n}, {len(table)}, 2)"
        )
    compartments = compartment_points()
    if unknown := sorted(set(on) - {"points", "names", *compartments}):
        raise InputError(f"joint_viewer: there is no {unknown[0]!r} to be drawn")
    if not 0 <= opens < n:
        raise InputError(f"joint_viewer: opens is {opens}; give 0 to {n - 1}")
    shown = [
        {"name": name, "part": packed_pictures(_codes(name, values, n), _MAP_QUALITY)}
        for name, values in (maps or {}).items()
    ]
    read, drawn = _grades(cases, ""), _grades(cases, AS_DRAWN)
    said = [_answers(name, given, cases) for name, given in (answers or {}).items()]
    data = {
        "cases": [
            {
                "label": str(row.get("label", f"{thing} {place + 1}")),
                "note": str(row.get("note", "")),
                "points": None if landmarks is None else _points(landmarks[place]),
                "read": None if read is None else read[place],
                "truth": None if drawn is None else drawn[place],
                "answers": [given[place] for given in said],
            }
            for place, row in enumerate(cases.to_dict("records"))
        ],
        "pictures": packed_pictures(pictures, _QUALITY),
        "maps": shown,
        "heads": list(HEAD_NAMES.values()),
        "networks": list(answers or {}),
        "graded": bool(read or drawn or said),
        "points": [
            {"name": row["point"], "what": f"{row['what']} ({row['bone']}, {row['side']})"}
            for row in table.to_dict("records")
        ],
        "compartments": compartments,
        "colors": COMPARTMENT_COLOURS,
        "on": list(on),
        "opens": opens,
        "alt": alt or title,
    }
    return Html(_element(data, title, thing), alt or title)


def _element(data: Mapping[str, Any], title: str, thing: str) -> str:
    """The viewer as HTML, with its styles and script."""
    folder = files("oacore.instruments.radiographs")
    body, style, script = (folder.joinpath(name).read_text(encoding="utf-8") for name in _OWN)
    body = body.replace("@KEYS@", _HINT.format(thing=thing.lower()))
    body = body.replace("@TITLE@", html.escape(title)).replace("@THING@", html.escape(thing))
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f"<style>\n{viewer_text('viewer.css')}{style}</style>\n"
        f'<section class="oa-slicer oa-joint" data-ready="waiting" '
        f'aria-label="{html.escape(title)}">\n{body}'
        f'<script type="application/json" class="oas-data">{text}</script>\n</section>\n'
        f'<script>\n(() => {{\n"use strict";\n{viewer_text("viewer_keys.js", "viewer_paint.js")}'
        f"{script}}})();\n</script>\n"
    )


def _codes(name: str, values: np.ndarray, n: int) -> np.ndarray:
    """Maps (n, 7, rows, columns) as bytes of their roots, (n * 7, rows, columns)."""
    values = np.asarray(values)
    if values.ndim != 4 or values.shape[:2] != (n, len(GRADES)):
        raise InputError(
            f"joint_viewer: maps of {name!r} have shape {values.shape}; give ({n}, {len(GRADES)}, "
            "rows, columns)"
        )
    if not (values.min() >= 0 and values.max() <= 1):  # also where some are not finite
        raise InputError(f"joint_viewer: maps of {name!r} have values outside 0 to 1")
    return (np.sqrt(values) * 255).round().astype(np.uint8).reshape(-1, *values.shape[2:])


def _grades(cases: pd.DataFrame, before: str) -> list[list[int | None]] | None:
    """Grades of each case by head, None where not known; nothing if no column is there."""
    columns = [f"{before}{name}" for name in GRADES]
    if not set(columns) & set(cases):
        return None
    known = cases.reindex(columns=columns)
    return [[None if pd.isna(v) else int(v) for v in row] for row in known.to_numpy(object)]


def _answers(name: str, given: pd.DataFrame, cases: pd.DataFrame) -> list[list[list[float]]]:
    """Probabilities of each case by head."""
    found: list[list[list[float]]] = [[] for _ in range(len(cases))]
    for head, size in SIZES.items():
        own = given[given["head"] == head].set_index("case")
        if missing := sorted(set(cases["case"]) - set(own.index)):
            raise InputError(f"joint_viewer: {name!r} has no answer for case {missing[0]}, {head}")
        values = own.loc[cases["case"], [f"p{grade}" for grade in range(size)]]
        for one, row in zip(found, values.to_numpy(float).round(4).tolist(), strict=True):
            one.append(row)
    return found


def _points(points: np.ndarray) -> list[list[float]] | None:
    """Places of one picture's landmarks, or nothing where it has none."""
    return None if np.isnan(points).any() else np.round(points.astype(float), 2).tolist()
