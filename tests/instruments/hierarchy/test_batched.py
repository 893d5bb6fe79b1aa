"""Batched training against PyTorch's own modules, one network after another."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.hierarchy import Setting, drawn_knees, one_after_another
from oacore.errors import InputError
from oacore.instruments.hierarchy.arms import ARMS
from oacore.instruments.hierarchy.batched import Fit, Network, standardised, train

KNEES = Setting(knees=100, features=12, seeds=2, folds=4)
NET = Network(hidden=16, epochs=3, batch=16, learning_rate=0.01, weight_decay=0.01)


@pytest.fixture(scope="module")
def knees():
    x, cases, runs = drawn_knees(KNEES)
    rng = np.random.default_rng(1)
    n = len(cases)
    cases = cases.assign(male=rng.integers(0, 2, n), age=rng.normal(60, 9, n))
    return x, cases.assign(quality=rng.normal(size=n)), runs


@pytest.mark.parametrize("norm", ["none", "layer", "group", "batch"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_as_one_after_another(knees, norm, schedule):
    x, cases, runs = knees
    network = replace(NET, norm=norm, schedule=schedule)
    arms = [ARMS[name] for name in ("dual", "shuffled", "dual3")]
    ours = train(network, arms, x, cases, runs[2:5], torch.float64).grade
    theirs = one_after_another(network, arms, x, cases, runs[2:5], torch.float64)
    np.testing.assert_allclose(ours, theirs, atol=1e-10)
    single = train(network, [ARMS["single_kl"], ARMS["scaled"]], x, cases, runs[:2], torch.float64)
    theirs = one_after_another(
        network, [ARMS["single_kl"], ARMS["scaled"]], x, cases, runs[:2], torch.float64
    )
    np.testing.assert_allclose(single.grade, theirs, atol=1e-10)


def test_in_single_precision_within_its_rounding(knees):
    x, cases, runs = knees
    ours = train(NET, [ARMS["dual"]], x, cases, runs[:3]).grade
    theirs = one_after_another(NET, [ARMS["dual"]], x, cases, runs[:3])
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize("name", list(ARMS))
def test_a_network_owes_nothing_to_its_neighbours(knees, name):
    x, cases, runs = knees
    arm = ARMS[name]
    together = train(NET, [arm, replace(arm, weight=0.5)], x, cases, runs[:4], torch.float64)
    alone = train(NET, [arm], x, cases, runs[1:2], torch.float64)
    np.testing.assert_allclose(together.grade[0, 1], alone.grade[0, 0], atol=1e-10)
    np.testing.assert_allclose(together.second[0, 1], alone.second[0, 0], atol=1e-10)
    if arm.grading:
        np.testing.assert_allclose(together.grade.sum(-1), 1)
    else:
        assert np.isnan(together.grade).all()
    answers = arm.second_outputs == 1
    assert np.isfinite(together.second).all() if answers else np.isnan(together.second).all()


def test_a_stopped_second_head_leaves_single_kl(knees):
    x, cases, runs = knees
    stopped, single, dual = (
        train(NET, [ARMS[name]], x, cases, runs[:2]).grade
        for name in ("oa_stopped", "single_kl", "dual")
    )
    np.testing.assert_array_equal(stopped, single)
    assert np.abs(dual - single).max() > 1e-3


def test_a_stopped_grade_leaves_single_oa(knees):
    x, cases, runs = knees
    stopped, single = (
        train(NET, [ARMS[name]], x, cases, runs[:2], torch.float64).second
        for name in ("kl_stopped", "single_oa")
    )
    np.testing.assert_allclose(stopped, single, atol=1e-12)


def test_it_learns_and_test_labels_play_no_part(knees):
    x, cases, runs = knees
    network = replace(NET, epochs=40, dropout=0.0)
    run = runs[0]
    said = train(network, [ARMS["dual"]], x, cases, [run])
    right = said.grade[0, 0].argmax(-1) == cases["kl"]
    assert right[run.training].mean() > 0.9
    other = cases.copy()
    other.loc[~run.training, "kl"] = 0
    again = train(network, [ARMS["dual"]], x, other, [run])
    np.testing.assert_array_equal(again.grade, said.grade)


def test_standardised_by_training_knees_alone():
    x = np.array([[1.0, 5], [3, 5], [100, 9]])
    found = standardised(x, np.array([True, True, False]))
    np.testing.assert_allclose(found, [[-1, 0], [1, 0], [98, 0]])


def test_what_cannot_be_one_batch_is_refused(knees):
    x, cases, runs = knees
    with pytest.raises(InputError, match="differ in more than labels"):
        train(NET, [ARMS["dual"], ARMS["single_kl"]], x, cases, runs[:1])
    few = Fit(0, 0, np.arange(len(x)) < 40)
    with pytest.raises(InputError, match="number of steps"):
        train(NET, [ARMS["dual"]], x, cases, [runs[0], few])
    with pytest.raises(InputError, match="10 training knees are fewer than a batch"):
        train(NET, [ARMS["dual"]], x, cases, [Fit(0, 0, np.arange(len(x)) < 10)])
    for wrong in ({"norm": "instance"}, {"schedule": "step"}, {"hidden": 12, "norm": "group"}):
        with pytest.raises(InputError, match="network: "):
            Network(**wrong)
