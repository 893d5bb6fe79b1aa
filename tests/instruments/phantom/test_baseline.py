"""What perfect readers, plain measurements and shortcuts reach, where the answer is known."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from oacore.data.cohort import read_cohort
from oacore.errors import InputError
from oacore.hierarchy import agreement, reader_table
from oacore.instruments.phantom.baseline import (
    FEATURES,
    HEADER,
    SCORES,
    classical_baseline,
    difficulty,
    feature_table,
    header_features,
    perfect_reader,
)

OVER = "thickness, joint space, osteophyte volume"


def truth_table(per_grade, readings, seed=0):
    """Knees of known grade, `per_grade` of each and split, with labels drawn from `readings`."""
    rng = np.random.default_rng(seed)
    kl_true = np.tile(np.repeat(np.arange(5), per_grade), 2)
    label = np.array([rng.choice(5, p=readings[grade]) for grade in kl_true])
    truth = pd.DataFrame({"kl_true": kl_true, "kl": pd.array(label, dtype="Int64")})
    truth["severity"] = kl_true + rng.uniform(-0.49, 0.49, len(truth))
    truth["split"] = np.repeat(["train", "test"], 5 * per_grade)
    truth["case_id"] = np.arange(1, len(truth) + 1)
    return truth


def test_a_faultless_label_is_read_perfectly():
    found = perfect_reader(truth_table(10, np.eye(5)))
    assert found["split"].tolist() == ["train", "train", "test", "test", "all", "all"]
    assert found["n"].tolist() == [50, 50, 50, 50, 100, 100]
    assert (found[SCORES] == 1).all(axis=None)


def test_a_perfect_reader_is_as_good_as_the_readings_allow():
    readings = reader_table().to_numpy()
    found = perfect_reader(truth_table(1000, readings)).set_index(["split", "inputs"])
    true, likely = (found.loc["all"].loc[name] for name in ("true severity", "true grade"))
    # Twice 5,000 knees: the standard error of a share is .005.
    said = agreement(readings, np.full(5, 0.2))
    assert true["kl_accuracy"] == pytest.approx(said["exact"], abs=0.015)
    assert true["oa_accuracy"] == pytest.approx(said["oa"], abs=0.015)
    assert true["kl_kappa"] == pytest.approx(said["kappa_quadratic"], abs=0.015)
    # The best guess from the grade is right as often as the commonest label of that grade.
    assert likely["kl_accuracy"] == pytest.approx(readings.max(1).mean(), abs=0.015)
    oa = readings[:, 2:].sum(1)
    assert likely["oa_accuracy"] == pytest.approx(np.maximum(oa, 1 - oa).mean(), abs=0.015)
    # AUC of the grade's own P(OA), in closed form: over pairs of a knee labelled OA and one not.
    wins = (oa[:, None] > oa[None, :]) + 0.5 * (oa[:, None] == oa[None, :])
    best = (oa[:, None] * wins * (1 - oa)[None, :]).sum() / (oa.sum() * (1 - oa).sum())
    assert likely["oa_auc"] == pytest.approx(best, abs=0.015)
    assert likely["kl_accuracy"] >= true["kl_accuracy"]
    # Severity breaks ties at random: .001 at most with this many knees.
    assert likely["oa_auc"] >= true["oa_auc"] - 0.001


def test_perfect_reader_agrees_with_scikit_learn():
    truth = truth_table(30, reader_table().to_numpy())
    truth.loc[::7, "kl"] = pd.NA
    knees = truth.dropna(subset="kl")
    knees = knees[knees["split"] == "test"]
    kl, true = knees["kl"].astype(int), knees["kl_true"]
    found = perfect_reader(truth).query("split == 'test' and inputs == 'true severity'").iloc[0]
    assert found["n"] == len(knees)
    expected = {
        "oa_auc": roc_auc_score(kl >= 2, knees["severity"]),
        "oa_accuracy": accuracy_score(kl >= 2, true >= 2),
        "kl_accuracy": accuracy_score(kl, true),
        "kl_macro_auc": roc_auc_score(kl, np.eye(5)[true], multi_class="ovr"),
        "kl_macro_f1": f1_score(kl, true, average="macro"),
        "kl_kappa": cohen_kappa_score(kl, true, weights="quadratic"),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name


def test_a_truth_without_labels():
    truth = truth_table(2, np.eye(5))
    truth["kl"] = pd.array([pd.NA] * len(truth), dtype="Int64")
    with pytest.raises(InputError, match="no knee"):
        perfect_reader(truth)


def test_features_that_are_the_label_score_one():
    kl = pd.Series(np.repeat(np.arange(5), 20))
    features = pd.get_dummies(kl).astype(float)
    found = classical_baseline(features, kl, features, kl)
    assert all(found[name] == 1 for name in (*SCORES, "oa_auc_high"))
    # That 60 and 40 knees are parted without a fault does not say that all others would be.
    assert 0.9 < found["oa_auc_low"] < 0.99


def test_noise_scores_near_chance():
    rng = np.random.default_rng(0)
    kl = pd.Series(np.repeat(np.arange(5), 100))
    found = []
    for _ in range(10):
        train, test = (pd.DataFrame(rng.normal(size=(500, 5))) for _ in range(2))
        found.append(classical_baseline(train, kl, test, kl))
    mean = pd.DataFrame(found).mean()
    # A chance AUC of 300 against 200 knees has a standard error of .026, its mean over ten .008.
    assert mean["oa_auc"] == pytest.approx(0.5, abs=0.03)
    assert mean["kl_macro_auc"] == pytest.approx(0.5, abs=0.03)
    # Chance accuracy of five equal grades: .2, with standard errors of .018 and .006.
    assert mean["kl_accuracy"] == pytest.approx(0.2, abs=0.025)
    # The interval spans about four standard errors, and chance lies inside nearly always.
    assert mean["oa_auc_high"] - mean["oa_auc_low"] == pytest.approx(4 * 0.026, rel=0.15)
    inside = [row["oa_auc_low"] < 0.5 < row["oa_auc_high"] for row in found]
    assert sum(inside) >= 7


def test_the_baseline_is_scikit_learn_s_logistic_regression():
    rng = np.random.default_rng(1)
    kl = pd.Series(rng.integers(0, 5, 300))
    features = pd.DataFrame(rng.normal(kl, 1.5, (4, 300)).T * [1, 10, 100, 0.1])
    features[4] = 7.0  # constant, and one that is always missing
    features[5] = np.nan
    features = features.mask(rng.random(features.shape) < 0.1)
    parts = features[:200], kl[:200], features[200:], kl[200:]
    found = classical_baseline(*parts)
    train, grades, test, label = parts
    model = make_pipeline(
        SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=5000)
    )
    columns = [0, 1, 2, 3]
    oa = model.fit(train[columns], grades >= 2).predict_proba(test[columns])[:, 1]
    assert found["oa_auc"] == pytest.approx(roc_auc_score(label >= 2, oa))
    assert found["oa_accuracy"] == pytest.approx(accuracy_score(label >= 2, oa > 0.5))
    prob = model.fit(train[columns], grades).predict_proba(test[columns])
    assert found["kl_macro_auc"] == pytest.approx(roc_auc_score(label, prob, multi_class="ovr"))
    assert found["kl_accuracy"] == pytest.approx(accuracy_score(label, prob.argmax(1)))
    assert found["kl_macro_f1"] == pytest.approx(f1_score(label, prob.argmax(1), average="macro"))
    assert 0.7 < found["oa_auc"] < 0.98
    assert found["oa_auc_low"] < found["oa_auc"] < found["oa_auc_high"]


def test_a_grade_that_training_lacks_gets_probability_zero():
    rng = np.random.default_rng(2)
    train_kl, test_kl = pd.Series([0, 1, 3, 4] * 20), pd.Series([0, 1, 2, 3, 4] * 10)
    train, test = (pd.DataFrame({0: kl + rng.normal(size=len(kl))}) for kl in (train_kl, test_kl))
    found = classical_baseline(train, train_kl, test, test_kl)
    assert np.isfinite(list(found.values())).all()
    with pytest.raises(InputError, match="one side"):
        classical_baseline(train[:1], train_kl[:1], test, test_kl)


@pytest.fixture
def cohort(tmp_path):
    """A cohort sorted by label, whose images know nothing of it, and what was measured there."""
    rng = np.random.default_rng(0)
    truth = truth_table(20, np.eye(5))
    truth["kl"] = truth["kl"].mask(truth["case_id"] == 100)
    for split, rows in truth.groupby("split"):
        end = {"train": "Tr", "test": "Ts"}[split]
        (tmp_path / f"images{end}").mkdir()
        pd.DataFrame(
            {
                "CMT-ID": rows["case_id"],
                "KneeSide": 1,
                "KLGrade": rows["kl"],
                "Gender": rng.integers(1, 3, len(rows)),
                "Age": rng.integers(45, 80, len(rows)),
                "BMI": rng.normal(28, 3, len(rows)).round(1),
            }
        ).to_csv(tmp_path / f"subInfo_{split}.csv", index=False)
        for case_id in rows["case_id"]:
            image = nib.Nifti1Image(rng.integers(0, 9, (2, 3, 4)).astype(np.int16), np.eye(4))
            nib.save(image, tmp_path / f"images{end}/oaizib_{case_id:03d}_0000.nii.gz")
    measured = truth[["case_id", "split"]].copy()
    kl = truth["kl_true"]
    for column in FEATURES["intensity statistics"] + FEATURES["cartilage volume"]:
        measured[column] = rng.normal(size=len(truth))
    for side in ("medial", "lateral"):
        measured[f"joint_space_{side}_mm"] = 5 - (side == "medial") * kl + rng.normal(size=len(kl))
        for bone in ("femur", "tibia"):
            measured[f"thickness_{bone}_{side}_mm"] = 2.5
    return read_cohort(tmp_path), truth, measured


def test_derived_features(cohort):
    cases, _, measured = cohort
    table = feature_table(cases, measured.drop(index=3))
    assert len(table) == 198  # one knee is not graded, another was not measured
    spaces = table[["joint_space_medial_mm", "joint_space_lateral_mm"]]
    assert (table["narrowest_mm"] == spaces.min(axis=1)).all()
    assert (table["thinnest_mm"] == 2.5).all()
    assert table["largest_osteophyte_mm3"].isna().all()  # no map of lesions was there
    assert (table["male"] == (table["sex"] == "male")).all()
    for _, rows in table.groupby("split"):
        np.testing.assert_allclose(rows["place"], np.arange(1, len(rows) + 1) / len(rows))


def test_headers_of_images_as_numbers(cohort):
    cases = cohort[0].iloc[:3]
    found = header_features(cases)
    assert len(found) == 3
    assert found.loc[0, ["dim_1", "dim_2", "dim_3"]].tolist() == [2, 3, 4]
    assert found.loc[0, ["pixdim_1", "srow_x_0", "datatype_0"]].tolist() == [1, 1, 4]
    image = nib.load(cases["image"].iloc[1])
    image.header["cal_max"] = 4
    nib.save(image, cases["image"].iloc[1])
    assert header_features(cases)["cal_max_0"].tolist() == [0, 4, 0]


def test_difficulty_from_the_truth_down_to_shortcuts(cohort):
    found = difficulty(*cohort)
    assert found["inputs"].tolist() == ["true severity", "true grade", *FEATURES, HEADER]
    assert set(SCORES) < set(found)
    score = found.set_index("inputs")
    assert (score.loc[["true severity", "true grade"], SCORES] == 1).all(axis=None)
    assert 0.8 < score.loc[OVER, "oa_auc"] < 1
    # Equal headers tell nothing, and nothing is exactly chance.
    assert score.loc[HEADER, "oa_auc"] == 0.5
    # Rows are sorted by label: the case number is the label.
    assert score.loc["case number", "oa_auc"] == 1
    assert score.loc["place in the split's table", "oa_accuracy"] > 0.95
    # A chance AUC of 60 against 40 knees has a standard error of .059.
    for shortcut in ("intensity statistics", "cartilage volume", "age, sex, BMI"):
        assert score.loc[shortcut, "oa_auc"] == pytest.approx(0.5, abs=0.24)
        assert score.loc[shortcut, "oa_auc_low"] < 0.6
        assert score.loc[shortcut, "oa_auc_high"] > 0.4


def test_difficulty_needs_both_splits(cohort):
    cases, truth, measured = cohort
    with pytest.raises(InputError, match="split"):
        difficulty(cases, truth, measured[measured["split"] == "train"])
