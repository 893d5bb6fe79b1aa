"""The command line: ``oacore`` and a command.

``check|phantom|radiographs|measure|cache|train|explain|faithfulness|status|stats|audit|fetch``
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from oacore.errors import InputError, of_the_system, out_of_memory

if TYPE_CHECKING:
    import pandas as pd

    from oacore.data.cache import Volumes
    from oacore.data.check import Report


INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 done, 1 faults found, 2 unusable input, 130 interrupted."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # where a terminal lacks a sign, its code stands
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    out = getattr(options, "out", None) or getattr(options, "folder", None)
    return in_one_line(lambda: options.command(options), str(out or ""))


def in_one_line(
    command: Callable[[], int],
    out: str = "",
    say: Callable[[str], None] = lambda said: print(f"oacore: {said}", file=sys.stderr),
) -> int:
    """Run a command; what is no fault of the code ends it with one line.

    Parameters
    ----------
    command : callable
        Returns an exit status.
    out : str
        What it writes to; empty if that is its output alone.
    say : callable
        Takes the line.

    Returns
    -------
    int
        The command's own status, 2 for unusable input, `INTERRUPTED` after Ctrl-C.
    """
    try:
        result = command()
        sys.stdout.flush()
        return result
    except (InputError, FloatingPointError) as error:
        say(str(error))
        return 2
    except BrokenPipeError:  # whoever read the output has gone: nothing more to say to them
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        say("the reader of the output closed it; let it read to the end")
        return 2
    except (OSError, ImportError) as error:
        if not (said := of_the_system(error, out)):
            raise  # a fault of ours, or of the installation: its traceback says where
        say(said)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not (said := out_of_memory(type(error).__name__, str(error))):
            raise
        say(said)
        return 2
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        return INTERRUPTED


def _check(options: argparse.Namespace) -> int:
    from oacore.instruments.radiographs.public import check_radiographs, is_radiographs

    if is_radiographs(options.cohort):
        report: Report = check_radiographs(options.cohort, oarsi=options.oarsi)
    elif options.oarsi:
        raise InputError(f"--oarsi is for radiographs, and {options.cohort} holds none")
    else:
        from oacore.data.check import check_cohort

        report = check_cohort(options.cohort, workers=options.workers)
    print(report.text())
    return 1 if report.errors else 0


def _phantom(options: argparse.Namespace) -> int:
    from oacore.instruments.phantom.cohort import write_phantom
    from oacore.instruments.phantom.subjects import READER_NOISE
    from oacore.profile import load_profile

    profile = load_profile(options.profile)
    coarse, *fine = options.reader_noise or [READER_NOISE]
    if len(fine) > 1:
        raise InputError("--reader-noise takes one number, or two: coarse and fine")
    write_phantom(
        options.folder,
        train=profile.train,
        test=profile.test,
        ungraded=profile.ungraded,
        shape=profile.shape,
        seed=profile.cohort_seed if options.seed is None else options.seed,
        workers=options.workers,
        reader_noise=(coarse, fine[0]) if fine else coarse,
        device=options.device,
    )
    print(f"{options.folder}: a synthetic cohort; `oacore check {options.folder}` describes it")
    return 0


def _radiographs(options: argparse.Namespace) -> int:
    from oacore.instruments.radiographs.arms import study_of
    from oacore.instruments.radiographs.drawn import write_radiographs
    from oacore.profile import load_profile

    drawn = study_of(load_profile(options.profile).name).drawn
    write_radiographs(options.folder, **drawn, workers=options.workers)
    print(f"{options.folder}: drawn radiographs; `oacore check {options.folder}` describes them")
    return 0


def _measure(options: argparse.Namespace) -> int:
    from oacore.data.cohort import read_cohort
    from oacore.instruments.phantom.measure import measure_cohort
    from oacore.results import write_csv

    cases = read_cohort(options.cohort)
    if cases["mask"].notna().any():
        measured = measure_cohort(cases, workers=options.workers)
    else:  # masks are optional: a table without rows says that there was none
        measured = cases.loc[:, ["case_id", "split"]].iloc[:0]
    write_csv(measured, options.out)
    print(f"{options.out}: {len(measured)} of {len(cases)} knees have a mask and were measured")
    return 0


def _cache(options: argparse.Namespace) -> int:
    from oacore.data.cache import cached_volumes
    from oacore.data.cohort import graded, read_cohort
    from oacore.profile import load_profile

    profile = load_profile(options.profile)
    cases = graded(read_cohort(options.cohort))
    recipes = [profile.recipe(options.backbone)] if options.backbone else profile.backbones.values()
    for grid, resample in dict.fromkeys((recipe.grid, recipe.resample) for recipe in recipes):
        volumes = cached_volumes(cases, grid, resample, options.out, workers=options.workers)
        shape = "x".join(map(str, grid))
        print(f"{options.out}: {len(cases)} graded volumes at {shape}, {volumes.key[:16]}")
    return 0


def _train(options: argparse.Namespace) -> int:
    import torch

    from oacore.data.cache import cached_volumes
    from oacore.data.cohort import graded, read_cohort, require_trainable
    from oacore.profile import load_profile
    from oacore.training.config import run_config
    from oacore.training.device import require_devices
    from oacore.training.loop import train

    require_devices(options.accelerator, options.devices)
    torch.set_num_threads(options.threads)
    recipe = load_profile(options.profile).recipe(options.backbone)
    recipe = replace(recipe, precision=options.precision or recipe.precision)
    cases = graded(read_cohort(options.cohort))
    require_trainable(cases)
    volumes = cached_volumes(cases, recipe.grid, recipe.resample, options.cache)
    config = run_config(recipe, options.supervision, options.seed)
    train(config, cases, volumes, options.out, options.accelerator, options.devices)
    print(f"{options.out}: done")
    return 0


def _explain(options: argparse.Namespace) -> int:
    from oacore.data.cohort import is_phantom
    from oacore.instruments.saliency.explain import explain

    cases, volumes, device = _seen_by(options)
    explain(
        options.run,
        cases,
        volumes,
        options.out,
        lesions=is_phantom(options.cohort),
        methods=options.methods,
        permuted=options.permuted,
        device=device,
    )
    print(f"{options.out}: done")
    return 0


def _faithfulness(options: argparse.Namespace) -> int:
    from oacore.instruments.saliency.faithfulness import faithfulness

    cases, volumes, device = _seen_by(options)
    faithfulness(options.run, cases, volumes, options.out, device=device)
    print(f"{options.out}: done")
    return 0


def _status(options: argparse.Namespace) -> int:
    from oacore.instruments.hierarchy.grid import arms_status
    from oacore.instruments.radiographs.arms import study_status
    from oacore.profile import load_profile
    from oacore.training.progress import status

    build = options.build or Path("build", options.profile)
    profile = load_profile(options.profile)
    lines = [status(build, profile), *study_status(build, options.profile)]
    print("\n".join([*lines, *arms_status(build, profile)]))
    return 0


def _seen_by(options: argparse.Namespace) -> tuple[pd.DataFrame, Volumes, str]:
    """Cases and volumes of a finished run, and the device on which it is asked."""
    import torch

    from oacore.data.cache import cached_volumes
    from oacore.data.cohort import graded, read_cohort
    from oacore.profile import load_profile
    from oacore.training.device import choose_accelerator
    from oacore.training.records import run_record

    device = choose_accelerator(options.accelerator)
    torch.set_num_threads(options.threads)
    recipe = load_profile(options.profile).recipe(run_record(options.run)["backbone"])
    cases = graded(read_cohort(options.cohort))
    volumes = cached_volumes(cases, recipe.grid, recipe.resample, options.cache)
    return cases, volumes, device


def _stats(options: argparse.Namespace) -> int:
    from oacore.instruments.published.predictions import read_predictions
    from oacore.instruments.published.protocol import (
        UNDEFINED,
        as_released,
        one_against_another,
        released_protocol,
    )
    from oacore.results import write_csv

    tables = [read_predictions(folder) for folder in options.predictions]
    if len(tables) > 2:
        raise InputError("--predictions takes one folder, or two: a reference and another")
    if len(tables) == 1:
        tested = released_protocol(*tables)
        compared = as_released(tested).join(tested[UNDEFINED])
    else:
        compared = one_against_another(*tables)
    write_csv(compared, options.out)
    survive = (compared["q_value"] < 0.05).sum()
    silent = (compared["note"] != "").sum()
    print(
        f"{options.out}: {len(compared)} differences, {survive} with q < 0.05"
        + (f", {silent} of which nobody can say (see column note)" if silent else "")
    )
    return 0


def _audit(options: argparse.Namespace) -> int:
    from oacore.instruments.audit.findings import (
        audit,
        carried_statements,
        carried_tables,
        read_printed,
        read_statements,
    )
    from oacore.results import write_csv

    if options.claims and not options.table:
        raise InputError("--claims are about tables of one's own: give these with --table")
    given = [read_printed(path) for path in options.table]
    said = [one for path in options.claims for one in read_statements(path)]
    found = audit(given, said) if given else audit(carried_tables(), carried_statements())
    write_csv(found, options.out)
    counts = found["verdict"].value_counts()
    verdicts = ", ".join(
        f"{counts.get(verdict, 0)} {verdict}"
        for verdict in ("inconsistent", "undetermined", "consistent")
    )
    print(f"{options.out}: {len(found)} checks: {verdicts}")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from oacore.data.download import fetch_oaizib_cm, fetch_source

    if options.what != "oaizib-cm":
        print(fetch_source(options.what, options.folder))
    elif options.folder is None:
        raise InputError("oacore fetch oaizib-cm needs a folder: `oacore fetch oaizib-cm DIR`")
    else:
        fetch_oaizib_cm(options.folder, accept_licence=options.accept_licence)
    return 0


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with an argument."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; `{self.prog} --help` lists the arguments\n")


def _whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers within limits."""
    limits = f"{low} or more" if high is None else f"{low} to {high}"

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, {limits}")
        return value

    return number


_COUNT = _whole(1)
#: What NumPy's and PyTorch's generators take, also with what is added for controls.
_SEED = _whole(0, 2**63 - 1)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="oacore", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    profile = _Parser(add_help=False)
    profile.add_argument(
        "--profile", default="laptop", help="smoke, laptop, record, study, paper or text"
    )
    workers = _Parser(add_help=False)
    workers.add_argument("--workers", type=_COUNT, default=os.cpu_count() or 1)

    check = commands.add_parser("check", parents=[workers], help="what is wrong with a cohort")
    check.add_argument("cohort", type=Path, help="a cohort of volumes, or radiographs")
    check.add_argument(
        "--oarsi", type=Path, metavar="FILE", help="OAI's table kxr_sq_bu00, for radiographs"
    )
    check.set_defaults(command=_check)

    phantom = commands.add_parser(
        "phantom", parents=[profile, workers], help="write a synthetic cohort"
    )
    phantom.add_argument("folder", type=Path)
    phantom.add_argument("--seed", type=_SEED, help="of the knees (default: the profile's)")
    phantom.add_argument(
        "--reader-noise", type=float, nargs="+", metavar=("COARSE", "FINE"),
        help="0 (faultless readers) to 1 (as measured); one number stands for both",
    )  # fmt: skip
    phantom.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="that draws")
    phantom.set_defaults(command=_phantom)

    radiographs = commands.add_parser(
        "radiographs", parents=[profile, workers], help="draw the radiographs of a profile's study"
    )
    radiographs.add_argument("folder", type=Path)
    radiographs.set_defaults(command=_radiographs)

    measure = commands.add_parser(
        "measure", parents=[workers], help="measure a cohort's knees on their masks, in mm"
    )
    measure.add_argument("cohort", type=Path)
    measure.add_argument("--out", type=Path, required=True, help="table, measured.csv")
    measure.set_defaults(command=_measure)

    cache = commands.add_parser(
        "cache", parents=[profile, workers], help="read a cohort's volumes once, for training"
    )
    cache.add_argument("cohort", type=Path)
    cache.add_argument("--out", type=Path, required=True, help="folder of the cache")
    cache.add_argument("--backbone", help="whose grid (default: those of all backbones)")
    cache.set_defaults(command=_cache)

    train = commands.add_parser("train", parents=[profile], help="train one model")
    train.add_argument("--cohort", type=Path, required=True)
    train.add_argument("--cache", type=Path, required=True, help="folder of the cache")
    train.add_argument("--out", type=Path, required=True, help="folder of this run")
    train.add_argument(
        "--backbone", default="resnet3d", help="resnet3d, m3t, nnmamba or a variant's name"
    )
    train.add_argument("--supervision", required=True, help="single_oa, single_kl or dual")
    train.add_argument("--seed", type=_SEED, default=0)
    train.add_argument("--threads", type=_COUNT, default=os.cpu_count() or 1)
    train.add_argument("--accelerator", choices=["auto", "cpu", "cuda"], default="auto")
    train.add_argument(
        "--precision", choices=["auto", "32-true", "bf16-mixed"], help="default: the profile's"
    )
    train.add_argument("--devices", type=_COUNT, default=1, help="GPUs of one machine")
    train.set_defaults(command=_train)

    seen = _Parser(add_help=False, parents=[profile])
    seen.add_argument("--run", type=Path, required=True, help="folder of the run")
    seen.add_argument("--cohort", type=Path, required=True, help="that it was trained on")
    seen.add_argument("--cache", type=Path, required=True, help="folder of the cache")
    seen.add_argument("--out", type=Path, required=True, help="folder of tables and maps")
    seen.add_argument("--threads", type=_COUNT, default=os.cpu_count() or 1)
    seen.add_argument("--accelerator", choices=["auto", "cpu", "cuda"], default="auto")

    explain = commands.add_parser(
        "explain", parents=[seen], help="saliency maps of a finished run, measured"
    )
    explain.add_argument(
        "--methods", nargs="+", default=["gradient", "released", "grad-cam"],
        help="the paper's gradient, on test knees; its code's default and others, on some",
    )  # fmt: skip
    explain.add_argument(
        "--permuted", type=Path, help="folder of the run's twin on permuted grades"
    )
    explain.set_defaults(command=_explain)

    faithfulness = commands.add_parser(
        "faithfulness", parents=[seen], help="an answer as its most salient voxels go, or come"
    )
    faithfulness.set_defaults(command=_faithfulness)

    status = commands.add_parser(
        "status", parents=[profile], help="how far a build is, and how long the rest will take"
    )
    status.add_argument(
        "build", type=Path, nargs="?", help="its folder (default: the phantom's, build/PROFILE)"
    )
    status.set_defaults(command=_status)

    stats = commands.add_parser(
        "stats", help="Dual against single on the same knees, by the paper's released protocol"
    )
    stats.add_argument(
        "--predictions", type=Path, nargs="+", required=True, metavar="DIR",
        help="the paper's nine files, or runs of one's own; with two folders, the models of the "
        "second against those of the first",
    )  # fmt: skip
    stats.add_argument("--out", type=Path, required=True, help="table, stats.csv")
    stats.set_defaults(command=_stats)

    audit = commands.add_parser("audit", help="check printed tables by their own arithmetic")
    audit.add_argument(
        "--table", type=Path, action="append", default=[], metavar="FILE",
        help="a table of one's own instead of both papers' (repeatable)",
    )  # fmt: skip
    audit.add_argument(
        "--claims", type=Path, action="append", default=[], metavar="FILE",
        help="what a text says of the order of the figures in these tables (repeatable): "
        "a CSV file as the book's page 'Your own data' describes it",
    )  # fmt: skip
    audit.add_argument("--out", type=Path, required=True, help="table, audit.csv")
    audit.set_defaults(command=_audit)

    fetch = commands.add_parser("fetch", help="download public data, at your request")
    fetch.add_argument("what", choices=["published", "radiomics", "references", "oaizib-cm"])
    fetch.add_argument("folder", type=Path, nargs="?")
    fetch.add_argument("--accept-licence", action="store_true", help="for runs without a terminal")
    fetch.set_defaults(command=_fetch)
    return parser


if __name__ == "__main__":
    sys.exit(main())
