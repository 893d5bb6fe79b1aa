"""Records: what the code computes today, of no single knee, made whole or not at all."""

import csv
import hashlib
import json
import re
import shutil
from functools import partial

import numpy as np
import pandas as pd
import pytest

from oacore import record
from oacore.errors import InputError
from oacore.instruments.phantom import template
from tests.helpers import ROOT
from workflow import record as made
from workflow import (
    record_artefact,
    record_changes,
    record_hierarchy,
    record_likeness,
    record_noise,
    record_radiographs,
    record_visits,
)

RECORDS = {chapter: record.RECORDS / chapter for chapter in made.CHAPTERS.values()}
TABLES = [path for folder in RECORDS.values() for path in sorted(folder.glob("*.csv"))]


def test_the_records_are_there_and_small():
    assert len(TABLES) == 40
    files = [path for folder in RECORDS.values() for path in folder.iterdir()]
    assert sum(path.stat().st_size for path in files) < 300_000


@pytest.mark.parametrize("chapter", RECORDS)
def test_a_record_says_what_it_follows_from(chapter):
    said = record.made(chapter)
    assert said["provenance"]["clean"] is True and len(said["provenance"]["commit"]) == 40
    assert said["processor seconds"] > 0 and said["profile"] == made.PROFILE
    (name,) = [name for name, its in made.CHAPTERS.items() if its == chapter]
    files = {"published": 9, "radiomics": 4, "references": 1}
    counted = {source: len(found) for source, found in said["inputs"].items()}
    assert counted == {source: files[source] for source in made.SOURCES[name]}
    assert said["other than released"] == made.other_than_released(said["inputs"])
    assert not [name for name in said["other than released"] if name.endswith(".csv")]
    assert set(said["tables"]) == {path.stem for path in RECORDS[chapter].glob("*.csv")}
    for path in RECORDS[chapter].glob("*.csv"):
        assert said["tables"][path.stem]["sha256"] == record.content_digest(path), path.name
    assert f"notebooks/{chapter}.ipynb" in said["code"]
    assert not any(name.startswith("oacore/plots") for name in said["code"])


@pytest.mark.parametrize("chapter", RECORDS)
def test_a_chapter_shows_every_table_and_leaves_no_cell_out(chapter):
    cells = json.loads((ROOT / f"notebooks/{chapter}.ipynb").read_text())["cells"]
    tags = {tag for cell in cells for tag in cell["metadata"].get("tags", [])}
    assert not [tag for tag in tags if tag.startswith("needs-")]
    code = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    asked = re.findall(r'(?:recorded|of_people)\(\s*(?:build, chapter, \w+, )?"([\w-]+)"', code)
    assert sorted(asked) == sorted(path.stem for path in RECORDS[chapter].glob("*.csv"))


#: Knees with and without a grade, of training, of the test, of both.
KNEES = {404, 383, 103, 98, 507, 481}


def no_person(path):
    """What a table has that could be of single knees."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    columns = [
        name for name in head if re.search(r"(^|_)(case|cmt|id|path|barcode)(_|$)", name, re.I)
    ]
    said = [f"{path.name} has a column {name}" for name in columns]
    lists = [cell for row in rows for cell in row if cell.startswith(("[", "(", "{"))]
    said += [f"{path.name} has a list in a cell: {cell[:30]}" for cell in lists[:1]]
    frame = record.read(path)
    if len(frame) in KNEES:
        said.append(f"{path.name} has {len(frame)} rows, as many as there are knees")
    for name in frame if len(frame) >= 98 else []:
        values = frame[name]
        if pd.api.types.is_integer_dtype(values) and values.is_unique:
            said.append(f"{path.name} has {len(frame)} rows, each with a {name} of its own")
    if "n" in frame and {"predicted", "observed"} <= set(frame) and frame["n"].min() < 5:
        said.append(f"{path.name} has a mean over fewer than five knees")
    return said


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_no_table_is_of_single_knees(path):
    assert no_person(path) == []


def test_a_row_of_a_person_is_found(tmp_path):
    path = tmp_path / "table.csv"
    knees = np.arange(98)
    for frame, said in (
        (pd.DataFrame({"case_id": [1, 2]}), "has a column case_id"),
        (pd.DataFrame({"CMT_ID": [1, 2]}), "has a column CMT_ID"),
        (pd.DataFrame({"knee": np.arange(99), "right": True}), "each with a knee of its own"),
        (pd.DataFrame({"prob_oa": knees / 97}), "98 rows, as many as there are knees"),
        (pd.DataFrame({"values": ["[0.1, 0.2]"]}), "has a list in a cell"),
        (pd.DataFrame({"predicted": [0.2], "observed": 0, "n": 1}), "fewer than five knees"),
    ):
        frame.to_csv(path, index=False)
        assert len(no_person(path)) == 1 and said in no_person(path)[0]


def test_the_records_are_what_the_code_computes_today(shared):
    """Both chapters, anew: some 50 seconds of one processor."""
    real = shared / "real"
    folders = {
        "published": str(real / "published_predictions"),
        "radiomics": str(real / "radiomics"),
    }
    assert made.compared(folders) == []


def test_the_record_of_the_grades_is_of_the_readings(shared, tmp_path):
    """Their counts by pattern, as a table of readings again: some 15 seconds of one processor."""
    counts = pd.read_csv(shared / "real/oarsi_grades/oarsi_pattern_counts.csv", comment="#")
    rows = counts.loc[counts.index.repeat(counts["count"])].drop(columns="count")
    rows = rows.rename(columns={name: column for column, name in template.COLUMNS.items()})
    rows.insert(0, "READPRJ", template.PROJECT)
    rows.to_excel(tmp_path / "kxr_sq_bu00.xlsx", index=False)
    assert made.compared({"references": str(tmp_path)}) == []


def test_no_pattern_of_few_knees_is_recorded():
    for name in ("common", "points"):
        assert record.read(RECORDS["15-seven-grades"] / f"{name}.csv")["count"].min() >= 10


def altered(value, name):
    """Another value, by the least that a reader could see of it."""
    if isinstance(value, bool | np.bool_):
        return not value
    if isinstance(value, str):
        return f"{value}x"
    if np.isinf(value):
        return 1e6
    if name in made.SWINGING:
        return 10 * value + 1
    return value + (1 if isinstance(value, int | np.integer) else 0.03)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_an_altered_value_is_found_in_each_column(path, tmp_path):
    absolute = made.ABSOLUTE.get(path.parent.name)
    was, now = tmp_path / "was", tmp_path / "now"
    was.mkdir()
    now.mkdir()
    shutil.copy(path, now)
    frame = record.read(path)
    for name in frame:
        row = frame[name].first_valid_index()
        if row is None:
            continue
        other = frame.astype({name: object})
        other.loc[row, name] = altered(frame.loc[row, name], name)
        other.to_csv(was / path.name, index=False)
        (said,) = made.differences(was, now, absolute)
        assert f"{path.name}: row {row + 1}, {name} was" in said
    frame.iloc[:-1].to_csv(was / path.name, index=False)
    assert "rows and columns in the record" in made.differences(was, now, absolute)[0]


def test_a_table_in_one_folder_alone_is_found(tmp_path):
    for name in ("was", "now"):
        (tmp_path / name).mkdir()
    (tmp_path / "now/a.csv").write_text("x\n1\n")
    (tmp_path / "was/b.csv").write_text("x\n1\n")
    said = made.differences(tmp_path / "was", tmp_path / "now")
    assert said == ["a.csv is not among the record", "b.csv is not among the computed tables"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An old record, and a chapter that computes one table."""
    monkeypatch.setattr(record, "RECORDS", tmp_path / "record")
    folder = tmp_path / "record/09-published-record"
    folder.mkdir(parents=True)
    (folder / "old.csv").write_text("x\n1\n")
    monkeypatch.setattr(made, "digests", lambda source, *_: {"a.csv": source})

    def run(chapter, folders):
        results = tmp_path / "build/results" / chapter
        results.mkdir(parents=True)
        (results / "new.csv").write_text("x\n2\n")
        (results / "new.json").write_text('{"function": "f", "settings": {"seed": 42}}')
        return results, 3.4

    monkeypatch.setattr(made, "run", run)
    return folder


def test_a_record_is_replaced_as_a_whole(project, tmp_path):
    folders = {"published": "a", "radiomics": "b"}
    assert made.make("published", folders) == project
    assert sorted(path.name for path in project.iterdir()) == ["new.csv", "record.json"]
    said = json.loads((project / "record.json").read_text())
    assert said["tables"] == {
        "new": {
            "function": "f",
            "settings": {"seed": 42},
            "sha256": hashlib.sha256(b"x\n2\n").hexdigest(),
        }
    }
    assert said["inputs"]["radiomics"] == {"a.csv": "radiomics"}
    assert said["other than released"] == ["a.csv", "a.csv"]
    assert said["processor seconds"] == 3 and str(tmp_path) not in json.dumps(said)
    assert [path.name for path in project.parent.iterdir()] == ["09-published-record"]
    assert not (tmp_path / "build").exists()


def test_a_failed_chapter_leaves_the_record_as_it_was(project, monkeypatch, tmp_path):
    def fails(chapter, folders):
        raise InputError("a cell failed")

    monkeypatch.setattr(made, "run", fails)
    with pytest.raises(InputError, match="a cell failed"):
        made.make("published", {"published": "a", "radiomics": "b"})
    assert [path.name for path in project.iterdir()] == ["old.csv"]
    assert [path.name for path in project.parent.iterdir()] == ["09-published-record"]


def test_files_other_than_the_released_ones_are_named(shared, tmp_path):
    there = shared / "real/published_predictions"
    found = made.digests("published", str(there))
    assert len(found) == 9 and made.other_than_released({"published": found}) == []
    for path in there.iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    with (tmp_path / "m3t_dual_preds.csv").open("a") as file:
        file.write("\n")
    found = made.digests("published", str(tmp_path))
    assert made.other_than_released({"published": found}) == ["m3t_dual_preds.csv"]
    (tmp_path / "m3t_dual_preds.csv").unlink()
    with pytest.raises(InputError, match=r"m3t_dual_preds.csv: no such file; get it with `oacore"):
        made.digests("published", str(tmp_path))


@pytest.fixture
def no_others(monkeypatch):
    """Without the records that other commands make."""
    monkeypatch.setattr(made, "others", dict)


def test_records_of_other_commands_are_compared_with_their_own_code(tmp_path, monkeypatch):
    code = {
        "17-keypoints": record_radiographs.code(),
        "16-picture-of-a-joint": record_likeness.code(),
        "20-is-it-the-hierarchy/radiomics": record_hierarchy.code("radiomics"),
        "20-is-it-the-hierarchy/radiographs": record_hierarchy.code("radiographs"),
        "20-is-it-the-hierarchy/phantom": record_hierarchy.code("phantom"),
        "20-is-it-the-hierarchy/phantom-second": record_hierarchy.code("phantom-second"),
        "22-a-knee-over-time": record_visits.code(),
        "23-when-would-it-help": record_noise.code(),
        "21-could-it-be-the-artefact": record_artefact.code(),
        "07-text-and-code": record_changes.code(),
    }
    assert {chapter: give() for chapter, give in made.others().items()} == code
    monkeypatch.setattr(record, "RECORDS", tmp_path)
    assert made.stale() == []  # none is made
    few = {chapter: dict(list(its.items())[:3]) for chapter, its in code.items()}
    monkeypatch.setattr(made, "others", lambda: {c: partial(dict, its) for c, its in few.items()})

    def say(chapter, of_code):
        (tmp_path / chapter).mkdir(parents=True, exist_ok=True)
        said = {"command": f"make {chapter}", "code": of_code}
        (tmp_path / chapter / "record.json").write_text(json.dumps(said))

    for chapter, its in few.items():
        say(chapter, its)
    assert made.stale() == []
    for chapter, its in few.items():
        # One file does something else since, one is gone, and one is behind it since.
        first, second, third = its
        say(chapter, {first: "0", "oacore/gone.py": "0", third: its[third]})
        assert made.stale() == [
            f"the record {chapter} was made by an earlier version of {first}, oacore/gone.py, "
            f"{second}: `make {chapter}`"
        ]
        say(chapter, its)


def test_the_command_says_which_record_is_of_earlier_code(monkeypatch, capsys, no_others):
    monkeypatch.setattr(record, "changed", lambda chapter: [])
    assert made.main(["--check"]) == 0
    assert "of this code" in capsys.readouterr().out
    monkeypatch.setattr(record, "changed", lambda c: ["oacore/x.py"] if c[:2] == "11" else [])
    assert made.main(["--check"]) == 1
    said = capsys.readouterr().out
    assert "11-radiomics was made by an earlier version of oacore/x.py" in said
    assert "python -m workflow.record radiomics --published FOLDER" in said and "09-" not in said
    assert made.main(["published"]) == 1  # without folders
    assert "oacore fetch published" in capsys.readouterr().err


def test_a_comparison_without_one_of_the_folders_says_which(
    monkeypatch, tmp_path, capsys, no_others
):
    monkeypatch.setattr(record, "changed", lambda chapter: [])
    monkeypatch.setattr(made, "run", lambda chapter, folders: pytest.fail("it ran a chapter"))
    assert made.main(["--check", "--radiomics", str(tmp_path)]) == 1
    said = capsys.readouterr().err.strip()
    assert said.endswith("no such file; get it with `oacore fetch published`")
    assert said.count("\n") == 0
