"""References beside scikit-learn's dummy classifier and its own regression."""

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from oacore.errors import InputError
from oacore.metrics.references import ALWAYS_OA, MAJORITY, REGRESSION, reference_predictions
from oacore.metrics.scores import table1

COUNTS = {"train": (41, 23, 43, 55, 29), "test": (21, 12, 22, 28, 15)}


@pytest.fixture(scope="module")
def knees():
    """Graded knees, and lengths of them that follow the grade; one length is missing."""
    rng = np.random.default_rng(4)
    splits = [(split, k) for split, own in COUNTS.items() for k in range(5) for _ in range(own[k])]
    cases = pd.DataFrame(splits, columns=["split", "kl"]).astype({"kl": "Int64"})
    cases.insert(0, "case_id", rng.permutation(len(cases)) + 1)
    lengths = {
        name: 4 - 0.4 * cases["kl"].to_numpy(float) + rng.normal(0, 0.7, len(cases))
        for name in ("thickness_femur_medial_mm", "thickness_tibia_lateral_mm", "joint_space_m_mm")
    }
    measured = pd.DataFrame({"case_id": cases["case_id"], "femur_width_mm": np.inf, **lengths})
    measured.loc[3, "joint_space_m_mm"] = np.nan
    return cases, measured.sample(frac=1, random_state=0)


def scores(predictions):
    return table1(predictions).set_index("supervision")


def test_constant_answers_are_those_of_the_dummy_classifier(knees):
    cases, _ = knees
    found = scores(reference_predictions(cases))
    train, test = (cases[cases["split"] == split] for split in COUNTS)
    kl, oa = test["kl"].to_numpy(int), test["kl"].to_numpy(int) >= 2
    nothing = np.zeros((len(train), 1)), np.zeros((len(test), 1))
    for name, target, label in (("oa", train["kl"] >= 2, oa), ("kl", train["kl"], kl)):
        model = DummyClassifier(strategy="most_frequent")
        answer = model.fit(nothing[0], target.to_numpy(int)).predict(nothing[1])
        row = found.loc[ALWAYS_OA if name == "oa" else MAJORITY]
        assert row[f"{name}_acc"] == accuracy_score(label, answer)
        average = "binary" if name == "oa" else "macro"
        assert row[f"{name}_f1"] == pytest.approx(f1_score(label, answer, average=average))
        assert row[f"{name}_auc"] == 0.5
    assert np.isnan(found.loc[ALWAYS_OA, "kl_acc"])
    # Of 98 knees 65 have OA and 28 are of the grade that most training knees have.
    assert found.loc[ALWAYS_OA, "oa_acc"] == 65 / 98 and found.loc[MAJORITY, "kl_acc"] == 28 / 98


def test_the_regression_is_fitted_on_training_knees_and_reads_only_lengths(knees):
    cases, measured = knees
    predictions = reference_predictions(cases, measured).query(f"supervision == '{REGRESSION}'")
    columns = [name for name in measured if name.startswith(("thickness", "joint_space"))]
    table = cases.merge(measured[["case_id", *columns]], on="case_id")
    train, test = (table[table["split"] == split] for split in COUNTS)
    middle = train[columns].median()
    scaler = StandardScaler().fit(train[columns].fillna(middle))
    seen, new = (scaler.transform(part[columns].fillna(middle)) for part in (train, test))
    oa = LogisticRegression(max_iter=5000).fit(seen, train["kl"].astype(int) >= 2)
    grades = LogisticRegression(max_iter=5000).fit(seen, train["kl"].astype(int))
    assert predictions["case_id"].tolist() == test["case_id"].tolist()
    assert predictions["prob_oa"].to_numpy() == pytest.approx(oa.predict_proba(new)[:, 1])
    assert predictions["pred_kl"].tolist() == grades.predict(new).tolist()
    auc = roc_auc_score(test["kl"] >= 2, oa.predict_proba(new)[:, 1])
    assert scores(predictions)["oa_auc"].item() == pytest.approx(auc) and auc > 0.7


def test_without_lengths_there_is_no_regression(knees):
    cases, measured = knees
    for given in (None, measured.iloc[:0], measured.iloc[:-60]):
        assert set(reference_predictions(cases, given)["supervision"]) == {ALWAYS_OA, MAJORITY}


def test_a_split_without_knees_is_said(knees):
    with pytest.raises(InputError, match="a split has no graded knee"):
        reference_predictions(knees[0].query("split == 'train'"))
