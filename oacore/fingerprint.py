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
from itertools import chain
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
        files in it whose names, of one word with a dot, stand in those modules. A package's
        ``__init__`` that does nothing is none of them: what it says changes with every module
        that is added.
    """
    there = _package_files(root)
    data = _data_files(there)
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
        needed = {*_files(source.imports, there), *_packages(entry, there)}
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


def imported_files(trees: Iterable[ast.Module], entry: str, root: Path = ROOT) -> Iterator[str]:
    """Modules of the package that running some code imports, as paths below `root`.

    Parameters
    ----------
    trees : iterable of ast.Module
    entry : str
        Where `trees` were read, as a path below `root`.
    root : Path
        Folder that holds ``oacore``.
    """
    nodes = chain.from_iterable(map(ast.walk, trees))
    yield from _files(_imports(nodes, entry), _package_files(root))


@dataclass(frozen=True)
class Source:
    """What the closure needs of one file.

    Attributes
    ----------
    says_only : bool
        Whether it is an ``__init__`` that does nothing.
    imports, words : frozenset of str
        Dotted names that it imports, and what may be names of files among its strings.
    """

    says_only: bool
    imports: frozenset[str]
    words: frozenset[str]


#: Files that were read, by path, the system's own time of change in ns, and size. Parsing two
#: hundred takes longer than all else that a graph does when nothing has changed, so it keeps this
#: between two calls.
READ: dict[tuple[str, int, int], Source] = {}


def _source(entry: str, root: Path) -> Source:
    """Read a file; a graph asks for the same hundred, once for each of its jobs."""
    path = root / entry
    stat = path.stat()
    key = (str(path), stat.st_ctime_ns, stat.st_size)  # who edits may set the other time
    if key not in READ:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = list(ast.walk(tree))
        READ[key] = Source(
            entry.endswith("__init__.py") and _says_only(tree),
            frozenset(_imports(nodes, entry)),
            frozenset(_words(nodes)),
        )
    return READ[key]


def _package_files(root: Path) -> set[str]:
    """All files of the package, as paths below `root`."""
    there: set[str] = set()
    waiting = ["oacore"]
    while waiting:
        folder = waiting.pop()
        for one in os.scandir(root / folder):
            path = f"{folder}/{one.name}"
            if one.is_dir():
                waiting.append(path)
            elif one.is_file():
                there.add(path)
    return there


def _data_files(there: Collection[str]) -> dict[str, set[str]]:
    """Files of the package that are no code, by name."""
    # profiles.yml is left out: jobs depend on the settings they use, one by one.
    data: dict[str, set[str]] = {}
    for file in there:
        name = os.path.basename(file)
        if not name.endswith((".py", ".pyc")) and name != "profiles.yml":
            data.setdefault(name, set()).add(file)
    return data


def _files(names: Iterable[str], there: Collection[str]) -> Iterator[str]:
    """Where modules lie that bear one of these dotted names, or hold what does."""
    for name in names:
        if name.split(".")[0] == "oacore":
            stem = name.replace(".", "/")
            for file in (f"{stem}.py", f"{stem.rpartition('/')[0]}.py", f"{stem}/__init__.py"):
                if file in there:
                    yield file


def _says_only(tree: ast.Module) -> bool:
    """Whether a file holds nothing but a docstring and a version."""
    return all(
        (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__")
        for node in tree.body
    )


def _packages(entry: str, there: Collection[str]) -> Iterator[str]:
    """What Python runs before a module: the ``__init__`` of each folder above it."""
    folders = (f"{folder}/__init__.py" for folder in Path(entry).parents)
    yield from (file for file in folders if file in there)


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
    """What may be file names among a module's string constants: a word with a dot."""
    names = {
        os.path.basename(node.value)
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {name for name in names if "." in name and len(name.split()) == 1}
