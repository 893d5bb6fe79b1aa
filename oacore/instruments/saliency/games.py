"""Areas under the curves of deletion and insertion, held against voxels in random order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from oacore.instruments.saliency.faithfulness import RANDOM
from oacore.instruments.saliency.means import contrast


def areas(table: pd.DataFrame) -> pd.DataFrame:
    """Area under each curve, in the columns that :mod:`.saliency.means` reads.

    Parameters
    ----------
    table : DataFrame
        Table "curves" of :func:`.read.read_explained`.

    Returns
    -------
    DataFrame
        `backbone`, `supervision`, `head`, `method`, `seed`, `case_id`; `measure`, the game;
        `value`, the area by the trapezoidal rule, the mean probability over all shares; `chance`,
        that of the random order; `ceiling` (1); `weights`, `mask` and `region`, for they are of
        trained networks and whole volumes.
    """
    keys = ["backbone", "supervision", "head", "method", "seed", "case_id", "measure"]
    rows = [
        {**dict(zip(keys, key, strict=True)), "value": np.trapezoid(own["value"], own["share"])}
        for key, own in table.sort_values("share").groupby(keys, sort=False)
    ]
    found = pd.DataFrame(rows)
    chance = found[found["method"] == RANDOM].drop(columns="method")
    at = [key for key in keys if key != "method"]
    found = found.merge(chance.rename(columns={"value": "chance"}), on=at, validate="many_to_one")
    return found.assign(ceiling=1.0, weights="trained", mask="none", region="whole volume")


def over_random(played: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Each order's area minus that of the random one: in deletion, what is below 0 is better.

    Parameters
    ----------
    played : DataFrame
        From :func:`areas`.
    **options
        Of :func:`.means.contrast`.

    Returns
    -------
    DataFrame
        Columns of :func:`.means.contrast`, with `method`.
    """
    others = [name for name in dict.fromkeys(played["method"]) if name != RANDOM]
    found = [contrast(played, "method", name, RANDOM, **options) for name in others]
    return pd.concat(
        [table.assign(method=name) for name, table in zip(others, found, strict=True)],
        ignore_index=True,
    )
