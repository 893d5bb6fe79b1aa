"""The static slicer: what is in the packed bytes, and that a page of it moves in Chromium."""

import base64
import functools
import http.server
import io
import json
import re
import shutil
import threading

import numpy as np
import pytest
from PIL import Image

from oacore.data.volumes import read_canonical, resize
from oacore.errors import InputError
from oacore.instruments.slicer import parts as slicer_parts
from oacore.instruments.slicer.parts import TOPS
from oacore.instruments.slicer.slicer import (
    CASE_LIMIT,
    in_chapter,
    opening,
    pack_case,
    slicer_page,
    write_slicer,
)
from oacore.plots.page import evidence
from oacore.plots.sheets import unpack
from tests.helpers import FLAGS, FOREIGN, PHONE

SHAPE = (12, 40, 32)
KEY = ("resnet3d", "dual", "oa", "gradient")
KEYS = [KEY, ("m3t", "dual", "oa", "gradient"), ("m3t", "single_kl", "kl", "grad-cam")]
KL = [0.05, 0.05, 0.1, 0.7, 0.1]


def knee(shape=SHAPE):
    """A ramp of another slope along each axis, so that no flip or swap goes unseen."""
    x, y, z = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    return (100 + 100 * (0.2 * x + 0.5 * y + 0.3 * z)).astype(np.float32)


def body(folder, file):
    """What a part hands over, its picture decoded by Pillow."""
    text = (folder / file).read_text()
    key, content = re.fullmatch(r'oacoreSlicer\.put\("(\w+)",(.*)\);\n', text).groups()
    assert file == key + ".js"
    part = json.loads(content)
    part["kind"] = Image.open(io.BytesIO(base64.b64decode(part["data"])))
    return part, np.asarray(part["kind"])


def stored(folder, file):
    part, sheet = body(folder, file)
    return unpack(sheet, part["shape"])


def pack(folder, shape=SHAPE, label="Case 3", **more):
    image = knee(shape)
    path = pack_case(folder, label, image, (0.7, 0.4, 0.4), window=(0, 100), **more)
    return image, path, json.loads(path.read_text())


def test_the_image_comes_back_from_its_sheet_in_its_orientation(tmp_path):
    image, path, case = pack(tmp_path)
    assert case["box"] == [[0, n] for n in SHAPE]
    part, sheet = body(tmp_path, case["image"]["file"])
    wanted = (image - image.min()) / np.ptp(image) * 255
    back = stored(tmp_path, case["image"]["file"])
    assert np.abs(back - wanted).max() <= 6 and np.abs(back - wanted).mean() <= 1
    # First tile: the leftmost slice, superior up, anterior (high y) on the left.
    first = sheet[:32, :40].astype(float)
    assert np.abs(first[0, 0] - wanted[0, -1, -1]) <= 6
    assert np.abs(first[-1, 0] - wanted[0, -1, 0]) <= 6
    assert np.abs(first[0, -1] - wanted[0, 0, -1]) <= 6


def test_air_is_cut_off_and_the_box_says_where(tmp_path):
    image = np.zeros((40, 60, 50), np.float32)
    image[10:30, 20:50, 15:40] = 200
    mask = np.zeros(image.shape, bool)
    mask[5, 30, 30] = True  # in the air: what is outlined is kept
    path = pack_case(tmp_path, "a", image, (1, 1, 1), masks={"m": mask})
    case = json.loads(path.read_text())
    assert case["box"] == [[1, 34], [16, 54], [11, 44]]
    assert case["start"] == [5, 30, 30]
    whole = np.zeros(image.shape)
    whole[tuple(slice(*b) for b in case["box"])] = stored(tmp_path, case["image"]["file"])
    assert np.abs(whole - image / 200 * 255).max() < 25
    assert np.abs(whole - image / 200 * 255).mean() < 1


def test_outlines_are_exact_and_may_overlap(tmp_path):
    rng = np.random.default_rng(0)
    masks = {name: rng.random(SHAPE) < 0.2 for name in ("cartilage", "lesions", "bone")}
    _, _, case = pack(tmp_path, masks=masks)
    bits = stored(tmp_path, case["outline"]["file"])
    for place, mask in enumerate(masks.values()):
        assert np.array_equal(bits >> place & 1, mask)


def test_a_map_is_within_half_a_step_of_its_root_on_its_own_grid(tmp_path):
    values = np.random.default_rng(1).random((6, 20, 16)) ** 4
    values.flat[0], values.flat[1] = 0, 1
    _, _, case = pack(tmp_path, maps={KEY: values})
    (one,) = case["maps"]
    assert one["id"] == "resnet3d-dual-oa-gradient" and one["grid"] == [6, 20, 16]
    assert one["step"] == 1 and one["box"] == [[0, 6], [0, 20], [0, 16]]
    back = stored(tmp_path, one["file"]) / 255
    assert np.abs(back - np.sqrt(values)).max() <= 0.5 / 255 + 1e-6


def test_a_threshold_shows_that_part_of_the_voxels(tmp_path):
    values = np.random.default_rng(2).random((20, 20, 20))
    _, _, case = pack(tmp_path, maps={KEY: values, KEYS[1]: np.zeros((6, 20, 16))})
    part, _ = body(tmp_path, case["maps"][0]["file"])
    codes = stored(tmp_path, case["maps"][0]["file"])
    for percent, least in zip(TOPS, part["tops"], strict=True):
        share = 100 * (codes >= least).mean()
        assert percent - 1e-9 <= share + 0.1 and share <= percent + 1, percent
    empty, _ = body(tmp_path, case["maps"][1]["file"])
    assert set(empty["tops"]) == {1}, "a map of zeros shows nothing"


@pytest.mark.parametrize("step", [2, 3])
def test_cells_are_means_and_lie_where_their_voxels_do(step):
    values = np.random.default_rng(3).random((7, 12, 10)).astype(np.float32)
    cells = slicer_parts._block_mean(values, step)
    assert cells.shape == tuple(-(-n // step) for n in values.shape)
    for at in np.ndindex(cells.shape):
        block = values[tuple(slice(a * step, (a + 1) * step) for a in at)]
        assert cells[at] == pytest.approx(block.mean(), abs=1e-6)
    box = [[1, 6], [5, 20], [7, 30]]  # of an image of (14, 24, 30) voxels
    _, where = slicer_parts.pack_map(values, box, (14, 24, 30), step, 0)
    for (low, high), n, size, (first, last) in zip(
        box, values.shape, (14, 24, 30), where["box"], strict=True
    ):
        cell = [int((v + 0.5) / size * n / step) for v in range(low, high)]
        assert first <= min(cell) and max(cell) < last <= -(-n // step)
        assert last - first <= max(cell) - min(cell) + 3


def test_twelve_noisy_maps_of_a_full_volume_stay_below_two_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    shape = (160, 256, 256)
    image = knee(shape) + rng.normal(0, 6, shape).astype(np.float32)
    noise = rng.gamma(1, 0.03, (64, 128, 128)).clip(0, 1)
    maps = {("resnet3d", "dual", "oa", f"m{k}"): np.roll(noise, k, 0) for k in range(12)}
    path = pack_case(tmp_path, "Case 1", image, (0.7, 0.55, 0.55), maps=maps)
    parts = list(tmp_path.glob("*.js"))
    assert len(parts) == 13
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) < CASE_LIMIT
    case = json.loads(path.read_text())
    assert case["bytes"] == sum(p.stat().st_size for p in parts)
    assert len(slicer_page([path], "files").html.encode()) < 200_000


def test_the_same_case_gives_the_same_files_and_only_what_was_given(tmp_path):
    for name in ("one", "two"):
        pack(tmp_path / name, maps={KEY: np.full((3, 4, 5), 0.5)}, kl=3)
    one, two = (
        {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two")
    )
    assert one == two and len(one) == 3
    assert not any(str(tmp_path).encode() in content for content in one.values())
    assert not [name for name in one if name.startswith("part-")]


def test_the_slicer_opens_on_the_highest_grade_that_is_right():
    assert opening([(0, 0, 4), (2, 2, 2), (3, 3, 3), (4, 4, 1)]) == 2
    assert opening([(3, 2, 3), (2, 2, 2), (4, 3, 3)]) == 1, "drawn and read agree"
    assert opening([(3, 2, 3), (1, 1, 0)]) == 0, "right as drawn goes before nearly right"
    assert opening([(None, 4, 0), (None, 1, 3), (None, 2, 1)]) == 2, "least wrong"
    assert opening([(None, 1, 1), (None, 3, 3)]) == 1
    assert opening([(None, None, 2), (None, 3, None)]) == 0 == opening([])


def test_a_notebook_says_where_its_slicer_is(tmp_path, monkeypatch):
    _, path, case = pack(tmp_path)
    given = (tmp_path, "../_static/x/slicer", [path], evidence("phantom"))
    built = in_chapter(*given, title="Slices")
    assert "<section" in built.html and '<a href="../_static/x/slicer/index.html">' in built.html
    monkeypatch.setattr("oacore.instruments.slicer.slicer.by_hand", lambda: True)
    said = in_chapter(*given, title="Slices")
    assert str(tmp_path / "index.html") in said.html and "<section" not in said.html
    assert case["image"]["file"] in (tmp_path / "index.html").read_text()


def half():
    return np.full((3, 4, 5), 0.5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (dict(label="9012345"), "identifier"),
        (dict(label="a/b"), "identifier"),
        (dict(label=" "), "empty"),
        (dict(image=np.zeros((4, 5))), r"\(4, 5\)"),
        (dict(image=knee() * np.nan), "not finite"),
        (dict(spacing=(1, 0, 1)), "spacing"),
        (dict(masks={"m": np.zeros((2, 2, 2))}), "'m' has shape"),
        (dict(masks={str(i): np.zeros(SHAPE) for i in range(9)}), "9 masks"),
        (dict(maps={KEY: half() * 3}), "outside 0 to 1"),
        (dict(maps={KEY: half() * np.nan}), "outside 0 to 1"),
        (dict(maps={KEY: half()[0]}), r"\(4, 5\)"),
        (dict(maps={KEY: half(), ("ResNet3D", *KEY[1:]): half()}), "same name"),
        (dict(predictions={KEY[:2]: {"prob_oa": 1.5}}), "prob_oa"),
        (dict(predictions={KEY[:2]: {"prob_kl": [1, 1, 0, 0, 0]}}), "sum 1"),
        (dict(kl=5), "grade 5"),
    ],
)
def test_unusable_cases_are_refused_and_leave_no_file(tmp_path, arguments, says):
    given = dict(label="Case 1", image=knee(), spacing=(1, 1, 1)) | arguments
    with pytest.raises(InputError, match=says):
        pack_case(tmp_path, **given)
    assert not list(tmp_path.iterdir())


def test_pages_that_could_not_work_are_refused(tmp_path):
    _, path, case = pack(tmp_path)
    with pytest.raises(InputError, match="no case"):
        slicer_page([], "files")
    for address in ("https://a.b/c", "file:///x", "/x", "//a.b"):
        with pytest.raises(InputError, match="not relative"):
            slicer_page([path], address)
    with pytest.raises(InputError, match="one label"):
        slicer_page([path, path], "files")
    (tmp_path / case["image"]["file"]).unlink()
    with pytest.raises(InputError, match="lacks"):
        slicer_page([path], "files")


def test_the_element_escapes_names_and_repeats_to_the_byte(tmp_path):
    name = 'a </script> "b" & c'
    _, path, _ = pack(tmp_path, label="K1", note=name)
    view = slicer_page([path], "files", title=name)
    assert view.html == slicer_page([path], "files/", title=name).html
    assert view.html.count("</script>") == 2
    assert not FOREIGN.search(re.sub(r"base64,[\w+/=]+", "", view.html))
    assert repr(view) == name


# ---- In Chromium.

CANVAS = "canvas[data-plane={}] >> nth={}"
# Mean colour of a canvas inside a rectangle of fractions.
MEAN = """(c, [x0, y0, x1, y1]) => {
  const [x, y, r, b] = [x0 * c.width, y0 * c.height, x1 * c.width, y1 * c.height].map(Math.round);
  const p = c.getContext("2d").getImageData(x, y, r - x, b - y).data, m = [0, 0, 0];
  for (let i = 0; i < p.length; i++) if (i % 4 < 3) m[i % 4] += p[i] / p.length * 4;
  return m;
}"""
READY = "() => document.querySelector('.oa-slicer').dataset.ready === 'true'"
SETTLED = "() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A page with two cases: corners of one volume light up, so that flips are seen."""
    root = tmp_path_factory.mktemp("site")
    shape = (20, 30, 40)
    image = np.full(shape, 100.0)
    image[:, 15:, 20:] = 200  # anterior and superior
    image[:7] += 55  # the patient's left, wherever else: canonical axes run to the right
    mask = np.zeros(shape, bool)
    mask[5:15, 10:20, 15:25] = True
    left = np.zeros((10, 15, 20))
    left[:, :7] = 1  # posterior
    masks = {"cartilage": mask, "lesions": mask & (image > 150)}
    predictions = {
        ("resnet3d", "dual"): {"prob_oa": 0.9, "prob_kl": KL},
        ("m3t", "dual"): {"prob_oa": 0.2, "prob_kl": KL[::-1]},
        ("m3t", "single_kl"): {"prob_oa": 0.2, "prob_kl": KL[::-1]},
    }
    maps = {KEYS[0]: left, KEYS[1]: left[:, ::-1], KEYS[2]: left[:, :, ::-1]}
    common = dict(
        spacing=(1.0, 1.0, 1.0), masks=masks, maps=maps, predictions=predictions,
        untrained={KEYS[0]: left[:, ::-1]},
    )  # fmt: skip
    cases = [
        pack_case(root / "files", "Case 1", image, kl=3, kl_true=2, window=(0, 100), **common),
        pack_case(root / "files", "Case 2", image[:, ::-1], kl=1, window=(0, 100), **common),
    ]
    view = slicer_page(cases, "files", alt="A knee")
    (root / "page.html").write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">'
        '<meta name="viewport" content="width=device-width"></head><body style="margin:0"><main>'
        f'{view.html}</main><p style="height:1500px">after</p></body></html>'
    )
    return root


@pytest.fixture(scope="module")
def served(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            """Keep the test's output to the test."""

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def window(chromium, playwright):
    browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture(params=["from disk", "served"])
def home(request, site):
    return site.as_uri() if request.param == "from disk" else request.getfixturevalue("served")


@pytest.fixture
def opened(window):
    """Opens pages; at the end none has written an error or asked another host."""
    contexts, wrong = [], []

    def visit(home, hash="", loaded=True, **more):
        context = window.new_context(**({"viewport": {"width": 1280, "height": 1100}} | more))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("requestfailed", lambda r: wrong.append(r.url[:200]))
        page.asked = []
        page.on("request", lambda r: page.asked.append(r.url))
        page.goto(f"{home}/page.html{hash}")
        if loaded:
            if not hash:
                page.click(".oas-open")
            page.wait_for_function(READY)
            page.evaluate(SETTLED)
        wrong.extend(u for u in page.asked if not u.startswith((home, "data:", "blob:")))
        return page

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


def settle(page):
    page.evaluate(SETTLED)  # what was asked for is begun in the next frame
    page.wait_for_function(READY)
    page.evaluate(SETTLED)


def mean(page, plane, rectangle, row=0):
    settle(page)
    return np.array(page.locator(CANVAS.format(plane, row)).evaluate(MEAN, rectangle))


def places(page):
    settle(page)
    found = [page.locator(f"[data-slice={p}]").input_value() for p in ("sagittal", "coronal")]
    return [int(v) for v in [*found, page.locator("[data-slice=axial]").input_value()]]


def tune(page, name, value):
    page.locator(f"[data-tune={name}]").fill(str(value))


def test_nothing_is_loaded_before_a_touch(opened, home):
    page = opened(home, loaded=False)
    page.wait_for_timeout(200)
    assert [u for u in page.asked if u.endswith(".js")] == []
    assert "Not loaded yet" in page.inner_text(".oas-status")
    assert mean_now(page, "sagittal")[0] > 60, "the preview is seen"
    page.click(".oas-open")
    page.wait_for_function(READY)
    parts = [u for u in page.asked if u.endswith(".js")]
    assert len(parts) == 3, "image, outline and the one map that is shown"


def mean_now(page, plane):
    page.evaluate(SETTLED)
    return page.locator(CANVAS.format(plane, 0)).evaluate(MEAN, [0.1, 0.1, 0.4, 0.3])


def test_pictures_stand_the_right_way_up(opened, site):
    page = opened(site.as_uri(), "#slicer=case-1,s15,c20,a30")
    tune(page, "opacity", 0)
    corner = {
        (0.06, 0.08): (0.15, 0.12, 0.4, 0.35), (0.6, 0.08): (0.6, 0.12, 0.85, 0.35),
        (0.06, 0.6): (0.15, 0.6, 0.4, 0.85), (0.6, 0.6): (0.6, 0.6, 0.85, 0.85),
    }  # fmt: skip
    areas = list(corner.values())

    def lights(plane):
        return [mean(page, plane, area)[0] for area in areas]

    up_left, up_right, down_left, down_right = lights("sagittal")  # slice 15: the right side
    assert up_left > 80 + max(up_right, down_left, down_right), "anterior left, superior up"
    up_left, up_right, down_left, down_right = lights("coronal")
    # Canonical x runs to the right: low x is the patient's left, and lies on the right.
    assert up_right > 40 + up_left and down_right > 40 + down_left and up_left > 40 + down_left
    up_left, up_right, down_left, down_right = lights("axial")  # slice 30: superior
    assert up_right > 40 + up_left and up_left > 40 + down_left, "anterior up, left on the right"


def test_the_map_lies_where_it_was_and_the_threshold_and_opacity_rule_it(opened, site):
    page = opened(site.as_uri(), "#slicer=case-1,s15,c20,a5,resnet3d-dual-oa-gradient")
    tune(page, "top", 7)  # the top 15%; all ties of the half volume with it
    anterior, posterior = (0.1, 0.6, 0.4, 0.85), (0.65, 0.6, 0.9, 0.85)
    hot, plain = mean(page, "sagittal", posterior), mean(page, "sagittal", anterior)
    assert hot[0] - hot[2] > 40 and abs(plain[0] - plain[2]) < 3
    tune(page, "opacity", 0)
    assert abs(np.ptp(mean(page, "sagittal", posterior))) < 3
    tune(page, "opacity", 100)
    full = mean(page, "sagittal", posterior)
    assert full[0] > 225 and full[1] > 225, "inferno's end at full opacity"


def test_click_drag_wheel_and_slider_move_the_planes(opened, home):
    page = opened(home)
    box = page.locator(CANVAS.format("sagittal", 0)).bounding_box()

    def at(x, y):
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    before = places(page)
    page.mouse.click(*at(0.26, 0.26))
    s, c, a = places(page)
    # A quarter from the left is a quarter from anterior: of 30 and 40 voxels from the high end.
    assert (s, c, a) == (before[0], 30 - int(0.26 * 30), 40 - int(0.26 * 40))
    pictures = {p: page.locator(CANVAS.format(p, 0)).evaluate("c => c.toDataURL()") for p in
                ("sagittal", "coronal", "axial")}  # fmt: skip
    page.mouse.move(*at(0.3, 0.3))
    page.mouse.down()
    page.mouse.move(*at(0.71, 0.81), steps=4)
    page.mouse.up()
    assert places(page) == [s, 30 - int(0.71 * 30), 40 - int(0.81 * 40)]
    for plane, old in pictures.items():
        assert page.locator(CANVAS.format(plane, 0)).evaluate("c => c.toDataURL()") != old
    page.mouse.wheel(0, -100)  # the picture has the focus since the click
    assert places(page)[0] == s + 1
    page.locator("[data-slice=axial]").fill("7")
    assert places(page)[2] == 7
    assert "axial slice 7 of 40" in page.inner_text(".oas-status")
    slider = page.locator("[data-slice=coronal]").bounding_box()
    y = slider["y"] + slider["height"] / 2
    page.mouse.move(slider["x"] + slider["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(slider["x"] + slider["width"] - 2, y, steps=4)
    page.mouse.up()
    assert places(page)[1] == 30


def test_keys_step_through_the_focused_plane_and_are_said(opened, site):
    page = opened(site.as_uri(), "#slicer=case-1,s10,c12,a15")
    canvas = page.locator(CANVAS.format("axial", 0))
    canvas.focus()
    assert canvas.evaluate("c => c.matches(':focus-visible')")
    seen = []
    for key in ("ArrowUp", "ArrowLeft", "ArrowDown", "PageUp", "PageDown", "End", "Home"):
        page.keyboard.press(key)
        seen.append(places(page)[2])
    assert seen == [16, 15, 14, 24, 14, 40, 1]
    assert places(page)[:2] == [10, 12]
    said = canvas.get_attribute("aria-valuetext")
    assert "Case 1, axial slice 1 of 40" in said and "predicts KL 3 (70%) and OA with 90%" in said
    assert "Read as KL 3. Drawn as KL 2." in said
    assert "A knee: axial picture" in canvas.get_attribute("aria-label")
    page.wait_for_function("() => /axial slice 1 of 40/.test("
                           "document.querySelector('[aria-live=polite]').textContent)")  # fmt: skip


def test_sliders_have_the_keys_of_the_pictures(opened, site):
    page = opened(site.as_uri(), "#slicer=case-1,s10,c12,a15")
    page.locator("[data-slice=axial]").focus()
    seen = []
    for key in ("ArrowUp", "ArrowLeft", "ArrowDown", "PageUp", "PageDown", "End", "Home"):
        page.keyboard.press(key)
        seen.append(places(page)[2])
    assert seen == [16, 15, 14, 24, 14, 40, 1]
    assert "Page Up" in page.inner_text(".oas-help")
    assert page.locator(".oas-plane output").all_inner_texts()[2] == "slice 1 of 40"


def test_slices_are_counted_among_those_that_are_there(opened, tmp_path):
    image = np.zeros((40, 60, 50))
    image[10:30, 20:50, 15:40] = 200
    case = pack_case(tmp_path, "Case 1", image, (1, 1, 1), maps={KEY: np.ones((4, 6, 5))})
    assert json.loads(case.read_text())["box"] == [[6, 34], [16, 54], [11, 44]]
    write_slicer(tmp_path / "page.html", [case], evidence("phantom"), title="Slices")
    page = opened(tmp_path.as_uri(), "#slicer=case-1,s3,c38,a1")
    assert places(page) == [3, 38, 1]
    assert page.locator(".oas-plane output").all_inner_texts() == [
        "slice 3 of 28", "slice 38 of 38", "slice 1 of 33",
    ]  # fmt: skip
    page.locator("canvas[data-plane=coronal]").first.press("ArrowUp")
    assert places(page)[1] == 38, "the last one is the last"
    page.click("[data-do=link]")
    assert "#slicer=case-1,s3,c38,a1," in page.locator(".oas-link").input_value()


def stops(page, n):
    """What the next presses of Tab come to."""
    found = []
    for _ in range(n):
        page.keyboard.press("Tab")
        found.append(
            page.evaluate(
                "() => { const e = document.activeElement; return e.className || "
                "e.dataset.set || e.dataset.model || e.dataset.value || e.dataset.slice || "
                "e.dataset.tune || e.dataset.do || e.tagName; }"
            )
        )
    return found


def test_nothing_dead_is_stopped_at_and_the_keyboard_goes_on_where_it_was(opened, site):
    page = opened(site.as_uri(), loaded=False)
    page.wait_for_function("() => document.querySelector('.oas-open').textContent")
    page.evaluate(SETTLED)
    page.locator("[data-model=method0]").focus()
    assert stops(page, 3) == ["weights0", "oas-open", "SUMMARY"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_function(READY)
    assert page.evaluate("document.activeElement.dataset.plane") == "sagittal"
    page.evaluate(SETTLED)
    assert stops(page, 2) == ["sagittal", "oas-a"]  # the slider, the next picture


def test_what_lies_under_crosshair_and_pointer_is_said(opened, site):
    page = opened(site.as_uri(), "#slicer=case-1,s15,c9,a30,resnet3d-dual-oa-gradient")
    said = page.locator(".oas-value")
    case = json.loads((site / "files/case-1.json").read_text())
    grey = stored(site / "files", case["image"]["file"])
    tune(page, "opacity", 0)

    def wanted(x, y, z):
        return f"grey value {grey[x, y, z]} of 255, saliency {1 if y < 14 else 0:.2f}, "

    settle(page)
    assert said.inner_text() == f"At the crosshair: {wanted(14, 8, 29)}no marked tissue."
    page.locator("[data-slice=coronal]").fill("18")
    page.locator("[data-slice=axial]").fill("22")
    page.locator("[data-slice=sagittal]").fill("8")
    settle(page)
    assert said.inner_text() == f"At the crosshair: {wanted(7, 17, 21)}cartilage, lesions."
    box = page.locator(CANVAS.format("axial", 0)).bounding_box()
    # Axial: the patient's right (high x) on the left, anterior (high y) up.
    x, y = 20 - 1 - 4, 30 - 1 - 20
    page.mouse.move(box["x"] + box["width"] * 4.5 / 20, box["y"] + box["height"] * 20.5 / 30)
    assert said.inner_text() == f"Under the pointer: {wanted(x, y, 21)}no marked tissue."
    assert places(page) == [8, 18, 22], "to point is not to press"
    page.locator(CANVAS.format("axial", 0)).press("ArrowUp")
    settle(page)
    assert said.inner_text() == f"Under the pointer: {wanted(x, y, 22)}no marked tissue."
    page.mouse.move(5, 5)
    assert said.inner_text().startswith("At the crosshair")


def test_each_map_is_held_against_that_of_the_network_untrained(opened, site):
    page = opened(site.as_uri(), "#slicer=case-1,s15,c20,a5,resnet3d-dual-oa-gradient")
    page.get_by_role("button", name="Two models").click()
    settle(page)
    assert page.locator("[data-model=weights0]").input_value() == "trained"
    chosen = [page.locator(f"[data-model={f}1]").input_value() for f in ("backbone", "weights")]
    assert chosen == ["resnet3d", "random"]
    said = page.inner_text(".oas-status")
    assert "B: ResNet3D, Dual, OA head, gradient, random weights;" in f"{said};".replace(".", ";")
    assert "ResNet3D Dual with random weights has learned nothing" in page.inner_text(
        ".oas-verdict"
    )
    assert page.locator(".oas-table tbody tr").count() == 3, "the untrained network has no row"
    page.click("[data-do=link]")
    assert page.locator(".oas-link").input_value().endswith("resnet3d-dual-oa-gradient-random")
    page.get_by_role("button", name="One model").click()
    page.select_option("[data-model=weights0]", "random")
    settle(page)
    hot = mean(page, "sagittal", (0.1, 0.6, 0.4, 0.85))
    assert hot[0] - hot[2] > 20, "its own map is drawn"
    page.select_option("[data-model=backbone0]", "m3t")  # has none: the choice follows
    settle(page)
    assert page.locator("[data-model=weights0]").input_value() == "trained"


def test_a_printed_slicer_is_a_picture_without_dead_controls(opened, site):
    page = opened(site.as_uri(), "#slicer=case-1,s15,c20,a30")
    idle = opened(site.as_uri(), loaded=False)
    for one in (page, idle):
        one.emulate_media(media="print")
        shown = one.locator(
            ".oa-slicer :is(button, select, input, kbd, summary, progress):visible"
        ).count()
        assert shown == 0
        assert one.locator("canvas:visible").count() == 3
        assert "Case 1 was read as KL 3" in one.inner_text(".oa-slicer")
    assert "slice 15 of 20" in page.inner_text(".oas-stage")
    assert "cartilage" in page.inner_text(".oas-outlines")
    assert "lesions" not in page.inner_text(".oas-outlines"), "it is switched off"
    assert "Not loaded" not in idle.inner_text(".oa-slicer")
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_a_server_that_answers_with_a_page_is_told_too(window, site):
    class Page(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            text = (site / "page.html").read_text() if "page.html" in self.path else "<p>no</p>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args):
            """Keep the test's output to the test."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = window.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/page.html")
        page.click(".oas-open")
        page.wait_for_selector("text=could not be loaded")
        page.close()
        server.shutdown()


def test_the_answer_is_judged_in_words_before_anything_is_loaded(opened, site):
    page = opened(site.as_uri(), loaded=False)
    said = page.locator(".oas-verdict")
    assert said.inner_text() == (
        "Case 1 was read as KL 3 and was drawn as KL 2. "
        "ResNet3D Dual answers KL 3: 1 grade too high."
    )
    page.select_option("[data-set=case]", "1")
    settle(page)
    assert said.inner_text() == (
        "Case 2 was read as KL 1. ResNet3D Dual answers KL 3: 2 grades too high."
    )


def test_a_gross_failure_is_called_one(opened, tmp_path):
    image = np.random.default_rng(0).uniform(50, 200, (20, 30, 40))
    zero, oa_alone = [0.8, 0.1, 0.05, 0.05, 0], ("resnet3d", "single_oa", "oa", "gradient")
    maps = {KEYS[0]: image / 200, oa_alone: image / 200}
    predictions = {
        KEYS[0][:2]: {"prob_oa": 0.1, "prob_kl": zero},
        oa_alone[:2]: {"prob_oa": 0.1},
    }
    case = pack_case(
        tmp_path, "Case 1", image, (1.0, 1.0, 1.0), maps=maps, predictions=predictions, kl=4
    )
    write_slicer(tmp_path / "page.html", [case], evidence("phantom"), title="Slices")
    page = opened(tmp_path.as_uri(), loaded=False)
    said = page.locator(".oas-verdict")
    assert "ResNet3D Dual answers KL 0: 4 grades too low, a gross failure." in said.inner_text()
    page.select_option("[data-model=supervision0]", "single_oa")
    assert "ResNet3D Single-OA is wrong: it says no OA." in said.inner_text()


def test_cases_models_and_grades_follow_the_choice(opened, home):
    page = opened(home)
    first = page.locator(CANVAS.format("sagittal", 0)).evaluate("c => c.toDataURL()")
    page.select_option("[data-set=case]", "1")
    settle(page)
    assert page.locator(CANVAS.format("sagittal", 0)).evaluate("c => c.toDataURL()") != first
    rows = page.locator(".oas-table tbody tr").all_inner_texts()
    assert len(rows) == 2 and "Truth" not in rows[1], "no truth was given for this case"
    page.select_option("[data-model=backbone0]", "m3t")
    settle(page)
    assert "M3T, Dual, OA head" in page.inner_text(".oas-status")
    page.select_option("[data-model=method0]", "grad-cam")  # only Single-KL has it
    settle(page)
    assert "Single-KL, KL head, Grad-CAM, predicts KL 1 (70%)" in page.inner_text(".oas-status")
    best = page.locator(".oas-table .oas-best")
    assert best.count() == 1 and best.inner_text() == "70%"


def test_two_models_are_linked_and_differ_by_their_difference(opened, site):
    page = opened(site.as_uri(), "#slicer=case-1,s15,c20,a5,resnet3d-dual-oa-gradient")
    page.get_by_role("button", name="Two models").click()
    tune(page, "top", 7)
    assert page.locator("canvas:visible").count() == 6
    anterior, posterior = (0.1, 0.6, 0.4, 0.85), (0.65, 0.6, 0.9, 0.85)
    a, b = (mean(page, "sagittal", posterior, row) for row in (0, 1))
    assert a[0] - a[2] > 40 > 5 > abs(b[0] - b[2]), "model B's map lies in front"
    second = page.locator(CANVAS.format("coronal", 1))
    box = second.bounding_box()
    second.click(position={"x": box["width"] * 0.26, "y": box["height"] * 0.26})
    assert places(page) == [20 - 5, 20, 40 - 10]
    page.get_by_role("button", name="Difference").click()
    page.locator("[data-slice=axial]").fill("5")
    tune(page, "opacity", 100)
    assert page.locator("canvas:visible").count() == 3
    more, less = mean(page, "sagittal", posterior), mean(page, "sagittal", anterior)
    assert more[0] - more[2] > 60 and less[2] - less[0] > 60, "warm where A has more, blue where B"


def test_window_level_and_outlines_change_the_picture(opened, site):
    page = opened(site.as_uri(), "#slicer=case-1,s15,c20,a30")
    tune(page, "opacity", 0)
    area = (0.15, 0.12, 0.4, 0.35)
    grey = mean(page, "sagittal", area)[0]
    tune(page, "level", 90)
    assert mean(page, "sagittal", area)[0] < grey - 40
    page.get_by_role("button", name="Reset the picture").click()
    tune(page, "opacity", 0)
    page.locator("[data-slice=sagittal]").fill("15")
    assert mean(page, "sagittal", area)[0] == pytest.approx(grey, abs=1)

    def coloured():
        settle(page)
        return page.locator(CANVAS.format("axial", 0)).evaluate(
            "c => { const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "let n = 0; for (let i = 0; i < p.length; i += 4) n += p[i + 2] - p[i] > 60;"
            "return n; }"
        )

    page.locator("[data-slice=axial]").fill("20")
    assert coloured() > 200
    page.get_by_label("cartilage").uncheck()
    assert coloured() == 0


def test_a_link_opens_on_its_case_slice_and_models_and_the_button_gives_it(opened, home):
    link = "case-2,s4,c6,a9,m3t-dual-oa-gradient,resnet3d-dual-oa-gradient,difference"
    page = opened(home, f"#slicer={link}")
    assert places(page) == [4, 6, 9]
    assert page.locator("[data-set=case] option:checked").inner_text().startswith("Case 2:")
    said = page.inner_text(".oas-status")
    assert "A: M3T, Dual" in said and "B: ResNet3D, Dual" in said and "A minus B" in said
    page.click("[data-do=link]")
    assert page.locator(".oas-link").input_value() == f"{home}/page.html#slicer={link}"
    page.evaluate("location.hash = '#slicer=case-1,s8,m3t-dual-oa-gradient'")
    page.wait_for_function("() => /Case 1, sagittal slice 8/.test("
                           "document.querySelector('.oas-status').textContent)")  # fmt: skip
    page.evaluate("location.hash = '#slicer=case-9'")
    page.wait_for_selector("text=no case “case-9”")
    assert places(page)[0] == 8


def test_a_missing_file_is_told(window, site, tmp_path):
    (tmp_path / "page.html").write_text((site / "page.html").read_text())
    page = window.new_page()
    page.goto(f"{tmp_path.as_uri()}/page.html")
    page.click(".oas-open")
    page.wait_for_selector("text=could not be loaded")
    page.wait_for_selector(".oas-open:visible")
    shutil.copytree(site / "files", tmp_path / "files")
    page.click(".oas-open")
    page.wait_for_function(READY)
    assert page.inner_text(".oas-error") == ""
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 640, 1280])  # 640: a screen of 1280 at 200%
def test_no_sideways_scroll_and_readable_in_both_themes(opened, site, width, scheme):
    mode = "#slicer=case-1,resnet3d-dual-oa-gradient,m3t-dual-oa-gradient"
    page = opened(site.as_uri(), mode, viewport={"width": width, "height": 800},
                  color_scheme=scheme)  # fmt: skip
    page.click(".oas-how summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width > 375:  # the pictures stand beside each other
        tops = {page.locator(CANVAS.format(p, 0)).bounding_box()["y"]
                for p in ("sagittal", "coronal", "axial")}  # fmt: skip
        assert len(tops) == 1
    ground, ink = page.evaluate(
        "(() => { const s = getComputedStyle(document.querySelector('.oa-slicer'));"
        "return [s.backgroundColor, s.color].map(c => +c.match(/\\d+/)[0]); })()"
    )
    assert (ground > 200 > 60 > ink) if scheme == "light" else (ground < 60 < 200 < ink)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert page.evaluate(
        "getComputedStyle(document.querySelector('.oa-slicer')).backgroundColor"
    ) == "rgb(22, 24, 28)"  # fmt: skip


def test_on_a_phone_a_tap_moves_the_crosshair_and_a_swipe_scrolls_the_page(opened, site):
    page = opened(site.as_uri(), "#slicer=case-1,s10,c12,a15", viewport=PHONE, has_touch=True,
                  is_mobile=True)  # fmt: skip
    page.evaluate("scrollTo(0, 0)")
    box = page.locator(CANVAS.format("sagittal", 0)).bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    assert places(page) == [10, 30 - 7, 40 - 10]
    touch = page.context.new_cdp_session(page)

    def swipe(dx, dy):
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        touch.send("Input.dispatchTouchEvent",
                   {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})  # fmt: skip
        for k in range(1, 11):
            point = {"x": x + dx * k / 10, "y": y + dy * k / 10}
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_timeout(100)

    swipe(100, 0)
    moved = places(page)
    assert moved[1] < 12 and page.evaluate("scrollY") == 0
    swipe(0, -200)
    assert page.evaluate("scrollY") > 50 and places(page) == moved


def test_the_real_mean_knee_packs_and_opens(opened, shared, tmp_path):
    folder = shared / "real/knee_template"
    image, _ = read_canonical(folder / "CLAIR-Knee-103R_template_64x128x128.nii.gz")
    labels, _ = read_canonical(folder / "CLAIR-Knee-103R_segmentation_64x128x128.nii.gz")
    image = resize(image.astype(np.float32), (160, 256, 256), "trilinear")
    labels = resize(labels.astype(np.uint8), (160, 256, 256), "nearest-exact")
    path = pack_case(
        tmp_path, "Mean knee", image, (0.56, 0.365, 0.365),
        masks={"cartilage": np.isin(labels, [2, 4, 5])},
    )  # fmt: skip
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) < CASE_LIMIT
    view = slicer_page([path], ".")
    (tmp_path / "page.html").write_text(f'<meta charset="utf-8"><main>{view.html}</main>')
    page = opened(tmp_path.as_uri())
    assert page.locator(".oas-models select").count() == 0
    assert mean(page, "sagittal", (0.2, 0.2, 0.8, 0.8))[0] > 20


def test_a_slicer_of_its_own_is_light_says_its_evidence_and_follows_a_link(opened, home, site):
    cases = [site / "files/case-1.json", site / "files/case-2.json"]
    path = write_slicer(site / "files/page.html", cases, evidence("phantom"), title="Slices")
    assert path.stat().st_size < 150_000
    page = opened(f"{home}/files", "#slicer=case-2,s5,c9,a8,m3t-dual-oa-gradient")
    assert page.locator("[data-set=case]").input_value() == "1"
    assert places(page) == [5, 9, 8]
    assert page.locator("[data-model=backbone0]").input_value() == "m3t"
    assert "not a clinical result" in page.inner_text("main")
    assert page.title() == "Slices"
