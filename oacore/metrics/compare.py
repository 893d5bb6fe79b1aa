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
from oacore.metrics.predictions import pair
from oacore.metrics.resampling import draw_seeds, estimate, mean_of_drawn, undefined
from oacore.metrics.scores import KL_METRICS, METRICS, OA_METRICS, table1
from oacore.metrics.seeds import compare_by_seed, seed_and_knee_interval, values_by_seed
from oacore.names import SUPERVISION_NAMES

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
        Six rows for all seeds together, with intervals over seeds and cases, instead of six for
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
    predictions: pd.DataFrame, *, n_resamples: int = 2000, seed: int
) -> pd.DataFrame:
    """Effect of Dual in one backbone minus that in another: the difference of two differences.

    Dual minus single in one backbone, minus the same in another. That one effect's interval
    excludes zero and another's includes it says little about their difference (Gelman and
    Stern 2006, doi:10.1198/000313006X152649), so it gets an interval of its own.

    Parameters
    ----------
    predictions, n_resamples, seed
        As in :func:`compare_supervisions`.

    Returns
    -------
    DataFrame
        Six rows for each pair of backbones: reference, backbone, metric; `value_reference` and
        `value_other`, the effect in each, and `value` (the second minus the first), means over
        the seeds; `low` and `high`, its limits over cases and seeds; `n_undefined`. Cases are
        drawn for both backbones together, seeds for each apart, since they need not have the same.

    Raises
    ------
    InputError
        If a supervision is missing, or the backbones were judged on different cases.
    """
    first_cases: pd.DataFrame | None = None
    effects: dict[str, dict[str, np.ndarray]] = {}  # by backbone and metric, (1 + B,) each
    for number, (backbone, runs) in enumerate(predictions.groupby("backbone", sort=False)):
        models = by_supervision(str(backbone), runs)
        cases = models["dual"].drop_duplicates("case_id")
        first_cases = cases if first_cases is None else pair(first_cases, cases)[0]
        of_backbone: dict[str, np.ndarray] = {}
        rng_of_seeds = np.random.default_rng([seed, number])
        for reference, metrics in REFERENCES.items():
            rng_of_cases = np.random.default_rng(seed)  # the same draw each time
            single, dual = values_by_seed(
                models[reference], models["dual"], n_resamples, rng_of_cases
            )
            drawn = draw_seeds(len(single[metrics[0]]), n_resamples, rng_of_seeds)
            for metric in metrics:
                difference = dual[metric] - single[metric]  # (S, 1 + B)
                of_backbone[metric] = mean_of_drawn(difference, drawn)
        effects[str(backbone)] = of_backbone
    rows: list[dict[str, Any]] = []
    for name, other in combinations(effects, 2):
        for metric in METRICS:
            effect, of_other = effects[name][metric], effects[other][metric]
            rows.append(
                {
                    "reference": name,
                    "backbone": other,
                    "metric": metric,
                    "value_reference": effect[0],
                    "value_other": of_other[0],
                    **estimate(of_other - effect),
                    "n_undefined": undefined(of_other - effect),
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
    kl = predictions["case_id"].map(true_kl).to_numpy(np.int64)
    true = predictions.assign(kl=kl, oa=oa_from_kl(kl))
    tables = {"label as read": table1(predictions), "true grade": table1(true)}
    return pd.concat(tables, names=["scored against"]).reset_index(level=0)


def by_supervision(backbone: str, runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Predictions of a backbone by supervision.

    Raises
    ------
    InputError
        If a seed lacks a supervision.
    """
    for model_seed, of_seed in runs.groupby("seed"):
        if missing := SUPERVISION_NAMES.keys() - set(of_seed["supervision"]):
            raise InputError(
                f"{backbone}, seed {model_seed}: there are no predictions of "
                f"{', '.join(sorted(missing))}; train them with `make book` or `oacore train`, or "
                "leave this backbone and seed out"
            )
    return {str(name): table for name, table in runs.groupby("supervision")}
