"""A run's record against git's and the packages' own words."""

import subprocess

import numpy
import pytest
import torch

import oacore
from oacore.provenance import commit, provenance


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    package = tmp_path / "oacore"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(oacore, "__file__", str(package / "__init__.py"))
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_commit_is_gits_and_a_changed_file_shows(repository):
    head = (repository / ".git/refs/heads").glob("*")
    assert commit() == {"commit": next(head).read_text().strip(), "clean": True}
    (repository / "oacore/__init__.py").write_text("changed = True")
    assert commit()["clean"] is False


def test_a_copy_outside_version_control_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(oacore, "__file__", str(tmp_path / "oacore" / "__init__.py"))
    assert commit() == {"commit": None, "clean": None}


def test_versions_and_device_are_those_in_use():
    found = provenance(torch.device("cpu"))
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["numpy"] == numpy.__version__
    assert found["device"].startswith("cpu: ")
