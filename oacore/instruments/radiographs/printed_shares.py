"""How frequent each KL grade is among the second paper's pictures, as printed, and among ours."""

from __future__ import annotations

import pandas as pd

from oacore.hierarchy import N_GRADES
from oacore.instruments.audit.printed import carried_tables
from oacore.plots.style import require_columns

#: The printed counts of grades.
TABLE = "2112.09177 Table 1"
#: Rows of :func:`kl_shares` that are ours: which split, and which column counts its knees.
OURS = {
    "ours, training knees": ("train", "knees"),
    "ours, training knees with all seven grades": ("train", "complete"),
    "ours, test knees": ("test", "knees"),
    "ours, test knees with all seven grades": ("test", "complete"),
}


def kl_shares(pictures: pd.DataFrame) -> pd.DataFrame:
    """Share of each KL grade among the printed labelled images, and among our knees.

    Parameters
    ----------
    pictures : DataFrame
        `split`, `kl`, `knees`, `complete` (of the knees, how many have all seven grades): the
        recorded table of that name.

    Returns
    -------
    DataFrame
        A row for the print, then one for each of `OURS`: ``number`` of images or knees, and the
        shares ``KL 0`` to ``KL 4``, which add up to 1.
    """
    require_columns(pictures, "split", "kl", "knees", "complete")
    (printed,) = [one.figures for one in carried_tables() if one.name == TABLE]
    printed_counts = printed.loc["KL"].filter(like="grade_").astype(int)
    counts = {"printed, labelled images": printed_counts.to_numpy()}
    for row, (split, column) in OURS.items():
        own = pictures[pictures["split"] == split].set_index("kl")[column]
        counts[row] = own.reindex(range(N_GRADES), fill_value=0).to_numpy()
    names = [f"KL {kl}" for kl in range(N_GRADES)]
    shares = {row: own / own.sum() for row, own in counts.items()}
    table = pd.DataFrame.from_dict(shares, orient="index", columns=names)
    table.insert(0, "number", [int(own.sum()) for own in counts.values()])
    return table
