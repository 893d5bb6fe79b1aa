"""Figures of the experiment: contrasts with the margin, and what a number of knees could see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import hex_to_rgb
from scipy.stats import norm

from oacore.instruments.hierarchy.analysis import MEASURE_NAMES
from oacore.instruments.hierarchy.arms import ARMS
from oacore.instruments.hierarchy.peers import PEERS
from oacore.metrics.power import LEVEL
from oacore.metrics.shares import Z
from oacore.names import NAMES
from oacore.plots.intervals import for_phones
from oacore.plots.style import COLOURS, OKABE_ITO, SYMBOLS, require_columns, style_figure

#: Colours and symbols of what a contrast found, so that neither alone tells.
_FOUND = {
    "gain": (OKABE_ITO["green"], "triangle-up"), "none": (OKABE_ITO["blue"], "circle"),
    "loss": (OKABE_ITO["vermilion"], "triangle-down"), "undecided": ("#8C8C8C", "diamond"),
}  # fmt: skip
#: Knees between which the slider moves.
KNEES = (50, 98, 200, 300, 481, 700, 1000, 2000, 5000)
#: What the true effect may be, as a share of the one that was published.
TRUTHS = {"none": 0.0, "half of theirs": 0.5, "theirs": 1.0}
#: Standard errors from the middle of a distribution at which its outline has a point.
_POINTS = np.linspace(-3, 3, 25)
_DASHES = ("solid", "dash", "dot")
#: Pixels of an effect's rows in the figure, and as shares of these: where outlines stand, how high
#: the highest is, where the first range is below them, and how far one is below the other.
_ROW, _GROUND, _TALLEST, _FIRST, _NEXT = 92, 0.04, 0.48, 0.14, 0.135


def arm_name(arm: str) -> str:
    """An arm or a peer as it is written."""
    return ARMS[arm].says if arm in ARMS else PEERS[arm][0]


def forest(table: pd.DataFrame, measure: str, reference: str) -> go.Figure:
    """All arms minus one, with 95% intervals, 90% ones as thick bars, and the margin as a band.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.analysis.contrasts`.
    measure, reference : str
        Which of them.
    """
    require_columns(table, "arm", "reference", "measure", "value", "low", "high", "found")
    own = table[(table["measure"] == measure) & (table["reference"] == reference)]
    require_columns(own, "none_low", "none_high", "margin")
    names = [arm_name(arm) for arm in own["arm"]]
    places = np.arange(len(own))
    fig = go.Figure()
    margin = own["margin"].iloc[0]
    if not np.isnan(margin):
        band = {"fillcolor": "rgba(86, 180, 233, 0.2)", "line_width": 0, "layer": "below"}
        fig.add_vrect(-margin, margin, **band)
    fig.add_vline(0, line_color="#1A1A1A", line_width=1)
    for found, (colour, symbol) in _FOUND.items():
        rows = (own["found"] == found).to_numpy()
        if not rows.any():
            continue
        part = own[rows]
        lines: list[Any] = [
            edge
            for low, high in zip(part["none_low"], part["none_high"], strict=True)
            for edge in (low, high, None)
        ]
        fig.add_scatter(
            x=lines, y=[y for place in places[rows] for y in (place, place, None)], mode="lines",
            line={"color": colour, "width": 6}, opacity=0.4, hoverinfo="skip", showlegend=False,
        )  # fmt: skip
        fig.add_scatter(
            x=part["value"], y=places[rows], mode="markers", name=found,
            error_x={"array": part["high"] - part["value"], "thickness": 1.5, "width": 0,
                     "arrayminus": part["value"] - part["low"]},
            marker={"color": colour, "symbol": symbol, "size": 9},
            customdata=np.column_stack([
                np.array(names, dtype=object)[rows], part["low"], part["high"], part["q_value"],
                part["better"],
            ]),
            hovertemplate="%{customdata[0]}: %{x:.3f} [%{customdata[1]:.3f}, %{customdata[2]:.3f}]"
            "<br>q %{customdata[3]:.3f}, better in %{customdata[4]:.0%} of seeds<extra></extra>",
        )  # fmt: skip
    height = 150 + 26 * len(own)
    style_figure(fig, height=height, legend_y=1 + 12 / height)
    fig.update_yaxes(
        tickvals=places.tolist(), ticktext=names, range=[len(own) - 0.4, -0.6], showgrid=False
    )
    title = f"{MEASURE_NAMES[measure]},<br>arm minus {arm_name(reference)}"
    return for_phones(fig.update_xaxes(title=title))


def seen(effects: pd.DataFrame, knees: int, at: int) -> pd.DataFrame:
    """What some number of knees would show of an effect that is not there, half there, or there.

    Parameters
    ----------
    effects : DataFrame
        `backbone`, `metric`, `value`, the published effect, and `se`, its standard error over
        the knees that it was measured on.
    knees : int
        The number of those.
    at : int
        The number asked about; standard errors shrink by its root.

    Returns
    -------
    DataFrame
        backbone, metric, `effect`, the published one; `truth`, of :data:`TRUTHS`; `value`, the
        effect that is true then; `low`, `high`, between which 95 of 100 samples would show it;
        `power`, how often a two-sided test at .05 would find it, where there is none: cry wolf.

    Notes
    -----
    A smaller effect is one that fewer knees side with: on some the two networks change places. What
    a knee adds then has the same square on average and a smaller mean, so that its variance is
    larger by the difference of the squared effects. Of accuracy this is exact, and McNemar's test
    rests on it; macro-AUC and macro-F1 follow it closely (tests simulate all three).
    """
    rows = []
    for row in effects.to_dict("records"):
        square = knees * row["se"] ** 2 + row["value"] ** 2
        for truth, share in TRUTHS.items():
            true = share * row["value"]
            se = ((square - true**2) / at) ** 0.5
            found = norm.sf(norm.isf(LEVEL / 2), np.array([true, -true]) / se).sum()
            rows.append(
                {
                    "backbone": row["backbone"], "metric": row["metric"], "effect": row["value"],
                    "truth": truth, "value": true, "low": true - Z * se, "high": true + Z * se,
                    "power": float(found),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def what_knees_see(effects: pd.DataFrame, knees: int) -> go.Figure:
    """The published effects beside what samples would show; a slider sets how many knees.

    Each effect has the distribution of what samples show, once for each of :data:`TRUTHS`, and
    below it the ranges of 95 of 100 samples, with the power at their ends. All these distributions
    have one scale: areas are alike, so that the narrower is the higher.

    Parameters
    ----------
    effects, knees
        As in :func:`seen`.
    """
    require_columns(effects, "backbone", "metric", "value", "se")
    tables = {at: seen(effects, knees, at) for at in sorted({*KNEES, knees})}
    labels = [f"{NAMES[b]}, {NAMES[m].removeprefix('KL ')}" for b, m in
              zip(effects["backbone"], effects["metric"], strict=True)]  # fmt: skip
    places = np.arange(len(labels))
    fig = go.Figure()
    first = tables[knees]
    # Standard errors shrink alike, so that heights are the same at each number of knees.
    top = float(outlines(first)[1].max()) / _TALLEST
    for i, truth in enumerate(TRUTHS):
        part = first[first["truth"] == truth]
        heights = places[:, None] + _GROUND - outlines(part)[1] / top
        red, green, blue = hex_to_rgb(COLOURS[i])
        fig.add_scatter(
            x=_joined(outlines(part)[0]), y=_joined(heights), mode="lines", fill="toself",
            name=f"if the truth is {truth}", legendgroup=truth, showlegend=False,
            line={"color": COLOURS[i], "width": 1.5, "dash": _DASHES[i]}, hoverinfo="skip",
            fillcolor=f"rgba({red}, {green}, {blue}, 0.16)",
        )  # fmt: skip
    for i, truth in enumerate(TRUTHS):
        part, rows = first[first["truth"] == truth], places + _FIRST + _NEXT * i
        fig.add_scatter(
            x=part["value"], y=rows, mode="markers", legendgroup=truth,
            name=f"if the truth is {truth}", error_x={"thickness": 2, "width": 0, **_reach(part)},
            marker={"symbol": SYMBOLS[i], "color": COLOURS[i], "size": 7},
            customdata=_words(part),
            hovertemplate="95 of 100 samples show %{customdata[0]:.3f} to %{customdata[1]:.3f}"
            "<br>found in %{customdata[2]:.0%}",
        )  # fmt: skip
        for row, (end, share) in zip(rows, _ends(part), strict=True):
            fig.add_annotation(
                x=end, y=row, text=f"{share:.0%}", xanchor="left", showarrow=False, font_size=12
            )
    fig.add_scatter(
        x=effects["value"], y=places + _GROUND - _TALLEST / 2, mode="markers", name="published",
        marker={
            "symbol": "line-ns", "line": {"width": 3, "color": "#1A1A1A"},
            "size": _ROW * _TALLEST / 1.4,  # plotly draws it 1.4 times as long
        },
        hovertemplate="published: %{x:.3f}",
    )  # fmt: skip
    fig.add_vline(0, line_color="#1A1A1A", line_width=1)
    steps = []
    for at, table in tables.items():
        parts = [table[table["truth"] == truth] for truth in TRUTHS]
        own: list[Any] = [None] * len(parts)
        change = {
            "x": [_joined(outlines(part)[0]) for part in parts]
            + [part["value"].tolist() for part in parts],
            "error_x.array": own + [_reach(part)["array"] for part in parts],
            "error_x.arrayminus": own + [_reach(part)["arrayminus"] for part in parts],
            "customdata": own + [_words(part) for part in parts],
        }
        shares: dict[str, float | str] = {}
        for i, (end, share) in enumerate(ends for part in parts for ends in _ends(part)):
            shares[f"annotations[{i}].x"] = end
            shares[f"annotations[{i}].text"] = f"{share:.0%}"
        args = [change, shares, list(range(2 * len(parts)))]
        steps.append({"label": f"{at}", "method": "update", "args": args})
    slider = {
        "steps": steps, "active": list(tables).index(knees), "pad": {"t": 84},
        "currentvalue": {"prefix": "test knees: "},
    }  # fmt: skip
    height = 320 + _ROW * len(labels)
    style_figure(
        fig, height=height, sliders=[slider], margin_b=180, margin_r=36, legend_y=1 + 12 / height
    )
    fig.update_yaxes(
        tickvals=places.tolist(), ticktext=[label.replace(", ", ",<br>") for label in labels],
        range=[len(labels) - 0.5, -0.5], showgrid=False,
    )  # fmt: skip
    # The axis of the fewest knees, so that what moves is the width of what is seen.
    widest = tables[min(tables)]
    reach = [float(widest["low"].min()), float(widest["high"].max())]
    title = "Dual minus Single-KL<br>(%: how often it is found)"
    fig.update_xaxes(title=title, range=[1.05 * one for one in reach])
    return for_phones(fig)


def outlines(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Densities of what samples of knees would show, at points of which each has as many.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`seen`.

    Returns
    -------
    effects, density : (rows, points) float arrays
        Of a normal law about `value`, 95% of which lies between `low` and `high`; to three
        standard errors on either side.
    """
    value = table["value"].to_numpy()[:, None]
    se = (table["high"] - table["low"]).to_numpy()[:, None] / (2 * Z)
    return value + se * _POINTS, norm.pdf(_POINTS) / se


def _joined(lines: np.ndarray) -> list[float | None]:
    """Lines as one with gaps: each is filled for itself."""
    return [one for line in lines.round(4).tolist() for one in (*line, None)][:-1]


def _reach(part: pd.DataFrame) -> dict[str, list[float]]:
    """Arms of the error bars."""
    return {
        "array": (part["high"] - part["value"]).round(4).tolist(),
        "arrayminus": (part["value"] - part["low"]).round(4).tolist(),
    }


def _words(part: pd.DataFrame) -> list[list[float]]:
    return part[["low", "high", "power"]].round(4).to_numpy().tolist()


def _ends(part: pd.DataFrame) -> list[tuple[float, float]]:
    """Where a range ends on the right, and the power that is written there."""
    return list(zip(part["high"].round(4).tolist(), part["power"].tolist(), strict=True))
