"""Tables of others, from .csv and .xlsx: every cell as the text that stands there.

pandas takes what a spreadsheet shows for an error (#N/A, #REF!), and words such as NA, null or
None, for a cell that was left empty; it pads rows that were cut off and renames a column that comes
twice. Here a cell is empty if nothing stands in it, and everything else is read or refused.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd

from oacore.errors import InputError, unread

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
#: What texts and word processors put in place of "-": the minus, hyphens, dashes, wide forms.
_MINUS = re.compile("[\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d](?=[0-9.])")
#: Stand in a cell and are not seen.
_UNSEEN = re.compile("[\u200b\u200e\u200f\u2060\ufeff]")
#: An error of a spreadsheet: #N/A, #REF!, #VALUE!, #DIV/0!, #NAME?, #NULL!, #NUM!, ##### ...
_ERROR = re.compile(r"#[A-Z0-9_/]*[!?]?|#{2,}", re.IGNORECASE)
#: Words that programs write for no value.
_NO_VALUE = {"na", "n/a", "nan", "<na>", "null", "nil", "none", "nat", "missing", "-", "--", "."}
#: Of a file that may be a good one, and that the system does not let us read.
CLOSED = "cannot be opened"
_COMMAS = "save it as CSV with commas between the cells and points in the decimals"


class TableError(InputError):
    """A table that cannot be read, or lacks what is needed; its parts are for longer reports.

    Parameters
    ----------
    path : path-like
    what, detail, cure : str
        What is wrong, an example (or ""), and what to do about it.
    """

    def __init__(self, path: str | Path, what: str, detail: str, cure: str) -> None:
        super().__init__(f"{path}: {what}{f' ({detail})' if detail else ''}; {cure}")
        self.what, self.detail, self.cure = what, detail, cure


def read_cells(
    path: str | Path, needed: Iterable[str], optional: Iterable[str] = ()
) -> pd.DataFrame:
    """Read columns of a table as text.

    Parameters
    ----------
    path : path-like
        Ends in .xlsx (its first sheet is read) or is a CSV file, in UTF-8 with commas.
    needed, optional : iterable of str
        Names of columns, as they stand in row 1, the header.

    Returns
    -------
    DataFrame of str
        Those columns of them that are there. The index has each row's number as a spreadsheet
        counts, the header being row 1; rows without any cell are left out. A cell in which nothing
        stands is "". Blanks around a cell are gone; whole numbers of a spreadsheet have no point.

    Raises
    ------
    TableError
        If the file is none of the two, has other separators, a row has more or fewer cells than
        the header, or a column of these is missing or there twice.
    """
    path, needed = Path(path), list(needed)
    rows = list(_sheet(path) if path.suffix.lower() == ".xlsx" else _lines(path))
    header = rows[0] if rows else []
    if not any(header):
        raise TableError(path, "cannot be read", "row 1 is empty", "name the columns in row 1")
    _require_columns(path, header, needed, [*needed, *optional])
    width = max(place for place, name in enumerate(header) if name) + 1
    kept = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        if len(row) < width or any(row[len(header) :]):
            what = f"row {number} has {len(row)} cells under {width} columns"
            raise TableError(path, what, "", "write every cell, empty ones too")
        kept[number] = row
    places = {name: header.index(name) for name in [*needed, *optional] if name in header}
    return pd.DataFrame(
        {name: [row[place] for row in kept.values()] for name, place in places.items()},
        index=list(kept),
        dtype=object,
    )


def read_commented(path: str | Path) -> tuple[list[str], list[list[str]]]:
    """Read a CSV file with comments, as a hand or a spreadsheet leaves it.

    Parameters
    ----------
    path : path-like
        In UTF-8 with commas. Lines at its head that begin with # are comments; a spreadsheet that
        has saved the file has put them in quotes and commas behind them. Below the head, a row may
        be called #1.

    Returns
    -------
    comments : list of str
    rows : list of list of str
        Of the other lines that are not blank, without blank columns: where a header has no name
        and no row a cell.

    Raises
    ------
    InputError
        If the file cannot be read, a cell's quotes do not end, or it has other separators.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        if said := unread(error, str(path)):
            raise InputError(said) from error
        cure = "name a CSV file, saved in UTF-8"
        raise InputError(f"{path} is not a readable text file ({error}); {cure}") from error
    # A cell in quotes may go on in the next line.
    parsed = [row for row in _parsed(path, lines) if ",".join(row).strip(" ,")]
    head = [*takewhile(lambda row: seen(row[0]).startswith("#"), parsed)]
    comments = [seen(",".join(row).rstrip(", ")) for row in head]
    rows = parsed[len(head) :]
    for row in rows:
        if seen(row[0]).startswith("# "):
            raise InputError(
                f"{path}: {','.join(row)!r} stands below the names of the columns and begins as a "
                "comment does; move it above them, or write the row without the sign and its space"
            )
    if rows:
        _require_columns(path, [seen(cell) for cell in rows[0]], [], [])
    rows = [[seen(cell) for cell in row] for row in rows]
    width = max((len(row) for row in rows), default=0)
    blank = [not any(row[place] for row in rows if len(row) > place) for place in range(width)]
    return comments, [
        [cell for cell, drop in zip(row, blank, strict=False) if not drop]
        if any(blank) and row
        else row
        for row in rows
    ]


def numbers(cells: pd.Series) -> pd.Series:
    """Cells as floats; NaN where a cell is empty or anything but one finite decimal number.

    A typographic minus is a minus. Words (NA, inf), commas, units and percent signs are no part of
    a number.
    """
    return pd.Series([_number(cell) for cell in cells], index=cells.index, dtype=float)


def plain_minus(text: str) -> str:
    """Put "-" for each sign before a digit that only looks like it, such as U+2212."""
    return _MINUS.sub("-", text)


def is_no_value(cell: str) -> bool:
    """Whether a cell holds a spreadsheet's error or a word for nothing, rather than nothing."""
    return is_error(cell) or cell.casefold() in _NO_VALUE


def is_error(cell: str) -> bool:
    """Whether a cell holds a spreadsheet's error, such as #N/A."""
    return _ERROR.fullmatch(cell) is not None


def seen(text: str) -> str:
    """Text without what is not seen: blanks around it, marks of width and order in it."""
    return _UNSEEN.sub("", text).strip()


def _number(cell: str) -> float:
    cell = plain_minus(cell)
    value = float(cell) if _NUMBER.fullmatch(cell) else math.nan
    return value if math.isfinite(value) else math.nan


def _require_columns(path: Path, header: list[str], needed: list[str], known: list[str]) -> None:
    if len([name for name in header if name]) == 1 and (found := re.search(r"[;\t|]", header[0])):
        sign = {";": "semicolons", "\t": "tabs", "|": "bars"}[found[0]]
        raise TableError(path, f"its cells are separated by {sign}", "", _COMMAS)
    spelt = [name.casefold() for name in header]
    if twice := [name for name in known if spelt.count(name.casefold()) > 1]:
        what = f"column {', '.join(twice)} is there twice"
        raise TableError(path, what, "", "keep one of the two, or rename the other in row 1")
    if missing := [name for name in needed if name not in header]:
        what, there = f"column {', '.join(missing)} is missing", f"it has {', '.join(header)}"
        raise TableError(path, what, there, "name it in row 1, the header")


def _lines(path: Path) -> Iterator[list[str]]:
    """Rows of a CSV file."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        why = f"{type(error).__name__}: {error}"
        raise TableError(path, "cannot be read", why, "save it as CSV in UTF-8") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    rows = _parsed(path, io.StringIO(text, newline=""))
    yield from ([seen(cell) for cell in row] for row in rows)


def _parsed(path: Path, lines: Iterable[str]) -> Iterator[list[str]]:
    """Rows of a CSV file's lines; one that cannot be read is named by the line it begins in."""
    reader = csv.reader(lines, strict=True)
    begins = 1
    try:
        for row in reader:
            yield row
            begins = reader.line_num + 1
    except csv.Error as error:
        to = f" to {reader.line_num}" if reader.line_num > begins else ""
        why, cure = f"line {begins}{to}: {error}", "close the quotes there, or save it again"
        raise TableError(path, "cannot be read", why, cure) from error


def _unreadable(path: Path, error: Exception) -> TableError:
    """What to raise where a file is damaged, or the system does not let it be read."""
    if said := unread(error, str(path)):
        detail, cure = said.removeprefix(f"{path}: ").split("; ", 1)
        return TableError(path, CLOSED, detail, cure)
    why = f"{type(error).__name__}: {error}".splitlines()[0]
    return TableError(path, "cannot be read", why, "save or fetch it again")


def _sheet(path: Path) -> Iterator[list[str]]:
    """Rows of the first sheet of a spreadsheet."""
    import openpyxl

    try:
        shown = openpyxl.load_workbook(path, data_only=True).worksheets[0]
        typed = openpyxl.load_workbook(path).worksheets[0]
        rows = [[_text(cell.value) for cell in row] for row in shown.iter_rows()]
    except Exception as error:  # whatever a parser makes of a damaged archive
        raise _unreadable(path, error) from error
    # A value that is shown in a cell must not be lost for the cell's seeming empty.
    for row in typed.iter_rows():
        for cell in row:
            if cell.data_type == "f" and not rows[cell.row - 1][cell.column - 1]:
                rows[cell.row - 1][cell.column - 1] = "a formula without a value"
    for area in typed.merged_cells.ranges:
        for at_row, at_column in area.cells:
            if not rows[at_row - 1][at_column - 1]:
                rows[at_row - 1][at_column - 1] = f"merged cells {area.coord}"
    yield from rows


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return seen(str(value))
