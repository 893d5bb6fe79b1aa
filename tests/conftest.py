"""What tests share: the data beside the repository, Chromium, and one smoke build."""

import fcntl
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from oacore.files import write
from tests.helpers import ROOT, make
from tests.server import Server

#: Files whose tests share builds that take minutes, by the turn of these: 0 is the smoke build in
#: the project's own build/, where some build again, 1 a real cohort's (tests/workflow/conftest.py).
OF_ONE_BUILD = {
    f"tests/workflow/test_{name}.py": turn
    for turn, names in enumerate((("browser", "build"), ("extend", "privacy")))
    for name in names
}


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal the tests out to the processes of `make test`; a plain `pytest` runs them as they stand.

    One process takes all files that share a build: none is made twice, and a second one of the
    smoke book at the same time would be refused. The others go file by file, so that what the tests
    of a module share is made once.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByBuild(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return str(OF_ONE_BUILD.get(file, file))

    return ByBuild(config, log)


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """What takes longest comes first, so that the processes of `make test` end together."""
    if "PYTEST_XDIST_WORKER" in os.environ:

        def turn(item: pytest.Function) -> int:
            file = item.path.relative_to(ROOT).as_posix()
            return OF_ONE_BUILD.get(file, 2 if item.path.parent.name == "workflow" else 3)

        items.sort(key=turn)


def absent(what: str, insist: str) -> NoReturn:
    """Skip a test for want of something, or fail where the variable `insist` is set to 1."""
    if os.environ.get(insist) == "1":
        pytest.fail(f"{what}, and {insist}=1 insists on it")
    pytest.skip(what)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data for tests, which lie beside the repository and are no part of it."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        absent("there is no ../shared", "OACORE_REQUIRE_SHARED")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium or Chrome."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    absent("there is no Chromium", "OACORE_REQUIRE_CHROMIUM")


@pytest.fixture(scope="session")
def playwright() -> Iterator[Any]:
    """Playwright, of which a process can hold one."""
    if os.environ.get("OACORE_REQUIRE_CHROMIUM") == "1":
        from playwright import sync_api
    else:
        sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as one:
        yield one


@pytest.fixture(scope="session")
def smoke_words() -> list[str]:
    """What makes the smoke build, with the files of others where they are to be had."""
    real = ROOT.parent / "shared/real"
    folders = {
        "PUBLISHED": "published_predictions",
        "RADIOMICS": "radiomics",
        "REFERENCES": "knee_template",
    }
    given = [f"{word}={real / name}" for word, name in folders.items() if (real / name).is_dir()]
    return ["book", "PROFILE=smoke", "CORES=2", *given]


@pytest.fixture(scope="session")
def smoke_build(smoke_words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the whole book as `make book PROFILE=smoke` leaves it, built by one process."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # of all processes
    said = place / "smoke-build.txt"
    with (place / "smoke-build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            done = make(*smoke_words)
            write(said, f"{done.returncode}\n{done.stdout}")
    status, _, printed = said.read_text().partition("\n")
    if int(status):
        pytest.fail(f"the smoke build failed:\n{printed[-6000:]}", pytrace=False)
    return ROOT / "build/smoke"


@pytest.fixture(scope="session")
def built_book(request: pytest.FixtureRequest) -> Path:
    """Folder of the book's pages: OACORE_BOOK_HTML, else the smoke build's."""
    folder = os.environ.get("OACORE_BOOK_HTML")
    return Path(folder) if folder else request.getfixturevalue("smoke_build") / "html"


@pytest.fixture
def server():
    """A running server."""
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def loopback_only(monkeypatch):
    """Refuse connections to any other machine."""
    connect = socket.socket.connect

    def guarded(self, address):
        assert address[0] == "127.0.0.1", f"a connection to {address} was tried"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.fixture
def closed_url():
    """Address at which nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"
