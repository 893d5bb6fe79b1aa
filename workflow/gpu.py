"""One GPU for each job, where a machine has several: `python -m workflow.gpu BUILD COMMAND…`.

A command is run with one GPU in its sight that no other job of the build has, until it ends. Where
there is one GPU or none, or a cluster has dealt them out, there is nothing to choose. Only the
standard library is needed, as this stands before every job that computes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpus() -> list[str]:
    """Names of the GPUs that a process started now would see, as CUDA takes them."""
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].split(",") if name.strip()]
    if not (command := shutil.which("nvidia-smi")):
        return []
    listed = subprocess.run([command, "--list-gpus"], capture_output=True, text=True, check=False)
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))] if listed.returncode == 0 else []


def take(build: Path, among: Sequence[str]) -> str:
    """Lock one of several GPUs until this process ends, and what it becomes.

    Parameters
    ----------
    build : Path
        Folder of the build; jobs of another build choose by themselves.
    among : sequence of str
        From :func:`gpus`.

    Returns
    -------
    str
        The first that is free. Where none is, the first: jobs share it then, as they would have.
    """
    folder = build / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    for name in among:
        lock = os.open(folder / f".gpu-{name.replace('/', '-')}", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        os.set_inheritable(lock, True)
        return name
    return among[0]


def main() -> None:
    """Command line: become the command."""
    build, *command = sys.argv[1:]
    if len(found := gpus()) > 1:
        os.environ[VISIBLE] = take(Path(build), found)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
