"""Tables of others: what stands in a cell is read or refused, never taken for nothing."""

import csv
import errno
import io
from decimal import Decimal, InvalidOperation
from pathlib import Path
from tempfile import TemporaryDirectory

import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oacore.data.cohort import read_tables
from oacore.errors import InputError
from oacore.instruments.published.predictions import read_predictions
from oacore.tables import TableError, is_no_value, numbers, read_cells, read_commented
from tests.helpers import GRADES, model, refuse, table, write_tables

FEW = settings(derandomize=True, deadline=None, max_examples=60)
#: What stands in a cell and is no number.
WORDS = [
    "#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#SPILL!", "#####",
    "NA", "nan", "NaN", "n/a", "N/A", "NULL", "null", "None", "<NA>", "-", "--", ".", "-nan",
    "1.#IND", "1.#QNAN", "inf", "-", "?", "2,0", "1_0", "0x2", "2 2", "TRUE", "=1+1",
]  # fmt: skip
#: Texts near to numbers.
TEXTS = st.one_of(
    st.sampled_from(WORDS),
    st.integers(-1, 6).map(str),
    st.floats(0, 5, allow_nan=False).map(repr),
    st.text("0123.,-+eE#NA/ \u2212;:%\"'", max_size=6),
)


def decimal(text):
    """The number that a text writes, by Python's decimals; None where it writes none."""
    try:
        value = Decimal(text.replace("\u2212", "-").strip())
    except InvalidOperation:
        return None
    return value if value.is_finite() and "_" not in text else None


@pytest.mark.parametrize("word", WORDS)
def test_no_word_is_a_number_or_an_empty_cell(tmp_path, word):
    assert numbers(pd.Series([word])).isna().all()
    for kind in (".csv", ".xlsx"):
        path = tmp_path / f"table{kind}"
        rows = pd.DataFrame({"a": ["1", "2"], "b": [word, "3"]})
        (rows.to_csv if kind == ".csv" else rows.to_excel)(path, index=False)
        cells = read_cells(path, ["a", "b"])["b"].tolist()
        if word == "=1+1" and kind == ".xlsx":  # saved by a program that computes nothing
            assert cells[0] == "a formula without a value"
        else:
            assert cells == [word, "3"]


def test_what_only_stands_for_a_lost_value():
    assert all(map(is_no_value, ["#N/A", "#REF!", "#DIV/0!", "#NAME?", "###", "NA", "NULL", "-"]))
    assert not any(map(is_no_value, ["", "few", "2", "-1", "#1 of them", "nano"]))


def test_numbers_as_people_write_them():
    cells = pd.Series(["2", " 2.50"[1:], "+3", "\u22121.5", "\u20132", ".5", "1e-3", "", "1e999"])
    expected = [2, 2.5, 3, -1.5, -2, 0.5, 0.001, None, None]
    assert numbers(cells).tolist() == pytest.approx(
        pd.Series(expected, dtype=float).tolist(), nan_ok=True
    )


@FEW
@given(TEXTS)
def test_a_number_is_what_decimals_say(text):
    expected, found = decimal(text), numbers(pd.Series([text.strip()]))[0]
    assert pd.isna(found) if expected is None else found == float(expected)


def test_a_spreadsheets_cells_that_only_seem_empty(tmp_path):
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (["a", "b", None], [1, "=A2+1", None], [2, 3.0, None], [4, None, None]):
        sheet.append(row)
    sheet.merge_cells("B3:B4")
    book.save(tmp_path / "t.xlsx")
    cells = read_cells(tmp_path / "t.xlsx", ["a", "b"])
    assert cells["a"].tolist() == ["1", "2", "4"] and cells.index.tolist() == [2, 3, 4]
    assert cells["b"].tolist() == ["a formula without a value", "3", "merged cells B3:B4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,b\n1,2,3\n", "column b is there twice; keep one"),
        ("a,b,B\n1,2,3\n", "column b is there twice"),
        ("a, b,b \n1,2,3\n", "column b is there twice"),
        ("a,c\n1,2\n", r"column b is missing \(it has a, c\)"),
        ("a;b\n1;2\n", "separated by semicolons; save it as CSV with commas"),
        ("a\tb\n1\t2\n", "separated by tabs"),
        ("a,b\n1,2\n3\n", "row 3 has 1 cells under 2 columns"),
        ("a,b\n1,2\n\n3,4,5\n", "row 4 has 3 cells under 2"),
        ('a,b\n"1,2\n3,4\n', "cannot be read .line 2 to 3: .*; close the quotes"),
        ("", "row 1 is empty"),
    ],
)
def test_a_table_of_another_form_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=f"t.csv: .*{message}") as error:
        read_cells(path, ["a", "b"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [".csv", ".xlsx"])
def test_a_table_that_may_not_be_read_is_no_damaged_one(tmp_path, monkeypatch, kind):
    write_tables(tmp_path, table(GRADES, 1), table(GRADES, 6), kind)
    path = tmp_path / f"subInfo_train{kind}"
    refuse(monkeypatch, path)
    with pytest.raises(InputError, match=rf"{path.name}: .*Permission denied\); give yourself"):
        read_tables(tmp_path)
    refuse(monkeypatch, path, errno.EMFILE)
    with pytest.raises(TableError, match=r"ulimit -n"):
        read_cells(path, ["KLGrade"])


def test_padding_and_marks_that_are_not_seen_are_no_cells(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\ufeffa,\u200bb ,,\n1,\u00a02,,\n,,,\n3,,,\n", encoding="utf-8")
    cells = read_cells(path, ["a", "b"])
    assert cells["b"].tolist() == ["2", ""] and cells.index.tolist() == [2, 4]
    path.write_bytes("a,b\n1,2\n".encode("utf-16"))
    with pytest.raises(TableError, match="save it as CSV in UTF-8"):
        read_cells(path, ["a", "b"])


def test_comments_as_a_spreadsheet_leaves_them(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('"# a: x, y",,,\n# b: z,,\n,,,\nrow,one,,\n"A, or B",1,,\n')
    assert read_commented(path) == (["# a: x, y", "# b: z"], [["row", "one"], ["A, or B", "1"]])


@FEW
@given(
    st.lists(st.lists(TEXTS.map(str.strip), min_size=2, max_size=2), min_size=1, max_size=5),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_tables_come_back_as_they_were_written(rows, quoting, end):
    buffer = io.StringIO()
    csv.writer(buffer, quoting=quoting, lineterminator=end).writerows([["a", "b"], *rows])
    with TemporaryDirectory() as folder:
        path = f"{folder}/t.csv"
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(buffer.getvalue())
        cells = read_cells(path, ["b"], ["a"])
    kept = [(number, row) for number, row in enumerate(rows, start=2) if any(row)]
    assert cells.index.tolist() == [number for number, _ in kept]
    assert cells[["a", "b"]].to_numpy().tolist() == [row for _, row in kept]


@FEW
@given(TEXTS, st.integers(0, 4), st.sampled_from(["KLGrade", "Age", "CMT-ID"]))
def test_any_cell_of_a_cohort_is_read_right_or_named(text, row, column):
    train = table(GRADES, 1).astype(object)
    train.loc[row, column] = text
    value = decimal(text)
    low, high, name = {"KLGrade": (0, 4, "kl"), "Age": (1, 120, "age"),
                       "CMT-ID": (1, 99999, "case_id")}[column]  # fmt: skip
    good = value is not None and low <= value <= high and (column == "Age" or value % 1 == 0)
    with TemporaryDirectory() as folder:
        write_tables(Path(folder), train, table(GRADES, 6), ".csv")
        try:
            cases = read_tables(folder)
        except InputError as error:
            taken = column == "CMT-ID" and good
            assert taken or not good and (text.strip() or column == "CMT-ID"), text
            assert f"row {row + 2}: {column}" in str(error) or taken, error
            return
    assert good or not text.strip() and column != "CMT-ID", text
    found = cases[name][row] if column != "CMT-ID" else value
    assert pd.isna(found) if not text.strip() else found == float(value)


@FEW
@given(TEXTS, st.integers(0, 19), st.sampled_from(["prob_oa", "kl", "prob_kl_2", "pred_oa"]))
def test_any_cell_of_predictions_is_read_right_or_named(text, row, column):
    rows = model(n=20).astype({column: object})
    rows.loc[row, column] = text
    with TemporaryDirectory() as folder:
        rows.to_csv(Path(folder) / "predictions.csv", index=False)
        try:
            found = read_predictions(folder)
        except InputError as error:
            assert f"predictions.csv, data row {row + 1}: " in str(error)
            assert decimal(text) is not None or column in str(error)
            return
    assert decimal(text) is not None and found[column][row] == float(decimal(text))


def test_a_cell_of_two_lines_stays_one(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('# table: 1\n"# columns, two",\nmodel,oa_acc\n"ResNet3D\n Dual",.8\n')
    comments, rows = read_commented(path)
    assert comments == ["# table: 1", "# columns, two"]
    assert rows == [["model", "oa_acc"], ["ResNet3D Dual", ".8"]]


def test_comments_end_where_the_table_begins(tmp_path):
    """Below, "#1" is the name of a row, as a spreadsheet or a hand may write it."""
    path = tmp_path / "t.csv"
    path.write_text('# a: x\n\n"# b: y",\nrow,one\n"#1, ours",.9\n#2,.8\nplain,.7\n')
    comments, rows = read_commented(path)
    assert comments == ["# a: x", "# b: y"]
    assert rows == [["row", "one"], ["#1, ours", ".9"], ["#2", ".8"], ["plain", ".7"]]
    path.write_text("row,one\nplain,.7\n# ours,.8\n")
    with pytest.raises(InputError, match=r"'# ours,.8' stands below the names .*; move it above"):
        read_commented(path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"# a: x\nrow,one\nplain,{'7' * 131_073}\n", "line 3"),
        ('# a: x\nrow,one\n"plain,.7\nother,.8\n', "line 3 to 4"),
        ('row,one\n"plain" or so,.7\n', "line 2"),
    ],
)
def test_a_cell_without_an_end_is_named_by_its_line(tmp_path, text, line):
    path = tmp_path / "t.csv"
    path.write_text(text)
    for read in (read_commented, lambda path: read_cells(path, ["one"])):
        with pytest.raises(InputError, match=rf"t.csv: cannot be read \({line}: .*; close the quo"):
            read(path)
