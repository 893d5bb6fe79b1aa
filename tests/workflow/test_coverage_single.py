"""What intervals of one network or of a cohort hold, in small, and that narrower ones do not."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, spearmanr

from workflow import coverage_single
from workflow.coverage_models import CUTS
from workflow.coverage_record import counted
from workflow.coverage_single import SINGLE, true_spearman

SETTING = {"seeds": 1, "spread": 0.0, "knees": 98, "over": "knees alone"}


def drawn(name, repeats):
    make, _, spreads = SINGLE[name]
    found = [make(1, spreads[0], 98, np.random.default_rng([7, k])) for k in range(repeats)]
    table = pd.concat(found, ignore_index=True)
    return table.assign(**{k: v for k, v in SETTING.items() if k not in table})


def narrower(table):
    """The same intervals, a fifth narrower about their middles."""
    middle, half = (table["low"] + table["high"]) / 2, (table["high"] - table["low"]) / 2
    return table.assign(low=middle - 0.8 * half, high=middle + 0.8 * half)


def held(table):
    """Share of each interval's simulations in which it held the truth."""
    rows = counted(table)
    rows["held"] = rows["covered"] * rows["repeats"]
    sums = rows.groupby("interval")[["held", "repeats"]].sum()
    return sums["held"] / sums["repeats"]


@pytest.mark.parametrize(
    ("name", "repeats", "least"),
    [
        ("groups", 60, 0.935),
        ("baselines", 60, 0.93),
        ("facts", 60, 0.935),
        ("maps", 300, 0.9),
        ("games", 150, 0.925),
        ("follows", 60, 0.9),
    ],
)
def test_intervals_hold_the_truth_and_would_not_were_they_a_fifth_narrower(name, repeats, least):
    table = drawn(name, repeats)
    wide, narrow = held(table), held(narrower(table))
    assert (wide >= least).all(), wide
    assert (narrow < least).all(), narrow


@pytest.mark.parametrize("name", ["published", "true-grades", "printed-axes"])
def test_intervals_of_given_networks_have_a_truth_each(name, monkeypatch):
    monkeypatch.setattr(coverage_single, "MANY", 3000)
    for kept in ("_published", "_against_truth", "_printed_axis"):
        getattr(coverage_single, kept).cache_clear()
    table = drawn(name, 4)
    for kept in ("_published", "_against_truth", "_printed_axis"):
        getattr(coverage_single, kept).cache_clear()
    assert table["truth"].notna().all() and (table["low"] <= table["high"]).all()
    rows = counted(table)
    assert rows["covered"].mean() > 0.7
    nominal = rows.set_index("interval")["nominal"]
    assert (nominal[nominal.index.str.startswith("90%")] == 0.9).all()


@pytest.mark.parametrize("rho", [0.0, 0.3, -0.8])
def test_the_true_rank_correlation_is_that_of_very_many_knees(rho):
    rng = np.random.default_rng(0)
    x, own = rng.normal(size=(2, 400_000))
    y = rho * x + np.sqrt(1 - rho**2) * own
    # A correlation of so many knees has a standard error of .0016.
    found = spearmanr(x, np.searchsorted(CUTS, y)).statistic
    assert true_spearman(rho) == pytest.approx(found, abs=0.006)
    assert norm.cdf(CUTS[0]) == pytest.approx(21 / 98, abs=0.01)
