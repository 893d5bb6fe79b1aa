"""The released statistical protocol, step by step, and the comparisons built like it.

The paper's authors released a script with their predictions (jukieCheung/coarse2fine-oa-mri,
commit 9059db9). What it does: Dual minus Single-OA in AUC, accuracy and F1, Dual minus Single-KL
in macro-AUC, accuracy and macro-F1, for each backbone; a paired bootstrap with 10,000 resamples
of knees for each of these rows, McNemar's test for OA accuracy; Benjamini and Hochberg's q-values
over all rows. This module is written from that description.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn import config_context
from sklearn.metrics import roc_auc_score

from oacore.errors import InputError
from oacore.metrics.predictions import MODEL, PROB_KL, check_columns, pair
from oacore.metrics.resampling import resample_counts
from oacore.metrics.scores import metric_values, metrics_of
from oacore.metrics.significance import (
    benjamini_hochberg,
    bootstrap_p,
    delong,
    holm,
    mcnemar,
    percentile_interval,
)

#: Metrics of each task: the release's names, and ours.
TASKS = {
    "OA": {"AUC": "oa_auc", "Acc": "oa_acc", "F1": "oa_f1"},
    "KL": {"M-AUC": "kl_auc", "Acc": "kl_acc", "M-F1": "kl_f1"},
}
#: What Dual is compared with.
SINGLE = {"OA": "single_oa", "KL": "single_kl"}
SUPERVISIONS = ("single_oa", "single_kl", "dual")
#: Backbones that come first, in the release's order.
FIRST = ("resnet3d", "m3t", "nnmamba")
_TESTED = ["delta", "ci_low", "ci_high", "p_value", "test", "q_value"]
COMPARED = ["backbone", "task", "metric", "single", "dual", *_TESTED]
BACKBONES_COMPARED = [
    "supervision", "reference", "backbone", "task", "metric", "value_reference", "value_other",
    *_TESTED, "p_holm", "p_delong",
]  # fmt: skip
_TIE = 1e-12  # a difference that is 0 but for rounding


def released_protocol(
    predictions: pd.DataFrame, *, n_resamples: int = 10_000, seed: int = 42
) -> pd.DataFrame:
    """Dual against single as the release does it: 18 rows for three backbones.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, with all three supervisions of each backbone (and seed).
    n_resamples, seed : int
        The release's by default. One generator runs through all rows of a training seed: each
        row draws resamples of its own. Another training seed starts it afresh, so that its rows
        are those it would have alone, but for q.

    Returns
    -------
    DataFrame
        Columns `COMPARED`; with several training seeds `seed` comes before them. Backbones
        resnet3d, m3t and nnmamba first, others as they come. `delta` is `dual` minus `single`,
        `ci_low` and `ci_high` its 95% percentile interval. `p_value` is that of `test`:
        "paired_bootstrap", or, for OA accuracy, "mcnemar_exact" or "mcnemar_chi2+continuity"
        (the interval is the bootstrap's there too). `q_value`: Benjamini and Hochberg's, and
        the family is all rows of the table.

    Raises
    ------
    InputError
        If a supervision is missing, or the models of a backbone were judged on different cases.

    Notes
    -----
    The p-value counts resamples where the difference is at most 0, and at least 0. The release
    calls scikit-learn, whose AUCs are rounded, so that some ties fall to one side. That moves
    the published p-values by up to .002; so, in this function alone, scikit-learn decides ties
    between AUCs.
    """
    check_columns(predictions)
    rows = []
    for model_seed, of_seed in predictions.groupby("seed"):
        rng = np.random.default_rng(seed)
        for backbone in _in_order(of_seed["backbone"].unique(), FIRST):
            models = _supervisions(backbone, of_seed[of_seed["backbone"] == backbone])
            for task, metrics in TASKS.items():
                single, dual = pair(models[SINGLE[task]], models["dual"])
                for supervision, table in ((SINGLE[task], single), ("dual", dual)):
                    if not set(metrics.values()) <= set(metrics_of(table)):
                        raise InputError(
                            f"{backbone}, seed {model_seed}: {supervision} has no predicted "
                            "grades; give its pred_kl and prob_kl_0 to prob_kl_4"
                        )
                for metric in metrics:
                    place = {"seed": model_seed, "backbone": backbone}
                    tested = _compare(single, dual, task, metric, n_resamples, rng, released=True)
                    rows.append(place | tested)
    return _table(rows, COMPARED, ["seed"], names=("single", "dual"))


def one_against_another(
    reference: pd.DataFrame, other: pd.DataFrame, *, n_resamples: int = 10_000, seed: int = 42
) -> pd.DataFrame:
    """Two tables of predictions: each model of the one against its counterpart in the other.

    Models are counterparts by backbone, seed and supervision. Where the tables share no
    supervision of a backbone and seed, and one of them has a single model there, that one is
    compared with each of the other's (Single with Dual, say). Where each table holds one model
    in all, these two are compared, whatever they are.

    Parameters
    ----------
    reference, other : DataFrame
        Tidy predictions of one split, of the same cases.
    n_resamples, seed : int
        Of the paired bootstrap; one generator runs through all rows.

    Returns
    -------
    DataFrame
        A row for each metric that both models of a pair have, in the columns of
        :func:`released_protocol`: `single` is the value of the first table, `dual` that of the
        second, `delta` second minus first. Columns `seed` and `supervision` come before them
        where there are several. Names that differ in a pair are given both, "m3t / nnmamba".
        Ties are exact here.

    Raises
    ------
    InputError
        If no models pair, or two that do were judged on different cases.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for place, first, second in _counterparts(reference, other):
        first, second = pair(first, second)
        for task, metric in _shared(first, second):
            rows.append(place | _compare(first, second, task, metric, n_resamples, rng))
    return _table(rows, COMPARED, ["seed", "supervision"], names=("single", "dual"))


def backbones_compared(
    predictions: pd.DataFrame, *, n_resamples: int = 10_000, seed: int = 42
) -> pd.DataFrame:
    """Backbone against backbone under one supervision: the paper's second comparison.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, of two backbones or more.
    n_resamples, seed : int
        Of the paired bootstrap. All rows see the same resamples.

    Returns
    -------
    DataFrame
        A row for each supervision, pair of backbones and metric that both have, 45 for the nine
        published models. Columns `BACKBONES_COMPARED`, and `seed` before them with several
        training seeds: as in :func:`released_protocol`, and `p_holm` (Holm's adjusted p-value).
        The family of both, `q_value` and `p_holm`, is all rows. `p_delong` is DeLong's p-value in
        rows of OA AUC, beside the bootstrap's, and NaN in the others; it is in no family.

    Raises
    ------
    InputError
        If no two backbones share a supervision and seed.
    """
    check_columns(predictions)
    backbones = _in_order(predictions["backbone"].unique(), FIRST)
    supervisions = _in_order(predictions["supervision"].unique(), SUPERVISIONS)
    models = dict(list(predictions.groupby(["seed", "supervision", "backbone"])))
    rows = []
    for model_seed in sorted(predictions["seed"].unique()):
        for supervision in supervisions:
            for two in combinations(backbones, 2):
                keys = [(model_seed, supervision, backbone) for backbone in two]
                if not models.keys() >= set(keys):
                    continue
                first, second = pair(*(models[key] for key in keys))
                place = {"seed": model_seed, "supervision": supervision}
                place |= {"reference": two[0], "backbone": two[1]}
                for task, metric in _shared(first, second):
                    rng = np.random.default_rng(seed)
                    tested = _compare(first, second, task, metric, n_resamples, rng)
                    tested["p_delong"] = np.nan
                    if TASKS[task][metric] == "oa_auc":
                        oa = first["oa"].to_numpy() == 1
                        tested["p_delong"] = delong(oa, first["prob_oa"], second["prob_oa"]).p_value
                    rows.append(place | tested)
    if not rows:
        raise InputError(
            "no two backbones here share a supervision and seed; add predictions of another "
            f"backbone to those of {', '.join(backbones)}"
        )
    return _table(rows, BACKBONES_COMPARED, ["seed"])


def _compare(
    reference: pd.DataFrame,
    other: pd.DataFrame,
    task: str,
    metric: str,
    n_resamples: int,
    rng: np.random.Generator,
    *,
    released: bool = False,
) -> dict[str, Any]:
    """One row: two models, whose rows are paired, in one metric."""
    name, n = TASKS[task][metric], len(reference)
    counts = resample_counts(n, n_resamples, rng)
    first, second = (
        metric_values(model, name, np.ones((1, n))).item() for model in (reference, other)
    )
    resampled = metric_values(other, name, counts) - metric_values(reference, name, counts)
    if released and name in ("oa_auc", "kl_auc"):
        _settle_ties(resampled, counts, reference, other, name)
    low, high = percentile_interval(resampled)
    p, test = bootstrap_p(resampled), "paired_bootstrap"
    if name == "oa_acc":
        right, right_other = (model["pred_oa"] == model["oa"] for model in (reference, other))
        tested = mcnemar(right, right_other)
        p, test = tested.p_value, tested.test
    return {
        **{"task": task, "metric": metric, "value_reference": first, "value_other": second},
        **{"delta": second - first, "ci_low": low, "ci_high": high, "p_value": p, "test": test},
    }


def _settle_ties(
    delta: np.ndarray,
    counts: np.ndarray,
    reference: pd.DataFrame,
    other: pd.DataFrame,
    metric: str,
) -> None:
    """Replace differences of AUCs that are 0 by what scikit-learn's rounding makes of them."""
    if metric == "oa_auc":
        scores = [model[["prob_oa"]].to_numpy(dtype=float) for model in (reference, other)]
        labels = reference[["oa"]].to_numpy() == 1  # (n, 1)
    else:
        scores = [model[PROB_KL].to_numpy(dtype=float) for model in (reference, other)]
        labels = reference["kl"].to_numpy()[:, None] == np.arange(len(PROB_KL))  # (n, 5)
    if np.array_equal(*(rankdata(score, axis=0) for score in scores)):
        return  # they rank all cases alike: the same curve, rounded alike
    columns = np.flatnonzero(labels.any(axis=0))
    for b in np.flatnonzero(np.abs(delta) < _TIE):
        drawn = np.repeat(np.arange(len(labels)), counts[b].astype(int))
        with config_context(skip_parameter_validation=True):
            first, second = (
                np.mean([roc_auc_score(labels[drawn, k], score[drawn, k]) for k in columns])
                for score in scores
            )
        delta[b] = second - first


def _table(
    rows: list[dict[str, Any]],
    columns: list[str],
    if_several: list[str],
    names: tuple[str, str] = ("value_reference", "value_other"),
) -> pd.DataFrame:
    """Rows as a table, adjusted as one family; columns `if_several` first, where they differ."""
    table = pd.DataFrame(rows)
    table["q_value"], table["p_holm"] = benjamini_hochberg(table["p_value"]), holm(table["p_value"])
    table = table.rename(columns=dict(zip(("value_reference", "value_other"), names, strict=True)))
    return table[[*(name for name in if_several if table[name].nunique() > 1), *columns]]


def _in_order(names: np.ndarray, first: tuple[str, ...]) -> list[str]:
    """Names in a fixed order as far as it goes, then as they come."""
    here = [str(name) for name in names]
    return [name for name in first if name in here] + [name for name in here if name not in first]


def _supervisions(backbone: str, runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Predictions of a backbone and seed by supervision; it must have all three."""
    models = {str(name): table for name, table in runs.groupby("supervision")}
    if lacking := [name for name in SUPERVISIONS if name not in models]:
        raise InputError(
            f"{backbone}, seed {runs['seed'].iloc[0]}: there are no predictions of "
            f"{', '.join(lacking)}; add them, or drop this backbone and seed"
        )
    return models


def _shared(first: pd.DataFrame, second: pd.DataFrame) -> list[tuple[str, str]]:
    """Task and metric, by the release's names, of all that two models both have."""
    both = set(metrics_of(first)) & set(metrics_of(second))
    return [(task, m) for task, names in TASKS.items() for m in names if names[m] in both]


def _counterparts(
    reference: pd.DataFrame, other: pd.DataFrame
) -> Iterator[tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]]:
    """Pairs of models of two tables, with what their rows are called."""
    for table in (reference, other):
        check_columns(table)
    # by (backbone, supervision, seed)
    first, second = (
        {(str(name), str(supervision), run): rows for (name, supervision, run), rows in groups}
        for groups in (table.groupby(MODEL, sort=False) for table in (reference, other))
    )
    pairs = []
    for model in first:
        here, there = ([m for m in t if m[::2] == model[::2]] for t in (first, second))
        if model in second:
            pairs.append((model, model))
        elif not set(here) & set(there) and 1 in (len(here), len(there)):
            pairs += [(model, counterpart) for counterpart in there]
    if len(first) == len(second) == 1:
        pairs = [(next(iter(first)), next(iter(second)))]
    if not pairs:
        have = [
            "; ".join(" ".join(map(str, model)) for model in table) for table in (first, second)
        ]
        raise InputError(
            f"no model of the first table ({have[0]}) has a counterpart in the second ({have[1]}): "
            "give tables that share backbones and seeds, or one model each"
        )
    backbones = _in_order(reference["backbone"].unique(), FIRST)
    supervisions = _in_order(reference["supervision"].unique(), SUPERVISIONS)
    pairs.sort(key=lambda p: (p[0][2], backbones.index(p[0][0]), supervisions.index(p[0][1])))
    for one, two in pairs:
        words = [a if a == b else f"{a} / {b}" for a, b in zip(one, two, strict=True)]
        yield dict(zip(MODEL, words, strict=True)), first[one], second[two]
