"""Reading a cohort in OAIZIB-CM's layout, and what each bad input is answered with."""

import re
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from oacore.data import cohort
from oacore.data.cohort import (
    drawn_among_real,
    graded,
    is_phantom,
    named_subset,
    read_cohort,
    read_tables,
    require_trainable,
)
from oacore.errors import InputError
from tests.helpers import GRADES, SHAPE, table, write_cohort, write_tables


@pytest.mark.parametrize("kind", [".xlsx", ".csv"])
@pytest.mark.parametrize("tables", ["", "info"])
@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_every_form_of_the_layout_is_read(tmp_path, end, tables, kind):
    write_cohort(tmp_path, end=end, tables=tables, kind=kind)
    cases = read_cohort(tmp_path)
    assert list(cases) == [
        "case_id", "split", "kl", "oa", "sex", "age", "bmi", "side", "subset", "image", "mask",
    ]  # fmt: skip
    assert cases["case_id"].tolist() == list(range(1, 11))
    assert cases["split"].tolist() == ["train"] * 5 + ["test"] * 5
    assert cases["kl"].tolist() == [*GRADES, *GRADES]
    assert cases["oa"].tolist() == [0, 1, 0, 1, 1] * 2
    assert cases["kl"].dtype == cases["oa"].dtype == "Int64"
    assert cases["sex"].tolist()[:2] == ["male", "female"]
    assert set(cases["side"]) == {"right"} and cases["age"][1] == 51 and cases["bmi"][0] == 25.5
    assert cases["image"][5] == str(tmp_path / f"imagesTs/oaizib_006_0000{end}")
    assert nib.load(cases["mask"][0]).shape == SHAPE


def test_cases_come_train_first_and_by_id_whatever_the_order_of_rows(tmp_path):
    train, test = write_cohort(tmp_path)
    write_tables(tmp_path, train[::-1], test.sample(frac=1, random_state=0))
    cases = read_cohort(tmp_path)
    assert cases["case_id"].tolist() == list(range(1, 11))
    assert cases["kl"].tolist() == [*GRADES, *GRADES]


def test_missing_grades_bmi_and_masks_are_kept_as_missing(tmp_path):
    train, test = write_cohort(tmp_path)
    train.loc[1, "KLGrade"] = np.nan
    train.loc[2, "BMI"] = np.nan
    write_tables(tmp_path, train, test)
    (tmp_path / "labelsTr/oaizib_004.nii.gz").unlink()
    cases = read_cohort(tmp_path)
    assert cases["kl"][1] is pd.NA and cases["oa"][1] is pd.NA
    assert np.isnan(cases["bmi"][2])
    assert cases["mask"][3] is None
    assert graded(cases)["case_id"].tolist() == [1, 3, 4, 5, 6, 7, 8, 9, 10]


def test_the_named_subset_is_what_the_table_marks_and_all_test_cases_where_it_marks_none(tmp_path):
    train, test = write_cohort(tmp_path)
    all_of_them = read_cohort(tmp_path)
    assert not all_of_them["subset"].any()
    assert named_subset(all_of_them)["case_id"].tolist() == [6, 7, 8, 9, 10]
    train.loc[0, "Subset"] = "few"
    test.loc[[1, 3], "Subset"] = "few"
    write_tables(tmp_path, train, test)
    assert named_subset(read_cohort(tmp_path))["case_id"].tolist() == [7, 9]


def test_an_image_may_be_missing_only_without_a_grade(tmp_path):
    train, test = write_cohort(tmp_path)
    (tmp_path / "imagesTr/oaizib_002_0000.nii.gz").unlink()
    with pytest.raises(InputError, match=r"imagesTr/oaizib_002_0000\.nii\.gz: .*row 3.*fetch"):
        read_cohort(tmp_path)
    train.loc[1, "KLGrade"] = np.nan
    write_tables(tmp_path, train, test)
    assert len(read_cohort(tmp_path)) == 10


def test_blank_rows_are_skipped_and_still_counted(tmp_path):
    train, test = table((0, 1, 9), 1), table((2,), 4)
    blank = pd.DataFrame([[None] * len(train.columns)], columns=train.columns)
    for kind in (".xlsx", ".csv"):
        rows = pd.concat([train[:1].astype(object), blank, train[1:].astype(object)])
        write_tables(tmp_path / kind, rows, test, kind)
        with pytest.raises(InputError, match=rf"subInfo_train{kind} row 5: .*found 9"):
            read_tables(tmp_path / kind)
    path = tmp_path / ".csv/subInfo_train.csv"
    path.write_text(path.read_text().replace("\n,,,,,,,,\n", "\n\n"))
    assert "\n\n" in path.read_text()
    with pytest.raises(InputError, match=r"subInfo_train\.csv row 5: .*found 9"):
        read_tables(tmp_path / ".csv")


@pytest.mark.parametrize("name", ["oaizib_2_0000.nii.gz", "oaizib_002.nii", "OAIZIB_002.NII.GZ"])
def test_an_image_under_a_name_of_another_form_is_named(tmp_path, name):
    write_cohort(tmp_path)
    image = tmp_path / "imagesTr/oaizib_002_0000.nii.gz"
    image.rename(image.with_name(name))
    said = rf"002_0000\.nii\.gz: .*row 3; there is {re.escape(name)}\); give that file this name"
    with pytest.raises(InputError, match=said):
        read_cohort(tmp_path)


BAD_CELLS = [
    ("KLGrade", 7.0, "found 7.0", "leave the cell empty"),
    ("KLGrade", 2.5, "found 2.5", "leave the cell empty"),
    ("KLGrade", "two", "found two", "leave the cell empty"),
    ("KLGrade", -1, "found -1", "leave the cell empty"),
    ("CMT-ID", 2.5, "found 2.5", "image's file name"),
    ("CMT-ID", "x2", "found x2", "image's file name"),
    ("CMT-ID", None, "empty", "image's file name"),
    ("Gender", 0, "found 0", "1 for male, 2 for female"),
    ("Gender", None, "empty", "1 for male, 2 for female"),
    ("KneeSide", 3, "found 3", "1 for right, 2 for left"),
    ("Age", "old", "found old", "leave the cell empty"),
    ("Age", 999, "found 999", "years"),
    ("BMI", 0, "found 0", "kg/m2"),
]


@pytest.mark.parametrize("kind", [".xlsx", ".csv"])
@pytest.mark.parametrize(("column", "value", "found", "cure"), BAD_CELLS)
def test_a_bad_cell_is_named_by_file_and_row(tmp_path, column, value, found, cure, kind):
    train, test = table(GRADES, 1), table(GRADES, 6)
    test[column] = test[column].astype(object)
    test.loc[2, column] = value
    write_tables(tmp_path, train, test, kind)
    with pytest.raises(InputError) as caught:
        read_tables(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/subInfo_test{kind} row 4: {column} is not ")
    assert found.removesuffix(".0") in message and cure in message


@pytest.mark.parametrize("kind", [".xlsx", ".csv"])
@pytest.mark.parametrize("column", ["KLGrade", "Age", "BMI"])
@pytest.mark.parametrize("word", ["#N/A", "#REF!", "#VALUE!", "#DIV/0!", "NA", "nan", "NULL", "-"])
def test_what_a_spreadsheet_shows_is_no_empty_cell(tmp_path, word, column, kind):
    train = table(GRADES, 1).astype({column: object})
    train.loc[2, column] = word
    write_tables(tmp_path, train, table(GRADES, 6), kind)
    named = rf"subInfo_train{re.escape(kind)} row 4: {column} .*found {re.escape(word)}\).*empty"
    with pytest.raises(InputError, match=named):
        read_tables(tmp_path)


def test_words_for_nothing_in_the_optional_columns(tmp_path):
    train, test = table(GRADES, 1).astype({"SubjectID": object}), table(GRADES, 6)
    train.loc[1, "SubjectID"] = "#N/A"  # decides nothing
    write_tables(tmp_path, train, test)
    assert not read_tables(tmp_path)["subset"].any()
    test["Subset"] = ["few", "NA", "", "", ""]
    write_tables(tmp_path, train, test)
    with pytest.raises(InputError, match=r"test\.xlsx row 3: Subset holds no value .found NA"):
        read_tables(tmp_path)


def test_codes_with_words_a_doubled_column_and_other_separators_are_one_line_each(tmp_path):
    train, test = table(GRADES, 1), table(GRADES, 6)
    coded = train.astype({"KLGrade": object}).assign(KLGrade=[f"{k}: {k}" for k in GRADES])
    write_tables(tmp_path, coded, test)
    with pytest.raises(
        InputError, match=r"row 2: KLGrade is a code and its words .found 0: 0.*num"
    ):
        read_tables(tmp_path)
    for kind in (".csv", ".xlsx"):
        folder = tmp_path / kind[1:]
        write_tables(folder, train.assign(more=1).rename(columns={"more": "KLGrade"}), test, kind)
        with pytest.raises(InputError, match=rf"train{kind}: column KLGrade is there twice; keep"):
            read_tables(folder)
    path = tmp_path / "csv/subInfo_train.csv"
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        train.to_csv(path, index=False, sep=sign)
        with pytest.raises(InputError, match=rf"train\.csv: .*separated by {name}; save it as CSV"):
            read_tables(tmp_path / "csv")
    padded = train.to_csv(index=False).replace("\n", ",,\n") + ",,,,,,,,,,\n"
    path.write_text(padded)
    assert read_tables(tmp_path / "csv")["kl"].tolist() == [*GRADES, *GRADES]
    path.write_text(train.to_csv(index=False)[:-12])  # cut off
    with pytest.raises(InputError, match=r"row 6 has \d cells under 9 columns"):
        read_tables(tmp_path / "csv")


def test_an_id_may_come_once(tmp_path):
    train, test = table(GRADES, 1), table(GRADES, 6)
    train.loc[3, "CMT-ID"] = 2
    write_tables(tmp_path, train, test)
    with pytest.raises(InputError, match=r"train\.xlsx row 5: CMT-ID appears twice \(2, .* row 3"):
        read_tables(tmp_path)
    write_tables(tmp_path, table(GRADES, 1), table(GRADES, 5))
    with pytest.raises(InputError, match=r"test\.xlsx row 2: .*both splits \(5, .*train\.xlsx row"):
        read_tables(tmp_path)


def test_a_missing_column_is_named_with_those_there(tmp_path):
    write_tables(tmp_path, table(GRADES, 1).rename(columns={"KLGrade": "KL"}), table(GRADES, 6))
    with pytest.raises(InputError, match=r"train\.xlsx: column KLGrade .*Side, KL, Gender.*row 1"):
        read_tables(tmp_path)


def test_folders_without_a_cohort_say_how_to_get_one(tmp_path):
    for folder, what in ((tmp_path, "holds no cohort"), (tmp_path / "none", "no such folder")):
        with pytest.raises(InputError, match=what) as caught:
            read_cohort(folder)
        message = str(caught.value)
        assert message.startswith(f"{folder}: ") and "subInfo_train" in message
        assert "`oacore fetch oaizib-cm`" in message and "`oacore phantom`" in message


def test_a_missing_unreadable_or_second_table_is_named(tmp_path):
    write_tables(tmp_path, table(GRADES, 1), table(GRADES, 6))
    whole = (tmp_path / "subInfo_test.xlsx").read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"no spreadsheet"):
        (tmp_path / "subInfo_test.xlsx").write_bytes(broken)
        with pytest.raises(InputError, match=r"subInfo_test\.xlsx: cannot be read .*again"):
            read_tables(tmp_path)
    (tmp_path / "subInfo_test.xlsx").unlink()
    with pytest.raises(InputError, match=r"subInfo_test\.xlsx \(or \.csv\) is missing.*oacore"):
        read_tables(tmp_path)
    (tmp_path / "subInfo_test.csv").write_text("")
    with pytest.raises(InputError, match=r"subInfo_test\.csv: cannot be read"):
        read_tables(tmp_path)
    shutil.copy(tmp_path / "subInfo_train.xlsx", tmp_path / "subInfo_test.xlsx")
    with pytest.raises(InputError, match=r"subInfo_test\.csv: a second table .*remove one"):
        read_tables(tmp_path)


def test_one_message_says_how_many_more_there_are(tmp_path):
    write_tables(tmp_path, table((7, 8, 9), 1), table(GRADES, 6))
    with pytest.raises(InputError, match=re.escape(f"(2 more: see `oacore check {tmp_path}`)")):
        read_tables(tmp_path)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ((0, 1, 2, 4), GRADES, "subInfo_train: no train case of KL 3 "),
        ((), GRADES, "subInfo_train: no graded train case"),
        (GRADES, (), "subInfo_test: no graded test case"),
        (GRADES, (np.nan,), "subInfo_test: no graded test case"),
        ((2,), (), "subInfo_train: no train case of KL 0, 1, 3, 4 .*whole cohort: 1"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(tmp_path, train, test, message):
    write_tables(tmp_path, table(train, 1), table(test, 11))
    cases = read_tables(tmp_path)
    with pytest.raises(InputError, match=f"^{message}.*add such cases"):
        require_trainable(cases)
    with pytest.raises(InputError):
        require_trainable(graded(cases))


def test_a_grade_may_lack_in_the_test_split(tmp_path):
    write_tables(tmp_path, table(GRADES, 1), table((0, 4), 6))
    require_trainable(read_tables(tmp_path))


def test_a_phantom_is_known_by_its_tables(tmp_path):
    with pytest.raises(InputError, match="holds no cohort"):
        is_phantom(tmp_path)
    row = {"CMT-ID": 1, "KneeSide": 1, "KLGrade": 0, "Gender": 1, "Age": 60, "BMI": 25}
    for code, expected in (("01661202104", False), ("synthetic", True)):
        for case, split in enumerate(("train", "test"), start=1):
            table = pd.DataFrame([{**row, "CMT-ID": case, "MRBarCode": code}])
            table.to_csv(tmp_path / f"subInfo_{split}.csv", index=False)
        (tmp_path / "truth.csv").touch()  # a file of that name proves nothing
        assert is_phantom(tmp_path) is expected


def test_tables_without_a_row_are_no_cohort_of_either_kind(tmp_path):
    columns = ["CMT-ID", "KneeSide", "KLGrade", "Gender", "Age", "BMI"]
    for split in ("train", "test"):
        pd.DataFrame(columns=columns).to_csv(tmp_path / f"subInfo_{split}.csv", index=False)
    for ask in (is_phantom, drawn_among_real):
        with pytest.raises(InputError, match="no subject table holds a case; download"):
            ask(tmp_path)


def test_the_real_tables_give_the_papers_counts(tmp_path, shared):
    for split in ("train", "test"):
        name = f"subInfo_{split}.xlsx"
        shutil.copy(shared / "real/radiomics" / name, tmp_path / name)
    cases = read_tables(tmp_path)
    assert cases.groupby("split").size().to_dict() == {"train": 404, "test": 103}
    known = graded(cases)
    counts = known.groupby(["split", "kl"]).size()
    assert tuple(counts["train"]) == (82, 46, 86, 111, 58) == cohort.PAPER_KL["train"]
    assert tuple(counts["test"]) == (21, 12, 22, 28, 15) == cohort.PAPER_KL["test"]
    assert known.groupby("split")["oa"].sum().to_dict() == {"train": 255, "test": 65}
    ages = known.groupby("split")["age"].agg(["mean", "std"]).round(1)
    assert ages.loc["train"].tolist() == [61.8, 9.5] and ages.loc["test"].tolist() == [61.8, 8.6]
    assert set(cases["side"]) == {"right"} and cases["bmi"].isna().sum() == 1
