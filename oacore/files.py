"""Files that appear whole or not at all, and work on many files in processes or threads.

Whoever reads a file of ours may take it for finished: a writer that is interrupted, killed, out
of disk or out of power leaves the old file, or none.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from tqdm import tqdm

from oacore.errors import FULL, InputError, cure_of

#: How PyTorch's writer of archives, C++ streams and safetensors say that a file was not written.
_UNWRITTEN = re.compile(
    r"inline_container|PytorchStreamWriter|iostream error|Parent directory .+ does not exist"
    r"|I/O error: "
)

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Give the place beside a file at which to write it; the file appears at the end of the block.

    Parameters
    ----------
    path : path-like
        The file; its folder is there.

    Yields
    ------
    Path
        In the same folder, with a name that starts with "part-" and ends as the file's does, since
        some libraries go by that. No other writer has the same.

    Raises
    ------
    InputError
        If the disk is full.
    """
    path = Path(path)
    part = path.with_name(f"part-{uuid.uuid4().hex}-{path.name}")
    try:
        yield part
        replace(part, path)
    except OSError as error:
        if error.errno in FULL:
            raise InputError(f"{path}: {error.strerror}; {cure_of(error)}") from error
        if error.errno is not None:  # said of the file that was asked for, not of its part
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def write(path: str | Path, content: str | bytes) -> None:
    """Write a text or bytes, whole or not at all; see :func:`whole`."""
    data = content.encode() if isinstance(content, str) else content
    with whole(path) as part:
        part.write_bytes(data)


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Name the file where PyTorch, Lightning or safetensors fail to write it, and say why.

    Parameters
    ----------
    path : Path
        The file. Lightning writes it among the temporary files first.

    Raises
    ------
    InputError
        If a write fails. Errors of any other kind pass through as they are: memory that ran out,
        tensors that no file can hold.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not (why := _unwritten(error)):
            raise
        places = {path.parent: "its disk", Path(tempfile.gettempdir()): "that of temporary files"}
        free = " and ".join(
            f"{shutil.disk_usage(place).free / 2**20:.0f} MiB free on {disk}"
            for place, disk in places.items()
            if place.is_dir()
        )
        cure = cure_of(OSError(_number(error, path), why))
        if not path.parent.is_dir():
            cure = f"make the folder {path.parent} and run the same command again"
        raise InputError(f"{path}: could not be written ({why}), with {free}; {cure}") from error


def _unwritten(error: Exception) -> str:
    """What kept bytes from a file, if that is what an error says; "" for any other error."""
    if isinstance(error, OSError):  # any other names its path, and is told of by that
        return (error.strerror or "") if error.errno in FULL else ""
    if isinstance(error.__context__, MemoryError):  # the file was one in memory
        return ""
    said = str(error).splitlines()[0][:120] if str(error) else ""
    return said if _UNWRITTEN.search(said) else ""


def _number(error: Exception, path: Path) -> int:
    """The system's number of what failed; PyTorch tells none, so its most likely one."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if told := re.search(r"\(os error (\d+)\)", str(error)):
        return int(told[1])
    if path.is_dir():
        return errno.EISDIR
    may = os.access(path if path.exists() else path.parent, os.W_OK)
    return errno.ENOSPC if may else errno.EACCES


def replace(part: Path, path: Path) -> None:
    """Put a finished file in its place, once the disk has it: a power cut leaves the old one."""
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def require_empty(folder: Path) -> None:
    """Refuse a place where something is already, before anything is made.

    Parameters
    ----------
    folder : Path
        May be an empty folder, or not be there.

    Raises
    ------
    InputError
        If it is a file, or a folder that holds something.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{folder}: holds something already; give a new folder or empty this one")


def remove_parts(folder: Path) -> None:
    """Remove what killed writers left in and below a folder that nobody writes to now."""
    for part in folder.rglob("part-*"):
        if part.is_file() and re.match(r"part-[0-9a-f]{32}-", part.name):
            part.unlink()


def in_processes(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    label: str,
    unit: str,
    done: int = 0,
) -> list[Result]:
    """Call a function on each item in processes of their own, with a progress bar.

    The first error, or Ctrl-C, drops what has not begun, and ends when what has is done. Where the
    process that hands out the work is killed, the others end at once.

    Parameters
    ----------
    work : callable
        Of a module, so that another process finds it.
    items : iterable
        What it is called on, one by one.
    workers : int
        Processes; 1 works here.
    label, unit : str
        Of the progress bar: what is done, and one of what.
    done : int
        Items that were done before, for the bar.

    Returns
    -------
    list
        In the order of `items`.

    Raises
    ------
    InputError
        If `workers` is below 1, or the system ended a process.
    """
    _require_workers(workers)
    items = list(items)
    with tqdm(total=done + len(items), initial=done, desc=label, unit=unit) as bar:
        if workers == 1:
            return [_and_count(work(item), bar) for item in items]
        # Started anew rather than forked: a copy of a process with threads may hang.
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin_worker)
        try:
            return _collected(pool, work, items, bar)
        except BrokenProcessPool as error:
            raise InputError(
                f"{label}: the system ended one of {workers} processes, most likely for want of "
                "memory; run the same command again with --workers 1, or with fewer than now"
            ) from error


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, label: str, unit: str
) -> list[Result]:
    """Call a function on each item in threads, as :func:`in_processes` does."""
    _require_workers(workers)
    items = list(items)
    with tqdm(total=len(items), desc=label, unit=unit) as bar:
        return _collected(ThreadPoolExecutor(workers), work, items, bar)


def _require_workers(workers: int) -> None:
    if workers < 1:
        raise InputError(f"workers is {workers}; give 1 or more")


def _collected(
    pool: Executor, work: Callable[[Item], Result], items: list[Item], bar: Any
) -> list[Result]:
    with pool:
        jobs = [pool.submit(work, item) for item in items]
        try:
            for job in as_completed(jobs):
                _and_count(job.result(), bar)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return [job.result() for job in jobs]


def _and_count(result: Result, bar: Any) -> Result:
    bar.update()
    return result


def end_with_parent() -> None:
    """In a worker of a pool: end when the process that started it does, however that ended.

    A killed parent cannot tell its workers, which would compute on and then wait for work for ever.
    Give this to a pool as its initializer.
    """
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])  # the parent's end of a pipe, which the system closes
    os._exit(1)  # not sys.exit: that ends a thread alone, and work goes on in another


def _begin_worker() -> None:
    """In a worker: Ctrl-C is for the process that hands out the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
