"""The benchmark of drawn radiographs at tiny size: a record of what was timed."""

import json

import pytest
import torch

from benchmarks import drawing as benchmark
from oacore.instruments.evidence.performance import read_benchmarks

TINY = benchmark.Setting(sizes=(64,), knees=1, repeats=1)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_what_is_printed_and_recorded(tmp_path, capsys):
    out = tmp_path / "new/drawing.json"
    assert benchmark.main(["--out", str(out)], TINY) == 0
    whole, *parts = json.loads(out.read_text())["rows"]
    assert whole["met"] == (whole["our_value"] <= TINY.at_most) and whole["our_value"] > 0
    assert len(parts) == 5 and all(part["met"] is None for part in parts)
    assert whole["name"] in capsys.readouterr().out
    assert len(read_benchmarks(out.parent)) == 6
