"""What a row of the benchmark is, and how seconds and memory are taken."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from oacore.files import end_with_parent

#: Units of which more is better.
RATES = ("volumes/s",)


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes
    ----------
    group : str
        What `--only` calls it.
    name : str
        What is measured, in words; no two rows of a run share it.
    peer, ours : str
        What is compared; `peer` is empty where there is none.
    peer_values, our_values : tuple of float
        In the order of the repeats. Medians are reported; none means that nothing was measured,
        and the note says why.
    unit : str
    aim : float, optional
        Least ratio that the project set itself.
    at_most : float, optional
        Most that our own value may be.
    note : str
    """

    group: str
    name: str
    peer: str
    ours: str
    peer_values: tuple[float, ...]
    our_values: tuple[float, ...]
    unit: str
    aim: float | None = None
    at_most: float | None = None
    note: str = ""

    def record(self) -> dict[str, Any]:
        """The row as JSON holds it: medians, least and greatest values, ratio, aim and verdict."""
        own = asdict(self)
        values = {who: own.pop(f"{who}_values") for who in ("peer", "our")}
        medians = {who: median(v) if v else None for who, v in values.items()}
        peer, our = medians["peer"], medians["our"]
        ratio = None
        if peer and our:
            ratio = our / peer if self.unit in RATES else peer / our
        met = None
        if self.aim is not None and ratio is not None:
            met = ratio >= self.aim
        elif self.at_most is not None and our is not None:
            met = our <= self.at_most
        return {
            **{key: own[key] for key in ("group", "name", "peer", "ours")},
            "ratio": ratio,
            **{key: own[key] for key in ("aim", "at_most")},
            "met": met,
            "peer_value": peer,
            "our_value": our,
            "unit": self.unit,
            **{f"{who}_spread": [min(v), max(v)] if v else None for who, v in values.items()},
            "repeats": max(len(v) for v in values.values()),
            "note": self.note,
        }


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was given; a CPU is never behind."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Seconds that one call takes."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def alternate(
    calls: Mapping[str, Callable[[], object]], device: torch.device, repeats: int, patience: float
) -> dict[str, tuple[float, ...]]:
    """Seconds of several calls that take turns, so that all meet the same state of the machine.

    Nothing here is a first call: whoever calls this has called each of them before.

    Parameters
    ----------
    calls : mapping of str to callable
    device : torch.device
    repeats : int
        Rounds; 3 at most where the first one takes longer than `patience`.
    patience : float
        Seconds.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    while len(next(iter(taken.values()))) < repeats:
        gc.collect()
        for name, call in calls.items():
            taken[name].append(seconds(call, device))
        if sum(values[0] for values in taken.values()) > patience:
            repeats = min(repeats, 3)
    return {name: tuple(values) for name, values in taken.items()}


def rate(step: Callable[[], object], device: torch.device, most: int, patience: float) -> float:
    """Steps a second, over `most` steps or those begun within `patience` seconds, but one."""
    gc.collect()
    synchronize(device)
    start = time.perf_counter()
    done = 0
    while done < 1 or (done < most and time.perf_counter() - start < patience):
        step()
        done += 1
    synchronize(device)
    return done / (time.perf_counter() - start)


def agree(ours: dict[str, Tensor], theirs: dict[str, Tensor], rtol: float, what: str) -> None:
    """Stop if two results differ by more than `rtol` of the second's norm, or one is not finite."""
    if ours.keys() != theirs.keys():
        raise RuntimeError(f"{what}: {sorted(ours)} and {sorted(theirs)} cannot be compared")
    for name, there in theirs.items():
        here = ours[name].detach().double().cpu()
        there = there.detach().double().cpu()
        gap = float((here - there).norm() / there.norm().clamp_min(1e-30))
        if not gap <= rtol:
            raise RuntimeError(
                f"{what}: {name} of ours and of the peer differ by {gap:.1e} of its norm, more "
                f"than {rtol:.0e}; a comparison of their speed would mean nothing"
            )


def in_own_process(work: Callable[..., Any], *arguments: object) -> Any:
    """Call `work` in a fresh process, whose memory nothing else has touched."""
    with ProcessPoolExecutor(1, get_context("spawn"), end_with_parent) as pool:
        return pool.submit(work, *arguments).result()


def can_measure_memory(device: torch.device) -> bool:
    """Whether the memory that a computation takes can be told: on CUDA, and on Linux."""
    return device.type == "cuda" or Path("/proc/self/status").exists()


def peak_memory(
    prepare: Callable[[], Callable[[], object]], device: torch.device
) -> tuple[float, float]:
    """Peak memory of a call, in MiB: beyond what was there before it, and in all.

    On a CPU, for a fresh process only. `prepare` makes the inputs and gives the call.
    """
    call = prepare()
    gc.collect()
    if device.type == "cuda":
        synchronize(device)
        before = torch.cuda.memory_allocated(device) / 2**20
        torch.cuda.reset_peak_memory_stats(device)
        call()
        synchronize(device)
        peak = torch.cuda.max_memory_allocated(device) / 2**20
    else:
        before = _status("VmRSS")
        call()
        # Not getrusage's ru_maxrss: on Linux it starts at what the parent process held.
        peak = _status("VmHWM")
    return peak - before, peak


def allocated(device: torch.device) -> int:
    """Bytes that tensors take on a GPU; its record of the most is reset, as is all cached memory.

    0 on a CPU, where :func:`peak_since` measures nothing.
    """
    gc.collect()
    if device.type != "cuda":
        return 0
    synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def peak_since(before: int, device: torch.device) -> tuple[float, ...]:
    """Most GiB that tensors took on a GPU since :func:`allocated`, beyond it; () on a CPU."""
    if device.type != "cuda":
        return ()
    synchronize(device)
    return ((torch.cuda.max_memory_allocated(device) - before) / 2**30,)


def _status(field: str) -> float:
    lines: Iterable[str] = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{field}:")]
    return int(line.split()[1]) / 1024  # kB to MiB
