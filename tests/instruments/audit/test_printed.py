"""Printed figures: against the papers' text, and as intervals."""

import re
from fractions import Fraction

import numpy as np
import pytest

from oacore.errors import InputError
from oacore.instruments.audit.printed import (
    NAMES,
    Interval,
    carried_tables,
    loose,
    read_printed,
    rounded,
)
from oacore.instruments.audit.trial import RULES, write

FIRST = "paper_2605.00718_hierarchical_labels.txt"
SECOND = "paper_2112.09177_coherence_keypoint.txt"


@pytest.fixture(scope="module")
def tables():
    return {table.file.rpartition("/")[2].removesuffix(".csv"): table for table in carried_tables()}


@pytest.fixture(scope="module")
def first(shared):
    return (shared / "papers" / FIRST).read_text()


@pytest.fixture(scope="module")
def second(shared):
    return (shared / "papers" / SECOND).read_text()


def figures(table, row, *columns):
    cells = table.figures.loc[row]
    cells = cells[list(columns)] if columns else cells[[n for n in cells.index if n in NAMES]]
    return [cell for cell in cells if cell]


@pytest.mark.parametrize(
    ("name", "start", "rows"), [("table1", "Table 1:", 9), ("table2", "Table 2:", 9),
    ("table3", "Table 3:", 12)],
)  # fmt: skip
def test_tables_1_to_3_are_the_papers(tables, first, name, start, rows):
    text = first[first.index(start + " ") :]
    text = text[: text.index("\n\n")]
    lines = [
        line for line in text.split("\n") if re.search(r"(Single-..|Dual|Dual-..) -?0\.", line)
    ]
    assert len(lines) == len(tables[name].figures) == rows
    for line, row in zip(lines, tables[name].figures.index, strict=True):
        backbone, setting = row.split(" ")
        where = re.fullmatch(rf"(?:{backbone} )?{setting} (.*)", line)
        assert where and where[1].split(" ") == figures(tables[name], row)


@pytest.mark.parametrize(
    ("name", "start", "rows"), [("table4", "Table 4:", 9), ("table5", "Table 5:", 6)]
)
def test_tables_4_and_5_are_the_papers(tables, first, name, start, rows):
    text = first[first.index(start) :].partition("\n\n")[0]
    assert len(tables[name].figures) == rows
    for row in tables[name].figures.index:
        (line,) = re.findall(rf"{re.escape(row)} 3D MRI.*", text)
        # The text holds each figure twice, the second time as TeX.
        assert re.findall(r"(0\.\d{4})(?=\1|\\mathbf)", line) == figures(tables[name], row)
    quoted = tables[f"{name}_quoted"]
    lines = [line for line in text.split("\n") if re.search(r"\d±", line)]
    assert len(lines) == len(quoted.figures) == 5
    for line, row in zip(lines, quoted.figures.index, strict=True):
        assert row.removeprefix("Chen et al. ")[:5] in line
        assert re.findall(r"(\d\.\d\d)±", line) == figures(quoted, row)


def test_text_of_the_paper(tables, first):
    one_line = " ".join(first.split())
    for row in ("training set", "test set"):
        counts = figures(tables["section32"], row)
        assert re.search(
            rf"{row}, the.{{0,16}} distribution was {'/'.join(counts[:5])}\b", one_line
        )
        assert f"{counts[5]} " in one_line
        negative, positive = counts[6:]
        where = f"{negative} OA-negative and {positive} OA-positive cases in the {row}"
        assert where in one_line
    section = first[first.index("For ResNet3D, Dual did not") : first.index("4.2 Neural")]
    said = re.findall(r"Δ=(0\.\d{4})", section)
    deltas = tables["section41"].figures
    assert said == [c for row in deltas.index for c in figures(tables["section41"], row)]
    (rho,) = figures(tables["section42"], "ResNet3D Dual")
    assert f"=0.748\\rho(\\mathrm{{PC1}},\\mathrm{{KL}})={rho}" in first
    appendix = first[first.index("improves KL accuracy from") :]
    for column, (start, end) in {"kl_acc": (0, 1), "kl_f1": (2, 3)}.items():
        printed = re.findall(r"(0\.\d{4})\1", appendix)
        assert list(tables["appendix_c"].figures[column]) == [printed[start], printed[end]]


def test_tables_of_the_second_paper(tables, second):
    tokens = " ".join(second.split())
    # Tables 2 and S2 are printed by blocks of a measure, a line a row.
    for name, start, stop, measures in [
        ("coherence_table2", "Table 2. Summary", "also exploits", ("acc", "rmse", "kappa")),
        ("coherence_supplement2", "Table 2. Effect", "*Numbers are", ("acc", "rmse")),
    ]:
        text = tokens[tokens.index(start) :]
        text = text[text.index("Average") : text.index(stop)]
        for row in tables[name].figures.index:
            for measure in measures:
                columns = [n for n in tables[name].figures if n.endswith(measure)]
                printed = " ".join(figures(tables[name], row, *columns))
                assert f"{row} {printed} " in text, (name, row, measure)
    # S1 is printed by columns.
    text = tokens[: tokens.index("Table 2. Effect")]
    for column in (n for n in tables["coherence_supplement1"].figures if n in NAMES):
        assert " ".join(tables["coherence_supplement1"].figures[column]) in text, column
    ablation = tables["coherence_table3"].figures
    assert " ".join(ablation["kl_acc"]) in tokens  # that column is printed before the others
    rest = ablation[["kl_rmse", "oarsi_acc", "oarsi_rmse"]].to_numpy().ravel()
    assert " ".join(rest) in tokens
    text = tokens[tokens.index("Table 4. Performances") :]
    for share in ("20%", "40%", "100%"):
        pairs = [(m, c) for c in ("kl", "oarsi") for m in ("ResNet-50", "Proposed")]
        printed = [
            cell
            for method, part in pairs
            for cell in figures(
                tables["coherence_table4"], f"{method} {share}", f"{part}_acc", f"{part}_rmse"
            )
        ]
        assert f"{share} {' '.join(printed)}" in text
    grades = tables["coherence_table1"].figures
    text = tokens[tokens.index("Table 1. Distribution") :]
    assert " ".join(grades.loc["KL", "grade_0":"grade_4"]) in text
    for part in ("FO", "TO", "JSN"):
        sides = grades.loc[[f"{part} L", f"{part} M"], "grade_0":"grade_3"].to_numpy()
        assert " ".join(sides.T.ravel()) in text
    assert "23,249 labeled knee X-ray images" in tokens


def test_text_of_the_second_paper(tables, second):
    tokens, cells = " ".join(second.split()), tables["coherence_section3"].figures
    assert "a KL grade accuracy of 70.8%" in tokens and cells.kl_acc.iloc[0] == "0.708"
    assert "average OARSI grade accuracy of 75.3%" in tokens and cells.oarsi_acc.iloc[0] == "0.753"
    assert "measuring an accuracy of 72.7%" in tokens and cells.kl_acc.iloc[1] == "0.727"
    neither, kpn, cl = cells.iloc[2], cells.iloc[3], cells.iloc[4]
    for printed in (
        f"KL grade accuracy (i.e. from {neither.kl_acc} to {kpn.kl_acc})",
        f"average OARSI grade accuracy (i.e. from {neither.oarsi_acc} to {kpn.oarsi_acc})",
        f"accuracy from {neither.kl_acc} to {cl.kl_acc}",
        f"RMSE from {neither.kl_rmse} to {cl.kl_rmse}",
    ):
        assert printed in tokens


def test_every_table_is_carried(tables):
    names = {table.name for table in tables.values()}
    assert names >= {f"Table {k}" for k in range(1, 6)} | {"section 3.2", "section 4.1"}
    assert names >= {f"2112.09177 Table {k}" for k in range(1, 5)}
    assert names >= {f"2112.09177 supplement Table {k}" for k in (1, 2)}
    papers = ("arXiv:2605.00718", "arXiv:2112.09177")
    assert all(table.source.startswith(papers) for table in tables.values())
    assert tables["table1"].knees == (21, 12, 22, 28, 15)
    assert tables["table1"].figures.loc["nnMamba Dual", "oa_f1"] == "0.8000"


@pytest.mark.parametrize(
    ("printed", "low", "high"),
    [
        ("0.7959", "0.79585", "0.79595"),
        ("0.8000", "0.79995", "0.80005"),
        ("0.80", "0.795", "0.805"),
        ("-0.802", "-0.8025", "-0.8015"),
        ("1", "0.5", "1.5"),
        (".5", ".45", ".55"),
    ],
)
def test_a_printed_figure_is_an_interval(printed, low, high):
    assert rounded(printed) == Interval(Fraction(low), Fraction(high))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("places", [0, 1, 3])
def test_a_printed_figure_is_loosely_what_any_rule_makes_of_it(rule, places):
    values = np.random.default_rng(0).uniform(-3, 3, 2000)
    for value, printed in zip(values, write(values, places, rule), strict=True):
        stands_for = loose(printed)
        assert stands_for.low - Fraction(1, 10**9) <= Fraction(float(value))
        assert Fraction(float(value)) <= stands_for.high + Fraction(1, 10**9)
    assert loose("0.7959") == Interval(Fraction("0.7959") - Fraction(5, 90000), Fraction("0.7960"))


def test_intervals_calculate():
    a, b = Interval(Fraction(1), Fraction(2)), Interval(Fraction(-3), Fraction(1))
    assert a + b == Interval(Fraction(-2), Fraction(3))
    assert a - b == Interval(Fraction(0), Fraction(5))
    assert b.magnitude() == Interval(Fraction(0), Fraction(3))
    assert Interval(Fraction(-2), Fraction(-1)).magnitude() == a
    assert a.scaled(Fraction(1, 2)) == Interval(Fraction(1, 2), Fraction(1))
    assert a.gap(b) == 0 and a.gap(Interval(Fraction(3), Fraction(4))) == 1
    assert a.gap(Interval(Fraction(0), Fraction(5))) == -1


GOOD = "# table: T\n# source: mine\n# knees: 33 65\n# a comment\nrow,oa_acc,oa_f1\na,0.50,0.5\n"


def test_a_table_of_ones_own(tmp_path):
    (tmp_path / "mine.csv").write_text(GOOD)
    table = read_printed(tmp_path / "mine.csv")
    assert (table.name, table.source, table.knees, table.share) == ("T", "mine", (33, 65), ())
    assert table.figures.loc["a", "oa_acc"] == "0.50"
    (tmp_path / "mine.csv").write_text(GOOD.replace("33 65", "unknown"), encoding="utf-8-sig")
    assert read_printed(tmp_path / "mine.csv").knees is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("oa_f1", "oa_g1", "column 'oa_g1' is unknown.*oa_auc, oa_acc"),
        ("oa_f1", "oa_acc", "column 'oa_acc' is unknown or stands there twice"),
        ("0.50", "fifty", "row 'a': oa_acc is 'fifty': write a decimal"),
        ("0.50", "50%", "row 'a': oa_acc is '50%'.*percentage as a share"),
        ("0.50", "1e-1", "row 'a': oa_acc is '1e-1'"),
        ("0.50", "nan", "row 'a': oa_acc is 'nan'"),
        ("a,0.50,0.5", "a,0.50", r"row 1 \('a'\): it has 2 fields under 3"),
        ("a,0.50,0.5", "a,0.50,0.5\na,0.6,0.6", "two rows are called 'a'"),
        ("a,0.50,0.5\n", "", "at least one row"),
        ("row,", "model,", "the first of them 'row'"),
        ("# table: T\n", "", "lacks the line '# table"),
        ("# source: mine\n", "", "lacks the line '# source"),
        ("knees", "knee", "'# knee: 33 65' is unknown"),
        ("33 65", "33 65 2", "knees '33 65 2' are not whole"),
        ("33 65", "33 6.5", "knees '33 6.5' are not whole"),
        ("33 65", "0 65", "knees '0 65' are not whole"),
        ("33 65", "33 ²", "knees '33 ²' are not whole"),
        ("# knees: 33 65", "# share: 1.2", "share '1.2' is no part"),
        ("0.50", "79.59", "row 'a': oa_acc is '79.59': beyond 1: .*percentage.*0.7959"),
        ("0.50", "1.2", "row 'a': oa_acc is '1.2': beyond 1: correct it"),
        ("# knees", "# values: mean\n# knees", "values 'mean': write '# values: one run'"),
        ("oa_acc,oa_f1", "oa_acc,oa_acc_test", "oa_acc_test is '0.5': write significant or"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, old, new, message):
    assert old in GOOD
    path = tmp_path / "mine.csv"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(InputError, match=message) as error:
        read_printed(path)
    assert "mine.csv" in str(error.value)


SAVED = (
    '"# table: T, of mine",,,\n# source: mine,,,\n# knees: 33 65,,,\n,,,\nrow,oa_acc,oa_f1,\n'
    '"a, b",0.50,0.5,\n,,,\n'
)


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_that_a_spreadsheet_has_saved(tmp_path, bom, end):
    path = tmp_path / "mine.csv"
    path.write_bytes((bom + SAVED.replace("\n", end)).encode())
    table = read_printed(path)
    assert (table.name, table.source, table.knees) == ("T, of mine", "mine", (33, 65))
    assert table.figures.loc["a, b"].to_dict() == {"oa_acc": "0.50", "oa_f1": "0.5"}


@pytest.mark.parametrize("minus", ["-", "\u2212", "\u2013", "\u2010", "\uff0d"])
def test_a_minus_of_any_shape_is_a_minus(tmp_path, minus):
    path = tmp_path / "mine.csv"
    path.write_text(GOOD.replace("oa_f1", "rho_oa").replace("0.5\n", f"{minus}0.802\n"))
    assert read_printed(path).figures.loc["a", "rho_oa"] == "-0.802"


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_separators_are_one_clear_line(tmp_path, sign, name):
    path = tmp_path / "mine.csv"
    path.write_text(GOOD.replace(",", sign))
    with pytest.raises(InputError, match=f"mine.csv: its cells are separated by {name}; save it"):
        read_printed(path)


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.csv is not a readable"):
        read_printed(tmp_path / "nowhere.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="b.csv is not a readable"):
        read_printed(tmp_path / "b.csv")
