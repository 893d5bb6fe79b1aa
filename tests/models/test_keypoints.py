"""Features at points against a bright pixel, SciPy, finite differences; heads by their points."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets import resnet50
from scipy.ndimage import map_coordinates
from torch import nn

from oacore.errors import InputError
from oacore.models.keypoints import Answer, GradingNet, sample_at
from oacore.models.resnet2d import ResNet2D

SIDE, STRIDE = 320, 16
HEADS = {"all": 5, "left": 4, "right": 3}
PARTS = {"left": [0, 2], "right": [1, 3]}


def averaging(network):
    """Give a network symmetric kernels that are nowhere negative: what is bright stays where it is.

    One bright pixel is then a spot about its own place, and its middle can be measured.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.fill_(1 / module.weight[0].numel())
    return network.eval()


@pytest.fixture(scope="module")
def after_stage_3():
    """MONAI's own resnet50 up to its third stage: (1, 1, 320, 320) to (20, 20)."""
    network = averaging(
        resnet50(
            spatial_dims=2, n_input_channels=1, conv1_t_stride=2, feed_forward=False,
            pretrained=False,
        )
    )  # fmt: skip
    found = []
    network.layer3.register_forward_hook(lambda m, i, o: found.append(o[0].mean(0)))

    def call(picture):
        with torch.no_grad():
            network(picture)
        return found.pop()

    return call


def spot(call, x, y):
    """Middle, in cells, of what one bright pixel lights up."""
    picture = torch.zeros(1, 1, SIDE, SIDE)
    picture[0, 0, y, x] = 1
    lit = call(picture) - call(torch.zeros_like(picture))
    assert lit.shape == (20, 20)
    cells = torch.arange(20.0)
    return float((lit.sum(0) @ cells) / lit.sum()), float((lit.sum(1) @ cells) / lit.sum())


@pytest.mark.parametrize(("column", "row"), [(7, 9), (10, 10), (12, 8)])
def test_a_bright_pixel_is_sampled_where_it_is(after_stage_3, column, row):
    x, y = STRIDE * column, STRIDE * row
    middle = spot(after_stage_3, x, y)
    assert middle == pytest.approx((column, row), abs=0.01)
    # A map that tells its own cells: sampling it gives the place that is sampled.
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
    places = torch.stack([columns, rows])[None]
    point = torch.tensor([[[float(x), float(y)]]])
    assert sample_at(places, point, STRIDE)[0, 0].tolist() == pytest.approx(middle, abs=0.01)


def test_both_conventions_of_grid_sample_are_pixels_off(after_stage_3):
    columns = torch.arange(20.0).expand(1, 1, 20, 20)
    off = {}
    for aligned in (False, True):
        away = []
        for column in range(20):
            x = float(STRIDE * column)
            unit = 2 * x / (SIDE - 1) - 1 if aligned else (2 * x + 1) / SIDE - 1
            grid = torch.tensor([[[[unit, 0.0]]]])
            cell = F.grid_sample(columns, grid, align_corners=aligned, padding_mode="border")
            away.append(abs(STRIDE * float(cell) - x))
        off[aligned] = away
    assert spot(after_stage_3, 160, 160)[0] == pytest.approx(10, abs=0.01)
    # Away from the edge, where the place is held at the outermost cell.
    assert off[False][1:] == pytest.approx([7.5] * 19, abs=0.01)
    assert off[True] == sorted(off[True])
    assert (off[True][17], off[True][19]) == pytest.approx((12.8, 14.3), abs=0.05)


def test_equals_scipy_inside_and_at_the_nearest_edge_outside():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 3, 5, 7))
    points = rng.uniform(-30, 90, size=(2, 40, 2))
    found = sample_at(torch.from_numpy(maps), torch.from_numpy(points), 8)
    assert found.shape == (2, 40, 3)
    for case in range(2):
        for channel in range(3):
            wanted = map_coordinates(
                maps[case, channel], points[case, :, ::-1].T / 8, order=1, mode="nearest"
            )
            np.testing.assert_allclose(found[case, :, channel], wanted, atol=1e-12)


def test_gradients_agree_with_finite_differences():
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    points = 8 * (0.2 + 2.5 * torch.rand(2, 6, 2, dtype=torch.float64))
    points.requires_grad_()
    assert torch.autograd.gradcheck(lambda m, p: sample_at(m, p, 8), (maps, points))


@pytest.mark.parametrize(("side", "exact"), [(320, False), (321, True)])
def test_left_and_right_are_alike_only_where_cells_fall_on_cells(side, exact):
    """Cell i lies on pixel 16 i; in the mirror it lies on side - 1 - 16 i."""
    torch.manual_seed(0)
    encoder = ResNet2D(10, width=8, stages=3).eval()
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = (module.weight.data + module.weight.data.flip(3)) / 2
    picture = F.avg_pool2d(torch.randn(1, 1, side + 8, side + 8), 9, stride=1)
    points = torch.rand(1, 30, 2) * 200 + 60
    mirrored = points.clone()
    mirrored[..., 0] = side - 1 - points[..., 0]
    with torch.no_grad():
        here = sample_at(encoder.maps(picture)[2], points, 16)
        there = sample_at(encoder.maps(picture.flip(3))[2], mirrored, 16)
    apart = float((here - there).norm() / here.norm())
    assert apart < 1e-5 if exact else 0.05 < apart < 1


def test_a_missing_landmark_is_named():
    points = torch.zeros(3, 2, 2)
    points[1, 0, 1] = torch.nan
    with pytest.raises(InputError, match="row 1 of the batch"):
        sample_at(torch.zeros(3, 1, 4, 4), points, 8)


def network(pooling="keypoints", **words):
    torch.manual_seed(0)
    encoder = ResNet2D(10, width=8, stem_kernel=3, max_pool=False)
    if pooling == "keypoints":
        words = {"compartments": PARTS, "n_points": 4, **words}
    return GradingNet(encoder, HEADS, pooling, **words).eval()


def test_heads_read_their_own_points():
    net = network()
    x, points = torch.randn(2, 1, 32, 48), torch.rand(2, 4, 2) * 40
    features = net.features(x, points)
    stage = net.encoder.maps(x)[2]
    assert tuple(net.encoder.strides)[2] == 8
    for name, own in {"all": [0, 1, 2, 3], **PARTS}.items():
        wanted = [
            map_coordinates(
                channel.detach().numpy(), (points[0, point].flip(0) / 8)[:, None].numpy(), order=1,
                mode="nearest",
            )
            for point in own
            for channel in stage[0]
        ]  # fmt: skip
        np.testing.assert_allclose(
            features[name][0].detach(), np.concatenate(wanted), rtol=1e-4, atol=1e-5
        )
    answer = net(x, points)
    assert isinstance(answer, Answer) and answer.scores == {}
    assert {name: tuple(v.shape) for name, v in answer.logits.items()} == {
        "all": (2, 5), "left": (2, 4), "right": (2, 3)
    }  # fmt: skip


def test_moving_a_point_of_another_compartment_changes_nothing():
    net = network()
    x, points = torch.randn(1, 1, 32, 48), torch.full((1, 4, 2), 20.0)
    other = points.clone()
    other[0, 1] = 9.0
    before, after = net(x, points).logits, net(x, other).logits
    assert torch.equal(before["left"], after["left"])
    assert not torch.equal(before["right"], after["right"])
    assert not torch.equal(before["all"], after["all"])


def test_global_pooling_reads_the_mean_of_the_last_stage():
    net = network("global", regression=True)
    x = torch.randn(2, 1, 32, 48)
    answer = net(x)
    mean = net.encoder.maps(x)[3].mean((2, 3))
    head = net.heads["all"]
    torch.testing.assert_close(answer.logits["all"], mean @ head.weight.T + head.bias)
    assert {name: tuple(v.shape) for name, v in answer.scores.items()} == dict.fromkeys(HEADS, (2,))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"n_points": 0}, "n_points"), ({"compartments": {"other": [0]}}, "no head"),
        ({"compartments": {"left": [4]}}, "none of 4"), ({"pooling": "middle"}, "unknown pooling"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(words, said):
    with pytest.raises(InputError, match=said):
        GradingNet(
            ResNet2D(10, width=8),
            **{"heads": HEADS, "pooling": "keypoints", "n_points": 4, **words},
        )


def test_keypoints_need_points():
    with pytest.raises(InputError, match="needs points"):
        network()(torch.zeros(1, 1, 32, 48))
