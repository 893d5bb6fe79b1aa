"""Arms of the studies, what each is told, and a small study trained from a folder on disk."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.numpy import load_file

from oacore.errors import InputError
from oacore.instruments.coherence.joint import fit_joint, given_kl
from oacore.instruments.coherence.mixture import fit_mixture, incoherence, log_density
from oacore.instruments.coherence.patterns import GRADES, SIZES
from oacore.instruments.radiographs import arms as arms_module
from oacore.instruments.radiographs import detected, told
from oacore.instruments.radiographs import study as studies
from oacore.instruments.radiographs.arms import (
    OF_PROFILE,
    Arm,
    arm_table,
    load_study,
    progress_of,
    run_folder,
    study_of,
)
from oacore.instruments.radiographs.detected import find_landmarks
from oacore.instruments.radiographs.drawn import sample_cases
from oacore.instruments.radiographs.public import COUNTS
from oacore.instruments.radiographs.study import main, read_study, run_study, train_arm
from oacore.instruments.radiographs.told import (
    as_frequent,
    coherence_loss,
    labelled_rows,
    readings_of,
)
from oacore.training.pictures import Pictures, build
from tests.helpers import ROOT
from tests.instruments.radiographs.sets import graded_set

NAMES = ("smoke", "laptop", "real", "paper")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return graded_set(tmp_path_factory.mktemp("set") / "own")


@pytest.fixture(scope="module")
def trained(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "smoke"
    before = torch.get_num_threads()
    run_study("smoke", source, folder)
    torch.set_num_threads(before)
    return folder


def people(n=50):
    cases = pd.DataFrame(
        {"person": np.repeat([f"p{i}" for i in range(n)], 2), "split": ["train"] * n + ["test"] * n}
    )
    for name in GRADES:
        cases[name] = pd.array(np.arange(2 * n) % 4, dtype="Int64")
    return cases


# Arms


@pytest.mark.parametrize("name", NAMES)
def test_arms_differ_in_what_their_row_says_and_in_nothing_else(name):
    study = load_study(name)
    table = arm_table(study)
    assert table["name"].is_unique and len(study.seeds) == len(set(study.seeds))
    free = {
        "encoder",
        "pooling",
        "compartments",
        "coherence",
        "coherence_weight",
        "warm_up",
        "regression",
    }
    configs = [vars(study.config(arm, 5)) for arm in study.arms.values()]
    for config in configs:
        same = {key for key in config if config[key] == configs[0][key]}
        assert set(config) - same <= free
        shared = {**config["encoder"], "depth": 0, "stages": 0}
        assert shared == {**configs[0]["encoder"], "depth": 0, "stages": 0}
        assert (config["pooling"] == "keypoints") == bool(config["compartments"])
        assert config["encoder"]["stages"] == (3 if config["pooling"] == "keypoints" else 4)


@pytest.mark.parametrize("name", ["real", "paper"])
def test_the_paper_s_tables_have_their_arms(name):
    table = arm_table(load_study(name))
    plain = table.query("tau == .5 and warm_up == 1 and regression == 0 and labelled == 1")
    main_depth = table.set_index("name").loc["proposed", "depth"]
    own = plain[plain["depth"] == main_depth]
    assert table["depth"].nunique() == 3  # table 2
    found = set(own[["pooling", "coherence"]].itertuples(index=False, name=None))
    assert found >= {
        (pooling, coherence)
        for pooling in ("global", "keypoints")
        for coherence in ("none", "mixture")
    }  # table 3
    assert {("keypoints", one) for one in ("joint", "given kl")} <= found
    proposed = table.query("pooling == 'keypoints' and coherence == 'mixture'")
    baseline = table.query(f"pooling == 'global' and coherence == 'none' and depth == {main_depth}")
    for arms in (proposed, baseline):
        assert set(arms["labelled"]) == {0.2, 0.4, 1.0}  # table 4
        assert arms["regression"].gt(0).sum() == 1  # the supplement's table 2
    assert set(proposed["tau"]) == {0.25, 0.5, 0.75, 1.0, 1.5}  # and its table 1
    assert set(proposed["warm_up"]) == {0, 1}
    assert not table.drop(columns="name").duplicated().any()


def test_each_profile_has_a_study_and_each_study_is_drawn_for():
    profiles = yaml.safe_load((ROOT / "oacore/profiles.yml").read_text())
    # Whoever records single changes trains volumes alone; a book of them would have laptop's study.
    assert set(OF_PROFILE) == set(profiles) - {"changes"}
    named = {name: study_of(name).name for name in profiles}
    assert named["smoke"] == "smoke" and named["laptop"] == "laptop"
    assert named["study"] == "real" and named["paper"] == named["text"] == "paper"
    assert study_of("my-own").name == "laptop"
    for name in NAMES:
        cases = sample_cases(**load_study(name).drawn)
        counts = pd.crosstab(cases["split"], cases["kl"])
        assert counts.shape == (3, 5) and (counts > 0).all(axis=None)
        assert name == "smoke" or counts.loc["test"].sum() >= 200
    assert load_study("paper").drawn["train"] == COUNTS["train"]  # the public set's


def test_the_build_graph_reads_a_study_without_pytorch():
    code = (
        "import sys; from oacore.instruments.radiographs.arms import study_of; study_of('laptop')"
    )
    code += "; assert not {'torch', 'monai', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_arms_of_a_seed_start_from_the_same_weights():
    study = load_study("smoke")
    one, two = (build(study.config(arm, 3), 16) for arm in study.arms.values())
    shared = {k: v for k, v in two.encoder.state_dict().items() if not k.startswith("layer4")}
    assert all(torch.equal(one.encoder.state_dict()[k], v) for k, v in shared.items())


def test_strange_words_are_refused(monkeypatch):
    with pytest.raises(InputError, match="no study 'all'"):
        load_study("all")
    given = {"depth": 10, "training": {}, "arms": {"a": {"coherence": "gmm"}}}
    monkeypatch.setattr(arms_module.yaml, "safe_load", lambda text: {"one": given})
    with pytest.raises(InputError, match="coherence 'gmm'"):
        load_study("one")
    given["arms"] = {"a": {"temperature": 1}}
    with pytest.raises(InputError, match="unknown 'temperature'"):
        load_study("one")


# What an arm is told


def test_labels_are_those_of_whole_people_and_a_smaller_share_lies_in_a_larger_one():
    cases = people()
    train = (cases["split"] == "train").to_numpy()
    before = None
    for share in (0.2, 0.4, 1.0):
        seen = labelled_rows(cases, share, seed=1)
        assert seen[~train].all()
        by_person = pd.Series(seen[train]).groupby(cases["person"][train].to_numpy()).mean()
        assert set(by_person) <= {0.0, 1.0} and by_person.mean() == pytest.approx(share)
        assert before is None or (seen | ~before).all()
        before = seen
    assert (labelled_rows(cases, 0.2, 1) != labelled_rows(cases, 0.2, 2)).any()


def test_readings_are_complete_ones_of_labelled_training_cases():
    cases = people(10)
    cases["labelled"] = [True] * 4 + [False] * 6 + [True] * 10
    cases.loc[1, "osteophyte_tm"] = pd.NA
    found = readings_of(cases)
    assert found.tolist() == [[i % 4] * 7 for i in (0, 2, 3)]
    with pytest.raises(InputError, match="all seven"):
        readings_of(cases.assign(labelled=False))


def test_reweighted_readings_are_as_frequent_as_kl_in_training():
    kl = np.repeat([0, 1, 2, 3, 4], [400, 200, 300, 80, 20])
    cases = pd.DataFrame({"split": "train", "labelled": True, "kl": kl})
    cases.loc[kl == 4, "labelled"] = False
    rng = np.random.default_rng(0)
    some = np.repeat([0, 1, 2, 3], [20, 60, 400, 1520])  # KL 0 is rare among them
    grades = np.column_stack([some, rng.integers(0, 4, (2000, 6))])
    found = as_frequent(grades, cases, seed=1)
    share = np.bincount(found[:, 0], minlength=5) / 2000
    np.testing.assert_allclose(share, np.array([400, 200, 300, 80, 0]) / 980, atol=0.03)
    assert {tuple(row) for row in found} <= {tuple(row) for row in grades}
    np.testing.assert_array_equal(found, as_frequent(grades, cases, seed=1))


def test_a_run_of_the_reweighted_mixture_learns_from_those(source, tmp_path, monkeypatch):
    study = load_study("smoke")
    arm = Arm("reweighted", 10, pooling="keypoints", coherence="reweighted mixture", weight=0.1)
    study = replace(study, training={**study.training, "epochs": 2})
    radiographs = read_study(study, source)
    landmarks = find_landmarks(study, radiographs, tmp_path)
    given = []

    def spied(grades, **words):
        given.append(grades)
        return fit_mixture(grades, **words)

    monkeypatch.setattr(told, "fit_mixture", spied)
    pictures = Pictures(radiographs.cases, radiographs.pictures, landmarks)
    run = train_arm(study, arm, 0, pictures, tmp_path / "run", quiet=True)
    config = json.loads((run / "config.json").read_text())
    assert config["coherence_weight"] == 0.1
    assert config["coherence"]["kind"] == "reweighted mixture"
    labelled = radiographs.cases.assign(labelled=True)
    np.testing.assert_array_equal(given[0], as_frequent(readings_of(labelled), labelled, 0))
    history = pd.read_csv(run / "history.csv").iloc[-1]
    entropies = history[[name for name in history.index if name.startswith("ce_")]].sum()
    assert history["loss"] == pytest.approx(entropies + 0.1 * history["coherence"], rel=1e-5)


@pytest.mark.parametrize("kind", ["mixture", "joint", "given kl"])
def test_losses_are_those_of_the_readings(kind):
    rng = np.random.default_rng(0)
    grades = np.column_stack([rng.integers(0, size, 300) for size in SIZES.values()])
    answers = {name: rng.dirichlet(np.ones(size), 5) for name, size in SIZES.items()}
    tensors = {name: torch.from_numpy(p) for name, p in answers.items()}
    loss = coherence_loss(Arm("a", 10, coherence=kind, tau=0.75), grades, seed=3)
    if kind == "mixture":
        g = log_density(fit_mixture(grades, seed=3))(tensors)
        wanted = incoherence(g.numpy(), 0.75)
    else:
        joint = fit_joint(grades)
        wanted = (given_kl(joint) if kind == "given kl" else joint).loss(answers)
    np.testing.assert_allclose(loss(tensors), wanted, rtol=1e-6)
    assert coherence_loss(Arm("a", 10), grades, seed=3) is None


def test_hidden_grades_change_no_weight(source, tmp_path):
    study = load_study("smoke")
    study = replace(study, training={**study.training, "epochs": 1})
    radiographs = read_study(study, source)
    arm = Arm("few", 10, "keypoints", "given kl", labelled=0.5, warm_up=0)
    points = np.full((len(radiographs.cases), 16, 2), 20, np.float32)
    hidden = ~labelled_rows(radiographs.cases, 0.5, seed=2)
    assert hidden.sum() == 12
    changed = radiographs.cases.copy()
    changed.loc[hidden, "jsn_medial"] = (changed.loc[hidden, "jsn_medial"] + 1) % 4
    changed.loc[hidden, "osteophyte_fl"] = 2
    found = [
        load_file(
            train_arm(
                study, arm, 2, Pictures(cases, radiographs.pictures, points), tmp_path / name,
                quiet=True,
            )
            / "weights.safetensors"
        )
        for name, cases in (("as read", radiographs.cases), ("changed", changed))
    ]  # fmt: skip
    assert all(np.array_equal(found[0][k], found[1][k]) for k in found[0])


# A whole study


def test_a_study_trains_all_of_its_runs(trained, source):
    study = load_study("smoke")
    table = progress_of(study, trained)
    assert len(table) == 4 and table["finished"].all() and (table["epochs"] == table["of"]).all()
    cases = read_study(study, source).cases
    held_out = cases.loc[cases["split"] != "train", "case"]
    for arm in study.arms:
        predictions = pd.read_csv(run_folder(trained, arm, 1) / "predictions.csv")
        assert set(predictions["head"]) == set(GRADES)
        assert sorted(predictions["case"].unique()) == sorted(held_out)


def test_finished_runs_are_not_repeated(trained, source, monkeypatch):
    monkeypatch.setattr(studies, "train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(detected, "fit_detector", lambda *_, **__: pytest.fail("detector again"))
    run_study("smoke", source, trained)


def test_runs_of_other_settings_are_refused(trained, source, monkeypatch):
    study = load_study("smoke")
    other = replace(study, training={**study.training, "lr": 0.5})
    monkeypatch.setattr(studies, "load_study", lambda name: other)
    with pytest.raises(InputError, match="other settings"):
        run_study("smoke", source, trained)


def test_landmarks_are_detected_for_all_pictures(trained, source, monkeypatch):
    study = load_study("smoke")
    radiographs = read_study(study, source)
    landmarks = load_file(trained / "landmarks.safetensors")["landmarks"]
    assert landmarks.shape == (40, 16, 2) and np.isfinite(landmarks).all()
    errors = json.loads((trained / "landmarks.json").read_text())["errors"]
    assert set(errors) == {"train", "val", "test"}
    (val,) = [row for row in errors["val"] if row["landmark"] == "all"]
    rows = (radiographs.cases["split"] == "val").to_numpy()
    apart = np.linalg.norm(landmarks[rows] - radiographs.landmarks[rows], axis=2)
    assert val["median_px"] == pytest.approx(np.nanmedian(apart), rel=1e-5) and val["n"] == 4

    honest, seen = detected.fit_detector, []

    def spied(images, points, **words):
        seen.append(len(images))
        return honest(images, points, **words)

    monkeypatch.setattr(detected, "fit_detector", spied)
    other = replace(study, detector={"epochs": 1, "seed": 0})
    find_landmarks(other, radiographs, trained.parent / "other")
    assert seen == [12]  # half of the training pictures, and no other
    find_landmarks(other, radiographs, trained.parent / "third", trained / "detector.safetensors")
    assert seen == [12]
    found = load_file(trained.parent / "third/landmarks.safetensors")["landmarks"]
    np.testing.assert_array_equal(found, landmarks)


def test_without_landmarks_a_detector_is_to_be_named(source, tmp_path):
    study = load_study("smoke")
    radiographs = read_study(study, source)
    none = replace(radiographs, landmarks=np.full_like(radiographs.landmarks, np.nan))
    with pytest.raises(InputError, match="--detector"):
        find_landmarks(study, none, tmp_path)


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert main(["smoke", str(tmp_path / "nowhere"), str(tmp_path / "study")]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_some_arms_and_seeds_alone_are_run(source, tmp_path, monkeypatch, capsys):
    run = []
    monkeypatch.setattr(studies, "find_landmarks", lambda *_: np.zeros((40, 16, 2), np.float32))
    monkeypatch.setattr(studies, "in_processes", lambda work, given, *_, **__: run.extend(given))
    words = ["smoke", str(source), str(tmp_path)]
    assert main([*words, "--arms", "proposed", "--seeds", "1"]) == 0
    assert run == [("proposed", 1)]
    assert main([*words, "--arms", "proposed", "best"]) == 1
    assert "study smoke has no arm best: choose of global, proposed" in capsys.readouterr().err
