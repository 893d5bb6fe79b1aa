"""Finished runs of any backbone as tables and records; no network is needed to read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from oacore.errors import InputError

#: What all runs that are compared have in common, and what those of one model have besides.
ALL_SHARE = ("labels",)
MODEL_SHARES = (
    *("backbone", "encoder", "heads", "epochs", "batch_size", "lr", "weight_decay", "precision"),
    *("volumes", "precision used"),
)


def run_folder(runs: str | Path, model: str, supervision: str, seed: int) -> Path:
    """Path of a run's files below the folder of all runs; a model is a backbone or variant."""
    return Path(runs) / model / supervision / f"seed{seed}"


def run_record(folder: str | Path) -> dict[str, Any]:
    """Settings and provenance of one finished run, as its ``done.json`` has them.

    Raises
    ------
    InputError
        If the folder holds no finished run.
    """
    path = Path(folder) / "done.json"
    if not path.is_file():
        raise InputError(f"{folder}: holds no finished run; train with `make book`")
    return json.loads(path.read_text())


def read_runs(runs: str | Path, table: str = "predictions") -> pd.DataFrame:
    """One tidy table over all finished runs of a folder; `model` is the name of its recipe.

    Parameters
    ----------
    runs : path-like
    table : {"predictions", "history"}

    Raises
    ------
    InputError
        If there is no finished run, or two of one model differ in more than supervision and
        seed, or two of any model in the labels.
    """
    tables: list[pd.DataFrame] = []
    firsts: dict[str, tuple[Path, dict[str, Any]]] = {}
    for done in sorted(Path(runs).glob("*/*/seed*/done.json")):
        run = json.loads(done.read_text())
        model = done.parents[2].name
        for group, shared in (("", ALL_SHARE), (model, MODEL_SHARES)):
            path, first = firsts.setdefault(group, (done.parent, run))
            if differ := [key for key in shared if run[key] != first[key]]:
                raise InputError(
                    f"{path} and {done.parent} differ in {', '.join(differ)}, so they cannot be "
                    "compared; remove the folder of the older run"
                )
        rows = pd.read_csv(done.parent / f"{table}.csv")
        rows.insert(0, "model", model)
        for column in ("seed", "supervision", "backbone"):
            if column not in rows:
                rows.insert(0, column, run[column])
        tables.append(rows)
    if not tables:
        raise InputError(f"{runs}: holds no finished run; train with `make book` or `oacore train`")
    joined = pd.concat(tables, ignore_index=True)
    return joined.astype({"pred_kl": "Int64"}) if "pred_kl" in joined else joined


def run_records(runs: str | Path) -> pd.DataFrame:
    """Settings and provenance of all finished runs of a folder, a row each."""
    rows = []
    for done in sorted(Path(runs).glob("*/*/seed*/done.json")):
        run = json.loads(done.read_text())
        origin = run.pop("provenance")
        versions = origin.pop("versions")
        minutes = pd.read_csv(done.parent / "history.csv")["seconds"].sum() / 60
        commit = origin.pop("commit")
        rows.append(
            {
                **{key: run[key] for key in ("backbone", "supervision", "seed", "epochs")},
                **{key: run[key] for key in ("batch_size", "lr", "weight_decay")},
                "precision": run["precision used"],
                "encoder": ", ".join(f"{key} {value}" for key, value in run["encoder"].items()),
                "training minutes": round(minutes, 2),
                "commit": commit[:10] if commit else "none",
                **{key: origin[key] for key in ("clean", "device", "threads", "python")},
                "torch": versions["torch"],
                "monai": versions["monai"],
                "finished": origin["finished"],
            }
        )
    return pd.DataFrame(rows)
