"""A real cohort's book holds no subject, no single knee, no place on the builder's disk."""

import base64
import gzip
import json
import re
import zlib

import nibabel as nib
import numpy as np
import pandas as pd

from tests.helpers import ROOT
from tests.workflow.laced import CASE, FIRST, MARKS

#: Files in which a number that stands alone is a number of the book's.
TEXTS = {".html", ".ipynb", ".md", ".json", ".csv", ".svg", ".tex", ".txt"}


def plotted(page: str) -> set[float]:
    """All numbers in a page's plots, which hold arrays as base64."""
    found: set[float] = set()
    for kind, code in re.findall(r'"dtype":\s*"(\w+)",\s*"bdata":\s*"([^"]+)"', page):
        data = base64.b64decode(json.loads(f'"{code}"'))
        found |= set(np.frombuffer(data, np.dtype(kind)).astype(float).tolist())
    return found


def test_no_mark_and_no_place_is_in_any_byte_of_the_book(private_book, laced):
    named = [mark.encode() for mark in (*MARKS, str(laced.parent), str(private_book.parent))]
    seen = 0
    for path in private_book.glob("html/**/*"):
        if path.is_file():
            content = path.read_bytes()
            seen += 1
            for mark in named:
                assert mark not in content, (path.name, mark)
            assert not re.search(rb"\d\.(?:1357901|2468013)", content), path.name
            if path.suffix in TEXTS:
                assert not CASE.search(content), (path.name, CASE.search(content))
            for packed in re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL):
                text = zlib.decompressobj().decompress(packed) if path.suffix == ".pdf" else b""
                assert not any(mark in text for mark in named), path.name
    assert seen > 50


def test_maps_carry_nothing_of_the_image_they_lie_over(private_book):
    maps = [*private_book.glob("explained/*/*/seed*/nifti/*.nii.gz")]
    assert len(maps) > 50
    for path in maps:
        content = gzip.decompress(path.read_bytes())
        assert not any(mark.encode() in content for mark in MARKS), path.name
        header = nib.load(path).header
        for field in ("descrip", "aux_file", "db_name", "intent_name"):
            assert not bytes(header[field]).strip(b"\0"), (path.name, field)


def test_no_mark_is_in_an_executed_notebook_or_a_kept_table(private_book):
    paths = [*private_book.glob("notebooks/*.ipynb"), *private_book.glob("results/*/*.csv")]
    assert len(paths) > 15
    for path in paths:
        content = path.read_text()
        assert not any(mark in content for mark in MARKS), path
        assert path.suffix == ".csv" or not CASE.search(content.encode()), path


def test_findings_are_counted_where_they_would_name_knees(private_book):
    page = (private_book / "html/notebooks/03-cohort.html").read_text()
    for what in ("a test case of a training subject", "no row of the table uses this file"):
        assert re.search(rf"{what}\s+\(\d+ times\)", page), what


def test_single_knees_are_not_shown_and_the_page_says_so(private_book, laced):
    page = (private_book / "html/notebooks/03-cohort.html").read_text()
    assert 'class="oa-slicer"' not in page
    assert "make book IMAGES=yes" in re.sub(r"<[^>]+>", "", page)
    about = re.sub(r"<[^>]+>", "", (private_book / "html/book/about-this-build.html").read_text())
    assert "Single knees are not shown" in about
    cells = json.loads((private_book / "notebooks/04-train-resnet3d.ipynb").read_text())["cells"]
    shown = "".join(json.dumps(cell.get("outputs", [])) for cell in cells)
    assert "labels and answers of single knees are not shown" in shown
    assert "labels: KL" not in shown and "answers: OA with" not in shown
    assert not [*private_book.glob("html/_static/**/slicer")]
    for chapter in ("13-severity-axis", "14-saliency", "24-tables-and-figures"):
        page = (private_book / f"html/notebooks/{chapter}.html").read_text()
        assert "make book IMAGES=yes" in re.sub(r"<[^>]+>", "", page), chapter
        assert 'class="oa-slicer"' not in page and "oa-thumbnail" not in page, chapter
    single = set()
    for path in private_book.glob("runs/*/*/seed*/predictions.csv"):
        single |= set(pd.read_csv(path)["prob_oa"])
    for path in laced.glob("subInfo_*.xlsx"):
        single |= set(pd.read_excel(path)[["Age", "BMI"]].to_numpy().ravel())
    numbers = 0
    for path in private_book.glob("html/notebooks/*.html"):
        shown = plotted(path.read_text())
        numbers += len(shown)
        assert not shown & single, path.name
        assert not any(FIRST < number < FIRST + 1000 for number in shown), path.name
    assert numbers > 500


def test_single_knees_are_shown_where_it_was_asked_for(extended_book, laced):
    page = (extended_book / "html/notebooks/03-cohort.html").read_text()
    assert page.count('class="oa-slicer"') == 2 and "asked for it" in page
    assert 'class="oa-slicer"' in (extended_book / "html/notebooks/14-saliency.html").read_text()
    parts = [*extended_book.glob("html/_static/14-saliency/slicer/*")]
    assert len(parts) > 10
    pages = [*extended_book.glob("html/notebooks/*.html"), *parts]
    content = b"".join(path.read_bytes() for path in pages)
    assert not any(mark.encode() in content for mark in MARKS)
    assert not CASE.search(content), CASE.search(content)
    for place in (ROOT, extended_book.parent, laced.parent):
        assert str(place).encode() not in content
