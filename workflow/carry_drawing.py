"""What the drawing of knees makes, in files: run by :mod:`workflow.carry` on two trees.

Images are there as their SHA-256, since they would fill a disk. Only every `STEP`-th knee of the
record's cohort is drawn, which meets each grade, split and sex; all rows of its table are there.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from oacore.hierarchy import N_GRADES
from oacore.instruments.hierarchy.courses import at_stages, draw_paths
from oacore.instruments.hierarchy.visit_axes import BACKBONE, VisitPlan
from oacore.instruments.hierarchy.visits import draw_visit, sample_visits, shown_visits
from oacore.instruments.phantom.cohort import write_phantom
from oacore.instruments.phantom.grades import kl_from_oarsi, sample_grades
from oacore.instruments.phantom.knee import draw_knee
from oacore.instruments.phantom.subjects import sample_subjects
from oacore.instruments.radiographs.drawn import draw_radiographs, write_radiographs
from oacore.profile import load_profile
from oacore.seals import SEAL

STEP = 4
#: Knees of the visits' record that are drawn at all their visits.
VISITED = 20
OARSI = ["osteophyte_fl", "osteophyte_fm", "osteophyte_tl", "osteophyte_tm"]
OARSI += ["jsn_medial", "jsn_lateral"]


def put(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write a table, and what kind of numbers its columns hold."""
    text = "\n".join(f"{column} {kind}" for column, kind in table.dtypes.items())
    (folder / f"{name}.csv").write_text(table.to_csv(index=False))
    (folder / f"{name}.txt").write_text(text)


def put_sums(folder: Path, name: str, **arrays: np.ndarray) -> None:
    """Write kind, shape and SHA-256 of arrays."""
    lines = [
        f"{key} {one.dtype} {one.shape} {hashlib.sha256(one.tobytes()).hexdigest()}"
        for key, one in arrays.items()
    ]
    (folder / f"{name}.sha256").write_text("\n".join(lines))


def tables(folder: Path) -> None:
    """Grades, and rows of subjects under several seeds and settings."""
    patterns = np.indices((4,) * len(OARSI)).reshape(len(OARSI), -1).T
    kl = kl_from_oarsi(pd.DataFrame(patterns, columns=OARSI))
    np.save(folder / "kl-from-oarsi.npy", kl)
    for seed in range(3):
        drawn = sample_grades(np.repeat(np.arange(N_GRADES), 2000), np.random.default_rng(seed))
        put(folder, f"grades-{seed}", drawn)
        many = (2000,) * N_GRADES
        put(folder, f"subjects-{seed}", sample_subjects(many, seed=seed))
        put(folder, f"left-{seed}", sample_subjects(seed=seed, left=0.5, reader_noise=(1, 0.2)))
        exact = sample_subjects(many, (0,) * N_GRADES, ungraded=(0, 0), seed=seed, reader_noise=0)
        put(folder, f"exact-{seed}", exact)


def cohort(folder: Path) -> None:
    """The record's cohort, and a small one as it lies on a disk."""
    profile = load_profile("record")
    rows = sample_subjects(
        profile.train, profile.test, ungraded=profile.ungraded, seed=profile.cohort_seed
    )
    put(folder, "cohort", rows)
    shape = (profile.shape[0], profile.shape[1], profile.shape[2])
    some: list[dict[Any, Any]] = rows[::STEP].to_dict("records")
    for row in some:
        case = int(row["case_id"])
        knee = draw_knee(row, shape, [profile.cohort_seed, case])
        put_sums(folder, f"knee-{case:04d}", **vars(knee))
    one = (1,) * N_GRADES
    write_phantom(
        folder / "written",
        train=one,
        test=one,
        ungraded=(1, 1),
        shape=(84, 24, 110),
        seed=3,
        left=0.5,
    )


def visits(folder: Path) -> None:
    """Visits of the record, as rows, as images, and as networks see them."""
    plan, recipe = VisitPlan(), load_profile("record").recipe(BACKBONE)
    shape = load_profile(plan.profile).shape
    grid = (shape[0], shape[1], shape[2])
    paths = draw_paths(500, 7)
    np.save(folder / "paths.npy", paths)
    np.save(folder / "at-stages.npy", at_stages(paths, np.linspace(-1, N_GRADES, len(paths))))
    for seed in (plan.visit_seed, 2, 9):
        table = sample_visits(plan.knees, plan.visits, seed)
        put(folder, f"visits-{seed}", table.sort_index(axis=1))  # all ask for columns by name
    table = plan.table()
    some: list[dict[Any, Any]] = table[table["knee"] <= VISITED].to_dict("records")
    for row in some:
        image = draw_visit(row, grid, plan.visit_seed)
        put_sums(folder, f"visit-{row['knee']:03d}-{row['visit']}", image=image)
    seen = shown_visits(table[-3:], grid, recipe.grid, recipe.resample, plan.visit_seed)
    put_sums(folder, "visits-as-seen", images=seen)


def radiographs(folder: Path) -> None:
    """Drawn radiographs, in memory and as they lie on a disk."""
    counts = (8,) * N_GRADES, (1,) * N_GRADES, (3,) * N_GRADES
    write_radiographs(folder / "radiographs", *counts, seed=5)
    (folder / "radiographs" / SEAL).unlink()  # which tells times
    made = draw_radiographs(*([(1,) * N_GRADES] * 3), seed=6, size=128, all_read=True)
    put(folder, "radiographs", made.cases)
    put_sums(folder, "radiographs", pictures=made.pictures, landmarks=made.landmarks)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for draw in (tables, cohort, visits, radiographs):
        draw(Path(sys.argv[1]))
