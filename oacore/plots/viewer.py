"""One viewer of slices: three planes, a crosshair, masks to switch, and maps where there are any.

It keeps decoded volumes and cuts every plane out of them. Here the volumes travel in the page;
:mod:`.slicer.slicer` feeds the same viewer from files beside a page and from a kernel.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from oacore.errors import InputError
from oacore.names import PLANES
from oacore.plots.page import Html
from oacore.plots.sheets import check_spacing, grey_levels, mask_bits, packed
from oacore.plots.style import OKABE_ITO

_QUALITY = 72  # JPEG's, of images that travel in a page
_SCRIPTS = (
    *("viewer_keys.js", "viewer_paint.js", "viewer_volumes.js", "viewer_draw.js"),
    *("viewer_values.js", "viewer_controls.js", "viewer.js"),
)
KEYS = (
    "<kbd>←</kbd> <kbd>→</kbd> <kbd>↑</kbd> <kbd>↓</kbd> one {thing}, <kbd>Page Up</kbd> "
    "<kbd>Page Down</kbd> ten, <kbd>Home</kbd> <kbd>End</kbd> first, last"
)
"""What keys do in all viewers, as HTML; `thing` is what they step through."""

_HINT = (
    "Click or drag in a picture to move the crosshair, and with it the other planes. "
    f"Keys, in a picture or on its slider: {KEYS.format(thing='slice')}. The mouse wheel goes "
    "through the slices of a picture that was clicked. On a phone, swipe sideways: up and down "
    "scrolls the page."
)


def viewer_text(*names: str) -> str:
    """Files of the viewer, one after another."""
    folder = files("oacore.plots")
    return "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)


def viewer_body(title: str) -> str:
    """The viewer's controls as HTML."""
    page = viewer_text("viewer.html").replace("@KEYS@", _HINT)
    return page.replace("@TITLE@", html.escape(title))


def viewer_script() -> str:
    """The viewer, but for where its volumes come from; the planes are those of Python."""
    seen = [
        {
            "name": name,
            "across": plane.across,
            "up": plane.up,
            **dict(zip(("left", "right", "below", "above"), plane.edges, strict=True)),
        }
        for name, plane in PLANES.items()
    ]
    return f"const PLANES = {json.dumps(seen)};\n{viewer_text(*_SCRIPTS)}"


def viewer_element(data: Mapping[str, Any], title: str, place: str = "") -> str:
    """The viewer as HTML, with its styles and script.

    Parameters
    ----------
    data : mapping
        Cases and words, see viewer.js; `parts` by name (:func:`.sheets.packed`), or the `address`
        of the folder with their files.
    title : str
    place : str
        The element's id, for links.
    """
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    named = f' id="{place}"' if place else ""
    body = viewer_body(title)
    return (
        f"<style>\n{viewer_text('viewer.css')}</style>\n"
        f'<section class="oa-slicer"{named} aria-label="{html.escape(title)}">\n{body}'
        f'<script type="application/json" class="oas-data">{text}</script>\n</section>\n'
        f'<script>\n(() => {{\n"use strict";\n{viewer_script()}{viewer_text("viewer_page.js")}'
        "})();\n</script>\n"
    )


def slice_viewer(
    volume: np.ndarray | Mapping[str, np.ndarray],
    masks: Mapping[str, Any] | None = None,
    *,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    title: str = "Slices",
    alt: str = "",
    window: tuple[float, float] = (1.0, 99.5),
    together: bool = False,
) -> Html:
    """Slices of one or several volumes, with masks on top, to walk through without a kernel.

    Superior is up; anterior is on the left of sagittal slices and up on axial ones; the patient's
    right is on the left of coronal and axial ones. Each plane opens where most of the masks are
    well seen, without masks in the middle.

    Parameters
    ----------
    volume : ndarray (X, Y, Z), or mapping of a case's name to one
        Intensities, canonical orientation: the axes run to the right, anterior and superior.
        Several cases share one shape; one is chosen in a menu, or, if `together`, the same slice
        of all is seen side by side.
    masks : mapping of a label's name to a mask (X, Y, Z), optional
        At most seven; where masks overlap the later one shows. For several cases, a mapping of
        the case's name to such a mapping.
    spacing : three floats
        Voxel size in mm.
    title, alt : str
        Heading, and what the pictures show, for those who cannot see them.
    window : two floats
        Percentiles of the volume's intensities shown black and white.
    together : bool

    Raises
    ------
    InputError
        If a volume is not three-dimensional or not finite, shapes differ, a spacing is not
        positive, or there are more labels than colours.
    """
    if not isinstance(volume, Mapping):
        volume, masks = {title: volume}, {title: masks or {}}
    masks = masks or {}
    if not volume or set(masks) - set(volume):
        raise InputError(
            f"slice_viewer: masks are given for {sorted(masks)} but the volumes are "
            f"{sorted(volume)}: name each set of masks after its volume."
        )
    check_spacing(spacing)
    labels = list(dict.fromkeys(name for some in masks.values() for name in some))
    if len(labels) > len(OKABE_ITO):
        raise InputError(
            f"slice_viewer: {len(labels)} labels but {len(OKABE_ITO)} colours: join some."
        )
    shape = np.shape(next(iter(volume.values())))
    none = np.zeros(shape, bool)
    cases: list[dict[str, Any]] = []
    parts: dict[str, Any] = {}
    seen = []
    for place, (name, values) in enumerate(volume.items()):
        if np.shape(values) != shape:
            raise InputError(
                f"slice_viewer: {name!r} has shape {np.shape(values)}, the first volume {shape}: "
                "bring all to one grid."
            )
        try:
            grey = grey_levels(values, window)
        except InputError as error:
            raise InputError(f"slice_viewer, {name!r}: {error}") from None
        parts[f"{place}/image"] = packed(grey, _QUALITY)
        own = {label: masks.get(name, {}).get(label, none) for label in labels}
        if labels:
            parts[f"{place}/masks"] = packed(mask_bits(own, shape), 0)
        seen += [np.asarray(mask) > 0 for mask in own.values()]
        cases.append(
            {
                "label": name,
                "slug": str(place),
                "shape": shape,
                "spacing": [float(side) for side in spacing],
                "box": [[0, side] for side in shape],
                "image": {"file": f"{place}/image", "bytes": 0},
                "masks": labels,
                "outline": {"file": f"{place}/masks", "bytes": 0} if labels else None,
                "maps": [],
                "predictions": [],
                "kl": None,
                "kl_true": None,
                "note": "",
            }
        )
    start = best_seen(seen, shape)
    data = {
        "cases": [{**case, "start": start} for case in cases],
        "parts": parts,
        "colours": list(OKABE_ITO.values()),
        "together": together,
        "tops": [],
        "names": {},
        "alt": alt or title,
    }
    return Html(viewer_element(data, title), alt or title)


def best_seen(masks: Sequence[np.ndarray], shape: tuple[int, ...]) -> list[int]:
    """The slice across each axis that shows most of all masks, or the middle one.

    Parameters
    ----------
    masks : sequence of ndarray of bool (X, Y, Z)
        A small one counts as much as a large one.
    shape : tuple of int
    """
    start = []
    for axis, n in enumerate(shape):
        across = tuple({0, 1, 2} - {axis})
        areas = [mask.sum(across) for mask in masks if mask.any()]
        worth = sum((area / area.max() for area in areas), np.zeros(n))
        start.append(int(np.argmax(worth)) if areas else n // 2)
    return start
