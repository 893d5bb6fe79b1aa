"""Radiomics: the download, the reading, models against figures found before, Tables 4 and 5."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from oacore.data.sources import needed_files
from oacore.errors import InputError
from oacore.instruments.published.predictions import read_published
from oacore.instruments.radiomics import table as radiomics
from oacore.instruments.radiomics.benchmark import external_benchmark, knees_behind
from oacore.instruments.radiomics.figures import beside_each_other, feature_correlations
from oacore.instruments.radiomics.models import (
    GRID,
    Settings,
    constant_predictions,
    control_predictions,
    cross_validated,
    linear_predictions,
    network_predictions,
    score_intervals,
    tune,
)
from oacore.instruments.radiomics.table import REGIONS, feature_columns, read_radiomics
from oacore.metrics.compare import compare_supervisions
from oacore.metrics.predictions import PROB_KL, check_one_model
from oacore.metrics.resampling import resample_counts
from oacore.metrics.scores import METRICS, model_metrics, table1
from workflow import tune_radiomics

pytestmark = pytest.mark.usefixtures("loopback_only")
FILES = needed_files("radiomics")
QUICK = Settings(hidden=8, epochs=2)


@pytest.fixture(scope="module")
def knees(shared):
    return read_radiomics(shared / "real/radiomics")


@pytest.fixture(scope="module")
def splits(knees):
    return tuple(knees[knees["split"] == split].reset_index(drop=True) for split in radiomics.KNEES)


@pytest.fixture
def folder(shared, tmp_path):
    """A copy of the four files that a test may spoil."""
    for name in FILES:
        shutil.copyfile(shared / "real/radiomics" / name, tmp_path / name)
    return tmp_path


def test_the_client_needs_no_torch():
    code = "import sys, oacore.instruments.radiomics.table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Reading


def test_the_graded_knees_are_those_of_the_published_predictions(splits, shared):
    train, test = splits
    assert np.bincount(train["kl"]).tolist() == [82, 46, 86, 111, 58]
    assert np.bincount(test["kl"]).tolist() == [21, 12, 22, 28, 15]
    theirs = read_published(shared / "real/published_predictions").drop_duplicates("case_id")
    assert test["case_id"].tolist() == theirs["case_id"].tolist()
    assert test["kl"].tolist() == theirs["kl"].tolist()
    assert test["oa"].tolist() == theirs["oa"].tolist()


def test_each_feature_is_the_number_in_the_file(knees, shared):
    assert len(feature_columns(knees)) == 535
    assert [len(feature_columns(knees, region)) for region in REGIONS.values()] == [107] * 5
    assert list(knees)[:7] == ["case_id", "split", "kl", "oa", "male", "age", "bmi"]
    assert list(knees)[7:] == feature_columns(knees)
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        raw = pd.read_csv(shared / f"real/radiomics/radiomics_{split}.csv", dtype=str)
        raw = raw.set_index(["case_id", "roi_name"])
        mine = knees[knees["split"] == split].set_index("case_id")
        for _ in range(50):
            case, roi = rng.choice(mine.index), rng.choice(list(REGIONS))
            name = rng.choice(raw.columns)
            text = raw.loc[(f"oaizib_{case:03d}", roi), name]
            here = mine.loc[case, f"{REGIONS[roi]} {name.removeprefix('original_')}"]
            assert here == pytest.approx(float(text), rel=1e-12)
    subjects = pd.read_excel(shared / "real/radiomics/subInfo_test.xlsx").set_index("CMT-ID")
    subjects = subjects.loc[knees.loc[knees["split"] == "test", "case_id"]]
    mine = knees[knees["split"] == "test"]
    assert mine["age"].tolist() == subjects["Age"].tolist()
    assert mine["bmi"].tolist() == subjects["BMI"].tolist()
    assert mine["male"].tolist() == (subjects["Gender"] == 1).astype(int).tolist()


def test_regions_are_told_by_their_sizes(knees):
    cm3 = knees[radiomics.VOLUMES].mean() / 1000
    # Means over all 507 knees by the facts of the phantom.
    assert cm3["femoral cartilage shape_VoxelVolume"] == pytest.approx(15.1, abs=0.3)
    assert cm3["femur shape_VoxelVolume"] > cm3["tibia shape_VoxelVolume"] > 100
    assert cm3["medial tibial cartilage shape_VoxelVolume"] == pytest.approx(2.09, abs=0.05)
    assert cm3["lateral tibial cartilage shape_VoxelVolume"] == pytest.approx(2.40, abs=0.05)


def test_correlations_with_the_grade(knees):
    table = radiomics.grade_correlations(knees)
    assert len(table) == 535 and table["rho"].abs().is_monotonic_decreasing
    rho = table.set_index(["region", "family", "feature"])["rho"]
    # Found before: bone sphericity follows the grade.
    assert rho["femur", "shape", "Sphericity"] == pytest.approx(-0.47, abs=0.005)
    assert rho["tibia", "shape", "Sphericity"] == pytest.approx(-0.55, abs=0.005)
    for key in rho.index[::60]:
        one = knees[f"{key[0]} {key[1]}_{key[2]}"]
        assert rho[key] == pytest.approx(spearmanr(one, knees["kl"]).statistic, abs=1e-12)


def test_identifiers_are_not_read(folder):
    """A table whose identifying columns are gone altogether reads the same."""
    whole = read_radiomics(folder)
    for split in radiomics.KNEES:
        path = folder / f"subInfo_{split}.xlsx"
        columns = list(radiomics.COLUMNS)
        assert not {"SubjectID", "Path", "MRBarCode"} & set(columns)
        pd.read_excel(path)[columns].to_excel(path, index=False)
    pd.testing.assert_frame_equal(read_radiomics(folder), whole)


def test_missing_files_are_named_with_the_cure(tmp_path):
    with pytest.raises(InputError, match="subInfo_test.xlsx: get .* `oacore fetch radiomics`"):
        read_radiomics(tmp_path)


def spoil_csv(change):
    def spoil(folder):
        path = folder / "radiomics_test.csv"
        change(pd.read_csv(path)).to_csv(path, index=False)

    return spoil


def spoil_xlsx(change):
    def spoil(folder):
        path = folder / "subInfo_test.xlsx"
        change(pd.read_excel(path)).to_excel(path, index=False)

    return spoil


def put(row, column, value):
    def change(table):
        table[column] = table[column].astype(object)
        table.loc[row, column] = value
        return table

    return change


MEAN = "original_firstorder_Mean"
FAULTS = {
    "a knee too few": (spoil_csv(lambda t: t.iloc[5:]), "510 rows of 102 knees instead of 5"),
    "a region twice": (spoil_csv(put(1, "roi_name", "roi_1")), "of each of 103 knees"),
    "an unknown region": (spoil_csv(put(1, "roi_name", "roi_6")), "of each of 103 knees"),
    "a case without a number": (spoil_csv(put(1, "case_id", "knee")), "of each of 103 knees"),
    "a feature too few": (spoil_csv(lambda t: t.drop(columns=MEAN)), r"107 features \(106\)"),
    "no region": (spoil_csv(lambda t: t.drop(columns="roi_name")), "the column roi_name"),
    "not finite": (spoil_csv(put(2, MEAN, np.inf)), f"data row 3: {MEAN} is not a number"),
    "not a number": (spoil_csv(put(2, MEAN, "high")), f"data row 3: {MEAN} is not a number"),
    "empty": (lambda f: (f / "radiomics_test.csv").write_text(""), "not a readable CSV"),
    "no table": (lambda f: (f / "subInfo_test.xlsx").write_text("x"), "not OAIZIB-CM's subject"),
    "no age": (spoil_xlsx(lambda t: t.drop(columns="Age")), "not OAIZIB-CM's subject table"),
    "grade 7": (spoil_xlsx(put(3, "KLGrade", 7)), "data row 4: KLGrade is not a grade"),
    "grade in words": (spoil_xlsx(put(3, "KLGrade", "two")), "data row 4: KLGrade is not"),
    "a lost grade": (spoil_xlsx(put(3, "KLGrade", "#N/A")), "data row 4: KLGrade is not a grade"),
    "a lost age": (spoil_xlsx(put(3, "Age", "#REF!")), "data row 4: Age is not a number"),
    "grades twice": (spoil_xlsx(lambda t: t.assign(**{"klgrade": 1})), "KLGrade is there twice"),
    "no sex": (spoil_xlsx(put(3, "Gender", 0)), "data row 4: Gender is not 1"),
    "no case": (spoil_xlsx(put(3, "CMT-ID", None)), "data row 4: CMT-ID is not a whole number"),
    "another knee": (spoil_xlsx(put(3, "CMT-ID", 999)), "its knees are not those of radiomics_te"),
    "a knee twice": (spoil_xlsx(lambda t: pd.concat([t, t[:1]])), "e.g. (a row twice)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_file_is_named_with_the_cure(folder, fault):
    spoil, says = FAULTS[fault]
    spoil(folder)
    with pytest.raises(InputError, match="_test") as error:
        read_radiomics(folder)
    assert says.replace(r"\(", "(").replace(r"\)", ")") in str(error.value)
    assert "oacore fetch radiomics" in str(error.value)


# Models


def test_logistic_regression_gives_the_figures_found_before(splits):
    train, test = splits
    predictions = linear_predictions(train, test, feature_columns(train), "logistic")
    for _, one in predictions.groupby("supervision"):
        check_one_model(one)
    scores = table1(predictions).set_index("supervision").round(3)
    assert scores.loc["single_kl", ["kl_acc", "kl_f1", "kl_auc"]].tolist() == [0.510, 0.489, 0.785]
    assert scores.loc["single_oa", "oa_auc"] == 0.830
    # OA's probability from the grades is another model's answer.
    assert scores.loc["single_kl", "oa_auc"] == 0.796
    kl = predictions[predictions["supervision"] == "single_kl"]
    prob = kl[PROB_KL].to_numpy()
    np.testing.assert_allclose(kl["prob_oa_from_kl"], prob[:, 2] + prob[:, 3] + prob[:, 4])


def test_a_missing_value_takes_the_median_and_no_test_knee_shifts_the_scale(splits):
    train, test = splits
    assert train["bmi"].isna().sum() == 1
    filled = train.assign(bmi=train["bmi"].fillna(train["bmi"].median()))
    first = linear_predictions(train, test, ["age", "bmi"], "person")
    pd.testing.assert_frame_equal(first, linear_predictions(filled, test, ["age", "bmi"], "person"))
    few = linear_predictions(train, test.head(7), ["age", "bmi"], "person")
    whole = first[first["case_id"].isin(test["case_id"].head(7))]
    np.testing.assert_allclose(few["prob_oa"], whole["prob_oa"], rtol=1e-12)


def test_a_constant_guess(splits):
    train, test = splits
    predictions = constant_predictions(train, test)
    scores = table1(predictions).set_index("supervision")
    guess = DummyClassifier(strategy="most_frequent").fit(train[["kl"]], train["kl"])
    assert scores.loc["single_kl", "kl_acc"] == accuracy_score(test["kl"], guess.predict(test))
    assert scores.loc["single_kl", "kl_auc"] == scores.loc["single_oa", "oa_auc"] == 0.5
    assert scores.loc["single_oa", "oa_f1"] == f1_score(test["oa"], np.ones(98))


def test_controls_order_as_found_before(splits):
    scores = table1(control_predictions(*splits))
    auc = scores[scores["supervision"] == "single_kl"].set_index("backbone")["kl_auc"]
    assert list(auc.index) == ["constant", "age, sex, BMI", "five volumes", *REGIONS.values(),
                               "all features"]  # fmt: skip
    assert auc["constant"] < auc["age, sex, BMI"] < auc["five volumes"] < auc["all features"]


def test_the_network_learns_and_a_seed_fixes_it(splits):
    train, test = splits
    state = torch.random.get_rng_state()
    predictions = network_predictions(train, test, [3])
    assert torch.equal(torch.random.get_rng_state(), state)
    pd.testing.assert_frame_equal(network_predictions(train, test, [3]), predictions)
    assert not network_predictions(train, test, [4])["prob_oa"].equals(predictions["prob_oa"])
    for _, one in predictions.groupby("supervision"):
        check_one_model(one)
    scores = table1(predictions).set_index("supervision")
    # Two standard errors of an AUC of .83 over these knees are about .08.
    assert scores.loc[["single_oa", "dual"], "oa_auc"].gt(0.75).all()
    assert scores.loc[["single_kl", "dual"], "kl_auc"].gt(0.70).all()
    assert scores.loc["single_oa", list(METRICS)[3:]].isna().all()


def test_labels_alone_teach_it(splits):
    """With the grades shuffled among the training knees nothing is left to learn."""
    train, test = splits
    rng = np.random.default_rng(0)
    aucs = []
    for seed in range(4):
        order = rng.permutation(len(train))
        shuffled = train.assign(kl=train["kl"].to_numpy()[order], oa=train["oa"].to_numpy()[order])
        scores = table1(network_predictions(shuffled, test, [seed], Settings(epochs=5)))
        aucs += scores["oa_auc"].tolist()
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.12)


def test_it_learns_what_no_linear_model_can(knees):
    """Both ends of one feature are OA, its middle is not."""
    x = np.random.default_rng(0).normal(size=len(knees))
    made = knees[["case_id", "split"]].assign(oa=np.abs(x) > 0.67).astype({"oa": int})
    made["kl"] = 4 * made["oa"]
    made["femur shape_Sphericity"] = x
    train, test = (made[made["split"] == split] for split in ("train", "test"))
    plain = Settings(dropout=0, weight_decay=0, epochs=40)
    scores = table1(network_predictions(train, test, [0], plain))
    assert scores["oa_auc"].gt(0.9).all()
    columns = feature_columns(train)
    linear = table1(linear_predictions(train, test, columns, "linear"))
    assert linear["oa_auc"].between(0.2, 0.8).all()


def test_supervisions_share_weights_and_order_and_differ_in_their_loss(splits):
    """With no step taken the heads of one seed agree; with steps they part."""
    train, test = splits
    untrained = network_predictions(train, test, [0], Settings(epochs=0))
    by = {name: one.reset_index(drop=True) for name, one in untrained.groupby("supervision")}
    pd.testing.assert_series_equal(by["single_oa"]["prob_oa"], by["dual"]["prob_oa"])
    pd.testing.assert_frame_equal(by["single_kl"][PROB_KL], by["dual"][PROB_KL])
    trained = network_predictions(train, test, [0], QUICK)
    by = {name: one.reset_index(drop=True) for name, one in trained.groupby("supervision")}
    assert not np.allclose(by["single_oa"]["prob_oa"], by["dual"]["prob_oa"])
    # The OA head of Dual is a head of its own, not the sum over grades.
    assert not np.allclose(by["dual"]["prob_oa"], by["dual"]["prob_oa_from_kl"])
    assert np.allclose(by["single_kl"]["prob_oa"], by["single_kl"]["prob_oa_from_kl"])


def test_the_comparison_of_supervisions_takes_these_predictions(splits):
    predictions = network_predictions(*splits, [0, 1], QUICK)
    effects = compare_supervisions(predictions, n_resamples=50, seed=0, over_seeds=True)
    assert effects["seeds"].eq(2).all() and len(effects) == 6


def test_no_seed_is_refused(splits):
    with pytest.raises(InputError, match="at least one"):
        network_predictions(*splits, [])


def test_folds_share_no_knee_and_cover_all(splits):
    train, _ = splits
    seen = []

    def predict(kept, held):
        assert not set(kept["case_id"]) & set(held["case_id"])
        assert held["kl"].value_counts().min() >= 9  # 46 knees of KL 1 in 5 folds
        seen.extend(held["case_id"])
        return constant_predictions(kept, held)

    scores = cross_validated(train, predict, seed=0)
    assert sorted(seen) == train["case_id"].tolist()
    assert sorted(set(scores["fold"])) == [0, 1, 2, 3, 4]


def test_tuning_ranks_settings_by_the_training_knees(splits):
    assert Settings() in GRID
    train, _ = splits
    table = tune(train, [Settings(epochs=0), Settings(epochs=4)], seed=0)
    assert table["epochs"].tolist() == [4, 0] and table["score"].is_monotonic_decreasing
    assert table["score"][1] == pytest.approx(0.5, abs=0.15)


class Network(BaseEstimator):
    """The network as scikit-learn searches it: prediction needs the training rows."""

    def __init__(self, settings=None):
        self.settings = settings

    def fit(self, rows, y=None):
        self.rows_ = rows
        return self

    def score(self, held, y=None):
        found = network_predictions(self.rows_, held, [0], self.settings)
        by = {name: of.reset_index(drop=True) for name, of in found.groupby("supervision")}
        scores = [roc_auc_score(by[name]["oa"], by[name]["prob_oa"]) for name in ONE_EACH["oa"]]
        scores += [
            roc_auc_score(by[name]["kl"], by[name][PROB_KL].astype(float), multi_class="ovr")
            for name in ONE_EACH["kl"]
        ]
        return np.mean(scores)


ONE_EACH = {"oa": ("single_oa", "dual"), "kl": ("single_kl", "dual")}


def test_tuning_chooses_as_scikit_learns_grid_search_does():
    rng = np.random.default_rng(0)
    kl = rng.permutation(np.arange(60) % 5)
    rows = pd.DataFrame({"case_id": np.arange(60), "split": "train", "kl": kl, "oa": kl >= 2})
    for region in REGIONS.values():
        rows[f"{region} shape_Sphericity"] = 0.4 * kl + rng.normal(size=60)
    rows["oa"] = rows["oa"].astype(int)
    grid = [Settings(4, 0.0, 0.01, epochs) for epochs in (0, 3, 30)]
    table = tune(rows, grid, seed=0)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    search = GridSearchCV(Network(), {"settings": grid}, cv=list(folds.split(rows, kl)))
    search.fit(rows)
    assert Settings(**table.drop(columns="score").iloc[0]) == search.best_params_["settings"]
    theirs = np.sort(search.cv_results_["mean_test_score"])[::-1]
    np.testing.assert_allclose(table["score"], theirs, atol=1e-12)
    assert theirs[0] > theirs[-1] + 0.1, "the settings hardly differ"


def test_the_search_is_written_as_a_table(knees, tmp_path, monkeypatch, capsys):
    given = knees.groupby(["split", "kl"]).head(6)
    monkeypatch.setattr(tune_radiomics, "read_radiomics", lambda folder: given)
    monkeypatch.setattr(tune_radiomics, "GRID", [Settings(epochs=0), Settings()])
    out = tmp_path / "new/tuned.csv"
    monkeypatch.setattr("sys.argv", ["tune_radiomics", "folder", str(out)])
    assert tune_radiomics.main() == 0
    table = pd.read_csv(out)
    assert list(table) == [*vars(Settings()), "score"] and len(table) == 2
    assert "2 settings; chapter 11's is number 1" in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.setattr("sys.argv", ["tune_radiomics", str(tmp_path), str(out)])
    assert tune_radiomics.main() == 2
    assert "oacore fetch radiomics" in capsys.readouterr().err


def test_intervals_are_the_bootstraps(splits):
    train, test = splits
    one = linear_predictions(train, test, ["age", "bmi"], "person")
    table = score_intervals(one, n_resamples=400, seed=5)
    kl = one[one["supervision"] == "single_kl"]
    counts = resample_counts(98, 400, np.random.default_rng(5))
    accuracy = model_metrics(kl, counts)["kl_acc"]
    row = table[(table["supervision"] == "single_kl") & (table["metric"] == "kl_acc")].iloc[0]
    assert row["value"] == accuracy_score(kl["kl"], kl["pred_kl"].astype(int))
    assert [row["low"], row["high"]] == pytest.approx(list(np.percentile(accuracy, [2.5, 97.5])))
    assert len(table) == 4 + 7
    macro = f1_score(kl["oa"], kl["pred_oa"], average="macro")
    table = table.set_index(["supervision", "metric"])["value"]
    assert table["single_kl", "oa_macro_f1"] == pytest.approx(macro, abs=1e-12)
    # Several seeds: the mean of theirs, and an interval that knows they differ.
    spoilt = kl.assign(seed=1, pred_kl=4)
    two = score_intervals(pd.concat([kl, spoilt]), n_resamples=400, seed=5).set_index("metric")
    mean = (row["value"] + 15 / 98) / 2
    assert two.loc["kl_acc", "value"] == pytest.approx(mean) and two.loc["kl_acc", "seeds"] == 2
    assert two.loc["kl_acc", "low"] < mean - 0.08 and two.loc["kl_acc", "high"] > mean + 0.08


def test_macro_auc_is_scikit_learns(splits):
    train, test = splits
    one = linear_predictions(train, test, radiomics.VOLUMES, "volumes").query("prob_kl_0 >= 0")
    expected = roc_auc_score(one["kl"], one[PROB_KL], multi_class="ovr")
    assert table1(one)["kl_auc"][0] == pytest.approx(expected, abs=1e-12)


# Tables 4 and 5


def test_tables_4_and_5_are_as_the_paper_prints_them(shared):
    text = (shared / "papers/paper_2605.00718_hierarchical_labels.txt").read_text()
    appendix = text[text.rindex("Table 4: Contextual benchmark") :]
    table = external_benchmark()
    parts = dict(zip(("Table 4", "Table 5"), appendix.split("Table 5: Contextual"), strict=True))
    assert len(table) == 3 * (5 + 9) + 3 * (5 + 6)
    assert table.groupby("source")["sd"].agg(lambda sd: sd.notna().all()).to_dict() == {
        "Chen et al.": True,
        "Zhang": False,
    }
    for (name, source, model), rows in table.groupby(["table", "source", "model"]):
        words = {"Top-k selection (k=30)": "Top-kk selection (k=30k=30)",
                 "Feature-set retrieval (k=25)": "Feature-set retrieval (k=25k=25)"}  # fmt: skip
        line = next(line for line in parts[name].splitlines() if words.get(model, model) in line)
        if source == "Chen et al.":
            found = re.findall(r"(0\.\d\d)±0\.\d\d(?:0\.\d\d)\\pm (0\.\d\d)", line)
            assert [(f"{row.value:.2f}", f"{row.sd:.2f}") for row in rows.itertuples()] == found
        else:
            found = re.findall(r"(0\.\d{4})(?=0\.|\\)", line)
            assert [f"{value:.4f}" for value in rows["value"]] == found


def test_knees_behind_a_standard_deviation():
    rng = np.random.default_rng(0)
    shares = rng.binomial(40, 0.7, size=200_000) / 40
    behind = knees_behind(pd.Series([0.7]), pd.Series([shares.std()]))
    assert behind[0] == pytest.approx(40, rel=0.02)


# Figures


def test_the_correlation_figure_shows_every_feature(splits):
    table = radiomics.grade_correlations(splits[0])
    fig = feature_correlations(table)
    drawn = {trace.name: np.asarray(trace.x, float) for trace in fig.data}
    assert {name: len(x) for name, x in drawn.items()} == {
        "shape": 5 * 14,
        "intensity": 5 * 18,
        "texture": 5 * 75,
    }
    np.testing.assert_allclose(np.sort(np.concatenate([*drawn.values()])), np.sort(table["rho"]))
    assert drawn["shape"].min() == pytest.approx(table["rho"].min())  # the tibia's sphericity
    assert fig.data[0].hovertemplate.count("feature=")


def test_the_benchmark_figure_shows_one_score_at_a_time():
    table = external_benchmark()
    table = table.assign(low=table["value"] - table["sd"], high=table["value"] + table["sd"])
    fig = beside_each_other(table)
    menu = fig.layout.updatemenus[0]
    metrics = list(dict.fromkeys(table["metric"]))
    assert len(menu.buttons) == len(metrics) == 7
    for metric, button in zip(metrics, menu.buttons, strict=True):
        change, axis = button.args
        rows = table[table["metric"] == metric]
        shown = [fig.data[i] for i, on in enumerate(change["visible"]) if on]
        points = sorted(p for one in shown for p in zip(one.y, one.x, one.text, strict=True))
        assert [x for _, x, _ in points] == rows["value"].tolist()
        assert [name for *_, name in points] == rows["model"].tolist()
        assert [word.replace("<br>", " ") for word in axis["yaxis.ticktext"]] == list(rows["model"])
    first = [one for one in fig.data if one.visible]
    assert {one.meta for one in first} == {metrics[0]}
    assert tuple(fig.layout.yaxis.ticktext) == tuple(menu.buttons[0].args[1]["yaxis.ticktext"])
    # Bars only where a spread is printed.
    bars = {one.name: np.isfinite(np.asarray(one.error_x.array, float)).all() for one in first}
    assert bars == {"Zhang": False, "Chen et al.": True}
    # The two F1 of OA are told apart.
    assert len({button.label for button in menu.buttons}) == 7
