"""Where Dual wins, by noise and number of knees: figures, tables of a page, and sentences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from oacore.hierarchy import FIRST_OA_GRADE, N_GRADES
from oacore.instruments.hierarchy.analysis import GAIN, MEASURE_NAMES
from oacore.instruments.hierarchy.figures import arm_name
from oacore.instruments.hierarchy.noise import LEVELS, readings_at
from oacore.metrics.power import LEVEL
from oacore.names import interval_text, written
from oacore.plots.intervals import for_phones
from oacore.plots.style import COLOURS, SYMBOLS, require_columns, style_figure


def readers_table() -> pd.DataFrame:
    """What readers of each level make of knees of each true grade: shares that are read right.

    Returns
    -------
    DataFrame
        By level: `coarse`, `fine`; the share of each grade that is read as it is; the least share,
        over the grades, that is read on its own side of OA's boundary.
    """
    rows = {}
    oa = np.arange(N_GRADES) >= FIRST_OA_GRADE
    for level, (coarse, fine) in LEVELS.items():
        read = readings_at(coarse, fine)
        right = {f"KL {kl} right": read[kl, kl] for kl in range(N_GRADES)}
        least = (read * (oa == oa[:, None])).sum(axis=1).min()
        rows[level] = {"coarse": coarse, "fine": fine, **right, "OA right, least": least}
    return pd.DataFrame(rows).T


def noise_map(contrasts: pd.DataFrame, measure: str, against: str = "truth") -> go.Figure:
    """Dual minus each other arm by level of noise and number of training knees, to hover over.

    Parameters
    ----------
    contrasts : DataFrame
        See :func:`.noise_scores.noise_tables`.
    measure, against : str
        Which of the rows.
    """
    require_columns(contrasts, "level", "size", "reference", "value", "low", "high", "found")
    rows = contrasts[(contrasts["measure"] == measure) & (contrasts["against"] == against)]
    references = list(dict.fromkeys(rows["reference"]))
    levels = [level for level in LEVELS if level in set(rows["level"])]
    sizes = sorted(set(rows["size"]))
    reach = float(rows["value"].abs().max())
    fig = make_subplots(
        rows=len(references), cols=1, shared_xaxes=True, vertical_spacing=0.06,
        subplot_titles=[f"Dual minus {arm_name(name)}" for name in references],
    )  # fmt: skip
    for place, name in enumerate(references, start=1):
        own = rows[rows["reference"] == name].set_index(["level", "size"])
        cells = [[own.loc[(level, size)] for size in sizes] for level in levels]
        said = [
            [
                f"{cell['value']:+.3f} [{cell['low']:+.3f}, {cell['high']:+.3f}]: {cell['found']}"
                for cell in line
            ]
            for line in cells
        ]
        fig.add_heatmap(
            z=[[float(cell["value"]) for cell in line] for line in cells],
            x=[str(size) for size in sizes], y=levels, customdata=said,
            text=[[_SIGNS[cell["found"]] for cell in line] for line in cells],
            texttemplate="%{text}", coloraxis="coloraxis",
            hovertemplate="%{y}, %{x} knees: %{customdata}<extra></extra>", row=place, col=1,
        )  # fmt: skip
    height = 200 + 260 * len(references)
    # Towards the names of the rows there is room for them, on a phone too.
    fig.update_annotations(x=1, xanchor="right")
    style_figure(fig, height=height, margin_b=136)
    fig.update_layout(
        coloraxis={
            "colorscale": "RdBu", "cmin": -reach, "cmax": reach,
            # Below the maps: beside them it would take the room of two columns on a phone.
            "colorbar": {
                "orientation": "h", "thickness": 14, "x": 0, "xanchor": "left", "len": 1,
                "yref": "container", "y": 0.01, "yanchor": "bottom", "nticks": 4, "tickangle": 0,
                "title": {"text": MEASURE_NAMES[measure], "side": "top"},
            },
        }
    )  # fmt: skip
    fig.update_yaxes(autorange="reversed")
    fig.update_xaxes(type="category")  # as numbers most sizes would be too narrow to see
    fig.update_xaxes(title="training knees", row=len(references), col=1)
    return for_phones(fig)


def learning_curves(scores: pd.DataFrame, measure: str, levels: list[str]) -> go.Figure:
    """Scores against the truth by number of training knees, a panel for each level of noise.

    Parameters
    ----------
    scores : DataFrame
        See :func:`.noise_scores.noise_tables`.
    measure : str
    levels : list of str
        Of :data:`.noise.LEVELS`.
    """
    require_columns(scores, "level", "size", "arm", "value", "low", "high", "against")
    rows = scores[(scores["measure"] == measure) & (scores["against"] == "truth")]
    arms = list(dict.fromkeys(rows["arm"]))
    fig = make_subplots(
        rows=len(levels), cols=1, shared_xaxes=True, vertical_spacing=0.06, subplot_titles=levels
    )
    for place, level in enumerate(levels, start=1):
        for i, arm in enumerate(arms):
            own = rows[(rows["level"] == level) & (rows["arm"] == arm)].sort_values("size")
            fig.add_scatter(
                x=own["size"] * 1.03 ** (i - (len(arms) - 1) / 2), y=own["value"],
                error_y={"array": own["high"] - own["value"], "thickness": 1.5, "width": 0,
                         "arrayminus": own["value"] - own["low"]},
                mode="lines+markers", name=arm_name(arm), legendgroup=arm, showlegend=place == 1,
                line={"color": COLOURS[i], "width": 1.5},
                marker={"symbol": SYMBOLS[i], "size": 7, "color": COLOURS[i]},
                customdata=own[["low", "high", "size"]],
                hovertemplate="%{customdata[2]} knees: %{y:.3f} "
                "[%{customdata[0]:.3f}, %{customdata[1]:.3f}]", row=place, col=1,
            )  # fmt: skip
    height = 140 + 220 * len(levels)
    style_figure(fig, height=height, legend_y=1 + 40 / height)
    fig.update_yaxes(title=MEASURE_NAMES[measure], matches="y")
    sizes = sorted(set(rows["size"]))
    fig.update_xaxes(type="log", tickvals=sizes, ticktext=[str(size) for size in sizes])
    fig.update_xaxes(title="training knees", row=len(levels), col=1)
    return for_phones(fig)


def effects_table(contrasts: pd.DataFrame, measure: str, reference: str) -> pd.DataFrame:
    """Dual minus one arm against the truth, written: a row a level, a column a number of knees."""
    rows = contrasts[
        (contrasts["measure"] == measure)
        & (contrasts["reference"] == reference)
        & (contrasts["against"] == "truth")
    ]
    said = rows.assign(said=written(rows, "+.3f"))
    wide = said.pivot(index="level", columns="size", values="said")
    return wide.loc[[level for level in LEVELS if level in wide.index]]


def anchored(contrasts: pd.DataFrame, measure: str) -> list[tuple[str, int]]:
    """Cells in which Dual anchors the grade, by the design: levels and numbers of knees.

    Those where Dual is better than Single-KL, and than two KL heads, against the truth.
    """
    rows = contrasts[(contrasts["measure"] == measure) & (contrasts["against"] == "truth")]
    found = rows.pivot(index=["level", "size"], columns="reference", values="found")
    both = (found[["single_kl", "two_kl"]] == GAIN).all(axis=1)
    return [(str(level), int(size)) for level, size in both.index[both]]


def in_sentences(contrasts: pd.DataFrame, measure: str) -> str:
    """What the map says against the truth, in Markdown, a line for each arm beside Dual."""
    rows = contrasts[(contrasts["measure"] == measure) & (contrasts["against"] == "truth")]
    lines = []
    for reference in dict.fromkeys(rows["reference"]):
        own = rows[rows["reference"] == reference]
        counts = own["found"].value_counts()
        most = own.iloc[int(own["value"].abs().to_numpy().argmax())]
        said = ", ".join(
            f"{words} in {counts[found]}" for found, words in _WORDS.items() if found in counts
        )
        size = interval_text(most["value"], most["low"], most["high"], "+.3f")
        clear = own.loc[own["q_value"] < LEVEL, "value"]
        lines.append(
            f"- **Dual minus {arm_name(reference)}**, {len(own)} cells: {said}. Largest: "
            f"{size}, with {most['size']} knees and noise “{most['level']}”. However small, "
            f"{(clear > 0).sum()} are above zero and {(clear < 0).sum()} below (q < {LEVEL:g})."
        )
    cells = anchored(contrasts, measure)
    if cells:
        number = f"{len(cells)} cell{'s' if len(cells) > 1 else ''}"
        where = "; ".join(f"“{level}”, {size} knees" for level, size in cells)
        lines.append(f"- **By the design Dual anchors the grade in {number}**: {where}.")
    else:
        lines.append("- **By the design there is no cell in which Dual anchors the grade.**")
    return "\n".join(lines)


def by_noise(contrasts: pd.DataFrame, measure: str) -> str:
    """Say in Markdown what Dual gains by the kind of noise, a line for each number of knees."""
    rows = contrasts[
        (contrasts["measure"] == measure)
        & (contrasts["reference"] == "single_kl")
        & (contrasts["against"] == "truth")
    ]
    lines = []
    for size, own in rows.groupby("size"):
        said = written(own.set_index("level"), "+.3f")
        each = [f"{said[level]} {words}" for level, words in _KINDS.items() if level in said]
        lines.append(f"- **{size:,} knees**: {'; '.join(each)}.")
    return "\n".join(lines)


def added(adds: pd.DataFrame, measure: str) -> pd.DataFrame:
    """What noise adds to Dual's gain, written: a row a level, a column a number of knees.

    Parameters
    ----------
    adds : DataFrame
        See :func:`.noise_scores.noise_adds`.
    measure : str
    """
    rows = adds[adds["measure"] == measure]
    said = rows.assign(said=written(rows, "+.3f"))
    wide = said.pivot(index="level", columns="size", values="said")
    return wide.loc[[level for level in LEVELS if level in wide.index]]


def is_noise_why(adds: pd.DataFrame, measure: str) -> str:
    """Say in Markdown whether noise makes the gain, a line for each kind of noise."""
    rows = adds[adds["measure"] == measure]
    lines = []
    for level, words in _KINDS.items():
        own = rows[rows["level"] == level]
        if own.empty:
            continue
        clear = own[own["q_value"] < LEVEL]
        more, less = clear[clear["value"] > 0], clear[clear["value"] < 0]
        said = [
            f"{word} with {', '.join(f'{size:,}' for size in part['size'])} knees"
            for word, part in (("more", more), ("less", less))
            if len(part)
        ]
        most = own.iloc[int(own["value"].abs().to_numpy().argmax())]
        size = interval_text(most["value"], most["low"], most["high"], "+.3f")
        lines.append(
            f"- Dual's gain {words}, minus that without noise: {' and '.join(said) or 'no clear'} "
            f"{'' if said else 'change '}(q < {LEVEL:g}); largest {size}, with {most['size']:,} "
            "knees."
        )
    return "\n".join(lines)


#: Levels that tell whether noise is the reason, in words.
_KINDS = {
    "none": "without noise",
    "fine alone": "with errors of the fine grade alone",
    "coarse alone": "with errors across the boundary of OA alone",
    "as measured": "with both",
}
#: What a cell of the map found, as it is written in it; and in a sentence.
_SIGNS = {"gain": "+", "loss": "−", "none": "=", "undecided": ""}
_WORDS = {
    "none": "within the margin",
    "gain": "a gain",
    "loss": "a loss",
    "undecided": "undecided",
}
