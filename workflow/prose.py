"""Find words and phrases that this project does not use: part of ``make lint``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from oacore.fingerprint import ROOT

STYLE = Path(__file__).with_suffix(".yml")
PATTERNS = ("*.md", "book/*.md", "notebooks/*.ipynb", "oacore/**/*.py", "workflow/*.py",
            "oacore/**/*.yml", "workflow/checklist.yml", "workflow/reporting.yml",
            "workflow/cards.yml", "benchmarks/*.py")  # fmt: skip


def texts(path: Path) -> Iterator[tuple[str, str]]:
    """Read a file as a reader sees it, piece by piece: where it stands, and its words."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        yield "line", text
        return
    for number, cell in enumerate(json.loads(text)["cells"], start=1):
        caption = cell["metadata"].get("mystnb", {}).get("figure", {}).get("caption", "")
        yield f"cell {number}, line", "".join(cell["source"])
        yield f"cell {number}, caption, line", caption


def faults(path: Path, style: dict[str, str]) -> Iterator[str]:
    """Each use of an unwanted phrase, with its cure."""
    for place, text in texts(path):
        for phrase, cure in style.items():
            pattern = rf"\b(?:{phrase})\b".replace(" ", r"[\s#]+")
            for found in re.finditer(pattern, text, re.IGNORECASE):
                line = text.count("\n", 0, found.start()) + 1
                words = " ".join(found[0].split())
                yield f"{path.name}, {place} {line}: “{words}”: {cure}"


def main(root: Path = ROOT) -> int:
    """Print all faults of the project; 1 if there is any."""
    style = yaml.safe_load(STYLE.read_text(encoding="utf-8"))
    paths = sorted(path for pattern in PATTERNS for path in root.glob(pattern))
    found = [fault for path in paths for fault in faults(path, style)]
    print("\n".join(found), end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
