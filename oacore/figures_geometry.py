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
from oacore.figures import OKABE_ITO, _need, _style
from oacore.figures_compare import interval_panels
from oacore.hierarchy import SUPERVISION_NAMES
from oacore.model import BACKBONE_NAMES
from oacore.severity import DISTANCES

#: Columns of Fig. 4: the supervision, and the label by which the paper colours its knees.
HEADS = {
    "Single-OA": ("single_oa", "oa"),
    "Single-KL": ("single_kl", "kl"),
    "Dual-OA": ("dual", "oa"),
    "Dual-KL": ("dual", "kl"),
}
#: Measures by what they are called in figures; each group shares one scale.
AXIS_NAMES = {
    "rho_kl": "rho(PC1, KL)",
    "rho_oa": "rho(PC1, OA)",
    "oa_auc": "AUROC of OA",
    "evr_pc1": "share of PC1",
    "rho_d_adj": "rho(k, d_adj)",
}
STRUCTURE_NAMES = {
    "triplets": "triplets",
    "isotonic_r2": "isotonic R²",
    "linear_kl_auc": "KL, linear",
    "knn_kl_auc": "KL, neighbours",
    "linear_oa_auc": "OA, linear",
    "knn_oa_auc": "OA, neighbours",
}
DISTANCE_NAMES = {name: f"KL {name[2]} to {name[3]}" for name in DISTANCES}
FOLLOWS_NAMES = {
    "rho_severity": "true severity",
    "rho_true_grade": "true grade",
    "rho_label": "label",
    "severity_within_label": "truth in a label",
    "label_within_grade": "label in a grade",
}
_MAPS = {"PCA": ("pc1", "pc2", "PC1", "PC2"), "t-SNE": ("tsne1", "tsne2", "t-SNE 1", "t-SNE 2")}


def manifold_grid(table: pd.DataFrame, columns: int = 4) -> go.Figure:
    """Fig. 4: knees as each model sees them, a panel a backbone and head.

    Buttons switch between PCA and t-SNE, and between colourings: as in the paper (by the head's
    own label), KL, OA, true severity where it is known, age. Diamonds are knees with OA. A Dual
    model has one vector of features, so its two panels differ by their colours alone.

    Parameters
    ----------
    table : DataFrame
        A row a knee and model: ``backbone``, ``supervision``, ``pc1``, ``pc2``
        (:func:`oacore.severity.pc_scores`), ``tsne1``, ``tsne2``
        (:func:`oacore.geometry.embed`), ``kl`` (0 to 4), ``age`` in years, ``hover`` (what is
        said of the knee, HTML); ``severity`` if known; ``key``, if given, becomes the points'
        customdata, for a page that shows the knee's slice.
    columns : {4, 2, 1}
        Panels in a row. Four scroll sideways on a phone, one does not.
    """
    _need(table, "backbone", "supervision", "pc1", "pc2", "tsne1", "tsne2", "kl", "age", "hover")
    if columns not in (4, 2, 1):
        raise InputError(f"manifold_grid: {columns} columns; give 4, 2 or 1")
    if table["kl"].isna().any():
        raise InputError("manifold_grid: a knee has no grade; leave such knees out")
    table = table.assign(oa=(table["kl"] >= 2).astype(int))
    panels = [
        (f"{BACKBONE_NAMES[backbone]}, {head}", label, rows)
        for backbone in BACKBONE_NAMES
        for head, (supervision, label) in HEADS.items()
        if len(rows := table[(table["backbone"] == backbone)
                             & (table["supervision"] == supervision)])
    ]  # fmt: skip
    if not panels:
        raise InputError(f"manifold_grid: no backbone of {[*BACKBONE_NAMES]} in the table")
    rows_of_panels = -(-len(panels) // columns)
    height = 190 + 250 * rows_of_panels
    fig = make_subplots(
        rows=rows_of_panels, cols=columns, subplot_titles=[title for title, _, _ in panels],
        horizontal_spacing=0.06 / columns, vertical_spacing=34 / height,
    )  # fmt: skip
    for i, (_, label, knees) in enumerate(panels):
        fig.add_scatter(
            x=_numbers(knees["pc1"]), y=_numbers(knees["pc2"]), mode="markers", showlegend=False,
            text=knees["hover"].astype(str).tolist(), hovertemplate="%{text}<extra></extra>",
            customdata=knees["key"].tolist() if "key" in knees else None,
            marker={
                "size": 8, "line": {"color": "#333333", "width": 0.6},
                "symbol": ["diamond" if oa else "circle" for oa in knees["oa"]],
                "color": knees[label].tolist(), "coloraxis": _AXES[label],
            },
            row=i // columns + 1, col=i % columns + 1,
        )  # fmt: skip
    for name, symbol in (("no OA", "circle-open"), ("OA (KL ≥ 2)", "diamond-open")):
        fig.add_scatter(
            x=[None], y=[None], mode="markers", name=name, hoverinfo="skip",
            marker={"symbol": symbol, "size": 9, "color": "#333333"},
        )  # fmt: skip
    fig.update_annotations(font_size=14)
    ages = table["age"].min(), table["age"].max()
    _style(fig, height=height, margin={"l": 40, "r": 12, "t": 150, "b": 90})
    fig.update_layout(
        legend={"y": 1 + 34 / (height - 240)}, **_colour_axes(ages, height),
    )  # fmt: skip
    fig.update_xaxes(showticklabels=False).update_yaxes(showticklabels=False, title_standoff=2)
    last = [max(range(len(panels))[column::columns], default=0) for column in range(columns)]
    for i in (i for i in last if i < len(panels)):
        fig.update_xaxes(title="PC1", row=i // columns + 1, col=i % columns + 1)
    fig.update_yaxes(title="PC2", col=1)
    titles = {
        name: fig.layout[name].title.text
        for name in fig.to_dict()["layout"]
        if name[1:5] == "axis" and fig.layout[name].title.text
    }
    menus = [
        _map_menu(panels, titles, columns, height), _colour_menu(panels, columns, height),
    ]  # fmt: skip
    return fig.update_layout(updatemenus=menus)


def measure_intervals(table: pd.DataFrame, names: Mapping[str, str]) -> go.Figure:
    """Measures of the models with their 95% intervals, a panel a backbone.

    Parameters
    ----------
    table : DataFrame
        ``backbone``, ``supervision``, ``measure``, ``value``, ``low``, ``high``, of one seed.
    names : mapping of a measure to its name
        What to draw, on one scale: `AXIS_NAMES`, `STRUCTURE_NAMES`, `DISTANCE_NAMES` or
        `FOLLOWS_NAMES`.
    """
    _need(table, "backbone", "supervision", "measure", "value", "low", "high")
    shown = table[table["measure"].isin(names)]
    if shown.empty:
        raise InputError(f"measure_intervals: the table has none of {[*names]}")
    if shown.duplicated(["backbone", "supervision", "measure"]).any():
        raise InputError("measure_intervals: a measure comes twice; choose one seed of each model")
    order = [*BACKBONE_NAMES, *SUPERVISION_NAMES, *names]
    shown = shown.sort_values(
        ["backbone", "supervision", "measure"], key=lambda column: column.map(order.index)
    )
    renamed = shown.assign(
        panel=shown["backbone"].map(BACKBONE_NAMES),
        series=shown["supervision"].map(SUPERVISION_NAMES),
        metric=shown["measure"].map(names),
    )
    return interval_panels(renamed, title="value (95% interval)", line=None)


def cka_heatmap(matrix: pd.DataFrame) -> go.Figure:
    """Linear CKA between models, values written on the cells.

    Parameters
    ----------
    matrix : DataFrame
        As :func:`oacore.cka.cka_matrix` gives it.
    """
    if matrix.empty or list(matrix.index) != list(matrix.columns):
        raise InputError("cka_heatmap: rows and columns are not the same models")
    names = [str(name) for name in matrix.index]
    # Without zeros that say nothing: nine cells fit on a phone.
    text = [
        [f"{v:.2f}".replace("0.", ".").replace("1.00", "1") for v in row]
        for row in matrix.to_numpy()
    ]
    fig = go.Figure()
    fig.add_heatmap(
        z=matrix.to_numpy(), x=names, y=names, text=text, texttemplate="%{text}",
        textfont_size=12, colorscale="Blues", zmin=0, zmax=1, xgap=1, ygap=1, showscale=False,
        hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
    )  # fmt: skip
    _style(fig, height=230 + 32 * len(names), margin={"l": 60, "r": 12, "t": 12, "b": 60})
    fig.update_xaxes(tickangle=-60, showgrid=False, title="linear CKA")
    return fig.update_yaxes(autorange="reversed", showgrid=False)


#: The colour axis of each column by which knees are coloured.
_AXES = {"kl": "coloraxis", "oa": "coloraxis2", "severity": "coloraxis3", "age": "coloraxis4"}


def _colour_axes(ages: tuple[float, float], height: int) -> dict[str, Any]:
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
            "y": -52 / (height - 240), "yanchor": "top", **ticks,
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


def _colour_menu(panels: list[tuple[str, str, pd.DataFrame]], columns: int, height: int) -> Any:
    """Buttons that set the colours of all panels, and show the bars that belong to them."""
    known = "severity" in panels[0][2]
    wanted = {"as in the paper": None, "KL": "kl", "OA": "oa"}
    wanted |= {"truth": "severity"} if known else {}
    wanted |= {"age": "age"}
    buttons = []
    for name, column in wanted.items():
        labels = [column or label for _, label, _ in panels]
        restyled = {
            "marker.color": [
                _numbers(knees[label])
                for label, (_, _, knees) in zip(labels, panels, strict=True)
            ],
            "marker.coloraxis": [_AXES[label] for label in labels],
        }  # fmt: skip
        bars = {f"{axis}.showscale": label in labels for label, axis in _AXES.items()}
        which = list(range(len(panels)))  # not the two of the legend
        buttons.append({"label": name, "method": "update", "args": [restyled, bars, which]})
    return _menu(buttons, 148, columns, height)


def _map_menu(
    panels: list[tuple[str, str, pd.DataFrame]], titles: dict[str, str], columns: int, height: int
) -> Any:
    """Buttons for PCA and t-SNE, which move all points and rename the axes that have a title."""
    buttons = []
    for name, (x, y, of_x, of_y) in _MAPS.items():
        moved = {
            axis: [_numbers(knees[column]) for _, _, knees in panels]
            for axis, column in (("x", x), ("y", y))
        }
        named = {f"{axis}.title.text": of_x if axis[0] == "x" else of_y for axis in titles}
        which = list(range(len(panels)))
        buttons.append({"label": name, "method": "update", "args": [moved, named, which]})
    return _menu(buttons, 112, columns, height)


def _menu(buttons: list[dict[str, Any]], above: int, columns: int, height: int) -> dict[str, Any]:
    """A row of buttons `above` the panels by so many pixels; a list to open in one column."""
    return {
        "buttons": buttons, "type": "buttons" if columns > 1 or len(buttons) < 3 else "dropdown",
        "direction": "right" if columns > 1 or len(buttons) < 3 else "down", "x": 0,
        "xanchor": "left", "y": 1 + above / (height - 240), "yanchor": "top", "showactive": True,
        "pad": {"t": 0, "b": 0}, "bgcolor": "#F5F5F5", "font": {"size": 14},
    }  # fmt: skip


def _numbers(values: pd.Series) -> list[float]:
    """Plain numbers of four significant figures: what is drawn, and no more bytes."""
    return [float(f"{value:.4g}") for value in np.asarray(values, dtype=float)]
