"""What a chapter's kernel is started with keeps a machine's own words out of the pages."""

import os
import subprocess
import sys

from workflow.neutral import neutral_environment


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
