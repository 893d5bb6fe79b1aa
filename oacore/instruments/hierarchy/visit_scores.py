"""Does an axis follow a knee over time? Measures within knees, networks compared, and a verdict.

``book/hierarchy-design.md`` fixed the measures, their margins and the rule of the verdict before
the first full run. Knees are resampled with all of their visits; seeds of networks are treated as
readers are (:mod:`.metrics.crossed`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from oacore.errors import InputError
from oacore.instruments.axis.ranks import spearman
from oacore.instruments.hierarchy.analysis import GAIN, LOSS, NONE, UNDECIDED, equivalence_p
from oacore.instruments.hierarchy.visit_axes import UNTRAINED, Read, by_knee
from oacore.metrics.crossed import crossed, crossed_difference
from oacore.metrics.power import LEVEL, equivalence_interval
from oacore.metrics.resampling import draw_cases
from oacore.metrics.scores import auc
from oacore.metrics.significance import benjamini_hochberg, holm

#: Measures of an axis, as they are written.
VISIT_MEASURES = {
    "order": "order within a knee",
    "slope": "rise within a knee, per grade",
    "wobble": "wobble of stable knees",
    "apart": "changing from stable knees, AUC",
    "across": "order across knees",
    "slope_across": "rise across knees, per grade",
}
#: A difference below it counts as none.
VISIT_MARGINS = {
    "order": 0.05, "slope": 0.1, "wobble": 0.05, "apart": 0.05, "across": 0.05,
    "slope_across": 0.1,
}  # fmt: skip
#: Measures in which less is better.
LESS = ("wobble",)
#: Primary outcomes, on PC1, of Dual minus Single-KL.
PRIMARY = ("order", "slope")
#: What is compared: the second minus the first.
COMPARED = (("single_kl", "dual"), (UNTRAINED, "single_kl"), (UNTRAINED, "dual"))
#: Edges of the bins of true severity across knees, and of its rise within one; grades.
ACROSS_EDGES, WITHIN_EDGES = np.arange(-0.5, 5), np.array([0, 0.5, 1, 1.5, 2, 2.5, 3.5])
#: Fewest knees of a bin that is shown.
FEWEST = 5
#: What is said of Dual's axis beside Single-KL's within a knee.
FAITHFUL = {
    "more": "Within a knee Dual's axis follows the true severity more faithfully.",
    "less": "Within a knee Dual's axis follows the true severity less faithfully.",
    "none": "Within a knee there is no difference between the two axes that would matter.",
    "mixed": "Within a knee Dual's axis is more faithful by one measure and less by the other.",
    "undecided": "Too few knees or seeds to say whose axis is the more faithful within a knee.",
}


class Courses:
    """True severity of knees at their visits, and how to measure an axis against it.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.visits.sample_visits`.
    n_resamples, seed : int
        Of resamples of knees.

    Attributes
    ----------
    severity : (n, visits) array
    changing : (n,) array of bool
        Whether the true severity of a knee differs between its visits.
    counts : (1 + B, n) array
    """

    def __init__(self, table: pd.DataFrame, n_resamples: int, seed: int) -> None:
        self.severity = by_knee(table, table["severity"])
        self.changing = np.ptp(self.severity, axis=1) > 0
        self.counts = draw_cases(len(self.severity), n_resamples, seed)
        if self.changing.all() or not self.changing.any():
            raise InputError("these knees are all stable or all changing; draw more of them")

    def spread(self, scores: np.ndarray) -> np.ndarray:
        """Standard deviation of an axis over the knees at the first visit, (1 + B,)."""
        return _spread(self.counts, scores[:, 0])

    def measured(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """All of :data:`VISIT_MEASURES` of one axis of one network.

        Parameters
        ----------
        scores : (n, visits) array

        Returns
        -------
        dict of str to (1 + B,) array
            - order: Spearman's correlation of axis and true severity over the visits of a knee, a
              mean over the changing knees;
            - slope: of the regression of the axis on true severity with a level for each knee, over
              the changing ones, in standard deviations between knees at the first visit per grade;
            - wobble: standard deviation of the axis over the visits of a stable knee (the root of
              the mean variance), in the same unit;
            - apart: AUC by which last minus first visit tells changing knees from stable ones;
            - across: Spearman's correlation over all knees at the first visit;
            - slope_across: of the regression over all knees at the first visit, in the same unit.
        """
        counts, severity, spread = self.counts, self.severity, self.spread(scores)
        changing = counts * self.changing
        order = np.array([_rank_correlation(*pair) for pair in zip(scores, severity, strict=True)])
        x, y = _centred(severity), _centred(scores)
        stable = counts * ~self.changing
        own = y.var(axis=1, ddof=1)
        first, last = scores[:, 0], scores[:, -1]
        return {
            "order": _mean(changing, np.nan_to_num(order)),
            "slope": _ratio(changing @ (x * y).sum(axis=1), changing @ (x * x).sum(axis=1))
            / spread,
            "wobble": np.sqrt(_mean(stable, own)) / spread,
            "apart": auc(counts, self.changing, last - first),
            "across": spearman(counts, first, severity[:, 0]),
            "slope_across": _slope(counts, severity[:, 0], first) / spread,
        }

    def over_seeds(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """As :meth:`Courses.measured`, of S networks (S, n, visits): (S, 1 + B) each."""
        each = [self.measured(one) for one in scores]
        return {name: np.stack([one[name] for one in each]) for name in VISIT_MEASURES}

    def curves(self, scores: np.ndarray) -> pd.DataFrame:
        """The axis against true severity, across knees and within them, in bins.

        Parameters
        ----------
        scores : (S, n, visits) array

        Returns
        -------
        DataFrame
            curve: "across knees", all at their first visit, by severity; "within knees", changing
            ones, by how far true severity has risen since the first visit; "stable knees", at any
            later visit. x: severity, or its rise, a mean over the bin. knees: how many the bin
            holds, :data:`FEWEST` or more. The columns of :func:`.crossed.crossed`: the axis less
            its mean at the first visit, or its rise since, in standard deviations between knees.
        """
        first, rise = self.severity[:, 0], self.severity - self.severity[:, :1]
        later = np.ones_like(self.severity, dtype=bool)
        later[:, 0] = False
        moved = later & self.changing[:, None]
        bins: list[tuple[str, np.ndarray, np.ndarray]] = []
        for low, high in zip(ACROSS_EDGES[:-1], ACROSS_EDGES[1:], strict=True):
            here = ((first >= low) & (first < high))[:, None] & ~later
            bins.append(("across knees", here, self.severity))
        for low, high in zip(WITHIN_EDGES[:-1], WITHIN_EDGES[1:], strict=True):
            bins.append(("within knees", moved & (rise >= low) & (rise < high), rise))
        bins.append(("stable knees", later & ~self.changing[:, None], rise))
        rows = []
        for curve, here, x in bins:
            if (knees := int(here.any(axis=1).sum())) < FEWEST:
                continue
            values = np.stack([self._of_bin(one, here, curve == "across knees") for one in scores])
            known = {"curve": curve, "x": float(x[here].mean()), "knees": knees}
            rows.append({**known, **crossed(values)})
        return pd.DataFrame(rows)

    def _of_bin(self, scores: np.ndarray, here: np.ndarray, across: bool) -> np.ndarray:
        """Mean over the visits of a bin, (1 + B,), of the axis less what it is compared with."""
        level = _mean(self.counts, scores[:, 0]) if across else 0.0
        values = scores if across else scores - scores[:, :1]
        held = self.counts @ here.sum(axis=1)
        total = self.counts @ (values * here).sum(axis=1)
        return (_ratio(total, held) - level) / self.spread(scores)


def visit_tables(
    table: pd.DataFrame, read: Mapping[str, Read], n_resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """All that is recorded of networks at the visits, of aggregates alone.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.visits.sample_visits`.
    read : mapping
        See :func:`.visit_axes.read_at_visits`.
    n_resamples, seed : int
        Of the resamples of knees.

    Returns
    -------
    dict of str to DataFrame
        - scores: axis, network, measure, and the columns of :func:`.crossed.crossed`;
        - contrasts: see :func:`visit_contrasts`;
        - curves: axis, network, and the columns of :meth:`Courses.curves`;
        - by_seed: axis, network, measure, seed (its place), value;
        - knees: see :func:`course_counts`.
    """
    courses = Courses(table, n_resamples, seed)
    values = {
        (axis, network): courses.over_seeds(scores)
        for network, axes in read.items()
        for axis, scores in axes.items()
    }
    every = [
        ({"axis": axis, "network": network, "measure": measure}, own)
        for (axis, network), measures in values.items()
        for measure, own in measures.items()
    ]
    curves = [
        courses.curves(scores).assign(axis=axis, network=network)
        for network, axes in read.items()
        for axis, scores in axes.items()
    ]
    return {
        "scores": pd.DataFrame([{**known, **crossed(own)} for known, own in every]),
        "contrasts": visit_contrasts(values),
        "curves": pd.concat(curves, ignore_index=True),
        "by_seed": pd.DataFrame(
            {**known, "seed": place, "value": value}
            for known, own in every
            for place, value in enumerate(own[:, 0])
        ),
        "knees": course_counts(table),
    }


def visit_contrasts(values: Mapping[tuple[str, str], Mapping[str, np.ndarray]]) -> pd.DataFrame:
    """Networks compared in every measure, and within each, course against cross-section.

    Parameters
    ----------
    values : mapping
        By axis and network, see :meth:`Courses.over_seeds`.

    Returns
    -------
    DataFrame
        axis, network, reference, measure; primary; the columns of
        :func:`.crossed.crossed_difference` (network minus reference, over the seeds that both
        have); margin, and none_low, none_high, the 90% interval; q_value, Holm's over the primary
        rows and controlling the false discovery rate over the others; found: "none" where the 90%
        interval lies within the margin, "gain" or "loss" where the q-value is below .05, else
        "undecided". Where `reference` is "across knees" the measure is the slope, within minus
        across, of one network, and more is no gain: found is then "more", "less", or as above.
    """
    rows = []
    for axis in dict.fromkeys(axis for axis, _ in values):
        for reference, network in COMPARED:
            if (axis, reference) not in values or (axis, network) not in values:
                continue
            one, other = values[axis, reference], values[axis, network]
            for measure in VISIT_MEASURES:
                first = axis == "pc1" and reference == "single_kl" and measure in PRIMARY
                known = {"axis": axis, "network": network, "reference": reference}
                rows.append({**known, "measure": measure, "primary": first}
                            | _difference(one[measure], other[measure], measure))  # fmt: skip
    for (axis, network), own in values.items():
        known = {"axis": axis, "network": network, "reference": "across knees"}
        rows.append({**known, "measure": "slope", "primary": False}
                    | _difference(own["slope_across"], own["slope"], "slope"))  # fmt: skip
    found = pd.DataFrame(rows)
    found["q_value"] = np.nan
    for primary, adjust in ((True, holm), (False, benjamini_hochberg)):
        at = found["primary"] == primary
        found.loc[at, "q_value"] = adjust(found.loc[at, "p_value"])
    return found.assign(found=[_finding(row) for row in found.to_dict("records")])


def _difference(reference: np.ndarray, other: np.ndarray, measure: str) -> dict[str, Any]:
    seeds = min(len(reference), len(other))
    found = crossed_difference(reference[:seeds], other[:seeds])
    size, margin = (found["value"], found["se"], found["df"]), VISIT_MARGINS[measure]
    low, high = equivalence_interval(*size)
    none = {"none_low": float(low), "none_high": float(high)}
    return {**found, "margin": margin, **none, "p_none": float(equivalence_p(*size, margin))}


def _finding(row: Mapping[Any, Any]) -> str:
    if row["p_none"] < LEVEL or row["value"] == row["se"] == 0:
        return NONE
    if row["q_value"] < LEVEL:
        more = row["value"] > 0
        if row["reference"] == "across knees":
            return "more" if more else "less"
        return GAIN if more != (row["measure"] in LESS) else LOSS
    return UNDECIDED


def faithful(contrasts: pd.DataFrame) -> str:
    """Which of :data:`FAITHFUL` follows from the two primary rows of :func:`visit_contrasts`."""
    found = set(contrasts.loc[contrasts["primary"], "found"])
    if not found:
        raise InputError("these contrasts hold no Dual minus Single-KL on PC1")
    if {GAIN, LOSS} <= found:
        return "mixed"
    if GAIN in found:
        return "more" if found <= {GAIN, NONE} else "undecided"
    if LOSS in found:
        return "less" if found <= {LOSS, NONE} else "undecided"
    return "none" if found == {NONE} else "undecided"


def course_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Knees of each course, and what becomes of them.

    Returns
    -------
    DataFrame
        course, knees, first, last (mean true severity at the first and the last visit), rise (its
        mean over knees), changed_grade (share of knees whose true KL changes).
    """
    by = table.groupby("knee")
    ends = pd.DataFrame(
        {
            "course": by["course"].first(), "first": by["severity"].first(),
            "last": by["severity"].last(), "changed_grade": by["kl_true"].nunique() > 1,
        }
    )  # fmt: skip
    found = ends.groupby("course", sort=False).agg(
        knees=("first", "size"), first=("first", "mean"), last=("last", "mean"),
        changed_grade=("changed_grade", "mean"),
    )  # fmt: skip
    found.insert(3, "rise", found["last"] - found["first"])
    return found.sort_values("rise").reset_index()


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, NaN where one does not vary."""
    x, y = _centred(rankdata(a)), _centred(rankdata(b))
    return float(_ratio((x * y).sum(), np.sqrt((x * x).sum() * (y * y).sum())))


def _centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=-1, keepdims=True)


def _mean(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    return _ratio(counts @ values, counts.sum(axis=-1))


def _spread(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    centred = values - _mean(counts, values)[:, None]
    return np.sqrt((counts * centred**2).sum(axis=1) / (counts.sum(axis=1) - 1))


def _slope(counts: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = x - _mean(counts, x)[:, None], y - _mean(counts, y)[:, None]
    return _ratio((counts * x * y).sum(axis=1), (counts * x * x).sum(axis=1))


def _ratio(a: Any, b: Any) -> np.ndarray:
    """The first by the second; NaN where that is nothing."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b > 0)
