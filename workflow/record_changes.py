"""Make the record of single changes: what stands apart in a paper's text and code, trained.

`python -m workflow.record_changes` trains profile ``changes``, whose variants change one setting of
a backbone each, about half an hour on two cores, and goes on where it was stopped. Each variant is
then compared with what it is a variant of, on the same knees and seeds, and the tables go to
`book/record/07-text-and-code`, with `record.json`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from oacore import record
from oacore.errors import InputError
from oacore.fingerprint import ROOT
from oacore.instruments.evidence.deviations import reference_of, variant_effects
from oacore.metrics.compare import contradictions
from oacore.profile import Profile, load_profile
from oacore.provenance import of_this_machine
from oacore.training.records import finished, read_runs, run_record, run_records
from workflow.graph import build_folder
from workflow.jobs import in_words, mark
from workflow.record import code_of, put
from workflow.record_phantom import snakemake

CHAPTER = "07-text-and-code"
COMMAND = "python -m workflow.record_changes"
PROFILE = "changes"
#: What draws the knees, trains, and compares; encoders are imported by their names.
ENTRIES = (
    *("instruments/phantom/cohort", "data/cache", "training/loop"),
    *("models/resnet3d", "models/m3t", "models/nnmamba"),
    *("metrics/seeds", "metrics/compare"),
)


def code() -> dict[str, str]:
    """Digests of the code behind the tables, by file."""
    return code_of(*ENTRIES)


def make(cores: int) -> Path:
    """Train what is missing, compare, and put the tables into the record.

    Parameters
    ----------
    cores : int
        Jobs side by side.

    Returns
    -------
    Path
        The record's folder.

    Raises
    ------
    InputError
        If a job fails; the record stays.
    """
    profile, build = load_profile(PROFILE), build_folder(PROFILE)
    marks = [
        str(mark(build, f"{kind}.{model}.{part}"))
        for kind, models in (("runs", profile.backbones), ("variants", profile.variants))
        for model in models
        for part, _ in enumerate(profile.parts(model))
    ]
    if snakemake(["--cores", str(cores)], marks, PROFILE):
        raise InputError(f"{build} is not finished, see above; the same command goes on from there")
    tables = changes(profile, ROOT / build)
    return put(record.RECORDS / CHAPTER, tables, about(profile, ROOT / build))


def changes(profile: Profile, build: Path) -> dict[str, pd.DataFrame]:
    """Tables of a finished build: what each variant changes on the test knees.

    Returns
    -------
    dict
        "effects", of :func:`.deviations.variant_effects` over seeds, with the `backbone`; and
        "contradictions", the share of knees on which the two heads of a `model` answer
        differently: mean over `seeds`.
    """
    runs = pd.concat([read_runs(build / "runs"), read_runs(build / "variants")])
    test = runs[runs["split"] == "test"]
    options: dict[str, Any] = {"n_resamples": profile.n_resamples, "seed": 0, "over_seeds": True}
    shares = {
        model: contradictions(rows)["share"] for model, rows in test.groupby("model", sort=False)
    }
    effects = variant_effects(profile, test, **options)
    backbones = [profile.variants[name].backbone for name in effects["variant"]]
    return {
        "effects": effects.assign(backbone=backbones),
        "contradictions": pd.DataFrame(
            {"model": model, "seeds": len(share), "share": share.mean()}
            for model, share in shares.items()
        ),
    }


def about(profile: Profile, build: Path) -> dict[str, Any]:
    """What a record of these runs says of them, but for its tables."""
    folders = [*finished(build / "runs"), *finished(build / "variants")]
    runs = pd.concat([run_records(build / "runs"), run_records(build / "variants")])
    records = [run_record(folder) for folder in folders]
    return {
        "command": COMMAND,
        "profile": PROFILE,
        "settings": asdict(profile),
        "compared with": {name: reference_of(profile, name)[0] for name in profile.variants},
        "resamples": {"seed": 0, "of knees": profile.n_resamples},
        "runs": {
            "models": len(profile.backbones) + len(profile.variants),
            "seeds": min(len(profile.recipe(name).seeds) for name in profile.backbones),
            "training knees": sum(profile.train),
            "test knees": sum(profile.test),
            "cohort seed": profile.cohort_seed,
            "volumes": sorted({one["volumes"] for one in records}),
            "training minutes": round(float(runs["training minutes"].sum()), 1),
            "commits": sorted({one["provenance"]["commit"] for one in records}),
        },
        "code": code(),
        "provenance": of_this_machine(),
    }


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args(words)
    return in_words(lambda: f"{make(given.cores)} is made")


if __name__ == "__main__":
    sys.exit(main())
