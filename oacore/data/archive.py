"""Archives unpacked so that nothing lands elsewhere, overflows, or is taken for whole."""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import BinaryIO

from tqdm.auto import tqdm

from oacore.errors import InputError
from oacore.files import whole

#: What an archive may hold: volumes are compressed already, and hardly grow.
GROWTH, ALLOWANCE = 2, 10**9


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive; each member is written beside, checked, then renamed.

    Members that are there already are compared by their CRC-32, so that on return
    every one of them is known to be whole and the archive can go.

    Parameters
    ----------
    archive : Path
        A zip. Members outside a folder of the archive's own name go into one.
    folder : Path
        Where to.

    Raises
    ------
    InputError
        If the archive is damaged, a member would lie outside `folder` or in another's way, or
        all of them take more than twice the archive's size and a gigabyte.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [
                member
                for member in opened.infolist()
                if not member.is_dir() and not member.filename.startswith("__MACOSX/")
            ]
            in_own_folder = all(m.filename.startswith(f"{archive.stem}/") for m in members)
            own = "" if in_own_folder else archive.stem
            paths = [inside(folder, m.filename, str(archive), own) for m in members]
            _require_room_for_each(archive, folder, paths)
            _require_bounded(archive, sum(member.file_size for member in members))
            for member, path in tqdm(
                list(zip(members, paths, strict=True)), desc=f"Unpacking {archive.name}"
            ):
                if path.is_file() and _same(path, member):
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                # Reading a member to its end compares its CRC-32, and gives no byte more than
                # it says it has.
                with whole(path) as part, opened.open(member) as source, part.open("wb") as out:
                    shutil.copyfileobj(source, out, 2**20)
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{archive} is damaged ({error}): remove it and run the same command again"
        ) from error


def inside(folder: Path, name: str, source: str, own: str = "") -> Path:
    """Where an entry of a listing or an archive is to lie.

    Parameters
    ----------
    folder : Path
        Outside of which nothing is written; it may itself be a link.
    name, source : str
        The entry, and what names it.
    own : str
        A folder in it that all entries of the source go to.

    Raises
    ------
    InputError
        If that is outside the folder, by its name or by a link that lies there.
    """
    base = folder / own
    path = base / name
    # Absolute: "../x" begins with ".", as relative paths are compared.
    if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(base)):
        raise InputError(
            f"{source}: the entry {name!r} would be written outside {folder}. Nothing of it was "
            "unpacked; it is not the OAIZIB-CM that this client knows."
        )
    if not path.resolve().is_relative_to(folder.resolve()):
        links = [one for one in (path, *path.parents) if one.is_symlink() and one != folder]
        raise InputError(
            f"{links[0]} is a link to {links[0].resolve()}, so that {name!r} would be written "
            f"outside {folder}: put a folder in its place, or name another folder to fetch into"
        )
    return path


def _require_room_for_each(archive: Path, folder: Path, paths: list[Path]) -> None:
    """No member may be another's folder, or stand twice; nor may what lies there be in the way."""
    named = Counter(path.relative_to(folder) for path in paths)
    above = {parent for path in named for parent in path.parents}
    for path, times in named.items():
        if times > 1 or path in above:
            what = "more than once" if times > 1 else "as a file and as a folder"
            raise InputError(
                f"{archive} has {path} {what}. Nothing of it was unpacked; remove it, and get "
                "the released one from doi:10.5281/zenodo.14934086."
            )
    for path in sorted(above | set(named)):
        there = folder / path
        if there.exists() and there.is_dir() == (path in named):
            raise InputError(
                f"{there} is in the way of what {archive.name} holds: rename or remove it, and "
                "run the same command again"
            )


def _require_bounded(archive: Path, unpacked: int) -> None:
    limit = GROWTH * archive.stat().st_size + ALLOWANCE
    if unpacked > limit:
        raise InputError(
            f"{archive} would take {unpacked / 1e9:.1f} GB unpacked, where {limit / 1e9:.1f} GB is "
            "the most that this client expects of it. Nothing of it was unpacked; remove it, and "
            "get the released one from doi:10.5281/zenodo.14934086."
        )


def _same(path: Path, member: zipfile.ZipInfo) -> bool:
    if path.stat().st_size != member.file_size:
        return False
    with path.open("rb") as content:
        return _crc32(content) == member.CRC


def _crc32(content: BinaryIO) -> int:
    crc = 0
    while block := content.read(2**20):
        crc = zlib.crc32(block, crc)
    return crc
