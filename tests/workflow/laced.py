"""A cohort that passes for real, with words and numbers in it that no book may show."""

import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from oacore.__main__ import main as oacore

#: Words that stand nowhere but in the laced cohort.
MARKS = ("MARKSUBJECT", "MARKPATH", "MARKBARCODE", "MARKHEADER", "MARKSTRAY", "MARKFOLDER")
#: What its folder is called, which would run a script in a page that took it for HTML.
FOLDER = "MARKFOLDER <img src=x onerror=alert(1)>"
#: Its cases are numbered from here: no number of a book of the phantom begins so.
FIRST = 73000
CASE = re.compile(rb"(?<![\w.+/=])73\d{3}(?![\w.+/=])|oaizib_73|\brow \d+ \(case")


def write_laced(below: Path) -> Path:
    """The smoke cohort as if it were real, with marks wherever a person could be named."""
    cohort = below / FOLDER
    assert oacore(["phantom", str(cohort), "--profile", "smoke", "--workers", "2"]) == 0
    for name in ("truth.csv", "truth.csv.seal.json", "README.txt"):
        (cohort / name).unlink()
    for folder in cohort.glob("lesions*"):
        shutil.rmtree(folder)
    for path in cohort.glob("subInfo_*.xlsx"):
        table = pd.read_excel(path)
        rows = np.arange(len(table))
        table["CMT-ID"] += FIRST
        # The first test case is of the first training subject, and so on: findings that name cases.
        table["SubjectID"] = [f"MARKSUBJECT{row}" for row in rows]
        table["Path"] = [f"/secret/MARKPATH/{row}" for row in rows]
        table["MRBarCode"] = [f"MARKBARCODE{row}" for row in rows]
        # Decimals that no mean or quantile of a group ends in.
        table["Age"] = table["Age"].round() + 0.1357901 + rows * 1e-9
        table["BMI"] = table["BMI"].round() + 0.2468013 + rows * 1e-9
        table.to_excel(path, index=False)
    for path in sorted(cohort.glob("*/*.nii.gz")):
        image = nib.load(path)
        image = nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
        image.header["descrip"] = b"MARKHEADER"
        nib.save(image, path)
        number, end = re.fullmatch(r"oaizib_(\d+)(.*)", path.name).groups()
        path.rename(path.with_name(f"oaizib_{FIRST + int(number)}{end}"))
    for folder, name in (("imagesTr", "MARKSTRAY_Jane_Doe"), ("labelsTs", "oaizib_73999")):
        shutil.copy(next(cohort.glob("labelsTs/*.nii.gz")), cohort / f"{folder}/{name}.nii.gz")
    return cohort
