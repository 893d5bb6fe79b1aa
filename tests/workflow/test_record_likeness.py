"""The record of drawn radiographs beside real ones: what it says, and that the code computes it."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from oacore import record
from oacore.errors import InputError
from oacore.fingerprint import code_files
from oacore.instruments.phantom.grades import SIDES
from oacore.instruments.radiographs.arms import load_study
from oacore.instruments.radiographs.cases import read_radiographs
from oacore.instruments.radiographs.drawn import draw_radiographs, sample_cases
from oacore.instruments.radiographs.likeness import likeness
from tests.helpers import ROOT
from tests.instruments.radiographs import sets
from workflow import record_likeness as made

THERE = record.RECORDS / made.CHAPTER
#: Of measured lengths and grey values, which other processors add up in another order; and of
#: fitted models, whose solvers stop where they are near enough.
RELATIVE, FITTED = 1e-5, 2e-3


@pytest.fixture(scope="module")
def table():
    return record.read(THERE / "likeness.csv")


def test_the_record_says_what_it_follows_from(table):
    said = record.made(made.CHAPTER)
    assert said["command"] == made.COMMAND and said["seed"] == made.SEED
    assert said["drawn"] == json.loads(json.dumps(made.DRAWN))
    assert said["provenance"]["clean"] is True and len(said["provenance"]["commit"]) == 40
    assert said["tables"] == {"likeness": {"sha256": record.content_digest(THERE / "likeness.csv")}}
    assert {path.name for path in THERE.iterdir()} == {"likeness.csv", "record.json"}
    assert said["resamples"]["of people"] >= 1000 and said["processor seconds"] > 0
    assert said["knees"] == {"drawn": sum(map(sum, list(made.DRAWN.values())[:3])), "real": 2400}
    assert set(said["inputs"]) == {"pictures", "landmarks", "cases"}
    assert {"oacore/instruments/radiographs/likeness.py",
            "oacore/instruments/radiographs/drawing.py"} <= set(said["code"])  # fmt: skip
    # Aggregates alone: a mean of fewer than five knees would be of persons.
    assert not {"case", "person"} & set(table)
    assert table[["n_drawn", "n_real"]].min().min() >= 5


def test_the_drawn_knees_have_the_proportions_of_the_real_ones_and_a_seed_of_their_own():
    study = load_study("real")
    for split in ("train", "test"):
        np.testing.assert_allclose(made.DRAWN[split], np.array(study.drawn[split]) / 2, atol=0.5)
    seeds = {load_study(name).drawn["seed"] for name in ("smoke", "laptop", "real", "paper")}
    assert made.DRAWN["seed"] not in seeds


def test_the_drawn_knees_of_the_record_are_those_of_this_code(table):
    """Drawing takes minutes: their grades are drawn again, and what draws them is unchanged."""
    cases = sample_cases(**made.DRAWN)
    rows = table.set_index(["measure", "group"])["n_drawn"]
    for side in SIDES:
        for jsn in range(4):
            n = int((cases[f"jsn_{side}"] == jsn).sum())
            assert rows[f"gap_{side}", f"JSN {jsn}"] == n
    drawing = code_files("oacore/instruments/radiographs/drawn.py")
    assert not set(record.changed(made.CHAPTER)) & set(drawing)


def test_the_real_half_of_the_record_is_what_the_code_computes(shared, table):
    """Beside a few other drawn knees: some 20 seconds of one processor."""
    real = read_radiographs(shared / "real/radiographs", height=224, width=224)
    assert made.digests(real) == record.made(made.CHAPTER)["inputs"]
    few = draw_radiographs((3,) * 5, (0,) * 5, (1,) * 5, seed=9, size=256)
    found = likeness(few, real, made.SEED)
    key = ["measure", "group"]
    both = table.merge(found, on=key, suffixes=("", "_now"), validate="one_to_one")
    assert len(both) == len(table) == len(found)
    assert (both["n_real"] == both["n_real_now"]).all()
    measured = ~both["measure"].isin(["told_apart", "oa_auc", "kl_auc"])
    of_real = both["group"] == "trained on real"
    assert measured.sum() > 40 and of_real.sum() == 2
    for rows, tolerance in ((measured, {"rtol": RELATIVE}), (of_real, {"atol": FITTED})):
        np.testing.assert_allclose(both["real_now"][rows], both["real"][rows], **tolerance)


def test_the_chapter_shows_the_table_and_no_altered_one(tmp_path, monkeypatch):
    cells = json.loads((ROOT / f"notebooks/{made.CHAPTER}.ipynb").read_text())["cells"]
    code = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert re.findall(r'from_record\(build, chapter, "([\w-]+)"\)', code) == ["likeness"]
    monkeypatch.setattr(record, "RECORDS", tmp_path / "record")
    copy = tmp_path / "record" / made.CHAPTER
    shutil.copytree(THERE, copy)
    shown = record.from_record(tmp_path, made.CHAPTER, "likeness")
    assert len(shown) == len(record.read(copy / "likeness.csv"))
    text = (copy / "likeness.csv").read_text()
    number = re.search(r"gap_medial,JSN 0,(\d\.\d+)", text)[1]
    (copy / "likeness.csv").write_text(text.replace(number, f"{float(number) + 0.01:.6f}"))
    with pytest.raises(InputError, match=r"likeness.csv: is not the table that was recorded"):
        record.from_record(tmp_path, made.CHAPTER, "likeness")


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A place for a record, and knees that are there without being drawn."""
    monkeypatch.setattr(record, "RECORDS", tmp_path / "record")
    source = sets.graded_set(tmp_path / "real")
    points = pd.read_csv(source / "landmarks.csv")
    points.assign(mm_per_px_x=0.4, mm_per_px_y=0.4).to_csv(source / "landmarks.csv", index=False)
    asked = []

    def drawn(**words):
        asked.append(words)
        return read_radiographs(source, height=224, width=224)

    monkeypatch.setattr(made, "draw_radiographs", drawn)
    one = {"measure": "gap_medial", "group": "JSN 0", "drawn": 1 / 3, "real": 2.0}
    monkeypatch.setattr(made, "likeness", lambda *_: pd.DataFrame([one]))
    return source, asked


def test_the_command_writes_a_record_without_a_place_or_a_person(quick, tmp_path, capsys):
    source, asked = quick
    assert made.main([str(source)]) == 0 and asked == [made.DRAWN]
    assert f"{made.CHAPTER} is made" in capsys.readouterr().out
    folder = tmp_path / "record" / made.CHAPTER
    said = json.loads((folder / "record.json").read_text())
    assert record.read(folder / "likeness.csv")["drawn"].tolist() == [0.3333333]  # seven digits
    assert said["tables"]["likeness"]["sha256"] == record.content_digest(folder / "likeness.csv")
    assert said["knees"] == {"drawn": 40, "real": 40}
    everything = (folder / "record.json").read_text() + (folder / "likeness.csv").read_text()
    assert str(tmp_path) not in everything and "knee_0" not in everything


def test_the_old_record_stays_without_landmarks_or_a_scale(quick, capsys):
    source, _ = quick
    folder = made.make(source)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    points = pd.read_csv(source / "landmarks.csv")
    points.drop(columns=["mm_per_px_x", "mm_per_px_y"]).to_csv(
        source / "landmarks.csv", index=False
    )
    assert made.main([str(source)]) == 1
    (source / "landmarks.csv").unlink()
    assert made.main([str(source)]) == 1
    assert capsys.readouterr().err.count("no picture has landmarks and millimetres") == 2
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
