"""The benchmark's rows on a CPU, and what they share with those on a GPU."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from benchmarks.measure import (
    Row,
    agree,
    alternate,
    can_measure_memory,
    in_own_process,
    peak_memory,
)
from benchmarks.peers import (
    OpenedFiles,
    Plain,
    mambapy_scan,
    opened_files,
    require_mambapy,
    scan_inputs,
    scan_pass,
)
from oacore.data.cache import cached_volumes
from oacore.instruments.phantom.knee import FIELD_OF_VIEW, draw_knee
from oacore.instruments.phantom.subjects import sample_subjects
from oacore.models.heads import build_model, channels_last
from oacore.models.m3t import M3T
from oacore.models.scan.selective import default_backend
from oacore.profile import Recipe, load_profile
from oacore.training.batches import epoch_batches, load_batch
from oacore.training.config import run_config
from oacore.training.device import choose_precision
from oacore.training.losses import hierarchical_loss

SEED = 0
#: Gap allowed between bfloat16 and float32, as a share of the norm.
LOOSE = 0.05


@dataclass(frozen=True)
class Setting:
    """Sizes of all that is timed; the defaults are those that get recorded.

    Attributes
    ----------
    scans, long_scan : (batch, channels, length, states)
    grid, nnmamba, resnet3d, batch
        Of the training steps: voxels, the two encoders' arguments, the two batch sizes.
    volume, knees, files, workers
        Of an epoch: voxels, phantoms drawn, files that hold them, worker processes of the peers.
    profile, models, gpu_workers, cohort
        On a GPU: the profile of the backbones, worker processes as released, and volumes that
        stay on the GPU: the paper's graded training knees.
    text : str
        Profile of the M3T whose saved activations are counted.
    repeats, patience
        Rounds, and seconds of a round beyond which there are 3 at most.
    steps, block, limit
        On a GPU: most steps and seconds of a block, seconds of all blocks of a backbone.
    """

    scans: tuple[tuple[int, int, int, int], ...] = ((2, 64, 4096, 16), (1, 64, 73728, 8))
    long_scan: tuple[int, int, int, int] = (1, 64, 1_310_720, 8)
    grid: tuple[int, int, int] = (64, 96, 96)
    nnmamba: dict[str, Any] = field(default_factory=lambda: {"channels": 32, "blocks": 3})
    resnet3d: dict[str, Any] = field(default_factory=lambda: {"depth": 18})
    batch: dict[str, int] = field(default_factory=lambda: {"nnmamba": 1, "resnet3d": 2})
    volume: tuple[int, int, int] = (160, 256, 256)
    knees: int = 4
    files: int = 32
    workers: tuple[int, ...] = (0, 2)
    profile: str = "paper"
    models: tuple[str, ...] = ("resnet3d", "m3t", "nnmamba")
    gpu_workers: int = 4
    cohort: int = 383
    text: str = "text"
    repeats: int = 5
    patience: float = 5.0
    steps: int = 20
    block: float = 4.0
    limit: float = 45.0


def by(grid: tuple[int, ...]) -> str:
    """Voxels in words."""
    return "x".join(map(str, grid))


def scan(setting: Setting, device: torch.device) -> Iterator[Row]:
    """Time and memory of the selective scan, forward and backward."""
    require_mambapy()
    backends = ["torch"]
    for name in {"cpu": ("numba",), "cuda": ("triton",)}[device.type]:
        if find_spec(name) is None:
            print(f"{name} is not installed: the scan's {name} rows are left out", flush=True)
        else:
            backends.append(name)
    # Least ratios of time and of memory: on a CPU for both backends, else for the default one.
    aims: dict[str, tuple[float | None, float | None]] = {"torch": (6, 3), "numba": (11, None)}
    if device.type == "cuda":
        aims = {default_backend(device): (6, 3)}
    for size in setting.scans:
        batch, channels, length, states = size
        what = f"Scan, {length:,} tokens"
        note = f"batch {batch}, {channels} channels, {states} states"
        inputs = {m: scan_inputs(size, m, device, SEED) for m in ("mambapy", *backends)}
        first = {method: scan_pass(method, tensors) for method, tensors in inputs.items()}
        theirs = {k: t.mT if t.ndim == 3 else t for k, t in first.pop("mambapy").items()}
        for backend, ours in first.items():
            agree(ours, theirs, 1e-4, f"{what}, {backend}")
        del first, theirs, ours
        calls = {method: partial(scan_pass, method, tensors) for method, tensors in inputs.items()}
        times = alternate(calls, device, setting.repeats, setting.patience)
        del inputs, calls
        extra: dict[str, tuple[float, ...]] = {}
        if can_measure_memory(device):
            extra = {method: (scan_memory(size, method, device)[0],) for method in times}
        absent = "" if extra else "; memory is measured on Linux and CUDA only"
        for backend in backends:
            faster, leaner = aims.get(backend, (None, None))
            words = ("mambapy's pscan", f"{backend} backend")
            yield Row(
                "scan", f"{what}: time, {backend}", *words, times["mambapy"], times[backend], "s",
                faster, note=note,
            )  # fmt: skip
            yield Row(
                "scan", f"{what}: extra memory, {backend}", *words, extra.get("mambapy", ()),
                extra.get(backend, ()), "MiB", leaner, note=note + absent,
            )  # fmt: skip
    batch, channels, length, states = size = setting.long_scan
    padded = batch * channels * states * 4 / 2**30 * 2 ** (length - 1).bit_length()
    held = "the whole process" if device.type == "cpu" else "all tensors"
    for backend in backends if can_measure_memory(device) else ():
        peak = scan_memory(size, backend, device)[1] / 1024
        yield Row(
            "scan", f"Scan, {length:,} tokens: peak memory, {backend}", "", f"{backend} backend",
            (), (peak,), "GiB", at_most=3,
            note=f"{held}; each tensor of mambapy's would take {padded:.2g} GiB",
        )  # fmt: skip


def scan_memory(
    size: tuple[int, int, int, int], method: str, device: torch.device
) -> tuple[float, float]:
    """Peak memory of a scan, beyond its inputs and in all, in MiB."""
    if device.type == "cuda":
        return _scan_memory(size, method, device)
    return in_own_process(_scan_memory, size, method, device, torch.get_num_threads())


def _scan_memory(
    size: tuple[int, int, int, int], method: str, device: torch.device, threads: int | None = None
) -> tuple[float, float]:
    if threads is not None:
        torch.set_num_threads(threads)

    def prepare() -> Callable[[], object]:
        # What is compiled or set up once belongs to neither side.
        scan_pass(method, scan_inputs((1, size[1], 64, size[3]), method, device, SEED))
        return partial(scan_pass, method, scan_inputs(size, method, device, SEED))

    return peak_memory(prepare, device)


def nnmamba(setting: Setting, device: torch.device) -> Iterator[Row]:
    """Training step of nnMamba, beside the same network on mambapy's scan."""
    require_mambapy()
    times, how = training_steps(setting, device, "nnmamba", mambapy_scan)
    what = f"nnMamba step, {setting.batch['nnmamba']} x {by(setting.grid)}"
    peer = f"on pscan, {Plain.how}"
    yield Row(
        "nnmamba", f"{what}: as configured", peer, how, times["peer"], times["ours"], "s", aim=5
    )
    yield Row(
        "nnmamba", f"{what}: only the scan exchanged", peer, f"on our scan, {Plain.how}",
        times["peer"], times["fp32"], "s",
    )  # fmt: skip


def resnet3d(setting: Setting, device: torch.device) -> Iterator[Row]:
    """Training step of ResNet3D, beside plain eager training."""
    times, how = training_steps(setting, device, "resnet3d", None)
    depth = setting.resnet3d["depth"]
    what = f"ResNet3D-{depth} step, {setting.batch['resnet3d']} x {by(setting.grid)}"
    yield Row(
        "resnet3d",
        f"{what}: as configured",
        Plain.how,
        how,
        times["peer"],
        times["ours"],
        "s",
        aim=1.8,
    )


def training_steps(
    setting: Setting, device: torch.device, backbone: str, scan: Callable[..., Tensor] | None
) -> tuple[dict[str, tuple[float, ...]], str]:
    """Seconds of a step: of "peer", of "ours", and of "fp32", which is ours set up like the peer.

    `scan` is the peer's, None for our own. The text says how ours computes.
    """
    paper = load_profile("paper").backbones[backbone]
    recipe = replace(paper, encoder=getattr(setting, backbone))
    random = torch.Generator().manual_seed(SEED)
    x = torch.randn(setting.batch[backbone], 1, *setting.grid, generator=random).to(device)
    kl = torch.randint(5, (len(x),), generator=random).to(device)
    ours, peer = Ours(recipe, device), Plain(recipe, device, SEED, scan)
    models: dict[str, Any] = {"peer": peer, "ours": ours}
    if scan is not None:
        models["fp32"] = Plain(recipe, device, SEED)
    calls = {name: partial(model.step, x, kl) for name, model in models.items()}
    losses = {name: {"loss": torch.as_tensor(call())} for name, call in calls.items()}
    agree(losses["ours"], losses["peer"], LOOSE, f"{backbone}, {ours.how}")
    if scan is not None:
        agree(losses["fp32"], losses["peer"], 1e-4, f"{backbone}, fp32")
        agree(gradients(models["fp32"].model), gradients(peer.model), 1e-2, f"{backbone}, fp32")
    return alternate(calls, device, setting.repeats, setting.patience), ours.how


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """All gradients in one piece: alone, a bias before a normalisation is nothing but rounding."""
    found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return {"gradients": torch.cat(found)}


class Ours:
    """A Dual model as :func:`.loop.train` sets it up, with precision "auto"."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        config = run_config(replace(recipe, precision="auto"), "dual", SEED)
        precision = choose_precision(config, device.type)
        self.fabric = Fabric(accelerator=device.type, devices=1, precision=precision)
        self.fabric.launch()
        bare = build_model(recipe.backbone, "dual", SEED, recipe.encoder, recipe.heads)
        channels_last(bare)
        optimizer = torch.optim.AdamW(
            bare.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
        self.model, self.optimizer = self.fabric.setup(bare, optimizer)
        self.how = f"{precision}, channels last, fused AdamW"
        if recipe.backbone == "nnmamba":
            self.how += f", {default_backend(device)} scan"

    def step(self, x: Tensor, kl: Tensor) -> Tensor:
        """One training step as :func:`.loop.train_epoch` takes it."""
        torch.manual_seed(SEED)
        self.optimizer.zero_grad()
        loss, _ = hierarchical_loss(self.model(x), kl)
        self.fabric.backward(loss)
        self.optimizer.step()
        return loss.detach()


def loading(setting: Setting, device: torch.device) -> Iterator[Row]:
    """An epoch's volumes without a model: a loader that opens every file, beside the cache."""
    with tempfile.TemporaryDirectory() as folder:
        cases = write_files(Path(folder), setting, device)
        files, grid, batch = list(cases["image"]), setting.volume, 2
        start = time.perf_counter()
        volumes = cached_volumes(cases, grid, "trilinear", f"{folder}/cache")
        built = time.perf_counter() - start
        loaders = {
            workers: opened_files(files, grid, batch, workers, SEED) for workers in setting.workers
        }
        # Every case by itself; the loaders put them in another order.
        peer = OpenedFiles(files, grid)
        for row in range(len(peer)):
            ours = load_batch(volumes, np.array([row]), device)[0]
            agree({"volume": ours}, {"volume": peer[row][0]}, 1e-3, "the cache")  # it has 16 bits

        def cached() -> None:
            for rows in epoch_batches(len(files), batch, SEED, 0):
                load_batch(volumes, rows, device)

        def opened(workers: int) -> None:
            for x, _ in loaders[workers]:
                x.to(device)

        calls: dict[str, Callable[[], object]] = {
            f"{workers} loader workers": partial(opened, workers) for workers in setting.workers
        }
        times = alternate({"ours": cached, **calls}, device, setting.repeats, setting.patience)
        what = f"Epoch of {len(files)} volumes of {by(grid)}"
        for name in calls:
            yield Row(
                "loading", f"{what}: {name}", f"each NIfTI opened, {name}",
                "memory-mapped cache of 16 bits", times[name], times["ours"], "s", aim=3,
                note="no model",
            )  # fmt: skip
        yield Row(
            "loading", f"Cache of {len(files)} volumes: building it, once", "", "one worker",
            (), (built,), "s", note="what the first of all epochs costs in addition",
        )  # fmt: skip


def write_files(folder: Path, setting: Setting, device: torch.device) -> pd.DataFrame:
    """Phantoms as compressed NIfTI files, stored (H, W, D) as OAIZIB-CM's are; the table of cases.

    There are more files than knees: drawing takes long, and reading does not care.
    """
    counts = [1] * setting.knees + [0] * (5 - setting.knees)  # of KL 0 to 4
    subjects = sample_subjects(counts, (0,) * 5, ungraded=(0, 0))
    voxel = np.array(FIELD_OF_VIEW) / setting.volume
    affine = np.zeros((4, 4))
    affine[[1, 2, 0], [0, 1, 2]] = voxel[[1, 2, 0]]  # from (H, W, D) to right, anterior, superior
    affine[3, 3] = 1
    drawn = []
    for knee, (_, row) in enumerate(subjects.iterrows()):
        drawn.append(folder / f"knee_{knee}.nii.gz")
        image = draw_knee(
            {str(key): value for key, value in row.items()}, setting.volume, [SEED, knee], device
        ).image
        nib.save(nib.Nifti1Image(np.ascontiguousarray(image.transpose(1, 2, 0)), affine), drawn[-1])
    files = [folder / f"case_{case:03d}.nii.gz" for case in range(setting.files)]
    for case, file in enumerate(files):
        shutil.copyfile(drawn[case % len(drawn)], file)
    return pd.DataFrame(
        {"case_id": range(1, len(files) + 1), "image": map(str, files), "mask": None}
    )


def m3t(setting: Setting, device: torch.device) -> Iterator[Row]:
    """What M3T keeps for the backward pass, with and without checkpointing; nothing is computed."""
    recipe = load_profile(setting.text).backbones["m3t"]
    with torch.device("meta"):  # shapes only
        x = torch.empty(recipe.batch_size, 1, *recipe.grid)
        plain, lean = (
            saved_activations(M3T(**{**recipe.encoder, "checkpoint": again}), x) / 2**30
            for again in (False, True)
        )
    name = f"M3T as its paper has it, {recipe.batch_size} x {by(recipe.grid)}"
    yield Row(
        "m3t", f"{name}: saved activations", "all kept", "checkpointed", (plain,), (lean,), "GiB",
        note="counted in fp32, from shapes",
    )  # fmt: skip


def saved_activations(model: nn.Module, x: Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, beside parameters and input."""
    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers(), x)}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that no other gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(x)
    return sum(storage.nbytes() for storage in kept.values())
