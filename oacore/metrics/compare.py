"""The paper's comparisons: Dual against single, backbone against backbone, head against head.

Section 3.6 of arXiv:2605.00718: a Dual model's OA metrics are set against Single-OA's, its KL
metrics against Single-KL's, and backbones against each other under one supervision, always on the
same test cases.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.hierarchy import oa_from_kl
from oacore.metrics.crossed import (
    Mean,
    crossed_difference,
    independent_difference,
    max_t,
    mean_of,
)
from oacore.metrics.predictions import pair
from oacore.metrics.resampling import draw_cases
from oacore.metrics.scores import KL_METRICS, METRICS, OA_METRICS, table1
from oacore.metrics.seeds import (
    compare_by_seed,
    metrics_by_seed,
    seed_and_knee_interval,
    values_by_seed,
)
from oacore.names import SUPERVISION_NAMES, in_order

#: What Dual is compared with, and in which metrics.
REFERENCES = {"single_oa": OA_METRICS, "single_kl": KL_METRICS}


def compare_supervisions(
    predictions: pd.DataFrame, *, n_resamples: int = 2000, seed: int, over_seeds: bool = False
) -> pd.DataFrame:
    """Dual minus single, for every backbone, with 95% intervals.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, with all three supervisions of each backbone and seed.
    n_resamples, seed : int
        Of the bootstrap.
    over_seeds : bool
        Six rows for all seeds together, with intervals over seeds and knees, instead of six for
        each seed.

    Returns
    -------
    DataFrame
        Six rows for each backbone (and seed): backbone, comparison, and the columns of
        :func:`.seeds.compare_by_seed` or :func:`.seeds.seed_and_knee_interval`.

    Raises
    ------
    InputError
        If a supervision is missing.
    """
    compare = seed_and_knee_interval if over_seeds else compare_by_seed
    rows = []
    for backbone, runs in predictions.groupby("backbone", sort=False):
        models = by_supervision(str(backbone), runs)
        for reference, metrics in REFERENCES.items():
            table = compare(models[reference], models["dual"], n_resamples=n_resamples, seed=seed)
            table.insert(0, "comparison", f"Dual minus {SUPERVISION_NAMES[reference]}")
            table.insert(0, "backbone", backbone)
            rows.append(table[table["metric"].isin(metrics)])
    return pd.concat(rows, ignore_index=True)


def effects_by_statistics(
    predictions: pd.DataFrame, *, n_resamples: int = 2000, seed: int
) -> pd.DataFrame:
    """Dual minus Single-KL in the KL metrics, with either statistics of batch normalisation.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split by `model`, with both `statistics`. A model that was not
        trained under both supervisions is left out.
    n_resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        Three rows for each model and statistics: model, statistics, and the columns of
        :func:`.seeds.seed_and_knee_interval`; no row where no model has both supervisions.
    """
    tables = [pd.DataFrame(columns=["model", "statistics", "metric", "seeds"])]
    for (model, statistics), rows in predictions.groupby(["model", "statistics"], sort=False):
        single, dual = (rows[rows["supervision"] == name] for name in ("single_kl", "dual"))
        shared = set(single["seed"]) & set(dual["seed"])
        if not shared:
            continue
        pairs = [one[one["seed"].isin(shared)] for one in (single, dual)]
        table = seed_and_knee_interval(*pairs, n_resamples=n_resamples, seed=seed)
        table.insert(0, "statistics", str(statistics))
        table.insert(0, "model", str(model))
        tables.append(table[table["metric"].isin(KL_METRICS)])
    return pd.concat(tables[1:] or tables, ignore_index=True)


def compare_backbones(
    predictions: pd.DataFrame, *, n_resamples: int = 2000, seed: int, over_seeds: bool = False
) -> pd.DataFrame:
    """One backbone minus another under the same supervision, with 95% intervals.

    The paper's second comparison. Seeds are paired by their number. All that a seed fixes for
    both models of such a pair is the order of the knees, where their batches are equally large.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split. Of two backbones the one that comes first is the reference.
    n_resamples, seed, over_seeds
        As in :func:`compare_supervisions`.

    Returns
    -------
    DataFrame
        For each supervision and pair of backbones: supervision, reference, backbone, and the
        columns of :func:`.seeds.compare_by_seed` or
        :func:`.seeds.seed_and_knee_interval`.

    Raises
    ------
    InputError
        If there is only one backbone, or two have no seed in common.
    """
    compare = seed_and_knee_interval if over_seeds else compare_by_seed
    pairs = list(combinations(predictions["backbone"].unique(), 2))
    if not pairs:
        raise InputError("these are predictions of one backbone; train another to compare it with")
    rows = []
    for supervision in SUPERVISION_NAMES:
        runs = predictions[predictions["supervision"] == supervision]
        models = dict(list(runs.groupby("backbone")))
        for reference, backbone in (both for both in pairs if models.keys() >= set(both)):
            table = compare(models[reference], models[backbone], n_resamples=n_resamples, seed=seed)
            table.insert(0, "backbone", backbone)
            table.insert(0, "reference", reference)
            table.insert(0, "supervision", supervision)
            rows.append(table)
    return pd.concat(rows, ignore_index=True)


def compare_effects(
    predictions: pd.DataFrame, *, fixed: bool = False, n_resamples: int = 2000, seed: int
) -> pd.DataFrame:
    """Effect of Dual in one backbone minus that in another: the difference of two differences.

    Dual minus single in one backbone, minus the same in another. That one effect's interval
    excludes zero and another's includes it says little about their difference (Gelman and
    Stern 2006, doi:10.1198/000313006X152649), so it gets an interval of its own.

    Parameters
    ----------
    predictions, n_resamples, seed
        As in :func:`compare_supervisions`.
    fixed : bool
        Whether the question is about these very networks, one run each, as of a published record.

    Returns
    -------
    DataFrame
        Six rows for each pair of backbones: reference, backbone, metric; `value_reference` and
        `value_other`, the effect in each, and the other columns of
        :func:`.crossed.independent_difference`, the second effect minus the first; `knees`; and
        `p_adjusted`, for having looked at all pairs of backbones (:func:`.crossed.max_t`): over
        seeds and knees, or with `fixed` over knees alone. Seeds of a Dual and a single model are
        paired by their number, those of two backbones have nothing in common.

    Raises
    ------
    InputError
        If a supervision is missing, or the backbones were judged on different cases.
    """
    first_cases: pd.DataFrame | None = None
    effects: dict[str, dict[str, Mean]] = {}  # by metric and backbone
    for backbone, runs in predictions.groupby("backbone", sort=False):
        models = by_supervision(str(backbone), runs)
        cases = models["dual"].drop_duplicates("case_id")
        first_cases = cases if first_cases is None else pair(first_cases, cases)[0]
        for reference, metrics in REFERENCES.items():
            rng = np.random.default_rng(seed)  # the same draw each time
            single, dual = values_by_seed(models[reference], models["dual"], n_resamples, rng)
            for metric in metrics:
                of_metric = effects.setdefault(metric, {})
                of_metric[str(backbone)] = mean_of(dual[metric] - single[metric])
    knees = 0 if first_cases is None else len(first_cases)
    adjusted = {metric: max_t(means, fixed=fixed, seed=seed) for metric, means in effects.items()}
    rows: list[dict[str, Any]] = []
    for name, other in combinations(predictions["backbone"].unique(), 2):
        for metric in METRICS:
            of_metric = effects[metric]
            rows.append(
                {
                    **{"reference": name, "backbone": other, "metric": metric},
                    **independent_difference(of_metric[name], of_metric[other]),
                    **{"knees": knees, "p_adjusted": adjusted[metric][name, other]},
                }
            )
    return pd.DataFrame(rows)


def contradictions(predictions: pd.DataFrame) -> pd.DataFrame:
    """Count how often a Dual model's two heads answer the OA question differently.

    The OA head says OA at a probability of one half; the KL head says OA by a predicted grade of
    2 or more. The paper imposes no consistency between them (section 3.1).

    Returns
    -------
    DataFrame
        A row for each Dual model: backbone, seed, knees, contradicting, share.
    """
    dual = predictions[predictions["supervision"] == "dual"]
    differ = dual["pred_oa"].to_numpy(int) != oa_from_kl(dual["pred_kl"].to_numpy(int))
    counts = dual.assign(differ=differ).groupby(["backbone", "seed"], sort=False)["differ"]
    table = counts.agg(knees="size", contradicting="sum", share="mean")
    return table.reset_index()


def against_truth(predictions: pd.DataFrame, true_kl: pd.Series) -> pd.DataFrame:
    """Table 1 twice: scored against the labels as read, and against the true grades.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split of a phantom cohort.
    true_kl : Series of int
        True grade, indexed by case_id.

    Returns
    -------
    DataFrame
        Rows of :func:`.scores.table1`, with a first column "scored against".
    """
    true = _as_true(predictions, true_kl)
    tables = {"label as read": table1(predictions), "true grade": table1(true)}
    return pd.concat(tables, names=["scored against"]).reset_index(level=0)


def _as_true(predictions: pd.DataFrame, true_kl: pd.Series) -> pd.DataFrame:
    """Predictions with the true grades in place of the labels."""
    kl = predictions["case_id"].map(true_kl).to_numpy(np.int64)
    return predictions.assign(kl=kl, oa=oa_from_kl(kl))


def truth_minus_label(
    predictions: pd.DataFrame, true_kl: pd.Series, *, n_resamples: int = 2000, seed: int
) -> pd.DataFrame:
    """Scores against the true grades minus those against the labels, of the same predictions.

    Parameters
    ----------
    predictions, true_kl
        As in :func:`against_truth`.
    n_resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        For each backbone and supervision: backbone, supervision, metric, and the columns of
        :func:`.crossed.crossed_difference`, whose reference are the labels, and `knees`.
    """
    rows = []
    for (backbone, supervision), runs in predictions.groupby(["backbone", "supervision"]):
        rng = np.random.default_rng(seed)
        by_seed = [one for _, one in runs.groupby("seed")]
        counts = draw_cases(len(by_seed[0]), n_resamples, rng)
        label = metrics_by_seed(by_seed, counts)
        truth = metrics_by_seed([_as_true(one, true_kl) for one in by_seed], counts)
        named = {"backbone": backbone, "supervision": supervision, "knees": len(by_seed[0])}
        rows += [
            {**named, "metric": metric, **crossed_difference(label[metric], truth[metric])}
            for metric in label
        ]
    return in_order(pd.DataFrame(rows))


def by_supervision(backbone: str, runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Predictions of a backbone by supervision.

    Raises
    ------
    InputError
        If a seed lacks a supervision.
    """
    for model_seed, of_seed in runs.groupby("seed"):
        if missing := SUPERVISION_NAMES.keys() - set(of_seed["supervision"]):
            others = sorted({*map(str, of_seed["supervision"])} - SUPERVISION_NAMES.keys())
            there = f" (there are of {', '.join(others)}: is one of them meant?)" if others else ""
            raise InputError(
                f"{backbone}, seed {model_seed}: there are no predictions of "
                f"{', '.join(sorted(missing))}{there}; train them with `make book` or `oacore "
                "train`, or leave this backbone and seed out"
            )
    return {str(name): table for name, table in runs.groupby("supervision")}
