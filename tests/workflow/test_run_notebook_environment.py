"""What a chapter's kernel is started with keeps a machine's own words out of the pages."""

import os
import subprocess
import sys

from oacore.seals import sealed_text
from workflow.neutral import neutral_environment
from workflow.run_notebook import lend_probes


def test_an_installed_slurm_leaves_no_remark(tmp_path):
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\nexit 0\n")
    srun.chmod(0o755)
    code = "from lightning_fabric import Fabric; Fabric(accelerator='cpu', devices=1)"
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    def said(environment):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stderr

    outside = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"} | path
    assert "srun" in said(outside)
    neutral = neutral_environment(str(tmp_path / "own"), str(tmp_path / "cache"))
    assert said({**outside, **neutral}) == ""


def test_a_notebook_knows_what_jobs_found_of_convolutions(tmp_path, monkeypatch):
    """But not what else lies in the user's cache; and what is newer stays."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    own, lent = (tmp_path / f"{name}/oacore/convolutions-0.json" for name in ("user", "cache"))
    lend_probes(tmp_path / "cache")  # there is none
    assert not lent.exists()
    own.parent.mkdir(parents=True)
    own.write_text("damaged")
    lend_probes(tmp_path / "cache")
    assert not lent.exists()
    own.write_text(sealed_text("found"))
    (own.parent / "radiomics.zip").write_text("of somebody")
    lend_probes(tmp_path / "cache")
    assert lent.read_text() == sealed_text("found")
    assert [path.name for path in lent.parent.iterdir()] == [lent.name]
    lent.write_text("found by a notebook")
    os.utime(own, (1, 1))
    lend_probes(tmp_path / "cache")
    assert lent.read_text() == "found by a notebook"
    own.write_text(sealed_text("found since"))
    os.utime(lent, (1, 1))
    lend_probes(tmp_path / "cache")
    assert lent.read_text() == sealed_text("found since")
