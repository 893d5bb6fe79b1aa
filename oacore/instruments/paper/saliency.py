"""Figure 3 for print: saliency of one knee over its slices, beside the outline of its cartilage.

Section 3.5.3 of arXiv:2605.00718. What is drawn of a map are its most salient voxels, a stated
percentage of the whole volume, coloured by rank: maps of different models and methods have
different scales, but each has a most salient twentieth. So the colours of two panels can be
compared, and a map that is nearly the same everywhere looks as busy as one with a clear peak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from scipy.ndimage import uniform_filter
from scipy.stats import rankdata

from oacore.data.volumes import resize
from oacore.errors import InputError
from oacore.instruments.paper.style import GREY, MM, SMALL, WIDTH, look
from oacore.names import PLANES
from oacore.plots.style import OKABE_ITO

#: The planes that are drawn.
SHOWN = ("sagittal", "coronal")
ZOOM = (60.0, 30.0)
"""Width and height in mm of what the insets show: the joint, in both planes."""

_OUTLINE = OKABE_ITO["sky blue"]
_STEPS = 10
_SIDE, _TOP, _FOOT, _GAP = 7.0, 6.0, 17.0, 1.2  # mm


@look()
def saliency_over_slices(
    image: np.ndarray,
    cartilage: np.ndarray,
    maps: Mapping[str, np.ndarray],
    spacing: Sequence[float],
    *,
    percent: float = 5.0,
    at: tuple[int, int] | None = None,
    note: str = "",
) -> Figure:
    """Figure 3: a sagittal and a coronal slice of one knee, a column a map, the joint enlarged.

    Parameters
    ----------
    image : ndarray (X, Y, Z)
        Intensities, canonical orientation: the axes run to the right, anterior and superior.
    cartilage : ndarray of bool (X, Y, Z)
    maps : mapping of a column's title to a map
        At most four, of shape (X, Y, Z) or of another grid over the same field of view.
    spacing : three floats
        Voxel size in mm.
    percent : float
        Of a map's voxels, how many are drawn: the most salient ones, over 0 and at most 50.
    at : two ints, optional
        The sagittal and the coronal slice; without it, those that hold most cartilage.
    note : str
        Of the evidence, printed at the foot.

    Returns
    -------
    matplotlib.figure.Figure
        Each row of slices is followed by one of insets, `ZOOM` mm wide and high.

    Raises
    ------
    InputError
        If shapes differ, an array is not finite or not three-dimensional, there is no cartilage,
        a map is the same everywhere, or a number is out of its range.
    """
    image, cartilage = np.asarray(image, dtype=np.float32), np.asarray(cartilage, dtype=bool)
    _check(image, cartilage, maps, spacing, percent)
    if at is None:
        at = tuple(int(cartilage.sum(axis=rest).argmax()) for rest in ((1, 2), (0, 2)))  # type: ignore[assignment]
    if not all(0 <= one < n for one, n in zip(at or (), image.shape, strict=False)):
        raise InputError(f"saliency_over_slices: slices {at} are not in a volume {image.shape}.")
    ranks = {name: _ranks(np.asarray(one), image.shape, percent) for name, one in maps.items()}
    size = np.array(image.shape) * spacing  # mm
    fig, axes = _axes(size, list(maps))
    black, white = np.percentile(image, (1, 99))
    colours = ListedColormap(matplotlib.colormaps["inferno"](np.linspace(0.55, 1, _STEPS)))
    for plane, where in zip(SHOWN, at or (), strict=True):
        seen = PLANES[plane]
        grey, mask = _seen(image, seen.axis, where), _seen(cartilage, seen.axis, where)
        wide, high = size[[seen.across, seen.up]]
        x, y = _centres(mask.shape, wide, high)
        middle = _middle(mask, x, y, wide, high)
        for name, rank in ranks.items():
            for kind in ("slice", "inset"):
                ax = axes[plane, kind, name]
                ax.imshow(
                    grey, cmap="gray", vmin=black, vmax=white, extent=(0, wide, 0, high),
                    origin="lower", interpolation="bilinear",
                )  # fmt: skip
                over = np.ma.masked_invalid(_seen(rank, seen.axis, where))
                ax.imshow(
                    over, cmap=colours, vmin=-percent, vmax=0, extent=(0, wide, 0, high),
                    origin="lower", interpolation="nearest", alpha=0.8,
                )  # fmt: skip
                if mask.any() and not mask.all():
                    for line, width in (("black", 1.5), (_OUTLINE, 0.8)):
                        ax.contour(x, y, mask, [0.5], colors=line, linewidths=width)
                ax.set(xlim=(0, wide), ylim=(0, high))
            _frame(axes[plane, "slice", name], axes[plane, "inset", name], middle)
        first = next(iter(maps))
        _letters(axes[plane, "slice", first], seen.edges)
        _scale_bar(axes[plane, "slice", first], 20)
        _scale_bar(axes[plane, "inset", first], 10)
    _foot(fig, colours, percent, note)
    return fig


def _check(
    image: np.ndarray,
    cartilage: np.ndarray,
    maps: Mapping[str, np.ndarray],
    spacing: Sequence[float],
    percent: float,
) -> None:
    who = "saliency_over_slices"
    if image.ndim != 3 or not np.isfinite(image).all():
        raise InputError(f"{who}: the image {image.shape} is not one finite 3D volume.")
    if cartilage.shape != image.shape or not cartilage.any():
        raise InputError(
            f"{who}: the mask {cartilage.shape} is empty or not on the grid of the image "
            f"{image.shape}: give a knee with a mask, both on one grid."
        )
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise InputError(f"{who}: spacing {spacing} is not three lengths in mm above 0.")
    if not 0 < percent <= 50:
        raise InputError(f"{who}: percent is {percent}; give a number over 0 and at most 50.")
    if not 1 <= len(maps) <= 4:
        raise InputError(f"{who}: {len(maps)} maps; one to four fit the page's width.")
    for name, one in maps.items():
        if np.ndim(one) != 3 or not np.isfinite(one).all():
            raise InputError(f"{who}: map {name!r} {np.shape(one)} is not one finite 3D volume.")
        if np.min(one) == np.max(one):
            raise InputError(f"{who}: map {name!r} is the same everywhere: nothing is salient.")


def _ranks(values: np.ndarray, shape: tuple[int, ...], percent: float) -> np.ndarray:
    """Minus the percentage of the volume that is as salient or more; NaN beyond `percent`.

    Ranks are taken on the map's own grid, then brought to the image's by nearest neighbour, so
    that no voxel is drawn that the network did not have.
    """
    above = 100 * rankdata(-values, method="max").reshape(values.shape) / values.size
    drawn = np.where(above <= percent, -above, np.nan).astype(np.float32)
    return drawn if drawn.shape == shape else resize(drawn, shape, "nearest-exact")  # type: ignore[arg-type]


def _seen(volume: np.ndarray, axis: int, where: int) -> np.ndarray:
    """A slice as it is looked at, rows from below: anterior, or the patient's right, at left."""
    return volume.take(where, axis=axis)[::-1].T


def _centres(shape: tuple[int, ...], wide: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = shape
    return (np.arange(columns) + 0.5) * wide / columns, (np.arange(rows) + 0.5) * high / rows


def _middle(
    mask: np.ndarray, x: np.ndarray, y: np.ndarray, wide: float, high: float
) -> tuple[float, float]:
    """Middle of the inset in mm: where it holds most cartilage, whatever the maps show there."""
    if not mask.any():
        return wide / 2, high / 2
    pixels = [
        max(1, round(inset / step))
        for inset, step in zip(ZOOM, 2 * np.array([x[0], y[0]]), strict=True)
    ]
    held = uniform_filter(mask.astype(np.float64), (pixels[1], pixels[0]), mode="constant")
    best = np.argwhere(held > held.max() - 0.5 / np.prod(pixels))
    row, column = best[np.abs(best - best.mean(axis=0)).sum(axis=1).argmin()]
    room = [min(inset, size) / 2 for inset, size in zip(ZOOM, (wide, high), strict=True)]
    at = np.clip((x[column], y[row]), room, np.array((wide, high)) - room)
    return float(at[0]), float(at[1])


def _axes(size: np.ndarray, names: list[str]) -> tuple[Figure, dict[tuple[str, str, str], Axes]]:
    """Axes of a fixed place, so that a millimetre is equally long in all slices of a plane."""
    column = (WIDTH - _SIDE - _GAP * (len(names) - 1)) / len(names)  # mm
    column = min(column, 52.0)
    rows: list[tuple[str, str, float]] = []
    for plane in SHOWN:
        across, up = PLANES[plane].across, PLANES[plane].up
        rows.append((plane, "slice", column * size[up] / size[across]))
        rows.append((plane, "inset", column * ZOOM[1] / ZOOM[0]))
    height = _TOP + _FOOT + sum(high for *_, high in rows) + _GAP * (len(rows) - 1)
    fig = Figure(figsize=(WIDTH * MM, height * MM))
    left = _SIDE + (WIDTH - _SIDE - len(names) * column - _GAP * (len(names) - 1)) / 2
    axes, y = {}, height - _TOP
    for plane, kind, high in rows:
        y -= high
        for i, name in enumerate(names):
            x = left + i * (column + _GAP)
            place = (x / WIDTH, y / height, column / WIDTH, high / height)
            ax = fig.add_axes(place, label=f"{plane} {kind} {name}")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(kind == "inset")
            ax.spines[:].set_color("white")
            axes[plane, kind, name] = ax
            if (plane, kind) == ("sagittal", "slice"):
                ax.set_title(name, fontweight="bold", pad=3)
        if kind == "slice":
            fig.text((left - 2) / WIDTH, (y + high / 2) / height, plane, rotation=90,
                     ha="right", va="center", fontweight="bold")  # fmt: skip
        y -= _GAP
    return fig, axes


def _frame(whole: Axes, inset: Axes, middle: tuple[float, float]) -> None:
    """Show in the inset what the frame on the slice surrounds."""
    (x, y), (wide, high) = middle, ZOOM
    inset.set(xlim=(x - wide / 2, x + wide / 2), ylim=(y - high / 2, y + high / 2))
    inset.set_facecolor("black")
    whole.add_patch(
        Rectangle((x - wide / 2, y - high / 2), wide, high, fill=False, edgecolor="white",
                  linewidth=0.7)
    )  # fmt: skip


def _letters(ax: Axes, letters: str) -> None:
    """Letters of the left, right, lower and upper edge."""
    places = ((0.03, 0.5), (0.97, 0.5), (0.5, 0.04), (0.5, 0.96))
    for letter, (x, y) in zip(letters, places, strict=True):
        ax.text(x, y, letter, transform=ax.transAxes, ha="center" if x == 0.5 else
                ("left" if x < 0.5 else "right"), va="center" if y == 0.5 else
                ("bottom" if y < 0.5 else "top"), **_ON_IMAGE)  # fmt: skip


_ON_IMAGE: dict = {
    "color": "white", "fontsize": SMALL, "fontweight": "bold", "zorder": 5,
    "bbox": {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "boxstyle": "square,pad=0.1"},
}  # fmt: skip


def _scale_bar(ax: Axes, length: float) -> None:
    """A bar of some mm in the lower left corner."""
    (left, right), (low, _) = ax.get_xlim(), ax.get_ylim()
    x, y = left + 0.04 * (right - left), low + 0.05 * (right - left)
    for colour, width in (("black", 3.2), ("white", 1.8)):
        ax.plot([x, x + length], [y, y], color=colour, linewidth=width, solid_capstyle="butt",
                zorder=5, label=f"scale {length:g} mm")  # fmt: skip
    ax.text(x, y + 0.025 * (right - left), f"{length:g} mm", ha="left", va="bottom", **_ON_IMAGE)


def _foot(fig: Figure, colours: ListedColormap, percent: float, note: str) -> None:
    """Colour bar, key of the outline, and what kind of evidence the figure is."""
    height = fig.get_figheight() / MM
    place = fig.add_axes((0.53, 12 / height, 0.3, 2.4 / height), label="colour bar")
    bar = fig.colorbar(ScalarMappable(Normalize(-percent, 0), colours), place,
                       orientation="horizontal")  # fmt: skip
    bar.outline.set_visible(False)
    ticks = np.linspace(-percent, 0, 3)
    bar.set_ticks(list(ticks), labels=[f"top {-t:g}%" for t in ticks[:-1]] + ["most salient"])
    place.tick_params(length=2, pad=1.5, labelsize=SMALL)
    fig.legend(
        handles=[Line2D([], [], color=_OUTLINE, linewidth=1.5, label="outline of cartilage")],
        loc="center left", bbox_to_anchor=(0.13, 13 / height), frameon=False,
    )  # fmt: skip
    fig.text(0.5, 1.5 / height, note, ha="center", va="bottom", fontsize=SMALL, color=GREY)
