"""What a table of predictions is refused for: every rule, by every way a table comes in."""

import re
import time

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.instruments.published.predictions import read_predictions, read_published
from oacore.metrics.calibration import by_grade, calibration_table, reliability
from oacore.metrics.clinical import clinical_table
from oacore.metrics.conformal import conformal_table
from oacore.metrics.decisions import decision_curves
from oacore.metrics.failures import pairwise_agreement
from oacore.metrics.predictions import (
    GRADED,
    MODEL,
    PROB_KL,
    check_one_model,
    check_predictions,
    each_model,
)
from oacore.metrics.scores import table1
from tests.helpers import invented, model, two_models


def three(n=40):
    kl = np.arange(n) % 5
    tables = [model(s, n, name, kl) for s, name in enumerate(["single_oa", "single_kl", "dual"])]
    return pd.concat(tables, ignore_index=True)


def printed(digits, n=2000):
    """Three models whose probabilities were rounded after they had answered."""
    rng = np.random.default_rng(digits)
    table = three(n)
    prob_kl = rng.dirichlet(np.full(5, 0.5), 3 * n)
    coarse, fine = table["supervision"] == "single_oa", table["supervision"] == "single_kl"
    from_kl = prob_kl[:, 2:].sum(axis=1)
    prob_oa = np.where(fine, from_kl, rng.random(3 * n))
    table["pred_kl"] = pd.array(prob_kl.argmax(axis=1), dtype="Int64")
    table[PROB_KL], table["prob_oa_from_kl"], table["prob_oa"] = prob_kl, from_kl, prob_oa
    table["pred_oa"] = (prob_oa >= 0.5).astype(int)
    table.loc[coarse, GRADED] = np.nan
    return table.round(digits)


@pytest.mark.parametrize("digits", [4, 5, 6, 15])
def test_probabilities_of_four_decimals_or_more_pass(digits):
    check_predictions(printed(digits))


def test_single_precision_passes_and_two_decimals_do_not():
    table = printed(9)
    columns = ["prob_oa", "prob_oa_from_kl", *PROB_KL]
    check_predictions(table.astype(dict.fromkeys(columns, np.float32)))
    for digits in (2, 3):
        made = f"do not sum to 1 but to [0-9.]+, as rounding to {digits} decimals makes them in"
        with pytest.raises(InputError, match=f"{made} case_id.*; write all .*four decimals or mo"):
            check_predictions(printed(digits))


def sums(five, supervision="dual", **others):
    """A table whose data row 3 of a model has these probabilities of grades."""
    table = certain(three())
    row = table.index[table["supervision"] == supervision][2]
    table.loc[row, PROB_KL] = five
    from_kl = sum(five[2:])
    table.loc[row, ["prob_oa_from_kl", "pred_kl"]] = [from_kl, int(np.argmax(five))]
    for name, value in others.items():
        table.loc[row, name] = value
    return table


THREE, MANY = "write all probabilities with four decimals", "divide the five of each row by their"


@pytest.mark.parametrize(
    ("five", "total", "cure"),
    [
        ([0.333, 0.333, 0.333, 0, 0], "0.999, as rounding to 3", THREE),
        ([0.143, 0.143, 0.143, 0.143, 0.429], "1.001, as rounding to 3", THREE),
        ([0.33, 0.33, 0.33, 0.0, 0.0], "0.99, as rounding to 2", THREE),
        ([0.3331, 0.3332, 0.3327, 0, 0], "0.999, as in half precision", MANY),
        ([0.20031, 0.2, 0.2, 0.2, 0.2], "1.0003, as in half precision", MANY),
        ([0.1, 0.1, 0.1, 0.3, 0.1], "0.7, and are to be those of all five", "correct or drop"),
        ([0.9, 0.1, 0.2, 0.1, 0.1], "1.4, and are to be those of all five", "correct or drop"),
        ([0.2, 0.2, 0.2, 0.3, 0.0], "0.9, and are to be those of all five", "correct or drop"),
    ],
)
def test_a_sum_is_named_with_the_cure_that_fits_it(tmp_path, five, total, cure):
    sums(five).to_csv(tmp_path / "predictions.csv", index=False)
    words = (
        rf"data row 83: the KL prob.* not sum to 1 but to {re.escape(total)}.*case_id .*; {cure}"
    )
    with pytest.raises(InputError, match=words):
        read_predictions(tmp_path)


@pytest.mark.parametrize("five", [[0.2501, 0.25, 0.25, 0.25, 0], [0.3333, 0.3333, 0.3333, 0, 0]])
def test_sums_that_four_decimals_make_pass(five):
    check_predictions(sums(five))


def test_a_sum_of_its_own_that_was_rounded_is_told_from_another_probability():
    five = [0.1004, 0.2004, 0.3004, 0.2994, 0.0994]
    for value, cure in ((0.7, "; write all probabilities with four"), (0.6, "; correct or drop")):
        with pytest.raises(InputError, match=f"prob_oa_from_kl is not the sum of .*{cure}"):
            check_predictions(sums(five, prob_oa_from_kl=value))
        words = f"prob_oa is not prob_oa_from_kl, as Single-KL's is .*{cure}"
        with pytest.raises(InputError, match=words):
            check_predictions(sums(five, "single_kl", prob_oa=value, pred_oa=1))


def test_ties_may_be_broken_either_way():
    table = three().query("supervision == 'dual'").iloc[:4].reset_index(drop=True)
    table[PROB_KL] = [0.4, 0.1, 0.4, 0.1, 0.0]
    table["prob_oa_from_kl"], table["prob_oa"] = 0.5, 0.5
    table["pred_kl"] = pd.array([0, 2, 0, 2], dtype="Int64")
    table["pred_oa"] = [0, 0, 1, 1]
    check_predictions(table)


def put(table, supervision, column, value):
    rows = table.index[table["supervision"] == supervision]
    table = table.astype({column: object})
    table.loc[rows[3], column] = value
    return table.infer_objects()


#: Supervision, column, a wrong value for its row 3, and what is said of it.
FAULTS = [
    ("dual", "oa", 1, "oa is not KL >= 2"),
    ("dual", "prob_kl_0", 0.97, "the KL probabilities do not sum to 1"),
    ("dual", "prob_kl_0", np.nan, "prob_kl_0 is not a probability"),
    ("dual", "prob_kl_4", -0.1, "prob_kl_4 is not a probability"),
    ("dual", "pred_kl", 1, "pred_kl is not a grade of the greatest probability"),
    ("dual", "pred_kl", np.nan, r"pred_kl is not one of \[0, 1, 2, 3, 4\]"),
    ("dual", "pred_oa", 0, "pred_oa is not whether prob_oa is one half or more"),
    ("dual", "pred_oa", 2, r"pred_oa is not one of \[0, 1\]"),
    ("single_oa", "prob_oa", np.nan, "prob_oa is not a probability"),
    ("single_kl", "prob_oa", 0.9, "prob_oa is not prob_oa_from_kl, as Single-KL's is"),
    ("single_kl", "prob_oa_from_kl", 0.9, "prob_oa_from_kl is not the sum"),
    ("single_kl", "prob_oa_from_kl", np.nan, "some of prob_oa_from_kl, .* are missing"),
    ("single_oa", "pred_kl", 3, "Single-OA predicts no grade"),
    ("single_oa", "prob_oa_from_kl", 0.5, "Single-OA predicts no grade"),
    ("single_oa", "kl", 7, r"kl is not one of \[0, 1, 2, 3, 4\]"),
    ("single_oa", "case_id", 405, "a second row of this case"),
    ("single_oa", "case_id", 405.5, "case_id is not a whole number"),
    ("single_oa", "seed", np.nan, "seed is missing"),
]


def certain(table):
    """Row 3 of each model, KL 3: sure and wrong in grade, sure and right in OA."""
    rows = table.groupby("supervision").nth(3).index
    table = table.copy()
    table.loc[rows, "kl"], table.loc[rows, "oa"] = 0, 0
    table.loc[rows, ["prob_oa", "pred_oa"]] = [0.8, 1]
    graded = rows[table.loc[rows, "supervision"] != "single_oa"]
    table.loc[graded, PROB_KL] = [0.1, 0.1, 0.1, 0.6, 0.1]
    table.loc[graded, ["prob_oa_from_kl", "pred_kl"]] = [0.8, 3]
    return table


@pytest.mark.parametrize(("supervision", "column", "value", "said"), FAULTS)
def test_every_fault_is_named_with_file_row_and_cure(tmp_path, supervision, column, value, said):
    table = certain(three())
    check_predictions(table)
    spoilt = put(table, supervision, column, value)
    with pytest.raises(InputError, match=rf"{said}.*; correct or drop"):
        check_predictions(spoilt)
    path = tmp_path / "predictions.csv"
    spoilt.to_csv(path, index=False)
    row = spoilt.index[spoilt["supervision"] == supervision][3] + 1
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}, data row {row}: ") as error:
        read_predictions(tmp_path)
    if column not in ("case_id", "seed"):  # a whole number, for a file's reader
        assert re.search(said, str(error.value)) and "case_id 408" in str(error.value)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("pred_kl", 1, "pred_kl is not a grade of the greatest"),
        ("pred_oa", 1, "pred_oa is not whether"),
        ("prob_oa_from_kl", 0.999, "prob_oa_from_kl is not the sum"),
        ("label_oa", 1, "label_oa is not KL >= 2"),
        ("CMT_ID", 500.5, "CMT_ID is not a whole number"),
    ],
)
def test_released_files_are_held_to_the_same(tmp_path, column, value, said):
    path = invented(tmp_path) / "m3t_dual_preds.csv"
    raw = pd.read_csv(path).astype({column: float})
    sure = (raw["prob_oa"] < 0.4) & (raw["pred_kl"] != 1) & (raw["label_oa"] == 0)
    row = raw.index[sure & (raw["prob_oa_from_kl"] < 0.9)][0]
    raw.loc[row, column] = value
    raw.to_csv(path, index=False)
    with pytest.raises(InputError, match=f"m3t_dual_preds.csv, data row {row + 1}: {said}.*fetch"):
        read_published(tmp_path)


def test_what_was_released_passes(shared):
    check_predictions(read_published(shared / "real/published_predictions"))


def test_rules_that_hold_for_a_whole_model():
    table = three()
    for supervision in ("single_kl", "dual"):
        bare = table.copy()
        bare.loc[table["supervision"] == supervision, GRADED] = np.nan
        with pytest.raises(InputError, match="Single-KL and Dual predict grades"):
            check_predictions(bare)
    own = table.query("supervision == 'single_oa'").assign(supervision="of my own")
    check_predictions(own)  # may predict grades or not
    graded = table.query("supervision == 'dual'").assign(supervision="of my own")
    check_predictions(graded)
    with pytest.raises(InputError, match="some of .* are missing"):
        check_predictions(graded.assign(pred_kl=pd.array([pd.NA] * 40, dtype="Int64")))


def test_splits_are_apart_and_models_are():
    table = three()
    train = table.assign(split="train")
    other = table.assign(seed=7)
    check_predictions(pd.concat([table, train, other], ignore_index=True))
    with pytest.raises(InputError, match="a second row of this case"):
        check_predictions(pd.concat([table, table], ignore_index=True))
    with pytest.raises(InputError, match="mix the splits test, train"):
        check_one_model(pd.concat([table, train]).query("supervision == 'dual'"))


@pytest.mark.parametrize(("grades", "lacking"), [((0, 1), "with OA"), ((2, 3, 4), "without OA")])
def test_a_split_of_one_class_is_refused_where_models_are_compared(tmp_path, grades, lacking):
    table = three()
    table[table["kl"].isin(grades)].to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(InputError, match=f"mine.csv: the split test has no knee {lacking} .*AUC"):
        read_predictions(tmp_path)


def test_an_altered_answer_can_still_be_measured():
    one = three().query("supervision == 'dual'")
    check_one_model(one.assign(pred_kl=3))
    with pytest.raises(InputError, match="resnet3d dual 2: oa is not KL >= 2 in case_id"):
        check_one_model(one.assign(oa=1))


def test_a_table_is_taken_apart_into_models_in_its_own_order():
    table = three().sort_values("supervision", ascending=False, kind="stable")
    shuffled = pd.concat([rows.sample(frac=1) for _, rows in table.groupby("seed", sort=False)])
    taken = each_model(shuffled)
    assert [name[1] for name, _ in taken] == ["single_oa", "single_kl", "dual"]
    for name, rows in taken:
        own = table[(table[MODEL] == list(name)).all(axis=1)]
        pd.testing.assert_frame_equal(rows, own.sort_values("case_id"))


@pytest.mark.parametrize("column", MODEL)
def test_a_model_without_a_name_is_refused_and_not_left_out(column):
    table = three()
    spoiled = table.assign(**{column: table[column].where(table["supervision"] != "dual")})
    with pytest.raises(InputError, match=f"{column} is missing in case_id 405"):
        each_model(spoiled)


@pytest.mark.parametrize(
    "call",
    [
        table1, reliability, by_grade, decision_curves, lambda t: calibration_table(t, seed=0),
        lambda t: clinical_table(t, seed=0), lambda t: conformal_table(t, seed=0),
        lambda t: pairwise_agreement(t, "oa"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: t.assign(split=["train", "test"] * 80), "mix the splits"),
        (lambda t: t.assign(prob_oa=2.0), "prob_oa is not a probability"),
        (lambda t: t.drop(columns="kl"), "lack the columns kl"),
        (lambda t: t.assign(seed=np.where(t["seed"] == 1, np.nan, 0)), "seed is missing"),
    ],
)
def test_every_table_of_models_refuses_what_cannot_be_measured(call, spoil, said):
    with pytest.raises(InputError, match=said):
        call(spoil(two_models()))


def seconds(table):
    began = time.perf_counter()
    check_predictions(table)
    return time.perf_counter() - began


def test_a_hundred_thousand_cases_take_seconds_and_time_grows_no_faster_than_they():
    some, many = printed(6, 4_000), printed(6, 100_000)
    seconds(some)
    short, long = min(seconds(some) for _ in range(3)), seconds(many)
    assert list(many.groupby(MODEL).size()) == [100_000] * 3
    assert long < 15 and long / short < 25 * 3
