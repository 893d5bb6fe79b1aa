"""Drawings of the encoders: every shape on them is what the model itself makes of a volume.

Boxes are tensors. Their height follows the resolution, their width the channels, both by
logarithm; the words below tell channels x voxels, those above the arrows what is done. The sheet's
unit is the pixel, so that nothing on it moves: x runs to the right and y down from the top left
corner. A narrow screen scrolls it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log2, prod
from typing import Any

import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from torch import nn

from oacore.models.shapes import Shape, shapes
from oacore.plots.style import COLOURS, OKABE_ITO, style_figure

WIDTH = 656  # px: what the book has for a figure on a laptop
FONT = 13  # px
LINE = 17  # px, from one line of words to the next
INK, GREY = "#1A1A1A", "#8A8A8A"
_TENSOR, _VECTOR, _CLASS = OKABE_ITO["sky blue"], OKABE_ITO["purple"], OKABE_ITO["vermilion"]
_PLANE = {
    "coronal": OKABE_ITO["blue"], "sagittal": OKABE_ITO["orange"], "axial": OKABE_ITO["green"]
}  # fmt: skip
_LAYERS = ("layer1", "layer2", "layer3", "layer4")  # as both residual networks name them


def architecture(encoder: nn.Module, grid: Sequence[int]) -> go.Figure:
    """An encoder as a drawing: its tensors as boxes, what happens between them on the arrows.

    The paper's three are drawn by hand, below. Any other is a row of boxes, one for each of its
    children in the order of use.

    Parameters
    ----------
    encoder : Module
    grid : sequence of int
        Shape of the volume that goes in.

    Returns
    -------
    Figure
        Boxes (shapes of the layout) and the words that tell their shapes (annotations) bear the
        name of the module whose output they are.
    """
    draw = BY_HAND.get(type(encoder).__name__, _children)
    return draw(encoder, shapes(encoder, grid))


def lines(table: pd.DataFrame, x: str, y: str, by: str, **titles: str) -> go.Figure:
    """A line for each group of a table, told apart by colour and dash.

    Columns `x` and `y` hold numbers, `by` the group's name; `titles` name the axes by column.
    """
    look: Any = {"color": by, "line_dash": by, "color_discrete_sequence": COLOURS}
    return style_figure(
        # From 1000 points on it would choose WebGL, which the book's plotly does not have.
        px.line(table, x=x, y=y, labels=titles, render_mode="svg", **look).update_traces(
            line_width=2.5
        )
    )


def _children(encoder: Any, at: dict[str, Shape]) -> go.Figure:
    fig = sheet(290)
    names = [name for name in at if name in dict(encoder.named_children())]
    _row(fig, at, [("volume", ""), *((name, name) for name in names)], 0, WIDTH, y=160)
    return fig


def _resnet3d(encoder: Any, at: dict[str, Shape]) -> go.Figure:
    fig = sheet(290)
    pool = f"max-pool {encoder.maxpool.kernel_size}³<br>stride {encoder.maxpool.stride}"
    steps = [("volume", ""), ("act", f"{_conv(encoder.conv1)}<br>BN, ReLU"), ("maxpool", pool)]
    steps += [(name, _blocks(getattr(encoder, name))) for name in _LAYERS]
    _row(fig, at, [*steps, ("output", "mean over<br>the voxels")], 0, WIDTH, y=160)
    return fig


def _m3t(encoder: Any, at: dict[str, Shape]) -> go.Figure:
    fig, size, net = sheet(660), at["slices"][1] // 3, encoder.slices
    convs = [module for module in encoder.stem if isinstance(module, nn.Conv3d)]
    stem = f"{len(convs)} × [{_conv(convs[0])},<br>BN, ReLU]"
    _row(fig, at, [("volume", ""), ("stem", stem)], 0, 206, y=154)

    box(fig, "slices", 364, 154, 130, 290, _TENSOR)
    image = "×".join(map(str, at["slices.layer4"][2:]))
    counts = "+".join(str(len(getattr(net, name))) for name in _LAYERS)
    words = f"<b>one 2D network</b><br><b>for all slices</b><br><br>{_conv(net.conv1)}<br>max-pool"
    text(fig, 364, 78, f"{words}<br>{counts} blocks<br>to {image} pixels,<br>their mean")
    text(fig, 543, 2, "linear, ReLU,<br>linear")
    for i, plane in enumerate(encoder.planes):
        y, colour = 54 + 100 * i, _PLANE[plane]
        arrow(fig, 174, 154, 204, y)
        for shift in (12, 6, 0, -6):
            box(fig, plane, 238 + shift, y - shift, 40, 40, colour, 0.25)
        text(fig, 240, y + 24, f"{size} {plane}")
        for start, end in ((274, 298), (430, 452), (514, 572)):
            arrow(fig, start, y, end, y)
        for name, x in (("slices", 482), ("project", 604)):
            box(fig, name, x, y, _size((1, at[name][2]))[0], 44, colour)
            text(fig, x, y + 24, f"{size} × {at[name][2]}", name)

    _, count, width = at["tokens"]
    arrow(fig, 604, 300, 604, 350)
    text(fig, 592, 306, "in one row; plane and position embeddings are added", anchor="right")
    _strip(fig, "tokens", encoder.planes, size, 370, faded=False)
    text(fig, WIDTH / 2, 392, f"<b>{count} tokens × {width}</b>", "tokens")
    first = encoder.transformer[0]
    words = f"<b>{len(encoder.transformer)} transformer layers</b><br>attention among all tokens, "
    words += f"{first.heads} heads; then {width} → {first.mlp[0].out_features} → {width} for each"
    box(fig, "transformer", WIDTH / 2, 468, WIDTH - 40, 52, GREY, 0.12)
    text(fig, WIDTH / 2, 450, words)
    for x in (120, WIDTH // 2, WIDTH - 120):
        arrow(fig, x, 414, x, 440)
        arrow(fig, x, 496, x, 520)
    _strip(fig, "transformer", encoder.planes, size, 540, faded=True)
    arrow(fig, 31, 562, 31, 598)
    box(fig, "norm", 20 + _size(at["norm"])[0] / 2, 616, *_size(at["norm"]), _CLASS)
    text(fig, 80, 599, f"class token: <b>{width} numbers</b>,<br>to the heads", "norm", "left")
    return fig


def _nnmamba(encoder: Any, at: dict[str, Shape]) -> go.Figure:
    fig = sheet(530)
    convs = [module for module in encoder.stem if isinstance(module, nn.Conv3d)]
    stem = (
        f"{len(convs)} × [{_conv(convs[0], 0)},<br>BN, ReLU],<br>first stride {convs[0].stride[0]}"
    )
    _row(fig, at, [("volume", ""), ("stem", stem)], 0, 202, y=270)

    # The Mamba layer: up to a sequence, along it, and down again.
    _, channels, length = at["mamba.block"]
    inner, states = encoder.mamba.block.A_log.shape
    text(fig, 248, 2, f"<b>{length:,} tokens × {channels}</b>, a voxel each", "mamba.block")
    text(fig, 248, 2 + LINE, f"Mamba block: {inner} channels, {states} states each")
    for i in range(16):
        box(fig, "mamba.block", 112 + 17 * (i + 0.5), 66, 17, 40, OKABE_ITO["orange"], 0.2)
    arrow(fig, 118, 66, 378, 66)
    wide, high = _size(at["stem"])
    arrow(fig, 156, 266 - high / 2, 156, 90)
    text(fig, 164, 110, "conv 1³,<br>BN, ReLU,<br>flatten", anchor="left")
    arrow(fig, 340, 90, 340, 256)
    text(fig, 332, 110, "unflatten,<br>conv 1³,<br>BN, ReLU", anchor="right")
    arrow(fig, 157 + wide / 2, 270, 326, 270)
    box(fig, "mamba", 340, 270, 26, 26, INK, 0, "circle")
    text(fig, 340, 260, "<b>+</b>")

    steps = [(name, _blocks(getattr(encoder, name))) for name in ("stage2", "stage3", "stage4")]
    arrow(fig, 356, 270, 424 - _size(at["stage2"])[0] / 2, 270)
    _row(fig, at, steps, 382, 652, y=270)
    for i, (name, _) in enumerate(steps):
        x = 427 + 90 * i
        arrow(fig, x, 386, x, 420)
        box(fig, "pooled", x, 442, 90, 36, _VECTOR)
        text(fig, x, 432, f"{at[name][1]}", name)
    text(fig, 372, 386, "mean over<br>the voxels", anchor="right")
    text(fig, 517, 464, f"joined: <b>{encoder.hidden[0].in_features} numbers</b>", "pooled")
    wide, last = _size(at["hidden"])[0], at["hidden"][1]
    arrow(fig, 380, 442, 216 + wide / 2, 442)
    text(fig, 312, 450, "linear, ReLU,<br>dropout")
    box(fig, "hidden", 212, 442, wide, 36, _VECTOR)
    text(fig, 212, 464, f"hidden:<br><b>{last} numbers</b>", "hidden")
    arrow(fig, 208 - wide / 2, 442, 124, 442)
    text(fig, 116, 432, "to the heads", anchor="right")
    return fig


#: Encoders that have a drawing of their own, by their class.
BY_HAND: dict[str, Callable[[Any, dict[str, Shape]], go.Figure]] = {
    "ResNet3D": _resnet3d,
    "M3T": _m3t,
    "NNMamba": _nnmamba,
}


def sheet(height: int) -> go.Figure:
    """An empty sheet, `WIDTH` pixels wide."""
    fig = style_figure(go.Figure(), height, width=WIDTH, margin=dict.fromkeys("lrtb", 0))
    fig.update_layout(dragmode=False, hovermode=False)
    fig.update_xaxes(visible=False, fixedrange=True, range=[0, WIDTH])
    return fig.update_yaxes(visible=False, fixedrange=True, range=[height, 0])


def box(
    fig: go.Figure,
    name: str,
    x: float,
    y: float,
    w: float,
    h: float,
    colour: str,
    fill: float = 0.35,
    kind: str = "rect",
) -> None:
    """A box about (x, y), tinted with a colour ("#rrggbb"); `kind` may be "circle"."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    fig.add_shape(
        type=kind, name=name, x0=x - w / 2, x1=x + w / 2, y0=y - h / 2, y1=y + h / 2,
        fillcolor=f"rgba({r},{g},{b},{fill})", line={"color": colour, "width": 1.5},
    )  # fmt: skip


def text(
    fig: go.Figure, x: float, y: float, words: str, name: str = "", anchor: str = "center"
) -> None:
    """Words whose first line begins at y; `anchor` says what of them is at x."""
    fig.add_annotation(
        x=x, y=y, text=words, name=name, xanchor=anchor, yanchor="top", align=anchor,
        showarrow=False, font_size=FONT,
    )  # fmt: skip


def arrow(fig: go.Figure, x0: float, y0: float, x1: float, y1: float) -> None:
    """An arrow from (x0, y0) to (x1, y1)."""
    fig.add_annotation(
        x=x1, y=y1, ax=x0, ay=y0, axref="x", ayref="y", text="", arrowhead=2, arrowwidth=1.5,
        arrowcolor=INK,
    )  # fmt: skip


def _conv(conv: Any, stride: int = 1) -> str:
    words = f"conv {conv.kernel_size[0]}{ {3: '³', 2: '²'}[len(conv.kernel_size)] }"
    return f"{words}<br>stride {conv.stride[0]}" if stride and conv.stride[0] > 1 else words


def _blocks(stage: Any) -> str:
    convs = [module for module in stage.modules() if isinstance(module, nn.Conv3d)]
    words = f"{len(stage)} residual<br>block{'s' * (len(stage) > 1)}"
    for what in ("stride", "dilation"):
        most = max(getattr(conv, what)[0] for conv in convs)
        words += f"<br>{what} {most}" if most > 1 else ""
    return words


def _size(shape: Shape) -> tuple[float, float]:
    """Width and height of the box for a tensor (batch, channels, voxels)."""
    return 8 + 4 * log2(shape[1]), 14 + 16 * log2(prod(shape[2:])) / max(1, len(shape) - 2)


def _row(fig: go.Figure, at: dict[str, Shape], steps: Any, left: int, right: int, y: int) -> None:
    """Tensors side by side, from steps (module, operation before it): shapes below the boxes."""
    told = ["×".join(map(str, at[name][2:])) for name, _ in steps]
    rooms = [max(len(words), 8) for words in told]  # as wide as the words below need it
    unit, end = (right - left) / sum(rooms), 0.0
    for i, ((name, operation), voxels, room) in enumerate(zip(steps, told, rooms, strict=True)):
        x, channels = left + unit * (sum(rooms[:i]) + room / 2), at[name][1]
        wide, high = _size(at[name])
        box(fig, name, x, y, wide, high, _TENSOR if voxels else _VECTOR)
        words = f"<b>{channels}</b> ×<br>{voxels}" if voxels else f"<b>{channels}</b><br>numbers"
        text(fig, x, y + 76, words, name)
        if i:
            arrow(fig, end + 3, y, x - wide / 2 - 1, y)
        if operation:  # in the middle between the boxes
            middle = x - unit * (rooms[max(i - 1, 0)] + room) / 4
            text(fig, middle, y - 80 - LINE * (operation.count("<br>") + 1), operation)
        end = x + wide / 2


def _strip(
    fig: go.Figure, name: str, planes: Sequence[str], size: int, y: float, faded: bool
) -> None:
    """M3T's sequence of tokens: class, then S slices and a separator for each plane."""
    single, plane = 22, (WIDTH - 40 - 4 * 22) / 3
    parts: list[tuple[str, float, str]] = [("class", single, _CLASS)]
    for kind in planes:
        parts += [(f"{size} {kind}", plane, _PLANE[kind]), ("sep", single, GREY)]
    for i, (words, width, colour) in enumerate(parts):
        x = 20 + sum(part[1] for part in parts[:i]) + width / 2
        box(fig, name, x, y, width, 36, colour, 0.1 if faded and i else 0.4)
        if not faded:
            text(fig, x, y - (10 if width > single else 37), words)
