"""On what a run is computed, and in what precision."""

from __future__ import annotations

from typing import Any

import torch

from oacore.errors import InputError
from oacore.training.config import RunConfig


def choose_accelerator(accelerator: str) -> str:
    """Kind of device of a run: for "auto" a CUDA GPU where there is one, else the CPU.

    Apple's MPS is not chosen: nothing here has been run on it, and nnMamba's scan would be a loop
    in Python there.

    Raises
    ------
    InputError
        If another kind is named, or there is no GPU.
    """
    if accelerator not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown accelerator {accelerator!r}: choose auto, cpu or cuda")
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no CUDA GPU that PyTorch can use; choose auto or cpu")
    return "cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"


def require_devices(accelerator: str, devices: int) -> None:
    """Stop unless there is a number of devices of a kind; processes share a CPU.

    Raises
    ------
    InputError
        If there are fewer, or the kind is unknown or not there.
    """
    kind = choose_accelerator(accelerator)
    if devices < 1:
        raise InputError(f"devices is {devices}; give 1 or more")
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise InputError(
            f"{devices} GPUs are asked for and there are {torch.cuda.device_count()}; give "
            "--devices no more than that"
        )


def choose_precision(config: RunConfig, accelerator: str) -> Any:
    """Precision of a run as Fabric names it; for "auto", bf16 where a device computes in it.

    GPUs older than Ampere emulate bfloat16, slower than 32 bits, as do CPUs without the
    instructions.
    """
    if config.precision != "auto":
        return config.precision
    if accelerator == "cuda":
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        bf16 = torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if bf16 else "32-true"
