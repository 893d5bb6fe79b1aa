"""What a graph keeps of the package between two calls."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers import copy_project

#: One call of a graph: it recalls, asks, and says what it had to parse.
CALL = """
import ast, sys
from pathlib import Path
from workflow.graph import code_files, recall
parsed, parse = [], ast.parse
ast.parse = lambda *a, **k: parsed.append(a) or parse(*a, **k)
recall(Path(sys.argv[1]))
files = code_files("oacore/training/loop.py")
print(len(parsed), *files)
"""


@pytest.fixture
def call(tmp_path):
    project = copy_project(tmp_path / "project")
    memory = tmp_path / "memory.json"

    def call():
        done = subprocess.run(
            [sys.executable, "-c", CALL, str(memory)],
            cwd=project, env={**os.environ, "PYTHONPATH": str(project)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert not done.stderr
        parsed, *files = done.stdout.split()
        return int(parsed), files

    call.project, call.memory = project, memory
    return call


def test_a_second_call_parses_nothing_but_what_has_changed(call):
    parsed, files = call()
    assert parsed >= len([file for file in files if file.endswith(".py")])
    assert "oacore/plots/page.py" not in files
    assert call() == (0, files)
    edited = call.project / "oacore/training/losses.py"
    edited.write_text(edited.read_text() + "\n\nfrom oacore.plots import page as _page\n")
    parsed, more = call()
    assert "oacore/plots/page.py" in more
    new = [file for file in more if file.endswith(".py") and file not in files]
    assert parsed - 1 >= len(new) and set(files) < set(more)
    assert call() == (0, more)
    paths = [path for path, *_ in json.loads(call.memory.read_text())["content"]["files"]]
    assert len(paths) == len(set(paths))  # of a file that was edited, the latest alone


def test_an_edit_is_seen_whatever_the_editor_says_of_its_time(call):
    call()
    edited = call.project / "oacore/training/losses.py"
    before, text = edited.stat(), edited.read_text()
    edited.write_text(text.replace("the", "THE", 1))
    os.utime(edited, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert edited.stat().st_size == before.st_size
    assert call()[0] == 1


def test_a_memory_names_no_folder_above_the_package(call):
    call()
    files = json.loads(call.memory.read_text())["content"]["files"]
    assert all(path.startswith("oacore/") for path, *_ in files)


@pytest.mark.parametrize("spoil", ["cut", "changed", "of another reader"])
def test_a_memory_that_cannot_be_used_is_made_anew(call, spoil):
    whole = call()
    if spoil == "of another reader":
        reader = call.project / "oacore/fingerprint.py"
        reader.write_text(reader.read_text() + "\n# edited\n")
    else:
        text = call.memory.read_text()
        spoilt = text[:-40] if spoil == "cut" else text.replace("oacore.hierarchy", "oacore.other")
        assert spoilt != text
        call.memory.write_text(spoilt)
    assert call() == whole
    assert call() == (0, whole[1])


def test_nothing_is_lost_where_nothing_can_be_kept(call):
    call.memory.mkdir()
    first = call()
    assert first[0] > 0 and call() == first


def test_it_is_kept_where_it_was_read_though_the_process_moves(call, tmp_path):
    # As Snakemake does with --directory, before what is to be done at the end is done.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(
        [sys.executable, "-c", f"{CALL}\nimport os\nos.chdir({str(elsewhere)!r})", "memory.json"],
        cwd=call.project, env={**os.environ, "PYTHONPATH": str(call.project)}, check=True,
    )  # fmt: skip
    assert (call.project / "memory.json").is_file() and not list(elsewhere.iterdir())
