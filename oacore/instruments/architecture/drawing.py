"""Boxes, arrows and words on a sheet whose unit is the pixel, so that nothing on it moves.

x runs to the right and y down from the top left corner. A narrow screen scrolls the sheet.
"""

from __future__ import annotations

import plotly.graph_objects as go

from oacore.plots.style import style_figure

WIDTH = 656  # px: what the book has for a figure on a laptop
FONT = 13  # px
LINE = 17  # px, from one line of words to the next
INK, GREY = "#1A1A1A", "#8A8A8A"


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
