"""Jobs as forks of one Python that has loaded what they load.

To load torch, MONAI, Fabric and SciPy takes a process seven seconds, and a build has sixty. So
`make book` has one that loads them once; a job is a copy of it, which begins in a tenth of a
second. Whoever needs a job asks for it (workflow/ask.py).
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from workflow.ask import HANDED_ON, LENGTH, ONE_THREAD

#: What jobs load, and what notebooks do. Nothing of this project's, whose author may be at it; and
#: for notebooks nothing that looks, while it is loaded, for the notebook it is in: not ipykernel,
#: ipywidgets, plotly or matplotlib, nor MONAI, which loads two of them.
LOADED = {
    "jobs": (
        "torch", "lightning_fabric", "monai.metrics.regression", "numba", "scipy.stats", "pandas",
        "sklearn.linear_model", "nibabel", "papermill",
    ),
    "notebooks": (
        "IPython", "zmq", "jupyter_client.session", "torch", "lightning_fabric", "numba",
        "scipy.stats", "pandas", "sklearn.linear_model", "nibabel",
    ),
}  # fmt: skip
#: Variables of a build's processes that name the sockets at which to ask for either.
PLACES = {"jobs": "OACORE_JOBS", "notebooks": "OACORE_NOTEBOOKS"}
#: So many copies are made before anything is loaded: the first jobs need not wait, and where there
#: are no more, as after an edit of one chapter, nothing is loaded in vain.
COLD = 2
_PR_SET_PDEATHSIG = 1


@contextmanager
def forks(place: Path, what: str, environment: Mapping[str, str]) -> Iterator[int]:
    """Have a process ready to be copied, from when a first copy is asked for.

    Parameters
    ----------
    place : Path
        Of the socket to ask at.
    what : {"jobs", "notebooks"}
        Whose modules it loads, from :data:`LOADED`.
    environment : mapping
        In which they are loaded. A copy gets that of whoever asks.

    Yields
    ------
    int
        A file. The process ends when nobody has it any more, which is after whomever it was handed
        on to, even if this one was killed.
    """
    read, write = os.pipe()
    over, end = os.pipe()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen(128)

        def begin() -> None:
            if over in select.select([listening.fileno(), over], [], [])[0]:
                return
            own = {**environment, **ONE_THREAD}
            words = [sys.executable, "-m", "workflow.forks", str(listening.fileno()), *LOADED[what]]
            files = [listening.fileno()]
            with listening:  # closed here: where that process has ended, nobody waits for an answer
                process = subprocess.Popen(words, stdin=read, env=own, pass_fds=files)
            with process:
                select.select([over], [], [])
                process.terminate()

        beginner = threading.Thread(target=begin)
        beginner.start()
        try:
            yield write
        finally:
            os.close(end)
            beginner.join()
            for file in (read, write, over):
                os.close(file)


def serve(listening: socket.socket, load: Sequence[str]) -> None:
    """Make copies for whoever asks, until standard input ends; return in the copies, as they end.

    Parameters
    ----------
    listening : socket
    load : sequence of str
        Modules that all copies but the first find loaded.
    """
    mask = _leave_signals_to_askers()
    ended, told = _pipe_of_ends()
    server = os.getpid()
    askers: dict[int, socket.socket] = {}  # by job
    made = 0
    set_by_modules: dict[str, str] = {}
    events = selectors.DefaultSelector()
    for file in (0, ended, listening):
        events.register(file, selectors.EVENT_READ)
    while True:
        for key, _ in events.select():
            if key.fileobj == 0:
                sys.exit()
            elif key.fileobj == ended:
                os.read(ended, 4096)
                _tell_of_ends(askers, events)
            elif key.fileobj is listening:
                asker = listening.accept()[0]
                if not (asked := _received(asker)):
                    asker.close()
                    continue
                request, files = asked
                if not (job := _fork()):
                    _let_go(events, [listening, asker, *askers.values()], [ended, told])
                    request["env"] = set_by_modules | request["env"]
                    return _become(request, files, server, mask)
                _tell_of_beginning(job, asker, files)
                askers[job] = asker
                events.register(asker, selectors.EVENT_READ, job)
                made += 1
                if made == COLD:
                    set_by_modules = _load(load)
            elif askers.get(key.data) is key.fileobj:  # it was killed, or has no more use for it
                events.unregister(key.fileobj)
                with suppress(ProcessLookupError):
                    os.killpg(key.data, signal.SIGKILL)


def _leave_signals_to_askers() -> set[int]:
    """Ignore what a terminal sends; give the mask of signals from before."""
    own = (signal.SIGINT, signal.SIGHUP)
    for number in own:
        signal.signal(number, signal.SIG_IGN)
    # Blocked too: what is sent to a copy before it has handlers waits for them.
    return signal.pthread_sigmask(signal.SIG_BLOCK, own)


def _pipe_of_ends() -> tuple[int, int]:
    """A pipe that gets a byte for each job that has ended: conda's Python has no pidfd_open."""
    ended, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only of a signal with a handler is it told
    return ended, told


def _tell_of_beginning(job: int, asker: socket.socket, files: list[int]) -> None:
    """Tell who asked which process its job is; the job alone keeps its standard files."""
    for file in files:
        os.close(file)
    # Here too: who asked may send the group a signal before the job has made it.
    with suppress(PermissionError, ProcessLookupError):  # it has done so, or has ended
        os.setpgid(job, job)
    _say(asker, job)


def _tell_of_ends(askers: dict[int, socket.socket], events: selectors.BaseSelector) -> None:
    """Tell those who wait for a job that has ended how it did, and what time it took."""
    for job, asker in list(askers.items()):
        of, status, used = os.wait4(job, os.WNOHANG)
        if of:
            del askers[job]
            with suppress(KeyError):  # who asked was killed before
                events.unregister(asker)
            _say(asker, [os.waitstatus_to_exitcode(status), used.ru_utime, used.ru_stime])
            asker.close()


def _let_go(
    events: selectors.BaseSelector, sockets: Sequence[socket.socket], pipe: Sequence[int]
) -> None:
    """Undo in a copy what only the server is to have."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    events.close()
    for one in sockets:
        one.close()
    for file in pipe:
        os.close(file)


def _received(asker: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """What is asked for, with its standard input, output and error."""
    length, files, _, _ = socket.recv_fds(asker, LENGTH, 3)
    size = int.from_bytes(length, "big")
    with asker.makefile("rb") as sent:
        request = sent.read(size)
    if len(files) == 3 and 0 < size == len(request):
        return json.loads(request), files
    for file in files:
        os.close(file)
    return None  # it was killed before it had asked


def _say(asker: socket.socket, what: Any) -> None:
    with suppress(BrokenPipeError):  # it was killed, which is an event of its own
        asker.sendall(json.dumps(what).encode() + b"\n")


def _fork() -> int:
    with warnings.catch_warnings():
        # Of threads, says Python 3.12. They are OpenBLAS's alone, which sees to them at a fork.
        warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
        return os.fork()


def _load(modules: Sequence[str]) -> dict[str, str]:
    """Load modules; give the variables that they have set, which belong to them."""
    before = dict(os.environ)
    for module in modules:
        with suppress(Exception):  # whichever job needs it says so itself
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # what is never looked through again stays shared memory
    return {name: to for name, to in os.environ.items() if before.get(name) != to}


def _become(request: dict[str, Any], files: list[int], server: int, mask: set[int]) -> None:
    """Be what `python -m` would be."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # it has ended before that
        os._exit(1)
    os.setpgid(0, 0)  # what a terminal sends comes through whoever asked
    for number in HANDED_ON:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else usual)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it writes to the terminal from the background
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for there, file in enumerate(files):
        os.dup2(file, there)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    if not sys.flags.safe_path:
        sys.path[0] = request["cwd"]
    sys.argv = [request["module"], *request["words"]]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as own:
        serve(own, sys.argv[2:])
