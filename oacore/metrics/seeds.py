"""Two models, each under several seeds: their difference seed by seed, and over all seeds.

A training run's result owes something to the cases it is judged on, and something to its seed:
initial weights, order of the batches, dropout. The paired bootstrap of :mod:`.metrics.scores` knows
of cases alone; :mod:`.metrics.crossed` knows of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.metrics.crossed import crossed_difference
from oacore.metrics.predictions import pair
from oacore.metrics.resampling import draw_cases
from oacore.metrics.scores import METRICS, model_metrics, paired_bootstrap


def mean_over_seeds(scores: pd.DataFrame) -> pd.DataFrame:
    """Table 1's metrics over the seeds of each model, in long form.

    Parameters
    ----------
    scores : DataFrame
        Rows of :func:`.scores.table1`.

    Returns
    -------
    DataFrame
        backbone, supervision, metric, seeds (their number), `value`, the mean, and `seed_low`,
        `seed_high`, the lowest and the highest seed's; metrics that a model lacks are left out.
    """
    long = scores.melt(["backbone", "supervision", "seed"], list(METRICS), "metric").dropna()
    by = long.groupby(["backbone", "supervision", "metric"], sort=False)["value"]
    return by.agg(seeds="size", value="mean", seed_low="min", seed_high="max").reset_index()


def compare_by_seed(
    reference: pd.DataFrame, other: pd.DataFrame, *, n_resamples: int = 2000, seed: int
) -> pd.DataFrame:
    """One model against another, a paired bootstrap over cases for each seed that both have.

    Parameters
    ----------
    reference, other : DataFrame
        Tidy predictions of one split, of one model each under one or several seeds.
    n_resamples, seed : int
        Of the paired bootstrap.

    Returns
    -------
    DataFrame
        seed, and the columns of :func:`.scores.paired_bootstrap`.

    Raises
    ------
    InputError
        If the two have no seed in common, or not the same cases.
    """
    rows = []
    for model_seed, first, second in _by_seed(reference, other):
        table = paired_bootstrap(first, second, n_resamples=n_resamples, seed=seed)
        table.insert(0, "seed", model_seed)
        rows.append(table)
    return pd.concat(rows, ignore_index=True)


def seed_and_knee_interval(
    reference: pd.DataFrame, other: pd.DataFrame, *, n_resamples: int = 2000, seed: int
) -> pd.DataFrame:
    """Mean difference over seeds, with a 95% interval over seeds and knees together.

    Parameters
    ----------
    reference, other : DataFrame
        Tidy predictions of one split, of one model each under one or several seeds; seeds are
        paired by their number, and only those that both have take part.
    n_resamples, seed : int
        Of the bootstrap over the knees.

    Returns
    -------
    DataFrame
        One row per `metric` that both models have: the columns of
        :func:`.crossed.crossed_difference`, and `knees`, their number.

    Raises
    ------
    InputError
        If the two have no seed in common, or not the same cases.
    """
    rng = np.random.default_rng(seed)
    first, second = values_by_seed(reference, other, n_resamples, rng)
    shared = reference["seed"].isin(set(other["seed"]))
    knees = reference.loc[shared, "case_id"].nunique()
    return pd.DataFrame(
        {"metric": metric, **crossed_difference(first[metric], second[metric]), "knees": knees}
        for metric in first
    )


def values_by_seed(
    reference: pd.DataFrame, other: pd.DataFrame, n_resamples: int, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Metrics of two models under each seed that both have, on the cases and on resamples of them.

    Parameters
    ----------
    reference, other : DataFrame
        As in :func:`seed_and_knee_interval`.
    n_resamples : int
        B
    rng : Generator
        Draws the cases; one draw serves all seeds and both models.

    Returns
    -------
    of_reference, of_other : dict of str to (S, 1 + B) array
        Row: a seed. Column 0: the cases themselves; the others: a resample each.
    """
    pairs = [(first, second) for _, first, second in _by_seed(reference, other)]
    counts = draw_cases(len(pairs[0][0]), n_resamples, rng)
    of_reference, of_other = (
        metrics_by_seed([both[i] for both in pairs], counts) for i in range(2)
    )
    shared = [metric for metric in of_reference if metric in of_other]
    return {m: of_reference[m] for m in shared}, {m: of_other[m] for m in shared}


def metrics_by_seed(tables: Sequence[pd.DataFrame], counts: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of one model under each of its seeds, on B resamples of the same cases.

    Parameters
    ----------
    tables : sequence of S DataFrames
        Predictions under one seed each.
    counts : (B, n) array
        Occurrences of each case, in the order of case_id.

    Returns
    -------
    dict of str to (S, B) array

    Raises
    ------
    InputError
        If the seeds are not judged on the same cases.
    """
    values = [model_metrics(pair(tables[0], table)[1], counts) for table in tables]
    return {metric: np.stack([one[metric] for one in values]) for metric in values[0]}


def right_answers(predictions: pd.DataFrame, head: str) -> dict[str, np.ndarray]:
    """Which knees each supervision of one backbone gets right, under the seeds that all have.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split and one backbone.
    head : {"oa", "kl"}
        The question; supervisions without an answer to it are left out.

    Returns
    -------
    dict of str to (S, n) float array
        By supervision: 1 where the answer is the label. Seeds and cases in ascending order.
    """
    answered = predictions[predictions[f"pred_{head}"].notna()]
    right = (answered[f"pred_{head}"] == answered[head]).astype(float)
    by = answered.assign(right=right).groupby("supervision", sort=False)
    wide = {
        str(name): table.pivot(index="seed", columns="case_id", values="right")
        for name, table in by
    }
    shared = sorted(set.intersection(*(set(table.index) for table in wide.values())))
    return {name: table.loc[shared].to_numpy() for name, table in wide.items()}


def _by_seed(
    reference: pd.DataFrame, other: pd.DataFrame
) -> Iterator[tuple[int, pd.DataFrame, pd.DataFrame]]:
    """Each seed that both models have, with their predictions, row i of both the same case."""
    shared = sorted(set(reference["seed"]) & set(other["seed"]))
    if not shared:
        have = [sorted(set(table["seed"])) for table in (reference, other)]
        raise InputError(
            f"the two models have no seed in common ({have[0]} and {have[1]}); "
            "train a seed of both with `oacore train`"
        )
    for model_seed in shared:
        first, second = (table[table["seed"] == model_seed] for table in (reference, other))
        yield model_seed, *pair(first, second)
