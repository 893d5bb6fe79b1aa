"""The benchmark of the losses at tiny size: equal values, and a record."""

import json

import pytest
import torch

from benchmarks import coherence as benchmark
from benchmarks.coherence import Setting
from oacore.instruments.evidence.performance import read_benchmarks

TINY = Setting(batch=4, steps=2, repeats=2, knees=300)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_what_is_printed_and_recorded(tmp_path, capsys):
    out = tmp_path / "new/coherence.json"
    assert benchmark.main(["--out", str(out)], TINY) == 0
    rows = json.loads(out.read_text())["rows"]
    said = capsys.readouterr().out
    assert len(rows) == 3 and all(row["name"] in said for row in rows)
    assert all(row["ratio"] > 0 for row in rows)
    assert [row["aim"] for row in rows] == [1, 1, None]
    assert len(read_benchmarks(out.parent)) == 3


def test_what_is_kept_is_counted_in_bytes():
    weight = torch.rand(8, 16)
    inputs = {"a": torch.rand(4, 8, requires_grad=True)}
    # The product keeps the weight alone, the square its argument of 4 x 16.
    found = benchmark.kept(lambda p: (p["a"] @ weight).square(), inputs)
    assert found == (8 * 16 + 4 * 16) * 4 / 2**20


def test_losses_that_differ_are_not_timed(monkeypatch):
    monkeypatch.setattr(benchmark, "alternate", lambda *_, **__: pytest.fail("timed"))
    right = benchmark.joint_loss
    monkeypatch.setattr(benchmark, "joint_loss", lambda joint: lambda p: right(joint)(p) * 1.001)
    with pytest.raises(RuntimeError, match="joint: loss of ours and of the peer differ"):
        next(benchmark.rows(TINY))
