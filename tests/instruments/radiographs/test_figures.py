"""Figures of a joint's picture draw the numbers of their tables, and say what they show."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from oacore.errors import InputError
from oacore.instruments.radiographs import figures
from oacore.instruments.radiographs.places import landmark_table


def pictures_of(view):
    """The pictures inside a piece of HTML, decoded by Pillow."""
    found = re.findall(r'"data:image/jpeg;base64,([\w+/=]+)"', view.html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def ramps():
    across = np.tile(np.linspace(0, 240, 48), (40, 1)).astype(np.uint8)
    return {"left to <right>": across, "right to left": across[:, ::-1]}


def test_pictures_stand_beside_their_names():
    view = figures.pictures_beside(ramps(), alt='Two "ramps"', in_row=2)
    shown = pictures_of(view)
    for found, wanted in zip(shown, ramps().values(), strict=True):
        assert np.abs(found.astype(int) - wanted).mean() < 2
    assert view.html.count("left to &lt;right&gt;") == 2, "as text, and for those who cannot see"
    assert 'aria-label="Two &quot;ramps&quot;"' in view.html and repr(view) == 'Two "ramps"'
    assert "max(140px,40.0%)" in view.html


@pytest.mark.parametrize(("pictures", "alt"), [({}, "none"), (ramps(), " ")])
def test_pictures_without_words_are_refused(pictures, alt):
    with pytest.raises(InputError, match="give both"):
        figures.pictures_beside(pictures, alt)


def test_numbers_stand_at_their_points():
    picture = np.full((120, 240), 90, np.uint8)
    points = np.column_stack([np.linspace(10, 200, 16), np.linspace(20, 100, 16)])
    view = figures.numbered(picture, points, alt="Sixteen points")
    assert 'viewBox="0 0 240 120"' in view.html and 'aria-label="Sixteen points"' in view.html
    circles = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+" fill="(#\w+)"', view.html)
    names = re.findall(r"<text [^>]*>(\w+)</text>", view.html)
    assert names == list(landmark_table()["point"])
    # The centre of pixel 0 lies half a pixel from the picture's edge.
    np.testing.assert_allclose(
        [(float(x), float(y)) for x, y, _ in circles], points + 0.5, atol=0.06
    )
    colours = dict(zip(names, (colour for *_, colour in circles), strict=True))
    assert colours["t0"] == colours["t3"] == figures.COMPARTMENT_COLOURS["TL"]
    assert colours["f6"] == figures.COMPARTMENT_COLOURS["FM"]
    assert colours["t4"] == colours["f3"] == "#ffffff"
    with pytest.raises(InputError, match="empty"):
        figures.numbered(picture, points, alt="")


def losses():
    rows = [
        (height, across, part, (1 + height / 10) * (2.0 if part == "soft tissue" else 0.5))
        for height in (10, 0, 20)
        for across in (30.0, 0.0, -30.0)
        for part in ("soft tissue", "femur")
    ]
    return pd.DataFrame(rows, columns=["height", "across", "part", "attenuation"])


def test_a_slider_chooses_the_row_and_what_arrives_is_the_exponential_of_its_sum():
    fig = figures.beam_losses(losses())
    slider = fig.layout.sliders[0]
    assert [step.label for step in slider.steps] == ["0", "10", "20"] and slider.active == 1
    for step in slider.steps:
        soft, femur, arrives = step.args[0]["y"]
        factor = 1 + float(step.label) / 10
        assert soft == [2 * factor] * 3 and femur == [0.5 * factor] * 3
        np.testing.assert_allclose(arrives, np.exp(-2.5 * factor), atol=1e-4)
    shown = [list(trace.y) for trace in fig.data]
    assert shown == list(slider.steps[1].args[0]["y"])
    assert [trace.name for trace in fig.data] == ["soft tissue", "femur", "what arrives"]
    assert list(fig.data[0].x) == [30, 0, -30]
    assert fig.layout.yaxis.range[1] > 2.5 * 3, "the highest row is in sight"


def test_spaces_by_tilt_and_those_measured():
    table = pd.DataFrame(
        {"tilt": [-5, -5, 5, 5], "side": ["medial", "lateral"] * 2, "space": [4.0, 5, 3, 4.5]}
    )
    fig = figures.spaces_by_tilt(table)
    assert {trace.name: list(trace.y) for trace in fig.data} == {
        "medial": [4, 3], "lateral": [5, 4.5]
    }  # fmt: skip
    spaces = pd.DataFrame(
        {"side": ["medial"] * 3 + ["lateral"], "jsn": [0, 0, 3, 1],
         "drawn": [5.0, 4.0, 1.0, 3.0], "measured": [5.2, 3.9, 1.5, 3.3]}
    )  # fmt: skip
    fig = figures.measured_spaces(spaces)
    marks = {(t.name, t.xaxis): (list(t.x), list(t.y)) for t in fig.data if t.mode == "markers"}
    assert marks["JSN 0", "x"] == ([5, 4], [5.2, 3.9])
    assert marks["JSN 3", "x"] == ([1], [1.5]) and marks["JSN 1", "x2"] == ([3], [3.3])
    lines = [t for t in fig.data if t.mode == "lines"]
    assert all(list(t.x) == list(t.y) for t in lines) and len(lines) == 2
    names = [t.name for t in fig.data if t.showlegend]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "draw", [figures.beam_losses, figures.spaces_by_tilt, figures.measured_spaces]
)
def test_a_table_of_something_else_is_refused(draw):
    with pytest.raises(InputError, match="lacks the column"):
        draw(pd.DataFrame({"other": [1]}))
