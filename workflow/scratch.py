"""A private folder for one kernel: its sockets, its keys, and what Jupyter wants to write.

A socket's address may have about a hundred bytes, so the folder lies in the temporary folder, not
in the build. A run that is killed leaves it behind: the next one takes it away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oacore.errors import InputError

PREFIX = "oacore-kernel-"
#: Bytes of a socket's address: 107 on Linux, 103 on macOS.
_LONGEST = 103
_SOCKET = "/kernel-ipc-99"


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a new folder that nobody else may enter, and remove it at the end.

    Raises
    ------
    InputError
        If there is no temporary folder whose path is short enough for sockets.
    """
    parent = short_place()
    remove_left_behind(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))  # mode 0700
    try:
        with open(folder / "lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # goes with this process, however that ends
            lock.write(socket.gethostname())
            lock.flush()
            yield folder
    finally:
        # A kernel that is still ending may write while this removes; the next run sees to the rest.
        shutil.rmtree(folder, ignore_errors=True)


def short_place() -> Path:
    """The temporary folder, or ``/tmp`` where the path of that is too long for a socket's address.

    Raises
    ------
    InputError
        If neither will do.
    """
    named = tempfile.gettempdir()
    for place in (named, "/tmp"):
        length = len(os.fsencode(f"{place}/{PREFIX}12345678{_SOCKET}"))
        if length <= _LONGEST and os.access(place, os.W_OK | os.X_OK):
            return Path(place)
    raise InputError(
        f"TMPDIR={named}: too long for the sockets of a kernel, whose addresses may have "
        f"{_LONGEST} bytes, and /tmp cannot be written to; set TMPDIR to a folder with a shorter "
        "path"
    )


def remove_left_behind(parent: Path) -> None:
    """Remove folders of runs that were killed: this user's, of this machine, with nobody in them.

    A temporary folder may be shared by machines, whose locks are not seen from here.
    """
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with open(folder / "lock", "r+", encoding="utf-8") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if held.read() == socket.gethostname():
                    shutil.rmtree(folder, ignore_errors=True)
        except (BlockingIOError, FileNotFoundError, NotADirectoryError):
            continue  # at work, or just begun, or removed at this moment by its own run
