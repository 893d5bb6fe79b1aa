"""Figures of the radiomics chapter: features along the grade, and two studies beside ours."""

from __future__ import annotations

from textwrap import wrap

import pandas as pd
import plotly.express as px
import plotly.graph_objects as go

from oacore.names import METRIC_NAMES
from oacore.plots.style import COLOURS, SYMBOLS, require_columns, style_figure


def feature_correlations(table: pd.DataFrame) -> go.Figure:
    """Rank correlation of every feature with the grade, a row of points for each region.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.table.grade_correlations`.
    """
    require_columns(table, "region", "family", "feature", "rho")
    shape = table["family"].eq("shape")
    first = table["family"].eq("firstorder")
    kinds = shape.map({True: "shape", False: "texture"}).mask(first, "intensity")
    fig = px.strip(
        table.assign(kind=kinds, place=["<br>".join(wrap(name, 12)) for name in table["region"]]),
        x="rho", y="place", color="kind", hover_data={"feature": True, "rho": ":.2f"},
        category_orders={"kind": ["shape", "intensity", "texture"]},
        color_discrete_sequence=COLOURS,
    )  # fmt: skip
    for trace, symbol in zip(fig.data, SYMBOLS, strict=False):
        trace.marker.update(symbol=symbol, size=6, opacity=0.75)
    fig.add_vline(0, line_color="#1A1A1A", line_width=1)
    style_figure(fig, height=560, yaxis_title="", xaxis_title="rank correlation with KL")
    return fig.update_yaxes(autorange="reversed")


def beside_each_other(table: pd.DataFrame) -> go.Figure:
    """Scores of models from several sources, one metric at a time, chosen from a list.

    Parameters
    ----------
    table : DataFrame
        ``source``, ``model``, ``metric``, ``value``, ``low``, ``high`` (missing where there is no
        interval), a row a figure; drawn in this order, the first metric shown first.
    """
    require_columns(table, "source", "model", "metric", "value", "low", "high")
    names = METRIC_NAMES | {"oa_f1": "OA F1 (of OA)", "oa_macro_f1": "OA macro-F1"}
    metrics, sources = (list(dict.fromkeys(table[name])) for name in ("metric", "source"))
    fig, buttons, axes = go.Figure(), [], []
    for metric in metrics:
        rows = table[table["metric"] == metric].reset_index(drop=True)
        for i, source in enumerate(sources):
            part = rows[rows["source"] == source]
            fig.add_scatter(
                x=part["value"], y=part.index, name=source, mode="markers", text=part["model"],
                error_x={
                    "array": part["high"] - part["value"], "thickness": 2, "width": 3,
                    "arrayminus": part["value"] - part["low"],
                },
                marker={"size": 9, "symbol": SYMBOLS[i], "color": COLOURS[i]},
                visible=metric == metrics[0], meta=metric,
                hovertemplate="%{text}: %{x:.3f}",
            )  # fmt: skip
        words = ["<br>".join(wrap(name, 17, break_on_hyphens=False)) for name in rows["model"]]
        axes.append({
            "yaxis.tickvals": list(rows.index), "yaxis.ticktext": words,
            "yaxis.range": [len(rows) - 0.5, -0.5], "xaxis.title.text": names.get(metric, metric),
        })  # fmt: skip
    for metric, axis in zip(metrics, axes, strict=True):
        visible = [trace.meta == metric for trace in fig.data]
        label = names.get(metric, metric)
        buttons.append({"label": label, "method": "update", "args": [{"visible": visible}, axis]})
    plot = 36 * max(len(axis["yaxis.ticktext"]) for axis in axes)
    # Above the plot a legend of up to three lines, above that the list, then plotly's own buttons.
    menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1 + 130 / plot, "yanchor": "top"}
    style_figure(fig, height=plot + 170 + 56, margin_t=170, updatemenus=[menu])
    fig.update_yaxes(tickfont_size=12)
    return fig.update_layout({key.replace(".", "_"): value for key, value in axes[0].items()})
