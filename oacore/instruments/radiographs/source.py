"""The files of a set of radiographs: below a folder, or in a zip that is not unpacked."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oacore.errors import InputError

#: Cures: of what is no set of radiographs, and of what is damaged.
OBTAIN = (
    "name the folder or zip of the public set (Mendeley Data, doi:10.17632/56rmx5bjcr.1), or a "
    "folder with table.csv and images/"
)
AGAIN = "get the public set again (doi:10.17632/56rmx5bjcr.1)"
#: Bytes that a picture may have.
_MOST_BYTES = 2**26


@dataclass(frozen=True)
class Files:
    """Files below a folder or in a zip.

    Attributes
    ----------
    source : Path
    names : list of str
        Sorted, with slashes, relative to the source.
    read : callable
        Gives a file's bytes by its name.
    """

    source: Path
    names: list[str]
    read: Callable[[str], bytes]


@contextmanager
def open_files(source: str | Path) -> Iterator[Files]:
    """Open a folder, or a zip without unpacking it.

    Parameters
    ----------
    source : path-like

    Yields
    ------
    Files
        Hidden files, and what macOS and Windows add, are left out.

    Raises
    ------
    InputError
        If there is no such folder or zip, or the zip is damaged, locked or names a file twice.
    """
    source = Path(source)
    if source.is_dir():
        yield Files(source, _shown(_below(source)), lambda name: (source / name).read_bytes())
        return
    if not source.exists():
        raise InputError(f"{source}: no such folder or file; {OBTAIN}")
    try:
        with zipfile.ZipFile(source) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            names = _shown([one.filename for one in members])
            twice = next((a for a, b in zip(names, names[1:], strict=False) if a == b), None)
            if twice is not None:
                raise InputError(f"{source} holds {twice} twice; {AGAIN}")
            yield Files(source, names, lambda name: _member(archive, name))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        if not zipfile.is_zipfile(source):
            raise InputError(f"{source} is no zip; {OBTAIN}") from error
        raise InputError(f"{source} is damaged ({error}); {AGAIN}") from error


def _below(source: Path) -> list[str]:
    """Names of all files below a folder; a folder may be a link, but is entered once."""
    names: list[str] = []
    entered = set()
    for folder, folders, inside in os.walk(source, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:
            folders.clear()
        else:
            entered.add(real)
            names += [Path(folder, name).relative_to(source).as_posix() for name in inside]
    return names


def _shown(names: list[str]) -> list[str]:
    """Names without hidden files, and without what macOS and Windows add."""
    hidden = re.compile(r"(^|/)(\.|__MACOSX/|Thumbs\.db$|desktop\.ini$)")
    return sorted(name for name in names if not hidden.search(name))


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's bytes; its check sum is compared, and no more is read than a picture may have."""
    member = archive.getinfo(name)
    if member.flag_bits & 1:
        raise InputError(f"{archive.filename}: {name} is locked by a password; {AGAIN}")
    if member.file_size > _MOST_BYTES:
        size = f"{member.file_size / 1e6:.0f} MB"
        raise InputError(f"{archive.filename}: {name} would take {size}; {AGAIN}")
    try:
        return archive.read(member)
    except NotImplementedError as error:
        cure = "unpack it with the program that made it, and name the folder"
        raise InputError(f"{archive.filename}: {name} cannot be read ({error}); {cure}") from error
