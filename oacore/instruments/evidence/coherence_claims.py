"""The second paper's claims, judged by differences between the arms of a study of radiographs.

The list is ``coherence_claims.yml``; the rules are those of :mod:`.evidence.verdicts`. The family
of q is all differences that the claims name and a source has.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import pandas as pd
import yaml

from oacore.instruments.evidence.verdicts import (
    ABSENT,
    ALONE,
    Judgement,
    because,
    by_gains,
    by_margin,
    counted,
    marked,
)
from oacore.metrics.significance import benjamini_hochberg

#: Of :func:`.collect.collect`: cases with all seven grades, as all labelled ones of the paper are.
FREQUENCY = "all grades read"
#: Columns by which a difference is found.
KEY = ["reference", "other", "labelled", "head", "metric"]
#: Heads and metrics as they are written.
WORDS = {"kl": "KL", "oarsi": "OARSI", "accuracy": "accuracy", "rmse": "RMSE", "kappa": "kappa"}


def claims() -> pd.DataFrame:
    """The list: claim, where, printed, says, effects, margin, reason, indexed by name."""
    path = files("oacore.instruments.evidence") / "coherence_claims.yml"
    return pd.DataFrame(yaml.safe_load(path.read_text(encoding="utf-8"))).T


def named(claim: Mapping[str, Any] | pd.Series) -> pd.DataFrame:
    """The differences that a claim names, a row each: `KEY`, where `labelled` is 1 without one."""
    rows = [
        {"labelled": 1.0, **{k: v for k, v in one.items() if k != "metrics"}, "metric": metric}
        for one in claim["effects"]
        for metric in one["metrics"]
    ]
    return pd.DataFrame(rows)[KEY]


def judged(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Every claim, judged by one source.

    Parameters
    ----------
    tables : mapping
        What the source has of "differences" and "fewer", see :func:`.collect.collect`.

    Returns
    -------
    DataFrame
        Indexed by name: claim, where, printed, verdict (`ABSENT` where the source has none of the
        differences), because.
    """
    table = claims()
    wanted = pd.concat([named(claim) for _, claim in table.iterrows()]).drop_duplicates()
    found = _found(wanted, tables)
    p = found["p_value"].where(found["over"] != ALONE)
    found = marked(found, benjamini_hochberg(p), same_data=False)
    verdicts = {name: _judge(claim, found) for name, claim in table.iterrows()}
    said = pd.DataFrame(
        {name: {"verdict": one.verdict, "because": one.because} for name, one in verdicts.items()}
    ).T
    return table[["claim", "where", "printed"]].join(said)


def _found(wanted: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Differences that a source has of those wanted, as these name them: a gain is positive."""
    have = pd.DataFrame()
    for name in ("differences", "fewer"):
        if name in tables:
            rows = tables[name]
            rows = rows[rows["frequency"] == FREQUENCY].assign(knees=lambda one: one["cases"])
            have = pd.concat([have, rows if name == "fewer" else rows.assign(labelled=1.0)])
    if have.empty:
        empty = [*KEY, "value", "low", "high", "se", "df", "p_value", "over", "knees", "seeds"]
        return pd.DataFrame(columns=empty).astype({"p_value": float, "se": float})
    swapped = {"reference": "other", "other": "reference"}
    both = pd.concat([have, _turned(have).rename(columns=swapped)])
    rows = wanted.merge(both, on=KEY)
    less = rows["metric"] == "rmse"
    return pd.concat([rows[~less], _turned(rows[less])], ignore_index=True)


def _turned(rows: pd.DataFrame) -> pd.DataFrame:
    """The same differences the other way round."""
    return rows.assign(value=-rows["value"], low=-rows["high"], high=-rows["low"])


def _judge(claim: pd.Series, found: pd.DataFrame) -> Judgement:
    own = named(claim)
    rows = own.merge(found, on=KEY)
    if rows.empty:
        return Judgement(ABSENT, "")
    whole = len(rows) == len(own)
    said = counted(rows, len(own))
    margin = None
    if claim["says"] == "gain":
        verdict = by_gains(rows, whole=whole)
    else:
        margin = rows["metric"].map(claim["margin"])
        one_sided = claim["says"] == "no gain"
        verdict, inside = by_margin(rows, margin, whole=whole, one_sided=one_sided)
        limits = "upper limits" if one_sided else "90% intervals"
        said += f"; {limits} within the margin: {inside}"
    names = [_name(row) for _, row in rows.iterrows()]
    return Judgement(verdict, because(said, rows, names, margin=margin))


def _name(row: pd.Series) -> str:
    """What a difference is of; that in RMSE is turned, so that a gain is positive."""
    more, less = row["other"], row["reference"]
    if row["metric"] == "rmse":
        more, less = less, more
    words = f"{WORDS[row['head']]} {WORDS[row['metric']]}, {more} minus {less}"
    if row["labelled"] < 1:
        words += f", with {row['labelled']:.0%} of the labels minus with all"
    return words
