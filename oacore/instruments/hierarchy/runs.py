"""All runs of a plan, each an arm with a seed, on a cohort whose split is fixed; kept run by run.

What is finished lies in a folder outside the repository, since it holds an answer for each test
case, and is never computed again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from oacore.errors import InputError
from oacore.files import in_processes
from oacore.fingerprint import ROOT, code_digest, code_files
from oacore.instruments.hierarchy.arms import arm_of
from oacore.instruments.hierarchy.finished import read_finished, write_finished
from oacore.instruments.hierarchy.split import ImageNetwork, SplitCohort, train
from oacore.metrics.resampling import draw_cases

#: Reads a cohort from where it lies; a function of a module, so that another process finds it.
Reader = Callable[..., SplitCohort]


@dataclass(frozen=True)
class SplitPlan:
    """What is trained.

    Attributes
    ----------
    network : ImageNetwork
        Of all arms.
    arms : tuple of str
        Keys of :data:`.arms.ARMS`.
    seeds : tuple of int
    """

    network: ImageNetwork
    arms: tuple[str, ...]
    seeds: tuple[int, ...]

    def runs(self) -> Iterator[tuple[int, str]]:
        """Seed and arm of each run, seeds before arms, so that what is finished is comparable."""
        return ((seed, name) for seed in self.seeds for name in self.arms)


def run(
    plan: SplitPlan,
    read: Reader,
    places: tuple[Any, ...],
    folder: Path | str,
    workers: int = 1,
    device: str = "cpu",
    threads: int = 1,
) -> None:
    """Train what is missing of a plan.

    Parameters
    ----------
    plan : SplitPlan
    read : callable
        Gives the cohort from `places`.
    places : tuple
    folder : path
        Of the runs; outside the repository. A run is written whole or not at all.
    workers : int
        Processes.
    device : str
        As PyTorch names it; what is trained elsewhere counts as finished here.
    threads : int
        Of each process.

    Raises
    ------
    InputError
        If the folder holds a run of other settings, images, labels or code, or a damaged one.

    Notes
    -----
    The bar tells how many runs are done and how long the rest will take.
    """
    folder, known = Path(folder), cohort_of(read, places).digest()
    every = list(plan.runs())
    missing = [one for one in every if _read(plan, one, folder, known) is None]
    work = partial(_run, plan, read, places, folder, known, device, threads)
    in_processes(work, missing, workers, "hierarchy", "run", done=len(every) - len(missing))


def answers(
    plan: SplitPlan, cohort: SplitCohort, folder: Path | str
) -> Iterator[tuple[str, str, dict[str, np.ndarray]]]:
    """What is finished, one arm after another.

    Yields
    ------
    cell, name : str
    said : dict
        "seeds" (S,), "grade" (S, n, 5), "second" (S, n), as :func:`.repeats.answers` gives them,
        and "seconds" (S,) of the processor: of the first seeds, up to the first that is missing,
        so that row i is the same seed in all arms.
    """
    folder, known = Path(folder), cohort.digest()
    for name in plan.arms:
        parts = []
        for seed in plan.seeds:
            if (said := _read(plan, (seed, name), folder, known)) is None:
                break
            parts.append({"seeds": np.array(seed), **said})
        if parts:
            yield (
                plan.network.cell,
                name,
                {key: np.stack([part[key] for part in parts]) for key in parts[0]},
            )


def forget_stale(plan: SplitPlan, cohort: SplitCohort, folder: Path | str) -> None:
    """Remove runs of a plan that are of other settings, images, labels or code, or damaged."""
    folder, known = Path(folder), cohort.digest()
    for one in plan.runs():
        try:
            _read(plan, one, folder, known)
        except InputError:
            seed, name = one
            run_path(folder, plan.network.cell, name, seed).unlink()


def draw_people(cases: pd.DataFrame, n_resamples: int, seed: int) -> np.ndarray:
    """How often each case occurs in the sample itself, and in resamples of people, (1 + B, n).

    Both knees of a person are drawn together, as they are alike. Where `cases` has no ``person``,
    each is its own.
    """
    drawn = cases["person"] if "person" in cases else cases["case"]
    person, people = pd.factorize(drawn)
    return draw_cases(len(people), n_resamples, seed)[:, person]


@lru_cache(maxsize=1)
def cohort_of(read: Reader, places: tuple[Any, ...]) -> SplitCohort:
    """What a reader gives, read once by each process."""
    return read(*places)


def run_path(folder: Path | str, cell: str, name: str, seed: int) -> Path:
    """The file of a run."""
    return Path(folder) / cell / name / f"seed{seed:03d}.npz"


def _run(
    plan: SplitPlan,
    read: Reader,
    places: tuple[Any, ...],
    folder: Path,
    known: str,
    device: str,
    threads: int,
    one: tuple[int, str],
) -> None:
    """One run, in a process that has read the cohort once."""
    torch.set_num_threads(threads)
    cohort, (seed, name) = cohort_of(read, places), one
    start = time.process_time()
    said = train(plan.network, arm_of(name), cohort, seed, device=device)
    said["seconds"] = np.array(time.process_time() - start)
    path = run_path(folder, plan.network.cell, name, seed)
    write_finished(path, _key(plan, one, known), said)


def _key(plan: SplitPlan, one: tuple[int, str], known: str) -> dict[str, Any]:
    """What a run follows from, by what a message calls it."""
    seed, name = one
    settings = {"network": asdict(plan.network), "arm": asdict(arm_of(name)), "seed": seed}
    return {"settings": settings, "images or labels": known, "code": _code(plan.network.encoder)}


@cache
def _code(encoder: str) -> str:
    """Digest of what the code does that trains; words in it do not count."""
    found = hashlib.sha256()
    for file in code_files("oacore/instruments/hierarchy/split.py", f"oacore/models/{encoder}.py"):
        found.update(f"{file} {code_digest(ROOT / file)}\n".encode())
    return found.hexdigest()


def _read(
    plan: SplitPlan, one: tuple[int, str], folder: Path, known: str
) -> dict[str, np.ndarray] | None:
    """A finished run; None where there is none."""
    seed, name = one
    path = run_path(folder, plan.network.cell, name, seed)
    return read_finished(path, _key(plan, one, known))
