"""The benchmark's command at tiny sizes: right columns, equal numbers, nothing timed in vain."""

import json
from functools import partial

import numpy as np
import pytest
import torch

import oacore.models.nnmamba
import oacore.models.scan.selective
from benchmarks import measure, paper, peers, rows, speed
from benchmarks.measure import Row, agree, alternate, rate
from benchmarks.rows import Setting
from oacore.data.volumes import z_score
from oacore.errors import InputError
from oacore.instruments.evidence.performance import read_benchmarks
from oacore.instruments.phantom.knee import draw_knee
from oacore.instruments.phantom.subjects import sample_subjects
from oacore.models.scan.selective import sequential_scan
from oacore.training.batches import resident_reader

CPU = torch.device("cpu")
TINY = Setting(
    scans=((2, 6, 37, 4),),
    long_scan=(1, 4, 50, 2),
    grid=(16, 24, 24),
    nnmamba={"channels": 4, "blocks": 1},
    resnet3d={"depth": 10, "width": 4},
    volume=(20, 24, 28),
    knees=2,
    files=8,
    workers=(0, 1),
    profile="smoke",
    gpu_workers=0,
    cohort=11,
    text="smoke",
    repeats=2,
    steps=1,
    block=0.2,
    limit=0.0,
)


@pytest.fixture(autouse=True)
def plain_torch(monkeypatch):
    """No compiling: the numba backend has its own tests."""
    threads = torch.get_num_threads()
    for module in (oacore.models.scan.selective, rows, paper, speed):
        monkeypatch.setattr(module, "default_backend", lambda device: "torch")
    monkeypatch.setattr(rows, "find_spec", lambda name: None)
    yield
    torch.set_num_threads(threads)


def recorded(group, setting=TINY):
    return [row.record() for row in group(setting, CPU)]


# ---- how things are measured


def test_ratios_say_how_many_times_better_ours_is():
    times = Row("scan", "a", "p", "o", (4.0, 6.0, 50.0), (2.0, 1.0, 9.0), "s", aim=3.5).record()
    assert (times["peer_value"], times["our_value"], times["ratio"]) == (6, 2, 3)
    assert times["met"] is False
    assert (times["peer_spread"], times["our_spread"], times["repeats"]) == ([4, 50], [1, 9], 3)
    rates = Row("paper", "a", "p", "o", (2.0,), (9.0,), "volumes/s", aim=4).record()
    assert (rates["ratio"], rates["met"]) == (4.5, True)
    alone = Row("scan", "a", "", "o", (), (2.9,), "GiB", at_most=3).record()
    assert (alone["ratio"], alone["peer_value"], alone["met"]) == (None, None, True)
    assert Row("scan", "a", "", "o", (), (3.1,), "GiB", at_most=3).record()["met"] is False
    failed = Row("paper", "a", "p", "o", (), (9.0,), "volumes/s", aim=4).record()
    assert (failed["ratio"], failed["met"], failed["our_value"]) == (None, None, 9)


def test_calls_take_turns_and_slow_ones_fewer():
    order = []
    calls = {"peer": partial(order.append, "peer"), "ours": partial(order.append, "ours")}
    assert {len(v) for v in alternate(calls, CPU, 5, patience=60).values()} == {5}
    assert order == ["peer", "ours"] * 5
    assert {len(v) for v in alternate(calls, CPU, 5, patience=0).values()} == {3}


def test_rate_stops_at_its_steps_or_its_time():
    done = []
    rate(partial(done.append, 1), CPU, most=7, patience=60)
    assert len(done) == 7
    rate(partial(done.append, 1), CPU, most=7, patience=0)
    assert len(done) == 8


def test_different_numbers_stop_the_benchmark():
    a = torch.ones(4)
    agree({"y": a}, {"y": a * (1 + 9e-5)}, 1e-4, "scan")
    for other in (a * 1.01, -a, a * np.nan):
        with pytest.raises(RuntimeError, match="scan: y of ours and of the peer differ"):
            agree({"y": other}, {"y": a}, 1e-4, "scan")
    with pytest.raises(RuntimeError, match="cannot be compared"):
        agree({"y": a}, {}, 1e-4, "scan")


# ---- peers


def test_peer_scan_is_the_recurrence():
    pytest.importorskip("mambapy")
    random = torch.Generator().manual_seed(0)
    u, delta, z, B, C = (
        torch.randn(2, n, 21, generator=random, dtype=torch.float64) for n in (6, 6, 6, 4, 4)
    )
    A = -torch.rand(6, 4, generator=random, dtype=torch.float64)
    D, bias = torch.randn(2, 6, generator=random, dtype=torch.float64)
    words = {"z": z, "delta_bias": bias, "delta_softplus": True}
    expected = sequential_scan(u, delta, A, B, C, D, **words)
    torch.testing.assert_close(peers.mambapy_scan(u, delta, A, B, C, D, **words), expected)


def test_nnmamba_gets_its_own_scan_back():
    own = oacore.models.nnmamba.selective_scan
    with pytest.raises(KeyError), peers.nnmamba_with(peers.mambapy_scan):
        assert oacore.models.nnmamba.selective_scan is peers.mambapy_scan
        raise KeyError
    assert oacore.models.nnmamba.selective_scan is own


def test_peer_loader_gives_the_drawn_knee_as_depth_height_width(tmp_path):
    cases = rows.write_files(tmp_path, TINY, CPU)
    assert len(cases) == 8
    subject = sample_subjects([1, 1, 0, 0, 0], (0,) * 5, ungraded=(0, 0)).iloc[1].to_dict()
    drawn = draw_knee(subject, TINY.volume, [rows.SEED, 1]).image
    read = peers.OpenedFiles(list(cases["image"]), TINY.volume)
    torch.testing.assert_close(read[3][0], torch.from_numpy(z_score(drawn))[None])
    loader = peers.opened_files(list(cases["image"]), (10, 12, 14), 2, 0, seed=0, length=5)
    assert [tuple(x.shape) for x, _ in loader] == [(2, 1, 10, 12, 14)] * 2 + [(1, 1, 10, 12, 14)]


# ---- rows


def test_scan_rows(monkeypatch, capsys):
    pytest.importorskip("mambapy")
    monkeypatch.setattr(rows, "scan_memory", lambda size, method, device: (len(method), 2048.0))
    table = recorded(rows.scan)
    assert "numba is not installed: the scan's numba rows are left out" in capsys.readouterr().out
    assert [row["name"] for row in table] == [
        "Scan, 37 tokens: time, torch",
        "Scan, 37 tokens: extra memory, torch",
        "Scan, 50 tokens: peak memory, torch",
    ]
    time, extra, peak = table
    assert (time["aim"], time["repeats"], time["unit"]) == (6, 2, "s") and time["ratio"] > 0
    assert (extra["aim"], extra["ratio"], extra["met"]) == (3, 7 / 5, False)
    assert (peak["our_value"], peak["at_most"], peak["met"]) == (2, 3, True)
    assert "each tensor of mambapy's would take" in peak["note"]


def test_a_scan_that_computes_something_else_is_not_timed(monkeypatch):
    pytest.importorskip("mambapy")
    monkeypatch.setattr(rows, "alternate", lambda *_: pytest.fail("timed"))
    right = peers._mambapy
    monkeypatch.setattr(peers, "_mambapy", lambda *tensors: right(*tensors) * 1.001)
    with pytest.raises(RuntimeError, match="Scan, 37 tokens, torch: y of ours"):
        recorded(rows.scan)


def test_memory_of_a_scan_is_measured_in_a_process_of_its_own():
    if not measure.can_measure_memory(CPU):
        pytest.skip("no /proc here")
    held = torch.ones(2**28)  # 1 GiB of this process, which is not that one's
    extra, peak = rows.scan_memory((1, 64, 40_000, 2), "torch", CPU)
    # y and the gradients of u and delta: 3 x 64 x 40,000 floats, 29 MiB.
    assert 29 < extra < 45 and 100 < peak < held.numel() * 4 / 2**20


def test_nnmamba_rows():
    pytest.importorskip("mambapy")
    configured, exchanged = recorded(rows.nnmamba)
    assert (configured["aim"], exchanged["aim"]) == (5, None)
    assert configured["peer_value"] == exchanged["peer_value"]
    assert configured["ours"].endswith("channels last, fused AdamW, torch scan")
    assert exchanged["ours"] == "on our scan, fp32, AdamW"


def test_resnet3d_rows():
    (step,) = recorded(rows.resnet3d)
    assert (step["aim"], step["peer"], step["unit"]) == (1.8, "fp32, AdamW", "s")
    assert step["name"] == "ResNet3D-10 step, 2 x 16x24x24: as configured"


def test_a_step_that_computes_something_else_is_not_timed(monkeypatch):
    monkeypatch.setattr(rows, "alternate", lambda *_: pytest.fail("timed"))
    build = rows.build_model
    monkeypatch.setattr(rows, "build_model", lambda a, b, seed, *rest: build(a, b, 1, *rest))
    with pytest.raises(RuntimeError, match="resnet3d, .*: loss of ours"):
        recorded(rows.resnet3d)


def test_loading_rows():
    none, one, built = recorded(rows.loading)
    assert (none["aim"], one["aim"], built["aim"]) == (3, 3, None)
    assert none["our_value"] == one["our_value"]
    assert [row["name"].split(": ")[1] for row in (none, one)] == [
        "0 loader workers",
        "1 loader workers",
    ]
    assert built["peer_value"] is None and built["our_value"] > 0


def test_a_cache_that_holds_something_else_is_not_timed(monkeypatch):
    monkeypatch.setattr(rows, "alternate", lambda *_: pytest.fail("timed"))
    load = rows.load_batch
    monkeypatch.setattr(rows, "load_batch", lambda *words: load(*words).flip(3))
    with pytest.raises(RuntimeError, match="the cache: volume of ours"):
        recorded(rows.loading)


def test_saved_activations_are_counted_from_shapes():
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    with torch.device("meta"):
        # The input and parameters are there anyway; ReLU's output serves both layers.
        assert rows.saved_activations(net.to("meta"), torch.empty(7, 3)) == 4 * 7 * 5
    (row,) = recorded(rows.m3t)
    assert row["peer_value"] > row["our_value"] > 0 and row["ratio"] > 1


def test_the_papers_m3t_is_counted():
    (row,) = recorded(rows.m3t, Setting())
    assert row["peer_value"] == pytest.approx(23.6, abs=1)  # GiB; the issue of its day said 25
    assert row["our_value"] < 2.5


def test_rows_at_the_papers_setting():
    table = recorded(paper.paper, Setting(**{**vars(TINY), "models": ("resnet3d", "nnmamba")}))
    assert len(table) == 7 and len({row["name"] for row in table}) == 7
    for row in table:
        if row["unit"] == "volumes/s":
            assert row["ratio"] == pytest.approx(row["our_value"] / row["peer_value"])
            assert row["aim"] == (None if row["name"].endswith("no loader") else 4)
            assert "11 volumes in 16 bits on the device" in row["ours"]
        else:
            assert row["our_value"] is None and row["note"] == "measured on CUDA only"
    assert sum("our torch scan" in row["peer"] for row in table) == 3
    assert table[-1]["at_most"] == 16


def test_a_peer_without_enough_memory_is_recorded_as_such(monkeypatch):
    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(paper, "warm_peer", exhausted)
    table = recorded(paper.paper, Setting(**{**vars(TINY), "models": ("resnet3d",)}))
    for row in table[:2]:
        assert row["note"] == "the peer ran out of memory"
        assert row["peer_value"] is row["ratio"] is row["met"] is None and row["our_value"] > 0


def test_no_other_fault_of_a_peer_is_taken_for_want_of_memory(monkeypatch):
    def broken(*_):
        raise RuntimeError("cuDNN error")

    monkeypatch.setattr(paper, "warm_peer", broken)
    with pytest.raises(RuntimeError, match="cuDNN error"):
        recorded(paper.paper)


def test_the_cohort_on_the_device_repeats_the_volumes():
    images = torch.arange(3 * 8).reshape(3, 2, 2, 2).half()
    cohort = paper.resident(images, 8, CPU, ())
    assert cohort.dtype == torch.float16
    assert torch.equal(cohort, torch.cat([images, images, images[:2]]))
    batch = resident_reader(cohort)(np.array([4, 2]))
    assert batch.shape == (2, 1, 2, 2, 2) and batch.dtype == torch.float32
    assert torch.equal(batch[:, 0].half(), images[[1, 2]])


# ---- the command


def test_what_is_printed_and_recorded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rows, "scan_memory", lambda size, method, device: (1.0, 2.0))
    pytest.importorskip("mambapy")
    out = tmp_path / "new/cpu.json"
    assert speed.main(["--device", "cpu", "--threads", "1", "--out", str(out)], TINY) == 0
    printed = capsys.readouterr().out
    header = next(line for line in printed.splitlines() if line.lstrip().startswith("ratio"))
    assert header.split() == ["ratio", "aim", "met", "peer", "ours", "what"]
    assert [path.name for path in out.parent.iterdir()] == ["cpu.json"]
    record = json.loads(out.read_text())
    assert record["seed"] == 0 and record["setting"]["files"] == 8 and record["threads"] == 1
    assert {"commit", "versions", "finished", "device", "minutes"} <= set(record)
    assert "mambapy" in record["versions"]
    table = read_benchmarks(out.parent)
    assert len(table) == len(record["rows"]) == 10 and table["name"].is_unique
    assert all(name in printed for name in table["name"])
    assert list(table["ratio"].dropna()) == [r["ratio"] for r in record["rows"] if r["ratio"]]


def test_only_some_rows_are_recorded_only_where_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "RECORDED", tmp_path)
    assert speed.main(["--device", "cpu", "--only", "m3t"], TINY) == 0
    assert "saved activations" in capsys.readouterr().out and not any(tmp_path.iterdir())
    assert speed.default_out(CPU) == tmp_path / "cpu.json"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "cpu", "--only", "paper"], "paper is not measured on cpu: choose among scan"),
        (["--device", "cpu", "--threads", "0"], "--threads is 0; give 1 or more"),
    ],
)
def test_words_that_cannot_be(words, message, capsys):
    assert speed.main(words, TINY) == 2
    assert message in capsys.readouterr().err


def test_a_gpu_that_is_not_there(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert speed.main(["--device", "cuda"], TINY) == 2
    assert "PyTorch finds no GPU here" in capsys.readouterr().err


def test_without_mambapy_the_cure_is_named(monkeypatch, capsys):
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    assert speed.main(["--device", "cpu", "--only", "scan"], TINY) == 2
    assert "install the `dev` extra" in capsys.readouterr().err
    with pytest.raises(InputError, match="mambapy"):
        next(rows.nnmamba(TINY, CPU))
