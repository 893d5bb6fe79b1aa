"""Tables that chapters keep: written whole, read back, absent where nothing was kept; files."""

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
    assert sorted(p.name for p in path.parent.iterdir()) == ["seal.json", "stats.csv"]


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


def test_what_lies_beside_a_page_is_where_the_build_publishes_it(tmp_path):
    path, address = results.beside_page(tmp_path, "14-saliency/slicer")
    assert path == tmp_path / "results/14-saliency/public/slicer"
    assert address == "../_static/14-saliency/slicer"


def test_a_table_is_made_once(tmp_path):
    made = []

    def make():
        made.append(1)
        return pd.DataFrame({"n": [len(made), 7]})

    for _ in range(2):
        assert results.made_once(tmp_path / "deep/n.csv", make)["n"].tolist() == [1, 7]
    assert made == [1]
