"""True tables of every kind are never accused; the record says how often false ones are found."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import f1_score, roc_auc_score

from oacore.instruments.audit import truths
from oacore.instruments.audit.findings import audit, carried_statements, carried_tables
from oacore.instruments.audit.printed import PrintedTable
from oacore.instruments.audit.trial import (
    ALTERED,
    KINDS,
    OPPOSITE,
    RULES,
    accusations,
    power,
    true_tables,
    write,
)
from tests.helpers import ROOT

RECORD = ROOT / "book" / "record"


@pytest.mark.parametrize("kind", KINDS, ids=": ".join)
def test_true_tables_are_never_accused(kind):
    counted = accusations(300, seed=1, kinds=[kind])
    assert counted["findings"].sum() >= 100
    assert not counted["inconsistent"].any(), counted.to_string()


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_of_rounding_makes_a_true_table_false(rule):
    for family in ("predictions", "axis", "grades", "counts"):
        for tables, said in true_tables(family, "one run", 60, seed=2, rule=rule):
            found = audit(tables, said)
            wrong = found[found["verdict"] == "inconsistent"]
            assert wrong.empty, (rule, wrong.to_string())


def printed(figures, values="", knees=None, share=()):
    frame = pd.DataFrame([figures], index=pd.Index(["a model"], name="row"), dtype=str)
    return audit([PrintedTable("T", "simulated", "simulated.csv", frame, knees, share, values)])


def test_kinds_that_the_trial_does_not_make_are_not_accused_either():
    rng = np.random.default_rng(7)
    found = []
    for _ in range(150):
        sizes = rng.integers(3, 60, rng.integers(2, 8))
        folds = []
        for size in sizes:
            kl = rng.integers(0, 5, size)
            said = np.clip(kl + np.rint(rng.normal(0, rng.uniform(0.1, 2), size)), 0, 4)
            oa = rng.random(size) < rng.uniform(0.05, 0.95)
            oa_said = oa ^ (rng.random(size) < rng.uniform(0, 0.7))
            weighted = f1_score(oa, oa_said, average="weighted", zero_division=0)
            rmse = np.sqrt(((kl - said) ** 2).mean())
            folds.append([(kl == said).mean(), rmse, (oa == oa_said).mean(), weighted])
        for middle in (np.average(folds, axis=0, weights=sizes), np.mean(folds, axis=0)):
            cells = dict(zip(["kl_acc", "kl_rmse", "oa_acc"], middle[:3], strict=True))
            cells = {name: f"{value:.{rng.integers(2, 5)}f}" for name, value in cells.items()}
            found.append(printed(cells, "means"))
        last = {"oa_acc": f"{folds[0][2]:.3f}", "oa_macro_f1": f"{folds[0][3]:.2f}"}
        found.append(printed(last, "one run"))  # a weighted F1 under the wrong name
        # The best map there is, of 27 voxels a side: the top q is no whole number of voxels.
        voxels, region = 27**3, int(rng.integers(30, 2000))
        tops = {name: int(q * voxels) for name, q in (("dice5", 0.05), ("dice10", 0.1))}
        best = {n: f"{2 * min(t, region) / (t + region):.5f}" for n, t in tops.items()}
        found.append(printed(best, "one run", share=(f"{region / voxels:.5f}",)))
        # Medians over knees, which the head does not declare.
        shares = rng.uniform(0.002, 0.2, 7)
        best = {
            "dice5": f"{np.median([2 * s / (0.05 + s) if s < 0.05 else 1 for s in shares]):.3f}"
        }
        found.append(printed(best, share=(f"{shares.mean():.4f}",)))
    every = pd.concat(found)
    assert len(every) >= 900 and not (every["verdict"] == "inconsistent").any()


def test_false_tables_are_found():
    families = ["predictions", "grades", "counts", "statements"]
    found = power(100, seed=1, families=families).set_index(["family", "check", "altered"])["found"]
    assert found["counts", "grade-sum", "one unit of the last digit"] == 1
    assert found["statements", "claim-table", OPPOSITE] > 0.8
    assert found["predictions", "confusion", "0.05"] > 0.3
    assert found["grades", "repeated-figure", "0.05"] > 0.5
    assert set(found.index.get_level_values("altered")) == {*ALTERED, OPPOSITE}


def test_every_check_is_tried():
    checks = set(audit(carried_tables(), carried_statements())["check"])
    record = pd.read_csv(RECORD / "audit_true.csv")
    never = {"difference"}  # which calls nothing inconsistent
    assert set(record["check"]) == checks - never
    assert set(pd.read_csv(RECORD / "audit_altered.csv")["check"]) == checks - never


def test_the_record_is_of_ten_thousand_of_each_kind_and_accuses_none():
    record = pd.read_csv(RECORD / "audit_true.csv")
    assert set(zip(record["family"], record["condition"], strict=True)) == set(KINDS)
    assert (record["rows"] >= 10_000).all() and not record["inconsistent"].any()
    origin = json.loads((RECORD / "audit.json").read_text(encoding="utf-8"))
    assert origin["command"].startswith("python -m workflow.try_audit")
    assert origin["rules of rounding"] == list(RULES)
    assert origin["provenance"]["commit"] and origin["provenance"]["clean"]


def test_formulas_of_the_truths_are_scikit_learns_and_scipys():
    rng = np.random.default_rng(0)
    label = np.repeat([False, True], [7, 12])
    score = np.round(rng.normal(size=(20, 19)) + label, 1)
    aucs, rhos = truths._auc(score, label), truths._spearman(score, label)
    for row, auc, rho in zip(score, aucs, rhos, strict=True):
        assert auc == pytest.approx(roc_auc_score(label, row))
        assert rho == pytest.approx(spearmanr(row, label).statistic)
    assert np.isnan(truths._spearman(np.ones((1, 19)), label)).all()


def test_rules_of_rounding():
    values = np.array([0.125, 0.375, -0.125, 0.9999, 0.2449])
    assert write(values, 2, "half up") == ["0.13", "0.38", "-0.12", "1.00", "0.24"]
    assert write(values, 2, "half even") == ["0.12", "0.38", "-0.12", "1.00", "0.24"]
    assert write(values, 2, "cut off") == ["0.12", "0.37", "-0.12", "0.99", "0.24"]
    assert write(values, 2, "down") == ["0.12", "0.37", "-0.13", "0.99", "0.24"]
    assert write(np.array([0.245, 0.24499]), 1, "twice") == ["0.2", "0.2"]
    assert write(np.array([0.2496, 0.34996]), 1, "twice") == ["0.2", "0.4"]
