"""The command that records the study of the artefact, on a small plan and a small phantom."""

import json
from dataclasses import replace

import pytest
from sklearn.metrics import accuracy_score

from oacore import record
from oacore.instruments.hierarchy.artefact import ArtefactPlan, finished_run, knees_at
from tests.helpers import small_phantom
from workflow import record_artefact

PLAN = replace(
    ArtefactPlan(), grid=(8, 16, 16), encoder={"depth": 10, "width": 4}, epochs=1, lr=1e-3,
    seeds=(0, 1), cells=("batch-constant", "group-constant"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(record_artefact, "ArtefactPlan", lambda: PLAN)
    monkeypatch.setattr(record_artefact, "RESAMPLES", 20)
    knees_at.cache_clear()


def test_the_command_trains_records_and_then_only_collects(tmp_path, monkeypatch, capsys):
    cohort, folder, there = tmp_path / "cohort", tmp_path / "answers", tmp_path / "record"
    small_phantom(cohort)
    words = [str(cohort), str(folder), "--out", str(there)]
    assert record_artefact.main(words) == 0
    said = json.loads((there / "record.json").read_text())
    knees = knees_at(cohort, folder / "cache", PLAN.grid)
    counts = knees[0]["split"].value_counts()
    assert said["runs"] == {
        "models": 4, "seeds": 2, "batch": 2, "training knees": int(counts["train"]),
        "test knees": int(counts["test"]),
    }  # fmt: skip
    assert counts["train"] % 2 == 0 and said["plan"]["epochs"] == 1
    assert said["of every run"]["batch_size"] == 2 and "seed" not in said["of every run"]
    assert {"oacore/models/resnet3d.py", "oacore/training/loop.py"} <= set(said["code"])
    assert set(said["tables"]) == {"runs", "collapse", "scores", "contrasts"}
    for name, its in said["tables"].items():
        assert record.content_digest(there / f"{name}.csv") == its["sha256"]
        assert not {"case_id", "prob_kl_0"} & set(record.read(there / f"{name}.csv"))
    assert str(tmp_path) not in json.dumps(said)
    runs = record.read(there / "runs.csv").set_index(["cell", "seed", "arm", "statistics"])
    assert len(runs) == 2 * 2 * 2 + 2 * 2
    one = ("batch-constant", 1, "dual")
    grade = finished_run(PLAN, knees, folder, one)["re-estimated"]
    for split, column in (("train", "told"), ("test", "kl_acc")):
        rows = (knees[0]["split"] == split).to_numpy()
        kl, answer = knees[0]["kl"].to_numpy(int)[rows], grade[rows].argmax(axis=1)
        found = runs.loc[(*one, "re-estimated"), column]
        assert found == pytest.approx(accuracy_score(kl, answer), abs=1e-6)
    assert "is made" in capsys.readouterr().out

    monkeypatch.setattr(record_artefact, "run_artefact", lambda *_: pytest.fail("it trained"))
    before = (there / "runs.csv").read_bytes()
    assert record_artefact.main([*words, "--collect"]) == 0
    assert (there / "runs.csv").read_bytes() == before

    asked = []
    table = record.read(there / "collapse.csv")
    monkeypatch.setattr(record_artefact, "pilot", lambda *given: asked.append(given) or table)
    assert record_artefact.main([*words, "--tune"]) == 0
    assert asked == [(cohort, folder / "cache", folder, 1)]


def test_nothing_finished_is_one_line_and_leaves_the_record(tmp_path, capsys):
    cohort, there = small_phantom(tmp_path / "cohort"), tmp_path / "record"
    there.mkdir()
    (there / "old.csv").write_text("kept")
    words = [str(cohort), str(tmp_path / "none"), "--out", str(there), "--collect"]
    assert record_artefact.main(words) == 1
    assert "no pair of runs of the artefact is finished" in capsys.readouterr().err
    assert (there / "old.csv").read_text() == "kept"
