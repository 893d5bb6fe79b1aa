"""What the intervals of chapter 9's clinical measures cover, in small."""

from workflow.coverage_clinical import simulate_calibration


def test_intervals_cover_what_they_say():
    table = simulate_calibration(98, repeats=40, seed=1)
    assert list(table.columns) == ["interval", "n", "nominal", "covered", "repeats"]
    assert not table["interval"].duplicated().any()
    assert (table["nominal"] == 0.95).all() and (table["repeats"] == 40).all()
    in_a_grade = table["interval"].str.contains("in a grade")
    assert (table.loc[in_a_grade, "n"] == 12).all() and (table.loc[~in_a_grade, "n"] == 98).all()
    # 33 of 40 or fewer at a coverage of .95 has a chance of .004 for one interval.
    assert (table["covered"] >= 33 / 40).all(), table
    assert 0.93 < table.loc[~in_a_grade, "covered"].mean() < 0.97
    again = simulate_calibration(98, repeats=2, seed=1)
    assert again.equals(simulate_calibration(98, repeats=2, seed=1))
