"""Figures of the chapter that builds a knee: outlines of bones, and a cohort beside real knees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from oacore.plots.style import COLOURS, GRADES, OKABE_ITO, require_columns, style_figure


def bone_outlines(sections: Mapping[str, Sequence[np.ndarray]], x: Any, z: Any) -> go.Figure:
    """Outlines of bones in a frontal plane, a line style for each shape; medial is on the right.

    Parameters
    ----------
    sections : mapping of a shape's name to arrays (len(x), len(z))
        Signed distances of its bones in mm, 0 on the surface; at most five shapes.
    x, z : array_like
        Places of the samples in mm, to the lateral side and upwards.
    """
    fig = go.Figure()
    dashes = ("solid", "dot", "dash", "dashdot", "longdash")
    for (name, bones), colour, dash in zip(sections.items(), COLOURS, dashes, strict=False):
        for i, distance in enumerate(bones):
            fig.add_contour(
                x=x, y=z, z=np.asarray(distance, np.float32).T, name=name, legendgroup=name,
                contours={"start": 0, "end": 0, "size": 1, "coloring": "none"},
                line={"color": colour, "dash": dash, "width": 2.5},
                showlegend=i == 0, showscale=False, hoverinfo="name",
            )  # fmt: skip
    style_figure(fig, height=480, xaxis_title="lateral to medial (mm)", yaxis_title="height (mm)")
    fig.update_yaxes(scaleanchor="x", constrain="domain")
    # A right knee from the front, as in coronal slices: lateral, which is high x, is on the left.
    return fig.update_xaxes(constrain="domain", autorange="reversed")


def beside_facts(table: pd.DataFrame, names: Mapping[str, str]) -> go.Figure:
    """Means by grade with their 95% intervals beside those of real knees, a panel a quantity.

    Parameters
    ----------
    table : DataFrame
        As :func:`.facts.beside_facts` gives it; rows by KL grade are drawn.
    names : mapping of a quantity to its panel's title
    """
    require_columns(table, "quantity", "by", "group", "measured", "low", "high", "real")
    columns, rows = 2, -(-len(names) // 2)
    fig = make_subplots(
        rows=rows, cols=columns, subplot_titles=list(names.values()),
        horizontal_spacing=0.12, vertical_spacing=0.28 / rows,
    )  # fmt: skip
    for i, quantity in enumerate(names):
        part = table[(table["quantity"] == quantity) & (table["by"] == "kl")]
        at = {"row": i // columns + 1, "col": i % columns + 1}
        # Side by side, so that neither hides the other.
        grade = part["group"].astype(float)
        error = {
            "array": part["high"] - part["measured"],
            "arrayminus": part["measured"] - part["low"], "thickness": 2,
        }  # fmt: skip
        fig.add_scatter(
            x=grade - 0.1, y=part["measured"], error_y=error, mode="markers", name="this cohort",
            marker={"size": 9, "symbol": "circle", "color": OKABE_ITO["blue"]},
            legendgroup="cohort", showlegend=i == 0,
            hovertemplate="KL %{customdata}: %{y:.2f}", customdata=part["group"], **at,
        )  # fmt: skip
        fig.add_scatter(
            x=grade + 0.1, y=part["real"], mode="markers", name="real knees",
            marker={"size": 11, "symbol": "diamond-open", "color": OKABE_ITO["vermilion"]},
            marker_line_width=2.5, legendgroup="real", showlegend=i == 0,
            hovertemplate="KL %{customdata}: %{y:.2f}", customdata=part["group"], **at,
        )  # fmt: skip
    fig.update_annotations(font_size=14)
    style_figure(fig, height=110 + 210 * rows, margin_t=84, legend_y=1 + 0.12 / rows)
    fig.update_xaxes(tickvals=GRADES, range=[-0.5, 4.5]).update_yaxes(rangemode="tozero")
    return fig.update_xaxes(title="KL grade", row=rows)
