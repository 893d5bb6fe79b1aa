"""Single knees beside a plot of them: one sheet of small slices, and the script that shows them.

A page that is opened from disk may not fetch a file, so that all slices travel in the page, as one
JPEG sheet in a data URI. It works in the book and in JupyterLab; where a notebook program runs no
script, the plot's hover text is left.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes
from PIL import Image

from oacore.data.volumes import LABELS, grid_gap, read_canonical, read_labels
from oacore.errors import InputError
from oacore.plots.page import Html
from oacore.plots.sheets import TILE, encoded, grey_levels, sagittal, tiles
from oacore.plots.viewer import KEYS, viewer_text

#: Bytes that a sheet may take in a page, as base64.
SHEET_LIMIT = 400_000
_KNEES = f"{KEYS.format(thing='knee')}, <kbd>Esc</kbd> none"
_QUALITIES = (85, 75, 65, 55, 45, 35, 25, 15)  # JPEG's, the first at which the sheet fits
_MEDIAL = next(label for label, name in LABELS.items() if name == "medial tibial cartilage")
_STYLE = """
.oa-knee-card input { width: 5em; padding: 4px 8px; min-height: 36px; font: inherit;
  color: var(--fg); background: var(--field); border: 1px solid var(--line); border-radius: 5px; }
.oa-knee-card .oa-knee-slice { cursor: default; }
@media print { .oa-knee-card:has(.oa-knee-text:empty), .oa-knee-card label { display: none; } }
.oa-knee-slice { width: WIDEpx; height: HIGHpx; background-color: #000; border-radius: 3px; }
.oa-knee-box[hidden] { display: none; }
.oa-knee-text { font-size: .9rem; line-height: 1.35; }
.oa-knee-box { position: fixed; z-index: 2000; pointer-events: none; padding: 5px; width: auto;
  background: #fff; color: #1a1a1a; border: 1px solid #333; border-radius: 4px;
  box-shadow: 0 2px 8px rgba(0, 0, 0, .35); max-width: calc(WIDEpx + 12px); }
.oa-knee-rings { position: absolute; inset: 0; pointer-events: none; }
.oa-knee-rings span { position: absolute; width: 15px; height: 15px; margin: -10.5px 0 0 -10.5px;
  border: 3px solid #000; border-radius: 50%; box-shadow: 0 0 0 1.5px #fff, inset 0 0 0 1px #fff;
  box-sizing: content-box; }
.oa-knees .hoverlayer .hovertext { display: none; }
"""


def sagittal_slices(cases: pd.DataFrame, longest: int = 128) -> np.ndarray:
    """A sagittal slice of each knee, through the middle of its medial tibial cartilage.

    Parameters
    ----------
    cases : DataFrame
        Rows of :func:`.cohort.read_cohort`: `image`, `mask`. A knee without that label, or
        without a mask, gives the middle slice of its image.
    longest : int
        Pixels of a slice's longer side, at the most. Pixels are square, as in the knee.

    Returns
    -------
    (n, height, width) uint8 array
        Superior up, anterior left; black and white are the 1st and the 99.5th percentile of each
        slice. Smaller slices have black margins.

    Raises
    ------
    InputError
        If there is no case, or a file cannot be used.
    """
    if cases.empty:
        raise InputError("sagittal_slices: no case is given; give at least one")
    pictures = []
    for image, mask in zip(cases["image"], cases["mask"], strict=True):
        volume, affine = read_canonical(image)
        at = volume.shape[0] // 2
        if not pd.isna(mask):
            labels, own = read_labels(mask)
            if gap := grid_gap((volume.shape, affine), (labels.shape, own)):
                raise InputError(f"{mask}: does not share its image's grid ({gap}); fetch both")
            voxels = (labels == _MEDIAL).sum(axis=(1, 2))
            if voxels.any():
                at = int(np.searchsorted(np.cumsum(voxels), voxels.sum() / 2))
        (grey,) = sagittal(grey_levels(volume[at : at + 1], (1, 99.5)))
        _, y, z = voxel_sizes(affine)
        mm = np.array([grey.shape[0] * z, grey.shape[1] * y])  # height, width
        side = min(longest, max(grey.shape))
        height, width = np.maximum((mm / mm.max() * side).round().astype(int), 1)
        picture = Image.fromarray(grey)
        pictures.append(np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS)))
    high, wide = (max(p.shape[axis] for p in pictures) for axis in (0, 1))
    out = np.zeros((len(pictures), high, wide), np.uint8)
    for tile, p in zip(out, pictures, strict=True):
        top, left = (high - p.shape[0]) // 2, (wide - p.shape[1]) // 2
        tile[top : top + p.shape[0], left : left + p.shape[1]] = p
    return out


def slices_on_hover(slices: np.ndarray, limit: int = SHEET_LIMIT) -> Html:
    """A card that shows a knee's slice when its point is hovered, tapped, or its number typed.

    It looks as :func:`.viewer.slice_viewer` does, and has its keys: they go through the knees.

    It serves every plot above it whose ``layout.meta`` is "knees", as that of
    :func:`.figures.manifold_grid` is: hovering a point shows the slice beside it
    and rings the same knee in all panels; a click or a tap, or a number in the card, keeps it.

    Parameters
    ----------
    slices : (n, height, width) uint8 array
        Row i is the knee with customdata i, called case i + 1.
    limit : int
        Bytes that the sheet of slices may take in the page.

    Raises
    ------
    InputError
        If the slices are no such array, or do not fit.
    """
    if slices.ndim != 3 or not slices.size or slices.dtype != np.uint8:
        raise InputError(
            f"slices_on_hover: {slices.dtype} array of shape {slices.shape}; give bytes of shape "
            "(knees, height, width)"
        )
    uri, columns, (high, wide) = _sheet(slices, limit)
    name = f"knees-{hashlib.sha256(uri.encode()).hexdigest()[:12]}"
    data = {
        "id": name, "sheet": uri, "columns": columns, "width": wide, "height": high,
        "count": len(slices),
    }  # fmt: skip
    shown = 160  # px: large enough to see the joint, small enough for a phone
    style = _STYLE.replace("WIDE", str(shown)).replace("HIGH", str(round(shown * high / wide)))
    hint = f"Hover or tap a point above, or type a number. Keys, in the picture: {_KNEES}."
    page = (
        f"<style>{viewer_text('viewer.css')}{style}</style>"
        f'<section class="oa-slicer oa-knee-card" id="{name}" data-ready="true" '
        'aria-label="One knee of the plot"><p class="oas-title">One knee of the plot</p>'
        '<div class="oas-bar">'
        f'<label>Case <input type="number" min="1" max="{len(slices)}" step="1"></label>'
        "<output></output></div>"
        '<div class="oas-bar"><div class="oa-knee-slice" role="slider" tabindex="0" '
        f'aria-valuemin="1" aria-valuemax="{len(slices)}"></div>'
        '<div class="oa-knee-text" aria-live="polite"></div></div>'
        f'<p class="oas-help">{hint}</p></section>'
        f"<script>(() => {{\n{viewer_text('viewer_keys.js')}"
        f"{viewer_text('thumbnails.js').replace('@DATA@', json.dumps(data))}}})();</script>"
    )
    return Html(page, f"Slices of {len(slices)} knees, shown where a page runs scripts")


def _sheet(slices: np.ndarray, limit: int) -> tuple[str, int, tuple[int, int]]:
    """All slices in one JPEG: its data URI, slices in a row, height and width of a tile."""
    picture, columns = tiles(slices)
    high, wide = (size + -size % TILE for size in slices.shape[1:])
    for quality in _QUALITIES:
        data, kind = encoded(picture, quality)
        uri = f"data:{kind};base64,{data}"
        if len(uri) <= limit:
            return uri, columns, (high, wide)
    raise InputError(
        f"slices_on_hover: {len(slices)} slices take {len(uri):,} bytes, the limit is {limit:,}: "
        "give smaller ones"
    )
