"""The record of the experiment on hierarchy: its tables, what it says, and no person."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from oacore import record
from oacore.errors import InputError
from oacore.instruments.hierarchy import fixed
from oacore.instruments.hierarchy.batched import Network
from oacore.instruments.hierarchy.repeats import Knees, Plan, run
from oacore.instruments.hierarchy.runs import SplitPlan, answers, cohort_of
from oacore.instruments.hierarchy.split import ImageNetwork, SplitCohort
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
    cohort_of.cache_clear()


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


def test_labels_are_described_by_the_knees_that_are_told_them(knees):
    """Of a permutation there is little left of OA; knees that are held out keep theirs."""
    plan = replace(PLAN, seeds=tuple(range(200)))
    found = made.shares(plan, knees).set_index("label")
    assert abs(found.loc["permuted", "phi"]) < 0.03
    assert found.loc["permuted", "share"] == pytest.approx(found.loc["OA", "share"])
    assert found.loc["OA", ["agrees", "phi"]].tolist() == [1, 1]


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
    assert "20-is-it-the-hierarchy/radiomics is made" in capsys.readouterr().out
    assert made.main([*words, "--seeds", "2", "--out", str(tmp_path / "there")]) == 0
    assert done == [(0, 1)] and "there is made" in capsys.readouterr().out


def test_a_record_is_kept_if_changed_code_trains_the_same_networks(knees, tmp_path, monkeypatch):
    plan = replace(PLAN, arms=("single_kl", "dual"), crossed=(), seeds=(0, 1, 2))
    there, folder = tmp_path / "there", tmp_path / "answers"
    run(plan, knees, folder, quiet=True)
    made.write_record(plan, knees, folder, there, {"radiomics": {}})
    before = json.loads((there / "record.json").read_text())
    trains, judges = "oacore/instruments/hierarchy/batched.py", "oacore/metrics/crossed.py"
    monkeypatch.setattr(made, "BLOCK", 2)

    def other(*files):
        said = {**before, "code": before["code"] | dict.fromkeys(files, "0")}
        (there / "record.json").write_text(json.dumps(said))

    other(trains)
    made.kept_record(plan, knees, tmp_path / "again", there)
    after = json.loads((there / "record.json").read_text())
    again = after.pop("made again with the same results")
    assert again["seeds"] == [0, 1] and after == before
    other(judges)
    with pytest.raises(InputError, match="metrics/crossed.py changed too"):
        made.kept_record(plan, knees, tmp_path / "again", there)
    other(trains)
    table = record.read(there / "by_seed.csv")
    table.loc[0, "value"] += 1e-4
    table.to_csv(there / "by_seed.csv", index=False)
    with pytest.raises(InputError, match=r"makes something else of 1 of .* single_kl"):
        made.kept_record(plan, knees, tmp_path / "again", there)
    assert json.loads((there / "record.json").read_text())["code"][trains] == "0"


# Cohorts with a fixed split

NETWORK = ImageNetwork("resnet2d", {"depth": 10, "width": 2, "stem_kernel": 3}, 1, 8)
FIXED = SplitPlan(
    NETWORK, ("single_oa", "single_kl", "dual", "shuffled", "two_kl", "again"), (0, 1)
)


def pictures(with_people=True):
    """Knees of 25 people in the training split, and of 20 in the test split."""
    rng = np.random.default_rng(0)
    n = 90
    cases = pd.DataFrame({"case": [f"c{i}" for i in range(n)], "kl": np.resize(np.arange(5), n)})
    cases["split"] = np.repeat(["train", "test"], [50, 40])
    if with_people:
        cases["person"] = [f"p{i // 2}" for i in range(n)]
    return SplitCohort(rng.integers(0, 255, (n, 8, 8)).astype(np.uint8), cases)


@pytest.mark.parametrize("name", ["radiographs", "phantom"])
def test_a_fixed_split_has_the_same_tables_and_its_record_lies_beside(name, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RECORDS", tmp_path / "record")
    monkeypatch.setattr(made, "paper_effects", lambda: dict.fromkeys(made.MARGINS, {"margin": 0.1}))
    for plan in ("radiographs_plan", "phantom_plan"):
        monkeypatch.setattr(made, plan, lambda: FIXED)
    people = name == "radiographs"
    monkeypatch.setattr(made, f"{name}_cohort", pictures_of_people if people else pictures_alone)
    words = [name, "there", str(tmp_path / "runs")]
    assert made.main([*words, "--collect"]) == 1  # nothing is finished
    assert made.main(words) == 0
    there = tmp_path / f"record/20-is-it-the-hierarchy/{name}"
    said = json.loads((there / "record.json").read_text())
    names = {"scores", "contrasts", "verdicts", "power", "by_seed", "labels", "knees"}
    assert set(said["tables"]) == names == {path.stem for path in there.glob("*.csv")}
    for table in names:
        assert said["tables"][table]["sha256"] == record.content_digest(there / f"{table}.csv")
        assert not {"case", "person", "male", "age"} & set(record.read(there / f"{table}.csv"))
    assert said["plan"]["network"]["options"]["width"] == 2 and set(said["arms"]) == set(FIXED.arms)
    assert said["resamples"] == {"seed": 0, "of people" if people else "of knees": 30}
    assert said["runs"] == {"models": 6, "seeds": 2, "test knees": 40}
    assert f"oacore/instruments/hierarchy/{name}.py" in said["code"]
    assert "oacore/instruments/hierarchy/split.py" in said["code"]
    assert "oacore/instruments/hierarchy/repeats.py" not in said["code"]
    assert ("oacore/instruments/phantom/cohort.py" in said["code"]) == (not people)
    assert said["processor seconds"] >= 0 and str(tmp_path) not in json.dumps(said)
    assert f"record_hierarchy {name} " in said["command"]

    scores = record.read(there / "scores.csv")
    assert set(scores["cell"]) == {"batch-cosine"} and set(scores["arm"]) == set(FIXED.arms)
    assert not scores["measure"].str.contains("within").any()
    own = scores[(scores["arm"] == "single_oa") | (scores["arm"] == "dual")]
    assert {"oa_auc_head", "kl_kappa"} <= set(own["measure"])
    assert set(scores[scores["arm"] == "single_oa"]["measure"]) == {"oa_auc_head"}
    knees = record.read(there / "knees.csv")
    assert knees["knees"].sum() == 90 and ("people" in knees) == people
    labels = record.read(there / "labels.csv").set_index("label")
    assert set(labels.index) == {"OA", "shuffled"} and labels.loc["OA", "phi"] == 1
    assert labels.loc["OA", "share"] == 0.6

    # The means are those of the answers, one seed after another.
    dual = dict(((arm, said) for _, arm, said in answers(
        FIXED, pictures(people), tmp_path / "runs")))["dual"]  # fmt: skip
    kl = np.resize(np.arange(5), 90)[50:]
    areas = [roc_auc_score(kl, one.astype(float), multi_class="ovr") for one in
             dual["grade"] / dual["grade"].sum(-1, keepdims=True)]  # fmt: skip
    row = scores.query("arm == 'dual' and measure == 'kl_auc'").iloc[0]
    assert row["value"] == pytest.approx(np.mean(areas), abs=1e-6) and row["seeds"] == 2


def pictures_of_people(source):
    return pictures()


def pictures_alone(source, cache):
    return pictures(with_people=False)


def test_resamples_are_of_people(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        fixed, "over_seeds", lambda counts, *_: drawn.append(counts) or {"kl_auc": np.ones((1, 31))}
    )
    said = {"grade": np.zeros((1, 40, 5)), "second": np.zeros((1, 40)), "seconds": np.ones(1)}
    monkeypatch.setattr(fixed, "answers", lambda *_: [("batch-cosine", "dual", said)])
    fixed.fixed_values(FIXED, pictures(), tmp_path, 30, 0)
    fixed.fixed_values(FIXED, pictures(False), tmp_path, 30, 0)
    assert drawn[0].shape == drawn[1].shape == (31, 40)
    np.testing.assert_array_equal(drawn[0][:, ::2], drawn[0][:, 1::2])
    assert (drawn[1][:, ::2] != drawn[1][:, 1::2]).any()


def test_the_command_of_a_fixed_split(tmp_path, monkeypatch, capsys):
    done = []
    monkeypatch.setattr(made, "run_split", lambda plan, read, places, *words: done.append(
        (plan.seeds, read, places, words)))  # fmt: skip
    monkeypatch.setattr(made, "cohort_of", lambda *_: pictures())
    monkeypatch.setattr(made, "write_fixed_record", lambda fixed, folder, there: there)
    monkeypatch.setattr(made, "pilot", lambda source: pd.DataFrame({"pixels": [f"of {source}"]}))
    words = ["radiographs", "files", str(tmp_path)]
    assert made.main([*words, "--collect"]) == 0 and not done
    assert made.main([*words, "--seeds", "2", "--workers", "2"]) == 0
    assert done == [((0, 1), made.radiographs_cohort, (Path("files"),), (tmp_path, 2))]
    assert made.main(["phantom", "cohort", str(tmp_path)]) == 0
    assert done[1] == (
        tuple(range(5)), made.phantom_cohort, (Path("cohort"), tmp_path / "cache"), (tmp_path, 1)
    )  # fmt: skip
    assert made.main(["phantom-second", "cohort", str(tmp_path)]) == 0
    assert made.main(["phantom-second", "cohort", str(tmp_path), "--seeds", "3"]) == 0
    seeds = [one[0] for one in done[2:]]
    assert seeds == [tuple(range(100, 110)), (100, 101, 102)]  # none of which the first run had
    assert {one[1:] for one in done[2:]} == {done[1][1:]}
    assert capsys.readouterr().out.count("is made") == 5
    assert made.main([*words, "--tune"]) == 0 and len(done) == 4
    assert "of files" in capsys.readouterr().out
    untuned = [[name, "a", "b", "--tune"] for name in made.PHANTOMS]
    for wrong in (*untuned, ["radiomics", "a", "b", "--workers", "2"]):
        with pytest.raises(SystemExit):
            made.main(wrong)
