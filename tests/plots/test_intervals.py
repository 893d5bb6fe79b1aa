"""Figures of many models: each value in its panel, its words, its interval."""

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.plots.intervals import backbone_pairs, coverage_panels, interval_panels


def test_panels_show_each_value_in_its_place():
    rows = [
        {
            "panel": panel,
            "series": series,
            "metric": metric,
            "value": v,
            "low": v - 0.1,
            "high": 0.9,
        }
        for panel, v in (("ResNet3D", 0.2), ("M3T", 0.4))
        for series in ("Single-OA", "Dual")
        for metric in ("oa_auc", "kl_auc")
        if (panel, series) != ("M3T", "Single-OA")
    ]
    fig = interval_panels(pd.DataFrame(rows), "difference (95% interval)")
    assert [a.text for a in fig.layout.annotations] == ["ResNet3D", "M3T"]
    drawn = [(t.name, t.yaxis, t.showlegend, list(t.x)) for t in fig.data]
    assert drawn == [
        ("Single-OA", "y", True, [0.2, 0.2]),
        ("Dual", "y", True, [0.2, 0.2]),
        ("Dual", "y2", False, [0.4, 0.4]),
    ]
    assert fig.data[0].marker.color != fig.data[1].marker.color == fig.data[2].marker.color
    assert fig.data[1].marker.color == "#009E73"  # Dual's, in all figures of the book
    np.testing.assert_allclose(fig.data[0].error_x.array, 0.7)
    np.testing.assert_allclose(fig.data[0].error_x.arrayminus, 0.1)
    assert list(fig.layout.yaxis.ticktext) == ["OA AUC", "KL macro-AUC"]
    assert sum(shape.x0 == 0 for shape in fig.layout.shapes) == 2  # zero, in each panel
    assert not interval_panels(pd.DataFrame(rows), line=None).layout.shapes
    with pytest.raises(InputError, match="lacks the column 'series'"):
        interval_panels(pd.DataFrame(rows).drop(columns="series"))


def test_keys_get_their_words_and_a_range_over_seeds_is_drawn_as_bars():
    table = pd.DataFrame(
        {
            "backbone": ["resnet3d", "resnet3d", "mine"],
            "supervision": ["single_kl", "dual", "dual"],
            "metric": "kl_f1",
            "value": 0.5,
            "seed_low": [0.4, 0.25, 0.5],
            "seed_high": 0.625,
        }
    )
    fig = interval_panels(table, line=None)
    assert [a.text for a in fig.layout.annotations] == ["ResNet3D", "mine"]
    assert [trace.name for trace in fig.data] == ["Single-KL", "Dual", "Dual"]
    assert [trace.error_x.arrayminus[0] for trace in fig.data] == pytest.approx([0.1, 0.25, 0])
    assert [trace.error_x.array[0] for trace in fig.data] == pytest.approx([0.125] * 3)


def test_any_column_can_tell_values_apart():
    rows = {"backbone": "m3t", "metric": "oa_auc", "value": 0.1, "low": 0.0, "high": 0.2}
    seeds = pd.DataFrame([{**rows, "seed": 0}, {**rows, "seed": 3}])
    assert [trace.name for trace in interval_panels(seeds, series="seed").data] == [
        "seed 0",
        "seed 3",
    ]


def test_a_pair_of_backbones_has_a_panel():
    pairs = pd.DataFrame({"reference": ["resnet3d", "m3t"], "backbone": ["m3t", "mine"]})
    assert list(backbone_pairs(pairs)["panel"]) == ["M3T minus ResNet3D", "mine minus M3T"]
    titled = backbone_pairs(pairs, "effect in {backbone} minus in {reference}")
    assert titled["panel"][0] == "effect in M3T minus in ResNet3D"


def test_coverage_is_drawn_beside_what_was_promised():
    record = pd.DataFrame(
        {
            "measure": ["oa_auc", "oa_auc"], "over": ["seeds and knees", "knees alone"],
            "seeds": [3, 1], "auc_sd": [0.05, 0.05], "nominal": 0.95, "covered": [0.94, 0.6],
            "low": [0.9, 0.5], "high": [0.97, 0.7],
        }
    )  # fmt: skip
    fig = coverage_panels(record)
    (trace,) = fig.data
    assert list(trace.x) == [0.6, 0.94]  # one seed first
    assert list(fig.layout.yaxis.ticktext) == ["1 seed", "3 seeds"]
    assert fig.layout.annotations[0].text == "AUCs of seeds, SD 0.05"
    # Plotly leaves 80 px beside an axis with short names; what starts further left is cut off.
    assert -80 <= fig.layout.annotations[0].xshift < 0
    assert fig.layout.shapes[0].x0 == 0.95
