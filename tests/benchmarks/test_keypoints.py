"""The benchmark of keypoints at tiny size: right places, and a record."""

import json

import pytest
import torch

from benchmarks import keypoints as benchmark
from benchmarks.keypoints import Setting
from oacore.instruments.evidence.performance import read_benchmarks

TINY = Setting(depth=10, width=8, side=64, batch=2, repeats=2)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_what_is_printed_and_recorded(tmp_path, capsys):
    out = tmp_path / "new/keypoints.json"
    assert benchmark.main(["--out", str(out)], TINY) == 0
    rows = json.loads(out.read_text())["rows"]
    said = capsys.readouterr().out
    assert len(rows) == 2 and all(row["name"] in said for row in rows)
    assert all(row["met"] == (row["our_value"] <= 1.1 * row["peer_value"]) for row in rows)
    assert len(read_benchmarks(out.parent)) == 2


def test_places_that_are_off_are_not_timed(monkeypatch):
    monkeypatch.setattr(benchmark, "alternate", lambda *_, **__: pytest.fail("timed"))
    right = benchmark.sample_at
    monkeypatch.setattr(benchmark, "sample_at", lambda m, p, s: right(m, p + 1, s))
    with pytest.raises(RuntimeError, match="centres of cells"):
        next(benchmark.rows(TINY))
