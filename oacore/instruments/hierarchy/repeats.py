"""Repeated cross-validation of all arms on one table of features, kept block by block.

A seed is one whole repeat: its folds, initial weights, batches, dropout, and what an arm's label
leaves to chance. Each knee is answered for once in a repeat, by the network of the fold that did
not see it. What is finished lies in a folder outside the repository, since it holds an answer for
each knee, and is never computed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold
from tqdm import tqdm

from oacore.fingerprint import fingerprint
from oacore.hierarchy import N_GRADES
from oacore.instruments.hierarchy.arms import ARMS, arm_of
from oacore.instruments.hierarchy.batched import NORMS, Fit, Network, train
from oacore.instruments.hierarchy.finished import read_finished, write_finished
from oacore.instruments.hierarchy.peers import PEERS, peer_of
from oacore.instruments.radiomics.table import feature_columns, read_radiomics
from oacore.metrics.clinical import weighted_kappa
from oacore.metrics.scores import macro_auc
from oacore.profile import SCHEDULES

#: Seeds of a block, and networks that train at once: more would not fit a processor's cache.
BLOCK, AT_ONCE = 5, 150
#: Arms that are crossed with normalisation and schedule.
CROSSED_ARMS = ("single_kl", "dual", "shuffled", "two_kl")
#: Where peers lie beside the cells of networks.
PEER_CELL = "peers"
#: Of folds and networks by which settings are chosen; it is not reported.
TUNING_SEED = 1000
#: What :func:`tune` chose from.
GRID = [
    Network(hidden, "layer", dropout, epochs, weight_decay=weight_decay)
    for hidden in (16, 64)
    for dropout in (0.0, 0.5)
    for weight_decay in (0.01, 1.0)
    for epochs in (10, 20, 40)
]
# What was tried, on inner folds, with seeds 1000 to 1004, one for each outer fold. The mean of
# macro-AUC and quadratic kappa, of Single-KL, of Dual, and of both, by which rows are ordered;
# each is a mean over the inner folds of five outer ones. Layer norm, batches of 32, AdamW at a
# constant rate of .001 throughout. Chosen: the first. No interval was computed: the order of the
# next few says little.
#
#   hidden  dropout  epochs  decay  Single-KL  Dual    both
#   64      0.5      20      1      0.7322     0.7369  0.7346
#   64      0.5      20      0.01   0.7290     0.7348  0.7319
#   64      0.5      40      1      0.7292     0.7327  0.7310
#   64      0.0      10      0.01   0.7301     0.7305  0.7303
#   64      0.5      40      0.01   0.7275     0.7324  0.7300
#   64      0.0      10      1      0.7308     0.7290  0.7299
#   16      0.5      40      0.01   0.7276     0.7293  0.7285
#   16      0.5      40      1      0.7216     0.7292  0.7254
#   64      0.5      10      0.01   0.7232     0.7240  0.7236
#   64      0.5      10      1      0.7247     0.7220  0.7233
#   64      0.0      20      1      0.7212     0.7209  0.7210
#   64      0.0      20      0.01   0.7225     0.7195  0.7210
#   16      0.5      20      1      0.7141     0.7185  0.7163
#   16      0.5      20      0.01   0.7130     0.7160  0.7145
#   16      0.0      20      1      0.7124     0.7137  0.7131
#   16      0.0      20      0.01   0.7106     0.7151  0.7128
#   64      0.0      40      0.01   0.7058     0.7086  0.7072
#   16      0.0      10      1      0.7047     0.7062  0.7055
#   64      0.0      40      1      0.7001     0.7104  0.7052
#   16      0.0      10      0.01   0.7059     0.7046  0.7052
#   16      0.0      40      0.01   0.7018     0.7053  0.7036
#   16      0.0      40      1      0.7004     0.7030  0.7017
#   16      0.5      10      0.01   0.6928     0.6808  0.6868
#   16      0.5      10      1      0.6872     0.6855  0.6864
#: Settings of all arms.
NETWORK = Network()


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes
    ----------
    network : Network
        Of all arms.
    arms : tuple of str
        Keys of :data:`.arms.ARMS`.
    crossed : tuple of str
        Arms that are trained with each normalisation and schedule as well.
    peers : tuple of str
        Keys of :data:`.peers.PEERS`.
    seeds, peer_seeds : tuple of int
        Repeats of the arms, and of the peers, whose first ones they are.
    folds : int
    """

    network: Network = NETWORK
    arms: tuple[str, ...] = tuple(ARMS)
    crossed: tuple[str, ...] = CROSSED_ARMS
    peers: tuple[str, ...] = tuple(PEERS)
    seeds: tuple[int, ...] = tuple(range(30))
    peer_seeds: tuple[int, ...] = tuple(range(10))
    folds: int = 5

    def cells(self) -> dict[str, tuple[Network, tuple[str, ...]]]:
        """Networks by their names, each with its arms; the first is that of all arms."""
        own = self.network
        cells = {cell_name(own): (own, self.arms)}
        for norm, schedule in product(NORMS[1:], SCHEDULES) if self.crossed else ():
            other = replace(own, norm=norm, schedule=schedule)
            cells.setdefault(cell_name(other), (other, self.crossed))
        return cells


@dataclass(frozen=True)
class Knees:
    """Features and labels of a cohort.

    Attributes
    ----------
    x : (n, features) float array
    cases : DataFrame
        n rows: ``kl``, and what labels are of.
    """

    x: np.ndarray
    cases: pd.DataFrame

    def digest(self) -> str:
        """SHA-256 of all of it."""
        told = pd.util.hash_pandas_object(self.cases, index=False).to_numpy()
        return hashlib.sha256(self.x.tobytes() + told.tobytes()).hexdigest()


@dataclass(frozen=True)
class Block:
    """Some seeds of one arm or peer.

    Attributes
    ----------
    cell, name : str
    seeds : tuple of int
    """

    cell: str
    name: str
    seeds: tuple[int, ...]

    def path(self, folder: Path) -> Path:
        """Its file."""
        return folder / self.cell / self.name / f"seeds{self.seeds[0]:03d}-{self.seeds[-1]:03d}.npz"


def cell_name(network: Network) -> str:
    """Normalisation and schedule, as in a folder's name."""
    return f"{network.norm}-{network.schedule}"


def radiomics_knees(folder: Path | str) -> Knees:
    """Features of the 481 graded knees, both splits as one cohort.

    Returns
    -------
    Knees
        535 features; ``kl``, ``male``, ``age`` (years), and ``quality``, the signal-to-noise
        ratio in the femur: mean over standard deviation of the grey levels in its mask.

    Raises
    ------
    InputError
        See :func:`.radiomics.table.read_radiomics`.
    """
    table = read_radiomics(folder)
    mean, variance = (table[f"femur firstorder_{name}"] for name in ("Mean", "Variance"))
    cases = table[["kl", "male", "age"]].assign(quality=mean / np.sqrt(variance))
    return Knees(table[feature_columns(table)].to_numpy(float), cases)


def folds_of(kl: np.ndarray, seed: int, folds: int) -> np.ndarray:
    """The fold that holds each knee out, 0 to folds - 1; stratified by grade."""
    fold = np.empty(len(kl), np.int64)
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(kl, kl)
    for number, (_, held) in enumerate(parts):
        fold[held] = number
    return fold


def held_out(
    knees: Knees, network: Network, names: Sequence[str], seeds: Sequence[int], folds: int
) -> dict[str, np.ndarray]:
    """Answers of arms of one form for every knee, by the network that did not see it.

    Parameters
    ----------
    knees : Knees
    network : Network
    names : sequence of A str
        Of arms.
    seeds : sequence of S int
    folds : int

    Returns
    -------
    dict
        "grade": (A, S, n, 5) probabilities; "second": (A, S, n), see :class:`.batched.Answers`.
    """
    fold = np.array([folds_of(knees.cases["kl"].to_numpy(), seed, folds) for seed in seeds])
    runs = [Fit(seed, one, fold[s] != one) for s, seed in enumerate(seeds) for one in range(folds)]
    said = train(network, [arm_of(name) for name in names], knees.x, knees.cases, runs)
    here = np.arange(len(knees.cases))
    of_knee = fold + folds * np.arange(len(seeds))[:, None]  # (S, n), the run that holds it out
    return {"grade": said.grade[:, of_knee, here], "second": said.second[:, of_knee, here]}


def peer_held_out(knees: Knees, name: str, seeds: Sequence[int], folds: int) -> np.ndarray:
    """Probabilities (S, n, 5) of a peer in the same folds as the arms."""
    kl = knees.cases["kl"].to_numpy(np.int64)
    said = np.zeros((len(seeds), len(kl), N_GRADES))
    for s, seed in enumerate(seeds):
        fold = folds_of(kl, seed, folds)
        for one in range(folds):
            held = fold == one
            said[s, held] = peer_of(name)(
                knees.x[~held], kl[~held], knees.x[held], seed * folds + one
            )
    return said


def blocks(plan: Plan) -> Iterator[Block]:
    """All blocks of a plan, seeds before arms, so that what is finished can be compared."""
    for seeds in _parts(plan.seeds):
        for cell, (_, names) in plan.cells().items():
            yield from (Block(cell, name, seeds) for name in names)
    for seeds in _parts(plan.peer_seeds):
        yield from (Block(PEER_CELL, name, seeds) for name in plan.peers)


def run(plan: Plan, knees: Knees, folder: Path | str, quiet: bool = False) -> None:
    """Train what is missing of a plan.

    Parameters
    ----------
    plan : Plan
    knees : Knees
    folder : path
        Of the blocks; outside the repository. A block is written whole or not at all.
    quiet : bool
        Whether to show no bar, which tells how much is done and how long the rest will take.

    Raises
    ------
    InputError
        If the folder holds a block of other settings or knees.
    """
    folder = Path(folder)
    every = list(blocks(plan))
    known = knees.digest()
    missing = [one for one in every if _read(plan, one, folder, known) is None]
    size = {one: len(one.seeds) * plan.folds for one in every}
    with tqdm(
        total=sum(size.values()), initial=sum(size[one] for one in every if one not in missing),
        unit="network", disable=quiet,
    ) as bar:  # fmt: skip
        for together in _calls(missing, plan.folds):
            first = together[0]
            names = [one.name for one in together]
            bar.set_description(f"{first.cell}: {names[0]}{' ...' if names[1:] else ''}")
            if first.cell == PEER_CELL:
                said = {"grade": peer_held_out(knees, first.name, first.seeds, plan.folds)[None]}
            else:
                network = plan.cells()[first.cell][0]
                said = held_out(knees, network, names, first.seeds, plan.folds)
            for i, one in enumerate(together):
                own = {key: value[i] for key, value in said.items()}
                write_finished(one.path(folder), _key(plan, one, known), own)
                bar.update(size[one])


def answers(
    plan: Plan, knees: Knees, folder: Path | str
) -> Iterator[tuple[str, str, dict[str, np.ndarray]]]:
    """What is finished, one arm after another.

    Yields
    ------
    cell, name : str
    said : dict
        "seeds" (S,), "grade" (S, n, 5), "second" (S, n): of the first seeds, up to the first
        block that is missing, so that row i is the same seed in all arms.
    """
    folder, known = Path(folder), knees.digest()
    found: dict[tuple[str, str], list[dict[str, np.ndarray]]] = {}
    ended = set()
    for one in blocks(plan):
        own = (one.cell, one.name)
        if own in ended or (said := _read(plan, one, folder, known)) is None:
            ended.add(own)
            continue
        said["seeds"] = np.array(one.seeds)
        found.setdefault(own, []).append(said)
    for (cell, name), parts in found.items():
        yield cell, name, {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def tune(
    knees: Knees,
    grid: Sequence[Network],
    score: Callable[[np.ndarray, np.ndarray], float],
    *,
    seed: int,
    names: Sequence[str] = ("single_kl", "dual"),
    folds: int = 5,
    quiet: bool = False,
) -> pd.DataFrame:
    """Compare settings on inner folds: those of each outer fold's training knees.

    Parameters
    ----------
    knees : Knees
    grid : sequence of Network
    score : callable
        From grades (n,) and probabilities (n, 5) to a number, more being better.
    seed : int
        Of folds and networks; one that is not reported.
    names : sequence of str
        Arms whose mean score counts, so that none is favoured.
    folds : int
        Outer, and inner.

    Returns
    -------
    DataFrame
        A row a setting, the best first: its fields, ``score``, and a column for each arm; means
        over the outer folds.
    """
    outer = folds_of(knees.cases["kl"].to_numpy(), seed, folds)
    rows = []
    for network in tqdm(grid, "settings", disable=quiet):
        found: dict[str, list[float]] = {name: [] for name in names}
        for one in range(folds):
            rest = knees.cases[outer != one].reset_index(drop=True)
            inner = Knees(knees.x[outer != one], rest)
            for name in names:
                said = held_out(inner, network, [name], [seed + one], folds)["grade"][0, 0]
                found[name].append(score(rest["kl"].to_numpy(np.int64), said))
        means = {name: float(np.mean(values)) for name, values in found.items()}
        rows.append(asdict(network) | {"score": float(np.mean(list(means.values())))} | means)
    return pd.DataFrame(rows).sort_values("score", ascending=False, ignore_index=True)


def primary_mean(kl: np.ndarray, probability: np.ndarray) -> float:
    """Mean of the two primary outcomes: macro-AUC and quadratic kappa of the likeliest grade."""
    once = np.ones((1, len(kl)))
    kappa = weighted_kappa(once, kl, probability.argmax(axis=1)).item()
    return (macro_auc(once, kl, probability).item() + kappa) / 2


def _parts(seeds: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return (seeds[first : first + BLOCK] for first in range(0, len(seeds), BLOCK))


def _calls(missing: Iterable[Block], folds: int) -> Iterator[list[Block]]:
    """Blocks that train at once: of one cell, one form and the same seeds, not too many."""
    groups: dict[Any, list[Block]] = {}
    for one in missing:
        # Peers are fitted one by one.
        form = one.name if one.cell == PEER_CELL else arm_of(one.name).form
        groups.setdefault((one.seeds, one.cell, form), []).append(one)
    for own in groups.values():
        most = max(1, AT_ONCE // (len(own[0].seeds) * folds))
        yield from (own[first : first + most] for first in range(0, len(own), most))


def _key(plan: Plan, block: Block, known: str) -> dict[str, Any]:
    """What a block follows from."""
    settings: dict[str, Any] = {"folds": plan.folds, "seeds": list(block.seeds)}
    trains = "peers"
    if block.cell != PEER_CELL:
        network = asdict(plan.cells()[block.cell][0])
        settings |= {"network": network, "arm": asdict(arm_of(block.name))}
        trains = "batched"
    return {"settings": settings, "knees": known, "code": _code(trains)}


@cache
def _code(module: str) -> str:
    """Fingerprint of what trains."""
    return fingerprint(f"oacore.instruments.hierarchy.{module}")


def _read(plan: Plan, block: Block, folder: Path, known: str) -> dict[str, np.ndarray] | None:
    """A finished block; None where there is none."""
    return read_finished(block.path(folder), _key(plan, block, known))
