"""For whom a model works: its OA answers among women and men, by age and by BMI.

The groups are few and fixed beforehand, and their limits are round numbers that clinicians use,
so that no cut was chosen by what it shows. Groups are different people, so a difference between
two has the uncertainty of both. With few knees of a class a bootstrap cannot draw what it has not
seen, and calls an AUC of 1 certain; so intervals here are of the score kind, which ask which true
values the data would not contradict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm

from oacore.errors import InputError
from oacore.metrics.predictions import MODEL, each_model
from oacore.metrics.scores import METRICS
from oacore.metrics.shares import Z, wilson
from oacore.metrics.significance import holm

#: Years, and kg/m2 (obesity in the WHO's words).
AGE, BMI = 65, 30
#: What people are grouped by, the two groups, and the second less the first in words.
GROUPS = {
    "sex": ("women", "men", "men minus women"),
    "age": (f"under {AGE} years", f"{AGE} years or more", "older minus younger"),
    "BMI": (f"BMI under {BMI}", f"BMI {BMI} or more", "heavier minus lighter"),
}
SCORED = ("oa_auc", "oa_acc")
#: With fewer knees of a class than this a row says so; with fewer than `SHOWN` it is not shown.
FEW, SHOWN = 10, 5
COMPARED = [
    *MODEL, "by", "contrast", "metric", "value_reference", "value_other", "value", "low", "high",
    "p_value", "p_holm", "family", "note",
]  # fmt: skip
Limits = Callable[[float], tuple[float, float]]  # of an interval of +- so many standard errors


def group_sizes(predictions: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """How many knees each group has, and how many of them have OA.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, any number of models of the same knees.
    people : DataFrame
        A row a knee: ``case_id``, ``kl``, ``male`` (0 or 1), ``age`` (years) and ``bmi`` (kg/m2),
        both of which may be missing.

    Returns
    -------
    DataFrame
        `by` ("sex", "age", "BMI"), `group`, `knees`, `with_oa`, and `note`, which says where a
        class has fewer than `FEW` knees. Where a class of either group has fewer than `SHOWN`,
        the figures of both are missing: the other's would tell them.

    Raises
    ------
    InputError
        If a predicted knee is not among the people, is there twice, or has another grade there.
    """
    knees = predictions.drop_duplicates("case_id")
    rows = []
    for by, group, member in _members(knees, people):
        n, ill = int(member.sum()), int(knees.loc[member, "oa"].sum())
        rows.append({"by": by, "group": group, "knees": n, "with_oa": ill, "note": _note(n, ill)})
    sizes = pd.DataFrame(rows)
    classes = pd.DataFrame({"ill": sizes["with_oa"], "well": sizes["knees"] - sizes["with_oa"]})
    fewest = classes.min(axis=1)
    hidden = fewest.groupby(sizes["by"]).transform("min") < SHOWN
    sizes = sizes.astype({"knees": "Int64", "with_oa": "Int64"})
    sizes.loc[hidden, ["knees", "with_oa"]] = pd.NA
    sizes.loc[hidden, "note"] = f"not shown: fewer than {SHOWN} knees of a class"
    return sizes


def subgroup_scores(predictions: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """OA AUC and accuracy of every model in every group, with 95% intervals.

    Parameters
    ----------
    predictions, people
        As for :func:`group_sizes`.

    Returns
    -------
    DataFrame
        A row for each model, group and metric: backbone, supervision, seed, `by`, `group`,
        `metric`, `knees`, `with_oa`, `value`, `low`, `high`, `note`; NaN where it is not shown.

    Raises
    ------
    InputError
        As :func:`group_sizes`, or on predictions that cannot be measured.

    Notes
    -----
    Accuracy: :func:`.shares.wilson`. AUC: :func:`auc_limits`.
    """
    return pd.DataFrame(
        {key: value for key, value in row.items() if key != "limits"}
        for row in _scored(predictions, people)
    )


def subgroup_differences(predictions: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """Every model's OA AUC and accuracy in one group less that in the other.

    Parameters
    ----------
    predictions, people
        As for :func:`group_sizes`.

    Returns
    -------
    DataFrame
        A row for each model, pair of groups and metric: backbone, supervision, seed, `by`,
        `contrast` ("men minus women"), `metric`; `value_reference`, `value_other`; `value`, the
        second group's less the first's, its 95% interval `low`, `high`; `p_value`, the level at
        which the interval just reaches zero; `p_holm`, adjusted over the `family` of all
        differences in the table; and `note`. Pairs that are not shown are left out.

    Raises
    ------
    InputError
        As :func:`subgroup_scores`.

    Notes
    -----
    Limits of a difference of independent estimates from the limits of both (MOVER): Zou and Donner
    2008, doi:10.1002/sim.3095; for proportions it is Newcombe's tenth method of 1998,
    doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I. Of AUCs of 56 and 42
    simulated cases the 95% intervals held the true difference, zero, in 95 to 99 of 100, and more
    often where the AUC was .97.
    """
    rows = []
    scored = pd.DataFrame(_scored(predictions, people)).dropna(subset=["value"])
    for keys, pair in scored.groupby([*MODEL, "by", "metric"], sort=False):
        first, second = pair.to_dict("records")
        estimates = first["value"], second["value"]
        limits = first["limits"], second["limits"]
        low, high = difference_limits(estimates, limits, Z)
        row = dict(zip([*MODEL, "by", "metric"], keys, strict=True))
        row["contrast"] = GROUPS[str(row["by"])][2]
        row |= {"value_reference": estimates[0], "value_other": estimates[1]}
        row |= {"value": estimates[1] - estimates[0], "low": low, "high": high}
        row["p_value"] = _p_value(estimates, limits)
        notes = [f"{one['group']}: {one['note']}" for one in (first, second) if one["note"]]
        rows.append({**row, "note": "; ".join(notes)})
    table = pd.DataFrame(rows, columns=COMPARED)
    return table.assign(p_holm=holm(table["p_value"]), family=len(table))


def auc_limits(auc: float, ill: int, well: int, z: float = Z) -> tuple[float, float]:
    """Limits of an AUC from few cases: the true AUCs from which it lies z standard errors away.

    Parameters
    ----------
    auc : float
    ill, well : int
        Cases of the two classes, at least one of each.
    z : float
        1.96 for a 95% interval.

    Returns
    -------
    low, high : float
        Never equal, not even where the AUC is 0 or 1.

    Notes
    -----
    Newcombe 2006, doi:10.1002/sim.2324, method 5: the standard error of a true AUC is that of
    exponential scores (Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747), with the mean
    of both class sizes for either. In simulated groups of 34 and 8, 31 and 25, and 10 and 10 cases
    with true AUCs of .6 to .97, normal scores of equal and of unequal spread, its 95% intervals
    held the truth in 94 to 99 of 100, where DeLong's did in 61 to 95.
    """
    more = (ill + well) / 2 - 1

    def excess(true: float) -> float:
        spread = 1 + more * ((1 - true) / (2 - true) + true / (1 + true))
        return (auc - true) ** 2 - z**2 * true * (1 - true) * spread / (ill * well)

    edge = 1e-12  # at 0 and 1 themselves nothing is in excess
    start, end = max(auc, edge), min(auc, 1 - edge)
    low = 0.0 if auc == 0 else end
    if auc > 0 and excess(end) < 0:  # for hardly any z the limit is nearer to 1 than that
        low = brentq(excess, 0.0, end)
    high = 1.0 if auc == 1 else start
    if auc < 1 and excess(start) < 0:
        high = brentq(excess, start, 1.0)
    return float(low), float(high)


def difference_limits(
    estimates: tuple[float, float], limits: tuple[Limits, Limits], z: float = Z
) -> tuple[float, float]:
    """Limits of the second of two independent estimates less the first, from the limits of both.

    Parameters
    ----------
    estimates : (float, float)
    limits : (callable, callable)
        Limits of each as a function of z.
    z : float
        1.96 for a 95% interval.

    Notes
    -----
    See :func:`subgroup_differences`.
    """
    (a, b), ((low_a, high_a), (low_b, high_b)) = estimates, (of(z) for of in limits)
    low = b - a - np.hypot(b - low_b, high_a - a)
    return float(low), float(b - a + np.hypot(high_b - b, a - low_a))


def _members(knees: pd.DataFrame, people: pd.DataFrame) -> list[tuple[str, str, np.ndarray]]:
    """By what, which group, and which knees are of it; knees: a row each, in any order."""
    if twice := _listed(people.loc[people["case_id"].duplicated(), "case_id"]):
        raise InputError(f"people: case_id {twice} twice; keep one row a knee")
    known = people.set_index("case_id")
    if lacking := _listed(knees.loc[~knees["case_id"].isin(known.index), "case_id"]):
        raise InputError(f"people lack case_id {lacking}; give the subject table of these knees")
    own = known.loc[knees["case_id"]]
    differ = own["kl"].to_numpy(float) != knees["kl"].to_numpy(float)
    if differ.any():
        raise InputError(
            f"people have another KL grade than the predictions for case_id "
            f"{_listed(knees.loc[differ, 'case_id'])}; give the subject table of these knees"
        )
    second = {
        "sex": own["male"].to_numpy(float),
        "age": _at_least(own["age"], AGE),
        "BMI": _at_least(own["bmi"], BMI),
    }
    return [
        (by, group, second[by] == place)
        for by, groups in GROUPS.items()
        for place, group in enumerate(groups[:2])
    ]


def _at_least(values: pd.Series, limit: float) -> np.ndarray:
    """1 where a value reaches the limit, 0 where not, NaN where it is missing."""
    numbers = values.to_numpy(float, na_value=np.nan)
    return np.where(np.isnan(numbers), np.nan, numbers >= limit)


def _scored(predictions: pd.DataFrame, people: pd.DataFrame) -> list[dict[Any, Any]]:
    """Rows of :func:`subgroup_scores`, each with its `limits` as a function of z."""
    each = each_model(predictions)  # before their columns are read
    sizes = group_sizes(predictions, people)
    rows: list[dict[Any, Any]] = []
    for model, table in each:
        members = _members(table, people)
        for (_, _, member), size in zip(members, sizes.to_dict("records"), strict=True):
            row = dict(zip(MODEL, model, strict=True)) | size
            part = table[member]
            for metric in SCORED:
                if pd.isna(size["knees"]):
                    rows.append(row | {"metric": metric, "value": np.nan})
                    continue
                value = float(METRICS[metric](part, np.ones((1, len(part))))[0])
                limits = _limits(metric, value, part["oa"].to_numpy() == 1)
                low, high = limits(Z)
                found = {"value": value, "low": low, "high": high, "limits": limits}
                rows.append(row | {"metric": metric} | found)
    order = [*MODEL, "by", "group", "metric", "knees", "with_oa", "value", "low", "high", "note"]
    return [{key: row.get(key, np.nan) for key in (*order, "limits")} for row in rows]


def _limits(metric: str, value: float, ill: np.ndarray) -> Limits:
    if metric == "oa_auc":
        return lambda z: auc_limits(value, int(ill.sum()), int((~ill).sum()), z)
    return lambda z: wilson(value, ill.size, z)


def _p_value(estimates: tuple[float, float], limits: tuple[Limits, Limits]) -> float:
    """Twice the tail beyond the z at which the interval of the difference reaches zero."""
    difference = estimates[1] - estimates[0]
    if difference == 0:
        return 1.0
    side = 0 if difference > 0 else 1
    z = brentq(lambda z: difference_limits(estimates, limits, z)[side], 1e-9, 40.0)
    return float(2 * norm.sf(z))


def _note(knees: int, ill: int) -> str:
    counts = {"with OA": ill, "without OA": knees - ill}
    few = [f"{n} {words}" for words, n in counts.items() if n < FEW]
    return f"only {' and '.join(few)}" if few else ""


def _listed(cases: pd.Series) -> str:
    return ", ".join(map(str, cases[:5])) + (", ..." if len(cases) > 5 else "")
