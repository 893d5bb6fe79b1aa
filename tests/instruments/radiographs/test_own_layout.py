"""One's own layout: its tables as the contract says, and what they may not hold."""

import numpy as np
import pandas as pd
import pytest

from oacore.instruments.coherence.patterns import GRADES
from oacore.instruments.radiographs.cases import read_radiographs
from oacore.instruments.radiographs.words import POINTS
from tests.instruments.radiographs import against, sets


def test_the_table_is_read_as_the_contract_says(tmp_path):
    table = sets.own_table(6).rename(columns={"person": "subject"}).iloc[::-1]
    table["ost_fl"], table["jsn_medial"] = [3, "", 0, 1, 2, ""], 0
    table["sex"], table["age"] = ["F", "male", "m", "female", "", "F"], [50, 60.5, "", 70, 80, 90]
    table["weight"] = 0.5
    read = read_radiographs(sets.write_own(tmp_path, table), height=56, width=56)
    cases = read.cases
    assert list(cases.columns) == [*against.COLUMNS, "sex", "age", "weight"]
    assert list(cases["case"]) == [f"knee_{i}" for i in range(6)] == sorted(cases["case"])
    assert list(cases["side"]) == ["right", "left"] * 3 and (cases["weight"] == 0.5).all()
    assert list(cases["person"]) == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert cases["osteophyte_fl"].tolist() == [pd.NA, 2, 1, 0, pd.NA, 3]
    assert cases["osteophyte_tm"].isna().all() and (cases["jsn_medial"] == 0).all()
    assert all(cases[name].dtype == "Int64" for name in GRADES)
    assert cases["sex"].fillna("").tolist() == ["female", "", "female", "male", "male", "female"]
    assert np.isnan(read.landmarks).all() and read.landmarks.dtype == np.float32
    for place in range(6):
        against.same_pictures(
            read.pictures[place], against.area_mean(sets.knee([5, 5 - place]), 56, 56)
        )


def test_doubtful_landmarks_are_left_out_and_the_scale_follows_the_picture(tmp_path):
    folder = sets.write_own(tmp_path, sets.own_table(4))
    points = {f"{point}{axis}": 60.0 for point in POINTS for axis in "xy"}
    rows = pd.DataFrame(
        {"case": ["knee_3", "knee_0", "knee_1"], **points, "mm_per_px_x": [0.4, 0.5, 0.3],
         "mm_per_px_y": 0.6, "two_fit_disagreement_px": [3.0, 3.01, ""]}
    )  # fmt: skip
    rows.to_csv(folder / "landmarks.csv", index=False)
    read = read_radiographs(folder, height=56, width=112, crop=(0.5, 1))
    assert (~np.isnan(read.landmarks).all(axis=(1, 2))).tolist() == [False, False, False, True]
    np.testing.assert_allclose(read.landmarks[3, 0], [81.25, 1.75])  # mirrored: 163 of 224
    assert read.cases["mm_per_pixel_x"].tolist()[3] == pytest.approx(0.8)
    assert read.cases["mm_per_pixel_y"].tolist()[3] == pytest.approx(1.2)
    assert read.cases["mm_per_pixel_x"].isna().tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kl": 5}, ["table.csv row 2", "kl is not a whole number from 0 to 4", "found 5"]),
        ({"jsn_m": 4}, ["table.csv row 2", "jsn_medial", "0 to 3", "found 4"]),
        ({"ost_tl": "1.5"}, ["osteophyte_tl", "found 1.5"]),
        ({"side": "medial"}, ["side is none of right, left", "found medial"]),
        ({"split": "dev"}, ["split is none of train, val, test"]),
        ({"split": "val"}, ["a person in two splits", "table.csv row 2"]),
        ({"case": "knee_1"}, ["a case that has a row already", "knee_1"]),
        ({"case": "../knee"}, ["case is no name of a file"]),
        ({"case": "absent"}, ["images/absent.png", "missing"]),
        ({"person": ""}, ["person is empty", "table.csv row 2"]),
        ({"sex": "x"}, ["sex is none of female, male"]),
        ({"age": 400}, ["age is not a number from 1 to 120"]),
        ({"inverted": 1}, ["inverted is not what the picture shows", "table.csv row 2"]),
    ],
)
def test_a_row_that_cannot_be_is_named(change, said, tmp_path):
    folder = sets.write_own(tmp_path, sets.own_table(4))
    table = sets.own_table(4).astype(object)
    for name, value in change.items():
        table[name] = table.get(name, pd.Series("", table.index, dtype=object)).astype(object)
        table.loc[0, name] = value
    table.to_csv(folder / "table.csv", index=False)
    against.refused(folder, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"t4x": 250}, ["images/knee_0.png", "landmarks lie outside", "knee_0"]),
        ({"f0y": -30}, ["landmarks lie outside"]),
        ({"t0x": "x"}, ["landmarks.csv row 2", "a landmark is no number"]),
        ({"case": "other"}, ["landmarks.csv row 2", "the table lacks", "other"]),
        ({"case": "knee_1"}, ["landmarks.csv row 3", "has some already"]),
    ],
)
def test_landmarks_that_cannot_be_are_named(change, said, tmp_path):
    folder = sets.write_own(tmp_path, sets.own_table(4))
    points = {f"{point}{axis}": 60.0 for point in POINTS for axis in "xy"}
    rows = pd.DataFrame({"case": ["knee_0", "knee_1"], **points}).astype(object)
    rows.to_csv(folder / "landmarks.csv", index=False)
    assert not np.isnan(read_radiographs(folder, height=8, width=8).landmarks[:2]).any()
    for name, value in change.items():
        rows.loc[0, name] = value
    rows.to_csv(folder / "landmarks.csv", index=False)
    against.refused(folder, said)


def test_a_table_that_lacks_a_column_says_which(tmp_path):
    folder = sets.write_own(tmp_path, sets.own_table(2))
    for name in ("case", "person", "kl"):
        sets.own_table(2).drop(columns=name).to_csv(folder / "table.csv", index=False)
        against.refused(folder, ["table.csv", f"column {name} is missing"])
    sets.own_table(2).iloc[:0].to_csv(folder / "table.csv", index=False)
    against.refused(folder, ["table.csv: has no row"])
    both = sets.own_table(2).assign(jsn_m=0, jsn_medial=0)
    both.to_csv(folder / "table.csv", index=False)
    against.refused(folder, ["both jsn_m and jsn_medial"])
