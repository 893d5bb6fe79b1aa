"""What processor time a build took, by rule: what bash says of each job."""

import subprocess

import pytest

from workflow.times import TIMES, by_rule, forget


@pytest.fixture
def build(tmp_path):
    (tmp_path / TIMES).mkdir()
    return tmp_path


def test_times_add_up_by_rule(build):
    for name, text in {
        "train.12": "0m0.010s 0m0.020s\n1m2.500s 0m1.000s\n",
        "train.13": "0m0.000s 0m0.000s\n10m0.000s 0m0.000s\n",
        "notebook.14": "0m0.000s 0m0.000s\n0m9.000s 0m1.000s\n",
        "book.15": "",  # of a job that is at work, or was killed
    }.items():
        (build / TIMES / name).write_text(text)
    found = by_rule(build)
    assert list(found) == ["train", "notebook", "book"]
    assert found == pytest.approx({"train": 663.53, "notebook": 10, "book": 0})
    forget(build)
    assert by_rule(build) == {}


def test_what_a_job_waited_for_counts_and_its_exit_status_stays(build):
    """As the Snakefile writes it."""
    busy = "python3 -c 'import time; t = time.process_time\nwhile t() < 0.5: pass'"
    script = f"trap 'times > {build}/{TIMES}/train.$$' EXIT; {busy}; exit 3"
    assert subprocess.run(["bash", "-c", script], check=False).returncode == 3
    assert 0.4 < by_rule(build)["train"] < 3
