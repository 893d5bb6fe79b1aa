"""Checks of sums, averages, differences and repeats, and of figures that bound each other.

Every function takes figures as printed, as strings, and gives what they imply and a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import sqrt

import numpy as np
from scipy.optimize import linprog

from oacore.instruments.audit.printed import Interval, between, decimals, loose, rounded
from oacore.instruments.audit.verdicts import (
    CONSISTENT,
    INCONSISTENT,
    UNDETERMINED,
    Finding,
    Read,
    outside,
    overlap,
    weigh,
)


def grade_sum(cells: Mapping[str, str]) -> Finding:
    """Check whether knees by grade add up to what is printed: `grade-sum`.

    Counts are not rounded, so any altered digit is found. Percentages are: figures with decimals,
    or whole ones that add up to about 100, are added as intervals. OA is KL grade 2 or more.

    Parameters
    ----------
    cells : mapping
        grade_0, ..., and what is printed of total (of the knees that have a grade), oa_negative,
        oa_positive.
    """
    grades = [cells[name] or "0" for name in (f"grade_{k}" for k in range(5))]
    parts = {"total": grades, "oa_negative": grades[:2], "oa_positive": grades[2:]}
    printed = {name: cells[name] for name in parts if cells.get(name)}
    sums = {name: sum(Fraction(part) for part in parts[name]) for name in printed}
    said = ", ".join(
        f"{name.replace('_', '-').replace('oa', 'OA')} {float(sums[name]):g}" for name in printed
    )
    if all(sums[name] == Fraction(whole) for name, whole in printed.items()):
        return Finding(said, CONSISTENT)
    whole_numbers = not any(decimals(cell) for cell in (*grades, *printed.values()))
    hundred = Interval(Fraction(100), Fraction(100))
    about = added([loose(part) for part in grades]).gap(hundred) <= 0
    if whole_numbers and not (about and printed.get("total", "100") == "100"):
        return Finding(said, INCONSISTENT)

    def fits(read: Read) -> bool:
        return all(
            added([read(part) for part in parts[name]]).gap(read(whole)) <= 0
            for name, whole in printed.items()
        )

    finding = weigh(said, fits)
    in_counts = not any(map(decimals, printed.values()))
    if finding.verdict == INCONSISTENT and about and in_counts and not whole_numbers:
        # Grades in percent beside wholes that count knees, or the reverse.
        return Finding(f"{said}: the grades are percentages, the rest may be counts", UNDETERMINED)
    if whole_numbers and finding.verdict == CONSISTENT:
        return Finding(f"{said}: only if these are percentages", UNDETERMINED)
    return finding


def added(parts: Sequence[Interval]) -> Interval:
    """Sum of intervals."""
    return sum(parts, Interval(Fraction(0), Fraction(0)))


def average(parts: Sequence[str], printed: str, roots: bool = False) -> Finding:
    """Check whether a printed average is the mean of the printed parts: `average`.

    The mean of intervals is an interval: half a unit to either side of the mean, as each part is
    that uncertain.

    Parameters
    ----------
    parts : sequence of str
    printed : str
    roots : bool
        The parts are roots of mean squares; their average may be the root of the mean of those, and
        that leaves the check undetermined.
    """
    share = Fraction(1, len(parts))

    def mean(read: Read) -> Interval:
        return added([read(part) for part in parts]).scaled(share)

    finding = overlap(mean, printed, decimals(printed) + 1, "mean")
    if roots and finding.verdict == INCONSISTENT:
        sizes = [loose(part).magnitude() for part in parts]
        squares = added([Interval(size.low**2, size.high**2) for size in sizes]).scaled(share)
        whole = loose(printed).magnitude()
        if squares.gap(Interval(whole.low**2, whole.high**2)) <= 0:
            return Finding(f"{finding.implied}; a mean of squares would do", UNDETERMINED)
    return finding


def some_weights(rows: Sequence[tuple[Sequence[str], str]]) -> bool:
    """Whether one set of weights, the same in all rows, makes averages of the parts.

    Weights from 0 to 1 that add up to 1: a linear programme.

    Parameters
    ----------
    rows : sequence of (parts, printed)
    """
    low = np.array([[float(loose(part).low) for part in parts] for parts, _ in rows])
    high = np.array([[float(loose(part).high) for part in parts] for parts, _ in rows])
    ends = [loose(printed) for _, printed in rows]
    slack = 1e-9  # of floating point, in favour of what is printed
    solved = linprog(
        np.zeros(low.shape[1]),
        A_ub=np.vstack([low, -high]),
        b_ub=[float(e.high) + slack for e in ends] + [slack - float(e.low) for e in ends],
        A_eq=np.ones((1, low.shape[1])),
        b_eq=[1],
    )
    return solved.status == 0


def repeated_figure(printed: str, elsewhere: str, where: str) -> Finding:
    """Check whether a figure that is printed twice can be one value: `repeated-figure`.

    With equally many decimals an altered digit is found, unless it is the last and moves by one:
    then there is one value, halfway, that rounds to both.
    """
    places = max(decimals(printed), decimals(elsewhere)) + 1
    finding = overlap(lambda read: read(elsewhere), printed, places, f"{elsewhere} in {where},")
    if finding.verdict == CONSISTENT:
        return Finding(f"{elsewhere} in {where}", CONSISTENT)
    return finding


def difference(printed: str, first: str, second: str) -> Finding:
    """Check a printed difference against the two printed figures: `difference`.

    Two roundings make the difference uncertain by a whole unit to either side. The paper says that
    it estimates the mean difference by bootstrap (section 3.6), and the mean over resamples is not
    the difference on the knees themselves: a figure that cannot be that difference is undetermined.
    """

    def gap(read: Read) -> Interval:
        return read(first) - read(second)

    finding = overlap(gap, printed, decimals(printed) + 1, f"{first} - {second} is")
    if finding.verdict == INCONSISTENT:
        return Finding(
            f"{finding.implied}: not the difference of the two; a bootstrap mean can be",
            UNDETERMINED,
        )
    return finding


def macro_f1_bound(accuracy: str, macro_f1: str) -> Finding:
    """Check that a macro-F1 of two classes is no larger than the accuracy: `macro-f1-bound`.

    With a and d knees right in the two classes and e wrong, the two F1 are 2a / (2a + e) and
    2d / (2d + e). As a function of a this is concave, so for a given a + d the sum is largest
    at a = d, where both are (a + d) / (a + d + e): the accuracy. What holds in every fold holds
    for means over runs. For more than two classes it does not hold.

    Some call the F1 of the classes' mean precision and mean recall a macro-F1 (Opitz and Burst
    2019, arXiv:1911.03347). That one can be as large as 1 / (2 - accuracy), and a mean over runs
    as (1 + mean accuracy) / 2, above which lies the line between two points of this convex curve.
    So a figure up to there is undetermined.
    """
    for printed in (accuracy, macro_f1):
        if rounded(printed).low >= 2:
            return outside(printed)
    said = f"macro-F1 at most the accuracy, {between(rounded(accuracy), decimals(accuracy) + 1)}"
    finding = weigh(said, lambda read: read(macro_f1).low <= read(accuracy).high)
    if finding.verdict == INCONSISTENT:
        most = (1 + loose(accuracy).high) / 2
        if loose(macro_f1).low <= most:
            return Finding(
                f"{said}; as the F1 of mean precision and mean recall it can be more", UNDETERMINED
            )
    return finding


def rmse_accuracy(accuracy: str, rmse: str, largest: int, means: bool = False) -> Finding:
    """Check accuracy and root mean squared error against each other: `rmse-accuracy`.

    Of whole grades a wrong one is off by at least 1 and at most `largest`, so the mean squared
    error lies between 1 - accuracy and the square of `largest` times that. Of means over folds or
    runs the upper bound holds, as the root is concave; from below only 1 - accuracy itself, which
    is less than its root, bounds the mean of roots.

    An expected grade, the mean of the grades by their probabilities, is not whole: where the
    likeliest grade is wrong it can be right, and where that is right it can be off by half of
    `largest`, with half of the probability at the other end. So an error outside the bounds that
    expected grades can have is undetermined.

    Parameters
    ----------
    accuracy, rmse : str
    largest : int
        Error: 4 for KL, 3 for OARSI grades.
    means : bool
        The two are, or may be, means over folds or runs.
    """
    one = Interval(Fraction(1), Fraction(1))

    def fits(read: Read) -> bool:
        wrong, root = (read(accuracy) - one).magnitude(), read(rmse)
        least = wrong.low**2 if means else wrong.low
        return (
            root.high >= 0
            and root.high**2 >= least
            and max(Fraction(0), root.low) ** 2 <= wrong.high * largest**2
        )

    if rounded(rmse).low >= 10 or rounded(accuracy).low >= 2:
        return Finding("an error no grades have, or a share above 1: another unit", UNDETERMINED)
    wrong, places = (rounded(accuracy) - one).magnitude(), decimals(rmse)
    least = float(wrong.low) if means else sqrt(wrong.low)
    most = largest * sqrt(wrong.high)
    of = ", as means" if means else ""
    finding = weigh(f"RMSE {least:.{places}f} to {most:.{places}f}{of}", fits)
    if finding.verdict == INCONSISTENT:
        # Right ones off by half of `largest` and wrong ones by all of it, in the mean of squares.
        share = (1 + 3 * (loose(accuracy) - one).magnitude().high) / 4
        root = loose(rmse)
        if (
            root.high >= 0
            and max(Fraction(0), root.low) ** 2 <= min(share, Fraction(1)) * largest**2
        ):
            return Finding(f"{finding.implied}; of expected grades it can be", UNDETERMINED)
    return finding
