"""The audit: which check reads which figures of a printed table, and all of them at once.

No check needs data beyond the print. Each is a function with its derivation, in
:mod:`.audit.counts`, :mod:`.audit.ranks`, :mod:`.audit.overlap`, :mod:`.audit.sums` and
:mod:`oacore.instruments.audit.statements`. The verdicts:

- consistent: there are values that round to the printed figures and fit together;
- inconsistent: there are none, by any usual rule of rounding;
- undetermined: the check cannot tell at the printed precision, or for the reason it gives, or
  nothing is printed to compare with.

Most checks hold for figures that were computed once, some for means over folds or runs as well
(`NEEDS`). A table says in its head which it has; where it does not say, what would be a
contradiction is undetermined.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import pandas as pd

from oacore.errors import InputError
from oacore.instruments.audit.counts import (
    accuracy_count,
    auc_count,
    confusion,
    macro_auc_count,
    mcnemar_range,
    two_by_two,
)
from oacore.instruments.audit.overlap import TOP, dice_ceiling, overlap_nested, topk_ceiling
from oacore.instruments.audit.printed import (
    NAMES,
    OARSI,
    VALUES,
    PrintedTable,
    carried_tables,
    loose,
    read_printed,
)
from oacore.instruments.audit.ranks import distance_rho, rho_auroc, rho_joint
from oacore.instruments.audit.statements import (
    Statement,
    carried_statements,
    judge,
    read_statements,
)
from oacore.instruments.audit.sums import (
    average,
    difference,
    grade_sum,
    macro_f1_bound,
    repeated_figure,
    rmse_accuracy,
    some_weights,
)
from oacore.instruments.audit.verdicts import (
    CONSISTENT,
    INCONSISTENT,
    OUTSIDE,
    UNDETERMINED,
    Finding,
)

__all__ = [
    "COLUMNS", "audit", "carried_statements", "carried_tables", "read_printed", "read_statements",
]  # fmt: skip

COLUMNS = ["table", "row", "check", "printed", "implied", "verdict", "claim"]

ONE_RUN, MEANS = VALUES
NEEDS = {
    **dict.fromkeys(
        ("accuracy-count", "auc-count", "confusion", "mcnemar-range", "rho-auroc", "rho-joint",
         "distance-rho"),
        (ONE_RUN,),
    ),
    **dict.fromkeys(
        ("average", "macro-f1-bound", "rmse-accuracy", "dice-ceiling", "topk-ceiling",
         "overlap-nested"),
        (ONE_RUN, MEANS),
    ),
}  # fmt: skip
"""What the figures of a table must be for a check to contradict them."""

AVERAGES = {
    measure: ([f"{part}_{measure}" for part in OARSI], f"oarsi_{measure}")
    for measure in ("acc", "rmse", "kappa")
}
"""Columns of parts, and of their average."""

Cells = Mapping[str, str]
Rows = Sequence[tuple[str, Cells]]
Places = Mapping[str, Cells]  # rows of all tables, by "table: row"


def audit(tables: Iterable[PrintedTable], statements: Iterable[Statement] = ()) -> pd.DataFrame:
    """Run every check whose figures are printed.

    Parameters
    ----------
    tables : iterable of PrintedTable
        From :func:`.printed.carried_tables` or :func:`.printed.read_printed`; a row that another
        one names must be among them.
    statements : iterable of Statement
        From :func:`.statements.carried_statements` or :func:`.statements.read_statements`: what a
        text says of the order of these figures.

    Returns
    -------
    DataFrame of str
        `table`, `row`, `check`, `printed`, `implied`, `verdict`, `claim`, in the order of the
        tables, then of the statements. `claim` is the name of the claim, in the list of a paper's
        claims, that a statement belongs to; otherwise it is empty.

    Raises
    ------
    InputError
        If two tables have a row of one name, a row or a statement names one that is not there, or a
        check needs counts that a table's head lacks.
    """
    read = [(table, list(_rows(table))) for table in tables]
    places: dict[str, Cells] = {}
    for table, rows in read:
        for row, cells in rows:
            if (place := f"{table.name}: {row}") in places:
                raise InputError(f"{table.file}: there is a row {place!r} already; rename one")
            places[place] = cells
    said = _said(read, places)
    found: list[tuple[str, ...]] = []
    for table, rows in read:
        weighted = _weighted(rows)
        for row, cells in rows:
            for check, columns, finding in _of_row(table, row, cells, places, weighted):
                if table.values == MEANS and NEEDS.get(check) == (ONE_RUN,):
                    continue
                printed = ", ".join(f"{NAMES[name]} {cells[name]}" for name in columns)
                finding = _as_declared(table, check, finding)
                found.append((table.name, row, check, printed, *finding, ""))
        for pair, words, finding in _of_pairs(table, rows, said):
            finding = _as_declared(table, "mcnemar-range", finding)
            found.append((table.name, pair, "mcnemar-range", words, *finding, ""))
    for statement in statements:
        for row, printed, finding in judge(statement, places):
            found.append((statement.table, row, "claim-table", printed, *finding, statement.claim))
    return pd.DataFrame(found, columns=COLUMNS, dtype=str)


def _as_declared(table: PrintedTable, check: str, finding: Finding) -> Finding:
    """Take a contradiction back that needs figures of another sort than the table declares."""
    needed = NEEDS.get(check, (table.values,))
    if finding.verdict != INCONSISTENT or table.values in needed or finding.implied == OUTSIDE:
        return finding
    declared = "' or '".join(f"# values: {values}" for values in needed)
    return Finding(
        f"{finding.implied}; a contradiction only if the head can say '{declared}'", UNDETERMINED
    )


def in_order(findings: pd.DataFrame) -> pd.DataFrame:
    """Sort findings by verdict: inconsistent ones first, then undetermined ones."""
    rank = {INCONSISTENT: 0, UNDETERMINED: 1, CONSISTENT: 2}
    return findings.sort_values(
        "verdict", key=lambda verdicts: verdicts.map(rank), kind="stable", ignore_index=True
    )


def _rows(table: PrintedTable) -> Iterator[tuple[str, Cells]]:
    names = [str(name) for name in table.figures]
    columns = [table.figures[name].tolist() for name in names]
    for row, cells in zip(table.figures.index, zip(*columns, strict=True), strict=True):
        yield str(row), {name: cell for name, cell in zip(names, cells, strict=True) if cell}


def _of_row(
    table: PrintedTable, row: str, cells: Cells, places: Places, weighted: Collection[str]
) -> Iterator[tuple[str, Sequence[str], Finding]]:
    """Findings of one row: name of the check, columns that it read, finding."""

    def has(*names: str) -> bool:
        return all(name in cells for name in names)

    # Knees. Both counts are None where the head says that they are unknown.
    for name in ("oa_acc", "kl_acc"):
        if has(name) and (knees := _knees(table, row, name)):
            yield "accuracy-count", [name], accuracy_count(cells[name], sum(knees))
    for name in ("oa_auc", "auroc_oa"):
        if has(name) and (knees := _knees(table, row, name)):
            yield "auc-count", [name], auc_count(cells[name], *_of_oa(knees))
    if has("kl_auc") and (knees := _knees(table, row, "kl_auc", grades=True)):
        yield "auc-count", ["kl_auc"], macro_auc_count(cells["kl_auc"], knees)
    if has("oa_acc", "oa_f1") and (knees := _knees(table, row, "oa_f1")):
        names = ["oa_acc", "oa_f1"]
        yield "confusion", names, confusion(cells["oa_acc"], cells["oa_f1"], *_of_oa(knees))

    # Ranks.
    if has("rho_oa", "auroc_oa") and (knees := _knees(table, row, "rho_oa")):
        names = ["rho_oa", "auroc_oa"]
        yield "rho-auroc", names, rho_auroc(cells["rho_oa"], cells["auroc_oa"], *_of_oa(knees))
    if has("rho_kl", "rho_oa") and (knees := _knees(table, row, "rho_kl", grades=True)):
        names = ["rho_kl", "rho_oa"]
        yield "rho-joint", names, rho_joint(cells["rho_kl"], cells["rho_oa"], knees)
    if has("rho_distances"):
        yield "distance-rho", ["rho_distances"], distance_rho(cells["rho_distances"])

    # Overlap.
    for name, top in TOP.items():
        if has(name):
            yield "dice-ceiling", [name], dice_ceiling(cells[name], top, _share(table, row, name))
    if has("top1"):
        yield "topk-ceiling", ["top1"], topk_ceiling(cells["top1"], _share(table, row, "top1"))
    if has(*(names := ["top1", "dice5", "dice10"])):
        top1, dice5, dice10 = (cells[name] for name in names)
        finding = overlap_nested(top1, dice5, dice10, _share(table, row, "top1"))
        yield "overlap-nested", names, finding

    # Sums, averages, bounds.
    grades = [f"grade_{grade}" for grade in range(5)]
    sums = [name for name in ("total", "oa_negative", "oa_positive") if has(name)]
    if sums and (names := [name for name in grades if has(name)]):
        yield "grade-sum", names + sums, grade_sum(dict.fromkeys(grades, "") | dict(cells))
    for measure, (parts, whole) in AVERAGES.items():
        if has(*parts, whole):
            printed = [cells[name] for name in parts]
            finding = average(printed, cells[whole], roots=measure == "rmse")
            if finding.verdict == INCONSISTENT and measure in weighted:
                finding = Finding(f"{finding.implied}; a weighted mean can be", UNDETERMINED)
            yield "average", [*parts, whole], finding
    if has("oa_acc", "oa_macro_f1"):
        names = ["oa_acc", "oa_macro_f1"]
        yield "macro-f1-bound", names, macro_f1_bound(cells["oa_acc"], cells["oa_macro_f1"])
    for part, largest in {"kl": 4, **dict.fromkeys(OARSI, 3)}.items():
        if has(*(names := [f"{part}_acc", f"{part}_rmse"])):
            accuracy, rmse = (cells[name] for name in names)
            yield (
                "rmse-accuracy",
                names,
                rmse_accuracy(accuracy, rmse, largest, means=table.values != ONE_RUN),
            )

    # Figures of other tables.
    if has("same_as"):
        other = _place(table, row, cells, "same_as", places)
        for name in (name for name in cells if name in NAMES and name in other):
            finding = repeated_figure(cells[name], other[name], cells["same_as"].split(":")[0])
            yield "repeated-figure", [name], finding
    for name in (name for name in cells if name.startswith("delta_")):
        ends = [_place(table, row, cells, which, places) for which in ("of", "minus")]
        metric = name.removeprefix("delta_")
        if not all(metric in end for end in ends):
            raise InputError(f"{table.file}, row {row!r}: no {metric} to which {name} belongs")
        of, minus = (end[metric] for end in ends)
        yield "difference", [name], difference(cells[name], of, minus)


def _weighted(rows: Rows) -> list[str]:
    """Measures whose averages, in all rows of a table, may be means with the same weights.

    That is asked only where a plain mean fails, and answered for the table as a whole.
    """
    found = []
    for measure, (parts, whole) in AVERAGES.items():
        printed = [
            ([cells[name] for name in parts], cells[whole])
            for _, cells in rows
            if cells.keys() >= {*parts, whole}
        ]
        plain = all(average(*row).verdict != INCONSISTENT for row in printed)
        if not plain and some_weights(printed):
            found.append(measure)
    return found


def _of_pairs(
    table: PrintedTable, rows: Rows, said: Mapping[frozenset[str], tuple[str, str]]
) -> Iterator[tuple[str, str, Finding]]:
    """McNemar's range for rows, "Backbone Setting", that share the one or the other.

    Only rows whose accuracy and F1 leave one 2x2 table, however they were rounded, and that do not
    repeat another table's.
    """
    tables = {}
    for row, cells in rows:
        wanted = {"oa_acc", "oa_f1"} <= cells.keys() and "same_as" not in cells
        if wanted and table.knees and table.values != MEANS:
            pinned = two_by_two(cells["oa_acc"], cells["oa_f1"], *_of_oa(table.knees), loose)
            if len(pinned) == 1:
                tables[row] = pinned[0]
    alike: dict[tuple[int, str], list[str]] = {}
    for row in tables:
        backbone, _, setting = row.rpartition(" ")
        alike.setdefault((0, backbone), []).append(row)
        alike.setdefault((1, setting), []).append(row)
    order = {row: place for place, row in enumerate(tables)}
    pairs = {pair for group in alike.values() for pair in combinations(group, 2)}
    for first, second in sorted(pairs, key=lambda pair: (order[pair[0]], order[pair[1]])):
        key = frozenset(f"{table.name}: {row}" for row in (first, second))
        statement, where = said.get(key, ("", ""))
        finding = mcnemar_range(tables[first], tables[second], statement)
        words = f"{statement} ({where})" if statement else ""
        yield f"{second} - {first}", words, finding


def _said(
    tables: Sequence[tuple[PrintedTable, Rows]], places: Places
) -> dict[frozenset[str], tuple[str, str]]:
    """Collect what text says of a difference in OA accuracy, by the two rows it compares."""
    said = {}
    for table, rows in tables:
        for row, cells in rows:
            if "oa_acc_test" in cells:
                for which in ("of", "minus"):
                    _place(table, row, cells, which, places)
                key = frozenset((cells["of"], cells["minus"]))
                said[key] = (cells["oa_acc_test"], table.name)
    return said


def _place(table: PrintedTable, row: str, cells: Cells, which: str, places: Places) -> Cells:
    """Find the row that a row names under same_as, of or minus."""
    name = cells.get(which, "")
    if name not in places:
        raise InputError(
            f"{table.file}, row {row!r}: {which} names {name!r}, which is no row of these tables; "
            "write it as 'Table 1: ResNet3D Dual', and give that table too"
        )
    return places[name]


def _knees(
    table: PrintedTable, row: str, name: str, grades: bool = False
) -> tuple[int, ...] | None:
    """Test knees, as far as a check needs them; None if the head says that they are unknown."""
    if table.knees == () or table.knees and grades and len(table.knees) != 5:
        raise InputError(
            f"{table.file}, row {row!r}: {name} needs the test knees in the head, "
            f"'# knees: 21 12 22 28 15' for grades 0 to 4{'' if grades else ', or two for OA'}, "
            "or '# knees: unknown'"
        )
    return table.knees


def _of_oa(knees: Sequence[int]) -> tuple[int, int]:
    """OA-positive and OA-negative knees."""
    negative = len(knees) // 2  # grades 0 and 1 of five, or the first of two counts
    return sum(knees[negative:]), sum(knees[:negative])


def _share(table: PrintedTable, row: str, name: str) -> tuple[str, ...]:
    if not table.share:
        raise InputError(
            f"{table.file}, row {row!r}: {name} needs the region's share of the volume in the "
            "head, '# share: 0.0089'"
        )
    return table.share
