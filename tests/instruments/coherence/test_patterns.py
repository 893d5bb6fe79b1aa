"""Patterns of grades: counted, as one-hot numbers, made false as said; bad tables refused."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import OneHotEncoder

from oacore.errors import InputError
from oacore.instruments.coherence.patterns import (
    CORRUPTIONS,
    GRADES,
    SIZES,
    WIDTH,
    all_shuffled,
    blurred,
    by_head,
    drawn_patterns,
    kl_at_random,
    kl_off_by_one,
    one_hot,
    pairwise,
    pattern_counts,
    read_patterns,
    readings,
)
from oacore.instruments.phantom.grades import kl_from_oarsi


@pytest.fixture(scope="module")
def table(shared):
    return pd.read_csv(shared / "real/oarsi_grades/oarsi_pattern_counts.csv", comment="#")


@pytest.fixture(scope="module")
def drawn():
    return drawn_patterns(np.arange(600) % 5, seed=0)


def test_the_real_patterns(table):
    patterns = pattern_counts(table)
    assert len(patterns) == 786 and patterns["count"].sum() == 5507
    assert patterns.loc[patterns["kl"] == 0, "count"].sum() == 766
    # The table has JSN lateral first, the heads have it last.
    for ours, theirs in (("jsn_medial", "JM"), ("jsn_lateral", "JL"), ("osteophyte_tl", "TL")):
        expected = table.groupby(theirs)["count"].sum().tolist()
        assert patterns.groupby(ours)["count"].sum().tolist() == expected


def test_one_hot_grades_of_real_knees_have_rank_22_of_29(table):
    codes = one_hot(readings(pattern_counts(table)))
    assert codes.shape == (5507, 29)
    assert np.linalg.matrix_rank(np.cov(codes.T)) == 22 == WIDTH - len(GRADES)


def test_one_hot_is_scikit_learns(drawn):
    grades = readings(drawn)
    encoder = OneHotEncoder(categories=[range(n) for n in SIZES.values()], sparse_output=False)
    assert np.array_equal(one_hot(grades), encoder.fit_transform(grades))
    heads = by_head(one_hot(grades))
    assert list(heads) == list(GRADES)
    assert all((head.argmax(1) == grades[:, i]).all() for i, head in enumerate(heads.values()))


def test_blurring(drawn):
    codes = one_hot(readings(drawn))
    half = by_head(blurred(codes, 0.3))
    assert all(np.allclose(head.sum(1), 1) for head in half.values())
    assert half["kl"].max() == pytest.approx(0.7 + 0.3 / 5)
    assert half["jsn_medial"].min() == pytest.approx(0.3 / 4)
    assert np.array_equal(blurred(codes, 0), codes)


def test_counting_undoes_what_readings_does(drawn):
    rows = pd.DataFrame(readings(drawn), columns=list(GRADES)).sample(frac=1, random_state=0)
    assert pattern_counts(rows).equals(drawn)
    # Knees with a grade that was not read are left out.
    blank = rows.astype("Int64")
    blank.iloc[:5, 3] = pd.NA
    assert pattern_counts(blank)["count"].sum() == 595


def test_the_phantoms_knees_obey_the_rule(drawn):
    assert drawn["count"].sum() == 600
    assert (kl_from_oarsi(drawn) == drawn["kl"]).all()
    assert drawn.groupby("kl")["count"].sum().tolist() == [120] * 5
    assert drawn.equals(drawn_patterns(np.arange(600) % 5, seed=0))
    assert not drawn.equals(drawn_patterns(np.arange(600) % 5, seed=1))


def test_real_readings_from_oais_table(tmp_path):
    rows = {
        "READPRJ": [15, 15, 15, 37], "V00XRKL": [2, 2, 0, 4], "V00XROSFL": [1, 1, 0, 3],
        "V00XROSFM": [0, 0, 0, 3], "V00XROSTL": [0, 0, "", 3], "V00XROSTM": [1, 1, 0, 3],
        "V00XRJSL": [0, 0, 0, 3], "V00XRJSM": [1, 1, 0, 0],
    }  # fmt: skip
    pd.DataFrame(rows).to_excel(tmp_path / "kxr_sq_bu00.xlsx", index=False)
    assert read_patterns(tmp_path).to_numpy().tolist() == [[2, 1, 0, 0, 1, 1, 0, 2]]
    with pytest.raises(InputError, match="no such file"):
        read_patterns(tmp_path / "elsewhere")


def test_pairs_are_those_of_a_cross_table(drawn):
    rows = pd.DataFrame(readings(drawn), columns=list(GRADES))
    share = pairwise(drawn).set_index(["given", "found"])["share"]
    by_hand = pd.crosstab(rows["jsn_medial"], rows["kl"], normalize="index")
    for jsn in by_hand.index:
        for kl in by_hand:
            assert share[f"JSN medial {jsn}", f"KL {kl}"] == pytest.approx(by_hand.loc[jsn, kl])
    assert len(share) == 29**2 and share["KL 3", "KL 3"] == 1 and share["KL 3", "KL 2"] == 0
    none = pairwise(drawn[drawn["kl"] > 0]).query("given == 'KL 0'")
    assert none["knees"].eq(0).all() and none["share"].isna().all()


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values())
def test_false_grades_hang_on_the_seed(corrupt, drawn):
    grades = readings(drawn)
    before = grades.copy()
    assert np.array_equal(corrupt(grades, 3), corrupt(grades, 3))
    assert not np.array_equal(corrupt(grades, 3), corrupt(grades, 4))
    assert np.array_equal(grades, before)


def test_what_each_corruption_does(drawn):
    grades = readings(drawn)
    shuffled = all_shuffled(grades, 0)
    assert np.array_equal(np.sort(shuffled, axis=0), np.sort(grades, axis=0))
    # Columns are shuffled each in an order of its own: grades go together no more.
    assert abs(np.corrcoef(shuffled[:, 0], shuffled[:, 5])[0, 1]) < 0.15
    assert np.corrcoef(grades[:, 0], grades[:, 5])[0, 1] > 0.5
    step = kl_at_random(grades, 0) - grades
    assert (step[:, 0] != 0).all() and (step[:, 1:] == 0).all()
    counts = np.bincount(step[:, 0] % 5, minlength=5)
    assert counts[0] == 0 and counts[1:].min() > 120
    step = kl_off_by_one(grades, 0) - grades
    assert (np.abs(step[:, 0]) == 1).all() and (step[:, 1:] == 0).all()
    assert (step[grades[:, 0] == 0, 0] == 1).all() and (step[grades[:, 0] == 4, 0] == -1).all()
    assert 0.4 < (step[grades[:, 0] == 2, 0] == 1).mean() < 0.6


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("jsn_medial", 4, r"row 2: jsn_medial is 4, which cannot be; give numbers 0 to 3"),
        ("kl", -1, r"row 2: kl is -1"),
        ("osteophyte_fm", 1.5, "row 2: osteophyte_fm is 1.5"),
        ("kl", "two", "row 2: kl is 'two'"),
        ("count", -2, "row 2: count is -2, which cannot be; give numbers whole"),
        ("kl", 5, "give numbers 0 to 4"),
    ],
)
def test_a_grade_that_cannot_be(column, value, said, drawn):
    table = drawn.astype(object)
    table.loc[1, column] = value
    with pytest.raises(InputError, match=said):
        pattern_counts(table)


def test_other_tables_are_refused(drawn):
    with pytest.raises(InputError, match="lacks the column jsn_lateral"):
        pattern_counts(drawn.drop(columns="jsn_lateral"))
    with pytest.raises(InputError, match="no row has all seven"):
        pattern_counts(drawn.assign(kl=pd.NA))
    with pytest.raises(InputError, match="grades"):
        drawn_patterns([0, 5], seed=0)


def test_no_module_imports_pytorch_before_it_is_needed():
    names = ("patterns", "mixture", "joint", "trial", "figures")
    code = "; ".join(f"import oacore.instruments.coherence.{name}" for name in names)
    code += "; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
