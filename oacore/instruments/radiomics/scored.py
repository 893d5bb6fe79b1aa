"""What is shown of the models' predictions: scores and counts, and no knee by itself."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from oacore.instruments.radiomics.models import (
    cross_validated,
    linear_predictions,
    score_intervals,
)
from oacore.instruments.radiomics.table import feature_columns
from oacore.metrics.predictions import of_model
from oacore.metrics.scores import paired_bootstrap, table1

KL_METRICS = ["kl_acc", "kl_f1", "kl_auc"]


def knees_by_grade(knees: pd.DataFrame) -> pd.DataFrame:
    """How many knees of each grade each split has.

    Returns
    -------
    DataFrame
        `split`, `kl`, `knees`.
    """
    return knees.groupby(["split", "kl"], sort=False).size().rename("knees").reset_index()


def seed_spread(network: pd.DataFrame) -> pd.DataFrame:
    """Standard deviations of Table 1's metrics over the seeds of each supervision.

    Parameters
    ----------
    network : DataFrame
        From :func:`.models.network_predictions`.
    """
    runs = table1(network).groupby("supervision", sort=False)
    return runs[["oa_auc", "kl_auc", "kl_acc", "kl_f1"]].std().reset_index()


def fold_spread(train: pd.DataFrame, *, folds: int, seed: int) -> pd.DataFrame:
    """How the logistic regression's KL metrics spread over the folds of a cross-validation.

    Returns
    -------
    DataFrame
        `over the folds` ("mean", "std", "min", "max"), and a column a metric.
    """
    columns = feature_columns(train)

    def logistic(kept: pd.DataFrame, held: pd.DataFrame) -> pd.DataFrame:
        return linear_predictions(kept, held, columns, "logistic")

    scores = cross_validated(train, logistic, folds=folds, seed=seed)
    scores = scores[scores["supervision"] == "single_kl"]
    spread = scores[KL_METRICS].agg(["mean", "std", "min", "max"])
    return spread.rename_axis("over the folds").reset_index()


def linear_scores(
    train: pd.DataFrame, test: pd.DataFrame, columns: Sequence[str], name: str, *, seed: int
) -> pd.DataFrame:
    """Scores with intervals of a logistic regression on some columns.

    Returns
    -------
    DataFrame
        Rows of :func:`.models.score_intervals`.
    """
    return score_intervals(linear_predictions(train, test, columns, name), seed=seed)


def published_minus_logistic(
    controls: pd.DataFrame, published: pd.DataFrame, *, n_resamples: int, seed: int
) -> pd.DataFrame:
    """The paper's ResNet3D Dual less the logistic regression on all features, on the same knees.

    Parameters
    ----------
    controls : DataFrame
        From :func:`.models.control_predictions`.
    published : DataFrame
        Tidy predictions of the paper's models.

    Returns
    -------
    DataFrame
        Rows of :func:`.scores.paired_bootstrap` on the grade.
    """
    ours = of_model(controls, "all features", "single_kl")
    theirs = of_model(published, "resnet3d", "dual")
    paired = paired_bootstrap(ours, theirs, n_resamples=n_resamples, seed=seed)
    return paired[paired["metric"].str.startswith("kl")].reset_index(drop=True)
