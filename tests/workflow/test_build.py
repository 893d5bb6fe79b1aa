"""The machinery between `make book` and the pages: graph, notebook runner, rendering."""

import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import nbclient
import nbformat
import pandas as pd
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from oacore.errors import InputError
from oacore.instruments.radiographs.arms import study_folder
from oacore.profile import Profile, load_profile
from oacore.record import found
from oacore.results import keep, kept, kept_in
from oacore.seals import files_below
from tests.helpers import ROOT, copy_build, copy_project, make
from tests.instruments.radiographs import sets
from workflow import build_book, check_build, make_book
from workflow import run_notebook as runner
from workflow.build_book import check_pages, contents, github_url, swap
from workflow.claims_by_source import CHAPTERS as OF_SOURCES
from workflow.graph import build_folder, chapter_code, cohort_tables, image_listing, place
from workflow.record import PHANTOM as OF_PHANTOMS
from workflow.record_changes import CHAPTER as OF_CHANGES
from workflow.scratch import PREFIX, scratch, short_place

CHAPTERS = [page for page in contents(ROOT / "_toc.yml") if page.startswith("notebooks/")]


def trained(profile: Profile, backbones: Collection[str]) -> int:
    """Jobs that train a profile's models, variants and controls too, of these encoders."""
    models = (*profile.backbones, *profile.variants, *profile.controls)
    return sum(len(profile.parts(m)) for m in models if profile.recipe(m).backbone in backbones)


def explained(profile: Profile) -> int:
    """Jobs that measure the saliency of a profile's runs."""
    return sum(len(profile.parts(backbone)) for backbone in profile.backbones)


def write_notebook(path: Path, *cells: str, defaults: str = "word = 'default'") -> Path:
    """A notebook of a title, a parameters cell and some code cells."""
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Title"),
            new_code_cell(defaults, metadata={"tags": ["parameters"]}),
            *map(new_code_cell, cells),
        ],
    )
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def snakemake(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--nocolor", *words],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


#: Chapters whose results others read.
CHAPTERS_AWAITED = ("08-comparison", "09-published-record", "13-severity-axis", "14-saliency")


def counted(output: str) -> dict[str, int]:
    """Jobs by rule, from the first table that Snakemake prints."""
    table = output.split("Job stats:")[1].split("total")[0]
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


# Running a notebook


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, as Snakemake's is the project's root."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_cli(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workflow.run_notebook", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_a_notebook_gets_its_parameters_and_runs_in_its_folder(folder):
    write_notebook(
        folder / "notebooks/good.ipynb",
        "import os, pathlib\nprint(word, pathlib.Path.cwd().name)",
        "print(os.environ['IPYTHONDIR'])",
        "import oacore",
    )
    done = run_cli("notebooks/good.ipynb", "built/good.ipynb", "word=given")
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read("built/good.ipynb", as_version=4)
    texts = [cell.outputs[0].text.strip() for cell in notebook.cells if cell.get("outputs")]
    assert texts[0] == "given notebooks"
    assert not Path(texts[1]).is_relative_to(Path.home() / ".ipython")
    record = notebook.metadata.papermill
    assert (record.exception, record.duration > 0) == (None, True)
    assert str(folder) not in Path("built/good.ipynb").read_text().replace(texts[1], "")
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    assert tags[1:3] == [["parameters", "remove-cell"], ["injected-parameters"]]
    assert not [path for path in Path("built").glob("*/*") if path.parent.name != "cache"]


LISTENING = """
import os
from pathlib import Path
own = set()
for link in Path("/proc/self/fd").iterdir():
    try:
        own.add(os.readlink(link))
    except FileNotFoundError:
        pass  # that of this very listing
rows = [line.split() for name in ("tcp", "tcp6", "udp", "udp6")
        for line in Path("/proc/self/net", name).read_text().splitlines()[1:]]
mine = [row for row in rows if f"socket:[{row[9]}]" in own]
print(len(own) > 10, *(row[1] for row in mine))
"""


def test_kernels_that_start_at_one_moment_share_no_port(folder):
    write_notebook(folder / "notebooks/port.ipynb", LISTENING)
    command = [sys.executable, "-m", "workflow.run_notebook", "notebooks/port.ipynb"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": "/tmp"}
    started = [
        subprocess.Popen([*command, f"built/{n}.ipynb"], env=environment, stderr=subprocess.PIPE)
        for n in range(4)
    ]
    said = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * 4, said
    for n in range(4):
        notebook = nbformat.read(f"built/{n}.ipynb", as_version=4)
        found, *ports = notebook.cells[-1].outputs[0].text.split()
        # By TCP a kernel would listen on six. The one left is IPython's own, for what forked
        # processes print: the system chooses it at the moment that it is bound, on loopback.
        assert found == "True" and len(ports) <= 1
        assert all(port.startswith("0100007F:") for port in ports)


def test_a_kernel_s_folder_is_its_user_s_alone_and_encrypted(folder):
    seen = """
import json, os, stat
from pathlib import Path
from ipykernel.kernelapp import IPKernelApp
file = Path(IPKernelApp.instance().abs_connection_file)
known = json.loads(file.read_text())
print(known["transport"], "curve_secretkey" in known)
print([oct(stat.S_IMODE(place.stat().st_mode) & 0o777) for place in (file, file.parent)])
print(sorted(len(str(path)) < 104 for path in file.parent.glob("kernel-ipc-*")))
print(all(os.environ[name].startswith(str(file.parent)) for name in ("IPYTHONDIR",)))
"""
    write_notebook(folder / "notebooks/own.ipynb", seen)
    done = run_cli("notebooks/own.ipynb", "built/own.ipynb")
    assert done.returncode == 0, done.stderr
    text = nbformat.read("built/own.ipynb", as_version=4).cells[-1].outputs[0].text
    assert text.splitlines() == [
        "ipc True", "['0o600', '0o700']", str([True] * 5), "True"
    ]  # fmt: skip


def test_a_long_temporary_folder_is_passed_over_or_refused(folder, monkeypatch):
    long = folder / ("long" * 30)
    long.mkdir()
    write_notebook(folder / "notebooks/good.ipynb", "print(word)")
    monkeypatch.setenv("TMPDIR", str(long))
    done = run_cli("notebooks/good.ipynb", "built/good.ipynb")
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr(os, "access", lambda place, mode: place != "/tmp")
    with pytest.raises(InputError, match=r"TMPDIR=.*long: too long .* 103 bytes, and /tmp cannot"):
        short_place()


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for temporary files whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_lives_is_not(short, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    code = "from workflow.scratch import scratch\nwith scratch() as own:\n    print(own); input()"
    words = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(short)}
    killed, living = (
        subprocess.Popen([sys.executable, "-c", code], env=environment, **words) for _ in range(2)
    )
    left, used = (Path(one.stdout.readline().strip()) for one in (killed, living))
    (left / "kernel.json").write_text("key")
    killed.kill()
    killed.wait()
    elsewhere = short / f"{PREFIX}elsewhere"  # of another machine that shares the folder
    elsewhere.mkdir()
    (elsewhere / "lock").write_text("another.machine")
    foreign = short / "oacore-notes"
    foreign.mkdir()
    with scratch() as own:
        assert sorted(short.iterdir()) == sorted([own, used, elsewhere, foreign])
    living.communicate("")
    assert sorted(short.iterdir()) == sorted([elsewhere, foreign])


@pytest.mark.parametrize("home", ["/dev/null", "closed"])
def test_a_home_that_cannot_be_written_to_leaves_no_word_on_a_page(folder, monkeypatch, home):
    (folder / "closed").mkdir(mode=0o500)
    drawn = "import matplotlib.pyplot as plt\nimport numba, nilearn, torch\nplt.plot([1, 2]);"
    asked = "import matplotlib, os\nprint(matplotlib.get_configdir() == os.environ['MPLCONFIGDIR'])"
    write_notebook(folder / "notebooks/drawn.ipynb", drawn, asked)
    monkeypatch.setenv("HOME", str(folder / home))
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    done = run_cli("notebooks/drawn.ipynb", "built/drawn.ipynb")
    assert done.returncode == 0, done.stderr
    *_, picture, text = nbformat.read("built/drawn.ipynb", as_version=4).cells
    assert [output.output_type for output in picture.outputs] == ["display_data"]
    assert text.outputs[0].text == "True\n"


def test_text_that_arrives_in_pieces_is_one_piece_on_the_page(folder):
    pieces = (
        "import sys, time\n"
        "print('a', flush=True); time.sleep(.4); print('b', flush=True)\n"
        "print('oh', file=sys.stderr, flush=True); time.sleep(.4); print('c', flush=True)\n"
        "display(1)\nprint('d')"
    )
    write_notebook(folder / "notebooks/pieces.ipynb", pieces)
    assert run_cli("notebooks/pieces.ipynb", "built/pieces.ipynb").returncode == 0
    outputs = nbformat.read("built/pieces.ipynb", as_version=4).cells[-1].outputs
    texts = [(one.get("name"), one.get("text")) for one in outputs]
    assert texts == [("stdout", "a\nb\nc\n"), ("stderr", "oh\n"), (None, None), ("stdout", "d\n")]


def test_a_failing_notebook_says_where_and_leaves_what_ran(folder):
    cells = ["print('ran')", "\nratio = 1 / 0\nprint(ratio)", "print('not reached')"]
    write_notebook(folder / "notebooks/bad.ipynb", *cells)
    done = run_cli("notebooks/bad.ipynb", "built/bad.ipynb", "word=given")
    assert done.returncode == 1
    message = "notebooks/bad.ipynb, cell 4 (ratio = 1 / 0): ZeroDivisionError: division by zero"
    assert done.stderr.count(message) == 1
    # A kernel that is shut down may complain of its sockets; that is neither ours nor papermill's.
    assert "run_notebook.py" not in done.stderr
    assert "papermill" not in done.stderr
    assert not Path("built/bad.ipynb").exists()
    left = nbformat.read("built/failed/bad.ipynb", as_version=4)
    texts = [out.text for cell in left.cells for out in cell.get("outputs", []) if "text" in out]
    assert texts == ["ran\n"]
    assert any(o.output_type == "error" for c in left.cells for o in c.get("outputs", []))

    write_notebook(folder / "notebooks/bad.ipynb", "print('mended')")
    assert run_cli("notebooks/bad.ipynb", "built/bad.ipynb", "word=given").returncode == 0
    assert Path("built/bad.ipynb").exists()
    assert not Path("built/failed/bad.ipynb").exists()


def test_a_notebook_that_runs_out_of_memory_says_so(folder):
    write_notebook(folder / "notebooks/large.ipynb", "import numpy as np\nnp.empty(2**50, 'u1')")
    done = run_cli("notebooks/large.ipynb", "built/large.ipynb")
    where = "notebooks/large.ipynb, cell 3 (import numpy as np): "
    assert (
        f"{where}there is no memory left on this computer for another 1.00 PiB; end" in done.stderr
    )


def test_a_parameter_that_the_notebook_lacks_is_an_error(folder):
    write_notebook(folder / "notebooks/good.ipynb", "print(word)")
    with pytest.raises(InputError, match=r"good\.ipynb: has no parameter wrod; .* sets word"):
        runner.run_notebook(
            Path("notebooks/good.ipynb"), Path("built/good.ipynb"), {"wrod": "given"}, folder
        )
    assert not Path("built").exists()


def test_cells_that_need_absent_files_are_left_out_with_a_note(folder):
    path = write_notebook(folder / "notebooks/n.ipynb", "print('ran')", "1 / 0", "print(word)")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source = "word = ''\nradiomics = ''"
    notebook.cells[3].metadata["tags"] = ["needs-word", "needs-radiomics"]
    nbformat.write(notebook, path)
    done = run_cli("notebooks/n.ipynb", "built/n.ipynb", "word=given")
    assert done.returncode == 0, done.stderr
    ran = nbformat.read("built/n.ipynb", as_version=4)
    left_out = ran.cells[4]
    assert left_out.source == "1 / 0"
    assert left_out.metadata["tags"] == ["needs-word", "needs-radiomics"]
    [note] = left_out.outputs
    assert "`oacore fetch radiomics`" in note.data["text/markdown"]
    assert "fetch word" not in note.data["text/markdown"]
    assert [cell.outputs[0].text for cell in (ran.cells[3], ran.cells[5])] == ["ran\n", "given\n"]

    # A no is no yes, and what is neither shows nothing either.
    notebook.cells[1].source = "word = ''\nimages = ''"
    notebook.cells[3].metadata["tags"] = ["needs-images"]
    nbformat.write(notebook, path)
    assert run_cli("notebooks/n.ipynb", "built/no.ipynb", "images=no").returncode == 0
    [note] = nbformat.read("built/no.ipynb", as_version=4).cells[4].outputs
    assert "IMAGES=yes" in note.data["text/markdown"]
    refused = run_cli("notebooks/n.ipynb", "built/odd.ipynb", "images=true")
    assert refused.returncode == 1 and not Path("built/odd.ipynb").exists()
    assert refused.stderr.strip().startswith("images=true: unknown; give yes to show single knees")
    assert "\n" not in refused.stderr.strip()
    notebook.cells[1].source = "word = ''\nradiomics = ''"

    notes = {"images": "IMAGES=yes", "masks": "masks", "lab": "JupyterLab"}
    for tag, said in {**notes, "radiographs": "RADIOGRAPHS=FOLDER"}.items():
        notebook.cells[3].metadata["tags"] = [f"needs-{tag}"]
        nbformat.write(notebook, path)
        assert run_cli("notebooks/n.ipynb", f"built/{tag}.ipynb", "word=given").returncode == 0
        [note] = nbformat.read(f"built/{tag}.ipynb", as_version=4).cells[4].outputs
        assert said in note.data["text/markdown"] and "fetch" not in note.data["text/markdown"]

    notebook.cells[3].metadata["tags"] = ["needs-word", "needs-radiomics"]
    nbformat.write(notebook, path)
    failed = run_cli("notebooks/n.ipynb", "built/n.ipynb", "word=given", "radiomics=there")
    assert failed.returncode == 1 and "ZeroDivisionError" in failed.stderr


def test_a_cell_that_never_ends_is_named(folder, monkeypatch):
    monkeypatch.setattr(runner, "CELL_TIMEOUT", 1)
    write_notebook(folder / "notebooks/slow.ipynb", "import time\ntime.sleep(600)", "print(1)")
    took_longer = r"cell 3 \(import time\): took longer than 1 s"
    with scratch() as own, pytest.raises(InputError, match=took_longer):
        runner.run_notebook(Path("notebooks/slow.ipynb"), Path("built/slow.ipynb"), {}, own)
    assert Path("built/failed/slow.ipynb").exists()


def test_a_notebook_run_by_hand_leaves_the_results_of_the_build_alone(folder, monkeypatch):
    cells = [
        "import pandas as pd\nfrom oacore.results import beside_page, keep, kept\n"
        "from oacore.record import found",
        "keep(pd.DataFrame({'who': [word]}), 'build', 'n/table')\n"
        "keep(pd.DataFrame({'who': [word]}), 'build', 'n/recorded/other')",
        "print(kept('build', 'n/table')['who'][0], found('build', 'n/other')[0]['who'][0])",
        "print(*beside_page('build', 'n/figure'))",
        "early = kept('build', 'm/early')\nprint(early if early is None else early['who'][0])",
    ]
    path = write_notebook(folder / "notebooks/n.ipynb", *cells)
    results = folder / "notebooks/build/results"  # a chapter runs in its own folder
    keep(pd.DataFrame({"who": ["build"]}), results.parent, "m/early")
    said = []
    done = run_cli("notebooks/n.ipynb", "built/n.ipynb", "word=build")
    assert done.returncode == 0, done.stderr
    built = nbformat.read("built/n.ipynb", as_version=4)
    said.append([o.text for cell in built.cells for o in cell.get("outputs", []) if "text" in o])
    assert said[0] == [
        "build build\n",
        "build/results/n/public/figure ../_static/n/figure\n",
        "build\n",
    ]
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files_below(results)}

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    by_hand = nbformat.read(path, as_version=4)
    by_hand.cells[1].source = "word = 'hand'"
    where = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(by_hand, kernel_name="python3", resources=where).execute()
    texts = [o.text for cell in by_hand.cells for o in cell.get("outputs", []) if "text" in o]
    figure = "build/by-hand/n/public/figure"
    assert texts == ["hand hand\n", f"{figure} {figure}\n", "build\n"]
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files_below(results)} == before
    kept_by_hand = results.parent / "by-hand/n"
    assert pd.read_csv(kept_by_hand / "table.csv")["who"].tolist() == ["hand"]
    # The report is no notebook: what a person tried is not in it.
    assert kept(results.parent, "n/table")["who"].tolist() == ["build"]
    assert found(results.parent, "n/other")[0]["who"].tolist() == ["build"]
    (kept_by_hand / "table.csv").write_text("who\naltered\n")
    with pytest.raises(InputError, match="run its chapter again"):
        kept_in(kept_by_hand.parent, "n/table")


# What depends on what


def test_a_chapter_needs_what_its_cells_import(tmp_path):
    (tmp_path / "oacore").mkdir()
    for name, source in {"__init__": "", "c": "import oacore.d", "d": "", "e": ""}.items():
        (tmp_path / "oacore" / f"{name}.py").write_text(source)
    write_notebook(tmp_path / "notebooks/n.ipynb", "%matplotlib inline\nfrom oacore.c import thing")
    needed = chapter_code("notebooks/n.ipynb", root=tmp_path)
    assert needed == ["oacore/c.py", "oacore/d.py"]
    write_notebook(tmp_path / "notebooks/n.ipynb", "fine = 1", "def broken(")
    with pytest.raises(InputError, match=r"n\.ipynb, cell 4: is not Python"):
        chapter_code("notebooks/n.ipynb", root=tmp_path)


def test_each_cohort_has_its_own_build(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for lab in ("one", "two"):
        (tmp_path / lab / "my knees").mkdir(parents=True)
    assert build_folder("laptop") == "build/laptop"
    one, two = (build_folder("laptop", f"{lab}/my knees/") for lab in ("one", "two"))
    assert one == build_folder("laptop", str(tmp_path / "one/my knees")) != two
    # Not every shell expands this one, and make serve must find what make book made.
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build_folder("laptop", "~/one/my knees") == one
    assert re.fullmatch(r"build/laptop-[0-9a-f]{8}", one), "no page is to say “my knees”"
    link = f"{one}/cohort"
    for _ in range(2):
        assert place("one/my knees", link) == link
        assert Path(link).resolve() == (tmp_path / "one/my knees").resolve()
    with pytest.raises(InputError, match="was built from .*one/my knees, not from .*two/my knees"):
        place("two/my knees", link)
    assert place("two/my knees", link, replace=True) == link
    assert Path(link).resolve() == (tmp_path / "two/my knees").resolve()
    with pytest.raises(InputError, match="nowhere: no such folder"):
        place("nowhere", link)


def test_a_change_of_cohort_files_is_seen(tmp_path):
    (tmp_path / "info").mkdir()
    (tmp_path / "imagesTr").mkdir()
    for name in ("subInfo_train.csv", "info/subInfo_test.xlsx", "imagesTr/oaizib_001_0000.nii.gz"):
        (tmp_path / name).write_text("1")
    assert [Path(table).name for table in cohort_tables(str(tmp_path))] == [
        "subInfo_test.xlsx",
        "subInfo_train.csv",
    ]
    first = image_listing(str(tmp_path))
    assert image_listing(str(tmp_path)) == first
    (tmp_path / "imagesTr/oaizib_001_0000.nii.gz").write_text("12")
    second = image_listing(str(tmp_path))
    (tmp_path / "imagesTr/oaizib_002_0000.nii").write_text("1")
    assert len({first, second, image_listing(str(tmp_path))}) == 3


def test_the_graph_of_a_fresh_copy_holds_everything(tmp_path):
    project = copy_project(tmp_path / "project")
    done = snakemake(project, "-n", "--config", "profile=study")
    assert done.returncode == 0, done.stdout
    profile = load_profile("study")
    assert counted(done.stdout) == {
        "phantom": 1,
        "measure": 1,
        "cache": len(profile.backbones),
        "train": trained(profile, profile.backbones),
        "explain": explained(profile),
        "faithfulness": 1,
        "radiographs": 1,
        "study": 1,
        "notebook": len(CHAPTERS),
        "book": 1,
        "all": 1,
    }
    for chapter in CHAPTERS:
        assert f"Running notebook {Path(chapter).name}\n" in done.stdout


@pytest.mark.parametrize("profile", ["smoke", "laptop", "study"])
def test_what_most_waits_for_begins_first(tmp_path, profile):
    # Else the last run of all is explained on one processor while the others are idle.
    project = copy_project(tmp_path / "project")
    graph = project / "workflow/Snakefile"
    # Of a job that has a message, Snakemake prints no more than that.
    graph.write_text(re.sub(r" +message:\n.*\n", "", graph.read_text()))
    words = ["--config", f"profile={profile}", "arms=main"]
    said = snakemake(project, "-n", "--cores", "16", *words).stdout
    jobs: dict[str, int] = {}
    threads: dict[str, int] = {}
    for job in re.split(r"\n(?=rule |localrule )", said.split("total")[1]):
        told = dict(re.findall(r"^    (\w+): (.*)$", job, re.MULTILINE))
        rule, _ = job.split(":", 1)
        kind = re.findall(r"(?:kind|name)=([\w-]+)", told.get("wildcards", ""))
        one = " ".join([rule.split()[-1], *kind])
        jobs[one], threads[one] = int(told.get("priority", 0)), int(told.get("threads", 1))
    chapters = {f"notebook {Path(chapter).name}" for chapter in CHAPTERS}
    awaited = {f"notebook {name}" for name in CHAPTERS_AWAITED}
    assert jobs["train runs"] == jobs["train controls"] == 3
    assert {jobs[one] for one in awaited | {"explain", "faithfulness", "arms"}} == {2}
    assert jobs["train variants"] == 1
    assert {jobs[one] for one in chapters - awaited} == {0}
    # Snakemake adds priorities up: no set of others in its place may outweigh a job for all.
    whole = {one for one in jobs if threads[one] == 8}
    assert {"phantom", "measure", "cache"} <= whole
    for one in set(jobs) - whole:
        beside = 8 - threads[one]
        assert all(jobs[other] > jobs[one] + 3 * beside for other in whole), one


def ran(said):
    """What each chapter would be run with, by the chapter's name."""
    lines = re.findall(r"workflow\.run_notebook notebooks/([\w-]+)\.ipynb (.*)", said)
    return dict(lines)


def test_a_cluster_takes_the_same_graph(tmp_path):
    project = copy_project(tmp_path / "project")
    cohort = tmp_path / "knees"
    cohort.mkdir()
    knee = {"CMT-ID": [1], "KLGrade": [0], "Gender": [1], "Age": [60], "BMI": [25], "KneeSide": [1]}
    for number, split in enumerate(("train", "test"), start=1):
        one = pd.DataFrame({**knee, "CMT-ID": [number]})
        one.to_csv(cohort / f"subInfo_{split}.csv", index=False)
    profile = "workflow/profiles/slurm"
    words = ["--profile", profile, "--config", "profile=smoke", f"cohort={cohort}"]
    done = snakemake(project, "-n", *words)
    assert done.returncode == 0, done.stdout
    jobs = counted(done.stdout)
    assert "phantom" not in jobs
    # The knees are real, and only a yes shows them.
    for word, shown in {"no": False, "yes": True}.items():
        said = snakemake(project, "-n", "-p", *words, f"images={word}").stdout
        chapters = ran(said)
        assert "03-cohort" in chapters
        # Drawn radiographs are nobody's.
        assert "images=yes" in chapters.pop("17-keypoints")
        assert {"images=" in line for line in chapters.values()} == {shown, False}
        assert ("images=yes" in chapters["03-cohort"]) == shown
    refused = snakemake(project, "-n", *words, "images=maybe")
    assert refused.returncode == 1 and "images=maybe: unknown; give yes" in refused.stdout
    assert "Traceback" not in refused.stdout
    settings = yaml.safe_load((ROOT / profile / "config.yaml").read_text())
    assert settings["executor"] == "slurm"
    assert settings["set-resources"]["train"]["gpu"] == 1
    assert set(settings["set-resources"]) | set(settings["set-threads"]) <= {
        *jobs,
        "phantom",
        "arms",
    }


def test_arms_are_trained_where_they_are_asked_for(tmp_path):
    project = copy_project(tmp_path / "project")
    words = ["-n", "-p", "--config", "profile=smoke"]
    plain = snakemake(project, *words).stdout
    assert "arms" not in counted(plain) and "arms=" not in ran(plain)["20-is-it-the-hierarchy"]
    said = snakemake(project, *words, "arms=main").stdout
    profile = load_profile("smoke")
    assert counted(said)["arms"] == len(profile.backbones) == 3
    assert said.count(" --arms single_kl,dual,shuffled,two_kl,again --profile smoke") == 3
    assert "Training arms of m3t: single_kl seed 0, dual seed 0, shuffled seed 0" in said
    chapters = ran(said)
    assert " arms=single_kl,dual,shuffled,two_kl,again" in chapters["20-is-it-the-hierarchy"]
    assert [name for name, line in chapters.items() if "arms=" in line] == [
        "20-is-it-the-hierarchy"
    ]
    refused = snakemake(project, *words, "arms=duel")
    assert refused.returncode == 1 and "snakemake: there is no arm 'duel'" in refused.stdout
    assert "Traceback" not in refused.stdout


def test_a_users_radiographs_get_a_study_of_their_own(tmp_path):
    project = copy_project(tmp_path / "project")
    own = sets.graded_set(tmp_path / "my knees")
    words = ["-n", "-p", "--config", "profile=smoke"]
    said = snakemake(project, *words, f"radiographs={own}").stdout
    # Chapter 16 shows drawn ones all the same.
    assert counted(said)["study"] == counted(said)["radiographs"] == 1
    folder = study_folder("build/smoke", own)
    assert f"jobs/{folder.name}.json" in said and "jobs/study.json" not in said
    assert f" --real '{own}'\n" in said and f" radiographs=../{own}\n" in said
    asked = snakemake(project, *words, f"radiographs={own}", "images=yes").stdout
    plain = snakemake(project, *words).stdout
    assert "jobs/study.json" in plain and "--real" not in plain and "radiographs=" not in plain
    # The cohort is a phantom: it is the radiographs that only a yes shows.
    for output, shown in ((said, False), (asked, True), (plain, True)):
        chapters = ran(output)
        assert "images=yes" in chapters["03-cohort"]
        assert ("images=yes" in chapters["17-keypoints"]) == shown
    refused = snakemake(project, *words, f"radiographs={tmp_path}/nowhere")
    assert refused.returncode == 1 and "snakemake: " in refused.stdout
    assert "no such folder or file" in refused.stdout and "Traceback" not in refused.stdout


def test_nine_models_with_twenty_seeds_are_thirty_jobs_of_a_cluster(tmp_path):
    project = copy_project(tmp_path / "project")
    profiles = project / "oacore/profiles.yml"
    text = profiles.read_text()
    start = text.index("\nstudy:")
    few = "    seeds: [0, 1, 2]\n"
    assert few in text[start:]
    many = f"    seeds: {list(range(20))}\n"
    profiles.write_text(text[:start] + text[start:].replace(few, many, 1))
    words = ["--profile", "workflow/profiles/slurm", "--config", "profile=study"]
    said = snakemake(project, "-n", *words).stdout
    single = [job for job in re.findall(r"^Job \d+: (.+)", said, re.M)]
    groups = re.findall(r"Group job (\w+)", said)
    assert groups.count("chapters") == 1 and groups.count("models") >= 9
    # The last two, the book and the end, are done where the command was typed.
    assert "Rendering the book" in single and "The book is complete" in single
    assert len(groups) + len(single) - 2 <= 30
    trained = re.findall(r"Training (\w+): (.+)", said)
    runs = [(model, run) for model, part in trained for run in part.split(", ")]
    backbones = ("resnet3d", "m3t", "nnmamba")
    assert len(set(runs)) == len(runs)
    assert sum(model in backbones for model, _ in runs) == 9 * 20


# Words and locks of make book


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which a chapter that needs no other job is a short notebook."""
    root = copy_project(tmp_path_factory.mktemp("make") / "project")
    (root / f"notebooks/{LONE}.ipynb").unlink()
    return root


LONE = "12-speed"
DEFAULTS = "profile = ''\ncohort = ''\nbuild = ''\npublished = ''"


def test_unusable_words_get_one_line_each(project):
    for words, message in {
        ("PROFILE=huge",): "make book: there is no profile 'huge': choose one of smoke",
        ("PROFILE=smoke", "COHORT=nowhere"): "make book: COHORT=",
        ("PROFILE=smoke", "PUBLISHED=nowhere"): "make book: PUBLISHED=",
        ("PROFILE=smoke", "REFERENCES=nowhere"): "make book: REFERENCES=",
        ("PROFILE=smoke", "RADIOGRAPHS=nowhere"): "make book: RADIOGRAPHS=",
        ("PROFILE=smoke", "RADIOGRAPHS=book"): "holds no radiographs; name the folder or zip of",
        ("PROFILE=smoke", "COHORT=book"): "make book: ",
        ("PROFILE=smoke", "IMAGES=maybe"): "make book: images=maybe: unknown; give yes to show",
        ("PROFILE=smoke", "PUBLISHED=book"): "lacks resnet3d_single_oa_preds.csv",
        ("PROFILE=smoke", "RADIOMICS=book"): "get them with `oacore fetch radiomics`",
    }.items():
        done = make("book", *words, root=project)
        assert done.returncode != 0
        assert message in done.stdout
        assert "Traceback" not in done.stdout


def test_a_second_build_at_the_same_time_is_refused(project):
    (project / "build/smoke").mkdir(parents=True, exist_ok=True)
    with open(project / "build/smoke/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = make("book", "PROFILE=smoke", root=project)
    assert done.returncode != 0
    assert "another make book or snakemake is at work in build/smoke" in done.stdout


def test_a_failed_notebook_is_where_the_next_run_goes_on(project):
    name = LONE
    target = f"build/smoke/notebooks/{name}.ipynb"
    words = ["--cores", "1", "--config", "profile=smoke", "--", target]
    write_notebook(project / f"notebooks/{name}.ipynb", "1 / 0", defaults=DEFAULTS)
    failed = snakemake(project, *words)
    assert failed.returncode == 1
    assert f"notebooks/{name}.ipynb, cell 3 (1 / 0): ZeroDivisionError" in failed.stdout
    assert (project / f"build/smoke/notebooks/failed/{name}.ipynb").exists()
    said = project / f"build/smoke/notebooks/failed/{name}.txt"
    assert "ZeroDivisionError" in said.read_text()

    write_notebook(project / f"notebooks/{name}.ipynb", "1 / 1", defaults=DEFAULTS)
    assert counted(snakemake(project, *words).stdout) == {"notebook": 1}
    assert "Nothing to be done" in snakemake(project, *words).stdout
    assert not said.exists()


def test_make_book_ends_with_what_went_wrong(tmp_path, monkeypatch, capsys):
    said = tmp_path / "build/smoke/notebooks/failed/08-comparison.txt"
    said.parent.mkdir(parents=True)
    said.write_text("notebooks/08-comparison.ipynb, cell 8 (boom()): ValueError: boom")
    monkeypatch.setattr(make_book, "ROOT", tmp_path)
    monkeypatch.setattr(make_book, "snakemake", lambda *words: 1)
    monkeypatch.setattr(sys, "argv", ["make_book", "--profile", "smoke"])
    assert make_book.main() == 1
    *_, last_but_one, last = capsys.readouterr().err.splitlines()
    assert "cell 8 (boom()): ValueError" in last_but_one and "not finished" in last


def test_a_killed_build_blocks_nothing(project):
    name = LONE
    target = f"build/smoke/notebooks/{name}.ipynb"
    words = ["--nolock", "--cores", "1", "--config", "profile=smoke", "--", target]
    source = project / f"notebooks/{name}.ipynb"
    write_notebook(source, "import time\ntime.sleep(300)", defaults=DEFAULTS)
    running = project / f"build/smoke/notebooks/running/{name}.ipynb"
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *words], cwd=project, start_new_session=True
    )
    while not running.exists():
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    write_notebook(source, "print('awake')", defaults=DEFAULTS)
    done = snakemake(project, *words)
    assert done.returncode == 0, done.stdout
    assert "awake" in (project / target).read_text()


# Rendering


def test_github_remotes_are_known_by_all_their_names():
    for remote in (
        "https://github.com/lab/oacore.git\n",
        "https://name@github.com/lab/oacore",
        "git@github.com:lab/oacore.git",
        "ssh://git@github.com/lab/oacore.git",
    ):
        assert github_url(remote) == "https://github.com/lab/oacore"
    for remote in ("", "/srv/git/oacore", "https://git.example.org/lab/oacore.git"):
        assert github_url(remote) is None


def test_pages_are_checked(tmp_path):
    (tmp_path / "_sources").mkdir()
    for page in ("index", "one", "two"):
        (tmp_path / f"{page}.html").write_text("<h1>Title</h1> /usr/bin/python ../build/cohort")
    check_pages(tmp_path, ["one", "two"])
    with pytest.raises(InputError, match=r"lacks three\.html"):
        check_pages(tmp_path, ["three"])
    (tmp_path / "_sources/two.ipynb").write_text(f"in {ROOT}/oacore/training/loop.py")
    with pytest.raises(InputError, match=r"_sources/two\.ipynb names a path of this machine"):
        check_pages(tmp_path, ["one", "two"])
    for path in ("/tmp/ipykernel_12/3.py", "/tmp/tmpab12/x", "/tmp/oacore-kernel-ab12/data"):
        (tmp_path / "_sources/two.ipynb").write_text(f"{path}:1: UserWarning: oh")
        with pytest.raises(InputError, match=r"_sources/two\.ipynb names a path of this machine"):
            check_pages(tmp_path, ["one", "two"])
    (tmp_path / "one.html").write_text("<p>no title</p>")
    with pytest.raises(InputError, match=r"one\.html has no title"):
        check_pages(tmp_path, ["one", "two"])


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "build/x/page.html")


def refused(*arguments, **words):
    raise FULL


def sphinx_on_a_full_disk(command, **words):
    """What Sphinx says where it cannot write a page."""
    trace = f"Exception occurred:\n  File ...\nOSError: {FULL}\nThe full traceback has been saved"
    return subprocess.CompletedProcess(command, 1, stderr=trace.encode())


@pytest.mark.parametrize("where", ["its own files", "Sphinx's", "a chapter", "a seal"])
def test_a_full_disk_ends_each_step_of_the_book_with_one_line(where, tmp_path, monkeypatch, capsys):
    """Each ended with a traceback, and a full disk under Sphinx with "the book has warnings"."""
    if where == "a chapter":
        monkeypatch.setattr(runner, "run_notebook", refused)
        monkeypatch.setattr(runner, "list_fonts", lambda cache: None)
        main, words = runner.main, ["a.ipynb", str(tmp_path / "b.ipynb")]
    elif where == "a seal":
        monkeypatch.setattr(check_build, "seal", refused)
        main, words = check_build.main, ["--seal", "measured.csv"]
    else:
        for step in ("require_undamaged", "chapters_and_rooms"):
            monkeypatch.setattr(build_book, step, lambda *_: None)
        monkeypatch.setattr(build_book, "PAGES", {})
        monkeypatch.setattr(build_book, "stage", refused if where != "Sphinx's" else lambda *_: {})
        monkeypatch.setattr(build_book.subprocess, "run", sphinx_on_a_full_disk)
        main, words = build_book.main, [str(tmp_path), "--profile", "smoke"]
    monkeypatch.setattr(sys, "argv", ["x", *words])
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", dict(os.environ))
        assert main() == 1
    (said,) = capsys.readouterr().err.split("\n\n")[0].strip().splitlines()
    named = tmp_path / "site" if where == "Sphinx's" else "build/x/page.html"
    assert (
        said == f"{named}: No space left on device; free some space and run the same command again"
    )


def test_a_new_book_takes_the_old_ones_place(tmp_path):
    for version in ("first", "second"):
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / version).touch()
        swap(tmp_path / "new", tmp_path / "html")
        assert [path.name for path in (tmp_path / "html").iterdir()] == [version]
    assert [path.name for path in tmp_path.iterdir()] == ["html"]


# The whole smoke build


def test_the_book_holds_every_page_and_says_how_it_was_built(smoke_build):
    pages = contents(ROOT / "_toc.yml")
    for page in pages:
        assert (smoke_build / f"html/{page}.html").is_file()
    about = (smoke_build / "html/book/about-this-build.html").read_text()
    for chapter in CHAPTERS:
        assert f"../{chapter}.html" in about
    words = re.sub(r"<[^>]+>", "", about)
    assert "synthetic phantom" in words
    for recipe in load_profile("smoke").backbones.values():
        assert ", ".join(map(str, recipe.grid)) in words
    foreign = r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(?:https?:)?//'
    for path in smoke_build.glob("html/**/*.html"):
        assert not re.search(foreign, path.read_text()), path


def test_the_phantoms_record_stands_beside_what_chapters_compute(smoke_build):
    for chapter in (OF_CHANGES, *OF_PHANTOMS):
        page = (smoke_build / f"html/notebooks/{chapter}.html").read_text()
        assert "record, and not computed in this build" in page, chapter
        shown = {path.name for path in (smoke_build / "results" / chapter).glob("recorded/*.csv")}
        assert shown == {path.name for path in (ROOT / "book/record" / chapter).glob("*.csv")}
    report = re.sub(r"<[^>]+>", "", (smoke_build / "html/book/report.html").read_text())
    assert "Phantom: read from this project’s record, which" in report
    assert "No chapter of this build kept it" not in report


def test_a_second_build_does_nothing(smoke_build, smoke_words):
    before = (smoke_build / "html/build.json").stat().st_mtime_ns
    done = make(*smoke_words)
    assert done.returncode == 0, done.stdout
    assert "Nothing to be done" in done.stdout
    assert "build/smoke/html/index.html" in done.stdout
    assert re.search(r"^This took [\d.].*, and [\d.].* of processor time\.$", done.stdout, re.M)
    assert (smoke_build / "html/build.json").stat().st_mtime_ns == before


def test_snakemake_has_the_limit_that_our_graph_takes_away(tmp_path):
    """What it is called is Snakemake's own matter, and under another name builds were only slow."""
    hook = (ROOT / "workflow/Snakefile").read_text().partition("onstart:\n")[2].split("\n\n")[0]
    say = "print('limit:', workflow.scheduler.job_rate_limiter)"
    lines = ["onstart:", f"    {say}", *hook.splitlines(), f"    {say}"]
    lines += ["rule all:", "    output: 'one'", "    shell: 'touch one'"]
    (tmp_path / "Snakefile").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "snakemake", "--cores", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    said = re.findall(r"limit: (.*)", done.stdout + done.stderr)
    assert done.returncode == 0 and "JobRateLimiter" in said[0] and said[1] == "None"


def test_a_chapter_that_is_given_files_of_others_runs_again_when_they_change():
    text = (ROOT / "workflow/Snakefile").read_text()
    blocks = {
        name: text[text.index(f"{name} = {{") :].split("\n}\n")[0] + "\n}"
        for name in ("NEEDS", "READS")
    }
    chapters = {
        name: dict(re.findall(r'^    "(\d\d-[\w-]+)": (.*?)(?=^    "\d\d-|^})', block, re.M | re.S))
        for name, block in blocks.items()
    }
    needed = {"PUBLISHED": "PUBLISHED_FILES", "RADIOMICS": "RADIOMICS_FILES",
              "REFERENCES": "REFERENCE_FILES", "RADIOGRAPHS": "RADIOGRAPH_FILES",
              "DRAWN": "DRAWN"}  # fmt: skip
    given = [
        (chapter, files)
        for chapter, reads in chapters["READS"].items()
        for word, files in needed.items()
        if f"{{{word}}}" in reads
    ]
    assert len(given) >= 8 and ("09-published-record", "RADIOMICS_FILES") in given
    needs = chapters["NEEDS"]
    assert "GRADE_TABLE" in needs["15-seven-grades"]  # which reads no other of the references
    assert all(files in needs[chapter] for chapter, files in given if chapter != "15-seven-grades")
    for chapter in (OF_SOURCES["published"], OF_SOURCES["radiomics"]):
        assert f'recorded("{chapter}")' in chapters["NEEDS"][chapter]
    for chapter in ("16-picture-of-a-joint", "17-keypoints"):
        assert f'recorded("{chapter}")' in chapters["NEEDS"][chapter]
    for chapter in ("18-unlabelled-pictures", "19-second-papers-tables"):
        assert 'recorded("17-keypoints")' in chapters["NEEDS"][chapter]
        assert "STUDIED" not in chapters["NEEDS"][chapter]


def test_an_edit_reruns_what_it_touches(smoke_build, tmp_path):
    project = copy_project(tmp_path / "project")
    copy_build(smoke_build, project)
    others = ("published", "radiomics", "references")
    links = {name: project / f"build/smoke/{name}" for name in others}
    config = [f"{name}={link}" for name, link in links.items() if link.exists()]
    words = ["-n", "--config", "profile=smoke", *config]

    def edit(name: str, old: str, new: str) -> dict[str, int]:
        path = project / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        jobs = counted(snakemake(project, *words).stdout)
        path.write_text(text)
        return {rule: n for rule, n in jobs.items() if rule not in ("all", "book")}

    users = [c for c in CHAPTERS if "oacore/plots/basic.py" in chapter_code(f"{c}.ipynb")]
    assert edit("oacore/plots/basic.py", '"""', '"""Now: ') == {"notebook": len(users)}
    changed = edit("oacore/profiles.yml", "epochs: 2", "epochs: 3")
    profile = load_profile("smoke")
    assert changed == {
        "train": trained(profile, profile.backbones),
        "explain": explained(profile),
        "faithfulness": 1,
        "notebook": len(CHAPTERS),
    }
    changed = edit("oacore/models/m3t.py", '"""', '"""Now: ')
    assert changed["train"] == trained(profile, ["m3t"]) and changed["explain"] == 1
    changed = edit("oacore/names.py", "METRIC_NAMES = {", "METRIC_NAMES = {'oa_x': 'x',")
    assert set(changed) == {"notebook"}  # a metric's name trains nothing anew
    assert edit("oacore/__init__.py", '"""', '"""Now: ') == {}
    changed = edit("oacore/instruments/saliency/methods.py", '"""', '"""Now: ')
    assert changed["explain"] == explained(profile) and "train" not in changed
    changed = edit("oacore/models/scan/selective.py", '"""', '"""Now: ')
    assert changed["train"] == trained(profile, ["nnmamba"])
    assert edit("oacore/instruments/phantom/cohort.py", '"""', '"""Now: ')["phantom"] == 1
    changed = edit("oacore/instruments/phantom/measure.py", '"""', '"""Now: ')
    # Chapters 2, 3 and 20 import it, 7 and 8 read what is measured, 24 what 8 keeps.
    assert changed == {"measure": 1, "notebook": 6}
    assert edit("book/glossary.md", "#", "# Now:") == {}
    changed = edit("oacore/instruments/radiographs/film.py", '"""', '"""Now: ')
    assert changed["radiographs"] == changed["study"] == 1 and "train" not in changed
    changed = edit("oacore/instruments/radiographs/told.py", '"""', '"""Now: ')
    assert changed["study"] == 1 and "radiographs" not in changed
    changed = edit("oacore/instruments/radiographs/studies.yml", "test: [2, 2,", "test: [3, 2,")
    assert changed["radiographs"] == changed["study"] == 1


def test_real_cohorts_are_measured_and_what_is_missing_is_said(smoke_build, tmp_path, monkeypatch):
    """A cohort that is no phantom and comes without truth, and no real mean knee."""
    cohort = tmp_path / "knees"
    shutil.copytree(smoke_build / "cohort", cohort)
    (cohort / "truth.csv").unlink()
    for table in cohort.glob("subInfo_*.xlsx"):
        pd.read_excel(table).assign(MRBarCode="1", Path="2").to_excel(table, index=False)
    monkeypatch.chdir(ROOT)
    words = ["profile=smoke", f"cohort={cohort}", f"build={smoke_build}"]
    done = run_cli("notebooks/02-building-a-knee.ipynb", str(tmp_path / "out/knee.ipynb"), *words)
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read(tmp_path / "out/knee.ipynb", as_version=4)
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    shown = "".join(
        out.get("text", "") + out.get("data", {}).get("text/html", "") for out in outputs
    )
    assert ".venv/bin/oacore fetch references" in shown
    assert "A real mean knee and a phantom" not in shown
    kinds = re.findall('data-evidence="([a-z-]+)"', shown)
    assert kinds == ["phantom", "oaizib-cm"]
    assert "no truth.csv" in shown and "no ceiling" in shown
    assert "denuded femur medial" in shown and "reader kappa" not in shown
