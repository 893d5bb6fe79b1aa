"""One question in several ways: each against the function that answers it alone."""

import numpy as np
import pandas as pd
import pytest

from oacore.instruments.published import ways
from oacore.metrics.calibration import SLOPE, calibration_table
from oacore.metrics.predictions import of_model
from oacore.metrics.scores import paired_bootstrap
from oacore.metrics.significance import delong
from tests.helpers import model

OPTIONS = {"n_resamples": 200, "seed": 3}


@pytest.fixture(scope="module")
def predictions():
    kl = np.arange(80) % 5
    tables = [
        model(i, 80, supervision, kl=kl).assign(backbone="resnet3d", seed=0)
        for i, supervision in enumerate(("single_oa", "single_kl", "dual"))
    ]
    return pd.concat(tables, ignore_index=True)


def of_two(predictions):
    return [of_model(predictions, "resnet3d", name) for name in ("single_oa", "dual")]


def test_the_paired_width_is_the_bootstraps(predictions):
    table = ways.pairing(predictions, "resnet3d", **OPTIONS).set_index("way")["width"]
    row = paired_bootstrap(*of_two(predictions), **OPTIONS).set_index("metric").loc["oa_auc"]
    assert table["paired"] == pytest.approx(row["high"] - row["low"])
    # Two copies of one model: what is hard for both cancels out, and only without pairs does not.
    single, dual = of_two(predictions)
    twins = pd.concat([single, single.assign(supervision="dual")], ignore_index=True)
    same = ways.pairing(twins, "resnet3d", **OPTIONS).set_index("way")["width"]
    assert same["paired"] == 0 and same["as if unpaired"] > 0.05


def test_three_intervals_are_of_one_difference(predictions):
    table = ways.three_intervals(predictions, **OPTIONS).set_index("way")
    exact = delong(of_two(predictions)[0]["oa"], *(rows["prob_oa"] for rows in of_two(predictions)))
    assert list(table.index) == ["percentile", "BCa", "DeLong"]
    assert table["difference"].nunique() == 1
    assert table.loc["DeLong", ["low", "high"]].tolist() == [exact.low, exact.high]
    assert np.isnan(table.loc["BCa", "p"]) and table["low"].nunique() == 3


def test_slopes_depend_on_the_cut(predictions):
    certain = predictions.assign(prob_oa=(predictions["pred_oa"] == 1).astype(float))
    certain["prob_oa_from_kl"] = certain["prob_oa"]
    table = ways.slopes_by_cut(certain, [1e-3, 1e-6], seed=0)
    assert list(table["cut"]) == [1e-3, 1e-6]
    assert (table["least"].iloc[0] != table["least"].iloc[1]) and (table["most"] > 0).any()
    plain = calibration_table(certain, seed=0, clip=1e-6)
    slopes = plain.loc[plain["measure"] == SLOPE, "value"]
    assert table["least"].iloc[1] == slopes.min() and table["most"].iloc[1] == slopes.max()


def test_a_constant_is_the_commonest_grade(predictions):
    dual = predictions["supervision"] == "dual"
    more = predictions.assign(kl=np.where(predictions["kl"] == 1, 0, predictions["kl"]))
    table = ways.beside_constant(more, "resnet3d", **OPTIONS)
    assert table["grade"].item() == 0
    right = more[dual]["pred_kl"] == more[dual]["kl"]
    assert table["value"].item() == pytest.approx(right.mean() - (more[dual]["kl"] == 0).mean())
