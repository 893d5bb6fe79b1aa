"""How far a build is: runs that are finished, begun and waiting, what failed, and what is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from oacore.errors import InputError
from oacore.names import SUPERVISION_NAMES
from oacore.profile import Profile
from oacore.training.records import run_folder

JOBS = "jobs"
"""Folder of a build with a mark of each finished job, and what the failed ones said."""


def failure(build: str | Path, job: str) -> Path:
    """Where a job of the build graph says why it failed."""
    return Path(build, JOBS, "failed", f"{job}.txt")


def progress(build: str | Path, profile: Profile) -> pd.DataFrame:
    """All runs that a profile asks for, and how far each is.

    Parameters
    ----------
    build : path-like
        Folder of the build.
    profile : Profile

    Returns
    -------
    DataFrame
        `kind` ("runs", "variants", "controls"), `model`, `supervision`, `seed`; `state`: "done",
        "begun" or "waiting"; `done` and `epochs`, those finished and all; `sign`, seconds since
        the last epoch of one that is begun; `left`, seconds of training that its epochs left will
        take, by what the model's epochs took so far: missing where it has none yet; `explained`,
        whether its saliency was measured, missing where nobody asks for that.
    """
    rows = []
    for kind in ("runs", "variants", "controls"):
        for model in getattr(profile, "backbones" if kind == "runs" else kind):
            recipe = profile.recipe(model)
            for part in profile.parts(model):
                for supervision, seed in part:
                    folder = run_folder(Path(build, kind), model, supervision, seed)
                    maps = run_folder(Path(build, "explained"), model, supervision, seed)
                    rows.append(
                        {
                            **{"kind": kind, "model": model, "supervision": supervision},
                            **{"seed": seed, **_of_run(folder), "epochs": recipe.epochs},
                            "explained": (maps / "done.json").exists() if kind == "runs" else None,
                        }
                    )
    table = pd.DataFrame(rows)
    spent = table["seconds"].groupby(table["model"]).transform("sum")
    passed = table["done"].groupby(table["model"]).transform("sum")
    table["left"] = (table["epochs"] - table["done"]) * (spent / passed.where(passed > 0))
    table.loc[table["state"] == "done", "left"] = 0.0
    return table.drop(columns="seconds")


def _of_run(folder: Path) -> dict[str, object]:
    """State, finished epochs, their seconds, and seconds since the last of them, of one run."""
    history, done = folder / "history.csv", (folder / "done.json").exists()
    begun = (folder / "config.json").exists()
    state = "done" if done else "begun" if begun else "waiting"
    if not history.exists():
        return {"state": state, "done": 0, "seconds": 0.0, "sign": None}
    past = pd.read_csv(history)
    sign = None if done else max(0.0, time.time() - history.stat().st_mtime)
    return {"state": state, "done": len(past), "seconds": past["seconds"].sum(), "sign": sign}


def status(build: str | Path, profile: Profile) -> str:
    """Say how far a build is, a line a model, and what failed.

    Parameters
    ----------
    build, profile
        See :func:`progress`.

    Raises
    ------
    InputError
        If there is no such build.
    """
    build = Path(build)
    if not build.is_dir():
        raise InputError(f"{build}: no such build; `make book` makes it, or name another folder")
    table = progress(build, profile)
    lines = [f"{build}, by the profile {profile.name}"]
    for model, own in table.groupby("model", sort=False):
        lines.append(f"  {model}: {_of_model(own)}")
    executed = len(list(build.glob("notebooks/*.ipynb")))
    pages = "the pages are rendered" if (build / "html/build.json").exists() else "no pages yet"
    lines.append(f"  chapters executed: {executed}; {pages}")
    lines += [f"  failed: {said}" for said in failures(build)]
    return "\n".join([*lines, f"Left to do: {_left(table)}"])


def failures(build: Path) -> Iterator[str]:
    """What jobs and chapters said that failed and were not tried again, each in a line."""
    for folder in (build / JOBS, build / "notebooks"):
        for said in sorted(folder.glob("failed/*.txt")):
            first = said.read_text(encoding="utf-8").strip().partition("\n")[0]
            yield f"{said.stem}: {first}"


def duration(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _of_model(runs: pd.DataFrame) -> str:
    """How far the runs of a model are."""
    done = runs["state"] == "done"
    said = [f"{done.sum()} of {len(runs)} runs trained"]
    if runs["explained"].notna().any():
        said.append(f"saliency of {runs['explained'].sum()} measured")
    for run in runs[runs["state"] == "begun"].to_dict("records"):
        when = "" if pd.isna(run["sign"]) else f", the last {duration(run['sign'])} ago"
        said.append(
            f"{SUPERVISION_NAMES[run['supervision']]} seed {run['seed']}: "
            f"{run['done']} of {run['epochs']} epochs{when}"
        )
    return "; ".join(said)


def _left(table: pd.DataFrame) -> str:
    """What is left to train and to measure, and how long the training takes one process."""
    runs = table[table["state"] != "done"]
    maps = int((table["explained"] == False).sum())  # noqa: E712 - it is missing for some
    if runs.empty:
        said = "no run"
    else:
        known = runs["left"].notna()
        said = f"{len(runs)} runs"
        if known.any():
            said += f", {duration(runs.loc[known, 'left'].sum())} of training for one process"
        if unknown := list(dict.fromkeys(runs.loc[~known, "model"])):
            said += f" (not counting {', '.join(unknown)}, of which no epoch is finished)"
    return f"{said}; the saliency of {maps} runs."
