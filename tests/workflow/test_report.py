"""The report: every claim by every source, from what the build kept and nothing else."""

import json
import shutil

import pandas as pd
import pytest
import yaml

from oacore.data.cohort import SYNTHETIC, is_phantom
from oacore.data.sources import sources_table
from oacore.instruments.evidence import coherence_claims
from oacore.instruments.evidence.claims import claims, margins
from oacore.instruments.evidence.verdicts import ABSENT, ALONE, FAILS, HOLDS, OPEN
from oacore.instruments.published.predictions import compare_table1, read_published
from oacore.instruments.published.protocol import released_protocol
from oacore.metrics.references import ALWAYS_OA, REFERENCE
from oacore.metrics.scores import METRICS
from oacore.names import METRIC_NAMES
from oacore.record import RECORDS, content_digest, from_record, made, read, recorded
from oacore.results import keep
from tests.helpers import GRADES, table, write_tables
from workflow import about, report
from workflow.claims_by_source import (
    CHAPTERS,
    CONTROLS,
    KEPT,
    SECOND_CHAPTERS,
    SECOND_KEPT,
    SECOND_SOURCES,
    SOURCES,
    evidence,
    second_evidence,
)


@pytest.fixture
def build(tmp_path):
    write_tables(tmp_path / "cohort", table(GRADES, 1), table(GRADES, 6))
    return tmp_path


def test_a_build_without_results_says_why_for_each_source(build):
    found = evidence(build, phantom=True)
    assert len(found) == len(SOURCES) * len(claims()) == 5 * len(claims())
    silent = found["verdict"] == ABSENT
    assert silent.all() and (found["because"].str.len() > 20).all()
    assert (found["label"] == "").all()
    because = found.groupby("source")["because"].unique().map("\n".join)
    for source in ("published", "radiomics"):
        assert "No chapter of this build kept it." in because[source]
    said = report.recorded_in_words(found)
    assert said.count("not measured in this build") == 3
    assert "make book COHORT=FOLDER" in because["oaizib-cm"]
    real = evidence(build, phantom=False)
    assert "draws the phantom" in real.query("source == 'phantom'")["because"].iloc[0]
    controls = real["claim"].str.startswith("What helps is the hierarchy")
    (said,) = real[controls].query("source == 'oaizib-cm'")["because"]
    assert "`make book ARMS=main`" in said


def test_kept_tables_speak_with_a_link_to_their_cell(build, shared):
    predictions = read_published(shared / "real/published_predictions")
    stats = released_protocol(predictions)
    keep(stats, build, "09-published-record/stats")
    keep(compare_table1(predictions), build, "09-published-record/table1")
    found = evidence(build, phantom=True)
    spoke = found[found["verdict"] != ABSENT]
    assert set(spoke["source"]) == {"published"}
    assert set(spoke["label"]) == {"cell-stats", "cell-table1"}
    row = stats.query("backbone == 'resnet3d' and metric == 'kl_f1'").iloc[0]
    said = spoke[spoke["claim"].str.startswith("With ResNet3D, Dual raises")]["because"].iloc[0]
    assert f"KL macro-F1 {row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]" in said
    page = report.one_by_one(found)
    assert page.count("```{list-table}") == len(claims())
    assert "{ref}`Computed here <cell-stats>`" in page
    square = report.glance(found)
    assert square.count("* - ") == 1 + len(claims())


def test_a_source_that_speaks_from_the_record_says_so(build, monkeypatch):
    kept_effects(build)
    for name in ("stats", "table1", "interaction"):
        recorded(build, CHAPTERS["published"], "", name, lambda: None)
    found = evidence(build, phantom=True)
    of = found[found["label"] != ""].groupby("source")["recorded"]
    assert of.all().to_dict() == {"phantom": False, "published": True}
    page = report.one_by_one(found)
    assert "{ref}`From the record, shown here <cell-stats>`" in page
    assert "{ref}`Computed here <cell-effects>`" in page
    first, second, third = report.recorded_in_words(found).splitlines()
    made_on = made(CHAPTERS["published"])["provenance"]
    assert "*Published predictions*: read from this project's record" in first
    assert "and not computed in this build" in first and made_on["commit"][:10] in first
    assert second == "*Public radiomics*: not measured in this build."
    assert third == "*Phantom*: computed in this build."
    monkeypatch.setattr(report, "changed", lambda chapter: ["oacore/x.py"])
    said = report.recorded_in_words(found)
    assert said.count("made by an earlier version of this code") == 1
    monkeypatch.setattr(report, "changed", lambda chapter: [])
    assert "earlier version" not in report.recorded_in_words(found)
    # With the audit of printed tables, which each build computes.
    audit = pd.DataFrame(
        {"table": ["section 4.2"], "row": "ResNet3D", "check": "claim-table", "claim": "axis",
         "printed": "strongest 0.748", "implied": "0.802 is larger", "verdict": "inconsistent"}
    )  # fmt: skip
    keep(audit, build, "10-printed-tables/audit")
    said = report.recorded_in_words(evidence(build, phantom=True))
    assert "not computed in this build, but for what is linked as computed." in said


def test_each_experiment_with_controls_is_from_a_record_of_its_own(build):
    for chapter in CONTROLS.values():
        from_record(build, chapter, "contrasts")
    found = evidence(build, phantom=True)
    rows = found[found["claim"].str.startswith("What helps is the hierarchy")]
    rows = rows.set_index("source")
    spoke = rows.loc[list(CONTROLS)]
    assert (spoke["verdict"] != ABSENT).all() and spoke["recorded"].all()
    assert spoke["label"].tolist() == [
        "cell-hierarchy-recorded", "cell-hierarchy-pictures", "cell-hierarchy-arms-record",
    ]  # fmt: skip
    because = spoke.loc["radiomics", "because"]
    assert "while it learns to see is not asked; and these intervals, of kappa above all" in because
    assert spoke.loc["radiographs", "because"].endswith("not the paper's on volumes")
    assert (rows.loc[["published", "oaizib-cm"], "verdict"] == ABSENT).all()
    others = found[(found["source"] == "radiographs") & (found["verdict"] == ABSENT)]
    assert set(others["because"]) == {"Radiographs are no volumes, so there is no such network."}
    assert not found.loc[found["verdict"] == ABSENT, "because"].str.contains("not asked").any()
    lines = report.recorded_in_words(found).splitlines()
    assert lines[1] == "*Public radiomics*: not measured in this build."
    assert lines[2] == "*Phantom*: not measured in this build."
    for line, name in zip(lines[3:], ("radiomics", "radiographs"), strict=False):
        assert line.startswith(f"*Public {name}, with controls*: read from this project's")
        assert f"workflow.record_hierarchy {name}" in line
    assert lines[5].startswith("*Phantom, with controls*: read from") and len(lines) == 6


def test_arms_that_a_build_trained_speak_for_its_own_knees(build):
    contrasts = read(RECORDS / CONTROLS["radiomics"] / "contrasts.csv")
    keep(contrasts, build, "20-is-it-the-hierarchy/arms")
    for phantom, source in ((True, "phantom"), (False, "oaizib-cm")):
        found = evidence(build, phantom=phantom).query("label == 'cell-hierarchy-arms'")
        (row,) = found.to_dict("records")
        assert row["source"] == source and not row["recorded"]


def test_a_source_that_was_computed_says_so(build, shared):
    predictions = read_published(shared / "real/published_predictions")
    recorded(build, CHAPTERS["published"], "files", "table1", compare_table1, predictions)
    found = evidence(build, phantom=True)
    assert not found["recorded"].any()
    assert "*Published predictions*: computed in this build." in report.recorded_in_words(found)


def test_the_record_of_the_phantom_speaks_before_a_build_of_few_seeds(build, monkeypatch):
    kept_effects(build, value=0.01, low=-0.1, high=0.12, p_value=0.9, seeds=1)
    folder = build / "records/08-comparison"
    kept_effects(build / "many")
    folder.mkdir(parents=True)
    shutil.copy(build / "many/results/08-comparison/effects.csv", folder)
    said = {
        "command": "python -m workflow.record_phantom",
        "tables": {"effects": {"sha256": content_digest(folder / "effects.csv")}},
        "code": {},
        "provenance": {"commit": "0123456789abcdef", "finished": "2026-11-29T08:00:00+00:00"},
    }
    (folder / "record.json").write_text(json.dumps(said))
    monkeypatch.setattr("oacore.record.RECORDS", folder.parent)
    from_record(build, "08-comparison", "effects")
    found = evidence(build, phantom=True)
    spoke = found[found["label"] != ""]
    assert set(spoke["source"]) == {"phantom"} and spoke["recorded"].all()
    assert set(spoke["label"]) == {"cell-effects-record"}
    assert spoke["because"].str.contains(r"\+0\.200 \[\+0\.100, \+0\.300\]").any()
    (_, _, third) = report.recorded_in_words(found).splitlines()
    assert "*Phantom*: read from this project's record, which `python -m workflow" in third
    # A cohort of one's own is judged by what was computed on it.
    assert not evidence(build, phantom=False)["recorded"].any()


def kept_effects(build, **columns):
    effects = pd.DataFrame(
        {"backbone": "resnet3d", "metric": ["kl_auc", "kl_acc", "kl_f1"], "seeds": 3, "knees": 98,
         "over": "seeds and knees", "value": 0.2, "low": 0.1, "high": 0.3, "se": 0.04, "df": 9.0,
         "p_value": 0.001, **columns}
    )  # fmt: skip
    keep(effects, build, "08-comparison/effects")


def test_runs_speak_for_the_cohort_that_they_were_trained_on(build):
    kept_effects(build)
    for phantom, own in ((True, "phantom"), (False, "oaizib-cm")):
        found = evidence(build, phantom)
        spoke = found[found["verdict"] != ABSENT]
        assert set(spoke["source"]) == {own}
        assert set(spoke["verdict"]) == {HOLDS}
        assert spoke["because"].str.endswith("On 98 knees, 3 seeds").all()
        # (2.262 + .883) x .04
        assert spoke["because"].str.contains("[+0.100, +0.300], q = 0.001, 80% power from 0.126",
                                             regex=False).all()  # fmt: skip


def test_runs_of_one_seed_decide_nothing(build):
    kept_effects(build, seeds=1, over=ALONE, df=float("inf"), p_value=float("nan"))
    found = evidence(build, phantom=True)
    spoke = found[found["verdict"] != ABSENT]
    assert len(spoke) == 2 and set(spoke["verdict"]) == {OPEN}
    assert spoke["because"].str.endswith("1 seed, and one seed gives no verdict").all()


def test_print_refutes_a_claim_on_the_page(build):
    audit = pd.DataFrame(
        {"table": "section 4.2", "row": "ResNet3D", "check": ["claim-table", "average"],
         "claim": ["axis", None], "printed": "strongest 0.748", "implied": "0.802 is larger",
         "verdict": "inconsistent"}
    )  # fmt: skip
    keep(audit, build, "10-printed-tables/audit")
    found = evidence(build, phantom=True)
    spoke = found[found["verdict"] != ABSENT].set_index("printed")
    assert spoke["verdict"].tolist() == [FAILS, OPEN]  # axis, saliency
    assert "ResNet3D: strongest 0.748; 0.802 is larger" in spoke["because"].iloc[0]
    assert set(spoke["label"]) == {"cell-audit"}


def test_the_page_names_each_margin_with_its_reason():
    said = report.margins_in_words()
    assert said.count("\n* - ") == 1 + margins()["reason"].nunique()
    for metric, row in margins().iterrows():
        assert METRIC_NAMES[metric] in said and f"{row['margin']:g}" in said
        assert row["reason"] in said


def test_references_stand_below_the_scores_of_the_models(build):
    scores = pd.DataFrame(
        [
            ["resnet3d", "dual", 0, 0.9, 0.8, 0.8, 0.7, 0.5, 0.4],
            ["resnet3d", "dual", 1, 0.8, 0.8, 0.8, 0.7, 0.3, 0.4],
            [REFERENCE, ALWAYS_OA, 0, 0.5, 0.66, 0.8, None, None, None],
        ],
        columns=["backbone", "supervision", "seed", *METRICS],
    )
    said = report.scores_in_words(scores)
    model, reference = said.index("ResNet3D Dual"), said.index("always OA")
    assert model < reference and "{ref}`computed here <cell-references>`" in said
    assert "0.85 (seeds 0.80 to 0.90)" in said[model:reference]
    assert said[reference:].count("–") == 3 and "0.66" in said[reference:]
    assert report.scores_in_words(None) == "The chapter kept no scores."


def test_a_table_has_a_width_for_each_column():
    table = about.list_table([["a", "b"], ["1", "2"]], [30, 70])
    assert ":widths: 30 70" in table.splitlines()
    with pytest.raises(ValueError, match=r"rows of \[2, 3\] cells, 2 widths"):
        about.list_table([["a", "b"], ["1", "2", "3"]], [30, 70])


def test_doubtful_runs_are_named():
    gaps = pd.DataFrame(
        {
            "model": "resnet3d", "supervision": "single_kl", "seed": [0, 1], "training": [0.3, 0.3],
            "running": [1.3, 0.3], "re-estimated": 0.1, "statistics": "running",
            "gap": [True, False],
        }
    )  # fmt: skip
    collapsed = gaps[["model", "supervision", "seed"]].assign(
        head="kl", answer=4, share=[0.8, 0.3], commonest=0.29, collapsed=[True, False]
    )
    said = report.doubts_in_words(gaps, collapsed)
    assert said.count("\n- ") == 2 and "seed 1" not in said
    assert "- ResNet3D, Single-KL, seed 0 has collapsed: 80% of the test knees" in said
    assert report.doubts_in_words(None, collapsed) == "The chapter kept no check of its runs."


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
    assert said.count("- as released") == 9
    assert said.count("not fetched") == 3
    inputs = made(CHAPTERS["radiomics"])["inputs"]["radiomics"]
    released = sources_table("radiomics").set_index("file")["sha256"]
    same = [name for name in inputs if inputs[name] == released[name] and "_test.csv" not in name]
    assert said.count("not fetched; the record is of it as released") == len(same) > 0
    other = said.count("not fetched; the record is of a copy of another content")
    assert other == 3 - len(same) and said.count("another content") == 1 + other


def test_a_fetched_cohort_is_named_by_its_revision(build):
    record = {"dataset": "name/of-it", "revision": "abc", "licence": "CC", "files": {}}
    (build / "cohort/oaizib-cm.json").write_text(json.dumps(record))
    assert "name/of-it, revision abc, under CC" in report.cohort_in_words(build, False)


def test_each_kind_of_cohort_is_called_by_its_name(tmp_path):
    """A report on a real cohort spoke of results on the phantom, and of data from a seed."""
    said = {}
    for drawn in (0, 4, 10):
        marks = [SYNTHETIC] * drawn + [0] * (10 - drawn)
        folder = tmp_path / str(drawn)
        tables = (table(GRADES, first).assign(MRBarCode=marks[first - 1 :][:5]) for first in (1, 6))
        write_tables(folder / "cohort", *tables)
        (folder / "cohort/truth.csv").write_text("case_id\n")
        phantom = is_phantom(folder / "cohort")
        page = report.cohort_in_words(folder, phantom) + report.KIND[phantom]
        said[drawn] = page + " ".join(report.DATA[phantom].values())
    assert "phantom" in said[10] and "real" not in said[10].lower()
    assert "phantom" not in said[0] and "synthetic" not in said[0]
    assert "4 of its 10 knees are synthetic" in said[4] and "not a clinical result" in said[4]


def test_every_word_of_the_checklist_is_filled_in():
    groups = yaml.safe_load(report.CHECKLIST.read_text(encoding="utf-8"))
    assert sum(map(len, groups.values())) == 20
    for items in groups.values():
        for item in items:
            assert set(item) == {"item", "paper", "book"} and all(item.values())


def test_a_template_gets_its_words_and_keeps_its_roles():
    words = {"n": "3", "profile": "smoke"}
    assert about.fill("{n} runs ({ref}`sec-a`, {doc}`/b`), {n}", words) == (
        "3 runs ({ref}`sec-a`, {doc}`/b`), 3"
    )
    assert about.fill("`--profile {profile}`", words) == "`--profile smoke`"
    with pytest.raises(KeyError, match="seeds"):
        about.fill("{seeds}", words)


def test_links_of_the_report_lead_to_cells_of_the_chapters():
    from tests.helpers import ROOT

    sources = "".join(path.read_text() for path in (ROOT / "notebooks").glob("*.ipynb"))
    for names in [*KEPT.values(), *SECOND_KEPT.values()]:
        for name, label in names.values():
            assert f"({label})=" in sources, label
            chapter, *_, table = name.split("/")
            text = (ROOT / f"notebooks/{chapter}.ipynb").read_text()
            assert table.removeprefix("given-").removeprefix("drawn-") in text


RECORDED, DRAWN = (SECOND_KEPT[source]["differences"][0] for source in ("recorded", "drawn"))


def kept_arms(build, name, value, frequency="all grades read"):
    rows = [
        {"reference": "global", "other": "proposed", "head": head, "metric": metric,
         "value": value * (-1 if metric == "rmse" else 1)}
        for head in ("kl", "oarsi") for metric in ("accuracy", "rmse", "kappa")
    ]  # fmt: skip
    table = pd.DataFrame(rows).assign(
        low=lambda t: t["value"] - 0.01, high=lambda t: t["value"] + 0.01, se=0.004, df=9.0,
        p_value=0.001, over="seeds and knees", seeds=2, cases=40, frequency=frequency,
    )  # fmt: skip
    keep(table, build, name)


def test_the_second_paper_s_claims_are_judged_by_studies_that_stay_apart(build):
    kept_arms(build, RECORDED, -0.05)
    kept_arms(build, DRAWN, 0.05)
    found = second_evidence(build)
    assert list(found["source"].unique()) == list(SECOND_SOURCES)
    assert len(found) == len(SECOND_SOURCES) * len(coherence_claims.claims())
    first = found.head(3).set_index("source")
    assert first["claim"].nunique() == 1
    assert first["verdict"].to_dict() == {"recorded": FAILS, "given": ABSENT, "drawn": HOLDS}
    assert first["recorded"].to_dict() == {"recorded": True, "given": False, "drawn": False}
    assert first["label"].tolist() == ["cell-arms-recorded", "", "cell-arms-live"]
    assert "make book RADIOGRAPHS=FOLDER" in first["because"]["given"]
    lacking = found[(found["source"] == "drawn") & (found["verdict"] == ABSENT)]
    assert set(lacking["because"]) == {"The small study of a build has no such arms."}
    square = report.glance(found, SECOND_SOURCES)
    assert square.count("* - ") == 1 + len(coherence_claims.claims())
    assert ":widths: 40 20 20 20" in square
    page = report.one_by_one(found, SECOND_SOURCES, "The second paper")
    assert "The second paper, abstract; section 3, Table 2; it prints: KL accuracy 0.727" in page
    assert "{ref}`From the record, shown here <cell-arms-recorded>`" in page
    assert "{ref}`Computed here <cell-arms-live>`" in page
    margins_said = report.second_margins_in_words()
    for _, claim in coherence_claims.claims().query("says != 'gain'").iterrows():
        assert claim["reason"] in margins_said and claim["claim"] in margins_said


def test_the_record_of_radiographs_says_where_it_comes_from(build, monkeypatch):
    kept_arms(build, DRAWN, 0.05)
    found = second_evidence(build)
    said = report.recorded_in_words(found, SECOND_SOURCES, SECOND_CHAPTERS)
    assert said == "*Real radiographs, recorded*: not measured in this build."
    kept_arms(build, RECORDED, 0.05)
    made_on = {"commit": "0123456789abcdef", "finished": "2026-11-29T08:00:00+00:00"}
    record = {"command": "python -m workflow.record_radiographs", "provenance": made_on}
    monkeypatch.setattr(report, "made", lambda chapter: record)
    monkeypatch.setattr(report, "changed", lambda chapter: [])
    said = report.recorded_in_words(second_evidence(build), SECOND_SOURCES, SECOND_CHAPTERS)
    assert "`python -m workflow.record_radiographs` made on 2026-11-29" in said
    assert "not computed in this build" in said


def test_deviations_are_told_in_full_and_as_plain_words():
    listed = pd.DataFrame(
        {"what": ["a*b"], "text": ["x"], "code": ["y_1"], "book": ["z"], "effect": ["none\nmore"],
         "evidence": ["computed"]}
    )  # fmt: skip
    said = report.deviations_in_words(listed)
    assert "a\\*b" in said and "y\\_1" in said and "none more" in said
    assert "kept no list" in report.deviations_in_words(None)
