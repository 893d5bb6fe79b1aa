"""What the theme's pages lack for readers who listen, who use the keys, or who are offline.

Each repair names what is wrong in the HTML that Sphinx, MyST-NB and the theme write.
"""

from __future__ import annotations

import re
from pathlib import Path

REPAIRS = [
    # The fonts are named by the style sheet too, and preloading them fails on a page from disk.
    (r'<link rel="preload" as="font"[^>]*>\s*', ""),
    # Thebe names another host.
    (r"<script>const THEBE_JS_URL.*?</script>\s*", ""),
    (r'<script async="async" src="[^"]*sphinx-thebe\.js[^"]*"></script>\s*', ""),
    # A name that differs from the words on a button cannot be spoken to it.
    (r'(<button class="btn search-button-field[^"]*" title="Search") aria-label="Search"', r"\1"),
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    # An arrow alone says nothing.
    (
        r'<summary>(<span class="toctree-toggle" role="presentation">)',
        r'<summary aria-label="Pages below this one">\1',
    ),
    # Roles that are no longer any, and a list whose children are no items.
    (r'<div role="list" class="citation-list">', '<div class="citation-list">'),
    (r' role="doc-biblioentry"', ""),
    # An empty corner of a table heads nothing.
    (r"<th></th>", "<td></td>"),
    # What stands outside all landmarks is passed over by those who go from one to the next.
    (
        r'<div class="(bd-sidebar-primary bd-sidebar[^"]*)">',
        r'<div class="\1" role="navigation" aria-label="The book">',
    ),
]


def repair(html: Path) -> None:
    """Mend the pages of a built book.

    Parameters
    ----------
    html : Path
        Folder of the pages, which are changed.
    """
    repairs = [(re.compile(wrong, re.DOTALL), right) for wrong, right in REPAIRS]
    for path in html.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        for wrong, right in repairs:
            page = wrong.sub(right, page)
        path.write_text(page, encoding="utf-8")
