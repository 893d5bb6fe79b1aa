"""Figures of the room: they draw the numbers of their tables, and sliders change what they say."""

import numpy as np
import pytest

from oacore.errors import InputError
from oacore.instruments.coherence import figures, trial
from oacore.instruments.coherence.mixture import fit_mixture, loss_curves, projected
from oacore.instruments.coherence.patterns import drawn_patterns, pairwise, readings

TAUS = 0.25, 0.5, 0.75, 1, 1.5


@pytest.fixture(scope="module")
def patterns():
    return drawn_patterns(np.arange(500) % 5, seed=0)


def test_the_curves_and_their_slider():
    table = loss_curves(TAUS, np.linspace(-16, 14, 61))
    fig = figures.incoherence_curves(table)
    assert len(fig.data) == 10
    for trace, tau in zip(fig.data, TAUS * 2, strict=True):
        part = table[table["tau"] == tau]
        column = "loss" if trace.yaxis == "y" else "gradient"
        assert trace.name == f"τ = {tau:g}" and np.array_equal(trace.y, part[column])
    steps = fig.layout.sliders[0].steps
    for i, step in enumerate(steps):
        widths = step.args[0]["line.width"]
        assert len(widths) == 10 and np.flatnonzero(np.array(widths) == 4).tolist() == [i, i + 5]
    assert [trace.line.width for trace in fig.data] == list(steps[0].args[0]["line.width"])


def test_the_mixture_turns(patterns):
    mixture = fit_mixture(readings(patterns), seed=0)
    points, centres = projected(patterns, mixture)
    fig = figures.turned_mixture(points, centres)
    assert [trace.name for trace in fig.data] == [*(f"KL {k}" for k in range(5)),
                                                  "component's mean"]  # fmt: skip
    steps = {step.label: step.args[0]["x"] for step in fig.layout.sliders[0].steps}
    assert len(steps) == 24
    third = points[points["kl"] == 3]
    assert np.allclose(fig.data[3].x, third["pc2"], atol=1e-3)
    assert np.allclose(steps["0°"][3], fig.data[3].x)
    assert np.allclose(steps["90°"][3], third["pc3"], atol=1e-3)
    assert np.allclose(steps["180°"][5], -centres["pc2"], atol=1e-3)
    # Whatever the angle, all stays in sight.
    left, right = fig.layout.xaxis.range
    assert all(left < min(x) and max(x) < right for step in steps.values() for x in step)
    # A mark's area is its knees.
    size = fig.data[0].marker.size[0] - 4
    other = fig.data[3].marker.size[0] - 4
    knees = points.loc[points["kl"] == 0, "count"].iloc[0], third["count"].iloc[0]
    assert (size / other) ** 2 == pytest.approx(knees[0] / knees[1])
    assert "KL 3" in fig.data[3].text[0] and f"{knees[1]} knees" in fig.data[3].text[0]


def test_grades_that_go_together(patterns):
    table = pairwise(patterns)
    fig = figures.grades_together(table)
    z = np.array(fig.data[0].z, float)
    names = list(fig.data[0].x)
    assert z.shape == (29, 29) and names == list(fig.data[0].y) and names[0] == "KL 0"
    row = table.query("given == 'KL 4' and found == 'JSN medial 3'")["share"].item()
    assert z[names.index("KL 4"), names.index("JSN medial 3")] == row > 0.3
    assert len(fig.layout.shapes) == 12  # six lines each way, between seven heads


def test_bars_of_the_trial(patterns):
    found = trial.held_out(patterns, seeds=[0, 1])
    aucs = found[found["measure"] != trial.SPEARMAN]
    fig = figures.told_apart(aucs)
    assert len(fig.data) == 3
    first = aucs[aucs["measure"] == fig.data[0].name].groupby("score")["value"].mean()
    drawn = dict(zip(fig.data[0].y, fig.data[0].x, strict=True))
    assert drawn == pytest.approx(first.to_dict())


def test_tables_that_lack_something(patterns):
    with pytest.raises(InputError, match="lacks the column 'gradient'"):
        figures.incoherence_curves(loss_curves(TAUS, [0]).drop(columns="gradient"))
    with pytest.raises(InputError, match="no row"):
        figures.grades_together(pairwise(patterns)[:0])
