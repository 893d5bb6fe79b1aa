"""Knee radiographs on disk: a table of cases, pictures hung alike, and landmarks.

Two layouts are read, the public set as it is downloaded and one's own folder. Negatives are
turned, so that bone is bright, and left knees mirrored, so that the lateral side is on the left.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from oacore.data.cohort import Fault
from oacore.errors import InputError
from oacore.instruments.coherence.patterns import GRADES, SIZES
from oacore.instruments.phantom.grades import OSTEOPHYTES
from oacore.tables import TableError, is_no_value, numbers, read_cells, seen

SPLITS = ("train", "val", "test")
SIDES = {"r": "right", "right": "right", "l": "left", "left": "left"}
#: The six grades beside KL.
OARSI = GRADES[1:]
#: Nine points of the tibial plateau, seven of the femoral condyles; the first of each is lateral.
POINTS = (*(f"t{i}" for i in range(9)), *(f"f{i}" for i in range(7)))
#: Pixels: landmarks of which two fits differ by more are left out.
MOST_APART = 3.0
#: Part of a picture's edge by which a landmark may lie outside: crops cut the outer ends of some.
OUTSIDE = 0.1
#: Correlation with the mean knee. Of the 8,260 pictures of the public set the negatives are below
#: -.7 and all others above +.18; what lies between these two shows no knee.
NEGATIVE, KNEE = -0.5, 0.15
#: Pixels of a side of the mean knee, and bytes and pixels that a picture may have.
_GRID, _MOST_BYTES, _MOST_PIXELS = 16, 2**26, 2**25

PUBLIC_SIZE = (224, 224)
PUBLIC_ROOT = "kneeKL224"
#: An OAI number and a side.
PUBLIC_NAME = re.compile(r"(9\d{6})([LR])\.png")
_IN_SPLIT = re.compile(r"(?P<root>(?:.*/)?)(?P<split>train|val|test)/(?P<kl>[0-4])/(?P<name>[^/]+)")
_OWN_NAMES = {
    **{f"ost_{name[-2:]}": name for name in OSTEOPHYTES},
    "jsn_m": "jsn_medial",
    "jsn_l": "jsn_lateral",
    "subject": "person",
}
_OBTAIN = (
    "name the folder or zip of the public set (Mendeley Data, doi:10.17632/56rmx5bjcr.1), or a "
    "folder with table.csv and images/"
)
_AGAIN = "get the public set again (doi:10.17632/56rmx5bjcr.1)"

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


@dataclass(frozen=True)
class Radiographs:
    """Radiographs of knees, one row of each part a knee.

    Attributes
    ----------
    cases : DataFrame
        Sorted by `case`, index 0 to n - 1: `case`, `person` (str; of the public set these are OAI's
        numbers, which no page shows), `side` ("right", "left"), `split` ("train", "val", "test"),
        `GRADES` (Int64: `kl` 0 to 4, the six of `OARSI` 0 to 3; <NA> where not read); and where
        the source has them `sex` ("female", "male"), `age` (years), `weight` (of the case in
        averages), `mm_per_pixel_x` and `mm_per_pixel_y` (of `pictures`; NaN where not known).
    pictures : ndarray of uint8, shape (n, height, width)
        Bone bright; as a right knee seen from the front, its lateral side on the left.
    landmarks : ndarray of float32, shape (n, 16, 2)
        x and y of `POINTS` in pixels of `pictures`, whose centres are at whole numbers; NaN where
        there are none. A crop leaves points outside it where they are.
    """

    cases: pd.DataFrame
    pictures: np.ndarray
    landmarks: np.ndarray


@dataclass(frozen=True)
class Files:
    """Files below a folder or in a zip.

    Attributes
    ----------
    source : Path
    names : list of str
        Sorted, with slashes, relative to the source.
    read : callable
        Gives a file's bytes by its name.
    """

    source: Path
    names: list[str]
    read: Callable[[str], bytes]


@dataclass(frozen=True)
class Scan:
    """What names of files and tables say, before a picture is opened.

    Attributes
    ----------
    root : str or None
        Of the public set's layout: the folder of the splits in the source, "" or ending in a
        slash. None for one's own layout.
    cases : DataFrame
        As of :class:`Radiographs`, with millimetres of the pictures as they lie there, and
        `inverted` (Int64: what a table says of it), `file` (in the source), `where` (of its row).
    landmarks : ndarray of float64, shape (n, 16, 2)
        In pixels of the pictures as they lie there.
    faults : list of Fault
    """

    root: str | None
    cases: pd.DataFrame
    landmarks: np.ndarray
    faults: list[Fault]


def read_radiographs(
    source: str | Path,
    *,
    height: int,
    width: int,
    crop: tuple[float, float] = (1.0, 1.0),
    oarsi: str | Path | None = None,
) -> Radiographs:
    """Read radiographs whole, in the size that is asked for.

    Parameters
    ----------
    source : path-like
        The public set (Chen 2018, doi:10.17632/56rmx5bjcr.1), as a folder or the zip:
        ``kneeKL224/{train,val,test}/{0..4}/*.png``; its folder auto_test is not read. Or one's own
        folder: ``table.csv`` (columns case, person or subject, side, split, kl, and where there
        are any the OARSI grades, sex, age, weight, inverted), ``images/<case>.png`` and, where
        there are any, ``landmarks.csv`` (case, t0x, t0y and so on to f6y, and
        two_fit_disagreement_px, of which rows above `MOST_APART` are left out).
    height, width : int
        Pixels; each is the mean of the area that it covers.
    crop : (float, float)
        Shares of height and width to keep, in the middle; above 0, at most 1. Rounded so that as
        many whole pixels go on either side.
    oarsi : path-like, optional
        OAI's table kxr_sq_bu00 (text with bars, tabs or commas, or .xlsx), for OARSI grades of the
        public set.

    Returns
    -------
    Radiographs

    Raises
    ------
    InputError
        If the source is neither, or `oacore check` would find an error in it.
    """
    new = (height, width)
    _require_sizes(new, crop)
    with open_files(source) as files:
        scan = scan_cases(files, oarsi)
        _raise_first(files, scan.faults)
        n = len(scan.cases)
        pictures = np.empty((n, height, width), np.uint8)
        landmarks = np.empty((n, len(POINTS), 2), np.float32)
        scale = np.empty((n, 2))
        known: dict[bytes, str] = {}
        for place, (case, seen_at) in enumerate(
            zip(scan.cases.to_dict("records"), scan.landmarks, strict=True)
        ):
            data = files.read(case["file"])
            found = look(data, case, seen_at, scan.root is not None, known)
            _raise_first(files, found.faults)
            pictures[place] = resample(found.upright, height, width, crop)
            grid = _Grid(found.size, new, crop)
            points = mirror(seen_at, found.size[1]) if case["side"] == "left" else seen_at
            landmarks[place] = grid.moved(points)
            scale[place] = grid.scale
    words = ("case", "person", "side", "split")
    cases = scan.cases.drop(columns=["inverted", "file", "where"]).astype(dict.fromkeys(words, str))
    for column, pixels in zip(("mm_per_pixel_x", "mm_per_pixel_y"), scale.T, strict=True):
        if column in cases:
            cases[column] = cases[column] / pixels
    return Radiographs(cases, pictures, landmarks)


def _raise_first(files: Files, faults: Sequence[Fault]) -> None:
    errors = [fault for fault in faults if fault.severity == "error"]
    if errors:
        more = f" ({len(errors) - 1} more: see `oacore check`)" if errors[1:] else ""
        raise InputError(errors[0].message(files.source) + more)


# Files


@contextmanager
def open_files(source: str | Path) -> Iterator[Files]:
    """Open a folder, or a zip without unpacking it.

    Parameters
    ----------
    source : path-like

    Yields
    ------
    Files
        Hidden files, and what macOS and Windows add, are left out.

    Raises
    ------
    InputError
        If there is no such folder or zip, or the zip is damaged, locked or names a file twice.
    """
    source = Path(source)
    if source.is_dir():
        yield Files(source, _shown(_below(source)), lambda name: (source / name).read_bytes())
        return
    if not source.exists():
        raise InputError(f"{source}: no such folder or file; {_OBTAIN}")
    try:
        with zipfile.ZipFile(source) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            names = _shown([one.filename for one in members])
            twice = next((a for a, b in zip(names, names[1:], strict=False) if a == b), None)
            if twice is not None:
                raise InputError(f"{source} holds {twice} twice; {_AGAIN}")
            yield Files(source, names, lambda name: _member(archive, name))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        if not zipfile.is_zipfile(source):
            raise InputError(f"{source} is no zip; {_OBTAIN}") from error
        raise InputError(f"{source} is damaged ({error}); {_AGAIN}") from error


def _below(source: Path) -> list[str]:
    """Names of all files below a folder; a folder may be a link, but is entered once."""
    names: list[str] = []
    entered = set()
    for folder, folders, inside in os.walk(source, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:
            folders.clear()
        else:
            entered.add(real)
            names += [Path(folder, name).relative_to(source).as_posix() for name in inside]
    return names


def _shown(names: list[str]) -> list[str]:
    """Names without hidden files, and without what macOS and Windows add."""
    hidden = re.compile(r"(^|/)(\.|__MACOSX/|Thumbs\.db$|desktop\.ini$)")
    return sorted(name for name in names if not hidden.search(name))


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's bytes; its check sum is compared, and no more is read than a picture may have."""
    member = archive.getinfo(name)
    if member.flag_bits & 1:
        raise InputError(f"{archive.filename}: {name} is locked by a password; {_AGAIN}")
    if member.file_size > _MOST_BYTES:
        size = f"{member.file_size / 1e6:.0f} MB"
        raise InputError(f"{archive.filename}: {name} would take {size}; {_AGAIN}")
    try:
        return archive.read(member)
    except NotImplementedError as error:
        cure = "unpack it with the program that made it, and name the folder"
        raise InputError(f"{archive.filename}: {name} cannot be read ({error}); {cure}") from error


# Tables


def scan_cases(files: Files, oarsi: str | Path | None = None) -> Scan:
    """All that names and tables say of the cases, with all that is wrong with it.

    Parameters
    ----------
    files : Files
    oarsi : path-like, optional
        OAI's table, as :func:`read_radiographs` takes it.

    Raises
    ------
    InputError
        If the source holds neither layout, or a table cannot be read.
    """
    root = public_root(files)
    if root is None:
        if "table.csv" not in files.names or not files.source.is_dir():
            raise InputError(f"{files.source} holds no radiographs; {_OBTAIN}")
        if oarsi is not None:
            raise InputError(
                f"{oarsi} is for the public set, whose names are OAI's numbers; write the OARSI "
                f"grades of {files.source} into its table.csv"
            )
        return _own_cases(files)
    faults: list[Fault] = []
    cases = _public_cases(files, root, faults)
    if oarsi is not None and len(cases):
        cases[list(OARSI)] = _joined(cases, oarsi, faults)
    faults += _person_faults(cases)
    return Scan(root, cases, np.full((len(cases), len(POINTS), 2), np.nan), faults)


def public_root(files: Files) -> str | None:
    """Where in a source the public set's folders of splits lie; None where there are none.

    Raises
    ------
    InputError
        If there are several, none of which is called kneeKL224.
    """
    found = {match["root"] for match in map(_IN_SPLIT.fullmatch, files.names) if match}
    named = {root for root in found if root.split("/")[-2:-1] == [PUBLIC_ROOT]}
    roots = sorted(named or found)
    if len(roots) > 1:
        listed = ", ".join(root.rstrip("/") or "itself" for root in roots)
        raise InputError(f"{files.source} holds several sets ({listed}); name one of their folders")
    return roots[0] if roots else None


def _public_cases(files: Files, root: str, faults: list[Fault]) -> pd.DataFrame:
    rows, there = [], set()
    for file in files.names:
        match = _IN_SPLIT.fullmatch(file)
        if match is None or match["root"] != root:
            continue
        there.add((match["split"], match["kl"]))
        if (name := PUBLIC_NAME.fullmatch(match["name"])) is None:
            what, cure = "is not named as the public set's pictures are", "take it out"
            detail = "an OAI number and L or R, such as 9000000L.png"
            faults.append(Fault("error", what, file, detail, cure))
            continue
        side = SIDES[name[2].lower()]
        rows.append((name[0][:-4], name[1], side, match["split"], int(match["kl"]), file))
    for split in SPLITS:
        for kl in map(str, range(SIZES["kl"])):
            if (split, kl) not in there:
                where, what = f"{root}{split}/{kl}", "this folder is missing or empty"
                faults.append(Fault("error", what, where, "", _AGAIN))
    cases = pd.DataFrame(rows, columns=["case", "person", "side", "split", "kl", "file"])
    cases = cases.sort_values(["case", "file"], ignore_index=True).astype({"kl": "Int64"})
    for row in cases[cases["case"].duplicated()].itertuples():
        first = cases["file"][cases["case"] == row.case].iloc[0]
        what, cure = "a knee that is in another folder too", "keep the one of its grade and split"
        faults.append(Fault("error", what, str(row.file), str(first), cure))
    cases[[*OARSI, "inverted"]] = pd.NA
    cases = cases.astype(dict.fromkeys([*OARSI, "inverted"], "Int64"))
    cases["where"] = cases["file"]
    order = ["case", "person", "side", "split", "kl", *OARSI, "inverted", "file", "where"]
    return cases[order]


def _own_cases(files: Files) -> Scan:
    faults: list[Fault] = []
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
    table = table.sort_values("case", ignore_index=True)
    faults += _person_faults(table)
    landmarks = np.full((len(table), len(POINTS), 2), np.nan)
    if "landmarks.csv" in names:
        landmarks = _own_landmarks(files, table, faults)
    return Scan(None, table, landmarks, faults)


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


def _person_faults(cases: pd.DataFrame) -> Iterator[Fault]:
    """Yield people of two splits."""
    splits = cases.groupby("person")["split"].nunique()
    for person in splits.index[splits > 1]:
        rows = cases[cases["person"] == person]
        first = rows.iloc[0]
        other = rows[rows["split"] != first["split"]].iloc[0]
        what, cure = "a person in two splits", "keep all pictures of a person in one split"
        detail = f"{other['split']}; also {first['where']}, {first['split']}"
        yield Fault("error", what, str(other["where"]), detail, cure)


def _own_landmarks(files: Files, table: pd.DataFrame, faults: list[Fault]) -> np.ndarray:
    """Landmarks of the cases as they stand; adds the pictures' scale to the table, if known."""
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
    found = np.full((len(table), len(POINTS), 2), np.nan)
    for case, keep, row in zip(raw["case"], close, points, strict=True):
        if keep and case in places:
            found[places[case]] = row.reshape(-1, 2)
    return found


# OAI's table


def _joined(cases: pd.DataFrame, path: str | Path, faults: list[Fault]) -> pd.DataFrame:
    """OARSI grades of the cases out of OAI's table; a KL grade that differs is a fault."""
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


# Pictures


@dataclass(frozen=True)
class Look:
    """One picture as it was found.

    Attributes
    ----------
    upright : ndarray of uint8, shape (height, width)
        Bone bright, lateral side on the left; empty where it cannot be read.
    size : (int, int)
        Height and width in pixels; (0, 0) where it cannot be read.
    likeness : float
        Correlation with the mean knee, as it lies there but hung as a right knee; -1 to 1.
    negative : bool
        Whether it was turned.
    faults : list of Fault
    """

    upright: np.ndarray
    size: tuple[int, int]
    likeness: float
    negative: bool
    faults: list[Fault]


def look(
    data: bytes,
    case: dict[Hashable, Any],
    landmarks: np.ndarray,
    public: bool,
    known: dict[bytes, str],
) -> Look:
    """Open one picture and hang it as the others.

    Parameters
    ----------
    data : bytes
        Of the file.
    case : dict
        A row of :attr:`Scan.cases`.
    landmarks : ndarray, shape (16, 2)
        In pixels of the picture as it lies there; NaN where there are none.
    public : bool
        Whether it must have the public set's size.
    known : dict
        Digests of the pictures that were looked at before, and their files; this one is added.
    """
    file = case["file"]
    try:
        pixels = grey_pixels(data)
    except ValueError as error:
        cure = _AGAIN if public else "save it as an 8-bit grey PNG"
        fault = Fault("error", "is no 8-bit grey picture", file, str(error), cure)
        return Look(np.empty((0, 0), np.uint8), (0, 0), np.nan, False, [fault])
    faults = []
    if public and pixels.shape != PUBLIC_SIZE:
        what, detail = "has not the size of the public set's pictures", _size(pixels.shape)
        faults.append(Fault("error", what, file, f"{detail} instead of 224 x 224", _AGAIN))
    hung = pixels[:, ::-1] if case["side"] == "left" else pixels
    likeness = correlation_with_mean_knee(hung)
    told = case["inverted"]
    negative = likeness < NEGATIVE
    if NEGATIVE <= likeness < KNEE:
        what, cure = "shows no knee", "take it out, or crop it with the joint in its middle"
        detail = f"correlation with the mean knee {likeness:.2f}"
        faults.append(Fault("error", what, file, detail, cure))
    elif not pd.isna(told) and bool(told) != negative:
        what = "inverted is not what the picture shows"
        detail = f"{case['where']} says {told}, correlation with the mean knee {likeness:.2f}"
        faults.append(Fault("error", what, file, detail, "correct it, or leave the cell empty"))
    upright = 255 - hung if negative else hung
    digest = hashlib.sha256(repr(upright.shape).encode() + upright.tobytes()).digest()
    if (first := known.setdefault(digest, file)) != file:
        what, cure = "the same picture as another case's", "keep one of the two"
        faults.append(Fault("error", what, file, first, cure))
    if not np.isnan(landmarks).all():
        bounds = np.array(pixels.shape[::-1], float)
        low, high = -OUTSIDE * bounds, (1 + OUTSIDE) * bounds
        if ((landmarks < low) | (landmarks > high)).any():
            what, cure = "landmarks lie outside the picture", "give them in its pixels"
            detail = f"landmarks.csv, case {case['case']}"
            faults.append(Fault("error", what, file, detail, cure))
    return Look(upright, pixels.shape, likeness, negative, faults)


def grey_pixels(data: bytes) -> np.ndarray:
    """Pixels of an 8-bit grey PNG.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    ndarray of uint8, shape (height, width)

    Raises
    ------
    ValueError
        If it is anything else.
    """
    why = "not a whole PNG"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # that an image is far too large is but warned of
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                why = _MODES.get(image.mode, why)
                if image.width * image.height > _MOST_PIXELS:
                    why = f"{image.width} x {image.height} pixels"
                elif image.mode == "L":
                    return np.asarray(image)
    except MemoryError:
        raise
    except Exception as error:  # whatever a parser makes of damaged bytes
        raise ValueError(why) from error
    raise ValueError(why)


_MODES = {
    "I;16": "16-bit",
    "I": "16-bit",
    "RGB": "RGB",
    "RGBA": "RGB with transparency",
    "LA": "grey with transparency",
    "P": "a palette of colours",
    "1": "1-bit",
}


def correlation_with_mean_knee(picture: np.ndarray) -> float:
    """Correlation of a picture with the mean knee, both on a grid of 16 x 16.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width)
        Hung as a right knee.

    Returns
    -------
    float
        -1 to 1; 0 for a picture of one grey.
    """
    rows, columns = (_overlaps(length, _GRID) for length in picture.shape)
    small = rows @ picture.astype(float) @ columns.T
    small -= small.mean()
    length = np.sqrt((small**2).sum())
    return float((small * mean_knee()).sum() / length) if length > 0 else 0.0


@cache
def mean_knee() -> np.ndarray:
    """Mean of real knees hung as right ones, on a grid of 16 x 16.

    Returns
    -------
    ndarray of float64, shape (16, 16)
        Shifted and scaled to a mean of 0 and a length of 1. Of 1,374 training pictures of the
        public set that are no negatives.
    """
    path = package_files("oacore.instruments.radiographs") / "mean_picture.csv"
    with path.open(encoding="utf-8") as file:
        grid = pd.read_csv(file, comment="#", header=None).to_numpy(float)
    grid = grid - grid.mean()
    return grid / np.sqrt((grid**2).sum())


def mirror(landmarks: np.ndarray, width: int) -> np.ndarray:
    """Landmarks of the mirrored picture: x becomes width - 1 - x.

    Parameters
    ----------
    landmarks : ndarray, shape (..., 2)
    width : int
        Of the picture, in pixels.

    Returns
    -------
    ndarray of float64, shape (..., 2)
    """
    return landmarks * [-1.0, 1.0] + [width - 1.0, 0.0]


@dataclass(frozen=True)
class _Grid:
    """How a picture of an old size becomes its middle in a new size; heights before widths."""

    old: tuple[int, int]
    new: tuple[int, int]
    crop: tuple[float, float]

    @property
    def cut(self) -> tuple[int, int]:
        """Pixels that go above and below, and on the left and on the right."""
        high, wide = (
            round(length * (1 - share) / 2)
            for length, share in zip(self.old, self.crop, strict=True)
        )
        return high, wide

    @property
    def scale(self) -> np.ndarray:
        """New pixels for one old one, in x and y."""
        kept = np.array(self.old) - 2 * np.array(self.cut)
        return (np.array(self.new) / kept)[::-1]

    def moved(self, landmarks: np.ndarray) -> np.ndarray:
        return (landmarks + 0.5 - self.cut[::-1]) * self.scale - 0.5


def resample(
    picture: np.ndarray, height: int, width: int, crop: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """The middle of a picture in another size; each pixel is the mean of the area it covers.

    Sums are of whole numbers and exact, so that every machine rounds alike (halves up).

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns)
    height, width : int
    crop : (float, float)
        Shares of height and width to keep.

    Returns
    -------
    ndarray of uint8, shape (height, width)

    Raises
    ------
    InputError
        If a size is below 1 or a share not above 0 and at most 1, or nothing is left.
    """
    new = (height, width)
    _require_sizes(new, crop)
    size = (picture.shape[0], picture.shape[1])
    high, wide = _Grid(size, new, crop).cut
    middle = picture[high : size[0] - high, wide : size[1] - wide]
    if not middle.size:
        raise InputError(f"of {_size(size)} pixels the crop leaves none; keep more of them")
    rows, columns = _overlaps(middle.shape[0], height), _overlaps(middle.shape[1], width)
    sums = (rows @ middle.astype(np.float64) @ columns.T).astype(np.int64)
    area = middle.size
    return ((2 * sums + area) // (2 * area)).astype(np.uint8)


def _require_sizes(new: tuple[int, int], crop: tuple[float, float]) -> None:
    if min(new) < 1 or not all(0 < share <= 1 for share in crop):
        raise InputError(
            f"height {new[0]}, width {new[1]}, crop {crop[0]:g} and {crop[1]:g}; give pixels of 1 "
            "or more, and shares above 0, at most 1"
        )


@lru_cache(maxsize=32)
def _overlaps(old: int, new: int) -> np.ndarray:
    """How much of each old pixel (columns) lies in each new one (rows), in parts of 1 / new."""
    ends = np.arange(1, new + 1)[:, None] * old, np.arange(1, old + 1)[None] * new
    starts = ends[0] - old, ends[1] - new
    return np.clip(np.minimum(*ends) - np.maximum(*starts), 0, None).astype(np.float64)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]} x {shape[0]}"
