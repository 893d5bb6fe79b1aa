"""The slicer in JupyterLab: messages and bytes of the kernel, and a real JupyterLab in Chromium."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import nbformat
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook

from oacore.data.cache import cached_volumes
from oacore.data.cohort import graded, read_cohort
from oacore.errors import InputError
from oacore.hierarchy import SUPERVISIONS
from oacore.instruments.phantom.cohort import write_phantom
from oacore.instruments.saliency.explain import UNTRAINED
from oacore.instruments.saliency.methods import METHODS, saliency_map
from oacore.instruments.slicer import kernel as lab_parts
from oacore.instruments.slicer import lab as lab_slicer
from oacore.instruments.slicer.kernel import (
    compute_map,
    finished_runs,
    passes,
    read_knee,
    seen_by,
    untrained_maps,
)
from oacore.instruments.slicer.parts import TOPS
from oacore.models.heads import HierarchicalNet
from oacore.profile import load_profile
from oacore.training.batches import load_batch
from oacore.training.config import run_config
from oacore.training.loop import train
from oacore.training.records import run_folder, run_record
from oacore.training.runs import build_like, load_trained
from tests.helpers import FLAGS, ROOT

SMOKE = load_profile("smoke")
TRAINED = [("resnet3d", "dual"), ("resnet3d", "single_oa"), ("m3t", "single_kl")]
GRADIENT = "resnet3d-dual-oa-gradient"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A small phantom cohort, three runs of the smoke profile on it, and what they saw."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("lab")
    cohort, runs = root / "cohort", root / "runs"
    write_phantom(cohort, train=(2,) * 5, test=(1,) * 5, ungraded=(1, 1), shape=SMOKE.shape, seed=5)
    cases = graded(read_cohort(cohort))
    ids = [*cases.query("split == 'test'")["case_id"], *cases.query("split == 'train'")["case_id"]]
    for path in cohort.glob(f"*Ts/oaizib_{ids[1]:03d}*"):  # one knee is stored along other axes
        axes = nib.orientations.axcodes2ornt("PIL")
        image = nib.load(path)
        stored = image.as_reoriented(
            nib.orientations.ornt_transform(nib.io_orientation(image.affine), axes)
        )
        nib.save(nib.Nifti1Image(np.asarray(stored.dataobj), stored.affine), path)
    volumes = {}
    for model, supervision in TRAINED:
        recipe = SMOKE.recipe(model)
        volumes[model] = cached_volumes(cases, recipe.grid, recipe.resample, root / "cache")
        config = run_config(recipe, supervision, 0)
        folder = run_folder(runs, model, supervision, 0)
        train(config, cases, volumes[model], folder, accelerator="cpu")
    return SimpleNamespace(
        root=root, cohort=cohort, runs=runs, cases=cases, volumes=volumes, ids=ids
    )  # ids: those of the test split first


class Asked:
    """A widget without a browser: what it sends is kept."""

    def __init__(self, widget):
        self.widget, self.sent, self.numbers = widget, [], iter(map(str, range(10_000)))
        widget.send = lambda content, buffers=None: self.sent.append((content, buffers))

    def post(self, ask, **content):
        number = next(self.numbers)
        self.widget._handle_custom_msg({"ask": ask, "id": number, **content}, [])
        return number

    def answers(self, number):
        return [one for one in self.sent if one[0]["id"] == number and "done" not in one[0]]

    def wait(self, number, seconds=30):
        end = time.monotonic() + seconds
        while not self.answers(number):
            assert time.monotonic() < end, "no answer"
            time.sleep(0.01)
        (answer,) = self.answers(number)
        return answer

    def __call__(self, ask, **content):
        return self.wait(self.post(ask, **content))


@pytest.fixture
def ask(built, tmp_path):
    found = Asked(
        lab_slicer.lab_slicer(built.cohort, built.runs, profile="smoke", folder=tmp_path / "maps")
    )
    yield found
    found.widget.close()


def volume(answer):
    """The array (X, Y, Z) that a reply's bytes stand for."""
    content, (buffer,) = answer
    x, y, z = content["n"]
    slices = np.frombuffer(buffer, np.uint8).reshape(x, z, y)
    return slices[:, ::-1, ::-1].transpose(0, 2, 1)


def canonical(path):
    image = nib.as_closest_canonical(nib.load(path))
    return np.asarray(image.dataobj), image.header.get_zooms()


# ---- In the kernel.


def test_menus_hold_all_graded_knees_runs_heads_and_methods(ask, built):
    content, buffers = ask("start")
    data = content["data"]
    assert buffers == [] and data["tops"] == TOPS
    kl = built.cases.set_index("case_id")["kl"]
    assert [(c["label"], c["kl"]) for c in data["cases"]] == [
        (f"Case {i} ({split})", kl[i])
        for i, split in zip(built.ids, ["test"] * 5 + ["train"] * 10, strict=True)
    ]
    first = data["cases"][data["opens"]]
    fields = ("backbone", "supervision", "head", "method", "weights")
    offered = [tuple(m[field] for field in fields) for m in first["maps"]]
    heads = [*TRAINED, ("resnet3d", "dual")]
    named = list(zip(heads, ["oa", "oa", "kl", "kl"], strict=True))
    assert len(offered) == len({m["id"] for m in first["maps"]})
    assert set(offered) == {
        (*run, head, method, weights)
        for run, head in named
        for method in METHODS
        for weights in ("trained", "random")
    }
    order = dict.fromkeys((m["backbone"], m["supervision"]) for m in first["maps"])
    assert list(order) == [("resnet3d", "single_oa"), ("resnet3d", "dual"), ("m3t", "single_kl")]
    assert "synthetic" in first["note"].lower()
    truth = pd.read_csv(built.cohort / "truth.csv").set_index("case_id")
    answers = pd.read_csv(run_folder(built.runs, "resnet3d", "dual", 0) / "predictions.csv")
    said = answers.set_index("case_id")["pred_kl"]
    alone = pd.read_csv(run_folder(built.runs, "resnet3d", "single_oa", 0) / "predictions.csv")
    oa = alone.set_index("case_id")["prob_oa"] > 0.5
    for case, number in zip(data["cases"], built.ids, strict=True):
        assert case["predicted"]["resnet3d dual"] == f"KL {said[number]:.0f}"
        assert case["predicted"]["resnet3d single_oa"] == ("OA" if oa[number] else "no OA")
    off = [abs(said[i] - truth["kl_true"][i]) for i in built.ids[:5]]
    assert off[data["opens"]] == min(off), "it opens where Dual is least wrong"
    second = ask("case", place=1)[0]["case"]
    assert second["kl"] == kl[built.ids[1]] and second["kl_true"] == truth["kl_true"][built.ids[1]]
    for one in second["predictions"]:
        folder = run_folder(built.runs, one["backbone"], one["supervision"], 0)
        row = pd.read_csv(folder / "predictions.csv").set_index("case_id").loc[built.ids[1]]
        assert one["prob_oa"] == pytest.approx(row["prob_oa"], abs=1e-4)
        if one["supervision"] == "single_oa":
            assert one["prob_kl"] is None
        else:
            kls = [row[f"prob_kl_{k}"] for k in range(5)]
            assert one["prob_kl"] == pytest.approx(kls, abs=1e-4)


@pytest.mark.parametrize("place", [0, 1])  # 1 is stored along other axes
def test_image_and_outlines_are_those_of_the_files(ask, built, place):
    case = ask("case", place=place)[0]["case"]
    name = f"oaizib_{built.ids[place]:03d}"
    image, zooms = canonical(built.cohort / f"imagesTs/{name}_0000.nii.gz")
    grey = volume(ask("picture", file=case["image"]["file"]))
    black, white = np.percentile(image, (1, 99.7))
    expected = np.clip((image - black) / (white - black), 0, 1) * 255
    assert case["shape"] == list(image.shape) and np.abs(grey - expected).max() <= 0.51
    assert case["spacing"] == pytest.approx(zooms, abs=1e-5)
    labels, _ = canonical(built.cohort / f"labelsTs/{name}.nii.gz")
    lesions, _ = canonical(built.cohort / f"lesionsTs/{name}.nii.gz")
    bits = volume(ask("picture", file=case["outline"]["file"]))
    masks = {
        "cartilage": np.isin(labels, [2, 4, 5]), "femur": labels == 1, "tibia": labels == 3,
        "osteophytes": np.isin(lesions, [1, 2, 3, 4]), "denuded bone": lesions == 5,
        "marrow lesions": lesions == 7,
    }  # fmt: skip
    assert case["masks"] == list(masks)
    for bit, mask in enumerate(masks.values()):
        assert np.array_equal(bits >> bit & 1, mask)
    assert labels[tuple(case["start"])] in (2, 4, 5) or masks["cartilage"][case["start"][0]].any()


@pytest.mark.parametrize(
    ("model", "supervision", "head", "method"),
    [
        ("resnet3d", "dual", "oa", "gradient"),
        ("resnet3d", "dual", "kl", "smoothgrad"),
        ("resnet3d", "single_oa", "oa", "grad-cam"),
        ("m3t", "single_kl", "kl", "gradient x input"),
    ],
)
def test_a_map_is_that_of_the_cached_volume(ask, built, model, supervision, head, method):
    name = f"{model}-{supervision}-{head}-{method}".replace("_", "-").replace(" ", "-")
    answer = ask("map", file=f"1/{name}")
    volumes = built.volumes[model]
    batch = load_batch(volumes, volumes.rows([built.ids[1]]), torch.device("cpu"))
    net = load_trained(run_folder(built.runs, model, supervision, 0))
    expected = saliency_map(net, batch, head, method)[0]
    assert expected.max() == 1
    assert np.array_equal(volume(answer), (np.sqrt(expected) * 255).round().astype(np.uint8))
    ordered = np.sort(np.sqrt(expected).ravel())[::-1]
    for percent, least in zip(TOPS, answer[0]["tops"], strict=True):
        nth = ordered[int(np.ceil(percent / 100 * ordered.size)) - 1]
        assert least == max(round(float(nth) * 255), 1), percent


@pytest.mark.parametrize("head", ["oa", "kl"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("weights", ["trained", "random"])
def test_progress_ends_at_the_number_of_passes(built, head, method, weights):
    run = finished_runs(built.runs, "smoke", 0)[1]
    assert (run.model, run.supervision) == ("resnet3d", "dual")
    reports, image = [], built.cases["image"].iloc[-1]
    compute_map(run, image, head, method, lambda done, of: reports.append((done, of)), weights)
    total = passes(head, method, run.recipe.grid)
    assert reports == [(done, total) for done in range(total + 1)]


def test_maps_of_an_untrained_network_are_those_that_it_gives_of_each_case_alone(built):
    images = dict(zip(built.ids, built.cases.set_index("case_id")["image"][built.ids], strict=True))
    for run in finished_runs(built.runs, "smoke", 0):
        seen = {case: seen_by(run, images[case]) for case in built.ids[:3]}
        found = untrained_maps(run, seen)
        heads = SUPERVISIONS[run.supervision]
        assert list(found) == [(case, head) for case in built.ids[:3] for head in heads]
        for (case, head), values in found.items():
            alone = compute_map(run, images[case], head, "gradient", weights="random")
            assert np.array_equal(values, alone), (run.model, case, head)
        assert len({values.tobytes() for values in found.values()}) == len(found)


def test_with_random_weights_the_map_is_that_of_the_twin_of_the_controls(ask, built):
    name = "resnet3d-dual-kl-smoothgrad-random"
    answer = ask("map", file=f"1/{name}")
    volumes = built.volumes["resnet3d"]
    batch = load_batch(volumes, volumes.rows([built.ids[1]]), torch.device("cpu"))
    record = run_record(run_folder(built.runs, "resnet3d", "dual", 0))
    twin = build_like(record, 0 + UNTRAINED).eval()
    expected = saliency_map(twin, batch, "kl", "smoothgrad")[0]
    assert np.array_equal(volume(answer), (np.sqrt(expected) * 255).round().astype(np.uint8))
    trained = volume(ask("map", file="1/resnet3d-dual-kl-smoothgrad"))
    assert not np.array_equal(volume(answer), trained)


def test_blocks_that_stand_out_are_counted_as_captum_does():
    class Mean(torch.nn.Module):
        n_features = 1

        def forward(self, x):
            return x.mean((2, 3, 4))

    grid, seen = (9, 15, 30), []
    model = HierarchicalNet(Mean(), "dual")
    model.register_forward_hook(lambda *_: seen.append(1))
    saliency_map(model, torch.rand(1, 1, *grid), "kl", "occlusion")
    assert passes("kl", "occlusion", grid) == len(seen) != 345


def test_the_kernel_answers_while_a_map_is_computed_and_drops_what_nobody_awaits(ask, monkeypatch):
    going, on, seen = threading.Event(), threading.Event(), []

    def slow(run, image, head, method, report, weights):
        seen.append(method)
        report(0, 9)
        going.set()
        assert on.wait(20)
        report(1, 9)
        return np.ones((4, 4, 4), np.float32)

    monkeypatch.setattr(lab_slicer, "compute_map", slow)
    first = ask.post("map", file=f"0/{GRADIENT}")
    assert going.wait(20)
    waits = ask.post("map", file="0/resnet3d-dual-oa-smoothgrad")
    never = ask.post("map", file="0/resnet3d-dual-oa-occlusion")
    assert "case" in ask("case", place=2)[0], "a case opens meanwhile"
    assert ({"id": first, "done": 0, "of": 9}, None) in ask.sent
    ask.widget._handle_custom_msg({"ask": "drop", "id": "x", "of": first}, [])
    ask.widget._handle_custom_msg({"ask": "drop", "id": "x", "of": never}, [])
    on.set()
    assert ask.wait(waits)[0]["n"] == [4, 4, 4]
    last = ask("map", file="0/resnet3d-dual-kl-gradient")
    assert last[0]["n"] == [4, 4, 4]
    assert not ask.answers(first) and not ask.answers(never)
    assert seen == ["gradient", "smoothgrad", "gradient"], "what waited in vain was not begun"


def test_maps_stay_in_memory_up_to_a_limit(ask, monkeypatch):
    made = []

    def quick(run, image, head, method, report, weights):
        made.append(method)
        return np.ones((10, 10, 10), np.float32)

    monkeypatch.setattr(lab_slicer, "compute_map", quick)
    monkeypatch.setattr(lab_slicer, "ROOM", 2 * 4000)
    for method in ("gradient", "gradient", "smoothgrad", "gradient", "occlusion", "smoothgrad"):
        ask("map", file=f"0/resnet3d-dual-oa-{method}")
    assert made == ["gradient", "smoothgrad", "occlusion", "smoothgrad"]


def test_a_fault_is_one_sentence_and_the_next_request_is_answered(built, tmp_path, monkeypatch):
    cohort, runs = tmp_path / "cohort", tmp_path / "runs"
    shutil.copytree(built.cohort, cohort)
    shutil.copytree(built.runs, runs)
    ask = Asked(lab_slicer.lab_slicer(cohort, runs, profile="smoke"))
    path = cohort / f"imagesTs/oaizib_{built.ids[0]:03d}_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    for number in (ask.post("start"), ask.post("map", file=f"0/{GRADIENT}")):
        said = ask.wait(number)[0]["error"]
        assert path.name in said and "cannot be read" in said
    mask = cohort / f"labelsTs/oaizib_{built.ids[2]:03d}.nii.gz"
    shutil.copy(cohort / f"labelsTs/oaizib_{built.ids[1]:03d}.nii.gz", mask)  # along other axes
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4)), mask)
    assert mask.name in ask("case", place=2)[0]["error"]
    (runs / "m3t/single_kl/seed0/done.json").unlink()
    assert "no finished run" in ask("map", file="3/m3t-single-kl-kl-gradient")[0]["error"]

    def broken(*_):
        raise RuntimeError("out of memory\nsecond line")

    monkeypatch.setattr(lab_slicer, "compute_map", broken)
    said = ask("map", file="3/resnet3d-dual-kl-gradient")[0]["error"]
    assert said == "The kernel failed: RuntimeError: out of memory"
    assert ask("case", place=3)[0]["case"]["label"] == f"Case {built.ids[3]} (test)"
    ask.widget.close()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (dict(profile="laptop"), "not trained by profile laptop"),
        (dict(seed=3), "no finished run of seed 3"),
        (dict(cases=[999]), "no graded case 999"),
        (dict(cases=[]), "no graded case is left"),
        (dict(runs="nowhere"), "no finished run"),
        (dict(cohort="nowhere"), "no such folder"),
    ],
)
def test_unusable_arguments_are_refused(built, given, says):
    given = dict(cohort=built.cohort, runs=built.runs, profile="smoke") | given
    with pytest.raises(InputError, match=says):
        lab_slicer.lab_slicer(**given)


def test_runs_of_another_cohort_are_refused(built, tmp_path):
    other = tmp_path / "cohort"
    shutil.copytree(built.cohort, other)
    table = pd.read_excel(other / "subInfo_test.xlsx")
    table.loc[table["KLGrade"] == 4, "KLGrade"] = 1
    table.to_excel(other / "subInfo_test.xlsx", index=False)
    with pytest.raises(InputError, match="was not trained on"):
        lab_slicer.lab_slicer(other, built.runs, profile="smoke")


def test_a_cohort_without_masks_or_truth_is_shown_too(built, tmp_path):
    other = tmp_path / "cohort"
    shutil.copytree(built.cohort, other, ignore=shutil.ignore_patterns("l*Ts", "l*Tr", "truth*"))
    for path in other.glob("subInfo_*"):
        pd.read_excel(path).drop(columns="MRBarCode").to_excel(path, index=False)
    ask = Asked(lab_slicer.lab_slicer(other, built.runs, profile="smoke", cases=built.ids[5::-5]))
    data = ask("start")[0]["data"]
    assert [c["slug"] for c in data["cases"]] == [f"case-{built.ids[5]}", f"case-{built.ids[0]}"]
    first = data["cases"][0]
    assert (first["masks"], first["outline"], first["kl_true"], first["note"]) == (
        [],
        None,
        None,
        "",
    )
    ask.widget.close()


@pytest.mark.parametrize("place", [0, 1])
def test_a_saved_map_lies_over_its_image(ask, built, tmp_path, place):
    said = ask("save", files=[f"{place}/{GRADIENT}"])[0]["saved"]
    path = tmp_path / f"maps/case-{built.ids[place]}-{GRADIENT}-seed0.nii.gz"
    assert said == f"Saved {path}"
    image = built.cohort / f"imagesTs/oaizib_{built.ids[place]:03d}_0000.nii.gz"
    saved, under = nib.load(path), nib.load(image)
    assert saved.shape == under.shape and np.allclose(saved.affine, under.affine, atol=1e-5)
    run = finished_runs(built.runs, "smoke", 0)[1]
    values = compute_map(run, str(image), "oa", "gradient", lambda done, of: None)
    full = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], SMOKE.shape, mode="trilinear"
    )
    assert np.allclose(canonical(path)[0], full[0, 0], atol=1e-6)


def test_the_widgets_state_holds_code_alone(ask, built, tmp_path):
    ask("start")
    ask("map", file=f"0/{GRADIENT}")
    state = ask.widget.get_state()
    own = {"_esm", "_css", "_anywidget_id", "_dom_classes", "layout", "tabbable", "tooltip"}
    assert {key for key in state if not re.match(r"_(model|view)_", key)} == own
    text = json.dumps({key: str(value) for key, value in state.items()})
    assert str(built.root) not in text and str(tmp_path) not in text
    assert "oaizib" not in text and len(text) < 80_000


def test_bones_and_cartilage_are_those_of_the_label_map():
    assert lab_parts.CARTILAGE == (2, 4, 5)
    with pytest.raises(InputError, match="no such file"):
        read_knee(pd.Series({"image": "gone.nii.gz", "mask": None}), False)


# ---- In JupyterLab.

CELL = """from oacore.instruments.slicer.lab import lab_slicer
lab_slicer({cohort!r}, {runs!r}, profile="smoke", folder={folder!r})"""
READY = ".oa-slicer[data-ready=true]"
PIXELS = "c => c.toDataURL()"
# Share of a canvas that is coloured, not grey: the overlay and the outlines.
COLOURED = """c => {
  const p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  let n = 0;
  for (let i = 0; i < p.length; i += 4) n += Math.abs(p[i] - p[i + 2]) > 12;
  return 4 * n / p.length;
}"""


def write_settings(folder, theme):
    """JupyterLab's own settings: ask no other host, save the state of widgets."""
    settings = {
        "@jupyterlab/apputils-extension/notification": {
            "checkForUpdates": False, "fetchNews": "false", "doNotDisturbMode": True,
        },
        "@jupyterlab/apputils-extension/themes": {"theme": theme},
        "@jupyter-widgets/jupyterlab-manager/plugin": {"saveState": True},
    }  # fmt: skip
    for name, values in settings.items():
        path = folder / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


@pytest.fixture(scope="module")
def jupyter(built):
    """A JupyterLab with a notebook of one cell; its address, and the notebook."""
    root = built.root / "jupyter"
    (root / "work").mkdir(parents=True)
    write_settings(root / "settings", "JupyterLab Light")
    cell = CELL.format(
        cohort=str(built.cohort), runs=str(built.runs), folder=str(built.root / "saved")
    )
    notebook = new_notebook(cells=[new_code_cell(cell), new_code_cell(cell)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, root / "work/slicer.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "IPYTHONDIR": "ipython",
               "JUPYTER_RUNTIME_DIR": "runtime", "JUPYTERLAB_SETTINGS_DIR": "settings",
               "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1"}
    environment |= {key: str(root / name) for key, name in folders.items()}
    with open(root / "log.txt", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
             f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
             f"--ServerApp.root_dir={root / 'work'}", "--ServerApp.token=slicer",
             "--LabApp.news_url=None"],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    home = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{home}/api?token=slicer", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None, (root / "log.txt").read_text()[-3000:]
                time.sleep(0.1)
        yield SimpleNamespace(home=home, notebook=root / "work/slicer.ipynb", root=root)
    finally:
        server.terminate()
        server.wait(30)


def run_cell(page, place):
    """Run a cell; once more if JupyterLab was still busy with itself and did not."""
    for _ in range(10):
        # On a busy machine JupyterLab may say that its server is slow to answer.
        for dialog in page.locator(".jp-Dialog:visible").all():
            print("JupyterLab says:", dialog.inner_text())
            page.keyboard.press("Escape")
            dialog.wait_for(state="hidden")
        page.locator(".jp-Notebook .jp-InputArea-editor").nth(place).click()
        page.keyboard.press("Control+Enter")
        for _ in range(30):
            if page.locator(".jp-Notebook .jp-InputPrompt").nth(place).inner_text() != "[ ]:":
                return
            page.wait_for_timeout(100)


@pytest.fixture(scope="module")
def lab(jupyter, chromium, playwright):
    """The notebook's page once its cell has run; at the end it has asked no other host."""
    browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
    page = browser.new_page(viewport={"width": 1400, "height": 1500})
    page.set_default_timeout(30_000)
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    own = (jupyter.home, jupyter.home.replace("http", "ws"), "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(own) else page.wrong.append(r.url))
    page.goto(f"{jupyter.home}/lab/tree/slicer.ipynb?token=slicer")
    # Before the kernel is there, a cell would not run.
    idle = ".jp-Notebook-ExecutionIndicator[data-status=idle]"
    page.wait_for_selector(idle, state="attached", timeout=60_000)
    run_cell(page, 0)
    page.wait_for_selector(READY, timeout=60_000)
    yield page
    browser.close()
    assert page.wrong == []


def canvas(page, plane, row=0):
    return page.locator(f"canvas[data-plane={plane}]").nth(row)


def settle(page):
    page.wait_for_selector(READY)
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")


def places(page):
    settle(page)
    planes = ("sagittal", "coronal", "axial")
    return [int(page.locator(f"[data-slice={plane}]").input_value()) for plane in planes]


def pictures(page):
    settle(page)
    return [canvas(page, p).evaluate(PIXELS) for p in ("sagittal", "coronal", "axial")]


def test_in_jupyterlab_a_click_a_drag_and_keys_move_the_planes(lab):
    said = lab.inner_text(".oas-status")
    assert "ResNet3D, Dual, OA head, gradient, predicts KL" in said
    assert canvas(lab, "sagittal").evaluate(COLOURED) > 0.01
    assert lab.locator("[data-do=link]:visible").count() == 0
    before, old = places(lab), pictures(lab)
    box = canvas(lab, "sagittal").bounding_box()
    lab.mouse.click(box["x"] + 0.26 * box["width"], box["y"] + 0.26 * box["height"])
    sagittal, coronal, axial = SMOKE.shape
    at = [before[0], coronal - int(0.26 * coronal), axial - int(0.26 * axial)]
    assert places(lab) == at
    assert all(new != was for new, was in zip(pictures(lab), old, strict=True))
    lab.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    lab.mouse.down()
    lab.mouse.move(box["x"] + 0.61 * box["width"], box["y"] + 0.71 * box["height"], steps=5)
    lab.mouse.up()
    at = [before[0], coronal - int(0.61 * coronal), axial - int(0.71 * axial)]
    assert places(lab) == at
    for key, step in (("ArrowDown", -1), ("ArrowLeft", -1), ("ArrowUp", 1), ("PageDown", -10)):
        lab.keyboard.press(key)  # the picture has the focus since the click, not the notebook
        at[0] += step
        assert places(lab) == at
    lab.locator("[data-slice=axial]").fill("7")
    assert places(lab)[2] == 7


def test_in_jupyterlab_case_model_and_method_are_chosen_and_a_missing_map_is_computed(lab, built):
    menu = lab.locator("[data-set=case] option")
    assert menu.count() == 15
    lab.select_option("[data-set=case]", index=3)
    lab.wait_for_selector(f"text=Case {built.ids[3]} (test), sagittal")
    lab.select_option("[data-model=supervision0]", "dual")
    settle(lab)
    gradient = pictures(lab)
    lab.evaluate("""() => {
      const seen = window.seen = [], bar = document.querySelector(".oas-progress");
      new MutationObserver(() => bar.hidden || seen.push([bar.value, bar.max])).observe(
        bar, {attributes: true});
    }""")
    lab.select_option("[data-model=method0]", "occlusion")
    lab.wait_for_selector("text=Computing ResNet3D, Dual, OA head, occlusion: pass")
    canvas(lab, "coronal").press("ArrowUp")  # answered meanwhile
    settle(lab)
    seen = lab.evaluate("window.seen")
    assert {of for _, of in seen} == {344} and [n for n, _ in seen] == sorted(n for n, _ in seen)
    assert seen[0][0] < seen[-1][0] and lab.locator(".oas-progress:visible").count() == 0
    assert pictures(lab) != gradient and "occlusion, predicts KL" in lab.inner_text(".oas-status")
    lab.select_option("[data-model=method0]", "gradient")
    settle(lab)
    assert pictures(lab) != gradient, "another slice"
    lab.select_option("[data-model=head0]", "kl")
    settle(lab)
    lab.select_option("[data-model=backbone0]", "m3t")
    lab.wait_for_selector("text=M3T, Single-KL, KL head, gradient, predicts KL")
    # What the table says is what the run's file says.
    row = pd.read_csv(built.runs / "m3t/single_kl/seed0/predictions.csv").set_index("case_id")
    row = row.loc[built.ids[3]]
    cells = lab.locator(".oas-table tbody tr").first.locator("td").all_inner_texts()
    expected = [row["prob_oa"], *(row[f"prob_kl_{k}"] for k in range(5))]
    assert [int(cell[:-1]) for cell in cells] == pytest.approx([100 * p for p in expected], abs=0.6)
    best = lab.locator(".oas-best").evaluate("td => td.cellIndex - 2")
    assert best == row["pred_kl"]
    truth = pd.read_csv(built.cohort / "truth.csv").set_index("case_id").loc[built.ids[3]]
    marked = lab.evaluate("""() => Object.fromEntries(
      [...document.querySelectorAll(".oas-table tbody tr")].map(row =>
        [row.cells[0].textContent, [...row.cells].findIndex(c => c.textContent === "●") - 2]))""")
    assert marked["As read"] == truth["kl"] and marked["Truth (as drawn)"] == truth["kl_true"]


def test_in_jupyterlab_two_models_differ_and_the_threshold_hides(lab):
    lab.select_option("[data-model=backbone0]", "resnet3d")
    lab.select_option("[data-model=supervision0]", "dual")
    lab.select_option("[data-model=head0]", "oa")
    lab.select_option("[data-model=method0]", "gradient")
    lab.get_by_role("button", name="Two models").click()
    assert lab.locator("[data-model=weights1]").input_value() == "random"
    lab.select_option("[data-model=supervision1]", "single_oa")
    lab.select_option("[data-model=weights1]", "trained")
    settle(lab)
    assert lab.locator("canvas:visible").count() == 6
    box = canvas(lab, "axial", 1).bounding_box()
    lab.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    sagittal, coronal, _ = SMOKE.shape
    assert places(lab)[:2] == [sagittal - sagittal // 2, coronal - coronal // 2]
    assert canvas(lab, "axial", 0).evaluate(PIXELS) != canvas(lab, "axial", 1).evaluate(PIXELS)
    assert lab.locator(".oas-table tbody tr").count() == 4
    lab.get_by_role("button", name="Difference").click()
    settle(lab)
    assert lab.locator("canvas:visible").count() == 3
    assert "difference A minus B" in lab.inner_text(".oas-status")
    lab.get_by_label("cartilage").uncheck()
    shares = []
    for top in (0, 5, 11):
        lab.locator("[data-tune=top]").fill(str(top))
        settle(lab)
        shares.append(canvas(lab, "sagittal").evaluate(COLOURED))
    assert shares[0] < shares[1] < shares[2]
    lab.get_by_role("button", name="One model").click()


def test_in_jupyterlab_a_map_is_saved_and_an_error_is_told(lab, built):
    settle(lab)
    lab.click("[data-do=save]")
    lab.wait_for_selector(".oas-saved:has-text('Saved /')")
    path = Path(lab.inner_text(".oas-saved").removeprefix("Saved "))
    assert path.name == f"case-{built.ids[3]}-{GRADIENT}-seed0.nii.gz"
    assert path.parent == built.root / "saved"
    image = built.cohort / f"imagesTs/oaizib_{built.ids[3]:03d}_0000.nii.gz"
    saved, under = nib.load(path), nib.load(image)
    assert saved.shape == under.shape and np.allclose(saved.affine, under.affine, atol=1e-5)
    assert 0 < np.asarray(saved.dataobj).max() <= 1
    broken = built.cohort / f"imagesTs/oaizib_{built.ids[4]:03d}_0000.nii.gz"
    whole = broken.read_bytes()
    broken.write_bytes(b"no NIfTI")
    lab.select_option("[data-set=case]", index=4)
    lab.wait_for_selector(f".oas-error:has-text('{broken.name}: cannot be read')")
    broken.write_bytes(whole)
    lab.select_option("[data-set=case]", index=4)
    lab.wait_for_selector(f"text=Case {built.ids[4]} (test), sagittal")
    assert lab.inner_text(".oas-error") == ""


def test_in_jupyterlab_the_theme_is_followed(lab):
    colours = "getComputedStyle(document.querySelector('.oa-slicer')).backgroundColor"
    assert lab.evaluate(colours) == "rgb(255, 255, 255)"
    lab.evaluate("document.body.dataset.jpThemeLight = 'false'")
    assert lab.evaluate(colours) == "rgb(22, 24, 28)"
    lab.evaluate("document.body.dataset.jpThemeLight = 'true'")


def test_in_jupyterlab_two_widgets_stand_beside_each_other_and_nothing_is_saved(
    lab, jupyter, built
):
    run_cell(lab, 1)
    lab.wait_for_function(f"() => document.querySelectorAll('{READY}').length === 2")
    first, second = lab.locator(".oa-slicer").all()
    was = first.locator("[data-slice=axial]").input_value()
    second.locator("[data-slice=axial]").fill("3")
    second.locator("[data-model=method0]").select_option("grad-cam")
    lab.wait_for_function(f"() => document.querySelectorAll('{READY}').length === 2")
    assert first.locator("[data-slice=axial]").input_value() == was
    assert "gradient" in first.locator(".oas-status").inner_text()
    assert "Grad-CAM" in second.locator(".oas-status").inner_text()
    second.locator("canvas").first.press("d")  # twice would delete the cell
    second.locator("canvas").first.press("d")
    second.locator("canvas").first.press("Control+s")
    for _ in range(100):
        text = jupyter.notebook.read_text()
        if "widget-state+json" in text:
            break
        lab.wait_for_timeout(100)
    notebook = json.loads(text)
    states = notebook["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    slicers = [one["state"] for one in states.values() if one["model_name"] == "AnyModel"]
    assert len(slicers) == 2
    for cell in notebook["cells"]:
        cell["source"] = ""  # the two lines of the reader, which hold the reader's paths
    for one in slicers:
        assert one.pop("_esm").startswith("const PLANES")
        assert one.pop("_css").startswith(".oa-slicer")
    rest = json.dumps(notebook)
    assert str(built.root) not in rest and "oaizib" not in rest and "data:image" not in rest
    assert "Case " not in rest and len(rest) < 12_000
