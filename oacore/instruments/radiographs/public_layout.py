"""The public set's layout: names of folders and files as a table of cases."""

from __future__ import annotations

import re

import pandas as pd

from oacore.data.cohort import Fault
from oacore.errors import InputError
from oacore.instruments.coherence.patterns import SIZES
from oacore.instruments.radiographs.source import AGAIN, Files
from oacore.instruments.radiographs.words import OARSI, SIDES, SPLITS

#: Height and width of its pictures, and the folder of its splits.
PUBLIC_SIZE = (224, 224)
PUBLIC_ROOT = "kneeKL224"
#: An OAI number and a side.
PUBLIC_NAME = re.compile(r"(9\d{6})([LR])\.png")
_IN_SPLIT = re.compile(r"(?P<root>(?:.*/)?)(?P<split>train|val|test)/(?P<kl>[0-4])/(?P<name>[^/]+)")


def public_root(files: Files) -> str | None:
    """Where in a source the public set's folders of splits lie; None where there are none.

    Raises
    ------
    InputError
        If there are several, none of which is called kneeKL224.
    """
    found = {match["root"] for match in map(_IN_SPLIT.fullmatch, files.names) if match}
    named = {root for root in found if root.split("/")[-2:-1] == [PUBLIC_ROOT]}
    roots = sorted(named or found)
    if len(roots) > 1:
        listed = ", ".join(root.rstrip("/") or "itself" for root in roots)
        raise InputError(f"{files.source} holds several sets ({listed}); name one of their folders")
    return roots[0] if roots else None


def public_cases(files: Files, root: str, faults: list[Fault]) -> pd.DataFrame:
    """Read the table of cases off the names of folders and files.

    Parameters
    ----------
    files : Files
    root : str
        As :func:`public_root` gives it.
    faults : list of Fault
        All that is wrong is added.

    Returns
    -------
    DataFrame
        As the `cases` of a :class:`.cases.Scan`, without any OARSI grade.
    """
    rows, there = [], set()
    for file in files.names:
        match = _IN_SPLIT.fullmatch(file)
        if match is None or match["root"] != root:
            continue
        there.add((match["split"], match["kl"]))
        if (name := PUBLIC_NAME.fullmatch(match["name"])) is None:
            what, cure = "is not named as the public set's pictures are", "take it out"
            detail = "an OAI number and L or R, such as 9000000L.png"
            faults.append(Fault("error", what, file, detail, cure))
            continue
        side = SIDES[name[2].lower()]
        rows.append((name[0][:-4], name[1], side, match["split"], int(match["kl"]), file))
    for split in SPLITS:
        for kl in map(str, range(SIZES["kl"])):
            if (split, kl) not in there:
                where, what = f"{root}{split}/{kl}", "this folder is missing or empty"
                faults.append(Fault("error", what, where, "", AGAIN))
    cases = pd.DataFrame(rows, columns=["case", "person", "side", "split", "kl", "file"])
    cases = cases.sort_values(["case", "file"], ignore_index=True).astype({"kl": "Int64"})
    for row in cases[cases["case"].duplicated()].itertuples():
        first = cases["file"][cases["case"] == row.case].iloc[0]
        what, cure = "a knee that is in another folder too", "keep the one of its grade and split"
        faults.append(Fault("error", what, str(row.file), str(first), cure))
    cases[[*OARSI, "inverted"]] = pd.NA
    cases = cases.astype(dict.fromkeys([*OARSI, "inverted"], "Int64"))
    cases["where"] = cases["file"]
    order = ["case", "person", "side", "split", "kl", *OARSI, "inverted", "file", "where"]
    return cases[order]
