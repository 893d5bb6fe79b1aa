"""The package's own pages: each public name with its docstring, its source and its chapters.

All of it is read from the files, and nothing is imported: PyTorch alone would take seconds. As a
Sphinx extension this module gives :mod:`sphinx.ext.viewcode` the source in the same way.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_markdown_cell
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import NumpyDocstring

from oacore.fingerprint import ROOT
from workflow.graph import code_cells

#: Attributes become a list of fields, not entries of their own.
NUMPYDOC: Any = Config(napoleon_use_ivar=True)
INDEX = """\
(sec-package)=
# The package

{words}

| Room | What for |
| :-- | :-- |
{rooms}
"""


def write_api(site: Path, chapters: Iterable[str]) -> list[str]:
    """Write a page for each room, and end each chapter with what it uses of them.

    Parameters
    ----------
    site : Path
        The copy that Jupyter Book reads; gets ``book/package.md`` and ``book/api/*.rst``.
    chapters : iterable of str
        Pages of the chapters, without endings, in their order.

    Returns
    -------
    list of str
        The rooms' pages, without endings, from the ground up.
    """
    used: dict[str, dict[str, int]] = defaultdict(dict)
    for number, chapter in enumerate(chapters, start=1):
        path = site / f"{chapter}.ipynb"
        names = names_used(path)
        for name in names:
            used[name][chapter] = number
        if names:
            notebook = nbformat.read(path, as_version=4)
            # A name of its own, so that two builds of one notebook are alike.
            notebook.cells.append(new_markdown_cell(links(names), id="package"))
            nbformat.write(notebook, path)
    (site / "book/api").mkdir(parents=True)
    rows, pages = [], []
    for room, modules in rooms().items():
        page = room_page(room, modules, used)
        (site / f"book/api/{room}.rst").write_text(page, encoding="utf-8")
        pages.append(f"book/api/{room}")
        rows.append(f"| {{doc}}`{room} <api/{room}>` | {purpose(room)} |")
    words = (ast.get_docstring(_tree("oacore/__init__.py")) or "").split("\n\n")
    text = INDEX.format(words="\n\n".join(words[:2]), rooms="\n".join(rows))
    (site / "book/package.md").write_text(text, encoding="utf-8")
    return pages


def rooms() -> dict[str, list[str]]:
    """Modules of each room, as paths, from the ground up: as the package's docstring has them."""
    said = re.findall(r"``([\w.]+)``", ast.get_docstring(_tree("oacore/__init__.py")) or "")
    place = {name: at for at, name in reversed(list(enumerate(said)))}
    last = len(said)
    found: dict[str, list[str]] = defaultdict(list)
    for path in (ROOT / "oacore").rglob("*.py"):
        if path.name not in ("__init__.py", "__main__.py"):
            parts = path.relative_to(ROOT / "oacore").parts
            room = "leaves" if len(parts) == 1 else parts[parts[0] == "instruments"]
            found[room].append(str(path.relative_to(ROOT)))
    heading = {"leaves": -1} | {name.removeprefix("instruments."): at for name, at in place.items()}
    return {
        room: sorted(found[room], key=lambda file: (place.get(Path(file).stem, last), file))
        for room in sorted(found, key=lambda room: (heading.get(room, last), room))
    }


def purpose(room: str) -> str:
    """Get the line in which a room says what it is for."""
    if room == "leaves":
        return "What all rooms use, and what needs none of them."
    folder = f"instruments/{room}" if (ROOT / "oacore/instruments" / room).is_dir() else room
    return ast.get_docstring(_tree(f"oacore/{folder}/__init__.py")) or ""


def names_used(path: Path) -> list[str]:
    """List what a notebook takes from the package, as dotted names."""
    found = set()
    for tree in code_cells(path):
        modules = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("oacore"):
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    if (ROOT / f"{name.replace('.', '/')}.py").is_file():
                        modules[alias.asname or alias.name] = name
                    else:
                        found.add(name)
        found |= set(modules.values())
    return sorted(found)


def links(names: list[str]) -> str:
    """The end of a chapter: its names by module, each a link, folded away until it is wanted."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        is_module = (ROOT / f"{name.replace('.', '/')}.py").is_file()
        groups[name if is_module else name.rpartition(".")[0]] += [] if is_module else [name]
    lines = ["````{dropdown} What this chapter uses of the package", ":class-container: oa-package"]
    for module, group in sorted(groups.items()):
        file = f"{module.replace('.', '/')}.py"
        has_entry = {member for *_, member in members(_text(file))}
        words = []
        for short in sorted(name.rpartition(".")[2] for name in group):
            # A number that its own name explains has no entry to lead to.
            link = f"{{py:obj}}`{short} <{module}.{short}>`"
            words.append(link if short in has_entry else f"`{short}`")
        link = f"{{py:mod}}`{module.removeprefix('oacore.')} <{module}>`"
        lines.append(f"- {link}: {', '.join(words)}" if words else f"- {link}")
    return "\n".join([*lines, "````"])


def room_page(room: str, modules: list[str], used: dict[str, dict[str, int]]) -> str:
    """One room in reStructuredText: its modules, and all that is public in each.

    Parameters
    ----------
    room : str
    modules : list of str
        Paths below the project's root.
    used : dict of dict
        For a dotted name, the numbers of the chapters that use it, by their pages.
    """
    lines = [".. default-role:: literal", "", room, "=" * len(room), "", purpose(room), ""]
    for module in modules:
        tree = _tree(module)
        name = module.removesuffix(".py").replace("/", ".")
        title = name.removeprefix("oacore.")
        lines += [title, "-" * len(title), "", f".. py:module:: {name}", ""]
        lines += [*_docstring(tree), "", *_chapters(used.get(name, {})), ""]
        for kind, signature, words, member in members(_text(module)):
            lines += ["", f".. py:{kind}:: {told_apart(signature, tree)}", ""]
            chapters = _chapters(used.get(f"{name}.{member}", {}))
            said = [told_apart(line, tree) if ":type" in line else line for line in words]
            lines += [f"   {line}".rstrip() for line in [*said, "", *chapters]]
    return "\n".join(lines) + "\n"


@cache
def members(text: str) -> tuple[tuple[str, str, tuple[str, ...], str], ...]:
    """What is public in a module's text: its kind, its signature, its words, its name."""
    lines = text.splitlines()
    found: list[tuple[str, str, tuple[str, ...], str]] = []
    for node in _parsed(text).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            comment = _comment(lines, node.lineno)
            if isinstance(target, ast.Name) and comment and target.id[0] != "_":
                found.append(("data", target.id, (comment,), target.id))
        elif isinstance(node, ast.FunctionDef) and node.name[0] != "_":
            found.append(("function", _signature(node), tuple(_docstring(node)), node.name))
        elif isinstance(node, ast.ClassDef) and node.name[0] != "_":
            words = _docstring(node)
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name[0] != "_":
                    decorators = [ast.unparse(one) for one in method.decorator_list]
                    is_property = bool({"property", "cached_property"} & set(decorators))
                    signature = method.name if is_property else _signature(method, method=True)
                    words += ["", f".. py:{'property' if is_property else 'method'}:: {signature}"]
                    words += ["", *(f"   {line}".rstrip() for line in _docstring(method))]
            found.append(("class", f"{node.name}{_fields(node)}", tuple(words), node.name))
    return tuple(found)


def told_apart(text: str, tree: ast.Module) -> str:
    """Types, of which a class that a module imports and whose name another has gets its module."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for one in node.names:
                if one.name in doubles(ROOT):
                    place = f"{node.module.rpartition('.')[2]}.{one.name}"
                    text = re.sub(rf"(?<![\w.]){one.name}\b", place, text)
    return text


@cache
def doubles(root: Path) -> frozenset[str]:
    """Names that two classes of the package have."""
    files = sorted((root / "oacore").rglob("*.py"))
    classes = [
        node.name
        for path in files
        for node in _parsed(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]
    return frozenset(name for name, count in Counter(classes).items() if count > 1)


def _comment(lines: list[str], number: int) -> str:
    """The ``#:`` comment above a line."""
    above = []
    while number > 1 and lines[number - 2].startswith("#:"):
        number -= 1
        above.append(lines[number - 1].removeprefix("#:").strip())
    return " ".join(reversed(above))


def _signature(node: ast.FunctionDef, *, method: bool = False) -> str:
    arguments = node.args
    if method and arguments.args and arguments.args[0].arg in ("self", "cls"):
        arguments = ast.arguments(**{**vars(arguments), "args": arguments.args[1:]})
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({ast.unparse(arguments)}){returns}"


def _fields(node: ast.ClassDef) -> str:
    """What making one takes: a dataclass's fields, or what ``__init__`` is given."""
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            return _signature(method, method=True).removeprefix("__init__").split(" -> ")[0]
    fields = [ast.unparse(field) for field in node.body if isinstance(field, ast.AnnAssign)]
    return f"({', '.join(fields)})" if fields else ""


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> list[str]:
    what = {ast.Module: "module", ast.ClassDef: "class"}.get(type(node), "function")
    text = ast.get_docstring(node) or ""
    return list(NumpyDocstring(text, NUMPYDOC, what=what).lines())


def _chapters(used: dict[str, int]) -> list[str]:
    """Links to the chapters that use a name."""
    if not used:
        return []
    each = ", ".join(f":doc:`{number} </{page}>`" for page, number in used.items())
    return [f"*In chapter{'s' if len(used) > 1 else ''}* {each}", ""]


def _text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def _tree(file: str) -> ast.Module:
    return _parsed(_text(file))


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def source(module: str) -> tuple[str, dict[str, tuple[str, int, int]]]:
    """A module's text, and for each definition in it its kind, its first and its last line."""
    text = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    places = {}

    def mark(node: ast.Module | ast.ClassDef, above: str) -> None:
        for inner in node.body:
            if isinstance(inner, ast.ClassDef | ast.FunctionDef):
                kind = "class" if isinstance(inner, ast.ClassDef) else "def"
                first = min([inner.lineno, *(one.lineno for one in inner.decorator_list)])
                places[above + inner.name] = kind, first, int(inner.end_lineno or first)
            if isinstance(inner, ast.ClassDef):
                mark(inner, f"{above}{inner.name}.")

    mark(ast.parse(text), "")
    return text, places


def setup(app: Any) -> dict[str, bool]:
    """Let Sphinx show the source of a module without importing it, in pages written fast."""

    def find(app: Any, module: str) -> tuple[str, dict[str, tuple[str, int, int]]]:
        return source(module)

    written: dict[tuple[Any, ...], str] = {}

    def contents(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
        """Sources stand in no table of contents, so that all of one depth have the same beside."""
        if not page.startswith("_modules/"):
            return
        toctree = context["toctree"]

        def once(**words: Any) -> str:
            key = page.count("/"), *sorted(words.items())
            if key not in written:
                written[key] = toctree(**words)
            return written[key]

        context["toctree"] = once

    app.setup_extension("sphinx.ext.viewcode")
    app.connect("viewcode-find-source", find)
    app.connect("html-page-context", contents, priority=400)  # before the theme asks for it
    return {"parallel_read_safe": True}
