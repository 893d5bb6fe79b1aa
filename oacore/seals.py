"""Seals: what finished files were when they were written, compared when they are read.

A record beside the files holds the bytes, the time and the SHA-256 of each (FIPS 180-4). Files are
on the disk before the record is, and the record before the file that calls a folder finished, so
whoever finds that one finds all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from oacore.errors import InputError, unread
from oacore.files import write

#: The record of a folder.
SEAL = "seal.json"
SMALL = 16 * 2**20
"""Bytes up to which a file's content is compared at each reading: it takes 10 ms at the most."""


def seal(
    record: str | Path, paths: Iterable[str | Path], coming: Mapping[str, str] | None = None
) -> None:
    """Bring finished files to the disk and record what they are.

    Parameters
    ----------
    record : path-like
        Where the record goes: its folder holds the files, or those that hold them.
    paths : iterable of path-like
        The files; each is there, and nobody writes to it now.
    coming : mapping of str to str, optional
        Texts by the names of files beside the record that are written next, so that none is ever
        there without the record.
    """
    record = Path(record)
    found = {
        os.path.relpath(path, record.parent): _entry(path) for path in sorted(map(Path, paths))
    }
    for name, text in (coming or {}).items():
        data = text.encode()
        found[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write(record, sealed_text(found))


def add(record: str | Path, path: str | Path) -> None:
    """Seal one more file in a record, which is begun if it is not there.

    Raises
    ------
    InputError
        If the record is damaged.
    """
    record = Path(record)
    found = _files(record) if record.exists() else {}
    if isinstance(found, str):
        raise InputError(f"{found}; remove {record.parent} and make it again")
    entry = {os.path.relpath(path, record.parent): _entry(Path(path))}
    write(record, sealed_text({**found, **entry}))


def files_below(folder: Path) -> list[Path]:
    """Files in and below a folder that are to be sealed: no hidden ones, none half written."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != SEAL and not path.name.startswith((".", "part-"))
    )


def holds(record: str | Path, path: str | Path) -> bool:
    """Whether a record that is there names a file; a damaged one may have."""
    record = Path(record)
    if not record.exists():
        return False
    files = _files(record)
    return isinstance(files, str) or os.path.relpath(path, record.parent) in files


def damage(
    record: str | Path, names: Iterable[str] | None = None, compared: int = SMALL
) -> str | None:
    """Say in what the files of a record differ from what was written.

    Parameters
    ----------
    record : path-like
    names : iterable of str, optional
        The files asked for, relative to the record's folder; all that the record names without.
    compared : int
        Content is compared in files of up to so many bytes. A larger one of the recorded size and
        time is taken for what was written; of another time, its content decides.

    Returns
    -------
    str or None
        The first difference, starting with the path of the file; None where there is none.

    Raises
    ------
    InputError
        If the system does not let a file be read: it may be what was written.
    """
    record = Path(record)
    files = _files(record)
    if isinstance(files, str):
        return files
    for name in files if names is None else names:
        path = record.parent / name
        if name not in files:
            return f"{record}: names no {name}, so nothing tells whether that is what was written"
        if said := _difference(path, files[name], compared):
            return f"{path}: {said}"
    return None


def require(record: str | Path, *names: str, cure: str, compared: int = SMALL) -> None:
    """Raise InputError, with the cure, if files differ from what was written; see `damage`."""
    if said := damage(record, names or None, compared):
        raise InputError(f"{said}; {cure}")


def sealed_text(content: Any) -> str:
    """JSON of something, with its own digest in it: for one small file that nothing stands beside.

    Parameters
    ----------
    content : any
        What JSON can hold.
    """
    return json.dumps({"sha256": _own_digest(content), "content": content})


def read_sealed(path: str | Path) -> Any:
    """Read what :func:`sealed_text` made; None where the file is missing or damaged.

    For what can be made again: whoever calls this does so.
    """
    try:
        found = json.loads(Path(path).read_bytes())
    except (FileNotFoundError, ValueError):  # not JSON, or not even text
        return None
    if not isinstance(found, dict) or found.get("sha256") != _own_digest(found.get("content")):
        return None
    return found["content"]


def _own_digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _files(record: Path) -> dict[str, dict[str, Any]] | str:
    """What a record holds; in words what is wrong with it where it is damaged."""
    try:
        files = read_sealed(record)
    except OSError as error:
        if said := unread(error, str(record)):
            raise InputError(said) from error
        return f"{record}: cannot be read ({error.strerror})"
    if files is not None:
        return files
    if record.exists():
        return f"{record}: is damaged"
    return (
        f"{record}: is missing, as beside files of older versions, so nothing tells whether these "
        "are what was written"
    )


def _entry(path: Path) -> dict[str, Any]:
    """What a record says of a file, once the disk has it."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        stat = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": digest}


def _difference(path: Path, entry: Mapping[str, Any], compared: int) -> str | None:
    try:
        stat = path.stat()
        if stat.st_size != entry["bytes"]:
            return f"is damaged: it has {stat.st_size} bytes and was written with {entry['bytes']}"
        if stat.st_size > compared and stat.st_mtime_ns == entry.get("mtime_ns"):
            return None
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        if said := unread(error, str(path)):
            raise InputError(said) from error
        return f"cannot be read ({error.strerror})"
    return None if digest == entry["sha256"] else "is damaged: its content is not what was written"
