"""`make check-build`: whether all that a build made is still what was written, byte for byte.

Readers compare what they read (:mod:`oacore.seals`), large files by size and time. This compares
the content of everything: of runs, caches, explanations, chapters and pages, and of the volumes
that the caches were made of. `make book` and plain Snakemake do the same by size and time before
they begin, and with content before the report is written.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from oacore.errors import InputError, refusal
from oacore.instruments.radiographs.arms import CASES, ERRORS, LANDMARKS
from oacore.profile import load_profile
from oacore.seals import SEAL, damage, seal
from oacore.training.progress import JOBS
from oacore.training.records import finished
from workflow.graph import build_folder
from workflow.lock import take

RUNS = ("runs", "variants", "controls")
#: Of radiographs: on drawn ones, and on those that a user named.
STUDIES = ("study", "study-*")
MEASURED = ("explained", "faithfulness")
HTML_SEAL = f"html.{SEAL}"
#: What a run, and an explanation, have until they are finished.
BEGUN = ("checkpoint.pt", "parts")
ALL = sys.maxsize
"""Bytes of content that are compared: all there are."""


@dataclass(frozen=True)
class Fault:
    """Something of a build that is not what was written.

    Attributes
    ----------
    said : str
        The file, and in what it differs.
    remove : tuple of Path
        What is to be removed, so that ``make book`` makes it again.
    unsealed : bool
        Whether nothing is known of it, as of all that older versions finished.
    """

    said: str
    remove: tuple[Path, ...]
    unsealed: bool = False


def run_faults(build: Path, compared: int = ALL) -> Iterator[Fault]:
    """Faults of finished runs, and of what was measured on them; see :func:`.seals.damage`."""
    for kind in (*RUNS, *MEASURED, *STUDIES):
        for folder in (run for place in sorted(build.glob(kind)) for run in finished(place)):
            if said := damage(folder / SEAL, compared=compared):
                yield Fault(said, (folder,), not (folder / SEAL).exists())


def cache_faults(build: Path, compared: int = ALL) -> Iterator[Fault]:
    """Faults of caches."""
    for place in sorted(build.glob("cache/*/")):
        if place.suffix != ".part" and (said := damage(place / SEAL, compared=compared)):
            yield Fault(said, (place,))


def page_faults(build: Path, compared: int = ALL) -> Iterator[Fault]:
    """Faults of what is cheap to make: measurements, drawn radiographs, chapters and pages."""
    measured, drawn = build / "measured.csv", build / "radiographs"
    for made, record in ((measured, Path(f"{measured}.{SEAL}")), (drawn, drawn / SEAL)):
        if made.exists() and (said := damage(record, compared=compared)):
            yield Fault(said, (made,), not record.exists())
    for notebook in sorted(build.glob("notebooks/*.ipynb")):
        kept = build / "results" / notebook.stem
        records = [
            notebook.with_suffix(f".{SEAL}"),
            *([kept / SEAL] if (kept / SEAL).exists() else []),
        ]
        if said := next(filter(None, (damage(one, compared=compared) for one in records)), None):
            yield Fault(said, (notebook, kept), not records[0].exists())
    record = build / HTML_SEAL
    begun = (build / "html/build.json").exists() or record.exists()
    if begun and (said := damage(record, compared=compared)):
        yield Fault(said, (build / "html", record), not record.exists())


def cohort_faults(build: Path) -> Iterator[Fault]:
    """Volumes whose content changed while size and time did not; a phantom's truth."""
    from oacore.data.cache import changed_files

    phantom = build / "cohort"
    ours = (phantom,) if phantom.is_dir() and not phantom.is_symlink() else ()
    for path in changed_files(build / "cache"):
        said = f"{path}: is damaged: its content changed, and its time did not"
        yield Fault(said, ours)
    record = phantom / f"truth.csv.{SEAL}"
    if record.exists() and (said := damage(record) or ""):
        yield Fault(said, ours)


def require_undamaged(build: Path) -> None:
    """Refuse to write a report over a build of which something is not what was written.

    Raises
    ------
    InputError
        Naming each such file, and what to remove.
    """
    pages = (fault for fault in page_faults(build) if build / HTML_SEAL not in fault.remove)
    # A cache that has no seal is of an older version: any that is used now has been made again.
    caches = (fault for fault in cache_faults(build) if (fault.remove[0] / SEAL).exists())
    if found := [*run_faults(build), *caches, *pages]:
        raise InputError(in_words(found))


def make_again(build: Path) -> None:
    """Before a build: have damaged chapters and pages made again, and refuse damaged runs.

    By size and time alone: what has both is compared with content before the report is written.

    Parameters
    ----------
    build : Path
        At which nobody works now.

    Raises
    ------
    InputError
        If a finished run, or what was measured on one, is damaged: it may have taken days, and
        whoever has a copy will want that.
    """
    runs = [one for one in run_faults(build, 0) if not _can_go_on(one.remove[0])]
    if found := [one for one in runs if not one.unsealed]:
        raise InputError(in_words(found))
    pages = list(page_faults(build, 0))
    if unsealed := [one for one in (*runs, *pages) if one.unsealed]:
        print(_of_older_versions(build, unsealed), flush=True)
    for fault in runs:  # without a seal, of an older version, whose code was another
        (fault.remove[0] / "done.json").unlink(missing_ok=True)  # so that no chapter reads it first
    for fault in pages:
        if not fault.unsealed:
            print(f"{fault.said}; it is made again", flush=True)
        for path in fault.remove:
            if path.name == "html":  # stays to be read until new pages take its place
                (path / "build.json").unlink(missing_ok=True)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    forget_lost(build)


def forget_lost(build: Path) -> None:
    """Remove the marks of jobs that have lost a run, so that they are done again."""
    for file in sorted((build / JOBS).glob("*.json")):
        needed = [
            Path(made) if made.endswith(".npz") else Path(made, "done.json")
            for made in json.loads(file.read_text())
        ]
        if any(fnmatch(file.stem, study) for study in STUDIES):
            needed += [Path(file.stem, name) for name in (LANDMARKS, ERRORS, CASES)]
        if not all((build / path).exists() for path in needed):
            file.unlink()


def _of_older_versions(build: Path, faults: list[Fault]) -> str:
    """One line on all that has no seal: a build by an older version has hundreds of such parts."""
    names = [str(fault.remove[0].relative_to(build)) for fault in faults]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"{build}: {', '.join(names[:3])}{more} without a seal, as older versions left it: nothing "
        "tells whether this is what was written, so it is made again"
    )


def _can_go_on(folder: Path) -> bool:
    """Whether what ended after the seal and before the record, by a kill, has what it goes on from.

    Snakemake sees that the record is missing, and the same command finishes it.
    """
    begun = any((folder / name).exists() for name in BEGUN)
    return begun and not (folder / "done.json").exists()


def in_words(faults: list[Fault]) -> str:
    """Each fault, and one command that removes all that is damaged."""
    said = "\n".join(f"  {fault.said}" for fault in faults)
    remove = dict.fromkeys(str(path) for fault in faults for path in fault.remove)
    lines = [f"{len(faults)} of the build's parts are not what was written:", said]
    if remove:
        lines.append("Put back a copy, or remove them and run make book again:")
        lines += [f"  rm -r {' '.join(remove)}"]
    return "\n".join(lines)


def main() -> int:
    """Command line: the folder of a build, or its words; or a file that nothing else seals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=Path, nargs="?")
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--cohort", default="")
    parser.add_argument("--seal", action="store_true", help="record what this one file is, instead")
    words = parser.parse_args()
    build = words.build
    if build is None:
        try:
            build = Path(build_folder(load_profile(words.profile).name, words.cohort))
        except InputError as error:
            print(f"make check-build: {error}", file=sys.stderr)
            return 1
    if words.seal:
        return _seal_one(build)
    if not build.is_dir():
        print(f"make check-build: {build}: no such build; make book makes it", file=sys.stderr)
        return 1
    locks: list[int] = []
    try:
        if words.build is None:  # what is being written now would be taken for damaged
            locks = take(str(build), Path.cwd())
        return _tell(build)
    except InputError as error:
        print(f"make check-build: {error}", file=sys.stderr)
        return 1
    finally:
        for lock in locks:
            os.close(lock)


def _seal_one(file: Path) -> int:
    """Record what a file is; 0, or 1 where the system refuses that."""
    try:
        seal(f"{file}.{SEAL}", [file])
        return 0
    except InputError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        if not (said := refusal(error, str(file))):
            raise
        print(said, file=sys.stderr)
    return 1


def _tell(build: Path) -> int:
    """Print what is damaged, or that nothing is; 1 or 0."""
    checks = (run_faults(build), cache_faults(build), page_faults(build), cohort_faults(build))
    if found := [fault for check in checks for fault in check]:
        print(f"make check-build: {in_words(found)}", file=sys.stderr)
        return 1
    print(f"{build}: everything that was finished is what was written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
