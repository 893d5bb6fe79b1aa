"""Public files of others: what is fetched, from where, and what a folder lacks."""

import hashlib

import numpy as np
import pandas as pd
import pooch
import pytest

from oacore.__main__ import main
from oacore.data import download, sources
from oacore.data.download import fetch_source
from oacore.data.sources import missing_files, needed_files, source_cache, sources_table
from oacore.errors import InputError
from oacore.instruments.phantom import template
from oacore.instruments.published.predictions import FILES, read_published
from oacore.instruments.radiomics.table import read_radiomics

pytestmark = pytest.mark.usefixtures("loopback_only")
SOURCES = list(sources.TERMS)
WORDS = {
    "published": ["no licence", "2605.00718"],
    "radiomics": ["no licence", "https://nda.nih.gov/oai", "2603.02367", "CartiMorph"],
    "references": ["CC-BY-NC 4.0", "MIT", "not for commercial use", "OAI data", "CartiMorph"],
}
REAL = {
    "CLAIR-Knee-103R_template_64x128x128.nii.gz": "knee_template/{}",
    "CLAIR-Knee-103R_segmentation_64x128x128.nii.gz": "knee_template/{}",
    "SAG_3D_DESS_RIGHT_bones_cart_men_fib-label.nrrd": "knee_labels/knee_right_dess_labels.nrrd",
    "radiomics_train.csv": "radiomics/{}",
    "radiomics_test.csv": "radiomics/{}",
    **dict.fromkeys(FILES.values(), "published_predictions/{}"),
}


def addresses(source):
    table = sources_table(source)
    parts = table[["repository", "commit", "path"]].agg("/".join, axis=1)
    return dict(zip(table["file"], parts, strict=True))


@pytest.fixture
def hosted(server, shared, monkeypatch):
    """The real files that lie here, and stand-ins for those that name participants."""
    tables = {source: sources_table(source).set_index("file") for source in SOURCES}
    for source in SOURCES:
        for name, address in addresses(source).items():
            if name in REAL:
                server.files[address] = (shared / "real" / REAL[name].format(name)).read_bytes()
                continue
            known = shared / "real/radiomics" / name  # without what identifies a participant
            data = known.read_bytes() if known.is_file() else b"stand-in for " + name.encode()
            server.files[address] = data
            tables[source].loc[name, "sha256"] = hashlib.sha256(data).hexdigest()
    monkeypatch.setattr(download, "sources_table", lambda source: tables[source].reset_index())
    return server


@pytest.mark.parametrize("source", SOURCES)
def test_files_arrive_after_their_terms_were_shown(hosted, tmp_path, capsys, source):
    folder = fetch_source(source, tmp_path / "new", base_url=hosted.url)
    shown, asked = capsys.readouterr().out, addresses(source)
    for words in (*WORDS[source], *asked):
        assert words in shown
    assert {path.name for path in folder.iterdir()} == set(asked)
    for name, address in asked.items():
        assert (folder / name).read_bytes() == hosted.files[address]
    assert [path for path, _ in hosted.requests] == [f"/{address}" for address in asked.values()]
    assert missing_files(source, folder) == []
    # Again: nothing but a damaged one is downloaded.
    last = list(asked)[-1]
    (folder / last).write_bytes(b"damaged")
    fetch_source(source, folder, base_url=hosted.url)
    assert [path for path, _ in hosted.requests[len(asked) :]] == [f"/{asked[last]}"]
    assert (folder / last).read_bytes() == hosted.files[asked[last]]


def test_what_arrives_can_be_read(hosted, tmp_path):
    fetch = {one: fetch_source(one, tmp_path / one, base_url=hosted.url) for one in SOURCES}
    assert len(read_published(fetch["published"])) == 9 * 98
    assert len(read_radiomics(fetch["radiomics"])) == 383 + 98
    assert template.read_template(fetch["references"])[0].shape == (64, 128, 128)


@pytest.mark.parametrize("source", SOURCES)
def test_terms_come_before_the_first_request(closed_url, tmp_path, capsys, source):
    cure = f"Connect to the network and run `oacore fetch {source}` again, or copy "
    with pytest.raises(InputError, match=cure):
        fetch_source(source, tmp_path, base_url=closed_url)
    assert WORDS[source][0] in capsys.readouterr().out


@pytest.mark.parametrize("source", SOURCES)
def test_a_file_of_other_content_is_not_kept(hosted, tmp_path, source):
    for name, address in addresses(source).items():
        kept = hosted.files[address]
        hosted.files[address] += b"?"
        with pytest.raises(InputError, match="is not the released file"):
            fetch_source(source, tmp_path, base_url=hosted.url)
        assert not (tmp_path / name).exists()
        hosted.files[address] = kept


def test_a_damaged_transfer_is_tried_again(hosted, tmp_path):
    address = addresses("published")["mamba_dual_preds.csv"]
    hosted.break_after[address] = 1000
    fetch_source("published", tmp_path, base_url=hosted.url)
    assert missing_files("published", tmp_path) == []
    assert [path for path, _ in hosted.requests].count(f"/{address}") == 2


@pytest.mark.parametrize("source", SOURCES)
def test_the_command_line_fetches_into_the_cache_or_a_folder(
    hosted, tmp_path, monkeypatch, capsys, source
):
    monkeypatch.setattr(
        download,
        "fetch_source",
        lambda one, to: fetch_source(one, to, base_url=hosted.url),
    )
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    assert main(["fetch", source]) == 0
    assert capsys.readouterr().out.endswith(f"{source_cache(source)}\n")
    assert source_cache(source) == tmp_path / "oacore" / source
    assert missing_files(source, source_cache(source)) == []
    assert main(["fetch", source, str(tmp_path / "given")]) == 0
    assert missing_files(source, tmp_path / "given") == []


@pytest.mark.parametrize("source", SOURCES)
def test_what_a_folder_lacks(tmp_path, source):
    names = needed_files(source)
    assert missing_files(source, "") == names == missing_files(source, tmp_path / "nowhere")
    for number, name in enumerate(names):
        assert missing_files(source, tmp_path) == names[number:]
        (tmp_path / name).touch()
    assert missing_files(source, tmp_path) == []


def test_the_files_are_those_that_are_read():
    assert needed_files("published") == list(FILES.values())
    splits = ("radiomics_train", "radiomics_test"), ("subInfo_train", "subInfo_test")
    assert needed_files("radiomics") == [
        *(f"{name}.csv" for name in splits[0]),
        *(f"{name}.xlsx" for name in splits[1]),
    ]
    assert needed_files("references") == [template.TEMPLATE, template.TEMPLATE_LABELS]
    optional = {template.LANDMARKS, template.GRADES}
    assert optional < set(sources_table("references")["file"])


def test_every_file_is_pinned_to_one_commit_and_credited(shared):
    table = pd.concat([sources_table(source) for source in SOURCES])
    assert len(table) == 9 + 4 + 5 and not table.isna().any(axis=None)
    assert table["file"].is_unique and set(table["needed"]) == {"yes", "no"}
    assert table["commit"].str.fullmatch("[0-9a-f]{40}").all()
    assert table["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert np.all(table.groupby("repository")["commit"].nunique() == 1)
    for row in table[table["file"].isin(list(REAL))].itertuples():
        data = (shared / "real" / REAL[row.file].format(row.file)).read_bytes()
        assert row.sha256 == hashlib.sha256(data).hexdigest(), row.file


def test_a_disk_that_fills_up_is_not_the_networks_fault(tmp_path, monkeypatch):
    def full(client, name):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch.Pooch, "fetch", full)
    with pytest.raises(InputError, match=f"^{tmp_path}: No space left on device; free some space"):
        fetch_source("published", tmp_path)
