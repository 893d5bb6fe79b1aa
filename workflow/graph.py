"""What the Snakefile asks of the file system: where a build lies, and what it depends on."""

from __future__ import annotations

import ast
import atexit
import glob
import hashlib
import inspect
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oacore.data.sources import missing_files, source_cache
from oacore.errors import InputError
from oacore.files import write
from oacore.fingerprint import READ, ROOT, Source, code_files, imported_files
from oacore.seals import read_sealed, sealed_text

#: What the one who builds may set, each a text.
WORDS = (
    *("profile", "cohort", "published", "radiomics", "references", "radiographs", "images"),
    "arms",
)
#: Where a build keeps what its graph has read of the package, see :func:`recall`.
IMPORTS = "imports.json"
#: Options with which Snakemake only looks, as its parser names them.
LOOKS = (
    *("dryrun", "lint", "list_target_rules", "list_rules", "print_compilation"),
    *("dag", "rulegraph", "filegraph", "d3dag", "unlock", "summary", "detailed_summary", "report"),
    *("list_changes", "list_input_changes", "list_params_changes", "list_untracked"),
)


def build_folder(profile: str, cohort: str = "") -> str:
    """Folder of one build: its own for each profile and each cohort of a user's.

    Pages name it, as a parameter of their chapter. What a cohort's folder is called may say more
    than its owner wants to publish, so a digest of where it lies stands for it.

    Parameters
    ----------
    profile : str
    cohort : str
        A user's cohort folder; empty for the phantom. Not every shell expands the ~ of COHORT=~/x.
    """
    if not cohort:
        return f"build/{profile}"
    digest = hashlib.sha256(os.fsencode(Path(cohort).expanduser().resolve())).hexdigest()
    return f"build/{profile}-{digest[:8]}"


def older_builds(profile: str, cohort: str, root: Path = ROOT) -> list[str]:
    """Builds of a user's cohort that bear its name, as older versions called them.

    Parameters
    ----------
    profile, cohort : str
        See :func:`build_folder`.
    root : Path
        The project.
    """
    if not cohort:
        return []
    real = Path(cohort).expanduser().resolve()
    links = sorted(root.glob(f"build/{glob.escape(profile)}-*/cohort"))
    found = [str(link.parent.relative_to(root)) for link in links if link.resolve() == real]
    return [build for build in found if build != build_folder(profile, cohort)]


def words(config: Mapping[str, Any], typed: Sequence[str] = ()) -> dict[str, str]:
    """What the one who builds has set, as it was written.

    Parameters
    ----------
    config : mapping
        What Snakemake read, from its command line and from configuration files.
    typed : sequence of str
        The entries of ``--config``, ``key=text``, which Snakemake reads as YAML.

    Returns
    -------
    dict
        A text for each of `WORDS`, empty where it is not set.

    Raises
    ------
    InputError
        If Snakemake read something else than what was written: of "/data/knees #2", for one,
        the "#2" would be a comment, and another folder be taken.
    """
    entries = (entry.partition("=") for entry in typed)
    written = {key: text for key, _, text in entries if key in WORDS and text}
    read = {key: "" if config.get(key) is None else config[key] for key in WORDS}
    for key, value in read.items():
        text = written.get(key, value)
        if not isinstance(value, str) or value != text:
            raise InputError(
                f"{key}={text}: Snakemake reads this as YAML, as {value!r}. Put the line "
                f"{key}: {json.dumps(str(text), ensure_ascii=False)} into a file, and name that: "
                "--configfile FILE"
            )
    return read


def only_looks(arguments: Sequence[str]) -> bool:
    """Whether a command line of Snakemake changes nothing, as a dry run."""
    from snakemake.cli import get_argument_parser

    options, _ = get_argument_parser().parse_known_args(list(arguments))
    return any(getattr(options, name) for name in LOOKS)


@contextmanager
def one_line() -> Iterator[None]:
    """End Snakemake with one line where an input cannot be used."""
    try:
        yield
    except InputError as error:
        sys.exit(f"snakemake: {error}")


def place(
    folder: str, link: str, *, replace: bool = False, look: bool = False, file: bool = False
) -> str:
    """Make a user's folder appear inside the build, so that no page names where it lies.

    Parameters
    ----------
    folder : str
        A folder that is there.
    link : str
        The symbolic link that will lead to it.
    replace : bool
        Whether a link that leads elsewhere is changed; else it is an error.
    look : bool
        Whether nothing is changed.
    file : bool
        Whether it may be a file, as a zip that is not unpacked.

    Returns
    -------
    str
        `link`; the folder's own path if the link would have to be made, and `look` forbids it.

    Raises
    ------
    InputError
        If there is no such folder, or the build belongs to another one.
    """
    real = Path(folder).expanduser().resolve()
    if not (real.is_dir() or (file and real.is_file())):
        raise InputError(f"{folder}: no such folder; give the path of one that is there")
    at = Path(link)
    if at.is_symlink() and at.resolve() == real:
        return link
    if (at.is_symlink() and not replace) or (at.exists() and not at.is_symlink()):
        raise InputError(
            f"{at.parent} was built from {at.resolve()}, not from {real}; "
            f"remove {at.parent}, or rename one of the folders"
        )
    if look:
        return str(real)
    at.unlink(missing_ok=True)
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(real)
    return link


def place_source(source: str, folder: str, build: str, *, look: bool = False) -> str:
    """Make files of others appear inside a build; as named, or as `oacore fetch` left them.

    Parameters
    ----------
    source : {"published", "radiomics", "references"}
    folder : str
        As the user named it; empty for none.
    build : str
        Folder of the build.
    look : bool
        Whether nothing is changed.

    Returns
    -------
    str
        Where they appear, as :func:`place` gives it; empty if there are none.
    """
    cache, link = str(source_cache(source)), Path(build, source)
    folder = folder or ("" if missing_files(source, cache) else cache)
    if folder:
        return place(folder, str(link), replace=True, look=look)
    if link.is_symlink() and not look:
        link.unlink()  # of an earlier build; the report would take it for this one's
    return ""


def place_radiographs(source: str, build: str, oarsi: Sequence[str], *, look: bool = False) -> str:
    """Make a user's own radiographs appear inside a build, once it is sure that they will do.

    Parameters
    ----------
    source : str
        The folder or zip; empty for none.
    build : str
        Folder of the build.
    oarsi : sequence of str
        OAI's table of grades, if it is there.
    look : bool
        Whether nothing is changed.

    Returns
    -------
    str
        Where they appear, as :func:`place` gives it; empty if there are none.

    Raises
    ------
    InputError
        If they are none, names or tables of theirs are wrong, or their OARSI grades are missing.
    """
    link = Path(build, "real-radiographs")
    if not source:
        if link.is_symlink() and not look:
            link.unlink()
        return ""
    from oacore.instruments.radiographs.public import require_radiographs

    if require_radiographs(Path(source).expanduser()) and not oarsi:
        raise InputError(
            f"{source}: the public set has KL grades alone, and a study is of OARSI's as well; "
            "`oacore fetch references` gets the table that has them"
        )
    return place(source, str(link), replace=True, look=look, file=True)


def radiograph_tables(source: str) -> list[str]:
    """The zip with a user's radiographs, or the tables of the folder; none where there is none."""
    if not source or Path(source).is_file():
        return [source] if source else []
    return [str(path) for path in sorted(Path(source).glob("*.csv"))]


def cohort_tables(cohort: str) -> list[str]:
    """Subject tables of a cohort folder, at its root or below ``info/``."""
    return sorted(
        str(path) for sub in ("", "info/") for path in Path(cohort).glob(f"{sub}subInfo_*")
    )


def image_listing(cohort: str, files: str = "*/*.nii*") -> str:
    """Digest of the names, sizes and times of a cohort's images and masks."""
    digest = hashlib.sha256()
    for path in sorted(Path(cohort).glob(files)):
        stat = path.stat()
        digest.update(f"{path.relative_to(cohort)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def recall(memory: Path, *, keep: bool = True) -> None:
    """Know what an earlier call read of the package, and keep for the next what this one reads.

    Parameters
    ----------
    memory : Path
        File of that. Where it is missing or damaged, or was written by other code than today's,
        the package is read as if there were none.
    keep : bool
        Whether to write it when this process ends.
    """
    memory = memory.absolute()  # Snakemake changes folders
    digest = hashlib.sha256()
    for file in (__file__, inspect.getfile(Source)):
        digest.update(Path(file).read_bytes())
    written_by = digest.hexdigest()
    try:
        kept = read_sealed(memory)
    except OSError:  # not ours to read: as if it were not there
        kept = None
    if kept is not None and kept["by"] == written_by:
        for file, changed, size, says_only, imports, words in kept["files"]:
            source = Source(says_only, frozenset(imports), frozenset(words))
            READ[str(ROOT / file), changed, size] = source
    before = set(READ)

    def write_down() -> None:
        if READ.keys() == before:
            return
        latest = {path: (changed, size, source) for (path, changed, size), source in READ.items()}
        files = [
            [os.path.relpath(path, ROOT), changed, size, source.says_only]
            + [sorted(source.imports), sorted(source.words)]
            for path, (changed, size, source) in latest.items()
            if os.path.exists(path)
        ]
        try:
            write(memory, sealed_text({"by": written_by, "files": files}))
        except (OSError, InputError):  # a full disk, a folder that is gone: read again next time
            return

    if keep:
        atexit.register(write_down)


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
    return code_files(*set(imported_files(trees, notebook, root)), root=root)


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
