"""Training on pictures that are graded several times: labelled ones, and others beside them.

A run is a folder. A finished one is found and not repeated; one that was interrupted goes on from
its last epoch, on a CPU to the same bits. All of its randomness follows from the seed and the
epoch. Of two runs with the same seed the labelled batches, their order and their augmentation are
the same, whatever else is learned from.

An epoch is as many steps as all training pictures make, labelled or not: with fewer labels each is
seen more often, so runs differ in what they are told and not in how long they are trained.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import update_bn
from tqdm import tqdm

from oacore.errors import InputError
from oacore.files import replace, saving, whole, write
from oacore.fingerprint import fingerprint
from oacore.models.keypoints import Answer, GradingNet
from oacore.models.resnet2d import ResNet2D
from oacore.provenance import numerics, provenance
from oacore.seals import SEAL, seal
from oacore.training.augmentation import moved, standardised
from oacore.training.device import choose_accelerator
from oacore.training.picture_losses import (
    MISSING,
    Coherence,
    cross_entropies,
    effective_prevalence,
    inverse_prevalence,
    squared_errors,
)
from oacore.training.resuming import CHECKPOINT, is_finished, prepare, say

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
SCHEDULES = ("halved", "cosine")
#: Weights of classes from the grades of the labelled training pictures and their number.
WEIGHTINGS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "inverse": inverse_prevalence,
    "effective": effective_prevalence,
    "none": lambda grades, classes: np.ones(classes),
}
#: What a finished run is sealed with, besides its record.
FILES = ("config.json", "history.csv", "predictions.csv", "weights.safetensors")
#: Pictures in a batch of evaluation.
AT_ONCE = 100
#: What is drawn for an epoch, each from a stream of its own.
LABELLED, UNLABELLED = 0, 1


@dataclass(frozen=True)
class Pictures:
    """Pictures with their grades and landmarks.

    Attributes
    ----------
    cases : DataFrame
        A row a picture: ``case``; ``split``, "train", "val" or "test"; a column of each grade,
        missing where it was not read; and where some grades of training pictures are to be left
        unseen, ``labelled``, False for those.
    images : (n, H, W) array of uint8
    points : (n, points, 2) array of float32, optional
        x and y in pixels, pixel centres at whole numbers.
    """

    cases: pd.DataFrame
    images: np.ndarray
    points: np.ndarray | None = None


@dataclass(frozen=True)
class PictureConfig:
    """All that a run follows from, besides the pictures.

    Attributes
    ----------
    seed : int
    heads : dict of str to int
        Number of classes by the name of a grade, a column of the cases.
    encoder : dict
        Passed to :class:`.resnet2d.ResNet2D`.
    epochs, batch_size : int
    lr, weight_decay : float
    optimizer : {"adam", "adamw"}
        Weight decay is added to the gradient by Adam, and taken off the weights by AdamW.
    schedule : {"halved", "cosine"}
        The rate is halved after each of `halved_after` epochs, or falls along half a cosine.
    halved_after : tuple of int
    weighting : {"inverse", "effective", "none"}
        Of classes in the cross-entropy: :func:`.picture_losses.inverse_prevalence`,
        :func:`.picture_losses.effective_prevalence`, or 1.
    pooling : {"global", "keypoints"}
    compartments : dict of str to list of int
        See :class:`.keypoints.GradingNet`.
    regression : float
        Weight of the squared error of a scalar beside each grade; 0 is without.
    shift, turn, scale : float
        A picture is shifted by up to so many pixels along both axes, turned by up to so many
        degrees, and scaled by 1 - `scale` to 1 + `scale`, its landmarks with it.
    coherence : dict
        What the extra loss is, in words or numbers; empty without one.
    coherence_weight : float
    warm_up : int
        Epochs before the extra loss sets in.
    """

    seed: int
    heads: dict[str, int]
    encoder: dict[str, Any]
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    optimizer: str = "adam"
    schedule: str = "halved"
    halved_after: tuple[int, ...] = ()
    weighting: str = "inverse"
    pooling: str = "global"
    compartments: dict[str, list[int]] = field(default_factory=dict)
    regression: float = 0.0
    shift: float = 0.0
    turn: float = 0.0
    scale: float = 0.0
    coherence: dict[str, Any] = field(default_factory=dict)
    coherence_weight: float = 1.0
    warm_up: int = 1


def train(
    config: PictureConfig,
    pictures: Pictures,
    folder: str | Path,
    coherence: Coherence | None = None,
    accelerator: str = "auto",
    quiet: bool = False,
) -> Path:
    """Train a network, or go on where an interrupted call left off, or find it done.

    Parameters
    ----------
    config : PictureConfig
    pictures : Pictures
    folder : path-like
        Gets

        - ``config.json``, the settings;
        - ``history.csv``, a row an epoch: its rate, its mean losses by name (`ce_<grade>`,
          `mse_<grade>`, `coherence`; `loss` is their weighted sum), seconds, and seconds of the
          processor;
        - ``predictions.csv``, a row for each case of "val" and "test" and each head: `case`,
          `split`, `head`, and the probabilities `p0`, `p1`, ...;
        - ``weights.safetensors``;
        - ``seal.json``, what these files are (:mod:`oacore.seals`);
        - last of all ``done.json``, the settings and where the run comes from.
    coherence : callable, optional
        The extra loss that `config.coherence` tells of; given probabilities of labelled and
        unlabelled pictures alike. Unlabelled pictures are looked at only with one.
    accelerator : {"auto", "cpu", "cuda"}
    quiet : bool
        Whether to show no progress.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the pictures do not fit the settings, or the folder holds something else.

    Notes
    -----
    Batch normalisation gets the statistics of the training pictures, not augmented, under the final
    weights, as in :mod:`.training.normalisation`: those it remembers are of other weights.
    """
    folder = Path(folder)
    _require(config, pictures, coherence)
    settings = settings_of(config, pictures)
    if is_finished(folder, settings):
        (folder / CHECKPOINT).unlink(missing_ok=True)
        return folder
    device = torch.device(choose_accelerator(accelerator))
    identity = {**settings, "code": fingerprint(__name__), "device": device.type}
    prepare(folder, identity, config.epochs)

    data = _Data(config, pictures, device)
    model = build(config, 0 if pictures.points is None else pictures.points.shape[1]).to(device)
    optimizer = OPTIMIZERS[config.optimizer](
        model.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    state: dict[str, Any] = {"identity": identity, "history": [], "numerics": []}
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    now = numerics(device)
    if state["numerics"] and state["numerics"][-1] != now:
        say(folder, "goes on under other numerics, so it will not end at the same bits")
    if now not in state["numerics"][-1:]:
        state["numerics"].append(now)

    epochs = range(len(state["history"]), config.epochs)
    bar = tqdm(epochs, folder.name, config.epochs, initial=epochs.start, disable=quiet)
    for epoch in bar:
        start, used = time.perf_counter(), time.process_time()
        rate = learning_rate(config, epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = _train_epoch(config, model, optimizer, data, coherence, epoch)
        if not math.isfinite(losses["loss"]):
            raise FloatingPointError(
                f"{folder}: the loss became {losses['loss']} in epoch {epoch + 1}; lower the "
                f"learning rate ({config.lr})"
            )
        spent = {"seconds": time.perf_counter() - start}
        spent["processor_seconds"] = time.process_time() - used
        state["history"].append({"epoch": epoch + 1, "lr": rate, **losses, **spent})
        bar.set_postfix(loss=f"{losses['loss']:.3f}")
        with whole(folder / "history.csv") as part:
            pd.DataFrame(state["history"]).to_csv(part, index=False)
        part = folder / "checkpoint.part"
        with saving(part):
            torch.save(
                {**state, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, part
            )
        replace(part, checkpoint)

    update_bn(data.plain(data.training), model.encoder)
    weights = {k: v.detach().cpu().clone().contiguous() for k, v in model.state_dict().items()}
    with saving(folder / "weights.safetensors"):
        save_file(weights, folder / "weights.safetensors")
    held_out = np.flatnonzero(pictures.cases["split"].isin(["val", "test"]))
    with whole(folder / "predictions.csv") as part:
        prediction_table(model, pictures, held_out, device).to_csv(part, index=False)
    with whole(folder / "history.csv") as part:
        pd.DataFrame(state["history"]).to_csv(part, index=False)
    origin = {
        "processor_seconds": sum(row["processor_seconds"] for row in state["history"]),
        "n_weights": sum(weight.numel() for weight in model.parameters()),
        "numerics": state["numerics"],
        "provenance": provenance(device),
    }
    record = json.dumps({**identity, **origin}, indent=1)
    seal(folder / SEAL, [folder / name for name in FILES], {"done.json": record})
    write(folder / "done.json", record)
    checkpoint.unlink(missing_ok=True)
    return folder


def settings_of(config: PictureConfig, pictures: Pictures) -> dict[str, Any]:
    """All that a run follows from but for the code, as its ``done.json`` has it."""
    return {**asdict(config), "pictures": digest(pictures, config.heads)}


def build(config: PictureConfig, n_points: int = 0) -> GradingNet:
    """A network with its first weights; the same seed gives the same encoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = GradingNet(
            ResNet2D(**config.encoder),
            config.heads,
            config.pooling,
            config.compartments if config.pooling == "keypoints" else None,
            n_points if config.pooling == "keypoints" else 0,
            regression=config.regression > 0,
        )
    # A third faster than with the channels first.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def learning_rate(config: PictureConfig, epoch: int) -> float:
    """Rate of an epoch; the first is 0."""
    if config.schedule == "cosine":
        return config.lr * (1 + math.cos(math.pi * epoch / config.epochs)) / 2
    return config.lr * 0.5 ** sum(epoch >= after for after in config.halved_after)


@torch.no_grad()
def prediction_table(
    model: GradingNet, pictures: Pictures, rows: np.ndarray, device: torch.device
) -> pd.DataFrame:
    """Probabilities of some pictures: `case`, `split`, `head`, `p0`, `p1`, ..., a row a head.

    Columns that a grade has no class for are missing there.
    """
    model.eval()
    parts: dict[str, list[torch.Tensor]] = {}
    for first in range(0, len(rows), AT_ONCE):
        some = rows[first : first + AT_ONCE]
        x = standardised(torch.from_numpy(pictures.images[some]).to(device))
        points = torch.from_numpy(_points(model.pooling, pictures)[some]).to(device)
        for name, logits in model(x, points).logits.items():
            parts.setdefault(name, []).append(logits.softmax(1).cpu())
    cases = pictures.cases.iloc[rows]
    answers = {name: torch.cat(found).numpy() for name, found in parts.items()}
    most = max(probabilities.shape[1] for probabilities in answers.values())
    tables = []
    for name, probabilities in answers.items():
        table = pd.DataFrame({"case": cases["case"].to_numpy(), "split": cases["split"].to_numpy()})
        table["head"] = name
        for grade in range(most):
            there = grade < probabilities.shape[1]
            table[f"p{grade}"] = probabilities[:, grade] if there else np.nan
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def digest(pictures: Pictures, heads: Mapping[str, int]) -> str:
    """Digest of all that a run reads of its pictures: 16 hexadecimal characters."""
    found = hashlib.blake2b(digest_size=8)
    columns = [name for name in ("case", "split", "labelled", *heads) if name in pictures.cases]
    found.update(pictures.cases[columns].to_csv(index=False).encode())
    found.update(np.ascontiguousarray(pictures.images).tobytes())
    if pictures.points is not None:
        found.update(np.ascontiguousarray(pictures.points, dtype=np.float32).tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class _Batch:
    """Pictures on a device, augmented, with what is told of them."""

    x: torch.Tensor
    points: torch.Tensor
    grades: dict[str, torch.Tensor]


class _Data:
    """All pictures on the device, and batches of them."""

    def __init__(self, config: PictureConfig, pictures: Pictures, device: torch.device) -> None:
        self.config, self.device = config, device
        cases = pictures.cases
        told = _labelled(cases)
        train = (cases["split"] == "train").to_numpy()
        self.labelled = np.flatnonzero(train & told)
        self.unlabelled = np.flatnonzero(train & ~told)
        self.n = int(train.sum())
        with_others = bool(config.coherence)
        self.training = np.flatnonzero(train) if with_others else self.labelled
        self.images = torch.from_numpy(np.ascontiguousarray(pictures.images)).to(device)
        self.points = torch.from_numpy(_points(config.pooling, pictures)).to(device)
        self.grades, self.weights = {}, {}
        for name, classes in config.heads.items():
            grades = cases[name].astype("Int64").fillna(MISSING).to_numpy(np.int64)
            weights = WEIGHTINGS[config.weighting](grades[self.labelled], classes)
            self.weights[name] = torch.tensor(weights, dtype=torch.float32, device=device)
            self.grades[name] = torch.from_numpy(grades).to(device)

    def batches(self, stream: int, epoch: int) -> Iterator[_Batch]:
        """Augmented batches of an epoch, of the labelled or the unlabelled pictures."""
        config = self.config
        rows = self.labelled if stream == LABELLED else self.unlabelled
        rng = np.random.default_rng([config.seed, epoch, stream])
        rounds = math.ceil(self.n / len(rows))
        order = np.concatenate([rng.permutation(rows) for _ in range(rounds)])[: self.n]
        for first in range(0, self.n, config.batch_size):
            some = order[first : first + config.batch_size]
            drawn = rng.uniform(-1, 1, size=(len(some), 4)).astype(np.float32)
            chance = torch.from_numpy(drawn).to(self.device)
            at = torch.from_numpy(some).to(self.device)
            x, points = moved(
                standardised(self.images[at]),
                self.points[at],
                config.shift * chance[:, :2],
                config.turn * chance[:, 2],
                1 + config.scale * chance[:, 3],
            )
            yield _Batch(x, points, {name: grades[at] for name, grades in self.grades.items()})

    def plain(self, rows: np.ndarray) -> Iterator[torch.Tensor]:
        """Pictures as they are, in batches as in training."""
        order = np.random.default_rng([self.config.seed, self.config.epochs]).permutation(rows)
        for first in range(0, len(order), self.config.batch_size):
            at = torch.from_numpy(order[first : first + self.config.batch_size]).to(self.device)
            yield standardised(self.images[at])


def _train_epoch(
    config: PictureConfig,
    model: GradingNet,
    optimizer: torch.optim.Optimizer,
    data: _Data,
    coherence: Coherence | None,
    epoch: int,
) -> dict[str, float]:
    """One epoch; mean losses over its labelled pictures."""
    model.train()
    active = coherence if epoch >= config.warm_up else None
    others = None
    if active is not None and len(data.unlabelled):
        others = data.batches(UNLABELLED, epoch)
    sums: dict[str, torch.Tensor] = {}
    seen = 0
    for batch in data.batches(LABELLED, epoch):
        n = len(batch.x)
        answer = _answer(model, batch, next(others) if others is not None else None)
        labelled = {name: logits[:n] for name, logits in answer.logits.items()}
        entropies = cross_entropies(labelled, batch.grades, data.weights)
        errors = squared_errors({k: v[:n] for k, v in answer.scores.items()}, batch.grades)
        loss = torch.stack([*entropies.values()]).sum()
        parts = {f"ce_{name}": value for name, value in entropies.items()}
        if errors:
            loss = loss + config.regression * torch.stack([*errors.values()]).sum()
            parts |= {f"mse_{name}": value for name, value in errors.items()}
        if active is not None:
            probabilities = {name: logits.softmax(1) for name, logits in answer.logits.items()}
            parts["coherence"] = active(probabilities).mean()
            loss = loss + config.coherence_weight * parts["coherence"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for name, value in {"loss": loss, **parts}.items():
            sums[name] = sums.get(name, 0) + value.detach() * n  # read once, at the end
        seen += n
    return {name: float(total) / seen for name, total in sums.items()}


def _answer(model: nn.Module, batch: _Batch, other: _Batch | None) -> Answer:
    """Answers for a labelled batch, and after it for an unlabelled one, in one pass."""
    if other is None:
        return model(batch.x, batch.points)
    return model(torch.cat([batch.x, other.x]), torch.cat([batch.points, other.points]))


def _points(pooling: str, pictures: Pictures) -> np.ndarray:
    """Landmarks as a network reads them, (n, points, 2); of one that reads none, no points."""
    if pooling == "global" or pictures.points is None:
        return np.zeros((len(pictures.cases), 0, 2), np.float32)
    return np.asarray(pictures.points, np.float32)


def _labelled(cases: pd.DataFrame) -> np.ndarray:
    """Whether the grades of each case may be looked at."""
    if "labelled" not in cases:
        return np.ones(len(cases), dtype=bool)
    return cases["labelled"].to_numpy(dtype=bool)


def _require(config: PictureConfig, pictures: Pictures, coherence: Coherence | None) -> None:
    """Stop unless the settings are known, and the pictures fit them."""
    cases, images, points = pictures.cases, pictures.images, pictures.points
    for name, known in (
        ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("weighting", WEIGHTINGS),
    ):  # fmt: skip
        if (value := getattr(config, name)) not in known:
            raise InputError(f"unknown {name} {value!r}: choose one of {', '.join(known)}")
    if bool(config.coherence) != (coherence is not None):
        raise InputError("a coherence loss is told of and not given, or given and not told of")
    if images.dtype != np.uint8 or images.ndim != 3 or len(images) != len(cases):
        raise InputError(
            f"pictures are {images.dtype} of shape {images.shape}; give uint8 of shape "
            f"({len(cases)}, height, width)"
        )
    train = (cases["split"] == "train").to_numpy() & _labelled(cases)
    if not train.any():
        raise InputError("no labelled picture is in the split train; there is nothing to learn")
    for name, classes in config.heads.items():
        if name not in cases:
            raise InputError(f"the table of cases has no column {name!r}, of which there is a head")
        grades = cases[name].astype("Int64")
        wrong = ((grades < 0) | (grades >= classes)).fillna(False).to_numpy(dtype=bool)
        if wrong.any():
            row = cases.iloc[int(wrong.argmax())]
            raise InputError(
                f"case {row['case']}: {name} is {row[name]}; grades are 0 to {classes - 1}, or "
                "missing"
            )
        if grades[train].isna().all():
            raise InputError(f"no labelled training picture has {name}; leave out that head")
    if config.pooling == "keypoints":
        if points is None:
            raise InputError("pooling at keypoints needs landmarks; none are given")
        missing = np.isnan(points).any(axis=(1, 2))
        if missing.any():
            raise InputError(
                f"case {cases['case'].iloc[int(missing.argmax())]}: has a landmark without a place "
                "(NaN); give every picture landmarks, detected ones if there are no others"
            )
