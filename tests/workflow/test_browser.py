"""The built book in a browser: nothing asked from another host, and everything moves.

The book is the folder in OACORE_BOOK_HTML, else the smoke build (fixture ``built_book``).
"""

import csv
import functools
import http.server
import io
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs_version

from tests.helpers import FLAGS, PHONE

if os.environ.get("OACORE_REQUIRE_CHROMIUM") == "1":
    import axe_playwright_python.base as axe
    from playwright import sync_api
else:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-core is not installed")

COHORT = "notebooks/03-cohort.html"
KNEE = "notebooks/02-building-a-knee.html"
PUBLISHED = "notebooks/09-published-record.html"
AUDIT = "notebooks/10-printed-tables.html"
RADIOMICS = "notebooks/11-radiomics.html"
AXIS = "notebooks/13-severity-axis.html"
SALIENCY = "notebooks/14-saliency.html"
FIGURES = "notebooks/24-tables-and-figures.html"
REPORT = "book/report.html"
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]\d+)?")


@pytest.fixture(scope="session")
def book(built_book: Path) -> Path:
    """Folder of the built pages."""
    assert (built_book / "index.html").is_file(), f"{built_book} holds no built book"
    return built_book.resolve()


@pytest.fixture(scope="session")
def served(book: Path) -> Iterator[str]:
    """Address of the book on a plain file server on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Keep the test's output to the test."""

    handler = functools.partial(Quiet, directory=str(book))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser(
    chromium: str, playwright: "sync_api.Playwright", tmp_path_factory: pytest.TempPathFactory
) -> Iterator["sync_api.BrowserContext"]:
    """Headless Chromium with a profile of its own."""
    context = playwright.chromium.launch_persistent_context(
        str(tmp_path_factory.mktemp("chromium")),
        executable_path=chromium,
        headless=True,
        args=FLAGS,
        viewport={"width": 1280, "height": 900},
    )
    yield context
    context.close()


class Watched:
    """A page that remembers what went wrong on it and what it asked for."""

    def __init__(self, context: "sync_api.BrowserContext", url: str, home: str) -> None:
        """Open `url`; `home` is where the book's own files lie."""
        self.trouble: list[str] = []
        self.foreign: list[str] = []
        self.page = context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.trouble.append(f"page error: {error}"))
        self.page.on("requestfailed", lambda r: self.trouble.append(f"failed: {r.url[:200]}"))
        self.page.on("response", self._response)
        self.page.on("request", lambda request: self._request(request.url, home))
        self.page.goto(url, wait_until="load")
        self.page.wait_for_selector("main")  # index.html only leads to the first page
        # Plots and formulas are drawn after the load event.
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('.plotly-graph-div')]"
            ".every(plot => plot.querySelector('.main-svg'))"
            " && (!window.MathJax?.startup || [...document.querySelectorAll('.math')]"
            ".every(math => math.querySelector('mjx-container')))",
            timeout=20_000,
        )

    def _console(self, message: "sync_api.ConsoleMessage") -> None:
        if message.type == "error":
            self.trouble.append(f"console: {message.text}")

    def _response(self, response: "sync_api.Response") -> None:
        if response.status >= 400:
            self.trouble.append(f"{response.status}: {response.url}")

    def _request(self, url: str, home: str) -> None:
        if not url.startswith((home, "data:", "blob:")):
            self.foreign.append(url)


def pages(book: Path) -> list[str]:
    """Every page a reader can reach, by its path in the book."""
    found = [path.relative_to(book).as_posix() for path in sorted(book.rglob("*.html"))]
    # Of the pages that show a module's source, which are all made alike, two are enough.
    sources = [name for name in found if name.startswith("_modules/")]
    others = [name for name in found if not name.startswith(("_static/", "_sources/", "_modules/"))]
    return others + sources[:2]


def test_chapters_lead_to_the_package_and_the_package_to_its_source(book):
    def leads(page: Path, href: str) -> bool:
        target, _, anchor = href.partition("#")
        path = (page.parent / target).resolve() if target else page
        return path.is_file() and (not anchor or f'id="{anchor}"' in text_of(path))

    text_of = functools.cache(lambda path: path.read_text(encoding="utf-8"))
    rooms = sorted(book.glob("book/api/*.html"))
    chapters = sorted(book.glob("notebooks/*.html"))
    assert len(rooms) > 10 and len(chapters) >= 15
    for page, needed in [*((page, "book/api/") for page in chapters),
                         *((page, "_modules/oacore/") for page in rooms)]:  # fmt: skip
        links = [href for href in re.findall(r'href="([^"]+)"', text_of(page)) if needed in href]
        own = [href for href in links if "#" in href]
        assert own, f"{page.name} has no link to {needed}"
        assert [href for href in own if not leads(page, href)] == [], page.name


def everything(book: Path) -> list[str]:
    """All pages, and what the search finds."""
    names = [*pages(book), "search.html?q=knee"]
    assert len(names) > 30 and SALIENCY in names, "the book has hardly a page"
    return names


def faults(watched: Watched, name: str) -> list[str]:
    """What went wrong on a page that was opened, and what it asked of others."""
    # Pictures below the fold may be lazy: what is asserted is that none is broken.
    broken = watched.page.evaluate(
        "() => [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    )
    return [
        *(f"{name}: {trouble}" for trouble in watched.trouble),
        *(f"{name}: asked for {url[:200]}" for url in watched.foreign),
        *(f"{name}: picture {source[:200]} is broken" for source in broken),
    ]


def test_every_page_is_whole_from_disk_and_asks_no_other_host(browser, book):
    wrong = []
    plots = 0
    for name in everything(book):
        watched = Watched(browser, f"{book.as_uri()}/{name}", book.as_uri())
        wrong += faults(watched, name)
        plots += watched.page.locator(".plotly-graph-div").count()
        watched.page.close()
    assert not wrong, "\n".join(wrong)
    assert plots > 0, "no page has a plot"


# Presses all that looks like a button, and what such a press brings up (a dialog's "yes").
# Forms are not sent, which would leave the page: where they lead is told instead.
PRESS = """async () => {
  window.print = () => {};
  document.addEventListener("submit", (event) => event.preventDefault());
  const names = "button, [role=button], input[type=button], input[type=submit], .modebar-btn";
  const seen = new Set(), pressed = [];
  for (let more = true; more; ) {
    more = false;
    for (const one of document.querySelectorAll(names)) {
      if (seen.has(one) || (one.href && !one.matches(".modebar-btn"))) continue;
      seen.add(one);
      more = true;
      pressed.push(one.dataset.title || one.ariaLabel || one.title || one.textContent.trim());
      one.click();
      await new Promise((done) => setTimeout(done, 5));
    }
  }
  localStorage.clear(); // whether the page is light or dark: other tests begin as a reader does
  const forms = [...document.forms].map((form) => form.action);
  return { pressed, forms };
}"""


# Of what is wider than its frame: what cannot be reached with the keys, or shows no sign of it.
WIDE = """() => [...document.querySelectorAll("article *")].filter((part) =>
    part.checkVisibility() && part.clientWidth > 40 && part.scrollWidth > part.clientWidth + 2 &&
    ["auto", "scroll"].includes(getComputedStyle(part).overflowX))
  .filter((part) => !(part.tabIndex === 0 && part.matches(".oa-wide.oa-more")))
  .map((part) => part.outerHTML.slice(0, 200))"""
# Tables that no frame keeps on the page.
LOOSE = """() => [...document.querySelectorAll("article table")].filter((table) => {
    let frame = table.parentElement;
    while (frame.tagName !== "ARTICLE" && getComputedStyle(frame).overflowX === "visible") {
      frame = frame.parentElement;
    }
    return frame.tagName === "ARTICLE" &&
      table.getBoundingClientRect().right > frame.getBoundingClientRect().right + 1;
  }).map((table) => table.outerHTML.slice(0, 200))"""


# The default rules, and one that axe-core still tries out: what is read aloud has the words seen.
# The lines and marks within a plot's drawing are thousands, and no rule is about them. Contrast,
# the slowest of all, is asked of three of the texts that have one look: colour, size and what shows
# through from behind. A page of code has thousands of texts and a few dozen looks, most of which
# were seen on the page before.
AXE = """async ({ seen, contrastAlone }) => {
  const looks = new Map();
  const behind = e => {
    const { backgroundColor, backgroundImage, opacity } = getComputedStyle(e);
    return [backgroundColor, backgroundImage, opacity].join();
  };
  const known = new Set(seen);
  for (const e of document.querySelectorAll("body *")) {
    const says = [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim());
    if (!says && !e.matches("input, select, textarea")) continue;
    if (!e.checkVisibility() || e.closest(".main-svg")) continue;
    const { color, fontSize, fontWeight, textShadow } = getComputedStyle(e);
    const look = [e.localName, color, fontSize, fontWeight, textShadow];
    for (let up = e; up; up = up.parentElement) {
      if (behind(up) !== "rgba(0, 0, 0, 0),none,1") look.push(behind(up));
    }
    const key = look.join("|");
    if (!known.has(key)) looks.set(key, [...(looks.get(key) ?? []), e].slice(0, 3));
  }
  const contrast = { runOnly: ["color-contrast"], resultTypes: ["violations"] };
  const rules = {
    "color-contrast": { enabled: false }, "label-content-name-mismatch": { enabled: true },
    region: { enabled: false } }; // never serious, and slow
  const drawings = { exclude: [[".main-svg"]] };
  const asked = [];
  if (looks.size) {
    asked.push(await axe.run({ include: [...looks.values()].flat(), ...drawings }, contrast));
  }
  if (!contrastAlone) asked.push(await axe.run(drawings, { rules, resultTypes: ["violations"] }));
  const faults = asked.flatMap(({ violations }) => violations)
    .filter(({ impact }) => ["critical", "serious"].includes(impact)).flatMap(
    ({ id, nodes }) => nodes.map(({ target, html }) => `${id}: ${target.join(" ")}: ${html}`));
  return [faults, [...looks.keys()]];
}"""


def barriers(page: "sync_api.Page", seen: set[str], contrast_alone: bool = False) -> list[str]:
    """Serious faults for which axe-core blames a page: rule, selector, and the HTML.

    Looks whose contrast was `seen` are not looked at again; those of this page are added to them.
    """
    if not page.evaluate("() => 'axe' in window"):
        page.add_script_tag(path=str(axe.AXE_FILE_PATH))
    words = {"seen": sorted(seen), "contrastAlone": contrast_alone}
    faults, looks = page.evaluate(AXE, words)
    seen.update(looks)
    return [fault[:300] for fault in faults]


def theme(page: "sync_api.Page", name: str) -> None:
    """Show a page as its button for the theme does."""
    page.evaluate(
        """name => {
  document.documentElement.dataset.theme = name;
  // Colours fade into each other, and what inherits one begins to fade when that has faded.
  for (let fading = null; fading?.length !== 0;) {
    fading = document.getAnimations().filter(one => one instanceof CSSTransition);
    fading.forEach(one => one.finish());
  }
}""",
        name,
    )


class Walk:
    """What one reader found who went to every page, and did on each all that is asked of all.

    A page is opened once: most of a second each goes into that. Buttons are pressed last, which
    changes it most.
    """

    def __init__(self, context: "sync_api.BrowserContext", served: str) -> None:
        """Begin at no page; `served` is the address of the book."""
        self.context, self.served = context, served
        self.whole: list[str] = []
        self.beyond: dict[int, list[str]] = {1280: [], PHONE["width"]: []}
        self.frames = dict.fromkeys(self.beyond, 0)
        self.barriers: list[str] = []
        self.left: list[str] = []
        self.pressed: list[str] = []
        self._looks: set[str] = set()
        self._asked: list[str] = []
        self._opened: list[str] = []

    def through(self, names: list[str]) -> None:
        """Go to pages, and note what is asked for and opened meanwhile."""
        keep = {"request": lambda r: self._asked.append(r.url),
                "page": lambda p: self._opened.append(p.url)}  # fmt: skip
        for event, listener in keep.items():
            self.context.on(event, listener)
        # Whatever tries to leave is seen above and goes no further.
        elsewhere = re.compile(f"^(?!{re.escape(self.served)}|data:|blob:)")
        self.context.route(elsewhere, lambda r: r.abort())
        for name in names:
            watched = Watched(self.context, f"{self.served}/{name}", self.served)
            self.whole += faults(watched, name)
            for width in self.beyond:
                self._measure(watched.page, name, width)
            self._look(watched.page, name)
            self._press(watched.page, name)
            for page in self.context.pages[1:]:
                page.close()
        self.context.unroute_all()
        for event, listener in keep.items():
            self.context.remove_listener(event, listener)

    def _measure(self, page: "sync_api.Page", name: str, width: int) -> None:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(500)  # until what watches sizes has been told
        self.frames[width] += page.locator(".oa-wide").count()
        for script in (WIDE, LOOSE):
            self.beyond[width] += [f"{name}: {one}" for one in page.evaluate(script)]

    def _look(self, page: "sync_api.Page", name: str) -> None:
        page.set_viewport_size({"width": 1280, "height": 900})
        for look in ("light", "dark"):
            theme(page, look)
            # Colours are all that a theme changes.
            found = barriers(page, self._looks, contrast_alone=look == "dark")
            self.barriers += [f"{name}, {look}: {fault}" for fault in found]

    def _press(self, page: "sync_api.Page", name: str) -> None:
        self._opened.clear()
        self._asked.clear()
        plots = page.locator(".plotly-graph-div").count()
        found = page.evaluate(PRESS)
        page.wait_for_timeout(300)  # for what a press does later
        assert found["pressed"].count("Download plot as a PNG") == plots, name
        self.pressed += found["pressed"]
        inside = (self.served, "data:", "blob:")
        foreign = [url for url in self._asked if not url.startswith(inside)]
        foreign += [form for form in found["forms"] if not form.startswith(self.served)]
        self.left += [f"{name}: asked for {url[:200]}" for url in foreign]
        self.left += [f"{name}: opened {url[:200] or 'a window'}" for url in self._opened]


@pytest.fixture(scope="module")
def walk(browser: "sync_api.BrowserContext", book: Path, served: str) -> Walk:
    """One walk through all pages, served."""
    done = Walk(browser, served)
    done.through(everything(book))
    return done


def test_every_page_is_whole_when_served(walk):
    assert not walk.whole, "\n".join(walk.whole)


def test_no_button_asks_another_host(walk):
    assert not walk.left, "\n".join(walk.left)
    assert walk.pressed.count("Zoom in") > 10 and len(walk.pressed) > 200
    assert not [title for title in walk.pressed if re.search("share|cloud|studio", title, re.I)]


@pytest.mark.parametrize("width", [1280, PHONE["width"]])
def test_what_is_wider_than_its_column_scrolls_and_looks_like_it(walk, width):
    assert not walk.beyond[width], "\n".join(walk.beyond[width])
    assert walk.frames[width] > 5


def test_no_page_has_a_serious_fault_in_either_theme(walk):
    assert not walk.barriers, f"{len(walk.barriers)} faults\n" + "\n".join(walk.barriers)


def viewer(page: "sync_api.Page", title: str) -> "sync_api.Locator":
    """The slice viewer of a page with a title, drawn."""
    found = page.get_by_role("region", name=title)
    found.scroll_into_view_if_needed()
    sync_api.expect(found).to_have_attribute("data-ready", "true")
    return found


def picture(viewer: "sync_api.Locator", script: str, place: int = 0) -> Any:
    """What a script finds in one of the viewer's visible pictures, once it is drawn."""
    viewer.page.evaluate(
        "() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))"
    )
    sync_api.expect(viewer).to_have_attribute("data-ready", "true")
    return viewer.locator("canvas:visible").nth(place).evaluate(script)


PIXELS = "c => c.toDataURL()"
# Pixels that are not black, and that are not grey.
COLOURS = """c => {
  const p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  let seen = 0, coloured = 0;
  for (let k = 0; k < p.length; k += 4) {
    const low = Math.min(p[k], p[k + 1], p[k + 2]), high = Math.max(p[k], p[k + 1], p[k + 2]);
    seen += high > 20;
    coloured += high - low > 60;
  }
  return [seen, coloured];
}"""


@pytest.mark.parametrize("way", ["from disk", "served"])
def test_the_slice_slider_changes_the_picture(browser, book, served, way):
    home = book.as_uri() if way == "from disk" else served
    watched = Watched(browser, f"{home}/{COHORT}", home)
    knees = viewer(watched.page, "One test knee of each grade")
    seen = [picture(knees, PIXELS)]
    words = [knees.locator(".oas-status").inner_text()]
    knees.locator("[data-slice=sagittal]").focus()
    watched.page.keyboard.press("ArrowLeft")
    seen.append(picture(knees, PIXELS))
    words.append(knees.locator(".oas-status").inner_text())
    knees.get_by_role("button", name="Coronal").click()
    seen.append(picture(knees, PIXELS))
    knees.locator("[data-tune=opacity]").fill("0")
    seen.append(picture(knees, PIXELS))
    knees.locator("canvas:visible").focus()
    watched.page.keyboard.press("ArrowUp")
    seen.append(picture(knees, PIXELS))
    words.append(knees.locator(".oas-status").inner_text())
    assert len(set(seen)) == 5, "a control left the picture as it was"
    assert len(set(words)) == 3 and "coronal slice" in words[2]
    assert not watched.trouble
    watched.page.close()


def test_a_plot_answers_to_the_pointer(browser, book):
    watched = Watched(browser, f"{book.as_uri()}/{COHORT}", book.as_uri())
    plot = watched.page.locator(".plotly-graph-div:has(.legendtoggle)").first
    plot.scroll_into_view_if_needed()
    handle = plot.element_handle()
    assert not plot.locator(".hoverlayer text").count()
    mark = plot.locator(".point path, path.point, path.box").first.bounding_box()
    assert mark is not None
    # The mark lies under plotly's own drag area, so the pointer goes to the place, not the mark.
    middle = mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2
    watched.page.mouse.move(*middle, steps=3)
    watched.page.wait_for_function(
        "plot => plot.querySelector('.hoverlayer text')?.textContent", arg=handle
    )
    plot.locator(".legendtoggle").first.click()
    watched.page.wait_for_function(
        "plot => plot._fullData.some(trace => trace.visible === 'legendonly')", arg=handle
    )
    assert not watched.trouble
    watched.page.close()


# The numbers of a plot, trace by trace, as plotly has them.
NUMBERS = """gd => gd._fullData.filter(t => t.visible !== false).map(t => {
  const flat = values => values === undefined || values === null ? [] :
    Array.from(values).flatMap(v =>
      ArrayBuffer.isView(v) || Array.isArray(v) ? Array.from(v) : [v]);
  const marks = t.z ? flat(t.z) : t.q1 ? flat(t.median) : flat(t.x).length ? flat(t.x) : flat(t.y);
  const shown = t.z ? flat(t.z) : t.q1 ? flat(t.median) : [...flat(t.x), ...flat(t.y)];
  return {marks: marks.length, numbers: shown.filter(Number.isFinite)};
})"""


@pytest.mark.parametrize("way", ["from disk", "served"])
@pytest.mark.parametrize("name", [COHORT, PUBLISHED])
def test_the_data_of_each_plot_come_as_csv_with_the_plots_own_numbers(
    browser, book, served, way, name
):
    home = book.as_uri() if way == "from disk" else served
    watched = Watched(browser, f"{home}/{name}", home)
    buttons = watched.page.get_by_role("button", name="Data of this plot (CSV)")
    plots = watched.page.locator(".plotly-graph-div")
    assert buttons.count() == plots.count() > 2
    drawn = "() => [...document.querySelectorAll('.plotly-graph-div')].every(gd => gd._fullData)"
    watched.page.wait_for_function(drawn, timeout=120_000)
    names = set()
    for place in range(plots.count()):
        plot = plots.nth(place)
        watched.page.wait_for_timeout(200)  # Chromium drops what exceeds ten downloads a second
        with watched.page.expect_download() as coming:
            buttons.nth(place).press("Enter")
        names.add(coming.value.suggested_filename)
        text = coming.value.path().read_text(encoding="utf-8-sig")
        head, *rows = csv.reader(io.StringIO(text))
        traces = plot.evaluate(NUMBERS)
        assert len(rows) == sum(trace["marks"] for trace in traces), coming.value.suggested_filename
        found = {float(cell) for row in rows for cell in row if NUMBER.fullmatch(cell)}
        words = plot.evaluate(
            "gd => Object.keys(gd._fullLayout).filter(k => /^[xy]axis/.test(k))"
            ".some(k => gd._fullLayout[k].ticktext)"
        )
        numbers = {number for trace in traces for number in trace["numbers"]}
        # Rows that are drawn at 0, 1, 2 are called by their names instead.
        assert numbers <= found or words, coming.value.suggested_filename
        assert len(set(head)) == len(head) and all(head)
    assert len(names) == plots.count()
    assert not watched.trouble and not watched.foreign
    watched.page.close()


def test_four_grades_stand_side_by_side_and_their_lesions_can_be_hidden(browser, book):
    watched = Watched(browser, f"{book.as_uri()}/{KNEE}", book.as_uri())
    knees = viewer(watched.page, "One knee, four grades")
    assert knees.locator("[data-set=case]").is_hidden()
    assert knees.locator("canvas:visible").count() == 4
    for plane in ("Coronal", "Sagittal"):
        knees.get_by_role("button", name=plane).click()
        colours = {}
        for opacity in ("100", "0"):
            knees.locator("[data-tune=opacity]").fill(opacity)
            colours[opacity] = [picture(knees, COLOURS, place) for place in range(4)]
        assert all(grey > 0 for grey, _ in colours["0"]), "a panel is empty"
        assert [coloured for _, coloured in colours["0"]] == [0] * 4
        healthy, *_, worst = [coloured for _, coloured in colours["100"]]
        assert healthy == 0 < worst, "lesions are where there is none, or the other way round"
    assert not watched.trouble and not watched.foreign
    watched.page.close()


def test_the_real_mean_knee_stands_beside_the_phantom_or_the_page_says_how(browser, book):
    watched = Watched(browser, f"{book.as_uri()}/{KNEE}", book.as_uri())
    said = watched.page.locator(".cell_output", has_text="oacore fetch references").count()
    if not (book.parent / "references").exists():
        assert said
    else:
        assert not said
        pair = viewer(watched.page, "A real mean knee and a phantom")
        assert pair.locator("canvas:visible").count() == 2
        seen = picture(pair, PIXELS)
        pair.locator("[data-slice=sagittal]").focus()
        watched.page.keyboard.press("ArrowLeft")
        assert picture(pair, PIXELS) != seen
    watched.page.close()


def test_the_chapter_with_the_most_pictures_stays_light(book):
    assert (book / KNEE).stat().st_size < 3e6


@pytest.mark.parametrize(
    "name",
    ["index.html", COHORT, KNEE, PUBLISHED, AUDIT, RADIOMICS, AXIS, SALIENCY, FIGURES, REPORT],
)
def test_a_phone_needs_no_sideways_scroll(browser, book, name):
    page = browser.new_page()
    page.set_viewport_size(PHONE)
    page.goto(f"{book.as_uri()}/{name}", wait_until="load")
    page.wait_for_selector("main")
    page.wait_for_timeout(500)  # plots settle to the new width
    assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]
    page.close()


@pytest.mark.parametrize("way", ["from disk", "served"])
@pytest.mark.parametrize("alone", [False, True])
def test_a_link_opens_the_slicer_on_a_case_slice_and_model(browser, book, served, way, alone):
    home = book.as_uri() if way == "from disk" else served
    place = "_static/14-saliency/slicer/index.html" if alone else SALIENCY
    assert (book / place).stat().st_size < 1e6, "a page is light before it is touched"
    link = f"{home}/{place}#slicer=case-2,s9,c20,a31,m3t-dual-kl-gradient"
    watched = Watched(browser, link, home)
    page = watched.page
    slicer = page.locator(".oa-slicer")
    page.wait_for_function("() => document.querySelector('.oa-slicer').dataset.ready === 'true'")
    where = [slicer.locator(f"[data-slice={plane}]") for plane in ("sagittal", "coronal", "axial")]
    assert [one.input_value() for one in where] == ["9", "20", "31"]
    assert slicer.locator("[data-set=case] option:checked").inner_text().startswith("Case 2: read")
    assert slicer.locator("[data-model=backbone0]").input_value() == "m3t"
    canvas = slicer.locator("canvas").first
    before = canvas.evaluate("c => c.toDataURL()")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    sync_api.expect(where[0]).to_have_value("10")  # in the next frame
    page.wait_for_function("() => document.querySelector('.oa-slicer').dataset.ready === 'true'")
    assert canvas.evaluate("c => c.toDataURL()") != before
    assert "KL" in slicer.locator(".oas-table").inner_text()
    assert not watched.trouble and not watched.foreign
    page.close()


def test_the_slicer_opens_on_a_grade_that_is_right_and_names_all(browser, book):
    watched = Watched(browser, f"{book.as_uri()}/{SALIENCY}", book.as_uri())
    slicer = watched.page.locator(".oa-slicer")
    sync_api.expect(slicer.locator(".oas-open")).to_be_visible()
    menu = slicer.locator("[data-set=case] option").all_inner_texts()
    named = [re.fullmatch(r"Case \d: read KL (\d), predicted KL (\d)", name) for name in menu]
    assert len(named) == 5 and all(named)
    folder = book / "_static/14-saliency/slicer"
    cases = [json.loads((folder / f"case-{k}.json").read_text()) for k in range(1, 6)]
    off = [abs(int(name[2]) - case["kl_true"]) for name, case in zip(named, cases, strict=True)]
    opened = int(slicer.locator("[data-set=case]").input_value())
    assert off[opened] == min(off)
    assert all(any(one["weights"] == "random" for one in case["maps"]) for case in cases)
    slicer.locator(".oas-open").press("Enter")
    sync_api.expect(slicer).to_have_attribute("data-ready", "true")
    slicer.get_by_role("button", name="Two models").press("Enter")
    sync_api.expect(slicer.locator(".oas-verdict")).to_contain_text("random weights")
    sync_api.expect(slicer.locator(".oas-value")).to_contain_text("At the crosshair: grey value")
    assert not watched.trouble and not watched.foreign
    watched.page.close()


@pytest.mark.parametrize("name", [COHORT, KNEE, SALIENCY, AXIS])
def test_viewers_say_their_keys_in_one_way_and_print_without_controls(browser, book, name):
    watched = Watched(browser, f"{book.as_uri()}/{name}", book.as_uri())
    viewers = watched.page.locator(".oa-slicer")
    assert viewers.count()
    for place in range(viewers.count()):
        one = viewers.nth(place)
        said = one.locator(".oas-help kbd").all_inner_texts()
        assert said[:8] == ["←", "→", "↑", "↓", "Page Up", "Page Down", "Home", "End"]
        assert "first, last" in one.locator(".oas-help").inner_text()
    watched.page.emulate_media(media="print")
    shown = ".oa-slicer :is(button, select, input, kbd, summary, progress):visible"
    assert watched.page.locator(shown).count() == 0
    watched.page.emulate_media(media="screen")
    watched.page.close()


def test_a_case_of_the_slicer_is_small(book):
    folder = book / "_static/14-saliency/slicer"
    cases = [json.loads(path.read_text()) for path in folder.glob("case-*.json")]
    assert len(cases) == 5
    for case in cases:
        parts = [case["image"], case["outline"], *case["maps"]]
        assert sum((folder / part["file"]).stat().st_size for part in parts) < 2e6


def test_figures_for_print_lie_beside_their_page(browser, book, served):
    watched = Watched(browser, f"{served}/{FIGURES}", served)
    page = watched.page
    links = page.locator("article a[href*='_static/24-tables-and-figures/']")
    targets = {links.nth(i).get_attribute("href") for i in range(links.count())}
    names = {Path(target).name for target in targets}
    assert {f"fig{k}.{end}" for k in range(1, 6) for end in ("svg", "pdf")} <= names
    assert {f"table{k}.{end}" for k in range(1, 4) for end in ("csv", "tex")} <= names
    for target in targets:
        assert page.request.get(f"{served}/notebooks/{target}").status == 200, target
    pictures = page.locator("article figure img")
    assert pictures.count() >= 5
    for i in range(pictures.count()):
        assert pictures.nth(i).evaluate("i => i.complete && i.naturalWidth > 100")
        assert len(pictures.nth(i).get_attribute("alt")) > 40
    page.close()


def test_findings_of_the_audit_are_chosen_by_verdict_and_paper(browser, book, served):
    watched = Watched(browser, f"{served}/{AUDIT}", served)
    page = watched.page
    rows = page.locator("tbody tr[data-verdict]")
    everything = rows.count()
    label = page.locator("label", has_text="inconsistent (")
    number = int(label.inner_text().split("(")[1].rstrip(")"))
    assert 0 < number < everything
    label.click()
    shown = page.locator("tbody tr[data-verdict]:visible")
    assert shown.count() == number
    page.locator("label", has_text="arXiv:2605.00718 (").click()
    assert 0 < shown.count() < number
    page.close()


def test_the_report_leads_to_the_cells_and_prints(browser, book, served):
    watched = Watched(browser, f"{served}/{REPORT}", served)
    page = watched.page
    links = page.locator("article a[href*='#cell-']")
    targets = {links.nth(i).get_attribute("href") for i in range(links.count())}
    assert len(targets) >= 3
    for target in targets:
        path, _, anchor = target.partition("#")
        assert f'id="{anchor}"' in (book / "book" / path).resolve().read_text(encoding="utf-8")

    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 less its margins
    for furniture in (".bd-sidebar-primary", ".bd-header", ".prev-next-footer"):
        assert not page.locator(furniture).first.is_visible(), furniture
    beyond = page.evaluate(
        "() => [...document.querySelectorAll('article table, article p, article h3')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.textContent.slice(0, 80))"
    )
    assert beyond == []
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()


def test_serious_faults_would_be_found(browser, served):
    watched = Watched(browser, f"{served}/book/index.html", served)
    watched.page.evaluate(
        """() => document.querySelector("article").insertAdjacentHTML("beforeend",
        '<img src="data:,"><p style="color:#aaa;background:#fff">pale</p>' +
        '<div style="background:#777"><p>as dark as all, but for what is behind</p></div>' +
        '<p>among many <em style="opacity:.3">one that is faint</em></p>' +
        '<button aria-label="one">two</button>')"""
    )
    seen = set()
    first = barriers(watched.page, seen)
    found = [fault.split(":")[0] for fault in first]
    assert set(found) == {"image-alt", "color-contrast", "label-content-name-mismatch"}
    assert found.count("color-contrast") == 3
    assert barriers(watched.page, set(), contrast_alone=True) == first[:3]
    assert barriers(watched.page, seen, contrast_alone=True) == []  # looks that were seen
    assert barriers(watched.page, seen) == first[3:]
    new = "() => document.querySelector('article p').style.cssText = 'color: #bbb; font-size: 7px'"
    watched.page.evaluate(new)
    assert len(barriers(watched.page, seen, contrast_alone=True)) == 1
    watched.page.close()


def weight(context: "sync_api.BrowserContext", book: Path, served: str, name: str) -> int:
    """Bytes of all that a page loads, as they lie on disk."""
    page = context.new_page()
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(re.sub(r"[?#].*", "", request.url)))
    page.goto(f"{served}/{name}", wait_until="networkidle")
    page.close()
    files = [book / url.removeprefix(f"{served}/") for url in asked if url.startswith(served)]
    return sum(path.stat().st_size for path in files)


def test_a_page_loads_what_it_needs(browser, book, served):
    assert weight(browser, book, served, "book/index.html") < 300e3
    for name in pages(book):
        page = (book / name).read_text(encoding="utf-8")
        loaded = " ".join(re.findall(r'<script[^>]* src="([^"]+)"', page))
        assert ("plotly" in loaded) == ("plotly-graph-div" in page), name
        assert ("mathjax" in loaded) == ('class="math' in page), name


def test_a_solution_is_folded_until_it_is_asked_for(browser, book, served):
    watched = Watched(browser, f"{served}/{AUDIT}", served)
    solution = watched.page.locator(".admonition.solution.dropdown").first
    words = solution.locator("p:not(.admonition-title)").first
    sync_api.expect(words).not_to_be_visible()
    solution.locator(".admonition-title").first.click()
    sync_api.expect(words).to_be_visible()
    watched.page.close()


def test_the_plots_library_is_of_the_version_that_python_writes_for(book):
    text = (book / "_static/plotly-cartesian.min.js").read_text(encoding="utf-8")
    assert f"(cartesian - minified) v{get_plotlyjs_version()}\n" in text[:200]


def test_icons_are_drawn(browser, served):
    watched = Watched(browser, f"{served}/{COHORT}", served)
    page = watched.page
    page.wait_for_function("() => document.fonts.status === 'loaded'")
    assert page.evaluate("() => document.fonts.check('900 16px \"Font Awesome 6 Free\"')")
    icons = page.locator(".bd-header-article :is(i, span)[class*='fa-']:visible")
    assert icons.count() >= 4
    for i in range(icons.count()):
        said = icons.nth(i).evaluate("i => getComputedStyle(i, '::before').content")
        assert re.fullmatch('"[\uf000-\uf8ff]"', said), icons.nth(i).get_attribute("class")
    page.close()


GROUND = """() => [...document.querySelectorAll(".js-plotly-plot")].map((plot) => [
  plot._fullLayout.paper_bgcolor, plot._fullLayout.font.color])"""


def test_plots_are_dark_on_the_dark_theme_and_light_again(browser, served):
    watched = Watched(browser, f"{served}/{COHORT}", served)
    page = watched.page
    before = page.evaluate(GROUND)
    assert before and {tuple(one) for one in before} == {("white", "#1A1A1A")}
    trace = "() => JSON.stringify(document.querySelector('.js-plotly-plot').data)"
    drawn = page.evaluate(trace)
    theme(page, "dark")
    page.wait_for_timeout(300)  # plots are drawn anew
    assert {tuple(one) for one in page.evaluate(GROUND)} == {("#121212", "#eceff2")}
    theme(page, "light")
    page.wait_for_timeout(300)
    after = page.evaluate(GROUND)
    assert {tuple(one) for one in after} == {("#ffffff", "#1a1a1a")}
    assert page.evaluate(trace).lower() == drawn.lower().replace('"white"', '"#ffffff"')

    page.emulate_media(color_scheme="dark")  # as a reader whose system is dark begins
    page.reload(wait_until="load")
    page.wait_for_selector(".js-plotly-plot .main-svg")
    assert {tuple(one) for one in page.evaluate(GROUND)} == {("#121212", "#eceff2")}
    page.emulate_media(color_scheme="light")
    assert not watched.trouble
    page.close()


@pytest.mark.parametrize("way", ["from disk", "served"])
@pytest.mark.parametrize("words", ["saliency", "Kellgren Lawrence"])
def test_what_the_search_finds_is_quoted(browser, book, served, way, words):
    home = book.as_uri() if way == "from disk" else served
    watched = Watched(browser, f"{home}/search.html?q={words.replace(' ', '+')}", home)
    page = watched.page
    sync_api.expect(page.locator("#search-results .search-summary")).to_contain_text("found")
    quoted = page.locator("ul.search > li:has(p.context)")
    assert quoted.count() > 5
    # Functions and glossary's terms have a word beside them, which says what they are.
    assert not page.locator("ul.search > li:not(:has(> span)):not(:has(p.context))").count()
    marked = page.locator("ul.search > li:has(p.context mark)").count()
    assert marked > 0.7 * quoted.count()
    said = page.locator("p.context mark").first.inner_text().lower()
    assert said in words.lower().split()
    assert not watched.trouble and not watched.foreign
    page.close()


# Words that a written table breaks within, since a column is narrower than they are.
BROKEN = """() => [...document.querySelectorAll(".pst-scrollable-table-container :is(td, th)")]
  .flatMap((cell) => {
    const range = document.createRange(), broken = [];
    const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      for (const { 0: word, index } of texts.currentNode.data.matchAll(/[A-Za-z]{3,}/g)) {
        range.setStart(texts.currentNode, index);
        range.setEnd(texts.currentNode, index + word.length);
        const tops = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
        if (tops.size > 1) broken.push(word);
      }
    }
    return broken;
  })"""


@pytest.mark.parametrize("width", [1280, PHONE["width"]])
@pytest.mark.parametrize("name", [REPORT, "book/about-this-build.html", "book/contributing.html"])
def test_no_written_table_breaks_a_word(browser, book, name, width):
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{book.as_uri()}/{name}", wait_until="load")
    page.wait_for_selector("article table")
    assert page.evaluate(BROKEN) == []
    page.close()


@pytest.mark.parametrize("name", [COHORT, PUBLISHED, RADIOMICS, SALIENCY])
def test_a_chapter_prints_whole(browser, book, name):
    page = browser.new_page()
    page.goto(f"{book.as_uri()}/{name}", wait_until="load")
    page.wait_for_selector(".js-plotly-plot .main-svg")
    theme(page, "dark")
    page.wait_for_timeout(300)  # plots are drawn anew
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 less its margins
    page.emulate_media(media="print")
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    page.wait_for_timeout(500)
    assert page.evaluate("() => document.documentElement.dataset.theme") == "light"
    beyond = page.evaluate(
        """() => [...document.querySelectorAll("article :is(table, pre, p, img, .main-svg)")]
        .filter((part) => part.checkVisibility() &&
          part.getBoundingClientRect().right > innerWidth + 1)
        .map((part) => part.outerHTML.slice(0, 120))"""
    )
    assert beyond == []
    page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    page.close()


def test_a_button_in_focus_has_a_ring(browser, served):
    watched = Watched(browser, f"{served}/{COHORT}", served)
    buttons = watched.page.locator(".bd-header-article button:visible")
    assert buttons.count() >= 4
    watched.page.keyboard.press("Tab")  # from now on focus is shown
    for i in range(buttons.count()):
        buttons.nth(i).focus()
        width = buttons.nth(i).evaluate("b => getComputedStyle(b).outlineWidth")
        assert float(width.removesuffix("px")) >= 2, buttons.nth(i).get_attribute("title")
    watched.page.close()
