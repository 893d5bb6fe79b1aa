"""The command line: exit codes, and one clear line for input that cannot be used."""

import ctypes
import errno
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import oacore.__main__ as cli
from oacore.__main__ import main
from oacore.instruments.phantom.subjects import READER_NOISE
from tests.helpers import invented, model
from tests.instruments.radiographs import sets


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


def test_radiographs_are_checked_and_joined_with_oais_table(phantom, tmp_path, capsys):
    cases = sets.drawn_public(tmp_path / "kneeKL224")
    table = sets.oai_table(cases)
    oarsi = sets.write_oai(table, tmp_path / "kxr_sq_bu00.txt")
    words = ["check", str(tmp_path / "kneeKL224"), "--oarsi"]
    assert main([*words, str(oarsi)]) == 0
    said = capsys.readouterr().out
    assert "OARSI grades: 30 knees have all six." in said and "KL 4" in said
    assert not any(person in said for person in cases["person"])
    sets.write_oai(table[table["ID"] != cases["person"][0]], oarsi)
    assert main([*words, str(oarsi)]) == 1
    assert "has no row of reading project 15" in capsys.readouterr().out
    sets.write_oai(table.rename(columns={"V00XRKL": "V01XRKL"}), oarsi)
    for source, why in ((words[1], "another visit"), (str(phantom), "holds none")):
        assert main(["check", source, "--oarsi", str(oarsi)]) == 2
        error = [line for line in capsys.readouterr().err.splitlines() if "oacore: " in line]
        assert len(error) == 1 and why in error[0]
    assert main([*words, str(tmp_path / "none.txt")]) == 2
    assert "none.txt" in capsys.readouterr().err


def test_radiographs_are_drawn_for_a_profile(tmp_path, capsys, monkeypatch):
    drawn = tmp_path / "radiographs"
    assert main(["radiographs", str(drawn), "--profile", "smoke", "--workers", "1"]) == 0
    assert f"`oacore check {drawn}` describes them" in capsys.readouterr().out
    counts = pd.read_csv(drawn / "table.csv")["split"].value_counts()
    assert counts.to_dict() == {"train": 20, "test": 10, "val": 5}
    assert main(["check", str(drawn)]) == 0
    assert main(["radiographs", str(drawn), "--profile", "smoke"]) == 2
    assert "holds something already" in capsys.readouterr().err
    assert main(["radiographs", str(tmp_path / "b"), "--profile", "huge"]) == 2
    assert "no profile 'huge'" in capsys.readouterr().err


def test_status_tells_of_the_study(tmp_path, capsys):
    run = tmp_path / "study/runs/global/seed0"
    run.mkdir(parents=True)
    (run / "history.csv").write_text("epoch,loss\n1,2.0\n")
    assert main(["status", str(tmp_path), "--profile", "smoke"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == (
        "Study smoke on drawn radiographs: 0 of 4 runs trained; global seed 0: 1 of 2 epochs"
    )


WITHOUT_TORCH = """
import sys
from oacore.__main__ import main
def done(*words):
    try:
        return main([*words])
    except SystemExit as end:
        return end.code
cohort, pictures, predictions, out = sys.argv[1:]
for command in ("check", "phantom", "radiographs", "measure", "cache", "train", "explain", "stats",
                "audit"):
    assert done(command, "--help") == 0, command
assert done("check", cohort, "--workers", "1") == 0
assert done("check", pictures) == 0
assert done("measure", cohort, "--workers", "1", "--out", out) == 0
assert done("stats", "--predictions", predictions, "--out", out) == 0
assert done("audit", "--out", out) == 0
assert done("fetch", "oaizib-cm") == 2
assert "torch" not in sys.modules
"""


def test_commands_that_need_no_network_start_without_torch(phantom, tmp_path):
    (tmp_path / "published").mkdir()
    sets.drawn_public(tmp_path / "kneeKL224")
    published = invented(tmp_path / "published")
    words = [phantom, tmp_path / "kneeKL224", published, tmp_path / "out.csv"]
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


UNDEFINED = ["n_undefined", "note"]
COMPARED = ["backbone", "metric", "value_reference", "value_other", "value", "low", "high",
            "p_value", "test", "q_value"]  # fmt: skip


def test_stats_of_the_published_predictions(shared, tmp_path, capsys):
    out = tmp_path / "new/stats.csv"
    folder = shared / "real/published_predictions"
    assert main(["stats", "--predictions", str(folder), "--out", str(out)]) == 0
    assert "18 differences, 4 with q < 0.05" in capsys.readouterr().out
    table = pd.read_csv(out)
    assert list(table.columns) == [*RELEASED, *UNDEFINED] and len(table) == 18
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
    assert list(table.columns) == [*COMPARED, *UNDEFINED] and len(table) == 6
    difference = table["value_other"] - table["value_reference"]
    assert (table["value"] - difference).abs().max() < 1e-12
    assert main(["stats", "--predictions", str(tmp_path / "none"), "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("oacore: ")


def test_stats_of_few_knees_says_where_nobody_can_say(tmp_path, capsys):
    for seed, name in enumerate(("before", "after")):
        (tmp_path / name).mkdir()
        table = model(seed, 5, kl=range(5)).assign(seed=0)
        table.to_csv(tmp_path / name / "predictions.csv", index=False)
    out = tmp_path / "stats.csv"
    folders = [str(tmp_path / name) for name in ("before", "after")]
    assert main(["stats", "--predictions", *folders, "--out", str(out)]) == 0
    assert "2 of which nobody can say (see column note)" in capsys.readouterr().out
    table = pd.read_csv(out).set_index("metric")
    assert (table["n_undefined"] > 0).sum() == table["note"].notna().sum() == 2
    untold = table.loc[["oa_auc", "kl_auc"], ["low", "high", "p_value", "q_value"]]
    assert untold.isna().all(axis=None)
    assert table.loc[["oa_acc", "kl_acc"], ["p_value", "q_value"]].notna().all(axis=None)


def test_the_audit_of_both_papers_and_of_a_table_of_ones_own(tmp_path, capsys):
    out = tmp_path / "audit.csv"
    assert main(["audit", "--out", str(out)]) == 0
    table = pd.read_csv(out)
    assert list(table.columns) == [
        "table",
        "row",
        "check",
        "printed",
        "implied",
        "verdict",
        "claim",
    ]
    assert set(table["verdict"]) == {"consistent", "inconsistent", "undetermined"}
    wrong = table[(table["verdict"] == "inconsistent") & (table["check"] == "rho-auroc")]
    assert sorted(wrong["row"]) == [
        f"{backbone} {setting}"
        for backbone in ("M3T", "ResNet3D")
        for setting in ("Dual", "Single-KL", "Single-OA")
    ]
    mine = tmp_path / "mine.csv"
    head = "# table: Mine\n# source: me\n# knees: 1 1 1 1 1\n# values: one run\n"
    mine.write_text(f"{head}row,oa_acc\nours,0.7000\ntheirs,0.8000\n")
    assert main(["audit", "--table", str(mine), "--out", str(out)]) == 0
    row, _ = pd.read_csv(out).to_dict("records")
    assert (row["check"], row["verdict"]) == ("accuracy-count", "inconsistent")
    said = tmp_path / "said.csv"
    said.write_text(
        "paper,section,says,table,columns,rows,relation,sign,measure,value,claim\n"
        "ours,results,ours is best,Mine,oa_acc,ours; theirs,highest,signed,named,,\n"
    )
    told = ["--claims", str(said), "--out", str(out)]
    assert main(["audit", "--table", str(mine), *told]) == 0
    last = pd.read_csv(out).to_dict("records")[-1]
    assert (last["check"], last["verdict"]) == ("claim-table", "inconsistent")
    assert main(["audit", *told]) == 2
    assert "--table" in capsys.readouterr().err
    mine.write_text("no table")
    assert main(["audit", "--table", str(mine), "--out", str(out)]) == 2
    assert "mine.csv" in capsys.readouterr().err


REQUIRED = {
    "check": ["c"], "cache": ["c", "--out", "o"], "measure": ["c", "--out", "o"], "phantom": ["p"],
    "train": ["--cohort", "c", "--cache", "k", "--out", "o", "--supervision", "dual"],
    "explain": ["--run", "r", "--cohort", "c", "--cache", "k", "--out", "o"],
    "faithfulness": ["--run", "r", "--cohort", "c", "--cache", "k", "--out", "o"],
}  # fmt: skip
COUNTED = {
    "--workers": ("check", "cache", "measure", "phantom"),
    "--threads": ("train", "explain", "faithfulness"),
    "--devices": ("train",),
}


@pytest.mark.parametrize(
    ("command", "argument", "value"),
    [
        *((c, a, v) for a, commands in COUNTED.items() for c in commands for v in ("0", "-1", "x")),
        *((c, "--seed", v) for c in ("train", "phantom") for v in ("-1", "1.5", str(2**63))),
        *(("train", "--accelerator", v) for v in ("gpu", "cpuu")),
        ("explain", "--accelerator", "gpu"),
    ],
)
def test_an_argument_that_cannot_be_is_one_line(command, argument, value, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, *REQUIRED[command], argument, value])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.count("\n") == 1 and argument in error and value in error


@pytest.mark.parametrize("command", ["train", "explain", "faithfulness"])
def test_a_gpu_that_is_not_there_is_one_line_before_anything_is_read(command, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([command, *REQUIRED[command], "--accelerator", "cuda"]) == 2
    assert capsys.readouterr().err == (
        "oacore: there is no CUDA GPU that PyTorch can use; choose auto or cpu\n"
    )


@pytest.mark.parametrize("seed", ["42949", "20240101", str(2**32 - 1), str(2**63 - 1)])
def test_any_seed_trains(phantom, train_words, tmp_path, seed):
    assert main([*train_words(phantom), "--seed", seed]) == 0
    assert (tmp_path / "run/done.json").exists()


@pytest.mark.parametrize("command", ["audit", "stats", "measure", "cache", "phantom", "train"])
def test_an_output_that_is_of_the_wrong_kind_is_one_line(
    command, phantom, train_words, tmp_path, capsys
):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.write_text("")
    (tmp_path / "predictions").mkdir()
    invented(tmp_path / "predictions")
    asked = {
        "audit": [["audit", "--out", out] for out in (folder, file / "a.csv")],
        "stats": [
            ["stats", "--predictions", tmp_path / "predictions", "--out", out]
            for out in (folder, file / "a.csv")
        ],
        "measure": [["measure", phantom, "--out", folder, "--workers", "1"]],
        "cache": [["cache", phantom, "--profile", "smoke", "--out", file, "--workers", "1"]],
        "phantom": [["phantom", file, "--profile", "smoke", "--workers", "1"]],
        "train": [[*train_words(phantom), "--out", file], [*train_words(phantom), "--cache", file]],
    }
    for words in asked[command]:
        assert main([str(word) for word in words]) == 2
        said = [line for line in capsys.readouterr().err.splitlines() if "oacore: " in line]
        assert len(said) == 1
        assert str(folder if str(folder) in said[0] else file) in said[0] and ";" in said[0]
    assert list(folder.iterdir()) == [] and file.read_text() == ""


@pytest.mark.parametrize(
    ("number", "cure"),
    [(13, "the right to it"), (28, "free some space"), (30, "can be written"), (24, "ulimit -n")],
)
def test_what_the_system_refuses_is_one_line(number, cure, monkeypatch, capsys):
    def refused(*arguments, **words):
        raise OSError(number, "Refused", "/data/knee.nii.gz")

    monkeypatch.setattr("oacore.data.check.check_cohort", refused)
    assert main(["check", "c"]) == 2
    assert capsys.readouterr().err.startswith("oacore: /data/knee.nii.gz: Refused; ")

    def full(options):
        with open("/dev/full", "w") as file:
            file.write("x" * 99999)

    monkeypatch.setattr(cli, "_audit", full)
    assert main(["audit", "--out", "a.csv"]) == 2
    said = capsys.readouterr().err  # a write to an open file does not say to which
    assert "oacore: No space left on device, in writing to a.csv, or the command's output" in said
    assert "; free some space" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "load",
    [
        lambda: ctypes.CDLL("libof-no-system.so"),
        lambda: _raise(OSError("Could not find/load shared object file 'libllvmlite.so'")),
        lambda: exec("raise ImportError('libGL.so.1: cannot open shared object file: No such')"),
    ],
)
def test_a_library_that_cannot_be_loaded_is_not_the_outputs_fault(load, monkeypatch, capsys):
    monkeypatch.setattr(cli, "_audit", lambda options: load())
    assert main(["audit", "--out", "a.csv"]) == 2
    said = capsys.readouterr().err
    assert ".so" in said and "reinstall" in said and "a.csv" not in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError("what has no number"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        ModuleNotFoundError("No module named 'of_ours'"),
    ],
)
def test_what_is_about_no_known_path_keeps_its_traceback(error, monkeypatch, capsys):
    def refused(options):
        raise error

    monkeypatch.setattr(cli, "_audit", refused)
    with pytest.raises(type(error)) as caught:
        main(["audit", "--out", "a.csv"])
    assert caught.value is error and capsys.readouterr().err == ""


def _raise(error):
    raise error


@pytest.mark.parametrize(
    ("exhaust", "asked"),
    [
        (lambda: torch.empty(2**50, dtype=torch.uint8), "computer for another 1125899906842624 b"),
        (lambda: np.empty(2**50, dtype=np.uint8), "on this computer for another 1.00 PiB; end"),
        (lambda: _raise(MemoryError()), "on this computer; end other programs"),
        (lambda: _raise(RuntimeError("could not create a primitive")), "on this computer; end"),
        (
            lambda: _raise(
                torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            ),
            "on the GPU for another 2.00 GiB; end what else runs on it",
        ),
    ],
)
def test_memory_that_runs_out_is_one_line(exhaust, asked, monkeypatch, capsys):
    """A training ended in PyTorch's traceback under ulimit -v."""
    monkeypatch.setattr(cli, "_audit", lambda options: exhaust())
    assert main(["audit", "--out", "a.csv"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("oacore: there is no memory left ") and said.count("\n") == 1
    assert asked in said


def test_an_error_of_ours_is_not_taken_for_want_of_memory(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_audit", lambda options: _raise(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes"):
        main(["audit", "--out", "a.csv"])
    assert capsys.readouterr().err == ""


def test_too_many_open_files_are_no_paths_fault(monkeypatch, capsys):
    def refused(options):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(cli, "_audit", refused)
    assert main(["audit", "--out", "a.csv"]) == 2
    assert capsys.readouterr().err.startswith("oacore: Too many open files; ")


def test_a_reader_that_closes_the_output_is_told(phantom):
    code = [sys.executable, "-m", "oacore", "check", str(phantom), "--workers", "1"]
    with subprocess.Popen(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        error = process.stderr.read().decode()
        assert process.wait() == 2
    assert error.splitlines()[-1].startswith("oacore: the reader of the output closed it")


def test_a_terminal_that_lacks_a_sign_gets_its_code(phantom):
    code = [sys.executable, "-m", "oacore", "check", str(phantom), "--workers", "1"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(code, capture_output=True, env=environment, check=False)
    assert done.returncode == 0 and rb"61.8 \xb1 9.5" in done.stdout, done.stderr


ODD = {
    "backbone": [("NA", None), ("18", None), ("", "data row 1: backbone is missing")],
    "seed": [
        ("", "data row 1: seed is missing"),
        ("x", "data row 1: seed is not a whole number"),
        (str(2**63), "data row 1: seed is not a whole number of 64 bits"),
    ],
    "case_id": [("", "data row 1: case_id is missing"), ("NA", "data row 1: case_id is missing")],
    "supervision": [("", "data row 1: supervision is missing")],
}


@pytest.mark.parametrize(
    ("column", "value", "said"), [(c, *v) for c, vs in ODD.items() for v in vs]
)
def test_stats_names_the_cell_that_it_cannot_read(tmp_path, capsys, column, value, said):
    folders = []
    for n, name in enumerate(("before", "after")):
        folders.append(str(tmp_path / name))
        (tmp_path / name).mkdir()
        table = model(n, 60, kl=[k % 5 for k in range(60)]).assign(seed=0).astype(object)
        if column in ("backbone", "supervision", "seed") and said is None:
            table[column] = value
        else:
            table.loc[0, column] = value
        table.to_csv(tmp_path / name / "predictions.csv", index=False)
    out = tmp_path / "stats.csv"
    code = main(["stats", "--predictions", *folders, "--out", str(out)])
    if said is None:
        assert code == 0
        assert set(pd.read_csv(out, dtype=str, keep_default_na=False)[column]) == {value}
    else:
        assert code == 2
        assert f"predictions.csv, {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seeds", "read"),
    [
        ((2**63 - 1, 2**63 - 2), {"9223372036854775807", "9223372036854775806"}),
        (("1e+05", "7.0"), {"100000", "7"}),
    ],
)
def test_stats_keeps_every_digit_of_a_seed(tmp_path, seeds, read):
    """Each of them trains, see above; a float takes the first two for one."""
    folders = [str(tmp_path / name) for name in ("before", "after")]
    for n, folder in enumerate(folders):
        tables = [model(n, 60, kl=[k % 5 for k in range(60)]).assign(seed=one) for one in seeds]
        (tmp_path / folder).mkdir()
        pd.concat(tables).to_csv(f"{folder}/predictions.csv", index=False)
    out = tmp_path / "stats.csv"
    assert main(["stats", "--predictions", *folders, "--out", str(out)]) == 0
    assert set(pd.read_csv(out, dtype=str)["seed"]) == read


def test_stats_of_numbered_and_of_named_knees_says_so(tmp_path, capsys):
    for n, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        table = model(n, 60, kl=[k % 5 for k in range(60)]).assign(seed=n).astype({"case_id": str})
        if n:
            table["case_id"] = "knee" + table["case_id"]
        table.to_csv(tmp_path / name / "predictions.csv", index=False)
    out = str(tmp_path / "stats.csv")
    assert main(["stats", "--predictions", str(tmp_path), "--out", out]) == 2
    assert "write the same knees alike" in capsys.readouterr().err
    both = [str(tmp_path / name) for name in ("a", "b")]
    assert main(["stats", "--predictions", *both, "--out", out]) == 2
    assert "different cases" in capsys.readouterr().err
