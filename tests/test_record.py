"""A table is the same to a chapter whether it was computed or read from the record."""

import json

import pandas as pd
import pytest

from oacore import record
from oacore.errors import InputError
from oacore.fingerprint import code_digest
from oacore.results import kept


def thirds(n: int, *, word: str = "none", skipped: tuple[int, ...] = (1,)) -> pd.DataFrame:
    """Numbers that no decimal writes, a missing one, a word that pandas takes for missing."""
    values = [None if k in skipped else k / 3 for k in range(n)]
    return pd.DataFrame({"word": word, "note": "", "value": values, "clear": True}, index=range(n))


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A record of one table, made by code that lies beside it."""
    monkeypatch.setattr(record, "RECORDS", tmp_path / "book/record")
    folder = tmp_path / "book/record/09-chapter"
    folder.mkdir(parents=True)
    code = tmp_path / "oacore/thirds.py"
    code.parent.mkdir()
    code.write_text('"""Said."""\nx = 1  # why\n')
    said = {
        "command": "python -m workflow.record chapter",
        "tables": {},
        "code": {"oacore/thirds.py": code_digest(code)},
        "provenance": {"commit": "0123456789abcdef", "finished": "2026-11-29T02:00:00+00:00"},
    }
    (folder / record.MADE).write_text(json.dumps(said))
    return folder


def put(text, there):
    """Record a table."""
    (there / "thirds.csv").write_text(text)
    said = json.loads((there / record.MADE).read_text())
    said["tables"]["thirds"] = {"sha256": record.content_digest(there / "thirds.csv")}
    (there / record.MADE).write_text(json.dumps(said))


def test_a_recorded_table_equals_the_computed_one(there, tmp_path):
    build = tmp_path / "build"
    live = record.recorded(build, "09-chapter", "files", "thirds", thirds, 7)
    computed = build / "results/09-chapter/thirds.csv"
    put(computed.read_text(), there)
    other = tmp_path / "other"
    # Without inputs nothing is called: the arguments may be anything.
    read = record.recorded(other, "09-chapter", "", "thirds", thirds, None)
    pd.testing.assert_frame_equal(live, read, check_exact=True)
    assert live["value"].tolist()[2] == 2 / 3 and live["value"].isna().sum() == 1
    assert set(live["word"]) == {"none"} and live["note"].isna().all() and live["clear"].all()
    assert not (other / "results/09-chapter/thirds.csv").exists()


def test_a_computed_table_says_how_it_was_called(there, tmp_path):
    record.recorded(tmp_path, "09-chapter", "files", "thirds", thirds, 7, word="a")
    call = json.loads((tmp_path / "results/09-chapter/thirds.json").read_text())
    assert call["function"].endswith("test_record.thirds")
    assert call["settings"] == {"n": 7, "word": "a", "skipped": [1]}


def test_the_report_knows_a_table_of_the_record_from_a_computed_one(there, tmp_path):
    assert record.found(tmp_path, "09-chapter/thirds") == (None, False)
    put(thirds(3).to_csv(index=False), there)
    record.recorded(tmp_path, "09-chapter", "", "thirds", thirds)
    table, from_record = record.found(tmp_path, "09-chapter/thirds")
    assert from_record and len(table) == 3
    assert kept(tmp_path, "09-chapter/thirds") is None
    record.recorded(tmp_path, "09-chapter", "files", "thirds", thirds, 4)
    table, from_record = record.found(tmp_path, "09-chapter/thirds")
    assert not from_record and len(table) == 4


def test_what_the_record_lacks_is_named_with_the_cure(there, tmp_path):
    with pytest.raises(InputError, match=r"09-chapter/other.csv: the record has no such table; gi"):
        record.recorded(tmp_path, "09-chapter", "", "other", thirds)
    with pytest.raises(InputError, match="no such record; make it with `python -m workflow.record"):
        record.origin("10-other", "")


def test_an_altered_table_is_not_shown(there, tmp_path):
    put(thirds(3).to_csv(index=False), there)
    text = (there / "thirds.csv").read_text()
    (there / "thirds.csv").write_bytes(text.replace("\n", "\r\n").encode())  # as Git may
    assert len(record.recorded(tmp_path, "09-chapter", "", "thirds", thirds)) == 3
    (there / "thirds.csv").write_text(text.replace("0.66", "0.67"))
    with pytest.raises(InputError, match=r"thirds.csv: is not the table that was recorded; rest"):
        record.recorded(tmp_path, "09-chapter", "", "thirds", thirds)


def test_a_page_says_whether_it_computed_and_how_old_the_record_is(there, tmp_path, monkeypatch):
    said = record.origin("09-chapter", "files")
    assert said == "Computed in this build, from the files that it was given."
    monkeypatch.setattr(record, "changed", lambda chapter: [])
    said = record.origin("09-chapter", "")
    assert "python -m workflow.record chapter" in said
    assert "on 2026-11-29, at commit 0123456789." in said and "earlier" not in said
    monkeypatch.setattr(record, "changed", lambda chapter: ["oacore/thirds.py"])
    assert record.origin("09-chapter", "").endswith("made by an earlier version of this code.")


def test_a_record_is_of_its_code_until_that_does_something_else(there, tmp_path):
    code = tmp_path / "oacore/thirds.py"
    assert record.changed("09-chapter", tmp_path) == []
    code.write_text('"""Said otherwise."""\n\nx = 1\n')
    assert record.changed("09-chapter", tmp_path) == []
    code.write_text('"""Said."""\nx = 2  # why\n')
    assert record.changed("09-chapter", tmp_path) == ["oacore/thirds.py"]
    code.unlink()
    assert record.changed("09-chapter", tmp_path) == ["oacore/thirds.py"]


def test_the_phantoms_record_stands_beside_other_phantoms_alone(there):
    assert record.stands_beside("09-chapter", True, "laptop")
    assert not record.stands_beside("09-chapter", True, record.PROFILE)
    assert not record.stands_beside("09-chapter", False, "laptop")
    assert not record.stands_beside("08-other", True, "laptop")


def test_the_phantoms_record_says_of_what_it_is(there):
    said = json.loads((there / record.MADE).read_text())
    said["runs"] = {"models": 9, "seeds": 5, "test knees": 1000}
    (there / record.MADE).write_text(json.dumps(said))
    words = record.trained("09-chapter")
    assert "trained 9 models with 5 seeds each and tested them on 1,000 phantom knees" in words
    assert "not computed in this build" in words and "at commit 0123456789." in words
    assert words.endswith("made by an earlier version of this code.")
    said["code"] = {}
    (there / record.MADE).write_text(json.dumps(said))
    assert record.trained("09-chapter").endswith("at commit 0123456789.")


def test_a_record_of_two_sets_says_how_many_knees_each_has(there):
    said = json.loads((there / record.MADE).read_text())
    said |= {"knees": {"drawn": 1000, "real": 2400}, "code": {}}
    (there / record.MADE).write_text(json.dumps(said))
    words = record.compared("09-chapter")
    assert "not computed in this build" in words and words.endswith("at commit 0123456789.")
    assert "set 1,000 drawn knees beside 2,400 real ones" in words


def test_a_chapter_that_has_not_run_is_named(there, tmp_path):
    with pytest.raises(InputError, match="lacks 09-chapter/thirds: run the chapter 09-chapter"):
        record.need(tmp_path / "build", "09-chapter/thirds")
    put("value\n1\n", there)
    record.from_record(tmp_path / "build", "09-chapter", "thirds")
    table, was_read = record.need(tmp_path / "build", "09-chapter/thirds")
    assert was_read and table["value"].tolist() == [1]


def test_a_chapter_that_shows_the_record_of_another_writes_to_its_own_folder(there, tmp_path):
    put(thirds(3).to_csv(index=False), there)
    build = tmp_path / "build"
    table = record.from_record(build, "09-chapter", "thirds", shown_in="10-other")
    assert [path.name for path in (build / "results").iterdir()] == ["10-other"]
    pd.testing.assert_frame_equal(kept(build, "10-other/recorded/09-chapter/thirds"), table)
    assert record.found(build, "09-chapter/thirds") == (None, False)
