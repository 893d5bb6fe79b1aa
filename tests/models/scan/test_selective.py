from functools import cache

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from torch.utils._python_dispatch import TorchDispatchMode

import oacore.models.scan.selective as module
from oacore.errors import InputError
from oacore.models.scan import reference as scan_torch
from oacore.models.scan.selective import default_backend, selective_scan, sequential_scan

CPU = ["torch", pytest.param("numba", marks=pytest.mark.skipif(
    default_backend("cpu") != "numba", reason="numba is not installed"))]  # fmt: skip
NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")


def make(batch, channels, length, states, seed=0, dtype=torch.float32, extreme=False):
    """All eight tensors; delta and A as Mamba has them, or from one extreme to the other."""
    g = torch.Generator().manual_seed(seed)
    draw = {
        "u": torch.randn(batch, channels, length, generator=g),
        "delta": torch.randn(batch, channels, length, generator=g),
        "A": torch.rand(channels, states, generator=g) * states,
        "B": torch.randn(batch, states, length, generator=g),
        "C": torch.randn(batch, states, length, generator=g),
        "D": torch.randn(channels, generator=g),
        "z": torch.randn(batch, channels, length, generator=g),
        "delta_bias": torch.randn(channels, generator=g) - 2,
    }
    draw["A"] = -0.1 - draw["A"]
    if extreme:
        ends = torch.log10(torch.tensor([1e-6, 50.0]))
        draw["delta"] = 10 ** (
            ends[0] + (ends[1] - ends[0]) * torch.rand(draw["u"].shape, generator=g)
        )
        draw["A"] = -(10 ** (-3 + 5 * torch.rand(channels, states, generator=g)))
        draw["delta"][..., ::7], draw["delta"][..., 3::7] = 1e-6, 50.0
        draw["A"][0, 0], draw["A"][-1, -1] = -1e-3, -100.0
    return {name: tensor.to(dtype) for name, tensor in draw.items()}


def run(scan, tensors, softplus, dtype=None, needed=NAMES, **options):
    """Output and gradients by name, of a loss that weights every output differently."""
    leaves = {k: v.detach().to(dtype or v.dtype).clone() for k, v in tensors.items()}
    for name, leaf in leaves.items():
        leaf.requires_grad_(name in needed)
    out = scan(**leaves, delta_softplus=softplus, **options)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(9))
    (out * weight.to(out.dtype)).sum().backward()
    return {"out": out.detach(), **{name: leaf.grad for name, leaf in leaves.items()}}


def assert_close(ours, reference, tolerance=1e-5):
    assert ours.keys() == reference.keys()
    for name, expected in reference.items():
        assert ours[name].shape == expected.shape, name
        error = (ours[name].double() - expected).abs().max()
        assert error <= tolerance * expected.abs().max(), (name, float(error))


# batch, channels, length, states; what is left out; extreme delta and A (no softplus then)
CASES = {
    "one step": ((2, 3, 1, 4), (), False),
    "two steps": ((2, 3, 2, 4), (), False),
    "a prime": ((1, 5, 13, 3), (), False),
    "a chunk": ((2, 3, 16, 4), (), False),
    "a chunk and a step": ((2, 3, 17, 4), (), False),
    "a tile": ((1, 16, 128, 2), (), False),
    "a tile and a step": ((1, 2, 129, 2), (), False),
    "a block": ((1, 3, 1024, 2), (), False),
    "a block and a step": ((2, 2, 1025, 2), (), False),
    "groups of channels": ((2, 37, 211, 16), (), False),
    "one state": ((1, 1, 97, 1), (), False),
    "no D": ((1, 3, 131, 4), ("D",), False),
    "no z": ((1, 3, 131, 4), ("z",), False),
    "no bias": ((1, 3, 131, 4), ("delta_bias",), False),
    "only what is needed": ((1, 3, 131, 4), ("D", "z", "delta_bias"), False),
    "extreme": ((2, 17, 263, 4), ("delta_bias",), True),
    "extreme, long": ((1, 3, 2500, 5), ("z", "D", "delta_bias"), True),
    "long": ((1, 2, 20011, 2), (), False),
}


@cache
def case(name):
    sizes, absent, extreme = CASES[name]
    tensors = {k: v for k, v in make(*sizes, extreme=extreme).items() if k not in absent}
    return tensors, not extreme, run(sequential_scan, tensors, not extreme, torch.float64)


@pytest.mark.parametrize("backend", CPU)
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_sequential_scan_in_float64(name, backend):
    tensors, softplus, reference = case(name)
    assert_close(run(selective_scan, tensors, softplus, backend=backend), reference)


def test_the_sequential_scan_is_a_linear_filter_where_nothing_varies():
    t = make(1, 1, 300, 1, dtype=torch.float64)
    delta, A, B, C, D = 0.3, -0.7, 1.3, 0.9, 0.4
    u, one = t["u"], torch.ones(1, 1, 300, dtype=torch.float64)
    out = sequential_scan(u, delta * one, *(torch.full((1, 1), A).double(), B * one, C * one),
                          D=torch.tensor([D]).double())  # fmt: skip
    # y[t] = exp(delta A) y[t-1] + C delta B u[t], and D u[t] beside it.
    A64 = float(torch.tensor(A))
    expected = lfilter([C * delta * B], [1, -np.exp(delta * A64)], u[0, 0].numpy())
    np.testing.assert_allclose(out[0, 0], expected + float(torch.tensor(D)) * u[0, 0].numpy())


@pytest.mark.parametrize("backend", [None, *CPU])
def test_agrees_with_mambapy(backend):
    pscan = pytest.importorskip("mambapy.pscan").pscan
    t = {k: v for k, v in make(2, 6, 100, 4).items() if k not in ("z", "delta_bias")}

    def mambapy(u, delta, A, B, C, D, delta_softplus):
        # MambaBlock.selective_scan, whose tensors are (batch, length, ...).
        u, delta, B, C = (x.transpose(1, 2) for x in (u, delta, B, C))
        delta = torch.nn.functional.softplus(delta)
        decay = torch.exp(delta.unsqueeze(-1) * A)
        hs = pscan(decay, delta.unsqueeze(-1) * B.unsqueeze(2) * u.unsqueeze(-1))
        return ((hs @ C.unsqueeze(-1)).squeeze(3) + D * u).transpose(1, 2)

    ours = run(selective_scan, t, True, backend=backend)
    assert_close(ours, run(mambapy, t, True, torch.float64))


@pytest.mark.parametrize("backend", CPU)
@pytest.mark.parametrize(("length", "fast"), [(19, False), (1100, True)])
def test_gradcheck(backend, length, fast):
    t = make(2, 2, length, 2, dtype=torch.float64)
    inputs = [t[name].requires_grad_() for name in NAMES]
    assert torch.autograd.gradcheck(
        lambda *x: selective_scan(*x, delta_softplus=True, backend=backend), inputs, fast_mode=fast
    )


@pytest.mark.parametrize("backend", CPU)
def test_inputs_need_not_be_contiguous(backend):
    tensors, softplus, reference = case("groups of channels")

    def strided(x):
        return (
            x.movedim(0, -1).contiguous().movedim(-1, 0)
            if x.ndim > 1
            else x[:, None].repeat(1, 2)[:, 0]
        )

    assert not strided(tensors["u"]).is_contiguous() and not strided(tensors["D"]).is_contiguous()

    def scan(**leaves):
        softplus = leaves.pop("delta_softplus")
        views = {name: strided(leaf) for name, leaf in leaves.items()}
        out = selective_scan(**views, delta_softplus=softplus, backend=backend)
        return strided(out)  # so that the gradient comes strided too

    assert_close(run(scan, tensors, softplus), reference)


@pytest.mark.parametrize("backend", CPU)
@pytest.mark.parametrize("needed", [("u",), ("A", "delta_bias"), ("z",), ("D", "C")])
def test_gradients_only_for_what_needs_them(backend, needed):
    tensors, softplus, reference = case("a prime")
    ours = run(selective_scan, tensors, softplus, needed=needed, backend=backend)
    assert {name for name in NAMES if ours[name] is not None} == set(needed)
    assert_close({k: ours[k] for k in needed}, {k: reference[k] for k in needed})


@pytest.mark.parametrize("backend", CPU)
def test_no_graph_without_gradients(backend):
    tensors, _, reference = case("a prime")
    out = selective_scan(**tensors, delta_softplus=True, backend=backend)
    assert not out.requires_grad and out.grad_fn is None
    assert_close({"out": out}, {"out": reference["out"]})


@pytest.mark.parametrize("backend", CPU)
def test_a_second_derivative_is_refused(backend):
    t = make(1, 2, 5, 2)
    u = t.pop("u").requires_grad_()
    (grad,) = torch.autograd.grad(
        selective_scan(u, **t, backend=backend).square().sum(), u, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.parametrize("backend", CPU)
def test_autocast_computes_in_float32(backend):
    tensors, softplus, _ = case("groups of channels")
    plain = run(selective_scan, tensors, softplus, backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = run(selective_scan, tensors, softplus, backend=backend)
    for name, expected in plain.items():
        assert under[name].dtype == torch.float32
        assert torch.equal(under[name], expected), name


def test_backends_run_without_autocast(monkeypatch):
    states = []

    class Spy:
        def scan_forward(*arguments):
            states.append(torch.is_autocast_enabled("cpu"))
            return scan_torch.scan_forward(*arguments)

        def scan_backward(*arguments):
            states.append(torch.is_autocast_enabled("cpu"))
            return scan_torch.scan_backward(*arguments)

    monkeypatch.setattr(module, "_module", lambda name: Spy)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        run(selective_scan, make(1, 2, 5, 2), True)
    assert states == [False, False]


@pytest.mark.parametrize("backend", CPU)
def test_under_autocast_16_bit_inputs_give_16_bit_results_of_32_bit_sums(backend):
    tensors, softplus, _ = case("groups of channels")
    half = {k: v.bfloat16() if k in ("u", "z", "B", "C") else v for k, v in tensors.items()}
    rounded = {k: v.float() for k, v in half.items()}
    reference = run(selective_scan, rounded, softplus, backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        leaf = half["u"].clone().requires_grad_()
        out = selective_scan(**{**half, "u": leaf}, delta_softplus=softplus, backend=backend)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, reference["out"].bfloat16())
    out.float().sum().backward()
    assert leaf.grad.dtype == torch.bfloat16 and leaf.grad.isfinite().all()


@pytest.mark.parametrize("backend", CPU)
def test_empty_batch_or_length_gives_empty_output_and_zero_gradients(backend):
    for batch, length in ((0, 5), (2, 0)):
        results = run(selective_scan, make(batch, 3, length, 2), True, backend=backend)
        assert results["out"].shape == (batch, 3, length)
        assert results["A"].eq(0).all() and results["D"].eq(0).all()
        assert results["B"].shape == (batch, 2, length)


@pytest.mark.parametrize("backend", CPU)
def test_what_is_not_a_number_stays_so(backend):
    for name in ("u", "delta", "A", "B", "C", "z"):
        t = make(1, 2, 40, 2)
        t[name].view(-1)[0] = torch.nan
        out = selective_scan(**t, delta_softplus=True, backend=backend)
        assert out[0, 0, 0].isnan(), name
        assert out[0, 1].isnan().any() == (name in ("B", "C")), name


class Watch(TorchDispatchMode):
    """Sees every result of arithmetic: how many are denormal, how large is the largest tensor."""

    def __init__(self):
        super().__init__()
        self.denormal, self.seen, self.largest = 0, 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        if isinstance(results, torch.Tensor) and results.dtype == torch.float32:
            self.largest = max(self.largest, results.numel())
            if function.overloadpacket.__name__.strip("_") in (
                "mul",
                "addcmul",
                "exp",
                "add",
                "sum",
            ):
                self.seen += results.numel()
                self.denormal += denormals(results)
        return results


def denormals(x):
    bits = x.detach().contiguous().view(torch.int32) & 0x7FFFFFFF  # no arithmetic on them
    return int(((bits > 0) & (bits < 0x00800000)).sum())


def decaying(rate, amplitude, length):
    """An impulse and then zeros: the states decay by exp(-rate) a step."""
    u, one = torch.zeros(1, 1, length), torch.ones(1, 1, length)
    u[..., 0] = amplitude
    return {"u": u, "delta": one, "A": torch.tensor([[-rate]]), "B": one.clone(), "C": one.clone()}


@pytest.mark.parametrize("backend", CPU)
@pytest.mark.parametrize(("rate", "amplitude", "length"), [(0.005, 1e-29, 9000), (95.0, 1.0, 20)])
def test_a_decaying_state_ends_at_zero_and_not_at_denormals(backend, rate, amplitude, length):
    t = decaying(rate, amplitude, length)
    results = run(lambda **x: selective_scan(**x, backend=backend), t, False)
    assert results["out"][..., 0] > 0 and results["out"][..., -1] == 0
    assert denormals(results["out"]) == 0
    t["C"][..., :-1] = 0  # now the gradient decays, from the last step back
    t["C"] *= amplitude
    back = run(lambda **x: selective_scan(**x, backend=backend), t, False)
    assert back["u"][..., -1] != 0 and back["u"][..., 0] == 0
    assert denormals(back["u"]) == 0


def test_the_torch_backend_meets_no_denormals_on_the_way():
    t = make(1, 8, 3000, 16)
    t["A"] = -torch.arange(1.0, 17).repeat(8, 1)  # Mamba's own
    t["delta"] = t["delta"].abs().clamp(0.001, 0.1)
    inputs = (*(t[name] for name in NAMES[:7]), None, False)
    with Watch() as watch:
        out, h_in = scan_torch.scan_forward(*inputs)
        scan_torch.scan_backward(torch.ones_like(out), *inputs, h_in)
    assert watch.seen > 5e6 and watch.denormal == 0, watch.denormal
    t = make(1, 8, 3000, 16, extreme=True)
    inputs = (*(t[name] for name in NAMES[:7]), None, False)
    with Watch() as watch:
        out, h_in = scan_torch.scan_forward(*inputs)
        scan_torch.scan_backward(torch.ones_like(out), *inputs, h_in)
    assert watch.denormal < 1e-3 * watch.seen


def test_the_torch_backend_never_holds_all_states():
    t = make(1, 4, 1250 * scan_torch.STEPS, 16)
    inputs = (*(t[name] for name in NAMES), True)
    with Watch() as watch:
        out, h_in = scan_torch.scan_forward(*inputs)
        scan_torch.scan_backward(torch.ones_like(out), *inputs, h_in)
    assert h_in.numel() == t["u"].numel() * 16 / scan_torch.STEPS
    assert watch.largest <= t["B"].numel()  # the largest input; all states are four times that


def test_the_numba_backend_gives_the_same_numbers_on_any_number_of_threads():
    pytest.importorskip("numba")
    tensors, softplus, _ = case("groups of channels")
    before = torch.get_num_threads()
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        results.append(run(selective_scan, tensors, softplus, backend="numba"))
    torch.set_num_threads(before)
    for name, expected in results[0].items():
        assert torch.equal(results[1][name], expected), name


def test_numba_functions_are_accurate_in_float32():
    scan_numba = pytest.importorskip("oacore.models.scan.cpu")

    @scan_numba._compiled
    def each(x, exp, log1p):
        for i in range(len(x)):
            exp[i] = scan_numba._exp(x[i])
            log1p[i] = scan_numba._log1p(exp[i])

    x = np.linspace(-79.9, 88, 200_001, dtype=np.float32)
    exp, log1p = np.empty_like(x), np.empty_like(x)
    each(x, exp, log1p)
    np.testing.assert_allclose(exp, np.exp(x.astype(float)), rtol=2e-7)
    np.testing.assert_allclose(log1p[x <= 0], np.log1p(exp[x <= 0].astype(float)), rtol=3e-7)
    beyond = np.array([-np.inf, -1e30, -81, 200, 1e30, np.inf, np.nan], dtype=np.float32)
    exp = np.empty_like(beyond)
    each(beyond, exp, np.empty_like(beyond))
    np.testing.assert_array_equal(exp, [0, 0, 0, np.inf, np.inf, np.inf, np.nan])


def test_numba_keeps_nothing_on_disk_where_it_cannot():
    scan_numba = pytest.importorskip("oacore.models.scan.cpu")
    scope = {}
    exec("def double(x):\n    return 2 * x", scope)  # a function without a file has no cache
    assert scan_numba._compiled(scope["double"])(4) == 8


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("u", torch.zeros(3, 5), r"u .*\(batch, channels, length\), not \(3, 5\)"),
        ("delta", torch.zeros(2, 3, 6), r"delta .* = \(2, 3, 5\), not \(2, 3, 6\)"),
        ("A", torch.zeros(4, 3), r"A .*\(channels, states\) = \(3, 3\), not \(4, 3\)"),
        ("A", torch.zeros(3, 0), "A needs at least one channel and one state"),
        ("B", torch.zeros(2, 5, 4), r"B .*\(batch, states, length\) = \(2, 4, 5\)"),
        ("C", None, r"C .* not NoneType"),
        ("D", torch.zeros(4), r"D .*\(channels\) = \(3,\), not \(4,\)"),
        ("z", torch.zeros(2, 5, 3), r"z .* = \(2, 3, 5\), not \(2, 5, 3\)"),
        ("delta_bias", torch.zeros(3, 1), r"delta_bias .* = \(3,\), not \(3, 1\)"),
        ("D", torch.zeros(3, dtype=torch.int64), "D must be of a floating-point dtype"),
        ("A", torch.zeros(3, 4, dtype=torch.complex64), "A must be of a floating-point dtype"),
        ("B", torch.zeros(2, 4, 5, device="meta"), "B is on meta, but u on cpu"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name, wrong, message):
    with pytest.raises(InputError, match=message):
        selective_scan(**{**make(2, 3, 5, 4), name: wrong})


def test_a_backend_that_is_not_there_is_refused(monkeypatch):
    t = make(1, 2, 3, 2)
    with pytest.raises(InputError, match="torch, numba, triton"):
        selective_scan(**t, backend="cuda")
    with pytest.raises(InputError, match="'triton' runs on cuda and the tensors are on cpu"):
        selective_scan(**t, backend="triton")
    monkeypatch.setattr(module, "_module", lambda name: scan_torch if name == "torch" else None)
    with pytest.raises(InputError, match="needs numba: install it"):
        selective_scan(**t, backend="numba")
    assert default_backend(torch.device("cpu")) == default_backend("cuda") == "torch"
    selective_scan(**t)
