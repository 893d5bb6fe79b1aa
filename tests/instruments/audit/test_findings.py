"""The audit: what it finds in both papers, in tables whose truth is known, and in one's own."""

import subprocess
import sys

import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix

from oacore.errors import InputError
from oacore.instruments.audit.findings import (
    COLUMNS,
    audit,
    carried_statements,
    carried_tables,
    in_order,
    read_printed,
)
from oacore.instruments.audit.printed import CARRIED
from oacore.instruments.published.predictions import SETTINGS, read_published
from oacore.metrics.significance import mcnemar


@pytest.fixture(scope="module")
def findings():
    return audit(carried_tables(), carried_statements())


def verdict(findings, check, table, row):
    (one,) = findings.query("check == @check and table == @table and row == @row")["verdict"]
    return one


def test_every_inconsistency_of_both_papers(findings):
    found = findings[findings["verdict"] == "inconsistent"]
    rank = {("rho-auroc", "Table 2", f"{b} {s}") for b in ("ResNet3D", "M3T") for s in SETTINGS}
    kappa = {("average", "2112.09177 Table 2", row) for row in ("ResNet-18", "ResNet-34")}
    text = {
        ("repeated-figure", "2112.09177 section 3", f"{row} (ablation)") for row in ("KPN", "CL")
    }
    strongest = {("claim-table", "Table 2", "ResNet3D Dual")}
    listed = set(zip(found["check"], found["table"], found["row"], strict=True))
    assert listed == rank | kappa | text | strongest
    assert len(found) == 11


def test_every_row_of_table_2_that_cannot_be_and_no_other(findings):
    table2 = findings.query("check == 'rho-auroc'").set_index("row")["verdict"]
    assert len(table2) == 9
    for row, said in table2.items():
        assert said == ("undetermined" if row.startswith("nnMamba") else "inconsistent")
    others = findings.query("table == 'Table 2' and check not in ('rho-auroc', 'claim-table')")
    assert "inconsistent" not in set(others["verdict"])


def test_what_is_undetermined_and_why(findings):
    open_ones = findings[findings["verdict"] == "undetermined"]
    assert set(open_ones["check"]) == {
        "auc-count", "mcnemar-range", "difference", "rho-auroc", "repeated-figure",
        "macro-f1-bound", "claim-table",
    }  # fmt: skip
    (quoted,) = open_ones.query("check == 'macro-f1-bound'")["row"]
    assert quoted == "Chen et al. Top-k selection (k=30)"
    twice = open_ones.query("check == 'repeated-figure'")
    assert set(twice["table"]) == {"2112.09177 Table 3", "2112.09177 Table 4"}
    assert twice["implied"].str.contains("both only if exactly 0.7525").all()
    deltas = findings.query("check == 'difference'").set_index("printed")["verdict"]
    assert (deltas == "consistent").sum() == 1
    assert deltas["difference of OA AUC 0.1255"] == "consistent"
    reasons = open_ones.query("check == 'difference'")["implied"]
    assert len(reasons) == 5 and reasons.str.contains("bootstrap mean").all()
    tests = findings.query("check == 'mcnemar-range'").set_index("row")
    said = tests[tests["printed"] != ""]
    assert set(said["printed"]) == {"not significant (section 4.1)"}
    assert said["verdict"].to_dict() == {
        "ResNet3D Dual - ResNet3D Single-OA": "consistent",
        "M3T Dual - M3T Single-OA": "undetermined",
        "nnMamba Dual - nnMamba Single-OA": "consistent",
    }


def test_format(findings, tmp_path):
    assert list(findings) == COLUMNS
    assert set(findings["verdict"]) == {"consistent", "inconsistent", "undetermined"}
    findings.to_csv(tmp_path / "audit.csv", index=False)
    again = pd.read_csv(tmp_path / "audit.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(again, findings, check_dtype=False)
    ordered = in_order(findings)
    assert len(ordered) == len(findings)
    assert list(dict.fromkeys(ordered["verdict"])) == ["inconsistent", "undetermined", "consistent"]


def test_2x2_tables_are_those_of_the_released_predictions(findings, shared):
    real = read_published(shared / "real" / "published_predictions")
    names = {"resnet3d": "ResNet3D", "m3t": "M3T", "nnmamba": "nnMamba"}
    settings = {key: name for name, key in SETTINGS.items()}
    right = {}
    for (backbone, supervision), model in real.groupby(["backbone", "supervision"]):
        row = f"{names[backbone]} {settings[supervision]}"
        tn, fp, fn, tp = confusion_matrix(model["oa"], model["pred_oa"]).ravel()
        implied = findings.query("check == 'confusion' and table == 'Table 1' and row == @row")
        (said,) = implied["implied"]
        assert said.startswith(f"TP {tp}, FN {fn}, FP {fp}, TN {tn}; sensitivity {tp / 65:.3f} [")
        right[row] = (model["oa"] == model["pred_oa"]).to_numpy()
    pairs = findings.query("check == 'mcnemar-range'")
    assert len(pairs) == 18
    for row, implied in zip(pairs["row"], pairs["implied"], strict=True):
        second, first = row.split(" - ")
        p = mcnemar(right[first], right[second]).p_value
        least, most = (float(word.split()[0]) for word in implied[7:].split(" to "))
        assert least * 0.99 <= p <= most * 1.01, row


def test_the_first_row_in_full(findings):
    row = findings.query("row == 'ResNet3D Single-OA' and table == 'Table 1'").set_index("check")
    assert row.loc["confusion", "printed"] == "OA accuracy 0.7959, OA F1 0.8507"
    assert row.loc["confusion", "implied"] == (
        "TP 57, FN 8, FP 12, TN 21; sensitivity 0.877 [0.772, 0.945]; "
        "specificity 0.636 [0.451, 0.796]"
    )
    assert row.loc["accuracy-count", "implied"] == "78/98"
    assert row.loc["auc-count", "implied"] == "1889 of 2145 pairs"


def test_no_torch_and_every_file_is_named():
    code = (
        "import sys, oacore.instruments.audit.findings as a; "
        "a.audit(a.carried_tables()); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    tables = carried_tables()
    assert [table.file.rpartition("/")[2] for table in tables] == list(CARRIED)


MINE = (
    "# table: T\n# source: mine\n# knees: 33 65\n# values: one run\n"
    "row,oa_acc,oa_f1\nA One,0.796,0.851\nA Two,0.80,0.85\n"
)


def own(tmp_path, text):
    (tmp_path / "mine.csv").write_text(text)
    return audit([read_printed(tmp_path / "mine.csv")])


def test_a_table_of_ones_own(tmp_path):
    found = own(tmp_path, MINE)
    assert verdict(found, "accuracy-count", "T", "A One") == "consistent"
    assert verdict(found, "confusion", "T", "A Two") == "consistent"
    (implied,) = found.query("row == 'A Two' and check == 'confusion'")["implied"]
    assert "tables give both" in implied
    found = own(tmp_path, MINE.replace("0.796", "0.791"))
    assert verdict(found, "accuracy-count", "T", "A One") == "inconsistent"
    assert verdict(found, "confusion", "T", "A One") == "inconsistent"
    found = own(tmp_path, MINE.replace("33 65", "unknown"))
    assert len(found) == 0 and list(found) == COLUMNS


@pytest.mark.parametrize("values", ["", "# values: means\n"])
def test_what_may_be_a_mean_is_not_contradicted(tmp_path, values):
    text = MINE.replace("# values: one run\n", values).replace("0.796", "0.791")
    found = own(tmp_path, text)
    if values:  # no mean is a share of the knees
        assert found.empty
        return
    assert verdict(found, "accuracy-count", "T", "A One") == "undetermined"
    said = found["implied"].str.contains("a contradiction only if the head can say '# values: one")
    assert said[found["row"] == "A One"].all()
    # But no mean of shares lies outside 0 to 1.
    found = own(tmp_path, text.replace("0.791", "-0.791"))
    assert verdict(found, "accuracy-count", "T", "A One") == "inconsistent"


def test_the_bound_of_means_is_used_for_means(tmp_path):
    head = "# table: T\n# source: mine\n# knees: unknown\n"
    row = "row,kl_acc,kl_rmse\nA,0.808,0.422\n"  # five folds, two of them easy
    verdicts = {
        values: own(tmp_path, head + values + row)["verdict"].item()
        for values in ("# values: one run\n", "# values: means\n", "")
    }
    # Of one run only expected grades could be so good.
    assert list(verdicts.values()) == ["undetermined", "consistent", "consistent"]
    far = row.replace("0.422", "2.600")  # worse than expected grades can be: 2.512
    assert own(tmp_path, head + "# values: means\n" + far)["verdict"].item() == "inconsistent"
    assert own(tmp_path, head + far)["verdict"].item() == "undetermined"


def test_an_average_with_weights_is_one_for_the_whole_table(tmp_path):
    parts = ("jsn_l", "jsn_m", "o_fl", "o_fm", "o_tl", "o_tm")
    head = "# table: T\n# source: mine\n# values: one run\nrow,"
    head += ",".join(f"{part}_kappa" for part in (*parts, "oarsi")) + "\n"
    first = "A,0.900,0.800,0.700,0.600,0.500,0.400,0.700\n"  # by no plain mean, 0.650
    second = "B,0.900,0.800,0.700,0.600,0.500,0.400,0.650\n"
    assert own(tmp_path, head + first)["verdict"].item() == "undetermined"
    assert own(tmp_path, head + first.replace("0.700\n", "0.950\n"))["verdict"].item() == (
        "inconsistent"
    )
    both = own(tmp_path, head + first + second).set_index("row")["verdict"]
    assert both.to_dict() == {"A": "inconsistent", "B": "consistent"}


def test_pairs_of_ones_own(tmp_path):
    text = MINE.replace("0.796,0.851", "0.7959,0.8507").replace("0.80,0.85", "0.8163,0.8732")
    text += "A Three,0.5000,0.5000\n"  # which leaves no 2x2 table
    (first,) = own(tmp_path, text).query("check == 'mcnemar-range'")["row"]
    assert first == "A Two - A One"
    text = text.replace("A Two", "B Two")
    assert own(tmp_path, text).query("check == 'mcnemar-range'").empty
    said = text.replace("B Two", "A Two").replace("oa_f1\n", "oa_f1,of,minus,oa_acc_test\n")
    said = said.replace("8507\n", "8507,T: A Two,T: A One,significant\n")
    said = said.replace("8732\n", "8732,,,\n").replace("0.5000\n", "0.5000,,,\n")
    (one,) = own(tmp_path, said).query("check == 'mcnemar-range'")["verdict"]
    assert one == "inconsistent"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# knees: 33 65\n", "", "row 'A One': oa_acc needs the test knees in the head"),
        ("oa_acc,oa_f1", "oa_acc,dice5", "dice5 needs the region's share"),
        ("oa_acc,oa_f1", "oa_acc,kl_auc", "kl_auc needs the test knees.*0 to 4, or '# knees: unk"),
        ("oa_acc,oa_f1", "oa_acc,same_as", "same_as names '0.851', which is no row"),
        ("oa_acc,oa_f1", "oa_acc,delta_oa_auc", "of names '', which is no row"),
        ("oa_acc,oa_f1\nA One,0.796,0.851", "delta_kl_f1,of,minus\nA One,0.1,T: A One,T: A One",
         "row 'A One': no kl_f1 to which delta_kl_f1 belongs"),
    ],
)  # fmt: skip
def test_what_a_check_lacks_is_named(tmp_path, old, new, message):
    text = MINE.replace("\nA Two,0.80,0.85", "")
    assert old in text
    with pytest.raises(InputError, match=message) as error:
        own(tmp_path, text.replace(old, new))
    assert "mine.csv" in str(error.value)


def test_one_row_in_two_tables(tmp_path):
    (tmp_path / "mine.csv").write_text(MINE)
    with pytest.raises(InputError, match="mine.csv: there is a row 'T: A One' already"):
        audit([read_printed(tmp_path / "mine.csv")] * 2)
