"""The record of the experiment on radiographs: its tables, what it says of them, and no person."""

import json

import pandas as pd
import pytest

from oacore import record
from oacore.errors import InputError
from oacore.instruments.coherence.patterns import GRADES
from oacore.instruments.radiographs.arms import load_study
from workflow import record_radiographs as made


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder of runs that are not looked at, and what they are said to answer."""
    monkeypatch.setattr(record, "RECORDS", tmp_path / "record")
    folder = tmp_path / "runs"
    folder.mkdir()
    errors = [{"landmark": "all", "n": 3, "median_px": 1.5}, {"landmark": "t0", "n": 3}]
    said = {"key": {"pictures": "abc"}, "errors": {"val": errors}}
    (folder / "landmarks.json").write_text(json.dumps(said))
    heads = ["kl", "oarsi", "jsn_medial"]
    some = {"head": ["kl", "narrowings", "narrowings", "jsn_medial"]}
    some["frequency"] = ["natural", "natural", "all grades read", "all grades read"]
    found = {
        "scores": pd.DataFrame({"arm": "global", **some, "value": [0.5, 0.6, 0.7, 0.8]}),
        "by_seed": pd.DataFrame({"seed": [0]}),
        "recall": pd.DataFrame({"head": heads, "grade": [0, 1, 2]}),
        "coherence": pd.DataFrame({"kl": ["all"]}),
        "differences": pd.DataFrame({"reference": "global", **some}),
        "fewer": pd.DataFrame({"reference": "global", **some, "value": 1 / 3}),
        "runs": pd.DataFrame({"arm": ["global"], "seeds": [5], "processor_seconds": [60.0]}),
    }
    monkeypatch.setattr(made, "collect", lambda *_, **__: {k: v.copy() for k, v in found.items()})
    return folder


def cases():
    people = ["a", "a", "b", "c"]
    table = pd.DataFrame(
        {"case": list("1234"), "person": people, "split": ["train"] * 3 + ["test"], "kl": 0}
    )
    return table.assign(**dict.fromkeys(GRADES[1:], 1)).assign(jsn_medial=[1, None, 2, None])


def test_a_record_has_its_tables_and_says_what_they_follow_from(there):
    folder = made.write_record(load_study("real"), cases(), there)
    said = json.loads((folder / "record.json").read_text())
    names = {"scores", "recall", "coherence", "differences", "fewer", "runs", "landmarks",
             "pictures"}  # fmt: skip
    assert set(said["tables"]) == names == {path.stem for path in folder.glob("*.csv")}
    for name in names:
        path = folder / f"{name}.csv"
        assert said["tables"][name]["sha256"] == record.content_digest(path)
        assert not {"case", "person"} & set(record.read(path))
    for name in ("scores", "differences", "fewer"):
        assert list(record.read(folder / f"{name}.csv")["head"]) == ["kl", "narrowings"]
    assert record.read(folder / "scores.csv")["value"].tolist() == [0.5, 0.7]
    assert list(record.read(folder / "recall.csv")["head"]) == ["kl"]
    assert list(record.read(folder / "landmarks.csv")["landmark"]) == ["all"]
    assert record.read(folder / "fewer.csv")["value"][0] == 0.3333333  # seven digits
    counted = record.read(folder / "pictures.csv").set_index("split")
    assert counted.loc["train", ["knees", "people", "complete"]].tolist() == [3, 2, 2]
    assert said["processor seconds"] == 300 and said["study"]["name"] == "real"
    assert said["runs"] == {"models": 1, "seeds": 5, "test knees": 1}
    assert said["inputs"] == {"pictures": "abc"}
    assert {"oacore/instruments/radiographs/study.py", "oacore/training/pictures.py"} <= set(
        said["code"]
    )
    assert str(there.parent) not in json.dumps(said)


def test_the_old_record_stays_where_nothing_is_finished(there, monkeypatch):
    folder = made.write_record(load_study("real"), cases(), there)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def unfinished(*_, **__):
        raise InputError("no arm is finished")

    monkeypatch.setattr(made, "collect", unfinished)
    with pytest.raises(InputError, match="no arm"):
        made.write_record(load_study("real"), cases(), there)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_command_trains_first_unless_told_not_to(there, monkeypatch, capsys):
    trained = []
    monkeypatch.setattr(made, "run_study", lambda *words: trained.append(words))
    monkeypatch.setattr(made, "read_study", lambda *_: type("Set", (), {"cases": cases()}))
    assert made.main(["pictures", str(there), "--collect"]) == 0 and not trained
    assert made.main(["pictures", str(there)]) == 0
    assert trained == [("real", "pictures", there, 2)]
    assert "17-keypoints is made" in capsys.readouterr().out
