"""The grades that a run is told: as they were read, or shuffled among its training knees.

A network trained on shuffled grades can only learn single knees by heart. It is the control of
Adebayo et al. 2018 (arXiv:1810.03292, section 4): a map that it shares with the network trained on
the grades as read does not show what these grades teach. It is never read as an ordinary run
(:func:`.records.read_runs`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.profile import GRADES

PERMUTATION = 1810
"""Beside a run's seed, that of the permutation of its grades."""


def told(cases: pd.DataFrame, grades: str, seed: int) -> pd.DataFrame:
    """Cases with the grades that a run is told.

    Parameters
    ----------
    cases : DataFrame
        Graded cases of both splits, see :func:`.cohort.graded`.
    grades : {"as read", "permuted"}
    seed : int
        Of the permutation: that of the run.

    Returns
    -------
    DataFrame
        The same cases. Permuted, training knees have each other's `kl` and `oa`, so that there
        are as many of each grade; test knees keep theirs, by which answers are judged as ever.

    Raises
    ------
    InputError
        If `grades` is neither.
    """
    if grades not in GRADES:
        raise InputError(f"unknown grades {grades!r}: choose one of {', '.join(GRADES)}")
    if grades == "as read":
        return cases
    rows = np.arange(len(cases))
    training = rows[cases["split"] == "train"]
    # A stream of its own: order of batches and dropout have others of the run's seed.
    rows[training] = np.random.default_rng([seed, PERMUTATION]).permutation(training)
    own = [column for column in ("kl", "oa") if column in cases]
    return cases.assign(**{column: cases[column].to_numpy()[rows] for column in own})
