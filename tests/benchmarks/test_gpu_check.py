"""The check of a GPU: its steps in order, each recorded before the next begins."""

import json

import pytest
import torch

from benchmarks import gpu_check
from benchmarks.gpu_check import ON_A_GPU, Step, called, check, steps
from benchmarks.gpu_check import tests as run_tests
from oacore.errors import InputError
from oacore.instruments.evidence.performance import read_benchmarks, read_checks
from tests.helpers import ROOT, small_phantom

CPU = torch.device("cpu")


def test_what_was_found_is_written_before_the_next_step_begins(tmp_path, capsys):
    out, seen = tmp_path / "new/check-cpu.json", []

    def look(limit):
        there = json.loads(out.read_text())["checks"] if out.exists() else []
        seen.append([done["step"] for done in there])
        return {"ok": len(seen) != 2, "said": f"step {len(seen)} of {limit:.0f} s"}

    done = check(out, CPU, iter([Step(name, 9.0, look) for name in "abc"]))
    assert seen == [[], ["a"], ["a", "b"]]  # and one that fails stops none that follows
    assert [one["ok"] for one in done] == [True, False, True]
    assert "FAIL b" in capsys.readouterr().out
    table = read_checks(out.parent)
    assert table["step"].tolist() == ["a", "b", "c"]
    assert table["result"].tolist() == ["ok", "failed", "ok"]
    assert table["said"].iloc[0] == "step 1 of 9 s"
    assert read_benchmarks(out.parent).empty  # it reads the folder too, and finds no rows


def test_tests_are_counted_and_those_that_fail_are_named(tmp_path):
    file = tmp_path / "test_some.py"
    file.write_text(
        "import pytest\n"
        "def test_a(): pass\n"
        "def test_b(): assert 0\n"
        "@pytest.mark.skip\n"
        "def test_c(): pass\n"
    )
    found = run_tests((str(file), "-p", "no:cacheprovider"), 100)
    assert (found["ok"], found["passed"], found["failed"], found["skipped"]) == (False, 1, 1, 1)
    assert [name.rpartition(".")[2] for name in found["which"]] == ["test_b"]


def test_what_takes_too_long_is_cut_off_and_said():
    assert called(["-c", "print('a'); print('b')"], 60) == {"ok": True, "said": "b"}
    found = called(["-c", "import time; time.sleep(60)"], 0.5)
    assert found == {"ok": False, "said": "cut off after 0 s"}
    assert not called(["-c", "1 / 0"], 60)["ok"]


def test_the_steps_come_in_the_order_in_which_a_cut_leaves_the_most(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(gpu_check, "tests", lambda words, limit: asked.append(words[0]))
    monkeypatch.setattr(gpu_check, "called", lambda words, limit: asked.append(words[1]))
    monkeypatch.setattr(gpu_check, "trained", lambda *words: asked.append(words[0]))
    found = list(steps(torch.device("cuda"), "smoke", [], tmp_path))
    for step in found:
        step.run(step.seconds)
    assert asked == [ON_A_GPU[0], "tests", "benchmarks.speed", "resnet3d", "m3t", "nnmamba"]
    assert sum(step.seconds for step in found) <= 600
    for name in ON_A_GPU:
        assert "torch.cuda.is_available()" in (ROOT / name).read_text()


def test_a_short_run_says_its_losses(tmp_path):
    small_phantom(tmp_path / "cohort")  # which is there, so none is drawn
    found = gpu_check.trained("resnet3d", "smoke", tmp_path, 300)
    assert found["ok"], found["said"]
    assert found["said"].startswith("loss ") and "in 2 epochs of " in found["said"]


def test_a_cohort_is_drawn_before_the_first_run_alone(tmp_path, monkeypatch):
    asked = []

    def called(words, limit):
        asked.append(words)
        return {"ok": words[2] == "phantom" and len(asked) > 1, "said": "no room"}

    monkeypatch.setattr(gpu_check, "called", called)
    place, word = str(tmp_path / "cohort"), "-m oacore phantom"
    assert gpu_check.trained("m3t", "smoke", tmp_path, 9) == {"ok": False, "said": "no room"}
    assert asked == [[*word.split(), place, "--profile", "smoke"]]
    assert not gpu_check.trained("m3t", "smoke", tmp_path, 9)["ok"]
    assert [words[2] for words in asked[1:]] == ["phantom", "train"]
    (tmp_path / "cohort").mkdir()
    gpu_check.trained("m3t", "smoke", tmp_path, 9)
    assert [words[2] for words in asked[3:]] == ["train"]


def test_a_damaged_check_is_named(tmp_path):
    (tmp_path / "check-cuda-x.json").write_text("{")
    with pytest.raises(InputError, match=r"check-cuda-x\.json: is damaged.*make gpu-check"):
        read_checks(tmp_path)
