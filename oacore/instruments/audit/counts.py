"""Checks that count knees: steps of an accuracy and of an AUC, 2x2 tables, McNemar's range.

Every function takes figures as printed, as strings, and gives what they imply and a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from math import ceil, floor
from typing import NamedTuple

import numpy as np
from scipy.special import bdtr, chdtrc

from oacore.instruments.audit.printed import decimals, loose, rounded, show
from oacore.instruments.audit.verdicts import (
    CONSISTENT,
    CUT_OFF,
    INCONSISTENT,
    UNDETERMINED,
    Finding,
    Read,
    outside,
)
from oacore.metrics.shares import exact
from oacore.metrics.significance import mcnemar
from oacore.names import interval_text


class TwoByTwo(NamedTuple):
    """Knees by label and decision: TP, FN, FP, TN."""

    tp: int
    fn: int
    fp: int
    tn: int

    def __str__(self) -> str:
        return f"TP {self.tp}, FN {self.fn}, FP {self.fp}, TN {self.tn}"


def accuracy_count(printed: str, n: int) -> Finding:
    """Check whether a share of n knees can be what is printed: `accuracy-count`.

    An accuracy over n knees is k/n with a whole k. Steps of 1/98 are some hundred times as wide as
    what a figure of 4 decimals covers, so that most such figures are no share of 98 knees. Where a
    figure covers as much as a step, every figure can be reached, and the check says so.

    Parameters
    ----------
    printed : str
    n : int
        Number of knees.
    """
    return _on_grid(printed, n, lambda k: f"{k}/{n}")


def auc_count(printed: str, positive: int, negative: int) -> Finding:
    """Check whether an AUC over so many pairs can be what is printed: `auc-count`.

    An AUC is the share of pairs of a positive and a negative knee in which the positive one scores
    higher, ties as halves (Mann and Whitney, doi:10.1214/aoms/1177730491): a multiple of
    1 / (2 * positive * negative). With 65 x 33 = 2,145 pairs the steps are 0.00023. A figure of 4
    decimals covers 0.0001, so that 43% of them can be reached, and half as many again only if
    digits were cut off. A figure of 3 decimals can always be reached.
    """
    pairs = positive * negative

    def words(k: int) -> str:
        return f"{k // 2}{'.5' if k % 2 else ''} of {pairs} pairs"

    return _on_grid(printed, 2 * pairs, words)


def macro_auc_count(printed: str, knees: Sequence[int]) -> Finding:
    """Check whether a mean of one-versus-rest AUCs can be what is printed: `auc-count`.

    If the AUC of a single one of g grades moves, the mean moves in steps of 1 / (2 g * pairs),
    `pairs` being those of a knee of this grade with one of another. With 98 knees the finest of
    these steps is narrower than what a figure of 4 decimals covers, so every figure can be reached;
    with fewer knees, steps of several grades together are finer still. So the check only finds
    values outside 0 to 1.
    """
    n, grades = sum(knees), len(knees)
    finest = max(2 * grades * k * (n - k) for k in knees)
    values = rounded(printed)
    if values.high < 0 or values.low > 1:
        return outside(printed)
    step = show(Fraction(1, finest), decimals(printed) + 2)
    return Finding(f"steps of {step} or finer: no figure can be ruled out", UNDETERMINED)


def _on_grid(printed: str, steps: int, words: Callable[[int], str]) -> Finding:
    """Find multiples of 1/steps, from 0 to 1, among the values that a figure stands for."""
    values = rounded(printed)
    places = decimals(printed) + 2
    low, high = max(0, ceil(values.low * steps)), min(steps, floor(values.high * steps))
    if low > high:
        if values.high < 0 or values.low > 1:
            return outside(printed)
        near = [floor(values.low * steps), ceil(values.high * steps)]
        said = " and ".join(f"{words(k)} = {show(Fraction(k, steps), places)}" for k in near)
        wide = loose(printed)
        if ceil(wide.low * steps) <= floor(wide.high * steps):
            return Finding(f"nearest are {said}: {CUT_OFF}", UNDETERMINED)
        return Finding(f"none; nearest are {said}", INCONSISTENT)
    if Fraction(1, steps) <= values.high - values.low:
        return Finding(
            f"steps of {show(Fraction(1, steps), places)}: every figure with "
            f"{decimals(printed)} decimals can be reached",
            UNDETERMINED,
        )
    return Finding(", ".join(words(k) for k in range(low, high + 1)), CONSISTENT)


def two_by_two(
    accuracy: str, f1: str, positive: int, negative: int, read: Read = rounded
) -> list[TwoByTwo]:
    """All 2x2 tables with the printed accuracy and F1.

    Accuracy is (TP + TN) / n and F1 is 2 TP / (2 TP + FP + FN), whose denominator is
    TP + n - TN. The labels fix TP + FN and TN + FP, so two whole numbers are left, TP and
    TN, and there are few enough to try them all. F1 is 0 where nothing is a true positive.

    Parameters
    ----------
    accuracy, f1 : str
    positive, negative : int
        Knees with and without OA.
    read : callable
        What a figure stands for: :func:`.printed.rounded` or :func:`.printed.loose`.

    Returns
    -------
    list of TwoByTwo
        Ordered by TP.
    """
    n = positive + negative
    right, score = read(accuracy), read(f1)
    least, most = max(0, ceil(right.low * n)), min(n, floor(right.high * n))
    (low, below), (high, above) = (end.as_integer_ratio() for end in (score.low, score.high))
    found = []
    for tp in range(positive + 1):
        for tn in range(max(0, least - tp), min(negative, most - tp) + 1):
            total = tp + n - tn
            if low * total <= 2 * tp * below and 2 * tp * above <= high * total:
                found.append(TwoByTwo(tp, positive - tp, negative - tn, tn))
    return found


def confusion(accuracy: str, f1: str, positive: int, negative: int) -> Finding:
    """Find the confusion matrices that give both an accuracy and an F1: `confusion`.

    One 2x2 table is written out with its sensitivity and specificity and their exact 95% intervals
    (Clopper and Pearson, doi:10.1093/biomet/26.4.404).
    """
    tables = two_by_two(accuracy, f1, positive, negative)
    if not tables:
        wide = len(two_by_two(accuracy, f1, positive, negative, loose))
        if wide:
            tables_fit = "1 table does" if wide == 1 else f"{wide} tables do"
            return Finding(f"no 2x2 table rounds to both; {tables_fit}, {CUT_OFF}", UNDETERMINED)
        return Finding("no 2x2 table gives both", INCONSISTENT)
    if len(tables) > 1:
        return Finding(f"{len(tables)} tables give both", CONSISTENT)
    tp, fn, fp, tn = tables[0]
    said = "".join(
        f"; {name} {interval_text(hit / total, *exact(hit, total), '.3f')}"
        for name, hit, total in (("sensitivity", tp, tp + fn), ("specificity", tn, tn + fp))
    )
    return Finding(f"{tables[0]}{said}", CONSISTENT)


def discordant_pairs(first: TwoByTwo, second: TwoByTwo) -> list[tuple[int, int]]:
    """All pairs (b, c): knees that only the first model gets right, and only the second.

    The 2x2 tables say how many OA-positive knees each model gets right, not which. Of P positive
    knees with p right by the first and q by the second, x are right by both, where x can be any
    whole number from max(0, p + q - P) to min(p, q); p - x are right by the first alone, q - x by
    the second alone. The same holds among the negative knees, independently.

    Returns
    -------
    list of (int, int)
        Ordered by b. Their difference b - c is one and the same for all.
    """
    positive, negative = first.tp + first.fn, first.fp + first.tn
    found = {
        (first.tp - x + first.tn - y, second.tp - x + second.tn - y)
        for x in range(max(0, first.tp + second.tp - positive), min(first.tp, second.tp) + 1)
        for y in range(max(0, first.tn + second.tn - negative), min(first.tn, second.tn) + 1)
    }
    return sorted(found)


def mcnemar_range(first: TwoByTwo, second: TwoByTwo, said: str = "") -> Finding:
    """Least and greatest p that McNemar's test of two models can have: `mcnemar-range`.

    Which knees each model gets right is not printed, so the discordant pairs are not known, but
    bounded (:func:`discordant_pairs`). The range is that of the released test: exact below 25
    discordant knees, by chi-square with continuity correction from there. A statement that it
    excludes is called inconsistent only if no other McNemar test agrees with it
    (:func:`mcnemar_variants`), and "not significant" only if no correction for up to 100 tests
    would explain it.

    Parameters
    ----------
    first, second : TwoByTwo
        Of the same knees.
    said : {"", "significant", "not significant"}
        What the paper says of the difference in accuracy.

    Returns
    -------
    Finding
        Undetermined if nothing is said, or if p can lie on both sides of 0.05. The discordant knees
        are given as those that only `first` gets right against those of `second`.
    """
    pairs = discordant_pairs(first, second)
    p = {pair: _p_value(*pair) for pair in pairs}
    least, most = min(p, key=lambda pair: p[pair]), max(p, key=lambda pair: p[pair])
    implied = (
        f"p from {p[least]:.3g} ({least[0]} against {least[1]} discordant knees) "
        f"to {p[most]:.3g} ({most[0]} against {most[1]}), exact below 25 discordant knees, else by "
        "corrected chi-square"
    )
    below, above = p[most] < 0.05, p[least] >= 0.05
    if not (below or above):
        return Finding(f"{implied}: on both sides of 0.05", UNDETERMINED)
    fact = "significant" if below else "not significant"
    if not said:
        return Finding(f"{implied}: {fact} in any case", UNDETERMINED)
    if said == fact:
        return Finding(f"{implied}: {fact}", CONSISTENT)
    for name in VARIANTS:
        others = [mcnemar_variants(*pair)[name] for pair in pairs]
        if min(others) < 0.05 <= max(others) or (min(others) < 0.05) == above:
            return Finding(f"{implied}: {fact}; by the {name} test it can be {said}", UNDETERMINED)
    if below and p[most] * 100 >= 0.05:
        return Finding(f"{implied}: {fact}, unless corrected for several tests", UNDETERMINED)
    return Finding(f"{implied}: {fact}, by every McNemar test (two-sided, 0.05)", INCONSISTENT)


VARIANTS = ("exact", "mid-p", "chi-square", "corrected chi-square")


@cache
def mcnemar_variants(b: int, c: int) -> dict[str, float]:
    """Two-sided p of each usual form of McNemar's test for b and c discordant knees.

    The binomial test; its mid-p form, with half the weight of what was seen (Fagerland and others
    2013, doi:10.1186/1471-2288-13-91); chi-square of one degree of freedom, without and with
    Edwards's continuity correction.
    """
    n, few = b + c, min(b, c)
    if b == c:
        return dict.fromkeys(VARIANTS, 1.0)
    exact, before = 2 * bdtr(few, n, 0.5), 2 * bdtr(few - 1, n, 0.5) if few else 0.0
    squares = (b - c) ** 2 / n, (abs(b - c) - 1) ** 2 / n
    found = (exact, (exact + before) / 2, *(chdtrc(1, square) for square in squares))
    return {name: float(min(p, 1.0)) for name, p in zip(VARIANTS, found, strict=True)}


@cache
def _p_value(b: int, c: int) -> float:
    first = np.repeat([True, False], [b, c])
    return mcnemar(first, ~first).p_value
