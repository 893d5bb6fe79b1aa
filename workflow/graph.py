"""What the Snakefile asks of the file system: where a build lies, and what it depends on."""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import re
import sys
from pathlib import Path

from oacore.errors import InputError
from oacore.fingerprint import ROOT, code_files, imported_files
from oacore.profile import load_profile


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
        The symbolic link that will lead to it.
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


def chapter_code(notebook: str, root: Path = ROOT) -> list[str]:
    """Files of the package that a chapter needs: what its cells import, and the closure of that.

    Parameters
    ----------
    notebook : str
        As a path below `root`.
    root : Path
        Folder that holds ``oacore``.

    Returns
    -------
    list of str
        Paths below `root`, as :func:`.fingerprint.code_files` gives them.

    Raises
    ------
    InputError
        If the notebook holds a cell that is not Python.
    """
    trees = code_cells(root / notebook)
    return code_files(
        *{file for tree in trees for file in imported_files(tree, notebook, root)}, root=root
    )


def code_cells(path: Path) -> list[ast.Module]:
    """The code cells of a notebook, without magics."""
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print the folder of a build.")
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--cohort", default="")
    arguments = parser.parse_args()
    try:
        print(build_folder(load_profile(arguments.profile).name, arguments.cohort))
    except InputError as error:
        sys.exit(f"make serve: {error}")
