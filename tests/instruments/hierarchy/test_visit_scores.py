"""Measures of an axis within knees, compared with loops over scipy, scikit-learn, statsmodels."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from oacore.errors import InputError
from oacore.instruments.hierarchy.visit_scores import (
    FAITHFUL,
    VISIT_MARGINS,
    VISIT_MEASURES,
    Courses,
    course_counts,
    faithful,
    visit_contrasts,
    visit_tables,
)
from oacore.instruments.hierarchy.visits import sample_visits
from oacore.metrics.crossed import crossed


@pytest.fixture(scope="module")
def table():
    return sample_visits(40, 4, 2)


@pytest.fixture(scope="module")
def courses(table):
    return Courses(table, 40, 0)


def axis(courses, seed, noise=0.5):
    rng = np.random.default_rng(seed)
    person = rng.normal(0, 1, (len(courses.severity), 1))
    return 1.7 * courses.severity + person + rng.normal(0, noise, courses.severity.shape)


def by_hand(table, scores, severity):
    """The measures of the knees of a table, each by another's hand."""
    long = table.assign(y=scores.ravel(), s=severity.ravel())
    spread = scores[:, 0].std(ddof=1)
    moves = np.ptp(severity, axis=1) > 0
    order = [spearmanr(y, s).statistic for y, s in zip(scores[moves], severity[moves], strict=True)]
    moving = long[np.repeat(moves, severity.shape[1])]
    within = smf.ols("y ~ s + C(knee)", moving).fit().params["s"]
    first = pd.DataFrame({"y": scores[:, 0], "s": severity[:, 0]})
    return {
        "order": np.mean(order),
        "slope": within / spread,
        "wobble": np.sqrt(np.mean([y.var(ddof=1) for y in scores[~moves]])) / spread,
        "apart": roc_auc_score(moves, scores[:, -1] - scores[:, 0]),
        "across": spearmanr(first["y"], first["s"]).statistic,
        "slope_across": smf.ols("y ~ s", first).fit().params["s"] / spread,
    }


def test_measures_are_those_of_others_on_the_knees_and_on_a_resample(table, courses):
    scores = axis(courses, 1)
    found = courses.measured(scores)
    assert set(found) == set(VISIT_MEASURES) == set(VISIT_MARGINS)
    for place in (0, 7):  # the sample, and a resample: each knee as often as it was drawn
        drawn = np.repeat(np.arange(40), courses.counts[place].astype(int))
        again = pd.DataFrame({"knee": np.repeat(np.arange(len(drawn)), 4)})
        expected = by_hand(again, scores[drawn], courses.severity[drawn])
        for name, value in expected.items():
            assert found[name][place] == pytest.approx(value), (place, name)
    # Neither another unit nor another origin of the axis is a difference.
    for name, value in courses.measured(5 * scores - 3).items():
        np.testing.assert_allclose(value, found[name])


def test_a_true_axis_and_two_that_are_half_true(courses):
    severity, first = courses.severity, courses.severity[:, :1]
    perfect = courses.measured(severity)
    assert perfect["order"][0] == perfect["across"][0] == 1
    assert perfect["wobble"][0] == 0 and perfect["apart"][0] == 1
    assert perfect["slope"][0] == pytest.approx(1 / first.std(ddof=1))
    assert perfect["slope"][0] == pytest.approx(perfect["slope_across"][0])
    rng = np.random.default_rng(0)
    frozen = courses.measured(first + rng.normal(0, 0.05, severity.shape))
    assert frozen["across"][0] > 0.95 and abs(frozen["order"][0]) < 0.3
    personal = courses.measured(severity + 20 * rng.normal(size=first.shape))
    assert personal["order"][0] == 1 and abs(personal["across"][0]) < 0.4


def test_curves_are_means_of_bins(table, courses):
    scores = np.stack([axis(courses, seed) for seed in (1, 2)])
    found = courses.curves(scores)
    spread = scores[:, :, 0].std(axis=1, ddof=1)
    severity = courses.severity
    here = (severity[:, 0] >= 1.5) & (severity[:, 0] < 2.5)
    across = found[found["curve"] == "across knees"]
    row = across.iloc[(across["x"] - 2).abs().argmin()]
    level = scores[:, :, 0].mean(axis=1)
    assert row["knees"] == here.sum() and row["x"] == pytest.approx(severity[here, 0].mean())
    assert row["value"] == pytest.approx(
        np.mean((scores[:, here, 0].mean(axis=1) - level) / spread)
    )
    rise = (severity - severity[:, :1])[:, 1:]
    moved = (scores - scores[:, :, :1])[:, :, 1:]
    inside = (rise >= 0.5) & (rise < 1) & courses.changing[:, None]
    row = found[(found["curve"] == "within knees") & found["x"].between(0.5, 1)].iloc[0]
    assert row["knees"] == inside.any(axis=1).sum()
    assert row["value"] == pytest.approx(np.mean([one[inside].mean() for one in moved] / spread))
    stable = found[found["curve"] == "stable knees"].iloc[0]
    assert stable["x"] == 0 and stable["knees"] == (~courses.changing).sum()
    assert (found["knees"] >= 5).all() and (found["low"] <= found["value"]).all()


def of_networks(courses, noises, seeds=4):
    return {
        ("pc1", name): courses.over_seeds(
            np.stack([axis(courses, 10 * place + seed, noise) for seed in range(seeds)])
        )
        for place, (name, noise) in enumerate(noises.items())
    }


def test_networks_are_compared_as_the_design_says(courses):
    values = of_networks(courses, {"untrained": 30.0, "single_kl": 3.0, "dual": 0.1})
    found = visit_contrasts(values)
    primary = found[found["primary"]]
    assert primary[["network", "reference", "measure"]].to_numpy().tolist() == [
        ["dual", "single_kl", "order"], ["dual", "single_kl", "slope"],
    ]  # fmt: skip
    order = primary.iloc[0]
    difference = values["pc1", "dual"]["order"] - values["pc1", "single_kl"]["order"]
    assert (
        order["value"] == pytest.approx(crossed(difference)["value"]) and order["found"] == "gain"
    )
    assert faithful(found) == "more"
    wobble = found[(found["reference"] == "single_kl") & (found["measure"] == "wobble")].iloc[0]
    assert wobble["value"] < 0 and wobble["found"] == "gain"  # less is better
    same = visit_contrasts({**values, ("pc1", "dual"): values["pc1", "single_kl"]})
    assert faithful(same) == "none" and (same.loc[same["primary"], "value"] == 0).all()
    # Course against cross-section, of each network.
    own = found[found["reference"] == "across knees"].set_index("network")
    assert own.index.tolist() == ["untrained", "single_kl", "dual"]
    dual = values["pc1", "dual"]
    assert own.loc["dual", "value"] == pytest.approx(
        np.mean(dual["slope"][:, 0] - dual["slope_across"][:, 0])
    )
    with pytest.raises(InputError, match="no Dual minus Single-KL"):
        faithful(found[~found["primary"]])


@pytest.mark.parametrize(
    ("order", "slope", "said"),
    [
        ("gain", "gain", "more"), ("gain", "none", "more"), ("none", "gain", "more"),
        ("loss", "none", "less"), ("loss", "loss", "less"), ("none", "none", "none"),
        ("gain", "loss", "mixed"), ("gain", "undecided", "undecided"),
        ("undecided", "loss", "undecided"), ("none", "undecided", "undecided"),
        ("undecided", "undecided", "undecided"),
    ],
)  # fmt: skip
def test_the_verdict_follows_from_both_primary_outcomes(order, slope, said):
    found = pd.DataFrame({"primary": [True, True, False], "found": [order, slope, "loss"]})
    assert faithful(found) == said and said in FAITHFUL


def test_a_course_is_counted(table):
    found = course_counts(table).set_index("course")
    assert found["knees"].to_dict() == {"stable": 10, "slow": 15, "fast": 15}
    assert list(found.index) == ["stable", "slow", "fast"] and found.loc["stable", "rise"] == 0
    fast = table[table["course"] == "fast"]
    assert found.loc["fast", "first"] == pytest.approx(fast[fast["visit"] == 1]["severity"].mean())
    assert found.loc["fast", "last"] == pytest.approx(fast[fast["visit"] == 4]["severity"].mean())
    assert (
        found.loc["stable", "changed_grade"] == 0 and 0.9 < found.loc["fast", "changed_grade"] <= 1
    )


def test_tables_are_aggregates(table, courses):
    read = {
        "untrained": {"pc1": np.stack([axis(courses, s, 9) for s in range(3)])},
        "dual": {name: np.stack([axis(courses, s) for s in range(3)]) for name in ("pc1", "grade")},
        "single_kl": {"pc1": np.stack([axis(courses, s) for s in range(3)])},
    }
    found = visit_tables(table, read, 20, 0)
    assert set(found) == {"scores", "contrasts", "curves", "by_seed", "knees"}
    assert len(found["scores"]) == 4 * len(VISIT_MEASURES)
    assert len(found["by_seed"]) == 3 * 4 * len(VISIT_MEASURES)
    for name in found:
        assert "knee" not in found[name] and len(found[name]) < 100
    with pytest.raises(InputError, match="all stable or all changing"):
        Courses(table[table["course"] == "stable"], 10, 0)
