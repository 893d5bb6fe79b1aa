"""Leave out of the built pages what the theme brings along and no page uses.

The theme carries an icon library of 1.5 MB, all of Bootstrap's rules and every page the plotting
library: several megabytes before a reader sees a word. What stays is what pages and scripts name.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import tinycss2
from fontTools import subset
from fontTools.ttLib import TTFont

#: What a page loads in vain unless it holds a match: files of ``_static``, and what they are for.
FOR = {
    r"plotly-cartesian\.min\.js|plots\.js|plot_data\.js": r"plotly-graph-div",
    r"mathjax/.*": r'class="math',
    r"pygments\.css|clipboard\.min\.js|copybutton\.(?:js|css)": r'class="highlight',
    r"togglebutton\.(?:js|css)": (
        r'class="(?:[^"]* )?toggle[ "]|class="(?=[^"]*\badmonition\b)[^"]*\bdropdown\b'
    ),
    r"mystnb\..*\.css": r'class="cell',
    r"sphinx-design\.min\.css": r'class="[^"]*\bsd-',
    r"design-tabs\.js": r'class="[^"]*\bsd-tab-',
    r"proof\.css|exercise\.css": r'class="[^"]*\b(?:proof|exercise|solution)\b',
    # The icons' other form, drawings that a script puts in the place of letters of a font; and
    # what would look like Thebe's buttons.
    r"vendor/fontawesome/[^\"]*\.js|sphinx-thebe\.css": r"(?!)",
}
_LOADED = (
    r'<(?:script[^>]* src|link[^>]* href)="[^"]*_static/(?:{})(?:\?[^"]*)?"[^>]*>(?:</script>)?\s*'
)
#: Of libraries that make their own elements, or that say what the elements are called.
_LIBRARIES = ("mathjax/", "vendor/", "plotly-cartesian.min.js", "searchindex.js")
_FACES = re.compile(r"src:url\(([^)]+)\.woff2\)[^;}]*")


def slim(html: Path) -> None:
    """Make the pages of a built book light.

    Parameters
    ----------
    html : Path
        Folder of the pages, which are changed.
    """
    for path in html.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        head, rest = page.split("</head>", 1) if "</head>" in page else (page, "")
        for files, use in FOR.items():
            if not re.search(use, rest):
                head = re.sub(_LOADED.format(files), "", head)
        page = f"{head}</head>{rest}" if rest else head
        path.write_text(page, encoding="utf-8")
    static = html / "_static"
    for path in [*static.rglob("*.map"), *static.glob("vendor/fontawesome/*/js/*.js")]:
        path.unlink()
    words = names(html)
    sheets = [path for path in static.rglob("*.css") if "mathjax" not in path.parts]
    for sheet in sheets:
        sheet.write_text(used(sheet.read_text(encoding="utf-8"), words), encoding="utf-8")
    fewer_icons(sheets)
    mark(html, sheets)


def mark(html: Path, sheets: list[Path]) -> None:
    """Name what sheets hold now in their addresses, or a browser would show one that it kept."""
    marks = {sheet.name: hashlib.sha256(sheet.read_bytes()).hexdigest()[:8] for sheet in sheets}
    # From where a word begins: of a picture's megabyte each letter would be tried as a beginning.
    address = re.compile(r"(?<![\w.-])([\w.-]+\.css)\?(?:v|digest)=[0-9a-f]+")
    for path in html.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        new = address.sub(lambda m: f"{m[1]}?v={marks[m[1]]}" if m[1] in marks else m[0], page)
        path.write_text(new, encoding="utf-8")


def names(html: Path) -> set[str]:
    """Classes and ids that pages have, and all words of scripts, which may give them some."""
    found: set[str] = set()
    for path in html.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        for value in re.findall(r'\b(?:class|id)="([^"]*)"', page):
            found.update(value.split())
        for script in re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL):
            if "Plotly.newPlot" not in script:
                found.update(re.findall(r"[\w-]+", script))
    for path in html.rglob("*.js"):
        if not any(part in path.as_posix() for part in _LIBRARIES):
            found.update(re.findall(r"[\w-]+", path.read_text(encoding="utf-8")))
    return found


def used(css: str, words: set[str]) -> str:
    """A style sheet without the rules for classes and ids that are not among `words`.

    Comments go too, but for licences (``/*!``).
    """
    return "".join(_kept(tinycss2.parse_stylesheet(css, skip_whitespace=True), words))


def _kept(rules: list, words: set[str]) -> list[str]:
    kept = []
    for rule in rules:
        if rule.type == "qualified-rule":
            selectors = [one for one in _selectors(rule.prelude) if _named(one) <= words]
            if selectors:
                chosen = ",".join(tinycss2.serialize(one).strip() for one in selectors)
                kept.append(f"{chosen}{{{tinycss2.serialize(rule.content).strip()}}}\n")
        elif rule.type == "at-rule" and rule.lower_at_keyword in ("media", "supports"):
            inner = _kept(tinycss2.parse_rule_list(rule.content, skip_whitespace=True), words)
            if inner:
                head = tinycss2.serialize(rule.prelude).strip()
                kept.append(f"@{rule.at_keyword} {head}{{\n{''.join(inner)}}}\n")
        elif rule.type != "comment" or rule.value.startswith("!"):
            kept.append(rule.serialize())
    return kept


def _selectors(prelude: list) -> list[list]:
    """The selectors that commas part."""
    parts: list[list] = [[]]
    for token in prelude:
        if token == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _named(selector: list) -> set[str]:
    """Classes and ids that an element must have; not what stands in brackets, as in :not()."""
    found = {token.value for token in selector if token.type == "hash"}
    for before, token in zip(selector, selector[1:], strict=False):
        if before == "." and token.type == "ident":
            found.add(token.value)
    return found


def fewer_icons(sheets: list[Path]) -> None:
    """Keep of the icons' fonts the letters that a style sheet names."""
    letters: set[int] = set()
    for sheet in sheets:
        css = sheet.read_text(encoding="utf-8")
        letters.update(int(code, 16) for code in re.findall(r"\\([ef][0-9a-f]{3})", css))
        letters.update(ord(letter) for letter in re.findall("[\ue000-\uf8ff]", css))
    for sheet in (path for path in sheets if "fontawesome" in path.parts):
        fonts = sheet.parent.parent / "webfonts"
        for source in fonts.glob("*.ttf"):
            font = TTFont(source)
            cut = subset.Subsetter()
            cut.populate(unicodes=letters)
            cut.subset(font)
            font.flavor = "woff"
            font.save(source.with_suffix(".woff"))
        for path in [*fonts.glob("*.ttf"), *fonts.glob("*.woff2")]:
            path.unlink()
        css = _FACES.sub(r'src:url(\1.woff) format("woff")', sheet.read_text(encoding="utf-8"))
        sheet.write_text(css, encoding="utf-8")
