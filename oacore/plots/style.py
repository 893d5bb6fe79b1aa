"""One look for all figures of the book.

Colours are the set of Okabe and Ito (2008), which stay apart for colour-blind readers; a symbol,
a panel or a written number says the same again.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from oacore.errors import InputError

OKABE_ITO = {
    "orange": "#E69F00",
    "sky blue": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
}
SUPERVISION_COLOURS = {
    "single_oa": OKABE_ITO["orange"],
    "single_kl": OKABE_ITO["blue"],
    "dual": OKABE_ITO["green"],
}
COLOURS = [OKABE_ITO[name] for name in ("blue", "orange", "green", "purple", "vermilion")]
SYMBOLS = ["circle", "diamond", "square", "triangle-up", "cross"]
GRADES = [0, 1, 2, 3, 4]
KL_TITLE = "Kellgren-Lawrence grade"
_AXIS = {
    "gridcolor": "#E3E3E3", "linecolor": "#666666", "zeroline": False, "automargin": True,
    "title_standoff": 10,
}  # fmt: skip


def style_figure(fig: go.Figure, height: int = 420, **layout: Any) -> go.Figure:
    """Give a figure the book's look: white, legible at phone width, legend above the plot."""
    font = {"family": "system-ui, 'Segoe UI', 'Liberation Sans', sans-serif", "size": 14}
    fig.update_layout(
        template="none",
        height=height,
        colorway=COLOURS,
        font={**font, "color": "#1A1A1A"},
        hoverlabel={"font_size": 14},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "title_text": ""},
        margin={"l": 56, "r": 12, "t": 56, "b": 56},
        paper_bgcolor="white",
        plot_bgcolor="white",
    )
    fig.update_layout(**layout)
    return fig.update_xaxes(**_AXIS).update_yaxes(**_AXIS)


def require_columns(table: pd.DataFrame, *columns: str) -> None:
    """Refuse a table that is empty or lacks a column."""
    if missing := [column for column in columns if column not in table]:
        raise InputError(f"figure: the table lacks the column {missing[0]!r}: {list(table)}.")
    if table.empty:
        raise InputError("figure: the table has no row: nothing to draw.")
