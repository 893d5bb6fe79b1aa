"""Counts of the released answers add up to the answers, and tell of no single knee."""

import numpy as np
import pandas as pd
import pytest

from oacore.instruments.published import counts
from oacore.metrics.calibration import reliability
from oacore.metrics.predictions import of_model
from oacore.metrics.significance import mcnemar
from tests.helpers import model

GRADES = np.arange(60) % 5


@pytest.fixture(scope="module")
def predictions():
    tables = [
        model(i, 60, supervision, kl=GRADES).assign(backbone=backbone, seed=0)
        for i, (backbone, supervision) in enumerate(
            (b, s) for b in ("resnet3d", "m3t") for s in ("single_oa", "single_kl", "dual")
        )
    ]
    return pd.concat(tables, ignore_index=True)


def test_answers_are_counted_by_label(predictions):
    table = counts.answers(predictions)
    assert len(table) == 2 * (3 * 4 + 2 * 25)  # three answer OA, two give grades
    per_model = table.groupby(["backbone", "supervision", "level"])["knees"].sum()
    assert set(per_model) == {60} and ("m3t", "single_oa", "kl") not in per_model.index
    rows = of_model(predictions, "m3t", "dual")
    for label, answer in ((3, 2), (0, 4), (1, 1)):
        expected = ((rows["kl"] == label) & (rows["pred_kl"] == answer)).sum()
        own = table.query(
            "backbone == 'm3t' and supervision == 'dual' and level == 'kl' "
            "and label == @label and answer == @answer"
        )
        assert own["knees"].item() == expected


def test_boxes_of_a_pair_give_back_its_test(predictions):
    boxes = counts.both_right(predictions)
    assert list(boxes.groupby("backbone", sort=False)["knees"].sum()) == [60, 60]
    assert list(boxes["backbone"].unique()) == ["resnet3d", "m3t"]
    own = boxes[boxes["backbone"] == "m3t"]
    again = mcnemar(*(counts.as_knees(own, name) for name in ("single_right", "dual_right")))
    single, dual = (of_model(predictions, "m3t", name) for name in ("single_oa", "dual"))
    assert again == mcnemar(single["pred_oa"] == single["oa"], dual["pred_oa"] == dual["oa"])


def test_models_that_are_right_are_counted_grade_by_grade(predictions):
    table = counts.models_right(predictions)
    assert list(table["models_right"].unique()) == [0, 1, 2, 3, 4]  # four give grades
    assert set(table.groupby("kl")["knees"].sum()) == {12}
    right = [
        (rows["pred_kl"] == rows["kl"]).sum()
        for rows in (
            of_model(predictions, backbone, supervision)
            for backbone in ("resnet3d", "m3t")
            for supervision in ("single_kl", "dual")
        )
    ]
    assert (table["knees"] * table["models_right"]).sum() == sum(right)
    together = counts.failures(predictions)
    none, every = table[table["models_right"] == 0], table[table["models_right"] == 4]
    assert list(together["none right"]) == list(none["knees"])
    assert list(together["all right"]) == list(every["knees"])


def test_pairs_of_models_are_named_by_one_text(predictions):
    pairs = counts.agreement(predictions)
    assert len(pairs) == 6 and pairs["first"].iloc[0] == "resnet3d single_kl"
    assert pairs["second"].iloc[-1] == "m3t dual"


def test_no_point_of_a_curve_is_of_fewer_than_five_knees(predictions):
    all_points = reliability(predictions, bins=20).query("of == 'OA probability'")
    assert (all_points["n"] < 5).any()
    points = counts.reliable_points(predictions, bins=20)
    assert points["n"].min() >= counts.FEWEST == 5
    assert len(points) == (all_points["n"] >= 5).sum()
