"""The paper's comparisons: Dual against each single supervision, head against head.

Section 3.6 of arXiv:2605.00718: a Dual model's OA metrics are set against Single-OA's, its KL
metrics against Single-KL's, on the same test cases.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.hierarchy import SUPERVISION_NAMES, oa_from_kl
from oacore.metrics import KL_METRICS, OA_METRICS, paired_bootstrap, table1

REFERENCES = {"single_oa": OA_METRICS, "single_kl": KL_METRICS}


def compare_supervisions(
    predictions: pd.DataFrame, *, n_resamples: int = 2000, seed: int
) -> pd.DataFrame:
    """Dual minus single, for every backbone and seed, with 95% intervals.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, with all three supervisions of each backbone and seed.
    n_resamples, seed : int
        Of the paired bootstrap.

    Returns
    -------
    DataFrame
        Six rows for each backbone and seed: backbone, seed, comparison, and the columns of
        :func:`oacore.metrics.paired_bootstrap`.

    Raises
    ------
    InputError
        If a supervision is missing.
    """
    rows = []
    for (backbone, model_seed), runs in predictions.groupby(["backbone", "seed"], sort=False):
        models = dict(list(runs.groupby("supervision")))
        if missing := SUPERVISION_NAMES.keys() - models.keys():
            raise InputError(
                f"{backbone}, seed {model_seed}: there are no predictions of "
                f"{', '.join(sorted(missing))}; train them with `make book` or `oacore train`"
            )
        for reference, metrics in REFERENCES.items():
            table = paired_bootstrap(
                models[reference], models["dual"], n_resamples=n_resamples, seed=seed
            )
            model: dict[str, Any] = {
                "backbone": backbone,
                "seed": model_seed,
                "comparison": f"Dual minus {SUPERVISION_NAMES[reference]}",
            }
            table = table[table["metric"].isin(metrics)]
            rows.append(table.assign(**model)[[*model, *table.columns]])
    return pd.concat(rows, ignore_index=True)


def contradictions(predictions: pd.DataFrame) -> pd.DataFrame:
    """How often a Dual model's two heads answer the OA question differently.

    The OA head says OA at a probability of one half; the KL head says OA by a predicted grade of
    2 or more. The paper imposes no consistency between them (section 3.1).

    Returns
    -------
    DataFrame
        A row for each Dual model: backbone, seed, knees, contradicting, share.
    """
    dual = predictions[predictions["supervision"] == "dual"]
    differ = dual["pred_oa"].to_numpy(int) != oa_from_kl(dual["pred_kl"].to_numpy(int))
    counts = dual.assign(differ=differ).groupby(["backbone", "seed"])["differ"]
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
        Rows of :func:`oacore.metrics.table1`, with a first column "scored against".
    """
    kl = predictions["case_id"].map(true_kl).to_numpy(np.int64)
    true = predictions.assign(kl=kl, oa=oa_from_kl(kl))
    tables = {"label as read": table1(predictions), "true grade": table1(true)}
    return pd.concat(tables, names=["scored against"]).reset_index(level=0)
