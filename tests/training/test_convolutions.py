"""Convolutions' gradients on a CPU: against 64 bits, and what is done where oneDNN is wrong."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from oacore.errors import InputError
from oacore.models.heads import build_model, by_voxel, channels_last
from oacore.training import convolutions, probe, remembered
from oacore.training.convolutions import faults, secure_convolutions
from oacore.training.loop import train
from tests.helpers import CONFIG, make_cohort


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """One thread, and a cache folder in which nothing is remembered."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def gradients(model, x):
    answers = model(x)
    sum(answer.float().square().sum() for answer in answers.values()).backward()
    return torch.cat([p.grad.double().flatten() for p in model.parameters()])


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("side", [5, 6, 7])
def test_gradients_of_thin_volumes_are_those_of_64_bits(side, bf16):
    """A first side of 5 ended the process, 6 gave NaN and 7 1e18 times the gradient (AVX-512)."""
    make = lambda: build_model("resnet3d", "dual", 0, {"depth": 10, "width": 8}).eval()  # noqa: E731
    x = torch.randn(4, 1, side, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = gradients(make().double(), x.double())
    model = channels_last(make())
    secure_convolutions(model, [tuple(x.shape)], bf16=bf16)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        found = gradients(model, by_voxel(x))
    assert float((found - wanted).norm() / wanted.norm()) < (0.1 if bf16 else 1e-4)


def layer(x, w, stride, **changes):
    memory = {4: torch.channels_last, 5: torch.channels_last_3d}[len(x)]

    def laid(shape):
        empty = torch.empty(shape, device="meta").contiguous(memory_format=memory)
        return shape, empty.stride()

    n = len(x) - 2
    given = {"x": laid(x), "w": laid(w), "bias": False, "input_grad": True, "onednn": True}
    given |= {"stride": [stride] * n, "padding": [0] * n, "dilation": [1] * n, "groups": 1}
    return {**given, "dtype": "float32", **changes}


def test_a_layer_that_spoils_the_heap_is_computed_otherwise(monkeypatch, capsys):
    """nnMamba's first shortcut in the smallest profile: 4 channels, 1x1x1, stride 2."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(convolutions, "_KNOWN", {})  # of this process, on its own processor
    model = channels_last(build_model("nnmamba", "dual", 0, {"channels": 4, "blocks": 1}))
    name, shape = "encoder.stage2.0.downsample.0", (8, 1, 16, 32, 32)
    assert secure_convolutions(model, [shape], bf16=False) == (name,)
    assert f"{name}: it writes beyond its memory" in capsys.readouterr().err
    assert secure_convolutions(model, [shape], bf16=False) == ()  # once is enough


def test_a_run_records_what_is_computed_without_onednn(tmp_path, monkeypatch):
    faulty = "encoder.layer2.0.conv1"

    def secured(model, shapes, *, bf16):
        assert not bf16 and {shape[1:] for shape in shapes} == {(1, 16, 16, 16)}
        return (faulty,)

    monkeypatch.setattr("oacore.training.loop.secure_convolutions", secured)
    config = dataclasses.replace(CONFIG, epochs=1)
    folder = train(config, *make_cohort(), tmp_path / "run", accelerator="cpu")
    record = json.loads((folder / "done.json").read_text())
    assert record["stretches"][0]["numerics"]["without oneDNN"] == faulty


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_without_onednn_computes_the_same(bias):
    torch.manual_seed(0)
    conv = nn.Conv3d(4, 8, 3, stride=2, padding=1, bias=bias)
    x = torch.randn(2, 4, 6, 8, 8)
    results = []
    for change in (False, True):
        given = x.clone().requires_grad_()
        if change:
            convolutions._without_onednn(conv)
        y = conv(given)
        sources = [given, *conv.parameters()]
        results.append([y, *torch.autograd.grad(y, sources, torch.ones_like(y))])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def wrong(gradient):
    gradient[0] = 0  # a part that was never written
    return gradient


@pytest.mark.parametrize(("place", "named"), [(0, "its input"), (1, "its weights")])
def test_a_gradient_with_a_part_left_out_is_found(monkeypatch, place, named):
    given = layer((2, 8, 6, 8, 8), (8, 8, 3, 3, 3), 1)
    assert probe.fault(given) == ""
    grad = torch.autograd.grad

    def spoilt(*arguments):
        found = list(grad(*arguments))
        found[place] = wrong(found[place])
        return found

    monkeypatch.setattr(torch.autograd, "grad", spoilt)
    assert probe.fault(given) == f"the gradient of {named} is wrong"


def test_a_layer_that_ends_the_process_is_named_and_the_others_are_still_probed(
    tmp_path, monkeypatch
):
    deadly = tmp_path / "deadly.py"
    deadly.write_text(
        "import json, os, sys\n"
        "sys.stdin.readline()\n"
        "for number, line in enumerate(sys.stdin):\n"
        "    print(number, flush=True)\n"
        "    if json.loads(line)['groups'] == 13: os.kill(os.getpid(), 11)\n"
        "    print(json.dumps(''), flush=True)\n"
    )
    monkeypatch.setattr(probe, "__file__", str(deadly))
    monkeypatch.setattr(convolutions, "_KNOWN", {})
    layers = [layer((1, 8, 4, 4), (8, 8, 1, 1), 1, groups=n) for n in (1, 13, 2)]
    assert faults(layers) == ["", "it ends the process (signal 11)", ""]


def test_what_is_wrong_either_way_is_refused(monkeypatch):
    monkeypatch.setattr(convolutions, "faults", lambda layers: ["it is wrong" for _ in layers])
    model = build_model("resnet3d", "dual", 0, {"depth": 10, "width": 4})
    with pytest.raises(InputError, match=r"encoder.conv1.*choose another grid or batch size"):
        secure_convolutions(model, [(2, 1, 16, 16, 16)], bf16=False)


def test_a_probe_that_cannot_run_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(convolutions, "_KNOWN", {})
    with pytest.raises(InputError, match="could not be probed"):
        faults([layer((1, 8, 4, 4), (8, 8, 1, 1), 1)])


# What is remembered


@pytest.fixture
def counting(tmp_path, monkeypatch):
    """A probe that notes each layer it meets by its groups; 13 crashes, 9 the system ends."""
    met = tmp_path / "met"
    program = tmp_path / "counting.py"
    program.write_text(
        "import json, os, sys\n"
        "sys.stdin.readline()\n"
        "for number, line in enumerate(sys.stdin):\n"
        "    groups = json.loads(line)['groups']\n"
        f"    print(groups, file=open({str(met)!r}, 'a'))\n"
        "    print(number, flush=True)\n"
        "    if groups in (13, 9): os.kill(os.getpid(), 11 if groups == 13 else 9)\n"
        "    print(json.dumps('it is wrong' if groups == 4 else ''), flush=True)\n"
    )
    monkeypatch.setattr(probe, "__file__", str(program))

    def ask(*groups):
        """What another process would find, and which layers it would probe."""
        monkeypatch.setattr(convolutions, "_KNOWN", {})
        met.write_text("")
        found = faults([layer((1, 8, 4, 4), (8, 8, 1, 1), 1, groups=n) for n in groups])
        return found, [int(line) for line in met.read_text().split()]

    return ask


def another(program):
    path = Path(program).with_name("another.py")
    path.write_text(Path(program).read_text() + "# another probe\n")
    return str(path)


def test_what_a_process_found_the_next_one_knows(counting, home):
    crash = "it ends the process (signal 11)"
    assert counting(1, 13, 4) == (["", crash, "it is wrong"], [1, 13, 4])
    assert counting(4, 13, 1) == (["it is wrong", crash, ""], [])
    assert counting(1, 2) == (["", ""], [2])  # only what is new, and the rest stays known
    assert counting(1, 2, 4, 13)[1] == []
    assert len([*home.rglob("*.json")]) == 1 and not [*home.rglob("part-*")]


def test_what_the_system_did_to_a_probe_is_not_remembered(counting):
    ended = "it ends the process (signal 9)"
    assert counting(9, 1) == ([ended, ""], [9, 1])
    assert counting(9, 1) == ([ended, ""], [9])


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(torch, "__version__", "2.99"),
        lambda patch: patch.setattr(torch.__config__, "show", lambda: "oneDNN v4"),
        lambda patch: patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX9"),
        lambda patch: patch.setattr(remembered, "_processor", lambda: ["model name: another"]),
        lambda patch: patch.setattr("platform.release", lambda: "99"),
        lambda patch: patch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41"),
        lambda patch: patch.setenv("OMP_NUM_THREADS", "7"),
        lambda patch: patch.setattr(torch, "get_num_threads", lambda: 7),
        lambda patch: patch.setattr(probe, "__file__", another(probe.__file__)),
    ],
    ids=["torch", "build", "instructions", "processor", "kernel", "onednn", "openmp", "threads",
         "probe"],
)  # fmt: skip
def test_nothing_is_remembered_across_another_machine(counting, monkeypatch, change):
    assert counting(1)[1] == [1] and counting(1)[1] == []
    with monkeypatch.context() as patch:
        change(patch)
        assert counting(1)[1] == [1]
        assert counting(1)[1] == []


def test_a_processor_of_which_nothing_is_known_is_probed_each_time(counting, home, monkeypatch):
    monkeypatch.setattr(remembered, "_processor", lambda: [])
    assert counting(1)[1] == counting(1)[1] == [1]
    assert not [*home.rglob("*")]


@pytest.mark.parametrize("harm", ["", "{}", "half", None])
def test_a_damaged_memory_is_said_and_made_again(counting, home, capsys, harm):
    assert counting(1, 13)[1] == [1, 13]
    (file,) = home.rglob("*.json")
    file.write_text(file.read_text().replace("signal 11", "signal 12") if harm is None else harm)
    assert counting(1, 13) == (["", "it ends the process (signal 11)"], [1, 13])
    said = capsys.readouterr().err
    assert said == f"oacore: {file.name} is damaged; layers are probed anew\n"
    assert counting(1, 13)[1] == [] and capsys.readouterr().err == ""


def test_where_nothing_can_be_kept_layers_are_probed_without_a_word(
    counting, tmp_path, monkeypatch, capsys
):
    """As with a home that cannot be written: a word of it would stand in the pages."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert counting(1)[1] == counting(1)[1] == [1]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "full"))

    def full(path, content):
        raise InputError(f"{path}: No space left on device")

    monkeypatch.setattr(remembered, "write", full)
    assert counting(1)[1] == counting(1)[1] == [1]
    assert capsys.readouterr().err == ""


def test_a_network_that_was_probed_before_is_changed_the_same_way(monkeypatch, capsys):
    """The record of a run says the same, whether its layers were probed or remembered."""
    name, shape = "encoder.conv1", (2, 1, 16, 16, 16)
    probed = convolutions._probed

    def wrong(threads, layers):
        said, end, lasting = probed(threads, layers)
        if json.loads(layers[0])["onednn"]:
            said[1] = json.dumps("the gradient of its input is wrong")
        return said, end, lasting

    results = []
    for probe_of in (wrong, None):
        monkeypatch.setattr(convolutions, "_KNOWN", {})
        monkeypatch.setattr(convolutions, "_probed", probe_of)
        model = channels_last(build_model("resnet3d", "dual", 0, {"depth": 10, "width": 4}))
        names = secure_convolutions(model, [shape], bf16=False)
        assert names[0] == name and "_conv_forward" in vars(model.get_submodule(name))
        results.append((names, capsys.readouterr().err))
    assert results[0] == results[1]
