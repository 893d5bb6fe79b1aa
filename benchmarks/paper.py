"""The benchmark's rows on a GPU: training at the paper's setting, with all that a step needs."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import Row, agree, allocated, peak_since, rate
from benchmarks.peers import Plain, nnmamba_with, opened_files
from benchmarks.rows import LOOSE, SEED, Ours, Setting, by, write_files
from oacore.data.cache import cached_volumes
from oacore.models.scan.selective import default_backend
from oacore.names import BACKBONE_NAMES
from oacore.profile import Recipe, load_profile
from oacore.training.batches import epoch_batches, resident_reader


def paper(setting: Setting, device: torch.device) -> Iterator[Row]:
    """Training at the paper's setting, with all that a step needs."""
    with tempfile.TemporaryDirectory() as folder:
        cases = write_files(Path(folder), setting, device)
        for backbone in setting.models:
            recipe = load_profile(setting.profile).backbones[backbone]
            volumes = cached_volumes(
                cases, recipe.grid, "trilinear", f"{folder}/cache", os.cpu_count() or 1
            )
            images = torch.from_numpy(np.array(volumes.images))  # (n, D, H, W), 16 bits
            yield from paper_rows(setting, device, recipe, list(cases["image"]), images)
    yield from m3t_memory(setting, device)


def paper_rows(
    setting: Setting, device: torch.device, recipe: Recipe, files: list[str], images: Tensor
) -> Iterator[Row]:
    """Rows of one backbone: throughput beside a peer with and without its loader, peak memory."""
    batch = recipe.batch_size
    x = images[:batch].float().unsqueeze(1).to(device)
    kl = torch.arange(batch, device=device) % 5

    peer, theirs, peer_memory = fits(lambda: warm_peer(recipe, device, x, kl, setting), device)
    before = allocated(device)
    cohort = resident(images, setting.cohort, device, peer_memory)
    ours = Ours(recipe, device)
    if theirs is not None:
        agree(answers(ours.model, x), theirs, LOOSE, f"{recipe.backbone}, {ours.how}")
    read = resident_reader(cohort)
    turns = [t for t in epoch_batches(len(cohort), batch, SEED, 0) if len(t) == batch]

    def our_step() -> None:
        turns.append(rows := turns.pop(0))
        ours.step(read(rows), kl)

    warm(our_step, device, setting.block)
    our_memory = peak_since(before, device)

    drain = 2 * setting.gpu_workers  # what the workers hold ready when they have had a rest
    loader = opened_files(
        files, recipe.grid, batch, setting.gpu_workers, SEED, device.type == "cuda",
        max(setting.cohort, batch * (drain + setting.steps)),
    )  # fmt: skip

    def peer_with_loader() -> float:
        given = iter(loader)

        def step() -> None:
            volumes, labels = next(given)
            peer.step(volumes.to(device, non_blocking=True), labels.to(device, non_blocking=True))

        if drain:
            rate(step, device, drain, setting.block / 2)
        return rate(step, device, setting.steps, setting.block)

    rates: dict[str, list[float]] = {"loader": [], "bare": [], "ours": []}
    start = time.perf_counter()
    for repeat in range(setting.repeats):
        if repeat and time.perf_counter() - start > setting.limit:
            break
        if peer is not None:
            rates["loader"].append(batch * peer_with_loader())
            step = partial(peer.step, x, kl)
            rates["bare"].append(batch * rate(step, device, setting.steps, setting.block))
        rates["ours"].append(batch * rate(our_step, device, setting.steps, setting.block))
    values = {name: tuple(v) for name, v in rates.items()}

    name = f"{BACKBONE_NAMES[recipe.backbone]}, {batch} x {by(recipe.grid)}"
    scan = f", {peer_scan(device)[1]} scan" if recipe.backbone == "nnmamba" else ""
    theirs_is = f"{Plain.how}{scan}"
    how = f"{ours.how}, {len(cohort)} volumes in 16 bits on the device"
    note = "" if peer is not None else "the peer ran out of memory"
    yield Row(
        "paper", f"{name}: training", f"{theirs_is}, {setting.gpu_workers} loader workers", how,
        values["loader"], values["ours"], "volumes/s", aim=4, note=note,
    )  # fmt: skip
    yield Row(
        "paper", f"{name}: training, no loader", f"{theirs_is}, one batch on the device", how,
        values["bare"], values["ours"], "volumes/s", note=note,
    )  # fmt: skip
    gib = cohort.numel() * cohort.element_size() / 2**30
    yield Row(
        "paper", f"{name}: peak memory", theirs_is, how, peer_memory, our_memory, "GiB",
        note=memory_note(device, peer_memory) or f"ours with {gib:.1f} GiB of volumes",
    )  # fmt: skip


def m3t_memory(setting: Setting, device: torch.device) -> Iterator[Row]:
    """Peak memory of M3T as its own paper has it."""
    recipe = load_profile(setting.text).backbones["m3t"]
    x = torch.zeros(recipe.batch_size, 1, *recipe.grid, device=device)
    kl = torch.arange(len(x), device=device) % 5
    peer_memory = fits(lambda: warm_peer(recipe, device, x, kl, setting), device)[2]
    before = allocated(device)
    ours = Ours(recipe, device)
    warm(partial(ours.step, x, kl), device, setting.block)
    yield Row(
        "paper", f"M3T as its paper has it, {len(x)} x {by(recipe.grid)}: peak memory", Plain.how,
        f"{ours.how}, checkpointed", peer_memory, peak_since(before, device), "GiB", at_most=16,
        note=memory_note(device, peer_memory),
    )  # fmt: skip


def memory_note(device: torch.device, peer_memory: tuple[float, ...]) -> str:
    """Why there is no value."""
    if device.type != "cuda":
        return "measured on CUDA only"
    return "" if peer_memory else "the peer ran out of memory"


def warm_peer(
    recipe: Recipe, device: torch.device, x: Tensor, kl: Tensor, setting: Setting
) -> tuple[Plain, dict[str, Tensor], tuple[float, ...]]:
    """The peer after its first steps, what it answered before them, and its peak memory."""
    before = allocated(device)
    # The released code keeps all activations.
    encoder = {key: value for key, value in recipe.encoder.items() if key != "checkpoint"}
    peer = Plain(replace(recipe, encoder=encoder), device, SEED, peer_scan(device)[0])
    with nnmamba_with(peer.scan):
        theirs = answers(peer.model, x)
    warm(partial(peer.step, x, kl), device, setting.block)
    return peer, theirs, peak_since(before, device)


def fits(make: Callable[[], Any], device: torch.device) -> Any:
    """What `make` gives, or (None, None, ()) where the GPU's memory does not suffice."""
    try:
        return make()
    except torch.OutOfMemoryError:
        return None, None, ()


def warm(step: Callable[[], object], device: torch.device, patience: float) -> None:
    """Take three steps, or the one that is due where steps are long: they do not count."""
    rate(step, device, 3, patience)


def answers(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Logits in evaluation, so that no dropout comes in; in one piece, as one may be near 0."""
    model.eval()
    with torch.no_grad():
        logits = torch.cat([logit.float().flatten() for logit in model(x).values()])
    model.train()
    return {"logits": logits}


def peer_scan(device: torch.device) -> tuple[Callable[..., Tensor] | None, str]:
    """What nnMamba's peer scans with: mamba_ssm's kernel as released, or ours where it is missing.

    Ours on a GPU is fused like mamba_ssm's; a slower one would make the peer slow for no reason.
    """
    if device.type == "cuda" and find_spec("mamba_ssm") is not None:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

        return selective_scan_fn, "mamba_ssm's"
    return None, f"our {default_backend(device)}"


def resident(
    images: Tensor, volumes: int, device: torch.device, peer_memory: tuple[float, ...]
) -> Tensor:
    """A cohort (n, D, H, W) in 16 bits on the device, `images` again and again.

    As many as half of what a step like the peer's would leave free can hold.
    """
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        free = total - (1.25 * 2**30 * peer_memory[0] if peer_memory else total / 2)
        room = int(free / 2 / (images[0].numel() * images.element_size()))
        volumes = min(volumes, max(room, len(images)))
    cohort = torch.empty(volumes, *images.shape[1:], dtype=images.dtype, device=device)
    for start in range(0, volumes, len(images)):
        cohort[start : start + len(images)] = images[: volumes - start]
    return cohort
