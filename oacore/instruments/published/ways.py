"""One question, answered in several ways: with and without pairs, by three intervals, by cuts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from oacore.metrics.calibration import SLOPE, calibration_table, overconfident
from oacore.metrics.predictions import of_model
from oacore.metrics.scores import paired_bootstrap
from oacore.metrics.significance import delong
from oacore.names import ordered


def pairing(
    predictions: pd.DataFrame, backbone: str, *, n_resamples: int, seed: int
) -> pd.DataFrame:
    """Dual minus Single-OA in OA AUC: how wide its interval is, with and without the pairs.

    Returns
    -------
    DataFrame
        `way` ("paired", "as if unpaired"), `width`. Unpaired, the two models' own widths add up as
        those of independent numbers do, by their squares.
    """
    models = [of_model(predictions, backbone, name) for name in ("single_oa", "dual")]
    pairs = [(models[0], models[1])]
    # A constant, whose AUC never moves, takes the other model's place.
    pairs += [(rows.assign(prob_oa=0.5), rows) for rows in models]
    boots = [
        paired_bootstrap(first, second, n_resamples=n_resamples, seed=seed)
        for first, second in pairs
    ]
    rows = pd.concat([boot[boot["metric"] == "oa_auc"] for boot in boots])
    paired, *alone = (rows["high"] - rows["low"]).tolist()
    unpaired = math.hypot(*alone)
    return pd.DataFrame({"way": ["paired", "as if unpaired"], "width": [paired, unpaired]})


def three_intervals(predictions: pd.DataFrame, *, n_resamples: int, seed: int) -> pd.DataFrame:
    """Dual minus Single-OA in OA AUC, with a percentile interval, BCa's and DeLong's.

    Returns
    -------
    DataFrame
        `backbone`, `way`, `difference`, `low`, `high`, `p` (NaN for BCa).
    """
    rows = []
    for backbone in ordered(predictions["backbone"]):
        one, two = (of_model(predictions, backbone, name) for name in ("single_oa", "dual"))
        boot = paired_bootstrap(one, two, n_resamples=n_resamples, seed=seed)
        row = boot[boot["metric"] == "oa_auc"].iloc[0]
        exact = delong(one["oa"], one["prob_oa"], two["prob_oa"])
        ways = {
            "percentile": (row["low"], row["high"], row["p_value"]),
            "BCa": (row["bca_low"], row["bca_high"], np.nan),
            "DeLong": (exact.low, exact.high, exact.p_value),
        }
        rows += [(backbone, way, exact.value, *limits) for way, limits in ways.items()]
    return pd.DataFrame(rows, columns=["backbone", "way", "difference", "low", "high", "p"])


def slopes_by_cut(predictions: pd.DataFrame, cuts: Sequence[float], *, seed: int) -> pd.DataFrame:
    """Calibration slopes where probabilities are cut off at other distances from 0 and 1.

    Returns
    -------
    DataFrame
        `cut`, `least`, `most` (slopes of all models), `overconfident` (how many models are).
    """
    rows = []
    for cut in cuts:
        table = calibration_table(predictions, seed=seed, clip=cut)
        slopes = table.loc[table["measure"] == SLOPE, "value"]
        rows.append((cut, slopes.min(), slopes.max(), int(overconfident(table).sum())))
    return pd.DataFrame(rows, columns=["cut", "least", "most", "overconfident"])


def beside_constant(
    predictions: pd.DataFrame, backbone: str, *, n_resamples: int, seed: int
) -> pd.DataFrame:
    """A Dual model less the constant answer that gets the most grades right, in KL accuracy.

    Returns
    -------
    DataFrame
        One row: `grade` (the constant), `value`, `low`, `high`.
    """
    dual = of_model(predictions, backbone, "dual")
    grade = int(dual["kl"].mode()[0])
    against = paired_bootstrap(
        dual.assign(pred_kl=grade), dual, n_resamples=n_resamples, seed=seed
    ).set_index("metric")
    return pd.DataFrame([{"grade": grade, **against.loc["kl_acc", ["value", "low", "high"]]}])
