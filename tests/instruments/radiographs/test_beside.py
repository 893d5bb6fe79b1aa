"""Printed figures of the second paper beside ours."""

import numpy as np
import pandas as pd
import pytest

from oacore.instruments.radiographs.arms import load_study
from oacore.instruments.radiographs.beside import STANDS_FOR, beside_printed


def scores(arms):
    rows = [
        {"arm": arm, "head": head, "metric": metric, "frequency": frequency, "value": number,
         "low": number - 1, "high": number + 1}
        for frequency, shift in (("as sampled", 0.0), ("natural", 100.0))
        for number, (arm, head, metric) in enumerate(
            ((a, h, m) for a in arms for h in ("kl", "oarsi", "narrowings")
             for m in ("accuracy", "rmse", "kappa", "macro_auc")), start=1)
        for number in [number + shift]
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("name", STANDS_FOR)
def test_every_row_stands_for_one_of_the_paper(name):
    arms = set(STANDS_FOR[name].values())
    table = beside_printed(scores(arms), name, "as sampled")
    assert list(dict.fromkeys(table["row"])) == list(STANDS_FOR[name])
    assert len(table) == 4 * 2 * 3 and (table["value"] < 100).all()
    assert arms <= set(load_study("real").arms)
    assert (beside_printed(scores(arms), name, "natural")["value"] > 100).all()


def test_figures_are_those_printed():
    arms = STANDS_FOR["2112.09177 Table 2"].values()
    table = beside_printed(scores(arms), "2112.09177 Table 2", "as sampled")
    at = table.set_index(["row", "head", "metric"])["printed"]
    assert at["Proposed", "kl", "accuracy"] == 0.727 and at["ResNet-50", "oarsi", "rmse"] == 0.585
    assert at["ResNet-18", "oarsi", "kappa"] == 0.776
    third = beside_printed(scores(arms), "2112.09177 Table 3", "as sampled")
    assert np.isnan(third.set_index(["row", "head", "metric"])["printed"]["neither", "kl", "kappa"])


def test_an_arm_that_is_not_finished_is_left_out():
    table = beside_printed(scores(["global"]), "2112.09177 Table 3", "as sampled")
    assert set(table["row"]) == {"neither"} and len(table) == 6
