"""OAI's table: joined to the public set, and what is another table."""

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.instruments.radiographs.cases import read_radiographs
from oacore.instruments.radiographs.oai import read_oai
from oacore.instruments.radiographs.words import OARSI
from tests.instruments.radiographs import against, sets


@pytest.mark.parametrize("sign", ["|", "\t", ","])
def test_oais_table_is_joined_by_number_side_and_project(sign, tmp_path):
    rng = np.random.default_rng(1)
    cases = sets.drawn_public(tmp_path / "set").sort_values("case", ignore_index=True)
    grades = pd.DataFrame(rng.integers(0, 4, (len(cases), 6)), columns=list(OARSI)).astype("Int64")
    grades = grades.mask(rng.random(grades.shape) < 0.3)
    table = sets.oai_table(cases.join(grades))
    table = table.rename(columns={"READPRJ": "readprj"})  # as in some of its releases
    path = sets.write_oai(table, tmp_path / "kxr_sq_bu00.txt", sign)
    read = read_radiographs(tmp_path / "set", height=8, width=8, oarsi=path)
    pd.testing.assert_frame_equal(read.cases[list(OARSI)], grades)
    assert len(read_oai(path)) == len(cases) + 3


def test_oais_table_may_be_a_spreadsheet(tmp_path):
    cases = sets.drawn_public(tmp_path / "set")
    sets.oai_table(cases).to_excel(tmp_path / "kxr_sq_bu00.xlsx", index=False)
    read = read_radiographs(
        tmp_path / "set", height=8, width=8, oarsi=tmp_path / "kxr_sq_bu00.xlsx"
    )
    assert (read.cases[list(OARSI)] == 0).all(axis=None)


def test_the_grades_of_oai_are_not_for_a_table_of_ones_own(tmp_path):
    folder = sets.write_own(tmp_path / "own", sets.own_table(2))
    against.refused(folder, ["kxr.txt", "write the OARSI grades"], oarsi=tmp_path / "kxr.txt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.rename(columns={"V00XRKL": "V01XRKL"}), ["another visit (V01XRKL)", "bu00"]),
        (lambda t: t[t["READPRJ"] != "15"], ["no row of reading project 15", "there are: 37, 42"]),
        (lambda t: t.assign(V00XRJSM="4: Worse"), ["V00XRJSM", "0 to 3", "found 4: Worse"]),
        (lambda t: t.assign(V00XROSFL="1.2"), ["V00XROSFL", "found 1.2"]),
        (lambda t: t.assign(SIDE="3"), ["SIDE is neither 1 (right) nor 2 (left) (found 3)"]),
        (lambda t: pd.concat([t, t[t["READPRJ"] == "15"].tail(1)]), ["a second row of this knee"]),
        (lambda t: t[t["ID"] != "9000100"], ["9000100L.png", "has no row of reading project 15"]),
        (lambda t: t.drop(columns=["V00XROSTM"]), ["column V00XROSTM is missing"]),
        (
            lambda t: t.assign(SIDE=t["SIDE"].map({"1: Right": "2", "2: Left": "1"})),
            ["9000107L.png", "its KL grade is not that of", "SIDE"],
        ),
    ],
)
def test_a_table_that_is_not_oais_of_the_baseline_is_refused(change, said, tmp_path):
    cases = sets.drawn_public(tmp_path / "set")
    # So that swapped sides show: in the public set both knees of a person may differ.
    other = cases["case"] == "9000107L"
    (tmp_path / "set/train/1/9000107L.png").rename(tmp_path / "set/train/2/9000107L.png")
    cases.loc[other, "kl"] = 2
    table = sets.oai_table(cases)
    good = sets.write_oai(table, tmp_path / "good.txt")
    read_radiographs(tmp_path / "set", height=8, width=8, oarsi=good)
    path = sets.write_oai(change(table), tmp_path / "kxr_sq_bu00.txt")
    against.refused(tmp_path / "set", said, oarsi=path)


def test_a_file_that_is_no_table_of_oais_is_refused(tmp_path):
    sets.drawn_public(tmp_path / "set")
    for name, data, said in (
        ("kxr.txt", b"", "is missing"),
        ("kxr.csv", b"\xff\xfe\x00", "is no text"),
        ("kxr_sq_bu00.sas7bdat", b"x", "as text"),
        ("cut.txt", "|".join(["ID", "SIDE", "READPRJ", *sets.OAI_NAMES.values()]).encode()
         + b"\n9000100|1|15\n", "row 2 has 3 cells under 10 columns"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=said):
            read_radiographs(tmp_path / "set", height=8, width=8, oarsi=tmp_path / name)
