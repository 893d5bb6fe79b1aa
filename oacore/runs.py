"""Finished training runs of a folder, as tidy tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from oacore.errors import InputError

#: What runs that are compared have in common.
COMMON = ("epochs", "batch_size", "lr", "weight_decay", "precision", "volumes", "labels")


def run_folder(runs: str | Path, backbone: str, supervision: str, seed: int) -> Path:
    """Where a run's files lie below the folder of all runs."""
    return Path(runs) / backbone / supervision / f"seed{seed}"


def read_runs(runs: str | Path, table: str = "predictions") -> pd.DataFrame:
    """One tidy table over all finished runs of a folder.

    Parameters
    ----------
    runs : path-like
    table : {"predictions", "history"}

    Raises
    ------
    InputError
        If there is no finished run, or two differ in more than backbone, supervision and seed.
    """
    tables: list[pd.DataFrame] = []
    first: tuple[Path, dict[str, Any]] | None = None
    for done in sorted(Path(runs).glob("*/*/seed*/done.json")):
        run = json.loads(done.read_text())
        first = first or (done.parent, run)
        if differ := [key for key in COMMON if run[key] != first[1][key]]:
            raise InputError(
                f"{first[0]} and {done.parent} differ in {', '.join(differ)}, so they cannot be "
                "compared; remove the folder of the older run"
            )
        rows = pd.read_csv(done.parent / f"{table}.csv")
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
