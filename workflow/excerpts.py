"""The words of every page, for the excerpts that the search shows below what it finds.

Sphinx fetches a page to quote it, which a page that is opened from disk may not do. So the words
lie in a script, which the search page alone loads.
"""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

#: Beside the pages' other scripts.
WORDS = "_static/search-words.js"
#: What the search finds nothing in: code has pages of its own, which Sphinx does not index.
NOT_FOUND = ("_static/", "_sources/", "_modules/")
_SCRIPTS = '<script src="{}"></script>\n<script src="_static/search-excerpts.js"></script>\n'
_EMPTY = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


def write_excerpts(html: Path) -> None:
    """Give the search page of a built book the words of its other pages.

    Parameters
    ----------
    html : Path
        Folder of the pages, which are changed.
    """
    words = {}
    for path in sorted(html.rglob("*.html")):
        name = path.relative_to(html).with_suffix("").as_posix()
        if not name.startswith(NOT_FOUND):
            words[name] = sections(path.read_text(encoding="utf-8"))
    said = json.dumps(words, ensure_ascii=False, separators=(",", ":"))
    (html / WORDS).write_text(f"const PAGES = {said};\n", encoding="utf-8")
    search = html / "search.html"
    page = search.read_text(encoding="utf-8")
    search.write_text(page.replace("</head>", _SCRIPTS.format(WORDS) + "</head>", 1), "utf-8")


def sections(page: str) -> list[list[str]]:
    """Id and text of each section of a page, in their order; only what is read as text."""
    found = _Sections()
    found.feed(page)
    return [[name, text] for name, parts in found.texts if (text := _plain(parts))]


def _plain(parts: list[str]) -> str:
    return re.sub(r"\s+", " ", "".join(parts)).strip()


class _Sections(HTMLParser):
    """Collects the text of the article, a list of pieces for each section."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[tuple[str, list[str]]] = []
        self.open: list[str] = []  # names of the tags below <article>
        self.hidden = 0  # how many of them hold no words
        self.within: list[int] = []  # places in `texts` of the sections that are open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "article" and not self.open or self.open:
            if tag in _EMPTY:
                return
            self.open.append(tag)
            values = dict(attrs)
            silent = tag in ("script", "style", "svg") or values.get("class") == "headerlink"
            self.hidden += bool(self.hidden or silent)
            if tag == "section" or tag == "article":
                self.within.append(len(self.texts))
                self.texts.append((values.get("id") or "", []))
            elif not self.hidden and tag in ("p", "li", "td", "th", "h1", "h2", "h3", "div"):
                self._add(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.open:
            return
        while self.open:
            closed = self.open.pop()
            self.hidden = max(self.hidden - 1, 0)
            if closed in ("section", "article"):
                self.within.pop()
            if closed == tag:
                break

    def handle_data(self, data: str) -> None:
        if self.within and not self.hidden:
            self._add(data)

    def _add(self, text: str) -> None:
        if self.within:
            self.texts[self.within[-1]][1].append(text)
