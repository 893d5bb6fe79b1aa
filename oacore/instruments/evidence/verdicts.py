"""The rules: what a source's differences say of a claim, with the evidence in one line.

A difference is *clear* where its corrected p-value is below 0.05: q by Benjamini and Hochberg,
or, between backbones, p adjusted for all pairs. It is never clear where a figure of it is
undefined, or where one seed alone stands behind it in runs that had a choice of seeds.

A claim of a gain
    holds where all that it names are clear gains; holds in part where some are and none is a
    clear loss; does not hold where one is a clear loss, or where no difference is clear though
    these are the very predictions that the claim was made on. Otherwise nobody can say.
A claim of no change
    does not hold where a difference is clear, however small. It holds where each 90% interval
    lies within a margin named beforehand (two one-sided tests at .05,
    :func:`.power.equivalence_interval`; all must pass, so no correction is due). Otherwise nobody
    can say: not to see a change is not to see that there is none. A claim of no *gain* asks the
    same of the upper limit alone, and a clear loss is not against it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from oacore.metrics.power import detectable, equivalence_interval
from oacore.names import interval_text

#: What a source can say of a claim.
HOLDS, PARTLY, FAILS, OPEN = "holds", "holds in part", "does not hold", "cannot say"
ABSENT = "not measured"

FDR = 0.05
#: In column `over`: one seed stands behind the row, so that its interval is over knees alone.
ALONE = "knees alone"
#: Said of the authors' networks, each trained once: nothing else was released.
THESE = "one training of each network: these networks on these knees; says nothing of another"


@dataclass(frozen=True)
class Judgement:
    """Verdict of a source on a claim, and its reason with the evidence, in one line."""

    verdict: str
    because: str


def marked(rows: pd.DataFrame, q: npt.ArrayLike, *, same_data: bool) -> pd.DataFrame:
    """Differences with `q_value`, `known` and `clear`.

    Parameters
    ----------
    rows : DataFrame
        value, low, high, se, and `over` unless `same_data`.
    q : (rows,) float array
        Corrected p-values.
    same_data : bool
        Whether these are the authors' networks, which have one seed and no other.

    Returns
    -------
    DataFrame
        `known` where every figure is defined, some spread was seen, and, unless `same_data`,
        more than one seed; `clear` where, besides, q is below 0.05.
    """
    rows = rows.assign(q_value=np.asarray(q, dtype=float))
    known = rows[["value", "low", "high", "se", "q_value"]].notna().all(axis=1) & (rows["se"] > 0)
    if not same_data:
        known &= rows["over"] != ALONE
    return rows.assign(known=known, clear=known & (rows["q_value"] < FDR))


def by_gains(rows: pd.DataFrame, *, whole: bool, same_data: bool = False) -> str:
    """Verdict on a claimed gain.

    Parameters
    ----------
    rows : DataFrame
        From :func:`marked`; a positive `value` is what the paper claims.
    whole : bool
        Whether all that the claim names is there.
    same_data : bool
        As in :func:`.judges.judge_effects`.
    """
    gains, losses = rows["clear"] & (rows["value"] > 0), rows["clear"] & (rows["value"] < 0)
    if losses.any():
        return FAILS
    if gains.any():
        return HOLDS if gains.all() and whole else PARTLY
    return FAILS if same_data and whole and rows["known"].all() else OPEN


def by_margin(
    rows: pd.DataFrame, margin: pd.Series, *, whole: bool, one_sided: bool = False
) -> tuple[str, int]:
    """Verdict on a claimed absence of change, and how many rows lie within their margin.

    Parameters
    ----------
    rows : DataFrame
        From :func:`marked`, with df.
    margin : Series of float
        Of each row: the largest difference that still counts as none.
    whole : bool
        Whether all that the claim names is there.
    one_sided : bool
        Whether the claim is of no gain alone: only upper limits count, and a loss is not against
        it.
    """
    low, high = equivalence_interval(rows["value"], rows["se"], rows["df"])
    inside = rows["known"] & (high < margin)
    against = rows["clear"]
    if one_sided:
        against = against & (rows["value"] > 0)
    else:
        inside &= low > -margin
    if against.any():
        return FAILS, int(inside.sum())
    return HOLDS if inside.all() and whole else OPEN, int(inside.sum())


def counted(rows: pd.DataFrame, expected: int = 0) -> str:
    """How many differences are clear, and how many of those that a claim names are missing."""
    gains, losses = rows["clear"] & (rows["value"] > 0), rows["clear"] & (rows["value"] < 0)
    missing = expected - len(rows)
    said = f"; named by the claim, but not measured: {missing}" if missing > 0 else ""
    return f"clear gains {gains.sum()}, clear losses {losses.sum()}, of {len(rows)}{said}"


def because(
    said: str,
    rows: pd.DataFrame,
    names: Collection[str],
    *,
    form: str = "+.3f",
    margin: pd.Series | None = None,
    same_data: bool = False,
    letter: str = "q",
) -> str:
    """One line: the reason, each effect with its interval and what it could have seen, on what.

    Parameters
    ----------
    said : str
        The reason.
    rows : DataFrame
        From :func:`marked`, with df, knees and seeds, and `n_undefined` where it is known.
    names : collection of str
        What each row is of.
    form : str
        Of its numbers.
    margin : Series, optional
        Of each row; then the 90% interval stands beside it.
    same_data : bool
        As in :func:`marked`.
    letter : str
        What the corrected p-value is called.
    """
    margins = [None] * len(rows) if margin is None else list(margin)
    lines = []
    for name, row, of_row in zip(names, rows.to_dict("records"), margins, strict=True):
        line = f"{name} {interval_text(row['value'], row['low'], row['high'], form)}"
        if of_row is not None:
            low, high = equivalence_interval(row["value"], row["se"], row["df"])
            ends = "undefined" if np.isnan(low) else f"[{low:{form}}, {high:{form}}]"
            line += f", 90% {ends}, margin {of_row:g}"
        seen = float(detectable(row["se"], row["df"]))
        seen_text = "unknown" if np.isnan(seen) else f"from {seen:{form[1:]}}"
        lines.append(f"{line}, {letter} = {_p(row['q_value'])}, 80% power {seen_text}")
    behind = [_range(rows["knees"], "knee")]
    behind.append(THESE if same_data else _range(rows["seeds"], "seed"))
    if not same_data and (rows["over"] == ALONE).any():
        behind.append("and one seed gives no verdict")
    if "n_undefined" in rows and (rows["low"].isna() & (rows["n_undefined"] > 0)).any():
        behind.append("and too many resamples lack a class or grade for a verdict")
    return f"{said}: {'; '.join(lines)}. On {', '.join(behind)}"


def _range(numbers: pd.Series, word: str) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    count = f"{low}" if low == high else f"{low} to {high}"
    return f"{count} {word}{'' if high == 1 else 's'}"


def _p(value: float) -> str:
    if np.isnan(value):
        return "undefined"
    return f"{value:.3f}" if value >= 0.0005 else f"{value:.1g}"
