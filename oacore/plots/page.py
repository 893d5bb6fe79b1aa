"""What makes an output work without a kernel: plots, tables, banners.

Every function here gives HTML that asks no other host for anything, so that a built page works
from disk. Plots rely on one ``Plotly`` global, which the book loads once a page; the slice viewer
and the banners need nothing at all.
"""

from __future__ import annotations

import ast
import hashlib
import html
import inspect
import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from IPython.display import Markdown, display

from oacore.data.cohort import drawn_among_real, is_phantom
from oacore.data.disclosure import asked_for, may_show
from oacore.errors import InputError
from oacore.plots.style import OKABE_ITO

#: Of every figure. Without the two settings of the cloud plotly adds a button that uploads the
#: figure, numbers and all, to a server of its maker.
_PLOTLY_CONFIG = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "responsive": True,
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
}
#: Rows beyond which a table scrolls below its head.
TALL = 40
_HEIGHT = 440  # px, of a plot that sets none: "100%" of an output cell would be nothing
_PANEL = 160  # px, the least width of a panel; narrower screens scroll inside the figure
_shown: Counter[str] = Counter()


@dataclass(frozen=True)
class Html:
    """A piece of self-contained HTML that a notebook shows, and the text that stands for it."""

    html: str
    alt: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.alt


def show(fig: go.Figure, alt: str) -> None:
    """Display a plotly figure so that it is interactive in JupyterLab and in the built book.

    The output carries plotly's own mimetype (JupyterLab, VS Code) and HTML that draws the same
    figure with the page's ``Plotly`` (the book). Ids follow from the content, so that a rerun
    gives the same bytes.

    Parameters
    ----------
    fig : plotly.graph_objects.Figure
        The figure; it is not changed.
    alt : str
        What the figure shows, for readers who cannot see it: one sentence with the main finding.

    Raises
    ------
    InputError
        If `alt` is empty.
    """
    if not alt.strip():
        raise InputError("show: the text alternative is empty: say in a sentence what is seen.")
    fig = go.Figure(fig)
    # JupyterLab's dark theme would show through a transparent figure and hide its dark text.
    fig.update_layout(paper_bgcolor="white", plot_bgcolor="white")
    if pio.renderers.default == "colab":  # Colab draws neither of the two
        fig.show(config=_PLOTLY_CONFIG)
        return
    spec = json.loads(fig.to_json())
    digest = hashlib.sha256(json.dumps([spec, alt], sort_keys=True).encode()).hexdigest()[:12]
    _shown[digest] += 1  # the same figure twice on a page still needs two ids
    name = f"plot-{digest}-{_shown[digest]}"
    words = [json.dumps(part) for part in (name, spec["data"], spec["layout"], _PLOTLY_CONFIG)]
    # No text of a figure may end the script. The book loads plotly once its page is read.
    drawn = f"Plotly.newPlot({', '.join(words)})".replace("<", "\\u003c")
    columns = {axis.domain[0] for axis in fig.select_xaxes() if axis.domain}
    least = _PANEL * len(columns) if len(columns) > 1 else 0
    page = (
        f'<figure class="oa-plot" aria-label="{html.escape(alt)}" '
        'style="margin:0;background:#fff;overflow-x:auto;overflow-y:hidden">'
        f'<div style="min-width:{least}px"><div id="{name}" class="plotly-graph-div" '
        f'style="height:{fig.layout.height or _HEIGHT}px;width:100%"></div></div>'
        f"<script>(() => {{ const draw = () => {drawn}; "
        'document.readyState === "loading" ? addEventListener("DOMContentLoaded", draw) : draw(); '
        "})();</script></figure>"
    )
    bundle = {
        "application/vnd.plotly.v1+json": {**spec, "config": _PLOTLY_CONFIG},
        "text/html": page,
        "text/plain": alt,
    }
    display(bundle, raw=True)


def table(frame: pd.DataFrame, decimals: int = 2) -> Html:
    """A table to read: rounded numbers, blanks for what is missing; scrolls on a narrow screen.

    One of more than :data:`TALL` rows scrolls in a frame of its own, below its head.

    Parameters
    ----------
    frame : DataFrame
        Underscores in the names of rows and columns are shown as spaces; the names of the
        levels of the index are left out.
    decimals : int
        Of numbers that are not whole.
    """

    def cell(value: Any) -> str:
        if pd.isna(value):
            return ""
        whole = isinstance(value, str) or float(value).is_integer() and not isinstance(value, float)
        return str(value) if whole else f"{float(value):.{decimals}f}"

    def words(name: Any) -> Any:
        return name.replace("_", " ") if isinstance(name, str) else name

    shown = frame.astype(object).map(cell).rename(index=words, columns=words)
    shown.index.names = [None] * shown.index.nlevels
    page = shown.to_html(border=0, justify="right").replace("<th></th>", "<td></td>")
    kind, style = "oa-table", "overflow-x:auto"
    if len(frame) > TALL:
        kind, style = "oa-table oa-tall", "overflow:auto;max-height:34rem"
    return Html(f'<div class="{kind}" style="{style}">{page}</div>', shown.to_string())


def text_table(frame: pd.DataFrame, *, below: str = "", marks: Sequence[str] = ()) -> str:
    """The HTML of a table of words: numbers and tables with levels are :func:`table`'s.

    Parameters
    ----------
    frame : DataFrame
        Its values are shown as text, its index is not.
    below : str
        A column whose sentences stand in a row of their own, below the others, which then share
        the width and wrap.
    marks : sequence of str
        Columns that are not shown: each row carries their values as attributes of these names,
        such as "data-paper", for rules of style to choose rows by.
    """
    columns = [str(name) for name in frame if name != below and name not in marks]
    style, whole = "text-align:left;vertical-align:top;padding:.2em .7em .2em 0", ""
    if below:
        style = (
            "text-align:left;vertical-align:top;white-space:pre-line;overflow-wrap:anywhere;"
            "padding:.3em .8em .3em 0"
        )
        fixed = f"font-size:.9em;table-layout:fixed;width:100%;min-width:{14 * len(columns)}ch"
        whole = f' style="{fixed}"'
    first = f"{style};border-top:1px solid #999" if below else style
    # Stays in sight while the columns above it scroll.
    stay = "position:sticky;left:0;width:max-content;max-width:min(100%,75vw)"
    rows = ""
    for row in frame.to_dict("records"):
        said = "".join(f' {name}="{html.escape(str(row[name]))}"' for name in marks)
        cells = (f'<td style="{first}">{html.escape(str(row[name]))}</td>' for name in columns)
        rows += f"<tr{said}>{''.join(cells)}</tr>"
        if below:
            rows += f'<tr><td colspan="{len(columns)}" style="{style}"><div style="{stay}"><strong>'
            rows += f"{html.escape(below)}:</strong> {html.escape(str(row[below]))}</div></td></tr>"
    head = "".join(f'<th scope="col" style="{style}">{html.escape(c)}</th>' for c in columns)
    return f"<table{whole}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def readable(table: pd.DataFrame, below: str) -> Html:
    """A table of sentences, which wraps in its columns and scrolls on a narrow screen.

    Parameters
    ----------
    table : DataFrame
    below : str
        The column that stands in a row of its own, below the others.
    """
    lines = []
    for row in table.astype(str).to_dict("records"):
        last = row.pop(below)
        lines.append("; ".join([*row.values(), f"{below}: {last}"]))
    page = text_table(table, below=below)
    return Html(f'<div class="oa-table" style="overflow-x:auto">{page}</div>', "\n".join(lines))


def show_source(thing: Any) -> Markdown:
    """The code of a function or class of the package, so that page and package cannot differ.

    JupyterLab and the book highlight it. Of each docstring the first line is left, and above it
    all stands where the code lies. Below it, a link leads from a chapter's page to the whole
    docstring, where the book has it: that of what is public in the package.

    Parameters
    ----------
    thing : class, function or method
    """
    source = textwrap.dedent(inspect.getsource(thing))
    lines = source.splitlines()
    spans = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            spans.append((node.body[0].lineno, node.body[0].end_lineno))
    for first, last in sorted(spans, reverse=True):
        if last != first:
            lines[first - 1 : last] = [lines[first - 1].rstrip() + '"""']
    place = f"# {thing.__module__.replace('.', '/')}.py"
    if "." in thing.__qualname__:
        place += f", {thing.__qualname__}"
    entry = _entry(thing)
    below = ["", f"[The whole docstring of `{thing.__qualname__}`]({entry})"] if entry else []
    return Markdown("\n".join(["```python", place, *lines, "```", *below]))


def _entry(thing: Any) -> str:
    """Address of a thing among the package's pages, from a chapter's; empty where it has none.

    The book has a page for each room, with an entry for each public class, function and method.
    """
    package, *rooms, module = thing.__module__.split(".")
    names = thing.__qualname__.split(".")
    deep = len(names) > (1 if inspect.isclass(thing) else 2)
    private = any(name.startswith("_") for name in names)
    if package != "oacore" or module == "__main__" or deep or private:
        return ""
    room = rooms[rooms[0] == "instruments"] if rooms else "leaves"
    return f"../book/api/{room}.html#{thing.__module__}.{thing.__qualname__}"


SINGLE_KNEES = "Single knees are shown: the one who built this book asked for it (IMAGES=yes)."
NO_PICTURE = "No real picture is shown, and no row of a table is of a single knee."
_EVIDENCE = {
    "published": (
        "◆",
        OKABE_ITO["blue"],
        "solid",
        "Published predictions: real knees, somebody else's networks",
        "Recomputed from the test-set predictions that the authors of arXiv:2605.00718 released. "
        "No network was trained for this page.",
    ),
    "radiomics": (
        "●",
        OKABE_ITO["green"],
        "double",
        "Public radiomics: real knees, numbers instead of images",
        "Computed from the PyRadiomics features that Chen et al. (arXiv:2603.02367) published for "
        "the OAIZIB-CM knees. No image was read for this page.",
    ),
    "readings": (
        "▼",
        OKABE_ITO["sky blue"],
        "double",
        "Public readings of radiographs: real knees, their grades alone",
        "Counted and computed from grades that readers of the Osteoarthritis Initiative gave to "
        "radiographs. No picture was read for this page, and no row of it is of a single knee.",
    ),
    "radiographs": (
        "▣",
        OKABE_ITO["vermilion"],
        "double",
        "Real knee radiographs, and networks of this project",
        "Pictures are those of the Osteoarthritis Initiative that Chen published (2018, "
        "doi:10.17632/56rmx5bjcr.1, CC BY 4.0), with its readers' grades, or a folder that this "
        "build was given.",
    ),
    "phantom": (
        "▲",
        OKABE_ITO["orange"],
        "dashed",
        "Synthetic phantom knees: not a clinical result",
        "Every image, mask and grade behind this page was drawn by a program with a known truth. "
        "What is measured here tests the method; it says nothing about patients.",
    ),
    "oaizib-cm": (
        "■",
        OKABE_ITO["purple"],
        "solid",
        "Real knee MRI: OAIZIB-CM, or the local cohort given in its layout",
        "Computed on the images, masks and grades of the cohort that this build was given. For "
        "OAIZIB-CM: cite CartiMorph; CC-BY-NC 4.0 and the OAI's data-use terms apply.",
    ),
    "printed": (
        "◇",
        "#1A1A1A",
        "dotted",
        "Printed figures: what two papers print, and arithmetic",
        "Figures are checked against each other as they stand in print. No knee, no prediction and "
        "no network is behind this page.",
    ),
    "recorded": (
        "◷",
        "#1A1A1A",
        "dotted",
        "Recorded timings of machines",
        "Measured before this build, on the machines and at the commits that the page names; this "
        "build only draws them. No knee, no grade and no model's answer is behind this page.",
    ),
}


def evidence(kind: str, but: str = "", origin: str = "") -> Html:
    """Banner that says what kind of evidence a page shows.

    Parameters
    ----------
    kind : str
        "published", "radiomics", "readings", "radiographs", "phantom", "oaizib-cm": six kinds of
        evidence of knees; "printed", "recorded": what rests on none of them. They differ in sign
        and words, not in colour alone.
    but : str
        What on the page is an exception, in a sentence.
    origin : str
        Whether its tables were computed in this build or are the record's, in a sentence
        (:func:`.record.origin`).

    Raises
    ------
    InputError
        If `kind` is none of them.
    """
    if kind not in _EVIDENCE:
        raise InputError(f"evidence: unknown kind {kind!r}: use one of {', '.join(_EVIDENCE)}.")
    sign, colour, line, head, body = _EVIDENCE[kind]
    body = " ".join(part for part in (body, origin, but) if part)
    return Html(
        f'<aside class="oa-evidence" role="note" data-evidence="{kind}" style="display:flex;'
        f"gap:.8em;align-items:flex-start;border:1px solid {colour};"
        f"border-left:10px {line} {colour};border-radius:0 4px 4px 0;background:#fff;color:#1a1a1a;"
        'padding:.7em 1em;margin:.5em 0;font-size:.95rem;line-height:1.45">'
        f'<span aria-hidden="true" style="color:{colour};font-size:1.5em;line-height:1">{sign}'
        f"</span><span><strong>{head}.</strong> {html.escape(body)}</span></aside>",
        f"{head}. {body}",
    )


def cohort_evidence(cohort: str | Path, images: str = "", but: str = "") -> Html:
    """Banner of a chapter that shows a cohort, and single knees of it where that is allowed.

    Parameters
    ----------
    cohort : path-like
        Where its knees are of two kinds, the banner names both.
    images : {"", "no", "yes"}
        Whether the one who builds asked for single knees of a real cohort to be shown.
    but : str
        See :func:`evidence`.
    """
    if is_phantom(cohort):
        return evidence("phantom", but)
    shown = SINGLE_KNEES if may_show(cohort, images).knees else ""
    said = (drawn_among_real(cohort), shown, but)
    return evidence("oaizib-cm", " ".join(sentence for sentence in said if sentence))


def radiographs_evidence(images: str = "", but: str = "", origin: str = "") -> Html:
    """Banner of what real radiographs are behind, which says whether single ones are shown.

    Parameters
    ----------
    images : {"", "no", "yes"}
        Whether the one who builds asked for single knees to be shown; none of the record are.
    but, origin : str
        See :func:`evidence`.
    """
    shown = SINGLE_KNEES if asked_for(images) else NO_PICTURE
    return evidence("radiographs", " ".join(said for said in (shown, but) if said), origin)
