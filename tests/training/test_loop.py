"""The training loop: against plain PyTorch, against a kill, and its record."""

import dataclasses
import json
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

import oacore.training.loop as module
from oacore.errors import InputError
from oacore.hierarchy import SUPERVISIONS
from oacore.metrics.predictions import check_predictions
from oacore.models.heads import build_model
from oacore.names import BACKBONE_NAMES
from oacore.profile import load_profile
from oacore.training import device
from oacore.training.batches import epoch_batches, load_batch, resident_reader
from oacore.training.checks import evaluated_loss
from oacore.training.config import run_config
from oacore.training.loop import evaluated_rows, train
from oacore.training.normalisation import re_estimate
from oacore.training.records import read_both, read_runs, run_folder, run_records
from oacore.training.resuming import called
from oacore.training.runs import load_trained
from tests.helpers import CONFIG, ROOT, make_cohort, reseal


@pytest.fixture
def cohort():
    torch.set_num_threads(1)
    return make_cohort()


def test_each_epoch_visits_every_case_once_in_a_new_order():
    first, second = (epoch_batches(10, 4, seed=1, epoch=e) for e in (0, 1))
    assert [len(b) for b in first] == [4, 4, 2]
    assert sorted(np.concatenate(first)) == list(range(10))
    assert np.concatenate(first).tolist() != np.concatenate(second).tolist()
    shared = [epoch_batches(10, 4, 1, 0, rank, 2) for rank in (0, 1)]
    joined = np.concatenate([b for part in shared for b in part])
    assert sorted(joined) == list(range(10))


@pytest.mark.parametrize("supervision", SUPERVISIONS)
def test_weights_equal_those_of_a_plain_loop(cohort, tmp_path, supervision):
    """The same steps written in plain PyTorch, with AdamW unfused, end at the same weights.

    In 64 bits but for the loss, which Fabric hands over in 32: memory layouts differ in the order
    of their sums.
    """
    cases, volumes = cohort
    config = dataclasses.replace(
        CONFIG, supervision=supervision, epochs=2, precision="64-true", statistics="running"
    )
    folder = train(config, cases, volumes, tmp_path / "run", accelerator="cpu")
    model = build_model("resnet3d", supervision, 3, config.encoder)
    model = model.double().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    kl = torch.tensor(cases["kl"].to_numpy())
    for epoch in range(2):
        for rows in epoch_batches(10, 4, 3, epoch):
            logits = model(torch.from_numpy(volumes.images[rows]).double()[:, None])
            loss = torch.zeros(())
            if "oa" in logits:
                target = (kl[rows] >= 2).double()
                loss = loss + torch.nn.BCEWithLogitsLoss()(logits["oa"], target)
            if "kl" in logits:
                loss = loss + torch.nn.CrossEntropyLoss()(logits["kl"], kl[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    weights = load_file(folder / "weights.safetensors")
    for name, value in model.state_dict().items():
        assert torch.allclose(weights[name], value, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize(
    ("function", "call"),
    [
        ("hierarchical_loss", 2),  # in the first epoch
        ("hierarchical_loss", 8),  # in the second, after a checkpoint
        ("replace", 2),  # with a checkpoint written and not yet in its place
        ("predict", 1),  # after the last epoch
        ("predict", 2),  # with statistics re-estimated
        ("provenance", 1),  # with all files but the last
    ],
)
def test_a_killed_run_ends_at_the_same_bits(cohort, tmp_path, function, call):
    cases, volumes = cohort
    whole = train(CONFIG, cases, volumes, tmp_path / "whole", accelerator="cpu")
    killed = tmp_path / "killed"
    code = f"""
import os, signal, sys
sys.path[:0] = [{str(ROOT)!r}]
import torch, oacore.training.loop as t
from tests.helpers import CONFIG, make_cohort
torch.set_num_threads(1)
honest, count = t.{function}, [0]
def deadly(*arguments):
    count[0] += 1
    if count[0] == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return honest(*arguments)
t.{function} = deadly
t.train(CONFIG, *make_cohort(), {str(killed)!r}, accelerator="cpu")
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert not (killed / "done.json").exists()
    train(CONFIG, cases, volumes, killed, accelerator="cpu")
    for name in (
        *("weights.safetensors", "predictions.csv", "predictions_other.csv", "features.npz"),
        "done.json",
    ):
        found = [(folder / name).read_bytes() for folder in (whole, killed)]
        if name == "done.json":
            found = [json.loads(one) for one in found]
            for one in found:
                del one["provenance"]["finished"]
        assert found[0] == found[1], name
    losses = [pd.read_csv(f / "history.csv").drop(columns="seconds") for f in (whole, killed)]
    pd.testing.assert_frame_equal(*losses, check_exact=True)


def test_an_unfinished_run_of_other_code_is_begun_anew(cohort, tmp_path, monkeypatch, capsys):
    cases, volumes = cohort

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "fingerprint", lambda *modules: "old")
        patch.setattr(module, "predict", stop)
        with pytest.raises(KeyboardInterrupt):
            train(CONFIG, cases, volumes, tmp_path, accelerator="cpu")
    assert (tmp_path / "checkpoint.pt").exists()
    seen = []
    honest = module.learning_rate
    monkeypatch.setattr(module, "learning_rate", lambda *a: seen.append(a[-1]) or honest(*a))
    with warnings.catch_warnings(action="error", category=UserWarning):
        train(CONFIG, cases, volumes, tmp_path, accelerator="cpu")
    assert seen == [0, 1, 2]
    said = capsys.readouterr().err
    assert f"oacore: {tmp_path.name}: this run is begun anew" in said
    assert "an interrupted one there had other code" in said and str(tmp_path.parent) not in said


def test_a_batch_too_small_to_share_is_refused(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(module.Fabric, "launch", lambda self: None)
    monkeypatch.setattr(module.Fabric, "world_size", 8)
    with pytest.raises(InputError, match="batch of 4 cannot be shared by 8 devices"):
        train(CONFIG, *cohort, tmp_path / "run", accelerator="cpu")


def test_a_damaged_record_is_named(cohort, tmp_path):
    (tmp_path / "config.json").write_text("")
    with pytest.raises(InputError, match="config.json: is damaged"):
        train(CONFIG, *cohort, tmp_path, accelerator="cpu")


def test_a_finished_run_is_found_and_never_replaced(cohort, tmp_path):
    cases, volumes = cohort
    config = dataclasses.replace(CONFIG, epochs=1)
    folder = train(config, cases, volumes, tmp_path / "run", accelerator="cpu")
    before = (folder / "done.json").stat().st_mtime_ns
    train(config, cases, volumes, folder, accelerator="cpu")
    assert (folder / "done.json").stat().st_mtime_ns == before
    corrected = cases.assign(kl=cases["kl"].where(cases["case_id"] != 1, 4))
    for other, labels in ((dataclasses.replace(config, lr=1e-2), cases), (config, corrected)):
        with pytest.raises(InputError, match="finished run with other settings"):
            train(other, labels, volumes, folder, accelerator="cpu")
    with pytest.raises(InputError, match="unknown backbone"):
        train(dataclasses.replace(config, backbone="none"), cases, volumes, tmp_path / "new")
    assert (folder / "done.json").stat().st_mtime_ns == before


def test_bfloat16_follows_float32(cohort, tmp_path):
    cases, volumes = cohort
    finer = volumes.images.repeat(2, axis=1).repeat(2, axis=2).repeat(2, axis=3)
    volumes = dataclasses.replace(volumes, images=finer)
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        config = dataclasses.replace(CONFIG, precision=precision)
        folder = train(config, cases, volumes, tmp_path / precision, accelerator="cpu")
        losses.append(pd.read_csv(folder / "history.csv")["loss"])
    # Eight bits of mantissa round to 0.4%; three epochs of steps add up.
    assert losses[1].to_numpy() == pytest.approx(losses[0].to_numpy(), rel=0.03)
    assert not np.array_equal(losses[0], losses[1])


def test_two_processes_share_each_batch(cohort, tmp_path):
    script = tmp_path / "two.py"
    script.write_text(f"""
import sys
sys.path[:0] = [{str(ROOT)!r}]
import torch
from oacore.training.loop import evaluated_rows, train
from oacore.training.normalisation import re_estimate
from tests.helpers import CONFIG, make_cohort
torch.set_num_threads(1)
train(CONFIG, *make_cohort(), {str(tmp_path / "two")!r}, accelerator="cpu", devices=2)
""")
    done = subprocess.run([sys.executable, script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    one = train(CONFIG, *cohort, tmp_path / "one", accelerator="cpu")
    losses = [pd.read_csv(f / "history.csv")["loss"] for f in (one, tmp_path / "two")]
    # Batch normalisation sees half batches, so the two differ, but by little after one epoch.
    assert losses[1][0] == pytest.approx(losses[0][0], rel=0.1)
    assert len(pd.read_csv(tmp_path / "two" / "predictions.csv")) == 13


def test_a_folder_with_other_things_in_it_is_left_alone(cohort, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds no run"):
        train(CONFIG, *cohort, tmp_path, accelerator="cpu")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_the_record_of_a_run(cohort, tmp_path):
    cases, volumes = cohort
    runs = tmp_path / "runs"
    for supervision in SUPERVISIONS:
        config = dataclasses.replace(CONFIG, supervision=supervision, epochs=1)
        folder = run_folder(runs, "resnet3d", supervision, 3)
        train(config, cases, volumes, folder, accelerator="cpu")
    record = json.loads((folder / "done.json").read_text())
    assert record["seed"] == 3 and record["provenance"]["versions"]["torch"]
    table = read_runs(runs)
    assert len(table) == 3 * 13
    check_predictions(table)
    assert (table["oa"] == (table["kl"] >= 2)).all()
    dual = table[table["supervision"] == "dual"]
    prob = dual[[f"prob_kl_{k}" for k in range(5)]].to_numpy()
    assert prob.sum(1) == pytest.approx(1)
    assert dual["prob_oa_from_kl"].to_numpy() == pytest.approx(prob[:, 2:].sum(1))
    assert (dual["pred_kl"].to_numpy(int) == prob.argmax(1)).all()
    single_kl = table[table["supervision"] == "single_kl"]
    assert (single_kl["prob_oa"] == single_kl["prob_oa_from_kl"]).all()
    assert table.loc[table["supervision"] == "single_oa", "pred_kl"].isna().all()
    # Saved weights, loaded into a new model, give the saved features and probabilities.
    model = load_trained(folder)
    assert not model.training
    fresh = build_model("resnet3d", "dual", 0, CONFIG.encoder)
    fresh.load_state_dict(load_file(folder / "weights.safetensors"))
    for name, value in fresh.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    with torch.no_grad():
        z = model.encoder(torch.from_numpy(volumes.images).float()[:, None])
    saved = np.load(folder / "features.npz")
    assert saved["features"] == pytest.approx(z.numpy(), abs=1e-4)
    oa = model.classify(z)["oa"].sigmoid().detach().numpy()
    assert dual["prob_oa"].to_numpy() == pytest.approx(oa, abs=1e-4)


def test_a_loss_that_explodes_stops_with_the_cure(cohort, tmp_path):
    config = dataclasses.replace(CONFIG, lr=1e30)
    with pytest.raises(FloatingPointError, match="lower the learning rate") as caught:
        train(config, *cohort, tmp_path / "run", accelerator="cpu")
    assert "32-true" not in str(caught.value)  # it is that already


def test_a_run_that_is_not_finished_is_not_loaded(tmp_path):
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(InputError, match="holds no finished run"):
        load_trained(tmp_path)


def test_no_finished_run_says_how_to_get_one(tmp_path):
    with pytest.raises(InputError, match="no finished run"):
        read_runs(tmp_path)


def test_runs_on_different_volumes_are_not_mixed(cohort, tmp_path):
    cases, volumes = cohort
    config = dataclasses.replace(CONFIG, epochs=1)
    for seed, key in ((0, "old"), (1, "new")):
        folder = run_folder(tmp_path, "resnet3d", "dual", seed)
        other = dataclasses.replace(volumes, key=key)
        train(dataclasses.replace(config, seed=seed), cases, other, folder, accelerator="cpu")
    with pytest.raises(InputError, match="differ in volumes"):
        read_runs(tmp_path)


def test_models_may_differ_in_all_but_the_labels(cohort, tmp_path):
    cases, volumes = cohort
    relabelled = cases.assign(kl=cases["kl"].where(cases["case_id"] != 1, 4))
    config = dataclasses.replace(CONFIG, epochs=1)
    train(config, cases, volumes, run_folder(tmp_path, "resnet3d", "dual", 3), accelerator="cpu")
    other = dataclasses.replace(config, lr=1e-4, heads="cascaded")
    folder = run_folder(tmp_path, "cascade", "dual", 3)
    train(other, cases, dataclasses.replace(volumes, key="new"), folder, accelerator="cpu")
    assert set(read_runs(tmp_path)["model"]) == {"resnet3d", "cascade"}
    folder = run_folder(tmp_path, "relabelled", "dual", 3)
    train(config, relabelled, volumes, folder, accelerator="cpu")
    with pytest.raises(InputError, match="differ in labels"):
        read_runs(tmp_path)
    # A chapter on one model is built before the other's runs are made anew.
    assert set(read_runs(tmp_path, model="relabelled")["model"]) == {"relabelled"}
    assert set(read_both(tmp_path, "relabelled")["statistics"]) == {"running", "re-estimated"}
    assert len(run_records(tmp_path, "relabelled")) == 1 < len(run_records(tmp_path))
    with pytest.raises(InputError, match="no finished run"):
        read_runs(tmp_path, model="nnmamba")


@pytest.mark.parametrize("backbone", BACKBONE_NAMES)
def test_every_backbone_trains_and_leaves_its_features(cohort, tmp_path, backbone):
    cases, volumes = cohort
    recipe = load_profile("smoke").backbones[backbone]
    images = np.random.default_rng(1).normal(size=(13, *recipe.grid)).astype(np.float16)
    volumes = dataclasses.replace(volumes, images=images)
    config = dataclasses.replace(run_config(recipe, "dual", 3), epochs=1)
    folder = train(config, cases, volumes, tmp_path / "run", accelerator="cpu")
    model = load_trained(folder)
    with torch.no_grad():
        named = model.encoder.features(torch.from_numpy(images[:1]).float()[:, None])
    *before, last = named
    widths = {name: named[name].shape[1] for name in before}
    assert named[last].shape[1] == model.encoder.n_features
    saved = np.load(folder / "features.npz")
    assert {k: v.shape for k, v in saved.items()} == {
        "case_id": (13,),
        **{name: (13, width) for name, width in widths.items()},
        "features": (13, model.encoder.n_features),
    }
    logits = model.classify(torch.from_numpy(saved["features"]))
    table = pd.read_csv(folder / "predictions.csv")
    assert table["prob_oa"].to_numpy() == pytest.approx(
        logits["oa"].sigmoid().detach().numpy(), abs=1e-4
    )


def test_a_cosine_falls_from_the_rate_to_almost_nothing(cohort, tmp_path):
    cases, volumes = cohort
    config = dataclasses.replace(CONFIG, schedule="cosine", epochs=4)
    folder = train(config, cases, volumes, tmp_path / "run", accelerator="cpu")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    expected = []
    for _ in range(4):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert pd.read_csv(folder / "history.csv")["lr"].to_numpy() == pytest.approx(expected)
    with pytest.raises(InputError, match="unknown schedule 'linear': choose one of constant"):
        train(dataclasses.replace(config, schedule="linear"), cases, volumes, tmp_path / "other")


def test_both_statistics_are_predicted_with_and_the_settings_say_which_counts(cohort, tmp_path):
    cases, volumes = cohort
    folders = {}
    for statistics in ("running", "re-estimated"):
        config = dataclasses.replace(CONFIG, statistics=statistics)
        folders[statistics] = train(config, cases, volumes, tmp_path / statistics, "cpu")
    for name, other in (("running", "re-estimated"), ("re-estimated", "running")):
        table = pd.read_csv(folders[name] / "predictions.csv")
        assert set(table["statistics"]) == {name}
        swapped = pd.read_csv(folders[other] / "predictions_other.csv")
        pd.testing.assert_frame_equal(table, swapped, check_exact=True)
        # What is kept as weights answers what is kept as predictions.
        model = load_trained(folders[name])
        x = torch.from_numpy(np.asarray(volumes.images)).float()[:, None]
        with torch.no_grad():
            prob = model(x)["oa"].sigmoid().numpy()
        assert table["prob_oa"].to_numpy() == pytest.approx(prob, abs=1e-5)
    one, other = (pd.read_csv(f / "predictions.csv")["prob_oa"] for f in folders.values())
    assert (one - other).abs().max() > 1e-3


def test_statistics_are_re_estimated_as_the_mean_of_each_batch(cohort, tmp_path):
    """By hooks on each layer's input, and NumPy; weights and layers without statistics stay."""
    cases, volumes = cohort
    model = build_model("resnet3d", "dual", 3, CONFIG.encoder)
    before = {name: w.clone() for name, w in model.named_parameters()}
    seen = {}

    def keep(layer, inputs):
        values = inputs[0].detach().double().transpose(0, 1).flatten(1).numpy()
        seen.setdefault(layer, []).append((values.mean(axis=1), values.var(axis=1, ddof=1)))

    layers = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    hooks = [layer.register_forward_pre_hook(keep) for layer in layers]
    batches = [
        torch.from_numpy(volumes.images[rows]).float()[:, None] for rows in ([0, 1, 2], [3, 4])
    ]
    re_estimate(Fabric(accelerator="cpu", devices=1), model, batches)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        mean, variance = (np.mean(values, axis=0) for values in zip(*seen[layer], strict=True))
        assert layer.running_mean.numpy() == pytest.approx(mean, rel=1e-4, abs=1e-6)
        assert layer.running_var.numpy() == pytest.approx(variance, rel=1e-4)
        assert layer.momentum == 0.1
    for name, weights in model.named_parameters():
        assert torch.equal(weights, before[name])


def test_the_loss_in_evaluation_is_that_of_the_model_as_it_stands(cohort, tmp_path):
    cases, volumes = cohort
    config = dataclasses.replace(CONFIG, statistics="running")
    folder = train(config, cases, volumes, tmp_path / "run", accelerator="cpu")
    history = pd.read_csv(folder / "history.csv")
    model, training = load_trained(folder), cases[cases["split"] == "train"]
    x = torch.from_numpy(volumes.images[: len(training)]).float()[:, None]
    kl = torch.tensor(training["kl"].to_numpy())
    with torch.no_grad():
        answers = model(x)
    loss = torch.nn.BCEWithLogitsLoss()(answers["oa"], (kl >= 2).float())
    loss += torch.nn.CrossEntropyLoss()(answers["kl"], kl)
    assert history["loss_evaluated"].iloc[-1] == pytest.approx(loss.item(), rel=1e-4)
    table = pd.read_csv(folder / "predictions.csv").query("split == 'train'")
    assert evaluated_loss(table, "dual") == pytest.approx(loss.item(), rel=1e-4)
    rows = evaluated_rows(1000)
    assert len(rows) == 64 and rows[0] == 0 and rows[-1] == 999
    assert evaluated_rows(5).tolist() == [0, 1, 2, 3, 4]


def test_a_run_that_goes_on_under_other_numerics_says_so(cohort, tmp_path, monkeypatch, capsys):
    """It may stand in a page, which must not tell where on the disk the run lies."""
    cases, volumes = cohort

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "predict", stop)
        with pytest.raises(KeyboardInterrupt):
            train(dataclasses.replace(CONFIG, epochs=3), cases, volumes, tmp_path / "run", "cpu")
    torch.set_num_threads(2)
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):
            folder = train(CONFIG, cases, volumes, tmp_path / "run", accelerator="cpu")
    finally:
        torch.set_num_threads(1)
    said = capsys.readouterr().err
    assert "oacore: run: goes on from epoch 4 under other numerics (threads 1 -> 2);" in said
    assert str(tmp_path) not in said and "loop.py" not in said
    stretches = json.loads((folder / "done.json").read_text())["stretches"]
    assert [s["from epoch"] for s in stretches] == [1, 4]
    assert [s["numerics"]["threads"] for s in stretches] == [1, 2]
    assert stretches[0]["numerics"]["instructions"] == torch.backends.cpu.get_cpu_capability()


def test_a_run_is_called_by_its_place_in_the_build(tmp_path, monkeypatch):
    """As chapters name it, as jobs do, by its absolute path below the working directory or not."""
    run = "runs/resnet3d/dual/seed3"
    monkeypatch.chdir(tmp_path)
    for above in ("..", ".", tmp_path):
        assert called(Path(above, "build/laptop", run)) == run
    assert called(Path("mine")) == called(tmp_path.parent / "mine") == "mine"


def test_a_record_of_an_older_version_is_named(cohort, tmp_path):
    folder = run_folder(tmp_path, "resnet3d", "dual", 3)
    train(dataclasses.replace(CONFIG, epochs=1), *cohort, folder, accelerator="cpu")
    record = json.loads((folder / "done.json").read_text())
    assert record["devices"] == 1
    del record["stretches"]
    (folder / "done.json").write_text(json.dumps(record))
    reseal(folder)
    for read in (read_runs, run_records):
        with pytest.raises(InputError, match=r"done.json: lacks stretches.*train it again"):
            read(tmp_path)


def test_seeds_of_any_size_train(cohort, tmp_path):
    config = dataclasses.replace(CONFIG, seed=2**32, epochs=1)
    assert (train(config, *cohort, tmp_path, accelerator="cpu") / "done.json").exists()


def test_a_resident_cohort_gives_the_batches_of_the_cache(cohort):
    _, volumes = cohort
    read = resident_reader(torch.from_numpy(np.asarray(volumes.images)))
    rows = np.array([7, 2, 2])
    batch = load_batch(volumes, rows, torch.device("cpu"))
    assert torch.equal(read(rows), batch)
    assert read(rows).stride() == batch.stride() == (4096, 1, 256, 16, 1)
    assert torch.equal(batch[:, 0], torch.from_numpy(volumes.images[rows]).float())


def test_no_device_is_taken_that_was_not_asked_for(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose_accelerator("auto") == "cpu"
    with pytest.raises(InputError, match="no CUDA GPU"):
        device.choose_accelerator("cuda")
    with pytest.raises(InputError, match="unknown accelerator 'mps'"):
        device.choose_accelerator("mps")

    def t4(including_emulation=True):  # computes in bfloat16 by emulation only
        return including_emulation

    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    auto = dataclasses.replace(CONFIG, precision="auto")
    assert device.choose_precision(auto, "cuda") == "32-true"
