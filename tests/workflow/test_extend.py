"""A backbone, an arm, a metric and a chapter, added by following the page on how to add them.

The book that is built with them is a real cohort's without the files of others.
"""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers import ROOT
from tests.workflow.following import PAGE, blocks, follow
from workflow.claims_by_source import CHAPTERS as OF_SOURCES
from workflow.record import PHANTOM as OF_PHANTOMS
from workflow.record_changes import CHAPTER as OF_CHANGES


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


def test_the_backbone_is_known_drawn_and_explained(extended):
    """Without a build, and without an edit of any other file."""
    printed = python(extended, """
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
    assert printed.startswith(str(extended))


def test_the_metric_is_scikit_learns(extended):
    python(extended, f"""
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


def test_what_the_page_shows_is_in_our_style(extended):
    files = ["oacore/models/mynet.py", "oacore/metrics/scores.py", "oacore/names.py"]
    files += ["--config", str(ROOT / "pyproject.toml")]
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, *files],
            cwd=extended, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


# The book with all of them


def test_the_backbone_is_trained_and_explained(extended_book):
    runs = {path.parent.name for path in extended_book.glob("runs/mynet/*/seed0")}
    assert runs == {"single_oa", "single_kl", "dual"}
    for folder in extended_book.glob("explained/mynet/*/seed0"):
        overlap = pd.read_csv(folder / "overlap.csv")
        assert set(overlap["method"]) == {"gradient", "released", "grad-cam", "input alone"}
    assert len(list(extended_book.glob("explained/mynet/*/seed0"))) == 3
    page = (extended_book / "html/notebooks/14-saliency.html").read_text()
    assert "MyNet" in page


def test_the_arm_stands_in_its_chapter(extended_book):
    assert (extended_book / "variants/mynet-cascaded/dual/seed0/done.json").exists()
    page = (extended_book / "html/notebooks/07-text-and-code.html").read_text()
    assert "mynet-cascaded" in page


def test_the_metric_stands_where_all_metrics_do(extended_book):
    tables = [pd.read_csv(path) for path in extended_book.glob("results/08-comparison/*.csv")]
    with_metric = [table for table in tables if "metric" in table]
    assert with_metric
    assert any({"kl_bacc", "kl_f1"} <= set(table["metric"]) for table in with_metric)
    page = (extended_book / "html/notebooks/08-comparison.html").read_text()
    assert "KL balanced accuracy" in page


def test_the_chapter_has_its_page(extended_book):
    page = (extended_book / "html/notebooks/25-my-chapter.html").read_text()
    assert "How well do the models answer" in page and "mynet" in page
    assert "25-my-chapter.html" in (extended_book / "html/book/index.html").read_text()


def test_chapters_read_the_record_without_the_files_of_others(extended_book):
    html = extended_book / "html"
    page = (html / "notebooks/07-text-and-code.html").read_text()
    assert "Not shown" not in page
    assert page.replace("’", "'").count("From this project's record.") >= 2
    for chapter in (OF_SOURCES["published"], OF_SOURCES["radiomics"]):
        page = (html / f"notebooks/{chapter}.html").read_text()
        assert "Not shown" not in page and "Read from this project's record" in page.replace(
            "’", "'"
        )
        results = extended_book / "results" / chapter
        assert not list(results.glob("*.csv"))
        recorded = {path.name for path in (ROOT / "book/record" / chapter).glob("*.csv")}
        assert {path.name for path in (results / "recorded").glob("*.csv")} == recorded
    report = re.sub(r"<[^>]+>", "", (html / "book/report.html").read_text()).replace("’", "'")
    for source in ("Published predictions", "Public radiomics"):
        assert f"{source}: read from this project's record, which" in report
    assert "From the record, shown here" in report
    assert "No chapter of this build kept it" not in report
    assert "No control was trained on these images: make book ARMS=main" in report
    assert report.count("not fetched; the record is of") == 9 + 4  # predictions, radiomics


def test_no_record_of_the_phantom_stands_beside_real_knees(extended_book):
    for chapter in (OF_CHANGES, *OF_PHANTOMS):
        page = (extended_book / f"html/notebooks/{chapter}.html").read_text()
        assert "record, and not computed in this build" not in page, chapter
        assert not list((extended_book / "results" / chapter).glob("recorded/*.csv")), chapter
