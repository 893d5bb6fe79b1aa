"""Runs that ended and did not learn: losses by hand, and invented runs that have collapsed."""

import numpy as np
import pandas as pd
import pytest

from oacore.training.checks import (
    collapsed_runs,
    doubts,
    evaluated_loss,
    normalisation_gaps,
    of_run,
)

KL = np.array([0, 1, 2, 2, 3, 4, 3, 2])


def predictions(answers, statistics="re-estimated", confidence=0.8, split="test", seed=0):
    """A Single-KL run that gives each knee one grade, with the same confidence in all."""
    prob = np.full((len(KL), 5), (1 - confidence) / 4)
    prob[np.arange(len(KL)), answers] = confidence
    table = pd.DataFrame(prob, columns=[f"prob_kl_{k}" for k in range(5)])
    return table.assign(
        model="resnet3d", supervision="single_kl", seed=seed, split=split, kl=KL,
        oa=(KL >= 2).astype(int), pred_kl=answers, statistics=statistics,
        prob_oa=prob[:, 2:].sum(axis=1),
    )  # fmt: skip


def test_the_loss_is_the_mean_log_probability_of_the_label():
    table = predictions(KL)
    assert evaluated_loss(table, "single_kl") == pytest.approx(-np.log(0.8))
    p = table["prob_oa"].where(table["oa"] == 1, 1 - table["prob_oa"])
    assert evaluated_loss(table, "single_oa") == pytest.approx(-np.log(p).mean())
    assert evaluated_loss(table, "dual") == pytest.approx(-np.log(0.8) - np.log(p).mean())


def test_a_gap_is_a_loss_in_evaluation_far_above_that_of_training():
    history = pd.DataFrame(
        {
            "model": "resnet3d",
            "supervision": "single_kl",
            "seed": [0, 0, 1, 1],
            "loss": [2, 0.2] * 2,
        }
    )
    wrong = np.full(len(KL), 4)
    good = [predictions(KL, split="train", seed=seed) for seed in (0, 1)]
    stale = [
        predictions(wrong, "running", split="train"),
        predictions(KL, "running", split="train", seed=1),
    ]
    gaps = normalisation_gaps(history, pd.concat([*good, *stale]))
    assert gaps["gap"].tolist() == [False, False]
    assert gaps["running"].tolist() == pytest.approx(
        [evaluated_loss(t, "single_kl") for t in stale]
    )
    gaps = normalisation_gaps(history, pd.concat([*stale, *good]))
    assert gaps["gap"].tolist() == [True, False]
    assert gaps["training"].tolist() == [0.2, 0.2]
    of_one = of_run(history, gaps.iloc[1])
    assert of_one["seed"].tolist() == [1, 1] and len(of_run(history, gaps.iloc[0])) == 2
    collapsed = collapsed_runs(pd.concat([predictions(KL), predictions(KL, seed=1)]))
    (said,) = doubts(gaps, collapsed)
    assert said.startswith(
        "ResNet3D, Single-KL, seed 0: with running statistics its loss on its own"
    )


def test_one_answer_for_nearly_all_knees_is_a_collapse():
    mostly = np.full(len(KL), 4)
    mostly[0] = 1
    # 3 of 8 labels are KL 2; the bar lies half-way from there to all.
    half = np.array([2, 2, 2, 2, 2, 4, 0, 1])
    found = collapsed_runs(pd.concat([predictions(mostly), predictions(half, seed=1)]))
    assert found["collapsed"].tolist() == [True, False]
    assert found["answer"].tolist() == [4, 2]
    assert found["share"].tolist() == [7 / 8, 5 / 8]
    assert found["commonest"].tolist() == [3 / 8, 3 / 8]
    none = pd.DataFrame(columns=["gap"], dtype=bool)
    (said,) = doubts(none, found)
    assert "seed 0 has collapsed: 88% of the test knees are called\nKL 4" in said


@pytest.mark.parametrize(
    ("training", "confidence", "gap"),
    [
        (0.45, 0.5, True),  # .69 nats, 1.54 times that of training
        (0.47, 0.5, False),  # 1.47 times
        (0.01, 0.95, False),  # five times, but .04 nats more
        (0.01, 0.88, True),  # .12 nats more
    ],
)
def test_a_gap_takes_a_factor_and_a_distance(training, confidence, gap):
    run = {"model": "resnet3d", "supervision": "single_kl", "seed": [0]}
    table = pd.concat(
        [predictions(KL, name, confidence, "train") for name in ("running", "re-estimated")]
    )
    assert normalisation_gaps(pd.DataFrame({**run, "loss": training}), table)["gap"].item() is gap


def test_the_bar_of_a_collapse_lies_half_way_to_all():
    six, five = np.full(len(KL), 2), np.full(len(KL), 2)
    six[:2], five[:3] = 0, 0  # 6 and 5 of 8; labels 3 of 8, so the bar is 5.5
    found = collapsed_runs(pd.concat([predictions(six), predictions(five, seed=1)]))
    assert found["collapsed"].tolist() == [True, False]
