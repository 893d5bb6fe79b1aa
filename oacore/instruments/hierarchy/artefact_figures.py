"""The study of the artefact on a page: figures, tables and sentences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from oacore.instruments.hierarchy.analysis import MEASURE_NAMES, UNDECIDED
from oacore.instruments.hierarchy.answer import FOUND
from oacore.instruments.hierarchy.artefact import CELLS, NO_STATISTICS, PAIR
from oacore.instruments.hierarchy.artefact_scores import (
    ADDED,
    ANEW,
    COLLAPSE,
    ENOUGH,
    MEASURE,
    NOT_ENOUGH,
    PAPERS_CELL,
    RUNNING,
    bias_verdict,
    collapse_table,
    differences,
    luck_verdict,
    reached,
)
from oacore.names import NAMES, interval_text, written
from oacore.plots.intervals import for_phones
from oacore.plots.style import (
    OKABE_ITO,
    SUPERVISION_COLOURS,
    SYMBOLS,
    require_columns,
    style_figure,
)

#: Cells as they are written, and statistics.
CELL_NAMES = {
    "batch-constant": "batch norm, constant rate (the paper's)",
    "batch-cosine": "batch norm, cosine",
    "group-constant": "group norm, constant rate",
}
STATISTICS_NAMES = {
    RUNNING: "running statistics",
    ANEW: "re-estimated statistics",
    ADDED: "what running ones add",
    NO_STATISTICS: "no statistics kept",
}
#: Colours and symbols of pairs by which of the two runs collapsed.
_FELL = {
    "neither": (OKABE_ITO["blue"], "circle"),
    "Single-KL": (OKABE_ITO["orange"], "triangle-right"),
    "Dual": (OKABE_ITO["purple"], "triangle-left"),
    "both": (OKABE_ITO["vermilion"], "x"),
}
#: Lines of the course of one run: name, dash, colour.
_COURSE = {
    "in training": ("solid", OKABE_ITO["blue"]),
    RUNNING: ("dash", OKABE_ITO["vermilion"]),
    ANEW: ("dot", OKABE_ITO["green"]),
}


def course(table: pd.DataFrame) -> go.Figure:
    """A network's accuracy on its own training knees, epoch by epoch, asked in three ways.

    Parameters
    ----------
    table : DataFrame
        Of :func:`.lag.lagging`, one below the other; a panel for each rate.
    """
    require_columns(table, "rate", "epoch", "asked", "accuracy")
    rates = list(dict.fromkeys(table["rate"]))
    fig = make_subplots(
        rows=len(rates), cols=1, shared_xaxes=True, vertical_spacing=0.12,
        subplot_titles=[f"rate {rate:g}" for rate in rates],
    )  # fmt: skip
    for row, rate in enumerate(rates, start=1):
        for place, (name, (dash, colour)) in enumerate(_COURSE.items()):
            own = table[(table["rate"] == rate) & (table["asked"] == name)]
            fig.add_scatter(
                x=own["epoch"], y=own["accuracy"], name=name, mode="lines+markers",
                legendgroup=name, showlegend=row == 1, line={"color": colour, "dash": dash},
                marker={"symbol": SYMBOLS[place], "size": 7},
                hovertemplate="epoch %{x}: %{y:.0%}", row=row, col=1,
            )  # fmt: skip
    height = 150 + 230 * len(rates)
    style_figure(fig, height=height, legend_y=1 + 36 / height)
    fig.update_yaxes(title="told right", range=[0, 1.03], dtick=0.25, tickformat=".0%")
    fig.update_xaxes(showticklabels=True).update_xaxes(title="epoch", row=len(rates), col=1)
    return for_phones(fig)


def told_twice(runs: pd.DataFrame) -> go.Figure:
    """Each run's accuracy on its own training knees with either statistics, a panel a cell.

    Parameters
    ----------
    runs : DataFrame
        See :func:`.artefact_scores.artefact_tables`.
    """
    require_columns(runs, "cell", "arm", "seed", "statistics", "told")
    own = runs[runs["statistics"] != NO_STATISTICS]
    cells = [cell for cell in CELLS if cell in set(own["cell"])]
    wide = own.pivot(index=["cell", "arm", "seed"], columns="statistics", values="told")
    fig = make_subplots(
        rows=len(cells), cols=1, shared_xaxes=True, vertical_spacing=0.1,
        subplot_titles=[CELL_NAMES[cell] for cell in cells],
    )  # fmt: skip
    for row, cell in enumerate(cells, start=1):
        fig.add_scatter(
            x=[0, 1, 1], y=[0, COLLAPSE, 0], fill="toself", mode="none", hoverinfo="skip",
            fillcolor="rgba(213, 94, 0, 0.12)", name="collapsed", showlegend=row == 1,
            row=row, col=1,
        )  # fmt: skip
        fig.add_scatter(
            x=[0, 1], y=[0, 1], mode="lines", line={"color": "#8C8C8C", "width": 1},
            hoverinfo="skip", name="the same", showlegend=row == 1, row=row, col=1,
        )  # fmt: skip
        for place, arm in enumerate(PAIR):
            part = wide.xs((cell, arm))
            fig.add_scatter(
                x=part[ANEW], y=part[RUNNING], mode="markers", name=NAMES[arm], legendgroup=arm,
                showlegend=row == 1, customdata=part.index,
                marker={"color": SUPERVISION_COLOURS[arm], "symbol": SYMBOLS[place], "size": 8},
                hovertemplate="seed %{customdata}: %{y:.0%} running, %{x:.0%} re-estimated",
                row=row, col=1,
            )  # fmt: skip
    height = 160 + 300 * len(cells)
    style_figure(fig, height=height, legend_y=1 + 36 / height)
    fig.update_yaxes(title=STATISTICS_NAMES[RUNNING])
    fig.update_xaxes(showticklabels=True).update_xaxes(
        title=STATISTICS_NAMES[ANEW], row=len(cells), col=1
    )
    for update in (fig.update_xaxes, fig.update_yaxes):
        update(range=[0, 1.03], dtick=0.25, tickformat=".0%")
    return for_phones(fig)


def pairs_of_runs(runs: pd.DataFrame, contrasts: pd.DataFrame, effect: float) -> go.Figure:
    """Dual minus Single-KL in KL accuracy: every pair of runs, their means, the published effect.

    Parameters
    ----------
    runs, contrasts : DataFrame
        See :func:`.artefact_scores.artefact_tables`.
    effect : float
        The published one.
    """
    require_columns(contrasts, "cell", "statistics", "measure", "value", "low", "high")
    found = differences(runs)
    keys = list(dict.fromkeys(zip(found["cell"], found["statistics"], strict=True)))
    places = {key: place for place, key in enumerate(keys)}
    at = np.array([places[key] for key in zip(found["cell"], found["statistics"], strict=True)])
    # Pairs of one row stand one below the other in the order of their seeds, so that none hides.
    order = found.groupby(["cell", "statistics"])["seed"].rank().to_numpy()
    at = at - 0.3 + 0.5 * (order - 1) / max(order.max() - 1, 1)
    fig = go.Figure()
    fig.add_vline(0, line_color="#1A1A1A", line_width=1)
    fig.add_vline(
        effect, line_color=OKABE_ITO["vermilion"], line_width=2, line_dash="dash",
        annotation={"text": f"published {effect:+.3f}", "yanchor": "bottom"},
        annotation_position="top",
    )  # fmt: skip
    for words, (colour, symbol) in _FELL.items():
        part = (found["collapsed"] == words).to_numpy()
        if not part.any():
            continue
        own = found[part]
        fig.add_scatter(
            x=own[MEASURE], y=at[part], mode="markers", name=f"collapsed: {words}",
            marker={"color": colour, "symbol": symbol, "size": 7, "opacity": 0.8},
            customdata=own[["seed", *PAIR]],
            hovertemplate="seed %{customdata[0]}: Dual %{customdata[2]:.3f}, Single-KL "
            "%{customdata[1]:.3f}, %{x:+.3f}",
        )  # fmt: skip
    means = contrasts[contrasts["measure"] == MEASURE].set_index(["cell", "statistics"]).loc[keys]
    fig.add_scatter(
        x=means["value"], y=[places[key] + 0.36 for key in keys], mode="markers", name="mean",
        error_x={"array": means["high"] - means["value"], "thickness": 2, "width": 0,
                 "arrayminus": means["value"] - means["low"]},
        marker={"color": "#1A1A1A", "symbol": "diamond", "size": 9},
        customdata=means[["low", "high"]],
        hovertemplate="mean %{x:+.3f} [%{customdata[0]:+.3f}, %{customdata[1]:+.3f}]",
    )  # fmt: skip
    height = 190 + 110 * len(keys)
    style_figure(fig, height=height, margin_t=88, legend_y=1 + 48 / height)
    names = [
        f"{CELL_NAMES[cell].split(' (')[0].replace(', ', ',<br>')},<br>{stat}"
        if stat != NO_STATISTICS
        else CELL_NAMES[cell].replace(", ", ",<br>")
        for cell, stat in keys
    ]
    fig.update_yaxes(
        tickvals=list(range(len(keys))), ticktext=names, range=[len(keys) - 0.45, -0.55],
        showgrid=False,
    )  # fmt: skip
    return for_phones(fig.update_xaxes(title="KL accuracy, Dual minus Single-KL"))


def collapse_counts(collapse: pd.DataFrame) -> pd.DataFrame:
    """How many runs collapse, as a table of a page.

    Parameters
    ----------
    collapse : DataFrame
        See :func:`.artefact_scores.collapse_table`.
    """
    said = pd.DataFrame(
        {
            "cell": collapse["cell"].map(CELL_NAMES),
            "arm": collapse["arm"].map(NAMES),
            "collapsed": [
                f"{hits} of {n}"
                for hits, n in zip(collapse["collapsed"], collapse["runs"], strict=True)
            ],
            "share (95%)": written(collapse.rename(columns={"share": "value"})),
            "this arm alone": collapse["alone"],
            "p (McNemar)": collapse["p_value"].map("{:.2g}".format),
            "told, running": collapse["told_running"],
            "told, re-estimated": collapse["told_anew"],
        }
    )
    return said.set_index(["cell", "arm"])


def scores_on_test_knees(scores: pd.DataFrame) -> pd.DataFrame:
    """Either arm's scores on the test knees with either statistics, written.

    Parameters
    ----------
    scores : DataFrame
        See :func:`.artefact_scores.artefact_tables`.
    """
    said = scores.assign(
        cell=scores["cell"].map(CELL_NAMES),
        statistics=scores["statistics"].map(STATISTICS_NAMES),
        column=scores["arm"].map(NAMES) + ", " + scores["measure"].map(MEASURE_NAMES),
        said=written(scores[["value", "low", "high"]], ".3f"),
    )
    columns = list(dict.fromkeys(said["column"]))
    wide = said.pivot(index=["cell", "statistics"], columns="column", values="said")
    return wide.loc[
        list(dict.fromkeys(zip(said["cell"], said["statistics"], strict=True))), columns
    ]


def effects_by_cell(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Dual minus Single-KL in every cell and with all statistics, written, and what was found.

    Parameters
    ----------
    contrasts : DataFrame
        See :func:`.artefact_scores.artefact_tables`.
    """
    order = {cell: place for place, cell in enumerate(CELLS)}
    rows = contrasts.sort_values("cell", key=lambda own: own.map(order), kind="stable")
    said = pd.DataFrame(
        {
            "cell": rows["cell"].map(CELL_NAMES),
            "statistics": rows["statistics"].map(STATISTICS_NAMES),
            "outcome": rows["measure"].map(MEASURE_NAMES),
            "difference": written(rows, "+.3f"),
            "margin": rows["margin"].map("±{:g}".format),
            "q": rows["q_value"].map("{:.2g}".format),
            "found": rows["found"],
        }
    )
    return said.set_index(["cell", "statistics", "outcome"])


def by_finding(contrasts: pd.DataFrame, measure: str) -> str:
    """Cells by what Dual does there beside Single-KL, in Markdown.

    Parameters
    ----------
    contrasts : DataFrame
        See :func:`.artefact_scores.artefact_tables`.
    measure : str
    """
    rows = contrasts[(contrasts["measure"] == measure) & (contrasts["statistics"] != ADDED)]
    lines = []
    for found, words in FOUND.items():
        own = rows[rows["found"] == found]
        each = "; ".join(
            f"{CELL_NAMES[cell].split(' (')[0]}, {STATISTICS_NAMES[kept]}, {said}"
            for cell, kept, said in zip(
                own["cell"], own["statistics"], written(own, "+.3f"), strict=True
            )
        )
        if each:
            lines.append(f"- **{words}** ({len(own)} of {len(rows)}): {each}.")
    return "\n".join(lines)


def pairs_that_reach(table: pd.DataFrame) -> pd.DataFrame:
    """How many pairs of runs reach the published effect, as a table of a page.

    Parameters
    ----------
    table : DataFrame
        See :func:`.artefact_scores.reached`.
    """
    said = pd.DataFrame(
        {
            "cell": table["cell"].map(CELL_NAMES),
            "statistics": table["statistics"].map(STATISTICS_NAMES),
            "pairs": table["pairs"],
            "Dual ahead by it": table["dual_ahead"],
            "share (95%)": written(table.rename(columns={"share": "value"})),
            "Single-KL ahead by it": table["single_kl_ahead"],
            "differences": [
                f"{least:+.3f} to {most:+.3f}"
                for least, most in zip(table["least"], table["most"], strict=True)
            ],
        }
    )
    return said.set_index(["cell", "statistics"])


def in_sentences(contrasts: pd.DataFrame, runs: pd.DataFrame, effect: float) -> str:
    """How many runs collapse, and the two verdicts by the design's rules, in Markdown.

    Parameters
    ----------
    contrasts, runs : DataFrame
        See :func:`.artefact_scores.artefact_tables`.
    effect : float
        The published one.
    """
    table = reached(runs, effect)
    own = contrasts[(contrasts["cell"] == PAPERS_CELL) & (contrasts["measure"] == MEASURE)]
    rows = own.set_index("statistics")
    said = {
        name: f"{interval_text(row['value'], row['low'], row['high'], '+.3f')} ({row['found']})"
        for name, row in rows.iterrows()
    }
    pairs = table[table["cell"] == PAPERS_CELL].set_index("statistics")

    n = int(pairs["pairs"].iloc[0])

    def counted(statistics: str) -> str:
        row = pairs.loc[statistics]
        return f"{row['dual_ahead']} (Dual ahead) and {row['single_kl_ahead']} (Single-KL ahead)"

    fell = collapse_table(runs)
    each = fell[fell["cell"] == PAPERS_CELL].to_dict("records")
    collapsed = " and ".join(
        f"{row['collapsed']} of {row['runs']} of {NAMES[row['arm']]}" for row in each
    )
    most = max(row["high"] for row in each)
    return "\n".join(
        [
            f"- **Collapsed in the paper's cell: {collapsed}.** The exact intervals reach up to "
            f"{most:.0%} of runs.",
            f"- **{_BIAS[bias_verdict(contrasts)]}** Dual minus Single-KL is {said[RUNNING]} with "
            f"running statistics, {said[ANEW]} with re-estimated ones; the first minus the second "
            f"is {said[ADDED]}.",
            f"- **{_LUCK[luck_verdict(table)]}** Apart by {effect:.3f} or more are, of {n} pairs, "
            f"with running statistics {counted(RUNNING)}; with re-estimated ones {counted(ANEW)}.",
        ]
    )


_BIAS = {
    ENOUGH: "In these runs running statistics are enough for an effect on average.",
    NOT_ENOUGH: "In these runs running statistics are not enough for an effect on average.",
    UNDECIDED: "Whether running statistics make an effect on average is undecided.",
}
_LUCK = {
    ENOUGH: "In a single pair of runs they are enough for an effect of the published size.",
    NOT_ENOUGH: "In no pair of runs do they make an effect of the published size.",
    UNDECIDED: "Single pairs of runs differ by the published size, but not by running statistics "
    "alone.",
}
