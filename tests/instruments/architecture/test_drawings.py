"""Drawings of the encoders against the shapes of a real pass; attention against torch's own."""

import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from oacore.data.cache import Volumes
from oacore.instruments.architecture.attention import (
    attention_weights,
    class_attention,
    mean_class_attention,
    queries_keys_values,
    token_sequence,
    token_table,
)
from oacore.instruments.architecture.drawings import FONT, LINE, WIDTH, architecture, lines
from oacore.instruments.architecture.memory import influence, kept_per_token
from oacore.models.heads import encoder_class
from oacore.models.m3t import M3T
from oacore.models.nnmamba import NNMamba
from oacore.models.resnet3d import ResNet3D
from oacore.models.scan.selective import selective_scan, sequential_scan
from oacore.models.shapes import shapes
from oacore.profile import load_profile

PROFILES = ("smoke", "laptop", "record", "study", "paper", "text")
RECIPES = [
    (name, model, recipe)
    for name in PROFILES
    for model, recipe in load_profile(name).backbones.items()
]
TINY_M3T = {"channels": 2, "depth2d": 18, "width2d": 4, "width": 16, "layers": 3, "heads": 2}


def drawn(recipe):
    with torch.device("meta"):
        encoder = encoder_class(recipe.backbone)(**recipe.encoder)
    return architecture(encoder, recipe.grid)


def told(fig, name):
    """All numbers in the words that tell a module's shape."""
    (words,) = {note.text for note in fig.layout.annotations if note.name == name}
    return [int(number) for number in re.findall(r"\d+", words.replace(",", ""))]


# ---- the numbers on the drawings


def test_resnet3d_tells_the_shapes_of_a_real_pass():
    torch.manual_seed(0)
    encoder = ResNet3D(18, width=4).eval()
    fig = architecture(encoder, (24, 40, 33))
    x = torch.zeros(1, 1, 24, 40, 33)
    assert told(fig, "volume") == [1, 24, 40, 33]
    x = encoder.act(encoder.bn1(encoder.conv1(x)))
    assert told(fig, "act") == list(x.shape[1:])
    x = encoder.maxpool(x)
    assert told(fig, "maxpool") == list(x.shape[1:])
    for name in ("layer1", "layer2", "layer3", "layer4"):
        x = getattr(encoder, name)(x)
        assert told(fig, name) == list(x.shape[1:])
    assert told(fig, "output") == [encoder(torch.zeros(1, 1, 24, 40, 33)).shape[1]] == [32]
    operations = [note.text for note in fig.layout.annotations]
    assert "conv 7³<br>stride 2<br>BN, ReLU" in operations
    assert "max-pool 3³<br>stride 2" in operations
    assert operations.count("2 residual<br>blocks") == 1  # layer1 neither strides nor dilates
    assert operations.count("2 residual<br>blocks<br>stride 2") == 1
    assert {f"2 residual<br>blocks<br>dilation {d}" for d in (2, 4)} <= set(operations)


def test_m3t_tells_the_shapes_of_a_real_pass():
    torch.manual_seed(0)
    encoder = M3T(20, **TINY_M3T).eval()
    fig = architecture(encoder, (20, 20, 20))
    with torch.no_grad():
        stem = encoder.stem(torch.zeros(1, 1, 20, 20, 20))
        slices = encoder.slices(stem)
        projected = encoder.project(slices)
        tokens = encoder.tokens(projected)
        cls = encoder.norm(encoder.transformer(tokens)[:, 0])
    assert told(fig, "stem") == list(stem.shape[1:])
    assert told(fig, "slices") == [slices.shape[1] // 3, slices.shape[2]] == [20, 32]
    assert told(fig, "project") == [projected.shape[1] // 3, projected.shape[2]]
    assert told(fig, "tokens") == list(tokens.shape[1:]) == [64, 16]
    assert told(fig, "norm") == [cls.shape[1]]
    words = " ".join(note.text for note in fig.layout.annotations)
    assert "3 transformer layers" in words and "2 heads; then 16 → 32 → 16" in words
    assert "2 × [conv 5³" in words and "2+2+2+2 blocks" in words and "1×1 pixels" in words
    strip = [box for box in fig.layout.shapes if box.name == "tokens"]
    kinds = token_table(20, encoder.planes)["kind"]
    assert len(strip) == (kinds != kinds.shift()).sum()


def test_nnmamba_tells_the_shapes_of_a_real_pass():
    torch.manual_seed(0)
    encoder = NNMamba(channels=3, blocks=2, hidden=5).eval()
    fig = architecture(encoder, (10, 18, 22))
    seen = []
    encoder.mamba.block.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].shape))
    with torch.no_grad():
        named = encoder.features(torch.zeros(1, 1, 10, 18, 22))
        c1 = encoder.stem(torch.zeros(1, 1, 10, 18, 22))
        c2 = encoder.stage2(c1 + encoder.mamba(c1))
        c3 = encoder.stage3(c2)
        c4 = encoder.stage4(c3)
    assert told(fig, "stem") == list(c1.shape[1:])
    assert told(fig, "mamba.block") == [seen[0][2], seen[0][1]]
    for name, c in {"stage2": c2, "stage3": c3, "stage4": c4}.items():
        below, inside = [n.text for n in fig.layout.annotations if n.name == name]
        assert [int(n) for n in re.findall(r"\d+", below)] == list(c.shape[1:])
        assert int(inside) == c.shape[1]
    assert told(fig, "pooled") == [named["pooled"].shape[1]] == [42]
    assert told(fig, "hidden") == [named["hidden"].shape[1]] == [5]
    words = " ".join(note.text for note in fig.layout.annotations)
    assert "6 channels, 8 states" in words and "2 residual<br>blocks<br>stride 2" in words


def test_the_papers_grid_takes_no_memory():
    recipes = load_profile("text").backbones
    resnet, m3t, nnmamba = (drawn(recipes[name]) for name in ("resnet3d", "m3t", "nnmamba"))
    assert told(resnet, "layer4") == [512, 20, 32, 32]
    assert told(m3t, "tokens") == [388, 256] and told(m3t, "slices") == [128, 2048]
    assert told(nnmamba, "mamba.block") == [1_310_720, 32]
    assert told(nnmamba, "pooled") == [448] and told(nnmamba, "hidden") == [32]


def test_shapes_leave_the_model_as_it_was():
    encoder = NNMamba(channels=2, blocks=1)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    found = shapes(encoder, (8, 8, 8))
    assert found["volume"] == (1, 1, 8, 8, 8) and found["output"] == (1, 2)
    assert encoder.training and not any(m._forward_hooks for m in encoder.modules())
    after = encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert encoder.mamba.block(torch.randn(1, 2, 9)).std() > 0  # the block still scans


# ---- how they look


@pytest.mark.parametrize(("profile", "model", "recipe"), RECIPES)
def test_everything_lies_on_the_sheet_and_no_words_on_others(profile, model, recipe):
    fig = drawn(recipe)
    height = fig.layout.height
    assert fig.layout.width == WIDTH and list(fig.layout.yaxis.range) == [height, 0]
    assert list(fig.layout.xaxis.range) == [0, WIDTH] and fig.layout.margin.l == 0
    for box in fig.layout.shapes:
        assert 0 <= box.x0 < box.x1 <= WIDTH and 0 <= box.y0 < box.y1 <= height, box.name
    places = []
    for note in fig.layout.annotations:
        if not note.text:  # an arrow
            ends = (note.x, note.ax), (note.y, note.ay)
            assert all(0 <= x <= WIDTH for x in ends[0]) and all(0 <= y <= height for y in ends[1])
            continue
        assert note.font.size == FONT >= 13
        written = re.sub("<(?!br).*?>", "", note.text).split("<br>")
        # In a wide font, such as a Linux without others has: digits are wider than letters.
        wide = max(len(w) * FONT * (0.56 if re.search("[a-z]", w) else 0.67) for w in written)
        left = note.x - wide * {"left": 0, "center": 0.5, "right": 1}[note.xanchor]
        places.append((note.text, left, left + wide, note.y, note.y + LINE * len(written)))
    for words, left, right, top, bottom in places:
        assert left >= -2 and right <= WIDTH + 2 and top >= 0 and bottom <= height, words
    for a, b in combinations(places, 2):
        apart = a[2] <= b[1] or b[2] <= a[1] or a[4] <= b[3] or b[4] <= a[3]
        assert apart, f"{a[0]} lies on {b[0]}"


def test_height_follows_the_resolution_and_width_the_channels():
    fig = drawn(load_profile("laptop").backbones["resnet3d"])
    boxes = {box.name: (box.x1 - box.x0, box.y1 - box.y0) for box in fig.layout.shapes}
    names = ("volume", "act", "maxpool", "layer2")
    assert all(boxes[a][1] > boxes[b][1] for a, b in combinations(names, 2))
    names = ("volume", "act", "layer2", "layer3", "layer4")
    assert all(boxes[a][0] < boxes[b][0] for a, b in combinations(names, 2))
    assert boxes["layer2"][1] == boxes["layer4"][1] and boxes["layer4"][0] == boxes["output"][0]


def test_an_encoder_without_a_drawing_of_its_own_is_a_row_of_its_children():
    encoder = nn.Sequential(
        nn.Conv3d(1, 6, 3, stride=2, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    )
    fig = architecture(encoder, (12, 16, 20))
    assert told(fig, "volume") == [1, 12, 16, 20]
    assert told(fig, "0") == [6, 6, 8, 10] and told(fig, "2") == [6]
    assert [box.name for box in fig.layout.shapes] == ["volume", "0", "1", "2"]


def test_lines_are_told_apart_by_more_than_colour():
    table = token_table(3, ("coronal", "sagittal", "axial")).dropna().assign(worth=[1.0, 2, 3] * 3)
    fig = lines(table, "slice", "worth", "kind", slice="slice", worth="attention")
    assert [line.name for line in fig.data] == ["coronal", "sagittal", "axial"]
    assert len({line.line.dash for line in fig.data}) == 3
    assert all(list(line.y) == [1, 2, 3] for line in fig.data)
    assert fig.layout.yaxis.title.text == "attention"


# ---- tokens and attention


def m3t(variant="as described", size=16):
    torch.manual_seed(0)
    return M3T(size, **TINY_M3T, variant=variant).double().eval()


@pytest.mark.parametrize("variant", ["as described", "as released"])
def test_tokens_are_named_after_the_slices_that_move_them(variant):
    encoder = m3t(variant)
    encoder.stem = nn.Conv3d(1, 2, 1, dtype=torch.float64)  # sees one voxel
    table = token_table(16, encoder.planes)
    assert len(table) == encoder.tokens.position.shape[0]
    before = torch.randn(1, 1, 16, 16, 16, dtype=torch.float64)
    for place in ((3, 7, 12), (0, 15, 8)):
        after = before.clone()
        after[0, 0, *place] += 1
        with torch.no_grad():
            z, w = (token_sequence(encoder, x) for x in (before, after))
        moved = table[((z - w).abs().amax(dim=2) > 1e-9)[0].numpy()]
        expected = {"sagittal": place[0], "coronal": place[1], "axial": place[2]}
        assert dict(zip(moved["kind"], moved["slice"], strict=True)) == expected
    kinds = table["kind"].value_counts()
    assert kinds["class"] == 1 and kinds["separator"] == 3 and table["kind"][0] == "class"
    assert table["slice"].isna().sum() == 4


@pytest.mark.parametrize("variant", ["as described", "as released"])
def test_attention_weights_are_those_of_the_layer(variant):
    layer = m3t(variant).transformer[1]
    nn.init.normal_(layer.qkv.bias)
    z = torch.randn(3, 11, 16, dtype=torch.float64)
    weights = attention_weights(layer, z)
    assert weights.shape == (3, 2, 11, 11)
    v = layer.qkv(z)[..., 32:].reshape(3, 11, 2, 8).transpose(1, 2)
    mixed = weights @ v / (16**0.5 if variant == "as released" else 1)
    output = layer.out(mixed.transpose(1, 2).reshape(3, 11, 16))
    torch.testing.assert_close(output, layer.attention(z), rtol=1e-12, atol=1e-12)


def test_class_attention_is_torchs_own():
    encoder = m3t()
    for parameter in encoder.transformer.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    x = torch.randn(2, 1, 16, 16, 16, dtype=torch.float64)
    rows = class_attention(encoder, x)
    assert rows.shape == (3, 2, 2, 52)
    torch.testing.assert_close(rows.sum(-1), torch.ones(3, 2, 2, dtype=torch.float64))
    with torch.no_grad():
        z = token_sequence(encoder, x)
        for row, layer in zip(rows, encoder.transformer, strict=True):
            torchs = nn.MultiheadAttention(16, 2, batch_first=True, dtype=torch.float64)
            torchs.in_proj_weight.copy_(layer.qkv.weight)
            torchs.in_proj_bias.copy_(layer.qkv.bias)
            n = layer.norm1(z)
            _, weights = torchs(n, n, n, average_attn_weights=False)
            torch.testing.assert_close(row, weights[:, :, 0], rtol=1e-9, atol=1e-12)
            z = layer(z)
    assert not any(layer._forward_pre_hooks for layer in encoder.transformer)


def test_the_transformer_makes_the_features_of_the_token_sequence():
    encoder = m3t()
    x = torch.randn(2, 1, 16, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        z = token_sequence(encoder, x)
        assert z.shape == (2, 52, 16)
        torch.testing.assert_close(encoder.norm(encoder.transformer(z)[:, 0]), encoder(x))


def test_queries_keys_and_values_give_torchs_attention():
    layer = m3t().transformer[1]
    z = torch.randn(3, 11, 16, dtype=torch.float64)
    q, k, v = queries_keys_values(layer, z)
    assert q.shape == (3, 2, 11, 8)
    mixed = nn.functional.scaled_dot_product_attention(q, k, v)
    output = layer.out(mixed.transpose(1, 2).reshape(3, 11, 16))
    torch.testing.assert_close(output, layer.attention(z))


def test_the_mean_attention_is_over_the_knees_asked_for():
    encoder = m3t().float()
    images = np.random.default_rng(0).normal(size=(6, 16, 16, 16)).astype(np.float16)
    volumes = Volumes(np.arange(10, 16), images, np.zeros(images.shape, np.uint8),
                      np.ones((6, 3), np.float32), np.zeros((6, 5)), "")  # fmt: skip
    ids = pd.Series([15, 10, 12, 13, 11])  # more than are read at a time
    found = mean_class_attention(encoder, volumes, ids)
    chosen = torch.from_numpy(images[[5, 0, 2, 3, 1]]).float()[:, None]
    torch.testing.assert_close(found, class_attention(encoder, chosen).mean(dim=(1, 2)))


# ---- what a scan keeps, and how far it reaches


def test_what_is_kept_is_counted_once_a_tensor():
    product = kept_per_token(lambda u, delta, A, B, C, z: u * z, inner=3, states=2, length=10)
    assert product == 2 * 3 * 4  # u and z, three channels of 32 bits
    square = kept_per_token(lambda u, delta, A, B, C, z: u * u, inner=3, states=2, length=10)
    assert square == 3 * 4


def test_the_plain_loop_keeps_all_states_and_selective_scan_does_not():
    inner, states = 4, 8
    loop = kept_per_token(sequential_scan, inner, states, 64)
    ours = kept_per_token(selective_scan, inner, states, 64)
    assert loop > 4 * inner * states > ours


def test_influence_is_the_jacobians_of_the_last_token():
    torch.manual_seed(0)
    encoder = NNMamba(channels=2, hidden=4).eval()
    x = torch.randn(1, 1, 8, 8, 8)
    found = influence(encoder, x, length=6)
    with torch.no_grad():
        sequence = encoder.mamba.before(encoder.stem(x)).flatten(2)
    squares = []
    for start in range(0, 8 * 6, 6):
        window = sequence[:, :, start : start + 6]
        slopes = torch.autograd.functional.jacobian(
            lambda part: encoder.mamba.block(part)[0, :, -1], window
        )  # (channels, 1, channels, 6)
        squares.append(slopes.square().sum(dim=(0, 1, 2)))
    by_distance = torch.stack(squares).mean(dim=0).sqrt().flip(0)
    torch.testing.assert_close(found, by_distance / by_distance[0], rtol=1e-4, atol=1e-6)
    assert found[0] == 1 and (found > 0).all()
