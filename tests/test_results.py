"""Tables that chapters keep: written whole, read back, absent where nothing was kept."""

import pandas as pd
import pytest

from oacore import results


def test_a_kept_table_is_read_back_and_an_absent_one_is_none(tmp_path):
    table = pd.DataFrame({"metric": ["oa_auc"], "delta": [0.1234567890123456]}, index=[7])
    results.keep(table, tmp_path, "09-chapter/stats")
    path = tmp_path / "results/09-chapter/stats.csv"
    assert path.read_text().splitlines()[0] == "metric,delta"
    pd.testing.assert_frame_equal(
        results.kept(tmp_path, "09-chapter/stats"), table.reset_index(drop=True)
    )
    assert results.kept(tmp_path, "09-chapter/other") is None
    assert [p.name for p in path.parent.iterdir()] == ["stats.csv"]


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    results.write_csv(pd.DataFrame({"a": [1]}), path)

    def fail(self, part, index):
        part.write_text("a\n")
        raise OSError("no space")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(OSError, match="no space"):
        results.write_csv(pd.DataFrame({"a": [2]}), path)
    assert path.read_text() == "a\n1\n"
