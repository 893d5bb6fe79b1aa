"""The command line: exit codes, and one clear line for input that cannot be used."""

import shutil

import pandas as pd
import pytest

import oacore.__main__ as cli
from oacore.__main__ import main
from oacore.subjects import READER_NOISE


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


def test_knees_are_measured_into_a_table(phantom, tmp_path, capsys):
    out = tmp_path / "new/measured.csv"
    assert main(["measure", str(phantom), "--workers", "1", "--out", str(out)]) == 0
    measured, truth = pd.read_csv(out), pd.read_csv(phantom / "truth.csv")
    assert f"{len(truth)} of {len(truth)} knees" in capsys.readouterr().out
    assert list(measured["case_id"]) == list(truth["case_id"])
    assert measured["femur_cm3"].corr(truth["size"]) > 0.8
    assert [path.name for path in out.parent.iterdir()] == ["measured.csv"]


def test_a_cohort_without_masks_gives_an_empty_table(phantom, tmp_path):
    cohort = tmp_path / "cohort"
    masks = shutil.ignore_patterns("labels*", "lesions*")
    shutil.copytree(phantom, cohort, ignore=masks)
    out = tmp_path / "measured.csv"
    assert main(["measure", str(cohort), "--workers", "1", "--out", str(out)]) == 0
    assert out.read_text() == "case_id,split\n"


def test_coarse_and_fine_reader_noise_are_set_apart(tmp_path, monkeypatch, capsys):
    asked = {}
    monkeypatch.setattr("oacore.phantom.write_phantom", lambda folder, **words: asked.update(words))
    words = ["phantom", str(tmp_path / "p"), "--profile", "smoke", "--reader-noise"]
    for given, wanted in {("0.2",): 0.2, ("1", "0"): (1.0, 0.0)}.items():
        assert main([*words, *given, "--device", "cpu"]) == 0
        assert asked["reader_noise"] == wanted
        assert asked["device"] == "cpu"
    assert main([*words, "1", "0", "0"]) == 2
    assert "coarse and fine" in capsys.readouterr().err
    assert main(words[:-1]) == 0
    assert asked["reader_noise"] == READER_NOISE


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
