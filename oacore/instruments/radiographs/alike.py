"""How like real radiographs the drawn ones are, to read: the figures of `likeness`, and sentences.

What is shown of them is chosen here; :mod:`.radiographs.likeness` computes them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from oacore.instruments.phantom.grades import SIDES
from oacore.instruments.radiographs.likeness import APART
from oacore.names import interval_text, written

SETS = ("drawn", "real")
#: Statistics of grey that are shown, as they are written; see :func:`.likeness.grey_statistics`.
GREY = {
    "mean": "grey, mean of the picture",
    "sd": "grey, spread in the picture",
    "q05": "grey, 5th percentile",
    "q95": "grey, 95th percentile",
    "power_4": "power (log10), 4 to 8 cycles a picture",
    "power_16": "power (log10), 16 to 32 cycles",
    "power_64": "power (log10), 64 to 112 cycles",
    "upright": "upright lines against level ones",
}
#: What a classifier is asked, as it is written.
QUESTIONS = {"oa_auc": "KL 2 or more", "kl_auc": "KL grade"}


def gaps_beside(table: pd.DataFrame) -> pd.DataFrame:
    """Mean joint gaps in mm by side and grade, drawn beside real, and of how many knees.

    Parameters
    ----------
    table : DataFrame
        Of :func:`.likeness.likeness`.

    Returns
    -------
    DataFrame
        Indexed by side and grade; means as text, with 95% intervals.
    """
    rows = table[table["measure"].isin([f"gap_{side}" for side in SIDES])]
    sides = rows["measure"].str.removeprefix("gap_")
    shown = {name: _written(rows, name, ".1f") for name in SETS}
    shown |= {f"{name} knees": rows[f"n_{name}"].map("{:,}".format) for name in SETS}
    return pd.DataFrame(shown).set_index([sides.rename(None), rows["group"].rename(None)])


def grey_beside(table: pd.DataFrame) -> pd.DataFrame:
    """Some statistics of grey: means with 95% intervals, and how far apart the sets are.

    Parameters
    ----------
    table : DataFrame
        Of :func:`.likeness.likeness`.

    Returns
    -------
    DataFrame
        By the statistic's written name: `drawn` and `real` (text); `apart`, drawn minus real in
        standard deviations of the real pictures; `spread`, the standard deviation of the drawn
        pictures by that of the real ones.
    """
    means, spreads = (
        table[table["group"] == group].set_index("measure").loc[list(GREY)]
        for group in ("mean", "sd")
    )
    shown = pd.DataFrame({name: _written(means, name, ".2f") for name in SETS})
    shown["apart"] = (means["drawn"] - means["real"]) / spreads["real"]
    shown["spread"] = spreads["drawn"] / spreads["real"]
    return shown.rename(index=GREY)


def aucs_beside(table: pd.DataFrame) -> pd.DataFrame:
    """AUCs of classifiers by where they learned, and where they were tested.

    Parameters
    ----------
    table : DataFrame
        Of :func:`.likeness.likeness`.

    Returns
    -------
    DataFrame
        Text, with 95% intervals, indexed by question and training set.
    """
    rows = table[table["measure"].isin(QUESTIONS) & (table["group"] != APART)]
    index = [rows["measure"].map(QUESTIONS).rename(None), rows["group"].rename(None)]
    shown = {f"tested on {name}": _written(rows, name, ".2f") for name in SETS}
    return pd.DataFrame(shown).set_index(index)


def in_sentences(table: pd.DataFrame) -> Iterator[str]:
    """Say how like the two sets are, whichever way it came out.

    Parameters
    ----------
    table : DataFrame
        Of :func:`.likeness.likeness`.
    """
    gaps = table[table["measure"].isin([f"gap_{side}" for side in SIDES])]
    apart = (gaps["drawn"] - gaps["real"]).abs()
    furthest = gaps.iloc[int(apart.argmax())]
    side = str(furthest["measure"]).removeprefix("gap_")
    yield (
        f"Mean joint gaps lie {apart.median():.1f} mm apart in the median of {len(gaps)} grades, "
        f"and {apart.max():.1f} mm where they are furthest: {side}, {furthest['group']}."
    )
    grey = grey_beside(table)["apart"]
    most = str(grey.abs().idxmax())
    yield (
        f"Of the {len(grey)} statistics of grey, {(grey.abs() < 0.5).sum()} have means less than "
        f"half a standard deviation of real pictures apart; furthest is “{most}”, by "
        f"{grey[most]:+.1f}."
    )
    rows = {(row["measure"], row["group"]): row for row in table.to_dict("records")}
    yield (
        "Told apart by the directions of their edges, drawn and real pictures give an AUC of "
        f"{_said(rows['told_apart', 'all'], '.3f')}."
    )
    for measure, question in QUESTIONS.items():
        by_drawn, by_real, lost = (
            rows[measure, group] for group in ("trained on drawn", "trained on real", APART)
        )
        excludes = lost["real_low"] > 0 or lost["real_high"] < 0
        yield (
            f"{question}, on real pictures: a classifier that learned on drawn ones has an AUC of "
            f"{_said(by_drawn)}, one that learned on real ones {_said(by_real)}; the difference is "
            f"{_said(lost, '+.2f')}, and its interval {'excludes' if excludes else 'holds'} zero."
        )


def _said(row: Mapping[Hashable, Any], form: str = ".2f") -> str:
    """What a row says of real pictures."""
    return interval_text(row["real"], row["real_low"], row["real_high"], form)


def _written(rows: pd.DataFrame, name: str, form: str) -> pd.Series:
    """Estimates of one of the sets as text."""
    parts = {"value": rows[name], "low": rows[f"{name}_low"], "high": rows[f"{name}_high"]}
    return written(pd.DataFrame(parts), form)
