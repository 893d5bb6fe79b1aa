"""One's own layout: a folder with table.csv, images/ and, where there are any, landmarks.csv."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from oacore.data.cohort import Fault
from oacore.instruments.coherence.patterns import GRADES, SIZES
from oacore.instruments.phantom.grades import OSTEOPHYTES
from oacore.instruments.radiographs.source import Files
from oacore.instruments.radiographs.words import OARSI, POINTS, SIDES, SPLITS
from oacore.tables import TableError, is_no_value, numbers, read_cells

#: Pixels: landmarks of which two fits differ by more are left out.
MOST_APART = 3.0
#: What columns may be called instead.
_OWN_NAMES = {
    **{f"ost_{name[-2:]}": name for name in OSTEOPHYTES},
    "jsn_m": "jsn_medial",
    "jsn_l": "jsn_lateral",
    "subject": "person",
}


def own_cases(files: Files, faults: list[Fault]) -> pd.DataFrame:
    """Read the table of cases of one's own folder.

    Parameters
    ----------
    files : Files
    faults : list of Fault
        All that is wrong with its rows is added.

    Returns
    -------
    DataFrame
        As the `cases` of a :class:`.cases.Scan`.

    Raises
    ------
    InputError
        If the table cannot be read, or lacks a column.
    """
    path = files.source / "table.csv"
    optional = [*OARSI, *_OWN_NAMES, "person", "sex", "age", "weight", "inverted"]
    raw = read_cells(path, ["case", "side", "split", "kl"], optional)
    for old, new in _OWN_NAMES.items():
        if old in raw and new in raw:
            what, cure = f"it has both {old} and {new}", "keep one of the two columns"
            raise TableError(path, what, "", cure)
    raw = raw.rename(columns=_OWN_NAMES)
    if "person" not in raw:
        what, cure = "column person is missing", "name it, or subject, in row 1, the header"
        raise TableError(path, what, "", cure)
    table = raw[["case", "person"]].copy()
    read = _Reader("table.csv", raw, faults)
    table["side"] = read.word("side", SIDES)
    table["split"] = read.word("split", {name: name for name in SPLITS})
    for name in GRADES:
        table[name] = read.number(name, 0, SIZES[name] - 1, whole=True).astype("Int64")
    if "sex" in raw:
        sexes = {"f": "female", "female": "female", "m": "male", "male": "male"}
        table["sex"] = read.word("sex", sexes, may_be_empty=True)
    if "age" in raw:
        table["age"] = read.number("age", 1, 120)
    if "weight" in raw:
        table["weight"] = read.number("weight", 0, np.inf)
    table["inverted"] = read.number("inverted", 0, 1, whole=True).astype("Int64")
    table["file"] = "images/" + table["case"] + ".png"
    table["where"] = [f"table.csv row {row}" for row in raw.index]
    if table.empty:
        faults.append(Fault("error", "has no row", "table.csv", "", "give each knee a row"))
    for column in ("case", "person"):
        for row in table[(table[column] == "") | table[column].map(is_no_value)].itertuples():
            what, cure = f"{column} is empty", "give each knee a name, and each person one"
            faults.append(Fault("error", what, str(row.where), "", cure))
    for row in table[table["case"].str.contains(r"[/\\:]")].itertuples():
        what, cure = "case is no name of a file", "leave slashes and colons out of it"
        faults.append(Fault("error", what, str(row.where), f"found {row.case}", cure))
    for row in table[table["case"].duplicated()].itertuples():
        what, cure = "a case that has a row already", "keep one row, or correct it"
        faults.append(Fault("error", what, str(row.where), f"case {row.case}", cure))
    names = set(files.names)
    for row in table[~table["file"].isin(names)].itertuples():
        what, cure = "the picture of a case is missing", "put it there, or take its row out"
        faults.append(Fault("error", what, str(row.file), str(row.where), cure))
    used = set(table["file"])
    for name in files.names:
        if name.startswith("images/") and name not in used:
            what, cure = "no row of the table uses this file", "add its row, or take it away"
            faults.append(Fault("warning", what, name, "", cure))
    return table.sort_values("case", ignore_index=True)


def own_landmarks(files: Files, table: pd.DataFrame, faults: list[Fault]) -> np.ndarray:
    """Read landmarks as they stand there, and the pictures' scale, which goes into the table.

    Parameters
    ----------
    files : Files
    table : DataFrame
        Of :func:`own_cases`; gets `mm_per_pixel_x` and `mm_per_pixel_y` where they are known.
    faults : list of Fault
        All that is wrong with rows is added.

    Returns
    -------
    ndarray of float64, shape (n, 16, 2)
        NaN where there are none.

    Raises
    ------
    InputError
        If there is a file of landmarks and it cannot be read.
    """
    found = np.full((len(table), len(POINTS), 2), np.nan)
    if "landmarks.csv" not in files.names:
        return found
    columns = [f"{point}{axis}" for point in POINTS for axis in "xy"]
    scales = {"mm_per_px_x": "mm_per_pixel_x", "mm_per_px_y": "mm_per_pixel_y"}
    apart = "two_fit_disagreement_px"
    raw = read_cells(files.source / "landmarks.csv", ["case", *columns], [apart, *scales])
    read = _Reader("landmarks.csv", raw, faults)
    places = {case: place for place, case in enumerate(table["case"])}
    for row in raw.index[~raw["case"].isin(places)]:
        what, cure = "landmarks of a case that the table lacks", "add its row, or take these out"
        detail = f"case {raw['case'][row]}"
        faults.append(Fault("error", what, f"landmarks.csv row {row}", detail, cure))
    for row in raw.index[raw["case"].duplicated()]:
        what, cure = "landmarks of a case that has some already", "keep one row"
        detail = f"case {raw['case'][row]}"
        faults.append(Fault("error", what, f"landmarks.csv row {row}", detail, cure))
    points = np.stack([numbers(raw[column]) for column in columns], axis=1)
    for row in raw.index[np.isnan(points).any(axis=1)]:
        what, cure = "a landmark is no number", "give all 16 points of a row, or take the row out"
        faults.append(Fault("error", what, f"landmarks.csv row {row}", "", cure))
    close = pd.Series(True, raw.index)
    if apart in raw:
        close = read.number(apart, 0, np.inf) <= MOST_APART
    for old, new in scales.items():
        if old in raw:
            scale = read.number(old, 0.01, 10).where(close)  # found with the landmarks
            values = dict(zip(raw["case"], scale, strict=True))
            table[new] = table["case"].map(values).astype(float)
    for case, keep, row in zip(raw["case"], close, points, strict=True):
        if keep and case in places:
            found[places[case]] = row.reshape(-1, 2)
    return found


@dataclass(frozen=True)
class _Reader:
    """Reads columns of a table; what they may not hold becomes a fault and is left empty."""

    file: str
    raw: pd.DataFrame
    faults: list[Fault]

    def word(self, column: str, known: dict[str, str], may_be_empty: bool = False) -> pd.Series:
        cells = self.raw[column]
        found = pd.Series([known.get(cell.lower()) for cell in cells], cells.index, dtype=object)
        listed = ", ".join(dict.fromkeys(known.values()))
        self._say(cells, found.isna(), may_be_empty, f"{column} is none of {listed}", "correct it")
        return found

    def number(self, column: str, low: float, high: float, whole: bool = False) -> pd.Series:
        """A column of numbers, which may be empty; all empty where there is none."""
        cells = self.raw.get(column, pd.Series("", self.raw.index, dtype=object))
        values = numbers(cells)
        good = values.between(low, high) & ((values % 1 == 0) | (not whole))
        limits = f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} or more"
        what = f"{column} is not a {'whole ' if whole else ''}number from {limits}"
        self._say(cells, ~good, True, what, "correct it, or leave the cell empty")
        return values.where(good)

    def _say(
        self, cells: pd.Series, bad: pd.Series, may_be_empty: bool, what: str, cure: str
    ) -> None:
        for row in cells.index[bad & ((cells != "") | (not may_be_empty))]:
            detail = f"found {cells[row]}" if cells[row] else "empty"
            self.faults.append(Fault("error", what, f"{self.file} row {row}", detail, cure))
