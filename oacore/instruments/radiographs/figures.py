"""Figures of a joint's picture: radiographs side by side, numbered, and what they measure."""

from __future__ import annotations

import html
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from oacore.errors import InputError
from oacore.instruments.phantom.grades import SIDES
from oacore.instruments.radiographs.places import landmark_table
from oacore.plots.page import Html
from oacore.plots.sheets import encoded
from oacore.plots.style import COLOURS, OKABE_ITO, SYMBOLS, require_columns, style_figure

#: Colours of the compartments, and of points that are in none.
COMPARTMENT_COLOURS = {
    "FL": OKABE_ITO["orange"],
    "FM": OKABE_ITO["sky blue"],
    "TL": OKABE_ITO["yellow"],
    "TM": OKABE_ITO["green"],
    "": "#ffffff",
}
_QUALITY = 85  # JPEG's
_ARRIVES = 0.2  # of the beam: where the axis ends, since beside the leg all arrives
_NARROWEST = 140  # px, of a picture in a row
#: Where names stand above or below their points, in parts of a picture 240 wide: in the bone.
_BESIDE = {"t": 14.0, "f": -7.0}
_FURTHER = {"t4": 24.0}  # between the spines there is no room


def pictures_beside(pictures: Mapping[str, np.ndarray], alt: str, in_row: int = 4) -> Html:
    """Pictures side by side, each with its name; on a narrow screen in several rows.

    Parameters
    ----------
    pictures : mapping of a name to an ndarray of uint8, shape (height, width)
    alt : str
        What all of them show, for readers who cannot see it.
    in_row : int
        How many there are in a row, at the most.

    Raises
    ------
    InputError
        If there is no picture or no text.
    """
    if not pictures or not alt.strip():
        raise InputError("pictures_beside: a picture and a text alternative are needed; give both")
    shown = "".join(
        '<div style="min-width:0">'
        f'<img class="dark-light" src="{_uri(picture)}" alt="{html.escape(name)}" '
        'style="display:block;width:100%;border-radius:4px">'
        f'<div style="font-size:.9rem;text-align:center;padding:.2em 0">{html.escape(name)}</div>'
        "</div>"
        for name, picture in pictures.items()
    )
    share = 100 / (in_row + 0.5)  # of the row's width: one more would not fit
    return Html(
        f'<figure class="oa-pictures" role="group" aria-label="{html.escape(alt)}" '
        'style="margin:0;display:grid;gap:8px;grid-template-columns:'
        f'repeat(auto-fit,minmax(max({_NARROWEST}px,{share:.1f}%),1fr))">{shown}</figure>',
        alt,
    )


def numbered(picture: np.ndarray, landmarks: np.ndarray, alt: str) -> Html:
    """A radiograph with its landmarks, each with its name and in the color of its compartment.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width)
    landmarks : ndarray, shape (16, 2)
        x and y in pixels, whose centres are at whole numbers.
    alt : str
        What it shows, for readers who cannot see it.
    """
    if not alt.strip():
        raise InputError("numbered: the text alternative is empty: say in a sentence what is seen.")
    height, width = picture.shape
    unit = width / 240
    marks = []
    for row, (x, y) in zip(landmark_table().to_dict("records"), landmarks + 0.5, strict=True):
        colour = COMPARTMENT_COLOURS[row["compartment"]]
        beside = y + _FURTHER.get(row["point"], _BESIDE[row["point"][0]]) * unit
        said = f"{row['point']}: {row['bone']}, {row['side']}, {row['what']}"
        marks.append(
            f'<g><title>{html.escape(said)}</title><circle cx="{x:.1f}" cy="{y:.1f}" '
            f'r="{2.4 * unit:.2f}" fill="{colour}" stroke="#000" stroke-width="{unit:.2f}"/>'
            f'<text x="{x:.1f}" y="{beside:.1f}" fill="{colour}">{row["point"]}</text></g>'
        )
    style = (
        f"font:600 {9.5 * unit:.1f}px system-ui,sans-serif;text-anchor:middle;paint-order:stroke;"
        f"stroke:#000;stroke-width:{2.2 * unit:.1f}px;stroke-linejoin:round"
    )
    return Html(
        '<figure class="oa-pictures" style="margin:0">'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(alt)}" '
        'style="display:block;width:100%;max-width:620px;margin:0 auto;border-radius:6px">'
        f'<image href="{_uri(picture)}" width="{width}" height="{height}"/>'
        f'<g style="{style}">{"".join(marks)}</g></svg></figure>',
        alt,
    )


def beam_losses(table: pd.DataFrame) -> go.Figure:
    """What the beam loses along rows of a picture, tissue on tissue; a slider chooses the row.

    Below, the share of it that arrives: Beer and Lambert's exponential of the sum above.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.beam.along_rows`.
    """
    require_columns(table, "height", "across", "part", "attenuation")
    heights = sorted(set(table["height"]))
    parts = list(dict.fromkeys(table["part"]))
    wide = table.pivot_table(
        index=["height", "across"], columns="part", values="attenuation", sort=False
    )
    fig = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.08, row_heights=[0.62, 0.38])
    curves = {height: _curves(wide.loc[height], parts) for height in heights}
    first = heights[len(heights) // 2]
    across = wide.loc[first].index
    for part, colour, values in zip(parts, COLOURS, curves[first], strict=False):
        fig.add_scatter(
            x=across, y=values, name=part, mode="lines", stackgroup="lost",
            line={"width": 0.5, "color": colour}, hovertemplate="%{y:.2f}", row=1, col=1,
        )  # fmt: skip
    fig.add_scatter(
        x=across, y=curves[first][-1], name="what arrives", mode="lines", showlegend=False,
        line={"color": "#1A1A1A", "width": 2}, hovertemplate="%{y:.1%}", row=2, col=1,
    )  # fmt: skip
    steps = [
        {"label": f"{height:g}", "method": "restyle", "args": [{"y": curves[height]}]}
        for height in heights
    ]
    slider = {
        "steps": steps, "active": heights.index(first), "pad": {"t": 72},
        "currentvalue": {"prefix": "height over the joint space: ", "suffix": " mm"},
    }  # fmt: skip
    style_figure(fig, height=640, sliders=[slider], margin_b=170, margin_t=84, hovermode="x")
    totals = wide.sum(axis=1)
    fig.update_yaxes(title="lost (natural log)", range=[0, 1.05 * totals.max()], row=1, col=1)
    fig.update_yaxes(title="arrives", tickformat=".0%", rangemode="tozero", row=2, col=1)
    fig.update_yaxes(range=[0, _ARRIVES], row=2, col=1)
    fig.update_xaxes(autorange="reversed")  # as in the picture, lateral is on the left
    return fig.update_xaxes(title="lateral to medial (mm)", row=2, col=1)


def _curves(one: pd.DataFrame, parts: list[str]) -> list[list[float]]:
    """Losses of each part along a row, and the share that arrives."""
    arrives = np.exp(-one.sum(axis=1))
    return [[round(float(v), 3) for v in one[part]] for part in parts] + [
        [round(float(v), 5) for v in arrives]
    ]


def spaces_by_tilt(table: pd.DataFrame) -> go.Figure:
    """Joint space as it shows on each side against the tilt of the beam.

    Parameters
    ----------
    table : DataFrame
        Of :func:`.beam.in_tilted_beams`.
    """
    require_columns(table, "tilt", "side", "space")
    fig = go.Figure()
    for i, side in enumerate(SIDES):
        part = table[table["side"] == side]
        fig.add_scatter(
            x=part["tilt"], y=part["space"], name=side, mode="lines+markers",
            line={"color": COLOURS[i], "dash": ("solid", "dash")[i]},
            marker={"size": 8, "symbol": SYMBOLS[i]},
            hovertemplate="%{x}°: %{y:.2f} mm",
        )  # fmt: skip
    style_figure(fig, height=400, xaxis_title="steeper fall of the beam (°)")
    return fig.update_yaxes(title="joint space as it shows (mm)", rangemode="tozero")


def measured_spaces(table: pd.DataFrame) -> go.Figure:
    """Joint space between landmarks against what was drawn, a panel a side, a color a grade.

    Parameters
    ----------
    table : DataFrame
        Of :func:`.truth.joint_spaces_beside`.
    """
    require_columns(table, "side", "jsn", "drawn", "measured")
    fig = make_subplots(
        cols=2, shared_yaxes=True, horizontal_spacing=0.05, subplot_titles=list(SIDES)
    )
    most = float(table[["drawn", "measured"]].max().max()) * 1.05
    for col, side in enumerate(SIDES, start=1):
        fig.add_scatter(
            x=[0, most], y=[0, most], mode="lines", name="as drawn", showlegend=col == 1,
            legendgroup="line", line={"color": "#555555", "dash": "dot"}, hoverinfo="skip",
            row=1, col=col,
        )  # fmt: skip
        for jsn in sorted(table["jsn"].unique()):
            part = table[(table["side"] == side) & (table["jsn"] == jsn)]
            fig.add_scatter(
                x=part["drawn"].round(2), y=part["measured"].round(2), mode="markers",
                name=f"JSN {jsn}", legendgroup=f"{jsn}", showlegend=col == 1,
                marker={"size": 7, "symbol": SYMBOLS[jsn], "color": COLOURS[jsn], "opacity": 0.7},
                hovertemplate="drawn %{x:.1f} mm, measured %{y:.1f} mm", row=1, col=col,
            )  # fmt: skip
    style_figure(fig, height=460, margin_t=84, legend_y=1.08)
    fig.update_yaxes(range=[-0.5, most]).update_yaxes(title="between landmarks (mm)", row=1, col=1)
    return fig.update_xaxes(title="drawn (mm)", range=[0, most])


def _uri(picture: np.ndarray) -> str:
    data, kind = encoded(np.asarray(picture, np.uint8), _QUALITY)
    return f"data:{kind};base64,{data}"
