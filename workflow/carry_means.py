"""Means of overlaps, with their intervals and contrasts, in files: run by :mod:`workflow.carry`.

The overlaps are drawn: of one to five seeds, one knee to many, some without a value.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oacore.instruments.saliency.means import (
    contrast,
    dual_minus_single,
    over_chance,
    overlap_means,
    profile_means,
)

SEEDS, KNEES = (1, 2, 5), (1, 2, 3, 37)
OPTIONS: dict[str, Any] = {"n_resamples": 300, "seed": 3}


def overlaps(seeds: int, knees: int, rng: np.random.Generator) -> pd.DataFrame:
    """Rows as of explained runs, in no order."""
    heads = [("single_oa", "oa"), ("single_kl", "kl"), ("dual", "oa"), ("dual", "kl")]
    cases = rng.permutation(9 * knees)[:knees]
    rows = [
        {
            **{"backbone": "resnet3d", "supervision": supervision, "head": head, "seed": seed},
            **{"method": "gradient", "weights": weights, "mask": "own", "region": region},
            **{"measure": "mass", "case_id": case, "value": rng.random(), "chance": rng.random()},
            "ceiling": rng.random(),
        }
        for (supervision, head), weights, region, seed, case in product(
            heads, ("trained", "random"), ("cartilage", "bone"), range(seeds), cases
        )
    ]
    table = pd.DataFrame(rows).sample(frac=1, random_state=seeds)
    table.loc[rng.random(len(table)) < 0.03, "value"] = np.nan
    table.loc[rng.random(len(table)) < 0.05, "chance"] = 0.0
    return table


def profiles(table: pd.DataFrame) -> pd.DataFrame:
    """The same as of bands around cartilage."""
    renamed = table.rename(columns={"value": "mass", "chance": "voxels"})
    band = np.where(table["region"] == "bone", 5.0, np.nan)
    ends = {"above": band, "up_to": np.where(np.isnan(band), np.nan, np.inf)}
    return renamed.drop(columns=["method", "mask", "region", "measure", "ceiling"]).assign(**ends)


def main(folder: Path) -> None:
    """Fill a folder with a table of each kind."""
    rng = np.random.default_rng(8)
    for seeds, knees in product(SEEDS, KNEES):
        table = overlaps(seeds, knees, rng)
        tables = {
            "means": overlap_means(table, **OPTIONS),
            "chance": over_chance(overlap_means(table, **OPTIONS)),
            "weights": contrast(table, "weights", "trained", "random", **OPTIONS),
            "ceilings": contrast(
                table, "region", "bone", "cartilage", measured="ceiling", **OPTIONS
            ),
            "supervisions": dual_minus_single(table, **OPTIONS),
            "profiles": profile_means(profiles(table), **OPTIONS),
        }
        for name, one in tables.items():
            kinds = "\n".join(f"{column} {kind}" for column, kind in one.dtypes.items())
            path = folder / f"{name}-{seeds}-{knees}.txt"
            path.write_text(f"{one.to_csv(index=False)}\n{kinds}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
