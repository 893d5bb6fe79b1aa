"""How a figure is made for print: its look, its files, its place on a page.

Vectors, 180 mm wide, for both columns of a journal's page. Each function that draws works under
:func:`look`, so a user's own settings of matplotlib neither change a figure nor are changed.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from oacore.errors import InputError
from oacore.files import write
from oacore.plots.page import Html
from oacore.results import beside_page

MM = 1 / 25.4  # inches
WIDTH = 180  # mm: both columns of a journal's page
TEXT, SMALL = 8, 7  # pt
INK, GREY, PALE = "#1A1A1A", "#595959", "#C8C8C8"

_LOOK: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "legend.fontsize": TEXT,
    "figure.titlesize": TEXT,
    "axes.linewidth": 0.6,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "figure.facecolor": "white",
    "figure.dpi": 200,  # of what text is measured with
    "savefig.dpi": 200,  # of what is no vector: slices, whose voxels are far larger
    "pdf.fonttype": 42,  # TrueType, embedded: text can be selected and searched
    "svg.fonttype": "path",  # a page need not have the font
    "svg.hashsalt": "oacore",
}
_STYLE = (
    "<style>.oa-print img{display:block;width:100%;max-width:720px;margin:0 auto}"
    "@media(max-width:600px){.oa-print img{width:820px;max-width:none}}</style>"
)


@contextmanager
def look() -> Iterator[None]:
    """Defaults of matplotlib and the look of print, until the block or the function ends."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_LOOK)
        yield


def save_figure(fig: Figure, folder: str | Path, name: str, alt: str) -> tuple[Path, Path]:
    """Write a figure as SVG and PDF; the same figure gives the same bytes.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
    folder : path-like
        Made if need be.
    name : str
        Of both files, without a suffix: small letters, digits and hyphens.
    alt : str
        What the figure shows, for readers who cannot see it, and what kind of evidence it is: the
        file may be found alone, without the page around it. Its first sentence becomes the title.

    Returns
    -------
    svg, pdf : Path
        The SVG has the words as outlines and `alt` as its description; the PDF has them as text
        with the font embedded. Neither bears a date, a path or a version.

    Raises
    ------
    InputError
        If `alt` is empty or `name` is not as described.
    """
    if not alt.strip():
        raise InputError("save_figure: the text alternative is empty: say what is seen.")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise InputError(
            f"save_figure: name {name!r} is not made of small letters, digits and hyphens alone: "
            "give one such as 'fig2'."
        )
    title = re.split(r"(?<=[.:])\s", alt.strip())[0].rstrip(".:")
    drawn, printed = io.BytesIO(), io.BytesIO()
    with look():
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        fig.savefig(drawn, format="svg", metadata=nothing)
        nothing = dict.fromkeys(("CreationDate", "Creator", "Producer"))
        fig.savefig(printed, format="pdf", metadata={**nothing, "Title": title, "Subject": alt})
    text = drawn.getvalue().decode()
    text = re.sub(r"<!DOCTYPE[^>]*>\s*", "", text)  # it names a file on another host
    words = f"<title>{html.escape(title)}</title>\n <desc>{html.escape(alt)}</desc>\n"
    text = re.sub(r"(<svg)([^>]*>\s*)", rf'\1 role="img"\2{_literal(words)}', text, count=1)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    svg, pdf = folder / f"{name}.svg", folder / f"{name}.pdf"
    write(svg, text)
    write(pdf, printed.getvalue())
    return svg, pdf


def page_figure(svg: str | Path, address: str, alt: str) -> Html:
    """A saved figure as part of a page, with links to its files.

    It stands on white in either theme, as wide as its column; a phone scrolls it.

    Parameters
    ----------
    svg : path-like
        What :func:`save_figure` returned.
    address : str
        From the page to the folder with the files, e.g. "../_static/24-tables-and-figures".
    alt : str
        What the figure shows.
    """
    svg = Path(svg)
    uri = "data:image/svg+xml;base64," + base64.b64encode(svg.read_bytes()).decode()
    files = " · ".join(
        f'<a href="{html.escape(address)}/{svg.stem}.{kind}" style="color:#0057A3">'
        f"{kind.upper()}</a>"
        for kind in ("svg", "pdf")
    )
    return Html(
        f'{_STYLE}<figure class="oa-plot oa-print" style="margin:0;background:#fff;color:#1a1a1a">'
        f'<div style="overflow-x:auto" tabindex="0"><img src="{uri}" alt="{html.escape(alt)}">'
        f'</div><div style="text-align:right;font-size:.9rem;padding:.2em .4em">{files}</div>'
        "</figure>",
        alt,
    )


def publish_figure(fig: Figure, build: str | Path, name: str, alt: str, note: str = "") -> Html:
    """Write a figure's files beside the chapter's page, and show it with links to them.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
    build : path-like
        Folder of the build.
    name : str
        Chapter and figure, "24-tables-and-figures/fig1".
    alt : str
        What the figure shows.
    note : str
        What kind of evidence it is; the files say so too, the page says it elsewhere.
    """
    path, address = beside_page(build, name)
    svg, _ = save_figure(fig, path.parent, path.name, f"{alt} {note}".strip())
    return page_figure(svg, address.rpartition("/")[0], alt)


def _literal(text: str) -> str:
    """A replacement of a regular expression that means itself."""
    return text.replace("\\", r"\\")
