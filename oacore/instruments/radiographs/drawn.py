"""A drawn set of radiographs, in memory or on disk, with the truth behind its grades.

:func:`oacore.instruments.phantom.subjects.sample_subjects` draws who the knees are and how ill,
:func:`.drawing.draw_radiograph` turns one row into a picture with its landmarks.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from functools import partial
from itertools import count
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from oacore.errors import InputError
from oacore.files import in_processes, remove_parts, require_empty, whole, write
from oacore.fingerprint import fingerprint
from oacore.hierarchy import N_GRADES
from oacore.instruments.coherence.patterns import GRADES
from oacore.instruments.phantom.grades import OSTEOPHYTES, SIDES
from oacore.instruments.phantom.subjects import sample_subjects
from oacore.instruments.radiographs.cases import Radiographs
from oacore.instruments.radiographs.drawing import FIELD, LEAST_SIZE, SIZE, draw_radiograph
from oacore.instruments.radiographs.pictures import KNEE, correlation_with_mean_knee
from oacore.instruments.radiographs.resampling import mirror
from oacore.instruments.radiographs.words import POINTS
from oacore.seals import SEAL, files_below, seal

#: Noise of the reading of KL. With it the label is what the six other grades say of it
#: (:func:`oacore.instruments.phantom.grades.kl_from_oarsi`) in 93% of knees in the public set's
#: proportions, as it is in 5,107 of 5,507 read knees (92.7%).
READER_NOISE = 0.13
#: Share of knees by KL 0 to 4 whose osteophytes OAI has read, in the public set.
READ_SHARES = (0.222, 0.531, 1.0, 1.0, 1.0)
#: What is known of a drawn knee beyond its readings.
TRUTH = (
    "kl_true", "severity",
    *(f"{name}_mm" for name in OSTEOPHYTES),
    *(f"joint_space_{side}_mm" for side in SIDES),
    *(f"sclerosis_{side}" for side in SIDES),
)  # fmt: skip

README = """Knee radiographs, grades and persons that a program drew.

No knee, person or reading is real, and no result on them is a clinical one. table.csv holds what
a user of real radiographs would have, landmarks.csv the 16 points of each picture as it lies
here, truth.csv what was drawn: all grades (also those that table.csv leaves out), the grade before
reading errors (kl_true), the severity behind it, and lengths in mm.
"""


def sample_cases(
    train: Sequence[int],
    val: Sequence[int],
    test: Sequence[int],
    *,
    seed: int = 0,
    reader_noise: float = READER_NOISE,
    left: float = 0.5,
) -> pd.DataFrame:
    """Draw whose knees they are, how ill, and what a reader saw; each knee is one person's.

    Parameters
    ----------
    train, val, test : sequence of five int
        Knees read as KL 0 to 4 in each split.
    seed : int
        0 or more.
    reader_noise : float
        Of the reading of KL, 0 to 1; the six OARSI grades are read without error.
    left : float
        Share of left knees, 0 to 1.

    Returns
    -------
    DataFrame
        A row a knee, all columns of `sample_subjects` but the second reading, and case, person
        (str), split ("train", "val", "test"); in random order, so that a case's name says nothing
        of its grade. All six OARSI grades are there.

    Raises
    ------
    InputError
        If a count, a share or the seed is out of range.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}; give 0 or more")
    for name, counts in (("train", train), ("val", val)):
        if len(counts) != N_GRADES or any(n < 0 or n != int(n) for n in counts):
            raise InputError(f"{name} is {tuple(counts)}; give {N_GRADES} counts of 0 or more")
    both = np.add(train, val).tolist()
    subjects = sample_subjects(
        both, test, ungraded=(0, 0), seed=seed, reader_noise=reader_noise, left=left
    )
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    subjects = subjects.iloc[rng.permutation(len(subjects))].drop(columns="reader2")
    # In random order, the first of each grade are as good as any.
    order = subjects.groupby(["split", "kl"]).cumcount()
    first = order < subjects["kl"].map(dict(enumerate(val))).astype(int)
    subjects["split"] = subjects["split"].mask((subjects["split"] == "train") & first, "val")
    width = max(4, len(str(len(subjects))))
    numbers = [f"{number:0{width}d}" for number in range(1, len(subjects) + 1)]
    subjects.insert(0, "case", [f"drawn_{number}" for number in numbers])
    subjects.insert(1, "person", [f"person_{number}" for number in numbers])
    grades = {name: subjects[name].astype("Int64") for name in GRADES}
    return subjects.assign(**grades).drop(columns="case_id").reset_index(drop=True)


def as_read(cases: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Leave out osteophyte grades as OAI does: of most knees of KL 0, of half of KL 1, no others.

    OAI reads them in persons with KL 2 or more at some visit; here it is left to chance, given KL,
    which knees these are (`READ_SHARES`).

    Parameters
    ----------
    cases : DataFrame
        From `sample_cases`.
    seed : int

    Returns
    -------
    DataFrame
        The same with <NA>; all four or none are missing.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2]))
    share = cases["kl"].map(dict(enumerate(READ_SHARES))).astype(float)
    unread = rng.random(len(cases)) >= share.to_numpy()
    return cases.assign(**{name: cases[name].mask(unread) for name in OSTEOPHYTES})


def _draw_case(seed: int, size: int, subject: dict[Any, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Draw one knee; a picture that would be taken for none of a knee is taken again."""
    if parent_process() is not None:
        torch.set_num_threads(1)  # a worker has one core; the picture does not depend on it
    first = [seed, int(subject["case"].split("_")[1])]
    drawn = draw_radiograph(subject, first, size)
    for again in count(1):
        if correlation_with_mean_knee(drawn.picture) >= KNEE:
            break
        drawn = draw_radiograph(subject, [*first, again], size)
    return drawn.picture, drawn.landmarks


def draw_radiographs(
    train: Sequence[int],
    val: Sequence[int],
    test: Sequence[int],
    *,
    seed: int = 0,
    size: int = SIZE,
    workers: int = 1,
    reader_noise: float = READER_NOISE,
    all_read: bool = False,
) -> Radiographs:
    """Draw a set of radiographs.

    Parameters
    ----------
    train, val, test, seed, reader_noise
        See `sample_cases`.
    size : int
        Pixels of a side, of 140 mm.
    workers : int
        Processes; the pictures do not depend on their number.
    all_read : bool
        Keep the osteophyte grades of all knees; else they are missing as in OAI, see `as_read`.

    Returns
    -------
    Radiographs
        `cases` has, beyond what radiographs have, the columns `TRUTH`.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    _require(size, workers)
    cases = sample_cases(train, val, test, seed=seed, reader_noise=reader_noise)
    work = partial(_draw_case, seed, size)
    drawn = in_processes(work, cases.to_dict("records"), workers, "radiographs", "knee")
    pictures, landmarks = (np.stack(part) for part in zip(*drawn, strict=True))
    cases = cases if all_read else as_read(cases, seed)
    names = ["case", "person", "side", "split", *GRADES, "sex", "age", *TRUTH]
    scale = dict.fromkeys(("mm_per_pixel_x", "mm_per_pixel_y"), FIELD / size)
    return Radiographs(cases[names].assign(**scale), pictures, landmarks)


def _require(size: int, workers: int) -> None:
    """Before anything is made."""
    if size < LEAST_SIZE:
        raise InputError(f"size is {size}; give {LEAST_SIZE} pixels or more")
    if workers < 1:
        raise InputError(f"workers is {workers}; give 1 or more")


def _write_case(folder: Path, seed: int, size: int, subject: dict[Any, Any]) -> list[float]:
    """Draw one knee and write its picture; gives its landmarks, in the picture as written."""
    picture, landmarks = _draw_case(seed, size, subject)
    if subject["side"] == "left":  # drawn as a right knee
        picture, landmarks = picture[:, ::-1], mirror(landmarks, size)
    values = [round(float(value), 2) for value in landmarks.ravel()]
    # The picture comes last: where it is, the landmarks are.
    write(folder / "points" / f"{subject['case']}.json", json.dumps(values))
    with whole(folder / "images" / f"{subject['case']}.png") as part:
        Image.fromarray(np.ascontiguousarray(picture)).save(part, format="PNG")
    return values


def write_radiographs(
    folder: str | Path,
    train: Sequence[int],
    val: Sequence[int],
    test: Sequence[int],
    *,
    seed: int = 0,
    size: int = SIZE,
    workers: int = 1,
    reader_noise: float = READER_NOISE,
    all_read: bool = False,
) -> pd.DataFrame:
    """Write a drawn set as a folder that :func:`.cases.read_radiographs` reads.

    Interrupted, the same call goes on with the pictures that are missing.

    Parameters
    ----------
    folder : path-like
        New or empty; it appears when the set is complete: table.csv, landmarks.csv, truth.csv,
        images/, README.txt, and the seal of these. Left knees lie there as they are, not mirrored.
    train, val, test, seed, size, workers, reader_noise, all_read
        See `draw_radiographs`.

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
    _require(size, workers)
    truth = sample_cases(train, val, test, seed=seed, reader_noise=reader_noise)
    part = folder.with_name(folder.name + ".part")
    code = fingerprint("oacore.instruments.radiographs.drawing")
    text = truth.to_csv(index=False) + code + json.dumps([seed, size])
    record, identity = part / "identity.txt", hashlib.blake2b(text.encode()).hexdigest()
    if not record.is_file() or record.read_text() != identity:
        shutil.rmtree(part, ignore_errors=True)
        for name in ("images", "points"):
            (part / name).mkdir(parents=True)
        write(record, identity)
    missing = truth[[not (part / "images" / f"{case}.png").is_file() for case in truth["case"]]]
    work = partial(_write_case, part, seed, size)
    done = len(truth) - len(missing)
    in_processes(work, missing.to_dict("records"), workers, "radiographs", "knee", done)
    remove_parts(part)
    points = [json.loads((part / "points" / f"{case}.json").read_text()) for case in truth["case"]]
    landmarks = pd.DataFrame(
        points, columns=[f"{point}{axis}" for point in POINTS for axis in "xy"]
    )
    landmarks.insert(0, "case", truth["case"])
    landmarks["mm_per_px_x"] = landmarks["mm_per_px_y"] = FIELD / size
    table = truth if all_read else as_read(truth, seed)
    table = table[["case", "person", "side", "split", *GRADES, "sex", "age"]]
    write(part / "table.csv", table.to_csv(index=False))
    write(part / "landmarks.csv", landmarks.to_csv(index=False))
    write(part / "truth.csv", truth.to_csv(index=False))
    write(part / "README.txt", README)
    shutil.rmtree(part / "points")
    record.unlink()
    seal(part / SEAL, files_below(part))
    if folder.is_dir():
        folder.rmdir()
    os.replace(part, folder)
    return truth
