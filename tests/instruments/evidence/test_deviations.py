"""Text against code: the list is whole, variants meet their references, probes are right."""

import dataclasses
import inspect
import re
from importlib import resources

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from torch.nn import functional as F

from oacore.data.volumes import resize
from oacore.errors import InputError
from oacore.instruments.architecture.gradients import gradient_gap, gradient_path
from oacore.instruments.axis.axis import severity_axis
from oacore.instruments.evidence import deviations as words
from oacore.instruments.evidence.deviations import (
    EVIDENCE,
    NOT_TRAINED,
    deviations,
    in_words,
    profile_differences,
    reference_of,
    variant_effects,
)
from oacore.models.heads import build_model, encoder_class
from oacore.models.resnet3d import ResNet3D
from oacore.names import BACKBONE_NAMES
from oacore.profile import Recipe, load_profile

LIST = yaml.safe_load(
    (resources.files("oacore.instruments.evidence") / "deviations.yml").read_text()
)
MEASURED = {name: f"effect of {name}" for name, row in LIST.items() if "effect" not in row}

# The list


@pytest.mark.parametrize("name", LIST)
def test_each_difference_is_told_in_full(name):
    row = LIST[name]
    asked = {"what", "text", "code", "book", "setting", "evidence"}
    assert set(row) - {"effect"} == asked and all(isinstance(v, str) and v for v in row.values())
    kinds = row["evidence"].split(", ")
    assert set(kinds) <= set(EVIDENCE)
    # What cannot be measured says why; what can gets its number from the chapter, or from
    # arithmetic that a test does.
    assert ("effect" in row) == (kinds == ["none"] or name in ("m3t_planes", "stored_bits"))
    assert "none" not in kinds or kinds == ["none"]


def test_sixteen_bits_are_as_good_as_the_list_says():
    off = {}
    for within in (2, 8):
        z = np.linspace(-within, within, 1_000_001)
        off[within] = np.abs(z.astype(np.float16) - z).max()
    assert LIST["stored_bits"]["effect"] == (
        f"A z-score within 2 of the mean is off by {off[2]:.4f} at the most, one within 8 by "
        f"{off[8]:.3f}."
    )


@pytest.mark.parametrize("name", LIST)
def test_settings_are_there_to_be_set(name):
    setting = LIST[name]["setting"]
    if found := re.match(r"encoder: \{(.*)\}", setting):
        names = [part.split(":")[0].strip() for part in found[1].split(",")]
        takers = [
            set(inspect.signature(one).parameters) for one in map(encoder_class, BACKBONE_NAMES)
        ]
        assert any(set(names) <= taken for taken in takers)
    elif found := re.match(r"(heads|resample|seeds|epochs|schedule|statistics)\b", setting):
        assert found[1] in {field.name for field in dataclasses.fields(Recipe)}
    else:
        known = ("none", "follows from heads", "features.npz", "severity_axis(", "columns ",
                 "oacore stats", "oacore explain", "compare_backbones",
                 "make book COHORT=")  # fmt: skip
        assert setting.startswith(known)


def test_every_effect_stands_in_its_row():
    table = deviations(MEASURED, phantom=True)
    assert list(table.index) == list(LIST) and not table.isna().any().any()
    assert table.loc["heads", "effect"] == "effect of heads"
    assert table.loc["imagenet", "effect"] == LIST["imagenet"]["effect"]
    lacking = {name: words for name, words in MEASURED.items() if name != "seeds"}
    with pytest.raises(InputError, match="effect of seeds"):
        deviations(lacking, phantom=True)
    with pytest.raises(InputError, match="effect of imagenet"):
        deviations({**MEASURED, "imagenet": "x"}, phantom=True)


def test_a_phantom_is_called_a_phantom_and_nothing_trained_is_no_evidence():
    effects = {**MEASURED, "shortcut": f"{NOT_TRAINED}\n33 million.", "heads": NOT_TRAINED}
    table = deviations(effects, phantom=True)["evidence"]
    assert table["seeds"] == "models trained on phantom knees, not a clinical result"
    assert table["cartilage"] == "measured on phantom knees, not a clinical result"
    assert table["shortcut"] == "computed" and table["heads"] == "none"
    assert table["cut_gradient"].startswith("computed, models trained on phantom knees")
    real = deviations(effects, phantom=False)["evidence"]
    assert not real.str.contains("phantom").any()
    assert real["seeds"] == "models trained on the knees of this cohort"


# Profiles and variants


def test_paper_and_text_differ_where_the_list_says():
    table = profile_differences(load_profile("paper"), load_profile("text"), load_profile("smoke"))
    assert list(table.columns) == ["paper", "text", "smoke"]
    for backbone in BACKBONE_NAMES:
        assert list(table.loc[(backbone, "heads"), ["paper", "text"]]) == ["cascaded", "parallel"]
    shortcut = table.loc[("resnet3d", "encoder shortcut")]
    assert list(shortcut) == ["B", "A", "B"]  # text and smoke leave it to Med3D
    assert list(table.loc[("m3t", "encoder depth2d")]) == [18, 50, 18]
    assert "epochs" not in table.index.get_level_values("setting")
    with_mlp = load_profile("text")
    recipe = with_mlp.backbones["m3t"]
    recipe = dataclasses.replace(recipe, encoder={**recipe.encoder, "mlp": 768}, epochs=3)
    with_mlp = dataclasses.replace(with_mlp, name="mlp", backbones={"m3t": recipe})
    found = profile_differences(load_profile("text"), with_mlp).loc["m3t"]
    assert {"encoder mlp", "epochs"} == set(found.index)


def with_variants(**changes):
    """Smoke's profile with variants of ResNet3D that change its encoder or heads."""
    profile = load_profile("smoke")
    base = profile.backbones["resnet3d"]
    made = {}
    for name, change in changes.items():
        heads = change.pop("heads", base.heads)
        encoder = {**base.encoder, **change}
        made[name] = dataclasses.replace(base, encoder=encoder, heads=heads)
    return dataclasses.replace(profile, variants=made)


def test_a_variant_is_set_against_the_nearest_model():
    profile = with_variants(
        cut={"shortcut": "A", "cut_gradient": True},
        a={"shortcut": "A"},
        joined={"heads": "cascaded"},
    )
    assert reference_of(profile, "joined") == ("resnet3d", ["heads"])
    assert reference_of(profile, "a") == ("resnet3d", ["encoder shortcut"])
    assert reference_of(profile, "cut") == ("a", ["encoder cut_gradient"])
    alone = with_variants(cut={"shortcut": "A", "cut_gradient": True})
    assert reference_of(alone, "cut") == ("resnet3d", ["encoder shortcut", "encoder cut_gradient"])


def predictions(model, seed, rng_seed, n=60):
    rng = np.random.default_rng(rng_seed)
    kl = np.arange(n) % 5
    prob = rng.dirichlet(np.ones(5), n)
    table = pd.DataFrame({"case_id": np.arange(n), "kl": kl, "oa": (kl >= 2).astype(int)})
    table["prob_oa"] = rng.random(n)
    table["pred_oa"] = (table["prob_oa"] >= 0.5).astype(int)
    table["prob_oa_from_kl"] = prob[:, 2:].sum(1)
    table[[f"prob_kl_{k}" for k in range(5)]] = prob
    table["pred_kl"] = pd.array(prob.argmax(1), dtype="Int64")
    return table.assign(
        model=model, backbone="resnet3d", supervision="dual", seed=seed, split="test"
    )


def test_effects_are_variant_minus_reference_on_shared_seeds():
    profile = with_variants(a={"shortcut": "A"}, cut={"shortcut": "A", "cut_gradient": True})
    tables = [predictions("resnet3d", seed, seed) for seed in (0, 1, 2)]
    tables += [predictions("a", seed, 10 + seed) for seed in (1, 2)]
    tables += [predictions("cut", 1, 20)]
    single = predictions("resnet3d", 1, 30).assign(supervision="single_kl")
    joined = pd.concat([*tables, single])
    table = variant_effects(profile, joined, n_resamples=20, seed=0)
    assert list(table.groupby("variant")["seed"].unique().map(list)) == [[1, 2], [1]]
    assert (table["knees"] == 60).all()
    row = table.query("variant == 'cut' and metric == 'kl_acc'").iloc[0]
    assert (row["reference"], row["changes"]) == ("a", "encoder cut_gradient")
    accuracy = [accuracy_score(t["kl"], t["pred_kl"].astype(int)) for t in (tables[3], tables[5])]
    assert row["value"] == pytest.approx(accuracy[1] - accuracy[0])
    pooled = variant_effects(profile, joined, n_resamples=20, seed=0, over_seeds=True)
    of_a = table[table["variant"] == "a"].groupby("metric", sort=False)["value"].mean()
    np.testing.assert_allclose(pooled[pooled["variant"] == "a"]["value"], of_a)
    assert list(pooled.drop_duplicates("variant")["seeds"]) == [2, 1]

    said = in_words(pooled, "encoder shortcut")
    first = pooled.iloc[0]
    assert said.startswith(f"a minus resnet3d: OA AUC {first['value']:+.3f} [{first['low']:+.3f}")
    assert said.endswith("differences distinguishable from zero on 60 knees and 2 seeds.")
    assert "without the spread between seeds" in in_words(pooled, "encoder cut_gradient")
    assert in_words(pooled, "heads") == NOT_TRAINED


def test_words_count_the_intervals_that_exclude_zero():
    metrics = ["oa_auc", "oa_acc", "oa_f1", "kl_auc", "kl_acc", "kl_f1"]
    table = pd.DataFrame({"metric": metrics, "value": 0.1, "low": -0.1, "high": 0.3})
    about = {"variant": "v", "reference": "r", "changes": "heads", "knees": 9, "seeds": 2}
    table = table.assign(**about)
    assert "none of 6 differences" in in_words(table, "heads")
    table.loc[[0, 4], "low"] = 0.01
    table.loc[5, ["low", "high"]] = -0.3, -0.1
    assert "3 of 6 differences" in in_words(table, "heads")
    both = in_words(table.assign(changes="heads, encoder width"), "heads")
    assert both.startswith("v minus r (with heads, encoder width): ")


def test_what_is_recorded_stands_in_sentences_of_its_own():
    metrics = ["oa_auc", "kl_auc"]
    table = pd.DataFrame({"metric": metrics, "value": 0.1, "low": 0.05, "high": 0.3})
    about = {"variant": "v", "reference": "r", "changes": "heads", "knees": 9, "seeds": 1}
    here, kept = table.assign(**about), table.assign(**about | {"knees": 1000, "seeds": 5})
    own, recorded = in_words(here, "heads", kept).splitlines()
    assert own == in_words(here, "heads") and own.endswith(
        "9 knees and 1 seed, so without the spread between seeds."
    )
    assert recorded.startswith("From this project's record: v minus r: ")
    assert recorded.endswith(
        "2 of 2 differences distinguishable from zero on 1000 knees and 5 seeds."
    )
    assert in_words(here[:0], "heads", kept) == recorded
    assert in_words(here, "schedule", kept) == NOT_TRAINED
    profile = with_variants()
    said = words.heads_in_words(here[:0], pd.DataFrame(), {}, profile, kept)
    assert said == recorded


def test_a_profile_without_variants_has_no_effects():
    table = variant_effects(with_variants(), predictions("resnet3d", 0, 0), n_resamples=5, seed=0)
    assert table.empty and in_words(table, "heads") == NOT_TRAINED
    assert {"variant", "reference", "changes", "seed"} <= set(table)


# Gradients

ENCODER = {"depth": 10, "width": 4}
FEATURES, GRADES = np.random.default_rng(0).normal(size=(40, 32)), np.arange(40) % 5


def test_in_the_cascade_the_oa_loss_pulls_through_the_kl_head_alone():
    parallel = build_model("resnet3d", "dual", 0, ENCODER, "parallel")
    cascade = build_model("resnet3d", "dual", 0, ENCODER, "cascaded")
    found = gradient_path(cascade, FEATURES, GRADES)
    assert (found["oa"], found["kl"], found["both"]) == (1, 4, 5)
    assert found["oa_seen_by_kl"] == pytest.approx(1)
    found = gradient_path(parallel, FEATURES, GRADES)
    assert (found["oa"], found["kl"], found["both"]) == (1, 4, 5)
    # Without a cascade the pull is along the OA head's weights: project them by least squares.
    w = parallel.heads["oa"].weight.detach().double().numpy()[0]
    rows = parallel.heads["kl"].weight.detach().double().numpy().T
    projected = rows @ np.linalg.lstsq(rows, w, rcond=None)[0]
    assert found["oa_seen_by_kl"] == pytest.approx((projected @ projected) / (w @ w))
    assert found["oa_seen_by_kl"] < 0.6
    assert parallel.heads["kl"].weight.dtype == torch.float32  # the model is left as it was


def test_gaps_of_functions_whose_gradients_are_known():
    x = torch.randn(1, 1, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = gradient_gap(
        lambda v: (v**2).sum().reshape(1), lambda v: (v * v.detach()).sum().reshape(1), x, seed=0
    )
    assert found["values"] == 0
    assert found["relative"] == pytest.approx(0.5) and found["cosine"] == pytest.approx(1)
    assert found["along_cut"] == pytest.approx(found["along_whole"] / 2)
    assert found["along_difference"] == pytest.approx(found["along_whole"], rel=1e-6)
    direction = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    assert found["along_whole"] == pytest.approx(float((2 * x * direction).sum()))


def test_the_cut_shortcut_is_right_in_value_and_wrong_in_gradient():
    nets = []
    for cut in (False, True):
        torch.manual_seed(0)
        net = ResNet3D(depth=10, width=4, shortcut="A", cut_gradient=cut).double()
        nets.append(net.eval())
    x = torch.randn(1, 1, 16, 24, 24, dtype=torch.float64)
    whole, cut = (lambda v, net=net: net(v).sum(dim=1) for net in nets)
    found = gradient_gap(whole, cut, x, seed=0)
    assert found["values"] == 0 and found["relative"] > 0.1
    assert found["along_whole"] == pytest.approx(found["along_difference"], rel=1e-4)
    assert found["along_cut"] != pytest.approx(found["along_difference"], rel=1e-2)


def test_two_logits_under_cross_entropy_are_one_under_binary_cross_entropy():
    # What the list says of the OA loss, for the cascaded heads as they are.
    net = build_model("resnet3d", "dual", 0, ENCODER, "cascaded")
    z = torch.from_numpy(FEATURES).float()
    oa = torch.from_numpy((GRADES >= 2).astype(int))
    both = net.heads["oa"](net.heads["kl"](z))
    one = F.binary_cross_entropy_with_logits(net.classify(z)["oa"], oa.float())
    assert F.cross_entropy(both, oa).item() == pytest.approx(one.item(), abs=1e-6)


# The severity axis


def spread_along_severity():
    rng = np.random.default_rng(3)
    kl = rng.integers(0, 5, 90)
    test = np.arange(90) >= 60
    features = rng.normal(size=(90, 6))
    features[:, [0, 2, 3]] += 2 * kl[:, None]
    features[:, 1] *= 40  # large, and about nothing: only scaling puts it in its place
    return features, kl, test


@pytest.mark.parametrize("fit", ["train", "test"])
def test_the_axis_is_that_of_a_singular_value_decomposition(fit):
    features, kl, test = spread_along_severity()
    fitted = test if fit == "test" else ~test
    values = features
    if fit == "train":
        values = (features - features[fitted].mean(0)) / features[fitted].std(0)
    centred = values - values[fitted].mean(0)
    _, s, axes = np.linalg.svd(centred[fitted], full_matrices=False)
    pc1 = centred @ axes[0]
    found = severity_axis(features, kl, test, fit)
    assert found["pc1_share"] == pytest.approx(s[0] ** 2 / (s**2).sum())
    assert found["rho_kl"] == pytest.approx(abs(spearmanr(pc1[test], kl[test]).statistic))
    probe = LogisticRegression().fit(pc1[fitted, None], kl[fitted] >= 2)
    expected = roc_auc_score(kl[test] >= 2, probe.decision_function(pc1[test, None]))
    assert found["oa_auc"] == pytest.approx(expected)


def test_scaling_and_the_split_matter():
    features, kl, test = spread_along_severity()
    train, own = (severity_axis(features, kl, test, fit) for fit in ("train", "test"))
    assert train["rho_kl"] > 0.8 > own["rho_kl"] and own["pc1_share"] > 0.9 > train["pc1_share"]
    shuffled = features.copy()
    shuffled[~test] = np.random.default_rng(0).permutation(shuffled[~test])
    assert severity_axis(shuffled, kl, test, "test") == own


def test_no_axis_without_variance_and_no_other_split():
    features, kl, test = spread_along_severity()
    dead = severity_axis(np.zeros_like(features), kl, test, "train")
    assert all(np.isnan(value) for value in dead.values())
    with pytest.raises(InputError, match='give "train" or "test"'):
        severity_axis(features, kl, test, "all")


# Sentences from numbers


def test_sentences_of_the_list_hold_the_numbers_that_they_are_given():
    sizes = pd.DataFrame({"paper": [33.2e6], "text": [14.4e6]}, index=["resnet3d"])
    assert words.size_in_words(sizes, "resnet3d") == (
        "33.2 million parameters under profile paper, 14.4 under text"
    )
    assert "difference 2e-16 nats" in words.logits_in_words(2e-16, 2.04)
    assert "at 2.0 times the learning rate" in words.logits_in_words(2e-16, 2.04)
    gap = {"values": 3e-7, "relative": 0.256, "cosine": 0.984}
    assert words.gap_in_words(gap, "trained") == (
        "The OA logit changes by 3e-07; its input gradient is off by 26% of its length "
        "(cosine 0.98, trained weights)."
    )
    left = words.left_out_in_words(pd.Series([0.1, 0.2, 0.3]))
    assert left.startswith("20.0% of") and "between 10.0% and 30.0% (3 knees)" in left
    said = words.ungraded_in_words(pd.Series({"train": 3, "test": 1}))
    assert said.startswith("3 training and 1 test knees")
    late = pd.DataFrame(
        {"epochs": [4], "loss at half": [1.0], "loss at the end": [0.75]}, index=["m3t"]
    )
    assert "changed by -0.25 (m3t, 4 epochs) nats" in words.epochs_in_words(late)


def test_grids_name_the_largest_change_and_the_mean_difference():
    columns = ["same grid", "after resampling", "area - trilinear"]
    knees = pd.DataFrame([[1e-7, 0.123, 0.2], [4e-7, 0.1, 0.4]], columns=columns)
    said = words.grids_in_words(knees, (16, 24, 32))
    assert "nothing (4e-07)" in said["z_score"] and "0.12 standard" in said["z_score"]
    assert "by 0.30 standard" in said["resample"] and "2 knees" in said["resample"]
    assert said["resample"].endswith("on a grid of 16 x 24 x 32.")


def test_m3ts_start_and_input_are_told_by_variant_and_way():
    said = words.start_in_words({"as released": 0.0012, "as described": 0.1234}, 4)
    assert "length 0.001 differs from knee to knee as released, 0.1 as described (4" in said
    noise = pd.DataFrame({"one step": [2.0, -2, 2, -2], "two steps": [1.0, 1, -1, -1]})
    said = words.input_in_words(noise + [0, 5])
    assert "keeps 2.31 of its standard deviation in one step, 1.15 in two" in said
    assert "correlate by 0.00" in said


def test_white_noise_tells_one_step_to_m3ts_grid_from_two():
    # The paper's factors, on a slab: 384 to 256 to 128 in plane, 160 to 160 to 128 across.
    noise = np.random.default_rng(1).normal(size=(160, 96, 96)).astype(np.float32)
    two = resize(resize(noise, (160, 64, 64), "trilinear"), (128, 32, 32), "trilinear")
    one = resize(noise, (128, 32, 32), "trilinear")
    steps = pd.DataFrame({"one step": one.ravel(), "two steps": two.ravel()})
    said = words.input_in_words(steps)
    assert "0.81 of its" in said and "0.28 in two" in said and "correlate by 0.18" in said


def test_seeds_differ_by_their_median_and_largest_range_or_there_is_one():
    rows = [("a", "oa_auc", 0.1), ("a", "kl_auc", 0.2), ("b", "oa_auc", 0.3), ("b", "kl_auc", 0.4)]
    spread = pd.DataFrame(rows, columns=["backbone", "metric", "range"])
    spread = spread.assign(supervision="dual", seeds=3)
    assert words.spread_in_words(spread) == (
        "Seeds of one model differ in OA AUC by 0.200, at most 0.300; in KL macro-AUC by 0.300, at "
        "most 0.400 (median and largest range of 2 models)."
    )
    assert words.spread_in_words(spread.assign(seeds=1)).startswith(NOT_TRAINED)


def test_cascaded_heads_are_compared_on_the_seeds_that_both_have():
    profile = with_variants(cascade={"heads": "cascaded"})
    shares = pd.DataFrame({"0": [0.1, 0.3], "1": [0.5, np.nan]}, index=["cascade", "resnet3d"])
    paths = {"cascade": {"oa_seen_by_kl": 0.75}, "resnet3d": {"oa_seen_by_kl": 0.5}}
    effects = pd.DataFrame(columns=["variant", "changes"], dtype=object)
    said = words.heads_in_words(effects, shares, paths, profile).splitlines()
    assert said[0] == NOT_TRAINED
    assert "contradict each other on 10.0% of the knees, parallel ones on 30.0%" in said[1]
    assert "75% of the OA gradient goes through the KL head, 50% when parallel" in said[1]


def test_axes_are_told_by_vector_and_by_the_knees_they_are_fitted_on():
    places = [("nnmamba", "pooled", 64), ("nnmamba", "features", 32), ("m3t", "features", 16)]
    rows = [
        (*place, fit, first + number / 10, 0.5, 0.25)
        for number, place in enumerate(places)
        for fit, first in (("test", 0.1), ("train", 0.6))
    ]
    columns = ["backbone", "vector", "length", "fitted on", "rho_kl", "oa_auc", "pc1_share"]
    axes = pd.DataFrame(rows, columns=columns).set_index(columns[:4])
    said = words.axes_in_words(axes)
    assert said["penultimate"] == (
        "64 features / 32 features: |rho| 0.60 / 0.70, OA AUC 0.50 / 0.50, share of variance "
        "0.25 / 0.25"
    )
    assert said["severity_axis"].splitlines()[:2] == [
        "Fitted on test / training knees.",
        "nnMamba: |rho| 0.20 / 0.70, OA AUC 0.50 / 0.50, share of variance 0.25 / 0.25",
    ]
