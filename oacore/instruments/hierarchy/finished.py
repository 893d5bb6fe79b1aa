"""What is finished of a plan, kept file by file with what it follows from.

Such a file holds an answer for each knee, and lies outside the repository.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from oacore.errors import InputError
from oacore.files import whole

#: What answers follow from, by what a message calls it: settings, knees, code.
Key = Mapping[str, Any]


def write_finished(path: Path, key: Key, content: Mapping[str, np.ndarray]) -> None:
    """Keep arrays, in 32 bits; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = {name: value.astype(np.float32) for name, value in content.items()}
    with whole(path) as part:
        np.savez(part, key=json.dumps(key), **kept)


def read_finished(path: Path, key: Key) -> dict[str, np.ndarray] | None:
    """What was kept; None where nothing was.

    Raises
    ------
    InputError
        If it is damaged, or follows from anything else.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path) as file:
            content = {name: file[name] for name in file.files}
            was = json.loads(str(content.pop("key")))
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        raise InputError(f"{path} is damaged ({error}): remove it, and it is made again") from error
    now = json.loads(json.dumps(key))
    if others := [what for what in now if was.get(what) != now[what]]:
        raise InputError(
            f"{path} was made by other {' and other '.join(others)}: name another folder, or "
            "remove this one, and all is made again"
        )
    return content
