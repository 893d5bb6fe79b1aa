"""``workflow/intervals.csv`` lists all that makes an interval, and what holds it to its word.

Its columns: function; chapters, by number, where its intervals are printed, or "report"; intervals,
the rows of ``book/record/coverage.csv`` that simulate it, or one of `REASONS`.
"""

import ast
import json
import re
from collections.abc import Iterator

import pandas as pd
import pytest

from oacore.metrics.coverage import shortfalls
from tests.helpers import ROOT

#: Why something needs no rows.
REASONS = {
    "exact",  # an exact limit of a share: it holds what it says or more (tests/metrics/test_shares)
    "part",  # what those that call it print is listed there
    "written",  # it draws, writes or judges limits that others made
    "range",  # the least and the most, which promise nothing
    "other",  # its `low` and `high` are of something else
}
ENDS = re.compile(r"(?:^|_)(low|high)$")
METRICS = "oacore.metrics."


def defined(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions and methods by their names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            of_class = (one for one in node.body if isinstance(one, ast.FunctionDef))
            yield from ((f"{node.name}.{one.name}", one) for one in of_class)


def named(node: ast.AST) -> Iterator[object]:
    """What code binds, and what it calls keys, keywords and columns."""
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            yield one.id
        elif isinstance(one, ast.keyword):
            yield one.arg
        elif isinstance(one, ast.Dict | ast.List | ast.Tuple):
            inside = one.keys if isinstance(one, ast.Dict) else one.elts
            yield from (part.value for part in inside if isinstance(part, ast.Constant))
        elif isinstance(one, ast.Subscript) and isinstance(one.ctx, ast.Store):
            inside = ast.walk(one.slice)
            yield from (part.value for part in inside if isinstance(part, ast.Constant))


def writes(node: ast.AST) -> bool:
    """Whether limits are bound or written here, or its docstring says that it returns some."""
    words = [word for word in named(node) if isinstance(word, str)]
    if isinstance(node, ast.FunctionDef):
        words += re.findall(r"\w+", (ast.get_docstring(node) or "").partition("Returns\n")[2])
    return {match[1] for word in words if (match := ENDS.search(word))} == {"low", "high"}


def imported(tree: ast.AST) -> dict[str, str]:
    """By the names that a module gives them, the functions that it imports."""
    return {
        name.asname or name.name: f"{node.module}.{name.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }


def sources() -> dict[str, ast.Module]:
    """Modules and notebooks; what simulates intervals prints none."""
    files = [path for room in ("oacore", "workflow") for path in (ROOT / room).rglob("*.py")]
    trees = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text())
        for path in files
        if not path.match("workflow/coverage*.py")
    }
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        trees[f"notebooks.{path.stem}"] = ast.parse("\n".join("".join(c["source"]) for c in cells))
    return trees


def parts() -> dict[str, tuple[ast.AST, set[str]]]:
    """Each function, and each notebook as one, with all that it mentions by full names."""
    found = {}
    for module, tree in sources().items():
        names = imported(tree)
        whole = module.startswith("notebooks.")
        for name, node in [(module, tree)] if whole else defined(tree):
            words = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
            own = {names.get(word, f"{module}.{word}") for word in words}
            found[name if whole else f"{module}.{name}"] = node, own
    return found


def makers(found: dict[str, tuple[ast.AST, set[str]]]) -> set[str]:
    """All that writes limits, or takes them from the metrics, which make them."""
    made = {name for name, (node, _) in found.items() if writes(node)}
    size = 0
    while size < len(made):
        size = len(made)
        metrics = {name for name in made if name.startswith(METRICS)}
        made |= {name for name, (_, mentions) in found.items() if mentions & metrics}
    return made


@pytest.fixture(scope="module")
def listed() -> pd.DataFrame:
    path = ROOT / "workflow/intervals.csv"
    return pd.read_csv(path, dtype=str, keep_default_na=False).set_index("function")


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[ast.AST, set[str]]]:
    return parts()


def test_all_that_makes_an_interval_is_listed_and_nothing_that_is_gone(listed, found):
    assert listed.index.is_unique and list(listed.index) == sorted(listed.index)
    assert sorted(makers(found)) == list(listed.index)


def test_each_has_rows_in_the_record_or_a_reason_for_none(listed):
    simulated = set(pd.read_csv(ROOT / "book/record/coverage.csv")["interval"])
    for function, said in listed["intervals"].items():
        assert said in REASONS or set(said.split("; ")) <= simulated, f"{function}: {said}"
    named_by = {name for said in listed["intervals"] for name in said.split("; ")}
    # What is simulated to show what an interval does not speak of is nobody's.
    assert simulated - named_by == {
        "share of repeats won, other knees", "difference by cross-validation, labels anew",
    }  # fmt: skip


def test_a_chapter_that_calls_a_function_is_among_its_chapters(listed, found):
    there = {path.name[:2] for path in (ROOT / "notebooks").glob("*.ipynb")} | {"report"}
    of = {name: set(chapters.split()) for name, chapters in listed["chapters"].items()}
    assert all(chapters <= there for chapters in of.values())
    with_rows = ~listed["intervals"].isin(REASONS)
    assert all(of[name] for name in listed.index[with_rows])
    for name, (_, mentions) in found.items():
        if name.startswith("notebooks."):
            chapter = name.removeprefix("notebooks.")[:2]
            for function in mentions & set(listed.index[listed["intervals"] != "other"]):
                assert chapter in of[function], f"{function} is printed in chapter {chapter}"


#: What stands on a page that says, from the record, what its intervals hold; or points to one.
SAYS = ("coverage.in_words(", "sec-promises", "cell-grading-covered")


def test_each_page_whose_interval_falls_short_says_so(listed):
    record = pd.read_csv(ROOT / "book/record/coverage.csv")
    short = set(shortfalls(record, list(record["interval"].unique()))["interval"])
    text = {path.name[:2]: path.read_text() for path in (ROOT / "notebooks").glob("*.ipynb")}
    for function, row in listed.iterrows():
        if own := short & set(row["intervals"].split("; ")):
            for chapter in set(row["chapters"].split()) - {"report"}:
                says = any(words in text[chapter] for words in SAYS)
                assert says, f"chapter {chapter} does not say what holds of {own} ({function})"


def test_the_scan_finds_what_is_written_in_any_way():
    for code in (
        "def f():\n    low, high = g()",
        "def f():\n    return {'low': 1, 'high': 2}",
        "def f(table):\n    return table.assign(kl_low=1, kl_high=2)",
        "def f(table):\n    table['low'], table['high'] = 1, 2",
        'def f():\n    """Do.\n\n    Returns\n    -------\n    low, high : float\n    """',
    ):
        assert writes(ast.parse(code).body[0]), code
    assert not writes(ast.parse("def f(low, high):\n    return low < high").body[0])
    caller, maker = (ast.parse(f"def f(): {body}").body[0] for body in ("g()", "low = high = 1"))
    both = {"a.f": (caller, {"oacore.metrics.m.g"}), "oacore.metrics.m.g": (maker, set())}
    assert makers(both) == {"a.f", "oacore.metrics.m.g"}
    assert makers({"a.f": (caller, {"oacore.metrics.m.h"})}) == set()
