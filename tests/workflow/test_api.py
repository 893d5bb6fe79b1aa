"""The package's pages: of a tiny invented package through Sphinx, and of this one's references."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from oacore.plots.page import show_source
from tests.helpers import ROOT
from workflow import api
from workflow.build_book import chapters_and_rooms, contents

TINY = {
    "oacore/__init__.py": '"""A tiny package.\n\nIt knows two things.\n\nLeaves:\n    ``names``\n\n'
    "``metrics``: scores\n    ``scores``, ``auc``\n\n``instruments.axis``: an axis\n"
    '    ``axis``\n"""',
    "oacore/__main__.py": "",
    "oacore/names.py": '"""Names."""\n\n#: All names,\n#: in order.\nNAMES = ("a",)\nSIZE = 3\n',
    "oacore/metrics/__init__.py": '"""What predictions score."""',
    "oacore/metrics/auc.py": '"""Areas."""\n\ndef area(x: float) -> float:\n'
    '    """Area, as :func:`.scores.score` wants it."""\n\ndef _hidden():\n    """Not seen."""\n',
    "oacore/metrics/scores.py": '''"""Scores, on |no| substitution but `x`."""

from dataclasses import dataclass

from oacore.metrics.auc import area


def score(x: float, *, scale: float = 2) -> "Row":
    """Score of a number.

    Parameters
    ----------
    x : float
        A number, see :data:`.names.NAMES`.

    Returns
    -------
    Row
    """
    return Row(area(x) * scale)


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes
    ----------
    value : float
        The score.
    """

    value: float

    def twice(self, times: int = 2) -> float:
        """Twice the value, or more often."""
        return self.value * times
'''.replace("|no| ", "no "),
    "oacore/instruments/__init__.py": '"""Rooms."""',
    "oacore/instruments/axis/__init__.py": '"""An axis in the features."""',
    "oacore/instruments/axis/axis.py": '"""An axis."""\n\ndef axis():\n    """Nothing yet."""\n',
    "_toc.yml": "format: jb-book\nroot: book/index\nparts:\n- chapters:\n"
    "  - file: notebooks/01-one\n  - file: notebooks/02-two\n  - file: book/package\n",
    "book/index.md": "# Book\n",
}
CELLS = {
    "01-one": "from oacore.metrics import auc\nfrom oacore.metrics.scores import Row, score\n"
    "from oacore.names import NAMES, SIZE\nimport numpy as np",
    "02-two": "%matplotlib inline\nfrom oacore.metrics.scores import score as points",
}


def score():
    """Score of a number."""


score.__module__ = "oacore.metrics.scores"  # as if it were the tiny package's


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A copy that Jupyter Book could read, of a tiny package and two chapters."""
    for name, text in TINY.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name, code in CELLS.items():
        path = tmp_path / f"notebooks/{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        quoted = new_output("display_data", data={"text/markdown": show_source(score).data})
        cell = new_code_cell(code, outputs=[quoted] if name == "01-one" else [])
        nbformat.write(new_notebook(cells=[new_markdown_cell(f"# {name}"), cell]), path)
    monkeypatch.setattr(api, "ROOT", tmp_path)
    api.source.cache_clear()
    yield tmp_path
    api.source.cache_clear()


def test_rooms_come_from_the_ground_up_and_into_the_contents(site):
    chapters_and_rooms(site)
    rooms = ["book/api/leaves", "book/api/metrics", "book/api/axis"]
    assert contents(site / "_toc.yml")[3:] == ["book/package", *rooms]
    page = (site / "book/api/metrics.rst").read_text()
    assert page.index("oacore.metrics.scores") < page.index("oacore.metrics.auc\n")
    assert "_hidden" not in page
    assert "What predictions score." in (site / "book/package.md").read_text()


def sphinx(site: Path) -> str:
    """Render a site as the book is rendered; what Sphinx warned of."""
    from io import StringIO

    from sphinx.application import Sphinx

    warnings = StringIO()
    app = Sphinx(
        site, None, site / "html", site / "doctrees", "html",
        confoverrides={
            "extensions": ["myst_nb", "sphinx_design", "workflow.api", "workflow.sphinx_pace"],
            "nb_execution_mode": "off", "nitpicky": True, "root_doc": "book/index",
            "viewcode_follow_imported_members": False,
            "nitpick_ignore_regex": [("py:class", ".*")],
            "suppress_warnings": ["myst-nb.lexer"],
        },
        status=None, warning=warnings,
    )  # fmt: skip
    app.build()
    lines = warnings.getvalue().splitlines()
    return "\n".join(line for line in lines if "isn't included in any toctree" not in line)


def leads(page: Path, href: str) -> bool:
    """Whether a link of a page leads to a page that is there, and to a place on it."""
    target, _, anchor = href.partition("#")
    path = (page.parent / target).resolve() if target else page
    return path.is_file() and (not anchor or f'id="{anchor}"' in path.read_text(encoding="utf-8"))


def test_chapters_names_and_sources_lead_to_each_other(site):
    chapters_and_rooms(site)
    assert sphinx(site) == ""
    html = site / "html"
    chapter = html / "notebooks/01-one.html"
    text = chapter.read_text()
    found = re.findall(r'href="(\.\./book/api/[^"]+)"', text)
    assert found == [
        f"../book/api/{place}"
        for place in (
            "metrics.html#oacore.metrics.scores.score",  # below the quoted code
            "metrics.html#module-oacore.metrics.auc",
            "metrics.html#module-oacore.metrics.scores",
            "metrics.html#oacore.metrics.scores.Row",
            "metrics.html#oacore.metrics.scores.score",
            "leaves.html#module-oacore.names",
            "leaves.html#oacore.names.NAMES",
        )
    ]
    assert all(leads(chapter, href) for href in found)
    assert ">SIZE<" in text  # named, though it has no entry

    page = html / "book/api/metrics.html"
    text = page.read_text()
    assert re.search(r'href="\.\./\.\./notebooks/01-one\.html"[^>]*>.*?1<', text)
    assert re.search(r'href="\.\./\.\./notebooks/02-two\.html"[^>]*>.*?2<', text)
    assert "All names, in order." in (html / "book/api/leaves.html").read_text()
    sources = [href for href in re.findall(r'href="([^"]+)"', text) if "_modules" in href]
    places = {href.partition("#")[2] for href in sources}
    assert {"area", "score", "Row", "Row.twice"} <= places
    assert all(leads(page, href) for href in sources)
    assert "AUC" not in text and "Area, as" in text
    scored = html / "_modules/oacore/metrics/scores.html"
    assert "scale" in scored.read_text()


def test_a_reference_that_leads_nowhere_is_a_warning(site):
    path = site / "oacore/metrics/auc.py"
    path.write_text(path.read_text().replace(".scores.score", ".scores.gone"))
    chapters_and_rooms(site)
    assert "py:func reference target not found: scores.gone" in sphinx(site)


# This package's own references, without a build

ROLE = re.compile(r":(func|class|mod|data|meth):`~?([^`<]*<)?\.?([\w.]+)>?`")


def entries() -> set[str]:
    found = set()
    for modules in api.rooms().values():
        for file in modules:
            module = file.removesuffix(".py").replace("/", ".")
            names = [name for *_, name in api.members((ROOT / file).read_text())]
            found |= {module, *(f"{module}.{name}" for name in names)}
            found |= {f"{module}.{place}" for place in api.source(module)[1]}
    return found


def test_every_reference_in_a_docstring_leads_to_one_place():
    known = entries()
    wrong = []
    for path in sorted((ROOT / "oacore").rglob("*.py")):
        module = str(path.relative_to(ROOT))[:-3].replace("/", ".")
        text = path.read_text(encoding="utf-8")
        for role, _, name in ROLE.findall(text):
            here = {f"{module}.{name}"} & known
            if not here and len({one for one in known if f".{one}".endswith(f".{name}")}) != 1:
                wrong.append(f"{module}: {role} {name}")
    assert wrong == []


def test_a_class_whose_name_another_has_is_named_with_its_module():
    assert api.doubles(ROOT) == {"Knee"}
    imports = "from oacore.instruments.phantom.anatomy import Knee, describe\n"
    tree = ast.parse(imports + "def scan(knee: Knee, of: describe) -> Knee: ...\n")
    said = api.told_apart("scan(knee: Knee, knees: KneeSide) -> Knee", tree)
    assert said == "scan(knee: anatomy.Knee, knees: KneeSide) -> anatomy.Knee"
    own = "scan(knee: Knee)"  # defined where it stands: Sphinx looks there first
    assert api.told_apart(own, ast.parse("class Knee: ...")) == own
