"""Drawn sets: counts, missing grades, and the folder that is read back as it was drawn."""

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.instruments.coherence.patterns import GRADES
from oacore.instruments.phantom.grades import NARROWINGS, OSTEOPHYTES, kl_from_oarsi
from oacore.instruments.radiographs import drawn as module
from oacore.instruments.radiographs.cases import read_radiographs
from oacore.instruments.radiographs.drawn import (
    as_read,
    draw_radiographs,
    sample_cases,
    write_radiographs,
)
from oacore.instruments.radiographs.pictures import correlation_with_mean_knee
from oacore.seals import SEAL, damage

PUBLIC = (
    (2286, 1046, 1516, 757, 173),
    (328, 153, 212, 106, 27),
    (639, 296, 447, 223, 51),
)
SMALL = ((3, 1, 1, 1, 1), (1, 0, 1, 0, 0), (1, 1, 0, 0, 1))


@pytest.fixture(scope="module")
def public():
    return sample_cases(*PUBLIC, seed=2)


@pytest.fixture(scope="module")
def small():
    return draw_radiographs(*SMALL, seed=3, size=96)


def test_counts_are_those_asked_for_and_names_tell_nothing(public):
    counts = public.groupby(["split", "kl"]).size().unstack()
    for split, expected in zip(("train", "val", "test"), PUBLIC, strict=True):
        assert tuple(counts.loc[split]) == expected
    assert public["person"].is_unique and public["case"].is_monotonic_increasing
    number = np.arange(len(public))
    assert abs(np.corrcoef(number, public["kl"].astype(float))[0, 1]) < 0.04
    assert abs((public["side"] == "left").mean() - 0.5) < 0.03


def test_kl_agrees_with_the_six_as_often_as_in_real_readings(public):
    """5,107 of 5,507 read knees, 92.7%."""
    ruled = kl_from_oarsi(public[[*OSTEOPHYTES, *NARROWINGS]].astype(int))
    assert (ruled == public["kl"].astype(int)).mean() == pytest.approx(5107 / 5507, abs=0.012)
    assert (ruled == public["kl_true"]).all()


def test_osteophytes_are_missing_as_in_oai(public):
    """In 77.8% of KL 0, 46.9% of KL 1, none above; never a part of them, never narrowing."""
    read = as_read(public, seed=2)
    missing = read[OSTEOPHYTES].isna()
    assert (missing.all(axis=1) == missing.any(axis=1)).all()
    share = missing.any(axis=1).groupby(read["kl"]).mean()
    assert share[0] == pytest.approx(0.778, abs=0.03)
    assert share[1] == pytest.approx(0.469, abs=0.05)
    assert (share[2:] == 0).all()
    assert read[["kl", *NARROWINGS]].notna().all(axis=None)
    there = ~missing.any(axis=1)
    pd.testing.assert_frame_equal(read[there], public[there])


def test_a_set_in_memory(small):
    cases = small.cases
    assert list(cases.columns[:4]) == ["case", "person", "side", "split"]
    assert [str(cases[name].dtype) for name in GRADES] == ["Int64"] * 7
    assert small.pictures.shape == (len(cases), 96, 96) and small.landmarks.shape[1:] == (16, 2)
    assert (cases["mm_per_pixel_x"] == 140 / 96).all()
    full = draw_radiographs((0,) * 5, (0,) * 5, (1, 0, 0, 0, 0), seed=3, size=64, all_read=True)
    assert full.cases[list(GRADES)].notna().all(axis=None)


def test_a_picture_that_would_be_refused_is_taken_again(small, monkeypatch):
    """One in 660 had a wide white edge beside a pale knee, and no reader took it for one."""
    likeness = np.array([correlation_with_mean_knee(picture) for picture in small.pictures])
    limit = np.sort(likeness)[2:4].mean()  # as if three of them showed no knee
    monkeypatch.setattr(module, "KNEE", limit)
    found = draw_radiographs(*SMALL, seed=3, size=96)
    assert all(correlation_with_mean_knee(picture) > limit for picture in found.pictures)
    same = [np.array_equal(a, b) for a, b in zip(found.pictures, small.pictures, strict=True)]
    np.testing.assert_array_equal(same, likeness > limit)
    pd.testing.assert_frame_equal(found.cases, small.cases)


def test_the_folder_reads_as_the_set_was_drawn(small, tmp_path):
    truth = write_radiographs(tmp_path / "set", *SMALL, seed=3, size=96, workers=2)
    read = read_radiographs(tmp_path / "set", height=96, width=96)
    assert {"left", "right"} == set(read.cases["side"])
    np.testing.assert_array_equal(read.pictures, small.pictures)
    np.testing.assert_allclose(read.landmarks, small.landmarks, atol=0.006)
    columns = ["case", "person", "side", "split", *GRADES]
    assert read.cases[columns].equals(small.cases[columns].astype(dict.fromkeys(columns[:4], str)))
    np.testing.assert_allclose(read.cases["mm_per_pixel_y"], 140 / 96)
    known = pd.read_csv(tmp_path / "set/truth.csv")
    np.testing.assert_allclose(known["joint_space_medial_mm"], truth["joint_space_medial_mm"])
    assert known[OSTEOPHYTES].notna().all(axis=None)
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [
        "README.txt", "images", "landmarks.csv", "seal.json", "table.csv", "truth.csv"
    ]  # fmt: skip
    assert damage(tmp_path / "set" / SEAL) is None
    (tmp_path / "set/images/drawn_0001.png").unlink()
    assert "drawn_0001.png: is missing" in str(damage(tmp_path / "set" / SEAL))


def test_an_interrupted_set_goes_on(tmp_path, monkeypatch):
    write_radiographs(tmp_path / "whole", *SMALL, seed=1, size=64)
    calls = []

    def failing(subject, *rest):
        calls.append(subject["case"])
        if len(calls) == 5:
            raise KeyboardInterrupt
        return draw(subject, *rest)

    draw = module.draw_radiograph
    monkeypatch.setattr(module, "draw_radiograph", failing)
    with pytest.raises(KeyboardInterrupt):
        write_radiographs(tmp_path / "set", *SMALL, seed=1, size=64)
    assert not (tmp_path / "set").exists()
    write_radiographs(tmp_path / "set", *SMALL, seed=1, size=64)
    n = sum(map(sum, SMALL))
    assert len(calls) == n + 1 and len(set(calls)) == n  # only the fifth was drawn anew
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file() and path.name != SEAL:  # which has times
            twin = tmp_path / "set" / path.relative_to(tmp_path / "whole")
            assert twin.read_bytes() == path.read_bytes()
    assert not (tmp_path / "set.part").exists()


def test_another_seed_does_not_go_on(tmp_path, monkeypatch):
    few = ((1, 1, 0, 0, 0), (0,) * 5, (0,) * 5)
    monkeypatch.setattr(module, "in_processes", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_radiographs(tmp_path / "set", *few, seed=1, size=64)
    (tmp_path / "set.part/images/drawn_0001.png").write_bytes(b"of seed 1")
    monkeypatch.undo()
    write_radiographs(tmp_path / "set", *few, seed=2, size=64)
    assert (tmp_path / "set/images/drawn_0001.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("counts", "more", "said"),
    [
        (((1, 0, 0, 0), (0,) * 5, (0,) * 5), {}, "give 5 counts of 0 or more"),
        (((1, 0, 0, 0, 0), (0, -1, 0, 0, 0), (0,) * 5), {}, r"val is \(0, -1, 0, 0, 0\)"),
        (((-1, 0, 0, 0, 0), (2, 0, 0, 0, 0), (1,) * 5), {}, r"train is \(-1, 0, 0, 0, 0\)"),
        (SMALL, {"seed": -1}, "seed is -1; give 0 or more"),
        (SMALL, {"workers": 0}, "workers is 0; give 1 or more"),
        (SMALL, {"size": 20}, "size is 20; give 64 pixels or more"),
        (SMALL, {"reader_noise": 2.0}, "0 to 1"),
    ],
)
def test_what_is_refused(counts, more, said, tmp_path):
    with pytest.raises(InputError, match=said):
        write_radiographs(tmp_path / "set", *counts, **more)
    with pytest.raises(InputError, match=said):
        draw_radiographs(*counts, **more)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something already"):
        write_radiographs(tmp_path, *SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
