"""What the intervals of the hierarchy's chapters hold, in small, and what they do not speak of."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from tests.workflow.test_coverage_single import held, narrower
from workflow import coverage_hierarchy
from workflow.coverage import simulate
from workflow.coverage_hierarchy import HIERARCHY, true_scores
from workflow.coverage_models import CUTS, knees, network, population, probabilities, twins


def drawn(name, seeds, spread, n, repeats):
    make, _, _ = HIERARCHY[name]
    found = [make(seeds, spread, n, np.random.default_rng([9, k])) for k in range(repeats)]
    table = pd.concat(found, ignore_index=True)
    setting = {"seeds": seeds, "spread": spread, "knees": n}
    return table.assign(**{k: v for k, v in setting.items() if k not in table})


def test_scores_differences_and_90_percent_intervals_of_arms_hold_the_truth():
    # Four measures on two numbers of knees: of 60 repeats each, which share their data sets.
    table = drawn("arms", 3, 0.15, 60, 60)
    wide, narrow = held(table), held(narrower(table))
    assert (wide.drop("90% interval of arms") > 0.92).all(), wide
    assert 0.82 < wide["90% interval of arms"] < 0.97
    assert (narrow < wide - 0.02).all(), narrow
    assert set(table["over"]) == {"seeds and knees"}


def test_what_noise_adds_holds_zero_and_would_not_were_it_a_fifth_narrower():
    table = drawn("added", 3, 0.15, 98, 120)
    (wide,), (narrow,) = held(table), held(narrower(table))
    assert wide > 0.91 and narrow < wide - 0.02


def test_a_share_of_repeats_speaks_of_these_knees_and_not_of_others(monkeypatch):
    monkeypatch.setattr(coverage_hierarchy, "MANY_SEEDS", 300)
    found = held(drawn("repeats-won", 30, 0.0, 98, 100))
    assert found["share of repeats won"] > 0.9
    assert found["share of repeats won, other knees"] < 0.7


def test_repeats_on_the_same_knees_do_not_speak_of_other_training_knees(monkeypatch):
    monkeypatch.setattr(coverage_hierarchy, "TRAININGS", 60)
    coverage_hierarchy.true_of_folds.cache_clear()
    table = drawn("folds", 5, np.nan, 40, 50)
    coverage_hierarchy.true_of_folds.cache_clear()
    found = held(table[table["measure"] == "kl_kappa"])
    anew = found["difference by cross-validation, labels anew"]
    assert anew > 0.9 and found["difference by cross-validation"] < anew


@pytest.mark.parametrize("name", HIERARCHY)
def test_each_simulation_counts_every_repeat_of_every_measure(name, monkeypatch):
    monkeypatch.setattr(coverage_hierarchy, "TRAININGS", 2)
    coverage_hierarchy.true_of_folds.cache_clear()
    table = simulate(name, 2, 0.15, 40, 3, seed=2)
    coverage_hierarchy.true_of_folds.cache_clear()
    assert (table["seeds"] == 2).all() and table["repeats"].max() >= 3
    assert table["repeats"].min() >= 2 and (table["width"] > 0).all()
    of_90 = table["interval"].str.startswith("90%")
    assert (table["nominal"] == np.where(of_90, 0.9, 0.95)).all()


def test_a_true_score_is_that_of_very_many_knees_and_seeds():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(60):
        severity, kl, picture = knees(3000, rng)
        (reading,) = network(severity, picture, 1, 0.15, rng)
        grades = probabilities(reading)
        found.append(
            {
                "kl_auc": roc_auc_score(kl, grades, multi_class="ovr"),
                "kl_kappa": cohen_kappa_score(kl, grades.argmax(1), weights="quadratic"),
                "kl_acc": (kl == grades.argmax(1)).mean(),
                "kl_rps": (
                    (grades.cumsum(1) - (kl[:, None] <= np.arange(5))) ** 2
                ).sum(1).mean() / 4,
            }
        )  # fmt: skip
    mean, error = pd.DataFrame(found).mean(), pd.DataFrame(found).std() / np.sqrt(60)
    for name, true in true_scores(0.15).items():
        assert abs(mean[name] - true) < 4 * error[name] + 0.001, name


def test_twins_are_networks_that_share_half_and_a_person_has_two_knees_alike():
    rng = np.random.default_rng(4)
    severity, kl, picture = knees(40_000, rng, 0.7)
    assert np.corrcoef(severity[::2], severity[1::2])[0, 1] == pytest.approx(0.7, abs=0.02)
    assert np.corrcoef(severity[1:-1:2], severity[2::2])[0, 1] == pytest.approx(0, abs=0.02)
    assert np.bincount(kl)[0] / 40_000 == pytest.approx(norm.cdf(CUTS[0] / 1.044), abs=0.01)
    both = twins(severity, picture, 3, 0.0, rng)
    alone = network(severity, picture, 3, 0.0, rng)
    assert both.shape == (2, *alone.shape)
    rest, single = both - severity - picture, alone - severity - picture
    assert rest.var() == pytest.approx(single.var(), rel=0.03)
    # 0.3 ** 2 + 0.5 ** 2 in all, of which two arms share half under a seed.
    of_a_seed = np.cov(rest[0, 0], rest[1, 0])[0, 1]
    assert of_a_seed == pytest.approx((0.09 + 0.25) / 2, rel=0.05)
    assert np.cov(rest[0, 0], rest[1, 1])[0, 1] == pytest.approx(0.09 / 2, rel=0.1)


def test_the_seeds_of_a_population_lie_evenly():
    slopes = [
        np.polyfit(severity, reading, 1)[0]
        for severity, _, reading in population(0.3, np.random.default_rng(5), seeds=50)
    ]
    assert np.mean(slopes) == pytest.approx(1, abs=0.01)
    assert np.std(slopes) == pytest.approx(0.3, abs=0.03) and np.all(np.diff(slopes) > -0.05)
