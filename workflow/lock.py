"""The locks that `make book`, plain Snakemake and `make clean` take, so that none hurts another.

Each build holds its own, and a share of the one above it, which `make clean` takes whole. They
end with the process. Only the standard library is needed, as `make clean` may come before any
environment.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from pathlib import Path

from oacore.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
#: Name of a lock; it lies in the folder that it guards.
NAME = ".lock"
#: Where a process that has a build's lock tells its child the descriptor of it.
HANDED = "OACORE_BUILD_LOCK"
#: What `make clean` removes besides the builds.
TRACES = (".snakemake", ".pytest_cache", ".mypy_cache", ".ruff_cache")


def take(build: str, root: Path = ROOT) -> list[int]:
    """Lock a build until this process ends, and whoever it passes the descriptors to.

    Parameters
    ----------
    build : str
        Folder of the build below `root`, as "build/laptop"; it is made.
    root : Path
        The project.

    Returns
    -------
    list of int
        Descriptors: the share of the lock on all builds, and the lock on this one. Empty if the
        process that started this one holds them for it.

    Raises
    ------
    InputError
        If another process is at this build or removes it, or the folder cannot be written.
    """
    own = root / build / NAME
    if _was_handed(own):
        return []
    above = own.parent.parent / NAME
    try:
        share = _locked(above, fcntl.LOCK_SH)
    except BlockingIOError:
        raise InputError(f"make clean is at work in {above.parent}; wait for its end") from None
    except OSError as error:
        raise unusable(above.parent, error) from error
    try:
        return [share, _locked(own, fcntl.LOCK_EX)]
    except BlockingIOError:
        os.close(share)
        raise InputError(
            f"another make book or snakemake is at work in {build}; wait for it, or end it first"
        ) from None
    except OSError as error:
        os.close(share)
        raise unusable(own.parent, error) from error


def clean(root: Path = ROOT) -> None:
    """Remove all that was built. Where `build` is a link, only the link goes.

    Raises
    ------
    InputError
        If a build is at work, or something cannot be removed.
    """
    build = root / "build"
    try:
        if build.is_dir():
            _clear(build)
        elif build.is_symlink() or build.exists():
            build.unlink()
        for name in TRACES:
            _remove(root / name)
    except BlockingIOError:
        raise InputError(
            "a make book or snakemake is at work in build; wait for it, or end it first"
        ) from None
    except OSError as error:
        raise unusable(Path(error.filename or build), error) from error


def unusable(folder: Path, error: OSError) -> InputError:
    """Say in one line why a folder cannot be written, and what helps."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        cure = "free some space and run the same command again"
    elif error.errno in (errno.EEXIST, errno.ENOTDIR):
        cure = "something else bears the name of a folder: rename or remove it"
    elif error.errno in (errno.EMFILE, errno.ENFILE):
        cure = "allow more open files (ulimit -n 1024) and run the same command again"
    elif error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
        cure = "its disk locks no files: make build a link to a folder on one that does"
    else:
        cure = "make it yours, or make build a link to a folder in which you may write"
    return InputError(f"{folder}: {error.strerror}; {cure}")


def _locked(path: Path, kind: int) -> int:
    """Lock a file, and make it first if need be; BlockingIOError if another process has it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # NFS wants it writable
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        if _is(descriptor, path):
            return descriptor
        os.close(descriptor)  # make clean removed that file meanwhile


def _is(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one that lies at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:  # neither a closed descriptor nor an absent file is
        return False


def _was_handed(own: Path) -> bool:
    """Whether the parent process gave us a build's lock; it is no use to those further down."""
    descriptor = os.environ.get(HANDED, "")
    return descriptor.isdecimal() and _is(int(descriptor), own)


def _clear(build: Path) -> None:
    if build.is_symlink():
        os.close(_locked(build / NAME, fcntl.LOCK_EX))
        print(f"build was a link; what was built stays in {build.resolve()}")
        build.unlink()
        return
    lock = _locked(build / NAME, fcntl.LOCK_EX)
    for path in sorted(build.iterdir()):
        if path.name != NAME:
            _remove(path)
    (build / NAME).unlink()
    os.close(lock)
    try:
        build.rmdir()
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # it may be: the next build has begun
            raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        clean()
    except InputError as refusal:
        sys.exit(f"make clean: {refusal}")
