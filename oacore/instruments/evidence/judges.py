"""Judges of the paper's claims, one for each kind, by the rules of :mod:`.evidence.verdicts`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from oacore.instruments.evidence.verdicts import (
    ABSENT,
    ALONE,
    FAILS,
    HOLDS,
    OPEN,
    PARTLY,
    Judgement,
    because,
    by_gains,
    by_margin,
    counted,
    marked,
)
from oacore.instruments.hierarchy.analysis import (
    MARGINS,
    MEASURE_NAMES,
    REFERENCES,
    verdicts,
)
from oacore.metrics.power import equivalence_interval
from oacore.metrics.significance import benjamini_hochberg
from oacore.names import (
    BACKBONE_NAMES,
    HEAD_NAMES,
    METRIC_NAMES,
    SUPERVISION_NAMES,
    interval_text,
)

#: Table 3's measures as it writes them, and the unit of Table 1's last printed decimal.
OVERLAPS = {"mass": "mass@ROI", "top1": "top1@ROI", "dice5": "Dice@5", "dice10": "Dice@10"}
UNIT = 1e-4
TABLE1_FIGURES = 45  # three of OA from each of nine models, three of KL from six
#: Arms of the primary contrasts, as :data:`.hierarchy.arms.ARMS` names them; that needs PyTorch.
ARM_NAMES = {
    "single_kl": "Single-KL",
    "shuffled": "shuffled hierarchy",
    "two_kl": "two KL heads",
}
_NAMES = {**BACKBONE_NAMES, "mlp": "MLP on radiomics"}


def judge_effects(
    says: Mapping[str, Any],
    effects: pd.DataFrame,
    margins: pd.Series,
    *,
    same_data: bool,
) -> Judgement:
    """Judge a claim on the effect of Dual by the effects that a source found.

    Parameters
    ----------
    says : mapping
        `backbone` ("any": one will do, and what another does is not against it, unless it
        fails in all of the paper's), `metrics`, and `says`: "gain", "none" or "no gain".
    effects : DataFrame
        From :func:`.claims.published_effects` or :func:`.claims.run_effects`.
    margins : Series of float
        By metric: the largest difference that still counts as none.
    same_data : bool
        Whether these are the predictions that the claim was made on. Then gains that are not
        distinguished from zero do not hold as claimed; elsewhere they leave the question open.
    """
    rows = effects[effects["metric"].isin(says["metrics"])]
    if says["backbone"] != "any":
        rows = rows[rows["backbone"] == says["backbone"]]
    if rows.empty:
        return Judgement(ABSENT, "this source has no such model")
    any_of = says["backbone"] == "any"
    expected = 0 if any_of else len(says["metrics"])
    names = [
        (f"{_NAMES[row['backbone']]} " if any_of else "") + METRIC_NAMES[row["metric"]]
        for row in rows.to_dict("records")
    ]
    if says["says"] == "gain":
        each = {
            name: by_gains(of, whole=_whole(of["metric"], says["metrics"]), same_data=same_data)
            for name, of in rows.groupby("backbone", sort=False)
        }
        found = list(each.values())
        verdict = next((best for best in (HOLDS, PARTLY) if best in found), OPEN)
        if set(found) == {FAILS} and not (any_of and BACKBONE_NAMES.keys() - each.keys()):
            verdict = FAILS
        said = counted(rows, expected)
        return Judgement(verdict, because(said, rows, names, same_data=same_data))
    margin = rows["metric"].map(margins)
    one_sided = says["says"] == "no gain"
    whole = _whole(rows["metric"], says["metrics"])
    verdict, inside = by_margin(rows, margin, whole=whole, one_sided=one_sided)
    limits = "upper limits" if one_sided else "90% intervals"
    said = f"{counted(rows, expected)}; {limits} within the margin: {inside}"
    return Judgement(verdict, because(said, rows, names, margin=margin, same_data=same_data))


def judge_interaction(
    interaction: pd.DataFrame, margins: pd.Series, *, same_data: bool = False
) -> Judgement:
    """Judge whether Dual's effect depends on the backbone, in the direction that the paper names.

    The paper calls the benefit strongest for ResNet3D, where all gains are in KL metrics, and not
    evident for nnMamba: so the effect on these metrics in ResNet3D minus that in nnMamba is a
    claimed gain. Besides, it does not hold where all of it is shown to be within the margin.

    Parameters
    ----------
    interaction : DataFrame
        Rows of :func:`.compare.compare_effects`: reference, backbone, metric, value, low, high,
        se, df, p_adjusted, over, seeds, knees.
    margins, same_data
        As in :func:`judge_effects`. Of the authors' networks, which have one seed, an undefined
        `p_adjusted` is Bonferroni's, over the pairs of backbones, of ``value / se``.
    """
    ends = interaction[["reference", "backbone"]].isin(["resnet3d", "nnmamba"]).all(axis=1)
    of_kl = [metric for metric in margins.index if metric.startswith("kl_")]
    rows = interaction[ends & interaction["metric"].isin(of_kl)]
    if rows.empty:
        return Judgement(ABSENT, "this source lacks one of the two networks")
    p = rows["p_adjusted"].astype(float)
    if same_data:
        pairs = len(interaction[["reference", "backbone"]].drop_duplicates())
        alone = 2 * norm.sf((rows["value"] / rows["se"].where(rows["se"] > 0)).abs())
        p = p.fillna(pd.Series(alone * pairs, rows.index).clip(upper=1))
    as_it_is = rows["backbone"] == "resnet3d"  # a row is backbone minus reference
    turned = rows.assign(
        value=rows["value"].where(as_it_is, -rows["value"]),
        low=rows["low"].where(as_it_is, -rows["high"]),
        high=rows["high"].where(as_it_is, -rows["low"]),
    )
    rows = marked(turned, p, same_data=same_data)
    whole = _whole(rows["metric"], of_kl)
    verdict = by_gains(rows, whole=whole)
    margin = rows["metric"].map(margins)
    low, high = equivalence_interval(rows["value"], rows["se"], rows["df"])
    if verdict == OPEN and whole and (rows["known"] & (low > -margin) & (high < margin)).all():
        verdict = FAILS
    said = f"effect in ResNet3D minus effect in nnMamba, {counted(rows, len(of_kl))}"
    names = [METRIC_NAMES[metric] for metric in rows["metric"]]
    letter = "adjusted p"
    line = because(said, rows, names, margin=margin, same_data=same_data, letter=letter)
    return Judgement(verdict, line)


def judge_table1(table: pd.DataFrame) -> Judgement:
    """Judge Table 1 by its recomputation.

    It holds where every figure agrees, within half a unit of its last decimal; in part where
    some do and the others are off by at most one unit, as a truncated figure is. One that is
    further off is another figure. Fewer than all `TABLE1_FIGURES` show nothing of the table.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`.predictions.compare_table1`.
    """
    agree, total = int(table["agrees"].sum()), len(table)
    gaps = (table["recomputed"] - table["printed"]).abs()
    if gaps.isna().any() or total < TABLE1_FIGURES:
        verdict = OPEN
    elif agree == total:
        verdict = HOLDS
    else:
        verdict = PARTLY if agree and gaps.max() <= UNIT + 1e-12 else FAILS
    return Judgement(
        verdict,
        f"{agree} of {TABLE1_FIGURES} figures recomputed to within half a unit of the last "
        f"decimal; largest gap {gaps.max():.1e}",
    )


def judge_audit(found: pd.DataFrame, table: str, claim: str) -> Judgement:
    """Judge a claim by what the printed table says of itself, where nothing else was released.

    Print can refute a claim, by the check that sets the claim against the table's own figures;
    it cannot bear one out.

    Parameters
    ----------
    found : DataFrame
        From :func:`.findings.audit`; rows of the check "claim-table" name in `claim` the claim
        that they are of.
    table : str
        "Table 2" or "Table 3".
    claim : str
        Its name in claims.yml.
    """
    wrong = found[found["verdict"] == "inconsistent"]
    if "claim" in found:
        refuted = wrong[(wrong["check"] == "claim-table") & (wrong["claim"] == claim)]
        if not refuted.empty:
            said = "; ".join(
                f"{row['row']}: {row['printed']}; {row['implied']}"
                for row in refuted.to_dict("records")
            )
            return Judgement(FAILS, f"the printed figures refute it ({said})")
    rows = found[(found["table"] == table) & (found["check"] != "claim-table")]
    wrong = rows[rows["verdict"] == "inconsistent"]
    if wrong.empty:
        return Judgement(
            OPEN,
            f"no prediction or map was released that would decide; none of {len(rows)} checks "
            "contradicts the printed figures",
        )
    by_check = wrong.groupby("check")["row"].agg(", ".join)
    said = "; ".join(f"{check}: {names}" for check, names in by_check.items())
    return Judgement(OPEN, f"printed figures contradict each other ({said})")


def judge_axis(differences: pd.DataFrame) -> Judgement:
    """Judge whether Dual aligns the first axis with the grade most closely, by differences.

    The claimed gains: in ResNet3D and in M3T, Dual's rho(PC1, KL) minus that of either single
    supervision. The family of q is these four.

    Parameters
    ----------
    differences : DataFrame
        Rows of :func:`.effects.compare_axes`: backbone, reference, measure, value, low, high,
        se, df, p_value, over, seeds, knees.
    """
    rows = differences[
        differences["backbone"].isin(["resnet3d", "m3t"]) & (differences["measure"] == "rho_kl")
    ]
    if rows.empty:
        return Judgement(ABSENT, "this source has no such model")
    rows = marked(rows, benjamini_hochberg(_over_seeds(rows)), same_data=False)
    verdict = by_gains(rows, whole=len(rows) == 4)
    names = [
        f"{_NAMES[row['backbone']]} Dual minus {SUPERVISION_NAMES[row['reference']]}"
        for row in rows.to_dict("records")
    ]
    said = f"rho(PC1, KL), {counted(rows, 4)}"
    return Judgement(verdict, because(said, rows, names, form="+.2f"))


def judge_saliency(differences: pd.DataFrame) -> Judgement:
    """Judge whether Dual's saliency overlaps more with cartilage, both heads, all four measures.

    Parameters
    ----------
    differences : DataFrame
        Rows of :func:`.means.dual_minus_single`: sixteen claimed gains; the family of q is all
        rows of the table.
    """
    rows = differences[
        differences["backbone"].isin(["resnet3d", "m3t"]) & differences["measure"].isin(OVERLAPS)
    ]
    if rows.empty:
        return Judgement(ABSENT, "this source has no such model")
    rows = marked(rows, rows["q_value"], same_data=False)
    expected = 4 * len(OVERLAPS)
    verdict = by_gains(rows, whole=len(rows) == expected)
    dice = rows["measure"] == "dice5"
    shown = rows[dice] if dice.any() else rows
    names = [
        f"{OVERLAPS[row['measure']]} {_NAMES[row['backbone']]} {HEAD_NAMES[row['head']]}"
        for row in shown.to_dict("records")
    ]
    return Judgement(verdict, because(counted(rows, expected), shown, names, form="+.4f"))


def judge_benchmark(paired: pd.DataFrame) -> Judgement:
    """Judge ResNet3D Dual, the published network, against radiomics on the same knees.

    The claimed gains: its KL accuracy and its macro-F1 minus those of our logistic regression.
    The family of q is these two.

    Parameters
    ----------
    paired : DataFrame
        Rows of :func:`.scores.paired_bootstrap`: metric, value (ResNet3D Dual minus
        radiomics), low, high, se, p_value, knees.
    """
    rows = paired[paired["metric"].isin(["kl_acc", "kl_f1"])].assign(df=np.inf, seeds=1)
    if rows.empty:
        return Judgement(ABSENT, "this source has no such score")
    # One network was released, so one is all that the claim can be of.
    rows = marked(rows, benjamini_hochberg(rows["p_value"]), same_data=True)
    verdict = by_gains(rows, whole=len(rows) == 2)
    said = f"against our logistic regression, {counted(rows, 2)}"
    names = [METRIC_NAMES[metric] for metric in rows["metric"]]
    return Judgement(verdict, because(said, rows, names, same_data=True))


def judge_hierarchy(contrasts: pd.DataFrame) -> Judgement:
    """Judge whether it is the hierarchy that helps, by Dual beside arms that have all but it.

    The sentence of each primary outcome follows from what its three contrasts found, by the table
    of the design (:func:`.analysis.verdict`). The claim holds where every outcome says that it is
    the hierarchy, in part where some do; it does not hold where none does and none is undecided:
    where there is no effect, or another cause is enough for it.

    Parameters
    ----------
    contrasts : DataFrame
        Rows of :func:`.analysis.contrasts`; the primary ones count.
    """
    rows = contrasts[contrasts["primary"]]
    outcomes = [own for _, own in rows.groupby("measure", sort=False)]
    whole = [own for own in outcomes if set(own["reference"]) == set(REFERENCES)]
    if len(whole) < len(MARGINS):
        return Judgement(ABSENT, "this source has not all three contrasts of both outcomes")
    found = verdicts(rows)
    is_it = found["verdict"] == "hierarchy"
    undecided = found["verdict"].isin(["undecided", "cause undecided"])
    if is_it.any():
        verdict = HOLDS if is_it.all() else PARTLY
    else:
        verdict = OPEN if undecided.any() else FAILS
    said = []
    for own, says in zip(outcomes, found["says"], strict=True):
        each = [
            f"minus {ARM_NAMES[row['reference']]} "
            f"{interval_text(row['value'], row['low'], row['high'], '+.3f')} ({row['found']})"
            for row in own.to_dict("records")
        ]
        margin = own["margin"].iloc[0]
        said.append(
            f"{MEASURE_NAMES[own['measure'].iloc[0]]}, margin {margin:g}: "
            f"{says.rstrip('.')}; Dual {'; '.join(each)}"
        )
    return Judgement(verdict, "; ".join(said))


def _whole(there: pd.Series, named: Collection[str]) -> bool:
    """Whether all metrics that a claim names are there."""
    return set(named) <= set(there)


def _over_seeds(rows: pd.DataFrame) -> pd.Series:
    """P-values of the rows that rest on two seeds or more; of one seed there is none."""
    return rows["p_value"].where(rows["over"] != ALONE)
