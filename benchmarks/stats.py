"""How long the paper's 18 tests take, beside scikit-learn called once for each resample.

Run from the repository's root: ``python -m benchmarks.stats [FOLDER]``, with a folder of
predictions, or without one for simulated ones of 98 knees. On one thread. Both sides must give
the same values on the same resamples, to 1e-9, before anything is timed; then they take turns. The
released way is timed on some resamples and its seconds are scaled to all of them. It takes about
half a minute, prints a table, and with ``--out`` writes a record that the book's chapter on speed
can read.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from threadpoolctl import threadpool_limits

from benchmarks.measure import Row, alternate
from benchmarks.speed import report
from oacore.errors import InputError
from oacore.instruments.published.predictions import read_predictions
from oacore.instruments.published.protocol import RELEASED, released_protocol
from oacore.metrics.compare import REFERENCES
from oacore.metrics.predictions import PROB_KL, pair
from oacore.metrics.resampling import resample_counts
from oacore.metrics.scores import METRICS
from oacore.names import SUPERVISION_NAMES

SEED = 42
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    """Sizes of what is timed; the defaults are those that get recorded.

    Attributes
    ----------
    resamples : int
        Of each row.
    timed : int
        Resamples of each row that the released way is timed on.
    repeats : int
        Turns.
    knees : int
        Of simulated predictions.
    aim : float
        Least ratio of the 18 rows together.
    """

    resamples: int = 10_000
    timed: int = 50
    repeats: int = 3
    knees: int = 98
    aim: float = 300


def simulated(knees: int) -> pd.DataFrame:
    """Predictions of nine models of the same knees, in the tidy format."""
    rng = np.random.default_rng(SEED)
    kl = rng.permutation(np.arange(knees) % 5)
    tables = []
    for backbone in ("resnet3d", "m3t", "nnmamba"):
        for supervision in SUPERVISION_NAMES:
            # The true grade and its neighbours are likelier than the others.
            weight = np.exp(-np.abs(np.arange(5) - kl[:, None]) + rng.normal(size=(knees, 5)))
            prob_kl = pd.DataFrame(weight / weight.sum(axis=1, keepdims=True), columns=PROB_KL)
            prob_oa = prob_kl[PROB_KL[2:]].sum(axis=1)
            pred_kl = pd.array(prob_kl.to_numpy().argmax(axis=1), dtype="Int64")
            graded = prob_kl.assign(prob_oa_from_kl=prob_oa, pred_kl=pred_kl)
            if supervision == "single_oa":
                graded = graded.mask(graded.notna())
            tables.append(
                graded.assign(
                    backbone=backbone, supervision=supervision, seed=0, split="test",
                    case_id=np.arange(knees), kl=kl, oa=(kl >= 2).astype(int),
                    prob_oa=prob_oa, pred_oa=(prob_oa >= 0.5).astype(int),
                )
            )  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def scikit_learns(table: pd.DataFrame, name: str) -> Callable[[np.ndarray], float]:
    """One metric of one model, on resampled rows, as the release calls it."""
    task, metric = name.split("_")
    label = table[task].to_numpy(dtype=int)
    predicted = table[f"pred_{task}"].to_numpy(dtype=int)
    if name == "oa_auc":
        score = table["prob_oa"].to_numpy(dtype=float)
        return lambda rows: roc_auc_score(label[rows], score[rows])
    if name == "kl_auc":
        scores = table[PROB_KL].to_numpy(dtype=float)
        return lambda rows: roc_auc_score(
            label[rows], scores[rows], multi_class="ovr", average="macro"
        )
    if metric == "acc":
        return lambda rows: accuracy_score(label[rows], predicted[rows])
    average = "binary" if task == "oa" else "macro"
    return lambda rows: f1_score(label[rows], predicted[rows], average=average)


def pairs_of(predictions: pd.DataFrame) -> dict[str, list[tuple[pd.DataFrame, pd.DataFrame]]]:
    """Single and Dual of each backbone, by metric."""
    models = dict(list(predictions.groupby(["backbone", "supervision"])))
    return {
        name: [
            pair(models[backbone, reference], models[backbone, "dual"])
            for backbone in predictions["backbone"].unique()
        ]
        for reference, metrics in REFERENCES.items()
        for name in metrics
        if name in RELEASED
    }


def released_way(
    pairs: list[tuple[pd.DataFrame, pd.DataFrame]], name: str, n_resamples: int
) -> np.ndarray:
    """Values of one metric, (pairs, resamples, 2), one scikit-learn call each."""
    rng = np.random.default_rng(SEED)
    n = len(pairs[0][0])
    found = np.empty((len(pairs), n_resamples, 2))
    for i, both in enumerate(pairs):
        calls = [scikit_learns(model, name) for model in both]
        for b in range(n_resamples):
            rows = rng.integers(0, n, size=n)
            found[i, b] = [call(rows) for call in calls]
    return found


def our_way(
    pairs: list[tuple[pd.DataFrame, pd.DataFrame]], name: str, n_resamples: int
) -> np.ndarray:
    """The same by counts."""
    rng = np.random.default_rng(SEED)
    found = []
    for both in pairs:
        counts = resample_counts(len(both[0]), n_resamples, rng)
        found.append(np.stack([METRICS[name](model, counts) for model in both], axis=1))
    return np.stack(found)


def rows(predictions: pd.DataFrame, setting: Setting) -> Iterator[Row]:
    """A row for each metric, over all backbones, and one for the whole protocol."""
    pairs = pairs_of(predictions)
    for name, both in pairs.items():
        theirs = released_way(both, name, setting.timed)
        gap = np.abs(theirs - our_way(both, name, setting.timed)).max()
        if not gap <= 1e-9:
            raise RuntimeError(
                f"{name}: ours and scikit-learn's values differ by {gap:.1e} on the same "
                "resamples; a comparison of their speed would mean nothing"
            )
    scale = setting.resamples / setting.timed
    backbones = len(next(iter(pairs.values())))
    words = f"{backbones} backbones, {setting.resamples:,} resamples"
    note = f"scikit-learn timed on {setting.timed} resamples of each row and scaled"
    in_all: list[float] = [0.0] * setting.repeats
    for name, (task, spelled) in RELEASED.items():
        calls = {
            "peer": partial(released_way, pairs[name], name, setting.timed),
            "ours": partial(our_way, pairs[name], name, setting.resamples),
        }
        calls["ours"]()
        taken = alternate(calls, CPU, setting.repeats, patience=60)
        peer = tuple(scale * seconds for seconds in taken["peer"])
        in_all = [a + b for a, b in zip(in_all, peer, strict=True)]
        yield Row(
            "statistics", f"Resampled {task} {spelled} of Dual and single: time",
            "scikit-learn, a call a resample", "counts times a kernel", peer, taken["ours"],
            "s", note=f"{words}; {note}",
        )  # fmt: skip
    protocol = partial(released_protocol, predictions, n_resamples=setting.resamples)
    protocol()
    taken = alternate({"ours": protocol}, CPU, setting.repeats, patience=60)
    yield Row(
        "statistics", f"Dual against single, {6 * backbones} rows with p and q: time",
        "scikit-learn, a call a resample", "oacore stats", tuple(in_all), taken["ours"], "s",
        aim=setting.aim, note=f"{words}; the sum of the rows above",
    )  # fmt: skip
    yield Row(
        "statistics", f"Dual against single, {6 * backbones} rows with p and q: at most", "",
        "oacore stats", (), taken["ours"], "s", at_most=2, note=words,
    )  # fmt: skip


def main(arguments: list[str] | None = None, setting: Setting | None = None) -> int:
    """Measure, print, and record where asked; 0 done, 2 unusable input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stats", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="predictions (default: simulated)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="record (default: none)")
    given, setting = parser.parse_args(arguments), setting or Setting()
    torch.set_num_threads(1)
    start = time.perf_counter()
    try:
        predictions = read_predictions(given.folder) if given.folder else simulated(setting.knees)
        with threadpool_limits(1):
            measured = [row.record() for row in rows(predictions, setting)]
    except InputError as error:
        print(f"benchmarks.stats: {error}", file=sys.stderr)
        return 2
    source = "a folder's" if given.folder else "simulated"
    words = {**asdict(setting), "predictions": source}
    report(measured, words, SEED, start, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
