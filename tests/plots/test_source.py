"""Code on a page is the package's own, word for word but for long docstrings."""

import ast

import pytest

from oacore.models.heads import HierarchicalNet
from oacore.models.m3t import M3T, Tokens, three_planes
from oacore.models.nnmamba import MambaBlock, MambaLayer
from oacore.models.resnet3d import ResidualBlock
from oacore.plots.page import show_source
from oacore.training.loop import train_epoch
from oacore.training.losses import hierarchical_loss
from oacore.training.runs import train_all
from tests.helpers import ROOT

SHOWN = [
    (ResidualBlock, HierarchicalNet, hierarchical_loss, train_epoch, train_all),  # chapter 4
    (M3T.features, three_planes, Tokens),  # chapter 5
    (MambaBlock.forward, MambaLayer.forward),  # chapter 6
]


@pytest.mark.parametrize("thing", [thing for chapter in SHOWN for thing in chapter])
def test_what_is_shown_is_the_package_and_short_enough_to_read(thing):
    fence, place, *lines, end = show_source(thing).data.split("\n")
    assert (fence, end) == ("```python", "```")
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
