"""The label hierarchy: a coarse OA label above five Kellgren-Lawrence grades.

Equations (1) and (4) of arXiv:2605.00718, section 3.1, and the table of reader noise, which tells
why the coarse label is the more stable of the two.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import numpy.typing as npt
import pandas as pd

N_GRADES = 5
FIRST_OA_GRADE = 2

#: The heads that each supervision trains: "oa" gives one logit, "kl" gives five.
SUPERVISIONS: dict[str, tuple[str, ...]] = {
    "single_oa": ("oa",),
    "single_kl": ("kl",),
    "dual": ("oa", "kl"),
}


def oa_from_kl(kl: npt.ArrayLike) -> np.ndarray:
    """Coarse label of a grade, equation (1): OA is KL >= 2.

    Parameters
    ----------
    kl : array_like of int
        Grades, 0 to 4.

    Returns
    -------
    ndarray of int64
        0 or 1, in the shape of `kl`.

    Raises
    ------
    ValueError
        If a grade lies outside 0 to 4.
    """
    grades = np.asarray(kl)
    if not np.isin(grades, np.arange(N_GRADES)).all():
        raise ValueError(f"a KL grade is one of 0 to 4; found {np.unique(grades)}")
    return (grades >= FIRST_OA_GRADE).astype(np.int64)


def prob_oa_from_kl(prob_kl: np.ndarray) -> np.ndarray:
    """Probability of OA that the KL head implies, equation (4).

    Parameters
    ----------
    prob_kl : ndarray, shape (..., 5)
        Probabilities of the five grades.

    Returns
    -------
    ndarray, shape (...)
        Their sum over the grades 2 to 4.
    """
    return np.asarray(prob_kl)[..., FIRST_OA_GRADE:].sum(axis=-1)


def reader_table() -> pd.DataFrame:
    """Probability of a second reader's grade given the central reader's.

    An upper bound on reader noise, counted on 8,918 knees of the Osteoarthritis
    Initiative (site readings against the central reading); rows sum to one.

    Returns
    -------
    DataFrame, shape (5, 5)
        P(second reading | central reading); rows central, columns second.
    """
    path = files("oacore") / "reader_table.csv"
    with path.open() as file:
        table = pd.read_csv(file, comment="#", index_col="central")
    table.columns = pd.RangeIndex(N_GRADES, name="second")
    # Printed to three decimals, so rows miss one by a rounding.
    return table.div(table.sum(axis=1), axis=0)


def agreement(table: np.ndarray, shares: npt.ArrayLike) -> dict[str, float]:
    """Agreement of two readers, on the five grades and on the coarse label.

    Parameters
    ----------
    table : array_like, shape (5, 5)
        P(second | first), rows sum to one.
    shares : array_like, shape (5,)
        Share of each grade in the cohort, as the first reader gives them.

    Returns
    -------
    dict
        "exact" and "oa": probability that the two give the same grade, and the same side of
        KL >= 2. The second cannot be the lower one, so kappas, corrected for chance, go with
        them: "kappa" of the grades, "kappa_quadratic" weighted by the squared difference
        (Cohen 1968, doi:10.1037/h0026256), and "kappa_oa". "moves_across": share of differing
        pairs that lie on different sides.
    """
    share = np.asarray(shares, dtype=float)
    joint = np.asarray(table, dtype=float) * (share / share.sum())[:, None]
    grade = np.arange(N_GRADES)
    chance = joint.sum(1)[:, None] * joint.sum(0)[None, :]
    apart = grade[:, None] - grade[None, :]
    across = (grade >= FIRST_OA_GRADE)[:, None] != (grade >= FIRST_OA_GRADE)[None, :]

    def kappa(weight: np.ndarray) -> float:
        return float(1 - (weight * joint).sum() / (weight * chance).sum())

    exact, oa = float(np.trace(joint)), float(joint[~across].sum())
    return {
        "exact": exact,
        "oa": oa,
        "kappa": kappa(apart != 0),
        "kappa_quadratic": kappa(apart**2),
        "kappa_oa": kappa(across),
        "moves_across": (1 - oa) / (1 - exact) if exact < 1 else 0.0,
    }
