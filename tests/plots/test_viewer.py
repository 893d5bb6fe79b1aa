"""The viewer whose volumes travel in the page: what is in the bytes, what a browser makes of it.

That planes, crosshair and keys are right is tested where the same viewer is fed from files.
"""

import base64
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from oacore.errors import InputError
from oacore.names import PLANES
from oacore.plots.sheets import unpack
from oacore.plots.viewer import slice_viewer, viewer_script
from tests.helpers import FLAGS, FOREIGN, PHONE

ORANGE, SKY = (0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)


def data_of(view):
    """The data inside a viewer."""
    return json.loads(re.search(r'class="oas-data">(.*?)</script>', view.html, re.DOTALL)[1])


def volume_of(data, name):
    """A part, decoded by Pillow."""
    part = data["parts"][name]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(part["data"]))))
    return unpack(sheet, part["shape"])


def smooth_volume(shape=(5, 21, 13)):
    """A ramp of another slope along each axis, so that no flip or swap goes unseen."""
    x, y, z = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    return 100 * (0.2 * x + 0.5 * y + 0.3 * z)


def test_the_volume_comes_back_but_for_jpegs_loss():
    volume = smooth_volume()
    back = volume_of(data_of(slice_viewer(volume, window=(0, 100))), "0/image")
    assert np.abs(back - volume * 2.55).max() <= 8
    assert np.abs(back - volume * 2.55).mean() <= 2


def test_masks_are_exact_and_a_label_that_a_case_lacks_is_empty():
    volume, rng = smooth_volume(), np.random.default_rng(0)
    masks = {"a": {"femur": rng.random(volume.shape) < 0.3}, "b": {"tibia": volume > 50}}
    data = data_of(slice_viewer({"a": volume, "b": volume}, masks))
    assert data["cases"][0]["masks"] == data["cases"][1]["masks"] == ["femur", "tibia"]
    np.testing.assert_array_equal(volume_of(data, "0/masks"), masks["a"]["femur"])
    np.testing.assert_array_equal(volume_of(data, "1/masks"), 2 * (volume > 50))


def test_viewer_opens_where_there_is_most_to_see():
    volume = smooth_volume()
    mask = np.zeros(volume.shape, bool)
    mask[3, 2:9, 4] = mask[1, 2, 4] = True
    assert data_of(slice_viewer(volume, {"m": mask}))["cases"][0]["start"] == [3, 2, 4]
    thin = np.zeros(volume.shape, bool)
    thin[4, 2:4, 4] = mask[4, 2:6, 4] = True  # less of both than slice 3 has of one
    assert data_of(slice_viewer(volume, {"m": mask, "t": thin}))["cases"][0]["start"][0] == 4
    plain = data_of(slice_viewer(volume))["cases"][0]
    assert plain["start"] == [2, 10, 6] and plain["outline"] is None


def test_viewer_asks_no_host_escapes_names_and_repeats_to_the_byte():
    volume, name = smooth_volume(), 'a </script> "b" & c'
    given = dict(masks={name: {name: volume > 50}}, title=name, alt=name, spacing=(0.7, 0.4, 0.4))
    view = slice_viewer({name: volume}, **given)
    assert view.html == slice_viewer({name: volume}, **given).html
    assert f'aria-label="{html.escape(name)}"' in view.html
    assert not FOREIGN.search(re.sub(r'"data":"[\w+/=]+"', "", view.html))
    assert view.html.count("</script>") == 2
    assert data_of(view)["cases"][0]["label"] == name
    assert view._repr_html_() == view.html and repr(view) == name


def test_five_knees_stay_below_a_megabyte():
    rng = np.random.default_rng(0)
    base = np.kron(rng.normal(size=(5, 12, 12)), np.ones((8, 8, 8)))
    knees = {f"KL {k}": base + rng.normal(0, 0.2, base.shape) for k in range(5)}
    masks = {case: {"bone": base > 0.5, "cartilage": abs(base) < 0.2} for case in knees}
    view = slice_viewer(knees, masks)
    assert base.shape == (40, 96, 96)
    assert len(view.html) < 1e6
    assert [case["label"] for case in data_of(view)["cases"]] == list(knees)


VOLUME = np.zeros((3, 4, 5))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (dict(volume=VOLUME[0]), r"\(4, 5\)"),
        (dict(volume={"one": VOLUME, "two": VOLUME * np.nan}), "'two': .*not finite"),
        (dict(volume={"a": VOLUME, "b": VOLUME[1:]}), "'b' has shape"),
        (dict(volume=VOLUME, masks={"m": VOLUME[1:]}), r"'m' has shape \(2, 4, 5\)"),
        (dict(volume={"a": VOLUME}, masks={"z": {"m": VOLUME}}), r"\['z'\]"),
        (dict(volume=VOLUME, masks={str(i): VOLUME for i in range(8)}), "7 colours"),
        (dict(volume=VOLUME, spacing=(1, 0, 1)), "spacing"),
        (dict(volume={}), "masks"),
    ],
)
def test_unusable_volumes_are_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        slice_viewer(**arguments)


def test_constant_volume_is_black_rather_than_an_error():
    assert not volume_of(data_of(slice_viewer(np.full((3, 9, 9), 7.0))), "0/image").any()


def test_the_script_has_the_planes_of_python():
    told = json.loads(re.match(r"const PLANES = (.*);\n", viewer_script())[1])
    assert [plane["name"] for plane in told] == list(PLANES)
    for plane, axis in zip(told, range(3), strict=True):
        assert {plane["across"], plane["up"]} == {0, 1, 2} - {axis}
        sides = {"R": 0, "L": 0, "A": 1, "P": 1, "I": 2, "S": 2}  # the axis that a letter is of
        assert sides[plane["left"]] == sides[plane["right"]] == plane["across"]
        assert sides[plane["above"]] == sides[plane["below"]] == plane["up"]
        assert plane["above"] in "SA" and plane["left"] in "AR"


# In a browser.

READY = (
    """() => [...document.querySelectorAll('.oa-slicer')].every(e => e.dataset.ready === 'true')"""
)
# Pixels that are not black, and that are neither grey nor black.
PIXELS = """c => {
  const p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  const found = {seen: 0, orange: 0, sky: 0};
  for (let k = 0; k < p.length; k += 4) {
    const [r, g, b] = p.slice(k, k + 3);
    found.seen += Math.max(r, g, b) > 20;
    found.orange += r - b > 40;
    found.sky += b - r > 40;
  }
  return found;
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A page of three viewers: two cases in a menu, the two side by side, one without masks."""
    shape = (12, 24, 18)
    image = np.full(shape, 100.0)
    image[:, 12:] = 160
    front, back = np.zeros(shape, bool), np.zeros(shape, bool)
    front[4:8, 14:20, 6:12] = True
    back[4:8, 4:10, 6:12] = True
    cases = {"well": image, "ill": image}
    masks = {"well": {"front": front}, "ill": {"front": front, "back": back}}
    views = [
        slice_viewer(cases, masks, title="One by one", window=(0, 100)),
        slice_viewer(cases, masks, title="Together", together=True, window=(0, 100)),
        slice_viewer(image, title="Plain", window=(0, 100)),
    ]
    page = tmp_path_factory.mktemp("viewer") / "page.html"
    page.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">'
        '<meta name="viewport" content="width=device-width"></head><body><main>'
        f"{''.join(view.html for view in views)}</main></body></html>"
    )
    return page


@pytest.fixture(params=[1280, PHONE["width"]])
def page(request, site, chromium, playwright):
    browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    wrong = []
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: wrong.append(r.url) if r.url.startswith("http") else None)
    page.goto(site.as_uri())
    page.wait_for_function(READY)
    yield page
    browser.close()
    assert wrong == []


def pixels(page, name, place=0):
    page.wait_for_function(READY)
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    canvas = page.get_by_role("region", name=name).locator("canvas:visible").nth(place)
    return canvas.evaluate(PIXELS)


def test_a_case_is_chosen_its_masks_hidden_and_the_slice_named(page):
    viewer = page.get_by_role("region", name="One by one")
    first = pixels(page, "One by one")
    assert first["orange"] > 50 and first["sky"] == 0 and first["seen"] > 1000
    viewer.locator("[data-set=case]").select_option(label="ill")
    assert pixels(page, "One by one")["sky"] > 50
    viewer.get_by_label("back").uncheck()
    found = pixels(page, "One by one")
    assert found["sky"] == 0 and found["orange"] > 50
    viewer.locator("[data-tune=opacity]").fill("0")
    found = pixels(page, "One by one")
    assert found["orange"] == 0 and found["seen"] > 1000
    assert "ill: sagittal slice 5 of 12, 4.0 mm from the left edge" in viewer.inner_text()
    viewer.locator("canvas:visible").first.focus()
    page.keyboard.press("ArrowRight")
    pixels(page, "One by one")
    assert "sagittal slice 6 of 12, 5.0 mm" in viewer.inner_text()


def test_cases_stand_side_by_side_in_the_same_slice(page):
    viewer = page.get_by_role("region", name="Together")
    page.wait_for_function(READY)
    assert viewer.locator("canvas:visible").count() == 2
    assert viewer.locator("[data-set=case]").is_hidden()
    well, ill = pixels(page, "Together"), pixels(page, "Together", 1)
    assert well["sky"] == 0 < ill["sky"] and well["orange"] > 50 < ill["orange"]
    viewer.get_by_role("button", name="Coronal").click()
    well, ill = pixels(page, "Together"), pixels(page, "Together", 1)
    assert well["seen"] > 500 < ill["seen"], "a panel is empty"
    viewer.locator("[data-slice=coronal]").fill("24")
    assert pixels(page, "Together", 1)["sky"] == 0  # once the frame is painted
    assert "coronal slice 24 of 24" in viewer.inner_text()


def test_what_there_is_not_takes_no_room_and_nothing_scrolls_sideways(page):
    viewer = page.get_by_role("region", name="Plain")
    for part in ("[data-set=case]", "[data-tune=opacity]", "[data-tune=top]", ".oas-table"):
        assert viewer.locator(part).is_hidden(), part
    assert (
        page.evaluate("() => document.documentElement.scrollWidth") <= page.viewport_size["width"]
    )
