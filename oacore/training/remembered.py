"""What probing found of convolutions on this machine, in the user's cache folder.

Probing takes seconds of each of a build's many processes, and what it finds follows from the layer,
the processor, PyTorch's build and the number of threads. So it is kept, in one file for each
machine and build of PyTorch. Without such a file, or where none can be written, everything is
probed anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from oacore.errors import InputError
from oacore.files import write
from oacore.seals import read_sealed, sealed_text
from oacore.training import probe

#: Number of threads, and a layer as JSON.
Layer = tuple[int, str]
#: Lines of /proc/cpuinfo that differ between the cores of one processor, or from day to day.
_OF_A_CORE = frozenset(
    ("processor", "core id", "apicid", "initial apicid", "physical id", "cpu MHz", "bogomips",
     "BogoMIPS")
)  # fmt: skip


def recalled() -> dict[Layer, str]:
    """What was found of layers before, see :func:`.probe.fault`; empty where nothing is kept.

    A damaged file is said and taken for none.
    """
    path = place()
    try:
        if path is None or not path.exists():
            return {}
        found = read_sealed(path)
    except OSError:  # not ours to read: as if it were not there
        return {}
    if found is None:
        # It may stand in a page, where the folder would tell of a disk.
        print(
            f"oacore: {path.name} is damaged; layers are probed anew", file=sys.stderr, flush=True
        )
        return {}
    return {(threads, layer): fault for threads, layer, fault in found["layers"]}


def keep(found: Mapping[Layer, str]) -> None:
    """Add to what is kept, where it can be; of two processes at once the last one's stays."""
    path = place()
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        before = (read_sealed(path) or {"layers": []})["layers"]
        layers = {(threads, layer): fault for threads, layer, fault in before} | dict(found)
        content = {"machine": machine(), "layers": [[*key, layers[key]] for key in sorted(layers)]}
        write(path, sealed_text(content))
    except (OSError, InputError):  # a full disk, a home that is not to be written: nothing is lost
        return


def place() -> Path | None:
    """File of this machine and this build of PyTorch; None where they cannot be told apart."""
    found = machine()
    if not found["processor"]:
        return None
    import pooch  # takes a while, and a process that has probed already needs none

    digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
    return Path(pooch.os_cache("oacore")) / f"convolutions-{digest[:16]}.json"


def machine() -> dict[str, Any]:
    """All that the outcome of a probe follows from, besides the layer and the number of threads.

    PyTorch's configuration names its compiler, oneDNN's version and the instruction set; the
    variables are those by which oneDNN, OpenMP, MKL, PyTorch and glibc are told to do otherwise.
    """
    prefixes = ("ATEN_", "DNNL_", "GLIBC_", "GOMP_", "KMP_", "LD_PRELOAD", "MALLOC_", "MKL_",
                "OMP_", "ONEDNN_", "TORCH_")  # fmt: skip
    folders = ("TORCH_HOME", "TORCH_EXTENSIONS_DIR")
    return {
        "probe": hashlib.sha256(Path(probe.__file__).read_bytes()).hexdigest(),
        "torch": [torch.__version__, torch.__config__.show()],
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "processor": _processor(),
        "system": [platform.system(), platform.machine(), platform.release(), *platform.libc_ver()],
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(prefixes) and name not in folders
        },
    }


@cache
def _processor() -> list[str]:
    """Model, cache and abilities of the processor's cores, as Linux tells them; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return sorted({line for line in lines if line.partition(":")[0].strip() not in _OF_A_CORE})
