"""The released answers, counted: how many knees got which, and no knee by itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from oacore.metrics.calibration import reliability
from oacore.metrics.compare import by_supervision
from oacore.metrics.failures import failed_together, pairwise_agreement, right_by_case
from oacore.metrics.predictions import GRADES, each_model, has_kl, pair
from oacore.names import ordered

#: A mean over fewer knees would come close to telling what a single one was given.
FEWEST = 5


def answers(predictions: pd.DataFrame) -> pd.DataFrame:
    """How often each model gives each answer to knees of each label: its confusion matrices.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, one seed of each model.

    Returns
    -------
    DataFrame
        `backbone`, `supervision`, `level` ("oa", and "kl" where the model gives grades), `label`,
        `answer`, `knees`; a row for each label and answer, those that never occur too.
    """
    rows = []
    for (backbone, supervision, _), table in each_model(predictions):
        for level, classes in (("oa", range(2)), ("kl", GRADES)):
            if level == "kl" and not has_kl(table):
                continue
            labels, given = (table[name].astype(int) for name in (level, f"pred_{level}"))
            counts = confusion_matrix(labels, given, labels=list(classes))
            rows += [
                (backbone, supervision, level, label, answer, counts[label, answer])
                for label in classes
                for answer in classes
            ]
    names = ["backbone", "supervision", "level", "label", "answer", "knees"]
    return pd.DataFrame(rows, columns=names)


def both_right(predictions: pd.DataFrame) -> pd.DataFrame:
    """Single-OA and Dual on the same knees: how often both are right on OA, one, or none.

    Parameters
    ----------
    predictions : DataFrame
        As in :func:`answers`.

    Returns
    -------
    DataFrame
        `backbone`, `single_right`, `dual_right` (bool), `knees`: four rows for each backbone.
    """
    rows = []
    for backbone in ordered(predictions["backbone"]):
        models = by_supervision(backbone, predictions[predictions["backbone"] == backbone])
        two = pair(models["single_oa"], models["dual"])
        single, dual = ((rows["pred_oa"] == rows["oa"]).to_numpy() for rows in two)
        rows += [
            (backbone, first, second, int(((single == first) & (dual == second)).sum()))
            for first in (True, False)
            for second in (True, False)
        ]
    return pd.DataFrame(rows, columns=["backbone", "single_right", "dual_right", "knees"])


def models_right(predictions: pd.DataFrame) -> pd.DataFrame:
    """Of the knees of each grade, how many are graded rightly by none, one, ..., all models.

    Returns
    -------
    DataFrame
        `kl`, `models_right`, `knees`; a row for each grade and number of models.
    """
    right = right_by_case(predictions, "kl")
    counts = right.sum(axis=1).groupby(level="kl").value_counts()
    grades, numbers = sorted(set(counts.index.get_level_values("kl"))), range(right.shape[1] + 1)
    full = pd.MultiIndex.from_product([grades, numbers], names=["kl", "models_right"])
    return counts.reindex(full, fill_value=0).rename("knees").reset_index()


def failures(predictions: pd.DataFrame) -> pd.DataFrame:
    """Knees of each grade that all models fail, beside what chance would give.

    Returns
    -------
    DataFrame
        `kl` and the columns of :func:`.failures.failed_together`.
    """
    return failed_together(right_by_case(predictions, "kl")).reset_index()


def agreement(predictions: pd.DataFrame) -> pd.DataFrame:
    """How alike the grades of each two models are.

    Returns
    -------
    DataFrame
        The rows of :func:`.failures.pairwise_agreement`; a model is one text there, backbone and
        supervision.
    """
    pairs = pairwise_agreement(predictions, "kl")
    return pairs.assign(
        **{name: [f"{m[0]} {m[1]}" for m in pairs[name]] for name in ("first", "second")}
    )


def reliable_points(predictions: pd.DataFrame, bins: int = 5) -> pd.DataFrame:
    """Points of the reliability curves of OA, of at least `FEWEST` knees each.

    Returns
    -------
    DataFrame
        Rows of :func:`.calibration.reliability`.
    """
    points = reliability(predictions, bins=bins)
    shown = (points["of"] == "OA probability") & (points["n"] >= FEWEST)
    return points[shown].reset_index(drop=True)


def as_knees(counts: pd.DataFrame, column: str) -> np.ndarray:
    """A column of counted rows with each value as often as there are knees."""
    return np.repeat(counts[column].to_numpy(), counts["knees"].to_numpy())
