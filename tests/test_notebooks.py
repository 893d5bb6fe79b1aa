"""Notebooks narrate: short cells, no outputs, no glue, and nothing that is written twice."""

import ast
import json
import re
from collections import Counter

import pytest

from tests.helpers import ROOT

LONGEST = 25  # lines of a cell
#: Calls that draw; a cell may hide its code only around one of them.
DRAWS = (
    *("show(", "slice_viewer(", "publish_figure(", "in_chapter(", "slices_on_hover("),
    *("picture(", "joint_viewer(", "numbered("),
)


def faults(notebooks):
    """What is wrong with notebooks, given as their parsed JSON by name."""
    found, functions = [], Counter()
    for name, notebook in notebooks.items():
        defined = set()
        for place, cell in enumerate(notebook["cells"]):
            if cell["cell_type"] != "code":
                continue
            source, where = "".join(cell["source"]), f"{name}, cell {place}"
            if (lines := len(source.splitlines())) > LONGEST:
                found.append(f"{where} has {lines} lines: move its logic into the package")
            if cell["outputs"] or cell["execution_count"] is not None:
                found.append(f"{where} has outputs: clear them")
            hidden = "hide-input" in cell["metadata"].get("tags", [])
            if hidden and not any(call in source for call in DRAWS):
                found.append(f"{where} hides code that draws nothing: show it")
            if ".rename(columns={" in source:
                found.append(f"{where} renames columns: let the package name them")
            tree = ast.walk(ast.parse(source))
            defined |= {node.name for node in tree if isinstance(node, ast.FunctionDef)}
        functions.update(defined)
    found += [f"{name} is defined in {n} notebooks" for name, n in functions.items() if n > 1]
    return found


def test_the_notebooks_have_no_fault():
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert len(paths) >= 15
    assert faults({path.name: json.loads(path.read_text()) for path in paths}) == []


def notebook(source="x = 1", outputs=(), count=None, tags=()):
    cell = {"cell_type": "code", "source": [source], "outputs": list(outputs)}
    return {"cells": [{**cell, "execution_count": count, "metadata": {"tags": list(tags)}}]}


@pytest.mark.parametrize(
    ("notebooks", "said"),
    [
        ({"a": notebook("x = 1\n" * 26)}, "a, cell 0 has 26 lines"),
        ({"a": notebook(outputs=[{"output_type": "stream"}])}, "has outputs"),
        ({"a": notebook(count=3)}, "has outputs"),
        ({"a": notebook("x = 1", tags=["hide-input"])}, "hides code"),
        ({"a": notebook("t.rename(columns={'a': 'b'})")}, "renames columns"),
        ({name: notebook("def f():\n    return 1") for name in "ab"}, "f is defined in 2"),
    ],
)
def test_a_fault_is_found(notebooks, said):
    (found,) = faults(notebooks)
    assert said in found


def test_what_is_allowed_is_no_fault():
    some = {"a": notebook("x = 1\n" * 25), "b": notebook("def f():\n    return 1")}
    assert faults({**some, "c": notebook("show(figure)", tags=["hide-input"])}) == []


def test_the_readme_lists_all_chapters():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    rows = re.findall(r"^\| (\d+) \| .+ \| .+ \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert [int(row) for row in rows] == [int(path.name[:2]) for path in notebooks]
