"""The report: every claim by every source, from what the build kept and nothing else."""

import json

import pandas as pd
import pytest
import yaml

from oacore.instruments.evidence import claims as module
from oacore.instruments.published.predictions import compare_table1, read_published
from oacore.instruments.published.protocol import released_protocol
from oacore.results import keep
from workflow import report


@pytest.fixture
def build(tmp_path):
    (tmp_path / "cohort").mkdir()
    return tmp_path


def test_a_build_without_results_says_why_for_each_source(build):
    found = report.evidence(build, phantom=True)
    assert len(found) == 4 * len(module.claims())
    silent = found["verdict"] == module.ABSENT
    assert silent.all() and (found["because"].str.len() > 20).all()
    assert (found["label"] == "").all()
    because = found.groupby("source")["because"].unique().map("\n".join)
    assert "oacore fetch published" in because["published"]
    assert "oacore fetch radiomics" in because["radiomics"]
    assert "make book COHORT=FOLDER" in because["oaizib-cm"]
    real = report.evidence(build, phantom=False)
    assert "draws the phantom" in real.query("source == 'phantom'")["because"].iloc[0]


def test_kept_tables_speak_with_a_link_to_their_cell(build, shared):
    predictions = read_published(shared / "real/published_predictions")
    stats = released_protocol(predictions)
    keep(stats, build, "09-published-record/stats")
    keep(compare_table1(predictions), build, "09-published-record/table1")
    found = report.evidence(build, phantom=True)
    spoke = found[found["verdict"] != module.ABSENT]
    assert set(spoke["source"]) == {"published"}
    assert set(spoke["label"]) == {"cell-stats", "cell-table1"}
    row = stats.query("backbone == 'resnet3d' and metric == 'kl_f1'").iloc[0]
    said = spoke[spoke["claim"].str.startswith("With ResNet3D, Dual raises")]["because"].iloc[0]
    assert f"KL macro-F1 {row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]" in said
    page = report.one_by_one(found)
    assert page.count("```{list-table}") == len(module.claims())
    assert "{ref}`Computed here <cell-stats>`" in page
    square = report.glance(found)
    assert square.count("* - ") == 1 + len(module.claims())


def test_runs_speak_for_the_cohort_that_they_were_trained_on(build):
    effects = pd.DataFrame(
        {"backbone": "resnet3d", "metric": ["kl_auc", "kl_acc", "kl_f1"], "n_seeds": 1,
         "value": 0.2, "low": 0.1, "high": 0.3, "p_value": 0.001}
    )  # fmt: skip
    keep(effects, build, "08-comparison/effects")
    for phantom, own in ((True, "phantom"), (False, "oaizib-cm")):
        found = report.evidence(build, phantom)
        spoke = found[found["verdict"] != module.ABSENT]
        assert set(spoke["source"]) == {own}
        assert set(spoke["verdict"]) == {module.HOLDS}
        assert spoke["because"].str.contains("1 seed").all()


def test_only_what_cannot_be_is_listed_of_the_audit():
    found = pd.DataFrame(
        [
            ["Table 2", "M3T Dual", "rho-auroc", "0.938", "0.915", "inconsistent"],
            ["Table 1", "M3T Dual", "auc-count", "0.9175", "1968/2145", "consistent"],
        ],
        columns=["table", "row", "check", "printed", "implied", "verdict"],
    )
    said = report.audit_in_words(found)
    assert "Of 2 checks (1 inconsistent, 1 consistent)" in said
    assert "rho-auroc" in said and "auc-count" not in said


def test_files_are_compared_with_their_released_digests(build, shared):
    (build / "published").symlink_to(shared / "real/published_predictions")
    radiomics = build / "radiomics"
    radiomics.mkdir()
    (radiomics / "radiomics_test.csv").write_text("case_id\n")
    said = report.origins(build)
    assert said.count("as released") == 9
    assert said.count("another content") == 1 and said.count("not fetched") == 3


def test_a_fetched_cohort_is_named_by_its_revision(build):
    record = {"dataset": "name/of-it", "revision": "abc", "licence": "CC", "files": {}}
    (build / "cohort/oaizib-cm.json").write_text(json.dumps(record))
    assert "name/of-it, revision `abc`, under CC" in report.cohort_in_words(build, False)


def test_every_word_of_the_checklist_is_filled_in():
    groups = yaml.safe_load(report.CHECKLIST.read_text(encoding="utf-8"))
    assert sum(map(len, groups.values())) == 20
    for items in groups.values():
        for item in items:
            assert set(item) == {"item", "paper", "book"} and all(item.values())


def test_links_of_the_report_lead_to_cells_of_the_chapters():
    from tests.helpers import ROOT

    sources = "".join(path.read_text() for path in (ROOT / "notebooks").glob("*.ipynb"))
    for names in report.KEPT.values():
        for name, label in names.values():
            assert f"({label})=" in sources, label
            chapter, table = name.split("/")
            text = (ROOT / f"notebooks/{chapter}.ipynb").read_text()
            assert table in text


def test_deviations_are_told_in_full_and_as_plain_words():
    listed = pd.DataFrame(
        {"what": ["a*b"], "text": ["x"], "code": ["y_1"], "book": ["z"], "effect": ["none\nmore"],
         "evidence": ["computed"]}
    )  # fmt: skip
    said = report.deviations_in_words(listed)
    assert "a\\*b" in said and "y\\_1" in said and "none more" in said
    assert "kept no list" in report.deviations_in_words(None)
