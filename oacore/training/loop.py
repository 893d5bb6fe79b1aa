"""Training: one loop for every backbone, supervision and device.

The objective and optimiser are the paper's (section 3.4): equation (3) by AdamW, without
augmentation or early stopping. The last epoch is what counts, so that a run selects nothing on
any split; settings are chosen beforehand on other knees (``profiles.yml`` says on which).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm

from oacore.data.cache import Volumes
from oacore.errors import InputError
from oacore.files import replace, saving, whole, write
from oacore.fingerprint import fingerprint
from oacore.models.heads import HierarchicalNet, build_model, channels_last
from oacore.profile import SCHEDULES, STATISTICS
from oacore.provenance import numerics, provenance
from oacore.seals import SEAL, seal
from oacore.training.batches import epoch_batches, graded_batches, in_order, volume_reader
from oacore.training.config import RunConfig
from oacore.training.convolutions import secure_convolutions
from oacore.training.device import choose_accelerator, choose_precision, require_devices
from oacore.training.grades import told
from oacore.training.losses import LossSums, hierarchical_loss
from oacore.training.normalisation import re_estimate
from oacore.training.prediction import predict
from oacore.training.resuming import CHECKPOINT, is_finished, prepare, say

#: Training knees, spread over the split, whose loss in evaluation mode is taken in each epoch.
EVALUATED = 64
#: What a finished run is sealed with, besides its record.
FILES = (
    *("config.json", "history.csv", "weights.safetensors", "features.npz"),
    *("predictions.csv", "predictions_other.csv"),
)


def learning_rate(config: RunConfig, epoch: int) -> float:
    """Rate of an epoch, the first is 0: the same in all, or half a cosine from the first down."""
    if config.schedule == "constant":
        return config.lr
    return config.lr * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


def settings_of(config: RunConfig, cases: pd.DataFrame, volumes: Volumes) -> dict[str, Any]:
    """All that a run follows from but for the code, as its ``done.json`` has it.

    Parameters
    ----------
    config, cases, volumes
        See :func:`train`.
    """
    given = told(cases, config.grades, config.seed)
    return {**asdict(config), "volumes": volumes.key, "labels": _digest_of_labels(given)}


def code_of(backbone: str) -> str:
    """Fingerprint of the code that a run of a backbone follows from, as its record has it."""
    return fingerprint(__name__, f"oacore.models.{backbone}")


def train(
    config: RunConfig,
    cases: pd.DataFrame,
    volumes: Volumes,
    folder: str | Path,
    accelerator: str = "auto",
    devices: int = 1,
) -> Path:
    """Train a model, or go on where an interrupted call left off, or find it done.

    Parameters
    ----------
    config : RunConfig
    cases : DataFrame
        Graded cases of both splits, see :func:`.cohort.graded`.
    volumes : Volumes
    folder : path-like
        Gets

        - ``config.json``, the settings;
        - ``history.csv``, after each epoch: of every epoch so far its rate, its losses in training
          (`loss`, and one for each head), the same in evaluation mode on `EVALUATED` training
          knees (`loss_evaluated` and so on), and its seconds;
        - ``weights.safetensors``, with the statistics that the settings ask for;
        - ``predictions.csv`` and ``features.npz``, of that model (:func:`.prediction.predict`);
        - ``predictions_other.csv``, of the same weights with the other statistics;
        - ``seal.json``, what these files are (:mod:`oacore.seals`);
        - last of all ``done.json``, the settings and where the run comes from.

        A finished run that is damaged is trained again, a damaged checkpoint is not gone on
        from; either is said.
    accelerator : {"auto", "cpu", "cuda"}
        See :func:`.device.choose_accelerator`.
    devices : int

    Returns
    -------
    Path
        The folder.

    Notes
    -----
    A line says if an interrupted run goes on under other numerics (threads, instruction set,
    versions, device): it ends near where it would have ended, as another seed does, not at the same
    bits. And if it is begun anew, since its settings, code, precision, kernel or number of devices
    are others now.
    """
    folder = Path(folder)
    checkpoint = folder / CHECKPOINT
    _require_known(config)
    require_devices(accelerator, devices)
    settings = settings_of(config, cases, volumes)
    cases = told(cases, config.grades, config.seed)
    if is_finished(folder, settings):
        checkpoint.unlink(missing_ok=True)  # left by a kill after the last file was written
        return folder

    bare = build_model(
        config.backbone, config.supervision, config.seed, config.encoder, config.heads
    )
    accelerator = choose_accelerator(accelerator)
    precision = choose_precision(config, accelerator)
    fabric = _launch(config, accelerator, devices, precision)
    identity = {**settings, **_circumstances(config, bare, fabric, precision)}
    if fabric.is_global_zero:
        prepare(folder, identity, config.epochs)
    fabric.barrier()

    channels_last(bare)
    training = cases[cases["split"] == "train"].reset_index(drop=True)
    around = _secured(fabric, bare, precision, config, len(training), volumes)
    optimizer = torch.optim.AdamW(
        bare.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
    )
    model, optimizer = fabric.setup(bare, optimizer)

    state: dict[str, Any] = {"model": model, "optimizer": optimizer, "identity": identity}
    state |= {"history": [], "stretches": []}
    if checkpoint.exists():
        fabric.load(checkpoint, state, weights_only=True)
    changed = _note_numerics(state, {**numerics(fabric.device), "without oneDNN": around})
    if changed and fabric.is_global_zero:
        say(folder, changed)
    read = volume_reader(volumes, fabric.device)
    name = f"{config.backbone} {config.supervision} seed {config.seed}"
    epochs = range(len(state["history"]), config.epochs)
    bar = tqdm(epochs, name, config.epochs, initial=epochs.start, disable=not fabric.is_global_zero)
    for epoch in bar:
        start = time.perf_counter()
        _seed_dropout(fabric, config, epoch)
        rate = learning_rate(config, epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batches = epoch_batches(
            len(training), config.batch_size, config.seed, epoch,
            fabric.global_rank, fabric.world_size,
        )  # fmt: skip
        given = graded_batches(training, volumes, read, batches)
        losses = train_epoch(fabric, model, optimizer, given)
        _require_finite(losses["loss"], config, precision, epoch)
        rows = evaluated_rows(len(training))
        given = graded_batches(training, volumes, read, in_order(rows, config.batch_size))
        losses |= {
            f"{name}_evaluated": loss for name, loss in evaluate(fabric, bare, given).items()
        }
        seconds = time.perf_counter() - start
        state["history"].append({"epoch": epoch + 1, "lr": rate, **losses, "seconds": seconds})
        bar.set_postfix(loss=f"{losses['loss']:.3f}")
        if fabric.is_global_zero:
            _write_history(state["history"], folder)
        part = folder / "checkpoint.part"
        with saving(part):
            fabric.save(part, state)
        if fabric.is_global_zero:
            replace(part, checkpoint)
        fabric.barrier()

    if fabric.is_global_zero:
        asked = cases, volumes, read, config.batch_size
        by_statistics = {"running": (_weights(bare), *predict(fabric, bare, *asked))}
        order = epoch_batches(len(training), config.batch_size, config.seed, config.epochs, 0, 1)
        world = fabric.world_size  # each device normalised its own part of a batch
        parts = [batch[rank::world] for batch in order for rank in range(world)]
        given = graded_batches(training, volumes, read, parts)
        _seed_dropout(fabric, config, config.epochs)
        re_estimate(fabric, bare, (x for x, _ in given))
        by_statistics["re-estimated"] = (_weights(bare), *predict(fabric, bare, *asked))
        _write_history(state["history"], folder)
        said = {key: getattr(config, key) for key in ("backbone", "supervision", "seed")}
        for statistics, (weights, predictions, features) in by_statistics.items():
            for column, value in reversed({**said, "statistics": statistics}.items()):
                predictions.insert(0, column, value)
            if statistics != config.statistics:
                predictions.to_csv(folder / "predictions_other.csv", index=False)
                continue
            with saving(folder / "weights.safetensors"):
                save_file(weights, folder / "weights.safetensors")
            predictions.to_csv(folder / "predictions.csv", index=False)
            arrays: dict[str, Any] = {"case_id": predictions["case_id"], **features}
            np.savez(folder / "features.npz", **arrays)
        origin = {"stretches": state["stretches"], "provenance": provenance(fabric.device)}
        record = json.dumps({**identity, **origin}, indent=1)
        seal(folder / SEAL, [folder / name for name in FILES], {"done.json": record})
        write(folder / "done.json", record)
        checkpoint.unlink(missing_ok=True)
    fabric.barrier()
    return folder


def evaluated_rows(n: int) -> np.ndarray:
    """Rows of the training split, at most `EVALUATED` and evenly spread, that are evaluated."""
    return np.unique(np.linspace(0, n - 1, min(n, EVALUATED)).round().astype(int))


@torch.no_grad()
def evaluate(
    fabric: Fabric, model: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]
) -> dict[str, float]:
    """Mean losses over batches in evaluation mode: with running statistics, without dropout.

    Returns
    -------
    dict
        As :func:`train_epoch` gives.
    """
    model.eval()
    sums = LossSums(fabric)
    for x, kl in batches:
        with fabric.autocast():
            logits = model(x.to(next(model.parameters()).dtype))
        answers = {head: logit.float() for head, logit in logits.items()}
        loss, parts = hierarchical_loss(answers, kl)
        sums.record(loss, parts, len(kl))
    return sums.means()


def train_epoch(
    fabric: Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
) -> dict[str, float]:
    """One pass over the training split; mean losses over its knees.

    Parameters
    ----------
    fabric, model, optimizer
        As Fabric sets them up.
    batches : iterable of (Tensor, Tensor)
        As :func:`.batches.graded_batches` yields them.

    Returns
    -------
    dict
        "loss", and for each head "loss_oa" or "loss_kl", over all devices.
    """
    model.train()
    sums = LossSums(fabric)
    for x, kl in batches:  # (batch, 1, D, H, W) and (batch,)
        logits = model(x)  # "oa": (batch,), "kl": (batch, 5)
        loss, parts = hierarchical_loss(logits, kl)
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        sums.record(loss, parts, len(kl))
    return sums.means()


def _launch(config: RunConfig, accelerator: str, devices: int, precision: Any) -> Fabric:
    fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision)
    fabric.launch()
    if fabric.device.type == "cuda":  # of the algorithms for a convolution, the fastest here
        torch.backends.cudnn.benchmark = True
    if config.batch_size < fabric.world_size:
        raise InputError(
            f"a batch of {config.batch_size} cannot be shared by {fabric.world_size} devices; "
            "use fewer devices or a larger batch"
        )
    return fabric


def _secured(
    fabric: Fabric,
    model: HierarchicalNet,
    precision: Any,
    config: RunConfig,
    n: int,
    volumes: Volumes,
) -> str:
    """Names of layers that this processor needs computed without oneDNN, and now are."""
    if fabric.device.type != "cpu" or precision == "64-true":  # oneDNN has no 64 bits
        return ""
    rank, world = fabric.global_rank, fabric.world_size
    batches = epoch_batches(n, config.batch_size, config.seed, 0, rank, world)
    shapes = {(len(batch), 1, *volumes.images.shape[1:]) for batch in batches if len(batch)}
    done = secure_convolutions(model, sorted(shapes), bf16=precision == "bf16-mixed")
    return ", ".join(done)


def _circumstances(
    config: RunConfig, model: HierarchicalNet, fabric: Fabric, precision: str
) -> dict[str, Any]:
    """What an unfinished run must share with this one, besides its settings, to be gone on with."""
    kernel = getattr(model.encoder, "kernel", None)  # an encoder with more than one names it
    return {
        "precision used": precision,
        "kernel": kernel(fabric.device) if kernel else "torch",
        "devices": fabric.world_size,
        "code": code_of(config.backbone),
    }


def _note_numerics(state: dict[str, Any], now: dict[str, Any]) -> str:
    """Record under what numerics a run goes on; in words what differs from those before, or ""."""
    stretches, begin = state["stretches"], len(state["history"]) + 1
    if stretches and stretches[-1]["numerics"] == now:
        return ""
    before = stretches[-1]["numerics"] if stretches else None
    stretches.append({"from epoch": begin, "numerics": now})
    if before is None:
        return ""
    changes = ", ".join(f"{k} {before.get(k)} -> {now[k]}" for k in now if before.get(k) != now[k])
    return (
        f"goes on from epoch {begin} under other numerics ({changes}); it will end near where it "
        "would have ended, not at the same bits, and its record says so"
    )


def _write_history(history: list[dict[str, Any]], folder: Path) -> None:
    """Write what is known of the epochs so far, for whoever asks how far a run is."""
    with whole(folder / "history.csv") as part:
        pd.DataFrame(history).to_csv(part, index=False)


def _seed_dropout(fabric: Fabric, config: RunConfig, epoch: int) -> None:
    """Seed what a pass leaves to chance, so that a resumed run draws as an uninterrupted one."""
    rank = [fabric.global_rank] if fabric.global_rank else []  # no two devices drop the same
    seed = np.random.SeedSequence([config.seed, epoch, *rank]).generate_state(1)[0]
    fabric.seed_everything(int(seed), verbose=False)


def _weights(model: HierarchicalNet) -> dict[str, torch.Tensor]:
    """A copy of a model's weights and statistics, on the CPU."""
    return {k: v.detach().cpu().clone().contiguous() for k, v in model.state_dict().items()}


def _require_known(config: RunConfig) -> None:
    if not 0 <= config.seed < 2**63:
        raise InputError(f"seed is {config.seed}; give a whole number from 0 to {2**63 - 1}")
    for name, known in (("schedule", SCHEDULES), ("statistics", STATISTICS)):
        if (value := getattr(config, name)) not in known:
            raise InputError(f"unknown {name} {value!r}: choose one of {', '.join(known)}")


def _require_finite(loss: float, config: RunConfig, precision: Any, epoch: int) -> None:
    if not np.isfinite(loss):
        or_32 = "" if precision == "32-true" else " or train in 32-true"
        raise FloatingPointError(
            f"the loss of {config.backbone} {config.supervision} became {loss} in epoch "
            f"{epoch + 1}; lower the learning rate ({config.lr}){or_32}"
        )


def _digest_of_labels(cases: pd.DataFrame) -> str:
    """Digest of what the loop reads from the table of cases."""
    text = cases[["case_id", "split", "kl"]].to_csv(index=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
