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


def none_right_by_chance(right, n=400, seed=0):
    """Knees of each grade that all models fail, in n deals: (n, grades).

    A deal gives each model's answers anew to the knees of the grade, so that failures of several
    models are independent.
    """
    rng = np.random.default_rng(seed)
    counts = []
    for _, part in right.groupby(level="kl"):
        deals = rng.permuted(np.repeat(part.to_numpy(bool)[None], n, axis=0), axis=1)
        counts.append((~deals.any(axis=2)).sum(axis=1))
    return np.array(counts).T


def simulated(hard, n=30, n_models=5, seed=0):
    """Models that fail knees of grade g at the rate g / 12, and `hard` of each all together."""
    rng = np.random.default_rng(seed)
    grade = np.repeat(range(5), n)
    right = rng.random((grade.size, n_models)) > grade[:, None] / 12
    right[np.tile(np.arange(n), 5) < hard] = False
    index = pd.MultiIndex.from_arrays([grade, np.arange(grade.size)], names=["kl", "case_id"])
    return pd.DataFrame(right, index=index)


@pytest.mark.parametrize("hard", [0, 4])
def test_what_independence_gives_is_the_mean_of_deals_within_each_grade(hard):
    right = simulated(hard)
    found = failures.failed_together(right)
    chance = none_right_by_chance(right)
    # A mean of 400 counts, each of which varies by less than its square root.
    room = 4 * np.sqrt(chance.mean(axis=0).clip(0.02) / len(chance))
    expected = found["none right, if independent"].to_numpy()
    assert (np.abs(chance.mean(axis=0) - expected) < room).all()


def test_knees_that_are_hard_for_all_stand_out_of_the_deals_and_others_do_not():
    hard, even = (failures.failed_together(simulated(n))["none right"] for n in (4, 0))
    often = (none_right_by_chance(simulated(4)) >= hard.to_numpy()).mean(axis=0)
    assert (often < 0.01).all()
    often = (none_right_by_chance(simulated(0)) >= even.to_numpy()).mean(axis=0)
    assert (often > 0.05).all()


def test_a_grade_that_models_never_give_shows_nothing_by_itself():
    # Four of five fail every knee of the grade, so that the fifth alone decides, by construction.
    right = simulated(0)
    right.iloc[:30, :4] = False
    row = failures.failed_together(right).loc[0]
    assert row["none right"] == pytest.approx(row["none right, if independent"])


def test_the_published_models_fail_together_more_often_than_deals_do(shared):
    right = failures.right_by_case(read_published(shared / "real/published_predictions"), "kl")
    found, chance = failures.failed_together(right), none_right_by_chance(right)
    expected = found["none right, if independent"]
    assert found["none right"].sum() == 16 and expected.sum() == pytest.approx(9.6, abs=0.1)
    assert found["none right"].tolist()[:2] == [3, 7] and expected[1] == pytest.approx(7)
    assert expected[0] == pytest.approx(0.21, abs=0.01)
    assert chance.mean(axis=0) == pytest.approx(expected.to_numpy(), abs=0.35)
    assert (chance.sum(axis=1) >= 16).mean() < 0.01
    assert (chance[:, 0] >= 3).mean() < 0.02 and (chance[:, 1] >= 7).all()


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
