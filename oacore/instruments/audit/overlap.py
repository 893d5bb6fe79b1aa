"""Checks of the overlap between a saliency map and a region that fills a small part of the volume.

All figures are means over knees, whose regions differ in size. Each bound here holds for the mean
over any knees whose regions fill the share s of the volume on average, however much they differ:
a bound on one knee that is concave in s (an upper one) or convex (a lower one) holds for means as
well (Jensen's inequality).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from oacore.instruments.audit.printed import decimals, loose, rounded, show
from oacore.instruments.audit.verdicts import (
    INCONSISTENT,
    UNDETERMINED,
    Finding,
    Read,
    outside,
    weigh,
)
from oacore.metrics.dice import chance_dice, largest_dice

UNEVEN = Fraction(1, 200)
"""Where the top q is no whole number of voxels, a little more or less is called salient. Half a
percent allows for volumes from 20,000 voxels."""

TOP = {"dice5": Fraction(5, 100), "dice10": Fraction(10, 100)}
"""Part of the voxels that are called salient."""


def dice_ceiling(printed: str, top: Fraction, shares: Sequence[str]) -> Finding:
    """Check whether a Dice overlap lies below what the region's size allows: `dice-ceiling`.

    Parameters
    ----------
    printed : str
    top : Fraction
        Part of the voxels that are called salient.
    shares : sequence of str
        Of the region; of several the largest decides.
    """

    def ceiling(share: Fraction) -> Fraction:
        # Of knees whose regions are larger than the top q, some may have a Dice of 1.
        return largest_dice(min(share, top), top)

    return _ceiling(printed, shares, ceiling, lambda s: chance_dice(s, top))


def topk_ceiling(printed: str, shares: Sequence[str], top: Fraction = Fraction(1, 100)) -> Finding:
    """Check whether the region can hold this part of the most salient voxels: `topk-ceiling`.

    A region of share s below q holds at most s / q of the top q voxels; by chance s.
    """
    return _ceiling(printed, shares, lambda s: min(Fraction(1), s / top), lambda s: s)


def _ceiling(
    printed: str,
    shares: Sequence[str],
    ceiling: Callable[[Fraction], Fraction],
    chance: Callable[[Fraction], Fraction],
) -> Finding:
    if rounded(printed).low >= 2:
        return outside(printed)
    places = decimals(printed)
    said = "; ".join(
        f"at most {show(ceiling(rounded(share).high), places)}, "
        f"{show(chance(Fraction(share)), places)} by chance (region {share} of the volume)"
        for share in shares
    )

    def fits(read: Read) -> bool:
        values, most = read(printed), max(ceiling(read(share).high) for share in shares)
        if read is loose:
            most *= 1 + UNEVEN
        return values.high >= 0 and values.low <= most

    return weigh(said, fits)


def least_dice5(top1: Fraction, share: Fraction) -> Fraction:
    """Dice@5 if the top 5% hold no more of the region than the top 1% do.

    With t of the top 1% in a region of share s, the top 5% hold at least 0.01 t of all
    voxels, so ``Dice@5`` >= 0.02 t / (0.05 + s). For the mean over knees, t as weights and the
    convexity in s give 0.02 t / (0.05 + S) with S the mean share weighted by t, which is at
    most s / t as t <= 1.
    """
    if top1 <= 0:
        return Fraction(0)
    return Fraction(2, 100) * top1 / (Fraction(5, 100) + share / top1)


def least_dice10(dice5: Fraction) -> Fraction:
    """Dice@10 if the top 10% hold no more of the region than the top 5% do.

    Then ``Dice@10`` >= D (0.05 + s) / (0.10 + s) with D = ``Dice@5``. This grows with s, and
    D <= 2 s / (0.05 + s) says s >= 0.05 D / (2 - D): so ``Dice@10`` >= 2 D / (4 - D), whatever the
    region's share, and as this is convex in D, for means as well.
    """
    return 2 * dice5 / (4 - dice5)


def overlap_nested(top1: str, dice5: str, dice10: str, shares: Sequence[str]) -> Finding:
    """Check whether three overlaps can come from one map: `overlap-nested`.

    The top 1% of the voxels are among the top 5%, and those among the top 10%: what is caught
    cannot get less. If many voxels tie at a threshold and all of them are called salient, there are
    more than the top q, all voxels at worst. Then ``Dice@5`` >= 0.02 t / (1 + s) >= 0.01 t, and
    ``Dice@10`` >= D (0.05 + s) / (1 + s), which is least at the least s: 0.1 D / (2 - 0.95 D). What
    only such ties allow is undetermined.
    """
    for printed in (top1, dice5, dice10):
        if rounded(printed).low >= 2:
            return outside(printed)
    one = Fraction(1)

    def fits(read: Read, tied: bool = False) -> bool:
        share = max(read(share).high for share in shares)
        first = max(Fraction(0), read(top1).low)
        second = min(one, max(Fraction(0), read(dice5).low))
        five = first / 100 if tied else least_dice5(first, share)
        ten = second / 10 / (2 - second * 19 / 20) if tied else least_dice10(second)
        slack = 1 - UNEVEN if read is loose else one
        return read(dice5).high >= five * slack and read(dice10).high >= ten * slack

    places, largest = decimals(dice5), max(rounded(share).high for share in shares)
    five = least_dice5(max(Fraction(0), rounded(top1).low), largest)
    ten = least_dice10(max(Fraction(0), rounded(dice5).low))
    said = f"Dice@5 at least {show(five, places)}, Dice@10 at least {show(ten, places)}"
    finding = weigh(said, fits)
    if finding.verdict == INCONSISTENT and fits(loose, tied=True):
        return Finding(f"{said}; less only with ties at the threshold", UNDETERMINED)
    return finding
