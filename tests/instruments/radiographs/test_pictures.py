"""Pictures as they are found, the real ones too: negatives, and what is no picture."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from oacore.instruments.radiographs.pictures import (
    correlation_with_mean_knee,
    grey_pixels,
    mean_knee,
)
from tests.instruments.radiographs import against, sets


def test_every_negative_is_found_and_nothing_else(shared):
    folder = shared / "real/radiographs"
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
    mean = against.area_mean(total / len(table), 16, 16)
    assert np.corrcoef(mean.ravel(), mean_knee().ravel())[0, 1] > 0.9999
    assert mean_knee().mean() == pytest.approx(0) and (mean_knee() ** 2).sum() == pytest.approx(1)


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
