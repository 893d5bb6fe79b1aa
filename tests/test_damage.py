"""What is damaged is named or made again: never used, and never the end by another error.

Each damage is done to a copy of a small cohort's cache, run, explanation or pages; what is made
again is compared with the files as they were first made.
"""

import dataclasses
import errno
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import oacore.training.loop as loop
from oacore import results
from oacore.__main__ import main
from oacore.data.cache import cached_volumes, changed_files
from oacore.data.cohort import graded, read_cohort
from oacore.errors import InputError
from oacore.instruments.axis.axis import read_features
from oacore.instruments.published.predictions import read_predictions
from oacore.instruments.saliency.explain import explain
from oacore.instruments.saliency.faithfulness import faithfulness
from oacore.instruments.saliency.read import read_explained, read_maps
from oacore.seals import SEAL, damage, files_below, seal
from oacore.training.loop import train
from oacore.training.records import finished, read_both, read_runs, run_features, run_records
from oacore.training.resuming import unusable
from oacore.training.runs import load_trained
from tests.helpers import CONFIG, refuse, write_cohort
from workflow.check_build import (
    HTML_SEAL,
    Fault,
    cache_faults,
    cohort_faults,
    in_words,
    make_again,
    page_faults,
    require_undamaged,
    run_faults,
)
from workflow.check_build import main as check_build

GRID = (16, 16, 16)
RUN = "runs/resnet3d/dual/seed3"
OTHER = "runs/resnet3d/dual/seed4"


# Damages: each is done to one file


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def nul(path):
    path.write_bytes(bytes(path.stat().st_size))


def bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def bit_at_the_same_time(path):
    before = path.stat()
    bit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def gone(path):
    path.unlink()


BYTES = [empty, cut, nul, bit, bit_at_the_same_time, gone]


def edited_table(change):
    def edit(path):
        change(pd.read_csv(path, dtype=object)).to_csv(path, index=False)

    return edit


def edited_array(change):
    return lambda path: np.save(path, change(np.load(path)))


def edited_json(**changes):
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edited_weights(change):
    def edit(path):
        save_file({name: change(value) for name, value in load_file(path).items()}, path)

    return edit


def of_another_run(path):
    shutil.copy(path.parents[4] / OTHER / path.name, path)


def another_case_order(path):
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "case_id": index["case_id"][::-1]}))


def other_probability(value):
    return edited_table(lambda t: t.assign(prob_oa=[value, *t["prob_oa"][1:]]))


EDITED = [
    ("weights.safetensors", "float16", edited_weights(lambda w: w.to(torch.float16))),
    ("weights.safetensors", "nan", edited_weights(lambda w: torch.full_like(w.float(), np.nan))),
    ("weights.safetensors", "another run's", of_another_run),
    ("done.json", "another seed", edited_json(seed=4)),
    ("done.json", "a list", lambda path: path.write_text("[]")),
    ("done.json", "another run's", of_another_run),
    ("predictions.csv", "p = 7.5", other_probability("7.5")),
    ("predictions.csv", "a word", other_probability("abc")),
    ("predictions.csv", "none", other_probability(None)),
    ("predictions.csv", "a row twice", edited_table(lambda t: pd.concat([t, t.tail(1)]))),
    ("predictions.csv", "a row less", edited_table(lambda t: t[:-1])),
    ("predictions.csv", "another grade", edited_table(lambda t: t.assign(kl="1", oa="0"))),
    ("predictions.csv", "the knees in another order", edited_table(lambda t: t[::-1])),
    ("predictions.csv", "another run's", of_another_run),
    ("predictions_other.csv", "another run's", of_another_run),
    ("features.npz", "another run's", of_another_run),
    ("history.csv", "an epoch less", edited_table(lambda t: t[:-1])),
    ("history.csv", "another run's", of_another_run),
]
RUN_FILES = [
    *["weights.safetensors", "done.json", "predictions.csv", "predictions_other.csv"],
    *["features.npz", "history.csv", SEAL],
]
RUN_DAMAGES = [
    *[pytest.param(f, d, id=f"{f} {d.__name__}") for f in RUN_FILES for d in BYTES],
    *[pytest.param(file, damage, id=f"{file} {name}") for file, name, damage in EDITED],
]


# What is damaged


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A build of one cohort, with two runs, one of them explained, and what was interrupted."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("made")
    write_cohort(folder / "cohort")
    cases = graded(read_cohort(folder / "cohort"))
    volumes = cached_volumes(cases, GRID, "area", folder / "cache")
    config = dataclasses.replace(CONFIG, epochs=2)
    for seed, place in ((3, RUN), (4, OTHER)):
        one = dataclasses.replace(config, seed=seed)
        train(one, cases, volumes, folder / place, accelerator="cpu")
    out = folder / RUN.replace("runs", "explained")
    explain(folder / RUN, cases, volumes, out, lesions=False, methods=["gradient"])
    games = folder / RUN.replace("runs", "faithfulness")
    faithfulness(folder / RUN, cases, volumes, games, methods=["gradient", "grad-cam"])

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "predict", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, cases, volumes, folder / "interrupted", accelerator="cpu")
        patch.setattr("oacore.instruments.saliency.explain._keep_maps", stop)
        words = {"lesions": False, "methods": ["gradient"]}
        with pytest.raises(KeyboardInterrupt):
            explain(folder / RUN, cases, volumes, folder / "begun", **words)
    return folder, cases, volumes, config


@pytest.fixture
def build(made, tmp_path):
    """A copy to be damaged; times are kept, as a backup keeps them."""
    shutil.copytree(made[0], tmp_path / "build", ignore=shutil.ignore_patterns("cohort"))
    return tmp_path / "build"


def same(one, other, *names):
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_what_is_whole_is_read_and_left_alone(made, build, capsys):
    folder, cases, volumes, config = made
    assert len(read_runs(build / "runs")) == 20
    train(config, cases, volumes, build / RUN, accelerator="cpu")
    cached_volumes(cases, GRID, "area", build / "cache")
    assert capsys.readouterr().err == ""
    same(folder / RUN, build / RUN, "done.json", "weights.safetensors")
    assert [*run_faults(build), *cache_faults(build), *page_faults(build)] == []


# Runs


READERS = {
    "weights.safetensors": [lambda b, c: load_trained(b / RUN)],
    "predictions.csv": [
        lambda b, c: read_runs(b / "runs"),
        lambda b, c: read_predictions(b / "runs"),
    ],
    "predictions_other.csv": [lambda b, c: read_both(b / "runs")],
    "features.npz": [
        lambda b, c: run_features(b / RUN, c),
        lambda b, c: list(read_features(b / "runs", c)),
    ],
    "history.csv": [
        lambda b, c: read_runs(b / "runs", "history"),
        lambda b, c: run_records(b / "runs"),
    ],
}
READERS["done.json"] = READERS[SEAL] = [one for readers in READERS.values() for one in readers]


@pytest.mark.parametrize(("name", "harm"), RUN_DAMAGES)
def test_a_damaged_run_is_named_by_whoever_reads_it(made, build, name, harm):
    harm(build / RUN / name)
    said = rf"{RUN}/{name}: .*; remove .*{RUN} and train it again"
    if (name, harm) == ("done.json", gone):
        said = rf"{RUN}: holds no finished run; train"
    for read in READERS[name]:
        with pytest.raises(InputError, match=said):
            read(build, made[1])
    (fault,) = run_faults(build)
    assert fault.remove == (build / RUN,)
    with pytest.raises(InputError, match=f"rm -r .*{RUN}"):
        require_undamaged(build)


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        *[("weights.safetensors", harm) for harm in (empty, bit, bit_at_the_same_time, gone)],
        *[("done.json", harm) for harm in (empty, nul, edited_json(seed=4))],
        ("predictions.csv", cut),
        ("config.json", gone),
        ("config.json", nul),
        (SEAL, gone),
        (SEAL, cut),
    ],
)
def test_a_damaged_finished_run_is_trained_again_or_refused(made, build, capsys, name, harm):
    """It is trained again where the seal and the settings beside it say what it was."""
    folder, cases, volumes, config = made
    harm(build / RUN / name)
    if name in ("config.json", SEAL):
        with pytest.raises(InputError, match=rf"{RUN}/{name}: .*remove .*{RUN}"):
            train(config, cases, volumes, build / RUN, accelerator="cpu")
        return
    train(config, cases, volumes, build / RUN, accelerator="cpu")
    assert f"{name}: " in (said := capsys.readouterr().err) and "is trained again" in said
    same(folder / RUN, build / RUN, "weights.safetensors", "predictions.csv", "features.npz")
    assert damage(build / RUN / SEAL) is None


def test_a_damaged_run_of_other_settings_is_refused(made, build):
    _, cases, volumes, config = made
    empty(build / RUN / "weights.safetensors")
    other = dataclasses.replace(config, lr=1e-2)
    with pytest.raises(InputError, match="weights.safetensors: is damaged.*remove"):
        train(other, cases, volumes, build / RUN, accelerator="cpu")
    assert (build / RUN / "predictions.csv").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", SEAL])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.ESTALE])
def test_a_run_that_may_not_be_read_is_no_damaged_one(
    made, build, monkeypatch, capsys, name, number
):
    """Nobody is told to remove it, and nothing removes it."""
    _, cases, volumes, config = made
    path = build / RUN / name
    with monkeypatch.context() as patched:
        refuse(patched, path, number)
        for read in (
            lambda: load_trained(build / RUN),
            lambda: train(config, cases, volumes, build / RUN, accelerator="cpu"),
            lambda: require_undamaged(build),
        ):
            with pytest.raises(InputError, match=rf"^{path}: {os.strerror(number)}; ") as caught:
                read()
            assert "remove" not in str(caught.value)
        monkeypatch.setattr("sys.argv", ["check_build", str(build)])
        assert check_build() == 1
        assert os.strerror(number) in capsys.readouterr().err
    same(made[0] / RUN, build / RUN, "weights.safetensors", "done.json", SEAL)
    assert [*run_faults(build)] == []


def test_a_run_in_another_ones_folder_is_named(made, build):
    shutil.rmtree(build / RUN)
    shutil.copytree(build / OTHER, build / RUN)
    with pytest.raises(InputError, match=rf"{RUN}: holds the run of resnet3d dual, seed 4"):
        read_runs(build / "runs")


def test_stats_ends_in_one_line(made, build, capsys):
    other_probability("0.25")(build / RUN / "predictions.csv")
    out = build / "stats.csv"
    assert main(["stats", "--predictions", str(build / "runs"), "--out", str(out)]) == 2
    assert f"{RUN}/predictions.csv: is damaged" in capsys.readouterr().err and not out.exists()


# Interrupted runs


def state_of(checkpoint, **changes):
    state = torch.load(checkpoint, weights_only=True)
    return {**state, **{key: change(state[key]) for key, change in changes.items()}}


def an_epoch_too_many(path):
    longer = {"history": lambda rows: [*rows, {**rows[-1], "epoch": 3}]}
    torch.save(state_of(path, **longer), path)


def an_epoch_left_out(path):
    torch.save(state_of(path, history=lambda rows: rows[1:]), path)


def of_another_seed(path):
    torch.save(state_of(path, identity=lambda one: {**one, "seed": 4}), path)


@pytest.mark.parametrize(
    "harm",
    [empty, cut, nul, bit, bit_at_the_same_time, an_epoch_too_many, an_epoch_left_out,
     of_another_seed],
    ids=lambda harm: harm.__name__,
)  # fmt: skip
def test_a_damaged_checkpoint_starts_the_run_again(made, build, capsys, harm):
    folder, cases, volumes, config = made
    run = build / "interrupted"
    harm(run / "checkpoint.pt")
    train(config, cases, volumes, run, accelerator="cpu")
    assert "checkpoint.pt: " in (said := capsys.readouterr().err) and "is begun anew" in said
    same(folder / RUN, run, "weights.safetensors", "predictions.csv", "features.npz")


def test_what_lies_beside_a_checkpoint_does_no_harm(made, build, capsys):
    folder, cases, volumes, config = made
    run = build / "interrupted"
    (run / "checkpoint.part").write_bytes(b"half")
    (run / "predictions.csv").write_text("half")
    train(config, cases, volumes, run, accelerator="cpu")
    assert "anew" not in capsys.readouterr().err
    same(folder / RUN, run, "weights.safetensors", "predictions.csv", "features.npz")


@pytest.mark.parametrize("harm", [empty, cut, nul, gone, lambda p: p.write_text("[]")])
def test_damaged_settings_of_an_interrupted_run_are_named(made, build, harm):
    _, cases, volumes, config = made
    run = build / "interrupted"
    harm(run / "config.json")
    with pytest.raises(InputError, match=r"interrupted/config.json: is (damaged|mis).*remove"):
        train(config, cases, volumes, run, accelerator="cpu")


def test_a_bit_anywhere_in_a_checkpoint_is_noticed_or_changes_nothing(build):
    path = build / "interrupted/checkpoint.pt"
    whole, honest = path.read_bytes(), torch.load(path, weights_only=True)
    identity, noticed = honest["identity"], 0
    for place in np.random.default_rng(0).integers(0, len(whole), 60):
        data = bytearray(whole)
        data[place] ^= 1 << int(place) % 8
        path.write_bytes(data)
        if unusable(path, identity, 2) is not None:
            noticed += 1
            continue
        state = torch.load(path, weights_only=True)
        for name, value in honest["model"].items():
            assert torch.equal(state["model"][name], value), (place, name)
    assert noticed > 30


# Caches


def cache_of(build):
    (record,) = build.glob(f"cache/*/{SEAL}")
    return record.parent


CACHE_DAMAGES = [
    *[(name, harm) for name in ("index.json", "images.npy", "masks.npy", SEAL) for harm in BYTES],
    ("images.npy", edited_array(lambda a: a.astype(np.float32))),
    ("images.npy", edited_array(lambda a: a[:, :8])),
    ("images.npy", edited_array(lambda a: np.full_like(a, np.nan))),
    ("images.npy", edited_array(lambda a: a[::-1])),
    ("index.json", another_case_order),
    ("index.json", lambda path: path.write_text("[]")),
]


@pytest.mark.parametrize(("name", "harm"), CACHE_DAMAGES)
def test_a_damaged_cache_is_made_again(made, build, capsys, name, harm):
    _, cases, volumes, _ = made
    place = cache_of(build)
    harm(place / name)
    (fault,) = cache_faults(build)
    assert fault.remove == (place,)
    found = cached_volumes(cases, GRID, "area", build / "cache")
    said = capsys.readouterr().err
    assert f"cache {place.name} is made again: {name}" in said
    assert str(build) not in said  # it may stand in a page
    for field in dataclasses.fields(found):
        one, other = (getattr(v, field.name) for v in (found, volumes))
        assert np.array_equal(one, other), field.name
    assert [*cache_faults(build)] == [] and not list((build / "cache").glob("*.part"))
    cached_volumes(cases, GRID, "area", build / "cache")
    assert "made again" not in capsys.readouterr().err


@pytest.mark.parametrize("harm", [*BYTES, lambda p: p.write_text("[]"), lambda p: p.write_text("")])
def test_damaged_fingerprints_are_taken_again(made, build, harm):
    _, cases, volumes, _ = made
    harm(build / "cache/fingerprints.json")
    assert cached_volumes(cases, GRID, "area", build / "cache").key == volumes.key


def test_a_volume_that_changed_at_the_same_time_is_found(tmp_path, capsys, monkeypatch):
    write_cohort(tmp_path / "cohort")
    cases = graded(read_cohort(tmp_path / "cohort"))
    cached_volumes(cases, GRID, "area", tmp_path / "cache")
    assert list(changed_files(tmp_path / "cache")) == []
    bit_at_the_same_time(Path(cases["image"].iloc[0]))
    assert list(changed_files(tmp_path / "cache")) == [Path(cases["image"].iloc[0]).resolve()]
    monkeypatch.setattr("sys.argv", ["check_build", str(tmp_path)])
    assert check_build() == 1
    said = capsys.readouterr().err
    assert "its time did not" in said and f"rm -r {tmp_path / 'cohort'}" in said


def test_a_damaged_truth_is_found_by_check_build(tmp_path):
    record = tmp_path / f"cohort/truth.csv.{SEAL}"
    record.parent.mkdir()
    seal(record, [], {"truth.csv": "case_id\n1\n"})
    for text, found in (("case_id\n1\n", 0), ("case_id\n2\n", 1)):
        record.with_name("truth.csv").write_text(text)
        faults = list(cohort_faults(tmp_path))
        assert [fault.remove for fault in faults] == [(tmp_path / "cohort",)] * found


# Explanations


READ = {
    **{
        f"{name}.csv": lambda b, name=name: read_explained(b / "explained", name)
        for name in ("overlap", "profile", "cascade", "twins")
    },
    "maps.npz": lambda b: read_maps(b / RUN.replace("runs", "explained")),
    "done.json": lambda b: read_explained(b / "explained", "overlap"),
    SEAL: lambda b: read_explained(b / "explained", "overlap"),
}


@pytest.mark.parametrize("harm", BYTES, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", READ)
def test_a_damaged_explanation_is_named(build, name, harm):
    folder = build / RUN.replace("runs", "explained")
    harm(folder / name)
    with pytest.raises(
        InputError, match=rf"{name}: .*; remove .* and measure the run again .*oacore explain"
    ):
        READ[name](build)
    assert [fault.remove for fault in run_faults(build)] == [(folder,)]


@pytest.mark.parametrize("harm", BYTES, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", ["curves.csv", "likeness.csv", "done.json", SEAL])
def test_damaged_games_are_named_and_made_again(made, build, name, harm):
    """Tables of deletion and insertion, which chapter 14 reads."""
    first, cases, volumes, _ = made
    place = RUN.replace("runs", "faithfulness")
    folder = build / place
    harm(folder / name)
    for table in ("curves", "likeness") if name in ("done.json", SEAL) else (name[:-4],):
        words = rf"{name}: .*; remove {folder} and measure the run again .*oacore faithfulness"
        with pytest.raises(InputError, match=words):
            read_explained(build / "faithfulness", table)
    assert [fault.remove for fault in run_faults(build)] == [(folder,)]
    if (name, harm) != ("curves.csv", cut):
        return
    faithfulness(build / RUN, cases, volumes, folder, methods=["gradient", "grad-cam"])
    same(first / place, folder, "curves.csv", "likeness.csv")
    assert [*run_faults(build)] == []


def test_a_damaged_explanation_is_made_again(made, build):
    folder, cases, volumes, _ = made
    place = RUN.replace("runs", "explained")
    cut(build / place / "overlap.csv")
    empty(next((build / place / "nifti").iterdir()))
    (fault,) = run_faults(build)
    assert "overlap.csv" in fault.said or "nifti" in fault.said
    words = {"lesions": False, "methods": ["gradient"]}
    explain(build / RUN, cases, volumes, build / place, **words)
    same(folder / place, build / place, "overlap.csv", "profile.csv", "cascade.csv", "maps.npz")
    assert [*run_faults(build)] == []


@pytest.mark.parametrize(
    ("name", "harm"),
    [*[("000000.json", harm) for harm in (empty, cut, nul, bit)], ("identity", cut)],
)
def test_a_damaged_part_of_an_explanation_is_measured_again(made, build, capsys, name, harm):
    folder, cases, volumes, _ = made
    place, words = RUN.replace("runs", "explained"), {"lesions": False, "methods": ["gradient"]}
    out = build / "begun"
    harm(out / "parts" / name)
    explain(build / RUN, cases, volumes, out, **words)
    assert ("is damaged; measured again" in capsys.readouterr().err) == (name != "identity")
    same(folder / place, out, "overlap.csv", "profile.csv", "maps.npz")


# Tables that chapters kept, chapters, pages


@pytest.fixture
def pages(build):
    """What a chapter, and the book, leave in a build."""
    results.keep(pd.DataFrame({"q": [0.04, 0.2]}), build, "08-comparison/effects")
    results.keep(pd.DataFrame({"a": [1]}), build, "08-comparison/table1")
    for name in ("notebooks/08-comparison.ipynb", "html/index.html", "html/notebooks/08.html",
                 "html/build.json", "results/08-comparison/public/figure.svg"):  # fmt: skip
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_text(name)
    notebook, kept = build / "notebooks/08-comparison.ipynb", build / "results/08-comparison"
    seal(notebook.with_suffix(f".{SEAL}"), [notebook, *files_below(kept)])
    seal(build / HTML_SEAL, files_below(build / "html"))
    assert [*page_faults(build)] == []
    require_undamaged(build)
    return build


@pytest.mark.parametrize("harm", [*BYTES, lambda path: path.write_text("q\n0.01\n0.2\n")])
def test_a_damaged_table_is_never_quoted(pages, capsys, harm):
    path = pages / "results/08-comparison/effects.csv"
    assert results.kept(pages, "08-comparison/none") is None
    harm(path)
    with pytest.raises(InputError, match=r"effects.csv: .*remove .*08-comparison and run `make bo"):
        results.kept(pages, "08-comparison/effects")
    assert results.kept(pages, "08-comparison/table1") is not None
    with pytest.raises(InputError, match="rm -r .*08-comparison.ipynb .*results/08-comparison"):
        require_undamaged(pages)
    if harm is bit_at_the_same_time:
        return
    make_again(pages)
    assert "effects.csv" in capsys.readouterr().out
    assert not (pages / "notebooks/08-comparison.ipynb").exists() and not path.exists()


MEASURED = pd.DataFrame({"case_id": [1, 2], "lateral_cartilage_cm3": [2.5, 2.25]})


@pytest.mark.parametrize("name", ["measured.csv", f"measured.csv.{SEAL}"])
@pytest.mark.parametrize("harm", BYTES, ids=lambda harm: harm.__name__)
def test_damaged_measurements_are_never_used(tmp_path, capsys, monkeypatch, name, harm):
    """Chapters 2, 7 and 8 read what was measured on the masks, as the build sealed it."""
    assert results.measured(tmp_path) is None
    path = tmp_path / "measured.csv"
    results.write_csv(MEASURED, path)
    monkeypatch.setattr("sys.argv", ["check_build", "--seal", str(path)])
    assert check_build() == 0
    pd.testing.assert_frame_equal(results.measured(tmp_path), MEASURED)
    harm(tmp_path / name)
    with pytest.raises(
        InputError, match=rf"{name}: .*; remove {path} and .* run `make book` again"
    ):
        results.measured(tmp_path)
    found = [fault.remove for fault in page_faults(tmp_path)]
    # Without the table it is as if nothing had been measured: Snakemake measures again.
    assert found == ([] if (name, harm) == (path.name, gone) else [(path,)])


def test_no_chapter_reads_a_builds_table_past_its_seal():
    """What a build made is read through `results`, `records` or `read`, which look at seals."""
    for path in sorted(Path(__file__).parents[1].glob("notebooks/*.ipynb")):
        code = "".join(
            "".join(cell["source"]) + "\n"
            for cell in json.loads(path.read_text())["cells"]
            if cell["cell_type"] == "code"
        )
        bare = re.findall(r"(?:pd\.read_\w+|np\.load|read_text|read_bytes)\([^\n]*", code)
        assert [line for line in bare if "../book/record/" not in line] == [], path.name


@pytest.mark.parametrize("harm", [empty, cut, nul, gone])
def test_a_damaged_record_of_kept_tables_is_named(pages, harm):
    harm(pages / "results/08-comparison" / SEAL)
    with pytest.raises(InputError, match=rf"08-comparison/{SEAL}: is .*remove"):
        results.kept(pages, "08-comparison/effects")


@pytest.mark.parametrize("name", ["notebooks/08-comparison.ipynb", "html/notebooks/08.html",
                                  "results/08-comparison/public/figure.svg"])  # fmt: skip
@pytest.mark.parametrize("harm", [empty, cut, nul, bit, gone], ids=lambda harm: harm.__name__)
def test_a_damaged_page_is_made_again(pages, capsys, name, harm):
    harm(pages / name)
    if (name, harm) == ("notebooks/08-comparison.ipynb", gone):
        return  # as if it had never run: Snakemake runs it
    make_again(pages)
    assert f"{name}: " in (said := capsys.readouterr().out) and "made again" in said
    lost = "html/build.json" if "html" in name else "notebooks/08-comparison.ipynb"
    assert not (pages / lost).exists()
    assert (pages / "html/index.html").exists()  # stays until new pages take its place


def test_before_a_build_damaged_runs_are_named_and_kept(pages):
    empty(pages / RUN / "weights.safetensors")
    bit(pages / RUN.replace("runs", "explained") / "overlap.csv")
    with pytest.raises(InputError) as caught:
        make_again(pages)
    for line in ("2 of the build's parts are not", f"{RUN}/weights.safetensors: is damaged"):
        assert line in str(caught.value)
    assert (pages / RUN).is_dir()


def test_a_run_without_a_seal_is_trained_again_before_a_chapter_reads_it(pages, capsys):
    gone(pages / RUN / SEAL)
    make_again(pages)
    said = capsys.readouterr().out
    assert f"{pages}: {RUN} without a seal" in said and "made again" in said
    assert pages / RUN not in finished(pages / "runs")
    assert (pages / RUN / "weights.safetensors").exists()


def test_a_build_of_an_older_version_is_said_once(pages, capsys):
    """It was said of each run, each explanation and each chapter."""
    for record in (RUN, OTHER, RUN.replace("runs", "explained")):
        gone(pages / record / SEAL)
    gone(pages / f"notebooks/08-comparison.{SEAL}")
    gone(pages / HTML_SEAL)
    make_again(pages)
    (said,) = capsys.readouterr().out.splitlines()
    explained = RUN.replace("runs", "explained")
    assert said.startswith(f"{pages}: {RUN}, {OTHER}, {explained} and 2 more")
    assert not (pages / "notebooks/08-comparison.ipynb").exists()
    make_again(pages)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("left", ["checkpoint.pt", "parts"])
def test_what_was_killed_between_seal_and_record_goes_on(pages, left):
    folder = pages / (RUN if left == "checkpoint.pt" else RUN.replace("runs", "explained"))
    gone(folder / "done.json")
    with pytest.raises(InputError, match="done.json: is missing"):
        make_again(pages)  # as a loss: there is nothing to go on from
    (folder / left).mkdir()
    make_again(pages)
    assert (folder / SEAL).exists()


def test_a_bit_at_the_same_time_is_found_by_content_alone(pages, monkeypatch, capsys):
    """Sizes and times are compared before a build, content by `make check-build`."""
    path = pages / RUN / "weights.safetensors"
    bit_at_the_same_time(path)
    make_again(pages)
    monkeypatch.setattr("sys.argv", ["check_build", str(pages)])
    assert check_build() == 1
    assert f"{path}: is damaged: its content is not what was" in capsys.readouterr().err
    shutil.copy(pages.parent / "build" / OTHER / "config.json", path)  # of another size
    assert damage(pages / RUN / SEAL, compared=0) is not None


def test_check_build_says_when_all_is_well_and_when_there_is_no_build(pages, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["check_build", str(pages)])
    assert check_build() == 0 and "is what was written" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["check_build", str(pages / "none")])
    assert check_build() == 1 and "no such build" in capsys.readouterr().err


def test_a_large_file_of_the_recorded_size_and_time_is_not_read(tmp_path):
    path, record = tmp_path / "large", tmp_path / SEAL
    path.write_bytes(bytes(100))
    seal(record, [path])
    bit_at_the_same_time(path)
    assert damage(record, compared=10) is None
    assert "content is not what was written" in damage(record)
    path.touch()
    assert "content is not what was written" in damage(record, compared=10)
    nul(path)  # a copy, say: other time, same content
    assert damage(record, compared=10) is None


def test_a_fault_without_a_cure_is_said_without_one():
    assert "rm" not in in_words([Fault("x: is damaged", ())])
