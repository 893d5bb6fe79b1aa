"""What is shown of two sets' likeness, whichever way it came out."""

import re

import numpy as np
import pandas as pd
import pytest

from oacore.instruments.radiographs.alike import (
    GREY,
    aucs_beside,
    gaps_beside,
    grey_beside,
    in_sentences,
)
from oacore.instruments.radiographs.likeness import APART


def row(measure, group, drawn, real, half=0.1, n=(10, 2000)):
    """A row of the table, with intervals that reach as far on either side."""
    values = {"drawn": drawn, "real": real}
    ends = {
        f"{name}_{end}": value + sign * half
        for name, value in values.items()
        for end, sign in (("low", -1), ("high", 1))
    }
    return {"measure": measure, "group": group, **values, **ends, "n_drawn": n[0], "n_real": n[1]}


def likeness(lost=0.3):
    gaps = [
        row(f"gap_{side}", f"JSN {jsn}", 5.0 - jsn, 5.0 - jsn + 0.1 * (jsn + 1) * (1 + lateral))
        for lateral, side in enumerate(("medial", "lateral"))
        for jsn in range(4)
    ]
    grey = []
    for place, name in enumerate(GREY):
        grey.append(row(name, "mean", 100.0 + 3 * place, 100.0))
        grey.append(row(name, "sd", 5.0, 10.0))
    other = [row("mean_not_shown", "mean", 1.0, 2.0), row("told_apart", "all", 0.987, 0.987, 0.01)]
    for measure in ("oa_auc", "kl_auc"):
        other += [
            row(measure, "trained on drawn", 0.9, 0.8 - lost),
            row(measure, "trained on real", 0.6, 0.8),
            row(measure, APART, 0.3, -lost),
        ]
    return pd.DataFrame([*gaps, *grey, *other])


def test_gaps_stand_beside_each_other_with_their_knees():
    shown = gaps_beside(likeness())
    assert list(shown.index) == [(s, f"JSN {g}") for s in ("medial", "lateral") for g in range(4)]
    assert shown.loc[("medial", "JSN 0")].tolist() == [
        "5.0 [4.9, 5.1]", "5.1 [5.0, 5.2]", "10", "2,000",
    ]  # fmt: skip
    table = likeness().assign(drawn_low=np.nan, drawn_high=np.nan)
    assert gaps_beside(table).loc[("lateral", "JSN 3"), "drawn"] == "2.0"  # too few knees


def test_grey_is_apart_in_standard_deviations_of_the_real_pictures():
    shown = grey_beside(likeness())
    assert list(shown.index) == list(GREY.values())
    np.testing.assert_allclose(shown["apart"], 0.3 * np.arange(len(GREY)))
    np.testing.assert_allclose(shown["spread"], 0.5)
    assert shown["real"].iloc[0] == "100.00 [99.90, 100.10]"


def test_aucs_stand_by_where_was_learned_and_where_was_tested():
    shown = aucs_beside(likeness())
    assert list(shown.columns) == ["tested on drawn", "tested on real"]
    assert shown.loc[("KL grade", "trained on drawn"), "tested on real"] == "0.50 [0.40, 0.60]"
    assert len(shown) == 4


@pytest.mark.parametrize(("lost", "said"), [(0.3, "excludes"), (-0.3, "excludes"), (0.05, "holds")])
def test_sentences_follow_the_table(lost, said):
    gaps, grey, told, *lines = in_sentences(likeness(lost))
    assert "0.3 mm apart in the median of 8 grades" in gaps
    assert "0.8 mm where they are furthest: lateral, JSN 3." in gaps
    assert f"Of the {len(GREY)} statistics of grey, 2 have means less than half" in grey
    assert f"“{list(GREY.values())[-1]}”, by +2.1." in grey
    assert told.endswith("an AUC of 0.987 [0.977, 0.997].")
    assert len(lines) == 2
    for line in lines:
        assert f"the difference is {-lost:+.2f} [" in line
        assert line.endswith(f"its interval {said} zero.")
        assert re.search(r"learned on real ones 0\.80 \[0\.70, 0\.90\]", line)
