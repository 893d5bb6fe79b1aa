"""For whom a model works: statsmodels for shares, simulated people for AUCs, and who is shown."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import accuracy_score, roc_auc_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

from oacore.errors import InputError
from oacore.instruments.published.predictions import read_published
from oacore.instruments.radiomics.table import read_radiomics
from oacore.metrics import subgroups
from oacore.metrics.predictions import COLUMNS
from oacore.metrics.subgroups import (
    auc_limits,
    group_sizes,
    subgroup_differences,
    subgroup_scores,
)
from tests.helpers import model


def people_of(table, seed=0):
    rng = np.random.default_rng(seed)
    knees = table.drop_duplicates("case_id")
    n = len(knees)
    people = pd.DataFrame({"case_id": knees["case_id"].to_numpy(), "kl": knees["kl"].to_numpy()})
    return people.assign(
        male=rng.integers(0, 2, n), age=rng.uniform(45, 80, n), bmi=rng.uniform(20, 40, n)
    ).sample(frac=1, random_state=seed)


def some(n=240):
    kl = np.arange(n) % 5
    names = ["single_oa", "single_kl", "dual"]
    tables = [model(s, n, name, kl) for s, name in enumerate(names)]
    tables[1] = tables[1].iloc[::-1]  # another order of rows
    return pd.concat(tables, ignore_index=True)


def test_scores_are_scikit_learns_of_the_same_people():
    table = some()
    people = people_of(table)
    scores = subgroup_scores(table, people)
    assert len(scores) == 3 * 6 * 2 and scores["value"].notna().all()
    joined = table.merge(people.drop(columns="kl"), on="case_id")
    older, heavy = joined["age"] >= 65, joined["bmi"] >= 30
    members = [joined["male"] == 0, joined["male"] == 1, ~older, older, ~heavy, heavy]
    for supervision, rows in scores.groupby("supervision"):
        for metric, of_metric in rows.groupby("metric"):
            for row, member in zip(of_metric.to_dict("records"), members, strict=True):
                part = joined[member & (joined["supervision"] == supervision)]
                label = part["oa"].astype(int)
                expected = (
                    roc_auc_score(label, part["prob_oa"])
                    if metric == "oa_auc"
                    else accuracy_score(label, part["pred_oa"])
                )
                assert row["value"] == pytest.approx(expected, abs=1e-12)
                assert (row["knees"], row["with_oa"]) == (len(part), label.sum())
                assert row["low"] < row["value"] < row["high"]


def test_differences_of_accuracy_are_newcombes_in_statsmodels():
    table = some()
    people = people_of(table)
    scores = subgroup_scores(table, people).query("metric == 'oa_acc'")
    rows = subgroup_differences(table, people).query("metric == 'oa_acc'")
    assert len(rows) == 9
    for row in rows.to_dict("records"):
        pair = scores[(scores["supervision"] == row["supervision"]) & (scores["by"] == row["by"])]
        first, second = pair.to_dict("records")
        assert row["contrast"] == subgroups.GROUPS[row["by"]][2]
        assert row["value"] == second["value"] - first["value"]
        right = [round(one["value"] * one["knees"]) for one in (second, first)]
        limits = confint_proportions_2indep(
            right[0], second["knees"], right[1], first["knees"], method="newcomb", compare="diff"
        )
        assert (row["low"], row["high"]) == pytest.approx(limits, abs=1e-9)
        # Its p-value: at the level 1 - p the interval just reaches zero.
        limits = confint_proportions_2indep(
            right[0], second["knees"], right[1], first["knees"], method="newcomb",
            compare="diff", alpha=row["p_value"],
        )  # fmt: skip
        assert min(np.abs(limits)) == pytest.approx(0, abs=1e-6)


def test_p_values_agree_with_their_intervals_and_are_a_family():
    table = some()
    rows = subgroup_differences(table, people_of(table, seed=3))
    outside = (rows["low"] > 0) | (rows["high"] < 0)
    assert ((rows["p_value"] < 0.05) == outside).all()
    assert (rows["family"] == len(rows)).all() and len(rows) == 3 * 3 * 2
    expected = multipletests(rows["p_value"], method="holm")[1]
    np.testing.assert_allclose(rows["p_holm"], expected, rtol=1e-12)


def drawn(rng, true, ill, well, n):
    """n AUCs of binormal scores whose true AUC is known."""
    positive = rng.normal(norm.ppf(true) * 2**0.5, 1, (n, ill, 1))
    return (positive > rng.normal(0, 1, (n, 1, well))).mean(axis=(1, 2))


@pytest.mark.parametrize("true", [0.6, 0.75, 0.9])
@pytest.mark.parametrize(("ill", "well"), [(34, 8), (31, 25)])
def test_limits_of_an_auc_hold_the_truth_as_often_as_they_say(true, ill, well):
    found = [
        auc_limits(auc, ill, well) for auc in drawn(np.random.default_rng(1), true, ill, well, 600)
    ]
    covered = np.mean([low <= true <= high for low, high in found])
    assert 0.92 <= covered <= 0.985


def test_limits_of_an_auc_mirror_and_never_vanish():
    for auc in (0.0, 0.2, 0.5, 0.93, 1.0):
        low, high = auc_limits(auc, 34, 8)
        assert 0 <= low < high <= 1 and low <= auc <= high
        mirrored = auc_limits(1 - auc, 8, 34)
        assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-9)
    # With many cases it is the sampling error that resampling sees.
    many = drawn(np.random.default_rng(2), 0.8, 400, 300, 200)
    low, high = auc_limits(0.8, 400, 300)
    assert (high - low) / (2 * 1.96) == pytest.approx(many.std(), rel=0.15)


@pytest.mark.parametrize("true", [0.7, 0.9])
def test_groups_that_do_not_differ_are_seldom_called_different(true):
    rng = np.random.default_rng(4)
    women, men = drawn(rng, true, 31, 25, 400), drawn(rng, true, 34, 8, 400)
    called = 0
    for a, b in zip(women, men, strict=True):
        (low_a, high_a), (low_b, high_b) = auc_limits(a, 31, 25), auc_limits(b, 34, 8)
        low = b - a - np.hypot(b - low_b, high_a - a)
        high = b - a + np.hypot(high_b - b, a - low_a)
        called += low > 0 or high < 0
    assert called / 400 < 0.08


# ---- who is shown


def grouped(ill, well):
    """One model of two sexes with so many knees of each class: ill and well are (women, men)."""
    kl = np.repeat([3, 0, 3, 0], [ill[0], well[0], ill[1], well[1]])
    male = np.repeat([0, 1], [ill[0] + well[0], ill[1] + well[1]])
    table = model(0, kl.size, "dual", kl)
    people = pd.DataFrame({"case_id": table["case_id"], "kl": kl, "male": male})
    return table, people.assign(age=np.arange(kl.size) * 7 % 40 + 45.0, bmi=30.0)


def test_few_knees_are_said_and_fewer_than_five_are_hidden_in_both_groups():
    for well, note in ((10, ""), (9, "only 9 without OA"), (5, "only 5 without OA")):
        table, people = grouped((20, 34), (12, well))
        sizes = group_sizes(table, people).query("by == 'sex'")
        assert sizes["note"].tolist() == ["", note]
        assert sizes["knees"].tolist() == [32, 34 + well]
    table, people = grouped((20, 34), (12, 4))
    hidden = "not shown: fewer than 5 knees of a class"
    sizes = group_sizes(table, people).query("by == 'sex'")
    assert sizes[["knees", "with_oa"]].isna().all(axis=None) and set(sizes["note"]) == {hidden}
    scores = subgroup_scores(table, people).query("by == 'sex'")
    assert scores[["knees", "with_oa", "value", "low", "high"]].isna().all(axis=None)
    assert set(scores["note"]) == {hidden}
    differences = subgroup_differences(table, people)
    assert "sex" not in set(differences["by"]) and (differences["family"] == 2).all()


def test_a_knee_whose_age_is_unknown_is_of_neither_group():
    table = some()
    people = people_of(table)
    people.loc[people["case_id"] < 415, ["age", "bmi"]] = [np.nan, np.nan]
    sizes = group_sizes(table, people).groupby("by")["knees"].sum()
    assert sizes.to_dict() == {"sex": 240, "age": 230, "BMI": 230}


def test_the_limits_belong_to_the_upper_group():
    table, people = grouped((20, 34), (12, 12))
    people["age"] = np.where(np.arange(len(people)) % 2, 65.0, 64.9)
    people["bmi"] = np.where(np.arange(len(people)) % 2, 30.0, 29.9)
    sizes = group_sizes(table, people).set_index(["by", "group"])["knees"]
    assert sizes["age", "65 years or more"] == sizes["BMI", "BMI 30 or more"] == 39


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: p[p["case_id"] != 405], "people lack case_id 405;"),
        (lambda p: pd.concat([p, p[p["case_id"] == 406]]), "case_id 406 twice"),
        (lambda p: p.assign(kl=p["kl"].where(p["case_id"] != 407, 4)), "another KL grade .* 407"),
    ],
)
def test_other_people_are_refused(spoil, said):
    table = some()
    for ask in (group_sizes, subgroup_scores, subgroup_differences):
        with pytest.raises(InputError, match=said):
            ask(table, spoil(people_of(table)))


def test_the_published_predictions_by_sex(shared):
    table = read_published(shared / "real/published_predictions")
    people = read_radiomics(shared / "real/radiomics")
    sizes = group_sizes(table, people).set_index("group")
    assert sizes.loc["women", ["knees", "with_oa"]].tolist() == [56, 31]
    assert sizes.loc["men", ["knees", "with_oa", "note"]].tolist() == [42, 34, "only 8 without OA"]
    rows = subgroup_differences(table, people)
    row = rows.query(
        "backbone == 'resnet3d' and supervision == 'single_kl' and by == 'sex' "
        "and metric == 'oa_auc'"
    ).iloc[0]
    # A stratified bootstrap outside this package gave .756, .430 and [-.61, -.03].
    assert row["value_reference"] == pytest.approx(0.756, abs=5e-4)
    assert row["value_other"] == pytest.approx(0.430, abs=5e-4)
    assert (row["low"], row["high"]) == pytest.approx((-0.61, -0.03), abs=0.08)
    assert row["p_value"] < 0.05 < row["p_holm"] and row["family"] == 54
    assert "men: only 8 without OA" in row["note"]


def test_no_row_of_a_person_comes_out(shared):
    table = read_published(shared / "real/published_predictions")
    people = read_radiomics(shared / "real/radiomics")
    for found in (group_sizes(table, people), subgroup_differences(table, people)):
        assert "case_id" not in found and len(found) <= 9 * 6
    assert subgroups.SHOWN >= 5


def test_a_difference_from_a_group_without_a_fault_has_limits_and_a_p_value():
    # Six and six knees parted without a fault against 6 and 6 that are not: a p-value asks for
    # limits at hardly any z, where those of an AUC of 1 and of 0 are these very values.
    for z in (1e-9, 1e-12):
        assert auc_limits(1.0, 34, 8, z) == pytest.approx((1, 1), abs=1e-6)
        assert auc_limits(0.0, 34, 8, z) == pytest.approx((0, 0), abs=1e-6)
    case = np.arange(40)
    male, oa = case // 20, case % 2
    people = pd.DataFrame({"case_id": case, "kl": 2 * oa, "male": male, "age": np.nan, "bmi": 20.0})
    prob = np.where(male == 1, 0.2 + 0.6 * oa, 0.1 + 0.05 * (case % 7))
    said = {"backbone": "m3t", "supervision": "single_oa", "seed": 0, "split": "test"}
    table = people[["case_id", "kl"]].assign(
        **said, oa=oa, prob_oa=prob, pred_oa=(prob > 0.5).astype(int)
    )
    found = subgroup_differences(table.reindex(columns=COLUMNS), people)
    row = found[found["metric"] == "oa_auc"].iloc[0]
    assert row["value_other"] == 1 and row["low"] < row["value"] < row["high"]
    assert (row["p_value"] < 0.05) == (row["low"] > 0) and row["p_value"] < 0.05
