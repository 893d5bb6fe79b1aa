"""What a comparison could have seen, and whether a difference is small enough to call none.

That an interval contains zero may mean that there is nothing, or that the test was too small to
see it. These two formulas tell the two apart. Both need a standard error and its degrees of
freedom, and nothing of what the difference is of.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import t

LEVEL, POWER = 0.05, 0.8


def detectable(se: npt.ArrayLike, df: npt.ArrayLike) -> np.ndarray:
    """Least true difference that a two-sided test at .05 finds four times out of five.

    Parameters
    ----------
    se : (...,) float array
        Standard error of the difference, in its units.
    df : (...,) float array
        Its degrees of freedom; infinite where the error is taken as known.

    Returns
    -------
    (...,) float array
        ``(t(.975, df) + t(.8, df)) se``, in the units of `se`. NaN where `se` is not above 0 (no
        spread was seen, so nothing can be said) or an argument is undefined.

    Notes
    -----
    Without a limit on the degrees of freedom 2.80 standard errors (Cohen 1988, Statistical Power
    Analysis for the Behavioral Sciences, chapter 2). The sum of two quantiles stands for the
    noncentral t distribution: from five degrees of freedom on it is within 1% of it, with one or
    two it is too small by a seventh and a twentieth. It is a property of the comparison before
    its result is known; computed from the observed *effect* it would only repeat the p-value
    (Hoenig and Heisey 2001, doi:10.1198/000313001300339897), so the effect takes no part.
    """
    se, df = np.asarray(se, dtype=float), np.asarray(df, dtype=float)
    return (t.ppf(1 - LEVEL / 2, df) + t.ppf(POWER, df)) * np.where(se > 0, se, np.nan)


def equivalence_interval(
    value: npt.ArrayLike, se: npt.ArrayLike, df: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """90% interval, which shows a difference to be none where it lies within a margin.

    Two one-sided tests, each at .05, ask whether the difference is above the lower margin and
    below the upper one. Both say yes just where the 90% interval, not the 95% one, lies between
    the margins.

    Parameters
    ----------
    value, se, df : (...,) float arrays
        Difference, its standard error, and degrees of freedom as in :func:`detectable`.

    Returns
    -------
    low, high : (...,) float arrays
        ``value -+ t(.95, df) se``; NaN as in :func:`detectable`.

    Notes
    -----
    Schuirmann 1987, doi:10.1007/BF01068419.
    """
    value, se, df = (np.asarray(one, dtype=float) for one in (value, se, df))
    half = t.ppf(1 - LEVEL, df) * np.where(se > 0, se, np.nan)
    return value - half, value + half
