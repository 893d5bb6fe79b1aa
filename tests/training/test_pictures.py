"""The loop for pictures: augmentation, losses, labels left unseen, and runs that go on."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from scipy.ndimage import map_coordinates
from sklearn.utils.class_weight import compute_class_weight

from oacore.errors import InputError
from oacore.training import pictures as loop
from oacore.training.augmentation import moved, standardised
from oacore.training.picture_losses import (
    cross_entropies,
    effective_prevalence,
    inverse_prevalence,
    squared_errors,
)
from oacore.training.pictures import (
    PictureConfig,
    Pictures,
    build,
    learning_rate,
    train,
)

HEADS = {"whole": 5, "part": 4}
CONFIG = PictureConfig(
    seed=1,
    heads=HEADS,
    encoder={"depth": 10, "width": 8, "stem_kernel": 3, "max_pool": False},
    epochs=3,
    batch_size=8,
    lr=1e-3,
    weight_decay=1e-2,
    shift=2.0,
    turn=5.0,
    scale=0.05,
)


def settings(**words):
    return PictureConfig(**{**vars(CONFIG), **words})


def pictures(labelled=None, n=30):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 24, 32), dtype=np.uint8)
    cases = pd.DataFrame(
        {
            "case": [f"case{i:02d}" for i in range(n)],
            "split": ["train"] * 20 + ["val"] * 4 + ["test"] * (n - 24),
            "whole": pd.array(rng.integers(0, 5, n), dtype="Int64"),
            "part": pd.array(rng.integers(0, 4, n), dtype="Int64"),
        }
    )
    cases.loc[::3, "part"] = pd.NA
    if labelled is not None:
        cases["labelled"] = labelled
    points = (rng.uniform(4, 20, (n, 3, 2))).astype(np.float32)
    return Pictures(cases, images, points)


def coherence(probabilities):
    """Disagreement of the two heads' mean grades."""
    means = [p @ torch.arange(p.shape[1], dtype=p.dtype) for p in probabilities.values()]
    return (means[0] - means[1]) ** 2


def weights(folder):
    return load_file(folder / "weights.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# Augmentation


def chance(n, seed=0):
    rng = torch.Generator().manual_seed(seed)
    shift = 6 * torch.rand(n, 2, generator=rng) - 3
    return shift, 20 * torch.rand(n, generator=rng) - 10, 0.9 + 0.2 * torch.rand(n, generator=rng)


def test_a_bright_spot_at_a_landmark_stays_at_it():
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    points = torch.tensor([[[25.0, 31.0]], [[52.0, 18.0]], [[40.0, 40.0]]])
    images = torch.stack(
        [torch.exp(-((x - a) ** 2 + (y - b) ** 2) / 18) for a, b in points[:, 0].tolist()]
    )[:, None]
    after, there = moved(images, points, *chance(3))
    assert not torch.allclose(there, points, atol=1)
    mass = after.sum((1, 2, 3))
    middle = torch.stack([(after[:, 0] * x).sum((1, 2)), (after[:, 0] * y).sum((1, 2))], 1)
    torch.testing.assert_close(middle / mass[:, None], there[:, 0], atol=0.05, rtol=0)


def test_equals_scipy():
    images = torch.rand(4, 1, 20, 30)
    shift, turn, scale = chance(4)
    after, _ = moved(images, torch.zeros(4, 0, 2), shift, turn, scale)
    middle = np.array([9.5, 14.5])  # y, x
    for i in range(4):
        angle = np.deg2rad(float(turn[i]))
        # From x towards y, with rows of y and x.
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        places = np.indices((20, 30)).reshape(2, -1)
        away = places - middle[:, None] - shift[i].flip(0).numpy()[:, None]
        source = np.linalg.inv(rotation * float(scale[i])) @ away + middle[:, None]
        wanted = map_coordinates(images[i, 0].numpy(), source, order=1, mode="nearest")
        np.testing.assert_allclose(after[i, 0].numpy().ravel(), wanted, atol=2e-5)


def test_nothing_moves_without_a_shift_a_turn_and_a_scale():
    images, points = torch.rand(2, 1, 9, 12), torch.rand(2, 3, 2)
    still = moved(images, points, torch.zeros(2, 2), torch.zeros(2), torch.ones(2))
    torch.testing.assert_close(still[0], images)
    torch.testing.assert_close(still[1], points)


def test_standardised_pictures():
    images = torch.from_numpy(pictures().images[:3])
    x = standardised(images)
    exact = images.double()
    wanted = (exact - exact.mean((1, 2), True)) / exact.std((1, 2), keepdim=True)
    torch.testing.assert_close(x[:, 0].double(), wanted, atol=1e-5, rtol=0)
    assert torch.isfinite(standardised(torch.full((1, 4, 4), 7, dtype=torch.uint8))).all()


# Losses


def test_weights_are_those_of_scikit_learn_and_mean_one():
    grades = np.array([0, 0, 0, 0, 1, 1, 3, -1, -1])
    found = inverse_prevalence(grades, 5)
    there = grades[grades >= 0]
    wanted = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=there)
    np.testing.assert_allclose(found[[0, 1, 3]], wanted)
    assert found[2] == found[4] == 0 and found[there].mean() == pytest.approx(1)


def test_effective_weights_lie_between_none_and_those_of_prevalence():
    grades = np.repeat([0, 1, 3, -1], [400, 90, 5, 30])
    found = effective_prevalence(grades, 5)
    each = {k: sum(0.99**i for i in range(n)) for k, n in {0: 400, 1: 90, 3: 5}.items()}
    assert found[1] / found[0] == pytest.approx(each[0] / each[1])  # effective numbers are sums
    assert found[3] / found[0] == pytest.approx(each[0] / each[3])
    assert found[2] == found[4] == 0
    assert found[grades[grades >= 0]].mean() == pytest.approx(1)
    there = [0, 1, 3]
    np.testing.assert_allclose(effective_prevalence(grades, 5, beta=0.0)[there], 1)
    near = effective_prevalence(grades, 5, beta=1 - 1e-9)
    np.testing.assert_allclose(near, inverse_prevalence(grades, 5), rtol=1e-4)


def test_losses_are_means_over_the_grades_that_are_there():
    torch.manual_seed(0)
    logits = {"a": torch.randn(6, 5), "b": torch.randn(6, 4), "c": torch.randn(6, 4)}
    scores = {name: torch.randn(6) for name in logits}
    grades = {
        "a": torch.tensor([0, 1, 2, 3, 4, 4]),
        "b": torch.tensor([-1, 1, -1, 3, 0, -1]),
        "c": torch.full((6,), -1),
    }
    entropies, errors = cross_entropies(logits, grades), squared_errors(scores, grades)
    for name in ("a", "b"):
        known = grades[name] >= 0
        wanted = F.cross_entropy(logits[name][known], grades[name][known])
        torch.testing.assert_close(entropies[name], wanted)
        wanted = F.mse_loss(scores[name][known], grades[name][known].float())
        torch.testing.assert_close(errors[name], wanted)
    assert entropies["c"] == errors["c"] == 0
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0])
    weighted = cross_entropies({"b": logits["b"]}, grades, {"b": weight})["b"]
    known = grades["b"] >= 0
    each = F.cross_entropy(logits["b"][known], grades["b"][known], reduction="none")
    torch.testing.assert_close(weighted, (each * weight[grades["b"][known]]).mean())


def test_a_missing_grade_gives_no_gradient():
    logits = {"a": torch.randn(3, 4, requires_grad=True)}
    scores = {"a": torch.randn(3, requires_grad=True)}
    grades = {"a": torch.tensor([2, -1, 1])}
    (cross_entropies(logits, grades)["a"] + squared_errors(scores, grades)["a"]).backward()
    assert (logits["a"].grad[1] == 0).all() and scores["a"].grad[1] == 0
    assert (logits["a"].grad[[0, 2]] != 0).all() and (scores["a"].grad[[0, 2]] != 0).all()


# Runs


def test_a_run_leaves_what_it_says(tmp_path):
    data, config = pictures(), settings(pooling="keypoints", regression=0.5)
    folder = train(config, data, tmp_path / "run", quiet=True)
    history = pd.read_csv(folder / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3]
    parts = history[["ce_whole", "ce_part"]].sum(axis=1)
    parts += 0.5 * history[["mse_whole", "mse_part"]].sum(axis=1)
    np.testing.assert_allclose(history["loss"], parts, rtol=1e-5)
    done = json.loads((folder / "done.json").read_text())
    assert done["processor_seconds"] == pytest.approx(history["processor_seconds"].sum())
    assert done["provenance"]["versions"]["torch"] and len(done["code"]) == 16
    assert not (folder / "checkpoint.pt").exists()

    model = build(config, 3)
    model.load_state_dict(weights(folder))
    model.eval()
    table = pd.read_csv(folder / "predictions.csv")
    assert list(table.columns) == ["case", "split", "head", "p0", "p1", "p2", "p3", "p4"]
    assert len(table) == 2 * 10 and set(table["split"]) == {"val", "test"}
    with torch.no_grad():
        answer = model(standardised(torch.from_numpy(data.images)), torch.from_numpy(data.points))
    for name, classes in HEADS.items():
        own = table[table["head"] == name].set_index("case").loc[data.cases["case"][20:]]
        columns = [f"p{i}" for i in range(classes)]
        np.testing.assert_allclose(own[columns], answer.logits[name].softmax(1)[20:], atol=1e-5)
        assert own[[f"p{i}" for i in range(classes, 5)]].isna().all(axis=None)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path):
    one, two = (weights(train(CONFIG, pictures(), tmp_path / n, quiet=True)) for n in "ab")
    assert same(one, two)
    other = weights(train(settings(seed=2), pictures(), tmp_path / "c", quiet=True))
    assert not same(one, other)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path, monkeypatch, norm):
    config = settings(
        encoder={**CONFIG.encoder, "norm": norm}, optimizer="adamw", schedule="cosine",
        pooling="keypoints", coherence={"kind": "means"},
    )  # fmt: skip
    data = pictures(labelled=[True] * 9 + [False] * 21)
    whole = train(config, data, tmp_path / "whole", coherence, quiet=True)
    honest, calls = loop._train_epoch, []

    def killed(*words):
        calls.append(words)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(*words)

    monkeypatch.setattr(loop, "_train_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "cut", coherence, quiet=True)
    assert len(pd.read_csv(tmp_path / "cut/history.csv")) == 2
    assert not (tmp_path / "cut/done.json").exists()
    monkeypatch.setattr(loop, "_train_epoch", honest)
    cut = train(config, data, tmp_path / "cut", coherence, quiet=True)
    assert same(weights(whole), weights(cut))
    assert (whole / "predictions.csv").read_bytes() == (cut / "predictions.csv").read_bytes()


def test_a_finished_run_is_found_and_another_is_refused(tmp_path, monkeypatch):
    folder = train(CONFIG, pictures(), tmp_path / "run", quiet=True)
    monkeypatch.setattr(loop, "_train_epoch", lambda *_: pytest.fail("trained again"))
    assert train(CONFIG, pictures(), folder, quiet=True) == folder
    with pytest.raises(InputError, match="other settings"):
        train(settings(lr=2e-3), pictures(), folder, quiet=True)
    data = pictures()
    data.images[0, 0, 0] ^= 1
    with pytest.raises(InputError, match="other settings"):
        train(CONFIG, data, folder, quiet=True)


def test_statistics_are_those_of_the_training_pictures_under_the_final_weights(tmp_path):
    folder = train(settings(batch_size=20), pictures(), tmp_path / "run", quiet=True)
    found = weights(folder)
    x = standardised(torch.from_numpy(pictures().images[:20]))
    after = F.conv2d(x, found["encoder.conv1.weight"], stride=2, padding=1)
    torch.testing.assert_close(found["encoder.bn1.running_mean"], after.mean((0, 2, 3)))
    torch.testing.assert_close(found["encoder.bn1.running_var"], after.var((0, 2, 3)))


def test_hidden_labels_change_nothing(tmp_path):
    hidden = np.array([True] * 9 + [False] * 21)
    data, other = pictures(labelled=hidden), pictures(labelled=hidden)
    changed = ~hidden & (other.cases["split"] == "train").to_numpy()
    other.cases.loc[changed, "whole"] = (other.cases.loc[changed, "whole"] + 1) % 5
    other.cases.loc[changed, "part"] = pd.NA
    config = settings(coherence={"kind": "means"}, warm_up=0)
    one, two = (
        weights(train(config, d, tmp_path / n, coherence, quiet=True))
        for n, d in (("a", data), ("b", other))
    )
    assert same(one, two)


def test_whether_a_grade_is_missing_reaches_no_network(monkeypatch, tmp_path):
    """Networks are called with pictures and landmarks, and with nothing else."""
    given = []
    honest = loop.GradingNet.forward

    def spied(self, *words):
        given.append([tuple(w.shape[1:]) for w in words])
        return honest(self, *words)

    monkeypatch.setattr(loop.GradingNet, "forward", spied)
    for pooling in ("global", "keypoints"):
        train(settings(epochs=1, pooling=pooling), pictures(), tmp_path / pooling, quiet=True)
    assert given == [[(1, 24, 32), (0, 2)]] * 4 + [[(1, 24, 32), (3, 2)]] * 4


def test_labelled_batches_are_the_same_with_and_without_the_extra_loss(tmp_path, monkeypatch):
    hidden = [True] * 9 + [False] * 21
    seen = {}
    honest = loop.cross_entropies

    def spied(logits, grades, weights):
        seen.setdefault(run, []).append({k: v.clone() for k, v in grades.items()})
        return honest(logits, grades, weights)

    monkeypatch.setattr(loop, "cross_entropies", spied)
    for run, words, extra in (("a", {}, None), ("b", {"coherence": {"kind": "means"}}, coherence)):
        train(settings(**words), pictures(labelled=hidden), tmp_path / run, extra, quiet=True)
    # Steps are those of all 20 training pictures, though 9 are labelled.
    assert len(seen["a"]) == len(seen["b"]) == 3 * 3
    assert all(same(one, two) for one, two in zip(seen["a"], seen["b"], strict=True))


def test_the_extra_loss_sets_in_after_the_warm_up_and_sees_unlabelled_pictures(tmp_path):
    sizes = []

    def spied(probabilities):
        sizes.append(len(probabilities["whole"]))
        for p in probabilities.values():
            torch.testing.assert_close(p.sum(1), torch.ones(len(p)))
        return coherence(probabilities)

    hidden = [True] * 9 + [False] * 21
    config = settings(coherence={"kind": "means"}, coherence_weight=0.3, warm_up=2)
    folder = train(config, pictures(labelled=hidden), tmp_path / "run", spied, quiet=True)
    assert sizes == [16, 16, 8]
    history = pd.read_csv(folder / "history.csv")
    assert history["coherence"].isna().tolist() == [True, True, False]
    last = history.iloc[-1]
    wanted = last["ce_whole"] + last["ce_part"] + 0.3 * last["coherence"]
    assert last["loss"] == pytest.approx(wanted, rel=1e-5)


def test_rates():
    halved = settings(halved_after=(1, 2))
    assert [learning_rate(halved, e) for e in range(4)] == [1e-3, 5e-4, 2.5e-4, 2.5e-4]
    cosine = settings(schedule="cosine", epochs=4)
    reference = torch.optim.Adam([torch.zeros(1)], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(reference, 4)
    for epoch in range(4):
        assert learning_rate(cosine, epoch) == pytest.approx(scheduler.get_last_lr()[0])
        reference.step()
        scheduler.step()


def no_landmark(data):
    data.points[21, 1, 0] = np.nan


def no_column(data):
    del data.cases["part"]


def too_high(data):
    data.cases.loc[2, "part"] = 4


@pytest.mark.parametrize(
    ("spoil", "words", "said"),
    [
        (no_landmark, {"pooling": "keypoints"}, "case21: has a landmark"),
        (too_high, {}, "case02: part is 4"),
        (no_column, {}, "no column 'part'"),
        (lambda d: d.cases.insert(0, "labelled", False), {}, "no labelled picture"),
        (lambda d: None, {"coherence": {"kind": "means"}}, "told of and not given"),
        (lambda d: None, {"schedule": "steps"}, "unknown schedule"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path, spoil, words, said):
    data = pictures()
    spoil(data)
    with pytest.raises(InputError, match=said):
        train(settings(**words), data, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
