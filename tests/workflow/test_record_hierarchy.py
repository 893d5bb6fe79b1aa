"""The record of the experiment on hierarchy: its tables, what it says, and no person."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from oacore import record
from oacore.errors import InputError
from oacore.instruments.hierarchy.batched import Network
from oacore.instruments.hierarchy.repeats import Knees, Plan, run
from workflow import record_hierarchy as made

PLAN = Plan(
    network=Network(hidden=8, epochs=1, batch=8),
    arms=("single_oa", "single_kl", "dual", "shuffled", "two_kl"),
    crossed=(), peers=("logistic",), seeds=(0, 1, 2), peer_seeds=(0, 1), folds=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def knees():
    rng = np.random.default_rng(0)
    n = 90
    kl = np.resize(np.arange(5), n)
    table = pd.DataFrame({"kl": kl, "male": rng.integers(0, 2, n), "age": rng.normal(60, 9, n)})
    return Knees(kl[:, None] + rng.normal(size=(n, 6)), table.assign(quality=rng.normal(size=n)))


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(made, "RESAMPLES", 30)


def test_a_record_has_its_tables_and_says_what_they_follow_from(knees, tmp_path):
    run(PLAN, knees, tmp_path / "runs", quiet=True)
    inputs = {"radiomics": {"radiomics_test.csv": "abc"}}
    there = made.write_record(PLAN, knees, tmp_path / "runs", tmp_path / "out", inputs)
    said = json.loads((there / "record.json").read_text())
    names = {"scores", "contrasts", "verdicts", "power", "by_seed", "labels", "knees"}
    assert set(said["tables"]) == names == {path.stem for path in there.glob("*.csv")}
    for name in names:
        assert said["tables"][name]["sha256"] == record.content_digest(there / f"{name}.csv")
        table = record.read(there / f"{name}.csv")
        assert not {"case_id", "age", "male"} & set(table)
    assert said["plan"]["network"]["hidden"] == 8 and set(said["arms"]) == set(PLAN.arms)
    assert said["resamples"] == {"seed": 0, "of knees": 30}
    assert "oacore/instruments/hierarchy/batched.py" in said["code"]
    assert said["other than released"] == ["radiomics_test.csv"]
    assert str(tmp_path) not in json.dumps(said)
    seeds = record.read(there / "by_seed.csv")
    assert set(seeds["seed"]) == {0, 1, 2}
    labels = record.read(there / "labels.csv").set_index("label")
    assert labels.loc["OA", ["agrees", "phi"]].tolist() == [1, 1]
    assert labels.loc["KL >= 4", "share"] == pytest.approx(0.2)

    with pytest.raises(InputError, match="nothing of this plan"):
        made.write_record(PLAN, knees, tmp_path / "none", there, inputs)
    assert json.loads((there / "record.json").read_text()) == said


def test_effects_are_those_of_the_published_predictions():
    effects = made.paper_effects()
    assert effects["kl_auc"]["resnet3d"] == pytest.approx(0.1219, abs=1e-4)
    assert effects["kl_auc"]["half of nnmamba"] == pytest.approx(0.0365 / 2, abs=1e-4)
    assert effects["kl_kappa"]["m3t"] == pytest.approx(0.7363 - 0.6248, abs=1e-4)


def test_the_command_trains_first_unless_told_not_to(knees, tmp_path, monkeypatch, capsys):
    done = []
    monkeypatch.setattr(made, "radiomics_knees", lambda _: knees)
    monkeypatch.setattr(made, "Plan", lambda: replace(PLAN, peers=()))
    monkeypatch.setattr(made, "digests", lambda *_: {})
    monkeypatch.setattr(made, "run", lambda plan, *_: done.append(plan.seeds))
    monkeypatch.setattr(made, "write_record", lambda *words: words[3])
    words = ["radiomics", "files", str(tmp_path)]
    assert made.main([*words, "--collect"]) == 0 and not done
    assert "17-is-it-the-hierarchy is made" in capsys.readouterr().out
    assert made.main([*words, "--seeds", "2", "--out", str(tmp_path / "there")]) == 0
    assert done == [(0, 1)] and "there is made" in capsys.readouterr().out
