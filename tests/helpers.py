"""What several tests call: the project, Chromium's flags, invented cohorts and predictions."""

import errno
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from oacore.data.cache import Volumes
from oacore.instruments.phantom.cohort import write_phantom
from oacore.instruments.phantom.template import COLUMNS as GRADE_COLUMNS
from oacore.instruments.published.predictions import FILES as PUBLISHED_FILES
from oacore.metrics.predictions import PROB_KL
from oacore.names import SUPERVISION_NAMES
from oacore.seals import SEAL, files_below, seal
from oacore.training.config import RunConfig

ROOT = Path(__file__).resolve().parent.parent


def make(*words: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Call make in a copy of the project, with the environment that runs the tests."""
    environment = {key: value for key, value in os.environ.items() if key != "MAKEFLAGS"}
    return subprocess.run(
        ["make", "--no-print-directory", f"VENV={sys.prefix}", *words],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


SOURCES = (
    "oacore",
    "workflow",
    "notebooks",
    "book",
    "benchmarks",
    "Makefile",
    "_config.yml",
    "_toc.yml",
)


def copy_project(to: Path) -> Path:
    """The project's sources without its builds, and the kernels that numba compiled of them."""
    to.mkdir()
    # What Python and numba compile right now has other names until it is whole.
    leave = shutil.ignore_patterns("*.pyc", "*.pyc.*", "*.tmp.*")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=leave)
        else:
            shutil.copy2(source, to)
    return to


def copy_build(build: Path, project: Path) -> Path:
    """A finished build, and what Snakemake knows of it, into a copy of the project that made it."""
    to, known = project / "build" / build.name, ".snakemake/metadata"
    shutil.copytree(build, to, symlinks=True)
    shutil.copytree(build.parents[1] / known, project / known)
    return to


#: How Chromium is started.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


PHONE = {"width": 375, "height": 800}


FOREIGN = re.compile(r"(?:https?:)?//(?!www\.w3\.org/)[\w-]+\.\w+")


SHAPE = (6, 8, 8)


GRADES = (0, 3, 1, 4, 2)


def write_volume(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([0.7, 0.36, 0.36, 1]) if affine is None else affine),
             path)  # fmt: skip


def refuse(monkeypatch, path, number=errno.EACCES):
    """Have the system refuse to open a file, to whoever asks: root may read anything."""
    honest = io.open

    def opened(file, *arguments, **words):
        if str(file) == str(path):
            raise OSError(number, os.strerror(number), str(file))
        return honest(file, *arguments, **words)

    monkeypatch.setattr("io.open", opened)
    monkeypatch.setattr("builtins.open", opened)


def canonical(path):
    """A volume on RAS axes, as nibabel alone reads it."""
    return nib.as_closest_canonical(nib.load(path)).get_fdata()


def readings(counts):
    """OAI's table of readings that has so many knees of each pattern of grades, in no order."""
    rows = counts.loc[counts.index.repeat(counts["count"])].drop(columns="count")
    rows = rows.rename(columns={here: there for there, here in GRADE_COLUMNS.items()})
    return rows.sample(frac=1, random_state=0).assign(ID=0, SIDE=1, READPRJ=15)


def table(grades, first):
    n = len(grades)
    return pd.DataFrame(
        {
            "SubjectID": range(first, first + n),
            "CMT-ID": range(first, first + n),
            "Path": "",
            "MRBarCode": 0,
            "KneeSide": 1,
            "KLGrade": pd.Series(grades, dtype=float),
            "Gender": [1 + i % 2 for i in range(n)],
            "Age": [50 + i for i in range(n)],
            "BMI": [25.5] * n,
        }
    )


def write_tables(folder, train, test, end=".xlsx"):
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", train), ("test", test)):
        save = rows.to_excel if end == ".xlsx" else rows.to_csv
        save(folder / f"subInfo_{split}{end}", index=False)


def write_cohort(folder, train=GRADES, test=GRADES, end=".nii.gz", tables="", kind=".xlsx"):
    """Write a cohort of tiny volumes; returns its two tables for a test to spoil."""
    frames = table(train, 1), table(test, len(train) + 1)
    write_tables(folder / tables, *frames, end=kind)
    rng = np.random.default_rng(0)
    labels = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.uint8) % 6
    for split, rows in zip(("Tr", "Ts"), frames, strict=True):
        for case in rows["CMT-ID"]:
            image = rng.integers(0, 460, SHAPE).astype(np.int16)
            write_volume(folder / f"images{split}/oaizib_{case:03d}_0000{end}", image)
            write_volume(folder / f"labels{split}/oaizib_{case:03d}{end}", labels)
    return frames


def model(seed=0, n=60, supervision="dual", kl=None):
    """Predictions of one invented model; coarse probabilities give many ties."""
    rng = np.random.default_rng(seed)
    kl = rng.permutation(np.arange(n) % 5) if kl is None else np.asarray(kl)
    prob_kl = rng.dirichlet(np.ones(5), n).round(1)
    prob_kl[np.arange(n), prob_kl.argmax(axis=1)] += 1 - prob_kl.sum(axis=1)
    prob_kl = prob_kl.round(1)
    table = pd.DataFrame(prob_kl, columns=PROB_KL).assign(
        backbone="resnet3d",
        supervision=supervision,
        seed=seed,
        split="test",
        case_id=np.arange(n) + 405,
        kl=kl,
        oa=(kl >= 2).astype(int),
        prob_oa=rng.random(n).round(1),
        pred_kl=pd.array(prob_kl.argmax(axis=1), dtype="Int64"),
    )
    table["prob_oa_from_kl"] = prob_kl[:, 2:].sum(axis=1).round(1)
    if supervision == "single_kl":
        table["prob_oa"] = table["prob_oa_from_kl"]
    table["pred_oa"] = (table["prob_oa"] >= 0.5).astype(int)
    if supervision == "single_oa":
        table[[*PROB_KL, "prob_oa_from_kl"]] = np.nan
        table["pred_kl"] = pd.array([pd.NA] * n, dtype="Int64")
    return table


def two_models(n=80):
    """One that grades knees and one that does not, of the same knees."""
    return pd.concat([model(0, n), model(1, n, supervision="single_oa", kl=model(0, n)["kl"])])


def measures(table, supervision="dual"):
    """Rows of one model by what they measure."""
    return table[table["supervision"] == supervision].set_index("measure")


def drawn_cases(row):
    return np.repeat(np.arange(row.size), row.astype(int))


def invented(folder, n=98):
    """Nine files in the released format, with invented predictions."""
    rng = np.random.default_rng(0)
    kl = np.sort(np.arange(n) % 5)
    for (_, supervision), name in PUBLISHED_FILES.items():
        prob_kl = rng.dirichlet(np.ones(5), n)
        prob_oa = prob_kl[:, 2:].sum(axis=1) if supervision == "single_kl" else rng.random(n)
        table = pd.DataFrame(
            {"CMT_ID": np.arange(n) + 405, "img_path": "x.nii.gz", "label_kl": kl}
        ).assign(
            pred_kl=prob_kl.argmax(axis=1),
            label_oa=(kl >= 2).astype(int),
            prob_oa=prob_oa,
            pred_oa=(prob_oa >= 0.5).astype(int),
            prob_oa_from_kl=prob_kl[:, 2:].sum(axis=1),
            **dict(zip(PROB_KL, prob_kl.T, strict=True)),
        )
        if supervision != "dual":
            table = table.drop(columns="prob_oa_from_kl")
        if supervision == "single_oa":
            table = table.drop(columns=["pred_kl", *PROB_KL])
        table.to_csv(folder / name, index=False)
    return folder


CONFIG = RunConfig(
    backbone="resnet3d", supervision="dual", seed=3, epochs=3, batch_size=4, lr=1e-3,
    weight_decay=1e-4, encoder={"depth": 10, "width": 4},
)  # fmt: skip


def small_phantom(folder):
    """A phantom of 23 knees of every grade, in a new folder."""
    sizes = {"train": (3, 2, 3, 3, 3), "test": (2, 1, 2, 2, 2), "ungraded": (0, 0)}
    write_phantom(folder, **sizes, shape=(32, 72, 72), seed=3)
    return folder


def make_cohort():
    rng = np.random.default_rng(0)
    kl = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 2, 4])
    cases = pd.DataFrame({"case_id": np.arange(1, 14), "kl": kl})
    cases["split"] = ["train"] * 10 + ["test"] * 3
    images = rng.normal(size=(13, 16, 16, 16)).astype(np.float16)
    images += (kl[:, None, None, None] * 0.3).astype(np.float16)
    masks = np.zeros(images.shape, np.uint8)
    return cases, Volumes(
        cases["case_id"].to_numpy(), images, masks, np.ones((13, 3)), np.zeros((13, 5)), "key"
    )


def reseal(folder):
    """Take the files of a folder as they are now for what was written."""
    seal(folder / SEAL, files_below(folder))


def knees(backbones=("resnet3d", "m3t", "nnmamba"), n=20):
    rng = np.random.default_rng(0)
    kl, age = np.arange(n) % 5, rng.normal(60, 9, n)
    parts = [
        pd.DataFrame(
            {
                "backbone": backbone, "supervision": supervision, "kl": kl, "age": age,
                "severity": kl + rng.uniform(-0.5, 0.5, n), "key": np.arange(n),
                "hover": [f"knee {i}<br>KL {k}" for i, k in enumerate(kl)],
                **{name: rng.normal(size=n) for name in ("pc1", "pc2", "tsne1", "tsne2")},
            }
        )
        for backbone in backbones
        for supervision in SUPERVISION_NAMES
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)
