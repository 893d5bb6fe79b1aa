"""Dual against single, and head against head."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from oacore.compare import against_truth, compare_supervisions, contradictions
from oacore.errors import InputError

GRADES = [f"prob_kl_{k}" for k in range(5)]


def make_predictions(supervision, seed, n=60):
    rng = np.random.default_rng(seed)
    kl = np.arange(n) % 5
    prob = rng.dirichlet(np.ones(5), n) + 0.3 * np.eye(5)[kl]
    prob /= prob.sum(1, keepdims=True)
    table = pd.DataFrame({"case_id": np.arange(n), "kl": kl, "oa": (kl >= 2).astype(int)})
    table["prob_oa"] = np.clip(rng.normal(0.4 + 0.2 * table["oa"], 0.2), 0, 1)
    table["pred_oa"] = (table["prob_oa"] >= 0.5).astype(int)
    table["prob_oa_from_kl"] = prob[:, 2:].sum(1)
    table[GRADES] = prob
    table["pred_kl"] = pd.array(prob.argmax(1), dtype="Int64")
    if supervision == "single_oa":
        table[["prob_oa_from_kl", *GRADES]] = np.nan
        table["pred_kl"] = pd.array([pd.NA] * n, dtype="Int64")
    return table.assign(backbone="resnet3d", supervision=supervision, seed=0, split="test")


@pytest.fixture
def predictions():
    names = ["single_oa", "single_kl", "dual"]
    return pd.concat([make_predictions(name, i) for i, name in enumerate(names)])


def test_differences_are_dual_minus_the_single_of_the_same_task(predictions):
    table = compare_supervisions(predictions, n_resamples=300, seed=0).set_index("metric")
    assert len(table) == 6
    single_oa, single_kl, dual = (
        predictions[predictions["supervision"] == s] for s in ("single_oa", "single_kl", "dual")
    )
    auc = [roc_auc_score(m["oa"], m["prob_oa"]) for m in (single_oa, dual)]
    assert table.loc["oa_auc", "delta"] == pytest.approx(auc[1] - auc[0], abs=1e-12)
    accuracy = [accuracy_score(m["kl"], m["pred_kl"].astype(int)) for m in (single_kl, dual)]
    assert table.loc["kl_acc", "delta"] == pytest.approx(accuracy[1] - accuracy[0], abs=1e-12)
    assert table.loc["oa_auc", "comparison"] == "Dual minus Single-OA"
    assert table.loc["kl_acc", "comparison"] == "Dual minus Single-KL"
    assert (table["ci_low"] < table["delta"]).all() and (table["delta"] < table["ci_high"]).all()


def test_a_missing_supervision_is_named(predictions):
    with pytest.raises(InputError, match="no predictions of single_kl"):
        compare_supervisions(predictions.query("supervision != 'single_kl'"), seed=0)


def test_contradictions_are_counted_by_hand():
    dual = make_predictions("dual", 0, n=5)
    dual["pred_oa"], dual["pred_kl"] = [0, 0, 1, 1, 1], pd.array([0, 2, 1, 2, 4], dtype="Int64")
    table = contradictions(dual)
    assert table["contradicting"].item() == 2 and table["share"].item() == pytest.approx(0.4)


def test_scores_against_the_truth_use_the_true_grade(predictions):
    true_kl = pd.Series((np.arange(60) + 1) % 5, index=np.arange(60))
    table = against_truth(predictions, true_kl).set_index(["scored against", "supervision"])
    dual = predictions[predictions["supervision"] == "dual"]
    expected = accuracy_score(true_kl, dual["pred_kl"].astype(int))
    assert table.loc[("true grade", "dual"), "kl_acc"] == pytest.approx(expected)
    auc = roc_auc_score(true_kl >= 2, dual["prob_oa"])
    assert table.loc[("true grade", "dual"), "oa_auc"] == pytest.approx(auc)
    expected = accuracy_score(dual["kl"], dual["pred_kl"].astype(int))
    assert table.loc[("label as read", "dual"), "kl_acc"] == pytest.approx(expected)
