"""Which arms a build trains: as they are asked for, each run once, shared among jobs."""

import subprocess
import sys
from dataclasses import replace

import pytest

from oacore.errors import InputError
from oacore.instruments.hierarchy.arms import ARMS
from oacore.instruments.hierarchy.grid import (
    MAIN,
    arms_asked,
    arms_folder,
    arms_status,
    configurations,
)
from oacore.profile import load_profile

SMOKE = load_profile("smoke")


def test_arms_are_asked_for_by_word_or_by_name():
    assert arms_asked("") == arms_asked(" ") == ()
    assert arms_asked("main") == MAIN and set(MAIN) <= set(ARMS)
    assert set(ARMS) - set(arms_asked("all")) == {"quality"}
    assert arms_asked("dual, single_kl dual") == ("dual", "single_kl")
    with pytest.raises(InputError, match="there is no arm 'duel': choose of single_oa"):
        arms_asked("duel")
    with pytest.raises(InputError, match="'quality' needs radiomics"):
        arms_asked("dual,quality")


def test_each_run_is_in_one_job_and_jobs_are_as_long_as_each_other():
    recipe = replace(SMOKE.backbones["resnet3d"], seeds=(0, 1, 2))
    profile = replace(SMOKE, jobs=4, backbones=dict.fromkeys(("resnet3d", "m3t"), recipe))
    table = configurations(profile, MAIN)
    assert len(table) == 2 * 3 * len(MAIN) == len(table.drop_duplicates())
    sizes = table.groupby(["backbone", "part"]).size()
    assert len(sizes) == 8 and sizes.max() - sizes.min() <= 1
    first = table[table["backbone"] == "m3t"].head(len(MAIN))
    assert (first["seed"] == 0).all() and tuple(first["arm"]) == MAIN
    assert configurations(SMOKE, ()).empty
    assert configurations(SMOKE, ())[["backbone", "part"]].drop_duplicates().empty


def test_a_build_says_how_many_of_its_arms_are_trained(tmp_path):
    assert arms_status(tmp_path, SMOKE) == []
    for arm, seed in (("dual", 0), ("dual", 1), ("single_kl", 0)):
        path = arms_folder(tmp_path, "m3t") / "batch-constant" / arm / f"seed00{seed}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert arms_status(tmp_path, SMOKE) == ["Arms of m3t: 3 runs of 2 arms trained"]


def test_pytorch_is_not_loaded_for_it():
    code = "import sys, oacore.instruments.hierarchy.grid; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
