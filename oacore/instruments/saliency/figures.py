"""Figures of saliency: what a map's place depends on, a panel for each backbone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from oacore.instruments.saliency.overlap import REGIONS
from oacore.names import (
    ANSWER_NAMES,
    BACKBONE_NAMES,
    HEAD_NAMES,
    SUPERVISION_NAMES,
    in_order,
)
from oacore.plots.intervals import HEAD_COLOURS, for_phones
from oacore.plots.style import (
    COLOURS,
    SUPERVISION_COLOURS,
    SYMBOLS,
    require_columns,
    style_figure,
)

#: What answers: a supervision and one of its heads.
MODEL_NAMES = {
    (supervision, head): SUPERVISION_NAMES[supervision]
    + (f", {HEAD_NAMES[head]}" if supervision == "dual" else "")
    for supervision, head in ANSWER_NAMES
}
#: Slices side by side.
WRAP = 3
#: The measures of Table 3.
MEASURE_NAMES = {
    "mass": "mass in region",
    "top1": "top 1% in region",
    "dice5": "Dice at 5%",
    "dice10": "Dice at 10%",
}


def named(table: pd.DataFrame) -> pd.DataFrame:
    """A table with `panel`, the backbone's name, `series`, the model's with its head, `metric`.

    Rows come in the paper's order; those of no head, such as the input alone, are left out. The
    metric is the measure's name, where the table has a measure and no metric.
    """
    require_columns(table, "backbone", "supervision", "head")
    table = in_order(table, "backbone", "supervision", "head")
    pairs = list(zip(table["supervision"], table["head"], strict=True))
    shown = table.assign(
        panel=table["backbone"].map(BACKBONE_NAMES),
        series=pd.Series(pairs, table.index).map(MODEL_NAMES),
    ).dropna(subset="series")
    if "measure" in shown and "metric" not in shown:
        shown["metric"] = shown["measure"].map(MEASURE_NAMES)
    return shown


def method_panels(
    image: np.ndarray, labels: np.ndarray, spacing: np.ndarray, maps: Mapping[str, np.ndarray]
) -> go.Figure:
    """One sagittal slice of a knee, and of its maps by several methods.

    Parameters
    ----------
    image, labels : ndarray, shape (D, H, W)
        Canonical axes. The slice is that which holds most cartilage, or the middle one.
    spacing : ndarray, shape (3,)
        Voxel sizes in mm.
    maps : mapping of a method's name to a map in [0, 1], shape (D, H, W)
        Drawn is the root: saliency has a long tail.
    """
    cartilage = np.isin(labels, REGIONS["cartilage"]).sum(axis=(1, 2))
    at = int(cartilage.argmax()) if cartilage.any() else len(image) // 2
    black, white = np.percentile(image, (1, 99.5))
    shown = {"the knee": np.clip((image - black) / max(white - black, 1e-12), 0, 1)}
    shown |= {name: np.sqrt(values) for name, values in maps.items()}
    # Superior is up, anterior on the left: the second axis runs forwards, the third upwards.
    slices = [values[at].T[::-1, ::-1] for values in shown.values()]
    size = [round(2 * n * mm) for n, mm in zip(slices[0].shape, spacing[[2, 1]], strict=True)]
    grey = [Image.fromarray((255 * values).round().astype(np.uint8)) for values in slices]
    stacked = np.stack([np.asarray(one.resize(size[::-1])) for one in grey])
    fig = px.imshow(stacked, facet_col=0, facet_col_wrap=WRAP, binary_string=True)
    names = list(shown)
    rows = [names[start : start + WRAP] for start in range(0, len(names), WRAP)]
    for note, name in zip(fig.layout.annotations, chain(*reversed(rows)), strict=True):
        note.text = name  # plotly counts the rows from below
    fig.update_traces(hoverinfo="skip", hovertemplate=None)
    style_figure(fig, height=240 * len(rows), margin={"l": 8, "r": 8, "t": 36, "b": 8})
    fig.update_annotations(font_size=13)
    fig.update_xaxes(visible=False).update_yaxes(visible=False)
    return fig.update_layout(dragmode=False)


def line_panels(table: pd.DataFrame, x: str, y: str, line: float | None = None) -> go.Figure:
    """Lines over steps that have an order, a panel a backbone, one below the other.

    Parameters
    ----------
    table : DataFrame
        ``panel``, ``series``, ``step`` (in its order within a panel), ``value``; ``low`` and
        ``high`` where intervals are drawn; ``dashed`` (bool) for lines of comparison, which take
        the colour of the series of the same name. Series are those of `MODEL_NAMES`.
    x, y : str
        Titles of the axes.
    line : float, optional
        Where a line marks a value.
    """
    require_columns(table, "panel", "series", "step", "value")
    panels = list(dict.fromkeys(table["panel"]))
    series = list(MODEL_NAMES.values())
    colours = {
        "Single-OA": SUPERVISION_COLOURS["single_oa"],
        "Single-KL": SUPERVISION_COLOURS["single_kl"],
        **HEAD_COLOURS,
    }
    height = 150 + 250 * len(panels)
    fig = make_subplots(
        rows=len(panels), subplot_titles=panels, vertical_spacing=110 / height,
        shared_yaxes="all",
    )  # fmt: skip
    drawn = set()
    table = table.assign(dashed=table.get("dashed", False))
    for row, panel in enumerate(panels, start=1):
        here = table[table["panel"] == panel]
        for (name, dashed), part in here.groupby(["series", "dashed"], sort=False):
            symbol, colour = SYMBOLS[series.index(name)], colours[name]
            error = {}
            if "low" in part:
                error = {
                    "array": part["high"] - part["value"], "thickness": 1.5, "width": 3,
                    "arrayminus": part["value"] - part["low"],
                }  # fmt: skip
            fig.add_scatter(
                x=part["step"], y=part["value"], error_y=error, name=str(name),
                mode="lines+markers", legendgroup=str(name),
                showlegend=not dashed and name not in drawn,
                line={"color": colour, "width": 2, "dash": "dot" if dashed else "solid"},
                marker={
                    "size": 8, "color": "white" if dashed else colour,
                    "symbol": symbol, "line": {"color": colour, "width": 1.5},
                },
                hovertemplate="%{x}: %{y:.2f}", row=row, col=1,
            )  # fmt: skip
            drawn |= set() if dashed else {name}
    if line is not None:
        fig.add_hline(line, line_color="#1A1A1A", line_width=1)
    style_figure(fig, height=height, margin_t=96, legend_y=1 + 40 / height)
    fig.update_xaxes(type="category").update_yaxes(title=y, rangemode="tozero")
    return for_phones(fig.update_xaxes(title=x, row=len(panels)))


def game_panels(curves: pd.DataFrame, controls: Collection[str]) -> go.Figure:
    """An answer's mean probability as voxels go and as they come, a line an order.

    Parameters
    ----------
    curves : DataFrame
        Table "curves" of :func:`.read.read_explained`; lines are means over its knees.
    controls : collection of str
        Methods that no network had a part in: dotted.
    """
    require_columns(curves, "method", "measure", "share", "value")
    means = curves.groupby(["measure", "method", "share"])["value"].mean()
    methods, games = (list(dict.fromkeys(curves[key])) for key in ("method", "measure"))
    fig = make_subplots(
        rows=len(games), subplot_titles=games, vertical_spacing=0.16, shared_yaxes="all"
    )
    for row, game in enumerate(games, start=1):
        for at, method in enumerate(methods):
            line, control = means[game, method], method in controls
            fig.add_scatter(
                x=100 * line.index, y=line, name=method, legendgroup=method, showlegend=row == 1,
                mode="lines+markers",
                line={
                    "color": "#1A1A1A" if control else COLOURS[at % len(COLOURS)], "width": 2,
                    "dash": "dot" if control else "solid",
                },
                marker={"size": 7, "symbol": SYMBOLS[at % len(SYMBOLS)]},
                hovertemplate="%{x:.0f}%: %{y:.2f}", row=row, col=1,
            )  # fmt: skip
    style_figure(fig, height=720, margin_t=96, legend_y=1 + 40 / 720)
    fig.update_yaxes(title="probability")
    return for_phones(fig.update_xaxes(title="% of the voxels, most salient first", row=len(games)))
