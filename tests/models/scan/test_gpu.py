"""The Triton scan against a float64 recurrence: interpreted, compiled ahead, and on a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from oacore.errors import InputError

pytest.importorskip("triton")

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
# Small, for the interpreter is slow: several blocks and chunks, in several rounds of the carry.
SMALL = {"CHUNK": 4, "CHANNELS": 2, "CARRY_CHUNKS": 2, "CARRY_LANES": 4}


def inputs(batch, channels, states, length, delta="usual", rate="usual", given="all"):
    """Arguments by name; `given` are the optional ones: all, none, or names."""
    draw = torch.Generator().manual_seed(length)

    def randn(*shape):
        return torch.randn(*shape, generator=draw)

    def spread(low, high, *shape):  # log-uniform
        return low * (high / low) ** torch.rand(*shape, generator=draw)

    optional = ("D", "z", "delta_bias", "softplus")
    given = {"all": optional, "none": ()}.get(given, given)
    series = (batch, channels, length)
    if isinstance(delta, float):
        step = torch.full(series, delta)
    elif delta == "extreme":
        step = spread(1e-6, 50, *series)
    else:
        step = 2 * randn(*series) - 1 if "softplus" in given else spread(0.01, 1, *series)
    if isinstance(rate, float):
        A = torch.full((channels, states), -rate)
    else:
        A = -spread(*((1e-3, 100) if rate == "extreme" else (0.1, 10)), channels, states)
    return {
        "u": randn(*series),
        "delta": step,
        "A": A,
        "B": randn(batch, states, length),
        "C": randn(batch, states, length),
        "D": randn(channels) if "D" in given else None,
        "z": randn(*series) if "z" in given else None,
        "delta_bias": randn(channels) if "delta_bias" in given else None,
        "delta_softplus": "softplus" in given,
        "grad_out": randn(*series),
    }


def reference(u, delta, A, B, C, D, z, delta_bias, delta_softplus):
    """Algorithm 2 of arXiv:2312.00752, step by step."""
    d = delta if delta_bias is None else delta + delta_bias[:, None]
    d = F.softplus(d) if delta_softplus else d
    h = u.new_zeros(u.shape[0], *A.shape)
    steps = []
    for t in range(u.shape[2]):
        h = torch.exp(d[:, :, t, None] * A) * h + (d * u)[:, :, t, None] * B[:, None, :, t]
        steps.append((h * C[:, None, :, t]).sum(-1))
    y = torch.stack(steps, -1)
    y = y if D is None else y + D[:, None] * u
    return y if z is None else y * F.silu(z)


def expected(case):
    double = {n: None if case[n] is None else case[n].double().requires_grad_() for n in NAMES}
    out = reference(**double, delta_softplus=case["delta_softplus"])
    given = [n for n in NAMES if double[n] is not None]
    grads = torch.autograd.grad(out, [double[n] for n in given], case["grad_out"].double())
    return {"out": out.detach(), **dict.fromkeys(NAMES), **dict(zip(given, grads, strict=True))}


def scan(module, case):
    arguments = [case[n] for n in (*NAMES, "delta_softplus")]
    out, boundary_states = module.scan_forward(*arguments)
    grads = module.scan_backward(case["grad_out"], *arguments, boundary_states)
    return {"out": out, **dict(zip(NAMES, grads, strict=True))}


def assert_agree(got, want, tolerance=1e-5):
    for name, value in want.items():
        if value is None:
            assert got[name] is None, name
            continue
        assert got[name].shape == value.shape and got[name].dtype == torch.float32, name
        error = (got[name].double().cpu() - value).abs().max().item()
        assert error <= tolerance * value.abs().max().item(), name


CASES = {
    "one step": inputs(2, 3, 8, 1),
    "less than a chunk": inputs(1, 3, 16, 3),
    "one chunk": inputs(1, 2, 3, 4),
    "one step more": inputs(1, 2, 3, 5),
    "many chunks": inputs(2, 3, 3, 23),
    "nothing optional": inputs(2, 3, 2, 18, given="none"),
    "D alone, whole chunks": inputs(1, 2, 2, 16, given=("D",)),
    "z alone": inputs(1, 3, 2, 11, given=("z",)),
    "bias alone": inputs(1, 3, 2, 11, given=("delta_bias",), delta=5.0),
    # Added steps of delta = 0 would have d < 0 here and a decay beyond any float.
    "bias below zero": inputs(1, 3, 2, 11, given=("delta_bias",), delta=5.0, rate=1e3),
    "softplus alone": inputs(1, 3, 2, 11, given=("softplus",)),
    "tiny steps": inputs(1, 3, 2, 14, given=("softplus",), delta=-14.0),
    "extreme": inputs(1, 3, 8, 14, delta="extreme", rate="extreme", given=("D", "z")),
    # The past is e^-10 of the state: gradients found by difference lose it.
    "past almost forgotten": inputs(1, 3, 2, 14, delta=10.0, rate=1.0, given="none"),
    "past forgotten": inputs(1, 3, 2, 14, delta=50.0, rate=100.0, given="none"),
}

INTERPRET = """
import sys, torch
from oacore.models.scan import gpu
from tests.models.scan.test_gpu import SMALL, scan
for name, value in SMALL.items():
    setattr(gpu, name, value)
cases = torch.load(sys.argv[1])
torch.save({name: scan(gpu, case) for name, case in cases.items()}, sys.argv[2])
"""


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """What the kernels give in Triton's interpreter, which must be chosen before any import."""
    folder = tmp_path_factory.mktemp("triton")
    torch.save(CASES, folder / "cases.pt")
    done = subprocess.run(
        [sys.executable, "-c", INTERPRET, folder / "cases.pt", folder / "results.pt"],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "results.pt")


@pytest.mark.parametrize("name", CASES)
def test_interpreted_kernels_agree_with_the_recurrence(name, interpreted):
    assert_agree(interpreted[name], expected(CASES[name]))


def test_double_precision_is_refused():
    from oacore.models.scan import gpu as scan_triton

    x, A = torch.zeros(1, 1, 4, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    with pytest.raises(InputError, match="float32, not torch.float64"):
        scan_triton.scan_forward(x, x, A, x, x, None, None, None, False)


@pytest.mark.parametrize(("capability", "states"), [(80, 8), (90, 16)])
def test_kernels_compile_for_a_gpu_that_need_not_be_there(
    capability, states, tmp_path, monkeypatch
):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from oacore.models.scan import gpu as scan_triton

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))  # compile, don't remember
    sizes = {"N": states, "Q": scan_triton.CHUNK, "K": scan_triton.CHANNELS, "softplus": True}
    lanes = {"N": states, "G": scan_triton.CARRY_CHUNKS, "J": scan_triton.CARRY_LANES}
    kernels = [
        (scan_triton._output_kernel, sizes),
        (scan_triton._gradient_kernel, sizes),
        (scan_triton._chunk_kernel, {**sizes, "backward": False, "z": None}),
        (scan_triton._chunk_kernel, {**sizes, "backward": True}),
        (scan_triton._carry_kernel, {**lanes, "backward": False}),
        (scan_triton._carry_kernel, {**lanes, "backward": True}),
    ]
    for kernel, constants in kernels:
        types = dict.fromkeys(kernel.arg_names, "*fp32") | {"channels": "i32", "chunks": "i32"}
        signature = types | dict.fromkeys(constants, "constexpr")
        aligned = {
            (i,): [["tt.divisibility", 16]]
            for i, name in enumerate(kernel.arg_names)
            if signature[name] == "*fp32"
        }
        compiled = triton.compile(
            ASTSource(kernel, signature, constants, aligned),
            target=GPUTarget("cuda", capability, 32),
            options={
                "num_warps": 4 if "G" in constants else scan_triton.WARPS,
                "enable_fp_fusion": True,
            },
        )
        assert f"sm_{capability}" in compiled.asm["ptx"]
        assert ".local" not in compiled.asm["ptx"]  # no array fell out of registers
        assert compiled.asm["cubin"].startswith(b"\x7fELF")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize(
    ("channels", "states", "length", "settings"),
    [
        (64, 8, 5120, {}),
        (20, 16, 5001, {"given": "none"}),
        (5, 3, 4999, {"delta": "extreme", "rate": "extreme", "given": ("D", "z")}),
        # Equal slow steps: an error of one decay would add up over thousands of them.
        (16, 8, 5000, {"delta": 1e-3, "rate": 1.0, "given": ("D",)}),
    ],
)
def test_gpu_agrees_with_the_recurrence(channels, states, length, settings):
    from oacore.models.scan import gpu as scan_triton

    case = inputs(2, channels, states, length, **settings)
    there = {n: v.cuda() if isinstance(v, torch.Tensor) else v for n, v in case.items()}
    assert_agree(scan(scan_triton, there), expected(case))
    again, first = scan(scan_triton, there), scan(scan_triton, there)
    assert all(first[n] is None or torch.equal(first[n], again[n]) for n in first)
