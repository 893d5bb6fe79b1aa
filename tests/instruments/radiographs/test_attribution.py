"""Maps of what a head hangs on: against captum, finite differences, and one bright pixel."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam, Saliency
from torch import nn

from oacore.errors import InputError
from oacore.instruments.coherence.patterns import GRADES, SIZES
from oacore.instruments.radiographs.arms import load_study, run_folder
from oacore.instruments.radiographs.attribution import (
    EXPECTED,
    PREDICTED,
    asked,
    cell_maps,
    grad_cam,
    input_gradients,
    on_pixels,
    read_network,
    run_maps,
    scaled,
    study_pictures,
)
from oacore.instruments.radiographs.study import read_study, run_study
from oacore.instruments.radiographs.told import told_of
from oacore.models.keypoints import GradingNet, sample_at
from oacore.models.resnet2d import ResNet2D
from oacore.training.pictures import Pictures, standardised, train
from tests.instruments.radiographs import sets

HEADS = {"kl": 5, "lateral": 4}
HIGH, WIDE = 40, 56


def network(pooling, dtype=torch.float32):
    torch.manual_seed(1)
    keypoints = pooling == "keypoints"
    encoder = ResNet2D(
        10, width=8, stages=3 if keypoints else 4, stem_kernel=3, max_pool=False, norm="group"
    )
    more = {"compartments": {"lateral": [0, 1]}, "n_points": 4} if keypoints else {}
    return GradingNet(encoder, HEADS, pooling, **more).to(dtype).eval()


def batch(dtype=torch.float32, n=2):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(n, 1, HIGH, WIDE, generator=generator, dtype=dtype)
    points = 4 + 32 * torch.rand(n, 4, 2, generator=generator, dtype=dtype)
    return x, points


ABOUT = [EXPECTED, PREDICTED, 1]


@pytest.mark.parametrize("about", ABOUT)
def test_what_is_asked(about):
    logits = torch.tensor([[0.0, 1.0, 3.0], [2.0, 0.0, 0.0]])
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    wanted = {EXPECTED: p @ [0, 1, 2], PREDICTED: [3.0, 2.0], 1: [1.0, 0.0]}[about]
    np.testing.assert_allclose(asked(logits, about), wanted, rtol=1e-6)


@pytest.mark.parametrize("about", [3, -1, "the grade"])
def test_what_a_head_cannot_be_asked(about):
    with pytest.raises(InputError, match="head of 3 grades"):
        asked(torch.zeros(1, 3), about)


@pytest.mark.parametrize("about", ABOUT)
@pytest.mark.parametrize("pooling", ["global", "keypoints"])
def test_grad_cam_is_captums(pooling, about):
    model = network(pooling)
    x, points = batch()
    found, stride = cell_maps(model, x, points, about=about)
    layer = model.encoder.layer3 if pooling == "keypoints" else model.encoder.layer4
    assert stride == (8 if pooling == "keypoints" else 16)
    for head in HEADS:

        def ask(x, points, head=head):
            return asked(model(x, points).logits[head], about)

        theirs = LayerGradCam(ask, layer).attribute(
            x.clone().requires_grad_(), additional_forward_args=points, relu_attributions=True
        )
        assert float(theirs.detach().max()) > 0
        torch.testing.assert_close(found[head], theirs[:, 0], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("pooling", ["global", "keypoints"])
def test_the_weight_of_a_channel_is_what_raising_it_does(pooling):
    """By finite differences: a channel of the last map is raised everywhere by a little."""
    model = network(pooling, torch.float64)
    x, points = batch(torch.float64, n=1)
    layer = model.encoder.layer3 if pooling == "keypoints" else model.encoder.layer4
    found, _ = cell_maps(model, x, points)
    raised, kept = {}, []

    def answer(channel, by):
        def change(module, given, cells):
            kept.append(cells)
            cells = cells.clone()
            cells[:, channel] += by
            return cells

        hook = layer.register_forward_hook(change)
        with torch.no_grad():
            value = asked(model(x, points).logits["kl"])
        hook.remove()
        return float(value)

    channels = model.encoder.channels[2 if pooling == "keypoints" else 3]
    for channel in range(channels):
        raised[channel] = (answer(channel, 1e-5) - answer(channel, -1e-5)) / 2e-5
    cells = kept[0][0]
    weights = torch.tensor([raised[c] for c in range(channels)], dtype=torch.float64)
    # Raised everywhere, the gradients of all cells add up; Grad-CAM takes their mean.
    wanted = torch.einsum("c,chw->hw", weights / cells[0].numel(), cells).relu()
    torch.testing.assert_close(found["kl"][0], wanted, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("about", [EXPECTED, 2])
@pytest.mark.parametrize("pooling", ["global", "keypoints"])
def test_input_gradients_are_captums_and_finite_differences(pooling, about):
    model = network(pooling, torch.float64)
    x, points = batch(torch.float64)
    found = input_gradients(model, x, points, about=about)

    def ask(x, points):
        return asked(model(x, points).logits["lateral"], about)

    theirs = Saliency(ask).attribute(
        x.clone().requires_grad_(), abs=False, additional_forward_args=points
    )
    torch.testing.assert_close(found["lateral"], theirs[:, 0])
    for row, y, column in ((0, 11, 20), (1, 30, 9), (1, 5, 44)):
        step = torch.zeros_like(x)
        step[row, 0, y, column] = 1e-5
        with torch.no_grad():
            change = (ask(x + step, points) - ask(x - step, points))[row] / 2e-5
        assert float(found["lateral"][row, y, column]) == pytest.approx(float(change), rel=1e-4)


def test_pooled_over_all_cells_both_ways_are_one():
    model = network("global")
    x, _ = batch()
    one, other = (cell_maps(model, x, cellwise=way)[0]["kl"] for way in (False, True))
    torch.testing.assert_close(one, other)


def test_cell_by_cell_only_what_is_read_is_seen():
    model = network("keypoints")
    x, points = batch()
    found, stride = cell_maps(model, x, points, cellwise=True)
    for head, own in (("lateral", [0, 1]), ("kl", [0, 1, 2, 3])):
        read = torch.zeros_like(found[head])
        for row in range(2):
            for px, py in points[row, own] / stride:
                read[row, int(py) : int(py) + 2, int(px) : int(px) + 2] = 1
        assert float((found[head] * (1 - read)).abs().max()) == 0
        assert float(found[head].max()) > 0
    plain, _ = cell_maps(model, x, points)
    assert float((plain["lateral"] > 0).sum()) > float((found["lateral"] > 0).sum())


@pytest.mark.parametrize(("x", "y"), [(24, 16), (40, 24), (21, 19), (37, 13)])
def test_one_bright_pixel_is_mapped_back_to_where_it_is(x, y):
    """Through kernels that are nowhere negative, to cells, and back to pixels."""
    model = network("keypoints")
    for module in model.encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.fill_(1 / module.weight[0].numel())
        elif isinstance(module, nn.GroupNorm):
            module.forward = lambda given: given
    picture = torch.zeros(1, 1, HIGH, WIDE)
    picture[0, 0, y, x] = 1
    with torch.no_grad():
        cells = model.encoder.maps(picture)[2].mean(1, keepdim=True)
    stride = model.encoder.strides[2]
    back = on_pixels(cells, stride, HIGH, WIDE)[0, 0]
    across, down = torch.arange(float(WIDE)), torch.arange(float(HIGH))
    # Cut off evenly about the pixel, so that no edge draws the middle to itself.
    keep = 12
    part = back[y - keep : y + keep + 1, x - keep : x + keep + 1]
    found = (
        float((part.sum(0) @ across[x - keep : x + keep + 1]) / part.sum()),
        float((part.sum(1) @ down[y - keep : y + keep + 1]) / part.sum()),
    )
    assert found == pytest.approx((x, y), abs=0.6)
    stretched = F.interpolate(cells, size=(HIGH, WIDE), mode="bilinear")[0, 0]
    peak = divmod(int(stretched.argmax()), WIDE)
    assert max(abs(peak[1] - x), abs(peak[0] - y)) >= 2, "stretched over the picture it is off"


def test_a_pixel_at_a_cells_centre_has_that_cells_value():
    cells = torch.rand(2, 3, 5, 7)
    pixels = on_pixels(cells, 8, HIGH, WIDE)
    assert pixels.shape == (2, 3, HIGH, WIDE)
    torch.testing.assert_close(pixels[:, :, ::8, ::8], cells)
    torch.testing.assert_close(
        pixels[:, :, 4::8, :][:, :, 0], (pixels[:, :, 0] + pixels[:, :, 8]) / 2
    )
    point = torch.tensor([[[21.0, 13.0]]] * 2)
    torch.testing.assert_close(sample_at(cells, point, 8)[:, 0], pixels[:, :, 13, 21])


def test_maps_are_scaled_one_by_one():
    maps = np.zeros((2, 2, 3, 3))
    maps[0, 0, 1, 2], maps[0, 1] = 4.0, 2.0
    found = scaled(maps)
    assert found.dtype == np.float32
    assert found[0, 0].max() == 1 and (found[0, 1] == 1).all() and (found[1] == 0).all()


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    n = 15
    cases = pd.DataFrame({"case": [f"k{i:02d}" for i in range(n)], "person": range(n)})
    cases["split"] = ["train"] * 10 + ["test"] * 5
    for name, size in SIZES.items():
        cases[name] = pd.array(np.arange(n) % size, dtype="Int64")
    images = rng.integers(0, 255, (n, HIGH, WIDE)).astype(np.uint8)
    return Pictures(cases, images, rng.uniform(2, 38, (n, 16, 2)).astype(np.float32))


@pytest.mark.parametrize("pooling", ["global", "keypoints"])
def test_maps_of_a_finished_run(pictures, pooling, tmp_path):
    study = load_study("smoke")
    study = replace(study, training={**study.training, "epochs": 1})
    arm = replace(study.arms["global"], name=pooling, pooling=pooling)
    folder = train(
        study.config(arm, 0), told_of(arm, 0, pictures), run_folder(tmp_path, pooling, 0),
        quiet=True,
    )  # fmt: skip
    model = read_network(folder)
    assert not model.training
    # The network answers as the run's own record says.
    x = standardised(torch.from_numpy(pictures.images[10:]))
    points = torch.from_numpy(pictures.points[10:])
    written = pd.read_csv(folder / "predictions.csv").query("head == 'kl'")
    with torch.no_grad():
        given = model(x, points).logits["kl"].softmax(1)
    np.testing.assert_allclose(given, written[[f"p{k}" for k in range(5)]], atol=1e-5)
    found = run_maps(folder, pictures, ["k12", "k10"])
    assert found.shape == (2, len(GRADES), HIGH, WIDE) and found.min() >= 0
    assert found.max(axis=(2, 3)).max() == 1
    alone = grad_cam(model, x[2:3], points[2:3], cellwise=True)
    for place, head in enumerate(GRADES):
        np.testing.assert_allclose(
            found[0, place], scaled(alone[head].numpy())[0], atol=1e-4, err_msg=head
        )
    with pytest.raises(InputError, match="no case k99"):
        run_maps(folder, pictures, ["k99"])
    (folder / "weights.safetensors").write_bytes(b"spoilt")
    with pytest.raises(InputError, match="weights"):
        run_maps(folder, pictures, ["k12"])


def test_a_study_gives_what_its_runs_looked_at(tmp_path):
    """A run answers again as it did, on the pictures and landmarks that are found for it."""
    study, folder = load_study("smoke"), tmp_path / "study"
    source = sets.graded_set(tmp_path / "own")
    run_study("smoke", source, folder, seeds=[0], arms=["proposed"])
    seen = read_study(study, source)
    pictures = study_pictures(seen, folder)
    run = run_folder(folder, "proposed", 0)
    written = pd.read_csv(run / "predictions.csv").query("head == 'jsn_medial'").set_index("case")
    rows = np.flatnonzero(pictures.cases["case"].isin(written.index))
    with torch.no_grad():
        x = standardised(torch.from_numpy(pictures.images[rows]))
        given = read_network(run)(x, torch.from_numpy(pictures.points[rows])).logits["jsn_medial"]
    own = written.loc[pictures.cases["case"].iloc[rows], [f"p{grade}" for grade in range(4)]]
    np.testing.assert_allclose(given.softmax(1), own, atol=1e-5)
    few = replace(seen, cases=seen.cases.iloc[:-1])
    with pytest.raises(InputError, match="study of other radiographs"):
        study_pictures(few, folder)
    with pytest.raises(InputError, match="holds no study"):
        study_pictures(seen, tmp_path / "nowhere")
