"""Figure 1 for print: what is trained, on which labels, and what is asked of it.

A drawing of our own in millimetres, x to the right and y up from the lower left corner.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path

from oacore.hierarchy import FIRST_OA_GRADE, N_GRADES
from oacore.instruments.paper.style import GREY, INK, MM, SMALL, WIDTH, look
from oacore.names import BACKBONE_NAMES
from oacore.plots.style import OKABE_ITO

HEIGHT = 100  # mm
_OA, _KL, _SHARED = (OKABE_ITO[name] for name in ("vermilion", "blue", "green"))
_BONE, _CARTILAGE = "#E9E4D8", OKABE_ITO["sky blue"]
_GRADES = [matplotlib.colors.to_hex(c) for c in matplotlib.colormaps["cividis"](
    np.linspace(0, 1, N_GRADES))]  # fmt: skip

_COUNTS = {3: "three", 4: "four", 5: "five", 6: "six"}

# A sagittal knee in a box of 20 x 20: control points of smooth closed outlines.
_FEMUR = [(6, 20), (6.5, 15), (4, 12), (4.5, 8.8), (8.5, 8.2), (12.5, 8.2), (16, 9.4),
          (16, 12.5), (13, 15), (13.2, 20)]  # fmt: skip
_TIBIA = [(6.5, 0), (6.2, 3.5), (4.2, 5.5), (5, 6.4), (10, 6.3), (15, 6.5), (15.8, 5.3),
          (13, 3.2), (12.4, 0)]  # fmt: skip
_CAPS = [  # femoral and tibial cartilage, as thick lines
    [(4.2, 10.6), (5, 8.7), (8.5, 8), (12.5, 8), (15.6, 9.1), (16.2, 11.2)],
    [(4.8, 6.5), (10, 6.5), (15.2, 6.6)],
]


@look()
def overview() -> Figure:
    """Figure 1: image, encoder, shared features, two heads; their labels; three questions.

    Returns
    -------
    matplotlib.figure.Figure
        180 x 100 mm, vectors alone.
    """
    fig = Figure(figsize=(WIDTH * MM, HEIGHT * MM))
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    ax.axis("off")
    _network(ax)
    _hierarchy(ax)
    _questions(ax)
    return fig


def _network(ax: Axes) -> None:
    """Image, encoder, features and heads, from left to right."""
    for back in (6, 3, 0):  # slices of the volume, the front one last
        _box(ax, 5 + back / 2, 59 + back / 2, 25, 25, "#FFFFFF", GREY, rounding=0.5)
    _knee(ax, 7.5, 61.5)
    _words(ax, 19, 54.5, "3D MRI of a knee")
    _arrow(ax, (34.5, 72), (41, 72))

    _box(ax, 42, 58, 30, 29, "#F4F4F4", GREY)
    _words(ax, 57, 83, "encoder", weight="bold")
    step = 21 / len(BACKBONE_NAMES)
    high = step * 5.5 / 7
    for i, name in enumerate(BACKBONE_NAMES.values()):
        _box(ax, 45, 80 - high - step * i, 24, high, "#FFFFFF", GREY, rounding=0.8)
        _words(ax, 57, 80 - high / 2 - step * i, name)
    _words(ax, 57, 54.5, f"one of {_COUNTS.get(len(BACKBONE_NAMES), len(BACKBONE_NAMES))}")
    _arrow(ax, (73, 72), (79, 72))

    for i, shade in enumerate((0.75, 0.2, 0.5, 0.9, 0.35, 0.6)):
        tint = 1 - shade * (1 - np.array(matplotlib.colors.to_rgb(_SHARED)))
        _box(ax, 80.5, 60.5 + 4 * i, 5, 4, tint, _SHARED, rounding=0)
    _words(ax, 83, 54.5, "shared\nfeatures z")

    for y, name, colour, loss in (
        (82, "OA head", _OA, "one logit"),
        (60, "KL head", _KL, "five logits"),
    ):
        _arrow(ax, (87, 72), (97, y))
        _box(ax, 98, y - 5, 22, 10, "#FFFFFF", colour)
        _words(ax, 109, y + 1.7, name, weight="bold", color=colour)
        _words(ax, 109, y - 2.3, loss, size=SMALL)
    _words(ax, 62, 95.5, "supervision: Single-OA and Single-KL have one head, Dual has both")


def _hierarchy(ax: Axes) -> None:
    """The coarse label above the five grades."""
    grade_x = [132 + 10 * k for k in range(N_GRADES)]
    _words(ax, 152, 95.5, "labels: from coarse to fine")
    for name, members in (
        ("no OA", range(FIRST_OA_GRADE)),
        ("OA", range(FIRST_OA_GRADE, N_GRADES)),
    ):
        x = float(np.mean([grade_x[k] for k in members]))
        tint = "#FFFFFF" if name == "no OA" else "#FBE3D6"
        _box(ax, x - 8, 77.5, 16, 9, tint, _OA)
        _words(ax, x, 82, name, weight="bold", color=_OA)
        for k in members:
            ax.plot([x, grade_x[k]], [77.5, 65], color=GREY, linewidth=0.8, zorder=1)
    for k, x in enumerate(grade_x):
        ax.add_patch(Circle((x, 60.3), 4, facecolor=_GRADES[k], edgecolor=_KL, linewidth=1.2))
        _words(ax, x, 60.3, str(k), weight="bold", color="#FFFFFF" if k < 3 else INK)
    _words(ax, 152, 53.3, "Kellgren-Lawrence grade")
    middle = (grade_x[FIRST_OA_GRADE - 1] + grade_x[FIRST_OA_GRADE]) / 2
    ax.plot([middle, middle], [56, 90.5], color=INK, linewidth=0.8, linestyle=(0, (3, 2)))
    _words(ax, middle + 1.5, 89, f"OA: KL ≥ {FIRST_OA_GRADE}", ha="left", size=SMALL)
    for y, colour in ((82, _OA), (60, _KL)):
        _arrow(ax, (120.8, y), (126.5, y), colour)


def _questions(ax: Axes) -> None:
    """Three questions, a card each, and what of the network each looks at."""
    cards = (
        ("1  Prediction", "Do two labels grade a knee\nbetter than one?"),
        ("2  Severity axis", "Do the features lie in\nthe order of the grades?"),
        ("3  Saliency", "Do the logits follow\nthe cartilage?"),
    )
    for i, (title, words) in enumerate(cards):
        x = 5 + 58 * i
        _box(ax, x, 4, 54, 37, "#FFFFFF", GREY)
        _words(ax, x + 27, 37, title, weight="bold")
        _words(ax, x + 27, 31.8, words)
    _words(ax, 5, 45.5, "Three questions, of each backbone and each supervision", ha="left")
    _matrix(ax, 24.5, 6.5)
    _axis(ax, 66, 8)
    _salient(ax, 135, 5.5)


def _matrix(ax: Axes, x: float, y: float) -> None:
    """A small confusion matrix whose diagonal is dark."""
    shades = matplotlib.colormaps["Blues"]
    for row in range(N_GRADES):
        for column in range(N_GRADES):
            colour = shades(max(0.05, 0.8 - 0.27 * abs(row - column)))
            _box(ax, x + 3 * column, y + 3 * (N_GRADES - 1 - row), 3, 3, colour, "#FFFFFF", 0)


def _axis(ax: Axes, x: float, y: float) -> None:
    """Five small clouds along an arrow."""
    scatter = np.array([(-2, 1.5), (0.4, 2.6), (1.9, 0.7), (-0.6, -1.4), (1.4, -2.1)])
    _arrow(ax, (x - 1, y + 1.5), (x + 49, y + 11), INK)
    for k in range(N_GRADES):
        middle = np.array([x + 5.5 + 9 * k, y + 2.9 + 1.7 * k])
        for dx, dy in scatter * (1 if k % 2 else -1):
            ax.add_patch(Circle(middle + (dx, dy), 0.75, facecolor=_GRADES[k], edgecolor=INK,
                                linewidth=0.3))  # fmt: skip


def _salient(ax: Axes, x: float, y: float) -> None:
    """A knee with warm spots on and beside its cartilage."""
    _knee(ax, x, y, 0.88)
    for dx, dy, r, strength in (
        (5.2, 9.3, 1.6, 0.75), (9, 7.4, 2, 0.85), (14.8, 9, 1.5, 0.6), (12, 6.4, 1.1, 0.5),
        (10, 14, 0.9, 0.35),
    ):  # fmt: skip
        for part in (1, 0.55):
            ax.add_patch(Circle((x + 0.88 * dx, y + 0.88 * dy), r * part, facecolor=_OA,
                                edgecolor="none", alpha=strength * 0.6, zorder=4))  # fmt: skip
    ax.plot([x + 17, x + 20.5], [y + 12.5, y + 12.5], color=_CARTILAGE, linewidth=2.6)
    _words(ax, x + 21.5, y + 12.5, "cartilage", ha="left", size=SMALL)
    ax.add_patch(Circle((x + 18.7, y + 8), 1.2, facecolor=_OA, edgecolor="none", alpha=0.75))
    _words(ax, x + 21.5, y + 8, "salient", ha="left", size=SMALL)


def _knee(ax: Axes, x: float, y: float, scale: float = 1) -> None:
    for outline in (_FEMUR, _TIBIA):
        ax.add_patch(PathPatch(_smooth(outline, x, y, scale), facecolor=_BONE, edgecolor=GREY,
                               linewidth=0.7, zorder=2))  # fmt: skip
    for line in _CAPS:
        ax.add_patch(PathPatch(_smooth(line, x, y, scale, closed=False), facecolor="none",
                               edgecolor=_CARTILAGE, linewidth=2.6 * scale, capstyle="round",
                               zorder=3))  # fmt: skip


def _smooth(
    points: Sequence[tuple[float, float]], x: float, y: float, scale: float, closed: bool = True
) -> Path:
    """Bezier curve through the middles of a polygon's sides, its corners as control points.

    A closed one is straight between the last and the first corner: a bone ends at the image.
    """
    at = np.array(points, dtype=float) * scale + (x, y)
    vertices, codes = [at[0]], [Path.MOVETO]
    for corner, following in zip(at[1:-1], at[2:], strict=True):
        last = following is at[-1] or bool((following == at[-1]).all())
        vertices += [corner, following if last else (corner + following) / 2]
        codes += [Path.CURVE3, Path.CURVE3]
    if closed:
        vertices.append(at[0])
        codes.append(Path.CLOSEPOLY)
    return Path(np.array(vertices), codes)


def _box(
    ax: Axes, x: float, y: float, w: float, h: float, fill: object, line: str, rounding: float = 1.5
) -> None:
    style = f"round,pad=0,rounding_size={rounding}" if rounding else "square,pad=0"
    ax.add_patch(FancyBboxPatch((x, y), w, h, style, facecolor=fill, edgecolor=line, linewidth=0.9))


def _words(
    ax: Axes,
    x: float,
    y: float,
    words: str,
    *,
    ha: str = "center",
    size: float | None = None,
    weight: str = "normal",
    color: str = INK,
) -> None:
    """Lines of words, the first of them about y: on baselines, so that neighbours are level."""
    for i, line in enumerate(words.split("\n")):
        ax.text(x, y - 1 - 3.6 * i, line, ha=ha, va="baseline", fontsize=size,
                fontweight=weight, color=color, zorder=5)  # fmt: skip


def _arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK
) -> None:
    ax.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, linewidth=1,
                        color=colour, shrinkA=0, shrinkB=0)
    )  # fmt: skip
