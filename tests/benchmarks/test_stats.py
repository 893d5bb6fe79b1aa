"""The benchmark of the statistics at tiny size: equal values, right columns, scaled seconds."""

import json

import numpy as np
import pytest
import torch

from benchmarks import stats
from benchmarks.stats import Setting
from oacore.instruments.evidence.performance import read_benchmarks
from oacore.instruments.published.protocol import released_protocol
from oacore.metrics.predictions import check_one_model
from oacore.metrics.scores import METRICS

TINY = Setting(resamples=40, timed=4, repeats=2, knees=30)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_simulated_predictions_are_nine_models():
    table = stats.simulated(98)
    models = table.groupby(["backbone", "supervision"])
    assert len(models) == 9
    for _, model in models:
        check_one_model(model)
    assert len(released_protocol(table, n_resamples=5)) == 18


def test_both_ways_see_the_same_resamples():
    for name, pairs in stats.pairs_of(stats.simulated(30)).items():
        theirs = stats.released_way(pairs, name, 6)
        assert theirs.shape == (3, 6, 2)
        np.testing.assert_allclose(stats.our_way(pairs, name, 6), theirs, rtol=0, atol=1e-9)


def test_what_is_printed_and_recorded(tmp_path, capsys):
    out = tmp_path / "new/statistics.json"
    assert stats.main(["--out", str(out)], TINY) == 0
    printed = capsys.readouterr().out
    record = json.loads(out.read_text())
    table = read_benchmarks(out.parent)
    assert len(table) == len(METRICS) + 2 and table["name"].is_unique
    assert all(name in printed for name in table["name"])
    whole = record["rows"][-2]
    assert whole["aim"] == 300 and whole["met"] == (whole["ratio"] >= 300)
    assert record["rows"][-1]["at_most"] == 2 and record["rows"][-1]["peer_value"] is None
    assert record["seed"] == 42 and record["setting"]["timed"] == 4 and record["threads"] == 1
    assert [path.name for path in out.parent.iterdir()] == ["statistics.json"]


def test_the_peers_seconds_are_scaled_to_all_resamples(monkeypatch):
    monkeypatch.setattr(
        stats, "alternate", lambda calls, *_, **__: dict.fromkeys(calls, (3.0, 5.0))
    )
    *metrics, whole, _ = stats.rows(stats.simulated(30), TINY)
    assert [row.peer_values for row in metrics] == [(30.0, 50.0)] * 6
    assert whole.peer_values == (180.0, 300.0) and whole.our_values == (3.0, 5.0)


def test_values_that_differ_are_not_timed(monkeypatch):
    monkeypatch.setattr(stats, "alternate", lambda *_, **__: pytest.fail("timed"))
    right = METRICS["oa_auc"]
    monkeypatch.setitem(METRICS, "oa_auc", lambda *words: right(*words) + 2e-9)
    with pytest.raises(RuntimeError, match="oa_auc: ours and scikit-learn's values differ"):
        next(stats.rows(stats.simulated(30), TINY))


def test_a_folder_without_predictions(tmp_path, capsys):
    assert stats.main([str(tmp_path)], TINY) == 2
    assert "holds no predictions" in capsys.readouterr().err
