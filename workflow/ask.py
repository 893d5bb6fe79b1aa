"""Have a module run by a fork of a Python that has loaded what it needs: ask.py SOCKET MODULE ….

This process stands in the job's place, for Snakemake, bash or Jupyter: the job has its folder,
environment and open files, gets the signals that come here, and this ends as the job does. Where
there is no socket (a cluster, or Snakemake called by hand), or the job has more than one thread, it
becomes ``python -m MODULE …``. It is started as ``python -IS`` and loads next to nothing, so that
it costs next to nothing. workflow/forks.py is the other side.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

#: What Snakemake tells a job that has one thread. Libraries read it as they are loaded.
ONE_THREAD = {
    f"{library}_NUM_THREADS": "1" for library in ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")
} | {"VECLIB_MAXIMUM_THREADS": "1"}
#: Names the file to which a job's processor time is added.
TIMES = "OACORE_TIMES"
#: Bytes that say how many follow.
LENGTH = 8
HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ask(place: str, module: str, words: Sequence[str]) -> int:
    """Have a module run with some words, and wait for its end.

    Returns
    -------
    int
        Its exit status; 128 and the signal's number where a signal ended it.
    """
    parent = os.getppid()
    # What is ignored here is by the job too, as SIGHUP is under nohup.
    handled = [int(one) for one in HANDED_ON if signal.getsignal(one) != signal.SIG_IGN]
    came: list[int] = []
    with socket.socket(socket.AF_UNIX) as server:
        try:
            if any(os.environ.get(name) != one for name, one in ONE_THREAD.items()):
                raise ConnectionRefusedError
            if None in (sys.stdin, sys.stdout, sys.stderr):  # closed, and cannot be handed on
                raise ConnectionRefusedError
            server.connect(place)
            for one in handled:
                signal.signal(one, lambda number, _: came.append(number))
            ignored = sorted(set(HANDED_ON).difference(handled))
            asked = {"module": module, "words": words, "cwd": os.getcwd(), "env": dict(os.environ)}
            sent = json.dumps({**asked, "ignored": ignored}).encode()
            socket.send_fds(server, [len(sent).to_bytes(LENGTH, "big")], [0, 1, 2])
            server.sendall(sent)
            answers = server.makefile()
            job = int(answers.readline())
        except (OSError, ValueError):  # nobody is there, or has ended before the job began
            for one in handled:
                signal.signal(one, signal.SIG_DFL)
            for one in came:
                os.kill(os.getpid(), one)
            os.execv(sys.executable, [sys.executable, "-m", module, *words])

        def hand_on(number: int, _: object) -> None:
            with suppress(ProcessLookupError):  # it has ended
                os.killpg(job, number)

        def pause(*_: object) -> None:
            hand_on(signal.SIGSTOP, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            hand_on(signal.SIGCONT, None)

        for one in handled:
            signal.signal(one, hand_on)
        if signal.getsignal(signal.SIGTSTP) != signal.SIG_IGN:
            signal.signal(signal.SIGTSTP, pause)
        for one in came:
            hand_on(one, None)
        try:
            # As a child would, the job ends where whoever started it was killed.
            while not select.select([server], [], [], 1)[0]:
                if os.getppid() != parent:
                    return 1
            status, user, system = json.loads(answers.readline())
        except (ValueError, ConnectionResetError):
            print(f"{module}: the process that it is a copy of has ended", file=sys.stderr)
            return 1
    if TIMES in os.environ:
        with open(os.environ[TIMES], "a", encoding="ascii") as times:
            times.write(f"0m{user:.3f}s 0m{system:.3f}s\n")
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(ask(sys.argv[1], sys.argv[2], sys.argv[3:]))
