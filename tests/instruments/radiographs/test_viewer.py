"""The viewer of radiographs: what is in its bytes, and what a browser makes of it."""

import base64
import html
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from oacore.errors import InputError
from oacore.instruments.coherence.patterns import GRADES, SIZES
from oacore.instruments.radiographs.viewer import joint_viewer
from oacore.plots.viewer import slice_viewer
from tests.helpers import FLAGS, FOREIGN, PHONE

N, HIGH, WIDE = 3, 60, 80
POINTS = np.stack(
    [np.column_stack([np.linspace(10, 70, 16), np.linspace(20, 40, 16)]) + k for k in range(N)]
)


def cases(n=N):
    table = pd.DataFrame({"case": [f"secret_{k}" for k in range(n)]})
    for name, size in SIZES.items():
        table[name] = pd.array([k % size for k in range(n)], dtype="Int64")
        table[f"true_{name}"] = table[name]
    table.loc[1, "osteophyte_fl"] = pd.NA
    table.loc[1, "true_kl"] = 3
    return table


def pictures():
    """Pictures whose left half is brighter, the further on the brighter."""
    found = np.full((N, HIGH, WIDE), 60, np.uint8)
    for k in range(N):
        found[k, :, : WIDE // 2] = 120 + 40 * k
    return found


def maps():
    """Of each case and head one bright quarter: its column is the case's, its row the head's."""
    found = np.zeros((N, len(GRADES), 30, 40), np.float32)
    for k in range(N):
        for head in range(len(GRADES)):
            rows, columns = (
                slice(n * half, n * (half + 1)) for n, half in ((15, head % 2), (20, k % 2))
            )
            found[k, head, rows, columns] = 1
    return found


def answers(grade=2):
    rows = []
    for case in cases()["case"]:
        for head, size in SIZES.items():
            p = np.full(size, 0.3 / (size - 1))
            p[grade] = 0.7
            rows.append({"case": case, "head": head, **{f"p{k}": v for k, v in enumerate(p)}})
    return pd.DataFrame(rows)


def data_of(view):
    return json.loads(re.search(r'class="oas-data">(.*?)</script>', view.html, re.DOTALL)[1])


def decoded(part):
    """Pictures of a sheet: tiles padded to eight pixels, as many in a row as there are rows."""
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(part["data"]))))
    n, wide, high = part["shape"]
    columns = int(np.ceil(np.sqrt(n)))
    tall, broad = (-(-side // 8) * 8 for side in (high, wide))
    return np.stack(
        [
            sheet[i // columns * tall :, i % columns * broad :][:high, :wide]
            for i in range(n)
        ]
    )  # fmt: skip


def test_pictures_and_maps_come_back_but_for_jpegs_loss():
    data = data_of(joint_viewer(pictures(), POINTS, cases(), {"a": maps()}, {"a": answers()}))
    assert np.abs(decoded(data["pictures"]).astype(int) - pictures()).mean() < 2
    codes = decoded(data["maps"][0]["part"])
    assert codes.shape == (N * 7, 30, 40)
    wanted = maps().reshape(-1, 30, 40)
    assert np.abs((codes / 255) ** 2 - wanted).mean() < 0.02
    one = data["cases"][1]
    assert one["read"] == [1, None, 1, 1, 1, 1, 1] and one["truth"] == [3, 1, 1, 1, 1, 1, 1]
    assert one["points"][0] == [11, 21] and one["label"] == "Case 2"
    assert [len(p) for p in one["answers"][0]] == list(SIZES.values())


def test_no_case_is_named_no_host_asked_and_names_are_escaped():
    name = 'a </script> "b" & c'
    table = cases().assign(label=name, note=name)
    given = dict(maps={name: maps()}, answers={name: answers()}, title=name, alt=name)
    view = joint_viewer(pictures(), POINTS, table, **given)
    assert view.html == joint_viewer(pictures(), POINTS, table, **given).html
    assert "secret" not in view.html
    assert view.html.count("</script>") == 2 and f'aria-label="{html.escape(name)}"' in view.html
    assert not FOREIGN.search(re.sub(r'"data":"[\w+/=]+"', "", view.html))
    assert data_of(view)["cases"][0]["label"] == name == repr(view)


def test_pictures_may_have_neither_points_nor_grades():
    data = data_of(joint_viewer(pictures(), None, pd.DataFrame({"label": list("abc")}), on=()))
    assert data["cases"][0]["points"] is None and not data["graded"]
    some = POINTS.copy()
    some[2, 4] = np.nan
    data = data_of(joint_viewer(pictures(), some, cases()))
    assert [one["points"] is None for one in data["cases"]] == [False, False, True]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"pictures": pictures()[:2]}, r"\(3, height, width\)"),
        ({"pictures": pictures().astype(float)}, "float64"),
        ({"cases": cases().head(0), "pictures": pictures()[:0]}, "at least one"),
        ({"landmarks": POINTS[:, :9]}, r"give \(3, 16, 2\)"),
        ({"maps": {"a": maps()[:, :6]}}, r"give \(3, 7, rows, columns\)"),
        ({"maps": {"a": maps() * 2}}, "outside 0 to 1"),
        ({"maps": {"a": maps() * np.nan}}, "outside 0 to 1"),
        ({"answers": {"a": answers().head(10)}}, "'a' has no answer for case secret"),
        ({"on": ("names", "knee")}, "no 'knee'"),
        ({"opens": 3}, "give 0 to 2"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, said):
    given = {"pictures": pictures(), "landmarks": POINTS, "cases": cases()} | arguments
    with pytest.raises(InputError, match=said):
        joint_viewer(**given)


# In a browser.

READY = "() => [...document.querySelectorAll('.oa-slicer')].every(e => e.dataset.ready === 'true')"
# Mean colour of the canvas in a rectangle of fractions of it.
MEAN = """(c, [x0, y0, x1, y1]) => {
  const [x, y, r, b] = [x0 * c.width, y0 * c.height, x1 * c.width, y1 * c.height].map(Math.round);
  const p = c.getContext("2d").getImageData(x, y, r - x, b - y).data, m = [0, 0, 0];
  for (let i = 0; i < p.length; i++) if (i % 4 < 3) m[i % 4] += p[i] / p.length * 4;
  return m;
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A page of two, with a viewer of slices between them, whose script must leave them alone."""
    two = {"near": maps(), "far": maps()[:, ::-1].copy()}
    views = [
        joint_viewer(
            pictures(), POINTS, cases(), two, {"near": answers(), "far": answers(0)},
            title="With maps", alt="A test picture",
        ),
        slice_viewer(np.arange(60.0).reshape(3, 4, 5), title="Slices"),
        joint_viewer(
            pictures(), None, pd.DataFrame({"label": ["-5°", "0°", "+5°"], "note": ["a", "", "x"]}),
            title="Plain", thing="Tilt", on=(), opens=1,
        ),
    ]  # fmt: skip
    page = tmp_path_factory.mktemp("joint") / "page.html"
    page.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">'
        '<meta name="viewport" content="width=device-width"></head><body style="margin:0"><main>'
        f"{''.join(view.html for view in views)}</main></body></html>"
    )
    return page


@pytest.fixture(params=[(1280, "light"), (PHONE["width"], "dark")])
def page(request, site, chromium, playwright):
    width, scheme = request.param
    browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    wrong = []
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: wrong.append(r.url) if r.url.startswith("http") else None)
    page.goto(site.as_uri())
    settle(page)
    yield page
    browser.close()
    assert wrong == []


def settle(page):
    page.wait_for_function(READY)
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")


def mean(page, viewer, area):
    settle(page)
    return viewer.locator("canvas").evaluate(MEAN, area)


def test_everything_moves_and_fits(page):
    viewer = page.get_by_role("region", name="With maps")
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Pictures: by menu, by slider, by keys.
    opacity = viewer.locator("[data-tune=opacity]")
    opacity.fill("0")
    viewer.get_by_label("Landmarks").uncheck()
    corner = [0.05, 0.05, 0.2, 0.2]
    assert mean(page, viewer, corner)[0] == pytest.approx(120, abs=3)
    viewer.locator("[data-set=kase]").select_option("1")
    assert mean(page, viewer, corner)[0] == pytest.approx(160, abs=3)
    viewer.locator("[data-step]").fill("3")
    assert mean(page, viewer, corner)[0] == pytest.approx(200, abs=3)
    canvas = viewer.locator("canvas")
    canvas.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    settle(page)
    assert mean(page, viewer, corner)[0] == pytest.approx(160, abs=3)
    assert canvas.get_attribute("aria-valuenow") == "2"
    assert "Case 2, 2 of 3: read as KL 1, drawn as KL 3" in canvas.get_attribute("aria-valuetext")
    # Window and level, and back.
    viewer.locator("[data-tune=level]").fill("90")
    assert mean(page, viewer, corner)[0] < 100
    viewer.get_by_role("button", name="Reset").click()
    opacity.fill("0")
    viewer.get_by_label("Landmarks").uncheck()
    assert mean(page, viewer, corner)[0] == pytest.approx(160, abs=3)


def test_the_map_of_the_chosen_network_and_head_lies_where_it_should(page):
    viewer = page.get_by_role("region", name="With maps")
    viewer.get_by_label("Landmarks").uncheck()
    upper, lower = [0.1, 0.1, 0.4, 0.4], [0.1, 0.6, 0.4, 0.9]

    def glow(area):
        red, _, blue = mean(page, viewer, area)
        return red - blue

    assert glow(upper) > 30 > 5 > abs(glow(lower)), "head KL, of case 1"
    viewer.locator("[data-set=head]").select_option("1")
    assert glow(lower) > 30 > 5 > abs(glow(upper))
    viewer.locator("[data-set=kase]").select_option("1")
    assert glow([0.6, 0.6, 0.9, 0.9]) > 30 and abs(glow(lower)) < 5
    viewer.locator("[data-set=head]").select_option("0")
    viewer.locator("[data-set=map]").select_option("1")
    settle(page)
    assert "Map of far, KL." in viewer.locator(".oas-status").inner_text()
    viewer.locator("canvas").hover(position={"x": 2, "y": 2})
    settle(page)
    assert "grey value 1" in viewer.locator(".oas-value").inner_text()
    assert "saliency 0.0" in viewer.locator(".oas-value").inner_text()


def test_landmarks_and_compartments_are_drawn_and_named(page):
    viewer = page.get_by_role("region", name="With maps")
    viewer.locator("[data-tune=opacity]").fill("0")
    x, y = POINTS[0, 0] + 0.5
    around = [(x - 0.3) / WIDE, (y - 0.3) / HIGH, (x + 0.3) / WIDE, (y + 0.3) / HIGH]
    with_points = mean(page, viewer, around)
    assert with_points[0] - with_points[2] > 40, "t0 is yellow"
    viewer.get_by_label("Landmarks").uncheck()
    bare = mean(page, viewer, around)
    assert abs(bare[0] - bare[2]) < 5
    viewer.locator("[data-on=TL]").check()
    banded = mean(page, viewer, around)
    assert banded[0] - banded[2] > 20
    box = viewer.locator("canvas").bounding_box()
    place = {"x": x / WIDE * box["width"], "y": y / HIGH * box["height"]}
    viewer.locator("canvas").hover(position=place)
    settle(page)
    assert "t0, outer corner (tibia, lateral)" in viewer.locator(".oas-value").inner_text()


def test_grades_stand_beside_answers_that_are_too_high_or_too_low(page):
    viewer = page.get_by_role("region", name="With maps")
    viewer.locator("[data-set=kase]").select_option("1")
    settle(page)
    rows = [row.split("\t") for row in viewer.locator("tbody tr").all_inner_texts()]
    head = viewer.locator("thead th").all_inner_texts()
    assert head == ["Grade", "Read", "Drawn", "near", "far"]
    assert rows[0] == ["KL", "1", "3", "2 (70%) ▼", "0 (70%) ▼"]
    assert rows[1] == ["Osteophyte FL", "–", "1", "2 (70%) ▲", "0 (70%) ▼"]


def test_what_there_is_not_takes_no_room(page):
    viewer = page.get_by_role("region", name="Plain")
    assert viewer.locator("[data-set=map]").is_hidden() and viewer.locator("table").is_hidden()
    assert viewer.get_by_label("Landmarks").count() == 1
    assert viewer.locator(".oas-outlines").is_hidden()
    assert viewer.locator("[data-set=kase]").input_value() == "1"
    assert viewer.locator(".oas-note").is_hidden()
    viewer.locator("canvas").focus()
    page.keyboard.press("End")
    settle(page)
    assert viewer.locator(".oas-note").inner_text() == "x"
    assert "+5°, 3 of 3." in viewer.locator(".oas-status").inner_text()
    page.emulate_media(media="print")
    assert viewer.locator(":is(button, select, input, kbd, summary):visible").count() == 0
    assert viewer.locator("canvas").is_visible()
