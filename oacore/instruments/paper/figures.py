"""Figures 2, 4 and 5 of arXiv:2605.00718 for print: tidy tables to vector graphics.

:mod:`.paper.overview` and :mod:`.paper.saliency` have Figures 1 and 3,
:mod:`.paper.style` saves them. What a colour says, a marker, a place or a written number
says as well, so that a grey print loses nothing.
"""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import confusion_matrix

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES, oa_from_kl
from oacore.instruments.paper.style import GREY, INK, MM, PALE, SMALL, WIDTH, look
from oacore.metrics.scores import KL_METRICS, OA_METRICS
from oacore.names import ANSWER_NAMES, BACKBONE_NAMES, METRIC_NAMES, ordered
from oacore.plots.style import OKABE_ITO, require_columns

_PANELS = {
    "(a) OA: Dual minus Single-OA": OA_METRICS,
    "(b) KL: Dual minus Single-KL": KL_METRICS,
}
# Ours, then those of others: lighter, open, below.
_SERIES: tuple[dict[str, Any], ...] = (
    {"color": OKABE_ITO["blue"], "marker": "o", "markersize": 4.5},
    {"color": "#8F8F8F", "marker": "D", "markersize": 4, "markerfacecolor": "white"},
)
_OA_CLASSES = (("no OA", OKABE_ITO["sky blue"], "o"), ("OA", OKABE_ITO["vermilion"], "^"))


@look()
def paired_differences(table: pd.DataFrame, note: str = "") -> Figure:
    """Figure 2: Dual minus single with 95% intervals, (a) the metrics of OA, (b) those of KL.

    Parameters
    ----------
    table : DataFrame
        ``series``, ``backbone``, ``metric`` (of `oacore.metrics.scores.METRICS`), ``value``,
        ``low``, ``high``, ``p_value`` (missing where there is none), a row a difference. At most
        two series; the second is drawn lighter, below the first.
    note : str
        Of the evidence, printed below the panels.

    Raises
    ------
    InputError
        If a column or all rows are missing, there are more than two series, or two rows for one
        difference.
    """
    require_columns(table, "series", "backbone", "metric", "value", "low", "high", "p_value")
    series = list(dict.fromkeys(table["series"]))
    if len(series) > len(_SERIES):
        raise InputError(f"paired_differences: {len(series)} series; two can be told apart.")
    if table.duplicated(["series", "backbone", "metric"]).any():
        raise InputError("paired_differences: two rows for one difference: choose one of them.")
    backbones = [name for name in ordered(table["backbone"]) if name in BACKBONE_NAMES]
    fig = Figure(figsize=(WIDTH * MM, (24 + 29 * len(backbones)) * MM), layout="constrained")
    _layout(fig, wspace=0.06)
    for ax, (title, metrics) in zip(fig.subplots(1, 2, sharex=True), _PANELS.items(), strict=True):
        _difference_panel(ax, table, backbones, metrics, series)
        ax.set_title(title, loc="left", fontweight="bold", x=0, pad=16)
    handles = [
        Line2D([], [], label=name, linewidth=1.2, **look_of)
        for name, look_of in zip(series, _SERIES, strict=False)
    ]
    return _below(fig, handles, note)


def _difference_panel(
    ax: Axes, table: pd.DataFrame, backbones: list[str], metrics: tuple[str, ...], series: list[str]
) -> None:
    block = len(metrics) + 1  # a heading for each backbone
    rows = {
        (backbone, metric): block * i + 1 + j
        for i, backbone in enumerate(backbones)
        for j, metric in enumerate(metrics)
    }
    for i, (name, look_of) in enumerate(zip(series, _SERIES, strict=False)):
        shift = 0.44 * (i - (len(series) - 1) / 2)
        part = table[(table["series"] == name) & table["metric"].isin(metrics)]
        at = [rows[key] + shift for key in zip(part["backbone"], part["metric"], strict=True)]
        bars = np.array([part["value"] - part["low"], part["high"] - part["value"]])
        ax.errorbar(
            part["value"],
            at,
            xerr=bars,
            linestyle="",
            linewidth=1.2,
            label=name,
            **look_of,
        )
        for y, p in zip(at, part["p_value"], strict=True):
            if pd.notna(p):
                ax.text(
                    1.13, y, "<0.001" if p < 0.001 else f"{p:.3f}", ha="right", va="center",
                    transform=ax.get_yaxis_transform(), color=INK if i == 0 else GREY,
                    fontsize=SMALL,
                )  # fmt: skip
    top = -0.6
    ax.text(
        1.13, top, "p", ha="right", va="bottom", style="italic",
        transform=ax.get_yaxis_transform(),
    )  # fmt: skip
    for words, side in (("single better  ← ", "right"), (" →  Dual better", "left")):
        ax.text(0, top, words, ha=side, va="bottom", fontsize=SMALL, color=GREY)
    ax.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    for i in range(1, len(backbones)):
        ax.axhline(block * i - 0.5, color=PALE, linewidth=0.6, zorder=0)
    headings = {block * i: BACKBONE_NAMES[name] for i, name in enumerate(backbones)}
    named = {at: METRIC_NAMES[m].split(" ", 1)[1] for (_, m), at in rows.items()}  # no "OA", "KL"
    ticks = dict(sorted({**headings, **named}.items()))
    ax.set_yticks(list(ticks), list(ticks.values()))
    for label, tick in zip(ax.get_yticklabels(), ticks, strict=True):
        label.set_fontweight("bold" if tick in headings else "normal")
    ax.set_ylim(block * len(backbones) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("difference (95% interval)")


@look()
def feature_planes(points: pd.DataFrame, note: str = "") -> Figure:
    """Figure 4: first two principal components of the features, a panel a backbone and head.

    Parameters
    ----------
    points : DataFrame
        ``backbone``, ``supervision``, ``pc1``, ``pc2`` and ``kl`` (0 to 4), a row a knee of one
        run; of each backbone all three supervisions. It shows single knees.
    note : str
        Of the evidence, printed below the panels.

    Raises
    ------
    InputError
        If a column, all rows or a supervision is missing, or a grade is not 0 to 4.
    """
    require_columns(points, "backbone", "supervision", "pc1", "pc2", "kl")
    if not points["kl"].isin(range(N_GRADES)).all():
        raise InputError("feature_planes: a grade is not 0 to 4: leave out knees without a grade.")
    fig, axes = _heads_grid(points, "feature_planes", 43)
    _layout(fig, wspace=0.03, hspace=0.04)
    shades = matplotlib.colormaps["cividis"](np.linspace(0, 1, N_GRADES))
    grades = [(f"KL {k}", shade, "o") for k, shade in enumerate(shades)]
    for (backbone, supervision, head), ax in axes.items():
        part = points[(points["backbone"] == backbone) & (points["supervision"] == supervision)]
        label = part["kl"] if head == "kl" else oa_from_kl(part["kl"])
        classes = grades if head == "kl" else _OA_CLASSES
        means = []
        for value, (_, colour, marker) in enumerate(classes):
            own = part[label == value]
            ax.scatter(
                own["pc1"], own["pc2"], s=11, color=[colour], marker=marker, edgecolors=INK,
                linewidths=0.3, alpha=0.85,
            )  # fmt: skip
            if len(own):
                means.append((value, own["pc1"].mean(), own["pc2"].mean()))
        ax.plot(
            *np.array(means)[:, 1:].T, color=INK, linewidth=1, marker="D", markersize=4,
            markerfacecolor="white", zorder=3,
        )  # fmt: skip
        for value, x, y in means:
            words = str(value) if head == "kl" else ("no", "OA")[value]
            ax.annotate(  # by turns above and below: centroids of neighbouring grades lie close
                words, (x, y), (0, -8 if value % 2 else 8), textcoords="offset points",
                ha="center", va="center", fontsize=SMALL, fontweight="bold", zorder=4,
                bbox={"boxstyle": "round,pad=0.08", "facecolor": "white", "alpha": 0.75,
                      "edgecolor": "none"},
            )  # fmt: skip
        ax.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        ax.margins(0.08)
        ax.set_xlabel("PC1", labelpad=1)
    for ax in _first_column(axes):
        ax.set_ylabel(f"{ax.get_ylabel()}\nPC2")
    handles = [
        Line2D([], [], linestyle="", marker=m, color=c, markeredgecolor=INK, markeredgewidth=0.3,
               markersize=4.5, label=words)
        for words, c, m in (*_OA_CLASSES, *grades)
    ]  # fmt: skip
    return _below(fig, handles, note, handletextpad=0.1, columnspacing=1.4)


@look()
def confusion_grid(predictions: pd.DataFrame, note: str = "") -> Figure:
    """Figure 5: confusion matrices, a panel a backbone and head: counts and shares of the row.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split and one seed; of each backbone all three supervisions.
    note : str
        Of the evidence, printed below the panels.

    Raises
    ------
    InputError
        If a column, all rows, a supervision or a head's prediction is missing, or there is more
        than one split or seed.
    """
    require_columns(
        predictions, "backbone", "supervision", "seed", "split", "kl", "oa", "pred_oa", "pred_kl"
    )
    for column in ("seed", "split"):
        if predictions[column].nunique() > 1:
            raise InputError(f"confusion_grid: more than one {column} in the table: choose one.")
    fig, axes = _heads_grid(predictions, "confusion_grid", 45)
    _layout(fig, wspace=0.04, hspace=0.05)
    steps = ListedColormap(matplotlib.colormaps["Blues"](np.linspace(0, 0.95, 10)))
    for (backbone, supervision, head), ax in axes.items():
        rows = predictions["backbone"].eq(backbone) & predictions["supervision"].eq(supervision)
        part = predictions[rows]
        if part[[head, f"pred_{head}"]].isna().to_numpy().any():
            raise InputError(
                f"confusion_grid: {backbone} {supervision}: a knee lacks {head} or its prediction: "
                "leave such rows out."
            )
        _matrix(ax, part[head].astype(int), part[f"pred_{head}"].astype(int), head, steps)
    for ax in _first_column(axes):
        ax.set_ylabel(f"{ax.get_ylabel()}\nlabelled")
    bar = fig.colorbar(
        ScalarMappable(Normalize(0, 100), steps), ax=list(axes.values()), location="bottom",
        shrink=0.5, aspect=45, pad=0.02, label="share of the row (%)",
    )  # fmt: skip
    bar.outline.set_visible(False)
    return _below(fig, [], note)


def _matrix(
    ax: Axes, truth: pd.Series, guess: pd.Series, head: str, colours: ListedColormap
) -> None:
    classes = range(N_GRADES) if head == "kl" else range(2)
    counts = confusion_matrix(truth, guess, labels=list(classes))
    share = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    ax.pcolormesh(share, cmap=colours, vmin=0, vmax=100, edgecolors="white", linewidth=0.8)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if share[row, column] >= 70 else INK if count else GREY
        at: dict[str, Any] = {"ha": "center", "va": "center", "color": colour}
        upper, lower = (0.33, 0.71) if head == "kl" else (0.43, 0.6)
        ax.text(column + 0.5, row + (upper if count else 0.5), str(count), **at,
                fontweight="bold" if count else "normal")  # fmt: skip
        if count:
            part = f"{share[row, column]:.0f}" + ("%" if head == "oa" else "")
            ax.text(column + 0.5, row + lower, part, fontsize=SMALL, **at)
    words = [str(k) for k in classes] if head == "kl" else ["no OA", "OA"]
    middle = np.arange(len(words)) + 0.5
    ax.set_xticks(middle, words)
    turned: dict[str, Any] = {} if head == "kl" else {"rotation": 90, "va": "center"}
    ax.set_yticks(middle, words, **turned)
    ax.set_ylim(len(words), 0)
    ax.set_aspect("equal")
    ax.tick_params(length=0, pad=2)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("predicted KL" if head == "kl" else "predicted", labelpad=2)


def _heads_grid(
    table: pd.DataFrame, caller: str, row_mm: float
) -> tuple[Figure, dict[tuple[str, str, str], Axes]]:
    """Axes by backbone, supervision and head: a row a backbone, a column an answer."""
    backbones = [name for name in ordered(table["backbone"]) if name in BACKBONE_NAMES]
    if not backbones:
        raise InputError(f"{caller}: no known backbone in the table: {set(table['backbone'])}.")
    there = set(zip(table["backbone"], table["supervision"], strict=True))
    for backbone in backbones:
        for supervision, _ in ANSWER_NAMES:
            if (backbone, supervision) not in there:
                raise InputError(f"{caller}: the table lacks {supervision} of {backbone}: add it.")
    size = WIDTH * MM, (22 + row_mm * len(backbones)) * MM
    fig = Figure(figsize=size, layout="constrained")
    grid = fig.subplots(len(backbones), len(ANSWER_NAMES), squeeze=False)
    axes = {}
    for row, backbone in zip(grid, backbones, strict=True):
        for ax, ((supervision, head), title) in zip(row, ANSWER_NAMES.items(), strict=True):
            axes[backbone, supervision, head] = ax
            if backbone == backbones[0]:
                ax.set_title(title, fontweight="bold")
        row[0].set_ylabel(rf"$\bf{{{BACKBONE_NAMES[backbone]}}}$")
    return fig, axes


def _first_column(axes: dict[tuple[str, str, str], Axes]) -> list[Axes]:
    return [ax for (_, supervision, _), ax in axes.items() if supervision == "single_oa"]


def _below(fig: Figure, handles: list[Line2D], note: str, **legend: Any) -> Figure:
    """A legend, and under it what kind of evidence a figure is: it may be seen without its page."""
    height = fig.get_figheight() / MM
    foot, top = 5.0 if note else 0.0, 0.0
    if handles:
        placed = fig.legend(
            handles=handles, loc="lower center", bbox_to_anchor=(0.5, foot / height),
            ncols=len(handles), frameon=False, borderaxespad=0, **legend,
        )  # fmt: skip
        placed.set_in_layout(False)
        top = 6.0
    bottom = (foot + top) / height
    _layout(fig, rect=(0, bottom, 1, 1 - bottom))
    fig.text(
        0.5, 1.5 / height, note, ha="center", va="bottom", fontsize=SMALL, color=GREY,
        in_layout=False,
    )  # fmt: skip
    # Laid out once, here: else a figure that was looked at before is saved in other places. The
    # solver's last digits vary from run to run, and names of clip paths follow from all digits.
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    for ax in fig.axes:
        ax.set_position(np.round(ax.get_position(original=True).bounds, 5).tolist())
    return fig


def _layout(fig: Figure, **settings: Any) -> None:
    """Spaces of a figure whose layout is constrained."""
    engine: Any = fig.get_layout_engine()
    engine.set(**settings)
