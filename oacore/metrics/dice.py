"""Dice overlap of the most salient part of a volume with a region: its ceiling, and by chance."""

from __future__ import annotations

from fractions import Fraction


def largest_dice(share: Fraction, top: Fraction) -> Fraction:
    """Dice of a map whose salient voxels hold the whole region: 2 s / (q + s).

    At most min(q, s) of the voxels are in both masks, which hold q and s of them. The
    formula is concave in s, and for s > q too large, so it holds for a mean over knees.

    Parameters
    ----------
    share : Fraction
        s, of the region among all voxels.
    top : Fraction
        q, of the salient voxels among all.
    """
    return min(Fraction(1), 2 * share / (top + share))


def chance_dice(share: Fraction, top: Fraction) -> Fraction:
    """Dice of a map that knows nothing: q s of the voxels are in both masks."""
    return 2 * top * share / (top + share)
