"""The page on how to add a backbone, an arm, a metric and a chapter, followed to the letter."""

import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.helpers import ROOT

PAGE = ROOT / "book/contributing.md"
BLOCK = re.compile(
    r"^( *)```\{code-block\} \w+\n *:caption: (?P<file>[\w./-]+)"
    r"(?:, (?P<side>below|above) `(?P<line>[^`\n]+)`)?\n\n(?P<code>.*?)\n\1```$",
    re.MULTILINE | re.DOTALL,
)  # fmt: skip


def blocks(page: str) -> list[dict[str, str | None]]:
    """Code blocks of a page with the files, and the lines in them, that their captions name."""
    found = []
    for match in BLOCK.finditer(page):
        depth = len(match[1])  # the indentation of the list in which it stands
        lines = [line[depth:] for line in match["code"].splitlines()]
        found.append({**match.groupdict(), "code": "\n".join(lines) + "\n"})
    return found


def follow(block: dict[str, str | None], project: Path) -> None:
    """Do what one block of the page says."""
    path, code = project / str(block["file"]), str(block["code"])
    if block["line"] is None:
        assert not path.exists(), f"{path} is there already"
        if path.suffix == ".ipynb":
            nbformat.write(notebook(code), path)
        else:
            path.write_text(code)
        return
    anchor, hit = block["line"], False
    lines = []
    for line in path.read_text().splitlines(keepends=True):
        here = line.strip() == anchor or line.startswith(f"{anchor}(")
        hit |= here
        if here and block["side"] == "above":
            lines.append(f"{code}\n\n")
        lines.append(line)
        if here and block["side"] == "below":
            lines.append(code)
    assert hit, f"{path} has no line {anchor!r}"
    path.write_text("".join(lines))


def notebook(code: str) -> nbformat.NotebookNode:
    """Cells between lines that start with "# %%"."""
    cells = []
    for part in re.split(r"^# %% *", code, flags=re.MULTILINE)[1:]:
        kind, _, source = part.partition("\n")
        if kind == "[markdown]":
            cells.append(new_markdown_cell(source.strip()))
        else:
            tags = {"tags": [kind]} if kind else {}
            cells.append(new_code_cell(source.strip(), metadata=tags))
    made = new_notebook(cells=cells)
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    return made
