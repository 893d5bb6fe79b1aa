"""The command that records the noise study, on a small plan."""

import json

import pandas as pd
import pytest

from oacore import record
from oacore.instruments.hierarchy import noise
from oacore.instruments.hierarchy.batched import Network
from oacore.instruments.hierarchy.noise import NoisePlan
from workflow import record_noise

PLAN = NoisePlan(
    Network(hidden=8, batch=8), levels=("none", "fine alone"), sizes=(40,), seeds=(0, 1),
    arms=("single_kl", "dual"), tested=60,
)  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(noise, "STEPS", 10)
    monkeypatch.setattr(record_noise, "NoisePlan", lambda: PLAN)
    monkeypatch.setattr(record_noise, "RESAMPLES", 20)


def test_the_command_trains_records_and_then_only_collects(tmp_path, monkeypatch, capsys):
    folder, there = tmp_path / "answers", tmp_path / "record"
    assert record_noise.main([str(folder), "--out", str(there)]) == 0
    said = json.loads((there / "record.json").read_text())
    assert said["runs"] == {"models": 4, "seeds": 2, "test knees": 60}
    assert set(said["tables"]) == {"scores", "contrasts", "adds"}
    for name, its in said["tables"].items():
        assert record.content_digest(there / f"{name}.csv") == its["sha256"]
    adds = pd.read_csv(there / "adds.csv")
    assert set(adds["level"]) == {"fine alone"} and set(adds["measure"]) == {"kl_auc", "kl_kappa"}
    assert "is made" in capsys.readouterr().out
    monkeypatch.setattr(record_noise, "run_noise", lambda *_: pytest.fail("it trained"))
    assert record_noise.main([str(folder), "--out", str(there), "--collect"]) == 0


def test_nothing_finished_is_one_line_and_leaves_the_record(tmp_path, capsys):
    there = tmp_path / "record"
    there.mkdir()
    (there / "old.csv").write_text("kept")
    words = [str(tmp_path / "none"), "--out", str(there), "--collect"]
    assert record_noise.main(words) == 1
    assert "no cell of the noise study is finished" in capsys.readouterr().err
    assert (there / "old.csv").read_text() == "kept"
