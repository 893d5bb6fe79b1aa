"""Figures of the experiment: what they show, and their power against simulation."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from oacore.errors import InputError
from oacore.instruments.hierarchy.figures import (
    KNEES,
    TRUTHS,
    forest,
    outlines,
    seen,
    what_knees_see,
)
from oacore.record import RECORDS, read

METRICS = ["kl_auc", "kl_acc", "kl_f1"]


@pytest.fixture
def effects():
    """The paper's nine effects on its 98 knees, as recorded."""
    table = read(RECORDS / "09-published-record" / "stats.csv")
    return table[table["metric"].isin(METRICS)][["backbone", "metric", "value", "se"]]


def rows():
    names = ["dual", "shuffled", "logistic"]
    return pd.DataFrame(
        {
            "arm": names, "reference": "single_kl", "measure": "kl_auc",
            "value": [0.03, 0.0, -0.05], "low": [0.01, -0.015, -0.1], "high": [0.05, 0.015, 0.0],
            "none_low": [0.013, -0.012, -0.09], "none_high": [0.047, 0.012, -0.01],
            "margin": 0.02, "found": ["gain", "none", "undecided"], "q_value": [0.01, 0.9, 0.06],
            "better": [1.0, 0.5, 0.2],
        }
    )  # fmt: skip


def test_forest_has_each_arm_once_and_the_margin():
    fig = forest(rows(), "kl_auc", "single_kl")
    marks = [trace for trace in fig.data if trace.mode == "markers"]
    assert [trace.name for trace in marks] == ["gain", "none", "undecided"]
    assert [trace.x[0] for trace in marks] == [0.03, 0.0, -0.05]
    assert list(fig.layout.yaxis.ticktext) == ["Dual", "Shuffled hierarchy", "Logistic regression"]
    band = next(shape for shape in fig.layout.shapes if shape.type == "rect")
    assert (band.x0, band.x1) == (-0.02, 0.02)
    with pytest.raises(InputError, match="no row"):
        forest(rows(), "kl_auc", "dual")


def test_a_measure_without_a_margin_has_no_band():
    fig = forest(rows().assign(measure="kl_acc", margin=np.nan), "kl_acc", "single_kl")
    assert all(shape.type != "rect" for shape in fig.layout.shapes)


def test_what_is_seen_by_hand():
    one = pd.DataFrame({"backbone": ["m3t"], "metric": ["kl_auc"], "value": [0.1], "se": [0.05]})
    table = seen(one, 98, 392).set_index("truth")
    assert table.loc["none", "power"] == pytest.approx(0.05)
    # Squares of what 98 knees add, 98 x .05^2 + .1^2: all variance where there is no effect.
    assert table.loc["none", "high"] == pytest.approx(1.959964 * (0.255 / 392) ** 0.5)
    assert table.loc["theirs", "low"] == pytest.approx(0.1 - 1.959964 * 0.025)
    # Four standard errors: found where |z + 4| > 1.96.
    assert table.loc["theirs", "power"] == pytest.approx(norm.cdf(4 - 1.959964), abs=1e-6)


#: Knees of each grade as in the paper's test set.
GRADE_OF = np.repeat(np.arange(5), [21, 12, 22, 28, 15])


def invented(gain, seed):
    """Probabilities of grades that two networks give 98 knees; the first sees `gain` more."""
    rng = np.random.default_rng(seed)
    common, single, dual = rng.normal(size=(3, 98))
    for sees, own in ((0.6 + gain, dual), (0.6, single)):
        where = sees * (GRADE_OF - 2) + 0.6 * common + 0.8 * own
        near = np.exp(-((where[:, None] - 0.8 * np.arange(-2, 3)) ** 2))
        yield near / near.sum(axis=1, keepdims=True)


def metric_of(name, counts, grade, given):
    """A metric of samples that hold each knee `counts` times, written apart from the package's."""
    said, parts = given.argmax(axis=1), []
    if name == "kl_acc":
        return counts @ torch.tensor(grade == said).double() / counts.sum(1)
    for g in range(5):
        own, called = (torch.tensor(one == g).double() for one in (grade, said))
        if name == "kl_f1":
            parts.append(2 * (counts @ (own * called)) / (counts @ own + counts @ called))
            continue
        score, other = given[grade == g, g][:, None], given[grade != g, g]
        wins = torch.tensor((score > other) + 0.5 * (score == other))
        here, rest = counts[:, grade == g], counts[:, grade != g]
        parts.append(((here @ wins) * rest).sum(1) / (here.sum(1) * rest.sum(1)))
    return torch.stack(parts).mean(0)


def by_sklearn(name, grade, given):
    if name == "kl_auc":
        return roc_auc_score(grade, given, multi_class="ovr", average="macro")
    said = given.argmax(axis=1)
    if name == "kl_acc":
        return accuracy_score(grade, said)
    return f1_score(grade, said, average="macro")


class World:
    """Knees on which a share `w` keeps what two networks say, and the others exchange it."""

    def __init__(self, name, gain, seed):
        dual, single = invented(gain, seed)
        self.name, self.grade = name, np.tile(GRADE_OF, 2)
        self.first, self.second = np.vstack([dual, single]), np.vstack([single, dual])
        known = [by_sklearn(name, GRADE_OF, given) for given in (dual, single)]
        self.theirs = known[0] - known[1]
        assert self.effect(1) == pytest.approx(self.theirs, abs=1e-12)

    def difference(self, counts):
        given = (self.first, self.second)
        first, second = (metric_of(self.name, counts, self.grade, one) for one in given)
        return first - second

    def effect(self, w):
        return self.difference(torch.tensor(np.repeat([[w, 1 - w]], 98, axis=1)).double()).item()

    def samples(self, w, at, n, seed):
        """Differences that samples of knees show, and what each says of its standard error."""
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(at, np.repeat([w, 1 - w], 98) / 98, n)
        has = [np.isin(self.grade, g) @ drawn.T > 1 for g in range(5)]  # else no AUC, no error
        counts = torch.tensor(drawn[np.all(has, axis=0)], dtype=torch.float64, requires_grad=True)
        shown = self.difference(counts)
        shown.sum().backward()
        # The infinitesimal jackknife: how a sample's difference moves with the weight of each knee.
        se = (counts * counts.grad**2).sum(1).sqrt() * (at / (at - 1)) ** 0.5
        return shown.detach().numpy(), se.detach().numpy()


@cache
def world_and_error(gain, seed, metric):
    world = World(metric, gain, seed)
    return world, world.samples(1, 98, 6000, 0)[0].std()


# One network sees about as much more than the other as in the paper's largest effects, and less.
@pytest.mark.parametrize(
    ("gain", "seed", "at"), [(0.45, 1, 98), (0.45, 1, 200), (0.45, 1, 481), (0.45, 5, 98)]
)
@pytest.mark.parametrize("metric", METRICS)
def test_power_agrees_with_simulation(gain, seed, at, metric):
    world, se = world_and_error(gain, seed, metric)
    table = pd.DataFrame({"backbone": ["m3t"], "metric": [metric], "value": [world.theirs]})
    said = seen(table.assign(se=se), 98, at).set_index("truth")
    half = brentq(lambda w: world.effect(w) - world.theirs / 2, 0.5, 1)
    for truth, w in {"none": 0.5, "half of theirs": half, "theirs": 1}.items():
        shown, own = world.samples(w, at, 6000, 1)
        found = (np.abs(shown / own) > norm.isf(0.025)).mean()
        assert said.loc[truth, "power"] == pytest.approx(found, abs=0.03), truth
        inside = (said.loc[truth, "low"] < shown) & (shown < said.loc[truth, "high"])
        assert inside.mean() == pytest.approx(0.95, abs=0.03), truth


def test_outlines_are_normal_densities(effects):
    table = seen(effects, 98, 200)
    shown, density = outlines(table)
    assert shown.shape == density.shape == (27, 25)
    law = norm(table["value"], (table["high"] - table["value"]) / norm.ppf(0.975))
    np.testing.assert_allclose(density, law.pdf(shown.T).T, rtol=1e-9)
    np.testing.assert_allclose(law.cdf(table["high"]) - law.cdf(table["low"]), 0.95)
    # All but what lies beyond three standard errors.
    area = trapezoid(density, shown, axis=1)
    np.testing.assert_allclose(area, norm.cdf(3) - norm.cdf(-3), atol=1e-3)


@pytest.mark.parametrize("step", range(len(KNEES)))
def test_drawn_outlines_are_on_one_scale_at_each_number_of_knees(effects, step):
    fig = what_knees_see(effects, 98)
    chosen = fig.layout.sliders[0].steps[step]
    table, scale = seen(effects, 98, int(chosen.label)), []
    change, labels, _ = chosen.args
    for i, truth in enumerate(TRUTHS):
        part = table[table["truth"] == truth]
        x, y = np.array([change["x"][i], fig.data[i].y], dtype=float)
        gaps = np.flatnonzero(np.isnan(x))
        assert np.isnan(y[gaps]).all()
        lines = zip(*(np.split(line, gaps) for line in (x, y)), part.itertuples(), strict=True)
        for place, (across, up, row) in enumerate(lines):
            across, up = across[-25:], up[-25:]
            assert np.abs(up - place).max() < 0.5  # no outline reaches another's row
            law = norm(row.value, (row.high - row.low) / 2 / norm.ppf(0.975))
            height = up.max() - up
            scale.append(height.max() / (law.pdf(row.value) - law.pdf(across[0])))
            inside = (across >= row.low) & (across <= row.high)
            share = trapezoid(height[inside], across[inside]) / trapezoid(height, across)
            assert share == pytest.approx(0.95, abs=0.04)  # points are a quarter of an error apart
            said = labels[f"annotations[{9 * i + place}].text"]
            assert said == f"{row.power:.0%}"
            assert labels[f"annotations[{9 * i + place}].x"] == pytest.approx(row.high, abs=1e-4)
    np.testing.assert_allclose(scale, np.mean(scale), rtol=0.02)
    assert len(fig.to_json()) < 150_000


def test_nine_effects_and_a_slider(effects):
    assert len(effects) == 9
    fig = what_knees_see(effects, 98)
    assert [trace.name for trace in fig.data][-1] == "published"
    np.testing.assert_allclose(fig.data[-1].x, effects["value"])
    (slider,) = fig.layout.sliders
    assert [int(step.label) for step in slider.steps] == list(KNEES)
    assert slider.steps[slider.active].label == "98"
    widths = [step.args[0]["error_x.array"][3][0] for step in slider.steps]
    assert widths == sorted(widths, reverse=True)
    assert list(slider.steps[-1].args[-1]) == [0, 1, 2, 3, 4, 5]
