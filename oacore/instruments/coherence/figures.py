"""Figures of the grades and of what measures their coherence: from tidy tables to plotly."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from oacore.instruments.coherence.patterns import GRADE_NAMES
from oacore.plots.style import COLOURS, SYMBOLS, require_columns, style_figure

#: Degrees between two positions of the figure that turns.
_STEP = 15
#: Of the line that the slider chooses, and of the others.
_WIDTHS = 4, 1.5


def incoherence_curves(table: pd.DataFrame) -> go.Figure:
    """The incoherence loss and its gradient against g, a line for each tau; a slider thickens one.

    The supplement's Figures 1 and 2 of arXiv:2112.09177.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.mixture.loss_curves`.
    """
    require_columns(table, "tau", "g", "loss", "gradient")
    titles = ["loss", "gradient in g"]
    fig = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.08)
    taus = list(dict.fromkeys(table["tau"]))
    for row, column in enumerate(("loss", "gradient"), start=1):
        for i, tau in enumerate(taus):
            part = table[table["tau"] == tau]
            fig.add_scatter(
                x=part["g"], y=part[column], mode="lines", name=f"τ = {tau:g}",
                legendgroup=f"{tau:g}", showlegend=row == 1,
                line={"color": COLOURS[i % len(COLOURS)], "width": _WIDTHS[i > 0],
                      "dash": ("solid", "dash", "dot", "dashdot", "longdash")[i % 5]},
                hovertemplate="g %{x:.1f}: %{y:.3f}", row=row, col=1,
            )  # fmt: skip
        fig.update_yaxes(title=titles[row - 1], row=row, col=1)
    fig.update_xaxes(title="log-density g (nats)", row=2, col=1)
    steps = [
        {"label": f"{tau:g}", "method": "restyle",
         "args": [{"line.width": [_WIDTHS[other != tau] for other in taus] * 2}]}
        for tau in taus
    ]  # fmt: skip
    slider = {"steps": steps, "currentvalue": {"prefix": "τ = "}, "pad": {"t": 56}}
    return style_figure(fig, height=640, sliders=[slider], margin_b=150)


def turned_mixture(points: pd.DataFrame, centres: pd.DataFrame) -> go.Figure:
    """Patterns of grades in space, with a mixture's means, turned by a slider.

    The book's plotly draws in the plane, so that what turns is computed here: the first principal
    axis stands upright, the slider turns the other two about it. The area of a mark follows the
    number of knees, or the weight of a component.

    Parameters
    ----------
    points, centres : DataFrame
        Of :func:`.mixture.projected`.
    """
    require_columns(points, *GRADE_NAMES, "count", "pc1", "pc2", "pc3")
    require_columns(centres, "weight", "pc1", "pc2", "pc3")
    groups = [part for _, part in points.groupby("kl")]
    fig = go.Figure()
    most = np.sqrt(points["count"].max())
    for part in groups:
        kl = int(part["kl"].iloc[0])
        words = [
            ", ".join(f"{GRADE_NAMES[name]} {row[name]}" for name in GRADE_NAMES)
            + f"<br>{row['count']} knees"
            for row in part.to_dict("records")
        ]
        fig.add_scatter(
            x=_across(part, 0), y=part["pc1"].round(3), mode="markers", name=f"KL {kl}",
            text=words, hovertemplate="%{text}<extra></extra>",
            marker={"size": 4 + 26 * np.sqrt(part["count"]) / most, "symbol": SYMBOLS[kl],
                    "color": COLOURS[kl], "opacity": 0.6, "line_width": 0},
        )  # fmt: skip
    fig.add_scatter(
        x=_across(centres, 0), y=centres["pc1"].round(3), mode="markers", name="component's mean",
        text=[f"weight {weight:.2f}" for weight in centres["weight"]],
        hovertemplate="%{text}<extra></extra>",
        marker={"size": 8 + 30 * np.sqrt(centres["weight"]), "symbol": "x-thin",
                "line": {"width": 3, "color": "#1A1A1A"}},
    )  # fmt: skip
    steps = [
        {"label": f"{angle}°", "method": "restyle",
         "args": [{"x": [_across(part, angle).tolist() for part in (*groups, centres)]}]}
        for angle in range(0, 360, _STEP)
    ]  # fmt: skip
    slider = {"steps": steps, "currentvalue": {"prefix": "turned by "}, "pad": {"t": 72}}
    style_figure(fig, height=650, sliders=[slider], margin_b=165, margin_t=84)
    # The same range at every angle, so that what moves is what turns.
    both = pd.concat([points, centres])
    reach = 1.06 * float(np.hypot(both["pc2"], both["pc3"]).max())
    fig.update_xaxes(title="second and third axis, as seen", range=[-reach, reach])
    return fig.update_yaxes(title="first principal axis")


def _across(table: pd.DataFrame, angle: float) -> pd.Series:
    """Where points stand from left to right once they are turned about the first axis."""
    turn = np.deg2rad(angle)
    return (np.cos(turn) * table["pc2"] + np.sin(turn) * table["pc3"]).round(3)


def grades_together(table: pd.DataFrame) -> go.Figure:
    """Which grades go together: the share of knees with one grade that have another.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.patterns.pairwise`.
    """
    require_columns(table, "given", "found", "knees", "share")
    names = list(dict.fromkeys(table["given"]))
    share = table.pivot(index="given", columns="found", values="share").loc[names, names]
    knees = table.drop_duplicates("given").set_index("given").loc[names, "knees"]
    bar = {
        "title": {"text": "share of the row's knees", "side": "top"}, "tickformat": ".0%",
        "thickness": 12, "orientation": "h", "y": -0.2, "yanchor": "top", "len": 0.6,
    }  # fmt: skip
    fig = go.Figure(
        go.Heatmap(
            z=share, x=names, y=names, colorscale="Blues", zmin=0, zmax=1, colorbar=bar,
            customdata=np.tile(knees.to_numpy()[:, None], len(names)),
            hovertemplate="of %{customdata} knees with %{y}, %{z:.0%} have %{x}<extra></extra>",
        )
    )  # fmt: skip
    heads = [name.rpartition(" ")[0] for name in names]
    for i in range(1, len(names)):
        if heads[i] != heads[i - 1]:
            fig.add_hline(i - 0.5, line_color="#666666", line_width=1)
            fig.add_vline(i - 0.5, line_color="#666666", line_width=1)
    style_figure(fig, height=720, margin_t=24, margin_b=190)
    fig.update_xaxes(title="found", showgrid=False, tickfont_size=11, tickangle=-90, dtick=1)
    return fig.update_yaxes(
        title="given", title_standoff=24, autorange="reversed", showgrid=False, tickfont_size=11,
        dtick=1,
    )  # fmt: skip


def told_apart(table: pd.DataFrame) -> go.Figure:
    """AUC of each measure at each kind of false grades: means over the seeds, and their SD.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.trial.held_out` whose measure is an AUC.
    """
    require_columns(table, "score", "measure", "value")
    keys = ["score", "measure"]
    found = table.groupby(keys, sort=False)["value"].agg(["mean", "std"]).reset_index()
    order = {name: list(dict.fromkeys(table[name])) for name in keys}
    fig = px.bar(
        found, y="score", x="mean", color="measure", pattern_shape="measure", barmode="group",
        error_x=found["std"].fillna(0), orientation="h", category_orders=order,
        color_discrete_sequence=COLOURS, pattern_shape_sequence=["", "/", "x"],
    )  # fmt: skip
    fig.update_traces(hovertemplate="%{y}: %{x:.3f}")
    style_figure(fig, height=120 + 62 * len(order["score"]), xaxis_title="AUC", yaxis_title="")
    return fig.update_xaxes(range=[0.5, 1])
