"""The button below each plot: what it saves are the figure's own numbers, under names one reads."""

import io
from importlib.resources import files

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from oacore.plots import basic
from oacore.plots import page as page_module
from oacore.plots.intervals import interval_panels
from oacore.plots.page import show
from oacore.plots.style import KL_TITLE
from tests.helpers import FLAGS, ROOT

RNG = np.random.default_rng(0)
EFFECTS = pd.DataFrame(
    {
        "backbone": np.repeat(["resnet3d", "m3t"], 4),
        "metric": ["oa_auc", "kl_qwk"] * 4,
        "supervision": np.tile(np.repeat(["single_oa", "dual"], 2), 2),
        "value": RNG.normal(size=8).round(4),
    }
).assign(low=lambda t: t["value"] - 0.125, high=lambda t: t["value"] + 0.25)
CASES = pd.DataFrame(
    {"kl": [0, 1, 2, 3, 4] * 8, "sex": ["female", "male"] * 20, "age": RNG.integers(45, 80, 40)}
)
PREDICTIONS = pd.DataFrame(
    {
        "backbone": "m3t", "supervision": ["single_kl", "dual"] * 50, "split": "test",
        "kl": RNG.integers(0, 5, 100), "pred_kl": RNG.integers(0, 5, 100),
    }
)  # fmt: skip
HISTORY = pd.DataFrame(
    {
        "supervision": "dual", "seed": [0, 0, 1, 1], "epoch": [1, 2, 1, 2],
        "loss": [2.5, 2.0, 2.25, 1.75], "loss_oa": [0.75, 0.5, 0.5, 0.25],
        "loss_kl": [1.75, 1.5, 1.75, 1.5], "loss_oa_evaluated": [0.625] * 4,
        "loss_kl_evaluated": [1.625] * 4,
    }
)  # fmt: skip
PLAIN = go.Figure(
    [
        go.Scatter(x=[0.1, 1 / 3], y=[1e-12, None], text=["a, b", 'c "d"'], name="Größe"),
        go.Scatter(x=[5, 6], y=[7, 8], name="hidden", visible="legendonly"),
    ]
).update_layout(xaxis_title="share of<br>knees")
FIGURES = {
    "intervals": interval_panels(EFFECTS),
    "ages": basic.ages(CASES),
    "quartiles": basic.ages(CASES.loc[CASES.index.repeat(4)], single=False),
    "confusion": basic.confusion(PREDICTIONS, "kl"),
    "curves": basic.learning_curves(HISTORY),
    "bars": basic.kl_by_split(CASES.assign(split="train")),
    "plain": PLAIN,
}


@pytest.fixture(scope="module")
def saved(chromium, playwright, tmp_path_factory):
    """What each figure's button gives, by name, on a page opened from disk."""
    folder = tmp_path_factory.mktemp("data")
    shown: list[dict] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "display", lambda bundle, raw: shown.append(bundle))
        for name, fig in FIGURES.items():
            show(fig, name)
    drawn = "".join(
        f'<div id="fig-{name}">{bundle["text/html"]}</div>'
        for name, bundle in zip(FIGURES, shown, strict=True)
    )
    (folder / "chapter.html").write_text(
        '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
        f'<script src="{files("plotly") / "package_data/plotly.min.js"}"></script>'
        f'<script src="{ROOT / "book/_static/plot_data.js"}"></script><main>{drawn}</main>',
        encoding="utf-8",
    )
    browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
    page = browser.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto((folder / "chapter.html").as_uri())
    found = {}
    for name in FIGURES:
        with page.expect_download() as coming:
            page.locator(f"#fig-{name}").get_by_role("button", name="(CSV)").press("Enter")
        assert coming.value.suggested_filename == f"chapter-fig-{name}.csv"
        found[name] = coming.value.path().read_bytes().decode("utf-8-sig")
    browser.close()
    assert wrong == []
    return found


def read(text, **more):
    return pd.read_csv(io.StringIO(text), **more)


def test_intervals_come_with_their_limits_and_the_names_of_panels_and_rows(saved):
    table = read(saved["intervals"])
    axis = "difference (95% interval)"
    assert list(table.columns) == ["panel", "series", axis, f"{axis}, low", f"{axis}, high", "row"]
    rows = table.sort_values(["panel", "series", "row"]).reset_index(drop=True)
    wanted = EFFECTS.replace(
        {"resnet3d": "ResNet3D", "m3t": "M3T", "single_oa": "Single-OA", "dual": "Dual"}
    )
    words = list(dict.fromkeys(table["row"]))  # METRIC_NAMES, in the figure's order
    wanted["metric"] = wanted["metric"].map(dict(zip(["oa_auc", "kl_qwk"], words, strict=True)))
    wanted = wanted.sort_values(["backbone", "supervision", "metric"]).reset_index(drop=True)
    assert list(rows["panel"]) == list(wanted["backbone"])
    assert list(rows["series"]) == list(wanted["supervision"])
    for column, key in ((axis, "value"), (f"{axis}, low", "low"), (f"{axis}, high", "high")):
        np.testing.assert_allclose(rows[column], wanted[key], rtol=1e-12)


def test_single_knees_are_there_where_the_figure_has_them_and_quantiles_where_not(saved):
    table = read(saved["ages"])
    assert list(table.columns) == ["series", KL_TITLE, "age (years)"]
    assert sorted(table["age (years)"]) == sorted(CASES["age"])
    for sex, part in table.groupby("series"):
        assert sorted(part["age (years)"]) == sorted(CASES.loc[CASES["sex"] == sex, "age"])
    quartiles = read(saved["quartiles"])
    assert list(quartiles.columns[2:]) == [
        "5th percentile", "25th percentile", "median", "75th percentile", "95th percentile",
    ]  # fmt: skip
    drawn = [q for trace in FIGURES["quartiles"].data for q in trace.median]
    assert list(quartiles["median"]) == drawn


def test_a_matrix_is_a_row_a_cell_with_what_is_written_in_it(saved):
    table = read(saved["confusion"])
    assert list(table.columns) == [
        "panel", "predicted KL", "labelled KL", "share of the row", "label",
    ]  # fmt: skip
    assert len(table) == 2 * 25
    for name, part in PREDICTIONS.groupby("supervision"):
        panel = {"single_kl": "Single-KL", "dual": "Dual"}[name]
        counts = pd.crosstab(part["kl"], part["pred_kl"]).stack()
        found = table[table["panel"] == panel].set_index(["labelled KL", "predicted KL"])["label"]
        assert {at: n for at, n in found.items() if n} == {at: n for at, n in counts.items() if n}


def test_runs_under_one_entry_of_the_legend_stay_apart(saved):
    table = read(saved["curves"])
    assert list(table.columns) == ["panel", "series", "line", "epoch", "loss (nats)"]
    oa = table[table["panel"].str.startswith("OA") & (table["series"] == "Dual")]
    assert [list(part["loss (nats)"]) for _, part in oa.groupby("line")] == [
        [0.75, 0.5],
        [0.5, 0.25],
    ]


def test_numbers_are_whole_and_words_survive_commas_quotes_and_marks(saved):
    table = read(saved["plain"])
    assert list(table.columns) == ["series", "share of knees", "y", "label"]
    assert list(table["share of knees"]) == [0.1, 1 / 3, 5, 6] and table["y"][0] == 1e-12
    assert pd.isna(table["y"][1])
    assert list(table["label"][:2]) == ["a, b", 'c "d"']
    assert list(table["series"]) == ["Größe"] * 2 + ["hidden"] * 2
    bars = read(saved["bars"])
    assert bars["knees"].sum() == len(CASES) and KL_TITLE in bars
