"""The command line: exit codes, and one clear line for input that cannot be used."""

import pytest

import oacore.__main__ as cli
from oacore.__main__ import main


@pytest.fixture
def train_words(tmp_path):
    def words(cohort, profile="smoke", supervision="dual"):
        return [
            "train", "--profile", profile, "--supervision", supervision, "--cohort", str(cohort),
            "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run"), "--threads", "1",
        ]  # fmt: skip

    return words


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohorts") / "phantom"
    assert main(["phantom", str(folder), "--profile", "smoke", "--workers", "1"]) == 0
    return folder


def test_a_phantom_is_written_checked_and_trained_on(phantom, train_words, tmp_path, capsys):
    assert main(["check", str(phantom), "--workers", "1"]) == 0
    assert "A phantom" in capsys.readouterr().out
    assert main(train_words(phantom)) == 0
    assert (tmp_path / "run/done.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profile": "huge"}, "there is no profile 'huge'"),
        ({"supervision": "triple"}, "unknown supervision 'triple'"),
    ],
)
def test_a_wrong_word_is_one_line_and_exit_code_2(phantom, train_words, change, message, capsys):
    assert main(train_words(phantom, **change)) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("oacore: ")]
    assert len(error) == 1 and message in error[0]


def test_an_empty_folder_is_one_line_and_exit_code_2(train_words, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(train_words(tmp_path / "empty")) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["check", str(tmp_path / "empty"), "--workers", "1"]) == 1


def test_an_interruption_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_fetch", interrupted)
    assert main(["fetch", "published"]) == 130
    assert "goes on from here" in capsys.readouterr().err
