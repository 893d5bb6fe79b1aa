"""ResNet3D against Med3D's published sizes, MONAI's network and finite differences."""

import pytest
import torch
from monai.networks.nets import resnet18, resnet50
from torch import nn

from oacore.errors import InputError
from oacore.models.resnet3d import ResNet3D, load_med3d


@pytest.mark.parametrize(
    ("depth", "count"), [(10, 14_359_111), (18, 32_989_767), (34, 63_299_399), (50, 46_169_415)]
)
def test_parameters_with_seven_outputs(depth, count):
    with torch.device("meta"):
        encoder = ResNet3D(depth)
        head = nn.Linear(encoder.n_features, 7)
    assert sum(p.numel() for m in (encoder, head) for p in m.parameters()) == count


@pytest.mark.parametrize(("depth", "monai"), [(18, resnet18), (50, resnet50)])
def test_equals_monai_with_stride_one_and_dilation(depth, monai):
    torch.manual_seed(0)
    encoder = ResNet3D(depth).eval()
    other = monai(
        spatial_dims=3,
        n_input_channels=1,
        conv1_t_stride=2,
        feed_forward=False,
        shortcut_type="A" if depth == 18 else "B",
        bias_downsample=False,
        pretrained=False,
    ).eval()
    other.load_state_dict(encoder.state_dict(), strict=True)
    for stage, dilation in ((other.layer3, 2), (other.layer4, 4)):
        for conv in (m for m in stage.modules() if isinstance(m, nn.Conv3d)):
            conv.stride = (1, 1, 1)
            if conv.kernel_size == (3, 3, 3):
                conv.dilation = conv.padding = (dilation,) * 3
        if depth == 18:
            stage[0].downsample.keywords["stride"] = 1
    x = torch.randn(1, 1, 24, 32, 40)
    with torch.no_grad():
        assert (encoder(x) - other(x)).abs().max() == 0.0


def test_last_stage_keeps_one_eighth_of_the_resolution():
    encoder = ResNet3D(10, width=4).eval()
    shapes = []
    encoder.layer4.register_forward_hook(lambda m, i, o: shapes.append(tuple(o.shape)))
    features = encoder(torch.zeros(2, 1, 32, 48, 64))
    assert shapes == [(2, 32, 4, 6, 8)] and features.shape == (2, 32) == (2, encoder.n_features)


@pytest.mark.parametrize("depth", [10, 18, 50])
def test_input_gradient_agrees_with_finite_differences(depth):
    """Shortcut A of MedicalNet and MONAI fails this one: it cuts the gradient."""
    torch.manual_seed(0)
    encoder = ResNet3D(depth, width=4).double().eval()
    x = torch.randn(1, 1, 16, 16, 16, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(encoder.n_features, dtype=torch.float64)
    (encoder(x)[0] @ weight).backward()
    direction = torch.randn_like(x)
    step = 1e-6
    with torch.no_grad():
        up, down = ((encoder(x + s * step * direction)[0] @ weight) for s in (1, -1))
    slope = ((up - down) / (2 * step)).item()
    assert (x.grad * direction).sum().item() == pytest.approx(slope, rel=1e-5)


def test_med3d_file_loads_strictly(tmp_path):
    source = ResNet3D(18)
    file = tmp_path / "resnet_18.pth"
    state = {f"module.{k}": v for k, v in source.state_dict().items() if "num_batches" not in k}
    torch.save({"state_dict": {**state, "module.conv_seg.0.weight": torch.zeros(1)}}, file)
    target = ResNet3D(18)
    load_med3d(target, file)
    loaded = target.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in source.state_dict().items())
    started = ResNet3D(18, weights=file).state_dict()
    assert all(torch.equal(value, started[name]) for name, value in source.state_dict().items())
    for wrong in (ResNet3D(10), ResNet3D(18, width=32), ResNet3D(18, shortcut="B")):
        with pytest.raises(InputError, match="does not fit"):
            load_med3d(wrong, file)


def test_a_file_that_is_no_weight_file_is_refused(tmp_path):
    encoder = ResNet3D(10, width=4)
    with pytest.raises(InputError, match="no such file"):
        load_med3d(encoder, tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(InputError, match="text.pth"):
        load_med3d(encoder, tmp_path / "text.pth")
    torch.save({"state_dict": nn.Linear}, tmp_path / "code.pth")  # a pickled class
    with pytest.raises(InputError, match="code.pth"):
        load_med3d(encoder, tmp_path / "code.pth")
    torch.save({1: torch.ones(2)}, tmp_path / "unnamed.pth")
    with pytest.raises(InputError, match="holds no dictionary of tensors"):
        load_med3d(encoder, tmp_path / "unnamed.pth")


def test_unknown_depth_names_the_known_ones():
    with pytest.raises(InputError, match="10, 18, 34, 50"):
        ResNet3D(101)


@pytest.mark.parametrize(
    "wrapped",
    [
        *(
            lambda state, p=prefix: {f"{p}{k}": v for k, v in state.items()}
            for prefix in (
                "_orig_mod.", "module.", "module.module.", "model.", "encoder.",
                "_orig_mod.module.", "module.encoder.",
            )
        ),
        lambda state: {"model": state, "epoch": 3},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {**state, "fc.weight": torch.zeros(2, 32), "fc.bias": torch.zeros(2)},
        lambda state: {f"model.{k}": v for k, v in state.items()} | {"fc.bias": torch.zeros(2)},
    ],
)  # fmt: skip
def test_a_wrapped_file_is_read_as_what_is_in_it(tmp_path, wrapped):
    state = ResNet3D(10, width=4).state_dict()
    torch.save(wrapped(state), tmp_path / "w.pth")
    loaded = ResNet3D(10, width=4, weights=tmp_path / "w.pth").state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_refusals_name_the_tensor_and_never_advise_to_run_code(tmp_path):
    state, file = ResNet3D(10, width=4).state_dict(), tmp_path / "w.pth"
    encoder = ResNet3D(10, width=4)
    for bad in (float("nan"), float("inf")):
        spoilt = {k: v.clone() for k, v in state.items()}
        spoilt["layer2.0.conv1.weight"].view(-1)[5] = bad
        torch.save(spoilt, file)
        with pytest.raises(InputError, match=r"w.pth: layer2.0.conv1.weight has values"):
            load_med3d(encoder, file)
    torch.save({**state, "decoder.weight": torch.zeros(2)}, file)
    with pytest.raises(InputError, match=r"unknown \['decoder.weight'\].*take them out"):
        load_med3d(encoder, file)
    torch.save({"state_dict": nn.Linear}, file)
    with pytest.raises(InputError, match="code in it could run") as caught:
        load_med3d(encoder, file)
    assert "weights_only" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="is a folder"):
        load_med3d(encoder, tmp_path)


def test_a_library_that_is_missing_is_not_the_weight_files_fault(tmp_path, monkeypatch):
    def load(*arguments, **words):
        raise OSError("libcudart.so.12: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(OSError, match="^libcudart"):
        load_med3d(ResNet3D(10, width=4), tmp_path / "w.pth")
