"""Files of a set: links, zips, what is damaged, and that nothing is written."""

import shutil

import pandas as pd

from oacore.instruments.radiographs.cases import read_radiographs
from tests.helpers import ROOT
from tests.instruments.radiographs import against, sets


def test_a_zip_is_read_in_place_and_auto_test_and_other_sizes_are_not(tmp_path):
    folder = tmp_path / "set"
    sets.drawn_public(folder / "ClsKLData/kneeKL224")
    read = read_radiographs(folder, height=28, width=28)
    sets.save(folder / "ClsKLData/kneeKL224/auto_test/1/9000100L.png", sets.knee(77))
    sets.save(folder / "ClsKLData/kneeKL299/train/1/9000100L.png", sets.knee(78, (299, 299)))
    (folder / "ClsKLData/kneeKL224/train/0/Thumbs.db").write_bytes(b"x")
    (folder / "ClsKLData/kneeKL224/train/0/.DS_Store").write_bytes(b"x")
    path = sets.zipped(folder, tmp_path / "KneeXrayData.zip", "KneeXrayData/")
    before = sorted(tmp_path.rglob("*"))
    zipped = read_radiographs(path, height=28, width=28)
    pd.testing.assert_frame_equal(zipped.cases, read.cases)
    assert (zipped.pictures == read.pictures).all()
    assert sorted(tmp_path.rglob("*")) == before


def test_folders_may_be_links_and_are_entered_once(tmp_path):
    cases = sets.drawn_public(tmp_path / "disk")
    (tmp_path / "set/kneeKL224").mkdir(parents=True)
    for split in sets.SPLITS:
        (tmp_path / f"set/kneeKL224/{split}").symlink_to(tmp_path / f"disk/{split}")
    (tmp_path / "disk/train/round").symlink_to(tmp_path / "set")
    read = read_radiographs(tmp_path / "set", height=8, width=8)
    assert sorted(cases["case"]) == read.cases["case"].tolist()


def test_what_is_no_set_is_refused(tmp_path):
    against.refused(tmp_path / "none", ["none", "no such folder"])
    against.refused(tmp_path, ["holds no radiographs"])
    (tmp_path / "a.zip").write_bytes(b"not a zip")
    against.refused(tmp_path / "a.zip", ["a.zip is no zip"])
    for name in ("one", "two"):
        sets.save(tmp_path / f"b/{name}/train/0/9000100L.png", sets.knee(1))
    against.refused(tmp_path / "b", ["several sets", "one", "two"])


def test_a_damaged_or_locked_zip_is_refused(tmp_path):
    sets.drawn_public(tmp_path / "set")
    path = sets.zipped(tmp_path / "set", tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    data[4000] ^= 255
    (tmp_path / "bad.zip").write_bytes(data)
    against.refused(tmp_path / "bad.zip", ["bad.zip is damaged", "CRC"])
    (tmp_path / "half.zip").write_bytes(data[: len(data) // 2])
    against.refused(tmp_path / "half.zip", ["half.zip"])
    locked = bytearray(path.read_bytes())
    for start in (b"PK\x03\x04", b"PK\x01\x02"):
        place = locked.find(start) + (6 if start[2] == 3 else 8)
        locked[place] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    against.refused(tmp_path / "locked.zip", ["locked by a password"])


def test_nothing_of_a_set_is_written(tmp_path):
    sets.drawn_public(tmp_path / "set")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    read_radiographs(tmp_path / "set", height=8, width=8)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    shutil.rmtree(tmp_path / "set")
    assert ROOT not in tmp_path.parents
