"""The command that records the study over time, on a small plan and an invented cohort."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from oacore import record
from oacore.errors import InputError
from oacore.instruments.axis.axis import fit_axis
from oacore.instruments.hierarchy import visit_axes
from oacore.instruments.hierarchy.visit_axes import VisitPlan, read_at_visits, read_build
from oacore.instruments.hierarchy.visits import shown_visits
from oacore.profile import load_profile
from oacore.training.records import run_features, run_folder
from oacore.training.runs import Experiment, load_trained
from tests.helpers import write_cohort
from workflow import record_visits

PLAN = VisitPlan("smoke", seeds=(0, 1), knees=8, visits=3, visit_seed=5)
GRADES = (0, 3, 1, 4, 2, 0, 1, 2, 3, 4)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Tiny images, an epoch each; drawing takes most of the time."""
    settings = load_profile("smoke")
    recipe = replace(settings.recipe("resnet3d"), epochs=1)
    tiny = replace(settings, shape=(16, 24, 24), backbones={"resnet3d": recipe})
    for module in (visit_axes, record_visits):
        monkeypatch.setattr(module, "load_profile", lambda name: tiny)
    monkeypatch.setattr(record_visits, "VisitPlan", lambda: PLAN)
    monkeypatch.setattr(record_visits, "RESAMPLES", 20)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    place = tmp_path_factory.mktemp("visits")
    write_cohort(place / "cohort", train=GRADES, test=(2, 3))
    return place / "cohort", place / "made"


def test_the_command_trains_records_and_then_only_collects(places, tmp_path, monkeypatch, capsys):
    cohort, folder = places
    there = tmp_path / "record"
    words = [str(cohort), str(folder), "--out", str(there)]
    assert record_visits.main(words) == 0
    said = json.loads((there / "record.json").read_text())
    assert said["runs"] == {"models": 2, "seeds": 2, "training knees": 10, "test knees": 8}
    assert set(said["tables"]) == {"scores", "contrasts", "curves", "by_seed", "knees"}
    for name, its in said["tables"].items():
        assert record.content_digest(there / f"{name}.csv") == its["sha256"]
    assert {"oacore/training/loop.py", "oacore/instruments/hierarchy/courses.py"} <= set(
        said["code"]
    )
    assert str(places[0]) not in json.dumps(said)
    scores = pd.read_csv(there / "scores.csv")
    assert set(scores["network"]) == {"untrained", "single_kl", "dual"}
    assert set(scores.loc[scores["network"] == "untrained", "axis"]) == {"pc1"}
    assert "is made" in capsys.readouterr().out
    monkeypatch.setattr(visit_axes, "train", lambda *_: pytest.fail("it trained"))
    monkeypatch.setattr(visit_axes, "shown_visits", lambda *_: pytest.fail("it drew"))
    assert record_visits.main(words) == 0  # all is there
    # What is lost alone is made again.
    (folder / "axes/untrained/seed001.npz").unlink()
    assert record_visits.main(words) == 0


def test_axes_are_those_of_the_networks(places):
    """PC1 of one run, put together by hand; the expected grade from the bare network."""
    cohort, folder = places
    record_visits.run_visits(PLAN, cohort, folder)
    found = read_at_visits(PLAN, cohort, folder)["dual"]
    assert found["pc1"].shape == found["grade"].shape == (2, 8, 3)
    table = PLAN.table()
    images = shown_visits(table, (16, 24, 24), (16, 32, 32), "area", 5)
    own = visit_axes.experiment_of("smoke", cohort, folder)
    run = run_folder(own.runs, "resnet3d", "dual", 1)
    net = load_trained(run)
    with torch.no_grad():
        asked = net.encoder(torch.from_numpy(images.astype(np.float32))[:, None])
        grade = net.heads["kl"](asked).softmax(dim=1) @ torch.arange(5.0)
    np.testing.assert_allclose(found["grade"][1].ravel(), grade.numpy(), rtol=1e-3)
    fitted, cases = run_features(run, own.cases)
    both = np.vstack([fitted["features"], asked.numpy()])
    held = np.arange(len(both)) >= 10
    kl = [*cases["kl"], *np.zeros(24, int)]  # grades of visits play no part
    pc1 = fit_axis(both, kl, held).scores[held, 0]
    np.testing.assert_allclose(found["pc1"][1].ravel(), pc1, rtol=1e-2, atol=1e-3)
    # A build reads its own runs alike.
    recipe = replace(own.recipe, supervisions=("single_oa", "dual"), seeds=(1,))
    build = Experiment(own.backbone, recipe, own.cases, own.volumes, own.runs)
    again = read_build(build, table, images)
    assert list(again) == ["dual"]
    np.testing.assert_allclose(again["dual"]["pc1"][0], found["pc1"][1], rtol=1e-3, atol=1e-4)


def test_nothing_finished_is_one_line_and_leaves_the_record(places, tmp_path, capsys):
    there = tmp_path / "record"
    there.mkdir()
    (there / "old.csv").write_text("kept")
    words = [str(places[0]), str(tmp_path / "none"), "--out", str(there), "--collect"]
    assert record_visits.main(words) == 1
    assert "no network has been read at the visits" in capsys.readouterr().err
    assert (there / "old.csv").read_text() == "kept"
    assert record_visits.main([str(tmp_path / "nowhere"), *words[1:]]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_another_plan_is_refused_in_the_same_folder(places):
    cohort, folder = places
    record_visits.run_visits(PLAN, cohort, folder)
    with pytest.raises(InputError, match="was made by other settings"):
        record_visits.run_visits(replace(PLAN, visit_seed=6), cohort, folder)
