"""Checks of rank correlations: the tie with AUROC, few distances, two correlations at once.

Spearman's rho is Pearson's correlation of ranks, where equal values share the mean of their
places (mid-ranks).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import permutations, product
from math import sqrt

import numpy as np
from scipy.stats import rankdata

from oacore.instruments.audit.printed import Interval, decimals, loose, rounded, show
from oacore.instruments.audit.verdicts import (
    CONSISTENT,
    CUT_OFF,
    INCONSISTENT,
    NO_CORRELATION,
    UNDETERMINED,
    Finding,
    Read,
    outside,
)


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
    - undetermined if the AUROC lies below the implied one: ties would explain that;
    - inconsistent if it lies above: then no one set of scores, tied or not, has both.
    """
    # Squares keep the arithmetic exact: (AUROC - 1/2)^2 = rho^2 (n^2 - 1) / (12 n1 n0).
    pairs, n = positive * negative, positive + negative
    factor = Fraction(n**2 - 1, 12 * pairs)
    half = Interval(Fraction(1, 2), Fraction(1, 2))
    unit = Fraction(1)

    def squares(units: Fraction) -> tuple[Interval, Interval]:
        """Squared distances from 1/2, of the AUROC that rho implies and of the printed one."""
        sizes = rounded(rho, units).magnitude(), (rounded(auroc, units) - half).magnitude()
        of_rho, of_auroc = (Interval(size.low**2, size.high**2) for size in sizes)
        return of_rho.scaled(factor), of_auroc

    places = decimals(auroc) + 1
    size = rounded(rho).magnitude()
    if size.low > 1:
        return outside(rho, NO_CORRELATION)
    ends = [implied_auroc(float(end), positive, negative) for end in (size.low, size.high)]
    if ends[0] > 1:
        largest = 0.5 / (implied_auroc(1, positive, negative) - 0.5)
        implied = f"no untied score has |rho| above {largest:.{places}f}"
    else:
        implied = f"AUROC {ends[0]:.{places}f} to {ends[1]:.{places}f}, or one minus that"
    from_rho, from_auroc = squares(unit / 2)
    if from_rho.gap(from_auroc) <= 0:
        return Finding(implied, CONSISTENT)
    away = (rounded(auroc) - half).magnitude()
    gap = max(ends[0] - 0.5 - float(away.high), float(away.low) - (ends[1] - 0.5))
    implied += f"; off by {gap * pairs:.1f} of {pairs} knee pairs"
    from_rho, from_auroc = squares(unit)
    if from_rho.gap(from_auroc) <= 0:
        return Finding(f"{implied}: less than one unit of the last digits", UNDETERMINED)
    if from_auroc.high < from_rho.low:
        return Finding(f"{implied}, below: ties in the score would explain it", UNDETERMINED)
    return Finding(
        f"{implied}, above: not one score on these knees, tied or not (an AUROC of another score, "
        "on other knees, or a mean over folds would do)",
        INCONSISTENT,
    )


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


@cache
def tied_rhos(n: int) -> tuple[float, ...]:
    """All values of Spearman's rho between 1 to n in order and n numbers, equal ones among them."""
    found = set()
    for ranks in {tuple(rankdata(numbers)) for numbers in product(range(n), repeat=n)}:
        if len(set(ranks)) > 1:
            found.add(round(float(np.corrcoef(range(n), ranks)[0, 1]), 12))
    return tuple(sorted(found))


def distance_rho(printed: str, n: int = 4) -> Finding:
    """Check whether n distances can have a printed rank correlation: `distance-rho`.

    Five grades have four distances between neighbours. Different ones give few values; two equal
    distances give others, which leaves the check undetermined.
    """
    places, number = decimals(printed), len(attainable_rhos(n))
    for read, tail in ((rounded, ""), (loose, f"; {CUT_OFF}")):
        values = read(printed)
        found = [rho for rho in attainable_rhos(n) if values.low <= rho <= values.high]
        if found:
            said = ", ".join(show(rho, places) for rho in found)
            verdict = UNDETERMINED if tail else CONSISTENT
            return Finding(f"{said}, of {number} values over {n} distances{tail}", verdict)
    tied = [rho for rho in tied_rhos(n) if values.low <= rho <= values.high]
    if tied:
        said = ", ".join(show(rho, places) for rho in tied)
        return Finding(f"{said} if some distances are equal", UNDETERMINED)
    if rounded(printed).magnitude().low > 1:
        return outside(printed, NO_CORRELATION)
    said = ", ".join(f"{float(rho):.3g}" for rho in attainable_rhos(n))
    return Finding(f"only {said}, or with equal distances some others", INCONSISTENT)


def rho_kl_range(rho_oa: Interval, knees: Sequence[int]) -> tuple[float, float] | None:
    """Least and greatest rho(PC1,KL) of an untied score for a given rho(PC1,OA).

    Both follow from five numbers, the rank sums R_g of the grades: a covariance with mid-ranks is
    sum R_g m_g / n minus the product of the means, and m_g, the mid-rank of grade g, is fixed by
    the counts (and likewise for OA). The rank sums of an untied score are bounded from below, in
    every set of grades with k knees together, by 1 + 2 + ... + k, and add up to 1 + ... + n (Rado
    1952, doi:10.1112/jlms/s1-27.1.1). The corners of what these bounds leave are the scores that
    put the grades one after the other, in 120 orders. So the two correlations lie in the polygon
    that those orders span, which is a little too wide, as rank sums are whole, never too narrow.

    Returns
    -------
    (float, float) or None
        None if no order of the knees has that rho(PC1,OA).
    """
    kl, oa = _corners(tuple(knees)).T
    slack = 1e-9  # of floating point, in favour of what is printed
    low, high = float(rho_oa.low) - slack, float(rho_oa.high) + slack
    found = [kl[(low <= oa) & (oa <= high)]]
    for end in (low, high):
        before, after = np.nonzero(oa < end)[0], np.nonzero(oa > end)[0]
        i, j = np.repeat(before, len(after)), np.tile(after, len(before))
        found.append(kl[i] + (kl[j] - kl[i]) * (end - oa[i]) / (oa[j] - oa[i]))
    values = np.concatenate(found)
    return (float(values.min()), float(values.max())) if len(values) else None


@cache
def _corners(knees: tuple[int, ...]) -> np.ndarray:
    """Both correlations, of KL and of OA, for all orders of the grades: 120 x 2."""
    kl = np.repeat(np.arange(5), knees)
    labels = rankdata(kl), rankdata(kl >= 2)
    found = []
    for order in permutations(range(5)):
        ranks = np.empty(len(kl))
        ranks[np.concatenate([np.nonzero(kl == grade)[0] for grade in order])] = np.arange(len(kl))
        found.append([np.corrcoef(ranks, label)[0, 1] for label in labels])
    return np.array(found)


def tied_rho_kl_range(rho_oa: Interval, knees: Sequence[int]) -> tuple[float, float]:
    """Least and greatest rho(PC1,KL) of any score, tied or not, for a given rho(PC1,OA).

    The matrix of the three correlations, with r between KL and OA themselves, has no negative
    eigenvalue: rho(PC1,KL) lies within sqrt((1 - r^2) (1 - rho(PC1,OA)^2)) of r rho(PC1,OA).
    """
    kl = np.repeat(np.arange(5), knees)
    r = float(np.corrcoef(rankdata(kl), rankdata(kl >= 2))[0, 1])
    low, high = max(-1.0, float(rho_oa.low)), min(1.0, float(rho_oa.high))

    def end(sign: int) -> float:
        oa = min(max(sign * r, low), high)  # the ellipse is widest at rho(PC1,OA) = r
        return r * oa + sign * sqrt(max(0.0, (1 - r**2) * (1 - oa**2)))

    return end(-1), end(1)


def rho_joint(rho_kl: str, rho_oa: str, knees: Sequence[int]) -> Finding:
    """Check the correlations with KL and with OA against each other: `rho-joint`.

    OA is KL cut in two, so a score that follows KL follows OA as well. The range of rho(PC1,KL)
    that rho(PC1,OA) leaves open is wide, and wider still where scores are tied: what only a tied
    score can have is undetermined.
    """
    places, slack = decimals(rho_kl) + 1, 1e-9

    def meets(found: tuple[float, float] | None, read: Read) -> bool:
        values = read(rho_kl)
        return bool(found and found[0] - slack <= values.high and values.low <= found[1] + slack)

    found = rho_kl_range(rounded(rho_oa), knees)
    implied = "no order of the knees has this rho(PC1,OA)"
    if found:
        implied = f"rho(PC1,KL) {found[0]:.{places}f} to {found[1]:.{places}f}"
    if meets(found, rounded):
        return Finding(implied, CONSISTENT)
    if meets(rho_kl_range(loose(rho_oa), knees), loose):
        return Finding(f"{implied}; {CUT_OFF}", UNDETERMINED)
    for rho in (rho_oa, rho_kl):
        if rounded(rho).magnitude().low > 1:
            return outside(rho, NO_CORRELATION)
    tied = tied_rho_kl_range(loose(rho_oa), knees)
    if meets(tied, loose):
        return Finding(f"{implied}, of an untied score: ties would explain it", UNDETERMINED)
    ends = " to ".join(f"{end:.{places}f}" for end in tied)
    return Finding(f"{implied}; with ties {ends}", INCONSISTENT)
