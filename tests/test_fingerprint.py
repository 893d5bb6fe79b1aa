"""The closure of imports, against what Python loads, and the digest of it."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from oacore import fingerprint as module
from oacore.fingerprint import code_digest, code_files, fingerprint
from tests.helpers import ROOT, copy_project


def test_code_files_follow_every_form_of_import(tmp_path):
    package = tmp_path / "oacore"
    (package / "room").mkdir(parents=True)
    for name, source in {
        "__init__": '"""What it holds."""\n\n__version__ = \'1\'',  # does nothing: left out
        "a": "from oacore import b\nfrom .c import thing",
        "b": "from importlib.resources import files\nfiles('oacore.room') / 'table.csv'",
        "c": "def thing():\n    import oacore.d as d\n    return d",
        "d": "import numpy",
        "e": "import oacore.a",
        "room/__init__": "from . import g",
        "room/f": "from .g import one\nfrom ..d import two",
        "room/g": "",
    }.items():
        (package / f"{name}.py").write_text(source)
    (package / "room/table.csv").touch()
    (package / "room/other.csv").touch()

    def found(entry: str) -> list[str]:
        return [name.removeprefix("oacore/") for name in code_files(entry, root=tmp_path)]

    assert found("oacore/a.py") == ["a.py", "b.py", "c.py", "d.py", "room/table.csv"]
    assert found("oacore/d.py") == ["d.py"]
    assert found("oacore/room/f.py") == [
        "d.py", "room/__init__.py", "room/f.py", "room/g.py",
    ]  # fmt: skip


def test_code_files_follow_links_and_pass_over_dangling_ones(tmp_path):
    package, elsewhere = tmp_path / "oacore", tmp_path / "elsewhere"
    package.mkdir()
    elsewhere.mkdir()
    (elsewhere / "b.py").write_text("")
    (package / "room").symlink_to(elsewhere)
    (package / "gone.py").symlink_to(tmp_path / "nowhere.py")
    (package / "a.py").write_text("from oacore import gone\nfrom oacore.room import b")
    assert code_files("oacore/a.py", root=tmp_path) == ["oacore/a.py", "oacore/room/b.py"]


@pytest.mark.parametrize(
    "name", ["training.loop", "instruments.phantom.cohort", "data.cohort", "plots.page"]
)
def test_code_files_hold_all_that_python_loads(name):
    code = (
        f"import sys, oacore.{name}\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'oacore'))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    found = code_files(f"oacore/{name.replace('.', '/')}.py")
    silent = {path for path in loaded if path.endswith("__init__.py")}  # the house's are docstrings
    assert {str(Path(file).relative_to(ROOT)) for file in set(loaded) - silent} <= set(found)


def test_a_file_is_parsed_once_however_many_jobs_ask(tmp_path, monkeypatch):
    parsed = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda text, *a: parsed.append(text) or parse(text, *a))
    package = tmp_path / "oacore"
    package.mkdir()
    for name, source in {"__init__": "", "a": "import oacore.b", "b": "", "c": ""}.items():
        (package / f"{name}.py").write_text(source)
    for _ in range(1000):
        assert code_files("oacore/a.py", root=tmp_path) == ["oacore/a.py", "oacore/b.py"]
    assert len(parsed) == 3  # the package's own file among them
    (package / "b.py").write_text("import oacore.c")
    assert len(code_files("oacore/a.py", root=tmp_path)) == 3
    assert len(parsed) == 5  # what was edited, and what is new


def test_pictures_are_no_part_of_training():
    training = set(code_files("oacore/training/loop.py", "oacore/data/cohort.py"))
    assert {"oacore/models/heads.py", "oacore/hierarchy.py", "oacore/data/volumes.py"} <= training
    assert not [file for file in training if file.startswith(("oacore/plots", "oacore/instr"))]


def test_an_edited_kernel_is_other_code(tmp_path, monkeypatch):
    # An interrupted nnMamba run must not go on under another kernel.
    project = copy_project(tmp_path / "project")
    monkeypatch.setattr(module, "ROOT", project)
    monkeypatch.setattr(code_files, "__kwdefaults__", {"root": project})
    runs = {name: ("oacore.training.loop", f"oacore.models.{name}") for name in ("nnmamba", "m3t")}
    before = {name: fingerprint(*modules) for name, modules in runs.items()}
    assert before == {name: fingerprint(*modules) for name, modules in runs.items()}
    for kernel in ("cpu", "gpu", "reference"):
        file = project / f"oacore/models/scan/{kernel}.py"
        file.write_text(file.read_text() + "\n# edited\n")
        after = {name: fingerprint(*modules) for name, modules in runs.items()}
        assert after["nnmamba"] != before["nnmamba"] and after["m3t"] == before["m3t"]
        before = after


def digest_of(folder, name, text):
    path = folder / name
    path.write_text(text)
    return code_digest(path)


def test_a_digest_of_code_leaves_out_what_is_merely_said(tmp_path):
    said = '"""One."""\n\n\ndef f(x):\n    """Two,\n    three."""\n    # four\n'
    said += '    return "#" + x  # five\n'
    bare = 'def f(x):\n    return "#" + x\n'
    assert digest_of(tmp_path, "a.py", said) == digest_of(tmp_path, "b.py", bare)
    assert digest_of(tmp_path, "b.py", bare.replace("#", "!")) != digest_of(tmp_path, "a.py", said)
    code = {"cell_type": "code", "source": ["x = 1"], "outputs": []}
    text = {"cell_type": "markdown", "source": ["Words."]}
    one = digest_of(tmp_path, "a.ipynb", json.dumps({"cells": [code, text]}))
    assert one == digest_of(tmp_path, "b.ipynb", json.dumps({"cells": [code]}))
    other = json.dumps({"cells": [{**code, "source": ["x = 2"]}, text]})
    assert one != digest_of(tmp_path, "b.ipynb", other)
    assert digest_of(tmp_path, "a.csv", "x\n1\n") != digest_of(tmp_path, "b.csv", "x\n# 1\n1\n")
