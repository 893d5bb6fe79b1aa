"""ResNet2D against published sizes, MONAI's network and finite differences."""

import pytest
import torch
from monai.networks.nets import resnet18, resnet50
from torch import nn

from oacore.errors import InputError
from oacore.models.resnet2d import ResNet2D

SMALL = {"depth": 10, "width": 8, "stem_kernel": 3, "max_pool": False}


@pytest.mark.parametrize(("depth", "count"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)])
def test_parameters_of_the_published_networks(depth, count):
    """Those have three channels and 1,000 classes."""
    with torch.device("meta"):
        encoder = ResNet2D(depth)
        head = nn.Linear(encoder.n_features, 1000)
    ours = sum(p.numel() for m in (encoder, head) for p in m.parameters())
    assert ours + 2 * 7 * 7 * 64 == count


@pytest.mark.parametrize(("depth", "monai"), [(18, resnet18), (50, resnet50)])
def test_equals_monai(depth, monai):
    torch.manual_seed(0)
    encoder = ResNet2D(depth)
    other = monai(
        spatial_dims=2, n_input_channels=1, conv1_t_stride=2, feed_forward=False,
        shortcut_type="B", bias_downsample=False, pretrained=False,
    )  # fmt: skip
    other.load_state_dict(encoder.state_dict(), strict=True)
    x = torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        assert torch.equal(encoder(x), other(x))
        assert torch.equal(encoder.features(x)["pooled"], other(x))


@pytest.mark.parametrize("settings", [{"depth": 18, "width": 8}, {"depth": 50, "width": 8}, SMALL])
def test_maps_have_the_sizes_that_are_told(settings):
    encoder = ResNet2D(**settings)
    maps = encoder.maps(torch.zeros(2, 1, 80, 112))
    assert [m.shape[1] for m in maps] == list(encoder.channels)
    assert [tuple(m.shape[2:]) for m in maps] == [
        (-(-80 // s), -(-112 // s)) for s in encoder.strides
    ]
    assert encoder.n_features == maps[-1].shape[1]


def test_without_the_last_stage_the_others_start_alike():
    torch.manual_seed(0)
    whole = ResNet2D(**SMALL)
    after = torch.rand(1)
    torch.manual_seed(0)
    short = ResNet2D(**SMALL, stages=3)
    assert torch.equal(torch.rand(1), after)
    assert all(torch.equal(whole.state_dict()[k], v) for k, v in short.state_dict().items())
    assert (whole.cam_layer, short.cam_layer) == ("layer4", "layer3")
    assert short.n_features == 32 and not hasattr(short, "layer4")


def test_every_layer_is_normalised_as_asked():
    """MONAI passes its own setting to the stem alone."""
    kinds = {type(m) for m in ResNet2D(**SMALL, norm="group").modules()}
    assert nn.GroupNorm in kinds and nn.BatchNorm2d not in kinds
    kinds = {type(m) for m in ResNet2D(**SMALL).modules()}
    assert nn.BatchNorm2d in kinds and nn.GroupNorm not in kinds


@pytest.mark.parametrize("settings", [SMALL, {**SMALL, "norm": "group"}, {**SMALL, "depth": 50}])
def test_input_gradient_agrees_with_finite_differences(settings):
    torch.manual_seed(0)
    encoder = ResNet2D(**settings).double().eval()
    x = torch.randn(1, 1, 24, 32, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(encoder.n_features, dtype=torch.float64)
    (encoder(x)[0] @ weight).backward()
    direction = torch.randn_like(x)
    step = 1e-6
    with torch.no_grad():
        up, down = ((encoder(x + s * step * direction)[0] @ weight) for s in (1, -1))
    slope = ((up - down) / (2 * step)).item()
    assert (x.grad * direction).sum().item() == pytest.approx(slope, rel=1e-5)


def test_gradients_of_32_bits_are_those_of_64_in_the_sizes_of_the_study():
    """PyTorch's oneDNN gets some layers wrong on some processors.

    Laid out channel by channel, as here, all layers of the studies passed the probe of
    `oacore.training.convolutions`, under AVX-512 and AVX2. With the channels of a pixel side by
    side, a shortcut of stride 2 and 8 channels ends the process (torch 2.13).
    """
    torch.manual_seed(0)
    encoder = ResNet2D(depth=10, width=16, stem_kernel=3, max_pool=False)
    twin = ResNet2D(depth=10, width=16, stem_kernel=3, max_pool=False).double()
    twin.load_state_dict(encoder.state_dict())
    x = torch.randn(8, 1, 80, 112)
    weight = torch.randn(8, encoder.n_features)
    (encoder(x) * weight).sum().backward()
    (twin(x.double()) * weight).sum().backward()
    for (name, ours), theirs in zip(encoder.named_parameters(), twin.parameters(), strict=True):
        gap = (ours.grad - theirs.grad).norm() / theirs.grad.norm()
        assert gap < 1e-3, name


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"depth": 20}, "depths"), ({"stages": 2}, "3 or 4"), ({"norm": "layer"}, "unknown norm"),
        ({"norm": "group", "width": 12}, "multiple of 8"), ({"stem_kernel": 4}, "no middle"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(settings, said):
    with pytest.raises(InputError, match=said):
        ResNet2D(**settings)
