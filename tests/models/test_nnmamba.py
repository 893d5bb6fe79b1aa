"""nnMamba against its published size, mambapy, a functional restatement and finite differences."""

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

from oacore.errors import InputError
from oacore.models.nnmamba import MambaBlock, MambaLayer, NNMamba


def stirred(module, seed=0):
    """Take every parameter and every running statistic away from its initial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                noise = 0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
                value.add_(noise.abs() if name.endswith("running_var") else noise)
    return module


def mambapy_block(block, dim, states=8):
    mamba = pytest.importorskip("mambapy.mamba")
    other = mamba.MambaBlock(mamba.MambaConfig(d_model=dim, n_layers=1, d_state=states))
    other.load_state_dict(block.state_dict(), strict=True)
    return other


def test_parameters_with_seven_outputs():
    encoder = NNMamba()
    head = nn.Linear(encoder.n_features, 7)
    assert sum(p.numel() for m in (encoder, head) for p in m.parameters()) == 12_876_519
    assert sum(p.numel() for p in encoder.mamba.block.parameters()) == 8_384


def test_mamba_block_equals_mambapy():
    torch.manual_seed(0)
    block = stirred(MambaBlock(32, states=8))
    other = mambapy_block(block, 32)
    sequence = torch.randn(2, 32, 83)
    x, y = sequence.clone().requires_grad_(), sequence.mT.clone().requires_grad_()
    ours, theirs = block(x), other(y).mT
    assert ours.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    weight = torch.randn_like(ours)
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    pairs = {"input": (x.grad, y.grad.mT)} | {
        name: (p.grad, dict(other.named_parameters())[name].grad)
        for name, p in block.named_parameters()
    }
    assert len(pairs) == 10
    for name, (a, b) in pairs.items():
        assert (a - b).norm() < 1e-5 * b.norm(), name


def test_mamba_block_starts_as_mamba_does():
    torch.manual_seed(0)
    block = MambaBlock(dim=2000, states=4)
    assert block.dt_rank == 125
    torch.testing.assert_close(-block.A_log.exp(), -torch.arange(1.0, 5).expand(4000, 4))
    assert (block.D == 1).all()
    steps = F.softplus(block.dt_proj.bias.double()).log10().detach().numpy()
    assert stats.kstest(steps, stats.uniform(-3, 2).cdf).pvalue > 0.01
    assert -3.0001 < steps.min() < -2.995 and -1.005 < steps.max() < -0.9999
    weights = block.dt_proj.weight.detach().flatten().numpy()[:5000]
    bound = 125**-0.5
    assert stats.kstest(weights, stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.01


def test_mamba_block_is_causal():
    torch.manual_seed(0)
    block = stirred(MambaBlock(8)).double().eval()
    sequence = torch.randn(2, 8, 60, dtype=torch.float64)
    for t in (0, 17, 59):
        changed = sequence.clone()
        changed[:, :, t] += 1
        difference = (block(changed) - block(sequence)).abs().amax(dim=(0, 1))
        assert (difference[:t] == 0).all() and (difference[t] > 1e-6)
        # The state carries the change beyond the convolution's four tokens.
        assert (difference[t:][4:12] > 0).all()


def test_mamba_layer_reads_voxels_row_by_row():
    torch.manual_seed(0)
    layer = stirred(MambaLayer(8, states=8, conv=4, expand=2)).double().eval()
    nn.init.constant_(layer.after[1].bias, 5.0)  # no ReLU hides a difference
    volume = torch.randn(1, 8, 3, 4, 5, dtype=torch.float64)
    changed = volume.clone()
    changed[:, :, 1, 2, 3] += 1
    difference = (layer(changed) - layer(volume)).abs().amax(dim=(0, 1)).flatten()
    first = (1 * 4 + 2) * 5 + 3  # D slowest, W fastest
    assert difference.nonzero().min() == first


def restated(encoder, volume):
    """The whole encoder in evaluation, from its description and mambapy's block."""
    state = encoder.state_dict()

    def conv(x, name, **kwargs):
        return F.conv3d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **kwargs)

    def norm(x, name):
        mean, var, weight, bias = (
            state[f"{name}.{key}"][:, None, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    x = norm(conv(volume, "stem.0", stride=2, padding=1), "stem.1").clamp(min=0)
    x = norm(conv(x, "stem.3", padding=1), "stem.4").clamp(min=0)
    tokens = norm(conv(x, "mamba.before.0"), "mamba.before.1").clamp(min=0)
    batch, channels, *grid = tokens.shape
    tokens = tokens.permute(0, 2, 3, 4, 1).reshape(batch, -1, channels)
    tokens = tokens + mambapy_block(encoder.mamba.block, channels).to(volume.dtype)(tokens)
    mixed = tokens.reshape(batch, *grid, channels).permute(0, 4, 1, 2, 3)
    x = x + norm(conv(mixed, "mamba.after.0"), "mamba.after.1").clamp(min=0)

    pools = []
    for stage in ("stage2", "stage3", "stage4"):
        blocks = sorted({int(key.split(".")[1]) for key in state if key.startswith(stage)})
        for i in blocks:
            name, stride = f"{stage}.{i}", 2 if i == 0 else 1
            y = norm(conv(x, f"{name}.conv1", stride=stride, padding=1), f"{name}.bn1")
            y = norm(conv(y.clamp(min=0), f"{name}.conv2", padding=1), f"{name}.bn2")
            if i == 0:
                x = norm(conv(x, f"{name}.downsample.0", stride=2), f"{name}.downsample.1")
            x = (x + y).clamp(min=0)
        pools.append(x.flatten(2).mean(dim=2))
    pooled = torch.cat(pools, dim=1)
    hidden = pooled @ state["hidden.0.weight"].T + state["hidden.0.bias"]
    return {"pooled": pooled, "hidden": hidden.clamp(min=0)}


def test_encoder_equals_its_description_restated():
    torch.manual_seed(0)
    encoder = stirred(NNMamba(channels=4, blocks=2, hidden=6)).double().eval()
    volume = torch.randn(2, 1, 16, 20, 24, dtype=torch.float64)
    with torch.no_grad():
        ours, theirs = encoder.features(volume), restated(encoder, volume)
    assert list(ours) == list(theirs) == ["pooled", "hidden"]
    for name, value in ours.items():
        assert (value > 0).any() and value.std() > 0.1
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-6)  # A is fp32 there


@pytest.mark.parametrize("grid", [(32, 32, 48), (17, 20, 35)])
def test_shapes_at_each_stage(grid):
    encoder = NNMamba(channels=4, blocks=2, hidden=5).eval()
    shapes = {}
    for name, child in encoder.named_children():
        child.register_forward_hook(lambda m, i, o, name=name: shapes.update({name: o.shape}))
    features = encoder.features(torch.zeros(2, 1, *grid))

    def halved(times):
        return tuple(-(-n // 2**times) for n in grid)

    assert shapes == {
        "stem": (2, 4, *halved(1)),
        "mamba": (2, 4, *halved(1)),
        "stage2": (2, 8, *halved(2)),
        "stage3": (2, 16, *halved(3)),
        "stage4": (2, 32, *halved(4)),
        "hidden": (2, 5),
    }
    assert features["pooled"].shape == (2, 56)
    assert features["hidden"].shape == (2, encoder.n_features) == (2, 5)


def test_blocks_and_shortcuts_of_the_stages():
    encoder = NNMamba(channels=4, blocks=3)
    for stage in (encoder.stage2, encoder.stage3, encoder.stage4):
        assert [block.downsample is not None for block in stage] == [True, False, False]
        assert [block.conv1.stride[0] for block in stage] == [2, 1, 1]
    biased = [
        n for n, m in encoder.named_modules() if isinstance(m, nn.Conv3d) and m.bias is not None
    ]
    assert biased == ["stem.0", "stem.3"]


def test_features_are_what_forward_returns():
    encoder = stirred(NNMamba(channels=4, blocks=1)).eval()
    volume = torch.randn(2, 1, 16, 16, 16)
    features = encoder.features(volume)
    assert list(features) == ["pooled", "hidden"]
    assert torch.equal(encoder(volume), features["hidden"])
    assert {k: v.shape[1] for k, v in features.items()} == {"pooled": 56, "hidden": 4}


def test_dropout_is_active_only_in_training():
    torch.manual_seed(0)
    encoder = stirred(NNMamba(channels=2, blocks=1, hidden=4000)).eval()
    volume = torch.randn(1, 1, 16, 16, 16)
    still = encoder.features(volume)
    assert torch.equal(encoder(volume), still["hidden"])
    encoder.hidden.train()
    dropped = encoder.features(volume)
    assert torch.equal(dropped["pooled"], still["pooled"])
    alive = still["hidden"] > 0
    kept = dropped["hidden"] > 0
    assert kept[alive].float().mean().item() == pytest.approx(0.5, abs=0.05)
    torch.testing.assert_close(dropped["hidden"][kept], 2 * still["hidden"][kept])


@pytest.mark.parametrize("training", [False, True])
def test_input_gradient_agrees_with_finite_differences(training):
    torch.manual_seed(0)
    encoder = stirred(NNMamba(channels=4, blocks=1, dropout=0.0)).double().train(training)
    x = torch.randn(2, 1, 16, 16, 16, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, encoder.n_features, dtype=torch.float64)
    features = encoder(x)
    assert features.dtype == torch.float64 and (features > 0).any()
    (features * weight).sum().backward()
    step = 1e-6
    for _ in range(3):
        direction = torch.randn_like(x)
        with torch.no_grad():
            up, down = ((encoder(x + s * step * direction) * weight).sum() for s in (1, -1))
        slope = ((up - down) / (2 * step)).item()
        assert (x.grad * direction).sum().item() == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("grid", [(32, 32, 32), (16, 48, 32)])
def test_bf16_autocast_stays_close_to_fp32(grid):
    torch.manual_seed(0)
    encoder = stirred(NNMamba(channels=8, blocks=1)).eval()
    volume = torch.randn(2, 1, *grid)

    def run(enabled):
        encoder.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            pooled = encoder.features(volume)["pooled"]
        # Memory that a convolution leaves unwritten shows as such, not as zeros.
        junk = [torch.full((8 * 2**i,), 3e38) for i in range(18) for _ in range(4)]
        del junk
        pooled.float().square().mean().backward()
        gradients = {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}
        return pooled.float(), gradients

    (exact, exact_gradients), (half, half_gradients) = run(False), run(True)
    assert (half - exact).norm() < 0.02 * exact.norm()
    assert len(half_gradients) == len(list(encoder.parameters())) - 2  # all but `hidden`
    for name, gradient in half_gradients.items():
        likeness = F.cosine_similarity(gradient.flatten(), exact_gradients[name].flatten(), dim=0)
        assert gradient.isfinite().all() and likeness > 0.96, name


def test_saved_activations_fit_the_published_setting():
    """Bytes that autograd keeps a voxel: 584 are 11.4 GiB for two volumes of 160x256x256."""
    encoder = NNMamba(blocks=3)
    weights = {p.untyped_storage().data_ptr() for p in encoder.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage  # held, so that no address comes twice
        return tensor

    volume = torch.randn(1, 1, 32, 32, 32)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = encoder(volume)
    assert features.requires_grad
    assert sum(storage.nbytes() for storage in kept.values()) / volume.numel() < 584


@pytest.mark.parametrize("setting", ["channels", "blocks", "hidden", "states", "conv", "expand"])
def test_a_size_below_one_is_refused(setting):
    with pytest.raises(InputError, match=f"{setting} is 0"):
        NNMamba(**{setting: 0})
