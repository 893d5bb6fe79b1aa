"""Saliency of a run, measured: against maps and sums made by hand, and after an interruption."""

import base64
import io
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from scipy.stats import false_discovery_control, spearmanr
from sklearn.metrics import accuracy_score

import oacore.instruments.saliency.explain as module
from oacore.__main__ import main
from oacore.data.cache import cached_volumes
from oacore.data.cohort import graded, read_cohort
from oacore.data.volumes import resize
from oacore.errors import InputError
from oacore.instruments.phantom.cohort import read_truth, write_phantom
from oacore.instruments.saliency.controls import agreement
from oacore.instruments.saliency.explain import UNTRAINED, explain
from oacore.instruments.saliency.faithfulness import CONTROLS, faithfulness
from oacore.instruments.saliency.figures import line_panels, method_panels, named
from oacore.instruments.saliency.means import (
    contrast,
    dual_minus_single,
    overlap_means,
    profile_means,
)
from oacore.instruments.saliency.methods import METHODS, saliency_map
from oacore.instruments.saliency.permuted import in_a_sentence, told_and_answered
from oacore.instruments.saliency.read import one_knee, read_explained, read_maps, seeds_agree
from oacore.instruments.slicer.cases import pack_cases
from oacore.models.heads import build_model
from oacore.profile import load_profile
from oacore.training.config import run_config
from oacore.training.grades import told
from oacore.training.loop import train
from oacore.training.records import read_runs
from oacore.training.runs import load_trained
from tests.helpers import canonical

RECIPE = load_profile("smoke").backbones["resnet3d"]
SEEDS = {"dual": (0, 1), "single_oa": (0,)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small cohort, three short runs of one backbone, and what they look at."""
    folder = tmp_path_factory.mktemp("explained")
    cohort = folder / "cohort"
    sizes = {"train": (3, 2, 3, 3, 3), "test": (2, 1, 2, 2, 2), "ungraded": (0, 1)}
    write_phantom(cohort, **sizes, shape=(32, 72, 72), seed=3)
    cases = graded(read_cohort(cohort))
    volumes = cached_volumes(cases, RECIPE.grid, RECIPE.resample, folder / "cache")
    for supervision, seeds in SEEDS.items():
        for seed in seeds:
            place = f"resnet3d/{supervision}/seed{seed}"
            config = run_config(RECIPE, supervision, seed)
            train(config, cases, volumes, folder / "runs" / place, accelerator="cpu")
            run, out = folder / "runs" / place, folder / "explained" / place
            methods = module.METHODS if seed == 0 else ("gradient",)
            words = {"lesions": True, "methods": methods}
            if (supervision, seed) == ("dual", 0):
                shuffled = replace(config, grades="permuted")
                words["permuted"] = train(shuffled, cases, volumes, twin(folder), accelerator="cpu")
            explain(run, cases, volumes, out, **words)
    return folder


@pytest.fixture(scope="module")
def knees(folder):
    cases = graded(read_cohort(folder / "cohort"))
    return cases, cached_volumes(cases, RECIPE.grid, RECIPE.resample, folder / "cache")


def twin(folder):
    """The network on permuted grades beside Dual's first seed."""
    return folder / "controls/resnet3d-permuted/dual/seed0"


def run(folder, seed=0):
    return folder / f"runs/resnet3d/dual/seed{seed}"


def map_of(model, volumes, case, head="oa", method="gradient"):
    row = volumes.rows(np.array([case]))[0]
    volume = torch.from_numpy(volumes.images[row].astype(np.float32))[None, None]
    return saliency_map(model, volume, head, method)[0]


def shares(values, mask, percent):
    """Mass, Dice by a full sort, and what one voxel more or less changes in it."""
    k = int(np.ceil(percent / 100 * values.size))
    top = np.zeros(values.size, bool)
    top[np.argsort(-values.ravel(), kind="stable")[:k]] = True
    inside = mask.ravel()
    mass = values.ravel()[inside].sum() / values.sum()
    size = k + inside.sum()
    return mass, 2 * (top & inside).sum() / size, 2 / size


@pytest.mark.parametrize("weights", ["trained", "random", "permuted"])
@pytest.mark.parametrize("head", ["oa", "kl"])
def test_overlaps_are_those_of_maps_made_one_by_one(folder, knees, weights, head):
    cases, volumes = knees
    model = load_trained(run(folder))
    if weights == "random":
        model = build_model("resnet3d", "dual", UNTRAINED, RECIPE.encoder, RECIPE.heads)
    if weights == "permuted":
        model = load_trained(twin(folder))
    table = read_explained(folder / "explained", "overlap")
    table = table[(table["supervision"] == "dual") & (table["seed"] == 0)]
    table = table[(table["weights"] == weights) & (table["head"] == head)]
    table = table[(table["method"] == "gradient") & (table["mask"] == "own")]
    test = cases[cases["split"] == "test"]
    assert set(table["case_id"]) == set(test["case_id"])
    for case in test["case_id"]:
        values = map_of(model, volumes, case, head)
        labels = np.asarray(volumes.masks[volumes.rows(np.array([case]))[0]])
        rows = table[table["case_id"] == case].set_index(["region", "measure"])["value"]
        for region, numbers in {
            "cartilage": (2, 4, 5),
            "cartilage without lateral tibia": (2, 4),
        }.items():
            mass, dice, voxel = shares(values, np.isin(labels, numbers), 5)
            # Sums in another order tip a ReLU or a maximum, by processor and threads.
            assert_allclose(rows[region, "mass"], mass, rtol=0.01)
            assert_allclose(rows[region, "dice5"], dice, atol=4.1 * voxel)


def test_another_knee_is_never_the_knee_itself(folder, knees):
    cases, volumes = knees
    table = read_explained(folder / "explained", "overlap")
    table = table[(table["supervision"] == "single_oa") & (table["method"] == "gradient")]
    table = table[(table["weights"] == "trained") & (table["region"] == "cartilage")]
    mass = table[table["measure"] == "mass"].set_index(["case_id", "mask"])["value"]
    model = load_trained(folder / "runs/resnet3d/single_oa/seed0")
    test = cases.loc[cases["split"] == "test", "case_id"]
    masks = {c: np.isin(volumes.masks[volumes.rows(np.array([c]))[0]], (2, 4, 5)) for c in test}
    for case in test:
        values = map_of(model, volumes, case)
        given = mass[case, "another knee"]
        by_mask = {c: shares(values, mask, 5)[0] for c, mask in masks.items()}
        nearest = min(by_mask, key=lambda c: abs(by_mask[c] - given))
        assert nearest != case and abs(by_mask[nearest] - given) < 0.01 * given


def test_lesions_are_regions_of_the_knees_that_have_them(folder, knees):
    table = read_explained(folder / "explained", "overlap")
    found = table[table["region"].isin(["osteophytes", "denuded bone", "marrow lesions"])]
    assert len(found) and (found["roi_voxels"] > 0).all()
    truth = read_truth(folder / "cohort").set_index("case_id")["kl_true"]
    marrow = found.loc[found["region"] == "denuded bone", "case_id"].unique()
    assert (truth.loc[marrow] >= 2).all()


def test_other_methods_are_measured_on_a_sample(folder, knees, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 1)
    cases, volumes = knees
    out = explain(
        run(folder), cases, volumes, tmp_path, lesions=False, methods=["gradient", "grad-cam"]
    )
    table = pd.read_csv(out / "overlap.csv")
    first = cases[cases["split"] == "test"].groupby("kl")["case_id"].first()
    by_method = table.groupby("method")["case_id"].agg(set)
    assert by_method["grad-cam"] == set(first)
    assert len(by_method["gradient"]) == 9
    assert "osteophytes" not in set(table["region"])


def test_what_was_measured_before_an_interruption_is_not_measured_again(
    folder, knees, tmp_path, monkeypatch
):
    cases, volumes = knees
    config = json.loads((run(folder) / "done.json").read_text())
    assert config["batch_size"] == 8  # 9 test knees: two batches
    seen = []

    def once(*words, **options):
        seen.append(len(words[1]))
        if seen.count(1) == 1:
            raise KeyboardInterrupt
        return saliency_map(*words, **options)

    words = {"lesions": True, "methods": ["gradient"]}
    monkeypatch.setattr(module, "saliency_map", once)
    with pytest.raises(KeyboardInterrupt):
        explain(run(folder, 1), cases, volumes, tmp_path, **words)
    assert not (tmp_path / "done.json").exists() and seen == [8, 8, 8, 8, 1]
    seen[:] = [1]
    explain(run(folder, 1), cases, volumes, tmp_path, **words)
    assert seen[1:6] == [1, 1, 1, 1, 1]  # the second batch, and then the kept maps
    for name in ("overlap.csv", "profile.csv", "cascade.csv", "twins.csv"):
        whole = folder / "explained/resnet3d/dual/seed1" / name
        assert (tmp_path / name).read_text() == whole.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("cascade.csv", "done.json", "maps.npz", "nifti", "overlap.csv", "profile.csv"),
        *("seal.json", "twins.csv"),
    ]
    # What an interrupted call left of another run is of no use.
    parts = tmp_path / "other/parts"
    parts.mkdir(parents=True)
    (parts / "identity").write_text("{}")
    (parts / "000000.json").write_text("damaged")
    explain(run(folder, 1), cases, volumes, tmp_path / "other", **words)
    whole = (tmp_path / "overlap.csv").read_text()
    assert (tmp_path / "other/overlap.csv").read_text() == whole


def test_maps_are_kept_and_lie_over_their_images(folder, knees):
    cases, volumes = knees
    out = folder / "explained/resnet3d/dual/seed0"
    maps = read_maps(out)
    test = cases[cases["split"] == "test"]
    kept = test[test.groupby("kl").cumcount() < 2]
    assert {key[0] for key in maps} == set(kept["case_id"])
    assert {key[2] for key in maps} == set(module.METHODS)
    model = load_trained(run(folder))
    case = kept.iloc[3]
    values = map_of(model, volumes, case["case_id"], "kl")
    assert_allclose(maps[case["case_id"], "kl", "gradient"], values, atol=1e-3)
    path = out / f"nifti/case-{case['case_id']}-kl-gradient.nii.gz"
    over = canonical(path)
    assert over.shape == nib.load(case["image"]).shape
    back = resize(over, values.shape, "area")  # smoother than the map, and where it was
    alike = np.corrcoef(back.ravel(), values.ravel())[0, 1]
    mirrored = (np.corrcoef(np.flip(back, a).ravel(), values.ravel())[0, 1] for a in range(3))
    assert alike > 0.8 and max(mirrored) < 0.6


def test_the_last_stage_of_the_cascade_is_the_untrained_network(folder, knees):
    cases, volumes = knees
    cascade = read_explained(folder / "explained", "cascade").query("supervision == 'single_oa'")
    last = cascade[cascade["order"] == cascade["order"].max()].set_index("case_id")["spearman"]
    assert (cascade.groupby("order")["stage"].nunique() == 1).all()
    model = load_trained(folder / "runs/resnet3d/single_oa/seed0")
    fresh = build_model("resnet3d", "single_oa", UNTRAINED, RECIPE.encoder, RECIPE.heads)
    for case, rho in last.items():
        maps = [map_of(one, volumes, case) for one in (model, fresh)]
        assert_allclose(rho, spearmanr(*maps, axis=None).statistic, atol=1e-3)


def test_twins_are_likened_to_the_trained_network(folder, knees):
    _, volumes = knees
    table = read_explained(folder / "explained", "twins")
    assert set(table.loc[table["supervision"] == "single_oa", "weights"]) == {"random"}
    own = table[(table["supervision"] == "dual") & (table["seed"] == 0)]
    assert set(own["weights"]) == {"random", "permuted"}
    rows = own[own["weights"] == "permuted"].set_index(["case_id", "head"])["spearman"]
    models = load_trained(run(folder)), load_trained(twin(folder))
    for (case, head), rho in list(rows.items())[:4]:
        maps = [map_of(one, volumes, case, head) for one in models]
        assert_allclose(rho, spearmanr(*maps, axis=None).statistic, atol=1e-3)
    # The untrained network is the cascade's last stage.
    cascade = read_explained(folder / "explained", "cascade")
    last = cascade[cascade["order"] == cascade["order"].max()]
    keys = ["supervision", "seed", "head", "case_id"]
    random = table[table["weights"] == "random"].set_index(keys)["spearman"]
    assert_allclose(random, last.set_index(keys)["spearman"].loc[random.index], atol=1e-6)


def test_a_network_on_permuted_grades_is_a_twin_or_nothing(folder, knees, tmp_path):
    cases, volumes = knees
    with pytest.raises(InputError, match="trained on grades permuted, not as read"):
        explain(twin(folder), cases, volumes, tmp_path, lesions=False)
    with pytest.raises(InputError, match="trained on grades permuted, not as read"):
        faithfulness(twin(folder), cases, volumes, tmp_path)
    words = {"lesions": False, "methods": ["gradient"]}
    with pytest.raises(InputError, match="trained on grades as read, not permuted"):
        explain(run(folder), cases, volumes, tmp_path, permuted=run(folder, 1), **words)
    with pytest.raises(InputError, match="is no twin of .*seed1, for they differ in seed"):
        explain(run(folder, 1), cases, volumes, tmp_path, permuted=twin(folder), **words)


def test_what_a_network_on_permuted_grades_learned_is_said(folder, knees):
    table = told_and_answered(folder)
    assert len(table) == 4  # two answers, as read and permuted
    assert set(table["seed"]) == {0}  # the other seed has no twin
    predictions = pd.read_csv(twin(folder) / "predictions.csv")
    train = predictions[predictions["split"] == "train"]
    row = table[table["grades"] == "permuted"].set_index("answer").loc["kl"]
    assert_allclose(row["train"], accuracy_score(train["kl"], train["pred_kl"]))
    shuffled = told(knees[0], "permuted", 0).query("split == 'train'")
    assert_allclose(row["frequent"], shuffled["kl"].value_counts().max() / len(shuffled))
    assert_allclose(
        row["loss"], pd.read_csv(twin(folder) / "history.csv")["loss_evaluated"].iloc[-1]
    )
    assert "does not know them by heart" in in_a_sentence(table.assign(train=0.5))
    sentence = in_a_sentence(table.assign(train=0.96))
    assert sentence.startswith("ResNet3D Dual, seed 0, on permuted grades: 96% of the training")
    assert "knows noise by heart" in sentence and "\n" not in sentence


def test_deletion_and_insertion_of_a_run(folder, knees, tmp_path):
    cases, volumes = knees
    methods = ["gradient", "smoothgrad"]
    out = tmp_path / "resnet3d/dual/seed0"
    faithfulness(run(folder), cases, volumes, out, methods=methods)
    curves = read_explained(tmp_path, "curves")
    assert set(curves["case_id"]) == set(cases.query("split == 'test'")["case_id"])  # two a grade
    assert set(curves["method"]) == {*methods, *CONTROLS} and set(curves["head"]) == {"oa"}
    predicted = pd.read_csv(run(folder) / "predictions.csv").set_index("case_id")["prob_oa"]
    ends = curves.set_index(["case_id", "method", "measure", "share"])["value"]
    for case in curves["case_id"].unique():
        whole = max(predicted[case], 1 - predicted[case])
        for method in (*methods, *CONTROLS):
            assert_allclose(ends[case, method, "deletion", 0], whole, atol=1e-4)
            assert_allclose(ends[case, method, "insertion", 1], whole, atol=1e-4)
            # The same volume, in batches of which the sums may round in another order.
            emptied, begun = ends[case, method, "deletion", 1], ends[case, method, "insertion", 0]
            assert_allclose(emptied, begun, atol=1e-5)
    likeness = read_explained(tmp_path, "likeness")
    assert set(likeness["method"]) == {"smoothgrad"}
    case, rho = likeness[["case_id", "spearman"]].iloc[0]
    model = load_trained(run(folder))
    maps = [map_of(model, volumes, int(case), "oa", method) for method in methods]
    assert_allclose(rho, spearmanr(*maps, axis=None).statistic, atol=1e-3)


def test_the_command_line_explains_a_run(folder, tmp_path, capsys):
    words = ["explain", "--profile", "smoke", "--methods", "gradient", "--threads", "1"]
    words += ["--cohort", str(folder / "cohort"), "--cache", str(folder / "cache")]
    assert main([*words, "--run", str(run(folder, 1)), "--out", str(tmp_path / "out")]) == 0
    whole = folder / "explained/resnet3d/dual/seed1/overlap.csv"
    assert (tmp_path / "out/overlap.csv").read_text() == whole.read_text()
    assert main([*words, "--run", str(tmp_path), "--out", str(tmp_path / "b")]) == 2
    assert "no finished run" in capsys.readouterr().err


def test_what_cannot_be_explained_is_said(folder, knees, tmp_path):
    cases, volumes = knees
    other = cached_volumes(cases, (16, 24, 24), "area", folder / "cache")
    with pytest.raises(InputError, match="other volumes"):
        explain(run(folder), cases, other, tmp_path, lesions=False)
    with pytest.raises(InputError, match="no run was explained"):
        read_explained(tmp_path, "overlap")
    with pytest.raises(InputError, match="no run of seed 7"):
        explained = folder / "explained"
        pack_cases(tmp_path, cases, explained, read_runs(folder / "runs"), seed=7)


def test_of_a_cohort_with_a_named_subset_only_that_is_measured(folder, knees, tmp_path):
    cases, volumes = knees
    named = cases.query("split == 'test'").groupby("kl").head(1)["case_id"]
    some = cases.assign(subset=cases["case_id"].isin(named))
    out = explain(run(folder, 1), some, volumes, tmp_path, lesions=False, methods=["gradient"])
    assert set(pd.read_csv(out / "overlap.csv")["case_id"]) == set(named)
    assert {case for case, *_ in read_maps(out)} == set(named)


def test_without_masks_there_are_maps_and_nothing_is_measured(folder, knees, tmp_path):
    cases, volumes = knees
    bare = cases.assign(mask=None)
    out = explain(run(folder, 1), bare, volumes, tmp_path, lesions=False, methods=["gradient"])
    whole = read_maps(folder / "explained/resnet3d/dual/seed1")
    maps = read_maps(out)
    assert maps.keys() == whole.keys()
    assert all(np.array_equal(maps[key], whole[key]) for key in maps)
    assert (out / "overlap.csv").read_text() == (out / "profile.csv").read_text() == "case_id\n"


def test_a_slice_of_the_panels_has_superior_up_and_anterior_left():
    labels = np.zeros((6, 20, 20), np.uint8)
    labels[4, 10, 10] = 5  # the slice with cartilage
    image = np.zeros(labels.shape, np.float32)
    image[4, 18, 18] = 1  # anterior and superior
    fig = method_panels(image, labels, np.ones(3), dict.fromkeys("abcdefg", image))
    source = fig.data[1].source.split(",")[1]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    assert row < 6 and column < 6 and picture.max() > 200


def test_agreement_of_seeds_is_the_mean_over_pairs_and_knees(folder, tmp_path):
    alike = seeds_agree(folder / "explained")
    assert list(alike["supervision"]) == ["dual", "dual"]  # the other has one seed
    assert (alike["pairs"] == 1).all() and (alike["knees"] == 9).all()
    one, two = (read_maps(folder / f"explained/resnet3d/dual/seed{s}") for s in (0, 1))
    keys = [key for key in one if key[1:] == ("kl", "gradient")]
    by_hand = [agreement([one[key], two[key]], [0, 1])["spearman"].item() for key in keys]
    row = alike.set_index("head").loc["kl"]
    assert_allclose(row["spearman"], np.mean(by_hand))


def test_one_knee_under_every_method(folder, knees):
    cases, volumes = knees
    case = cases.iloc[-1]
    image, labels, spacing, maps = one_knee(run(folder), case, RECIPE, "oa")
    row = volumes.rows(np.array([case["case_id"]]))[0]
    assert np.array_equal(labels, volumes.masks[row])
    fig = method_panels(image, labels, spacing, maps)
    assert len(fig.data) == 1 + len(METHODS)
    # From above and from the left, the panels are the knee and then the methods in their order.
    notes = sorted(fig.layout.annotations, key=lambda note: (-note.y, note.x))
    assert [note.text for note in notes] == ["the knee", *METHODS]
    x = {trace.xaxis: fig.layout[trace.xaxis.replace("x", "xaxis")].domain for trace in fig.data}
    y = {trace.yaxis: fig.layout[trace.yaxis.replace("y", "yaxis")].domain for trace in fig.data}
    panels = range(len(fig.data))
    order = sorted(panels, key=lambda i: (-y[fig.data[i].yaxis][0], x[fig.data[i].xaxis][0]))
    assert order == list(panels)
    assert np.array_equal(image, volumes.images[row].astype(np.float32))
    assert_allclose(spacing, volumes.spacing[row], rtol=1e-6)
    assert list(maps) == list(METHODS)
    assert_allclose(maps["gradient"], map_of(load_trained(run(folder)), volumes, case["case_id"]))


def table_of(values, chance=0.1, **said):
    """Overlaps of (seeds, knees) values."""
    whose = {
        "backbone": "m3t", "supervision": "dual", "head": "oa", "method": "gradient",
        "weights": "trained", "mask": "own", "region": "cartilage", "measure": "dice5",
    }  # fmt: skip
    return pd.DataFrame(
        [
            {**whose, **said, "seed": s, "case_id": k, "value": v, "chance": chance, "ceiling": 0.9}
            for s, row in enumerate(values)
            for k, v in enumerate(row)
        ]
    )


def test_means_and_their_intervals():
    values = np.random.default_rng(0).normal(0.3, 0.1, (1, 400))
    row = overlap_means(table_of(values), n_resamples=4000, seed=0).iloc[0]
    assert_allclose(row["value"], values.mean())
    assert_allclose([row["chance"], row["ceiling"]], [0.1, 0.9])
    half = 1.96 * values.std(ddof=1) / 20
    limits = values.mean() + half * np.array([-1, 1])
    assert_allclose([row["low"], row["high"]], limits, atol=0.1 * half)
    assert_allclose(row["enrichment"], values.mean() / 0.1)
    assert_allclose(row["enrichment_low"], row["low"] / 0.1)
    # Seeds that differ widen the interval; a knee without a value under one seed is left out.
    two = np.vstack([values, values + 0.2])
    two[1, 7] = np.nan
    wide = overlap_means(table_of(two), n_resamples=4000, seed=0).iloc[0]
    assert (wide["knees"], wide["seeds"]) == (399, 2)
    assert wide["high"] - wide["low"] > 0.15
    # A map that is zero everywhere has no mass: that group is undefined, and the others are not.
    none = pd.concat([table_of(np.full((2, 3), np.nan), head="kl"), table_of(two)])
    found = overlap_means(none, n_resamples=50, seed=0).set_index("head")
    assert found.loc["kl", ["value", "low", "high", "enrichment", "chance"]].isna().all()
    assert found["knees"].to_dict() == {"kl": 0, "oa": 399}
    assert_allclose(found.loc["oa", "value"], wide["value"])


def test_a_knee_comes_once_under_each_seed_in_any_order():
    values = np.random.default_rng(2).random((3, 8))
    table = table_of(values)
    row = overlap_means(table.sample(frac=1, random_state=0), n_resamples=50, seed=0)
    assert row.equals(overlap_means(table, n_resamples=50, seed=0))
    with pytest.raises(InputError, match="a knee comes twice under one seed"):
        overlap_means(pd.concat([table, table[:1]]), n_resamples=50, seed=0)


def test_contrasts_are_paired_by_knee_and_seed():
    rng = np.random.default_rng(1)
    knee = rng.normal(0.4, 0.2, (2, 50))  # what both share, and pairing takes away
    parts = [
        table_of(knee + 0.05 + rng.normal(0, 0.01, knee.shape), weights="trained"),
        table_of(knee, weights="random").sample(frac=1, random_state=0),
        table_of(knee, weights="trained", head="kl"),
        table_of(knee + rng.normal(0, 0.01, knee.shape), weights="random", head="kl"),
    ]
    found = contrast(pd.concat(parts), "weights", "trained", "random", seed=0)
    found = found.set_index("head")
    assert_allclose(found.loc["oa", "value"], 0.05, atol=0.004)
    assert found.loc["oa", "low"] > 0.04 and found.loc["oa", "high"] < 0.06
    assert found.loc["kl", "low"] < 0 < found.loc["kl", "high"]
    assert_allclose(found["q_value"], false_discovery_control(found["p_value"]))
    assert set(found["over"]) == {"seeds and knees"} and set(found["knees"]) == {50}
    one = pd.concat(parts).query("seed == 0")
    alone = contrast(one, "weights", "trained", "random", seed=0)
    assert set(alone["over"]) == {"knees alone"}
    assert alone[["p_value", "q_value"]].isna().all(axis=None)
    with pytest.raises(InputError, match="both"):
        contrast(parts[0], "weights", "trained", "random", seed=0)
    # Maps of two seeds that only one kind has each are no pair: no row of nothing.
    apart = [parts[0], parts[1].assign(seed=parts[1]["seed"] + 2), *parts[2:]]
    assert list(contrast(pd.concat(apart), "weights", "trained", "random", seed=0)["head"]) == [
        "kl"
    ]
    with pytest.raises(InputError, match="under one seed"):
        contrast(pd.concat(apart[:2]), "weights", "trained", "random", seed=0)


def test_one_knee_or_no_chance_gives_no_interval():
    one = overlap_means(table_of(np.array([[0.3], [0.4]])), n_resamples=50, seed=0).iloc[0]
    assert one["value"] == 0.35 and np.isnan([one["low"], one["high"], one["se"]]).all()
    never = overlap_means(table_of(np.zeros((2, 5)), chance=0.0), n_resamples=50, seed=0).iloc[0]
    assert never["value"] == 0 and np.isnan([never["enrichment"], never["enrichment_low"]]).all()


def test_each_head_of_dual_is_set_against_its_own_single():
    level = {("single_oa", "oa"): 0.1, ("single_kl", "kl"): 0.2, ("dual", "oa"): 0.4,
             ("dual", "kl"): 0.7}  # fmt: skip
    parts = [
        table_of(np.full((1, 5), value), supervision=supervision, head=head)
        for (supervision, head), value in level.items()
    ]
    found = dual_minus_single(pd.concat(parts), seed=0).set_index("head")["value"]
    assert_allclose(found[["oa", "kl"]], [0.3, 0.5])


def test_bands_are_named_by_their_ends(folder):
    profile = read_explained(folder / "explained", "profile")
    means = profile_means(profile, n_resamples=50, seed=0)
    names = ["cartilage", "0 to 5 mm", "5 to 10 mm", "10 to 20 mm", "20 to 40 mm", "over 40 mm"]
    assert list(dict.fromkeys(means["region"])) == names
    by = ["supervision", "head", "weights", "seeds"]
    assert_allclose(means.groupby(by)[["value", "chance"]].sum(), 1, atol=1e-4)


def test_lines_are_drawn_in_the_order_of_their_steps():
    rows = [
        ("ResNet3D", "Dual, OA head", step, v) for step, v in zip("cab", (3, 1, 2), strict=True)
    ]
    table = pd.DataFrame(rows, columns=["panel", "series", "step", "value"])
    table["dashed"] = False
    both = pd.concat([table, table.assign(dashed=True, value=0.5)])
    fig = line_panels(both, "x", "y", line=1)
    assert [list(trace.x) for trace in fig.data] == [["c", "a", "b"]] * 2
    assert [trace.line.dash for trace in fig.data] == ["solid", "dot"]
    assert [trace.showlegend for trace in fig.data] == [True, False]
    assert list(fig.data[0].y) == [3, 1, 2]
    given = pd.DataFrame(
        {"backbone": ["nnmamba", "resnet3d", "m3t"], "supervision": ["dual", "dual", "single_oa"],
         "head": ["oa", "kl", "none"]}
    )  # fmt: skip
    assert list(named(given)["panel"]) == ["ResNet3D", "nnMamba"]
    assert list(named(given)["series"]) == ["Dual, KL head", "Dual, OA head"]


def test_cases_are_packed_without_their_numbers(folder, knees, tmp_path):
    cases, _ = knees
    truth = read_truth(folder / "cohort").set_index("case_id")["kl_true"]
    runs = read_runs(folder / "runs")
    packed = pack_cases(tmp_path, cases, folder / "explained", runs, seed=0, true_kl=truth)
    path_text = [path.read_text() for path in packed]
    described = [json.loads(text) for text in path_text]
    assert [one["label"] for one in described] == [f"Case {k}" for k in range(1, 6)]
    assert [one["kl"] for one in described] == [0, 1, 2, 3, 4]
    test = cases[cases["split"] == "test"]
    for grade, one in enumerate(described):
        case = test.loc[test["kl"] == grade, "case_id"].iloc[0]
        assert one["kl_true"] == truth[case]
        keys = {(m["supervision"], m["head"], m["method"]) for m in one["maps"]}
        heads = [("single_oa", "oa"), ("dual", "oa"), ("dual", "kl")]
        assert list(dict.fromkeys((m["supervision"], m["head"]) for m in one["maps"])) == heads
        assert keys == {(*head, method) for head in heads for method in module.METHODS}
        rows = runs[(runs["case_id"] == case) & (runs["seed"] == 0)].set_index("supervision")
        said = {p["supervision"]: p for p in one["predictions"]}
        assert_allclose(said["dual"]["prob_oa"], rows.loc["dual", "prob_oa"], atol=1e-4)
        assert said["single_oa"]["prob_kl"] is None
        assert one["masks"][:3] == ["cartilage", "femur", "tibia"]
        words = [one[key] for key in ("label", "slug", "note", "masks")]
        assert "case_id" not in path_text[grade] and str(case) not in json.dumps(words).split()
    assert "marrow lesions" in described[-1]["masks"] or "osteophytes" in described[-1]["masks"]
