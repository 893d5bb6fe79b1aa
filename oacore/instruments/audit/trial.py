"""Tables whose truth is known: how often they are accused, as they are and with a figure altered.

A true table must never be called inconsistent, whatever it was made of: by any rule of rounding,
with ties, as means over folds of equal or unequal size, with few knees. How often a false one is
depends on the check and on how far off the figure is. Both are counted here.

A family makes figures of the same sort, a kind is a family under one condition (`KINDS`). Figures
come from simulated knees, many rows at a time, by formulas of their own; what the checks know of
them is what is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from oacore.instruments.audit import truths
from oacore.instruments.audit.findings import audit
from oacore.instruments.audit.printed import NAMES, PrintedTable
from oacore.instruments.audit.statements import Statement
from oacore.instruments.audit.verdicts import INCONSISTENT, UNDETERMINED

Tables = tuple[list[PrintedTable], list[Statement]]

RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "half up": lambda values: np.floor(values + 0.5),
    "half even": np.rint,
    "cut off": np.trunc,
    "down": np.floor,
    "twice": lambda values: np.rint(np.rint(values * 100) / 100),
}
"""Rules of rounding to whole units of the last digit."""

ALTERED = {"one unit of the last digit": None, "0.01": 0.01, "0.05": 0.05}
"""How far a figure is moved, up or down, to make a table false."""

OPPOSITE = "the opposite said"
"""Of a test's outcome, or of the order of figures: how a statement is made false."""

FAMILIES: dict[str, tuple[Callable[..., truths.Truth], tuple[str, ...]]] = {
    "predictions": (
        truths.predictions,
        (
            "one run",
            "ties",
            "few knees",
            "equal folds",
            "unequal folds",
            "medians",
            "resamples",
            "expected grades",
        ),
    ),
    "pairs": (truths.pairs, ("one run", "few knees")),
    "axis": (truths.axis, ("one run", "ties", "few knees", "equal folds", "medians")),
    "overlap": (truths.overlap, ("one run", "ties", "few knees", "unequal folds")),
    "grades": (
        truths.grades,
        (
            "one run",
            "few knees",
            "equal folds",
            "unequal folds",
            "medians",
            "weighted",
            "expected grades",
        ),
    ),
    "macro-F1": (
        truths.macro_f1,
        ("one run", "few knees", "equal folds", "unequal folds", "medians", "of means"),
    ),
    "counts": (truths.counts, ("one run", "percentages")),
    "statements": (truths.orders, ("one run", "ties", "few knees")),
}
"""How each family makes figures, and under which conditions."""

KINDS = [(family, condition) for family, (_, found) in FAMILIES.items() for condition in found]


def true_tables(
    family: str, condition: str, rows: int, seed: int, rule: str | None = None, batch: int = 100
) -> Iterator[Tables]:
    """Make tables that are true, with what a text truly says of them.

    Parameters
    ----------
    family, condition : str
        Of `KINDS`.
    rows : int
        In all tables together, or statements on them.
    seed : int
    rule : str, optional
        One of `RULES`; each column draws its own if none is given.
    batch : int
        Rows of a table, at most.

    Yields
    ------
    (list of PrintedTable, list of Statement)
        The first table is the one that counts.
    """
    rng = np.random.default_rng([seed, KINDS.index((family, condition))])
    make = FAMILIES[family][0]
    left = rows
    while left > 0:
        truth = make(rng, condition, min(left, batch))
        number = len(truth.statements or (truth.rows if truth.said is None else truth.said))
        left -= number
        if number:
            yield _printed(rng, truth, rule)


def _printed(rng: np.random.Generator, truth: truths.Truth, rule: str | None) -> Tables:
    """Round a truth's figures, and say no more of them than its condition allows."""
    written = {
        name: write(values, truth.places[name], rule or str(rng.choice(list(RULES))))
        for name, values in truth.figures.items()
    }
    figures = pd.DataFrame(written, index=pd.Index(truth.rows, name="row"), dtype=str)
    # Of means it may be said that they are, or nothing.
    values = truth.values if rng.random() < 0.5 or truth.values == "one run" else ""
    table = PrintedTable(
        "T", "simulated", "simulated.csv", figures, truth.knees, truth.share, values
    )
    others = []
    if truth.again:  # the same figures, printed elsewhere with other digits
        place = {name: int(rng.integers(1, truth.places[name] + 1)) for name in truth.again}
        again = {
            name: write(truth.figures[name], place[name], str(rng.choice(list(RULES))))
            for name in truth.again
        }
        same = {"same_as": [f"T: {row}" for row in truth.rows]}
        frame = pd.DataFrame(again | same, index=figures.index)
        others.append(replace(table, name="again", figures=frame, knees=None))
    if truth.said is not None:
        others.append(PrintedTable("text", "simulated", "simulated.csv", truth.said))
    return [table, *others], truth.statements


def write(values: np.ndarray, places: int, rule: str) -> list[str]:
    """Print figures with some decimals by a rule."""
    units = RULES[rule](np.asarray(values, dtype=float) * 10**places)
    return [f"{unit / 10**places:.{places}f}" for unit in units]


def accusations(rows: int, seed: int, kinds: list[tuple[str, str]] | None = None) -> pd.DataFrame:
    """Count how often true tables are called inconsistent.

    Parameters
    ----------
    rows : int
        Rows of true tables of each kind.
    seed : int
    kinds : list, optional
        Of `KINDS`; all of them if none are given.

    Returns
    -------
    DataFrame
        `family`, `condition`, `check`, `rows`, `findings`, and of these `inconsistent`,
        `undetermined`.
    """
    found = []
    for family, condition in kinds or KINDS:
        for tables, statements in true_tables(family, condition, rows, seed):
            verdicts = audit(tables, statements)[["check", "verdict"]]
            found.append(verdicts.assign(family=family, condition=condition))
    every = pd.concat(found)
    by = every.groupby(["family", "condition", "check"], sort=False)["verdict"]
    return (
        by.agg(
            findings="size",
            inconsistent=lambda verdicts: (verdicts == INCONSISTENT).sum(),
            undetermined=lambda verdicts: (verdicts == UNDETERMINED).sum(),
        )
        .reset_index()
        .assign(rows=rows)
    )


def power(rows: int, seed: int, families: list[str] | None = None) -> pd.DataFrame:
    """Count how often one altered figure is found, in tables of one run that are rounded half even.

    One column that a check reads, drawn for each table, is moved up or down in every row (of six
    grades in one row of four) by a stated amount. A row is left out where the check could not tell
    of the true figures, or where the altered one would leave 0 to 1.

    Parameters
    ----------
    rows : int
        Rows of tables of each family.
    seed : int
    families : list of str, optional
        Of `FAMILIES`; all of them if none are given.

    Returns
    -------
    DataFrame
        `family`, `check`, `altered`, `rows`, and shares of these: `found` (inconsistent) and
        `undetermined`.
    """
    counted: list[dict] = []
    for family in families or FAMILIES:
        rng = np.random.default_rng([seed, len(KINDS) + list(FAMILIES).index(family)])
        before_it = len(counted)
        batch = 4 if family == "grades" else 25
        for tables, statements in true_tables(family, "one run", rows, seed, "half even", batch):
            table, *others = tables
            before = audit(tables, statements)
            if statements or (others and others[0].name == "text"):
                again = audit(*_contradicted(table, others, statements))
                counted += _of_statements(before, again)
                continue
            readers = _readers(table, before)
            for column, checks in readers.items():
                if rng.random() > 2 / len(readers):
                    continue
                for name, amount in ALTERED.items():
                    wrong = altered(table, column, amount, rng, one=family == "grades")
                    after = audit([wrong, *others])
                    counted += _compared(before, after, table, wrong, column, checks, name)
        for row in counted[before_it:]:
            row["family"] = family
    every = pd.DataFrame(counted)
    by = every.groupby(["family", "check", "altered"], sort=False)
    return by.agg(
        rows=("verdict", "size"),
        found=("verdict", lambda verdicts: (verdicts == INCONSISTENT).mean()),
        undetermined=("verdict", lambda verdicts: (verdicts == UNDETERMINED).mean()),
    ).reset_index()


def _contradicted(
    table: PrintedTable, others: list[PrintedTable], statements: list[Statement]
) -> Tables:
    """Say the opposite: of a test's outcome, of the order of rows."""
    if statements:
        return [table], [replace(one, rows=one.rows[::-1]) for one in statements]
    text = others[0].figures.copy()
    text["oa_acc_test"] = [
        "significant" if said.startswith("not") else "not significant"
        for said in text["oa_acc_test"]
    ]
    return [table, replace(others[0], figures=text)], []


def _of_statements(before: pd.DataFrame, after: pd.DataFrame) -> Iterator[dict]:
    for first, second in zip(before.itertuples(), after.itertuples(), strict=True):
        if first.check in ("claim-table", "mcnemar-range") and first.verdict != UNDETERMINED:
            yield {"check": first.check, "altered": OPPOSITE, "verdict": second.verdict}


def altered(
    table: PrintedTable, column: str, amount: float | None, rng: np.random.Generator, one: bool
) -> PrintedTable:
    """Move the figures of a column up or down, by an amount or a unit of their last digit."""
    figures = table.figures.copy()
    old = figures[column].to_numpy(dtype=str)
    places = len(old[0].partition(".")[2])
    step = max(1, round((amount or 0) * 10**places))
    signs = rng.choice([-1, 1], len(old))
    if one:
        signs[np.arange(len(old)) != rng.integers(len(old))] = 0
    units = np.rint(old.astype(float) * 10**places) + signs * step
    figures[column] = [f"{unit / 10**places:.{places}f}" for unit in units]
    return replace(table, figures=figures)


def _readers(table: PrintedTable, found: pd.DataFrame) -> dict[str, set[str]]:
    """Columns of a table, and the checks that read each, in its first row or a repeat of it."""
    row = str(table.figures.index[0])
    readers: dict[str, set[str]] = {}
    for line in found[found["row"] == row].to_dict("records"):
        for column in map(str, table.figures):
            if _reads(line, column, str(table.figures.loc[row, column])):
                readers.setdefault(column, set()).add(str(line["check"]))
    return readers


def _reads(line: dict, column: str, cell: str) -> bool:
    """Whether a finding reads a figure of the first table."""
    printed = line["printed"].split(", ")
    if line["check"] == "repeated-figure":  # a finding on the repeat, with digits of its own
        return any(one.rpartition(" ")[0] == NAMES[column] for one in printed)
    return f"{NAMES[column]} {cell}" in printed


def _compared(
    before: pd.DataFrame, after: pd.DataFrame, old: PrintedTable, new: PrintedTable, column: str,
    checks: set[str], name: str,
) -> Iterator[dict]:  # fmt: skip
    """Verdicts of the checks that read an altered column, where they could tell before."""
    counted = column.startswith(("grade_", "total", "oa_n", "oa_p"))
    for first, second in zip(before.to_dict("records"), after.to_dict("records"), strict=True):
        if first["check"] not in checks or first["verdict"] == UNDETERMINED:
            continue
        cells = [str(table.figures.loc[first["row"], column]) for table in (old, new)]
        possible = counted or column.endswith("_rmse") or -1 <= float(cells[1]) <= 1
        if cells[0] != cells[1] and possible and _reads(second, column, cells[1]):
            yield {"check": first["check"], "altered": name, "verdict": second["verdict"]}
