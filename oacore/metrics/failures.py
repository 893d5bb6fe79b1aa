"""Which knees several models get wrong together, and how far two models answer alike.

Models that fail on the same knees share a cause: a hard knee, or a label that is wrong. Models
that fail on different ones could correct each other.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from oacore.metrics.predictions import each_model, pair


def right_by_case(predictions: pd.DataFrame, level: str) -> pd.DataFrame:
    """Tell for each model and case whether the model is right.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, of models that all predict the same cases.
    level : {"oa", "kl"}
        Which answer is judged; models without grades are left out for "kl".

    Returns
    -------
    DataFrame of bool
        A row a case, indexed by `kl` and `case_id`; a column a model (backbone, supervision,
        seed).

    Raises
    ------
    InputError
        If columns are missing, or models predict different cases.
    """
    answers = _answers(predictions, level)
    cases = answers.index
    label = cases.get_level_values("kl").to_numpy()
    truth = label >= 2 if level == "oa" else label
    return answers.eq(pd.Series(truth, index=cases).astype(int), axis=0)


def failed_together(right: pd.DataFrame) -> pd.DataFrame:
    """Count the knees of each grade that all models fail, beside what chance alone would give.

    Parameters
    ----------
    right : DataFrame
        From :func:`right_by_case`.

    Returns
    -------
    DataFrame
        Indexed by grade: `knees`, `none right` (all models fail), `all right`, and
        `none right, if independent`: the number to be expected if, within a grade, models failed
        on knees independently of each other (product of their shares of failures).
    """
    rows = {}
    for grade, part in right.groupby(level="kl"):
        values = part.to_numpy()
        rows[grade] = {
            "knees": len(values),
            "none right": int((~values).all(axis=1).sum()),
            "all right": int(values.all(axis=1).sum()),
            "none right, if independent": len(values) * float(np.prod(1 - values.mean(axis=0))),
        }
    table = pd.DataFrame(rows).T.rename_axis("kl")
    return table.astype({"knees": int, "none right": int, "all right": int})


def pairwise_agreement(predictions: pd.DataFrame, level: str) -> pd.DataFrame:
    """Agreement of each two models, corrected for chance.

    Parameters
    ----------
    predictions, level
        As in :func:`right_by_case`.

    Returns
    -------
    DataFrame
        A row a pair: `first`, `second` (backbone, supervision, seed), `same` (share of cases with
        the same answer), `kappa` (Cohen's; quadratically weighted for grades,
        doi:10.1037/h0026256), `both_wrong` (share), `same_wrong` (share of those on which the two
        give the same wrong answer; NaN if there is none).
    """
    answers = _answers(predictions, level)
    right = right_by_case(predictions, level)
    weights = "quadratic" if level == "kl" else None
    rows = []
    for first, second in combinations(answers.columns, 2):
        same = answers[first] == answers[second]
        wrong = ~right[first] & ~right[second]
        rows.append(
            {
                "first": first,
                "second": second,
                "same": same.mean(),
                "kappa": cohen_kappa_score(answers[first], answers[second], weights=weights),
                "both_wrong": wrong.mean(),
                "same_wrong": same[wrong].mean(),
            }
        )
    return pd.DataFrame(rows)


def _answers(predictions: pd.DataFrame, level: str) -> pd.DataFrame:
    """Answers of all models, a column each, on the same cases in the order of grade and case."""
    answer = f"pred_{level}"
    answering = [(m, rows) for m, rows in each_model(predictions) if rows[answer].notna().any()]
    first = answering[0][1]
    columns = {}
    for model, rows in answering:
        _, paired = pair(first, rows)
        columns[model] = paired.set_index(["kl", "case_id"])[answer].astype(int)
    return pd.DataFrame(columns).sort_index()
