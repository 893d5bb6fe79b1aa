"""Outputs that work without a kernel: what is in the bytes, and which way up it is."""

import base64
import html
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image

from oacore.errors import InputError
from oacore.plots import page as display
from oacore.plots.page import evidence, readable, show, slice_viewer, table
from tests.helpers import FOREIGN

ORANGE, SKY = (0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)


class Tags(HTMLParser):
    """Attributes of every tag, unescaped as a browser would."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def of(self, name):
        return [attrs for tag, attrs in self.found if tag == name]


@pytest.fixture
def shown(monkeypatch):
    """Bundles that ``show`` hands to the front end."""
    bundles: list[dict] = []
    monkeypatch.setattr(display, "display", lambda bundle, raw: bundles.append(bundle))
    display._shown.clear()
    return bundles


def viewer_data(view):
    """The data inside a viewer, dug out of the iframe as a browser would."""
    (frame,) = Tags(view.html).of("iframe")
    return json.loads(re.search(r"const data = (.*);\n", frame["srcdoc"]).group(1))


def tile(data, case, axis, layer, index):
    """One slice of a sheet."""
    uri = data["cases"][case]["sheets"][axis][layer]
    image = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    pixels = np.asarray(image.convert("RGBA" if layer else "L"))
    width, height = [data["shape"][i] for i in ((1, 2), (0, 2), (0, 1))[axis]]
    across, down = [-(-n // data["tile"]) * data["tile"] for n in (width, height)]
    row, column = divmod(index, data["columns"][axis])
    return pixels[row * down : row * down + height, column * across : column * across + width]


def smooth_volume(shape=(5, 21, 13)):
    """A ramp of another slope along each axis, so that no flip or swap goes unseen."""
    x, y, z = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    return 100 * (0.2 * x + 0.5 * y + 0.3 * z)


def test_show_carries_both_forms_and_asks_no_host(shown):
    fig = go.Figure(go.Scatter(x=[1, 2], y=[3, 4], name="</script>"))
    before = fig.to_json()
    show(fig, 'A "rising" line & <more>')
    (bundle,) = shown
    again = go.Figure({k: bundle["application/vnd.plotly.v1+json"][k] for k in ("data", "layout")})
    assert list(again.data[0].y) == [3, 4]
    assert Tags(bundle["text/html"]).of("figure")[0]["aria-label"] == 'A "rising" line & <more>'
    assert not FOREIGN.search(bundle["text/html"])
    assert bundle["text/html"].count("</script>") == 1
    assert fig.to_json() == before


def test_show_repeats_to_the_byte_and_never_repeats_an_id(shown):
    fig = go.Figure(go.Bar(y=[1, 2]))
    show(fig, "bars")
    show(fig, "bars")
    display._shown.clear()
    show(fig, "bars")
    first, second, rerun = (bundle["text/html"] for bundle in shown)
    assert first == rerun
    ids = [re.search(r'<div id="([^"]+)"', page).group(1) for page in (first, second)]
    assert ids[0] != ids[1]


def test_show_needs_a_text_alternative(shown):
    with pytest.raises(InputError, match="text alternative"):
        show(go.Figure(), " ")
    assert not shown


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_hold_the_volume_superior_and_anterior_up_right_on_the_left(axis):
    volume = smooth_volume()
    nx, ny, nz = volume.shape
    data = viewer_data(slice_viewer(volume, window=(0, 100)))
    at = [
        lambda i, row, col: volume[i, ny - 1 - col, nz - 1 - row],
        lambda i, row, col: volume[nx - 1 - col, i, nz - 1 - row],
        lambda i, row, col: volume[nx - 1 - col, ny - 1 - row, i],
    ][axis]
    for i in range(volume.shape[axis]):
        picture = tile(data, 0, axis, 0, i)
        rows, cols = picture.shape
        expected = [[at(i, r, c) * 2.55 for c in range(cols)] for r in range(rows)]
        assert np.abs(picture - np.array(expected)).max() <= 8  # JPEG's loss, of 255
        assert np.abs(picture - np.array(expected)).mean() <= 2


def test_masks_are_drawn_where_they_are_in_their_colour():
    volume = smooth_volume()
    first = np.zeros(volume.shape, bool)
    first[1, 15:20, 9:12] = True  # anterior, superior
    second = np.zeros(volume.shape, np.uint8)
    second[1, 18:20, 2] = 1
    second[1, 19, 9] = 1  # on top of the first
    data = viewer_data(slice_viewer(volume, {"femur": first, "tibia": second}))
    picture = tile(data, 0, 0, 1, 1)
    for y in range(volume.shape[1]):
        for z in range(volume.shape[2]):
            pixel = tuple(picture[volume.shape[2] - 1 - z, volume.shape[1] - 1 - y])
            if second[1, y, z]:
                assert pixel == (*SKY, 255)
            elif first[1, y, z]:
                assert pixel == (*ORANGE, 255)
            else:
                assert pixel[3] == 0
    assert not tile(data, 0, 0, 1, 0)[..., 3].any()


def test_viewer_opens_where_there_is_most_to_see():
    volume = smooth_volume()
    mask = np.zeros(volume.shape, bool)
    mask[3, 2:9, 4] = mask[1, 2, 4] = True
    assert viewer_data(slice_viewer(volume, {"m": mask}))["start"] == [3, 2, 4]
    thin = np.zeros(volume.shape, bool)
    thin[4, 2:4, 4] = mask[4, 2:6, 4] = True  # less of both than slice 3 has of one
    assert viewer_data(slice_viewer(volume, {"m": mask, "t": thin}))["start"][0] == 4
    plain = viewer_data(slice_viewer(volume))
    assert plain["start"] == [2, 10, 6]
    assert plain["cases"][0]["sheets"][0][1] == ""


def test_viewer_asks_no_host_escapes_names_and_repeats_to_the_byte():
    volume, name = smooth_volume(), 'a </script> "b" & c'
    masks = {name: {name: volume > 50}}
    view = slice_viewer({name: volume}, masks, title=name, alt=name, spacing=(0.7, 0.36, 0.36))
    assert (
        view.html
        == slice_viewer({name: volume}, masks, title=name, alt=name, spacing=(0.7, 0.36, 0.36)).html
    )
    (frame,) = Tags(view.html).of("iframe")
    assert frame["title"] == name
    assert not FOREIGN.search(re.sub(r"base64,[\w+/=]+", "", html.unescape(view.html)))
    assert frame["srcdoc"].count("</script>") == 1
    assert viewer_data(view)["cases"][0]["name"] == name
    assert view._repr_html_() == view.html and repr(view) == name


def test_five_knees_stay_below_two_and_a_half_megabytes():
    rng = np.random.default_rng(0)
    base = np.kron(rng.normal(size=(5, 12, 12)), np.ones((8, 8, 8)))
    knees = {f"KL {k}": base + rng.normal(0, 0.2, base.shape) for k in range(5)}
    masks = {case: {"bone": base > 0.5, "cartilage": abs(base) < 0.2} for case in knees}
    view = slice_viewer(knees, masks)
    assert base.shape == (40, 96, 96)
    assert len(view.html) < 2.5e6
    assert [case["name"] for case in viewer_data(view)["cases"]] == list(knees)


VOLUME = np.zeros((3, 4, 5))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (dict(volume=VOLUME[0]), r"\(4, 5\)"),
        (dict(volume=VOLUME * np.nan), "not finite"),
        (dict(volume={"a": VOLUME, "b": VOLUME[1:]}), "'b' has shape"),
        (dict(volume=VOLUME, overlays={"m": VOLUME[1:]}), r"'m' of .* \(2, 4, 5\)"),
        (dict(volume={"a": VOLUME}, overlays={"z": {"m": VOLUME}}), r"\['z'\]"),
        (dict(volume=VOLUME, overlays={str(i): VOLUME for i in range(8)}), "7 colours"),
        (dict(volume=VOLUME, spacing=(1, 0, 1)), "spacing"),
        (dict(volume={}), "overlays"),
    ],
)
def test_unusable_volumes_are_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        slice_viewer(**arguments)


def test_constant_volume_is_black_rather_than_an_error():
    data = viewer_data(slice_viewer(np.full((3, 9, 9), 7.0)))
    assert not tile(data, 0, 0, 0, 1).any()


def test_kinds_of_evidence_differ_in_more_than_colour():
    kinds = ["published", "radiomics", "phantom", "oaizib-cm"]
    banners = [evidence(kind).html for kind in kinds]
    signs = [re.search(r'aria-hidden="true"[^>]*>(.)<', banner).group(1) for banner in banners]
    assert len(set(signs)) == 4
    assert "not a clinical result" in evidence("phantom").alt
    assert all("synthetic" not in evidence(kind).alt.lower() for kind in kinds if kind != "phantom")
    with pytest.raises(InputError, match="unknown kind 'clinical'"):
        evidence("clinical")


def test_an_exception_is_part_of_the_banner_and_cannot_break_it():
    banner = evidence("phantom", "But <one> & only one.")
    assert "But &lt;one&gt; &amp; only one.</span>" in banner.html
    assert banner.alt.endswith("But <one> & only one.")


def test_cases_together_are_told_to_the_viewer():
    volumes = {"a": smooth_volume(), "b": smooth_volume()[::-1]}
    assert viewer_data(slice_viewer(volumes))["together"] is False
    assert viewer_data(slice_viewer(volumes, together=True))["together"] is True


def test_a_table_rounds_leaves_blanks_and_escapes():
    frame = pd.DataFrame(
        {"femur_mm": [1.005, np.nan], "n": [3, 4], "who": ["a_b", "<i>"]},
        index=pd.Index(["row_1", "row 2"], name="which"),
    )
    shown = table(frame, decimals=1)
    cells = re.findall(r"<td>(.*?)</td>", shown.html)
    assert cells == ["1.0", "3", "a_b", "", "4", "&lt;i&gt;"]
    assert re.findall(r"<th>(.+?)</th>", shown.html) == ["femur mm", "n", "who", "row 1", "row 2"]
    assert shown.html.count("<tr") == 3, "the index's name takes no row"
    assert "overflow-x:auto" in shown.html
    assert "femur mm" in shown.alt and "NaN" not in shown.alt


def test_the_page_shows_every_word_and_no_markup_of_its_own():
    table = pd.DataFrame({"a": ["x < y", "two"], "b": ["three", "four"], "c": ["five", "six"]})
    page = readable(table, below="b")
    assert "x &lt; y" in page.html and "x < y" not in page.html
    cells = re.findall(r">([^<>]+)<", page.html)
    assert cells == ["a", "c", "x &lt; y", "five", "b:", " three", "two", "six", "b:", " four"]
    assert page.alt.splitlines() == ["x < y; five; b: three", "two; six; b: four"]
