"""What is said of simulated intervals, on tables whose shares are known."""

import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.metrics.coverage import by_seeds, in_words, rows_of, shortfalls


def made(*rows):
    columns = ["interval", "measure", "seeds", "knees", "nominal", "repeats", "covered"]
    return pd.DataFrame(rows, columns=columns)


TABLE = made(
    ("kept", "auc", 3, 98, 0.95, 400, 0.95),
    ("kept", "auc", 5, 98, 0.95, 400, 0.94),
    ("short", "auc", 2, 98, 0.95, 400, 0.5),
    ("short", "auc", 3, 98, 0.95, 400, 0.95),
    ("short", "kappa", 3, 98, 0.95, 300, 0.8),
    ("short", "kappa", 5, 98, 0.95, 100, 0.7),
    ("narrow", "auc", 3, 98, 0.9, 400, 0.9),
    ("by chance", "auc", 3, 98, 0.95, 100, 0.9),
    ("hardly", "auc", 3, 98, 0.95, 100_000, 0.94),
)
EVERY = list(dict.fromkeys(TABLE["interval"]))


def test_what_falls_short_is_pooled_over_settings_and_surely_below():
    found = shortfalls(TABLE, EVERY).to_dict("records")
    assert found == [
        {
            "interval": "short", "measure": "kappa", "knees": 98, "promised": 0.95,
            "covered": pytest.approx((0.8 * 300 + 0.7 * 100) / 400), "least": 0.7,
        }
    ]  # fmt: skip
    two = shortfalls(TABLE, ["short"], seeds=2)
    # 200 of 400 and 380 of 400: the worst comes first, and two seeds drag the other along.
    assert two["measure"].tolist() == ["auc", "kappa"]
    assert two["covered"].tolist() == pytest.approx([0.725, 0.775])


def test_a_90_percent_interval_is_held_to_90_percent():
    assert shortfalls(TABLE, ["narrow"]).empty
    assert len(shortfalls(TABLE.assign(nominal=0.95), ["narrow"])) == 1


def test_words_follow_the_table():
    assert in_words(shortfalls(TABLE, ["kept"]), {}).startswith("None of them falls short")
    said = in_words(shortfalls(TABLE, EVERY), {"kappa": "quadratic kappa"})
    assert (
        "- *short* promises 95% and holds 78% (quadratic kappa, 98 knees; 70% at the worst)" in said
    )
    assert "kept" not in said
    of_fewer = made(("short", "kappa, few labels", 3, 98, 0.95, 300, 0.8))
    said = in_words(shortfalls(of_fewer, ["short"]), {"kappa": "quadratic kappa"})
    assert said.endswith("holds 80% (quadratic kappa, few labels, 98 knees)")


def test_shares_stand_by_seeds_in_the_order_given():
    shown = by_seeds(TABLE, ["short", "kept", "narrow"])
    assert shown.index.tolist() == ["short", "kept", "narrow"]
    assert shown.columns.tolist() == ["promised", "2 seeds", "3 seeds", "5 seeds"]
    assert shown.loc["short", "3 seeds"] == pytest.approx(0.875)
    assert shown.loc["narrow", "promised"] == 0.9 and pd.isna(shown.loc["kept", "2 seeds"])


def test_an_interval_that_nobody_simulated_is_no_row():
    assert len(rows_of(TABLE, ["kept"])) == 2
    assert rows_of(TABLE.assign(repeats=99), ["kept"]).empty
    with pytest.raises(InputError, match="has no row of kapt.*workflow.coverage"):
        rows_of(TABLE, ["kept", "kapt"])
