"""The house: which room may import which, and the two pages that name all rooms and modules."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oacore.fingerprint import imported_files
from tests.helpers import ROOT

#: The core: what each room may import besides itself and the leaves.
CORE = {
    "data": set(),
    "models": {"data"},
    "training": {"data", "models"},
    "metrics": set(),
    "plots": {"data", "metrics"},
}
#: Instruments that build on another instrument; all of them may use all of the core.
BETWEEN_INSTRUMENTS = {
    ("coherence", "phantom"),  # the phantom's grades and KL rule, and the real readings behind them
    ("evidence", "hierarchy"),  # the verdict on the hierarchy
    ("hierarchy", "axis"),  # the severity axis, read at several visits of a knee
    ("hierarchy", "phantom"),  # drawn knees, their readers and measurements
    ("hierarchy", "radiographs"),  # real radiographs
    ("hierarchy", "radiomics"),  # the features of 481 knees
    ("paper", "audit"),  # the paper's tables are the printed ones beside ours
    ("paper", "axis"),
    ("published", "audit"),  # the printed Table 1
    ("radiographs", "audit"),  # the second paper's printed tables
    ("radiographs", "coherence"),  # the seven grades
    ("radiographs", "phantom"),  # the knees that are drawn
    ("radiomics", "audit"),  # the printed Tables 4 and 5
    ("slicer", "phantom"),  # without a build, JupyterLab shows a synthetic knee
    ("slicer", "saliency"),
}
#: What takes seconds to import, and neither names, nor metrics, nor figures need.
HEAVY = {"torch", "monai", "captum", "lightning_fabric"}
WITHOUT_NETWORKS = {"", "metrics", "plots"}


# What is there


def modules(root: Path) -> dict[str, ast.Module]:
    """The package's modules by their dotted names, without the rooms' own ``__init__``."""
    package = root / "oacore"
    return {
        ".".join(path.relative_to(package).with_suffix("").parts): ast.parse(path.read_text())
        for path in sorted(package.rglob("*.py"))
        if path.name != "__init__.py"
    }


def rooms(root: Path) -> dict[str, Path]:
    """The ``__init__`` of each room by the room's dotted name."""
    package = root / "oacore"
    found = sorted(package.rglob("*/__init__.py"))
    return {".".join(path.parent.relative_to(package).parts): path for path in found}


def room_of(module: str) -> str:
    """Data, models, ..., instruments.axis; empty for a leaf."""
    first, *rest = module.split(".")[:-1] or [""]
    return f"{first}.{rest[0]}" if first == "instruments" and rest else first


def imports(root: Path) -> dict[str, set[str]]:
    """For each module those of the package that it imports, in functions too."""
    found: dict[str, set[str]] = {}
    for module, tree in modules(root).items():
        entry = f"oacore/{module.replace('.', '/')}.py"
        files = {file for file in imported_files([tree], entry, root) if "__init__" not in file}
        names = {file.removeprefix("oacore/")[:-3].replace("/", ".") for file in files}
        found[module] = names - {module}
    return found


# The rules: each gives its faults, in words


def arrows(root: Path) -> Iterator[str]:
    """Arrows run downwards: leaves, core, instruments; the command line may call them all."""
    for module, others in imports(root).items():
        if module == "__main__":
            continue
        room = room_of(module)
        for other in sorted(others):
            below = room_of(other)
            if not allowed(room, below):
                yield f"{module} imports {other}"


def allowed(room: str, below: str) -> bool:
    """Whether modules of one room may import those of another."""
    if below in ("", room):
        return True
    if not room.startswith("instruments."):
        return below in CORE.get(room, ())
    if not below.startswith("instruments."):
        return True
    pair = room.removeprefix("instruments."), below.removeprefix("instruments.")
    return pair in BETWEEN_INSTRUMENTS


def unknown_rooms(root: Path) -> Iterator[str]:
    """A new folder of the core is a decision, to be made here."""
    for room in rooms(root):
        first = room.split(".")[0]
        if first not in (*CORE, "instruments"):
            yield f"{room} is no room of this house"
    for module in modules(root):
        if module.startswith("instruments.") and module.count(".") == 1:
            yield f"{module} lies beside the instruments, in none of them"


def circles(root: Path) -> Iterator[str]:
    """No module needs itself, by whatever way."""
    graph = imports(root)
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> Iterator[str]:
        if module in way:
            yield " -> ".join([*way[way.index(module) :], module])
        elif module not in done:
            for other in sorted(graph[module]):
                yield from walk(other, [*way, module])
            done.add(module)

    for module in graph:
        yield from walk(module, [])


def private_names(root: Path) -> Iterator[str]:
    """What starts with an underscore is its module's own."""
    for module, tree in modules(root).items():
        ours = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (
                node.level or (node.module or "").split(".")[0] == "oacore"
            ):
                ours |= {alias.asname or alias.name: alias.name for alias in node.names}
        for name in ours.values():
            if re.match(r"_(?!_)", name):
                yield f"{module} imports {name}"
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and re.match(r"_(?!_)", node.attr)
                and isinstance(node.value, ast.Name)
                and ours.get(node.value.id, "A")[0].islower()
            ):
                yield f"{module} takes {node.value.id}.{node.attr}"


def networks(root: Path) -> Iterator[str]:
    """Leaves, metrics and plots import no library of networks when they are imported."""
    for module, tree in modules(root).items():
        if room_of(module) not in WITHOUT_NETWORKS:
            continue
        for node in at_import(tree):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [] if node.level else [str(node.module)]
            for name in sorted({name.split(".")[0] for name in names} & HEAVY):
                yield f"{module} imports {name}"


def at_import(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run with the module: outside functions, and not for the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        ):
            yield from at_import(node)


def faces(root: Path) -> Iterator[str]:
    """A room's ``__init__`` is one line on what the room is for, and imports nothing.

    The build graph reads through it: an import there would make every chapter that uses the room
    depend on all of it.
    """
    for room, path in rooms(root).items():
        tree = ast.parse(path.read_text())
        words = ast.get_docstring(tree)
        if not words or "\n" in words or not words.endswith("."):
            yield f"{room} has no docstring of one line"
        if len(tree.body) > 1:
            yield f"{room} has more than a docstring in its __init__"


def named_in_the_package(root: Path) -> Iterator[str]:
    """The package's docstring names every room and every module, and no other.

    A line such as ``instruments.axis`` starts a room; the lines indented below it name modules.
    """
    text = ast.get_docstring(ast.parse((root / "oacore/__init__.py").read_text())) or ""
    said, room = set(), ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"``([a-z_.]+)``(?:: .*)?", line):
            room = f"{heading[1]}."
            said.add(room)
        elif line.startswith(" "):
            said |= {room + name for name in re.findall(r"``(\w+)``", line)}
    yield from differences(said, root, "the package's docstring")


def named_on_the_page(root: Path) -> Iterator[str]:
    """The table of ``book/contributing.md`` has a row for every room and module, and no other.

    Rooms end in a dot's place with a slash: ``axis/``, then ``axis.shape``.
    """
    text = (root / "book/contributing.md").read_text(encoding="utf-8")
    said = set()
    for row in re.findall(r"^\* - (`.*)$", text, re.MULTILINE):
        for name in re.findall(r"`([a-z_0-9./]+)`", row):
            said.add(name.replace("/", "."))
    found = rooms(root)
    full = {f"{room.split('.')[-1]}.": f"{room}." for room in found}
    spelt = {full.get(f"{name.partition('.')[0]}.", "") + name.partition(".")[2] if "." in name
             else name for name in said}  # fmt: skip
    yield from differences(spelt, root, "the table of book/contributing.md")


def differences(said: set[str], root: Path, where: str) -> Iterator[str]:
    """What is there and is not named, and the reverse; a room's name ends in a dot."""
    there = {f"{room}." for room in rooms(root)} | (set(modules(root)) - {"__main__"})
    there.discard("instruments.")
    said = said - {"instruments.", "__main__"}
    yield from (f"{where} does not name {name}" for name in sorted(there - said))
    yield from (f"{where} names {name}, which is not there" for name in sorted(said - there))


Rule = Callable[[Path], Iterator[str]]
RULES: list[Rule] = [
    arrows, unknown_rooms, circles, private_names, networks, faces, named_in_the_package,
    named_on_the_page,
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_the_rule(rule):
    assert list(rule(ROOT)) == []


def test_each_arrow_between_instruments_is_used():
    used = set()
    for module, others in imports(ROOT).items():
        pairs = {(room_of(module), room_of(other)) for other in others}
        used |= {tuple(room.removeprefix("instruments.") for room in pair) for pair in pairs}
    assert used >= BETWEEN_INSTRUMENTS


# Each rule can be broken

#: A house in which every rule holds.
TINY = {
    "oacore/__init__.py": '"""All.\n\nLeaves: \n    ``names``\n\n``data``\n    ``cohort``\n\n'
    "``metrics``: scores\n    ``scores``\n\n"
    '``instruments.axis``\n    ``axis``, ``figures``\n"""\n',
    "oacore/names.py": "",
    "oacore/__main__.py": "from oacore.instruments.axis import figures",
    "oacore/data/__init__.py": '"""Knees."""',
    "oacore/data/cohort.py": "import torch\nfrom oacore.names import NAMES",
    "oacore/metrics/__init__.py": '"""Scores."""',
    "oacore/metrics/scores.py": "def slow():\n    import torch",
    "oacore/instruments/__init__.py": '"""Rooms."""',
    "oacore/instruments/axis/__init__.py": '"""An axis."""',
    "oacore/instruments/axis/axis.py": "from oacore.metrics import scores\nscores.auc()",
    "oacore/instruments/axis/figures.py": "from oacore.instruments.axis.axis import axis",
    "book/contributing.md": "* - `names`\n  - n\n* - `data/`\n  - d\n* - `data.cohort`\n  - c\n"
    "* - `metrics/`\n* - `metrics.scores`\n* - `axis/`\n* - `axis.axis`, `axis.figures`\n",
}
#: What breaks a rule, and what is then said.
FAULTS = [
    (arrows, "oacore/names.py", "import oacore.data.cohort", "names imports data.cohort"),
    (arrows, "oacore/metrics/scores.py", "from oacore.data.cohort import x",
     "metrics.scores imports data.cohort"),
    (arrows, "oacore/data/cohort.py", "def f():\n    from ..instruments.axis import axis",
     "data.cohort imports instruments.axis.axis"),
    (arrows, "oacore/instruments/slicer/cases.py", "from oacore.instruments.axis import axis",
     "instruments.slicer.cases imports instruments.axis.axis"),
    (unknown_rooms, "oacore/utils/__init__.py", '"""More."""', "utils is no room of this house"),
    (unknown_rooms, "oacore/instruments/loose.py", "",
     "instruments.loose lies beside the instruments, in none of them"),
    (circles, "oacore/instruments/axis/axis.py", "def f():\n    from .figures import g",
     "instruments.axis.figures -> instruments.axis.axis -> instruments.axis.figures"),
    (private_names, "oacore/data/cohort.py", "from oacore.names import _order",
     "data.cohort imports _order"),
    (private_names, "oacore/data/cohort.py", "from oacore import names\nnames._order()",
     "data.cohort takes names._order"),
    (networks, "oacore/metrics/scores.py", "from torch import nn", "metrics.scores imports torch"),
    (networks, "oacore/names.py", "try:\n    import monai.networks\nfinally:\n    pass",
     "names imports monai"),
    (faces, "oacore/data/__init__.py", '"""Knees.\n\nMore."""',
     "data has no docstring of one line"),
    (faces, "oacore/data/__init__.py", '"""Knees."""\nfrom .cohort import read',
     "data has more than a docstring in its __init__"),
    (named_in_the_package, "oacore/data/cache.py", "",
     "the package's docstring does not name data.cache"),
    (named_in_the_package, "oacore/__init__.py", '"""All.\n\n``data``\n    ``scores``\n"""',
     "the package's docstring names data.scores, which is not there"),
    (named_on_the_page, "oacore/metrics/seeds.py", "",
     "the table of book/contributing.md does not name metrics.seeds"),
    (named_on_the_page, "book/contributing.md", "* - `axis/`\n* - `axis.scores`\n",
     "the table of book/contributing.md names instruments.axis.scores, which is not there"),
]  # fmt: skip


def build(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("rule", RULES)
def test_a_tiny_house_keeps_the_rule(rule, tmp_path):
    assert list(rule(build(tmp_path, TINY))) == []


@pytest.mark.parametrize(("rule", "file", "text", "said"), FAULTS)
def test_a_fault_is_found(rule, file, text, said, tmp_path):
    assert said in list(rule(build(tmp_path, {**TINY, file: text})))


def test_every_rule_has_a_fault():
    assert {rule for rule, *_ in FAULTS} == set(RULES)
