"""Checks of rank correlations: the tie with AUROC, few distances, two correlations at once.

Spearman's rho is Pearson's correlation of ranks, where equal values share the mean of their
places (mid-ranks).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import combinations, permutations
from math import sqrt

import numpy as np
from scipy.optimize import linprog

from oacore.instruments.audit.counts import CONSISTENT, INCONSISTENT, UNDETERMINED, Finding
from oacore.instruments.audit.printed import Interval, decimals, rounded, show


def implied_auroc(rho: float, positive: int, negative: int) -> float:
    """Compute the AUROC of an untied score from its Spearman correlation with a binary label.

    The label has two values, so a correlation with it is a difference of two means. Let p be the
    share of positives and D their mean rank minus that of the negatives. The label's mid-ranks are
    n/2 apart: their standard deviation is n/2 sqrt(p (1 - p)), and their covariance with the ranks
    of the score is n/2 p (1 - p) D. With S, the standard deviation of the score's ranks::

        rho = sqrt(p (1 - p)) D / S

    Mann and Whitney's U counts from the rank sum of the positives, which gives D = n (AUROC - 1/2).
    The ranks 1 to n of an untied score have S = sqrt((n^2 - 1) / 12). Put together::

        AUROC = 1/2 + |rho| / (2 sqrt(3 p (1 - p) n^2 / (n^2 - 1)))

    Ties in the score, t values at a time, make S^2 smaller by sum(t^3 - t) / (12 n), so that the
    same ``|rho|`` belongs to an AUROC nearer to 1/2: ties cannot explain an AUROC that is printed
    higher than this.

    Parameters
    ----------
    rho : float
        Its sign is dropped: that of a principal component is arbitrary.
    """
    n, p = positive + negative, positive / (positive + negative)
    return 0.5 + abs(rho) / (2 * sqrt(3 * p * (1 - p) * n**2 / (n**2 - 1)))


def rho_auroc(rho: str, auroc: str, positive: int, negative: int) -> Finding:
    """Check a rank correlation with a binary label against an AUROC: `rho-auroc`.

    The formula of :func:`implied_auroc` holds for one set of untied scores, and the AUROC of a
    probe that points the wrong way is one minus that; so the distance of the AUROC from 1/2 is
    compared. The verdict:

    - consistent if a pair of values that round to the two figures meets the formula;
    - undetermined if one does once each figure may be off by a whole unit of its last digit, as a
      truncated or twice rounded figure is, or one of two that were computed in two passes with
      another rounding error, so that a knee or two change places;
    - inconsistent otherwise.

    With 3 decimals and 65 and 33 knees an altered last digit of either figure is found in 71% of
    300 simulated tables, any altered decimal in 88%.
    """
    # Squares keep the arithmetic exact: (AUROC - 1/2)^2 = rho^2 (n^2 - 1) / (12 n1 n0).
    pairs, n = positive * negative, positive + negative
    factor = Fraction(n**2 - 1, 12 * pairs)
    half = Interval(Fraction(1, 2), Fraction(1, 2))

    def meet(units: Fraction) -> bool:
        from_rho = rounded(rho, units).magnitude()
        from_auroc = (rounded(auroc, units) - half).magnitude()
        return (
            from_rho.low**2 * factor <= from_auroc.high**2
            and from_auroc.low**2 <= from_rho.high**2 * factor
        )

    places = decimals(auroc) + 1
    size = rounded(rho).magnitude()
    ends = [implied_auroc(float(end), positive, negative) for end in (size.low, size.high)]
    away = (rounded(auroc) - half).magnitude()
    gap = max(ends[0] - 0.5 - float(away.high), float(away.low) - (ends[1] - 0.5))
    implied = f"AUROC {ends[0]:.{places}f} to {ends[1]:.{places}f}, or one minus that"
    if ends[0] > 1:
        largest = 0.5 / (implied_auroc(1, positive, negative) - 0.5)
        return Finding(f"|rho| cannot pass {largest:.{places}f}", INCONSISTENT)
    if meet(Fraction(1, 2)):
        return Finding(implied, CONSISTENT)
    implied += f"; off by {gap * pairs:.1f} of {pairs} knee pairs"
    if meet(Fraction(1)):
        return Finding(f"{implied}: less than one unit of the last digits", UNDETERMINED)
    return Finding(implied, INCONSISTENT)


@cache
def attainable_rhos(n: int) -> tuple[Fraction, ...]:
    """All values of Spearman's rho between 1 to n in order and n different numbers.

    Without ties rho = 1 - 6 sum(d^2) / (n (n^2 - 1)), d being the differences of ranks. Only the
    order counts, and there are n! orders: for n = 4 they give the 11 values -1, -0.8, ..., 1.
    """
    rhos = {
        1 - Fraction(6 * sum((i - j) ** 2 for i, j in enumerate(order)), n * (n * n - 1))
        for order in permutations(range(n))
    }
    return tuple(sorted(rhos))


def distance_rho(printed: str, n: int = 4) -> Finding:
    """Check whether n different distances can have a printed rank correlation: `distance-rho`.

    Five grades have four distances between neighbours. An altered last digit of a figure with 3
    decimals is always found, any altered decimal in 85% of simulated cases.
    """
    values = rounded(printed)
    found = [rho for rho in attainable_rhos(n) if values.low <= rho <= values.high]
    if found:
        places = decimals(printed)
        number = len(attainable_rhos(n))
        return Finding(
            f"{', '.join(show(rho, places) for rho in found)}, of {number} values over {n} "
            "distances",
            CONSISTENT,
        )
    said = ", ".join(f"{float(rho):.3g}" for rho in attainable_rhos(n))
    return Finding(f"only {said}", INCONSISTENT)


def rho_kl_range(rho_oa: Interval, knees: Sequence[int]) -> tuple[float, float] | None:
    """Least and greatest rho(PC1,KL) for a given rho(PC1,OA).

    Both follow from five numbers, the rank sums R_g of the grades: a covariance with mid-ranks is
    sum R_g m_g / n minus the product of the means, and m_g, the mid-rank of grade g, is fixed by
    the counts (and likewise for OA). The rank sums of an untied score are bounded from below, in
    every set of grades with k knees together, by 1 + 2 + ... + k, and add up to 1 + ... + n; all
    whole numbers within these bounds occur (Rado 1952, doi:10.1112/jlms/s1-27.1.1). Dropping
    "whole" leaves a linear programme whose range is a little too wide, never too narrow.

    Returns
    -------
    (float, float) or None
        None if no order of the knees has that rho(PC1,OA).
    """
    sizes = np.asarray(knees, dtype=float)
    n = sizes.sum()
    of_kl = np.cumsum(sizes) - (sizes - 1) / 2  # mid-ranks
    low, high = sizes[:2].sum(), sizes[2:].sum()
    of_oa = np.repeat([(low + 1) / 2, low + (high + 1) / 2], [2, 3])
    mean, spread = (n + 1) / 2, sqrt((n**2 - 1) / 12)

    def rho(mid: np.ndarray) -> tuple[np.ndarray, float]:
        """Coefficients of the rank sums and constant of Spearman's rho."""
        scale = n * spread * sqrt((sizes * (mid - mean) ** 2).sum() / n)
        return mid / scale, n * mean**2 / scale

    (kl, kl_zero), (oa, oa_zero) = rho(of_kl), rho(of_oa)
    subsets = [set(s) for k in range(1, 5) for s in combinations(range(5), k)]
    inside = np.array([[grade in s for grade in range(5)] for s in subsets], dtype=float)
    least = inside @ sizes * (inside @ sizes + 1) / 2
    slack = 1e-7  # of floating point, in favour of what is printed
    bounds = {
        "A_ub": np.vstack([-inside, oa, -oa]),
        "b_ub": np.concatenate(
            [-least, [float(rho_oa.high) + oa_zero + slack, -float(rho_oa.low) - oa_zero + slack]]
        ),
        "A_eq": np.ones((1, 5)),
        "b_eq": [n * (n + 1) / 2],
        "bounds": (None, None),
    }
    ends = [linprog(sign * kl, **bounds) for sign in (1, -1)]
    if not all(end.success for end in ends):
        return None
    return ends[0].fun - kl_zero, -ends[1].fun - kl_zero


def rho_joint(rho_kl: str, rho_oa: str, knees: Sequence[int]) -> Finding:
    """Check the correlations with KL and with OA against each other: `rho-joint`.

    OA is KL cut in two, so a score that follows KL follows OA as well. The range of rho(PC1,KL)
    that rho(PC1,OA) leaves open is wide: an altered decimal is found in 12% of simulated
    tables, a last one hardly ever.
    """
    found = rho_kl_range(rounded(rho_oa), knees)
    if found is None:
        return Finding("no order of the knees has this rho(PC1,OA)", INCONSISTENT)
    places = decimals(rho_kl) + 1
    implied = f"rho(PC1,KL) {found[0]:.{places}f} to {found[1]:.{places}f}"
    values = rounded(rho_kl)
    possible = found[0] - 1e-7 <= values.high and values.low <= found[1] + 1e-7
    return Finding(implied, CONSISTENT if possible else INCONSISTENT)
