"""Figures of many models: a panel for each backbone, one below the other, so that a phone fits."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from oacore.names import HEAD_NAMES, NAMES, SUPERVISION_NAMES
from oacore.plots.style import COLOURS, SUPERVISION_COLOURS, SYMBOLS, require_columns, style_figure

#: Dual's heads where they stand side by side; its OA head has the colour of Dual.
HEAD_COLOURS = {
    f"{SUPERVISION_NAMES['dual']}, {head}": colour
    for head, colour in zip(HEAD_NAMES.values(), COLOURS[2:], strict=False)
}


def interval_panels(
    table: pd.DataFrame,
    title: str = "difference (95% interval)",
    line: float | None = 0,
    series: str = "supervision",
) -> go.Figure:
    """Values of several metrics with their intervals, in panels that share one axis.

    Parameters
    ----------
    table : DataFrame
        A row a value: ``metric``; ``value``, with ``low`` and ``high`` or, for the range over
        seeds, ``seed_low`` and ``seed_high``; ``panel``, or else ``backbone``, of which each has a
        panel; ``series``, or else the column of that name. Backbones, supervisions and metrics
        get their written names; another one may have two lines, with ``<br>`` between them. At
        most five series; supervisions have their colours of the book.
    title : str
        Of the axis.
    line : float, optional
        Where a line marks a value; zero for differences.
    series : str
        The column by which values differ in colour, where there is no ``series``.
    """
    table = _said(table, series)
    require_columns(table, "panel", "series", "metric", "value", "low", "high")
    panels, metrics = list(dict.fromkeys(table["panel"])), list(dict.fromkeys(table["metric"]))
    entries = list(dict.fromkeys(table["series"]))
    supervisions = {NAMES[key]: colour for key, colour in SUPERVISION_COLOURS.items()}
    supervisions |= HEAD_COLOURS
    plain = dict(zip(entries, COLOURS, strict=False))
    height = 130 + len(panels) * (50 + 40 * len(metrics))
    fig = make_subplots(
        rows=len(panels), shared_xaxes=True, subplot_titles=panels, vertical_spacing=50 / height
    )
    drawn = set()
    for row, panel in enumerate(panels, start=1):
        here = dict(list(table[table["panel"] == panel].groupby("series")))
        names = [name for name in entries if name in here]
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
                    "size": 9, "symbol": SYMBOLS[entries.index(name)],
                    "color": supervisions.get(name, plain[name]),
                },
                hovertemplate="%{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]",
                row=row, col=1,
            )  # fmt: skip
            drawn.add(name)
    if line is not None:
        fig.add_vline(line, line_color="#1A1A1A", line_width=1)
    words = [NAMES.get(metric, metric) for metric in metrics]
    # Titles start above the metrics' names: centred, long ones would not fit on a phone.
    room = 20 + 7 * max(len(line) for word in words for line in word.split("<br>"))  # px
    fig.update_annotations(x=0, xanchor="left", xshift=-room, font_size=14)
    # The legend may need two lines on a phone, and the first panel's title stands below it.
    style_figure(fig, height=height, margin_t=96, margin_l=room, legend_y=1 + 32 / height)
    fig.update_yaxes(
        tickvals=list(range(len(metrics))), ticktext=words, range=[len(metrics) - 0.5, -0.5]
    )
    lines = "<br>".join(wrap(title.replace("95% interval", "95%\N{NO-BREAK SPACE}interval"), 22))
    fig.update_xaxes(showticklabels=True).update_xaxes(title=lines, row=len(panels))
    return for_phones(fig)


def _said(table: pd.DataFrame, series: str) -> pd.DataFrame:
    """The table with the words of its panels and series, and its range over seeds as limits."""
    said: dict[str, Any] = {}
    for column, key in (("panel", "backbone"), ("series", series)):
        if column not in table and key in table:
            said[column] = [f"seed {v}" if key == "seed" else NAMES.get(v, v) for v in table[key]]
    for end in ("low", "high"):
        if f"seed_{end}" in table:
            said[end] = table[f"seed_{end}"]
    return table.assign(**said)


def backbone_pairs(table: pd.DataFrame, form: str = "{backbone} minus {reference}") -> pd.DataFrame:
    """Differences of two backbones with a `panel` for each pair, as :func:`interval_panels` needs.

    Parameters
    ----------
    table : DataFrame
        ``backbone``, ``reference``.
    form : str
        Of the panels' titles.
    """
    named = table[["backbone", "reference"]].replace(NAMES)
    pairs = zip(named["backbone"], named["reference"], strict=True)
    return table.assign(panel=[form.format(backbone=a, reference=b) for a, b in pairs])


def coverage_panels(record: pd.DataFrame) -> go.Figure:
    """How often simulated intervals held the truth, by seeds and by how much these differ.

    Parameters
    ----------
    record : DataFrame
        Rows of ``workflow.coverage`` of at most five measures: measure, over, seeds, auc_sd,
        nominal, covered, low, high.
    """
    require_columns(record, "measure", "over", "seeds", "auc_sd", "nominal", "covered")
    rows = record.sort_values(["auc_sd", "seeds"], kind="stable")
    said = rows.assign(
        value=rows["covered"],
        panel=[f"AUCs of seeds, SD {sd:.2f}" for sd in rows["auc_sd"]],
        series=rows["measure"].map(NAMES).fillna(rows["measure"]),
        metric=[f"{n} seeds" if n > 1 else "1 seed" for n in rows["seeds"]],
    )
    title = "share that holds the truth (95% interval)"
    return interval_panels(said, title=title, line=float(rows["nominal"].iloc[0]))


def for_phones(fig: go.Figure) -> go.Figure:
    """A finger scrolls past instead of zooming, and a legend of a line an entry has its room."""
    entries = len({trace.name for trace in fig.data})
    more = max(36 + 32 * entries - fig.layout.margin.t, 0)  # px
    return fig.update_layout(
        dragmode=False, modebar_remove=["zoom", "pan", "zoomIn", "zoomOut", "resetScale"],
        margin_t=fig.layout.margin.t + more, height=fig.layout.height + more,
    )  # fmt: skip
