"""Conformal sets: the exact guarantee on exchangeable cases, sets by a loop, halves of a table."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from oacore.metrics import conformal
from tests.helpers import model


def test_the_limit_is_a_rank():
    scores = np.array([0.9, 0.1, 0.5, 0.3])
    assert conformal.limit(scores, 0.6) == 0.5  # the 3rd of 4: 3 / 5
    assert conformal.limit(scores, 0.61) == 0.9
    assert conformal.limit(scores, 0.8) == 0.9
    assert conformal.limit(scores, 0.81) == np.inf  # no 5th of 4
    assert conformal.limit(np.zeros(0), 0.5) == np.inf


def exchangeable(rng, n):
    label = rng.choice(5, size=n, p=[0.2, 0.15, 0.25, 0.25, 0.15])
    near = np.exp(-np.abs(label[:, None] + rng.normal(0, 1, (n, 1)) - np.arange(5)))
    near *= rng.uniform(0.5, 1.5, (n, 5))  # scores do not tie
    return label, near / near.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("m", "level"), [(19, 0.9), (49, 0.9), (30, 0.8)])
def test_coverage_is_exactly_what_is_promised(m, level):
    """k / (m + 1) with k = ceil((m + 1) level), averaged over tables, whatever the model."""
    rng, tables = np.random.default_rng(m), 4000
    held = np.empty(tables)
    for i in range(tables):
        label, probability = exchangeable(rng, m + 1)
        sets = conformal.grade_sets(probability[:m], label[:m], probability[m:], level, False)
        held[i] = sets[0, label[m]]
    promised = np.ceil((m + 1) * level - 1e-9) / (m + 1)
    assert abs(held.mean() - promised) < 3 * np.sqrt(promised * (1 - promised) / tables)


def test_a_limit_for_each_grade_keeps_the_promise_within_each():
    rng = np.random.default_rng(8)
    held, given = np.zeros(5), np.zeros(5)
    for _ in range(800):
        label, probability = exchangeable(rng, 120)
        first, second = slice(0, 100), slice(100, None)
        sets = conformal.grade_sets(
            probability[first], label[first], probability[second], 0.8, by_grade=True
        )
        right = sets[np.arange(20), label[second]]
        np.add.at(held, label[second], right)
        np.add.at(given, label[second], 1)
    # At least .8, and at most 1 / (m + 1) more for the m knees of the grade (15 to 25).
    assert ((held / given > 0.785) & (held / given < 0.875)).all(), held / given


def test_sets_one_by_one():
    rng = np.random.default_rng(2)
    label, probability = exchangeable(rng, 60)
    _, new = exchangeable(rng, 15)
    for by_grade in (False, True):
        got = conformal.grade_sets(probability, label, new, 0.85, by_grade)
        for i, grade in np.ndindex(got.shape):
            own = [1 - p[k] for p, k in zip(probability, label, strict=True)
                   if not by_grade or k == grade]  # fmt: skip
            rank = int(np.ceil((len(own) + 1) * 0.85 - 1e-9))
            inside = rank > len(own) or 1 - new[i, grade] <= sorted(own)[rank - 1]
            assert got[i, grade] == inside


def test_a_grade_with_too_few_cases_is_in_every_set():
    label, probability = exchangeable(np.random.default_rng(1), 60)
    keep = (label != 1) | (np.cumsum(label == 1) <= 3)
    sets = conformal.grade_sets(probability[keep], label[keep], probability, 0.9, by_grade=True)
    assert sets[:, 1].all() and not sets.all()


def test_the_table_of_halves():
    table = model(0, n=60)
    got = conformal.conformal_table(table, n_halves=40, seed=3)
    assert list(got["kl"]) == ["all", *"01234"] * 2
    assert_array_equal(got["n"], [60, 12, 12, 12, 12, 12] * 2)
    one = got[got["limits"] == conformal.WAYS[0]].set_index("kl")
    # 28 is the rank among 30 that .9 of 31 asks for; ties can only add.
    assert one.loc["all", "covered"] >= 28 / 31 - 0.03
    parts = one.drop("all")
    assert_allclose(one.loc["all", "size"], parts["size"].mean(), atol=0.06)
    again = conformal.conformal_table(table.sample(frac=1, random_state=1), n_halves=40, seed=3)
    assert_array_equal(got["covered"], again["covered"])
    assert conformal.conformal_table(model(1, supervision="single_oa"), seed=0).empty
