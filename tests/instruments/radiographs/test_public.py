"""What `oacore check` says of radiographs, each fault put there on purpose."""

import hashlib
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from oacore.errors import InputError
from oacore.instruments.radiographs import public
from oacore.instruments.radiographs.cases import POINTS, read_radiographs
from oacore.instruments.radiographs.public import check_radiographs, is_radiographs
from tests.instruments.radiographs import sets


def errors(report):
    """What, where, detail and cure of the errors."""
    same = report.faults[report.faults["severity"] == "error"]
    return list(same[["what", "where", "detail", "cure"]].itertuples(index=False, name=None))


def one_error(report, *said):
    """The one error of a report, which the reader stops at as well."""
    (error,) = errors(report)
    assert report.errors == 1
    for part in said:
        assert part in " | ".join(error), error
    with pytest.raises(InputError) as stopped:
        read_radiographs(report.folder, height=8, width=8)
    assert error[0] in str(stopped.value) and error[1] in str(stopped.value)
    return error


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    return folder, sets.drawn_public(folder)


@pytest.fixture
def copy(drawn, tmp_path):
    return shutil.copytree(drawn[0], tmp_path / "kneeKL224")


def as_public(monkeypatch, folder):
    """Take a folder for the public set: its digests by hand, its counts."""
    for name in public.DIGESTS:
        each = [hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob(f"{name}/*")]
        whole = hashlib.sha256()
        for place, digest in enumerate(sorted(each)):
            whole.update(("\n" * (place > 0) + digest).encode())
        monkeypatch.setitem(public.DIGESTS, name, whole.hexdigest())
    counts = {split: (2, 2, 2, 2, 2) for split in sets.SPLITS}
    monkeypatch.setattr(public, "COUNTS", counts)


# Sound sets


def test_the_digest_of_a_folder_is_of_the_digests_of_its_files_in_order():
    digests = [hashlib.sha256(word).hexdigest() for word in (b"one", b"two", b"three")]
    wanted = hashlib.sha256("\n".join(sorted(digests)).encode("ascii")).hexdigest()
    assert public.folder_digest(digests) == public.folder_digest(digests[::-1]) == wanted
    assert public.folder_digest([]) == hashlib.sha256().hexdigest()


def test_the_counts_are_those_of_the_reference(shared):
    """Every figure of the public set stands in the reference, and every digest."""
    said = (shared / "reference/radiographs.md").read_text()
    for split, counts in public.COUNTS.items():
        people = f"{sum(counts) // 2:,}"
        assert f"| {split} | {' '.join(map(str, counts))} | {people} |" in said
    rows = re.findall(r"^\| (\w+/\d) \| ([0-9a-f]{64}) \|$", said, re.MULTILINE)
    assert dict(rows) == public.DIGESTS and len(rows) == 15
    negatives = ", ".join(f"{split} {n}" for split, n in public.NEGATIVES.items())
    assert negatives in said and f"({' '.join(map(str, public.AUTO_TEST))})" in said
    assert sum(map(sum, public.COUNTS.values())) == 8260
    assert sum(public.NEGATIVES.values()) == 110


def test_the_public_set_is_known_byte_for_byte(drawn, monkeypatch):
    folder, cases = drawn
    as_public(monkeypatch, folder)
    report = check_radiographs(folder)
    assert report.faults.empty and report.errors == 0
    text = report.text()
    assert "folders as released: 15 of 15." in text and "Errors: 0. Warnings: 0." in text
    assert "People: 15, of 15 both knees; in more than one split: 0." in text
    assert "Right knees: 15. Left ones, which are mirrored: 15." in text
    assert "Negatives, which are turned: 2, of 1 people, in 1 of them both knees." in text
    assert re.search(r"KL 2 +2 +2 +2 +2 +2 +2", text)
    found = report.cases.set_index("file")["negative"]
    assert set(found.index[found]) == set(cases["file"][cases["file"].str.startswith("val/2")])


def test_real_pictures_in_the_public_layout_are_accepted(shared, tmp_path):
    table = sets.real_public(shared / "real/radiographs", tmp_path / "kneeKL224")
    oarsi = sets.write_oai(sets.oai_table(table), tmp_path / "kxr_sq_bu00.txt")
    report = check_radiographs(tmp_path, oarsi=oarsi)
    assert report.errors == 0
    (warning,) = report.faults["what"]
    assert "with other pictures or a part of them" in warning
    text = report.text()
    assert "folders as released: 0 of 15." in text
    assert "People: 1200, of 1200 both knees; in more than one split: 0." in text
    assert "OARSI grades: 1616 knees have all six." in text
    wanted = table.groupby(["split", "kl"]).size()
    for kl in range(5):
        row = next(line for line in text.splitlines() if line.startswith(f"  KL {kl} "))
        whole = [public.COUNTS[split][kl] for split in sets.SPLITS]
        there = [wanted[split, kl] for split in sets.SPLITS]
        assert row.split()[2:] == [str(n) for pair in zip(there, whole, strict=True) for n in pair]
    negative = report.cases.set_index("file")["negative"]
    wanted = "kneeKL224/" + table["file"][table["inverted"] == 1]
    assert set(negative.index[negative]) == set(wanted)
    assert "Negatives, which are turned: 44, of 22 people, in 22 of them both knees." in text
    # A page or a terminal gets counts: nobody's number, made up or not.
    assert not re.search(r"90\d{5}", text + report.text(names=False))


def test_a_copy_saved_anew_and_auto_test_are_named_for_what_they_are(copy, monkeypatch):
    as_public(monkeypatch, copy)
    for path in copy.rglob("*.png"):
        pixels = sets.knee([8, int(path.stem[:-1]), path.stem[-1] == "L"])
        sets.save(path, pixels[:, ::-1] if path.stem[-1] == "L" else pixels)
    people = sorted({path.stem[:-1] for path in copy.glob("test/*/*")})
    for name in (f"0/{people[0]}L", f"1/{people[1]}R", "2/9000009R"):
        sets.save(copy / f"auto_test/{name}.png", sets.knee(9))
    report = check_radiographs(copy)
    assert report.errors == 0
    ((severity, what, where, detail, cure),) = report.faults.to_numpy()
    assert severity == "warning" and "no folder is byte for byte as it was" in what
    assert "other contrast" in detail and "the same people" in cure
    assert "auto_test (3 pictures): 2 of its 3 people are of the test split. Not read." in (
        report.text()
    )
    monkeypatch.setattr(public, "AUTO_TEST", (1, 1, 1, 0, 0))
    assert "auto_test, as released (3 pictures)" in check_radiographs(copy).text()


def grade_folders(folder, counts):
    for kl, count in enumerate(counts):
        (folder / str(kl)).mkdir(parents=True)
        for i in range(count):
            (folder / f"{kl}/{i}.png").touch()
    return folder


@pytest.mark.parametrize(
    ("name", "counts", "said"),
    [
        ("any", (932, 428, 615, 306, 71), "OSAIL_KL"),
        ("any", (604, 275, 403, 200, 44), "auto_test of the public set"),
        ("any", (639, 296, 447, 223, 51), "the test split of the public set alone"),
        ("OSAIL_KL_Dataset/Labeled", (1, 1, 1, 1, 1), "val and auto_test"),
        ("MedicalExpert-I/x", (1, 1, 1, 1, 1), "two experts"),
    ],
)
def test_sets_that_are_not_their_own_are_named(name, counts, said, tmp_path):
    grade_folders(tmp_path / name, counts)
    assert is_radiographs(tmp_path)
    report = check_radiographs(tmp_path)
    ((what, _, detail, cure),) = errors(report)
    assert what == "is no set of its own" and said in detail
    assert "10.17632/56rmx5bjcr.1" in cure and report.text().endswith("Errors: 1. Warnings: 0.")


def test_other_folders_of_grades_are_no_known_set(tmp_path):
    grade_folders(tmp_path / "mine", (604, 275, 403, 200, 45))
    with pytest.raises(InputError, match="holds no radiographs"):
        check_radiographs(tmp_path)


def test_ones_own_set_is_checked_too(tmp_path):
    table = sets.own_table(6).assign(ost_fl=1, ost_fm=1, ost_tl=0, ost_tm=0, jsn_m=1, jsn_l="")
    table.loc[0, "jsn_l"] = "0"
    other_size = {"knee_3": sets.knee([5, 3], (200, 224))[:, ::-1]}
    folder = sets.write_own(tmp_path, table, other_size)
    points = {f"{point}{axis}": 60.0 for point in POINTS for axis in "xy"}
    pd.DataFrame({"case": ["knee_3"], **points}).to_csv(folder / "landmarks.csv", index=False)
    sets.save(folder / "images/left_over.png", sets.knee(1))
    report = check_radiographs(folder)
    whats = dict(zip(report.faults["what"], report.faults["where"], strict=True))
    assert report.errors == 0 and whats == {
        "no row of the table uses this file": "images/left_over.png",
        "unlike most in its size": "images/knee_3.png",
    }
    text = report.text()
    assert "OARSI grades: 1 knees have all six." in text and "Landmarks: of 1 knees." in text
    assert "whole" not in text and "left_over" not in report.text(names=False)
    assert report.text().startswith(f"Radiographs {folder}")
    assert str(folder) not in report.text(names=False)


# What a source is


def test_radiographs_are_told_from_a_cohort(drawn, tmp_path):
    from tests.helpers import write_cohort

    assert is_radiographs(drawn[0]) and is_radiographs(drawn[0].parent)
    assert is_radiographs(sets.write_own(tmp_path / "own", sets.own_table(2)))
    assert is_radiographs(sets.zipped(drawn[0], tmp_path / "set.zip"))
    write_cohort(tmp_path / "cohort")
    (tmp_path / "empty/0").mkdir(parents=True)
    for name in ("cohort", "empty", "none"):
        assert not is_radiographs(tmp_path / name)


# Bad input, each on purpose


@pytest.mark.parametrize("split", ["train/3", "test/0"])
def test_a_zip_with_a_folder_missing(copy, split, tmp_path):
    shutil.rmtree(copy / split)
    path = sets.zipped(copy, tmp_path / "KneeXrayData.zip", "KneeXrayData/ClsKLData/kneeKL224/")
    error = one_error(check_radiographs(path), "missing or empty", "56rmx5bjcr")
    assert error[1] == f"KneeXrayData/ClsKLData/kneeKL224/{split}"


def test_a_file_of_another_set_among_them_by_its_name(copy):
    sets.save(copy / "train/2/DoubtfulG1 (66).png", sets.knee(4))
    error = one_error(check_radiographs(copy), "not named as the public set's", "take it out")
    assert error[1] == "train/2/DoubtfulG1 (66).png"


@pytest.mark.parametrize("more", [True, False])
def test_a_file_of_another_set_among_them_by_the_digest(copy, more, monkeypatch):
    as_public(monkeypatch, copy)
    path = copy / "val/4/9009999R.png" if more else next((copy / "val/4").glob("*R.png"))
    sets.save(path, sets.knee(4))
    ((what, where, detail, cure),) = errors(check_radiographs(copy))
    assert (what, where) == ("this folder is not the public set's", "val/4")
    assert detail == (
        "3 files, there are 2" if more else "as many files, and one at least is another"
    )
    assert "again" in cure and "as released: 14 of 15" in check_radiographs(copy).text()


def deep(pixels):
    return pixels.astype(np.uint16) * 257


def coloured(pixels):
    return np.stack([pixels] * 3, axis=-1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (deep, ("is no 8-bit grey picture", "16-bit")),
        (coloured, ("is no 8-bit grey picture", "RGB")),
        (lambda pixels: np.kron(pixels, np.ones((2, 2), np.uint8))[:299, :299],
         ("has not the size", "299 x 299 instead of 224 x 224")),
        (lambda pixels: np.random.default_rng(0).integers(0, 256, (224, 224)).astype(np.uint8),
         ("shows no knee", "correlation with the mean knee")),
        (lambda pixels: np.full((224, 224), 90, np.uint8), ("shows no knee", "0.00")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", ["public", "own"])
def test_a_picture_that_is_none_of_theirs(change, said, layout, copy, tmp_path):
    if layout == "public":
        path = copy / "train/4/9000128R.png"
        folder, where = copy, "train/4/9000128R.png"
        pixels = sets.knee([0, 4, False])
    else:
        folder = sets.write_own(tmp_path / "own", sets.own_table(4))
        path, where = folder / "images/knee_2.png", "images/knee_2.png"
        pixels = sets.knee([5, 2])
    assert path.is_file()
    sets.save(path, change(pixels))
    report = check_radiographs(folder)
    if layout == "own" and "size" in said[0]:
        assert report.errors == 0 and "unlike most in its size" in set(report.faults["what"])
        return
    if "size" in said[0]:  # the enlarged corner of a knee may show none, too
        assert any(what == "has not the size of the public set's pictures" and place == where
                   and said[1] in detail for what, place, detail, _ in errors(report))  # fmt: skip
        return
    assert one_error(report, *said)[1] == where


def test_a_damaged_picture_is_named(copy):
    path = copy / "test/1/9000177R.png"
    path.write_bytes(path.read_bytes()[:3000])
    assert one_error(check_radiographs(copy), "not a whole PNG")[1] == "test/1/9000177R.png"


def test_a_person_in_two_splits(copy):
    (copy / "val/0/9000135R.png").rename(copy / "test/0/9000135R.png")
    error = one_error(check_radiographs(copy), "a person in two splits", "in one split")
    assert error[1] == "test/0/9000135R.png" and "val/0/9000135L.png" in error[2]
    assert "in more than one split: 1." in check_radiographs(copy).text()


def test_a_knee_in_two_folders(copy):
    sets.save(copy / "train/1/9000100R.png", sets.knee(55))
    error = one_error(check_radiographs(copy), "in another folder too")
    assert error[1:3] == ("train/1/9000100R.png", "train/0/9000100R.png")


@pytest.mark.parametrize("change", [lambda p: p, lambda p: 255 - p, lambda p: p[:, ::-1]])
def test_a_picture_twice(change, copy):
    """Also as a negative, or as its own mirror image under the other side."""
    side = "L" if change(np.arange(4).reshape(2, 2))[0, 0] == 1 else "R"
    other = copy / f"train/1/9000107{side}.png"
    sets.save(other, change(sets.knee([0, 0, False])))
    error = one_error(check_radiographs(copy), "the same picture as another case's", "keep one")
    assert error[1:3] == (f"train/1/9000107{side}.png", "train/0/9000100R.png")


def test_grades_that_disagree_are_named_knee_by_knee(copy, drawn, tmp_path):
    table = sets.oai_table(drawn[1])
    one = (table["ID"] == "9000121") & (table["SIDE"] == "2: Left") & (table["READPRJ"] == "15")
    table.loc[one, "V00XRKL"] = "4"
    path = sets.write_oai(table, tmp_path / "kxr_sq_bu00.txt")
    ((what, where, detail, cure),) = errors(check_radiographs(copy, oarsi=path))
    assert what == f"its KL grade is not that of {path}" and where == "train/3/9000121L.png"
    row = 2 + int(np.flatnonzero(one.to_numpy())[0])
    assert detail == f"3 in the folder, 4 in row {row}" and "SIDE" in cure


def test_landmarks_outside_the_picture(tmp_path):
    folder = sets.write_own(tmp_path, sets.own_table(4))
    points = {f"{point}{axis}": 60.0 for point in POINTS for axis in "xy"}
    rows = pd.DataFrame({"case": ["knee_1"], **points})
    rows["t8x"] = 247.0
    rows.to_csv(folder / "landmarks.csv", index=False)
    error = one_error(check_radiographs(folder), "landmarks lie outside", "give them in its pixels")
    assert error[1] == "images/knee_1.png" and "knee_1" in error[2]


def test_several_errors_are_all_told_and_grouped(copy):
    for split in sets.SPLITS:
        for path in sorted((copy / f"{split}/3").glob("*.png")):
            path.write_bytes(b"nothing")
    report = check_radiographs(copy)
    assert report.errors == 6
    assert "ERROR: is no 8-bit grey picture (6 times)" in report.text()
    assert "... and 3 more" in report.text()
    with pytest.raises(InputError, match="is no 8-bit grey picture"):
        read_radiographs(copy, height=8, width=8)
