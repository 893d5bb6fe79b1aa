"""Saliency maps against autograd, finite differences, captum and MONAI."""

import warnings
from itertools import product

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from monai.visualize import GradCAM, VanillaGrad
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from oacore.errors import InputError
from oacore.instruments.saliency import methods as saliency
from oacore.instruments.saliency.methods import METHODS, saliency_map, scaled
from oacore.models.heads import HierarchicalNet, build_model
from oacore.profile import load_profile

RECIPES = load_profile("smoke").backbones
QUICK = {
    "occlusion": {"parts": 2},
    "integrated gradients": {"steps": 8},
    "smoothgrad recommended": {"samples": 8},
}


def stirred(backbone, supervision="dual", heads="parallel", seed=0):
    """A model whose running statistics and biases are not those of a new one."""
    model = build_model(backbone, supervision, seed, RECIPES[backbone].encoder, heads)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                noise = 0.1 * torch.randn(value.shape, generator=generator)
                value.add_(noise.abs() if name.endswith("running_var") else noise)
    return model


def volumes_of(backbone, n=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, *RECIPES[backbone].grid, generator=generator)


class Linear(nn.Module):
    """An encoder whose features are the volume itself: every attribution is known."""

    def __init__(self, n):
        super().__init__()
        self.n_features = n

    def forward(self, x):
        return x.flatten(1)


def linear(grid=(4, 6, 5), supervision="dual"):
    torch.manual_seed(0)
    return HierarchicalNet(Linear(int(np.prod(grid))), supervision)


def own_logit(model, x, head):
    """The explained number, on its own: OA, or the greatest of five."""
    logits = model(x)[head]
    return logits if head == "oa" else logits.max(dim=1).values


@pytest.mark.parametrize("backbone", RECIPES)
@pytest.mark.parametrize("head", ["oa", "kl"])
def test_the_default_is_the_papers_gradient(backbone, head):
    model, volumes = stirred(backbone), volumes_of(backbone)
    found = saliency_map(model, volumes, head)
    model.eval()
    for volume, own in zip(volumes, found, strict=True):  # alone, not in a batch
        x = volume[None].clone().requires_grad_()
        expected = torch.autograd.grad(own_logit(model, x, head).sum(), x)[0][0, 0].abs().numpy()
        assert expected.std() > 0
        expected = (expected - expected.min()) / (expected.max() - expected.min())
        assert_allclose(own, expected, atol=2e-4)
        assert own.min() == 0 and own.max() == 1 and own.dtype == np.float32
    with torch.no_grad():  # as a caller who only looks may have it
        assert_array_equal(saliency_map(model, volumes, head), found)


@pytest.mark.parametrize("backbone", RECIPES)
def test_a_voxels_gradient_is_its_finite_difference(backbone):
    model, x = stirred(backbone).double().eval(), volumes_of(backbone, n=1).double()
    raw = saliency.gradient(saliency.Question(model, "oa", None), x.requires_grad_(), 0)[0, 0]
    place = np.unravel_index(int(raw.argmax()), raw.shape)
    step = torch.zeros_like(x)
    step[(0, 0, *place)] = 1e-5
    with torch.no_grad():
        slope = (model(x + step)["oa"] - model(x - step)["oa"]) / 2e-5
    assert_allclose(raw[place].item(), slope.abs().item(), rtol=1e-4)


@pytest.mark.parametrize("head", ["oa", "kl"])
def test_captum_and_monai_agree_on_the_gradient(head):
    model, volumes = stirred("resnet3d"), volumes_of("resnet3d")
    found = saliency_map(model, volumes, head)
    model.eval()
    grades = None if head == "oa" else model(volumes)["kl"].argmax(1)
    captums = Saliency(lambda x: model(x)[head]).attribute(
        volumes.clone().requires_grad_(), target=grades
    )
    assert_allclose(found, scaled(captums[:, 0].numpy()), atol=1e-6)

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            logits = self.model(x)[head]
            return logits[:, None] if head == "oa" else logits

    for volume, own in zip(volumes, found, strict=True):  # MONAI takes one at a time
        monais = VanillaGrad(Flat())(volume[None].clone()).abs()[0].detach().numpy()
        assert_allclose(own, scaled(monais)[0], atol=1e-6)


@pytest.mark.parametrize("backbone", RECIPES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_the_model_as_it_was(backbone, method):
    model, volumes = stirred(backbone), volumes_of(backbone, n=1)
    model.train()
    model.encoder.eval()
    model.heads["oa"].weight.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    kept, noise = volumes.clone(), torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = saliency_map(model, volumes, "kl", method, **QUICK.get(method, {}))
    assert found.shape == (1, *RECIPES[backbone].grid)
    assert found.min() == 0 and found.max() == 1 and found.std() > 0.001
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
    assert [w.requires_grad for w in model.heads.parameters()].count(False) == 1
    assert model.training and not model.encoder.training
    assert torch.equal(volumes, kept) and not volumes.requires_grad
    assert torch.equal(torch.get_rng_state(), noise)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("head", ["oa", "kl"])
def test_a_map_does_not_depend_on_the_rest_of_its_batch(method, head):
    model, volumes = stirred("resnet3d"), volumes_of("resnet3d", n=3)
    settings = QUICK.get(method, {})
    together = saliency_map(model, volumes, head, method, seed=4, **settings)
    alone = saliency_map(model, volumes[1:2], head, method, seed=4, **settings)
    assert_allclose(together[1:2], alone, atol=2e-4)


@pytest.mark.parametrize("head", ["oa", "kl"])
def test_closed_forms_of_a_linear_model(head):
    grid = (4, 6, 5)
    model, generator = linear(grid), torch.Generator().manual_seed(3)
    volumes = torch.randn(3, 1, *grid, generator=generator)
    weight = model.heads[head].weight.detach()  # (1, n) or (5, n)
    rows = torch.zeros(3, dtype=int) if head == "oa" else model(volumes)["kl"].argmax(1)
    assert head == "oa" or len(set(rows.tolist())) > 1
    slope = weight[rows].reshape(3, *grid)
    own, air = volumes[:, 0], volumes.amin(dim=(1, 2, 3, 4))[:, None, None, None]
    expected = {
        "gradient": slope,
        "smoothgrad": slope,
        "smoothgrad recommended": slope,
        "gradient x input": slope * own,
        "integrated gradients": slope * (own - air),
    }
    for method, values in expected.items():
        found = saliency_map(model, volumes, head, method)
        assert_allclose(found, scaled(values.abs().numpy()), atol=1e-5, err_msg=method)
    # A voxel a block: what the logit loses if this voxel becomes air.
    found = saliency_map(model, volumes, head, "occlusion", parts=6)
    assert_allclose(found, scaled(expected["integrated gradients"].abs().numpy()), atol=1e-5)


def test_the_released_default_averages_gradient_times_noisy_input():
    model, volumes = stirred("resnet3d").eval(), volumes_of("resnet3d", n=1)
    found = saliency_map(model, volumes, "kl", "released", seed=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        noisy = [torch.normal(volumes, 0.05) for _ in range(8)]
    total = 0
    for x in noisy:
        x.requires_grad_()
        total = total + torch.autograd.grad(own_logit(model, x, "kl").sum(), x)[0] * x
    expected = (total / 8).abs()[:, 0].detach().numpy()
    assert_allclose(found, scaled(expected), atol=1e-5)
    other = saliency_map(model, volumes, "kl", "released", seed=6)
    assert np.abs(found - other).max() > 1e-4
    louder = saliency_map(model, volumes, "kl", "released", seed=5, noise=0.5)
    assert np.abs(found - louder).max() > 1e-2


def test_the_released_default_asks_each_noisy_copy_about_its_own_grade():
    model, volumes = linear().eval(), torch.zeros(1, 1, 4, 6, 5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        noisy = [torch.normal(volumes, 1.0) for _ in range(8)]
    grades = [model(x)["kl"].argmax().item() for x in noisy]
    assert len(set(grades)) > 1
    slopes = model.heads["kl"].weight.detach()[grades].reshape(8, 4, 6, 5)
    expected = (slopes * torch.cat(noisy)[:, 0]).mean(0).abs()[None].numpy()
    found = saliency_map(model, volumes, "kl", "released", seed=2, noise=1.0)
    assert_allclose(found, scaled(expected), atol=1e-5)


def test_smoothgrad_without_noise_is_the_gradient():
    model, volumes = stirred("nnmamba"), volumes_of("nnmamba")
    plain = saliency_map(model, volumes, "oa")
    assert_allclose(saliency_map(model, volumes, "oa", "smoothgrad", noise=1e-7), plain, atol=1e-3)
    assert np.abs(saliency_map(model, volumes, "oa", "smoothgrad", noise=0.3) - plain).max() > 0.01


def test_the_recommended_smoothgrad_has_its_authors_noise():
    """A sum of squares has twice the voxel as gradient, so the map shows the mean noise."""
    torch.manual_seed(0)
    volumes = torch.cat([torch.randn(1, 1, 8, 9, 10), 5 * torch.randn(1, 1, 8, 9, 10)])

    class Squares(nn.Module):
        heads = ("oa",)

        def forward(self, x):
            return {"oa": (x**2).sum((1, 2, 3, 4))}

    ask = saliency.Question(Squares(), "oa", None)
    x = volumes.clone().requires_grad_()
    found = saliency.smoothgrad_recommended(ask, x, seed=2) / 2
    for own, one in zip(found[:, 0], volumes[:, 0], strict=True):
        span = float(one.max() - one.min())
        noise = (own - one.abs()) * one.sign()
        big = one.abs() > span / 10  # where the mean noise cannot change the sign
        assert_allclose(noise[big].std(), 0.15 * span / np.sqrt(50), rtol=0.1)
        assert abs(noise[big].mean()) < 0.15 * span / np.sqrt(50) / 5
    again = saliency.smoothgrad_recommended(ask, x, seed=2) / 2
    assert_array_equal(found, again)


def test_integrated_gradients_sum_up_to_what_the_image_adds():
    model, volumes = stirred("resnet3d").eval(), volumes_of("resnet3d", n=2).requires_grad_()
    ask = saliency.Question(model, "oa", None)
    air = saliency._air(volumes)
    assert_array_equal(air[1].unique(), volumes[1].min().detach())
    signed = IntegratedGradients(ask).attribute(volumes, baselines=air, n_steps=64)
    whole = (model(volumes)["oa"] - model(air)["oa"]).detach()
    assert_allclose(signed.sum((1, 2, 3, 4)).detach(), whole, rtol=0.05)
    found = saliency.integrated_gradients(ask, volumes, 0, steps=64)
    assert_allclose(found.detach(), signed.abs().detach(), atol=1e-6)


@pytest.mark.parametrize("backbone", ["resnet3d", "nnmamba"])
def test_grad_cam_is_monais(backbone):
    model, volumes = stirred(backbone).eval(), volumes_of(backbone, n=1)

    class Grades(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x)["kl"]

    layer = model.encoder.cam_layer
    cam = GradCAM(Grades(), f"model.encoder.{layer}", postprocessing=lambda x: x)
    grade = model(volumes)["kl"].argmax().item()
    expected = cam(volumes.clone().requires_grad_(), class_idx=grade)[0].detach().numpy()
    assert expected.max() > 0
    assert_allclose(saliency_map(model, volumes, "kl", "grad-cam"), scaled(expected), atol=1e-4)


@torch.no_grad()
def test_occlusion_block_by_block():
    model, volumes = stirred("resnet3d").eval(), volumes_of("resnet3d", n=1)
    grade = model(volumes)["kl"].argmax().item()
    whole = model(volumes)["kl"][0, grade]
    total, times = torch.zeros(volumes.shape), torch.zeros(volumes.shape)
    for z, y, x in product((0, 4, 8), (0, 8, 16), (0, 8, 16)):
        block = (0, 0, slice(z, z + 8), slice(y, y + 16), slice(x, x + 16))
        covered = volumes.clone()
        covered[block] = volumes.min()
        total[block] += whole - model(covered)["kl"][0, grade]
        times[block] += 1
    expected = scaled((total / times).abs()[:, 0].numpy())
    found = saliency_map(model, volumes, "kl", "occlusion", parts=2)
    assert_allclose(found, expected, atol=1e-4)


def test_cascaded_heads_are_explained_by_their_difference():
    model, volumes = stirred("resnet3d", heads="cascaded").eval(), volumes_of("resnet3d", n=1)
    x = volumes.clone().requires_grad_()
    kl = model.heads["kl"](model.encoder(x))
    no, yes = model.heads["oa"](kl)[0]
    expected = torch.autograd.grad(yes - no, x)[0][:, 0].abs().numpy()
    assert_allclose(saliency_map(model, volumes, "oa"), scaled(expected), atol=1e-5)


def test_scaling_of_flat_faint_and_strong_maps():
    faint = np.linspace(1e-9, 3e-9, 24, dtype=np.float32).reshape(2, 3, 4)
    maps = np.stack([np.full((2, 3, 4), 5, np.float32), faint, faint * 1e12, 0 * faint])
    found = scaled(maps)
    assert (found[0] == 0).all() and (found[3] == 0).all()
    assert_allclose(found[1], np.linspace(0, 1, 24).reshape(2, 3, 4), atol=1e-6)
    assert_allclose(found[2], found[1], atol=1e-6)


@pytest.mark.parametrize(
    ("supervision", "words", "shape", "message"),
    [
        ("single_oa", {"head": "kl"}, (1, 1, 4, 6, 5), "no head 'kl' here; choose oa"),
        ("dual", {"head": "age"}, (1, 1, 4, 6, 5), "choose oa or kl"),
        ("dual", {"head": "oa", "method": "lime"}, (1, 1, 4, 6, 5), "no method 'lime'"),
        ("dual", {"head": "oa"}, (1, 4, 6, 5), r"shape \(1, 4, 6, 5\)"),
        ("dual", {"head": "oa", "method": "grad-cam"}, (1, 1, 4, 6, 5), "no layer None"),
    ],
)
def test_what_cannot_be_explained(supervision, words, shape, message):
    with pytest.raises(InputError, match=message):
        saliency_map(linear(supervision=supervision), torch.ones(shape), **words)


def test_a_volume_that_is_not_finite_is_refused():
    model, volumes = stirred("resnet3d"), volumes_of("resnet3d", n=1)
    volumes[0, 0, 3, 4, 5] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        saliency_map(model, volumes, "oa")
