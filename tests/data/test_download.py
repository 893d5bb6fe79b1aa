"""The download of OAIZIB-CM against a server on loopback; any other host is refused."""

import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from oacore.data import archive
from oacore.data import download as fetch
from oacore.data.sources import released_archives
from oacore.errors import InputError
from tests.server import CDN, SHA

pytestmark = pytest.mark.usefixtures("loopback_only")


def zipped(members):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for name, data in members.items():
            opened.writestr(name, data)
    return archive.getvalue()


@pytest.fixture
def hub(server, monkeypatch):
    noise = np.random.default_rng(0)
    server.members = {
        "imagesTr/oaizib_001_0000.nii.gz": noise.bytes(3000),
        "imagesTr/oaizib_002_0000.nii.gz": noise.bytes(2000),
        "labelsTr/oaizib_001.nii.gz": noise.bytes(500),
        "info/subInfo_train.xlsx": noise.bytes(400),
    }
    images = {k: v for k, v in server.members.items() if k.startswith("imagesTr")}
    server.files = {
        "imagesTr.zip": zipped(images | {"__MACOSX/imagesTr/._x": b"junk"}),
        # One archive without a folder of its own name: its members go into one.
        "labelsTr.zip": zipped({"oaizib_001.nii.gz": server.members["labelsTr/oaizib_001.nii.gz"]}),
        "info.zip": zipped({"info/subInfo_train.xlsx": server.members["info/subInfo_train.xlsx"]}),
        "subInfo_test.csv": b"CMT-ID\n405\n",
        "README.md": b"not wanted",
    }
    server.list_hub()
    monkeypatch.setattr(fetch, "released_archives", lambda: server.released)
    return server


def requested(server, name):
    return [byte_range for path, byte_range in server.requests if path == CDN + name]


def assert_complete(server, folder):
    for name, data in server.members.items():
        assert (folder / name).read_bytes() == data
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert there == {*server.members, "subInfo_test.csv", fetch.RECORD}


def test_data_set_arrives_unpacked_with_its_provenance(hub, tmp_path, capsys):
    folder = tmp_path / "oaizib-cm"
    assert fetch.fetch_oaizib_cm(folder, accept_licence=True, endpoint=hub.url) == folder
    assert_complete(hub, folder)
    printed = capsys.readouterr().out
    assert "CC-BY-NC 4.0" in printed and "CartiMorph" in printed
    assert f"oacore check {folder}" in printed
    record = json.loads((folder / fetch.RECORD).read_text())
    assert record["revision"] == SHA
    assert record["accepted_on"]
    digest = hashlib.sha256(hub.files["imagesTr.zip"]).hexdigest()
    assert record["files"]["imagesTr.zip"]["digest"] == f"sha256:{digest}"
    # Again: neither asked nor downloaded, not even shown the licence.
    hub.requests.clear()
    fetch.fetch_oaizib_cm(folder, endpoint=hub.url)
    assert "CC-BY-NC" not in capsys.readouterr().out
    assert [path for path, _ in hub.requests] == [f"/api/datasets/{fetch.OAIZIB_CM}/revision/{SHA}"]


def test_nothing_is_requested_without_consent(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(InputError, match="--accept-licence"):
        fetch.fetch_oaizib_cm(tmp_path, endpoint=hub.url)
    assert hub.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("answer", "consents"), [("yes", True), ("no", False), ("", False)])
def test_a_terminal_is_asked_once(hub, tmp_path, monkeypatch, answer, consents):
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: asked.append(prompt) or answer)
    if consents:
        fetch.fetch_oaizib_cm(tmp_path, endpoint=hub.url)
        fetch.fetch_oaizib_cm(tmp_path, endpoint=hub.url)
        assert_complete(hub, tmp_path)
    else:
        with pytest.raises(InputError, match="nothing was downloaded"):
            fetch.fetch_oaizib_cm(tmp_path, endpoint=hub.url)
        assert hub.requests == []
    assert len(asked) == 1


def test_a_cut_connection_goes_on_by_itself(hub, tmp_path):
    hub.break_after["imagesTr.zip"] = 1500
    fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=hub.url)
    assert_complete(hub, tmp_path)
    assert len(requested(hub, "imagesTr.zip")) == 2


def test_killed_in_a_download_it_resumes_where_it_stopped(hub, tmp_path):
    # huggingface_hub writes blocks of 10 MiB: kill in the third one.
    hub.members["imagesTr/oaizib_002_0000.nii.gz"] = np.random.default_rng(1).bytes(25 * 2**20)
    images = {k: v for k, v in hub.members.items() if k.startswith("imagesTr")}
    hub.files["imagesTr.zip"] = zipped(images)
    hub.list_hub()
    hub.stall_after["imagesTr.zip"] = 22 * 2**20
    call = (
        "import sys; import pandas as pd; from oacore.data import download; "
        "released = pd.read_csv(sys.argv[3], index_col=0); "
        "download.released_archives = lambda: released; "
        "download.fetch_oaizib_cm(sys.argv[1], accept_licence=True, endpoint=sys.argv[2])"
    )
    released = tmp_path.with_name("released.csv")
    hub.released.to_csv(released)
    process = subprocess.Popen([sys.executable, "-c", call, tmp_path, hub.url, released])
    part = tmp_path / "imagesTr.zip.part"
    try:
        assert hub.stalled.wait(60)
        while process.poll() is None and part.stat().st_size < 2 * 10 * 2**20:
            threading.Event().wait(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = part.stat().st_size
    assert kept >= 2 * 10 * 2**20
    hub.stall_after.clear()
    hub.requests.clear()
    fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=hub.url)
    assert_complete(hub, tmp_path)
    assert requested(hub, "imagesTr.zip") == [f"bytes={kept}-"]
    assert requested(hub, "labelsTr.zip") == []


def test_interrupted_unpacking_is_made_whole(hub, tmp_path, monkeypatch):
    def full(source, out, length):
        out.write(source.read(10))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", full)
        with pytest.raises(InputError, match="No space left on device.*run the same command"):
            fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=hub.url)
    # And one volume from before, damaged at its full length.
    damaged = tmp_path / "imagesTr" / "oaizib_002_0000.nii.gz"
    damaged.parent.mkdir()
    damaged.write_bytes(bytes(2000))
    fetch.fetch_oaizib_cm(tmp_path, endpoint=hub.url)
    assert_complete(hub, tmp_path)
    assert len(requested(hub, "info.zip")) == 1


@pytest.mark.parametrize("name", ["imagesTr.zip", "info.zip"])
def test_a_damaged_file_is_not_kept(hub, tmp_path, name):
    hub.files[name] = hub.files[name][:-1] + b"?"
    with pytest.raises(InputError, match=f"{name} arrived damaged"):
        fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=hub.url)
    assert not list(tmp_path.rglob(f"{name}*"))


@pytest.mark.parametrize("name", ["../outside.nii.gz", "imagesTr/../../outside.nii.gz", "/outside"])
def test_nothing_is_unpacked_outside_the_folder(hub, tmp_path, name):
    hub.files["imagesTr.zip"] = zipped({"imagesTr/a.nii.gz": b"a", name: b"out"})
    hub.list_hub()
    with pytest.raises(InputError, match="imagesTr.zip: the entry .* outside"):
        fetch.fetch_oaizib_cm(tmp_path / "folder", accept_licence=True, endpoint=hub.url)
    assert not (tmp_path / "folder" / "imagesTr").exists()
    assert not list(tmp_path.rglob("outside*"))


@pytest.mark.parametrize("folder", [".", "..", "new", "../here"])
def test_what_is_outside_is_told_by_a_relative_path_too(tmp_path, monkeypatch, folder):
    """Of ".", "../outside" was taken for a part."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("../outside", "../../outside", "a/../../outside"):
        with pytest.raises(InputError, match="a.zip: the entry .* would be written outside"):
            archive.inside(Path(folder), name, "a.zip")
    assert archive.inside(Path(folder), "a/b", "a.zip") == Path(folder, "a/b")


def test_a_listing_cannot_write_outside_either(hub, tmp_path):
    hub.files["../outside.zip"] = zipped({"a": b"x"})
    hub.list_hub()
    with pytest.raises(InputError, match="outside"):
        fetch.fetch_oaizib_cm(tmp_path / "folder", accept_licence=True, endpoint=hub.url)
    assert not (tmp_path / "outside.zip").exists()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("imagesTr/a", b"1"), ("imagesTr/a/b", b"2")], "imagesTr/a as a file and as a folder"),
        ([("imagesTr/a/b/c", b"1"), ("imagesTr/a", b"2")], "imagesTr/a as a file and as a folder"),
        ([("imagesTr/a", b"1"), ("imagesTr/a", b"2")], "imagesTr/a more than once"),
        ([("a/b", b"1"), ("a", b"2")], "imagesTr/a as a file and as a folder"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_are_in_each_others_way_are_refused(hub, tmp_path, members, said):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for name, data in members:
            opened.writestr(name, data)
    hub.files["imagesTr.zip"] = made.getvalue()
    hub.list_hub()
    for _ in range(2):  # never "run it again: it goes on"
        with pytest.raises(InputError, match=f"{said}.*remove it"):
            fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=hub.url)
    assert not (tmp_path / "imagesTr").exists()


@pytest.mark.parametrize("way", ["imagesTr", "imagesTr/oaizib_001_0000.nii.gz/x"])
def test_what_is_in_the_way_on_the_disk_is_named(hub, tmp_path, way):
    (tmp_path / way).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / way).touch()
    named = tmp_path / way.removesuffix("/x")
    with pytest.raises(InputError, match=f"{named} is in the way .*rename or remove it"):
        fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=hub.url)
    shutil.rmtree(tmp_path / "imagesTr") if named.is_dir() else named.unlink()
    fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=hub.url)
    assert_complete(hub, tmp_path)


def test_an_archive_that_grows_too_much_is_refused(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "ALLOWANCE", 10**6)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("info/zeros.csv", bytes(2 * 10**6))
    hub.files["info.zip"] = bomb.getvalue()
    hub.list_hub()
    with pytest.raises(InputError, match=r"info\.zip would take 0\.0 GB unpacked"):
        fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=hub.url)
    assert not (tmp_path / "info").exists()
    monkeypatch.setattr(archive, "ALLOWANCE", 2 * 10**6)
    fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=hub.url)
    assert (tmp_path / "info/zeros.csv").stat().st_size == 2 * 10**6


# What was released


def test_the_release_is_named_by_size_and_digest():
    released = released_archives()
    assert set(released.index) == {
        *("imagesTr.zip", "labelsTr.zip", "imagesTs.zip", "labelsTs.zip"),
        *("info.zip", "template_atlas.zip"),
    }
    assert released["md5"].str.fullmatch("[0-9a-f]{32}").all() and released["md5"].is_unique
    assert f"about {released['bytes'].sum() // 10**8 / 10} GB" in fetch.LICENCE


def test_what_is_not_as_released_is_named_and_kept(hub, tmp_path, capsys):
    released = hub.released
    fetch.fetch_oaizib_cm(tmp_path / "first", accept_licence=True, endpoint=hub.url)
    said = [line for line in capsys.readouterr().out.splitlines() if "arrived as" in line]
    assert len(said) == 1 and said[0].startswith("subInfo_test.csv: ")  # in no list
    hub.files["labelsTr.zip"] = zipped({"oaizib_001.nii.gz": b"other labels"})
    hub.list_hub()
    hub.released = released
    fetch.fetch_oaizib_cm(tmp_path / "second", accept_licence=True, endpoint=hub.url)
    assert "labelsTr.zip: arrived as the Hub lists it, not as in the release" in (
        capsys.readouterr().out
    )
    record = json.loads((tmp_path / "second" / fetch.RECORD).read_text())["files"]
    assert {name for name, entry in record.items() if entry["as_released"]} == {
        "imagesTr.zip", "info.zip",
    }  # fmt: skip
    assert (tmp_path / "second/labelsTr/oaizib_001.nii.gz").read_bytes() == b"other labels"


def test_a_listing_that_changed_after_the_first_fetch_is_refused(hub, tmp_path):
    fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=hub.url)
    record = json.loads((tmp_path / fetch.RECORD).read_text())
    record["files"]["info.zip"]["digest"] = "sha256:" + 64 * "0"
    (tmp_path / fetch.RECORD).write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"info\.zip was fetched as sha256:0000.* listed as"):
        fetch.fetch_oaizib_cm(tmp_path, endpoint=hub.url)


def test_no_hub_is_asked_in_the_open_or_with_a_token(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    for endpoint in ("http://huggingface.co", "http://10.0.0.1:80", "huggingface.co", "ftp://h",
                     "http://localhost.example.org", "https://"):  # fmt: skip
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(InputError, match=f"HF_ENDPOINT={endpoint}: .*https://"):
            fetch.fetch_oaizib_cm(tmp_path / "new", accept_licence=True)
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    fetch.fetch_oaizib_cm(tmp_path, accept_licence=True)
    assert_complete(hub, tmp_path)
    assert set(hub.tokens) == {None}


def test_an_archive_that_is_none_is_named(hub, tmp_path):
    hub.files["info.zip"] = b"not a zip"
    hub.list_hub()
    with pytest.raises(InputError, match=r"info\.zip is damaged"):
        fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=hub.url)


def test_a_full_disk_is_noticed_before_the_download(hub, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    peak = sum(hub.released["bytes"])
    peak += len(hub.files["imagesTr.zip"])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, peak))
    with pytest.raises(InputError, match="GB are free"):
        fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=hub.url)
    assert not any(path.startswith(CDN) for path, _ in hub.requests)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, int(1.06 * peak)))
    fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=hub.url)


def test_offline_says_what_to_do(closed_url, tmp_path):
    with pytest.raises(InputError, match="Connect to the network.*zenodo"):
        fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=closed_url)


def test_a_hub_that_refuses_is_one_clear_error(server, tmp_path):
    server.listing = {"id": fetch.OAIZIB_CM, "sha": SHA, "siblings": []}
    with pytest.raises(InputError, match="in the data set's listing"):
        fetch.fetch_oaizib_cm(tmp_path, accept_licence=True, endpoint=server.url)


def test_a_broken_record_is_named(tmp_path):
    (tmp_path / fetch.RECORD).write_text("{")
    with pytest.raises(InputError, match=f"{fetch.RECORD} is not the record"):
        fetch.fetch_oaizib_cm(tmp_path, accept_licence=True)


@pytest.mark.parametrize("member", ["imagesTr/oaizib_001_0000.nii.gz", "oaizib_001_0000.nii.gz"])
@pytest.mark.parametrize("deep", [False, True])
def test_nothing_is_written_through_a_link_out_of_the_folder(hub, tmp_path, member, deep):
    """Whether the archive's members lie in a folder of its name or are put into one."""
    name = member.replace("oaizib", "more/oaizib") if deep else member
    hub.files["imagesTr.zip"] = zipped({name: b"x" * 99})
    hub.list_hub()
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "data"
    link = folder / "imagesTr" / "more" if deep else folder / "imagesTr"
    elsewhere.mkdir()
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(InputError, match=f"{link} is a link to {elsewhere}, .*put a folder in its"):
        fetch.fetch_oaizib_cm(folder, accept_licence=True, endpoint=hub.url)
    assert list(elsewhere.iterdir()) == []
    link.unlink()
    whole = tmp_path / "linked"  # the folder itself may lie elsewhere: that is what was named
    whole.symlink_to(folder)
    fetch.fetch_oaizib_cm(whole, accept_licence=True, endpoint=hub.url)
    assert (folder / "imagesTr" / name.removeprefix("imagesTr/")).read_bytes() == b"x" * 99
