"""What a chapter shows of knees over time: figures that hold the numbers, sentences that follow."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from oacore.errors import InputError
from oacore.instruments.hierarchy import visit_shown
from oacore.instruments.hierarchy.visit_axes import by_knee
from oacore.instruments.hierarchy.visit_scores import VISIT_MEASURES, visit_tables
from oacore.instruments.hierarchy.visits import draw_visit, sample_visits


@pytest.fixture(scope="module")
def table():
    return sample_visits(60, 4, 8)


@pytest.fixture(scope="module")
def read(table):
    rng = np.random.default_rng(0)
    severity = by_knee(table, table["severity"])

    def axis(share, noise):
        return np.stack([share * severity + rng.normal(0, noise, severity.shape) for _ in range(4)])

    return {
        "dual": {"pc1": axis(1, 0.2), "grade": axis(1, 0.2)},
        "single_kl": {"pc1": axis(1, 1.5), "grade": axis(1, 1.5)},
        "untrained": {"pc1": axis(0, 1)},
    }


@pytest.fixture(scope="module")
def tables(table, read):
    return visit_tables(table, read, 60, 0)


def test_lengths_across_and_within_are_those_of_scipy(table):
    found = visit_shown.across_and_within(table)
    first = table[table["visit"] == 1]
    space = -spearmanr(first["joint_space_medial_mm"], first["severity"]).statistic
    assert found.loc["medial joint space", "across knees"] == pytest.approx(space)
    moving = table[table["course"] != "stable"]
    each = [spearmanr(own["effusion_mm"], own["severity"]).statistic
            for _, own in moving.groupby("knee")]  # fmt: skip
    assert found.loc["effusion", "within a knee"] == pytest.approx(np.mean(each), abs=1e-6)
    assert np.isnan(found.loc["size of the knee", "within a knee"])  # the same at each visit


def test_axes_made_by_hand_part_what_a_cross_section_cannot(table):
    found = visit_shown.made_table(table, visit_shown.made_axes(table, 0))
    assert list(found.index) == list(VISIT_MEASURES.values())
    within, across = found.loc["order within a knee"], found.loc["order across knees"]
    assert within["the truth"] == across["the truth"] == within["personal"] == 1
    assert across["frozen"] > 0.9 and abs(within["frozen"]) < 0.3
    assert across["personal"] < 0.7 and 0 < within["shaken"] < across["shaken"] < 1


def test_curves_hold_each_network_in_both_panels(tables):
    curves = tables["curves"]
    fig = visit_shown.curves_figure(curves, "pc1")
    assert len(fig.data) == 6
    assert [trace.name for trace in fig.data[::2]] == ["untrained", "Single-KL", "Dual"]
    own = curves[(curves["axis"] == "pc1") & (curves["network"] == "dual")]
    across = own[own["curve"] == "across knees"]
    np.testing.assert_allclose(fig.data[4].y, across["value"])
    within = own[own["curve"] != "across knees"].sort_values("x")
    np.testing.assert_allclose(fig.data[5].y, within["value"])
    assert len(visit_shown.curves_figure(curves, "grade").data) == 4
    with pytest.raises(InputError, match="lacks the column"):
        visit_shown.curves_figure(curves.drop(columns="knees"), "pc1")


def test_knees_are_lines(table, read):
    fig = visit_shown.knee_lines(table, read, "grade")
    assert len(fig.data) == 120  # two networks; the untrained one expects no grade
    assert {trace.name for trace in fig.data if trace.showlegend} == {"stable", "slow", "fast"}
    severity = by_knee(table, table["severity"])
    np.testing.assert_allclose(fig.data[7].x, severity[7])
    scores = read["single_kl"]["grade"][0]
    expected = (scores[7] - scores[:, 0].mean()) / scores[:, 0].std(ddof=1)
    np.testing.assert_allclose(fig.data[7].y, expected)
    few = visit_shown.course_figure(table, [3, 5])
    np.testing.assert_allclose(few.data[1].y, severity[4])


def test_pictures_are_slices_through_the_joint(table):
    one = table[table["knee"] == 1].iloc[:2]
    shape = (28, 20, 36)
    images = np.stack([draw_visit(row, shape, 1) for row in one.to_dict("records")])
    fig = visit_shown.visit_pictures(one, images, (4.0, 4.0))
    assert len(fig.data) == 2 and np.array(fig.data[0].z).shape == (13, 24)
    assert "severity" in fig.layout.annotations[0].text


def test_tables_and_sentences_say_what_was_found(tables):
    scores, contrasts = tables["scores"], tables["contrasts"]
    wide = visit_shown.measures_table(scores, "pc1")
    assert list(wide.columns) == ["untrained", "Single-KL", "Dual"]
    assert list(wide.index) == list(VISIT_MEASURES.values())
    assert list(visit_shown.measures_table(scores, "grade").columns) == ["Single-KL", "Dual"]
    shown = visit_shown.differences_table(contrasts)
    assert len(shown) == 12 and (shown["primary"] == "yes").sum() == 2
    assert shown.loc[("PC1", "order within a knee"), "found"] == "gain"
    verdict = visit_shown.says_whose(contrasts)
    assert verdict.startswith("**Within a knee Dual's axis follows the true severity more faith")
    said = visit_shown.says_whether(scores, contrasts).splitlines()
    assert said[0].startswith("- untrained: PC1 may not rise")
    assert said[2].startswith("- Dual: PC1 rises with the true severity of a knee")
    falling = scores.assign(high=-0.1, low=-0.3)
    assert "PC1 falls" in visit_shown.says_whether(falling, contrasts)
    least = visit_shown.least_change(scores, "pc1")
    values = scores[(scores["axis"] == "pc1") & (scores["network"] == "dual")]
    value = values.set_index("measure")["value"]
    assert least.loc["Dual", "least rise to be seen, grades"] == pytest.approx(
        1.96 * 2**0.5 * value["wobble"] / value["slope"]
    )
    none = scores.assign(low=np.where(scores["measure"] == "slope", -1.0, scores["low"]))
    assert visit_shown.least_change(none, "pc1").iloc[:, -1].isna().all()
    assert list(least.index) == ["untrained", "Single-KL", "Dual"]
