"""Code on a page is the package's own, word for word but for long docstrings."""

import ast
import inspect
import re

import pytest

import oacore.__main__
from oacore import names
from oacore.instruments.architecture import attention, gradients
from oacore.models import heads, m3t, nnmamba
from oacore.models.heads import HierarchicalNet
from oacore.models.m3t import M3T, Tokens, three_planes
from oacore.models.nnmamba import MambaBlock, MambaLayer
from oacore.models.resnet3d import ResidualBlock
from oacore.plots import page
from oacore.plots.page import show_source
from oacore.training import records, runs
from oacore.training.loop import train_epoch
from oacore.training.losses import hierarchical_loss
from oacore.training.runs import train_all
from tests.helpers import ROOT
from workflow import api

SHOWN = [
    (ResidualBlock, HierarchicalNet, hierarchical_loss, train_epoch, train_all),  # chapter 4
    (M3T.features, three_planes, Tokens),  # chapter 5
    (MambaBlock.forward, MambaLayer.forward),  # chapter 6
]


@pytest.mark.parametrize("thing", [thing for chapter in SHOWN for thing in chapter])
def test_what_is_shown_is_the_package_and_short_enough_to_read(thing):
    fence, place, *lines, end, blank, _ = show_source(thing).data.split("\n")
    assert (fence, end, blank) == ("```python", "```", "")
    file = place.removeprefix("# ").split(",")[0]
    source = (ROOT / file).read_text()
    code = "\n".join(lines)
    ast.parse(code)
    indent = "    " if "," in place else ""
    for line in lines:
        cut = line.removesuffix('"""') if line.lstrip().startswith('"""') else line
        assert not line or f"{indent}{cut}" in source, line
    assert len(lines) <= 33 and "Parameters\n" not in code and "----" not in code
    assert code.count('"""') % 2 == 0


def test_a_docstring_keeps_its_first_line_and_strings_are_left_alone():
    def thing(x):
        """Say something.

        And more of it.
        """
        text = """a string
        of two lines"""
        return text + x

    def short():
        """Say it."""
        return 1

    shown = show_source(thing).data.split("\n")
    assert shown[1].startswith("# tests/plots/test_source.py, test_a_docstring")
    assert shown[2:-1] == [
        "def thing(x):",
        '    """Say something."""',
        '    text = """a string',
        '    of two lines"""',
        "    return text + x",
    ]
    assert show_source(short).data.split("\n")[3] == '    """Say it."""'


# Links to the package's pages


@pytest.fixture(scope="module")
def entries():
    """Addresses of all entries of the package's pages, as seen from a chapter's."""
    found = set()
    for room, modules in api.rooms().items():
        module = owner = ""
        for line in api.room_page(room, modules, {}).splitlines():
            entry = re.match(r"( *)\.\. py:(\w+):: ([\w.]+)", line)
            if not entry or entry[2] == "module":
                module = entry[3] if entry else module
                continue
            owner = f"{owner}.{entry[3]}" if entry[1] else entry[3]
            found.add(f"../book/api/{room}.html#{module}.{owner}")
            owner = owner.split(".")[0]
    return found


def link(thing):
    """Where the last line of what is shown leads to; empty where it is the code's end."""
    last = show_source(thing).data.split("\n")[-1]
    if last == "```":
        return ""
    name, address = re.fullmatch(r"\[The whole docstring of `([\w.]+)`\]\((\S+)\)", last).groups()
    assert name == thing.__qualname__
    return address


@pytest.mark.parametrize("thing", [thing for chapter in SHOWN for thing in chapter])
def test_what_chapters_show_leads_to_its_entry(thing, entries):
    assert link(thing) in entries


@pytest.mark.parametrize(
    "module", [names, heads, m3t, nnmamba, records, runs, page, attention, gradients]
)
def test_a_link_is_there_exactly_where_an_entry_is(module, entries):
    things = [
        one for one in vars(module).values() if getattr(one, "__module__", "") == module.__name__
    ]
    things = [one for one in things if inspect.isclass(one) or inspect.isfunction(one)]
    for owner in [one for one in things if inspect.isclass(one)]:
        written = [name for name in vars(owner) if f"def {name}(" in inspect.getsource(owner)]
        things += [vars(owner)[name] for name in written if inspect.isfunction(vars(owner)[name])]
    links = {f"{one.__module__}.{one.__qualname__}": link(one) for one in things}
    assert any(links.values())
    known = {address.partition("#")[2]: address for address in entries}
    assert links == {name: known.get(name, "") for name in links}


def test_what_has_no_page_has_no_link():
    def local():
        return 1

    local.__module__ = "oacore.names"
    assert link(local) == link(oacore.__main__.main) == link(page._entry) == ""
