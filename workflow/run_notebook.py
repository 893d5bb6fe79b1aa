"""Run one notebook with papermill: all parameters known, one clear message if it fails."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pooch
from jupyter_client.kernelspec import KernelSpecManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from oacore.data.disclosure import asked_for
from oacore.errors import InputError, out_of_memory
from oacore.files import write
from oacore.results import CHAPTER_OF_BUILD
from oacore.seals import SEAL, files_below, read_sealed, seal
from workflow import ask
from workflow.forks import PLACES
from workflow.jobs import in_words
from workflow.neutral import neutral_environment
from workflow.scratch import scratch

CELL_TIMEOUT = 3600  # seconds; no cell of the book comes near it
ADDED_TAGS = {"injected-parameters", "papermill-error-cell-tag"}
#: What stands in place of a cell that was left out, where it is not for files to fetch.
NOTES = {
    "images": "*Not shown: single knees of a real cohort are published only where the one who "
    "builds the book says so (`make book IMAGES=yes`).*",
    "masks": "*Not shown: this needs masks of the cartilage, which this cohort has not.*",
    "radiographs": "*Not shown: this needs real radiographs (`make book RADIOGRAPHS=FOLDER`).*",
    "lab": "*In JupyterLab a viewer stands here that has a kernel behind it; a page has none.*",
}
WHOLE = "whole"
SKIP = "skip-execution"  # nbclient leaves such a cell as it is


class _Whole(NBClientEngine):
    """Papermill's own, which writes all of a notebook as it ends or fails, not twice a cell."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **words: Any) -> None:
        place, nb_man.output_path = nb_man.output_path, None
        try:
            super().execute_managed_notebook(nb_man, kernel_name, **words)
        finally:
            nb_man.output_path = place


papermill_engines.register(WHOLE, _Whole)


def run_notebook(source: Path, output: Path, parameters: dict[str, str], own: Path) -> None:
    """Execute a notebook in its own folder and keep the result beside the others.

    Parameters
    ----------
    source : Path
        The notebook, relative to the working directory, as papermill records it.
    output : Path
        The executed notebook; appears only if every cell ran.
    parameters : dict of str to str
        For the cell tagged ``parameters``.
    own : Path
        A folder of this run alone, with a short path, for the kernel's sockets and keys.

    Raises
    ------
    InputError
        If a parameter is unknown to the notebook, or a cell fails: the message names the
        notebook, the cell and the error. What ran stays in ``failed/`` beside `output`.
    """
    _name_kernel(own)
    known = papermill.inspect_notebook(str(source))
    if unknown := set(parameters) - set(known):
        raise InputError(
            f"{source}: has no parameter {', '.join(sorted(unknown))}; its cell tagged "
            f"`parameters` sets {', '.join(known) or 'nothing, or is missing'}"
        )
    failed = output.parent / "failed" / output.name
    partial = output.parent / "running" / output.name
    partial.parent.mkdir(parents=True, exist_ok=True)
    asked_for(parameters.get("images", ""))  # a word that is no answer ends here
    notebook = nbformat.read(source, as_version=4)
    leave_out(notebook, parameters)
    nbformat.write(notebook, partial)
    try:
        papermill.execute_notebook(
            str(partial),
            str(partial),
            parameters,
            kernel_name="python3",
            cwd=str(source.parent),
            progress_bar={"desc": source.stem, "disable": False},
            execution_timeout=CELL_TIMEOUT,
            start_timeout=120,
            engine_name=WHOLE,
            config=kernel_config(own),
        )
    except (PapermillExecutionError, CellTimeoutError, DeadKernelError) as error:
        failed.parent.mkdir(exist_ok=True)
        os.replace(partial, failed)
        said = f"{_describe(source, failed, error)}\nIt stopped in {failed}"
        failed.with_suffix(".txt").write_text(said, encoding="utf-8")  # make book ends with it
        raise InputError(said) from None
    _finish(partial, parameters)
    os.replace(partial, output)
    kept = output.parent.parent / "results" / output.stem
    seal(output.with_suffix(f".{SEAL}"), [output, *files_below(kept)])
    failed.unlink(missing_ok=True)
    failed.with_suffix(".txt").unlink(missing_ok=True)


def kernel_config(own: Path) -> Config:
    """How to reach a kernel: by sockets in a folder that is closed to others.

    Ports of TCP are chosen before they are taken, so that two kernels that start at one moment now
    and then choose the same. On a shared machine others must not read along, hence the keys; they
    lie in the connection file.

    Parameters
    ----------
    own : Path
        Its path is short, as :func:`.scratch.scratch` sees to.
    """
    manager = {
        "transport": "ipc",
        "connection_file": f"{own}/kernel.json",
        "ip": f"{own}/kernel-ipc",
        "transport_encryption": "auto",
    }
    return Config(KernelManager=manager)


def _name_kernel(own: Path) -> None:
    """Have Jupyter start kernels as forks, where a build has a process to be forked."""
    if not (place := os.environ.get(PLACES["notebooks"])):
        return
    spec = KernelSpecManager().get_kernel_spec("python3").to_dict()
    module = spec["argv"][spec["argv"].index("-m") + 1 :]
    spec["argv"] = [sys.executable, "-IS", ask.__file__, place, *module]
    folder = own / "jupyter/kernels/python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")


def leave_out(notebook: nbformat.NotebookNode, parameters: dict[str, str]) -> None:
    """Mark the cells that need what this build lacks, so that they are not run.

    A cell tagged ``needs-published`` is run only where the parameter ``published`` is given, and
    so on. ``images`` is yes where single knees may be shown, ``masks`` where the cohort has
    them, ``lab`` never: such a cell is for JupyterLab.
    """
    for cell in notebook.cells:
        if any(not _given(name, parameters) for name in _needs(cell)):
            cell.metadata.tags.append(SKIP)


def _given(name: str, parameters: dict[str, str]) -> bool:
    word = parameters.get(name, "")
    return asked_for(word) if name == "images" else bool(word)


def _needs(cell: nbformat.NotebookNode) -> list[str]:
    tags = cell.metadata.get("tags", [])
    return [tag.removeprefix("needs-") for tag in tags if tag.startswith("needs-")]


def _finish(path: Path, parameters: dict[str, str]) -> None:
    """Say what was left out, and show the parameters that were used.

    The notebook's own parameters are defaults that papermill hid.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = joined(cell.outputs)
        if SKIP in cell.metadata.get("tags", []):
            cell.metadata.tags.remove(SKIP)
            absent = [name for name in _needs(cell) if not _given(name, parameters)]
            fetch = " and ".join(f"`oacore fetch {name}`" for name in absent)
            note = f"*Not shown: this needs the files that {fetch} gets.*"
            note = next((NOTES[name] for name in absent if name in NOTES), note)
            cell.outputs = [new_output("display_data", {"text/markdown": note})]
    cells = {tag: cell for cell in notebook.cells for tag in cell.metadata.get("tags", [])}
    if "injected-parameters" in cells:
        cells["parameters"].metadata.tags.append("remove-cell")
    nbformat.write(notebook, path)


def joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs with text that arrived in pieces put together, which depends on the moment.

    Between two outputs of another kind, what was printed comes first, then what was warned of.
    """
    whole: list[nbformat.NotebookNode] = []
    for printed, run in groupby(outputs, lambda output: output.output_type == "stream"):
        if not printed:
            whole += run
            continue
        texts: dict[str, str] = {}
        for piece in run:
            texts[piece.name] = texts.get(piece.name, "") + piece.text
        whole += [new_output("stream", name=n, text=texts[n]) for n in sorted(texts, reverse=True)]
    return whole


def _describe(source: Path, failed: Path, error: Exception) -> str:
    """Name the notebook, the cell by its number in the source and its first line, the error."""
    cells = [
        cell
        for cell in nbformat.read(failed, as_version=4).cells
        if not ADDED_TAGS & set(cell.metadata.get("tags", []))
    ]
    started = [number for number, cell in enumerate(cells) if cell.metadata.papermill.start_time]
    number = started[-1]
    source_lines = cells[number].source.splitlines()
    first = next((line.strip() for line in source_lines if line.strip()), "")
    if isinstance(error, PapermillExecutionError):
        what = out_of_memory(error.ename, error.evalue) or f"{error.ename}: {error.evalue}"
    elif isinstance(error, CellTimeoutError):
        what = f"took longer than {CELL_TIMEOUT} s"
    else:
        what = "its kernel died; is there enough memory?"
    return f"{source}, cell {number + 1} ({first}): {what}"


def list_fonts(cache: Path) -> None:
    """Let matplotlib list the machine's fonts, once: in a kernel it might say so on the page."""
    if not list(cache.glob("matplotlib/fontlist*.json")):
        (cache / "matplotlib").mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-c", "import matplotlib.font_manager"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def lend_probes(cache: Path) -> None:
    """Let notebooks know what jobs have found of this machine's convolutions.

    It lies in the user's cache folder (:mod:`oacore.training.remembered`), which a notebook does
    not look into; each of them would take seconds to find it anew.
    """
    with suppress(OSError):  # not ours to read: it is found anew
        for found in Path(pooch.os_cache("oacore")).glob("convolutions-*.json"):
            place = cache / "oacore" / found.name
            if read_sealed(found) is None:  # damaged
                continue
            if not place.exists() or place.stat().st_mtime < found.stat().st_mtime:
                content = found.read_text(encoding="utf-8")
                place.parent.mkdir(parents=True, exist_ok=True)
                write(place, content)


def main() -> int:
    """Command line: SOURCE OUTPUT NAME=VALUE ..."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE")
    words = parser.parse_args()
    parameters = dict(word.split("=", 1) for word in words.parameters)
    cache = words.output.parent.absolute() / "cache"

    def run() -> None:
        lend_probes(cache)
        with scratch() as own:
            os.environ.update(neutral_environment(str(own), str(cache)))
            os.environ[CHAPTER_OF_BUILD] = "1"
            list_fonts(cache)
            run_notebook(words.source, words.output, parameters, own)

    return in_words(run, str(words.output))


if __name__ == "__main__":
    sys.exit(main())
