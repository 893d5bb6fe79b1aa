"""What tests of radiographs compare with: brute force, and refusals."""

import numpy as np
import pytest

from oacore.errors import InputError
from oacore.instruments.coherence.patterns import GRADES
from oacore.instruments.radiographs.cases import read_radiographs

#: Of each table of cases.
COLUMNS = ["case", "person", "side", "split", *GRADES]


def area_mean(pixels, height, width):
    """The mean of the area under each pixel, by brute force: each old pixel in many small ones."""
    rows = np.repeat(pixels.astype(float), height, axis=0)
    rows = rows.reshape(height, len(pixels), -1).mean(axis=1)
    columns = np.repeat(rows, width, axis=1)
    return columns.reshape(height, width, pixels.shape[1]).mean(axis=2)


def same_pictures(found, wanted):
    """Bytes that are the wanted numbers, rounded."""
    assert found.dtype == np.uint8 and found.shape == wanted.shape
    assert np.abs(found - wanted.astype(float)).max() <= 0.5 + 1e-9


def refused(source, said, **words):
    """The source is refused in one line with a cure, which says all of some words."""
    with pytest.raises(InputError) as error:
        read_radiographs(source, height=8, width=8, **words)
    assert "\n" not in str(error.value) and ";" in str(error.value)
    for part in said:
        assert part in str(error.value), str(error.value)
