"""Sets of radiographs for tests: a few drawn pictures, or the real ones in the public layout."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from oacore.instruments.coherence.patterns import GRADES
from oacore.instruments.phantom.subjects import sample_subjects
from oacore.instruments.radiographs.pictures import mean_knee

SPLITS = ("train", "val", "test")
OAI_NAMES = {
    "kl": "V00XRKL", "osteophyte_fl": "V00XROSFL", "osteophyte_fm": "V00XROSFM",
    "osteophyte_tl": "V00XROSTL", "osteophyte_tm": "V00XROSTM", "jsn_medial": "V00XRJSM",
    "jsn_lateral": "V00XRJSL",
}  # fmt: skip
#: Columns of the table beside the real pictures, and here.
REAL_NAMES = {
    "ost_fl": "osteophyte_fl", "ost_fm": "osteophyte_fm", "ost_tl": "osteophyte_tl",
    "ost_tm": "osteophyte_tm", "jsn_m": "jsn_medial", "jsn_l": "jsn_lateral",
}  # fmt: skip


def knee(seed, size=(224, 224)):
    """A drawn right knee: the mean one, with blotches of its own."""
    rng = np.random.default_rng(seed)
    blotches = np.kron(rng.normal(size=(8, 8)), np.ones((2, 2)))
    grid = 110 + 700 * mean_knee() + 8 * blotches
    large = Image.fromarray(grid.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.clip(np.asarray(large) + rng.normal(0, 2, size), 0, 250).astype(np.uint8)


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(pixels))


def drawn_public(folder, seed=0):
    """The public layout with both knees of a person in each of the 15 folders: its table of cases.

    The person of val/2 has negatives.
    """
    rows = []
    for number, (split, kl) in enumerate((s, kl) for s in SPLITS for kl in range(5)):
        person = f"{9000100 + 7 * number}"
        for side in "RL":
            upright = knee([seed, number, side == "L"])
            pixels = upright[:, ::-1] if side == "L" else upright
            pixels = 255 - pixels if (split, kl) == ("val", 2) else pixels
            file = f"{split}/{kl}/{person}{side}.png"
            save(folder / file, pixels)
            rows.append((person + side, person, side, split, kl, file, upright))
    return pd.DataFrame(rows, columns=["case", "person", "side", "split", "kl", "file", "upright"])


def oai_table(cases, seed=0):
    """A table as OAI's kxr_sq_bu00 of these cases, and rows of another project and other people.

    Parameters
    ----------
    cases : DataFrame
        person, side ("R" or "L"), kl, and the OARSI grades where there are any.

    Returns
    -------
    DataFrame of str
    """
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"ID": cases["person"]})
    rows["SIDE"] = cases["side"].map({"R": "1: Right", "L": "2: Left"})
    rows["READPRJ"], rows["VERSION"] = "15", "0.8"
    for name, column in OAI_NAMES.items():
        grades = cases.get(name, pd.Series(0, cases.index)).astype("Int64")
        codes = grades.astype("string") + rng.choice(["", ": a word"], len(rows))
        blank = rng.choice(["", " ", ".: Missing Form", ".A: Not Expected"], len(rows))
        rows[column] = codes.where(grades.notna(), pd.Series(blank, rows.index)).astype(object)
    other = rows.assign(READPRJ="37", V00XRKL=rng.integers(0, 5, len(rows)).astype(str))
    third = rows.head(2).assign(READPRJ="42", V00XRJSM="2.2")
    people = rows.head(3).assign(ID=["9999991", "9999992", "9999993"])
    return pd.concat([other, third, people, rows]).sample(frac=1, random_state=seed)


def write_oai(table, path, sign="|"):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=sign)
        writer.writerow(table.columns)
        writer.writerows(table.to_numpy())
    return path


def zipped(folder, path, above=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, above + file.relative_to(folder).as_posix())
    return path


def own_table(n=6):
    """Rows of a table of one's own, two knees of each person."""
    return pd.DataFrame(
        {
            "case": [f"knee_{i}" for i in range(n)],
            "person": [f"p{i // 2}" for i in range(n)],
            "side": (["R", "left"] * n)[:n],
            "split": np.repeat(["train", "val", "test"], -(-n // 3))[:n],
            "kl": [i % 5 for i in range(n)],
        }
    )


def own_pixels(row, number):
    upright = knee([5, number])
    return upright[:, ::-1] if str(row["side"])[0].lower() == "l" else upright


def write_own(folder, table, pixels=None):
    """One's own layout, with drawn pictures or those given by case, as they lie in their files."""
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "table.csv", index=False)
    for number, row in enumerate(table.to_dict("records")):
        made = (pixels or {}).get(row["case"])
        save(
            folder / f"images/{row['case']}.png", own_pixels(row, number) if made is None else made
        )
    return folder


def graded_set(folder, seed=0):
    """Forty knees of twenty people with grades, of half of them landmarks."""
    rng = np.random.default_rng(seed)
    n = 40
    table = pd.DataFrame(
        {
            "case": [f"knee_{i:02d}" for i in range(n)],
            "person": [f"p{i // 2:02d}" for i in range(n)],
            "side": ["right", "left"] * (n // 2),
            "split": ["train"] * 24 + ["val"] * 8 + ["test"] * 8,
            "kl": rng.permutation(np.arange(n) % 5),
        }
    )
    for name in GRADES[1:]:
        table[name] = pd.array(rng.integers(0, 4, n), dtype="Int64")
    table.loc[table["kl"] == 0, list(GRADES[1:5])] = pd.NA
    write_own(folder, table)
    places = np.column_stack([np.linspace(20, 200, 16), 130 + 10 * np.sin(np.arange(16))])
    rows = [
        {"case": case, **{
            f"{point}{axis}": value + rng.normal(0, 3)
            for point, place in zip(
                [*(f"t{i}" for i in range(9)), *(f"f{i}" for i in range(7))], places, strict=True
            )
            for axis, value in zip("xy", place, strict=True)
        }, "two_fit_disagreement_px": 1.0}
        for case in table["case"][::2]
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "landmarks.csv", index=False)
    return folder


def real_public(real: Path, folder: Path):
    """The real pictures in the public layout under made-up numbers; their table of cases."""
    table = pd.read_csv(real / "table.csv").rename(columns=REAL_NAMES)
    people = {name: f"{9000003 + 13 * i}" for i, name in enumerate(sorted(set(table["subject"])))}
    table["person"] = table["subject"].map(people)
    table["file"] = [
        f"{row.split}/{row.kl}/{row.person}{row.side}.png" for row in table.itertuples()
    ]
    for row in table.itertuples():
        link = folder / str(row.file)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((real / f"images/{row.case}.png").resolve())
    return table


def healthy():
    """A row of truth: a knee of KL 0."""
    subjects = sample_subjects((3,) * 5, (0,) * 5, ungraded=(0, 0), seed=5, reader_noise=0)
    return subjects[subjects["kl_true"] == 0].iloc[0].to_dict()
