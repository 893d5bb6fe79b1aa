"""The one question of `make book`: whether to fetch what is small, public and not there yet.

Chapters 9 and 11 compute from the paper's predictions and from radiomics where they have them, and
show the project's record where not. So nothing waits for an answer: a build that nobody watches,
that has been answered before or that is offline goes on at once, and says nothing.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from oacore.data.sources import missing_files, source_cache
from oacore.errors import InputError

#: What is offered, and what each is to a reader.
OFFERED = {
    "published": "the paper's nine prediction files, 150 kB",
    "radiomics": "radiomics and grades of the same knees, 5 MB",
}
#: Seconds for which a question stands.
PATIENCE = 60
#: Seconds in which a host that can be reached answers.
REACH = 3


def offer(word: str, folders: Mapping[str, str]) -> None:
    """Fetch what a build lacks, if that is what its user wants.

    Parameters
    ----------
    word : {"yes", "no", ""}
        The answer, as typed after ``FETCH=``; empty where the terminal is to be asked, once.
    folders : mapping
        Of sources to the folders that were named for them; empty where none was.

    Raises
    ------
    InputError
        If the word is no answer.

    Notes
    -----
    A download that fails is said, and the build goes on: it needs none of them.
    """
    if word not in ("yes", "no", ""):
        raise InputError(f"FETCH={word}: say yes or no; without it a terminal is asked, once")
    lacking = [name for name in OFFERED if not folders[name] and _lacks(name)]
    if word == "no" or not lacking or (word == "" and not _wanted(lacking)):
        return
    from oacore.data.download import fetch_source  # reads what a build does not

    for name in lacking:
        try:
            fetch_source(name)
        except InputError as error:
            print(f"make book: {error}", file=sys.stderr)


def _lacks(source: str) -> bool:
    return bool(missing_files(source, source_cache(source)))


def _wanted(lacking: list[str]) -> bool:
    """Ask, if there is somebody to answer who has not yet, and a network."""
    asked = source_cache("asked").with_suffix(".txt")
    watched = os.isatty(0) and os.isatty(1) and not os.environ.get("CI")
    if not watched or asked.exists() or not _online():
        return False
    print("These public files are not on this computer:")
    for name in lacking:
        print(f"  {OFFERED[name]} (`oacore fetch {name}`)")
    print(
        "They have no licence: yours to read, not to pass on. With them chapters 9 and 11 are "
        "computed in this build; without them they show this project's record.\n"
        f"Fetch them now? yes or no (no answer within {PATIENCE} s goes on without): ",
        end="",
        flush=True,
    )
    answer = _line(PATIENCE)
    if answer is None:
        print("\nGoing on without; FETCH=yes or FETCH=no answers beforehand.")
        return False
    _remember(asked, answer)
    return answer.lower() in ("y", "yes")


def _line(seconds: float) -> str | None:
    """A line from the terminal; None if none comes in time."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return sys.stdin.readline().strip() if ready else None


def _remember(asked: Path, answer: str) -> None:
    try:
        asked.parent.mkdir(parents=True, exist_ok=True)
        asked.write_text(f"make book asked whether to fetch public files: {answer}\n")
    except OSError as error:
        print(f"The answer could not be kept ({error.strerror}: {asked}).", file=sys.stderr)


def _online() -> bool:
    """Whether the files' host answers soon; through a proxy, if one is set."""
    from oacore.data.download import RAW_URL

    try:
        urlopen(Request(RAW_URL, method="HEAD"), timeout=REACH).close()
    except HTTPError:  # an answer, if an unfriendly one
        return True
    except OSError:  # offline, which is no fault of anybody's
        return False
    return True
