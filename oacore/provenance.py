"""Where a result comes from: commit, versions, device."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import oacore

if TYPE_CHECKING:  # torch takes seconds, and whoever has a device has imported it
    import torch

PACKAGES = ("torch", "monai", "lightning-fabric", "numpy", "scipy", "scikit-learn", "nibabel")


def commit() -> dict[str, Any]:
    """Commit of the source that is running, and whether files differed from it.

    Returns
    -------
    dict
        "commit" (None for a copy outside version control) and "clean".
    """
    root = Path(oacore.__file__).parent.parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, check=False
            )
        except FileNotFoundError:  # no git on this machine: the commit is unknown, and says so
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "oacore/__init__.py") is None:
        return {"commit": None, "clean": None}
    return {"commit": git("rev-parse", "HEAD"), "clean": git("status", "--porcelain") == ""}


def device_name(device: torch.device) -> str:
    """Name of a device as its maker gives it."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def numerics(device: torch.device) -> dict[str, Any]:
    """What rounds a sum one way or another: the same run under others ends at other numbers.

    Returns
    -------
    dict
        "device", "threads", "instructions" (the instruction set that a CPU's kernels use, and
        oneDNN's own limit where one is set: ONEDNN_MAX_CPU_ISA), "tf32"
        (whether a GPU's convolutions round their factors to 10 bits of mantissa) and "torch".
    """
    import torch

    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return {
        "device": f"{device.type}: {device_name(device)}",
        "threads": torch.get_num_threads(),
        "instructions": f"{torch.backends.cpu.get_cpu_capability()} {limit}".strip(),
        "tf32": device.type == "cuda" and torch.backends.cudnn.allow_tf32,
        "torch": version("torch"),
    }


def provenance(device: torch.device) -> dict[str, Any]:
    """Describe the machine and the code behind a run, for its record."""
    return {
        **commit(),
        "oacore": oacore.__version__,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        **{k: v for k, v in numerics(device).items() if k != "torch"},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def of_this_machine() -> dict[str, Any]:
    """Provenance of what is written on this machine: on its GPU, or else on its CPU."""
    import torch

    return provenance(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
