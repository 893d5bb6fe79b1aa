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
from oacore.metrics.compare import REFERENCES, by_supervision
from oacore.metrics.predictions import MODEL, PROB_KL, check_columns, each_model, pair
from oacore.metrics.resampling import estimate, resamples_in_parts, undefined, why_silent
from oacore.metrics.scores import METRICS, metrics_of
from oacore.metrics.significance import (
    benjamini_hochberg,
    bootstrap_p,
    bootstrap_se,
    delong,
    holm,
    mcnemar,
)
from oacore.names import METRIC_NAMES, ordered

#: The release's task and name for each of its metrics.
RELEASED = {
    "oa_auc": ("OA", "AUC"),
    "oa_acc": ("OA", "Acc"),
    "oa_f1": ("OA", "F1"),
    "kl_auc": ("KL", "M-AUC"),
    "kl_acc": ("KL", "Acc"),
    "kl_f1": ("KL", "M-F1"),
}
_TESTED = ["metric", "value_reference", "value_other", "value", "low", "high", "p_value", "test"]
#: Resamples in which a metric is undefined, and in words what follows from them.
UNDEFINED = ["n_undefined", "note"]
COMPARED = ["backbone", *_TESTED, "q_value", *UNDEFINED]
#: What the release does not give of a difference, and its power asks for.
SPREAD = ["se", "knees"]
BACKBONES_COMPARED = [
    "supervision", "reference", "backbone", *_TESTED, "q_value", "p_holm", "p_delong", *UNDEFINED,
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
        Columns `COMPARED` and `SPREAD`; with several training seeds `seed` comes before them.
        Backbones
        resnet3d, m3t and nnmamba first, others as they come. `value` is `value_other`, Dual's,
        minus `value_reference`, the single model's; `low` and `high` are its 95% percentile
        interval. `p_value` is that of `test`: "paired_bootstrap", or, for OA accuracy,
        "mcnemar_exact" or "mcnemar_chi2+continuity" (the interval is the bootstrap's there too).
        `q_value`: Benjamini and Hochberg's, and the family is all rows of the table.
        `n_undefined`: the resamples in which the metric is undefined, as they lack a class or
        grade. Where these are too many (:data:`.significance.UNDEFINED_LIMIT`), `low`, `high`,
        `p_value` and `q_value` are NaN and `note` says why; it is "" elsewhere. `se` is the
        standard deviation of the difference over the resamples, `knees` how many were judged.
        :func:`as_released` gives the columns their released names.

    Raises
    ------
    InputError
        If a supervision is missing, or the models of a backbone were judged on different cases.

    Notes
    -----
    The p-value counts resamples where the difference is at most 0, and at least 0. The release
    calls scikit-learn, whose AUCs are rounded, so that some ties fall to one side. That moves
    the published p-values by up to .002; so, in this function alone, scikit-learn decides ties
    between AUCs. A metric that the release lacks draws from a generator of its own.
    """
    check_columns(predictions)
    rows = []
    for model_seed, of_seed in predictions.groupby("seed"):
        rng = np.random.default_rng(seed)
        for backbone in ordered(of_seed["backbone"]):
            models = by_supervision(backbone, of_seed[of_seed["backbone"] == backbone])
            for reference, metrics in REFERENCES.items():
                single, dual = pair(models[reference], models["dual"])
                for supervision, table in ((reference, single), ("dual", dual)):
                    if not set(metrics) <= set(metrics_of(table)):
                        raise InputError(
                            f"{backbone}, seed {model_seed}: {supervision} has no predicted "
                            "grades; give its pred_kl and prob_kl_0 to prob_kl_4"
                        )
                for metric in metrics:
                    own = rng if metric in RELEASED else np.random.default_rng(seed)
                    tested = _compare(single, dual, metric, n_resamples, own, released=True)
                    rows.append({"seed": model_seed, "backbone": backbone, **tested})
    return _table(rows, [*COMPARED, *SPREAD], ["seed"])


def as_released(compared: pd.DataFrame) -> pd.DataFrame:
    """Rows of :func:`released_protocol` under the release's names of columns and metrics.

    Returns
    -------
    DataFrame
        backbone, task, metric, single, dual, delta, ci_low, ci_high, p_value, test, q_value;
        before them `seed`, if the rows have it.
    """
    names = [
        RELEASED.get(metric, (metric[:2].upper(), METRIC_NAMES[metric]))
        for metric in compared["metric"]
    ]
    table = compared.assign(metric=[name for _, name in names])
    place = list(table.columns).index("metric")
    table.insert(place, "task", [task for task, _ in names])
    return table.drop(columns=[*UNDEFINED, *SPREAD]).rename(
        columns={
            "value_reference": "single",
            "value_other": "dual",
            "value": "delta",
            "low": "ci_low",
            "high": "ci_high",
        }
    )


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
        :func:`released_protocol`: `value` is second minus first. Columns `seed` and `supervision`
        come before them where there are several. Names that differ in a pair are given both,
        "m3t / nnmamba". Ties are exact here.

    Raises
    ------
    InputError
        If no models pair, or two that do were judged on different cases.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for place, first, second in _counterparts(reference, other):
        first, second = pair(first, second)
        for metric in _shared(first, second):
            rows.append(place | _compare(first, second, metric, n_resamples, rng))
    return _table(rows, COMPARED, ["seed", "supervision"])


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
        Where `note` says that nothing can be said, DeLong's test is silent too.
        The family of both, `q_value` and `p_holm`, is all rows. `p_delong` is DeLong's p-value in
        rows of OA AUC, beside the bootstrap's, and NaN in the others; it is in no family.

    Raises
    ------
    InputError
        If no two backbones share a supervision and seed.
    """
    check_columns(predictions)
    backbones = ordered(predictions["backbone"])
    models = dict(list(predictions.groupby(["seed", "supervision", "backbone"])))
    rows = []
    for model_seed in sorted(predictions["seed"].unique()):
        for supervision in ordered(predictions["supervision"]):
            for two in combinations(backbones, 2):
                keys = [(model_seed, supervision, backbone) for backbone in two]
                if not models.keys() >= set(keys):
                    continue
                first, second = pair(*(models[key] for key in keys))
                place = {"seed": model_seed, "supervision": supervision}
                place |= {"reference": two[0], "backbone": two[1]}
                for metric in _shared(first, second):
                    rng = np.random.default_rng(seed)
                    tested = _compare(first, second, metric, n_resamples, rng)
                    tested["p_delong"] = np.nan
                    if metric == "oa_auc" and not tested["note"]:
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
    metric: str,
    n_resamples: int,
    rng: np.random.Generator,
    *,
    released: bool = False,
) -> dict[str, Any]:
    """One row: two models, whose rows are paired, in one metric."""
    models, knees = (reference, other), len(reference)
    value, value_other = (METRICS[metric](model, np.ones((1, knees))).item() for model in models)
    resampled = []
    for counts in resamples_in_parts(knees, n_resamples, rng):
        first, second = (METRICS[metric](model, counts) for model in models)
        resampled.append(second - first)
        if released and metric in ("oa_auc", "kl_auc"):
            _settle_ties(resampled[-1], counts, reference, other, metric)
    difference = np.concatenate([[value_other - value], *resampled])
    n_undefined = undefined(difference)
    p, test = bootstrap_p(difference[1:]), "paired_bootstrap"
    if metric == "oa_acc":
        right, right_other = (model["pred_oa"] == model["oa"] for model in (reference, other))
        tested = mcnemar(right, right_other)
        p, test = tested.p_value, tested.test
    return {
        **{"metric": metric, "value_reference": value, "value_other": value_other},
        **estimate(difference),
        **{"p_value": p, "test": test},
        **{"n_undefined": n_undefined, "note": why_silent(n_undefined, n_resamples)},
        **{"se": bootstrap_se(difference[1:]), "knees": knees},
    }


def _settle_ties(
    difference: np.ndarray,
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
    for b in np.flatnonzero(np.abs(difference) < _TIE):
        drawn = np.repeat(np.arange(len(labels)), counts[b].astype(int))
        with config_context(skip_parameter_validation=True):
            first, second = (
                np.mean([roc_auc_score(labels[drawn, k], score[drawn, k]) for k in columns])
                for score in scores
            )
        difference[b] = second - first


def _table(rows: list[dict[str, Any]], columns: list[str], if_several: list[str]) -> pd.DataFrame:
    """Rows as a table, adjusted as one family; columns `if_several` first, where they differ."""
    table = pd.DataFrame(rows)
    table["q_value"], table["p_holm"] = benjamini_hochberg(table["p_value"]), holm(table["p_value"])
    return table[[*(name for name in if_several if table[name].nunique() > 1), *columns]]


def _shared(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """Metrics that two models both have."""
    return [metric for metric in metrics_of(first) if metric in metrics_of(second)]


def _counterparts(
    reference: pd.DataFrame, other: pd.DataFrame
) -> Iterator[tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]]:
    """Pairs of models of two tables, with what their rows are called."""
    # by (backbone, supervision, seed)
    first, second = (
        {(str(name), str(supervision), run): rows for (name, supervision, run), rows in models}
        for models in (each_model(table) for table in (reference, other))
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
    backbones, supervisions = (
        [str(word) for word in ordered(reference[name])] for name in ("backbone", "supervision")
    )
    pairs.sort(key=lambda p: (p[0][2], backbones.index(p[0][0]), supervisions.index(p[0][1])))
    for one, two in pairs:
        words = [a if a == b else f"{a} / {b}" for a, b in zip(one, two, strict=True)]
        yield dict(zip(MODEL, words, strict=True)), first[one], second[two]
