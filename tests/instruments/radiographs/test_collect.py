"""Tables of a study against scikit-learn, on invented answers laid out as runs leave them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    mean_squared_error,
    recall_score,
    roc_auc_score,
)

from oacore.errors import InputError
from oacore.instruments.coherence.joint import fit_joint
from oacore.instruments.coherence.patterns import GRADES, SIZES
from oacore.instruments.radiographs.arms import Arm, Study, load_study, run_folder
from oacore.instruments.radiographs.collect import (
    GROUPS,
    READERS,
    RULE,
    by_person,
    collect,
    contrasts,
    measured,
    twins,
)
from oacore.metrics.crossed import crossed
from oacore.seals import SEAL, seal

ARMS = {
    "global": Arm("global", 10),
    "keypoints": Arm("keypoints", 10, "keypoints"),
    "proposed": Arm("proposed", 10, "keypoints", "mixture"),
}
STUDY = Study("invented", 80, 112, (1.0, 1.0), (0, 1, 2), {}, {}, {}, ARMS)


def invented_cases(people=60):
    rng = np.random.default_rng(0)
    n = 2 * people
    cases = pd.DataFrame(
        {
            "case": [f"c{i:03d}" for i in range(n)],
            "person": np.repeat([f"p{i:02d}" for i in range(people)], 2),
            "split": ["train"] * (n // 2) + ["test"] * (n // 2),
            "weight": rng.uniform(0.5, 2, n),
        }
    )
    for name, size in SIZES.items():
        cases[name] = pd.array(np.arange(n) % size, dtype="Int64")
        cases[name] = rng.permutation(cases[name])
    cases.loc[::5, "osteophyte_fl"] = pd.NA
    return cases


def write_runs(folder, cases, arms=ARMS, seeds=STUDY.seeds):
    own = cases[cases["split"] == "test"]
    for a, arm in enumerate(arms):
        for seed in seeds:
            run = run_folder(folder, arm, seed)
            run.mkdir(parents=True)
            parts = []
            for h, (name, size) in enumerate(SIZES.items()):
                rng = np.random.default_rng([a, seed, h])
                label = own[name].fillna(0).to_numpy(int)
                logits = rng.normal(size=(len(own), size))
                logits[np.arange(len(own)), label] += 0.5 + 0.3 * a
                p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
                part = pd.DataFrame(p, columns=[f"p{i}" for i in range(size)])
                part.insert(0, "head", name)
                part.insert(0, "split", "test")
                part.insert(0, "case", own["case"].to_numpy())
                parts.append(part.sample(frac=1, random_state=seed))
            pd.concat(parts).to_csv(run / "predictions.csv", index=False)
            origin = {
                "device": "cpu: one",
                "commit": "abc",
                "versions": {"torch": "2", "monai": "1"},
            }
            done = {"processor_seconds": 10.0 + seed, "n_weights": 5, "provenance": origin}
            (run / "done.json").write_text(json.dumps(done))
            seal(run / SEAL, [run / "predictions.csv", run / "done.json"])
    return folder


@pytest.fixture(scope="module")
def cases():
    return invented_cases()


@pytest.fixture(scope="module")
def folder(cases, tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("study"), cases)


@pytest.fixture(scope="module")
def tables(cases, folder):
    return collect(STUDY, folder, cases, n_resamples=100, seed=0)


def answers_of(folder, cases, arm, seed, name):
    """Labels, probabilities and weights of the cases that have a grade, joined by pandas."""
    table = pd.read_csv(run_folder(folder, arm, seed) / "predictions.csv")
    own = table[table["head"] == name].merge(cases, on="case").dropna(subset=[name])
    p = own[[f"p{i}" for i in range(SIZES[name])]].to_numpy()
    return own[name].to_numpy(int), p / p.sum(1, keepdims=True), own["weight"].to_numpy()


@pytest.mark.parametrize("frequency", ["as sampled", "natural", "all grades read"])
@pytest.mark.parametrize("head", ["kl", "osteophyte_fl"])
def test_scores_are_those_of_scikit_learn(tables, folder, cases, head, frequency):
    wanted = []
    for seed in STUDY.seeds:
        complete = cases if frequency != "all grades read" else cases.dropna(subset=list(SIZES))
        y, p, weight = answers_of(folder, complete, "proposed", seed, head)
        w = weight if frequency == "natural" else None
        guess = p.argmax(1)
        # Scikit-learn takes no sample_weight with one class against the others.
        auc = np.mean([roc_auc_score(y == k, p[:, k], sample_weight=w) for k in np.unique(y)])
        wanted.append(
            {
                "accuracy": accuracy_score(y, guess, sample_weight=w),
                "rmse": mean_squared_error(y, guess, sample_weight=w) ** 0.5,
                "kappa": cohen_kappa_score(y, guess, weights="quadratic", sample_weight=w),
                "macro_auc": auc,
                "mean_recall": balanced_accuracy_score(y, guess, sample_weight=w),
            }
        )
    of_seeds = tables["by_seed"].query(
        "arm == 'proposed' and head == @head and frequency == @frequency"
    )
    for metric in wanted[0]:
        own = of_seeds[of_seeds["metric"] == metric].sort_values("seed")["value"]
        np.testing.assert_allclose(own, [one[metric] for one in wanted], rtol=1e-6)
    scores = tables["scores"].query(
        "arm == 'proposed' and head == @head and frequency == @frequency"
    )
    assert (scores["cases"] == len(y)).all()
    mean = scores.set_index("metric")["value"]
    assert mean["kappa"] == pytest.approx(np.mean([one["kappa"] for one in wanted]), rel=1e-6)
    assert (scores["low"] < scores["value"]).all() and (scores["seeds"] == 3).all()


def test_groups_are_means_of_their_heads(tables):
    own = tables["scores"].query("arm == 'global' and frequency == 'natural'")
    table = own.pivot(index="head", columns="metric", values="value")
    for group, names in GROUPS.items():
        np.testing.assert_allclose(table.loc[group], table.loc[list(names)].mean(), rtol=1e-12)


def test_recall_is_that_of_scikit_learn(tables, folder, cases):
    own = tables["recall"].query("arm == 'keypoints' and head == 'jsn_medial'").set_index("grade")
    each, answered = [], []
    for seed in STUDY.seeds:
        y, p, _ = answers_of(folder, cases, "keypoints", seed, "jsn_medial")
        each.append(recall_score(y, p.argmax(1), average=None))
        answered.append(np.bincount(p.argmax(1), minlength=4) / len(y))
    np.testing.assert_allclose(own["value"], np.mean(each, axis=0))
    np.testing.assert_allclose(own["answered"], np.mean(answered, axis=0))
    assert own["cases"].sum() == 60


def test_both_knees_of_a_person_are_drawn_together(cases):
    own = cases[cases["split"] == "test"].reset_index(drop=True)
    counts = by_person(own, 50, seed=1)
    assert counts.shape == (51, 60) and (counts[0] == 1).all()
    np.testing.assert_array_equal(counts[:, ::2], counts[:, 1::2])
    assert (counts.sum(1) == 60).all() and (counts[1:] == 0).any()


def test_intervals_are_those_of_resampled_people(cases, folder, tables):
    """The same resamples, drawn as rows of a table and scored one by one."""
    own = cases[cases["split"] == "test"].reset_index(drop=True)
    people = own["person"].unique()
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(people), len(people)) for _ in range(100)]
    values = []
    for seed in STUDY.seeds:
        y, p, _ = answers_of(folder, cases, "global", seed, "kl")
        table = pd.read_csv(run_folder(folder, "global", seed) / "predictions.csv")
        order = table[table["head"] == "kl"].merge(cases, on="case")["person"]
        right = pd.Series(y == p.argmax(1)).groupby(order.to_numpy()).sum().loc[people].to_numpy()
        values.append([right.mean() / 2, *(right[draw].mean() / 2 for draw in draws)])
    wanted = crossed(np.array(values), (0, 1))
    found = tables["scores"].query(
        "arm == 'global' and head == 'kl' and metric == 'accuracy' and frequency == 'as sampled'"
    )
    for column in ("value", "low", "high", "knees_low", "knees_high"):
        assert found[column].item() == pytest.approx(wanted[column], rel=1e-9)


def test_coherence_is_measured_by_grade_and_for_the_readers_themselves(tables, cases, folder):
    table = tables["coherence"]
    assert set(table["kl"]) == {"0", "1", "2", "3", "4", "all"}
    train = cases[(cases["split"] == "train")].dropna()
    joint = fit_joint(train[list(GRADES)].to_numpy(int))
    read = cases[(cases["split"] == "test")].dropna()
    own = table[(table["arm"] == READERS) & (table["measure"] == "joint")].set_index("kl")
    wanted = -joint.score(read[list(GRADES)].to_numpy(int))
    assert own.loc["all", "value"] == pytest.approx(wanted.mean())
    of_three = wanted[(read["kl"] == 3).to_numpy()]
    assert own.loc["3", "value"] == pytest.approx(of_three.mean())
    assert own.loc["3", "cases"] == len(of_three)
    share = table[table["measure"] == RULE]
    assert share[["value", "low", "high"]].apply(lambda one: one.between(0, 1)).all(axis=None)
    assert (table["low"] >= 0).all()


def test_differences_are_of_arms_that_differ_in_one_thing_or_from_the_baseline(tables):
    assert contrasts(STUDY) == [
        ("global", "keypoints", "pooling"),
        ("global", "proposed", "pooling, coherence"),
        ("keypoints", "proposed", "coherence"),
    ]
    pairs = contrasts(load_study("real"))
    assert ("global-20", "keypoints-20", "pooling") in pairs
    assert ("proposed", "cold", "warm_up") in pairs
    assert ("global-20", "proposed-20", "pooling, coherence") in pairs
    assert ("resnet-34", "proposed", "depth, pooling, coherence") in pairs
    assert not {("resnet-34", "joint"), ("keypoints-20", "given-kl-40")} & {p[:2] for p in pairs}
    assert not any(
        one == "global-20" and "40" in other for one, other, _ in pairs if other != "global-40"
    )
    assert ("keypoints", "proposed", "coherence") in pairs
    assert ("keypoints", "light", "coherence") in pairs and ("proposed", "light", "weight") in pairs
    scores = tables["scores"].set_index(["arm", "head", "metric", "frequency"])["value"]
    for row in tables["differences"].to_dict("records"):
        what = (row["head"], row["metric"], row["frequency"])
        gap = scores[(row["other"], *what)] - scores[(row["reference"], *what)]
        assert row["value"] == pytest.approx(gap, abs=1e-12)
        n = tables["scores"].query("arm == 'global' and head == @what[0] and frequency == @what[2]")
        assert row["cases"] == n["cases"].iloc[0]


def test_what_fewer_labels_change_is_a_difference_of_differences(cases, tmp_path):
    few = {
        name: replace(ARMS[name[:-3]], name=name, labelled=0.2)
        for name in ("global-20", "proposed-20")
    }
    study = replace(STUDY, arms={**ARMS, **few})
    assert twins(study) == [("global", "proposed", "global-20", "proposed-20", 0.2)]
    assert len(twins(load_study("real"))) == 12 and not twins(load_study("laptop"))
    write_runs(tmp_path, cases, arms=study.arms)
    found = collect(study, tmp_path, cases, n_resamples=50, seed=0)
    scores = found["by_seed"].set_index(["arm", "head", "metric", "frequency"])["value"]
    assert len(found["fewer"]) == 4 * 5 * 3 and (found["fewer"]["labelled"] == 0.2).all()
    for row in found["fewer"].to_dict("records"):
        of = {arm: scores[(arm, row["head"], row["metric"], row["frequency"])].to_numpy()
              for arm in study.arms}  # fmt: skip
        whole, part = of["proposed"] - of["global"], of["proposed-20"] - of["global-20"]
        assert row["value"] == pytest.approx((part - whole).mean(), abs=1e-12)
        assert row["value_reference"] == pytest.approx(whole.mean(), abs=1e-12)
        assert row["low"] < row["value"] < row["high"]


def test_no_row_is_a_person_s(tables, cases):
    everyone = set(cases["case"]) | set(cases["person"])
    for table in tables.values():
        assert not everyone & set(table.astype(str).to_numpy().ravel())


def test_runs_say_what_they_took(tables):
    own = tables["runs"].set_index("arm")
    assert own.loc["proposed", "processor_seconds"] == 11 and own.loc["global", "seeds"] == 3


def test_arms_that_are_not_finished_are_left_out(cases, tmp_path):
    write_runs(tmp_path, cases, arms=["global", "proposed"])
    (run_folder(tmp_path, "proposed", 2) / "done.json").unlink()
    found = collect(STUDY, tmp_path, cases, n_resamples=20, seed=0)
    assert set(found["scores"]["arm"]) == {"global"}
    with pytest.raises(InputError, match="no arm"):
        collect(STUDY, tmp_path / "nothing", cases, n_resamples=20, seed=0)
    other = cases.assign(case=cases["case"].str.replace("c", "d"))
    with pytest.raises(InputError, match="another set"):
        collect(STUDY, tmp_path, other, n_resamples=20, seed=0)


def test_without_weights_nothing_is_said_of_nature(cases, folder):
    found = collect(STUDY, folder, cases.drop(columns="weight"), n_resamples=20, seed=0)
    assert set(found["scores"]["frequency"]) == {"as sampled", "all grades read"}


def test_measures_take_counts(cases):
    """A case that is drawn twice weighs twice."""
    own = cases[cases["split"] == "test"].reset_index(drop=True)
    rng = np.random.default_rng(0)
    answers = {name: rng.dirichlet(np.ones(k), (1, 60)) for name, k in SIZES.items()}
    counts = by_person(own, 1, seed=3)
    twice = own.loc[np.repeat(np.arange(60), counts[1].astype(int))].reset_index(drop=True)
    again = {k: p[:, np.repeat(np.arange(60), counts[1].astype(int))] for k, p in answers.items()}
    one = measured(own, answers, counts)
    two = measured(twice, again, np.ones((1, 60)))
    for key, value in two.items():
        assert one[key][0, 1] == pytest.approx(value[0, 0], rel=1e-9)
