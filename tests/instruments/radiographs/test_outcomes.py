"""Sentences about a study, whichever way it came out."""

import numpy as np
import pandas as pd
import pytest

from oacore.instruments.radiographs.collect import RULE
from oacore.instruments.radiographs.outcomes import (
    as_list,
    asked_and_paid,
    loss_and_recall,
    outcomes,
)
from oacore.metrics.crossed import BOTH, KNEES


def difference(value, low, high, metric="accuracy", over=BOTH):
    return pd.DataFrame(
        [{"reference": "global", "other": "keypoints", "head": "kl", "metric": metric,
          "value": value, "low": low, "high": high, "over": over}]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (difference(0.02, 0.01, 0.03), "excludes zero, in favor of keypoints"),
        (difference(-0.02, -0.03, -0.01), "excludes zero, in favor of global"),
        (difference(0.02, -0.01, 0.05), "holds zero"),
        (difference(0.02, 0.01, 0.03, "rmse"), "excludes zero, in favor of global"),
        (difference(-0.02, -0.03, -0.01, "rmse"), "excludes zero, in favor of keypoints"),
        (difference(0.02, np.nan, np.nan), "there is no interval"),
        (
            difference(0.02, 0.01, 0.03, over=KNEES),
            "keypoints, and is over knees alone, of one seed",
        ),
    ],
)
def test_a_sentence_says_which_way_it_came_out(row, said):
    (sentence,) = outcomes(row, [("global", "keypoints"), ("global", "absent")],
                           metrics=["accuracy", "rmse"])  # fmt: skip
    assert sentence.startswith("keypoints minus global, KL, ") and sentence.endswith(said)
    assert f"{row['value'][0]:+.3f}" in sentence


def test_sentences_make_a_list_and_none_is_said():
    assert as_list(iter(["a", "b"])) == "- a.\n- b."
    none = outcomes(difference(0, 0, 0), [("absent", "global")])
    assert as_list(none) == "None of these pairs was trained."


def test_a_low_loss_stands_beside_the_grade_that_is_lost():
    recall = pd.DataFrame(
        {"arm": ["sound"] * 5 + ["collapsed"] * 5, "head": "kl", "grade": [*range(5)] * 2,
         "value": [0.5, 0.4, 0.6, 0.7, 0.8, 1, 0, 0, 0, 0],
         "answered": [0.3, 0.2, 0.2, 0.2, 0.1, 1, 0, 0, 0, 0]}
    )  # fmt: skip
    other = recall.assign(head="jsn_medial", value=9.0)
    coherence = pd.DataFrame(
        [(arm, measure, kl, value) for arm, value in (("sound", 2.0), ("collapsed", 0.1))
         for measure in ("mixture", "joint", "given kl", RULE) for kl in ("0", "all")],
        columns=["arm", "measure", "kl", "value"],
    )  # fmt: skip
    coherence.loc[coherence["kl"] == "0", "value"] = 7.0
    table = loss_and_recall(pd.concat([recall, other]), coherence, ["collapsed", "sound", "absent"])
    assert list(table.index) == ["collapsed", "sound"]
    assert table.loc["collapsed", "paper's loss"] == 0.1
    assert table.loc["collapsed", "mean recall of KL"] == pytest.approx(0.2)
    assert table.loc["collapsed", ["least recall", "of KL"]].tolist() == [0, 1]
    assert table.loc["collapsed", ["commonest answer", "which is KL"]].tolist() == [1, 0]
    assert table.loc["sound", "commonest answer"] == 0.3
    assert table.loc["sound", ["least recall", "of KL"]].tolist() == [0.4, 1]


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.01, 0.2, "more"), (-0.2, -0.01, "less"), (-0.1, 0.1, "open")]
)
def test_what_a_loss_lowered_stands_beside_what_became_of_kl(low, high, said):
    recall = pd.DataFrame(
        {"arm": ["global"] * 5 + ["keypoints"] * 5, "head": "kl", "grade": [*range(5)] * 2,
         "value": 0.5, "answered": 0.2}
    )  # fmt: skip
    coherence = pd.DataFrame(
        [(arm, measure, "all", value) for arm, value in (("global", 2.0), ("keypoints", 0.5))
         for measure in ("mixture", "joint", "given kl", RULE)],
        columns=["arm", "measure", "kl", "value"],
    )  # fmt: skip
    rows = [difference(0.03, -0.01, 0.07), difference(0.1, low, high, "mean_recall")]
    both = pd.concat([*rows, rows[1].assign(head="oarsi", low=-9, high=-8)], ignore_index=True)
    pairs = [("global", "keypoints"), ("global", "absent")]
    table = asked_and_paid(recall, coherence, both, pairs)
    assert list(table.index) == ["keypoints minus global"]
    row = table.loc["keypoints minus global"]
    assert row["paper's loss"] == row["loss given KL"] == "2.00 to 0.50"
    assert row["KL accuracy"] == "+0.03 [-0.01, +0.07]"
    assert row["KL mean recall"].startswith("+0.10 [") and row["found"] == said
    assert asked_and_paid(recall, coherence, both.iloc[:1], pairs).empty
