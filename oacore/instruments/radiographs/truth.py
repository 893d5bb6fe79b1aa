"""The truth behind a drawn set, beside what readers say of it and what landmarks measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES
from oacore.instruments.coherence.patterns import GRADE_NAMES, GRADES
from oacore.instruments.phantom.grades import SIDES
from oacore.instruments.radiographs.cases import Radiographs
from oacore.instruments.radiographs.likeness import joint_gaps

#: Before the name of a grade: as drawn, not as read.
AS_DRAWN = "true_"


def read_truth(folder: str | Path) -> pd.DataFrame:
    """Read what was drawn, as :func:`.drawn.write_radiographs` left it.

    Parameters
    ----------
    folder : path-like
        Of a drawn set.

    Returns
    -------
    DataFrame
        A row a knee, sorted by `case`.

    Raises
    ------
    InputError
        If the folder holds no truth.
    """
    path = Path(folder, "truth.csv")
    if not path.is_file():
        raise InputError(f"{path}: no such file; only a set of drawn radiographs has one")
    return pd.read_csv(path).sort_values("case", ignore_index=True)


def with_truth(cases: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """A table of cases, and beside each grade as read the one that was drawn.

    Parameters
    ----------
    cases : DataFrame
        `case`, `GRADES`.
    truth : DataFrame
        From :func:`read_truth`.

    Returns
    -------
    DataFrame
        The same with `true_kl`, `true_osteophyte_fl` and so on (Int64).

    Raises
    ------
    InputError
        If a case is none of the truth's.
    """
    own = _of_cases(cases, truth).set_index(cases.index)
    # The six grades of OARSI are read without error, or not at all.
    grades = {f"{AS_DRAWN}{name}": own["kl_true" if name == "kl" else name] for name in GRADES}
    return cases.assign(**{name: values.astype("Int64") for name, values in grades.items()})


def joint_spaces_beside(radiographs: Radiographs, truth: pd.DataFrame) -> pd.DataFrame:
    """Joint space as drawn, and as it is measured between landmarks.

    Parameters
    ----------
    radiographs : Radiographs
        With landmarks and millimetres.
    truth : DataFrame
        From :func:`read_truth`.

    Returns
    -------
    DataFrame
        A row a knee and side: `side`, `jsn` (0 to 3), `drawn` (smallest distance of the bones in
        their projection, mm), `measured` (:func:`.likeness.joint_gaps`, mm).
    """
    own = _of_cases(radiographs.cases, truth)
    gaps = joint_gaps(radiographs)
    parts = [
        pd.DataFrame(
            {
                "side": side,
                "jsn": own[f"jsn_{side}"],
                "drawn": own[f"joint_space_{side}_mm"],
                "measured": gaps[side].to_numpy(),
            }
        )
        for side in SIDES
    ]
    return pd.concat(parts, ignore_index=True)


def by_narrowing(spaces: pd.DataFrame) -> pd.DataFrame:
    """Means of joint space by its own grade, and how far the measured one is off.

    Parameters
    ----------
    spaces : DataFrame
        From :func:`joint_spaces_beside`.

    Returns
    -------
    DataFrame
        By side and grade ("JSN 0" and so on): number of `knees`, means `drawn` and `measured`
        (mm), and of their difference the mean (`bias`) and the standard deviation (`spread`).
    """
    spaces = spaces.assign(off=spaces["measured"] - spaces["drawn"])
    found = spaces.groupby(["side", "jsn"], sort=False).agg(
        knees=("drawn", "size"),
        drawn=("drawn", "mean"),
        measured=("measured", "mean"),
        bias=("off", "mean"),
        spread=("off", "std"),
    )
    order = pd.MultiIndex.from_product([SIDES, range(4)], names=["side", "jsn"])
    found = found.reindex([key for key in order if key in found.index])
    return found.rename(index="JSN {}".format, level="jsn")


def grade_counts(cases: pd.DataFrame) -> pd.DataFrame:
    """How many knees have each grade.

    Parameters
    ----------
    cases : DataFrame
        `GRADES`.

    Returns
    -------
    DataFrame
        A row a grade by its short name; columns 0 to 4 (<NA> where it has no such grade) and
        "not read".
    """
    rows = {}
    for name in GRADES:
        counts = cases[name].value_counts()
        most = N_GRADES if name == "kl" else N_GRADES - 1
        row = [int(counts.get(grade, 0)) if grade < most else pd.NA for grade in range(N_GRADES)]
        rows[GRADE_NAMES[name]] = [*row, int(cases[name].isna().sum())]
    columns = [*map(str, range(N_GRADES)), "not read"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).astype("Int64")


def _of_cases(cases: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Rows of the truth in the order of the cases."""
    known = truth.set_index("case")
    if len(missing := np.setdiff1d(cases["case"], known.index)):
        raise InputError(f"truth: case {missing[0]} is not in it; give that of the same set")
    return known.loc[cases["case"]].reset_index()
