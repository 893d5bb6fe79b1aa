"""Clients for downloads: small public files of others, and OAIZIB-CM.

Nothing here runs by itself: a build works without any of it. The clients check what
they get against a SHA-256, go on where an interrupted run stopped, and say what to
do when there is no network.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatch
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pooch

from oacore.data.archive import inside, unpack
from oacore.data.sources import TERMS, released_archives, source_cache, sources_table
from oacore.errors import FULL, InputError, refusal
from oacore.files import replace, write

RAW_URL = "https://raw.githubusercontent.com"

OAIZIB_CM = "YongchengYAO/OAIZIB-CM"
OAIZIB_CM_PATTERNS = ("*.zip", "*.xlsx", "*.csv")
RELEASE = "doi:10.5281/zenodo.14934086"
HUB = "https://huggingface.co"
RECORD = "oaizib-cm.json"
LICENCE = """\
OAIZIB-CM: 507 knee MRI with bone and cartilage masks, about 12.6 GB.

Licence CC-BY-NC 4.0: credit the authors, no commercial use. Work that uses it must
cite CartiMorph (Yao et al. 2024, doi:10.1016/j.media.2023.103035). The images come
from the Osteoarthritis Initiative, whose data-use terms apply as well
(https://nda.nih.gov/oai): no attempt to identify a participant.
"""


def fetch_source(source: str, folder: str | Path | None = None, *, base_url: str = RAW_URL) -> Path:
    """Show the terms of a source's files, then download those that are not there already.

    Parameters
    ----------
    source : {"published", "radiomics", "references"}
        See :mod:`.data.sources`.
    folder : path-like, optional
        Where to; :func:`.sources.source_cache` if not given. A file there with other content is
        replaced.
    base_url : str
        Where from; a mirror must hold the same bytes under repository, commit and path.

    Returns
    -------
    Path
        The folder that holds the files, each of the SHA-256 in `sources.csv`.

    Raises
    ------
    InputError
        If a file cannot be downloaded, or is not the one named.
    """
    folder = Path(folder) if folder is not None else source_cache(source)
    table = sources_table(source)
    print(TERMS[source])
    for row in table.itertuples():
        print(f"  {row.file}\n    {row.licence}\n    {row.credit}")
    addresses = table["repository"] + "/" + table["commit"] + "/" + table["path"]
    urls = {
        name: f"{base_url.rstrip('/')}/{address}"
        for name, address in zip(table["file"], addresses, strict=True)
    }
    # Trying again is pooch's: a transfer may break, or arrive damaged.
    client = pooch.create(
        folder,
        base_url="",
        registry=dict(zip(table["file"], table["sha256"], strict=True)),
        urls=urls,
        retry_if_failed=2,
    )
    for name, url in urls.items():
        try:
            client.fetch(name)
        except ValueError as error:
            raise InputError(
                f"{url} is not the released file (its SHA-256 differs), so it was "
                "not kept. Try again, or another network: a proxy may have changed it."
            ) from error
        except OSError as error:
            if error.errno in FULL:
                raise InputError(refusal(error, str(folder))) from error
            raise InputError(
                f"could not fetch {url} into {folder} ({error}). Connect to the network and run "
                f"`oacore fetch {source}` again, or copy {', '.join(urls)} there from another "
                "computer. A build works without these files."
            ) from error
    return folder


def fetch_oaizib_cm(
    folder: Path | str,
    *,
    accept_licence: bool = False,
    endpoint: str | None = None,
) -> Path:
    """Download OAIZIB-CM from the Hugging Face Hub and unpack it.

    One archive at a time is downloaded, compared with the Hub's SHA-256, unpacked and removed; one
    that is not as `oaizib_cm.csv` has it from the release is named. Killed at any moment, the next
    call goes on where this one stopped, with the same revision of the data set. What was fetched
    is recorded in ``oaizib-cm.json`` in the folder: revision, SHA-256 and size of each file, and
    the consent to the licence. Remove that file to start over.

    Parameters
    ----------
    folder : path
        Becomes a cohort folder (``imagesTr``, ``labelsTr``, ``imagesTs``, ``labelsTs``, tables).
    accept_licence : bool
        Consent without being asked. Else the terminal asks, once for a folder.
    endpoint : str, optional
        Another Hub, or a mirror of it; by default the environment's ``HF_ENDPOINT`` or the Hub.
        By https, unless it is on this machine. No token of yours is sent to it.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the licence is not accepted, the Hub cannot be reached or is no https address, the disk
        is too small, a file is damaged, or what was fetched is listed otherwise now.
    """
    # Read by huggingface_hub when it is imported, hence both here.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub.errors import HTTPError

    endpoint = _safe(endpoint or os.environ.get("HF_ENDPOINT") or HUB)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record = _read_record(folder)
    if "accepted_on" not in record:
        _ask_consent(accept_licence)
        record["accepted_on"] = datetime.now(UTC).isoformat(timespec="seconds")
        _write_record(folder, record)
    try:
        record["revision"], files = _list_files(endpoint, record["revision"])
    except (HTTPError, OSError) as error:
        raise InputError(
            f"cannot list the data set {OAIZIB_CM} ({error}). Connect to the network and run the "
            f"same command again, or unpack its zips (also at {RELEASE}) into "
            f"{folder} yourself."
        ) from error
    _require_unchanged(folder, files, record["files"])
    _write_record(folder, record)
    todo = [file for file in files if file.rfilename not in record["files"]]
    _check_space(folder, todo)
    for file in sorted(todo, key=lambda file: file.size):
        try:
            path = _download(folder, file, record["revision"], endpoint)
            as_released = _is_as_released(path)
            if path.suffix == ".zip":
                unpack(path, folder)
                path.unlink()
        except (HTTPError, OSError) as error:
            raise InputError(
                f"the download stopped at {file.rfilename} ({error}). Run the same command again: "
                "it goes on where it stopped."
            ) from error
        entry = {"bytes": file.size, "digest": _expected_digest(file), "as_released": as_released}
        record["files"][file.rfilename] = entry
        _write_record(folder, record)
    print(f"OAIZIB-CM, revision {record['revision']}, is in {folder}.")
    print(f"Look it over before training: oacore check {folder}")
    return folder


def _ask_consent(accepted: bool) -> None:
    print(LICENCE)
    if not accepted and sys.stdin.isatty():
        accepted = input("Do you accept these terms? [yes/no] ").strip().lower() in ("y", "yes")
    if not accepted:
        raise InputError(
            "nothing was downloaded: OAIZIB-CM is only for those who accept its licence. "
            "Answer yes when asked, or run the command with --accept-licence."
        )


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    if not path.exists():
        return {"dataset": OAIZIB_CM, "licence": "CC-BY-NC-4.0", "revision": None, "files": {}}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {"revision": None, "files": {}} | record
    except (json.JSONDecodeError, TypeError) as error:
        raise InputError(
            f"{path} is not the record of a download ({error}): remove it and run again"
        ) from error


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    write(folder / RECORD, json.dumps(record, indent=2) + "\n")


def _safe(endpoint: str) -> str:
    """Refuse a Hub that anyone on the way could speak for."""
    address = urlsplit(endpoint)
    host = address.hostname or ""
    if address.scheme == "https" and host:
        return endpoint
    try:
        here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        here = False
    if address.scheme == "http" and here:
        return endpoint
    raise InputError(
        f"HF_ENDPOINT={endpoint}: give an address that begins with https://, or unset it"
    )


def _require_unchanged(folder: Path, files: list[Any], fetched: dict[str, Any]) -> None:
    """What was fetched must still be listed as it was, or a folder would hold two data sets."""
    listed = {file.rfilename: _expected_digest(file) for file in files}
    for name, entry in fetched.items():
        if listed.get(name) != entry["digest"]:
            raise InputError(
                f"{folder / RECORD}: {name} was fetched as {entry['digest']}, and is listed as "
                f"{listed.get(name, 'nothing')} now. Give a new folder, or ask who runs the mirror."
            )


def _list_files(endpoint: str | None, revision: str | None) -> tuple[str, list[Any]]:
    """Commit of the data set, and the Hub's entries (rfilename, size, digests) that we want."""
    from huggingface_hub import HfApi

    # No token: the data set is public, and the endpoint may be anyone's.
    api = HfApi(endpoint=endpoint, token=False)
    info = api.dataset_info(OAIZIB_CM, revision=revision, files_metadata=True)
    files = [
        file
        for file in info.siblings or []
        if any(fnmatch(file.rfilename, pattern) for pattern in OAIZIB_CM_PATTERNS)
    ]
    if not files:
        raise OSError(f"no {', '.join(OAIZIB_CM_PATTERNS)} in the data set's listing")
    if info.sha is None:
        raise OSError("the data set's listing names no revision")
    return info.sha, files


def _is_as_released(path: Path) -> bool:
    """Whether a file is as the release's list has it; where it is not, a line says so.

    It is kept all the same: later revisions of the data set may differ, and the list is at second
    hand.
    """
    released = released_archives()
    found = None
    if path.name in released.index:
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
        found = {"bytes": path.stat().st_size, "md5": digest.hexdigest()}
        if found == released.loc[path.name].to_dict():
            return True
    print(
        f"{path.name}: arrived as the Hub lists it, "
        + ("and is in no list of the release; " if found is None else "not as in the release; ")
        + f"compare it with {RELEASE} where that matters, and name the revision in what you publish"
    )
    return False


def _check_space(folder: Path, todo: list[Any]) -> None:
    """Refuse before the download rather than after hours of it."""
    zips = [file.size for file in todo if file.rfilename.endswith(".zip")]
    # The volumes are compressed already, so they take as much room unpacked as zipped, and one
    # archive at a time stands beside them.
    at_peak = sum(file.size for file in todo) + max(zips, default=0)
    need = int(1.05 * at_peak) - sum(_bytes_there(folder, file.rfilename) for file in todo)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise InputError(
            f"{folder}: {free / 1e9:.1f} GB are free, {need / 1e9:.1f} GB are needed to download "
            "and unpack OAIZIB-CM. Make room, or give a folder on a larger disk."
        )


def _bytes_there(folder: Path, name: str) -> int:
    """Bytes that an interrupted run left: a partial download, unpacked volumes."""
    path = folder / name
    left: Iterator[Path] = (folder / path.stem).rglob("*")
    paths = [path, path.with_name(path.name + ".part"), *left]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _download(folder: Path, file: Any, revision: str, endpoint: str | None) -> Path:
    """Download one file of the data set, resuming a partial one.

    snapshot_download would start each file anew after a kill (it removes partial
    files, and one archive is 10 GB), so this calls the function beneath it.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    path = inside(folder, file.rfilename, f"the listing of {OAIZIB_CM}")
    part = path.with_name(path.name + ".part")
    url = hf_hub_url(
        OAIZIB_CM, file.rfilename, repo_type="dataset", revision=revision, endpoint=endpoint
    )
    if path.is_file() and _digest(path, file) == _expected_digest(file):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    if part.exists() and part.stat().st_size > file.size:
        part.unlink()
    with part.open("ab") as out:
        http_get(
            url,
            out,
            resume_size=out.tell(),
            headers=build_hf_headers(token=False),
            expected_size=file.size,
            displayed_filename=file.rfilename,
        )
    if _digest(part, file) != _expected_digest(file):
        part.unlink()
        raise InputError(
            f"{url} arrived damaged (its digest is not the one the Hub lists) and was removed. "
            "Run the same command again."
        )
    replace(part, path)
    return path


def _expected_digest(file: Any) -> str:
    # Large files are listed by SHA-256, small ones as git names its blobs.
    return f"sha256:{file.lfs.sha256}" if file.lfs else f"git:{file.blob_id}"


def _digest(path: Path, file: Any) -> str:
    with path.open("rb") as content:
        if file.lfs:
            return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
        data = content.read()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
    return f"git:{blob.hexdigest()}"
