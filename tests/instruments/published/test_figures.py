"""Figures of the published record show the numbers they are given."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix

from oacore.errors import InputError
from oacore.instruments.published import figures
from oacore.instruments.published.counts import agreement, answers, models_right
from oacore.metrics.calibration import by_grade, reliability
from oacore.metrics.decisions import decision_curves
from oacore.names import ANSWER_NAMES, BACKBONE_NAMES
from tests.helpers import model


def nine(n=60):
    kl = np.arange(n) % 5
    tables = [
        model(i, n, supervision, kl=kl).assign(backbone=backbone, seed=0)
        for i, (backbone, supervision) in enumerate(
            (b, s) for b in BACKBONE_NAMES for s in ("single_oa", "single_kl", "dual")
        )
    ]
    return pd.concat(tables, ignore_index=True)


def test_twelve_confusion_matrices_are_scikit_learns():
    table = nine()
    counted = answers(table)
    fig = figures.confusion_grid(counted, BACKBONE_NAMES)
    assert len(fig.data) == 12
    panels = iter(fig.data)
    for backbone in BACKBONE_NAMES:
        for supervision, level in ANSWER_NAMES:
            own = (table["backbone"] == backbone) & (table["supervision"] == supervision)
            rows = table[own]
            expected = confusion_matrix(rows[level], rows[f"pred_{level}"].astype(int))
            assert np.array_equal(next(panels).text, expected)
    with pytest.raises(InputError, match="lacks the column 'answer'"):
        figures.confusion_grid(counted.drop(columns="answer"), BACKBONE_NAMES)


def test_each_difference_stands_beside_its_band():
    table = pd.DataFrame(
        {"backbone": ["resnet3d", "resnet3d", "m3t"], "metric": ["kl_auc", "kl_f1", "kl_auc"],
         "value": [0.12, -0.03, 0.05], "detectable": [0.1, 0.14, 0.08]}
    )  # fmt: skip
    fig = figures.beside_detectable(table)
    band, found, *_ = fig.data
    assert (band.name, found.name) == ("smaller than detectable", "found")
    assert list(found.x) == [0.12, -0.03] and list(found.error_x.array) == [0, 0]
    assert list(band.x) == [0, 0]
    assert list(band.error_x.array) == list(band.error_x.arrayminus) == [0.1, 0.14]
    with pytest.raises(InputError, match="lacks the column 'detectable'"):
        figures.beside_detectable(table.drop(columns="detectable"))


def test_reliability_draws_every_point_with_its_interval():
    points = reliability(nine()).query("of == 'OA probability'")
    fig = figures.reliability(points, BACKBONE_NAMES)
    curves = [trace for trace in fig.data if trace.mode == "lines+markers"]
    assert len(curves) == 9
    assert sum(len(curve.x) for curve in curves) == len(points)
    first = points.query("backbone == 'resnet3d' and supervision == 'single_oa'")
    assert np.allclose(curves[0].y, first["observed"])
    assert np.allclose(curves[0].y + np.array(curves[0].error_y.array), first["high"])


def test_each_grade_has_both_marks_of_each_model():
    table = by_grade(nine())
    fig = figures.by_grade(table, BACKBONE_NAMES)
    assert len(fig.data) == 9 * 2
    drawn = np.concatenate([trace.y for trace in fig.data])
    assert np.allclose(np.sort(drawn), np.sort(table["value"]))
    probability, called = fig.data[:2]
    assert (probability.marker.symbol, called.marker.symbol) == ("circle", "circle-open")
    first = table.query("backbone == 'resnet3d' and supervision == 'single_oa'")
    first = first[first["of"] == "mean probability of OA"]
    assert np.allclose(probability.y - probability.error_y.arrayminus, first["low"])
    assert len(fig.layout.shapes) == 3


def test_decision_curves_stand_beside_all_and_none():
    curves = decision_curves(nine())
    fig = figures.decision_curves(curves, BACKBONE_NAMES)
    lines = [trace for trace in fig.data if trace.mode == "lines+markers"]
    bands = [trace for trace in fig.data if trace.fill == "toself"]
    assert len(lines) == len(bands) == 9
    last = curves.query("backbone == 'nnmamba' and supervision == 'dual'")
    assert np.allclose(lines[-1].y, last["value"])
    assert np.allclose(bands[-1].y, [*last["high"], *last["low"][::-1]])
    everybody = [trace for trace in fig.data if trace.name == "treat all"]
    assert len(everybody) == 3 and np.allclose(everybody[0].y, last["treat_all"])


def test_limits_of_three_rules_in_the_order_of_the_p_values():
    table = pd.DataFrame({"name": list("abcd"), "p_value": [0.5, 0.001, 0.03, 0.2]})
    points, alone, fdr, family = figures.ranked_p(table).data
    assert list(points.text) == ["b", "c", "d", "a"]
    assert list(alone.y) == [0.05] * 4
    assert np.allclose(fdr.y, [0.0125, 0.025, 0.0375, 0.05])
    assert np.allclose(family.y, [0.05 / 4, 0.05 / 3, 0.05 / 2, 0.05])


def test_bars_of_models_that_are_right_are_knees_of_each_grade():
    table = models_right(nine())
    fig = figures.models_right(table)
    assert [bar.name for bar in fig.data] == ["none", "1", "2", "3", "4", "5", "all"]
    assert list(fig.data[0].y) == [f"KL {grade}" for grade in range(5)]
    assert np.array_equal(np.sum([bar.x for bar in fig.data], axis=0), [12] * 5)
    three = table[table["models_right"] == 3]
    assert list(fig.data[3].x) == list(three["knees"])
    assert fig.layout.barmode == "stack" and len({bar.marker.color for bar in fig.data}) == 7


def test_each_pair_of_models_has_its_square():
    table = nine()
    pairs = agreement(table)
    models = list(dict.fromkeys([*pairs["first"], *pairs["second"]]))
    fig = figures.agreement_matrix(pairs, {m: m.upper() for m in models})
    square = np.asarray(fig.data[0].z, dtype=float)
    assert np.isfinite(square).sum() == len(pairs) == 15
    row = pairs.iloc[-1]
    assert square[-1, -1] == pytest.approx(row["kappa"])
