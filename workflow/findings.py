"""List sentences that type a finding: a number, a comparison, a claim of all or none.

A number that a cell computed is right in every build; one that somebody typed is right in the
build that this person had seen. So each such sentence of the chapters and pages, of their captions
and of strings in their code (alt texts, mostly) is judged once, by a reader, who says in
``findings.txt`` why no build can make it false. A sentence that is not in that file fails ``make
lint``. A sentence whose values are filled in by code does not count.

``python -m workflow.findings --add`` writes the new ones into the file, with ``?`` where the reason
goes, and takes out those that nobody says any more.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from oacore.fingerprint import ROOT

PAGES = ("book/*.md", "notebooks/*.ipynb")
JUDGED = Path(__file__).with_suffix(".txt")
#: Why a typed sentence holds in every build.
REASONS = {
    "definition": "by what its words mean, by arithmetic, or by how a method works",
    "code": "a setting or a property of the code, of a profile or of the book itself",
    "phantom": "how every phantom is drawn, whatever its seed",
    "source": "said by a source that is named there, or a constant taken from one",
    "print": "read off the print of the paper or of its companion",
    "public": "of public files that do not change, or of timings on record",
    "asked": "a question, a task, or what would follow: nothing is said to be so",
    "general": "about the world outside these data, as any textbook has it",
}

_WORDS = r"two|three|four|five|six|seven|eight|nine|ten|twenty|hundred|dozen"
#: What makes a sentence one to judge.
CLAIM = re.compile(
    rf"""\d
    | \bthan\b | \b(?:as|so)\ \w+\ as\b
    | \b(?:more|less|fewer)\b | \btoo\ \w+
    | \b(?:most|least|best|worst|fewest|almost|nearly|hardly|mostly|mainly|rather)\b
    | \b(?!(?:inter|sugg|requ|hon|mod|manif|t|r|w|for|g|arr|prot|cont|n)est)\w+est\b
    | \b(?:higher|lower|larger|smaller|wider|narrower|longer|shorter|stronger|weaker)\b
    | \b(?:better|worse)\b
    | \b(?:none|never|always|nobody|everywhere|nowhere)\b
    | \b(?:half|thirds?|quarter|twice|tenth|hundredth|percent)\b | \ba\ (?:hundred|thousand)\b
    | \b(?:{_WORDS})\ (?:or\ \w+\ |times\b|of\ |in\ |(?:\w+\ )?(?:seeds|knees|runs|tests|epochs)\b)
    | \b(?:rises?|falls?|grows?|shrinks?|gathers?|dominates?|exceeds?|beats?|improves?|flat)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
#: Numbers that are names: of grades, tables, measures, intervals.
NAMES = re.compile(
    r"\b(?:KL|grade|Table|Figure|Section|chapters?|equation|Equation|label|OARSI)\s\(?[\d.]+\)?"
    r"|\b\w*@\d+|\b[A-Za-z]\w*\d\w*|\b[23]D\b|\b95% intervals?|arXiv:[\d.]+"
)
_FENCE = re.compile(r"^(\s*)(`{3,}|~{3,}|:{3,})\s*(\{[\w-]+\})?(.*)$")
#: Directives whose body a reader does not read as prose.
_SILENT = {"{math}", "{code-block}", "{code-cell}", "{raw}", "{bibliography}", "{tableofcontents}"}
_MARKUP = (
    (re.compile(r"<!--.*?-->", re.DOTALL), " "),
    (re.compile(r"^\([\w-]+\)=$", re.MULTILINE), " "),
    (re.compile(r"^:[\w-]+:.*$", re.MULTILINE), " "),
    (re.compile(r"\{(?:cite|eq|numref|doc)\}`[^`]*`"), "·"),
    (re.compile(r"\{[\w:]+\}`([^`<]*?)\s*(?:<[^`]*>)?`"), r"\1"),
    (re.compile(r"`[^`]*`|\$\$.*?\$\$|\$[^$]*\$", re.DOTALL), "·"),
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"https?://\S+"), "·"),
    (re.compile(r"\*\*|(?<!\w)\*(?=\w)|(?<=[\w.,:;!?])\*(?!\w)"), ""),
)
_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.|\||#{1,6})\s)")
_END = re.compile(r"(?<=[.!?:;])[)”\"]?\s+(?=[\"“(A-Z·])")


def sentences(markdown: str) -> Iterator[str]:
    """The sentences of MyST as a reader sees them: no code, no formula, no target of a link."""
    kept: list[str] = []
    fences: list[tuple[str, bool]] = []
    for line in markdown.splitlines():
        fence = _FENCE.match(line)
        if fence and fences and fence[2][0] == fences[-1][0][0] and not (fence[3] or fence[4]):
            fences.pop()
        elif fence:
            silent = fence[3] in _SILENT or (fence[2][0] != ":" and not fence[3])
            fences.append((fence[2], silent))
            kept += ["", fence[4] if fence[3] == "{admonition}" else ""]
        elif not any(silent for _, silent in fences):
            kept.append(line)
    text = "\n".join(kept)
    for pattern, to in _MARKUP:
        text = pattern.sub(to, text)
    for block in _BLOCK.split(text):
        plain = " ".join(re.sub(r"^\s*(?:[-*#|:]|\d+\.)*\s*", "", block).split())
        yield from (part for part in _END.split(plain) if part)


def strings(code: str) -> Iterator[str]:
    """Texts in a cell's code, such as alt texts; without those that have a value filled in."""
    lines = [line for line in code.splitlines() if not line.lstrip().startswith(("%", "!"))]
    tree = ast.parse("\n".join(lines))
    filled = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
              for part in node.values}  # fmt: skip
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and id(node) not in filled and text.count(" ") >= 3:
            yield text


def texts(path: Path) -> Iterator[tuple[str, str]]:
    """Where each text of a page or notebook stands, and its sentences."""
    if path.suffix != ".ipynb":
        yield from (("", one) for one in sentences(path.read_text(encoding="utf-8")))
        return
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"], start=1):
        source = "".join(cell["source"])
        caption = cell["metadata"].get("mystnb", {}).get("figure", {}).get("caption", "")
        said = [caption, *strings(source)] if cell["cell_type"] == "code" else [source]
        yield from ((f", cell {number}", one) for text in said for one in sentences(text))


def key(sentence: str) -> str:
    """A short name of a sentence, the same wherever it stands and however its lines break."""
    return hashlib.sha256(sentence.encode()).hexdigest()[:10]


def typed(root: Path = ROOT) -> dict[str, tuple[str, str]]:
    """Sentences to judge, by their keys: where each stands first, and its words."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(path for pattern in PAGES for path in root.glob(pattern)):
        for place, sentence in texts(path):
            if CLAIM.search(NAMES.sub(" ", sentence)):
                found.setdefault(key(sentence), (path.name + place, sentence))
    return found


def judged(path: Path = JUDGED) -> dict[str, str]:
    """Reasons by the keys of sentences.

    Raises
    ------
    ValueError
        If a line has another form, or a reason that is neither known nor ``?``.
    """
    reasons = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("#"):
            continue
        name, reason, *_ = [*line.split(" ", 2), ""]
        if reason not in (*REASONS, "?"):
            known = ", ".join(REASONS)
            raise ValueError(f"{path.name}, line {number}: “{reason}” is no reason; use {known}")
        reasons[name] = reason
    return reasons


def write(found: dict[str, tuple[str, str]], reasons: dict[str, str], path: Path = JUDGED) -> None:
    """Write the file anew: a line for each sentence, in alphabetical order."""
    head = [f"# {reason}: {words}" for reason, words in REASONS.items()]
    lines = sorted(
        (f"{name} {reasons.get(name, '?')} {words}" for name, (_, words) in found.items()),
        key=lambda line: line.split(" ", 2)[2].casefold(),
    )
    path.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


def main(words: list[str] | None = None, root: Path = ROOT) -> int:
    """Print the sentences that nobody has judged; 1 if there is any."""
    parser = argparse.ArgumentParser(description="List sentences that type a finding.")
    parser.add_argument("--add", action="store_true", help="write them into findings.txt")
    add = parser.parse_args(words).add
    path = root / JUDGED.relative_to(ROOT)
    found, reasons = typed(root), judged(path)
    new = [name for name in found if reasons.get(name, "?") == "?"]
    for name in new:
        place, sentence = found[name]
        print(f"{place}: {name}: {sentence}")
    if new:
        print(
            f"{len(new)} sentences above type a number or a comparison. Let code fill it in, or "
            f"say in {path.relative_to(root)} why no build can make it false (--add writes the "
            "lines)."
        )
    if add:
        write(found, reasons, path)
    return int(bool(new))


if __name__ == "__main__":
    sys.exit(main())
