"""Which encoders there are: the files of ``oacore/models`` that say how they are written."""

from __future__ import annotations

import re
from importlib.resources import files


def _backbones() -> dict[str, str]:
    """Written names by file, of each file of ``oacore/models`` that sets NAME to a string.

    They are read, not imported: PyTorch takes seconds.
    """
    names: dict[str, str] = {}
    for path in sorted((files("oacore") / "models").iterdir(), key=lambda path: path.name):
        if path.name.endswith(".py"):
            text = path.read_text(encoding="utf-8")
            said = re.search(r"^NAME\s*(?::\s*\w+\s*)?=\s*(['\"])(.+?)\1", text, re.MULTILINE)
            if said:
                names[path.name.removesuffix(".py")] = said[2]
    first = [backbone for backbone in ("resnet3d", "m3t", "nnmamba") if backbone in names]
    return {backbone: names[backbone] for backbone in [*first, *names]}


#: How encoders are written in prose and figures: the paper's in its order, and then others.
BACKBONE_NAMES = _backbones()
