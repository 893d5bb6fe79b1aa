"""How often the intervals of chapter 9's clinical measures hold the truth, by simulation.

``python -m workflow.coverage_clinical`` prints the table that the docstrings of
:mod:`oacore.metrics.recalibration`, :mod:`.calibration`, :mod:`.clinical`, :mod:`.decisions` and
:mod:`.shares` quote. Whole tables are drawn from models whose truth is known: the number that an
interval claims to hold is that of the model, found on a table of `LARGE` cases where no formula
gives it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy.special import expit, logit, softmax

from oacore.metrics import calibration, clinical, decisions, recalibration
from oacore.metrics.resampling import draw_cases, estimate
from oacore.metrics.shares import share

NOMINAL = 0.95
LARGE = 200_000
RESAMPLES = 400
#: Of what a table's probabilities are: true slope, spread and mean of logits. The published
#: models' slopes are those of the first three, whose logits spread that far.
LOGITS = ((0.1, 6.0, 1.0), (0.2, 6.0, 1.0), (0.4, 3.0, 1.0), (1.0, 2.0, 0.5), (1.5, 1.5, 0.5))
#: Shares of the grades among the 98 published knees.
SHARES = np.array([21, 12, 22, 28, 15]) / 98
THRESHOLDS = (0.05, 0.1, 0.3, 0.5, 0.8)
#: Of the probabilities within a grade: parameters of beta distributions, from even to extreme.
WITHIN = ((1.0, 1.0), (0.3, 0.3), (2.0, 0.2), (0.1, 0.02))
SHARES_CALLED = (0.5, 0.8, 0.95)
Found = Iterator[tuple[str, bool]]


def simulate_calibration(n: int, repeats: int, seed: int) -> pd.DataFrame:
    """Coverage of the intervals of calibration, clinical measures and decision curves.

    Parameters
    ----------
    n : int
        Cases of a table, such as 98. Groups of a grade have an eighth of them.
    repeats : int
        Tables drawn for each interval.
    seed : int

    Returns
    -------
    DataFrame
        A row for each interval and truth: `interval`, in words; `n`, the cases it rests on;
        `nominal`; `covered`, the share of tables in which it held the truth (for the test of the
        calibration error: in which it rightly did not reject); `repeats`, those of the tables in
        which it was defined.
    """
    parts: tuple[Callable[[int, np.random.Generator], Callable[[], Found]], ...] = (
        _recalibrations, _errors, _grades, _benefits, _groups,
    )  # fmt: skip
    rows = []
    for place, part in enumerate(parts):
        rng = np.random.default_rng([seed, place])
        draw = part(n, rng)
        rows += [found for _ in range(repeats) for found in draw()]
    table = pd.DataFrame(rows, columns=["interval", "held"])
    groups = table.groupby("interval", sort=False)["held"]
    said = pd.DataFrame({"covered": groups.mean(), "repeats": groups.size()}).reset_index()
    said["n"] = np.where(said["interval"].str.contains("in a grade"), n // 8, n)
    return said.assign(nominal=NOMINAL)[["interval", "n", "nominal", "covered", "repeats"]]


def _outcomes(
    n: int, world: tuple[float, float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that a model gives, and the true ones, whose logits are in a line."""
    slope, spread, mean = world
    given = expit(rng.normal(mean, spread, n)).clip(recalibration.CLIP, 1 - recalibration.CLIP)
    return given, expit(0.6 - 0.6 * slope + slope * logit(given))


def _recalibrations(n: int, rng: np.random.Generator) -> Callable[[], Found]:
    shifts = {}
    for world in LOGITS:
        given, true = _outcomes(LARGE, world, rng)
        shifts[world] = _shift(given, true)

    def draw() -> Found:
        for world, shift in shifts.items():
            given, true = _outcomes(n, world, rng)
            happened = rng.random(n) < true
            slope = recalibration.calibration_slope(given, happened)
            if not np.isnan(slope.value):
                yield f"calibration slope of {world[0]}", slope.low <= world[0] <= slope.high
            large = recalibration.calibration_in_the_large(given, happened)
            if not np.isnan(large.value):
                held = large.low <= shift <= large.high
                yield f"calibration in the large, slope of {world[0]}", held

    return draw


def _shift(given: np.ndarray, true: np.ndarray) -> float:
    """What has to be added to the logits of a large table, by bisection."""
    low, high = -40.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if expit(middle + logit(given)).mean() < true.mean() else (low, middle)
        )
    return low


def _errors(n: int, rng: np.random.Generator) -> Callable[[], Found]:
    """Under perfect calibration the test of the error should reject one table in twenty."""

    def draw() -> Found:
        for _, spread, mean in LOGITS[::2]:
            given, _ = _outcomes(n, (1.0, spread, mean), rng)
            happened = rng.random(n) < given
            value = calibration.calibration_error(np.ones((1, n)), given, happened)[0]
            chance = calibration.chance_error(given, RESAMPLES, int(rng.integers(2**31)))
            p = ((chance >= value - 1e-12).sum() + 1) / (RESAMPLES + 1)
            yield f"test of the calibration error, logits of SD {spread:g}", p > 0.05

    return draw


def _grades(n: int, rng: np.random.Generator) -> Callable[[], Found]:
    def table(n: int) -> tuple[np.ndarray, np.ndarray]:
        label = rng.choice(5, size=n, p=SHARES)
        seen = label + rng.normal(0, 1.2, n)
        return label, softmax(-1.5 * np.abs(seen[:, None] - np.arange(5)), axis=1)

    def measures(
        counts: np.ndarray, label: np.ndarray, probability: np.ndarray
    ) -> dict[str, np.ndarray]:
        predicted, oa = probability.argmax(axis=1), label >= 2
        distance, cases = np.abs(label - predicted), counts.sum(axis=1)
        return {
            clinical.KAPPA: clinical.weighted_kappa(counts, label, predicted),
            clinical.GRADE_ERROR: counts @ distance / cases,
            clinical.RPS: clinical.ranked_probability_score(counts, label, probability),
            clinical.RPS_SKILL: clinical.ranked_probability_skill(counts, label, probability),
            clinical.OA_BRIER: counts @ (probability[:, 2:].sum(axis=1) - oa) ** 2 / cases,
        }

    truth = measures(np.ones((1, LARGE)), *table(LARGE))

    def draw() -> Found:
        label, probability = table(n)
        counts = draw_cases(n, RESAMPLES, rng)
        for name, values in measures(counts, label, probability).items():
            found = estimate(values)
            yield name, found["low"] <= truth[name][0] <= found["high"]
        oa = label >= 2
        called = probability[:, 2:].sum(axis=1) >= 0.5
        near = np.abs(label - probability.argmax(axis=1)) <= 1
        for name, right in ((clinical.SENSITIVITY, called[oa]), (clinical.WITHIN_ONE, near)):
            _, low, high, _ = share(right.astype(float))
            yield name, low <= shares[name] <= high

    label, probability = table(LARGE)
    called = probability[:, 2:].sum(axis=1) >= 0.5
    shares = {
        clinical.SENSITIVITY: called[label >= 2].mean(),
        clinical.WITHIN_ONE: (np.abs(label - probability.argmax(axis=1)) <= 1).mean(),
    }
    return draw


def _benefits(n: int, rng: np.random.Generator) -> Callable[[], Found]:
    def counts(given: np.ndarray, happened: np.ndarray, t: float) -> tuple[tuple, tuple]:
        """Sick and healthy cases that are treated, then those that are left."""
        treated, size = given >= t, given.size
        of = [(here & happened).sum() for here in (treated, ~treated)]
        other = [(here & ~happened).sum() for here in (treated, ~treated)]
        return (of[0], other[0], size, t), (of[1], other[1], size, t, True)

    names = "net benefit", "net benefit beside treating all"
    truths = {}
    for world in LOGITS[1:4]:
        given, true = _outcomes(LARGE, world, rng)
        happened = rng.random(LARGE) < true
        for t in THRESHOLDS:
            both = counts(given, happened, t)
            truths[world, t] = [decisions.net_benefit(*one)[0] for one in both]

    def draw() -> Found:
        for world in LOGITS[1:4]:
            given, true = _outcomes(n, world, rng)
            happened = rng.random(n) < true
            for t in THRESHOLDS:
                found = counts(given, happened, t)
                for name, one, truth in zip(names, found, truths[world, t], strict=True):
                    _, low, high = decisions.net_benefit(*one)
                    yield f"{name} at {t:g}, slope of {world[0]:g}", low <= truth <= high

    return draw


def _groups(n: int, rng: np.random.Generator) -> Callable[[], Found]:
    size = n // 8

    def draw() -> Found:
        for a, b in WITHIN:
            mean = a / (a + b)
            _, low, high, _ = share(rng.beta(a, b, size))
            yield f"mean probability in a grade, beta({a:g}, {b:g})", low <= mean <= high
        for mean in SHARES_CALLED:
            _, low, high, _ = share((rng.random(size) < mean).astype(float))
            yield f"share called OA in a grade, {mean:g}", low <= mean <= high

    return draw


def main() -> None:
    """Print the table for the numbers of cases asked for."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--cases", type=int, nargs="+", default=[98, 400])
    words.add_argument("--repeats", type=int, default=2000)
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    found = [simulate_calibration(n, asked.repeats, asked.seed) for n in asked.cases]
    print(pd.concat(found).to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
