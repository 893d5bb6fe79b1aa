"""What a text says of the order of printed figures, against the figures: `claim-table`.

"The strongest", "higher than", "rises with": such words need no data to be checked, only the column
that they speak of. A file of statements is a CSV file with these columns; lines above them that
begin with # are comments::

    paper,section,says,table,columns,rows,relation,sign,measure,value,claim
    mine,section 4,A has the highest accuracy,Table 9,oa_acc,A; B,highest,signed,named,0.80,

`says` tells in one's own words what the text says. `columns` are columns of the table, with blanks
between them, of which each is a check of its own. `rows`, with semicolons between them, are those
that are compared, the one that is spoken of first; ``A - B`` is a difference of two rows.
`relation` is one of `RELATIONS`. `sign` is `signed`, or `absolute` where a sign is arbitrary, as
that of a principal component is. `measure` says whether the text names these columns: where it is
`not named`, a print that says the opposite leaves the statement undetermined. `value` is what the
text types, for as many of the rows, in their order, as it types one; `claim` the name of a claim,
in a list of a paper's claims, that the statement belongs to. Both may be empty.

The printed digits are read as :func:`.printed.loose` reads them: a statement is inconsistent only
if no values that could have been printed so have the order that it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from oacore.errors import InputError
from oacore.instruments.audit.printed import (
    BEYOND_1,
    FIGURE,
    NAMES,
    Interval,
    is_percentage,
    loose,
    rounded,
)
from oacore.instruments.audit.verdicts import (
    CONSISTENT,
    INCONSISTENT,
    UNDETERMINED,
    Finding,
    Read,
)
from oacore.tables import plain_minus, read_commented

COLUMNS = [
    "paper", "section", "says", "table", "columns", "rows", "relation", "sign", "measure", "value",
    "claim",
]  # fmt: skip

RELATIONS = ("highest", "lowest", "greater", "less", "rising", "falling")
"""Of the first row beside each of the others, or of the rows in their order."""

SIGNS = ("signed", "absolute")
MEASURES = ("named", "not named")


@dataclass(frozen=True)
class Statement:
    """One sentence on the order of figures.

    Attributes
    ----------
    paper, section : str
        Where it is said.
    says : str
        In our words.
    table : str
        Whose figures it speaks of.
    columns, rows : tuple of str
    relation : str
        One of `RELATIONS`.
    absolute : bool
        Figures are compared without their signs.
    named : bool
        The text names the columns.
    values : tuple of str
        As typed in the text, of the first rows.
    claim : str
    file : str
        File and line, for messages.
    """

    paper: str
    section: str
    says: str
    table: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    relation: str
    absolute: bool
    named: bool
    values: tuple[str, ...]
    claim: str
    file: str


def read_statements(path: Path | str) -> list[Statement]:
    """Read a file of statements.

    Parameters
    ----------
    path : path
        CSV file, see above.

    Raises
    ------
    InputError
        If the file cannot be read, or a line is not as described above.
    """
    path = Path(path)
    _, rows = read_commented(path)
    if not rows or rows[0] != COLUMNS:
        raise InputError(f"{path}: the first line must be {','.join(COLUMNS)}")
    return [_statement(f"{path}, statement {k}", row) for k, row in enumerate(rows[1:], start=1)]


def carried_statements() -> list[Statement]:
    """What the two papers say of the order of their figures, section by section."""
    return read_statements(str(files("oacore.instruments.audit") / "printed" / "statements.csv"))


def _statement(file: str, fields: list[str]) -> Statement:
    if len(fields) != len(COLUMNS):
        raise InputError(
            f"{file}: it has {len(fields)} fields, not {len(COLUMNS)}: write empty ones"
        )
    said = dict(zip(COLUMNS, (field.strip() for field in fields), strict=True))
    columns = tuple(said["columns"].split())
    rows, values = (
        tuple(part.strip() for part in said[name].split(";") if part.strip())
        for name in ("rows", "value")
    )
    known = {"relation": RELATIONS, "sign": SIGNS, "measure": MEASURES}
    for name, words in known.items():
        if said[name] not in words:
            raise InputError(f"{file}: {name} is {said[name]!r}; write {' or '.join(words)}")
    if unknown := [name for name in columns if name not in NAMES]:
        raise InputError(f"{file}: no column {unknown[0]!r}; known are {', '.join(NAMES)}")
    if not columns or len(rows) < 2 or len(set(rows)) < len(rows) or len(values) > len(rows):
        raise InputError(
            f"{file}: it needs a column, two or more different rows with ; between them, and no "
            "more values than rows"
        )
    values = tuple(map(plain_minus, values))
    for value in values:
        if any(is_percentage(name, value) for name in columns if FIGURE.fullmatch(value)):
            raise InputError(f"{file}: value is {value!r}: {BEYOND_1}")
        if not FIGURE.fullmatch(value):
            raise InputError(
                f"{file}: value is {value!r}: write a decimal number, a percentage as a share"
            )
    return Statement(
        said["paper"], said["section"], said["says"], said["table"], columns, rows,
        said["relation"], said["sign"] == "absolute", said["measure"] == "named", values,
        said["claim"], file,
    )  # fmt: skip


def judge(
    statement: Statement, places: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str, Finding]]:
    """Check a statement in each of its columns: `claim-table`.

    Parameters
    ----------
    statement : Statement
    places : mapping
        Printed figures of each row, by "table: row".

    Yields
    ------
    row, printed, finding
        The row that is spoken of, the figures, the outcome.
    """
    for column in statement.columns:
        cells = [_cells(statement, row, column, places) for row in statement.rows]
        words = [
            f"{row} {' - '.join(cell)}" for row, cell in zip(statement.rows, cells, strict=True)
        ]
        finding = _finding(statement, column, cells)
        yield statement.rows[0], f"{NAMES[column]}: {'; '.join(words)}", finding


def _finding(statement: Statement, column: str, cells: list[list[str]]) -> Finding:
    said = f"the text ({statement.section}) says: {statement.says}"
    for value, cell, row in zip(statement.values, cells, statement.rows, strict=False):
        typed, printed = (_figure(one, statement.absolute, loose) for one in ([value], cell))
        if typed.gap(printed) > 0:
            implied = f"{said}; it types {value} for {row}, the table prints {' - '.join(cell)}"
            if len(cell) == 2:  # as in the check `difference`
                return Finding(f"{implied}: a bootstrap mean can be", UNDETERMINED)
            return Finding(implied, INCONSISTENT)
    close: list[str] = []
    wrong: list[str] = []
    for more, less in _pairs(statement):
        pair = cells[more], cells[less]
        high, low = (_figure(cell, statement.absolute, rounded) for cell in pair)
        if low.low < high.high or low == high:
            continue
        high, low = (_figure(cell, statement.absolute, loose) for cell in pair)
        possible = low.low <= high.high
        (close if possible else wrong).append(
            f"{_shown(statement, less, cells)} is "
            f"{'close to' if possible else 'more than'} {_shown(statement, more, cells)}"
        )
    if wrong:
        implied = f"{said}; but {', '.join(wrong)}"
        if statement.named:
            return Finding(f"{implied}, as printed", INCONSISTENT)
        return Finding(
            f"{implied}, if {NAMES[column]} is meant, which the text does not say", UNDETERMINED
        )
    if close:
        return Finding(f"{said}; {', '.join(close)}: rounding decides", UNDETERMINED)
    return Finding(f"{said}; so it is printed", CONSISTENT)


def _pairs(statement: Statement) -> list[tuple[int, int]]:
    """Places of the rows of which the first must have more than the second."""
    places = range(len(statement.rows))
    return {
        "highest": [(0, other) for other in places[1:]],
        "greater": [(0, other) for other in places[1:]],
        "lowest": [(other, 0) for other in places[1:]],
        "less": [(other, 0) for other in places[1:]],
        "rising": [(after, before) for before, after in pairwise(places)],
        "falling": list(pairwise(places)),
    }[statement.relation]


def _figure(cell: list[str], absolute: bool, read: Read) -> Interval:
    """Values of a figure, or of the difference of two."""
    values = read(cell[0])
    if len(cell) == 2:
        values = values - read(cell[1])
    return values.magnitude() if absolute else values


def _shown(statement: Statement, place: int, cells: list[list[str]]) -> str:
    figure = " - ".join(cells[place])
    return f"{statement.rows[place]} ({f'|{figure}|' if statement.absolute else figure})"


def _cells(
    statement: Statement, row: str, column: str, places: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Printed figure of a row, or the two whose difference is compared."""
    whole = f"{statement.table}: {row}" in places
    names = [row] if whole else re.split(" [-\u2212\u2013] ", row)
    found = [places.get(f"{statement.table}: {name}", {}).get(column, "") for name in names]
    if len(found) > 2 or not all(found):
        raise InputError(
            f"{statement.file}: {statement.table} has no row {row!r} with a figure under {column}; "
            "name a row, or two as 'A - B', of a table that is read as well"
        )
    return found
