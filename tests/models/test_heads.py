"""The heads: parallel as in the paper's text, cascaded as in its released code."""

import pytest
import torch
from torch import nn

from oacore.errors import InputError
from oacore.models.heads import build_model
from oacore.models.shapes import last_volume, stages
from oacore.names import BACKBONE_NAMES
from oacore.profile import load_profile
from oacore.training.losses import hierarchical_loss
from tests.helpers import ROOT

SETTINGS = {"depth": 10, "width": 4}


def dual(heads):
    return build_model("resnet3d", "dual", 0, SETTINGS, heads)


def test_the_cascade_reads_the_oa_answer_off_the_kl_logits():
    """Linear(5, 2) under cross-entropy, written out, is what our one logit computes."""
    model = dual("cascaded")
    z = torch.randn(6, model.encoder.n_features, generator=torch.Generator().manual_seed(0))
    kl = torch.tensor([0, 1, 2, 3, 4, 2])
    logits = model.classify(z)
    grades = model.heads["kl"](z)
    two = model.heads["oa"](grades)
    assert two.shape == (6, 2) and torch.equal(logits["kl"], grades)
    assert torch.allclose(logits["oa"].sigmoid(), two.softmax(1)[:, 1])
    loss, parts = hierarchical_loss(logits, kl)
    released = nn.CrossEntropyLoss()(two, (kl >= 2).long())
    assert parts["oa"].item() == pytest.approx(released.item(), rel=1e-6)
    gradients = torch.autograd.grad(parts["oa"], list(model.heads.parameters()), retain_graph=True)
    expected = torch.autograd.grad(released, list(model.heads.parameters()))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(gradients, expected, strict=True))


@pytest.mark.parametrize(("heads", "moved"), [("parallel", True), ("cascaded", False)])
def test_what_the_oa_answer_depends_on(heads, moved):
    """A change of the features that leaves the KL logits alone moves only a parallel OA head."""
    model = dual(heads).double()
    weight = model.heads["kl"].weight.detach()
    z = torch.randn(1, weight.shape[1], dtype=torch.float64)
    *_, basis = torch.linalg.svd(weight)
    unseen = basis[-1]  # orthogonal to all five rows
    before, after = (model.classify(v)["oa"].item() for v in (z, z + unseen))
    assert (abs(before - after) > 1e-6) is moved


def test_single_models_know_no_cascade():
    for supervision in ("single_oa", "single_kl"):
        model = build_model("resnet3d", supervision, 0, SETTINGS, "cascaded")
        (head,) = model.heads.values()
        assert head.in_features == model.encoder.n_features


def test_unknown_heads_name_the_known_ones():
    with pytest.raises(InputError, match="parallel, cascaded"):
        dual("stacked")


def test_every_backbone_has_a_written_name():
    assert list(BACKBONE_NAMES)[:3] == ["resnet3d", "m3t", "nnmamba"]
    files = (ROOT / "oacore/models").glob("*.py")
    assert set(BACKBONE_NAMES) == {f.stem for f in files if "\nENCODER = " in f.read_text()}


@pytest.mark.parametrize("backbone", BACKBONE_NAMES)
def test_stages_and_features_of_every_backbone(backbone):
    recipe = load_profile("smoke").backbones[backbone]
    encoder = build_model(backbone, "dual", 0, recipe.encoder).encoder.eval()
    table = stages(encoder, recipe.grid)
    assert table["parameters"].gt(0).any() and table.index.is_unique
    x = torch.zeros(2, 1, *recipe.grid)
    made = {}
    for name, child in encoder.named_children():
        child.register_forward_hook(lambda m, i, o, name=name: made.update({name: o.shape}))
    named = encoder.features(x)
    assert next(reversed(named.values())).shape == (2, encoder.n_features)
    assert torch.equal(next(reversed(named.values())), encoder(x))
    told = table["output"].map(lambda words: [int(n) for n in words.split(" x ")])
    assert told.to_dict() == {name: list(shape[1:]) for name, shape in made.items()}
    count = sum(weight.numel() for weight in encoder.parameters())
    loose = sum(weight.numel() for _, weight in encoder.named_parameters(recurse=False))
    assert table["parameters"].sum() == count - loose
    layer = getattr(encoder, "cam_layer", None) or last_volume(encoder, recipe.grid)
    assert len(made[layer]) == 5


def test_grad_cam_looks_at_the_last_volume_that_a_child_makes():
    encoder = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Conv3d(2, 3, 1), nn.Flatten(), nn.LazyLinear(2))
    encoder(torch.zeros(1, 1, 4, 4, 4))
    assert last_volume(encoder, (4, 4, 4)) == "1"
    assert last_volume(nn.Sequential(nn.Flatten()), (4, 4, 4)) is None
