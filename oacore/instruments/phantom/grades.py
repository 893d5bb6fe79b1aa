"""OARSI grades of a knee: what they say of the KL grade, and how to draw them given it.

Osteophytes at four margins (femur or tibia, lateral or medial) and joint space narrowing (JSN)
of two compartments, each 0 to 3 (OARSI atlas, doi:10.1016/j.joca.2006.11.009). The model is
fitted by `workflow/fit_oarsi.py` to 786 grade patterns over 5,507 knees of the Osteoarthritis
Initiative.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES

MARGINS = ("fl", "fm", "tl", "tm")  # femur or tibia, lateral or medial
SIDES = ("medial", "lateral")
DOMINANCE = ("medial", "lateral", "none")  # which side has the larger JSN grade
OSTEOPHYTES = [f"osteophyte_{name}" for name in MARGINS]
NARROWINGS = [f"jsn_{side}" for side in SIDES]
# Places inside the grades, from the mild end to the severe: of the margins, then of the sides.
POSITIONS = [f"position_{name}" for name in (*MARGINS, *SIDES)]
COPULA_GRADES = (2, 3, 4)
# How closely JSN, within its grade, goes with the osteophytes of its side. Grades cannot tell;
# a moderate value, as between the osteophytes of one side.
JSN_LOADING = 0.4
MARGINS_OF_SIDE = ((1, 3), (0, 2))  # femur and tibia: places in MARGINS, for each of SIDES
# Of the continuous grades of osteophytes and narrowing, and of the sum of both, standardised.
MOMENTS = ("osteophyte_mean", "osteophyte_sd", "narrowing_mean", "narrowing_sd", "sum_sd")


def kl_from_oarsi(grades: pd.DataFrame) -> np.ndarray:
    """KL grade by a rule on the grades of the six sites.

    The largest JSN sets 3 (JSN 2) and 4 (JSN 3). Below that KL 2 is a definite osteophyte: one
    of grade 2, or two of grade 1, or one of grade 1 beside JSN 1. KL 1 is a single doubtful sign
    (an osteophyte of grade 1, or JSN 1); KL 0 is none.

    Of 5,507 knees of the Osteoarthritis Initiative with all seven readings the rule gets 5,107
    right: 3,579 of the 3,976 with KL 0 to 2 (90.02%; the best that any rule could do with all six
    grades is 90.14%), 1,234 of 1,237 with KL 3 and all 294 with KL 4.

    Parameters
    ----------
    grades : DataFrame
        Columns `OSTEOPHYTES` and `NARROWINGS`, 0 to 3.

    Returns
    -------
    ndarray of int64, shape (rows,)
        KL 0 to 4.
    """
    osteophytes = grades[OSTEOPHYTES].to_numpy()
    return _rule(osteophytes, grades[NARROWINGS].to_numpy())


def _rule(osteophytes: np.ndarray, narrowings: np.ndarray) -> np.ndarray:
    """`kl_from_oarsi` on arrays, shapes (rows, 4) and (rows, 2)."""
    jsn = narrowings.max(1)
    signs = (osteophytes >= 1).sum(1)
    definite = (osteophytes >= 2).any(1) | (signs >= 2) | ((signs >= 1) & (jsn >= 1))
    doubtful = (signs >= 1) | (jsn >= 1)
    early = np.where(definite, 2, np.where(doubtful, 1, 0))
    return np.where(jsn >= 3, 4, np.where(jsn == 2, 3, early)).astype(np.int64)


def dominant_side(narrowings: np.ndarray) -> np.ndarray:
    """Index into `DOMINANCE` of the side with the larger JSN grade.

    Parameters
    ----------
    narrowings : ndarray of int, shape (rows, 2)
        JSN of `SIDES`.

    Returns
    -------
    ndarray of int, shape (rows,)
        0 medial, 1 lateral, 2 where the two are equal.
    """
    medial, lateral = narrowings.T
    return np.where(medial > lateral, 0, np.where(lateral > medial, 1, 2))


@dataclass(frozen=True)
class OarsiModel:
    """The fitted model of the grades given KL.

    Attributes
    ----------
    pairs : dict of int to (ndarray, ndarray)
        By KL 1 to 4: the JSN pairs there are, shape (pairs, 2) in the order of `SIDES`, and their
        shares.
    single : ndarray, shape (4,)
        At KL 1 without JSN: share of each of `MARGINS` to have the one osteophyte.
    thresholds : dict of int to ndarray, shape (3, 4, 3)
        By KL 2 to 4: where the latent normal variable passes to grade 1, 2 and 3; axes
        `DOMINANCE`, `MARGINS`, grade.
    correlation : dict of int to ndarray, shape (4, 4)
        By KL 2 to 4: of the latent variables of `MARGINS`.
    """

    pairs: dict[int, tuple[np.ndarray, np.ndarray]]
    single: np.ndarray
    thresholds: dict[int, np.ndarray]
    correlation: dict[int, np.ndarray]


def read_model(table: pd.DataFrame) -> OarsiModel:
    """The model in a table as `workflow.fit_oarsi.fit_oarsi` makes it.

    Parameters
    ----------
    table : DataFrame
        Columns kl, kind, side, first, second (str), value.

    Returns
    -------
    OarsiModel
    """
    kind = {str(name): rows.drop(columns="kind") for name, rows in table.groupby("kind")}
    pairs, thresholds, correlation = {}, {}, {}
    for kl in range(1, N_GRADES):
        rows = kind["jsn"][kind["jsn"]["kl"] == kl]
        share = rows["value"].to_numpy()
        pairs[kl] = rows[["first", "second"]].to_numpy(dtype=int), share / share.sum()
    single = kind["single"].set_index("first")["value"].reindex(MARGINS).to_numpy()
    cells = pd.MultiIndex.from_product([DOMINANCE, MARGINS, ["1", "2", "3"]])
    for kl in COPULA_GRADES:
        rows = kind["threshold"][kind["threshold"]["kl"] == kl]
        bounds = rows.set_index(["side", "first", "second"])["value"].reindex(cells)
        thresholds[kl] = bounds.to_numpy().reshape(len(DOMINANCE), len(MARGINS), 3)
        rows = kind["correlation"][kind["correlation"]["kl"] == kl]
        half = rows.pivot(index="first", columns="second", values="value")
        upper = half.reindex(index=MARGINS, columns=MARGINS).fillna(0).to_numpy()
        correlation[kl] = np.eye(len(MARGINS)) + upper + upper.T
    return OarsiModel(pairs, single / single.sum(), thresholds, correlation)


@cache
def _fitted() -> tuple[OarsiModel, np.ndarray]:
    """The model in `oarsi_model.csv`, and its moments (5, 5) by KL and `MOMENTS`."""
    with (files("oacore.instruments.phantom") / "oarsi_model.csv").open() as file:
        table = pd.read_csv(file, comment="#", dtype={"first": str, "second": str})
    moments = table[table["kind"] == "moment"].pivot(index="kl", columns="first", values="value")
    return read_model(table), moments[list(MOMENTS)].to_numpy()


def draw_grades(
    kl: np.ndarray, rng: np.random.Generator, model: OarsiModel
) -> tuple[np.ndarray, np.ndarray]:
    """Grades of the six sites and the places inside them.

    Parameters
    ----------
    kl : ndarray of int, shape (knees,)
    rng : Generator
    model : OarsiModel

    Returns
    -------
    grades : ndarray of int64, shape (knees, 6)
        `MARGINS`, then `SIDES`.
    positions : ndarray, shape (knees, 6)
        Above 0 and below 1, from the mild to the severe end of the grade.
    """
    grades = np.zeros((len(kl), 6), dtype=np.int64)
    positions = np.zeros((len(kl), 6))
    for grade in range(N_GRADES):
        at = np.flatnonzero(kl == grade)
        # KL 0 and 1 have too few osteophytes to tell how they go together: as at KL 2.
        correlation = model.correlation[max(grade, COPULA_GRADES[0])]
        if grade > 0:
            pairs, shares = model.pairs[grade]
            grades[at, 4:] = pairs[rng.choice(len(pairs), len(at), p=shares)]
        if grade in COPULA_GRADES:
            grades[at, :4], latent, positions[at, :4] = _copula(grade, grades[at, 4:], rng, model)
        else:
            latent = rng.standard_normal((len(at), 4)) @ np.linalg.cholesky(correlation).T
            positions[at, :4] = norm.cdf(latent)
        if grade == 1:
            alone = at[grades[at, 4:].max(1) == 0]
            grades[alone, rng.choice(4, len(alone), p=model.single)] = 1
        for column, (femur, tibia) in enumerate(MARGINS_OF_SIDE, start=4):
            near = latent[:, femur] + latent[:, tibia]
            near = near / np.sqrt(2 + 2 * correlation[femur, tibia])
            own = np.sqrt(1 - JSN_LOADING**2) * rng.standard_normal(len(at))
            positions[at, column] = norm.cdf(JSN_LOADING * near + own)
    return grades, positions.clip(1e-6, 1 - 1e-6)


def _copula(
    kl: int, jsn: np.ndarray, rng: np.random.Generator, model: OarsiModel
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Osteophytes at one KL grade given JSN: grades, latent variables, positions; (knees, 4)."""
    bounds = np.concatenate(
        [np.full((3, 4, 1), -np.inf), model.thresholds[kl], np.full((3, 4, 1), np.inf)], axis=2
    )[dominant_side(jsn)]
    root = np.linalg.cholesky(model.correlation[kl])
    latent = np.empty((len(jsn), 4))
    grades = np.zeros((len(jsn), 4), dtype=np.int64)
    wait = np.arange(len(jsn))
    while len(wait):  # only KL 2 ever waits: some draws look like KL 0 or 1
        latent[wait] = rng.standard_normal((len(wait), 4)) @ root.T
        grades[wait] = (latent[wait, :, None] > bounds[wait, :, 1:4]).sum(2)
        wait = wait[_rule(grades[wait], jsn[wait]) != kl]
    low = norm.cdf(np.take_along_axis(bounds, grades[..., None], 2)[..., 0])
    high = norm.cdf(np.take_along_axis(bounds, grades[..., None] + 1, 2)[..., 0])
    return grades, latent, (norm.cdf(latent) - low) / np.maximum(high - low, 1e-12)


def signs(grades: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Continuous grade of the osteophytes (sum of four) and of the narrowing (larger of two).

    Parameters
    ----------
    grades, positions : ndarray, shape (knees, 6)
        See `draw_grades`.

    Returns
    -------
    osteophytes, narrowing : ndarray, shape (knees,)
    """
    continuous = grades + positions
    return continuous[:, :4].sum(1), continuous[:, 4:].max(1)


def severity_of(kl: np.ndarray, grades: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Severity behind grades: within a KL grade, how far osteophytes and narrowing have got.

    Parameters
    ----------
    kl : ndarray of int, shape (knees,)
    grades, positions : ndarray, shape (knees, 6)
        See `draw_grades`.

    Returns
    -------
    ndarray, shape (knees,)
        kl - .5 to kl + .5, both excluded.
    """
    osteophytes, narrowing = signs(grades, positions)
    mean_o, sd_o, mean_n, sd_n, sd_sum = _fitted()[1][kl].T
    common = ((osteophytes - mean_o) / sd_o + (narrowing - mean_n) / sd_n) / sd_sum
    return kl - 0.5 + norm.cdf(common).clip(0.001, 0.999)


def sample_grades(kl: npt.ArrayLike, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the OARSI grades of knees of given KL, and the severity behind them.

    JSN of the two sides comes from the measured joint table given KL; the four osteophytes come
    from a Gaussian copula given KL and the side with more narrowing, so that what goes together
    in real knees does here. Draws that the rule would give another KL are drawn again, and the
    model is fitted to that. Lateral-dominant knees are 23% of KL 3 and 31.5% of KL 4, between
    the grade patterns (19.6%, 31.0%), a larger sample of readings (26%, 32%) and the narrower
    side in 748 radiographs (22%, 30%).

    Severity follows osteophytes (the sum of four) and narrowing (the larger of two), in equal
    parts of their variation within the KL grade. At KL 1 the rule allows a single sign; a
    grade of either weighs the same there, and severity follows how far it has got.

    Parameters
    ----------
    kl : array_like of int, shape (knees,)
        True grades, 0 to 4.
    rng : Generator

    Returns
    -------
    DataFrame
        One row a knee: `OSTEOPHYTES` and `NARROWINGS` (OARSI 0 to 3, for which `kl_from_oarsi`
        gives `kl`); position_fl, _fm, _tl, _tm, position_medial, position_lateral (above 0 and
        below 1: the place inside the grade, from its mild to its severe end); severity
        (kl - .5 to kl + .5, both excluded).

    Raises
    ------
    InputError
        If a grade lies outside 0 to 4.
    """
    truth = np.asarray(kl)
    if truth.ndim != 1 or not np.isin(truth, np.arange(N_GRADES)).all():
        raise InputError("kl holds something else than grades; give a list of numbers 0 to 4")
    truth = truth.astype(np.int64)
    grades, positions = draw_grades(truth, rng, _fitted()[0])
    table = pd.DataFrame(grades, columns=OSTEOPHYTES + NARROWINGS)
    table[POSITIONS] = positions
    table["severity"] = severity_of(truth, grades, positions)
    return table
