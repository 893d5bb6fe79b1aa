"""What only a CUDA GPU can show: training there, in bfloat16, from its own memory, side by side."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import oacore.training.loop as module
from oacore.data.cache import cached_volumes
from oacore.data.cohort import graded, read_cohort
from oacore.instruments.saliency.explain import explain
from oacore.profile import load_profile
from oacore.training.batches import load_batch, volume_reader
from oacore.training.config import run_config
from oacore.training.loop import train
from oacore.training.records import run_record
from tests.helpers import CONFIG, ROOT, make_cohort, small_phantom

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture
def cohort():
    return make_cohort()


def losses(folder):
    return pd.read_csv(folder / "history.csv")["loss"].to_numpy()


def test_a_gpu_follows_the_cpu(cohort, tmp_path):
    """Convolutions there are TF32 by PyTorch's default: ten bits of mantissa."""
    ours = {
        device: losses(train(CONFIG, *cohort, tmp_path / device, accelerator=device))
        for device in ("cpu", "cuda")
    }
    assert ours["cuda"] == pytest.approx(ours["cpu"], rel=0.02)


def test_bfloat16_follows_float32_on_a_gpu(cohort, tmp_path):
    of = {}
    for precision in ("32-true", "bf16-mixed"):
        config = dataclasses.replace(CONFIG, precision=precision)
        of[precision] = losses(train(config, *cohort, tmp_path / precision, accelerator="cuda"))
    assert of["bf16-mixed"] == pytest.approx(of["32-true"], rel=0.05)
    assert not np.array_equal(*of.values())


def test_a_gpu_keeps_the_cohort_and_gives_the_batches_of_the_cache(cohort, monkeypatch):
    _, volumes = cohort
    device, rows = torch.device("cuda"), np.array([7, 2, 2])
    kept = volume_reader(volumes, device)
    batch = kept(rows)
    assert batch.is_cuda
    assert torch.equal(batch.cpu(), load_batch(volumes, rows, torch.device("cpu")))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    pinned = volume_reader(volumes, device)  # no memory to spare
    assert pinned.__name__ != kept.__name__ and torch.equal(pinned(rows), batch)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return small_phantom(tmp_path_factory.mktemp("cuda") / "cohort")


@pytest.mark.parametrize("backbone", ["resnet3d", "m3t", "nnmamba"])
def test_every_backbone_trains_and_is_explained_on_a_gpu(backbone, phantom, tmp_path):
    recipe = load_profile("smoke").backbones[backbone]
    cases = graded(read_cohort(phantom))
    volumes = cached_volumes(cases, recipe.grid, recipe.resample, tmp_path / "cache")
    run = train(run_config(recipe, "dual", 0), cases, volumes, tmp_path / "run", "cuda")
    record = run_record(run)
    assert record["provenance"]["device"].startswith("cuda")
    if backbone == "nnmamba":
        assert record["kernel"] == "triton scan"
    assert np.isfinite(pd.read_csv(run / "predictions.csv")["prob_oa"]).all()
    maps = explain(run, cases, volumes, tmp_path / "maps", lesions=True, device="cuda")
    assert len(pd.read_csv(maps / "overlap.csv"))


def test_two_seeds_train_side_by_side(cohort, tmp_path):
    """Two processes on one card end where one alone does, but for the order of its sums."""
    script = tmp_path / "one.py"
    script.write_text(f"""
import dataclasses, sys
sys.path[:0] = [{str(ROOT)!r}]
from oacore.training.loop import train
from tests.helpers import CONFIG, make_cohort
config = dataclasses.replace(CONFIG, seed=int(sys.argv[1]))
train(config, *make_cohort(), sys.argv[2], accelerator="cuda")
""")
    beside = [
        subprocess.Popen([sys.executable, script, str(seed), tmp_path / f"beside{seed}"],
                         env=os.environ)
        for seed in (0, 1)
    ]  # fmt: skip
    assert [process.wait() for process in beside] == [0, 0]
    for seed in (0, 1):
        config = dataclasses.replace(CONFIG, seed=seed)
        alone = train(config, *cohort, tmp_path / f"alone{seed}", accelerator="cuda")
        assert losses(tmp_path / f"beside{seed}") == pytest.approx(losses(alone), rel=0.02)


def test_an_interrupted_run_goes_on_on_a_gpu(cohort, tmp_path, monkeypatch):
    whole, calls = train(CONFIG, *cohort, tmp_path / "whole", accelerator="cuda"), []
    once = module.train_epoch

    def killed(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return once(*given)

    with monkeypatch.context() as patch:
        patch.setattr(module, "train_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            train(CONFIG, *cohort, tmp_path / "part", accelerator="cuda")
    again = train(CONFIG, *cohort, tmp_path / "part", accelerator="cuda")
    assert losses(again) == pytest.approx(losses(whole), rel=0.02)
    assert len(run_record(again)["stretches"]) == 1
