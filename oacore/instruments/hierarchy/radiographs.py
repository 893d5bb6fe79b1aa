"""The experiment on real radiographs: the cohort, how its settings were chosen, and what is run.

Both knees of a person are of one split. Settings are chosen on the split "val", which serves for
nothing else, with a seed that is not reported.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from oacore.instruments.hierarchy.analysis import MARGINS, measured
from oacore.instruments.hierarchy.arms import arm_of
from oacore.instruments.hierarchy.runs import SplitPlan
from oacore.instruments.hierarchy.split import ImageNetwork, SplitCohort, train
from oacore.instruments.radiographs.cases import read_radiographs

#: Arms of the design for this cohort.
ARMS_ON_RADIOGRAPHS = (
    *("single_oa", "single_kl", "dual", "cascaded", "shuffled", "two_kl", "permuted", "cut3"),
    *("again", "corn", "consistency"),
)
#: Of networks by which settings are chosen; it is not reported.
PILOT_SEED = 1000
#: Shares of height and width that are kept, and pixels, as in the study ``real`` of
#: ``studies.yml``; and half of these pixels along either side.
CROP, _WHOLE, _HALF = (0.7142857, 1.0), (80, 112), (40, 56)
_DEEP = ImageNetwork(
    "resnet2d", {"depth": 10, "width": 16, "stem_kernel": 3, "max_pool": False},
    shift=3.5, turn=5, scale=0.05,
)  # fmt: skip
#: What :func:`pilot` chose from: pixels, and the network.
CANDIDATES: tuple[tuple[tuple[int, int], ImageNetwork], ...] = (
    (_WHOLE, _DEEP),
    (_WHOLE, replace(_DEEP, options={**_DEEP.options, "max_pool": True})),
    (_WHOLE, replace(_DEEP, options={**_DEEP.options, "width": 8})),
    (_HALF, replace(_DEEP, shift=1.75)),
)
# What was tried, on the split "val" alone, with seed 1000. The mean of macro-AUC and quadratic
# kappa, of Single-KL, of Dual, and of both; seconds of one busy core for a run. Depth 10, a stem of
# 3 x 3, 12 epochs in batches of 48, AdamW at .003 along a cosine, decay .01, pictures moved as in
# the study `real`. Each was run once: by 300 pictures these rows cannot be told from each other.
#
#   pixels    width  max-pooling  Single-KL  Dual   both   seconds
#   80 x 112  16     no           .758       .765   .761   60
#   80 x 112  16     yes          .772       .761   .767   28
#   80 x 112   8     no           .748       .748   .748   51
#   40 x 56   16     no           .755       .742   .748   17
#
# Chosen: max-pooling, at half the cost of the first and no worse. Half the pixels cost less still,
# and seem to cost something of either arm.
SIZE, NETWORK_ON_RADIOGRAPHS = CANDIDATES[1]


def radiographs_cohort(
    source: str | Path, height: int = SIZE[0], width: int = SIZE[1]
) -> SplitCohort:
    """Real radiographs, cut to their middle.

    Parameters
    ----------
    source : path-like
        See :func:`.cases.read_radiographs`.
    height, width : int
        Pixels.

    Returns
    -------
    SplitCohort
        Its cases have ``person``; ``male`` and ``age`` (years) where the source has them.

    Raises
    ------
    InputError
        See :func:`.cases.read_radiographs`; or if a knee has no KL grade.
    """
    found = read_radiographs(source, height=height, width=width, crop=CROP)
    cases = found.cases[["case", "person", "split", "kl"]].copy()
    if "sex" in found.cases:
        cases["male"] = found.cases["sex"].map({"female": 0, "male": 1})
    if "age" in found.cases:
        cases["age"] = found.cases["age"].astype(float)
    return SplitCohort(found.pictures, cases)


def pilot(source: str | Path) -> pd.DataFrame:
    """Compare :data:`CANDIDATES` on the split "val", with :data:`PILOT_SEED`.

    Parameters
    ----------
    source : path-like
        See :func:`radiographs_cohort`.

    Returns
    -------
    DataFrame
        A row a candidate: `pixels`, `width`, `max_pool`; for Single-KL and Dual the mean of
        macro-AUC and quadratic kappa of the grade; `both`, the mean of the two; `seconds` of one
        core for a run of Single-KL.
    """
    rows = []
    for (height, width), network in CANDIDATES:
        cohort = radiographs_cohort(source, height, width)
        row = {"pixels": f"{height} x {width}", **network.options}
        of_arms, seconds = {}, {}
        for name in ("single_kl", "dual"):
            start = time.process_time()
            said = train(network, arm_of(name), cohort, PILOT_SEED, split="val")
            seconds[name] = time.process_time() - start
            of_arms[name] = _score(cohort, said["grade"])
        both = float(np.mean(list(of_arms.values())))
        rows.append({**row, **of_arms, "both": both, "seconds": seconds["single_kl"]})
    return pd.DataFrame(rows)


def radiographs_plan() -> SplitPlan:
    """What is run on radiographs."""
    return SplitPlan(NETWORK_ON_RADIOGRAPHS, ARMS_ON_RADIOGRAPHS, tuple(range(10)))


def _score(cohort: SplitCohort, grade: np.ndarray) -> float:
    """Mean of the primary outcomes on the split "val"."""
    kl = cohort.cases["kl"].to_numpy(np.int64)[cohort.rows("val")]
    found = measured(np.ones((1, len(kl))), kl, grade)
    return float(np.mean([found[measure].item() for measure in MARGINS]))
