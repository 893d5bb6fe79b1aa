"""Radiographs as they are read: the real ones, and one layout against the other."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from oacore.instruments.coherence.patterns import GRADES
from oacore.instruments.radiographs.cases import read_radiographs
from oacore.instruments.radiographs.words import OARSI
from tests.instruments.radiographs import against, sets


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
        wanted = against.area_mean(pixels[32:192], 80, 112)
        against.same_pictures(read.pictures[place], wanted)


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


def test_the_public_layout_gives_the_same_as_ones_own(real, real_public):
    """Two ways to the same knees: names and folders and OAI's table, or a table of one's own."""
    folder, table = real_public
    words = {"height": 80, "width": 112, "crop": (160 / 224, 1)}
    read = read_radiographs(folder / "kneeKL224", oarsi=folder / "kxr_sq_bu00.txt", **words)
    assert list(read.cases.columns) == against.COLUMNS
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


def test_names_and_folders_make_the_table(tmp_path):
    cases = sets.drawn_public(tmp_path)
    read = read_radiographs(tmp_path, height=112, width=112)
    cases = cases.sort_values("case", ignore_index=True)
    assert list(read.cases.columns) == against.COLUMNS
    for name in ("case", "person", "split", "kl"):
        assert read.cases[name].tolist() == cases[name].tolist()
    assert read.cases["side"].tolist() == ["left", "right"] * 15
    assert read.cases[list(OARSI)].isna().all(axis=None)
    for picture, upright in zip(read.pictures, cases["upright"], strict=True):
        against.same_pictures(picture, against.area_mean(upright, 112, 112))
