"""The paper's claims, one by one, judged by what each kind of evidence shows.

The list is ``data/claims.yml``. What judges are tables that chapters kept (:mod:`oacore.results`);
a source whose table is missing says so, and what would make it speak.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pandas as pd
import yaml

from oacore.metrics.significance import benjamini_hochberg
from oacore.names import (
    BACKBONE_NAMES,
    HEAD_NAMES,
    METRIC_NAMES,
    SUPERVISION_NAMES,
    interval_text,
)

#: What a source can say of a claim.
HOLDS, PARTLY, FAILS, OPEN = "holds", "holds in part", "does not hold", "cannot say"
ABSENT = "not measured"

#: Claims that rest on printed figures alone: no prediction or map was released for them.
PRINTED = {"axis": "Table 2", "saliency": "Table 3"}
FDR = 0.05
_NAMES = {**BACKBONE_NAMES, "mlp": "MLP on radiomics"}


@dataclass(frozen=True)
class Judgement:
    """Verdict of a source on a claim, and its reason."""

    verdict: str
    because: str


def claims() -> pd.DataFrame:
    """The list: claim, where, printed, effects or kind, indexed by name."""
    path = files("oacore.instruments.evidence") / "claims.yml"
    return pd.DataFrame(yaml.safe_load(path.read_text(encoding="utf-8"))).T


def published_effects(stats: pd.DataFrame) -> pd.DataFrame:
    """Effects of Dual on the published predictions; `clear` where q is below 0.05.

    Parameters
    ----------
    stats : DataFrame
        Rows of :func:`.protocol.released_protocol`.
    """
    also = ["q = " + _p(q) for q in stats["q_value"]]
    return stats.assign(clear=stats["q_value"] < FDR, also=also)


def run_effects(effects: pd.DataFrame) -> pd.DataFrame:
    """Effects of Dual over seeds and knees; `clear` where q is below 0.05.

    Parameters
    ----------
    effects : DataFrame
        Rows of :func:`.compare.compare_supervisions` over seeds; the family of q is all of
        them.
    """
    q = benjamini_hochberg(effects["p_value"])
    seeds = effects["n_seeds"].map("{} seeds".format).replace("1 seeds", "1 seed")
    also = [f"q = {_p(value)}, {n}" for value, n in zip(q, seeds, strict=True)]
    return effects.assign(clear=q < FDR, also=also)


def judge_effects(says: dict[str, Any], effects: pd.DataFrame, *, same_data: bool) -> Judgement:
    """Judge a claim on the effect of Dual by the effects that a source found.

    Parameters
    ----------
    says : dict
        `backbone` ("any": one will do), `metrics`, and `says`: "gain" or "none".
    effects : DataFrame
        From :func:`published_effects` or :func:`run_effects`.
    same_data : bool
        Whether these are the predictions that the claim was made on. Then a gain that is not
        distinguished from zero does not hold as claimed; elsewhere it leaves the question open.
    """
    rows = effects[effects["metric"].isin(says["metrics"])]
    if says["backbone"] != "any":
        rows = rows[rows["backbone"] == says["backbone"]]
    if rows.empty:
        return Judgement(ABSENT, "this source has no such model")
    gains = rows["clear"] & (rows["value"] > 0)
    whole = gains.groupby(rows["backbone"]).all()  # of a backbone, all that the claim names
    because = "; ".join(_effect(row, says["backbone"] == "any") for row in rows.to_dict("records"))
    if says["says"] == "none":
        verdict = FAILS if rows["clear"].any() else HOLDS
        if verdict == HOLDS:
            because += ". Not distinguishable from zero, which is not the same as zero"
    elif whole.any():
        verdict = HOLDS
    elif gains.any():
        verdict = PARTLY
    elif same_data or (rows["clear"] & (rows["value"] < 0)).any():
        verdict = FAILS
    else:
        verdict = OPEN
    return Judgement(verdict, because)


def judge_interaction(interaction: pd.DataFrame) -> Judgement:
    """Judge whether the effect differs between backbones, by intervals of the difference.

    The paper calls the benefit strongest for ResNet3D and not evident for nnMamba, on KL: that
    contrast decides.

    Parameters
    ----------
    interaction : DataFrame
        Rows of :func:`.compare.compare_effects`: reference, backbone, metric, value,
        low, high.
    """
    ends = interaction[["reference", "backbone"]].isin(["resnet3d", "nnmamba"]).all(axis=1)
    rows = interaction[ends & interaction["metric"].str.startswith("kl")]
    if rows.empty:
        return Judgement(ABSENT, "this source lacks one of the two networks")
    clear = (rows["low"] > 0) | (rows["high"] < 0)
    verdict = HOLDS if clear.all() else PARTLY if clear.any() else OPEN
    said = "; ".join(
        f"{METRIC_NAMES[row['metric']]} {_difference(row)}" for row in rows.to_dict("records")
    )
    first = rows.iloc[0]
    which = f"effect in {_NAMES[first['backbone']]} minus effect in {_NAMES[first['reference']]}"
    return Judgement(verdict, f"{which}: {said}")


def judge_table1(table: pd.DataFrame) -> Judgement:
    """Judge Table 1 by its recomputation."""
    agree, total = int(table["agrees"].sum()), len(table)
    gap = (table["recomputed"] - table["printed"]).abs().max()
    verdict = HOLDS if agree == total else PARTLY
    return Judgement(verdict, f"{agree} of {total} figures recomputed; largest gap {gap:.1e}")


def judge_audit(found: pd.DataFrame, table: str) -> Judgement:
    """Judge a claim by what the printed table says of itself, where nothing else was released.

    Parameters
    ----------
    found : DataFrame
        From :func:`.findings.audit`.
    table : str
        "Table 2" or "Table 3".
    """
    rows = found[found["table"] == table]
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

    In ResNet3D and in M3T Dual must exceed both single supervisions in rho(PC1, KL), each by a
    difference whose interval over knees and seeds excludes zero.

    Parameters
    ----------
    differences : DataFrame
        Rows of :func:`.effects.compare_axes`: backbone, reference, measure, n_seeds,
        value, low, high.
    """
    rows = differences[
        differences["backbone"].isin(["resnet3d", "m3t"]) & (differences["measure"] == "rho_kl")
    ]
    if rows.empty:
        return Judgement(ABSENT, "this source has no such model")
    both = (rows["low"] > 0).groupby(rows["backbone"]).all()
    if both.all():
        verdict = HOLDS
    elif both.any():
        verdict = PARTLY
    else:
        verdict = FAILS if (rows["high"] < 0).any() else OPEN
    said = "; ".join(
        f"{_NAMES[row['backbone']]} Dual minus {SUPERVISION_NAMES[row['reference']]} "
        f"{_difference(row, '+.2f')}"
        for row in rows.to_dict("records")
    )
    few = rows["n_seeds"].min()
    seeds = "one seed" if few == 1 else f"{few} seeds or more"
    rule = "asked is that all differences of a backbone exceed zero"
    return Judgement(verdict, f"rho(PC1, KL), {seeds}: {said}; {rule}")


def judge_saliency(differences: pd.DataFrame) -> Judgement:
    """Judge whether Dual's saliency overlaps more with cartilage, both heads, all four measures.

    Parameters
    ----------
    differences : DataFrame
        Rows of :func:`.means.dual_minus_single`; distinguished from zero where q < 0.05.
    """
    rows = differences[differences["backbone"].isin(["resnet3d", "m3t"])]
    if rows.empty:
        return Judgement(ABSENT, "this source has no such model")
    clear = rows["q_value"] < FDR
    gains, losses = clear & (rows["value"] > 0), clear & (rows["value"] < 0)
    verdict = HOLDS if gains.all() else PARTLY if gains.any() else FAILS if losses.any() else OPEN
    dice = rows[rows["measure"] == "dice5"]
    said = "; ".join(
        f"{_NAMES[row['backbone']]} {HEAD_NAMES[row['head']]} {_difference(row, '+.4f')}"
        for row in dice.to_dict("records")
    )
    return Judgement(
        verdict,
        f"of {len(rows)} differences with q < 0.05: {gains.sum()} gains, {losses.sum()} losses. "
        f"Dice@5: {said}",
    )


def judge_benchmark(paired: pd.DataFrame) -> Judgement:
    """Judge ResNet3D Dual against radiomics on the same knees.

    Parameters
    ----------
    paired : DataFrame
        Rows of :func:`.scores.paired_bootstrap`: metric, value (ResNet3D Dual minus
        radiomics), low, high.
    """
    rows = paired[paired["metric"].isin(["kl_acc", "kl_f1"])]
    clear = (rows["low"] > 0).sum()
    said = "; ".join(
        f"{METRIC_NAMES[row['metric']]} {_difference(row)}" for row in rows.to_dict("records")
    )
    verdict = HOLDS if clear == len(rows) else PARTLY if clear else OPEN
    return Judgement(verdict, f"against our logistic regression on the same 98 knees: {said}")


JUDGES: dict[str, Callable[[pd.DataFrame], Judgement]] = {
    "table1": judge_table1,
    "interaction": judge_interaction,
    "axis": judge_axis,
    "saliency": judge_saliency,
    "benchmark": judge_benchmark,
}


def judge(
    claim: Mapping[str, Any] | pd.Series,
    tables: Mapping[str, pd.DataFrame],
    *,
    same_data: bool = False,
) -> Judgement:
    """Judge a claim by what one source has.

    Parameters
    ----------
    claim : mapping or Series
        A row of :func:`claims`.
    tables : mapping
        What the source has: "effects", "table1", "interaction", "axis", "benchmark"; and "audit"
        for the printed figures of claims for which nothing was released.
    same_data : bool
        As in :func:`judge_effects`.
    """
    if isinstance(claim["effects"], dict):
        if "effects" in tables:
            return judge_effects(claim["effects"], tables["effects"], same_data=same_data)
    elif claim["kind"] in tables:
        return JUDGES[claim["kind"]](tables[claim["kind"]])
    elif claim["kind"] in PRINTED and "audit" in tables:
        return judge_audit(tables["audit"], PRINTED[claim["kind"]])
    return Judgement(ABSENT, "")


def judged(tables: Mapping[str, pd.DataFrame], *, same_data: bool = False) -> pd.DataFrame:
    """Every claim of which a source says something.

    Parameters
    ----------
    tables, same_data
        As in :func:`judge`.

    Returns
    -------
    DataFrame
        claim (with its place in the paper), printed, verdict, because.
    """
    rows = []
    for _, claim in claims().iterrows():
        finding = judge(claim, tables, same_data=same_data)
        if finding.verdict != ABSENT:
            said = {"claim": f"{claim['claim']} ({claim['where']})", "printed": claim["printed"]}
            rows.append({**said, "verdict": finding.verdict, "because": finding.because})
    return pd.DataFrame(rows)


def _effect(row: Mapping[Any, Any], named: bool) -> str:
    backbone = f"{_NAMES[row['backbone']]} " if named else ""
    return f"{backbone}{METRIC_NAMES[row['metric']]} {_difference(row)}, {row['also']}"


def _difference(row: Mapping[Any, Any], form: str = "+.3f") -> str:
    return interval_text(row["value"], row["low"], row["high"], form)


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.0005 else f"{value:.1g}"
