"""Figures of the features' geometry show the numbers they are given."""

import json

import numpy as np
import pandas as pd
import pytest

from oacore import figures_geometry as figures
from oacore.cka import cka_matrix
from oacore.errors import InputError

SUPERVISIONS = ("single_oa", "single_kl", "dual")


def knees(backbones=("resnet3d", "m3t", "nnmamba"), n=20):
    rng = np.random.default_rng(0)
    kl, age = np.arange(n) % 5, rng.normal(60, 9, n)
    parts = [
        pd.DataFrame(
            {
                "backbone": backbone, "supervision": supervision, "kl": kl, "age": age,
                "severity": kl + rng.uniform(-0.5, 0.5, n), "key": np.arange(n),
                "hover": [f"knee {i}<br>KL {k}" for i, k in enumerate(kl)],
                **{name: rng.normal(size=n) for name in ("pc1", "pc2", "tsne1", "tsne2")},
            }
        )
        for backbone in backbones
        for supervision in SUPERVISIONS
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def measures():
    rows = [
        {"backbone": b, "supervision": s, "measure": m, "value": 0.1 * i + 0.2 * j}
        for b in ("m3t", "resnet3d")
        for i, s in enumerate(SUPERVISIONS)
        for j, m in enumerate(figures.AXIS_NAMES)
    ]
    table = pd.DataFrame(rows)
    return table.assign(low=table["value"] - 0.1, high=table["value"] + 0.05)


def models():
    rng = np.random.default_rng(1)
    return {
        name: rng.normal(size=(20, 5)) for name in ("ResNet3D Dual", "M3T Dual", "nnMamba Dual")
    }


ALL = {
    "grid": lambda: figures.manifold_grid(knees()),
    "one column": lambda: figures.manifold_grid(knees(), columns=1),
    "axis": lambda: figures.measure_intervals(measures(), figures.AXIS_NAMES),
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


@pytest.mark.parametrize("columns", [4, 2, 1])
def test_the_grid_has_a_panel_for_each_backbone_and_head(columns):
    table = knees()
    fig = figures.manifold_grid(table, columns)
    titles = [note.text for note in fig.layout.annotations]
    assert titles == [
        f"{b}, {h}" for b in ("ResNet3D", "M3T", "nnMamba")
        for h in ("Single-OA", "Single-KL", "Dual-OA", "Dual-KL")
    ]  # fmt: skip
    starts = {axis.domain[0] for axis in fig.select_xaxes()}
    assert len(starts) == columns
    panels = fig.data[:12]
    for panel, title in zip(panels, titles, strict=True):
        backbone, head = title.split(", ")
        supervision = {"Single-OA": "single_oa", "Single-KL": "single_kl"}.get(head, "dual")
        own = table[(table["backbone"] == backbone.lower()) & (table["supervision"] == supervision)]
        np.testing.assert_allclose(panel.x, own["pc1"], rtol=1e-3)
        np.testing.assert_allclose(panel.y, own["pc2"], rtol=1e-3)
        assert list(panel.text) == list(own["hover"]) and list(panel.customdata) == list(own["key"])
        label = own["kl"] if head.endswith("KL") else own["kl"] >= 2  # as the paper colours them
        assert list(panel.marker.color) == label.astype(int).tolist()
        assert panel.marker.coloraxis == ("coloraxis" if head.endswith("KL") else "coloraxis2")
        assert [symbol == "diamond" for symbol in panel.marker.symbol] == (own["kl"] >= 2).tolist()
    assert fig.layout.coloraxis.showscale and fig.layout.coloraxis2.showscale
    assert not fig.layout.coloraxis3.showscale


def test_buttons_move_and_colour_every_panel():
    table = knees()
    fig = figures.manifold_grid(table)
    maps, colours = fig.layout.updatemenus
    assert [button.label for button in maps.buttons] == ["PCA", "t-SNE"]
    assert [button.label for button in colours.buttons] == [
        "as in the paper", "KL", "OA", "truth", "age",
    ]  # fmt: skip
    moved, named, which = maps.buttons[1].args
    assert set(named.values()) == {"t-SNE 1", "t-SNE 2"} and len(named) == 4 + 3
    assert all(fig.layout[axis.split(".")[0]].title.text.startswith("PC") for axis in named)
    assert list(which) == list(range(12))
    first = table[(table["backbone"] == "resnet3d") & (table["supervision"] == "single_oa")]
    np.testing.assert_allclose(moved["x"][0], first["tsne1"], rtol=1e-3)
    np.testing.assert_allclose(moved["y"][0], first["tsne2"], rtol=1e-3)
    for button, column, axis in zip(
        colours.buttons[1:], ("kl", "oa", "severity", "age"),
        ("coloraxis", "coloraxis2", "coloraxis3", "coloraxis4"), strict=True,
    ):  # fmt: skip
        restyled, bars, _ = button.args
        wanted = (first["kl"] >= 2) if column == "oa" else first[column]
        np.testing.assert_allclose(restyled["marker.color"][0], wanted, rtol=1e-3)
        assert set(restyled["marker.coloraxis"]) == {axis}
        assert [name for name, shown in bars.items() if shown] == [f"{axis}.showscale"]
    json.dumps(fig.layout.updatemenus[0].to_plotly_json())  # plain lists: the page restyles with it


def test_a_grid_without_truth_or_keys_leaves_them_out():
    table = knees(("m3t",)).drop(columns=["severity", "key"])
    fig = figures.manifold_grid(table)
    assert [b.label for b in fig.layout.updatemenus[1].buttons][-2:] == ["OA", "age"]
    assert len(fig.data) == 4 + 2 and fig.data[0].customdata is None


def test_intervals_reach_from_low_to_high_in_the_papers_order():
    fig = figures.measure_intervals(measures(), figures.AXIS_NAMES)
    assert [note.text for note in fig.layout.annotations] == ["ResNet3D", "M3T"]
    assert [trace.name for trace in fig.data] == ["Single-OA", "Single-KL", "Dual"] * 2
    assert list(fig.layout.yaxis.ticktext) == list(figures.AXIS_NAMES.values())
    trace = fig.data[1]
    np.testing.assert_allclose(trace.x, 0.1 + 0.2 * np.arange(5))
    np.testing.assert_allclose(trace.error_x.array, 0.05)
    np.testing.assert_allclose(trace.error_x.arrayminus, 0.1)


def test_cells_of_cka_hold_their_values():
    matrix = cka_matrix(models())
    fig = figures.cka_heatmap(matrix)
    np.testing.assert_allclose(fig.data[0].z, matrix)
    assert fig.data[0].text[0][0] == "1"
    assert fig.data[0].text[0][1] == f"{matrix.iloc[0, 1]:.2f}".replace("0.", ".")
    assert list(fig.data[0].x) == list(fig.data[0].y) == list(matrix.columns)


def test_tables_that_cannot_be_drawn_are_refused():
    table = knees()
    with pytest.raises(InputError, match="lacks the column 'tsne1'"):
        figures.manifold_grid(table.drop(columns="tsne1"))
    with pytest.raises(InputError, match="3 columns; give 4, 2 or 1"):
        figures.manifold_grid(table, 3)
    with pytest.raises(InputError, match="no grade"):
        figures.manifold_grid(table.assign(kl=table["kl"].where(table["kl"] > 0)))
    with pytest.raises(InputError, match="no backbone"):
        figures.manifold_grid(table.assign(backbone="other"))
    with pytest.raises(InputError, match="comes twice"):
        figures.measure_intervals(pd.concat([measures(), measures()]), figures.AXIS_NAMES)
    with pytest.raises(InputError, match="has none of"):
        figures.measure_intervals(measures(), figures.DISTANCE_NAMES)
    with pytest.raises(InputError, match="not the same models"):
        figures.cka_heatmap(pd.DataFrame([[1.0]], index=["a"], columns=["b"]))
