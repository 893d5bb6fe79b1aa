"""M3T against published counts, torch's transformer, a functional ResNet and its own layout."""

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from oacore.errors import InputError
from oacore.models.m3t import M3T, PLANES, Layer, SliceNet, Tokens, load_imagenet, three_planes
from oacore.profile import load_profile

S = 16
TINY = {"size": S, "channels": 2, "depth2d": 18, "width2d": 2, "width": 8, "layers": 2, "heads": 2}
GIB = 2**30


def tiny(**other):
    """A small double-precision model whose batch normalisations are not at their start."""
    torch.manual_seed(0)
    model = M3T(**{**TINY, **other}).double()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model.eval()


def slice_net(channels, width):
    return SliceNet(18, channels, width, PLANES["as described"], checkpoint=False)


def volumes(batch=2, size=S):
    torch.manual_seed(1)
    return torch.randn(batch, 1, size, size, size, dtype=torch.float64)


# ---- sizes


def expected_count(size, channels, resnet, c2d, width, layers, mlp, norms):
    """Parameters by hand; `resnet` is torchvision's count without its classification layer."""
    stem = 125 * channels + 125 * channels**2 + 2 * channels + 2 * 2 * channels
    slices = resnet + 64 * 49 * (channels - 3)
    project = c2d * 2 * width + 2 * width + 2 * width * width + width
    tokens = (1 + 1 + 3 + 3 * size + 4) * width
    attention = 4 * (width * width + width)
    layer = attention + width * mlp + mlp + mlp * width + width + 2 * 2 * width
    return stem + slices + project + tokens + layers * layer + norms * 2 * width


@pytest.mark.parametrize(
    ("settings", "by_hand", "count"),
    [
        (
            {},
            (32, 25_557_032 - 2_049_000, 2048, 256, 8, 512, 1),
            29_229_536,
        ),  # 29.2 M, published
        ({"mlp": 768}, (32, 25_557_032 - 2_049_000, 2048, 256, 8, 768, 1), 30_280_160),
        (
            {
                "variant": "as released",
                "channels": 16,
                "depth2d": 18,
                "width": 128,
                "layers": 4,
            },
            (16, 11_689_512 - 513_000, 512, 128, 4, 256, 0),
            11_996_469 - 5 * (128 + 1),  # the release counts its head for five grades
        ),
    ],
)
def test_parameters_at_full_size(settings, by_hand, count):
    with torch.device("meta"):
        model = M3T(128, **settings)
    assert sum(p.numel() for p in model.parameters()) == count == expected_count(128, *by_hand)


@pytest.mark.parametrize("variant", ["as described", "as released"])
@pytest.mark.parametrize(("size", "depth"), [(16, 18), (21, 50)])
def test_any_cubic_size_gives_features_by_name(variant, size, depth):
    torch.manual_seed(0)
    model = M3T(**{**TINY, "size": size, "depth2d": depth}, variant=variant)
    x = torch.randn(2, 1, size, size, size)
    named = model.eval().features(x)
    assert list(named) == ["cls"] and named["cls"].shape == (2, model.n_features) == (2, 8)
    assert torch.equal(named["cls"], model(x))
    spread = named["cls"].std(dim=1, correction=0)
    if variant == "as described":  # after the last LayerNorm
        torch.testing.assert_close(spread, torch.ones(2), rtol=1e-3, atol=0)
    else:
        assert (spread - 1).abs().min() > 1e-2


# ---- slices


def test_slices_lie_where_they_should():
    i, j, k = torch.meshgrid(*[torch.arange(5)] * 3, indexing="ij")
    x = (100 * i + 10 * j + k).float()[None, None].repeat(2, 3, 1, 1, 1)
    x += torch.tensor([0, 1000, 2000]).view(1, 3, 1, 1, 1)  # a channel can be told by its value
    slices = three_planes(x, ("coronal", "sagittal", "axial"))
    assert slices.shape == (2, 15, 3, 5, 5)
    for n in range(5):
        assert torch.equal(slices[:, n], x[:, :, :, n])  # coronal: axis 3
        assert torch.equal(slices[:, 5 + n], x[:, :, n])  # sagittal: axis 2
        assert torch.equal(slices[:, 10 + n], x[:, :, :, :, n])  # axial: axis 4
    released = three_planes(x, PLANES["as released"])
    expected = [x.select(axis, n) for axis in (2, 3, 4) for n in range(5)]  # as axes follow
    assert torch.equal(released, torch.stack(expected, dim=1))


def test_a_voxel_reaches_the_three_tokens_of_its_slices():
    model = tiny(channels=1)
    model.stem = nn.Identity()
    before, (i, j, k) = volumes(), (3, 7, 12)
    after = before.clone()
    after[1, 0, i, j, k] += 1
    with torch.no_grad():
        z, w = (model.tokens(model.project(model.slices(x))) for x in (before, after))
    moved = (z - w).abs().amax(dim=2) > 1e-9
    assert not moved[0].any()
    assert moved[1].nonzero().flatten().tolist() == [1 + j, S + 2 + i, 2 * S + 3 + k]


def functional_resnet(state, x, stages, bottleneck):
    """torchvision's ResNet written out: 7x7 stride 2, max-pool, stride in the 3x3."""

    def norm(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))

    def unit(x, conv, bn, stride=1, padding=0):
        return norm(F.conv2d(x, state[f"{conv}.weight"], None, stride, padding), bn)

    x = F.relu(unit(x, "conv1", "bn1", 2, 3))
    x = F.max_pool2d(x, 3, 2, 1)
    for n, blocks in enumerate(stages, 1):
        for b in range(blocks):
            at, stride = f"layer{n}.{b}", 2 if n > 1 and b == 0 else 1
            short = x
            if f"{at}.downsample.0.weight" in state:
                short = unit(x, f"{at}.downsample.0", f"{at}.downsample.1", stride)
            if bottleneck:
                y = F.relu(unit(x, f"{at}.conv1", f"{at}.bn1"))
                y = F.relu(unit(y, f"{at}.conv2", f"{at}.bn2", stride, 1))
                y = unit(y, f"{at}.conv3", f"{at}.bn3")
            else:
                y = F.relu(unit(x, f"{at}.conv1", f"{at}.bn1", stride, 1))
                y = unit(y, f"{at}.conv2", f"{at}.bn2", 1, 1)
            x = F.relu(y + short)
    return x.mean(dim=(2, 3))


@pytest.mark.parametrize(("depth", "stages"), [(18, [2, 2, 2, 2]), (50, [3, 4, 6, 3])])
def test_every_slice_goes_through_torchvisions_resnet(depth, stages):
    net = tiny(depth2d=depth).slices
    x = torch.randn(2, 2, S, S, S, dtype=torch.float64)
    with torch.no_grad():
        vectors = net(x)
        for place, one in ((4, x[:, :, :, 4]), (S + 9, x[:, :, 9]), (2 * S, x[..., 0])):
            expected = functional_resnet(net.state_dict(), one, stages, depth == 50)
            torch.testing.assert_close(vectors[:, place], expected, rtol=1e-9, atol=1e-9)


# ---- tokens


def test_order_of_tokens_and_spans_of_embeddings():
    tokens = Tokens(size=3, width=1, sd=0.02)
    for parameter in tokens.parameters():
        nn.init.zeros_(parameter)
    one, two, three = [11, 12, 13], [21, 22, 23], [31, 32, 33]
    t = torch.tensor([one + two + three] * 2, dtype=torch.float32)[..., None]

    def row():
        z = tokens(t)
        assert z.shape == (2, 13, 1) and torch.equal(z[0], z[1])
        return z[0].flatten().tolist()

    tokens.cls.data[:] = 1
    tokens.sep.data[:] = 2
    assert row() == [1, *one, 2, *two, 2, *three, 2]
    t = t * 0
    tokens.cls.data[:] = tokens.sep.data[:] = 0
    tokens.plane.data[:, 0] = torch.tensor([5.0, 6.0, 7.0])
    assert row() == [5] * 5 + [6] * 4 + [7] * 4  # S + 2, S + 1, S + 1
    tokens.plane.data[:] = 0
    tokens.position.data[:, 0] = torch.arange(13)
    assert row() == list(range(13))


@pytest.mark.parametrize("variant", ["as described", "as released"])
def test_order_of_slices_is_known_from_the_embeddings_alone(variant):
    model = tiny(variant=variant)
    t = torch.randn(2, 3 * S, 8, dtype=torch.float64)
    shuffled = t[:, torch.randperm(3 * S)]

    def cls(t):
        with torch.no_grad():
            return model.norm(model.transformer(model.tokens(t))[:, 0])

    assert (cls(t) - cls(shuffled)).abs().max() > 1e-4
    model.tokens.plane.data[:] = model.tokens.plane.data[:1].clone()
    model.tokens.position.data[:] = model.tokens.position.data[:1].clone()
    torch.testing.assert_close(cls(t), cls(shuffled), rtol=1e-10, atol=1e-10)


def test_equal_embeddings_and_symmetric_kernels_make_the_axes_exchangeable():
    model = tiny()
    model.tokens.plane.data[:] = model.tokens.plane.data[:1].clone()
    model.tokens.position.data[:] = model.tokens.position.data[:1].clone()
    x = volumes()
    turned = x.permute(0, 1, 3, 4, 2)
    with torch.no_grad():
        assert (model(x) - model(turned)).abs().max() > 1e-4
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                axes = range(2, module.weight.ndim)
                turns = [module.weight.permute(0, 1, *order) for order in permutations(axes)]
                module.weight.data = torch.stack(turns).mean(dim=0)
        for order in permutations((2, 3, 4)):
            torch.testing.assert_close(model(x.permute(0, 1, *order)), model(x), rtol=1e-9, atol=0)
        plain, swapped = (model.slices(model.stem(v)) for v in (x, x.transpose(2, 3)))
        coronal, sagittal, axial = plain.chunk(3, dim=1)
        torch.testing.assert_close(swapped, torch.cat([sagittal, coronal, axial], dim=1))


# ---- transformer


def test_layer_equals_torchs_pre_norm_layer():
    torch.manual_seed(0)
    ours = Layer(width=12, heads=3, mlp=20, variant="as described").double()
    theirs = nn.TransformerEncoderLayer(
        12, 3, 20, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    names = {
        "norm1": "norm1",
        "qkv": "self_attn.in_proj_",
        "out": "self_attn.out_proj",
        "norm2": "norm2",
        "mlp.0": "linear1",
        "mlp.2": "linear2",
    }
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    source = theirs.state_dict()
    ours.load_state_dict(
        {
            f"{mine}.{kind}": source[yours + kind if yours.endswith("_") else f"{yours}.{kind}"]
            for mine, yours in names.items()
            for kind in ("weight", "bias")
        }
    )
    z = torch.randn(2, 7, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(z), theirs(z), rtol=1e-10, atol=1e-12)


def test_released_attention_divides_after_the_softmax():
    torch.manual_seed(0)
    layer = Layer(width=12, heads=3, mlp=24, variant="as released").double()
    nn.init.normal_(layer.out.bias)
    z = torch.randn(2, 7, 12, dtype=torch.float64)
    q, k, v = layer.qkv(z).split(12, dim=2)
    heads = []
    for h in range(3):
        part = slice(4 * h, 4 * h + 4)
        weights = (q[..., part] @ k[..., part].transpose(1, 2)).softmax(dim=2) / 12**0.5
        heads.append(weights @ v[..., part])
    expected = layer.out(torch.cat(heads, dim=2))
    torch.testing.assert_close(layer.attention(z), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("variant", ["as described", "as released"])
def test_released_variant_squares_what_is_sliced(variant):
    model, seen = tiny(variant=variant), {}
    model.stem.register_forward_hook(lambda m, i, o: seen.update(stem=o.clone()))
    model.slices.register_forward_pre_hook(lambda m, i: seen.update(sliced=i[0]))
    model(volumes())
    power = 2 if variant == "as released" else 1
    torch.testing.assert_close(seen["sliced"], seen["stem"] ** power)


# ---- gradients


@pytest.mark.parametrize("variant", ["as described", "as released"])
@pytest.mark.parametrize("depth", [18, 50])
def test_input_gradient_agrees_with_finite_differences(variant, depth):
    model = tiny(variant=variant, depth2d=depth)
    x = volumes().requires_grad_()
    weight = torch.randn(2, 8, dtype=torch.float64)
    (model(x) * weight).sum().backward()
    direction = torch.randn_like(x)
    step = 1e-6
    with torch.no_grad():
        up, down = ((model(x + s * step * direction) * weight).sum() for s in (1, -1))
    slope = ((up - down) / (2 * step)).item()
    assert (x.grad * direction).sum().item() == pytest.approx(slope, rel=1e-5)


def after_a_step(training, **settings):
    model = tiny(**settings).train(training)
    model.slices.layer1[0].bn1.momentum = 0.3  # not every layer's need be alike
    x = volumes().requires_grad_()
    (model(x) * torch.arange(16.0).reshape(2, 8)).sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return model, {
        "cls": model(x).detach(),
        "x": x.grad,
        **gradients,
        **dict(model.named_buffers()),
    }


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("depth", [18, 50])
def test_checkpointing_changes_neither_values_nor_gradients_nor_statistics(training, depth):
    _, plain = after_a_step(training, depth2d=depth)
    model, again = after_a_step(training, depth2d=depth, checkpoint=True)
    assert plain.keys() == again.keys() and all(torch.equal(plain[k], again[k]) for k in plain)
    # The step, and the forward pass after it.
    assert model.stem[1].num_batches_tracked == (2 if training else 0)
    assert (model.stem[1].momentum, model.slices.layer1[0].bn1.momentum) == (0.1, 0.3)


def test_statistics_are_those_of_all_slices_together():
    model = tiny(channels=1).train()
    model.stem = nn.Identity()
    bn, x = model.slices.bn1, volumes()
    bn.momentum = 1.0
    model(x)
    one_by_one = [
        model.slices.conv1(x.select(axis, n)) for axis in (2, 3, 4) for n in range(S)
    ]  # each (B, width, S/2, S/2)
    everything = torch.stack(one_by_one).detach()
    torch.testing.assert_close(bn.running_mean, everything.mean(dim=(0, 1, 3, 4)))
    spread = everything.transpose(0, 2).flatten(1).var(dim=1)
    torch.testing.assert_close(bn.running_var, spread)


def test_the_same_seed_trains_the_same():
    (_, first), (_, second) = (after_a_step(True) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


# ---- memory


def saved_activations(model, x):
    """Bytes that a forward pass keeps for the backward pass beside parameters and input."""
    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers(), x)}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that its address stays its own
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(x)
    return sum(storage.nbytes() for storage in kept.values())


def test_the_papers_setting_trains_within_16_gb():
    with torch.device("meta"):  # shapes only
        x = torch.empty(2, 1, 128, 128, 128)
        plain, lean = (saved_activations(M3T(128, checkpoint=c), x) for c in (False, True))
        net = M3T(128)
        stem = saved_activations(net.stem, x)
        stages, y = [], net.slices.first(torch.empty(2, 32, 128, 128, 128))
        for stage in (net.slices.layer1, net.slices.layer2, net.slices.layer3, net.slices.layer4):
            stages.append(saved_activations(stage, y))
            y = stage(y)
    assert plain > 20 * GIB  # does not fit, as it stands
    assert lean < 2.5 * GIB
    assert lean + max(stem, *stages) < 10 * GIB  # the rest is for gradients and work space


def test_the_released_setting_needs_no_checkpoints_within_16_gb():
    recipe = load_profile("paper").backbones["m3t"]
    with torch.device("meta"):
        x = torch.empty(recipe.batch_size, 1, *recipe.grid)
        net = M3T(**recipe.encoder)
        kept = saved_activations(net, x)
    assert not net.checkpoint and 6 * GIB < kept < 8 * GIB


# ---- ImageNet weights


def torchvision_state(depth):
    """Names and shapes of torchvision's resnet18 and resnet50, by their rule; random values."""
    stages, expansion = {18: ([2, 2, 2, 2], 1), 50: ([3, 4, 6, 3], 4)}[depth]
    shapes = {}

    def unit(conv, bn, out, into, kernel):
        shapes[f"{conv}.weight"] = (out, into, kernel, kernel)
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{bn}.{name}"] = (out,)
        shapes[f"{bn}.num_batches_tracked"] = ()

    unit("conv1", "bn1", 64, 3, 7)
    into = 64
    for n, (blocks, width) in enumerate(zip(stages, (64, 128, 256, 512), strict=True), 1):
        for b in range(blocks):
            at, out = f"layer{n}.{b}", width * expansion
            kernels = [1, 3, 1] if depth == 50 else [3, 3]
            widths = [into, *[width] * (len(kernels) - 1), out]
            for c, kernel in enumerate(kernels, 1):
                unit(f"{at}.conv{c}", f"{at}.bn{c}", widths[c], widths[c - 1], kernel)
            if b == 0 and into != out:
                unit(f"{at}.downsample.0", f"{at}.downsample.1", out, into, 1)
            into = out
    shapes["fc.weight"], shapes["fc.bias"] = (1000, into), (1000,)
    return {
        name: torch.tensor(7) if shape == () else torch.randn(shape)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize(("depth", "count"), [(18, 122), (50, 320)])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvisions_file_loads_strictly(tmp_path, depth, count, suffix):
    torch.manual_seed(0)
    state = torchvision_state(depth)
    assert len(state) == count
    file = tmp_path / f"resnet{depth}{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, file)
    net = M3T(16, channels=5, depth2d=depth, width=8, layers=1, heads=2, weights2d=file).slices
    loaded = net.state_dict()
    assert loaded.keys() == {name for name in state if not name.startswith("fc.")}
    assert all(torch.equal(loaded[name], state[name]) for name in loaded if name != "conv1.weight")
    # A grey picture gives the same in 3 colours and in 5 channels.
    grey = torch.randn(1, 1, 32, 32)
    expected = F.conv2d(grey.repeat(1, 3, 1, 1), state["conv1.weight"], None, 2, 3)
    result = net.conv1(grey.repeat(1, 5, 1, 1))
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    assert (loaded["conv1.weight"] == loaded["conv1.weight"][:, :1]).all()


def test_the_release_takes_all_but_the_first_convolution_from_the_file(tmp_path):
    state, file = torchvision_state(18), tmp_path / "resnet18.pth"
    torch.save(state, file)
    settings = {"channels": 5, "depth2d": 18, "width": 8, "layers": 1, "heads": 2}
    nets = []
    for weights in (None, file):
        torch.manual_seed(3)
        nets.append(M3T(16, **settings, variant="as released", weights2d=weights).slices)
    random, loaded = (net.state_dict() for net in nets)
    assert torch.equal(loaded["conv1.weight"], random["conv1.weight"])
    assert all(torch.equal(loaded[n], state[n]) for n in loaded if n != "conv1.weight")


def test_a_file_that_does_not_fit_is_refused(tmp_path):
    net = slice_net(4, 64)
    state = torchvision_state(18)
    early = {name: value for name, value in state.items() if "num_batches" not in name}
    file = tmp_path / "resnet.pth"
    torch.save(early, file)
    load_imagenet(net, file, own_first=False)  # torchvision's first files have no batch counters
    wrong = {
        "1 tensors missing": {n: v for n, v in state.items() if n != "layer2.0.bn1.bias"},
        "1 unknown": {**state, "layer5.weight": torch.zeros(1)},
        "1 of another shape": {**state, "bn1.weight": torch.zeros(63)},
        "another shape .'conv1.weight'": {**state, "conv1.weight": torch.zeros(64, 1, 7, 7)},
        "unknown .'layer1.0.bn3.bias'": torchvision_state(50),
        "no dictionary of tensors": {"epoch": 3},
    }
    for message, content in wrong.items():
        torch.save(content, file)
        with pytest.raises(InputError, match=message):
            load_imagenet(net, file, own_first=False)
    torch.save(state, file)
    with pytest.raises(InputError, match="width2d 64"):
        load_imagenet(slice_net(4, 8), file, own_first=False)


def test_a_file_that_is_no_weight_file_is_refused(tmp_path):
    net = slice_net(2, 2)
    for suffix in (".pth", ".safetensors"):
        with pytest.raises(InputError, match="no such file"):
            load_imagenet(net, tmp_path / f"absent{suffix}", own_first=False)
        (tmp_path / f"text{suffix}").write_text("not weights")
        with pytest.raises(InputError, match="not a weight file"):
            load_imagenet(net, tmp_path / f"text{suffix}", own_first=False)
    torch.save({"state_dict": nn.Linear}, tmp_path / "code.pth")  # a pickled class
    with pytest.raises(InputError, match="code.pth"):
        load_imagenet(net, tmp_path / "code.pth", own_first=False)


# ---- what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 15}, "at least 16"),
        ({"depth2d": 34}, "18, 50"),
        ({"variant": "original"}, "as described, as released"),
        ({"heads": 3}, "multiple of its 3 heads"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        M3T(**{**TINY, **settings})


@pytest.mark.parametrize(
    "shape", [(2, 1, 16, 16, 17), (2, 1, 32, 32, 32), (2, 2, 16, 16, 16), (1, 16, 16, 16)]
)
def test_a_volume_of_another_shape_is_refused(shape):
    with pytest.raises(InputError, match="cubic grid in the profile"):
        M3T(**TINY)(torch.zeros(shape))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module.module.", "model."])
def test_a_wrapped_file_of_imagenet_is_read(tmp_path, prefix):
    net, state = slice_net(4, 64), torchvision_state(18)
    torch.save({f"{prefix}{k}": v for k, v in state.items()}, tmp_path / "w.pth")
    load_imagenet(net, tmp_path / "w.pth", own_first=False)
    assert torch.equal(net.state_dict()["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
