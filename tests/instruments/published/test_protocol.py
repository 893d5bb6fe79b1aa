"""The released protocol against its own published results, and the comparisons built like it."""

import io
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.metrics import f1_score, roc_auc_score

from oacore.errors import InputError
from oacore.instruments.published import protocol
from oacore.instruments.published.predictions import read_predictions, read_published
from oacore.metrics.predictions import COLUMNS, PROB_KL
from oacore.names import SUPERVISION_NAMES
from tests.helpers import invented, model

# Facts from results/stats_recomputed_with_fdr.csv of jukieCheung/coarse2fine-oa-mri at commit
# 9059db990bc3c636f9373db7fd617cb9390f9a45, 98 test knees.
RELEASED = """\
backbone,task,metric,single,dual,delta,ci_low,ci_high,p_value,test,q_value
resnet3d,OA,AUC,0.880653,0.865734,-0.014918,-0.069812,0.040762,0.587941205879412,paired_bootstrap,0.705529
resnet3d,OA,Acc,0.795918,0.816327,0.020408,-0.05102,0.091837,0.79052734375,mcnemar_exact,0.837029
resnet3d,OA,F1,0.850746,0.873239,0.022493,-0.02895,0.078231,0.39036096390360964,paired_bootstrap,0.585541
resnet3d,KL,M-AUC,0.672506,0.794386,0.12188,0.050934,0.192473,0.0013998600139986002,paired_bootstrap,0.006299
resnet3d,KL,Acc,0.367347,0.581633,0.214286,0.102041,0.326531,0.0005999400059994001,paired_bootstrap,0.0036
resnet3d,KL,M-F1,0.288105,0.496006,0.207901,0.117659,0.297154,0.00019998000199980003,paired_bootstrap,0.0036
m3t,OA,AUC,0.792075,0.917483,0.125408,0.048387,0.207601,0.0005999400059994001,paired_bootstrap,0.0036
m3t,OA,Acc,0.72449,0.795918,0.071429,-0.020408,0.163265,0.18924713134765625,mcnemar_exact,0.378682
m3t,OA,F1,0.805755,0.848485,0.042729,-0.021133,0.108419,0.19758024197580243,paired_bootstrap,0.378682
m3t,KL,M-AUC,0.722577,0.77562,0.053043,-0.004237,0.109547,0.07079292070792921,paired_bootstrap,0.212379
m3t,KL,Acc,0.387755,0.459184,0.071429,-0.030612,0.173469,0.21037896210378962,paired_bootstrap,0.378682
m3t,KL,M-F1,0.357966,0.46684,0.108874,0.007526,0.206838,0.0331966803319668,paired_bootstrap,0.119508
nnmamba,OA,AUC,0.85035,0.819114,-0.031235,-0.114712,0.050092,0.4627537246275372,paired_bootstrap,0.607497
nnmamba,OA,Acc,0.755102,0.704082,-0.05102,-0.163265,0.061224,0.47249761400068846,mcnemar_chi2+continuity,0.607497
nnmamba,OA,F1,0.803279,0.8,-0.003279,-0.087635,0.080705,0.9353064693530647,paired_bootstrap,0.935306
nnmamba,KL,M-AUC,0.749087,0.712576,-0.036511,-0.091359,0.015591,0.1713828617138286,paired_bootstrap,0.378682
nnmamba,KL,Acc,0.387755,0.326531,-0.061224,-0.183673,0.061224,0.34436556344365565,paired_bootstrap,0.563507
nnmamba,KL,M-F1,0.245608,0.230623,-0.014985,-0.100432,0.066269,0.7115288471152885,paired_bootstrap,0.80047
"""  # noqa: E501
NUMBERS = ["single", "dual", "delta", "ci_low", "ci_high", "p_value", "q_value"]


@pytest.fixture(scope="module")
def real(shared):
    return read_published(shared / "real/published_predictions")


@pytest.fixture(scope="module")
def released(real):
    return protocol.released_protocol(real)


def backbone(name, seed=0, n=40, spread=0):
    """All three supervisions of an invented backbone, on the same cases for every name."""
    kl = np.random.default_rng(99).permutation(np.arange(n) % 5)
    tables = []
    for i, supervision in enumerate(SUPERVISION_NAMES):
        table = model(100 * seed + 10 * spread + i, n=n, supervision=supervision, kl=kl)
        tables.append(table.assign(backbone=name, seed=seed))
    return pd.concat(tables, ignore_index=True)


def small(predictions, **words):
    return protocol.released_protocol(predictions, **{"n_resamples": 200, **words})


# ---- the release


def test_all_18_rows_are_the_released_ones(released):
    expected = pd.read_csv(io.StringIO(RELEASED))
    released = protocol.as_released(released)
    assert list(released.columns) == list(expected.columns)
    words = ["backbone", "task", "metric", "test"]
    pd.testing.assert_frame_equal(released[words], expected[words])
    assert_allclose(released[NUMBERS], expected[NUMBERS], rtol=0, atol=5.001e-7)
    # The release gives p in full.
    assert_allclose(released["p_value"], expected["p_value"], rtol=0, atol=1e-12)


def test_the_spread_is_that_of_the_resamples_and_no_part_of_the_released_file(released):
    # About a normal distribution, so 95% of it is 3.92 standard deviations wide.
    width = (released["high"] - released["low"]) / (2 * stats.norm.ppf(0.975))
    assert_allclose(released["se"], width, rtol=0.05)
    assert set(released["knees"]) == {98}
    assert not {"se", "knees"} & set(protocol.as_released(released).columns)


def test_rows_may_come_in_any_order(real, released):
    shuffled = real.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(protocol.released_protocol(shuffled), released)


def test_each_row_draws_its_own_resamples_from_one_generator():
    table = backbone("mine", n=40)
    models = dict(list(table.groupby("supervision")))
    dual = models["dual"]
    got = small(table, n_resamples=60, seed=5)
    rng = np.random.default_rng(5)
    for (name, (task, metrics)), row in zip(
        protocol.RELEASED.items(), got.to_dict("records"), strict=True
    ):
        single = models[f"single_{task.lower()}"]
        assert row["metric"] == name
        deltas = []
        for _ in range(60):
            cases = rng.integers(0, 40, size=40)
            values = [released_value(t.iloc[cases], task, metrics) for t in (single, dual)]
            deltas.append(values[1] - values[0])
        deltas = np.array(deltas)
        deltas = deltas[~np.isnan(deltas)]
        expected = np.percentile(deltas, [2.5, 97.5])
        assert_allclose([row["low"], row["high"]], expected, atol=1e-12)
        if row["test"] == "paired_bootstrap":
            B = len(deltas)
            p = 2 * min(((deltas <= 0).sum() + 1) / (B + 1), ((deltas >= 0).sum() + 1) / (B + 1))
            assert_allclose(row["p_value"], min(1, p), rtol=1e-12)


def released_value(table, task, metric):
    """What the release calls: scikit-learn, tie by tie as it rounds."""
    label, predicted = (table[c].astype(int) for c in (task.lower(), f"pred_{task.lower()}"))
    if metric == "Acc":
        return (label == predicted).mean()
    if metric == "F1":
        return f1_score(label, predicted, zero_division=0)
    if metric == "M-F1":
        return f1_score(label, predicted, average="macro", zero_division=0)
    grades = range(5) if metric == "M-AUC" else [1]
    scores = table[PROB_KL] if metric == "M-AUC" else table[["prob_oa"] * 2]
    if any((label == g).nunique() < 2 for g in grades):
        return np.nan
    return np.mean([roc_auc_score(label == g, scores.iloc[:, g]) for g in grades])


def test_nothing_slow_is_imported():
    code = (
        "import sys, oacore.instruments.published.protocol, oacore.metrics.clinical; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# ---- a user's predictions


def test_any_backbones_the_papers_first():
    table = pd.concat([backbone(name, spread=i) for i, name in
                       enumerate(["mine", "nnmamba", "another", "resnet3d"])])  # fmt: skip
    got = small(table)
    assert list(got.columns) == [*protocol.COMPARED, *protocol.SPREAD] and len(got) == 24
    assert list(got["backbone"].unique()) == ["resnet3d", "nnmamba", "mine", "another"]
    assert_allclose(
        got["q_value"], stats.false_discovery_control(got["p_value"]), rtol=0, atol=1e-15
    )


def test_each_training_seed_has_rows_of_its_own():
    first, second = backbone("mine", seed=3), backbone("mine", seed=1)
    got = small(pd.concat([first, second]))
    assert list(got.columns) == ["seed", *protocol.COMPARED, *protocol.SPREAD]
    assert list(got["seed"]) == [1] * 6 + [3] * 6
    alone = small(first).drop(columns="q_value")
    there = got[got["seed"] == 3].drop(columns=["seed", "q_value"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(there, alone)
    assert_allclose(got["q_value"], stats.false_discovery_control(got["p_value"]))


def test_a_model_against_its_equal_and_constant_scores():
    table = backbone("mine")
    dual = table[table["supervision"] == "dual"]
    twin = dual.assign(supervision="single_kl")
    flat = dual.assign(supervision="single_oa", prob_oa=0.5)
    got = small(pd.concat([dual, twin, flat])).set_index("metric")
    of_kl = got.loc[["kl_auc", "kl_acc", "kl_f1"]]
    assert (of_kl[["value", "low", "high"]] == 0).all(axis=None)
    assert (of_kl["p_value"] == 1).all()
    assert got.loc["oa_auc", "value_reference"] == 0.5
    assert got.loc["oa_acc", ["value", "p_value"]].tolist() == [0, 1]


def test_a_backbone_without_a_supervision_is_named():
    table = backbone("mine", seed=2)
    for supervision in SUPERVISION_NAMES:
        with pytest.raises(InputError, match=f"mine, seed 2: .* {supervision};"):
            small(table[table["supervision"] != supervision])
    gradeless = table["supervision"] == "dual"
    table.loc[gradeless, ["pred_kl", *PROB_KL]] = pd.NA
    with pytest.raises(InputError, match="mine, seed 2: dual has no predicted grades"):
        small(table)
    with pytest.raises(InputError, match="lack the columns oa"):
        small(table.drop(columns="oa"))


# ---- one table against another


def test_same_models_of_two_tables():
    first = pd.concat([backbone("mine"), backbone("resnet3d", spread=1)])
    second = pd.concat([backbone("resnet3d", spread=2), backbone("mine", spread=3)])
    got = protocol.one_against_another(first, second, n_resamples=50)
    assert list(got.columns) == ["supervision", *protocol.COMPARED]
    # OA for three supervisions, KL for two.
    expected = ["single_oa"] * 3 + ["single_kl"] * 6 + ["dual"] * 6
    assert list(got["supervision"]) == expected * 2
    assert list(got["backbone"].unique()) == ["resnet3d", "mine"]
    row = got[(got["metric"] == "oa_auc") & (got["supervision"] == "dual")].iloc[1]
    for column, table in (("value_reference", first), ("value_other", second)):
        chosen = table.query("backbone == 'mine' and supervision == 'dual'")
        assert_allclose(row[column], roc_auc_score(chosen["oa"], chosen["prob_oa"]))
    assert row["value"] == row["value_other"] - row["value_reference"]


def test_single_and_dual_of_two_tables_are_the_released_rows(real, released):
    dual = real["supervision"] == "dual"
    got = protocol.one_against_another(real[~dual], real[dual], n_resamples=300)
    assert list(got["supervision"].unique()) == ["single_oa / dual", "single_kl / dual"]
    of_oa = (got["supervision"] == "single_oa / dual") & got["metric"].str.startswith("oa_")
    of_kl = (got["supervision"] == "single_kl / dual") & got["metric"].str.startswith("kl_")
    got = got[of_oa | of_kl].reset_index(drop=True)
    same = ["backbone", "metric", "value_reference", "value_other", "value", "test"]
    pd.testing.assert_frame_equal(got[same], released[same])
    exact = got["test"] != "paired_bootstrap"
    assert_allclose(got["p_value"][exact], released["p_value"][exact])


def test_seeds_pair_by_number_and_unpaired_models_are_left_out():
    first = pd.concat([backbone("mine", seed=1), backbone("mine", seed=2), backbone("theirs")])
    second = pd.concat([backbone("mine", seed=2, spread=1), backbone("mine", seed=1, spread=1)])
    duals = (table[table["supervision"] == "dual"] for table in (first, second))
    got = protocol.one_against_another(*duals, n_resamples=20)
    assert list(got.columns) == ["seed", *protocol.COMPARED]
    assert list(got["seed"]) == [1] * 6 + [2] * 6 and set(got["backbone"]) == {"mine"}


def test_a_single_model_each_is_compared_whatever_it_is():
    first = backbone("mine", seed=1).query("supervision == 'dual'")
    second = backbone("theirs", seed=4).query("supervision == 'single_oa'")
    got = protocol.one_against_another(first, second, n_resamples=20)
    assert list(got.columns) == protocol.COMPARED and len(got) == 3
    assert set(got["backbone"]) == {"mine / theirs"}


def test_tables_without_counterparts_are_refused():
    first, second = backbone("mine"), backbone("theirs")
    with pytest.raises(InputError, match="mine single_oa 0; .* has a counterpart .*theirs dual 0"):
        protocol.one_against_another(first, second)
    with pytest.raises(InputError, match="counterpart"):  # which of two with which?
        protocol.one_against_another(
            first.query("supervision != 'single_oa'"),
            first.assign(supervision=first["supervision"] + " again"),
        )
    second["case_id"] += 1
    with pytest.raises(InputError, match="different cases"):
        protocol.one_against_another(first, second.assign(backbone="mine"))


# ---- backbone against backbone


def test_backbones_under_each_supervision(real):
    got = protocol.backbones_compared(real, n_resamples=400, seed=1)
    assert list(got.columns) == protocol.BACKBONES_COMPARED and len(got) == 45
    assert got.groupby("supervision", sort=False).size().to_dict() == {
        "single_oa": 9, "single_kl": 18, "dual": 18,
    }  # fmt: skip
    pairs = got[["reference", "backbone"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["resnet3d", "m3t"], ["resnet3d", "nnmamba"], ["m3t", "nnmamba"]]
    assert_allclose(got["value"], got["value_other"] - got["value_reference"], atol=1e-15)
    assert_allclose(got["q_value"], stats.false_discovery_control(got["p_value"]))
    least = got["p_value"].idxmin()
    assert_allclose(got["p_holm"][least], min(1, 45 * got["p_value"][least]))
    assert (got["p_holm"] >= got["q_value"]).all()
    oa_auc = got["metric"] == "oa_auc"
    assert (got["p_delong"].notna() == oa_auc).all() and oa_auc.sum() == 9
    # Two ways to the same question.
    assert_allclose(got["p_delong"][oa_auc], got["p_value"][oa_auc], atol=0.06)
    mcnemar = got["test"].str.startswith("mcnemar")
    assert (mcnemar == (got["metric"] == "oa_acc")).all()


def test_backbones_pair_within_a_seed():
    table = pd.concat([backbone("a", seed=1), backbone("b", seed=1, spread=1), backbone("c")])
    got = protocol.backbones_compared(table, n_resamples=20)
    assert "seed" not in got and set(got["backbone"]) == {"b"} and len(got) == 15
    with pytest.raises(InputError, match="no two backbones .* those of c"):
        protocol.backbones_compared(backbone("c"))


# ---- resamples that lack a grade


def test_too_few_knees_of_a_grade_give_no_p_value_and_a_reason():
    got = small(backbone("mine", n=5), n_resamples=2000).set_index("metric")
    silent = got.loc["kl_auc"]
    # All five grades are drawn in 5! / 5^5 of the resamples.
    assert silent["n_undefined"] / 2000 == pytest.approx(1 - 120 / 3125, abs=0.02)
    assert silent[["low", "high", "p_value", "q_value", "se"]].isna().all()
    assert silent["note"].startswith("cannot say: 96.") and np.isfinite(silent["value"])
    # The knees with OA are 3 of 5, and .6^5 + .4^5 of the resamples have one class alone.
    assert got.loc["oa_auc", "n_undefined"] / 2000 == pytest.approx(0.088, abs=0.025)
    assert np.isnan(got.loc["oa_auc", "p_value"]) and got.loc["oa_auc", "note"]
    others = got.loc[["oa_acc", "oa_f1", "kl_acc", "kl_f1"]]
    assert (others["n_undefined"] == 0).all() and (others["note"] == "").all()
    family = others["p_value"]
    assert_allclose(others["q_value"], stats.false_discovery_control(family))


def test_every_comparison_says_what_is_undefined(real):
    first, second = backbone("a", n=5), backbone("b", n=5, spread=1)
    pairs = protocol.backbones_compared(pd.concat([first, second]), n_resamples=200)
    tables = protocol.one_against_another(first, first, n_resamples=200)
    for got in (pairs, tables):
        rows = got[got["metric"].str.endswith("_auc")]
        assert (rows["n_undefined"] > 0).all() and rows["note"].str.contains("of the resamp").all()
        assert rows[["p_value", "q_value", "low", "high"]].isna().all(axis=None)
    assert pairs.loc[pairs["metric"] == "oa_auc", "p_delong"].isna().all()
    enough = protocol.backbones_compared(real, n_resamples=20)
    assert (enough["note"] == "").all() and (enough["n_undefined"] == 0).all()


# ---- folders


def test_the_published_folder(shared, real, tmp_path):
    folder = shared / "real/published_predictions"
    pd.testing.assert_frame_equal(read_predictions(folder), real)
    (invented(tmp_path) / "m3t_dual_preds.csv").unlink()
    with pytest.raises(InputError, match="lacks m3t_dual_preds.csv.*fetch published"):
        read_predictions(tmp_path)


def write(folder, table, name="predictions.csv"):
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / name, index=False)
    return folder / name


def test_runs_anywhere_below_the_folder_and_their_test_split_alone(tmp_path):
    table = backbone("mine")
    for supervision, rows in table.groupby("supervision"):
        train = rows.assign(split="train", case_id=rows["case_id"] + 1000)
        both = pd.concat([train, rows]).assign(note="another column")
        write(tmp_path / f"mine/{supervision}/seed0", both)
    write(tmp_path, backbone("ignored"), "notes.csv")
    got = read_predictions(tmp_path)
    assert list(got.columns) == COLUMNS and set(got["split"]) == {"test"} and len(got) == 120
    pd.testing.assert_frame_equal(small(got), small(table))


def test_tables_in_the_folder_itself(tmp_path):
    write(tmp_path, backbone("a"), "first.csv")
    write(tmp_path, backbone("b"), "second.csv")
    got = read_predictions(str(tmp_path))
    assert list(got["backbone"].unique()) == ["a", "b"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda t: t.drop(columns=["oa", "pred_kl"]),
            "column oa, pred_kl is missing .*; its columns",
        ),
        (lambda t: t.assign(split="val"), "no row whose split is test"),
        (lambda t: t.iloc[:0], "no row whose split is test"),
        (lambda t: t.assign(prob_oa=["x"] * 3 + [0.5] * 117), "data row 1: prob_oa is not a num"),
        (lambda t: t.assign(kl=[1.5] * 120), "data row 1: kl is not a whole number"),
        (lambda t: t.assign(prob_oa=7), "data row 1: prob_oa is not a probability .case_id 405."),
        (lambda t: t.assign(kl=np.nan), "kl is not one of"),
        (lambda t: t.assign(prob_oa="#N/A"), "data row 1: prob_oa is not a number"),
        # NA is no value, which Single-OA's rows, the first 40, need not have.
        (lambda t: t.assign(prob_kl_1="NA"), "data row 41: prob_kl_1 is not a probability"),
        (lambda t: t.assign(seed="none"), "data row 1: seed is not a whole number"),
        (lambda t: t.assign(backbone="#REF!"), "data row 1: backbone is not a name"),
        (lambda t: t.assign(backbone=""), "data row 1: backbone is missing"),
        (lambda t: t.assign(seed=""), "data row 1: seed is missing"),
        (lambda t: t.assign(case_id=405.5), "data row 1: case_id is not a whole number"),
        (
            lambda t: pd.concat([t, t[["prob_oa"]]], axis=1),
            "column prob_oa is there twice; keep one",
        ),
        (lambda t: t.assign(**{"PROB_OA ": 0.5}), "column prob_oa is there twice"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, spoil, message):
    path = write(tmp_path / "run", spoil(backbone("mine")))
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}.*{message}"):
        read_predictions(tmp_path)


def test_other_separators_and_cut_rows_are_named(tmp_path):
    path = write(tmp_path, backbone("mine"))
    whole = path.read_text()
    path.write_text(whole.replace(",", ";"))
    with pytest.raises(
        InputError, match="csv: its cells are separated by semicolons; save it as CSV"
    ):
        read_predictions(tmp_path)
    path.write_text(whole[: whole.rindex("test")])
    with pytest.raises(InputError, match="row 121 has . cells under 16 columns"):
        read_predictions(tmp_path)


def test_names_stay_names_and_ids_pair_or_are_refused(tmp_path):
    table = backbone("NA")
    for name in ("NA", "18", "nan"):
        write(tmp_path / name, table.assign(backbone=name))
    text = (tmp_path / "18/predictions.csv").read_text().replace(",405,", ",000405,")
    (tmp_path / "18/predictions.csv").write_text(text)
    got = read_predictions(tmp_path)
    assert set(got["backbone"]) == {"NA", "18", "nan"}
    assert got["case_id"].dtype == int and got["case_id"].nunique() == 40
    write(tmp_path / "other", table.assign(case_id="knee " + table["case_id"].astype(str)))
    shutil.rmtree(tmp_path / "NA")
    with pytest.raises(InputError, match=r"case_id knee 405 is text, .* are numbers"):
        read_predictions(tmp_path)


def test_rows_are_counted_in_the_file_train_and_test_alike(tmp_path):
    table = backbone("mine").assign(split=["train", "test"] * 60)
    table["prob_oa"] = table["prob_oa"].astype(object)
    table.loc[7, "prob_oa"] = "much"
    write(tmp_path, table)
    with pytest.raises(InputError, match="data row 8: prob_oa"):
        read_predictions(tmp_path)


def test_folders_that_cannot_be_read(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="holds no predictions; .*fetch published"):
            read_predictions(folder)
    path = tmp_path / "predictions.csv"
    for content, cure in (
        (b"", "name the columns in row 1"),
        (b"\xff\xfe\x00" * 9, "save it as CSV in UTF-8"),
        (b'a,b\n"1,2\n3,4\n1,2,3,4', "close the quotes there, or save it again"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"predictions.csv is not a readable CSV.*: {cure}$"):
            read_predictions(tmp_path)
    path.unlink()
    write(tmp_path / "one", backbone("mine"))
    write(tmp_path / "two", backbone("mine"))
    with pytest.raises(
        InputError, match="one.predictions.csv and .*two.* both hold mine single_oa"
    ):
        read_predictions(tmp_path)


@pytest.mark.parametrize("word", ["NA", "nan", "NULL", "None"])
def test_words_of_r_and_numpy_for_no_value_are_read(tmp_path, word):
    table = pd.concat([model(0), model(0, supervision="single_oa")])
    table.to_csv(tmp_path / "all.csv", index=False, na_rep=word)
    got = read_predictions(tmp_path)
    assert got.loc[got["supervision"] == "single_oa", [*PROB_KL, "pred_kl"]].isna().all(axis=None)
    broken = table.astype(object)
    broken.loc[broken["supervision"] == "dual", "prob_kl_0"] = word
    broken.to_csv(tmp_path / "all.csv", index=False, na_rep="")
    with pytest.raises(InputError, match="data row 1: prob_kl_0 is not a probability"):
        read_predictions(tmp_path)


@pytest.mark.parametrize(
    ("first", "kind"), [(20240101123456789, "int64"), (90000990000000000001, "object")]
)
def test_long_numbers_of_knees_that_differ_are_not_one(tmp_path, first, kind):
    table = model(0)
    table["case_id"] = [str(first + n) for n in range(len(table))]
    table.to_csv(tmp_path / "all.csv", index=False)
    got = read_predictions(tmp_path)
    assert got["case_id"].dtype == kind
    assert got["case_id"].astype(str).tolist() == table["case_id"].tolist()


def test_numbers_of_knees_written_in_two_ways_are_one(tmp_path):
    for seed, written in enumerate(("{:05d}", "{}.0")):
        table = model(0).assign(seed=seed)
        table["case_id"] = table["case_id"].map(written.format)
        table.to_csv(tmp_path / f"{seed}.csv", index=False)
    assert sorted(set(read_predictions(tmp_path)["case_id"])) == [*range(405, 465)]
