"""Orders of backbones, supervisions and metrics, and how an estimate is written."""

import numpy as np
import pandas as pd
import pytest

from oacore import names


def test_words_come_in_the_papers_order_and_others_last():
    words = ["mine", "nnmamba", "dual", "resnet3d", "another", "single_oa", "resnet3d"]
    expected = ["resnet3d", "nnmamba", "single_oa", "dual", "mine", "another"]
    assert names.ordered(words) == expected


def test_rows_come_in_the_papers_order_and_ties_stay():
    table = pd.DataFrame(
        {
            "backbone": ["m3t", "mine", "resnet3d", "m3t", "resnet3d", "m3t"],
            "supervision": ["dual", "dual", "dual", "single_oa", "single_kl", "dual"],
            "at": range(6),
        }
    )
    assert list(names.in_order(table)["at"]) == [4, 2, 3, 0, 5, 1]
    assert list(names.in_order(table, "supervision")["at"]) == [3, 4, 0, 1, 2, 5]


def test_a_model_in_words():
    run = {"backbone": "resnet3d", "supervision": "single_kl", "seed": 3}
    assert names.model_name(run) == "ResNet3D Single-KL"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((0.9149, 0.886, 0.94), "0.91 [0.89, 0.94]"),
        ((0.02, -0.0312, 0.1, "+.3f"), "+0.020 [-0.031, +0.100]"),
        ((0.5, np.nan, np.nan), "0.50"),
        ((0.5, 0.5, 0.5), "0.50 [0.50, 0.50]"),
    ],
)
def test_an_interval_in_words(words, expected):
    assert names.interval_text(*words) == expected


def test_a_range_over_seeds_is_no_interval():
    assert names.seeds_text(0.914, 0.886, 0.94) == "0.91 (seeds 0.89 to 0.94)"
    assert names.seeds_text(0.914, 0.914, 0.914, ".3f") == "0.914"  # one seed
    estimates = pd.DataFrame({"value": [0.5], "low": [0.25], "high": [0.75]}, index=[7])
    assert names.written(estimates).to_dict() == {7: "0.50 [0.25, 0.75]"}
    seeds = estimates.rename(columns={"low": "seed_low", "high": "seed_high"})
    assert names.written(seeds, ".1f").to_dict() == {7: "0.5 (seeds 0.2 to 0.8)"}
