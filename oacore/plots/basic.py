"""Figures of a cohort and of one backbone: functions from tidy tables to plotly figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.metrics import confusion_matrix

from oacore.errors import InputError
from oacore.names import HEAD_NAMES, METRIC_NAMES, SUPERVISION_NAMES, ordered
from oacore.plots.style import (
    COLOURS,
    GRADES,
    KL_TITLE,
    OKABE_ITO,
    SUPERVISION_COLOURS,
    SYMBOLS,
    require_columns,
    style_figure,
)

#: Knees in the smallest group whose quantiles are shown where single knees are not.
LEAST = 5


def _graded(table: pd.DataFrame) -> pd.DataFrame:
    """Grades as words, in order; knees without a grade become a group of their own."""
    table = table.sort_values("kl", na_position="last", kind="stable")
    return table.assign(kl=[str(int(k)) if pd.notna(k) else "none" for k in table["kl"]])


def _boxes(
    table: pd.DataFrame, value: str, group: str, colours: dict[str, str], single: bool
) -> go.Figure:
    """Boxes of a value by grade and group, and every knee where there are few and it is allowed."""
    table = _graded(table)
    if not single:
        return _quartiles(table, value, group, colours)
    few = len(table) <= 150 * table[group].nunique()
    fig = px.box(
        table, x="kl", y=value, color=group, points="all" if few else "outliers",
        color_discrete_map=colours, color_discrete_sequence=COLOURS,
        category_orders={"kl": sorted(set(table["kl"])), group: list(colours)},
    )  # fmt: skip
    fig.update_traces(jitter=0.5, pointpos=0, marker_size=5)
    for trace, symbol in zip(fig.data, SYMBOLS, strict=False):
        trace.marker.symbol = symbol
    return style_figure(fig, boxmode="group", xaxis_title=KL_TITLE, xaxis_type="category")


def _quartiles(table: pd.DataFrame, value: str, group: str, colours: dict[str, str]) -> go.Figure:
    """The same boxes from five quantiles alone: no value of a single knee is in the figure.

    Groups of fewer than `LEAST` knees are left out; whiskers reach from the 5th to the 95th
    percentile, not to the extreme knees; all is rounded to a tenth of the spread's power of ten,
    since a quantile of few knees is the value of one.
    """
    grades = sorted(set(table["kl"]))
    fig = go.Figure()
    names = [*colours, *(name for name in table[group].unique() if name not in colours)]
    for i, name in enumerate(names):
        part = table[table[group] == name].groupby("kl")[value]
        part = part.quantile([0.05, 0.25, 0.5, 0.75, 0.95]).unstack()[part.count() >= LEAST]
        spread = part[0.95].max() - part[0.05].min() if len(part) else 0
        part = part.round(1 - int(np.floor(np.log10(spread))) if spread > 0 else 0)
        fig.add_box(
            x=list(part.index), lowerfence=part[0.05], q1=part[0.25], median=part[0.5],
            q3=part[0.75], upperfence=part[0.95], name=str(name),
            marker_color=colours.get(name, COLOURS[i % len(COLOURS)]),
        )  # fmt: skip
    fig.update_xaxes(categoryorder="array", categoryarray=grades)
    return style_figure(fig, boxmode="group", xaxis_title=KL_TITLE, xaxis_type="category")


def kl_by_split(cases: pd.DataFrame) -> go.Figure:
    """Knees by Kellgren-Lawrence grade in each split, counts written on the bars.

    Parameters
    ----------
    cases : DataFrame
        ``split``, ``kl`` (0-4 or missing), a row a knee.
    """
    require_columns(cases, "split", "kl")
    counts = _graded(cases).groupby(["kl", "split"]).size().rename("knees").reset_index()
    fig = px.bar(
        counts, x="kl", y="knees", color="split", pattern_shape="split", text="knees",
        barmode="group", pattern_shape_sequence=["", "/"], color_discrete_sequence=COLOURS,
        category_orders={"kl": sorted(set(counts["kl"])), "split": ["train", "test"]},
    )  # fmt: skip
    fig.update_traces(textposition="outside", cliponaxis=False)
    return style_figure(fig, xaxis_title=KL_TITLE, xaxis_type="category", yaxis_title="knees")


def ages(cases: pd.DataFrame, single: bool = True) -> go.Figure:
    """Age by grade and sex: quartiles and, in small cohorts, every knee.

    Parameters
    ----------
    cases : DataFrame
        ``kl``, ``sex``, ``age`` in years, a row a knee.
    single : bool
        Whether values of single knees may be in the figure; else quantiles of groups of at least
        `LEAST` knees are.
    """
    require_columns(cases, "kl", "sex", "age")
    colours = {"female": OKABE_ITO["blue"], "male": OKABE_ITO["orange"]}
    return _boxes(cases, "age", "sex", colours, single).update_yaxes(title="age (years)")


def cartilage_volumes(table: pd.DataFrame, single: bool = True) -> go.Figure:
    """Cartilage volume by grade, a colour a region.

    Parameters
    ----------
    table : DataFrame
        ``kl``, ``region``, ``volume_cm3``, a row a knee and region.
    single : bool
        As in :func:`ages`.
    """
    require_columns(table, "kl", "region", "volume_cm3")
    fig = _boxes(table, "volume_cm3", "region", {}, single)
    return fig.update_yaxes(title="cartilage volume (cm³)", rangemode="tozero")


def learning_curves(history: pd.DataFrame) -> go.Figure:
    """Cross-entropy of each head by epoch, a line a run; dotted, what guessing evenly costs.

    Full lines are the loss as training sees it; dashed ones that of some of the training knees in
    evaluation mode, after the epoch (:data:`.loop.EVALUATED`).

    Parameters
    ----------
    history : DataFrame
        ``supervision``, ``seed``, ``epoch``, ``loss``, ``loss_oa``, ``loss_kl`` (nats; missing
        where a supervision lacks the head), and the latter two with ``_evaluated``, a row an epoch
        of a run.
    """
    require_columns(history, "supervision", "seed", "epoch", "loss", "loss_oa", "loss_kl")
    require_columns(history, "loss_oa_evaluated", "loss_kl_evaluated")
    heads = {
        "loss_oa": (f"{HEAD_NAMES['oa']} (two classes)", 2),
        "loss_kl": (f"{HEAD_NAMES['kl']} (five grades)", 5),
    }
    titles = [title for title, _ in heads.values()]
    fig = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.12, subplot_titles=titles)
    for name in ordered(history["supervision"]):
        runs = history[history["supervision"] == name].groupby("seed")
        for i, (seed, run) in enumerate(runs):
            drawn = [column for column in heads if run[column].notna().any()]
            for column in drawn:
                fig.add_scatter(
                    x=run["epoch"], y=run[column], mode="lines+markers",
                    name=SUPERVISION_NAMES[name], legendgroup=name,
                    showlegend=i == 0 and column == drawn[0],
                    line_color=SUPERVISION_COLOURS[name],
                    marker={"size": 6, "symbol": SYMBOLS[list(SUPERVISION_NAMES).index(name)]},
                    hovertemplate=f"seed {seed}, epoch %{{x}}: %{{y:.3f}}",
                    row=list(heads).index(column) + 1, col=1,
                )  # fmt: skip
                fig.add_scatter(
                    x=run["epoch"], y=run[f"{column}_evaluated"], mode="lines",
                    name=f"{SUPERVISION_NAMES[name]}, evaluated", legendgroup=name,
                    showlegend=False, line={"color": SUPERVISION_COLOURS[name], "dash": "dash"},
                    hovertemplate=f"seed {seed}, evaluated after epoch %{{x}}: %{{y:.3f}}",
                    row=list(heads).index(column) + 1, col=1,
                )  # fmt: skip
    for row, (_, classes) in enumerate(heads.values(), start=1):
        fig.add_hline(np.log(classes), line_dash="dot", line_color="#555555", row=row, col=1)
    style_figure(fig, height=560, margin_t=84, legend_y=1.08)
    fig.update_yaxes(title="loss (nats)", rangemode="tozero")
    return fig.update_xaxes(title="epoch", row=2, col=1)


def confusion(predictions: pd.DataFrame, level: str) -> go.Figure:
    """Confusion matrices, a panel a supervision: counts written, colour the share of the row.

    Parameters
    ----------
    predictions : DataFrame
        The tidy predictions of one backbone and one split; seeds are added up.
    level : {"oa", "kl"}
        Two classes or five grades.
    """
    require_columns(predictions, "backbone", "supervision", "split", level, f"pred_{level}")
    for column in ("backbone", "split"):
        if predictions[column].nunique() > 1:
            raise InputError(f"confusion: more than one {column} in the table: choose one.")
    known = predictions.dropna(subset=[level, f"pred_{level}"])
    names = ordered(known["supervision"])
    classes = [0, 1] if level == "oa" else GRADES
    ticks = ["no OA", "OA"] if level == "oa" else [f"{grade}" for grade in classes]
    fig = make_subplots(
        cols=len(names), shared_yaxes=True, horizontal_spacing=0.04,
        subplot_titles=[SUPERVISION_NAMES[name] for name in names],
    )  # fmt: skip
    for col, name in enumerate(names, start=1):
        part = known[known["supervision"] == name]
        truth, guess = part[level].astype(int), part[f"pred_{level}"].astype(int)
        counts = confusion_matrix(truth, guess, labels=classes)
        share = counts / counts.sum(1, keepdims=True).clip(min=1)
        fig.add_heatmap(
            z=share, x=ticks, y=ticks, text=counts, texttemplate="%{text}",
            coloraxis="coloraxis", xgap=2, ygap=2,
            hovertemplate="labelled %{y}, predicted %{x}: %{text} (%{z:.0%})<extra></extra>",
            row=1, col=col,
        )  # fmt: skip
    bar = {
        "title": {"text": "share of the row", "side": "top"}, "tickformat": ".0%", "thickness": 12,
        "orientation": "h", "y": -0.26, "yanchor": "top", "len": 0.6,
    }  # fmt: skip
    scale = {"colorscale": "Blues", "cmin": 0, "cmax": 1, "colorbar": bar}
    style_figure(fig, height=460, margin_t=32, margin_b=140, coloraxis=scale)
    word = "KL" if level == "kl" else "class"
    fig.update_xaxes(title=f"predicted {word}", type="category", showgrid=False)
    fig.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return fig.update_yaxes(title=f"labelled {word}", row=1, col=1)


def probability_by_grade(predictions: pd.DataFrame, single: bool = True) -> go.Figure:
    """Predicted probability of OA by the knee's grade, a colour a supervision.

    Parameters
    ----------
    predictions : DataFrame
        ``supervision``, ``kl``, ``prob_oa`` in [0, 1], a row a knee and run.
    single : bool
        As in :func:`ages`.
    """
    require_columns(predictions, "supervision", "kl", "prob_oa")
    named = predictions.replace({"supervision": SUPERVISION_NAMES})
    colours = {SUPERVISION_NAMES[name]: colour for name, colour in SUPERVISION_COLOURS.items()}
    fig = _boxes(named, "prob_oa", "supervision", colours, single)
    fig.add_hline(0.5, line_dash="dot", line_color="#555555")
    fig.update_xaxes(title="KL grade (OA from 2)")
    return fig.update_yaxes(title="predicted P(OA)", range=[-0.03, 1.03])


def metric_intervals(table: pd.DataFrame) -> go.Figure:
    """Differences between supervisions with their 95% intervals, zero marked.

    Parameters
    ----------
    table : DataFrame
        ``comparison``, ``metric``, ``value``, ``low``, ``high``, a row a difference.
    """
    require_columns(table, "comparison", "metric", "value", "low", "high")
    metrics = list(dict.fromkeys(table["metric"]))
    groups = list(table.groupby("comparison", sort=False))
    fig = go.Figure()
    for i, (comparison, part) in enumerate(groups):
        offset = 0.5 * ((i + 0.5) / len(groups) - 0.5)
        fig.add_scatter(
            x=part["value"], y=[metrics.index(metric) + offset for metric in part["metric"]],
            error_x={
                "array": part["high"] - part["value"], "thickness": 2,
                "arrayminus": part["value"] - part["low"],
            },
            customdata=part[["low", "high"]], mode="markers", name=str(comparison),
            marker={"size": 10, "symbol": SYMBOLS[i % len(SYMBOLS)]},
            hovertemplate="%{x:+.3f} [%{customdata[0]:+.3f}, %{customdata[1]:+.3f}]",
        )  # fmt: skip
    fig.add_vline(0, line_color="#1A1A1A", line_width=1)
    style_figure(fig, height=170 + 46 * len(metrics), xaxis_title="difference (95% interval)")
    words = [METRIC_NAMES.get(metric, metric) for metric in metrics]
    return fig.update_yaxes(
        tickvals=list(range(len(metrics))), ticktext=words, range=[len(metrics) - 0.5, -0.5]
    )


def reader_noise(table: pd.DataFrame | np.ndarray) -> go.Figure:
    """Draw how often a second reading gives each grade, by the central grade.

    Parameters
    ----------
    table : array (5, 5)
        P(second reading = column | central grade = row); rows add up to 1.
    """
    values = np.asarray(table, dtype=float)
    if values.shape != (5, 5) or not np.allclose(values.sum(1), 1, atol=0.01):
        raise InputError("reader_noise: the table is not 5 x 5 with rows that add up to 1.")
    grades = [f"KL {grade}" for grade in GRADES]
    fig = go.Figure()
    fig.add_heatmap(
        z=values, x=grades, y=grades, texttemplate="%{z:.3f}", colorscale="Blues", zmin=0, zmax=1,
        xgap=2, ygap=2, showscale=False,
        hovertemplate="central %{y}, second %{x}: %{z:.1%}<extra></extra>",
    )  # fmt: skip
    style_figure(fig, height=400, xaxis_title="second reading", yaxis_title="central reading")
    fig.update_layout(margin_t=16).update_xaxes(showgrid=False)
    return fig.update_yaxes(autorange="reversed", showgrid=False)
