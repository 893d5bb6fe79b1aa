"""A cohort on disk, in OAIZIB-CM's layout, as a tidy table of cases.

The `scan` functions collect faults, for :mod:`.data.check`; the `read` functions raise the first.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from oacore.errors import InputError
from oacore.hierarchy import FIRST_OA_GRADE, N_GRADES
from oacore.tables import TableError, is_no_value, numbers, read_cells

SPLITS = {"train": "Tr", "test": "Ts"}
#: Graded knees of KL 0 to 4 in each split, arXiv:2605.00718, section 3.2.
PAPER_KL = {"train": (82, 46, 86, 111, 58), "test": (21, 12, 22, 28, 15)}
SUBJECT = ["case_id", "split", "kl", "oa", "sex", "age", "bmi", "side", "subset"]
SYNTHETIC = "synthetic"  # what a phantom has in place of MRBarCode
OBTAIN = "download OAIZIB-CM with `oacore fetch oaizib-cm` or write a phantom with `oacore phantom`"
_BLANK = "correct it, or leave the cell empty"
# column: lowest and highest value, whether whole, whether it may be empty, cure
_RULES = {
    "CMT-ID": (1, 99999, True, False, "give the number in the image's file name"),
    "KLGrade": (0, N_GRADES - 1, True, True, f"{_BLANK} to keep the case out of training"),
    "Gender": (1, 2, True, False, "write 1 for male, 2 for female"),
    "Age": (1, 120, False, True, f"{_BLANK} (unit: years)"),
    "BMI": (8, 100, False, True, f"{_BLANK} (unit: kg/m2)"),
    "KneeSide": (1, 2, True, False, "write 1 for right, 2 for left"),
}
_WORDS = ("Subset", "SubjectID", "MRBarCode")  # read where a table has them


class Fault(NamedTuple):
    """One thing wrong with a cohort; `where` is a file (and row) relative to its folder."""

    severity: str
    what: str
    where: str
    detail: str
    cure: str

    def message(self, folder: Path) -> str:
        """One sentence that names the file, the fault and the cure."""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{folder / self.where}: {self.what}{detail}; {self.cure}"


Scan = tuple[pd.DataFrame, list[Fault]]


def _read_table(folder: Path, split: str, faults: list[Fault]) -> pd.DataFrame:
    """One split's table under our column names, in the order of its rows."""
    names = [f"{sub}subInfo_{split}{end}" for sub in ("", "info/") for end in (".xlsx", ".csv")]
    where, *others = [name for name in names if (folder / name).is_file()] or [""]
    if not where:
        what = f"subInfo_{split}.xlsx (or .csv) is missing here and under info/"
        faults.append(Fault("error", what, "", "", OBTAIN))
        return pd.DataFrame()
    if others:
        what = f"a second table of the {split} split"
        faults.append(Fault("error", what, others[0], f"beside {where}", "remove one of the two"))
    try:
        raw = read_cells(folder / where, _RULES, _WORDS)
    except TableError as error:
        faults.append(Fault("error", error.what, where, error.detail, error.cure))
        return pd.DataFrame()
    values = pd.DataFrame({column: _numbers(raw[column], where, faults) for column in _RULES})
    kl = values["KLGrade"].astype("Int64")
    table = pd.DataFrame({"case_id": values["CMT-ID"], "split": split, "kl": kl})
    table["oa"] = (kl >= FIRST_OA_GRADE).astype("Int64")
    table["sex"] = values["Gender"].map({1: "male", 2: "female"})
    table["age"], table["bmi"] = values["Age"], values["BMI"]
    table["side"] = values["KneeSide"].map({1: "right", 2: "left"})
    subset, subject, code = (_words(raw, name, where, faults) for name in _WORDS)
    table["subset"], table["subject"] = subset != "", subject.where(subject != "", None)
    table["synthetic"] = code == SYNTHETIC
    table["where"] = [f"{where} row {row}" for row in raw.index]
    return table[table["case_id"].notna()].astype({"case_id": int})


def _numbers(cells: pd.Series, where: str, faults: list[Fault]) -> pd.Series:
    """Read a column as numbers; what its rule does not allow becomes a fault and is left empty."""
    low, high, whole, may_be_empty, cure = _RULES[str(cells.name)]
    values = numbers(cells)
    good = values.between(low, high) & ((values % 1 == 0) | (not whole))
    for row in cells.index[~good & ((cells != "") | (not may_be_empty))]:
        cell = cells[row]
        what = f"{cells.name} is not a {'whole ' if whole else ''}number from {low} to {high}"
        detail, this = f"found {cell}" if cell else "empty", cure
        if re.fullmatch(r"[0-9.]+:.*", cell):  # OAI's own tables have such codes
            what = f"{cells.name} is a code and its words"
            this = f"leave only the number before the colon; {cure}"
        faults.append(Fault("error", what, f"{where} row {row}", detail, this))
    return values.where(good)


def _words(raw: pd.DataFrame, name: str, where: str, faults: list[Fault]) -> pd.Series:
    """Read a column that may lack; what only stands for a lost value becomes a fault."""
    cells = raw.get(name, pd.Series("", index=raw.index, dtype=object))
    lost = cells.map(is_no_value).astype(bool)
    severity = "error" if name == "Subset" else "warning"  # the others decide nothing
    for row in cells.index[lost]:
        what, cure = f"{name} holds no value", "correct it, or leave the cell empty"
        faults.append(Fault(severity, what, f"{where} row {row}", f"found {cells[row]}", cure))
    return cells.mask(lost, "")


def scan_tables(folder: Path) -> Scan:
    """Both subject tables with all their faults, rows in the tables' order.

    Adds to the columns of :func:`read_tables` `subject` (SubjectID) and `where` (file and row).
    Rows without a usable CMT-ID are left out; other unusable cells are empty.
    """
    if not any(folder.glob("subInfo_*")) and not any(folder.glob("info/subInfo_*")):
        what = "holds no cohort" if folder.is_dir() else "no such folder"
        detail = "looked for subInfo_train and subInfo_test (.xlsx or .csv) here and under info/"
        return pd.DataFrame(), [Fault("error", what, "", detail, OBTAIN)]
    faults: list[Fault] = []
    table = pd.concat([_read_table(folder, split, faults) for split in SPLITS], ignore_index=True)
    # Few are there twice, and a group of each would take most of the time.
    twice = table[table["case_id"].duplicated(keep=False)] if len(table) else table
    for _, same in twice.groupby("case_id") if len(twice) else ():
        first = same.iloc[0]
        for case in same.iloc[1:].itertuples():
            what = "appears twice" if case.split == first["split"] else "is in both splits"
            detail, cure = f"{case.case_id}, also {first['where']}", "keep one row, or correct it"
            faults.append(Fault("error", f"CMT-ID {what}", str(case.where), detail, cure))
    return table, faults


def scan_cohort(folder: Path) -> Scan:
    """As :func:`scan_tables`, with `image` and `mask`; no volume is opened.

    An image that is missing keeps the path where it was looked for.
    """
    cases, faults = scan_tables(folder)
    images, masks = [], []
    numbered: dict[str, dict[str, str]] = {}
    for case in cases.itertuples():
        end, stem = SPLITS[str(case.split)], f"oaizib_{case.case_id:03d}"
        image = _volume(folder, f"images{end}/{stem}_0000")
        if image is None:
            where = f"images{end}/{stem}_0000.nii.gz"
            whose = ("warning", "an ungraded") if case.kl is pd.NA else ("error", "a graded")
            what, cure = f"the image of {whose[1]} case is missing", "fetch it, or take its row out"
            detail = str(case.where)
            if end not in numbered:
                numbered[end] = _numbered(folder / f"images{end}")
            if near := numbered[end].get(stem):
                detail += f"; there is {near}"
                cure = "give that file this name if it is the case's, or take the row out"
            faults.append(Fault(whose[0], what, where, detail, cure))
        images.append(image or str(folder / where))
        masks.append(_volume(folder, f"labels{end}/{stem}"))
    cases["image"], cases["mask"] = images, pd.Series(masks, index=cases.index, dtype=object)
    return cases, faults


def _numbered(folder: Path) -> dict[str, str]:
    """Names of volumes by what they should begin with, from the number at their end."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    names = [path.name for path in paths if path.is_file()]
    found = [re.search(r"(\d+)(_0000)?\.nii(\.gz)?$", name, re.IGNORECASE) for name in names]
    return {f"oaizib_{int(match[1]):03d}": match.string for match in found if match}


def _volume(folder: Path, name: str) -> str | None:
    paths = [folder / f"{name}.nii.gz", folder / f"{name}.nii"]
    return next((str(path) for path in paths if path.is_file()), None)


def _tidy(scan: Scan, folder: str | Path, columns: list[str]) -> pd.DataFrame:
    """Sort cases, or raise the first error."""
    cases, errors = scan[0], [fault for fault in scan[1] if fault.severity == "error"]
    if errors:
        more = f" ({len(errors) - 1} more: see `oacore check {folder}`)" if errors[1:] else ""
        raise InputError(errors[0].message(Path(folder)) + more)
    cases = cases.assign(order=cases["split"].map(list(SPLITS).index))
    return cases.sort_values(["order", "case_id"], ignore_index=True)[columns]


def read_tables(folder: str | Path) -> pd.DataFrame:
    """Subject tables of a cohort: the columns of :func:`read_cohort` up to `subset`."""
    return _tidy(scan_tables(Path(folder)), folder, SUBJECT)


def read_cohort(folder: str | Path) -> pd.DataFrame:
    """Cases of a cohort in OAIZIB-CM's layout, with its predefined split.

    Parameters
    ----------
    folder : path-like
        Holds subInfo_train and subInfo_test (.xlsx or .csv), itself or under info/, and
        imagesTr/oaizib_001_0000.nii.gz and so on, imagesTs, and optionally masks,
        labelsTr/oaizib_001.nii.gz and so on, labelsTs; `.nii` is read as well.

    Returns
    -------
    DataFrame
        One row a case, train before test, then by case_id (CMT-ID): case_id, split ("train",
        "test"), kl (0 to 4 or <NA>), oa (0, 1 or <NA>), sex, age (years), bmi (kg/m2),
        side ("right", "left"), subset (whether the table marks the case in its optional column
        Subset, see :func:`named_subset`), image (path), mask (path, or None). Cases without a
        grade are kept; see :func:`graded`.

    Raises
    ------
    InputError
        If a table is missing or unreadable, lacks a column or holds a value that it may not
        hold, an ID comes twice, or the image of a graded case is missing.
    """
    return _tidy(scan_cohort(Path(folder)), folder, [*SUBJECT, "image", "mask"])


def graded(cases: pd.DataFrame) -> pd.DataFrame:
    """Cases that have a KL grade."""
    return cases[cases["kl"].notna()].reset_index(drop=True)


def named_subset(cases: pd.DataFrame) -> pd.DataFrame:
    """Test cases that are looked at one by one: those marked in Subset; all where none is.

    Predictions, features and statistics are of all test cases. Saliency is measured on these,
    and pictures are of these: both cost by the knee. A phantom with more test knees than the paper
    marks as many of each grade as the paper has, so that they also show what so few can say.

    Parameters
    ----------
    cases : DataFrame
        Rows of :func:`read_cohort`.
    """
    test = cases[cases["split"] == "test"]
    return test[test["subset"]] if test["subset"].any() else test


def training_faults(cases: pd.DataFrame) -> list[Fault]:
    """List what rules out training (errors) or leaves metrics undefined (warnings)."""
    known = graded(cases)
    faults = []
    for split in SPLITS:
        there = set(known.loc[known["split"] == split, "kl"])
        missing = ", ".join(str(grade) for grade in range(N_GRADES) if grade not in there)
        if missing:
            severity = "warning" if there and split == "test" else "error"
            what = f"no {split} case of KL {missing}" if there else f"no graded {split} case"
            detail = f"graded cases in the whole cohort: {len(known)}"
            cure = "add such cases, or fill in their KLGrade: each grade is needed"
            faults.append(Fault(severity, what, f"subInfo_{split}", detail, cure))
    return faults


def require_trainable(cases: pd.DataFrame) -> None:
    """Raise an InputError if a split has no graded case or the train split lacks a grade."""
    for fault in training_faults(cases):
        if fault.severity == "error":
            raise InputError(fault.message(Path()))


def is_phantom(folder: str | Path) -> bool:
    """Tell whether a cohort is synthetic: all of its subject tables' rows say so, for a bar code.

    Raises
    ------
    InputError
        If the folder holds no cohort.
    """
    return bool(_is_drawn(folder).all())


def drawn_among_real(folder: str | Path) -> str:
    """A sentence on synthetic knees in a cohort that also has others; empty for one kind alone.

    Raises
    ------
    InputError
        If the folder holds no cohort.
    """
    drawn = _is_drawn(folder)
    if drawn.all() or not drawn.any():
        return ""
    return (
        f"Not all of it is real: {drawn.sum()} of its {len(drawn)} knees are synthetic, and what "
        "rests on them is not a clinical result."
    )


def _is_drawn(folder: str | Path) -> pd.Series:
    cases, faults = scan_tables(Path(folder))
    if cases.empty:
        nothing = Fault("error", "no subject table holds a case", "", "", OBTAIN)
        raise InputError([*faults, nothing][0].message(Path(folder)))
    return cases["synthetic"].astype(bool)
