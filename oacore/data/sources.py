"""Public files that a user may fetch: which they are, on what terms, and where they are kept.

None is part of this package, and a build works without them. ``oacore fetch`` gets them
(:func:`.download.fetch_source`), each from the commit and with the SHA-256 that `sources.csv`
names.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pandas as pd

#: What the user is told before the first request.
TERMS = {
    "published": """\
The paper's nine prediction files, 98 test knees each, 150 kB. They have no licence, so they are
yours to read, not to pass on.
""",
    "radiomics": """\
Radiomic features and grades of the 507 knees of OAIZIB-CM, 5 MB. The files have no licence, so
they are yours to read, not to pass on. They are derived from the Osteoarthritis Initiative and
have a row for each knee: its data-use terms apply (https://nda.nih.gov/oai), so no attempt to
identify a participant. This package reads the columns it needs, and no identifier.
""",
    "references": """\
Reference files of others, 5 MB, each under its own terms. Two are tables of the Osteoarthritis
Initiative (OAI data) with a row for each knee: its data-use terms apply to them as well
(https://nda.nih.gov/oai), so no attempt to identify a participant.
""",
}


def sources_table(source: str) -> pd.DataFrame:
    """List the files of a source.

    Parameters
    ----------
    source : {"published", "radiomics", "references"}

    Returns
    -------
    DataFrame
        One row a file: ``file``, ``needed`` ("yes" where a chapter reads it), ``repository``,
        ``commit``, ``path``, ``sha256``, ``licence``, ``credit``.
    """
    with (files("oacore.data") / "sources.csv").open(encoding="utf-8") as text:
        table = pd.read_csv(text, comment="#")
    rows = table[table["source"] == source]
    return rows.drop(columns="source").reset_index(drop=True)


def released_archives() -> pd.DataFrame:
    """List the archives of OAIZIB-CM, as released.

    Returns
    -------
    DataFrame
        One row an archive, by name: ``bytes`` and ``md5``. See `oaizib_cm.csv` for where they are
        from.
    """
    with (files("oacore.data") / "oaizib_cm.csv").open(encoding="utf-8") as text:
        return pd.read_csv(text, comment="#", index_col="file")


def source_cache(source: str) -> Path:
    """Folder of the user's cache in which a source is kept unless another is named.

    It need not exist.
    """
    import pooch  # at its first use, since most who read files fetch none

    return Path(pooch.os_cache("oacore")) / source


def needed_files(source: str) -> list[str]:
    """Names of a source's files that the book reads; they only serve all together."""
    table = sources_table(source)
    return list(table.loc[table["needed"] == "yes", "file"])


def missing_files(source: str, folder: str | Path) -> list[str]:
    """Names of the needed files that a folder lacks.

    Parameters
    ----------
    source : {"published", "radiomics", "references"}
    folder : path-like
        Need not exist. An empty string stands for no folder at all.

    Returns
    -------
    list of str
        Empty if all are there.
    """
    names = needed_files(source)
    return names if folder == "" else [one for one in names if not (Path(folder) / one).is_file()]
