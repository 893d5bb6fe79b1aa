"""The second paper's printed figures, and ours of the arms that stand for its rows."""

from __future__ import annotations

import pandas as pd

from oacore.instruments.audit.printed import carried_tables
from oacore.names import written

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
    "2112.09177 Table 4": {
        "ResNet-50 20%": "global-20",
        "ResNet-50 40%": "global-40",
        "ResNet-50 100%": "global",
        "Proposed 20%": "proposed-20",
        "Proposed 40%": "proposed-40",
        "Proposed 100%": "proposed",
    },
    "2112.09177 supplement Table 1": {
        "ResNet-50": "global",
        "tau = 0.25": "tau-0.25",
        "tau = 0.5": "proposed",
        "tau = 0.75": "tau-0.75",
        "tau = 1.0": "tau-1",
        "tau = 1.5": "tau-1.5",
    },
    "2112.09177 supplement Table 2": {
        "R-50": "global",
        "R-50 w. [2]": "global-regression",
        "Prop.": "proposed",
        "Prop. w. [2]": "proposed-regression",
    },
}
#: Rows of the same tables that the paper sets against each other: the reference, then the other.
GAINS = {
    "2112.09177 Table 2": [
        ("ResNet-18", "Proposed"),
        ("ResNet-34", "Proposed"),
        ("ResNet-50", "Proposed"),
    ],
    "2112.09177 Table 3": [
        ("neither", "KPN"),
        ("neither", "CL"),
        ("neither", "KPN and CL"),
        ("KPN", "KPN and CL"),
        ("CL", "KPN and CL"),
    ],
    "2112.09177 Table 4": [
        ("ResNet-50 20%", "Proposed 20%"),
        ("ResNet-50 40%", "Proposed 40%"),
        ("ResNet-50 100%", "Proposed 100%"),
        ("ResNet-50 100%", "Proposed 20%"),
        ("ResNet-50 100%", "Proposed 40%"),
    ],
    "2112.09177 supplement Table 1": [
        ("ResNet-50", f"tau = {tau}") for tau in ("0.25", "0.5", "0.75", "1.0", "1.5")
    ],
    "2112.09177 supplement Table 2": [("R-50", "R-50 w. [2]"), ("Prop.", "Prop. w. [2]")],
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
    printed = _printed(table)
    of_frequency = scores[scores["frequency"] == frequency]
    ours = {
        (one["arm"], one["head"], one["metric"]): one for one in of_frequency.to_dict("records")
    }
    rows = []
    for row, arm in STANDS_FOR[table].items():
        for head in ("kl", "oarsi"):
            for metric in _ENDS:
                if (own := ours.get((arm, head, metric))) is None:
                    continue
                named = {"row": row, "arm": arm, "head": head, "metric": metric}
                value = {name: own[name] for name in ("value", "low", "high")}
                rows.append({**named, "printed": printed[row, head, metric], **value})
    return pd.DataFrame(rows)


def side_by_side(beside: pd.DataFrame) -> pd.DataFrame:
    """Printed figures and ours in a table to read: a row a printed one, with our arm.

    Parameters
    ----------
    beside : DataFrame
        Of :func:`beside_printed`; what the paper does not print is left out.

    Returns
    -------
    DataFrame
        Of text, indexed by the paper's row and our arm: `printed` and `ours` of each figure.
    """
    known = beside.dropna(subset="printed")
    heads = known["head"].map({"kl": "KL", "oarsi": "OARSI"})
    figure = heads + " " + known["metric"].replace("rmse", "RMSE")
    cells = {"printed": known["printed"].map("{:.3f}".format), "ours": written(known)}
    rows = [
        pd.DataFrame(
            {"row": known["row"], "arm": known["arm"], "figure": figure, "of": of, "cell": cell}
        )
        for of, cell in cells.items()
    ]
    index = ["row", "arm"]
    wide = pd.concat(rows).pivot(index=index, columns=["figure", "of"], values="cell")
    order = [(one, of) for one in dict.fromkeys(figure) for of in cells]
    wide = wide.loc[list(dict.fromkeys(zip(known["row"], known["arm"], strict=True))), order]
    wide.columns.names = [None, None]
    return wide


def gains_beside(differences: pd.DataFrame, table: str, frequency: str) -> pd.DataFrame:
    """What one row of a printed table is above another, and our arms in their place.

    Between sets of pictures, and between networks, differences travel better than scores do.

    Parameters
    ----------
    differences : DataFrame
        Of :func:`.collect.collect`.
    table : str
        One of `GAINS`.
    frequency : str
        How our cases count, one of those of `differences`.

    Returns
    -------
    DataFrame
        `gain` in words of the paper ("other minus reference"), `reference` and `other`, our arms,
        `head`, `metric`, `printed`, and `value`, `low`, `high` of ours; a row of which the paper
        lacks a figure, or we an arm, is left out.
    """
    printed = _printed(table)
    of_frequency = differences[differences["frequency"] == frequency]
    keys = ["reference", "other", "head", "metric"]
    ours = {tuple(one[key] for key in keys): one for one in of_frequency.to_dict("records")}
    rows = []
    for reference, other in GAINS[table]:
        arms = STANDS_FOR[table][reference], STANDS_FOR[table][other]
        for head in ("kl", "oarsi"):
            for metric in _ENDS:
                gain = round(printed[other, head, metric] - printed[reference, head, metric], 4)
                if gain != gain or (own := ours.get((*arms, head, metric))) is None:
                    continue
                named = {
                    "gain": f"{other} minus {reference}",
                    **dict(zip(keys, arms, strict=False)),
                }
                value = {name: own[name] for name in ("value", "low", "high")}
                rows.append({**named, "head": head, "metric": metric, "printed": gain, **value})
    columns = ["gain", *keys, "printed", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _printed(table: str) -> dict[tuple[str, str, str], float]:
    """Figures of a printed table by row, head and metric; NaN where it has none."""
    (figures,) = [one.figures for one in carried_tables() if one.name == table]
    return {
        (row, head, metric): float(figures.loc[row].get(f"{head}_{end}", "") or "nan")
        for row in figures.index
        for head in ("kl", "oarsi")
        for metric, end in _ENDS.items()
    }
