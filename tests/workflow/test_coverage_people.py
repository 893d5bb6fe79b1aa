"""What intervals over people with two knees hold, and that knees drawn singly would hold less."""

import numpy as np
import pandas as pd
import pytest

from tests.workflow.test_coverage_single import held, narrower
from workflow import coverage_means, coverage_people
from workflow.coverage import simulate
from workflow.coverage_means import MEANS
from workflow.coverage_models import population
from workflow.coverage_people import PEOPLE


def drawn(name, seeds, spread, n, repeats, makers=PEOPLE):
    make, _, _ = makers[name]
    found = [make(seeds, spread, n, np.random.default_rng([11, k])) for k in range(repeats)]
    table = pd.concat(found, ignore_index=True)
    setting = {"seeds": seeds, "spread": spread, "knees": n}
    return table.assign(**{k: v for k, v in setting.items() if k not in table})


def singly(cases, n_resamples, seed):
    """Resamples that draw each knee by itself, as if no two were of one person."""
    n = len(cases)
    rows = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_resamples)
    return np.vstack([np.ones((1, n)), rows]).astype(float)


def test_arms_over_people_hold_the_truth_and_would_not_were_they_a_fifth_narrower():
    table = drawn("arms-over-people", 3, 0.0, 50, 60)
    wide, narrow = held(table), held(narrower(table))
    assert (wide.drop("90% interval of arms over people") > 0.91).all(), wide
    assert (narrow < wide - 0.02).all(), narrow


def test_knees_drawn_singly_hold_a_mean_over_people_less_often(monkeypatch):
    def mean_of(table):
        return held(table[(table["knees"] == 80) & (table["interval"] == "mean over people")])

    (whole,) = mean_of(drawn("likeness", 1, np.nan, 40, 150))
    monkeypatch.setattr(coverage_people, "by_person", singly)
    (alone,) = mean_of(drawn("likeness", 1, np.nan, 40, 150))
    assert whole > 0.92 and alone < whole - 0.03


def test_intervals_of_seven_grades_hold_the_truth(monkeypatch):
    monkeypatch.setattr(coverage_people, "N_RESAMPLES", 100)
    table = drawn("grading", 3, 0.15, 40, 25)
    wide, narrow = held(table), held(narrower(table))
    assert set(wide.index) == {
        "score in grading", "difference in grading", "gain with few labels",
        "share found over people", "mean loss over people",
    }  # fmt: skip
    # Of 25 data sets and some measures of each.
    assert wide.between(0.85, 1).all() and (narrow < wide).all()
    assert table["truth"].notna().all()


def test_means_and_aucs_over_people_hold_the_truth_where_people_are_many():
    table = drawn("likeness", 1, np.nan, 100, 200)
    many = held(table[table["knees"] == 200])
    assert (many > 0.9).all() and set(table["over"]) == {"people alone"}
    few = held(table[table["knees"] == 12])
    assert few["mean over people"] < 0.92
    assert "AUC over people" not in few


@pytest.mark.parametrize("name", ["macro-f1", "truth-over-seeds"])
def test_scores_by_themselves_hold_the_truth(name, monkeypatch):
    many, caches = population, (coverage_means.true_gains, coverage_means.true_macro_f1)
    monkeypatch.setattr(coverage_means, "population", lambda s, rng, **_: many(s, rng, 10, 2000))
    for kept in caches:
        kept.cache_clear()
    table = drawn(name, 1 if name == "macro-f1" else 3, 0.0, 98, 30, MEANS)
    for kept in caches:
        kept.cache_clear()
    assert held(table).between(0.85, 1).all() and table["truth"].notna().all()


@pytest.mark.parametrize("name", PEOPLE)
def test_each_simulation_counts_every_repeat_of_every_measure(name):
    seeds = 1 if name == "likeness" else 2
    table = simulate(name, seeds, 0.15, 30, 3, seed=2)
    assert (table["seeds"] == seeds).all() and table["repeats"].max() >= 3
    # Where no network finds a rare grade, there is nothing that varies.
    none_found = table["interval"] == "share found over people"
    assert (table.loc[~none_found, "width"] > 0).all()
