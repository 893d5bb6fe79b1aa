"""Training: one loop for every backbone, supervision and device.

The objective and optimiser are the paper's (section 3.4): equation (3) by AdamW, without
schedule, augmentation or early stopping, and the last epoch is what counts, so that nothing
is ever selected on the test split.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, field
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
from oacore.fingerprint import fingerprint
from oacore.hierarchy import oa_from_kl, prob_oa_from_kl
from oacore.models.heads import HierarchicalNet, build_model
from oacore.profile import Recipe
from oacore.provenance import provenance
from oacore.training.losses import hierarchical_loss


@dataclass(frozen=True)
class RunConfig:
    """All that a run's result follows from, besides the volumes."""

    backbone: str
    supervision: str
    seed: int
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    precision: str = "32-true"
    heads: str = "parallel"
    encoder: dict[str, Any] = field(default_factory=dict)


def run_config(recipe: Recipe, supervision: str, seed: int) -> RunConfig:
    """One run of a recipe."""
    return RunConfig(
        backbone=recipe.backbone,
        supervision=supervision,
        seed=seed,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        precision=recipe.precision,
        heads=recipe.heads,
        encoder=recipe.encoder,
    )


def epoch_batches(
    n: int, batch_size: int, seed: int, epoch: int, rank: int = 0, world: int = 1
) -> list[np.ndarray]:
    """Rows of each batch of an epoch, reshuffled by seed and epoch.

    Since the order follows from its arguments alone, a resumed run sees the batches that an
    uninterrupted one would have seen. With several processes each batch is split between them.
    """
    order = np.random.default_rng([seed, epoch]).permutation(n)
    batches = [order[i : i + batch_size] for i in range(0, n, batch_size)]
    # A last batch too small to share out would leave a process without work.
    batches = [batch for batch in batches if len(batch) >= world]
    return [batch[rank::world] for batch in batches]


def load_batch(volumes: Volumes, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """Volumes of some rows as a (batch, 1, D, H, W) float32 tensor."""
    batch = torch.from_numpy(np.stack([volumes.images[row] for row in rows]))
    batch = batch.to(device).float().unsqueeze(1)
    return batch.contiguous(memory_format=torch.channels_last_3d)


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
        Gets ``config.json``, ``history.csv``, ``weights.safetensors``, ``predictions.csv``,
        ``features.npz`` and, last of all, ``done.json``.
    accelerator, devices
        As Lightning Fabric takes them: "cpu", "cuda", "auto"; a number of devices.

    Returns
    -------
    Path
        The folder.
    """
    folder = Path(folder)
    checkpoint = folder / "checkpoint.pt"
    settings = {**asdict(config), "volumes": volumes.key, "labels": _digest_of_labels(cases)}
    if (folder / "done.json").exists():
        if not _same(folder / "done.json", settings):
            raise InputError(
                f"{folder}: holds a finished run with other settings, labels or volumes; "
                "choose another folder, or remove this one"
            )
        checkpoint.unlink(missing_ok=True)  # left by a kill after the last file was written
        return folder

    bare = build_model(
        config.backbone, config.supervision, config.seed, config.encoder, config.heads
    )
    precision = _precision(config, accelerator)
    fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision)
    fabric.launch()
    if config.batch_size < fabric.world_size:
        raise InputError(
            f"a batch of {config.batch_size} cannot be shared by {fabric.world_size} devices; "
            "use fewer devices or a larger batch"
        )
    kernel = getattr(bare.encoder, "kernel", None)  # an encoder with more than one names it
    # What an unfinished run must share with this one to be gone on with.
    identity = {
        **settings,
        "precision used": precision,
        "kernel": kernel(fabric.device) if kernel else "torch",
        "code": fingerprint(__name__, f"oacore.models.{config.backbone}"),
    }
    if fabric.is_global_zero and not _same(folder / "config.json", identity):
        _clear(folder)
        _write(folder / "config.json", json.dumps(identity, indent=1))
    fabric.barrier()

    for module in bare.modules():
        if isinstance(module, nn.Conv3d):  # fastest with a voxel's channels side by side
            weight = module.weight
            weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)
            if precision == "bf16-mixed" and fabric.device.type == "cpu":
                module.register_forward_pre_hook(_refuse_thin)
    optimizer = torch.optim.AdamW(
        bare.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
    )
    model, optimizer = fabric.setup(bare, optimizer)

    state: dict[str, Any] = {"model": model, "optimizer": optimizer, "history": []}
    if checkpoint.exists():
        fabric.load(checkpoint, state, weights_only=True)
    training = cases[cases["split"] == "train"]
    rows = volumes.rows(training["case_id"])
    kl = torch.tensor(training["kl"].to_numpy(np.int64), device=fabric.device)

    name = f"{config.backbone} {config.supervision} seed {config.seed}"
    epochs = range(len(state["history"]), config.epochs)
    bar = tqdm(epochs, name, config.epochs, initial=epochs.start, disable=not fabric.is_global_zero)
    for epoch in bar:
        losses = train_epoch(fabric, model, optimizer, config, volumes, rows, kl, epoch)
        state["history"].append({"epoch": epoch + 1, **losses})
        bar.set_postfix(loss=f"{losses['loss']:.3f}")
        part = folder / "checkpoint.part"
        fabric.save(part, state)
        if fabric.is_global_zero:
            _rename(part, checkpoint)
        fabric.barrier()

    if fabric.is_global_zero:
        predictions, features = predict(fabric, bare, config, cases, volumes)
        pd.DataFrame(state["history"]).to_csv(folder / "history.csv", index=False)
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in bare.state_dict().items()},
            folder / "weights.safetensors",
        )
        predictions.to_csv(folder / "predictions.csv", index=False)
        arrays: dict[str, Any] = {"case_id": predictions["case_id"], **features}
        np.savez(folder / "features.npz", **arrays)
        _write(
            folder / "done.json",
            json.dumps({**identity, "provenance": provenance(fabric.device)}, indent=1),
        )
        checkpoint.unlink(missing_ok=True)
    fabric.barrier()
    return folder


def train_epoch(
    fabric: Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: RunConfig,
    volumes: Volumes,
    rows: np.ndarray,
    kl: torch.Tensor,
    epoch: int,
) -> dict[str, float]:
    """One pass over the training split; mean losses over its cases."""
    start = time.perf_counter()
    fabric.seed_everything(config.seed * 100_003 + epoch, verbose=False)  # dropout, if any
    model.train()
    sums: dict[str, torch.Tensor] = {}
    seen = 0
    for batch in epoch_batches(
        len(rows), config.batch_size, config.seed, epoch, fabric.global_rank, fabric.world_size
    ):
        logits = model(load_batch(volumes, rows[batch], fabric.device))
        loss, parts = hierarchical_loss(logits, kl[batch])
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        # Summed where they are: reading a loss at each step would make a GPU wait.
        for key, value in {"loss": loss, **{f"loss_{k}": v for k, v in parts.items()}}.items():
            sums[key] = sums.get(key, torch.zeros((), device=fabric.device)) + (
                value.detach() * len(batch)
            )
        seen += len(batch)
    totals = torch.stack([*sums.values(), torch.tensor(float(seen), device=fabric.device)])
    reduced: Any = fabric.all_reduce(totals, reduce_op="sum")
    *losses, cases = reduced.tolist()
    means = {key: loss / cases for key, loss in zip(sums, losses, strict=True)}
    if not np.isfinite(means["loss"]):
        raise FloatingPointError(
            f"the loss of {config.backbone} {config.supervision} became {means['loss']} in epoch "
            f"{epoch + 1}; lower the learning rate ({config.lr}) or train in 32-true"
        )
    return {**means, "seconds": time.perf_counter() - start}


@torch.no_grad()
def predict(
    fabric: Fabric,
    model: HierarchicalNet,
    config: RunConfig,
    cases: pd.DataFrame,
    volumes: Volumes,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Per-case predictions and features of a trained model.

    Returns
    -------
    predictions : DataFrame
        One row a case: backbone, supervision, seed, split, case_id, the labels kl and oa, and
        prob_oa, pred_oa, prob_oa_from_kl, prob_kl_0 to prob_kl_4, pred_kl. Without an OA head
        prob_oa is equation (4); without a KL head its columns are empty.
    features : dict of ndarray of float32, each of shape (n, length)
        In the order of the rows: what the encoder computes on the way, by its own names, and
        "features", the last of them, which the heads read.
    """
    model.eval()
    encoder: Any = model.encoder
    dtype = next(encoder.parameters()).dtype
    rows = volumes.rows(cases["case_id"])
    logits: dict[str, list[torch.Tensor]] = {}
    features: dict[str, list[torch.Tensor]] = {}
    for start in range(0, len(rows), config.batch_size):
        batch = load_batch(volumes, rows[start : start + config.batch_size], fabric.device)
        with fabric.autocast():
            named = encoder.features(batch.to(dtype))
            answers = model.classify(next(reversed(named.values())))
        *before, (_, z) = named.items()
        for name, values in [*before, ("features", z)]:
            features.setdefault(name, []).append(values.float().cpu())
        for name, answer in answers.items():
            logits.setdefault(name, []).append(answer.float().cpu())
    joined = {name: torch.cat(parts).double() for name, parts in logits.items()}

    table = pd.DataFrame(
        {
            "backbone": config.backbone,
            "supervision": config.supervision,
            "seed": config.seed,
            "split": cases["split"].to_numpy(),
            "case_id": cases["case_id"].to_numpy(),
            "kl": cases["kl"].to_numpy(np.int64),
        }
    )
    table["oa"] = oa_from_kl(table["kl"])
    prob_kl = np.full((len(table), 5), np.nan)
    pred_kl = pd.array([pd.NA] * len(table), dtype="Int64")
    if "kl" in joined:
        prob_kl = joined["kl"].softmax(dim=1).numpy()
        pred_kl = pd.array(prob_kl.argmax(axis=1), dtype="Int64")
    from_kl = prob_oa_from_kl(prob_kl)
    prob_oa = joined["oa"].sigmoid().numpy() if "oa" in joined else from_kl
    table["prob_oa"], table["pred_oa"] = prob_oa, (prob_oa >= 0.5).astype(int)
    table["prob_oa_from_kl"] = from_kl
    for grade in range(5):
        table[f"prob_kl_{grade}"] = prob_kl[:, grade]
    table["pred_kl"] = pred_kl
    return table, {name: torch.cat(parts).numpy() for name, parts in features.items()}


def _precision(config: RunConfig, accelerator: str) -> Any:
    if config.precision != "auto":
        return config.precision
    if accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available():
        bf16 = torch.cuda.is_bf16_supported()
    else:  # a CPU that lacks the instructions computes in bfloat16 too, but slower than in 32 bits
        bf16 = torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if bf16 else "32-true"


def _refuse_thin(conv: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Stop where oneDNN (torch 2.13) leaves gradients unwritten: bf16, thinner than the kernel."""
    sides, kernel = tuple(inputs[0].shape[2:]), conv.kernel_size
    thin = any(side < size for side, size in zip(sides, kernel, strict=True))  # type: ignore
    if thin and conv.dilation == (1, 1, 1) and torch.is_autocast_enabled("cpu"):
        raise InputError(
            f"in bf16 on a CPU, gradients are wrong for a volume of {sides} under a convolution of "
            f"{kernel}; train in 32-true, or give the network a larger grid"
        )


def _digest_of_labels(cases: pd.DataFrame) -> str:
    """Digest of what the loop reads from the table of cases."""
    text = cases[["case_id", "split", "kl"]].to_csv(index=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _same(file: Path, settings: dict[str, Any]) -> bool:
    """Whether a run's record was written for these settings."""
    if not file.exists():
        return False
    try:
        recorded = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise InputError(f"{file}: is damaged ({error}); remove {file.parent}") from error
    return {key: recorded.get(key) for key in settings} == json.loads(json.dumps(settings))


def _clear(folder: Path) -> None:
    """Remove what an unfinished run with other settings left; touch no other folder."""
    left = list(folder.iterdir()) if folder.exists() else []
    if left and not (folder / "config.json").exists():
        raise InputError(f"{folder}: is not empty and holds no run; choose a new folder")
    if left:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    _rename(part, path)


def _rename(part: Path, path: Path) -> None:
    """Put a finished file in its place, once the disk has it: a power cut leaves the old one."""
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
