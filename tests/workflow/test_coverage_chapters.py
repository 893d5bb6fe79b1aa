"""What chapter 16's, 21's and 22's intervals hold, in small, and that their truth is the truth."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from oacore.instruments.hierarchy.artefact_scores import ANEW, RUNNING
from oacore.instruments.hierarchy.visit_axes import by_knee
from tests.workflow.test_coverage_single import held, narrower
from workflow import coverage_visits
from workflow.coverage import simulate
from workflow.coverage_artefact import ARTEFACT, running, true_with
from workflow.coverage_hierarchy import true_scores
from workflow.coverage_models import knees, network, probabilities
from workflow.coverage_pictures import PICTURES
from workflow.coverage_visits import OWN, PERSON, SCAN, SEED, VISITS, of_bin, some_knees

MAKERS = VISITS | ARTEFACT | PICTURES


def drawn(name, seeds, spread, n, repeats):
    make, _, _ = MAKERS[name]
    found = [make(seeds, spread, n, np.random.default_rng([13, k])) for k in range(repeats)]
    table = pd.concat(found, ignore_index=True)
    setting = {"seeds": seeds, "spread": spread, "knees": n}
    return table.assign(**{k: v for k, v in setting.items() if k not in table})


@pytest.fixture
def fewer(monkeypatch):
    kept = [getattr(coverage_visits, n) for n in ("population", "_courses", "true_at_visits")]
    monkeypatch.setattr(coverage_visits, "MANY", 1000)
    monkeypatch.setattr(coverage_visits, "MANY_SEEDS", 4)
    for one in kept:
        one.cache_clear()
    yield
    for one in kept:
        one.cache_clear()


def test_intervals_at_visits_hold_the_truth_and_would_not_were_they_a_fifth_narrower(fewer):
    table = drawn("visits", 3, 0.15, 98, 20)
    whole = table[table["knees"] == 120]
    wide, narrow = held(whole), held(narrower(whole))
    assert set(wide.index) == {
        "score at visits", "difference at visits", "90% interval at visits",
        "rise within less across", "point of a curve",
    }  # fmt: skip
    # Of 20 data sets and some measures of each.
    assert wide.between(0.8, 1).all() and (narrow <= wide).all() and narrow.sum() < wide.sum() - 0.1
    assert table["truth"].notna().all() and set(whole["over"]) == {"seeds and knees"}
    assert set(table["knees"]) == {8, 120}


def test_a_true_wobble_is_noise_by_spread(fewer):
    truth = coverage_visits.true_at_visits(0.0, 5)
    table = coverage_visits.population(5)
    first = by_knee(table, table["severity"])[:, 0].var(ddof=1)
    noise = SCAN**2 + OWN**2 + SEED**2
    expected = np.sqrt(noise / (first + PERSON**2 + noise))
    assert truth["score at visits", "wobble"] == pytest.approx(expected, rel=0.04)
    # A reading rises by 1 a grade, across knees as within them.
    rise = 1 / np.sqrt(first + PERSON**2 + noise)
    assert truth["score at visits", "slope"] == pytest.approx(rise, rel=0.04)
    assert truth["rise within less across", "slope"] == pytest.approx(0, abs=0.03)


def test_knees_of_each_course_are_as_many_as_are_drawn_and_keep_their_visits(fewer):
    table = some_knees(40, 5, np.random.default_rng(0))
    assert table.groupby("course")["knee"].nunique().to_dict() == {
        "stable": 10, "slow": 15, "fast": 15,
    }  # fmt: skip
    assert table["knee"].tolist() == np.repeat(np.arange(1, 41), 5).tolist()
    assert (table.groupby("knee")["severity"].diff().dropna() >= 0).all()


def test_a_bin_is_named_by_its_edges():
    assert of_bin("stable knees", 0.0) == "stable knees"
    assert of_bin("across knees", 1.98) == of_bin("across knees", 2.03) != of_bin("across knees", 3)
    assert of_bin("within knees", 0.7) == "within knees, 0.5 to 1"


def test_intervals_where_runs_collapse_hold_a_difference_and_not_a_score_of_few_seeds():
    table = drawn("artefact", 3, 0.15, 98, 60)
    assert len(set(table["measure"])) == 6  # two measures, by world, and re-estimated
    found = held(table[table["measure"].str.contains("a fifth|^kl_...$")])
    assert found.drop("score with running statistics").between(0.85, 1).all()
    assert found["score with running statistics"] < 0.92


def test_a_collapsed_run_answers_by_chance():
    all_fall = true_with(RUNNING, 1.0, 0.0)
    assert all_fall["kl_auc"] == pytest.approx(0.5, abs=0.005)
    none_falls, anew = true_with(RUNNING, 0.0, 0.0), true_with(ANEW, 0.0, 0.0)
    assert none_falls["kl_auc"] == pytest.approx(anew["kl_auc"], abs=0.01)
    for name in anew:
        half = true_with(RUNNING, 0.5, 0.0)[name]
        assert half == pytest.approx((all_fall[name] + none_falls[name]) / 2)
    rng = np.random.default_rng(0)
    severity, kl, picture = knees(4000, rng)
    said = running(network(severity, picture, 4, 0.0, rng), 1.0, rng)
    for grades in probabilities(said):
        assert roc_auc_score(kl, grades, multi_class="ovr") == pytest.approx(0.5, abs=0.03)


def test_percentile_intervals_of_few_pictures_are_too_short():
    table = drawn("pictures", 1, np.nan, 98, 150)
    share = {n: held(own) for n, own in table.groupby("knees")}
    assert share[12]["mean over pictures"] < 0.93 < share[196]["mean over pictures"]
    near_one = held(table[(table["measure"] == "true AUC 0.99") & (table["knees"] == 48)])
    assert near_one["AUC over pictures"] < 0.88
    assert "KL macro-AUC" not in set(table.loc[table["knees"] == 12, "measure"])
    graded = table[table["measure"] == "KL macro-AUC"]
    assert set(graded["truth"]) == {0.0, true_scores(0.0)["kl_auc"]}


@pytest.mark.parametrize("name", ["visits", "artefact", "pictures"])
def test_each_simulation_counts_every_repeat_of_every_measure(name, fewer):
    seeds = 1 if name == "pictures" else 2
    table = simulate(name, seeds, 0.15, 40, 3, seed=2)
    assert (table["seeds"] == seeds).all() and table["repeats"].max() == 3
    of_90 = table["interval"].str.startswith("90%")
    assert (table["nominal"] == np.where(of_90, 0.9, 0.95)).all()
