"""What the benchmarks have recorded: a tidy table, and its figure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from oacore.errors import InputError
from oacore.plots.style import COLOURS, require_columns, style_figure

#: How to record, from the repository's root.
COMMAND = "python -m benchmarks.speed"
_RUN = ("device", "threads", "cores", "versions", "commit", "clean", "finished")
_ROW = (
    *("group", "name", "peer", "ours", "ratio", "aim", "at_most", "met", "peer_value", "our_value"),
    *("unit", "peer_spread", "our_spread", "repeats", "note"),
)
COLUMNS = ["file", *_RUN, *_ROW]
#: Where `python -m benchmarks.builds PROFILE --record` keeps what builds of the book took.
BUILDS = "builds.csv"
BUILDS_COLUMNS = [
    *("profile", "commit", "build", "rule", "processor", "wall", "others"),
    *("cores", "device", "finished", "note"),
]


def read_benchmarks(folder: str | Path) -> pd.DataFrame:
    """All recorded rows of a folder.

    Parameters
    ----------
    folder : path-like
        Holds a JSON file for each recorded run; it need not be there.

    Returns
    -------
    DataFrame
        A row for each row of each file, empty if there is none. Of the run: file, device,
        threads, cores, versions ("torch 2.13.0, ..."), commit (None outside version control),
        clean (whether the code was as committed), finished (ISO 8601, UTC). Of the row: group;
        name; what peer and ours are, in words; ratio (how many times better ours is, NaN
        without a peer); aim (the least ratio that was aimed at); at_most (the greatest own value
        that was); met (whether it was reached, None where nothing was aimed at or measured);
        peer_value and our_value (medians, in unit); peer_spread and our_spread (least and
        greatest); repeats; note.

    Raises
    ------
    InputError
        If a file is not a record.
    """

    def rows_of(record: dict[str, Any], path: Path) -> Iterator[dict[str, Any]]:
        versions = ", ".join(f"{name} {v}" for name, v in record["versions"].items())
        run = {**{key: record[key] for key in _RUN}, "versions": versions, "file": path.name}
        for row in record["rows"]:
            yield {**run, **{key: row[key] for key in _ROW}}

    rows = _recorded(folder, "*.json", f"{COMMAND} --out {{}}", rows_of)
    table = pd.DataFrame(rows, columns=COLUMNS)
    numbers = ["ratio", "aim", "at_most", "peer_value", "our_value"]
    return table.astype(dict.fromkeys(numbers, float))


def read_checks(folder: str | Path) -> pd.DataFrame:
    """What ``make gpu-check`` has found: a row for each step of each recorded check.

    Parameters
    ----------
    folder : path-like
        As for :func:`read_benchmarks`.

    Returns
    -------
    DataFrame
        `device`, `python` and `finished` of the check; `step`; `result`, "ok" or "failed";
        `passed`, `failed` and `skipped`, of tests; `seconds`; `said`, the step's last line.

    Raises
    ------
    InputError
        If a file is not a record.
    """

    def rows_of(record: dict[str, Any], path: Path) -> Iterator[dict[str, Any]]:
        of = {key: record[key] for key in ("device", "python", "finished")}
        for check in record["checks"]:
            counts = {key: check.get(key) for key in ("passed", "failed", "skipped")}
            result = "ok" if check["ok"] else "failed"
            said = {"seconds": check["seconds"], "said": check["said"]}
            yield {**of, "step": check["step"], "result": result, **counts, **said}

    rows = _recorded(folder, "check-*.json", "make gpu-check", rows_of)
    columns = ["device", "python", "finished", "step", "result", "passed", "failed", "skipped"]
    table = pd.DataFrame(rows, columns=[*columns, "seconds", "said"])
    return table.astype(dict.fromkeys(["passed", "failed", "skipped"], "Int64"))


def read_builds(folder: str | Path) -> pd.DataFrame:
    """What builds of the book took, from nothing and again, of this version and of older ones.

    Parameters
    ----------
    folder : path-like
        As for :func:`read_benchmarks`.

    Returns
    -------
    DataFrame
        `profile` and `commit` that were built; `build`, "from nothing" or "nothing changed"; `rule`
        of the graph, or "all"; seconds of `processor` time, and of the whole build those on the
        `wall` and those of processor time that `others` took meanwhile; `cores`, `device`,
        `finished` (ISO 8601, UTC), `note`. In the order of recording; empty if there is none.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = Path(folder) / BUILDS
    if not path.is_file():
        return pd.DataFrame(columns=BUILDS_COLUMNS)
    try:
        # A commit can look like a number.
        kinds = {"commit": str, "note": str} | dict.fromkeys(["processor", "wall", "others"], float)
        return pd.read_csv(path, dtype=kinds)[BUILDS_COLUMNS].fillna({"note": ""})
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{path}: is damaged ({type(error).__name__}: {error}); get it back from version "
            "control, or remove it and record `python -m benchmarks.builds PROFILE --record` anew"
        ) from error


def builds_by_rule(table: pd.DataFrame) -> pd.DataFrame:
    """Minutes of processor time of builds from nothing, by rule; a column for each build.

    Parameters
    ----------
    table : DataFrame
        As :func:`read_builds` gives it.
    """
    rows = table[table["build"] == "from nothing"]
    minutes = (rows["processor"] / 60).round(1)
    named = rows.assign(minutes=minutes, of=rows["profile"] + ", " + rows["commit"])
    wide = named.pivot(index="rule", columns="of", values="minutes")
    return wide[named["of"].unique()].sort_values(named["of"].iloc[-1], ascending=False)


def _recorded(
    folder: str | Path,
    pattern: str,
    command: str,
    rows_of: Callable[[dict[str, Any], Path], Iterator[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Rows of all records of a folder; one that is damaged is named, with what records it again."""
    rows: list[dict[str, Any]] = []
    for path in sorted(Path(folder).glob(pattern)):
        try:
            rows += rows_of(json.loads(path.read_text(encoding="utf-8")), path)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: is damaged ({type(error).__name__}: {error}); remove it, or record it "
                f"again with `{command.format(path)}`"
            ) from error
    return rows


def in_words(row: Mapping[Any, Any]) -> dict[str, str]:
    """One row as a table shows it.

    Parameters
    ----------
    row : mapping
        A row of :func:`read_benchmarks`, or of a record.

    Returns
    -------
    dict of str
        ratio, aim, met, peer, ours; empty where there is none.
    """

    def value(number: Any, unit: str) -> str:
        if pd.isna(number):
            return ""
        return f"{number:,.0f} {unit}" if number >= 1000 else f"{number:.3g} {unit}"

    aim = "" if pd.isna(row["aim"]) else f"≥ {row['aim']:g}x"
    if not pd.isna(row["at_most"]):
        aim = f"≤ {value(row['at_most'], row['unit'])}"
    return {
        "ratio": "" if pd.isna(row["ratio"]) else times(row["ratio"]),
        "aim": aim,
        "met": "" if pd.isna(row["met"]) else "yes" if row["met"] else "no",
        "peer": value(row["peer_value"], row["unit"]),
        "ours": value(row["our_value"], row["unit"]),
    }


def machine(device: str, threads: int) -> str:
    """Name a device; on a CPU, the number of threads makes another machine of it."""
    return (
        f"{device}, {threads} thread{'s' * (threads > 1)}" if device.startswith("cpu") else device
    )


def times(ratio: float) -> str:
    """A ratio in three digits or, from a thousand on, in whole numbers."""
    return f"{ratio:,.0f}x" if ratio >= 1000 else f"{ratio:.3g}x"


def labels(table: pd.DataFrame) -> dict[str, str]:
    """Names of recorded files: their machine, and the file's own name where two share one."""
    rows = table.drop_duplicates("file").to_dict("records")
    names = [machine(str(row["device"]), int(row["threads"])) for row in rows]
    return {
        str(row["file"]): f"{name} ({Path(row['file']).stem})" if names.count(name) > 1 else name
        for row, name in zip(rows, names, strict=True)
    }


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a device in words, ratios first, under the names of what was measured."""
    shown = [in_words(row) for row in table.to_dict("records")]
    return pd.DataFrame(shown, index=table["name"].to_list())


def speed_ratios(table: pd.DataFrame) -> go.Figure:
    """Draw how many times better ours is than its peer: a bar per row, a line at each aim.

    What a row is stands above its bar, not beside it: a phone has no room for both.

    Parameters
    ----------
    table : DataFrame
        As :func:`read_benchmarks` gives it. Rows without a ratio are left out.
    """
    require_columns(
        table, "file", "device", "threads", "name", "ratio", "aim", "peer_value", "our_value"
    )
    drawn = table[table["ratio"].notna()]
    require_columns(drawn, "ratio")
    names = list(dict.fromkeys(drawn["name"]))
    runs = list(drawn.groupby(["file", "device", "threads"], sort=False))
    thickness = 0.45 / len(runs)
    legend = labels(drawn)
    fig = go.Figure()
    for i, ((file, _, _), part) in enumerate(runs):
        middle = np.array([names.index(name) for name in part["name"]])
        middle = middle + thickness * (i - (len(runs) - 1) / 2)
        fig.add_bar(
            y=middle, base=1, x=part["ratio"] - 1, width=0.9 * thickness, orientation="h",
            name=legend[str(file)], marker_color=COLOURS[i % len(COLOURS)],
            text=[times(ratio) for ratio in part["ratio"]],
            textposition="outside", constraintext="none", cliponaxis=False,
            customdata=part[["name", "ratio", "peer_value", "our_value", "unit"]],
            hovertemplate="%{customdata[0]}: %{customdata[1]:.3g}x<br>peer %{customdata[2]:.3g} "
            "%{customdata[4]}, ours %{customdata[3]:.3g} %{customdata[4]}",
        )  # fmt: skip
        aims = part["aim"].notna().to_numpy()
        fig.add_scatter(
            x=part["aim"][aims], y=middle[aims], mode="markers", name="aim", legendgroup="aim",
            showlegend=i == 0, hovertemplate="aim: %{x:g}x<extra></extra>",
            marker={
                "symbol": "line-ns", "size": 32 * thickness, "color": "#1A1A1A",
                "line": {"width": 3, "color": "#1A1A1A"},
            },
        )  # fmt: skip
    fig.add_vline(1, line_color="#1A1A1A", line_width=1)
    low, high = min(1.0, drawn["ratio"].min()), max(drawn["ratio"].max(), drawn["aim"].max())
    far = np.log10(high / low)  # the numbers beside the bars take a fifth of it
    digits = (1, 2, 5) if far < 1.5 else (1,)
    ticks = [digit * 10.0**power for power in range(-2, 4) for digit in digits]
    style_figure(
        fig, height=150 + 56 * len(names), barmode="overlay", legend_traceorder="normal",
        margin_l=12,
    )  # fmt: skip
    fig.update_xaxes(
        title="times better than the peer", type="log", tickvals=ticks,
        ticktext=[f"{tick:,g}" for tick in ticks], tickangle=0,
        range=[np.log10(low) - 0.05, np.log10(high) + 0.2 * far + 0.05],
    )  # fmt: skip
    for place, name in enumerate(names):
        fig.add_annotation(
            x=0, xref="x domain", xanchor="left", xshift=5, y=place - 0.4, yanchor="middle",
            text="<br>".join(wrap(name, 44)), showarrow=False, align="left", font_size=12,
        )  # fmt: skip
    return fig.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, showticklabels=False, showgrid=False,
        range=[len(names) - 0.5, -0.75],
    )  # fmt: skip
