"""Printed tables as small files, and what a printed figure stands for.

A printed table is a CSV file whose head says what the checks of :mod:`.audit.findings` need::

    # table: Table 1
    # source: arXiv:2605.00718, Table 1
    # knees: 21 12 22 28 15
    # values: one run
    row,oa_auc,oa_acc,oa_f1
    ResNet3D Single-OA,0.8807,0.7959,0.8507

`knees` are the test knees of KL grade 0 to 4, or the OA-negative and OA-positive ones, or the word
unknown, which leaves the checks that count knees out. `values` says what the figures are: `one
run`, each computed once, exactly, and on just these knees (no AUC from a few thresholds, say), or
`means` over folds, runs or resamples, all figures of a row with the same weights. Where the line is
missing they may be anything, medians too, and next to nothing contradicts them. `share` is the part
of the volume that a region fills, one or several figures. Other lines of the head that
begin with # are comments. A figure stands in the file with the very digits that are printed, since
0.80 says less than 0.8000; an empty field is a figure that is not printed. A typographic minus is a
minus, and what a spreadsheet adds (commas behind a head line, quotes round it) is no part of it.

No figure of a table is a number before it is an interval: what is printed as 0.7959 can be anything
from 0.79585 to 0.79595. The arithmetic is exact (``fractions.Fraction``), so that no check depends
on how a computer stores decimals.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import pandas as pd

from oacore.errors import InputError
from oacore.tables import plain_minus, read_commented

# The tables that come with the package: the paper's, then those of arXiv:2112.09177.
CARRIED = (
    "section32.csv",
    "table1.csv",
    "section41.csv",
    "table2.csv",
    "section42.csv",
    "table3.csv",
    "table4.csv",
    "table4_quoted.csv",
    "table5.csv",
    "table5_quoted.csv",
    "appendix_c.csv",
    "coherence_table1.csv",
    "coherence_table2.csv",
    "coherence_table3.csv",
    "coherence_table4.csv",
    "coherence_section3.csv",
    "coherence_supplement1.csv",
    "coherence_supplement2.csv",
)

OARSI = ("jsn_l", "jsn_m", "o_fl", "o_fm", "o_tl", "o_tm")
"""Joint space narrowing, lateral and medial; osteophytes of femur and tibia, both sides."""

NAMES = {
    "oa_auc": "OA AUC",
    "oa_acc": "OA accuracy",
    "oa_f1": "OA F1",
    "oa_macro_f1": "OA macro-F1",
    "kl_auc": "KL macro-AUC",
    "kl_acc": "KL accuracy",
    "kl_f1": "KL macro-F1",
    "evr_pc1": "variance ratio of PC1",
    "rho_kl": "rho(PC1,KL)",
    "rho_oa": "rho(PC1,OA)",
    "auroc_oa": "AUROC of OA on PC1",
    "rho_distances": "rho(k,d_adj)",
    "mass": "mass@ROI",
    "top1": "top1@ROI",
    "dice5": "Dice@5",
    "dice10": "Dice@10",
    **{f"grade_{grade}": f"grade {grade}" for grade in range(5)},
    "total": "total",
    "oa_negative": "OA-negative",
    "oa_positive": "OA-positive",
}
"""Columns of figures that the checks know, in words; more of them below."""

for _grade in ("kl", *OARSI, "oarsi"):  # "oarsi" is the average of the six
    _words = "OARSI average" if _grade == "oarsi" else _grade.replace("_", " ").upper()
    for _measure, _word in {"acc": "accuracy", "rmse": "RMSE", "kappa": "kappa"}.items():
        NAMES.setdefault(f"{_grade}_{_measure}", f"{_words} {_word}")
for _metric in ("oa_auc", "oa_acc", "oa_f1", "kl_auc", "kl_acc", "kl_f1"):
    NAMES[f"delta_{_metric}"] = f"difference of {NAMES[_metric]}"

#: Columns of words. same_as, of and minus name a row, "Table 1: ResNet3D Dual": one that prints
#: the same figures, or the two whose difference a `delta_` is. `oa_acc_test` is what the text says
#: of the difference in OA accuracy of those two.
WORDS = ("same_as", "of", "minus", "oa_acc_test")
TESTS = ("significant", "not significant")
VALUES = ("one run", "means")
#: Columns whose figures may pass 1: counts, and errors in grades. All others are shares of
#: something, or correlations.
_ABOVE_1 = ("grade_", "total", "oa_negative", "oa_positive")

_HEAD = re.compile(r"#\s*(\w+):\s*(.*)")
FIGURE = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)")


@dataclass(frozen=True)
class Interval:
    """All values from `low` to `high`, both included, as exact fractions."""

    low: Fraction
    high: Fraction

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Interval) -> Interval:
        return Interval(self.low - other.high, self.high - other.low)

    def scaled(self, factor: Fraction) -> Interval:
        """Multiply by a positive number."""
        return Interval(self.low * factor, self.high * factor)

    def magnitude(self) -> Interval:
        """Return all absolute values that the interval holds."""
        ends = sorted((abs(self.low), abs(self.high)))
        return Interval(Fraction(0) if self.low <= 0 <= self.high else ends[0], ends[1])

    def gap(self, other: Interval) -> Fraction:
        """Distance between two intervals: negative where they overlap, 0 where they touch."""
        return max(self.low, other.low) - min(self.high, other.high)


@dataclass(frozen=True)
class PrintedTable:
    """A printed table.

    Attributes
    ----------
    name : str
        As the paper calls it, "Table 1".
    source : str
        Where it was printed.
    file : str
        Of this copy, for messages.
    knees : tuple of int or None
        Test knees of grades 0 to 4, or OA-negative and OA-positive ones; empty if the head does
        not say, None if it says that they are unknown.
    share : tuple of str
        Of the volume that the region fills; empty if there is no region.
    values : {"one run", "means", ""}
        What the figures are; "" if the head does not say.
    figures : DataFrame of str
        Indexed by row, columns of `NAMES` and `WORDS`; "" for what is not printed.
    """

    name: str
    source: str
    file: str
    figures: pd.DataFrame = field(repr=False)
    knees: tuple[int, ...] | None = ()
    share: tuple[str, ...] = ()
    values: str = ""


def decimals(printed: str) -> int:
    """Decimals that a figure is printed with."""
    return len(printed.partition(".")[2])


@lru_cache(4096)
def rounded(printed: str, units: Fraction = Fraction(1, 2)) -> Interval:
    """Return what a printed figure stands for: half a unit of its last digit to either side.

    Both ends belong to it, since a tie may have been rounded up, down or to the even digit.

    Parameters
    ----------
    printed : str
        Such as "-0.800".
    units : Fraction
        Of the last digit, to either side.
    """
    reach = units / 10 ** decimals(printed)
    return Interval(Fraction(printed) - reach, Fraction(printed) + reach)


@lru_cache(4096)
def loose(printed: str) -> Interval:
    """Return what a printed figure can stand for by any usual rule.

    A figure that was cut off is up to a whole unit of its last digit too near to 0 (or, if it is
    negative, too low). One that was rounded twice, to more digits and then to fewer, is off by as
    much as 0.5 + 0.05 + 0.005 + ... = 5/9 of a unit.
    """
    unit, value = Fraction(1, 10 ** decimals(printed)), Fraction(printed)
    inwards = unit * Fraction(5, 9) if value > 0 else unit
    return Interval(value - inwards, value + unit)


def show(value: Fraction | float, places: int) -> str:
    """Write a number with some decimals."""
    return f"{float(value):.{places}f}"


def between(interval: Interval, places: int) -> str:
    """Write an interval with some decimals."""
    return f"{show(interval.low, places)} to {show(interval.high, places)}"


def read_printed(path: Path | str) -> PrintedTable:
    """Read a printed table.

    Parameters
    ----------
    path : path
        CSV file with a head, see above.

    Returns
    -------
    PrintedTable

    Raises
    ------
    InputError
        If the file cannot be read, or a line of its head, a column, a row or a figure is not as
        described above.
    """
    path = Path(path)
    comments, rows = read_commented(path)
    head = _read_head(path, comments)
    if len(rows) < 2 or rows[0][0] != "row":
        raise InputError(
            f"{path}: below the head there must be a line of column names, the first of them "
            "'row', and at least one row of figures"
        )
    names = rows[0]
    for name in names[1:]:
        if name not in NAMES and name not in WORDS or names.count(name) > 1:
            raise InputError(
                f"{path}: column {name!r} is unknown or stands there twice; known are "
                f"{', '.join((*NAMES, *WORDS))}"
            )
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(names) or not row[0]:
            raise InputError(
                f"{path}, row {number} ({row[0]!r}): it has {len(row)} fields under {len(names)} "
                "columns, or no name; write every field, empty ones too"
            )
    cells = [[row[0], *map(plain_minus, row[1:])] for row in rows[1:]]
    figures = pd.DataFrame(cells, columns=names, dtype=str).set_index("row")
    if figures.index.has_duplicates:
        twice = figures.index[figures.index.duplicated()][0]
        raise InputError(f"{path}: two rows are called {twice!r}; give each a name of its own")
    _check_figures(path, figures)
    return PrintedTable(file=str(path), figures=figures, **head)


def carried_tables() -> list[PrintedTable]:
    """Tables that come with the package, with what the two papers' text says of their figures.

    Returns
    -------
    list of PrintedTable
        Tables 1 to 5 of arXiv:2605.00718, with its sections 3.2, 4.1 and 4.2 and appendix C; Tables
        1 to 4 of arXiv:2112.09177, its section 3, and Tables 1 and 2 of its supplement.
    """
    folder = files("oacore.instruments.audit") / "printed"
    return [read_printed(str(folder / name)) for name in CARRIED]


def _read_head(path: Path, lines: list[str]) -> dict:
    """Table, source, knees and share from the lines that begin with #."""
    head: dict[str, str] = {}
    for line in lines:
        if not (match := _HEAD.fullmatch(line.strip())):
            continue
        key, value = match[1], match[2].strip()
        if key not in ("table", "source", "knees", "values", "share") or not value or key in head:
            raise InputError(
                f"{path}: {line!r} is unknown, empty or stands there twice; the head knows "
                "table, source, knees, values and share (a comment has no word with a colon in "
                "front)"
            )
        head[key] = value
    if missing := [key for key in ("table", "source") if key not in head]:
        raise InputError(f"{path} lacks the line '# {missing[0]}: ...' in its head: write it")
    known: dict = {"name": head["table"], "source": head["source"]}
    if head.get("knees") == "unknown":
        known["knees"] = None
    elif "knees" in head:
        words = head["knees"].split()
        if len(words) not in (2, 5) or not all(word.isdecimal() and int(word) for word in words):
            raise InputError(
                f"{path}: knees {head['knees']!r} are not whole numbers above 0; give five "
                "(KL grade 0 to 4), two (OA-negative, OA-positive), or the word unknown"
            )
        known["knees"] = tuple(int(word) for word in words)
    known["values"] = head.get("values", "")
    if known["values"] not in ("", *VALUES):
        raise InputError(
            f"{path}: values {head['values']!r}: write '# values: one run' for figures that were "
            "computed once on the knees of the head, '# values: means' for means over folds or "
            "runs, or leave the line out"
        )
    shares = tuple(head.get("share", "").split())
    for share in shares:
        if not FIGURE.fullmatch(share) or not 0 < Fraction(share) < 1:
            raise InputError(f"{path}: share {share!r} is no part of a volume, between 0 and 1")
    return known | {"share": shares}


#: What is said of a share or a correlation that is none.
BEYOND_1 = "beyond 1: correct it, or write a percentage as a share"


def _check_figures(path: Path, figures: pd.DataFrame) -> None:
    for column in figures:
        for row, cell in figures[column].items():
            if column in WORDS:
                good = column != "oa_acc_test" or cell in ("", *TESTS)
                cure = f"write {' or '.join(TESTS)}, or leave it empty"
            else:
                good = cell == "" or FIGURE.fullmatch(cell) is not None
                cure = "write a decimal number as printed, a percentage as a share, or leave it out"
                if good and cell and is_percentage(str(column), cell):
                    good = False
                    cure = f"{BEYOND_1}, 0.7959 for 79.59"
            if not good:
                raise InputError(f"{path}, row {row!r}: {column} is {cell!r}: {cure}")


def is_percentage(column: str, cell: str) -> bool:
    """Whether a figure that is a share or a correlation lies above 1, rounding apart."""
    counted = column.startswith(_ABOVE_1) or column.endswith("_rmse")
    return not counted and rounded(cell).magnitude().low > 1
