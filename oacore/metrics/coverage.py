"""How often simulated intervals held the truth, and which fall short of what they promise.

``python -m workflow.coverage`` simulates; ``book/record/coverage.csv`` holds what it found. A page
takes the rows of the intervals that it prints, and says what these hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from scipy.stats import binomtest

from oacore.errors import InputError

#: An interval falls short where it holds the truth this much less often than it says, and chance
#: in the simulation does not explain it.
SHORT = 0.02
#: Fewest repeats of a row that says something: a rare bin of a curve is in few data sets.
FEWEST = 100


def rows_of(table: pd.DataFrame, intervals: Sequence[str]) -> pd.DataFrame:
    """The rows of some intervals, of :data:`FEWEST` repeats or more.

    Parameters
    ----------
    table : DataFrame
        Of ``book/record/coverage.csv``: a row a setting of an interval.
    intervals : sequence of str
        Their names.

    Raises
    ------
    InputError
        If an interval was never simulated.
    """
    unknown = sorted(set(intervals) - set(table["interval"]))
    if unknown:
        raise InputError(
            f"book/record/coverage.csv has no row of {', '.join(unknown)}; simulate it with "
            "`python -m workflow.coverage`, or correct the name"
        )
    return table[table["interval"].isin(list(intervals)) & (table["repeats"] >= FEWEST)]


def by_seeds(table: pd.DataFrame, intervals: Sequence[str]) -> pd.DataFrame:
    """How often intervals held the truth, by their number of seeds.

    Parameters
    ----------
    table, intervals
        See :func:`rows_of`.

    Returns
    -------
    DataFrame
        Indexed by interval, in the order given: `promised`, and a column for each number of seeds,
        a share that is a mean over measures and settings; NaN where it was not simulated.
    """
    rows = rows_of(table, intervals)
    wide = rows.pivot_table(index="interval", columns="seeds", values="covered")
    said = wide.loc[list(intervals)].sort_index(axis=1).rename(columns="{} seeds".format)
    said.insert(0, "promised", rows.groupby("interval")["nominal"].first())
    return said.rename_axis(columns=None)


def shortfalls(table: pd.DataFrame, intervals: Sequence[str], seeds: int = 3) -> pd.DataFrame:
    """Which intervals hold the truth less often than they say.

    Parameters
    ----------
    table, intervals
        See :func:`rows_of`.
    seeds : int
        The fewest that count: with two an interval is known to be short, and one is no interval
        over seeds. 1 where seeds are no matter, as over the knees of given networks.

    Returns
    -------
    DataFrame
        interval, measure, knees; promised; `covered`, the share over all settings with so many
        seeds, and `least`, in the worst of them; the shares whose exact 95% limits lie below what
        is promised, and which are more than :data:`SHORT` below. The worst comes first.
    """
    rows = rows_of(table, intervals)
    rows = rows[rows["seeds"] >= seeds]
    rows = rows.assign(held=(rows["covered"] * rows["repeats"]).round())
    by = rows.groupby(["interval", "measure", "knees", "nominal"], sort=False)
    found = by.agg(held=("held", "sum"), repeats=("repeats", "sum"), least=("covered", "min"))
    found = found.reset_index().rename(columns={"nominal": "promised"})
    found["covered"] = found["held"] / found["repeats"]
    limits = [
        binomtest(int(held), int(n)).proportion_ci(method="exact").high
        for held, n in zip(found["held"], found["repeats"], strict=True)
    ]
    surely = found["promised"] > limits
    short = found[surely & (found["covered"] < found["promised"] - SHORT)]
    columns = ["interval", "measure", "knees", "promised", "covered", "least"]
    return short.sort_values("covered", ignore_index=True)[columns]


def in_words(short: pd.DataFrame, called: Mapping[str, str]) -> str:
    """Say what falls short, a line an interval, in Markdown.

    Parameters
    ----------
    short : DataFrame
        Of :func:`shortfalls`.
    called : mapping of str to str
        What a page calls measures; others go by their own names. What follows a comma in a
        measure's name, such as a setting, stays as it is.
    """
    if short.empty:
        return f"None of them falls short of what it promises by more than {SHORT:g}."
    lines = []
    for (interval, promised), own in short.groupby(["interval", "promised"], sort=False):
        parts = []
        for row in own.to_dict("records"):
            name, *setting = row["measure"].split(", ", 1)
            of = ", ".join([called.get(name, name), *setting, f"{row['knees']} knees"])
            worst = f"; {row['least']:.0%} at the worst" if row["least"] < row["covered"] else ""
            parts.append(f"{row['covered']:.0%} ({of}{worst})")
        lines.append(f"- *{interval}* promises {promised:.0%} and holds {', '.join(parts)}")
    return "These hold the truth less often than they say:\n\n" + "\n".join(lines)
