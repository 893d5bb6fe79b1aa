"""The benchmark of small networks at tiny size: the same answers on both sides, and a record."""

import json

import pytest
import torch

from benchmarks import hierarchy as benchmark
from benchmarks.hierarchy import Setting
from oacore.instruments.evidence.performance import read_benchmarks
from oacore.instruments.hierarchy.batched import Network

TINY = Setting(
    knees=60, features=10, folds=3, arms=("dual", "cut1"), network=Network(8, epochs=1, batch=8),
    repeats=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_what_is_printed_and_recorded(tmp_path, capsys):
    out = tmp_path / "new/hierarchy.json"
    assert benchmark.main(["--out", str(out)], TINY) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["name"] in capsys.readouterr().out
    assert row["met"] == (row["ratio"] >= TINY.aim)
    assert len(read_benchmarks(out.parent)) == 1


def test_other_answers_are_not_timed(monkeypatch):
    monkeypatch.setattr(benchmark, "alternate", lambda *_, **__: pytest.fail("timed"))
    right = benchmark.one_after_another
    monkeypatch.setattr(benchmark, "one_after_another", lambda *a: right(*a) + 1e-6)
    with pytest.raises(RuntimeError, match="probabilities differ"):
        next(benchmark.rows(TINY))
