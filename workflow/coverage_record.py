"""From simulated intervals to the record of what they hold (`workflow.coverage`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from oacore.files import write
from oacore.results import write_csv

#: Settings of a row, besides which interval it is.
SETTING = ("interval", "measure", "over", "seeds", "spread", "knees", "nominal")
ROUNDED = dict.fromkeys(["covered", "low", "high", "width", "auc_sd"], 4)


def counted(simulated: pd.DataFrame) -> pd.DataFrame:
    """Count in each setting how many of the simulated intervals hold the truth.

    Parameters
    ----------
    simulated : DataFrame
        A row an interval: `SETTING` (`nominal` is .95 where it is not there), `low`, `high`,
        `truth`. Rows without limits do not count.

    Returns
    -------
    DataFrame
        A row a setting: `SETTING`, `repeats` (those with an interval), `covered`, its exact 95%
        interval `low`, `high`, and `width`, the median.
    """
    table = simulated.dropna(subset=["low", "high"])
    nominal = table["nominal"].fillna(0.95) if "nominal" in table else 0.95
    # A limit that is the truth but for the rounding of a sum holds it.
    inside = (table["low"] - 1e-12 <= table["truth"]) & (table["truth"] <= table["high"] + 1e-12)
    table = table.assign(nominal=nominal, inside=inside, width=table["high"] - table["low"])
    counts = table.groupby(list(SETTING), dropna=False).agg(
        repeats=("inside", "size"), held=("inside", "sum"), width=("width", "median")
    )
    rows = []
    for row in counts.reset_index().to_dict("records"):
        exact = binomtest(int(row["held"]), int(row["repeats"])).proportion_ci(method="exact")
        rows.append(
            {
                **{column: row[column] for column in SETTING},
                **{"repeats": int(row["repeats"]), "covered": row["held"] / row["repeats"]},
                **{"low": exact.low, "high": exact.high, "width": row["width"]},
            }
        )
    return pd.DataFrame(rows)


def keep_rows(table: pd.DataFrame, origin: dict[str, Any], out: Path, renew: bool) -> None:
    """Write rows to the record, and whence they are to the JSON beside it.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`counted`, with `auc_sd`.
    origin : dict
        How and of which code these rows were made. The record's JSON is a list of such, each with
        its `intervals`: a row is of the origin that names its interval.
    out : Path
        A CSV file. What it has of other intervals stays, and so does what is said of them.
    renew : bool
        Whether the table is the whole record, so that nothing stays.
    """
    beside = out.with_suffix(".json")
    fresh = table["interval"].unique()
    origins = [] if renew else json.loads(beside.read_text(encoding="utf-8"))
    for one in origins:
        one["intervals"] = [name for name in one["intervals"] if name not in fresh]
    origins = [one for one in origins if one["intervals"]]
    parts = [table.round(ROUNDED)]
    if not renew:
        there = pd.read_csv(out)
        parts.insert(0, there[~there["interval"].isin(fresh)])
    write_csv(pd.concat(parts, ignore_index=True), out)
    origins.append({"intervals": [*fresh], **origin})
    write(beside, json.dumps(origins, indent=1))
