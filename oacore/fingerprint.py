"""The code that a result follows from: a module, and all that it imports from this package.

The build graph reruns what these files change; checkpoints, caches, explanations and cohorts keep
their fingerprint, so that none is taken for the work of other code.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import tokenize
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import oacore

ROOT = Path(oacore.__file__).resolve().parent.parent


def fingerprint(*modules: str) -> str:
    """Digest of the source of some modules and of all that they import from this package.

    Parameters
    ----------
    *modules : str
        Dotted names, as "oacore.models.m3t". What is imported by name at run time, such as an
        encoder, is to be given here too.

    Returns
    -------
    str
        Hexadecimal, 16 characters.
    """
    entries = [name.replace(".", "/") + ".py" for name in modules]
    digest = hashlib.blake2b(digest_size=8)
    for file in code_files(*entries):
        digest.update(f"{file}\0".encode())
        digest.update((ROOT / file).read_bytes())
    return digest.hexdigest()


def code_files(*entries: str, root: Path = ROOT) -> list[str]:
    """Files of the package that modules need: the closure of their imports.

    Parameters
    ----------
    *entries : str
        Modules, as paths below `root`.
    root : Path
        Folder that holds ``oacore``.

    Returns
    -------
    list of str
        Paths below `root`, sorted: modules of ``oacore`` (entries among them), and the data
        files in it whose names stand in those modules. A package's ``__init__`` that does nothing
        is none of them: what it says changes with every module that is added.
    """
    data = _data_files(root)
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(entries)
    while waiting:
        entry = waiting.pop()
        if entry in seen:
            continue
        seen.add(entry)
        source = _source(entry, root)
        if source.says_only:
            continue
        found.add(entry)
        needed = {*_files(source.imports, root), *_packages(entry, root)}
        found |= {file for word in source.words for file in data.get(word, ())}
        waiting += sorted(needed - seen)
    return sorted(found)


def code_digest(path: Path) -> str:
    """Digest of what a file does: that of a module or notebook leaves out what it merely says.

    Parameters
    ----------
    path : Path
        A module, whose comments and docstrings do not count; a notebook, of which the code cells
        count; or another file, of which all bytes do.

    Returns
    -------
    str
        Hexadecimal, 16 characters.
    """
    data = path.read_bytes()
    if path.suffix == ".py":
        data = _without_words(data.decode()).encode()
    elif path.suffix == ".ipynb":
        cells = json.loads(data)["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        data = json.dumps(sources).encode()
    return hashlib.blake2b(data, digest_size=8).hexdigest()


@cache
def _without_words(source: str) -> str:
    """A module without comments, docstrings and empty lines, alike under every Python."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            first, last = node.body[0].lineno, node.body[0].end_lineno or 0
            lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def imported_files(tree: ast.Module, entry: str, root: Path = ROOT) -> Iterator[str]:
    """Modules of the package that importing another one runs, as paths below `root`.

    Parameters
    ----------
    tree : ast.Module
    entry : str
        Where `tree` was read, as a path below `root`.
    root : Path
        Folder that holds ``oacore``.
    """
    yield from _files(_imports(ast.walk(tree), entry), root)


@dataclass(frozen=True)
class _Source:
    """What the closure needs of one file."""

    says_only: bool
    imports: frozenset[str]
    words: frozenset[str]


def _source(entry: str, root: Path) -> _Source:
    """Read a file; a graph asks for the same hundred, once for each of its jobs."""
    stat = (root / entry).stat()
    return _parsed(entry, root, stat.st_mtime_ns, stat.st_size)


@cache
def _parsed(entry: str, root: Path, changed: int, size: int) -> _Source:
    tree = ast.parse((root / entry).read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))  # most of the time that it takes to see what a build depends on
    return _Source(
        entry.endswith("__init__.py") and _says_only(tree),
        frozenset(_imports(nodes, entry)),
        frozenset(_words(nodes)),
    )


def _data_files(root: Path) -> dict[str, set[str]]:
    """Files of the package that are no code, by name."""
    # profiles.yml is left out: jobs depend on the settings they use, one by one.
    data: dict[str, set[str]] = {}
    for path in (root / "oacore").rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc") and path.name != "profiles.yml":
            data.setdefault(path.name, set()).add(str(path.relative_to(root)))
    return data


def _files(names: Iterable[str], root: Path) -> Iterator[str]:
    """Where modules lie that bear one of these dotted names, or hold what does."""
    for name in names:
        if name.split(".")[0] == "oacore":
            stem = name.replace(".", "/")
            for file in (f"{stem}.py", f"{stem.rpartition('/')[0]}.py", f"{stem}/__init__.py"):
                if (root / file).is_file():
                    yield file


def _says_only(tree: ast.Module) -> bool:
    """Whether a file holds nothing but a docstring and a version."""
    return all(
        (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__")
        for node in tree.body
    )


def _packages(entry: str, root: Path) -> Iterator[str]:
    """What Python runs before a module: the ``__init__`` of each folder above it."""
    for folder in Path(entry).parents:
        if (root / folder / "__init__.py").is_file():
            yield f"{folder}/__init__.py"


def _imports(nodes: Iterable[ast.AST], entry: str) -> Iterator[str]:
    """Dotted names that a file imports, each with the names taken from it."""
    package = Path(entry).parent.parts
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _words(nodes: Iterable[ast.AST]) -> Collection[str]:
    """File names among a module's string constants."""
    return {
        os.path.basename(node.value)
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
