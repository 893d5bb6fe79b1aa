"""The knees of a build are read once, and again where their tables have changed."""

import pytest

from oacore.data import cohort as tables
from oacore.data.cohort import read_tables
from oacore.errors import InputError
from tests.helpers import small_phantom
from workflow.knees import knees_of


def test_tables_are_read_again_when_they_have_changed_and_not_before(tmp_path, monkeypatch):
    small_phantom(tmp_path / "cohort")
    scan, scans = tables.scan_tables, []
    monkeypatch.setattr(tables, "scan_tables", lambda folder: scans.append(folder) or scan(folder))
    knees = knees_of(tmp_path)
    read = len(scans)
    assert knees.phantom and not knees.mixed and read
    assert knees.cases.equals(read_tables(tmp_path / "cohort"))
    scans.clear()
    assert knees_of(tmp_path) is knees and not scans
    (train,) = (tmp_path / "cohort").glob("**/subInfo_train.*")
    train.write_bytes(train.read_bytes())
    assert knees_of(tmp_path).cases.equals(knees.cases) and len(scans) == read
    train.unlink()
    with pytest.raises(InputError, match="subInfo_train"):
        knees_of(tmp_path)
