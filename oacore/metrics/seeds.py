"""Two models, each under several seeds: their difference seed by seed, and over all seeds.

A training run's result owes something to the cases it is judged on, and something to its seed:
initial weights, order of the batches, dropout. The paired bootstrap of :mod:`.metrics.scores` draws
cases alone. Here seeds are drawn too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.metrics.predictions import pair
from oacore.metrics.resampling import resample_counts
from oacore.metrics.scores import METRICS, model_metrics, paired_bootstrap
from oacore.metrics.significance import bootstrap_p, percentile_interval


def mean_over_seeds(scores: pd.DataFrame) -> pd.DataFrame:
    """Table 1's metrics over the seeds of each model, in long form.

    Parameters
    ----------
    scores : DataFrame
        Rows of :func:`.scores.table1`.

    Returns
    -------
    DataFrame
        backbone, supervision, metric, seeds (their number), mean, low and high (the lowest and
        the highest seed's); metrics that a model lacks are left out.
    """
    long = scores.melt(["backbone", "supervision", "seed"], list(METRICS), "metric").dropna()
    by = long.groupby(["backbone", "supervision", "metric"], sort=False)["value"]
    return by.agg(seeds="size", mean="mean", low="min", high="max").reset_index()


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
    """Mean difference over seeds, with a 95% interval over seeds and cases together.

    Each resample draws cases with replacement, the same for all models, and, apart from that,
    seeds with replacement, the same for both models; the mean difference of the drawn seeds on
    the drawn cases is its value. Every seed is judged on the same cases, so the two are crossed,
    not nested (the pigeonhole bootstrap, Owen 2007, doi:10.1214/07-AOAS122).

    Parameters
    ----------
    reference, other : DataFrame
        Tidy predictions of one split, of one model each under one or several seeds; seeds are
        paired by their number, and only those that both have take part.
    n_resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        One row per `metric` that both models have: `n_seeds`, `value_reference`, `value_other`
        and `delta` (other minus reference), means over the seeds; `knees_low`, `knees_high`, the
        interval of `delta` with the seeds as they are; `ci_low`, `ci_high`, the interval over
        both; `n_undefined` and, over both, `p_value`, as in
        :func:`.scores.paired_bootstrap`. With one seed the two intervals are one.

    Raises
    ------
    InputError
        If the two have no seed in common, or not the same cases.

    Notes
    -----
    With S seeds the bootstrap finds, on average, (S - 1)/S of the variance between seeds: half of
    it with two, two thirds with three. For few seeds the interval is too short.
    """
    rng = np.random.default_rng(seed)
    first, second = values_by_seed(reference, other, n_resamples, rng)
    n_seeds = len(first[METRICS[0]])
    drawn = draw_seeds(n_seeds, n_resamples, rng)
    rows = []
    for metric in first:
        delta = second[metric] - first[metric]  # (S, 1 + B)
        row = {
            "metric": metric,
            "n_seeds": n_seeds,
            "value_reference": first[metric][:, 0].mean(),
            "value_other": second[metric][:, 0].mean(),
            "delta": delta[:, 0].mean(),
        }
        row["knees_low"], row["knees_high"], _ = interval(delta.mean(axis=0)[1:])
        both = (drawn * delta.T).sum(axis=1)
        row["ci_low"], row["ci_high"], row["n_undefined"] = interval(both[1:])
        row["p_value"] = bootstrap_p(both[1:])
        rows.append(row)
    return pd.DataFrame(rows)


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
    for first, _ in pairs[1:]:
        pair(pairs[0][0], first)  # all seeds are judged on the same cases
    n = len(pairs[0][0])
    counts = np.vstack([np.ones((1, n)), resample_counts(n, n_resamples, rng)])
    values = [[model_metrics(table, counts) for table in both] for both in pairs]
    shared = [metric for metric in METRICS if all(metric in model for model in values[0])]
    of_reference, of_other = (
        {metric: np.stack([both[i][metric] for both in values]) for metric in shared}
        for i in range(2)
    )
    return of_reference, of_other


def draw_seeds(n_seeds: int, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Weight of each seed in each resample: rows add up to 1; the first row weighs all alike.

    Returns
    -------
    (1 + B, S) array
    """
    drawn = resample_counts(n_seeds, n_resamples, rng)
    return np.vstack([np.ones((1, n_seeds)), drawn]) / n_seeds


def interval(resampled: np.ndarray) -> tuple[float, float, int]:
    """95% percentile interval of the defined resamples, and how many are undefined (NaN)."""
    return *percentile_interval(resampled), int((~np.isfinite(resampled)).sum())


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
