"""Figures of the experiment: what they show, and their power against simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from oacore.errors import InputError
from oacore.instruments.hierarchy.figures import KNEES, TRUTHS, forest, seen, what_knees_see
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
    assert table.loc["theirs", "low"] == pytest.approx(0.1 - 1.959964 * 0.025)
    # Four standard errors: found where |z + 4| > 1.96.
    assert table.loc["theirs", "power"] == pytest.approx(norm.cdf(4 - 1.959964), abs=1e-6)


@pytest.mark.parametrize(("truth", "share"), TRUTHS.items())
def test_power_agrees_with_simulation(truth, share):
    # Two models are right and wrong on knees as ResNet3D's Dual and Single-KL are: one alone right
    # on 27 and on 6 of 98. Half the effect: half of the difference changes sides.
    right = np.array([6 + 10.5 * (1 - share), 27 - 10.5 * (1 - share)]) / 98
    p = [right[1], right[0], 1 - right.sum()]
    rng, n, knees = np.random.default_rng(0), 20000, 98
    drawn = rng.multinomial(knees, p, n)
    difference = (drawn[:, 0] - drawn[:, 1]) / knees
    se = np.sqrt(((drawn[:, 0] + drawn[:, 1]) / knees - difference**2) / knees)
    found = (np.abs(difference / se) > norm.isf(0.025)).mean()
    effect = right[1] - right[0]
    true_se = np.sqrt((right.sum() - effect**2) / knees)
    table = pd.DataFrame({"backbone": ["resnet3d"], "metric": ["kl_acc"], "value": [effect]})
    said = seen(table.assign(se=true_se), knees, knees).set_index("truth")
    assert said.loc["theirs", "power"] == pytest.approx(found, abs=0.03)


def test_nine_effects_and_a_slider(effects):
    assert len(effects) == 9
    fig = what_knees_see(effects, 98)
    assert [trace.name for trace in fig.data][-1] == "published"
    np.testing.assert_allclose(fig.data[-1].x, effects["value"])
    (slider,) = fig.layout.sliders
    assert [int(step.label) for step in slider.steps] == list(KNEES)
    assert slider.steps[slider.active].label == "98"
    widths = [step.args[0]["error_x.array"][0][0] for step in slider.steps]
    assert widths == sorted(widths, reverse=True)
    assert list(slider.steps[-1].args[1]) == [0, 1, 2]
