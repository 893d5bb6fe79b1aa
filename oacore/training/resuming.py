"""A run's folder as a new call finds it: finished, to be gone on with, or to be begun.

A finished run is sealed (:mod:`oacore.seals`). A checkpoint carries what it was written for; its
parts carry the checksums of a zip file. What is damaged is never gone on with, and it is said.
"""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

from oacore.errors import InputError
from oacore.files import write
from oacore.seals import SEAL, damage
from oacore.training.records import again

CHECKPOINT = "checkpoint.pt"


def is_finished(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether a folder holds the finished run of these settings, undamaged.

    Raises
    ------
    InputError
        If it holds one of other settings, or a damaged one that these settings need not be of.
    """
    done = folder / "done.json"
    if not done.exists():
        return False
    if said := damage(folder / SEAL):
        unsealed = damage(folder / SEAL, names=[])
        if unsealed is None and is_of(folder / "config.json", settings):
            return False  # all that is lost follows from these settings: see `prepare`
        raise InputError(f"{said}; {again(folder)}")
    if not is_of(done, settings):
        raise InputError(
            f"{folder}: holds a finished run with other settings, labels or volumes; "
            "choose another folder, or remove this one"
        )
    return True


def prepare(folder: Path, identity: dict[str, Any], epochs: int) -> None:
    """Leave in a folder what this run can go on from, and nothing else.

    Parameters
    ----------
    folder : Path
        Holds no finished run that is whole.
    identity : dict
        All that an unfinished run must share with this one to be gone on with.
    epochs : int
        Of the run.

    Raises
    ------
    InputError
        If the folder holds something else than a run, or its settings are damaged.

    Notes
    -----
    Says so where an interrupted run is begun anew, and why.
    """
    checkpoint, config = folder / CHECKPOINT, folder / "config.json"
    if (folder / "done.json").exists():
        said = str(damage(folder / SEAL)).replace(f"{folder}/", "")
        say(folder, f"{said}; this finished run is trained again")
        _clear(folder)
    if checkpoint.exists() and not config.exists():
        raise InputError(f"{config}: is missing beside {CHECKPOINT}; remove {folder}")
    if not is_of(config, identity):
        if checkpoint.exists():
            say(folder, _begun_anew(folder, identity))
        _clear(folder)
        write(config, json.dumps(identity, indent=1))
    if checkpoint.exists() and (fault := unusable(checkpoint, identity, epochs)):
        say(folder, f"{CHECKPOINT}: {fault}; this run is begun anew")
        checkpoint.unlink()


def say(folder: Path, text: str) -> None:
    """Say something of a run that is no error.

    It may stand in a page. A warning would name its own file there, and a folder where the one who
    builds keeps things; so this names the run as :func:`called` does.
    """
    print(f"oacore: {called(folder)}: {text}", file=sys.stderr, flush=True)


def called(folder: Path) -> str:
    """What a run's folder is called in a page: its place in the build, or its name alone.

    A relative path ends in that place, and so does one below the working directory; what leads
    there from elsewhere tells of a disk.
    """
    if folder.is_absolute():
        here = Path.cwd()
        folder = folder.relative_to(here) if folder.is_relative_to(here) else Path(folder.name)
    return "/".join([part for part in folder.parts if part != ".."][-4:])


def unusable(checkpoint: Path, identity: dict[str, Any], epochs: int) -> str | None:
    """Say why a checkpoint cannot be gone on from; None where it can.

    Parameters
    ----------
    checkpoint : Path
        With `identity`, and `history`, a row an epoch.
    identity, epochs
        See :func:`prepare`.
    """
    try:
        with zipfile.ZipFile(checkpoint) as parts:
            if (part := parts.testzip()) is not None:  # compares the checksum of each
                return f"is damaged in {part}"
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except (PermissionError, MemoryError):
        raise  # says nothing of the file
    except Exception as error:  # zipfile and torch raise many kinds for a damaged file
        return f"is damaged ({type(error).__name__})"
    if state.get("identity") != identity:
        return "was written for another run"
    done = [row["epoch"] for row in state["history"]]
    if done != list(range(1, len(done) + 1)) or len(done) > epochs:
        return f"counts its epochs {done[:3]} to {done[-1:]}, of {epochs}"
    return None


def is_of(file: Path, settings: dict[str, Any]) -> bool:
    """Whether a run's settings or record were written for these settings."""
    if not file.exists():
        return False
    try:
        recorded = json.loads(file.read_bytes())
    except ValueError as error:  # not JSON, or not even text
        raise InputError(f"{file}: is damaged ({error}); remove {file.parent}") from error
    if not isinstance(recorded, dict):
        raise InputError(f"{file}: is damaged (it holds no settings); remove {file.parent}")
    recorded = {"grades": "as read", **recorded}  # before others could be asked for
    return {key: recorded.get(key) for key in settings} == json.loads(json.dumps(settings))


def _begun_anew(folder: Path, identity: dict[str, Any]) -> str:
    """Say why an interrupted run is not gone on with."""
    before = json.loads((folder / "config.json").read_text())
    others = [key for key, value in identity.items() if before.get(key) != value]
    return f"this run is begun anew, since an interrupted one there had other {', '.join(others)}"


def _clear(folder: Path) -> None:
    """Remove what a run left that cannot be gone on with; touch no other folder."""
    left = list(folder.iterdir()) if folder.exists() else []
    if left and not (folder / "config.json").exists():
        raise InputError(f"{folder}: is not empty and holds no run; choose a new folder")
    if left:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
