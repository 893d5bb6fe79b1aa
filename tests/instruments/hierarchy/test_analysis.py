"""Contrasts and verdicts against statsmodels, SciPy, scikit-learn and simulations."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, ttest_1samp
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from oacore.instruments.hierarchy import analysis
from oacore.instruments.hierarchy.analysis import (
    GAIN,
    LOSS,
    MARGINS,
    NONE,
    REFERENCES,
    UNDECIDED,
    Components,
    components,
    contrast,
    contrasts,
    equivalence_p,
    knees_needed,
    measured,
    power,
    power_table,
    scores,
    seeds_needed,
    share_better,
    verdict,
    verdicts,
    within_folds,
)
from oacore.metrics.clinical import weighted_kappa
from oacore.metrics.resampling import draw_cases
from oacore.metrics.scores import macro_auc

KNEES, SEEDS, RESAMPLES = 150, 10, 100
SHARES = [0.2, 0.33, 0.55, 0.85]


def drawn_arms(rng, gain=0.0, knees=KNEES, seeds=SEEDS):
    """Grades, and probabilities (2, S, n, 5) of two arms that err alike but for a gain in skill.

    What makes a knee hard is shared by both arms, something of it by the seeds of one arm, and
    each seed is better or worse as a whole.
    """
    truth = rng.normal(size=knees)
    kl = np.digitize(truth, np.quantile(truth, SHARES))
    shared = 0.6 * rng.normal(size=knees)
    said = []
    for arm in range(2):
        own = 0.3 * rng.normal(size=knees)
        noise = 0.5 * np.exp(0.2 * rng.normal(size=(seeds, 1))) * rng.normal(size=(seeds, knees))
        said.append((1 + gain * arm) * truth + shared + own + noise)
    centres = np.quantile(truth, [0.1, 0.27, 0.44, 0.7, 0.93])
    logits = -((np.array(said)[..., None] - centres) ** 2)
    prob = np.exp(logits - logits.max(-1, keepdims=True))
    return kl, prob / prob.sum(-1, keepdims=True)


def values_of(kl, prob, counts):
    """The two primary outcomes of arms, (S, 1 + B) each."""
    return [
        {
            "kl_auc": np.stack([macro_auc(counts, kl, one) for one in arm]),
            "kl_kappa": np.stack([weighted_kappa(counts, kl, one.argmax(1)) for one in arm]),
        }
        for arm in prob
    ]


@pytest.fixture(scope="module")
def two():
    kl, prob = drawn_arms(np.random.default_rng(7))
    return values_of(kl, prob, draw_cases(KNEES, RESAMPLES, 0))


def test_measures_are_scikit_learns():
    rng = np.random.default_rng(0)
    kl, prob = drawn_arms(rng)
    grade, once = prob[0, 0], np.ones((1, KNEES))
    second = rng.random(KNEES)
    found = {name: value.item() for name, value in measured(once, kl, grade, second).items()}
    said, oa = grade.argmax(1), kl >= 2
    assert found["kl_auc"] == pytest.approx(roc_auc_score(kl, grade, multi_class="ovr"))
    assert found["kl_kappa"] == pytest.approx(cohen_kappa_score(kl, said, weights="quadratic"))
    assert found["oa_auc"] == pytest.approx(roc_auc_score(oa, grade[:, 2:].sum(1)))
    assert found["oa_auc_head"] == pytest.approx(roc_auc_score(oa, second))
    middle = np.array([np.searchsorted(row.cumsum(), 0.5) for row in grade])
    assert found["kl_kappa_median"] == pytest.approx(
        cohen_kappa_score(kl, middle, weights="quadratic")
    )
    fold = np.arange(KNEES) % 3
    wanted = [roc_auc_score(kl[fold == i], grade[fold == i], multi_class="ovr") for i in range(3)]
    assert within_folds(once, kl, grade, fold).item() == pytest.approx(np.mean(wanted))
    assert set(measured(once, kl, np.full((KNEES, 5), np.nan), second)) == {"oa_auc_head"}


def test_equivalence_is_statsmodels_where_knees_add_nothing():
    rng = np.random.default_rng(1)
    first, second = rng.normal(0, 0.01, (2, 12))
    # The same value on every resample: then only the seeds vary.
    values = [{"kl_auc": np.repeat(one[:, None], 30, axis=1)} for one in (first, second)]
    row = contrast(*values).iloc[0]
    wanted = ttost_paired(second, first, -MARGINS["kl_auc"], MARGINS["kl_auc"])
    assert row["p_none"] == pytest.approx(wanted[0], rel=1e-9)
    assert row["p_value"] == pytest.approx(ttest_1samp(second - first, 0).pvalue, rel=1e-9)
    for margin in (0.001, 0.005, 0.02):
        inside = row["none_low"] > -margin and row["none_high"] < margin
        assert inside == (equivalence_p(row["value"], row["se"], row["df"], margin) < 0.05)


def test_share_better_by_hand():
    found = share_better(np.array([1.0, 2, 0, -1]))
    assert found["better"] == 0.625 and found["better_low"] < 0.5 < found["better_high"] < 1
    assert share_better(np.array([1.0, 2, 0, -1]), less=True)["better"] == 0.375
    always = share_better(np.ones(30))
    assert always["better"] == 1 and 0.85 < always["better_low"] < 1


@pytest.fixture(scope="module")
def null_rows():
    """Contrasts of 200 pairs of arms that are equally good."""
    rows = []
    for repeat in range(200):
        kl, prob = drawn_arms(np.random.default_rng([5, repeat]))
        rows.append(contrast(*values_of(kl, prob, draw_cases(KNEES, RESAMPLES, repeat))))
    return pd.concat(rows)


@pytest.mark.parametrize("measure", list(MARGINS))
def test_without_a_difference_p_is_uniform(null_rows, measure):
    own = null_rows[null_rows["measure"] == measure]
    assert kstest(own["p_value"], "uniform").pvalue > 0.05
    covered = ((own["low"] <= 0) & (own["high"] >= 0)).mean()
    assert 0.9 <= covered <= 0.99


def test_a_known_effect_is_found():
    found = []
    for repeat in range(12):
        kl, prob = drawn_arms(np.random.default_rng([6, repeat]), gain=1.0)
        found.append(contrast(*values_of(kl, prob, draw_cases(KNEES, RESAMPLES, repeat))))
    rows = pd.concat(found)
    assert (rows["p_value"] < 0.05).mean() > 0.9 and (rows["value"] > 0).all()
    assert (rows["p_none"] > 0.05).all() and (rows["better"] > 0.9).mean() > 0.9


def family(two):
    """Values of a main cell, another cell, and peers; Dual equals its controls, but for one."""
    same, other = two
    better = {name: one + 0.2 for name, one in same.items()}
    main = {"single_kl": same, "dual": better, "shuffled": better, "two_kl": other, "sex": other}
    head_alone = {"oa_auc_head": same["kl_auc"]}
    return {
        **{("a", name): values for name, values in {**main, "single_oa": head_alone}.items()},
        ("b", "single_kl"): same, ("b", "dual"): other,
        ("peers", "forest"): {name: one[:3] for name, one in other.items()},
    }  # fmt: skip


def test_families_and_their_adjustment(two):
    table = contrasts(family(two), "a", "peers")
    primary = table[table["primary"]]
    assert set(zip(primary["reference"], primary["measure"], strict=True)) == set(
        product(REFERENCES, MARGINS)
    )
    assert (primary["arm"] == "dual").all() and (primary["cell"] == "a").all()
    pairs = set(zip(table["cell"], table["arm"], table["reference"], strict=True))
    assert ("a", "dual", "shuffled") in pairs and ("a", "shuffled", "dual") not in pairs
    assert {("a", "sex", "single_kl"), ("a", "sex", "dual"), ("b", "dual", "single_kl")} <= pairs
    assert {("peers", "forest", "dual"), ("peers", "forest", "single_kl")} <= pairs
    assert not any("single_oa" in pair for pair in pairs)
    forest = table[table["arm"] == "forest"]
    assert (forest["seeds"] == 3).all()
    defined = primary["p_value"].notna()
    assert (primary["q_value"] >= primary["p_value"])[defined].all()


def test_findings(two):
    base = {"measure": "kl_auc", "p_none": 0.5, "q_value": 0.01, "value": 0.1, "se": 0.03}
    assert analysis.finding(base) == GAIN
    assert analysis.finding({**base, "value": -0.1}) == LOSS
    assert analysis.finding({**base, "q_value": 0.2}) == UNDECIDED
    assert analysis.finding({**base, "q_value": np.nan}) == UNDECIDED
    assert analysis.finding({**base, "p_none": 0.01}) == NONE
    assert analysis.finding({**base, "measure": "kl_rps"}) == LOSS
    undefined = {**base, "p_none": np.nan, "q_value": np.nan, "se": 0.0}
    assert analysis.finding({**undefined, "value": 0.0}) == NONE
    assert analysis.finding(undefined) == UNDECIDED
    said = verdicts(contrasts(family(two), "a", "peers"))
    assert set(said["measure"]) == set(MARGINS) and set(REFERENCES) <= set(said)


def test_every_pattern_has_the_verdict_of_the_design():
    each = (NONE, GAIN, LOSS, UNDECIDED)
    wanted = {
        (GAIN, GAIN): "hierarchy", (NONE, GAIN): "task", (LOSS, GAIN): "task",
        (GAIN, NONE): "capacity", (GAIN, LOSS): "capacity", (UNDECIDED, NONE): "capacity",
        (UNDECIDED, LOSS): "capacity", (NONE, NONE): "anything", (NONE, LOSS): "anything",
        (LOSS, NONE): "anything", (LOSS, LOSS): "anything",
        (NONE, UNDECIDED): "task, perhaps capacity", (LOSS, UNDECIDED): "task, perhaps capacity",
        (GAIN, UNDECIDED): "cause undecided", (UNDECIDED, GAIN): "cause undecided",
        (UNDECIDED, UNDECIDED): "cause undecided",
    }  # fmt: skip
    assert set(wanted) == set(product(each, each))
    for controls, said in wanted.items():
        assert verdict(GAIN, *controls) == said
        assert verdict(NONE, *controls) == "no effect"
        assert verdict(LOSS, *controls) == "harm"
        assert verdict(UNDECIDED, *controls) == "undecided"
    assert {*wanted.values(), "no effect", "harm", "undecided"} == set(analysis.SENTENCES)


def test_scores_and_their_spread(two):
    table = scores({("a", "dual"): two[0]}).set_index("measure")
    own = two[0]["kl_auc"][:, 0]
    assert table.loc["kl_auc", "value"] == pytest.approx(own.mean())
    assert table.loc["kl_auc", "seed_sd"] == pytest.approx(own.std(ddof=1))
    assert (table["low"] < table["value"]).all() and (table["value"] < table["high"]).all()


def test_power_is_statsmodels_without_knees():
    parts = Components(of_seed=0.01**2, of_knee=0.0)
    for seeds in (3, 10, 30):
        found = power(0.006, *parts.error(seeds, 481))
        wanted = TTestPower().power(0.6, seeds, 0.05)
        assert float(found) == pytest.approx(wanted, abs=1e-6)


def test_power_far_out_is_one():
    shifts = np.concatenate([np.linspace(3, 20, 300), [40, 400]])
    for df in (4, 34.3, 61.7, 200, 1000, 1e5):
        found = power(shifts, 1.0, df)
        assert (np.diff(found) >= -1e-4).all() and found[-1] == 1
        np.testing.assert_allclose(found, power(-shifts, 1.0, df), atol=1e-9)


def test_power_agrees_with_simulation():
    # Seeds and knees as the model of the interval has them: 8 seeds, 200 knees.
    parts, seeds, knees, effect = Components(0.02**2, 0.2**2), 8, 200, 0.045
    rng, n = np.random.default_rng(3), 4000
    of_knees = rng.normal(0, (parts.of_knee / knees) ** 0.5, n)
    own = effect + of_knees[:, None] + rng.normal(0, parts.of_seed**0.5, (n, seeds))
    hits = 0
    for one in own:
        # 300 resamples on which all seeds move together, by what knees add.
        moves = rng.normal(0, (parts.of_knee / knees) ** 0.5, 300)
        values = np.column_stack([one, one[:, None] + moves])
        hits += analysis.crossed(values)["p_value"] < 0.05
    assert hits / n == pytest.approx(float(power(effect, *parts.error(seeds, knees))), abs=0.03)


def test_what_is_needed_is_enough_and_no_more():
    parts = Components(0.01**2, 0.3**2)
    knees = knees_needed(parts, 0.03, 30)
    assert power(0.03, *parts.error(30, knees)) >= 0.8 > power(0.03, *parts.error(30, 0.97 * knees))
    seeds = seeds_needed(parts, 0.05, 481)
    assert power(0.05, *parts.error(seeds, 481)) >= 0.8
    assert seeds == 2 or power(0.05, *parts.error(seeds - 1, 481)) < 0.8
    assert seeds_needed(parts, 0.005, 100) == np.inf


def test_power_table_reads_both_components(two):
    values = {("a", name): two[i % 2] for i, name in enumerate(("dual", *REFERENCES))}
    table = power_table(values, "a", KNEES, {"kl_auc": {"half": 0.06, "theirs": 0.12}})
    assert len(table) == 2 * len(REFERENCES)
    own = components(two[1]["kl_auc"] - two[0]["kl_auc"], KNEES)
    assert own.of_knee > 0 and own.of_seed > 0
    few = table[table["effect"] == "half"]["knees"].to_numpy()
    assert (few >= table[table["effect"] == "theirs"]["knees"].to_numpy()).all()
