"""The phantom, measured back from its own tables and voxels, against the facts it is built to.

Reference figures are of OAIZIB-CM and of the Osteoarthritis Initiative's readings.
"""

import hashlib

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare, spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from sklearn.model_selection import cross_val_predict

from oacore.cohort import read_cohort
from oacore.errors import InputError
from oacore.hierarchy import agreement, reader_table
from oacore.knee import FIELD_OF_VIEW, MARGINS, draw_knee
from oacore.phantom import noisy_readings, read_truth, sample_subjects, write_phantom

SMALL = {"train": (2, 1, 1, 1, 1), "test": (1, 0, 1, 0, 1), "ungraded": (1, 1)}
SHAPE = (24, 32, 40)
FINE = (56, 140, 140)  # voxels of 2 x 1 x 1 mm
VOXEL = np.array(FIELD_OF_VIEW) / FINE
PLATES = {"femur_medial": (-1, 2), "femur_lateral": (1, 2), "tibia_medial": (-1, 4)}
PLATES["tibia_lateral"] = (1, 5)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A small cohort on disk, written in this process."""
    folder = tmp_path_factory.mktemp("phantom") / "one"
    write_phantom(folder, **SMALL, shape=SHAPE, seed=3, workers=1)
    return folder


@pytest.fixture(scope="module")
def subjects():
    """Many subjects, tables only."""
    return sample_subjects((500,) * 5, (0,) * 5, ungraded=(0, 0), seed=5, reader_noise=0)


def measure(subject, seed):
    """Thickness, joint space, volumes, signal and widths, from the voxels of one knee."""
    image, labels = draw_knee(subject, FINE, seed)
    found = {"kl": subject["kl_true"], "diseased": subject["diseased"]}
    for label in range(1, 6):
        found[f"signal_{label}"] = np.median(image[labels == label])
        found[f"cm3_{label}"] = (labels == label).sum() * VOXEL.prod() / 1000
    tibia, femur = labels == 3, labels == 1
    found["width_femur"] = np.ptp(np.nonzero(femur)[0]) * VOXEL[0]
    found["width_tibia"] = np.ptp(np.nonzero(tibia)[0]) * VOXEL[0]
    top = FINE[2] - tibia[:, :, ::-1].argmax(2)
    gap = np.where(tibia.any(2) & femur.any(2), (femur.argmax(2) - top) * VOXEL[2], np.inf)
    for name, (sign, label) in PLATES.items():
        side = "medial" if sign < 0 else "lateral"
        x, y, _ = np.nonzero(labels == (4 if sign < 0 else 5))
        column = round((x.min() + x.max()) / 2)
        contact = slice(int(y.mean() - 8 / VOXEL[1]), int(y.mean() + 18 / VOXEL[1]))
        found[f"joint_space_{side}_mm"] = gap[column, contact].min()
        rows = slice(int(y.mean() - 3 / VOXEL[1]), int(y.mean() + 9 / VOXEL[1]))
        counts = (labels[column, rows, : FINE[2]] == label) & (
            np.abs(np.arange(FINE[2]) - top[column, rows, None]) * VOXEL[2] < 14
        )
        found[f"thickness_{name}_mm"] = counts.sum(1).mean() * VOXEL[2]
    return found


@pytest.fixture(scope="module")
def measured(subjects):
    """What 10 knees of each true grade measure, beside their truth."""
    some = subjects.groupby("kl_true").head(10)
    found = [measure(row, [5, row["case_id"]]) for row in some.to_dict("records")]
    return pd.DataFrame(found), some.reset_index(drop=True)


def test_layout_is_that_of_oaizib_cm(cohort):
    names = {str(p.relative_to(cohort)) for p in cohort.rglob("*") if p.is_file()}
    train = {f"imagesTr/oaizib_{i:03d}_0000.nii.gz" for i in range(1, 8)}
    test = {f"labelsTs/oaizib_{i:03d}.nii.gz" for i in range(8, 12)}
    tables = {"subInfo_train.xlsx", "subInfo_test.xlsx", "truth.csv", "README.txt"}
    assert train | test | tables <= names
    assert len(names) == 2 * 11 + 4
    table = pd.read_excel(cohort / "subInfo_train.xlsx")
    columns = "SubjectID,CMT-ID,Path,MRBarCode,KneeSide,KLGrade,Gender,Age,BMI"
    assert ",".join(table.columns) == columns
    assert table["KLGrade"].tolist()[:6] == [0, 0, 1, 2, 3, 4]
    assert table["KLGrade"].isna().tolist() == [False] * 6 + [True]
    assert (table["KneeSide"] == 1).all()
    assert (table["SubjectID"] > 9_000_000).all()
    assert not cohort.with_name("one.part").exists()


def test_cohort_reader_agrees_with_truth(cohort):
    cases, truth = read_cohort(cohort), read_truth(cohort)
    assert len(cases) == len(truth) == 11
    merged = cases.merge(truth, on="case_id", suffixes=("", "_truth"))
    for column in ("split", "sex", "age", "bmi"):
        assert (merged[column] == merged[f"{column}_truth"]).all()
    assert merged["kl"].astype("Float64").equals(merged["kl_truth"].astype("Float64"))


def test_files_have_the_field_of_view_and_the_five_labels(cohort):
    image = nib.load(cohort / "imagesTr/oaizib_001_0000.nii.gz")
    labels = nib.load(cohort / "labelsTr/oaizib_001.nii.gz")
    assert image.shape == labels.shape == SHAPE
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    np.testing.assert_allclose(image.affine, labels.affine)
    np.testing.assert_allclose(image.header.get_zooms(), np.array(FIELD_OF_VIEW) / SHAPE, rtol=1e-6)
    assert image.get_data_dtype() == np.int16
    assert labels.get_data_dtype() == np.uint8
    assert set(np.unique(labels.dataobj)) == {0, 1, 2, 3, 4, 5}
    assert np.asarray(image.dataobj).min() >= 0
    # The released voxel: 0.7 x 0.3646 x 0.3646 mm at 160 x 384 x 384.
    np.testing.assert_allclose(np.prod(np.array(FIELD_OF_VIEW) / (160, 384, 384)), 0.09304, 1e-3)


def test_same_seed_same_bytes_whatever_the_workers(cohort, tmp_path):
    write_phantom(tmp_path / "two", **SMALL, shape=SHAPE, seed=3, workers=2)
    for path in sorted(cohort.rglob("*.nii.gz")):
        other = tmp_path / "two" / path.relative_to(cohort)
        assert hashlib.sha256(path.read_bytes()).digest() == (
            hashlib.sha256(other.read_bytes()).digest()
        )
    pd.testing.assert_frame_equal(read_truth(cohort), read_truth(tmp_path / "two"))


def test_another_seed_or_case_is_another_knee(subjects):
    subject = subjects.iloc[0].to_dict()
    image, labels = draw_knee(subject, SHAPE, [0, 1])
    other, other_labels = draw_knee(subject, SHAPE, [0, 2])
    assert (image != other).mean() > 0.5
    assert 0 < (labels != other_labels).mean() < 0.3


def test_labels_have_exactly_the_counts_asked_for():
    truth = sample_subjects(reader_noise=0.5, seed=2)
    counts = truth.groupby("split")["kl"].value_counts().unstack()
    assert counts.loc["train"].tolist() == [82, 46, 86, 111, 58]
    assert counts.loc["test"].tolist() == [21, 12, 22, 28, 15]
    assert truth["case_id"].tolist() == list(range(1, 508))
    assert truth.loc[truth["kl"].isna(), "case_id"].tolist() == [
        *range(384, 405),
        *range(503, 508),
    ]
    graded = truth.dropna(subset="kl")
    assert graded.groupby("split")["kl"].apply(lambda kl: kl.is_monotonic_increasing).all()


def test_without_reader_noise_labels_are_the_truth(subjects):
    assert (subjects["kl"] == subjects["kl_true"]).all()
    assert (subjects["reader2"] == subjects["kl_true"]).all()
    assert (subjects["severity"].round().clip(0, 4) == subjects["kl_true"]).all()


def test_reader_tables_span_identity_to_measured():
    np.testing.assert_array_equal(noisy_readings(0), np.eye(5))
    np.testing.assert_allclose(noisy_readings(1), reader_table())
    np.testing.assert_allclose(noisy_readings(0.35).sum(1), 1)


def test_readings_agree_as_the_table_says():
    counts = (4000,) * 5
    truth = sample_subjects(counts, (0,) * 5, ungraded=(0, 0), seed=1, reader_noise=0.35)
    shares = truth["kl_true"].value_counts(normalize=True).sort_index().to_numpy()
    said = agreement(noisy_readings(0.35), shares)
    kl = truth["kl"].astype(int)
    # Binomial standard error of a share over 20,000 knees is below .004.
    for reading in (kl, truth["reader2"]):
        assert (reading == truth["kl_true"]).mean() == pytest.approx(said["exact"], abs=0.012)
        kappa = cohen_kappa_score(truth["kl_true"], reading, weights="quadratic")
        assert kappa == pytest.approx(said["kappa_quadratic"], abs=0.012)
        coarse = ((reading >= 2) == (truth["kl_true"] >= 2)).mean()
        assert coarse == pytest.approx(said["oa"], abs=0.012)
    # Row by row, the second readings follow the table.
    for grade, rows in truth.groupby("kl_true"):
        expected = noisy_readings(0.35)[grade] * len(rows)
        seen = np.bincount(rows["reader2"], minlength=5)
        likely = expected > 5
        assert np.abs(seen - expected)[~likely].max(initial=0) < 20
        rescaled = expected[likely] / expected[likely].sum() * seen[likely].sum()
        assert chisquare(seen[likely], rescaled).pvalue > 1e-4


def test_lateral_share_and_demography(subjects):
    lateral = subjects["diseased"].eq("lateral").groupby(subjects["kl_true"]).mean()
    # Four standard errors over 500 knees are .08.
    assert lateral[3] == pytest.approx(0.26, abs=0.08)
    assert lateral[4] == pytest.approx(0.32, abs=0.08)
    assert subjects["age"].mean() == pytest.approx(61.8, abs=0.8)
    assert subjects["age"].between(45, 79).all()
    assert subjects["bmi"].between(18, 46).all()
    # Nothing about the person knows the grade.
    for column in ("age", "bmi", "size"):
        assert abs(subjects[column].corr(subjects["kl_true"], method="spearman")) < 0.08


def test_drawn_thickness_and_joint_space_follow_the_facts(subjects):
    means = subjects.groupby("kl_true").mean(numeric_only=True)
    # OAIZIB-CM by KL 0-4; .3 mm covers the selected cohort the figures come from.
    for column, facts in {
        "thickness_femur_medial_mm": (2.22, 2.09, 2.10, 1.48, 0.91),
        "thickness_tibia_medial_mm": (2.23, 2.21, 2.31, 1.93, 1.38),
        "thickness_tibia_lateral_mm": (2.91, 2.91, 2.71, 2.48, 2.24),
    }.items():
        np.testing.assert_allclose(means[column], facts, atol=0.3)
    narrow = subjects[["joint_space_medial_mm", "joint_space_lateral_mm"]].min(axis=1)
    by_kl = narrow.groupby(subjects["kl_true"]).mean()
    # Standing radiographs, which press the joint narrower than a knee lying in a scanner.
    np.testing.assert_allclose(by_kl, (4.61, 4.57, 4.35, 2.84, 1.23), atol=0.75)
    osteophytes = subjects.filter(like="osteophyte").mean(axis=1)
    assert osteophytes.groupby(subjects["kl_true"]).mean().is_monotonic_increasing


def test_voxels_show_the_thickness_and_joint_space_drawn(measured):
    found, truth = measured
    for column in found.columns[found.columns.str.match("thickness|joint_space")]:
        # A millimetre voxel, and a pose that tilts the joint by a few degrees.
        assert (found[column] - truth[column]).abs().mean() < 0.5, column
        assert abs((found[column] - truth[column]).mean()) < 0.25, column
        assert found[column].corr(truth[column]) > 0.85, column


def test_early_disease_leaves_the_cartilage_alone(subjects):
    # The same knees drawn twice, once with the osteophytes and severity of KL 2: natural
    # variation (12% of the thickness) cancels, which a comparison of other knees would not.
    changes = []
    for row in subjects[subjects["kl_true"] == 0].head(6).to_dict("records"):
        later = {**row, "severity": row["severity"] + 2}
        later |= {f"osteophyte_{name}_mm": 3.4 for name in MARGINS}
        before, after = (measure(subject, [7, row["case_id"]]) for subject in (row, later))
        changes.append(
            {key: after[key] - before[key] for key in before if key not in ("kl", "diseased")}
        )
    change = pd.DataFrame(changes).mean()
    assert change.filter(like="thickness").abs().max() < 0.1
    assert change.filter(like="joint_space").abs().max() < 0.5  # half a voxel of 1 mm
    assert change[["width_femur", "width_tibia"]].min() > 2


def test_late_disease_wears_one_compartment(measured):
    found, truth = measured
    medial = truth["diseased"] == "medial"
    kl = truth.loc[medial, "kl_true"]
    # As shares of each knee's own unworn cartilage, so that size and build cancel.
    worn, spared = (
        found.loc[medial, f"thickness_{name}_mm"] / truth.loc[medial, f"whole_{name}_mm"]
        for name in ("femur_medial", "femur_lateral")
    )
    assert worn.groupby(kl).mean()[3] < 0.75
    assert worn.groupby(kl).mean()[4] < 0.35
    # Early against late knees, so that a bias of the measurement cancels. Single knees measure
    # to 8%: three standard errors of the difference, some 20 knees against some 14, are 8%.
    assert spared[kl >= 3].mean() == pytest.approx(spared[kl < 3].mean(), abs=0.08)
    assert found.loc[medial, "joint_space_medial_mm"].groupby(kl).mean()[4] < 2.5


def test_signal_and_sizes_follow_the_facts(measured):
    found, truth = measured
    contrast = found["signal_2"] / found["signal_1"]
    assert contrast.between(2.98, 5.81).mean() > 0.95
    assert contrast.mean() == pytest.approx(4.3, abs=0.3)
    assert (found["signal_3"] / found["signal_1"]).mean() == pytest.approx(1.06, abs=0.04)
    assert (found["signal_4"] / found["signal_2"]).mean() == pytest.approx(0.86, abs=0.05)
    assert found["signal_1"].mean() == pytest.approx(42.5, abs=4)
    # Means over 507 knees; the tolerances are their standard deviations.
    for name, mean, deviation in (
        ("width_femur", 83, 6),
        ("width_tibia", 80, 6),
        ("cm3_2", 15.1, 3.2),
        ("cm3_4", 2.09, 0.5),
        ("cm3_5", 2.4, 0.67),
    ):
        assert found[name].mean() == pytest.approx(mean, abs=deviation), name
    male = truth["sex"] == "male"
    assert found.loc[male, "cm3_2"].mean() > 1.15 * found.loc[~male, "cm3_2"].mean()


def test_medial_is_towards_the_left_in_a_right_knee(measured):
    found, truth = measured
    assert (truth["diseased"] == "medial").any()
    subject = truth.iloc[0].to_dict()
    _, labels = draw_knee(subject, SHAPE, 0)
    x = {label: np.nonzero(labels == label)[0].mean() for label in (4, 5)}
    assert x[4] < x[5]
    z = {label: np.nonzero(labels == label)[2].mean() for label in (1, 3)}
    assert z[1] > z[3]


def test_no_shortcut_by_grey_values_or_by_early_cartilage_volume(subjects):
    some = subjects.groupby("kl_true").head(50)
    grey, volume = [], []
    for row in some.to_dict("records"):
        image, labels = draw_knee(row, SHAPE, [6, row["case_id"]])
        grey.append([image.mean(), image.std(), *np.percentile(image, (5, 25, 50, 75, 95, 99))])
        volume.append(np.isin(labels, (2, 4, 5)).sum())
    grey = (np.array(grey) - np.mean(grey, 0)) / np.std(grey, 0)
    oa = (some["kl_true"] >= 2).to_numpy()
    model = LogisticRegression(C=0.1, max_iter=5000)
    guess = cross_val_predict(model, grey, oa, cv=5, method="predict_proba")[:, 1]
    # Four standard errors of a chance AUC with 100 and 150 knees are .15.
    assert 0.35 < roc_auc_score(oa, guess) < 0.65
    early = (some["kl_true"] <= 2).to_numpy()
    # Four standard errors of a chance correlation over 150 knees are .33.
    assert abs(spearmanr(np.array(volume)[early], some["kl_true"][early]).statistic) < 0.33


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": (1, 1, 1, 1)}, "train"),
        ({"train": (1, 1, 1, 1, -1)}, "0 or more"),
        ({"train": (0,) * 5, "test": (0,) * 5}, "no graded knee"),
        ({"ungraded": (1,)}, "ungraded"),
        ({"shape": (8, 32, 32)}, "16 or more"),
        ({"shape": (32, 32)}, "three numbers"),
        ({"workers": 0}, "workers"),
        ({"reader_noise": 1.5}, "from 0 to 1"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        write_phantom(tmp_path / "new", **{**SMALL, "shape": SHAPE, **change})
    assert not list(tmp_path.iterdir())


def test_existing_content_is_left_alone(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something"):
        write_phantom(tmp_path, **SMALL, shape=SHAPE)
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]


def test_truth_of_a_cohort_that_is_no_phantom(tmp_path):
    with pytest.raises(InputError, match="truth.csv"):
        read_truth(tmp_path)
