"""What the Snakefile asks of the file system: where a build lies, and what it depends on."""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from oacore.errors import InputError
from oacore.profile import load_profile

ROOT = Path(__file__).resolve().parent.parent


def build_folder(profile: str, cohort: str = "") -> str:
    """Folder of one build: its own for each profile and each cohort of a user's.

    Parameters
    ----------
    profile : str
    cohort : str
        A user's cohort folder; empty for the phantom.
    """
    if not cohort:
        return f"build/{profile}"
    return f"build/{profile}-{re.sub(r'[^A-Za-z0-9._-]+', '-', Path(cohort).resolve().name)}"


def place(folder: str, link: str, *, replace: bool = False) -> str:
    """Make a user's folder appear inside the build, so that no page names where it lies.

    Parameters
    ----------
    folder : str
        A folder that is there.
    link : str
        The symbolic link that shall lead to it.
    replace : bool
        Whether a link that leads elsewhere is changed; else it is an error.

    Returns
    -------
    str
        `link`.

    Raises
    ------
    InputError
        If there is no such folder, or the build belongs to another one.
    """
    real = Path(folder).resolve()
    if not real.is_dir():
        raise InputError(f"{folder}: no such folder; give the path of one that is there")
    at = Path(link)
    if at.is_symlink() and at.resolve() == real:
        return link
    if replace and at.is_symlink():
        at.unlink()
    if at.is_symlink() or at.exists():
        raise InputError(
            f"{at.parent} was built from {at.resolve()}, not from {real}; "
            f"remove {at.parent}, or rename one of the folders"
        )
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(real)
    return link


def cohort_tables(cohort: str) -> list[str]:
    """Subject tables of a cohort folder, at its root or below ``info/``."""
    return sorted(
        str(path) for sub in ("", "info/") for path in Path(cohort).glob(f"{sub}subInfo_*")
    )


def image_listing(cohort: str) -> str:
    """Digest of the names, sizes and times of a cohort's images and masks."""
    digest = hashlib.sha256()
    for path in sorted(Path(cohort).glob("*/*.nii*")):
        stat = path.stat()
        digest.update(
            f"{path.parent.name}/{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode()
        )
    return digest.hexdigest()


def code_files(*entries: str, root: Path = ROOT, skip: Collection[str] = ()) -> list[str]:
    """Files of the package that notebooks or modules need: the closure of their imports.

    Parameters
    ----------
    *entries : str
        Notebooks and modules, as paths below `root`.
    root : Path
        Folder that holds ``oacore``.
    skip : collection of str
        Files to leave out, with what only they import.

    Returns
    -------
    list of str
        Paths below `root`, sorted: modules of ``oacore`` (entries among them), and the data
        files in it whose names stand in those modules.

    Raises
    ------
    InputError
        If a notebook holds a cell that is not Python.
    """
    found: set[str] = set()
    waiting = list(entries)
    # profiles.yml is left out: jobs depend on the settings they use, one by one.
    data = {
        path.name: str(path.relative_to(root))
        for path in (root / "oacore").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and path.name != "profiles.yml"
    }
    while waiting:
        entry = waiting.pop()
        trees = _parse(root / entry)
        names = {name for tree in trees for name in _imports(tree, entry)}
        needed = {file for name in names for file in _files(name, root)}
        if entry.endswith(".py"):
            needed |= {data[word] for tree in trees for word in _words(tree) if word in data}
        if entry.startswith("oacore/"):
            found.add(entry)
        new = needed - found - set(skip)
        found |= new
        waiting += [file for file in sorted(new) if file.endswith(".py")]
    return sorted(found)


def _parse(path: Path) -> list[ast.Module]:
    if path.suffix == ".py":
        return [ast.parse(path.read_text(encoding="utf-8"))]
    trees = []
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] != "code":
            continue
        lines = "".join(cell["source"]).splitlines()
        python = [line for line in lines if not line.lstrip().startswith(("%", "!"))]
        try:
            trees.append(ast.parse("\n".join(python)))
        except SyntaxError as error:
            raise InputError(f"{path.name}, cell {number}: is not Python ({error.msg})") from None
    return trees


def _imports(tree: ast.Module, entry: str) -> Iterator[str]:
    """Dotted names that a file imports, each with the names taken from it."""
    package = Path(entry).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _files(name: str, root: Path) -> Iterator[str]:
    """Files that importing a dotted name runs, if it lies in the package."""
    parts = name.split(".")
    if parts[0] != "oacore":
        return
    for length in range(1, len(parts) + 1):
        stem = "/".join(parts[:length])
        for file in (f"{stem}.py", f"{stem}/__init__.py"):
            if (root / file).is_file():
                yield file


def _words(tree: ast.Module) -> Iterator[str]:
    """File names among a module's string constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield os.path.basename(node.value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print the folder of a build.")
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--cohort", default="")
    arguments = parser.parse_args()
    try:
        print(build_folder(load_profile(arguments.profile).name, arguments.cohort))
    except InputError as error:
        sys.exit(f"make serve: {error}")
