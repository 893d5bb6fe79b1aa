"""The benchmark of the overlaps at tiny size: equal values, and a record."""

import json

import numpy as np
import pytest
import torch

from benchmarks import overlap as benchmark
from benchmarks.overlap import Setting
from oacore.instruments.evidence.performance import read_benchmarks

TINY = Setting(grid=(16, 24, 24), cases=2, repeats=2)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_region_as_thin_as_cartilage():
    maps, masks = benchmark.simulated(Setting(grid=(40, 64, 64), cases=2))
    assert 0.003 < masks[0].mean() < 0.02
    assert all(values.dtype == np.float32 and values.max() == 1 for values in maps)


def test_what_is_printed_and_recorded(tmp_path, capsys):
    out = tmp_path / "new/overlap.json"
    assert benchmark.main(["--out", str(out)], TINY) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["name"] in capsys.readouterr().out
    assert row["repeats"] == 2 and row["aim"] == 5 and row["met"] == (row["ratio"] >= 5)
    assert len(read_benchmarks(out.parent)) == 1
    assert [path.name for path in out.parent.iterdir()] == ["overlap.json"]


@pytest.mark.parametrize(("measure", "factor"), [(0, 1 + 2e-5), (3, 1 + 1e-9)])
def test_values_that_differ_are_not_timed(monkeypatch, measure, factor):
    monkeypatch.setattr(benchmark, "alternate", lambda *_, **__: pytest.fail("timed"))
    right = benchmark.our_way

    def wrong(*words):
        values = right(*words).copy()
        values[0, measure] *= factor
        return values

    monkeypatch.setattr(benchmark, "our_way", wrong)
    with pytest.raises(RuntimeError, match="differ by"):
        next(benchmark.rows(TINY))
