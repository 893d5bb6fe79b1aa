"""M3T as released against the plainest network that does what its description says.

The description, in our words. Two 5 x 5 x 5 convolutions, each with batch normalisation and ReLU,
keep the volume's size. Their output times itself is cut along its first spatial axis, then the
second, then the third, and every slice goes through one ResNet-18 and two linear layers. The row is
a class token, the slices of the first axis, a separator, those of the second, the separator, those
of the third, the separator; planes and places have embeddings. In each layer attention is the
softmax of q k over sqrt(width), whatever the number of heads. The class token of the last layer is
the feature vector, as it is.
"""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

from oacore.models.m3t import M3T

S = 16
SMALL = {"channels": 3, "depth2d": 18, "width2d": 4, "width": 12, "layers": 2, "heads": 3}


class Block(nn.Module):
    def __init__(self, into, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        if stride > 1:
            shortcut = nn.Conv2d(into, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(out))

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


class PlainResNet(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for n in range(4):
            out, stride = width * 2**n, 1 if n == 0 else 2
            into = out // stride
            stage = nn.Sequential(Block(into, out, stride), Block(out, out, 1))
            setattr(self, f"layer{n + 1}", stage)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3))


class PlainLayer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, z):
        n, answers = self.norm1(z), []
        queries, keys, values = (f(n).chunk(self.heads, dim=2) for f in (self.q, self.k, self.v))
        for q, k, v in zip(queries, keys, values, strict=True):
            weights = torch.einsum("bid,bjd->bij", q, k).softmax(dim=2) / z.shape[2] ** 0.5
            answers.append(torch.einsum("bij,bjd->bid", weights, v))
        z = z + self.out(torch.cat(answers, dim=2))
        return z + self.down(nn.functional.gelu(self.up(self.norm2(z))))


class Plain(nn.Module):
    def __init__(self, channels, depth2d, width2d, width, layers, heads):
        assert depth2d == 18
        super().__init__()
        self.conv1, self.bn1 = nn.Conv3d(1, channels, 5, padding=2), nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, 5, padding=2)
        self.bn2 = nn.BatchNorm3d(channels)
        self.resnet = PlainResNet(channels, width2d)
        self.first, self.second = nn.Linear(8 * width2d, 2 * width), nn.Linear(2 * width, width)
        self.cls, self.sep = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(width))
        self.planes = nn.Parameter(torch.empty(3, width))
        self.places = nn.Parameter(torch.empty(3 * S + 4, width))
        self.layers = nn.ModuleList(PlainLayer(width, heads) for _ in range(layers))

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = x * x
        slices = [x.select(axis, n) for axis in (2, 3, 4) for n in range(S)]
        # All slices of all knees are one batch, slice by slice within a knee.
        batch = torch.stack(slices, dim=1).flatten(0, 1)
        t = self.second(self.first(self.resnet(batch)).relu()).unflatten(0, (len(x), 3 * S))
        rows = []
        for knee in t:
            row = [self.cls + self.planes[0]]
            for plane in range(3):
                row += [token + self.planes[plane] for token in knee[S * plane : S * plane + S]]
                row += [self.sep + self.planes[plane]]
            rows.append(torch.stack(row) + self.places)
        z = torch.stack(rows)
        for layer in self.layers:
            z = layer(z)
        return z[:, 0]


def by_our_names(plain, get):
    """Tensors of the plain network under the names that ours has."""
    parts = {
        "stem.0": plain.conv1, "stem.1": plain.bn1, "stem.3": plain.conv2, "stem.4": plain.bn2,
        "slices": plain.resnet, "project.0": plain.first, "project.2": plain.second,
    }  # fmt: skip
    for n, layer in enumerate(plain.layers):
        inside = {"norm1": layer.norm1, "out": layer.out, "norm2": layer.norm2}
        inside |= {"mlp.0": layer.up, "mlp.2": layer.down}
        parts |= {f"transformer.{n}.{name}": part for name, part in inside.items()}
    named = {
        f"{name}.{own}": get(tensor)
        for name, part in parts.items()
        for own, tensor in [*part.named_parameters(), *part.named_buffers()]
    }
    for n, layer in enumerate(plain.layers):
        for kind in ("weight", "bias"):
            three = [get(getattr(part, kind)) for part in (layer.q, layer.k, layer.v)]
            named[f"transformer.{n}.qkv.{kind}"] = torch.cat(three)
    named |= {"tokens.cls": get(plain.cls)[None, None], "tokens.sep": get(plain.sep)[None, None]}
    return named | {"tokens.plane": get(plain.planes), "tokens.position": get(plain.places)}


def pair():
    """The plain network with random numbers everywhere, and ours with the same."""
    torch.manual_seed(0)
    plain = Plain(**SMALL).double()
    for tensor in [*plain.parameters(), *plain.buffers()]:
        if tensor.is_floating_point():
            nn.init.normal_(tensor, 0, 0.3)
    for module in plain.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    ours = M3T(S, **SMALL, variant="as released").double()
    ours.load_state_dict(by_our_names(plain, lambda tensor: tensor.detach()))  # strict
    return ours, plain


def step(net, training, x):
    """Output and gradients of one step."""
    net.train(training)
    x = x.clone().requires_grad_()
    output = net(x)
    (output * torch.linspace(-1, 2, output.numel(), dtype=x.dtype).view_as(output)).sum().backward()
    return output.detach(), x.grad


def volumes():
    torch.manual_seed(1)
    return torch.randn(2, 1, S, S, S, dtype=torch.float64)


def furthest(pairs):
    """Largest distance of two tensors, as a share of the second's length."""
    return max(((a - b).norm() / b.norm()).item() for a, b in pairs)


@pytest.mark.parametrize("training", [True, False])
def test_output_gradients_and_statistics_are_those_of_the_plain_network(training):
    ours, plain = pair()
    pairs = list(zip(*(step(net, training, volumes()) for net in (ours, plain)), strict=True))
    # A bias before batch normalisation has the gradient 0: what is left of it is rounding.
    idle = {"stem.0.bias", "stem.3.bias"} if training else set()
    gradients = by_our_names(plain, lambda t: t.grad if t.grad is not None else t)
    pairs += [(p.grad, gradients[n]) for n, p in ours.named_parameters() if n not in idle]
    buffers = by_our_names(plain, lambda tensor: tensor.detach())
    pairs += [(b, buffers[n]) for n, b in ours.named_buffers() if b.is_floating_point()]
    assert furthest(pairs) < 1e-10


@pytest.mark.parametrize(
    "change",
    [
        lambda net: setattr(net, "norm", nn.LayerNorm(12).double()),
        lambda net: setattr(net, "square", False),
        lambda net: setattr(net.slices, "planes", ("coronal", "sagittal", "axial")),
        lambda net: [setattr(layer, "after_softmax", False) for layer in net.transformer],
    ],
    ids=["final norm", "not squared", "planes swapped", "scaled before the softmax"],
)
def test_each_thing_that_the_release_does_otherwise_shows(change):
    ours, plain = pair()
    change(ours)
    both = (step(net, False, volumes()) for net in (ours, plain))
    assert furthest(zip(*both, strict=True)) > 1e-3


def test_with_embeddings_in_its_order_the_other_order_of_planes_gives_the_same():
    ours, _ = pair()
    other = copy.deepcopy(ours)
    other.slices.planes = ("coronal", "sagittal", "axial")
    # Class token, then the second group, the first, the third, each with its separator.
    spans = [[0], range(S + 2, 2 * S + 3), range(1, S + 2), range(2 * S + 3, 3 * S + 4)]
    order = [place for span in spans for place in span]
    places = ours.tokens.position + ours.tokens.plane.repeat_interleave(
        torch.tensor([S + 2, S + 1, S + 1]), dim=0
    )
    for net, rows in ((ours, places), (other, places[order])):
        net.tokens.position.data = rows.detach()
        net.tokens.plane.data.zero_()
    with torch.no_grad():
        one, two = (net.eval()(volumes()) for net in (ours, other))
    torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


# ---- where it starts


@pytest.fixture(scope="module")
def untrained():
    """The released widths, two layers and few slices."""
    torch.manual_seed(0)
    settings = {"channels": 16, "depth2d": 18, "width2d": 64, "width": 128, "layers": 2}
    return {name: M3T(S, **settings, variant=name) for name in ("as described", "as released")}


def p_drawn(tensor, law, scale):
    """How well numbers fit N(0, scale), or the uniform law within scale of 0: a p-value."""
    values = tensor.detach().double().flatten().numpy() / scale
    values = np.random.default_rng(0).permutation(values)[:20_000]
    return kstest(values, "norm" if law == "normal" else lambda v: ((v + 1) / 2).clip(0, 1)).pvalue


def test_class_token_separator_and_embeddings_are_standard_normal(untrained):
    tokens = untrained["as released"].tokens
    together = torch.cat([tokens.cls[0], tokens.sep[0], tokens.plane])
    for values in (together, tokens.position):
        assert p_drawn(values, "normal", 1.0) > 1e-3
        assert p_drawn(values, "normal", 1.5) < 1e-3  # such a sample would tell
    assert tokens.position.std().item() == pytest.approx(1, abs=0.03)
    assert untrained["as described"].tokens.position.std().item() == pytest.approx(0.02, rel=0.03)


def test_linear_layers_and_convolutions_start_as_pytorch_makes_them(untrained):
    net = untrained["as released"]
    linear = {name: m for name, m in net.named_modules() if isinstance(m, nn.Linear)}
    assert len(linear) == 2 + 2 * 4
    modules = [*linear.values(), net.stem[0], net.stem[3], net.slices.conv1]
    for module in modules:
        bound = module.weight[0].numel() ** -0.5  # 1 / sqrt(fan in)
        assert p_drawn(module.weight, "uniform", bound) > 1e-3
        if module.bias is not None:
            assert p_drawn(module.bias, "uniform", bound) > 1e-3
            assert len(module.bias.unique()) == len(module.bias)
    qkv = net.transformer[0].qkv
    assert qkv.weight.std().item() == pytest.approx(0.051, abs=5e-4)
    described = untrained["as described"]
    assert p_drawn(described.transformer[0].qkv.weight, "uniform", 128**-0.5) < 1e-6
    assert p_drawn(described.slices.conv1.weight, "uniform", (16 * 49) ** -0.5) < 1e-6


def test_all_other_2d_convolutions_start_from_kaimings_normal_law(untrained):
    net = untrained["as released"].slices
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m is not net.conv1]
    assert len(convolutions) == 16 + 3
    for module in convolutions:
        fan_out = module.weight[:, 0].numel()
        assert p_drawn(module.weight, "normal", (2 / fan_out) ** 0.5) > 1e-3
    for module in untrained["as released"].modules():
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)):
            assert (module.weight == 1).all() and (module.bias == 0).all()


def test_the_class_token_starts_out_nearly_the_same_for_every_volume(untrained):
    torch.manual_seed(2)
    x = torch.randn(6, 1, S, S, S)
    share = {}
    for name, net in untrained.items():
        with torch.no_grad():
            cls = net.eval()(x)
        share[name] = (cls.std(dim=0).norm() / cls.norm(dim=1).mean()).item()
    assert 0 < share["as released"] < share["as described"] / 10
