"""The figures of real knees, and what a cohort measures beside them."""

from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem
from sklearn.metrics import cohen_kappa_score

from oacore.data.cohort import PAPER_KL
from oacore.errors import InputError
from oacore.hierarchy import agreement, reader_table
from oacore.instruments.phantom.facts import (
    age_trend,
    beside_facts,
    by_grade,
    knee_facts,
    mean_oarsi_grades,
    side_by_side,
)
from oacore.instruments.phantom.grades import NARROWINGS, OSTEOPHYTES

# As in the sheet of facts behind this project.
BY_KL = {
    "thickness_femur_medial_mm": (2.22, 2.09, 2.10, 1.48, 0.91),
    "thickness_tibia_medial_mm": (2.23, 2.21, 2.31, 1.93, 1.38),
    "thickness_tibia_lateral_mm": (2.91, 2.91, 2.71, 2.48, 2.24),
    "denuded_femur_medial": (0, 0.002, 0.019, 0.125, 0.42),
    "joint_space_medial_mm": (4.71, 4.69, 4.58, 3.37, 2.45),
    "joint_space_narrower_mm": (4.61, 4.57, 4.35, 2.84, 1.23),
}
BY_JSN = {
    ("joint_space_medial_mm", "jsn_medial"): (4.95, 4.27, 2.91, 1.15),
    ("joint_space_lateral_mm", "jsn_lateral"): (5.54, 3.96, 2.59, 1.44),
    ("thickness_femur_medial_mm", "jsn_medial"): (2.29, 2.00, 1.29, 0.31),
}
ALL = {
    "femur_width_mm": (83, 6),
    "femur_depth_mm": (66, 4.5),
    "tibia_width_mm": (80, 6),
    "tibia_depth_mm": (57, 4.4),
    "femoral_cartilage_cm3": (15.1, 3.2),
    "medial_cartilage_cm3": (2.09, 0.50),
    "lateral_cartilage_cm3": (2.40, 0.67),
    "signal_femur": (42.5, 6.1),
    "signal_femoral_cartilage": (181.9, 19.5),
}


def values(quantity, by):
    facts = knee_facts()
    rows = facts[(facts["quantity"] == quantity) & (facts["by"] == by)]
    return rows.set_index("group")["value"]


def test_figures_are_those_of_the_sheet():
    for quantity, wanted in BY_KL.items():
        assert dict(values(quantity, "kl")) == {str(k): v for k, v in enumerate(wanted)}
    for (quantity, by), wanted in BY_JSN.items():
        assert dict(values(quantity, by)) == {str(k): v for k, v in enumerate(wanted)}
    facts = knee_facts().query("by == 'all'").set_index("quantity")
    for quantity, wanted in ALL.items():
        assert tuple(facts.loc[quantity, ["value", "sd"]]) == wanted
    assert dict(values("femur_width_mm", "sex")) == {"male": 88.6, "female": 78.5}
    assert dict(values("femoral_cartilage_cm3", "sex")) == {"male": 17.3, "female": 12.8}
    assert dict(values("femur_cm3", "sex")) == {"male": 208, "female": 156}
    assert dict(values("tibia_cm3", "sex")) == {"male": 137, "female": 101}
    assert dict(values("diseased=lateral", "kl")) == {"3": 0.26, "4": 0.32}


def test_every_figure_says_what_it_is():
    facts = knee_facts()
    assert not facts.duplicated(["quantity", "by", "group"]).any()
    assert facts["source"].str.startswith(("measured", "read", "steady-state model")).all()
    assert facts["unit"].notna().all()
    assert facts[["value", "low", "high"]].notna().any(axis=1).all()
    text = (files("oacore.instruments.phantom") / "knee_facts.csv").read_text()
    assert all(doi in text for doi in ("10.1016/j.media.2023.103035", "10.1109/ICCVW.2019.00046"))


def test_shares_of_the_grades_are_those_of_the_counted_patterns(shared):
    """KL 0 apart, most of whose osteophytes were not read; two decimals were kept."""
    counts = pd.read_csv(shared / "real/oarsi_grades/oarsi_pattern_counts.csv", comment="#")
    names = dict(zip(OSTEOPHYTES + NARROWINGS, ("FL", "FM", "TL", "TM", "JM", "JL"), strict=True))
    weight = counts.columns[-1]
    furthest = []
    for kl in range(1, 5):
        knees = counts[counts["KL"] == kl]
        for column, short in names.items():
            counted = knees.groupby(short)[weight].sum().reindex(range(4), fill_value=0)
            told = [values(f"{column}={grade}", "kl")[str(kl)] for grade in range(4)]
            assert sum(told) == pytest.approx(1, abs=0.021)
            furthest.append(np.abs(counted / counted.sum() - told).max())
    # The sheet used more knees where a reading of another place was missing.
    assert np.median(furthest) < 0.02 and max(furthest) < 0.08


def test_agreement_on_oa_is_about_that_of_the_reader_table_on_481_knees():
    """The sheet counted real pairs of readings; the table, of more knees, says .816."""
    knees = np.add(PAPER_KL["train"], PAPER_KL["test"])
    told = knee_facts().set_index("quantity").loc["reader_oa", "value"]
    assert agreement(reader_table(), knees)["oa"] == pytest.approx(told, abs=0.03)


def test_the_age_trend_of_real_knees_is_the_figure_in_the_sheet(shared):
    files = sorted((shared / "real/radiomics").glob("subInfo_*.xlsx"))
    real = pd.concat(pd.read_excel(file) for file in files)
    found = age_trend(real[["Age", "KLGrade"]].set_axis(["age", "kl"], axis=1))
    told = knee_facts().set_index("quantity").loc["age_kl_spearman"]
    assert found["measured"] == pytest.approx(told["value"], abs=0.0005)
    assert found["n"] == told["n"] == 481
    # An interval by resampling the knees is about as wide.
    known = real.dropna(subset="KLGrade")
    again = [
        known.sample(frac=1, replace=True, random_state=seed)[["Age", "KLGrade"]]
        .corr("spearman").iloc[0, 1]
        for seed in range(400)
    ]  # fmt: skip
    assert [found["low"], found["high"]] == pytest.approx(
        list(np.percentile(again, [2.5, 97.5])), abs=0.03
    )
    assert age_trend(pd.DataFrame({"age": [60, 61, 62, 63], "kl": 1})) is None


@pytest.fixture
def cohort():
    """Four knees of KL 3 and one each of the rest, with round numbers."""
    kl = [0, 1, 2, 3, 3, 3, 3, 4]
    cases = pd.DataFrame({"case_id": range(1, 9), "split": "train", "sex": "male", "age": 60.0})
    cases["kl"] = pd.array(kl, dtype="Int64")
    measured = cases[["case_id", "split"]].assign(
        joint_space_medial_mm=[5, 5, 5, 1.0, 2.0, 3.0, 6.0, 1],
        joint_space_lateral_mm=[6, 4, 6, 5.0, 5.0, 5.0, 5.0, np.nan],
    )
    truth = cases.drop(columns="age").assign(
        kl_true=kl,
        reader2=[0, 0, 2, 3, 3, 3, 3, 1],
        jsn_medial=[0, 0, 0, 2, 2, 2, 0, 3],
        diseased=["none"] * 3 + ["medial"] * 3 + ["lateral", "medial"],
    )
    return cases, measured, truth


def row(table, quantity, group):
    (found,) = table[(table["quantity"] == quantity) & (table["group"] == group)].to_dict("records")
    return found


def test_means_and_shares_stand_beside_the_figures(cohort):
    table = beside_facts(*cohort)
    three = row(table[table["by"] == "kl"], "joint_space_medial_mm", "3")
    space = [1.0, 2.0, 3.0, 6.0]
    half = 3.182446 * sem(space)  # Student's t with 3 degrees of freedom, from a table
    assert three["measured"] == 3 and three["n"] == 4 and three["real"] == 3.37
    assert (three["low"], three["high"]) == pytest.approx((3 - half, 3 + half), abs=1e-5)
    narrower = row(table, "joint_space_narrower_mm", "1")
    assert narrower["measured"] == 4 and np.isnan(narrower["low"])
    # Unknown on one side, so the narrower one is unknown.
    assert "4" not in set(table.query("quantity == 'joint_space_narrower_mm'")["group"])
    lateral = row(table, "diseased=lateral", "3")
    assert (lateral["measured"], lateral["real"]) == (0.25, 0.26)
    # Wilson's interval of 1 in 4, Brown, Cai & DasGupta 2001, doi:10.1214/ss/1009213286.
    assert (lateral["low"], lateral["high"]) == pytest.approx((0.0456, 0.6994), abs=1e-4)
    assert row(table, "jsn_medial=2", "3")["measured"] == 0.75
    assert row(table, "age", "train")["measured"] == 60


def test_readers_are_compared_with_each_other(cohort):
    cases, measured, truth = cohort
    table = beside_facts(cases, measured, truth)
    first, second = truth["kl"].to_numpy(int), truth["reader2"]
    kappa = cohen_kappa_score(first, second, weights="quadratic")
    np.testing.assert_allclose(table.query("quantity == 'reader_kappa'")["measured"], kappa)
    assert table.query("quantity == 'reader_exact'")["measured"].item() == 6 / 8
    assert table.query("quantity == 'reader_oa'")["measured"].item() == 7 / 8


def test_without_truth_only_what_can_be_known_is_told(cohort):
    cases, measured, _ = cohort
    table = beside_facts(cases, measured)
    assert set(table["by"]) == {"kl", "split"}
    assert not table["quantity"].str.contains("=|reader").any()
    assert row(table[table["by"] == "kl"], "joint_space_medial_mm", "3")["measured"] == 3


def test_knees_are_grouped_by_their_true_grade_where_it_is_known(cohort):
    cases, measured, truth = cohort
    truth["kl_true"] = [4, 1, 2, 3, 3, 3, 3, 0]
    table = beside_facts(cases, measured, truth).query("by == 'kl'")
    assert row(table, "joint_space_medial_mm", "4")["measured"] == 5


def test_a_table_to_read_holds_interval_deviation_and_range(cohort):
    cases, measured, truth = cohort
    measured = measured.assign(contrast_femoral_cartilage_to_femur=4.0, femur_width_mm=80.0)
    words = side_by_side(beside_facts(cases, measured, truth))
    three = words.loc[("joint_space_medial_mm", "KL 3")]
    assert list(three) == ["3 [-0.437, 6.44]", "3.37"]
    assert list(words.loc[("femur_width_mm", "all")]) == ["80 [80, 80]", "83 ± 6"]
    contrast = words.loc[("contrast_femoral_cartilage_to_femur", "all")]
    assert list(contrast) == ["4 [4, 4]", "4.3 (2.98 to 5.81)"]


def test_another_cohorts_measurements_are_refused(cohort):
    cases, measured, truth = cohort
    with pytest.raises(InputError, match="no case of the cohort was measured"):
        beside_facts(cases, measured.assign(case_id=measured["case_id"] + 100), truth)


def test_by_grade_two_rows_a_quantity_and_no_share():
    table = pd.DataFrame(
        {
            "quantity": ["a", "a", "jsn_medial=1", "b"],
            "by": ["kl", "kl", "kl", "sex"],
            "group": ["0", "3", "3", "male"],
            "measured": [1.0, 2.0, 0.5, 9.0],
            "real": [1.5, np.nan, 0.4, 8.0],
        }
    )
    wide = by_grade(table)
    assert list(wide.index) == [("a", "measured"), ("a", "real")]
    assert wide.loc[("a", "measured")].to_dict() == {"0": 1.0, "3": 2.0}
    assert wide.loc[("a", "real"), "0"] == 1.5 and np.isnan(wide.loc[("a", "real"), "3"])


def test_a_mean_grade_is_the_mean_of_the_grades():
    grades = pd.DataFrame({"kl": [0, 0, 0, 3, 3], "jsn_medial": [0, 1, 1, 3, 2]})
    rows = [
        {
            "quantity": f"jsn_medial={grade}", "by": "kl", "group": str(kl), "real": 0.25,
            "measured": (knees["jsn_medial"] == grade).mean(),
        }
        for kl, knees in grades.groupby("kl") for grade in range(4)
    ]  # fmt: skip
    means = mean_oarsi_grades(pd.DataFrame(rows)).loc[("jsn_medial", "measured")]
    assert dict(means) == pytest.approx({"0": 2 / 3, "3": 2.5})
