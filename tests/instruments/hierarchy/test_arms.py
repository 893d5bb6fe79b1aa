"""What each arm is told, and that arms differ in nothing but what their names say."""

from math import log

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.hierarchy import SUPERVISIONS, oa_from_kl
from oacore.instruments.hierarchy.arms import (
    ARMS,
    DUAL_SCALE,
    LABELS,
    arm_of,
    nearest_cut,
    second_label,
    shuffled_cuts,
)
from oacore.instruments.hierarchy.batched import Fit, Network, draws, initial_weights

#: The grades of 481 knees, by their numbers.
COUNTS = [103, 58, 108, 139, 73]
NET = Network(hidden=8, epochs=2, batch=16)
#: Arms that differ from Dual in the second head's label alone.
LABEL_ALONE = [
    *("shuffled", "cut1", "cut3", "cut4", "permuted", "random", "sex", "age", "quality"),
]


@pytest.fixture
def cases():
    rng = np.random.default_rng(0)
    kl = rng.permutation(np.repeat(np.arange(5), COUNTS))
    n = len(kl)
    table = pd.DataFrame({"kl": kl, "male": rng.integers(0, 2, n), "quality": rng.normal(size=n)})
    return table.assign(age=rng.integers(45, 80, n).astype(float))


@pytest.fixture
def training(cases):
    return np.arange(len(cases)) % 5 != 0


def test_shuffled_cuts_by_hand():
    # Groups of three that no threshold makes, with their shares of 481 knees: 034 .655, 123 .634,
    # 013 .624, 023 .728, 024 .590, 134 .561, 124 .497, 014 .486; OA has .665.
    kl = np.repeat(np.arange(5), COUNTS)
    assert shuffled_cuts(kl) == [(0, 3, 4), (1, 2, 3), (0, 1, 3), (0, 2, 3)]


def test_a_shuffled_hierarchy_follows_the_grade_and_its_seed(cases, training):
    drawn = set()
    for seed in range(30):
        told = [second_label(ARMS["shuffled"], cases, training, seed, fold) for fold in range(2)]
        assert (told[0] == told[1]).all()
        of_grade = cases.assign(told=told[0]).groupby("kl")["told"].agg(["min", "max"])
        assert (of_grade["min"] == of_grade["max"]).all()
        drawn.add(tuple(of_grade.index[of_grade["min"] == 1]))
    assert drawn == set(shuffled_cuts(cases["kl"].to_numpy()))


def test_moved_cuts_and_oa(cases, training):
    kl = cases["kl"].to_numpy()
    for name, first in (("cut1", 1), ("dual", 2), ("cut3", 3), ("cut4", 4)):
        np.testing.assert_array_equal(
            second_label(ARMS[name], cases, training, 0, 0), (kl >= first).astype(int)
        )
    np.testing.assert_array_equal(second_label(ARMS["two_kl"], cases, training, 0, 0), kl)


def test_permuted_labels_are_those_of_other_training_knees(cases, training):
    oa = oa_from_kl(cases["kl"])
    told = second_label(ARMS["permuted"], cases, training, 3, 1)
    assert told[training].sum() == oa[training].sum()
    assert abs(np.corrcoef(told[training], oa[training])[0, 1]) < 0.2
    for other in ((4, 1), (3, 2)):
        assert (second_label(ARMS["permuted"], cases, training, *other) != told).any()
    np.testing.assert_array_equal(second_label(ARMS["permuted"], cases, training, 3, 1), told)


def test_a_random_label_is_the_same_in_all_runs(cases, training):
    told = [second_label(ARMS["random"], cases, training, seed, fold) for seed, fold in
            ((0, 0), (7, 3))]  # fmt: skip
    np.testing.assert_array_equal(*told)
    assert abs(told[0].mean() - oa_from_kl(cases["kl"]).mean()) < 0.07


@pytest.mark.parametrize("name", ["age", "quality"])
def test_a_number_is_cut_as_frequently_as_oa(cases, training, name):
    told = second_label(ARMS[name], cases, training, 0, 0)
    share = oa_from_kl(cases["kl"])[training].mean()
    values = cases[name].to_numpy()
    assert values[told == 1].min() > values[told == 0].max()
    cuts = [(values[training] >= cut).mean() for cut in np.unique(values[training])]
    assert abs(told[training].mean() - share) == pytest.approx(
        min(abs(one - share) for one in cuts)
    )
    cases.loc[3, name] = np.nan
    assert second_label(ARMS[name], cases, training, 0, 0)[3] in (0, 1)


def test_nearest_cut_by_hand():
    assert nearest_cut(np.array([1, 2, 2, 3, np.nan]), 0.75) == 2
    assert nearest_cut(np.array([1.0, 2, 2, 3]), 0.3) == 3


def test_test_knees_decide_nothing_that_is_learned(cases, training):
    other = cases.copy()
    other.loc[~training, ["age", "quality"]] = 1e6
    for name in ("age", "quality", "permuted"):
        np.testing.assert_array_equal(
            second_label(ARMS[name], cases, training, 1, 1)[training],
            second_label(ARMS[name], other, training, 1, 1)[training],
        )


def test_a_cohort_without_the_column_is_refused(cases, training):
    with pytest.raises(InputError, match="no column 'quality'"):
        second_label(ARMS["quality"], cases.drop(columns="quality"), training, 0, 0)
    with pytest.raises(InputError, match="no arm 'two'"):
        arm_of("two")


def test_arms_are_those_of_the_design():
    assert set(SUPERVISIONS) <= set(ARMS)
    assert len({arm.says for arm in ARMS.values()}) == len(ARMS)
    assert {arm.second for arm in ARMS.values()} - {""} == set(LABELS)
    assert pytest.approx((log(2) + log(5)) / log(5)) == DUAL_SCALE
    assert [name for name, arm in ARMS.items() if arm.start] == ["again"]


def test_arms_whose_labels_alone_differ_have_all_else_alike(training):
    dual = ARMS["dual"]
    run = Fit(3, 1, training)
    for name in LABEL_ALONE:
        assert ARMS[name].form == dual.form
        assert (ARMS[name].weight, ARMS[name].scale) == (1, 1)
        theirs, own = (initial_weights(NET, arm, 20, 3, 1) for arm in (dual, ARMS[name]))
        assert sum(one.size for one in own.values()) == sum(one.size for one in theirs.values())
        for key in theirs:
            np.testing.assert_array_equal(own[key], theirs[key])
        for (rows, kept), (other, too) in zip(
            draws(NET, dual, run, 3, 1), draws(NET, ARMS[name], run, 3, 1), strict=True
        ):
            np.testing.assert_array_equal(rows, other)
            np.testing.assert_array_equal(kept, too)


@pytest.mark.parametrize("name", [name for name in ARMS if name != "again"])
def test_what_arms_share_starts_alike(name):
    base, own = (initial_weights(NET, ARMS[one], 20, 5, 2) for one in ("dual", name))
    # A cascaded head reads five logits: it is another layer.
    heads = ["trunk", "norm", "grade", *(["second"] if ARMS[name].joint != "cascaded" else [])]
    shared = [key for key in base if key in own and key.split("_")[0] in heads
              and own[key].shape == base[key].shape]  # fmt: skip
    assert {"trunk_weight", "trunk_bias"} <= set(shared)
    for key in shared:
        np.testing.assert_array_equal(own[key], base[key])


def test_seeds_folds_and_the_null_arm_start_elsewhere():
    base = initial_weights(NET, ARMS["single_kl"], 20, 5, 2)
    for seed, fold, name in ((6, 2, "single_kl"), (5, 3, "single_kl"), (5, 2, "again")):
        other = initial_weights(NET, ARMS[name], 20, seed, fold)
        assert (other["trunk_weight"] != base["trunk_weight"]).all()


def test_batches_hold_each_training_knee_at_most_once(training):
    run = Fit(0, 0, training)
    (first, kept), (second, _) = draws(NET, ARMS["dual"], run, 0, 0)
    assert first.shape == (training.sum() // 16, 16)
    assert len(np.unique(first)) == first.size and training[first].all()
    assert (first != second).any()
    assert kept.mean() == pytest.approx(1 - NET.dropout, abs=0.05)
