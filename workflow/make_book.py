"""`make book`: one build at a time, its words checked, Snakemake run, the book's place told."""

from __future__ import annotations

import argparse
import fcntl
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from oacore.data.cohort import is_phantom
from oacore.data.sources import TERMS, missing_files
from oacore.errors import InputError
from oacore.profile import load_profile
from workflow.graph import ROOT, build_folder


def snakemake(build: str, cores: int, config: dict[str, str]) -> int:
    """Run Snakemake while holding the build's lock; return its exit status.

    Raises
    ------
    InputError
        If another process is at this build.
    """
    folder = ROOT / build
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another make book is at work in {build}; wait for it, or end it first"
            ) from None
        # The lock above goes with the processes that hold it. Snakemake's own would outlive a
        # kill -9 and block the next build, hence --nolock.
        words = ["--nolock", "--cores", str(cores)]
        if shutil.which("nvidia-smi"):  # one training at a time on a GPU
            words += ["--resources", "accelerator=1"]
        settings = [f"{key}={value}" for key, value in config.items() if value]
        command = [sys.executable, "-m", "snakemake", *words, "--config", *settings]
        with subprocess.Popen(command, cwd=ROOT, pass_fds=[lock.fileno()]) as process:
            signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            while True:
                try:
                    return process.wait()
                except KeyboardInterrupt:
                    continue  # Snakemake got the Ctrl-C too, and is ending its jobs


def main() -> int:
    """Command line of ``make book``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--cohort", default="")
    parser.add_argument("--published", default="")
    parser.add_argument("--radiomics", default="")
    parser.add_argument("--references", default="")
    parser.add_argument("--images", default="", choices=["", "no", "yes"])
    parser.add_argument("--cores", type=int, default=1)
    words = parser.parse_args()
    folders = {
        key: str(Path(value).expanduser().resolve()) if value else ""
        for key, value in vars(words).items()
        if key in ("cohort", *TERMS)
    }
    try:
        load_profile(words.profile)
        for name, folder in folders.items():
            if folder and not Path(folder).is_dir():
                raise InputError(f"{name.upper()}={folder}: no such folder")
        if folders["cohort"]:
            is_phantom(folders["cohort"])  # a folder that holds no cohort ends here, in one line
        for name in TERMS:
            if folders[name] and (lacking := missing_files(name, folders[name])):
                raise InputError(
                    f"{name.upper()}={folders[name]}: lacks {', '.join(lacking)}; get them with "
                    f"`oacore fetch {name}`"
                )
        build = build_folder(words.profile, folders["cohort"])
        shown = "yes" if words.images == "yes" else ""
        config = {"profile": words.profile, **folders, "images": shown}
        status = snakemake(build, words.cores, config)
    except InputError as error:
        print(f"make book: {error}", file=sys.stderr)
        return 1
    if status:
        for said in sorted((ROOT / build / "notebooks/failed").glob("*.txt")):
            print(f"\n{said.read_text(encoding='utf-8')}", file=sys.stderr)
        print("The book is not finished. make book goes on where this stopped.", file=sys.stderr)
        return 1
    serve = "make serve" + (f" PROFILE={words.profile}" if words.profile != "laptop" else "")
    serve += f" COHORT={shlex.quote(words.cohort)}" if words.cohort else ""
    print(f"The book: {build}/html/index.html (open it in a browser, or: {serve})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
