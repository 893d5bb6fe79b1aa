"""One drawn knee at any stage of its disease: the same person, no sign of which ever recedes.

:mod:`.phantom.subjects` draws persons once, each at one grade. Here a knee has a path through the
continuous OARSI grades (grade and place inside it) of its six sites, from before KL 0 to beyond KL
4, along which none falls. Everything else of a row follows from the six and from what the knee is
born with, as in the phantom: KL by its rule, severity by its definition, the rest by its law
(:func:`.subjects.disease_of`). So a knee of any grade looks as one that the phantom draws.

A path is made of knees that the phantom draws at each grade. Those of neighbouring grades are
paired so that as little as possible falls, and what would fall stays where it was: a knee keeps
its side and its sites, and the knees of a grade are nearly the phantom's.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES
from oacore.instruments.phantom.grades import (
    DOMINANCE,
    MARGINS,
    NARROWINGS,
    OSTEOPHYTES,
    POSITIONS,
    dominant_side,
    kl_from_oarsi,
    sample_grades,
    severity_of,
)
from oacore.instruments.phantom.subjects import Traits, disease_of

#: Sites whose continuous grades make a path: four margins, then two compartments.
SIGNS = [*OSTEOPHYTES, *NARROWINGS]
#: Stages at which a path is known: at 0 to 4 a knee of that grade, before and after them the ends.
STAGES = np.arange(-1, N_GRADES + 1)
#: Paths are made together, so that those of neighbouring grades find a fitting partner.
TOGETHER = 400
#: How much more a fall counts than a rise where knees of two grades are paired.
_FALLS = 100.0
#: A continuous grade ends below 4: that is where grade 3 does.
_END = 4 - 1e-6
_PATHS = 4006


def continuous(grades: pd.DataFrame) -> np.ndarray:
    """Continuous grades of :data:`SIGNS`, (n, 6), of a table of :func:`.grades.sample_grades`."""
    return grades[SIGNS].to_numpy() + grades[POSITIONS].to_numpy()


def draw_paths(n: int, seed: int) -> np.ndarray:
    """Paths of n knees through the continuous grades of their sites.

    Parameters
    ----------
    n : int
    seed : int

    Returns
    -------
    (n, len(STAGES), 6) array
        Of :data:`SIGNS` at each of :data:`STAGES`, 0 or more and below 4; along the second axis
        nothing falls. A knee at stage g, 0 to 4, has KL g by the rule.
    """
    if n < 1:
        raise InputError(f"n is {n}; ask for one knee or more")
    rng = np.random.default_rng([_PATHS, seed])
    blocks = [_paths_together(rng) for _ in range(-(-n // TOGETHER))]
    return np.concatenate(blocks)[:n]


def _paths_together(rng: np.random.Generator) -> np.ndarray:
    """:data:`TOGETHER` paths."""
    places = [continuous(sample_grades(np.full(TOGETHER, kl), rng)) for kl in range(N_GRADES)]
    path = [np.zeros_like(places[0]), places[0]]
    for later in places[1:]:
        rise = later[None] - path[-1][:, None]  # (before, after, 6)
        unlike = (np.where(rise < 0, _FALLS, 1.0) * rise**2).sum(axis=2)
        before, after = linear_sum_assignment(unlike)
        path.append(np.maximum(path[-1][before], later[after]))
    beyond = path[-1] + (path[-1] - path[-2])  # a knee goes on as it went
    return np.stack([*path, np.minimum(beyond, _END)], axis=1)


def at_stages(paths: np.ndarray, stages: np.ndarray) -> np.ndarray:
    """Continuous grades of each knee at a stage of its own, between two of its path in proportion.

    Parameters
    ----------
    paths : (n, len(STAGES), 6) array
        See :func:`draw_paths`.
    stages : (n,) array
        From the first of :data:`STAGES` to the last.

    Returns
    -------
    (n, 6) array
    """
    if (stages < STAGES[0]).any() or (stages > STAGES[-1]).any():
        raise InputError(f"a stage lies outside {STAGES[0]} to {STAGES[-1]}")
    below = np.clip(np.floor(stages).astype(int) - STAGES[0], 0, len(STAGES) - 2)
    share = (stages - STAGES[below])[:, None]
    knees = np.arange(len(paths))
    return (1 - share) * paths[knees, below] + share * paths[knees, below + 1]


def rows(grades: np.ndarray, traits: Traits, side: np.ndarray | None = None) -> pd.DataFrame:
    """What the phantom draws of knees, from the continuous grades of their sites and their traits.

    Parameters
    ----------
    grades : (n, 6) array
        See :func:`continuous`.
    traits : Traits
    side : (n,) int array, optional
        Index into ``DOMINANCE`` of :mod:`.phantom.grades` by which a marrow lesion finds its place;
        that of the grades themselves if it is not given.

    Returns
    -------
    DataFrame
        The columns of :func:`.subjects.sample_subjects` that know the disease, by its names.
    """
    grade = np.floor(grades).astype(np.int64)
    place = np.clip(grades - grade, 1e-6, 1 - 1e-6)
    table = pd.DataFrame(grade, columns=SIGNS)
    kl = kl_from_oarsi(table)
    severity = severity_of(kl, grade, place)
    dominance = dominant_side(grade[:, len(MARGINS) :])
    known = pd.concat([table, pd.DataFrame(place, columns=POSITIONS)], axis=1)
    known["severity"] = severity
    return pd.DataFrame(
        {
            "kl_true": kl,
            "severity": severity.round(4),
            **{name: table[name] for name in SIGNS},
            "diseased": np.array(DOMINANCE)[dominance],
            **disease_of(kl, known, dominance if side is None else side, traits),
        }
    )
