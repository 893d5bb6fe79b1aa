"""What is wrong with a cohort, all of it in one go: ``oacore check``."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from oacore.data.cohort import PAPER_KL, SPLITS, Fault, scan_cohort, training_faults
from oacore.data.nifti import (
    NoVolumeError,
    as_volume,
    forms_apart,
    load_whole,
    storage_step,
    to_canonical,
)
from oacore.data.volumes import LABELS, grid_gap, shows_nothing, whole_labels
from oacore.errors import unread
from oacore.files import in_threads
from oacore.hierarchy import FIRST_OA_GRADE, N_GRADES

#: Age in years, arXiv:2605.00718, section 3.2.
PAPER_AGE = {"train": "61.8 ± 9.5", "test": "61.8 ± 8.6"}
#: Columns that the volumes add to the table of cases.
FACTS = ["image_shape", "image_spacing", "image_axes", "mask_labels"]
_WIDTH, _SHOWN = 100, 3
#: Millimetres: a volume that is longer, or nowhere as long, has another unit than its header says.
_LONGEST, _SHORTEST = 2000.0, 1.0
_FETCH = "fetch it again (a phantom: write it again), or take its row out of the table"


@dataclass(frozen=True)
class Report:
    """Outcome of :func:`check_cohort`.

    Attributes
    ----------
    folder : Path
    cases : DataFrame
        Columns of :func:`.cohort.read_cohort`, and image_shape, image_spacing (mm),
        image_axes (such as "RAS") and mask_labels; rows in the tables' order.
    faults : DataFrame
        severity ("error": unusable as it is; "warning": think about it), what, where (file or
        row, relative to the folder), detail, cure.
    """

    folder: Path
    cases: pd.DataFrame
    faults: pd.DataFrame

    @property
    def errors(self) -> int:
        """Number of errors."""
        return int((self.faults["severity"] == "error").sum())

    def text(self, names: bool = True) -> str:
        """Report for a terminal, at most 100 columns wide; repeated faults are grouped.

        Parameters
        ----------
        names : bool
            Whether to name the folder, and files, rows and details of what was found; else kinds
            of faults are counted, as in pages of a cohort that is not drawn.
        """
        lines = _wrap(f"Cohort {self.folder}") if names else []
        if len(self.cases):
            if drawn := int(self.cases["synthetic"].sum()):
                n = len(self.cases)
                part = f"In part ({drawn} of {n} knees) a" if drawn < n else "A"
                lines += _wrap(
                    f"{part} phantom, as its tables say: synthetic knees, no clinical evidence."
                )
            lines += [*_volume_lines(self.cases), "", *_distribution(self.cases)]
        by_severity = self.faults.sort_values("severity", kind="stable")  # errors come first
        for _, same in by_severity.groupby(["severity", "what", "cure"], sort=False):
            faults = [Fault(*row) for row in same.to_numpy()]
            count = f" ({len(faults)} times)" if faults[1:] else ""
            lines += ["", *_wrap(f"{faults[0].severity.upper()}: {faults[0].what}{count}")]
            for fault in faults[:_SHOWN] if names else ():
                detail = f" ({fault.detail})" if fault.detail else ""
                lines += _wrap(f"{fault.where or self.folder}{detail}", "  ")
            more = len(faults) - _SHOWN if names else 0
            lines += [f"  ... and {more} more"] if more > 0 else []
            lines += _wrap(f"-> {faults[0].cure}", "  ")
        totals = f"Errors: {self.errors}. Warnings: {len(self.faults) - self.errors}."
        return "\n".join([*lines, "", totals])


def check_cohort(folder: str | Path, workers: int = 1) -> Report:
    """Look for everything that would spoil a training run.

    Parameters
    ----------
    folder : path-like
        A cohort as :func:`.cohort.read_cohort` takes it.
    workers : int
        Threads that read volumes, each to its end.
    """
    folder = Path(folder)
    cases, faults = scan_cohort(folder)
    if len(cases):
        faults += [*training_faults(cases), *_table_faults(cases), *_file_faults(folder, cases)]

        inspect = partial(_inspect, folder)
        found = in_threads(inspect, cases.itertuples(), workers, "check", "case")
        facts = pd.DataFrame([facts for facts, _ in found], index=cases.index, columns=FACTS)
        cases = cases.join(facts.astype(object).where(facts.notna(), None))
        faults += [fault for _, case_faults in found for fault in case_faults]
        faults += _outliers(folder, cases)
    table = pd.DataFrame(faults, columns=list(Fault._fields))
    return Report(folder, cases.drop(columns=["subject", "where"], errors="ignore"), table)


def _table_faults(cases: pd.DataFrame) -> Iterator[Fault]:
    """Yield what in the tables can mislead a study without stopping it."""
    for split, rows in cases[cases["kl"].notna()].groupby("split"):
        kl = rows["kl"]
        by_id = rows.sort_values("case_id")["kl"]
        if kl.nunique() > 1 and (kl.is_monotonic_increasing or by_id.is_monotonic_increasing):
            what = "sorted by grade: a case's row or ID gives its label away"
            cure = "shuffle before holding out validation cases; keep the ID out of the inputs"
            yield Fault("warning", what, f"subInfo_{split}", "", cure)
    sides = list(cases["side"].value_counts().index)
    for case in cases[cases["side"] == sides[1]].itertuples() if len(sides) == 2 else ():
        what = f"a {sides[1]} knee among {sides[0]} ones"
        cure = "mirror it, or leave it out: the network would take medial for lateral"
        yield Fault("warning", what, str(case.where), f"case {case.case_id}", cure)
    # A table whose subjects were blanked has one value throughout.
    if cases["subject"].nunique() > 1:
        train = set(cases.loc[cases["split"] == "train", "subject"].dropna())
        for case in cases[(cases["split"] == "test") & cases["subject"].isin(train)].itertuples():
            what, cure = "a test case of a training subject", "keep a subject in one split"
            yield Fault("warning", what, str(case.where), f"case {case.case_id}", cure)


def _file_faults(folder: Path, cases: pd.DataFrame) -> Iterator[Fault]:
    """Yield masks that are missing, and volumes that no row names."""
    for case in cases[cases["mask"].isna()].itertuples():
        where = f"labels{SPLITS[str(case.split)]}/oaizib_{case.case_id:03d}.nii.gz"
        cure = "fetch it; without it the case has no overlay and no tissue volumes"
        yield Fault("warning", "the mask is missing", where, str(case.where), cure)
    used = {*cases["image"], *cases["mask"], *_lesions(folder, cases)}
    for path in sorted(folder.glob("[il]*T[rs]/[!.]*.nii*")):
        if str(path) not in used:
            cure = "add a row for it, or take the file away"
            what, where = "no row of the table uses this file", str(path.relative_to(folder))
            yield Fault("warning", what, where, "", cure)


def _lesions(folder: Path, cases: pd.DataFrame) -> Iterator[str]:
    """Yield where a phantom has the maps of lesions of its cases."""
    for case in cases.itertuples():
        for end in (".nii.gz", ".nii"):
            name = f"oaizib_{case.case_id:03d}{end}"
            yield str(folder / f"lesions{SPLITS[str(case.split)]}" / name)


def _read(path: str, kind: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """Read a volume, all its voxels and its affine in mm; a ValueError says why it is of no use."""
    volume = load_whole(path)
    array, affine = as_volume(volume)
    why, cure = shows_nothing(array) if kind == "image" else ("", "")
    if why:
        raise ValueError(why if "again" in cure else f"{why}: {cure}")
    return volume, array, affine


def _inspect(folder: Path, case: Any) -> tuple[dict[str, Any], list[Fault]]:
    """Facts and faults of one case's volumes."""
    facts: dict[str, Any] = {}
    faults: list[Fault] = []
    grids = []
    for kind, path in (("image", case.image), ("mask", case.mask)):
        if path is None or not Path(path).exists():
            continue  # a fault already
        where = str(Path(path).relative_to(folder))
        try:
            volume, array, affine = _read(path, kind)
            canonical, turned = to_canonical(array, affine)
            known, found = _facts(kind, where, volume, array, affine)
        except NoVolumeError as error:
            what = f"this {kind} cannot be used"
            faults.append(Fault("error", what, where, error.what, error.cure))
            continue
        except Exception as error:  # one file, whatever is wrong with it, ends no check
            why = str(error).replace(path, where).splitlines() or [type(error).__name__]
            what, detail, cure = f"this {kind} cannot be used", why[0], _FETCH
            if said := unread(error, path).replace(path, where):  # that file may be a good one
                what, (detail, cure) = f"this {kind} cannot be read", said.split("; ", 1)
            faults.append(Fault("error", what, where, detail.removeprefix(f"{where}: "), cure))
            continue
        grids.append((canonical.shape, turned))
        facts |= known
        faults += found
    if len(grids) == 2 and (gap := grid_gap(*grids)):
        what, cure = "mask and image lie on different grids", "resample the mask to the image"
        faults.append(Fault("error", what, where, gap, cure))
    return facts, faults


def _facts(
    kind: str, where: str, volume: Any, array: np.ndarray, affine: np.ndarray
) -> tuple[dict[str, Any], list[Fault]]:
    """Facts and faults of one volume that can be read."""
    faults: list[Fault] = []
    header = volume.header
    if not (header["sform_code"] or header["qform_code"]):
        cure = "write it again with its affine: its axes cannot be told"
        faults.append(Fault("warning", "says nothing of its orientation", where, "", cure))
    if apart := forms_apart(volume):
        what = "its header places the voxels in two ways"
        cure = "set qform, sform and pixdim alike: programs differ in which they read"
        faults.append(Fault("warning", what, where, apart, cure))
    sizes = nib.affines.voxel_sizes(affine)
    length = float((sizes * array.shape).max())
    if not _SHORTEST <= length <= _LONGEST:
        what, cure = "is no volume of a knee's size", "correct its voxel sizes or its header's unit"
        faults.append(Fault("error", what, where, f"{length:.3g} mm long", cure))
    if kind == "image":
        axes, spacing = "".join(nib.aff2axcodes(affine)), tuple(float(size) for size in sizes)
        return {"image_shape": array.shape, "image_spacing": spacing, "image_axes": axes}, faults
    labels, wrong = whole_labels(array, storage_step(volume))
    present = np.flatnonzero(np.bincount(labels.ravel(order="K")))
    if wrong:
        what, cure = f"labels other than 0 to {max(LABELS)}", "map them to OAIZIB-CM's five tissues"
        faults.append(Fault("error", what, where, wrong, cure))
        present = np.unique(array)
    return {"mask_labels": tuple(f"{label:g}" for label in present)}, faults


def _outliers(folder: Path, cases: pd.DataFrame) -> Iterator[Fault]:
    """Volumes whose shape, spacing, axes or labels are not those of most."""
    for column in FACTS:
        known = cases[cases[column].notna()]
        kind, fact = column.split("_")
        usual: Any = Counter(known[column]).most_common(1)[0][0] if len(known) else None
        for case in known.itertuples():
            value = getattr(case, column)
            if not (np.allclose(value, usual, 0.01) if fact == "spacing" else value == usual):
                where = str(Path(getattr(case, kind)).relative_to(folder))
                detail = f"{_times(value)}; most have {_times(usual)}"
                cure = "look at it; leave it out if it is of another protocol"
                yield Fault("warning", f"unlike most in its {fact}", where, detail, cure)


def _times(values: Any) -> str:
    if isinstance(values[0], str):
        return values if isinstance(values, str) else ", ".join(values)
    return " x ".join(f"{value:.4g}" for value in values)


def _wrap(text: str, indent: str = "") -> list[str]:
    return textwrap.TextWrapper(_WIDTH, indent, indent + "   ", break_on_hyphens=False).wrap(text)


def _volume_lines(cases: pd.DataFrame) -> list[str]:
    known = cases[cases["image_shape"].notna()]
    lines = [f"Usable images: {len(known)} of {len(cases)}. Masks: {cases['mask'].count()}."]
    if len(known):
        shape, spacing, axes = (Counter(known[fact]).most_common(1)[0][0] for fact in FACTS[:3])
        lines.append(f"Most common: {_times(shape)} voxels of {_times(spacing)} mm, axes {axes}.")
    return lines


def _distribution(cases: pd.DataFrame) -> list[str]:
    """Cases, grades, sex, age and BMI by split, beside the paper's."""
    columns: dict[str, list[Any]] = {}
    for split, paper_kl in PAPER_KL.items():
        every = cases[cases["split"] == split]
        known = every[every["kl"].notna()]
        counts = [int((known["kl"] == grade).sum()) for grade in range(N_GRADES)]
        spread = [_mean_and_sd(known[x].dropna()) for x in ("age", "bmi")]
        women = _share_of_women(known["sex"].dropna())
        ours = [len(every), len(every) - len(known), len(known), *counts]
        theirs = ["", "", sum(paper_kl), *paper_kl, sum(paper_kl[FIRST_OA_GRADE:])]
        columns[split] = [*ours, sum(counts[FIRST_OA_GRADE:]), women, *spread]
        columns[f"paper's {split}"] = [*theirs, "", PAPER_AGE[split], ""]
    rows = ["cases", "without a grade", "graded", *(f"  KL {grade}" for grade in range(N_GRADES))]
    rows += [f"  OA (KL >= {FIRST_OA_GRADE})", "  women", "  age, years", "  BMI, kg/m2"]
    return [line.rstrip() for line in pd.DataFrame(columns, index=rows).to_string().splitlines()]


def _share_of_women(sex: pd.Series) -> str:
    return _too_few(sex) or f"{100 * (sex == 'female').mean():.0f} %"


def _mean_and_sd(values: pd.Series) -> str:
    return _too_few(values) or f"{values.mean():.1f} ± {values.std():.1f}"


def _too_few(values: pd.Series) -> str:
    """Say in words that there is nothing to take a mean of, or one knee, whose own it would be."""
    return "" if len(values) > 1 else "of one knee" if len(values) else "unknown"
