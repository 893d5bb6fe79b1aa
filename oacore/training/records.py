"""Finished runs of any backbone as tables and records; no network is needed to read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oacore.backbones import BACKBONE_NAMES
from oacore.errors import InputError
from oacore.seals import SEAL, require

#: What all runs that are compared have in common, and what those of one model have besides.
ALL_SHARE = ("labels",)
MODEL_SHARES = (
    *("backbone", "encoder", "heads", "epochs", "batch_size", "lr", "weight_decay", "precision"),
    *("schedule", "statistics", "volumes", "precision used", "devices"),
)


def run_folder(runs: str | Path, model: str, supervision: str, seed: int) -> Path:
    """Path of a run's files below the folder of all runs; a model is a backbone or variant."""
    return Path(runs) / model / supervision / f"seed{seed}"


def build_run(build: str | Path, model: str, supervision: str, seed: int) -> Path:
    """Path of a run's files in a build: variants of the backbones have a folder of their own."""
    runs = "runs" if model in BACKBONE_NAMES else "variants"
    return run_folder(Path(build) / runs, model, supervision, seed)


def again(folder: str | Path) -> str:
    """What to do about a finished run that is damaged."""
    return f"remove {folder} and train it again (`make book`, or `oacore train`)"


def intact(folder: str | Path, *names: str) -> Path:
    """Folder of a finished run, once it is sure that some of its files are what training wrote.

    Parameters
    ----------
    folder : path-like
    *names : str
        Files that are to be read; ``done.json`` is among them always.

    Raises
    ------
    InputError
        If the folder holds no finished run, or one that is damaged or was never sealed.
    """
    folder = Path(folder)
    if not (folder / "done.json").is_file():
        raise InputError(f"{folder}: holds no finished run; train with `make book`")
    cure = again(folder)
    if not (folder / SEAL).exists():  # a run of an older version may have taken days
        cure += "; `oacore stats` reads a copy of its predictions.csv in a folder of its own"
    require(folder / SEAL, "done.json", *names, cure=cure)
    return folder


def finished(runs: str | Path, model: str = "*") -> list[Path]:
    """Folders of all finished runs below that of all runs, or of one model's, in order.

    One that has lost its record is among them, so that whoever reads it says so.
    """
    found = (Path(runs).glob(f"{model}/*/seed*/{name}") for name in ("done.json", SEAL))
    return sorted({path.parent for paths in found for path in paths})


def run_record(folder: str | Path) -> dict[str, Any]:
    """Settings and provenance of one finished run, as its ``done.json`` has them.

    Raises
    ------
    InputError
        If the folder holds no finished run, or a damaged one.
    """
    return json.loads((intact(folder) / "done.json").read_text())


def run_table(folder: str | Path, table: str = "predictions") -> pd.DataFrame:
    """One table of one finished run, as training wrote it; see :func:`read_runs`.

    Raises
    ------
    InputError
        If the folder holds no finished run, or a damaged one.
    """
    return pd.read_csv(intact(folder, f"{table}.csv") / f"{table}.csv")


def run_features(
    folder: str | Path, cases: pd.DataFrame
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Feature vectors of one finished run, with the knees that they are of.

    Parameters
    ----------
    folder : path-like
        As :func:`run_folder` gives it.
    cases : DataFrame
        Of the cohort on which the run was trained.

    Returns
    -------
    features : dict of (n, length) arrays
        "features", which the heads read, and what else the encoder keeps.
    own : DataFrame
        The n rows of `cases` in the order of the features, indexed by case_id.

    Raises
    ------
    InputError
        If the folder holds no finished run, a damaged one, or one that was trained on permuted
        grades.
    """
    require_grades(Path(folder), run_record(folder), "as read")
    with np.load(intact(folder, "features.npz") / "features.npz") as file:
        features = dict(file)
    return features, cases.set_index("case_id").loc[features.pop("case_id")]


def read_runs(
    runs: str | Path, table: str = "predictions", grades: str = "as read", model: str = "*"
) -> pd.DataFrame:
    """One tidy table over all finished runs of a folder; `model` is the name of its recipe.

    Parameters
    ----------
    runs : path-like
    table : {"predictions", "predictions_other", "history"}
        "predictions_other" are of the same weights with the other statistics of batch
        normalisation, see :func:`.loop.train`.
    grades : {"as read", "permuted"}
        What the runs were trained on. Permuted, `kl` and `oa` of training knees are what the run
        was told, and no two runs were told the same.
    model : str
        One model alone: those of others may be of a build that is not up to date yet.

    Raises
    ------
    InputError
        If there is no finished run, one is damaged, lies in the folder of another or was trained
        on other grades, two of one model differ in more than supervision and seed, or two of any
        model in the labels.
    """
    tables: list[pd.DataFrame] = []
    firsts: dict[str, tuple[Path, dict[str, Any]]] = {}
    for folder in finished(runs, model):
        run = _record(folder, grades)
        own = folder.parents[1].name
        all_share = ALL_SHARE if grades == "as read" else ()
        for group, shared in (("", all_share), (own, MODEL_SHARES)):
            path, first = firsts.setdefault(group, (folder, run))
            if differ := [key for key in shared if run[key] != first[key]]:
                raise InputError(
                    f"{path} and {folder} differ in {', '.join(differ)}, so they cannot be "
                    "compared; remove the folder of the older run"
                )
        rows = run_table(folder, table)
        rows.insert(0, "model", own)
        for column in ("seed", "supervision", "backbone"):
            if column not in rows:
                rows.insert(0, column, run[column])
        tables.append(rows)
    if not tables:
        raise InputError(f"{runs}: holds no finished run; train with `make book` or `oacore train`")
    joined = pd.concat(tables, ignore_index=True)
    return joined.astype({"pred_kl": "Int64"}) if "pred_kl" in joined else joined


def read_both(runs: str | Path, model: str = "*") -> pd.DataFrame:
    """Predictions of all finished runs, or of one model's, with both statistics of batch norm.

    Returns
    -------
    DataFrame
        As :func:`read_runs`; `statistics` says which rows are which.
    """
    tables = [read_runs(runs, table, model=model) for table in ("predictions", "predictions_other")]
    return pd.concat(tables, ignore_index=True)


def run_records(runs: str | Path, model: str = "*") -> pd.DataFrame:
    """Settings and provenance of all finished runs of a folder, or of one model's, a row each."""
    rows = []
    for folder in finished(runs, model):
        run = _record(folder)
        origin = run.pop("provenance")
        versions = origin.pop("versions")
        minutes = run_table(folder, "history")["seconds"].sum() / 60
        commit = origin.pop("commit")
        parts = [stretch["numerics"] for stretch in run["stretches"]]
        rows.append(
            {
                **{key: run[key] for key in ("backbone", "supervision", "seed", "epochs")},
                **{key: run[key] for key in ("batch_size", "lr", "schedule", "weight_decay")},
                "statistics": run["statistics"],
                "precision": run["precision used"],
                "encoder": ", ".join(f"{key} {value}" for key, value in run["encoder"].items()),
                "training minutes": round(minutes, 2),
                "commit": commit[:10] if commit else "none",
                **{key: origin[key] for key in ("clean", "device", "python")},
                **{key: _each(parts, key) for key in ("threads", "instructions")},
                "torch": versions["torch"],
                "monai": versions["monai"],
                "finished": origin["finished"],
            }
        )
    return pd.DataFrame(rows)


def _each(parts: list[dict[str, Any]], key: str) -> str:
    """A value of all stretches of a run; more than one where it went on under others."""
    return ", then ".join(dict.fromkeys(str(part[key]) for part in parts))


def require_grades(folder: Path, run: dict[str, Any], grades: str) -> None:
    """Refuse a run that was told other grades: permuted ones answer another question.

    Parameters
    ----------
    folder : Path
        Of the run.
    run : dict
        Its record; one without the word is from before grades could be permuted.
    grades : {"as read", "permuted"}
        What is asked for.
    """
    if (found := run.get("grades", "as read")) != grades:
        raise InputError(
            f"{folder}: was trained on grades {found}, not {grades}; runs on permuted grades are "
            "controls of saliency maps and have a folder of their own: move this one there"
        )


def _record(folder: Path, grades: str = "as read") -> dict[str, Any]:
    """The record of a finished run, if it holds all that is read here."""
    run = run_record(folder)
    require_grades(folder, run, grades)
    if missing := [key for key in (*ALL_SHARE, *MODEL_SHARES, "stretches") if key not in run]:
        raise InputError(
            f"{folder / 'done.json'}: lacks {', '.join(missing)}, as the record of an older "
            f"version does; {again(folder)}"
        )
    model, supervision, seed = folder.parts[-3:]
    held = run["supervision"], f"seed{run['seed']}", run["backbone"]
    asked = supervision, seed, model if model in BACKBONE_NAMES else run["backbone"]
    if held != asked:
        raise InputError(
            f"{folder}: holds the run of {run['backbone']} {run['supervision']}, seed "
            f"{run['seed']}, which is another; {again(folder)}"
        )
    return run
