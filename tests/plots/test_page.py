"""Outputs that work without a kernel: what is in the bytes, and which way up it is."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from oacore.data.cohort import SYNTHETIC
from oacore.errors import InputError
from oacore.plots import page as page_module
from oacore.plots.page import (
    TALL,
    cohort_evidence,
    evidence,
    radiographs_evidence,
    readable,
    show,
    table,
)
from tests.helpers import FOREIGN, GRADES, write_tables
from tests.helpers import table as rows


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
    monkeypatch.setattr(page_module, "display", lambda bundle, raw: bundles.append(bundle))
    page_module._shown.clear()
    return bundles


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
    page_module._shown.clear()
    show(fig, "bars")
    first, second, rerun = (bundle["text/html"] for bundle in shown)
    assert first == rerun
    ids = [re.search(r'<div id="([^"]+)"', page).group(1) for page in (first, second)]
    assert ids[0] != ids[1]


def test_no_form_of_a_figure_offers_to_upload_it(shown, monkeypatch):
    show(go.Figure(go.Bar(y=[1, 2])), "bars")
    (bundle,) = shown
    spec = bundle["application/vnd.plotly.v1+json"]["config"]
    (drawn,) = re.findall(r"Plotly\.newPlot\(.*?(\{[^{}]*\})\s*\)", bundle["text/html"], re.DOTALL)
    colab: list[dict] = []
    monkeypatch.setattr(page_module.pio.renderers, "default", "colab")
    monkeypatch.setattr(go.Figure, "show", lambda fig, config: colab.append(config))
    show(go.Figure(go.Bar(y=[1, 2])), "bars")
    for config in (spec, json.loads(drawn), *colab):
        assert config["showSendToCloud"] is False and config["displaylogo"] is False
        assert not config.get("plotlyServerURL") and not config.get("showLink")
    assert len(colab) == 1 and "cloud.plotly.com" not in bundle["text/html"]


def test_show_needs_a_text_alternative(shown):
    with pytest.raises(InputError, match="text alternative"):
        show(go.Figure(), " ")
    assert not shown


def test_kinds_of_evidence_differ_in_more_than_colour():
    kinds = ["published", "radiomics", "readings", "radiographs", "phantom", "oaizib-cm"]
    kinds += ["printed", "recorded"]
    banners = [evidence(kind).html for kind in kinds]
    signs = [re.search(r'aria-hidden="true"[^>]*>(.)<', banner).group(1) for banner in banners]
    assert len(set(signs)) == len(kinds)
    assert "not a clinical result" in evidence("phantom").alt
    assert all("synthetic" not in evidence(kind).alt.lower() for kind in kinds if kind != "phantom")
    with pytest.raises(InputError, match="unknown kind 'clinical'"):
        evidence("clinical")


def test_a_banner_says_where_its_tables_come_from_before_what_is_an_exception():
    banner = evidence("published", "But for one.", origin="Read from a record.")
    assert banner.alt.endswith("for this page. Read from a record. But for one.")


def test_an_exception_is_part_of_the_banner_and_cannot_break_it():
    banner = evidence("phantom", "But <one> & only one.")
    assert "But &lt;one&gt; &amp; only one.</span>" in banner.html
    assert banner.alt.endswith("But <one> & only one.")


def test_the_banner_of_real_radiographs_says_whether_single_ones_are_shown():
    for images in ("", "no"):
        banner = radiographs_evidence(images, but="But for one.", origin="Read from a record.")
        assert 'data-evidence="radiographs"' in banner.html
        assert "Read from a record. No real picture is shown, and no row" in banner.alt
        assert banner.alt.endswith(" But for one.") and "Single knees are" not in banner.alt
    shown = radiographs_evidence("yes").alt
    assert shown.endswith("asked for it (IMAGES=yes).") and "No real picture" not in shown
    with pytest.raises(InputError, match="images=maybe"):
        radiographs_evidence("maybe")


@pytest.mark.parametrize("drawn", [0, 1, 9, 10])
def test_the_banner_of_a_cohort_names_each_kind_of_its_knees(tmp_path, drawn):
    """A single synthetic knee made every image, mask and grade of a real cohort "drawn"."""
    marks = [SYNTHETIC] * drawn + [0] * (10 - drawn)
    tables = (rows(GRADES, first).assign(MRBarCode=marks[first - 1 :][:5]) for first in (1, 6))
    write_tables(tmp_path, *tables)
    banner = cohort_evidence(tmp_path, but="And one exception.")
    kind = "phantom" if drawn == 10 else "oaizib-cm"
    assert f'data-evidence="{kind}"' in banner.html and banner.alt.endswith("And one exception.")
    assert ("phantom" in banner.alt.lower()) == (drawn == 10)
    named = f"Not all of it is real: {drawn} of its 10 knees are synthetic"
    assert (named in banner.alt) == (0 < drawn < 10)
    assert ("not a clinical result" in banner.alt) == (drawn > 0)
    assert "Single knees are shown" not in banner.alt


def test_a_table_rounds_leaves_blanks_and_escapes():
    frame = pd.DataFrame(
        {"femur_mm": [1.005, np.nan], "n": [3, 4], "who": ["a_b", "<i>"]},
        index=pd.Index(["row_1", "row 2"], name="which"),
    )
    shown = table(frame, decimals=1)
    cells = re.findall(r"<td>(.*?)</td>", shown.html)
    corner, *cells = cells  # no heading, hence no empty one
    assert not corner and cells == ["1.0", "3", "a_b", "", "4", "&lt;i&gt;"]
    assert re.findall(r"<th>(.+?)</th>", shown.html) == ["femur mm", "n", "who", "row 1", "row 2"]
    assert shown.html.count("<tr") == 3, "the index's name takes no row"
    assert "overflow-x:auto" in shown.html
    assert "femur mm" in shown.alt and "NaN" not in shown.alt


def test_only_a_table_that_is_too_long_scrolls_below_its_head():
    for n, tall in ((TALL, False), (TALL + 1, True)):
        shown = table(pd.DataFrame({"n": range(n)}))
        assert ("oa-tall" in shown.html) == ("max-height" in shown.html) == tall
        assert shown.html.count("<tr") == n + 1


def test_the_page_shows_every_word_and_no_markup_of_its_own():
    table = pd.DataFrame({"a": ["x < y", "two"], "b": ["three", "four"], "c": ["five", "six"]})
    page = readable(table, below="b")
    assert "x &lt; y" in page.html and "x < y" not in page.html
    cells = re.findall(r">([^<>]+)<", page.html)
    assert cells == ["a", "c", "x &lt; y", "five", "b:", " three", "two", "six", "b:", " four"]
    assert page.alt.splitlines() == ["x < y; five; b: three", "two; six; b: four"]
