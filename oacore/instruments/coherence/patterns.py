"""Patterns of the seven grades of a knee: counted, drawn, as one-hot numbers, and corrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES
from oacore.instruments.phantom.grades import NARROWINGS, OSTEOPHYTES, sample_grades
from oacore.instruments.phantom.template import read_grade_patterns

#: The seven grades: columns of tables, names of heads, and axes of the joint distribution.
GRADES = ("kl", *OSTEOPHYTES, *NARROWINGS)
#: How many grades each has: KL 0 to 4, the six of OARSI 0 to 3.
SIZES = {name: N_GRADES if name == "kl" else 4 for name in GRADES}
#: How they are written; O is an osteophyte of femur or tibia, lateral or medial.
GRADE_NAMES = dict(
    zip(GRADES, ("KL", "O FL", "O FM", "O TL", "O TM", "JSN medial", "JSN lateral"), strict=True)
)
#: Length of the one-hot numbers: 5 + 6 x 4.
WIDTH = sum(SIZES.values())

#: The grades as :func:`.template.read_grade_patterns` calls them, where lateral comes first.
_COLUMNS = dict(zip(GRADES, ("KL", "FL", "FM", "TL", "TM", "JM", "JL"), strict=True))


def pattern_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Count the patterns of grades in a table.

    Parameters
    ----------
    table : DataFrame
        Columns `GRADES`, or KL, FL, FM, TL, TM, JL, JM as in OAI's patterns; and, where a row is
        more than one knee, ``count``. A row with a grade missing is left out.

    Returns
    -------
    DataFrame
        One row a pattern that occurs, sorted: `GRADES` (int64) and ``count`` (int64, 1 or more).

    Raises
    ------
    InputError
        If a column is missing, a grade or a count cannot be, or no row is complete.
    """
    named = table.rename(columns={old: new for new, old in _COLUMNS.items()})
    if lacking := [name for name in GRADES if name not in named]:
        raise InputError(
            f"table of grades: lacks the column {lacking[0]}; it needs {', '.join(GRADES)}, or "
            f"{', '.join(_COLUMNS.values())}"
        )
    named = named.assign(count=named.get("count", 1))
    columns = [*GRADES, "count"]
    numbers = pd.DataFrame({name: pd.to_numeric(named[name], errors="coerce") for name in columns})
    # What is written and is no number must not pass for a reading that is missing.
    unread = numbers.isna() & named[columns].notna()
    top = pd.Series({name: size - 1 for name, size in SIZES.items()} | {"count": np.inf})
    wrong = unread | (numbers < 0) | (numbers > top) | (numbers % 1 != 0) & numbers.notna()
    if wrong.any(axis=None):
        row, column = np.argwhere(wrong.to_numpy())[0]
        most = f"0 to {top.iloc[column]}" if column < len(GRADES) else "whole, 0 or more"
        raise InputError(
            f"table of grades, row {row + 1}: {columns[column]} is "
            f"{named[columns].iloc[row, column]!r}, which cannot be; give numbers {most}, or leave "
            "out the row"
        )
    complete = numbers.dropna().astype(np.int64)
    complete = complete[complete["count"] > 0]
    if complete.empty:
        raise InputError("table of grades: no row has all seven grades; add knees that do")
    return complete.groupby(list(GRADES))["count"].sum().reset_index()


def read_patterns(folder: Path | str) -> pd.DataFrame:
    """Patterns of the real baseline readings, of what ``oacore fetch references`` gets.

    786 patterns over 5,507 knees. 766 of these have KL 0, far less than among all knees, because
    osteophytes were read only in people with KL 2 or more at some visit.

    Parameters
    ----------
    folder : path
        Holds ``kxr_sq_bu00.xlsx``.

    Returns
    -------
    DataFrame
        As :func:`pattern_counts` gives it.

    Raises
    ------
    InputError
        If the table is missing or is another one.
    """
    return pattern_counts(read_grade_patterns(folder))


def in_numbers(patterns: pd.DataFrame) -> pd.DataFrame:
    """How many knees and how many patterns there are of each KL grade.

    Parameters
    ----------
    patterns : DataFrame
        As :func:`pattern_counts` gives it.

    Returns
    -------
    DataFrame
        One row a KL grade: ``kl``, ``knees``, ``patterns`` that occur, and ``possible`` ones.
    """
    found = patterns.groupby("kl")["count"].agg(knees="sum", patterns="size").reset_index()
    return found.assign(possible=int(np.prod([SIZES[name] for name in GRADES[1:]])))


def common(patterns: pd.DataFrame, least: int = 10) -> pd.DataFrame:
    """Patterns that several knees share, so that none is a person's; the most frequent first.

    Parameters
    ----------
    patterns : DataFrame
        As :func:`pattern_counts` gives it, with further columns or without.
    least : int
        Knees of a pattern.
    """
    shared = patterns[patterns["count"] >= least]
    return shared.sort_values("count", ascending=False, kind="stable", ignore_index=True)


def drawn_patterns(kl: npt.ArrayLike, *, seed: int) -> pd.DataFrame:
    """Patterns that the phantom draws for knees of given KL.

    Parameters
    ----------
    kl : array_like of int, shape (knees,)
        0 to 4.
    seed : int

    Returns
    -------
    DataFrame
        As :func:`pattern_counts` gives it. KL follows from the other six by
        :func:`.grades.kl_from_oarsi` in all of them, as in no real table.

    Raises
    ------
    InputError
        If a grade lies outside 0 to 4.
    """
    drawn = sample_grades(kl, np.random.default_rng(seed))
    return pattern_counts(drawn.assign(kl=np.asarray(kl)))


def readings(patterns: pd.DataFrame) -> np.ndarray:
    """Grades of single knees, (knees, 7), int64, in the order of `GRADES`, from their counts."""
    return np.repeat(patterns[list(GRADES)].to_numpy(np.int64), patterns["count"], axis=0)


def one_hot(grades: np.ndarray) -> np.ndarray:
    """Grades as a network would answer that is sure of them.

    Parameters
    ----------
    grades : ndarray of int, shape (n, 7)
        In the order of `GRADES`.

    Returns
    -------
    ndarray, float64, shape (n, 29)
        KL in the first five columns, then four for each OARSI grade.
    """
    parts = [np.eye(size)[grades[:, i]] for i, size in enumerate(SIZES.values())]
    return np.concatenate(parts, axis=1)


def blurred(one_hots: np.ndarray, share: float) -> np.ndarray:
    """Answers as they are, but for a share that is spread evenly over all grades of a head.

    Parameters
    ----------
    one_hots : ndarray, shape (n, 29)
        Probabilities, as :func:`one_hot` lays them out.
    share : float
        0 leaves them; 1 makes all heads answer that every grade is as likely.
    """
    even = np.concatenate([np.full(size, 1 / size) for size in SIZES.values()])
    return (1 - share) * one_hots + share * even


def by_head(probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Cut (n, 29) into the probabilities of each head, (n, 5) or (n, 4), by its name."""
    cuts = np.cumsum(list(SIZES.values()))[:-1]
    return dict(zip(GRADES, np.split(probabilities, cuts, axis=1), strict=True))


def pairwise(patterns: pd.DataFrame) -> pd.DataFrame:
    """How often each grade is found, given any other.

    Parameters
    ----------
    patterns : DataFrame
        As :func:`pattern_counts` gives it.

    Returns
    -------
    DataFrame
        A row for each ordered pair of the 29 grades, in the order of :func:`one_hot`: ``given`` and
        ``found`` (str, as "O FL 2"), ``knees`` (of the given grade), ``share`` (of these that have
        the found grade; NaN where there is none).
    """
    codes = one_hot(patterns[list(GRADES)].to_numpy(np.int64))  # (patterns, 29)
    together = codes.T @ (codes * patterns["count"].to_numpy()[:, None])  # (29, 29)
    knees = np.diagonal(together)
    names = [f"{GRADE_NAMES[name]} {grade}" for name in GRADES for grade in range(SIZES[name])]
    with np.errstate(invalid="ignore"):
        share = together / knees[:, None]
    return pd.DataFrame(
        {
            "given": np.repeat(names, WIDTH), "found": np.tile(names, WIDTH),
            "knees": np.repeat(knees.astype(np.int64), WIDTH), "share": share.ravel(),
        }
    )  # fmt: skip


def all_shuffled(grades: np.ndarray, seed: int) -> np.ndarray:
    """Every grade from another knee: each column, (n, 7), in an order of its own."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(column) for column in grades.T], axis=1)


def kl_at_random(grades: np.ndarray, seed: int) -> np.ndarray:
    """KL, the first of seven columns, replaced by one of the other four, each as likely."""
    drawn = np.random.default_rng(seed).integers(1, N_GRADES, len(grades))
    wrong = grades.copy()
    wrong[:, 0] = (grades[:, 0] + drawn) % N_GRADES
    return wrong


def kl_off_by_one(grades: np.ndarray, seed: int) -> np.ndarray:
    """KL, the first of seven columns, one higher or lower, each as likely; 0 to 1, and 4 to 3."""
    step = np.random.default_rng(seed).choice([-1, 1], len(grades))
    kl = grades[:, 0]
    step = np.where(kl == 0, 1, np.where(kl == N_GRADES - 1, -1, step))
    wrong = grades.copy()
    wrong[:, 0] = kl + step
    return wrong


#: How true grades are made false, by what is said of it in tables.
CORRUPTIONS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "every grade shuffled": all_shuffled,
    "KL at random": kl_at_random,
    "KL off by one": kl_off_by_one,
}
