"""What the arms' answers say: scores, contrasts, verdicts and power, as tidy tables.

``book/hierarchy-design.md`` fixed all of it before the first full run. An arm's answers come as
probabilities (S, n, 5) of S seeds for n knees; every seed answers for all knees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import nct, t

from oacore.hierarchy import oa_from_kl, prob_oa_from_kl
from oacore.metrics.clinical import ranked_probability_score, weighted_kappa
from oacore.metrics.crossed import crossed, crossed_difference, mean_of
from oacore.metrics.power import LEVEL, POWER, detectable, equivalence_interval
from oacore.metrics.scores import accuracy, auc, macro_auc, macro_f1
from oacore.metrics.shares import wilson
from oacore.metrics.significance import benjamini_hochberg, holm

#: Primary outcomes, and the difference below which there is none.
MARGINS = {"kl_auc": 0.02, "kl_kappa": 0.04}
#: Primary contrasts: Dual minus each of these.
REFERENCES = ("single_kl", "shuffled", "two_kl")
#: Share of repeats from which on a better arm is meaningfully so (arXiv:2103.03098).
GAMMA = 0.75
#: Measures as they are written, in their order.
MEASURE_NAMES = {
    "kl_auc": "KL macro-AUC",
    "kl_kappa": "KL quadratic kappa",
    "kl_acc": "KL accuracy",
    "kl_f1": "KL macro-F1",
    "kl_rps": "KL ranked probability score",
    "kl_kappa_median": "KL kappa, median grade",
    "kl_auc_within": "KL macro-AUC within folds",
    "oa_auc": "OA AUC, equation (4)",
    "oa_auc_head": "OA AUC, OA head",
}
#: What a contrast can find.
NONE, GAIN, LOSS, UNDECIDED = "none", "gain", "loss", "undecided"
#: By cell and arm: each measure on the knees and their resamples, (S, 1 + B).
Values = dict[tuple[str, str], dict[str, np.ndarray]]


# Measures


def median_grade(probability: np.ndarray) -> np.ndarray:
    """The least grade that is reached with probability one half or more, (..., 5) to (...)."""
    return (probability.cumsum(axis=-1) >= 0.5 - 1e-9).argmax(axis=-1)


def within_folds(
    counts: np.ndarray, kl: np.ndarray, probability: np.ndarray, fold: np.ndarray
) -> np.ndarray:
    """Macro-AUC of the knees of each fold, by one network; a mean over the folds, (B,)."""
    each = [
        macro_auc(counts[:, fold == one], kl[fold == one], probability[fold == one])
        for one in np.unique(fold)
    ]
    return np.mean(each, axis=0)


def measured(
    counts: np.ndarray,
    kl: np.ndarray,
    grade: np.ndarray,
    second: np.ndarray | None = None,
    fold: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """All measures of one arm's answers under one seed.

    Parameters
    ----------
    counts : (B, n) float array
        How often each knee occurs in each resample, see :mod:`.metrics.resampling`.
    kl : (n,) int array
    grade : (n, 5) float array
        Probabilities of the grades; NaN without such a head.
    second : (n,) float array, optional
        Probability of OA by a head that was told OA.
    fold : (n,) int array, optional
        Of each knee.

    Returns
    -------
    dict of str to (B,) float array
        Of :data:`MEASURE_NAMES`, those that there are. In the ranked probability score less is
        better, in all others more.
    """
    found = {}
    oa = oa_from_kl(kl) == 1
    if not np.isnan(grade).any():
        grade = grade.astype(float)
        said = grade.argmax(axis=1)
        found = {
            "kl_auc": macro_auc(counts, kl, grade),
            "kl_kappa": weighted_kappa(counts, kl, said),
            "kl_acc": accuracy(counts, kl, said),
            "kl_f1": macro_f1(counts, kl, said),
            "kl_rps": ranked_probability_score(counts, kl, grade),
            "kl_kappa_median": weighted_kappa(counts, kl, median_grade(grade)),
        }
        if fold is not None:
            found["kl_auc_within"] = within_folds(counts, kl, grade, fold)
        found["oa_auc"] = auc(counts, oa, prob_oa_from_kl(grade))
    if second is not None and not np.isnan(second).any():
        found["oa_auc_head"] = auc(counts, oa, second.astype(float))
    return found


def over_seeds(
    counts: np.ndarray,
    kl: np.ndarray,
    grade: np.ndarray,
    second: np.ndarray | None = None,
    folds: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """All measures of one arm under S seeds, (S, B) each; see :func:`measured`.

    Parameters
    ----------
    counts : (B, n) float array
    kl : (n,) int array
    grade : (S, n, 5) float array
    second : (S, n) float array, optional
    folds : (S, n) int array, optional
    """
    each = [
        measured(
            counts,
            kl,
            one,
            None if second is None else second[s],
            None if folds is None else folds[s],
        )
        for s, one in enumerate(grade)
    ]
    return {name: np.stack([one[name] for one in each]) for name in each[0]}


# Scores and contrasts


def scores(values: Values) -> pd.DataFrame:
    """Means over the seeds of every arm, with intervals over seeds and knees.

    Parameters
    ----------
    values : dict
        By cell and arm, for each measure (S, 1 + B), see :func:`over_seeds`.

    Returns
    -------
    DataFrame
        cell, arm, measure; the columns of :func:`.crossed.crossed`; `seed_sd`, the standard
        deviation over the seeds, `seed_low`, `seed_high`.
    """
    rows = []
    for (cell, arm), measures in values.items():
        for measure, of_seeds in measures.items():
            own = of_seeds[:, 0]
            spread = {
                "seed_sd": own.std(ddof=1) if len(own) > 1 else np.nan,
                "seed_low": own.min(), "seed_high": own.max(),
            }  # fmt: skip
            found = crossed(of_seeds, (-1, 1) if "kappa" in measure else (0, 1))
            rows.append({"cell": cell, "arm": arm, "measure": measure, **found, **spread})
    return pd.DataFrame(rows)


def equivalence_p(
    value: npt.ArrayLike, se: npt.ArrayLike, df: npt.ArrayLike, margin: npt.ArrayLike
) -> np.ndarray:
    """p-value of two one-sided tests that a difference lies within -+ margin.

    Below .05 just where the interval of :func:`.power.equivalence_interval` lies within it. NaN
    where `se` is not above 0.

    Notes
    -----
    Schuirmann 1987, doi:10.1007/BF01068419.
    """
    value, se, df, margin = (np.asarray(one, float) for one in (value, se, df, margin))
    se = np.where(se > 0, se, np.nan)
    return np.maximum(t.sf((value + margin) / se, df), t.cdf((value - margin) / se, df))


def share_better(differences: np.ndarray, less: bool = False) -> dict[str, float]:
    """P(A > B): how often one arm beats another in one repeat, ties half.

    Parameters
    ----------
    differences : (S,) float array
        Of the seeds, A minus B.
    less : bool
        Whether less is better.

    Returns
    -------
    dict
        `better`; `better_low`, `better_high`, Wilson's 95% interval over the seeds.

    Notes
    -----
    Bouthillier and others 2021, arXiv:2103.03098, section 4, who take percentiles of a bootstrap;
    these have no width where one arm always wins.
    """
    signs = np.sign(-differences if less else differences)
    share = float((signs + 1).mean() / 2)
    low, high = wilson(share, len(differences))
    return {"better": share, "better_low": low, "better_high": high}


def contrast(reference: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """One arm minus another in all measures that both have, over the seeds that both have.

    Parameters
    ----------
    reference, other : mapping of str to (S, 1 + B) array
        The first rows are the same seeds; a longer one is cut.

    Returns
    -------
    DataFrame
        measure; the columns of :func:`.crossed.crossed_difference`; `margin`, NaN where none was
        fixed; `none_low`, `none_high`, the 90% interval, and `p_none`, the p-value of two
        one-sided tests; the columns of :func:`share_better`; `detectable`, the least true
        difference that would be found four times out of five.
    """
    rows = []
    for measure in (name for name in reference if name in other):
        both = reference[measure], other[measure]
        seeds = min(map(len, both))
        found = crossed_difference(*(one[:seeds] for one in both))
        size, margin = (found["value"], found["se"], found["df"]), MARGINS.get(measure, np.nan)
        low, high = equivalence_interval(*size)
        rows.append(
            {
                "measure": measure, **found, "margin": margin, "none_low": float(low),
                "none_high": float(high), "p_none": float(equivalence_p(*size, margin)),
                **share_better((both[1][:seeds] - both[0][:seeds])[:, 0], measure == "kl_rps"),
                "detectable": float(detectable(*size[1:])),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def contrasts(values: Values, main: str, others: str = "") -> pd.DataFrame:
    """All contrasts of the design, with p-values adjusted within their families.

    Parameters
    ----------
    values : dict
        See :func:`scores`.
    main : str
        The cell of all arms.
    others : str, optional
        A cell of models without seeds of networks, the peers: each minus the arms of `main`.

    Returns
    -------
    DataFrame
        cell, arm, reference (the value is arm minus reference), `primary`, the columns of
        :func:`contrast`, `q_value`, and `found`.

        Primary are Dual minus each of :data:`REFERENCES` in the outcomes of :data:`MARGINS` in
        the main cell: their `q_value` is Holm's adjusted p-value. All others are secondary, and
        theirs controls the false discovery rate. `found` is "none" where the 90% interval lies
        within the margin, or both arms answered the same; "gain" or "loss" where `q_value` is
        below .05; else "undecided".
    """
    tables = []
    for (cell, arm), own in values.items():
        for reference in (*REFERENCES, "dual"):
            at = main if cell == others else cell
            if (arm == reference and cell == at) or (at, reference) not in values:
                continue
            if arm != "dual" and (reference in REFERENCES[1:] or (reference, arm) in _MIRRORED):
                continue
            table = contrast(values[at, reference], own)
            if table.empty:  # one grades, the other does not
                continue
            first = arm == "dual" and cell == main and reference in REFERENCES
            table.insert(0, "primary", first & table["measure"].isin(list(MARGINS)))
            for name, said in (("reference", reference), ("arm", arm), ("cell", cell)):
                table.insert(0, name, said)
            tables.append(table)
    found = pd.concat(tables, ignore_index=True)
    found["q_value"] = np.nan
    for primary, adjust in ((True, holm), (False, benjamini_hochberg)):
        rows = found["primary"] == primary
        found.loc[rows, "q_value"] = adjust(found.loc[rows, "p_value"])
    return found.assign(found=[finding(row) for row in found.to_dict("records")])


#: Contrasts that are there the other way round, Dual minus these.
_MIRRORED = {("dual", reference) for reference in REFERENCES}


def finding(row: Mapping[Any, Any]) -> str:
    """What a contrast found; see :func:`contrasts`."""
    the_same = row["value"] == row["se"] == 0  # to the bit, in every seed and resample
    if row["p_none"] < LEVEL or the_same:
        return NONE
    if row["q_value"] < LEVEL:
        better = row["value"] < 0 if row["measure"] == "kl_rps" else row["value"] > 0
        return GAIN if better else LOSS
    return UNDECIDED


_NOT_BETTER = (NONE, LOSS)
#: What is said where Dual gains on Single-KL, by what it does beside the two controls.
SENTENCES = {
    "hierarchy": "It is the hierarchy: neither a second task nor capacity does it.",
    "task": "A second task does it, whether or not its label is coarser in the right way.",
    "capacity": "Capacity and loss scale do it; no second label is needed.",
    "anything": "Anything that adds a second loss does it.",
    "task, perhaps capacity": "Not the hierarchy: a second task does it; whether capacity alone "
    "would is undecided.",
    "cause undecided": "There is an effect; its cause is undecided.",
    "no effect": "There is no effect to explain that would matter.",
    "harm": "The coarse label harms.",
    "undecided": "Too few knees or seeds to say.",
}


def verdict(single: str, shuffled: str, two_kl: str) -> str:
    """Which of :data:`SENTENCES` follows from what the three primary contrasts found.

    Parameters
    ----------
    single, shuffled, two_kl : {"none", "gain", "loss", "undecided"}
        Of Dual minus each of :data:`REFERENCES`.
    """
    if single != GAIN:
        return {NONE: "no effect", LOSS: "harm", UNDECIDED: "undecided"}[single]
    task, capacity = shuffled in _NOT_BETTER, two_kl in _NOT_BETTER
    if task and capacity:
        return "anything"
    if task:
        return "task" if two_kl == GAIN else "task, perhaps capacity"
    if capacity:
        return "capacity"
    return "hierarchy" if shuffled == two_kl == GAIN else "cause undecided"


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The verdict of each primary outcome.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`contrasts`.

    Returns
    -------
    DataFrame
        measure, a column for each of :data:`REFERENCES` with what was found, `verdict` and the
        sentence that it `says`.
    """
    primary = table[table["primary"]]
    rows = []
    for measure, own in primary.groupby("measure", sort=False):
        found = own.set_index("reference")["found"].to_dict()
        said = verdict(*(found[name] for name in REFERENCES))
        rows.append({"measure": measure, **found, "verdict": said, "says": SENTENCES[said]})
    return pd.DataFrame(rows)


# Power


@dataclass(frozen=True)
class Components:
    """What varies in a difference of two arms.

    Attributes
    ----------
    of_seed : float
        Variance of one seed's difference about their mean.
    of_knee : float
        Variance over knees that all seeds share, times the number of knees.
    """

    of_seed: float
    of_knee: float

    def error(self, seeds: npt.ArrayLike, knees: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Standard error of the mean difference, and Hillis's degrees of freedom."""
        seeds, knees = np.asarray(seeds, float), np.asarray(knees, float)
        of_seeds = self.of_seed / seeds
        variance = of_seeds + self.of_knee / knees
        df = np.divide(
            variance**2 * (seeds - 1), of_seeds**2,
            out=np.full(np.broadcast(seeds, knees).shape, np.inf), where=of_seeds > 0,
        )  # fmt: skip
        return np.sqrt(variance), df


def components(difference: np.ndarray, knees: int) -> Components:
    """Read the two components from the differences of S seeds, (S, 1 + B), on some knees."""
    mean = mean_of(difference)
    return Components(mean.of_seeds * mean.seeds, max(mean.of_knees, 0.0) * knees)


def power(effect: npt.ArrayLike, se: npt.ArrayLike, df: npt.ArrayLike) -> np.ndarray:
    """Chance that a two-sided test at .05 finds a true effect.

    Parameters
    ----------
    effect, se, df : (...,) float arrays
        Of a difference, as in :func:`.power.detectable`; an infinite `df` is taken as 10,000.
    """
    df = np.minimum(np.asarray(df, float), 1e4)
    at, shift = t.ppf(1 - LEVEL / 2, df), np.abs(np.asarray(effect, float) / np.asarray(se, float))
    # Far out on the other side, where nothing lies, SciPy's distribution ends in nan.
    return nct.sf(at, df, shift) + np.nan_to_num(nct.cdf(-at, df, shift))


def knees_needed(parts: Components, effect: float, seeds: int) -> float:
    """Least number of knees with which an effect is found four times out of five; inf if never."""
    knees = np.unique(np.round(np.geomspace(10, 1e6, 4000)))
    enough = power(effect, *parts.error(seeds, knees)) >= POWER
    return float(knees[enough.argmax()]) if enough.any() else np.inf


def seeds_needed(parts: Components, effect: float, knees: int) -> float:
    """Least number of seeds, 2 to 1,000, with which an effect is found; inf if never."""
    seeds = np.arange(2, 1001)
    enough = power(effect, *parts.error(seeds, knees)) >= POWER
    return float(seeds[enough.argmax()]) if enough.any() else np.inf


def power_table(
    values: Values, main: str, knees: int, effects: Mapping[str, Mapping[str, float]]
) -> pd.DataFrame:
    """How many knees and seeds each primary contrast takes to find some effects.

    Parameters
    ----------
    values : dict
        See :func:`scores`.
    main : str
        The cell of all arms.
    knees : int
        n, on which the values are.
    effects : mapping
        By measure, effects by their names.

    Returns
    -------
    DataFrame
        reference, measure, `effect` (its name), `size`; `of_seed`, `of_knee`, standard deviations;
        `power`, with the seeds and knees that there are; `power_98`, with the knees of the paper's
        test split; `knees`, needed with these seeds; `seeds`,
        needed with these knees.
    """
    rows = []
    for reference in REFERENCES:
        for measure, its in effects.items():
            both = values[main, reference][measure], values[main, "dual"][measure]
            seeds = min(map(len, both))
            parts = components(both[1][:seeds] - both[0][:seeds], knees)
            for name, size in its.items():
                rows.append(
                    {
                        "reference": reference, "measure": measure, "effect": name, "size": size,
                        "of_seed": parts.of_seed**0.5, "of_knee": parts.of_knee**0.5,
                        "power": float(power(size, *parts.error(seeds, knees))),
                        "power_98": float(power(size, *parts.error(seeds, 98))),
                        "knees": knees_needed(parts, size, seeds),
                        "seeds": seeds_needed(parts, size, knees),
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def collected(
    answers: Iterable[tuple[str, str, dict[str, np.ndarray]]],
    kl: np.ndarray,
    counts: np.ndarray,
    folds_of: Callable[[int], np.ndarray],
    told_oa: Callable[[str], bool],
) -> Values:
    """Measures of all finished arms on all resamples.

    Parameters
    ----------
    answers : iterable
        Cell, arm and answers, see :func:`.repeats.answers`.
    kl : (n,) int array
    counts : (1 + B, n) float array
        See :func:`.resampling.draw_cases`.
    folds_of : callable
        From a seed to the folds of its knees, (n,).
    told_oa : callable
        Whether an arm's second head was told OA, so that it can be scored.
    """
    values: Values = {}
    for cell, arm, said in answers:
        folds = np.array([folds_of(int(seed)) for seed in said["seeds"]])
        second = said.get("second") if told_oa(arm) else None
        values[cell, arm] = over_seeds(counts, kl, said["grade"], second, folds)
    return values
