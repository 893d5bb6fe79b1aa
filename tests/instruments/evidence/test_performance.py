"""Recorded benchmarks are read as they were written, and drawn row for row."""

import json
import math

import pytest

from benchmarks.measure import Row
from oacore.errors import InputError
from oacore.instruments.evidence.performance import COLUMNS, read_benchmarks, speed_ratios, verdicts

ROWS = [
    Row("scan", "Scan: time", "pscan", "torch", (4.0, 6.0, 5.0), (1.0,), "s", aim=6),
    Row("scan", "Scan: peak memory", "", "torch", (), (2.5,), "GiB", at_most=3),
    Row("paper", "ResNet3D: training", "fp32", "bf16", (10.0,), (25.0,), "volumes/s", aim=2),
    Row("m3t", "M3T: saved", "all", "some", (1.0,), (2.0,), "GiB", note="counted"),
]


def write(path, device, rows=ROWS, **changes):
    record = {
        "device": device,
        "threads": 1,
        "cores": 2,
        "versions": {"torch": "2.13.0", "mambapy": "1.2.0"},
        "commit": "0123abc",
        "clean": True,
        "finished": "2026-01-01T00:00:00+00:00",
        "rows": [row.record() for row in rows],
        **changes,
    }
    path.write_text(json.dumps(record))


def test_every_row_of_every_file_is_read(tmp_path):
    write(tmp_path / "cpu.json", "cpu: X")
    write(tmp_path / "cuda-y.json", "cuda: Y", ROWS[2:3])
    (tmp_path / "cuda-z.json.part").write_text("{")  # of a run that did not end
    table = read_benchmarks(tmp_path)
    assert list(table) == COLUMNS and len(table) == 5
    assert list(table["file"]) == ["cpu.json"] * 4 + ["cuda-y.json"]
    assert list(table["device"]) == ["cpu: X"] * 4 + ["cuda: Y"]
    assert table["versions"][0] == "torch 2.13.0, mambapy 1.2.0"
    assert list(table["ratio"].fillna(-1)) == [5, -1, 2.5, 0.5, 2.5]
    assert list(table["met"]) == [False, True, True, None, True]
    assert table["peer_spread"][0] == [4, 6] and table["peer_value"][0] == 5
    assert (table["commit"][0], table["threads"][0]) == ("0123abc", 1)


def test_nothing_recorded_is_an_empty_table(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        table = read_benchmarks(folder)
        assert list(table) == COLUMNS and table.empty
    with pytest.raises(InputError, match="no row"):
        speed_ratios(table)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"device": "cpu", "rows": [', "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"rows": []}', "versions"),
        (b"\xff\xfe", "UnicodeDecodeError"),
    ],
)
def test_a_damaged_file_is_named_with_the_cure(tmp_path, content, why):
    path = tmp_path / "cpu.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        read_benchmarks(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{path}: is damaged") and why in message
    assert f"python -m benchmarks.speed --out {path}" in message


def test_a_row_that_lacks_a_column_is_damage(tmp_path):
    write(tmp_path / "cpu.json", "cpu: X")
    record = json.loads((tmp_path / "cpu.json").read_text())
    del record["rows"][1]["unit"]
    (tmp_path / "cpu.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="unit"):
        read_benchmarks(tmp_path)


def test_rows_in_words(tmp_path):
    big = Row("scan", "Scan: memory", "pscan", "torch", (2071.6,), (78.25,), "MiB", aim=3)
    write(tmp_path / "cpu.json", "cpu: X", [*ROWS, big])
    table = verdicts(read_benchmarks(tmp_path))
    assert list(table) == ["ratio", "aim", "met", "peer", "ours"]
    assert list(table.loc["Scan: time"]) == ["5x", "≥ 6x", "no", "5 s", "1 s"]
    assert list(table.loc["Scan: peak memory"]) == ["", "≤ 3 GiB", "yes", "", "2.5 GiB"]
    assert list(table.loc["M3T: saved"]) == ["0.5x", "", "", "1 GiB", "2 GiB"]
    assert list(table.loc["Scan: memory"]) == ["26.5x", "≥ 3x", "yes", "2,072 MiB", "78.2 MiB"]


def drawn(fig):
    """From where to where each bar goes, by the label beside it."""
    names = {math.ceil(words.y): words.text for words in fig.layout.annotations}
    return {
        (bar.name, names[round(float(y))]): (bar.base, bar.base + x, text)
        for bar in fig.data
        if bar.type == "bar"
        for y, x, text in zip(bar.y, bar.x, bar.text, strict=True)
    }


def test_a_bar_for_each_ratio_and_a_line_for_each_aim(tmp_path):
    write(tmp_path / "cpu.json", "cpu: X")
    fig = speed_ratios(read_benchmarks(tmp_path))
    assert drawn(fig) == {
        ("cpu: X, 1 thread", "Scan: time"): (1, 5, "5x"),
        ("cpu: X, 1 thread", "ResNet3D: training"): (1, 2.5, "2.5x"),
        ("cpu: X, 1 thread", "M3T: saved"): (1, 0.5, "0.5x"),
    }
    (aims,) = [trace for trace in fig.data if trace.type == "scatter"]
    assert list(zip(aims.y, aims.x, strict=True)) == [(0, 6), (1, 2)]
    assert fig.layout.xaxis.type == "log"
    low, high = fig.layout.xaxis.range
    assert 10**low < 0.5 and 10**high > 6


def test_two_runs_of_a_device_stand_side_by_side(tmp_path):
    write(tmp_path / "a.json", "cpu: X", ROWS[:1])
    write(tmp_path / "b.json", "cpu: X", ROWS[:1], threads=4)
    fig = speed_ratios(read_benchmarks(tmp_path))
    first, second = (bar for bar in fig.data if bar.type == "bar")
    assert (first.name, second.name) == ("cpu: X, 1 thread", "cpu: X, 4 threads")
    assert second.y[0] - first.y[0] >= first.width


def test_devices_have_colours_of_their_own_and_share_a_label(tmp_path):
    write(tmp_path / "cpu.json", "cpu: X")
    write(tmp_path / "cuda-y.json", "cuda: Y", ROWS[2:3])
    fig = speed_ratios(read_benchmarks(tmp_path))
    assert len(drawn(fig)) == 4
    assert ("cuda: Y", "ResNet3D: training") in drawn(fig)
    first, second = (bar for bar in fig.data if bar.type == "bar")
    assert first.marker.color != second.marker.color
    places = {first.y[1]: first.width, second.y[0]: second.width}
    assert len(places) == 2 and abs(first.y[1] - second.y[0]) >= first.width  # side by side
    assert sum(trace.showlegend is not False for trace in fig.data if trace.name == "aim") == 1
