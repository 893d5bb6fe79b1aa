"""Figures of the features' geometry show the numbers they are given."""

import json

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.instruments.axis import figures
from oacore.instruments.axis.cka import cka_matrix
from tests.helpers import knees

SUPERVISIONS = ("single_oa", "single_kl", "dual")


def measures():
    rows = [
        {"backbone": b, "supervision": s, "measure": m, "value": 0.1 * i + 0.2 * j}
        for b in ("m3t", "resnet3d")
        for i, s in enumerate(SUPERVISIONS)
        for j, m in enumerate(figures.AXIS_NAMES)
    ]
    table = pd.DataFrame(rows)
    return table.assign(low=table["value"] - 0.1, high=table["value"] + 0.05)


def differences():
    table = measures()
    rows = table[table["supervision"] != "dual"]
    return rows.rename(columns={"supervision": "reference"})[::-1]


def models():
    rng = np.random.default_rng(1)
    return {
        name: rng.normal(size=(20, 5)) for name in ("ResNet3D Dual", "M3T Dual", "nnMamba Dual")
    }


ALL = {
    "grid": lambda: figures.manifold_grid(knees()),
    "axis": lambda: figures.measure_intervals(measures(), figures.AXIS_NAMES),
    "differences": lambda: figures.difference_intervals(differences(), figures.AXIS_NAMES),
    "cka": lambda: figures.cka_heatmap(cka_matrix(models())),
}


@pytest.mark.parametrize("name", ALL)
def test_every_figure_is_legible_and_white_and_draws_the_same_twice(name):
    fig = ALL[name]()
    layout = fig.to_dict()["layout"]
    sizes = [fig.layout.font.size] + [note.font.size for note in fig.layout.annotations]
    assert all(size is None or size >= 13 for size in sizes)
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "white"
    assert fig.to_json() == ALL[name]().to_json()
    assert any(axis.title.text for axis in fig.select_xaxes())


def test_the_grid_has_pca_and_tsne_of_each_backbone_and_head():
    table = knees()
    fig = figures.manifold_grid(table)
    titles = [note.text for note in fig.layout.annotations]
    assert titles == [
        f"{b}, {h}" for b in ("ResNet3D", "M3T", "nnMamba")
        for h in ("Single-OA", "Single-KL", "Dual-OA", "Dual-KL")
    ]  # fmt: skip
    assert len({axis.domain[0] for axis in fig.select_xaxes()}) == 4
    tops = sorted({axis.domain for axis in fig.select_yaxes()}, reverse=True)
    assert len(tops) == 6 and all(a[0] > b[1] for a, b in zip(tops, tops[1:], strict=False))
    panels = fig.data[:24]
    for i, title in enumerate(titles):
        backbone, head = title.split(", ")
        supervision = {"Single-OA": "single_oa", "Single-KL": "single_kl"}.get(head, "dual")
        own = table[(table["backbone"] == backbone.lower()) & (table["supervision"] == supervision)]
        label = own["kl"] if head.endswith("KL") else own["kl"] >= 2  # as the paper colours them
        above = fig.layout[fig.layout.annotations[i].yref.replace("y", "yaxis").split()[0]]
        for panel, (x, y), named in zip(
            panels[2 * i : 2 * i + 2], (("pc1", "pc2"), ("tsne1", "tsne2")), ("PC", "t-SNE"),
            strict=True,
        ):  # fmt: skip
            np.testing.assert_allclose(panel.x, own[x], rtol=1e-3)
            np.testing.assert_allclose(panel.y, own[y], rtol=1e-3)
            assert list(panel.text) == list(own["hover"])
            assert list(panel.customdata) == list(own["key"])
            assert list(panel.marker.color) == label.astype(int).tolist()
            assert panel.marker.coloraxis == ("coloraxis" if head.endswith("KL") else "coloraxis2")
            assert [s == "diamond" for s in panel.marker.symbol] == (own["kl"] >= 2).tolist()
            axes = [fig.layout[a[0] + "axis" + a[1:]] for a in (panel.xaxis, panel.yaxis)]
            assert axes[0].title.text.startswith(named)
            assert (axes[1] is above) == (named == "PC") and axes[1].domain[1] <= above.domain[1]
    assert fig.layout.coloraxis.showscale and fig.layout.coloraxis2.showscale
    assert not fig.layout.coloraxis3.showscale
    assert fig.layout.meta == "knees" and fig.layout.dragmode is False


def test_buttons_colour_every_panel():
    table = knees()
    fig = figures.manifold_grid(table)
    (colours,) = fig.layout.updatemenus
    assert [button.label for button in colours.buttons] == [
        "as in the paper", "KL", "OA", "truth", "age",
    ]  # fmt: skip
    first = table[(table["backbone"] == "resnet3d") & (table["supervision"] == "single_oa")]
    for button, column, axis in zip(
        colours.buttons[1:], ("kl", "oa", "severity", "age"),
        ("coloraxis", "coloraxis2", "coloraxis3", "coloraxis4"), strict=True,
    ):  # fmt: skip
        restyled, bars, which = button.args
        wanted = (first["kl"] >= 2) if column == "oa" else first[column]
        for panel in (0, 1):
            np.testing.assert_allclose(restyled["marker.color"][panel], wanted, rtol=1e-3)
        assert len(restyled["marker.color"]) == 24 and list(which) == list(range(24))
        assert set(restyled["marker.coloraxis"]) == {axis}
        assert [name for name, shown in bars.items() if shown] == [f"{axis}.showscale"]
    json.dumps(colours.to_plotly_json())  # plain lists: the page restyles with it


def test_a_grid_without_truth_or_keys_leaves_them_out():
    table = knees(("m3t",)).drop(columns=["severity", "key"])
    fig = figures.manifold_grid(table)
    assert [b.label for b in fig.layout.updatemenus[0].buttons][-2:] == ["OA", "age"]
    assert len(fig.data) == 8 + 2 and fig.data[0].customdata is None and fig.layout.meta is None


def test_intervals_reach_from_low_to_high_in_the_papers_order():
    fig = figures.measure_intervals(measures(), figures.AXIS_NAMES)
    assert [note.text for note in fig.layout.annotations] == ["ResNet3D", "M3T"]
    assert [trace.name for trace in fig.data] == ["Single-OA", "Single-KL", "Dual"] * 2
    assert list(fig.layout.yaxis.ticktext) == list(figures.AXIS_NAMES.values())
    trace = fig.data[1]
    np.testing.assert_allclose(trace.x, 0.1 + 0.2 * np.arange(5))
    np.testing.assert_allclose(trace.error_x.array, 0.05)
    np.testing.assert_allclose(trace.error_x.arrayminus, 0.1)


def test_the_untrained_network_is_a_series_of_its_own():
    control = measures().query("supervision == 'dual'").assign(supervision="untrained")
    fig = figures.measure_intervals(pd.concat([control, measures()]), figures.AXIS_NAMES)
    names = [trace.name for trace in fig.data[:4]]
    assert names == ["Single-OA", "Single-KL", "Dual", "untrained"]
    assert len({trace.marker.color for trace in fig.data[:4]}) == 4


def test_differences_are_named_by_what_is_taken_off():
    fig = figures.difference_intervals(differences(), figures.AXIS_NAMES)
    assert [trace.name for trace in fig.data[:2]] == [
        "Dual minus Single-OA", "Dual minus Single-KL",
    ]  # fmt: skip
    assert [note.text for note in fig.layout.annotations] == ["ResNet3D", "M3T"]
    assert list(fig.layout.yaxis.ticktext) == list(figures.AXIS_NAMES.values())
    np.testing.assert_allclose(fig.data[1].x, 0.1 + 0.2 * np.arange(5))
    np.testing.assert_allclose(fig.data[1].error_x.array, 0.05)


@pytest.mark.parametrize("name", ALL)
def test_a_finger_scrolls_past_every_figure(name):
    assert ALL[name]().layout.dragmode is False


def test_a_legend_of_a_line_an_entry_fits_above_the_panels():
    control = measures().query("supervision == 'dual'").assign(supervision="untrained")
    few = figures.measure_intervals(measures(), figures.AXIS_NAMES).layout
    more = figures.measure_intervals(pd.concat([control, measures()]), figures.AXIS_NAMES).layout
    assert few.margin.t >= 3 * 32 and more.margin.t - few.margin.t == 32
    assert more.height - few.height == 32  # the panels keep their size


def test_cells_of_cka_hold_their_values():
    matrix = cka_matrix(models())
    fig = figures.cka_heatmap(matrix)
    np.testing.assert_allclose(fig.data[0].z, matrix)
    assert fig.data[0].text[0][0] == "1"
    assert fig.data[0].text[0][1] == f"{matrix.iloc[0, 1]:.2f}".replace("0.", ".")
    assert list(fig.data[0].x) == list(matrix.columns)
    assert [name.replace("<br>", " ") for name in fig.data[0].y] == list(matrix.columns)
    assert fig.data[0].customdata[1][0] == matrix.columns[1]


def test_tables_that_cannot_be_drawn_are_refused():
    table = knees()
    with pytest.raises(InputError, match="lacks the column 'tsne1'"):
        figures.manifold_grid(table.drop(columns="tsne1"))
    with pytest.raises(InputError, match="no grade"):
        figures.manifold_grid(table.assign(kl=table["kl"].where(table["kl"] > 0)))
    with pytest.raises(InputError, match="no backbone"):
        figures.manifold_grid(table.assign(backbone="other"))
    with pytest.raises(InputError, match="comes twice"):
        figures.measure_intervals(pd.concat([measures(), measures()]), figures.AXIS_NAMES)
    with pytest.raises(InputError, match="has none of"):
        figures.measure_intervals(measures(), figures.DISTANCE_NAMES)
    with pytest.raises(InputError, match="has none of"):
        figures.difference_intervals(differences(), figures.DISTANCE_NAMES)
    with pytest.raises(InputError, match="not the same models"):
        figures.cka_heatmap(pd.DataFrame([[1.0]], index=["a"], columns=["b"]))
