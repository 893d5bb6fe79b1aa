"""`make book`: its words checked, the build locked, Snakemake run, the book's place told."""

from __future__ import annotations

import argparse
import errno
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from oacore.data.cohort import is_phantom
from oacore.data.disclosure import asked_for
from oacore.data.sources import TERMS, missing_files
from oacore.errors import InputError
from oacore.files import write
from oacore.instruments.hierarchy.grid import arms_asked
from oacore.profile import load_profile
from oacore.training.progress import duration
from workflow.check_build import make_again
from workflow.forks import PLACES, forks
from workflow.gpu import gpus
from workflow.graph import ROOT, build_folder, older_builds
from workflow.lock import HANDED, take, unusable
from workflow.neutral import neutral_environment
from workflow.offer import offer
from workflow.scratch import scratch
from workflow.times import by_rule, forget

#: Where a build keeps the words it was made with, for Snakemake to read.
SETTINGS = "settings.json"
#: Open files that a notebook and its kernel need, with room to spare.
OPEN_FILES = 256
#: Bytes below which a disk is called full.
SCANT = 50e6


def snakemake(build: str, cores: int, config: dict[str, str]) -> int:
    """Run Snakemake while holding the build's lock; return its exit status.

    Parameters
    ----------
    build : str
        Folder of the build.
    cores : int
        Jobs side by side.
    config : dict
        What the Snakefile is to know, by :data:`.graph.WORDS`.

    Raises
    ------
    InputError
        If another process is at this build, its folder cannot be written, or a finished run of it
        is damaged.
    """
    locks = take(build)
    try:
        _require_ours(ROOT / build)
        make_again(ROOT / build)
        # A file, and JSON: on its command line Snakemake would read each value as YAML.
        write(ROOT / build / SETTINGS, json.dumps(config, indent=2) + "\n")
        # The lock above goes with the processes that hold it. Snakemake's own would outlive a
        # kill -9 and block the next build, hence --nolock.
        words = ["--nolock", "--cores", str(cores), "--configfile", f"{build}/{SETTINGS}"]
        if found := gpus():  # one training at a time on each
            words += ["--resources", f"accelerator={len(found)}"]
        command = [sys.executable, "-m", "snakemake", *words]
        with _forks(build, use=not found) as (places, ends):
            environment = {**os.environ, **places, HANDED: str(locks[-1])}
            files = [*ends, *locks]
            with subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=files) as process:
                signal.signal(signal.SIGTERM, lambda *_: process.terminate())
                while True:
                    try:
                        return process.wait()
                    except KeyboardInterrupt:
                        continue  # Snakemake got the Ctrl-C too, and is ending its jobs
    except OSError as error:
        raise unusable(ROOT / build, error) from error
    finally:
        for lock in locks:
            os.close(lock)


@contextmanager
def _forks(build: str, use: bool) -> Iterator[tuple[dict[str, str], list[int]]]:
    """Where jobs and notebooks ask for forks, by variable, and the files that end them.

    None outside Linux, where libraries of the system do not bear a fork.
    """
    with ExitStack() as stack:
        places, ends = {}, []
        if use and sys.platform == "linux":
            own = stack.enter_context(scratch())
            neutral = neutral_environment(str(own), str(ROOT / build / "notebooks/cache"))
            for what, more in {"jobs": {}, "notebooks": neutral}.items():
                places[PLACES[what]] = str(own / what)
                environment = {**os.environ, **more}
                ends.append(stack.enter_context(forks(own / what, what, environment)))
        yield places, ends


def _require_ours(build: Path) -> None:
    """Refuse a build of another user's before hours of it rather than after."""
    for folder in (ROOT / ".snakemake", *sorted(build.iterdir())):
        if folder.is_dir() and not folder.is_symlink() and not os.access(folder, os.W_OK):
            raise unusable(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _require_open_files() -> None:
    """Allow as many open files as a notebook needs, if the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        raise InputError(
            f"only {hard} files may be open at once here, a notebook needs {OPEN_FILES}; "
            "say `ulimit -n 1024` where that is allowed, and run the same command again"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))


def _cores(text: str) -> int:
    """Jobs side by side, as typed; as many as processors if nothing was."""
    if not text:
        return os.cpu_count() or 1
    if not (text.isdecimal() and int(text) > 0):
        raise InputError(f"CORES={text}: give the number of jobs side by side, 1 or more")
    return int(text)


def _folder(name: str, text: str) -> str:
    """A folder as typed, from the root; it is there, and holds what its name promises."""
    if not text:
        return ""
    folder = str(Path(text).expanduser().resolve())
    if not Path(folder).is_dir():
        raise InputError(f"{name.upper()}={folder}: no such folder")
    if name == "cohort":
        is_phantom(folder)  # a folder that holds no cohort ends here, in one line
    elif lacking := missing_files(name, folder):
        raise InputError(
            f"{name.upper()}={folder}: lacks {', '.join(lacking)}; get them with "
            f"`oacore fetch {name}`"
        )
    return folder


def _radiographs(text: str) -> str:
    """Where real radiographs lie, as typed, from the root; their names and tables will do."""
    if not text:
        return ""
    from oacore.instruments.radiographs.public import require_radiographs  # loads SciPy

    place = str(Path(text).expanduser().resolve())
    try:
        require_radiographs(place)
    except InputError as error:
        raise InputError(f"RADIOGRAPHS={error}") from None
    return place


def _arms(text: str) -> str:
    """Arms as typed, each of which there is."""
    try:
        return ",".join(arms_asked(text))
    except InputError as error:
        raise InputError(f"ARMS={text}: {error}") from None


def _say_what_failed(build: str) -> None:
    for said in sorted((ROOT / build / "notebooks/failed").glob("*.txt")):
        print(f"\n{said.read_text(encoding='utf-8')}", file=sys.stderr)
    if (free := shutil.disk_usage(ROOT / build).free) < SCANT:
        print(
            f"The disk of {build} is full ({free / 1e6:.1f} MB are free): make room on it.",
            file=sys.stderr,
        )
    print("The book is not finished. make book goes on where this stopped.", file=sys.stderr)


def main() -> int:
    """Command line of ``make book``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--cohort", default="")
    parser.add_argument("--published", default="")
    parser.add_argument("--radiomics", default="")
    parser.add_argument("--references", default="")
    parser.add_argument("--radiographs", default="")
    parser.add_argument("--images", default="")
    parser.add_argument("--arms", default="")
    parser.add_argument("--cores", default="")
    parser.add_argument("--fetch", default="")
    words = parser.parse_args()
    start = time.monotonic()
    try:
        load_profile(words.profile)
        cores = _cores(words.cores)
        folders = {name: _folder(name, getattr(words, name)) for name in ("cohort", *TERMS)}
        radiographs = _radiographs(words.radiographs)
        _require_open_files()
        offer(words.fetch, folders)
        build = build_folder(words.profile, folders["cohort"])
        for older in older_builds(words.profile, folders["cohort"]):
            print(
                f"An older version's build of this cohort lies in {older}. Nothing reads it any "
                f"more; if you do not either: rm -r {shlex.quote(older)}",
                flush=True,
            )
        shown = asked_for(words.images)
        forget(ROOT / build)
        config = {"profile": words.profile, **folders, "radiographs": radiographs}
        config["images"] = "yes" if shown else ""
        config["arms"] = _arms(words.arms)
        status = snakemake(build, cores, config)
    except InputError as error:
        print(f"make book: {error}", file=sys.stderr)
        return 1
    if status:
        _say_what_failed(build)
        return 1
    serve = "make serve" + (f" PROFILE={words.profile}" if words.profile != "laptop" else "")
    serve += f" COHORT={shlex.quote(words.cohort)}" if words.cohort else ""
    print(f"The book: {build}/html/index.html (open it in a browser, or: {serve})")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = duration(used.ru_utime + used.ru_stime)
    print(f"This took {duration(time.monotonic() - start)}, and {busy} of processor time.")
    if took := by_rule(ROOT / build):
        print(f"By rule: {', '.join(f'{rule} {duration(s)}' for rule, s in took.items())}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
