"""Figures of simulated knees that are true, many models at a time.

What the audit knows of a figure is what is printed; here the figures are made, by formulas of their
own, from grades, scores and maps of simulated knees, under the conditions that papers have: scores
with ties, means over folds of equal or unequal size and difficulty, medians over runs, few knees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import softmax
from scipy.stats import rankdata

from oacore.instruments.audit.counts import VARIANTS, mcnemar_variants
from oacore.instruments.audit.printed import OARSI
from oacore.instruments.audit.statements import Statement

KNEES = (21, 12, 22, 28, 15)
"""Test knees of grade 0 to 4 in the paper."""

Figures = dict[str, np.ndarray]


@dataclass(frozen=True)
class Truth:
    """True figures of some rows, and what may be said of them.

    Attributes
    ----------
    figures : dict of (rows,) arrays
        By column.
    places : dict of int
        Decimals of each column.
    rows : list of str
    values : {"one run", "means", ""}
        What the figures are.
    knees, share
        As in the head of a printed table.
    again : tuple of str
        Columns that are printed a second time.
    said : DataFrame, optional
        Rows of what a text says of differences.
    statements : list of Statement
    """

    figures: Figures
    places: dict[str, int]
    rows: list[str]
    values: str
    knees: tuple[int, ...] | None = ()
    share: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    said: pd.DataFrame | None = None
    statements: list[Statement] = field(default_factory=list)


def predictions(rng: np.random.Generator, condition: str, rows: int) -> Truth:
    """Scores, decisions and grades of models that know something: Table 1, and RMSE."""
    places, ties = int(rng.integers(2, 6)), _ties(rng, condition)
    expected = condition == "expected grades"
    knees, figures = _over_runs(
        rng, condition, rows, lambda k: _predicted(rng, rows, k, ties, expected)
    )
    return _truth(rng, condition, figures, places, knees)


def _predicted(
    rng: np.random.Generator, rows: int, knees: Sequence[int], ties: str, expected: bool
) -> Figures:
    kl, oa = _labels(knees)
    severity = _tied(kl + rng.normal(size=(rows, len(kl))) * rng.uniform(0.3, 3, (rows, 1)), ties)
    said = severity >= rng.normal(1.5, 0.7, (rows, 1))
    far = -np.abs(severity[:, :, None] - np.arange(5))
    far = far + rng.normal(0, 0.3, far.shape) * (not ties)
    grade = far.argmax(axis=2)
    tp, fp = (said & oa).sum(axis=1), (said & ~oa).sum(axis=1)
    f1 = 2 * tp / (tp + fp + oa.sum())
    graded = _expected(rng, far) if expected else grade
    one_versus_rest = [_auc(far[:, :, k], kl == k) for k in range(5)]
    return {
        "oa_auc": _auc(severity, oa),
        "oa_acc": (said == oa).mean(axis=1),
        "oa_f1": f1,
        "kl_auc": np.mean(one_versus_rest, axis=0),
        "kl_acc": (grade == kl).mean(axis=1),
        "kl_rmse": np.sqrt(((graded - kl) ** 2).mean(axis=1)),
    }


def _expected(rng: np.random.Generator, far: np.ndarray) -> np.ndarray:
    """Expected grades of models that are sure, or unsure, of the grade with the greatest logit."""
    logits = far * np.exp(rng.uniform(-4, 3, (len(far), 1, 1)))
    return softmax(logits, axis=2) @ np.arange(far.shape[2])


def pairs(rng: np.random.Generator, condition: str, rows: int) -> Truth:
    """Two models on the same knees, and the truth about some McNemar test of them."""
    places = 4 if condition == "one run" else 3
    knees = _knees(rng, condition)
    _, oa = _labels(knees)
    alike = rng.random((rows, len(oa))) < rng.uniform(0, 0.9, (rows, 1))
    skill = rng.uniform(0.4, 1, (2, rows, 1))
    draws = rng.random((2, rows, len(oa)))
    right = np.where(alike, draws[:1], draws) < skill
    figures = []
    for one in right:
        said = one == oa
        tp, fp = (said & oa).sum(axis=1), (said & ~oa).sum(axis=1)
        figures.append({"oa_acc": one.mean(axis=1), "oa_f1": 2 * tp / (tp + fp + oa.sum())})
    first, second = right
    counts = (first & ~second).sum(axis=1), (second & ~first).sum(axis=1)
    lines = []
    for i, (b, c) in enumerate(zip(*counts, strict=True)):
        p = mcnemar_variants(int(b), int(c))[str(rng.choice(VARIANTS))]
        p *= rng.choice([1, 1, 3])  # corrected for three tests, or not
        ends = [f"T: m{i} m{i}{which}" for which in "BA"]  # a pair is a backbone of its own
        lines.append([*ends, "significant" if p < 0.05 else "not significant"])
    said = pd.DataFrame(
        lines, columns=["of", "minus", "oa_acc_test"],
        index=pd.Index([f"pair {i}" for i in range(rows)], name="row"),
    )  # fmt: skip
    together = {name: np.concatenate([one[name] for one in figures]) for name in figures[0]}
    names = [f"m{i} m{i}{which}" for which in "AB" for i in range(rows)]
    return Truth(
        together, dict.fromkeys(together, places), names, "one run", knees, said=said
    )  # fmt: skip


def axis(rng: np.random.Generator, condition: str, rows: int) -> Truth:
    """A score of either sign, and four distances: Table 2."""
    places, ties = int(rng.integers(2, 5)), _ties(rng, condition)
    knees, figures = _over_runs(rng, condition, rows, lambda k: _axis(rng, rows, k, ties))
    return _truth(rng, condition, figures, places, knees)


def _axis(rng: np.random.Generator, rows: int, knees: Sequence[int], ties: str) -> Figures:
    kl, oa = _labels(knees)
    way = rng.choice([-1, 1], (rows, 1))
    score = kl * rng.choice([0, 1, 1, 1], (rows, 1)) + rng.normal(size=(rows, len(kl))) * (
        rng.uniform(0.05, 5, (rows, 1))
    )
    score = _tied(way * score, ties)
    distances = rng.random((rows, 4))
    if ties:
        distances = np.round(distances, 1)
    auroc = _auc(score, oa)
    return {
        "rho_kl": _spearman(score, kl),
        "rho_oa": _spearman(score, oa),
        "auroc_oa": np.where(rng.random(rows) < 0.5, auroc, np.maximum(auroc, 1 - auroc)),
        "rho_distances": _spearman(distances, np.arange(4)),
    }


def overlap(rng: np.random.Generator, condition: str, rows: int) -> Truth:
    """Maps over small regions, means over some knees: Table 3."""
    voxels = 200 if condition == "few knees" else 1000
    number, rows = int(rng.integers(1, 6)), min(rows, 50)
    largest = 0.2 if condition == "unequal folds" else 0.02
    first_come = condition != "ties" or rng.random() < 0.5  # one way for all of a table
    shares, sums = [], []
    for _ in range(number):  # knees; all models see the same regions
        region = rng.random(voxels) < rng.uniform(0.003, largest)
        region[0] = True
        drawn = rng.uniform(0, rng.choice([1.2, 5]), (rows, 1))
        maps = rng.random((rows, voxels)) + region * drawn
        if condition == "ties":
            maps = np.maximum(np.round(maps, 1) - 0.5, 0)
        order = -np.sort(-maps, axis=1)
        found = {"mass": (maps * region).sum(axis=1) / np.maximum(maps.sum(axis=1), 1e-12)}
        for name, share in (("top1", 0.01), ("dice5", 0.05), ("dice10", 0.10)):
            most = round(share * voxels)
            top = maps >= order[:, most - 1 : most]
            if first_come:  # just so many, whichever come first, or all that tie
                first = np.argsort(-maps, axis=1, kind="stable")[:, :most]
                top = np.zeros_like(top)
                np.put_along_axis(top, first, True, axis=1)
            inside, size = (top & region).sum(axis=1), top.sum(axis=1)
            found[name] = inside / size if name == "top1" else 2 * inside / (size + region.sum())
        sums.append(found)
        shares.append(region.mean())
    figures = {name: np.mean([one[name] for one in sums], axis=0) for name in sums[0]}
    truth = _truth(rng, "one run", figures, int(rng.integers(2, 5)), ())
    mean_share = f"{np.mean(shares):.4f}"
    return Truth(figures, truth.places, truth.rows, "one run", (), (mean_share,))


def grades(rng: np.random.Generator, condition: str, rows: int) -> Truth:
    """Six OARSI grades of a few models, averages, and a repeat: tables of arXiv:2112.09177."""
    number = {"few knees": 12}.get(condition, 150)

    def run(_: Sequence[int]) -> Figures:
        skill, size = rng.uniform(0.2, 0.9, (rows, 1)), int(rng.integers(number // 2, number))
        figures = {}
        for part in ("kl", *OARSI):
            top = 4 if part == "kl" else 3
            truth = rng.integers(0, top + 1, size)
            said = truth + np.rint(rng.normal(size=(rows, size)) * skill)
            if rng.random() < 0.3:  # errors of one grade only, or of as many as there are
                said = truth + np.sign(said - truth) * rng.choice([1, top])
            said = np.clip(said, 0, top)
            figures[f"{part}_acc"] = (said == truth).mean(axis=1)
            if condition == "expected grades":
                said = _expected(rng, _logits(rng, said.astype(int), top + 1))
            figures[f"{part}_rmse"] = np.sqrt(((said - truth) ** 2).mean(axis=1))
        return figures

    _, figures = _over_runs(rng, condition, rows, run)
    weights = rng.dirichlet(np.ones(6)) if condition == "weighted" else np.full(6, 1 / 6)
    for measure in ("acc", "rmse"):
        parts = np.array([figures[f"{part}_{measure}"] for part in OARSI])
        figures[f"oarsi_{measure}"] = weights @ parts
        if condition == "weighted" and measure == "rmse":
            figures["oarsi_rmse"] = np.sqrt((parts**2).mean(axis=0))
    again = ("kl_acc", "kl_rmse", "oarsi_acc", "oarsi_rmse")
    truth = _truth(rng, condition, figures, int(rng.integers(2, 5)), None)
    return Truth(figures, truth.places, truth.rows, truth.values, None, again=again)


def _logits(rng: np.random.Generator, said: np.ndarray, grades: int) -> np.ndarray:
    """Logits of which that of the grade said is the greatest, now and then by little."""
    logits = rng.normal(0, 3, (*said.shape, grades))
    most = logits.max(axis=2) + rng.exponential(size=said.shape)
    np.put_along_axis(logits, said[:, :, None], most[:, :, None], axis=2)
    return logits


def macro_f1(rng: np.random.Generator, condition: str, rows: int) -> Truth:
    """Accuracy and macro-F1 of two classes; `of means`: the other figure of that name."""

    def run(knees: Sequence[int]) -> Figures:
        _, oa = _labels(knees)
        skill = rng.uniform(0.3, 1, (2, rows, 1))
        said = np.where(rng.random((rows, len(oa))) < np.where(oa, *skill), oa, ~oa)
        tp, fp = (said & oa).sum(axis=1), (said & ~oa).sum(axis=1)
        fn, tn = oa.sum() - tp, (~oa).sum() - fp
        score = (tp / (tp + (fp + fn) / 2) + tn / (tn + (fp + fn) / 2 + 1e-300)) / 2
        if condition == "of means":
            precision = (tp / np.maximum(tp + fp, 1) + tn / np.maximum(tn + fn, 1)) / 2
            recall = (tp / oa.sum() + tn / (~oa).sum()) / 2
            score = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        return {"oa_acc": (said == oa).mean(axis=1), "oa_macro_f1": score}

    knees, figures = _over_runs(rng, condition, rows, run)
    return _truth(rng, condition, figures, int(rng.integers(2, 5)), None)


def counts(rng: np.random.Generator, condition: str, rows: int) -> Truth:
    """Knees by grade, or their percentages: section 3.2."""
    knees = rng.integers(1, 200, (rows, 5)).astype(float)
    if condition == "percentages":
        knees *= 100 / knees.sum(axis=1, keepdims=True)
    figures = {f"grade_{grade}": knees[:, grade] for grade in range(5)}
    figures |= {
        "total": knees.sum(axis=1),
        "oa_negative": knees[:, :2].sum(axis=1),
        "oa_positive": knees[:, 2:].sum(axis=1),
    }
    figures = {name: np.round(values, 9) for name, values in figures.items()}
    if condition == "percentages" and rng.random() < 0.5:
        del figures["total"]
    places = 0 if condition == "one run" else int(rng.integers(0, 3))
    return _truth(rng, "one run", figures, places, ())


def orders(rng: np.random.Generator, condition: str, rows: int) -> Truth:
    """Correlations of models, and what is true of their order, absolutely or by sign."""
    rows, few = min(rows, 20), condition == "few knees"
    values = rng.normal(size=rows) * 0.3
    if condition == "ties":
        values = np.round(values, 2)
    if few:  # close together
        values = 0.5 + values * 0.01
    values = np.clip(values, -1, 1)
    truth = _truth(rng, "one run", {"rho_kl": values}, int(rng.integers(1, 5)), None)
    statements = []
    for relation in ("highest", "lowest", "greater", "less", "rising", "falling"):
        for absolute in (False, True):
            size = np.abs(values) if absolute else values
            chosen = rng.permutation(rows)[: int(rng.integers(2, max(3, rows)))]
            chosen = chosen[np.argsort(size[chosen])]
            if relation in ("highest", "greater", "falling"):
                chosen = chosen[::-1]
            names = [truth.rows[place] for place in chosen]
            if relation in ("rising", "falling") and len(chosen) == 4:  # two differences
                a, b, c, d = chosen
                gaps = [abs(values[a] - values[b]), abs(values[c] - values[d])]
                names = [f"{names[0]} - {names[1]}", f"{names[2]} - {names[3]}"]
                absolute = True
                if (gaps[0] < gaps[1]) != (relation == "rising"):
                    names.reverse()
            statements.append(
                Statement("simulated", "text", relation, "T", ("rho_kl",), tuple(names), relation,
                          absolute, True, (), "", "simulated.csv")
            )  # fmt: skip
    return Truth(truth.figures, truth.places, truth.rows, "one run", None, statements=statements)


# What the families share


def _truth(
    rng: np.random.Generator, condition: str, figures: Figures, places: int,
    knees: tuple[int, ...] | None,
) -> Truth:  # fmt: skip
    """Leave out what is not defined, and give some columns fewer decimals than others."""
    good = np.all([np.isfinite(values) for values in figures.values()], axis=0)
    figures = {name: values[good] for name, values in figures.items()}
    number = len(next(iter(figures.values())))
    mixed = rng.random() < 0.2 and knees != ()
    decimals = {name: int(rng.integers(1, 6)) if mixed else places for name in figures}
    values = {"equal folds": "means", "unequal folds": "means"}.get(condition, "one run")
    if condition in ("medians", "resamples"):
        values = ""
    rows = [f"m{i} s{i}" for i in range(number)]
    return Truth(figures, decimals, rows, values, knees)


def _over_runs(
    rng: np.random.Generator, condition: str, rows: int,
    run: Callable[[Sequence[int]], Figures],
) -> tuple[tuple[int, ...], Figures]:  # fmt: skip
    """Figures of one run, or their means or medians over folds, runs or resamples.

    Resamples are runs of other knees of the same number, as a bootstrap's are; medians leave each
    figure to another run.
    """
    if condition not in ("equal folds", "unequal folds", "medians", "resamples"):
        knees = _knees(rng, condition)
        return knees, run(knees)
    number = int(rng.integers(2, 8))
    folds = [tuple(np.maximum(np.array(KNEES) // 5, 1).tolist())] * number
    if condition == "unequal folds":
        folds = [tuple(rng.integers(1, 25, 5).tolist()) for _ in range(number)]
    if condition in ("medians", "resamples"):
        folds = [KNEES] * number
    runs = [run(knees) for knees in folds]
    middle = np.median if condition == "medians" else np.mean
    whole = folds[0] if condition in ("medians", "resamples") else np.sum(folds, axis=0)
    found = {name: middle([one[name] for one in runs], axis=0) for name in runs[0]}
    return tuple(int(k) for k in whole), found


def _knees(rng: np.random.Generator, condition: str) -> tuple[int, ...]:
    if condition == "few knees":
        return tuple(int(k) for k in rng.integers(1, 6, 5))
    return KNEES if rng.random() < 0.5 else tuple(int(k) for k in rng.integers(5, 60, 5))


def _labels(knees: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    kl = np.repeat(np.arange(5), knees)
    return kl, kl >= 2


def _ties(rng: np.random.Generator, condition: str) -> str:
    return str(rng.choice(["rounded", "few", "collapsed"])) if condition == "ties" else ""


def _tied(score: np.ndarray, ties: str) -> np.ndarray:
    """Scores rounded to a half, to three values, or set to 0 where they are small."""
    if ties == "rounded":
        return np.round(2 * score) / 2
    if ties == "few":
        return np.clip(np.round(score / 2), -1, 1)
    return np.maximum(score - 2, 0) if ties == "collapsed" else score


def _auc(score: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Mann and Whitney's share of pairs, of each row of scores."""
    ranks, positive = rankdata(score, axis=1), label.sum()
    pairs = positive * (len(label) - positive)
    return (ranks[:, label].sum(axis=1) - positive * (positive + 1) / 2) / pairs


def _spearman(score: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row of scores with a label; NaN for constant scores."""
    ranks = rankdata(score, axis=1)
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    other = rankdata(label) - (len(label) + 1) / 2
    spread = np.sqrt((ranks**2).sum(axis=1) * (other**2).sum())
    spread[spread == 0] = np.nan
    return ranks @ other / spread
