"""Figures of a study's arms: scores, differences, what grades get, printed figures beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from oacore.errors import InputError
from oacore.instruments.coherence.figures import incoherence_curves
from oacore.instruments.radiographs.collect import OF_THE_LOSS, READERS, RULE
from oacore.plots.intervals import for_phones, interval_panels
from oacore.plots.style import COLOURS, SYMBOLS, require_columns, style_figure

#: Heads and means over heads as they are written.
HEADS = {
    "kl": "KL",
    "oarsi": "OARSI, mean of six",
    "osteophytes": "osteophytes, mean of four",
    "narrowings": "narrowings, mean of two",
}
#: Metrics of :data:`.collect.METRICS` as they are written.
MEASURES = {
    "accuracy": "accuracy",
    "rmse": "RMSE",
    "kappa": "kappa",
    "macro_auc": "macro-AUC",
    "mean_recall": "mean recall",
}
#: Measures of an answer's coherence as they are written.
LOSSES = {
    "mixture": "paper's loss",
    "joint": "exact joint's loss",
    "given kl": "loss given KL",
    RULE: "share with KL by the rule",
}
#: What the log-densities of readings are called, by the columns of :func:`.trial.g_by_sigma`.
READINGS = {"shuffled": "shuffled", "p5": "readings, 5%", "median": "readings, median"}
_PANEL, _BETWEEN = 190, 56  # px: height of a panel of curves, and below it
_DODGE = 0.07  # of the least step between two places: from one mark at a place to the next


def score_panels(
    scores: pd.DataFrame,
    arms: Sequence[str],
    metrics: Sequence[str] = ("accuracy", "rmse", "kappa"),
    heads: Sequence[str] = ("kl", "oarsi"),
) -> go.Figure:
    """Scores of arms with their intervals, a panel a metric.

    Parameters
    ----------
    scores : DataFrame
        Of :func:`.collect.collect`, of one frequency.
    arms, metrics, heads : sequence of str
        In their order; an arm that the table lacks is left out.
    """
    require_columns(scores, "arm", "head", "metric", "value", "low", "high")
    rows = _chosen(scores, arm=arms, head=heads, metric=metrics)
    said = rows.assign(
        panel=rows["metric"].map(MEASURES), series=rows["head"].map(HEADS), metric=rows["arm"]
    )
    return interval_panels(said, title="score (95% interval)", line=None)


def difference_panels(
    differences: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    metrics: Sequence[str] = ("accuracy", "mean_recall", "rmse", "kappa"),
    heads: Sequence[str] = ("kl", "oarsi"),
) -> go.Figure:
    """What arms are above others, with intervals, a panel a pair.

    Parameters
    ----------
    differences : DataFrame
        Of :func:`.collect.collect`, of one frequency.
    pairs : sequence of (reference, other)
        In their order; a pair that the table lacks is left out.
    metrics, heads : sequence of str
    """
    require_columns(differences, "reference", "other", "head", "metric", "value", "low", "high")
    names = [f"{other} minus {reference}" for reference, other in pairs]
    panel = differences["other"] + " minus " + differences["reference"]
    rows = _chosen(differences.assign(panel=panel), panel=names, metric=metrics, head=heads)
    return interval_panels(
        rows.assign(series=rows["head"].map(HEADS), metric=rows["metric"].map(MEASURES))
    )


def by_grade(
    recall: pd.DataFrame,
    coherence: pd.DataFrame,
    arms: Sequence[str],
    losses: Sequence[str] = ("mixture", "given kl"),
) -> go.Figure:
    """Share of each KL grade that is found, and below it losses of coherence by the same grade.

    A network that answers alike for all lowers a loss and finds one grade alone: the upper panel
    shows what the lower ones hide.

    Parameters
    ----------
    recall, coherence : DataFrame
        Of :func:`.collect.collect`.
    arms : sequence of str
        Five at most; one that the tables lack is left out.
    losses : sequence of str
        Of `LOSSES`. What they are of the readers' own grades is drawn too.
    """
    require_columns(recall, "arm", "head", "grade", "value", "low", "high")
    require_columns(coherence, "arm", "measure", "kl", "value", "low", "high")
    found = _chosen(recall[recall["head"] == "kl"], arm=arms)
    found = found.assign(panel="share of the grade that is found", x=found["grade"])
    single = coherence[coherence["kl"].astype(str) != "all"]
    asked = _chosen(single, measure=losses, arm=[*arms, READERS])
    asked = asked.assign(panel=asked["measure"].map(LOSSES), x=asked["kl"].astype(int))
    both = pd.concat([found, asked]).assign(series=lambda table: table["arm"])
    fig = _curves(both, "KL grade as read", grey=READERS)
    for row, (_, part) in enumerate(both.groupby("panel", sort=False), start=1):
        # Of two seeds an interval may reach so far that nothing else would be seen.
        top = min(np.nanmax([part["high"].max(), part["value"].max()]), 2 * part["value"].max())
        fig.update_yaxes(range=[0, 1.05 * top], row=row, col=1)
    return fig.update_xaxes(dtick=1)


def label_shares(
    scores: pd.DataFrame,
    arms: Mapping[str, Mapping[float, str]],
    metrics: Sequence[str] = ("accuracy", "rmse"),
    heads: Sequence[str] = ("kl", "oarsi"),
) -> go.Figure:
    """Scores against the share of labels that was looked at, a line a method.

    Parameters
    ----------
    scores : DataFrame
        Of :func:`.collect.collect`, of one frequency.
    arms : mapping of a method's name to its arms by their share of labels
        See :func:`shares_of`.
    metrics, heads : sequence of str
    """
    require_columns(scores, "arm", "head", "metric", "value", "low", "high")
    places = [
        pd.DataFrame({"arm": list(of.values()), "x": [100 * share for share in of], "series": name})
        for name, of in arms.items()
    ]
    rows = scores.merge(pd.concat(places), on="arm")
    fig = _curves(_by_head(rows, metrics, heads), "share of the labels (%)")
    return fig.update_xaxes(tickvals=sorted(set(rows["x"])))


def tau_sweep(
    scores: pd.DataFrame,
    arms: Mapping[float, str],
    beside: pd.DataFrame,
    without: str,
    metrics: Sequence[str] = ("accuracy", "rmse"),
    heads: Sequence[str] = ("kl", "oarsi"),
) -> go.Figure:
    """Scores against the temperature of the paper's loss: ours with intervals, printed without.

    Parameters
    ----------
    scores : DataFrame
        Of :func:`.collect.collect`, of one frequency.
    arms : mapping of tau to arm
    beside : DataFrame
        Of :func:`.beside.beside_printed`, of the same arms.
    without : str
        An arm without the loss; a dotted line marks its value.
    metrics, heads : sequence of str
    """
    require_columns(scores, "arm", "head", "metric", "value", "low", "high")
    of_arm = pd.DataFrame({"arm": list(arms.values()), "x": list(arms)})
    ours = scores.merge(of_arm, on="arm").assign(series="ours")
    printed = beside.merge(of_arm, on="arm").dropna(subset="printed")
    printed = printed.assign(series="printed", value=printed["printed"], low=None, high=None)
    rows = _by_head(pd.concat([ours, printed]), metrics, heads)
    fig = _curves(rows, "temperature tau")
    levels = _by_head(scores[scores["arm"] == without], metrics, heads).set_index("panel")["value"]
    for row, panel in enumerate(dict.fromkeys(rows["panel"]), start=1):
        if panel in levels:
            fig.add_hline(levels[panel], line_dash="dot", line_color="#555555", row=row, col=1)
    return fig.update_xaxes(tickvals=list(arms))


def loss_where_readings_lie(curves: pd.DataFrame, noise: pd.DataFrame, sigma: float) -> go.Figure:
    """The paper's loss and its gradient against g, with lines where readers' own grades lie.

    Parameters
    ----------
    curves : DataFrame
        Of :func:`.mixture.loss_curves`.
    noise : DataFrame
        Of :func:`.trial.g_by_sigma`: log-densities of true and of shuffled grades.
    sigma : float
        Which row of `noise`.

    Raises
    ------
    InputError
        If there is no such row.
    """
    require_columns(noise, "sigma", *READINGS)
    rows = noise[np.isclose(noise["sigma"], sigma)]
    if rows.empty:
        known = ", ".join(f"{one:g}" for one in noise["sigma"])
        raise InputError(f"figure: no log-densities of sigma {sigma:g}; choose one of {known}")
    fig = incoherence_curves(curves)
    for row in (1, 2):
        for column, words in READINGS.items():
            fig.add_vline(
                rows[column].iloc[0], line_dash="dot", line_color="#555555", row=row, col=1,
                annotation={"text": words if row == 1 else "", "textangle": -90, "y": 0.98},
            )  # fmt: skip
    return fig


def beside_panels(gains: pd.DataFrame, metrics: Sequence[str] = ("accuracy", "rmse")) -> go.Figure:
    """Printed gains, which have no interval, and ours, which have one: a panel a head and metric.

    Parameters
    ----------
    gains : DataFrame
        Of :func:`.beside.gains_beside`.
    metrics : sequence of str
    """
    require_columns(gains, "gain", "head", "metric", "printed", "value", "low", "high")
    printed = gains.assign(series="printed", value=gains["printed"], low=None, high=None)
    both = pd.concat([gains.assign(series="ours"), printed])
    rows = _by_head(both, metrics, ("kl", "oarsi"))
    rows = rows.assign(metric=[name.replace(" minus ", "<br>− ") for name in rows["gain"]])
    return interval_panels(rows.astype({"low": float, "high": float}))


def shares_of(runs: pd.DataFrame, arms: Sequence[str]) -> dict[str, dict[float, str]]:
    """Some arms, and for each those that differ in their share of labels alone, by it, rising.

    Parameters
    ----------
    runs : DataFrame
        Of :func:`.collect.collect`.
    arms : sequence of str
        One that the table lacks is left out.
    """
    return {arm: _alike(runs, arm, "labelled") for arm in arms if arm in set(runs["arm"])}


def taus_of(runs: pd.DataFrame, arm: str) -> dict[float, str]:
    """An arm and those that differ from it in their temperature alone, by it, rising.

    Parameters
    ----------
    runs, arm
        As for :func:`shares_of`.
    """
    return _alike(runs, arm, "tau")


def _alike(runs: pd.DataFrame, arm: str, but: str) -> dict[float, str]:
    settings = ["depth", "pooling", "coherence", *OF_THE_LOSS, "labelled", "regression"]
    require_columns(runs, "arm", *settings)
    settings.remove(but)
    same = runs.merge(runs.loc[runs["arm"] == arm, settings], on=settings).sort_values(but)
    return dict(zip(same[but], same["arm"], strict=True))


def _by_head(table: pd.DataFrame, metrics: Sequence[str], heads: Sequence[str]) -> pd.DataFrame:
    """Rows of some heads and metrics, with a `panel` for each pair of them, in order."""
    rows = _chosen(table, head=heads, metric=metrics)
    return rows.assign(panel=rows["head"].map(HEADS) + ": " + rows["metric"].map(MEASURES))


def _chosen(table: pd.DataFrame, **wanted: Sequence[str]) -> pd.DataFrame:
    """Rows with wanted values, in the order of these; the first column's order goes first.

    Raises
    ------
    InputError
        If there is no such row.
    """
    rows = table
    for column, values in reversed(wanted.items()):
        place = {value: i for i, value in enumerate(values)}
        rows = rows[rows[column].isin(place)]
        rows = rows.iloc[np.argsort(rows[column].map(place).to_numpy(), kind="stable")]
    if rows.empty:
        said = "; ".join(f"{column} of {', '.join(values)}" for column, values in wanted.items())
        raise InputError(f"figure: the table has no row with {said}")
    return rows


def _curves(table: pd.DataFrame, x_title: str, grey: str = "") -> go.Figure:
    """Lines with intervals, panels one below the other, which share their horizontal axis.

    Parameters
    ----------
    table : DataFrame
        ``panel``, ``series``, ``x``, ``value``, and ``low``, ``high``, missing where there is none.
    x_title : str
    grey : str
        A series that is no arm, drawn grey and dashed.
    """
    panels = list(dict.fromkeys(table["panel"]))
    entries = [name for name in dict.fromkeys(table["series"]) if name != grey]
    if len(entries) > len(COLOURS):
        raise InputError(f"figure: {len(entries)} series are more than the {len(COLOURS)} colours")
    height = 160 + len(panels) * (_PANEL + _BETWEEN)
    fig = make_subplots(
        rows=len(panels), shared_xaxes=True, subplot_titles=panels,
        vertical_spacing=_BETWEEN / (len(panels) * (_PANEL + _BETWEEN)),
    )  # fmt: skip
    places = sorted(set(table["x"]))
    step = min((b - a for a, b in zip(places, places[1:], strict=False)), default=1)
    drawn: set[str] = set()
    for row, panel in enumerate(panels, start=1):
        here = table[table["panel"] == panel]
        for name in [*entries, grey]:
            part = here[here["series"] == name].sort_values("x")
            if part.empty:
                continue
            part = part.astype({"low": float, "high": float})
            i = entries.index(name) if name != grey else 0
            aside = (i + 0.5 - len(entries) / 2) * _DODGE * step
            known = part["low"].notna().any()
            fig.add_scatter(
                x=part["x"] + (aside if name != grey else 0), y=part["value"], name=name,
                legendgroup=name, showlegend=name not in drawn, mode="lines+markers",
                error_y={
                    "array": part["high"] - part["value"], "thickness": 1.5, "width": 3,
                    "arrayminus": part["value"] - part["low"], "visible": bool(known),
                },
                line={"color": "#555555" if name == grey else COLOURS[i], "width": 1.5,
                      "dash": "dash" if name == grey or not known else "solid"},
                marker={"size": 8, "symbol": "x-thin-open" if name == grey else SYMBOLS[i]},
                text=part["x"].astype(str), customdata=part[["low", "high"]],
                hovertemplate="%{text}: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]",
                row=row, col=1,
            )  # fmt: skip
            drawn.add(name)
    fig.update_annotations(x=0, xanchor="left", font_size=14)
    style_figure(fig, height=height, margin_t=96, legend_y=1 + 34 / height)
    fig.update_xaxes(showticklabels=True).update_xaxes(title=x_title, row=len(panels))
    return for_phones(fig)
