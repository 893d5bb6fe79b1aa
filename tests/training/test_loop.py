"""The training loop: against plain PyTorch, against a kill, and its record."""

import dataclasses
import json
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import oacore.training.loop as module
from oacore.errors import InputError
from oacore.hierarchy import SUPERVISIONS
from oacore.models.heads import build_model
from oacore.names import BACKBONE_NAMES
from oacore.profile import load_profile
from oacore.training.loop import epoch_batches, run_config, train
from oacore.training.records import read_runs, run_folder
from oacore.training.runs import load_trained
from tests.helpers import CONFIG, ROOT, make_cohort


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
    config = dataclasses.replace(CONFIG, supervision=supervision, epochs=2, precision="64-true")
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
        ("load_batch", 2),  # in the first epoch
        ("load_batch", 5),  # in the second, after a checkpoint
        ("replace", 2),  # with a checkpoint written and not yet in its place
        ("predict", 1),  # after the last epoch
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
    for name in ("weights.safetensors", "predictions.csv", "features.npz"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    losses = [pd.read_csv(f / "history.csv").drop(columns="seconds") for f in (whole, killed)]
    pd.testing.assert_frame_equal(*losses, check_exact=True)


def test_an_unfinished_run_of_other_code_is_begun_anew(cohort, tmp_path, monkeypatch):
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
    honest = module.load_epoch
    monkeypatch.setattr(module, "load_epoch", lambda *a: seen.append(a[-1]) or honest(*a))
    train(CONFIG, cases, volumes, tmp_path, accelerator="cpu")
    assert seen == [0, 1, 2]


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


def test_bfloat16_is_refused_where_its_gradients_are_wrong(cohort, tmp_path):
    """16 voxels a side come down to 2 under kernels of 3, which oneDNN gets wrong."""
    config = dataclasses.replace(CONFIG, precision="bf16-mixed")
    with pytest.raises(InputError, match=r"volume of \(2, 2, 2\).*\(3, 3, 3\).*32-true"):
        train(config, *cohort, tmp_path / "run", accelerator="cpu")


def test_two_processes_share_each_batch(cohort, tmp_path):
    script = tmp_path / "two.py"
    script.write_text(f"""
import sys
sys.path[:0] = [{str(ROOT)!r}]
import torch
from oacore.training.loop import train
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
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        train(config, *cohort, tmp_path / "run", accelerator="cpu")


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
