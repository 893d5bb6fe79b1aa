"""Figures of the published record: confusion, calibration, p-values, failures, agreement."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from oacore.names import ANSWER_NAMES, METRIC_NAMES, SUPERVISION_NAMES
from oacore.plots.intervals import interval_panels
from oacore.plots.style import (
    COLOURS,
    GRADES,
    OKABE_ITO,
    SUPERVISION_COLOURS,
    SYMBOLS,
    require_columns,
    style_figure,
)


def printed_vs_recomputed(table: pd.DataFrame) -> go.Figure:
    """Printed against recomputed metrics: agreement lies on the line.

    Parameters
    ----------
    table : DataFrame
        ``backbone``, ``supervision``, ``metric``, ``printed``, ``recomputed``.
    """
    require_columns(table, "backbone", "supervision", "metric", "printed", "recomputed")
    both = table[["printed", "recomputed"]].to_numpy(float)
    fig = px.scatter(
        table.replace({"supervision": SUPERVISION_NAMES, "metric": METRIC_NAMES}),
        x="printed", y="recomputed", color="backbone", symbol="backbone", opacity=0.8,
        hover_data=["supervision", "metric"], symbol_sequence=SYMBOLS,
        color_discrete_sequence=COLOURS,
    )  # fmt: skip
    fig.update_traces(marker_size=10)
    fig.add_scatter(
        x=[np.nanmin(both), np.nanmax(both)], y=[np.nanmin(both), np.nanmax(both)], mode="lines",
        name="agreement", hoverinfo="skip", line={"color": "#1A1A1A", "width": 1, "dash": "dot"},
    )  # fmt: skip
    return style_figure(
        fig, height=460, xaxis_title="printed in the paper", yaxis_title="recomputed"
    )


def beside_detectable(table: pd.DataFrame) -> go.Figure:
    """Differences beside the band in which a true one would mostly be missed.

    Parameters
    ----------
    table : DataFrame
        ``backbone``, ``metric``, ``value``, and ``detectable`` of :func:`.power.detectable`.
    """
    require_columns(table, "backbone", "metric", "value", "detectable")
    found = table.assign(series="found", low=table["value"], high=table["value"])
    band = table.assign(
        series="smaller than detectable", value=0.0, low=-table["detectable"],
        high=table["detectable"],
    )  # fmt: skip
    return interval_panels(pd.concat([band, found], ignore_index=True), "Dual minus single")


def confusion_grid(answers: pd.DataFrame, names: dict[str, str]) -> go.Figure:
    """Confusion matrices of all models and heads: rows are backbones, columns heads (Fig. 5).

    Parameters
    ----------
    answers : DataFrame
        From :func:`.counts.answers`.
    names : dict
        Backbones in the order of the rows, with the words for them.
    """
    require_columns(answers, "backbone", "supervision", "level", "label", "answer", "knees")
    titles = [f"{name} {head}" for name in names.values() for head in ANSWER_NAMES.values()]
    fig = make_subplots(
        rows=len(names), cols=len(ANSWER_NAMES), horizontal_spacing=0.07, vertical_spacing=0.09,
        subplot_titles=titles,
    )  # fmt: skip
    for row, backbone in enumerate(names, start=1):
        for col, (supervision, level) in enumerate(ANSWER_NAMES, start=1):
            own = (answers["backbone"] == backbone) & (answers["supervision"] == supervision)
            part = answers[own & (answers["level"] == level)]
            ticks = ["no", "OA"] if level == "oa" else [str(grade) for grade in GRADES]
            counts = part.pivot(index="label", columns="answer", values="knees").to_numpy()
            share = counts / counts.sum(1, keepdims=True).clip(min=1)
            fig.add_heatmap(
                z=share, x=ticks, y=ticks, text=counts, texttemplate="%{text}", xgap=1, ygap=1,
                coloraxis="coloraxis", row=row, col=col,
                hovertemplate="labelled %{y}, predicted %{x}: %{text} (%{z:.0%} of the row)"
                "<extra></extra>",
            )  # fmt: skip
    bar = {
        "title": {"text": "share of the row", "side": "top"}, "tickformat": ".0%", "thickness": 12,
        "orientation": "h", "y": -0.1, "yanchor": "top", "x": 0, "xanchor": "left", "len": 0.4,
    }  # fmt: skip
    scale = {"colorscale": "Blues", "cmin": 0, "cmax": 1, "colorbar": bar}
    style_figure(fig, height=140 + 240 * len(names), margin_t=40, margin_b=130, coloraxis=scale)
    fig.update_annotations(font_size=13)
    fig.update_xaxes(type="category", showgrid=False, title_standoff=4)
    fig.update_yaxes(type="category", autorange="reversed", showgrid=False)
    fig.update_xaxes(title="predicted", row=len(names))
    return fig.update_yaxes(title="labelled", col=1)


def reliability(points: pd.DataFrame, names: dict[str, str]) -> go.Figure:
    """Reliability curves: predicted against observed shares of OA, a panel for each backbone.

    Parameters
    ----------
    points : DataFrame
        ``backbone``, ``supervision``, ``predicted``, ``observed``, ``low``, ``high``, ``n``.
    names : dict
        Backbones in the order of the panels, with the words for them.
    """
    require_columns(points, "backbone", "supervision", "predicted", "observed", "low", "high", "n")
    fig, height = _panels(names, 330)
    for row, backbone in enumerate(names, start=1):
        fig.add_scatter(
            x=[0, 1], y=[0, 1], mode="lines", line={"color": "#555555", "dash": "dot", "width": 1},
            name="calibrated", hoverinfo="skip", legendgroup="line", showlegend=row == 1,
            row=row, col=1,
        )  # fmt: skip
        for i, (supervision, name) in enumerate(SUPERVISION_NAMES.items()):
            part = points[(points["backbone"] == backbone) & (points["supervision"] == supervision)]
            fig.add_scatter(
                x=part["predicted"], y=part["observed"], mode="lines+markers", name=name,
                error_y={
                    "array": part["high"] - part["observed"], "thickness": 1,
                    "arrayminus": part["observed"] - part["low"],
                },
                marker={
                    "size": 9, "symbol": SYMBOLS[i], "color": SUPERVISION_COLOURS[supervision],
                },
                line={"width": 1.5}, legendgroup=name, showlegend=row == 1,
                customdata=part[["n", "low", "high"]], row=row, col=1,
                hovertemplate="predicted %{x:.2f}, observed %{y:.2f} "
                "[%{customdata[1]:.2f}, %{customdata[2]:.2f}], %{customdata[0]} knees",
            )  # fmt: skip
    style_figure(fig, height=height, margin_t=90, legend_y=1 + 30 / height)
    fig.update_annotations(font_size=14)
    fig.update_xaxes(range=[-0.02, 1.02], showticklabels=True)
    fig.update_xaxes(title="predicted probability of OA", row=len(names))
    return fig.update_yaxes(title="observed share", range=[-0.04, 1.04])


def by_grade(table: pd.DataFrame, names: dict[str, str]) -> go.Figure:
    """What models say of OA within each grade: mean probability, and (open) share called OA.

    Parameters
    ----------
    table : DataFrame
        From :func:`.calibration.by_grade`.
    names : dict
        Backbones in the order of the panels, with the words for them.
    """
    require_columns(table, "backbone", "supervision", "kl", "of", "value", "low", "high", "n")
    fig, height = _panels(names, 300)
    for row, backbone in enumerate(names, start=1):
        for i, (supervision, name) in enumerate(SUPERVISION_NAMES.items()):
            for j, (of, part) in enumerate(table.groupby("of", sort=False)):
                own = (part["backbone"] == backbone) & (part["supervision"] == supervision)
                here, open_mark = part[own], "-open" if j else ""
                fig.add_scatter(
                    x=here["kl"] + 0.27 * (i - 1) + 0.1 * j, y=here["value"], mode="markers",
                    name=name, legendgroup=name, showlegend=row == 1 and not j,
                    error_y={
                        "array": here["high"] - here["value"], "thickness": 1, "width": 2,
                        "arrayminus": here["value"] - here["low"],
                    },
                    marker={
                        "size": 8, "symbol": SYMBOLS[i] + open_mark,
                        "color": SUPERVISION_COLOURS[supervision],
                    },
                    customdata=here[["kl", "low", "high", "n"]], row=row, col=1,
                    hovertemplate=f"KL %{{customdata[0]}}, {of}: %{{y:.2f}} "
                    "[%{customdata[1]:.2f}, %{customdata[2]:.2f}], %{customdata[3]} knees",
                )  # fmt: skip
    fig.add_vline(1.5, line={"color": "#555555", "dash": "dot", "width": 1})
    style_figure(fig, height=height, margin_t=90, legend_y=1 + 30 / height)
    fig.update_annotations(font_size=14)
    fig.update_xaxes(tickvals=GRADES, range=[-0.5, 4.5], showticklabels=True, showgrid=False)
    fig.update_xaxes(title="labelled grade (OA from 2)", row=len(names))
    return fig.update_yaxes(title="says OA", range=[-0.04, 1.04])


def decision_curves(curves: pd.DataFrame, names: dict[str, str]) -> go.Figure:
    """Net benefit over thresholds, a panel for each backbone, with treating all and none.

    Parameters
    ----------
    curves : DataFrame
        From :func:`.decisions.decision_curves`. A click on the legend shows or hides a supervision
        with its band.
    names : dict
        Backbones in the order of the panels, with the words for them.
    """
    require_columns(curves, "backbone", "supervision", "threshold", "value", "low", "high")
    fig, height = _panels(names, 330)
    for row, backbone in enumerate(names, start=1):
        own = curves[curves["backbone"] == backbone]
        everybody = own.drop_duplicates("threshold")
        for name, y, dash in (
            ("treat all", everybody["treat_all"], "dash"),
            ("treat none", 0 * everybody["n"], "dot"),
        ):  # fmt: skip
            fig.add_scatter(
                x=everybody["threshold"], y=y, mode="lines", name=name, legendgroup=name,
                showlegend=row == 1, line={"color": "#1A1A1A", "dash": dash, "width": 1.5},
                row=row, col=1, hovertemplate=f"{name}: %{{y:.3f}}<extra></extra>",
            )  # fmt: skip
        for i, (supervision, name) in enumerate(SUPERVISION_NAMES.items()):
            part, colour = own[own["supervision"] == supervision], SUPERVISION_COLOURS[supervision]
            fig.add_scatter(
                x=[*part["threshold"], *part["threshold"][::-1]], fill="toself", opacity=0.12,
                y=[*part["high"], *part["low"][::-1]], line_width=0, fillcolor=colour,
                mode="lines", legendgroup=name, showlegend=False, hoverinfo="skip", row=row, col=1,
            )  # fmt: skip
            fig.add_scatter(
                x=part["threshold"], y=part["value"], mode="lines+markers", name=name,
                legendgroup=name, showlegend=row == 1, row=row, col=1,
                line={"color": colour, "width": 2}, marker={"size": 6, "symbol": SYMBOLS[i]},
                customdata=part[["low", "high", "gain"]],
                hovertemplate="from %{x:.2f}: %{y:.3f} [%{customdata[0]:.3f}, "
                "%{customdata[1]:.3f}], %{customdata[2]:+.3f} beside all or none",
            )  # fmt: skip
    style_figure(fig, height=height + 50, margin_t=140, legend_y=1 + 30 / height)
    fig.update_annotations(font_size=14)
    least = float(curves["value"].clip(lower=-0.15).min())
    fig.update_xaxes(range=[0, 1], showticklabels=True)
    fig.update_xaxes(title="probability from which one acts", row=len(names))
    top = float(curves["high"].max()) + 0.03
    return fig.update_yaxes(title="net benefit", range=[least - 0.05, top])


def _panels(names: dict[str, str], each: int) -> tuple[go.Figure, int]:
    """Panels of backbones below each other, and the figure's height."""
    height = 110 + each * len(names)
    fig = make_subplots(
        rows=len(names), shared_xaxes=True, subplot_titles=list(names.values()),
        vertical_spacing=60 / height,
    )  # fmt: skip
    return fig, height


def ranked_p(table: pd.DataFrame) -> go.Figure:
    """P-values from the least to the greatest, with the lines that three rules draw at 0.05.

    The level is that of a single test, of Holm's family-wise error, of Benjamini and Hochberg's
    rate.

    Parameters
    ----------
    table : DataFrame
        ``name``, ``p_value``, a row a test; rows without a p-value (NaN) are no tests.
    """
    require_columns(table, "name", "p_value")
    level = 0.05
    tested = table.dropna(subset="p_value")
    ranked = tested.sort_values("p_value", kind="stable").reset_index(drop=True)
    n = len(ranked)
    rank = list(range(1, n + 1))
    lines = {
        "each alone": ([level] * n, "dot", OKABE_ITO["orange"]),
        "Benjamini-Hochberg": ([level * k / n for k in rank], "solid", OKABE_ITO["green"]),
        "Holm": ([level / (n - k + 1) for k in rank], "dash", OKABE_ITO["purple"]),
    }
    fig = go.Figure()
    fig.add_scatter(
        x=rank, y=ranked["p_value"], mode="markers", name="p-value", text=ranked["name"],
        marker={"size": 10, "color": OKABE_ITO["blue"]},
        hovertemplate="%{text}: p = %{y:.4f}<extra></extra>",
    )  # fmt: skip
    for name, (y, dash, colour) in lines.items():
        fig.add_scatter(
            x=rank, y=y, mode="lines", name=f"limit: {name}", hoverinfo="skip",
            line={"dash": dash, "color": colour, "width": 2},
        )  # fmt: skip
    style_figure(fig, height=480, margin_t=110, xaxis_title="rank of the p-value")
    fig.update_xaxes(range=[0.3, n + 0.7], tickvals=rank[::3])
    ticks = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1]
    return fig.update_yaxes(
        title="p-value (logarithmic)",
        title_standoff=28,
        type="log",
        tickvals=ticks,
        ticktext=[f"{t:g}" for t in ticks],
    )


def models_right(table: pd.DataFrame) -> go.Figure:
    """Knees of each grade, a bar each, divided by how many models are right on them.

    Parameters
    ----------
    table : DataFrame
        From :func:`.counts.models_right`.
    """
    require_columns(table, "kl", "models_right", "knees")
    numbers = sorted(table["models_right"].unique())
    shades = sample_colorscale("Blues", [0.15 + 0.75 * i / numbers[-1] for i in numbers])
    shades[0] = OKABE_ITO["vermilion"]
    fig = go.Figure()
    for number, shade in zip(numbers, shades, strict=True):
        part = table[table["models_right"] == number]
        name = "none" if not number else "all" if number == numbers[-1] else str(number)
        fig.add_bar(
            y=[f"KL {grade}" for grade in part["kl"]], x=part["knees"], orientation="h", name=name,
            marker={"color": shade, "line": {"color": "#1A1A1A", "width": 0.5}},
            hovertemplate=f"%{{y}}: %{{x}} knees with {name} of the models right<extra></extra>",
        )  # fmt: skip
    style_figure(
        fig, height=360, margin_t=90, barmode="stack", xaxis_title="test knees",
        legend_title_text="models that are right", legend_title_side="top",
        legend_traceorder="normal",
    )  # fmt: skip
    return fig.update_yaxes(autorange="reversed", showgrid=False)


def agreement_matrix(pairs: pd.DataFrame, names: dict[str, str]) -> go.Figure:
    """Kappa of each two models, written into a square.

    Parameters
    ----------
    pairs : DataFrame
        ``first``, ``second``, ``kappa``.
    names : dict
        Models in their order, with the words for them.
    """
    require_columns(pairs, "first", "second", "kappa")
    words = list(names.values())
    square = pd.DataFrame(index=words, columns=words, dtype=float)
    for row in pairs.to_dict("records"):
        square.loc[names[row["second"]], names[row["first"]]] = row["kappa"]
    fig = go.Figure()
    fig.add_heatmap(
        z=square.iloc[1:, :-1], x=words[:-1], y=words[1:], texttemplate="%{z:.2f}", xgap=2, ygap=2,
        colorscale="Blues", zmin=0, zmax=1, showscale=False, hoverongaps=False,
        hovertemplate="%{y} and %{x}: kappa %{z:.2f}<extra></extra>",
    )  # fmt: skip
    style_figure(fig, height=200 + 44 * len(words), margin_t=16)
    fig.update_xaxes(showgrid=False, tickangle=-40)
    return fig.update_yaxes(autorange="reversed", showgrid=False)
