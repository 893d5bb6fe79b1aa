"""How often chapter 22's intervals hold the truth (`workflow.coverage`).

Drawn knees come at several visits, as the chapter has them; a simulated network reads each with
what all networks see of the person and of the scan, with what is its own, and with what a seed
does. Two networks are drawn alike, so that all differences between them are zero in truth; a true
score is that of very many knees and seeds.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from scipy.stats import norm

from oacore.instruments.hierarchy.visit_axes import by_knee
from oacore.instruments.hierarchy.visit_scores import (
    ACROSS_EDGES,
    WITHIN_EDGES,
    Courses,
    visit_tables,
)
from oacore.instruments.hierarchy.visits import COURSES, SHARES, sample_visits
from workflow.coverage_models import SPREADS

N_RESAMPLES = 200
SEEDS = (3, 10)
#: Knees to draw from, and seeds by which a true score is known.
MANY, MANY_SEEDS = 3000, 20
#: Knees and visits of the record, and of what the page computes itself.
DRAWN = ((120, 5), (8, 4))
NETWORKS = ("single_kl", "dual")
#: Standard deviations: of a person's level and of a scan, as all networks see them; and what a
#: network, and what a seed, adds to a scan. With them the wobble is near the recorded one.
PERSON, SCAN, OWN, SEED = 0.6, 0.7, 0.3, 0.5
#: By interval and measure.
Truth = dict[tuple[str, str], float]


@cache
def population(visits: int) -> pd.DataFrame:
    """Very many knees at their visits."""
    return sample_visits(MANY, visits, seed=0)


@cache
def _courses(visits: int) -> pd.Series:
    """The course of each of these knees."""
    return population(visits).groupby("knee")["course"].first()


def some_knees(n: int, visits: int, rng: np.random.Generator) -> pd.DataFrame:
    """Visits of n knees, of which as many have each course as the chapter's study draws."""
    everyone, course = population(visits), _courses(visits)
    own = [
        rng.choice(course.index[course == name], size=round(SHARES[name] * n), replace=False)
        for name in COURSES
    ]
    table = everyone[everyone["knee"].isin(np.concatenate(own))]
    return table.assign(knee=pd.factorize(table["knee"])[0] + 1).reset_index(drop=True)


def readings(
    severity: np.ndarray, sharpness: np.ndarray, rng: np.random.Generator, networks: int = 1
) -> np.ndarray:
    """Axes (networks, S, n, visits) of networks of one kind.

    Parameters
    ----------
    severity : (n, visits) array
    sharpness : (networks, S) array
        By how much the axis of a network rises with severity under each seed.
    rng : Generator
    networks : int
    """
    person = PERSON * rng.normal(size=(len(severity), 1))
    seen = person + SCAN * rng.normal(size=severity.shape)
    own = OWN * rng.normal(size=(networks, 1, *severity.shape))
    noise = SEED * rng.normal(size=(*sharpness.shape, *severity.shape))
    return sharpness[..., None, None] * severity + seen + own + noise


def of_bin(curve: str, x: float) -> str:
    """Name a bin of a curve, which differs a little in its mean x from sample to sample."""
    if curve == "stable knees":
        return curve
    edges = ACROSS_EDGES if curve == "across knees" else WITHIN_EDGES
    place = int(np.searchsorted(edges, x, side="right")) - 1
    return f"{curve}, {edges[place]:g} to {edges[place + 1]:g}"


@cache
def true_at_visits(spread: float, visits: int) -> Truth:
    """Means over very many seeds, each on all knees of :func:`population`."""
    rng = np.random.default_rng([visits, round(1000 * spread)])
    table = population(visits)
    severity = by_knee(table, table["severity"])
    courses = Courses(table, 1, 0)
    rows = []
    for sharpness in 1 + spread * norm.ppf((np.arange(MANY_SEEDS) + 0.5) / MANY_SEEDS):
        axis = readings(severity, np.full((1, 1), sharpness), rng)[0]
        found = courses.measured(axis[0])
        row = {("score at visits", name): own[0] for name, own in found.items()}
        row["rise within less across", "slope"] = found["slope"][0] - found["slope_across"][0]
        curves = courses.curves(axis)
        for curve, x, value in curves[["curve", "x", "value"]].itertuples(index=False):
            row["point of a curve", of_bin(curve, x)] = value
        rows.append(row)
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def of_visits(seeds: int, spread: float, _: int, rng: np.random.Generator) -> pd.DataFrame:
    """Chapter 22's intervals: of scores, of differences, within less across, and of its curves."""
    parts = []
    for n, visits in DRAWN:
        table = some_knees(n, visits, rng)
        severity = by_knee(table, table["severity"])
        sharpness = 1 + spread * rng.normal(size=(len(NETWORKS), seeds))
        axes = readings(severity, sharpness, rng, len(NETWORKS))
        read = {name: {"pc1": own} for name, own in zip(NETWORKS, axes, strict=True)}
        found = visit_tables(table, read, N_RESAMPLES, int(rng.integers(2**31)))
        named = _named(found)
        parts.append(named.assign(knees=n, truth=_truth(named, true_at_visits(spread, visits))))
    return pd.concat(parts, ignore_index=True)


def _named(found: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The intervals of one network, and of both, by the names of their rows."""
    scores, curves = (found[name].query("network == 'dual'") for name in ("scores", "curves"))
    apart = found["contrasts"].query("network == 'dual'")
    between = apart[apart["reference"] != "across knees"]
    within = apart[apart["reference"] == "across knees"]
    narrow = between.assign(low=between["none_low"], high=between["none_high"], nominal=0.9)
    parts = [
        scores.assign(interval="score at visits"),
        between.assign(interval="difference at visits"),
        narrow.assign(interval="90% interval at visits"),
        within.assign(interval="rise within less across"),
    ]
    if len(curves):  # few knees make no bin
        bins = list(map(of_bin, curves["curve"], curves["x"]))
        parts.append(curves.assign(interval="point of a curve", measure=bins))
    columns = ["interval", "measure", "over", "seeds", "low", "high", "nominal"]
    return pd.concat(parts, ignore_index=True)[columns]


def _truth(table: pd.DataFrame, known: Truth) -> list[float]:
    """Of two networks that are alike the difference is zero."""
    alike = ("difference at visits", "90% interval at visits")
    keys = zip(table["interval"], table["measure"], strict=True)
    return [0.0 if key[0] in alike else known[key] for key in keys]


#: What is simulated, as in :data:`workflow.coverage.SIMULATIONS`.
VISITS = {"visits": (of_visits, SEEDS, SPREADS[1:2])}
