"""How fast the scan, the backbones and the cache are, beside what one would use instead.

Run from the repository's root: ``python -m benchmarks.speed``. Peers and ours take turns in one
run and must give the same numbers before anything is timed; first calls do not count, and what is
reported is the median. One table is printed, ratios first, and one JSON file is written, which
the book's chapter on speed reads. On a CPU it takes five to ten minutes, on a large GPU less than
eight.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from benchmarks.measure import Row
from benchmarks.paper import paper
from benchmarks.rows import SEED, Setting, loading, m3t, nnmamba, resnet3d, scan
from oacore.errors import InputError
from oacore.files import whole
from oacore.instruments.evidence.performance import in_words
from oacore.models.scan.selective import default_backend
from oacore.provenance import provenance

RECORDED = Path(__file__).parent / "recorded"
PACKAGES = ("mambapy", "numba", "triton", "mamba_ssm")  # where they are installed

GROUPS: dict[str, dict[str, Callable[[Setting, torch.device], Iterator[Row]]]] = {
    "cpu": {"scan": scan, "nnmamba": nnmamba, "resnet3d": resnet3d, "loading": loading, "m3t": m3t},
    "cuda": {"scan": scan, "paper": paper, "m3t": m3t},
}


def table(rows: list[dict[str, Any]]) -> str:
    """All rows as text, ratios first."""
    lines = [["ratio", "aim", "met", "peer", "ours", "what"]]
    lines += [[*in_words(row).values(), row["name"]] for row in rows]
    *widths, _ = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(
        "  ".join([*(word.rjust(n) for word, n in zip(line, widths, strict=False)), line[-1]])
        for line in lines
    )


def origin(device: torch.device, setting: Setting) -> dict[str, Any]:
    """What a record says of the machine and the code, besides its rows."""
    record = provenance(device)
    owners = packages_distributions()
    there = [name for name in PACKAGES if name in owners]
    record["versions"] |= {name: version(owners[name][0]) for name in there}
    if device.type == "cpu":
        record["device"] = f"cpu: {processor()}"
    return {
        **record,
        "cores": os.cpu_count(),
        "scan": default_backend(device),
        "tf32": {
            "convolutions": torch.backends.cudnn.allow_tf32,
            "products": torch.backends.cuda.matmul.allow_tf32,
        },
        "seed": SEED,
        "setting": asdict(setting),
    }


def processor() -> str:
    """The processor's name as its maker gives it, where the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def default_out(device: torch.device) -> Path:
    """File of a kind of device: one for all CPUs, one for each model of GPU."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    kind = re.sub("[^a-z0-9]+", "-", f"{device.type} {name}".lower()).strip("-")
    return RECORDED / f"{kind}.json"


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def report(
    measured: list[dict[str, Any]],
    setting: dict[str, Any],
    seed: int,
    start: float,
    out: Path | None,
) -> None:
    """Print rows that one thread of the CPU took, and record them where asked.

    Parameters
    ----------
    measured : list of dict
        Of :meth:`.Row.record`.
    setting : dict
        What was measured.
    seed : int
        Of what was measured.
    start : float
        Of ``time.perf_counter`` when measuring began.
    out : Path, optional
        A JSON file; its folder is made.
    """
    record: dict[str, Any] = {
        **provenance(torch.device("cpu")),
        "device": f"cpu: {processor()}",
        "cores": os.cpu_count(),
        "seed": seed,
        "setting": setting,
        "minutes": round((time.perf_counter() - start) / 60, 1),
        "rows": measured,
    }
    print(f"{record['device']}, 1 thread")
    print(table(measured))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole(out) as part:
            write(part, record)
        print(f"\nrecorded in {out}")


def on_one_thread(
    name: str,
    description: str | None,
    rows: Callable[[Any], Iterator[Row]],
    setting: Any,
    seed: int,
    arguments: list[str] | None,
) -> int:
    """Command line of a benchmark of the CPU: measure, print, and record where asked.

    Parameters
    ----------
    name, description : str
        Of the benchmark.
    rows : callable
        From a setting, a dataclass, to what was measured.
    setting, seed
        See :func:`report`.
    arguments : list of str, optional
        The command line's by default.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="record (default: none)")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    start = time.perf_counter()
    with threadpool_limits(1):
        measured = [row.record() for row in rows(setting)]
    report(measured, asdict(setting), seed, start, given.out)
    return 0


def main(arguments: list[str] | None = None, setting: Setting | None = None) -> int:
    """Measure, print and record; 0 done, 2 unusable input."""
    try:
        measure(options(arguments), setting or Setting())
    except InputError as error:
        print(f"benchmarks.speed: {error}", file=sys.stderr)
        return 2
    return 0


def options(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    there = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=list(GROUPS), default=there)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on the CPU (default 1)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="default: a file for this "
                        "kind of device in benchmarks/recorded; with --only, none")  # fmt: skip
    names = list(dict.fromkeys(name for groups in GROUPS.values() for name in groups))
    parser.add_argument("--only", nargs="+", choices=names, help="measure only these rows")
    return parser.parse_args(arguments)


def measure(given: argparse.Namespace, setting: Setting) -> None:
    """Measure the groups that were asked for, and print and record their rows."""
    groups = GROUPS[given.device]
    if unknown := [name for name in given.only or () if name not in groups]:
        raise InputError(
            f"{', '.join(unknown)} is not measured on {given.device}: choose among "
            f"{', '.join(groups)}"
        )
    if given.device == "cuda" and not torch.cuda.is_available():
        raise InputError("PyTorch finds no GPU here; leave --device out, or say --device cpu")
    if given.threads < 1:
        raise InputError(f"--threads is {given.threads}; give 1 or more")
    device = torch.device(given.device)
    torch.set_num_threads(given.threads)
    out = given.out or (None if given.only else default_out(device))
    part = None if out is None else out.with_name(f"{out.name}.part")
    if part is not None:
        part.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    record: dict[str, Any] = {**origin(device, setting), "rows": []}
    for group in given.only or groups:
        for row in groups[group](setting, device):
            record["rows"].append(row.record())
            found = in_words(record["rows"][-1])
            against = f"{row.peer}, {found['peer'] or 'not measured'}; " if row.peer else ""
            ours = f"{row.ours}, {found['ours'] or 'not measured'}"
            note = f" ({row.note})" if row.note else ""
            print(f"{row.name}: {against}{ours}{note}", flush=True)
            if part is not None:  # whatever happens to the rows that follow
                write(part, record)
    print(f"\n{record['device']}, {record['threads']} threads, torch {torch.__version__}")
    print(table(record["rows"]))
    if out is not None and part is not None:
        minutes = round((time.perf_counter() - start) / 60, 1)
        write(part, {**record, "finished": provenance(device)["finished"], "minutes": minutes})
        os.replace(part, out)
        print(f"\nrecorded in {out}")


if __name__ == "__main__":
    sys.exit(main())
