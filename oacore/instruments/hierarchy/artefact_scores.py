"""What the runs of the artefact say: collapsed ones, Dual minus Single-KL, and two verdicts.

``book/hierarchy-design.md`` fixed the rules before the first run that is reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.instruments.hierarchy.analysis import (
    GAIN,
    LOSS,
    MARGINS,
    NONE,
    UNDECIDED,
    Values,
    contrast,
    equivalence_p,
    finding,
    scores,
)
from oacore.instruments.hierarchy.artefact import (
    CELLS,
    NO_STATISTICS,
    PAIR,
    ArtefactPlan,
    SeenKnees,
    finished_run,
    right,
)
from oacore.metrics.resampling import draw_cases
from oacore.metrics.scores import accuracy, macro_auc
from oacore.metrics.shares import exact
from oacore.metrics.significance import benjamini_hochberg, mcnemar
from oacore.profile import STATISTICS

#: A run collapses with less than this share of its accuracy with statistics estimated anew.
COLLAPSE = 0.5
#: The difference below which there is none; macro-AUC has that of the whole experiment.
ARTEFACT_MARGINS = {"kl_acc": 0.03, "kl_auc": MARGINS["kl_auc"]}
RUNNING, ANEW = STATISTICS
#: What running statistics add to Dual minus Single-KL.
ADDED = f"{RUNNING} minus {ANEW}"
#: What a verdict can be, beside `UNDECIDED`.
ENOUGH, NOT_ENOUGH = "enough", "not"
#: The cell of the verdicts, and their measure.
PAPERS_CELL, MEASURE = next(iter(CELLS)), "kl_acc"
#: Cell, statistics, arm, seeds, and what these runs answer for all knees, (S, n, 5).
Answered = tuple[str, str, str, list[int], np.ndarray]


def is_collapsed(running: float, anew: float) -> bool:
    """Whether accuracy on a run's own training knees collapses with running statistics.

    Parameters
    ----------
    running, anew : float
        That accuracy with running statistics, and with ones estimated anew.
    """
    return running < COLLAPSE * anew


def answered(plan: ArtefactPlan, knees: SeenKnees, folder: Path | str) -> Iterator[Answered]:
    """What is finished of each cell, of the seeds that both arms have.

    Parameters
    ----------
    plan, knees, folder
        See :func:`.artefact.finished_run`.
    """
    for cell in plan.cells:
        pairs = {}
        for seed in plan.seeds:
            each = [finished_run(plan, knees, folder, (cell, seed, arm)) for arm in PAIR]
            both = [said for said in each if said is not None]
            if len(both) == len(PAIR):
                pairs[seed] = both
        if not pairs:
            continue
        first = next(iter(pairs.values()))[0]
        for statistics in (one for one in (*STATISTICS, NO_STATISTICS) if one in first):
            for place, arm in enumerate(PAIR):
                grade = np.stack([own[place][statistics] for own in pairs.values()])
                yield cell, statistics, arm, list(pairs), grade.astype(float)


def artefact_tables(
    plan: ArtefactPlan, knees: SeenKnees, folder: Path | str, n_resamples: int
) -> dict[str, pd.DataFrame]:
    """All tables of what is finished.

    Parameters
    ----------
    plan, knees, folder
        See :func:`answered`.
    n_resamples : int
        Of test knees, drawn with seed 0.

    Returns
    -------
    dict of str to DataFrame
        ``runs``: cell, arm, seed, statistics; `told`, the accuracy on the run's own training
        knees; `kl_acc` and `kl_auc` on the test knees.

        ``collapse``: see :func:`collapse_table`.

        ``scores``: cell, statistics, arm, measure, and the columns of :func:`.analysis.scores`.

        ``contrasts``: Dual minus Single-KL: cell, statistics, which may be `ADDED`; the columns of
        :func:`.analysis.contrast`; `q_value`, which controls the false discovery rate over all
        rows; `found`.

    Raises
    ------
    InputError
        If no pair of runs is finished.
    """
    cases = knees[0]
    told = (cases["split"] == "train").to_numpy()
    kl = cases["kl"].to_numpy(np.int64)
    counts = draw_cases(int((~told).sum()), n_resamples, 0)
    rows: list[dict[str, object]] = []
    values: dict[tuple[str, str, str], dict[str, np.ndarray]] = {}
    for cell, statistics, arm, seeds, grade in answered(plan, knees, folder):
        own = _measures(counts, kl[~told], grade[:, ~told])
        values[cell, statistics, arm] = own
        rows += [
            {
                "cell": cell, "arm": arm, "seed": seed, "statistics": statistics,
                "told": right(kl[told], grade[place, told]),
                **{name: float(its[place, 0]) for name, its in own.items()},
            }
            for place, seed in enumerate(seeds)
        ]  # fmt: skip
    if not rows:
        raise InputError(f"{folder}: no pair of runs of the artefact is finished")
    runs = pd.DataFrame(rows)
    return {
        "runs": runs,
        "collapse": collapse_table(runs),
        "scores": _scores(values),
        "contrasts": _contrasts(values),
    }


def collapse_table(runs: pd.DataFrame) -> pd.DataFrame:
    """How many runs collapse in each cell that has running statistics.

    Parameters
    ----------
    runs : DataFrame
        See :func:`artefact_tables`.

    Returns
    -------
    DataFrame
        cell, arm, `collapsed`, `runs`, `share` with its exact 95% interval `low`, `high`; `alone`,
        seeds in which this arm collapses and the other does not; `p_value` of McNemar's exact test
        of the two arms, the same in both rows; `told_running`, `told_anew`, mean accuracies on the
        runs' own training knees.
    """
    rows = []
    for cell, own in runs[runs["statistics"] != NO_STATISTICS].groupby("cell", sort=False):
        said = own.pivot(index="seed", columns=["arm", "statistics"], values="told")
        fell = {
            arm: np.array(
                [is_collapsed(*pair) for pair in said[arm][[RUNNING, ANEW]].to_numpy()], bool
            )
            for arm in PAIR
        }
        test = mcnemar(fell[PAIR[0]], fell[PAIR[1]])
        for arm, alone in zip(PAIR, (test.only_first, test.only_second), strict=True):
            hits, n = int(fell[arm].sum()), len(fell[arm])
            low, high = exact(hits, n)
            rows.append(
                {
                    "cell": cell, "arm": arm, "collapsed": hits, "runs": n, "share": hits / n,
                    "low": low, "high": high, "alone": alone, "p_value": test.p_value,
                    "told_running": float(said[arm][RUNNING].mean()),
                    "told_anew": float(said[arm][ANEW].mean()),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def differences(runs: pd.DataFrame) -> pd.DataFrame:
    """Dual minus Single-KL in each pair of runs.

    Parameters
    ----------
    runs : DataFrame
        See :func:`artefact_tables`.

    Returns
    -------
    DataFrame
        cell, statistics, seed; `kl_acc`, `kl_auc`, differences; `single_kl`, `dual`, accuracies;
        `collapsed`: which of the two runs collapse, "neither", "Single-KL", "Dual" or "both".
    """
    wide = runs.pivot(index=["cell", "seed", "statistics"], columns="arm")
    found = pd.DataFrame(
        {
            **{name: wide[name][PAIR[1]] - wide[name][PAIR[0]] for name in ARTEFACT_MARGINS},
            **{arm: wide["kl_acc"][arm] for arm in PAIR},
        }
    ).reset_index()
    told = runs.pivot(index=["cell", "seed", "arm"], columns="statistics", values="told")
    fell = {
        key: RUNNING in told and is_collapsed(row[RUNNING], row[ANEW])
        for key, row in told.iterrows()
    }
    words = {(False, False): "neither", (True, False): "Single-KL", (False, True): "Dual"}
    found["collapsed"] = [
        words.get((fell[cell, seed, PAIR[0]], fell[cell, seed, PAIR[1]]), "both")
        for cell, seed in zip(found["cell"], found["seed"], strict=True)
    ]
    places = {name: place for place, name in enumerate((*CELLS, *STATISTICS, NO_STATISTICS))}
    return found.sort_values(
        ["cell", "statistics", "seed"], key=lambda own: own.map(places).fillna(own), kind="stable"
    ).reset_index(drop=True)


def reached(runs: pd.DataFrame, effect: float) -> pd.DataFrame:
    """In how many pairs of runs one arm is ahead of the other by an effect or more.

    Parameters
    ----------
    runs : DataFrame
        See :func:`artefact_tables`.
    effect : float
        In KL accuracy, above 0.

    Returns
    -------
    DataFrame
        cell, statistics, `pairs`; `dual_ahead`, `single_kl_ahead`, pairs by so much or more;
        `share` of the first with its exact 95% interval `low`, `high`; `least` and `most`, the
        differences Dual minus Single-KL furthest apart.
    """
    rows = []
    for (cell, statistics), own in differences(runs).groupby(["cell", "statistics"], sort=False):
        each = own[MEASURE].to_numpy()
        ahead, behind = int((each >= effect).sum()), int((each <= -effect).sum())
        low, high = exact(ahead, len(each))
        rows.append(
            {
                "cell": cell, "statistics": statistics, "pairs": len(each), "dual_ahead": ahead,
                "single_kl_ahead": behind, "share": ahead / len(each), "low": low, "high": high,
                "least": float(each.min()), "most": float(each.max()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def bias_verdict(contrasts: pd.DataFrame) -> str:
    """Whether running statistics are enough for an effect on average, by the design.

    Parameters
    ----------
    contrasts : DataFrame
        See :func:`artefact_tables`.

    Returns
    -------
    {"enough", "not", "undecided"}
    """
    own = contrasts[(contrasts["cell"] == PAPERS_CELL) & (contrasts["measure"] == MEASURE)]
    found = own.set_index("statistics")["found"]
    if found[RUNNING] == GAIN and found[ANEW] == NONE:
        return ENOUGH
    if found[RUNNING] in (NONE, LOSS) or found[ADDED] in (NONE, LOSS):
        return NOT_ENOUGH
    return UNDECIDED


def luck_verdict(table: pd.DataFrame) -> str:
    """Whether running statistics are enough for such an effect in one pair of runs, by the design.

    Parameters
    ----------
    table : DataFrame
        See :func:`reached`.

    Returns
    -------
    {"enough", "not", "undecided"}
    """
    own = table[table["cell"] == PAPERS_CELL].set_index("statistics")
    either = own["dual_ahead"] + own["single_kl_ahead"]
    if not either[RUNNING]:
        return NOT_ENOUGH
    return UNDECIDED if either[ANEW] else ENOUGH


def _measures(counts: np.ndarray, kl: np.ndarray, grade: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy and macro-AUC of the grade of each seed, (S, 1 + B)."""
    return {
        "kl_acc": np.stack([accuracy(counts, kl, one.argmax(axis=1)) for one in grade]),
        "kl_auc": np.stack([macro_auc(counts, kl, one) for one in grade]),
    }


def _scores(values: dict[tuple[str, str, str], dict[str, np.ndarray]]) -> pd.DataFrame:
    by_cell: Values = {(f"{cell}/{stat}", arm): own for (cell, stat, arm), own in values.items()}
    table = scores(by_cell)
    parts = table["cell"].str.split("/", expand=True)
    table = table.assign(cell=parts[0])
    table.insert(1, "statistics", parts[1])
    return table


def _contrasts(values: dict[tuple[str, str, str], dict[str, np.ndarray]]) -> pd.DataFrame:
    """Dual minus Single-KL with each statistics, and what running ones add to it."""
    gains: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    tables = []

    def add(cell: str, statistics: str, rows: pd.DataFrame) -> None:
        rows.insert(0, "statistics", statistics)
        rows.insert(0, "cell", cell)
        tables.append(rows)

    for cell, statistics in dict.fromkeys((cell, stat) for cell, stat, _ in values):
        single, dual = (values[cell, statistics, arm] for arm in PAIR)
        gains[cell, statistics] = {name: dual[name] - single[name] for name in dual}
        add(cell, statistics, contrast(single, dual))
    for cell in dict.fromkeys(cell for cell, stat in gains if stat == RUNNING):
        add(cell, ADDED, contrast(gains[cell, ANEW], gains[cell, RUNNING]))
    found = pd.concat(tables, ignore_index=True)
    margin = found["measure"].map(ARTEFACT_MARGINS)
    found = found.assign(
        margin=margin,
        p_none=equivalence_p(found["value"], found["se"], found["df"], margin),
        q_value=benjamini_hochberg(found["p_value"]),
    )
    return found.assign(found=[finding(row) for row in found.to_dict("records")])
