"""Books of a cohort that passes for real, and the page on contributing followed."""

import re
import shutil
from pathlib import Path

import pooch
import pytest

from tests.helpers import copy_build, copy_project, make
from tests.workflow.following import PAGE, blocks, follow
from tests.workflow.laced import write_laced
from workflow.graph import build_folder


@pytest.fixture(scope="session")
def laced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort with marks wherever a person could be named."""
    return write_laced(tmp_path_factory.mktemp("private"))


@pytest.fixture(scope="session")
def private_book(
    laced: Path, tmp_path_factory: pytest.TempPathFactory, smoke_words: list[str]
) -> Path:
    """The book of the laced cohort, built in a copy of the project."""
    project = copy_project(tmp_path_factory.mktemp("privacy") / "project")
    files = [word for word in smoke_words if word.startswith(("PUBLISHED", "RADIOMICS"))]
    done = make("book", "PROFILE=smoke", f"COHORT={laced}", "CORES=2", *files, root=project)
    assert done.returncode == 0, done.stdout[-6000:]
    return project / build_folder("smoke", str(laced))


@pytest.fixture(scope="session")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project to which the page was followed."""
    project = copy_project(tmp_path_factory.mktemp("extend") / "project")
    for block in blocks(PAGE.read_text()):
        follow(block, project)
    return project


@pytest.fixture(scope="session")
def extended_book(
    extended: Path, laced: Path, private_book: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The laced cohort's book with what the page adds, single knees, and no files of others.

    A build is long, and one shows all three. What they leave alone is built already.
    """
    book = copy_build(private_book, extended)
    cache = tmp_path_factory.mktemp("nothing")  # that a user has fetched
    # What the first build found of this machine's convolutions, which takes half a minute to find.
    (cache / "oacore").mkdir()
    for found in Path(pooch.os_cache("oacore")).glob("convolutions-*.json"):
        shutil.copy2(found, cache / "oacore")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(cache))
        done = make(
            "book", "PROFILE=smoke", f"COHORT={laced}", "IMAGES=yes", "CORES=2", root=extended
        )
    assert done.returncode == 0, done.stdout[-6000:]
    assert sorted(re.findall(r"Training (.+)", done.stdout)) == [
        "mynet-cascaded: dual seed 0",
        "mynet: single_oa seed 0, single_kl seed 0, dual seed 0",
    ]
    for what in ("Bringing the volumes to the grid of", "Saliency of"):
        assert re.findall(rf"{what} (\w+)", done.stdout) == ["mynet"]
    assert "Measuring the knees" not in done.stdout
    return book
