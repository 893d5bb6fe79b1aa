"""Reporting checklists, model card and datasheet: numbering, links, and numbers from the build."""

import json
import re

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from nbformat import from_dict

from oacore.data.cohort import SYNTHETIC, read_tables
from oacore.results import keep
from tests.helpers import ROOT, reseal, table, write_tables
from workflow import about, cards, report, reporting
from workflow.build_book import PAGES, contents

#: Letters of the items that have rows of their own, as the three guidelines print them.
LETTERED = {
    "TRIPOD+AI": (27, {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg",
                       18: "abcdef", 20: "abc", 23: "ab", 27: "abc"}),
    "STARD-AI": (40, {15: "abcd", 16: "abc", 17: "ab", 26: "ab", 40: "ab"}),
    "CLAIM": (44, {}),
}  # fmt: skip
ROWS = {"TRIPOD+AI": 52, "STARD-AI": 48, "CLAIM": 44}
GRADES = (0, 0, 1, 2, 3, 4)


def write_build(folder, synthetic):
    """A build with one finished run and a cohort of tables alone, one knee without a grade."""
    train, test = table((*GRADES, None), 1), table(GRADES[1:], 8)
    for part in (train, test):
        part["MRBarCode"] = SYNTHETIC if synthetic else 0
    write_tables(folder / "cohort", train, test)
    if synthetic:
        drawn = read_tables(folder / "cohort")[["case_id", "kl"]]
        drawn.assign(kl_true=drawn["kl"].replace({4: 3})).to_csv(
            folder / "cohort/truth.csv", index=False
        )
    run = folder / "runs/resnet3d/dual/seed3"
    run.mkdir(parents=True)
    origin = {"commit": "a" * 40, "clean": True, "device": "a test's CPU", "python": "3",
              "versions": {"torch": "2", "monai": "1"}, "finished": "2026-01-01"}  # fmt: skip
    numerics = {"threads": 1, "instructions": "none"}
    record = {
        "backbone": "resnet3d", "supervision": "dual", "seed": 3, "epochs": 7, "batch_size": 8,
        "lr": 1e-3, "weight_decay": 1e-4, "schedule": "cosine", "statistics": "running",
        "precision": "32-true", "precision used": "32-true", "heads": "parallel",
        "encoder": {"depth": 10}, "volumes": "v", "labels": "l", "devices": 1,
        "stretches": [{"numerics": numerics}], "provenance": origin,
    }  # fmt: skip
    (run / "done.json").write_text(json.dumps(record))
    pd.DataFrame({"seconds": [30.0, 30.0]}).to_csv(run / "history.csv", index=False)
    reseal(run)
    return folder


@pytest.fixture(params=[True, False], ids=["phantom", "cohort"])
def build(request, tmp_path):
    return write_build(tmp_path, request.param), request.param


def labels():
    """Every label that a page can be linked by: of chapters, of pages, of pages that are made."""
    made = [report.PAGE, reporting.PAGE, cards.PAGE]
    made.append((ROOT / "workflow/about.py").read_text())
    texts = [path.read_text() for path in (ROOT / "book").glob("*.md")] + made
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        texts += ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
    return {label for text in texts for label in re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE)}


def test_items_are_numbered_as_the_guidelines_number_them():
    found = {guideline["name"]: guideline for guideline in reporting.guidelines()}
    assert list(found) == list(LETTERED)
    for name, (last, letters) in LETTERED.items():
        numbers = [item[0] for item in found[name]["items"]]
        expected = [f"{n}{letter}" for n in range(1, last + 1) for letter in letters.get(n, " ")]
        assert numbers == [number.strip() for number in expected]
        assert len(numbers) == ROWS[name]


def test_every_answer_is_used_and_its_link_leads_somewhere():
    known = labels()
    assert {"sec-hierarchy", "sec-model-card", "sec-datasheet", "cell-effects"} <= known
    pages = contents(ROOT / "_toc.yml")
    file = reporting._file()
    used = {item[-1] for guideline in file["guidelines"] for item in guideline["items"]}
    assert used == set(file["answers"])
    for name, answer in file["answers"].items():
        assert set(answer) in ({"all", "where"}, {"phantom", "cohort", "where"}), name
        assert answer["where"] in (pages if "/" in answer["where"] else known), name


def test_links_of_the_cards_lead_somewhere():
    text = cards.CARDS.read_text()
    found = re.findall(r"\{ref\}`(?:[^`<]*<)?([\w-]+)>?`", text)
    assert len(found) > 10 and set(found) <= labels()


def test_the_pages_are_in_the_contents_and_remade_with_what_they_are_made_of():
    pages = contents(ROOT / "_toc.yml")
    makers = (ROOT / "workflow/Snakefile").read_text()
    assert {f"book/{name}" for name in PAGES} <= set(pages)
    for name in ("reporting.py", "reporting.yml", "cards.py", "cards.yml"):
        assert f'"{name}"' in makers


def test_answers_quote_the_build(build):
    folder, phantom = build
    words = reporting.facts(folder, "smoke")
    assert words["train"] == "6" and words["test"] == "5" and words["ungraded"] == "1"
    assert words["train_oa"] == "3" and words["test_grades"] == "1, 1, 1, 1, 1"
    assert words["seeds"] == "ResNet3D 3" and words["models"] == words["n_runs"] == "1"
    page = reporting.reporting(folder, "smoke", {})
    assert "6 knees to train (3 with OA), 5 to test (3 with OA)" in page
    assert "Over seeds (ResNet3D 3)" in page
    assert set(re.findall(r"\{(\w+)\}", page)) == {"ref", "doc"}  # no word is left to fill in
    assert ("A phantom is no clinical study" in page) == phantom


def test_a_phantom_and_a_cohort_are_answered_apart(tmp_path):
    guideline = next(one for one in reporting.guidelines() if one["name"] == "STARD-AI")
    answers = {}
    for phantom in (True, False):
        (tmp_path / str(phantom)).mkdir()
        folder = write_build(tmp_path / str(phantom), phantom)
        items = reporting.filled(guideline, phantom, reporting.facts(folder, "smoke"))
        answers[phantom] = {item.number: item.answer for item in items}
    assert answers[True]["6"] == "not applicable" and answers[False]["6"] == "no"  # ethics
    assert answers[True]["17b"] == "yes" and answers[False]["17b"] == "no"  # blinding
    assert answers[True]["36"] == answers[False]["36"] == "no"  # registration


def test_counts_on_the_page_are_those_of_its_items(build):
    folder, _ = build
    page = reporting.reporting(folder, "smoke", {})
    for name, rows in ROWS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
        *each, total = map(int, re.findall(r"\d+", row))
        own = page.split(f"## {name}:")[1].split("\n## ")[0]
        told = [own.count(f"\n  - {answer}\n") for answer in reporting.ANSWERS]
        assert told == each and sum(each) == total == rows


def test_an_answer_that_is_none_stops_the_build(monkeypatch):
    file = {"answers": {"one": {"all": "maybe: who knows", "where": "sec-report"}}}
    monkeypatch.setattr(reporting, "_file", lambda: file)
    with pytest.raises(ValueError, match="answer one: “maybe: who knows” begins with no answer"):
        reporting.filled({"items": [["1", "A", "B", "c", "one"]]}, True, {})


def test_a_fetched_cohort_is_named_by_its_record(build):
    folder, _ = build
    assert reporting.origin(folder) == "where it comes from is not in it"
    record = {"dataset": "name/of-it", "revision": "abc", "licence": "CC", "files": {}}
    (folder / "cohort/oaizib-cm.json").write_text(json.dumps(record))
    assert reporting.origin(folder) == "fetched as name/of-it, revision abc, CC"


HOSTILE = "<img src=x onerror=alert(1)> `<b>` | **MARKBOLD** [x](https://y.z) <script>1</script>"


def test_words_from_outside_are_words_on_every_page(tmp_path, monkeypatch):
    real = write_build(tmp_path / "build", synthetic=False)
    (real / "cohort").rename(tmp_path / "MARKFOLDER <img src=x onerror=alert(1)>")
    (real / "cohort").symlink_to(tmp_path / "MARKFOLDER <img src=x onerror=alert(1)>")
    fetched = {"dataset": HOSTILE, "revision": HOSTILE, "licence": HOSTILE, "files": {}}
    (real / "cohort/oaizib-cm.json").write_text(json.dumps(fetched))
    done = real / "runs/resnet3d/dual/seed3/done.json"
    run = json.loads(done.read_text())
    run["provenance"]["device"] = run["precision used"] = HOSTILE
    done.write_text(json.dumps(run))
    reseal(done.parent)
    here = {**about.of_this_machine(), "device": HOSTILE, "platform": HOSTILE}
    for module in (about, report):
        monkeypatch.setattr(module, "of_this_machine", lambda: here)
    run_of = {"papermill": {"duration": 1.0, "parameters": {"images": "no"}}}
    notebooks = {"notebooks/03-cohort": from_dict({"metadata": run_of})}
    for name, write in PAGES.items():
        page = write(real, "smoke", notebooks)
        assert "MARKFOLDER" not in page, name
        # In a cell of MyST's list tables stands Markdown.
        cells = re.sub(r"^(```.*|:.*|[* ] - )", "", page, flags=re.MULTILINE)
        shown = MarkdownIt("commonmark").enable("table").render(cells)
        live = re.findall(r"<(?:img|script|b)\b|<strong>MARKBOLD|<a [^>]*y\.z", shown)
        assert not live, (name, live)
        assert "MARKBOLD" in shown, name
    assert "not shown: figures hold aggregates" in about.about_this_build(real, "smoke", notebooks)


def test_the_cards_quote_the_build(build):
    folder, phantom = build
    gaps = pd.DataFrame({"model": "resnet3d", "supervision": "dual", "seed": [0, 1, 2],
                         "gap": [True, False, False]})  # fmt: skip
    keep(gaps, folder, "08-comparison/gaps")
    collapsed = gaps.drop(columns="gap").assign(collapsed=[True, True, False])
    keep(collapsed, folder, "08-comparison/collapsed")
    page = cards.cards(folder, "smoke", {})
    assert "2 of 3 runs, variants included" in page
    assert "ResNet3D 7 epochs at rate 0.001, cosine, batches of 8" in page
    assert "for no use on patients" in page and "any use on patients" in page
    assert "| train | 6 | 3 (50%) | 3 (50%) | 52.5 ± 1.9 | 25.5 ± 0.0 |" in page
    assert ("who errs on 2 of 11 knees" in page) == phantom
    assert ("knees without a grade: 1" in page) == (not phantom)
    empty = {"kl": pd.array([0, 3], dtype="Int64"), "split": "train", "case_id": [2, 1]}
    people = pd.DataFrame(empty).assign(age=50.0, bmi=25.0)
    assert cards.known_faults(people) == "none that the subject tables show"
