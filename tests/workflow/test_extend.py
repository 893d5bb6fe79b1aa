"""A backbone, an arm, a metric and a chapter, added by following the page on how to add them.

The book that is built with them is given no files of others: a build is long, and one shows both.
"""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.helpers import ROOT, copy_project, copy_smoke_build, make
from workflow.claims_by_source import CHAPTERS as OF_SOURCES

PAGE = ROOT / "book/contributing.md"
BLOCK = re.compile(
    r"^( *)```\{code-block\} \w+\n *:caption: (?P<file>[\w./-]+)"
    r"(?:, (?P<side>below|above) `(?P<line>[^`\n]+)`)?\n\n(?P<code>.*?)\n\1```$",
    re.MULTILINE | re.DOTALL,
)  # fmt: skip


def blocks(page: str) -> list[dict[str, str | None]]:
    """Code blocks of a page with the files, and the lines in them, that their captions name."""
    found = []
    for match in BLOCK.finditer(page):
        depth = len(match[1])  # the indentation of the list in which it stands
        lines = [line[depth:] for line in match["code"].splitlines()]
        found.append({**match.groupdict(), "code": "\n".join(lines) + "\n"})
    return found


def follow(block: dict[str, str | None], project: Path) -> None:
    """Do what one block of the page says."""
    path, code = project / str(block["file"]), str(block["code"])
    if block["line"] is None:
        assert not path.exists(), f"{path} is there already"
        if path.suffix == ".ipynb":
            nbformat.write(notebook(code), path)
        else:
            path.write_text(code)
        return
    anchor, hit = block["line"], False
    lines = []
    for line in path.read_text().splitlines(keepends=True):
        here = line.strip() == anchor or line.startswith(f"{anchor}(")
        hit |= here
        if here and block["side"] == "above":
            lines.append(f"{code}\n\n")
        lines.append(line)
        if here and block["side"] == "below":
            lines.append(code)
    assert hit, f"{path} has no line {anchor!r}"
    path.write_text("".join(lines))


def notebook(code: str) -> nbformat.NotebookNode:
    """Cells between lines that start with "# %%"."""
    cells = []
    for part in re.split(r"^# %% *", code, flags=re.MULTILINE)[1:]:
        kind, _, source = part.partition("\n")
        if kind == "[markdown]":
            cells.append(new_markdown_cell(source.strip()))
        else:
            tags = {"tags": [kind]} if kind else {}
            cells.append(new_code_cell(source.strip(), metadata=tags))
    made = new_notebook(cells=cells)
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    return made


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project to which the page was followed."""
    root = copy_project(tmp_path_factory.mktemp("extend") / "project")
    for block in blocks(PAGE.read_text()):
        follow(block, root)
    return root


def python(root: Path, code: str) -> str:
    """What a program prints that runs in the copy."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_names_each_place_once():
    files = [block["file"] for block in blocks(PAGE.read_text())]
    assert files == [
        "oacore/models/mynet.py",
        "oacore/profiles.yml",
        "oacore/profiles.yml",
        "oacore/metrics/scores.py",
        "oacore/names.py",
        "notebooks/25-my-chapter.ipynb",
        "workflow/Snakefile",
        "_toc.yml",
    ]
    assert PAGE.read_text().count("{code-block}") == len(files)


def test_a_step_that_does_not_fit_is_noticed(tmp_path):
    (tmp_path / "a.yml").write_text("one:\n")
    step = {"file": "a.yml", "side": "below", "line": "two:", "code": "  x: 1\n"}
    with pytest.raises(AssertionError, match="no line 'two:'"):
        follow(step, tmp_path)
    follow({**step, "line": "one:"}, tmp_path)
    assert (tmp_path / "a.yml").read_text() == "one:\n  x: 1\n"


def test_the_backbone_is_known_drawn_and_explained(project):
    """Without a build, and without an edit of any other file."""
    printed = python(project, """
        import numpy as np, torch, oacore
        from oacore.instruments.architecture.drawings import architecture
        from oacore.instruments.saliency.methods import saliency_map
        from oacore.models.heads import build_model, count_parameters
        from oacore.models.shapes import stages
        from oacore.names import BACKBONE_NAMES
        from oacore.profile import load_profile

        print(oacore.__file__)
        assert list(BACKBONE_NAMES)[:3] == ["resnet3d", "m3t", "nnmamba"]
        assert BACKBONE_NAMES["mynet"] == "MyNet"
        for name in ("smoke", "laptop", "record", "study", "paper", "text"):
            recipe = load_profile(name).backbones["mynet"]
            assert recipe.encoder == {"channels": 4}
        profile = load_profile("smoke")
        recipe, arm = profile.recipe("mynet"), profile.recipe("mynet-cascaded")
        assert arm.heads == "cascaded" and arm.supervisions == ("dual",)
        by_hand = (4 * 125 + 4) + (8 * 4 * 27 + 8) + (8 + 1) + (5 * 8 + 5)
        assert count_parameters(recipe) == by_hand, count_parameters(recipe)
        model = build_model("mynet", "dual", 0, recipe.encoder, recipe.heads)
        assert list(stages(model.encoder, recipe.grid).index) == ["stem", "body"]
        fig = architecture(model.encoder, recipe.grid)
        assert {"stem", "body"} <= {box.name for box in fig.layout.shapes}
        x = torch.randn(2, 1, *recipe.grid)
        for method in ("gradient", "released", "grad-cam"):
            for head in ("oa", "kl"):
                assert saliency_map(model, x, head, method).shape == (2, *recipe.grid)
        default = saliency_map(model, x, "kl", "grad-cam")
        chosen = saliency_map(model, x, "kl", "grad-cam", layer="body")
        np.testing.assert_array_equal(default, chosen)
    """)  # fmt: skip
    assert printed.startswith(str(project))


def test_the_metric_is_scikit_learns(project):
    python(project, f"""
        import sys
        sys.path.append({str(ROOT)!r})
        import numpy as np
        from sklearn.metrics import balanced_accuracy_score
        from oacore.metrics.scores import paired_bootstrap, table1
        from oacore.metrics.resampling import resample_counts
        from oacore.metrics.scores import METRICS
        from tests.helpers import drawn_cases, model

        one = model(n=40)
        want = balanced_accuracy_score(one["kl"], one["pred_kl"].astype(int))
        assert abs(table1(one)["kl_bacc"].item() - want) < 1e-12
        counts = resample_counts(len(one), 20, seed=0)
        for row, found in zip(counts, METRICS["kl_bacc"](one, counts), strict=True):
            rows = one.iloc[drawn_cases(row)]
            if rows["kl"].nunique() == 5:
                want = balanced_accuracy_score(rows["kl"], rows["pred_kl"].astype(int))
                assert abs(found - want) < 1e-12
        other = model(1, n=40, kl=one["kl"])
        table = paired_bootstrap(one, other, n_resamples=50, seed=0).set_index("metric")
        assert np.isfinite(table.loc["kl_bacc", ["value", "low", "high"]].astype(float)).all()
    """)  # fmt: skip


def test_what_the_page_shows_is_in_our_style(project):
    files = ["oacore/models/mynet.py", "oacore/metrics/scores.py", "oacore/names.py"]
    files += ["--config", str(ROOT / "pyproject.toml")]
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, *files],
            cwd=project, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


# The smoke book with all of them, and without the files of others


@pytest.fixture(scope="module")
def build(project: Path, smoke_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make book` makes of the copy, where all that the page leaves alone is built already."""
    copy_smoke_build(smoke_build, project)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("nothing")))
        done = make("book", "PROFILE=smoke", "CORES=2", root=project)
    assert done.returncode == 0, done.stdout[-6000:]
    assert dict(re.findall(r"Training (\S+): (.+)", done.stdout)) == {
        "mynet": "single_oa seed 0, single_kl seed 0, dual seed 0",
        "mynet-cascaded": "dual seed 0",
    }
    assert "synthetic cohort" not in done.stdout
    return project / "build/smoke"


def test_the_backbone_is_trained_and_explained(build):
    runs = {path.parent.name for path in build.glob("runs/mynet/*/seed0")}
    assert runs == {"single_oa", "single_kl", "dual"}
    for folder in build.glob("explained/mynet/*/seed0"):
        overlap = pd.read_csv(folder / "overlap.csv")
        assert set(overlap["method"]) == {"gradient", "released", "grad-cam", "input alone"}
    assert len(list(build.glob("explained/mynet/*/seed0"))) == 3
    page = (build / "html/notebooks/14-saliency.html").read_text()
    assert "MyNet" in page


def test_the_arm_stands_in_its_chapter(build):
    assert (build / "variants/mynet-cascaded/dual/seed0/done.json").exists()
    page = (build / "html/notebooks/07-text-and-code.html").read_text()
    assert "mynet-cascaded" in page


def test_the_metric_stands_where_all_metrics_do(build):
    tables = [pd.read_csv(path) for path in sorted(build.glob("results/08-comparison/*.csv"))]
    with_metric = [table for table in tables if "metric" in table]
    assert with_metric
    assert any({"kl_bacc", "kl_f1"} <= set(table["metric"]) for table in with_metric)
    assert "KL balanced accuracy" in (build / "html/notebooks/08-comparison.html").read_text()


def test_the_chapter_has_its_page(build):
    page = (build / "html/notebooks/25-my-chapter.html").read_text()
    assert "How well do the models answer" in page and "mynet" in page
    assert "25-my-chapter.html" in (build / "html/book/index.html").read_text()


def test_chapters_read_the_record_without_the_files_of_others(build):
    html = build / "html"
    page = (html / "notebooks/07-text-and-code.html").read_text()
    assert "Not shown" not in page
    assert page.replace("’", "'").count("From this project's record.") >= 2
    for chapter in (OF_SOURCES["published"], OF_SOURCES["radiomics"]):
        page = (html / f"notebooks/{chapter}.html").read_text()
        assert "Not shown" not in page and "Read from this project's record" in page.replace(
            "’", "'"
        )
        results = build / "results" / chapter
        assert not list(results.glob("*.csv"))
        recorded = {path.name for path in (ROOT / "book/record" / chapter).glob("*.csv")}
        assert {path.name for path in (results / "recorded").glob("*.csv")} == recorded
    report = re.sub(r"<[^>]+>", "", (html / "book/report.html").read_text()).replace("’", "'")
    for source in ("Published predictions", "Public radiomics"):
        assert f"{source}: read from this project's record, which" in report
    assert "From the record, shown here" in report
    assert "No chapter of this build kept it" not in report
    assert report.count("not fetched; the record is of") == 9 + 4  # predictions, radiomics
