"""The linter of typed findings: what it takes for one, what not, and how one is judged."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from workflow import findings


def flagged(markdown):
    return [one for one in findings.sentences(markdown)
            if findings.CLAIM.search(findings.NAMES.sub(" ", one))]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [  # all of them stood in the book, and were false, or were so in some build
        "A perfect map scores little, and by chance somewhat less than that.",
        "The interval of the rank correlation of the four distances is the widest.",
        "In the columns of grades the counts gather at grades 0, 2 and 3.",
        "Ties would only bring the AUROC closer to one half, and a component has none.",
        "None accuses a true table; that is what exact intervals are for.",
        "As in the chapter before, two or three seeds make them too short.",
        "Cartilage is about one voxel in a hundred.",
        "Joint space by KL grade: flat up to KL 2, lower from KL 3 on.",
        "Dual reaches .91.",
        "It rises with the grade.",
    ],
)
def test_a_typed_finding_is_one_to_judge(text):
    assert flagged(text)


@pytest.mark.parametrize(
    "text",
    [
        "Look at KL 2 in Table 3, Figure 4 and {numref}`fig-12`: PC1 and Dice@5 of a 3D network.",
        "The range of `epochs=3`, see [there](page-2.html), {cite}`zhang2026`, https://a.org/1.",
        "With $n = 98$ knees:\n\n$$x = 98 \\ge 3$$\n\n```{math}\n:label: eq-1\ny \\ge 2\n```",
        "```python\nx = 98  # larger than 3\n```",
        "<!-- 98 pixels wide -->",
        "An interval, a test, a forest plot, the rest of the interest: a modest request.",
        "(cell-98)=\n## A title",
    ],
)
def test_names_code_and_formulas_are_none(text):
    assert flagged(text) == []


def test_directives_are_read_but_not_their_options():
    text = ":::{tip}\n:class: w-98\nIt is wider than that.\n:::\n\n- Right.\n- It has 7 of 9.\n"
    assert flagged(text) == ["It is wider than that.", "It has 7 of 9."]


def test_strings_of_code_count_unless_code_fills_them_in():
    code = (
        "%matplotlib inline\n"
        "show(figure, alt='Four panels, and the first is the '\n    'widest of them all.')\n"
        "print(f'{n} of {len(all)} intervals are wider than {width:.2f}')\n"
        "table(rows, 3, key='wider')\n"
    )
    assert list(findings.strings(code)) == ["Four panels, and the first is the widest of them all."]


def project(root, *texts):
    (root / "book").mkdir(exist_ok=True)
    (root / "notebooks").mkdir(exist_ok=True)
    (root / "workflow").mkdir(exist_ok=True)
    (root / "book/page.md").write_text("\n\n".join(texts), encoding="utf-8")
    if not (root / "workflow/findings.txt").exists():
        (root / "workflow/findings.txt").write_text("", encoding="utf-8")
    return root / "workflow/findings.txt"


def test_a_new_sentence_fails_until_it_is_judged(tmp_path, capsys):
    file = project(tmp_path, "Ours is the best.", "Nothing here.")
    assert findings.main([], tmp_path) == 1
    assert (
        f"page.md: {findings.key('Ours is the best.')}: Ours is the best."
        in capsys.readouterr().out
    )
    assert findings.main(["--add"], tmp_path) == 1
    (line,) = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert line == f"{findings.key('Ours is the best.')} ? Ours is the best."
    assert findings.main([], tmp_path) == 1  # a question mark is no reason
    file.write_text(file.read_text().replace(" ? ", " print "))
    capsys.readouterr()
    assert findings.main([], tmp_path) == 0 and capsys.readouterr().out == ""


def test_a_judgement_follows_its_sentence_and_goes_with_it(tmp_path):
    file = project(tmp_path, "Ours is the best.", "A map has 3 axes.")
    findings.main(["--add"], tmp_path)
    file.write_text(file.read_text().replace(" ? ", " definition "))
    project(tmp_path, "A first line.", "Ours is\nthe *best*.")  # moved, wrapped, the other gone
    assert findings.main([], tmp_path) == 0  # what nobody says any more does no harm
    assert "3 axes" in file.read_text()
    assert findings.main(["--add"], tmp_path) == 0
    assert "3 axes" not in file.read_text()
    assert " definition Ours is the best." in file.read_text()
    project(tmp_path, "Ours is the best by far.")
    assert findings.main([], tmp_path) == 1


def test_chapters_are_read_with_captions_and_alt_texts(tmp_path):
    project(tmp_path)
    figure = {"mystnb": {"figure": {"name": "fig", "caption": "The best of 9."}}}
    cells = [
        new_markdown_cell("Right.\n\nIt has 3."),
        new_code_cell("show(figure, alt='it is always like that')", metadata=figure),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks/a.ipynb")
    places = dict(findings.typed(tmp_path).values())
    assert places["a.ipynb, cell 1"] == "It has 3."
    assert {words for _, words in findings.typed(tmp_path).values()} == {
        "It has 3.", "The best of 9.", "it is always like that",
    }  # fmt: skip


def test_another_word_is_no_reason(tmp_path):
    file = project(tmp_path, "Ours is the best.")
    file.write_text("# a comment\n0123456789 obvious Ours is the best.\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 2: “obvious” is no reason; use definition, code"):
        findings.main([], tmp_path)


def test_the_file_is_as_the_linter_writes_it():
    lines = findings.JUDGED.read_text(encoding="utf-8").splitlines()
    judged = [line.split(" ", 2) for line in lines if not line.startswith("#")]
    assert len(judged) > 300
    assert all(findings.key(words) == name for name, _, words in judged)
    words = [words.casefold() for *_, words in judged]
    assert words == sorted(words)
    assert {reason for _, reason, _ in judged} <= {*findings.REASONS, "?"}


def test_make_lint_asks_for_it():
    makefile = (findings.ROOT / "Makefile").read_text(encoding="utf-8")
    assert "-m workflow.findings\n" in makefile.split("lint: ")[1].split("\n\n")[0]
