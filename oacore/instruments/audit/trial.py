"""A trial of the audit: tables whose truth is known, as they are and with one digit altered.

A table that was computed from knees and rounded must never be called inconsistent. How often an
altered one is depends on the check, on the decimals and on which digit it is; it is counted here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from oacore.instruments.audit.counts import INCONSISTENT, UNDETERMINED
from oacore.instruments.audit.findings import audit
from oacore.instruments.audit.printed import NAMES, OARSI, PrintedTable

KNEES = (21, 12, 22, 28, 15)
"""Test knees of grade 0 to 4 in the paper."""


def predictions(rng: np.random.Generator) -> list[PrintedTable]:
    """Table 1: a random model that knows something, its OA decision and its grades."""
    kl = np.repeat(np.arange(5), KNEES)
    severity = kl + rng.normal(0, rng.uniform(0.5, 3), len(kl))
    if rng.random() < 0.3:
        severity = np.round(severity)  # with ties
    prob = -np.abs(severity[:, None] - np.arange(5)) + rng.normal(0, 0.3, (len(kl), 5))
    prob = np.exp(prob) / np.exp(prob).sum(axis=1, keepdims=True)
    oa, said, grade = kl >= 2, severity >= rng.normal(1.5, 0.5), prob.argmax(axis=1)
    figures = {
        "oa_auc": roc_auc_score(oa, severity),
        "oa_acc": accuracy_score(oa, said),
        "oa_f1": f1_score(oa, said),
        "kl_auc": roc_auc_score(kl, prob, multi_class="ovr"),
        "kl_acc": accuracy_score(kl, grade),
        "kl_f1": f1_score(kl, grade, average="macro"),
    }
    return [_table("predictions", figures, 4, knees=KNEES)]


def axis(rng: np.random.Generator) -> list[PrintedTable]:
    """Table 2: an untied score, of either sign, and four distances."""
    kl = np.repeat(np.arange(5), KNEES)
    score = rng.choice([-1, 1]) * (kl + rng.normal(0, rng.uniform(0.3, 5), len(kl)))
    auroc = roc_auc_score(kl >= 2, score)
    figures = {
        "rho_kl": spearmanr(score, kl).statistic,
        "rho_oa": spearmanr(score, kl >= 2).statistic,
        "auroc_oa": max(auroc, 1 - auroc),
        "rho_distances": spearmanr(np.arange(4), rng.random(4)).statistic,
    }
    return [_table("axis", figures, 3, knees=KNEES)]


def overlap(rng: np.random.Generator) -> list[PrintedTable]:
    """Table 3: small volumes with regions of different sizes, some saliency drawn to them."""
    voxels, means = 2000, []
    for _ in range(8):
        region = rng.random(voxels) < rng.uniform(0.003, 0.02)
        region[0] = True
        saliency = rng.random(voxels) + region * rng.uniform(0, 1)
        order = np.argsort(-saliency)
        caught = {q: region[order[: int(q * voxels)]].sum() for q in (0.01, 0.05, 0.10)}
        figures = {
            "mass": saliency[region].sum() / saliency.sum(),
            "top1": caught[0.01] / (0.01 * voxels),
            "dice5": 2 * caught[0.05] / (0.05 * voxels + region.sum()),
            "dice10": 2 * caught[0.10] / (0.10 * voxels + region.sum()),
        }
        means.append({**figures, "share": region.mean()})
    mean = pd.DataFrame(means).mean()
    share = f"{mean.pop('share'):.4f}"
    return [_table("overlap", mean.to_dict(), 4, share=(share,))]


def grades(rng: np.random.Generator) -> list[PrintedTable]:
    """Tables 2 and 3 of arXiv:2112.09177: six OARSI grades, averages, a repeat."""
    figures, n = {}, 500
    for name in ("kl", *OARSI):
        top = 4 if name == "kl" else 3
        truth = rng.integers(0, top + 1, n)
        said = np.clip(truth + np.round(rng.normal(0, rng.uniform(0.2, 0.9), n)), 0, top)
        figures[f"{name}_acc"] = (said == truth).mean()
        figures[f"{name}_rmse"] = np.sqrt(((said - truth) ** 2).mean())
    for measure in ("acc", "rmse"):
        figures[f"oarsi_{measure}"] = np.mean([figures[f"{name}_{measure}"] for name in OARSI])
    whole = _table("grades", figures, 3)
    short = {name: figures[name] for name in ("kl_acc", "kl_rmse", "oarsi_acc", "oarsi_rmse")}
    again = _table("repeat", short, 3)
    again.figures["same_as"] = "grades: simulated"
    return [again, whole]  # the first is the one whose digits are altered


def counts(rng: np.random.Generator) -> list[PrintedTable]:
    """Section 3.2: knees by grade."""
    knees = rng.integers(10, 200, 5)
    sums = {"total": sum(knees), "oa_negative": sum(knees[:2]), "oa_positive": sum(knees[2:])}
    figures = {f"grade_{grade}": count for grade, count in enumerate(knees)} | sums
    return [_table("counts", figures, 0)]


def folds(rng: np.random.Generator) -> list[PrintedTable]:
    """Table 4's quoted rows: accuracy and macro-F1 of two classes, means over five folds."""
    scores = []
    for _ in range(5):
        truth = rng.random(100) < 0.6
        said = truth ^ (rng.random(100) < rng.uniform(0.1, 0.5))
        scores.append((accuracy_score(truth, said), f1_score(truth, said, average="macro")))
    accuracy, macro_f1 = np.mean(scores, axis=0)
    return [_table("folds", {"oa_acc": accuracy, "oa_macro_f1": macro_f1}, 2)]


KINDS: dict[str, Callable[[np.random.Generator], list[PrintedTable]]] = {
    "predictions": predictions,
    "axis": axis,
    "overlap": overlap,
    "grades": grades,
    "averages": lambda rng: grades(rng)[1:],
    "counts": counts,
    "folds": folds,
}


def altered(table: PrintedTable, column: str, rng: np.random.Generator, last: bool) -> PrintedTable:
    """Replace one printed digit by another.

    Parameters
    ----------
    table : PrintedTable
        Of one row.
    column : str
    rng : Generator
        Draws the digit.
    last : bool
        The last digit, rather than any one of the decimals (of a whole number, of all digits).
    """
    figures = table.figures.copy()
    text = figures[column].iloc[0]
    place = len(text) - 1 if last else int(rng.integers(text.find(".") + 1, len(text)))
    other = rng.choice([digit for digit in "0123456789" if digit != text[place]])
    figures[column] = text[:place] + str(other) + text[place + 1 :]
    return replace(table, figures=figures)


def detection_rates(trials: int, seed: int) -> pd.DataFrame:
    """Rate at which each check calls true and altered tables inconsistent.

    One digit is altered at a time, in a figure that is drawn among those that the check reads; a
    figure is left out where the check says of the true table that it cannot tell.

    Parameters
    ----------
    trials : int
        Tables of each kind.
    seed : int

    Returns
    -------
    DataFrame
        Indexed by check: shares of `true` tables called inconsistent, and of those with the `last
        digit` or `any digit` altered; `tables` is how many altered ones of either sort there were.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for make in KINDS.values():
        for _ in range(trials):
            table, *others = make(rng)
            found = audit([table, *others])
            found = found[found["table"] == table.name]
            rows += [(row.check, "true", row.verdict) for row in found.itertuples()]
            for check, of_check in found[found["verdict"] != UNDETERMINED].groupby("check"):
                column = str(rng.choice(_columns(table, rng.choice(of_check["printed"]))))
                for which in ("last digit", "any digit"):
                    wrong = altered(table, column, rng, which == "last digit")
                    again = audit([wrong, *others])
                    again = again[(again["table"] == table.name) & (again["check"] == check)]
                    reads = [column in _columns(wrong, printed) for printed in again["printed"]]
                    (verdict,) = again["verdict"][reads]
                    rows.append((check, which, verdict))
    all_of_them = pd.DataFrame(rows, columns=["check", "digit", "verdict"])
    flagged = all_of_them["verdict"] == INCONSISTENT
    by = flagged.groupby([all_of_them["check"], all_of_them["digit"]])
    rates = by.mean().unstack()[["true", "last digit", "any digit"]]
    return rates.assign(tables=by.size().unstack()["any digit"])


def _columns(table: PrintedTable, printed: str) -> list[str]:
    """Columns whose figures a finding gives as read."""
    read = printed.split(", ")
    cells = table.figures.iloc[0]
    return [name for name in cells.index if f"{NAMES.get(name)} {cells[name]}" in read]


def _table(
    name: str,
    figures: dict,
    places: int,
    knees: tuple[int, ...] | None = None,
    share: tuple[str, ...] = (),
) -> PrintedTable:
    cells = {column: f"{value:.{places}f}" for column, value in figures.items()}
    frame = pd.DataFrame([cells], index=pd.Index(["simulated"], name="row"))
    return PrintedTable(name, "simulated", f"{name}.csv", frame, knees, share)
