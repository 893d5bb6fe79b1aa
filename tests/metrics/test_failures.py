"""Which knees models fail together: counted by hand, kappa by scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from oacore.errors import InputError
from oacore.instruments.published.predictions import read_published
from oacore.metrics import failures
from tests.helpers import model


def three(n=60):
    kl = np.arange(n) % 5
    tables = [model(seed, n, kl=kl) for seed in range(3)]
    tables[1] = tables[1].iloc[::-1]  # another order of rows
    return pd.concat([*tables, model(9, n, "single_oa", kl=kl)], ignore_index=True)


def test_right_and_wrong_by_hand():
    table = three()
    right = failures.right_by_case(table, "kl")
    assert list(right.columns) == [("resnet3d", "dual", seed) for seed in range(3)]
    for seed in range(3):
        rows = table.query("seed == @seed").set_index("case_id")
        expected = (rows["pred_kl"] == rows["kl"]).astype(bool)
        got = right[("resnet3d", "dual", seed)].droplevel("kl")
        assert (got.sort_index() == expected.sort_index()).all()
    coarse = failures.right_by_case(table, "oa")
    assert coarse.shape == (60, 4)
    rows = table.query("supervision == 'single_oa'")
    got = coarse[("resnet3d", "single_oa", 9)].mean()
    assert got == (rows["pred_oa"] == rows["oa"]).mean()


def test_failed_together_counts_and_what_independence_gives():
    index = pd.MultiIndex.from_product([[1], range(4)], names=["kl", "case_id"])
    right = pd.DataFrame({"a": [1, 1, 0, 0], "b": [1, 0, 0, 0]}, index=index).astype(bool)
    row = failures.failed_together(right).loc[1]
    assert row["knees"] == 4 and row["none right"] == 2 and row["all right"] == 1
    assert row["none right, if independent"] == pytest.approx(4 * 0.5 * 0.75)


def test_independent_failures_are_as_many_as_expected():
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([[2], range(20_000)], names=["kl", "case_id"])
    right = pd.DataFrame(rng.random((20_000, 3)) < [0.3, 0.5, 0.6], index=index)
    row = failures.failed_together(right).loc[2]
    assert row["none right"] == pytest.approx(row["none right, if independent"], rel=0.05)


def test_pairs_agree_as_scikit_learn_says():
    table = three()
    pairs = failures.pairwise_agreement(table, "kl")
    assert len(pairs) == 3
    by_seed = {s: r.sort_values("case_id") for s, r in table.query("seed < 3").groupby("seed")}
    for row in pairs.to_dict("records"):
        first, second = (
            by_seed[row[which][2]]["pred_kl"].to_numpy(int) for which in ("first", "second")
        )
        kl = by_seed[0]["kl"].to_numpy()
        assert row["kappa"] == pytest.approx(
            cohen_kappa_score(first, second, weights="quadratic"), abs=1e-12
        )
        wrong = (first != kl) & (second != kl)
        assert row["same"] == (first == second).mean()
        assert row["both_wrong"] == wrong.mean()
        assert row["same_wrong"] == (first == second)[wrong].mean()
    coarse = failures.pairwise_agreement(table, "oa")
    assert len(coarse) == 6


def test_models_of_other_cases_are_refused():
    table = pd.concat([model(0, 20, kl=np.arange(20) % 5), model(1, 25, kl=np.arange(25) % 5)])
    with pytest.raises(InputError, match="predict different cases"):
        failures.right_by_case(table, "kl")


def test_no_published_kl_model_of_resnet3d_or_nnmamba_gets_grade_1(shared):
    table = read_published(shared / "real/published_predictions")
    right = failures.right_by_case(table, "kl")
    doubtful = right.loc[1]
    for backbone in ("resnet3d", "nnmamba"):
        assert not doubtful[backbone].to_numpy().any()
    assert failures.failed_together(right)["knees"].tolist() == [21, 12, 22, 28, 15]
