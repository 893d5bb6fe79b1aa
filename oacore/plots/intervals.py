"""Figures of many models: a panel for each backbone, one below the other, so that a phone fits."""

from __future__ import annotations

from textwrap import wrap

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from oacore.names import METRIC_NAMES, SUPERVISION_NAMES
from oacore.plots.style import COLOURS, SUPERVISION_COLOURS, SYMBOLS, require_columns, style_figure

#: Dual's heads where they stand side by side; its OA head has the colour of Dual.
HEAD_COLOURS = {"Dual, OA head": COLOURS[2], "Dual, KL head": COLOURS[3]}


def interval_panels(
    table: pd.DataFrame, title: str = "difference (95% interval)", line: float | None = 0
) -> go.Figure:
    """Values of the six metrics with their intervals, in panels that share one axis.

    Parameters
    ----------
    table : DataFrame
        ``panel``, ``series``, ``metric``, ``value``, ``low``, ``high``, a row a value. At most
        five series; supervisions by their names have their colours of the book.
    title : str
        Of the axis.
    line : float, optional
        Where a line marks a value; zero for differences.
    """
    require_columns(table, "panel", "series", "metric", "value", "low", "high")
    panels, metrics = list(dict.fromkeys(table["panel"])), list(dict.fromkeys(table["metric"]))
    series = list(dict.fromkeys(table["series"]))
    supervisions = {SUPERVISION_NAMES[key]: colour for key, colour in SUPERVISION_COLOURS.items()}
    supervisions |= HEAD_COLOURS
    plain = dict(zip(series, COLOURS, strict=False))
    height = 130 + len(panels) * (50 + 40 * len(metrics))
    fig = make_subplots(
        rows=len(panels), shared_xaxes=True, subplot_titles=panels, vertical_spacing=50 / height
    )
    drawn = set()
    for row, panel in enumerate(panels, start=1):
        here = dict(list(table[table["panel"] == panel].groupby("series")))
        names = [name for name in series if name in here]
        for name, part in ((name, here[name]) for name in names):
            offset = 0.6 * ((names.index(name) + 0.5) / len(names) - 0.5)
            fig.add_scatter(
                x=part["value"], y=[metrics.index(metric) + offset for metric in part["metric"]],
                error_x={
                    "array": part["high"] - part["value"], "thickness": 2, "width": 3,
                    "arrayminus": part["value"] - part["low"],
                },
                customdata=part[["low", "high"]], mode="markers", name=name, legendgroup=name,
                showlegend=name not in drawn,
                marker={
                    "size": 9, "symbol": SYMBOLS[series.index(name)],
                    "color": supervisions.get(name, plain[name]),
                },
                hovertemplate="%{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]",
                row=row, col=1,
            )  # fmt: skip
            drawn.add(name)
    if line is not None:
        fig.add_vline(line, line_color="#1A1A1A", line_width=1)
    # Titles start above the metrics' names: centred, long ones would not fit on a phone.
    fig.update_annotations(x=0, xanchor="left", xshift=-104, font_size=14)
    words = [METRIC_NAMES.get(metric, metric) for metric in metrics]
    # The legend may need two lines on a phone, and the first panel's title stands below it.
    style_figure(fig, height=height, margin_t=96, legend_y=1 + 32 / height)
    fig.update_yaxes(
        tickvals=list(range(len(metrics))), ticktext=words, range=[len(metrics) - 0.5, -0.5]
    )
    lines = "<br>".join(wrap(title.replace("95% interval", "95%\N{NO-BREAK SPACE}interval"), 22))
    fig.update_xaxes(showticklabels=True).update_xaxes(title=lines, row=len(panels))
    return for_phones(fig)


def for_phones(fig: go.Figure) -> go.Figure:
    """A finger scrolls past instead of zooming, and a legend of a line an entry has its room."""
    entries = len({trace.name for trace in fig.data})
    more = max(36 + 32 * entries - fig.layout.margin.t, 0)  # px
    return fig.update_layout(
        dragmode=False, modebar_remove=["zoom", "pan", "zoomIn", "zoomOut", "resetScale"],
        margin_t=fig.layout.margin.t + more, height=fig.layout.height + more,
    )  # fmt: skip
