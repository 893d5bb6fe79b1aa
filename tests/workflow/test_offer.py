"""The one question of `make book`: asked of whoever can answer, once, and never in the way."""

import os
import pty
import sys

import pytest

from oacore.data import download
from oacore.data.sources import needed_files, source_cache
from oacore.errors import InputError
from workflow import offer as asking
from workflow.offer import offer

NONE = {"published": "", "radiomics": ""}


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """What was fetched, by an empty cache and a network that is there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(asking, "_online", lambda: True)
    names = []
    monkeypatch.setattr(download, "fetch_source", names.append)
    return names


@pytest.fixture
def terminal(monkeypatch):
    """The other end of a terminal at which `make book` was typed."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(os, "isatty", lambda number: number in (0, 1))
        yield lambda text: os.write(ours, text.encode())
    os.close(ours)


@pytest.mark.parametrize(
    ("typed", "got"), [("yes\n", [*NONE]), ("Y\n", [*NONE]), ("no\n", []), ("\n", [])]
)
def test_a_terminal_is_asked_once(fetched, terminal, capsys, typed, got):
    terminal(typed)
    offer("", NONE)
    said = capsys.readouterr().out
    assert said.count("Fetch them now?") == 1 and "oacore fetch radiomics" in said
    assert fetched == got
    fetched.clear()
    offer("", NONE)  # nothing can be read any more: a second question would wait
    assert capsys.readouterr().out == "" and fetched == []


def test_a_question_that_nobody_answers_does_not_hold_a_build(
    fetched, terminal, capsys, monkeypatch
):
    monkeypatch.setattr(asking, "PATIENCE", 0.05)
    offer("", NONE)
    assert "Going on without; FETCH=yes or FETCH=no" in capsys.readouterr().out
    assert fetched == []
    offer("", NONE)  # it was not answered, so it stands
    assert "Fetch them now?" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["CI", "no terminal", "offline"])
def test_nobody_is_asked_who_cannot_answer(fetched, terminal, capsys, monkeypatch, where):
    if where == "CI":
        monkeypatch.setenv("CI", "true")
    elif where == "no terminal":
        monkeypatch.setattr(os, "isatty", lambda number: number == 1)
    else:
        monkeypatch.setattr(asking, "_online", lambda: False)
    terminal("yes\n")
    offer("", NONE)
    assert capsys.readouterr().out == "" and fetched == []


def test_a_word_answers_beforehand(fetched, capsys):
    offer("yes", NONE)
    assert fetched == ["published", "radiomics"]
    fetched.clear()
    offer("no", NONE)
    offer("yes", {"published": "given", "radiomics": "given"})
    assert fetched == []
    for name in needed_files("published"):
        path = source_cache("published") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    offer("yes", NONE)
    assert fetched == ["radiomics"]
    with pytest.raises(InputError, match="FETCH=perhaps: say yes or no"):
        offer("perhaps", NONE)
    assert capsys.readouterr().out == ""


def test_a_download_that_fails_is_said_and_the_build_goes_on(
    tmp_path, monkeypatch, capsys, closed_url, loopback_only
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    real = download.fetch_source
    monkeypatch.setattr(download, "fetch_source", lambda name: real(name, base_url=closed_url))
    offer("yes", NONE)
    said = capsys.readouterr().err
    assert said.count("make book: could not fetch") == 2 and "works without these files" in said


def test_an_answer_that_cannot_be_kept_still_counts(fetched, terminal, tmp_path, capsys):
    (tmp_path / "oacore").write_text("in the way")
    terminal("no\n")
    offer("", NONE)
    assert "The answer could not be kept (" in capsys.readouterr().err


def test_a_host_is_there_if_it_answers_at_all(server, closed_url, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(download, "RAW_URL", f"http://127.0.0.1:{server.server_port}/nothing")
    assert asking._online()
    monkeypatch.setattr(download, "RAW_URL", closed_url)
    assert not asking._online()
