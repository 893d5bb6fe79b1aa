"""How far a map lies in a region, by section 3.5.3's measures.

These are ``mass@ROI``, ``top1@ROI``, ``Dice@5`` and ``Dice@10``.

Each measure comes with its chance level and its ceiling, since cartilage fills under 1% of the
voxels: then no map whatever passes 0.15 to 0.16 at ``Dice@10``.

The most salient q% of n voxels are k = ceil(q n), at least one, as in the released script; what
is below zero counts as zero. Where voxels of equal saliency compete for the last places among the
k, nothing in the map says which get them. The release leaves it to ``np.argpartition``, whose
choice follows the voxels' order in memory and the processor's instructions (the same NumPy chooses
others without AVX). Here each has the same chance, and the number in the region is the mean over
all choices, exactly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.metrics.dice import chance_dice, largest_dice

MEASURES = ("mass", "top1", "dice5", "dice10")
"""Of Table 3; any other percentage can be asked for as well, such as "top0.5" or "dice20"."""

REGIONS = {"cartilage": (2, 4, 5), "cartilage without lateral tibia": (2, 4)}
"""Labels of a region: all cartilage, and what the released script takes by default."""

LEAST_SUM = 1e-8
"""A map that sums up to less has no mass to share out; also added to the sum, as released."""


def region(labels: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """The voxels with one of some labels, a mask of bool."""
    return np.isin(labels, list(numbers))


def overlap(
    maps: Iterable[Any],
    masks: Iterable[Any],
    case_id: Sequence[Any],
    measures: Sequence[str] = MEASURES,
) -> pd.DataFrame:
    """Overlap of each case's map with its region.

    Parameters
    ----------
    maps : iterable of array, each of shape (D, H, W)
        Read one at a time, in 32 bits, as the release does.
    masks : iterable of array of bool
        The region of each, on the same voxels.
    case_id : sequence
    measures : sequence of str
        "mass"; "topQ", the part of the Q% most salient voxels that lies in the region; "diceQ",
        the Dice overlap of these voxels with the region.

    Returns
    -------
    DataFrame
        A row for each case and measure: `case_id`, `measure`, `value`, `chance` (the mean over
        all orders of the map's voxels), `ceiling` (of the best map), `enrichment` (value over
        chance), `roi_voxels`, `salient_voxels` (k) and `tied`, the voxels that compete for the
        last places: 0 where the map alone decides. All NaN where a region is empty (the release
        has 0); `mass` is NaN where a map sums up to less than `LEAST_SUM`.

    Raises
    ------
    InputError
        If a map holds values that are not finite (the release takes NaN for the most salient), a
        mask is not of bool or of another shape, or the three do not have the same length.
    """
    percents = {name: _percent(name) for name in measures}
    rows: list[dict[str, Any]] = []
    try:
        for case, values, mask in zip(case_id, maps, masks, strict=True):
            found = _one(np.asarray(values), np.asarray(mask), percents, f"case {case}")
            rows += [{"case_id": case, "measure": name, **found[name]} for name in measures]
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError("overlap: give as many maps as masks and case_ids") from error
    table = pd.DataFrame(rows)
    table.insert(5, "enrichment", table["value"] / table["chance"])
    return table


def _percent(measure: str) -> float:
    """Q of a measure's name; 0 for the mass."""
    match = re.fullmatch(r"mass|(?:top|dice)(\d+(?:\.\d+)?)", measure)
    percent = float(match[1] or 0) if match else math.nan
    if not (percent <= 100 and (percent > 0 or measure == "mass")):
        raise InputError(
            f'overlap: there is no measure {measure!r}; give "mass", or "top" or "dice" and a '
            'percentage, such as "dice5"'
        )
    return percent


def _one(
    values: np.ndarray, mask: np.ndarray, percents: dict[str, float], where: str
) -> dict[str, dict[str, Any]]:
    """All measures of one map."""
    if mask.dtype != bool or mask.shape != values.shape or not values.size:
        raise InputError(
            f"overlap, {where}: a map of shape {values.shape} with a mask of {mask.dtype}, shape "
            f"{mask.shape}; give a mask of bool on the map's voxels, such as labels == 2"
        )
    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)  # (n,)
    least, total = flat.min(), flat.sum(dtype=np.float64)
    if not (np.isfinite(least) and np.isfinite(total)):
        raise InputError(f"overlap, {where}: the map holds values that are not finite; mend it")
    if least < 0:
        flat = np.maximum(flat, 0)
        total = flat.sum(dtype=np.float64)
    n, inside = flat.size, flat[mask.reshape(-1)]  # (roi,)
    roi = inside.size
    # In floating point, as the release counts.
    counts = {q: max(math.ceil(q / 100 * n), 1) for q in percents.values() if q}
    hits = _hits(flat, inside, sorted({*counts.values()}, reverse=True))
    share = Fraction(roi, n)
    found: dict[str, dict[str, Any]] = {}
    for name, percent in percents.items():
        k, tied = counts.get(percent, 0), 0
        if name == "mass":
            # mass@ROI = sum of S_i M_i over sum of S_i
            mass = inside.sum(dtype=np.float64) / (total + LEAST_SUM)
            value, chance, ceiling = (mass if total >= LEAST_SUM else math.nan), share, Fraction(1)
        else:
            hit, tied = hits[k]
            top = Fraction(k, n)
            if name.startswith("top"):
                # top@ROI = |T and M| / |T|
                value, chance, ceiling = hit / k, share, min(Fraction(1), share / top)
            else:
                # Dice@q = 2 |T and M| / (|T| + |M|); of the best map one holds the other
                value, chance = 2 * hit / (k + roi), chance_dice(share, top)
                ceiling = largest_dice(*sorted((share, top)))
        limits = [float(chance), float(ceiling)] if roi else [math.nan, math.nan]
        found[name] = {
            "value": float(value) if roi else math.nan,
            **dict(zip(("chance", "ceiling"), limits, strict=True)),
            **{"roi_voxels": roi, "salient_voxels": k, "tied": tied},
        }
    return found


def _hits(flat: np.ndarray, inside: np.ndarray, ks: list[int]) -> dict[int, tuple[float, int]]:
    """How many of the k greatest of n values are in the region, and how many compete.

    Parameters
    ----------
    flat : ndarray of float32, shape (n,)
    inside : ndarray, shape (roi,)
        Those of the region.
    ks : list of int
        From the greatest to the least.
    """
    if not ks:
        return {}
    top = candidates = _candidates(flat, ks[0])
    found = {}
    for k in ks:
        # The k greatest, in no order but for the first, the least of them: the next smaller k
        # looks among these alone.
        top = np.partition(top, top.size - k)[top.size - k :]  # (k,)
        bound = top[0]
        above = np.count_nonzero(top > bound)
        equal = np.count_nonzero(candidates == bound)
        hit: Any = np.count_nonzero(inside > bound)
        contested = above + equal > k
        if not contested:
            hit += np.count_nonzero(inside == bound)
        else:  # k - above places for `equal` voxels: the mean of a hypergeometric distribution
            hit += (k - above) * np.count_nonzero(inside == bound) / equal
        found[k] = float(hit), int(equal) if contested else 0
    return found


def _candidates(flat: np.ndarray, k: int) -> np.ndarray:
    """Values that hold the k greatest and all that equal the least of these.

    A regular sample tells a value that somewhat more than k pass; only these are sorted. Should
    they be too few after all, all values are taken, so the sample decides about speed alone.
    """
    sample = flat[::61]  # odd and prime, so that it does not run along an axis
    rank = k / flat.size * sample.size
    rank = math.ceil(rank + 4 * math.sqrt(rank)) + 1  # four standard deviations to be safe
    if rank >= sample.size:
        return flat
    bound = np.partition(sample, sample.size - rank)[sample.size - rank]
    passed = flat.take(np.flatnonzero(flat > bound))
    # The k-th greatest passed the bound, so whatever equals it did too.
    return passed if passed.size >= k else flat
