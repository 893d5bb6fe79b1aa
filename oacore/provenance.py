"""Where a result comes from: commit, versions, device."""

from __future__ import annotations

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
    return platform.processor() or platform.machine()


def provenance(device: torch.device) -> dict[str, Any]:
    """Describe the machine and the code behind a run, for its record."""
    import torch

    return {
        **commit(),
        "oacore": oacore.__version__,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "device": f"{device.type}: {device_name(device)}",
        "threads": torch.get_num_threads(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def of_this_machine() -> dict[str, Any]:
    """Provenance of what is written on this machine: on its GPU, or else on its CPU."""
    import torch

    return provenance(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
