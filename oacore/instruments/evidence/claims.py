"""The paper's claims, one by one, judged by what each kind of evidence shows.

The list is ``claims.yml``; the rules are those of :mod:`.evidence.verdicts`. What judges are tables
that chapters kept (:mod:`oacore.results`); a source whose table is missing says so, and what would
make it speak.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
import yaml

from oacore.instruments.evidence.judges import (
    judge_audit,
    judge_axis,
    judge_benchmark,
    judge_effects,
    judge_hierarchy,
    judge_interaction,
    judge_saliency,
    judge_table1,
)
from oacore.instruments.evidence.verdicts import ABSENT, ALONE, Judgement, marked
from oacore.metrics.significance import benjamini_hochberg

#: Claims that rest on printed figures alone: no prediction or map was released for them.
PRINTED = {"axis": "Table 2", "saliency": "Table 3"}

#: Judges of the claims that are no effect of Dual, by their kind.
JUDGES: dict[str, Callable[[pd.DataFrame], Judgement]] = {
    "table1": judge_table1,
    "axis": judge_axis,
    "saliency": judge_saliency,
    "benchmark": judge_benchmark,
    "hierarchy": judge_hierarchy,
}


def claims() -> pd.DataFrame:
    """The list: name, claim, where, printed, effects or kind, indexed by name."""
    _, listed = _documents()
    table = pd.DataFrame(listed).T
    return table.assign(name=table.index)


def margins() -> pd.DataFrame:
    """`margin`, the largest difference that still counts as none, and `reason`, by metric."""
    families, _ = _documents()
    table = pd.DataFrame(families).T.explode("metrics").set_index("metrics")
    return table.astype({"margin": float})


def _documents() -> tuple[dict[str, Any], dict[str, Any]]:
    """The two parts of the file: families of metrics with their margins, and claims."""
    path = files("oacore.instruments.evidence") / "claims.yml"
    families, listed = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return families, listed


def published_effects(stats: pd.DataFrame) -> pd.DataFrame:
    """Effects of Dual on the published predictions; `clear` where the protocol's q is below 0.05.

    Parameters
    ----------
    stats : DataFrame
        Rows of :func:`.protocol.released_protocol`. One network was trained of each kind, and its
        error over knees is taken as known: `df` is infinite.
    """
    rows = stats.assign(df=np.inf, seeds=1, over=ALONE)
    return marked(rows, rows["q_value"], same_data=True)


def run_effects(effects: pd.DataFrame) -> pd.DataFrame:
    """Effects of Dual over seeds and knees; `clear` where q is below 0.05.

    Parameters
    ----------
    effects : DataFrame
        Rows of :func:`.compare.compare_supervisions` over seeds; the family of q is all of them
        but those with one seed, which have no p-value.
    """
    p = effects["p_value"].where(effects["over"] != ALONE)
    return marked(effects, benjamini_hochberg(p), same_data=False)


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
        What the source has: "effects", "table1", "interaction", "axis", "saliency", "benchmark",
        "hierarchy"; and "audit" for the printed figures of claims for which nothing was released.
    same_data : bool
        Whether these are the authors' own predictions, as in :func:`.judges.judge_effects`.
    """
    kind = claim["kind"]
    if isinstance(claim["effects"], dict):
        if "effects" in tables:
            says, effects = claim["effects"], tables["effects"]
            return judge_effects(says, effects, margins()["margin"], same_data=same_data)
    elif kind == "interaction" and kind in tables:
        return judge_interaction(tables[kind], margins()["margin"], same_data=same_data)
    elif kind in JUDGES and kind in tables:
        return JUDGES[kind](tables[kind])
    elif kind in PRINTED and "audit" in tables:
        return judge_audit(tables["audit"], PRINTED[kind], claim["name"])
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
