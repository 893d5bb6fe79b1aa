"""Of a style sheet stays what pages and scripts have a use for, under an address of its own."""

import hashlib

from workflow.excerpts import WORDS, write_excerpts
from workflow.slim import mark, names, used


def test_a_rule_stays_if_all_that_it_names_is_there():
    css = """
        /* why */ /*! whose */
        p { margin: 0 } .there .gone { color: red } .there, .gone { color: blue }
        .there:not(.gone) > a { color: green } #top { top: 0 }
        @media print { .gone { display: none } .there { display: block } }
        @media (min-width: 9px) { .gone { width: 1px } }
        @font-face { font-family: x; src: url(x.woff2) }
    """
    kept = "".join(used(css, {"there"}).split())
    assert kept.count(".there") == 3 and "color:red" not in kept and "#top" not in kept
    assert ".there{color:blue}" in kept and ".there:not(.gone)>a{color:green}" in kept
    assert "@mediaprint{.there{display:block}}" in kept and "min-width" not in kept
    assert kept.startswith("/*!whose*/p{margin:0}") and "@font-face{font-family:x" in kept


def test_names_are_those_of_pages_and_of_scripts_but_not_of_plots(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p class="one two" id="three"></p><script>add("four")</script>'
        '<script>Plotly.newPlot("five")</script>'
    )
    (tmp_path / "b.js").write_text('toggle("six-seven")')
    found = names(tmp_path)
    assert {"one", "two", "three", "four", "six-seven"} <= found and "five" not in found


def test_the_address_of_a_sheet_follows_from_what_it_holds_now(tmp_path):
    sheet = tmp_path / "_static/a.css"
    sheet.parent.mkdir()
    sheet.write_text("p{}")
    page = tmp_path / "book/page.html"
    page.parent.mkdir()
    page.write_text(
        '<link href="../_static/a.css?v=0123abcd"><link href="../_static/a.css?digest=12">'
        '<link href="../_static/other.css?v=0123abcd">'
    )
    mark(tmp_path, [sheet])
    now = hashlib.sha256(b"p{}").hexdigest()[:8]
    said = page.read_text()
    assert said.count(f"a.css?v={now}") == 2 and "other.css?v=0123abcd" in said


def test_a_page_may_hold_a_picture_of_many_letters_and_no_sign(tmp_path):
    """Each letter was tried as the beginning of a sheet's name: an hour for these."""
    (tmp_path / "a.css").write_text("p{}")
    page = tmp_path / "page.html"
    page.write_text(f'<img src="{"A" * 1_000_000}"><link href="a.css?v=0123abcd">')
    mark(tmp_path, [tmp_path / "a.css"])
    assert "0123abcd" not in page.read_text()


def test_the_search_carries_the_words_of_pages_that_it_finds(tmp_path):
    for name in ("search", "book/page", "_modules/code"):
        path = tmp_path / f"{name}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<head></head><article>of {name}</article>")
    (tmp_path / "_static").mkdir()
    write_excerpts(tmp_path)
    words = (tmp_path / WORDS).read_text()
    assert "of book/page" in words and "_modules" not in words
