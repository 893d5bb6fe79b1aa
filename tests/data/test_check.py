"""What `oacore check` finds, each fault put there on purpose."""

import gzip
import shutil

import nibabel as nib
import numpy as np
import pytest

from oacore.data.check import check_cohort
from oacore.data.cohort import SYNTHETIC
from tests.helpers import GRADES, SHAPE, table, write_cohort, write_tables, write_volume

AFFINE = np.diag([0.7, 0.36, 0.36, 1])


def found(report, what):
    """Faults whose description holds `what`, as (severity, where, detail, cure)."""
    same = report.faults[report.faults["what"].str.contains(what, regex=False)]
    return list(same[["severity", "where", "detail", "cure"]].itertuples(index=False, name=None))


@pytest.fixture
def cohort(tmp_path):
    write_cohort(tmp_path)
    return tmp_path


def test_a_sound_cohort_has_no_fault(cohort):
    report = check_cohort(cohort, workers=2)
    assert report.faults.empty and report.errors == 0
    assert report.cases["image_shape"].tolist() == [SHAPE] * 10
    np.testing.assert_allclose(report.cases["image_spacing"][0], (0.7, 0.36, 0.36), rtol=1e-6)
    assert set(report.cases["image_axes"]) == {"RAS"}
    text = report.text()
    assert "6 x 8 x 8 voxels of 0.7 x 0.36 x 0.36 mm, axes RAS" in text
    assert "Errors: 0. Warnings: 0." in text and "phantom" not in text
    assert not {"subject", "where"} & set(report.cases)


@pytest.mark.parametrize(
    ("drawn", "said"), [(10, "A phantom, as its"), (4, "In part (4 of 10 knees) a phantom, as its")]
)
def test_a_phantom_is_said_to_be_one_or_in_part(cohort, drawn, said):
    """Of four drawn knees among ten it said: a phantom."""
    marks = [SYNTHETIC] * drawn + [0] * (10 - drawn)
    tables = (table(GRADES, first).assign(MRBarCode=marks[first - 1 :][:5]) for first in (1, 6))
    write_tables(cohort, *tables)
    assert said in " ".join(check_cohort(cohort, workers=1).text().split())


def test_a_page_counts_findings_and_names_no_file_row_or_case(cohort):
    rows = table(GRADES, 73001)
    rows["SubjectID"] = 1
    for end, name in (("Tr", "MARKSTRAY_Jane_Doe"), ("Ts", "oaizib_099")):
        write_volume(cohort / f"images{end}/{name}.nii.gz", np.ones(SHAPE, np.int16))
    (cohort / "labelsTr/oaizib_002.nii.gz").unlink()
    (cohort / "imagesTr/oaizib_004_0000.nii.gz").write_bytes(b"not an image")
    write_tables(cohort, table(GRADES, 1).assign(SubjectID=[1, 2, 3, 4, 5]), rows)
    report = check_cohort(cohort)
    whole, page = report.text(), report.text(names=False)
    named = ["MARKSTRAY", "oaizib_", " row 2", "73001", "subInfo_", str(cohort), "case 7"]
    assert all(name in whole for name in named)
    assert not [name for name in named if name in page]
    kinds = report.faults["what"].value_counts()
    assert len(kinds) >= 5
    for what, count in kinds.items():
        assert (f"{what} ({count} times)" if count > 1 else what) in " ".join(page.split())
    assert page.splitlines()[-1] == whole.splitlines()[-1]


def test_counts_stand_beside_the_papers(tmp_path):
    write_cohort(tmp_path, train=(0, 1, 4, 2, 3, 3, np.nan), test=GRADES)
    rows = {
        line[:18].strip(): line[18:].split() for line in check_cohort(tmp_path).text().splitlines()
    }
    assert rows["cases"] == ["7", "5"] and rows["without a grade"] == ["1", "0"]
    assert rows["graded"] == ["6", "383", "5", "98"]
    paper = [(82, 21), (46, 12), (86, 22), (111, 28), (58, 15)]
    for grade, ours in enumerate([(1, 1), (1, 1), (1, 1), (2, 1), (1, 1)]):
        train, test = paper[grade]
        assert rows[f"KL {grade}"] == list(map(str, (ours[0], train, ours[1], test)))
    assert rows["OA (KL >= 2)"] == ["4", "255", "3", "65"]
    assert rows["women"] == ["50", "%", "40", "%"]


@pytest.mark.parametrize("folder", ["empty", "none"])
def test_no_cohort_is_one_error_with_its_cure(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    report = check_cohort(tmp_path / folder)
    assert report.errors == len(report.faults) == 1
    assert "oacore fetch oaizib-cm" in report.text() and "oacore phantom" in report.text()


def test_truncated_and_foreign_files_cannot_be_used(cohort):
    folder = cohort / "imagesTr"
    whole = (folder / "oaizib_001_0000.nii.gz").read_bytes()
    (folder / "oaizib_001_0000.nii.gz").write_bytes(whole[:-200])
    # Only the checksum at the end tells that a voxel has changed.
    (folder / "oaizib_002_0000.nii.gz").write_bytes(whole[:-8] + b"\0\0\0\0" + whole[-4:])
    (folder / "oaizib_003_0000.nii.gz").write_bytes(b"not an image")
    (folder / "oaizib_004_0000.nii.gz").write_bytes(b"")
    raw = bytearray(gzip.decompress(whole))
    raw[344:348] = b"nope"
    (folder / "oaizib_005_0000.nii.gz").write_bytes(gzip.compress(raw))
    (cohort / "labelsTs/oaizib_006.nii.gz").write_bytes(whole[:50])
    report = check_cohort(cohort)
    faults = found(report, "cannot be used")
    assert [fault[1] for fault in faults] == [
        *(f"imagesTr/oaizib_00{case}_0000.nii.gz" for case in (1, 2, 3, 4, 5)),
        "labelsTs/oaizib_006.nii.gz",
    ]
    assert all(fault[0] == "error" and fault[2] and "again" in fault[3] for fault in faults)
    assert report.errors == 6 and "Usable images: 5 of 10" in report.text()


def test_a_file_cut_anywhere_is_reported(cohort):
    for end in (".nii.gz", ".nii"):
        image = nib.load(cohort / "imagesTr/oaizib_001_0000.nii.gz")
        path = cohort / f"whole{end}"
        nib.save(image, path)
        whole = path.read_bytes()
        (cohort / "imagesTr/oaizib_002_0000.nii.gz").unlink(missing_ok=True)
        for length in (0, 1, 100, 347, 348, 350, 352, 600, len(whole) - 5):
            (cohort / f"imagesTr/oaizib_002_0000{end}").write_bytes(whole[:length])
            assert check_cohort(cohort).errors == 1, (end, length)
        (cohort / f"imagesTr/oaizib_002_0000{end}").unlink()


def test_images_that_show_nothing(cohort):
    array = np.zeros(SHAPE, dtype=np.float32)
    write_volume(cohort / "imagesTr/oaizib_001_0000.nii.gz", array + 7)
    array[0, 0, :2] = np.nan, np.inf
    write_volume(cohort / "imagesTr/oaizib_002_0000.nii.gz", array)
    write_volume(cohort / "imagesTr/oaizib_003_0000.nii.gz", np.zeros((*SHAPE, 2), np.int16))
    raw = bytearray(gzip.decompress((cohort / "imagesTr/oaizib_004_0000.nii.gz").read_bytes()))
    raw[312:328] = bytes(16)  # the third row of the affine
    (cohort / "imagesTr/oaizib_004_0000.nii.gz").write_bytes(gzip.compress(raw))
    report = check_cohort(cohort)
    whys = ["every voxel is 7.0", "2 voxels are not finite", "it holds 2 volumes, one behind "
            "the other (6x8x8x2)", "its affine gives an axis no direction"]  # fmt: skip
    assert [fault[1:3] for fault in found(report, "this image cannot be used")] == [
        (f"imagesTr/oaizib_00{case}_0000.nii.gz", why) for case, why in enumerate(whys, start=1)
    ]
    assert report.errors == 4


def test_masks_that_do_not_share_their_images_grid(cohort):
    labels = nib.load(cohort / "labelsTr/oaizib_001.nii.gz")
    mask = np.asarray(labels.dataobj)
    write_volume(cohort / "labelsTr/oaizib_001.nii.gz", mask[:, :, :7])
    moved = AFFINE.copy()
    moved[0, 3] = 5
    write_volume(cohort / "labelsTr/oaizib_002.nii.gz", mask, moved)
    moved[0, 3] = 0.05
    write_volume(cohort / "labelsTr/oaizib_003.nii.gz", mask, moved)
    report = check_cohort(cohort)
    shape, affine = found(report, "different grids")
    assert shape[:2] == ("error", "labelsTr/oaizib_001.nii.gz")
    assert shape[2] == "image 6 x 8 x 8, mask 6 x 8 x 7 voxels" and "resample" in shape[3]
    assert affine[1:3] == ("labelsTr/oaizib_002.nii.gz", "corners up to 5.0 mm apart")


def test_labels(cohort):
    mask = np.asarray(nib.load(cohort / "labelsTr/oaizib_001.nii.gz").dataobj)
    write_volume(cohort / "labelsTr/oaizib_001.nii.gz", np.where(mask == 5, 9, mask))
    write_volume(cohort / "labelsTr/oaizib_002.nii.gz", np.where(mask == 4, 0, mask))
    report = check_cohort(cohort)
    assert found(report, "labels other than")[0][:3] == (
        "error", "labelsTr/oaizib_001.nii.gz", "9",
    )  # fmt: skip
    odd = found(report, "unlike most in its labels")
    assert odd[1][:3] == (
        "warning", "labelsTr/oaizib_002.nii.gz", "0, 1, 2, 3, 5; most have 0, 1, 2, 3, 4, 5",
    )  # fmt: skip


def test_volumes_unlike_most(cohort):
    rng = np.random.default_rng(0)
    spoilt = [(SHAPE, AFFINE @ np.diag([-1, 1, 1, 1])), (SHAPE, AFFINE @ np.diag([1, 2, 1, 1]))]
    spoilt += [((6, 8, 9), AFFINE), (SHAPE, AFFINE @ np.diag([1.001, 1, 1, 1]))]
    for case, (shape, affine) in enumerate(spoilt, start=1):
        image = rng.integers(0, 9, shape).astype(np.int16)
        write_volume(cohort / f"imagesTr/oaizib_00{case}_0000.nii.gz", image, affine)
        write_volume(
            cohort / f"labelsTr/oaizib_00{case}.nii.gz",
            (np.arange(image.size) % 6).reshape(shape).astype(np.uint8),
            affine,
        )
    report = check_cohort(cohort)
    names = [f"imagesTr/oaizib_00{case}_0000.nii.gz" for case in (1, 2, 3)]
    assert found(report, "its axes")[0][:3] == ("warning", names[0], "LAS; most have RAS")
    spacing = "0.7 x 0.72 x 0.36; most have 0.7 x 0.36 x 0.36"
    assert found(report, "its spacing")[0][1:3] == (names[1], spacing)
    assert found(report, "its shape")[0][1:3] == (names[2], "6 x 8 x 9; most have 6 x 8 x 8")
    assert len(report.faults) == 3


def test_an_image_without_an_orientation(cohort):
    path = cohort / "imagesTr/oaizib_001_0000.nii.gz"
    image = nib.load(path)
    image = nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, path)
    faults = found(check_cohort(cohort), "says nothing of its orientation")
    assert [fault[:2] for fault in faults] == [("warning", "imagesTr/oaizib_001_0000.nii.gz")]


def test_missing_and_stray_files(cohort):
    (cohort / "imagesTr/oaizib_001_0000.nii.gz").unlink()
    (cohort / "labelsTs/oaizib_007.nii.gz").unlink()
    shutil.copy(cohort / "labelsTr/oaizib_001.nii.gz", cohort / "labelsTs/oaizib_099.nii.gz")
    (cohort / "labelsTs/._oaizib_006.nii.gz").touch()
    report = check_cohort(cohort)
    assert found(report, "image of a graded case is missing")[0][:3] == (
        "error", "imagesTr/oaizib_001_0000.nii.gz", "subInfo_train.xlsx row 2",
    )  # fmt: skip
    assert found(report, "mask is missing")[0][:2] == ("warning", "labelsTs/oaizib_007.nii.gz")
    assert found(report, "no row")[0][:2] == ("warning", "labelsTs/oaizib_099.nii.gz")
    assert len(report.faults) == 3


def test_patterns_in_the_tables(tmp_path):
    train, test = write_cohort(tmp_path, train=(0, 1, 1, 2, 3, 4), test=(0, 4, 1, 2))
    train.loc[2, "KneeSide"] = 2
    test.loc[1, "SubjectID"] = train.loc[3, "SubjectID"]
    write_tables(tmp_path, train, test)
    report = check_cohort(tmp_path)
    assert [fault[:2] for fault in found(report, "sorted by grade")] == [
        ("warning", "subInfo_train"),
    ]
    assert found(report, "a left knee among right")[0][1:3] == (
        "subInfo_train.xlsx row 4",
        "case 3",
    )
    assert found(report, "training subject")[0][1:3] == ("subInfo_test.xlsx row 3", "case 8")
    assert found(report, "no test case of KL 3")[0][0] == "warning"
    assert len(report.faults) == 4 and report.errors == 0


def test_blanked_subjects_are_no_leak(cohort):
    train, test = table(GRADES, 1), table(GRADES, 6)
    write_tables(cohort, train.assign(SubjectID=0), test.assign(SubjectID=0))
    assert check_cohort(cohort).faults.empty
    write_tables(cohort, train.drop(columns="SubjectID"), test.drop(columns="SubjectID"))
    assert check_cohort(cohort).faults.empty


def test_all_faults_come_in_one_go_grouped_and_within_100_columns(tmp_path):
    deep = tmp_path / ("a-long-folder-name " * 5).strip()
    train, test = write_cohort(deep, train=GRADES * 5)
    train["KLGrade"] = train["KLGrade"].astype(object)
    train.loc[0, "KLGrade"] = 7
    train.loc[1, "KLGrade"] = "two"
    train.loc[2, "CMT-ID"] = 4
    train.loc[4:, "Gender"] = 5
    test.loc[0, "CMT-ID"] = 5
    write_tables(deep, train, test)
    shutil.copy(deep / "imagesTr/oaizib_005_0000.nii.gz", deep / "imagesTs")
    path = deep / "imagesTs/oaizib_027_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])
    report = check_cohort(deep)
    assert [fault[1:3] for fault in found(report, "KLGrade")] == [
        ("subInfo_train.xlsx row 2", "found 7"), ("subInfo_train.xlsx row 3", "found two"),
    ]  # fmt: skip
    assert found(report, "appears twice")[0][1] == "subInfo_train.xlsx row 5"
    assert found(report, "both splits")[0][1] == "subInfo_test.xlsx row 2"
    assert len(found(report, "Gender")) == 21 and len(found(report, "cannot be used")) == 1
    text = report.text()
    assert "ERROR: Gender is not a whole number from 1 to 2 (21 times)" in text
    assert "  ... and 18 more\n  -> write 1 for male, 2 for female" in text
    assert text.count("ERROR: Gender") == 1
    assert max(map(len, text.splitlines())) <= 100
    assert text.index("ERROR") < text.index("WARNING")


def test_the_real_tables_are_sorted_by_grade(tmp_path, shared):
    for split in ("train", "test"):
        name = f"subInfo_{split}.xlsx"
        shutil.copy(shared / "real/radiomics" / name, tmp_path / name)
    report = check_cohort(tmp_path)
    assert [fault[1] for fault in found(report, "sorted by grade")] == [
        "subInfo_test", "subInfo_train",
    ]  # fmt: skip
    assert len(found(report, "image of a graded case is missing")) == 383 + 98
    assert len(found(report, "image of an ungraded case is missing")) == 21 + 5
    assert "61.8 ± 9.5    61.8 ± 9.5  61.8 ± 8.6   61.8 ± 8.6" in report.text()


def test_a_mean_over_nothing_is_said_in_words(tmp_path):
    """No knee of the split, none with a grade, and ages, sexes and BMI that nobody wrote down."""
    blank = {"Age": "", "Gender": "", "BMI": ""}
    for train, test in (((0, 1, 2, 3, 4), (np.nan, np.nan)), ((np.nan,), (3,))):
        folder = tmp_path / str(len(train))
        write_cohort(folder, train=train, test=test)
        text = check_cohort(folder).text()
        assert "nan" not in text.casefold() and "unknown" in text
        assert ("of one knee" in text) == (len(train) == 1)  # its age is nobody's to publish
    some = table(GRADES, 1).astype(object)
    some.loc[[0, 1], list(blank)] = ""
    write_cohort(tmp_path / "some")
    write_tables(tmp_path / "some", some, table(GRADES, 6).assign(**blank))
    lines = check_cohort(tmp_path / "some").text().splitlines()
    rows = {name: next(line for line in lines if name in line) for name in ("women", "age,", "BMI")}
    assert [line.count("unknown") for line in rows.values()] == [1, 1, 1]
    assert "33 %" in rows["women"]  # of the three whose sex is known, not of five
