"""Deletion and insertion: against closed forms, and the ends of every curve."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.metrics import auc

from oacore.instruments.saliency.faithfulness import (
    CONTROLS,
    INPUT,
    RANDOM,
    SHARES,
    blurred,
    curves,
    given_answer,
    ranks,
)
from oacore.instruments.saliency.figures import game_panels
from oacore.instruments.saliency.games import areas, over_random
from oacore.models.heads import build_model
from oacore.profile import load_profile

GRID = (10, 10, 10)
EVEN = np.linspace(0, 1, 11)


def drawn(seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=GRID).astype(np.float32))


def weighted_sum(weights):
    """An answer that adds up voxels by their weights: every curve is known in closed form."""
    return lambda x: (x[:, 0].double() * weights.double()).sum((1, 2, 3))


def test_curves_of_a_linear_answer_have_their_closed_form():
    weights, volume, baseline = drawn(0), drawn(1), drawn(2)
    lost = (weights * (volume - baseline)).double().numpy().ravel()  # by taking each voxel
    found = curves(weighted_sum(weights), volume, baseline, ranks(lost.reshape(GRID), 0), EVEN, 3)
    gone = np.concatenate([[0], np.cumsum(np.sort(lost)[::-1])])[(EVEN * lost.size).astype(int)]
    whole = float((weights.double() * volume.double()).sum())
    bare = float((weights.double() * baseline.double()).sum())
    assert_allclose(found["deletion"], whole - gone, atol=1e-4)
    assert_allclose(found["insertion"], bare + gone, atol=1e-4)


def test_true_weights_beat_a_random_order_by_a_known_area():
    """Positive weights w on a constant knee: after a share s the w greatest of 1000 are gone."""
    w = np.arange(1000, dtype=np.float32).reshape(GRID)
    weights = torch.from_numpy(w / w.sum())
    volume, baseline = torch.ones(GRID), torch.zeros(GRID)
    answer = weighted_sum(weights)
    told = curves(answer, volume, baseline, ranks(w, 0), EVEN)
    # Uniform weights: the greatest share s holds 1 - (1 - s)^2 of their sum.
    assert_allclose(told["deletion"], (1 - EVEN) ** 2, atol=2e-3)
    assert_allclose(told["insertion"], 1 - (1 - EVEN) ** 2, atol=2e-3)
    for seed in range(5):
        blind = curves(answer, volume, baseline, ranks(np.zeros(GRID), seed), EVEN)
        assert_allclose(blind["deletion"], 1 - EVEN, atol=0.05)
        assert np.trapezoid(told["deletion"], EVEN) < np.trapezoid(blind["deletion"], EVEN) - 0.1
        assert np.trapezoid(told["insertion"], EVEN) > np.trapezoid(blind["insertion"], EVEN) + 0.1


@pytest.mark.parametrize("head", ["oa", "kl"])
def test_ends_are_the_models_answers_on_the_knee_and_on_the_baseline(head):
    recipe = load_profile("smoke").backbones["resnet3d"]
    model = build_model("resnet3d", "dual", 1, recipe.encoder).eval()
    volume = torch.randn(recipe.grid, generator=torch.Generator().manual_seed(0))
    without = torch.from_numpy(blurred(volume.numpy(), (2.0, 2.0, 2.0), 4.0))
    answer = given_answer(model, head, volume[None, None])
    found = curves(answer, volume, without, ranks(volume.numpy(), 0), batch_size=4)
    with torch.no_grad():
        logits = [model(one[None, None])[head].double() for one in (volume, without)]
    if head == "oa":
        both = [np.array([1 - p, p]) for p in (float(one.sigmoid()) for one in logits)]
    else:
        both = [one.softmax(1)[0].numpy() for one in logits]
    at = both[0].argmax()
    whole, bare = both[0][at], both[1][at]
    assert whole != pytest.approx(bare, abs=1e-4)
    ends = {"deletion": [whole, bare], "insertion": [bare, whole]}
    for game, expected in ends.items():
        assert found[game].shape == (len(SHARES),)
        assert_allclose(found[game][[0, -1]], expected, atol=1e-5)
    assert whole >= (0.5 if head == "oa" else 0.2)  # the likeliest answer


def test_places_follow_the_map_and_equal_voxels_come_in_any_order():
    values = np.array([[[0.5, 0.0, 1.0, 0.0]]])
    places = [ranks(values, seed) for seed in range(20)]
    assert all(one[0, 0, 2] == 0 and one[0, 0, 0] == 1 for one in places)
    assert {tuple(one[0, 0, [1, 3]]) for one in places} == {(2, 3), (3, 2)}
    assert np.array_equal(ranks(values, 4), ranks(values, 4))


def test_the_blur_is_as_wide_in_mm_along_each_axis():
    impulse = np.zeros((41, 61, 81), np.float32)
    impulse[20, 30, 40] = 1
    spacing = (3.0, 2.0, 1.0)
    found = blurred(impulse, spacing, 6.0).astype(float)
    assert_allclose(found.sum(), 1, atol=1e-3)
    for axis, side in enumerate(spacing):
        along = found.sum(axis=tuple({0, 1, 2} - {axis}))
        mm = side * (np.arange(along.size) - along.size // 2)
        assert_allclose(np.sqrt((along * mm**2).sum()), 6.0, rtol=0.02)


def played(n=6, seed=0):
    """Curves of some knees: a map that is better than the random order by a known area."""
    rng = np.random.default_rng(seed)
    rows = []
    for case in range(n):
        level = rng.normal(0.6, 0.1)
        for method, bend in {"gradient": 0.2, RANDOM: 0.0, INPUT: -0.1}.items():
            for game, sign in {"deletion": -1, "insertion": 1}.items():
                values = level + sign * (np.array(SHARES) + bend)
                rows += [
                    {"case_id": case, "method": method, "measure": game, "share": s, "value": v}
                    for s, v in zip(SHARES, values, strict=True)
                ]
    model = {"backbone": "resnet3d", "supervision": "dual", "head": "oa", "seed": 0}
    return pd.DataFrame(rows).assign(**model)


def test_areas_are_scikit_learns_and_are_held_against_the_random_order():
    table = played()
    found = areas(table.sample(frac=1, random_state=0))
    assert len(found) == 6 * 3 * 2
    for row in found.to_dict("records"):
        own = table[(table["case_id"] == row["case_id"]) & (table["measure"] == row["measure"])]
        for column, method in (("value", row["method"]), ("chance", RANDOM)):
            line = own[own["method"] == method]
            assert_allclose(row[column], auc(line["share"], line["value"]))
    better = over_random(found, n_resamples=200, seed=0).set_index(["method", "measure"])["value"]
    assert len(better) == 4 and RANDOM not in better.index.get_level_values(0)
    assert_allclose(better["gradient", "deletion"], -0.2)
    assert_allclose(better["gradient", "insertion"], 0.2)
    assert_allclose(better[INPUT, "deletion"], 0.1)


def test_lines_are_means_over_knees_and_controls_are_dotted():
    table = played()
    fig = game_panels(table, CONTROLS)
    assert [trace.name for trace in fig.data] == ["gradient", RANDOM, INPUT] * 2
    assert [trace.line.dash for trace in fig.data] == ["solid", "dot", "dot"] * 2
    own = table[(table["method"] == "gradient") & (table["measure"] == "deletion")]
    line = own.groupby("share")["value"].mean()
    assert_allclose(fig.data[0].y, line)
    assert_allclose(fig.data[0].x, 100 * line.index)
    assert [note.text for note in fig.layout.annotations] == ["deletion", "insertion"]
