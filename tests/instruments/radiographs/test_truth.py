"""A drawn set's truth: it is that of its cases, and its tables count and average by hand."""

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.instruments.coherence.patterns import GRADES
from oacore.instruments.radiographs.cases import read_radiographs
from oacore.instruments.radiographs.drawn import write_radiographs
from oacore.instruments.radiographs.likeness import joint_gaps
from oacore.instruments.radiographs.truth import (
    by_narrowing,
    grade_counts,
    joint_spaces_beside,
    read_truth,
    with_truth,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("set") / "drawn"
    write_radiographs(path, (2, 1, 2, 2, 2), (0,) * 5, (1,) * 5, seed=3, size=96)
    return path


@pytest.fixture(scope="module")
def radiographs(folder):
    return read_radiographs(folder, height=96, width=96)


def test_grades_as_drawn_stand_beside_those_as_read(folder, radiographs):
    shuffled = radiographs.cases.sample(frac=1, random_state=0)
    both = with_truth(shuffled, read_truth(folder))
    written = pd.read_csv(folder / "truth.csv").set_index("case").loc[both["case"]]
    assert (both["true_kl"].to_numpy() == written["kl_true"].to_numpy()).all()
    for name in GRADES[1:]:
        assert (both[f"true_{name}"].to_numpy() == written[name].to_numpy()).all()
        read = both[name].notna()
        assert (both.loc[read, name] == both.loc[read, f"true_{name}"]).all()
    assert both["osteophyte_tm"].isna().any() and both["true_osteophyte_tm"].notna().all()


def test_a_stranger_and_a_set_without_truth_are_refused(folder, radiographs, tmp_path):
    with pytest.raises(InputError, match="case other is not in it"):
        with_truth(radiographs.cases.assign(case="other"), read_truth(folder))
    with pytest.raises(InputError, match="only a set of drawn radiographs"):
        read_truth(tmp_path)


def test_spaces_between_landmarks_are_near_the_drawn_ones(folder, radiographs):
    spaces = joint_spaces_beside(radiographs, read_truth(folder))
    assert len(spaces) == 2 * len(radiographs.cases)
    assert (spaces["measured"] - spaces["drawn"]).abs().median() < 0.4
    gaps = joint_gaps(radiographs)
    for side in ("medial", "lateral"):
        own = spaces[spaces["side"] == side]
        np.testing.assert_array_equal(own["measured"], gaps[side])
        assert np.corrcoef(own["drawn"], own["measured"])[0, 1] > 0.9


def test_means_by_narrowing():
    spaces = pd.DataFrame(
        {
            "side": ["lateral", "medial", "medial", "medial"],
            "jsn": [0, 2, 2, 0],
            "drawn": [5.0, 3.0, 2.0, 5.0],
            "measured": [5.5, 3.5, 2.1, 4.0],
        }
    )
    found = by_narrowing(spaces)
    assert found.index.tolist() == [("medial", "JSN 0"), ("medial", "JSN 2"), ("lateral", "JSN 0")]
    row = found.loc[("medial", "JSN 2")]
    assert row["knees"] == 2 and row["drawn"] == 2.5 and row["measured"] == pytest.approx(2.8)
    assert row["bias"] == pytest.approx(0.3)
    assert row["spread"] == pytest.approx(np.std([0.5, 0.1], ddof=1))


def test_counts_of_grades():
    cases = pd.DataFrame({name: [0, 1, 1] for name in GRADES}).astype("Int64")
    cases.loc[0, "osteophyte_fl"] = pd.NA
    cases.loc[2, "kl"] = 4
    found = grade_counts(cases)
    assert found.loc["KL"].tolist() == [1, 1, 0, 0, 1, 0]
    fl = found.loc["O FL"]
    assert fl[["0", "1", "2", "3", "not read"]].tolist() == [0, 2, 0, 0, 1] and pd.isna(fl["4"])
    assert (found.sum(axis=1) == 3).all()
