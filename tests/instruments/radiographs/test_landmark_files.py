"""Landmarks of BoneFinder and KNEEL, against a plain reading of the same text."""

import csv

import numpy as np
import pytest

from oacore.errors import InputError
from oacore.instruments.radiographs.landmark_files import (
    KNEEL_CHOICE,
    KNEEL_SIZE,
    read_bonefinder,
    read_kneel,
    read_pts,
)

RNG = np.random.default_rng(0)


def pts(path, points, n=None, end="}\n"):
    rows = "".join(f"{x:.4f} {y:.4f}\n" for x, y in points)
    path.write_text(f"version: 1\nn_points:  {len(points) if n is None else n}\n{{\n{rows}{end}")
    return path


def outline(n=74):
    """Points of a right knee in a file: x grows with the number, as from lateral to medial."""
    return np.column_stack([np.linspace(20, 200, n), RNG.uniform(90, 150, n)]).round(4)


def test_a_file_of_any_number_of_points(tmp_path):
    for n in (1, 16, 74):
        np.testing.assert_array_equal(
            read_pts(pts(tmp_path / "a.pts", outline(n)[:n])).shape, (n, 2)
        )
    points = outline(74)
    np.testing.assert_array_equal(read_pts(pts(tmp_path / "a.pts", points)), points)
    (tmp_path / "b.pts").write_bytes((tmp_path / "a.pts").read_bytes().replace(b"\n", b"\r\n"))
    np.testing.assert_array_equal(read_pts(tmp_path / "b.pts"), points)


def test_the_chosen_points_are_taken_scaled_and_mirrored(tmp_path):
    right, left = outline(), outline()
    left[:, 0] = 223 - left[:, 0]  # as it lies in its picture: lateral on the right
    paths = [pts(tmp_path / "r.pts", right * 0.2), pts(tmp_path / "l.pts", left * 0.2)]
    found = read_bonefinder(
        paths, sides=["right", "left"], widths=[224, 224], points=KNEEL_CHOICE, mm_per_pixel=0.2
    )
    assert found.shape == (2, 16, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found[0], right[list(KNEEL_CHOICE)], atol=1e-3)
    np.testing.assert_allclose(found[1, :, 0], 223 - left[list(KNEEL_CHOICE), 0], atol=1e-3)
    np.testing.assert_allclose(found[1, :, 1], left[list(KNEEL_CHOICE), 1], atol=1e-3)
    assert len(KNEEL_CHOICE) == 16 and max(KNEEL_CHOICE) == 63


def sixteen():
    points = outline(16)
    return points[np.r_[0:16:2, 15, 1:15:2]]


def test_sixteen_points_need_no_choice(tmp_path):
    points = sixteen()
    found = read_bonefinder([pts(tmp_path / "a.pts", points)], sides=["right"], widths=[224])
    np.testing.assert_allclose(found[0], points, rtol=1e-6)
    assert read_bonefinder([], sides=[], widths=[]).shape == (0, 16, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "has 74 points; name which 16"),
        ({"points": range(15)}, "names 15 different ones; name 16"),
        ({"points": [0] * 16}, "names 1 different ones"),
        ({"points": range(59, 75)}, "it has none of number 74"),
        ({"points": range(-1, 15)}, "it has none of number -1"),
        ({"points": KNEEL_CHOICE, "sides": ["left"]}, "its first points are not lateral"),
        ({"points": KNEEL_CHOICE, "sides": ["L"]}, "its side is 'L'; give right or left"),
        ({"points": KNEEL_CHOICE, "widths": []}, "1 files, 1 sides and 0 widths"),
        ({"points": KNEEL_CHOICE, "mm_per_pixel": 0}, "mm_per_pixel is 0"),
    ],
)
def test_what_cannot_be_chosen_is_refused(words, said, tmp_path):
    path = pts(tmp_path / "a.pts", outline())
    with pytest.raises(InputError, match=said):
        read_bonefinder([path], **{"sides": ["right"], "widths": [224], **words})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no .pts file"),
        ("version: 1\nn_points: 2\n1 2\n3 4\n", "is no .pts file"),
        ("version: 1\nn_points: 2\n{\n1 2\n3 4\n", "is no .pts file"),
        ("version: 1\nn_points: 3\n{\n1 2\n3 4\n}\n", "says n_points: 3 and holds 2"),
        ("version: 1\nn_points: 2\n{\n1 2\n3\n}\n", "'3' is not a point"),
        ("version: 1\nn_points: 2\n{\n1 2\n3 4 5\n}\n", "'3 4 5' is not a point"),
        ("version: 1\nn_points: 2\n{\n1 2\n3 nan\n}\n", "'3 nan' is not a point"),
    ],
)
def test_a_file_that_is_no_pts_is_refused(text, said, tmp_path):
    (tmp_path / "bad.pts").write_text(text)
    with pytest.raises(InputError, match=said) as error:
        read_pts(tmp_path / "bad.pts")
    assert "bad.pts" in str(error.value)
    (tmp_path / "bad.pts").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is no text"):
        read_pts(tmp_path / "bad.pts")


# KNEEL


def test_kneels_748_knees(shared):
    path = shared / "real/radiograph_landmarks/landmarks.csv"
    knees, found = read_kneel(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert found.shape == (len(rows), 16, 2) == (748, 16, 2) and found.dtype == np.float32
    assert knees["kl"].tolist() == [int(row["kl"]) for row in rows]
    assert knees["person"].tolist() == [row["knee"] for row in rows]
    assert knees["side"].value_counts().to_dict() == {"right": 374, "left": 374}
    for row, points in zip(rows, found, strict=True):
        numbers = [int(word) for bone in ("tibia", "femur") for word in row[bone].split(",")]
        assert points.ravel().tolist() == numbers
        left, _, right, _ = map(int, row["bbox"].split(","))
        assert right - left == KNEEL_SIZE
    assert (found > 0).all() and (found < KNEEL_SIZE).all()


HEAD = "subject_id,side,kl,tibia,femur,bbox,center\n"
TIBIA = ",".join(f"{10 * i},250" for i in range(1, 10))
FEMUR = ",".join(f"{12 * i},240" for i in range(1, 8))


def kneel_row(side="R", kl="1", tibia=TIBIA, femur=FEMUR):
    return f'9000000,{side},{kl},"{tibia}","{femur}","1,2,467,468","234,235"\n'


def test_its_own_names_of_columns(tmp_path):
    (tmp_path / "k.csv").write_text(HEAD + kneel_row() + kneel_row("L", "4"))
    knees, found = read_kneel(tmp_path / "k.csv")
    assert knees.to_dict("list") == {
        "person": ["9000000"] * 2, "side": ["right", "left"], "kl": [1, 4],
    }  # fmt: skip
    assert found[0, :, 0].tolist() == [*range(10, 100, 10), *range(12, 96, 12)]
    assert (found[1] == found[0]).all()  # it has mirrored left knees itself


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD.replace("femur", "bone") + kneel_row(), "column femur is missing"),
        (HEAD.replace("subject_id", "id") + kneel_row(), "column subject_id is missing"),
        (HEAD + kneel_row() + kneel_row(side="X"), "row 3: side 'X'"),
        (HEAD + kneel_row(kl="5"), "row 2: side 'R', kl '5'"),
        (HEAD + kneel_row(tibia="1,2,3"), "row 2: tibia is not 9 points, 18 numbers"),
        (HEAD + kneel_row(femur=FEMUR.replace("240", "x")), "femur is not 7 points"),
        (HEAD + kneel_row(femur=TIBIA), "femur is not 7 points"),
        (
            HEAD + kneel_row(tibia=",".join(f"{100 - 10 * i},9" for i in range(9))),
            "row 2: its first points are not lateral",
        ),
    ],
)
def test_a_table_that_is_not_kneels_is_refused(text, said, tmp_path):
    (tmp_path / "k.csv").write_text(text)
    with pytest.raises(InputError, match=said) as error:
        read_kneel(tmp_path / "k.csv")
    assert "k.csv" in str(error.value)
