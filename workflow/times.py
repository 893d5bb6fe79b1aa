"""What processor time the jobs of a build took, by rule.

Each job leaves what bash says of it (`times`): two lines of user and system time, of the shell and
of all the processes that it waited for.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

TIMES = "times"
"""Folder of a build with a file of each job, named by its rule and process."""


def forget(build: Path) -> None:
    """Remove what an earlier build left."""
    for path in (build / TIMES).glob("*.*"):
        path.unlink()


def by_rule(build: Path) -> dict[str, float]:
    """Seconds of processor time by rule, the longest first."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for path in (build / TIMES).glob("*.*"):
        found = re.findall(r"(\d+)m([\d.]+)s", path.read_text())
        seconds[path.stem] += sum(60 * int(m) + float(s) for m, s in found)
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))
