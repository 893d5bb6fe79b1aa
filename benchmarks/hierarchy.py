"""How long small networks take that are trained at once, beside one after another.

Run from the repository's root: ``python -m benchmarks.hierarchy``. On one thread. Both sides train
the same networks on drawn numbers in the size of the radiomics of 481 knees: an arm's seeds and
folds in PyTorch's modules, one after another, and as one batched model
(:mod:`oacore.instruments.hierarchy.batched`). Before anything is timed, both must give the same
probabilities. It takes about a minute, prints a table, and with ``--out`` writes a record that the
book's chapter on speed can read.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.measure import Row, alternate
from benchmarks.speed import report
from oacore.instruments.hierarchy.arms import ARMS, TaskArm, second_label
from oacore.instruments.hierarchy.batched import (
    GROUPS,
    Fit,
    Network,
    draws,
    initial_weights,
    standardised,
    train,
)

SEED = 0
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    """Sizes of what is timed; the defaults are those that get recorded.

    Attributes
    ----------
    knees, features, folds : int
        Of the cross-validation.
    arms : tuple of str
        Trained at once, each with as many seeds and folds.
    seeds : int
    network : Network
    repeats : int
        Turns.
    aim : float
        Least ratio.
    """

    knees: int = 481
    features: int = 535
    folds: int = 5
    arms: tuple[str, ...] = (
        *("dual", "shuffled", "cut1", "cut3", "cut4", "permuted", "random"),
        *("dual0.1", "dual0.3", "dual3", "dual10"),
    )
    seeds: int = 1
    network: Network = Network(epochs=4)
    repeats: int = 5
    aim: float = 8.0


class OneNetwork(nn.Module):
    """One arm's network out of PyTorch's own layers, with parallel heads."""

    def __init__(self, network: Network, arm: TaskArm, features: int) -> None:
        super().__init__()
        units = network.hidden
        self.trunk = nn.Linear(features, units)
        norms: dict[str, Callable[[], nn.Module]] = {
            "none": nn.Identity, "layer": lambda: nn.LayerNorm(units),
            "group": lambda: nn.GroupNorm(GROUPS, units), "batch": lambda: nn.BatchNorm1d(units),
        }  # fmt: skip
        self.norm = norms[network.norm]()
        self.grade = nn.Linear(units, arm.grade_outputs) if arm.grading else None
        self.second = nn.Linear(units, arm.second_outputs) if arm.second else None

    def start(self, weights: dict[str, np.ndarray]) -> None:
        """Take initial weights, (inputs, outputs)."""
        taken = {
            name.replace("_", "."): torch.tensor(one.T if one.ndim == 2 else one)
            for name, one in weights.items()
        }
        own = self.state_dict()
        own.update({name: one.to(own[name].dtype) for name, one in taken.items()})
        self.load_state_dict(own)

    def forward(self, x: torch.Tensor, kept: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Logits of the heads; `kept` takes dropout's place."""
        z = F.relu(self.norm(self.trunk(x)))
        if kept is not None:
            z = z * kept
        heads = {"grade": self.grade, "second": self.second}
        return {name: head(z) for name, head in heads.items() if head is not None}


def one_after_another(
    network: Network,
    arms: Sequence[TaskArm],
    x: np.ndarray,
    cases: pd.DataFrame,
    runs: Sequence[Fit],
    dtype: torch.dtype = torch.float32,
) -> np.ndarray:
    """What :func:`.batched.train` does, with a loop over networks; probabilities (A, M, n, 5)."""
    said = np.empty((len(arms), len(runs), len(x), 5))
    grades = torch.tensor(cases["kl"].to_numpy(np.int64))
    for a, arm in enumerate(arms):
        for m, run in enumerate(runs):
            inputs = torch.tensor(standardised(x, run.training), dtype=dtype)
            told = np.empty(0)
            if arm.second:
                told = second_label(arm, cases, run.training, run.seed, run.fold)
            label = torch.tensor(told, dtype=dtype)
            net = OneNetwork(network, arm, x.shape[1]).to(dtype)
            net.start(initial_weights(network, arm, x.shape[1], run.seed, run.fold))
            optimiser = torch.optim.AdamW(
                net.parameters(), lr=network.learning_rate, weight_decay=network.weight_decay
            )
            done = 0
            for rows, kept in draws(network, arm, run, run.seed, run.fold):
                for step, here in enumerate(torch.from_numpy(rows)):
                    optimiser.param_groups[0]["lr"] = network.rate(done, network.epochs * len(rows))
                    stay = None
                    if kept is not None:
                        stay = torch.from_numpy(kept[step]).to(dtype) / (1 - network.dropout)
                    logits = net(inputs[here], stay)
                    loss = arm.scale * F.cross_entropy(logits["grade"], grades[here])
                    if "second" in logits:
                        loss = loss + arm.weight * F.binary_cross_entropy_with_logits(
                            logits["second"].squeeze(1), label[here]
                        )
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    done += 1
            net.eval()
            with torch.no_grad():
                said[a, m] = net(inputs)["grade"].double().softmax(-1).numpy()
    return said


def drawn_knees(setting: Setting) -> tuple[np.ndarray, pd.DataFrame, list[Fit]]:
    """Features, grades that some of them follow, and the runs of a cross-validation."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(setting.knees, setting.features))
    severity = x[:, :10].mean(axis=1) * 3 + rng.normal(size=setting.knees)
    kl = np.digitize(severity, np.quantile(severity, [0.2, 0.35, 0.6, 0.85]))
    cases = pd.DataFrame({"kl": kl})
    runs = []
    for seed in range(setting.seeds):
        # As many training knees in each fold, so that all take as many steps.
        fold = rng.permutation(np.arange(setting.knees) % setting.folds)
        runs += [Fit(seed, one, fold != one) for one in range(setting.folds)]
    return x, cases, runs


def check(setting: Setting) -> None:
    """Stop unless both sides give the same probabilities."""
    x, cases, runs = drawn_knees(setting)
    arms = [ARMS[name] for name in setting.arms][:2]
    network = replace(setting.network, epochs=2)
    ours = train(network, arms, x, cases, runs[:2], torch.float64).grade
    gap = float(
        np.abs(ours - one_after_another(network, arms, x, cases, runs[:2], torch.float64)).max()
    )
    if not gap <= 1e-9:
        raise RuntimeError(
            f"probabilities differ by {gap:.1e}; a comparison of their speed would mean nothing"
        )


def rows(setting: Setting) -> Iterator[Row]:
    """The one comparison."""
    check(setting)
    x, cases, runs = drawn_knees(setting)
    arms = [ARMS[name] for name in setting.arms]
    calls = {
        "peer": lambda: one_after_another(setting.network, arms, x, cases, runs),
        "ours": lambda: train(setting.network, arms, x, cases, runs),
    }
    for call in calls.values():
        call()
    taken = alternate(calls, CPU, setting.repeats, patience=120)
    yield Row(
        "hierarchy", "Small networks of all arms: time to train",
        "PyTorch's modules, one network after another", "oacore.instruments.hierarchy.batched",
        taken["peer"], taken["ours"], "s", aim=setting.aim,
        note=f"{len(arms) * len(runs)} networks of {setting.network.hidden} hidden units, "
        f"{setting.features} features, {setting.network.epochs} epochs of {setting.knees} knees",
    )  # fmt: skip


def main(arguments: list[str] | None = None, setting: Setting | None = None) -> int:
    """Measure, print, and record where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hierarchy", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="record (default: none)")
    given, setting = parser.parse_args(arguments), setting or Setting()
    torch.set_num_threads(1)
    start = time.perf_counter()
    measured = [row.record() for row in rows(setting)]
    report(measured, asdict(setting), SEED, start, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
