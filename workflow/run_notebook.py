"""Run one notebook with papermill: all parameters known, one clear message if it fails."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from oacore.errors import InputError

CELL_TIMEOUT = 3600  # seconds; no cell of the book comes near it
ADDED_TAGS = {"injected-parameters", "papermill-error-cell-tag"}
#: What stands in place of a cell that was left out, where it is not for files to fetch.
NOTES = {
    "images": "*Not shown: single knees of a real cohort are published only where the one who "
    "builds the book says so (`make book IMAGES=yes`).*",
    "masks": "*Not shown: this needs masks of the cartilage, which this cohort has not.*",
    "lab": "*In JupyterLab a viewer stands here that has a kernel behind it; a page has none.*",
}
SKIP = "skip-execution"  # nbclient leaves such a cell as it is


def run_notebook(source: Path, output: Path, parameters: dict[str, str]) -> None:
    """Execute a notebook in its own folder and keep the result beside the others.

    Parameters
    ----------
    source : Path
        The notebook, relative to the working directory, as papermill records it.
    output : Path
        The executed notebook; appears only if every cell ran.
    parameters : dict of str to str
        For the cell tagged ``parameters``.

    Raises
    ------
    InputError
        If a parameter is unknown to the notebook, or a cell fails: the message names the
        notebook, the cell and the error. What ran stays in ``failed/`` beside `output`.
    """
    known = papermill.inspect_notebook(str(source))
    if unknown := set(parameters) - set(known):
        raise InputError(
            f"{source}: has no parameter {', '.join(sorted(unknown))}; its cell tagged "
            f"`parameters` sets {', '.join(known) or 'nothing, or is missing'}"
        )
    failed = output.parent / "failed" / output.name
    partial = output.parent / "running" / output.name
    partial.parent.mkdir(parents=True, exist_ok=True)
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
            # On a shared machine, others must not read along.
            config=Config(KernelManager={"transport_encryption": "auto"}),
        )
    except (PapermillExecutionError, CellTimeoutError, DeadKernelError) as error:
        failed.parent.mkdir(exist_ok=True)
        os.replace(partial, failed)
        said = f"{_describe(source, failed, error)}\nIt stopped in {failed}"
        failed.with_suffix(".txt").write_text(said, encoding="utf-8")  # make book ends with it
        raise InputError(said) from None
    _finish(partial, parameters)
    os.replace(partial, output)
    failed.unlink(missing_ok=True)
    failed.with_suffix(".txt").unlink(missing_ok=True)


def leave_out(notebook: nbformat.NotebookNode, parameters: dict[str, str]) -> None:
    """Mark the cells that need what this build lacks, so that they are not run.

    A cell tagged ``needs-published`` is run only where the parameter ``published`` is given, and
    so on. ``images`` is given where single knees may be shown, ``masks`` where the cohort has
    them, ``lab`` never: such a cell is for JupyterLab.
    """
    for cell in notebook.cells:
        if any(not parameters.get(name) for name in _needs(cell)):
            cell.metadata.tags.append(SKIP)


def _needs(cell: nbformat.NotebookNode) -> list[str]:
    tags = cell.metadata.get("tags", [])
    return [tag.removeprefix("needs-") for tag in tags if tag.startswith("needs-")]


def _finish(path: Path, parameters: dict[str, str]) -> None:
    """Say what was left out, and show the parameters that were used.

    The notebook's own parameters are defaults that papermill hid.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if SKIP in cell.metadata.get("tags", []):
            cell.metadata.tags.remove(SKIP)
            absent = [name for name in _needs(cell) if not parameters.get(name)]
            fetch = " and ".join(f"`oacore fetch {name}`" for name in absent)
            note = f"*Not shown: this needs the files that {fetch} gets.*"
            note = next((NOTES[name] for name in absent if name in NOTES), note)
            cell.outputs = [new_output("display_data", {"text/markdown": note})]
    cells = {tag: cell for cell in notebook.cells for tag in cell.metadata.get("tags", [])}
    if "injected-parameters" in cells:
        cells["parameters"].metadata.tags.append("remove-cell")
    nbformat.write(notebook, path)


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
        what = f"{error.ename}: {error.evalue}"
    elif isinstance(error, CellTimeoutError):
        what = f"took longer than {CELL_TIMEOUT} s"
    else:
        what = "its kernel died; is there enough memory?"
    return f"{source}, cell {number + 1} ({first}): {what}"


def neutral_environment(scratch: str) -> dict[str, str]:
    """Environment that keeps a user's own settings, history and packages out of the book.

    Parameters
    ----------
    scratch : str
        An empty folder for what IPython and Jupyter want to write.
    """
    root = str(Path(__file__).resolve().parent.parent)
    return {
        "IPYTHONDIR": f"{scratch}/ipython",
        "JUPYTER_CONFIG_DIR": f"{scratch}/config",
        "JUPYTER_DATA_DIR": f"{scratch}/data",
        "JUPYTER_RUNTIME_DIR": f"{scratch}/runtime",
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_PATH": "",
        "PYTHONNOUSERSITE": "1",
        "PYTHONPATH": root,
        "TQDM_DISABLE": "1",  # of the kernel, whose bars would stand in the pages
    }


def main() -> int:
    """Command line: SOURCE OUTPUT NAME=VALUE ..."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE")
    words = parser.parse_args()
    parameters = dict(word.split("=", 1) for word in words.parameters)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.update(neutral_environment(scratch))
        try:
            run_notebook(words.source, words.output, parameters)
        except InputError as error:
            print(f"\n{error}\n", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
