"""The same drawn knees at several visits, with a known course, and their images.

A knee keeps who it is; its disease goes along its path (:mod:`.hierarchy.courses`) and never back.
At each visit the knee lies in the scanner anew: pose, scanner and noise are the visit's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from oacore.data.volumes import as_shown
from oacore.errors import InputError
from oacore.hierarchy import N_GRADES
from oacore.instruments.hierarchy.courses import at_stages, draw_paths
from oacore.instruments.hierarchy.courses import rows as rows_of
from oacore.instruments.phantom.anatomy import draw_anatomy
from oacore.instruments.phantom.grades import MARGINS, SIDES, dominant_side
from oacore.instruments.phantom.knee import scan
from oacore.instruments.phantom.subjects import PLATES, draw_traits, sample_subjects

#: How many stages a knee rises from the first visit to the last, least and most; a stage is about
#: a grade.
COURSES = {"stable": (0.0, 0.0), "slow": (0.5, 1.0), "fast": (1.5, 2.5)}
#: Share of the knees that have each.
SHARES = {"stable": 0.25, "slow": 0.375, "fast": 0.375}
#: First stage that a visit can find a knee at.
FIRST = -0.5
#: Last stage that a visit can find a knee at.
LAST = N_GRADES - 0.5
#: Who a knee is: the same at every visit.
IDENTITY = ["sex", "bmi", "side", "size"]
#: How even the pace is: parameter of the Dirichlet distribution of the rises between visits.
_PACE = 2.0
_TRAITS, _KNEE, _VISIT = 4007, 4008, 4009


def sample_visits(knees: int, visits: int, seed: int) -> pd.DataFrame:
    """Draw knees, and how ill they are at each visit.

    Parameters
    ----------
    knees : int
        1 or more; how many are stable, slow and fast follows from :data:`SHARES`.
    visits : int
        2 or more.
    seed : int

    Returns
    -------
    DataFrame
        A row a visit, by knee and visit: knee and visit, from 1; course, of :data:`COURSES`;
        stage, from :data:`FIRST` to :data:`LAST`; :data:`IDENTITY`; and of the columns of
        :func:`.subjects.sample_subjects` all that know the disease. Within a knee `severity` and
        every sign never recede: reach of osteophytes, OARSI grades, marrow lesions, sclerosis,
        effusion and extrusion never fall, joint space and thickness of cartilage never rise. What
        the cartilage was before it was lost (whole) and the bone's shape follow the grade.

    Raises
    ------
    InputError
        On fewer knees or visits.
    """
    if knees < 1 or visits < 2:
        raise InputError(f"{knees} knees and {visits} visits; give 1 knee and 2 visits, or more")
    of_cartilage, of_signs, of_course = map(
        np.random.default_rng, np.random.SeedSequence([_TRAITS, seed]).spawn(3)
    )
    # All of one grade, so that nothing of a person knows how ill the knee will be.
    alike = [0, 0, knees, 0, 0]
    persons = sample_subjects(
        alike, (0,) * N_GRADES, ungraded=(0, 0), seed=seed, reader_noise=0
    )[IDENTITY]  # fmt: skip
    traits = draw_traits(persons["size"].to_numpy(), of_cartilage, of_signs)
    paths = draw_paths(knees, seed)
    side = dominant_side(np.floor(paths[:, -1, len(MARGINS) :]).astype(int))
    courses = of_course.permutation(_shared_out(knees))
    low, high = np.array([COURSES[name] for name in courses]).T
    rise = of_course.uniform(low, high)
    start = of_course.uniform(FIRST, LAST - rise)
    steps = of_course.dirichlet([_PACE] * (visits - 1), knees)
    way = np.concatenate([np.zeros((knees, 1)), steps.cumsum(axis=1)], axis=1).clip(max=1)
    parts = []
    for visit in range(visits):
        stage = start + rise * way[:, visit]
        known = {"knee": np.arange(1, knees + 1), "visit": visit + 1, "course": courses}
        now = rows_of(at_stages(paths, stage), traits, side)
        parts.append(
            pd.concat([pd.DataFrame({**known, "stage": stage.round(4)}), persons, now], axis=1)
        )
    table = pd.concat(parts).sort_values(["knee", "visit"], ignore_index=True)
    return _kept(table)


def _shared_out(knees: int) -> list[str]:
    """A course for each knee, as near to :data:`SHARES` as whole knees come."""
    wanted = {name: share * knees for name, share in SHARES.items()}
    counts = {name: int(number) for name, number in wanted.items()}
    by_rest = sorted(wanted, key=lambda name: counts[name] - wanted[name])
    for name in by_rest[: knees - sum(counts.values())]:
        counts[name] += 1
    return [name for name, count in counts.items() for _ in range(count)]


def _kept(table: pd.DataFrame) -> pd.DataFrame:
    """What was lost or pushed out stays so, where the grades' means do not quite join.

    Cartilage was measured to be thicker at KL 1 than at KL 0, and the law of the grades has
    little of a gap between others. Across persons that is as it was measured; within a knee
    nothing grows back.
    """
    table = table.copy()
    by_knee = table.groupby("knee")
    for plate in PLATES:
        now, whole = f"thickness_{plate}_mm", f"whole_{plate}_mm"
        none_lost = table[now] == table[whole]
        table[now] = by_knee[now].cummin()
        table[whole] = table[whole].where(~none_lost, table[now])
    for side in SIDES:
        space, pushed = f"joint_space_{side}_mm", f"extrusion_{side}_mm"
        table[space], table[pushed] = by_knee[space].cummin(), by_knee[pushed].cummax()
    return table


def draw_visit(row: Mapping[str, Any], shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Draw the image of one visit.

    Parameters
    ----------
    row : mapping
        A row of :func:`sample_visits`.
    shape : (int, int, int)
        Voxels, as in :func:`.knee.draw_knee`.
    seed : int
        Relief, soft tissue and texture follow from it and the knee; pose, scanner and noise from
        it, the knee and the visit.

    Returns
    -------
    ndarray of int16, of `shape`
        From left to right, back to front, bottom to top.
    """
    of_knee = np.random.default_rng([_KNEE, seed, int(row["knee"])])
    of_visit = np.random.default_rng([_VISIT, seed, int(row["knee"]), int(row["visit"])])
    return scan(draw_anatomy(row, of_knee), shape, of_visit).image


def shown_visits(
    table: pd.DataFrame,
    shape: tuple[int, int, int],
    grid: tuple[int, int, int],
    resample: str,
    seed: int,
) -> np.ndarray:
    """Images of visits as networks see them, as if they had been written, read and cached.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`sample_visits`.
    shape, seed
        See :func:`draw_visit`.
    grid, resample
        See :func:`.volumes.as_shown`.

    Returns
    -------
    (n, D, H, W) array of float16
    """
    images = np.empty((len(table), *grid), dtype=np.float16)
    rows: list[dict[Any, Any]] = table.to_dict("records")
    for i, row in enumerate(rows):
        images[i] = as_shown(draw_visit(row, shape, seed), grid, resample)
    return images
