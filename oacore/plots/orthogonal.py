"""Three slices of a knee at one place, for print and for a first look: nilearn draws them.

nilearn places image, masks and map by their affines, each on its own grid. So its picture is a
second opinion, too: where they lie upon each other here, their affines agree. A chapter imports
this module in the cell that draws, because nilearn takes seconds to load.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from nilearn.plotting import plot_anat, plot_roi, plot_stat_map

from oacore.data.volumes import LABELS, read_canonical, read_labels
from oacore.errors import InputError
from oacore.names import PLANES
from oacore.plots.page import Html
from oacore.plots.style import OKABE_ITO
from oacore.plots.viewer import best_seen

Volume = tuple[np.ndarray, np.ndarray]
"""An array on canonical axes and its affine, as :func:`.volumes.read_canonical` gives them."""

_SHOWN = {"sagittal": "x", "coronal": "y", "axial": "z"}  # as nilearn calls the planes
_SIDE, _DPI = 6.4, 110  # inches: two slices above, one below, so that a phone shows all


def case_views(case: pd.Series, saliency: str | Path | None = None) -> Figure:
    """Three slices of a case as stored, with its mask or a map over it.

    They go through the place that shows most cartilage, or through the middle where there is no
    mask: nothing that a map shows has chosen it.

    Parameters
    ----------
    case : Series
        A row of the table of cases.
    saliency : path-like, optional
        A map as NIfTI, such as :func:`.nifti.write_map` writes; it is shown instead of the mask.
    """
    image = read_canonical(case["image"])
    masks: dict[str, Volume] = {}
    if not pd.isna(case["mask"]):
        labels, affine = read_labels(case["mask"])
        masks = {name: (labels == label, affine) for label, name in LABELS.items()}
    cartilage = [mask for name, (mask, _) in masks.items() if "cartilage" in name]
    at = best_seen(cartilage, image[0].shape)
    if saliency is not None:
        return knee_views(image, at, saliency=read_canonical(saliency))
    return knee_views(image, at, masks=masks)


def knee_views(
    image: Volume,
    at: Sequence[int],
    *,
    masks: Mapping[str, Volume] | None = None,
    saliency: Volume | None = None,
    top: float = 5.0,
) -> Figure:
    """A sagittal, a coronal and an axial slice of one knee, with masks or a map over it.

    As everywhere in the book, anterior is on the left of the sagittal slice and the patient's right
    on the left of the others.

    Parameters
    ----------
    image : array (X, Y, Z) and affine
    at : three ints
        The voxel of the image that all three slices go through.
    masks : mapping of a name to an array and its affine, optional
        At most seven; where masks overlap the later one shows. In the colours of
        :func:`.viewer.slice_viewer`.
    saliency : array and affine, optional
        A map instead of masks, scaled to [0, 1].
    top : float
        Percent of the map's voxels that are coloured, the most salient.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If there are masks and a map, too many masks, or a place that is not in the image.
    """
    masks = masks or {}
    if masks and saliency is not None:
        raise InputError("knee_views: masks and a map are given: show one or the other.")
    if len(masks) > len(OKABE_ITO):
        raise InputError(f"knee_views: {len(masks)} masks but {len(OKABE_ITO)} colours: join some.")
    if not all(0 <= v < n for v, n in zip(at, image[0].shape, strict=True)):
        raise InputError(f"knee_views: {at} is not in an image of shape {image[0].shape}.")
    under = _nifti(image)
    fig = Figure(figsize=(_SIDE, _SIDE), facecolor="black")
    common: dict[str, Any] = {
        # Radiological: the book's own sides, in all three planes.
        "display_mode": "tiled", "cut_coords": list((image[1] @ [*at, 1])[:3]), "figure": fig,
        "radiological": True, "black_bg": True, "draw_cross": True, "annotate": False,
    }  # fmt: skip
    if saliency is not None:
        least = float(np.quantile(saliency[0], 1 - top / 100))
        shown = plot_stat_map(
            _nifti(saliency), bg_img=under, threshold=max(least * (1 - 1e-6), 1e-6), vmin=0, vmax=1,
            symmetric_cbar=False, cmap="inferno", colorbar=True, dim=0,
            resampling_interpolation="nearest", **common,
        )  # fmt: skip
    elif masks:
        first = next(iter(masks.values()))
        labels = np.zeros(first[0].shape, np.uint8)
        for number, (mask, _) in enumerate(masks.values(), start=1):
            labels[np.asarray(mask) > 0] = number
        colours = ListedColormap(list(OKABE_ITO.values())[: len(masks)])
        shown = plot_roi(
            _nifti((labels, first[1])), bg_img=under, cmap=colours, vmin=1, vmax=len(masks),
            alpha=0.45, dim=0, colorbar=False, **common,
        )  # fmt: skip
    else:
        black, white = (float(v) for v in np.percentile(image[0], (1, 99.5)))
        shown = plot_anat(under, dim=0, colorbar=False, vmin=black, vmax=white, **common)
    for plane, name in _SHOWN.items():
        _letters(shown.axes[name].ax, PLANES[plane].edges)
    if masks:
        handles = [
            Patch(color=colour, label=label)
            for label, colour in zip(masks, OKABE_ITO.values(), strict=False)
        ]
        fig.legend(
            handles=handles, loc="center", bbox_to_anchor=(0.5, 0, 0.5, 0.5), frameon=False,
            labelcolor="white", fontsize=13,
        )  # fmt: skip
    return fig


def picture(fig: Figure, alt: str) -> Html:
    """A figure of matplotlib as a picture inside the page.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
    alt : str
        What it shows, for readers who cannot see it.

    Raises
    ------
    InputError
        If `alt` is empty.
    """
    if not alt.strip():
        raise InputError("picture: the text alternative is empty: say in a sentence what is seen.")
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    return Html(
        '<figure class="oa-plot" style="margin:0">'
        # The theme would dim and frame it in dark mode, but for this class.
        f'<img class="dark-light" src="data:image/png;base64,{data}" alt="{html.escape(alt)}" '
        'style="display:block;width:100%;max-width:640px;margin:0 auto;'
        'border-radius:6px"></figure>',
        alt,
    )


def _nifti(volume: Volume) -> nib.Nifti1Image:
    array, affine = volume
    kind = np.uint8 if array.dtype in (np.dtype(bool), np.dtype(np.uint8)) else np.float32
    return nib.Nifti1Image(array.astype(kind), affine)


def _letters(axes: Any, letters: str) -> None:
    """Letters of the left, right, lower and upper edge."""
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.02), (0.5, 0.98))
    for letter, (x, y) in zip(letters, places, strict=True):
        axes.text(
            x, y, letter, transform=axes.transAxes, color="white", fontsize=14, fontweight="bold",
            ha={0.5: "center", 0.02: "left", 0.98: "right"}[x],
            va={0.5: "center", 0.02: "bottom", 0.98: "top"}[y], zorder=5,
        )  # fmt: skip
