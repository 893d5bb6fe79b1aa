"""Arms with convolutional encoders: against the batched trainer; what they have in common."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from oacore.errors import InputError
from oacore.instruments.hierarchy import batched, heads, split
from oacore.instruments.hierarchy.arms import ARMS
from oacore.instruments.hierarchy.repeats import cell_name
from oacore.instruments.hierarchy.split import (
    ArmNet,
    ImageNetwork,
    SplitCohort,
    draws,
    initial_encoder,
    train,
)

OPTIONS = {"depth": 10, "width": 2, "stem_kernel": 3, "max_pool": False}
NET = ImageNetwork("resnet2d", OPTIONS, 2, 16, 0.01, 0.01, shift=1, turn=5, scale=0.05)
#: Encoders of volumes, small.
BACKBONES = [
    ImageNetwork("resnet3d", {"depth": 10, "width": 4}),
    ImageNetwork("m3t", {"size": 32, "channels": 2, "depth2d": 18, "width2d": 2, "width": 16}),
    ImageNetwork("nnmamba", {"channels": 2, "blocks": 1}),
]
#: 80 training cases, 20 of the test, 10 for choosing settings.
SPLITS = np.repeat(["train", "test", "val"], [80, 20, 10])


@pytest.fixture(scope="module")
def cases():
    rng = np.random.default_rng(0)
    n = len(SPLITS)
    table = pd.DataFrame({"case": [f"c{i}" for i in range(n)], "split": SPLITS})
    table["kl"] = np.resize(np.arange(5), n)
    table["male"], table["age"] = rng.integers(0, 2, n), rng.normal(60, 9, n)
    return table.assign(quality=rng.normal(size=n))


@pytest.fixture(scope="module")
def pictures(cases):
    """A bright bar that lies the lower, the worse the grade."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 100, (len(cases), 12, 16)).astype(np.uint8)
    for image, kl in zip(images, cases["kl"], strict=True):
        image[2 * kl : 2 * kl + 3] += 120
    return SplitCohort(images, cases)


@pytest.fixture
def volumes(cases):
    rng = np.random.default_rng(2)
    some = [*range(10), *range(80, 85)]
    images = rng.normal(size=(15, 16, 16, 16)).astype(np.float16)
    return SplitCohort(images, cases.iloc[some].reset_index(drop=True))


@pytest.fixture
def probed(monkeypatch):
    """Shapes whose convolutions were to be probed, which takes seconds."""
    shapes = []
    monkeypatch.setattr(
        split, "secure_convolutions", lambda net, its, *, bf16: shapes.append((its, bf16))
    )
    return shapes


class Flat(nn.Module):
    """The hidden layer of the batched networks, as an encoder."""

    n_features = 8

    def __init__(self, weights):
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.tensor(weights[f"trunk_{name}"], dtype=torch.float32))
            for name in ("weight", "bias")
        )

    def forward(self, x):
        return (x.flatten(1) @ self.weight + self.bias).relu()


@pytest.mark.parametrize("name", list(ARMS))
def test_every_arm_learns_as_the_batched_trainer_has_it(cases, name, monkeypatch):
    arm, seed, features = ARMS[name], 3, 6
    network = batched.Network(8, "none", 0.0, 3, 16, 0.01, 0.01)
    training = (cases["split"] == "train").to_numpy()
    rng = np.random.default_rng(4)
    x = rng.normal(size=(len(cases), features)) + 0.5 * cases["kl"].to_numpy()[:, None]
    theirs = batched.train(network, [arm], x, cases, [batched.Fit(seed, 0, training)])

    first = batched.initial_weights(network, arm, features, seed, 0)
    begun = {key: own for key, own in first.items() if not key.startswith("trunk")}
    epochs = batched.draws(network, arm, batched.Fit(seed, 0, training), seed, 0)
    batches = [[(rows, np.zeros((16, 4), np.float32)) for rows in one] for one, _ in epochs]
    monkeypatch.setattr(split, "initial_encoder", lambda *_: Flat(first))
    monkeypatch.setattr(heads, "initial_heads", lambda *_: begun)
    monkeypatch.setattr(split, "draws", lambda *_: [*batches, batches[0]])
    images = batched.standardised(x, training).reshape(-1, 1, 1, features)
    flat = ImageNetwork("resnet3d", {}, 3, 16, 0.01, 0.01, "constant")
    ours = train(flat, arm, SplitCohort(images, cases), seed)

    here = (cases["split"] == "test").to_numpy()
    np.testing.assert_allclose(ours["grade"], theirs.grade[0, 0, here], atol=2e-4)
    np.testing.assert_allclose(ours["second"], theirs.second[0, 0, here], atol=2e-4)


@pytest.mark.parametrize("network", [NET, *BACKBONES], ids=lambda network: network.encoder)
@pytest.mark.parametrize("name", [name for name in ARMS if name != "again"])
def test_what_arms_share_starts_alike(network, name):
    base, own = (ArmNet(network, ARMS[one], 5) for one in ("dual", name))
    theirs, its = (net.encoder.state_dict() for net in (base, own))
    assert theirs.keys() == its.keys() and theirs
    for key in theirs:
        assert torch.equal(its[key], theirs[key])
    # A cascaded head reads five logits: it is another layer.
    heads = ["grade", *(["second"] if ARMS[name].joint != "cascaded" else [])]
    theirs, its = (dict(net.heads.items()) for net in (base, own))
    shared = [key for key in theirs if key in its and key.split("_")[0] in heads
              and its[key].shape == theirs[key].shape]  # fmt: skip
    for key in shared:
        assert torch.equal(its[key], theirs[key])
    assert shared or name in ("coral", "corn")
    rows = np.arange(20)
    for (a, b), (c, d) in zip(
        (batch for epoch in draws(network, ARMS["dual"], rows, 5) for batch in epoch),
        (batch for epoch in draws(network, ARMS[name], rows, 5) for batch in epoch),
        strict=True,
    ):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)


def test_seeds_and_the_null_arm_start_elsewhere():
    single, again = ARMS["single_kl"], ARMS["again"]
    rows = np.arange(20)

    def begun(arm, seed):
        encoder = initial_encoder(NET, seed, arm.start).conv1.weight.detach().numpy()
        net = ArmNet(NET, arm, seed)
        (order, chance), *_ = next(draws(NET, arm, rows, seed))
        return encoder, net.heads["grade_weight"].detach().numpy(), order, chance

    base = begun(single, 5)
    for other in (begun(single, 6), begun(again, 5)):
        for one, its in zip(base, other, strict=True):
            assert (one != its).any()
    # As far from 0 as PyTorch's own layers begin.
    first = heads.initial_heads(single, 400, {"grade": (0,)})
    bound = max(np.abs(first[f"grade_{end}"]).max() for end in ("weight", "bias"))
    assert 0.045 < bound <= 0.05


def test_an_epoch_holds_every_training_case_once():
    epochs = list(draws(NET, ARMS["dual"], np.arange(3, 43), 0))
    assert len(epochs) == NET.epochs + 1
    for batches in epochs:
        assert [len(rows) for rows, _ in batches] == [16, 16, 8]
        rows, chance = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        np.testing.assert_array_equal(np.sort(rows), np.arange(3, 43))
        assert chance.shape == (40, 4) and np.abs(chance).max() <= 1
    assert (epochs[0][0][0] != epochs[1][0][0]).any()


def test_a_stopped_second_head_leaves_single_kl_to_the_bit(pictures):
    stopped, single, dual = (
        train(NET, ARMS[name], pictures, 0)["grade"] for name in ("oa_stopped", "single_kl", "dual")
    )
    np.testing.assert_array_equal(stopped, single)
    assert np.abs(dual - single).max() > 1e-3


def test_a_stopped_grade_leaves_single_oa_to_the_bit(pictures):
    stopped, single = (
        train(NET, ARMS[name], pictures, 0)["second"] for name in ("kl_stopped", "single_oa")
    )
    np.testing.assert_array_equal(stopped, single)


def test_statistics_are_those_of_the_training_pictures_as_they_are(pictures, monkeypatch):
    nets = []
    answers = split._answers
    monkeypatch.setattr(
        split, "_answers", lambda net, *words: (nets.append(net), answers(net, *words))[1]
    )
    train(replace(NET, batch=80), ARMS["dual"], pictures, 0)
    encoder = nets[0].encoder
    own = pictures.images[SPLITS == "train"].astype(float)
    mean, sd = own.mean((1, 2), keepdims=True), own.std((1, 2), ddof=1, keepdims=True)
    x = torch.tensor((own - mean) / sd, dtype=torch.float32)[:, None]
    with torch.no_grad():
        made = encoder.conv1(x).double()
    np.testing.assert_allclose(encoder.bn1.running_mean, made.mean((0, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(encoder.bn1.running_var, made.var((0, 2, 3)), rtol=1e-4)
    assert not encoder.training


def test_it_learns_and_is_asked_about_the_split_that_is_named(pictures, cases):
    network = replace(NET, options={**OPTIONS, "width": 4}, epochs=12)
    for asked in ("test", "val"):
        said = train(network, ARMS["dual"], pictures, 0, split=asked)
        kl = cases["kl"][cases["split"] == asked]
        assert (said["grade"].argmax(1) == kl).mean() > 0.8
        assert ((said["second"] > 0.5) == (kl >= 2)).mean() > 0.8


@pytest.mark.parametrize("name", ["dual", "shuffled", "permuted", "random", "age"])
def test_labels_of_other_splits_play_no_part(pictures, cases, name):
    other = cases.copy()
    other.loc[cases["split"] != "train", ["kl", "age"]] = 0
    network = replace(NET, epochs=1, batch=80)
    one, two = (
        train(network, ARMS[name], SplitCohort(pictures.images, its), 1) for its in (cases, other)
    )
    np.testing.assert_array_equal(one["grade"], two["grade"])
    np.testing.assert_array_equal(one["second"], two["second"])


def test_pictures_are_moved_in_training_alone(pictures, monkeypatch):
    seen = []
    still = split.moved
    monkeypatch.setattr(split, "moved", lambda x, *how: (seen.append(how), still(x, *how))[1])
    train(NET, ARMS["dual"], pictures, 0)
    assert len(seen) == NET.epochs * 5
    for reach, own in ((1, 1), (5, 2), (0.05, 3)):
        drawn = torch.cat([how[own].flatten() for how in seen]) - float(own == 3)
        assert 0.9 * reach < drawn.abs().max() <= reach * 1.0001
    seen.clear()
    train(replace(NET, shift=0, turn=0, scale=0), ARMS["dual"], pictures, 0)
    assert not seen


def test_volumes_are_read_by_the_same_code(volumes, probed):
    network = ImageNetwork("resnet3d", {"depth": 10, "width": 16}, 1, 4, 1e-3, 0.01)
    said = train(network, ARMS["dual"], volumes, 0)
    np.testing.assert_allclose(said["grade"].sum(1), 1)
    assert said["second"].shape == (5,) and np.isfinite(said["second"]).all()
    assert probed == [([(2, 1, 16, 16, 16), (4, 1, 16, 16, 16)], False)]
    net = ArmNet(network, ARMS["dual"], 0)
    assert net.encoder.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last_3d)
    single, stopped = (
        train(network, ARMS[name], volumes, 0)["grade"] for name in ("single_kl", "oa_stopped")
    )
    np.testing.assert_array_equal(single, stopped)


@pytest.mark.parametrize(("width", "side_by_side"), [(16, True), (8, False)])
def test_channels_lie_side_by_side_where_that_is_safe(width, side_by_side):
    encoder = initial_encoder(replace(NET, options={**OPTIONS, "width": width}), 0, 0)
    weight = encoder.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == side_by_side
    encoder(torch.zeros(8, 1, 80, 112)).sum().backward()  # which ends the process otherwise
    assert torch.isfinite(encoder.layer1[0].conv1.weight.grad).all()


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_rate_is_pytorchs(schedule):
    network = replace(NET, epochs=7, schedule=schedule)
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=network.learning_rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 7)
    for epoch in range(7):
        theirs = cosine.get_last_lr()[0] if schedule == "cosine" else network.learning_rate
        assert network.rate(epoch) == pytest.approx(theirs)
        optimiser.step()
        cosine.step()


def test_a_cell_is_called_as_that_of_radiomics():
    for norm, schedule in (("batch", "cosine"), ("group", "constant")):
        own = replace(NET, options={**OPTIONS, "norm": norm}, schedule=schedule)
        assert own.cell == cell_name(batched.Network(8, norm, schedule=schedule))
    assert NET.cell == "batch-cosine"


def test_a_digest_is_of_images_and_labels(pictures, cases):
    other = pictures.images.copy()
    other[3, 2, 1] += 1
    changed = cases.copy()
    changed.loc[7, "age"] += 1
    every = [pictures, SplitCohort(other, cases), SplitCohort(pictures.images, changed),
             SplitCohort(pictures.images.astype(np.int16), cases)]  # fmt: skip
    assert len({one.digest() for one in every}) == 4
    same = SplitCohort(pictures.images.copy(), cases[cases.columns[::-1]])
    assert same.digest() == pictures.digest()


def test_any_backbone_learns_an_arm_and_what_it_drops_is_of_the_seed(volumes, probed):
    options = {"channels": 2, "blocks": 1}
    network = ImageNetwork("nnmamba", options, 2, 5, 1e-3)  # drops half of its last layer
    torch.manual_seed(1)
    once = train(network, ARMS["dual"], volumes, 4)
    torch.manual_seed(2)
    after = torch.rand(1)
    torch.manual_seed(2)
    again = train(network, ARMS["dual"], volumes, 4)
    assert torch.rand(1) == after  # others' random numbers are left alone
    np.testing.assert_array_equal(once["grade"], again["grade"])
    assert once["grade"].shape == (5, 5) and len(probed) == 2
    other = train(network, ARMS["dual"], volumes, 5)
    assert np.abs(other["grade"] - once["grade"]).max() > 1e-4


def test_what_cannot_be_trained_is_refused(pictures, cases, volumes):
    for wrong, said in (
        ({"encoder": "vgg"}, "encoder is 'vgg': choose one of resnet2d, resnet3d, m3t, nnmamba"),
        ({"schedule": "step"}, "schedule is 'step'"),
        ({"encoder": "resnet3d"}, "volumes are not augmented"),
    ):
        with pytest.raises(InputError, match=said):
            replace(NET, **wrong)
    images = pictures.images
    with pytest.raises(InputError, match="no column 'kl'"):
        SplitCohort(images, cases.drop(columns="kl"))
    with pytest.raises(InputError, match="109 images of 110 cases"):
        SplitCohort(images[1:], cases)
    with pytest.raises(InputError, match="case c4 has no KL grade"):
        SplitCohort(images, cases.assign(kl=cases["kl"].where(cases.index != 4)))
    with pytest.raises(InputError, match="no case is of the split 'val'"):
        train(NET, ARMS["dual"], volumes_as_pictures(volumes), 0, split="val")
    with pytest.raises(InputError, match="resnet2d does not read images of shape"):
        train(NET, ARMS["dual"], volumes, 0)
    with pytest.raises(InputError, match="no column 'male'"):
        train(NET, ARMS["sex"], SplitCohort(images, cases.drop(columns="male")), 0)
    with pytest.raises(FloatingPointError, match=r"Dual, seed 0: the loss became .* lower"):
        train(replace(NET, learning_rate=1e30), ARMS["dual"], pictures, 0)


def volumes_as_pictures(volumes):
    return SplitCohort(volumes.images[:, 0].astype(np.uint8), volumes.cases)
