"""Training: one loop for every backbone, supervision and device.

The objective and optimiser are the paper's (section 3.4): equation (3) by AdamW, without
schedule, augmentation or early stopping, and the last epoch is what counts, so that nothing
is ever selected on the test split.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Iterator
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
from oacore.files import replace, write
from oacore.fingerprint import fingerprint
from oacore.hierarchy import oa_from_kl, prob_oa_from_kl
from oacore.models.heads import HierarchicalNet, build_model, channels_last
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
    if _finished(folder, settings):
        checkpoint.unlink(missing_ok=True)  # left by a kill after the last file was written
        return folder

    bare = build_model(
        config.backbone, config.supervision, config.seed, config.encoder, config.heads
    )
    precision = choose_precision(config, accelerator)
    fabric = _launch(config, accelerator, devices, precision)
    identity = {**settings, **_circumstances(config, bare, fabric.device, precision)}
    if fabric.is_global_zero and not _same(folder / "config.json", identity):
        _clear(folder)
        write(folder / "config.json", json.dumps(identity, indent=1))
    fabric.barrier()

    channels_last(bare)
    if precision == "bf16-mixed" and fabric.device.type == "cpu":
        _refuse_thin_volumes(bare)
    optimizer = torch.optim.AdamW(
        bare.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
    )
    model, optimizer = fabric.setup(bare, optimizer)

    state: dict[str, Any] = {"model": model, "optimizer": optimizer, "history": []}
    if checkpoint.exists():
        fabric.load(checkpoint, state, weights_only=True)
    training = cases[cases["split"] == "train"]
    name = f"{config.backbone} {config.supervision} seed {config.seed}"
    epochs = range(len(state["history"]), config.epochs)
    bar = tqdm(epochs, name, config.epochs, initial=epochs.start, disable=not fabric.is_global_zero)
    for epoch in bar:
        start = time.perf_counter()
        fabric.seed_everything(config.seed * 100_003 + epoch, verbose=False)  # dropout, if any
        batches = load_epoch(fabric, config, training, volumes, epoch)
        losses = train_epoch(fabric, model, optimizer, batches)
        _require_finite(losses["loss"], config, epoch)
        seconds = time.perf_counter() - start
        state["history"].append({"epoch": epoch + 1, **losses, "seconds": seconds})
        bar.set_postfix(loss=f"{losses['loss']:.3f}")
        part = folder / "checkpoint.part"
        fabric.save(part, state)
        if fabric.is_global_zero:
            replace(part, checkpoint)
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
        write(
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
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
) -> dict[str, float]:
    """One pass over the training split; mean losses over its knees.

    Parameters
    ----------
    fabric, model, optimizer
        As Fabric sets them up.
    batches : iterable of (Tensor, Tensor)
        As :func:`load_epoch` yields them.

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


def load_epoch(
    fabric: Fabric, config: RunConfig, training: pd.DataFrame, volumes: Volumes, epoch: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Volumes (batch, 1, D, H, W) and grades (batch,) of this device's share of each batch."""
    rows = volumes.rows(training["case_id"])
    kl = torch.tensor(training["kl"].to_numpy(np.int64), device=fabric.device)
    for batch in epoch_batches(
        len(rows), config.batch_size, config.seed, epoch, fabric.global_rank, fabric.world_size
    ):
        yield load_batch(volumes, rows[batch], fabric.device), kl[batch]


class LossSums:
    """Losses of an epoch, added up where they are: reading one at each step makes a GPU wait."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.sums: dict[str, torch.Tensor] = {}
        self.cases = 0

    def record(self, loss: torch.Tensor, parts: dict[str, torch.Tensor], cases: int) -> None:
        """Add the mean losses of one step over so many cases."""
        for key, value in {"loss": loss, **{f"loss_{k}": v for k, v in parts.items()}}.items():
            before = self.sums.get(key, torch.zeros((), device=self.fabric.device))
            self.sums[key] = before + value.detach() * cases
        self.cases += cases

    def means(self) -> dict[str, float]:
        """Mean losses over the cases of all devices."""
        cases = torch.tensor(float(self.cases), device=self.fabric.device)
        reduced: Any = self.fabric.all_reduce(
            torch.stack([*self.sums.values(), cases]), reduce_op="sum"
        )
        *losses, total = reduced.tolist()
        return {key: loss / total for key, loss in zip(self.sums, losses, strict=True)}


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
    table = _prediction_table(config, cases, joined)
    return table, {name: torch.cat(parts).numpy() for name, parts in features.items()}


def _prediction_table(
    config: RunConfig, cases: pd.DataFrame, logits: dict[str, torch.Tensor]
) -> pd.DataFrame:
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
    if "kl" in logits:
        prob_kl = logits["kl"].softmax(dim=1).numpy()  # (n, 5)
        pred_kl = pd.array(prob_kl.argmax(axis=1), dtype="Int64")
    from_kl = prob_oa_from_kl(prob_kl)  # (n,)
    prob_oa = logits["oa"].sigmoid().numpy() if "oa" in logits else from_kl
    table["prob_oa"], table["pred_oa"] = prob_oa, (prob_oa >= 0.5).astype(int)
    table["prob_oa_from_kl"] = from_kl
    for grade in range(5):
        table[f"prob_kl_{grade}"] = prob_kl[:, grade]
    table["pred_kl"] = pred_kl
    return table


def choose_precision(config: RunConfig, accelerator: str) -> Any:
    """Precision of a run as Fabric names it; for "auto", bf16 where a device computes in it."""
    if config.precision != "auto":
        return config.precision
    if accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available():
        bf16 = torch.cuda.is_bf16_supported()
    else:  # a CPU that lacks the instructions computes in bfloat16 too, but slower than in 32 bits
        bf16 = torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if bf16 else "32-true"


def _launch(config: RunConfig, accelerator: str, devices: int, precision: Any) -> Fabric:
    fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision)
    fabric.launch()
    if config.batch_size < fabric.world_size:
        raise InputError(
            f"a batch of {config.batch_size} cannot be shared by {fabric.world_size} devices; "
            "use fewer devices or a larger batch"
        )
    return fabric


def _circumstances(
    config: RunConfig, model: HierarchicalNet, device: torch.device, precision: str
) -> dict[str, str]:
    """What an unfinished run must share with this one, besides its settings, to be gone on with."""
    kernel = getattr(model.encoder, "kernel", None)  # an encoder with more than one names it
    return {
        "precision used": precision,
        "kernel": kernel(device) if kernel else "torch",
        "code": fingerprint(__name__, f"oacore.models.{config.backbone}"),
    }


def _require_finite(loss: float, config: RunConfig, epoch: int) -> None:
    if not np.isfinite(loss):
        raise FloatingPointError(
            f"the loss of {config.backbone} {config.supervision} became {loss} in epoch "
            f"{epoch + 1}; lower the learning rate ({config.lr}) or train in 32-true"
        )


def _refuse_thin_volumes(model: nn.Module) -> None:
    """Stop where oneDNN (torch 2.13) leaves gradients unwritten: bf16, thinner than the kernel."""

    def check(conv: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        sides, kernel = tuple(inputs[0].shape[2:]), conv.kernel_size
        thin = any(side < size for side, size in zip(sides, kernel, strict=True))
        if thin and conv.dilation == (1, 1, 1) and torch.is_autocast_enabled("cpu"):
            raise InputError(
                f"in bf16 on a CPU, gradients are wrong for a volume of {sides} under a "
                f"convolution of {kernel}; train in 32-true, or give the network a larger grid"
            )

    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_pre_hook(check)


def _digest_of_labels(cases: pd.DataFrame) -> str:
    """Digest of what the loop reads from the table of cases."""
    text = cases[["case_id", "split", "kl"]].to_csv(index=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _finished(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether a folder holds the finished run of these settings; one of others is an error."""
    if not (folder / "done.json").exists():
        return False
    if not _same(folder / "done.json", settings):
        raise InputError(
            f"{folder}: holds a finished run with other settings, labels or volumes; "
            "choose another folder, or remove this one"
        )
    return True


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
