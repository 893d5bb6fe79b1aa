"""What is shown of the radiomics models: aggregates of predictions, against their own."""

import numpy as np
import pandas as pd
import pytest

from oacore.instruments.radiomics import scored
from oacore.instruments.radiomics.models import linear_predictions, score_intervals
from oacore.instruments.radiomics.table import REGIONS
from oacore.metrics.scores import paired_bootstrap, table1
from tests.helpers import model


@pytest.fixture(scope="module")
def splits():
    """Invented knees whose features follow the grade."""
    rng = np.random.default_rng(0)
    kl = rng.permutation(np.arange(160) % 5)
    rows = pd.DataFrame({"case_id": np.arange(160), "kl": kl, "oa": (kl >= 2).astype(int)})
    rows["split"] = np.where(rows["case_id"] < 100, "train", "test")
    for region in REGIONS.values():
        rows[f"{region} shape_Sphericity"] = 0.5 * kl + rng.normal(size=160)
    return tuple(rows[rows["split"] == name].reset_index(drop=True) for name in ("train", "test"))


def test_knees_are_counted_by_split_and_grade(splits):
    table = scored.knees_by_grade(pd.concat(splits))
    assert table["knees"].sum() == 160 and list(table["split"].unique()) == ["train", "test"]
    own = table.query("split == 'test' and kl == 3")["knees"].item()
    assert own == (splits[1]["kl"] == 3).sum()


def test_the_spread_over_seeds_is_their_standard_deviation():
    runs = pd.concat([model(seed, 40, "dual", kl=np.arange(40) % 5) for seed in range(3)])
    table = scored.seed_spread(runs)
    assert list(table["supervision"]) == ["dual"]
    assert table["kl_auc"].item() == pytest.approx(table1(runs)["kl_auc"].std())


def test_the_folds_are_of_the_training_knees_alone(splits):
    train, _ = splits
    table = scored.fold_spread(train, folds=4, seed=0).set_index("over the folds")
    assert list(table.index) == ["mean", "std", "min", "max"]
    assert (table.loc["min"] <= table.loc["mean"]).all() and (table.loc["std"] > 0).all()
    assert table.loc["mean", "kl_auc"] > 0.7


def test_a_few_columns_are_scored_as_all_models_are(splits):
    columns = ["femur shape_Sphericity", "tibia shape_Sphericity"]
    table = scored.linear_scores(*splits, columns, "two", seed=0)
    expected = score_intervals(linear_predictions(*splits, columns, "two"), seed=0)
    pd.testing.assert_frame_equal(table, expected)


def test_the_papers_model_is_paired_with_the_regression_on_all_features(splits):
    _, test = splits
    controls = linear_predictions(*splits, ["femur shape_Sphericity"], "all features")
    other = linear_predictions(*splits, ["tibia shape_Sphericity"], "five volumes")
    published = model(5, len(test), "dual", kl=test["kl"])
    published = published.assign(case_id=test["case_id"].to_numpy(), seed=0)
    options = {"n_resamples": 100, "seed": 0}
    table = scored.published_minus_logistic(pd.concat([controls, other]), published, **options)
    ours = controls[controls["supervision"] == "single_kl"]
    expected = paired_bootstrap(ours, published, **options).set_index("metric")
    assert list(table["metric"]) == ["kl_auc", "kl_acc", "kl_f1"]
    assert list(table["value"]) == list(expected.loc[table["metric"], "value"])
