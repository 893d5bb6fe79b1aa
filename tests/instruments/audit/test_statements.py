"""What the papers' texts say of the order of their figures, against the figures."""

from pathlib import Path

import pytest
import yaml

from oacore.errors import InputError
from oacore.instruments.audit.findings import (
    audit,
    carried_statements,
    carried_tables,
    read_printed,
    read_statements,
)
from oacore.instruments.audit.statements import COLUMNS
from tests.helpers import ROOT

TABLE = (
    "# table: T\n# source: mine\n# values: one run\n"
    "row,rho_kl,kl_kappa\nA,-0.80,0.50\nB,0.75,0.51\nC,0.20,0.60\n"
)
LINE = "mine,section 1,A is the strongest,T,rho_kl,A; B; C,highest,absolute,named,,axis"


@pytest.fixture(scope="module")
def found():
    every = audit(carried_tables(), carried_statements())
    return every[every["check"] == "claim-table"]


def judged(folder: Path, line: str, table: str = TABLE):
    (folder / "t.csv").write_text(table)
    (folder / "claims.csv").write_text(f"# mine\n{','.join(COLUMNS)}\n{line}\n")
    tables = [read_printed(folder / "t.csv")]
    every = audit(tables, read_statements(folder / "claims.csv"))
    return every[every["check"] == "claim-table"]


def test_the_strongest_axis_is_refuted_by_print(found):
    (wrong,) = found[found["verdict"] == "inconsistent"].to_dict("records")
    assert (wrong["table"], wrong["row"], wrong["claim"]) == ("Table 2", "ResNet3D Dual", "axis")
    assert "section 4.2" in wrong["implied"] and "ResNet3D Single-OA (|-0.802|)" in wrong["implied"]
    assert "0.748" in wrong["printed"] and "-0.802" in wrong["printed"]


def test_what_the_text_does_not_name_is_left_open(found):
    open_ones = found[found["verdict"] == "undetermined"]
    assert len(open_ones) >= 10
    named = open_ones["implied"].str.contains("which the text does not say|rounding decides")
    assert named.all()
    helps = open_ones.query("claim == 'backbone'")["printed"].str.split(":").str[0]
    assert {"OA AUC", "OA accuracy", "OA F1"} == set(helps)
    close = open_ones[open_ones["implied"].str.contains("rounding decides")]
    assert close["row"].to_list() == ["Proposed 100%"]  # 0.764 beside 0.765


def test_statements_follow_both_papers_and_the_list_of_claims():
    carried = carried_statements()
    assert {one.paper for one in carried} == {"arXiv:2605.00718", "arXiv:2112.09177"}
    sections = " ".join(one.section for one in carried)
    for place in ("abstract", "4.1", "4.2", "4.4", "section 5", "6", "appendix B", "appendix C"):
        assert place in sections
    listed = ROOT / "oacore/instruments/evidence/claims.yml"
    claims = list(yaml.safe_load_all(listed.read_text(encoding="utf-8")))[1]
    belongs = {one.claim for one in carried} - {""}
    assert belongs <= set(claims) and {"axis", "saliency", "backbone"} <= belongs


def test_typed_values_are_the_papers(shared):
    papers = shared / "papers"
    texts = {
        "arXiv:2605.00718": (papers / "paper_2605.00718_hierarchical_labels.txt").read_text(),
        "arXiv:2112.09177": (papers / "paper_2112.09177_coherence_keypoint.txt").read_text(),
    }
    typed = [(one.paper, value) for one in carried_statements() for value in one.values]
    assert len(typed) >= 10
    for paper, value in typed:
        share = f"{100 * float(value):.1f}%"
        assert value in texts[paper] or share in texts[paper], value


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "consistent"),
        ({"absolute": "signed"}, "inconsistent"),
        ({"absolute,named": "signed,not named"}, "undetermined"),
        ({"highest": "greater"}, "consistent"),
        ({"highest": "lowest"}, "inconsistent"),
        ({"A; B; C": "C; B; A", "highest": "rising"}, "consistent"),
        ({"A; B; C": "C; A; B", "highest": "rising"}, "inconsistent"),
        ({"highest": "falling"}, "consistent"),
        ({"A; B; C": "C; A", "highest": "less"}, "consistent"),
        ({"rho_kl": "kl_kappa"}, "inconsistent"),
        ({"rho_kl,A; B; C": "kl_kappa,A; B"}, "undetermined"),  # 0.50 and 0.51: rounding
        ({"A; B; C": "B - A; C - A"}, "consistent"),
        ({"A; B; C": "C - A; B - A"}, "inconsistent"),
        ({",,axis": ",0.80,axis"}, "consistent"),  # |-0.80|
        ({",,axis": ",0.8; 0.750,axis"}, "consistent"),
        ({",,axis": ",0.80; 0.78,axis"}, "inconsistent"),
        # A typed difference may be the mean over resamples, which the two figures do not give.
        ({"A; B; C": "A - C; B - C", ",,axis": ",1.00,axis"}, "consistent"),
        ({"A; B; C": "A - C; B - C", ",,axis": ",0.90,axis"}, "undetermined"),
    ],
)
def test_verdicts_on_statements(tmp_path, changes, verdict):
    line = LINE
    for old, new in changes.items():
        assert old in line
        line = line.replace(old, new)
    (found,) = judged(tmp_path, line).to_dict("records")
    assert found["verdict"] == verdict, found
    assert found["claim"] == "axis" and found["check"] == "claim-table"


def test_each_column_is_a_check(tmp_path):
    found = judged(tmp_path, LINE.replace("rho_kl", "rho_kl kl_kappa"))
    assert found["verdict"].to_list() == ["consistent", "inconsistent"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("highest", "best", "statement 1: relation is 'best'; write highest or lowest"),
        ("absolute", "abs", "sign is 'abs'; write signed or absolute"),
        ("named", "yes", "measure is 'yes'; write named or not named"),
        ("rho_kl", "rho", "no column 'rho'; known are"),
        ("A; B; C", "A", "two or more different rows"),
        ("A; B; C", "A; A", "two or more different rows"),
        ("A; B; C", "A; D", "T has no row 'D' with a figure under rho_kl"),
        (",T,", ",U,", "U has no row 'A'"),
        (",axis", "", "10 fields, not 11"),
        (",,axis", ",80%,axis", "statement 1: value is '80%': write a decimal number"),
        (",,axis", ",nan,axis", "value is 'nan'"),
        (",,axis", ",79.59,axis", "value is '79.59': beyond 1: correct it, or"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, old, new, message):
    assert old in LINE
    with pytest.raises(InputError, match=message) as error:
        judged(tmp_path, LINE.replace(old, new))
    assert "claims.csv, statement 1" in str(error.value)


def test_a_wrong_file_is_named(tmp_path):
    (tmp_path / "claims.csv").write_text("paper,section\n")
    with pytest.raises(InputError, match="claims.csv: the first line must be paper,section,says"):
        read_statements(tmp_path / "claims.csv")
    with pytest.raises(InputError, match="no.csv is not a readable"):
        read_statements(tmp_path / "no.csv")
