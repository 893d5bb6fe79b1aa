"""Grades of the Osteoarthritis Initiative (OAI): its table kxr_sq_bu00 of the baseline visit."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pandas as pd

from oacore.data.cohort import Fault
from oacore.errors import InputError
from oacore.instruments.coherence.patterns import SIZES
from oacore.instruments.phantom.grades import OSTEOPHYTES
from oacore.instruments.radiographs.words import OARSI
from oacore.tables import is_no_value, numbers, read_cells, seen

#: What the readings are called in OAI's table of the baseline visit.
OAI_COLUMNS = {
    "kl": "V00XRKL",
    **{name: f"V00XROS{name[-2:].upper()}" for name in OSTEOPHYTES},
    "jsn_medial": "V00XRJSM",
    "jsn_lateral": "V00XRJSL",
}
#: Of the reading projects the one that read all knees, centrally.
OAI_PROJECT = 15
_OAI_SIDES = {1: "right", 2: "left"}


def oarsi_of(cases: pd.DataFrame, path: str | Path, faults: list[Fault]) -> pd.DataFrame:
    """OARSI grades of the public set's cases out of OAI's table.

    Parameters
    ----------
    cases : DataFrame
        `person`, `side`, `kl`, and `file`, by which faults name a case.
    path : path-like
        As :func:`read_oai` takes it.
    faults : list of Fault
        A case without a row, and one whose KL grade is another there, are added.

    Returns
    -------
    DataFrame of Int64
        The columns of `OARSI`, index as of the cases; <NA> where not read.
    """
    table = read_oai(path)
    keys = [(person, side) for person, side in zip(cases["person"], cases["side"], strict=True)]
    for key, file in zip(keys, cases["file"], strict=True):
        if key not in table.index:
            what = f"has no row of reading project {OAI_PROJECT} in {path}"
            cure = "name OAI's whole table kxr_sq_bu00"
            faults.append(Fault("error", what, file, "", cure))
    found = table.reindex(keys)
    for key, file, kl, other in zip(keys, cases["file"], cases["kl"], found["kl"], strict=True):
        if key in table.index and (pd.isna(other) or other != kl):
            what, cure = f"its KL grade is not that of {path}", "see whether SIDE is 1 for right"
            said = "none" if pd.isna(other) else f"{other:g}"
            detail = f"{kl} in the folder, {said} in row {table.loc[key, 'row']}"
            faults.append(Fault("error", what, file, detail, cure))
    return found[list(OARSI)].astype("Int64").set_axis(cases.index)


def read_oai(path: str | Path) -> pd.DataFrame:
    """Baseline grades of OAI's table kxr_sq_bu00, central reading.

    Parameters
    ----------
    path : path-like
        Text with bars (as OAI gives it), tabs or commas between the cells, or .xlsx. Codes may
        have their words behind a colon ("1: Right"); a missing value is an empty cell, NA, or a
        point and what follows it (".: Missing Form").

    Returns
    -------
    DataFrame
        Index (person: str, side: "right" or "left"). `kl` (0 to 4) and the six OARSI grades (0
        to 3) as Int64, <NA> where not read, and `row`, the row of the file.

    Raises
    ------
    InputError
        If the file is another table, of another visit or reading project, or a knee has two rows
        or a grade that there is not.
    """
    path = Path(path)
    raw = _oai_cells(path)
    project = _codes(raw["READPRJ"])
    ours = raw[project == OAI_PROJECT]
    if ours.empty:
        there = ", ".join(f"{one:g}" for one in sorted(set(project.dropna()))) or "none"
        raise InputError(
            f"{path} has no row of reading project {OAI_PROJECT} (READPRJ; there are: {there}); "
            "name OAI's whole table kxr_sq_bu00"
        )
    side = _codes(ours["SIDE"]).map(_OAI_SIDES)
    if side.isna().any():
        row = ours.index[side.isna()][0]
        raise InputError(
            f"{path} row {row}: SIDE is neither 1 (right) nor 2 (left) (found "
            f"{ours['SIDE'][row] or 'nothing'}); correct it, or get the table from OAI again"
        )
    table = pd.DataFrame({"person": ours["ID"], "side": side, "row": ours.index}, ours.index)
    for name, column in OAI_COLUMNS.items():
        worst = SIZES[name] - 1
        values = _codes(ours[column])
        missing = ours[column].map(lambda cell: is_no_value(cell) or cell[:1] in ("", "."))
        good = (values.between(0, worst) & (values % 1 == 0)) | missing
        if not good.all():
            row = ours.index[~good][0]
            raise InputError(
                f"{path} row {row}: {column} is not a whole grade from 0 to {worst} (found "
                f"{ours[column][row]}); get the table of the baseline visit from OAI again"
            )
        table[name] = values.mask(missing).astype("Int64")
    if (twice := table[["person", "side"]].duplicated()).any():
        row = table.index[twice][0]
        raise InputError(
            f"{path} row {row}: a second row of this knee in reading project {OAI_PROJECT}; keep "
            "one, or get the table from OAI again"
        )
    return table.set_index(["person", "side"])


def _codes(cells: pd.Series) -> pd.Series:
    """The numbers of cells such as "1: Right"; NaN where there is none."""
    return numbers(pd.Series([cell.split(":")[0].strip() for cell in cells], cells.index))


def _oai_cells(path: Path) -> pd.DataFrame:
    """Cells of OAI's table as text, with its names of columns in capitals; index: rows."""
    needed = ["ID", "SIDE", "READPRJ", *OAI_COLUMNS.values()]
    if path.suffix.lower() == ".xlsx":
        return read_cells(path, needed)
    if path.suffix.lower() in (".sas7bdat", ".zip"):
        raise InputError(f"{path}: name OAI's table as text, kxr_sq_bu00.txt, unpacked")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text; name OAI's table kxr_sq_bu00.txt") from error
    head = text.partition("\n")[0]
    sign = max("|\t,", key=head.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=sign))
    except csv.Error as error:
        cure = "get the table from OAI again"
        raise InputError(f"{path} is no table of text ({error}); {cure}") from error
    header = [seen(name).upper() for name in rows[0]] if rows else []
    if lacking := [name for name in needed if name not in header]:
        visits = {name[1:3] for name in header if re.fullmatch(r"V\d\dXRKL", name)} - {"00"}
        if visits and "V00XRKL" not in header:
            raise InputError(
                f"{path} is of another visit (V{min(visits)}XRKL); the pictures are of the "
                "baseline: name kxr_sq_bu00"
            )
        raise InputError(
            f"{path}: column {', '.join(lacking)} is missing; name OAI's table kxr_sq_bu00 as text "
            "with bars, tabs or commas between the cells"
        )
    kept = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) < len(header):
            raise InputError(
                f"{path} row {number} has {len(row)} cells under {len(header)} columns; get the "
                "table from OAI again"
            )
        kept[number] = [seen(cell) for cell in row]
    places = {name: header.index(name) for name in needed}
    columns = {name: [row[place] for row in kept.values()] for name, place in places.items()}
    return pd.DataFrame(columns, index=list(kept), dtype=object)
