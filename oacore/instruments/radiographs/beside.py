"""The second paper's printed figures, and ours of the arms that stand for its rows."""

from __future__ import annotations

import pandas as pd

from oacore.instruments.audit.printed import carried_tables

#: By printed table, which arm stands for which row. Our networks are smaller, and so are the
#: pictures: the smallest stands for the paper's smallest, and so on.
STANDS_FOR = {
    "2112.09177 Table 2": {
        "ResNet-18": "global",
        "ResNet-34": "resnet-18",
        "ResNet-50": "resnet-34",
        "Proposed": "proposed",
    },
    "2112.09177 Table 3": {
        "neither": "global",
        "KPN": "keypoints",
        "CL": "coherence",
        "KPN and CL": "proposed",
    },
}
#: How the printed columns end, by our name of the metric.
_ENDS = {"accuracy": "acc", "rmse": "rmse", "kappa": "kappa"}


def beside_printed(scores: pd.DataFrame, table: str, frequency: str) -> pd.DataFrame:
    """Each printed figure of KL and of the OARSI average, and what our arm has in its place.

    Parameters
    ----------
    scores : DataFrame
        Of :func:`.collect.collect`.
    table : str
        One of `STANDS_FOR`.
    frequency : str
        How our cases count, one of those of `scores`.

    Returns
    -------
    DataFrame
        `row` of the paper, `arm`, `head` ("kl" or "oarsi"), `metric`, `printed` (NaN where the
        paper has none), and `value`, `low`, `high` of the arm; rows of arms that `scores` lacks are
        left out.
    """
    (printed,) = [one.figures for one in carried_tables() if one.name == table]
    of_frequency = scores[scores["frequency"] == frequency]
    ours = {
        (one["arm"], one["head"], one["metric"]): one for one in of_frequency.to_dict("records")
    }
    rows = []
    for row, arm in STANDS_FOR[table].items():
        for head in ("kl", "oarsi"):
            for metric, end in _ENDS.items():
                if (own := ours.get((arm, head, metric))) is None:
                    continue
                figure = printed.loc[row].get(f"{head}_{end}", "")
                named = {"row": row, "arm": arm, "head": head, "metric": metric}
                value = {name: own[name] for name in ("value", "low", "high")}
                rows.append({**named, "printed": float(figure or "nan"), **value})
    return pd.DataFrame(rows)
