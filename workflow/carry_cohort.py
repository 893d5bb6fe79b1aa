"""What is read of subject tables, right and wrong ones, in files: run by :mod:`workflow.carry`.

Each table is made here, so that both trees read the same.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oacore.data.cohort import (
    SPLITS,
    SYNTHETIC,
    drawn_among_real,
    graded,
    is_phantom,
    named_subset,
    read_cohort,
    read_tables,
    require_trainable,
    scan_cohort,
    scan_tables,
    training_faults,
)
from oacore.errors import InputError

Tables = dict[str, pd.DataFrame]
KNEES = 60


def good() -> Tables:
    """Tables without a fault, their knees in no order."""
    rng = np.random.default_rng(4)
    ids = rng.permutation(2 * KNEES) + 1
    tables = {}
    for split, own in zip(SPLITS, np.split(ids, 2), strict=True):
        table = {
            "CMT-ID": own,
            "SubjectID": [f"S{one}" for one in own],
            "KLGrade": [str(one) if one < 5 else "" for one in rng.integers(6, size=KNEES)],
            "Gender": rng.integers(1, 3, size=KNEES),
            "Age": rng.integers(45, 80, size=KNEES),
            "BMI": rng.normal(28, 4, size=KNEES).round(1),
            "KneeSide": rng.integers(1, 3, size=KNEES),
            "Subset": np.where(rng.random(KNEES) < 0.3, "x", ""),
            "MRBarCode": SYNTHETIC,
        }
        tables[split] = pd.DataFrame(table).astype(object)
    return tables


def kinds() -> Iterator[tuple[str, Tables]]:
    """The good tables and changed ones, by name."""

    def changed(name: str, change: Callable[[Tables], Any]) -> tuple[str, Tables]:
        tables = good()
        change(tables)
        return name, tables

    def copy_id(tables: Tables, pairs: list[tuple[str, int, str, int]]) -> None:
        for split, row, other, from_row in pairs:
            ids = tables[split]["CMT-ID"].tolist()
            ids[row] = tables[other]["CMT-ID"].tolist()[from_row]
            tables[split]["CMT-ID"] = ids

    def put(tables: Tables, split: str, column: str, values: list[Any]) -> None:
        tables[split].loc[: len(values) - 1, column] = values

    first, second = SPLITS
    yield "good", good()
    yield changed("twice", lambda tables: copy_id(tables, [(first, 7, first, 3)]))
    many = [(first, 9, first, 3), (first, 5, first, 3), (second, 1, second, 40)]
    yield changed("thrice", lambda tables: copy_id(tables, many))
    yield changed("both splits", lambda tables: copy_id(tables, [(second, 2, first, 8)]))
    mixed = [*many, (second, 2, first, 8), (second, 6, first, 3), (first, 50, second, 40)]
    yield changed("all of it", lambda tables: copy_id(tables, mixed))
    odd = ["", "x", "-3", "2.5", "0", "3.0", "100000", "7"]
    yield changed("ids", lambda tables: put(tables, first, "CMT-ID", odd))
    for column in ("KLGrade", "Gender", "Age", "BMI", "KneeSide", "Subset", "SubjectID"):
        values = ["", "9", "-1", "x", "1.5", "nan", "2: two"]
        yield changed(column, partial(put, split=second, column=column, values=values))
    yield changed("real", lambda tables: [t.pop("MRBarCode") for t in tables.values()])
    yield changed("few drawn", lambda tables: put(tables, first, "MRBarCode", ["1", "", "2"]))
    yield changed("no subset", lambda tables: [t.pop("Subset") for t in tables.values()])
    yield changed("no grade", lambda tables: tables[first].pop("KLGrade"))
    yield changed("empty", lambda tables: tables.update({second: tables[second][:0]}))
    yield changed("no test", lambda tables: tables.pop(second))
    yield changed("nothing", lambda tables: tables.clear())


def lay_out(folder: Path, tables: Tables, end: str) -> None:
    """Write tables, and empty files where images and masks would be."""
    for split, table in tables.items():
        path = folder / ("info" if end == ".csv" else "") / f"subInfo_{split}{end}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if end == ".csv":
            table.to_csv(path, index=False)
        else:
            table.to_excel(path, index=False)
    for split, table in good().items():
        for sub, name in (("images", "_0000"), ("labels", "")):
            place = folder / f"{sub}{SPLITS[split]}"
            place.mkdir(parents=True, exist_ok=True)
            for case in table["CMT-ID"][3:]:  # three images are missing
                (place / f"oaizib_{case:03d}{name}.nii.gz").touch()


def said(work: Callable[[], Any]) -> str:
    """What a call gives, or says is wrong, in full."""
    try:
        given = work()
    except InputError as error:
        return f"refused: {error}"
    parts = []
    for one in given if isinstance(given, tuple) else (given,):
        if isinstance(one, pd.DataFrame):
            kinds = [f"{name} {kind}" for name, kind in one.dtypes.items()]
            parts += [one.to_csv(), "\n".join(kinds)]
        else:
            parts.append("\n".join(map(str, one)) if isinstance(one, list) else str(one))
    return "\n".join(parts)


def read(cohort: Path) -> str:
    """What all readers of a cohort make of one."""
    calls: dict[str, Callable[[], Any]] = {
        "tables": lambda: scan_tables(cohort),
        "cohort": lambda: scan_cohort(cohort),
        "read tables": lambda: read_tables(cohort),
        "read cohort": lambda: read_cohort(cohort),
        "subset": lambda: named_subset(graded(read_cohort(cohort))),
        "faults": lambda: training_faults(read_tables(cohort)),
        "trainable": lambda: require_trainable(read_tables(cohort)),
        "phantom": lambda: is_phantom(cohort),
        "mixed": lambda: drawn_among_real(cohort),
    }
    return "\n\n".join(f"{word}\n{said(call)}" for word, call in calls.items())


def main(folder: Path) -> None:
    """Fill a folder with what is read of each kind of tables."""
    os.chdir(folder)  # faults name the cohort's folder
    for name, tables in kinds():
        for end in (".xlsx", ".csv"):
            cohort = Path(f"{name}{end}")
            lay_out(cohort, tables, end)
            Path(f"{name}{end}.txt").write_text(read(cohort))
            shutil.rmtree(cohort)  # a workbook tells the time


if __name__ == "__main__":
    main(Path(sys.argv[1]))
