"""Records that are carried over a change of code: only where two trees made the same bytes."""

import json
import subprocess

import pytest

from oacore.errors import InputError
from oacore.fingerprint import code_digest, code_files
from tests.helpers import ROOT
from workflow.carry import CHECKS, Check, carry

#: What a record follows from, and a check that writes what it gives.
LAW = "def law(x):\n    return x + x\n"
SCRIPT = """
import sys
from pathlib import Path
from oacore.law import law
for x in range(3):
    Path(sys.argv[1], f"{x}.txt").write_text(str(law(x)))
"""
MACHINE = {"python": "3"}


class Project:
    """A repository with a package, a record of it, and a check that answers for `oacore/law.py`."""

    def __init__(self, folder):
        self.root, self.folder = folder / "project", folder / "project/book/record/toy"
        self.folder.mkdir(parents=True)
        (self.root / "oacore").mkdir()
        self.git("init", "-q")
        self.write("oacore/__init__.py", '"""A toy."""\n')
        self.write("oacore/law.py", LAW)
        self.write("oacore/more.py", "MORE = 1\n")
        self.write("oacore/entry.py", "from oacore import law, more\n")
        (self.folder / "table.csv").write_text("x\n1\n")
        self.record(self.code())
        self.script = folder / "check.py"
        self.script.write_text(SCRIPT)
        self.checks = {"law": Check(self.script, ("oacore/law.py", "oacore/kinder.py"))}
        self.first = self.commit()

    def git(self, *words):
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *who, *words], cwd=self.root, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def write(self, name, text):
        (self.root / name).write_text(text)

    def commit(self):
        self.git("add", "-A")
        self.git("commit", "-qm", "a change")
        return self.git("rev-parse", "HEAD")

    def code(self):
        files = code_files("oacore/entry.py", root=self.root)
        return {name: code_digest(self.root / name) for name in files}

    def record(self, code):
        said = {"command": "make toy", "code": code, "tables": {}}
        (self.folder / "record.json").write_text(json.dumps(said, indent=1) + "\n")

    def read(self):
        return json.loads((self.folder / "record.json").read_text())

    def carry(self):
        return carry(self.root, {self.folder: self.code}, self.checks, MACHINE).get(self.folder)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_nothing_is_carried_where_nothing_changed(project):
    assert project.carry() is None
    project.write("oacore/law.py", '"""Words."""\n' + LAW)
    project.commit()
    before = project.read()
    assert project.carry() is None and project.read() == before


def test_a_record_is_carried_over_code_that_does_the_same(project):
    project.write("oacore/law.py", LAW.replace("x + x", "2 * x"))
    second = project.commit()
    assert project.carry() == ""
    said = project.read()
    assert said["code"] == project.code() and said["command"] == "make toy"
    assert said["carried"] == [
        {
            "from": project.first, "to": second, "files": ["oacore/law.py"], "machine": MACHINE,
            "checks": {"law": {"files alike": 3}},
        }
    ]  # fmt: skip
    assert (project.folder / "table.csv").read_text() == "x\n1\n"
    # And once more, from the last commit that holds that code.
    third = project.commit()
    project.write("oacore/law.py", LAW.replace("x + x", "x * 2"))
    project.commit()
    assert project.carry() == ""
    assert [note["from"] for note in project.read()["carried"]] == [project.first, third]


def test_a_byte_that_differs_keeps_a_record_as_it_is(project):
    before = project.read()
    project.write("oacore/law.py", LAW.replace("x + x", "x + (x or 1)"))
    project.commit()
    said = project.carry()
    assert said == "oacore/law.py: by the check law 0.txt differs, one of 1 that do"
    assert project.read() == before


def test_a_file_that_only_one_tree_makes_differs(project):
    project.script.write_text(SCRIPT + "if law.__doc__:\n    Path(sys.argv[1], 'a').touch()\n")
    project.write("oacore/law.py", 'def law(x):\n    """Of x."""\n    return 2 * x\n')
    project.commit()
    assert "law a differs" in project.carry()


def test_a_changed_file_without_a_check_keeps_a_record_as_it_is(project):
    before = project.read()
    project.write("oacore/law.py", LAW.replace("x + x", "2 * x"))
    project.write("oacore/more.py", "MORE = 2 - 1\n")
    project.commit()
    assert project.carry() == "no check answers for oacore/more.py"
    assert project.read() == before


def test_new_files_behind_a_record_count_as_changed(project):
    project.write("oacore/law.py", "from oacore.half import law\n")
    project.write("oacore/half.py", LAW)
    project.commit()
    assert project.carry() == "no check answers for oacore/half.py"
    project.write("oacore/law.py", "from oacore.kinder import law\n")
    project.git("mv", "oacore/half.py", "oacore/kinder.py")
    project.commit()
    assert project.carry() == ""
    said = project.read()
    assert said["carried"][0]["files"] == ["oacore/kinder.py", "oacore/law.py"]
    assert said["code"] == project.code() and "oacore/kinder.py" in said["code"]


def test_code_that_no_commit_holds_was_never_there(project):
    project.record({**project.code(), "oacore/law.py": "0" * 16})
    project.commit()
    assert project.carry() == "no commit holds oacore/law.py as it was recorded"


def test_what_is_not_committed_is_refused(project):
    project.write("oacore/law.py", LAW.replace("x + x", "2 * x"))
    with pytest.raises(InputError, match="not committed"):
        project.carry()


@pytest.mark.parametrize(
    ("script", "said"), [("raise SystemExit(3)", "check.py failed in"), ("", "wrote nothing")]
)
def test_a_check_that_shows_nothing_carries_nothing(project, script, said):
    before = project.read()
    project.script.write_text(script)
    project.write("oacore/law.py", LAW.replace("x + x", "2 * x"))
    project.commit()
    with pytest.raises(InputError, match=said):
        project.carry()
    assert project.read() == before


def test_checks_are_there_and_answer_for_files_that_are():
    for check in CHECKS.values():
        assert check.script.is_file()
        assert [name for name in check.answers_for if not (ROOT / name).is_file()] == []
