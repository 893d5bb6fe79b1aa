"""Radiographs as they are read: against brute force, each other, and their tables."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from oacore.errors import InputError
from oacore.instruments.coherence.patterns import GRADES
from oacore.instruments.radiographs.cases import (
    OARSI,
    POINTS,
    correlation_with_mean_knee,
    grey_pixels,
    mean_knee,
    mirror,
    read_oai,
    read_radiographs,
    resample,
)
from tests.helpers import ROOT
from tests.instruments.radiographs import sets

COLUMNS = ["case", "person", "side", "split", *GRADES]


@pytest.fixture(scope="module")
def real(shared):
    folder = shared / "real/radiographs"
    return folder, read_radiographs(folder, height=80, width=112, crop=(160 / 224, 1))


@pytest.fixture(scope="module")
def real_public(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    table = sets.real_public(shared / "real/radiographs", folder / "kneeKL224")
    sets.write_oai(sets.oai_table(table), folder / "kxr_sq_bu00.txt")
    return folder, table


def area_mean(pixels, height, width):
    """The mean of the area under each pixel, by brute force: each old pixel in many small ones."""
    rows = np.repeat(pixels.astype(float), height, axis=0)
    rows = rows.reshape(height, len(pixels), -1).mean(axis=1)
    columns = np.repeat(rows, width, axis=1)
    return columns.reshape(height, width, pixels.shape[1]).mean(axis=2)


def same_pictures(found, wanted):
    assert found.dtype == np.uint8 and found.shape == wanted.shape
    assert np.abs(found - wanted.astype(float)).max() <= 0.5 + 1e-9


# Sizes


@pytest.mark.parametrize("size", [(80, 112), (224, 224), (320, 320), (37, 301), (1, 1)])
def test_each_pixel_is_the_mean_of_its_area(size):
    picture = np.random.default_rng(0).integers(0, 256, (224, 200)).astype(np.uint8)
    same_pictures(resample(picture, *size), area_mean(picture, *size))
    middle = resample(picture, *size, crop=(0.5, 0.8))
    same_pictures(middle, area_mean(picture[56:168, 20:180], *size))


def test_halves_are_rounded_up_and_the_same_size_is_the_same_picture():
    picture = np.array([[1, 2], [2, 1]], np.uint8)
    assert resample(picture, 1, 1).tolist() == [[2]]
    picture = np.random.default_rng(0).integers(0, 256, (31, 17)).astype(np.uint8)
    assert (resample(picture, 31, 17) == picture).all()
    assert (resample(picture[:, ::-1], 10, 9) == resample(picture, 10, 9)[:, ::-1]).all()


@pytest.mark.parametrize(
    ("size", "crop"), [((0, 5), (1, 1)), ((5, 5), (0, 1)), ((5, 5), (1, 1.1)), ((5, 5), (1e-9, 1))]
)
def test_sizes_that_cannot_be_are_refused(size, crop):
    with pytest.raises(InputError, match="shares above 0|keep more"):
        resample(np.zeros((8, 8), np.uint8), *size, crop)


@pytest.mark.parametrize("side", ["R", "left"])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(
    ("size", "crop"),
    [((672, 448), (1, 1)), ((480, 672), (160 / 224, 1)), ((224, 168), (0.5, 0.75))],
)
def test_a_landmark_stays_on_its_bright_pixel(side, inverted, size, crop, tmp_path):
    """In whole multiples of the old size a pixel's light is centred where its landmark is."""
    row, column = 101, 57
    rows = sets.own_table(1).assign(side=side)
    found = []
    for name, light in (("dark", 0), ("bright", 200)):
        pixels = np.minimum(sets.knee(3), 55)  # dark enough to be lit further
        assert correlation_with_mean_knee(pixels) > 0.3
        pixels = pixels[:, ::-1].copy() if side == "left" else pixels.copy()
        pixels[row, column] += light
        pixels = 255 - pixels if inverted else pixels
        folder = sets.write_own(tmp_path / name, rows, {"knee_0": pixels})
        points = {f"{point}{axis}": [place] for point in POINTS
                  for axis, place in (("x", column), ("y", row))}  # fmt: skip
        pd.DataFrame({"case": "knee_0", **points}).to_csv(folder / "landmarks.csv", index=False)
        found.append(read_radiographs(folder, height=size[0], width=size[1], crop=crop))
    dark, bright = found
    light = bright.pictures[0].astype(float) - dark.pictures[0]
    y, x = (light.sum(axis) @ np.arange(light.shape[1 - axis]) for axis in (1, 0))
    centre = np.array([x, y]) / light.sum()
    assert np.abs(bright.landmarks[0] - centre).max() < 1e-4
    # By hand: the middle of the pixel, from the crop's edge, in new pixels.
    from_left = 223 - column if side == "left" else column
    cut = (224 - 224 * np.array(crop)) / 2
    scale = np.array(size) / (224 - 2 * cut)
    wanted = (from_left + 0.5 - cut[1]) * scale[1] - 0.5, (row + 0.5 - cut[0]) * scale[0] - 0.5
    np.testing.assert_allclose(bright.landmarks[0, 0], wanted, atol=1e-4)


def test_mirroring_twice_is_nothing_and_once_is_numpys():
    points = np.random.default_rng(0).integers(0, 9, (5, 2)).astype(float)
    np.testing.assert_array_equal(mirror(mirror(points, 9), 9), points)
    line = np.arange(9)[::-1]
    assert (line[mirror(points, 9)[:, 0].astype(int)] == points[:, 0]).all()


# One's own layout


def test_the_table_is_read_as_the_contract_says(tmp_path):
    table = sets.own_table(6).rename(columns={"person": "subject"}).iloc[::-1]
    table["ost_fl"], table["jsn_medial"] = [3, "", 0, 1, 2, ""], 0
    table["sex"], table["age"] = ["F", "male", "m", "female", "", "F"], [50, 60.5, "", 70, 80, 90]
    table["weight"] = 0.5
    read = read_radiographs(sets.write_own(tmp_path, table), height=56, width=56)
    cases = read.cases
    assert list(cases.columns) == [*COLUMNS, "sex", "age", "weight"]
    assert list(cases["case"]) == [f"knee_{i}" for i in range(6)] == sorted(cases["case"])
    assert list(cases["side"]) == ["right", "left"] * 3 and (cases["weight"] == 0.5).all()
    assert list(cases["person"]) == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert cases["osteophyte_fl"].tolist() == [pd.NA, 2, 1, 0, pd.NA, 3]
    assert cases["osteophyte_tm"].isna().all() and (cases["jsn_medial"] == 0).all()
    assert all(cases[name].dtype == "Int64" for name in GRADES)
    assert cases["sex"].fillna("").tolist() == ["female", "", "female", "male", "male", "female"]
    assert np.isnan(read.landmarks).all() and read.landmarks.dtype == np.float32
    for place in range(6):
        same_pictures(read.pictures[place], area_mean(sets.knee([5, 5 - place]), 56, 56))


def test_doubtful_landmarks_are_left_out_and_the_scale_follows_the_picture(tmp_path):
    folder = sets.write_own(tmp_path, sets.own_table(4))
    points = {f"{point}{axis}": 60.0 for point in POINTS for axis in "xy"}
    rows = pd.DataFrame(
        {"case": ["knee_3", "knee_0", "knee_1"], **points, "mm_per_px_x": [0.4, 0.5, 0.3],
         "mm_per_px_y": 0.6, "two_fit_disagreement_px": [3.0, 3.01, ""]}
    )  # fmt: skip
    rows.to_csv(folder / "landmarks.csv", index=False)
    read = read_radiographs(folder, height=56, width=112, crop=(0.5, 1))
    assert (~np.isnan(read.landmarks).all(axis=(1, 2))).tolist() == [False, False, False, True]
    np.testing.assert_allclose(read.landmarks[3, 0], [81.25, 1.75])  # mirrored: 163 of 224
    assert read.cases["mm_per_pixel_x"].tolist()[3] == pytest.approx(0.8)
    assert read.cases["mm_per_pixel_y"].tolist()[3] == pytest.approx(1.2)
    assert read.cases["mm_per_pixel_x"].isna().tolist() == [True, True, True, False]


# The real pictures


def test_the_real_pictures_are_hung_alike_and_averaged(real):
    folder, read = real
    table = pd.read_csv(folder / "table.csv").sort_values("case", ignore_index=True)
    assert read.pictures.shape == (2400, 80, 112) and read.landmarks.shape == (2400, 16, 2)
    assert (read.cases["case"] == table["case"]).all()
    assert read.cases["split"].value_counts().to_dict() == {"train": 1400, "test": 700, "val": 300}
    assert (read.cases["side"].str[0].str.upper() == table["side"]).all()
    for name, here in sets.REAL_NAMES.items():
        pd.testing.assert_series_equal(
            read.cases[here], table[name].astype("Int64"), check_names=False
        )
    left, negative = table["side"] == "L", table["inverted"] == 1
    some = [*np.flatnonzero(negative)[:6], *range(0, 2400, 97)]
    assert {(left[i], negative[i]) for i in some} == {(a, b) for a in (0, 1) for b in (0, 1)}
    for place in some:
        pixels = np.asarray(Image.open(folder / f"images/{table['case'][place]}.png"))
        pixels = 255 - pixels if negative[place] else pixels
        pixels = pixels[:, ::-1] if left[place] else pixels
        wanted = area_mean(pixels[32:192], 80, 112)
        same_pictures(read.pictures[place], wanted)


def test_the_real_landmarks_are_lateral_first_and_of_the_good_fits_alone(real):
    folder, read = real
    rows = pd.read_csv(folder / "landmarks.csv")
    good = set(rows["case"][rows["two_fit_disagreement_px"] <= 3])
    there = ~np.isnan(read.landmarks[:, 0, 0])
    assert set(read.cases["case"][there]) == good and len(good) == 492
    x, y = read.landmarks[there][..., 0], read.landmarks[there][..., 1]
    assert (np.diff(x[:, :9]) > 0).all() and (np.diff(x[:, 9:]) > 0).all()
    assert (y[:, 9:].mean(1) < y[:, :9].mean(1)).all()  # the femur is above the tibia
    scale = read.cases["mm_per_pixel_x"][there]
    assert scale.median() == pytest.approx(2 * 0.43, abs=0.05)


def test_every_negative_is_found_and_nothing_else(real):
    folder, _ = real
    table = pd.read_csv(folder / "table.csv")
    likeness = []
    for case, side in zip(table["case"], table["side"], strict=True):
        pixels = np.asarray(Image.open(folder / f"images/{case}.png"))
        likeness.append(correlation_with_mean_knee(pixels[:, ::-1] if side == "L" else pixels))
    likeness, negative = np.array(likeness), table["inverted"] == 1
    assert negative.sum() == 44
    assert likeness[negative].max() < -0.7 and likeness[~negative].min() > 0.18


def test_the_mean_knee_is_that_of_the_training_pictures(shared):
    folder = shared / "real/radiographs"
    table = pd.read_csv(folder / "table.csv").query("split == 'train' and inverted == 0")
    total = np.zeros((224, 224))
    for case, side in zip(table["case"], table["side"], strict=True):
        pixels = np.asarray(Image.open(folder / f"images/{case}.png"))
        total += pixels[:, ::-1] if side == "L" else pixels
    mean = area_mean(total / len(table), 16, 16)
    assert np.corrcoef(mean.ravel(), mean_knee().ravel())[0, 1] > 0.9999
    assert mean_knee().mean() == pytest.approx(0) and (mean_knee() ** 2).sum() == pytest.approx(1)


def test_the_public_layout_gives_the_same_as_ones_own(real, real_public):
    """Two ways to the same knees: names and folders and OAI's table, or a table of one's own."""
    folder, table = real_public
    words = {"height": 80, "width": 112, "crop": (160 / 224, 1)}
    read = read_radiographs(folder / "kneeKL224", oarsi=folder / "kxr_sq_bu00.txt", **words)
    assert list(read.cases.columns) == COLUMNS
    order = table.sort_values("file", key=lambda files: files.str[-12:])["case"]
    own = real[1].cases.set_index("case").loc[order]
    places = real[1].cases.reset_index().set_index("case").loc[order, "index"]
    assert (read.pictures == real[1].pictures[places]).all()
    pd.testing.assert_frame_equal(
        read.cases[["side", "split", *GRADES]],
        own[["side", "split", *GRADES]].reset_index(drop=True),
    )
    assert read.cases[list(OARSI)].notna().all(axis=1).sum() == 1616
    assert np.isnan(read.landmarks).all()


# The public layout


def test_names_and_folders_make_the_table(tmp_path):
    cases = sets.drawn_public(tmp_path)
    read = read_radiographs(tmp_path, height=112, width=112)
    cases = cases.sort_values("case", ignore_index=True)
    assert list(read.cases.columns) == COLUMNS
    for name in ("case", "person", "split", "kl"):
        assert read.cases[name].tolist() == cases[name].tolist()
    assert read.cases["side"].tolist() == ["left", "right"] * 15
    assert read.cases[list(OARSI)].isna().all(axis=None)
    for picture, upright in zip(read.pictures, cases["upright"], strict=True):
        same_pictures(picture, area_mean(upright, 112, 112))


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


@pytest.mark.parametrize("sign", ["|", "\t", ","])
def test_oais_table_is_joined_by_number_side_and_project(sign, tmp_path):
    rng = np.random.default_rng(1)
    cases = sets.drawn_public(tmp_path / "set").sort_values("case", ignore_index=True)
    grades = pd.DataFrame(rng.integers(0, 4, (len(cases), 6)), columns=list(OARSI)).astype("Int64")
    grades = grades.mask(rng.random(grades.shape) < 0.3)
    table = sets.oai_table(cases.join(grades))
    table = table.rename(columns={"READPRJ": "readprj"})  # as in some of its releases
    path = sets.write_oai(table, tmp_path / "kxr_sq_bu00.txt", sign)
    read = read_radiographs(tmp_path / "set", height=8, width=8, oarsi=path)
    pd.testing.assert_frame_equal(read.cases[list(OARSI)], grades)
    assert len(read_oai(path)) == len(cases) + 3


def test_folders_may_be_links_and_are_entered_once(tmp_path):
    cases = sets.drawn_public(tmp_path / "disk")
    (tmp_path / "set/kneeKL224").mkdir(parents=True)
    for split in sets.SPLITS:
        (tmp_path / f"set/kneeKL224/{split}").symlink_to(tmp_path / f"disk/{split}")
    (tmp_path / "disk/train/round").symlink_to(tmp_path / "set")
    read = read_radiographs(tmp_path / "set", height=8, width=8)
    assert sorted(cases["case"]) == read.cases["case"].tolist()


def test_oais_table_may_be_a_spreadsheet(tmp_path):
    cases = sets.drawn_public(tmp_path / "set")
    sets.oai_table(cases).to_excel(tmp_path / "kxr_sq_bu00.xlsx", index=False)
    read = read_radiographs(
        tmp_path / "set", height=8, width=8, oarsi=tmp_path / "kxr_sq_bu00.xlsx"
    )
    assert (read.cases[list(OARSI)] == 0).all(axis=None)


# What is refused


def refused(source, said, **words):
    with pytest.raises(InputError) as error:
        read_radiographs(source, height=8, width=8, **words)
    assert "\n" not in str(error.value) and ";" in str(error.value)
    for part in said:
        assert part in str(error.value), str(error.value)


def test_what_is_no_set_is_refused(tmp_path):
    refused(tmp_path / "none", ["none", "no such folder"])
    refused(tmp_path, ["holds no radiographs"])
    (tmp_path / "a.zip").write_bytes(b"not a zip")
    refused(tmp_path / "a.zip", ["a.zip is no zip"])
    for name in ("one", "two"):
        sets.save(tmp_path / f"b/{name}/train/0/9000100L.png", sets.knee(1))
    refused(tmp_path / "b", ["several sets", "one", "two"])


def test_a_damaged_or_locked_zip_is_refused(tmp_path):
    sets.drawn_public(tmp_path / "set")
    path = sets.zipped(tmp_path / "set", tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    data[4000] ^= 255
    (tmp_path / "bad.zip").write_bytes(data)
    refused(tmp_path / "bad.zip", ["bad.zip is damaged", "CRC"])
    (tmp_path / "half.zip").write_bytes(data[: len(data) // 2])
    refused(tmp_path / "half.zip", ["half.zip"])
    locked = bytearray(path.read_bytes())
    for start in (b"PK\x03\x04", b"PK\x01\x02"):
        place = locked.find(start) + (6 if start[2] == 3 else 8)
        locked[place] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    refused(tmp_path / "locked.zip", ["locked by a password"])


def test_the_grades_of_oai_are_not_for_a_table_of_ones_own(tmp_path):
    folder = sets.write_own(tmp_path / "own", sets.own_table(2))
    refused(folder, ["kxr.txt", "write the OARSI grades"], oarsi=tmp_path / "kxr.txt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kl": 5}, ["table.csv row 2", "kl is not a whole number from 0 to 4", "found 5"]),
        ({"jsn_m": 4}, ["table.csv row 2", "jsn_medial", "0 to 3", "found 4"]),
        ({"ost_tl": "1.5"}, ["osteophyte_tl", "found 1.5"]),
        ({"side": "medial"}, ["side is none of right, left", "found medial"]),
        ({"split": "dev"}, ["split is none of train, val, test"]),
        ({"split": "val"}, ["a person in two splits", "table.csv row 2"]),
        ({"case": "knee_1"}, ["a case that has a row already", "knee_1"]),
        ({"case": "../knee"}, ["case is no name of a file"]),
        ({"case": "absent"}, ["images/absent.png", "missing"]),
        ({"person": ""}, ["person is empty", "table.csv row 2"]),
        ({"sex": "x"}, ["sex is none of female, male"]),
        ({"age": 400}, ["age is not a number from 1 to 120"]),
        ({"inverted": 1}, ["inverted is not what the picture shows", "table.csv row 2"]),
    ],
)
def test_a_row_that_cannot_be_is_named(change, said, tmp_path):
    folder = sets.write_own(tmp_path, sets.own_table(4))
    table = sets.own_table(4).astype(object)
    for name, value in change.items():
        table[name] = table.get(name, pd.Series("", table.index, dtype=object)).astype(object)
        table.loc[0, name] = value
    table.to_csv(folder / "table.csv", index=False)
    refused(folder, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"t4x": 250}, ["images/knee_0.png", "landmarks lie outside", "knee_0"]),
        ({"f0y": -30}, ["landmarks lie outside"]),
        ({"t0x": "x"}, ["landmarks.csv row 2", "a landmark is no number"]),
        ({"case": "other"}, ["landmarks.csv row 2", "the table lacks", "other"]),
        ({"case": "knee_1"}, ["landmarks.csv row 3", "has some already"]),
    ],
)
def test_landmarks_that_cannot_be_are_named(change, said, tmp_path):
    folder = sets.write_own(tmp_path, sets.own_table(4))
    points = {f"{point}{axis}": 60.0 for point in POINTS for axis in "xy"}
    rows = pd.DataFrame({"case": ["knee_0", "knee_1"], **points}).astype(object)
    rows.to_csv(folder / "landmarks.csv", index=False)
    assert not np.isnan(read_radiographs(folder, height=8, width=8).landmarks[:2]).any()
    for name, value in change.items():
        rows.loc[0, name] = value
    rows.to_csv(folder / "landmarks.csv", index=False)
    refused(folder, said)


def test_a_table_that_lacks_a_column_says_which(tmp_path):
    folder = sets.write_own(tmp_path, sets.own_table(2))
    for name in ("case", "person", "kl"):
        sets.own_table(2).drop(columns=name).to_csv(folder / "table.csv", index=False)
        refused(folder, ["table.csv", f"column {name} is missing"])
    sets.own_table(2).iloc[:0].to_csv(folder / "table.csv", index=False)
    refused(folder, ["table.csv: has no row"])
    both = sets.own_table(2).assign(jsn_m=0, jsn_medial=0)
    both.to_csv(folder / "table.csv", index=False)
    refused(folder, ["both jsn_m and jsn_medial"])


def test_only_whole_grey_pngs_are_pictures():
    pixels = sets.knee(0)
    assert (grey_pixels(sets.png(pixels)) == pixels).all()
    rgb = np.stack([pixels] * 3, axis=-1)
    for data, why in (
        (sets.png(rgb), "RGB"),
        (sets.png(pixels.astype(np.uint16) * 257), "16-bit"),
        (sets.png(pixels > 100), "1-bit"),
        (sets.png(pixels)[:-2000], "PNG"),
        (b"no picture", "PNG"),
        (b"", "PNG"),
    ):
        with pytest.raises(ValueError, match=why):
            grey_pixels(data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.rename(columns={"V00XRKL": "V01XRKL"}), ["another visit (V01XRKL)", "bu00"]),
        (lambda t: t[t["READPRJ"] != "15"], ["no row of reading project 15", "there are: 37, 42"]),
        (lambda t: t.assign(V00XRJSM="4: Worse"), ["V00XRJSM", "0 to 3", "found 4: Worse"]),
        (lambda t: t.assign(V00XROSFL="1.2"), ["V00XROSFL", "found 1.2"]),
        (lambda t: t.assign(SIDE="3"), ["SIDE is neither 1 (right) nor 2 (left) (found 3)"]),
        (lambda t: pd.concat([t, t[t["READPRJ"] == "15"].tail(1)]), ["a second row of this knee"]),
        (lambda t: t[t["ID"] != "9000100"], ["9000100L.png", "has no row of reading project 15"]),
        (lambda t: t.drop(columns=["V00XROSTM"]), ["column V00XROSTM is missing"]),
        (
            lambda t: t.assign(SIDE=t["SIDE"].map({"1: Right": "2", "2: Left": "1"})),
            ["9000107L.png", "its KL grade is not that of", "SIDE"],
        ),
    ],
)
def test_a_table_that_is_not_oais_of_the_baseline_is_refused(change, said, tmp_path):
    cases = sets.drawn_public(tmp_path / "set")
    # So that swapped sides show: in the public set both knees of a person may differ.
    other = cases["case"] == "9000107L"
    (tmp_path / "set/train/1/9000107L.png").rename(tmp_path / "set/train/2/9000107L.png")
    cases.loc[other, "kl"] = 2
    table = sets.oai_table(cases)
    good = sets.write_oai(table, tmp_path / "good.txt")
    read_radiographs(tmp_path / "set", height=8, width=8, oarsi=good)
    path = sets.write_oai(change(table), tmp_path / "kxr_sq_bu00.txt")
    refused(tmp_path / "set", said, oarsi=path)


def test_a_file_that_is_no_table_of_oais_is_refused(tmp_path):
    sets.drawn_public(tmp_path / "set")
    for name, data, said in (
        ("kxr.txt", b"", "is missing"),
        ("kxr.csv", b"\xff\xfe\x00", "is no text"),
        ("kxr_sq_bu00.sas7bdat", b"x", "as text"),
        ("cut.txt", "|".join(["ID", "SIDE", "READPRJ", *sets.OAI_NAMES.values()]).encode()
         + b"\n9000100|1|15\n", "row 2 has 3 cells under 10 columns"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=said):
            read_radiographs(tmp_path / "set", height=8, width=8, oarsi=tmp_path / name)


def test_nothing_of_a_set_is_written(tmp_path):
    sets.drawn_public(tmp_path / "set")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    read_radiographs(tmp_path / "set", height=8, width=8)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    shutil.rmtree(tmp_path / "set")
    assert ROOT not in tmp_path.parents
