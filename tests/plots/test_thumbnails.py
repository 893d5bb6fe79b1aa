"""Slices of single knees: the right place, the right way up, and beside the right point."""

import base64
import io
import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from plotly.offline import get_plotlyjs

from oacore.errors import InputError
from oacore.instruments.axis.figures import manifold_grid
from oacore.plots.page import show
from oacore.plots.thumbnails import sagittal_slices, slices_on_hover
from tests.helpers import FLAGS, FOREIGN, PHONE, knees


def volume(folder, name, array, voxel, axes="RAS"):
    affine = np.diag([*voxel, 1.0])
    image = nib.Nifti1Image(array, affine)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
    )
    path = folder / f"{name}.nii.gz"
    nib.save(image.as_reoriented(turn), path)
    return str(path)


def case(folder, name, at, axes="RAS", shape=(12, 40, 30), voxel=(1.0, 0.5, 0.5), mask=True):
    """A knee whose slice x is a ramp from dark to bright along x's own direction."""
    _, y, z = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    image = np.zeros(shape, np.int16)
    image[at] = (10 * z + y)[at]
    labels = np.zeros(shape, np.uint8)
    labels[at - 1 : at + 2, 10:20, 10:12] = 4
    labels[0, :, :3] = 5  # the lateral side is not asked for
    return {
        "image": volume(folder, f"{name}_0000", image, voxel, axes),
        "mask": volume(folder, name, labels, voxel, axes) if mask else None,
    }


@pytest.mark.parametrize("axes", ["RAS", "LPS", "ASL"])
def test_a_slice_lies_in_the_middle_of_the_medial_cartilage_and_the_right_way_up(tmp_path, axes):
    (found,) = sagittal_slices(pd.DataFrame([case(tmp_path, "a", 8, axes)]))
    assert found.shape == (30, 40) and found.dtype == np.uint8
    assert found[0, 0] > 250  # superior and anterior: the bright corner
    assert found[-1, -1] < 5
    assert found[0, -1] > found[-1, 0]  # the ramp along z is the steeper one


def test_pixels_are_square_and_small_slices_get_margins(tmp_path):
    cases = [
        case(tmp_path, "a", 8, voxel=(1, 0.5, 1.0)),  # 20 mm by 30 mm
        case(tmp_path, "b", 8, shape=(12, 16, 16)),
    ]
    found = sagittal_slices(pd.DataFrame(cases), longest=60)
    assert found.shape == (2, 40, 27)  # nothing is enlarged
    assert not found[1, :, :5].any() and not found[1, :12].any() and found[1, 12:28, 5:21].any()
    assert sagittal_slices(pd.DataFrame(cases), longest=20).shape == (2, 20, 16)


def test_without_a_label_it_is_the_middle_slice(tmp_path):
    cases = pd.DataFrame([case(tmp_path, "a", 6, mask=False), case(tmp_path, "b", 8, mask=False)])
    middle, empty = sagittal_slices(cases)
    assert middle.any() and not empty.any()
    with pytest.raises(InputError, match="no case"):
        sagittal_slices(cases[:0])
    other = case(tmp_path, "c", 8, shape=(12, 20, 30))
    cases = pd.DataFrame([{**case(tmp_path, "d", 8), "mask": other["mask"]}])
    with pytest.raises(InputError, match="does not share its image's grid"):
        sagittal_slices(cases)


def tiles(n=20, shape=(21, 30)):
    """Knee i is all of one grey, 12 i."""
    return (np.arange(n, dtype=np.uint8) * 12)[:, None, None] * np.ones((1, *shape), np.uint8)


def data_of(page):
    return json.loads(re.search(r"\}\)\((\{.*\})\);\n\}\)\(\);</script>", page)[1])


def test_the_sheet_holds_every_knee_at_its_number():
    card = slices_on_hover(tiles())
    data = data_of(card.html)
    assert data["count"] == 20 and (data["height"], data["width"]) == (24, 32)
    kind, code = data["sheet"].split(",")
    assert kind == "data:image/jpeg;base64" and not FOREIGN.search(card.html)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))).astype(int)
    for i in range(20):
        top, left = 24 * (i // data["columns"]), 32 * (i % data["columns"])
        assert abs(sheet[top : top + 21, left : left + 30] - 12 * i).mean() < 3
    assert 'max="20"' in card.html and slices_on_hover(tiles()).html == card.html


def test_the_sheet_keeps_to_its_limit():
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64)).astype(np.uint8)
    sizes = [len(data_of(slices_on_hover(noise, n).html)["sheet"]) for n in (400_000, 100_000)]
    assert sizes[0] > 100_000 >= sizes[1]
    with pytest.raises(InputError, match="the limit is 1,000"):
        slices_on_hover(noise, 1_000)
    for bad in (noise[0], noise.astype(float), noise[:0]):
        with pytest.raises(InputError, match="give bytes of shape"):
            slices_on_hover(bad)


# In Chromium, from disk


@pytest.fixture(scope="module")
def grid_page(tmp_path_factory):
    """The grid of 20 knees and their slices, as a page of the book has them."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oacore.plots.page.display", lambda bundle, raw: said.append(bundle))
        show(manifold_grid(knees()), alt="knees")
        show(manifold_grid(knees(("m3t",)).drop(columns="key")), alt="another plot")
    plots = [bundle["text/html"] for bundle in said]
    page = folder / "page.html"
    page.write_text(
        '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<script src="plotly.min.js"></script><body>{plots[0]}'
        f"{slices_on_hover(tiles()).html}{plots[1]}</body>",
        encoding="utf-8",
    )
    return page


@pytest.fixture(scope="module")
def browser(playwright, chromium):
    browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
    yield browser
    browser.close()


def opened(browser, page, **context):
    tab = browser.new_context(**context).new_page()
    tab.faults = []
    tab.on("pageerror", lambda fault: tab.faults.append(str(fault)))
    tab.goto(page.as_uri())
    tab.wait_for_selector(".oa-knees")
    return tab


def point(tab, i, panel=0):
    """The middle of knee i in a panel."""
    js = """([i, panel]) => {
      const gd = document.querySelector(".oa-knees");
      const r = gd.querySelectorAll(".cartesianlayer .subplot")[panel]
        .querySelectorAll("path.point")[i].getBoundingClientRect();
      return [r.left + r.width / 2, r.top + r.height / 2];
    }"""
    return tab.evaluate(js, [i, panel])


def rings(tab):
    js = """() => [...document.querySelectorAll(".oa-knee-rings span")].map((one) => {
      const r = one.getBoundingClientRect();
      return [r.left + r.width / 2, r.top + r.height / 2];
    })"""
    return np.array(tab.evaluate(js))


def seen(tab, where):
    """Number of the knee whose tile an element shows, from its background's place."""
    js = """(where) => {
      const tile = document.querySelector(where), style = getComputedStyle(tile);
      const [x, y] = style.backgroundPosition.split(" ").map(parseFloat);
      const [wide, high] = style.backgroundSize.split(" ").map(parseFloat);
      return [-x / (wide / 5), -y / (high / 4)];
    }"""
    column, row = tab.evaluate(js, where)
    return round(column) + 5 * round(row)


def test_hovering_a_point_shows_its_slice_and_rings_the_knee_in_all_panels(browser, grid_page):
    tab = opened(browser, grid_page, viewport={"width": 900, "height": 800})
    assert tab.locator(".oa-knees").count() == 1  # the other plot has no keys
    assert tab.locator(".oa-knee-box").is_hidden() and not len(rings(tab))
    x, y = point(tab, 13)
    tab.mouse.move(x - 3, y)
    tab.mouse.move(x, y)
    tab.wait_for_selector(".oa-knee-box:not([hidden])")
    number = int(tab.locator(".oa-knee-box .oa-knee-slice").get_attribute("data-knee"))
    assert seen(tab, ".oa-knee-box .oa-knee-slice") == number == 13
    text = tab.locator(".oa-knee-box .oa-knee-text").inner_text()
    assert text.split("\n") == ["knee 13", "KL 3"]
    places = rings(tab)
    assert len(places) == 24
    for panel in (0, 1, 7, 23):
        at = np.array(point(tab, 13, panel))
        assert np.abs(places - at).sum(axis=1).min() < 2, panel
    box = tab.locator(".oa-knee-box").bounding_box()
    assert abs(box["x"] - x) < 40 or abs(box["x"] + box["width"] - x) < 40
    tab.mouse.move(5, 5)
    tab.wait_for_selector(".oa-knee-box", state="hidden")
    assert not len(rings(tab)) and not tab.faults
    tab.context.close()


def test_a_plot_that_is_drawn_after_the_card_is_found(browser, grid_page):
    text = grid_page.read_text(encoding="utf-8")
    card = slices_on_hover(tiles()).html
    assert card in text
    page = grid_page.with_name("later.html")
    page.write_text(text.replace(card, "").replace("<body>", f"<body>{card}"), encoding="utf-8")
    tab = opened(browser, page)
    tab.locator(".oa-knee-card input").fill("2")
    assert len(rings(tab)) == 24 and not tab.faults
    tab.context.close()


def test_a_number_keeps_a_knee_through_another_width_and_escape_lets_go(browser, grid_page):
    tab = opened(browser, grid_page, viewport={"width": 1000, "height": 800})
    field = tab.locator(".oa-knee-card input")
    field.focus()
    tab.keyboard.type("8")
    card = tab.locator(".oa-knee-card")
    assert card.locator(".oa-knee-text").inner_text().startswith("knee 7")
    assert seen(tab, ".oa-knee-card .oa-knee-slice") == 7
    assert card.locator(".oa-knee-slice").get_attribute("aria-label").endswith("case 8")
    before = rings(tab)
    tab.set_viewport_size({"width": 760, "height": 800})
    tab.wait_for_timeout(600)
    places = rings(tab)
    assert len(places) == 24 and not np.allclose(before, places)
    assert np.abs(places - np.array(point(tab, 7, 5))).sum(axis=1).min() < 2
    tab.keyboard.press("ArrowUp")
    assert seen(tab, ".oa-knee-card .oa-knee-slice") == 8
    tab.locator(".oa-knees .updatemenu-button").nth(2).click()  # another colouring
    tab.wait_for_timeout(300)
    assert len(rings(tab)) == 24
    picture = card.get_by_role("slider")
    picture.focus()
    seen_at = []
    for key in ("ArrowRight", "ArrowDown", "PageUp", "PageDown", "End", "Home"):  # as in the viewer
        tab.keyboard.press(key)
        seen_at.append(int(picture.get_attribute("aria-valuenow")))
        assert seen(tab, ".oa-knee-card .oa-knee-slice") == seen_at[-1] - 1
    assert seen_at == [10, 9, 19, 9, 20, 1]
    assert card.locator("output").inner_text() == "case 1 of 20"
    field.fill("99")
    assert not len(rings(tab)) and not picture.is_visible()  # no stop at what shows nothing
    field.fill("3")
    tab.keyboard.press("Escape")
    assert field.input_value() == "" and not len(rings(tab)) and not tab.faults
    tab.context.close()


def test_a_tap_shows_the_slice_on_a_phone_and_a_finger_can_scroll_past(browser, grid_page):
    tab = opened(browser, grid_page, viewport=PHONE, has_touch=True, is_mobile=True)
    x, y = point(tab, 4)
    tab.touchscreen.tap(x, y)
    tab.wait_for_selector(".oa-knee-box:not([hidden])")
    box = tab.locator(".oa-knee-box").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
    assert tab.locator(".oa-knee-card input").input_value() == "5"
    touch = tab.context.new_cdp_session(tab)

    def swipe(*steps):
        for i, (left, top) in enumerate(steps):
            kind = "touchMove" if i else "touchStart"
            spot = {"type": kind, "touchPoints": [{"x": left, "y": top}]}
            touch.send("Input.dispatchTouchEvent", spot)
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    swipe(*((150, top) for top in range(600, 280, -40)))
    tab.wait_for_function("scrollY > 50")
    tab.wait_for_selector(".oa-knee-box", state="hidden")
    assert not tab.faults
    tab.context.close()
