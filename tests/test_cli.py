"""The command line: exit codes, and one clear line for input that cannot be used."""

import shutil
import subprocess
import sys

import pandas as pd
import pytest

import oacore.__main__ as cli
from oacore.__main__ import main
from oacore.instruments.phantom.subjects import READER_NOISE
from tests.helpers import invented, model


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
    monkeypatch.setattr(
        "oacore.instruments.phantom.cohort.write_phantom",
        lambda folder, **words: asked.update(words),
    )
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


WITHOUT_TORCH = """
import sys
from oacore.__main__ import main
def done(*words):
    try:
        return main([*words])
    except SystemExit as end:
        return end.code
cohort, predictions, out = sys.argv[1:]
for command in ("check", "phantom", "measure", "cache", "train", "explain", "stats", "audit"):
    assert done(command, "--help") == 0, command
assert done("check", cohort, "--workers", "1") == 0
assert done("measure", cohort, "--workers", "1", "--out", out) == 0
assert done("stats", "--predictions", predictions, "--out", out) == 0
assert done("audit", "--out", out) == 0
assert done("fetch", "oaizib-cm") == 2
assert "torch" not in sys.modules
"""


def test_commands_that_need_no_network_start_without_torch(phantom, tmp_path):
    (tmp_path / "published").mkdir()
    words = [phantom, invented(tmp_path / "published"), tmp_path / "out.csv"]
    code = [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_interruption_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_fetch", interrupted)
    assert main(["fetch", "published"]) == 130
    assert "goes on from here" in capsys.readouterr().err


RELEASED = ["backbone", "task", "metric", "single", "dual", "delta", "ci_low", "ci_high",
            "p_value", "test", "q_value"]  # fmt: skip


COMPARED = ["backbone", "metric", "value_reference", "value_other", "value", "low", "high",
            "p_value", "test", "q_value"]  # fmt: skip


def test_stats_of_the_published_predictions(shared, tmp_path, capsys):
    out = tmp_path / "new/stats.csv"
    folder = shared / "real/published_predictions"
    assert main(["stats", "--predictions", str(folder), "--out", str(out)]) == 0
    assert "18 differences, 4 with q < 0.05" in capsys.readouterr().out
    table = pd.read_csv(out)
    assert list(table.columns) == RELEASED and len(table) == 18
    assert table["backbone"].unique().tolist() == ["resnet3d", "m3t", "nnmamba"]
    assert table["metric"].tolist() == ["AUC", "Acc", "F1", "M-AUC", "Acc", "M-F1"] * 3
    assert [path.name for path in out.parent.iterdir()] == ["stats.csv"]


def test_stats_of_two_folders_of_ones_own(tmp_path, capsys):
    for seed, name in enumerate(("before", "after")):
        (tmp_path / name / "run").mkdir(parents=True)
        table = model(seed, 60, kl=[k % 5 for k in range(60)]).assign(seed=0)
        table.to_csv(tmp_path / name / "run/predictions.csv", index=False)
    out = tmp_path / "stats.csv"
    folders = [str(tmp_path / name) for name in ("before", "after")]
    assert main(["stats", "--predictions", *folders, "--out", str(out)]) == 0
    table = pd.read_csv(out)
    assert list(table.columns) == COMPARED and len(table) == 6
    difference = table["value_other"] - table["value_reference"]
    assert (table["value"] - difference).abs().max() < 1e-12
    assert main(["stats", "--predictions", str(tmp_path / "none"), "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("oacore: ")


def test_the_audit_of_both_papers_and_of_a_table_of_ones_own(tmp_path, capsys):
    out = tmp_path / "audit.csv"
    assert main(["audit", "--out", str(out)]) == 0
    table = pd.read_csv(out)
    assert list(table.columns) == ["table", "row", "check", "printed", "implied", "verdict"]
    assert set(table["verdict"]) == {"consistent", "inconsistent", "undetermined"}
    wrong = table[(table["verdict"] == "inconsistent") & (table["check"] == "rho-auroc")]
    assert sorted(wrong["row"]) == [
        f"{backbone} {setting}"
        for backbone in ("M3T", "ResNet3D")
        for setting in ("Dual", "Single-KL", "Single-OA")
    ]
    mine = tmp_path / "mine.csv"
    mine.write_text("# table: Mine\n# source: me\n# knees: 1 1 1 1 1\nrow,oa_acc\nours,0.7000\n")
    assert main(["audit", "--table", str(mine), "--out", str(out)]) == 0
    [row] = pd.read_csv(out).to_dict("records")
    assert (row["check"], row["verdict"]) == ("accuracy-count", "inconsistent")
    mine.write_text("no table")
    assert main(["audit", "--table", str(mine), "--out", str(out)]) == 2
    assert "mine.csv" in capsys.readouterr().err
