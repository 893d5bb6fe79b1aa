"""One set of packages, named in three files; and what an installed oacore holds."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def lock() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    locked = {canonicalize_name(pin.name): pin for pin in pins}
    assert len(locked) == len(pins), "a package is locked twice"
    return locked


@pytest.fixture(scope="module")
def direct() -> dict[str, Requirement]:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    needs = [Requirement(line) for group in groups for line in group]
    return {canonicalize_name(need.name): need for need in needs}


def pinned(requirement: Requirement) -> str:
    match = re.fullmatch(r"==([\w.]+)", str(requirement.specifier))
    assert match, f"{requirement} is no exact version"
    return match[1]


def test_the_lock_names_exact_versions_and_no_address(lock):
    for pin in lock.values():
        assert pinned(pin)
        assert pin.url is None
        assert "+" not in str(pin.specifier)  # a local build, which no index has
    assert "oacore" not in lock


def test_the_lock_holds_each_direct_dependency_within_its_bounds(lock, direct):
    for name, need in direct.items():
        assert name in lock, f"{name} is in pyproject.toml and not in requirements.lock"
        assert need.specifier.contains(pinned(lock[name])), f"{need} against {lock[name]}"


def test_conda_gets_the_same_packages_and_versions(lock, direct):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    words = [word for word in environment["dependencies"] if isinstance(word, str)]
    python = next(word for word in words if word.startswith("python="))
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python="))
    (pip,) = [word["pip"] for word in environment["dependencies"] if isinstance(word, dict)]
    assert [word for word in pip if word.startswith("-")] == [
        "--constraint requirements.lock",
        "--editable .",
    ]
    named = [Requirement(word) for word in pip if not word.startswith("-")]
    assert {canonicalize_name(need.name) for need in named} == set(direct)
    for need in named:
        assert pinned(need) == pinned(lock[canonicalize_name(need.name)])


def test_this_environment_is_the_locked_one(lock):
    there = {
        name: version(name).split("+")[0]
        for name, pin in lock.items()
        if pin.marker is None or pin.marker.evaluate()
    }
    assert there == {name: pinned(lock[name]) for name in there}


def test_hooks_are_local_and_at_the_locked_versions(lock):
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {repository["repo"] for repository in repositories} == {"local"}
    for hook in repositories[0]["hooks"]:
        for need in map(Requirement, hook["additional_dependencies"]):
            assert pinned(need) == pinned(lock[canonicalize_name(need.name)])


def imported_packages(path: Path) -> set[str]:
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text())["cells"]
        source = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    else:
        source = path.read_text()
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module))
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)


#: Modules for what need not be installed, and what that is.
OPTIONAL = {"oacore/models/scan/cpu.py": {"numba"}, "oacore/models/scan/gpu.py": {"triton"}}


def test_every_import_is_a_declared_dependency(direct):
    core = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    owners = packages_distributions()
    for pattern, declared in {
        "oacore/**/*.py": core,
        "notebooks/*.ipynb": core,
        # What nbclient is configured with.
        "workflow/*.py": set(direct) | {"traitlets", "jupyter-client"},
        # MyST's own parser shows what a browser would get.
        "tests/**/*.py": set(direct) | {"packaging", "markdown-it-py"},
    }.items():
        for path in ROOT.glob(pattern):
            optional = OPTIONAL.get(str(path.relative_to(ROOT)), set())
            known = {"oacore", "workflow", "benchmarks", "tests"} | optional
            for name in imported_packages(path) - known:
                owner = {canonicalize_name(dist) for dist in owners[name]}
                assert owner & declared, f"{path.name} imports {name}, which nothing declares"


def test_an_installed_copy_has_its_data(tmp_path):
    # From a copy, since setuptools leaves its own folders where it builds.
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "oacore", tmp_path / "oacore")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", "out", "."], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "out").glob("oacore-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "oacore").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources <= names


def test_citation_names_the_project_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["authors"] == [{"name": PROJECT["authors"][0]["name"]}]
    paper = citation["references"][0]
    assert paper["identifiers"][0]["value"] == "arXiv:2605.00718"
