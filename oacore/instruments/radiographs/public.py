"""The public set of knee radiographs: what it is, and what is wrong with a copy or a set like it.

Pingjun Chen, "Knee Osteoarthritis Severity Grading Dataset", Mendeley Data V1, 2018,
doi:10.17632/56rmx5bjcr.1, CC BY 4.0: baseline radiographs of the Osteoarthritis Initiative (OAI).
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from oacore.data.check import Report
from oacore.data.cohort import Fault
from oacore.errors import InputError
from oacore.instruments.coherence.patterns import SIZES
from oacore.instruments.radiographs.cases import Scan, raise_first, scan_cases
from oacore.instruments.radiographs.pictures import look
from oacore.instruments.radiographs.public_layout import PUBLIC_NAME, public_root
from oacore.instruments.radiographs.source import AGAIN, Files, open_files
from oacore.instruments.radiographs.words import OARSI, SPLITS

GRADES = range(SIZES["kl"])
#: Pictures of KL 0 to 4; a person has two, both in one split.
COUNTS = {
    "train": (2286, 1046, 1516, 757, 173),
    "val": (328, 153, 212, 106, 27),
    "test": (639, 296, 447, 223, 51),
}
#: Its fourth folder, which shows the people of the test split again.
AUTO_TEST = (604, 275, 403, 200, 44)
#: Pictures that are negatives, always both of a person.
NEGATIVES = {"train": 70, "val": 14, "test": 26}
#: SHA-256 of the SHA-256 of a folder's files, in hexadecimal, sorted and joined by newlines.
DIGESTS = {
    "train/0": "de9a466230ec44a8759c9369776006215cdea4fff5d169a7a953a5f481f54b53",
    "train/1": "f9a8235dec0856a66117d12f02d30a167fe9fec7f594b8cc605a17887590bb3e",
    "train/2": "77d1828d8ebdef74446f0ed29e05c62ad0f3eb27ffd1dc6c7b743293544cfd18",
    "train/3": "065c7dfcf3b7f628362ed07129a1dbbc22cba51b7aaaec285c6e008174f34bcb",
    "train/4": "2670c88f8795fde2d906d28e83f0c09332178b3d9627d3afd43b682b329ff873",
    "val/0": "ef738c02dbccf3111215500c03b35288a86d0d337bbcc7b672453fa7a940a4f4",
    "val/1": "1fe5ea450f1fa54075650fd236eda20f813896b45a2233c6974a5e8d7aac32c2",
    "val/2": "ef3ffdccde2dd8ed375d93f4832596312b7142b69ed7bdb4c12d4a047e4b668a",
    "val/3": "2fc032874facc7fe36c5274bfe6a60bc8ec7bf3f5be3fb2a685a2be1207bedbb",
    "val/4": "937e470107a963e94dacec7c04e3263ed474213fb04025b68cfd6e7e87c0ba2c",
    "test/0": "7b5b3d428f3327cd9b3bfe859875fe592a067fbe87c8653ffaea9bf9d9271458",
    "test/1": "5620ad488fa17ceca9df09dc162b96ce1ff25b61f4a0ba7ebbfe88a8c6b128d3",
    "test/2": "5b89e3d533f3ce81c81bb5a1890f7cc2b2f26edccea09d71da44d56424b4366a",
    "test/3": "0dc7f87e74731fee86bdb818ffc4ac56b22dcae906480659f5f4a31cbd9cabd6",
    "test/4": "37dcabd60d0c92ea924b163920c3ebff4f3af477caa2b4930ea3ed587d08f85d",
}
#: Folders 0 to 4 without a split, by how many pictures they hold.
ALONE = {
    AUTO_TEST: "auto_test of the public set, the people of its test split again",
    tuple(np.add(COUNTS["val"], AUTO_TEST).tolist()): (
        "the labelled part of OSAIL_KL, which is val and auto_test of the public set with other "
        "contrast"
    ),
    **{COUNTS[split]: f"the {split} split of the public set alone" for split in SPLITS},
}
#: Sets by the name of a folder.
NAMED = {
    "OSAIL_KL_Dataset": "OSAIL_KL, whose labelled part is val and auto_test of the public set",
    "MedicalExpert-I": (
        "Mendeley Data t9ndx37v5h, whose two experts grade all but 11 of the same 1,633 pictures "
        "alike, so that neither is a test of the other"
    ),
}
_CURE = (
    "name the public set itself (doi:10.17632/56rmx5bjcr.1), whose splits share no person; take "
    "none of its copies for an independent test"
)
_FOLDER = re.compile(r"(?P<folder>(?:.*/)?)(?P<kl>[0-4])/[^/]+\.png")


@dataclass(frozen=True)
class RadiographReport(Report):
    """Outcome of :func:`check_radiographs`.

    Attributes
    ----------
    folder : Path
        Or the zip.
    cases : DataFrame
        As the `cases` of :class:`.cases.Radiographs`, and `file`, `height` and `width` (pixels),
        `likeness` (correlation with the mean knee), `negative` (bool) and `landmarks` (bool).
    faults : DataFrame
        As the `faults` of a :class:`.check.Report`.
    lines : tuple of str
        What was found, in counts.
    """

    lines: tuple[str, ...] = ()

    def text(self, names: bool = True) -> str:
        """Report for a terminal, at most 100 columns wide; see :meth:`.check.Report.text`."""
        said = Report(self.folder, pd.DataFrame(), self.faults).text(names)
        # The first words of that are of a cohort of volumes.
        rest = said.partition("\n\n")[2] if names else said.lstrip("\n")
        title = f"Radiographs {self.folder}"
        head = textwrap.wrap(title, 100, subsequent_indent="   ", break_on_hyphens=False)
        head = head if names else []
        return "\n".join([*head, *self.lines, "", rest])


def is_radiographs(source: str | Path) -> bool:
    """Tell whether a path is rather of radiographs than of a cohort of volumes.

    Parameters
    ----------
    source : path-like
        Nothing but names is looked at.

    Returns
    -------
    bool
        For a file (a cohort is a folder); a folder with table.csv and images; one that holds PNG
        files in folders 0 to 4, or one of the sets that are known by name.
    """
    source = Path(source)
    if source.is_file():
        return True
    if (source / "table.csv").is_file() and (source / "images").is_dir():
        return True
    above = ["*/" * depth for depth in range(4)]
    grades = (folder for levels in above for folder in source.glob(f"{levels}[0-4]"))
    named = (folder for levels in above for name in NAMED for folder in source.glob(levels + name))
    return any(any(folder.glob("*.png")) for folder in grades) or any(named)


def check_radiographs(source: str | Path, *, oarsi: str | Path | None = None) -> RadiographReport:
    """Look for everything that would spoil a study of radiographs.

    Parameters
    ----------
    source, oarsi : path-like
        As :func:`.cases.read_radiographs` takes them.

    Raises
    ------
    InputError
        If there is nothing to look at: no such folder, a zip that is damaged, a table that cannot
        be read.
    """
    with open_files(source) as files:
        if (root := public_root(files)) is None and (known := known_as(files)):
            fault = Fault("error", "is no set of its own", "", known, _CURE)
            return _report(files, pd.DataFrame(), [fault], [])
        scan = scan_cases(files, oarsi)
        seen, faults, digests = _looked_at(files, scan)
        cases = scan.cases.drop(columns=["where", "inverted"]).join(seen)
        faults = [*scan.faults, *faults]
        lines = ["One's own set, with a table."]
        if root is not None:
            lines = [*_public(files, root, digests, faults), *_auto_test(files, root, cases)]
        else:
            faults += _sizes(cases)
        if len(cases):
            lines += [*_counts(cases, scan), "", *_distribution(cases, root is not None)]
        return _report(files, cases, faults, lines)


def require_radiographs(source: str | Path) -> bool:
    """Refuse what no study can be trained on, by names and tables alone: no picture is opened.

    Parameters
    ----------
    source : path-like
        As :func:`.cases.read_radiographs` takes it.

    Returns
    -------
    bool
        Whether it is laid out as the public set, whose OARSI grades are in OAI's own table.

    Raises
    ------
    InputError
        If there is no such source, a name or a table of it is wrong, or a split is missing.
    """
    with open_files(source) as files:
        if (root := public_root(files)) is None and (known := known_as(files)):
            raise InputError(f"{source} is no set of its own: {known}; {_CURE}")
        scan = scan_cases(files)
        raise_first(files, scan.faults)
    if lacking := [split for split in SPLITS if not (scan.cases["split"] == split).any()]:
        raise InputError(
            f"{source} has no case of the split {lacking[0]}; a study needs train, val and test"
        )
    return root is not None


def _report(
    files: Files, cases: pd.DataFrame, faults: list[Fault], lines: list[str]
) -> RadiographReport:
    table = pd.DataFrame(faults, columns=list(Fault._fields))
    return RadiographReport(files.source, cases, table, tuple(lines))


def known_as(files: Files) -> str:
    """What a source without splits is known to be; "" for what is not known.

    Parameters
    ----------
    files : Files
    """
    parts = {part for name in [files.source.as_posix(), *files.names] for part in name.split("/")}
    if named := [NAMED[name] for name in NAMED if name in parts]:
        return named[0]
    counted: dict[str, Counter[int]] = {}
    for match in filter(None, map(_FOLDER.fullmatch, files.names)):
        counted.setdefault(match["folder"], Counter())[int(match["kl"])] += 1
    found = [ALONE.get(tuple(counts[kl] for kl in GRADES), "") for counts in counted.values()]
    return next(filter(None, found), "")


def folder_digest(digests: list[str]) -> str:
    """Digest of a folder.

    Parameters
    ----------
    digests : list of str
        SHA-256 of its files, in hexadecimal.
    """
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _looked_at(files: Files, scan: Scan) -> tuple[pd.DataFrame, list[Fault], dict[str, list[str]]]:
    """Facts of the pictures, their faults, and the digests of the public set's files by folder."""
    cases = dict(zip(scan.cases["file"], scan.cases.to_dict("records"), strict=True))
    points = dict(zip(scan.cases["file"], scan.landmarks, strict=True))
    facts: dict[str, tuple[Any, ...]] = {}
    faults: list[Fault] = []
    digests: dict[str, list[str]] = {folder: [] for folder in DIGESTS}
    known: dict[bytes, str] = {}
    inside = [scan.root + folder + "/" for folder in DIGESTS] if scan.root is not None else []
    there = set(files.names)
    names = [*cases, *(name for name in files.names if name not in cases)]
    names = [name for name in names if name in there and (name in cases or _in(name, inside))]
    for name in tqdm(names, desc="check", unit="picture"):
        data = files.read(name)
        if folder := _in(name, inside):
            digests[folder[len(scan.root or "") : -1]].append(hashlib.sha256(data).hexdigest())
        if name in cases:
            found = look(data, cases[name], points[name], scan.root is not None, known)
            marked = not np.isnan(points[name]).all()
            facts[name] = (*found.size, found.likeness, found.negative, marked)
            faults += found.faults
    columns = ["height", "width", "likeness", "negative", "landmarks"]
    unknown = (0, 0, np.nan, False, False)
    rows = [facts.get(file, unknown) for file in scan.cases["file"]]
    return pd.DataFrame(rows, scan.cases.index, columns), faults, digests


def _in(name: str, folders: list[str]) -> str:
    """Which of some folders a file is in; "" for none."""
    return next((folder for folder in folders if name.startswith(folder)), "")


def _public(
    files: Files, root: str, digests: dict[str, list[str]], faults: list[Fault]
) -> Iterator[str]:
    """Say how much of a source is the public set, byte for byte; what differs becomes a fault."""
    same = [name for name, found in digests.items() if folder_digest(found) == DIGESTS[name]]
    yield (
        "The layout of the public set (Chen 2018, doi:10.17632/56rmx5bjcr.1); "
        f"folders as released: {len(same)} of {len(DIGESTS)}."
    )
    counts = {split: tuple(len(digests[f"{split}/{kl}"]) for kl in GRADES) for split in SPLITS}
    if same:
        for name in (name for name in digests if name not in same):
            split, kl = name.split("/")
            wanted, there = COUNTS[split][int(kl)], len(digests[name])
            if there:  # an empty folder is a fault already
                what = "this folder is not the public set's"
                detail = f"{there} files, there are {wanted}"
                if there == wanted:
                    detail = "as many files, and one at least is another"
                faults.append(Fault("error", what, f"{root}{name}", detail, AGAIN))
    elif counts == COUNTS:
        what = "a copy of the public set in which no folder is byte for byte as it was"
        detail = "as many pictures of each split and grade: saved anew, or with other contrast"
        cure = "say so where you show results, and take it for the same people"
        faults.append(Fault("warning", what, root, detail, cure))
    elif any(map(any, counts.values())):
        what = "laid out as the public set, with other pictures or a part of them"
        cure = "say so where you show results; the whole set is doi:10.17632/56rmx5bjcr.1"
        faults.append(Fault("warning", what, root, "", cure))


def _auto_test(files: Files, root: str, cases: pd.DataFrame) -> Iterator[str]:
    """Say of the public set's fourth folder what it is."""
    start = f"{root}auto_test/"
    names = [name for name in files.names if name.startswith(start)]
    people = {match[1] for name in names if (match := PUBLIC_NAME.fullmatch(name.split("/")[-1]))}
    if names:
        tested = set(cases["person"][cases["split"] == "test"])
        counts = Counter(name[len(start) :].split("/")[0] for name in names)
        as_known = tuple(counts[str(kl)] for kl in GRADES) == AUTO_TEST
        yield (
            f"auto_test{', as released' if as_known else ''} ({len(names)} pictures): "
            f"{len(people & tested)} of its {len(people)} people are of the test split. Not read."
        )


def _sizes(cases: pd.DataFrame) -> Iterator[Fault]:
    """Yield pictures whose size is not that of most."""
    sizes = [f"{row.width} x {row.height}" for row in cases[cases["height"] > 0].itertuples()]
    usual = Counter(sizes).most_common(1)[0][0] if sizes else ""
    for file, size in zip(cases["file"][cases["height"] > 0], sizes, strict=True):
        if size != usual:
            what, cure = "unlike most in its size", "crop and save it as the others"
            yield Fault("warning", what, file, f"{size}; most have {usual}", cure)


def _counts(cases: pd.DataFrame, scan: Scan) -> Iterator[str]:
    """Say in counts what is there."""
    sizes = Counter(zip(cases["width"], cases["height"], strict=True)).most_common(1)[0][0]
    by_person = cases.groupby("person")
    both = int((by_person["side"].nunique() == 2).sum())
    in_two = int((by_person["split"].nunique() > 1).sum())
    yield f"Pictures: {len(cases)}, most of {sizes[0]} x {sizes[1]} pixels."
    yield f"People: {len(by_person)}, of {both} both knees; in more than one split: {in_two}."
    yield (
        f"Right knees: {(cases['side'] == 'right').sum()}. Left ones, which are mirrored: "
        f"{(cases['side'] == 'left').sum()}."
    )
    turned = cases[cases["negative"]]
    of_both = int((turned.groupby("person")["side"].nunique() == 2).sum())
    yield (
        f"Negatives, which are turned: {len(turned)}, of {turned['person'].nunique()} people, in "
        f"{of_both} of them both knees."
    )
    if (read := cases[list(OARSI)].notna()).any(axis=None):
        yield f"OARSI grades: {int(read.all(axis=1).sum())} knees have all six."
    if cases["landmarks"].any():
        yield f"Landmarks: of {int(cases['landmarks'].sum())} knees."


def _distribution(cases: pd.DataFrame, public: bool) -> list[str]:
    """Pictures, people, grades and negatives by split, beside the public set's."""
    columns: dict[str, list[int]] = {}
    for split in SPLITS:
        rows = cases[cases["split"] == split]
        kl = [int((rows["kl"] == grade).sum()) for grade in GRADES]
        columns[split] = [len(rows), rows["person"].nunique(), *kl, int(rows["negative"].sum())]
        if public:
            total = sum(COUNTS[split])
            columns[f"whole {split}"] = [total, total // 2, *COUNTS[split], NEGATIVES[split]]
    index = ["pictures", "people", *(f"  KL {grade}" for grade in GRADES), "  negatives"]
    return [line.rstrip() for line in pd.DataFrame(columns, index=index).to_string().splitlines()]
