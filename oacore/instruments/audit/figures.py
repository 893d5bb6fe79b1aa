"""Figures of the audit of printed tables, and its findings as a table to filter."""

from __future__ import annotations

import hashlib
import html
from fractions import Fraction

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from oacore.instruments.audit.findings import in_order
from oacore.instruments.audit.overlap import TOP
from oacore.instruments.audit.printed import PrintedTable, rounded
from oacore.instruments.audit.ranks import implied_auroc
from oacore.metrics.dice import chance_dice, largest_dice
from oacore.plots.page import Html, text_table
from oacore.plots.style import OKABE_ITO, require_columns, style_figure

VERDICTS = {
    "inconsistent": (OKABE_ITO["vermilion"], "x"),
    "undetermined": (OKABE_ITO["orange"], "diamond"),
    "consistent": (OKABE_ITO["blue"], "circle"),
}


def steps(n: int, printed: str, other: str) -> go.Figure:
    """Shares of n knees near two printed figures, on a line.

    Parameters
    ----------
    n : int
        Number of knees.
    printed, other : str
        Two figures, such as "0.7959" and "0.7951".
    """
    figures = [float(printed), float(other)]
    low, high = min(figures) - 2.5 / n, max(figures) + 2.5 / n
    k = [k for k in range(n + 1) if low < k / n < high]
    fig = go.Figure()
    fig.add_scatter(
        x=[i / n for i in k], y=[0] * len(k), mode="markers+text", name="shares of the knees",
        text=[f"{i}/{n}" for i in k], textposition="bottom center",
        marker={"symbol": "line-ns-open", "size": 22, "color": "#1A1A1A"},
        hovertemplate="%{text} = %{x:.6f}<extra></extra>",
    )  # fmt: skip
    for name, value, height, (colour, symbol) in (
        ("printed", figures[0], 0.45, VERDICTS["consistent"]),
        ("altered", figures[1], 0.8, VERDICTS["inconsistent"]),
    ):
        fig.add_scatter(
            x=[value], y=[height], mode="markers", name=f"{name}: {value}",
            marker={"symbol": symbol, "size": 12, "color": colour},
        )  # fmt: skip
    style_figure(fig, height=260, xaxis_title="accuracy")
    return fig.update_yaxes(visible=False, range=[-1, 1])


def rho_against_auroc(table: PrintedTable, findings: pd.DataFrame) -> go.Figure:
    """Printed ``|rho|`` and AUROC of each row, and the curve on which they must lie.

    Parameters
    ----------
    table : PrintedTable
        With rho_oa and auroc_oa.
    findings : DataFrame
        Of the audit, for the verdicts.
    """
    knees = table.knees or (1, 1)
    negative = len(knees) // 2
    counts = sum(knees[negative:]), sum(knees[:negative])
    verdicts = findings[(findings["table"] == table.name) & (findings["check"] == "rho-auroc")]
    said = verdicts.set_index("row")["verdict"]
    largest = 0.5 / (implied_auroc(1, *counts) - 0.5)
    fig = go.Figure()
    rho = np.linspace(0, largest, 80)
    fig.add_scatter(
        x=rho, y=[implied_auroc(r, *counts) for r in rho], mode="lines", name="the identity",
        line={"color": "#1A1A1A"}, hovertemplate="|rho| %{x:.3f}: AUROC %{y:.3f}<extra></extra>",
    )  # fmt: skip
    for verdict, (colour, symbol) in VERDICTS.items():
        rows = table.figures.loc[[row for row in table.figures.index if said.get(row) == verdict]]
        if rows.empty:
            continue
        x, y = [abs(float(v)) for v in rows["rho_oa"]], [float(v) for v in rows["auroc_oa"]]
        fig.add_scatter(
            x=x, y=y, mode="markers", name=verdict, text=list(rows.index), legendgroup=verdict,
            marker={"color": colour, "symbol": symbol, "size": 11},
            hovertemplate="%{text}: |rho| %{x:.3f}, AUROC %{y:.3f}<extra></extra>",
        )  # fmt: skip
        outline: list[tuple[float, float]] = []
        for rho_oa, auroc in zip(rows["rho_oa"], rows["auroc_oa"], strict=True):
            wide, tall = rounded(rho_oa).magnitude(), rounded(auroc)
            ends = [float(end) for end in (wide.low, wide.high, tall.low, tall.high)]
            outline += [(ends[i], ends[j]) for i, j in ((0, 2), (1, 2), (1, 3), (0, 3), (0, 2))]
            outline.append((np.nan, np.nan))
        fig.add_scatter(
            x=[p[0] for p in outline], y=[p[1] for p in outline], mode="lines", hoverinfo="skip",
            line={"color": colour, "width": 1.5}, legendgroup=verdict, showlegend=False,
            name=f"rounding of {verdict}",
        )  # fmt: skip
    style_figure(fig, height=460, xaxis_title="|rho(PC1, OA)|", yaxis_title="AUROC of OA on PC1")
    return fig.update_xaxes(range=[0.45, 0.85]).update_yaxes(range=[0.78, 1.02])


def dice_below_ceiling(table: PrintedTable, column: str, share: str) -> go.Figure:
    """Printed Dice overlaps between what chance gives and what the region's size allows.

    Parameters
    ----------
    table : PrintedTable
        With the column.
    column : {"dice5", "dice10"}
    share : str
        Of the volume that the region fills.
    """
    top = TOP[column]
    fig = go.Figure()
    rows = list(table.figures.index)
    fig.add_scatter(
        x=[float(value) for value in table.figures[column]], y=rows, mode="markers", name="printed",
        marker={"color": OKABE_ITO["blue"], "size": 10}, hovertemplate="%{y}: %{x}<extra></extra>",
    )  # fmt: skip
    ceiling = float(largest_dice(rounded(share).high, top))
    chance = float(chance_dice(Fraction(share), top))
    for name, value, dash in (("chance", chance, "dot"), ("ceiling", ceiling, "solid")):
        fig.add_scatter(
            x=[value, value], y=[rows[0], rows[-1]], mode="lines", name=f"{name} {value:.3f}",
            line={"color": "#1A1A1A", "dash": dash}, hoverinfo="skip",
        )  # fmt: skip
    style_figure(
        fig, height=150 + 26 * len(rows), xaxis_title=f"Dice@{column.removeprefix('dice')}"
    )
    return fig.update_yaxes(autorange="reversed").update_xaxes(range=[0, 1.08 * ceiling])


def verdict_counts(findings: pd.DataFrame) -> go.Figure:
    """Findings of each check by verdict; the counts stand beside its name, in the same order."""
    require_columns(findings, "check", "verdict")
    counts = findings.groupby(["check", "verdict"]).size().unstack(fill_value=0)
    counts = counts.reindex(columns=list(VERDICTS), fill_value=0).sort_values(list(VERDICTS))
    names = [f"{check}: {', '.join(map(str, row))}" for check, row in zip(
        counts.index, counts.to_numpy(), strict=True
    )]  # fmt: skip
    share = counts.div(counts.sum(axis=1), axis=0)
    patterns = {"inconsistent": "x", "undetermined": "/", "consistent": ""}
    fig = go.Figure()
    for verdict, (colour, _) in VERDICTS.items():
        fig.add_bar(
            y=names, x=share[verdict], orientation="h", name=verdict, customdata=counts[verdict],
            marker={
                "color": colour,
                "pattern": {
                    "shape": patterns[verdict], "fillmode": "overlay", "fgcolor": "white",
                    "solidity": 0.15,
                },
            },
            hovertemplate="%{y}: %{customdata} " + verdict + "<extra></extra>",
        )  # fmt: skip
    style_figure(
        fig, height=150 + 26 * len(counts), barmode="stack", xaxis_title="share of the findings"
    )
    fig.update_layout(legend_traceorder="normal")
    return fig.update_xaxes(tickformat=".0%")


def detection(rates: pd.DataFrame) -> go.Figure:
    """Draw how often each check finds an altered figure.

    Parameters
    ----------
    rates : DataFrame
        Of :func:`.trial.power`; families that the same check reads are put together.
    """
    require_columns(rates, "check", "altered", "rows", "found")
    hits = rates.assign(found=rates["found"] * rates["rows"])
    sums = hits.groupby(["check", "altered"], sort=False)[["found", "rows"]].sum()
    share = (sums["found"] / sums["rows"]).unstack()
    share = share.loc[share.mean(axis=1).sort_values().index]
    colours = ("orange", "blue", "green", "vermilion")
    symbols = ("diamond", "circle", "square", "x")
    fig = go.Figure()
    for which, colour, symbol in zip(share, colours, symbols, strict=False):
        fig.add_scatter(
            x=share[which], y=list(share.index), mode="markers", name=str(which),
            marker={"color": OKABE_ITO[colour], "symbol": symbol, "size": 11},
            hovertemplate="%{y}: %{x:.0%}<extra></extra>",
        )  # fmt: skip
    style_figure(fig, height=190 + 26 * len(share), xaxis_title="altered figures found")
    return fig.update_xaxes(tickformat=".0%", range=[-0.03, 1.03])


def findings_table(findings: pd.DataFrame) -> Html:
    """All findings, inconsistent ones first, with buttons that show one verdict or one paper.

    The buttons are radio buttons and style rules, so that they work without a kernel and without
    scripts.

    Parameters
    ----------
    findings : DataFrame
        Of :func:`.findings.audit`.
    """
    require_columns(findings, "table", "row", "check", "printed", "implied", "verdict")
    findings = in_order(findings)
    second = findings["table"].str.match(r"\d{4}\.\d{5} ")
    papers = np.where(second, findings["table"].str.split(" ").str[0], "first")
    groups = {"verdict": findings["verdict"], "paper": pd.Series(papers)}
    digest = hashlib.sha256(findings.to_csv().encode()).hexdigest()[:8]
    buttons, rules = "", ""
    for group, values in groups.items():
        name = f"audit-{digest}-{group}"
        choices = ["all", *dict.fromkeys(values)]
        for number, choice in enumerate(choices):
            known = "arXiv:2605.00718" if choice == "first" else f"arXiv:{choice}"
            label = known if group == "paper" and choice != "all" else choice
            count = len(values) if choice == "all" else int((values == choice).sum())
            checked = "" if number else " checked"
            buttons += (
                f'<input type="radio" name="{name}" id="{name}-{number}"{checked}>'
                f'<label for="{name}-{number}" style="margin:0 1em 0 .35em">'
                f"{html.escape(label)} ({count})</label>"
            )
            if number:
                rules += (
                    f"#{name}-{number}:checked~div tbody tr:not([data-{group}='{choice}'])"
                    "{display:none}"
                )
        buttons += "<br>"
    columns = ["verdict", "table", "row", "check", "printed", "implied"]
    shown = findings[columns].copy()
    shown["data-verdict"], shown["data-paper"] = findings["verdict"], papers
    page = (
        f'<div class="oa-audit"><style>{rules}</style>{buttons}'
        '<div class="oa-table" tabindex="0" style="overflow:auto;max-height:640px;font-size:.85em">'
        f"{text_table(shown, marks=['data-verdict', 'data-paper'])}</div></div>"
    )
    counts = findings["verdict"].value_counts()
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return Html(page, f"{len(findings)} findings: {said}")
