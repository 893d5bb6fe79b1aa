"""A synthetic cohort of right knees in OAIZIB-CM's layout, with the truth behind its labels.

Three steps: `sample_subjects` draws who the knees are and how ill,
:func:`oacore.knee.draw_knee` turns one row into an image and a label map, and
`write_phantom` writes them all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from tqdm import tqdm

from oacore.cohort import PAPER_KL, SPLITS, SYNTHETIC
from oacore.errors import InputError
from oacore.hierarchy import N_GRADES, reader_table
from oacore.knee import FIELD_OF_VIEW, MARGINS, draw_knee

READER_NOISE = 0.35
# Means in mm of the central cartilage of knees without loss: OAIZIB-CM, KL 0 to 2.
THICKNESS = {
    "femur_medial": 2.2,
    "femur_lateral": 2.25,
    "tibia_medial": 2.25,
    "tibia_lateral": 2.9,
}
CLEARANCE = 0.25  # mm of fluid between the two cartilages where they are closest
README = """A synthetic cohort: every image, mask, grade and person here was drawn by a program.

No knee, subject or reading is real, and no result on it is a clinical one. truth.csv holds what
was drawn: the grade before reading errors (kl_true), the severity behind it, a second reading,
and the joint space, cartilage and osteophytes that the images show.
"""


def noisy_readings(reader_noise: float) -> np.ndarray:
    """P(reading | true grade), between a faultless reader and the measured table.

    Parameters
    ----------
    reader_noise : float
        0 gives the identity, 1 :func:`oacore.hierarchy.reader_table`; linear in between.

    Returns
    -------
    ndarray, shape (5, 5)
        Rows true grade, columns reading.
    """
    if not 0 <= reader_noise <= 1:
        raise InputError(f"reader_noise is {reader_noise}; give a number from 0 to 1")
    measured = reader_table().to_numpy()
    return (1 - reader_noise) * np.eye(N_GRADES) + reader_noise * measured


def _true_shares(readings: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Shares of the true grades that make `observed` the expected readings (Richardson-Lucy)."""
    observed = observed / observed.sum()
    shares = np.full(N_GRADES, 1 / N_GRADES)
    for _ in range(500):
        expected = shares @ readings
        ratio = np.divide(observed, expected, out=np.zeros(N_GRADES), where=expected > 0)
        shares = shares * (readings @ ratio)
    return shares / shares.sum()


def sample_subjects(
    train: Sequence[int] = PAPER_KL["train"],
    test: Sequence[int] = PAPER_KL["test"],
    *,
    ungraded: Sequence[int] = (21, 5),
    seed: int = 0,
    reader_noise: float = READER_NOISE,
) -> pd.DataFrame:
    """Draw the subjects: who they are, how ill, and what two readers saw.

    The label `kl` is the first reader's grade, and has exactly the counts asked for; the
    true grade follows by Bayes' rule from the label and `noisy_readings`.

    Parameters
    ----------
    train, test : sequence of five int
        Knees labelled KL 0 to 4 in each split.
    ungraded : (int, int)
        Knees without a label in the training and the test split.
    seed : int
    reader_noise : float
        0 to 1, see `noisy_readings`.

    Returns
    -------
    DataFrame
        One row a knee, sorted by label within each split as OAIZIB-CM is: case_id, split, kl
        (Int64, missing without a label), kl_true, severity (continuous; kl_true is its nearest
        grade), reader2, sex, age (years), bmi (kg/m2), diseased ("medial" or "lateral"), size
        (1 is the mean knee), thickness_*_mm and loss_* (central cartilage left in mm, and the
        share lost), joint_space_medial_mm, joint_space_lateral_mm, osteophyte_*_mm.

    Raises
    ------
    InputError
        If a count is negative or missing, or no knee is asked for.
    """
    for name, counts, length in (
        ("train", train, N_GRADES), ("test", test, N_GRADES), ("ungraded", ungraded, 2)
    ):  # fmt: skip
        if len(counts) != length or any(c < 0 or c != int(c) for c in counts):
            raise InputError(f"{name} is {tuple(counts)}; give {length} counts of 0 or more")
    total = np.add(train, test)
    if total.sum() == 0:
        raise InputError("train and test hold no graded knee; ask for at least one")
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    readings = noisy_readings(reader_noise)
    shares = _true_shares(readings, total.astype(float))
    posterior = shares[:, None] * readings
    posterior = posterior / np.maximum(posterior.sum(0), 1e-300)

    def draw(probabilities: np.ndarray) -> np.ndarray:
        return (rng.random((len(probabilities), 1)) > probabilities.cumsum(1)).sum(1)

    labels, splits = [], []
    for split, counts, without in zip(SPLITS, (train, test), ungraded, strict=True):
        labels += [grade for grade, count in enumerate(counts) for _ in range(count)]
        labels += [-1] * without
        splits += [split] * (sum(counts) + without)
    label = np.array(labels)
    n = len(label)
    by_label = np.vstack([posterior.T, shares])  # the last row, -1, is for knees without a label
    kl_true = np.minimum(draw(by_label[label]), N_GRADES - 1)
    severity = kl_true + rng.uniform(-0.5, 0.5, n)
    male = rng.random(n) < 0.42
    lateral = rng.random(n) < np.where(kl_true == 4, 0.32, 0.26)
    size = np.where(male, 1.065, 0.95) * np.exp(rng.normal(0, 0.035, n))
    table: dict[str, Any] = {
        "case_id": np.arange(1, n + 1),
        "split": splits,
        "kl": pd.array(np.where(label < 0, 0, label), dtype="Int64"),
        "kl_true": kl_true,
        "severity": severity.round(4),
        "reader2": np.minimum(draw(readings[kl_true]), N_GRADES - 1),
        "sex": np.where(male, "male", "female"),
        "age": rng.normal(61.8, 9.5, n).clip(45, 79).round(),
        "bmi": rng.normal(29.5, 4.7, n).clip(18, 46).round(1),
        "diseased": np.where(lateral, "lateral", "medial"),
        "size": size.round(4),
    }
    # Cartilage is lost in one compartment, from KL 3 on; more of the femoral than the tibial.
    femoral_loss = np.where(severity > 2.5, 0.2 + 0.45 * (severity - 2.5), 0)
    femoral_loss = (femoral_loss * np.exp(rng.normal(0, 0.12, n))).clip(0, 1.1)
    tibial_loss = femoral_loss * np.where(lateral, 0.72, 0.3 + 0.4 * femoral_loss)
    build = size * np.exp(rng.normal(0, 0.1, n))
    for name, mean in THICKNESS.items():
        bone, side = name.split("_")
        loss = np.where((side == "lateral") == lateral, 1, 0)
        loss = (loss * (femoral_loss if bone == "femur" else tibial_loss)).round(4)
        whole = mean * build * np.exp(rng.normal(0, 0.07, n))
        table[f"loss_{name}"] = loss
        table[f"thickness_{name}_mm"] = (whole * (1 - loss.clip(0, 1))).round(3)
        table[f"whole_{name}_mm"] = whole.round(3)
    for side in ("medial", "lateral"):
        both = table[f"thickness_femur_{side}_mm"] + table[f"thickness_tibia_{side}_mm"]
        table[f"joint_space_{side}_mm"] = (both + CLEARANCE).round(3)
    # Osteophytes grow with severity at all margins, most at the diseased compartment's.
    # A definite osteophyte is what sets KL 2 apart, hence the step at 1.5.
    steps = [-0.5, 0.5, 1.4, 1.6, 2.5, 3.5, 4.5]
    growth = np.interp(severity, steps, [0, 0.3, 1.2, 3.0, 4.0, 5.5, 8.0])
    growth = growth * np.exp(rng.normal(0, 0.12, n))
    for name in MARGINS:
        near = (name[1] == "l") == lateral
        spread = np.exp(rng.normal(0, 0.25, n)) * np.where(near, 1, 0.55)
        table[f"osteophyte_{name}_mm"] = (growth * spread).clip(0, 10).round(3)
    frame = pd.DataFrame(table)
    frame.loc[label < 0, "kl"] = pd.NA
    return frame


def _write_case(
    folder: Path, subject: dict[Any, Any], shape: tuple[int, int, int], seed: int
) -> None:
    """Draw one knee and write its two files."""
    case_id = int(subject["case_id"])
    image, labels = draw_knee(subject, shape, [seed, case_id])
    voxel = np.array(FIELD_OF_VIEW) / shape
    affine = np.diag([*voxel, 1.0])
    affine[:3, 3] = (voxel - FIELD_OF_VIEW) / 2
    end = SPLITS[subject["split"]]
    for array, path in (
        (image, folder / f"images{end}" / f"oaizib_{case_id:03d}_0000.nii.gz"),
        (labels, folder / f"labels{end}" / f"oaizib_{case_id:03d}.nii.gz"),
    ):
        nifti = nib.Nifti1Image(array, affine)
        nifti.header.set_xyzt_units("mm")
        nib.save(nifti, path)


def _subject_table(truth: pd.DataFrame) -> pd.DataFrame:
    """The columns of OAIZIB-CM's subInfo tables; subject numbers are made up and look it."""
    return pd.DataFrame(
        {
            "SubjectID": 9_000_000 + truth["case_id"],
            "CMT-ID": truth["case_id"],
            "Path": "synthetic",
            "MRBarCode": SYNTHETIC,
            "KneeSide": 1,
            "KLGrade": truth["kl"].astype("Float64"),
            "Gender": truth["sex"].map({"male": 1, "female": 2}),
            "Age": truth["age"].astype(int),
            "BMI": truth["bmi"],
        }
    )


def write_phantom(
    folder: str | Path,
    *,
    train: Sequence[int] = PAPER_KL["train"],
    test: Sequence[int] = PAPER_KL["test"],
    ungraded: Sequence[int] = (21, 5),
    shape: Sequence[int] = (160, 384, 384),
    seed: int = 0,
    workers: int = 1,
    reader_noise: float = READER_NOISE,
) -> pd.DataFrame:
    """Write a synthetic cohort in OAIZIB-CM's layout, and truth.csv beside it.

    Parameters
    ----------
    folder : path-like
        New or empty; it appears when the cohort is complete.
    train, test, ungraded, seed, reader_noise
        See `sample_subjects`.
    shape : sequence of three int
        Voxels of each image, at least 16 a side.
    workers : int
        Processes; the images do not depend on their number.

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
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{folder}: holds something already; give a new folder or empty this one")
    grid = tuple(int(n) for n in shape)
    if len(grid) != 3 or min(grid) < 16:
        raise InputError(f"shape is {grid}; give three numbers of voxels, 16 or more each")
    if workers < 1:
        raise InputError(f"workers is {workers}; give 1 or more")
    truth = sample_subjects(train, test, ungraded=ungraded, seed=seed, reader_noise=reader_noise)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for kind in ("images", "labels"):
        for end in SPLITS.values():
            (part / f"{kind}{end}").mkdir(parents=True)
    subjects = truth.drop(columns=["kl", "reader2"]).to_dict("records")
    progress = tqdm(total=len(subjects), desc="phantom", unit="knee")
    with progress:
        _each(part, subjects, (grid[0], grid[1], grid[2]), seed, workers, progress.update)
    for split, rows in truth.groupby("split", sort=False):
        _subject_table(rows).to_excel(part / f"subInfo_{split}.xlsx", index=False)
    truth.to_csv(part / "truth.csv", index=False)
    (part / "README.txt").write_text(README)
    if folder.is_dir():
        folder.rmdir()
    os.replace(part, folder)
    return truth


def _each(
    folder: Path,
    subjects: list[dict[Any, Any]],
    shape: tuple[int, int, int],
    seed: int,
    workers: int,
    done: Callable[[], Any],
) -> None:
    """Write all cases, here or in worker processes."""
    if workers == 1:
        for subject in subjects:
            _write_case(folder, subject, shape, seed)
            done()
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_write_case, folder, subject, shape, seed) for subject in subjects]
        try:
            for job in as_completed(jobs):
                job.result()
                done()
        finally:  # after an error or an interrupt, do not draw the rest first
            pool.shutdown(cancel_futures=True)


def read_truth(folder: str | Path) -> pd.DataFrame:
    """Read the truth behind a phantom cohort, as `write_phantom` returned it."""
    path = Path(folder) / "truth.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file; only a cohort from `oacore phantom` has one")
    return pd.read_csv(path, dtype={"kl": "Int64"})
