"""The published record: the paper's printed figures are the outside comparison."""

import shutil

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.instruments.published import predictions as published
from oacore.metrics.predictions import PROB_KL
from oacore.metrics.scores import table1
from tests.helpers import invented


@pytest.fixture
def real(shared):
    return shared / "real" / "published_predictions"


def test_all_45_printed_figures_are_recomputed(real):
    comparison = published.compare_table1(published.read_published(real))
    assert len(comparison) == 45
    assert comparison["agrees"].all(), comparison[~comparison["agrees"]].to_string()
    assert (comparison["recomputed"].round(4) == comparison["printed"]).all()


@pytest.mark.parametrize(
    ("supervision", "expected"),
    [
        (
            "single_kl",
            [[15, 0, 6, 0, 0], [4, 0, 8, 0, 0], [4, 1, 17, 0, 0], [3, 9, 12, 2, 2],
             [2, 5, 4, 2, 2]],
        ),
        (
            "dual",
            [[11, 0, 9, 1, 0], [3, 0, 6, 3, 0], [0, 0, 20, 2, 0], [0, 0, 7, 18, 3],
             [0, 0, 1, 6, 8]],
        ),
    ],
)  # fmt: skip
def test_confusion_matrices_of_resnet3d(real, supervision, expected):
    table = published.read_published(real).query(
        "backbone == 'resnet3d' and supervision == @supervision"
    )
    matrix = pd.crosstab(table["kl"], table["pred_kl"]).reindex(
        index=range(5), columns=range(5), fill_value=0
    )
    assert matrix.to_numpy().tolist() == expected


def test_tidy_table_of_the_real_files(real):
    table = published.read_published(real)
    assert len(table) == 9 * 98
    assert not {"img_path", "CMT_ID"} & set(table.columns)
    assert not table.astype(str).apply(lambda column: column.str.contains("/")).any(axis=None)
    counts = table.groupby(["backbone", "supervision"])["kl"].value_counts().unstack()
    assert (counts == [21, 12, 22, 28, 15]).all(axis=None)
    kl_heads = table[table["supervision"] != "single_oa"]
    implied = kl_heads[PROB_KL[2:]].sum(axis=1)
    np.testing.assert_allclose(kl_heads["prob_oa_from_kl"], implied, atol=1e-6)
    no_head = table[table["supervision"] == "single_oa"]
    assert no_head[["prob_oa_from_kl", *PROB_KL, "pred_kl"]].isna().all(axis=None)


def test_printed_table_is_the_papers(shared):
    text = (shared / "papers" / "paper_2605.00718_hierarchical_labels.txt").read_text()
    printed = published.printed_table1()
    for row in printed.drop(columns=["backbone", "supervision"]).to_numpy():
        assert " ".join(f"{value:.4f}" for value in row if not np.isnan(value)) in text
    assert printed.drop(columns=["backbone", "supervision"]).notna().sum(axis=None) == 45


def test_a_changed_prediction_disagrees(real):
    table = published.read_published(real)
    right = (table["backbone"] == "m3t") & (table["supervision"] == "dual")
    row = table.index[right & (table["pred_kl"] == table["kl"])][0]
    table.loc[row, "pred_kl"] = (table.loc[row, "pred_kl"] + 1) % 5
    comparison = published.compare_table1(table)
    disagree = comparison[~comparison["agrees"]]
    assert set(disagree["backbone"] + " " + disagree["supervision"]) == {"m3t dual"}
    assert set(disagree["metric"]) == {"kl_acc", "kl_f1"}


def test_invented_files_read_and_disagree(tmp_path):
    table = published.read_published(invented(tmp_path))
    assert len(table1(table)) == 9
    assert not published.compare_table1(table)["agrees"].all()


def test_missing_files_are_named_with_the_cure(tmp_path):
    invented(tmp_path)
    (tmp_path / "mamba_dual_preds.csv").unlink()
    with pytest.raises(InputError, match="mamba_dual_preds.csv.*oacore fetch published"):
        published.read_published(tmp_path)


def edit(column, row, value):
    def spoil(path):
        table = pd.read_csv(path)
        if column in table:
            table[column] = table[column].astype(object)
        table.loc[row, column] = value
        table.to_csv(path, index=False)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: pd.read_csv(p).iloc[:97].to_csv(p, index=False), "97 rows"),
        (
            lambda p: pd.read_csv(p).drop(columns="prob_kl_3").to_csv(p),
            "column prob_kl_3 is missing",
        ),
        (lambda p: p.write_text(""), "not a readable CSV"),
        (lambda p: p.write_bytes(b"\xff\xfe\x00" * 9), "not a readable CSV"),
        (edit("prob_oa", 4, 1.2), "data row 5: prob_oa is not a probability"),
        (edit("prob_kl_1", 0, "text"), "data row 1: prob_kl_1 is not a probability"),
        (edit("label_kl", 9, 7), "data row 10: label_kl is not one of"),
        (edit("label_oa", 97, 0), "data row 98: label_oa is not KL >= 2"),
        (edit("CMT_ID", 0, 406), "97 knees"),
        (edit("CMT_ID", 0, 7), "another CMT_ID or label than in resnet3d_single_oa_preds.csv"),
        (edit("label_kl", 3, "#N/A"), "data row 4: label_kl is not one of"),
        (edit("PROB_OA", 3, 0.5), "column prob_oa is there twice"),
        (edit("prob_kl_0", 2, 0.999), "data row 3: the KL probabilities do not sum to 1"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, spoil, message):
    path = invented(tmp_path) / "m3t_dual_preds.csv"
    spoil(path)
    with pytest.raises(InputError, match=message) as error:
        published.read_published(tmp_path)
    assert "m3t_dual_preds.csv" in str(error.value)
    assert "oacore fetch published" in str(error.value)


def test_only_the_nine_models_compare_with_the_table(tmp_path):
    table = published.read_published(invented(tmp_path))
    with pytest.raises(InputError, match="these predictions hold 6"):
        published.compare_table1(table[table["backbone"] != "m3t"])


def test_columns_in_another_order_read_alike(tmp_path, real):
    for name in published.FILES.values():
        shutil.copy(real / name, tmp_path / name)
    name = "resnet3d_dual_preds.csv"
    raw = pd.read_csv(tmp_path / name)
    (tmp_path / name).unlink()  # the copy of a read-only file is read-only
    raw[raw.columns[::-1]].iloc[::-1].to_csv(tmp_path / name, index=False)
    pd.testing.assert_frame_equal(
        published.read_published(tmp_path), published.read_published(real)
    )
