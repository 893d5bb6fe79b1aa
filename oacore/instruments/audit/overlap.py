"""Checks of the overlap between a saliency map and a region that fills a small part of the volume.

All figures are means over knees, whose regions differ in size. Each bound here holds for the mean
over any knees whose regions fill the share s of the volume on average, however much they differ:
a bound on one knee that is concave in s (an upper one) or convex (a lower one) holds for means as
well (Jensen's inequality).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from oacore.instruments.audit.counts import CONSISTENT, INCONSISTENT, Finding
from oacore.instruments.audit.printed import decimals, rounded, show
from oacore.metrics.dice import chance_dice, largest_dice

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

    Notes
    -----
    Of 300 simulated tables, 17% with an altered decimal pass the ceiling; an altered last digit
    does not.
    """
    return _ceiling(printed, shares, lambda s: largest_dice(s, top), lambda s: chance_dice(s, top))


def topk_ceiling(printed: str, shares: Sequence[str], top: Fraction = Fraction(1, 100)) -> Finding:
    """Check whether the region can hold this part of the most salient voxels: `topk-ceiling`.

    A region of share s below q holds at most s / q of the top q voxels; by chance s.
    The ceiling is high, and altered digits pass it in less than 1% of simulated tables.
    """
    return _ceiling(printed, shares, lambda s: min(Fraction(1), s / top), lambda s: s)


def _ceiling(
    printed: str,
    shares: Sequence[str],
    ceiling: Callable[[Fraction], Fraction],
    chance: Callable[[Fraction], Fraction],
) -> Finding:
    places = decimals(printed)
    said = "; ".join(
        f"at most {show(ceiling(rounded(share).high), places)}, "
        f"{show(chance(Fraction(share)), places)} by chance (region {share} of the volume)"
        for share in shares
    )
    values, most = rounded(printed), max(ceiling(rounded(share).high) for share in shares)
    possible = values.high >= 0 and values.low <= most
    return Finding(said, CONSISTENT if possible else INCONSISTENT)


def least_dice5(top1: Fraction, share: Fraction) -> Fraction:
    """Dice@5 if the top 5% hold no more of the region than the top 1% do.

    With t of the top 1% in a region of share s, the top 5% hold at least 0.01 t of all
    voxels, so Dice@5 >= 0.02 t / (0.05 + s). For the mean over knees, t as weights and the
    convexity in s give 0.02 t / (0.05 + S) with S the mean share weighted by t, which is at
    most s / t as t <= 1.
    """
    if top1 <= 0:
        return Fraction(0)
    return Fraction(2, 100) * top1 / (Fraction(5, 100) + share / top1)


def least_dice10(dice5: Fraction) -> Fraction:
    """Dice@10 if the top 10% hold no more of the region than the top 5% do.

    Then Dice@10 >= D (0.05 + s) / (0.10 + s) with D = Dice@5. This grows with s, and
    D <= 2 s / (0.05 + s) says s >= 0.05 D / (2 - D): so Dice@10 >= 2 D / (4 - D), whatever the
    region's share, and as this is convex in D, for means as well.
    """
    return 2 * dice5 / (4 - dice5)


def overlap_nested(top1: str, dice5: str, dice10: str, shares: Sequence[str]) -> Finding:
    """Check whether three overlaps can come from one map: `overlap-nested`.

    The top 1% of the voxels are among the top 5%, and those among the top 10%: what is caught
    cannot get less. An altered decimal is found in 20% of simulated tables, a last one never.
    """
    share = max(rounded(share).high for share in shares)
    five = least_dice5(max(Fraction(0), rounded(top1).low), share)
    ten = least_dice10(max(Fraction(0), rounded(dice5).low))
    possible = rounded(dice5).high >= five and rounded(dice10).high >= ten
    places = decimals(dice5)
    said = f"Dice@5 at least {show(five, places)}, Dice@10 at least {show(ten, places)}"
    return Finding(said, CONSISTENT if possible else INCONSISTENT)
