"""One picture of what batch normalisation's statistics do to a trained network's answers."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.metrics import confusion_matrix

from oacore.errors import InputError
from oacore.plots.style import GRADES, OKABE_ITO, require_columns, style_figure
from oacore.profile import STATISTICS


def same_weights(history: pd.DataFrame, answers: pd.DataFrame, loss: float) -> go.Figure:
    """A run's losses in training and in evaluation, and its grades under both statistics.

    After each epoch the loss in evaluation is that of some of the training knees; `loss`, the last
    one, is of all.

    Parameters
    ----------
    history : DataFrame
        Of one run: ``epoch``, ``loss``, ``loss_evaluated`` (nats).
    answers : DataFrame
        Test knees of the same run: ``statistics`` ("running", "re-estimated"), ``kl``, ``pred_kl``.
    loss : float
        On the training knees in evaluation mode, with statistics re-estimated.

    Raises
    ------
    InputError
        If `answers` lacks one of the two statistics.
    """
    require_columns(history, "epoch", "loss", "loss_evaluated")
    require_columns(answers, "statistics", "kl", "pred_kl")
    titles = ["loss on the training knees"]
    panels = []
    for name in STATISTICS:
        part = answers[answers["statistics"] == name]
        if part.empty:
            raise InputError(f"same_weights: no answers with {name} statistics")
        kl, said = part["kl"].astype(int), part["pred_kl"].astype(int)
        counts = confusion_matrix(kl, said, labels=GRADES)
        panels.append(counts)
        titles.append(f"{name}<br>{counts.trace() / counts.sum():.0%} right")
    fig = make_subplots(
        rows=2, cols=2, specs=[[{"colspan": 2}, None], [{}, {}]], subplot_titles=titles,
        vertical_spacing=0.26, horizontal_spacing=0.08, row_heights=[0.42, 0.58], shared_yaxes=True,
    )  # fmt: skip
    lines = {
        "loss": ("in training", "solid", OKABE_ITO["blue"]),
        "loss_evaluated": ("in evaluation", "dash", OKABE_ITO["vermilion"]),
    }
    for column, (name, dash, colour) in lines.items():
        fig.add_scatter(
            x=history["epoch"], y=history[column], name=name, mode="lines+markers",
            line={"color": colour, "dash": dash}, row=1, col=1,
            hovertemplate="epoch %{x}: %{y:.3f}",
        )  # fmt: skip
    fig.add_scatter(
        x=[history["epoch"].max()], y=[loss], name="re-estimated", mode="markers",
        marker={"symbol": "star", "size": 14, "color": OKABE_ITO["green"]}, row=1, col=1,
        hovertemplate="in evaluation, statistics re-estimated: %{y:.3f}",
    )  # fmt: skip
    ticks = [str(grade) for grade in GRADES]
    for col, counts in enumerate(panels, start=1):
        share = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
        fig.add_heatmap(
            z=share, x=ticks, y=ticks, text=counts, texttemplate="%{text}", colorscale="Blues",
            zmin=0, zmax=1, showscale=False, xgap=2, ygap=2, row=2, col=col,
            hovertemplate="labelled %{y}, answered %{x}: %{text} (%{z:.0%})<extra></extra>",
        )  # fmt: skip
    style_figure(fig, height=680, margin_t=84, legend_y=1.08)
    fig.update_yaxes(title="nats", rangemode="tozero", row=1, col=1)
    fig.update_xaxes(title="epoch", dtick=1 if history["epoch"].max() < 20 else None, row=1, col=1)
    fig.update_xaxes(title="answered", type="category", row=2)
    fig.update_yaxes(type="category", autorange="reversed", row=2)
    fig.update_yaxes(title="labelled", row=2, col=1)
    return fig
