"""What is shown of drawn knees over time: pictures, figures, tables of a page, and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy.stats import rankdata

from oacore.instruments.hierarchy.visit_axes import AXES, UNTRAINED, Read, by_knee
from oacore.instruments.hierarchy.visit_scores import (
    FAITHFUL,
    VISIT_MEASURES,
    Courses,
    faithful,
)
from oacore.instruments.hierarchy.visits import COURSES
from oacore.names import SUPERVISION_NAMES, interval_text, written
from oacore.plots.intervals import for_phones
from oacore.plots.sheets import grey_levels
from oacore.plots.style import (
    COLOURS,
    SUPERVISION_COLOURS,
    SYMBOLS,
    require_columns,
    style_figure,
)

NETWORK_NAMES = {UNTRAINED: "untrained", **SUPERVISION_NAMES}
_COLOURS = {UNTRAINED: "#767676", **SUPERVISION_COLOURS}
#: Of a drawn knee: what is measured, and whether it goes up or down with the disease.
LENGTHS = {
    "effusion_mm": ("effusion", 1),
    "osteophyte_fm_mm": ("osteophyte, medial femur", 1),
    "joint_space_medial_mm": ("medial joint space", -1),
    "thickness_femur_medial_mm": ("cartilage, medial femur", -1),
    "size": ("size of the knee", 1),
}
_CURVES = {"across knees": "true severity", "within knees": "rise of true severity"}


def across_and_within(table: pd.DataFrame) -> pd.DataFrame:
    """How lengths of drawn knees go with true severity, across knees and within them.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.visits.sample_visits`.

    Returns
    -------
    DataFrame
        By length: Spearman's correlation with true severity over all knees at the first visit, and
        over the visits of a knee, a mean over knees that change; both with the sign that the
        disease gives it. NaN where a length never differs within a knee.
    """
    severity = by_knee(table, table["severity"])
    moves = np.ptp(severity, axis=1) > 0
    found = {}
    for name, (said, sign) in LENGTHS.items():
        values = sign * by_knee(table, table[name])
        within = [_spearman(*pair) for pair in zip(values[moves], severity[moves], strict=True)]
        one = np.isfinite(within)
        found[said] = {
            "across knees": _spearman(values[:, 0], severity[:, 0]),
            "within a knee": float(np.mean(np.array(within)[one])) if one.any() else np.nan,
        }
    return pd.DataFrame(found).T.rename_axis("drawn length")


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    x, y = (rankdata(one) - (len(one) + 1) / 2 for one in (a, b))
    spread = (x * x).sum() * (y * y).sum()
    return float((x * y).sum() / np.sqrt(spread)) if spread > 0 else np.nan


def visit_pictures(
    table: pd.DataFrame, images: np.ndarray, voxel: tuple[float, float]
) -> go.Figure:
    """A coronal slice through the joint of one knee at each visit, side by side.

    Parameters
    ----------
    table : DataFrame
        Rows of one knee.
    images : (visits, X, Y, Z) array
        From left to right, back to front, bottom to top.
    voxel : (float, float)
        Along X and Z, mm.
    """
    require_columns(table, "visit", "severity", "kl_true")
    titles = [
        f"visit {row.visit}, KL {row.kl_true}<br>severity {row.severity:.1f}"
        for row in table.itertuples()
    ]
    fig = make_subplots(cols=len(titles), subplot_titles=titles, horizontal_spacing=0.02)
    n_across, n_back, n_up = images.shape[1:]
    # Through the middle of the plateaus, and about the joint line.
    middle, sides, ends = n_back * 43 // 100, n_across // 10, (n_up // 4, n_up * 5 // 8)
    for col, image in enumerate(images, start=1):
        grey = grey_levels(image, (1, 99.5))[sides:-sides, middle, slice(*ends)]
        fig.add_heatmap(
            z=grey.T, x=voxel[0] * np.arange(grey.shape[0]), y=voxel[1] * np.arange(grey.shape[1]),
            colorscale="Greys_r", showscale=False, hoverinfo="skip", row=1, col=col,
        )  # fmt: skip
        fig.update_yaxes(scaleanchor=f"x{col if col > 1 else ''}", row=1, col=col)
    style_figure(fig, height=220, margin_l=12, margin_b=16, margin_t=64)
    fig.update_annotations(font_size=12)
    fig.update_xaxes(visible=False).update_yaxes(visible=False)
    return for_phones(fig)


def course_figure(table: pd.DataFrame, knees: Sequence[int]) -> go.Figure:
    """True severity of some knees from visit to visit, a line a knee.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.visits.sample_visits`.
    knees : sequence of int
        Which of them.
    """
    require_columns(table, "knee", "visit", "course", "severity")
    fig = go.Figure()
    kinds = list(COURSES)
    shown = set()
    for knee in knees:
        own = table[table["knee"] == knee]
        kind = str(own["course"].iloc[0])
        fig.add_scatter(
            x=own["visit"], y=own["severity"], mode="lines+markers", name=kind, legendgroup=kind,
            showlegend=kind not in shown, line_color=COLOURS[kinds.index(kind)],
            marker={"size": 7, "symbol": SYMBOLS[kinds.index(kind)]},
            hovertemplate=f"knee {knee}, visit %{{x}}: %{{y:.2f}}",
        )  # fmt: skip
        shown.add(kind)
    style_figure(fig, height=360, yaxis_title="true severity", xaxis_title="visit")
    return for_phones(fig.update_xaxes(dtick=1))


def curves_figure(curves: pd.DataFrame, axis: str) -> go.Figure:
    """An axis against true severity: across knees, and below it within them.

    Parameters
    ----------
    curves : DataFrame
        Rows of :meth:`.visit_scores.Courses.curves`, with axis and network.
    axis : str
        Of :data:`.visit_axes.AXES`.
    """
    require_columns(curves, "axis", "network", "curve", "x", "value", "low", "high", "knees")
    rows = curves[curves["axis"] == axis]
    titles = ["across knees, first visit", "within knees, since the first visit"]
    fig = make_subplots(rows=2, subplot_titles=titles, vertical_spacing=0.2)
    networks = [name for name in NETWORK_NAMES if name in set(rows["network"])]
    for place, network in enumerate(networks):
        for row, curve in enumerate(_CURVES, start=1):
            named = {curve} if row == 1 else {curve, "stable knees"}
            own = rows[(rows["network"] == network) & rows["curve"].isin(named)].sort_values("x")
            fig.add_scatter(
                x=own["x"] + 0.03 * (place - 1), y=own["value"], mode="lines+markers",
                name=NETWORK_NAMES[network], legendgroup=network, showlegend=row == 1,
                line_color=_COLOURS[network], marker={"size": 8, "symbol": SYMBOLS[place]},
                error_y={"array": own["high"] - own["value"], "thickness": 1.5, "width": 3,
                         "arrayminus": own["value"] - own["low"]},
                customdata=own[["low", "high", "knees", "curve"]],
                hovertemplate="%{customdata[3]}: %{y:.2f} [%{customdata[0]:.2f}, "
                "%{customdata[1]:.2f}], %{customdata[2]} knees<extra></extra>",
                row=row, col=1,
            )  # fmt: skip
    style_figure(fig, height=640, margin_t=96, legend_y=1.07)
    fig.update_yaxes(title=f"{AXES[axis]}, SD between knees")
    for row, said in enumerate(_CURVES.values(), start=1):
        fig.update_xaxes(title=f"{said} (grades)", dtick=1, row=row)
    return for_phones(fig)


def knee_lines(table: pd.DataFrame, read: Mapping[str, Read], axis: str) -> go.Figure:
    """An axis of one network of each kind against true severity, a line a knee.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.visits.sample_visits`.
    read : mapping
        See :func:`.visit_axes.read_build`; the first seed is drawn.
    axis : str
        Of :data:`.visit_axes.AXES`.
    """
    require_columns(table, "knee", "course", "severity")
    networks = [name for name in NETWORK_NAMES if axis in read.get(name, {})]
    severity = by_knee(table, table["severity"])
    course = by_knee(table, table["course"])[:, 0]
    kinds = list(COURSES)
    fig = make_subplots(
        rows=len(networks), shared_xaxes=True, vertical_spacing=0.12,
        subplot_titles=[NETWORK_NAMES[name] for name in networks],
    )  # fmt: skip
    for row, network in enumerate(networks, start=1):
        scores = read[network][axis][0]
        level, spread = scores[:, 0].mean(), scores[:, 0].std(ddof=1)
        shown = set()
        for knee, kind in enumerate(course):
            fig.add_scatter(
                x=severity[knee], y=(scores[knee] - level) / spread, mode="lines+markers",
                name=str(kind), legendgroup=str(kind), showlegend=row == 1 and kind not in shown,
                line_color=COLOURS[kinds.index(kind)],
                marker={"size": 7, "symbol": SYMBOLS[kinds.index(kind)]},
                hovertemplate=f"knee {knee + 1}: %{{x:.2f}}, %{{y:.2f}}", row=row, col=1,
            )  # fmt: skip
            shown.add(kind)
    height = 150 + 240 * len(networks)
    style_figure(fig, height=height, margin_t=96, legend_y=1 + 40 / height)
    fig.update_yaxes(title=f"{AXES[axis]}, SD")
    return for_phones(
        fig.update_xaxes(dtick=1).update_xaxes(title="true severity", row=len(networks))
    )


def measures_table(scores: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Measures of every network, a mean over its seeds with its 95% interval, written.

    Parameters
    ----------
    scores : DataFrame
        Of :func:`.visit_scores.visit_tables`.
    axis : str
        Of :data:`.visit_axes.AXES`.
    """
    rows = scores[scores["axis"] == axis]
    said = rows.assign(said=written(rows), network=rows["network"].map(NETWORK_NAMES))
    wide = said.pivot(index="measure", columns="network", values="said")
    columns = [name for name in NETWORK_NAMES.values() if name in wide]
    return wide.loc[list(VISIT_MEASURES), columns].rename(index=VISIT_MEASURES)


def least_change(scores: pd.DataFrame, axis: str) -> pd.DataFrame:
    """How far a single knee must rise before its axis is surely above its own wobble.

    Parameters
    ----------
    scores, axis
        See :func:`measures_table`.

    Returns
    -------
    DataFrame
        By network: wobble, rise per grade, and the rise of true severity, in grades, whose mean
        effect on the axis is as large as what two scans of a knee that has not changed differ by
        in 1 of 20 cases (1.96 times the root of 2 times wobble, over the rise). NaN where the
        interval of the rise does not lie above 0.
    """
    rows = scores[scores["axis"] == axis]
    value, low = (
        rows.pivot(index="network", columns="measure", values=column) for column in ("value", "low")
    )
    least = 1.96 * np.sqrt(2) * value["wobble"] / value["slope"].where(low["slope"] > 0)
    found = pd.DataFrame(
        {
            VISIT_MEASURES["wobble"]: value["wobble"], VISIT_MEASURES["slope"]: value["slope"],
            "least rise to be seen, grades": least,
        }
    )  # fmt: skip
    there = [name for name in NETWORK_NAMES if name in found.index]
    return found.loc[there].rename(index=NETWORK_NAMES).rename_axis(index=None)


def differences_table(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Dual minus Single-KL in every measure on both axes, written, and what was found."""
    rows = contrasts[(contrasts["network"] == "dual") & (contrasts["reference"] == "single_kl")]
    ninety = [
        interval_text(row["value"], row["none_low"], row["none_high"], "+.3f").partition(" ")[2]
        for row in rows.to_dict("records")
    ]
    said = pd.DataFrame(
        {
            "axis": rows["axis"].map(AXES), "measure": rows["measure"].map(VISIT_MEASURES),
            "primary": np.where(rows["primary"], "yes", ""),
            "Dual minus Single-KL": written(rows, "+.3f"), "90% interval": ninety,
            "margin": rows["margin"].map("{:.2f}".format), "found": rows["found"],
        }
    )  # fmt: skip
    return said.set_index(["axis", "measure"])


def says_whose(contrasts: pd.DataFrame) -> str:
    """The verdict on Dual's axis beside Single-KL's, with its two figures."""
    rows = contrasts[contrasts["primary"]]
    parts = [
        f"{VISIT_MEASURES[row['measure']]} "
        f"{interval_text(row['value'], row['low'], row['high'], '+.3f')}, {row['found']}"
        for row in rows.to_dict("records")
    ]
    return f"**{FAITHFUL[faithful(contrasts)]}** Dual minus Single-KL on PC1: {'; '.join(parts)}."


def says_whether(scores: pd.DataFrame, contrasts: pd.DataFrame) -> str:
    """Whether PC1 of each network follows a knee at all, and whether a cross-section tells it."""
    rows = scores[(scores["axis"] == "pc1") & (scores["measure"] == "order")]
    orders = {row["network"]: row for row in rows.to_dict("records")}
    rows = contrasts[(contrasts["axis"] == "pc1") & (contrasts["reference"] == "across knees")]
    gaps = {row["network"]: row for row in rows.to_dict("records")}
    lines = []
    for network in (name for name in NETWORK_NAMES if name in orders):
        order, gap = orders[network], gaps[network]
        does = "rises" if order["low"] > 0 else "falls" if order["high"] < 0 else "may not rise"
        lines.append(
            f"- {NETWORK_NAMES[network]}: PC1 {does} with the true severity of a knee, order "
            f"{interval_text(order['value'], order['low'], order['high'])}; {_GAPS[gap['found']]}, "
            f"{interval_text(gap['value'], gap['low'], gap['high'], '+.2f')}."
        )
    return "\n".join(lines)


#: What is said of the rise within knees beside that across them, by what was found.
_GAPS = {
    "none": "as much per grade as across knees",
    "more": "more per grade than across knees",
    "less": "less per grade than across knees",
    "undecided": "whether as much per grade as across knees is undecided",
}


def made_axes(table: pd.DataFrame, seed: int) -> dict[str, np.ndarray]:
    """Axes made by hand from the truth, (1, knees, visits) each, which no network gave.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.visits.sample_visits`.
    seed : int

    Returns
    -------
    dict
        "the truth"; "frozen", true severity at the first visit whatever has come since, with a
        little noise; "personal", the truth beside a level of each person's own that is larger;
        "shaken", the truth with noise of every scan that is as large as its spread.
    """
    rng = np.random.default_rng(seed)
    severity = by_knee(table, table["severity"])
    spread = severity[:, 0].std(ddof=1)
    noise = rng.normal(size=(3, *severity.shape))
    person = rng.normal(size=(len(severity), 1))
    made = {
        "the truth": severity,
        "frozen": severity[:, :1] + 0.2 * spread * noise[0],
        "personal": severity + 3 * spread * person,
        "shaken": severity + spread * noise[1],
    }
    return {name: values[None] for name, values in made.items()}


def made_table(table: pd.DataFrame, axes: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Measures of axes made by hand, without intervals.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.visits.sample_visits`.
    axes : mapping
        See :func:`made_axes`.
    """
    courses = Courses(table, 1, 0)
    found = {
        name: {
            said: courses.measured(own[0])[measure][0] for measure, said in VISIT_MEASURES.items()
        }
        for name, own in axes.items()
    }
    return pd.DataFrame(found)
