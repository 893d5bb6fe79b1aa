"""The command that records single changes, on a small profile and a small phantom."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

from oacore import record
from oacore.profile import load_profile
from oacore.training.records import read_runs
from tests.helpers import small_phantom
from workflow import record_changes as made
from workflow.run_models import run_all


def small():
    """Two seeds of a tiny ResNet3D under Dual, and of one with cascaded heads."""
    profile = load_profile("smoke")
    recipe = replace(
        profile.backbones["resnet3d"], supervisions=("dual",), seeds=(0, 1), epochs=1,
        grid=(8, 16, 16), encoder={"depth": 10, "width": 4},
    )  # fmt: skip
    return replace(
        profile, name="changes", backbones={"resnet3d": recipe}, controls={}, n_resamples=20,
        variants={"resnet3d-cascaded": replace(recipe, heads="cascaded")},
    )  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose graph trains what it is asked for; the marks that it was asked for."""
    cohort, build, asked = small_phantom(tmp_path / "cohort"), tmp_path / "build/changes", []
    monkeypatch.setattr(made, "ROOT", tmp_path)
    monkeypatch.setattr(record, "RECORDS", tmp_path / "book/record")
    monkeypatch.setattr(made, "load_profile", lambda name: small())

    def snakemake(words, targets, profile):
        asked.append((words, [Path(target).name for target in targets], profile))
        for kind, model in (("runs", "resnet3d"), ("variants", "resnet3d-cascaded")):
            run_all(kind, model, 0, profile=small(), cohort=cohort, build=build)
        return 0

    monkeypatch.setattr(made, "snakemake", snakemake)
    return asked


def test_the_command_trains_compares_and_records(project, tmp_path, capsys):
    assert made.main(["--cores", "3"]) == 0
    assert "is made" in capsys.readouterr().out
    marks = ["runs.resnet3d.0.json", "variants.resnet3d-cascaded.0.json"]
    assert project == [(["--cores", "3"], marks, "changes")]
    there = record.RECORDS / made.CHAPTER
    said = record.made(made.CHAPTER)
    assert set(said["tables"]) == {"effects", "contradictions"}
    assert said["compared with"] == {"resnet3d-cascaded": "resnet3d"}
    runs = said["runs"]
    assert (runs["models"], runs["seeds"]) == (2, 2) and len(runs["volumes"]) == 1
    assert {"oacore/models/resnet3d.py", "oacore/metrics/seeds.py"} <= set(said["code"])
    assert str(tmp_path) not in json.dumps(said)

    effects = record.from_record(tmp_path / "other", made.CHAPTER, "effects")
    assert set(effects["changes"]) == {"heads"} and set(effects["seeds"]) == {2}
    assert set(effects["backbone"]) == {"resnet3d"}
    build = tmp_path / "build/changes"
    of = {name: read_runs(build / name).query("split == 'test'") for name in ("runs", "variants")}
    scores = pd.DataFrame(
        {
            name: {
                seed: accuracy_score(rows["kl"].astype(int), rows["pred_kl"])
                for seed, rows in its.groupby("seed")
            }
            for name, its in of.items()
        }
    )
    by_hand = (scores["variants"] - scores["runs"]).mean()
    assert effects.set_index("metric").loc["kl_acc", "value"] == pytest.approx(by_hand, abs=1e-6)
    shares = record.read(there / "contradictions.csv").set_index("model")
    both = of["variants"]
    apart = (both["pred_oa"].astype(int) != (both["pred_kl"] >= 2).astype(int)).mean()
    assert shares.loc["resnet3d-cascaded", "share"] == pytest.approx(apart, abs=1e-6)
    for name in said["tables"]:
        assert "case_id" not in record.read(there / f"{name}.csv")


def test_a_job_that_fails_leaves_the_record(project, monkeypatch, capsys):
    monkeypatch.setattr(made, "snakemake", lambda *words: 1)
    assert made.main([]) == 1
    assert "goes on from there" in capsys.readouterr().err and not record.RECORDS.exists()
