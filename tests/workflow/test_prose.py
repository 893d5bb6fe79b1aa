"""The linter of English: what it finds, and that the project has nothing for it to find."""

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from workflow import prose

STYLE = yaml.safe_load(prose.STYLE.read_text(encoding="utf-8"))


def test_the_project_uses_none_of_the_phrases(capsys):
    assert prose.main() == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("What it learnt.", "learnt"),
        ("It\ncan't.", "can't"),
        ("One is told\nfrom zero.", "told from zero"),
        ("# a note for\n# who reads it", "for # who"),
        ("The the same.", "The the"),
    ],
)
def test_a_phrase_is_found_where_it_stands(text, found, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"First line.\n{text}\n", encoding="utf-8")
    (fault,) = prose.faults(page, STYLE)
    assert f"“{found}”" in fault
    assert "line 2" in fault or "line 3" in fault


@pytest.mark.parametrize(
    "text", ["He learned it.", "for who in names:", "unlearntable", "at the thesis"]
)
def test_other_words_are_left_alone(text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    assert list(prose.faults(page, STYLE)) == []


def test_notebooks_are_read_cell_by_cell_with_their_captions(tmp_path):
    figure = {"mystnb": {"figure": {"name": "fig", "caption": "What it learnt"}}}
    cells = [
        new_markdown_cell("Right.\n\nIt shall."),
        new_code_cell("show(figure, alt='ill knees')", metadata=figure),
    ]
    path = tmp_path / "a.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    places = [fault.split(": ")[0] for fault in prose.faults(path, STYLE)]
    assert places == [
        "a.ipynb, cell 1, line 3", "a.ipynb, cell 2, line 1", "a.ipynb, cell 2, caption, line 1",
    ]  # fmt: skip
