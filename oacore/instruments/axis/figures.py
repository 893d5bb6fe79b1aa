"""Figures of the features' geometry: Fig. 4's grid, measures with intervals, CKA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from oacore.errors import InputError
from oacore.instruments.axis.spread import DISTANCES
from oacore.names import ANSWER_NAMES, BACKBONE_NAMES, NAMES, in_order, ordered
from oacore.plots.intervals import interval_panels
from oacore.plots.style import OKABE_ITO, require_columns, style_figure

#: Measures by what they are called in figures; each group shares one scale.
AXIS_NAMES = {
    "rho_kl": "rho(PC1, KL)",
    "rho_oa": "rho(PC1, OA)",
    "oa_auc": "AUROC of OA",
    "evr_pc1": "share of PC1",
    "rho_d_adj": "rho(k, d)",
}
#: Of the training knees, on which the axis and the probe were fitted: for the table alone.
FITTED_NAMES = {
    "evr_pc1_fit": "share of PC1, training knees",
    "oa_auc_fit": "AUROC of OA, training knees",
}
STRUCTURE_NAMES = {
    "triplets": "triplets",
    "isotonic_r2": "isotonic R²",
    "linear_kl_auc": "KL, linear",
    "knn_kl_auc": "KL, neighbours",
    "linear_oa_auc": "OA, linear",
    "knn_oa_auc": "OA, neighbours",
}
DIMENSION_NAMES = {"participation": "participation", "two_nn": "TwoNN"}
DISTANCE_NAMES = {name: f"KL {name[2]} to {name[3]}" for name in DISTANCES}
FOLLOWS_NAMES = {
    "rho_severity": "true severity",
    "rho_true_grade": "true grade",
    "rho_label": "label",
    "severity_within_label": "truth in a label",
    "label_within_grade": "label in a grade",
}
#: Maps of the knees: columns of the table, titles of the axes.
_MAPS = (("pc1", "pc2", "PC1", "PC2"), ("tsne1", "tsne2", "t-SNE 1", "t-SNE 2"))
_PANEL, _WITHIN, _BETWEEN = 170, 32, 62  # px: height of a panel, below it in a pair, below a pair
_ABOVE, _BELOW = 118, 90  # px: buttons and legend, colour bars


def manifold_grid(table: pd.DataFrame) -> go.Figure:
    """Fig. 4: knees as each model sees them, a column a head, by PCA and by t-SNE below it.

    Buttons choose the colours: as in the paper (by the head's own label), KL, OA, true severity
    where it is known, age. Diamonds are knees with OA. A Dual model has one vector of features, so
    its two columns differ by their colours alone.

    Parameters
    ----------
    table : DataFrame
        A row a knee and model: ``backbone``, ``supervision``, ``pc1``, ``pc2``
        (:func:`.axis.pc_scores`), ``tsne1``, ``tsne2``
        (:func:`.shape.embed`), ``kl`` (0 to 4), ``age`` in years, ``hover`` (what is
        said of the knee, HTML); ``severity`` if known; ``key``, if given, becomes the points'
        customdata, by which :func:`.thumbnails.slices_on_hover` finds the knee's slice.
    """
    require_columns(
        table, "backbone", "supervision", "pc1", "pc2", "tsne1", "tsne2", "kl", "age", "hover"
    )
    if table["kl"].isna().any():
        raise InputError("manifold_grid: a knee has no grade; leave such knees out")
    table = table.assign(oa=(table["kl"] >= 2).astype(int))
    here = [name for name in ordered(table["backbone"]) if name in BACKBONE_NAMES]
    if not here:
        raise InputError(f"manifold_grid: no backbone of {[*BACKBONE_NAMES]} in the table")
    pair = len(_MAPS) * _PANEL + _WITHIN + _BETWEEN
    area = len(here) * pair - _BETWEEN
    fig = make_subplots(
        rows=len(here) * len(_MAPS), cols=len(ANSWER_NAMES), horizontal_spacing=0.015
    )
    panels = []
    for i, backbone in enumerate(here):
        for column, ((supervision, label), head) in enumerate(ANSWER_NAMES.items(), start=1):
            of_model = (table["backbone"] == backbone) & (table["supervision"] == supervision)
            knees = table[of_model]
            for j, (x, y, of_x, of_y) in enumerate(_MAPS):
                at = {"row": len(_MAPS) * i + j + 1, "col": column}
                panels.append((label, knees))
                _add_knees(fig, knees, (x, y), label, at)
                above = i * pair + j * (_PANEL + _WITHIN)  # px
                ends = [max(1 - (above + _PANEL) / area, 0), 1 - above / area]
                fig.update_xaxes(title=of_x, **at)
                fig.update_yaxes(title=of_y if column == 1 else None, domain=ends, **at)
            fig.add_annotation(
                text=f"{BACKBONE_NAMES[backbone]}, {head}", x=0.5, xref="x domain", y=1,
                yref="y domain", xanchor="center", yanchor="bottom", showarrow=False,
                row=len(_MAPS) * i + 1, col=column,
            )  # fmt: skip
    for name, symbol in (("no OA", "circle-open"), ("OA (KL ≥ 2)", "diamond-open")):
        fig.add_scatter(
            x=[None], y=[None], mode="markers", name=name, hoverinfo="skip",
            marker={"symbol": symbol, "size": 9, "color": "#333333"},
        )  # fmt: skip
    fig.update_annotations(font_size=14)
    ages = table["age"].min(), table["age"].max()
    style_figure(
        fig, height=area + _ABOVE + _BELOW, margin={"l": 40, "r": 12, "t": _ABOVE, "b": _BELOW},
        dragmode=False,  # else a finger could not scroll past the figure
        legend_y=1 + 32 / area, meta="knees" if "key" in table else None,
        **_colour_axes(ages, area),
    )  # fmt: skip
    fig.update_xaxes(showticklabels=False, title_standoff=2)
    fig.update_yaxes(showticklabels=False, title_standoff=2)
    return fig.update_layout(updatemenus=[_colour_menu(panels, area)])


def _add_knees(
    fig: go.Figure, knees: pd.DataFrame, axes: tuple[str, str], label: str, at: dict[str, int]
) -> None:
    """One panel: the knees of a model on two axes, coloured by a label."""
    fig.add_scatter(
        x=_numbers(knees[axes[0]]), y=_numbers(knees[axes[1]]), mode="markers", showlegend=False,
        text=knees["hover"].astype(str).tolist(), hovertemplate="%{text}<extra></extra>",
        customdata=knees["key"].tolist() if "key" in knees else None,
        marker={
            "size": 7, "line": {"color": "#333333", "width": 0.6},
            "symbol": ["diamond" if oa else "circle" for oa in knees["oa"]],
            "color": knees[label].tolist(), "coloraxis": _AXES[label],
        },
        **at,
    )  # fmt: skip


def measure_intervals(table: pd.DataFrame, names: Mapping[str, str]) -> go.Figure:
    """Measures of the models with their 95% intervals, a panel a backbone.

    Parameters
    ----------
    table : DataFrame
        ``backbone``, ``supervision`` (or "untrained"), ``measure``, ``value``, ``low``, ``high``,
        of one seed.
    names : mapping of a measure to its name
        What to draw, on one scale: `AXIS_NAMES`, `STRUCTURE_NAMES`, `DIMENSION_NAMES`,
        `DISTANCE_NAMES` or `FOLLOWS_NAMES`.
    """
    require_columns(table, "backbone", "supervision", "measure", "value", "low", "high")
    shown = table[table["measure"].isin(names)]
    if shown.empty:
        raise InputError(f"measure_intervals: the table has none of {[*names]}")
    if shown.duplicated(["backbone", "supervision", "measure"]).any():
        raise InputError("measure_intervals: a measure comes twice; choose one seed of each model")
    shown = in_order(_by_measure(shown, names), "backbone", "supervision")
    return interval_panels(shown, title="value (95% interval)", line=None)


def difference_intervals(table: pd.DataFrame, names: Mapping[str, str]) -> go.Figure:
    """Dual minus each single supervision, means over seeds with intervals over knees and seeds.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.effects.compare_axes`.
    names : mapping of a measure to its name
        As in :func:`measure_intervals`.
    """
    require_columns(table, "backbone", "reference", "measure", "value", "low", "high")
    shown = table[table["measure"].isin(names)]
    if shown.empty:
        raise InputError(f"difference_intervals: the table has none of {[*names]}")
    shown = in_order(_by_measure(shown, names), "backbone", "reference")
    return interval_panels(shown.assign(series="Dual minus " + shown["reference"].map(NAMES)))


def _by_measure(table: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Rows in the order of `names`, whose words stand in the column `metric`."""
    order = list(names).index
    sorted_rows = table.sort_values("measure", key=lambda m: m.map(order), kind="stable")
    return sorted_rows.assign(metric=sorted_rows["measure"].map(names))


def cka_heatmap(matrix: pd.DataFrame) -> go.Figure:
    """Linear CKA between models, values written on the cells.

    Parameters
    ----------
    matrix : DataFrame
        As :func:`.cka.cka_matrix` gives it.
    """
    if matrix.empty or list(matrix.index) != list(matrix.columns):
        raise InputError("cka_heatmap: rows and columns are not the same models")
    names = [str(name) for name in matrix.index]
    stacked = [name.replace(" ", "<br>", 1) for name in names]
    # Without zeros that say nothing: nine cells fit on a phone.
    text = [
        [f"{v:.2f}".replace("0.", ".").replace("1.00", "1") for v in row]
        for row in matrix.to_numpy()
    ]
    fig = go.Figure()
    fig.add_heatmap(
        z=matrix.to_numpy(), x=names, y=stacked, text=text, texttemplate="%{text}",
        textfont_size=12, colorscale="Blues", zmin=0, zmax=1, xgap=1, ygap=1, showscale=False,
        customdata=[[name] * len(names) for name in names],
        hovertemplate="%{customdata} and %{x}: %{z:.3f}<extra></extra>",
    )  # fmt: skip
    style_figure(
        fig, height=250 + 36 * len(names), margin={"l": 60, "r": 12, "t": 40, "b": 60},
        dragmode=False, modebar_remove=["zoom", "pan", "zoomIn", "zoomOut", "resetScale"],
    )  # fmt: skip
    title = {"text": "linear CKA", "standoff": 70}  # below names that stand aslant
    fig.update_xaxes(tickangle=-60, showgrid=False, title=title)
    return fig.update_yaxes(autorange="reversed", showgrid=False, tickfont_size=13)


#: The colour axis of each column by which knees are coloured.
_AXES = {"kl": "coloraxis", "oa": "coloraxis2", "severity": "coloraxis3", "age": "coloraxis4"}


def _colour_axes(ages: tuple[float, float], area: int) -> dict[str, Any]:
    """Colour axes with their bars below the panels; at first those of the paper's colouring."""
    grades = sample_colorscale("Cividis", [k / 4 for k in range(5)])
    classes = [OKABE_ITO["sky blue"], OKABE_ITO["vermilion"]]
    wanted: dict[str, tuple[str, Any, float, float, dict[str, Any]]] = {
        "kl": ("KL grade", _steps(grades), -0.5, 4.5, {"tickvals": list(range(5))}),
        "oa": (
            "OA", _steps(classes), -0.5, 1.5, {"tickvals": [0, 1], "ticktext": ["no OA", "OA"]}
        ),
        "severity": ("true severity", "Cividis", -0.5, 4.5, {"tickvals": list(range(5))}),
        "age": ("age (years)", "Viridis", float(ages[0]), float(ages[1]), {}),
    }  # fmt: skip
    axes = {}
    for name, (title, scale, low, high, ticks) in wanted.items():
        bar = {
            "title": {"text": title, "side": "top", "font": {"size": 14}},
            "orientation": "h", "thickness": 12, "len": 0.42,
            "x": 0.56 if name == "oa" else 0, "xanchor": "left",
            "y": -38 / area, "yanchor": "top", **ticks,
        }  # fmt: skip
        axes[_AXES[name]] = {
            "colorscale": scale, "cmin": low, "cmax": high, "colorbar": bar,
            "showscale": name in ("kl", "oa"),
        }  # fmt: skip
    return axes


def _steps(colours: list[str]) -> list[list[Any]]:
    """Colour scale of equal steps."""
    n = len(colours)
    return [[edge / n, c] for i, c in enumerate(colours) for edge in (i, i + 1)]


def _colour_menu(panels: list[tuple[str, pd.DataFrame]], area: int) -> dict[str, Any]:
    """Buttons that set the colours of all panels, and show the bars that belong to them."""
    known = "severity" in panels[0][1]
    wanted = {"as in the paper": None, "KL": "kl", "OA": "oa"}
    wanted |= {"truth": "severity"} if known else {}
    wanted |= {"age": "age"}
    buttons = []
    for name, column in wanted.items():
        labels = [column or label for label, _ in panels]
        restyled = {
            "marker.color": [
                _numbers(knees[label]) for label, (_, knees) in zip(labels, panels, strict=True)
            ],
            "marker.coloraxis": [_AXES[label] for label in labels],
        }  # fmt: skip
        bars = {f"{axis}.showscale": label in labels for label, axis in _AXES.items()}
        which = list(range(len(panels)))  # not the two of the legend
        buttons.append({"label": name, "method": "update", "args": [restyled, bars, which]})
    return {
        "buttons": buttons, "type": "buttons", "direction": "right", "showactive": True, "x": 0,
        "xanchor": "left", "y": 1 + _ABOVE / area, "yanchor": "top", "pad": {"t": 4, "b": 0},
        "bgcolor": "#F5F5F5", "font": {"size": 14},
    }  # fmt: skip


def _numbers(values: pd.Series) -> list[float]:
    """Plain numbers of four significant figures: what is drawn, and no more bytes."""
    return [float(f"{value:.4g}") for value in np.asarray(values, dtype=float)]
