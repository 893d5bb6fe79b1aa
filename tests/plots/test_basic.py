"""Figures show the numbers they are given, legibly."""

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.hierarchy import reader_table
from oacore.instruments.phantom import figures as figures_knee
from oacore.instruments.published import figures as figures_published
from oacore.instruments.published.predictions import read_published
from oacore.plots import basic as figures
from oacore.plots import normalisation
from oacore.profile import STATISTICS

TRAIN, TEST = (82, 46, 86, 111, 58), (21, 12, 22, 28, 15)


def cohort():
    """Grades as in OAIZIB-CM, two knees without one, everything else at random."""
    rng = np.random.default_rng(0)
    kl = [k for counts in (TRAIN, TEST) for k, n in enumerate(counts) for _ in range(n)]
    cases = pd.DataFrame({"kl": pd.array([*kl, None, None], dtype="Int64")})
    cases["split"] = ["train"] * sum(TRAIN) + ["test"] * sum(TEST) + ["train"] * 2
    cases["sex"] = rng.choice(["male", "female"], len(cases))
    cases["age"] = rng.normal(62, 9, len(cases))
    return cases


def volumes():
    cases = cohort()
    return pd.concat(cases.assign(region=r, volume_cm3=v) for r, v in [("a", 2.0), ("b", 15.0)])


def history():
    rows = [
        {"supervision": s, "seed": seed, "epoch": e, "loss_oa": oa / e, "loss_kl": kl / e}
        for s, oa, kl in [
            ("dual", 0.7, 1.6),
            ("single_kl", np.nan, 1.5),
            ("single_oa", 0.6, np.nan),
        ]
        for seed in (0, 1)
        for e in (1, 2, 3)
    ]
    table = pd.DataFrame(rows)
    after = {f"{head}_evaluated": 2 * table[head] for head in ("loss_oa", "loss_kl")}
    return table.assign(loss=table[["loss_oa", "loss_kl"]].sum(axis=1), **after)


def predictions(seed=0):
    rng = np.random.default_rng(seed)
    kl = np.tile(np.arange(5), 6)
    parts = [
        pd.DataFrame(
            {
                "backbone": "resnet3d", "supervision": s, "split": "test", "kl": kl,
                "oa": (kl >= 2).astype(int), "prob_oa": rng.random(30),
                "pred_oa": rng.integers(0, 2, 30),
                "pred_kl": pd.array([None] * 30 if s == "single_oa" else kl, dtype="Int64"),
            }
        )
        for s in ("single_oa", "single_kl", "dual")
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def intervals():
    return pd.DataFrame(
        {
            "comparison": ["Dual - Single-KL"] * 2 + ["Dual - Single-OA"],
            "metric": ["kl_acc", "kl_f1", "oa_auc"],
            "value": [0.2, 0.1, -0.01], "low": [0.1, -0.02, -0.05], "high": [0.25, 0.3, 0.04],
        }
    )  # fmt: skip


def printed():
    return pd.DataFrame(
        {
            "backbone": ["resnet3d", "m3t"], "supervision": ["dual", "single_oa"],
            "metric": ["kl_acc", "oa_auc"], "printed": [0.5816, 0.7921],
            "recomputed": [0.58163, 0.79207],
        }
    )  # fmt: skip


def outlines():
    """Circles about the origin, as distances on a grid."""
    x = np.arange(-10, 11.0)
    radius = np.hypot(x[:, None], x[None, :])
    return {"small": [radius - 4, radius - 6], "large": [radius - 5, radius - 7]}, x, x


def facts():
    rows = [
        {"quantity": q, "by": "kl", "group": str(k), "measured": 5.0 - k, "real": 5.2 - k}
        for q in ("gap", "cartilage")
        for k in range(5)
    ]
    rows += [{"quantity": "gap", "by": "all", "group": "all", "measured": 9.0, "real": 9.0}]
    table = pd.DataFrame(rows)
    return table.assign(low=table["measured"] - 0.5, high=table["measured"] + 0.25)


PANELS = {"gap": "joint space", "cartilage": "thickness"}
ALL = {
    "kl_by_split": lambda: figures.kl_by_split(cohort()),
    "ages": lambda: figures.ages(cohort()),
    "cartilage_volumes": lambda: figures.cartilage_volumes(volumes()),
    "learning_curves": lambda: figures.learning_curves(history()),
    "same_weights": lambda: normalisation.same_weights(
        pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.5], "loss_evaluated": [2.0, 1.5]}),
        pd.concat([predictions().dropna().assign(statistics=name) for name in STATISTICS]),
        0.5,
    ),
    "confusion kl": lambda: figures.confusion(predictions(), "kl"),
    "confusion oa": lambda: figures.confusion(predictions(), "oa"),
    "probability_by_grade": lambda: figures.probability_by_grade(predictions()),
    "metric_intervals": lambda: figures.metric_intervals(intervals()),
    "reader_noise": lambda: figures.reader_noise(reader_table()),
    "bone_outlines": lambda: figures_knee.bone_outlines(*outlines()),
    "beside_facts": lambda: figures_knee.beside_facts(facts(), PANELS),
    "printed_vs_recomputed": lambda: figures_published.printed_vs_recomputed(printed()),
}


@pytest.mark.parametrize("name", ALL)
def test_every_figure_is_legible_and_white_and_draws_the_same_twice(name):
    fig = ALL[name]()
    layout = fig.to_dict()["layout"]
    sizes = [fig.layout.font.size] + [note.font.size for note in fig.layout.annotations]
    assert all(size is None or size >= 13 for size in sizes)
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "white"
    assert fig.to_json() == ALL[name]().to_json()
    titles = [axis.title.text for axis in [*fig.select_xaxes(), *fig.select_yaxes()]]
    assert any(titles[: len(titles) // 2])


def test_kl_by_split_shows_the_counts():
    fig = figures.kl_by_split(cohort())
    bars = {bar.name: dict(zip(bar.x, bar.y, strict=True)) for bar in fig.data}
    assert bars["test"] == {str(k): n for k, n in enumerate(TEST)}
    assert bars["train"] == {**{str(k): n for k, n in enumerate(TRAIN)}, "none": 2}


@pytest.mark.parametrize(
    ("figure", "value", "title"),
    [("ages", "age", "age (years)"), ("cartilage_volumes", "volume_cm3", "volume (cm³)")],
)
def test_boxes_hold_every_knee_with_its_grade(figure, value, title):
    table = volumes()
    fig = getattr(figures, figure)(table)
    drawn = pd.concat(pd.DataFrame({"kl": box.x, "value": box.y}) for box in fig.data)
    wanted = table.assign(kl=table["kl"].astype("object").fillna("none").astype(str))
    for grade, part in wanted.groupby("kl"):
        np.testing.assert_allclose(
            np.sort(drawn["value"][drawn["kl"] == grade]), np.sort(part[value])
        )
    assert title in fig.layout.yaxis.title.text


def test_learning_curves_draw_each_head_that_exists():
    fig = figures.learning_curves(history())
    drawn = {("Single-OA", "y"), ("Single-KL", "y2"), ("Dual", "y"), ("Dual", "y2")}
    assert {(line.name, line.yaxis) for line in fig.data if line.line.dash is None} == drawn
    dashed = [line for line in fig.data if line.line.dash == "dash"]
    assert {(line.name.removesuffix(", evaluated"), line.yaxis) for line in dashed} == drawn
    for line in dashed:  # of the same run, the loss in evaluation
        (full,) = (
            one for one in fig.data
            if one.line.dash is None and one.yaxis == line.yaxis
            and f"{one.name}, evaluated" == line.name
            and one.hovertemplate.split(",")[0] == line.hovertemplate.split(",")[0]
        )  # fmt: skip
        assert np.array_equal(line.y, 2 * np.asarray(full.y))
    assert sum(bool(line.showlegend) for line in fig.data) == 3
    assert [shape.y0 for shape in fig.layout.shapes] == pytest.approx([0.6931, 1.6094], abs=1e-4)


def test_confusion_counts_are_those_of_the_released_predictions(shared):
    table = read_published(shared / "real" / "published_predictions")
    resnet = table[table["backbone"] == "resnet3d"]
    single, dual = figures.confusion(resnet, "kl").data
    assert np.array_equal(
        single.text,
        [[15, 0, 6, 0, 0], [4, 0, 8, 0, 0], [4, 1, 17, 0, 0], [3, 9, 12, 2, 2], [2, 5, 4, 2, 2]],
    )
    assert np.array_equal(
        dual.text,
        [[11, 0, 9, 1, 0], [3, 0, 6, 3, 0], [0, 0, 20, 2, 0], [0, 0, 7, 18, 3], [0, 0, 1, 6, 8]],
    )
    single_oa = figures.confusion(resnet, "oa").data[0]
    assert np.array_equal(single_oa.text, [[21, 12], [8, 57]])
    np.testing.assert_allclose(single_oa.z, [[21 / 33, 12 / 33], [8 / 65, 57 / 65]])


def test_confusion_refuses_a_mixture():
    table = predictions()
    with pytest.raises(InputError, match="more than one split"):
        figures.confusion(pd.concat([table, table.assign(split="train")]), "kl")
    with pytest.raises(InputError, match="more than one backbone"):
        figures.confusion(pd.concat([table, table.assign(backbone="m3t")]), "oa")


def test_probability_by_grade_keeps_the_order_of_supervisions():
    fig = figures.probability_by_grade(predictions().iloc[::-1])
    assert [box.name for box in fig.data] == ["Single-OA", "Single-KL", "Dual"]
    assert len({box.marker.color for box in fig.data}) == 3


def test_intervals_reach_from_low_to_high():
    table = intervals()
    fig = figures.metric_intervals(table)
    assert len(fig.data) == 2
    low = np.concatenate([trace.x - trace.error_x.arrayminus for trace in fig.data])
    high = np.concatenate([trace.x + trace.error_x.array for trace in fig.data])
    np.testing.assert_allclose(low, table["low"])
    np.testing.assert_allclose(high, table["high"])
    assert list(fig.layout.yaxis.ticktext) == ["KL accuracy", "KL macro-F1", "OA AUC"]
    assert fig.layout.shapes[0].x0 == fig.layout.shapes[0].x1 == 0


def test_reader_noise_shows_the_table_and_refuses_another():
    np.testing.assert_allclose(figures.reader_noise(reader_table()).data[0].z, reader_table())
    with pytest.raises(InputError, match="5 x 5"):
        figures.reader_noise(np.ones((5, 5)))


def test_outlines_are_where_the_distance_is_zero_and_named_once():
    sections, x, z = outlines()
    fig = figures_knee.bone_outlines(sections, x, z)
    assert [line.name for line in fig.data if line.showlegend] == ["small", "large"]
    assert len({line.line.dash for line in fig.data}) == 2
    for line, distance in zip(fig.data, sum(sections.values(), []), strict=True):
        assert (line.contours.start, line.contours.end) == (0, 0)
        np.testing.assert_allclose(line.z, distance.T, rtol=1e-6)
    assert fig.layout.yaxis.scaleanchor == "x"


def test_panels_hold_means_intervals_and_the_real_figures():
    fig = figures_knee.beside_facts(facts(), PANELS)
    assert [note.text for note in fig.layout.annotations] == list(PANELS.values())
    cohort, real = fig.data[:2]
    np.testing.assert_allclose(cohort.y, [5, 4, 3, 2, 1])
    np.testing.assert_allclose(cohort.y - cohort.error_y.arrayminus, [4.5, 3.5, 2.5, 1.5, 0.5])
    np.testing.assert_allclose(cohort.error_y.array, [0.25] * 5)
    np.testing.assert_allclose(real.y, [5.2, 4.2, 3.2, 2.2, 1.2])
    assert cohort.marker.symbol != real.marker.symbol
    assert len(fig.data) == 4


def test_printed_and_recomputed_lie_where_they_should():
    fig = figures_published.printed_vs_recomputed(printed())
    points = {trace.name: (trace.x[0], trace.y[0]) for trace in fig.data}
    assert points["m3t"] == (0.7921, 0.79207)
    line = fig.data[-1]
    assert list(line.x) == list(line.y)


def test_a_table_that_lacks_a_column_or_rows_is_refused():
    with pytest.raises(InputError, match="'age'"):
        figures.ages(cohort().drop(columns="age"))
    with pytest.raises(InputError, match="no row"):
        figures.kl_by_split(cohort().iloc[:0])


@pytest.mark.parametrize(
    ("draw", "table", "value"),
    [
        (figures.ages, cohort(), "age"),
        (figures.cartilage_volumes, volumes(), "volume_cm3"),
        (figures.probability_by_grade, predictions(), "prob_oa"),
    ],
)
def test_without_leave_no_value_of_a_single_knee_is_in_a_figure(draw, table, value):
    rng = np.random.default_rng(1)
    table = table.assign(**{value: rng.random(len(table))})
    shown, hidden = draw(table), draw(table, single=False)

    def found(fig):
        arrays = [np.asarray(v, float) for box in fig.data for k in ("y", "q1", "q3", "median")
                  if (v := getattr(box, k)) is not None]  # fmt: skip
        return sum(repr(float(v)) in {repr(float(x)) for x in table[value]}
                   for array in arrays for v in array.ravel())  # fmt: skip

    assert found(shown) == len(table)
    assert found(hidden) == 0
    assert all(box.y is None for box in hidden.data)
    assert len(hidden.data) == len(shown.data)
    assert [box.name for box in hidden.data] == [box.name for box in shown.data]


def test_quantiles_without_single_knees_are_numpys_and_small_groups_are_left_out():
    cases = pd.concat([cohort(), pd.DataFrame({"kl": [7] * 4, "sex": "male", "age": 50.0})])
    boxes = {box.name: box for box in figures.ages(cases, single=False).data}
    male = boxes["male"]
    assert "7" not in male.x and len(male.x) == 5  # KL 7 (4 knees) and no grade (2) are too few
    own = cases[(cases["sex"] == "male") & (cases["kl"] == 3)]["age"].astype(float)
    at = list(male.x).index("3")
    got = [getattr(male, k)[at] for k in ("lowerfence", "q1", "median", "q3", "upperfence")]
    # Ages spread over some tens of years: rounded to whole years.
    assert got == np.quantile(own, [0.05, 0.25, 0.5, 0.75, 0.95]).round().tolist()
