"""A synthetic cohort on disk, in OAIZIB-CM's layout, with the truth behind its labels.

:func:`.subjects.sample_subjects` draws who the knees are and how ill,
:func:`.knee.draw_knee` turns one row into an image and its label maps, and
`write_phantom` writes them all.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch

from oacore.data.cohort import PAPER_KL, SPLITS, SYNTHETIC
from oacore.errors import InputError
from oacore.files import in_processes, remove_parts, require_empty, whole, write
from oacore.fingerprint import fingerprint
from oacore.instruments.phantom.knee import FIELD_OF_VIEW, draw_knee
from oacore.instruments.phantom.subjects import READER_NOISE, sample_subjects
from oacore.seals import SEAL, require, seal

#: What the knees are, beside what readers say of them.
TRUTH = "truth.csv"

README = """A synthetic cohort: every image, mask, grade and person here was drawn by a program.

No knee, subject or reading is real, and no result on it is a clinical one. truth.csv holds what
was drawn: the grade before reading errors (kl_true), the severity behind it, the OARSI grades, a
second reading, and the joint space, cartilage and osteophytes that the images show. lesionsTr and
lesionsTs hold what the disease changed in each image:
1-4 osteophytes (femur lateral, femur medial, tibia lateral, tibia medial), 5 cartilage lost down
to the bone, 6 cartilage thinned, 7 marrow lesion.
"""


def _paths(folder: Path, subject: dict[Any, Any]) -> list[Path]:
    """Image, labels and lesions of one knee, in the order in which they are written."""
    end, name = SPLITS[subject["split"]], f"oaizib_{int(subject['case_id']):03d}"
    return [
        folder / f"images{end}" / f"{name}_0000.nii.gz",
        folder / f"labels{end}" / f"{name}.nii.gz",
        folder / f"lesions{end}" / f"{name}.nii.gz",
    ]


def _write_case(
    folder: Path, shape: tuple[int, int, int], seed: int, device: str, subject: dict[Any, Any]
) -> None:
    """Draw one knee and write its three files, each whole or not at all."""
    if parent_process() is not None:
        torch.set_num_threads(1)  # a worker has one core; the arrays do not depend on it
    case_id = int(subject["case_id"])
    knee = draw_knee(subject, shape, [seed, case_id], device)
    voxel = np.array(FIELD_OF_VIEW) / shape
    affine = np.diag([*voxel, 1.0])
    affine[:3, 3] = (voxel - FIELD_OF_VIEW) / 2
    arrays = (knee.image, knee.labels, knee.lesions)
    for array, path in zip(arrays, _paths(folder, subject), strict=True):
        nifti = nib.Nifti1Image(array, affine)
        nifti.header.set_xyzt_units("mm")
        with whole(path) as part:
            nib.save(nifti, part)


def _identity(truth: pd.DataFrame, shape: Sequence[int], seed: int, device: str) -> str:
    """What the files of a cohort follow from: its rows, the arguments, the code that draws."""
    code = fingerprint("oacore.instruments.phantom.knee")
    text = truth.to_csv(index=False) + code + json.dumps([list(shape), seed, device])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _subject_table(truth: pd.DataFrame) -> pd.DataFrame:
    """The columns of OAIZIB-CM's subInfo tables; subject numbers are made up and look it.

    A test split that holds the paper's knees of each grade and more has them marked in Subset.
    """
    table = pd.DataFrame(
        {
            "SubjectID": 9_000_000 + truth["case_id"],
            "CMT-ID": truth["case_id"],
            "Path": "synthetic",
            "MRBarCode": SYNTHETIC,
            "KneeSide": truth["side"].map({"right": 1, "left": 2}),
            "KLGrade": truth["kl"].astype("Float64"),
            "Gender": truth["sex"].map({"male": 1, "female": 2}),
            "Age": truth["age"].astype(int),
            "BMI": truth["bmi"],
        }
    )
    kl, most = truth["kl"], dict(enumerate(PAPER_KL["test"]))
    first = kl.notna() & (truth.groupby("kl").cumcount() < kl.map(most).fillna(0))
    if (truth["split"] == "test").all() and sum(most.values()) == first.sum() < kl.notna().sum():
        table["Subset"] = first.map({True: "as many as the paper", False: None})
    return table


def _workbook(table: pd.DataFrame) -> bytes:
    """A table as an Excel file that tells no time, so that equal cohorts are equal in each byte."""
    made, dated = io.BytesIO(), io.BytesIO()
    table.to_excel(dated, index=False)
    with zipfile.ZipFile(dated) as parts, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out:
        for name in parts.namelist():
            content = parts.read(name)
            if name == "docProps/core.xml":  # when it was made, and by whom
                content = re.sub(rb"\d{4}-\d\d-\d\dT[\d:.]+Z", b"1980-01-01T00:00:00Z", content)
            # ZipInfo's own date is the first of 1980.
            out.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def write_phantom(
    folder: str | Path,
    *,
    train: Sequence[int] = PAPER_KL["train"],
    test: Sequence[int] = PAPER_KL["test"],
    ungraded: Sequence[int] = (21, 5),
    shape: Sequence[int] = (160, 384, 384),
    seed: int = 0,
    workers: int = 1,
    reader_noise: float | tuple[float, float] = READER_NOISE,
    left: float = 0.0,
    device: str = "cpu",
) -> pd.DataFrame:
    """Write a synthetic cohort in OAIZIB-CM's layout, and truth.csv beside it.

    Interrupted, the same call goes on with the knees that are missing.

    Parameters
    ----------
    folder : path-like
        New or empty; it appears when the cohort is complete.
    train, test, ungraded, seed, reader_noise, left
        See :func:`.subjects.sample_subjects`.
    shape : sequence of three int
        Voxels of each image, at least 16 a side.
    workers : int
        Processes; the images do not depend on their number.
    device : str
        "cpu", or "cuda" to draw on a GPU.

    Returns
    -------
    DataFrame
        The table in truth.csv.

    Raises
    ------
    InputError
        If the folder holds something already, or an argument is out of range.
    """
    folder = Path(folder)
    require_empty(folder)
    grid = tuple(int(n) for n in shape)
    if len(grid) != 3 or min(grid) < 16:
        raise InputError(f"shape is {grid}; give three numbers of voxels, 16 or more each")
    if workers < 1:
        raise InputError(f"workers is {workers}; give 1 or more")
    if seed < 0:
        raise InputError(f"seed is {seed}; give 0 or more")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device is {device}, and PyTorch finds no GPU here; leave it at cpu")
    truth = sample_subjects(
        train, test, ungraded=ungraded, seed=seed, reader_noise=reader_noise, left=left
    )
    part = folder.with_name(folder.name + ".part")
    record, identity = part / "identity.txt", _identity(truth, grid, seed, device)
    if not record.is_file() or record.read_text() != identity:
        shutil.rmtree(part, ignore_errors=True)
        for kind in ("images", "labels", "lesions"):
            for end in SPLITS.values():
                (part / f"{kind}{end}").mkdir(parents=True)
        record.write_text(identity)
    subjects = truth.drop(columns=["kl", "reader2"]).to_dict("records")
    missing = [one for one in subjects if not all(p.is_file() for p in _paths(part, one))]
    write_case = partial(_write_case, part, (grid[0], grid[1], grid[2]), seed, device)
    done = len(subjects) - len(missing)
    in_processes(write_case, missing, workers, "phantom", "knee", done)
    remove_parts(part)
    record.unlink()
    for split, rows in truth.groupby("split", sort=False):
        write(part / f"subInfo_{split}.xlsx", _workbook(_subject_table(rows)))
    known = truth.to_csv(index=False)
    seal(part / f"{TRUTH}.{SEAL}", [], {TRUTH: known})  # without times: equal cohorts are equal
    write(part / TRUTH, known)
    write(part / "README.txt", README)
    if folder.is_dir():
        folder.rmdir()
    os.replace(part, folder)
    return truth


def read_truth(folder: str | Path) -> pd.DataFrame:
    """Read the truth behind a phantom cohort, as `write_phantom` returned it.

    Raises
    ------
    InputError
        If there is none, or it is not what was written; a phantom of an older version has no seal.
    """
    path = Path(folder) / TRUTH
    record = path.with_name(f"{TRUTH}.{SEAL}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; only a cohort from `oacore phantom` has one")
    if record.exists():
        require(record, TRUTH, cure=f"remove {folder} and write the phantom again")
    return pd.read_csv(path, dtype={"kl": "Int64"})
